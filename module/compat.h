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

#include <linux/kconfig.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>

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
#ifdef HAVE_FOLIO_FREE
#define DMIRROR_FREE_OP		.folio_free = dmirror_folio_free
#else
void dmirror_folio_free(struct folio *folio);

static inline void dmirror_page_free(struct page *page)
{
	dmirror_folio_free(page_folio(page));
}

#define DMIRROR_FREE_OP		.page_free = dmirror_page_free
#endif

/*
 * zone_device_page_init() takes the pagemap and the order of the folio.
 * "mm/zone_device: reinitialize large zone device private folios", v6.19.
 */
static inline void dmirror_zone_device_page_init(struct page *page)
{
#ifdef HAVE_PAGE_INIT_ORDER
	zone_device_page_init(page, page_pgmap(page), 0);
#else
	zone_device_page_init(page);
#endif
}

#endif /* _DMIRROR_COMPAT_H */
