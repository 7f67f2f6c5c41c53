// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a child sees its own: 0 0 1 12
// signalfd: what is read of signals of each kind, for whom they are, waiting in all ways, and what is refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

static sigset_t set_of(int first, int second)
{
	sigset_t set;

	sigemptyset(&set);
	if (first)
		sigaddset(&set, first);
	if (second)
		sigaddset(&set, second);
	return set;
}

static int make(int first, int second, int flags)
{
	sigset_t set = set_of(first, second);

	return signalfd(-1, &set, flags);
}

static int is_readable(int fd, int timeout)
{
	struct pollfd asked = {fd, POLLIN | POLLOUT | POLLRDNORM, 0};

	return poll(&asked, 1, timeout) < 0 ? -1 : asked.revents;
}

static void show(const char *what, int fd, int most)
{
	struct signalfd_siginfo info[8];
	ssize_t size = read(fd, info, most * sizeof(*info));

	printf("%s: %s", what, said(size));
	for (int i = 0; i < size / (ssize_t)sizeof(*info); i++) {
		struct signalfd_siginfo *it = &info[i];

		printf(" [%u code %d%s uid %u value %d status %d fd %d band %x overrun %d]", it->ssi_signo, it->ssi_code,
		       (pid_t)it->ssi_pid == getpid() ? " own" : it->ssi_pid ? " other" : "", it->ssi_uid, it->ssi_int,
		       it->ssi_status, it->ssi_fd, it->ssi_band, it->ssi_overrun);
	}
	printf("\n");
}

static void kinds(void)
{
	int fd = make(SIGUSR1, SIGUSR2, SFD_NONBLOCK), ends[2], status;
	sigset_t more;
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
	struct itimerspec soon = {{0, 0}, {0, 1000000}};
	union sigval value = {.sival_int = 5};
	char text[512];

	printf("flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	show("nothing", fd, 1);
	printf("poll %x\n", is_readable(fd, 0));
	kill(getpid(), SIGUSR2);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	printf("poll %x\n", is_readable(fd, 0));
	show("two, the lower first", fd, 8);
	printf("poll %x\n", is_readable(fd, 0));
	raise(SIGUSR1);
	show("of a thread", fd, 1);
	sigqueue(getpid(), SIGUSR1, value);
	show("with a value", fd, 1);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, 0);
	printf("poll %x\n", is_readable(fd, -1));
	show("of a timer", fd, 1);
	timer_delete(timer);
	// A real-time signal queues, and the mask is changed on the way.
	for (int i = 0; i < 3; i++) {
		value.sival_int = i;
		sigqueue(getpid(), SIGRTMIN + 1, value);
	}
	show("not listened to", fd, 8);
	more = set_of(SIGRTMIN + 1, SIGCHLD);
	printf("the same: %d\n", signalfd(fd, &more, SFD_NONBLOCK | SFD_CLOEXEC) == fd);
	printf("flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	show("two of three", fd, 2);
	show("the last", fd, 8);
	if (!fork())
		_exit(3);
	printf("poll %x\n", is_readable(fd, -1));
	show("a child", fd, 8);
	wait(&status);
	more = set_of(SIGRTMIN + 2, 0);
	signalfd(fd, &more, 0);
	pipe(ends);
	fcntl(ends[0], F_SETOWN, getpid());
	fcntl(ends[0], F_SETSIG, SIGRTMIN + 2);
	fcntl(ends[0], F_SETFL, O_ASYNC);
	write(ends[1], "x", 1);
	printf("poll %x\n", is_readable(fd, -1));
	{
		struct signalfd_siginfo info;

		printf("read %s", said(read(fd, &info, sizeof(info))));
		printf(": %d band %x right fd %d\n", info.ssi_code, info.ssi_band, info.ssi_fd == ends[0]);
	}
	close(ends[0]);
	close(ends[1]);
	snprintf(text, sizeof(text), "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(text, "r");
	while (fgets(text, sizeof(text), file))
		if (!strncmp(text, "sigmask", 7))
			printf("%s", text);
	fclose(file);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	char name[64] = {0};
	readlink(text, name, sizeof(name) - 1);
	printf("%s\n", name);
	close(fd);
}

static int shared;
static volatile int thread_number;

static void *listen_in_thread(void *unused)
{
	struct signalfd_siginfo info;

	(void)unused;
	thread_number = gettid();
	if (read(shared, &info, sizeof(info)) == sizeof(info))
		printf("the thread got %d with code %d\n", info.ssi_signo, info.ssi_code);
	return 0;
}

static void readers(void)
{
	pthread_t thread;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 12};
	int epoll = epoll_create1(0), ready[2];
	int fd = make(SIGUSR1, SIGUSR2, 0);

	// For one thread alone.
	shared = fd;
	pthread_create(&thread, 0, listen_in_thread, 0);
	while (!thread_number)
		usleep(1000);
	syscall(SYS_tgkill, getpid(), thread_number, SIGUSR1);
	pthread_join(thread, 0);
	printf("nothing for the first: %x\n", is_readable(fd, 0));
	// For either.
	thread_number = 0;
	pthread_create(&thread, 0, listen_in_thread, 0);
	usleep(20000);
	kill(getpid(), SIGUSR2);
	pthread_join(thread, 0);
	// epoll tells of it once for an edge.
	event.events |= EPOLLET;
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	TRY(epoll_wait(epoll, &event, 1, 0));
	kill(getpid(), SIGUSR1);
	TRY(epoll_wait(epoll, &event, 1, -1));
	TRY(epoll_wait(epoll, &event, 1, 0));
	show("it", fd, 1);
	// What is pending for the parent is none of its child's business, and the other way round.
	pipe(ready);
	kill(getpid(), SIGUSR1);
	pid_t child = fork();
	if (!child) {
		int own = epoll_create1(0), before, then, after, data;

		event.events = EPOLLIN;
		event.data.u64 = 12;
		before = is_readable(fd, 0);
		epoll_ctl(own, EPOLL_CTL_ADD, fd, &event);
		then = epoll_wait(own, &event, 1, 0);
		write(ready[1], "x", 1);
		after = epoll_wait(own, &event, 1, 5000);
		data = (int)event.data.u64;
		printf("a child sees its own: %d %d %d %d\n", before, then, after, data);
		show("in the child", fd, 8);
		_exit(0);
	}
	char byte;
	read(ready[0], &byte, 1);
	usleep(20000);
	kill(child, SIGUSR2);
	waitpid(child, 0, 0);
	show("in the parent", fd, 8);
	// Descriptors that nobody polls any more are not told of anything.
	for (int i = 0; i < 500; i++) {
		int other = make(SIGUSR1, 0, 0);

		is_readable(other, 0);
		close(other);
	}
	kill(getpid(), SIGUSR1);
	show("after many", fd, 8);
	close(fd);
	close(epoll);
}

static void handled(int signal)
{
	(void)signal;
}

static void interrupted(void)
{
	struct sigaction action = {.sa_handler = handled};
	struct signalfd_siginfo info;
	int fd = make(SIGUSR1, 0, 0);

	sigaction(SIGALRM, &action, 0);
	alarm(1);
	TRY(read(fd, &info, sizeof(info)));
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, 0);
	pid_t child = fork();
	if (!child) {
		usleep(1300000);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	alarm(1);
	TRY(read(fd, &info, sizeof(info)));
	waitpid(child, 0, 0);
	// It is not blocked here, and comes all the same to who reads, if it waits already.
	kill(getpid(), SIGUSR1);
	show("it", fd, 1);
	close(fd);
}

static void refused(void)
{
	sigset_t set = set_of(SIGUSR1, SIGKILL);
	int fd = make(SIGUSR1, SIGSTOP, SFD_NONBLOCK | SFD_CLOEXEC);
	char room[256];

	TRY(signalfd(-1, &set, 1));
	TRY(signalfd(0, &set, 0));
	TRY(signalfd(99, &set, 0));
	TRY(syscall(SYS_signalfd4, -1, &set, 7, 0));
	TRY(syscall(SYS_signalfd4, -1, nowhere, 8, 0));
	TRY(syscall(SYS_signalfd4, -1, nowhere, 8, 1));
	TRY(syscall(SYS_signalfd, fd, &set, 8) == fd);
	TRY(read(fd, room, 127));
	TRY(read(fd, room, 0));
	TRY(write(fd, room, 128));
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(pread(fd, room, 128, 0));
	kill(getpid(), SIGUSR1);
	TRY(read(fd, nowhere, 128));
	TRY(read(fd, room, 128));
	kill(getpid(), SIGUSR1);
	TRY(read(fd, room, 255));
	snprintf(room, sizeof(room), "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(room, "r");
	while (fgets(room, sizeof(room), file))
		if (!strncmp(room, "sigmask", 7) || !strncmp(room, "flags", 5))
			printf("%s", room);
	fclose(file);
	close(fd);
}

int main(void)
{
	sigset_t all;

	setvbuf(stdout, 0, _IONBF, 0);
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigprocmask(SIG_SETMASK, &all, 0);
	kinds();
	readers();
	interrupted();
	refused();
	return 0;
}
