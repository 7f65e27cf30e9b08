/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events: what the driver does, as it does it. They cost nothing until
 * they are switched on, under /sys/kernel/tracing/events/dmirror or by name:
 *
 * dmirror_migrate_begin	an ioctl begins to move a range of pages
 * dmirror_migrate_end		... and how many it has moved
 * dmirror_fault		the CPU touched a page on the device
 * dmirror_evict		a chunk was emptied, or not
 * dmirror_chunk_add		the device has grown by a chunk
 * dmirror_chunk_remove		... or shrunk
 * dmirror_invalidate		a mapping is about to change, and why
 *
 * Each line begins with the device and goes on in key=value, addresses and PFNs
 * in hexadecimal, ends of ranges not included. ret is 0 or a negative errno.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dmirror

#if !defined(_DMIRROR_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DMIRROR_TRACE_H

#include <linux/mmu_notifier.h>
#include <linux/tracepoint.h>

#include "dmirror.h"

/* So that a program that reads the raw events knows the numbers, too. */
TRACE_DEFINE_ENUM(MMU_NOTIFY_UNMAP);
TRACE_DEFINE_ENUM(MMU_NOTIFY_CLEAR);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_VMA);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_PAGE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_SOFT_DIRTY);
TRACE_DEFINE_ENUM(MMU_NOTIFY_RELEASE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_MIGRATE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_EXCLUSIVE);

TRACE_EVENT(dmirror_migrate_begin,
	    TP_PROTO(const struct dmirror_device *device, bool to_device,
		     const struct hmm_dmirror_cmd *cmd),
	    TP_ARGS(device, to_device, cmd),
	    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
			     __field(bool, to_device)
			     __field(unsigned long, start)
			     __field(u64, asked)),
	    TP_fast_assign(memcpy(__entry->device, device->name, DMIRROR_NAME_SIZE);
			   __entry->to_device = to_device;
			   __entry->start = cmd->addr;
			   __entry->asked = cmd->npages;),
	    TP_printk("%s to=%s start=0x%lx asked=%llu", __entry->device,
		      __entry->to_device ? "device" : "system", __entry->start,
		      __entry->asked));

TRACE_EVENT(dmirror_migrate_end,
	    TP_PROTO(const struct dmirror_device *device, bool to_device,
		     const struct hmm_dmirror_cmd *cmd, unsigned long moved,
		     int ret),
	    TP_ARGS(device, to_device, cmd, moved, ret),
	    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
			     __field(bool, to_device)
			     __field(unsigned long, start)
			     __field(u64, asked)
			     __field(unsigned long, moved)
			     __field(int, ret)),
	    TP_fast_assign(memcpy(__entry->device, device->name, DMIRROR_NAME_SIZE);
			   __entry->to_device = to_device;
			   __entry->start = cmd->addr;
			   __entry->asked = cmd->npages;
			   __entry->moved = moved;
			   __entry->ret = ret;),
	    TP_printk("%s to=%s start=0x%lx asked=%llu moved=%lu ret=%d",
		      __entry->device, __entry->to_device ? "device" : "system",
		      __entry->start, __entry->asked, __entry->moved, __entry->ret));

TRACE_EVENT(dmirror_fault,
	    TP_PROTO(const struct dmirror_device *device, unsigned long addr,
		     unsigned long moved, int ret),
	    TP_ARGS(device, addr, moved, ret),
	    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
			     __field(unsigned long, addr)
			     __field(unsigned long, moved)
			     __field(int, ret)),
	    TP_fast_assign(memcpy(__entry->device, device->name, DMIRROR_NAME_SIZE);
			   __entry->addr = addr;
			   __entry->moved = moved;
			   __entry->ret = ret;),
	    TP_printk("%s addr=0x%lx moved=%lu ret=%d", __entry->device,
		      __entry->addr, __entry->moved, __entry->ret));

TRACE_EVENT(dmirror_evict,
	    TP_PROTO(const struct dmirror_chunk *chunk, unsigned long moved,
		     int ret),
	    TP_ARGS(chunk, moved, ret),
	    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
			     __field(unsigned long, pfn)
			     __field(unsigned long, moved)
			     __field(int, ret)),
	    TP_fast_assign(memcpy(__entry->device, chunk->device->name,
				  DMIRROR_NAME_SIZE);
			   __entry->pfn = dmirror_chunk_pfn(chunk);
			   __entry->moved = moved;
			   __entry->ret = ret;),
	    TP_printk("%s pfn=0x%lx moved=%lu ret=%d", __entry->device,
		      __entry->pfn, __entry->moved, __entry->ret));

DECLARE_EVENT_CLASS(dmirror_chunk,
		    TP_PROTO(const struct dmirror_chunk *chunk),
		    TP_ARGS(chunk),
		    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
				     __field(unsigned long, pfn)
				     __field(unsigned long, npages)),
		    TP_fast_assign(memcpy(__entry->device, chunk->device->name,
					  DMIRROR_NAME_SIZE);
				   __entry->pfn = dmirror_chunk_pfn(chunk);
				   __entry->npages = chunk->npages;),
		    TP_printk("%s pfn=0x%lx end=0x%lx", __entry->device, __entry->pfn,
			      __entry->pfn + __entry->npages));

DEFINE_EVENT(dmirror_chunk, dmirror_chunk_add,
	     TP_PROTO(const struct dmirror_chunk *chunk),
	     TP_ARGS(chunk));

DEFINE_EVENT(dmirror_chunk, dmirror_chunk_remove,
	     TP_PROTO(const struct dmirror_chunk *chunk),
	     TP_ARGS(chunk));

TRACE_EVENT(dmirror_invalidate,
	    TP_PROTO(const struct dmirror_device *device,
		     const struct mmu_notifier_range *range),
	    TP_ARGS(device, range),
	    TP_STRUCT__entry(__array(char, device, DMIRROR_NAME_SIZE)
			     __field(unsigned long, start)
			     __field(unsigned long, end)
			     __field(int, reason)),
	    TP_fast_assign(memcpy(__entry->device, device->name, DMIRROR_NAME_SIZE);
			   __entry->start = range->start;
			   __entry->end = range->end;
			   __entry->reason = range->event;),
	    TP_printk("%s start=0x%lx end=0x%lx reason=%s", __entry->device,
		      __entry->start, __entry->end,
		      __print_symbolic(__entry->reason,
				       { MMU_NOTIFY_UNMAP, "unmap" },
				       { MMU_NOTIFY_CLEAR, "clear" },
				       { MMU_NOTIFY_PROTECTION_VMA, "protection_vma" },
				       { MMU_NOTIFY_PROTECTION_PAGE, "protection_page" },
				       { MMU_NOTIFY_SOFT_DIRTY, "soft_dirty" },
				       { MMU_NOTIFY_RELEASE, "release" },
				       { MMU_NOTIFY_MIGRATE, "migrate" },
				       { MMU_NOTIFY_EXCLUSIVE, "exclusive" })));

#endif /* _DMIRROR_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
