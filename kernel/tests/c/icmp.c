// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: an answer: 14 bytes: type 0, code 0, number 1, "hello!", of our own ident
// Pings to the machine itself, by sockets for pings and by raw ones: who may have them, what they send, what comes back.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inet.h"

static const char *RANGE = "/proc/sys/net/ipv4/ping_group_range";

/* An echo request, with its checksum. */
static int request(unsigned char *to, int type, int ident, int number, const char *text)
{
	unsigned sum = 0;
	int size = 8 + strlen(text);

	memset(to, 0, size + 1);
	to[0] = type, to[4] = ident >> 8, to[5] = ident, to[7] = number;
	memcpy(to + 8, text, strlen(text));
	for (int i = 0; i < size; i += 2)
		sum += to[i] << 8 | to[i + 1];
	sum = (sum >> 16) + (sum & 0xffff), sum += sum >> 16;
	to[2] = ~sum >> 8, to[3] = ~sum;
	return size;
}

static long sends(int fd, int type, int ident, int number, const char *text, const char *ip)
{
	unsigned char bytes[100];
	struct sockaddr_in four = v4(ip, 0);
	struct sockaddr_in6 six = v6(ip, 0);
	int size = request(bytes, type, ident, number, text);

	return strchr(ip, ':') ? sendto(fd, bytes, size, 0, (void *)&six, sizeof(six))
			       : sendto(fd, bytes, size, 0, (void *)&four, sizeof(four));
}

static void show(const char *what, const unsigned char *bytes, long size, int ident)
{
	int own = bytes[4] << 8 | bytes[5];

	printf("%s: %ld bytes: type %d, code %d, number %d, \"%.*s\", of %s ident\n", what, size, bytes[0], bytes[1], bytes[7],
	       size > 8 ? (int)size - 8 : 0, bytes + 8, own == ident ? "our own" : "another");
}

static void receives(const char *what, int fd, int ident)
{
	unsigned char bytes[200] = {};
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	long count;

	wait_for(fd, POLLIN);
	count = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (void *)&from, &size);
	if (count < 0) {
		told(what, count);
		return;
	}
	show(what, bytes, count, ident);
	printf("  from %s\n", shown(&from, size));
}

/* The same of a raw socket of IPv4, which gives the packet's header, too. */
static void receives_packet(const char *what, int fd, int ident)
{
	unsigned char bytes[200] = {};
	const struct iphdr *ip = (void *)bytes;
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];
	long count;

	wait_for(fd, POLLIN);
	count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (count < 0) {
		told(what, count);
		return;
	}
	inet_ntop(AF_INET, &ip->saddr, from, sizeof(from)), inet_ntop(AF_INET, &ip->daddr, to, sizeof(to));
	printf("%s: %d.%d of %d, type of service %d, TTL %d, protocol %d, %s to %s\n", what, ip->version, ip->ihl,
	       ntohs(ip->tot_len), ip->tos, ip->ttl, ip->protocol, from, to);
	show("  in it", bytes + 20, count - 20, ident);
}

static void nothing(const char *what, int fd)
{
	struct pollfd poll_fd = { fd, POLLIN, 0 };

	printf("%s: %d\n", what, poll(&poll_fd, 1, 300));
}

/* Its name, without the ident, which is any that was free. */
static void name_of_ping(int fd)
{
	struct sockaddr_storage address = {};
	struct sockaddr_in *four = (void *)&address;
	socklen_t size = sizeof(address);

	getsockname(fd, (void *)&address, &size);
	printf("its ident: %s\n", four->sin_port ? "one" : "none");
	four->sin_port = 0;
	printf("its name: %s\n", shown(&address, size));
}

static void range(const char *text)
{
	char bytes[100] = "";
	int fd = open(RANGE, O_RDWR);

	if (text && write(fd, text, strlen(text)) < 0)
		printf("%s: %s\n", text, said(-1));
	if (pread(fd, bytes, sizeof(bytes) - 1, 0) < 0)
		perror(RANGE);
	printf("range: %s", bytes);
	close(fd);
}

static void kinds(void)
{
	printf("-- kinds\n");
	range(NULL);
	told("nobody's pings", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
	told("of IPv6", socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
	range("0\t1000\n");
	range("5 3");
	range("x");
	range("0 2147483647");
	told("ICMP over IPv6", socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP));
	told("ICMPv6 over IPv4", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6));
	told("streams", socket(AF_INET, SOCK_STREAM, IPPROTO_ICMP));
	told("raw without a protocol", socket(AF_INET, SOCK_RAW, 0));
	for (int i = 0; i < 4; i++) {
		int fd = socket(i & 1 ? AF_INET6 : AF_INET, i & 2 ? SOCK_RAW : SOCK_DGRAM, i & 1 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

		printf("%d %d %d %d %d\n", option(fd, SOL_SOCKET, SO_DOMAIN), option(fd, SOL_SOCKET, SO_TYPE),
		       option(fd, SOL_SOCKET, SO_PROTOCOL), option(fd, IPPROTO_IP, IP_TTL), option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
		state("fresh", fd);
		name_of("its name", fd, getsockname), name_of("its peer", fd, getpeername);
		told("listens", listen(fd, 1));
		told("accepts", accept(fd, NULL, NULL));
		told("sends nowhere", send(fd, "12345678", 8, 0));
		told("is shut down", shutdown(fd, SHUT_RD));
		close(fd);
	}
	if (fork() == 0) {
		if (setuid(1000))
			exit(1);
		told("raw, of a user", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
		told("raw, of IPv6", socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
		told("no protocol that there is", socket(AF_INET, SOCK_RAW, 0));
		printf("pings: %s\n", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) >= 0 ? "yes" : "no");
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

static void pings(int family)
{
	int is_v6 = family == AF_INET6, type = is_v6 ? 128 : 8;
	const char *ip = is_v6 ? "::1" : "127.0.0.1";
	int fd = socket(family, SOCK_DGRAM, is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP), other, ident, size = -1;
	unsigned char bytes[100];

	printf("-- pings of %s\n", is_v6 ? "IPv6" : "IPv4");
	told("a short one", sendto(fd, "1234567", 7, 0, NULL, 0));
	told("an answer is not sent", sends(fd, is_v6 ? 129 : 0, 0, 1, "x", ip));
	told("one", sends(fd, type, 0x1234, 1, "hello!", ip));
	name_of_ping(fd);
	ident = port_of(fd, getsockname);
	receives("an answer", fd, ident);
	told("no more", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("one more", sends(fd, type, ident, 2, "and this is longer", ip));
	state("it", fd);
	told("readable", ioctl(fd, FIONREAD, &size));
	told("a part of it", recv(fd, bytes, 10, MSG_PEEK));
	told("with its length", recv(fd, bytes, 10, MSG_TRUNC));
	told("gone", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("connects", connects(fd, ip, 0));
	told("sends", send(fd, bytes, request(bytes, type, 0, 3, "connected"), 0));
	receives("the answer", fd, ident);
	name_of_ping(fd), name_of("its peer", fd, getpeername);
	told("bind again", binds(fd, ip, 999));
	other = socket(family, SOCK_DGRAM, is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	told("the same ident", binds(other, ip, ident));
	told("somebody's address", binds(other, is_v6 ? "2001:db8::1" : "192.0.2.1", 777));
	told("a port of root's", binds(other, ip, 777));
	name_of_ping(other);
	told("sends", sends(other, type, 5, 4, "x", ip));
	receives("the answer", other, 777);
	told("to the other family", is_v6 ? sends(other, 8, 5, 4, "x", "127.0.0.1") : sends(other, 8, 5, 4, "x", "::1"));
	told("urgent", send(fd, bytes, 8, MSG_OOB));
	if (!is_v6) {
		told("to another of its addresses", sends(fd, type, 0, 5, "x", "127.1.2.3"));
		receives("the answer", fd, ident);
		told("to nobody", sends(fd, type, 0, 5, "x", "192.0.2.1"));
	}
	close(fd), close(other);
}

static void raw_v4(void)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), bound, size;
	unsigned char bytes[100];
	struct sockaddr_in to = v4("127.0.0.1", 0);
	unsigned mask = 0;
	socklen_t length = sizeof(mask);

	printf("-- raw of IPv4\n");
	told("one", sends(fd, 8, 0x1234, 1, "raw", "127.0.0.1"));
	receives_packet("the request", fd, 0x1234);
	receives_packet("the answer", fd, 0x1234);
	told("nothing else", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("another type of service", set(fd, IPPROTO_IP, IP_TOS, 0x10));
	told("and TTL", set(fd, IPPROTO_IP, IP_TTL, 3));
	told("a timestamp is asked for", sendto(fd, "\x0d\0\xf2\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0, (void *)&to, sizeof(to)));
	receives_packet("the request", fd, 0);
	wait_for(fd, POLLIN);
	told("the answer", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	printf("it has type %d and TTL %d\n", bytes[20], bytes[8]);
	told("a bad checksum", sendto(fd, "\x08\0\1\1\0\0\0\0", 8, 0, (void *)&to, sizeof(to)));
	receives_packet("the request", fd, 0);
	nothing("no answer", fd);
	told("too short for ICMP", sendto(fd, "abc", 3, 0, (void *)&to, sizeof(to)));
	wait_for(fd, POLLIN);
	told("it comes", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("filter", getsockopt(fd, 255, 1, &mask, &length));
	printf("%x, %u bytes\n", mask, length);
	mask = 1 << 8;
	told("no requests", setsockopt(fd, 255, 1, &mask, sizeof(mask)));
	told("one", sends(fd, 8, 7, 2, "filtered", "127.0.0.1"));
	receives_packet("the answer", fd, 7);
	told("a ping", sends(ping, 8, 7, 3, "ping", "127.0.0.1"));
	receives_packet("the answer is seen", fd, port_of(ping, getsockname));
	receives("and received", ping, port_of(ping, getsockname));
	bound = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	told("binds", binds(bound, "127.0.0.2", 5));
	name_of("its name", bound, getsockname);
	told("again", binds(bound, "127.0.0.3", 0));
	told("somebody's", binds(bound, "192.0.2.1", 0));
	told("connects", connects(bound, "127.0.0.2", 0));
	name_of("its peer", bound, getpeername);
	told("one", sends(fd, 8, 7, 4, "not for it", "127.0.0.1"));
	nothing("not for it", bound);
	told("sends", send(bound, bytes, request(bytes, 8, 9, 9, "itself"), 0));
	/* It is bound to 127.0.0.3. */
	nothing("the answer", bound);
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	told("one", sends(fd, 8, 7, 5, "to be cut", "127.0.0.1"));
	wait_for(fd, POLLIN);
	told("readable", ioctl(fd, FIONREAD, &size));
	printf("%d\n", size);
	state("it", fd);
	told("a part", recv(fd, bytes, 10, MSG_PEEK));
	told("its length", recv(fd, bytes, 10, MSG_TRUNC));
	told("IP_HDRINCL", option(fd, IPPROTO_IP, IP_HDRINCL));
	told("urgent", send(fd, bytes, 8, MSG_OOB));
	told("to IPv6", sends(fd, 8, 5, 4, "x", "::1"));
	told("to nobody", sends(fd, 8, 5, 4, "x", "192.0.2.1"));
	close(fd), close(ping), close(bound);
}

static void raw_v6(void)
{
	int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	struct icmp6_filter filter;
	socklen_t length = sizeof(filter);
	unsigned char bytes[100];

	printf("-- raw of IPv6\n");
	told("one", sends(fd, 128, 0x1234, 1, "raw6", "::1"));
	receives("the request", fd, 0x1234);
	receives("the answer", fd, 0x1234);
	told("nothing else", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("filter", getsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, &length));
	printf("%u bytes, %d\n", length, ICMP6_FILTER_WILLPASS(128, &filter) != 0);
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(129, &filter);
	told("only answers", setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)));
	told("one", sends(fd, 128, 0x1234, 2, "raw6", "::1"));
	receives("the answer", fd, 0x1234);
	told("nothing else", recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT));
	told("checksums", option(fd, IPPROTO_IPV6, IPV6_CHECKSUM));
	told("at 2", set(fd, IPPROTO_IPV6, IPV6_CHECKSUM, 2));
	told("at 4", set(fd, IPPROTO_IPV6, IPV6_CHECKSUM, 4));
	close(fd);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_loopback();
	kinds();
	pings(AF_INET);
	pings(AF_INET6);
	raw_v4();
	raw_v6();
	range("1 0");
	return 0;
}
