// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Copy: the one step of a migration that is the driver's own
 *
 * A real device has an engine that copies between its memory and system RAM.
 * Here the CPU copies to and from the backing of a device page (page.c).
 *
 * With the module's parameter verify, each page is compared with its copy, and
 * the result and the first bytes go to the kernel's log.
 */
#include <linux/ctype.h>
#include <linux/highmem.h>
#include <linux/moduleparam.h>
#include <linux/ratelimit.h>

#include "dmirror.h"

#define DMIRROR_VERIFY_BYTES	32	/* how much of a page verify shows */

static bool dmirror_verify;
module_param_named(verify, dmirror_verify, bool, 0644);
MODULE_PARM_DESC(verify, "compare each page with its copy and report (default: no)");

/* Say whether two pages are the same, and how they begin. */
static void dmirror_verify_page(struct dmirror_device *device,
				unsigned long addr, const char *which,
				struct page *to, struct page *from)
{
	const u8 *new = kmap_local_page(to);
	const u8 *old = kmap_local_page(from);
	char text[DMIRROR_VERIFY_BYTES + 1];
	unsigned int i;

	for (i = 0; i < DMIRROR_VERIFY_BYTES && new[i]; i++)
		text[i] = isascii(new[i]) && isprint(new[i]) ? new[i] : '.';
	text[i] = '\0';

	for (i = 0; i < PAGE_SIZE && new[i] == old[i]; i++)
		;
	if (i == PAGE_SIZE)
		pr_info_ratelimited("%s: verify 0x%lx: %s are equal, first bytes \"%s\"\n",
				    device->name, addr, which, text);
	else
		pr_err_ratelimited("%s: verify 0x%lx: %s differ at byte %u\n",
				   device->name, addr, which, i);

	kunmap_local(old);
	kunmap_local(new);
}

/* Copy the data of pages, or zeros if there is no page to copy from. */
static void dmirror_copy(struct dmirror_device *device, unsigned long addr,
			 const char *which, struct page *to, struct page *from,
			 unsigned long npages)
{
	for (; npages--; addr += PAGE_SIZE, to++) {
		if (from)
			copy_highpage(to, from);
		else
			clear_highpage(to);
		if (dmirror_verify)
			dmirror_verify_page(device, addr, which, to,
					    from ?: ZERO_PAGE(addr));
		if (from)
			from++;
	}
}

/**
 * dmirror_copy_to_device() - copy the data of pages to the device
 * @device: the device
 * @addr: their address in the process
 * @to: device page, or the first of a huge one
 * @from: page of system RAM, or NULL if nobody has touched it so far
 * @npages: number of pages
 */
void dmirror_copy_to_device(struct dmirror_device *device, unsigned long addr,
			    struct page *to, struct page *from,
			    unsigned long npages)
{
	dmirror_copy(device, addr, "source page and device page",
		     dmirror_backing_page(to), from, npages);
}

/**
 * dmirror_copy_to_system() - copy the data of device pages to system RAM
 * @device: the device
 * @addr: their address in the process
 * @to: page of system RAM, or the first of several in one piece
 * @from: device page, or the first of a huge one
 * @npages: number of pages
 */
void dmirror_copy_to_system(struct dmirror_device *device, unsigned long addr,
			    struct page *to, struct page *from,
			    unsigned long npages)
{
	dmirror_copy(device, addr, "device page and system page", to,
		     dmirror_backing_page(from), npages);
}
