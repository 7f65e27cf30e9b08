// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every memory allocation inside every call fails once, in turn.
 *
 *     inject STRIDE                    commands, CPU faults, fork, mmap
 *     inject module FILE PARAMETERS    loading and unloading the module
 *
 * A number written to /proc/thread-self/fail-nth makes that allocation of this
 * thread fail, counted from there, be it of a page or of a smaller object. So
 * the same call is made again and again, with the first allocation failing,
 * then the second, until it makes fewer. Each time it must succeed or say
 * ENOMEM (or what else the ABI documents), and no data may be lost. Calls with
 * hundreds of allocations, on huge pages, are tried in steps of STRIDE.
 *
 * The kernel must let these allocations fail: see faults_begin() in guest.py.
 * The last line of the output is a summary in JSON. The exit status is 1 if
 * something was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define SMALL	20UL	/* pages */
#define HUGE	512UL
#define MOST_ALLOCATIONS 5000

#ifndef MADV_COLLAPSE	/* Linux 6.1, and the C library some time later */
#define MADV_COLLAPSE	25
#endif

static char *region, *copy;
static unsigned long pages;
static int device;	/* its number */
static int fd;
static int fail_nth;

static void fail(int nth)
{
	char text[16];

	if (pwrite(fail_nth, text, sprintf(text, "%d", nth), 0) < 0) {
		perror("fail-nth");
		exit(2);
	}
}

/* How many allocations more it would have taken. 0: one did fail. */
static int left(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 0)
		return 0;
	return atoi(text);
}

static uint64_t *word(char *p, unsigned long page)
{
	return (uint64_t *)(p + page * PAGE);
}

static void wrong(const char *what, int nth, long value)
{
	count(&counts->wrong);
	complain("%s, allocation %d failed: %ld\n", what, nth, value);
}

static void check(const char *what, int nth)
{
	unsigned long page;

	for (page = 0; page < pages; page++) {
		count(&counts->checks);
		if (*word(region, page) != page + 1)
			wrong(what, nth, page);
	}
}

/* What a call finds: all pages in RAM, or all on the device. */
static int in_ram(void)
{
	if (pages == HUGE)
		madvise(region, pages * PAGE, MADV_COLLAPSE);
	return command(fd, MIGRATE_TO_SYS, region, pages, copy);
}

static int on_device(void)
{
	int ret = in_ram();

	return ret ? ret : command(fd, MIGRATE_TO_DEV, region, pages, copy);
}

/* The calls. Each returns 0 or a negative errno. */
static int call_read(void)
{
	return command(fd, READ, region, pages, copy);
}

static int call_write(void)
{
	return command(fd, WRITE, region, pages, copy);
}

static int call_to_device(void)
{
	return command(fd, MIGRATE_TO_DEV, region, pages, copy);
}

static int call_to_system(void)
{
	return command(fd, MIGRATE_TO_SYS, region, pages, copy);
}

static int call_snapshot(void)
{
	return command(fd, SNAPSHOT, region, pages, copy);
}

static int call_exclusive(void)
{
	return command(fd, EXCLUSIVE, region, pages, copy);
}

static int call_check_exclusive(void)
{
	return command(fd, CHECK_EXCLUSIVE, region, pages, copy);
}

static int call_read_unlocked(void)
{
	return command(fd, READ_UNLOCKED, region, pages, copy);
}

static int call_release(void)
{
	return command(fd, RELEASE, region, 1, copy);
}

static int call_touch(void)
{
	unsigned long page;

	for (page = 0; page < pages; page++)
		*(volatile uint64_t *)word(region, page);
	return 0;
}

static int call_open(void)
{
	int other = device_open(device);

	if (other < 0)
		return -errno;
	close(other);
	return 0;
}

static int call_mmap(void)
{
	void *p = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, 8 * PAGE);
	return 0;
}

static int call_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return 0;
}

/* get_user_pages(), as the kernel and other processes use it. */
static int call_mem(void)
{
	int mem = open("/proc/self/mem", O_RDONLY), ret = 0;
	uint64_t value;

	if (mem < 0)
		return -errno;
	if (pread(mem, &value, sizeof(value), (off_t)(uintptr_t)region) < 0)
		ret = -errno;
	close(mem);
	return ret;
}

/*
 * Not for a device-coherent device: where the kernel fails in the midst of
 * adding memory it keeps a part of it, and that device has no other addresses.
 */
#define NO_CHUNK	"MIGRATE_TO_DEV, no chunk"

static const struct scenario {
	const char *name;
	int (*prepare)(void);
	int (*call)(void);
	bool copies;		/* on success, all of the range was read */
	bool huge;		/* also tried with a huge page */
} scenarios[] = {
	{ "open", in_ram, call_open, false, false },
	{ "mmap of the device", in_ram, call_mmap, false, false },
	{ "READ", in_ram, call_read, true, true },
	{ "READ on the device", on_device, call_read, true, true },
	{ "WRITE", in_ram, call_write, false, true },
	{ "WRITE on the device", on_device, call_write, false, true },
	{ "MIGRATE_TO_DEV", in_ram, call_to_device, true, true },
	{ "MIGRATE_TO_SYS", on_device, call_to_system, false, true },
	{ "SNAPSHOT", on_device, call_snapshot, false, true },
	{ "EXCLUSIVE", in_ram, call_exclusive, true, true },
	{ "EXCLUSIVE on the device", on_device, call_exclusive, true, true },
	{ "CHECK_EXCLUSIVE", in_ram, call_check_exclusive, false, false },
	{ "READ_UNLOCKED", on_device, call_read_unlocked, true, false },
	{ "RELEASE", on_device, call_release, false, true },
	{ NO_CHUNK, call_release, call_to_device, true, false },
	{ "CPU fault", on_device, call_touch, false, true },
	{ "fork", on_device, call_fork, false, false },
	{ "/proc/self/mem", on_device, call_mem, false, false },
};

/*
 * Errors that leave a caller free to try again. The kernel's own code turns a
 * lack of memory into several of them, EFAULT where a page fault failed.
 */
static bool not_now(int ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -EBUSY ||
	       ret == -ENOENT || ret == -EAGAIN || ret == -EIO;
}

/* One call, failing allocation after allocation. Returns how many it has. */
static int run(const struct scenario *s, int stride)
{
	unsigned long page;
	int nth, more, ret;

	for (nth = 1; nth < MOST_ALLOCATIONS; nth += stride) {
		fd = device_open(device);
		ret = s->prepare();
		if (ret)
			wrong("could not prepare", nth, ret);
		for (page = 0; page < pages; page++)	/* what WRITE writes */
			*word(copy, page) = page + 1;

		fail(nth);
		ret = s->call();
		more = left();
		fail(0);

		if (!more)
			count(&counts->injected);
		if (ret && !not_now(ret) &&
		    !(ret == -EINVAL && s->call == call_read_unlocked))
			wrong(s->name, nth, ret);
		for (page = 0; !ret && s->copies && page < pages; page++)
			if (*word(copy, page) != page + 1)
				wrong(s->name, nth, page);
		check(s->name, nth);
		close(fd);
		if (more)
			return nth - more;
	}
	return nth;
}

static void one(const struct scenario *s, int stride)
{
	unsigned long page;
	int status;
	pid_t pid = fork();

	/* Whoever dies of a failed allocation does so alone. */
	if (pid) {
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			wrong(s->name, 0, status);
		return;
	}
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	region = mmap(NULL, 2 * HUGE * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region = (char *)(((uintptr_t)region + HUGE * PAGE - 1) &
			  ~(HUGE * PAGE - 1));
	copy = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == HUGE)
		madvise(region, pages * PAGE, MADV_HUGEPAGE);
	for (page = 0; page < pages; page++)
		*word(region, page) = page + 1;
	printf("device %d, %lu pages, %s: %d allocations\n", device, pages,
	       s->name, run(s, stride));
	fflush(stdout);
	_exit(0);
}

/* Load, use, unload, with one allocation of the loading or the unloading failing. */
static int module_once(int file, const char *parameters, int nth, bool at_load)
{
	int ret, more;

	if (at_load)
		fail(nth);
	ret = syscall(SYS_finit_module, file, parameters, 0) ? -errno : 0;
	more = left();
	fail(0);
	/* There is no EIO in the driver: the kernel makes it of one failure. */
	if (ret && ret != -ENOMEM && ret != -EIO)
		wrong("loading the module", nth, ret);
	if (ret)
		return at_load ? more : 0;

	fd = device_open(0);
	if (fd < 0 || command(fd, MIGRATE_TO_DEV, region, pages, copy))
		wrong("the module does not work", nth, errno);
	close(fd);
	if (!at_load)
		fail(nth);
	ret = syscall(SYS_delete_module, "hmm_dmirror", O_NONBLOCK) ? -errno : 0;
	if (!at_load)
		more = left();
	fail(0);
	if (ret)
		wrong("unloading the module", nth, ret);
	check("unloading the module", nth);
	return more;
}

static void module(const char *path, const char *parameters, int stride)
{
	int file = open(path, O_RDONLY | O_CLOEXEC), at_load, nth, more;
	unsigned long page;

	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	pages = SMALL;
	region = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (page = 0; page < pages; page++)
		*word(region, page) = page + 1;
	for (at_load = 1; at_load >= 0; at_load--) {
		for (nth = 1, more = 0; !more && nth < MOST_ALLOCATIONS;
		     nth += stride) {
			more = module_once(file, parameters, nth, at_load);
			if (!more)
				count(&counts->injected);
		}
		printf("%s the module: %d allocations\n",
		       at_load ? "loading" : "unloading", nth - stride - more);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	int stride = argc > 1 ? atoi(argv[1]) : 1;
	size_t i;

	counts_begin();
	if (argc > 4 && !strcmp(argv[1], "module")) {
		module(argv[2], argv[3], atoi(argv[4]));
		counts_print("inject module", 0);
		return !counts_clean();
	}
	/* One device of each kind: private, and coherent if there is one. */
	for (device = 0; device < nr_devices(); device += 2)
		for (i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
			if (device && !strcmp(scenarios[i].name, NO_CHUNK))
				continue;
			pages = SMALL;
			one(&scenarios[i], 1 + stride / 16);
			pages = HUGE;
			if (scenarios[i].huge)
				one(&scenarios[i], stride);
		}
	counts_print("inject", 0);
	return !counts_clean();
}
