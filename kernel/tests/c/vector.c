// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: child 0, ticks came
// Floating-point and vector state: x87, SSE and AVX registers of many threads and processes stay their own across switches,
// signals and fork. Without AVX the same is done with SSE alone; `cargo exo` gives both kernels the same processor.
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 400 };

static volatile sig_atomic_t ticks;

// The handler spoils every register that it may.
__attribute__((target("avx"))) static void tick(int number)
{
	(void)number;
	ticks++;
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0\n"
				 "vmovaps %%ymm0, %%ymm7\n vmovaps %%ymm0, %%ymm15" ::: "xmm0", "xmm7", "xmm15");
	else
		__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm7\n movaps %%xmm0, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
}

// Puts a pattern into registers, lets others run, and looks whether it is still there.
__attribute__((target("avx"))) static int keep_avx(unsigned pattern)
{
	unsigned in[8], low[8], high[8], bad = 0;

	for (int i = 0; i < 8; i++)
		in[i] = pattern * 2654435761u + i;
	for (int round = 0; round < ROUNDS; round++) {
		long number = 24; // sched_yield
		__asm__ volatile("vmovups (%1), %%ymm0\n vmovaps %%ymm0, %%ymm7\n vmovaps %%ymm0, %%ymm15\n"
				 "syscall\n"
				 "vmovups %%ymm7, (%2)\n vmovups %%ymm15, (%3)\n vzeroupper"
				 : "+a"(number)
				 : "r"(in), "r"(low), "r"(high)
				 : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15");
		bad += memcmp(in, low, sizeof in) != 0 || memcmp(in, high, sizeof in) != 0;
	}
	return bad;
}

static int keep_sse(unsigned pattern)
{
	unsigned in[4] = { pattern, ~pattern, pattern * 3, pattern + 9 }, out[4], bad = 0;

	for (int round = 0; round < ROUNDS; round++) {
		long number = 24;
		__asm__ volatile("movups (%1), %%xmm9\n syscall\n movups %%xmm9, (%2)"
				 : "+a"(number) : "r"(in), "r"(out) : "rcx", "r11", "memory", "xmm9");
		bad += memcmp(in, out, sizeof in) != 0;
	}
	return bad;
}

static void *work(void *argument)
{
	long number = (long)argument, bad = keep_sse(number + 1);
	long double sum = 0;
	double series = 0;

	if (__builtin_cpu_supports("avx"))
		bad += keep_avx(number + 77);
	fesetround(number % 2 ? FE_UPWARD : FE_DOWNWARD);
	for (int i = 1; i < 20000; i++) {
		sum += 1.0L / ((long double)i * (i + number + 1));
		series += sin(i * 0.001) * number;
		if (i % 500 == 0)
			sched_yield();
	}
	int mode = fegetround();
	static long double sums[THREADS];
	sums[number] = sum;
	bad += mode != (number % 2 ? FE_UPWARD : FE_DOWNWARD);
	static char lines[THREADS][128];
	snprintf(lines[number], sizeof lines[number], "%ld: %.18Lg %.15g bad %ld", number, sums[number], series, bad);
	return lines[number];
}

int main(void)
{
	pthread_t threads[THREADS];
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	void *line;
	int status;

	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int process = 0; process < 2; process++)
		if (process == 1 || fork() == 0) {
			if (process == 0)
				setitimer(ITIMER_REAL, &timer, NULL);
			for (long i = 0; i < THREADS; i++)
				pthread_create(&threads[i], NULL, work, (void *)i);
			if (process == 1)
				wait(&status);
			for (int i = 0; i < THREADS; i++) {
				pthread_join(threads[i], &line);
				printf("process %d, thread %s\n", process, (char *)line);
			}
			fflush(stdout);
			if (process == 0)
				_exit(0);
		}
	printf("child %d, ticks %s\n", status, ticks > 0 ? "came" : "did not come");
	return 0;
}
