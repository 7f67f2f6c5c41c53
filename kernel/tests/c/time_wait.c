// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the port of who ended it first: EADDRINUSE
// What is left of a connection that is over: its port is kept for who ended it first, as programs see when they bind there and in /proc/net/tcp.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>

#include "inet.h"

enum { PORT = 7800 };

static int listening(int port, int reuses)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (reuses)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	told("binds", binds(fd, "127.0.0.1", port));
	told("listens", listen(fd, 8));
	return fd;
}

/* What the list says of connections with a local port. */
static void listed(const char *what, const char *list, int port)
{
	char line[400];
	FILE *file = fopen(list, "r");

	printf("%s:", what);
	while (fgets(line, sizeof(line), file)) {
		unsigned at, state, timer, user;
		unsigned long left, inode;

		if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %x:%lx %*x %u %*u %lu", &at, &state, &timer, &left, &user,
			   &inode) != 6)
			continue;
		/* Whether an end has been acknowledged by now (FIN_WAIT2) or not (FIN_WAIT1) is a matter of time. */
		if (state == 4)
			state = 5;
		if ((int)at == port)
			printf(" state %u, timer %u, %s left, %zu bytes;", state, state == 6 ? timer : 0,
			       state == 6 && left > 3000 && left <= 6000 ? "a minute" : "nothing", strlen(line));
	}
	printf("\n");
	fclose(file);
}

static void binds_there(const char *what, int port, int reuses)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	set(fd, SOL_SOCKET, SO_REUSEADDR, reuses);
	told(what, binds(fd, "127.0.0.1", port));
	close(fd);
}

static void connected(int listener, int port, int *client, int *server)
{
	*client = socket(AF_INET, SOCK_STREAM, 0);
	connects(*client, "127.0.0.1", port);
	*server = accept(listener, NULL, NULL);
}

int main(void)
{
	int listener, client, server, port;
	struct linger now = { 1, 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_loopback();
	printf("-- a client ends it\n");
	listener = listening(PORT, 1);
	connected(listener, PORT, &client, &server);
	port = port_of(client, getsockname);
	close(client), close(server);
	binds_there("the port of who ended it first", port, 0);
	binds_there("reused", port, 1);
	listed("listed", "/proc/net/tcp", port);
	printf("-- a client ends it half, and the server the rest\n");
	connected(listener, PORT, &client, &server);
	port = port_of(client, getsockname);
	shutdown(client, SHUT_WR);
	listed("half", "/proc/net/tcp", port);
	close(server);
	listed("whole", "/proc/net/tcp", port);
	close(client);
	listed("closed", "/proc/net/tcp", port);
	printf("-- the server ends it\n");
	connected(listener, PORT, &client, &server);
	port = port_of(client, getsockname);
	close(server), close(client);
	binds_there("the client's port", port, 0);
	listed("listed", "/proc/net/tcp", port);
	close(listener);
	binds_there("the server's", PORT, 0);
	binds_there("reused", PORT, 1);
	listed("listed", "/proc/net/tcp", PORT);
	printf("-- a server that does not reuse\n");
	listener = listening(PORT + 1, 0);
	connected(listener, PORT + 1, &client, &server);
	close(server), close(client), close(listener);
	binds_there("its port", PORT + 1, 0);
	binds_there("reused", PORT + 1, 1);
	printf("-- broken off\n");
	listener = listening(PORT + 2, 0);
	connected(listener, PORT + 2, &client, &server);
	port = port_of(client, getsockname);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(client), close(server);
	binds_there("the client's port", port, 0);
	connected(listener, PORT + 2, &client, &server);
	port = port_of(client, getsockname);
	if (send(server, "x", 1, 0) != 1)
		perror("send");
	wait_for(client, POLLIN);
	close(client), close(server);
	binds_there("of who has not read", port, 0);
	close(listener);
	binds_there("the server's", PORT + 2, 0);
	listed("listed", "/proc/net/tcp", PORT + 2);
	printf("-- one's own end, while it is open\n");
	listener = listening(PORT + 3, 0);
	connected(listener, PORT + 3, &client, &server);
	port = port_of(client, getsockname);
	shutdown(client, SHUT_RDWR), shutdown(server, SHUT_RDWR);
	binds_there("the client's port", port, 0);
	listed("listed", "/proc/net/tcp", port);
	close(client), close(server), close(listener);
	return 0;
}
