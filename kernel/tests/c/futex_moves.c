// SPDX-License-Identifier: MIT OR Apache-2.0
// A thread that waits for a word is moved from word to word, so often that a kernel that keeps them in lists by address moves it between
// many of those, in either direction.
// On Linux it prints: moved 255 times; 0 wait where it was; woken 1
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORDS = 256 };
static uint32_t words[WORDS];

static long futex(uint32_t *word, int call, uint32_t count, uintptr_t more, uint32_t *other) {
    return syscall(SYS_futex, word, call | FUTEX_PRIVATE_FLAG, count, more, other, 0);
}

static void *waits(void *nothing) {
    (void)nothing;
    futex(&words[0], FUTEX_WAIT, 0, 0, NULL);
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, waits, NULL);
    int moved = 0;
    /* The first time as soon as it waits. */
    while (futex(&words[0], FUTEX_REQUEUE, 0, 1, &words[1]) == 0)
        usleep(1000);
    moved++;
    for (int i = 1; i < WORDS - 1; i++)
        moved += (int)futex(&words[i], FUTEX_REQUEUE, 0, 1, &words[i + 1]);
    printf("moved %d times", moved);
    printf("; %ld wait where it was", futex(&words[0], FUTEX_WAKE, 1, 0, NULL));
    printf("; woken %ld\n", futex(&words[WORDS - 1], FUTEX_WAKE, 1, 0, NULL));
    pthread_join(thread, NULL);
    return 0;
}
