// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the background reads: stopped by 21
// Jobs in a pseudo-terminal: who may read, write and change it, signals that are typed, and what becomes of groups when the shell ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "said.h"

static int master, slave;

static volatile struct {
	int hung_up, continued, error, ready;
} *shared;

static void on_signal(int number)
{
	if (number == SIGHUP)
		shared->hung_up++;
	else
		shared->continued++;
}

/// In a session of its own, that the slave belongs to.
static void in_session(void (*body)(void))
{
	master = posix_openpt(O_RDWR | O_NOCTTY);
	unlockpt(master);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	memset((void *)shared, 0, sizeof(*shared));
	pid_t child = fork();
	if (!child) {
		setsid();
		if (ioctl(slave, TIOCSCTTY, 0))
			perror("TIOCSCTTY");
		signal(SIGTTOU, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		body();
		_exit(0);
	}
	waitpid(child, 0, 0);
	while (waitpid(-1, 0, 0) > 0)
		;
	close(slave);
	close(master);
}

/// A job: a group of its own, in the foreground or not.
static pid_t job(int foreground, void (*body)(void))
{
	pid_t child = fork();

	if (!child) {
		setpgid(0, 0);
		signal(SIGHUP, SIG_DFL);
		if (foreground)
			tcsetpgrp(slave, getpid());
		signal(SIGTTOU, SIG_DFL);
		body();
		_exit(0);
	}
	setpgid(child, child);
	if (foreground)
		tcsetpgrp(slave, child);
	return child;
}

static void tell(const char *what, pid_t child, int options)
{
	int status;

	if (waitpid(child, &status, options) != child)
		perror("waitpid");
	if (WIFSTOPPED(status))
		printf("%s: stopped by %d\n", what, WSTOPSIG(status));
	else if (WIFSIGNALED(status))
		printf("%s: ended by %d\n", what, WTERMSIG(status));
	else if (WIFCONTINUED(status))
		printf("%s: goes on\n", what);
	else
		printf("%s: %d\n", what, WEXITSTATUS(status));
}

static void type(const char *what)
{
	write(master, what, strlen(what));
}

static void reads(void)
{
	char line[16];
	ssize_t size = read(slave, line, sizeof(line));

	_exit(size < 0 ? errno : (int)size);
}

static void reads_blocked(void)
{
	signal(SIGTTIN, SIG_IGN);
	reads();
}

static void writes(void)
{
	_exit(write(slave, "x", 1) == 1 ? 0 : errno);
}

static void writes_blocked(void)
{
	signal(SIGTTOU, SIG_IGN);
	writes();
}

static void changes(void)
{
	struct termios settings;

	tcgetattr(slave, &settings);
	_exit(tcsetattr(slave, TCSANOW, &settings) ? errno : 0);
}

static void takes_over(void)
{
	_exit(tcsetpgrp(slave, getpid()) ? errno : 0);
}

static void sleeps(void)
{
	for (;;)
		pause();
}

static void background(void)
{
	struct termios settings;
	pid_t child = job(0, reads);

	tell("the background reads", child, WUNTRACED);
	tcsetpgrp(slave, child);
	type("hello\n");
	kill(child, SIGCONT);
	tell("in the foreground", child, 0);
	tcsetpgrp(slave, getpid());
	tell("that ignores SIGTTIN", job(0, reads_blocked), WUNTRACED);
	tell("writes", job(0, writes), WUNTRACED);
	tcgetattr(slave, &settings);
	settings.c_lflag |= TOSTOP;
	tcsetattr(slave, TCSANOW, &settings);
	child = job(0, writes);
	tell("with TOSTOP", child, WUNTRACED);
	tcsetpgrp(slave, child);
	kill(child, SIGCONT);
	tell("in the foreground", child, 0);
	tcsetpgrp(slave, getpid());
	tell("that ignores SIGTTOU", job(0, writes_blocked), WUNTRACED);
	settings.c_lflag &= ~TOSTOP;
	tcsetattr(slave, TCSANOW, &settings);
	child = job(0, changes);
	tell("changes it", child, WUNTRACED);
	kill(child, SIGKILL);
	tell("is killed", child, 0);
	child = job(0, takes_over);
	tell("takes it over", child, WUNTRACED);
	kill(child, SIGKILL);
	tell("is killed", child, 0);
}

static void typed(void)
{
	pid_t other = job(0, sleeps), child = job(1, sleeps);

	type("\x1a");
	tell("^Z", child, WUNTRACED);
	kill(child, SIGCONT);
	tell("SIGCONT", child, WCONTINUED);
	type("\x1a");
	tell("^Z", child, WUNTRACED);
	kill(child, SIGCONT);
	tell("SIGCONT", child, WCONTINUED);
	type("\x1c");
	tell("^\\", child, 0);
	child = job(1, sleeps);
	type("\x03");
	tell("^C", child, 0);
	printf("the other lives: %s\n", said(waitpid(other, 0, WNOHANG)));
	child = job(1, sleeps);
	TRY(ioctl(master, TIOCSIG, SIGINT));
	tell("TIOCSIG", child, 0);
	TRY(ioctl(master, TIOCSIG, SIGKILL));
	kill(other, SIGKILL);
	waitpid(other, 0, 0);
}

/// Waits to be hung up.
static void waits(void)
{
	signal(SIGHUP, on_signal);
	signal(SIGCONT, on_signal);
	shared->ready = 1;
	for (int i = 0; i < 3000 && !(shared->hung_up && shared->continued); i++)
		usleep(1000);
	shared->error = open("/dev/tty", O_RDWR) < 0 ? errno : 0;
	_exit(0);
}

static void shell_ends(void)
{
	pid_t child = job(1, waits);

	while (!shared->ready)
		usleep(1000);
	kill(child, SIGSTOP);
	waitpid(child, 0, WUNTRACED);
}

static void master_ends(void)
{
	// The job would be told by the end of the shell alone.
	job(1, waits);
	while (!shared->ready)
		usleep(1000);
	signal(SIGHUP, SIG_DFL);
	shared->ready = 2;
	for (;;)
		pause();
}

static void two_jobs(void)
{
	pid_t child = job(0, sleeps), group = child;

	for (int i = 0; i < 2; i++) {
		child = fork();
		if (!child)
			sleeps();
		setpgid(child, group);
	}
	tcsetpgrp(slave, group);
	type("\x03");
	int ended = 0, status;
	while (wait(&status) > 0)
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGINT;
	printf("a group of three: %d ended\n", ended);
	TRY(tcsetpgrp(slave, group));
	printf("nobody in the foreground: %d\n", tcgetpgrp(slave) == group);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	in_session(background);
	in_session(typed);
	in_session(two_jobs);
	in_session(shell_ends);
	printf("the shell ends: SIGHUP %d, SIGCONT %d, /dev/tty %s\n", shared->hung_up, shared->continued > 0,
	       strerrorname_np(shared->error));
	master = posix_openpt(O_RDWR | O_NOCTTY);
	unlockpt(master);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	memset((void *)shared, 0, sizeof(*shared));
	pid_t child = fork();
	if (!child) {
		close(master);
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		signal(SIGTTOU, SIG_IGN);
		master_ends();
	}
	while (shared->ready != 2)
		usleep(1000);
	close(slave);
	close(master);
	tell("the master is closed: the shell", child, 0);
	while (waitpid(-1, 0, 0) > 0)
		;
	printf("its job: SIGHUP %d, SIGCONT %d, /dev/tty %s\n", shared->hung_up, shared->continued,
	       strerrorname_np(shared->error));
	return 0;
}
