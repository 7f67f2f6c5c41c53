// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: domain exo.test
// Calls that programs make rarely, each by its number: what they answer to right and wrong arguments.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static const char *said(long result)
{
	static char text[32];

	if (result < 0)
		return strerrorname_np(errno);
	snprintf(text, sizeof(text), "%ld", result);
	return text;
}

#define TRY(...) printf("%s: %s\n", #__VA_ARGS__, said(syscall(__VA_ARGS__)))

// The number is in EAX: what stands in RAX above it does not count.
static long raw(unsigned long number, long first)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first) : "rcx", "r11", "memory");
	return result;
}

static void numbers(void)
{
	unsigned long high = 0xdeadbeefUL << 32;

	printf("getpid with rubbish above its number: %d\n", raw(high | SYS_getpid, 0) == getpid());
	printf("close with rubbish above its number: %ld\n", raw(high | SYS_close, -1));
	// Between Linux's calls and Exo-Kernel's, behind those, and the largest ones, each more than once.
	static const unsigned long none[] = { 500, 511, 512, 4000, 0xfff, 0x100f, 0x1010, 9999, INT_MAX, UINT_MAX, ULONG_MAX };

	for (size_t i = 0; i < 3 * sizeof(none) / sizeof(*none); i++) {
		long result = raw(none[i % (sizeof(none) / sizeof(*none))], 0);

		if (result != -ENOSYS)
			printf("%lu gave %ld\n", none[i % (sizeof(none) / sizeof(*none))], result);
	}
}

static void vectors(void)
{
	char one[4] = "", two[8] = "";
	struct iovec out[] = { { "abcd", 4 }, { "efgh", 4 } }, in[] = { { one, 3 }, { two, 4 } };
	int fd = open("/tmp/calls-vectors", O_CREAT | O_TRUNC | O_RDWR, 0600), ends[2];

	if (fd < 0 || pipe(ends))
		return perror("open");
	TRY(SYS_pwritev2, fd, out, 2, -1L, 0L, 0);
	TRY(SYS_pwritev2, fd, out, 1, 10L, 0L, 0);
	printf("position %ld, size %ld\n", (long)lseek(fd, 0, SEEK_CUR), (long)lseek(fd, 0, SEEK_END));
	TRY(SYS_preadv2, fd, in, 2, 1L, 0L, 0);
	printf("%s %s\n", one, two);
	lseek(fd, 5, SEEK_SET);
	TRY(SYS_preadv2, fd, in, 1, -1L, 0L, 0);
	printf("%s, position %ld\n", one, (long)lseek(fd, 0, SEEK_CUR));
	TRY(SYS_preadv2, fd, in, 1, -2L, 0L, 0);
	TRY(SYS_preadv2, fd, in, 1, 0L, 0L, 1 << 20);
	TRY(SYS_preadv2, ends[0], in, 1, 0L, 0L, 0);
	TRY(SYS_pwritev2, ends[1], out, 2, -1L, 0L, 0);
	TRY(SYS_preadv2, ends[0], in, 2, -1L, 0L, 0);
	TRY(SYS_preadv2, -1, in, 1, 0L, 0L, 0);
}

static void modes(void)
{
	struct stat status;

	unlink("/tmp/calls-link");
	close(open("/tmp/calls-mode", O_CREAT | O_RDWR, 0600));
	if (symlink("calls-mode", "/tmp/calls-link"))
		perror("symlink");
	TRY(SYS_fchmodat2, AT_FDCWD, "/tmp/calls-link", 0640, 0);
	TRY(SYS_fchmodat2, AT_FDCWD, "/tmp/calls-link", 0600, AT_SYMLINK_NOFOLLOW);
	TRY(SYS_fchmodat2, AT_FDCWD, "/tmp/calls-mode", 0604, 1);
	TRY(SYS_fchmodat2, AT_FDCWD, "/tmp/calls-none", 0604, 0);
	if (!stat("/tmp/calls-mode", &status))
		printf("mode %o\n", status.st_mode);
}

static void memory(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TRY(SYS_mlockall, 0);
	TRY(SYS_mlockall, MCL_ONFAULT);
	TRY(SYS_mlockall, MCL_CURRENT);
	TRY(SYS_mlockall, 64);
	TRY(SYS_munlockall);
	TRY(SYS_mlock2, page, 4096L, MLOCK_ONFAULT);
	TRY(SYS_mlock2, page, 4096L, 2);
	munmap(page, 4096);
	TRY(SYS_mlock2, page, 4096L, 0);
}

static volatile sig_atomic_t value, code;
static void told(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	value = info->si_value.sival_int;
	code = info->si_code;
}

static void signals(void)
{
	struct sigaction action = { .sa_sigaction = told, .sa_flags = SA_SIGINFO };
	siginfo_t info = { .si_code = SI_QUEUE };

	sigaction(SIGUSR1, &action, NULL);
	info.si_value.sival_int = 4711;
	TRY(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info);
	printf("value %d, code %d\n", value, code);
	TRY(SYS_rt_tgsigqueueinfo, getpid(), gettid(), 0, &info);
	TRY(SYS_rt_tgsigqueueinfo, getpid(), gettid(), 65, &info);
	TRY(SYS_rt_tgsigqueueinfo, 0, gettid(), SIGUSR1, &info);
	TRY(SYS_rt_tgsigqueueinfo, getppid(), gettid(), SIGUSR1, &info);
	TRY(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, NULL);
	info.si_code = SI_TKILL;
	TRY(SYS_rt_tgsigqueueinfo, getppid(), gettid(), SIGUSR1, &info);
}

static void rest(void)
{
	struct utsname name;
	struct timespec slice = { -1, -1 };
	void *head = NULL, *own = &name;
	size_t size = 0;

	TRY(SYS_setdomainname, "exo.test", 8L);
	TRY(SYS_setdomainname, "", 65L);
	TRY(SYS_setdomainname, NULL, 1L);
	if (!uname(&name))
		printf("domain %s\n", name.domainname);
	TRY(SYS_set_robust_list, own, 24L);
	TRY(SYS_get_robust_list, 0, &head, &size);
	printf("own list %d, size %zu\n", head == own, size);
	TRY(SYS_get_robust_list, INT_MAX, &head, &size);
	TRY(SYS_set_robust_list, NULL, 24L);
	TRY(SYS_sched_rr_get_interval, 0, &slice);
	printf("a slice: %d\n", slice.tv_sec == 0 && slice.tv_nsec >= 0);
	TRY(SYS_sched_rr_get_interval, INT_MAX, &slice);
	TRY(SYS_sched_rr_get_interval, 0, NULL);
}

int main(void)
{
	numbers();
	vectors();
	modes();
	memory();
	signals();
	rest();
	puts("calls: end");
	return 0;
}
