/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the driver share. A device owns chunks of pages; an open
 * file mirrors one address space on one device.
 */
#ifndef _DMIRROR_H
#define _DMIRROR_H

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

struct hmm_range;

#define DMIRROR_CHUNK_SIZE	SZ_256M
#define DMIRROR_CHUNK_MB	(DMIRROR_CHUNK_SIZE / SZ_1M)

/*
 * Pages worked on at a time: bounds what is on the stack and how long a lock is
 * held, however many pages the caller asks for.
 */
#define DMIRROR_BATCH		32

/**
 * struct dmirror_device - one device and its memory
 * @misc: the device node
 * @name: "hmm_dmirror0" and so on: node, prefix of every kernel message
 * @resize_lock: held while a chunk is added or while chunks are emptied and
 *	given up. Sleeps for long, so nobody waits for it with an mmap_lock or
 *	a folio lock held: emptying a chunk may need just that folio.
 * @lock: protects @chunks, @nr_chunks and the changing members of every chunk.
 *	Innermost, taken with page table locks held: nothing under it sleeps.
 * @chunks: all chunks of this device
 * @nr_chunks: their number
 *
 * The address of this structure is the owner of the device's pages: it is what
 * tells HMM and migrate_vma_setup() one device's pages from another's.
 */
struct dmirror_device {
	struct miscdevice misc;
	char name[16];
	struct mutex resize_lock;	/* see above */
	spinlock_t lock;		/* see above */
	struct list_head chunks;
	unsigned int nr_chunks;
};

/**
 * struct dmirror_chunk - a range of device pages, added and removed as a whole
 * @pgmap: tells the kernel about the range; every page points to it
 * @device: whose memory this is
 * @list: in dmirror_device.chunks
 * @free: free pages, linked through page->zone_device_data, last in first out
 * @used: pages handed out and not yet freed
 * @draining: no page is handed out any more, the chunk is being given up
 *
 * @list, @free, @used and @draining are protected by dmirror_device.lock, the
 * rest does not change.
 */
struct dmirror_chunk {
	struct dev_pagemap pgmap;
	struct dmirror_device *device;
	struct list_head list;
	struct page *free;
	unsigned long used;
	bool draining;
};

/**
 * struct dmirror - an open file: one address space seen by one device
 * @device: the device
 * @notifier: tells of every change in the address space, for as long as the
 *	file is open. It names the mm; the mm may be dying, so whoever works in
 *	it takes a reference first (mmget_not_zero()).
 * @page_table: the device's page table: page number to what dmirror_pte_*()
 *	know
 * @mutex: protects @page_table and keeps the pages in it from going away. Taken
 *	inside mmap_lock (the notifier is called with it), so mmap_lock is never
 *	taken inside it; no page is allocated and no user memory touched under
 *	it.
 *
 * A child that inherits the file keeps acting on the address space of the
 * process that opened it.
 */
struct dmirror {
	struct dmirror_device *device;
	struct mmu_interval_notifier notifier;
	struct xarray page_table;
	struct mutex mutex;		/* see above */
};

/* The end of the range of a command; dmirror_ioctl() saw that it fits. */
static inline unsigned long dmirror_cmd_end(const struct hmm_dmirror_cmd *cmd)
{
	return cmd->addr + (cmd->npages << PAGE_SHIFT);
}

/* chunk.c */
int dmirror_device_grow(struct dmirror_device *device);
int dmirror_device_empty(struct dmirror_device *device, bool must);
struct page *dmirror_page_alloc(struct dmirror_device *device);
struct page *dmirror_backing_page(struct page *page);
struct dmirror_device *dmirror_page_device(struct page *page);
void dmirror_folio_free(struct folio *folio);

/* mirror.c */
extern const struct mmu_interval_notifier_ops dmirror_notifier_ops;
int dmirror_range_fault(struct dmirror *dmirror, struct hmm_range *range);
int dmirror_read(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_write(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);
int dmirror_read_back(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);

/* migrate.c */
int dmirror_migrate_to_device(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd);
int dmirror_migrate_to_system(struct dmirror *dmirror,
			      struct hmm_dmirror_cmd *cmd);
int dmirror_bring_back(struct dmirror_device *device, struct migrate_vma *args,
		       unsigned long *moved);

/* fault.c */
vm_fault_t dmirror_migrate_to_ram(struct vm_fault *vmf);

/* snapshot.c */
int dmirror_snapshot(struct dmirror *dmirror, struct hmm_dmirror_cmd *cmd);

#endif /* _DMIRROR_H */
