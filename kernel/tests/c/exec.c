// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: from a second thread: gettid is getpid 1, threads 1
// Starting programs: from a thread, from two at once, from a file without a name, through scripts; what goes on and what does not; errors;
// clone's and clone3's arguments; groups after exec; terminals' rules.
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF "/proc/self/exe"
/* The same by its name: on Linux, the link above is gone as soon as the first thread is. */
static char own_path[4096];

static const char *error(long result)
{
	return result == -1 ? strerrorname_np(errno) : "ok";
}

static int wait_for(pid_t child)
{
	int status = -1;

	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the program does when it is started with an argument. */
static int started(char **argv)
{
	if (!strcmp(argv[1], "threads")) {
		DIR *threads = opendir("/proc/self/task");
		int count = 0;

		while (readdir(threads))
			count++;
		closedir(threads);
		printf("from %s: gettid is getpid %d, threads %d\n", argv[2], gettid() == getpid(), count - 2);
	} else if (!strcmp(argv[1], "state")) {
		struct sigaction used, ignored;
		stack_t stack;
		int death = 0;
		sigset_t set;

		sigaction(SIGUSR1, NULL, &used);
		sigaction(SIGUSR2, NULL, &ignored);
		sigaltstack(NULL, &stack);
		prctl(PR_GET_PDEATHSIG, &death);
		pthread_sigmask(SIG_BLOCK, NULL, &set);
		printf("handler gone %d, ignored kept %d, other stack gone %d, blocked kept %d\n",
		       used.sa_handler == SIG_DFL, ignored.sa_handler == SIG_IGN, stack.ss_flags == SS_DISABLE,
		       sigismember(&set, SIGHUP));
		printf("death signal %d, no new privileges %d, personality %#lx, dumpable %d\n", death,
		       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), syscall(SYS_personality, 0xffffffff), prctl(PR_GET_DUMPABLE));
		printf("auxiliary vector: page %ld, secure %ld, user %ld, clock %ld, platform %s, as %s\n",
		       getauxval(AT_PAGESZ), getauxval(AT_SECURE), getauxval(AT_UID), getauxval(AT_CLKTCK),
		       (char *)getauxval(AT_PLATFORM), (char *)getauxval(AT_EXECFN));
		printf("HWCAP2 is there: %d, MINSIGSTKSZ enough: %d\n", getauxval(AT_HWCAP2) != 0 || errno != ENOENT,
		       getauxval(AT_MINSIGSTKSZ) > 1000);
	} else if (!strcmp(argv[1], "sleep")) {
		write(1, "", 0);
		close(3);
		pause();
	} else if (!strcmp(argv[1], "robust")) {
		usleep(1000);
	}
	fflush(stdout);
	return 0;
}

static void *execs(void *argument)
{
	execl(own_path, "self", "threads", argument, NULL);
	return NULL;
}

static void *sleeps(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static void from_threads(void)
{
	pthread_t thread;
	pid_t child;
	int turn, good = 0;

	child = fork();
	if (!child) {
		pthread_create(&thread, NULL, sleeps, NULL);
		pthread_create(&thread, NULL, execs, "a second thread");
		sleeps(NULL);
	}
	wait_for(child);
	child = fork();
	if (!child) {
		pthread_create(&thread, NULL, execs, "a thread that outlived the first");
		syscall(SYS_exit, 1);
	}
	wait_for(child);
	for (turn = 0; turn < 20; turn++) {
		child = fork();
		if (!child) {
			int null = open("/dev/null", O_WRONLY);

			dup2(null, 1);
			pthread_create(&thread, NULL, execs, "two at once");
			execs("two at once");
			sleeps(NULL);
		}
		good += wait_for(child) == 0;
	}
	printf("two at once: one wins %d\n", good == 20);
}

static void robust(void)
{
	pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attributes;
	pid_t child;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(mutex, &attributes);
	child = fork();
	if (!child) {
		pthread_mutex_lock(mutex);
		execl(SELF, "self", "robust", NULL);
	}
	wait_for(child);
	printf("a robust mutex of who started another program: %s\n", strerrorname_np(pthread_mutex_lock(mutex)));
}

static void write_file(const char *path, const char *text, int mode)
{
	int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0700);

	write(file, text, strlen(text));
	close(file);
	chmod(path, mode);
}

static const char *try(const char *path)
{
	pid_t child;
	int ends[2], number = 0;

	pipe2(ends, O_CLOEXEC);
	fflush(stdout);
	child = fork();
	if (!child) {
		execl(path, "name", "one", NULL);
		number = errno;
		write(ends[1], &number, sizeof number);
		_exit(0);
	}
	close(ends[1]);
	read(ends[0], &number, sizeof number);
	close(ends[0]);
	wait_for(child);
	return number ? strerrorname_np(number) : "ok";
}

static void scripts(void)
{
	char text[600], line[300];
	int depth;

	write_file("s0", "#! /bin/echo  an  argument \t\nrest\n", 0700);
	printf("script: %s\n", try("./s0"));
	for (depth = 1; depth < 7; depth++) {
		snprintf(text, sizeof text, "s%d", depth);
		snprintf(line, sizeof line, "#!./s%d\n", depth - 1);
		write_file(text, line, 0700);
	}
	printf("five scripts deep: %s\n", try("./s4"));
	printf("six: %s\n", try("./s5"));
	write_file("s1", "#!\n", 0700);
	printf("no interpreter: %s\n", try("./s1"));
	write_file("s1", "#!/nowhere/at all\n", 0700);
	printf("an interpreter that is not there: %s\n", try("./s1"));
	write_file("s1", "#!/bin/echo", 0700);
	printf("without end of line: %s\n", try("./s1"));
	memset(line, 'x', sizeof line);
	line[299] = 0;
	snprintf(text, sizeof text, "#!/%s\n", line);
	write_file("s1", text, 0700);
	printf("a name that is too long: %s\n", try("./s1"));
	write_file("s1", "hello\n", 0700);
	printf("neither program nor script: %s\n", try("./s1"));
	write_file("s1", "", 0700);
	printf("empty: %s\n", try("./s1"));
	write_file("s1", "#!/bin/echo\n", 0600);
	printf("may not be executed: %s\n", try("./s1"));
	printf("a directory: %s, below a file %s, nothing %s\n", try("/dev"), try("./s0/x"), try("/nowhere"));
	for (depth = 0; depth < 7; depth++) {
		snprintf(text, sizeof text, "s%d", depth);
		unlink(text);
	}
}

static void arguments(void)
{
	static char long_one[200000];
	static char *many[400000];
	char *two[] = { "self", long_one, NULL };
	int n;

	memset(long_one, 'a', sizeof long_one - 1);
	printf("a long argument: %s", error(execv(SELF, two)));
	long_one[131072] = 0;
	printf(", 128 KiB %s\n", error(execv(SELF, two)));
	for (n = 0; n < 399999; n++)
		many[n] = "xxxxxxx";
	printf("many arguments: %s\n", error(execv(SELF, many)));
	printf("bad pointers: %s %s\n", error(syscall(SYS_execve, 8, 0, 0)), error(syscall(SYS_execve, SELF, 8, 0)));
	printf("execveat with an unknown flag: %s, without a path %s\n",
	       error(syscall(SYS_execveat, AT_FDCWD, SELF, 0, 0, 1)), error(syscall(SYS_execveat, 0, "", 0, 0, 0)));
	symlink(SELF, "link");
	printf("a link that is not followed: %s\n",
	       error(syscall(SYS_execveat, AT_FDCWD, "link", 0, 0, AT_SYMLINK_NOFOLLOW)));
	unlink("link");
}

static void without_name(void)
{
	int program = open(SELF, O_RDONLY), file = memfd_create("program", MFD_CLOEXEC);
	char *arguments[] = { "self", "threads", "a file without a name", NULL };
	char buffer[65536];
	ssize_t count;
	pid_t child;

	while ((count = read(program, buffer, sizeof buffer)) > 0)
		write(file, buffer, count);
	close(program);
	fflush(stdout);
	child = fork();
	if (!child) {
		fexecve(file, arguments, environ);
		printf("fexecve: %s\n", error(-1));
		_exit(1);
	}
	wait_for(child);
	close(file);
}

static void nothing(int number)
{
	(void)number;
}

static void what_stays(void)
{
	static char other[16384];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof other };
	sigset_t set;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		signal(SIGUSR1, nothing);
		signal(SIGUSR2, SIG_IGN);
		sigaltstack(&stack, NULL);
		sigemptyset(&set);
		sigaddset(&set, SIGHUP);
		pthread_sigmask(SIG_BLOCK, &set, NULL);
		prctl(PR_SET_PDEATHSIG, SIGWINCH);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_DUMPABLE, 0);
		syscall(SYS_personality, 0x40000);
		execl(SELF, "self", "state", NULL);
	}
	wait_for(child);
}

static void groups(void)
{
	int ends[2];
	char byte;
	pid_t child;

	pipe(ends);
	child = fork();
	if (!child) {
		dup2(ends[1], 3);
		fcntl(ends[1], F_SETFD, FD_CLOEXEC);
		close(ends[0]);
		execl(SELF, "self", "sleep", NULL);
	}
	close(ends[1]);
	read(ends[0], &byte, 1);
	printf("setpgid of a child that runs another program: %s\n", error(setpgid(child, 0)));
	kill(child, SIGKILL);
	wait_for(child);
	printf("setpgid: nobody %s, negative group %s, of the parent %s, another's group %s\n",
	       error(setpgid(1 << 21, 0)), error(setpgid(0, -1)), error(setpgid(getppid(), 0)),
	       error(setpgid(0, 1 << 21)));
	child = fork();
	if (!child) {
		printf("setsid: %d", setsid() == getpid());
		printf(", again %s, setpgid of a leader %s\n", error(setsid()), error(setpgid(0, 0)));
		fflush(stdout);
		_exit(0);
	}
	fflush(stdout);
	wait_for(child);
}

static long clone3(struct clone_args *arguments, size_t size)
{
	long result = syscall(SYS_clone3, arguments, size);

	if (!result)
		_exit(0);
	if (result > 0)
		wait_for(result);
	return result > 0 ? 0 : result;
}

static void clones(void)
{
	static struct {
		struct clone_args known;
		uint64_t more[4];
	} in, clean = { .known = { .exit_signal = SIGCHLD } };
	static char stack[4096];

	fflush(stdout);
	in = clean;
	printf("clone3: %s", error(clone3(&in.known, sizeof in.known)));
	printf(", longer %s", error(clone3(&in.known, sizeof in)));
	in.more[2] = 1;
	printf(", with more in it %s", error(clone3(&in.known, sizeof in)));
	printf(", short %s, huge %s\n", error(clone3(&in.known, 56)), error(clone3(&in.known, 8192)));
	in = clean;
	in.known.stack = (uintptr_t)stack;
	printf("stack without a size: %s", error(clone3(&in.known, sizeof in.known)));
	in.known.stack = 0, in.known.stack_size = 4096;
	printf(", size without a stack %s\n", error(clone3(&in.known, sizeof in.known)));
	in = clean;
	in.known.exit_signal = 65;
	printf("signal 65: %s", error(clone3(&in.known, sizeof in.known)));
	in.known.exit_signal = 0, in.known.flags = SIGCHLD;
	printf(", among the flags %s", error(clone3(&in.known, sizeof in.known)));
	in.known.flags = CLONE_PARENT, in.known.exit_signal = SIGCHLD;
	printf(", with CLONE_PARENT %s\n", error(clone3(&in.known, sizeof in.known)));
	in = clean;
	in.known.set_tid_size = 1;
	printf("numbers without a list: %s", error(clone3(&in.known, sizeof in.known)));
	in = clean;
	in.known.flags = CLONE_SIGHAND;
	printf(", handlers without memory %s", error(clone3(&in.known, sizeof in.known)));
	in.known.flags = CLONE_THREAD | CLONE_VM, in.known.exit_signal = 0;
	printf(", a thread without handlers %s", error(clone3(&in.known, sizeof in.known)));
	in.known.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND, in.known.exit_signal = SIGCHLD;
	printf(", shared and cleared %s", error(clone3(&in.known, sizeof in.known)));
	in.known.flags = 1ull << 40;
	printf(", unknown flag %s\n", error(clone3(&in.known, sizeof in.known)));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	readlink(SELF, own_path, sizeof own_path - 1);
	if (argc > 2 || argc == 2)
		return started(argv);
	chdir("/tmp");
	from_threads();
	robust();
	without_name();
	what_stays();
	scripts();
	arguments();
	groups();
	clones();
	return 0;
}
