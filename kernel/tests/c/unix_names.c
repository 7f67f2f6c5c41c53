// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: a name in use: EADDRINUSE
// Names of Unix sockets: paths, abstract ones, none; who finds whom by them, and what /proc/net/unix shows.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets.h"

static struct sockaddr_un name;

/* The length of an address with this name; `@` stands for a zero. */
static socklen_t named(const char *text)
{
	memset(&name, 0, sizeof(name));
	name.sun_family = AF_UNIX;
	memcpy(name.sun_path, text, strlen(text));
	if (text[0] == '@') {
		name.sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + strlen(text);
	}
	return offsetof(struct sockaddr_un, sun_path) + strlen(text) + 1;
}

static long binds(int fd, const char *text)
{
	socklen_t size = named(text);

	return bind(fd, (void *)&name, size);
}

static long connects(int fd, const char *text)
{
	socklen_t size = named(text);

	return connect(fd, (void *)&name, size);
}

static void show(const char *what, long result, socklen_t size)
{
	printf("%s: %s, size %u family %d", what, said(result), size, name.sun_family);
	if (size > 2)
		printf(" first %d name %.*s", name.sun_path[0], (int)(size - 3), name.sun_path + !name.sun_path[0]);
	printf("\n");
}

static void own_name(const char *what, int fd)
{
	socklen_t size = sizeof(name);
	long result = getsockname(fd, (void *)&name, &size);

	show(what, result, size);
}

static void peer_name(const char *what, int fd)
{
	socklen_t size = sizeof(name);
	long result = getpeername(fd, (void *)&name, &size);

	show(what, result, result < 0 ? 2 : size);
}

static int fresh(int type) { return socket(AF_UNIX, type | SOCK_NONBLOCK, 0); }

static void paths(void)
{
	int listener = fresh(SOCK_STREAM), client = fresh(SOCK_STREAM), server, other = fresh(SOCK_STREAM);
	struct stat stat_;
	socklen_t size;

	umask(027);
	fchmod(other, 0600);
	own_name("no name", listener);
	peer_name("no peer", listener);
	told("a name", binds(listener, "socket"));
	told("another", binds(listener, "socket2"));
	told("which was not made", OPEN("socket2", O_PATH));
	told("a name in use", binds(other, "socket"));
	told("a mode of its own", binds(other, "private"));
	stat("socket", &stat_);
	printf("mode %o size %ld links %ld\n", stat_.st_mode, (long)stat_.st_size, (long)stat_.st_nlink);
	stat("private", &stat_);
	printf("mode %o\n", stat_.st_mode);
	told("open", OPEN("socket", O_RDWR));
	told("open its place", OPEN("socket", O_PATH));
	own_name("its name", listener);
	told("nobody listens", connects(client, "socket"));
	told("listen", listen(listener, 5));
	told("no such name", connects(client, "nowhere"));
	told("no such folder", connects(client, "nowhere/socket"));
	told("no folder", connects(client, "socket/socket"));
	told("no socket", connects(client, "/dev/null"));
	told("a folder", connects(client, "/"));
	told("bind to a folder", binds(client, "/tmp"));
	told("bind to what is not there", binds(client, "/nowhere/socket"));
	told("bind with a slash", binds(client, "slash/"));
	symlink("socket", "link");
	told("bind to a link", binds(client, "link"));
	link("socket", "hard");
	rename("socket", "moved");
	told("by its old name", connects(client, "socket"));
	told("the link leads nowhere", connects(client, "link"));
	told("by another name", connects(client, "hard"));
	told("it is connected", connects(client, "hard"));
	size = sizeof(name);
	server = accept(listener, (void *)&name, &size);
	show("accepted", server < 0 ? -1 : 0, size);
	own_name("the server", server);
	peer_name("the client's peer", client);
	peer_name("the server's peer", server);
	unlink("moved"), unlink("hard");
	own_name("without a name", listener);
	close(client);
	client = fresh(SOCK_STREAM);
	told("by no name", connects(client, "hard"));
	told("a new one", binds(client, "hard"));
	close(listener), close(server);
	told("its socket is closed", OPEN("private", O_PATH));
	close(other);
	other = fresh(SOCK_STREAM);
	told("closed", connects(other, "private"));
	told("still in use", binds(other, "private"));
	close(client), close(other);
	unlink("hard"), unlink("private"), unlink("link");
}

static void permissions(void)
{
	int listener = fresh(SOCK_STREAM), client;

	umask(0);
	mkdir("folder", 0777), mkdir("closed", 0755);
	binds(listener, "folder/socket");
	listen(listener, 5);
	chmod("folder/socket", 0755);
	fflush(stdout);
	if (fork() == 0) {
		setgid(1000), setuid(1000);
		client = fresh(SOCK_STREAM);
		told("may not be written", connects(client, "folder/socket"));
		told("a folder that may be written", binds(client, "folder/other"));
		client = fresh(SOCK_STREAM);
		told("a folder that may not", binds(client, "closed/socket"));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	chmod("folder/socket", 0722), chmod("folder", 0700);
	fflush(stdout);
	if (fork() == 0) {
		setgid(1000), setuid(1000);
		told("may not be found", connects(fresh(SOCK_STREAM), "folder/socket"));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	chmod("folder", 0711);
	fflush(stdout);
	if (fork() == 0) {
		setgid(1000), setuid(1000);
		client = fresh(SOCK_STREAM);
		told("may", connects(client, "folder/socket"));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	unlink("folder/socket"), unlink("folder/other"), rmdir("folder"), rmdir("closed");
	close(listener);
}

static void abstract(void)
{
	int one = fresh(SOCK_STREAM), two = fresh(SOCK_STREAM), datagrams = fresh(SOCK_DGRAM);
	socklen_t size;

	told("abstract", binds(one, "@exo-test"));
	told("in use", binds(two, "@exo-test"));
	told("another kind", binds(datagrams, "@exo-test"));
	own_name("it", one);
	told("longer", binds(two, "@exo-test\n"));
	close(two);
	two = fresh(SOCK_STREAM);
	told("nobody listens", connects(two, "@exo-test"));
	listen(one, 1);
	told("connected", connects(two, "@exo-test"));
	peer_name("to", two);
	close(one);
	one = fresh(SOCK_STREAM);
	told("free again", binds(one, "@exo-test"));
	close(one), close(two);
	/* With a zero in the name, and with all of its bytes. */
	one = fresh(SOCK_STREAM);
	size = named("@zeros@");
	name.sun_path[6] = 0;
	told("zeros", bind(one, (void *)&name, size));
	size = sizeof(name);
	getsockname(one, (void *)&name, &size);
	printf("size %u\n", size);
	two = fresh(SOCK_STREAM);
	named("@");
	memset(name.sun_path + 1, 'x', sizeof(name.sun_path) - 1);
	told("full", bind(two, (void *)&name, sizeof(name)));
	size = sizeof(name);
	getsockname(two, (void *)&name, &size);
	printf("size %u\n", size);
	close(one), close(two), close(datagrams);
	/* As long as it may be, without a zero at its end. */
	one = fresh(SOCK_STREAM);
	named("");
	memset(name.sun_path, 'p', sizeof(name.sun_path));
	told("a full path", bind(one, (void *)&name, sizeof(name)));
	char room[200];

	size = sizeof(room);
	getsockname(one, (void *)room, &size);
	printf("size %u\n", size);
	memset(room, 'p', 108);
	room[108] = 0;
	told("is there", unlink(room));
	close(one);
}

static void of_itself(void)
{
	int fd = fresh(SOCK_DGRAM), other = fresh(SOCK_DGRAM), on = 1;
	socklen_t size = sizeof(name);

	name.sun_family = AF_UNIX;
	told("found by itself", bind(fd, (void *)&name, sizeof(sa_family_t)));
	told("once more", bind(fd, (void *)&name, sizeof(sa_family_t)));
	told("another", binds(fd, "@another"));
	getsockname(fd, (void *)&name, &size);
	int digits = 1;

	for (int i = 1; i < 6; i++)
		digits &= strchr("0123456789abcdef", name.sun_path[i]) != NULL;
	printf("size %u first %d digits %d\n", size, name.sun_path[0], digits);
	setsockopt(other, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	told("connect", connect(other, (void *)&name, size));
	size = sizeof(name);
	getsockname(other, (void *)&name, &size);
	printf("who wants credentials has a name: %u\n", size);
	close(fd), close(other);
}

static void bad(void)
{
	int fd = fresh(SOCK_STREAM), p[2];
	char long_name[200] = { AF_UNIX, 0, 'a' };

	pipe(p);
	told("no address", bind(fd, NULL, 0));
	told("a bad one", bind(fd, (void *)8, sizeof(name)));
	told("one byte", bind(fd, (void *)&name, 1));
	told("too long", bind(fd, (void *)long_name, sizeof(long_name)));
	told("a byte too long", bind(fd, (void *)long_name, sizeof(name) + 1));
	told("a negative length", bind(fd, (void *)&name, -1));
	named("socket");
	name.sun_family = AF_INET;
	told("another family", bind(fd, (void *)&name, sizeof(name)));
	told("connect without a name", connect(fd, (void *)&name, 2));
	told("connect elsewhere", connect(fd, (void *)&name, sizeof(name)));
	told("no socket", bind(p[0], (void *)&name, sizeof(name)));
	told("no descriptor", bind(-1, (void *)&name, sizeof(name)));
	socklen_t size = -1;

	told("a negative room", getsockname(fd, (void *)&name, &size));
	size = 1;
	told("little room", getsockname(fd, (void *)&name, &size));
	printf("size %u\n", size);
	told("no room", getsockname(fd, (void *)&name, NULL));
	told("a bad place", getsockname(fd, (void *)8, &(socklen_t){ 100 }));
	close(fd), close(p[0]), close(p[1]);
}

/* The lines of /proc/net/unix with a name of this test, without addresses and numbers of inodes. */
static void listing(void)
{
	int one = fresh(SOCK_STREAM), two = fresh(SOCK_SEQPACKET), three = fresh(SOCK_DGRAM), client = fresh(SOCK_STREAM);
	char line[300], path[200], lines[8][300];
	int count = 0;
	unsigned references, protocol, flags, type, state;
	unsigned long inode;
	struct stat stat_;

	binds(one, "exo-listed"), listen(one, 3);
	binds(two, "@exo-listed-two");
	binds(three, "exo-listed-three");
	connects(client, "exo-listed");
	FILE *file = fopen("/proc/net/unix", "r");

	fgets(line, sizeof(line), file);
	printf("%s", line);
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "exo-listed"))
			continue;
		sscanf(line, "%*[^:]: %X %X %X %X %X %lu %199s", &references, &protocol, &flags, &type, &state, &inode, path);
		fstat(!strcmp(path, "@exo-listed-two") ? two : strstr(path, "three") ? three : one, &stat_);
		snprintf(lines[count++ % 8], sizeof(*lines), "%u %08X %04X %02X %s inode %s\n", protocol, flags, type, state, path,
			 inode == 0 ? "none" : inode == stat_.st_ino ? "its own" : "another's");
	}
	fclose(file);
	/* In no order. */
	qsort(lines, count, sizeof(*lines), (int (*)(const void *, const void *))strcmp);
	for (int i = 0; i < count; i++)
		printf("%s", lines[i]);
	close(one), close(two), close(three), close(client);
	unlink("exo-listed"), unlink("exo-listed-three");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	paths();
	permissions();
	abstract();
	of_itself();
	bad();
	listing();
	return 0;
}
