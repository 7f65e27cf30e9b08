// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Exclusive: a page in system RAM that only the device may touch
 *
 * An atomic operation of a device on system RAM is atomic for the CPU only if
 * the bus between them can do that. Where it cannot, the CPU has to be kept
 * away from the page while the device works on it. make_device_exclusive() does
 * so: the page stays where it is, but the CPU's page table entry becomes a
 * special swap entry, much like the one of a page on the device. A touch by the
 * CPU is then a fault, and the kernel puts the old entry back by itself, after
 * it has told the notifiers. So HMM_DMIRROR_EXCLUSIVE is a favour, which the
 * CPU takes back at its first touch; HMM_DMIRROR_CHECK_EXCLUSIVE tells whether
 * it has.
 *
 * For each page there are three steps. dmirror_range_fault() makes sure, for a
 * batch at a time, that it is there and may be written. make_device_exclusive()
 * replaces the CPU's entry and returns with the page locked. Then the device's
 * entry is made, unless the sequence number says that the mapping has changed in
 * the meantime: as long as the page is locked the CPU's fault cannot undo the
 * step, but an unmap can.
 *
 * Two notifications belong to this. The one that goes out when the CPU's entry
 * is replaced carries the owner that was passed in, here the open file: the
 * file that asked takes no notice of it, every other mirror of the page drops
 * its entry. The one that goes out when the CPU gets its page back carries no
 * owner, so our entry goes, too. The first step has a reason here: if there
 * were something to fault in during the second one, a former exclusive entry of
 * ours for instance, this would change the mapping, and the sequence number
 * with it, at every attempt.
 *
 * Up to 6.14 the kernel leaves out pages inside a huge page. It must be split
 * first, and a module can do that only by the way: migrate_vma_setup() splits
 * what a page table maps as one huge page. That is undone without having moved
 * anything, and the page is small. A huge page that was mapped in parts before,
 * after an mprotect() of one part for instance, stays out of reach there.
 *
 * A page on a device-coherent device is brought back first, as hmm_range_fault()
 * does by itself with a device-private one. The CPU may touch device-coherent
 * memory at any time, so there is no reason to keep it away; and there is one
 * not to: an exclusive entry holds a reference and is no mapping, and
 * migrate_device_pfns() grants pages of ZONE_DEVICE just one reference too many.
 * It would take such a page for one that nobody uses, and lose it.
 *
 * What may fail: no mapping (-EFAULT), not writable (-EPERM), the page could
 * not be had within a second (-EBUSY), the process is gone (-EINVAL), a fatal
 * signal (-EINTR), a page of another device-coherent device and, on newer
 * kernels, memory that is not anonymous (-EOPNOTSUPP), no system RAM (-ENOMEM).
 */
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "dmirror.h"
#include "table.h"

/* Begin to migrate a page and leave it where it is: a huge one gets split. */
static int dmirror_split(struct dmirror *dmirror, unsigned long addr)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.src = &src,
		.dst = &dst,
		.start = addr,
		.end = addr + PAGE_SIZE,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};

	if (mmap_read_lock_killable(mm))
		return -EINTR;

	/* Whether it worked shows when the page is asked for. */
	args.vma = vma_lookup(mm, addr);
	if (args.vma && !migrate_vma_setup(&args))
		migrate_vma_finalize(&args);

	mmap_read_unlock(mm);
	return 0;
}

/* Can it be made exclusive as it is? */
static bool dmirror_exclusive_fits(unsigned long hmm_pfn)
{
	return !is_device_coherent_page(hmm_pfn_to_page(hmm_pfn)) &&
	       (DMIRROR_EXCLUSIVE_IN_HUGE || !hmm_pfn_to_map_order(hmm_pfn));
}

/*
 * See to it that the pages from range->start on are there and writable, and
 * that the first of them is in no huge page and on no device-coherent one. On
 * return range->end is after the last page that is so.
 */
static int dmirror_exclusive_prepare(struct dmirror *dmirror,
				     struct hmm_range *range)
{
	struct hmm_dmirror_cmd fetch = { .addr = range->start, .npages = 1 };
	unsigned long addr = range->start, i = 0;
	bool coherent, ours;
	struct page *page;
	int ret;

	ret = dmirror_range_fault(dmirror, range);
	if (ret)
		return ret;
	page = hmm_pfn_to_page(range->hmm_pfns[0]);
	coherent = is_device_coherent_page(page);
	ours = dmirror_page_is_on(page, dmirror->device);
	while (addr < range->end && dmirror_exclusive_fits(range->hmm_pfns[i++]))
		addr += PAGE_SIZE;
	mutex_unlock(&dmirror->mutex);

	range->end = max(addr, range->start + PAGE_SIZE);
	if (addr > range->start)
		return 0;
	if (coherent)
		return ours ? dmirror_migrate_to_system(dmirror, &fetch) :
			      -EOPNOTSUPP;
	return dmirror_split(dmirror, addr);
}

/* Caller holds dmirror->mutex. */
static int dmirror_exclusive_store(struct dmirror *dmirror, unsigned long addr,
				   struct page *page)
{
	struct dmirror_table *table = dmirror_table_get(dmirror, addr);
	unsigned long bits = DMIRROR_PTE_WRITE | DMIRROR_PTE_EXCLUSIVE;

	if (!table)
		return -ENOMEM;
	dmirror_table_set(table, addr, dmirror_pte(page, bits));
	return 0;
}

/* One attempt. -EBUSY: the page was not to be had, or has gone again. */
static int dmirror_exclusive_try(struct dmirror *dmirror, unsigned long addr)
{
	struct mmu_interval_notifier *notifier = &dmirror->notifier;
	struct folio *folio;
	struct page *page;
	unsigned long seq;
	int ret = -EBUSY;

	seq = mmu_interval_read_begin(notifier);
	if (mmap_read_lock_killable(notifier->mm))
		return -EINTR;
	page = make_device_exclusive(notifier->mm, addr, dmirror, &folio);
	mmap_read_unlock(notifier->mm);
	if (IS_ERR(page))
		return PTR_ERR(page);

	/* If it came to a device just now, the next attempt fetches it. */
	mutex_lock(&dmirror->mutex);
	if (!is_device_coherent_page(page) &&
	    !mmu_interval_read_retry(notifier, seq))
		ret = dmirror_exclusive_store(dmirror, addr, page);
	mutex_unlock(&dmirror->mutex);

	/* From here on the CPU can have it back. */
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

/* One batch, from *addr on, which is set to where it got. */
static int dmirror_exclusive_batch(struct dmirror *dmirror, unsigned long *addr,
				   unsigned long end)
{
	unsigned long pfns[DMIRROR_BATCH] = {};
	struct hmm_range range = {
		.start = *addr,
		.end = end,
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	int ret;

	/* This ends on a fatal signal, and gives way. */
	ret = dmirror_exclusive_prepare(dmirror, &range);
	while (!ret && *addr < range.end) {
		ret = dmirror_exclusive_try(dmirror, *addr);
		if (!ret)
			*addr += PAGE_SIZE;
	}
	return ret;
}

static int dmirror_exclusive_range(struct dmirror *dmirror, unsigned long addr,
				   unsigned long end)
{
	unsigned long patience = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	unsigned long timeout = jiffies + patience;
	bool alone = false;

	while (addr < end) {
		unsigned long size = dmirror_batch_size(addr, end);
		unsigned long from = addr;
		int ret;

		ret = dmirror_exclusive_batch(dmirror, &addr, addr +
					      (alone ? PAGE_SIZE : size));
		if (addr > from)
			timeout = jiffies + patience;
		else if (ret && alone && (ret != -EBUSY ||
					  time_after(jiffies, timeout)))
			return ret;
		/* One page may be to blame. Those before it are to be taken. */
		alone = ret;
	}
	return 0;
}

/**
 * dmirror_exclusive() - HMM_DMIRROR_EXCLUSIVE: keep the CPU away from a range
 * @dmirror: the open file
 * @cmd: range to take, buffer for what the device then sees; cpages is filled
 *	in with the pages that the device read
 *
 * Pages that were taken before an error stay taken.
 *
 * Return: 0 or one of the errors named at the top of this file.
 */
int dmirror_exclusive(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	int ret;

	if (!mmget_not_zero(mm))
		return -EINVAL;
	ret = dmirror_exclusive_range(dmirror, cmd->addr, dmirror_cmd_end(cmd));
	mmput(mm);

	if (!ret)
		ret = dmirror_read(dmirror, cmd);
	return ret;
}

/**
 * dmirror_check_exclusive() - HMM_DMIRROR_CHECK_EXCLUSIVE
 * @dmirror: the open file
 * @cmd: range to look at; cpages is filled in with the pages that are exclusive
 *
 * Return: 0 if no page of the range is exclusive to the device; -EPERM if one
 * is; -EINTR on a fatal signal.
 */
int dmirror_check_exclusive(struct dmirror *dmirror,
			    struct hmm_dmirror_cmd *cmd)
{
	unsigned long last = dmirror_cmd_end(cmd) - 1;
	unsigned long block = cmd->addr / DMIRROR_BLOCK_SIZE;
	struct dmirror_table *table;

	do {
		unsigned long i;

		/* The next one that there is. */
		mutex_lock(&dmirror->mutex);
		table = xa_find(&dmirror->page_table, &block,
				last / DMIRROR_BLOCK_SIZE, XA_PRESENT);
		for (i = table ? dmirror_table_first(table, cmd->addr) : 0;
		     table && i <= dmirror_table_last(table, last); i++)
			if (dmirror_pte_allows(table->entries[i],
					       DMIRROR_PTE_EXCLUSIVE))
				cmd->cpages++;
		mutex_unlock(&dmirror->mutex);

		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	} while (table && block++ < last / DMIRROR_BLOCK_SIZE);

	return cmd->cpages ? -EPERM : 0;
}
