// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: read-only descriptor: mprotect EACCES, after a writable one: fine
// What a mapping may become, files that are cut, what a fork inherits, locked memory, and what calls about memory refuse.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };
static sigjmp_buf back;
static void fault(int number) { siglongjmp(back, number); }

static const char *touch(volatile char *at, int write)
{
	int number = sigsetjmp(back, 1);

	if (number)
		return number == SIGSEGV ? "SIGSEGV" : number == SIGBUS ? "SIGBUS" : "?";
	if (write)
		*at = 1;
	else
		(void)*at;
	return "fine";
}

static const char *said(long result) { return result == -1 ? strerrorname_np(errno) : "fine"; }
static char *anonymous(size_t length, int flags)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void becoming(void)
{
	int fd = open("kept", O_RDWR | O_CREAT | O_TRUNC, 0600), only = open("kept", O_RDONLY);
	char *a, *b;

	if (ftruncate(fd, PAGE))
		return;
	a = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, only, 0);
	b = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	printf("read-only descriptor: mprotect %s, ", said(mprotect(a, PAGE, PROT_READ | PROT_WRITE)));
	printf("after a writable one: %s\n", said(mprotect(b, PAGE, PROT_READ | PROT_WRITE)));
	b = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, only, 0);
	printf("private: %s, shared to execute: %s\n", said(mprotect(b, PAGE, PROT_READ | PROT_WRITE)), said(mprotect(a, PAGE, PROT_READ | PROT_EXEC)));
}

static void cutting(void)
{
	int fd = open("cut", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *shared, *private, text[4] = { 0 };

	if (ftruncate(fd, 3 * PAGE))
		return;
	shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	memset(shared, 'x', 3 * PAGE);
	private[2 * PAGE] = 'y';
	if (ftruncate(fd, PAGE + 100))
		return;
	printf("cut: first %s, second %s and %d %d, third %s and %s\n", touch(shared, 0), touch(shared + PAGE, 0), shared[PAGE + 99], shared[PAGE + 100], touch(shared + 2 * PAGE, 1), touch(private + 2 * PAGE, 0));
	if (ftruncate(fd, 3 * PAGE))
		return;
	printf("grown: %d %d\n", shared[2 * PAGE], private[2 * PAGE]);
	shared[2 * PAGE] = 'z';
	if (pread(fd, text, 1, 2 * PAGE) == 1)
		printf("file: %s\n", text);
	printf("remove: %s, ", said(madvise(shared, PAGE, MADV_REMOVE)));
	printf("%d, private %s\n", shared[0], said(madvise(private, PAGE, MADV_REMOVE)));
}

static int child_sees(char *at)
{
	int status;

	if (fork() == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*at);
	}
	wait(&status);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void inheriting(void)
{
	char *wiped = anonymous(PAGE, 0), *kept = anonymous(PAGE, 0), *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*wiped = *kept = *shared = 0x5a;
	printf("wipe %s, ", said(madvise(wiped, PAGE, MADV_WIPEONFORK)));
	printf("shared %s, ", said(madvise(shared, PAGE, MADV_WIPEONFORK)));
	printf("child sees %d, parent %d\n", child_sees(wiped), *wiped);
	printf("keep %s, ", said(madvise(wiped, PAGE, MADV_KEEPONFORK)));
	printf("child sees %d\n", child_sees(wiped));
	printf("dont %s, ", said(madvise(kept, PAGE, MADV_DONTFORK)));
	printf("child sees %d\n", child_sees(kept));
	printf("do %s, ", said(madvise(kept, PAGE, MADV_DOFORK)));
	printf("child sees %d\n", child_sees(kept));
}

static void locking(void)
{
	char *at = anonymous(4 * PAGE, 0);
	unsigned char there[4] = { 9, 9, 9, 9 };

	printf("mincore %s: %d, ", said(mincore(at, 4 * PAGE, there)), there[1] & 1);
	printf("mlock %s, ", said(mlock(at + 10, PAGE)));
	printf("mincore %s: %d %d\n", said(mincore(at, 4 * PAGE, there)), there[0] & 1, there[3] & 1);
	printf("dontneed locked: %s, ", said(madvise(at, PAGE, MADV_DONTNEED)));
	printf("free: %s, ", said(madvise(at, PAGE, MADV_FREE)));
	printf("invalidate: %s, ", said(msync(at, PAGE, MS_INVALIDATE)));
	printf("munlock: %s, ", said(munlock(at, PAGE)));
	printf("dontneed: %s\n", said(madvise(at, PAGE, MADV_DONTNEED)));
	printf("populate: %s, ", said(madvise(at, 4 * PAGE, MADV_POPULATE_WRITE)));
	printf("mincore %s: %d\n", said(mincore(at, 4 * PAGE, there)), there[3] & 1);
	mprotect(at, PAGE, PROT_READ);
	printf("populate what is read-only: %s %s\n", said(madvise(at, PAGE, MADV_POPULATE_READ)), said(madvise(at, PAGE, MADV_POPULATE_WRITE)));
	munmap(at + PAGE, PAGE);
	printf("gaps: lock %s, ", said(mlock(at, 3 * PAGE)));
	printf("dontneed %s, ", said(madvise(at + 2 * PAGE, PAGE, MADV_DONTNEED)));
	printf("mincore %s, msync %s\n", said(mincore(at, 4 * PAGE, there)), said(msync(at, 4 * PAGE, MS_SYNC)));
	printf("munlockall %s, mlockall %s\n", said(munlockall()), said(mlockall(0)));
	printf("mlockall %s, ", said(mlockall(MCL_FUTURE)));
	at = anonymous(2 * PAGE, 0);
	printf("mincore %s: %d, %s\n", said(mincore(at, 2 * PAGE, there)), there[1] & 1, said(munlockall()));
}

static void refused(void)
{
	char *at = anonymous(4 * PAGE, 0);
	int fd = open("kept", O_RDWR), ends[2];
	struct rlimit limit = { 64 << 20, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };

	printf("madvise: %s %s %s\n", said(madvise(at, PAGE, 77)), said(madvise(at + 1, PAGE, MADV_DONTNEED)), said(madvise(at, -1UL, MADV_NORMAL)));
	printf("msync: %s %s %s\n", said(msync(at, PAGE, 64)), said(msync(at, PAGE, MS_SYNC | MS_ASYNC)), said(msync(at + 1, PAGE, MS_SYNC)));
	printf("validate: %s ", said((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0) == -1 ? -1 : 0));
	printf("%s ", said((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | (1 << 23), fd, 0)));
	printf("%s\n", said((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0)));
	printf("no replace: %s, fixed at an odd place: %s\n", said((long)mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)), said((long)mmap(at + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	printf("offset: %s, length: %s, ", said((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0x7ffffffffffff000L)), said((long)mmap(NULL, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
	printf("type: %s\n", said((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
	printf("mremap: %s %s %s ", said((long)mremap(at, PAGE, 0, 0)), said((long)mremap(at + 1, PAGE, PAGE, 0)), said((long)mremap(at, PAGE, PAGE, MREMAP_FIXED, at)));
	printf("%s\n", said((long)mremap(at, PAGE, 2 * PAGE, 0)));
	setrlimit(RLIMIT_AS, &limit);
	printf("RLIMIT_AS: mmap %s, ", said((long)anonymous(64 << 20, 0)));
	printf("mremap %s\n", said((long)mremap(at, 4 * PAGE, 64 << 20, MREMAP_MAYMOVE)));
	setrlimit(RLIMIT_AS, &none);
	setrlimit(RLIMIT_DATA, &limit);
	printf("RLIMIT_DATA: written %s, ", said((long)anonymous(64 << 20, 0)));
	printf("read %s\n", (long)mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? "refused" : "fine");
	setrlimit(RLIMIT_DATA, &none);
	if (pipe(ends))
		return;
	printf("fadvise: %s %s %s ", strerrorname_np(posix_fadvise(-1, 0, 0, 0)), strerrorname_np(posix_fadvise(fd, 0, 0, 9)), strerrorname_np(posix_fadvise(ends[0], 0, 0, 0)));
	printf("readahead: %s %s %s\n", said(readahead(-1, 0, PAGE)), said(readahead(ends[0], 0, PAGE)), said(readahead(fd, 0, PAGE)));
}

static void growing(void)
{
	char *room = mmap(NULL, 4 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at = room + (2 << 20);

	munmap(room, 4 << 20);
	at = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	printf("grows down: %s %s, ", touch(at - PAGE, 1), touch(at - 100 * PAGE, 1));
	mmap(room, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("near another: %s, further away: %s\n", touch(room + 10 * PAGE, 1), touch(room + 300 * PAGE, 1));
	printf("grows down, shared: %s\n", said((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0)));
}

static void shown(void)
{
	char line[256], *at, *name;
	FILE *maps;
	int fd = open("shown", O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (ftruncate(fd, PAGE))
		return;
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	for (int round = 0; round < 2; round++) {
		maps = fopen("/proc/self/maps", "r");
		while (fgets(line, sizeof(line), maps))
			if (strtoul(line, NULL, 16) == (unsigned long)at && (name = strstr(line, "shown")))
				printf("%d: %s", (int)strcspn(line, "/"), name);
		fclose(maps);
		unlink("shown");
	}
}

int main(void)
{
	signal(SIGSEGV, fault);
	signal(SIGBUS, fault);
	becoming();
	cutting();
	inheriting();
	locking();
	refused();
	growing();
	shown();
	return 0;
}
