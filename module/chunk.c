// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Chunks: struct pages for memory the CPU cannot touch
 *
 * The kernel can move a page to a device only if the device's memory has
 * struct pages. memremap_pages() makes them: given a range of physical
 * addresses that nothing else uses, it adds 64 bytes of system RAM for every
 * 4 KiB of device memory and puts these struct pages into ZONE_DEVICE. For
 * MEMORY_DEVICE_PRIVATE the addresses lead nowhere; they only give each page a
 * PFN, which is what a page table entry can hold. For MEMORY_DEVICE_COHERENT
 * they lead to memory, see coherent.c.
 *
 * This driver adds such ranges in chunks: one when a device is set up, more
 * when it runs out, and gives them back on HMM_DMIRROR_RELEASE and when the
 * module is unloaded (evict.c). How large a chunk is (256 MiB if not told
 * otherwise) and where a device-private device stops growing are parameters of
 * the module. What becomes of the single pages is in page.c.
 */
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "dmirror.h"
#include "trace.h"

#define DMIRROR_CHUNK_MB_MAX	1024

static unsigned int dmirror_chunk_mb = 256;
module_param_named(chunk_mb, dmirror_chunk_mb, uint, 0444);
MODULE_PARM_DESC(chunk_mb, "device-private memory added at a time, in MB: a power of two from 2 to 1024 (default: 256)");

static unsigned int dmirror_limit_mb;
module_param_named(limit_mb, dmirror_limit_mb, uint, 0444);
MODULE_PARM_DESC(limit_mb, "most memory of a device-private device, in MB: a multiple of chunk_mb, or 0 for no limit (default: 0)");

static const struct dev_pagemap_ops dmirror_pagemap_ops = {
	DMIRROR_FREE_OP,
	DMIRROR_SPLIT_OP
	.migrate_to_ram = dmirror_migrate_to_ram,
};

/**
 * dmirror_chunk_check() - are the parameters of this file good?
 *
 * Called once, when the module is loaded.
 *
 * Return: 0, or -EINVAL after saying why not.
 */
int dmirror_chunk_check(void)
{
	if (!is_power_of_2(dmirror_chunk_mb) ||
	    dmirror_chunk_mb < DMIRROR_BLOCK_SIZE / SZ_1M ||
	    dmirror_chunk_mb > DMIRROR_CHUNK_MB_MAX) {
		pr_err("hmm_dmirror: chunk_mb=%u: must be a power of two from %lu to %u\n",
		       dmirror_chunk_mb, DMIRROR_BLOCK_SIZE / SZ_1M,
		       DMIRROR_CHUNK_MB_MAX);
		return -EINVAL;
	}
	if (dmirror_limit_mb % dmirror_chunk_mb) {
		pr_err("hmm_dmirror: limit_mb=%u: must be 0 or a multiple of chunk_mb=%u\n",
		       dmirror_limit_mb, dmirror_chunk_mb);
		return -EINVAL;
	}
	return 0;
}

/**
 * dmirror_chunk_size() - the size of a chunk
 * @device: the device
 *
 * Return: the bytes that the device grows by.
 */
unsigned long dmirror_chunk_size(const struct dmirror_device *device)
{
	if (device->type == MEMORY_DEVICE_COHERENT)
		return DMIRROR_COHERENT_SIZE;
	return (unsigned long)dmirror_chunk_mb * SZ_1M;
}

/* Caller holds resize_lock, so nr_chunks does not change. */
static bool dmirror_device_may_grow(const struct dmirror_device *device)
{
	unsigned long mb = (device->nr_chunks + 1UL) * dmirror_chunk_mb;

	if (device->type == MEMORY_DEVICE_COHERENT)
		return !device->nr_chunks;
	return !dmirror_limit_mb || mb <= dmirror_limit_mb;
}

/* Claim addresses that nothing uses. */
static struct resource *dmirror_region_find(unsigned long size)
{
	struct resource *res;
	int ret;

	res = request_free_mem_region(&iomem_resource, size, "hmm_dmirror");
	if (IS_ERR(res))
		return res;

	/* It claims whole sections, 128 MiB on x86. Give back the rest. */
	ret = adjust_resource(res, res->start, size);
	if (ret) {
		release_mem_region(res->start, resource_size(res));
		return ERR_PTR(ret);
	}
	return res;
}

/* Claim the addresses that a device-coherent device was given. */
static struct resource *dmirror_region_claim(phys_addr_t start,
					     unsigned long size)
{
	return request_mem_region(start, size, "hmm_dmirror coherent") ?:
	       ERR_PTR(-EBUSY);
}

/**
 * struct dmirror_lost - addresses that stay claimed, since the kernel kept a part
 * @list: in dmirror_device.lost
 * @res: the addresses
 */
struct dmirror_lost {
	struct list_head list;
	struct resource *res;
};

static bool dmirror_lost_add(struct dmirror_device *device,
			     struct resource *res)
{
	struct dmirror_lost *lost = kzalloc_obj(*lost, GFP_KERNEL);

	if (!lost)
		return false;

	res->name = "hmm_dmirror, unusable";
	lost->res = res;
	list_add(&lost->list, &device->lost);
	return true;
}

/*
 * Claim addresses for a chunk and have struct pages made for them. If the
 * kernel ran out of memory in the midst of that once, it has left a part of the
 * range behind, and answers -EEXIST from then on. There are other ranges, but
 * they are offered only while the bad one is claimed. A device-coherent device
 * has no other.
 */
static int dmirror_chunk_map(struct dmirror_chunk *chunk, unsigned long size)
{
	struct dmirror_device *device = chunk->device;
	struct resource *res;
	int ret;

	do {
		if (device->type == MEMORY_DEVICE_PRIVATE)
			res = dmirror_region_find(size);
		else
			res = dmirror_region_claim(device->start, size);
		if (IS_ERR(res))
			return PTR_ERR(res);

		chunk->pgmap.range.start = res->start;
		chunk->pgmap.range.end = res->end;
		ret = PTR_ERR_OR_ZERO(memremap_pages(&chunk->pgmap,
						     numa_node_id()));
		if (!ret)
			return 0;
	} while (ret == -EEXIST && device->type == MEMORY_DEVICE_PRIVATE &&
		 dmirror_lost_add(device, res));

	release_mem_region(res->start, size);
	return ret;
}

/**
 * dmirror_lost_release() - let go of addresses that could not be used
 * @device: a device that will not grow any more
 */
void dmirror_lost_release(struct dmirror_device *device)
{
	struct dmirror_lost *lost, *next;

	list_for_each_entry_safe(lost, next, &device->lost, list) {
		release_mem_region(lost->res->start, resource_size(lost->res));
		list_del(&lost->list);
		kfree(lost);
	}
}

/* Caller holds resize_lock. */
static int dmirror_chunk_add(struct dmirror_device *device)
{
	unsigned long size = dmirror_chunk_size(device);
	unsigned long npages = size >> PAGE_SHIFT;
	struct dmirror_chunk *chunk;
	unsigned int nr_chunks;
	unsigned long first;
	int ret;

	if (!dmirror_device_may_grow(device))
		return -ENOMEM;

	chunk = kvzalloc(struct_size(chunk, blocks,
				     npages / DMIRROR_BLOCK_PAGES), GFP_KERNEL);
	if (!chunk)
		return -ENOMEM;

	chunk->device = device;
	chunk->npages = npages;
	chunk->pgmap.type = device->type;
	chunk->pgmap.nr_range = 1;
	chunk->pgmap.ops = &dmirror_pagemap_ops;
	chunk->pgmap.owner = device;
	dmirror_chunk_init_blocks(chunk);

	ret = dmirror_chunk_map(chunk, size);
	if (ret) {
		kvfree(chunk);
		return ret;
	}

	spin_lock_irq(&device->lock);
	list_add_tail(&chunk->list, &device->chunks);
	dmirror_chunk_offer(chunk, true);
	nr_chunks = ++device->nr_chunks;
	spin_unlock_irq(&device->lock);

	trace_dmirror_chunk_add(chunk);
	first = dmirror_chunk_pfn(chunk);
	pr_info("%s: added new %lu MB chunk (total %u chunks, %lu MB) PFNs [0x%lx 0x%lx)\n",
		device->name, size / SZ_1M, nr_chunks,
		nr_chunks * size / SZ_1M, first, first + npages);
	return 0;
}

/**
 * dmirror_chunk_remove() - give up a chunk
 * @chunk: a chunk without pages in use that is not handing out any
 *
 * Caller holds resize_lock.
 */
void dmirror_chunk_remove(struct dmirror_chunk *chunk)
{
	struct dmirror_device *device = chunk->device;

	spin_lock_irq(&device->lock);
	list_del(&chunk->list);
	device->nr_chunks--;
	spin_unlock_irq(&device->lock);

	trace_dmirror_chunk_remove(chunk);
	memunmap_pages(&chunk->pgmap);
	release_mem_region(chunk->pgmap.range.start,
			   chunk->npages << PAGE_SHIFT);
	kvfree(chunk);
}

/**
 * dmirror_device_grow() - make sure that the device has a free page
 * @device: the device
 * @huge: make sure that it has a huge one
 *
 * Adds a chunk, unless another caller did so in the meantime. Sleeps; call it
 * without mmap_lock and without any folio locked.
 *
 * Return: 0; -EINTR on a fatal signal; -ENOMEM if the device is as large as it
 * may become; -ENOMEM and what request_free_mem_region() and memremap_pages()
 * return when there is no room.
 */
int dmirror_device_grow(struct dmirror_device *device, bool huge)
{
	int ret = 0;

	if (mutex_lock_killable(&device->resize_lock))
		return -EINTR;

	if (!dmirror_device_has_room(device, huge))
		ret = dmirror_chunk_add(device);

	mutex_unlock(&device->resize_lock);
	return ret;
}
