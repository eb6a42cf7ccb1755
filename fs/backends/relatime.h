/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When reading a file moves its access time, where backends keep times themselves: as relatime
 * does, if nothing else is asked for. A read moves it once after each change, and once a day; and
 * the kernel, which reads again what it was told of a file after every request to read it, shows
 * that at once. Source: Linux, fs/inode.c: relatime_need_update().
 */
#ifndef MSB_FS_BACKENDS_RELATIME_H
#define MSB_FS_BACKENDS_RELATIME_H

#include "fs/options.h"

#include <stdbool.h>
#include <time.h>

#define RELATIME_SECONDS (24 * 3600)

static inline bool relatime_after(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static inline bool relatime_due(struct timespec atime, struct timespec mtime, struct timespec ctime)
{
	struct timespec now;

	if (!relatime_after(atime, mtime) || !relatime_after(atime, ctime))
		return true;
	clock_gettime(CLOCK_REALTIME_COARSE, &now); /* a read of memory */
	return now.tv_sec - atime.tv_sec >= RELATIME_SECONDS;
}

static inline bool atime_due(
	enum fsb_atime how, struct timespec atime, struct timespec mtime, struct timespec ctime)
{
	return how == FSB_STRICTATIME || (how == FSB_RELATIME && relatime_due(atime, mtime, ctime));
}

#endif
