// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Eviction: emptying the device, whoever uses it
 *
 * To give up a chunk, all its pages must come back first. Nobody has to know
 * where they are mapped: migrate_device_pfns() takes PFNs and finds the page
 * tables through the reverse mapping. What follows are the steps of every
 * migration, see migrate.c.
 *
 * While a chunk is being emptied no page of it is handed out, so the number of
 * pages in use can only fall. A page that somebody else holds at that moment is
 * skipped: a CPU fault has it, another migration, or a driver has pinned a
 * device-coherent page. So this repeats until no page is in use. It lasts as
 * long as somebody holds on to one, which may be for ever; HMM_DMIRROR_RELEASE
 * then waits and can be killed. A huge page comes back as a huge page, since
 * nobody here knows the mapping in which it could be split; if system RAM is
 * too fragmented for that, RELEASE ends with -ENOMEM, and what has not been
 * brought back stays on the device.
 *
 * Unloading the module has to go through with it. It waits for pages that are
 * held, and for system RAM.
 *
 * Nobody holds mmap_lock here, as all other migrations do. So a mapping may be
 * given up while its page table has migration entries, and take the reverse
 * mapping (struct anon_vma) with it, in which migrate_device_finalize() is going
 * to look. The kernel keeps no reference to it, in any release from 6.1 to 7.3,
 * and a module cannot. But the driver is told before anything is unmapped, in
 * every address space in which one of its devices is open. That address space is
 * then in a list, and while it is there nothing is evicted, from any device:
 * dmirror_evict_keep_off() waits for the pages that are on their way, and
 * dmirror_evict_begin() until the unmapping is over. Of a device there is one
 * page at a time between the first step and the last, and what can wait, the
 * allocation, comes before. A page that is not mapped when its turn comes has
 * lost its mapping already, and is left to whoever holds it.
 *
 * What is left are address spaces that have pages on a device but no device
 * open: their process has closed them, or is the child of one that has them, or
 * somebody kept its memory longer than its files. If such pages are unmapped at
 * the very moment, the kernel may read memory that is free. Whoever releases a
 * device should be its last user.
 */
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "dmirror.h"
#include "trace.h"

/**
 * struct dmirror_eviction - who unmaps and who evicts, on all devices
 * @lock: protects the other members, and dmirror.unmapping. Innermost: nothing
 *	under it sleeps.
 * @unmapping: open files in whose address space something is being unmapped, or
 *	was lately
 * @pages: how many pages are being evicted, one of a device at most; none is
 *	begun while @unmapping has a file
 * @done: where to wait until there are none
 */
struct dmirror_eviction {
	spinlock_t lock;		/* see above */
	struct list_head unmapping;
	unsigned int pages;
	wait_queue_head_t done;
};

static struct dmirror_eviction dmirror_eviction = {
	.lock = __SPIN_LOCK_UNLOCKED(dmirror_eviction.lock),
	.unmapping = LIST_HEAD_INIT(dmirror_eviction.unmapping),
	.done = __WAIT_QUEUE_HEAD_INITIALIZER(dmirror_eviction.done),
};

/**
 * dmirror_evict_keep_off() - before something is unmapped: no eviction meanwhile
 * @dmirror: an open file of that address space
 *
 * Called by the notifier, with mmap_lock held or by a process that ends.
 */
void dmirror_evict_keep_off(struct dmirror *dmirror)
{
	struct dmirror_eviction *eviction = &dmirror_eviction;

	spin_lock(&eviction->lock);
	if (list_empty(&dmirror->unmapping))
		list_add_tail(&dmirror->unmapping, &eviction->unmapping);
	spin_unlock(&eviction->lock);

	wait_event(eviction->done, !READ_ONCE(eviction->pages));
}

/*
 * If nothing is being unmapped in mm, allow evictions again as far as that goes.
 * Caller holds mmap_lock for writing. It needs no user of mm: to become one, and
 * perhaps the last, would be to unmap everything after the files are closed.
 */
static bool dmirror_evict_allow(const struct mm_struct *mm)
{
	struct dmirror_eviction *eviction = &dmirror_eviction;
	struct dmirror *dmirror, *next;

	/* Without users the process ends. It has once it has no mappings. */
	if (!atomic_read(&mm->mm_users) && !mtree_empty(&mm->mm_mt))
		return false;

	spin_lock(&eviction->lock);
	list_for_each_entry_safe(dmirror, next, &eviction->unmapping, unmapping)
		if (dmirror->notifier.mm == mm)
			list_del_init(&dmirror->unmapping);
	spin_unlock(&eviction->lock);
	return true;
}

/* Wait until nothing is being unmapped in mm. -EINTR on a fatal signal. */
static int dmirror_evict_wait(struct mm_struct *mm)
{
	bool allowed;

	for (;;) {
		if (mmap_write_lock_killable(mm))
			return -EINTR;
		allowed = dmirror_evict_allow(mm);
		mmap_write_unlock(mm);
		if (allowed)
			return 0;

		if (fatal_signal_pending(current))
			return -EINTR;
		schedule_timeout_uninterruptible(1);
	}
}

/**
 * dmirror_evict_forget() - a file is closed: evictions need not wait for it
 * @dmirror: the file; its notifier is removed, and the caller has a reference
 *	to its mm
 *
 * Waits until what is being unmapped there is.
 */
void dmirror_evict_forget(struct dmirror *dmirror)
{
	struct mm_struct *mm = dmirror->notifier.mm;
	bool allowed;

	/* Once it is not in the list it stays so. */
	while (!list_empty_careful(&dmirror->unmapping)) {
		mmap_write_lock(mm);
		allowed = dmirror_evict_allow(mm);
		mmap_write_unlock(mm);
		if (!allowed)
			schedule_timeout_uninterruptible(1);
	}
}

/* Begin to evict one page, when nothing is being unmapped. */
static int dmirror_evict_begin(void)
{
	struct dmirror_eviction *eviction = &dmirror_eviction;
	struct dmirror *dmirror;
	struct mm_struct *mm;
	int ret = 0;

	while (!ret) {
		spin_lock(&eviction->lock);
		dmirror = list_first_entry_or_null(&eviction->unmapping,
						   struct dmirror, unmapping);
		if (!dmirror) {
			eviction->pages++;
			spin_unlock(&eviction->lock);
			break;
		}
		/* The file may be closed as soon as the lock is released. */
		mm = dmirror->notifier.mm;
		mmgrab(mm);
		spin_unlock(&eviction->lock);

		ret = dmirror_evict_wait(mm);
		mmdrop(mm);
	}
	return ret;
}

static void dmirror_evict_end(void)
{
	struct dmirror_eviction *eviction = &dmirror_eviction;

	spin_lock(&eviction->lock);
	eviction->pages--;
	spin_unlock(&eviction->lock);
	wake_up_all(&eviction->done);
}

/* Fill @to, a locked folio, with the data of a device page; its dst entry. */
static unsigned long dmirror_evict_copy(struct folio *to, struct page *from)
{
	struct page *data = dmirror_backing_page(from);
	unsigned long i;

	for (i = 0; i < folio_nr_pages(to); i++)
		copy_highpage(folio_page(to, i), data + i);
	return migrate_pfn(folio_pfn(to)) |
	       (folio_test_large(to) ? MIGRATE_PFN_COMPOUND : 0);
}

/* Bring back one page, or a huge one, unless somebody else holds it. */
static int dmirror_evict_page(struct dmirror_device *device, unsigned long pfn,
			      struct dmirror_batch *batch)
{
	unsigned long *src = batch->args.src;
	unsigned long *dst = batch->args.dst;
	struct page *from = pfn_to_page(pfn);
	unsigned int order;
	unsigned long i;
	struct folio *to;
	int ret;

	/* A tail comes with its head. Who has no reference comes or goes. */
	if (PageTail(from) || !page_count(from))
		return 0;

	order = folio_order(page_folio(from));
	to = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
			 __GFP_RETRY_MAYFAIL, order);
	if (!to) {
		dmirror_count(device, DMIRROR_ALLOCATION_FAILURES, 1);
		return -ENOMEM;
	}
	ret = dmirror_evict_begin();
	if (ret) {
		folio_put(to);
		return ret;
	}
	/*
	 * What nobody maps is about to be freed, by whoever has it, and its
	 * reverse mapping may be gone. Of what is mapped now it stays to the end.
	 * A huge page may have been split meanwhile: the next round has the parts.
	 */
	if (!folio_mapped(page_folio(from)) ||
	    folio_order(page_folio(from)) != order) {
		dmirror_evict_end();
		folio_put(to);
		return 0;
	}
	folio_lock(to);

	/*
	 * For a huge page the kernel looks at src[0] and clears the rest. But it
	 * may be split until it is locked, and then each entry has to be a PFN.
	 */
	memset(dst, 0, sizeof(*dst) << order);
	for (i = 0; i < 1UL << order; i++)
		src[i] = pfn;
	migrate_device_pfns(src, 1UL << order);
	/* No mapping: a migration to here has failed and is about to free it. */
	if ((src[0] & MIGRATE_PFN_MIGRATE) && page_folio(from)->mapping &&
	    folio_order(page_folio(from)) == order) {
		dst[0] = dmirror_evict_copy(to, from);
	} else {
		folio_unlock(to);
		folio_put(to);
	}
	migrate_device_pages(src, dst, 1UL << order);
	batch->moved += dmirror_count_moved(src, dst, 1UL << order);
	migrate_device_finalize(src, dst, 1UL << order);
	dmirror_evict_end();
	return 0;
}

/* Bring back the pages of a block that are in use and that nobody holds. */
static int dmirror_evict_block(struct dmirror_block *block,
			       struct dmirror_batch *batch)
{
	unsigned long pfn = dmirror_block_pfn(block);
	DECLARE_BITMAP(used, DMIRROR_BLOCK_PAGES);
	unsigned long i;
	int ret = 0;

	dmirror_block_used(block, used);
	for_each_set_bit(i, used, DMIRROR_BLOCK_PAGES) {
		ret = dmirror_evict_page(block->chunk->device, pfn + i, batch);
		if (ret)
			break;
	}
	return ret;
}

static unsigned long dmirror_chunk_used(struct dmirror_chunk *chunk)
{
	unsigned long used;

	spin_lock_irq(&chunk->device->lock);
	used = chunk->used;
	spin_unlock_irq(&chunk->device->lock);
	return used;
}

/* Caller holds resize_lock. */
static int dmirror_chunk_empty(struct dmirror_chunk *chunk,
			       struct dmirror_batch *batch, bool must)
{
	unsigned long nr_blocks = chunk->npages / DMIRROR_BLOCK_PAGES;
	unsigned long i;
	int ret;

	while (dmirror_chunk_used(chunk)) {
		for (i = 0; i < nr_blocks; i++) {
			ret = dmirror_evict_block(&chunk->blocks[i], batch);
			if (!ret && fatal_signal_pending(current))
				ret = -EINTR;
			if (ret && !must)
				return ret;
			cond_resched();
		}
		/* Let those who held the rest finish. */
		schedule_timeout_uninterruptible(1);
	}
	return 0;
}

/* Caller holds resize_lock, so the list does not change. */
static void dmirror_chunks_offer(struct dmirror_device *device, bool offer)
{
	struct dmirror_chunk *chunk;

	list_for_each_entry(chunk, &device->chunks, list) {
		spin_lock_irq(&device->lock);
		dmirror_chunk_offer(chunk, offer);
		spin_unlock_irq(&device->lock);
	}
}

/**
 * dmirror_device_empty() - bring every page back and give up all chunks
 * @device: the device
 * @must: at unload: neither a signal nor a lack of system RAM ends it
 *
 * Other calls may go on meanwhile. If they move pages to the device they wait,
 * and add a new chunk once this is done.
 *
 * Return: 0; -EINTR on a fatal signal; -ENOMEM if there is no system RAM for
 * the pages. On an error the chunks not yet emptied stay in use.
 */
int dmirror_device_empty(struct dmirror_device *device, bool must)
{
	struct dmirror_chunk *chunk, *next;
	struct dmirror_batch batch;
	int ret = 0;

	if (dmirror_batch_begin(&batch, DMIRROR_BLOCK_PAGES,
				GFP_KERNEL | (must ? __GFP_NOFAIL : 0)))
		return -ENOMEM;

	if (must) {
		mutex_lock(&device->resize_lock);
	} else if (mutex_lock_killable(&device->resize_lock)) {
		dmirror_batch_end(&batch);
		return -EINTR;
	}

	dmirror_chunks_offer(device, false);

	list_for_each_entry_safe(chunk, next, &device->chunks, list) {
		batch.moved = 0;
		ret = dmirror_chunk_empty(chunk, &batch, must);
		dmirror_count(device, DMIRROR_PAGES_EVICTED, batch.moved);
		trace_dmirror_evict(chunk, batch.moved, ret);
		if (ret)
			break;
		dmirror_chunk_remove(chunk);
	}

	dmirror_chunks_offer(device, true);

	mutex_unlock(&device->resize_lock);
	dmirror_batch_end(&batch);
	return ret;
}
