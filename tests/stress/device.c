// SPDX-License-Identifier: GPL-2.0-only
/* What the stress programs share. See device.h. */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct counts *counts;

static const char * const names[NR_COMMANDS + 1] = {
	"READ", "WRITE", "MIGRATE_TO_DEV", "MIGRATE_TO_SYS", "SNAPSHOT",
	"EXCLUSIVE", "CHECK_EXCLUSIVE", "RELEASE", "FLAGS", "READ_UNLOCKED",
	"others",
};

/*
 * The errors that the ABI documents, by command. EINTR is not among them: it is
 * returned on a fatal signal only, to a process that will not see it.
 */
static const int documented[NR_COMMANDS + 1][7] = {
	[READ] = { EINVAL, EFAULT, EBUSY, ENOMEM },
	[WRITE] = { EINVAL, EFAULT, EPERM, EBUSY, ENOMEM },
	[MIGRATE_TO_DEV] = { EINVAL, EFAULT, ENOENT, EBUSY, ENOMEM },
	[MIGRATE_TO_SYS] = { EINVAL, EFAULT, ENOMEM },
	[SNAPSHOT] = { EINVAL, EFAULT, EBUSY, ENOMEM },
	[EXCLUSIVE] = { EINVAL, EFAULT, EPERM, EBUSY, ENOMEM, EOPNOTSUPP },
	[CHECK_EXCLUSIVE] = { EINVAL, EFAULT, EPERM },
	[RELEASE] = { EINVAL, EFAULT, ENOMEM },
	[FLAGS] = { EINVAL, EFAULT },
	[READ_UNLOCKED] = { EINVAL, EFAULT, EBUSY, ENOMEM },
	[NR_COMMANDS] = { EINVAL, EFAULT },
};

void counts_begin(void)
{
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
}

bool counts_clean(void)
{
	return !counts->wrong && !counts->undocumented;
}

/* The last line of a program: what was done, as JSON. */
void counts_print(const char *program, uint64_t seed)
{
	const char *comma = "";
	int nr, e;

	printf("{\"program\": \"%s\", \"seed\": %llu, \"checks\": %lu, \"wrong\": %lu, \"undocumented\": %lu, \"kills\": %lu, \"forks\": %lu, \"injected\": %lu, \"slowest_death_us\": %lu, \"calls\": {",
	       program, (unsigned long long)seed, counts->checks, counts->wrong,
	       counts->undocumented, counts->kills, counts->forks,
	       counts->injected, counts->slowest_death_us);
	for (nr = 0; nr <= NR_COMMANDS; nr++)
		for (e = 0; e < MAX_ERRNO; e++)
			if (counts->outcomes[nr][e]) {
				printf("%s\"%s %s\": %lu", comma, names[nr],
				       e ? strerrorname_np(e) : "ok",
				       counts->outcomes[nr][e]);
				comma = ", ";
			}
	printf("}}\n");
	fflush(stdout);
}

void complain(const char *format, ...)
{
	static int said;
	va_list words;

	if (said++ > 20)	/* the rest is of the same kind */
		return;
	va_start(words, format);
	vfprintf(stderr, format, words);
	va_end(words);
}

int nr_devices(void)
{
	char node[32];
	int nr;

	for (nr = 0; nr < MAX_DEVICES; nr++) {
		snprintf(node, sizeof(node), "/dev/hmm_dmirror%d", nr);
		if (access(node, F_OK))
			break;
	}
	return nr;
}

int device_open(int nr)
{
	char node[32];

	snprintf(node, sizeof(node), "/dev/hmm_dmirror%d", nr);
	return open(node, O_RDWR | O_CLOEXEC);
}

static int account(enum command nr, int e, unsigned long request)
{
	unsigned int i;

	count(&counts->outcomes[nr][e < MAX_ERRNO ? e : MAX_ERRNO - 1]);
	if (!e && nr < NR_COMMANDS)
		return 0;
	for (i = 0; i < sizeof(documented[0]) / sizeof(int); i++)
		if (e && documented[nr][i] == e)
			return -e;
	count(&counts->undocumented);
	complain("%s (%#lx): %s is not documented\n", names[nr], request,
		 e ? strerrorname_np(e) : "success");
	return -e;
}

int raw_command(int fd, unsigned long request, const void *argument)
{
	enum command nr = NR_COMMANDS;

	if ((request & ~0xffUL) == _IOWR('H', 0, struct hmm_dmirror_cmd) &&
	    (request & 0xff) < NR_COMMANDS)
		nr = request & 0xff;
	return account(nr, ioctl(fd, request, argument) ? errno : 0, request);
}

int command(int fd, enum command nr, const void *addr, uint64_t npages,
	    const void *ptr)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)ptr,
		.npages = npages,
	};

	return raw_command(fd, _IOWR('H', nr, struct hmm_dmirror_cmd), &cmd);
}

static __thread uint64_t state;

/* splitmix64: any seed will do. */
void chance_begin(uint64_t seed)
{
	state = seed;
}

uint64_t chance64(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

unsigned int chance(unsigned int n)
{
	return chance64() % n;
}
