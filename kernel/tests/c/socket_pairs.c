// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a pipe arrives: hello
// Pairs of sockets: boundaries of messages, flags, ends, options, files that are passed, and what poll says of each state.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets.h"

static void kinds(int type, const char *name)
{
	char bytes[64] = "";
	int s[2];

	printf("-- %s\n", name);
	socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s);
	state("fresh", s[0]);
	told("nothing", recv(s[0], bytes, 8, 0));
	send(s[1], "first", 5, 0), send(s[1], "second", 6, MSG_MORE);
	state("readable", s[0]);
	int waiting;

	ioctl(s[0], FIONREAD, &waiting);
	printf("waiting %d\n", waiting);
	told("peek", recv(s[0], bytes, 3, MSG_PEEK));
	told("truncated", recv(s[0], bytes, 3, MSG_TRUNC));
	told("next", recv(s[0], bytes, 64, 0));
	told("left", recv(s[0], bytes, 64, 0));
	struct iovec parts[] = { { "ab", 2 }, { "cde", 3 } }, to[] = { { bytes, 1 }, { bytes + 8, 3 } };

	told("writev", writev(s[1], parts, 2));
	struct msghdr message = { .msg_iov = to, .msg_iovlen = 2 };

	told("recvmsg", recvmsg(s[0], &message, 0));
	printf("%c %.3s flags %#x\n", bytes[0], bytes + 8, message.msg_flags);
	recv(s[0], bytes, 64, 0);
	told("none", send(s[1], "", 0, 0));
	told("of none", recv(s[0], bytes, 8, 0));
	if (type != SOCK_STREAM)
		told("out of band", send(s[1], "x", 1, MSG_OOB));
	struct sockaddr_un nowhere = { .sun_family = AF_UNIX, .sun_path = "/nowhere" };

	told("to a name", sendto(s[1], "x", 1, 0, (void *)&nowhere, sizeof(nowhere)) < 0 ? -(type != SOCK_DGRAM) : 0);
	told("shutdown 3", shutdown(s[0], 3));
	send(s[0], "last", 4, 0);
	told("no more is sent", shutdown(s[0], SHUT_WR));
	state("it", s[0]), state("its peer", s[1]);
	told("sending", send(s[0], "x", 1, 0));
	told("quietly", send(s[0], "x", 1, MSG_NOSIGNAL));
	told("the peer reads", recv(s[1], bytes, 8, 0));
	if (type != SOCK_DGRAM)
		told("and then", recv(s[1], bytes, 8, 0));
	close(s[0]);
	state("closed", s[1]);
	told("to nobody", send(s[1], "x", 1, 0));
	told("to nobody again", send(s[1], "x", 1, 0));
	told("from nobody", recv(s[1], bytes, 8, 0));
	close(s[1]);
	socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s);
	send(s[0], "unread", 6, 0), send(s[1], "unread", 6, 0);
	close(s[1]);
	if (type != SOCK_DGRAM) {
		state("the peer did not read all", s[0]);
		told("what it sent", recv(s[0], bytes, 8, 0));
		told("then", recv(s[0], bytes, 8, 0));
		told("and then", recv(s[0], bytes, 8, 0));
	}
	close(s[0]);
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -errno : value;
}

static void options(void)
{
	struct sockaddr_un name;
	struct ucred ids;
	struct timeval time = { 0, 30000 };
	socklen_t size = sizeof(ids);
	int s[2], value = 10000, p[2];
	char byte;

	pipe(p);
	socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s);
	printf("type %d domain %d protocol %d error %d listens %d close on exec %d\n", option(s[0], SO_TYPE), option(s[0], SO_DOMAIN),
	       option(s[0], SO_PROTOCOL), option(s[0], SO_ERROR), option(s[0], SO_ACCEPTCONN), fcntl(s[0], F_GETFD));
	printf("buffers %d %d\n", option(s[0], SO_SNDBUF), option(s[0], SO_RCVBUF));
	told("set", setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, 4));
	printf("doubled %d\n", option(s[0], SO_SNDBUF));
	told("short", setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, 3));
	getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &ids, &size);
	printf("the peer is me: %d %d\n", ids.pid == getpid(), ids.uid == getuid());
	told("no such option", setsockopt(s[0], SOL_SOCKET, 999, &value, 4));
	told("another level", getsockopt(s[0], 6, 1, &value, &size));
	size = sizeof(name);
	told("name", getsockname(s[0], (void *)&name, &size));
	printf("size %u family %d\n", size, name.sun_family);
	size = -1;
	told("peer with a bad size", getpeername(s[0], (void *)&name, &size));
	told("time limit", setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)));
	told("waited", recv(s[0], &byte, 1, 0));
	time.tv_usec = 1000000;
	told("no time", setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)));
	told("a pipe is no socket", shutdown(p[0], SHUT_RD));
	told("no descriptor", shutdown(-1, SHUT_RD));
	told("listen", listen(s[0], 1));
	told("accept", accept(s[0], NULL, NULL));
	told("family 99", socket(99, SOCK_STREAM, 0));
	told("pair of family 99", socketpair(99, SOCK_STREAM, 0, s));
	told("type 9", socketpair(AF_UNIX, 9, 0, s));
	told("type 15", socketpair(AF_UNIX, 15, 0, s));
	told("protocol 2", socketpair(AF_UNIX, SOCK_STREAM, 2, s));
	told("flags", socketpair(AF_UNIX, SOCK_STREAM | 0x100, 0, s));
}

static void passing(void)
{
	union { char bytes[CMSG_SPACE(4) + CMSG_SPACE(12)]; struct cmsghdr align; } control = { 0 };
	char byte = 'x', text[8] = "";
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(4) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int s[2], p[2], on = 1;

	socketpair(AF_UNIX, SOCK_STREAM, 0, s), pipe(p);
	header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(4);
	memcpy(CMSG_DATA(header), &p[0], 4);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, 4);
	told("send a descriptor", sendmsg(s[0], &message, 0));
	close(p[0]);
	memset(&control, 0, sizeof(control));
	message.msg_controllen = sizeof(control);
	told("receive it", recvmsg(s[1], &message, MSG_CMSG_CLOEXEC));
	printf("control %zu flags %#x\n", message.msg_controllen, message.msg_flags);
	for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		int fd;

		memcpy(&fd, CMSG_DATA(header), 4);
		printf("type %d length %zu\n", header->cmsg_type, header->cmsg_len);
		if (header->cmsg_type == SCM_CREDENTIALS) {
			printf("from me: %d\n", fd == getpid());
			continue;
		}
		write(p[1], "hello", 5);
		read(fd, text, 5);
		printf("a pipe arrives: %s\nclosed by exec: %d\n", text, fcntl(fd, F_GETFD));
	}
	told("no room for it", (message.msg_controllen = 0, header = NULL, sendmsg(s[0], &message, 0)));
	header = &control.align;
	message.msg_controllen = CMSG_SPACE(4);
	header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(4);
	memcpy(CMSG_DATA(header), &(int){ 999 }, 4);
	told("a bad descriptor", sendmsg(s[0], &message, 0));
	memcpy(CMSG_DATA(header), &(int){ open("/proc/self/fd/0", O_PATH | O_NOFOLLOW) }, 4);
	told("a link of /proc", sendmsg(s[0], &message, 0));
	header->cmsg_len = 4;
	told("a bad length", sendmsg(s[0], &message, 0));
}

static void waits(void)
{
	char bytes[8] = "";
	int s[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	fflush(stdout);
	if (fork() == 0) {
		send(s[1], "abc", 3, 0);
		usleep(20000);
		send(s[1], "def", 3, 0);
		_exit(0);
	}
	told("wait for all", recv(s[0], bytes, 6, MSG_WAITALL));
	printf("%s\n", bytes);
	wait(NULL);
	static char much[300000];

	if (fork() == 0) {
		long got = 0, now;

		close(s[1]);
		while ((now = read(s[0], much, 7777)) > 0)
			got += now;
		_exit(got == 900000);
	}
	for (int i = 0; i < 3; i++)
		told("much", write(s[1], much, sizeof(much)));
	close(s[1]), close(s[0]);
	int status;

	wait(&status);
	printf("all arrived: %d\n", WEXITSTATUS(status));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_pipe);
	kinds(SOCK_STREAM, "stream");
	kinds(SOCK_SEQPACKET, "packets");
	kinds(SOCK_DGRAM, "datagrams");
	options();
	passing();
	waits();
	return 0;
}
