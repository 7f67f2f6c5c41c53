// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: shared: from the child, file: from the child, private sees: through the file
// Memory: malloc of all sizes, realloc, brk, mmap, mremap, mprotect, madvise, copy-on-write between processes, files.
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long state = 1;
static unsigned long next(void) { return state = state * 6364136223846793005UL + 1442695040888963407UL, state >> 33; }

static unsigned long sum(const unsigned char *bytes, size_t length)
{
	unsigned long sum = 5381;

	for (size_t i = 0; i < length; i++)
		sum = sum * 33 + bytes[i];
	return sum;
}

static void heap(void)
{
	enum { SLOTS = 512 };
	static unsigned char *slot[SLOTS];
	static size_t size[SLOTS];
	unsigned long total = 0;

	for (int round = 0; round < 40000; round++) {
		int i = next() % SLOTS;

		if (slot[i]) {
			for (size_t k = 0; k < size[i]; k += 97)
				if (slot[i][k] != (unsigned char)(i + k)) {
					printf("slot %d is damaged\n", i);
					exit(1);
				}
			total += size[i];
		}
		size[i] = next() % (round % 100 ? 2000 : 300000) + 1;
		slot[i] = realloc(next() % 2 ? slot[i] : (free(slot[i]), NULL), size[i]);
		for (size_t k = 0; k < size[i]; k += 97)
			slot[i][k] = i + k;
	}
	printf("heap: %lu bytes passed through\n", total);
}

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

static void maps(void)
{
	size_t length = 1 << 20;
	unsigned char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd, status;

	signal(SIGSEGV, fault);
	signal(SIGBUS, fault);
	for (size_t i = 0; i < length; i += 7)
		at[i] = i;
	printf("sum %lu\n", sum(at, length));
	at = mremap(at, length, 4 * length, MREMAP_MAYMOVE);
	printf("grown: sum %lu, tail %d\n", sum(at, length), at[4 * length - 1]);
	mprotect(at, 4096, PROT_READ);
	printf("read-only: read %s, write %s, next page %s\n", touch((char *)at, 0), touch((char *)at, 1), touch((char *)at + 4096, 1));
	mprotect(at, 4096, PROT_NONE);
	printf("none: read %s\n", touch((char *)at, 0));
	mprotect(at, 4096, PROT_READ | PROT_WRITE);
	printf("again: write %s\n", touch((char *)at, 1));
	madvise(at, length, MADV_DONTNEED);
	printf("given back: sum %lu\n", sum(at, length));
	munmap(at + 8192, 4096);
	printf("hole: %s, beside it %s and %s\n", touch((char *)at + 8192, 0), touch((char *)at + 4096, 0), touch((char *)at + 12288, 0));
	printf("null: %s, kernel: %s\n", touch(NULL, 0), touch((char *)0xffff800000000000, 0));

	strcpy((char *)at, "parent");
	if (fork() == 0) {
		strcpy((char *)at, "child");
		_exit(sum(at, 64) & 0x7f);
	}
	wait(&status);
	printf("child %d, parent still %s\n", WEXITSTATUS(status), at);

	fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (ftruncate(fd, 6000))
		return;
	char *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	strcpy(shared + 100, "through the file");
	if (fork() == 0) {
		strcpy(shared + 200, "from the child");
		_exit(0);
	}
	wait(&status);
	char text[32] = { 0 };
	if (pread(fd, text, 20, 200) < 0)
		return;
	printf("shared: %s, file: %s, private sees: %s\n", shared + 200, text, private + 100);
	strcpy(private + 100, "mine");
	printf("private: %s, shared: %s\n", private + 100, shared + 100);
	shared = mmap(NULL, 16384, PROT_READ, MAP_SHARED, fd, 0);
	printf("beyond the end: %s, far beyond: %s\n", touch(shared + 7000, 0), touch(shared + 12288, 0));
	char *before = sbrk(4096), *after = sbrk(0);
	printf("brk moves by %td\n", after - before);
	printf("fixed: %d\n", mmap(at, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	printf("too much: %d\n", mmap(NULL, 1UL << 50, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

static int depth(int n) { volatile char frame[4000]; frame[0] = n; return n ? depth(n - 1) + frame[0] * 0 + 1 : 0; }

int main(void)
{
	heap();
	maps();
	printf("stack: %d frames of 4000 bytes\n", depth(1800));
	return 0;
}
