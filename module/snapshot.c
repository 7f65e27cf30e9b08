// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Snapshot: what is mapped, without touching it
 *
 * hmm_range_fault() can be asked not to fault anything in. It then only looks:
 * each entry of the answer says whether there is a page, whether it may be
 * written, how large the page table entry is, and, by its struct page, of what
 * kind it is. HMM_DMIRROR_SNAPSHOT puts that into one byte for each page.
 *
 * The answer is true at one moment for all pages of a batch: the bytes are made
 * while dmirror_range_fault() keeps changes out, and copied to the caller
 * afterwards. For a longer range every batch is a moment of its own.
 *
 * A page on this device is reported, since the question names its owner. A page
 * on another device-private device is as invisible as one that was swapped out;
 * on a device-coherent one it is mapped like any other page. An address
 * without a mapping, or with one that may not be read, is an error in its byte
 * and not of the call.
 */
#include <linux/hmm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "dmirror.h"

static u8 dmirror_snapshot_byte(const struct dmirror_device *device,
				unsigned long hmm_pfn)
{
	unsigned int shift = hmm_pfn_to_map_order(hmm_pfn) + PAGE_SHIFT;
	unsigned long pfn = hmm_pfn & ~HMM_PFN_FLAGS;
	struct page *page;
	u8 byte;

	if (hmm_pfn & HMM_PFN_ERROR)
		return HMM_DMIRROR_PROT_ERROR;
	if (!(hmm_pfn & HMM_PFN_VALID))
		return HMM_DMIRROR_PROT_NONE;

	byte = hmm_pfn & HMM_PFN_WRITE ? HMM_DMIRROR_PROT_WRITE :
					 HMM_DMIRROR_PROT_READ;

	page = pfn_to_page(pfn);
	if (is_device_private_page(page))
		byte |= HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	else if (is_device_coherent_page(page))
		byte |= dmirror_page_is_on(page, device) ?
			HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL :
			HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE;
	else if (is_zero_pfn(pfn))
		byte |= HMM_DMIRROR_PROT_ZERO;

	if (shift == PMD_SHIFT)
		byte |= HMM_DMIRROR_PROT_PMD;
	else if (shift == PUD_SHIFT)
		byte |= HMM_DMIRROR_PROT_PUD;
	return byte;
}

/* One batch: ask, and turn the answer into bytes before it grows old. */
static int dmirror_snapshot_batch(struct dmirror *dmirror, unsigned long start,
				  unsigned long end, u8 *bytes)
{
	unsigned long pfns[DMIRROR_BATCH] = {};
	struct hmm_range range = {
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = dmirror->device,
	};
	unsigned long i;
	int ret;

	ret = dmirror_range_fault(dmirror, &range);
	if (ret)
		return ret;

	for (i = 0; i < (end - start) >> PAGE_SHIFT; i++)
		bytes[i] = dmirror_snapshot_byte(dmirror->device, pfns[i]);
	mutex_unlock(&dmirror->mutex);
	return 0;
}

/**
 * dmirror_snapshot() - HMM_DMIRROR_SNAPSHOT: report the state of each page
 * @dmirror: the open file
 * @cmd: range and buffer for one byte a page; cpages is filled in
 *
 * Return: 0; -EINVAL if the process is gone; -EBUSY if the mapping kept
 * changing for a second; -EFAULT if the buffer cannot be written; -EINTR on a
 * fatal signal. What was copied before an error stays copied.
 */
int dmirror_snapshot(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	u8 __user *user = u64_to_user_ptr(cmd->ptr);
	struct mm_struct *mm = dmirror->notifier.mm;
	unsigned long end = dmirror_cmd_end(cmd);
	unsigned long addr = cmd->addr;
	u8 bytes[DMIRROR_BATCH];
	int ret = 0;

	if (!mmget_not_zero(mm))
		return -EINVAL;

	while (addr < end) {
		unsigned long n = min((end - addr) >> PAGE_SHIFT,
				      (unsigned long)DMIRROR_BATCH);

		/* This ends on a fatal signal, and gives way. */
		ret = dmirror_snapshot_batch(dmirror, addr,
					     addr + n * PAGE_SIZE, bytes);
		if (ret)
			break;
		if (copy_to_user(user, bytes, n)) {
			ret = -EFAULT;
			break;
		}
		addr += n * PAGE_SIZE;
		user += n;
		cmd->cpages += n;
	}

	mmput(mm);
	return ret;
}
