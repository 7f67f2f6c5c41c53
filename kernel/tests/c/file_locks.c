// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: read in the middle:wrrrrrrrww.. first 0+1
// Locks of files: flock, fcntl's ranges by process and by open file; who is excluded, who owns them, and when they go.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define A "/tmp/locks-a"

static const char *said(long result)
{
	static char text[4][32];
	static int next;
	char *out = text[next++ % 4];

	snprintf(out, 32, "%s", result < 0 ? strerrorname_np(errno) : "0");
	return out;
}

static int range(int fd, int command, int type, int whence, off_t start, off_t length)
{
	struct flock lock = { .l_type = type, .l_whence = whence, .l_start = start, .l_len = length };

	return fcntl(fd, command, &lock);
}

static int set(int fd, int type, off_t start, off_t length)
{
	return range(fd, F_SETLK, type, SEEK_SET, start, length);
}

// What another process sees from each byte on.
static void show(const char *what, int fd)
{
	fflush(stdout);
	if (fork() == 0) {
		printf("%s:", what);
		for (off_t at = 0; at < 12; at++) {
			struct flock lock = { .l_type = F_WRLCK, .l_start = at, .l_len = 1 };

			fcntl(fd, F_GETLK, &lock);
			putchar(lock.l_type == F_UNLCK ? '.' : lock.l_type == F_RDLCK ? 'r' : 'w');
			if (lock.l_type != F_UNLCK && lock.l_pid != getppid())
				printf("(pid %d)", lock.l_pid);
		}
		struct flock lock = { .l_type = F_WRLCK };

		fcntl(fd, F_GETLK, &lock);
		if (lock.l_type != F_UNLCK)
			printf(" first %ld+%ld", (long)lock.l_start, (long)lock.l_len);
		putchar('\n');
		exit(0);
	}
	wait(NULL);
}

static int child_says(int (*with)(int), int fd)
{
	int status;

	fflush(stdout);
	if (fork() == 0)
		_exit(with(fd) < 0 ? errno : 0);
	wait(&status);
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static int lock_all(int fd) { return set(fd, F_WRLCK, 0, 0); }
static int read_all(int fd) { return set(fd, F_RDLCK, 0, 0); }

static void ranges(void)
{
	int fd = open(A, O_RDWR | O_CREAT | O_TRUNC, 0600);

	ftruncate(fd, 8);
	set(fd, F_WRLCK, 0, 10);
	show("ten", fd);
	set(fd, F_UNLCK, 3, 2);
	show("split", fd);
	set(fd, F_RDLCK, 1, 7);
	show("read in the middle", fd);
	set(fd, F_WRLCK, 1, 7);
	show("write again", fd);
	set(fd, F_UNLCK, 0, 0);
	lseek(fd, 5, SEEK_SET);
	printf("before the end: %s\n", said(range(fd, F_SETLK, F_WRLCK, SEEK_END, 0, -2)));
	printf("from here: %s\n", said(range(fd, F_SETLK, F_RDLCK, SEEK_CUR, -4, 3)));
	show("two places", fd);
	printf("child: %s, child that reads: %s\n", said(child_says(lock_all, fd)), said(child_says(read_all, fd)));
	close(dup(fd));
	show("a descriptor was closed", fd);
	printf("before byte 0: %s\n", said(range(fd, F_SETLK, F_WRLCK, SEEK_SET, 1, -2)));
	printf("start below 0: %s\n", said(range(fd, F_SETLK, F_WRLCK, SEEK_SET, -1, 1)));
	printf("beyond the last byte: %s\n", said(range(fd, F_SETLK, F_WRLCK, SEEK_SET, 2, 0x7fffffffffffffff)));
	printf("start too large: %s\n", said(range(fd, F_SETLK, F_WRLCK, SEEK_CUR, 0x7fffffffffffffff, 1)));
	printf("whence 9: %s\n", said(range(fd, F_SETLK, F_WRLCK, 9, 0, 1)));
	printf("type 7: %s, get: %s\n", said(set(fd, 7, 0, 1)), said(range(fd, F_GETLK, 7, 0, 0, 1)));
	printf("get an unlock: %s\n", said(range(fd, F_GETLK, F_UNLCK, 0, 0, 1)));
	printf("bad pointer: %s\n", said(fcntl(fd, F_SETLK, 8L)));
	int reads = open(A, O_RDONLY), writes = open(A, O_WRONLY), path = open(A, O_PATH);

	printf("read only: %s %s\n", said(set(reads, F_RDLCK, 0, 1)), said(set(reads, F_WRLCK, 0, 1)));
	printf("write only: %s %s\n", said(set(writes, F_RDLCK, 0, 1)), said(set(writes, F_WRLCK, 0, 1)));
	printf("path: %s %s\n", said(set(path, F_RDLCK, 0, 1)), said(flock(path, LOCK_SH)));
	close(fd), close(reads), close(writes), close(path);
}

static void of_open_files(void)
{
	int fd = open(A, O_RDWR), other = open(A, O_RDWR);
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1, .l_pid = 1 };

	printf("OFD with a pid: %s\n", said(fcntl(fd, F_OFD_SETLK, &lock)));
	printf("OFD: %s", said(range(fd, F_OFD_SETLK, F_WRLCK, 0, 0, 1)));
	printf(", the other: %s", said(range(other, F_OFD_SETLK, F_WRLCK, 0, 0, 1)));
	printf(", POSIX: %s\n", said(set(fd, F_WRLCK, 0, 1)));
	lock.l_pid = 0;
	fcntl(other, F_OFD_GETLK, &lock);
	printf("its pid: %d, type %d\n", lock.l_pid, lock.l_type);
	close(dup(fd));
	printf("still: %s", said(range(other, F_OFD_SETLK, F_WRLCK, 0, 0, 1)));
	close(fd);
	printf(", after the last close: %s\n", said(range(other, F_OFD_SETLK, F_WRLCK, 0, 0, 1)));
	close(other);
}

// The numbers of processes and inodes are left out, and so is the order of the kinds.
static void listed(const char *which)
{
	char line[256];
	FILE *locks = fopen("/proc/locks", "r");

	while (fgets(line, sizeof(line), locks)) {
		char kind[16], mode[16], from[16], to[16];
		int pid;

		if (sscanf(line, "%*s %15s ADVISORY %15s %d %*s %15s %15s", kind, mode, &pid, from, to) == 5 &&
		    pid == getpid() && strcmp(kind, which) == 0)
			printf("listed: %s %s %s-%s\n", kind, mode, from, to);
	}
	fclose(locks);
}

static void whole(void)
{
	int fd = open(A, O_RDWR), other = open(A, O_RDONLY), same = dup(fd);

	printf("flock: %s, again %s, other %s, same %s\n", said(flock(fd, LOCK_EX)), said(flock(fd, LOCK_EX)),
	       said(flock(other, LOCK_EX | LOCK_NB)), said(flock(same, LOCK_EX | LOCK_NB)));
	printf("down: %s, other shares %s\n", said(flock(fd, LOCK_SH)), said(flock(other, LOCK_SH | LOCK_NB)));
	set(other, F_RDLCK, 4, 3);
	listed("POSIX");
	listed("FLOCK");
	set(other, F_UNLCK, 4, 3);
	// A lock that cannot be made stronger is lost.
	printf("up %s", said(flock(fd, LOCK_EX | LOCK_NB)));
	printf(", other up %s\n", said(flock(other, LOCK_EX | LOCK_NB)));
	flock(other, LOCK_UN);
	flock(fd, LOCK_EX);
	close(fd);
	printf("a copy is left: %s", said(flock(other, LOCK_SH | LOCK_NB)));
	close(same);
	printf(", none: %s\n", said(flock(other, LOCK_SH | LOCK_NB)));
	printf("operations 0 3 64: %s %s %s, bad fd %s\n", said(flock(other, 0)), said(flock(other, 3)),
	       said(flock(other, 64)), said(flock(-1, LOCK_SH)));
	// A child has the same open file: its unlock counts.
	if (fork() == 0) {
		flock(other, LOCK_UN);
		_exit(0);
	}
	wait(NULL);
	fd = open(A, O_RDWR);
	printf("a child unlocked: %s\n", said(flock(fd, LOCK_EX | LOCK_NB)));
	close(fd), close(other);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ranges();
	of_open_files();
	whole();
	return 0;
}
