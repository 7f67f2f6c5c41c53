// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a control message longer than its buffer: EINVAL
// Numbers that no socket should be given: types, lengths of messages and of what goes with them, options, addresses in bad places.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <unistd.h>

#include "sockets.h"

/* No memory of ours, as far as the compiler can see. */
static void *volatile nowhere = (void *)8;

static long opens(int domain, int type, int protocol)
{
	int fd = socket(domain, type, protocol);

	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static void types(void)
{
	told("stream", opens(AF_UNIX, SOCK_STREAM, 0));
	told("its protocol", opens(AF_UNIX, SOCK_STREAM, AF_UNIX));
	told("another", opens(AF_UNIX, SOCK_STREAM, 2));
	told("no type", opens(AF_UNIX, 0, 0));
	told("rdm", opens(AF_UNIX, SOCK_RDM, 0));
	told("packet", opens(AF_UNIX, SOCK_PACKET, 0));
	told("type 11", opens(AF_UNIX, 11, 0));
	told("flags", opens(AF_UNIX, SOCK_STREAM | 0x10000, 0));
	told("family 46", opens(46, SOCK_STREAM, 0));
	told("family -1", opens(-1, SOCK_STREAM, 0));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	printf("flags %#x %d\n", fcntl(fd, F_GETFL) & ~O_LARGEFILE, fcntl(fd, F_GETFD));
	close(fd);
	told("a pair in bad memory", socketpair(AF_UNIX, SOCK_STREAM, 0, nowhere));
	told("the descriptors are free", fd = dup(0));
	close(fd);
}

static int s[2];
static union { char bytes[1024]; struct cmsghdr align; } control;

static long sends(struct msghdr message) { return sendmsg(s[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL); }

static long receives(struct msghdr message) { return recvmsg(s[1], &message, MSG_DONTWAIT); }

/* A message with a byte and this control message. */
static long with(size_t length, int level, int type, size_t room)
{
	struct iovec part = { "x", 1 };

	control.align = (struct cmsghdr){ length, level, type };
	return sends((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room });
}

static void messages(int type, const char *what)
{
	char bytes[16];
	struct iovec part = { bytes, sizeof(bytes) }, parts[3] = { { bytes, 4 }, { nowhere, 4 }, { bytes, 4 } };
	static struct iovec lots[1025];

	printf("-- %s\n", what);
	socketpair(AF_UNIX, type, 0, s);
	memset(bytes, 'b', sizeof(bytes));
	told("in bad memory", sendmsg(s[0], nowhere, 0));
	told("no header", recvmsg(s[1], NULL, MSG_DONTWAIT));
	told("too many parts", sends((struct msghdr){ .msg_iov = lots, .msg_iovlen = 1025 }));
	told("far too many", sends((struct msghdr){ .msg_iov = lots, .msg_iovlen = -1 }));
	told("parts in bad memory", sends((struct msghdr){ .msg_iov = nowhere, .msg_iovlen = 1 }));
	lots[0] = (struct iovec){ bytes, -1 };
	told("a part of negative length", sends((struct msghdr){ .msg_iov = lots, .msg_iovlen = 1 }));
	told("a part in bad memory", sends((struct msghdr){ .msg_iov = parts + 1, .msg_iovlen = 1 }));
	told("the second part", sends((struct msghdr){ .msg_iov = parts, .msg_iovlen = 2 }) < 0 ? -1 : 1);
	while (recv(s[1], bytes, 16, MSG_DONTWAIT) > 0)
		;
	told("a bad address", sends((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1, .msg_name = nowhere, .msg_namelen = 8 }));
	told("a negative length", sends((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1, .msg_name = bytes, .msg_namelen = -1 }));
	told("receive a negative length", receives((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1, .msg_name = bytes, .msg_namelen = -1 }));
	told("receive too many parts", receives((struct msghdr){ .msg_iov = lots, .msg_iovlen = 1025 }));
	send(s[0], "abcdefgh", 8, 0);
	told("receive into bad memory", receives((struct msghdr){ .msg_iov = parts + 1, .msg_iovlen = 1 }));
	told("and then", receives((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 }));
	/* Control messages. */
	struct { const char *what; size_t length; int level, type; size_t room; } cases[] = {
		{ "a control message without length", 0, SOL_SOCKET, SCM_RIGHTS, CMSG_SPACE(4) },
		{ "shorter than its header", sizeof(struct cmsghdr) - 1, SOL_SOCKET, SCM_RIGHTS, CMSG_SPACE(4) },
		{ "a control message longer than its buffer", CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS, CMSG_LEN(4) },
		{ "far longer", -1, SOL_SOCKET, SCM_RIGHTS, CMSG_SPACE(4) },
		{ "no files", CMSG_LEN(0), SOL_SOCKET, SCM_RIGHTS, CMSG_LEN(0) },
		{ "half a file", CMSG_LEN(2), SOL_SOCKET, SCM_RIGHTS, CMSG_SPACE(4) },
		{ "credentials of no length", CMSG_LEN(0), SOL_SOCKET, SCM_CREDENTIALS, CMSG_SPACE(12) },
		{ "another type", CMSG_LEN(4), SOL_SOCKET, 99, CMSG_SPACE(4) },
		{ "another level", CMSG_LEN(4), 6, 1, CMSG_SPACE(4) },
		{ "a buffer without a header", CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, 3 },
		{ "a large buffer", CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, 1 << 20 },
		{ "a buffer of all memory", CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, -1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		*(int *)CMSG_DATA(&control.align) = 0;
		told(cases[i].what, with(cases[i].length, cases[i].level, cases[i].type, cases[i].room));
	}
	*(int *)CMSG_DATA(&control.align) = -1;
	told("descriptor -1", with(CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, CMSG_SPACE(4)));
	told("control in bad memory", sends((struct msghdr){ .msg_iov = &part, .msg_iovlen = 1, .msg_control = nowhere, .msg_controllen = 100 }));
	told("urgent", send(s[0], "x", 1, MSG_OOB | MSG_DONTWAIT) < 0 || type == SOCK_STREAM ? 0 : 1);
	while (recv(s[1], bytes, 16, MSG_DONTWAIT) >= 0)
		;
	told("unknown flags", send(s[0], "x", 1, 0x1000000));
	told("are no matter", recv(s[1], bytes, 1, 0x1000000));
	send(s[0], "x", 1, MSG_EOR);
	told("the address in bad memory", recvfrom(s[1], bytes, 8, 0, (void *)&control, nowhere));
	send(s[0], "x", 1, 0);
	told("of negative room", recvfrom(s[1], bytes, 8, 0, (void *)&control, &(socklen_t){ -1 }));
	told("seek", lseek(s[0], 0, SEEK_CUR));
	told("pread", pread(s[0], bytes, 1, 0));
	told("read of nothing", read(s[0], bytes, 0));
	told("readv of nothing", readv(s[0], &(struct iovec){ bytes, 0 }, 1));
	told("write from bad memory", write(s[0], nowhere, 8));
	close(s[0]), close(s[1]);
}

static void options(void)
{
	int value = 1;
	char long_value[100] = { 1 };
	struct timeval time = { 1, 500000 };
	socklen_t size = sizeof(value);

	printf("-- options\n");
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	told("no value", setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, 0));
	told("of negative size", setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, -1));
	told("in bad memory", setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, nowhere, 4));
	told("long", setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, long_value, 100));
	told("get", getsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, &size));
	printf("%d of %u\n", value, size);
	size = -1;
	told("negative room", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &size));
	size = 2, value = 0;
	told("little room", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &size));
	printf("%d of %u\n", value, size);
	told("bad place", getsockopt(s[0], SOL_SOCKET, SO_TYPE, nowhere, &(socklen_t){ 4 }));
	told("bad size", getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, nowhere));
	value = INT_MAX;
	told("the largest buffer", setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, 4));
	value = 0;
	told("the smallest", setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &value, 4));
	size = 4, getsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &value, &size);
	printf("%d\n", value);
	told("type", setsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, 4));
	told("error", setsockopt(s[0], SOL_SOCKET, SO_ERROR, &value, 4));
	told("time", setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)));
	memset(&time, 0, sizeof(time)), size = sizeof(time);
	told("get it", getsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &time, &size));
	printf("%ld.%06ld of %u\n", (long)time.tv_sec, (long)time.tv_usec, size);
	told("a short time", setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &time, 8));
	told("another level", setsockopt(s[0], 6, 1, &value, 4));
	told("no request", ioctl(s[0], 0x1234));
	told("of the terminal", ioctl(s[0], TCGETS, long_value));
	told("in bad memory", ioctl(s[0], FIONREAD, nowhere));
	told("shutdown", shutdown(s[0], 3));
	told("shutdown", shutdown(s[0], -1));
	told("backlog", listen(s[0], -1));
	close(s[0]), close(s[1]);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	types();
	messages(SOCK_STREAM, "stream");
	messages(SOCK_DGRAM, "datagrams");
	messages(SOCK_SEQPACKET, "packets");
	options();
	return 0;
}
