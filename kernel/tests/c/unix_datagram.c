// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a full queue: EAGAIN
// Datagrams: addresses, who may send to whom, queues that are full, peers that go, credentials, many messages in a call.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets.h"

static struct sockaddr_un name;

/* An abstract name and its size. */
static socklen_t named(const char *text)
{
	memset(&name, 0, sizeof(name));
	name.sun_family = AF_UNIX;
	strcpy(name.sun_path + 1, text);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text);
}

static int of(const char *text)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t size = named(text);

	if (text[0])
		bind(fd, (void *)&name, size);
	return fd;
}

static long connects(int fd, const char *text)
{
	socklen_t size = named(text);

	return connect(fd, (void *)&name, size);
}

static long sends(int fd, const char *to, const char *text)
{
	socklen_t size = named(to);

	return sendto(fd, text, strlen(text), 0, (void *)&name, size);
}

static void takes(const char *what, int fd)
{
	char bytes[100] = "";
	socklen_t size = sizeof(name);
	long result;

	memset(&name, 0, sizeof(name));
	result = recvfrom(fd, bytes, sizeof(bytes) - 1, 0, (void *)&name, &size);
	told(what, result);
	if (result >= 0)
		printf("  %s from %s, size %u\n", bytes, size > 3 ? name.sun_path + 1 : "nobody", size);
}

static void addresses(void)
{
	int a = of("exo-a"), b = of("exo-b"), c = of(""), d = socket(AF_UNIX, SOCK_RAW, 0), on;
	socklen_t size = sizeof(on);

	getsockopt(d, SOL_SOCKET, SO_TYPE, &on, &size);
	printf("raw is %d\n", on);
	close(d);
	state("fresh", a);
	told("to nobody", send(a, "x", 1, 0));
	told("listen", listen(a, 1));
	told("accept", accept(a, NULL, NULL));
	told("to b", sends(a, "exo-b", "hello"));
	takes("b has", b);
	told("from who has no name", sends(c, "exo-b", "hi"));
	takes("b has", b);
	takes("no more", b);
	told("to no such name", sends(a, "exo-z", "x"));
	told("of nothing", sends(a, "exo-b", ""));
	takes("b has", b);
	told("to itself", sends(a, "exo-a", "me"));
	takes("it has", a);
	named("exo-b"), name.sun_family = AF_INET;
	told("to another family", sendto(a, "x", 1, 0, (void *)&name, 8));
	told("to a bad address", sendto(a, "x", 1, 0, (void *)8, 8));
	told("to a short one", sendto(a, "x", 1, 0, (void *)&name, 2));
	told("to no bytes", sendto(a, "x", 1, 0, (void *)&name, 0));
	told("to too many", sendto(a, "x", 1, 0, (void *)&name, 200));
	/* A sender that has gone still has its name. */
	sends(a, "exo-b", "gone");
	close(a);
	takes("from who has gone", b);
	/* Connected. */
	a = of("exo-a");
	told("connect", connects(a, "exo-b"));
	told("send", send(a, "one", 3, 0));
	told("to another all the same", sends(a, "exo-b", "two"));
	takes("b has", b), takes("b has", b);
	told("b connects to a third", connects(b, "exo-c"));
	c = (close(c), of("exo-c"));
	told("that is there now", connects(b, "exo-c"));
	told("a may not send", send(a, "x", 1, 0));
	told("nor by name", sends(a, "exo-b", "x"));
	told("nor connect", (d = of("exo-d"), connects(d, "exo-b")));
	told("c may", sends(c, "exo-b", "c"));
	takes("b has", b);
	sends(c, "exo-b", "lost");
	told("connect to nobody", connect(b, &(struct sockaddr){ AF_UNSPEC, "" }, sizeof(struct sockaddr)));
	takes("what was there is lost", b);
	told("a may again", send(a, "back", 4, 0));
	takes("b has", b);
	told("a pair of one", connects(a, "exo-a"));
	told("sends to itself", send(a, "me", 2, 0));
	takes("and has", a);
	close(a), close(b), close(c), close(d);
}

static void full(void)
{
	int to = of("exo-full"), from = of("exo-from"), count = 0, epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLOUT };
	struct pollfd poll_fd = { from, POLLOUT, 0 };
	char bytes[8];

	printf("-- full\n");
	connects(from, "exo-full");
	state("empty", from);
	epoll_ctl(epoll, EPOLL_CTL_ADD, from, &event);
	while (send(from, "x", 1, 0) == 1)
		count++;
	told("a full queue", -1);
	printf("%d of them\n", count);
	told("by name", sends(from, "exo-full", "x"));
	state("the sender", from);
	told("epoll", epoll_wait(epoll, &event, 1, 0));
	fflush(stdout);
	if (fork() == 0) {
		usleep(30000);
		recv(to, bytes, 1, 0);
		_exit(0);
	}
	told("poll waits for room", poll(&poll_fd, 1, 5000));
	wait(NULL);
	told("epoll", epoll_wait(epoll, &event, 1, 0));
	told("there is room for one", send(from, "x", 1, 0));
	state("and no more", from);
	fflush(stdout);
	if (fork() == 0) {
		usleep(30000);
		recv(to, bytes, 1, 0);
		_exit(0);
	}
	fcntl(from, F_SETFL, 0);
	told("a sender waits", send(from, "y", 1, 0));
	wait(NULL);
	struct timeval limit = { 0, 30000 };

	setsockopt(from, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	told("with a limit", send(from, "x", 1, 0));
	limit.tv_usec = 0;
	setsockopt(from, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	fflush(stdout);
	if (fork() == 0) {
		close(to);
		told("the receiver goes", send(from, "x", 1, 0));
		told("and again", send(from, "x", 1, 0));
		state("then", from);
		fflush(stdout);
		_exit(0);
	}
	usleep(30000);
	close(to);
	wait(NULL);
	close(from), close(epoll);
	/* The sender's own limit, at a peer that has no other. */
	int s[2], size = 0, value = 4608;

	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof(value));
	while (send(s[0], bytes, 8, 0) == 8)
		size++;
	told("much on its way", -1);
	printf("some of them: %d\n", size > 5 && size < 30);
	state("the sender", s[0]);
	while (recv(s[1], bytes, 8, 0) == 8)
		;
	state("all read", s[0]);
	static char large[300000];

	told("too large", send(s[1], large, sizeof(large), 0));
	told("as large as it may be", send(s[1], large, 212992 - 32, 0));
	told("one more", send(s[1], large, 212992 - 31, 0));
	told("read in part", recv(s[0], large, 10, MSG_TRUNC));
	told("the rest is lost", recv(s[0], large, 10, 0));
	value = 1 << 20;
	told("a large buffer", setsockopt(s[0], SOL_SOCKET, SO_SNDBUFFORCE, &value, sizeof(value)));
	close(s[0]), close(s[1]);
}

static void ends(void)
{
	int s[2];
	char byte;

	printf("-- ends\n");
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	told("no more is received", shutdown(s[0], SHUT_RD));
	state("it", s[0]), state("the other", s[1]);
	told("sends to it", send(s[1], "x", 1, 0));
	told("receives", recv(s[0], &byte, 1, 0));
	fcntl(s[0], F_SETFL, 0);
	told("waiting", recv(s[0], &byte, 1, 0));
	told("it sends", send(s[0], "x", 1, 0));
	told("no more is sent", shutdown(s[0], SHUT_WR));
	told("it sends", send(s[0], "x", 1, 0));
	state("it", s[0]);
	close(s[0]);
	state("it has gone", s[1]);
	told("the other sends", send(s[1], "x", 1, 0));
	told("what was there", recv(s[1], &byte, 1, 0));
	close(s[1]);
	/* One side leaves. */
	int a = of("exo-a"), b = of("exo-b");

	connects(a, "exo-b"), connects(b, "exo-a");
	send(a, "x", 1, 0);
	connect(b, &(struct sockaddr){ AF_UNSPEC, "" }, sizeof(struct sockaddr));
	state("the peer has left", a);
	told("sends", send(a, "x", 1, 0));
	told("sends", send(a, "x", 1, 0));
	close(a), close(b);
}

static void credentials(void)
{
	union { char bytes[CMSG_SPACE(sizeof(struct ucred))]; struct cmsghdr align; } control;
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };
	struct ucred *ids = (void *)CMSG_DATA(&control.align);
	int s[2], on = 1;

	printf("-- credentials\n");
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	for (int i = 0; i < 7; i++) {
		pid_t child = fork();

		if (child == 0) {
			memset(&control, 0, sizeof(control));
			message.msg_controllen = CMSG_SPACE(sizeof(*ids));
			control.align = (struct cmsghdr){ CMSG_LEN(sizeof(*ids)), SOL_SOCKET, SCM_CREDENTIALS };
			*ids = (struct ucred){ getpid(), 0, 0 };
			switch (i) {
			case 1: setresuid(1000, 1001, 1002), ids->uid = 1002; break;
			case 2: setresuid(1000, 1001, 1002), ids->uid = 1003; break;
			case 3: ids->pid = 1; break;
			case 4: setresuid(1000, 1000, 1000), ids->uid = 1000, ids->pid = 1; break;
			case 5: ids->pid = 99999999; break;
			case 6: control.align.cmsg_len--; break;
			}
			told("send", sendmsg(s[0], &message, 0));
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		memset(&control, 0, sizeof(control));
		message.msg_controllen = sizeof(control);
		if (recvmsg(s[1], &message, 0) < 0)
			continue;
		printf("process %s user %d group %d, %zu bytes, flags %#x\n",
		       ids->pid == child ? "its own" : ids->pid == 1 ? "the first" : "another", ids->uid, ids->gid,
		       message.msg_controllen, message.msg_flags);
	}
	send(s[0], "x", 1, 0);
	message.msg_controllen = CMSG_LEN(5);
	told("little room", recvmsg(s[1], &message, 0));
	printf("%zu bytes, %zu of it, flags %#x\n", message.msg_controllen, control.align.cmsg_len, message.msg_flags);
	send(s[0], "x", 1, 0);
	message.msg_controllen = 0;
	told("none", recvmsg(s[1], &message, 0));
	printf("%zu bytes, flags %#x\n", message.msg_controllen, message.msg_flags);
	close(s[0]), close(s[1]);
}

static void many(void)
{
	char bytes[6][8] = { "" };
	struct iovec parts[6];
	struct mmsghdr messages[6];
	struct timespec limit = { 0, 0 };
	int s[2];

	printf("-- many\n");
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < 6; i++) {
		sprintf(bytes[i], "m%d", i);
		parts[i] = (struct iovec){ bytes[i], i + 1 };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	told("send four", sendmmsg(s[0], messages, 4, 0));
	printf("%u %u\n", messages[0].msg_len, messages[3].msg_len);
	memset(bytes, 0, sizeof(bytes));
	for (int i = 0; i < 6; i++)
		parts[i].iov_len = 8;
	told("receive up to six", recvmmsg(s[1], messages, 6, 0, NULL));
	printf("%s %s, %u %u\n", bytes[1], bytes[3], messages[0].msg_len, messages[3].msg_len);
	told("nothing", recvmmsg(s[1], messages, 6, 0, NULL));
	told("none of nothing", recvmmsg(s[1], messages, 0, 0, NULL));
	sendmmsg(s[0], messages, 3, 0);
	fcntl(s[1], F_SETFL, 0);
	told("wait for one", recvmmsg(s[1], messages, 6, MSG_WAITFORONE, NULL));
	sendmmsg(s[0], messages, 3, 0);
	told("no time", recvmmsg(s[1], messages, 6, 0, &limit));
	limit.tv_nsec = -1;
	told("a bad time", recvmmsg(s[1], messages, 6, 0, &limit));
	messages[1].msg_hdr.msg_iov = (void *)8;
	told("the second is bad", sendmmsg(s[0], messages, 3, 0));
	told("so is the first", sendmmsg(s[0], messages + 1, 2, 0));
	told("in bad memory", sendmmsg(s[0], (void *)8, 2, 0));
	told("no socket", sendmmsg(0, messages, 1, 0));
	close(s[0]), close(s[1]);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_pipe);
	addresses();
	full();
	ends();
	credentials();
	many();
	return 0;
}
