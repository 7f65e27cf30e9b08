// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: The driver: two devices that do not exist
 *
 * This module pretends to be two devices with memory of their own that the CPU
 * cannot address, the way a graphics card's memory would be. All that a real
 * driver does with the kernel's HMM interfaces happens here for real; what is
 * played is the hardware: the device's memory is ordinary RAM kept out of sight
 * (chunk.c), and its processor is the CPU copying pages (mirror.c).
 *
 * A program opens /dev/hmm_dmirror0 or /dev/hmm_dmirror1 and gives orders by
 * ioctl: read or write memory as the device (mirror.c), move it to the device
 * and back (migrate.c), report where each page is (snapshot.c). The CPU's touch
 * of a page on the device needs no order (fault.c).
 *
 * Opening binds the file to the address space of the process that opens it, for
 * good. A child that inherits the file acts on its parent's memory; to use its
 * own it opens the device again. An open file keeps the module loaded. A closed
 * one leaves no trace: pages on the device belong to the process, not to the
 * file, and stay there until they are touched, unmapped or released.
 */
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dmirror.h"

static struct dmirror_device dmirror_devices[2];

static int dmirror_open(struct inode *inode, struct file *file)
{
	struct dmirror *dmirror;
	int ret;

	dmirror = kzalloc_obj(*dmirror, GFP_KERNEL);
	if (!dmirror)
		return -ENOMEM;

	/* The misc layer left its device here. */
	dmirror->device = container_of(file->private_data,
				       struct dmirror_device, misc);
	mutex_init(&dmirror->mutex);
	xa_init(&dmirror->page_table);

	/* The whole address space, whatever is going to be mapped there. */
	ret = mmu_interval_notifier_insert(&dmirror->notifier, current->mm, 0,
					   ULONG_MAX & PAGE_MASK,
					   &dmirror_notifier_ops);
	if (ret) {
		kfree(dmirror);
		return ret;
	}

	file->private_data = dmirror;
	return nonseekable_open(inode, file);
}

static int dmirror_close(struct inode *inode, struct file *file)
{
	struct dmirror *dmirror = file->private_data;

	/* Waits for a running callback; none comes after. */
	mmu_interval_notifier_remove(&dmirror->notifier);
	xa_destroy(&dmirror->page_table);
	kfree(dmirror);
	return 0;
}

static long dmirror_ioctl(struct file *file, unsigned int command,
			  unsigned long arg)
{
	struct hmm_dmirror_cmd __user *ucmd = (void __user *)arg;
	struct dmirror *dmirror = file->private_data;
	struct hmm_dmirror_cmd cmd;
	unsigned long size, end;
	int ret;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;

	/* From here on every range is aligned, not empty, and does not wrap. */
	if (!PAGE_ALIGNED(cmd.addr) || !cmd.npages ||
	    check_shl_overflow(cmd.npages, PAGE_SHIFT, &size) ||
	    check_add_overflow(cmd.addr, size, &end))
		return -EINVAL;

	cmd.cpages = 0;
	cmd.faults = 0;

	switch (command) {
	case HMM_DMIRROR_READ:
		ret = dmirror_read(dmirror, &cmd);
		break;
	case HMM_DMIRROR_WRITE:
		ret = dmirror_write(dmirror, &cmd);
		break;
	case HMM_DMIRROR_MIGRATE_TO_DEV:
		ret = dmirror_migrate_to_device(dmirror, &cmd);
		break;
	case HMM_DMIRROR_MIGRATE_TO_SYS:
		ret = dmirror_migrate_to_system(dmirror, &cmd);
		break;
	case HMM_DMIRROR_SNAPSHOT:
		ret = dmirror_snapshot(dmirror, &cmd);
		break;
	case HMM_DMIRROR_RELEASE:
		ret = dmirror_device_empty(dmirror->device, false);
		break;
	default:
		return -EINVAL;
	}
	if (ret)
		return ret;

	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

/*
 * A mapping of the device is ordinary pages put in by hand, one of the kinds of
 * mapping (VM_MIXEDMAP) that a snapshot has to cope with.
 */
static int dmirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long addr;
	int ret = 0;

	for (addr = vma->vm_start; !ret && addr < vma->vm_end;
	     addr += PAGE_SIZE) {
		struct page *page = alloc_page(GFP_HIGHUSER | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, addr, page);
		put_page(page);		/* the mapping has its own */

		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	return ret;
}

static const struct file_operations dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = dmirror_close,
	.unlocked_ioctl = dmirror_ioctl,
	.mmap = dmirror_mmap,
};

/* The kernel's own HMM test driver makes nodes of the same names. */
static bool dmirror_test_hmm_loaded(void)
{
	struct kobject *module;

	module = kset_find_obj(THIS_MODULE->mkobj.kobj.kset, "test_hmm");
	kobject_put(module);
	return module;
}

static void dmirror_device_init(struct dmirror_device *device, int nr)
{
	snprintf(device->name, sizeof(device->name), "hmm_dmirror%d", nr);
	device->misc.minor = MISC_DYNAMIC_MINOR;
	device->misc.name = device->name;
	device->misc.fops = &dmirror_fops;
	device->misc.mode = 0600;
	mutex_init(&device->resize_lock);
	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->chunks);
}

static int __init dmirror_init(void)
{
	int i, registered = 0, ret = 0;

	if (dmirror_test_hmm_loaded()) {
		pr_err("hmm_dmirror: the kernel's own test_hmm driver holds the names hmm_dmirror0 and 1: rmmod test_hmm first\n");
		return -EBUSY;
	}

	for (i = 0; i < ARRAY_SIZE(dmirror_devices); i++)
		dmirror_device_init(&dmirror_devices[i], i);

	for (i = 0; !ret && i < ARRAY_SIZE(dmirror_devices); i++)
		ret = dmirror_device_grow(&dmirror_devices[i]);
	if (ret) {
		pr_err("hmm_dmirror: no room for %u MB of device memory (error %d)\n",
		       DMIRROR_CHUNK_MB, ret);
		goto err_chunks;
	}

	/* Last, since a device may be opened as soon as it is registered. */
	for (; registered < ARRAY_SIZE(dmirror_devices); registered++) {
		ret = misc_register(&dmirror_devices[registered].misc);
		if (ret)
			goto err_devices;
	}
	return 0;

err_devices:
	while (registered--)
		misc_deregister(&dmirror_devices[registered].misc);
err_chunks:
	for (i = 0; i < ARRAY_SIZE(dmirror_devices); i++)
		dmirror_device_empty(&dmirror_devices[i], true);
	return ret;
}

static void __exit dmirror_exit(void)
{
	int i;

	/* No file is open any more, but processes may have pages on a device. */
	for (i = 0; i < ARRAY_SIZE(dmirror_devices); i++)
		misc_deregister(&dmirror_devices[i].misc);
	for (i = 0; i < ARRAY_SIZE(dmirror_devices); i++)
		dmirror_device_empty(&dmirror_devices[i], true);
}

module_init(dmirror_init);
module_exit(dmirror_exit);

MODULE_AUTHOR("The HMM book");
MODULE_DESCRIPTION("Two devices with device-private memory, to learn and test HMM");
MODULE_LICENSE("GPL");
