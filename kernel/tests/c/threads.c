// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: counter 16000, shared 160, sum 140, once 1, destroyed 28, main's own 5
// Threads: mutexes, conditions, barriers, thread-local storage, keys, once, read-write locks, semaphores, cancellation.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t readers = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static pthread_key_t key;
static sem_t semaphore;
static long counter, turn, initialised, destroyed, shared;
static _Thread_local long own = 5;

static void initialise(void) { initialised++; }
static void destroy(void *value) { __atomic_fetch_add(&destroyed, *(long *)value, __ATOMIC_SEQ_CST); free(value); }

static void *count(void *argument)
{
	long number = (long)argument, *mine = malloc(sizeof *mine);

	*mine = number;
	pthread_setspecific(key, mine);
	pthread_once(&once, initialise);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
		own += number;
		if (i % 100 == 0) {
			pthread_rwlock_wrlock(&readers);
			shared++;
			pthread_rwlock_unlock(&readers);
		} else {
			pthread_rwlock_rdlock(&readers);
			own += shared < 0;
			pthread_rwlock_unlock(&readers);
		}
	}
	pthread_barrier_wait(&barrier);
	// In turns: each waits for its own.
	pthread_mutex_lock(&lock);
	while (turn != number)
		pthread_cond_wait(&changed, &lock);
	printf("thread %ld: own %ld\n", number, own);
	turn++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	sem_post(&semaphore);
	return (void *)(number * number);
}

static void *allocate(void *argument)
{
	(void)argument;
	return malloc(64);
}

static void *wait_for_ever(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS], waiting;
	void *result;
	long sum = 0;
	struct timespec soon;

	pthread_barrier_init(&barrier, NULL, THREADS);
	pthread_key_create(&key, destroy);
	sem_init(&semaphore, 0, 0);
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, count, (void *)i))
			return 1;
	for (int i = 0; i < THREADS; i++)
		sem_wait(&semaphore);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("counter %ld, shared %ld, sum %ld, once %ld, destroyed %ld, main's own %ld\n", counter, shared, sum,
	       initialised, destroyed, own);

	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	if (soon.tv_nsec >= 1000000000) { soon.tv_nsec -= 1000000000; soon.tv_sec++; }
	pthread_mutex_lock(&lock);
	printf("timed wait: %s\n", pthread_cond_timedwait(&changed, &lock, &soon) == ETIMEDOUT ? "timed out" : "woken");
	pthread_mutex_unlock(&lock);
	int first = pthread_mutex_trylock(&lock);
	int second = pthread_mutex_trylock(&lock);

	printf("trylock: %d, then %d\n", first, second == EBUSY);

	pthread_create(&waiting, NULL, wait_for_ever, NULL);
	pthread_cancel(waiting);
	pthread_join(waiting, &result);
	printf("cancelled: %d\n", result == PTHREAD_CANCELED);
	for (int i = 0; i < 200; i++) {
		pthread_create(&waiting, NULL, allocate, NULL);
		pthread_join(waiting, &result);
		free(result);
	}
	puts("200 short threads");
	return 0;
}
