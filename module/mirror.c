// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Mirror: the device follows the CPU's page table
 *
 * The device of this driver has a page table of its own, dmirror.page_table,
 * and works with the same addresses as the process. An entry holds a PFN and
 * says whether the device may write there. READ and WRITE copy through these
 * entries, page by page; where one is missing the device has a page fault.
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
 * agrees. Every entry is made here and nowhere else. A migration does not write
 * the device's page table; it lets the notifier drop the old entries and the
 * next access look up the new ones.
 *
 * A page that is on this device already comes out of hmm_range_fault() as a
 * device page, since dmirror_fault() names itself as the owner. Its struct page
 * has no memory behind it, so the copy goes to its backing page. A page that is
 * on another device is brought back to system RAM first.
 *
 * What may fail: no mapping or not readable (-EFAULT), not writable (-EPERM),
 * still changing after a second (-EBUSY), the process is gone (-EINVAL). What
 * is missing is asked for before the first byte is copied, so one of these
 * errors usually means that nothing was.
 */
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dmirror.h"

/*
 * An entry of the device's page table: an XArray value made of the PFN and two
 * bits. An access names the bits that it needs; 0 is a plain read.
 */
#define DMIRROR_PTE_WRITE	BIT(0)	/* the device may write */
#define DMIRROR_PTE_DEVICE	BIT(1)	/* the page is on this device */
#define DMIRROR_PTE_SHIFT	2

static unsigned long dmirror_pte_make(unsigned long hmm_pfn)
{
	struct page *page = hmm_pfn_to_page(hmm_pfn);
	unsigned long pte = page_to_pfn(page) << DMIRROR_PTE_SHIFT;

	if (hmm_pfn & HMM_PFN_WRITE)
		pte |= DMIRROR_PTE_WRITE;
	if (is_device_private_page(page))
		pte |= DMIRROR_PTE_DEVICE;
	return pte;
}

static void *dmirror_pte_get(struct dmirror *dmirror, unsigned long addr)
{
	return xa_load(&dmirror->page_table, addr >> PAGE_SHIFT);
}

static bool dmirror_pte_allows(const void *entry, unsigned long need)
{
	return xa_is_value(entry) && (xa_to_value(entry) & need) == need;
}

static bool dmirror_invalidate(struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range,
			       unsigned long seq)
{
	struct dmirror *dmirror =
		container_of(notifier, struct dmirror, notifier);
	unsigned long index;
	void *entry;

	/* A caller that cannot sleep (the OOM reaper) takes no for an answer. */
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&dmirror->mutex);
	else if (!mutex_trylock(&dmirror->mutex))
		return false;

	mmu_interval_set_seq(notifier, seq);
	xa_for_each_range(&dmirror->page_table, index, entry,
			  range->start >> PAGE_SHIFT,
			  (range->end - 1) >> PAGE_SHIFT) {
		xa_erase(&dmirror->page_table, index);
		if (mmu_notifier_range_blockable(range))
			cond_resched();
	}
	mutex_unlock(&dmirror->mutex);
	return true;
}

/* Drops the device's page table entries when the CPU's are about to change. */
const struct mmu_interval_notifier_ops dmirror_notifier_ops = {
	.invalidate = dmirror_invalidate,
};

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

		mutex_lock(&dmirror->mutex);
		if (!mmu_interval_read_retry(range->notifier,
					     range->notifier_seq))
			return 0;
		mutex_unlock(&dmirror->mutex);
	} while (time_before(jiffies, timeout));

	return -EBUSY;
}

/*
 * Store what HMM reported. If a page does not allow what is needed, leave its
 * address in range->start and say why: -ENOENT, not there or not on the device;
 * -EAGAIN, a page of the device that the process may only read at the moment.
 * Caller holds dmirror->mutex.
 */
static int dmirror_store(struct dmirror *dmirror, struct hmm_range *range,
			 unsigned long need)
{
	const unsigned long *hmm_pfn = range->hmm_pfns;

	for (; range->start < range->end; range->start += PAGE_SIZE) {
		unsigned long pte;
		void *old;

		if (!(*hmm_pfn & HMM_PFN_VALID))
			return -ENOENT;
		pte = dmirror_pte_make(*hmm_pfn++);
		if (need & ~pte & DMIRROR_PTE_DEVICE)
			return -ENOENT;
		if (need & ~pte & DMIRROR_PTE_WRITE)
			return -EAGAIN;

		/* The notifier takes the mutex in reclaim: do not wait for it. */
		old = xa_store(&dmirror->page_table,
			       range->start >> PAGE_SHIFT,
			       xa_mk_value(pte), GFP_ATOMIC);
		if (xa_is_err(old))
			return xa_err(old);
	}
	return 0;
}

/* Fill the device's page table for a range. Caller holds a reference to mm. */
static int dmirror_fault(struct dmirror *dmirror, unsigned long start,
			 unsigned long end, unsigned long need)
{
	unsigned long pfns[DMIRROR_BATCH] = {};
	struct hmm_range range = {
		.start = start,
		.hmm_pfns = pfns,
		.dev_private_owner = dmirror->device,
	};
	int ret;

	/* What has to be on the device is looked for, but not faulted in. */
	if (!(need & DMIRROR_PTE_DEVICE))
		range.default_flags = HMM_PFN_REQ_FAULT;
	if (need & DMIRROR_PTE_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;

	while (range.start < end) {
		range.end = end;
		if (!range.dev_private_owner)
			range.end = range.start + PAGE_SIZE;
		else if (end - range.start > DMIRROR_BATCH * PAGE_SIZE)
			range.end = range.start + DMIRROR_BATCH * PAGE_SIZE;

		ret = dmirror_range_fault(dmirror, &range);
		if (ret)
			return ret;
		ret = dmirror_store(dmirror, &range, need);
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

/* The first page that the device cannot use as it needs to, or end. */
static unsigned long dmirror_first_missing(struct dmirror *dmirror,
					   unsigned long start,
					   unsigned long end,
					   unsigned long need)
{
	while (start < end && !fatal_signal_pending(current) &&
	       dmirror_pte_allows(dmirror_pte_get(dmirror, start), need)) {
		start += PAGE_SIZE;
		cond_resched();
	}
	return start;
}

/* The device at work: copy up to the first page that it cannot use. */
static unsigned long dmirror_copy_present(struct dmirror *dmirror,
					  unsigned long start,
					  unsigned long end, char *buffer,
					  unsigned long need)
{
	mutex_lock(&dmirror->mutex);
	for (; start < end; start += PAGE_SIZE, buffer += PAGE_SIZE) {
		void *entry = dmirror_pte_get(dmirror, start);
		struct page *page, *data;

		if (!dmirror_pte_allows(entry, need))
			break;

		page = pfn_to_page(xa_to_value(entry) >> DMIRROR_PTE_SHIFT);
		data = page;
		if (xa_to_value(entry) & DMIRROR_PTE_DEVICE)
			data = dmirror_backing_page(page);

		if (need & DMIRROR_PTE_WRITE) {
			memcpy_to_page(data, 0, buffer, PAGE_SIZE);
			/* The CPU's page table does not know that we wrote. */
			folio_mark_dirty(page_folio(page));
		} else {
			memcpy_from_page(buffer, data, 0, PAGE_SIZE);
		}
	}
	mutex_unlock(&dmirror->mutex);
	return start;
}

/* Copy between the mirrored range and the caller's buffer, a batch at a time. */
static int dmirror_copy(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd,
			char *bounce, unsigned long need)
{
	char __user *user = u64_to_user_ptr(cmd->ptr);
	unsigned long end = dmirror_cmd_end(cmd);
	unsigned long addr = cmd->addr;
	unsigned long missing, next, len;
	int ret;

	missing = dmirror_first_missing(dmirror, addr, end, need);
	while (addr < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		next = min(end, addr + DMIRROR_BATCH * PAGE_SIZE);
		if ((need & DMIRROR_PTE_WRITE) &&
		    copy_from_user(bounce, user, next - addr))
			return -EFAULT;

		if (missing < end) {
			ret = dmirror_fault(dmirror, missing, end, need);
			if (ret)
				return ret;
			if (!(need & DMIRROR_PTE_DEVICE))
				cmd->faults++;
		}

		missing = dmirror_copy_present(dmirror, addr, next, bounce,
					       need);
		len = missing - addr;
		if (!(need & DMIRROR_PTE_WRITE) &&
		    copy_to_user(user, bounce, len))
			return -EFAULT;

		/* A page may have gone away since: ask for it again. */
		if (missing == next)
			missing = end;
		user += len;
		addr += len;
		cmd->cpages += len >> PAGE_SHIFT;
	}
	return 0;
}

static int dmirror_access(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd,
			  unsigned long need)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	char *bounce;
	int ret;

	if (!mmget_not_zero(mm))
		return -EINVAL;

	/* User memory is not touched under the mutex, so it takes two steps. */
	bounce = kvmalloc_array(min_t(u64, cmd->npages, DMIRROR_BATCH),
				PAGE_SIZE, GFP_KERNEL);
	if (bounce)
		ret = dmirror_copy(dmirror, cmd, bounce, need);
	else
		ret = -ENOMEM;

	kvfree(bounce);
	mmput(mm);
	return ret;
}

/**
 * dmirror_read() - HMM_DMIRROR_READ: the device reads the process's memory
 * @dmirror: the open file
 * @cmd: range to read and buffer for what the device saw; counts are filled in
 *
 * Return: 0 or one of the errors named at the top of this file.
 */
int dmirror_read(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_access(dmirror, cmd, 0);
}

/**
 * dmirror_write() - HMM_DMIRROR_WRITE: the device writes the process's memory
 * @dmirror: the open file
 * @cmd: range to write and buffer with the data; counts are filled in
 *
 * Return: 0 or one of the errors named at the top of this file.
 */
int dmirror_write(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_access(dmirror, cmd, DMIRROR_PTE_WRITE);
}

/**
 * dmirror_read_back() - read pages that have to be on the device
 * @dmirror: the open file
 * @cmd: range to read and buffer for what the device saw; cpages is filled in
 *
 * Return: as dmirror_read(), and -ENOENT, with nothing copied, if a page of the
 * range is not on the device; none is fetched or brought back for this.
 */
int dmirror_read_back(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_access(dmirror, cmd, DMIRROR_PTE_DEVICE);
}
