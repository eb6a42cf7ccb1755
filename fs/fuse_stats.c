// SPDX-License-Identifier: Apache-2.0
// What a queue has served.
#include "fs/fuse_stats.h"
#include "fs/fuse_priv.h"

#include <pthread.h>
#include <time.h>

#define CLOCK_NS 1000000 /* between the two looks at the clocks, at least */

/* FSD_OP_OTHER is 0: what is not here. */
static const uint8_t class_of[FUSE_STATX_OP + 1] = {
	[FUSE_LOOKUP] = FSD_OP_LOOKUP,
	[FUSE_GETATTR] = FSD_OP_ATTR,
	[FUSE_SETATTR] = FSD_OP_ATTR,
	[FUSE_STATX_OP] = FSD_OP_ATTR,
	[FUSE_STATFS] = FSD_OP_ATTR,
	[FUSE_READLINK] = FSD_OP_ATTR,
	[FUSE_GETXATTR] = FSD_OP_ATTR,
	[FUSE_LISTXATTR] = FSD_OP_ATTR,
	[FUSE_SETXATTR] = FSD_OP_ATTR,
	[FUSE_REMOVEXATTR] = FSD_OP_ATTR,
	[FUSE_OPEN] = FSD_OP_OPEN,
	[FUSE_OPENDIR] = FSD_OP_OPEN,
	[FUSE_RELEASE] = FSD_OP_OPEN,
	[FUSE_RELEASEDIR] = FSD_OP_OPEN,
	[FUSE_READ] = FSD_OP_READ,
	[FUSE_WRITE] = FSD_OP_WRITE,
	[FUSE_FALLOCATE] = FSD_OP_WRITE,
	[FUSE_COPY_FILE_RANGE] = FSD_OP_WRITE,
	[FUSE_READDIR] = FSD_OP_READDIR,
	[FUSE_READDIRPLUS] = FSD_OP_READDIR,
	[FUSE_SYMLINK] = FSD_OP_CHANGE,
	[FUSE_MKNOD] = FSD_OP_CHANGE,
	[FUSE_MKDIR] = FSD_OP_CHANGE,
	[FUSE_UNLINK] = FSD_OP_CHANGE,
	[FUSE_RMDIR] = FSD_OP_CHANGE,
	[FUSE_RENAME] = FSD_OP_CHANGE,
	[FUSE_RENAME2] = FSD_OP_CHANGE,
	[FUSE_LINK] = FSD_OP_CHANGE,
	[FUSE_CREATE] = FSD_OP_CHANGE,
	[FUSE_TMPFILE] = FSD_OP_CHANGE,
	[FUSE_FSYNC] = FSD_OP_SYNC,
	[FUSE_FSYNCDIR] = FSD_OP_SYNC,
	[FUSE_SYNCFS] = FSD_OP_SYNC,
};

static uint64_t usec_per_cycle; /* fixed point, 32 bits behind it; written once */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t first_cycles, first_ns;

static void begin(void)
{
	first_cycles = fuse_stats_now();
	first_ns = now_ns();
}

void fuse_stats_clock_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, begin); /* cannot fail with a proper once */
}

static void compare(void)
{
	uint64_t cycles, ns;

	fuse_stats_clock_begin();
	while (now_ns() - first_ns < CLOCK_NS)
		__builtin_ia32_pause();
	cycles = fuse_stats_now() - first_cycles;
	ns = now_ns() - first_ns;
	usec_per_cycle = cycles ? (uint64_t)(((unsigned __int128)ns << 32) / 1000 / cycles) : 0;
}

void fuse_stats_clock(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, compare); /* as above */
}

/* One thread writes. */
static inline void add(_Atomic uint64_t *p, uint64_t n)
{
	atomic_store_explicit(
		p, atomic_load_explicit(p, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Bucket i holds what took at most 2^i microseconds, the last one everything else. */
static unsigned int bucket(uint64_t usec)
{
	unsigned int i = usec > 1 ? 64 - (unsigned int)__builtin_clzll(usec - 1) : 0;

	return i < FSD_BUCKETS ? i : FSD_BUCKETS - 1;
}

void fuse_stats_count(
	struct fuse_stats *s, uint32_t opcode, int64_t r, size_t in_bytes, uint64_t begun)
{
	uint64_t cycles = fuse_stats_now() - begun,
		 usec = (uint64_t)(((unsigned __int128)cycles * usec_per_cycle) >> 32);
	uint8_t class = opcode <= FUSE_STATX_OP ? class_of[opcode] : FSD_OP_OTHER;

	add(&s->hist[class][bucket(usec)], 1);
	add(&s->usec[class], usec);
	if (r < 0)
		add(&s->errors, 1);
	else if (opcode == FUSE_READ)
		add(&s->read_bytes, (uint64_t)r);
	else if (opcode == FUSE_WRITE)
		add(&s->written_bytes,
			in_bytes - sizeof(struct fuse_in_header) - sizeof(struct fuse_write_in));
}

void fuse_stats_add(const struct fuse_stats *s, struct fsd_stats *t)
{
	for (int i = 0; i < FSD_OPS; i++) {
		for (int k = 0; k < FSD_BUCKETS; k++)
			t->hist[i][k] += atomic_load_explicit(&s->hist[i][k], memory_order_relaxed);
		t->usec[i] += atomic_load_explicit(&s->usec[i], memory_order_relaxed);
	}
	t->errors += atomic_load_explicit(&s->errors, memory_order_relaxed);
	t->read_bytes += atomic_load_explicit(&s->read_bytes, memory_order_relaxed);
	t->written_bytes += atomic_load_explicit(&s->written_bytes, memory_order_relaxed);
}
