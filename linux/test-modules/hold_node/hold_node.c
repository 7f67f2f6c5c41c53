// SPDX-License-Identifier: GPL-2.0
/*
 * Holds a reference to the character device behind a node, and with it to its
 * struct device, from being loaded until it is unloaded: insmod hold_node.ko
 * node=/dev/NAME. Unlike an open file, this does not keep the node's module.
 *
 * CONFIG_DEBUG_KOBJECT_RELEASE shows by delays what this shows by will: that
 * a module does not go before its devices were released.
 */

#include <linux/cdev.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>

static char *node;
module_param(node, charp, 0444);
MODULE_PARM_DESC(node, "path of the node");

static struct kobject *held;

static int __init hold_node_init(void)
{
	struct cdev *cdev;
	struct file *file;

	if (!node)
		return -EINVAL;
	file = filp_open(node, O_RDONLY | O_NONBLOCK, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);

	cdev = file_inode(file)->i_cdev;
	if (cdev)
		held = kobject_get(&cdev->kobj);
	filp_close(file, NULL);
	return held ? 0 : -ENODEV;
}
module_init(hold_node_init);

static void __exit hold_node_exit(void)
{
	kobject_put(held);
}
module_exit(hold_node_exit);

MODULE_DESCRIPTION("Holds a reference to a character device");
MODULE_AUTHOR("The Exo authors");
MODULE_LICENSE("GPL");
