// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: other reads private: EACCES
// Who may do what with files (path_resolution(7), credentials(7), capabilities(7)): permission bits, owners, sticky directories,
// set-user-id programs, and capabilities that are given up.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWNER 1000
#define MEMBER 1001
#define OTHER 1002
#define GROUP 2000

static const char *said(long result)
{
	static char text[32];

	if (result < 0)
		return strerrorname_np(errno);
	snprintf(text, sizeof(text), "%ld", result);
	return text;
}

#define TRY(what, call) printf("%s: %s\n", what, said(call))
#define OPEN(...) ({ int o = open(__VA_ARGS__); if (o >= 0) close(o); o < 0 ? -1 : 0; })

/* Runs `body` in a process of its own as a user; a group besides its own for MEMBER. */
static void as(uid_t user, void (*body)(void))
{
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		gid_t group = GROUP;
		if (setgroups(user == MEMBER, &group) || setresgid(user, user, user) || setresuid(user, user, user))
			_exit(99);
		body();
		fflush(stdout);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	if (status)
		printf("status %x\n", status);
}

static void show(const char *name)
{
	struct stat status;

	if (lstat(name, &status)) {
		printf("%s: %s\n", name, strerrorname_np(errno));
		return;
	}
	printf("%s: %o %u:%u\n", name, status.st_mode, status.st_uid, status.st_gid);
}

static void make(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	if (fd < 0 || fchown(fd, uid, gid) || fchmod(fd, mode))
		perror(name);
	close(fd);
}

static void make_directory(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	if (mkdir(name, 0700) || chown(name, uid, gid) || chmod(name, mode))
		perror(name);
}

static void access_of_files(void)
{
	static const char *const names[] = { "private", "group", "public", "inverse", "script" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char line[64];
		static const struct { int flags; const char *name; } ways[] = {
			{ O_RDONLY, "reads" }, { O_WRONLY, "writes" }, { O_RDWR, "both" }, { O_RDONLY | O_TRUNC, "cuts" },
			{ O_PATH, "looks at" },
		};
		for (unsigned j = 0; j < sizeof(ways) / sizeof(*ways); j++) {
			snprintf(line, sizeof(line), "%s %s %s", getuid() == OTHER ? "other" : getuid() == OWNER ? "owner" : "member",
				 ways[j].name, names[i]);
			TRY(line, OPEN(names[i], ways[j].flags));
		}
		for (int mode = 0; mode < 8; mode++)
			printf("%s", access(names[i], mode) ? "-" : "+");
		printf("\n");
		TRY("truncate", truncate(names[i], 0));
	}
}

static void owner_alone(void)
{
	TRY("chmod", chmod("public", 0777));
	TRY("chown", chown("public", getuid(), -1));
	TRY("chown to a group", chown("public", -1, GROUP));
	TRY("chown to another group", chown("public", -1, OTHER));
	TRY("utimes now", utimensat(AT_FDCWD, "public", NULL, 0));
	struct timespec times[2] = { { 1, 0 }, { 2, 0 } };
	TRY("utimes", utimensat(AT_FDCWD, "public", times, 0));
	times[0].tv_nsec = times[1].tv_nsec = UTIME_NOW;
	TRY("utimes NOW", utimensat(AT_FDCWD, "public", times, 0));
	times[1].tv_nsec = UTIME_OMIT;
	TRY("utimes NOW and OMIT", utimensat(AT_FDCWD, "public", times, 0));
	TRY("utimes of a private file", utimensat(AT_FDCWD, "private", NULL, 0));
	TRY("O_NOATIME", OPEN("public", O_RDONLY | O_NOATIME));
	TRY("set-group-id", chmod("public", 02777));
	show("public");
}

static void names(void)
{
	TRY("create in closed", OPEN("closed/new", O_CREAT | O_WRONLY, 0600));
	TRY("create that exists", OPEN("closed/file", O_CREAT | O_RDONLY, 0600));
	TRY("mkdir in closed", mkdir("closed/directory", 0700));
	TRY("mkdir that exists", mkdir("closed/file", 0700));
	TRY("unlink in closed", unlink("closed/file"));
	TRY("unlink nothing in closed", unlink("closed/nothing"));
	TRY("rmdir in closed", rmdir("closed/empty"));
	TRY("symlink in closed", symlink("x", "closed/link"));
	TRY("link into closed", link("public", "closed/link"));
	TRY("rename in closed", rename("closed/file", "closed/other"));
	TRY("rename out of closed", rename("closed/file", "open/other"));
	TRY("rename into closed", rename("public", "closed/file"));
	TRY("tmpfile in closed", OPEN("closed", O_TMPFILE | O_RDWR, 0600));
	TRY("tmpfile in open", OPEN("open", O_TMPFILE | O_RDWR, 0600));
	TRY("find in unsearchable", OPEN("unsearchable/file", O_RDONLY));
	TRY("stat in unsearchable", access("unsearchable/file", F_OK));
	TRY("list unsearchable", OPEN("unsearchable", O_RDONLY | O_DIRECTORY));
	TRY("list unreadable", OPEN("unreadable", O_RDONLY | O_DIRECTORY));
	TRY("find in unreadable", OPEN("unreadable/file", O_RDONLY));
	TRY("chdir to unsearchable", chdir("unsearchable"));
	TRY("chroot to unsearchable", chroot("unsearchable"));
	TRY("chroot", chroot("open"));
	TRY("dots in unsearchable", access("unsearchable/.", F_OK));
	TRY("unlink another's in sticky", unlink("sticky/others"));
	TRY("rename another's in sticky", rename("sticky/others", "sticky/mine"));
	TRY("make in sticky", OPEN("sticky/own", O_CREAT | O_WRONLY, 0600));
	TRY("replace another's in sticky", rename("sticky/own", "sticky/others"));
	TRY("unlink own in sticky", unlink("sticky/own"));
	TRY("move another's directory", rename("open/others", "sticky/others2"));
	TRY("device", mknod("open/device", S_IFCHR | 0600, makedev(1, 3)));
	TRY("pipe", mkfifo("open/pipe", 0600));
	show("open/pipe");
	unlink("open/pipe");
	TRY("mkdir", mkdir("open/mine", 02755));
	show("open/mine");
	rmdir("open/mine");
	TRY("make in set-group-id", OPEN("grouped/file", O_CREAT | O_WRONLY, 0600));
	TRY("mkdir in set-group-id", mkdir("grouped/directory", 0700));
	TRY("program in set-group-id", OPEN("grouped/program", O_CREAT | O_WRONLY, 02770));
	show("grouped/file");
	show("grouped/directory");
	show("grouped/program");
	unlink("grouped/file");
	rmdir("grouped/directory");
	unlink("grouped/program");
}

static void own_file(void)
{
	int fd = open("open/own", O_CREAT | O_RDWR, 0);

	show("open/own");
	TRY("write through the first descriptor", write(fd, "x", 1));
	TRY("read without a bit for it", OPEN("open/own", O_RDONLY));
	TRY("chmod", chmod("open/own", 06755));
	show("open/own");
	TRY("write", write(fd, "y", 1));
	show("open/own");
	TRY("chmod", chmod("open/own", 06755));
	TRY("chown to the same", chown("open/own", getuid(), getgid()));
	show("open/own");
	TRY("give away", chown("open/own", 0, -1));
	TRY("own process's file", OPEN("/proc/self/comm", O_RDWR));
	TRY("the first program's", OPEN("/proc/1/comm", O_RDWR));
	TRY("its environment", OPEN("/proc/1/environ", O_RDONLY));
	TRY("own environment", OPEN("/proc/self/environ", O_RDONLY));
	TRY("a setting", OPEN("/proc/sys/kernel/hostname", O_RDWR));
	TRY("null", OPEN("/dev/null", O_RDWR));
	close(fd);
	unlink("open/own");
}

static void run_as_another(void)
{
	TRY("exec private", execl("private", "private", NULL));
	TRY("exec without a bit", execl("public_text", "public_text", NULL));
	fflush(stdout);
	for (int limited = 0; limited < 2; limited++) {
		pid_t child = fork();
		if (!child) {
			if (limited)
				prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
			execl("program", "program", "ids", NULL);
			perror("exec");
			_exit(1);
		}
		waitpid(child, NULL, 0);
	}
}

static void with_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	syscall(SYS_capget, &header, data);
	data[0].effective &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_CHOWN | 1 << CAP_MKNOD);
	TRY("less", syscall(SYS_capset, &header, data));
	TRY("read with DAC_READ_SEARCH", OPEN("private", O_RDONLY));
	TRY("write", OPEN("private", O_WRONLY));
	TRY("find", OPEN("unsearchable/file", O_RDONLY));
	TRY("create", OPEN("owned/new", O_CREAT | O_WRONLY, 0600));
	TRY("chmod", chmod("private", 0600));
	TRY("chown", chown("private", 0, 0));
	TRY("device", mknod("open/device", S_IFCHR | 0600, makedev(1, 3)));
	TRY("whiteout", mknod("open/device", S_IFCHR | 0600, 0));
	unlink("open/device");
	data[0].effective &= ~(1 << CAP_DAC_READ_SEARCH);
	TRY("lesser", syscall(SYS_capset, &header, data));
	TRY("read", OPEN("private", O_RDONLY));
	TRY("access", access("private", R_OK));
	data[0].effective = data[0].permitted;
	TRY("all again", syscall(SYS_capset, &header, data));
	TRY("read", OPEN("private", O_RDONLY));
	data[0].permitted &= ~(1 << CAP_NET_RAW);
	data[0].effective &= ~(1 << CAP_NET_RAW);
	TRY("without raw sockets", syscall(SYS_capset, &header, data));
	data[0].permitted |= 1 << CAP_NET_RAW;
	TRY("and back", syscall(SYS_capset, &header, data));
}

static void ids_for_files(void)
{
	setfsgid(OTHER);
	setfsuid(OTHER);
	TRY("read as another", OPEN("private", O_RDONLY));
	TRY("make as another", OPEN("open/another", O_CREAT | O_WRONLY, 0600));
	show("open/another");
	setfsuid(0);
	setfsgid(0);
	TRY("read as before", OPEN("private", O_RDONLY));
	unlink("open/another");
	seteuid(OTHER);
	TRY("access as real user", access("private", R_OK | W_OK));
	TRY("access as effective user", faccessat(AT_FDCWD, "private", R_OK, AT_EACCESS));
	TRY("find as effective user", OPEN("unsearchable/file", O_RDONLY));
	TRY("access as real user", access("unsearchable/file", F_OK));
	seteuid(0);
	TRY("execute what nobody may", access("private", X_OK));
	TRY("exec", execl("private", "private", NULL));
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		uid_t u[3];
		gid_t g[3];
		getresuid(u, u + 1, u + 2);
		getresgid(g, g + 1, g + 2);
		printf("%u %u %u, %u %u %u, private: %s\n", u[0], u[1], u[2], g[0], g[1], g[2], said(OPEN("private", O_RDONLY)));
		return 0;
	}
	char place[] = "/tmp/permissions.XXXXXX";
	char *self = realpath(argv[0], NULL);
	umask(0);
	if (!self || !mkdtemp(place) || chdir(place) || chmod(".", 0755))
		return 1;
	make("private", 0600, OWNER, OWNER);
	make("group", 0640, OWNER, GROUP);
	make("public", 0666, OWNER, OWNER);
	make("inverse", 0066, OWNER, OWNER);
	make("script", 0751, OWNER, GROUP);
	make("public_text", 0666, OWNER, OWNER);
	make_directory("closed", 0755, 0, 0);
	make("closed/file", 0666, OTHER, OTHER);
	make_directory("closed/empty", 0777, OTHER, OTHER);
	make_directory("open", 0777, 0, 0);
	make_directory("open/others", 0755, OWNER, OWNER);
	make_directory("sticky", 01777, 0, 0);
	make("sticky/others", 0666, OWNER, OWNER);
	make_directory("unsearchable", 0766, 0, 0);
	make("unsearchable/file", 0666, 0, 0);
	make_directory("unreadable", 0711, 0, 0);
	make("unreadable/file", 0666, 0, 0);
	make_directory("grouped", 02777, 0, GROUP);
	make_directory("owned", 0755, OWNER, OWNER);
	make("program", 0, 0, 0);
	char line[512];
	snprintf(line, sizeof(line), "cat %s > program", self);
	if (system(line) || chown("program", OWNER, GROUP) || chmod("program", 06755))
		return 1;
	uid_t users[] = { OWNER, MEMBER, OTHER };
	for (int i = 0; i < 3; i++)
		as(users[i], access_of_files);
	for (int i = 0; i < 3; i++)
		as(users[i], owner_alone);
	chown("public", OWNER, OWNER);
	as(OTHER, names);
	as(MEMBER, names);
	as(OWNER, own_file);
	as(OTHER, run_as_another);
	as(OWNER, run_as_another);
	fflush(stdout);
	if (!fork()) {
		with_capabilities();
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	ids_for_files();
	snprintf(line, sizeof(line), "rm -r %s", place);
	return system(line);
}
