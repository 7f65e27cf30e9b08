// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Coherent: device memory that the CPU can reach
 *
 * On some machines (CXL, the links of the large GPUs) the CPU can load and
 * store in the memory of a device. Such memory is MEMORY_DEVICE_COHERENT. A
 * page in it is mapped like any other: the CPU's touch is no fault, the data
 * are in the page itself, and there is no backing page. All else is as with
 * device-private memory. The driver decides who moves there and when, and the
 * page comes back by migration only: through the ioctl, when the chunk is given
 * up, or when the kernel needs it in ordinary memory, because it is pinned for
 * long.
 *
 * This driver has no such device and takes RAM for one. The machine has to set
 * it aside at boot, with memmap=512M$0x20000000 on the kernel's command line
 * for instance, and the module's parameters spm_addr_dev0 and spm_addr_dev1 say
 * where it is ("spm": special purpose memory). Each of two further devices gets
 * 256 MiB, and that is all: when it is full a migration fails with -ENOMEM.
 *
 * Device pages in memory that somebody else uses would destroy what is there.
 * So the module loads only if both ranges are RAM that the firmware's map, or
 * memmap=, has reserved, and if nobody has claimed them.
 */
#include <linux/ioport.h>
#include <linux/moduleparam.h>

#include "dmirror.h"

static unsigned long dmirror_spm_addr[DMIRROR_COHERENT_DEVICES];
module_param_named(spm_addr_dev0, dmirror_spm_addr[0], ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev0, "physical address of 256 MiB of reserved RAM for the first device-coherent device (default: no such device)");
module_param_named(spm_addr_dev1, dmirror_spm_addr[1], ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev1, "the same for the second; needs spm_addr_dev0");

static int dmirror_coherent_check_one(unsigned int nr)
{
	unsigned long start = dmirror_spm_addr[nr];

	if (!IS_ALIGNED(start, DMIRROR_BLOCK_SIZE)) {
		pr_err("hmm_dmirror: spm_addr_dev%u=0x%lx is not a multiple of %lu MB\n",
		       nr, start, DMIRROR_BLOCK_SIZE / SZ_1M);
		return -EINVAL;
	}
	if (region_intersects(start, DMIRROR_COHERENT_SIZE, IORESOURCE_MEM,
			      IORES_DESC_RESERVED) != REGION_INTERSECTS) {
		pr_err("hmm_dmirror: spm_addr_dev%u=0x%lx: the %u MB from there are not reserved memory: boot with memmap=%uM$0x%lx\n",
		       nr, start, DMIRROR_COHERENT_SIZE / SZ_1M,
		       DMIRROR_COHERENT_SIZE / SZ_1M, start);
		return -EINVAL;
	}
	return 0;
}

/**
 * dmirror_coherent_count() - how many device-coherent devices there are to be
 *
 * Called once, when the module is loaded.
 *
 * Return: 0 if the parameters were not given, else
 * %DMIRROR_COHERENT_DEVICES; -EINVAL, after saying why, if one alone is given
 * or the memory that they name cannot be used.
 */
int dmirror_coherent_count(void)
{
	unsigned long first = dmirror_spm_addr[0];
	unsigned long second = dmirror_spm_addr[1];
	unsigned int nr;
	int ret = 0;

	if (!first && !second)
		return 0;

	if (!first || !second) {
		pr_err("hmm_dmirror: give both spm_addr_dev0 and spm_addr_dev1, or neither\n");
		return -EINVAL;
	}
	if (max(first, second) - min(first, second) < DMIRROR_COHERENT_SIZE) {
		pr_err("hmm_dmirror: spm_addr_dev0=0x%lx and spm_addr_dev1=0x%lx overlap: each is %u MB long\n",
		       first, second, DMIRROR_COHERENT_SIZE / SZ_1M);
		return -EINVAL;
	}

	for (nr = 0; !ret && nr < DMIRROR_COHERENT_DEVICES; nr++)
		ret = dmirror_coherent_check_one(nr);
	return ret ?: DMIRROR_COHERENT_DEVICES;
}

/**
 * dmirror_coherent_start() - where the memory of a device-coherent device is
 * @nr: 0 or 1
 *
 * Return: its physical address.
 */
phys_addr_t dmirror_coherent_start(unsigned int nr)
{
	return dmirror_spm_addr[nr];
}
