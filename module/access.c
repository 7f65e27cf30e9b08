// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Access: the device at work
 *
 * A real device would run programs on the memory that it mirrors. This one can
 * do the two things they are made of: read a page and write a page. READ copies
 * what the device sees in a range to a buffer of the caller, WRITE copies the
 * buffer into the range. It is the CPU that copies, but it does so through the
 * device's page table (mirror.c), never by the process's addresses.
 *
 * The copy to or from the caller's buffer goes through a bounce buffer, since a
 * touch of user memory may fault, the fault may change a mapping, and the
 * notifier then wants the mutex that keeps the entries true. So it is two
 * steps, a batch of pages at a time.
 *
 * What is missing is asked for before the first byte is copied, so one of the
 * errors of mirror.c usually means that nothing was copied. To these come
 * -EFAULT for the caller's buffer, -ENOMEM for the bounce buffer and -EINVAL if
 * the process is gone.
 */
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dmirror.h"

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
			char *bounce, const struct dmirror_access *access)
{
	unsigned long need = access->need;
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

		/* Near the end of all addresses a sum could wrap. */
		next = addr + min(end - addr, DMIRROR_BATCH * PAGE_SIZE);
		if ((need & DMIRROR_PTE_WRITE) &&
		    copy_from_user(bounce, user, next - addr))
			return -EFAULT;

		if (missing < end) {
			ret = dmirror_fault(dmirror, missing, end, access);
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

static int dmirror_work(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd,
			const struct dmirror_access *access)
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
		ret = dmirror_copy(dmirror, cmd, bounce, access);
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
	const struct dmirror_access access = { .ask = dmirror_range_fault };

	return dmirror_work(dmirror, cmd, &access);
}

/**
 * dmirror_read_unlocked() - HMM_DMIRROR_READ_UNLOCKED: read, and let others map
 * @dmirror: the open file
 * @cmd: range to read and buffer for what the device saw; counts are filled in
 *
 * As HMM_DMIRROR_READ, but a page that userfaultfd has to supply can come.
 *
 * Return: 0 or one of the errors named at the top of this file; -EINVAL, as for
 * a command that does not exist, where the kernel cannot do this.
 */
int dmirror_read_unlocked(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd)
{
	const struct dmirror_access access = {
		.ask = dmirror_range_fault_unlocked,
	};

	if (!DMIRROR_ASKS_UNLOCKED)
		return -EINVAL;
	return dmirror_work(dmirror, cmd, &access);
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
	const struct dmirror_access access = {
		.need = DMIRROR_PTE_WRITE,
		.ask = dmirror_range_fault,
	};

	return dmirror_work(dmirror, cmd, &access);
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
	const struct dmirror_access access = {
		.need = DMIRROR_PTE_DEVICE,
		.ask = dmirror_range_fault,
	};

	return dmirror_work(dmirror, cmd, &access);
}
