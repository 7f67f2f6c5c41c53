/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How the programs about sockets tell what calls gave, and what poll says of a socket. For files that include what said.h wants, and <poll.h> and
 * <signal.h>. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "said.h"

/* How often SIGPIPE came since it was told. */
static int pipes;

static inline void on_pipe(int signal) { (void)signal, pipes++; }

static inline void told(const char *what, long result)
{
	printf("%s: %s%s\n", what, said(result), pipes ? ", SIGPIPE" : "");
	pipes = 0;
}

static inline void state(const char *what, int fd)
{
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };

	poll(&poll_fd, 1, 0);
	printf("%s:%s%s%s%s%s\n", what, poll_fd.revents & POLLIN ? " in" : "", poll_fd.revents & POLLOUT ? " out" : "",
	       poll_fd.revents & POLLERR ? " err" : "", poll_fd.revents & POLLHUP ? " hup" : "",
	       poll_fd.revents & POLLRDHUP ? " rdhup" : "");
}

#endif
