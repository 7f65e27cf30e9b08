/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that differs between the kernels this module builds on, 6.1 to
 * 7.3, is here and nowhere else. The HAVE_ macros come from Kbuild, which looks
 * at the kernel's headers. Each entry gives the new name to an old kernel and
 * cites the upstream commit that made the difference and the first release
 * with it.
 */
#ifndef _DMIRROR_COMPAT_H
#define _DMIRROR_COMPAT_H

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/hmm.h>
#include <linux/kconfig.h>
#include <linux/memremap.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/rmap.h>
#include <linux/sched.h>

#if !IS_ENABLED(CONFIG_DEVICE_PRIVATE)
#error "this kernel has no CONFIG_DEVICE_PRIVATE, so it cannot hold device-private pages"
#endif

#if !IS_ENABLED(CONFIG_HMM_MIRROR)
#error "this kernel has no CONFIG_HMM_MIRROR, so it has no hmm_range_fault()"
#endif

/*
 * kzalloc_obj() takes the object and not its size.
 * "slab: Introduce kmalloc_obj() and family", v7.0.
 */
#ifndef HAVE_KZALLOC_OBJ
#define kzalloc_obj(object, flags)	kzalloc(sizeof(object), flags)
#endif

/*
 * page_pgmap() replaces page->pgmap.
 * "mm: allow compound zone device pages", v6.15.
 */
#ifndef HAVE_PAGE_PGMAP
static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}
#endif

/*
 * The callback for a device page whose last reference is gone takes a folio.
 * "mm/zone_device: rename page_free callback to folio_free", v6.19.
 */
void dmirror_folio_free(struct folio *folio);

#ifdef HAVE_FOLIO_FREE
#define DMIRROR_FREE_OP		.folio_free = dmirror_folio_free
#else
/* Not inline: a trace of function calls is to show it. */
static void __maybe_unused dmirror_page_free(struct page *page)
{
	dmirror_folio_free(page_folio(page));
}

#define DMIRROR_FREE_OP		.page_free = dmirror_page_free
#endif

/*
 * The order of a PMD-sized folio, whether or not the kernel has transparent
 * huge pages. A kernel without MIGRATE_PFN_COMPOUND splits them before a driver
 * sees them: there the names below select nothing, and the compiler drops the
 * code that asks for them.
 * "mm/migrate_device: implement THP migration of zone device pages", v6.19.
 */
#define DMIRROR_HUGE_ORDER	(PMD_SHIFT - PAGE_SHIFT)

#ifdef MIGRATE_PFN_COMPOUND
#define DMIRROR_SELECT_HUGE	MIGRATE_VMA_SELECT_COMPOUND
#else
#define DMIRROR_SELECT_HUGE	0
#define MIGRATE_PFN_COMPOUND	0
#endif

/*
 * The callback for a device folio that the kernel splits.
 * "mm/memremap: add driver callback support for folio splitting", v6.19.
 */
#ifdef HAVE_FOLIO_SPLIT
void dmirror_backing_split(struct folio *head, struct folio *tail);

static void __maybe_unused dmirror_folio_split(struct folio *head,
					       struct folio *tail)
{
	/* The mark of a tail page was where the pagemap has to be. */
	if (tail)
		tail->pgmap = head->pgmap;
	dmirror_backing_split(head, tail);
}

#define DMIRROR_SPLIT_OP	.folio_split = dmirror_folio_split,
#else
#define DMIRROR_SPLIT_OP
#endif

/*
 * zone_device_page_init() takes the pagemap and the order of the folio. Before,
 * it took the pagemap from the page, and every folio was one page.
 * "mm/zone_device: reinitialize large zone device private folios", v6.19.
 */
static inline void dmirror_zone_device_init(struct page *page,
					    struct dev_pagemap *pgmap,
					    unsigned int order)
{
#ifdef HAVE_PAGE_INIT_ORDER
	/* Not page_folio(): it may bear the mark of a folio long gone. */
	zone_device_folio_init((struct folio *)page, pgmap, order);
#else
	zone_device_page_init(page);
#endif
}

/*
 * vma_alloc_folio() lost an argument on the way to the first kernel that needs
 * it here.
 * "mm: remove unused hugepage for vma_alloc_folio()", v6.13.
 */
static inline struct page *dmirror_vma_alloc_huge(struct vm_area_struct *vma,
						  unsigned long addr)
{
#if MIGRATE_PFN_COMPOUND
	struct folio *folio = vma_alloc_folio(GFP_TRANSHUGE | __GFP_NORETRY,
					      DMIRROR_HUGE_ORDER, vma, addr);

	return folio ? folio_page(folio, 0) : NULL;
#else
	return NULL;
#endif
}

/*
 * alloc_pages_bulk() had a longer name.
 * "mm: alloc_pages_bulk: rename API", v6.14.
 */
#ifndef alloc_pages_bulk
#define alloc_pages_bulk	alloc_pages_bulk_array
#endif

/*
 * Has anybody said from which NUMA node the memory is to come? A kernel without
 * CONFIG_NUMA cannot be told.
 */
static inline bool dmirror_has_mempolicy(const struct vm_area_struct *vma)
{
#ifdef CONFIG_NUMA
	return vma_policy(vma) || current->mempolicy;
#else
	return false;
#endif
}

/*
 * migrate_device_pfns() takes a list of device pages, not a range.
 * "mm/migrate: Add migrate_device_pfns", v6.15.
 */
#ifndef HAVE_MIGRATE_DEVICE_PFNS
static inline int migrate_device_pfns(unsigned long *src_pfns,
				      unsigned long npages)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		migrate_device_range(&src_pfns[i], src_pfns[i], 1);
	return 0;
}
#endif

/*
 * make_device_exclusive() takes one page, also one inside a huge page. The
 * older function skips these, so a huge page has to be split before.
 * "mm/rmap: convert make_device_exclusive_range() to make_device_exclusive()",
 * v6.15.
 */
#ifdef HAVE_MAKE_DEVICE_EXCLUSIVE
#define DMIRROR_EXCLUSIVE_IN_HUGE	true
#else
#define DMIRROR_EXCLUSIVE_IN_HUGE	false

static inline struct page *make_device_exclusive(struct mm_struct *mm,
						 unsigned long addr,
						 void *owner,
						 struct folio **foliop)
{
	struct page *page = NULL;
	int found;

	found = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page,
					    owner);
	if (found < 0)
		return ERR_PTR(found);
	if (!page)
		return ERR_PTR(-EBUSY);
	*foliop = page_folio(page);
	return page;
}
#endif

/*
 * hmm_range_fault_unlocked_timeout() appears. Series "mm/hmm: Add mmap lock-drop
 * support for userfaultfd-backed mappings", v7.3.
 */
#ifdef HAVE_HMM_UNLOCKED
#define DMIRROR_ASKS_UNLOCKED	true
#else
#define DMIRROR_ASKS_UNLOCKED	false

static inline int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
						   unsigned long timeout)
{
	return -EINVAL;
}
#endif

#endif /* _DMIRROR_COMPAT_H */
