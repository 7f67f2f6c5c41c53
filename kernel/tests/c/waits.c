// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: one child for two threads: one got it, the other ECHILD
// Waiting for children: who gets which, with which options, in which order; stop and continue; threads that outlive the first.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *error(long result)
{
	return result < 0 ? strerrorname_np(errno) : "no error";
}

static pid_t child_that(int status)
{
	pid_t child = fork();

	if (!child)
		_exit(status);
	return child;
}

static void show(const char *what, const siginfo_t *info, pid_t child)
{
	printf("%s: signal %d, code %d, status %d, the child's number %d\n", what, info->si_signo, info->si_code,
	       info->si_status, info->si_pid == child);
}

static void options(void)
{
	siginfo_t info;
	int status;
	pid_t child = child_that(3);

	memset(&info, 0, sizeof info);
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	show("left as it is", &info, child);
	waitid(P_PID, child, &info, WEXITED);
	show("taken", &info, child);
	memset(&info, 0xff, sizeof info);
	printf("again: %s", error(waitid(P_PID, child, &info, WEXITED)));
	printf(", signal %d, status %d\n", info.si_signo, info.si_status);
	printf("no options: %s\n", error(waitid(P_ALL, 0, &info, WNOHANG)));
	printf("unknown option: %s\n", error(waitid(P_ALL, 0, &info, WEXITED | 0x100)));
	printf("unknown kind: %s\n", error(waitid(9, 0, &info, WEXITED)));
	printf("process 0: %s\n", error(waitid(P_PID, 0, &info, WEXITED)));
	printf("group -2: %s\n", error(waitid(P_PGID, -2, &info, WEXITED)));
	printf("a file for a process: %s\n", error(waitid(P_PIDFD, 0, &info, WEXITED)));
	printf("wait4 with WNOWAIT: %s\n", error(wait4(-1, &status, WNOWAIT, NULL)));
	printf("wait4 of INT_MIN: %s\n", error(syscall(SYS_wait4, (1 << 31), 0, 0, 0)));
	child = child_that(4);
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	printf("bad pointer: %s\n", error(syscall(SYS_wait4, child, 8, 0, 0)));
	printf("and the child: %s\n", error(waitpid(child, NULL, 0)));
	child = fork();
	if (!child)
		pause();
	memset(&info, 0xff, sizeof info);
	printf("nothing yet: %s", error(waitid(P_PID, child, &info, WEXITED | WNOHANG)));
	printf(", signal %d, number %d\n", info.si_signo, info.si_pid);
	kill(child, SIGSTOP);
	waitid(P_PID, child, &info, WSTOPPED);
	show("stopped", &info, child);
	printf("told once: %d\n", waitpid(child, &status, WUNTRACED | WNOHANG));
	kill(child, SIGCONT);
	waitid(P_PID, child, &info, WCONTINUED | WNOWAIT);
	show("continued", &info, child);
	waitpid(child, &status, WCONTINUED);
	printf("in wait4's form: %#x\n", status);
	kill(child, SIGTERM);
	waitid(P_PGID, 0, &info, WEXITED);
	show("killed", &info, child);
}

static void *wait_in_thread(void *argument)
{
	int status;
	pid_t got = waitpid(*(pid_t *)argument, &status, 0);

	return (void *)(long)(got > 0 ? 1 : -errno);
}

static void two_threads(void)
{
	int both = 0, none = 0, turn;

	for (turn = 0; turn < 50; turn++) {
		pthread_t threads[2];
		pid_t child = child_that(0);
		void *result;
		int got = 0, missed = 0, n;

		for (n = 0; n < 2; n++)
			pthread_create(&threads[n], NULL, wait_in_thread, &child);
		for (n = 0; n < 2; n++) {
			pthread_join(threads[n], &result);
			got += (long)result == 1;
			missed += (long)result == -ECHILD;
		}
		both += got > 1;
		none += got + missed != 2;
	}
	printf("one child for two threads: %s\n", both || none ? "not so" : "one got it, the other ECHILD");
}

static int clone_body(void *argument)
{
	(void)argument;
	return 5;
}

static void clones(void)
{
	static char stack[65536];
	int status = 0;
	pid_t child = clone(clone_body, stack + sizeof stack, 0, NULL);

	printf("a clone without a signal, waited for as a child: %s\n", error(waitpid(child, &status, 0)));
	printf("with __WCLONE: %d", waitpid(child, &status, __WCLONE) == child);
	printf(", status %d\n", WEXITSTATUS(status));
	signal(SIGUSR1, SIG_IGN);
	child = clone(clone_body, stack + sizeof stack, SIGUSR1, NULL);
	printf("a clone with SIGUSR1, with __WALL: %d\n", waitpid(child, &status, __WALL) == child);
	child = child_that(0);
	printf("a child with __WCLONE: %s\n", error(waitpid(child, &status, __WCLONE)));
	printf("a child with __WNOTHREAD: %d\n", waitpid(child, &status, __WNOTHREAD) == child);
}

static volatile sig_atomic_t told;

static void on_child(int number)
{
	(void)number;
	told++;
}

static void unwanted(void)
{
	struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_NOCLDWAIT };

	sigaction(SIGCHLD, &action, NULL);
	child_that(0);
	printf("SA_NOCLDWAIT: %s", error(wait(NULL)));
	printf(", SIGCHLD came %d\n", told);
	signal(SIGCHLD, SIG_IGN);
	child_that(0);
	printf("SIGCHLD ignored: %s\n", error(wait(NULL)));
	signal(SIGCHLD, SIG_DFL);
}

static void *ends_process(void *argument)
{
	usleep(20000);
	if (argument)
		exit((long)argument);
	return NULL;
}

static void first_thread_ends(void)
{
	long codes[] = { 0, 9 };
	int turn, status;

	for (turn = 0; turn < 2; turn++) {
		pid_t child = fork();

		if (!child) {
			pthread_t thread;

			pthread_create(&thread, NULL, ends_process, (void *)codes[turn]);
			syscall(SYS_exit, 7);
		}
		usleep(10000);
		if (!turn) {
			char path[64], line[256] = "", *state;
			FILE *file;

			snprintf(path, sizeof path, "/proc/%d/stat", child);
			file = fopen(path, "r");
			state = file && fgets(line, sizeof line, file) ? strrchr(line, ')') + 2 : "?";
			printf("the first thread has ended, state %c, kill %d, tgkill %d\n", *state, kill(child, 0),
			       (int)syscall(SYS_tgkill, child, child, 0));
			if (file)
				fclose(file);
		}
		waitpid(child, &status, 0);
		printf("first thread with 7, then %s: status %d\n", turn ? "exit(9) of another" : "the others by themselves",
		       WEXITSTATUS(status));
	}
}

static void subreaper(void)
{
	int status, ends[2];
	pid_t child, orphan = 0, got;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pipe(ends);
	child = fork();
	if (!child) {
		orphan = fork();
		if (!orphan) {
			close(ends[1]);
			read(ends[0], &status, 1);
			_exit(getppid() == 1 ? 1 : 42);
		}
		write(ends[1], &orphan, 0);
		_exit(0);
	}
	waitpid(child, &status, 0);
	close(ends[1]);
	got = wait(&status);
	printf("an orphan comes to the subreaper: %d, status %d\n", got > 0 && got != child, WEXITSTATUS(status));
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void *dies(void *argument)
{
	pid_t child = fork();

	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		*(volatile int *)argument = 1;
		write(((int *)argument)[1], "", 1);
		for (;;)
			pause();
	}
	return (void *)(long)child;
}

static void death_signal(void)
{
	int ends[2], shared[2], status, value = -1;
	pthread_t thread;
	pid_t maker;
	char byte;

	printf("PR_SET_PDEATHSIG 65: %s\n", error(prctl(PR_SET_PDEATHSIG, 65)));
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	prctl(PR_GET_PDEATHSIG, &value);
	printf("PR_GET_PDEATHSIG: %d\n", value);
	prctl(PR_SET_PDEATHSIG, 0);
	/* Before there is a child that may be gone at once. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pipe(ends);
	shared[1] = ends[1];
	maker = fork();
	if (!maker) {
		/* The thread that made the grandchild waits until that is ready, and ends. */
		pid_t grandchild = (pid_t)(long)dies(shared);

		(void)grandchild;
		read(ends[0], &byte, 1);
		pthread_create(&thread, NULL, ends_process, (void *)0);
		if (waitpid(grandchild, &status, WNOHANG))
			_exit(1);
		syscall(SYS_exit, 0);
	}
	waitpid(maker, &status, 0);
	printf("the maker: %d\n", WEXITSTATUS(status));
	wait(&status);
	printf("its child: killed by %d\n", WTERMSIG(status));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	options();
	two_threads();
	clones();
	unwanted();
	first_thread_ends();
	subreaper();
	death_signal();
	return 0;
}
