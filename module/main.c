// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: The driver: devices that do not exist
 *
 * This module pretends to be two devices with memory of their own that the CPU
 * cannot address, the way a graphics card's memory would be. All that a real
 * driver does with the kernel's HMM interfaces happens here for real; what is
 * played is the hardware: the device's memory is ordinary RAM kept out of sight
 * (chunk.c, page.c), and its processor is the CPU copying pages (access.c). On
 * request there are more of these devices, and two whose memory the CPU can
 * reach (coherent.c).
 *
 * A program opens /dev/hmm_dmirror0 or /dev/hmm_dmirror1 and gives orders by
 * ioctl: read or write memory as the device (access.c, through the page table
 * of mirror.c), move it to the device and back (migrate.c), keep the CPU away
 * from it (exclusive.c), report where each page is (snapshot.c), empty the
 * device (evict.c). The CPU's touch of a page on the device needs no order
 * (fault.c).
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
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dmirror.h"

#define DMIRROR_PRIVATE_DEVICES_MAX	8

/* First the device-private devices, then the device-coherent ones. */
static struct dmirror_device dmirror_devices[DMIRROR_PRIVATE_DEVICES_MAX +
					     DMIRROR_COHERENT_DEVICES];
static unsigned int dmirror_nr_devices;

/* All devices are there: from now on the module stays while a file is open. */
static bool dmirror_ready;

static unsigned int dmirror_nr_private = 2;
module_param_named(devices, dmirror_nr_private, uint, 0444);
MODULE_PARM_DESC(devices, "number of device-private devices, 1 to 8 (default: 2); device-coherent ones take the numbers after them");

static int dmirror_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct dmirror *dmirror;
	int ret;

	/* If a later device fails the module goes, whoever has opened this one. */
	if (!READ_ONCE(dmirror_ready))
		return -ENXIO;

	dmirror = kzalloc_obj(*dmirror, GFP_KERNEL);
	if (!dmirror)
		return -ENOMEM;
	file->private_data = dmirror;	/* the misc layer left its device there */

	xa_init(&dmirror->page_table);
	mutex_init(&dmirror->mutex);
	INIT_LIST_HEAD(&dmirror->unmapping);
	dmirror->device = container_of(misc, struct dmirror_device, misc);

	/* The whole address space, whatever is going to be mapped there. */
	ret = mmu_interval_notifier_insert(&dmirror->notifier, current->mm, 0,
					   ULONG_MAX & PAGE_MASK,
					   &dmirror_notifier_ops);
	if (ret)
		kfree(dmirror);
	return ret ?: nonseekable_open(inode, file);
}

static int dmirror_close(struct inode *inode, struct file *file)
{
	struct dmirror *dmirror = file->private_data;
	struct mm_struct *mm = dmirror->notifier.mm;

	/* An eviction may still find it when the notifier has let go of it. */
	mmgrab(mm);
	/* Waits for a running callback; none comes after. */
	mmu_interval_notifier_remove(&dmirror->notifier);
	dmirror_evict_forget(dmirror);
	mmdrop(mm);
	dmirror_table_end(dmirror);
	kfree(dmirror);
	return 0;
}

/* The flag word stands where other commands have a number of pages. */
static int dmirror_set_flags(struct dmirror *dmirror,
			     struct hmm_dmirror_cmd *cmd)
{
	if (cmd->npages & ~(u64)HMM_DMIRROR_FLAG_FAIL_ALLOC)
		return -EINVAL;

	assign_bit(DMIRROR_FAIL_ALLOC, &dmirror->device->flags,
		   cmd->npages & HMM_DMIRROR_FLAG_FAIL_ALLOC);
	return 0;
}

/* The range does not matter: it is the whole device that is emptied. */
static int dmirror_release(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_device_empty(dmirror->device, false);
}

typedef int dmirror_command(struct dmirror *dmirror,
			    struct hmm_dmirror_cmd *cmd);

static dmirror_command * const dmirror_commands[] = {
	[_IOC_NR(HMM_DMIRROR_READ)] = dmirror_read,
	[_IOC_NR(HMM_DMIRROR_WRITE)] = dmirror_write,
	[_IOC_NR(HMM_DMIRROR_MIGRATE_TO_DEV)] = dmirror_migrate_to_device,
	[_IOC_NR(HMM_DMIRROR_MIGRATE_TO_SYS)] = dmirror_migrate_to_system,
	[_IOC_NR(HMM_DMIRROR_SNAPSHOT)] = dmirror_snapshot,
	[_IOC_NR(HMM_DMIRROR_EXCLUSIVE)] = dmirror_exclusive,
	[_IOC_NR(HMM_DMIRROR_CHECK_EXCLUSIVE)] = dmirror_check_exclusive,
	[_IOC_NR(HMM_DMIRROR_RELEASE)] = dmirror_release,
	[_IOC_NR(HMM_DMIRROR_FLAGS)] = dmirror_set_flags,
	[_IOC_NR(HMM_DMIRROR_READ_UNLOCKED)] = dmirror_read_unlocked,
};

/* Is the range aligned and not empty, and does it end where it can? */
static bool dmirror_range_is_good(const struct hmm_dmirror_cmd *cmd)
{
	unsigned long size, end;

	return PAGE_ALIGNED(cmd->addr) && cmd->npages &&
	       !check_shl_overflow(cmd->npages, PAGE_SHIFT, &size) &&
	       !check_add_overflow(cmd->addr, size, &end);
}

static long dmirror_ioctl(struct file *file, unsigned int command,
			  unsigned long arg)
{
	struct hmm_dmirror_cmd __user *ucmd = (void __user *)arg;
	unsigned int nr = _IOC_NR(command);
	struct hmm_dmirror_cmd cmd;
	int ret;

	if (nr >= ARRAY_SIZE(dmirror_commands) ||
	    command != _IOWR('H', nr, struct hmm_dmirror_cmd))
		return -EINVAL;
	nr = array_index_nospec(nr, ARRAY_SIZE(dmirror_commands));

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (command != HMM_DMIRROR_FLAGS && !dmirror_range_is_good(&cmd))
		return -EINVAL;

	cmd.cpages = 0;
	cmd.faults = 0;
	ret = dmirror_commands[nr](file->private_data, &cmd);

	/* Also on a failure: it says how far the command came. */
	if (copy_to_user(ucmd, &cmd, sizeof(cmd)) && !ret)
		ret = -EFAULT;
	return ret;
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

static void dmirror_device_init(unsigned int nr)
{
	struct dmirror_device *device = &dmirror_devices[nr];

	snprintf(device->name, sizeof(device->name), "hmm_dmirror%u", nr);
	device->misc.minor = MISC_DYNAMIC_MINOR;
	device->misc.name = device->name;
	device->misc.fops = &dmirror_fops;
	device->misc.mode = 0600;
	device->misc.groups = dmirror_groups;
	device->type = MEMORY_DEVICE_PRIVATE;
	if (nr >= dmirror_nr_private) {
		device->type = MEMORY_DEVICE_COHERENT;
		device->start = dmirror_coherent_start(nr - dmirror_nr_private);
	}
	mutex_init(&device->resize_lock);
	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->chunks);
	INIT_LIST_HEAD(&device->lost);
	INIT_LIST_HEAD(&device->whole_blocks);
	INIT_LIST_HEAD(&device->broken_blocks);
}

/* Are all parameters good? The number of devices follows from them. */
static int __init dmirror_check_parameters(void)
{
	int ret;

	if (!dmirror_nr_private ||
	    dmirror_nr_private > DMIRROR_PRIVATE_DEVICES_MAX) {
		pr_err("hmm_dmirror: devices=%u: must be from 1 to %u\n",
		       dmirror_nr_private, DMIRROR_PRIVATE_DEVICES_MAX);
		return -EINVAL;
	}

	ret = dmirror_chunk_check() ?: dmirror_fault_check();
	if (ret)
		return ret;

	ret = dmirror_coherent_count();
	if (ret < 0)
		return ret;
	dmirror_nr_devices = dmirror_nr_private + ret;
	return 0;
}

/* Give a device its first chunk. */
static int __init dmirror_device_start(struct dmirror_device *device)
{
	int ret = dmirror_device_grow(device, false);

	if (ret)
		pr_err("%s: no room for %lu MB of device memory (error %d)\n",
		       device->name, dmirror_chunk_size(device) / SZ_1M, ret);
	return ret;
}

/* Take all memory from a device that nobody can open any more. */
static void dmirror_device_end(struct dmirror_device *device)
{
	dmirror_device_empty(device, true);
	dmirror_lost_release(device);
}

static int __init dmirror_init(void)
{
	unsigned int i, registered = 0;
	int ret;

	if (dmirror_test_hmm_loaded()) {
		pr_err("hmm_dmirror: the kernel's own test_hmm driver holds the names hmm_dmirror0 and 1: rmmod test_hmm first\n");
		return -EBUSY;
	}

	ret = dmirror_check_parameters();
	if (ret)
		return ret;

	for (i = 0; i < dmirror_nr_devices; i++)
		dmirror_device_init(i);

	for (i = 0; i < dmirror_nr_devices; i++) {
		ret = dmirror_device_start(&dmirror_devices[i]);
		if (ret)
			goto err_chunks;
	}

	for (; registered < dmirror_nr_devices; registered++) {
		ret = misc_register(&dmirror_devices[registered].misc);
		if (ret)
			goto err_devices;
	}
	WRITE_ONCE(dmirror_ready, true);
	return 0;

err_devices:
	while (registered--)
		misc_deregister(&dmirror_devices[registered].misc);
err_chunks:
	for (i = 0; i < dmirror_nr_devices; i++)
		dmirror_device_end(&dmirror_devices[i]);
	return ret;
}

static void __exit dmirror_exit(void)
{
	unsigned int i;

	/* No file is open any more, but processes may have pages on a device. */
	for (i = 0; i < dmirror_nr_devices; i++)
		misc_deregister(&dmirror_devices[i].misc);
	for (i = 0; i < dmirror_nr_devices; i++)
		dmirror_device_end(&dmirror_devices[i]);
}

module_init(dmirror_init);
module_exit(dmirror_exit);

MODULE_AUTHOR("The HMM book");
MODULE_DESCRIPTION("Devices with memory of their own that do not exist, to learn and test HMM");
MODULE_VERSION(DMIRROR_VERSION);
MODULE_LICENSE("GPL");
