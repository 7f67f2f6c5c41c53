// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: open("copy", O_WRONLY) while it runs: ETXTBSY
// What each kind of file answers to calls that are made for another: sync, seek, advice, O_PATH; and writing to what runs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "said.h"

static void kinds(void)
{
	int ends[2], pair[2];

	if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return perror("pipe");
	struct {
		const char *name;
		int fd;
	} all[] = {
		{ "file", open("file", O_RDWR | O_CREAT, 0600) },
		{ "directory", open(".", O_RDONLY) },
		{ "null", open("/dev/null", O_RDWR) },
		{ "zero", open("/dev/zero", O_RDWR) },
		{ "pipe", ends[0] },
		{ "socket", pair[0] },
		{ "proc", open("/proc/self/status", O_RDONLY) },
		{ "path", open("file", O_PATH) },
		{ "memfd", memfd_create("x", 0) },
		{ "none", -1 },
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		int fd = all[i].fd;

		printf("%s: fsync %s", all[i].name, said(fsync(fd)));
		printf(", fdatasync %s", said(fdatasync(fd)));
		printf(", syncfs %s", said(syncfs(fd)));
		printf(", range %s", said(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)));
		printf(", advice %s", said(syscall(SYS_fadvise64, fd, 0L, 0L, POSIX_FADV_WILLNEED)));
		printf(", bad advice %s", said(syscall(SYS_fadvise64, fd, 0L, 0L, 77)));
		printf(", readahead %s", said(readahead(fd, 0, 1)));
		printf(", lseek %s", said(lseek(fd, 0, SEEK_CUR)));
		printf(", ftruncate %s\n", said(ftruncate(fd, 0)));
	}
	TRY(lseek(all[2].fd, 100, SEEK_SET));
	TRY(lseek(all[3].fd, -5, SEEK_SET));
	TRY(lseek(open("/dev/full", O_RDWR), -5, SEEK_SET));
	TRY(sync_file_range(all[0].fd, -1, 0, 0));
	TRY(sync_file_range(all[0].fd, 0, 0, 8));
}

static void places(void)
{
	struct stat status;
	struct statfs system;
	char byte;
	int fd = open("file", O_PATH);

	TRY(fstat(fd, &status));
	TRY(fstatfs(fd, &system) < 0 ? -1 : 0);
	TRY(read(fd, &byte, 1));
	TRY(write(fd, &byte, 1));
	TRY(pread(fd, &byte, 1, 0));
	TRY(fchmod(fd, 0600));
	TRY(fchown(fd, 0, 0));
	TRY(futimens(fd, 0));
	TRY(syscall(SYS_getdents64, open(".", O_PATH), &byte, 1));
	TRY(fchdir(open(".", O_PATH)));
	TRY(fchownat(fd, "", 0, 0, AT_EMPTY_PATH));
	TRY(mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	// Set-user-id does not stay with a new owner.
	chmod("file", 06755);
	TRY(chown("file", 0, 0));
	stat("file", &status);
	printf("mode %o\n", status.st_mode & 07777);
	chmod("file", 02644);
	TRY(chown("file", 1, 1));
	stat("file", &status);
	printf("mode %o owner %u:%u\n", status.st_mode & 07777, status.st_uid, status.st_gid);
	struct timespec none[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } }, bad[2] = { { 0, 1000000000 }, { 0, 0 } };
	TRY(utimensat(AT_FDCWD, "nothing", none, 0));
	TRY(utimensat(AT_FDCWD, "file", bad, 0));
	struct timespec some[2] = { { 5, 6 }, { 7, UTIME_OMIT } };
	TRY(utimensat(AT_FDCWD, "file", some, 0));
	stat("file", &status);
	printf("accessed %ld.%09ld\n", (long)status.st_atim.tv_sec, status.st_atim.tv_nsec);
}

static void appends(void)
{
	struct iovec parts[] = { { "ab", 2 }, { "cd", 2 } };
	char text[40] = "";
	int fd = open("append", O_RDWR | O_CREAT | O_TRUNC, 0600), end = open("append", O_WRONLY | O_APPEND);

	TRY(pwritev2(fd, parts, 2, 0, 0));
	TRY(pwritev2(fd, parts, 2, 0, RWF_APPEND));
	TRY(pwritev2(end, parts, 1, 0, 0x20));
	TRY(pwritev2(end, parts + 1, 1, 0, 0));
	TRY(pwritev2(fd, parts, 2, -1, RWF_APPEND));
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(pwritev2(fd, parts, 1, 0, RWF_APPEND | 0x20));
	TRY(pwritev2(fd, parts, 1, 0, 1 << 20));
	TRY(pwritev2(fd, parts, 1, 0, RWF_DSYNC | RWF_SYNC));
	TRY(pread(fd, text, sizeof(text) - 1, 0));
	printf("%s\n", text);
}

static void copy_self(const char *to)
{
	static char block[65536];
	int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	for (long n; (n = read(in, block, sizeof(block))) > 0;)
		if (write(out, block, n) != n)
			perror("write");
	close(in);
	close(out);
}

// Not written while it runs, not started while it is written.
static void running(void)
{
	int ends[2], status;

	copy_self("copy");
	int fd = open("copy", O_WRONLY);
	if (!fork()) {
		execl("copy", "copy", "end", NULL);
		printf("exec while it is open to be written: %s\n", strerrorname_np(errno));
		_exit(0);
	}
	wait(&status);
	close(fd);
	if (pipe(ends))
		return perror("pipe");
	if (!fork()) {
		dup2(ends[0], 0);
		close(ends[1]);
		execl("copy", "copy", "wait", NULL);
		_exit(1);
	}
	// It tells that it runs.
	char ready;
	int told = open("told", O_RDWR);
	if (read(told, &ready, 1) != 1)
		perror("read");
	printf("open(\"copy\", O_WRONLY) while it runs: %s\n", said(open("copy", O_WRONLY)));
	printf("truncate: %s\n", said(truncate("copy", 0)));
	printf("open O_TRUNC: %s\n", said(open("copy", O_RDONLY | O_TRUNC)));
	printf("open to read: %s\n", open("copy", O_RDONLY) < 0 ? strerrorname_np(errno) : "works");
	printf("rename: %s\n", said(rename("copy", "moved")));
	close(ends[1]);
	wait(&status);
	printf("ended with %d\n", WEXITSTATUS(status));
	printf("open to write: %s\n", open("moved", O_WRONLY) < 0 ? strerrorname_np(errno) : "works");
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		char end;

		if (!strcmp(argv[1], "wait")) {
			int told = open("told", O_WRONLY);
			if (write(told, "r", 1) != 1 || read(0, &end, 1) < 0)
				return 8;
		}
		return 7;
	}
	setvbuf(stdout, 0, _IONBF, 0);
	if (mkdir("/tmp/kinds", 0755) || mount("m", "/tmp/kinds", "tmpfs", 0, 0) || chdir("/tmp/kinds"))
		return perror("mount"), 1;
	mkfifo("told", 0600);
	kinds();
	places();
	appends();
	running();
	return 0;
}
