// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: 6000 descriptors opened by each other
// What a program can make long: directories in each other, descriptors that name each other, and names that two CPUs move at once.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH 6000

static void deep_directories(void)
{
	static char where[5000];
	int made = 0;

	mkdir("/tmp/deep", 0755);
	if (mount("x", "/tmp/deep", "tmpfs", 0, "nr_inodes=100000") || chdir("/tmp/deep"))
		return perror("mount");
	for (int i = 0; i < DEPTH; i++)
		made += mkdir("d", 0755) == 0 && chdir("d") == 0;
	printf("%d directories in each other\n", made);
	printf("getcwd: %s\n", syscall(SYS_getcwd, where, sizeof(where)) < 0 ? strerrorname_np(errno) : "a path");
	// Into itself, from the depth.
	printf("rename: %s\n", renameat(AT_FDCWD, "/tmp/deep/d", AT_FDCWD, "x") < 0 ? strerrorname_np(errno) : "worked");
	if (chdir("/"))
		perror("chdir");
	printf("umount: %d\n", umount2("/tmp/deep", 0));
	rmdir("/tmp/deep");
}

static void deep_descriptors(void)
{
	int made = 0, fd = open("/tmp", O_PATH);

	for (int i = 0; i < DEPTH; i++) {
		char name[40];

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		int next = open(name, O_PATH | O_NOFOLLOW);
		made += next >= 0;
		close(fd);
		fd = next;
	}
	close(fd);
	printf("%d descriptors opened by each other\n", made);
}

// A directory that was removed, and one whose mount is gone.
static void unreachable(void)
{
	char where[100];

	mkdir("/tmp/gone", 0755);
	mkdir("/tmp/gone/in", 0755);
	if (chdir("/tmp/gone/in") || rmdir("/tmp/gone/in") || rmdir("/tmp/gone"))
		perror("rmdir");
	printf("getcwd: %s\n", syscall(SYS_getcwd, where, sizeof(where)) < 0 ? strerrorname_np(errno) : where);
	printf("open .: %s\n", open(".", O_RDONLY) < 0 ? strerrorname_np(errno) : "works");
	printf("mkdir x: %s\n", mkdir("x", 0755) < 0 ? strerrorname_np(errno) : "works");
	printf("open ../x: %s\n", open("../x", O_RDONLY | O_CREAT, 0600) < 0 ? strerrorname_np(errno) : "works");
	long length = readlink("/proc/self/cwd", where, sizeof(where) - 1);
	printf("cwd: %.*s\n", (int)length, where);
	if (chdir("/"))
		perror("chdir");
}

static pthread_barrier_t start;

static void *mover(void *argument)
{
	const char *const *names = argument;

	pthread_barrier_wait(&start);
	for (int i = 0; i < 3000; i++) {
		rename(names[0], names[1]);
		rename(names[1], names[0]);
	}
	return 0;
}

// a → b/x beside b → a/y: one of the two must see that it would make a circle.
static void cycles(void)
{
	static const char *const names[2][2] = { { "/tmp/cycle/a", "/tmp/cycle/b/x" }, { "/tmp/cycle/b", "/tmp/cycle/a/y" } };
	pthread_t threads[2];

	mkdir("/tmp/cycle", 0755);
	mkdir("/tmp/cycle/a", 0755);
	mkdir("/tmp/cycle/b", 0755);
	pthread_barrier_init(&start, 0, 2);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], 0, mover, (void *)names[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], 0);
	printf("moved: %s\n", rmdir("/tmp/cycle/a") == 0 && rmdir("/tmp/cycle/b") == 0 && rmdir("/tmp/cycle") == 0 ? "all there" :
												 strerrorname_np(errno));
}

static void *replacer(void *argument)
{
	(void)argument;
	pthread_barrier_wait(&start);
	for (int i = 0; i < 3000; i++) {
		close(open("/tmp/new", O_CREAT | O_WRONLY, 0600));
		rename("/tmp/new", "/tmp/target");
	}
	return 0;
}

// Who looks for a name that is replaced finds the old or the new, never none.
static void replaced(void)
{
	pthread_t thread;
	int missed = 0;

	close(open("/tmp/target", O_CREAT | O_WRONLY, 0600));
	pthread_barrier_init(&start, 0, 2);
	pthread_create(&thread, 0, replacer, 0);
	pthread_barrier_wait(&start);
	for (int i = 0; i < 20000; i++)
		missed += access("/tmp/target", F_OK) != 0;
	pthread_join(thread, 0);
	printf("missed: %d\n", missed);
	unlink("/tmp/target");
}

// Every record is whole, and none is over another.
static void appended(void)
{
	enum { EACH = 2000, WRITERS = 3 };
	int seen[WRITERS] = { 0 }, torn = 0;

	unlink("/tmp/log");
	for (int w = 0; w < WRITERS; w++)
		if (!fork()) {
			int fd = open("/tmp/log", O_CREAT | O_WRONLY | O_APPEND, 0600);
			char record[48];

			memset(record, 'a' + w, sizeof(record));
			for (int i = 0; i < EACH; i++)
				if (write(fd, record, sizeof(record)) != sizeof(record))
					_exit(1);
			_exit(0);
		}
	while (wait(0) > 0)
		;
	int fd = open("/tmp/log", O_RDONLY);
	char record[48];
	while (read(fd, record, sizeof(record)) == sizeof(record)) {
		for (unsigned i = 1; i < sizeof(record); i++)
			torn += record[i] != record[0];
		if (record[0] >= 'a' && record[0] < 'a' + WRITERS)
			seen[record[0] - 'a']++;
	}
	printf("appended: %d %d %d, torn %d\n", seen[0], seen[1], seen[2], torn);
	close(fd);
	unlink("/tmp/log");
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	deep_directories();
	deep_descriptors();
	unreachable();
	cycles();
	replaced();
	appended();
	return 0;
}
