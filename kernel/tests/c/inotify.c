// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: 20 writes, 1 event
// inotify: what is told of files and directories, in which order; what watches may be; queues, and waiting.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "said.h"

/// An address that nothing is at.
static void *volatile nowhere = (void *)8;

static const struct {
	uint32_t bit;
	const char *name;
} names[] = {
	{IN_ACCESS, "access"},		{IN_MODIFY, "modify"},		  {IN_ATTRIB, "attrib"},
	{IN_CLOSE_WRITE, "close_write"}, {IN_CLOSE_NOWRITE, "close_nowrite"}, {IN_OPEN, "open"},
	{IN_MOVED_FROM, "moved_from"},	{IN_MOVED_TO, "moved_to"},	  {IN_CREATE, "create"},
	{IN_DELETE, "delete"},		{IN_DELETE_SELF, "delete_self"},  {IN_MOVE_SELF, "move_self"},
	{IN_UNMOUNT, "unmount"},	{IN_Q_OVERFLOW, "q_overflow"},	  {IN_IGNORED, "ignored"},
	{IN_ISDIR, "isdir"},
};

/// Prints and takes all events.
static void happened(const char *when, int fd)
{
	static uint32_t last_cookie;
	char events[4096] __attribute__((aligned(8)));
	int waiting = -1;
	ssize_t size;

	ioctl(fd, FIONREAD, &waiting);
	printf("%s (%d):", when, waiting);
	while ((size = read(fd, events, sizeof(events))) > 0)
		for (char *at = events; at < events + size;) {
			struct inotify_event *event = (struct inotify_event *)at;

			printf(" [%d", event->wd);
			for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
				if (event->mask & names[i].bit)
					printf(" %s", names[i].name);
			if (event->cookie) {
				printf(event->cookie == last_cookie ? " the same" : " cookie");
				last_cookie = event->cookie;
			}
			if (event->len)
				printf(" '%s' %d", event->name, event->len);
			printf("]");
			at += sizeof(*event) + event->len;
		}
	printf("\n");
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	if (write(fd, text, strlen(text)) < 0)
		perror("write");
	close(fd);
}

static void files(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), file;
	char byte;

	printf("flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	mkdir("d", 0700);
	put("d/f", "hello");
	TRY(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
	TRY(inotify_add_watch(fd, "d/f", IN_ALL_EVENTS));
	happened("nothing", fd);
	file = open("d/f", O_RDWR);
	read(file, &byte, 1);
	pread(file, &byte, 1, 0);
	read(file, &byte, 0);
	write(file, "x", 1);
	happened("opened, read, written", fd);
	ftruncate(file, 2);
	fchmod(file, 0640);
	happened("cut and changed", fd);
	close(file);
	happened("closed", fd);
	close(open("d/f", O_RDONLY | O_TRUNC));
	happened("cut when opened", fd);
	close(open("d/f", O_PATH));
	happened("for its place only", fd);
	chown("d/f", 0, 0);
	utimensat(AT_FDCWD, "d/f", 0, 0);
	happened("owner and times", fd);
	struct timespec one[2] = {{1, 0}, {0, UTIME_OMIT}}, other[2] = {{0, UTIME_OMIT}, {1, 0}};
	utimensat(AT_FDCWD, "d/f", one, 0);
	utimensat(AT_FDCWD, "d/f", other, 0);
	happened("one time", fd);
	truncate("d/f", 10);
	setxattr("d/f", "user.a", "b", 1, 0);
	removexattr("d/f", "user.a");
	happened("by its path", fd);
	file = open("d/f", O_RDWR);
	fallocate(file, 0, 0, 100);
	close(file);
	happened("room", fd);
	link("d/f", "d/g");
	happened("linked", fd);
	put("d/g", "y");
	happened("by the other name", fd);
	unlink("d/g");
	happened("that is gone", fd);
	file = open("d/f", O_RDONLY);
	unlink("d/f");
	happened("gone, but open", fd);
	close(file);
	happened("gone", fd);
	close(fd);
}

static void directories(void)
{
	int fd = inotify_init1(IN_NONBLOCK), directory;
	char entries[1024];

	mkdir("a", 0700);
	mkdir("b", 0700);
	TRY(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
	TRY(inotify_add_watch(fd, "b", IN_ALL_EVENTS));
	mkdir("a/sub", 0700);
	symlink("x", "a/link");
	mknod("a/pipe", S_IFIFO | 0600, 0);
	close(open("a/file", O_CREAT | O_WRONLY | O_EXCL, 0600));
	happened("made", fd);
	close(open("a/sub", O_RDONLY));
	happened("a directory is opened", fd);
	directory = open("a", O_RDONLY);
	syscall(217, directory, entries, sizeof(entries));
	close(directory);
	happened("listed", fd);
	chmod("a/sub", 0755);
	chmod("a", 0755);
	happened("changed", fd);
	TRY(inotify_add_watch(fd, "a/file", IN_ALL_EVENTS));
	rename("a/file", "a/other");
	happened("renamed", fd);
	rename("a/other", "b/file");
	happened("moved", fd);
	rename("a/sub", "b/sub");
	happened("a directory is moved", fd);
	put("b/target", "x");
	happened("made", fd);
	TRY(inotify_add_watch(fd, "b/target", IN_ALL_EVENTS));
	rename("b/file", "b/target");
	happened("one replaces another", fd);
	put("a/one", "1");
	put("a/two", "2");
	happened("made", fd);
	renameat2(AT_FDCWD, "a/one", AT_FDCWD, "a/two", RENAME_EXCHANGE);
	happened("exchanged", fd);
	rename("a/one", "a/one");
	happened("renamed to itself", fd);
	unlink("a/one");
	unlink("a/two");
	unlink("a/link");
	unlink("a/pipe");
	rmdir("b/sub");
	happened("removed", fd);
	unlink("b/target");
	happened("the moved one is gone", fd);
	rmdir("a");
	rmdir("b");
	happened("all gone", fd);
	close(fd);
}

static void watches(void)
{
	int fd = inotify_init1(IN_NONBLOCK), file, wd;

	mkdir("w", 0700);
	put("w/f", "");
	symlink("f", "w/l");
	TRY(inotify_add_watch(fd, "w/f", IN_OPEN));
	TRY(inotify_add_watch(fd, "w/l", IN_CLOSE));
	put("w/f", "1");
	happened("replaced by the last", fd);
	TRY(inotify_add_watch(fd, "w/f", IN_OPEN | IN_MASK_ADD));
	put("w/f", "1");
	happened("both", fd);
	TRY(inotify_add_watch(fd, "w/f", IN_OPEN | IN_MASK_CREATE));
	TRY(inotify_add_watch(fd, "w/f", IN_OPEN | IN_MASK_CREATE | IN_MASK_ADD));
	TRY(inotify_add_watch(fd, "w/l", IN_ATTRIB | IN_DONT_FOLLOW));
	TRY(inotify_add_watch(fd, "w/f", IN_OPEN | IN_ONLYDIR));
	TRY(inotify_add_watch(fd, "w", IN_OPEN | IN_ONLYDIR));
	TRY(inotify_rm_watch(fd, 1));
	happened("ignored", fd);
	put("w/f", "1");
	happened("its directory", fd);
	TRY(inotify_rm_watch(fd, 1));
	TRY(inotify_rm_watch(fd, 0));
	TRY(inotify_rm_watch(0, 1));
	TRY(inotify_rm_watch(99, 1));
	TRY(inotify_add_watch(fd, "w/f", IN_MODIFY | IN_ONESHOT));
	put("w/f", "1");
	put("w/f", "2");
	happened("once", fd);
	TRY(wd = inotify_add_watch(fd, "w", IN_MODIFY | IN_EXCL_UNLINK));
	file = open("w/f", O_RDWR);
	write(file, "x", 1);
	unlink("w/f");
	write(file, "x", 1);
	close(file);
	happened("not what is unlinked", fd);
	TRY(inotify_add_watch(fd, "w", IN_MODIFY));
	put("w/f", "");
	file = open("w/f", O_RDWR);
	unlink("w/f");
	write(file, "x", 1);
	happened("what is unlinked", fd);
	close(file);
	TRY(inotify_add_watch(fd, "w/none", IN_OPEN));
	TRY(inotify_add_watch(fd, "w", 0));
	TRY(inotify_add_watch(fd, "w", IN_ISDIR));
	TRY(inotify_add_watch(fd, nowhere, IN_OPEN));
	TRY(inotify_add_watch(0, "w", IN_OPEN));
	TRY(inotify_add_watch(99, "w", IN_OPEN));
	TRY(inotify_init1(1));
	unlink("w/l");
	happened("a link is gone", fd);
	// An unprivileged user must be able to read it.
	put("w/secret", "");
	if (!fork()) {
		setresgid(1000, 1000, 1000);
		setresuid(1000, 1000, 1000);
		TRY(inotify_add_watch(fd, "w/secret", IN_OPEN));
		chmod("w", 0);
		_exit(0);
	}
	wait(0);
	unlink("w/secret");
	rmdir("w");
	happened("gone", fd);
	close(fd);
}

static void queue(void)
{
	int fd = inotify_init1(IN_NONBLOCK), epoll = epoll_create1(0), file, size;
	char room[64];
	struct epoll_event event = {.events = EPOLLIN};
	struct pollfd asked = {fd, POLLIN | POLLOUT, 0};

	put("f", "");
	inotify_add_watch(fd, "f", IN_MODIFY | IN_ATTRIB);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	TRY(poll(&asked, 1, 0));
	TRY(epoll_wait(epoll, &event, 1, 0));
	TRY(read(fd, room, sizeof(room)));
	file = open("f", O_WRONLY);
	for (int i = 0; i < 20; i++)
		write(file, "x", 1);
	TRY(epoll_wait(epoll, &event, 1, -1));
	TRY(poll(&asked, 1, 0));
	TRY(ioctl(fd, FIONREAD, &size));
	printf("20 writes, %d event\n", size / 16);
	TRY(read(fd, room, 15));
	TRY(read(fd, room, 0));
	TRY(read(fd, nowhere, 64));
	TRY(read(fd, room, 64));
	fchmod(file, 0600);
	write(file, "x", 1);
	fchmod(file, 0600);
	TRY(read(fd, room, 40));
	TRY(read(fd, room, 40));
	TRY(write(fd, room, 16));
	TRY(lseek(fd, 0, SEEK_SET));
	// More than fits: of those that differ.
	for (int i = 0; i < 20000; i++) {
		fchmod(file, 0600);
		write(file, "x", 1);
	}
	TRY(ioctl(fd, FIONREAD, &size));
	printf("bytes %d\n", size);
	int count = 0;
	struct inotify_event last = {0};
	while (read(fd, &last, sizeof(last)) > 0)
		count++;
	printf("events %d, the last %d %x\n", count, last.wd, last.mask);
	close(file);
	// Somebody waits.
	fcntl(fd, F_SETFL, 0);
	if (!fork()) {
		usleep(20000);
		chmod("f", 0644);
		_exit(0);
	}
	TRY(read(fd, room, 64));
	wait(0);
	snprintf(room, sizeof(room), "/proc/self/fd/%d", fd);
	char name[64] = {0};
	readlink(room, name, sizeof(name) - 1);
	printf("%s\n", name);
	snprintf(room, sizeof(room), "/proc/self/fdinfo/%d", fd);
	FILE *info = fopen(room, "r");
	char line[256];
	while (fgets(line, sizeof(line), info)) {
		unsigned wd, mask;

		if (sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x", &wd, &mask) == 2)
			printf("watch %x mask %x\n", wd, mask);
	}
	fclose(info);
	unlink("f");
	close(fd);
	close(epoll);
}

static void unmounted(void)
{
	int fd = inotify_init1(IN_NONBLOCK);

	mkdir("m", 0700);
	if (mount("none", "m", "tmpfs", 0, 0))
		perror("mount");
	put("m/f", "");
	inotify_add_watch(fd, "m/f", IN_OPEN);
	TRY(umount("m"));
	happened("unmounted", fd);
	rmdir("m");
	close(fd);
}

static void bounds(void)
{
	int fds[200], made = 0, limit = 0;
	FILE *file = fopen("/proc/sys/fs/inotify/max_user_instances", "r");

	fscanf(file, "%d", &limit);
	fclose(file);
	while (made < 200 && (fds[made] = inotify_init1(0)) >= 0)
		made++;
	printf("as many as allowed: %d, then %s\n", made == limit, strerrorname_np(errno));
	while (made)
		close(fds[--made]);
	printf("and again: %d\n", inotify_init() >= 0);
	file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	fscanf(file, "%d", &limit);
	printf("queue %d\n", limit);
	fclose(file);
}

int main(void)
{
	setvbuf(stdout, 0, _IONBF, 0);
	umask(022);
	mkdir("/tmp/inotify", 0700);
	if (chdir("/tmp/inotify"))
		perror("chdir");
	files();
	directories();
	watches();
	queue();
	unmounted();
	bounds();
	chdir("/");
	rmdir("/tmp/inotify/d");
	rmdir("/tmp/inotify");
	return 0;
}
