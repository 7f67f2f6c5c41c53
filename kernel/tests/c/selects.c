// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: ready: 1, handled before the call ends 0, after unblocking 1
// select and pselect6: sets of any size, the time that is left, and masks that count while they wait alone.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

static volatile sig_atomic_t handled;

static void handle(int signal)
{
	(void)signal;
	handled++;
}

static void times(void)
{
	int event = eventfd(1, 0), empty = eventfd(0, 0);
	struct timeval time = {5, 0};
	struct timespec exact = {5, 0};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(event, &set);
	TRY(syscall(SYS_select, event + 1, &set, 0, 0, &time));
	printf("left: most of it %d\n", time.tv_sec == 4 && time.tv_usec > 0);
	TRY(syscall(SYS_pselect6, event + 1, &set, 0, 0, &exact, 0));
	printf("left: most of it %d\n", exact.tv_sec == 4 && exact.tv_nsec > 0);
	FD_ZERO(&set);
	FD_SET(empty, &set);
	time = (struct timeval){0, 20000};
	TRY(syscall(SYS_select, empty + 1, &set, 0, 0, &time));
	printf("left: %ld %ld, set %d\n", (long)time.tv_sec, (long)time.tv_usec, FD_ISSET(empty, &set));
	time = (struct timeval){0, 0};
	TRY(syscall(SYS_select, 0, 0, 0, 0, &time));
	time = (struct timeval){-1, 0};
	TRY(syscall(SYS_select, 0, 0, 0, 0, &time));
	exact = (struct timespec){0, 1000000000};
	TRY(syscall(SYS_pselect6, 0, 0, 0, 0, &exact, 0));
	TRY(syscall(SYS_pselect6, 0, 0, 0, 0, nowhere, 0));
	TRY(syscall(SYS_select, -1, 0, 0, 0, &time));
	TRY(syscall(SYS_select, 64, nowhere, 0, 0, 0));
	TRY(syscall(SYS_pselect6, 0, 0, 0, 0, 0, nowhere));
	close(event);
	// What is not open is an error, and what is above all that could be is not looked at.
	FD_ZERO(&set);
	FD_SET(event, &set);
	time = (struct timeval){0, 0};
	TRY(syscall(SYS_select, event + 1, &set, 0, 0, &time));
	// What a signal interrupts goes on with the rest of its time.
	struct sigaction action = {.sa_handler = handle};
	sigaction(SIGALRM, &action, 0);
	// Again and again: on a busy host the first may come before the call.
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 100000}, {0, 100000}}, 0);
	time = (struct timeval){5, 0};
	long result = syscall(SYS_select, 0, 0, 0, 0, &time);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, 0);
	printf("interrupted: %s\n", said(result));
	printf("left: most of it %d\n", time.tv_sec == 4 && time.tv_usec > 0);
	close(empty);
}

static void high(void)
{
	struct rlimit limit = {2048, 4096};
	unsigned char *sets = calloc(1, 4096);
	int event = eventfd(1, 0);

	setrlimit(RLIMIT_NOFILE, &limit);
	TRY(dup2(event, 1500));
	sets[1500 / 8] |= 1 << 1500 % 8;
	TRY(syscall(SYS_select, 1501, sets, 0, 0, 0));
	printf("set %d\n", sets[1500 / 8] >> 1500 % 8 & 1);
	close(1500);
	close(event);
	free(sets);
}

static void masks(void)
{
	sigset_t blocked, none;
	int event = eventfd(1, 0), epoll = epoll_create1(0);
	struct timespec time = {1, 0}, nothing = {0, 0};
	struct sigaction action = {.sa_handler = handle};
	struct epoll_event happened = {.events = EPOLLIN};
	struct pollfd asked = {event, POLLIN, 0};
	fd_set set;

	sigaction(SIGUSR1, &action, 0);
	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, 0);
	handled = 0;
	raise(SIGUSR1);
	FD_ZERO(&set);
	FD_SET(event, &set);
	// What is ready comes first: the signal stays pending.
	int result = pselect(event + 1, &set, 0, 0, &time, &none);
	int before = handled;
	sigprocmask(SIG_UNBLOCK, &blocked, 0);
	printf("ready: %d, handled before the call ends %d, after unblocking %d\n", result, before, handled);
	sigprocmask(SIG_BLOCK, &blocked, 0);
	raise(SIGUSR1);
	TRY(ppoll(&asked, 1, &time, &none));
	epoll_ctl(epoll, EPOLL_CTL_ADD, event, &happened);
	TRY(epoll_pwait2(epoll, &happened, 1, &time, &none));
	printf("handled %d\n", handled);
	// Without that, it is handled.
	TRY(pselect(0, 0, 0, 0, &time, &none));
	printf("handled %d\n", handled);
	raise(SIGUSR1);
	TRY(pselect(0, 0, 0, 0, &nothing, &none));
	printf("handled %d\n", handled);
	sigprocmask(SIG_BLOCK, 0, &none);
	printf("blocked again %d\n", sigismember(&none, SIGUSR1));
	close(event);
	close(epoll);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	times();
	high();
	masks();
	return 0;
}
