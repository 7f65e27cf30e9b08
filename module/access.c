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
 * A touch of the caller's buffer may fault, the fault may change a mapping, and
 * the notifier then wants the mutex that keeps the entries true. So the copy is
 * made with page faults off: it goes through as long as the buffer's pages are
 * there. Where one is not, that page goes through a bounce buffer, in two steps.
 *
 * A copy that fails on the caller's buffer is not taken back. So a WRITE from a
 * buffer that ends in the midst of a page has written the pages before, and the
 * part of that page which could be read; cpages counts the whole ones only.
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
#include "table.h"

/* The first page that the device cannot use as it needs to, or end. */
static unsigned long dmirror_first_missing(struct dmirror *dmirror,
					   unsigned long start,
					   unsigned long end,
					   unsigned long need)
{
	while (start < end && !fatal_signal_pending(current)) {
		unsigned long stop = start + dmirror_batch_size(start, end);
		const unsigned long *pte;

		mutex_lock(&dmirror->mutex);
		pte = dmirror_table_find(dmirror, start);
		while (pte && start < stop && dmirror_pte_allows(*pte++, need))
			start += PAGE_SIZE;
		mutex_unlock(&dmirror->mutex);

		if (start < stop)
			break;
		cond_resched();
	}
	return start;
}

/* Copy one page between the device and the caller's or the bounce buffer. */
static bool dmirror_copy_page(unsigned long pte, char __user *user,
			      char *bounce, bool write)
{
	struct page *page = pfn_to_page(pte >> DMIRROR_PTE_SHIFT);
	struct page *data = page;
	unsigned long left = 0;
	char *device;

	if (pte & DMIRROR_PTE_DEVICE)
		data = dmirror_backing_page(page);
	device = kmap_local_page(data);

	pagefault_disable();
	if (write && bounce)
		memcpy(device, bounce, PAGE_SIZE);
	else if (write)
		left = __copy_from_user_inatomic(device, user, PAGE_SIZE);
	else if (bounce)
		memcpy(bounce, device, PAGE_SIZE);
	else
		left = __copy_to_user_inatomic(user, device, PAGE_SIZE);
	pagefault_enable();

	kunmap_local(device);
	/* The CPU's page table does not know that we wrote. */
	if (write)
		folio_mark_dirty(page_folio(page));
	return !left;
}

/*
 * The device at work: copy a batch, up to the first page that it cannot use, or
 * that is not there in the caller's buffer. With a bounce buffer only the former
 * can be.
 */
static unsigned long dmirror_copy_present(struct dmirror *dmirror,
					  unsigned long start,
					  unsigned long end, char __user *user,
					  char *bounce, unsigned long need)
{
	const unsigned long *pte;

	mutex_lock(&dmirror->mutex);
	pte = dmirror_table_find(dmirror, start);
	while (pte && start < end && dmirror_pte_allows(*pte, need)) {
		if (!dmirror_copy_page(*pte++, user, bounce,
				       need & DMIRROR_PTE_WRITE))
			break;
		start += PAGE_SIZE;
		user += PAGE_SIZE;
	}
	mutex_unlock(&dmirror->mutex);
	return start;
}

/* One page by way of the bounce buffer. Returns where it got, or 0 for -EFAULT. */
static unsigned long dmirror_copy_by_bounce(struct dmirror *dmirror,
					    unsigned long addr,
					    char __user *user, char *bounce,
					    unsigned long need)
{
	unsigned long next = addr + PAGE_SIZE;

	if ((need & DMIRROR_PTE_WRITE) && copy_from_user(bounce, user, PAGE_SIZE))
		return 0;
	next = dmirror_copy_present(dmirror, addr, next, user, bounce, need);
	if (!(need & DMIRROR_PTE_WRITE) && copy_to_user(user, bounce, next - addr))
		return 0;
	return next;
}

/* Copy between the mirrored range and the caller's buffer, a batch at a time. */
static int dmirror_copy(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd,
			char *bounce, const struct dmirror_access *access)
{
	unsigned long need = access->need;
	char __user *user = u64_to_user_ptr(cmd->ptr);
	unsigned long end = dmirror_cmd_end(cmd);
	unsigned long addr = cmd->addr;
	unsigned long missing, next;
	int ret;

	if (!access_ok(user, end - addr))
		return -EFAULT;

	missing = dmirror_first_missing(dmirror, addr, end, need);
	while (addr < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		if (missing < end) {
			ret = dmirror_fault(dmirror, missing, end, access);
			if (ret)
				return ret;
			if (!(need & DMIRROR_PTE_DEVICE))
				cmd->faults++;
		}

		next = addr + dmirror_batch_size(addr, end);
		next = dmirror_copy_present(dmirror, addr, next, user, NULL,
					    need);
		if (next == addr)
			next = dmirror_copy_by_bounce(dmirror, addr, user,
						      bounce, need);
		if (!next)
			return -EFAULT;

		/* No progress: the page has gone away since, ask for it again. */
		missing = next == addr ? addr : end;
		user += next - addr;
		cmd->cpages += (next - addr) >> PAGE_SHIFT;
		addr = next;
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

	bounce = (char *)__get_free_page(GFP_KERNEL);
	if (bounce)
		ret = dmirror_copy(dmirror, cmd, bounce, access);
	else
		ret = -ENOMEM;

	free_page((unsigned long)bounce);
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
	const struct dmirror_access access = {
		.need = DMIRROR_PTE_PRESENT,
		.ask = dmirror_range_fault,
	};

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
		.need = DMIRROR_PTE_PRESENT,
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
