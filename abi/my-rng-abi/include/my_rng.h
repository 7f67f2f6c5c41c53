/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * my_rng.h - the ioctl interface of /dev/my_rngN, for C programs.
 *
 *   int fd = open("/dev/my_rng_driver", O_RDWR);
 *   __u32 seed = 1, number;
 *   ioctl(fd, MY_RNG_IOCTL_SEED, &seed);
 *   ioctl(fd, MY_RNG_IOCTL_RAND, &number);    // 1804289383
 */
#ifndef MY_RNG_H
#define MY_RNG_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MY_RNG_IOC_MAGIC 'q'

/* Draws a 32-bit number of the seedable stream. */
#define MY_RNG_IOCTL_RAND _IOR(MY_RNG_IOC_MAGIC, 1, __u32)
/* Restarts the seedable stream with the given seed. */
#define MY_RNG_IOCTL_SEED _IOW(MY_RNG_IOC_MAGIC, 1, __u32)
/* Draws a 64-bit number: the first 32-bit draw is its high half. */
#define MY_RNG_IOCTL_RAND64 _IOR(MY_RNG_IOC_MAGIC, 2, __u64)

/* How the memory of a mapped queue is laid out. */
struct my_rng_map_info {
	__u64 length;         /* size of the mapping in bytes */
	__u32 state_offset;   /* where the state begins */
	__u32 buffers_offset; /* where the buffers begin, one after the other */
	__u32 depth;          /* number of buffers, a power of two */
	__u32 buffer_size;    /* size of a buffer in bytes, a power of two */
};

/* Asks for a queue that this file maps, and says how. */
#define MY_RNG_IOCTL_MAP_INFO _IOR(MY_RNG_IOC_MAGIC, 3, struct my_rng_map_info)
/* Rings the doorbell of that queue. */
#define MY_RNG_IOCTL_WAKE _IO(MY_RNG_IOC_MAGIC, 4)

/* A seed of 32, 64 or 256 bits, and which of its streams. */
struct my_rng_wide_seed {
	__u32 seed[8]; /* the lowest bits in the first word */
	__u64 stream;  /* the stream's number, with MY_RNG_WIDE_SEED_STREAM */
	__u32 bits;    /* length of the seed: 32, 64 or 256 */
	__u32 flags;   /* MY_RNG_WIDE_SEED_... */
};

/* The stream has a number. */
#define MY_RNG_WIDE_SEED_STREAM 1

/* Restarts the seedable stream; EOPNOTSUPP if the generator takes no such seed. */
#define MY_RNG_IOCTL_SEED_WIDE _IOW(MY_RNG_IOC_MAGIC, 5, struct my_rng_wide_seed)
/* Goes on with the number of 32 bits that has that position in the stream. */
#define MY_RNG_IOCTL_SEEK _IOW(MY_RNG_IOC_MAGIC, 6, __u64)

#endif
