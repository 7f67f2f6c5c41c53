// SPDX-License-Identifier: MIT OR Apache-2.0
// POSIX timers: what is refused, what comes with their signals, what they count, and what ends them.
// On Linux it prints: two timers of one signal and a kill: 3 signals, 2 of timers
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

#define MS 1000000L

static long create(int clock, void *event, int *id) { return syscall(SYS_timer_create, clock, event, id); }
static long delete(int id) { return syscall(SYS_timer_delete, id); }
static long overrun(int id) { return syscall(SYS_timer_getoverrun, id); }
static long get(int id, void *to) { return syscall(SYS_timer_gettime, id, to); }
static long put(int id, int flags, const void *new, void *old) { return syscall(SYS_timer_settime, id, flags, new, old); }

static int made(int clock, int notify, int number, int value) {
    struct sigevent event = {.sigev_notify = notify, .sigev_signo = number, .sigev_value.sival_int = value};
    int id = -1;
    if (create(clock, &event, &id) != 0)
        printf("timer_create: %s\n", said(-1));
    return id;
}
static long start(int id, long ns, long interval) {
    struct itimerspec new = {{interval / 1000000000, interval % 1000000000}, {ns / 1000000000, ns % 1000000000}};
    return put(id, 0, &new, NULL);
}
static void nap(long ns) {
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    while (nanosleep(&time, &time) != 0)
        ;
}
/* Takes a signal of the set within 5 s, or at once if `now`. */
static int take(int number, siginfo_t *info, int now) {
    sigset_t set;
    struct timespec limit = {now ? 0 : 5, 0};
    sigemptyset(&set);
    sigaddset(&set, number);
    return sigtimedwait(&set, info, &limit);
}
static int is_off(int id) {
    struct itimerspec now;
    return get(id, &now) == 0 && now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0;
}

static void refusals(void) {
    struct sigevent event = {.sigev_notify = 7, .sigev_signo = SIGUSR1};
    struct itimerspec nonsense = {{0, 0}, {0, 1000000000}}, right = {{0, 0}, {1, 0}};
    int id = 0, none = 4711;

    TRY(create(CLOCK_MONOTONIC_RAW, NULL, &id));
    TRY(create(CLOCK_REALTIME_COARSE, NULL, &id));
    TRY(create(10, NULL, &id));
    TRY(create(99, NULL, &id));
    TRY(create(CLOCK_REALTIME, (void *)8, &id));
    TRY(create(CLOCK_REALTIME, NULL, (void *)8));
    TRY(create(CLOCK_REALTIME, &event, &id));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 0;
    TRY(create(CLOCK_REALTIME, &event, &id));
    event.sigev_signo = 65;
    TRY(create(CLOCK_REALTIME, &event, &id));
    event.sigev_notify = SIGEV_NONE;
    TRY(create(CLOCK_REALTIME, &event, &id));
    TRY(put(id, 0, NULL, NULL));
    TRY(put(id, 0, (void *)8, NULL));
    TRY(put(id, 0, &nonsense, NULL));
    TRY(put(id, 0, &right, (void *)8));
    TRY(get(id, (void *)8));
    TRY(delete(id));
    TRY(delete(id));
    TRY(put(none, 0, &right, NULL));
    TRY(put(none, 0, NULL, NULL));
    TRY(get(none, &right));
    TRY(overrun(none));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = 1;
    TRY(create(CLOCK_REALTIME, &event, &id));
    event.sigev_signo = 0;
    event._sigev_un._tid = getpid();
    TRY(create(CLOCK_REALTIME, &event, &id));
}

static void what_comes(void) {
    siginfo_t info;
    int id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 4711);

    TRY(start(id, 10 * MS, 0));
    int came = take(SIGRTMIN, &info, 0) == SIGRTMIN;
    printf("signal %s, code %d, value %d, overrun %d, timer's number %s\n", came ? "came" : "lost",
           info.si_code, info.si_value.sival_int, info.si_overrun, info.si_timerid == id ? "right" : "wrong");
    printf("once: %s\n", is_off(id) ? "off" : "still on");
    TRY(delete(id));
    TRY(create(CLOCK_MONOTONIC, NULL, &id));
    TRY(start(id, 1, 0));
    came = take(SIGALRM, &info, 0);
    printf("by default: %s, its value the number: %d\n", strsignal(came), info.si_value.sival_int == id);
    TRY(delete(id));
}

static void counts(void) {
    siginfo_t info;
    struct itimerspec now;
    int id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0);

    TRY(start(id, MS, MS));
    nap(100 * MS);
    take(SIGRTMIN, &info, 0);
    printf("missed: %s, the same told later: %d\n", info.si_overrun >= 98 && info.si_overrun < 5000 ? "all" : "too few or many",
           overrun(id) == info.si_overrun);
    TRY(get(id, &now));
    printf("left: %s, interval %ld\n", now.it_value.tv_sec == 0 && now.it_value.tv_nsec <= MS ? "less than an interval" : "more",
           now.it_interval.tv_nsec);
    TRY(start(id, 0, MS));
    printf("stopped: %s, pending: %d\n", is_off(id) ? "off" : "on", take(SIGRTMIN, &info, 1) >= 0);
    TRY(start(id, 1, 1));
    nap(10 * MS);
    take(SIGRTMIN, &info, 0);
    printf("an interval of a nanosecond: %s\n", info.si_overrun > 1000000 ? "counted" : "lost");
    TRY(delete(id));
    printf("deleted: pending %d\n", take(SIGRTMIN, &info, 1) >= 0);
    id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0);
    TRY(start(id, 1, 0));
    nap(10 * MS);
    TRY(start(id, 3600000 * MS, 0));
    printf("set anew: pending %d\n", take(SIGRTMIN, &info, 1) >= 0);
    TRY(delete(id));
}

static void several(void) {
    siginfo_t info;
    int one = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1), two = made(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 2), all = 0, timers = 0;

    kill(getpid(), SIGUSR1);
    start(one, 1, 0);
    start(two, 1, 0);
    nap(10 * MS);
    while (take(SIGUSR1, &info, 1) == SIGUSR1) {
        all++;
        timers += info.si_code == SI_TIMER;
    }
    printf("two timers of one signal and a kill: %d signals, %d of timers\n", all, timers);
    delete(one);
    delete(two);
}

static volatile int handled;
static void handler(int number) { handled += number == SIGUSR2; }

static void ignored(void) {
    sigset_t set;
    int id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 0);

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGUSR2, SIG_IGN);
    TRY(start(id, MS, MS));
    nap(10 * MS);
    signal(SIGUSR2, handler);
    nap(20 * MS);
    printf("ignored, then not: %s\n", handled > 0 ? "goes on" : "dead");
    TRY(delete(id));
    handled = 0;
    id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 0);
    TRY(start(id, MS, 10 * MS));
    for (int i = 0; i < 1000 && handled < 3; i++)
        nap(5 * MS);
    printf("handled: %s\n", handled >= 3 ? "again and again" : "too seldom");
    TRY(delete(id));
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void nobody_told(void) {
    struct itimerspec now;
    int id = made(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);

    TRY(start(id, 3600000 * MS, 0));
    TRY(get(id, &now));
    printf("of an hour: %s\n", now.it_value.tv_sec >= 3590 && now.it_value.tv_sec < 3600 ? "nearly all left" : "wrong");
    TRY(start(id, 1, 0));
    nap(MS);
    printf("after it: %s\n", is_off(id) ? "off" : "on");
    TRY(start(id, 1, 1000 * MS));
    nap(MS);
    TRY(get(id, &now));
    printf("one that repeats: %s left of %ld s\n", now.it_value.tv_sec == 0 && now.it_value.tv_nsec > 0 ? "a part" : "nothing",
           now.it_interval.tv_sec);
    TRY(delete(id));
}

static void cpu_time(void) {
    siginfo_t info;
    const int clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};

    for (int i = 0; i < 2; i++) {
        struct timespec used;
        int id = made(clocks[i], SIGEV_SIGNAL, SIGRTMIN, i);
        clock_gettime(clocks[i], &used);
        long from = used.tv_sec * 1000 + used.tv_nsec / MS;
        start(id, 50 * MS, 0);
        nap(100 * MS);
        printf("CPU time of who sleeps: %s", take(SIGRTMIN, &info, 1) < 0 ? "stands" : "runs");
        while (take(SIGRTMIN, &info, 1) < 0)
            ;
        clock_gettime(clocks[i], &used);
        printf(", came after %s\n", used.tv_sec * 1000 + used.tv_nsec / MS - from >= 50 ? "enough of it" : "too little");
        TRY(delete(id));
    }
}

static void *waits(void *arg) {
    siginfo_t info;
    *(pid_t *)arg = gettid();
    return (void *)(long)(take(SIGRTMIN, &info, 0) == SIGRTMIN && info.si_value.sival_int == 77);
}

static void one_thread(void) {
    volatile pid_t tid = 0;
    pthread_t thread;
    void *got;
    siginfo_t info;
    int id;

    pthread_create(&thread, NULL, waits, (void *)&tid);
    while (tid == 0)
        nap(MS);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    event._sigev_un._tid = tid;
    TRY(create(CLOCK_MONOTONIC, &event, &id));
    TRY(start(id, MS, 0));
    pthread_join(thread, &got);
    printf("a thread's own: %s, another's: %d\n", got ? "came" : "lost", take(SIGRTMIN, &info, 1) >= 0);
    TRY(start(id, MS, 0));
    nap(10 * MS);
    printf("after its end: %d\n", take(SIGRTMIN, &info, 1) >= 0);
    TRY(delete(id));
}

static void families(const char *self) {
    struct itimerspec now;
    int id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0);

    start(id, 3600000 * MS, 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        printf("in a child: %s\n", said(get(id, &now)));
        fflush(stdout);
        char number[16];
        id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0);
        start(id, 3600000 * MS, 0);
        snprintf(number, sizeof(number), "%d", id);
        execl(self, self, number, NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    TRY(get(id, &now));
    TRY(delete(id));
}

static void limit(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit three = {3, 3};
        int id, count = 0;
        if (setuid(4711) != 0 || setrlimit(RLIMIT_SIGPENDING, &three) != 0)
            _exit(1);
        while (count < 10 && create(CLOCK_MONOTONIC, NULL, &id) == 0)
            count++;
        printf("with a limit of 3 signals: %d timers, then %s\n", count, said(-1));
        TRY(delete(1));
        TRY(create(CLOCK_MONOTONIC, NULL, &id));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void listed(void) {
    char text[4096] = "", *at = text;
    int id = made(CLOCK_MONOTONIC, SIGEV_SIGNAL, 35, 3), other = made(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0);
    int fd = open("/proc/self/timers", O_RDONLY);

    if (read(fd, text, sizeof(text) - 1) < 0)
        printf("timers: %s\n", said(-1));
    close(fd);
    for (char *line; (line = strsep(&at, "\n")) && *line;) {
        char *number = strstr(line, "pid.");
        if (strncmp(line, "ID:", 3) == 0)
            printf("%s\n", atoi(line + 4) == id || atoi(line + 4) == other ? "a timer" : "another");
        else if (number)
            printf("%.*s%s\n", (int)(number - line), line, atoi(number + 4) == getpid() ? "itself" : "another");
        else
            printf("%s\n", line);
    }
    delete(id);
    delete(other);
}

static void wall_clock(void) {
    siginfo_t info;
    struct timespec now;
    int absolute = made(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN, 1), relative = made(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 1, 2);

    clock_gettime(CLOCK_REALTIME, &now);
    struct itimerspec later = {{0, 0}, {now.tv_sec + 1000, 0}};
    TRY(put(absolute, TIMER_ABSTIME, &later, NULL));
    TRY(start(relative, 1000000 * MS, 0));
    nap(5 * MS);
    printf("before a step: %d %d\n", take(SIGRTMIN, &info, 1) >= 0, take(SIGRTMIN + 1, &info, 1) >= 0);
    now.tv_sec += 1001;
    TRY(clock_settime(CLOCK_REALTIME, &now));
    printf("after it: %d", take(SIGRTMIN, &info, 0) >= 0);
    printf(" %d\n", take(SIGRTMIN + 1, &info, 1) >= 0);
    now.tv_sec -= 1001;
    TRY(clock_settime(CLOCK_REALTIME, &now));
    later.it_value.tv_sec = 1;
    TRY(put(absolute, TIMER_ABSTIME, &later, NULL));
    printf("of the past: %d\n", take(SIGRTMIN, &info, 0) >= 0);
    delete(absolute);
    delete(relative);
}

static void many(void) {
    siginfo_t info;
    static int ids[1000];
    int came = 0;

    for (int i = 0; i < 1000; i++)
        ids[i] = made(i % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN, i);
    for (int i = 0; i < 1000; i++)
        start(ids[i], 1, 1);
    for (int i = 0; i < 10000; i++)
        came += take(SIGRTMIN, &info, 0) == SIGRTMIN;
    printf("a thousand timers of a nanosecond: %d signals\n", came);
    for (int i = 0; i < 1000; i++)
        delete(ids[i]);
    printf("deleted: pending %d\n", take(SIGRTMIN, &info, 1) >= 0);
}

int main(int argc, char **argv) {
    sigset_t set;
    struct itimerspec now;

    if (argc > 1) {
        printf("after exec: %s\n", said(get(atoi(argv[1]), &now)));
        return 0;
    }
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    refusals();
    what_comes();
    counts();
    several();
    ignored();
    nobody_told();
    cpu_time();
    one_thread();
    families("/proc/self/exe");
    limit();
    listed();
    wall_clock();
    many();
    return 0;
}
