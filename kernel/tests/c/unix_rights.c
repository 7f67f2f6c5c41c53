// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a socket that holds itself: its pipe has ended
// Files that travel: sockets among them, in circles, in chains, unaccepted, too many, looked at; what nobody can get at any more is closed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets.h"

static union { char bytes[CMSG_SPACE(300 * sizeof(int))]; struct cmsghdr align; } control;

/* Sends a byte with files. */
static long give(int to, const int *fds, int count, int flags)
{
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };

	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	control.align = (struct cmsghdr){ CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
	return sendmsg(to, &message, flags | MSG_DONTWAIT);
}

/* Receives a byte with files, with room for `room` of them: how many came. */
static int take(int from, int *fds, int room, int flags, int *got_flags)
{
	char byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };

	memset(&control, 0, sizeof(control));
	message.msg_controllen = room ? CMSG_LEN(room * sizeof(int)) : 0;
	if (recvmsg(from, &message, flags | MSG_DONTWAIT) < 0)
		return -1;
	if (got_flags)
		*got_flags = message.msg_flags;
	if (message.msg_controllen < sizeof(struct cmsghdr))
		return 0;
	int count = (control.align.cmsg_len - CMSG_LEN(0)) / sizeof(int);

	memcpy(fds, CMSG_DATA(&control.align), count * sizeof(int));
	return count;
}

/* Closing any Unix socket makes both kernels look for circles. */
static void look_for_circles(void) { close(socket(AF_UNIX, SOCK_STREAM, 0)); }

/* Whether nobody can write to a pipe any more, after some time. */
static const char *has_ended(int pipe)
{
	struct pollfd poll_fd = { pipe, POLLIN, 0 };

	for (int i = 0; i < 100; i++) {
		if (poll(&poll_fd, 1, 20) > 0)
			return "its pipe has ended";
		look_for_circles();
	}
	return "its pipe goes on";
}

static void travel(void)
{
	int s[2], t[2], fds[300], flags, many[254], p[2];
	char bytes[8] = "";
	struct stat before, after;

	socketpair(AF_UNIX, SOCK_STREAM, 0, s), socketpair(AF_UNIX, SOCK_SEQPACKET, 0, t), pipe(p);
	told("a socket", give(s[0], &t[0], 1, 0));
	fstat(t[0], &before);
	close(t[0]);
	send(t[1], "waiting", 7, 0);
	told("arrives", take(s[1], fds, 1, 0, &flags));
	fstat(fds[0], &after);
	printf("the same: %d, flags %#x\n", before.st_ino == after.st_ino, flags);
	told("what is in it", recv(fds[0], bytes, 8, 0));
	close(fds[0]);
	told("its peer", send(t[1], "x", 1, MSG_NOSIGNAL));
	close(t[1]);
	for (int i = 0; i < 254; i++)
		many[i] = p[1];
	told("too many", give(s[0], many, 254, 0));
	told("as many as may be", give(s[0], many, 253, 0));
	told("all arrive", take(s[1], fds, 300, MSG_CMSG_CLOEXEC, &flags));
	printf("closed by exec: %d, flags %#x\n", fcntl(fds[252], F_GETFD), flags);
	for (int i = 0; i < 253; i++)
		close(fds[i]);
	/* Looked at, and then read. */
	give(s[0], many, 2, 0);
	told("a look", take(s[1], fds, 2, MSG_PEEK, NULL));
	told("another", take(s[1], fds + 2, 2, MSG_PEEK, NULL));
	told("read", take(s[1], fds + 4, 2, 0, NULL));
	told("nothing left", take(s[1], fds, 2, 0, NULL));
	for (int i = 0; i < 6; i++)
		told("each can be closed", close(fds[i]));
	/* With too little room. */
	give(s[0], many, 3, 0);
	told("room for one", take(s[1], fds, 1, 0, &flags));
	printf("flags %#x\n", flags);
	close(fds[0]);
	give(s[0], many, 3, 0);
	told("room for none", take(s[1], fds, 0, 0, &flags));
	printf("flags %#x\n", flags);
	give(s[0], many, 3, 0);
	told("as bytes", recv(s[1], bytes, 8, 0));
	close(p[1]);
	printf("what nobody took is closed: %s\n", has_ended(p[0]));
	close(p[0]);
	/* No descriptor left. */
	struct rlimit limit, old;
	int last = dup(0);

	close(last);
	getrlimit(RLIMIT_NOFILE, &old);
	limit = (struct rlimit){ last + 1, old.rlim_max };
	give(s[0], (int[]){ 0, 0 }, 2, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	told("one descriptor left", take(s[1], fds, 2, 0, &flags));
	printf("flags %#x\n", flags);
	setrlimit(RLIMIT_NOFILE, &old);
	close(fds[0]);
	close(s[0]), close(s[1]);
}

/* Two sockets, and a pipe of which only what is on its way to the first has the end that writes. */
static int with_pipe(int s[2], int type)
{
	int p[2];

	socketpair(AF_UNIX, type, 0, s), pipe(p);
	give(s[1], &p[1], 1, 0);
	close(p[1]);
	return p[0];
}

static void circles(void)
{
	int s[2], t[2], u[2], pipe;
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

	for (int i = 0; i < 3; i++) {
		pipe = with_pipe(s, types[i]);
		give(s[1], &s[0], 1, 0);
		close(s[0]), close(s[1]);
		printf("a socket that holds itself: %s\n", has_ended(pipe));
		close(pipe);
		pipe = with_pipe(s, types[i]);
		give(s[0], &s[0], 1, 0), give(s[1], &s[1], 1, 0);
		close(s[0]), close(s[1]);
		look_for_circles();
		printf("two that hold each other: %s\n", has_ended(pipe));
		close(pipe);
		pipe = with_pipe(s, types[i]);
		socketpair(AF_UNIX, types[i], 0, t), socketpair(AF_UNIX, types[i], 0, u);
		give(t[1], &s[0], 1, 0), give(u[1], &t[0], 1, 0), give(s[1], &u[0], 1, 0);
		close(s[0]), close(t[0]), close(u[0]);
		close(s[1]), close(t[1]), close(u[1]);
		printf("three: %s\n", has_ended(pipe));
		close(pipe);
	}
	/* A circle that somebody can get at stays. */
	pipe = with_pipe(s, SOCK_STREAM);
	give(s[1], &s[0], 1, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, t);
	give(t[0], &s[0], 1, 0);
	close(s[0]), close(s[1]);
	look_for_circles();
	struct pollfd poll_fd = { pipe, POLLIN, 0 };
	int fds[4];

	printf("can be got at: %d\n", poll(&poll_fd, 1, 100));
	take(t[1], fds, 1, 0, NULL);
	take(fds[0], fds + 1, 1, 0, NULL);
	told("its pipe", write(fds[1], "x", 1));
	told("the circle", take(fds[0], fds + 2, 1, 0, NULL));
	close(fds[0]), close(fds[1]), close(fds[2]);
	printf("let go: %s\n", has_ended(pipe));
	close(pipe), close(t[0]), close(t[1]);
	/* A chain: no circle, and yet nobody can get at it. */
	pipe = with_pipe(s, SOCK_DGRAM);
	for (int i = 0; i < 2000; i++) {
		socketpair(AF_UNIX, SOCK_DGRAM, 0, t);
		give(t[1], &s[0], 1, 0);
		close(s[0]), close(s[1]);
		s[0] = t[0], s[1] = t[1];
	}
	close(s[0]);
	printf("a chain: %s\n", has_ended(pipe));
	close(s[1]), close(pipe);
}

static void unaccepted(void)
{
	struct sockaddr_un name = { AF_UNIX, "\0exo-rights" };
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 11;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), p[2];

	bind(listener, (void *)&name, size), listen(listener, 5), pipe(p);
	connect(client, (void *)&name, size);
	give(client, &p[1], 1, 0), close(p[1]);
	give(client, &listener, 1, 0);
	close(listener), close(client);
	printf("a listener that is in what it has not accepted: %s\n", has_ended(p[0]));
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	told("nobody listens", connect(client, (void *)&name, size));
	close(client), close(p[0]);
}

static void many(void)
{
	int s[2], bad = 0, p;

	for (int i = 0; i < 10000; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
			bad++;
		bad += give(s[0], &s[0], 1, 0) != 1;
		bad += give(s[1], &s[1], 1, 0) != 1;
		close(s[0]), close(s[1]);
	}
	p = with_pipe(s, SOCK_STREAM);
	give(s[0], &s[0], 1, 0), give(s[1], &s[1], 1, 0);
	close(s[0]), close(s[1]);
	printf("10000 circles, %d failed; the last: %s\n", bad, has_ended(p));
	close(p);
}

static void limits(void)
{
	int s[2];

	fflush(stdout);
	if (fork() == 0) {
		struct rlimit limit = { 50, 50 };
		int fds[20], count = 0;
		long result;

		setrlimit(RLIMIT_NOFILE, &limit);
		setresuid(12345, 12345, 12345);
		for (int i = 0; i < 20; i++)
			fds[i] = 0;
		socketpair(AF_UNIX, SOCK_STREAM, 0, s);
		while ((result = give(s[0], fds, 20, 0)) == 1)
			count++;
		told("too many on their way", result);
		printf("%d times 20\n", count);
		take(s[1], fds, 20, 0, NULL);
		for (int i = 0; i < 20; i++)
			close(fds[i]);
		fds[0] = 0;
		told("some have arrived", give(s[0], fds, 1, 0));
		close(s[0]), close(s[1]);
		socketpair(AF_UNIX, SOCK_STREAM, 0, s);
		told("nobody will take them", give(s[0], fds, 1, 0));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	travel();
	circles();
	unaccepted();
	many();
	limits();
	return 0;
}
