/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the programs about IPv4 and IPv6 sockets share: addresses, and the interface that they go through on Linux. For files that include what
 * sockets.h wants, <arpa/inet.h>, <net/if.h>, <netinet/in.h>, <netinet/tcp.h>, <stdlib.h>, <sys/ioctl.h> and <sys/socket.h>. */
#ifndef INET_H
#define INET_H

#include "sockets.h"

/* A machine of the lab starts without its own addresses on Linux; on Exo-Kernel they are always there. */
static inline void raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	request.ifr_flags = IFF_UP;
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

static inline struct sockaddr_in v4(const char *ip, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &address.sin_addr);
	return address;
}

static inline struct sockaddr_in6 v6(const char *ip, int port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	inet_pton(AF_INET6, ip, &address.sin6_addr);
	return address;
}

static inline int binds(int fd, const char *ip, int port)
{
	struct sockaddr_in four = v4(ip, port);
	struct sockaddr_in6 six = v6(ip, port);

	return strchr(ip, ':') ? bind(fd, (void *)&six, sizeof(six)) : bind(fd, (void *)&four, sizeof(four));
}

static inline int connects(int fd, const char *ip, int port)
{
	struct sockaddr_in four = v4(ip, port);
	struct sockaddr_in6 six = v6(ip, port);

	return strchr(ip, ':') ? connect(fd, (void *)&six, sizeof(six)) : connect(fd, (void *)&four, sizeof(four));
}

/* The port of a socket or of whom it is connected with, or -1. */
static inline int port_of(int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_in6 address = {};
	socklen_t size = sizeof(address);

	return ask(fd, (void *)&address, &size) < 0 ? -1 : ntohs(address.sin6_port);
}

/* An address as text, without its port where that is any that was free. */
static inline const char *shown(const void *bytes, socklen_t size)
{
	static char text[100], ip[INET6_ADDRSTRLEN];
	const struct sockaddr_in *four = bytes;
	const struct sockaddr_in6 *six = bytes;
	int port = size >= sizeof(*four) ? ntohs(four->sin_port) : 0;

	if (size == 0)
		return "nothing";
	inet_ntop(four->sin_family, four->sin_family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr, ip, sizeof(ip));
	snprintf(text, sizeof(text), port >= 32768 ? "%s, %u bytes, some port" : "%s, %u bytes, port %d", ip, size, port);
	return text;
}

static inline void name_of(const char *what, int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	int result = ask(fd, (void *)&address, &size);

	printf("%s: %s\n", what, result < 0 ? said(result) : shown(&address, size));
}

static inline int option(int fd, int level, int number)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, number, &value, &size) < 0 ? -errno : value;
}

static inline int set(int fd, int level, int number, int value) { return setsockopt(fd, level, number, &value, sizeof(value)); }

/* Waits until poll says something of a socket. */
static inline void wait_for(int fd, int events)
{
	struct pollfd poll_fd = { fd, events, 0 };

	poll(&poll_fd, 1, 10000);
}

#endif
