// SPDX-License-Identifier: MIT OR Apache-2.0
/* A file that is cut, or gets a hole, goes from every mapping of it: parts of what was mapped once, moved ones, private copies, and those of
 * children; and from no other. */
// On Linux it prints: parent, cut: whole ABC-!!!! moved A private ABCD!!!! other z
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 8

static char *whole, *moved, *private, *other;
static int probe[2];

/* What a page begins with: '.' for zero, '!' for a page behind the end, '-' for no page. */
static char begins(char *at, int may_be_gone)
{
	char byte;

	if (write(probe[1], at, 1) != 1)
		return may_be_gone ? '-' : '!';
	if (read(probe[0], &byte, 1) != 1)
		return '?';
	return byte ? byte : '.';
}

static void tell(const char *who, const char *when)
{
	char seen[2][PAGES + 1] = { { 0 } };

	for (int i = 0; i < PAGES; i++) {
		seen[0][i] = begins(whole + i * PAGE, i == 3);
		seen[1][i] = begins(private + i * PAGE, 0);
	}
	printf("%s, %s: whole %s moved %c private %s other %c\n", who, when, seen[0], begins(moved, 0), seen[1], begins(other, 0));
	fflush(stdout);
}

int main(void)
{
	int fd = memfd_create("cut", 0), another = memfd_create("other", 0), go[2], done[2];
	char byte = 0;

	if (pipe(probe) || pipe(go) || pipe(done) || ftruncate(fd, PAGES * PAGE) || ftruncate(another, PAGE))
		return 1;
	whole = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, another, 0);
	moved = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PAGES; i++)
		whole[i * PAGE] = 'A' + i;
	*other = 'z';
	/* In parts: read-only, missing, moved (and mapped again). */
	mprotect(whole + 2 * PAGE, PAGE, PROT_READ);
	munmap(whole + 3 * PAGE, PAGE);
	if (mremap(whole, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved + 5 * PAGE) == MAP_FAILED)
		return 1;
	moved += 5 * PAGE;
	mmap(whole, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	private[5 * PAGE] = 'x';
	tell("parent", "whole");
	/* One that has them and has gone. */
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	if (fork() == 0) {
		private[6 * PAGE] = 'y';
		tell("child", "whole");
		for (int i = 0; i < 3; i++) {
			static const char *const WHEN[] = { "cut", "long again", "with a hole" };

			if (write(done[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
				_exit(1);
			tell("child", WHEN[i]);
		}
		_exit(write(done[1], &byte, 1) != 1);
	}
	if (read(done[0], &byte, 1) != 1 || ftruncate(fd, 4 * PAGE))
		return 1;
	tell("parent", "cut");
	if (write(go[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1 || ftruncate(fd, PAGES * PAGE))
		return 1;
	whole[7 * PAGE] = 'h';
	tell("parent", "long again");
	if (write(go[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
		return 1;
	private[1 * PAGE] = 'p';
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3 * PAGE))
		return 1;
	tell("parent", "with a hole");
	if (write(go[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
		return 1;
	munmap(other, PAGE);
	printf("still open: %d\n", ftruncate(another, 0));
	return 0;
}
