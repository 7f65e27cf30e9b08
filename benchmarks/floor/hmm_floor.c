// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Floor: a driver that does the least
 *
 * How much of what a migration costs is the kernel's own part? This module has
 * device pages and moves memory to them and back, by ioctl and by fault, with
 * the kernel's helpers. It does nothing else: it has no page table, no notifier
 * and no counters, and above all it copies nothing and keeps nothing. What is
 * sent to this device is lost, and what comes back is whatever was in that
 * memory before. So no driver can be cheaper, and this one is of no use but to
 * be measured, by make bench, in a machine that is thrown away after it.
 *
 * It takes the name of the first device, and two of the commands, of the driver
 * that it is compared with. Of huge pages it knows nothing: the kernel splits
 * them for it. There is no way to unload it.
 */
#include <linux/fs.h>
#include <linux/ioport.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "uapi/hmm_dmirror.h"

#define FLOOR_MEMORY	SZ_512M
#define FLOOR_BATCH	BIT(PMD_SHIFT - PAGE_SHIFT)

static vm_fault_t floor_migrate_to_ram(struct vm_fault *vmf);

static const struct dev_pagemap_ops floor_pagemap_ops = {
	DMIRROR_FREE_OP,
	.migrate_to_ram = floor_migrate_to_ram,
};

static struct dev_pagemap floor_pgmap = {
	.type = MEMORY_DEVICE_PRIVATE,
	.nr_range = 1,
	.ops = &floor_pagemap_ops,
	.owner = &floor_pgmap,
};

/* The free device pages, each leading to the next by zone_device_data. */
static struct page *floor_free_pages;
static DEFINE_SPINLOCK(floor_lock);	/* for floor_free_pages; innermost */

/* The last reference is gone, possibly with a page table lock held. */
void dmirror_folio_free(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);

	spin_lock(&floor_lock);
	page->zone_device_data = floor_free_pages;
	floor_free_pages = page;
	spin_unlock(&floor_lock);
}

static void floor_send(struct migrate_vma *args)
{
	unsigned long i;

	spin_lock(&floor_lock);
	for (i = 0; i < args->npages && floor_free_pages; i++) {
		struct page *page = floor_free_pages;

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		floor_free_pages = page->zone_device_data;
		dmirror_zone_device_init(page, &floor_pgmap, 0);
		args->dst[i] = migrate_pfn(page_to_pfn(page));
	}
	spin_unlock(&floor_lock);
}

/* An address that nobody has touched is marked, but has no page. */
static bool floor_is_page(unsigned long src)
{
	return (src & MIGRATE_PFN_MIGRATE) && migrate_pfn_to_page(src);
}

static void floor_fetch(struct migrate_vma *args, struct page **pages)
{
	unsigned long i, wanted = 0, got = 0, last;

	for (i = 0; i < args->npages; i++)
		wanted += floor_is_page(args->src[i]);

	memset(pages, 0, wanted * sizeof(*pages));
	do {
		last = got;
		got = alloc_pages_bulk(GFP_HIGHUSER_MOVABLE, wanted, pages);
	} while (got > last && got < wanted);

	for (i = 0; got; i++) {
		if (!floor_is_page(args->src[i]))
			continue;
		lock_page(*pages);
		args->dst[i] = migrate_pfn(page_to_pfn(*pages++));
		got--;
	}
}

/* One batch. On return, args->end is where the next one begins. */
static int floor_move(struct migrate_vma *args, struct page **pages,
		      unsigned long end)
{
	unsigned long in_batch = FLOOR_BATCH * PAGE_SIZE;
	int ret = -EINVAL;

	mmap_read_lock(current->mm);
	args->vma = vma_lookup(current->mm, args->start);
	if (args->vma) {
		args->end = min3(end, args->vma->vm_end, args->start +
				 in_batch - args->start % in_batch);
		ret = migrate_vma_setup(args);
	}
	if (!ret) {
		if (args->flags == MIGRATE_VMA_SELECT_SYSTEM)
			floor_send(args);
		else
			floor_fetch(args, pages);
		migrate_vma_pages(args);
		migrate_vma_finalize(args);
	}
	mmap_read_unlock(current->mm);
	return ret;
}

static long floor_ioctl(struct file *file, unsigned int command,
			unsigned long arg)
{
	struct hmm_dmirror_cmd cmd;
	struct migrate_vma args = { .pgmap_owner = &floor_pgmap };
	unsigned long batch, size, end;
	long ret = 0;

	if (command == HMM_DMIRROR_MIGRATE_TO_DEV)
		args.flags = MIGRATE_VMA_SELECT_SYSTEM;
	else if (command == HMM_DMIRROR_MIGRATE_TO_SYS)
		args.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	else
		return -ENOTTY;

	if (copy_from_user(&cmd, (void __user *)arg, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.addr) || !cmd.npages ||
	    check_mul_overflow(cmd.npages, PAGE_SIZE, &size) ||
	    check_add_overflow(cmd.addr, size, &end))
		return -EINVAL;

	batch = min_t(u64, cmd.npages, FLOOR_BATCH);
	args.src = kvmalloc_array(batch, 3 * sizeof(*args.src), GFP_KERNEL);
	if (!args.src)
		return -ENOMEM;
	args.dst = args.src + batch;

	for (args.start = cmd.addr; !ret && args.start < end;
	     args.start = args.end) {
		ret = floor_move(&args, (struct page **)(args.dst + batch), end);
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(args.src);
	return ret;
}

static vm_fault_t floor_migrate_to_ram(struct vm_fault *vmf)
{
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.src = &src,
		.dst = &dst,
		.start = vmf->address,
		.end = vmf->address + PAGE_SIZE,
		.pgmap_owner = &floor_pgmap,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	struct page *page;

	if (migrate_vma_setup(&args))
		return VM_FAULT_SIGBUS;
	floor_fetch(&args, &page);
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
	return (src & MIGRATE_PFN_MIGRATE) && !dst ? VM_FAULT_OOM : 0;
}

static const struct file_operations floor_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = floor_ioctl,
};

static struct miscdevice floor_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_dmirror0",
	.fops = &floor_fops,
	.mode = 0600,
};

static int __init floor_init(void)
{
	struct resource *res;
	unsigned long pfn;
	int ret;

	res = request_free_mem_region(&iomem_resource, FLOOR_MEMORY,
				      "hmm_floor");
	if (IS_ERR(res))
		return PTR_ERR(res);
	floor_pgmap.range.start = res->start;
	floor_pgmap.range.end = res->end;

	ret = PTR_ERR_OR_ZERO(memremap_pages(&floor_pgmap, numa_node_id()));
	if (ret)
		goto err_region;
	for (pfn = PHYS_PFN(res->end + 1); pfn-- > PHYS_PFN(res->start);) {
		struct page *page = pfn_to_page(pfn);

		page->zone_device_data = floor_free_pages;
		floor_free_pages = page;
	}

	ret = misc_register(&floor_misc);
	if (!ret)
		return 0;

	memunmap_pages(&floor_pgmap);
err_region:
	release_mem_region(res->start, resource_size(res));
	return ret;
}
module_init(floor_init);

MODULE_DESCRIPTION("The cheapest driver for device memory, to be measured");
MODULE_LICENSE("GPL");
