// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: splice, a full pipe: EAGAIN
// Bytes from descriptor to descriptor: sendfile, copy_file_range, splice, tee, vmsplice; and pipes in packet mode.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES "/tmp/moves-"

static void told(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static int fresh(const char *name, const char *content)
{
	char path[64];

	snprintf(path, sizeof(path), FILES "%s", name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	write(fd, content, strlen(content));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void content(const char *what, int fd)
{
	char bytes[128] = "";
	long count = pread(fd, bytes, sizeof(bytes) - 1, 0);

	printf("%s: %ld bytes \"%.*s\", at %ld\n", what, count, (int)count, bytes, (long)lseek(fd, 0, SEEK_CUR));
}

static void drained(const char *what, int pipe_end)
{
	char bytes[128];
	int left;

	ioctl(pipe_end, FIONREAD, &left);
	long count = left ? read(pipe_end, bytes, sizeof(bytes)) : 0;

	printf("%s: \"%.*s\"\n", what, (int)count, bytes);
}

static void sendfiles(void)
{
	int a = fresh("a", "0123456789"), b = fresh("b", ""), p[2];
	off_t offset = 4;

	pipe(p);
	told("sendfile with an offset", sendfile(b, a, &offset, 3));
	printf("offset %ld\n", (long)offset);
	told("sendfile to the end", sendfile(b, a, NULL, 100));
	content("from", a), content("to", b);
	told("at the end", sendfile(b, a, NULL, 100));
	offset = 8;
	told("to a pipe", sendfile(p[1], a, &offset, 100));
	drained("the pipe", p[0]);
	offset = -1;
	told("offset -1", sendfile(b, a, &offset, 1));
	told("bad pointer", sendfile(b, a, (off_t *)8, 1));
	offset = 0;
	told("from a pipe", sendfile(b, p[0], NULL, 1));
	told("from a pipe with an offset", sendfile(b, p[0], &offset, 1));
	told("from the write end", sendfile(b, p[1], NULL, 1));
	told("to the read end", sendfile(p[0], a, NULL, 1));
	told("no input", sendfile(b, -1, NULL, 1));
	told("no output", sendfile(-1, a, NULL, 1));
	told("none", sendfile(b, a, &offset, 0));
	int append = open(FILES "b", O_WRONLY | O_APPEND);

	told("to an appending file", sendfile(append, a, &offset, 1));
	told("from a directory", sendfile(b, open("/tmp", O_RDONLY), NULL, 1));
	told("from zero to null", sendfile(open("/dev/null", O_WRONLY), open("/dev/zero", O_RDONLY), NULL, 100000));
	lseek(a, 0, SEEK_SET);
	told("to full", sendfile(open("/dev/full", O_WRONLY), a, NULL, 1));
	close(append), close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	told("to a pipe without a reader", sendfile(p[1], a, &offset, 1));
	close(p[1]), close(a), close(b);
}

static void copies(void)
{
	int a = fresh("a", "0123456789"), b = fresh("b", "....................");
	off_t in = 2, out = 3;

	told("copy with offsets", copy_file_range(a, &in, b, &out, 4, 0));
	printf("offsets %ld %ld\n", (long)in, (long)out);
	told("copy at the files' own", copy_file_range(a, NULL, b, NULL, 3, 0));
	content("from", a), content("to", b);
	in = 0, out = 2;
	told("overlapping", copy_file_range(a, &in, a, &out, 4, 0));
	in = 0, out = 20;
	told("in one file", copy_file_range(a, &in, a, &out, 4, 0));
	content("with a hole", a);
	told("flags", copy_file_range(a, NULL, b, NULL, 3, 1));
	in = 100;
	told("behind the end", copy_file_range(a, &in, b, NULL, 3, 0));
	told("from a directory", copy_file_range(open("/tmp", O_RDONLY), NULL, b, NULL, 3, 0));
	told("from a device", copy_file_range(open("/dev/zero", O_RDONLY), NULL, b, NULL, 3, 0));
	told("to a reader", copy_file_range(a, NULL, open(FILES "b", O_RDONLY), NULL, 3, 0));
	told("to an appender", copy_file_range(a, NULL, open(FILES "b", O_WRONLY | O_APPEND), NULL, 3, 0));
	in = 0x7ffffffffffffff0;
	told("too far", copy_file_range(a, &in, b, NULL, 100, 0));
	close(a), close(b);
}

static void splices(void)
{
	int a = fresh("a", "0123456789"), b = fresh("b", ""), p[2], q[2];
	off_t offset = 5;

	pipe(p), pipe(q);
	told("splice from a file", splice(a, &offset, p[1], NULL, 3, 0));
	printf("offset %ld\n", (long)offset);
	told("splice from its own place", splice(a, NULL, p[1], NULL, 2, 0));
	told("tee", tee(p[0], q[1], 4, 0));
	drained("the copy", q[0]);
	told("splice from pipe to pipe", splice(p[0], NULL, q[1], NULL, 3, 0));
	told("splice to a file", splice(p[0], NULL, b, NULL, 100, 0));
	offset = 4;
	told("splice to a file's place", splice(q[0], NULL, b, &offset, 100, 0));
	content("file", b);
	told("an empty pipe", splice(p[0], NULL, b, NULL, 1, SPLICE_F_NONBLOCK));
	told("tee of an empty pipe", tee(p[0], q[1], 1, SPLICE_F_NONBLOCK));
	fcntl(q[1], F_SETPIPE_SZ, 4096);
	printf("size %d\n", fcntl(q[0], F_GETPIPE_SZ));
	told("a larger file", splice(open("/dev/zero", O_RDONLY), NULL, q[1], NULL, 100000, 0));
	told("splice, a full pipe", splice(a, NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK));
	told("to the same pipe", splice(p[0], NULL, p[1], NULL, 1, 0));
	told("tee to the same pipe", tee(p[0], p[1], 1, 0));
	told("an offset for a pipe", splice(p[0], &offset, b, NULL, 1, 0));
	told("an offset for a pipe's end", splice(a, NULL, p[1], &offset, 1, 0));
	told("no pipe", splice(a, NULL, b, NULL, 1, 0));
	told("tee to a file", tee(p[0], b, 1, 0));
	told("flags", splice(a, NULL, p[1], NULL, 1, 16));
	told("flags and no bytes", splice(a, NULL, p[1], NULL, 0, 16));
	told("no descriptor", splice(-1, NULL, p[1], NULL, 1, 0));
	told("the wrong end", splice(a, NULL, p[0], NULL, 1, 0));
	write(p[1], "x", 1);
	told("to an appending file", splice(p[0], NULL, open(FILES "b", O_WRONLY | O_APPEND), NULL, 1, 0));
	told("to null", splice(p[0], NULL, open("/dev/null", O_WRONLY), NULL, 9, 0));
	close(p[1]);
	told("the end", splice(p[0], NULL, b, NULL, 1, 0));
	close(q[0]);
	told("without a reader", splice(a, NULL, q[1], NULL, 1, 0));
	close(p[0]), close(q[1]), close(a), close(b);
}

static void memory(void)
{
	char out[16] = "", in[] = "abcdefgh";
	struct iovec parts[] = { { in, 3 }, { in + 5, 3 } }, to = { out, 15 };
	int p[2];

	pipe(p);
	told("vmsplice", vmsplice(p[1], parts, 2, 0));
	told("vmsplice out", vmsplice(p[0], &to, 1, 0));
	printf("%s\n", out);
	told("nothing there", vmsplice(p[0], &to, 1, SPLICE_F_NONBLOCK));
	told("not a pipe", vmsplice(open("/dev/null", O_WRONLY), parts, 2, 0));
	told("flags", vmsplice(p[1], parts, 2, 16));
	told("too many", vmsplice(p[1], parts, 1025, 0));
	struct iovec bad = { (void *)8, 3 };

	told("bad memory", vmsplice(p[1], &bad, 1, 0));
	close(p[0]), close(p[1]);
}

static void packets(void)
{
	char bytes[8];
	int p[2];

	pipe2(p, O_DIRECT | O_NONBLOCK);
	write(p[1], "one", 3), write(p[1], "twotwo", 6), write(p[1], "three", 5);
	told("a packet", read(p[0], bytes, 8));
	told("a short read", read(p[0], bytes, 2));
	told("the rest is lost", read(p[0], bytes, 8));
	write(p[1], "four", 4);
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	write(p[1], "x", 1), write(p[1], "y", 1);
	told("a packet before bytes", read(p[0], bytes, 8));
	told("bytes", read(p[0], bytes, 8));
	fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT);
	int count = 0;

	while (write(p[1], "z", 1) == 1)
		count++;
	printf("packets until it is full: %d\n", count);
	close(p[0]), close(p[1]);
}

// A reader that waits in splice is interrupted by a signal, and goes on when a writer comes.
static void on_alarm(int signal) { (void)signal; }

static void waits(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	int p[2], q[2];

	sigaction(SIGALRM, &action, NULL);
	pipe(p), pipe(q);
	ualarm(20000, 0);
	told("interrupted", splice(p[0], NULL, q[1], NULL, 1, 0));
	fflush(stdout);
	if (fork() == 0) {
		usleep(20000);
		write(p[1], "late", 4);
		_exit(0);
	}
	told("late", splice(p[0], NULL, q[1], NULL, 100, 0));
	wait(NULL);
}

int main(void)
{
	sendfiles();
	copies();
	splices();
	memory();
	packets();
	waits();
	return 0;
}
