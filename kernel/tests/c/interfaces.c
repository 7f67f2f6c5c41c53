// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: lo: 127.0.0.1, mask 255.0.0.0, flags 49
// What programs find out about interfaces and sockets: requests to a socket, and the lists in /proc/net.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
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

enum { PORT = 7300 };

static long ask(unsigned long number, const char *name, struct ifreq *request)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	long result;

	memset(request, 0, sizeof(*request));
	strcpy(request->ifr_name, name);
	result = ioctl(fd, number, request);
	close(fd);
	return result;
}

static const char *address(const struct ifreq *request)
{
	return inet_ntoa(((struct sockaddr_in *)&request->ifr_addr)->sin_addr);
}

static void interfaces(void)
{
	struct ifreq request, all[10];
	struct ifconf list = { sizeof(all), { (void *)all } };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	ask(SIOCGIFADDR, "lo", &request), printf("lo: %s", address(&request));
	ask(SIOCGIFNETMASK, "lo", &request), printf(", mask %s", address(&request));
	ask(SIOCGIFFLAGS, "lo", &request), printf(", flags %x\n", request.ifr_flags);
	told("broadcast", ask(SIOCGIFBRDADDR, "lo", &request)), printf("%s\n", address(&request));
	told("most bytes", ask(SIOCGIFMTU, "lo", &request)), printf("%d\n", request.ifr_mtu);
	told("number", ask(SIOCGIFINDEX, "lo", &request)), printf("%d\n", request.ifr_ifindex);
	told("hardware", ask(SIOCGIFHWADDR, "lo", &request)), printf("%d\n", request.ifr_hwaddr.sa_family);
	told("nobody's", ask(SIOCGIFADDR, "none0", &request));
	told("another number", ask(SIOCGIFNAME, "", &request));
	memset(&request, 0, sizeof(request)), request.ifr_ifindex = 1;
	told("its name", ioctl(fd, SIOCGIFNAME, &request)), printf("%s\n", request.ifr_name);
	told("all", ioctl(fd, SIOCGIFCONF, &list));
	printf("%d bytes, %s %s\n", list.ifc_len, all[0].ifr_name, address(&all[0]));
	list.ifc_buf = NULL, list.ifc_len = 0;
	told("how many", ioctl(fd, SIOCGIFCONF, &list)), printf("%d bytes\n", list.ifc_len);
	told("something else", ioctl(fd, TCGETS, &request));
	printf("by name: %u\n", if_nametoindex("lo"));
	close(fd);
}

/* What netlink says, by the C library. */
static void by_netlink(void)
{
	struct ifaddrs *all, *one;
	struct { struct nlmsghdr header; struct ifinfomsg link; } request = { { sizeof(request), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };
	struct sockaddr_nl name = { AF_NETLINK, 0, 0, 0 };
	socklen_t size = sizeof(name);
	char answer[4096], ip[INET6_ADDRSTRLEN];
	struct nlmsghdr *header = (void *)answer;
	int fd;

	printf("-- netlink\n");
	told("addresses", getifaddrs(&all));
	for (one = all; one; one = one->ifa_next) {
		int family = one->ifa_addr ? one->ifa_addr->sa_family : -1;

		printf("%s: %x, family %d", one->ifa_name, one->ifa_flags, family);
		if (family == AF_INET)
			printf(", %s", inet_ntoa(((struct sockaddr_in *)one->ifa_addr)->sin_addr)),
				printf(", %s", inet_ntoa(((struct sockaddr_in *)one->ifa_netmask)->sin_addr));
		if (family == AF_INET6)
			printf(", %s", inet_ntop(family, &((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr, ip, sizeof(ip)));
		printf("\n");
	}
	freeifaddrs(all);
	told("another protocol", socket(AF_NETLINK, SOCK_RAW, 77));
	told("another kind", socket(AF_NETLINK, SOCK_STREAM, 0));
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
	told("nothing yet", recv(fd, answer, sizeof(answer), 0));
	told("binds", bind(fd, (void *)&name, sizeof(name)));
	told("its name", getsockname(fd, (void *)&name, &size));
	printf("%d, %u bytes\n", name.nl_pid == (unsigned)getpid(), size);
	told("asks", send(fd, &request, sizeof(request), 0));
	state("it", fd);
	told("is answered", recv(fd, answer, sizeof(answer), 0) > 0);
	printf("type %d, flags %x, number %u, ours %d\n", header->nlmsg_type, header->nlmsg_flags, header->nlmsg_seq, header->nlmsg_pid == (unsigned)getpid());
	request.link.ifi_index = 999;
	told("asks for none", send(fd, &request, sizeof(request), 0));
	told("is answered", recv(fd, answer, sizeof(answer), 0) > 0);
	printf("type %d, error %s\n", header->nlmsg_type, strerrorname_np(-*(int *)NLMSG_DATA(header)));
	told("nothing else", send(fd, "", 0, 0));
	told("nothing else", recv(fd, answer, sizeof(answer), 0));
	close(fd);
}

/* Lines with one of our ports, but for the numbers of inodes and what comes after them. */
static void list(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[300], local[40], remote[40], queues[20];
	unsigned state, user, place;

	printf("-- %s\n", path);
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (strstr(line, "local_address"))
			printf("%s|\n", line);
		else if (sscanf(line, "%u: %39s %39s %x %19s %*s %*s %u", &place, local, remote, &state, queues, &user) == 6 && strstr(local, ":1C8"))
			printf("%s %s %X %s, user %u, %s\n", local, strlen(remote) > 30 || strstr(remote, ":1C8") || strstr(remote, ":0000") ? "to one" : "to some port", state,
			       strstr(path, "udp") ? "" : queues, user, strlen(path) == 13 && strlen(line) < 127 ? "short" : "whole");
	}
	fclose(file);
}

int main(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server, fd[4];

	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_loopback();
	interfaces();
	by_netlink();
	set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	binds(listener, "127.0.0.1", PORT), listen(listener, 5);
	connects(client, "127.0.0.1", PORT);
	server = accept(listener, NULL, NULL);
	write(client, "abc", 3);
	wait_for(server, POLLIN);
	fd[0] = socket(AF_INET6, SOCK_STREAM, 0), binds(fd[0], "::1", PORT + 1), listen(fd[0], 5);
	fd[1] = socket(AF_INET, SOCK_DGRAM, 0), binds(fd[1], "127.0.0.1", PORT + 2);
	fd[2] = socket(AF_INET6, SOCK_DGRAM, 0), binds(fd[2], "::", PORT + 3);
	fd[3] = socket(AF_INET, SOCK_STREAM, 0), binds(fd[3], "127.0.0.1", PORT + 4);
	list("/proc/net/tcp"), list("/proc/net/tcp6"), list("/proc/net/udp"), list("/proc/net/udp6");
	list("/proc/net/route");
	close(listener), close(client), close(server);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	return 0;
}
