// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Device pages: one by one, or 2 MiB at a time
 *
 * Of a chunk's struct pages this file says which are free, hands them out and
 * takes them back. A chunk consists of blocks as large as the memory under one
 * PMD entry (512 pages, 2 MiB on x86). A block that is wholly free can become
 * one huge folio. A single page is taken from a block that has lost pages
 * already, and only if there is none from a whole one, so that whole blocks
 * last. When all pages of a block are free again it is whole again. The page
 * that was freed last is the first to go out.
 *
 * A device page is born in dmirror_pages_alloc() or, a huge one, in huge.c, with
 * one reference, lives in page tables, and dies in dmirror_folio_free(),
 * which the kernel calls when the last reference goes: because the data moved
 * back, or because the process unmapped it or ended. Which file it was migrated
 * through does not matter, so closing a file leaves every page where it is.
 *
 * A real device would keep the data in its own memory. Here each device-private
 * folio that is in use has backing, as many ordinary pages of system RAM that
 * no page table shows, and zone_device_data of its first page leads to them.
 * For a device-coherent page it leads to the page itself.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>

#include "dmirror.h"

/* Rather fail the migration than have the OOM killer end a process. */
#define DMIRROR_BACKING_GFP	(GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

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
 * dmirror_page_is_on() - is this a page of that device?
 * @page: any page that cannot go away meanwhile
 * @device: the device
 *
 * Return: whether @page is a device page that @device owns.
 */
bool dmirror_page_is_on(struct page *page, const struct dmirror_device *device)
{
	if (!is_device_private_page(page) && !is_device_coherent_page(page))
		return false;
	return page_pgmap(page)->owner == device;
}

/**
 * dmirror_backing_page() - where are the data of a device page?
 * @page: a device page of this driver that is in use
 *
 * A device-private page has no address in the kernel's direct map. Whoever
 * wants the contents of a device page must come through here.
 *
 * Return: the page that holds the data.
 */
struct page *dmirror_backing_page(struct page *page)
{
	struct page *first = folio_page(page_folio(page), 0);

	return (struct page *)first->zone_device_data + (page - first);
}

/**
 * dmirror_fail_once() - is this the allocation that was asked to fail?
 * @device: the device
 *
 * Return: true once after each HMM_DMIRROR_FLAGS that asked for it.
 */
bool dmirror_fail_once(struct dmirror_device *device)
{
	return test_bit(DMIRROR_FAIL_ALLOC, &device->flags) &&
	       test_and_clear_bit(DMIRROR_FAIL_ALLOC, &device->flags);
}

/* Put a block into the list it belongs to now. Caller holds device->lock. */
static void dmirror_block_offer(struct dmirror_device *device,
				struct dmirror_block *block)
{
	if (block->chunk->draining || !block->nr_free)
		list_del_init(&block->list);
	else if (block->nr_free == DMIRROR_BLOCK_PAGES)
		list_move(&block->list, &device->whole_blocks);
	else
		list_move(&block->list, &device->broken_blocks);
}

/**
 * dmirror_chunk_offer() - begin or stop handing out the pages of a chunk
 * @chunk: the chunk
 * @offer: whether its free pages may be handed out
 *
 * Caller holds the device's lock.
 */
void dmirror_chunk_offer(struct dmirror_chunk *chunk, bool offer)
{
	unsigned long i;

	/* Each goes to the head of its list: the last one is the first to go. */
	chunk->draining = !offer;
	for (i = 0; i < chunk->npages / DMIRROR_BLOCK_PAGES; i++)
		dmirror_block_offer(chunk->device, &chunk->blocks[i]);
}

/**
 * dmirror_chunk_init_blocks() - make all pages of a new chunk free
 * @chunk: the chunk, which nobody else knows so far
 */
void dmirror_chunk_init_blocks(struct dmirror_chunk *chunk)
{
	unsigned long i, page;

	for (i = 0; i < chunk->npages / DMIRROR_BLOCK_PAGES; i++) {
		struct dmirror_block *block = &chunk->blocks[i];

		INIT_LIST_HEAD(&block->list);
		block->chunk = chunk;
		block->nr_free = DMIRROR_BLOCK_PAGES;
		for (page = 0; page < DMIRROR_BLOCK_PAGES; page++)
			block->free[page] = page;
	}
}

/**
 * dmirror_block_used() - which pages of a block are in use?
 * @block: the block
 * @used: DMIRROR_BLOCK_PAGES bits
 */
void dmirror_block_used(struct dmirror_block *block, unsigned long *used)
{
	struct dmirror_device *device = block->chunk->device;
	unsigned long i;

	bitmap_fill(used, DMIRROR_BLOCK_PAGES);
	spin_lock_irq(&device->lock);
	for (i = 0; i < block->nr_free; i++)
		__clear_bit(block->free[i], used);
	spin_unlock_irq(&device->lock);
}

/* A block with free pages, rather a broken one. Caller holds device->lock. */
static struct dmirror_block *dmirror_block_with_room(struct dmirror_device *device)
{
	return list_first_entry_or_null(&device->broken_blocks,
					struct dmirror_block, list) ?:
	       list_first_entry_or_null(&device->whole_blocks,
					struct dmirror_block, list);
}

/**
 * dmirror_device_has_room() - can a page be handed out?
 * @device: the device
 * @huge: a huge one
 *
 * Return: whether it can, at this moment.
 */
bool dmirror_device_has_room(struct dmirror_device *device, bool huge)
{
	bool room;

	spin_lock_irq(&device->lock);
	room = huge ? !list_empty(&device->whole_blocks) :
		      !!dmirror_block_with_room(device);
	spin_unlock_irq(&device->lock);
	return room;
}

/**
 * dmirror_pages_bulk() - take pages of system RAM, many at a time
 * @gfp: how to allocate
 * @pages: filled in from the start, then NULL
 * @n: how many are wanted
 *
 * The page allocator is entered once and not for each page. They come from the
 * nearest node: it asks for no memory policy.
 *
 * Return: how many there were.
 */
unsigned long dmirror_pages_bulk(gfp_t gfp, struct page **pages,
				 unsigned long n)
{
	unsigned long got, done = 0;

	/* One call may give fewer, and more the next time. */
	memset(pages, 0, n * sizeof(*pages));
	while (done < n) {
		got = alloc_pages_bulk(gfp, n, pages);
		if (got == done)
			break;
		done = got;
	}
	return done;
}

/*
 * Replace backing pages by device pages that lead to them, as long as there are
 * any; returns how many. Caller holds device->lock.
 */
static unsigned long dmirror_pages_take(struct dmirror_device *device,
					struct page **pages, unsigned long n)
{
	struct dmirror_block *block;
	unsigned long done = 0;

	while (done < n) {
		unsigned long pfn, take;

		block = dmirror_block_with_room(device);
		if (!block)
			break;

		pfn = dmirror_block_pfn(block);
		take = min_t(unsigned long, n - done, block->nr_free);
		block->chunk->used += take;
		while (take--) {
			struct page *page =
				pfn_to_page(pfn + block->free[--block->nr_free]);

			/* Data first: they must be there when it is found. */
			page->zone_device_data = pages[done] ?: page;
			pages[done++] = page;
		}
		dmirror_block_offer(device, block);
	}
	return done;
}

/**
 * dmirror_pages_alloc() - take free device pages
 * @device: the device
 * @pages: filled in from the start with device pages, each locked and with one
 *	reference, as the dst array of a migration wants them; then NULL
 * @n: how many are wanted; at most DMIRROR_BLOCK_PAGES
 *
 * Return: 0; -ENOSPC if all pages of all chunks are in use, then
 * dmirror_device_grow() helps; -ENOMEM if there is no system RAM for backing
 * pages, or if HMM_DMIRROR_FLAGS asked for it. On an error there may be fewer
 * pages than wanted, but those there are can be used.
 */
int dmirror_pages_alloc(struct dmirror_device *device, struct page **pages,
			unsigned long n)
{
	unsigned long i, backed = n, taken;

	memset(pages, 0, n * sizeof(*pages));
	if (!n)
		return 0;
	if (dmirror_fail_once(device))
		return -ENOMEM;
	if (device->type == MEMORY_DEVICE_PRIVATE)
		backed = dmirror_pages_bulk(DMIRROR_BACKING_GFP, pages, n);

	spin_lock_irq(&device->lock);
	taken = dmirror_pages_take(device, pages, backed);
	spin_unlock_irq(&device->lock);

	for (i = 0; i < taken; i++)
		dmirror_zone_device_init(pages[i],
					 &dmirror_page_chunk(pages[i])->pgmap, 0);
	for (; i < backed; i++) {
		if (pages[i])
			__free_page(pages[i]);
		pages[i] = NULL;
	}

	if (taken < backed)
		return -ENOSPC;
	return taken < n ? -ENOMEM : 0;
}

static void dmirror_backing_free(struct page *backing, unsigned long npages)
{
	if (npages == DMIRROR_BLOCK_PAGES) {
		__free_pages(backing, DMIRROR_HUGE_ORDER);
		return;
	}
	while (npages--)
		__free_page(backing++);
}

/**
 * dmirror_block_take() - take all pages of a block
 * @device: the device
 *
 * Return: a block that was wholly free, or NULL.
 */
struct dmirror_block *dmirror_block_take(struct dmirror_device *device)
{
	struct dmirror_block *block;

	spin_lock_irq(&device->lock);
	block = list_first_entry_or_null(&device->whole_blocks,
					 struct dmirror_block, list);
	if (block) {
		block->nr_free = 0;
		block->chunk->used += DMIRROR_BLOCK_PAGES;
		list_del_init(&block->list);
	}
	spin_unlock_irq(&device->lock);
	return block;
}

/**
 * dmirror_folio_free() - the last reference to a device folio is gone
 * @folio: the folio
 *
 * Called by the kernel, possibly with a page table lock held; for a
 * device-coherent page also by an interrupt, if a disk was the last to use it.
 */
void dmirror_folio_free(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	struct dmirror_chunk *chunk = dmirror_page_chunk(page);
	unsigned long offset = page_to_pfn(page) - dmirror_chunk_pfn(chunk);
	struct dmirror_block *block = &chunk->blocks[offset / DMIRROR_BLOCK_PAGES];
	struct dmirror_device *device = chunk->device;
	unsigned long i, npages = folio_nr_pages(folio);
	unsigned long irq_flags;

	if (device->type == MEMORY_DEVICE_PRIVATE)
		dmirror_backing_free(dmirror_backing_page(page), npages);

	spin_lock_irqsave(&device->lock, irq_flags);
	for (i = 0; i < npages; i++)
		block->free[block->nr_free++] = offset % DMIRROR_BLOCK_PAGES + i;
	chunk->used -= npages;
	dmirror_block_offer(device, block);
	spin_unlock_irqrestore(&device->lock, irq_flags);
}
