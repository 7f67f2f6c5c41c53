// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: an interval of 1 ms, read after 50: 50 or more
// timerfd: setting, reading, waiting, clocks that are set, and what is refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

#define MS 1000000L

static int set(int fd, int flags, long value_ns, long interval_ns)
{
	struct itimerspec new = {
		{interval_ns / 1000000000, interval_ns % 1000000000},
		{value_ns / 1000000000, value_ns % 1000000000},
	};

	return timerfd_settime(fd, flags, &new, 0);
}

static long nanoseconds(struct timespec time)
{
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

static long now(int clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return nanoseconds(time);
}

static long take(int fd)
{
	uint64_t ticks = 77;

	return read(fd, &ticks, sizeof(ticks)) < 0 ? -1 : (long)ticks;
}

static int is_readable(int fd, int timeout)
{
	struct pollfd asked = {fd, POLLIN | POLLOUT, 0};

	poll(&asked, 1, timeout);
	return asked.revents;
}

static void show(const char *when, int fd, long most)
{
	struct itimerspec at;

	timerfd_gettime(fd, &at);
	long left = nanoseconds(at.it_value);
	printf("%s: left %s, interval %ld\n", when, !left ? "nothing" : left <= most ? "some" : "too much", nanoseconds(at.it_interval));
}

static void once(int clock)
{
	int fd = timerfd_create(clock, TFD_NONBLOCK);
	struct itimerspec old;
	struct itimerspec new = {{0, 0}, {100, 0}};

	show("new", fd, 0);
	TRY(take(fd));
	TRY(set(fd, 0, 100000 * MS, 0));
	show("set", fd, 100000 * MS);
	printf("readable %x\n", is_readable(fd, 0));
	TRY(timerfd_settime(fd, 0, &new, &old));
	printf("it was set: %d, interval %ld\n", nanoseconds(old.it_value) > 99000 * MS, nanoseconds(old.it_interval));
	TRY(set(fd, 0, 5 * MS, 0));
	printf("readable %x\n", is_readable(fd, -1));
	show("after it", fd, 0);
	TRY(take(fd));
	TRY(take(fd));
	// At a time, which may be over.
	TRY(set(fd, TFD_TIMER_ABSTIME, now(clock) + 5 * MS, 0));
	printf("readable %x\n", is_readable(fd, -1));
	TRY(take(fd));
	TRY(set(fd, TFD_TIMER_ABSTIME, 1, 0));
	printf("readable %x\n", is_readable(fd, -1));
	TRY(take(fd));
	// Setting it forgets what has happened.
	TRY(set(fd, 0, 1, 0));
	printf("readable %x\n", is_readable(fd, -1));
	TRY(set(fd, 0, 0, 7));
	show("off", fd, 0);
	TRY(take(fd));
	close(fd);
}

static void again(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	TRY(set(fd, 0, 1 * MS, 1 * MS));
	usleep(50000);
	long ticks = take(fd);
	printf("an interval of 1 ms, read after 50: %s\n", ticks >= 50 ? "50 or more" : "too few");
	printf("and again: %d\n", take(fd) >= 1);
	TRY(set(fd, 0, 1, 1000000 * MS));
	TRY(take(fd));
	show("the next is far", fd, 1000000 * MS);
	// One that nobody has read says when it comes next.
	TRY(set(fd, 0, 1 * MS, 100000 * MS));
	usleep(20000);
	show("not read", fd, 100000 * MS);
	TRY(take(fd));
	close(fd);
}

static void set_clock(void)
{
	int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), other = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	int relative = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), boot = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct timespec at;

	TRY(set(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now(CLOCK_REALTIME) + 1000000 * MS, 0));
	TRY(set(other, TFD_TIMER_ABSTIME, now(CLOCK_REALTIME) + 1000000 * MS, 0));
	TRY(set(relative, TFD_TIMER_CANCEL_ON_SET, 1000000 * MS, 0));
	TRY(set(boot, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now(CLOCK_MONOTONIC) + 1000000 * MS, 0));
	// Beyond what they wait for.
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += 2000;
	TRY(clock_settime(CLOCK_REALTIME, &at));
	printf("readable %x %x %x %x\n", is_readable(fd, -1), is_readable(other, -1), is_readable(relative, 0), is_readable(boot, 0));
	TRY(take(fd));
	TRY(take(other));
	TRY(take(relative));
	// Nobody has read that it was set.
	TRY(set(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now(CLOCK_REALTIME) + 1000000 * MS, 0));
	clock_gettime(CLOCK_REALTIME, &at);
	TRY(clock_settime(CLOCK_REALTIME, &at));
	TRY(set(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now(CLOCK_REALTIME) + 5 * MS, 0));
	printf("readable %x\n", is_readable(fd, -1));
	TRY(take(fd));
	at.tv_sec -= 2000;
	TRY(clock_settime(CLOCK_REALTIME, &at));
	close(fd);
	close(other);
	close(relative);
	close(boot);
}

static void refused(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), pipes[2];
	struct itimerspec bad = {{0, 0}, {0, 1000000000}}, good = {{0, 0}, {0, 0}};
	struct stat status;
	char path[40], link[40] = "", text[400], byte[4];

	TRY(fcntl(fd, F_GETFD));
	TRY(fcntl(fd, F_GETFL));
	TRY(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	TRY(timerfd_create(CLOCK_MONOTONIC_RAW, 0));
	TRY(timerfd_create(99, 0));
	TRY(timerfd_create(CLOCK_MONOTONIC, 1));
	TRY(timerfd_settime(fd, 0, &bad, 0));
	bad.it_value.tv_nsec = -1;
	TRY(timerfd_settime(fd, 0, &bad, 0));
	TRY(timerfd_settime(fd, 4, &good, 0));
	TRY(timerfd_settime(fd, 0, nowhere, 0));
	TRY(timerfd_settime(99, 0, &good, 0));
	TRY(pipe(pipes));
	TRY(timerfd_settime(pipes[0], 0, &good, 0));
	TRY(timerfd_gettime(pipes[0], &good));
	TRY(timerfd_gettime(99, &good));
	TRY(timerfd_gettime(fd, nowhere));
	TRY(read(fd, byte, 4));
	TRY(write(fd, text, 8));
	TRY(lseek(fd, 0, SEEK_SET));
	fstat(fd, &status);
	printf("mode %o\n", status.st_mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(readlink(path, link, sizeof(link) - 1));
	printf("%s\n", link);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	int info = open(path, O_RDONLY);
	ssize_t length = read(info, text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = 0;
	puts(strstr(text, "clockid"));
	close(info);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
}

static void waiting(void)
{
	int fd = timerfd_create(CLOCK_BOOTTIME, 0), status;
	pid_t child;

	TRY(set(fd, 0, 20 * MS, 0));
	// A child shares it, and one of the two gets what there is.
	child = fork();
	if (!child)
		_exit(take(fd) == 1);
	waitpid(child, &status, 0);
	printf("the child got %d\n", WEXITSTATUS(status));
	TRY(fcntl(fd, F_SETFL, O_NONBLOCK));
	TRY(take(fd));
	TRY(fcntl(fd, F_SETFL, 0));
	child = fork();
	if (!child) {
		alarm(1);
		_exit(take(fd));
	}
	waitpid(child, &status, 0);
	printf("ended by %d\n", WTERMSIG(status));
	close(fd);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	once(CLOCK_MONOTONIC);
	once(CLOCK_REALTIME);
	once(CLOCK_BOOTTIME);
	again();
	set_clock();
	refused();
	waiting();
	return 0;
}
