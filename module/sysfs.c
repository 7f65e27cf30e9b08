// SPDX-License-Identifier: GPL-2.0-only
/**
 * DOC: Sysfs: what a device has done so far
 *
 * In /sys/class/misc/hmm_dmirror0, and so for each device, are a list of its
 * chunks and a directory of counters. Everybody may read them.
 *
 * chunks has one line for each chunk: its first PFN, the first PFN after it,
 * and how many of its pages are in use. It is true at one moment for the whole
 * device. As a file here is one page long, a device with very many chunks shows
 * as many as fit, and says so in the last line.
 *
 * counters has one number in each file. pages_in_use is what the chunks say.
 * The others only grow: they count from the moment at which the module was
 * loaded. They are added to once for each batch or event, without a lock, so
 * two of them that are read one after the other need not agree.
 */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "dmirror.h"

#define DMIRROR_CHUNK_LINE	64	/* more than a line of chunks needs */

static struct dmirror_device *dmirror_from_dev(struct device *dev)
{
	/* The misc layer left its device here. */
	return container_of(dev_get_drvdata(dev), struct dmirror_device, misc);
}

static ssize_t chunks_show(struct device *dev, struct device_attribute *attr,
			   char *text)
{
	struct dmirror_device *device = dmirror_from_dev(dev);
	unsigned int left;
	int len = 0;
	struct dmirror_chunk *chunk;

	spin_lock_irq(&device->lock);
	left = device->nr_chunks;
	list_for_each_entry(chunk, &device->chunks, list) {
		if (len > PAGE_SIZE - 2 * DMIRROR_CHUNK_LINE) {
			len += sysfs_emit_at(text, len, "and %u more\n", left);
			break;
		}
		len += sysfs_emit_at(text, len, "0x%lx 0x%lx %lu\n",
				     dmirror_chunk_pfn(chunk),
				     dmirror_chunk_pfn(chunk) + chunk->npages,
				     chunk->used);
		left--;
	}
	spin_unlock_irq(&device->lock);
	return len;
}
static DEVICE_ATTR_RO(chunks);

static ssize_t pages_in_use_show(struct device *dev,
				 struct device_attribute *attr, char *text)
{
	struct dmirror_device *device = dmirror_from_dev(dev);
	struct dmirror_chunk *chunk;
	unsigned long used = 0;

	spin_lock_irq(&device->lock);
	list_for_each_entry(chunk, &device->chunks, list)
		used += chunk->used;
	spin_unlock_irq(&device->lock);
	return sysfs_emit(text, "%lu\n", used);
}
static DEVICE_ATTR_RO(pages_in_use);

static ssize_t dmirror_counter_show(struct device *dev,
				    struct device_attribute *attr, char *text);

#define DMIRROR_COUNTER_FILE(name) \
	__ATTR(name, 0444, dmirror_counter_show, NULL)

/* The file that shows a counter has the same place as the counter. */
static struct device_attribute dmirror_counter_files[DMIRROR_NR_COUNTERS] = {
	[DMIRROR_PAGES_TO_DEVICE] = DMIRROR_COUNTER_FILE(pages_to_device),
	[DMIRROR_PAGES_BACK_BY_IOCTL] =
		DMIRROR_COUNTER_FILE(pages_back_by_ioctl),
	[DMIRROR_PAGES_BACK_BY_FAULT] =
		DMIRROR_COUNTER_FILE(pages_back_by_fault),
	[DMIRROR_PAGES_EVICTED] = DMIRROR_COUNTER_FILE(pages_evicted),
	[DMIRROR_FAULTS] = DMIRROR_COUNTER_FILE(faults),
	[DMIRROR_INVALIDATIONS] = DMIRROR_COUNTER_FILE(invalidations),
	[DMIRROR_ALLOCATION_FAILURES] =
		DMIRROR_COUNTER_FILE(allocation_failures),
};

static ssize_t dmirror_counter_show(struct device *dev,
				    struct device_attribute *attr, char *text)
{
	struct dmirror_device *device = dmirror_from_dev(dev);
	enum dmirror_counter counter = attr - dmirror_counter_files;

	return sysfs_emit(text, "%ld\n",
			  atomic_long_read(&device->counters[counter]));
}

static struct attribute *dmirror_device_attrs[] = {
	&dev_attr_chunks.attr,
	NULL,
};

static struct attribute *dmirror_counter_attrs[] = {
	&dev_attr_pages_in_use.attr,
	&dmirror_counter_files[DMIRROR_PAGES_TO_DEVICE].attr,
	&dmirror_counter_files[DMIRROR_PAGES_BACK_BY_IOCTL].attr,
	&dmirror_counter_files[DMIRROR_PAGES_BACK_BY_FAULT].attr,
	&dmirror_counter_files[DMIRROR_PAGES_EVICTED].attr,
	&dmirror_counter_files[DMIRROR_FAULTS].attr,
	&dmirror_counter_files[DMIRROR_INVALIDATIONS].attr,
	&dmirror_counter_files[DMIRROR_ALLOCATION_FAILURES].attr,
	NULL,
};

static const struct attribute_group dmirror_device_group = {
	.attrs = dmirror_device_attrs,
};

static const struct attribute_group dmirror_counter_group = {
	.name = "counters",
	.attrs = dmirror_counter_attrs,
};

/* What a device shows in sysfs, for struct miscdevice. */
const struct attribute_group *dmirror_groups[] = {
	&dmirror_device_group,
	&dmirror_counter_group,
	NULL,
};
