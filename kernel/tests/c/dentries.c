// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: hard links: /tmp/names/d/one, /tmp/names/two
// By which name a file, a directory or a mapping is shown: the one that it was opened by, wherever that is now.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRY(call) printf("%s: %s\n", #call, (call) < 0 ? strerrorname_np(errno) : "ok")

// What a link of /proc shows.
static const char *shown(const char *link)
{
	static char texts[4][4200];
	static int next;
	char *text = texts[next++ % 4];
	long length = readlink(link, text, 4199);

	text[length < 0 ? 0 : length] = 0;
	return length < 0 ? strerrorname_np(errno) : text;
}

static const char *name_of(int fd)
{
	char link[64];

	sprintf(link, "/proc/self/fd/%d", fd);
	return shown(link);
}

// The name of the mapping at an address.
static void print_mapping(const char *what, void *at)
{
	char line[4300], start[32];
	FILE *maps = fopen("/proc/self/maps", "r");

	sprintf(start, "%lx-", (unsigned long)at);
	while (fgets(line, sizeof(line), maps)) {
		char *name = strchr(line, '/');

		if (strncmp(line, start, strlen(start)) == 0)
			printf("%s: %s", what, name ? name : "no name\n");
	}
	fclose(maps);
}

static void make(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR, 0644);

	if (fd < 0 || ftruncate(fd, 4096))
		perror(path);
	close(fd);
}

static void print_directory(const char *what)
{
	char where[4096];

	printf("%s: %s, %s\n", what, syscall(SYS_getcwd, where, sizeof(where)) < 0 ? strerrorname_np(errno) : where,
	       shown("/proc/self/cwd"));
}

static void hard_links(void)
{
	mkdir("/tmp/names/d", 0755);
	make("/tmp/names/d/one");
	TRY(link("/tmp/names/d/one", "/tmp/names/two"));
	int one = open("/tmp/names/d/one", O_RDWR), two = open("/tmp/names/two", O_RDWR);
	void *first = mmap(NULL, 4096, PROT_READ, MAP_SHARED, one, 0);
	void *second = mmap(NULL, 4096, PROT_READ, MAP_SHARED, two, 0);

	printf("hard links: %s, %s\n", name_of(one), name_of(two));
	print_mapping("first", first);
	print_mapping("second", second);
	TRY(rename("/tmp/names/two", "/tmp/names/d/three"));
	printf("renamed: %s, %s\n", name_of(one), name_of(two));
	TRY(unlink("/tmp/names/d/one"));
	printf("unlinked: %s, %s\n", name_of(one), name_of(two));
	print_mapping("first", first);
	print_mapping("second", second);
	TRY(link("/tmp/names/d/three", "/tmp/names/d/one"));
	printf("linked again: %s, %s\n", name_of(one), name_of(two));
	TRY(rename("/tmp/names/d/one", "/tmp/names/d/three"));
	TRY(access("/tmp/names/d/one", F_OK));
	TRY(rename("/tmp/names/d", "/tmp/names/e"));
	printf("its directory renamed: %s\n", name_of(two));
	print_mapping("second", second);

	int again = open("/proc/self/fd/4", O_RDWR);

	printf("opened by its descriptor: %d, %s\n", again >= 0, name_of(again));
	munmap(first, 4096);
	munmap(second, 4096);
	close(one);
	close(two);
	close(again);
	unlink("/tmp/names/e/one");
	unlink("/tmp/names/e/three");
	rmdir("/tmp/names/e");
}

static void replaced(void)
{
	make("/tmp/names/a");
	make("/tmp/names/b");
	int a = open("/tmp/names/a", O_RDONLY), b = open("/tmp/names/b", O_RDONLY);

	TRY(syscall(SYS_renameat2, AT_FDCWD, "/tmp/names/a", AT_FDCWD, "/tmp/names/b", RENAME_EXCHANGE));
	printf("exchanged: %s, %s\n", name_of(a), name_of(b));
	TRY(rename("/tmp/names/a", "/tmp/names/b"));
	printf("replaced: %s, %s\n", name_of(a), name_of(b));
	close(a);
	close(b);
	unlink("/tmp/names/b");
}

static void directories(void)
{
	mkdir("/tmp/names/d", 0755);
	mkdir("/tmp/names/d/in", 0755);
	TRY(chdir("/tmp/names/d/in"));
	TRY(rename("/tmp/names/d", "/tmp/names/e"));
	print_directory("renamed");
	TRY(rmdir("/tmp/names/e/in"));
	print_directory("removed");
	TRY(open("new", O_CREAT | O_RDWR, 0644));
	TRY(mkdir("new", 0755));
	TRY(close(open("..", O_RDONLY | O_DIRECTORY)));
	TRY(chdir(".."));
	print_directory("above");
	TRY(mkdir("/tmp/names/e/in", 0755));
	print_directory("another has its name");
	TRY(chdir("in"));
	TRY(rmdir("../in"));
	TRY(rmdir("/tmp/names/e"));
	TRY(chdir(".."));
	print_directory("above, removed too");
	TRY(chdir(".."));
	print_directory("and above");
	TRY(chdir("/"));
}

static void bound(void)
{
	mkdir("/tmp/names/a", 0755);
	mkdir("/tmp/names/b", 0755);
	mkdir("/tmp/names/a/in", 0755);
	make("/tmp/names/a/in/f");
	TRY(mount("/tmp/names/a", "/tmp/names/b", NULL, MS_BIND, NULL));
	int a = open("/tmp/names/a/in/f", O_RDONLY), b = open("/tmp/names/b/in/f", O_RDONLY);

	printf("bound: %s, %s\n", name_of(a), name_of(b));
	TRY(rename("/tmp/names/b/in", "/tmp/names/b/out"));
	printf("renamed: %s, %s\n", name_of(a), name_of(b));
	TRY(chdir("/tmp/names/b/out"));
	print_directory("in it");
	TRY(rmdir("/tmp/names/b"));
	TRY(rename("/tmp/names/b", "/tmp/names/c"));
	TRY(unlink("/tmp/names/a/out/f"));
	printf("removed: %s, %s\n", name_of(a), name_of(b));
	TRY(chdir("/"));
	close(b);
	TRY(umount("/tmp/names/b"));
	close(a);

	// A mount on one name of a file does not cover another.
	make("/tmp/names/f");
	make("/tmp/names/shown");
	link("/tmp/names/f", "/tmp/names/g");
	TRY(mount("/tmp/names/shown", "/tmp/names/f", NULL, MS_BIND, NULL));
	TRY(unlink("/tmp/names/f"));
	TRY(unlink("/tmp/names/g"));
	TRY(umount("/tmp/names/f"));
	TRY(unlink("/tmp/names/f"));
}

static void nameless(void)
{
	int memory = memfd_create("a name", 0);
	int temporary = open("/tmp/names", O_TMPFILE | O_RDWR, 0600);
	void *at;

	printf("memfd: %s\n", name_of(memory));
	TRY(ftruncate(memory, 4096));
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, 0);
	print_mapping("mapped", at);
	printf("O_TMPFILE: %d\n", strncmp(name_of(temporary), "/tmp/names/#", 12) == 0 && strstr(name_of(temporary), " (deleted)"));
	TRY(linkat(AT_FDCWD, "/proc/self/fd/4", AT_FDCWD, "/tmp/names/named", AT_SYMLINK_FOLLOW));
	printf("with a name: %d\n", strstr(name_of(temporary), " (deleted)") != NULL);
	munmap(at, 4096);
	close(memory);
	close(temporary);
}

static void in_proc(void)
{
	TRY(mkdir("/proc/new", 0755));
	TRY(open("/proc/new", O_CREAT | O_RDWR, 0644));
	TRY(symlink("x", "/proc/self/new"));
	TRY(unlink("/proc/version"));
	TRY(unlink("/proc/missing"));
	TRY(rmdir("/proc/self/fd"));
	TRY(rename("/proc/version", "/proc/other"));
	TRY(link("/proc/version", "/proc/other"));
	TRY(mkdir("/proc/sys/new", 0755));
	TRY(open("/sys/new", O_CREAT | O_RDWR, 0644));
	TRY(mkdir("/sys/new", 0755));
	TRY(symlink("x", "/sys/new"));
	TRY(open("/sys", O_TMPFILE | O_RDWR, 0644));
	TRY(open("/proc", O_TMPFILE | O_RDWR, 0644));
	TRY(unlink("/sys/class"));
	TRY(rmdir("/sys/class"));
	TRY(rmdir("/sys/missing"));
	TRY(chdir("/proc/self/fd"));
	TRY(chdir(".."));
	TRY(chdir("../sys/kernel"));
	print_directory("in /proc");
	TRY(chdir("/"));
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (mkdir("/tmp/names", 0755) || mount("n", "/tmp/names", "tmpfs", 0, NULL))
		perror("/tmp/names");
	hard_links();
	replaced();
	directories();
	bound();
	nameless();
	in_proc();
	TRY(umount("/tmp/names"));
	TRY(rmdir("/tmp/names"));
	return 0;
}
