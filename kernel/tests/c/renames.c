// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: renameat2(AT_FDCWD, "dir/in", AT_FDCWD, "file", RENAME_EXCHANGE): 0
// Renaming in all its ways, link counts, names with slashes behind them, and links that lead in a circle.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "said.h"

static int links(const char *name)
{
	struct stat status;

	return lstat(name, &status) ? -1 : (int)status.st_nlink;
}

static void make(const char *name)
{
	close(open(name, O_CREAT | O_WRONLY, 0644));
}

static void order_of_errors(void)
{
	TRY(rename("none", "none2"));
	TRY(rename("none", "dir"));
	TRY(rename("none/x", "dir"));
	TRY(rename("file", "none/x"));
	TRY(rename("file/x", "file"));
	TRY(rename("file", "dir"));
	TRY(rename("dir", "file"));
	TRY(rename("dir", "full"));
	TRY(rename("dir", "dir/in"));
	TRY(rename("dir", "dir/in/deeper"));
	TRY(rename("full/in", "full"));
	TRY(rename("dir/.", "x"));
	TRY(rename("dir/..", "x"));
	TRY(rename("file", "dir/."));
	TRY(rename("/", "x"));
	TRY(rename("file", "/"));
	TRY(rename("", "x"));
	TRY(rename("file", ""));
	TRY(rename("file/", "x"));
	TRY(rename("file", "x/"));
	TRY(rename("dir", "x/"));
	TRY(rename("x/", "dir/"));
	TRY(rename("to-dir/", "x"));
	TRY(rename("file", "file"));
	TRY(rename("file", "same"));
	TRY(access("same", F_OK));
	TRY(renameat2(AT_FDCWD, "file", AT_FDCWD, "same", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "none", AT_FDCWD, "same", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "file", AT_FDCWD, "dir/.", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "file", AT_FDCWD, "none", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "dir", AT_FDCWD, "dir/in", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "dir/in", AT_FDCWD, "dir", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "file", AT_FDCWD, "same", RENAME_EXCHANGE));
	TRY(rename("moved", "none"));
	char longest[300] = "";
	memset(longest, 'n', 256);
	TRY(rename("file", longest));
	TRY(rename(longest, "file"));
	TRY(OPEN(longest, O_CREAT | O_WRONLY, 0600));
	longest[255] = 0;
	TRY(OPEN(longest, O_CREAT | O_WRONLY, 0600));
	TRY(unlink(longest));
}

static void counts(void)
{
	struct stat status;

	printf("links . %d dir %d dir/in %d file %d\n", links("."), links("dir"), links("dir/in"), links("file"));
	TRY(renameat2(AT_FDCWD, "dir/in", AT_FDCWD, "file", RENAME_EXCHANGE));
	printf("links . %d dir %d dir/in %d file %d\n", links("."), links("dir"), links("dir/in"), links("file"));
	TRY(renameat2(AT_FDCWD, "dir/in", AT_FDCWD, "file", RENAME_EXCHANGE));
	mkdir("empty", 0755);
	mkdir("dir/in/below", 0755);
	TRY(rename("dir/in", "empty"));
	printf("links . %d dir %d empty %d\n", links("."), links("dir"), links("empty"));
	TRY(rename("empty", "dir/in"));
	TRY(rmdir("dir/in/below"));
	printf("links . %d dir %d\n", links("."), links("dir"));
	make("white");
	TRY(renameat2(AT_FDCWD, "white", AT_FDCWD, "black", RENAME_WHITEOUT));
	TRY(lstat("white", &status));
	printf("mode %o device %u:%u\n", status.st_mode, major(status.st_rdev), minor(status.st_rdev));
	TRY(OPEN("white", O_RDONLY));
	TRY(renameat2(AT_FDCWD, "black", AT_FDCWD, "file", RENAME_WHITEOUT | RENAME_NOREPLACE));
	unlink("black");
	unlink("white");
}

// A file that is open tells its name, also when that changes.
static void names_of_open_files(void)
{
	char name[40], shown[100];
	int fd = open("file", O_RDWR);

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	printf("%.*s\n", (int)readlink(name, shown, sizeof(shown)), shown);
	rename("file", "dir/renamed");
	printf("%.*s\n", (int)readlink(name, shown, sizeof(shown)), shown);
	rename("dir", "other");
	printf("%.*s\n", (int)readlink(name, shown, sizeof(shown)), shown);
	rename("other", "dir");
	unlink("dir/renamed");
	printf("%.*s\n", (int)readlink(name, shown, sizeof(shown)), shown);
	TRY(write(fd, "through", 7));
	int again = open(name, O_RDONLY);
	printf("%.*s\n", (int)read(again, shown, sizeof(shown)), shown);
	close(again);
	close(fd);
	TRY(OPEN(name, O_RDONLY));
	make("file");
}

static void slashes(void)
{
	TRY(mkdir("new/", 0755));
	TRY(rmdir("new/"));
	TRY(mkdir("dangling/", 0755));
	TRY(OPEN("new/", O_CREAT | O_WRONLY, 0600));
	TRY(OPEN("file/", O_RDONLY));
	TRY(OPEN("dir/", O_RDONLY));
	TRY(OPEN("dir", O_CREAT | O_RDONLY, 0600));
	TRY(OPEN("dir", O_WRONLY));
	TRY(OPEN("to-dir/", O_RDONLY | O_NOFOLLOW));
	TRY(OPEN("to-dir", O_RDONLY | O_NOFOLLOW));
	TRY(OPEN("to-dir", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
	TRY(OPEN("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
	TRY(OPEN("dangling", O_CREAT | O_WRONLY, 0600));
	TRY(unlink("nowhere"));
	TRY(OPEN("dangling", O_RDONLY));
	TRY(unlink("to-dir/"));
	TRY(rmdir("to-dir/"));
	TRY(rmdir("to-dir"));
	TRY(unlink("dir/"));
	TRY(unlink("dir"));
	TRY(unlink("file/"));
	TRY(unlink("none/"));
	TRY(rmdir("dir/."));
	TRY(rmdir("dir/in/.."));
	TRY(rmdir("file"));
	TRY(link("file", "new/"));
	TRY(link("dir", "new"));
	TRY(link("dangling", "new"));
	TRY(unlink("new"));
	TRY(symlink("x", "new/"));
	TRY(symlink("", "new"));
	TRY(mknod("new/", S_IFREG | 0600, 0));
	TRY(mknod("new", S_IFDIR | 0600, 0));
	TRY(mknod("new", S_IFLNK | 0600, 0));
	TRY(mknod("new", 0600, 0));
	TRY(unlink("new"));
	TRY(mknod("new", S_IFSOCK | 0600, 0));
	TRY(OPEN("new", O_RDONLY));
	TRY(unlink("new"));
	TRY(truncate("dir", 0));
	TRY(truncate("/dev/null", 0));
	TRY(truncate("file", -1));
	TRY(truncate("none", 0));
}

static void circles(void)
{
	char name[10], target[10];

	symlink("self", "self");
	TRY(OPEN("self", O_RDONLY));
	TRY(OPEN("self/x", O_RDONLY));
	TRY(OPEN("self", O_RDONLY | O_CREAT, 0600));
	TRY(rename("self", "self2"));
	unlink("self2");
	make("l0");
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(target, sizeof(target), "l%d", i - 1);
		symlink(target, name);
	}
	TRY(OPEN("l40", O_RDONLY));
	TRY(OPEN("l41", O_RDONLY));
}

// Whoever lists a directory while names go gets each that stays once.
static void listed(void)
{
	char name[10];
	int seen[200] = { 0 }, once = 0, number = 0;

	mkdir("many", 0755);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		make(name);
	}
	DIR *many = opendir("many");
	for (struct dirent *entry; (entry = readdir(many));) {
		if (sscanf(entry->d_name, "%d", &number) == 1 && number < 200)
			seen[number]++;
		snprintf(name, sizeof(name), "many/%d", (number * 2 + 1) % 200);
		unlink(name);
	}
	closedir(many);
	for (int i = 0; i < 200; i += 2)
		once += seen[i] == 1;
	printf("even ones seen once: %d\n", once);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	umask(022);
	if (mkdir("/tmp/renames", 0755) || mount("m", "/tmp/renames", "tmpfs", 0, 0) || chdir("/tmp/renames"))
		return perror("mount"), 1;
	mkdir("dir", 0755);
	mkdir("dir/in", 0755);
	mkdir("full", 0755);
	make("full/in");
	make("file");
	link("file", "same");
	symlink("dir", "to-dir");
	symlink("nowhere", "dangling");
	order_of_errors();
	counts();
	names_of_open_files();
	slashes();
	circles();
	listed();
	return chdir("/") || umount2("/tmp/renames", 0) || rmdir("/tmp/renames");
}
