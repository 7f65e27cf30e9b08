// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many processes, each with a region of its own, do everything at once that the
 * devices and the kernel's memory calls allow, and are killed in the middle.
 *
 *     stress SECONDS SEED
 *
 * Every page of a region begins with a word that only its process changes and
 * remembers. Whatever moves the page, the word must be the same afterwards, for
 * the CPU and for the device. Threads of a process do only what leaves the
 * words alone, so that the process always knows what must be there.
 *
 * The last line of the output is a summary in JSON. The exit status is 1 if a
 * word was wrong or a call returned an error that the ABI does not document.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define PROCESSES	5
#define PAGES		1024UL	/* two huge pages */
#define MOST		96U	/* pages in one command */
#define ALL		(PROT_READ | PROT_WRITE)

#ifndef MADV_COLLAPSE	/* Linux 6.1, and the C library some time later */
#define MADV_COLLAPSE	25
#endif

static char *region;
static uint32_t expected[PAGES];
static bool may_be_lost[PAGES];	/* MADV_FREE: reads as zero any time from now */
static int fds[MAX_DEVICES];
static int devices;
static int protection;
static int threads;

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void compare(const char *who, unsigned long page, uint32_t got)
{
	count(&counts->checks);
	if (got == expected[page] || (may_be_lost[page] && !got))
		return;
	count(&counts->wrong);
	complain("%s: page %lu has %#x, should have %#x\n", who, page, got,
		 expected[page]);
}

static uint32_t *word(unsigned long page)
{
	return (uint32_t *)(region + page * PAGE);
}

static void compare_by_cpu(const char *who, unsigned long first, unsigned long n)
{
	unsigned long page;

	if (!(protection & PROT_READ))
		return;
	for (page = first; page < first + n; page++)
		compare(who, page, *(volatile uint32_t *)word(page));
}

static void compare_copy(const char *who, const char *copy, unsigned long first,
			 unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++)
		compare(who, first + i, *(uint32_t *)(copy + i * PAGE));
}

static void remember(unsigned long page, uint32_t value)
{
	expected[page] = value;
	may_be_lost[page] = false;
}

/* Commands that leave the words as they are: any thread, any child. */
static void harmless_command(char *copy, bool check)
{
	unsigned long n = 1 + chance(MOST), first = chance(PAGES - n);
	char *addr = region + first * PAGE;
	int fd = fds[chance(devices)];
	enum command nr;

	switch (chance(8)) {
	case 0 ... 1:
		nr = MIGRATE_TO_DEV;
		break;
	case 2:
		nr = MIGRATE_TO_SYS;
		break;
	case 3:
		nr = SNAPSHOT;
		break;
	case 4:
		nr = EXCLUSIVE;
		break;
	case 5:
		nr = CHECK_EXCLUSIVE;
		break;
	case 6:
		nr = READ;
		break;
	default:
		nr = READ_UNLOCKED;
	}
	if (command(fd, nr, addr, n, copy) || !check)
		return;

	/* A success means that all of the range was read through the device. */
	if (nr == MIGRATE_TO_DEV || nr == EXCLUSIVE || nr == READ ||
	    nr == READ_UNLOCKED)
		compare_copy("device", copy, first, n);
	else if (nr == MIGRATE_TO_SYS)
		compare_by_cpu("after MIGRATE_TO_SYS", first, n);
}

static void *thread(void *seed)
{
	char *copy = memory(MOST * PAGE);

	chance_begin((uintptr_t)seed);
	for (;;) {
		unsigned long page = chance(PAGES);

		harmless_command(copy, false);
		if (chance(2))
			*(volatile uint32_t *)word(page);
	}
	return NULL;
}

static void device_write(char *copy)
{
	unsigned long n = 1 + chance(MOST), first = chance(PAGES - n), i;
	uint32_t values[MOST];
	int ret;

	for (i = 0; i < n; i++) {
		values[i] = chance64();
		*(uint32_t *)(copy + i * PAGE) = values[i];
	}
	ret = command(fds[chance(devices)], WRITE, region + first * PAGE, n, copy);
	for (i = 0; i < n; i++)
		if (!ret)
			remember(first + i, values[i]);
		else if (protection & PROT_READ &&
			 *(volatile uint32_t *)word(first + i) == values[i])
			remember(first + i, values[i]);	/* as far as it got */
}

static void cpu_write(void)
{
	unsigned long n = 1 + chance(MOST), first = chance(PAGES - n), page;

	for (page = first; page < first + n; page++) {
		uint32_t value = chance64();

		*word(page) = value;
		remember(page, value);
	}
}

/* A child sees what its parent had at the fork, whatever either does next. */
static void child(char *copy)
{
	int rounds = chance(12), own = device_open(chance(devices));

	/*
	 * What an address space without a device open unmaps, the driver cannot
	 * know of (see module/evict.c). So each child has one open, used or not.
	 */
	threads = 0;
	if (chance(2))	/* else it acts on its parent's pages */
		fds[0] = own;
	while (rounds--) {
		unsigned long n = 1 + chance(MOST), first = chance(PAGES - n);

		harmless_command(copy, false);
		compare_by_cpu("child", first, n);
		if (protection & PROT_WRITE && !chance(3))
			cpu_write();
	}
	_exit(0);
}

static void forget(unsigned long first, unsigned long n)
{
	unsigned long page;

	for (page = first; page < first + n; page++)
		remember(page, 0);
}

/* Give pages back to the kernel in one of its ways. They read as zero then. */
static void discard(void)
{
	unsigned long n = 1 + chance(MOST), first = chance(PAGES - n), page;
	char *addr = region + first * PAGE;

	switch (chance(4)) {
	case 0:
		if (madvise(addr, n * PAGE, MADV_FREE))
			break;
		for (page = first; page < first + n; page++)
			may_be_lost[page] = true;
		break;
	case 1:
		if (!threads)	/* else a thread could find nothing there */
			munmap(addr, n * PAGE);
		mmap(addr, n * PAGE, protection,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		forget(first, n);
		break;
	default:
		if (!madvise(addr, n * PAGE, MADV_DONTNEED))
			forget(first, n);
	}
}

static void protect(void)
{
	static const int kinds[] = { ALL, ALL, PROT_READ, PROT_NONE };
	int kind = kinds[chance(threads ? 3 : 4)];

	if (!mprotect(region, PAGES * PAGE, kind))
		protection = kind;
}

static void move(void)
{
	char *room;

	if (threads)	/* they know one address */
		return;
	room = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	room = mremap(region, PAGES * PAGE, PAGES * PAGE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, room);
	if (room != MAP_FAILED)
		region = room;
}

static void reopen(void)
{
	int nr = chance(devices), fd = device_open(nr);

	if (fd < 0)
		return;
	/* A thread may use the old number meanwhile: it becomes the new file. */
	dup2(fd, fds[nr]);
	close(fd);
}

/* The driver's own mapping: ordinary pages put in by hand. */
static void map_device(char *copy)
{
	int fd = fds[chance(devices)];
	char *p = mmap(NULL, 8 * PAGE, ALL, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		return;
	*p = 1;
	command(fd, READ, p, 8, copy);
	command(fd, MIGRATE_TO_DEV, p, 8, copy);
	command(fd, SNAPSHOT, p, 8, copy);
	munmap(p, 8 * PAGE);
}

static void advise_huge(void)
{
	char *huge = region + chance(2) * 512 * PAGE;

	switch (chance(3)) {
	case 0:
		madvise(region, PAGES * PAGE, MADV_HUGEPAGE);
		break;
	case 1:
		madvise(huge, 512 * PAGE, MADV_COLLAPSE);
		break;
	default:
		madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE);
	}
}

static void step(char *copy)
{
	unsigned long n = 1 + chance(MOST), first = chance(PAGES - n);

	switch (chance(24)) {
	case 0 ... 8:
		harmless_command(copy, true);
		break;
	case 9 ... 10:
		device_write(copy);
		break;
	case 11 ... 12:
		if (protection & PROT_WRITE)
			cpu_write();
		break;
	case 13 ... 14:
		compare_by_cpu("CPU", first, n);
		break;
	case 15:
		if (chance(3))
			break;
		count(&counts->forks);
		if (!fork())
			child(copy);
		break;
	case 16:
		discard();
		break;
	case 17:
		protect();
		break;
	case 18:
		move();
		break;
	case 19:
		reopen();
		break;
	case 20:
		advise_huge();
		break;
	case 21:
		map_device(copy);
		break;
	case 22:
		if (!chance(4))
			command(fds[chance(devices)], RELEASE, region, 1, copy);
		break;
	default:
		command(fds[chance(devices)], FLAGS, NULL, chance(2), NULL);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void process(uint64_t seed)
{
	char *copy = memory(MOST * PAGE), *room = memory((PAGES + 512) * PAGE);
	pthread_t id;
	int i;

	/* Its children go with it. */
	setpgid(0, 0);
	chance_begin(seed);
	devices = nr_devices();
	for (i = 0; i < devices; i++)
		fds[i] = device_open(i);
	region = (char *)(((uintptr_t)room + 512 * PAGE - 1) & ~(512 * PAGE - 1));
	protection = ALL;
	for (threads = 0, i = chance(3); i--; threads++)
		pthread_create(&id, NULL, thread, (void *)(uintptr_t)chance64());
	for (;;)
		step(copy);
}

static pid_t start(uint64_t seed)
{
	pid_t pid = fork();

	if (!pid)
		process(seed);
	setpgid(pid, pid);	/* whoever of the two is first */
	return pid;
}

static void end(pid_t pid)
{
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	count(&counts->kills);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	time_t stop = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	pid_t pids[PROCESSES];
	int i;

	counts_begin();
	chance_begin(seed);
	if (!nr_devices()) {
		fprintf(stderr, "no device\n");
		return 2;
	}
	for (i = 0; i < PROCESSES; i++)
		pids[i] = start(chance64());
	while (time(NULL) < stop) {
		usleep(50000 + chance(800000));
		i = chance(PROCESSES);
		end(pids[i]);
		pids[i] = start(chance64());
	}
	for (i = 0; i < PROCESSES; i++)
		end(pids[i]);
	counts_print("stress", seed);
	return !counts_clean();
}
