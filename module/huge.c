// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Huge pages: 512 pages in one step
 *
 * A huge page is mapped by one entry of the page table's second level (PMD).
 * Before Linux 6.19 it is split before a page of it can move to a device. From
 * then on, with MIGRATE_VMA_SELECT_COMPOUND, it moves as a whole if the range
 * covers it: one entry in src and one in dst, marked MIGRATE_PFN_COMPOUND,
 * stand for all 512 pages, and a PMD entry can be a device-private entry. An
 * address range that nobody has touched moves in the same way, as zeros.
 *
 * On the device a huge page takes a whole block (page.c), and 512 pages of
 * system RAM in one piece as backing. Only the first page's zone_device_data
 * leads there: the struct pages of the others hold what makes them one folio.
 *
 * What is huge may have to be split. If there is no room for it in one piece,
 * migrate.c has the kernel split it and moves single pages. If a single page of
 * it migrates, the kernel splits the device folio by itself and asks the driver
 * to divide what it keeps: from then on each page has its own share of the
 * backing and is freed on its own. Unmapping a part does not do that: all 512
 * pages stay in use until one of them migrates.
 *
 * A device-coherent device gets single pages only. migrate_vma_setup() of Linux
 * 7.3 takes a huge coherent page for one of system RAM, and brings none back.
 */
#include "dmirror.h"

/**
 * dmirror_batch_is_huge() - is the batch one huge page, to be moved as it is?
 * @batch: a batch after migrate_vma_setup()
 *
 * Return: whether it is.
 */
bool dmirror_batch_is_huge(const struct dmirror_batch *batch)
{
	return (batch->args.src[0] & MIGRATE_PFN_MIGRATE) &&
	       (batch->args.src[0] & MIGRATE_PFN_COMPOUND);
}

/* A whole block as one device page, locked, with one reference. */
static struct page *dmirror_huge_page_alloc(struct dmirror_device *device)
{
	struct dmirror_block *block;
	struct page *backing, *page;

	if (dmirror_fail_once(device))
		return ERR_PTR(-ENOMEM);

	/* Not __GFP_COMP: so it can be divided, see dmirror_backing_split(). */
	backing = alloc_pages(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN,
			      DMIRROR_HUGE_ORDER);
	if (!backing)
		return ERR_PTR(-ENOMEM);

	block = dmirror_block_take(device);
	if (!block) {
		__free_pages(backing, DMIRROR_HUGE_ORDER);
		return ERR_PTR(-ENOSPC);
	}

	page = pfn_to_page(dmirror_block_pfn(block));
	page->zone_device_data = backing;
	dmirror_zone_device_init(page, &block->chunk->pgmap, DMIRROR_HUGE_ORDER);
	return page;
}

/**
 * dmirror_send_huge() - find a device page for a huge page, and copy
 * @device: a device-private device
 * @batch: a batch that is one huge page of system RAM
 *
 * Return: 0; -ENOSPC if no block is free, then dmirror_device_grow() helps;
 * -ENOMEM if there is no system RAM in one piece for the backing.
 */
int dmirror_send_huge(struct dmirror_device *device,
		      struct dmirror_batch *batch)
{
	struct page *to = dmirror_huge_page_alloc(device);

	if (IS_ERR(to))
		return PTR_ERR(to);

	dmirror_copy_to_device(device, batch->args.start, to,
			       migrate_pfn_to_page(batch->args.src[0]),
			       DMIRROR_BLOCK_PAGES);
	batch->args.dst[0] = migrate_pfn(page_to_pfn(to)) | MIGRATE_PFN_COMPOUND;
	return 0;
}

/**
 * dmirror_fetch_huge() - find system RAM for a huge device page, and copy
 * @device: the device
 * @batch: a batch that is one huge device page
 *
 * Return: 0; -EAGAIN if there is no system RAM in one piece, so that the page
 * will be split; -ENOMEM if there is none at all.
 */
int dmirror_fetch_huge(struct dmirror_device *device,
		       struct dmirror_batch *batch)
{
	struct migrate_vma *args = &batch->args;
	struct page *from = migrate_pfn_to_page(args->src[0]);
	struct page *to = NULL;

	/* Addresses that nobody has touched are marked, too. */
	if (!from)
		return 0;

	if (!dmirror_fail_once(device))
		to = dmirror_vma_alloc_huge(args->vma, args->start);
	if (to) {
		lock_page(to);
		dmirror_copy_to_system(device, args->start, to, from,
				       DMIRROR_BLOCK_PAGES);
		args->dst[0] = migrate_pfn(page_to_pfn(to)) |
			       MIGRATE_PFN_COMPOUND;
		return 0;
	}

	/*
	 * A single page in place of a huge one makes the kernel split that, or
	 * at least its entry in the page table. The next attempt will find
	 * single pages.
	 */
	to = alloc_page_vma(GFP_HIGHUSER_MOVABLE, args->vma, args->start);
	if (!to)
		return -ENOMEM;
	lock_page(to);
	dmirror_copy_to_system(device, args->start, to, from, 1);
	args->dst[0] = migrate_pfn(page_to_pfn(to));
	return -EAGAIN;
}

/**
 * dmirror_backing_split() - the kernel splits a huge device folio into pages
 * @head: its first page, a folio of one page from now on
 * @tail: another page, which becomes a folio of its own; NULL in the last call,
 *	after one for each of the others
 *
 * Called with interrupts off, while nobody can find the pages.
 */
void dmirror_backing_split(struct folio *head, struct folio *tail)
{
	struct page *backing = folio_page(head, 0)->zone_device_data;

	if (tail)
		folio_page(tail, 0)->zone_device_data =
			backing + (folio_pfn(tail) - folio_pfn(head));
	else
		split_page(backing, DMIRROR_HUGE_ORDER);
}
