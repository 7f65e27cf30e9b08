/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space and the driver say to each other.
 *
 * The numbers and the layout are those of the kernel tree's own HMM test
 * driver (lib/test_hmm_uapi.h), so that the kernel's test suite, and every
 * program written for one driver, runs on the other.
 */
#ifndef _UAPI_HMM_DMIRROR_H
#define _UAPI_HMM_DMIRROR_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct hmm_dmirror_cmd - one order to the device, the same for every ioctl
 * @addr: in: first address of the range the device works on, page aligned
 * @ptr: in: buffer of the caller for what the device reads, writes or reports
 * @npages: in: length of the range in pages, at least 1
 * @cpages: out: pages read, written, moved or reported
 * @faults: out: how often READ or WRITE had to ask for missing pages; counts
 *	rounds, not pages
 *
 * @cpages and @faults are written on a failure as well, and then say how far the
 * command came. Where the range itself is wrong, or there is no such command,
 * nothing is written.
 */
struct hmm_dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_DMIRROR_READ		_IOWR('H', 0, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_WRITE		_IOWR('H', 1, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_DEV	_IOWR('H', 2, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_SYS	_IOWR('H', 3, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_SNAPSHOT		_IOWR('H', 4, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_EXCLUSIVE		_IOWR('H', 5, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_CHECK_EXCLUSIVE	_IOWR('H', 6, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_RELEASE		_IOWR('H', 7, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_FLAGS		_IOWR('H', 8, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_READ_UNLOCKED	_IOWR('H', 9, struct hmm_dmirror_cmd)

/*
 * HMM_DMIRROR_FLAGS takes these in npages and ignores the range. They belong to
 * the device, not to the open file: whoever migrates next meets them.
 */
#define HMM_DMIRROR_FLAG_FAIL_ALLOC	0x1	/* next allocation fails, once */

/*
 * SNAPSHOT writes one byte for each page. The low nibble holds bits, the high
 * nibble a code: compare it under HMM_DMIRROR_PROT_KIND, 0x30 is not 0x20|0x10.
 * A page that lies on another device reads as HMM_DMIRROR_PROT_NONE.
 */
enum hmm_dmirror_prot {
	HMM_DMIRROR_PROT_NONE = 0x00,		/* nothing mapped here */
	HMM_DMIRROR_PROT_READ = 0x01,
	HMM_DMIRROR_PROT_WRITE = 0x02,
	HMM_DMIRROR_PROT_PMD = 0x04,		/* part of a PMD-sized page */
	HMM_DMIRROR_PROT_PUD = 0x08,		/* part of a PUD-sized page */
	HMM_DMIRROR_PROT_ZERO = 0x10,		/* the shared zero page */
	HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL = 0x20,
	HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE = 0x30,
	HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL = 0x40,
	HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE = 0x50,
	HMM_DMIRROR_PROT_KIND = 0xF0,		/* mask of the code */
	HMM_DMIRROR_PROT_ERROR = 0xFF,		/* no mapping, or not readable */
};

#endif /* _UAPI_HMM_DMIRROR_H */
