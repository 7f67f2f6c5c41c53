// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a mapping is in the way: EBUSY
// Files without a name, their seals, and starting one as a program.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#define MFD_EXEC 16U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

static void told(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static long map(int fd, int protection, int flags)
{
	return mmap(NULL, 4096, protection, flags, fd, 0) == MAP_FAILED ? -1 : 0;
}

static int sealed(int seals)
{
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING);

	write(fd, "0123456789", 10);
	printf("-- seals %#x\n", seals);
	told("add", fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void uses(int fd)
{
	told("seals", fcntl(fd, F_GET_SEALS));
	told("write inside", pwrite(fd, "x", 1, 0));
	told("write at the end", pwrite(fd, "x", 1, 10));
	told("write across the end", pwrite(fd, "xxxx", 4, 9));
	told("same size", ftruncate(fd, lseek(fd, 0, SEEK_END)));
	told("larger", ftruncate(fd, 20));
	told("smaller", ftruncate(fd, 5));
	told("allocate", fallocate(fd, 0, 0, 100));
	told("shared to write", map(fd, PROT_READ | PROT_WRITE, MAP_SHARED));
	told("shared to read", map(fd, PROT_READ, MAP_SHARED));
	told("private to write", map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	told("one more", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	close(fd);
}

static void flags(void)
{
	struct stat status;
	char name[260];

	for (unsigned bits = 0; bits < 32; bits++) {
		// Not with large pages.
		if (bits & MFD_HUGETLB)
			continue;
		int fd = memfd_create("x", bits);

		if (fd < 0)
			printf("flags %u: %s\n", bits, strerrorname_np(errno));
		else {
			fstat(fd, &status);
			printf("flags %u: seals %d mode %o close on exec %d\n", bits, fcntl(fd, F_GET_SEALS),
			       status.st_mode & 0777, fcntl(fd, F_GETFD));
			close(fd);
		}
	}
	told("flag 64", memfd_create("x", 64));
	memset(name, 'n', sizeof(name));
	name[249] = 0;
	told("a long name", memfd_create(name, 0) < 0 ? -1 : 0);
	name[249] = 'n', name[250] = 0;
	told("a longer one", memfd_create(name, 0));
	told("no name", syscall(SYS_memfd_create, 8L, 0));
}

static void mappings(void)
{
	int fd = memfd_create("x", MFD_ALLOW_SEALING);

	ftruncate(fd, 4096);
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	told("a mapping is in the way", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	told("seals", fcntl(fd, F_GET_SEALS));
	told("for later", fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	at[0] = 'x';
	munmap(at, 4096);
	told("it is gone", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	told("made writable", mprotect(at, 4096, PROT_READ | PROT_WRITE));
	printf("it holds %c\n", at[0]);
	fd = memfd_create("x", MFD_ALLOW_SEALING);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	told("by a reader", fcntl(open(path, O_RDONLY), F_ADD_SEALS, F_SEAL_WRITE));
	told("unknown bits", fcntl(fd, F_ADD_SEALS, 0x1000));
	int pipes[2];

	pipe(pipes);
	told("a pipe", fcntl(pipes[1], F_ADD_SEALS, F_SEAL_WRITE));
	told("a pipe's", fcntl(pipes[1], F_GET_SEALS));
	fd = memfd_create("x", MFD_NOEXEC_SEAL);
	told("made executable", fchmod(fd, 0777));
	told("made private", fchmod(fd, 0600));
	fd = memfd_create("x", MFD_EXEC | MFD_ALLOW_SEALING);
	told("seal what can be executed", fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC));
	told("seals", fcntl(fd, F_GET_SEALS));
}

static void executes(const char *self)
{
	char bytes[65536];
	long count;
	int status, from = open(self, O_RDONLY), fd = memfd_create("program", MFD_EXEC | MFD_CLOEXEC | MFD_ALLOW_SEALING);

	while ((count = read(from, bytes, sizeof(bytes))) > 0)
		write(fd, bytes, count);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	fflush(stdout);
	if (fork() == 0) {
		char *arguments[] = { "x", "runs", NULL }, *none[] = { NULL };

		fexecve(fd, arguments, none);
		_exit(errno);
	}
	wait(&status);
	printf("the program ended with %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return 77;
	setvbuf(stdout, NULL, _IOLBF, 0);
	flags();
	uses(sealed(0));
	uses(sealed(F_SEAL_SHRINK));
	uses(sealed(F_SEAL_GROW));
	uses(sealed(F_SEAL_WRITE));
	uses(sealed(F_SEAL_FUTURE_WRITE | F_SEAL_GROW));
	uses(sealed(F_SEAL_SEAL));
	mappings();
	executes(argv[0]);
	return 0;
}
