// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: 4G: 1 size 4294967297, 1T: 1, blocks 16
// Files in a tmpfs: holes, space that is given and taken back, limits, files without names, the kinds of nodes, and flags that no kernel knows.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "said.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif



static void holes(void)
{
	struct stat status;
	int fd = open("big", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char byte = 'x';

	long four = pwrite(fd, &byte, 1, 4L << 30);
	fstat(fd, &status);
	long size = status.st_size, far = pwrite(fd, &byte, 1, 1L << 40);
	fstat(fd, &status);
	printf("4G: %ld size %ld, 1T: %ld, blocks %ld\n", four, size, far, (long)status.st_blocks);
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 4L << 30, SEEK_DATA));
	TRY(lseek(fd, 4L << 30, SEEK_HOLE));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, (4L << 30) + 4096, SEEK_DATA));
	TRY(lseek(fd, 1L << 41, SEEK_DATA));
	TRY(lseek(fd, 1L << 41, SEEK_HOLE));
	TRY(lseek(fd, -1, SEEK_DATA));
	TRY(lseek(fd, 1L << 40, SEEK_HOLE));
	TRY(pread(fd, &byte, 1, 1L << 39));
	printf("in a hole: %d\n", byte);
	TRY(ftruncate(fd, 1L << 40));
	TRY(ftruncate(fd, INT64_MAX));
	TRY(pwrite(fd, &byte, 1, INT64_MAX));
	TRY(pwrite(fd, &byte, 1, INT64_MAX - 1));
	TRY(ftruncate(fd, -1));
	TRY(ftruncate(fd, 0));
	fstat(fd, &status);
	printf("blocks %ld\n", (long)status.st_blocks);
	close(fd);
}

static void space(void)
{
	struct stat status;
	struct statfs before, after;
	int fd = open("space", O_RDWR | O_CREAT | O_TRUNC, 0600), ro = open("space", O_RDONLY), ends[2];
	char bytes[100], read_back[300] = "";

	statfs(".", &before);
	TRY(fallocate(fd, 0, 1000, 10000));
	fstat(fd, &status);
	printf("size %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536));
	fstat(fd, &status);
	statfs(".", &after);
	printf("size %ld blocks %ld, of the file system %ld\n", (long)status.st_size, (long)status.st_blocks,
	       (long)(before.f_bfree - after.f_bfree));
	memset(bytes, 'a', sizeof(bytes));
	pwrite(fd, bytes, 100, 4050);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4060, 10));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4090, 20000));
	pread(fd, read_back, 100, 4050);
	for (int i = 0; i < 100; i++)
		putchar(read_back[i] ? read_back[i] : '.');
	fstat(fd, &status);
	printf("\nsize %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
	TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	TRY(fallocate(fd, 0x4000, 0, 4096));
	TRY(fallocate(fd, 0, -1, 4096));
	TRY(fallocate(fd, 0, 0, 0));
	TRY(fallocate(fd, 0, INT64_MAX - 5, 10));
	TRY(fallocate(ro, 0, 0, 4096));
	TRY(fallocate(fd, 0, 0, 1L << 30));
	fstat(fd, &status);
	printf("size %ld\n", (long)status.st_size);
	if (pipe(ends) == 0)
		TRY(fallocate(ends[1], 0, 0, 1));
	TRY(fallocate(open(".", O_RDONLY), 0, 0, 1));
	TRY(fallocate(open("/dev/null", O_RDWR), 0, 0, 1));
	close(fd);
	close(ro);
	unlink("space");
}

static volatile int signals, from_itself;

static void count(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	signals++;
	from_itself += info->si_code == SI_USER && info->si_pid == getpid();
}

static void limits(void)
{
	struct rlimit limit = { 4096, RLIM_INFINITY };
	static char bytes[200];
	int fd = open("limited", O_RDWR | O_CREAT | O_TRUNC, 0600), end = open("limited", O_RDWR | O_APPEND);

	sigaction(SIGXFSZ, &(struct sigaction){ .sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART }, NULL);
	setrlimit(RLIMIT_FSIZE, &limit);
	TRY(pwrite(fd, bytes, 10, 4096));
	TRY(pwrite(fd, bytes, 0, 4096));
	TRY(pwrite(fd, bytes, 200, 4000));
	TRY(write(end, bytes, 1));
	TRY(ftruncate(fd, 8192));
	TRY(truncate("limited", 4097));
	TRY(fallocate(fd, 0, 0, 8192));
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8192));
	printf("SIGXFSZ %d, from itself %d\n", signals, from_itself);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	close(fd);
	close(end);
}

static void without_names(void)
{
	char name[40], buffer[100];
	struct stat status;
	int fd = open(".", O_TMPFILE | O_RDWR, 0640), other = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);

	fstat(fd, &status);
	printf("links %d mode %o\n", (int)status.st_nlink, status.st_mode);
	TRY(write(fd, "content", 7));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, name, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	TRY(linkat(fd, "", AT_FDCWD, "named2", AT_EMPTY_PATH));
	TRY(linkat(other, "", AT_FDCWD, "named3", AT_EMPTY_PATH));
	fstat(fd, &status);
	printf("links %d\n", (int)status.st_nlink);
	long length = readlink(name, buffer, sizeof(buffer));
	printf("%.*s\n", (int)length, buffer);
	unlink("named");
	unlink("named2");
	TRY(linkat(fd, "", AT_FDCWD, "named", AT_EMPTY_PATH));
	TRY(OPEN(".", O_TMPFILE | O_RDONLY, 0600));
	TRY(OPEN("limited", O_TMPFILE | O_RDWR, 0600));
	TRY(OPEN(".", (O_TMPFILE & ~O_DIRECTORY) | O_RDWR, 0600));
	TRY(OPEN("/proc", O_TMPFILE | O_RDWR, 0600));
	close(fd);
	close(other);
}

static long openat2(int at, const char *path, unsigned long long flags, unsigned long long resolve)
{
	struct open_how how = { .flags = flags, .resolve = resolve };
	long fd = syscall(SYS_openat2, at, path, &how, sizeof(how));

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static void bounded(void)
{
	struct {
		struct open_how how;
		unsigned long long more;
	} large = { { .flags = O_RDONLY }, 0 };

	mkdir("jail", 0755);
	mkdir("jail/in", 0755);
	symlink("/limited", "jail/absolute");
	symlink("../limited", "jail/above");
	symlink("in/../in", "jail/inside");
	int at = open("jail", O_PATH);
	TRY(openat2(at, "in", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "inside", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "..", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "in/../..", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "above", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "absolute", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "/", O_RDONLY, RESOLVE_BENEATH));
	TRY(openat2(at, "/in", O_RDONLY, RESOLVE_IN_ROOT));
	TRY(openat2(at, "../../in", O_RDONLY, RESOLVE_IN_ROOT));
	TRY(openat2(at, "absolute", O_RDONLY, RESOLVE_IN_ROOT));
	TRY(openat2(at, "inside", O_RDONLY, RESOLVE_NO_SYMLINKS));
	TRY(openat2(at, "inside", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS));
	TRY(openat2(at, "/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS));
	TRY(openat2(at, "/proc/self/exe", O_RDONLY, RESOLVE_NO_XDEV));
	TRY(openat2(at, "../..", O_RDONLY, RESOLVE_NO_XDEV));
	TRY(openat2(at, "in", O_RDONLY, 0x1000));
	TRY(openat2(at, "in", O_RDONLY | (1ULL << 40), 0));
	TRY(openat2(at, "in", O_PATH | O_RDWR, 0));
	TRY(openat2(at, "in", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
	TRY(openat2(at, "new", O_CREAT | O_WRONLY, RESOLVE_CACHED));
	TRY(syscall(SYS_openat2, at, "in", &large, 8) < 0 ? -1 : 0);
	TRY(syscall(SYS_openat2, at, "in", &large, sizeof(large)) < 0 ? -1 : 0);
	large.more = 1;
	TRY(syscall(SYS_openat2, at, "in", &large, sizeof(large)) < 0 ? -1 : 0);
	TRY(syscall(SYS_openat2, at, "in", &large, 5000) < 0 ? -1 : 0);
	large.how.mode = 0600;
	TRY(syscall(SYS_openat2, at, "in", &large, sizeof(large.how)) < 0 ? -1 : 0);
	close(at);
}

static void flags(void)
{
	struct stat status;
	struct statx extended;
	char buffer[10];

	TRY(fstatat(AT_FDCWD, ".", &status, 0x8000));
	TRY(statx(AT_FDCWD, ".", 0x8000, 0, &extended));
	TRY(statx(AT_FDCWD, ".", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &extended));
	TRY(statx(AT_FDCWD, ".", 0, 0x80000000, &extended));
	TRY(syscall(SYS_faccessat2, AT_FDCWD, ".", 0, 0x8000));
	TRY(syscall(SYS_faccessat2, AT_FDCWD, ".", 8, 0));
	TRY(linkat(AT_FDCWD, "limited", AT_FDCWD, "x", 0x8000));
	TRY(unlinkat(AT_FDCWD, "limited", 0x8000));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "limited", AT_FDCWD, "x", 8));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "limited", AT_FDCWD, "x", RENAME_NOREPLACE | RENAME_EXCHANGE));
	TRY(fchownat(AT_FDCWD, "limited", 0, 0, 0x8000));
	TRY(syscall(SYS_fchmodat2, AT_FDCWD, "limited", 0600, 0x8000));
	TRY(utimensat(AT_FDCWD, "limited", 0, 0x8000));
	TRY(OPEN("limited", O_RDONLY | 0x20000000));
	TRY(OPEN(".", O_RDONLY | O_CREAT | O_DIRECTORY, 0600));
	TRY(readlink("", buffer, sizeof(buffer)));
	TRY(readlink("limited", buffer, sizeof(buffer)));
	TRY(readlinkat(open("limited", O_PATH), "", buffer, sizeof(buffer)));
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	umask(0);
	if (mkdir("/tmp/tmpfs", 0755) || mount("m", "/tmp/tmpfs", "tmpfs", 0, "size=1m") || chdir("/tmp/tmpfs"))
		return perror("mount"), 1;
	holes();
	space();
	limits();
	without_names();
	bounded();
	flags();
	return chdir("/") || umount2("/tmp/tmpfs", 0) || rmdir("/tmp/tmpfs");
}
