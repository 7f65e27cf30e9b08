// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that no decent program makes: any command number, any address, any
 * length, buffers in the worst places, descriptors whose owner is dead.
 *
 *     fuzz SECONDS SEED MILLISECONDS
 *
 * Each call must succeed or return an error that the ABI documents, and leave
 * alone the pages that it was not told about. A call that asks for more than
 * can be done at once must end when its process is killed: the time from
 * SIGKILL to the end is measured, and must be below MILLISECONDS.
 *
 * The last line of the output is a summary in JSON. The exit status is 1 if any
 * of that was not so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define WORKERS		2
#define PATIENCE_US	300000	/* a call that takes longer is killed */
#define ALL		(PROT_READ | PROT_WRITE)
#define ANONYMOUS	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)

/*
 * All memory that a call may be pointed at is in one arena that ends in a large
 * hole, so that a length of the worst kind does not lead into the program.
 */
#define SPARSE_SIZE	(32UL << 30)
#define HOLE_SIZE	(256UL << 30)
#define KIND_PAGES	512UL

enum kind {
	PLAIN, ON_DEVICE, ON_OTHER_DEVICE, READ_ONLY, CLOSED, UNMAPPED, SHARED,
	FILE_PRIVATE, HUGE, LOCKED, SPARSE,
	NR_KINDS
};

static char *kinds[NR_KINDS];
static char *sentinel;		/* pages that no call is told about */
static int fds[MAX_DEVICES + 1];
static int nr_fds;
static int orphan;		/* its owner is dead */
static uint64_t limit_us = 1000000;	/* for a killed process to end */

/* The running call of each worker, for the parent to see. */
static struct shot {
	uint64_t began;		/* in us, 0: no call is running */
	uint64_t request;
	struct hmm_dmirror_cmd cmd;
} *shots;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000UL + t.tv_nsec / 1000;
}

static void fill(char *p, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i++)
		*(uint64_t *)(p + i * PAGE) = 0x5ea1ed00 + i;
}

static void check_sentinel(void)
{
	unsigned long i;

	for (i = 0; i < 16; i++) {
		count(&counts->checks);
		if (*(uint64_t *)(sentinel + i * PAGE) != 0x5ea1ed00 + i) {
			count(&counts->wrong);
			complain("a page that nobody named has changed\n");
		}
	}
	command(fds[chance(nr_fds)], MIGRATE_TO_DEV, sentinel, 16,
		kinds[PLAIN]);
}

static void make_memory(void)
{
	unsigned long size = 2 * NR_KINDS * KIND_PAGES * PAGE;
	char *arena, *p;
	int kind, file;

	sentinel = mmap(NULL, 16 * PAGE, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(sentinel, 16);
	arena = mmap(NULL, size + SPARSE_SIZE + HOLE_SIZE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	arena = (char *)(((uintptr_t)arena + 512 * PAGE - 1) & ~(512 * PAGE - 1));
	for (kind = 0; kind < NR_KINDS; kind++) {
		/* Every second one is a hole, so each kind has an end. */
		kinds[kind] = p = arena + 2 * kind * KIND_PAGES * PAGE;
		mmap(p, KIND_PAGES * PAGE, ALL, ANONYMOUS, -1, 0);
		if (kind != HUGE)
			fill(p, KIND_PAGES / 8);
	}
	command(fds[0], MIGRATE_TO_DEV, kinds[ON_DEVICE], 64, kinds[PLAIN]);
	command(fds[1], MIGRATE_TO_DEV, kinds[ON_OTHER_DEVICE], 64, kinds[PLAIN]);
	mprotect(kinds[READ_ONLY], KIND_PAGES * PAGE, PROT_READ);
	mprotect(kinds[CLOSED], KIND_PAGES * PAGE, PROT_NONE);
	munmap(kinds[UNMAPPED], KIND_PAGES * PAGE);
	mmap(kinds[SHARED], KIND_PAGES * PAGE, ALL,
	     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	file = open("/proc/self/exe", O_RDONLY);
	mmap(kinds[FILE_PRIVATE], KIND_PAGES * PAGE, ALL,
	     MAP_PRIVATE | MAP_FIXED, file, 0);
	close(file);
	madvise(kinds[HUGE], KIND_PAGES * PAGE, MADV_HUGEPAGE);
	fill(kinds[HUGE], KIND_PAGES);
	mlock(kinds[LOCKED], 64 * PAGE);
	mmap(kinds[SPARSE], SPARSE_SIZE, ALL, ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static uint64_t some_address(void)
{
	static const uint64_t special[] = {
		0, PAGE, 1UL << 46, 0x7ffffffff000, 0x7ffffffde000,
		0x800000000000, 0xffff800000000000, 0xffff888000000000,
		0xffffffff81000000, 0xffffffffff600000, -PAGE, -2 * PAGE, -1,
	};
	uint64_t address;

	switch (chance(8)) {
	case 0:
		return special[chance(sizeof(special) / sizeof(special[0]))];
	case 1:
		return chance64() << chance(64);
	default:
		address = (uintptr_t)kinds[chance(NR_KINDS)] +
			  chance(chance(4) ? 64 : KIND_PAGES) * PAGE;
		return chance(12) ? address : address + chance(PAGE);
	}
}

static uint64_t some_length(void)
{
	static const uint64_t special[] = {
		0, 1UL << 18, 1UL << 23, 1UL << 26, 1UL << 35, 1UL << 51,
		(1UL << 52) - 1, 1UL << 52, (1UL << 52) + 1, 1UL << 63, -1,
	};

	switch (chance(20)) {
	case 0:
		return special[chance(sizeof(special) / sizeof(special[0]))];
	case 1:
		return chance64() >> chance(64);
	default:
		return 1 + chance(64);
	}
}

/* Ours, near to ours, or anything. */
static unsigned long some_request(void)
{
	switch (chance(8)) {
	case 0:
		return _IOC(chance(4), 'H', chance(32), chance(128));
	case 1:
		return (uint32_t)chance64();
	default:
		return _IOWR('H', chance(NR_COMMANDS + 2),
			     struct hmm_dmirror_cmd);
	}
}

/* Where the command itself lies: nearly always where it should. */
static void *some_place(const struct hmm_dmirror_cmd *cmd)
{
	char *place = kinds[PLAIN] + 100 * PAGE;

	switch (chance(24)) {
	case 0:
		return (void *)some_address();
	case 1:		/* half of it is missing */
		place = kinds[PLAIN] + KIND_PAGES * PAGE - sizeof(*cmd) / 2;
		memcpy(place, cmd, sizeof(*cmd) / 2);
		return place;
	case 2:		/* on a device */
		place = kinds[ON_DEVICE] + 7 * PAGE;
		break;
	case 3:		/* the answer cannot be written */
		place = kinds[READ_ONLY] + 7 * PAGE;
		mprotect(place, PAGE, ALL);
		memcpy(place, cmd, sizeof(*cmd));
		mprotect(place, PAGE, PROT_READ);
		return place;
	}
	memcpy(place, cmd, sizeof(*cmd));
	return place;
}

static void shoot(struct shot *shot)
{
	unsigned long request = some_request();
	struct hmm_dmirror_cmd cmd = {
		.addr = some_address(),
		.ptr = some_address(),
		.npages = some_length(),
		.cpages = chance64(),
		.faults = chance64(),
	};
	int fd = chance(16) ? fds[chance(nr_fds)] : orphan;
	void *place;
	int ret;

	if (!chance(10))	/* the buffer is the range itself */
		cmd.ptr = cmd.addr;
	place = some_place(&cmd);

	shot->request = request;
	shot->cmd = cmd;
	shot->began = now_us();
	ret = raw_command(fd, request, place);
	shot->began = 0;

	/* Without an address space there is nothing that could be done in it. */
	if (fd == orphan && !ret && request <= _IOWR('H', SNAPSHOT, cmd) &&
	    request >= _IOWR('H', READ, cmd)) {
		count(&counts->undocumented);
		complain("command %#lx worked for a dead process\n", request);
	}
}

/* A descriptor opened by a process that has ended since. */
static int open_orphan(void)
{
	int fd, pidfd, theirs = fds[nr_fds - 1] + 1;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(device_open(0), theirs);
		for (;;)
			pause();
	}
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	while ((fd = syscall(SYS_pidfd_getfd, pidfd, theirs, 0)) < 0)
		usleep(1000);
	close(pidfd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return fd;
}

/* Descriptors that are none, or none of ours, do not reach the driver. */
static void check_descriptors(void)
{
	struct hmm_dmirror_cmd cmd = {};
	int null = open("/dev/null", O_RDWR);

	if (!ioctl(null, _IOWR('H', READ, cmd), &cmd) || errno != ENOTTY ||
	    !ioctl(-1, _IOWR('H', READ, cmd), &cmd) || errno != EBADF)
		count(&counts->undocumented);
	close(null);
}

static void worker(uint64_t seed, struct shot *shot)
{
	unsigned int round;

	chance_begin(seed);
	for (nr_fds = 0; nr_fds < nr_devices(); nr_fds++)
		fds[nr_fds] = device_open(nr_fds);
	orphan = open_orphan();
	check_descriptors();
	make_memory();
	for (round = 0;; round++) {
		shoot(shot);
		if (round % 64 == 0)
			check_sentinel();
		if (round % 1024 == 1023)	/* what was changed meanwhile */
			_exit(0);
	}
}

static pid_t start(int slot)
{
	uint64_t seed = chance64();
	pid_t pid;

	shots[slot].began = 0;
	pid = fork();
	if (!pid)
		worker(seed, &shots[slot]);
	return pid;
}

/* Kill, and see how long it takes. */
static void end(pid_t pid, const struct shot *shot)
{
	uint64_t from = now_us(), us;

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	us = now_us() - from;
	count(&counts->kills);
	if (us > counts->slowest_death_us)
		counts->slowest_death_us = us;
	if (us > limit_us)
		complain("killed after %llu us in %#llx of %llu pages at %#llx, ended %llu us later\n",
			 (unsigned long long)(from - shot->began),
			 (unsigned long long)shot->request,
			 (unsigned long long)shot->cmd.npages,
			 (unsigned long long)shot->cmd.addr,
			 (unsigned long long)us);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	time_t stop = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	pid_t pids[WORKERS];
	int i, status;

	if (argc > 3)
		limit_us = strtoull(argv[3], NULL, 0) * 1000;
	counts_begin();
	chance_begin(seed);
	if (nr_devices() < 2) {
		fprintf(stderr, "no two devices\n");
		return 2;
	}
	shots = mmap(NULL, PAGE, ALL, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < WORKERS; i++)
		pids[i] = start(i);
	while (time(NULL) < stop) {
		usleep(5000);
		for (i = 0; i < WORKERS; i++) {
			uint64_t since = shots[i].began;

			if (waitpid(pids[i], &status, WNOHANG) == pids[i]) {
				if (WIFSIGNALED(status)) {
					count(&counts->wrong);
					complain("a process died of signal %d\n",
						 WTERMSIG(status));
				}
				pids[i] = start(i);
			} else if (since && now_us() - since > PATIENCE_US) {
				end(pids[i], &shots[i]);
				pids[i] = start(i);
			}
		}
	}
	for (i = 0; i < WORKERS; i++)
		end(pids[i], &shots[i]);
	counts_print("fuzz", seed);
	return !counts_clean() || counts->slowest_death_us > limit_us;
}
