// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the next call: ECONNRESET
// Peeks at an offset (SO_PEEK_OFF), and errors that recvmmsg meets after its first message.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "said.h"

static int s[2];

static void offset(const char *when)
{
	int value = 77;
	socklen_t size = sizeof(value);
	int result = getsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &value, &size);

	printf("%s: %s, the offset is %d\n", when, said(result), value);
}

static void set(int value)
{
	if (setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value)))
		printf("set: %s\n", said(-1));
}

/// Receives up to `most` bytes and shows them.
static void receives(int most, int flags)
{
	char bytes[64] = "";
	long count = recv(s[1], bytes, most, flags | MSG_DONTWAIT);
	int shown = count < 0 ? 0 : count < most ? count : most;

	printf("%s %d%s: %s \"%.*s\"\n", flags & MSG_PEEK ? "peek" : "read", most, flags & MSG_TRUNC ? " (its length)" : "",
	       said(count), shown, bytes);
}

static void sends(const char *text) { TRY(send(s[0], text, strlen(text), 0)); }

static void values(int type)
{
	int value = 5;

	socketpair(AF_UNIX, type, 0, s);
	offset("at first");
	set(3);
	offset("set to 3");
	set(-1);
	offset("set to -1");
	set(-7);
	offset("set to -7");
	set(INT_MAX);
	offset("set to the most");
	TRY(setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &value, 3));
	close(s[0]);
	close(s[1]);
}

static void streams(void)
{
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	sends("abcdef");
	sends("ghi");
	sends("jklmn");
	receives(4, MSG_PEEK);
	receives(4, MSG_PEEK);
	offset("without an offset");
	set(0);
	receives(2, MSG_PEEK);
	receives(5, MSG_PEEK);
	offset("after seven bytes");
	receives(3, 0);
	offset("three were read");
	receives(3, MSG_PEEK);
	receives(20, MSG_PEEK);
	receives(20, MSG_PEEK);
	offset("all were seen");
	receives(20, 0);
	offset("all were read");
	sends("opq");
	set(1);
	receives(20, MSG_PEEK);
	set(50);
	receives(20, MSG_PEEK);
	receives(2, 0);
	offset("two of three were read");
	set(-1);
	receives(20, MSG_PEEK);
	set(4);
	close(s[0]);
	receives(20, MSG_PEEK);
	receives(20, 0);
	receives(20, MSG_PEEK);
	close(s[1]);
}

static void messages(int type)
{
	socketpair(AF_UNIX, type, 0, s);
	sends("abcdef");
	sends("ghi");
	sends("jklmn");
	set(0);
	receives(4, MSG_PEEK);
	receives(4, MSG_PEEK);
	receives(4, MSG_PEEK);
	receives(2, MSG_PEEK | MSG_TRUNC);
	offset("in the third");
	receives(2, 0);
	offset("the first was read");
	receives(9, MSG_PEEK);
	receives(9, MSG_PEEK);
	offset("all were seen");
	set(2);
	receives(9, MSG_PEEK | MSG_TRUNC);
	receives(9, 0);
	receives(9, 0);
	offset("all were read");
	receives(9, 0);
	// Those without bytes are passed once they were seen.
	set(0);
	sends("");
	sends("");
	sends("x");
	receives(9, MSG_PEEK);
	receives(9, MSG_PEEK);
	receives(9, MSG_PEEK);
	receives(9, MSG_PEEK);
	offset("empty ones");
	receives(9, 0);
	receives(9, 0);
	receives(9, MSG_PEEK);
	receives(9, 0);
	close(s[0]);
	close(s[1]);
}

static void *send_later(void *text)
{
	usleep(20000);
	sends(text);
	return 0;
}

/// Who peeks behind what there is waits for more.
static void waits(void)
{
	char bytes[8] = "";
	pthread_t thread;
	long count;

	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	sends("ab");
	set(2);
	pthread_create(&thread, 0, send_later, "cd");
	count = recv(s[1], bytes, sizeof(bytes), MSG_PEEK);
	pthread_join(thread, 0);
	printf("waited for: %s \"%s\"\n", said(count), bytes);
	offset("then");
	close(s[0]);
	close(s[1]);
}

static void late_errors(void)
{
	char bytes[3][8] = {""};
	struct iovec parts[3];
	struct mmsghdr headers[3] = {0};
	int error = 0, value = 0;
	socklen_t size = sizeof(error);

	for (int i = 0; i < 3; i++) {
		parts[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
		headers[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	// The second buffer is no memory.
	for (int round = 0; round < 2; round++) {
		socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
		sends("one");
		sends("two");
		sends("three");
		parts[1].iov_base = (void *)8;
		TRY(recvmmsg(s[1], headers, 3, MSG_DONTWAIT, 0));
		if (round) {
			TRY(getsockopt(s[1], SOL_SOCKET, SO_ERROR, &error, &size));
			printf("which is %s\n", strerrorname_np(error));
		} else {
			TRY(recv(s[1], bytes[0], 8, MSG_DONTWAIT));
		}
		TRY(recv(s[1], bytes[0], 8, MSG_DONTWAIT));
		TRY(recv(s[1], bytes[0], 8, MSG_DONTWAIT));
		close(s[0]);
		close(s[1]);
	}
	// That there is nothing more is no error.
	parts[1].iov_base = bytes[1];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	sends("one");
	TRY(recvmmsg(s[1], headers, 3, MSG_DONTWAIT, 0));
	TRY(getsockopt(s[1], SOL_SOCKET, SO_ERROR, &value, &size));
	printf("none: %d\n", value);
	close(s[0]);
	close(s[1]);
	// The peer goes without reading what it was sent.
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	sends("abc");
	TRY(send(s[1], "x", 1, 0));
	close(s[0]);
	TRY(recv(s[1], bytes[0], 3, 0));
	printf("the next call: %s\n", said(recv(s[1], bytes[0], 3, 0)));
	TRY(recv(s[1], bytes[0], 3, 0));
	close(s[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	sends("abcdefgh");
	TRY(send(s[1], "x", 1, 0));
	close(s[0]);
	TRY(recvmmsg(s[1], headers, 3, 0, 0));
	TRY(recv(s[1], bytes[0], 3, 0));
	TRY(recv(s[1], bytes[0], 3, 0));
	close(s[1]);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	values(SOCK_STREAM);
	values(SOCK_DGRAM);
	values(SOCK_SEQPACKET);
	streams();
	messages(SOCK_DGRAM);
	messages(SOCK_SEQPACKET);
	waits();
	late_errors();
	return 0;
}
