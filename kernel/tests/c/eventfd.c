// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: two threads: 200000 in all
// eventfd: what is added and taken, who waits and for what, and what /proc tells of it.
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
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

static long add(int fd, uint64_t value)
{
	return write(fd, &value, sizeof(value));
}

/// What is taken, or -1.
static long take(int fd)
{
	uint64_t value = 77;

	return read(fd, &value, sizeof(value)) < 0 ? -1 : (long)value;
}

static void possible(const char *when, int fd)
{
	struct pollfd asked = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM, 0};

	poll(&asked, 1, 0);
	printf("%s: %x\n", when, asked.revents);
}

static void numbers(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	char bytes[24] = "";
	uint64_t value;

	possible("new", fd);
	TRY(take(fd));
	TRY(add(fd, 0));
	TRY(take(fd));
	TRY(add(fd, 3));
	TRY(add(fd, 4));
	possible("with 7", fd);
	TRY(take(fd));
	TRY(add(fd, UINT64_MAX));
	TRY(add(fd, UINT64_MAX - 1));
	possible("full", fd);
	TRY(add(fd, 1));
	TRY(add(fd, 0));
	printf("full: %lx\n", take(fd));
	TRY(add(fd, UINT64_MAX - 2));
	possible("nearly full", fd);
	TRY(add(fd, 1));
	TRY(read(fd, bytes, 7));
	TRY(write(fd, bytes, 7));
	TRY(read(fd, bytes, 0));
	TRY(read(fd, bytes, sizeof(bytes)));
	memset(bytes, 1, sizeof(bytes));
	TRY(write(fd, bytes, sizeof(bytes)));
	TRY(read(fd, nowhere, 8));
	TRY(take(fd));
	TRY(write(fd, nowhere, 8));
	TRY(pread(fd, &value, 8, 0));
	TRY(pwrite(fd, &value, 8, 0));
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(ftruncate(fd, 0));
	TRY(fsync(fd));
	TRY(mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	// Each read takes one number, however its buffer is cut up.
	struct iovec halves[3] = {{bytes, 4}, {bytes + 8, 0}, {bytes + 16, 4}}, twice[2] = {{bytes, 8}, {bytes + 8, 8}};
	TRY(fcntl(fd, F_SETFL, 0));
	TRY(add(fd, 0x1122334455667788));
	memset(bytes, 0, sizeof(bytes));
	TRY(readv(fd, halves, 3));
	printf("in halves: %x %x\n", *(unsigned *)bytes, *(unsigned *)(bytes + 16));
	TRY(readv(fd, halves, 2));
	TRY(add(fd, 5));
	memset(bytes, 0, sizeof(bytes));
	TRY(readv(fd, twice, 2));
	printf("once: %lx %lx\n", *(long *)bytes, *(long *)(bytes + 8));
	close(fd);

	fd = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	TRY(take(fd));
	TRY(take(fd));
	TRY(take(fd));
	TRY(take(fd));
	close(fd);
}

static void making(void)
{
	struct stat status;
	char link[40], path[40], text[400];
	int fd;

	TRY(eventfd(0, 2));
	TRY(syscall(SYS_eventfd, 5) < 0 ? -1 : 0);
	TRY(syscall(SYS_eventfd2, UINT32_MAX, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) < 0 ? -1 : 0);
	fd = eventfd(0xabcd, EFD_CLOEXEC | EFD_SEMAPHORE);
	TRY(fcntl(fd, F_GETFD));
	TRY(fcntl(fd, F_GETFL));
	fstat(fd, &status);
	printf("mode %o size %ld\n", status.st_mode, (long)status.st_size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(link, 0, sizeof(link));
	TRY(readlink(path, link, sizeof(link) - 1));
	printf("%s\n", link);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	int info = open(path, O_RDONLY);
	ssize_t length = read(info, text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n"))
		if (!strncmp(line, "eventfd-count", 13) || !strncmp(line, "eventfd-sem", 11))
			printf("%s\n", line);
	close(info);
	close(fd);
}

static void *add_many(void *at)
{
	for (int i = 0; i < 100000; i++)
		add(*(int *)at, 1);
	return 0;
}

static void waiting(void)
{
	int fd = eventfd(0, 0), status;
	pthread_t threads[2];
	long all = 0;
	pid_t child;

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], 0, add_many, &fd);
	while (all < 200000)
		all += take(fd);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], 0);
	printf("two threads: %ld in all\n", all);

	// Who writes to a full one waits for room.
	add(fd, UINT64_MAX - 1);
	child = fork();
	if (!child) {
		add(fd, 5);
		_exit(0);
	}
	struct pollfd asked = {fd, POLLOUT, 0};
	TRY(poll(&asked, 1, 20));
	printf("taken %lx\n", take(fd));
	waitpid(child, &status, 0);
	TRY(take(fd));
	TRY(poll(&asked, 1, -1));

	// A signal ends the wait, unless it is to go on.
	child = fork();
	if (!child) {
		alarm(1);
		take(fd);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("ended by %d\n", WTERMSIG(status));
	close(fd);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	numbers();
	making();
	waiting();
	return 0;
}
