// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: pipe: SIGIO 1
// Signals about files (fcntl(2), "Managing signals"; open(2), O_ASYNC): who gets which, and when.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigset_t watched;

/* Waits for a signal that must come. */
static siginfo_t must_come(void)
{
	siginfo_t info = { 0 };
	struct timespec patience = { 60, 0 };

	if (sigtimedwait(&watched, &info, &patience) < 0)
		printf("no signal: %s\n", strerrorname_np(errno));
	return info;
}

/* Whether there is one that must not be. It has had time to come before something else came. */
static int is_pending(int signal)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, signal);
}

static void of_pipe(void)
{
	int ends[2], other[2];
	char byte;

	if (pipe(ends) || pipe(other))
		return;
	printf("flags: %d\n", fcntl(ends[0], F_SETFL, O_ASYNC));
	printf("kept: %d\n", !!(fcntl(ends[0], F_GETFL) & O_ASYNC));
	/* Nobody owns it yet. */
	if (write(ends[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1)
		return;
	fcntl(other[0], F_SETOWN, getpid());
	fcntl(other[0], F_SETFL, O_ASYNC | O_NONBLOCK);
	if (write(other[1], "x", 1) != 1)
		return;
	siginfo_t info = must_come();
	printf("pipe: SIGIO %d\n", info.si_signo == SIGIO);
	printf("more: %d\n", is_pending(SIGIO));
	fcntl(other[0], F_SETSIG, SIGRTMIN + 3);
	printf("signal: %d\n", fcntl(other[0], F_GETSIG) == SIGRTMIN + 3);
	if (write(other[1], "y", 1) != 1)
		return;
	info = must_come();
	printf("real-time signal: %d, code %d, band %lx, descriptor %d\n", info.si_signo == SIGRTMIN + 3, info.si_code,
	       info.si_band, info.si_fd == other[0]);
	fcntl(other[0], F_SETFL, O_NONBLOCK);
	printf("off: %d\n", !!(fcntl(other[0], F_GETFL) & O_ASYNC));
	if (write(other[1], "z", 1) != 1)
		return;
	/* Another file's signal comes after it would have. */
	fcntl(ends[0], F_SETOWN, getpid());
	if (write(ends[1], "x", 1) != 1)
		return;
	info = must_come();
	printf("the other's: %d, pending %d\n", info.si_signo == SIGIO, is_pending(SIGRTMIN + 3));
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(other[i]);
	}
}

static void of_socket(void)
{
	int pair[2], on = 1;
	char bytes[10];

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	fcntl(pair[0], F_SETOWN, getpid());
	printf("FIOASYNC: %d\n", ioctl(pair[0], FIOASYNC, &on));
	printf("kept: %d\n", !!(fcntl(pair[0], F_GETFL) & O_ASYNC));
	if (write(pair[1], "abc", 3) != 3)
		return;
	siginfo_t info = must_come();
	printf("socket: SIGIO %d, bytes %zd\n", info.si_signo == SIGIO, read(pair[0], bytes, 10));
	on = 0;
	ioctl(pair[0], FIOASYNC, &on);
	printf("off: %d\n", !!(fcntl(pair[0], F_GETFL) & O_ASYNC));
	close(pair[0]);
	close(pair[1]);
}

static void of_child(void)
{
	int ends[2], ready[2];
	char byte;

	if (pipe(ends) || pipe(ready))
		return;
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		setpgid(0, 0);
		if (write(ready[1], "r", 1) != 1)
			_exit(9);
		siginfo_t info = must_come();
		_exit(info.si_signo == SIGIO ? 3 : 4);
	}
	if (read(ready[0], &byte, 1) != 1)
		return;
	printf("group: %d\n", fcntl(ends[0], F_SETOWN, -child));
	printf("owner: %d\n", fcntl(ends[0], F_GETOWN) == -child);
	fcntl(ends[0], F_SETFL, O_ASYNC);
	if (write(ends[1], "x", 1) != 1)
		return;
	int status;
	waitpid(child, &status, 0);
	printf("the child got it: %d\n", WEXITSTATUS(status));
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };
	printf("thread: %d\n", fcntl(ends[0], F_SETOWN_EX, &owner));
	if (write(ends[1], "x", 1) != 1)
		return;
	siginfo_t info = must_come();
	printf("the thread got it: %d\n", info.si_signo == SIGIO);
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(ready[i]);
	}
}

int main(void)
{
	sigemptyset(&watched);
	sigaddset(&watched, SIGIO);
	sigaddset(&watched, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	of_pipe();
	of_socket();
	of_child();
	int fd = open("/tmp/asynchronous", O_RDWR | O_CREAT, 0600);
	printf("regular file: %d, kept %d\n", fcntl(fd, F_SETFL, O_ASYNC), !!(fcntl(fd, F_GETFL) & O_ASYNC));
	close(fd);
	unlink("/tmp/asynchronous");
	fflush(stdout);
	int ends[2];
	if (pipe(ends))
		return 1;
	pid_t child = fork();
	if (!child) {
		sigprocmask(SIG_UNBLOCK, &watched, NULL);
		fcntl(ends[0], F_SETOWN, getpid());
		fcntl(ends[0], F_SETFL, O_ASYNC);
		if (write(ends[1], "x", 1) == 1)
			sleep(60);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	printf("without a handler: %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGIO);
	return 0;
}
