// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: all addresses: EADDRINUSE
// What IPv4 and IPv6 sockets answer: addresses that cannot be, ports that are taken, options and their limits, IPv6 and IPv4 together.
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
#include <sys/wait.h>
#include <unistd.h>

#include "inet.h"

enum { PORT = 7200 };

static void kinds(void)
{
	int pair[2];

	printf("-- kinds\n");
	told("another protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	told("and the other way", socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	told("packets", socket(AF_INET, SOCK_SEQPACKET, 0));
	told("a pair", socketpair(AF_INET, SOCK_STREAM, 0, pair));
	for (int i = 0; i < 4; i++) {
		int fd = socket(i & 1 ? AF_INET6 : AF_INET, i & 2 ? SOCK_DGRAM : SOCK_STREAM, 0);

		printf("%d %d %d %d %d\n", option(fd, SOL_SOCKET, SO_DOMAIN), option(fd, SOL_SOCKET, SO_TYPE),
		       option(fd, SOL_SOCKET, SO_PROTOCOL), option(fd, SOL_SOCKET, SO_SNDBUF), option(fd, SOL_SOCKET, SO_RCVBUF));
		close(fd);
	}
}

static void addresses(void)
{
	struct sockaddr_in four = v4("127.0.0.1", PORT), any = v4("0.0.0.0", 0);
	struct sockaddr_in6 six = v6("::1", PORT);
	int fd;

	printf("-- addresses\n");
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		fd = socket(AF_INET, type, 0);
		told("somebody else's", binds(fd, "192.0.2.1", PORT));
		told("a short one", bind(fd, (void *)&four, 15));
		told("of IPv6", bind(fd, (void *)&six, sizeof(six)));
		four.sin_family = AF_UNSPEC;
		told("of no family", bind(fd, (void *)&four, sizeof(four)));
		four.sin_family = AF_INET, any.sin_family = AF_UNSPEC;
		told("nowhere", bind(fd, (void *)&any, sizeof(any)));
		name_of("it is", fd, getsockname);
		told("again", binds(fd, "127.0.0.1", PORT));
		told("to IPv6", connect(fd, (void *)&six, sizeof(six)));
		told("to a short one", connect(fd, (void *)&four, 15));
		told("elsewhere", connects(fd, "192.0.2.1", PORT));
		close(fd);
		fd = socket(AF_INET6, type, 0);
		told("somebody else's", binds(fd, "2001:db8::1", PORT));
		told("a short one", bind(fd, (void *)&six, 23));
		told("of IPv4", bind(fd, (void *)&four, sizeof(four)));
		told("mapped", binds(fd, "::ffff:127.0.0.1", PORT));
		name_of("it is", fd, getsockname);
		told("to IPv6", connect(fd, (void *)&six, sizeof(six)));
		close(fd);
		fd = socket(AF_INET6, type, 0);
		told("only IPv6", set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
		told("mapped", binds(fd, "::ffff:127.0.0.1", PORT));
		told("to IPv4", connects(fd, "::ffff:127.0.0.1", PORT));
		close(fd);
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fork() == 0) {
		setuid(1000);
		told("a low port", binds(fd, "127.0.0.1", 80));
		_exit(0);
	}
	wait(NULL);
	close(fd);
}

static void taken(void)
{
	int fd[3];

	printf("-- taken\n");
	for (int i = 0; i < 3; i++)
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
	told("one", binds(fd[0], "127.0.0.1", PORT));
	told("the same", binds(fd[1], "127.0.0.1", PORT));
	told("all addresses", binds(fd[1], "0.0.0.0", PORT));
	told("another address", binds(fd[1], "127.0.0.2", PORT));
	told("one listens", listen(fd[0], 1));
	told("the other, too", listen(fd[1], 1));
	close(fd[0]), close(fd[1]);
	printf("-- shared\n");
	for (int i = 0; i < 2; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
		set(fd[i], SOL_SOCKET, SO_REUSEADDR, 1);
		told("binds", binds(fd[i], "127.0.0.1", PORT));
	}
	told("one listens", listen(fd[0], 1));
	told("the other, too", listen(fd[1], 1));
	set(fd[2], SOL_SOCKET, SO_REUSEADDR, 1);
	told("a third", binds(fd[2], "127.0.0.1", PORT));
	close(fd[0]);
	told("now the other", listen(fd[1], 1));
	close(fd[1]), close(fd[2]);
	printf("-- a group\n");
	for (int i = 0; i < 3; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
		set(fd[i], SOL_SOCKET, SO_REUSEPORT, i < 2);
		told("binds", binds(fd[i], "127.0.0.1", PORT));
		if (i < 2)
			told("listens", listen(fd[i], 5));
	}
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	printf("-- of both kinds\n");
	fd[0] = socket(AF_INET6, SOCK_STREAM, 0), fd[1] = socket(AF_INET, SOCK_STREAM, 0), fd[2] = socket(AF_INET6, SOCK_STREAM, 0);
	told("both", binds(fd[0], "::", PORT));
	told("IPv4", binds(fd[1], "0.0.0.0", PORT));
	told("one of IPv4", binds(fd[1], "127.0.0.1", PORT));
	close(fd[0]);
	set(fd[2], IPPROTO_IPV6, IPV6_V6ONLY, 1);
	told("IPv6", binds(fd[2], "::", PORT));
	told("IPv4", binds(fd[1], "0.0.0.0", PORT));
	close(fd[1]), close(fd[2]);
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	told("listens without", listen(fd[0], 1));
	name_of("it is", fd[0], getsockname);
	close(fd[0]);
}

static void both(void)
{
	int listener = socket(AF_INET6, SOCK_STREAM, 0), four = socket(AF_INET, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_STREAM, 0);
	int mapped = socket(AF_INET6, SOCK_STREAM, 0), fd;
	char bytes[10] = "";

	printf("-- both\n");
	set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	binds(listener, "::", PORT), listen(listener, 5);
	told("IPv4", connects(four, "127.0.0.1", PORT));
	told("IPv6", connects(six, "::1", PORT));
	told("mapped", connects(mapped, "::ffff:127.0.0.1", PORT));
	for (int i = 0; i < 3; i++) {
		fd = accept(listener, NULL, NULL);
		name_of("name", fd, getsockname), name_of("peer", fd, getpeername);
		told("sends", write(fd, "x", 1));
		printf("%d\n", option(fd, SOL_SOCKET, SO_REUSEADDR));
		close(fd);
	}
	name_of("mapped", mapped, getsockname), name_of("mapped", mapped, getpeername);
	name_of("to all", four, getpeername);
	told("reads", read(four, bytes, 2));
	close(four), close(six), close(mapped);
	six = socket(AF_INET6, SOCK_STREAM, 0);
	told("to all", connects(six, "::", PORT));
	name_of("name", six, getsockname), name_of("peer", six, getpeername);
	close(six), close(listener);
}

static const struct { const char *name; int level, number; } options[] = {
#define OPTION(level, number) { #number, level, number }
	OPTION(SOL_SOCKET, SO_REUSEADDR), OPTION(SOL_SOCKET, SO_REUSEPORT), OPTION(SOL_SOCKET, SO_KEEPALIVE), OPTION(SOL_SOCKET, SO_BROADCAST),
	OPTION(SOL_SOCKET, SO_OOBINLINE), OPTION(SOL_SOCKET, SO_DONTROUTE), OPTION(SOL_SOCKET, SO_ERROR), OPTION(SOL_SOCKET, SO_ACCEPTCONN),
	OPTION(SOL_SOCKET, 999), OPTION(IPPROTO_TCP, TCP_NODELAY), OPTION(IPPROTO_TCP, TCP_CORK),
	OPTION(IPPROTO_TCP, TCP_KEEPIDLE), OPTION(IPPROTO_TCP, TCP_KEEPINTVL), OPTION(IPPROTO_TCP, TCP_KEEPCNT),
	OPTION(IPPROTO_TCP, TCP_SYNCNT), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT), OPTION(IPPROTO_TCP, TCP_MAXSEG),
	OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT), OPTION(IPPROTO_TCP, TCP_LINGER2), OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT), OPTION(IPPROTO_TCP, 999),
	OPTION(IPPROTO_IP, IP_TOS), OPTION(IPPROTO_IP, IP_TTL), OPTION(IPPROTO_IP, IP_MULTICAST_TTL), OPTION(IPPROTO_IP, 999),
	OPTION(IPPROTO_IPV6, IPV6_V6ONLY), OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS), OPTION(IPPROTO_IPV6, IPV6_TCLASS), OPTION(77, 1),
};

static void values(int domain, int type)
{
	static const int tried[] = { 1, 0, -1, 5, 256, 40000 };

	printf("-- options of %d, %d\n", domain, type);
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int fd = socket(domain, type, 0), level = options[i].level, number = options[i].number;

		printf("%s: %d;", options[i].name, option(fd, level, number));
		for (unsigned t = 0; t < sizeof(tried) / sizeof(tried[0]); t++) {
			int result = set(fd, level, number, tried[t]);

			printf(" %d ", tried[t]);
			if (result < 0)
				printf("%s", said(result));
			else
				printf("-> %d", option(fd, level, number));
		}
		printf("\n");
		close(fd);
	}
}

static void others(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct linger linger = { 5, 7 };
	char name[16] = "", byte = 1;
	socklen_t size = sizeof(linger);

	printf("-- others\n");
	told("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	told("linger", getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size));
	printf("%d %d %u\n", linger.l_onoff, linger.l_linger, size);
	told("a short one", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
	told("one byte", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &byte, 1));
	told("one byte", setsockopt(fd, IPPROTO_IP, IP_TOS, &byte, 1));
	size = sizeof(name);
	told("algorithm", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
	printf("%s %u\n", name, size);
	told("another", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	told("one that is not", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "none", 4));
	told("room", set(fd, SOL_SOCKET, SO_SNDBUF, 10000));
	printf("%d\n", option(fd, SOL_SOCKET, SO_SNDBUF));
	told("waits for more", set(fd, SOL_SOCKET, SO_RCVLOWAT, 5));
	printf("%d\n", option(fd, SOL_SOCKET, SO_RCVLOWAT));
	told("for nothing", set(fd, SOL_SOCKET, SO_RCVLOWAT, 0));
	printf("%d\n", option(fd, SOL_SOCKET, SO_RCVLOWAT));
	told("room", set(fd, SOL_SOCKET, SO_RCVBUF, 1));
	printf("%d\n", option(fd, SOL_SOCKET, SO_RCVBUF));
	close(fd);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_loopback();
	kinds(), addresses(), taken(), both();
	values(AF_INET, SOCK_STREAM), values(AF_INET6, SOCK_STREAM), values(AF_INET, SOCK_DGRAM);
	others();
	return 0;
}
