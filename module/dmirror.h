/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the driver share. A device owns chunks of pages; an open
 * file mirrors one address space on one device.
 */
#ifndef _DMIRROR_H
#define _DMIRROR_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "compat.h"
#include "uapi/hmm_dmirror.h"

struct dmirror_table;
struct hmm_range;

/*
 * What one PMD entry maps: a huge page, and what a migration works on at a
 * time, however many pages the caller asks for.
 */
#define DMIRROR_BLOCK_PAGES	BIT(DMIRROR_HUGE_ORDER)
#define DMIRROR_BLOCK_SIZE	(DMIRROR_BLOCK_PAGES << PAGE_SHIFT)

/*
 * Pages that HMM is asked about at a time: bounds what is on the stack and how
 * long a lock is held.
 */
#define DMIRROR_BATCH		64

#define DMIRROR_COHERENT_DEVICES	2
#define DMIRROR_COHERENT_SIZE		SZ_256M	/* memory of each */

#define DMIRROR_NAME_SIZE	24

/* What a device counts, see sysfs.c. */
enum dmirror_counter {
	DMIRROR_PAGES_TO_DEVICE,
	DMIRROR_PAGES_BACK_BY_IOCTL,
	DMIRROR_PAGES_BACK_BY_FAULT,
	DMIRROR_PAGES_EVICTED,
	DMIRROR_FAULTS,			/* CPU faults that fault.c served */
	DMIRROR_INVALIDATIONS,		/* notifications of a change */
	DMIRROR_ALLOCATION_FAILURES,	/* batches that ran out of memory */
	DMIRROR_NR_COUNTERS
};

#define DMIRROR_STREAMS	4

/**
 * struct dmirror_stream - CPU faults that follow each other through memory
 * @mm: of which process; compared and never used
 * @next: address that the next one would be at
 * @npages: how many pages the last one brought back
 */
struct dmirror_stream {
	const struct mm_struct *mm;
	unsigned long next;
	unsigned long npages;
};

/* Bits of dmirror_device.flags */
#define DMIRROR_FAIL_ALLOC	0	/* the next allocation is to fail */

/**
 * struct dmirror_device - one device and its memory
 * @misc: the device node
 * @name: "hmm_dmirror0" and so on: node, prefix of every kernel message
 * @type: MEMORY_DEVICE_PRIVATE or MEMORY_DEVICE_COHERENT
 * @start: where the memory of a device-coherent device is
 * @flags: what HMM_DMIRROR_FLAGS has set, changed by atomic bit operations
 * @counters: what it has done so far, one for each enum dmirror_counter
 * @resize_lock: held while a chunk is added or while chunks are emptied and
 *	given up. Sleeps for long, so nobody waits for it with an mmap_lock or
 *	a folio lock held: emptying a chunk may need just that folio.
 * @lock: protects the members below, and the changing members of every chunk
 *	and block. Innermost, taken with page table locks held and by interrupts
 *	(dmirror_folio_free()): nothing under it sleeps, and interrupts are off.
 * @chunks: all chunks of this device
 * @nr_chunks: their number; changes only with @resize_lock held, too
 * @lost: address ranges for which struct pages could not be made, kept claimed
 *	until the module is unloaded; protected by @resize_lock
 * @whole_blocks: blocks with all pages free, of chunks that hand out pages
 * @broken_blocks: blocks of these chunks with a part of their pages free
 * @streams: where the CPU's faults went lately, see fault.c
 * @next_stream: which of them is to be forgotten next
 *
 * The address of this structure is the owner of the device's pages: it is what
 * tells HMM and migrate_vma_setup() one device's pages from another's.
 */
struct dmirror_device {
	struct miscdevice misc;
	char name[DMIRROR_NAME_SIZE];
	enum memory_type type;
	phys_addr_t start;
	unsigned long flags;
	atomic_long_t counters[DMIRROR_NR_COUNTERS];
	struct mutex resize_lock;	/* see above */
	spinlock_t lock;		/* see above */
	struct list_head chunks;
	unsigned int nr_chunks;
	struct list_head lost;
	struct list_head whole_blocks;
	struct list_head broken_blocks;
	struct dmirror_stream streams[DMIRROR_STREAMS];
	unsigned int next_stream;
};

/**
 * struct dmirror_block - as many device pages as one huge page has
 * @list: in one of the device's lists of blocks with free pages, or in none
 * @chunk: which these pages are a part of
 * @nr_free: number of free pages
 * @free: which they are, counted from the start of the block, in the first
 *	@nr_free entries; the last of these goes out next
 *
 * @list, @nr_free and @free are protected by dmirror_device.lock.
 */
struct dmirror_block {
	struct list_head list;
	struct dmirror_chunk *chunk;
	unsigned int nr_free;
	u16 free[DMIRROR_BLOCK_PAGES];
};

/**
 * struct dmirror_chunk - a range of device pages, added and removed as a whole
 * @pgmap: tells the kernel about the range; every page points to it
 * @device: whose memory this is
 * @npages: how many pages it has
 * @list: in dmirror_device.chunks
 * @used: pages handed out and not yet freed
 * @draining: no page is handed out any more, the chunk is being given up
 * @blocks: what is free, block by block
 *
 * @list, @used and @draining are protected by dmirror_device.lock, the rest
 * does not change.
 */
struct dmirror_chunk {
	struct dev_pagemap pgmap;
	struct dmirror_device *device;
	unsigned long npages;
	struct list_head list;
	unsigned long used;
	bool draining;
	struct dmirror_block blocks[];
};

/**
 * struct dmirror_batch - what a migration works on at a time
 * @args: for migrate_vma_setup() and its kin; src and dst lie in @slots
 * @huge: whether huge pages may be moved as they are
 * @moved: number of pages that were moved, over all batches
 * @pages: room for as many pages as @args has entries, also in @slots
 * @slots: the memory of the three arrays
 * @one: the same for a batch of one page, which needs no other
 */
struct dmirror_batch {
	struct migrate_vma args;
	bool huge;
	unsigned long moved;
	struct page **pages;
	unsigned long *slots;
	unsigned long one[3];
};

/**
 * struct dmirror - an open file: one address space seen by one device
 * @device: the device
 * @notifier: tells of every change in the address space, for as long as the
 *	file is open. It names the mm; the mm may be dying, so whoever works in
 *	it takes a reference first (mmget_not_zero()).
 * @page_table: the device's page table: leads from the number of a block of
 *	addresses to its struct dmirror_table, see table.c
 * @empty: the table that was emptied last, NULL or one of @page_table; all
 *	others have an entry that is set
 * @unmapping: in dmirror_eviction.unmapping, protected by dmirror_eviction.lock;
 *	while it is there, somebody has a reference (mmgrab()) to the mm
 * @mutex: protects @page_table, its tables and @empty, and keeps the pages in
 *	them from going away. Taken inside mmap_lock (the notifier is called
 *	with it), so mmap_lock is never taken inside it; no memory is waited for
 *	and no user memory touched under it.
 *
 * A child that inherits the file keeps acting on the address space of the
 * process that opened it.
 */
struct dmirror {
	struct dmirror_device *device;
	struct mmu_interval_notifier notifier;
	struct xarray page_table;
	struct dmirror_table *empty;
	struct list_head unmapping;
	struct mutex mutex;		/* see above */
};

/**
 * struct dmirror_access - what the device is going to do with a page
 * @need: bits that the page's entry has to have
 * @ask: how to ask the kernel for a page without such an entry
 */
struct dmirror_access {
	unsigned long need;
	int (*ask)(struct dmirror *dmirror, struct hmm_range *range);
};

/* How many bytes from addr on are one batch: of one block, before end. */
static inline unsigned long dmirror_batch_size(unsigned long addr,
					       unsigned long end)
{
	/* Near the end of all addresses a sum could wrap. */
	return min3(end - addr, DMIRROR_BATCH * PAGE_SIZE,
		    DMIRROR_BLOCK_SIZE - addr % DMIRROR_BLOCK_SIZE);
}

/* The end of the range of a command; dmirror_ioctl() saw that it fits. */
static inline unsigned long dmirror_cmd_end(const struct hmm_dmirror_cmd *cmd)
{
	return cmd->addr + (cmd->npages << PAGE_SHIFT);
}

/* Once for a batch or an event, not for each page: cheap enough for always. */
static inline void dmirror_count(struct dmirror_device *device,
				 enum dmirror_counter counter, unsigned long n)
{
	atomic_long_add(n, &device->counters[counter]);
}

/* The first PFN of a chunk. */
static inline unsigned long dmirror_chunk_pfn(const struct dmirror_chunk *chunk)
{
	return PHYS_PFN(chunk->pgmap.range.start);
}

/* The first PFN of a block. */
static inline unsigned long dmirror_block_pfn(const struct dmirror_block *block)
{
	return dmirror_chunk_pfn(block->chunk) +
	       (block - block->chunk->blocks) * DMIRROR_BLOCK_PAGES;
}

/* chunk.c */
int dmirror_chunk_check(void);
unsigned long dmirror_chunk_size(const struct dmirror_device *device);
void dmirror_chunk_remove(struct dmirror_chunk *chunk);
void dmirror_lost_release(struct dmirror_device *device);
int dmirror_device_grow(struct dmirror_device *device, bool huge);

/* coherent.c */
int dmirror_coherent_count(void);
phys_addr_t dmirror_coherent_start(unsigned int nr);

/* page.c */
struct dmirror_device *dmirror_page_device(struct page *page);
bool dmirror_page_is_on(struct page *page, const struct dmirror_device *device);
struct page *dmirror_backing_page(struct page *page);
bool dmirror_fail_once(struct dmirror_device *device);
void dmirror_chunk_init_blocks(struct dmirror_chunk *chunk);
void dmirror_chunk_offer(struct dmirror_chunk *chunk, bool offer);
void dmirror_block_used(struct dmirror_block *block, unsigned long *used);
bool dmirror_device_has_room(struct dmirror_device *device, bool huge);
unsigned long dmirror_pages_bulk(gfp_t gfp, struct page **pages,
				 unsigned long n);
int dmirror_pages_alloc(struct dmirror_device *device, struct page **pages,
			unsigned long n);
struct dmirror_block *dmirror_block_take(struct dmirror_device *device);

/* huge.c */
bool dmirror_batch_is_huge(const struct dmirror_batch *batch);
int dmirror_send_huge(struct dmirror_device *device,
		      struct dmirror_batch *batch);
int dmirror_fetch_huge(struct dmirror_device *device,
		       struct dmirror_batch *batch);
void dmirror_backing_split(struct folio *head, struct folio *tail);

/* copy.c */
void dmirror_copy_to_device(struct dmirror_device *device, unsigned long addr,
			    struct page *to, struct page *from,
			    unsigned long npages);
void dmirror_copy_to_system(struct dmirror_device *device, unsigned long addr,
			    struct page *to, struct page *from,
			    unsigned long npages);

/* evict.c */
void dmirror_evict_keep_off(struct dmirror *dmirror);
void dmirror_evict_forget(struct dmirror *dmirror);
int dmirror_device_empty(struct dmirror_device *device, bool must);

/* mirror.c */
extern const struct mmu_interval_notifier_ops dmirror_notifier_ops;
int dmirror_range_fault(struct dmirror *dmirror, struct hmm_range *range);
int dmirror_range_fault_unlocked(struct dmirror *dmirror,
				 struct hmm_range *range);
int dmirror_fault(struct dmirror *dmirror, unsigned long start,
		  unsigned long end, const struct dmirror_access *access);

/* table.c */
struct dmirror_table *dmirror_table_get(struct dmirror *dmirror,
					unsigned long addr);
const unsigned long *dmirror_table_find(struct dmirror *dmirror,
					unsigned long addr);
void dmirror_table_forget(struct dmirror *dmirror, unsigned long start,
			  unsigned long last, bool atomic);
void dmirror_table_end(struct dmirror *dmirror);

/* access.c */
int dmirror_read(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_read_unlocked(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_write(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_read_back(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);

/* migrate.c */
int dmirror_migrate_to_device(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd);
int dmirror_migrate_to_system(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd);
int dmirror_batch_begin(struct dmirror_batch *batch, unsigned long npages,
			gfp_t gfp);
void dmirror_batch_end(struct dmirror_batch *batch);
unsigned long dmirror_count_moved(const unsigned long *src,
				  const unsigned long *dst, unsigned long n);
int dmirror_bring_back(struct dmirror_device *device,
		       struct dmirror_batch *batch);

/* fault.c */
int dmirror_fault_check(void);
vm_fault_t dmirror_migrate_to_ram(struct vm_fault *vmf);

/* exclusive.c */
int dmirror_exclusive(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_check_exclusive(struct dmirror *dmirror,
			    struct hmm_dmirror_cmd *cmd);

/* sysfs.c */
extern const struct attribute_group *dmirror_groups[];

/* snapshot.c */
int dmirror_snapshot(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);

#endif /* _DMIRROR_H */
