// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: signalfd: 1
// io_uring waits for files that are made to be waited for: a poll of each is asked for first, then something happens.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "said.h"

static struct {
	int fd;
	unsigned *tail, *mask, *array, *completed, *taken, *completed_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
} ring;

static int start(void)
{
	struct io_uring_params params = {0};

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring.fd < 0)
		return -1;
	char *submissions = mmap(0, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	char *completions =
		mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
	ring.entries = mmap(0, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
	ring.tail = (unsigned *)(submissions + params.sq_off.tail);
	ring.mask = (unsigned *)(submissions + params.sq_off.ring_mask);
	ring.array = (unsigned *)(submissions + params.sq_off.array);
	ring.taken = (unsigned *)(completions + params.cq_off.head);
	ring.completed = (unsigned *)(completions + params.cq_off.tail);
	ring.completed_mask = (unsigned *)(completions + params.cq_off.ring_mask);
	ring.completions = (struct io_uring_cqe *)(completions + params.cq_off.cqes);
	return 0;
}

static void submit(const struct io_uring_sqe *entry)
{
	unsigned at = *ring.tail & *ring.mask;

	ring.entries[at] = *entry;
	ring.array[at] = at;
	__atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, 0, 0) != 1)
		perror("io_uring_enter");
}

static int result(void)
{
	while (__atomic_load_n(ring.completed, __ATOMIC_ACQUIRE) == *ring.taken)
		if (syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0 && errno != EINTR)
			perror("io_uring_enter");
	int result = ring.completions[*ring.taken & *ring.completed_mask].res;
	__atomic_store_n(ring.taken, *ring.taken + 1, __ATOMIC_RELEASE);
	return result;
}

static int is_done(void)
{
	return __atomic_load_n(ring.completed, __ATOMIC_ACQUIRE) != *ring.taken;
}

/// A poll is asked for, and nothing has happened yet.
static void ask(const char *name, int fd)
{
	submit(&(struct io_uring_sqe){.opcode = IORING_OP_POLL_ADD, .fd = fd, .poll_events = POLLIN});
	usleep(20000);
	if (is_done())
		printf("%s: too early\n", name);
}

static void told(const char *name)
{
	printf("%s: %x\n", name, result());
}

int main(void)
{
	sigset_t set;
	int gate[2], fd, other;
	char byte;

	setvbuf(stdout, 0, _IONBF, 0);
	if (start())
		perror("io_uring_setup");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, 0);

	fd = eventfd(0, 0);
	ask("eventfd", fd);
	write(fd, &(uint64_t){1}, 8);
	told("eventfd");

	other = epoll_create1(0);
	read(fd, &(uint64_t){0}, 8);
	epoll_ctl(other, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN});
	ask("epoll", other);
	write(fd, &(uint64_t){1}, 8);
	told("epoll");
	close(other);
	close(fd);

	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	ask("timerfd", fd);
	timerfd_settime(fd, 0, &(struct itimerspec){{0, 0}, {0, 1000000}}, 0);
	told("timerfd");
	close(fd);

	fd = signalfd(-1, &set, 0);
	ask("signalfd", fd);
	kill(getpid(), SIGUSR1);
	told("signalfd");
	struct signalfd_siginfo info = {0};
	TRY(read(fd, &info, sizeof(info)));
	submit(&(struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)&info, .len = sizeof(info)});
	usleep(20000);
	printf("read early %d\n", is_done());
	kill(getpid(), SIGUSR1);
	int size = result();
	printf("read %d, signal %d\n", size, info.ssi_signo);
	close(fd);

	pipe(gate);
	pid_t child = fork();
	if (!child) {
		close(gate[1]);
		read(gate[0], &byte, 1);
		_exit(0);
	}
	fd = (int)syscall(SYS_pidfd_open, child, 0);
	ask("pidfd", fd);
	write(gate[1], "x", 1);
	told("pidfd");
	waitpid(child, 0, 0);
	close(fd);

	fd = inotify_init1(0);
	mkdir("/tmp/uring_events", 0700);
	inotify_add_watch(fd, "/tmp/uring_events", IN_DELETE_SELF);
	ask("inotify", fd);
	rmdir("/tmp/uring_events");
	told("inotify");
	close(fd);

	fd = posix_openpt(O_RDWR | O_NOCTTY);
	unlockpt(fd);
	other = open(ptsname(fd), O_RDWR | O_NOCTTY);
	ask("master", fd);
	write(other, "x", 1);
	told("master");
	ask("slave", other);
	write(fd, "line\n", 5);
	told("slave");
	read(other, &info, sizeof(info));
	ask("hung up", other);
	close(fd);
	told("hung up");
	return 0;
}
