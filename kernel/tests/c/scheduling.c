// SPDX-License-Identifier: MIT OR Apache-2.0
// Nice values and scheduling policies: what was set is told again, and what makes no sense is refused.
// On Linux it prints: batch 0 -> 3; fifo 1..99, set 0 -> 1; other 0..0
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct attributes {
    unsigned size, policy;
    unsigned long flags;
    int nice;
    unsigned priority;
    unsigned long runtime, deadline, period;
};

static const char *error(int result) { return result < 0 ? strerrorname_np(errno) : "done"; }

static int set(int policy, int priority) {
    struct sched_param parameters = {.sched_priority = priority};
    return sched_setscheduler(0, policy, &parameters);
}

static void refusals(void) {
    struct sched_param parameters = {.sched_priority = 0};
    printf("fifo 0: %s; ", error(set(SCHED_FIFO, 0)));
    printf("rr 100: %s; ", error(set(SCHED_RR, 100)));
    printf("other 1: %s; ", error(set(SCHED_OTHER, 1)));
    printf("policy 77: %s; ", error(set(77, 0)));
    printf("pid -1: %s; ", error(sched_setscheduler(-1, SCHED_OTHER, &parameters)));
    printf("pid 4000000: %s; ", error(sched_setscheduler(4000000, SCHED_OTHER, &parameters)));
    printf("nothing: %s; ", error(sched_setscheduler(0, SCHED_OTHER, NULL)));
    printf("max of 77: %s; ", error(sched_get_priority_max(77)));
    printf("priority of 9: %s\n", error(getpriority(9, 0)));
}

static void nice_values(void) {
    setpriority(PRIO_PROCESS, 0, 5);
    int first = getpriority(PRIO_PROCESS, 0);
    int second = nice(3);
    setpriority(PRIO_PROCESS, 0, 100);
    int third = getpriority(PRIO_PROCESS, 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(getpriority(PRIO_PROCESS, 0));
    }
    int status = 0;
    waitpid(child, &status, 0);
    setpriority(PRIO_PROCESS, 0, 0);
    printf("nice %d %d %d, of a child %d\n", first, second, third, WEXITSTATUS(status));
}

static void attributes(void) {
    struct attributes wanted = {.size = 48, .policy = SCHED_RR, .priority = 7, .flags = 1}, found = {0};
    int result = syscall(SYS_sched_setattr, 0, &wanted, 0);
    syscall(SYS_sched_getattr, 0, &found, sizeof found, 0);
    printf("attributes %d: policy %u, priority %u, flags %lu, ", result, found.policy, found.priority, found.flags);
    struct timespec interval;
    sched_rr_get_interval(0, &interval);
    printf("round %ld ms, ", interval.tv_nsec / 1000000);
    pid_t child = fork();
    if (child == 0) {
        _exit(sched_getscheduler(0));
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("policy of a child %d\n", WEXITSTATUS(status));
    wanted.size = 20;
    printf("too small: %s; ", error(syscall(SYS_sched_setattr, 0, &wanted, 0)));
    wanted.size = 48;
    wanted.flags = 1 << 20;
    printf("unknown flag: %s\n", error(syscall(SYS_sched_setattr, 0, &wanted, 0)));
}

int main(void) {
    int batch = set(SCHED_BATCH, 0), is_batch = sched_getscheduler(0);
    int fifo = set(SCHED_FIFO, 1), is_fifo = sched_getscheduler(0);
    printf("batch %d -> %d; fifo %d..%d, set %d -> %d; other %d..%d\n", batch, is_batch,
           sched_get_priority_min(SCHED_FIFO), sched_get_priority_max(SCHED_FIFO), fifo, is_fifo,
           sched_get_priority_min(SCHED_OTHER), sched_get_priority_max(SCHED_OTHER));
    refusals();
    attributes();
    set(SCHED_OTHER, 0);
    nice_values();
    return 0;
}
