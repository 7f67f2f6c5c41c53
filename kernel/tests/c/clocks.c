// SPDX-License-Identifier: MIT OR Apache-2.0
// Setting the wall clock: who may, to what, and when those go on that wait for a time of it.
// On Linux it prints: sleepers after a step of 1000 s: 0, ETIMEDOUT, ETIMEDOUT; who sleeps for a while still sleeps 1
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *error(long result) { return result < 0 ? strerrorname_np(errno) : "done"; }
static long settime(void *time, void *zone) { return syscall(SYS_settimeofday, time, zone); }
static long set(int clock, const void *time) { return syscall(SYS_clock_settime, clock, time); }

/* Seconds that the wall clock is ahead of the machine's own. */
static long ahead(void) {
    struct timespec wall, boot;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &boot);
    double seconds = (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9;
    return (long)(seconds + 0.5);
}
static void step(long seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += seconds;
    if (set(CLOCK_REALTIME, &now) != 0)
        printf("cannot step: %s\n", error(-1));
}

static void as_nobody(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct timeval now;
        struct timespec wall;
        struct timex change = {.modes = ADJ_SETOFFSET, .time.tv_sec = 1}, look = {0}, left = {.modes = ADJ_OFFSET_SS_READ};
        gettimeofday(&now, NULL);
        clock_gettime(CLOCK_REALTIME, &wall);
        if (setuid(65534) != 0)
            _exit(1);
        printf("nobody: %s", error(settime(&now, NULL)));
        printf(" %s", error(set(CLOCK_REALTIME, &wall)));
        printf(" %s", error(adjtimex(&change)));
        now.tv_usec = -1;
        wall.tv_nsec = -1;
        printf("; nonsense: %s", error(settime(&now, NULL)));
        printf(" %s", error(set(CLOCK_REALTIME, &wall)));
        printf("; looks: %d, %d, %ld\n", adjtimex(&look), adjtimex(&left), left.offset);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void refusals(void) {
    struct timeval micro = {1000000000, 1000001}, early = {0, 1}, late = {8277292036, 0}, negative = {-1, 0};
    struct timespec nano = {1000000000, 1000000000}, right = {1000000000, 0};
    int west[2] = {901, 0}, east[2] = {-901, 0};
    clockid_t own;
    clock_getcpuclockid(0, &own);
    printf("settimeofday: %s", error(settime(&micro, NULL)));
    printf(" %s", error(settime(&early, NULL)));
    printf(" %s", error(settime(&late, NULL)));
    printf(" %s", error(settime(&negative, NULL)));
    printf("; nowhere %s", error(settime((void *)8, NULL)));
    printf(" %s", error(settime(NULL, (void *)8)));
    printf("; nothing %s", error(settime(NULL, NULL)));
    printf("; zones %s", error(settime(NULL, west)));
    printf(" %s\n", error(settime(NULL, east)));
    printf("clock_settime: %s", error(set(CLOCK_REALTIME, &nano)));
    printf(" %s", error(set(CLOCK_REALTIME, (void *)8)));
    printf("; monotonic %s", error(set(CLOCK_MONOTONIC, &right)));
    printf("; boot %s", error(set(CLOCK_BOOTTIME, (void *)8)));
    printf("; TAI %s", error(set(CLOCK_TAI, &right)));
    printf("; CPU time %s", error(set(CLOCK_PROCESS_CPUTIME_ID, &right)));
    printf(" %s", error(set(own, &right)));
    printf("; none %s\n", error(set(99, &right)));
}

static void zones(void) {
    int none[2] = {0, 0}, west[2] = {60, 1};
    struct timeval now;
    struct timezone found;
    settime(NULL, none);
    long before = ahead();
    printf("a zone: %s", error(settime(NULL, west)));
    gettimeofday(&now, &found);
    printf(", %d %d, moved %ld\n", found.tz_minuteswest, found.tz_dsttime, ahead() - before);
    settime(NULL, none);
}

static uint32_t word;
static int ended;
static struct timespec at;
static void *sleeps(void *argument) {
    (void)argument;
    return (void *)(long)clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL);
}
static void *waits(void *argument) {
    (void)argument;
    long result = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 0, &at, NULL, ~0u);
    return (void *)(long)(result < 0 ? errno : 0);
}
static void *locks(void *argument) {
    (void)argument;
    static uint32_t lock;
    lock = (uint32_t)getpid();
    long result = syscall(SYS_futex, &lock, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, &at, NULL, 0);
    return (void *)(long)(result < 0 ? errno : 0);
}
static void *sleeps_for_a_while(void *argument) {
    (void)argument;
    struct timespec time = {500, 0};
    nanosleep(&time, NULL);
    __atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
static void asleep(int count) {
    /* All threads but this one. */
    for (int found = 0; found < count;) {
        found = 0;
        usleep(1000);
        char path[64], text[256];
        for (int tid = getpid() + 1; tid < getpid() + 64; tid++) {
            sprintf(path, "/proc/self/task/%d/stat", tid);
            FILE *file = fopen(path, "r");
            if (!file)
                continue;
            if (fgets(text, sizeof text, file) && strrchr(text, ')') && strrchr(text, ')')[2] == 'S')
                found++;
            fclose(file);
        }
    }
}
static const char *name(void *result) { return result ? strerrorname_np((int)(long)result) : "0"; }

static void sleepers(void) {
    void *(*const works[4])(void *) = {sleeps, waits, locks, sleeps_for_a_while};
    pthread_t threads[4];
    void *results[3];
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += 500;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, works[i], NULL);
    asleep(4);
    long before = ahead();
    step(1000);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], &results[i]);
    printf("sleepers after a step of %ld s: %s, %s, %s", ahead() - before, name(results[0]), name(results[1]), name(results[2]));
    printf("; who sleeps for a while still sleeps %d\n", !__atomic_load_n(&ended, __ATOMIC_SEQ_CST));
    pthread_cancel(threads[3]);
    pthread_join(threads[3], NULL);
    step(-1000);

    /* Back: what was nearly over is far away. */
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += 20;
    pthread_create(&threads[0], NULL, sleeps, NULL);
    pthread_create(&threads[1], NULL, waits, NULL);
    asleep(2);
    step(-3600);
    step(3600 - 10);
    usleep(50000);
    int early = (pthread_tryjoin_np(threads[0], NULL) == 0) + (pthread_tryjoin_np(threads[1], NULL) == 0);
    step(3600);
    pthread_join(threads[0], &results[0]);
    pthread_join(threads[1], &results[1]);
    printf("back and forth: %d too early, then %s, %s\n", early, name(results[0]), name(results[1]));
    step(-3590);
}

static void adjustments(void) {
    struct timex now = {0};
    int state = adjtimex(&now);
    printf("adjtimex: %d, status %#x, tick %ld, tolerance %ld, precision %ld, constant %ld, frequency %ld, offset %ld, tai %d, errors %ld %ld\n",
           state, now.status, now.tick, now.tolerance, now.precision, now.constant, now.freq, now.offset, now.tai,
           now.maxerror, now.esterror);
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    printf("the time is right %d\n", labs(wall.tv_sec - now.time.tv_sec) < 60);
    long before = ahead();
    struct timex forth = {.modes = ADJ_SETOFFSET, .time = {100, 500000}}, back = {.modes = ADJ_SETOFFSET | ADJ_NANO, .time = {-101, 500000000}};
    printf("forth: %d", adjtimex(&forth));
    long there = ahead();
    printf(", 100.5 s %d", there - before == 100 || there - before == 101);
    int result = (int)syscall(SYS_clock_adjtime, CLOCK_REALTIME, &back);
    printf("; back: %d, %ld", result, ahead() - before);
    struct timex bad = {.modes = ADJ_SETOFFSET, .time = {0, 1000000}}, negative = {.modes = ADJ_SETOFFSET, .time = {0, -1}};
    struct timex before_boot = {.modes = ADJ_SETOFFSET, .time = {-wall.tv_sec, 0}};
    printf("; refused: %s", error(adjtimex(&bad)));
    printf(" %s", error(adjtimex(&negative)));
    printf(" %s\n", error(adjtimex(&before_boot)));
    printf("other clocks: %s", error(syscall(SYS_clock_adjtime, CLOCK_MONOTONIC, &now)));
    printf(" %s", error(syscall(SYS_clock_adjtime, CLOCK_PROCESS_CPUTIME_ID, &now)));
    printf(" %s", error(syscall(SYS_clock_adjtime, 99, &now)));
    printf(" %s\n", error(syscall(SYS_clock_adjtime, CLOCK_REALTIME, (void *)8)));
}

int main(void) {
    refusals();
    as_nobody();
    zones();
    sleepers();
    adjustments();
    return 0;
}
