// SPDX-License-Identifier: MIT OR Apache-2.0
// Waiting for several futexes at once.
// On Linux it prints: woken 2; 127; 0
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Older headers do not have them. */
#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U8 0
#define FUTEX2_SIZE_U32 2
#define FUTEX2_PRIVATE FUTEX_PRIVATE_FLAG
#endif

enum { MOST = 128 };
static uint32_t words[MOST + 1];
static struct futex_waitv list[MOST + 1];
static const char *error(long result) { return result < 0 ? strerrorname_np(errno) : "done"; }
static long waitv(void *all, unsigned count, unsigned flags, void *time, int clock) {
    return syscall(SYS_futex_waitv, all, count, flags, time, clock);
}
static void fill(unsigned flags) {
    for (int i = 0; i <= MOST; i++)
        list[i] = (struct futex_waitv){.val = words[i], .uaddr = (uintptr_t)&words[i], .flags = FUTEX2_SIZE_U32 | flags};
}

static void refusals(void) {
    struct timespec past = {1, 0}, bad = {1, -1};
    fill(FUTEX2_PRIVATE);
    printf("none %s", error(waitv(list, 0, 0, &past, CLOCK_MONOTONIC)));
    printf(", too many %s", error(waitv(list, MOST + 1, 0, &past, CLOCK_MONOTONIC)));
    printf(", flags %s", error(waitv(list, 1, 1, &past, CLOCK_MONOTONIC)));
    printf(", no list %s", error(waitv(NULL, 1, 0, &past, CLOCK_MONOTONIC)));
    printf(", nowhere %s", error(waitv((void *)8, 1, 0, &past, CLOCK_MONOTONIC)));
    printf(", no time %s", error(waitv(list, 1, 0, &bad, CLOCK_MONOTONIC)));
    printf(" %s", error(waitv(list, 1, 0, (void *)8, CLOCK_MONOTONIC)));
    printf(", another clock %s\n", error(waitv(list, 1, 0, &past, CLOCK_BOOTTIME)));
    list[1].flags = FUTEX2_SIZE_U8;
    printf("size %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    list[1].flags = FUTEX2_SIZE_U32 | 0x40;
    printf(", flags %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    fill(FUTEX2_PRIVATE);
    list[1].__reserved = 1;
    printf(", reserved %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    fill(FUTEX2_PRIVATE);
    list[1].val = 1ull << 32;
    printf(", wide %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    list[1].val = 1;
    printf(", another value %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    fill(FUTEX2_PRIVATE);
    list[1].uaddr += 2;
    printf(", unaligned %s", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    list[1].uaddr = 8;
    printf(", unmapped %s\n", error(waitv(list, 2, 0, &past, CLOCK_MONOTONIC)));
    fill(FUTEX2_PRIVATE);
    printf("over: %s", error(waitv(list, MOST, 0, &past, CLOCK_MONOTONIC)));
    printf(" %s", error(waitv(list, MOST, 0, &past, CLOCK_REALTIME)));
    struct timespec soon;
    clock_gettime(CLOCK_MONOTONIC, &soon);
    soon.tv_nsec += 20000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    printf("; soon: %s\n", error(waitv(list, 1, 0, &soon, CLOCK_MONOTONIC)));
}

static long result;
static unsigned how_many;
static int tid;
static void *waits(void *argument) {
    (void)argument;
    __atomic_store_n(&tid, gettid(), __ATOMIC_SEQ_CST);
    result = waitv(list, how_many, 0, NULL, 0);
    if (result < 0)
        result = -errno;
    return NULL;
}
static void asleep(int of) {
    char path[64], text[256], state = 0;
    sprintf(path, "/proc/self/task/%d/stat", of);
    while (state != 'S') {
        usleep(1000);
        FILE *file = fopen(path, "r");
        if (file && fgets(text, sizeof text, file) && strrchr(text, ')'))
            state = strrchr(text, ')')[2];
        if (file)
            fclose(file);
    }
}
static pthread_t begin(unsigned count) {
    pthread_t thread;
    how_many = count;
    tid = 0;
    pthread_create(&thread, NULL, waits, NULL);
    while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
        usleep(1000);
    asleep(tid);
    return thread;
}
static long woken_by(unsigned count, int word, unsigned flags) {
    fill(flags);
    pthread_t thread = begin(count);
    long count_woken = syscall(SYS_futex, &words[word], FUTEX_WAKE | (flags ? FUTEX_PRIVATE_FLAG : 0), 5, NULL, NULL, 0);
    pthread_join(thread, NULL);
    return count_woken == 1 ? result : -1;
}

static void handler(int number) { (void)number; }

int main(void) {
    refusals();
    printf("woken %ld; %ld; %ld\n", woken_by(3, 2, FUTEX2_PRIVATE), woken_by(MOST, MOST - 1, 0), woken_by(1, 0, 0));
    /* The same word twice: both entries are woken. */
    fill(FUTEX2_PRIVATE);
    list[1].uaddr = list[0].uaddr;
    pthread_t thread = begin(2);
    long count = syscall(SYS_futex, &words[0], FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0);
    pthread_join(thread, NULL);
    printf("twice: woken %ld, %ld\n", count, result);
    fill(FUTEX2_PRIVATE);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    thread = begin(4);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    printf("a signal: %s\n", strerrorname_np((int)-result));
    /* Shared memory, from another process. */
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        while (syscall(SYS_futex, &shared[1], FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
            usleep(1000);
        _exit(0);
    }
    fill(0);
    list[1].uaddr = (uintptr_t)&shared[1];
    printf("from another process: %ld\n", waitv(list, 2, 0, NULL, 0));
    waitpid(child, NULL, 0);
    return 0;
}
