// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: two threads took 20000 of 20000
// epoll: level, edge and once, what is watched and what is not, files that are closed, epolls in one another, and who waits.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

static int ctl(int epoll, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};

	return epoll_ctl(epoll, operation, fd, &event);
}

/// Prints what has happened, in the order of the data.
static void happened(const char *when, int epoll, int most, int timeout)
{
	struct epoll_event events[16];
	int count = epoll_wait(epoll, events, most, timeout);

	printf("%s: %s", when, said(count));
	for (uint64_t data = 0; data < 100; data++)
		for (int i = 0; i < count; i++)
			if (events[i].data.u64 == data)
				printf(" [%lu: %x]", (unsigned long)data, events[i].events);
	printf("\n");
}

static void add(int fd, uint64_t value)
{
	if (write(fd, &value, sizeof(value)) != sizeof(value))
		perror("write");
}

static void take(int fd)
{
	uint64_t value;

	if (read(fd, &value, sizeof(value)) != sizeof(value))
		perror("read");
}

static void level_and_edge(void)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), level = eventfd(0, 0), edge = eventfd(0, 0), once = eventfd(0, 0);

	happened("nothing is watched", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_ADD, level, EPOLLIN, 1));
	TRY(ctl(epoll, EPOLL_CTL_ADD, edge, EPOLLIN | EPOLLET, 2));
	TRY(ctl(epoll, EPOLL_CTL_ADD, once, EPOLLIN | EPOLLONESHOT, 3));
	happened("nothing", epoll, 16, 0);
	add(level, 1);
	add(edge, 1);
	add(once, 1);
	happened("all", epoll, 16, -1);
	happened("level alone", epoll, 16, -1);
	add(edge, 1);
	add(once, 1);
	happened("an edge again", epoll, 16, -1);
	TRY(ctl(epoll, EPOLL_CTL_MOD, once, EPOLLIN | EPOLLONESHOT, 4));
	happened("once again", epoll, 16, -1);
	TRY(ctl(epoll, EPOLL_CTL_MOD, edge, EPOLLIN | EPOLLOUT | EPOLLET, 5));
	happened("asked anew", epoll, 16, -1);
	happened("and told", epoll, 16, -1);
	take(level);
	happened("level is over", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_MOD, level, EPOLLOUT, 6));
	happened("room", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_MOD, level, 0, 6));
	happened("nothing asked", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_DEL, level, 0, 0));
	TRY(ctl(epoll, EPOLL_CTL_DEL, level, 0, 0));
	TRY(ctl(epoll, EPOLL_CTL_MOD, level, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, edge, EPOLLIN, 0));
	// What is true before it is watched is told.
	add(level, 1);
	TRY(ctl(epoll, EPOLL_CTL_ADD, level, EPOLLIN | EPOLLET, 7));
	happened("true already", epoll, 16, 0);
	close(level);
	close(edge);
	close(once);
	happened("all closed", epoll, 16, 0);
	close(epoll);
}

static void in_turns(void)
{
	int epoll = epoll_create(1), fds[4], seen[4] = {0};
	struct epoll_event event;

	for (int i = 0; i < 4; i++) {
		fds[i] = eventfd(1, 0);
		ctl(epoll, EPOLL_CTL_ADD, fds[i], EPOLLIN, i);
	}
	for (int i = 0; i < 8; i++) {
		epoll_wait(epoll, &event, 1, -1);
		seen[event.data.u64]++;
	}
	printf("in turns: %d %d %d %d\n", seen[0], seen[1], seen[2], seen[3]);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(epoll);
}

static void pipes_and_sockets(void)
{
	int epoll = epoll_create1(0), ends[2], pair[2], timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec soon = {{0, 0}, {0, 5000000}};

	TRY(pipe(ends));
	TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ctl(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLRDHUP, 1);
	ctl(epoll, EPOLL_CTL_ADD, ends[1], EPOLLOUT | EPOLLET, 2);
	ctl(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLRDHUP, 3);
	ctl(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, 4);
	happened("room in a pipe", epoll, 16, 0);
	TRY(write(ends[1], "x", 1));
	happened("something in it", epoll, 16, 0);
	TRY(write(pair[1], "x", 1));
	happened("and in a socket", epoll, 16, 0);
	close(ends[1]);
	happened("no writer", epoll, 16, 0);
	close(ends[0]);
	shutdown(pair[1], SHUT_WR);
	happened("half closed", epoll, 16, 0);
	close(pair[1]);
	happened("closed", epoll, 16, 0);
	close(pair[0]);
	timerfd_settime(timer, 0, &soon, 0);
	happened("a timer", epoll, 16, -1);
	close(timer);
	close(epoll);
}

static void descriptors(void)
{
	int epoll = epoll_create1(0), first = eventfd(1, 0), second, third;

	// A file is watched by each descriptor, until the last of them is closed.
	TRY(ctl(epoll, EPOLL_CTL_ADD, first, EPOLLIN, 1));
	second = dup(first);
	TRY(ctl(epoll, EPOLL_CTL_ADD, second, EPOLLIN, 2));
	happened("by both", epoll, 16, 0);
	close(first);
	happened("one is closed", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_DEL, first, 0, 0));
	close(second);
	happened("both are", epoll, 16, 0);
	// Another file gets the number.
	third = eventfd(1, 0);
	printf("the same number: %d\n", third == first);
	TRY(ctl(epoll, EPOLL_CTL_ADD, third, EPOLLIN, 3));
	happened("another file", epoll, 16, 0);
	// Closed ones do not pile up.
	for (int i = 0; i < 5000; i++) {
		int fd = eventfd(1, 0);
		if (ctl(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 4))
			perror("add");
		if (i % 2 && ctl(epoll, EPOLL_CTL_DEL, fd, 0, 0))
			perror("delete");
		close(fd);
	}
	happened("many came and went", epoll, 16, 0);
	close(third);
	close(epoll);
}

static void nested(void)
{
	int outer = epoll_create1(0), inner = epoll_create1(0), event = eventfd(0, 0), chain[7];
	struct pollfd asked = {outer, POLLIN, 0};

	TRY(ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 1));
	TRY(ctl(inner, EPOLL_CTL_ADD, event, EPOLLIN, 2));
	happened("nothing inside", outer, 16, 0);
	TRY(poll(&asked, 1, 0));
	add(event, 1);
	TRY(poll(&asked, 1, -1));
	happened("something inside", outer, 16, -1);
	happened("the inner one", inner, 16, -1);
	take(event);
	happened("over", outer, 16, 0);
	TRY(poll(&asked, 1, 0));
	// By a second descriptor, and again after it was taken out.
	int again = dup(inner);
	TRY(ctl(outer, EPOLL_CTL_ADD, again, EPOLLIN, 4));
	TRY(ctl(outer, EPOLL_CTL_DEL, again, 0, 0));
	TRY(ctl(outer, EPOLL_CTL_DEL, inner, 0, 0));
	TRY(ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 1));
	close(again);
	TRY(ctl(inner, EPOLL_CTL_ADD, outer, EPOLLIN, 3));
	TRY(ctl(inner, EPOLL_CTL_ADD, inner, EPOLLIN, 3));
	close(outer);
	close(inner);
	close(event);
	// How deep they may lie in one another, from the innermost outwards and from the outermost inwards.
	for (int order = 0; order < 2; order++) {
		for (int i = 0; i < 7; i++)
			chain[i] = epoll_create1(0);
		for (int i = 0; i < 6; i++) {
			int at = order ? 5 - i : i;
			printf("%d in %d: %s\n", at + 1, at, said(ctl(chain[at], EPOLL_CTL_ADD, chain[at + 1], EPOLLIN, 0)));
		}
		for (int i = 0; i < 7; i++)
			close(chain[i]);
	}
}

static void refused(void)
{
	int epoll = epoll_create1(0), file = open("/tmp/epoll", O_RDWR | O_CREAT, 0600), directory = open("/", O_RDONLY);
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), dice = open("/dev/random", O_RDONLY);
	int more_dice = open("/dev/urandom", O_RDONLY);
	int event = eventfd(1, 0), path = open("/dev/null", O_PATH);
	struct epoll_event one;
	struct timespec none = {0, 0}, bad = {0, 1000000000};

	TRY(epoll_create(0));
	TRY(epoll_create1(1));
	TRY(ctl(epoll, EPOLL_CTL_ADD, file, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, directory, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, null, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, zero, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, more_dice, EPOLLIN, 9));
	TRY(ctl(epoll, EPOLL_CTL_ADD, dice, EPOLLIN, 9));
	happened("always", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_DEL, dice, 0, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, path, EPOLLIN, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, 99, EPOLLIN, 0));
	TRY(ctl(99, EPOLL_CTL_ADD, event, EPOLLIN, 0));
	TRY(ctl(event, EPOLL_CTL_ADD, epoll, EPOLLIN, 0));
	TRY(ctl(event, EPOLL_CTL_ADD, 99, EPOLLIN, 0));
	TRY(ctl(epoll, 4, event, EPOLLIN, 0));
	TRY(ctl(epoll, 0, event, EPOLLIN, 0));
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, event, nowhere));
	TRY(epoll_ctl(epoll, EPOLL_CTL_DEL, event, nowhere));
	TRY(ctl(epoll, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLEXCLUSIVE | EPOLLRDHUP, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 8));
	TRY(ctl(epoll, EPOLL_CTL_MOD, event, EPOLLIN, 0));
	happened("for one of several", epoll, 16, 0);
	TRY(ctl(epoll, EPOLL_CTL_DEL, event, 0, 0));
	TRY(ctl(epoll, EPOLL_CTL_ADD, event, EPOLLIN, 1));
	TRY(ctl(epoll, EPOLL_CTL_MOD, event, EPOLLIN | EPOLLEXCLUSIVE, 0));
	TRY(epoll_wait(epoll, &one, 0, 0));
	TRY(syscall(SYS_epoll_wait, epoll, &one, -1, 0));
	TRY(syscall(SYS_epoll_wait, epoll, &one, 0x7fffffff, 0));
	TRY(epoll_wait(99, &one, 1, 0));
	TRY(epoll_wait(event, &one, 1, 0));
	TRY(syscall(SYS_epoll_wait, epoll, nowhere, 1, 0));
	TRY(epoll_wait(epoll, &one, 1, 0));
	TRY(epoll_pwait2(epoll, &one, 1, &none, 0));
	TRY(epoll_pwait2(epoll, &one, 1, &bad, 0));
	TRY(syscall(SYS_epoll_pwait, epoll, &one, 1, 0, &one, 7));
	TRY(read(epoll, &one, sizeof(one)));
	TRY(write(epoll, &one, sizeof(one)));
	TRY(lseek(epoll, 0, SEEK_SET));
	close(epoll);
	close(file);
	unlink("/tmp/epoll");
	close(directory);
	close(null);
	close(zero);
	close(dice);
	close(more_dice);
	close(event);
	close(path);
}

static void nothing(int signal)
{
	(void)signal;
}

static int shared, numbers;
static int taken;

static void *serve(void *unused)
{
	struct epoll_event event;

	(void)unused;
	for (;;) {
		uint64_t value;

		if (epoll_wait(shared, &event, 1, -1) < 1)
			continue;
		if (event.data.u64)
			return 0;
		if (read(numbers, &value, sizeof(value)) == sizeof(value))
			__atomic_add_fetch(&taken, (int)value, __ATOMIC_RELAXED);
	}
}

static void waiting(void)
{
	int end = eventfd(0, 0), status;
	pthread_t threads[2];
	pid_t child;

	shared = epoll_create1(0);
	numbers = eventfd(0, EFD_NONBLOCK);
	ctl(shared, EPOLL_CTL_ADD, numbers, EPOLLIN | EPOLLET, 0);
	ctl(shared, EPOLL_CTL_ADD, end, EPOLLIN, 1);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], 0, serve, 0);
	for (int i = 0; i < 20000; i++)
		add(numbers, 1);
	// The last edge may be seen by either, and then all is taken.
	while (__atomic_load_n(&taken, __ATOMIC_RELAXED) < 20000)
		usleep(1000);
	add(end, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], 0);
	printf("two threads took %d of 20000\n", taken);

	// A child has the same epoll, and a signal ends its wait.
	take(end);
	child = fork();
	if (!child) {
		struct epoll_event event;

		signal(SIGALRM, SIG_IGN);
		_exit(epoll_wait(shared, &event, 1, 20) + 10 * epoll_wait(shared, &event, 1, 0));
	}
	waitpid(child, &status, 0);
	printf("nothing in time: %d\n", WEXITSTATUS(status));
	child = fork();
	if (!child) {
		struct epoll_event event;
		struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};

		sigaction(SIGALRM, &action, 0);
		alarm(1);
		_exit(epoll_wait(shared, &event, 1, -1) < 0 && errno == EINTR);
	}
	waitpid(child, &status, 0);
	printf("a handler ends the wait: %d\n", WEXITSTATUS(status));
	// What a child adds is told here.
	child = fork();
	if (!child) {
		usleep(20000);
		add(end, 1);
		_exit(0);
	}
	happened("from the child", shared, 1, -1);
	waitpid(child, &status, 0);
	close(shared);
	close(numbers);
	close(end);
}

/// Something that several wait for, and how it comes to be.
struct awaited {
	int fd, other;
	void (*happens)(struct awaited *);
};

static void counts(struct awaited *it) { add(it->fd, 1); }

static void expires(struct awaited *it)
{
	// Once more each time: it goes on having expired.
	struct itimerspec soon = {.it_value.tv_nsec = 1};

	TRY(timerfd_settime(it->fd, 0, &soon, NULL));
}

static void types(struct awaited *it)
{
	if (write(it->other, "x", 1) != 1)
		perror("write");
}

static void connects_to(struct awaited *it)
{
	struct sockaddr_in at;
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	getsockname(it->fd, (struct sockaddr *)&at, &size);
	TRY(connect(fd, (struct sockaddr *)&at, size));
}

/// How many of several processes, each with an epoll of its own, two events wake one after the other: those with `bits`.
static void exclusive(const char *who, uint32_t bits, struct awaited *it)
{
	enum { COUNT = 4 };
	int heard_by[2], woken[2] = {0, 0};
	pid_t children[COUNT];
	struct pollfd heard;
	char byte;

	TRY(pipe(heard_by));
	for (int i = 0; i < COUNT; i++) {
		int epoll = epoll_create1(0);

		ctl(epoll, EPOLL_CTL_ADD, it->fd, bits, 0);
		children[i] = fork();
		if (!children[i]) {
			struct epoll_event one;

			byte = epoll_wait(epoll, &one, 1, -1);
			if (write(heard_by[1], &byte, 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		close(epoll);
	}
	// They are all to wait.
	usleep(300000);
	heard = (struct pollfd){heard_by[0], POLLIN, 0};
	for (int round = 0; round < 2; round++) {
		it->happens(it);
		// The first may take its time; others have a moment.
		while (poll(&heard, 1, !woken[round] && woken[0] < COUNT ? -1 : 200) > 0 && read(heard_by[0], &byte, 1) == 1)
			woken[round]++;
	}
	for (int i = 0; i < COUNT; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], 0, 0);
	}
	printf("%s: %d and then %d\n", who, woken[0], woken[1]);
	close(it->fd);
	if (it->other >= 0)
		close(it->other);
	close(heard_by[0]);
	close(heard_by[1]);
}

static void exclusives(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct awaited it;
	struct termios raw;
	char name[100];

	for (int i = 0; i < 2; i++) {
		it = (struct awaited){eventfd(0, 0), -1, counts};
		exclusive(i ? "all" : "exclusively", EPOLLIN | (i ? 0 : EPOLLEXCLUSIVE), &it);
	}
	it = (struct awaited){timerfd_create(CLOCK_MONOTONIC, 0), -1, expires};
	exclusive("of a timer", EPOLLIN | EPOLLEXCLUSIVE, &it);
	it = (struct awaited){socket(AF_INET, SOCK_STREAM, 0), -1, connects_to};
	ioctl(it.fd, SIOCSIFFLAGS, &lo);
	TRY(bind(it.fd, (struct sockaddr *)&at, sizeof(at)));
	TRY(listen(it.fd, 10));
	exclusive("of a listener", EPOLLIN | EPOLLEXCLUSIVE, &it);
	for (int i = 0; i < 2; i++) {
		int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

		TRY(unlockpt(master));
		ptsname_r(master, name, sizeof(name));
		slave = open(name, O_RDWR | O_NOCTTY);
		tcgetattr(slave, &raw);
		cfmakeraw(&raw);
		tcsetattr(slave, TCSANOW, &raw);
		it = i ? (struct awaited){master, slave, types} : (struct awaited){slave, master, types};
		exclusive(i ? "of a master" : "of a terminal", EPOLLIN | EPOLLEXCLUSIVE, &it);
	}
}

static void watched_by_several(void)
{
	int inner = epoll_create1(0), outers[4], event = eventfd(0, 0);

	TRY(ctl(inner, EPOLL_CTL_ADD, event, EPOLLIN, 1));
	for (int i = 0; i < 4; i++) {
		outers[i] = epoll_create1(0);
		TRY(ctl(outers[i], EPOLL_CTL_ADD, inner, EPOLLIN, i));
	}
	// From the first to the last also by way of the second.
	TRY(ctl(outers[0], EPOLL_CTL_ADD, outers[1], EPOLLIN, 9));
	TRY(ctl(inner, EPOLL_CTL_ADD, outers[0], EPOLLIN, 0));
	TRY(ctl(outers[1], EPOLL_CTL_ADD, outers[0], EPOLLIN, 0));
	TRY(ctl(inner, EPOLL_CTL_ADD, outers[3], EPOLLIN | EPOLLEXCLUSIVE, 0));
	add(event, 1);
	for (int i = 0; i < 4; i++)
		happened("in each", outers[i], 16, -1);
	take(event);
	for (int i = 0; i < 4; i++) {
		happened("in none", outers[i], 16, 0);
		close(outers[i]);
	}
	close(inner);
	close(event);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	level_and_edge();
	in_turns();
	pipes_and_sockets();
	descriptors();
	nested();
	watched_by_several();
	exclusives();
	refused();
	waiting();
	return 0;
}
