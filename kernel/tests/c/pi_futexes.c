// SPDX-License-Identifier: MIT OR Apache-2.0
// Futexes that are locks and inherit priorities: every command, what each refuses, what happens to the word, who gets the lock, and that
// its owner runs as if it had the priority of the best that waits.
// On Linux it prints: through a chain: done
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef _Atomic uint32_t word_t;

static const char *error(long result) { return result < 0 ? strerrorname_np(errno) : "done"; }
static long futex(void *word, int op, unsigned value, const void *time, void *second, unsigned value3) {
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, time, second, value3);
}
static long lock(word_t *word) { return futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0); }
static long try(word_t *word) { return futex(word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0); }
static long unlock(word_t *word) { return futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0); }

/* What a word says, without the numbers that differ from run to run. */
static const char *said(uint32_t word, uint32_t owner) {
    static char text[4][64];
    static int next;
    char *to = text[next++ % 4];
    uint32_t tid = word & FUTEX_TID_MASK;
    sprintf(to, "%s%s%s", tid == 0 ? "nobody" : tid == owner ? "the owner" : "another",
            word & FUTEX_WAITERS ? "+waiters" : "", word & FUTEX_OWNER_DIED ? "+died" : "");
    return to;
}

/* A thread that does what it is told, one thing at a time. */
struct helper {
    pthread_t thread;
    word_t tid, begun, done;
    void (*work)(struct helper *);
    word_t *word, *second;
    long result;
    int error, priority;
    const struct timespec *until;
    struct timespec time;
};

static void *life(void *argument) {
    struct helper *helper = argument;
    if (helper->priority) {
        struct sched_param parameters = {.sched_priority = helper->priority};
        sched_setscheduler(0, SCHED_FIFO, &parameters);
    }
    helper->tid = gettid();
    helper->begun = 1;
    futex(&helper->begun, FUTEX_WAKE, 1, NULL, NULL, 0);
    helper->work(helper);
    helper->error = errno;
    helper->done = 1;
    return NULL;
}
static void start(struct helper *helper, void (*work)(struct helper *), word_t *word) {
    helper->work = work;
    helper->word = word;
    helper->begun = helper->done = 0;
    if (pthread_create(&helper->thread, NULL, life, helper) != 0)
        abort();
    while (!helper->begun)
        futex(&helper->begun, FUTEX_WAIT, 0, NULL, NULL, 0);
}
static void end(struct helper *helper) { pthread_join(helper->thread, NULL); }
static const char *result(struct helper *helper) {
    errno = helper->error;
    return error(helper->result);
}

static void await(word_t *word, uint32_t bits) {
    while ((*word & bits) == 0)
        usleep(1000);
}
/* Until a thread sleeps; the caller knows that it does so in one place only. */
static void asleep(uint32_t tid) {
    char path[64], text[256], state = 0;
    sprintf(path, "/proc/self/task/%u/stat", tid);
    while (state != 'S') {
        usleep(1000);
        FILE *file = fopen(path, "r");
        if (!file)
            return;
        if (fgets(text, sizeof text, file) && strrchr(text, ')'))
            state = strrchr(text, ')')[2];
        fclose(file);
    }
}

static void locks(struct helper *helper) { helper->result = lock(helper->word); }
static void locks_and_unlocks(struct helper *helper) {
    helper->result = lock(helper->word);
    if (helper->result == 0 && unlock(helper->word) != 0)
        helper->result = -1;
}

/* Holds a lock until it is told to let go of it. */
static word_t let_go;
static void holds(struct helper *helper) {
    helper->result = lock(helper->word);
    helper->done = 2;
    while (!let_go)
        futex(&let_go, FUTEX_WAIT, 0, NULL, NULL, 0);
    helper->result = unlock(helper->word);
}
static void holds_and_ends(struct helper *helper) {
    helper->result = lock(helper->word);
    helper->done = 2;
    while (!let_go)
        futex(&let_go, FUTEX_WAIT, 0, NULL, NULL, 0);
}
static void hold(struct helper *helper, void (*how)(struct helper *), word_t *word) {
    let_go = 0;
    start(helper, how, word);
    while (helper->done == 0)
        usleep(1000);
}
static void release(struct helper *helper) {
    let_go = 1;
    futex(&let_go, FUTEX_WAKE, 1, NULL, NULL, 0);
    end(helper);
}

static void alone(void) {
    word_t word = 0;
    uint32_t own = gettid();
    printf("free: %s", error(lock(&word)));
    printf(", %s", said(word, own));
    printf("; again: %s, %s", error(lock(&word)), error(try(&word)));
    printf("; unlock: %s", error(unlock(&word)));
    printf(", %s; unlock again: %s", said(word, own), error(unlock(&word)));
    word = own | FUTEX_WAITERS;
    printf("; with waiters that are not there: %s", error(unlock(&word)));
    printf(", %s\n", said(word, own));

    word = FUTEX_OWNER_DIED;
    printf("died: %s", error(lock(&word)));
    printf(", %s", said(word, own));
    printf("; unlock: %s", error(unlock(&word)));
    printf(", %s", said(word, own));
    word = 0x3ffffff0;
    printf("; no such thread: %s", error(lock(&word)));
    printf(", %s, %s\n", said(word, own), error(try(&word)));

    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages, 4096, PROT_READ);
    munmap(pages + 4096, 4096);
    printf("nowhere: %s %s %s", error(lock(NULL)), error(unlock(NULL)), error(lock((word_t *)(pages + 4096))));
    printf("; read-only: %s", error(lock((word_t *)pages)));
    printf("; unaligned: %s\n", error(lock((word_t *)((char *)&word + 2))));
    printf("the wall clock: wait %s, lock %s, try %s, unlock %s\n",
           error(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)),
           error(futex(&word, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)),
           error(futex(&word, FUTEX_TRYLOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)),
           error(futex(&word, FUTEX_UNLOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)));
}

static void times(void) {
    word_t word = 0;
    struct helper owner = {0};
    hold(&owner, holds, &word);
    struct timespec past = {1, 0}, bad = {1, 1000000000}, soon;
    printf("held: try %s", error(try(&word)));
    printf(", %s", said(word, owner.tid));
    printf("; a time that is over: %s", error(futex(&word, FUTEX_LOCK_PI, 0, &past, NULL, 0)));
    printf(", %s", error(futex(&word, FUTEX_LOCK_PI2, 0, &past, NULL, 0)));
    printf(", %s", error(futex(&word, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 0)));
    printf("; no time: %s %s", error(futex(&word, FUTEX_LOCK_PI, 0, &bad, NULL, 0)),
           error(futex(&word, FUTEX_LOCK_PI2, 0, (void *)8, NULL, 0)));
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    printf("; soon: %s", error(futex(&word, FUTEX_LOCK_PI, 0, &soon, NULL, 0)));
    clock_gettime(CLOCK_MONOTONIC, &soon);
    soon.tv_nsec += 20000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    printf(" %s", error(futex(&word, FUTEX_LOCK_PI2, 0, &soon, NULL, 0)));
    printf("; unlocked by another: %s\n", error(unlock(&word)));
    release(&owner);
    printf("let go: %s, %s\n", result(&owner), said(word, owner.tid));
}

static void hostile(void) {
    word_t word = 0;
    struct helper owner = {0}, waiter = {0};
    hold(&owner, holds, &word);
    start(&waiter, locks_and_unlocks, &word);
    await(&word, FUTEX_WAITERS);
    asleep(waiter.tid);
    uint32_t right = word;
    printf("waited for: wake %s", error(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0)));
    word = gettid();
    printf("; stolen: unlock %s", error(unlock(&word)));
    word = 1 | FUTEX_WAITERS;
    printf("; another's: lock %s, try %s", error(lock(&word)), error(try(&word)));
    word = 0;
    printf("; nobody's: lock %s", error(lock(&word)));
    word = 0x3ffffff0;
    printf("; no thread's: lock %s\n", error(lock(&word)));
    word = right;
    release(&owner);
    end(&waiter);
    printf("set right: %s, %s, %s\n", result(&owner), result(&waiter), said(word, waiter.tid));
}

static void plain_waits(struct helper *helper) {
    helper->result = futex(helper->word, FUTEX_WAIT, *helper->word, NULL, NULL, 0);
}
static void plain_waiters(void) {
    word_t word = 1;
    struct helper waiter = {0};
    start(&waiter, plain_waits, &word);
    asleep(waiter.tid);
    printf("a plain waiter: lock %s", error(lock(&word)));
    word = gettid();
    printf(", unlock %s", error(unlock(&word)));
    printf(", wake %ld", futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    end(&waiter);
    printf(", unlock %s\n", error(unlock(&word)));
}

/* The order in which waiters get the lock. */
static int order[8], ordered;
static void notes(struct helper *helper) {
    helper->result = lock(helper->word);
    order[ordered++] = helper->priority;
    if (unlock(helper->word) != 0)
        order[ordered - 1] = -errno;
}
static void by_priority(void) {
    word_t word = 0;
    struct helper owner = {0}, waiters[5] = {{.priority = 3}, {.priority = 0}, {.priority = 7}, {.priority = 5}, {.priority = 0}};
    hold(&owner, holds, &word);
    for (int i = 0; i < 5; i++) {
        start(&waiters[i], notes, &word);
        asleep(waiters[i].tid);
    }
    release(&owner);
    printf("in the order of priorities:");
    for (int i = 0; i < 5; i++)
        end(&waiters[i]);
    for (int i = 0; i < 5; i++)
        printf(" %d", order[i]);
    printf(", %s\n", said(word, 0));
}

static word_t first_word, second_word;
static void locks_both(struct helper *helper) {
    lock(helper->second);
    helper->done = 2;
    helper->result = lock(helper->word);
    if (helper->result == 0)
        unlock(helper->word);
    unlock(helper->second);
}
static void deadlock(void) {
    struct helper other = {.second = &second_word};
    lock(&first_word);
    start(&other, locks_both, &first_word);
    await(&first_word, FUTEX_WAITERS);
    asleep(other.tid);
    printf("a circle: %s", error(lock(&second_word)));
    printf("; %s", error(unlock(&first_word)));
    end(&other);
    printf("; the other: %s, %s, %s\n", result(&other), said(first_word, 0), said(second_word, 0));
}

static void deaths(void) {
    word_t word = 0;
    struct helper owner = {0}, waiter = {0}, second = {0};
    hold(&owner, holds_and_ends, &word);
    start(&waiter, locks, &word);
    await(&word, FUTEX_WAITERS);
    asleep(waiter.tid);
    start(&second, locks, &word);
    asleep(second.tid);
    release(&owner);
    end(&waiter);
    end(&second);
    printf("the owner ends, and the heir too: %s, %s, %s\n", result(&waiter), result(&second), said(word, second.tid));

    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int made = pthread_mutex_init(mutex, &attributes), pipes[2];
    if (pipe(pipes) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        if (write(pipes[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    if (read(pipes[0], &byte, 1) != 1)
        abort();
    int busy = pthread_mutex_trylock(mutex);
    /* One child waits when the owner is killed, and consistently unlocks; this one comes later. */
    pid_t heir = fork();
    if (heir == 0) {
        int got = pthread_mutex_lock(mutex);
        if (got == EOWNERDEAD)
            pthread_mutex_consistent(mutex);
        pthread_mutex_unlock(mutex);
        _exit(got == EOWNERDEAD ? 3 : 4);
    }
    while (!(((word_t *)mutex)[0] & FUTEX_WAITERS))
        usleep(1000);
    kill(child, SIGKILL);
    int status = 0, killed = 0;
    waitpid(child, &killed, 0);
    waitpid(heir, &status, 0);
    printf("robust: made %d, busy %s, the heir's status %d", made, strerrorname_np(busy), WEXITSTATUS(status));
    int later = pthread_mutex_lock(mutex);
    printf(", later %d %d", later, pthread_mutex_unlock(mutex));
    child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        _exit(0);
    }
    waitpid(child, &status, 0);
    int dead = pthread_mutex_lock(mutex);
    printf(", nobody waited: %s %d\n", strerrorname_np(dead), pthread_mutex_unlock(mutex));
    printf("not recoverable: %s\n", strerrorname_np(pthread_mutex_lock(mutex)));
}

static void waits_to_be_moved(struct helper *helper) {
    helper->result = futex(helper->word, FUTEX_WAIT_REQUEUE_PI, 7, helper->until, helper->second, 0);
    if (helper->result == 0) {
        order[ordered++] = helper->priority;
        helper->result = unlock(helper->second);
    }
}
static void requeue(void) {
    word_t from = 7, to = 0, other = 0;
    struct timespec past = {1, 0};
    printf("wait for one's own: %s", error(futex(&from, FUTEX_WAIT_REQUEUE_PI, 7, NULL, &from, 0)));
    printf("; another value: %s", error(futex(&from, FUTEX_WAIT_REQUEUE_PI, 8, NULL, &to, 0)));
    printf("; a time that is over: %s\n", error(futex(&from, FUTEX_WAIT_REQUEUE_PI, 7, &past, &to, 0)));
    printf("nobody waits: %s", error(futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &to, 7)));
    printf(" %ld", futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &to, 7));
    printf("; two to wake: %s", error(futex(&from, FUTEX_CMP_REQUEUE_PI, 2, (void *)10, &to, 7)));
    printf("; another value: %s", error(futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &to, 8)));
    printf("; to itself: %s\n", error(futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &from, 7)));

    struct helper waiters[4] = {{.priority = 2}, {.priority = 4}, {.priority = 6}, {.priority = 8}};
    ordered = 0;
    for (int i = 0; i < 4; i++) {
        waiters[i].second = &to;
        start(&waiters[i], waits_to_be_moved, &from);
        asleep(waiters[i].tid);
    }
    printf("not to be woken: %s", error(futex(&from, FUTEX_WAKE, 1, NULL, NULL, 0)));
    printf(", or moved so: %s", error(futex(&from, FUTEX_CMP_REQUEUE, 1, (void *)10, &to, 7)));
    printf(", or elsewhere: %s", error(futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &other, 7)));
    lock(&to);
    printf("; moved %ld", futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)10, &to, 7));
    printf(", %s", said(to, gettid()));
    printf("; %s:", error(unlock(&to)));
    for (int i = 0; i < 4; i++)
        end(&waiters[i]);
    for (int i = 0; i < ordered; i++)
        printf(" %d", order[i]);
    printf(", %s\n", said(to, 0));

    struct helper one = {.second = &to};
    start(&one, waits_to_be_moved, &from);
    asleep(one.tid);
    printf("given at once: %ld", futex(&from, FUTEX_CMP_REQUEUE_PI, 1, NULL, &to, 7));
    end(&one);
    printf(", %s, %s\n", result(&one), said(to, 0));

    /* Moved, and then its time is over. */
    struct helper late = {.second = &to};
    clock_gettime(CLOCK_MONOTONIC, &late.time);
    late.time.tv_sec += 1;
    late.until = &late.time;
    lock(&to);
    start(&late, waits_to_be_moved, &from);
    asleep(late.tid);
    printf("too late: moved %ld", futex(&from, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &to, 7));
    end(&late);
    printf(", %s, unlock %s\n", result(&late), error(unlock(&to)));
}

static word_t handled;
static void handler(int number) { (void)number; handled++; }
static void signals(void) {
    word_t word = 0;
    struct helper waiter = {0};
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    lock(&word);
    start(&waiter, locks_and_unlocks, &word);
    await(&word, FUTEX_WAITERS);
    asleep(waiter.tid);
    pthread_kill(waiter.thread, SIGUSR1);
    await(&handled, ~0u);
    asleep(waiter.tid);
    printf("a signal: handled %u, ended %u", handled, waiter.done);
    printf(", %s", error(unlock(&word)));
    end(&waiter);
    printf(", %s\n", result(&waiter));
}

/* On one processor: whoever spins goes before the owner, unless that has been lent a better priority. */
static word_t stop, chain_a, chain_b;
static void spins(struct helper *helper) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    helper->result = 0;
    while (!stop) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > 5) {
            helper->result = -1;
            errno = ETIME;
            return;
        }
    }
}
static void owns(struct helper *helper) {
    lock(helper->word);
    helper->done = 2;
    while (!let_go)
        futex(&let_go, FUTEX_WAIT, 0, NULL, NULL, 0);
    unlock(helper->word);
}
static void owns_and_waits(struct helper *helper) {
    lock(helper->second);
    helper->done = 2;
    lock(helper->word);
    unlock(helper->word);
    unlock(helper->second);
}
static void locks_and_stops(struct helper *helper) {
    helper->result = lock(helper->word);
    stop = 1;
    unlock(helper->word);
}
static void inheritance(int through_chain) {
    struct helper low = {.priority = 10}, link = {.priority = 11, .second = &chain_b};
    struct helper spinner = {.priority = 20}, high = {.priority = 30};
    stop = let_go = 0;
    start(&low, owns, &chain_a);
    while (low.done == 0)
        usleep(1000);
    if (through_chain) {
        start(&link, owns_and_waits, &chain_a);
        await(&chain_a, FUTEX_WAITERS);
        asleep(link.tid);
    }
    /* This thread goes first on the processor: nothing below runs before it waits. */
    start(&high, locks_and_stops, through_chain ? &chain_b : &chain_a);
    asleep(high.tid);
    let_go = 1;
    futex(&let_go, FUTEX_WAKE, 1, NULL, NULL, 0);
    start(&spinner, spins, NULL);
    end(&spinner);
    stop = 1;
    end(&high);
    end(&low);
    if (through_chain)
        end(&link);
    printf("%s: %s\n", through_chain ? "through a chain" : "from who waits", result(&spinner));
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    struct sched_param parameters = {.sched_priority = 50};
    alone();
    times();
    hostile();
    plain_waiters();
    by_priority();
    deadlock();
    deaths();
    requeue();
    signals();
    sched_setscheduler(0, SCHED_FIFO, &parameters);
    inheritance(0);
    inheritance(1);
    return 0;
}
