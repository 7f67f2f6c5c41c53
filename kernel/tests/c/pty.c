// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: typed 'hello\n', seen 'hello\r\n'
// Pseudo-terminals: opening and unlocking, both directions, settings of either end, window sizes, packets, waiting, and who hangs up.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "said.h"

/// What is read, with its escapes.
static const char *text(int fd)
{
	static char out[1024];
	char in[256], *at = out;
	ssize_t size = read(fd, in, sizeof(in));

	if (size < 0)
		return strerrorname_np(errno);
	*at++ = '\'';
	for (int i = 0; i < size; i++)
		if (in[i] == '\n' || in[i] == '\r') {
			*at++ = '\\';
			*at++ = in[i] == '\n' ? 'n' : 'r';
		} else if (in[i] < 32)
			at += sprintf(at, "<%d>", in[i]);
		else
			*at++ = in[i];
	strcpy(at, "'");
	return out;
}

static int events(int fd)
{
	struct pollfd asked = {fd, POLLIN | POLLOUT | POLLPRI, 0};

	poll(&asked, 1, 0);
	return asked.revents;
}

/// Whether there is room to write, now or soon.
static int has_room(int fd)
{
	struct pollfd asked = {fd, POLLOUT, 0};

	return poll(&asked, 1, 5000);
}

/// What comes from the one end takes a moment to the other: Linux has threads for that.
static void settle(void)
{
	usleep(20000);
}

/// Waits until so many bytes can be read, which may come in parts.
static void await(int fd, int bytes)
{
	for (int i = 0, count = 0; i < 5000 && !ioctl(fd, FIONREAD, &count) && count < bytes; i++)
		usleep(1000);
}

static void put(int fd, const char *what)
{
	if (write(fd, what, strlen(what)) != (ssize_t)strlen(what))
		printf("write: %s\n", strerrorname_np(errno));
}

/// The same, and waits until so many bytes of it can be read at the other end.
static void put_for(int fd, const char *what, int other, int bytes)
{
	put(fd, what);
	await(other, bytes);
}

static int open_both(int *slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	grantpt(master);
	unlockpt(master);
	*slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	return master;
}

static void opening(void)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), number = -1, lock = -1, slave, peer;
	struct stat stat;
	char name[64];

	TRY(ioctl(master, TIOCGPTN, &number));
	snprintf(name, sizeof(name), "/dev/pts/%d", number);
	printf("named so: %d\n", !strcmp(name, ptsname(master)));
	TRY(ioctl(master, TIOCGPTLCK, &lock));
	printf("locked %d\n", lock);
	TRY(open(name, O_RDWR | O_NOCTTY));
	TRY(grantpt(master));
	TRY(unlockpt(master));
	TRY(ioctl(master, TIOCGPTLCK, &lock));
	printf("locked %d\n", lock);
	slave = open(name, O_RDWR | O_NOCTTY);
	fstat(slave, &stat);
	printf("a character device %d, major %d, the number %d, mode %o\n", S_ISCHR(stat.st_mode), major(stat.st_rdev),
	       (int)minor(stat.st_rdev) == number, stat.st_mode & 0777);
	fstat(master, &stat);
	printf("the master %d:%d\n", major(stat.st_rdev), minor(stat.st_rdev));
	printf("terminals: %d %d\n", isatty(master), isatty(slave));
	peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	printf("peer: %d, flags %x\n", peer >= 0, fcntl(peer, F_GETFD));
	TRY(ioctl(slave, TIOCGPTN, &number));
	TRY(ioctl(slave, TIOCGPTPEER, O_RDWR));
	TRY(ioctl(slave, TIOCPKT, &number));
	TRY(ioctl(master, TIOCGPTN, 8));
	close(peer);
	close(slave);
	close(master);
	TRY(open(name, O_RDWR | O_NOCTTY));
	TRY(OPEN("/dev/pts/ptmx", O_RDWR | O_NOCTTY));
	TRY(OPEN("/dev/pts/none", O_RDWR));
}

static void both_ways(void)
{
	int slave, master = open_both(&slave), count;
	struct termios settings, other;

	printf("nothing: %x %x\n", events(master), events(slave));
	put_for(master, "hello\n", slave, 6);
	await(master, 7);
	printf("%x %x\n", events(master), events(slave));
	TRY(ioctl(slave, FIONREAD, &count));
	printf("typed %s,", text(slave));
	printf(" seen %s\n", text(master));
	put_for(slave, "out\n", master, 5);
	TRY(ioctl(master, FIONREAD, &count));
	printf("%d bytes: %s\n", count, text(master));
	put(master, "ab\x7f" "c\x15" "x\x04");
	printf("edited: %s", text(slave));
	// Each erased character is three to see.
	await(master, 2 + 3 + 1 + 6 + 1);
	printf(" seen %s\n", text(master));
	put(master, "\x04");
	printf("end of file: %s\n", text(slave));
	tcgetattr(slave, &settings);
	tcgetattr(master, &other);
	printf("%x %x %x %x, the same by the master %d\n", settings.c_iflag, settings.c_oflag, settings.c_cflag,
	       settings.c_lflag, !memcmp(&settings, &other, sizeof(settings)));
	cfmakeraw(&settings);
	TRY(tcsetattr(master, TCSANOW, &settings));
	put_for(master, "raw\n", slave, 4);
	printf("raw: %s\n", text(slave));
	put_for(slave, "raw\n", master, 4);
	printf("raw: %s\n", text(master));
	put_for(slave, "lost", master, 4);
	TRY(tcflush(master, TCIFLUSH));
	put_for(master, "lost", slave, 4);
	TRY(tcflush(slave, TCIFLUSH));
	fcntl(slave, F_SETFL, O_NONBLOCK);
	printf("flushed: %s", text(slave));
	fcntl(master, F_SETFL, O_NONBLOCK);
	printf(" and %s\n", text(master));
	close(slave);
	close(master);
}

static volatile sig_atomic_t resized;

static void on_resize(int signal)
{
	(void)signal;
	resized++;
}

static void sizes(void)
{
	int slave, master = open_both(&slave), ready[2], status;
	struct winsize size = {0}, new = {30, 100, 1, 2};
	char byte;

	TRY(ioctl(slave, TIOCGWINSZ, &size));
	printf("%d %d %d %d\n", size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel);
	pipe(ready);
	pid_t child = fork();
	if (!child) {
		struct sigaction action = {.sa_handler = on_resize};

		close(master);
		setsid();
		sigaction(SIGWINCH, &action, 0);
		ioctl(slave, TIOCSCTTY, 0);
		write(ready[1], "", 1);
		for (int i = 0; i < 1000 && !resized; i++)
			usleep(1000);
		settle();
		_exit(resized);
	}
	read(ready[0], &byte, 1);
	TRY(ioctl(master, TIOCSWINSZ, &new));
	TRY(ioctl(master, TIOCSWINSZ, &new));
	TRY(ioctl(slave, TIOCGWINSZ, &size));
	printf("%d %d %d %d\n", size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel);
	waitpid(child, &status, 0);
	printf("told %d\n", WEXITSTATUS(status));
	close(slave);
	close(master);
}

static void packets(void)
{
	int slave, master = open_both(&slave), on = 1;
	struct termios settings;

	TRY(ioctl(master, TIOCPKT, &on));
	put_for(slave, "data", master, 4);
	printf("%x %s\n", events(master), text(master));
	tcflush(slave, TCIOFLUSH);
	printf("%x %s\n", events(master), text(master));
	tcgetattr(slave, &settings);
	settings.c_iflag &= ~IXON;
	tcsetattr(slave, TCSANOW, &settings);
	printf("%x %s\n", events(master), text(master));
	settings.c_iflag |= IXON;
	tcsetattr(slave, TCSANOW, &settings);
	printf("%x %s\n", events(master), text(master));
	TRY(ioctl(master, TIOCGPKT, &on));
	printf("packets %d\n", on);
	on = 0;
	TRY(ioctl(master, TIOCPKT, &on));
	put_for(slave, "data", master, 4);
	printf("%s\n", text(master));
	close(slave);
	close(master);
}

static void full(void)
{
	int slave, master = open_both(&slave), turns;
	struct termios settings;
	char block[1000];

	memset(block, 'x', sizeof(block));
	tcgetattr(slave, &settings);
	cfmakeraw(&settings);
	tcsetattr(slave, TCSANOW, &settings);
	fcntl(slave, F_SETFL, O_NONBLOCK);
	fcntl(master, F_SETFL, O_NONBLOCK);
	for (turns = 0; turns < 1000 && write(slave, block, sizeof(block)) > 0; turns++)
		;
	/* Linux moves what was written on by a thread of its own, so there may be room again already. */
	printf("bounded %d, %s\n", turns < 1000, strerrorname_np(errno));
	while (read(master, block, sizeof(block)) > 0)
		settle();
	printf("room again %d\n", has_room(slave));
	for (turns = 0; turns < 1000 && write(master, block, sizeof(block)) > 0; turns++)
		;
	printf("bounded %d, %s\n", turns < 1000, strerrorname_np(errno));
	while (read(slave, block, sizeof(block)) > 0)
		settle();
	printf("room again %d\n", has_room(master));
	close(slave);
	close(master);
}

static void hanging_up(void)
{
	int slave, master = open_both(&slave), status, ends[2];
	char byte;

	// The slave's end, and that it is opened again.
	put_for(slave, "left", master, 4);
	close(slave);
	printf("the slave is closed: %x %s", events(master), text(master));
	printf(" %x %s\n", events(master), text(master));
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	printf("open again: %x\n", events(master));
	put_for(slave, "again", master, 5);
	printf("%s\n", text(master));
	// The master's end.
	pid_t child = fork();
	if (!child) {
		close(master);
		printf("the one who waits: %s\n", text(slave));
		_exit(0);
	}
	settle();
	close(master);
	waitpid(child, 0, 0);
	printf("the master is closed: %x %s", events(slave), text(slave));
	printf(" write %s", said(write(slave, "x", 1)));
	printf(" ioctl %s", said(tcflush(slave, TCIFLUSH)));
	pid_t group = 1;
	printf(" TIOCSPGRP %s\n", said(ioctl(slave, TIOCSPGRP, &group)));
	close(slave);
	// Whose terminal it was hears of it.
	pipe(ends);
	master = open_both(&slave);
	child = fork();
	if (!child) {
		close(master);
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		printf("its own: %d\n", OPEN("/dev/tty", O_RDWR));
		write(ends[1], "", 1);
		for (;;)
			pause();
	}
	read(ends[0], &byte, 1);
	close(slave);
	close(master);
	waitpid(child, &status, 0);
	printf("ended by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void no_control(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), status;

	unlockpt(master);
	pid_t child = fork();
	if (!child) {
		setsid();
		int slave = open(ptsname(master), O_RDWR | O_NOCTTY);

		printf("O_NOCTTY: %s\n", said(OPEN("/dev/tty", O_RDWR)));
		close(slave);
		slave = open(ptsname(master), O_WRONLY);
		printf("to write: %s\n", said(OPEN("/dev/tty", O_RDWR)));
		slave = open(ptsname(master), O_RDWR);
		printf("without: %s\n", said(OPEN("/dev/tty", O_RDWR)));
		pid_t group = -1;
		printf("foreground %d by both %d", tcgetpgrp(slave) == getpid(), !ioctl(master, TIOCGPGRP, &group));
		printf(" %d, session %d\n", group == getpid(), tcgetsid(master) == getpid());
		_exit(0);
	}
	waitpid(child, &status, 0);
	close(master);
}

static void ctrl_c(void)
{
	int master, status;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);
	pid_t child = forkpty(&master, 0, 0, 0);

	if (!child) {
		write(1, "ready\n", 6);
		for (;;)
			pause();
	}
	epoll_ctl(epoll, EPOLL_CTL_ADD, master, &event);
	TRY(epoll_wait(epoll, &event, 1, -1));
	await(master, 7);
	printf("%s\n", text(master));
	put(master, "\x03");
	waitpid(child, &status, 0);
	printf("ended by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	await(master, 2);
	printf("%s\n", text(master));
	printf("%s\n", text(master));
	close(epoll);
	close(master);
}

/// Whether something can be read soon.
static int comes(int fd)
{
	struct pollfd asked = {fd, POLLIN, 0};

	return poll(&asked, 1, 5000);
}

static void stopping(void)
{
	int slave, master = open_both(&slave), one = 1;
	struct termios modes, old;

	tcgetattr(slave, &old);
	modes = old;
	modes.c_lflag &= ~ECHO;
	tcsetattr(slave, TCSANOW, &modes);
	fcntl(master, F_SETFL, O_NONBLOCK);
	fcntl(slave, F_SETFL, O_NONBLOCK);
	put(master, "\x13");
	while (events(slave) & POLLOUT)
		usleep(1000);
	TRY(write(slave, "x", 1));
	printf("stopped: room %d, %s\n", (events(slave) & POLLOUT) != 0, text(master));
	put(master, "a\x11");
	TRY(has_room(slave));
	TRY(write(slave, "y", 1));
	TRY(comes(master));
	printf("goes on: %s\n", text(master));
	// IXANY: by anything.
	modes.c_iflag |= IXANY;
	tcsetattr(slave, TCSANOW, &modes);
	put(master, "\x13");
	while (events(slave) & POLLOUT)
		usleep(1000);
	put(master, "b");
	TRY(has_room(slave));
	// By a program.
	TRY(tcflow(slave, TCOOFF));
	TRY(tcflow(slave, TCOOFF));
	put(master, "\x11" "c");
	settle();
	TRY(write(slave, "x", 1));
	TRY(tcflow(slave, TCOON));
	TRY(write(slave, "x", 1));
	TRY(tcflow(slave, TCIOFF));
	TRY(tcflow(slave, TCION));
	TRY(ioctl(slave, TCXONC, 4));
	TRY(ioctl(slave, TCXONC, -1));
	await(master, 3);
	printf("asked to wait: %s\n", text(master));
	// It is not ^S any more.
	put(master, "\x13");
	while (events(slave) & POLLOUT)
		usleep(1000);
	modes.c_iflag &= ~IXON;
	tcsetattr(slave, TCSANOW, &modes);
	TRY(has_room(slave));
	put(master, "\x13\n");
	TRY(comes(slave));
	printf("typed: %s\n", text(slave));
	// Packets.
	tcsetattr(slave, TCSANOW, &old);
	TRY(ioctl(master, TIOCPKT, &one));
	put(master, "\x13");
	TRY(comes(master));
	printf("a packet: %s\n", text(master));
	put(master, "\x11");
	TRY(comes(master));
	printf("a packet: %s\n", text(master));
	TRY(tcflow(slave, TCOOFF));
	TRY(comes(master));
	printf("a packet: %s\n", text(master));
	TRY(tcflow(slave, TCOON));
	TRY(comes(master));
	printf("a packet: %s\n", text(master));
	// The other way.
	TRY(ioctl(master, TCXONC, TCOOFF));
	TRY(write(master, "x", 1));
	printf("the master has room: %d\n", (events(master) & POLLOUT) != 0);
	TRY(ioctl(master, TCXONC, TCOON));
	TRY(write(master, "x", 1));
	close(slave);
	close(master);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	opening();
	both_ways();
	sizes();
	packets();
	full();
	hanging_up();
	no_control();
	ctrl_c();
	stopping();
	return 0;
}
