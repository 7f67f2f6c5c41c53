// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a full backlog: EAGAIN
// Streams and packets with a listener: backlog, order, ends, errors, credentials, waits, and what poll says of each state.
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
#include <time.h>
#include <unistd.h>

#include "sockets.h"

static struct sockaddr_un name = { AF_UNIX, "\0exo-stream" };
static const socklen_t name_size = offsetof(struct sockaddr_un, sun_path) + 11;

static int option(int fd, int number)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, number, &value, &size) < 0 ? -errno : value;
}

static int listener_of(int type, int backlog)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	bind(fd, (void *)&name, name_size);
	listen(fd, backlog);
	return fd;
}

static long connects(int fd) { return connect(fd, (void *)&name, name_size); }

static void kinds(int type, const char *what)
{
	char bytes[100] = "";
	int clients[4], servers[4], listener, waiting;

	printf("-- %s\n", what);
	for (int i = 0; i < 4; i++)
		clients[i] = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
	state("fresh", clients[0]);
	told("receives", recv(clients[0], bytes, 8, 0));
	told("reads", read(clients[0], bytes, 8));
	told("sends", send(clients[0], "x", 1, 0));
	told("to a name", sendto(clients[0], "x", 1, 0, (void *)&name, name_size));
	told("listens", listen(clients[0], 1));
	told("accepts", accept(clients[0], NULL, NULL));
	told("is shut down", shutdown(clients[3], SHUT_WR));
	told("and sends", send(clients[3], "x", 1, 0));
	state("and is", clients[3]);
	listener = listener_of(type, 1);
	told("nobody yet", accept4(listener, NULL, NULL, SOCK_NONBLOCK));
	state("listening", listener);
	printf("accepts: %d %d\n", option(listener, SO_ACCEPTCONN), option(clients[0], SO_ACCEPTCONN));
	told("connects", connects(listener));
	told("sends", send(listener, "x", 1, 0));
	told("receives", recv(listener, bytes, 1, 0));
	told("readable", ioctl(listener, FIONREAD, &waiting));
	told("first", connects(clients[0]));
	state("and is", clients[0]);
	state("the listener", listener);
	told("second", connects(clients[1]));
	told("a full backlog", connects(clients[2]));
	told("sent before it is accepted", send(clients[0], "first", 5, 0));
	told("and by the second", send(clients[1], "second", 6, 0));
	told("more room", listen(listener, 2));
	told("third", connects(clients[2]));
	for (int i = 0; i < 3; i++) {
		servers[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		memset(bytes, 0, sizeof(bytes));
		told("received", recv(servers[i], bytes, 50, 0));
		printf("%s\n", bytes);
	}
	state("the listener", listener);
	told("flags", accept4(listener, NULL, NULL, 1));
	told("answers", send(servers[0], "answer", 6, 0));
	told("asked to", sendto(clients[0], "x", 1, 0, (void *)&name, name_size));
	told("again", connects(clients[0]));
	told("no more", shutdown(servers[0], SHUT_WR));
	state("the client", clients[0]), state("the server", servers[0]);
	told("reads", recv(clients[0], bytes, 50, 0));
	told("the end", recv(clients[0], bytes, 50, 0));
	told("sends", send(clients[0], "x", 1, 0));
	close(clients[0]);
	state("the client has gone", servers[0]);
	recv(servers[0], bytes, 50, 0), recv(servers[0], bytes, 50, 0);
	told("sends", send(servers[0], "x", 1, 0));
	told("receives", recv(servers[0], bytes, 1, 0));
	/* What was not read. */
	send(clients[1], "unread", 6, 0);
	close(servers[1]);
	state("the server did not read", clients[1]);
	printf("error: %s\n", strerrorname_np(option(clients[1], SO_ERROR)));
	state("and was asked for the error", clients[1]);
	told("sends", send(clients[1], "x", 1, 0));
	told("receives", recv(clients[1], bytes, 1, 0));
	close(clients[1]);
	/* What was not accepted. */
	clients[1] = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
	told("connects", connects(clients[1]));
	shutdown(listener, SHUT_RD);
	told("a listener that takes no more", connects(clients[3]));
	close(listener);
	state("the listener has gone", clients[1]);
	told("receives", recv(clients[1], bytes, 1, 0));
	told("and again", recv(clients[1], bytes, 1, 0));
	told("nobody", connects(clients[3]));
	for (int i = 1; i < 4; i++)
		close(clients[i]);
	close(servers[0]), close(servers[2]);
}

static void credentials(void)
{
	struct ucred ids;
	socklen_t size = sizeof(ids);
	int listener = listener_of(SOCK_STREAM, 5), client = socket(AF_UNIX, SOCK_STREAM, 0), server;
	pid_t child;

	printf("-- credentials\n");
	getsockopt(client, SOL_SOCKET, SO_PEERCRED, &ids, &size);
	printf("nobody: %d %d %d\n", ids.pid, ids.uid, ids.gid);
	getsockopt(listener, SOL_SOCKET, SO_PEERCRED, &ids, &size);
	printf("the listener's own: %d %d\n", ids.pid == getpid(), ids.uid);
	fflush(stdout);
	if ((child = fork()) == 0) {
		setegid(1001), seteuid(1000);
		connects(client);
		getsockopt(client, SOL_SOCKET, SO_PEERCRED, &ids, &size);
		printf("whom the client sees: %d %d %d\n", ids.pid == getppid(), ids.uid, ids.gid);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	server = accept(listener, NULL, NULL);
	getsockopt(server, SOL_SOCKET, SO_PEERCRED, &ids, &size);
	printf("whom the server sees: %d %d %d\n", ids.pid == child, ids.uid, ids.gid);
	size = 5;
	told("little room", getsockopt(server, SOL_SOCKET, SO_PEERCRED, &ids, &size));
	printf("%u\n", size);
	close(listener), close(client), close(server);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void on_alarm(int signal) { (void)signal; }

static void waits(void)
{
	char bytes[8] = "";
	struct timeval limit = { 0, 50000 };
	int listener = listener_of(SOCK_STREAM, 0), client, server;
	struct sigaction action = { .sa_handler = on_alarm };
	double start;
	long result;

	printf("-- waits\n");
	fcntl(listener, F_SETFL, 0);
	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	start = seconds();
	told("accept with a limit", accept(listener, NULL, NULL));
	printf("waited: %d\n", seconds() - start > 0.04);
	fflush(stdout);
	if (fork() == 0) {
		usleep(30000);
		client = socket(AF_UNIX, SOCK_STREAM, 0);
		connects(client);
		send(client, "late", 4, 0);
		_exit(0);
	}
	limit.tv_usec = 0;
	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	server = accept(listener, NULL, NULL);
	told("waited for", recv(server, bytes, 8, 0));
	wait(NULL);
	close(server);
	/* A connect that waits for room. */
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	told("there is room", connects(client));
	int second = socket(AF_UNIX, SOCK_STREAM, 0);

	limit.tv_usec = 50000;
	setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	start = seconds();
	told("connect with a limit", connects(second));
	printf("waited: %d\n", seconds() - start > 0.04);
	limit.tv_usec = 0;
	setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	fflush(stdout);
	if (fork() == 0) {
		usleep(30000);
		close(accept(listener, NULL, NULL));
		close(accept(listener, NULL, NULL));
		_exit(0);
	}
	told("waited for room", connects(second));
	wait(NULL);
	close(client), close(second);
	/* Signals. */
	client = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
	connects(client);
	sigaction(SIGALRM, &action, NULL);
	/* Again and again: on a busy host the first may come before the call. */
	ualarm(30000, 30000);
	result = connects(second);
	ualarm(0, 0);
	told("connect interrupted", result);
	ualarm(30000, 30000);
	result = recv(client, bytes, 1, 0);
	ualarm(0, 0);
	told("recv interrupted", result);
	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 5, 0 }, sizeof(limit));
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	ualarm(30000, 30000);
	result = recv(client, bytes, 1, 0);
	ualarm(0, 0);
	told("recv with a limit, interrupted", result);
	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	fflush(stdout);
	if (fork() == 0) {
		server = accept(listener, NULL, NULL);
		usleep(60000);
		send(server, "x", 1, 0);
		_exit(0);
	}
	ualarm(30000, 0);
	told("recv goes on", recv(client, bytes, 1, 0));
	wait(NULL);
	close(client), close(second);
	/* The end of a listener that somebody waits for. */
	client = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
	connects(client);
	fflush(stdout);
	if (fork() == 0) {
		close(listener);
		told("the listener has gone", connects(second));
		told("its error", recv(client, bytes, 1, 0));
		fflush(stdout);
		_exit(0);
	}
	usleep(30000);
	close(listener);
	wait(NULL);
	close(client), close(second);
}

static int ends[2];

static void *reads(void *unused)
{
	char byte;

	(void)unused;
	usleep(30000);
	for (int i = 0; i < 100; i++)
		(void)!read(ends[1], &byte, 1);
	shutdown(ends[1], SHUT_RDWR);
	return NULL;
}

static void *accepts(void *fd) { return (void *)(long)(accept((int)(long)fd, NULL, NULL) < 0 ? errno : 0); }

static void *receives(void *fd)
{
	char byte;

	return (void *)(long)recv((int)(long)fd, &byte, 1, 0);
}

static void shut(void)
{
	static char much[1000000];
	pthread_t thread;
	void *result;
	int listener = listener_of(SOCK_STREAM, 0);
	long sent;

	printf("-- shutdown while others wait\n");
	fcntl(listener, F_SETFL, 0);
	pthread_create(&thread, NULL, accepts, (void *)(long)listener);
	usleep(30000);
	told("a listener", shutdown(listener, SHUT_RD));
	pthread_join(thread, &result);
	printf("accept: %s\n", strerrorname_np((int)(long)result));
	close(listener);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pthread_create(&thread, NULL, receives, (void *)(long)ends[0]);
	usleep(30000);
	told("the other end", shutdown(ends[1], SHUT_WR));
	pthread_join(thread, &result);
	printf("recv: %ld\n", (long)result);
	pthread_create(&thread, NULL, reads, NULL);
	sent = send(ends[0], much, sizeof(much), 0);
	printf("part of it was sent: %d, %d signals\n", sent > 0 && sent < (long)sizeof(much), pipes);
	pthread_join(thread, NULL);
	told("and then", send(ends[0], much, 1, 0));
	close(ends[0]), close(ends[1]);
}

static void edges(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	int s[2], epoll = epoll_create1(0);
	char bytes[8];

	printf("-- epoll\n");
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	epoll_ctl(epoll, EPOLL_CTL_ADD, s[0], &event);
	told("at first", epoll_wait(epoll, &event, 1, 0));
	printf("%#x\n", event.events);
	told("nothing new", epoll_wait(epoll, &event, 1, 0));
	send(s[1], "ab", 2, 0);
	told("readable", epoll_wait(epoll, &event, 1, 0));
	printf("%#x\n", event.events);
	recv(s[0], bytes, 1, 0);
	told("read in part", epoll_wait(epoll, &event, 1, 0));
	send(s[1], "c", 1, 0);
	told("more", epoll_wait(epoll, &event, 1, 0));
	shutdown(s[1], SHUT_WR);
	told("the end", epoll_wait(epoll, &event, 1, 0));
	printf("%#x\n", event.events);
	close(s[1]);
	told("closed", epoll_wait(epoll, &event, 1, 0));
	printf("%#x\n", event.events);
	close(s[0]), close(epoll);
}

static void looks(void)
{
	char bytes[20] = "";
	int s[2], waiting;

	printf("-- looking\n");
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	send(s[1], "one", 3, 0), send(s[1], "two", 3, 0), send(s[1], "three", 5, 0);
	told("a look over all", recv(s[0], bytes, 20, MSG_PEEK));
	printf("%s\n", bytes);
	ioctl(s[0], FIONREAD, &waiting);
	printf("waiting %d\n", waiting);
	told("a look at some", recv(s[0], bytes, 4, MSG_PEEK));
	told("read", recv(s[0], bytes, 4, 0));
	memset(bytes, 0, sizeof(bytes));
	told("a look", recv(s[0], bytes, 20, MSG_PEEK | MSG_WAITALL));
	printf("%s\n", bytes);
	told("truncated", recv(s[0], bytes, 2, MSG_TRUNC));
	told("a bad buffer", recv(s[0], (void *)8, 2, 0));
	told("is not lost", recv(s[0], bytes, 20, 0));
	ioctl(s[1], TIOCOUTQ, &waiting);
	printf("unread %d\n", waiting);
	send(s[1], "x", 1, 0);
	ioctl(s[1], TIOCOUTQ, &waiting);
	printf("unread %d\n", waiting > 0);
	close(s[0]), close(s[1]);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_pipe);
	kinds(SOCK_STREAM, "stream");
	kinds(SOCK_SEQPACKET, "packets");
	credentials();
	waits();
	shut();
	edges();
	looks();
	return 0;
}
