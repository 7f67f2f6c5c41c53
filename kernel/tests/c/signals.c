// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: stack overflow: Segmentation fault, on the other stack 1
// Signals: handlers with information, masks, queues, the alternate stack, interrupted and restarted calls, timers, stop and
// continue, children, threads.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t seen[65], last_code, last_value, order[16], orders;
static char alternate[65536];

static void note(int number, siginfo_t *info, void *context)
{
	(void)context;
	seen[number]++;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
	if (orders < 16)
		order[orders++] = number;
}

static void on(int number, int flags)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | flags };

	sigaction(number, &action, NULL);
}

static sigjmp_buf back;
static void *fault_address;
static int on_alternate;

static void faulted(int number, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	fault_address = info->si_addr;
	on_alternate = &here > alternate && &here < alternate + sizeof alternate;
	siglongjmp(back, number);
}

static int overflow(volatile int n)
{
	volatile char frame[8192];

	frame[0] = n;
	return n < 0 ? n : overflow(n + 1) + frame[0];
}

static void faults(void)
{
	struct sigaction action = { .sa_sigaction = faulted, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	volatile int zero = 0, one = 1;
	int number;

	sigaltstack(&stack, NULL);
	for (number = 1; number < 16; number++)
		if (number == SIGSEGV || number == SIGFPE || number == SIGILL || number == SIGTRAP || number == SIGBUS)
			sigaction(number, &action, NULL);
	if (!(number = sigsetjmp(back, 1)))
		*(volatile char *)0x1234 = 1;
	printf("write to 0x1234: %s at %p, on the other stack %d\n", strsignal(number), fault_address, on_alternate);
	if (!(number = sigsetjmp(back, 1)))
		zero = one / zero;
	printf("divide: %s\n", strsignal(number));
	if (!(number = sigsetjmp(back, 1)))
		__asm__ volatile("ud2");
	printf("ud2: %s\n", strsignal(number));
	if (!(number = sigsetjmp(back, 1)))
		__asm__ volatile("int3");
	printf("int3: %s\n", strsignal(number));
	if (!(number = sigsetjmp(back, 1)))
		__asm__ volatile("hlt");
	printf("hlt: %s\n", strsignal(number));
	if (!(number = sigsetjmp(back, 1)))
		*(volatile char *)0x8000000000000000 = 1;
	printf("non-canonical: %s at %p\n", strsignal(number), fault_address);
	if (!(number = sigsetjmp(back, 1)))
		zero = overflow(0);
	printf("stack overflow: %s, on the other stack %d\n", strsignal(number), on_alternate);
}

static void masks(void)
{
	sigset_t set, pending;
	union sigval value = { .sival_int = 7 };

	on(SIGUSR1, 0); on(SIGUSR2, 0); on(SIGRTMIN, 0); on(SIGRTMIN + 1, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1); sigaddset(&set, SIGUSR2); sigaddset(&set, SIGRTMIN); sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR2); kill(getpid(), SIGUSR1); kill(getpid(), SIGUSR1);
	for (value.sival_int = 1; value.sival_int <= 3; value.sival_int++)
		sigqueue(getpid(), SIGRTMIN, value);
	sigqueue(getpid(), SIGRTMIN + 1, value);
	sigpending(&pending);
	printf("pending: USR1 %d, RTMIN %d, TERM %d, seen %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGRTMIN),
	       sigismember(&pending, SIGTERM), seen[SIGUSR1]);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	printf("seen: USR1 %d, USR2 %d, RTMIN %d, RTMIN+1 %d\n", seen[SIGUSR1], seen[SIGUSR2], seen[SIGRTMIN], seen[SIGRTMIN + 1]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	siginfo_t info;
	int number = sigwaitinfo(&set, &info);
	printf("sigwaitinfo: %d, from itself %d\n", number == SIGUSR1, info.si_pid == getpid());
	struct timespec soon = { 0, 10000000 };
	number = sigtimedwait(&set, &info, &soon);
	printf("sigtimedwait: %d %s\n", number, strerror(errno));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void calls(void)
{
	struct itimerval timer = { .it_value = { 0, 50000 } };
	int ends[2];
	char byte;

	if (pipe(ends))
		return;
	on(SIGALRM, 0);
	setitimer(ITIMER_REAL, &timer, NULL);
	ssize_t got = read(ends[0], &byte, 1);
	printf("read without SA_RESTART: %zd %s\n", got, got < 0 ? strerror(errno) : "");
	on(SIGALRM, SA_RESTART);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (fork() == 0) {
		usleep(150000);
		_exit(write(ends[1], "x", 1) != 1);
	}
	got = read(ends[0], &byte, 1);
	printf("read with SA_RESTART: %zd, alarms %d\n", got, seen[SIGALRM]);
	wait(NULL);
	struct timespec time = { 5, 0 }, left;
	setitimer(ITIMER_REAL, &timer, NULL);
	int slept = nanosleep(&time, &left);
	printf("nanosleep: %d %s, left %ld s\n", slept, strerror(errno), (long)left.tv_sec);
	timer.it_interval.tv_usec = 20000;
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int before = seen[SIGALRM]; seen[SIGALRM] < before + 4;)
		pause();
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, NULL);
	puts("four ticks");
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	got = write(ends[1], "x", 1);
	printf("write to nobody: %zd %s\n", got, strerror(errno));
}

static void children(void)
{
	int status, child, stay[2];
	siginfo_t info;
	char none;

	on(SIGCHLD, SA_RESTART);
	if (pipe(stay))
		perror("pipe");
	if ((child = fork()) == 0) {
		close(stay[1]);
		raise(SIGSTOP);
		// Not before the parent has seen that it goes on: its end would be told instead.
		(void)!read(stay[0], &none, 1);
		_exit(9);
	}
	waitpid(child, &status, WUNTRACED);
	printf("stopped %d by %s\n", WIFSTOPPED(status), strsignal(WSTOPSIG(status)));
	kill(child, SIGCONT);
	waitpid(child, &status, WCONTINUED);
	printf("continued %d\n", WIFCONTINUED(status));
	close(stay[0]);
	close(stay[1]);
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	waitpid(child, &status, 0);
	printf("ended %d with %d, code %d, status %d\n", WIFEXITED(status), WEXITSTATUS(status), info.si_code, info.si_status);
	if ((child = fork()) == 0)
		abort();
	waitpid(child, &status, 0);
	printf("aborted: %s\n", strsignal(WTERMSIG(status)));
	child = waitpid(-1, &status, WNOHANG);
	printf("no more: %d %s\n", child, strerror(errno));
}

static volatile sig_atomic_t told[NSIG];

static void count(int number)
{
	told[number]++;
}

// A process made with CLONE_PARENT reports to its maker's parent, and by the maker's signal: nobody sends others what they do not expect.
static void siblings(void)
{
	struct { unsigned long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } request = {
		.flags = CLONE_PARENT, .exit_signal = SIGUSR1,
	};
	int status, ended = 0, maker = -1, sibling = -1;
	pid_t child;

	memset((void *)told, 0, sizeof(told));
	signal(SIGUSR1, count);
	signal(SIGCHLD, count);
	child = fork();
	if (child == 0) {
		long made = syscall(SYS_clone, CLONE_PARENT | SIGUSR1, 0, 0, 0, 0);

		if (made == 0)
			_exit(5);
		long refused = syscall(SYS_clone3, &request, sizeof(request));

		_exit(made < 0 ? 6 : refused == -1 && errno == EINVAL ? 7 : 8);
	}
	while (ended < 2) {
		pid_t pid = waitpid(-1, &status, 0);

		if (pid > 0) {
			ended++;
			*(pid == child ? &maker : &sibling) = WEXITSTATUS(status);
		}
	}
	printf("the maker: %d, the sibling: %d\n", maker, sibling);
	printf("told by SIGUSR1: %d, by SIGCHLD: %d\n", told[SIGUSR1], told[SIGCHLD] > 0);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
}

static void *own_signal(void *argument)
{
	sigset_t set;
	int number;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigwait(&set, &number);
	return (void *)(long)number;
}

int main(void)
{
	pthread_t thread;
	sigset_t set;
	void *result;

	setvbuf(stdout, NULL, _IONBF, 0);
	masks();
	calls();
	children();
	siblings();
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&thread, NULL, own_signal, NULL);
	pthread_kill(thread, SIGHUP);
	pthread_join(thread, &result);
	printf("a thread's own: %s\n", strsignal((long)result));
	faults();
	signal(SIGTERM, SIG_DFL);
	raise(SIGTERM);
	return 1;
}
