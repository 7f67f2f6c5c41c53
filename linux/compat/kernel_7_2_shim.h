/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KERNEL_7_2_SHIM_H
#define KERNEL_7_2_SHIM_H

#include <linux/spinlock.h>
#include <linux/srcu.h>

int kernel_7_2_srcu_init(struct srcu_struct *srcu, const char *name, struct lock_class_key *key);
int kernel_7_2_srcu_read_lock(struct srcu_struct *srcu);
void kernel_7_2_srcu_read_unlock(struct srcu_struct *srcu, int index);
unsigned long kernel_7_2_spin_lock_irqsave(spinlock_t *lock);
bool kernel_7_2_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void kernel_7_2_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void kernel_7_2_dma_rmb(void);
void kernel_7_2_dma_wmb(void);
void kernel_7_2_dma_mb(void);

#endif
