// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Fault: the CPU touches a page that is on the device
 *
 * While a page is on the device, the page table of the process holds a special
 * swap entry instead: not present, with a swap type that says "device" and the
 * PFN of the device page as the offset. So a touch by the CPU is a page fault,
 * and the way to the driver leads through do_swap_page(), though nothing was
 * ever swapped out. There the kernel takes a reference to the device page and
 * calls migrate_to_ram() of the page's pagemap. This file is that function.
 *
 * It runs with mmap_lock held for reading, and must bring back the one page at
 * the faulting address. It does so by the same steps as the ioctl, see
 * migrate.c. The only difference is fault_page: it tells migrate_vma_setup()
 * that the additional reference to this page is the fault's own and not
 * somebody's pin.
 *
 * The pages behind it may come along for less than half of the price, since the
 * rest of it is the way here. But who touches one page need not touch the next.
 * So the driver does as read-ahead does: a fault brings one page, and if the
 * next fault is where that one ended it brings twice as many, up to the module's
 * parameter fault_pages. A fault anywhere else begins with one page again. Some
 * places are remembered, so that two threads in two places do not spoil it for
 * each other.
 *
 * For a huge page the way leads through do_huge_pmd_device_private(), there is
 * no page table entry (vmf->pte is NULL), and the whole of it comes back. If
 * there is no huge page of system RAM its page table entry is split, and the
 * next fault is for a single page.
 *
 * When it returns 0 the CPU tries again, and finds the page, or faults again if
 * it could not be moved this time because somebody else was about to. No memory
 * ends in VM_FAULT_OOM. VM_FAULT_SIGBUS would mean that the mapping is of a
 * kind that holds no device pages.
 *
 * The device page itself is freed last, when do_swap_page() drops its
 * reference.
 */
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "dmirror.h"
#include "trace.h"

static unsigned int dmirror_fault_pages = 64;
module_param_named(fault_pages, dmirror_fault_pages, uint, 0444);
MODULE_PARM_DESC(fault_pages, "most pages brought back per CPU fault while faults follow each other, a power of two from 1 to 512 (default: 64)");

/**
 * dmirror_fault_check() - is the parameter of this file good?
 *
 * Called once, when the module is loaded.
 *
 * Return: 0, or -EINVAL after saying why not.
 */
int dmirror_fault_check(void)
{
	if (is_power_of_2(dmirror_fault_pages) &&
	    dmirror_fault_pages <= DMIRROR_BLOCK_PAGES)
		return 0;

	pr_err("hmm_dmirror: fault_pages=%u: must be a power of two from 1 to %lu\n",
	       dmirror_fault_pages, DMIRROR_BLOCK_PAGES);
	return -EINVAL;
}

/* The stream of faults that is expected at vmf, or a new one for it. */
static struct dmirror_stream *dmirror_stream_at(struct dmirror_device *device,
						const struct vm_fault *vmf)
{
	const struct mm_struct *mm = vmf->vma->vm_mm;
	struct dmirror_stream *stream;

	for (stream = device->streams;
	     stream < device->streams + DMIRROR_STREAMS; stream++)
		if (stream->next == vmf->address && stream->mm == mm)
			return stream;

	stream = &device->streams[device->next_stream++ % DMIRROR_STREAMS];
	stream->mm = mm;
	stream->npages = 0;
	return stream;
}

/* How many pages this fault is to bring: of one mapping and one page table. */
static unsigned long dmirror_fault_window(struct dmirror_device *device,
					  const struct vm_fault *vmf)
{
	unsigned long most = min(ALIGN(vmf->address + 1, DMIRROR_BLOCK_SIZE),
				 vmf->vma->vm_end) - vmf->address;
	struct dmirror_stream *stream;
	unsigned long npages;

	if (!vmf->pte)
		return DMIRROR_BLOCK_PAGES;
	if (dmirror_fault_pages == 1)
		return 1;

	spin_lock_irq(&device->lock);
	stream = dmirror_stream_at(device, vmf);
	npages = min3(stream->npages ? 2 * stream->npages : 1,
		      (unsigned long)dmirror_fault_pages, most >> PAGE_SHIFT);
	stream->npages = npages;
	stream->next = vmf->address + npages * PAGE_SIZE;
	spin_unlock_irq(&device->lock);
	return npages;
}

/* Bring back npages pages from the fault on, or the huge page around it. */
static int dmirror_fault_fetch(struct vm_fault *vmf, unsigned long npages,
			       struct dmirror_batch *batch)
{
	unsigned long start = vmf->address;
	struct vm_area_struct *vma = vmf->vma;

	if (!vmf->pte)
		start = ALIGN_DOWN(start, DMIRROR_BLOCK_SIZE);
	batch->args.vma = vma;
	batch->args.start = max(start, vma->vm_start);
	batch->args.end = min(start + npages * PAGE_SIZE, vma->vm_end);
	batch->args.fault_page = vmf->page;
	batch->huge = !vmf->pte;
	return dmirror_bring_back(dmirror_page_device(vmf->page), batch);
}

/**
 * dmirror_migrate_to_ram() - bring back the page that the CPU touches
 * @vmf: the fault; vmf->page is the device page
 *
 * Return: 0, VM_FAULT_OOM or VM_FAULT_SIGBUS.
 */
vm_fault_t dmirror_migrate_to_ram(struct vm_fault *vmf)
{
	struct dmirror_device *device = dmirror_page_device(vmf->page);
	unsigned long npages = dmirror_fault_window(device, vmf);
	struct dmirror_batch batch;
	vm_fault_t ret = 0;
	int err;

	if (dmirror_batch_begin(&batch, npages, GFP_KERNEL))
		return VM_FAULT_OOM;

	err = dmirror_fault_fetch(vmf, npages, &batch);
	/* The neighbours were a favour, this one page is a duty. */
	if (err == -ENOMEM && vmf->pte && npages > 1)
		err = dmirror_fault_fetch(vmf, 1, &batch);

	if (err == -ENOMEM)
		ret = VM_FAULT_OOM;
	else if (err && err != -EAGAIN)
		ret = VM_FAULT_SIGBUS;

	dmirror_count(device, DMIRROR_FAULTS, 1);
	dmirror_count(device, DMIRROR_PAGES_BACK_BY_FAULT, batch.moved);
	trace_dmirror_fault(device, vmf->address, batch.moved, err);
	pr_debug("%s: CPU fault at 0x%lx: %lu %s back, returns %u\n",
		 device->name, vmf->address, batch.moved,
		 batch.moved == 1 ? "page" : "pages",
		 (__force unsigned int)ret);
	dmirror_batch_end(&batch);
	return ret;
}
