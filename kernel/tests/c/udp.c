// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: nobody there, the next: ECONNREFUSED
// UDP between the sockets of a machine: with and without being connected, boundaries of datagrams, ends, errors, and what is lost.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inet.h"

enum { PORT = 7100 };

static int bound(const char *ip, int port)
{
	int fd = socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (binds(fd, ip, port) < 0)
		perror("bind");
	return fd;
}

static long sends(int fd, const char *text, const char *ip, int port)
{
	struct sockaddr_in four = v4(ip, port);
	struct sockaddr_in6 six = v6(ip, port);

	return strchr(ip, ':') ? sendto(fd, text, strlen(text), 0, (void *)&six, sizeof(six))
			       : sendto(fd, text, strlen(text), 0, (void *)&four, sizeof(four));
}

static void receives(const char *what, int fd, int flags)
{
	char bytes[100] = "";
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	long count = recvfrom(fd, bytes, sizeof(bytes) - 1, flags | MSG_DONTWAIT, (void *)&from, &size);

	if (count < 0)
		told(what, count);
	else
		printf("%s: \"%s\" from %s\n", what, bytes, shown(&from, size));
}

static void alone(void)
{
	char bytes[10];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size;
	struct sockaddr_in to = v4("127.0.0.1", PORT);

	printf("-- alone\n");
	state("fresh", fd);
	told("receives", recv(fd, bytes, 8, 0));
	told("sends", send(fd, "x", 1, 0));
	name_of("its name", fd, getsockname), name_of("its peer", fd, getpeername);
	told("listens", listen(fd, 1));
	told("accepts", accept(fd, NULL, NULL));
	told("is shut down", shutdown(fd, SHUT_RD));
	close(fd), fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	told("to nobody", sends(fd, "x", "127.0.0.1", PORT));
	told("and again", sends(fd, "x", "127.0.0.1", PORT));
	state("it", fd);
	name_of("its name", fd, getsockname);
	told("to no port", sends(fd, "x", "127.0.0.1", 0));
	told("to a short address", sendto(fd, "x", 1, 0, (void *)&to, 15));
	to.sin_family = AF_UNIX;
	told("to another family", sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	to.sin_family = AF_UNSPEC;
	told("to none", sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	told("urgent", send(fd, "x", 1, MSG_OOB));
	told("readable", ioctl(fd, FIONREAD, &size));
	printf("%d\n", size);
	close(fd);
}

static void two(void)
{
	static char many[70000];
	char bytes[100] = "";
	int a = bound("127.0.0.1", PORT), b = bound("0.0.0.0", PORT + 1), count;
	struct sockaddr any = { AF_UNSPEC, "" };
	struct iovec part = { bytes, 3 };
	struct sockaddr_in from;
	struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1 };
	struct mmsghdr messages[2] = {};

	printf("-- two\n");
	told("one", sends(a, "one", "127.0.0.1", PORT + 1));
	told("none", sends(a, "", "127.0.0.1", PORT + 1));
	told("two", sends(a, "two", "127.0.0.2", PORT + 1));
	state("the other", b);
	ioctl(b, FIONREAD, &count);
	printf("readable: %d\n", count);
	receives("looks", b, MSG_PEEK);
	receives("one", b, 0), receives("none", b, 0), receives("two", b, 0), receives("nothing", b, 0);
	told("answers", sends(b, "answer", "127.0.0.1", PORT));
	told("of a part", recvmsg(a, &message, 0));
	printf("flags %d, from port %d\n", message.msg_flags, ntohs(from.sin_port));
	sends(b, "answer", "127.0.0.1", PORT);
	told("whole length", recv(a, bytes, 2, MSG_TRUNC));
	told("not where it is bound", sends(b, "x", "127.0.0.2", PORT));
	receives("so nothing", a, 0);
	printf("-- connected\n");
	told("connects", connects(b, "127.0.0.1", PORT));
	name_of("its name", b, getsockname), name_of("its peer", b, getpeername);
	told("sends", send(b, "connected", 9, 0));
	receives("it", a, 0);
	told("elsewhere", sends(b, "x", "127.0.0.1", PORT + 2));
	told("from its peer", sends(a, "peer", "127.0.0.1", PORT + 1));
	int c = bound("127.0.0.1", PORT + 2);
	told("from another", sends(c, "another", "127.0.0.1", PORT + 1));
	receives("it", b, 0), receives("nothing", b, 0);
	told("to another peer", connects(b, "127.0.0.1", PORT + 2));
	told("from that", sends(c, "that", "127.0.0.1", PORT + 1));
	receives("it", b, 0);
	close(c);
	told("nobody there", send(b, "x", 1, 0));
	state("it", b);
	told("nobody there, the next", send(b, "x", 1, 0));
	told("and the next", send(b, "x", 1, 0));
	receives("and then", b, 0);
	told("and the next", send(b, "x", 1, 0));
	printf("error: %s\n", strerrorname_np(option(b, SOL_SOCKET, SO_ERROR)));
	state("it", b);
	told("to none", connect(b, &any, sizeof(any)));
	name_of("its name", b, getsockname), name_of("its peer", b, getpeername);
	told("sends", send(b, "x", 1, 0));
	told("from anybody", sends(a, "anybody", "127.0.0.1", PORT + 1));
	receives("it", b, 0);
	printf("-- sizes\n");
	connects(a, "127.0.0.1", PORT + 1);
	told("the most", send(a, many, 65507, 0));
	told("received", recv(b, many, sizeof(many), 0));
	told("more", send(a, many, 65508, 0));
	told("too much", send(a, many, 70000, 0));
	for (int i = 0; i < 2; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	memcpy(bytes, "xyz", 3);
	told("two messages", sendmmsg(a, messages, 2, 0));
	told("two are there", recvmmsg(b, messages, 2, 0, NULL));
	printf("%u %u\n", messages[0].msg_len, messages[1].msg_len);
	for (count = 0; count < 3000 && send(a, "lost", 4, 0) == 4; count++)
		;
	printf("sent: %d\n", count);
	for (count = 0; recv(b, bytes, 4, 0) == 4; count++)
		;
	printf("some were lost: %d\n", count > 100 && count < 3000);
	printf("-- shut down\n");
	told("writes no more", shutdown(a, SHUT_WR));
	told("sends", send(a, "x", 1, 0));
	state("it", a);
	told("reads no more", shutdown(a, SHUT_RD));
	told("receives", recv(a, bytes, 1, 0));
	state("it", a);
	told("not connected", shutdown(b, SHUT_WR));
	close(a), close(b);
}

static void six(void)
{
	int dual = bound("::", PORT), only = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0), four = bound("127.0.0.1", 0);
	int local = bound("::1", 0), other;
	struct sockaddr_in6 mapped = v6("::ffff:127.0.0.1", PORT);

	printf("-- IPv6\n");
	told("from IPv4", sends(four, "four", "127.0.0.1", PORT));
	told("from IPv6", sends(local, "six", "::1", PORT));
	receives("first", dual, 0), receives("second", dual, 0);
	told("answers IPv4", sends(dual, "x", "::ffff:127.0.0.1", port_of(four, getsockname)));
	receives("it", four, 0);
	told("with its address", sends(dual, "y", "127.0.0.1", port_of(four, getsockname)));
	receives("it", four, 0);
	told("connects", connect(dual, (void *)&mapped, sizeof(mapped)));
	name_of("its name", dual, getsockname), name_of("its peer", dual, getpeername);
	told("IPv6 to IPv4", sends(local, "x", "::ffff:127.0.0.1", PORT));
	told("IPv4 to IPv6", sends(four, "x", "::1", PORT));
	close(dual);
	printf("for both: %d\n", option(only, IPPROTO_IPV6, IPV6_V6ONLY));
	told("only IPv6", set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	told("binds", binds(only, "::", PORT));
	told("too late", set(only, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	told("to IPv4", sends(only, "x", "::ffff:127.0.0.1", PORT));
	other = bound("0.0.0.0", PORT);
	sends(four, "four", "127.0.0.1", PORT), sends(local, "six", "::1", PORT);
	receives("IPv6's", only, 0), receives("IPv4's", other, 0);
	close(only), close(four), close(local), close(other);
}

static void shared(void)
{
	int fd[4], none = 0;

	printf("-- shared ports\n");
	for (int i = 0; i < 4; i++)
		fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	told("one", binds(fd[0], "127.0.0.1", PORT));
	told("the same", binds(fd[1], "127.0.0.1", PORT));
	told("all addresses", binds(fd[1], "0.0.0.0", PORT));
	told("another address", binds(fd[1], "127.0.0.2", PORT));
	set(fd[2], SOL_SOCKET, SO_REUSEADDR, 1);
	told("one shares", binds(fd[2], "127.0.0.1", PORT));
	close(fd[0]), fd[0] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	set(fd[0], SOL_SOCKET, SO_REUSEADDR, 1);
	told("both share", binds(fd[2], "127.0.0.1", PORT));
	told("both share", binds(fd[0], "127.0.0.1", PORT));
	sends(fd[1], "to the last", "127.0.0.1", PORT);
	receives("the last", fd[0], 0), receives("the first", fd[2], 0);
	close(fd[0]), close(fd[2]);
	for (int i = 0; i < 4; i += 2) {
		fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		set(fd[i], SOL_SOCKET, SO_REUSEPORT, 1);
		told("a group", binds(fd[i], "127.0.0.1", PORT));
	}
	for (int i = 0; i < 100; i++) {
		int sender = bound("127.0.0.1", 0);

		sends(sender, "x", "127.0.0.1", PORT);
		close(sender);
	}
	for (int i = 0; i < 4; i += 2) {
		char byte;
		int count = 0;

		while (recv(fd[i], &byte, 1, 0) == 1)
			count++;
		none += count == 0;
	}
	printf("without any: %d\n", none);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}

static void *receive_one(void *argument)
{
	char bytes[10];

	return (void *)recv(*(int *)argument, bytes, sizeof(bytes), 0);
}

static void waits(void)
{
	int a = bound("127.0.0.1", 0), b = bound("127.0.0.1", PORT);
	struct timeval limit = { 0, 20000 };
	pthread_t thread;
	void *result;

	printf("-- waits\n");
	fcntl(b, F_SETFL, 0);
	pthread_create(&thread, NULL, receive_one, &b);
	usleep(20000);
	sends(a, "four", "127.0.0.1", PORT);
	pthread_join(thread, &result);
	printf("received %ld\n", (long)result);
	setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	told("not for long", (long)receive_one(&b));
	close(a), close(b);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_pipe };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGPIPE, &action, NULL);
	raise_loopback();
	alone(), two(), six(), shared(), waits();
	return 0;
}
