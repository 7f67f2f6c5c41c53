// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the sharer still has it: 0
// Descriptors: what fcntl, dup and close_range answer, and tables that are shared and unshared.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static void flags_of(const char *what, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	printf("%s: %#o\n", what, flags);
}

static void status(void)
{
	int p[2], s[2], file = open("/tmp/fcntl", O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC | O_APPEND, 0600);

	pipe2(p, O_NONBLOCK | O_CLOEXEC);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	flags_of("file", file), flags_of("pipe", p[0]), flags_of("pipe's write end", p[1]), flags_of("socket", s[0]);
	flags_of("memfd", memfd_create("x", 0));
	flags_of("directory", open("/tmp", O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	flags_of("path", open("/tmp", O_PATH | O_NOFOLLOW | O_CLOEXEC | O_APPEND));
	told("set all", fcntl(file, F_SETFL, ~(O_DIRECT | O_NOATIME | O_ASYNC)));
	flags_of("file", file);
	told("set none", fcntl(file, F_SETFL, 0));
	flags_of("file", file);
	told("a socket without buffers", fcntl(s[0], F_SETFL, O_DIRECT));
	told("owner", fcntl(p[0], F_GETOWN));
	told("set", fcntl(p[0], F_SETOWN, getpid()));
	printf("owner is %d\n", fcntl(p[0], F_GETOWN) == getpid());
	told("no such owner", fcntl(p[0], F_SETOWN, 999999));
	told("signal 65", fcntl(p[0], F_SETSIG, 65));
	fcntl(p[0], F_SETSIG, 40);
	told("signal", fcntl(p[0], F_GETSIG));
	told("lease", fcntl(file, F_GETLEASE));
	told("notify on a file", fcntl(file, F_NOTIFY, 1L));
	told("unknown", fcntl(file, 999));
	int path = open("/tmp", O_PATH);

	told("flags of a path", fcntl(path, F_SETFL, 0));
	told("size of no pipe", fcntl(file, F_GETPIPE_SZ));
	told("size of a pipe", fcntl(p[0], F_GETPIPE_SZ));
	told("smallest", fcntl(p[1], F_SETPIPE_SZ, 0));
	told("rounded", fcntl(p[1], F_SETPIPE_SZ, 70000));
	told("too large", fcntl(p[1], F_SETPIPE_SZ, 0x80000001u));
	char bytes[8192] = "";

	write(p[1], bytes, sizeof(bytes));
	told("less than it holds", fcntl(p[1], F_SETPIPE_SZ, 4096));
}

static void duplicates(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	told("beyond the limit", fcntl(0, F_DUPFD, limit.rlim_cur));
	told("at the limit's end", fcntl(0, F_DUPFD, limit.rlim_cur - 1) == (int)limit.rlim_cur - 1);
	told("full from there", fcntl(0, F_DUPFD_CLOEXEC, limit.rlim_cur - 1));
	told("negative", fcntl(0, F_DUPFD, -1));
	told("dup2 to itself", dup2(0, 0));
	told("dup2 of nothing", dup2(900, 900));
	told("dup2 beyond the limit", dup2(0, limit.rlim_cur));
	told("dup3 to itself", dup3(0, 0, 0));
	told("dup3 with flags", dup3(0, 50, O_NONBLOCK));
	told("dup3", dup3(0, 50, O_CLOEXEC));
	told("closed by exec", fcntl(50, F_GETFD));
	limit.rlim_cur = 60;
	setrlimit(RLIMIT_NOFILE, &limit);
	told("dup2 under a lower limit", dup2(0, 60));
	told("a descriptor above it still works", fcntl(1023, F_GETFD));
	limit.rlim_cur = 1024;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int wait_in_child(void *pipes)
{
	char byte;
	int *p = pipes;

	read(p[0], &byte, 1);
	return fcntl(200, F_GETFD) < 0 ? errno : 0;
}

static void *thread_unshares(void *unused)
{
	(void)unused;
	told("a thread unshares", unshare(CLONE_FILES));
	close(201);
	return NULL;
}

static void tables(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int p[2], status;

	pipe(p);
	dup2(0, 200), dup2(0, 201), dup2(0, 202);
	int child = clone(wait_in_child, stack + sizeof(stack), CLONE_FILES | SIGCHLD, p);

	told("close_range with a copy", syscall(SYS_close_range, 200, 200, 2));
	told("it is closed", fcntl(200, F_GETFD));
	write(p[1], "x", 1);
	waitpid(child, &status, 0);
	told("the sharer still has it", WEXITSTATUS(status));
	child = clone(wait_in_child, stack + sizeof(stack), CLONE_FILES | SIGCHLD, p);
	told("close_range marks a copy", syscall(SYS_close_range, 201, ~0u, 6));
	told("marked", fcntl(201, F_GETFD));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	told("bad range", syscall(SYS_close_range, 5, 4, 0));
	told("bad flags", syscall(SYS_close_range, 5, 6, 1));
	pthread_t thread;

	pthread_create(&thread, NULL, thread_unshares, NULL);
	pthread_join(thread, NULL);
	told("the others keep theirs", fcntl(201, F_GETFD));
	told("unshare what is not there", unshare(0x40000000 | 1));
	// More often than anybody keeps old tables.
	int failed = 0;

	for (int i = 0; i < 100; i++) {
		child = fork();
		if (child == 0)
			_exit(unshare(CLONE_FILES) < 0);
		waitpid(child, &status, 0);
		failed += status != 0;
	}
	told("children that could not", failed);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	status();
	duplicates();
	tables();
	return 0;
}
