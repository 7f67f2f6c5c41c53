// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a full backlog: EINPROGRESS
// TCP between the sockets of a machine: listeners and their backlog, order, ends, errors, waits, and what poll says of each state.
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
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inet.h"

enum { PORT = 7001 };

static int listener_of(const char *ip, int port, int backlog)
{
	int fd = socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (binds(fd, ip, port) < 0 || listen(fd, backlog) < 0)
		perror("listener");
	return fd;
}

/* Two ends of a connection; the first has connected. */
static void pair(int ends[2])
{
	int listener = listener_of("127.0.0.1", 0, 5);

	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connects(ends[0], "127.0.0.1", port_of(listener, getsockname)) < 0)
		perror("connect");
	wait_for(listener, POLLIN);
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
}

static void tcp_state(const char *what, int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	printf("%s: state %d\n", what, info.tcpi_state);
}

static void fresh(void)
{
	char bytes[10];
	int fd = socket(AF_INET, SOCK_STREAM, 0), listener;
	struct sockaddr any = { AF_UNSPEC, "" };

	printf("-- fresh\n");
	state("fresh", fd);
	tcp_state("it", fd);
	told("receives", recv(fd, bytes, 8, 0));
	told("sends", send(fd, "x", 1, 0));
	told("sends nothing", send(fd, "", 0, 0));
	told("accepts", accept(fd, NULL, NULL));
	told("is shut down", shutdown(fd, SHUT_WR));
	name_of("its name", fd, getsockname);
	name_of("its peer", fd, getpeername);
	told("connects to nobody", connects(fd, "127.0.0.1", PORT));
	state("it", fd);
	told("and again", connects(fd, "127.0.0.1", PORT));
	told("to nowhere", connects(fd, "0.0.0.0", PORT));
	told("to none", connect(fd, &any, sizeof(any)));
	told("to a short address", connect(fd, &any, 1));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	told("without waiting", connects(fd, "127.0.0.1", PORT));
	wait_for(fd, POLLOUT);
	state("it", fd);
	printf("error: %s\n", strerrorname_np(option(fd, SOL_SOCKET, SO_ERROR)));
	printf("error: %d\n", option(fd, SOL_SOCKET, SO_ERROR));
	told("again", connects(fd, "127.0.0.1", PORT));
	listener = listener_of("127.0.0.1", PORT, 5);
	told("somebody listens", connects(fd, "127.0.0.1", PORT));
	wait_for(fd, POLLOUT);
	state("it", fd);
	printf("error: %d\n", option(fd, SOL_SOCKET, SO_ERROR));
	told("once more", connects(fd, "127.0.0.1", PORT));
	told("and once more", connects(fd, "127.0.0.1", PORT));
	told("listens", listen(fd, 1));
	close(fd), close(listener);
}

static void listening(void)
{
	char bytes[100] = "";
	int clients[4], servers[3], listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), waiting;
	struct sockaddr_in from;
	socklen_t size = sizeof(from);

	printf("-- listening\n");
	for (int i = 0; i < 4; i++)
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	told("binds", binds(listener, "127.0.0.1", PORT));
	told("binds again", binds(listener, "127.0.0.1", PORT + 1));
	told("nobody listens yet", connects(clients[3], "127.0.0.1", PORT));
	wait_for(clients[3], POLLOUT);
	printf("error: %s\n", strerrorname_np(option(clients[3], SOL_SOCKET, SO_ERROR)));
	close(clients[3]), clients[3] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	told("listens", listen(listener, 1));
	told("nobody yet", accept4(listener, NULL, NULL, SOCK_NONBLOCK));
	state("listening", listener);
	tcp_state("listening", listener);
	printf("accepts: %d %d\n", option(listener, SOL_SOCKET, SO_ACCEPTCONN), option(clients[0], SOL_SOCKET, SO_ACCEPTCONN));
	told("connects", connects(listener, "127.0.0.1", PORT));
	told("sends", send(listener, "x", 1, 0));
	told("receives", recv(listener, bytes, 1, 0));
	told("readable", ioctl(listener, FIONREAD, &waiting));
	name_of("its name", listener, getsockname);
	told("first", connects(clients[0], "127.0.0.1", PORT));
	wait_for(clients[0], POLLOUT), wait_for(listener, POLLIN);
	state("and is", clients[0]);
	state("the listener", listener);
	told("second", connects(clients[1], "127.0.0.1", PORT));
	wait_for(clients[1], POLLOUT);
	told("a full backlog", connects(clients[2], "127.0.0.1", PORT));
	state("and is", clients[2]);
	told("and again", connects(clients[2], "127.0.0.1", PORT));
	told("receives", recv(clients[2], bytes, 1, 0));
	told("sends", send(clients[2], "x", 1, 0));
	tcp_state("it", clients[2]);
	told("sent before it is accepted", send(clients[0], "first", 5, 0));
	told("and by the second", send(clients[1], "second", 6, 0));
	for (int i = 0; i < 3; i++) {
		wait_for(listener, POLLIN);
		servers[i] = accept4(listener, i ? NULL : (void *)&from, i ? NULL : &size, SOCK_NONBLOCK);
		if (i == 2) {
			wait_for(clients[2], POLLOUT);
			told("the third is", connects(clients[2], "127.0.0.1", PORT));
			send(clients[2], "third", 5, 0);
		}
		wait_for(servers[i], POLLIN);
		memset(bytes, 0, sizeof(bytes));
		told("received", recv(servers[i], bytes, 50, 0));
		printf("%s\n", bytes);
	}
	printf("from %s, %d\n", shown(&from, size), ntohs(from.sin_port) == port_of(clients[0], getsockname));
	name_of("name", servers[0], getsockname), name_of("peer", servers[0], getpeername);
	name_of("name", clients[0], getsockname), name_of("peer", clients[0], getpeername);
	told("nobody else", accept(listener, NULL, NULL));
	told("asked to", sendto(clients[0], "x", 1, 0, (void *)&from, size));
	size = sizeof(from);
	wait_for(servers[0], POLLIN);
	told("received", recvfrom(servers[0], bytes, 50, 0, (void *)&from, &size));
	printf("from %s\n", shown(&from, size));
	told("flags", accept4(listener, NULL, NULL, 1));
	told("urgent", recv(servers[0], bytes, 1, MSG_OOB));
	/* What was not accepted. */
	told("connects", connects(clients[3], "127.0.0.1", PORT));
	wait_for(clients[3], POLLOUT);
	close(listener);
	wait_for(clients[3], POLLIN);
	state("the listener has gone", clients[3]);
	told("receives", recv(clients[3], bytes, 1, 0));
	told("and again", recv(clients[3], bytes, 1, 0));
	told("sends", send(clients[3], "x", 1, 0));
	told("is shut down", shutdown(clients[3], SHUT_RD));
	name_of("peer", clients[3], getpeername);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	for (int i = 0; i < 3; i++)
		close(servers[i]);
}

static void ends(void)
{
	char bytes[100] = "";
	int fd[2], count;
	struct linger now = { 1, 0 };

	printf("-- one direction\n");
	pair(fd);
	state("connected", fd[0]);
	tcp_state("it", fd[0]);
	send(fd[0], "last", 4, 0);
	told("is shut down", shutdown(fd[0], SHUT_WR));
	told("and again", shutdown(fd[0], SHUT_WR));
	wait_for(fd[1], POLLRDHUP);
	state("the first", fd[0]), state("the second", fd[1]);
	/* The first waits for nothing but the other's end once that has been heard of. */
	tcp_state("the second", fd[1]);
	told("sends", send(fd[0], "x", 1, 0));
	told("reads", recv(fd[1], bytes, 50, 0));
	told("the end", recv(fd[1], bytes, 50, 0));
	told("answers", send(fd[1], "answer", 6, 0));
	wait_for(fd[0], POLLIN);
	ioctl(fd[0], FIONREAD, &count);
	printf("readable: %d\n", count);
	told("the other", shutdown(fd[1], SHUT_WR));
	wait_for(fd[0], POLLRDHUP);
	state("the first", fd[0]), state("the second", fd[1]);
	tcp_state("the first", fd[0]), tcp_state("the second", fd[1]);
	told("reads", recv(fd[0], bytes, 50, 0));
	told("the end", recv(fd[0], bytes, 50, 0));
	told("is shut down", shutdown(fd[0], SHUT_RDWR));
	name_of("its peer", fd[0], getpeername);
	close(fd[0]), close(fd[1]);

	printf("-- reads no more\n");
	pair(fd);
	send(fd[0], "before", 6, 0);
	wait_for(fd[1], POLLIN);
	told("is shut down", shutdown(fd[1], SHUT_RD));
	state("the first", fd[0]), state("the second", fd[1]);
	told("reads", recv(fd[1], bytes, 50, 0));
	told("the end", recv(fd[1], bytes, 50, 0));
	told("is sent to", send(fd[0], "after", 5, 0));
	wait_for(fd[1], POLLIN);
	told("reads", recv(fd[1], bytes, 50, MSG_DONTWAIT));
	close(fd[0]), close(fd[1]);

	printf("-- closed\n");
	pair(fd);
	send(fd[0], "kept", 4, 0);
	close(fd[0]);
	wait_for(fd[1], POLLRDHUP);
	state("the other", fd[1]);
	told("sends", send(fd[1], "x", 1, 0));
	wait_for(fd[1], 0);
	state("the other", fd[1]);
	told("sends", send(fd[1], "x", 1, 0));
	told("sends", send(fd[1], "x", 1, MSG_NOSIGNAL));
	told("reads", recv(fd[1], bytes, 50, 0));
	told("the end", recv(fd[1], bytes, 50, 0));
	close(fd[1]);

	printf("-- closed with bytes unread\n");
	pair(fd);
	send(fd[0], "unread", 6, 0);
	send(fd[1], "kept", 4, 0);
	wait_for(fd[1], POLLIN), wait_for(fd[0], POLLIN);
	close(fd[1]);
	wait_for(fd[0], POLLRDHUP);
	state("the other", fd[0]);
	told("reads", recv(fd[0], bytes, 50, 0));
	told("reads", recv(fd[0], bytes, 50, 0));
	told("reads", recv(fd[0], bytes, 50, 0));
	told("sends", send(fd[0], "x", 1, 0));
	tcp_state("it", fd[0]);
	told("connects", connects(fd[0], "127.0.0.1", PORT));
	close(fd[0]);

	printf("-- does not linger\n");
	pair(fd);
	told("linger", setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	close(fd[1]);
	wait_for(fd[0], POLLRDHUP);
	told("sends", send(fd[0], "x", 1, 0));
	told("sends", send(fd[0], "x", 1, 0));
	told("reads", recv(fd[0], bytes, 50, 0));
	close(fd[0]);

	printf("-- both directions\n");
	pair(fd);
	told("is shut down", shutdown(fd[0], SHUT_RDWR));
	told("a bad one", shutdown(fd[0], 3));
	wait_for(fd[1], POLLRDHUP);
	state("the first", fd[0]), state("the second", fd[1]);
	told("sends", send(fd[1], "x", 1, 0));
	state("the first", fd[0]), state("the second", fd[1]);
	told("sends", send(fd[1], "x", 1, 0));
	told("reads", recv(fd[1], bytes, 50, 0));
	close(fd[0]), close(fd[1]);
}

static void *echo(void *argument)
{
	static char bytes[1 << 16];
	int fd = *(int *)argument;
	long count;

	while ((count = read(fd, bytes, sizeof(bytes))) > 0)
		for (long done = 0; done < count;)
			done += write(fd, bytes + done, count - done);
	shutdown(fd, SHUT_WR);
	return NULL;
}

static void *send_all(void *argument)
{
	static unsigned char bytes[300000];
	int fd = *(int *)argument;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 7 + i / 256;
	for (int i = 0; i < 7; i++)
		for (unsigned done = 0; done < sizeof(bytes);)
			done += write(fd, bytes + done, sizeof(bytes) - done);
	shutdown(fd, SHUT_WR);
	return NULL;
}

static void transfers(void)
{
	static unsigned char bytes[300000];
	unsigned at = 0, wrong = 0;
	int fd[2];
	long count, sum = 0;
	char small[100] = "";
	struct iovec parts[2] = { { small, 3 }, { small + 10, 20 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	struct timeval limit = { 0, 50000 };
	pthread_t threads[2];

	printf("-- transfers\n");
	pair(fd);
	for (int i = 0; i < 5; i++)
		send(fd[0], "piece", 5, MSG_MORE);
	told("all of them", recv(fd[1], small, 25, MSG_WAITALL));
	printf("%s\n", small);
	send(fd[0], "0123456789", 10, 0);
	told("looks", recv(fd[1], small, 4, MSG_PEEK));
	told("throws away", recv(fd[1], small, 3, MSG_TRUNC));
	told("into parts", recvmsg(fd[1], &message, 0));
	printf("%.3s %.4s, flags %d, name %u\n", small, small + 10, message.msg_flags, message.msg_namelen);
	told("nothing", recv(fd[1], small, 3, MSG_DONTWAIT));
	told("no bytes", recv(fd[1], small, 0, MSG_DONTWAIT));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	told("not for long", recv(fd[1], small, 3, 0));
	send(fd[0], "ab", 2, 0);
	told("all, not for long", recv(fd[1], small, 3, MSG_WAITALL));
	set(fd[1], SOL_SOCKET, SO_RCVLOWAT, 3);
	send(fd[0], "ab", 2, 0);
	told("fewer than wanted", recv(fd[1], small, 10, 0));
	send(fd[0], "ab", 2, 0);
	wait_for(fd[1], 0);
	state("not enough", fd[1]);
	send(fd[0], "c", 1, 0);
	wait_for(fd[1], POLLIN);
	told("as many", recv(fd[1], small, 10, 0));
	set(fd[1], SOL_SOCKET, SO_RCVLOWAT, 1);
	told("a bad address", send(fd[0], (void *)1, 8, 0));
	send(fd[0], "ab", 2, 0);
	told("to a bad address", recv(fd[1], (void *)1, 8, 0));
	told("it is still there", recv(fd[1], small, 8, 0));
	/* Much, there and back. */
	limit.tv_usec = 0;
	setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	pthread_create(&threads[0], NULL, echo, &fd[1]);
	pthread_create(&threads[1], NULL, send_all, &fd[0]);
	while ((count = read(fd[0], bytes, sizeof(bytes))) > 0)
		for (long i = 0; i < count; i++, at = (at + 1) % 300000, sum++)
			wrong += bytes[i] != (unsigned char)(at * 7 + at / 256);
	pthread_join(threads[0], NULL), pthread_join(threads[1], NULL);
	printf("%ld bytes, %u wrong\n", sum, wrong);
	close(fd[0]), close(fd[1]);

	printf("-- full\n");
	pair(fd);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	sum = 0;
	while ((count = write(fd[0], bytes, 10000)) > 0)
		sum += count;
	told("no room", count);
	state("the sender", fd[0]);
	printf("more than 100000: %d\n", sum > 100000);
	while (sum > 0 && (count = read(fd[1], bytes, sizeof(bytes))) > 0)
		sum -= count;
	wait_for(fd[0], POLLOUT);
	state("the sender", fd[0]);
	printf("left %ld\n", sum);
	/* Byte by byte. */
	for (int i = 0; i < 5000; i++)
		count = write(fd[0], "x", 1);
	printf("the last: %ld\n", count);
	told("all", recv(fd[1], bytes, 5000, MSG_WAITALL));
	close(fd[0]), close(fd[1]);
}

static void *reads(void *argument)
{
	char byte;

	return (void *)read(*(int *)argument, &byte, 1);
}

static void waits(void)
{
	struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .fd = 1 } };
	int fd[2], epoll = epoll_create1(0), listener = listener_of("127.0.0.1", PORT, 5), server, status;
	pthread_t thread;
	void *result;
	pid_t child;
	char bytes[10];

	printf("-- waits\n");
	pair(fd);
	pthread_create(&thread, NULL, reads, &fd[0]);
	usleep(20000);
	send(fd[1], "x", 1, 0);
	pthread_join(thread, &result);
	printf("one byte: %ld\n", (long)result);
	pthread_create(&thread, NULL, reads, &fd[0]);
	usleep(20000);
	close(fd[1]);
	pthread_join(thread, &result);
	printf("the end: %ld\n", (long)result);
	close(fd[0]);
	fcntl(listener, F_SETFL, 0);
	fflush(stdout);
	if ((child = fork()) == 0) {
		int own = socket(AF_INET, SOCK_STREAM, 0);

		usleep(20000);
		if (connects(own, "127.0.0.1", PORT) < 0 || write(own, "child", 5) != 5 || read(own, bytes, 1) != 0)
			_exit(1);
		_exit(7);
	}
	server = accept(listener, NULL, NULL);
	epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
	told("all", recv(server, bytes, 5, MSG_WAITALL));
	while (epoll_wait(epoll, &event, 1, 0) > 0)
		;
	close(server);
	waitpid(child, &status, 0);
	printf("status %d\n", WEXITSTATUS(status));
	close(listener), close(epoll);
}

static void files(void)
{
	char bytes[100] = "";
	int fd[2], file = open("tcp-file", O_RDWR | O_CREAT | O_TRUNC, 0600), pipes[2];

	printf("-- files\n");
	pair(fd);
	write(file, "from a file", 11);
	lseek(file, 0, SEEK_SET);
	told("sendfile", sendfile(fd[0], file, NULL, 100));
	told("reads", recv(fd[1], bytes, 11, MSG_WAITALL));
	printf("%s\n", bytes);
	pipe(pipes);
	write(pipes[1], "spliced", 7);
	told("splice", splice(pipes[0], NULL, fd[0], NULL, 100, 0));
	told("reads", recv(fd[1], bytes, 7, MSG_WAITALL));
	printf("%.7s\n", bytes);
	told("seeks", lseek(fd[0], 0, SEEK_SET));
	close(fd[0]), close(fd[1]), close(file), unlink("tcp-file");
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_pipe };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGPIPE, &action, NULL);
	raise_loopback();
	fresh(), listening(), ends(), transfers(), waits(), files();
	return 0;
}
