// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each thing costs that a process and a mirror device do with memory, in
 * instructions.
 *
 *     [ONLY=BEGINNING] costs base|huge PAGES...
 *
 * It is for a machine whose clock counts: there, the processor's time stamp goes
 * on by one with each instruction. The program looks whether it does, and ends
 * with status 3 if not. What is timed is the bare system call, or the bare touch
 * of a byte: the program is compiled statically, keeps to fixed addresses, and
 * has touched all memory of its own before.
 *
 * One line of JSON for each operation and number of pages: the median of some
 * runs, and how far apart the fastest and the slowest run were. ONLY chooses
 * operations by how their names begin. An operation that the device refuses is
 * left out, with a word on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "hmm_dmirror.h"

#define PAGE		4096UL
#define MOST_PAGES	65536UL
#define MOST_RUNS	15
#define MOST_SWAPPED	256UL		/* compressing takes long */

/* Each at the start of a page table of its own, the same in every run. */
#define MEMORY		((char *)(1UL << 40))
#define LANDING		((char *)(2UL << 40))

#define NOT_COUNTING	3

static unsigned long npages;
static bool huge;
static int device;
static uint32_t *order;			/* pages, shuffled */
static volatile uint64_t *stamp;	/* shared with children */
static pid_t child;

static uint64_t instructions(void)
{
	unsigned int unused;

	return __rdtscp(&unused);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/*
 * Two instructions a turn: that many must have been counted, within 1 %. The
 * shortest of some runs: the others met an interrupt.
 */
static bool counting(void)
{
	uint64_t turns, took, least = UINT64_MAX;
	int i;

	for (i = 0; i < 10; i++) {
		turns = 100000;
		took = instructions();
		asm volatile("1: dec %0\n\tjnz 1b" : "+r" (turns) : : "cc");
		took = instructions() - took;
		if (took < least)
			least = took;
	}
	return least > 198000 && least < 202000;
}

static int order_device(unsigned long request, unsigned long n)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)MEMORY,
		.ptr = (uintptr_t)LANDING,
		.npages = n,
	};

	return ioctl(device, request, &cmd);
}

static void must(unsigned long request)
{
	if (order_device(request, npages))
		die("a command before the measurement");
}

/* Memory that nobody has touched. */
static void untouched(void)
{
	size_t size = npages * PAGE;

	munmap(MEMORY, MOST_PAGES * PAGE);
	if (mmap(MEMORY, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE,
		 -1, 0) != MEMORY)
		die("mmap");
	if (madvise(MEMORY, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		die("madvise");
}

static int touch_first(void)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		((volatile char *)MEMORY)[i * PAGE] = 1;
	return 0;
}

static int touch_in_order(void)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		(void)((volatile char *)MEMORY)[i * PAGE];
	return 0;
}

/* As two threads do that have a half each and run in turn. */
static int touch_in_turn(void)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		(void)((volatile char *)MEMORY)[(i / 2 + i % 2 * (npages / 2)) * PAGE];
	return 0;
}

static int touch_at_random(void)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		(void)((volatile char *)MEMORY)[order[i] * PAGE];
	return 0;
}

static void resident(void)
{
	untouched();
	touch_first();
}

static void on_device(void)
{
	resident();
	must(HMM_DMIRROR_MIGRATE_TO_DEV);
}

static void was_read(void)
{
	resident();
	must(HMM_DMIRROR_READ);
}

static int copy(void)
{
	memcpy(LANDING, MEMORY, npages * PAGE);
	return 0;
}

static int to_device(void)
{
	return order_device(HMM_DMIRROR_MIGRATE_TO_DEV, npages);
}

static int back_by_ioctl(void)
{
	return order_device(HMM_DMIRROR_MIGRATE_TO_SYS, npages);
}

static int device_read(void)
{
	return order_device(HMM_DMIRROR_READ, npages);
}

static int device_write(void)
{
	return order_device(HMM_DMIRROR_WRITE, npages);
}

static int snapshot(void)
{
	return order_device(HMM_DMIRROR_SNAPSHOT, npages);
}

static int exclusive(void)
{
	return order_device(HMM_DMIRROR_EXCLUSIVE, npages);
}

static int unmap(void)
{
	return munmap(MEMORY, npages * PAGE);
}

/* The child only waits for its end: what is measured is the call. */
static int fork_it(void)
{
	child = fork();
	if (!child)
		for (;;)
			pause();
	return child < 0 ? -1 : 0;
}

static void end_child(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* Half random, half zeros: what a compressor has something to do with. */
static void fill(void)
{
	uint64_t x = 88172645463325252, *word = (uint64_t *)MEMORY;
	unsigned long i;

	resident();
	for (i = 0; i < npages * PAGE / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = i % 2 ? x : 0;
	}
}

static int swap_out(void)
{
	return madvise(MEMORY, npages * PAGE, MADV_PAGEOUT);
}

static void swapped_out(void)
{
	unsigned char *where = malloc(npages);
	unsigned long i, left;
	int tries = 4;

	fill();
	do {
		left = 0;
		if (swap_out() || mincore(MEMORY, npages * PAGE, where))
			die("madvise");
		for (i = 0; i < npages; i++)
			left += where[i] & 1;
	} while (left && tries--);
	free(where);
	if (left) {
		fprintf(stderr, "%lu of %lu pages are not swapped out\n", left, npages);
		exit(1);
	}
}

/*
 * A process with an open file and npages pages ends. It notes the time when it
 * goes; the rest is done by the kernel, until the parent is told.
 */
static int one_life(bool migrate)
{
	unsigned long i;
	int status;

	child = fork();
	if (!child) {
		close(device);
		device = open("/dev/hmm_dmirror0", O_RDWR);
		if (device < 0)
			_exit(1);
		for (i = 0; i < npages; i++)
			LANDING[i * PAGE] = 1;
		resident();
		if (migrate)
			must(HMM_DMIRROR_MIGRATE_TO_DEV);
		munmap(LANDING, MOST_PAGES * PAGE);
		*stamp = instructions();
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	*stamp = instructions() - *stamp;
	return status ? -1 : 0;
}

static int die_on_device(void)
{
	return one_life(true);
}

static int die_resident(void)
{
	return one_life(false);
}

static const struct operation {
	const char *name;
	void (*before)(void);
	int (*timed)(void);
	void (*after)(void);
	bool by_stamp;		/* it took the time by itself */
	bool base_only;		/* huge pages are another question */
	bool swaps;
} operations[] = {
	{ "first touch", untouched, touch_first },
	{ "memcpy", resident, copy },
	{ "to device", resident, to_device },
	{ "to device, untouched", untouched, to_device },
	{ "back by ioctl", on_device, back_by_ioctl },
	{ "back by fault, in order", on_device, touch_in_order },
	{ "back by fault, two in turn", on_device, touch_in_turn },
	{ "back by fault, at random", on_device, touch_at_random },
	{ "READ", resident, device_read },
	{ "READ again", was_read, device_read },
	{ "WRITE", resident, device_write },
	{ "SNAPSHOT", resident, snapshot },
	{ "EXCLUSIVE", resident, exclusive, .base_only = true },
	{ "fork, on device", on_device, fork_it, end_child },
	{ "fork, in RAM", resident, fork_it, end_child },
	{ "unmap, on device", on_device, unmap },
	{ "unmap, in RAM", resident, unmap },
	{ "exit, on device", untouched, die_on_device, .by_stamp = true },
	{ "exit, in RAM", untouched, die_resident, .by_stamp = true },
	{ "to zram", fill, swap_out, .base_only = true, .swaps = true },
	{ "back from zram, in order", swapped_out, touch_in_order,
	  .base_only = true, .swaps = true },
	{ "back from zram, at random", swapped_out, touch_at_random,
	  .base_only = true, .swaps = true },
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static unsigned int runs(void)
{
	if (npages <= 64)
		return MOST_RUNS;
	return npages <= 4096 ? 3 : 1;
}

static void measure(const struct operation *op)
{
	uint64_t took[MOST_RUNS], empty;
	unsigned int i, n = runs();
	int ret;

	for (i = 0; i < n; i++) {
		op->before();
		empty = instructions();
		empty = instructions() - empty;
		took[i] = instructions();
		ret = op->timed();
		took[i] = instructions() - took[i] - empty;
		if (op->by_stamp)
			took[i] = *stamp;
		if (ret) {
			fprintf(stderr, "%s, %lu pages: %s\n", op->name, npages,
				strerrorname_np(errno));
			return;
		}
		if (op->after)
			op->after();
	}
	qsort(took, n, sizeof(took[0]), by_size);
	printf("{\"operation\": \"%s\", \"pages\": %lu, \"instructions\": %lu, \"spread\": %lu, \"runs\": %u}\n",
	       op->name, npages, took[n / 2], took[n - 1] - took[0], n);
	fflush(stdout);
}

static void *shared(void *where, size_t size)
{
	void *p = mmap(where, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* The same shuffle of the numbers below n in every run. */
static void shuffle(unsigned long n)
{
	uint64_t x = 88172645463325252;
	unsigned long i, j;

	for (i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		j = x % (i + 1);
		order[i] = order[j];
		order[j] = i;
	}
}

static bool can_swap(void)
{
	FILE *file = fopen("/proc/swaps", "r");
	char line[256];
	int lines = 0;

	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	return lines > 1;
}

int main(int argc, char **argv)
{
	const char *only = getenv("ONLY") ?: "";
	bool swap = can_swap();
	unsigned int i;

	/* Fixed addresses: a page table that begins elsewhere costs more or less. */
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		die("exec");
	}
	if (argc < 3)
		return 2;
	if (!counting()) {
		fprintf(stderr, "the clock of this machine does not count instructions\n");
		return NOT_COUNTING;
	}
	huge = !strcmp(argv[1], "huge");
	device = open("/dev/hmm_dmirror0", O_RDWR);
	if (device < 0)
		die("/dev/hmm_dmirror0");
	stamp = shared(NULL, PAGE);
	order = shared(NULL, MOST_PAGES * sizeof(*order));

	while (*(argv += 1) && argv[1]) {
		npages = strtoul(argv[1], NULL, 0);
		if (!npages || npages > MOST_PAGES)
			return 2;
		shuffle(npages);
		munmap(LANDING, MOST_PAGES * PAGE);
		shared(LANDING, npages * PAGE);
		/* Once for nothing: what the first time sets up stays. */
		on_device();
		touch_in_order();
		for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
			if (strncmp(operations[i].name, only, strlen(only)))
				continue;
			if (huge && operations[i].base_only)
				continue;
			if (operations[i].swaps && (!swap || npages > MOST_SWAPPED))
				continue;
			measure(&operations[i]);
		}
	}
	return 0;
}
