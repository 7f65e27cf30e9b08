/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's page table: what an entry says, and what a table of entries is.
 */
#ifndef _DMIRROR_TABLE_H
#define _DMIRROR_TABLE_H

#include "dmirror.h"

/*
 * An entry of the device's page table: the PFN and a few bits.
 */
#define DMIRROR_PTE_PRESENT	BIT(0)	/* in every entry */
#define DMIRROR_PTE_WRITE	BIT(1)	/* the device may write */
#define DMIRROR_PTE_DEVICE	BIT(2)	/* the page is on this device */
#define DMIRROR_PTE_EXCLUSIVE	BIT(3)	/* and the CPU may not touch it */
#define DMIRROR_PTE_SHIFT	4

static inline unsigned long dmirror_pte(const struct page *page,
					unsigned long bits)
{
	return page_to_pfn(page) << DMIRROR_PTE_SHIFT | DMIRROR_PTE_PRESENT |
	       bits;
}

static inline bool dmirror_pte_allows(unsigned long pte, unsigned long need)
{
	return (pte & need) == need;
}

/**
 * struct dmirror_table - the device's page table for one block of addresses
 * @block: number of the block: which addresses
 * @used: how many of the entries are set
 * @entries: a page of them, DMIRROR_BLOCK_PAGES; 0 is none
 *
 * @used and @entries are protected by dmirror.mutex.
 */
struct dmirror_table {
	unsigned long block;
	unsigned int used;
	unsigned long *entries;
};

/* Which entry of a table is that of addr. */
static inline unsigned long dmirror_table_index(unsigned long addr)
{
	return addr / PAGE_SIZE % DMIRROR_BLOCK_PAGES;
}

/* Which entries of a table belong to a range that begins at addr ... */
static inline unsigned long dmirror_table_first(const struct dmirror_table *table,
						unsigned long addr)
{
	return addr / DMIRROR_BLOCK_SIZE == table->block ?
	       dmirror_table_index(addr) : 0;
}

/* ... and ends with addr. */
static inline unsigned long dmirror_table_last(const struct dmirror_table *table,
					       unsigned long addr)
{
	return addr / DMIRROR_BLOCK_SIZE == table->block ?
	       dmirror_table_index(addr) : DMIRROR_BLOCK_PAGES - 1;
}

/* Caller holds dmirror->mutex. */
static inline void dmirror_table_set(struct dmirror_table *table,
				     unsigned long addr, unsigned long pte)
{
	unsigned long *entry = &table->entries[dmirror_table_index(addr)];

	if (!*entry)
		table->used++;
	*entry = pte;
}

/*
 * The same for what HMM reported. An entry that is exclusive has been made since
 * HMM looked, by another thread, and says all that pte says and more: keep it.
 */
static inline void dmirror_table_add(struct dmirror_table *table,
				     unsigned long addr, unsigned long pte)
{
	unsigned long old = table->entries[dmirror_table_index(addr)];

	if (!dmirror_pte_allows(old, DMIRROR_PTE_EXCLUSIVE))
		dmirror_table_set(table, addr, pte);
}

#endif /* _DMIRROR_TABLE_H */
