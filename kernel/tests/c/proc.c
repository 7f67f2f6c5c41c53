// SPDX-License-Identifier: MIT OR Apache-2.0
// /proc: numbers of inodes, folders of threads, states, offsets, and the fields that programs look for.
// On Linux it prints: tasks of the task: none
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[65536];

static int load(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0) {
		text[0] = 0;
		return -errno;
	}
	int length = 0, more;
	// Small pieces: a text goes on where it was left.
	while ((more = read(fd, text + length, 7)) > 0)
		length += more;
	text[length] = 0;
	close(fd);
	return length;
}

static const char *field(const char *name)
{
	static char value[256];
	size_t length = strlen(name);
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length) && line[length] == ':') {
			sscanf(line + length + 1, " %255[^\n]", value);
			return value;
		}
		if (!*line)
			break;
	}
	return "missing";
}

static void same_inode(const char *path)
{
	struct stat a = { 0 }, b = { 0 };
	int fd = open(path, O_RDONLY);
	int ok = stat(path, &a) == 0 && fstat(fd, &b) == 0;
	close(fd);
	printf("%s %s\n", path, ok && a.st_ino == b.st_ino && a.st_ino ? "same" : "other");
}

// Whether the numbers that a folder lists are those of its files.
static void listed(const char *path)
{
	DIR *dir = opendir(path);
	int wrong = 0, count = 0;
	for (struct dirent *entry; (entry = readdir(dir));) {
		struct stat s;
		if (fstatat(dirfd(dir), entry->d_name, &s, AT_SYMLINK_NOFOLLOW))
			continue;
		count++;
		int up = !strcmp(entry->d_name, "..");
		wrong += !up && s.st_ino != entry->d_ino;
	}
	closedir(dir);
	printf("%s listed %s\n", path, count > 2 && wrong == 0 ? "as they are" : "wrongly");
}

static char state_of(int pid, int tid)
{
	char path[64];
	if (tid)
		snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
	else
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
	load(path);
	char *end = strrchr(text, ')');
	return end ? end[2] : '-';
}

static volatile int tid;

static void *sleeper(void *unused)
{
	prctl(PR_SET_NAME, "sleeper (x) y");
	tid = syscall(SYS_gettid);
	pause();
	return unused;
}

static void wait_for(int pid, int thread, char state)
{
	for (int i = 0; i < 1000 && state_of(pid, thread) != state; i++)
		usleep(1000);
	printf("state %c\n", state_of(pid, thread));
}

static void handler(int signal)
{
	(void)signal;
}

int main(void)
{
	char path[128];
	same_inode("/proc/self/status");
	same_inode("/proc/self/fd");
	same_inode("/proc/meminfo");
	same_inode("/proc/sys/kernel/pid_max");
	same_inode("/proc/sys/kernel");
	listed("/proc/self");
	listed("/proc/self/task");
	listed("/proc/sys/kernel");
	// Descriptors other than the folder's own stay as they are.
	listed("/proc/self/fd");

	pthread_t thread;
	pthread_create(&thread, NULL, sleeper, NULL);
	while (!tid)
		usleep(1000);
	wait_for(getpid(), tid, 'S');
	printf("own state %c\n", state_of(getpid(), 0));
	snprintf(path, sizeof path, "/proc/%d/task/%d/task", getpid(), tid);
	struct stat s;
	int nested = stat(path, &s) == 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
	load(path);
	printf("thread name %s\n", field("Name"));
	printf("thread's tgid is %s, pid %s,", atoi(field("Tgid")) == getpid() ? "the process" : "wrong",
	       atoi(field("Pid")) == tid ? "its own" : "wrong");
	printf(" threads %s\n", field("Threads"));
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
	load(path);
	printf("comm %s", text);
	snprintf(path, sizeof path, "/proc/%d/comm", tid);
	printf("by its number %s", load(path) > 0 ? text : "nothing\n");


	printf("tasks of the task: %s\n", nested ? "some" : "none");

	int pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	wait_for(pid, 0, 'S');
	kill(pid, SIGSTOP);
	wait_for(pid, 0, 'T');
	kill(pid, SIGKILL);
	wait_for(pid, 0, 'Z');
	snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	printf("cmdline of a zombie: %d bytes\n", load(path));
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	printf("exe of a zombie: %s\n", readlink(path, text, 100) < 0 ? strerror(errno) : "there");
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	waitpid(pid, NULL, 0);
	printf("stat of one that is gone: %s\n", read(fd, text, 10) < 0 ? strerror(errno) : "there");
	close(fd);

	signal(SIGUSR1, handler);
	signal(SIGUSR2, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pthread_kill(pthread_self(), SIGTERM);
	load("/proc/self/status");
	static const char *const fields_of[] = { "SigBlk", "SigPnd", "ShdPnd", "SigIgn", "State", "TracerPid", "Uid", "Gid", "CapEff",
		"NoNewPrivs", "Seccomp", "Mems_allowed_list", "Threads" };
	for (unsigned i = 0; i < sizeof fields_of / sizeof *fields_of; i++)
		printf("%s %s\n", fields_of[i], field(fields_of[i]));
	unsigned long caught = strtoul(field("SigCgt"), NULL, 16);
	printf("SIGUSR1 is %s, SIGUSR2 %s\n", caught >> (SIGUSR1 - 1) & 1 ? "caught" : "not caught",
	       caught >> (SIGUSR2 - 1) & 1 ? "caught" : "not caught");
	printf("FDSize %s\n", field("FDSize"));
	printf("no number %d, zero in front %d\n", stat("/proc/1x", &s), stat("/proc/01", &s));

	load("/proc/self/stat");
	int fields = 1;
	for (char *at = strrchr(text, ')'); *at; at++)
		fields += *at == ' ';
	printf("stat has %d fields\n", fields + 1);

	fd = open("/proc/self/comm", O_RDWR);
	printf("write %zd\n", write(fd, "new name\n", 9));
	char part[8] = { 0 };
	printf("pread %zd %s\n", pread(fd, part, 4, 4), part);
	lseek(fd, 0, SEEK_SET);
	printf("read %zd %.4s\n", read(fd, part, 4), part);
	printf("end %s\n", lseek(fd, 0, SEEK_END) < 0 ? strerror(errno) : "found");
	close(fd);

	fd = open("/dev/null", O_RDWR | O_APPEND | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	load(path);
	printf("pos %s", field("pos"));
	printf(" flags %s\n", field("flags"));
	close(fd);
	printf("closed %s\n", load(path) == -ENOENT ? "gone" : "there");

	load("/proc/self/limits");
	printf("%s", strtok(text, "\n"));
	printf("\n");
	static const char *const settings[] = { "kernel/ostype", "kernel/tainted", "kernel/cap_last_cap",
		"kernel/ngroups_max", "kernel/overflowuid", "fs/overflowgid", "vm/max_map_count", "kernel/random/poolsize" };
	for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++) {
		snprintf(path, sizeof path, "/proc/sys/%s", settings[i]);
		load(path);
		printf("%s %s", settings[i], text);
	}
	char first[64] = { 0 }, again[64] = { 0 };
	load("/proc/sys/kernel/random/uuid");
	memcpy(first, text, 63);
	load("/proc/sys/kernel/random/uuid");
	printf("uuids of %zu, %s\n", strlen(first), strcmp(first, text) ? "different" : "the same");
	load("/proc/sys/kernel/random/boot_id");
	memcpy(again, text, 63);
	load("/proc/sys/kernel/random/boot_id");
	printf("boot ids %s\n", strcmp(again, text) ? "different" : "the same");
	fd = open("/proc/sys/kernel/hostname", O_RDWR);
	printf("hostname %zd", write(fd, "somewhere\n", 10));
	close(fd);
	char name[64];
	gethostname(name, sizeof name);
	load("/proc/sys/kernel/hostname");
	printf(" %s %s", name, text);
	return 0;
}
