// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: list: security.b trusted.a user.one user.two
// Extended attributes (xattr(7), setxattr(2), getxattr(2), listxattr(2), removexattr(2)) of files in a tmpfs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "said.h"

static char value[70000], name[300];
static void *volatile nowhere = (void *)1;

static int compare(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

/* Their order is the file system's own affair. */
static void show(const char *path)
{
	char names[1000], *sorted[20];
	long length = llistxattr(path, names, sizeof(names));
	int count = 0;

	for (char *at = names; at < names + length; at += strlen(at) + 1)
		sorted[count++] = at;
	qsort(sorted, count, sizeof(*sorted), compare);
	printf("list:");
	for (int i = 0; i < count; i++)
		printf(" %s", sorted[i]);
	printf("%s\n", length < 0 ? strerrorname_np(errno) : "");
}

static void basics(void)
{
	TRY(listxattr("file", NULL, 0));
	TRY(getxattr("file", "user.one", value, 10));
	TRY(setxattr("file", "user.one", "first", 5, 0));
	TRY(setxattr("file", "user.one", "other", 5, XATTR_CREATE));
	TRY(setxattr("file", "user.none", "other", 5, XATTR_REPLACE));
	TRY(setxattr("file", "user.one", "other", 5, XATTR_CREATE | XATTR_REPLACE));
	TRY(setxattr("file", "user.none", "other", 5, XATTR_CREATE | XATTR_REPLACE));
	TRY(setxattr("file", "user.one", "other", 5, 4));
	TRY(setxattr("file", "user.one", "longer", 6, XATTR_REPLACE));
	TRY(getxattr("file", "user.one", NULL, 0));
	TRY(getxattr("file", "user.one", value, 5));
	TRY(getxattr("file", "user.one", value, 6));
	printf("%.6s\n", value);
	TRY(getxattr("file", "user.one", nowhere, 6));
	TRY(setxattr("file", "user.two", NULL, 0, XATTR_CREATE));
	TRY(getxattr("file", "user.two", value, 6));
	TRY(setxattr("file", "trusted.a", "t", 1, 0));
	TRY(setxattr("file", "security.b", "s", 1, 0));
	show("file");
	TRY(listxattr("file", NULL, 0));
	TRY(listxattr("file", value, 10));
	TRY(removexattr("file", "user.two"));
	TRY(removexattr("file", "user.two"));
	show("file");
}

static void bounds(void)
{
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = 0;
	TRY(setxattr("file", name, "x", 1, 0));
	TRY(removexattr("file", name));
	name[255] = 'n';
	name[256] = 0;
	TRY(setxattr("file", name, "x", 1, 0));
	TRY(getxattr("file", name, value, 1));
	TRY(removexattr("file", name));
	TRY(setxattr("file", "", "x", 1, 0));
	TRY(setxattr("file", "user.", "x", 1, 0));
	TRY(getxattr("file", "user.", value, 1));
	TRY(setxattr("file", "user", "x", 1, 0));
	TRY(setxattr("file", "unknown.name", "x", 1, 0));
	TRY(getxattr("file", "unknown.name", value, 1));
	TRY(removexattr("file", "unknown.name"));
	TRY(setxattr("file", (void *)1, "x", 1, 0));
	TRY(setxattr("file", "user.bad", nowhere, 1, 0));
	TRY(setxattr("file", "user.big", value, 65536, 0));
	TRY(getxattr("file", "user.big", value, 65536));
	TRY(getxattr("file", "user.big", value, sizeof(value)));
	TRY(setxattr("file", "user.big", value, 65537, 0));
	TRY(removexattr("file", "user.big"));
	TRY(setxattr("nothing", "user.one", "x", 1, 0));
	TRY(getxattr("nothing", "user.one", value, 1));
	TRY(listxattr("nothing", value, 1));
	TRY(removexattr("nothing", "user.one"));
}

static void kinds(void)
{
	static const char *const paths[] = { "directory", "link", "pipe", "dangling" };

	for (int i = 0; i < 4; i++) {
		printf("%s\n", paths[i]);
		TRY(lsetxattr(paths[i], "user.a", "x", 1, 0));
		TRY(lsetxattr(paths[i], "trusted.a", "x", 1, 0));
		TRY(lsetxattr(paths[i], "security.a", "x", 1, 0));
		TRY(lgetxattr(paths[i], "user.a", value, 10));
		TRY(lgetxattr(paths[i], "trusted.a", value, 10));
		show(paths[i]);
		TRY(setxattr(paths[i], "user.b", "y", 1, 0));
		TRY(lremovexattr(paths[i], "security.a"));
		show(paths[i]);
	}
	show("file");
	TRY(getxattr("/proc/self/stat", "user.a", value, 10));
	TRY(setxattr("/proc/self/comm", "user.a", "x", 1, 0));
	TRY(listxattr("/proc/self/stat", value, 10));
}

static void descriptors(void)
{
	int fd = open("file", O_RDONLY), path = open("file", O_PATH);

	TRY(fsetxattr(fd, "user.fd", "x", 1, 0));
	TRY(fgetxattr(fd, "user.fd", value, 1));
	TRY(flistxattr(fd, NULL, 0));
	TRY(fremovexattr(fd, "user.fd"));
	TRY(fsetxattr(path, "user.fd", "x", 1, 0));
	TRY(fgetxattr(path, "user.fd", value, 1));
	TRY(flistxattr(path, NULL, 0));
	TRY(fremovexattr(path, "user.fd"));
	TRY(fgetxattr(-1, "user.fd", value, 1));
	struct stat before, after;
	fstat(fd, &before);
	usleep(20000);
	fsetxattr(fd, "user.time", "x", 1, 0);
	fstat(fd, &after);
	printf("changed %d, modified %d\n", after.st_ctim.tv_nsec != before.st_ctim.tv_nsec,
	       after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
	rename("file", "renamed");
	TRY(getxattr("renamed", "user.time", value, 1));
	link("renamed", "file");
	TRY(removexattr("file", "user.time"));
	TRY(getxattr("renamed", "user.time", value, 1));
	close(fd);
	close(path);
}

static void as_another(void)
{
	TRY(setxattr("file", "user.a", "x", 1, 0));
	TRY(setxattr("open", "user.a", "x", 1, 0));
	TRY(getxattr("file", "user.one", value, 10));
	TRY(getxattr("open", "user.a", value, 10));
	TRY(setxattr("open", "trusted.a", "x", 1, 0));
	TRY(getxattr("file", "trusted.a", value, 10));
	TRY(removexattr("file", "trusted.a"));
	TRY(setxattr("open", "security.a", "x", 1, 0));
	TRY(getxattr("file", "security.b", value, 10));
	TRY(removexattr("file", "security.b"));
	TRY(setxattr("sticky", "user.a", "x", 1, 0));
	TRY(removexattr("open", "user.a"));
	show("file");
}

int main(void)
{
	mkdir("xattrs", 0755);
	if (mount("xattrs", "xattrs", "tmpfs", 0, "size=1m,mode=755") || chdir("xattrs"))
		return 1;
	umask(0);
	close(open("file", O_CREAT | O_WRONLY, 0600));
	close(open("open", O_CREAT | O_WRONLY, 0666));
	mkdir("directory", 0755);
	mkdir("sticky", 01777);
	symlink("file", "link");
	symlink("nothing", "dangling");
	mkfifo("pipe", 0666);
	basics();
	bounds();
	kinds();
	descriptors();
	fflush(stdout);
	if (!fork()) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		as_another();
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	TRY(mount("x", ".", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	TRY(setxattr("file", "user.a", "x", 1, 0));
	TRY(removexattr("file", "user.one"));
	TRY(getxattr("file", "user.one", value, 10));
	if (chdir("..") || umount("xattrs"))
		return 1;
	rmdir("xattrs");
	return 0;
}
