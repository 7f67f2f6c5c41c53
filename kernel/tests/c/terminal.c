// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the leader ends: SIGHUP to the foreground 1, terminal gone ENXIO
// Whose terminal it is: sessions, foreground groups, orphaned groups, and the end of a session's leader. Uses the first serial line.
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

#define TERMINAL "/dev/ttyS0"

static volatile struct {
	int hung_up, continued, error, reached;
} *shared;

static const char *error(long result)
{
	return result == -1 ? strerrorname_np(errno) : "ok";
}

static void in_session(const char *what, void (*body)(int))
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		int terminal;

		setsid();
		terminal = open(TERMINAL, O_RDWR | O_NONBLOCK);
		printf("%s: own terminal %d\n", what, terminal >= 0 && open("/dev/tty", O_RDWR) >= 0);
		body(terminal);
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void rules(int terminal)
{
	pid_t group = -1, other;
	int status;

	ioctl(terminal, TIOCGPGRP, &group);
	printf("foreground is the leader's %d, session %d\n", group == getpid(), tcgetsid(terminal) == getpid());
	printf("TIOCSCTTY again: %s\n", error(ioctl(terminal, TIOCSCTTY, 0)));
	group = -2;
	printf("foreground: negative %s", error(ioctl(terminal, TIOCSPGRP, &group)));
	group = 1 << 21;
	printf(", nobody %s", error(ioctl(terminal, TIOCSPGRP, &group)));
	group = getppid();
	printf(", another session's %s", error(ioctl(terminal, TIOCSPGRP, &group)));
	printf(", bad pointer %s\n", error(ioctl(terminal, TIOCSPGRP, 8)));
	fflush(stdout);
	other = fork();
	if (!other) {
		setpgid(0, 0);
		signal(SIGTTOU, SIG_IGN);
		group = getpid();
		printf("a child in a group of its own: TIOCSPGRP %s", error(ioctl(terminal, TIOCSPGRP, &group)));
		printf(", TIOCSCTTY %s", error(ioctl(terminal, TIOCSCTTY, 0)));
		printf(", TIOCNOTTY %s", error(ioctl(terminal, TIOCNOTTY)));
		printf(", again %s", error(ioctl(terminal, TIOCNOTTY)));
		printf(", TIOCGPGRP %s, /dev/tty %s\n", error(ioctl(terminal, TIOCGPGRP, &group)),
		       error(open("/dev/tty", O_RDWR)));
		fflush(stdout);
		_exit(0);
	}
	waitpid(other, &status, 0);
	fflush(stdout);
	other = fork();
	if (!other) {
		setsid();
		printf("another session: TIOCSCTTY %s, TIOCSPGRP %s\n", error(ioctl(terminal, TIOCSCTTY, 0)),
		       error(ioctl(terminal, TIOCSPGRP, &group)));
		fflush(stdout);
		_exit(0);
	}
	waitpid(other, &status, 0);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	group = getpgrp();
	ioctl(terminal, TIOCSPGRP, &group);
	printf("the leader gives it up: %s", error(ioctl(terminal, TIOCNOTTY)));
	printf(", /dev/tty %s", error(open("/dev/tty", O_RDWR)));
	printf(", and takes it again %s\n", error(ioctl(terminal, TIOCSCTTY, 0)));
}

static void on_hang_up(int number)
{
	if (number == SIGHUP)
		shared->hung_up++;
	else
		shared->continued++;
}

static void leader_ends(int terminal)
{
	int ends[2], turn;
	char byte;

	(void)terminal;
	pipe(ends);
	if (!fork()) {
		signal(SIGHUP, on_hang_up);
		signal(SIGCONT, on_hang_up);
		write(ends[1], "", 1);
		for (turn = 0; turn < 1000 && getppid() != 1 && !shared->hung_up; turn++)
			usleep(1000);
		usleep(20000);
		shared->error = open("/dev/tty", O_RDWR) < 0 ? errno : 0;
		shared->reached = 1;
		_exit(0);
	}
	read(ends[0], &byte, 1);
}

static void orphans(int terminal)
{
	int ends[2];
	char byte;
	pid_t middle;

	fcntl(terminal, F_SETFL, 0);
	pipe(ends);
	middle = fork();
	if (!middle) {
		setpgid(0, 0);
		if (!fork()) {
			/* In the background, and nobody of the session is in another group once the parent is gone. */
			signal(SIGHUP, on_hang_up);
			read(ends[0], &byte, 1);
			shared->error = read(terminal, &byte, 1) < 0 ? errno : 0;
			kill(getpid(), SIGTSTP);
			shared->reached++;
			_exit(0);
		}
		_exit(0);
	}
	waitpid(middle, NULL, 0);
	usleep(10000);
	close(ends[0]);
	write(ends[1], "", 1);
	usleep(100000);
}

static void stopped_orphans(int terminal)
{
	int ends[2], turn;
	char byte;
	pid_t middle;

	(void)terminal;
	pipe(ends);
	middle = fork();
	if (!middle) {
		pid_t inner;

		setpgid(0, 0);
		inner = fork();
		if (!inner) {
			signal(SIGHUP, on_hang_up);
			signal(SIGCONT, on_hang_up);
			write(ends[1], "", 1);
			for (turn = 0; turn < 1000 && !shared->continued; turn++)
				usleep(1000);
			shared->reached++;
			_exit(0);
		}
		read(ends[0], &byte, 1);
		kill(inner, SIGSTOP);
		waitpid(inner, NULL, WUNTRACED);
		_exit(0);
	}
	waitpid(middle, NULL, 0);
	for (turn = 0; turn < 1000 && !shared->reached; turn++)
		usleep(1000);
}

static void reset(void)
{
	shared->hung_up = shared->continued = shared->error = shared->reached = 0;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 65536);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	in_session("rules", rules);
	in_session("end of the leader", leader_ends);
	printf("the leader ends: SIGHUP to the foreground %d, terminal gone %s\n", shared->hung_up,
	       shared->error ? strerrorname_np(shared->error) : "no");
	reset();
	in_session("orphaned group", orphans);
	printf("an orphaned group reads: %s, is not stopped by SIGTSTP: %d\n",
	       shared->error ? strerrorname_np(shared->error) : "ok", shared->reached);
	reset();
	in_session("stopped group", stopped_orphans);
	printf("a stopped group is orphaned: SIGHUP %d, SIGCONT %d, goes on %d\n", shared->hung_up, shared->continued,
	       shared->reached);
	return 0;
}
