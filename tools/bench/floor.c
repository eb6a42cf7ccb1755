// SPDX-License-Identifier: Apache-2.0
/*
 * floor: what the host's own system calls of an operation cost, with no server around them.
 *
 *	floor [-n ROUNDS] -d DIRECTORY
 *
 * A server that shares a directory has to ask the host at least once for each operation, whatever
 * it is written in: this is the share of its time that no server can save. The same files in the
 * same order as in ops.c; a process without a sandbox.
 *
 * JSON Lines: for every operation the median of the rounds' CPU time an operation.
 */
#include "tools/bench/ops.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 1000
#define GUEST_BYTES                                                                                \
	((size_t)SLOTS * SLOT_PAGES * PAGE) /* data moves from and to all of it in turn */

static int dir, data, files[FILES];
static uint8_t *guest; /* shared, as a guest's memory is */
static char names[3][FILES][16];
enum { HERE, ABSENT, NEW };

static int look(int at, const char *name)
{
	struct statx sx;

	return statx(at, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH),
		STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &sx);
}

static int lookup(unsigned int i)
{
	return look(dir, names[HERE][i % FILES]);
}

static int lookup_negative(unsigned int i)
{
	return look(dir, names[ABSENT][i % FILES]) < 0 ? 0 : -1;
}

static int getattr(unsigned int i)
{
	return look(files[i % FILES], "");
}

static int create(unsigned int i)
{
	int fd = openat(dir, names[NEW][i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd < 0 ? -1 : look(fd, "") < 0 ? -1 : close(fd);
}

static int create_uid_1000(unsigned int i)
{
	int fd = openat(dir, names[NEW][i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd < 0 || fchown(fd, 1000, 1000) < 0 || look(fd, "") < 0 ? -1 : close(fd);
}

static int unlink_new(unsigned int i)
{
	return unlinkat(dir, names[NEW][i], 0);
}

static int rename_new(unsigned int i)
{
	return renameat(dir, names[NEW][i], dir, names[ABSENT][i]);
}

/* As many entries as one reply of 4 KiB holds, each looked at. */
static int readdirplus_4k(unsigned int i)
{
	static uint8_t buf[PAGE];
	static size_t at, filled;
	const size_t entry =
		FUSE_DIRENTPLUS_SIZE(&(struct fuse_direntplus){.dirent = {.namelen = 5}});

	for (size_t n = 0; n < PAGE / entry; n++) {
		const struct dirent64 *d;

		if (at == filled) {
			ssize_t got = getdents64(dir, buf, sizeof(buf));

			if (got < 0 || (got == 0 && lseek(dir, 0, SEEK_SET) < 0))
				return -1;
			at = 0;
			filled = (size_t)got;
			if (!got)
				return 0;
		}
		d = (const struct dirent64 *)(const void *)(buf + at);
		at += d->d_reclen;
		if (look(dir, d->d_name) < 0)
			return -1;
	}
	return 0;
}

/* A guest's pages lie anywhere in its memory: none is the last one's neighbour, as in ring.c. */
static int move(unsigned int i, size_t bytes, bool out)
{
	uint8_t *slot = guest + (size_t)i % SLOTS * SLOT_PAGES * PAGE;
	off_t off = (off_t)((uint64_t)i * bytes % DATA_BYTES);
	const int n = (int)(bytes / PAGE);
	struct iovec v[SLOT_PAGES];

	for (int k = 0; k < n; k++)
		v[k] = (struct iovec){slot + k * 37 % SLOT_PAGES * PAGE, PAGE};
	return (out ? pwritev(data, v, n, off) : preadv(data, v, n, off)) == (ssize_t)bytes ? 0
											    : -1;
}

#define MOVE(what, bytes, out)                                                                     \
	static int what(unsigned int i)                                                            \
	{                                                                                          \
		return move(i, bytes, out);                                                        \
	}
MOVE(read_4k, PAGE, false)
MOVE(read_128k, 32 * PAGE, false)
MOVE(read_1m, SLOT_PAGES *PAGE, false)
MOVE(write_4k, PAGE, true)
MOVE(write_128k, 32 * PAGE, true)
MOVE(write_1m, SLOT_PAGES *PAGE, true)

static int make_new(void)
{
	for (unsigned int i = 0; i < FILES; i++)
		if (create(i) < 0)
			return -1;
	return 0;
}

static int remove_new(void)
{
	for (unsigned int i = 0; i < FILES; i++)
		if (unlinkat(dir, names[NEW][i], 0) < 0 && unlinkat(dir, names[ABSENT][i], 0) < 0)
			return -1;
	return 0;
}

static const struct {
	const char *name;
	unsigned int count;
	int (*run)(unsigned int i);
	int (*prepare)(void), (*finish)(void);
} calls[] = {
	{"lookup", 2 * FILES, lookup, NULL, NULL},
	{"lookup_negative", 2 * FILES, lookup_negative, NULL, NULL},
	{"getattr", 2 * FILES, getattr, NULL, NULL},
	{"create", FILES, create, NULL, remove_new},
	{"create_uid_1000", FILES, create_uid_1000, NULL, remove_new},
	{"unlink", FILES, unlink_new, make_new, NULL},
	{"rename", FILES, rename_new, make_new, remove_new},
	{"readdirplus_4k", 255, readdirplus_4k, NULL, NULL},
	{"read_4k", FILES, read_4k, NULL, NULL},
	{"read_128k", 500, read_128k, NULL, NULL},
	{"read_1m", 100, read_1m, NULL, NULL},
	{"write_4k", FILES, write_4k, NULL, NULL},
	{"write_128k", 500, write_128k, NULL, NULL},
	{"write_1m", 100, write_1m, NULL, NULL},
};

static int set_up(const char *path)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || dir < 0 || ftruncate(fd, (off_t)GUEST_BYTES) < 0)
		return -1;
	guest = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	data = openat(dir, "data", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (guest == MAP_FAILED || data < 0)
		return -1;
	memset(guest, 7, GUEST_BYTES);
	for (unsigned int i = 0; i < DATA_BYTES / (SLOT_PAGES * PAGE); i++)
		if (write_1m(i) < 0)
			return -1;
	for (unsigned int i = 0; i < FILES; i++) {
		(void)snprintf(names[HERE][i], sizeof(names[0][0]), "f%04u", i);
		(void)snprintf(names[ABSENT][i], sizeof(names[0][0]), "absent%04u", i);
		(void)snprintf(names[NEW][i], sizeof(names[0][0]), "new%04u", i);
		files[i] = openat(dir, names[HERE][i], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (files[i] < 0 || pwrite(files[i], guest, PAGE, 0) != PAGE)
			return -1;
	}
	return 0;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double us[ARRAY_LEN(calls)][MAX_ROUNDS];
	unsigned int rounds = 10;
	const char *path = NULL;

	for (int o; (o = getopt(argc, argv, "n:d:")) != -1;)
		if (o == 'n')
			rounds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (o == 'd')
			path = optarg;
	if (!path || rounds < 1 || rounds > MAX_ROUNDS) {
		(void)fprintf(stderr, "usage: floor [-n ROUNDS] -d DIRECTORY\n");
		return 2;
	}
	if (set_up(path) < 0) {
		perror("floor");
		return 1;
	}
	/* The first round warms up and is overwritten. */
	for (unsigned int round = 0; round <= rounds; round++)
		for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
			int r = calls[k].prepare ? calls[k].prepare() : 0;
			uint64_t began = cpu_ns();

			for (unsigned int i = 0; r == 0 && i < calls[k].count; i++)
				r = calls[k].run(i);
			us[k][round ? round - 1 : 0] =
				(double)(cpu_ns() - began) / 1e3 / calls[k].count;
			if (r == 0 && calls[k].finish)
				r = calls[k].finish();
			if (r < 0) {
				perror(calls[k].name);
				return 1;
			}
		}
	for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
		qsort(us[k], rounds, sizeof(us[k][0]), by_value);
		printf("{\"bench\":\"fs\",\"op\":\"%s\",\"who\":\"the host's calls alone\","
		       "\"rounds\":%u,\"cpu_us\":%.2f}\n",
			calls[k].name, rounds, us[k][rounds / 2]);
	}
	return 0;
}
