// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions of the kernel that Rust cannot call. A module that uses
 * process.rs or time_ns.rs includes this file in its own C file.
 */

#include <linux/nsproxy.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/exec_state.h>
#include <linux/sched/signal.h>
#include <linux/seqlock.h>
#include <linux/time_namespace.h>

#include "shim.h"

u64 mechanisms_boottime_in_current_ns(u64 nanoseconds)
{
	return timens_add_boottime_ns(nanoseconds);
}

s64 mechanisms_monotonic_offset(void)
{
	struct timespec64 offset = { 0 };

	timens_add_monotonic(&offset);
	return timespec64_to_ns(&offset);
}

bool mechanisms_in_initial_time_ns(void)
{
#ifdef CONFIG_TIME_NS
	return current->nsproxy->time_ns == &init_time_ns;
#else
	return true;
#endif
}

bool mechanisms_is_dumpable(struct task_struct *task)
{
	guard(rcu)();
	return READ_ONCE(rcu_dereference(task->exec_state)->dumpable) == TASK_DUMPABLE_OWNER;
}

unsigned int mechanisms_stats_read_begin(struct signal_struct *signal)
{
	return read_seqbegin(&signal->stats_lock);
}

bool mechanisms_stats_read_retry(struct signal_struct *signal, unsigned int sequence)
{
	return read_seqretry(&signal->stats_lock, sequence);
}
