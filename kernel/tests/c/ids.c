// SPDX-License-Identifier: MIT OR Apache-2.0
// On Linux it prints: seteuid(1000): 0, now 0 1000 0, files 1000, capabilities 0 of 0x1ffffffffff
// User and group ids, capabilities, what prctl and personality say, limits; and who may signal whom.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif

static const char *error(long result)
{
	return result == -1 ? strerrorname_np(errno) : "ok";
}

static uint64_t capabilities(uint64_t *permitted)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return -1;
	*permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

static void show(const char *what, long result)
{
	uid_t real, effective, saved;
	uint64_t permitted = 0, in_force = capabilities(&permitted);

	printf("%s: %s%s, now", what, result == -1 ? "" : "0", result == -1 ? error(result) : "");
	getresuid(&real, &effective, &saved);
	printf(" %d %d %d, files %d, capabilities %#jx of %#jx\n", real, effective, saved, setfsuid(-1),
	       (uintmax_t)in_force, (uintmax_t)permitted);
}

static void in_child(void (*body)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		body();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (status)
		printf("status %#x\n", status);
}

#define raw(call, ...) syscall(SYS_##call, __VA_ARGS__)

static void users(void)
{
	show("at first", 0);
	show("seteuid(1000)", raw(setresuid, -1, 1000, -1));
	show("setuid(2000)", raw(setuid, 2000));
	show("setresuid(-1, -1, 2000)", raw(setresuid, -1, -1, 2000));
	show("seteuid(0)", raw(setresuid, -1, 0, -1));
	show("setreuid(1000, 1001)", raw(setreuid, 1000, 1001));
	show("setreuid(1001, 1000)", raw(setreuid, 1001, 1000));
	show("setreuid(5, -1)", raw(setreuid, 5, -1));
	show("setuid(0)", raw(setuid, 0));
	show("setuid(-1)", raw(setuid, -1));
	printf("setgroups: %s\n", error(setgroups(0, NULL)));
}

static void users_by_setuid(void)
{
	printf("setfsuid(7) was %d, capabilities", setfsuid(7));
	show("", 0);
	show("setuid(1000)", raw(setuid, 1000));
	show("setresuid(1000, 1000, 0)", raw(setresuid, 1000, 1000, 0));
	show("setfsuid(0)", setfsuid(0));
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
}

static void groups(void)
{
	gid_t list[4] = { 30, 10, 20, 10 }, got[8];
	gid_t real, effective, saved;
	int count, n;

	printf("setgroups: %s", error(setgroups(4, list)));
	count = getgroups(0, NULL);
	printf(", %d, too little room %s:", count, error(getgroups(2, got)));
	count = getgroups(8, got);
	for (n = 0; n < count; n++)
		printf(" %d", got[n]);
	printf("\nsetgroups of too many: %s\n", error(syscall(SYS_setgroups, 65537, list)));
	printf("getgroups(-1): %s\n", error(raw(getgroups, -1, NULL)));
	printf("setegid: %s", error(raw(setresgid, -1, 5, -1)));
	getresgid(&real, &effective, &saved);
	printf(" %d %d %d, getegid %d\n", real, effective, saved, getegid());
	printf("setregid: %s", error(raw(setregid, 6, 7)));
	getresgid(&real, &effective, &saved);
	printf(" %d %d %d, setfsgid %d", real, effective, saved, setfsgid(9));
	printf(" %d\n", setfsgid(-1));
	raw(setuid, 3);
	printf("as an ordinary user: setgid %s, setresgid(7, 6, 7) %s\n", error(raw(setgid, 0)),
	       error(raw(setresgid, 7, 6, 7)));
}

static void kept(void)
{
	printf("keep capabilities: %d\n", prctl(PR_SET_KEEPCAPS, 1));
	show("setuid(1000)", raw(setuid, 1000));
	printf("kept %d, PR_SET_KEEPCAPS 2: %s\n", prctl(PR_GET_KEEPCAPS), error(prctl(PR_SET_KEEPCAPS, 2)));
}

static void signals(void)
{
	pid_t parent = getppid(), other = fork();

	if (!other)
		for (;;)
			pause();
	raw(setresuid, 1000, 1000, 1000);
	printf("to the superuser: %s", error(kill(parent, SIGUSR1)));
	printf(", 0 %s", error(kill(parent, 0)));
	printf(", SIGCONT %s\n", error(kill(parent, SIGCONT)));
	printf("to its child: %s, by tgkill %s\n", error(kill(other, SIGKILL)), error(raw(tgkill, other, other, SIGKILL)));
	printf("wrong signal: %s, nobody %s\n", error(kill(getpid(), 65)), error(kill(1 << 21, 65)));
	printf("a limit: lower %s", error(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 100, 200 })));
	printf(", raise %s, of another %s\n", error(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 100, 201 })),
	       error(prlimit(parent, RLIMIT_NOFILE, NULL, &(struct rlimit){ 0, 0 })));
	setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0, 0 });
	printf("no more processes: %s\n", error(fork()));
	printf("sethostname %s, reboot %s\n", error(sethostname("x", 1)), error(reboot(RB_DISABLE_CAD)));
}

static void limits(void)
{
	int status;
	pid_t child;

	setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0, 0 });
	child = fork();
	if (!child)
		_exit(0);
	waitpid(child, &status, 0);
	printf("the superuser has no limit of processes: %d\n", child > 0);
	printf("soft above hard: %s\n", error(setrlimit(RLIMIT_CORE, &(struct rlimit){ 2, 1 })));
	printf("limit 16: %s\n", error(raw(prlimit64, 0, 16, NULL, NULL)));
	printf("bad pointer: %s, nobody %s\n", error(raw(prlimit64, 0, 0, 8, NULL)),
	       error(raw(prlimit64, 1 << 21, 0, NULL, NULL)));
}

static void versions(void)
{
	struct __user_cap_header_struct header = { 1, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	printf("capget with version 1: %s", error(raw(capget, &header, data)));
	printf(", the newest is %#x\n", header.version);
	header.pid = -1;
	printf("of process -1: %s\n", error(raw(capget, &header, data)));
	header.pid = 1;
	printf("capset of another: %s\n", error(raw(capset, &header, data)));
	header.pid = 0;
	raw(capget, &header, data);
	data[0].effective = ~(1u << CAP_KILL | 1u << CAP_SETUID);
	data[0].permitted = ~(1u << CAP_KILL);
	printf("capset: %s", error(raw(capset, &header, data)));
	printf(", setuid(5) %s", error(raw(setuid, 5)));
	data[0].effective |= 1u << CAP_KILL;
	printf(", more than permitted %s\n", error(raw(capset, &header, data)));
	printf("bounding set: %d %d %s\n", prctl(PR_CAPBSET_READ, 0), prctl(PR_CAPBSET_READ, CAP_LAST_CAP),
	       error(prctl(PR_CAPBSET_READ, 64)));
}

static void options(void)
{
	int value = -1;

	printf("unknown option: %s\n", error(prctl(12345, 0, 0, 0, 0)));
	printf("dumpable %d", prctl(PR_GET_DUMPABLE));
	printf(" %d %d, 2 %s\n", prctl(PR_SET_DUMPABLE, 0), prctl(PR_GET_DUMPABLE), error(prctl(PR_SET_DUMPABLE, 2)));
	printf("no new privileges %d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	printf(" 0 %s", error(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	printf(" %d %d\n", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	prctl(PR_GET_TSC, &value);
	printf("time stamp counter %d, timing %d, slack %d, seccomp %d\n", value, prctl(PR_GET_TIMING),
	       prctl(PR_GET_TIMERSLACK), prctl(PR_GET_SECCOMP));
	printf("seccomp with mode 7: %s\n", error(prctl(PR_SET_SECCOMP, 7, 0, 0, 0)));
	printf("huge pages %d %s\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), error(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0)));
	printf("MDWE %d\n", prctl(PR_GET_MDWE, 0, 0, 0, 0));
	printf("subreaper %d", prctl(PR_SET_CHILD_SUBREAPER, 5));
	prctl(PR_GET_CHILD_SUBREAPER, &value);
	printf(" %d\n", value);
	printf("personality %#x", personality(0xffffffff));
	printf(", set %#x", personality(ADDR_NO_RANDOMIZE));
	printf(", now %#x\n", personality(0xffffffff));
	fflush(stdout);
	if (!fork()) {
		printf("in a child %#x\n", personality(0xffffffff));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	printf("reboot without magic: %s\n", error(syscall(SYS_reboot, 1, 2, RB_DISABLE_CAD, NULL)));
	printf("sethostname: long %s, negative %s\n", error(syscall(SYS_sethostname, "x", 65)),
	       error(syscall(SYS_sethostname, "x", -1)));
	printf("tgkill 0: %s, tkill -1 %s\n", error(raw(tgkill, 0, 1, 0)), error(raw(tkill, -1, 0)));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 65536);
	in_child(users);
	in_child(users_by_setuid);
	in_child(groups);
	in_child(kept);
	in_child(signals);
	in_child(limits);
	in_child(versions);
	in_child(options);
	return 0;
}
