/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline functions of the kernel that Rust cannot call.
 */
#ifndef MECHANISMS_SHIM_H
#define MECHANISMS_SHIM_H

#include <linux/types.h>

struct signal_struct;
struct task_struct;

u64 mechanisms_boottime_in_current_ns(u64 nanoseconds);
s64 mechanisms_monotonic_offset(void);
bool mechanisms_in_initial_time_ns(void);
bool mechanisms_is_dumpable(struct task_struct *task);
unsigned int mechanisms_stats_read_begin(struct signal_struct *signal);
bool mechanisms_stats_read_retry(struct signal_struct *signal, unsigned int sequence);

#endif
