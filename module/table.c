// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Table: the device's page table
 *
 * A page table has an entry for each page and none for most, so it has levels.
 * This one has two. An XArray leads from the number of a block of addresses
 * (2 MiB, as much as one page table of the CPU maps) to a table, and the table
 * has the entries of the block's pages, side by side. Whoever works through a
 * range looks up a table once and then goes from entry to entry.
 *
 * A table counts the entries that are set. When it has lost its last it is kept
 * until the next one has: it may be needed again soon. So a program that
 * touches a page here and there and unmaps it does not leave a trail.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dmirror.h"
#include "table.h"

/* The notifier takes the mutex in reclaim: do not wait for that under it. */
#define DMIRROR_TABLE_GFP	(GFP_ATOMIC | __GFP_NOWARN)

static struct dmirror_table *dmirror_table_new(struct dmirror *dmirror,
					       unsigned long block)
{
	struct dmirror_table *table;
	unsigned long entries;

	entries = get_zeroed_page(DMIRROR_TABLE_GFP | __GFP_ACCOUNT);
	if (!entries)
		return NULL;
	table = kzalloc_obj(*table, DMIRROR_TABLE_GFP | __GFP_ACCOUNT);
	if (!table)
		goto err_entries;

	table->block = block;
	table->entries = (unsigned long *)entries;
	if (xa_err(xa_store(&dmirror->page_table, block, table,
			    DMIRROR_TABLE_GFP)))
		goto err_table;
	return table;

err_table:
	kfree(table);
err_entries:
	free_page(entries);
	return NULL;
}

/**
 * dmirror_table_get() - the table for an address, made if there is none
 * @dmirror: the open file, with its mutex held
 * @addr: the address
 *
 * The caller sets an entry of it before it lets go of the mutex: an empty table
 * would stay.
 *
 * Return: the table, or NULL if there is no memory for it.
 */
struct dmirror_table *dmirror_table_get(struct dmirror *dmirror,
					unsigned long addr)
{
	unsigned long block = addr / DMIRROR_BLOCK_SIZE;

	return xa_load(&dmirror->page_table, block) ?:
	       dmirror_table_new(dmirror, block);
}

/**
 * dmirror_table_find() - where the entry for an address is
 * @dmirror: the open file, with its mutex held
 * @addr: the address
 *
 * Return: the entry, with those of the following pages behind it as far as the
 * block goes; NULL if none of the block is set.
 */
const unsigned long *dmirror_table_find(struct dmirror *dmirror,
					unsigned long addr)
{
	struct dmirror_table *table = xa_load(&dmirror->page_table,
					      addr / DMIRROR_BLOCK_SIZE);

	return table ? &table->entries[dmirror_table_index(addr)] : NULL;
}

/* A table has lost its last entry: keep this one, and no other such. */
static void dmirror_table_emptied(struct dmirror *dmirror,
				  struct dmirror_table *table)
{
	struct dmirror_table *old = dmirror->empty;

	dmirror->empty = table;
	if (!old || old->used)
		return;
	xa_erase(&dmirror->page_table, old->block);
	free_page((unsigned long)old->entries);
	kfree(old);
}

/* Clear the entries of a table that belong to a range. */
static void dmirror_table_clear(struct dmirror_table *table,
				unsigned long start, unsigned long last)
{
	unsigned long i = dmirror_table_first(table, start);
	unsigned long end = dmirror_table_last(table, last) + 1;

	if (table->used && end - i == DMIRROR_BLOCK_PAGES) {
		clear_page(table->entries);
		table->used = 0;
	}
	for (; table->used && i < end; i++) {
		table->used -= !!table->entries[i];
		table->entries[i] = 0;
	}
}

/**
 * dmirror_table_forget() - clear the entries of a range
 * @dmirror: the open file, with its mutex held
 * @start: first address
 * @last: last address
 * @atomic: do not sleep
 */
void dmirror_table_forget(struct dmirror *dmirror, unsigned long start,
			  unsigned long last, bool atomic)
{
	XA_STATE(xas, &dmirror->page_table, start / DMIRROR_BLOCK_SIZE);
	struct dmirror_table *table;

	xas_lock(&xas);
	xas_for_each(&xas, table, last / DMIRROR_BLOCK_SIZE) {
		dmirror_table_clear(table, start, last);
		if (table->used || table == dmirror->empty)
			continue;

		xas_pause(&xas);
		xas_unlock(&xas);
		dmirror_table_emptied(dmirror, table);
		if (!atomic)
			cond_resched();
		xas_lock(&xas);
	}
	xas_unlock(&xas);
}

/**
 * dmirror_table_end() - give up all tables
 * @dmirror: an open file that is being closed and has no notifier any more
 */
void dmirror_table_end(struct dmirror *dmirror)
{
	mutex_lock(&dmirror->mutex);
	dmirror_table_forget(dmirror, 0, ULONG_MAX, false);
	dmirror_table_emptied(dmirror, NULL);
	mutex_unlock(&dmirror->mutex);
}
