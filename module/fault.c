// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Fault: the CPU touches a page that is on the device
 *
 * While a page is on the device, the page table of the process holds a special
 * swap entry instead: not present, with a swap type that says "device" and the
 * PFN of the device page as the offset. So a touch by the CPU is a page fault,
 * and the way to the driver leads through do_swap_page(), though nothing was
 * ever swapped out. There the kernel takes a reference to the device page and
 * calls migrate_to_ram() of the page's pagemap, which is the one function of
 * this file.
 *
 * It runs with mmap_lock held for reading, and must bring back the one page at
 * the faulting address. It does so by the same steps as the ioctl, see
 * migrate.c. The only difference is fault_page: it tells migrate_vma_setup()
 * that the additional reference to this page is the fault's own and not
 * somebody's pin.
 *
 * When it returns 0 the CPU tries again, and finds the page, or faults again if
 * it could not be moved this time because somebody else was about to. No memory
 * ends in VM_FAULT_OOM. VM_FAULT_SIGBUS would mean that the mapping is of a
 * kind that holds no device pages.
 *
 * The device page itself is freed last, when do_swap_page() drops its
 * reference.
 */
#include "dmirror.h"

/**
 * dmirror_migrate_to_ram() - bring back the page that the CPU touches
 * @vmf: the fault; vmf->page is the device page
 *
 * Return: 0, VM_FAULT_OOM or VM_FAULT_SIGBUS.
 */
vm_fault_t dmirror_migrate_to_ram(struct vm_fault *vmf)
{
	struct dmirror_device *device = dmirror_page_device(vmf->page);
	unsigned long src = 0, dst = 0, moved = 0;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = vmf->address,
		.end = vmf->address + PAGE_SIZE,
		.src = &src,
		.dst = &dst,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = 0;
	int err;

	err = dmirror_bring_back(device, &args, &moved);
	if (err == -ENOMEM)
		ret = VM_FAULT_OOM;
	else if (err)
		ret = VM_FAULT_SIGBUS;

	pr_debug("%s: CPU fault at 0x%lx: %lu %s back, returns %u\n",
		 device->name, vmf->address, moved,
		 moved == 1 ? "page" : "pages", (__force unsigned int)ret);
	return ret;
}
