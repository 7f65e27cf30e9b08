// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Migration: moving a page under a running process
 *
 * A migration takes four steps, and the kernel owns three of them.
 *
 * migrate_vma_setup() collects the pages of a range: it replaces each page
 * table entry with a migration entry, so that whoever touches the page from now
 * on waits, locks the page, and isolates it. Pages that cannot move, because
 * somebody has pinned them for instance, are put back at once. What is left is
 * marked MIGRATE_PFN_MIGRATE in the src array. That the call returns 0 says
 * nothing about how many these are.
 *
 * The driver then finds a new page for each marked one, copies the data, and
 * puts the new page, locked, into the dst array. An entry that it leaves 0
 * stays where it was. That is all that "the driver decides" means.
 *
 * migrate_vma_pages() hands over what belongs to the page: its mapping, flags,
 * memory cgroup charge. It may still refuse, and then clears the mark.
 *
 * migrate_vma_finalize() replaces the migration entries, with the new page or,
 * where it was refused, with the old one, and unlocks and drops the pages.
 *
 * In an anonymous mapping an address that nobody has touched can be migrated as
 * well: it is marked but has no source page, and the device gets a page of
 * zeros. An address that the process may not read is refused with -EINVAL
 * before anything is collected; that is a rule of this driver and not of the
 * kernel, and it has nothing to do with whether there is a page.
 *
 * The range is worked on in batches, each under one PMD entry. What earlier
 * batches moved stays moved if a later one fails. If the device is full the
 * batch ends early, and only when all locks are released does the driver add a
 * chunk and repeat it: adding one takes long, and RELEASE may be waiting for
 * just the pages that were locked.
 *
 * A huge page can move as a whole (huge.c), but memory in one piece is scarce,
 * on the device and in system RAM. So a batch in which an allocation failed is
 * done once more, with huge pages split, before the call fails.
 *
 * What may fail: no mapping or not readable (-EINVAL), no memory (-ENOMEM), a
 * page could not be moved to the device (-ENOENT), the process is gone
 * (-EINVAL), a fatal signal (-EINTR).
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dmirror.h"
#include "trace.h"

/**
 * dmirror_batch_begin() - get what a migration works with
 * @batch: filled in; without a range so far
 * @npages: the most pages that a batch is to have
 * @gfp: how to allocate
 *
 * Return: 0, and dmirror_batch_end() is to be called, or -ENOMEM.
 */
int dmirror_batch_begin(struct dmirror_batch *batch, unsigned long npages,
			gfp_t gfp)
{
	unsigned long *slots = batch->one;

	if (npages > 1)
		slots = kvmalloc_array(npages, 3 * sizeof(*slots), gfp);
	if (!slots)
		return -ENOMEM;

	batch->args = (struct migrate_vma) {
		.src = slots,
		.dst = slots + npages,
	};
	batch->huge = true;
	batch->moved = 0;
	batch->pages = (struct page **)(slots + 2 * npages);
	batch->slots = slots;
	return 0;
}

/**
 * dmirror_batch_end() - give back what dmirror_batch_begin() got
 * @batch: the batch
 */
void dmirror_batch_end(struct dmirror_batch *batch)
{
	if (batch->slots != batch->one)
		kvfree(batch->slots);
}

/**
 * dmirror_count_moved() - what did the kernel move in the end?
 * @src: the src array, after migrate_vma_pages() or migrate_device_pages()
 * @dst: the dst array
 * @n: number of entries
 *
 * Return: the number of pages.
 */
unsigned long dmirror_count_moved(const unsigned long *src,
				  const unsigned long *dst, unsigned long n)
{
	unsigned long i, moved = 0;

	for (i = 0; i < n; i++)
		if (dst[i] && (src[i] & MIGRATE_PFN_MIGRATE))
			moved += dst[i] & MIGRATE_PFN_COMPOUND ?
				 DMIRROR_BLOCK_PAGES : 1;
	return moved;
}

/*
 * The last two steps. ret is how the allocation of pages went; -EAGAIN also if
 * a huge page was refused as such.
 */
static int dmirror_batch_finish(struct dmirror_device *device,
				struct dmirror_batch *batch, int ret)
{
	const struct migrate_vma *args = &batch->args;
	unsigned long moved;

	if (ret == -ENOMEM || ret == -EAGAIN)
		dmirror_count(device, DMIRROR_ALLOCATION_FAILURES, 1);

	migrate_vma_pages(&batch->args);
	moved = dmirror_count_moved(args->src, args->dst, args->npages);
	if (!ret && !moved && (args->dst[0] & MIGRATE_PFN_COMPOUND))
		ret = -EAGAIN;

	migrate_vma_finalize(&batch->args);
	batch->moved += moved;
	return ret;
}

/* Single pages to the device. */
static int dmirror_send_pages(struct dmirror_device *device,
			      struct dmirror_batch *batch)
{
	const struct migrate_vma *args = &batch->args;
	struct page **to = batch->pages;
	unsigned long i, wanted = 0;
	int ret;

	for (i = 0; i < args->npages; i++)
		if (args->src[i] & MIGRATE_PFN_MIGRATE)
			wanted++;
	ret = dmirror_pages_alloc(device, to, wanted);

	for (i = 0; wanted && *to; i++) {
		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;

		/* No source page: nobody has touched this address so far. */
		dmirror_copy_to_device(device, args->start + i * PAGE_SIZE, *to,
				       migrate_pfn_to_page(args->src[i]), 1);
		args->dst[i] = migrate_pfn(page_to_pfn(*to++));
		wanted--;
	}
	return ret;
}

/* One batch from system RAM to the device; -ENOSPC if the device is full. */
static int dmirror_send(struct dmirror_device *device,
			struct dmirror_batch *batch)
{
	int ret;

	/* The core brings back no huge coherent page: do not make any. */
	batch->args.flags = MIGRATE_VMA_SELECT_SYSTEM;
	if (batch->huge && device->type == MEMORY_DEVICE_PRIVATE)
		batch->args.flags |= DMIRROR_SELECT_HUGE;

	ret = migrate_vma_setup(&batch->args);
	if (ret)
		return ret;

	if (dmirror_batch_is_huge(batch))
		ret = dmirror_send_huge(device, batch);
	else
		ret = dmirror_send_pages(device, batch);
	return dmirror_batch_finish(device, batch, ret);
}

/* An address that nobody has touched is marked, but has no page. */
static bool dmirror_leaves_device(unsigned long src)
{
	return (src & MIGRATE_PFN_MIGRATE) && migrate_pfn_to_page(src);
}

/* Single pages from the device. */
static int dmirror_fetch_pages(struct dmirror_device *device,
			       struct dmirror_batch *batch)
{
	struct migrate_vma *args = &batch->args;
	struct page **ready = batch->pages, **none = ready;
	unsigned long i, wanted = 0, addr = args->start;

	for (i = 0; i < args->npages; i++)
		if (dmirror_leaves_device(args->src[i]))
			wanted++;
	if (wanted && dmirror_fail_once(device))
		return -ENOMEM;

	/* No memory policy is asked in there: only where there is none to ask. */
	if (wanted && vma_is_anonymous(args->vma) &&
	    !dmirror_has_mempolicy(args->vma))
		none += dmirror_pages_bulk(GFP_HIGHUSER_MOVABLE, ready, wanted);

	for (i = 0; i < args->npages; i++, addr += PAGE_SIZE) {
		struct page *to;

		if (!dmirror_leaves_device(args->src[i]))
			continue;
		to = ready < none ? *ready++ :
		     alloc_page_vma(GFP_HIGHUSER_MOVABLE, args->vma, addr);
		if (!to)
			return -ENOMEM;

		lock_page(to);
		dmirror_copy_to_system(device, addr, to,
				       migrate_pfn_to_page(args->src[i]), 1);
		args->dst[i] = migrate_pfn(page_to_pfn(to));
	}
	return 0;
}

/**
 * dmirror_bring_back() - migrate pages from the device to system RAM
 * @device: the device; pages of another one are left alone
 * @batch: vma, range, fault_page if this serves a CPU fault; the number of
 *	pages moved is added up
 *
 * Caller holds mmap_lock.
 *
 * Return: 0, even if some page could not be moved; -ENOMEM if there is no
 * system RAM; -EAGAIN if a huge page was split instead and the rest of it is to
 * be asked for again; an error of migrate_vma_setup().
 */
int dmirror_bring_back(struct dmirror_device *device,
		       struct dmirror_batch *batch)
{
	int ret;

	/* The owner is the filter. With a wrong one nothing would migrate. */
	batch->args.pgmap_owner = device;
	batch->args.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	if (device->type == MEMORY_DEVICE_COHERENT)
		batch->args.flags = MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	else if (batch->huge)
		batch->args.flags |= DMIRROR_SELECT_HUGE;

	ret = migrate_vma_setup(&batch->args);
	if (ret)
		return ret;

	if (dmirror_batch_is_huge(batch))
		ret = dmirror_fetch_huge(device, batch);
	else
		ret = dmirror_fetch_pages(device, batch);
	return dmirror_batch_finish(device, batch, ret);
}

typedef int dmirror_batch_fn(struct dmirror_device *device,
			     struct dmirror_batch *batch);

/* One batch at start. On return, args.end is where the following one begins. */
static int dmirror_migrate_batch(struct dmirror *dmirror, unsigned long start,
				 unsigned long end, dmirror_batch_fn *move,
				 struct dmirror_batch *batch)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	struct migrate_vma *args = &batch->args;
	int ret = -EINVAL;

	if (mmap_read_lock_killable(mm))
		return -EINTR;

	args->vma = vma_lookup(mm, start);
	if (args->vma && (args->vma->vm_flags & VM_READ)) {
		args->start = start;
		args->end = min3(end, args->vma->vm_end,
				 ALIGN(start + 1, DMIRROR_BLOCK_SIZE));
		args->pgmap_owner = dmirror->device;
		ret = move(dmirror->device, batch);
	}

	mmap_read_unlock(mm);
	return ret;
}

/* All batches of a range. Caller holds a reference to the mm. */
static int dmirror_migrate_range(struct dmirror *dmirror, unsigned long addr,
				 unsigned long end, dmirror_batch_fn *move,
				 struct dmirror_batch *batch)
{
	int ret;

	while (addr < end) {
		ret = dmirror_migrate_batch(dmirror, addr, end, move, batch);
		if (!ret) {
			addr = batch->args.end;
			batch->huge = true;
		}

		/* Full: make room and do the batch again. */
		if (ret == -ENOSPC) {
			ret = dmirror_device_grow(dmirror->device, batch->huge);
			if (ret && ret != -EINTR)
				ret = -ENOMEM;
		}
		/* The second attempt at a batch is made with huge pages split. */
		if (batch->huge && (ret == -ENOMEM || ret == -EAGAIN)) {
			batch->huge = false;
			ret = 0;
		}
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static int dmirror_migrate(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd,
			   dmirror_batch_fn *move)
{
	unsigned long batch_pages = min_t(u64, cmd->npages, DMIRROR_BLOCK_PAGES);
	struct dmirror_device *device = dmirror->device;
	struct mm_struct *mm = dmirror->notifier.mm;
	bool to_device = move == dmirror_send;
	struct dmirror_batch batch;
	int ret;

	if (dmirror_batch_begin(&batch, batch_pages, GFP_KERNEL))
		return -ENOMEM;

	trace_dmirror_migrate_begin(device, to_device, cmd);
	ret = -EINVAL;
	if (mmget_not_zero(mm)) {
		ret = dmirror_migrate_range(dmirror, cmd->addr,
					    dmirror_cmd_end(cmd), move, &batch);
		mmput(mm);
	}
	dmirror_count(device, to_device ? DMIRROR_PAGES_TO_DEVICE :
					  DMIRROR_PAGES_BACK_BY_IOCTL,
		      batch.moved);
	trace_dmirror_migrate_end(device, to_device, cmd, batch.moved, ret);
	cmd->cpages = batch.moved;
	dmirror_batch_end(&batch);
	return ret;
}

/**
 * dmirror_migrate_to_device() - HMM_DMIRROR_MIGRATE_TO_DEV
 * @dmirror: the open file
 * @cmd: range to move, buffer for what the device then sees; cpages is filled
 *	in with the pages that are on the device, moved now or before, or on an
 *	error with those that were moved now
 *
 * Return: 0 or one of the errors named at the top of this file.
 */
int dmirror_migrate_to_device(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd)
{
	u64 moved;
	int ret;

	ret = dmirror_migrate(dmirror, cmd, dmirror_send);
	moved = cmd->cpages;
	cmd->cpages = 0;
	if (!ret)
		ret = dmirror_read_back(dmirror, cmd);
	if (ret)
		cmd->cpages = moved;

	pr_debug("%s: migrate to device: %llu of %llu pages, returns %d\n",
		 dmirror->device->name, moved, cmd->npages, ret);
	return ret;
}

/**
 * dmirror_migrate_to_system() - HMM_DMIRROR_MIGRATE_TO_SYS
 * @dmirror: the open file
 * @cmd: range to move; cpages is filled in with the pages that were moved
 *
 * Return: 0, even if nothing was on the device, or one of the errors named at
 * the top of this file.
 */
int dmirror_migrate_to_system(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd)
{
	int ret;

	ret = dmirror_migrate(dmirror, cmd, dmirror_bring_back);

	pr_debug("%s: migrate to system: %llu of %llu pages, returns %d\n",
		 dmirror->device->name, cmd->cpages, cmd->npages, ret);
	return ret;
}
