/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue has served: counted by its thread alone, read by any. A count is a load and a store,
 * a latency two reads of the time stamp counter: nothing is shared, nothing is locked.
 */
#ifndef MSB_FS_FUSE_STATS_H
#define MSB_FS_FUSE_STATS_H

#include "fs/fsd.h"

#include <stdatomic.h>
#include <stddef.h>

struct fuse_stats {
	_Atomic uint64_t hist[FSD_OPS][FSD_BUCKETS];
	_Atomic uint64_t usec[FSD_OPS], errors, read_bytes, written_bytes;
};

/* How long a cycle of the time stamp counter is: looks at both clocks when an export is made, and
 * again before the first queue runs, by when some time has passed. */
void fuse_stats_clock_begin(void);
void fuse_stats_clock(void);

static inline uint64_t fuse_stats_now(void)
{
	return __builtin_ia32_rdtsc();
}

/* A request has been served. @r: bytes of its reply, or -errno; @in_bytes of the request. */
void fuse_stats_count(
	struct fuse_stats *s, uint32_t opcode, int64_t r, size_t in_bytes, uint64_t begun);

void fuse_stats_add(const struct fuse_stats *s, struct fsd_stats *add_to);

#endif
