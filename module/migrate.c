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
 * The range is worked on in batches. What earlier batches moved stays moved if
 * a later one fails. If the device is full the batch ends early, and only when
 * all locks are released does the driver add a chunk and repeat it: adding one
 * takes long, and RELEASE may be waiting for just the pages that were locked.
 *
 * What may fail: no mapping or not readable (-EINVAL), no memory (-ENOMEM), a
 * page could not be moved to the device (-ENOENT), the process is gone
 * (-EINVAL), a fatal signal (-EINTR).
 */
#include <linux/ctype.h>
#include <linux/highmem.h>
#include <linux/moduleparam.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "dmirror.h"

#define DMIRROR_VERIFY_BYTES	32	/* how much of a page verify shows */

static bool dmirror_verify;
module_param_named(verify, dmirror_verify, bool, 0644);
MODULE_PARM_DESC(verify, "compare each page with its copy and report (default: no)");

/* Say whether two pages are the same, and how they begin. */
static void dmirror_verify_page(struct dmirror_device *device,
				unsigned long addr, const char *which,
				struct page *to, struct page *from)
{
	const u8 *new = kmap_local_page(to);
	const u8 *old = kmap_local_page(from);
	char text[DMIRROR_VERIFY_BYTES + 1];
	unsigned int i;

	for (i = 0; i < DMIRROR_VERIFY_BYTES && new[i]; i++)
		text[i] = isascii(new[i]) && isprint(new[i]) ? new[i] : '.';
	text[i] = '\0';

	for (i = 0; i < PAGE_SIZE && new[i] == old[i]; i++)
		;
	if (i == PAGE_SIZE)
		pr_info_ratelimited("%s: verify 0x%lx: %s are equal, first bytes \"%s\"\n",
				    device->name, addr, which, text);
	else
		pr_err_ratelimited("%s: verify 0x%lx: %s differ at byte %u\n",
				   device->name, addr, which, i);

	kunmap_local(old);
	kunmap_local(new);
}

static unsigned long dmirror_count_moved(const struct migrate_vma *args)
{
	unsigned long i, moved = 0;

	for (i = 0; i < args->npages; i++)
		if (args->dst[i] && (args->src[i] & MIGRATE_PFN_MIGRATE))
			moved++;
	return moved;
}

/* One batch from system RAM to the device; -ENOSPC if the device is full. */
static int dmirror_send(struct dmirror_device *device, struct migrate_vma *args,
			unsigned long *moved)
{
	unsigned long addr = args->start;
	unsigned long i;
	int ret;

	args->flags = MIGRATE_VMA_SELECT_SYSTEM;
	ret = migrate_vma_setup(args);
	if (ret)
		return ret;

	for (i = 0; i < args->npages; i++, addr += PAGE_SIZE) {
		struct page *from, *to, *data;

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;

		to = dmirror_page_alloc(device);
		if (IS_ERR(to)) {
			ret = PTR_ERR(to);
			break;
		}

		/* No source page: nobody has touched this address so far. */
		from = migrate_pfn_to_page(args->src[i]);
		data = dmirror_backing_page(to);
		if (from)
			copy_highpage(data, from);
		else
			clear_highpage(data);
		if (dmirror_verify)
			dmirror_verify_page(device, addr,
					    "source page and device page",
					    data, from ?: ZERO_PAGE(addr));

		args->dst[i] = migrate_pfn(page_to_pfn(to));
	}

	migrate_vma_pages(args);
	*moved += dmirror_count_moved(args);
	migrate_vma_finalize(args);
	return ret;
}

/**
 * dmirror_bring_back() - migrate pages from the device to system RAM
 * @device: the device; pages of another one are left alone
 * @args: vma, range, src and dst array, fault_page if this serves a CPU fault
 * @moved: the number of pages moved is added to this
 *
 * Caller holds mmap_lock.
 *
 * Return: 0, even if some page could not be moved; -ENOMEM if there is no
 * system RAM; an error of migrate_vma_setup().
 */
int dmirror_bring_back(struct dmirror_device *device, struct migrate_vma *args,
		       unsigned long *moved)
{
	unsigned long addr = args->start;
	unsigned long i;
	int ret;

	/* The owner is the filter. With a wrong one nothing would migrate. */
	args->pgmap_owner = device;
	args->flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	ret = migrate_vma_setup(args);
	if (ret)
		return ret;

	for (i = 0; i < args->npages; i++, addr += PAGE_SIZE) {
		struct page *from = migrate_pfn_to_page(args->src[i]);
		struct page *to, *data;

		if (!from || !(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;

		to = alloc_page_vma(GFP_HIGHUSER_MOVABLE, args->vma, addr);
		if (!to) {
			ret = -ENOMEM;
			break;
		}
		lock_page(to);

		data = dmirror_backing_page(from);
		copy_highpage(to, data);
		if (dmirror_verify)
			dmirror_verify_page(device, addr,
					    "device page and system page",
					    to, data);

		args->dst[i] = migrate_pfn(page_to_pfn(to));
	}

	migrate_vma_pages(args);
	*moved += dmirror_count_moved(args);
	migrate_vma_finalize(args);
	return ret;
}

typedef int dmirror_batch_fn(struct dmirror_device *device,
			     struct migrate_vma *args, unsigned long *moved);

/* One batch at start. On return, *next is where the following one begins. */
static int dmirror_migrate_batch(struct dmirror *dmirror, unsigned long start,
				 unsigned long end, dmirror_batch_fn *batch,
				 unsigned long *next, unsigned long *moved)
{
	unsigned long src[DMIRROR_BATCH] = {};
	unsigned long dst[DMIRROR_BATCH] = {};
	struct migrate_vma args = {
		.src = src,
		.dst = dst,
		.start = start,
		.pgmap_owner = dmirror->device,
	};
	struct mm_struct *mm = dmirror->notifier.mm;
	int ret = -EINVAL;

	if (mmap_read_lock_killable(mm))
		return -EINTR;

	args.vma = vma_lookup(mm, start);
	if (args.vma && (args.vma->vm_flags & VM_READ)) {
		args.end = min3(end, args.vma->vm_end,
				start + DMIRROR_BATCH * PAGE_SIZE);
		*next = args.end;
		ret = batch(dmirror->device, &args, moved);
	}

	mmap_read_unlock(mm);
	return ret;
}

static int dmirror_migrate(struct dmirror *dmirror,
			   const struct hmm_dmirror_cmd *cmd,
			   dmirror_batch_fn *batch, unsigned long *moved)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	unsigned long end = dmirror_cmd_end(cmd);
	unsigned long addr = cmd->addr;
	unsigned long next = addr;
	int ret = 0;

	if (!mmget_not_zero(mm))
		return -EINVAL;

	while (!ret && addr < end) {
		ret = dmirror_migrate_batch(dmirror, addr, end, batch, &next,
					    moved);
		if (!ret)
			addr = next;

		/* Full: make room and do the batch again. */
		if (ret == -ENOSPC) {
			ret = dmirror_device_grow(dmirror->device);
			if (ret && ret != -EINTR)
				ret = -ENOMEM;
		}

		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}

	mmput(mm);
	return ret;
}

/**
 * dmirror_migrate_to_device() - HMM_DMIRROR_MIGRATE_TO_DEV
 * @dmirror: the open file
 * @cmd: range to move, buffer for what the device then sees; cpages is filled
 *	in with the pages that are on the device, moved now or before
 *
 * Return: 0 or one of the errors named at the top of this file.
 */
int dmirror_migrate_to_device(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd)
{
	unsigned long moved = 0;
	int ret;

	ret = dmirror_migrate(dmirror, cmd, dmirror_send, &moved);
	if (!ret)
		ret = dmirror_read_back(dmirror, cmd);

	pr_debug("%s: migrate to device: %lu of %llu pages, returns %d\n",
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
	unsigned long moved = 0;
	int ret;

	ret = dmirror_migrate(dmirror, cmd, dmirror_bring_back, &moved);
	cmd->cpages = moved;

	pr_debug("%s: migrate to system: %lu of %llu pages, returns %d\n",
		 dmirror->device->name, moved, cmd->npages, ret);
	return ret;
}
