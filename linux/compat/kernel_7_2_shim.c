// SPDX-License-Identifier: GPL-2.0
/*
 * What kernel_7_2.rs needs of C's macros and inline functions: those of rust/helpers in Linux 7.3
 * that 7.2 has not.
 */

#include "kernel_7_2_shim.h"

int kernel_7_2_srcu_init(struct srcu_struct *srcu, const char *name, struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	return __init_srcu_struct(srcu, name, key);
#else
	return init_srcu_struct(srcu);
#endif
}

int kernel_7_2_srcu_read_lock(struct srcu_struct *srcu)
{
	return srcu_read_lock(srcu);
}

void kernel_7_2_srcu_read_unlock(struct srcu_struct *srcu, int index)
{
	srcu_read_unlock(srcu, index);
}

unsigned long kernel_7_2_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool kernel_7_2_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void kernel_7_2_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void kernel_7_2_dma_rmb(void)
{
	dma_rmb();
}

void kernel_7_2_dma_wmb(void)
{
	dma_wmb();
}

void kernel_7_2_dma_mb(void)
{
	dma_mb();
}
