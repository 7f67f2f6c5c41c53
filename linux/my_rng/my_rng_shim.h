/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust cannot reach: inline functions and a structure that the kernel's
 * generated bindings lack. shim.rs declares the same functions again.
 */
#ifndef MY_RNG_SHIM_H
#define MY_RNG_SHIM_H

#include <linux/compiler_types.h>
#include <linux/types.h>

struct cpumask;
struct hwrng;
struct notifier_block;
struct page;

const struct cpumask *my_rng_cpu_mask(unsigned int cpu);
void my_rng_get_page(struct page *page);
void *my_rng_page_address(struct page *page);

/* What is not there is brought in. */
int my_rng_put_user_32(u32 value, u32 __user *to);
int my_rng_put_user_64(u64 value, u64 __user *to);

typedef int (*my_rng_hwrng_read)(void *context, void *data, size_t max, bool wait);

struct hwrng *my_rng_hwrng_register(const char *name, unsigned short quality,
				    my_rng_hwrng_read read, void *context);
void my_rng_hwrng_unregister(struct hwrng *rng);

/* Do nothing in a kernel without CONFIG_VMGENID. */
int my_rng_register_vmfork_notifier(struct notifier_block *block);
void my_rng_unregister_vmfork_notifier(struct notifier_block *block);

#endif
