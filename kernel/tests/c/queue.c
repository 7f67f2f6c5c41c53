// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: fault with a full queue: SIGSEGV handled 1, code 1
// Signals when their queue is full, when the thread that should take them blocks them or ends, and when their frame cannot be written.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int *volatile nowhere = (int *)8;
static volatile sig_atomic_t handled, last_code, last_pid_is_own;

static void note(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	handled++;
	last_code = info->si_code;
	last_pid_is_own = info->si_pid == getpid();
}

static void faulted(int number, siginfo_t *info, void *context)
{
	(void)context;
	handled++;
	last_code = info->si_code;
	siglongjmp(back, number);
}

static void on(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigaction(number, &action, NULL);
}

static void block(int how, int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(how, &set, NULL);
}

static void full_queue(void)
{
	struct rlimit limit = { 16, 16 };
	volatile int count = 0;

	setrlimit(RLIMIT_SIGPENDING, &limit);
	block(SIG_BLOCK, SIGRTMIN + 1);
	block(SIG_BLOCK, SIGUSR1);
	while (count < 1000 && !sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = count }))
		count++;
	printf("queued up to the limit %d, then %s\n", count >= 10 && count <= 16, strerror(errno));
	printf("tgkill of a real-time signal: %s\n",
	       syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN + 2) ? strerror(errno) : "sent");
	printf("kill of a real-time signal: %d\n", kill(getpid(), SIGRTMIN + 1));
	printf("sigqueue of a standard signal: %d\n", sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 7 }));
	on(SIGUSR1, note, 0);
	handled = 0;
	block(SIG_UNBLOCK, SIGUSR1);
	printf("it came %d, code %d, from this process %d\n", handled, last_code, last_pid_is_own);
	handled = 0;
	kill(getpid(), SIGUSR1);
	printf("kill of a standard signal came %d, code %d, from this process %d\n", handled, last_code, last_pid_is_own);
	handled = 0;
	on(SIGSEGV, faulted, 0);
	if (!sigsetjmp(back, 1))
		*nowhere = 1;
	printf("fault with a full queue: SIGSEGV handled %d, code %d\n", handled, last_code);
	on(SIGRTMIN + 1, note, 0);
	handled = 0;
	block(SIG_UNBLOCK, SIGRTMIN + 1);
	printf("all that were queued came %d\n", handled == count);
	if (!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 1 }))
		printf("and there is room again\n");
}

/* Runs `body` in a child and says how it ended. */
static void in_child(const char *what, void (*body)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		body();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s: killed by %s\n", what, strsignal(WTERMSIG(status)));
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
}

static char alternate[65536];

static void on_alternate(int number, siginfo_t *info, void *context)
{
	static const char text[] = "handler of SIGSEGV on the other stack\n";

	(void)info, (void)context;
	write(1, text, sizeof text - 1);
	_exit(number);
}

static void spoil_stack_and_signal(void)
{
	/* The stack pointer goes where nothing can be written; the signal to itself comes on the way back from the call. */
	__asm__ volatile("mov %0, %%rsp\n\tsyscall\n\tud2"
			 : : "r"(0x1000L), "a"(SYS_tgkill), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1) : "memory");
}

static void no_room_with_handler(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };

	sigaltstack(&stack, NULL);
	on(SIGUSR1, note, 0);
	on(SIGSEGV, on_alternate, SA_ONSTACK);
	spoil_stack_and_signal();
}

static void no_room_blocked(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };

	sigaltstack(&stack, NULL);
	on(SIGUSR1, note, 0);
	on(SIGSEGV, on_alternate, SA_ONSTACK);
	block(SIG_BLOCK, SIGSEGV);
	spoil_stack_and_signal();
}

static void no_room_without(void)
{
	signal(SIGSEGV, SIG_DFL);
	on(SIGUSR1, note, 0);
	spoil_stack_and_signal();
}

static void no_room_for_segv(void)
{
	on(SIGSEGV, note, 0);
	__asm__ volatile("mov %0, %%rsp\n\tpush %%rax\n\tud2" : : "r"(0x1000L) : "memory");
}

static volatile int ready, go;

static void *blocks_and_ends(void *argument)
{
	(void)argument;
	ready = 1;
	while (!go)
		usleep(1000);
	return NULL;
}

static void *takes(void *argument)
{
	struct timespec moment = { 0, 1000000 };
	int turn;

	(void)argument;
	block(SIG_UNBLOCK, SIGUSR2);
	for (turn = 0; turn < 2000 && !handled; turn++)
		nanosleep(&moment, NULL);
	return NULL;
}

static void *waits_for_it(void *argument)
{
	sigset_t set;
	siginfo_t info;
	struct timespec limit = { 2, 0 };

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ready = 1;
	return (void *)(long)(sigtimedwait(&set, &info, &limit) == SIGUSR2);
}

static void handed_on(void)
{
	pthread_t first, second;
	void *got;

	on(SIGUSR2, note, 0);
	block(SIG_BLOCK, SIGUSR2);
	pthread_create(&first, NULL, blocks_and_ends, NULL);
	while (!ready)
		usleep(1000);
	kill(getpid(), SIGUSR2);
	handled = 0;
	pthread_create(&second, NULL, takes, NULL);
	pthread_join(second, NULL);
	printf("a signal that all blocked came when a thread no longer did: %d\n", handled);
	go = 1;
	pthread_join(first, NULL);
	ready = 0;
	pthread_create(&first, NULL, waits_for_it, NULL);
	while (!ready)
		usleep(1000);
	usleep(10000);
	kill(getpid(), SIGUSR2);
	pthread_join(first, &got);
	printf("a thread that waits for a blocked signal of the process gets it: %ld\n", (long)got);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	in_child("frame without room, handler on another stack", no_room_with_handler);
	in_child("frame without room, SIGSEGV blocked", no_room_blocked);
	in_child("frame without room, no handler", no_room_without);
	in_child("frame of SIGSEGV without room", no_room_for_segv);
	in_child("threads", handed_on);
	in_child("full queue", full_queue);
	return 0;
}
