/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs on disk that are rotated: NAME.N (the oldest) .. NAME.1, then NAME, read as one file that
 * only grows, as a ring is (ctl/ring.h).
 *
 * Theory of operation. Who writes a log renames NAME.k to NAME.k+1, the last one away, and begins
 * NAME anew; names mean other files then, so a reader goes by the files themselves. All who have a
 * log open share one list of its open files, oldest first, each with the place of its first byte
 * among all bytes since the list was begun. When NAME is another file than the newest of the list,
 * those that came since are found by their names. The size that stat says is the end of the list:
 * it never shrinks while somebody has the log open, so that `tail -f` sees nothing twice.
 */
#ifndef MSB_CTL_LOGFILE_H
#define MSB_CTL_LOGFILE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_LOG_MAX_OLD 8

struct ctl_logfile;

/* Threads: any, on all of these. */

/* A reference, to be closed; NULL without memory. What is absent is empty, until it is there.
 * @old: files beside NAME, 1 to CTL_LOG_MAX_OLD. @dirfd stays open as long. */
struct ctl_logfile *ctl_logfile_open(int dirfd, const char *name, unsigned int old);
struct ctl_logfile *ctl_logfile_close(struct ctl_logfile *l); /* NULL, and accepts it */
/* What stat says: its end where somebody has it open, else of what is there. */
uint64_t ctl_logfile_size(int dirfd, const char *name, unsigned int old);

/* One reader. Zeroed is new. */
struct ctl_log_reader {
	uint64_t shift; /* place = file offset + shift */
	uint64_t note_off;
	bool noted; /* {"dropped":true} is read at note_off */
};

/**
 * ctl_logfile_read() - Append up to @max bytes at file offset @off to @s; none at the end
 * @note: a reader whose bytes are gone reads {"dropped":true} before it goes on with the oldest
 * that are here; else it just goes on Offset 0 begins anew with the oldest byte. Return: 0 or
 * -errno.
 */
int ctl_logfile_read(struct ctl_logfile *l, struct ctl_log_reader *rd, uint64_t off, size_t max,
	bool note, struct msb_str *s);
/* Whether a read at @off has something to give. */
bool ctl_logfile_more(struct ctl_logfile *l, const struct ctl_log_reader *rd, uint64_t off);

/* Past @max bytes: copies NAME to NAME.1 and empties it, for writers that keep it open to append.
 */
void ctl_logfile_rotate(int dirfd, const char *name, uint64_t max);

#endif
