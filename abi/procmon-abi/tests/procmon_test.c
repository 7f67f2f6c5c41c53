/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * procmon_test.c - the classic interface of /dev/procmon as a C program sees it. Run as root with the module loaded:
 *
 *   gcc -static -Wall -Werror -I abi/procmon-abi/include -o procmon_test abi/procmon-abi/tests/procmon_test.c
 *
 * Also with -m32. Prints "ok" and ends with 0 if all is as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procmon.h"

#define CHECK(condition)                                                                            \
	do {                                                                                        \
		if (!(condition)) {                                                                 \
			fprintf(stderr, "line %d: not so: %s (errno %d)\n", __LINE__, #condition, errno); \
			exit(1);                                                                    \
		}                                                                                   \
	} while (0)

#define REFUSED(call, error) CHECK((call) == -1 && errno == (error))

/* An address that is no program's; where it comes from is not the compiler's business. */
static void *volatile nowhere = (void *)8;

static void messages(int fd)
{
	char buffer[64];
	int count;

	CHECK(write(fd, "Hello Kernel", 12) == 12);
	CHECK(ioctl(fd, PROCMON_GET_COUNT, &count) == 0 && count == 12);
	CHECK(read(fd, buffer, 5) == 5 && !memcmp(buffer, "Hello", 5));
	CHECK(read(fd, buffer, sizeof(buffer)) == 7 && !memcmp(buffer, " Kernel", 7));
	CHECK(read(fd, buffer, sizeof(buffer)) == 0);
	CHECK(pread(fd, buffer, sizeof(buffer), 6) == 6 && !memcmp(buffer, "Kernel", 6));
	CHECK(pread(fd, buffer, sizeof(buffer), 12) == 0);
	CHECK(pread(fd, buffer, sizeof(buffer), 1000000) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 12);
	CHECK(lseek(fd, -6, SEEK_CUR) == 6);
	REFUSED(lseek(fd, -1, SEEK_SET), EINVAL);
	REFUSED(write(fd, nowhere, 12), EFAULT);
	REFUSED(pread(fd, nowhere, 12, 0), EFAULT);
	CHECK(pread(fd, buffer, sizeof(buffer), 0) == 12 && !memcmp(buffer, "Hello Kernel", 12));
}

static void counters(int fd)
{
	struct procmon_stats stats;
	int filter = getpid(), i;
	char byte;

	CHECK(ioctl(fd, PROCMON_SET_FILTER, &filter) == 0);
	CHECK(ioctl(fd, PROCMON_RESET) == 0);
	memset(&stats, 0xff, sizeof(stats));
	CHECK(ioctl(fd, PROCMON_GET_STATS, &stats) == 0);
	CHECK(stats.total_opens == 0 && stats.total_reads == 0 && stats.total_writes == 0 && stats.total_ioctls == 1);
	CHECK(stats.current_filter_pid == filter);
	for (i = 0; i < 10; i++) {
		int other = open("/dev/procmon", O_RDONLY);

		CHECK(other >= 0 && read(other, &byte, 1) == 1);
		close(other);
	}
	CHECK(write(fd, "x", 1) == 1);
	CHECK(ioctl(fd, PROCMON_GET_STATS, &stats) == 0);
	CHECK(stats.total_opens == 10 && stats.total_reads == 10 && stats.total_writes == 1 && stats.total_ioctls == 2);
	filter = 0;
	CHECK(ioctl(fd, PROCMON_SET_FILTER, &filter) == 0);
	CHECK(ioctl(fd, PROCMON_GET_STATS, &stats) == 0 && stats.current_filter_pid == 0);
}

static void queries(int fd)
{
	struct procmon_query query = { .pid = getpid() };
	pid_t child = fork();
	int tries;

	CHECK(child >= 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	CHECK(ioctl(fd, PROCMON_QUERY_PID, &query) == 0);
	CHECK(query.pid == getpid() && !strncmp(query.comm, "procmon_test", 12) && query.state == PROCMON_STATE_RUNNING);
	CHECK(query.vsize > 4096);
	for (tries = 0; tries < 1000 && query.state != PROCMON_STATE_INTERRUPTIBLE; tries++) {
		usleep(1000);
		query.pid = child;
		CHECK(ioctl(fd, PROCMON_QUERY_PID, &query) == 0);
	}
	CHECK(query.state == PROCMON_STATE_INTERRUPTIBLE);
	CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	query.pid = child;
	CHECK(ioctl(fd, PROCMON_QUERY_PID, &query) == 0);
	CHECK(query.pid == child && query.comm[0] == 0 && query.state == -1 && query.vsize == 0);
}

static void snapshots(int fd)
{
	struct procmon_process *records;
	struct procmon_snapshot snapshot = { 0 };
	unsigned int i, found = 0;

	REFUSED(ioctl(fd, PROCMON_SNAPSHOT, &snapshot), ENOSPC);
	CHECK(snapshot.count > 1);
	snapshot.capacity = snapshot.count + 100;
	records = calloc(snapshot.capacity, sizeof(*records));
	CHECK(records);
	snapshot.records = (unsigned long)records;
	CHECK(ioctl(fd, PROCMON_SNAPSHOT, &snapshot) == 0 && snapshot.count <= snapshot.capacity);
	for (i = 0; i < snapshot.count; i++) {
		CHECK(records[i].pid > 0 && records[i].comm[PROCMON_COMM_LEN - 1] == 0);
		if (records[i].pid == getpid()) {
			CHECK(records[i].ppid == getppid() && records[i].uid == getuid() && records[i].rss > 0);
			found++;
		}
	}
	CHECK(found == 1);
	free(records);
}

static void events(void)
{
	struct procmon_event event;
	int fd = open("/dev/procmon_events", O_RDONLY), status, seen = 0;
	pid_t child;

	CHECK(fd >= 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(7);
	CHECK(waitpid(child, &status, 0) == child);
	while (seen < 2) {
		CHECK(read(fd, &event, sizeof(event)) == sizeof(event));
		if (event.tgid != child)
			continue;
		CHECK(event.pid == child && event.ppid == getpid());
		CHECK(event.kind == (seen ? PROCMON_EVENT_EXIT : PROCMON_EVENT_FORK));
		CHECK(!seen || event.detail == (unsigned int)status);
		seen++;
	}
	close(fd);
}

int main(void)
{
	int fd = open("/dev/procmon", O_RDWR);

	CHECK(fd >= 0);
	messages(fd);
	counters(fd);
	queries(fd);
	snapshots(fd);
	events();
	REFUSED(ioctl(fd, _IO(PROCMON_IOC_MAGIC, 99)), ENOTTY);
	REFUSED(ioctl(fd, PROCMON_GET_STATS, NULL), EFAULT);
	REFUSED(ioctl(fd, PROCMON_QUERY_PID, nowhere), EFAULT);
	puts("ok");
	return 0;
}
