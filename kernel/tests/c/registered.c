// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: written from what is mapped no more: 8 "old data"
// A buffer that is registered with an io_uring is the pages that were there then, whatever is at its addresses later.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "said.h"

#define PAGE 4096

static struct io_uring_params params;
static char *ring;
static struct io_uring_sqe *entries;
static int ring_fd;

static unsigned *word(unsigned offset)
{
	return (unsigned *)(ring + offset);
}

// One request, and what it gave.
static int done(int opcode, int fd, void *at, unsigned length, unsigned long offset, int index)
{
	unsigned tail = *word(params.sq_off.tail), place = tail & *word(params.sq_off.ring_mask), head;
	struct io_uring_cqe *completions = (void *)(ring + params.cq_off.cqes);

	entries[place] = (struct io_uring_sqe){ .opcode = opcode, .fd = fd, .addr = (unsigned long)at, .len = length, .off = offset,
						.buf_index = index };
	word(params.sq_off.array)[place] = place;
	__atomic_store_n(word(params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	head = *word(params.cq_off.head);
	int result = completions[head & *word(params.cq_off.ring_mask)].res;
	__atomic_store_n(word(params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return result;
}

int main(void)
{
	char *at = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), out[3 * PAGE];
	struct iovec buffer = { at + 100, 2 * PAGE };
	int p[2], file = memfd_create("file", 0);

	ring_fd = syscall(SYS_io_uring_setup, 4, &params);
	if (ring_fd < 0)
		return perror("io_uring_setup"), 1;
	ring = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED,
		    ring_fd, IORING_OFF_SQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, IORING_OFF_SQES);
	pipe(p);
	memcpy(at + PAGE - 4, "old data", 8);
	TRY(syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	printf("across a page: %d, ", done(IORING_OP_WRITE_FIXED, p[1], at + PAGE - 4, 8, -1, 0));
	printf("%ld \"%.8s\"\n", (long)read(p[0], out, sizeof(out)), out);
	printf("before it: %d\n", done(IORING_OP_WRITE_FIXED, p[1], at + 99, 8, -1, 0));
	printf("beyond it: %d\n", done(IORING_OP_WRITE_FIXED, p[1], at + 2 * PAGE + 98, 3, -1, 0));
	munmap(at, 3 * PAGE);
	printf("written from what is mapped no more: %d", done(IORING_OP_WRITE_FIXED, p[1], at + PAGE - 4, 8, -1, 0));
	printf(" \"%.*s\"\n", (int)read(p[0], out, sizeof(out)), out);
	mmap(at, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(at, 'n', 3 * PAGE);
	write(p[1], "from a pipe", 11);
	printf("read into it: %d\n", done(IORING_OP_READ_FIXED, p[0], at + PAGE - 6, 100, -1, 0));
	printf("the new memory: %c\n", at[PAGE - 6]);
	printf("to a file: %d, ", done(IORING_OP_WRITE_FIXED, file, at + PAGE - 8, PAGE, 5, 0));
	printf("%ld \"%.13s\"\n", (long)pread(file, out, sizeof(out), 5), out + 2);
	printf("from a file: %d, ", done(IORING_OP_READ_FIXED, file, at + PAGE, 10, 12, 0));
	printf("%d ", done(IORING_OP_WRITE_FIXED, p[1], at + PAGE - 6, 16, -1, 0));
	printf("\"%.*s\"\n", (int)read(p[0], out, sizeof(out)), out);
	return 0;
}
