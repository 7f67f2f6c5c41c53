// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: io: read 5 bytes by 1 calls, wrote 3 by 1
// Files of /proc/PID (proc(5)): mountinfo, io, sched, stat, status, wchan, oom_adj, fdinfo with locks, auxv, personality.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 16];

static char *slurp(const char *path)
{
	int fd = open(path, O_RDONLY);
	long length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (length < 0)
		snprintf(text, sizeof(text), "%s", strerrorname_np(errno));
	else
		text[length] = 0;
	close(fd);
	return text;
}

static void put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	long count = write(fd, value, strlen(value));

	printf("%s into %s: %s\n", value, path, count < 0 ? strerrorname_np(errno) : "done");
	close(fd);
}

/* The number behind a name. */
static long value_of(const char *path, const char *name)
{
	char *at = strstr(slurp(path), name);

	return at ? atol(at + strlen(name) + strspn(at + strlen(name), " :\t")) : -1;
}

static void input_and_output(void)
{
	char bytes[10];
	int fd = open("io", O_RDWR | O_CREAT | O_TRUNC, 0600), zero = open("/dev/zero", O_RDONLY);

	if (pwrite(fd, "12345", 5, 0) != 5)
		return;
	long before[4], after[4];
	static const char *const names[] = { "rchar", "syscr", "wchar", "syscw" };
	/* Each look reads itself. */
	for (int i = 0; i < 4; i++)
		before[i] = value_of("/proc/self/io", names[i]);
	long empty = before[0] - value_of("/proc/self/io", names[0]);
	if (read(zero, bytes, 5) != 5 || write(fd, "abc", 3) != 3)
		return;
	for (int i = 0; i < 4; i++)
		after[i] = value_of("/proc/self/io", names[i]);
	(void)empty;
	printf("io: read %s bytes by %s calls, wrote %ld by %ld\n", after[0] - before[0] >= 5 ? "5" : "fewer",
	       after[1] - before[1] >= 1 ? "1" : "fewer", after[2] - before[2], after[3] - before[3]);
	printf("disk: %ld %ld %ld\n", value_of("/proc/self/io", "\nread_bytes"), value_of("/proc/self/io", "\nwrite_bytes"),
	       value_of("/proc/self/io", "cancelled_write_bytes"));
}

static void scheduling(void)
{
	char comm[40];
	int pid, threads;

	sscanf(slurp("/proc/self/sched"), "%39s (%d, #threads: %d)", comm, &pid, &threads);
	printf("sched: %s %d, threads %d\n", comm, pid == getpid(), threads);
	printf("policy %ld, prio %ld\n", value_of("/proc/self/sched", "policy"), value_of("/proc/self/sched", "prio"));
	long voluntary = value_of("/proc/self/sched", "nr_voluntary_switches");
	for (int i = 0; i < 3; i++)
		usleep(50000);
	printf("waits are counted: %d\n", value_of("/proc/self/sched", "nr_voluntary_switches") > voluntary);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("so does getrusage: %d, status %d\n", usage.ru_nvcsw > voluntary,
	       value_of("/proc/self/status", "\nvoluntary_ctxt_switches") > voluntary);
	nice(5);
	printf("nice: prio %ld\n", value_of("/proc/self/sched", "prio"));
	char *fields = strrchr(slurp("/proc/self/stat"), ')') + 2;
	int priority, nice;
	sscanf(fields, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %d %d", &priority, &nice);
	printf("stat: priority %d, nice %d\n", priority, nice);
	struct sched_param param = { .sched_priority = 7 };
	printf("fifo: %d\n", sched_setscheduler(0, SCHED_FIFO, &param));
	fields = strrchr(slurp("/proc/self/stat"), ')') + 2;
	sscanf(fields, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %d %d", &priority, &nice);
	char *at = fields;
	for (int i = 3; i < 40; i++)
		at = strchr(at, ' ') + 1;
	printf("stat: priority %d, nice %d, real-time priority and policy %.3s\n", priority, nice, at);
	printf("sched: policy %ld, prio %ld\n", value_of("/proc/self/sched", "policy"), value_of("/proc/self/sched", "prio"));
	param.sched_priority = 0;
	sched_setscheduler(0, SCHED_OTHER, &param);
	char *memory = malloc(100 << 12);
	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 100; i++)
		*(volatile char *)(memory + (i << 12)) = 1;
	getrusage(RUSAGE_SELF, &after);
	printf("faults: %d\n", after.ru_minflt - before.ru_minflt >= 100);
	free(memory);
}

static void mounts(void)
{
	char line[4096], root[256], target[256], options[256], kind[64], source[64], rest[256];
	unsigned id, parent, major_number, minor_number, found = 0;
	struct stat status;
	unsigned of_tmp = 0;

	mkdir("mounted", 0755);
	mkdir("bound", 0755);
	printf("mount: %d\n", mount("a source", "mounted", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k"));
	mkdir("mounted/below", 0755);
	printf("bind: %d\n", mount("mounted/below", "bound", NULL, MS_BIND, NULL));
	stat("mounted", &status);
	FILE *file = fopen("/proc/self/mountinfo", "r");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%u %u %u:%u %255s %255s %255s - %63s %63s %255s", &id, &parent, &major_number, &minor_number,
			   root, target, options, kind, source, rest) != 10)
			printf("odd: %s", line);
		if (!strcmp(target, "/tmp"))
			of_tmp = id;
		if (strstr(target, "mounted") || strstr(target, "bound")) {
			printf("%s %s %s - %s %s %s, in /tmp's %d, device %d\n", root, strrchr(target, '/'), options, kind, source,
			       strstr(rest, "size=64k") ? "size" : rest, parent == of_tmp, makedev(major_number, minor_number) == status.st_dev);
			found++;
		}
	}
	fclose(file);
	printf("found %u\n", found);
	file = fopen("/proc/self/mountstats", "r");
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "mounted with") || strstr(line, "/mounted "))
			printf("%s", strstr(line, "device"));
	fclose(file);
	umount("bound");
	umount("mounted");
	rmdir("bound");
	rmdir("mounted");
}

static void locks(void)
{
	char path[64], *at;
	int fd = open("locked", O_RDWR | O_CREAT, 0600), other = open("locked", O_RDWR);
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };

	fcntl(fd, F_SETLK, &range);
	range.l_type = F_RDLCK;
	range.l_start = 100;
	range.l_len = 0;
	range.l_pid = 0;
	fcntl(fd, F_OFD_SETLK, &range);
	flock(fd, LOCK_EX);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", i ? other : fd);
		slurp(path);
		int flocks = 0, posix = 0, open_file = 0;
		for (at = text; (at = strstr(at, "lock:\t")); at++) {
			char kind[16], advisory[16], mode[16];
			int owner;
			if (sscanf(at, "lock:\t%*d: %15s %15s %15s %d", kind, advisory, mode, &owner) != 4)
				continue;
			flocks += !strcmp(kind, "FLOCK") && !strcmp(mode, "WRITE") && owner == getpid();
			posix += !strcmp(kind, "POSIX") && !strcmp(mode, "WRITE") && owner == getpid();
			open_file += !strcmp(kind, "OFDLCK") && !strcmp(mode, "READ") && owner == -1;
		}
		if (!i)
			printf("locks in fdinfo: %d %d %d, ranges %d %d\n", flocks, posix, open_file, strstr(text, " 10 14\n") != NULL,
			       strstr(text, " 100 EOF\n") != NULL);
		else
			printf("not by the other descriptor: %d %d\n", flocks, open_file);
	}
	close(other);
	close(fd);
}

int main(void)
{
	input_and_output();
	scheduling();
	mounts();
	locks();
	printf("wchan: %s\n", slurp("/proc/self/wchan"));
	printf("personality: %s", slurp("/proc/self/personality"));
	printf("oom_adj: %s", slurp("/proc/self/oom_adj"));
	put("/proc/self/oom_adj", "15");
	printf("oom_score_adj: %s", slurp("/proc/self/oom_score_adj"));
	put("/proc/self/oom_adj", "-17");
	printf("oom_score_adj: %s", slurp("/proc/self/oom_score_adj"));
	put("/proc/self/oom_adj", "8");
	printf("oom_score_adj: %s", slurp("/proc/self/oom_score_adj"));
	printf("oom_adj: %s", slurp("/proc/self/oom_adj"));
	put("/proc/self/oom_adj", "16");
	put("/proc/self/oom_score_adj", "-1001");
	printf("oom_score: %s\n", atoi(slurp("/proc/self/oom_score")) > 0 ? "positive" : "0");
	put("/proc/self/oom_adj", "0");
	slurp("/proc/self/auxv");
	const Elf64_auxv_t *vector = (const void *)text;
	while (vector->a_type && vector->a_type != AT_ENTRY)
		vector++;
	printf("auxv: %d\n", vector->a_un.a_val == getauxval(AT_ENTRY));
	printf("signals: %d\n", strstr(slurp("/proc/self/status"), "\nSigQ:\t0/") != NULL);
	fflush(stdout);
	if (!fork()) {
		if (setresuid(1000, 1000, 1000))
			_exit(1);
		put("/proc/self/oom_score_adj", "10");
		printf("io: %.6s\n", slurp("/proc/1/io"));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	unlink("io");
	unlink("locked");
	return 0;
}
