// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: the holder was killed: the next one has the lock, and the state is whole
// Waiting for locks of files: signals, deadlocks, exec, and holders that are killed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define A "/tmp/waits-a"
#define B "/tmp/waits-b"

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

static void on_alarm(int signal) { (void)signal; }

static void waits(void)
{
	int fd = open(A, O_RDWR | O_CREAT, 0600), other = open(A, O_RDWR), ready[2];
	struct sigaction action = { .sa_handler = on_alarm };
	char byte;

	sigaction(SIGALRM, &action, NULL);
	pipe(ready);
	pid_t child = fork();

	if (child == 0) {
		set(other, F_WRLCK, 0, 1), flock(other, LOCK_EX);
		write(ready[1], "x", 1);
		pause();
	}
	read(ready[0], &byte, 1);
	ualarm(20000, 0);
	printf("interrupted: %s", said(range(fd, F_SETLKW, F_WRLCK, 0, 0, 1)));
	ualarm(20000, 0);
	printf(" %s\n", said(flock(fd, LOCK_EX)));
	fflush(stdout);
	if (fork() == 0) {
		usleep(20000);
		kill(child, SIGKILL);
		_exit(0);
	}
	printf("the holder ended: %s", said(range(fd, F_SETLKW, F_WRLCK, 0, 0, 1)));
	close(other);
	printf(" %s\n", said(flock(fd, LOCK_EX)));
	while (wait(NULL) > 0)
		;
	close(fd);
}

static void deadlock(void)
{
	int fd = open(A, O_RDWR), second = open(B, O_RDWR | O_CREAT, 0600), ready[2];
	char byte;

	pipe(ready);
	set(fd, F_WRLCK, 0, 1);
	pid_t child = fork();

	if (child == 0) {
		set(second, F_WRLCK, 0, 1);
		write(ready[1], "x", 1);
		_exit(range(fd, F_SETLKW, F_WRLCK, 0, 0, 1) < 0);
	}
	read(ready[0], &byte, 1);
	usleep(50000);
	printf("deadlock: %s\n", said(range(second, F_SETLKW, F_WRLCK, 0, 0, 1)));
	set(fd, F_UNLCK, 0, 1);
	int status;

	waitpid(child, &status, 0);
	printf("the other went on: %d\n", status);
	close(fd), close(second);
}

static void exec_keeps(const char *self)
{
	int fd = open(A, O_RDWR), other = open(A, O_RDWR), ready[2];
	char byte;

	pipe(ready);
	pid_t child = fork();

	if (child == 0) {
		set(fd, F_WRLCK, 0, 1);
		dup2(ready[1], 1);
		execl(self, self, "exec", NULL);
	}
	read(ready[0], &byte, 1);
	printf("after exec: %s\n", said(set(other, F_WRLCK, 0, 1)));
	kill(child, SIGKILL);
	wait(NULL);
	printf("after its end: %s\n", said(set(other, F_WRLCK, 0, 1)));
	close(fd), close(other);
}

// A lock file protects two numbers that must be equal; the holder is killed at any time, and the next one repairs.
static void crash_of_the_holder(void)
{
	volatile int *numbers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int torn = 0, done = 0;

	for (int round = 0; round < 20; round++) {
		pid_t child = fork();

		if (child == 0) {
			int fd = open(B, O_RDWR);

			for (;;) {
				range(fd, F_SETLKW, F_WRLCK, 0, 0, 1);
				numbers[0]++;
				numbers[2] = 1;
				sched_yield();
				numbers[1]++;
				range(fd, F_SETLK, F_UNLCK, 0, 0, 1);
			}
		}
		while (!numbers[2])
			sched_yield();
		usleep(round * 100);
		kill(child, SIGKILL);
		int fd = open(B, O_RDWR);

		if (range(fd, F_SETLKW, F_WRLCK, 0, 0, 1) == 0)
			done++;
		int difference = numbers[0] - numbers[1];

		torn += difference != 0 && difference != 1;
		numbers[1] = numbers[0];
		numbers[2] = 0;
		close(fd);
		waitpid(child, NULL, 0);
	}
	if (done == 20 && torn == 0)
		printf("the holder was killed: the next one has the lock, and the state is whole\n");
	else
		printf("%d rounds, %d torn\n", done, torn);
}

static void counters(void)
{
	int fd = open(A, O_RDWR | O_TRUNC), number = 0;

	pwrite(fd, &number, 4, 0);
	for (int kind = 0; kind < 3; kind++)
		for (int child = 0; child < 2; child++)
			if (fork() == 0) {
				int own = open(A, O_RDWR);

				for (int i = 0; i < 100; i++) {
					kind == 0 ? flock(own, LOCK_EX) : range(own, kind == 1 ? F_SETLKW : F_OFD_SETLKW, F_WRLCK, 0, 0, 4);
					pread(own, &number, 4, kind * 4);
					number++;
					if (i % 10 == 0)
						sched_yield();
					pwrite(own, &number, 4, kind * 4);
					kind == 0 ? flock(own, LOCK_UN) : range(own, kind == 1 ? F_SETLK : F_OFD_SETLK, F_UNLCK, 0, 0, 4);
				}
				_exit(0);
			}
	while (wait(NULL) > 0)
		;
	for (int kind = 0; kind < 3; kind++)
		pread(fd, &number, 4, kind * 4), printf("counted %d\n", number);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		write(1, "x", 1);
		pause();
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	waits();
	deadlock();
	exec_keeps(argv[0]);
	counters();
	crash_of_the_holder();
	return 0;
}
