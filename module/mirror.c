// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Mirror: the device follows the CPU's page table
 *
 * The device of this driver has a page table of its own (table.c) and works
 * with the same addresses as the process. An entry holds a PFN and says whether
 * the device may write there. The device works through these entries, page by
 * page (access.c); where one is missing it has a page fault.
 *
 * dmirror_fault() serves it. hmm_range_fault() walks the CPU's page table,
 * faults in on behalf of the device what is not there, and reports one PFN for
 * each page. It takes no reference and no lock that would keep a page in its
 * place, so what it reports may be old news when it returns. The interval
 * notifier makes it safe: the kernel calls dmirror_invalidate() before it
 * changes a mapping, and there the driver drops the entries. A sequence number
 * closes the gap between looking and storing: read it, call hmm_range_fault(),
 * take the lock that dmirror_invalidate() takes, too, and store the entries
 * only if the number is still the same. Otherwise begin again.
 *
 * So there is one rule: an entry exists only as long as the CPU's page table
 * agrees. A migration does not write the device's page table; it lets the
 * notifier drop the old entries and the next access look up the new ones. Only
 * exclusive.c makes entries of its own, by the same rule.
 *
 * A page that is on this device already comes out of hmm_range_fault() as a
 * device page, since dmirror_fault() names itself as the owner. Its struct page
 * has no memory behind it, so the copy goes to its backing page. A page that is
 * on another device is brought back to system RAM first.
 *
 * The question comes in two forms. hmm_range_fault() is asked under mmap_lock,
 * and keeps it: a page that only another thread can supply, and userfaultfd is
 * made for that, cannot come, so the answer is -EFAULT. Newer kernels have
 * hmm_range_fault_unlocked_timeout() as well. It takes the lock by itself and
 * lets go of it where a fault has to wait.
 *
 * What may fail: no mapping or not readable (-EFAULT), not writable (-EPERM),
 * still changing after a second (-EBUSY), a fatal signal (-EINTR).
 */
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "dmirror.h"
#include "table.h"
#include "trace.h"

/*
 * The page that HMM reported for addr. If a range begins inside a huge device
 * page, Linux 7.3 reports the PFNs from the beginning of that, one range after
 * the other. What one PMD entry maps lies in order, so addr tells.
 */
static struct page *dmirror_hmm_page(unsigned long hmm_pfn, unsigned long addr)
{
	unsigned long pfn = page_to_pfn(hmm_pfn_to_page(hmm_pfn));

	if (hmm_pfn_to_map_order(hmm_pfn) == DMIRROR_HUGE_ORDER)
		pfn = ALIGN_DOWN(pfn, DMIRROR_BLOCK_PAGES) +
		      PHYS_PFN(addr & ~PMD_MASK);
	return pfn_to_page(pfn);
}

static unsigned long dmirror_pte_make(const struct dmirror_device *device,
				      struct page *page, unsigned long hmm_pfn)
{
	unsigned long bits = 0;

	if (hmm_pfn & HMM_PFN_WRITE)
		bits |= DMIRROR_PTE_WRITE;
	if (dmirror_page_is_on(page, device))
		bits |= DMIRROR_PTE_DEVICE;
	return dmirror_pte(page, bits);
}

static bool dmirror_invalidate(struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range,
			       unsigned long seq)
{
	struct dmirror *dmirror =
		container_of(notifier, struct dmirror, notifier);

	trace_dmirror_invalidate(dmirror->device, range);
	dmirror_count(dmirror->device, DMIRROR_INVALIDATIONS, 1);

	/* Our own exclusive access: the entry for it is only about to be made. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == dmirror)
		return true;

	/* A caller that cannot sleep (the OOM reaper) gives up no mapping. */
	if (mmu_notifier_range_blockable(range) &&
	    (range->event == MMU_NOTIFY_UNMAP ||
	     range->event == MMU_NOTIFY_RELEASE))
		dmirror_evict_keep_off(dmirror);

	/* And it takes no for an answer. */
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&dmirror->mutex);
	else if (!mutex_trylock(&dmirror->mutex))
		return false;

	mmu_interval_set_seq(notifier, seq);
	dmirror_table_forget(dmirror, range->start, range->end - 1,
			     !mmu_notifier_range_blockable(range));
	mutex_unlock(&dmirror->mutex);
	return true;
}

/* Drops the device's page table entries when the CPU's are about to change. */
const struct mmu_interval_notifier_ops dmirror_notifier_ops = {
	.invalidate = dmirror_invalidate,
};

/* Take the mutex, unless what HMM reported is no longer true. */
static bool dmirror_hold(struct dmirror *dmirror, const struct hmm_range *range)
{
	mutex_lock(&dmirror->mutex);
	if (mmu_interval_read_retry(range->notifier, range->notifier_seq)) {
		mutex_unlock(&dmirror->mutex);
		return false;
	}
	return true;
}

/**
 * dmirror_range_fault() - ask HMM for a range and hold on to the answer
 * @dmirror: the open file; the caller holds a reference to its mm
 * @range: what to ask for; notifier and sequence number are filled in here
 *
 * Return: 0 with dmirror->mutex **held**: as long as the caller keeps it, the
 * PFNs in @range stay true. An error of hmm_range_fault(), -EBUSY if the
 * mapping kept changing for a second, or -EINTR on a fatal signal, each with
 * the mutex not held.
 */
int dmirror_range_fault(struct dmirror *dmirror, struct hmm_range *range)
{
	unsigned long timeout = jiffies +
				msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct mm_struct *mm = dmirror->notifier.mm;
	int ret;

	range->notifier = &dmirror->notifier;
	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		if (mmap_read_lock_killable(mm))
			return -EINTR;
		ret = hmm_range_fault(range);
		mmap_read_unlock(mm);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;

		if (dmirror_hold(dmirror, range))
			return 0;
	} while (time_before(jiffies, timeout));

	return -EBUSY;
}

/**
 * dmirror_range_fault_unlocked() - the same without holding on to mmap_lock
 * @dmirror: the open file; the caller holds a reference to its mm
 * @range: what to ask for; notifier and sequence number are filled in here
 *
 * A page that userfaultfd supplies may take as long as its supplier likes; the
 * second of patience is for a mapping that keeps changing.
 *
 * Return: as dmirror_range_fault(); -EINVAL where the kernel cannot do this.
 */
int dmirror_range_fault_unlocked(struct dmirror *dmirror,
				 struct hmm_range *range)
{
	unsigned long patience = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	int ret;

	range->notifier = &dmirror->notifier;
	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		ret = hmm_range_fault_unlocked_timeout(range, patience);
		if (ret)
			return ret;
	} while (!dmirror_hold(dmirror, range));
	return 0;
}

/*
 * Store what HMM reported, a batch. If a page does not allow what is needed,
 * leave its address in range->start and say why: -ENOENT, not there or not on
 * the device; -EAGAIN, a page of the device that the process may only read at
 * the moment. Caller holds dmirror->mutex.
 */
static int dmirror_store(struct dmirror *dmirror, struct hmm_range *range,
			 unsigned long need)
{
	const unsigned long *hmm_pfn = range->hmm_pfns;
	struct dmirror_table *table = NULL;

	for (; range->start < range->end; range->start += PAGE_SIZE) {
		unsigned long pte;

		if (!(*hmm_pfn & HMM_PFN_VALID))
			return -ENOENT;
		pte = dmirror_pte_make(dmirror->device,
				       dmirror_hmm_page(*hmm_pfn, range->start),
				       *hmm_pfn);
		if (need & ~pte & DMIRROR_PTE_DEVICE)
			return -ENOENT;
		if (need & ~pte & DMIRROR_PTE_WRITE)
			return -EAGAIN;

		table = table ?: dmirror_table_get(dmirror, range->start);
		if (!table)
			return -ENOMEM;
		dmirror_table_add(table, range->start, pte);
		hmm_pfn++;
	}
	return 0;
}

/**
 * dmirror_fault() - the device's page fault: fill its page table for a range
 * @dmirror: the open file; the caller holds a reference to its mm
 * @start: first address
 * @end: first address after the range
 * @access: what the device needs there, and how to ask for it
 *
 * Return: 0; one of the errors named at the top of this file; -ENOENT if a page
 * that has to be on the device is not there.
 */
int dmirror_fault(struct dmirror *dmirror, unsigned long start,
		  unsigned long end, const struct dmirror_access *access)
{
	unsigned long pfns[DMIRROR_BATCH] = {};
	struct hmm_range range = {
		.start = start,
		.hmm_pfns = pfns,
		.dev_private_owner = dmirror->device,
	};
	int ret;

	/* What has to be on the device is looked for, but not faulted in. */
	if (!(access->need & DMIRROR_PTE_DEVICE))
		range.default_flags = HMM_PFN_REQ_FAULT;
	if (access->need & DMIRROR_PTE_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;

	while (range.start < end) {
		range.end = range.start + PAGE_SIZE;
		if (range.dev_private_owner)
			range.end = range.start +
				    dmirror_batch_size(range.start, end);

		ret = access->ask(dmirror, &range);
		if (ret)
			return ret;
		ret = dmirror_store(dmirror, &range, access->need);
		mutex_unlock(&dmirror->mutex);

		/*
		 * HMM reports a page of its caller's device as it is, even
		 * where it was asked for a writable one. Pose as nobody for
		 * this page: that has the CPU's fault handler fetch it, and
		 * decide whether it may be written.
		 */
		range.dev_private_owner = dmirror->device;
		if (ret == -EAGAIN)
			range.dev_private_owner = NULL;
		else if (ret)
			return ret;
	}
	return 0;
}
