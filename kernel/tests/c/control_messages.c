// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: in the queue: 5 bytes "lost1" to 127.0.0.1, 16 bytes, port 7901, ECONNREFUSED, origin 2, type 3, code 3, from 127.0.0.1, 16 bytes, port 0
// What datagrams bring with them by control messages, what may be said with one that is sent, and the queue of errors.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "inet.h"

enum { PORT = 7900, NOBODY = 7901 };

static int bound(const char *ip, int port)
{
	int fd = socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (binds(fd, ip, port) < 0)
		perror("bind");
	return fd;
}

static int int_of(const struct cmsghdr *part)
{
	int value;

	memcpy(&value, CMSG_DATA(part), sizeof(value));
	return value;
}

static void show_time(const char *what, const struct cmsghdr *part, unsigned long unit)
{
	struct timespec when;

	memcpy(&when, CMSG_DATA(part), sizeof(when));
	printf("%s %s", what, labs(when.tv_sec - time(NULL)) < 100 && (unsigned long)when.tv_nsec < unit ? "now" : "another time");
}

static void show_part(const struct cmsghdr *part)
{
	char ip[INET6_ADDRSTRLEN], ip2[INET6_ADDRSTRLEN];
	int level = part->cmsg_level, type = part->cmsg_type;

	printf("  %d.%d, %d bytes: ", level, type, (int)part->cmsg_len);
	if (level == SOL_SOCKET && (type == SO_TIMESTAMP || type == 63)) {
		show_time("a time in microseconds:", part, 1000000);
	} else if (level == SOL_SOCKET && (type == SO_TIMESTAMPNS || type == 64)) {
		show_time("a time in nanoseconds:", part, 1000000000);
	} else if (level == IPPROTO_IP && type == IP_PKTINFO) {
		const struct in_pktinfo *info = (void *)CMSG_DATA(part);

		printf("interface %d, %s, %s", info->ipi_ifindex, inet_ntop(AF_INET, &info->ipi_spec_dst, ip, sizeof(ip)),
		       inet_ntop(AF_INET, &info->ipi_addr, ip2, sizeof(ip2)));
	} else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
		const struct in6_pktinfo *info = (void *)CMSG_DATA(part);

		printf("interface %d, %s", info->ipi6_ifindex, inet_ntop(AF_INET6, &info->ipi6_addr, ip, sizeof(ip)));
	} else if (level == IPPROTO_IP && type == IP_TOS) {
		printf("%d", *CMSG_DATA(part));
	} else if (type == IP_ORIGDSTADDR || type == IPV6_ORIGDSTADDR) {
		printf("%s", shown(CMSG_DATA(part), level == IPPROTO_IP ? 16 : 28));
	} else {
		printf("%d", int_of(part));
	}
	printf("\n");
}

static void receives(const char *what, int fd, size_t room)
{
	char bytes[100] = "", control[400];
	struct iovec part = { bytes, sizeof(bytes) - 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room ? control : NULL, .msg_controllen = room };
	long count;

	wait_for(fd, POLLIN);
	count = recvmsg(fd, &message, 0);
	if (count < 0) {
		told(what, count);
		return;
	}
	printf("%s: \"%s\", flags %x, %d bytes of control\n", what, bytes, message.msg_flags, (int)message.msg_controllen);
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at))
		show_part(at);
}

static long sends_with(int fd, const char *ip, int level, int type, const void *data, size_t size)
{
	struct sockaddr_in four = v4(ip, PORT);
	struct sockaddr_in6 six = v6(ip, PORT);
	int is_v6 = strchr(ip, ':') != NULL;
	char control[100] = "";
	struct iovec part = { "with", 4 };
	struct msghdr message = { .msg_name = is_v6 ? (void *)&six : (void *)&four, .msg_namelen = is_v6 ? sizeof(six) : sizeof(four),
				  .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(size) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	*head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(size), .cmsg_level = level, .cmsg_type = type };
	memcpy(CMSG_DATA(head), data, size);
	return sendmsg(fd, &message, 0);
}

static void of_v4(void)
{
	int fd = bound("0.0.0.0", PORT), client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), value;
	struct in_pktinfo info = {};

	printf("-- IPv4\n");
	for (int option = 0; option < 64; option++)
		if (option == IP_PKTINFO || option == IP_RECVTTL || option == IP_RECVTOS || option == IP_RECVORIGDSTADDR)
			printf("%d: %s\n", option, said(set(fd, IPPROTO_IP, option, 1)));
	told("with its TTL", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TTL, (value = 3, &value), 4));
	receives("it", fd, 400);
	told("TTL", set(client, IPPROTO_IP, IP_TTL, 9)), told("TOS", set(client, IPPROTO_IP, IP_TOS, 0x2e));
	told("to another address", sends_with(client, "127.0.0.5", 99, 1, "x", 1));
	receives("it", fd, 400);
	told("TOS in a byte", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TOS, "\x08", 1));
	receives("with little room", fd, 40);
	told("again", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TOS, (value = 4, &value), 4));
	receives("with none", fd, 0);
	info.ipi_spec_dst.s_addr = inet_addr("127.0.0.7");
	told("from another address", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)));
	receives("it", fd, 400);
	info.ipi_spec_dst.s_addr = inet_addr("192.0.2.1");
	told("from somebody's", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)));
	info.ipi_spec_dst.s_addr = 0, info.ipi_ifindex = 1;
	told("by lo", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)));
	info.ipi_ifindex = 99;
	told("by no interface", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)));
	told("half of it", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_PKTINFO, &info, 8));
	told("TTL 0", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TTL, (value = 0, &value), 4));
	told("TTL 256", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TTL, (value = 256, &value), 4));
	told("a short TTL", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TTL, "\1", 1));
	told("TOS 256", sends_with(client, "127.0.0.1", IPPROTO_IP, IP_TOS, (value = 256, &value), 4));
	told("what there is not", sends_with(client, "127.0.0.1", IPPROTO_IP, 77, &value, 4));
	receives("by lo", fd, 400);
	told("no more", recv(fd, &value, 4, 0));
	close(fd), close(client);
}

static void of_v6(void)
{
	int fd = bound("::", PORT), client = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0), value;
	static const int options[] = { IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_RECVORIGDSTADDR };
	struct in6_pktinfo info = {};

	printf("-- IPv6\n");
	for (int i = 0; i < 4; i++)
		printf("%d: %s\n", options[i], said(set(fd, IPPROTO_IPV6, options[i], 1)));
	told("one", sends_with(client, "::1", IPPROTO_IPV6, IPV6_HOPLIMIT, (value = 5, &value), 4));
	receives("it", fd, 400);
	told("another", sends_with(client, "::1", IPPROTO_IPV6, IPV6_TCLASS, (value = 7, &value), 4));
	receives("it", fd, 400);
	told("usual", sends_with(client, "::1", IPPROTO_IPV6, IPV6_HOPLIMIT, (value = -1, &value), 4));
	receives("it", fd, 400);
	told("over IPv4", sends_with(client, "::ffff:127.0.0.1", 99, 1, "x", 1));
	receives("it", fd, 400);
	told("TTL", set(fd, IPPROTO_IP, IP_RECVTTL, 1));
	told("with its TTL", sends_with(client, "::ffff:127.0.0.1", IPPROTO_IP, IP_TTL, (value = 5, &value), 4));
	receives("it", fd, 400);
	inet_pton(AF_INET6, "::1", &info.ipi6_addr);
	told("from its own", sends_with(client, "::1", IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info)));
	inet_pton(AF_INET6, "2001:db8::1", &info.ipi6_addr);
	told("from somebody's", sends_with(client, "::1", IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info)));
	memset(&info, 0, sizeof(info)), info.ipi6_ifindex = 99;
	told("by no interface", sends_with(client, "::1", IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info)));
	told("hop limit 256", sends_with(client, "::1", IPPROTO_IPV6, IPV6_HOPLIMIT, (value = 256, &value), 4));
	told("what there is not", sends_with(client, "::1", IPPROTO_IPV6, 99, &value, 4));
	close(fd), close(client);
}

static void times(void)
{
	int fd = bound("127.0.0.1", PORT), client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	printf("-- times\n");
	told("in microseconds", set(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	told("one", sends_with(client, "127.0.0.1", 99, 1, "x", 1));
	receives("it", fd, 400);
	told("one", sends_with(client, "127.0.0.1", 99, 1, "x", 1));
	told("in nanoseconds", set(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	printf("%d %d\n", option(fd, SOL_SOCKET, SO_TIMESTAMP), option(fd, SOL_SOCKET, SO_TIMESTAMPNS));
	receives("it", fd, 400);
	told("by the new number", set(fd, SOL_SOCKET, 63, 1));
	told("one", sends_with(client, "127.0.0.1", 99, 1, "x", 1));
	receives("it", fd, 400);
	told("none", set(fd, SOL_SOCKET, SO_TIMESTAMP, 0));
	told("one", sends_with(client, "127.0.0.1", 99, 1, "x", 1));
	receives("it", fd, 400);
	close(fd), close(client);
}

static void from_queue(int fd, size_t length)
{
	char bytes[100] = "", control[400];
	struct sockaddr_storage to = {};
	struct iovec part = { bytes, length };
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	long count = recvmsg(fd, &message, MSG_ERRQUEUE);
	struct cmsghdr *head = count < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct sock_extended_err *error = head ? (void *)CMSG_DATA(head) : NULL;

	if (!error) {
		told("in the queue", count);
		return;
	}
	printf("in the queue: %ld bytes \"%s\" to %s, ", count, bytes, shown(&to, message.msg_namelen));
	errno = error->ee_errno;
	printf("%s, origin %d, type %d, code %d, from %s\n", said(-1), error->ee_origin, error->ee_type, error->ee_code,
	       shown(SO_EE_OFFENDER(error), error->ee_origin == SO_EE_ORIGIN_ICMP && to.ss_family == AF_INET ? 16 : 28));
	printf("  %d.%d, %d bytes, flags %x\n", head->cmsg_level, head->cmsg_type, (int)head->cmsg_len, message.msg_flags);
}

static void errors(const char *ip)
{
	int is_v6 = strchr(ip, ':') != NULL;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in four = v4(ip, NOBODY);
	struct sockaddr_in6 six = v6(ip, NOBODY);
	void *to = is_v6 ? (void *)&six : (void *)&four;
	socklen_t size = is_v6 ? sizeof(six) : sizeof(four);
	char bytes[10];

	printf("-- errors of %s\n", ip);
	told("unheard", sendto(fd, "lost0", 5, 0, to, size));
	from_queue(fd, 99);
	told("heard", set(fd, IPPROTO_IP, IP_RECVERR, 1));
	if (is_v6)
		told("heard", set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1));
	told("one", sendto(fd, "lost1", 5, 0, to, size));
	state("it", fd);
	from_queue(fd, 99);
	state("then", fd);
	from_queue(fd, 99);
	told("one", sendto(fd, "lost2", 5, 0, to, size));
	told("the next", sendto(fd, "lost3", 5, 0, to, size));
	state("it", fd);
	told("once more", sendto(fd, "lost4", 5, 0, to, size));
	from_queue(fd, 99);
	printf("error: %d\n", option(fd, SOL_SOCKET, SO_ERROR));
	from_queue(fd, 3);
	told("received", recv(fd, bytes, sizeof(bytes), 0));
	state("it", fd);
	told("connected", connects(fd, ip, NOBODY));
	told("one", send(fd, "lost5", 5, 0));
	told("received", recv(fd, bytes, sizeof(bytes), 0));
	told("received", recv(fd, bytes, sizeof(bytes), 0));
	state("it", fd);
	from_queue(fd, 99);
	state("it", fd);
	close(fd);
}

static void streams(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), other;
	char bytes[10];

	printf("-- streams\n");
	told("reuses", set(listener, SOL_SOCKET, SO_REUSEADDR, 1));
	told("binds", binds(listener, "127.0.0.1", PORT)), listen(listener, 1);
	told("heard", set(fd, IPPROTO_IP, IP_RECVERR, 1));
	told("its queue", recv(fd, bytes, sizeof(bytes), MSG_ERRQUEUE));
	told("connects", connects(fd, "127.0.0.1", PORT));
	other = accept(listener, NULL, NULL);
	told("its queue", recv(other, bytes, sizeof(bytes), MSG_ERRQUEUE));
	close(fd), close(other), close(listener);
}

/* A receive of several ends with an error after the first: the next call has it. */
static void late(void)
{
	int fd = bound("127.0.0.1", PORT), client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	char bytes[2][10] = {};
	struct iovec parts[2] = { { bytes[0], 10 }, { (void *)8, 10 } };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &parts[0], .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = &parts[1], .msg_iovlen = 1 } } };

	printf("-- late errors\n");
	for (int i = 0; i < 3; i++)
		told("one", sends_with(client, "127.0.0.1", 99, 1, "x", 1));
	told("received", recvmmsg(fd, messages, 2, 0, NULL));
	told("the next", recv(fd, bytes[0], 10, 0));
	told("and then", recv(fd, bytes[0], 10, 0));
	close(fd), close(client);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_pipe);
	raise_loopback();
	of_v4();
	of_v6();
	times();
	errors("127.0.0.1");
	errors("::1");
	errors("::ffff:127.0.0.1");
	streams();
	late();
	return 0;
}
