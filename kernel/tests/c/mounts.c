// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: mount(0, "b", 0, MS_REMOUNT | MS_RDONLY, 0): EBUSY
// Mounts: what is one file system and what is not, when a mount is busy, what its flags forbid, and long chains of them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "said.h"

static void make(const char *name)
{
	close(open(name, O_CREAT | O_WRONLY, 0644));
}

static void two_systems(void)
{
	struct stat a, b, c;

	TRY(mount("one", "a", "tmpfs", 0, 0));
	TRY(mount("two", "b", "tmpfs", 0, "size=64k,mode=700"));
	stat(".", &c);
	stat("a", &a);
	stat("b", &b);
	printf("devices differ: %d\n", a.st_dev != b.st_dev && a.st_dev != c.st_dev && b.st_dev != c.st_dev);
	printf("modes %o %o\n", a.st_mode & 07777, b.st_mode & 07777);
	make("a/file");
	TRY(link("a/file", "b/file"));
	TRY(rename("a/file", "b/file"));
	TRY(link("a/file", "a/other"));
	TRY(rmdir("a"));
	TRY(rename("a", "d"));
	TRY(unlink("a"));
	TRY(rename("a/..", "d"));
}

static void busy(void)
{
	int fd = open("a/file", O_RDONLY);

	TRY(umount2("a", 0));
	TRY(umount2("a", MNT_EXPIRE));
	close(fd);
	if (!fork()) {
		if (chdir("a"))
			_exit(1);
		TRY(umount2("../a", 0));
		TRY(umount2("../a", MNT_DETACH));
		char where[200];
		TRY(open("file", O_RDONLY));
		printf("in %s\n", syscall(SYS_getcwd, where, sizeof(where)) < 0 ? strerrorname_np(errno) : where);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	TRY(OPEN("a/file", O_RDONLY));
	TRY(umount2("a", 0));
	TRY(mount("one", "a", "tmpfs", 0, 0));
	TRY(umount2("a", MNT_EXPIRE));
	TRY(umount2("a", MNT_EXPIRE));
	TRY(umount2("a", MNT_EXPIRE | MNT_FORCE));
	TRY(umount2("nothing", 0));
	TRY(umount2("b", 0x100));
	TRY(umount2("to-b", UMOUNT_NOFOLLOW));
}

static void read_only(void)
{
	int fd = open("b/file", O_CREAT | O_RDWR, 0644);

	mkdir("b/dir", 0755);
	symlink("file", "b/link");
	mknod("b/null", S_IFCHR | 0666, 0x103);
	TRY(mount(0, "b", 0, MS_REMOUNT | MS_RDONLY, 0));
	close(fd);
	TRY(mount(0, "b", 0, MS_REMOUNT | MS_RDONLY, 0));
	TRY(OPEN("b/file", O_RDONLY));
	TRY(OPEN("b/file", O_WRONLY));
	TRY(OPEN("b/file", O_RDONLY | O_TRUNC));
	TRY(OPEN("b/file", O_RDONLY | O_CREAT, 0600));
	TRY(OPEN("b/new", O_RDONLY | O_CREAT, 0600));
	TRY(OPEN("b/null", O_WRONLY));
	TRY(OPEN("b", O_TMPFILE | O_RDWR, 0600));
	TRY(mkdir("b/new", 0700));
	TRY(mkdir("b/dir", 0700));
	TRY(rmdir("b/dir"));
	TRY(rmdir("b/none"));
	TRY(unlink("b/file"));
	TRY(unlink("b/none"));
	TRY(rename("b/file", "b/none"));
	TRY(rename("b/none", "b/file"));
	TRY(link("b/file", "b/new"));
	TRY(link("b/file", "b/dir"));
	TRY(symlink("x", "b/new"));
	TRY(mknod("b/new", S_IFREG | 0600, 0));
	TRY(chmod("b/file", 0600));
	TRY(chown("b/file", 0, 0));
	TRY(truncate("b/file", 0));
	TRY(utimensat(AT_FDCWD, "b/file", 0, 0));
	TRY(access("b/file", W_OK));
	TRY(access("b/null", W_OK));
	TRY(access("b/file", R_OK));
	TRY(mount(0, "b", 0, MS_REMOUNT, 0));
	TRY(OPEN("b/file", O_WRONLY));
}

static void flags(void)
{
	struct statfs status;

	TRY(mount("x", "a", "tmpfs", MS_NOEXEC | MS_NODEV | MS_NOSUID | MS_NOATIME, "size=1m,nr_inodes=4"));
	make("a/file");
	chmod("a/file", 0755);
	mknod("a/null", S_IFCHR | 0666, 0x103);
	symlink("file", "a/link");
	TRY(access("a/file", X_OK));
	TRY(execl("a/file", "file", NULL));
	TRY(OPEN("a/null", O_RDONLY));
	TRY(OPEN("a/null", O_PATH));
	int fd = open("a/file", O_RDONLY);
	void *at = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	printf("mapped to execute: %s\n", at == MAP_FAILED ? strerrorname_np(errno) : "yes");
	close(fd);
	TRY(OPEN("a/fifth", O_CREAT | O_WRONLY, 0600));
	statfs("a", &status);
	printf("flags %lx type %lx blocks %ld of %ld files %ld of %ld\n", (long)status.f_flags, (long)status.f_type,
	       (long)status.f_bfree, (long)status.f_blocks, (long)status.f_ffree, (long)status.f_files);
	TRY(mount(0, "a", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
	TRY(OPEN("a/file", O_WRONLY));
	TRY(execl("a/file", "file", NULL));
	TRY(mount(0, "a", 0, MS_REMOUNT | MS_BIND | MS_NOSYMFOLLOW, 0));
	TRY(OPEN("a/link", O_RDONLY));
	TRY(mount(0, "a", 0, MS_REMOUNT, "size=8k"));
	TRY(mount(0, "a", 0, MS_REMOUNT, "nonsense=8k"));
	TRY(mount(0, "a/file", 0, MS_REMOUNT, 0));
	TRY(mount("x", "a", "tmpfs", 0, "mode=nonsense"));
	TRY(mount("x", "a", "nonsense", 0, 0));
	TRY(mount("x", "a", 0, 0, 0));
	TRY(mount("x", "a/file", "tmpfs", 0, 0));
	TRY(mount("x", "none", "tmpfs", 0, 0));
	fd = open("a/file", O_RDWR);
	static char block[65536];
	TRY(write(fd, block, sizeof(block)));
	TRY(write(fd, block, 1));
	TRY(ftruncate(fd, 4096));
	TRY(write(fd, block, 1));
	close(fd);
	TRY(umount2("a", 0));
}

static void binds(void)
{
	struct stat one, two;

	make("b/bound");
	mkdir("b/dir/in", 0755);
	TRY(mount("b/dir", "a", 0, MS_BIND, 0));
	stat("a/in", &one);
	stat("b/dir/in", &two);
	printf("the same: %d\n", one.st_ino == two.st_ino && one.st_dev == two.st_dev);
	TRY(link("a/file", "b/file2"));
	make("a/new");
	TRY(rename("a/new", "b/new"));
	TRY(mount(0, "a", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
	TRY(OPEN("a/new", O_WRONLY));
	TRY(OPEN("b/dir/new", O_WRONLY));
	TRY(mount("b/bound", "c", 0, MS_BIND, 0));
	TRY(mount("b/bound", "file", 0, MS_BIND, 0));
	TRY(unlink("file"));
	TRY(mount("file", "d", 0, MS_MOVE, 0));
	TRY(mount("a", "a/in", 0, MS_MOVE, 0));
	TRY(mount("a", "d", 0, MS_MOVE, 0));
	TRY(access("d/in", F_OK));
	TRY(access("a/in", F_OK));
	TRY(mount("nothing", "a", 0, MS_BIND, 0));
	TRY(mount(0, "d", 0, MS_UNBINDABLE, 0));
	TRY(mount("d", "a", 0, MS_BIND, 0));
	TRY(umount2("d", 0));
	TRY(umount2("file", 0));
}

static void chains(void)
{
	char where[200] = "";
	int failed = 0;

	// A file system below itself, seen from there.
	mkdir("/dev/k4", 0755);
	TRY(mount("dev", "/dev/k4", "devtmpfs", 0, 0));
	TRY(chdir("/dev/k4"));
	printf("in %s\n", getcwd(where, sizeof(where)));
	TRY(access("/dev/k4/null", F_OK));
	TRY(access("/dev/k4/k4/null", F_OK));
	TRY(chdir("/tmp/mounts"));
	TRY(umount2("/dev/k4", 0));
	TRY(rmdir("/dev/k4"));
	// On top of each other.
	for (int i = 0; i < 1000; i++)
		failed += mount("x", "a", "tmpfs", 0, 0) != 0;
	mkdir("a/top", 0755);
	for (int i = 0; i < 1000; i++)
		failed += umount2("a", 0) != 0;
	TRY(umount2("a", 0));
	// In each other; then all at once.
	for (int i = 0; i < 300; i++) {
		failed += mount("x", "a", "tmpfs", 0, 0) != 0 || chdir("a");
		mkdir("a", 0755);
	}
	failed += chdir("/tmp/mounts") != 0;
	printf("failed %d\n", failed);
	TRY(umount2("a", 0));
	TRY(umount2("a", MNT_DETACH));
	TRY(rmdir("a"));
}

/// Each type says what it is, and what it thinks of options that it has not.
static void types(void)
{
	static const char *const names[] = {"tmpfs", "ramfs", "proc", "sysfs", "devtmpfs"};
	struct stat status_of_root;
	struct statfs status;

	mkdir("e", 0755);
	for (int i = 0; i < 5; i++) {
		TRY(mount("x", "e", names[i], 0, 0));
		statfs("e", &status);
		printf("%s: type %lx\n", names[i], (long)status.f_type);
		TRY(mount("x", "e", 0, MS_REMOUNT, "nonsense=1"));
		TRY(umount("e"));
		TRY(mount("x", "e", names[i], 0, "nonsense=1"));
		TRY(umount("e"));
	}
	TRY(mount("x", "e", "ramfs", 0, "size=1k,mode=700,uid=5"));
	TRY(mount("x", "e", 0, MS_REMOUNT, "mode=711"));
	stat("e", &status_of_root);
	printf("mode %o owner %d\n", status_of_root.st_mode & 07777, status_of_root.st_uid);
	TRY(umount("e"));
	TRY(mount("x", "e", "ramfs", 0, "mode=9"));
	TRY(mount("x", "e", "ramfs", 0, "mode=9,mode=700"));
	for (int i = 0; i < 3; i++) {
		static const char *const given[] = {0, "mode=1777", "mode=700,uid=3"};
		char line[200];
		FILE *mounts;

		TRY(mount("ram", "e", "ramfs", 0, given[i]));
		mounts = fopen("/proc/mounts", "r");
		while (fgets(line, sizeof(line), mounts))
			if (!strncmp(line, "ram ", 4))
				printf("%s", line);
		fclose(mounts);
		TRY(mount("x", "e", 0, MS_REMOUNT | MS_RDONLY, "mode=9"));
		printf("writable %d\n", access("e", W_OK) == 0);
		TRY(umount("e"));
	}
	TRY(mount("x", "e", "nosuchfs", 0, 0));
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	if (mkdir("/tmp/mounts", 0755) || mount("m", "/tmp/mounts", "tmpfs", 0, 0) || chdir("/tmp/mounts"))
		return perror("mount"), 1;
	mkdir("a", 0755);
	mkdir("b", 0755);
	mkdir("c", 0755);
	mkdir("d", 0755);
	make("file");
	symlink("b", "to-b");
	two_systems();
	busy();
	read_only();
	flags();
	binds();
	chains();
	types();
	TRY(umount2("b", 0));
	TRY(chdir("/"));
	TRY(umount2("/tmp/mounts", 0));
	TRY(rmdir("/tmp/mounts"));
	return 0;
}
