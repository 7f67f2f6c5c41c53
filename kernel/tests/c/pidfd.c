// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the number means nobody now: ESRCH
// pidfd: of processes and threads, from all calls that give one; waiting, signals, other processes' descriptors, what is refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

#define OF_THREAD O_EXCL

static int pidfd_open(pid_t pid, unsigned flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int send(int fd, int signal, siginfo_t *info, unsigned flags)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static int getfd(int fd, int target, unsigned flags)
{
	return (int)syscall(SYS_pidfd_getfd, fd, target, flags);
}

static int events(int fd, int timeout)
{
	struct pollfd asked = {fd, POLLIN | POLLOUT | POLLRDNORM, 0};

	return poll(&asked, 1, timeout) < 0 ? -1 : asked.revents;
}

/// Waits for the end of what nobody waits for: it has ended first, and is gone a moment later.
static void until_hung_up(int fd)
{
	while (!(events(fd, -1) & POLLHUP))
		usleep(1000);
}

static void show_number(const char *when, int fd, pid_t pid)
{
	char text[128];

	snprintf(text, sizeof(text), "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(text, "r");
	printf("%s:", when);
	while (fgets(text, sizeof(text), file)) {
		int number;

		if (sscanf(text, "Pid:\t%d", &number) == 1 || sscanf(text, "NSpid:\t%d", &number) == 1)
			printf(" %s", number == pid ? "its number" : number < 0 ? "none" : "another");
		if (!strncmp(text, "flags", 5))
			printf(" %.*s", (int)strlen(text) - 1, text);
	}
	printf("\n");
	fclose(file);
}

/// A child that ends with 7 when something comes through the pipe.
static pid_t child_of(int gate[2])
{
	pipe(gate);
	pid_t child = fork();
	if (!child) {
		char byte;

		close(gate[1]);
		_exit(read(gate[0], &byte, 1) == 1 ? 7 : 8);
	}
	close(gate[0]);
	return child;
}

static void wait_for(const char *what, int fd, int options)
{
	siginfo_t info = {0};
	int result = waitid((idtype_t)P_PIDFD, (id_t)fd, &info, options);

	printf("%s: %s", what, said(result));
	printf(" code %d status %d\n", info.si_code, info.si_status);
}

static void life(void)
{
	int gate[2], epoll = epoll_create1(0);
	pid_t child = child_of(gate);
	int fd = pidfd_open(child, 0), impatient = pidfd_open(child, O_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
	char name[64] = {0}, text[64];

	printf("flags %x %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), fcntl(impatient, F_GETFL));
	show_number("alive", fd, child);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	readlink(text, name, sizeof(name) - 1);
	printf("%s\n", name);
	printf("alive %x\n", events(fd, 0));
	wait_for("not yet", fd, WEXITED | WNOHANG);
	wait_for("not yet", impatient, WEXITED);
	wait_for("not yet", impatient, WEXITED | WNOHANG);
	TRY(send(fd, 0, 0, 0));
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	TRY(epoll_wait(epoll, &event, 1, 0));
	write(gate[1], "x", 1);
	TRY(epoll_wait(epoll, &event, 1, -1));
	printf("epoll says %x, poll %x\n", event.events, events(fd, -1));
	TRY(send(fd, SIGUSR1, 0, 0));
	TRY(getfd(fd, 0, 0));
	show_number("ended", fd, child);
	wait_for("kept", fd, WEXITED | WNOWAIT);
	wait_for("taken", impatient, WEXITED);
	printf("afterwards %x\n", events(fd, -1));
	TRY(epoll_wait(epoll, &event, 1, -1));
	printf("epoll says %x\n", event.events);
	wait_for("no more", fd, WEXITED);
	TRY(send(fd, 0, 0, 0));
	TRY(getfd(fd, 0, 0));
	printf("the number means nobody now: %s\n", said(pidfd_open(child, 0)));
	show_number("gone", fd, child);
	close(fd);
	close(impatient);
	close(gate[1]);
	close(epoll);
	// One that nobody waits for.
	signal(SIGCHLD, SIG_IGN);
	child = child_of(gate);
	fd = pidfd_open(child, 0);
	write(gate[1], "x", 1);
	until_hung_up(fd);
	printf("ended without a trace %x\n", events(fd, -1));
	signal(SIGCHLD, SIG_DFL);
	close(fd);
	close(gate[1]);
}

static void made_with(void)
{
	int fd = -1, status;
	pid_t child = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
	struct clone_args arguments = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};

	if (!child)
		_exit(fcntl(*(volatile int *)&fd, F_GETFD) < 0 ? 1 : 2);
	printf("clone: flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	show_number("clone", fd, child);
	wait_for("the child has not got it", fd, WEXITED);
	close(fd);
	arguments.pidfd = (uintptr_t)&fd;
	child = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (!child)
		_exit(4);
	show_number("clone3", fd, child);
	wait_for("clone3", fd, WEXITED);
	close(fd);
	// What is refused leaves neither a child nor a descriptor.
	int first = dup(0);
	close(first);
	TRY(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &fd, 0, 0));
	TRY(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &fd, 0, 0));
	TRY(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, nowhere, 0, 0));
	arguments.parent_tid = arguments.pidfd;
	arguments.flags |= CLONE_PARENT_SETTID;
	TRY(syscall(SYS_clone3, &arguments, sizeof(arguments)));
	TRY(waitpid(-1, &status, 0));
	printf("the same descriptor is free: %d\n", dup(0) == first);
	close(first);
}

static volatile pid_t thread_number;
static int stay[2];

static void *linger(void *unused)
{
	char byte;

	(void)unused;
	thread_number = gettid();
	read(stay[0], &byte, 1);
	return 0;
}

static void threads(void)
{
	pthread_t thread;
	int of_thread, of_process;

	pipe(stay);
	pthread_create(&thread, 0, linger, 0);
	while (!thread_number)
		usleep(1000);
	TRY(pidfd_open(thread_number, 0));
	of_thread = pidfd_open(thread_number, OF_THREAD);
	of_process = pidfd_open(getpid(), 0);
	printf("flags %x, alive %x %x\n", fcntl(of_thread, F_GETFL), events(of_thread, 0), events(of_process, 0));
	show_number("thread", of_thread, thread_number);
	TRY(send(of_thread, 0, 0, 0));
	wait_for("a thread", of_thread, WEXITED);
	write(stay[1], "x", 1);
	until_hung_up(of_thread);
	printf("ended %x\n", events(of_thread, -1));
	pthread_join(thread, 0);
	TRY(send(of_thread, 0, 0, 0));
	close(of_thread);
	close(of_process);
}

static volatile sig_atomic_t code, value;

static void handle(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	code = info->si_code;
	value = info->si_value.sival_int;
}

static void signals(void)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
	int own = pidfd_open(getpid(), 0), as_thread = pidfd_open(getpid(), OF_THREAD), gate[2];
	siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
	int status;

	sigaction(SIGUSR1, &action, 0);
	info.si_value.sival_int = 5;
	TRY(send(own, SIGUSR1, 0, 0));
	printf("code %d\n", code);
	TRY(send(as_thread, SIGUSR1, 0, 0));
	printf("code %d\n", code);
	TRY(send(as_thread, SIGUSR1, 0, 2));
	printf("code %d\n", code);
	TRY(send(own, SIGUSR1, 0, 1));
	printf("code %d\n", code);
	TRY(send(own, SIGUSR1, &info, 0));
	printf("code %d value %d\n", code, value);
	info.si_code = SI_USER;
	TRY(send(own, SIGUSR1, &info, 0));
	TRY(send(own, SIGUSR2, &info, 0));
	TRY(send(own, SIGUSR1, nowhere, 0));
	TRY(send(own, 65, 0, 0));
	TRY(send(own, 0, 0, 8));
	TRY(send(own, 0, 0, 3));
	TRY(send(0, 0, 0, 0));
	TRY(send(99, 0, 0, 0));
	pid_t child = child_of(gate);
	int other = pidfd_open(child, 0);
	TRY(send(other, SIGUSR1, &info, 0));
	TRY(send(other, 0, 0, 4));
	setpgid(child, child);
	TRY(send(other, SIGTERM, &info, 4));
	TRY(send(other, SIGTERM, 0, 4));
	waitpid(child, &status, 0);
	printf("ended by %d\n", WTERMSIG(status));
	close(other);
	close(own);
	close(as_thread);
	close(gate[1]);
}

static void descriptors(void)
{
	int gate[2], told[2], status;

	pipe(told);
	pipe(gate);
	pid_t child = fork();
	if (!child) {
		int memory = memfd_create("shared", 0);
		char byte;

		write(memory, "hello", 5);
		write(told[1], &memory, sizeof(memory));
		read(gate[0], &byte, 1);
		_exit(lseek(memory, 0, SEEK_CUR) == 2 ? 0 : 1);
	}
	int theirs, fd = pidfd_open(child, 0), copy;
	char text[8] = {0};
	read(told[0], &theirs, sizeof(theirs));
	copy = getfd(fd, theirs, 0);
	printf("flags %x\n", fcntl(copy, F_GETFD));
	pread(copy, text, 5, 0);
	printf("%s\n", text);
	lseek(copy, 2, SEEK_SET);
	TRY(getfd(fd, 99, 0));
	TRY(getfd(fd, theirs, 1));
	TRY(getfd(0, theirs, 0));
	TRY(getfd(99, theirs, 0));
	// Somebody else may not.
	pid_t stranger = fork();
	if (!stranger) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			perror("setresuid");
		TRY(getfd(fd, theirs, 0));
		TRY(send(fd, 0, 0, 0));
		_exit(0);
	}
	waitpid(stranger, 0, 0);
	write(gate[1], "x", 1);
	waitpid(child, &status, 0);
	printf("it was the same open file: %d\n", status == 0);
	close(fd);
	close(copy);
}

static void refused(void)
{
	char byte;
	int own = pidfd_open(getpid(), 0);

	TRY(pidfd_open(0, 0));
	TRY(pidfd_open(-1, 0));
	TRY(pidfd_open(getpid(), 1));
	TRY(pidfd_open(4194303, 0));
	TRY(read(own, &byte, 1));
	TRY(write(own, &byte, 1));
	wait_for("oneself", own, WEXITED);
	wait_for("no process", 0, WEXITED);
	wait_for("nothing", 99, WEXITED);
	wait_for("negative", -1, WEXITED);
	close(own);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	life();
	made_with();
	threads();
	signals();
	descriptors();
	refused();
	return 0;
}
