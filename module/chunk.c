// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Chunks: struct pages for memory the CPU cannot touch
 *
 * The kernel can move a page to a device only if the device's memory has
 * struct pages. memremap_pages() makes them: given a range of physical
 * addresses that nothing else uses, it adds 64 bytes of system RAM for every
 * 4 KiB of device memory and puts these struct pages into ZONE_DEVICE. For
 * MEMORY_DEVICE_PRIVATE the addresses lead nowhere; they only give each page a
 * PFN, which is what a page table entry can hold.
 *
 * This driver adds such ranges in chunks of 256 MiB: one when a device is set
 * up, more when it runs out, and gives them back on HMM_DMIRROR_RELEASE and
 * when the module is unloaded. A real device would keep the data in its own
 * memory. Here each device page that is in use has a backing page, an ordinary
 * page of system RAM that no page table shows, and page->zone_device_data of
 * the device page leads to it.
 *
 * A device page is born in dmirror_page_alloc() with one reference, lives in
 * page tables as a special swap entry, and dies in dmirror_folio_free(), which
 * the kernel calls when the last reference goes: because the data moved back,
 * or because the process unmapped it or ended. Which file it was migrated
 * through does not matter, so closing a file leaves every page where it is.
 *
 * To give up a chunk, all its pages must come back first. Nobody has to know
 * where they are mapped: migrate_device_range() takes PFNs and finds the page
 * tables through the reverse mapping. It skips a page that somebody else holds
 * at that moment (a CPU fault has it, another migration), so the driver repeats
 * until no page is in use.
 */
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dmirror.h"

static const struct dev_pagemap_ops dmirror_pagemap_ops = {
	DMIRROR_FREE_OP,
	.migrate_to_ram = dmirror_migrate_to_ram,
};

static struct dmirror_chunk *dmirror_page_chunk(struct page *page)
{
	return container_of(page_pgmap(page), struct dmirror_chunk, pgmap);
}

/**
 * dmirror_page_device() - whose page is it?
 * @page: a device page of this driver
 *
 * Return: the device that owns @page.
 */
struct dmirror_device *dmirror_page_device(struct page *page)
{
	return dmirror_page_chunk(page)->device;
}

/**
 * dmirror_backing_page() - where are the data of a device page?
 * @page: a device page of this driver that is in use
 *
 * A device page has no address in the kernel's direct map. Whoever wants its
 * contents must come through here.
 *
 * Return: the page of system RAM that holds the data.
 */
struct page *dmirror_backing_page(struct page *page)
{
	return page->zone_device_data;
}

/* Caller holds resize_lock. */
static int dmirror_chunk_add(struct dmirror_device *device)
{
	struct dmirror_chunk *chunk;
	struct resource *res;
	unsigned long first, pfn, end;
	unsigned int nr_chunks;
	void *ptr;
	int ret;

	chunk = kzalloc_obj(*chunk, GFP_KERNEL);
	if (!chunk)
		return -ENOMEM;

	res = request_free_mem_region(&iomem_resource, DMIRROR_CHUNK_SIZE,
				      "hmm_dmirror");
	if (IS_ERR(res)) {
		ret = PTR_ERR(res);
		goto err_free;
	}

	chunk->device = device;
	chunk->pgmap.type = MEMORY_DEVICE_PRIVATE;
	chunk->pgmap.range.start = res->start;
	chunk->pgmap.range.end = res->end;
	chunk->pgmap.nr_range = 1;
	chunk->pgmap.ops = &dmirror_pagemap_ops;
	chunk->pgmap.owner = device;

	ptr = memremap_pages(&chunk->pgmap, numa_node_id());
	if (IS_ERR(ptr)) {
		ret = PTR_ERR(ptr);
		goto err_region;
	}

	/* The last page put in is the first to go out: the top of the range. */
	first = PHYS_PFN(res->start);
	end = first + PHYS_PFN(DMIRROR_CHUNK_SIZE);
	for (pfn = first; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		page->zone_device_data = chunk->free;
		chunk->free = page;
	}

	spin_lock(&device->lock);
	list_add_tail(&chunk->list, &device->chunks);
	nr_chunks = ++device->nr_chunks;
	spin_unlock(&device->lock);

	pr_info("%s: added new %u MB chunk (total %u chunks, %u MB) PFNs [0x%lx 0x%lx)\n",
		device->name, DMIRROR_CHUNK_MB, nr_chunks,
		nr_chunks * DMIRROR_CHUNK_MB, first, end);
	return 0;

err_region:
	release_mem_region(res->start, resource_size(res));
err_free:
	kfree(chunk);
	return ret;
}

static void dmirror_chunk_remove(struct dmirror_chunk *chunk)
{
	struct dmirror_device *device = chunk->device;

	spin_lock(&device->lock);
	list_del(&chunk->list);
	device->nr_chunks--;
	spin_unlock(&device->lock);

	memunmap_pages(&chunk->pgmap);
	release_mem_region(chunk->pgmap.range.start, DMIRROR_CHUNK_SIZE);
	kfree(chunk);
}

/* Caller holds device->lock. */
static struct dmirror_chunk *dmirror_chunk_with_room(struct dmirror_device *device)
{
	struct dmirror_chunk *chunk;

	list_for_each_entry(chunk, &device->chunks, list)
		if (chunk->free && !chunk->draining)
			return chunk;
	return NULL;
}

/**
 * dmirror_device_grow() - make sure that the device has a free page
 * @device: the device
 *
 * Adds a chunk, unless another caller did so in the meantime. Sleeps; call it
 * without mmap_lock and without any folio locked.
 *
 * Return: 0; -EINTR on a fatal signal; -ENOMEM and what
 * request_free_mem_region() and memremap_pages() return when there is no room.
 */
int dmirror_device_grow(struct dmirror_device *device)
{
	bool room;
	int ret = 0;

	if (mutex_lock_killable(&device->resize_lock))
		return -EINTR;

	spin_lock(&device->lock);
	room = dmirror_chunk_with_room(device);
	spin_unlock(&device->lock);
	if (!room)
		ret = dmirror_chunk_add(device);

	mutex_unlock(&device->resize_lock);
	return ret;
}

/**
 * dmirror_page_alloc() - take a free device page
 * @device: the device
 *
 * Return: a device page with its backing page, locked, with one reference, as
 * the dst array of a migration wants it; ERR_PTR(-ENOSPC) if all pages of all
 * chunks are in use, then dmirror_device_grow() helps; ERR_PTR(-ENOMEM) if
 * there is no system RAM for the backing page.
 */
struct page *dmirror_page_alloc(struct dmirror_device *device)
{
	struct dmirror_chunk *chunk;
	struct page *page = NULL;
	struct page *backing;

	/* Rather fail the migration than have the OOM killer end a process. */
	backing = alloc_page(GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!backing)
		return ERR_PTR(-ENOMEM);

	spin_lock(&device->lock);
	chunk = dmirror_chunk_with_room(device);
	if (chunk) {
		page = chunk->free;
		chunk->free = page->zone_device_data;
		chunk->used++;
	}
	spin_unlock(&device->lock);

	if (!page) {
		__free_page(backing);
		return ERR_PTR(-ENOSPC);
	}

	/* First the data, then the reference that lets others find the page. */
	page->zone_device_data = backing;
	dmirror_zone_device_page_init(page);
	return page;
}

/**
 * dmirror_folio_free() - the last reference to a device page is gone
 * @folio: the device page
 *
 * Called by the kernel, possibly with a page table lock held.
 */
void dmirror_folio_free(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	struct dmirror_chunk *chunk = dmirror_page_chunk(page);
	struct dmirror_device *device = chunk->device;

	__free_page(dmirror_backing_page(page));

	spin_lock(&device->lock);
	page->zone_device_data = chunk->free;
	chunk->free = page;
	chunk->used--;
	spin_unlock(&device->lock);
}

/* Bring back those of a few pages that are in use and that nobody holds. */
static int dmirror_evict_batch(unsigned long pfn, unsigned long npages)
{
	unsigned long src[DMIRROR_BATCH];
	unsigned long dst[DMIRROR_BATCH] = {};
	unsigned long i;
	int ret = 0;

	migrate_device_range(src, pfn, npages);
	for (i = 0; i < npages; i++) {
		struct page *from = migrate_pfn_to_page(src[i]);
		struct page *to;

		if (!from || !(src[i] & MIGRATE_PFN_MIGRATE))
			continue;

		to = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL |
				__GFP_NOWARN);
		if (!to) {
			ret = -ENOMEM;
			break;
		}
		lock_page(to);
		copy_highpage(to, dmirror_backing_page(from));
		dst[i] = migrate_pfn(page_to_pfn(to));
	}
	migrate_device_pages(src, dst, npages);
	migrate_device_finalize(src, dst, npages);
	return ret;
}

static unsigned long dmirror_chunk_used(struct dmirror_chunk *chunk)
{
	unsigned long used;

	spin_lock(&chunk->device->lock);
	used = chunk->used;
	spin_unlock(&chunk->device->lock);
	return used;
}

static void dmirror_chunk_set_draining(struct dmirror_chunk *chunk, bool drain)
{
	spin_lock(&chunk->device->lock);
	chunk->draining = drain;
	spin_unlock(&chunk->device->lock);
}

/* Caller holds resize_lock. */
static int dmirror_chunk_empty(struct dmirror_chunk *chunk, bool must)
{
	unsigned long first = PHYS_PFN(chunk->pgmap.range.start);
	unsigned long end = first + PHYS_PFN(DMIRROR_CHUNK_SIZE);
	unsigned long pfn;
	int ret;

	while (dmirror_chunk_used(chunk)) {
		for (pfn = first; pfn < end; pfn += DMIRROR_BATCH) {
			ret = dmirror_evict_batch(pfn, DMIRROR_BATCH);
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

/**
 * dmirror_device_empty() - bring every page back and give up all chunks
 * @device: the device
 * @must: at unload: neither a signal nor a lack of system RAM ends it
 *
 * Other calls may go on meanwhile. Pages that they move to the device come to
 * lie in a new chunk, once this is done.
 *
 * Return: 0; -EINTR on a fatal signal; -ENOMEM if there is no system RAM for
 * the pages. On an error the chunks not yet emptied stay in use.
 */
int dmirror_device_empty(struct dmirror_device *device, bool must)
{
	struct dmirror_chunk *chunk, *next;
	int ret = 0;

	if (must)
		mutex_lock(&device->resize_lock);
	else if (mutex_lock_killable(&device->resize_lock))
		return -EINTR;

	/* With resize_lock held the list changes only here. */
	list_for_each_entry(chunk, &device->chunks, list)
		dmirror_chunk_set_draining(chunk, true);

	list_for_each_entry_safe(chunk, next, &device->chunks, list) {
		ret = dmirror_chunk_empty(chunk, must);
		if (ret)
			break;
		dmirror_chunk_remove(chunk);
	}

	list_for_each_entry(chunk, &device->chunks, list)
		dmirror_chunk_set_draining(chunk, false);

	mutex_unlock(&device->resize_lock);
	return ret;
}
