/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * procmon.h - the interface of /dev/procmon and /dev/procmon_events, for C programs.
 *
 *   int fd = open("/dev/procmon", O_RDWR);
 *   struct procmon_query query = { .pid = 1 };
 *   ioctl(fd, PROCMON_QUERY_PID, &query);      // query.comm is "systemd"
 */
#ifndef PROCMON_H
#define PROCMON_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PROCMON_IOC_MAGIC 'P'
#define PROCMON_COMM_LEN 16

/* The counters count calls, successful or not; opens only those that succeed. */
struct procmon_stats {
	unsigned long total_opens;
	unsigned long total_reads;
	unsigned long total_writes;
	unsigned long total_ioctls;
	int current_filter_pid; /* 0: all; -1: a process that the caller cannot see */
};

/* For a pid that does not exist: comm is empty, state -1, vsize 0. */
struct procmon_query {
	int pid;                     /* in */
	char comm[PROCMON_COMM_LEN]; /* out, ends with a zero */
	int state;                   /* out, the kernel's task state: PROCMON_STATE_... */
	unsigned long vsize;         /* out, bytes */
};

/* A process of a snapshot. Times are nanoseconds, sizes are bytes. */
struct procmon_process {
	__s32 pid;
	__s32 tgid;
	__s32 ppid;
	__u32 uid;
	__u32 state;
	__u32 threads;
	char comm[PROCMON_COMM_LEN];
	__u64 vsize;
	__u64 rss;
	__u64 utime;
	__u64 stime;
	__u64 start; /* since boot */
};

struct procmon_snapshot {
	__u64 records;  /* in: address of an array of struct procmon_process */
	__u32 capacity; /* in: its length */
	__u32 count;    /* out: how many processes there are; with ENOSPC more than capacity */
};

/* Sets the counters to zero. The message and the filter stay. */
#define PROCMON_RESET _IO(PROCMON_IOC_MAGIC, 0)
/* Length of the message. */
#define PROCMON_GET_COUNT _IOR(PROCMON_IOC_MAGIC, 1, int)
/* The counters and the filter. */
#define PROCMON_GET_STATS _IOR(PROCMON_IOC_MAGIC, 2, struct procmon_stats)
/* Whose events are recorded: a process and its descendants, or 0 for all. */
#define PROCMON_SET_FILTER _IOW(PROCMON_IOC_MAGIC, 3, int)
/* Looks a process up, in the caller's PID namespace. */
#define PROCMON_QUERY_PID _IOWR(PROCMON_IOC_MAGIC, 4, struct procmon_query)
/* All processes that the caller's PID namespace has. */
#define PROCMON_SNAPSHOT _IOWR(PROCMON_IOC_MAGIC, 5, struct procmon_snapshot)

#define PROCMON_STATE_RUNNING 0x00
#define PROCMON_STATE_INTERRUPTIBLE 0x01
#define PROCMON_STATE_UNINTERRUPTIBLE 0x02
#define PROCMON_STATE_STOPPED 0x04
#define PROCMON_STATE_TRACED 0x08
#define PROCMON_STATE_DEAD 0x10
#define PROCMON_STATE_ZOMBIE 0x20
#define PROCMON_STATE_PARKED 0x40
#define PROCMON_STATE_IDLE 0x80

/* What read(2) on /dev/procmon_events gives: as many whole ones as there are and as fit. */
struct procmon_event {
	__u64 sequence; /* of this CPU */
	__u64 time;     /* CLOCK_MONOTONIC, nanoseconds */
	__s32 pid;
	__s32 tgid;
	__s32 ppid;
	__u32 uid;
	char comm[PROCMON_COMM_LEN];
	__u32 kind; /* PROCMON_EVENT_... */
	__u32 cpu;
	__u64 detail;
};

#define PROCMON_EVENT_LOST 0 /* detail: how many events were lost here */
#define PROCMON_EVENT_FORK 1 /* detail: the thread that forked */
#define PROCMON_EVENT_EXEC 2 /* detail: the thread that called execve(2) */
#define PROCMON_EVENT_EXIT 3 /* detail: the status as of wait(2), or PROCMON_STATUS_HIDDEN */
#define PROCMON_EVENT_COMM 4

#define PROCMON_STATUS_HIDDEN (~(__u64)0)

/* Forgets what this file has not read yet. */
#define PROCMON_EVENTS_SKIP _IO(PROCMON_IOC_MAGIC, 16)
/* How many events reading this file has lost in total. */
#define PROCMON_EVENTS_LOST _IOR(PROCMON_IOC_MAGIC, 17, __u64)

/*
 * The mapping of /dev/procmon_events: 64-bit words. A header page; then a ring for each CPU, of a control page and the
 * slots. Event n is in slot n % slots; it is complete when n < written, and still there while n + slots >= begun.
 */
#define PROCMON_RING_MAGIC 0x70726f636d6f6e01ULL
#define PROCMON_RING_PAGE 4096
#define PROCMON_HEADER_MAGIC 0
#define PROCMON_HEADER_RINGS 1
#define PROCMON_HEADER_SLOTS 2
#define PROCMON_HEADER_SLOT_SIZE 3
#define PROCMON_HEADER_FIRST_RING 4
#define PROCMON_HEADER_RING_SIZE 5
#define PROCMON_HEADER_SIZE 6
#define PROCMON_CONTROL_BEGUN 0
#define PROCMON_CONTROL_WRITTEN 1
#define PROCMON_CONTROL_CPU 8

#endif
