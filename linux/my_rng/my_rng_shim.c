// SPDX-License-Identifier: GPL-2.0
/*
 * The parts of the driver that must be C; see my_rng_shim.h. Nothing is
 * decided here.
 */

#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/hw_random.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "my_rng_shim.h"

const struct cpumask *my_rng_cpu_mask(unsigned int cpu)
{
	return cpumask_of(cpu);
}

void my_rng_get_page(struct page *page)
{
	get_page(page);
}

void *my_rng_page_address(struct page *page)
{
	return page_address(page);
}

int my_rng_put_user_32(u32 value, u32 __user *to)
{
	return put_user(value, to);
}

int my_rng_put_user_64(u64 value, u64 __user *to)
{
	return put_user(value, to);
}

struct my_rng_hwrng {
	struct hwrng rng;
	my_rng_hwrng_read read;
	void *context;
	char name[];
};

static int my_rng_hwrng_read_callback(struct hwrng *rng, void *data, size_t max, bool wait)
{
	struct my_rng_hwrng *this = container_of(rng, struct my_rng_hwrng, rng);

	return this->read(this->context, data, max, wait);
}

struct hwrng *my_rng_hwrng_register(const char *name, unsigned short quality,
				    my_rng_hwrng_read read, void *context)
{
	size_t length = strlen(name) + 1;
	struct my_rng_hwrng *this;
	int error;

	this = kzalloc(struct_size(this, name, length), GFP_KERNEL);
	if (!this)
		return ERR_PTR(-ENOMEM);

	memcpy(this->name, name, length);
	this->read = read;
	this->context = context;
	this->rng.name = this->name;
	this->rng.quality = quality;
	this->rng.read = my_rng_hwrng_read_callback;

	error = hwrng_register(&this->rng);
	if (error) {
		kfree(this);
		return ERR_PTR(error);
	}
	return &this->rng;
}

/* Waits until nobody reads any more. */
void my_rng_hwrng_unregister(struct hwrng *rng)
{
	hwrng_unregister(rng);
	kfree(container_of(rng, struct my_rng_hwrng, rng));
}

int my_rng_register_vmfork_notifier(struct notifier_block *block)
{
	return register_random_vmfork_notifier(block);
}

void my_rng_unregister_vmfork_notifier(struct notifier_block *block)
{
	unregister_random_vmfork_notifier(block);
}
