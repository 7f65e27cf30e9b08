/* SPDX-License-Identifier: GPL-2.0-only */
/* What the stress programs share: the devices, counted commands, chance. */
#ifndef STRESS_DEVICE_H
#define STRESS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hmm_dmirror.h"

#define PAGE 4096UL

enum command {
	READ, WRITE, MIGRATE_TO_DEV, MIGRATE_TO_SYS, SNAPSHOT, EXCLUSIVE,
	CHECK_EXCLUSIVE, RELEASE, FLAGS, READ_UNLOCKED,
	NR_COMMANDS
};

#define MAX_DEVICES 4
#define MAX_ERRNO 134

/*
 * Everything that is counted, in memory that all processes of a program share:
 * what a killed process has counted is not lost.
 */
struct counts {
	unsigned long outcomes[NR_COMMANDS + 1][MAX_ERRNO];	/* 0: success */
	unsigned long undocumented;	/* results that the ABI does not name */
	unsigned long checks;		/* words of memory compared */
	unsigned long wrong;		/* of them, different from what was written */
	unsigned long kills;
	unsigned long forks;
	unsigned long injected;		/* allocations that were made to fail */
	unsigned long slowest_death_us;	/* from SIGKILL to the end of a process */
};

extern struct counts *counts;

/* Any of the counters, from any process. */
static inline void count(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

void counts_begin(void);
void counts_print(const char *program, uint64_t seed);
bool counts_clean(void);

/* What came of a call that the ABI has no word for. */
void complain(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

int nr_devices(void);
int device_open(int nr);

/*
 * One command, counted, its errno compared with what the ABI documents for it.
 * Returns 0 or a negative errno.
 */
int command(int fd, enum command nr, const void *addr, uint64_t npages,
	    const void *ptr);

/* Any ioctl, well formed or not, with the same accounts kept. */
int raw_command(int fd, unsigned long request, const void *argument);

/* Chance: the same for the same seed. Each thread has its own. */
void chance_begin(uint64_t seed);
uint64_t chance64(void);
unsigned int chance(unsigned int n);

#endif /* STRESS_DEVICE_H */
