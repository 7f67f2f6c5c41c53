// SPDX-License-Identifier: GPL-2.0
/*
 * Tells the kernel that the machine was cloned, as the driver of the VM
 * Generation ID does. QEMU changes that ID only when a machine is restored
 * from a snapshot, and refuses to make one with a vfio-user device.
 */

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/uuid.h>

static int __init vmfork_test_init(void)
{
	/* Not exported on a kernel that has the driver built in. */
	struct kprobe probe = { .symbol_name = "add_vmfork_randomness" };
	void (*add)(const void *unique_vm_id, size_t len);
	uuid_t id;
	int error;

	error = register_kprobe(&probe);
	if (error)
		return error;
	add = (void *)probe.addr;
	unregister_kprobe(&probe);

	generate_random_uuid(id.b);
	add(&id, sizeof(id));
	return 0;
}
module_init(vmfork_test_init);

static void __exit vmfork_test_exit(void)
{
}
module_exit(vmfork_test_exit);

MODULE_DESCRIPTION("Pretends that the machine was cloned");
MODULE_AUTHOR("The Exo authors");
MODULE_LICENSE("GPL");
