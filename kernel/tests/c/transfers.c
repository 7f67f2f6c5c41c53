// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: zero: splice from it 9, sendfile from it 9, splice to it 3
// Every kind of file as one end of splice and sendfile, and read and written with several buffers at once.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "said.h"

#define PAGE 4096

static int event(unsigned value)
{
	return eventfd(value, EFD_NONBLOCK);
}

static int timer(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec soon = { .it_value = { 0, 1 } };

	timerfd_settime(fd, 0, &soon, NULL);
	usleep(1000);
	return fd;
}

static int socket_with(int type, const char *text)
{
	int pair[2];

	socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair);
	write(pair[1], text, strlen(text));
	return pair[0];
}

static int file_with(const char *text)
{
	int fd = memfd_create("file", 0);

	write(fd, text, strlen(text));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

enum { NOTHING, ZERO, FULL, RANDOM, VERSION, DOMAIN, EVENT, TIMER, STREAM, DATAGRAMS, EPOLL, DIRECTORY, PLAIN, LOG, TERMINAL, KINDS };

static const char *const names[KINDS] = { "null", "zero", "full", "urandom", "version", "domainname", "eventfd", "timerfd",
					  "stream", "datagrams", "epoll", "directory", "file", "kmsg", "tty" };

static int make(int kind)
{
	switch (kind) {
	case NOTHING: return open("/dev/null", O_RDWR);
	case ZERO: return open("/dev/zero", O_RDWR);
	case FULL: return open("/dev/full", O_RDWR);
	case RANDOM: return open("/dev/urandom", O_RDWR);
	case VERSION: return open("/proc/version", O_RDONLY);
	case DOMAIN: return open("/proc/sys/kernel/domainname", O_RDWR);
	case EVENT: return event(5);
	case TIMER: return timer();
	case STREAM: return socket_with(SOCK_STREAM, "bytes of a stream");
	case DATAGRAMS: return socket_with(SOCK_DGRAM, "a datagram");
	case EPOLL: return epoll_create1(0);
	case DIRECTORY: return open("/tmp", O_RDONLY);
	case PLAIN: return file_with("content of a file");
	case LOG: return open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	case TERMINAL: return open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_NONBLOCK);
	}
	return -1;
}

static void ends(void)
{
	char bytes[16];

	for (int kind = 0; kind < KINDS; kind++) {
		int fd = make(kind), p[2], out = file_with("");

		pipe2(p, O_NONBLOCK);
		printf("%s: splice from it %s, ", names[kind], said(splice(fd, NULL, p[1], NULL, 9, SPLICE_F_NONBLOCK)));
		close(fd), fd = make(kind);
		printf("sendfile from it %s, ", said(sendfile(out, fd, NULL, 9)));
		while (read(p[0], bytes, sizeof(bytes)) > 0)
			;
		write(p[1], "xyz", 3);
		printf("splice to it %s\n", said(splice(p[0], NULL, fd, NULL, 9, SPLICE_F_NONBLOCK)));
		close(fd), fd = make(kind);
		long left = read(p[0], bytes, sizeof(bytes));
		int from = file_with("abc");
		printf("\tleft in the pipe %s, sendfile to it %s\n", said(left), said(sendfile(fd, from, NULL, 3)));
		close(fd), close(from), close(out), close(p[0]), close(p[1]);
	}
}

static void vectors(void)
{
	char one[4], two[8], text[16] = "1234567890abcdef";
	struct iovec in[] = { { one, 4 }, { NULL, 0 }, { two, 8 } };
	struct iovec out[] = { { text, 4 }, { NULL, 0 }, { text + 8, 8 } }, eights[] = { { text, 8 }, { text + 8, 8 } };
	struct iovec none[] = { { NULL, 0 } };

	for (int kind = 0; kind < KINDS; kind++) {
		int fd = make(kind);

		// What is in the log is not known; the others differ in what they say to no bytes at all.
		if (kind == LOG || kind == EPOLL || kind == DOMAIN)
			continue;
		printf("%s: readv %s, ", names[kind], said(readv(fd, in, 3)));
		printf("of nothing %s, ", said(readv(fd, none, 1)));
		printf("of no part %s, ", said(readv(fd, none, 0)));
		printf("read of nothing %s\n", said(read(fd, one, 0)));
		if (kind != TERMINAL && kind != TIMER) {
			printf("\twritev %s, ", said(writev(fd, out, 3)));
			printf("in eights %s, ", said(writev(fd, eights, 2)));
			printf("of nothing %s\n", said(writev(fd, none, 1)));
		}
		close(fd);
	}
}

// What a bad buffer leaves of a vector.
static void faults(void)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static char good[3 * PAGE];
	int p[2], pair[2], file = file_with("");

	munmap(pages + PAGE, PAGE);
	pipe2(p, O_NONBLOCK), socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
	struct iovec half[] = { { good, 10 }, { pages + PAGE - 5, 10 } };
	char *edge = pages + PAGE - 100;

	TRY(write(file, edge, 200));
	TRY(writev(file, half, 2));
	TRY(lseek(file, 0, SEEK_END));
	write(file, good, sizeof(good));
	TRY(pread(file, edge, 200, 0));
	TRY(pread(file, edge, 200, 4000));
	TRY(preadv(file, half, 2, 0));
	TRY(write(p[1], edge, 200));
	TRY(writev(p[1], half, 2));
	TRY(read(p[0], good, 100));
	write(p[1], good, 1000);
	TRY(read(p[0], edge, 200));
	TRY(readv(p[0], half, 2));
	TRY(read(p[0], good, 2000));
	TRY(write(pair[0], edge, 200));
	TRY(writev(pair[0], half, 2));
	write(pair[0], good, 1000);
	TRY(read(pair[1], edge, 200));
	TRY(readv(pair[1], half, 2));
	int zero = open("/dev/zero", O_RDONLY);
	TRY(read(zero, edge, 200));
	TRY(readv(zero, half, 2));
	int random = open("/dev/urandom", O_RDWR);
	TRY(read(random, edge, 200));
	TRY(readv(random, half, 2));
	TRY(write(random, edge, 200));
	int text = open("/proc/version", O_RDONLY);
	TRY(pread(text, pages + PAGE - 5, 10, 0));
	TRY(preadv(text, half, 2, 0));
}

// Holes, edges of pages and whole pages on their way between files and pipes.
static void contents(void)
{
	int from = file_with(""), to = file_with(""), p[2];
	static char bytes[5 * PAGE], got[5 * PAGE];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = i / PAGE % 2 ? 'a' + i % 23 : 0;
	for (unsigned page = 1; page < 5; page += 2)
		pwrite(from, bytes + page * PAGE, PAGE, page * PAGE);
	ftruncate(from, sizeof(bytes));
	pipe(p);
	off_t offset = 100;
	TRY(sendfile(to, from, &offset, 3 * PAGE));
	TRY(pread(to, got, 3 * PAGE, 0));
	printf("as they were: %d\n", memcmp(got, bytes + 100, 3 * PAGE) == 0);
	offset = 5;
	TRY(splice(from, &offset, p[1], NULL, 4 * PAGE, 0));
	offset = PAGE - 9;
	TRY(splice(p[0], NULL, to, &offset, 5 * PAGE, 0));
	TRY(pread(to, got, 4 * PAGE, PAGE - 9));
	printf("as they were: %d\n", memcmp(got, bytes + 5, 4 * PAGE) == 0);
	off_t in = PAGE + 1, out = PAGE * 7 - 3;
	TRY(copy_file_range(from, &in, from, &out, 3 * PAGE, 0));
	TRY(pread(from, got, 3 * PAGE, PAGE * 7 - 3));
	printf("as they were: %d\n", memcmp(got, bytes + PAGE + 1, 3 * PAGE) == 0);
	// What a file does not take stays in the pipe.
	write(p[1], bytes + PAGE, 1000);
	struct { int fd; const char *name; } refuses[] = { { open("/dev/full", O_WRONLY), "full" }, { event(0), "eventfd" } };
	for (int i = 0; i < 2; i++)
		printf("%s: %s\n", refuses[i].name, said(splice(p[0], NULL, refuses[i].fd, NULL, 1000, 0)));
	TRY(read(p[0], got, 2000));
	printf("as they were: %d\n", memcmp(got, bytes + PAGE, 1000) == 0);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	ends();
	vectors();
	faults();
	contents();
	return 0;
}
