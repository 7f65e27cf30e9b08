// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk that is the last to use a device's pages: its interrupt frees them.
 *
 *	disk
 *
 * The machine's disk reads into pages of a device-coherent device, past the page
 * cache, and the process gives some of them up before it is done. Nobody but the
 * disk has a reference to those then, and dmirror_folio_free() is called in an
 * interrupt. Whether the driver's locks allow that, lockdep says. Exit status 1
 * if it never came to that, or if a page stays in use.
 */
#define _GNU_SOURCE
#include "device.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define COHERENT 2	/* the first device-coherent device */
#define PAGES 1024UL	/* four bios: of a read that is one, the reader lets go */
#define GIVEN_UP 8UL	/* of the last one */
#define ENOUGH 3	/* times that it was the disk */
#define ATTEMPTS 200
#define STEP_US 500	/* each attempt gives up that much later than the last, */
#define STEPS 25	/* up to here, and then from the beginning */

static int disk, device;
static char *buffer, *landing;

static void must(bool good, const char *what)
{
	if (!good) {
		perror(what);
		exit(2);
	}
}

static unsigned long in_use(void)
{
	char path[80], text[32] = "";
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/class/misc/hmm_dmirror%d/counters/pages_in_use", COHERENT);
	fd = open(path, O_RDONLY);
	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, path);
	close(fd);
	return strtoul(text, NULL, 10);
}

static void *read_disk(void *unused)
{
	/* EFAULT, if the pages are gone before it comes to them. */
	(void)!pread(disk, buffer, PAGES * PAGE, 0);
	return unused;
}

/* Give pages up so long after the read has begun. Does the disk have them still? */
static bool held_by_the_disk(unsigned int delay_us)
{
	unsigned long i, before;
	pthread_t reader;
	bool held;

	for (i = 0; i < PAGES; i++)
		buffer[i * PAGE] = 1;
	must(!command(device, MIGRATE_TO_DEV, buffer, PAGES, landing), "migrate");
	before = in_use();

	must(!pthread_create(&reader, NULL, read_disk, NULL), "pthread_create");
	usleep(delay_us);
	madvise(buffer + (PAGES - GIVEN_UP) * PAGE, GIVEN_UP * PAGE, MADV_DONTNEED);
	held = in_use() == before;
	pthread_join(reader, NULL);

	madvise(buffer, PAGES * PAGE, MADV_DONTNEED);
	return held;
}

int main(void)
{
	unsigned int attempt, held = 0;
	unsigned long left;

	counts_begin();
	disk = open(DISK, O_RDONLY | O_DIRECT);
	must(disk >= 0, DISK);
	device = device_open(COHERENT);
	must(device >= 0, "the device-coherent device");
	buffer = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(buffer != MAP_FAILED, "mmap");
	landing = buffer + PAGES * PAGE;

	for (attempt = 0; attempt < ATTEMPTS && held < ENOUGH; attempt++)
		held += held_by_the_disk(attempt % STEPS * STEP_US);
	left = in_use();
	printf("the disk was the last to use pages in %u of %u attempts; still in use: %lu\n",
	       held, attempt, left);
	return !held || left;
}
