// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: wrong: 0, seen: 1
// A mapping that is replaced while another thread uses it: that one finds the old or the new one, and never none. And moves of parts.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (16UL << 20)
#define STEP (64UL << 10)
#define ROUNDS 40

static char *target;
static atomic_int round_now, done;

static void *anonymous(void *at, size_t size, int more)
{
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);
}

// Reads all over the range. What it finds is that round's, or one that is to come.
static void *reader(void *seen)
{
	while (!atomic_load(&done)) {
		for (size_t at = 0; at < SIZE; at += STEP) {
			int least = atomic_load(&round_now), found = *(volatile char *)(target + at);

			if (found < least && found)
				printf("%d in round %d\n", found, least);
			++*(long *)seen;
		}
	}
	return NULL;
}

static void replaced(void)
{
	pthread_t thread;
	long seen = 0;
	int wrong = 0;

	target = anonymous(NULL, SIZE, 0);
	pthread_create(&thread, NULL, reader, &seen);
	for (int round = 1; round <= ROUNDS; round++) {
		char *from = anonymous(NULL, 2 * SIZE, 0);

		for (size_t at = 0; at < SIZE; at += 4096)
			from[at] = round;
		if (mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
			puts("not moved");
		atomic_store(&round_now, round);
		for (size_t at = 0; at < SIZE; at += 4096)
			wrong += target[at] != round;
		munmap(from + SIZE, SIZE);
		if (round % 4 == 0)
			anonymous(target, SIZE, MAP_FIXED);
	}
	atomic_store(&done, 1);
	pthread_join(thread, NULL);
	printf("wrong: %d, seen: %d\n", wrong, seen > 0);
	munmap(target, SIZE);
}

static void shapes(void)
{
	char *at = anonymous(NULL, 8 * STEP, 0), *to = anonymous(NULL, 8 * STEP, 0), *back;
	unsigned char there[128];

	for (size_t part = 0; part < 8; part++)
		at[part * STEP] = part + 1;
	// The middle moves, and what is on both sides stays.
	printf("middle: %d\n", mremap(at + 2 * STEP, 2 * STEP, 2 * STEP, MREMAP_MAYMOVE | MREMAP_FIXED, to + STEP) == to + STEP);
	printf("%d %d %d %d\n", at[STEP], to[STEP], to[2 * STEP], at[4 * STEP]);
	printf("left behind: %d\n", mincore(at + 2 * STEP, STEP, there));
	// Longer than it was, and shorter.
	back = mremap(to + STEP, 2 * STEP, 4 * STEP, MREMAP_MAYMOVE | MREMAP_FIXED, at + 2 * STEP);
	printf("longer: %d, %d %d %d\n", back == at + 2 * STEP, back[0], back[STEP], back[2 * STEP]);
	back = mremap(at, 8 * STEP, 2 * STEP, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	printf("shorter: %d, %d %d, rest %d\n", back == to, to[0], to[STEP], mincore(at + 3 * STEP, STEP, there));
	mprotect(to, 2 * STEP, PROT_NONE);
	back = mremap(to, 2 * STEP, 2 * STEP, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	printf("without access: %d, ", back == at);
	mprotect(at, 2 * STEP, PROT_READ);
	printf("%d %d\n", at[0], at[STEP]);
}

int main(void)
{
	shapes();
	replaced();
	return 0;
}
