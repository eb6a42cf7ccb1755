/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the audit wrappers of one file server write: a bounded buffer, one thread, a file.
 *
 * A request's thread leaves a record of some 100 bytes in a ring, without a lock and, while the
 * writer is at work, without a system call; the writer turns records into JSON Lines. What finds no
 * room is counted, and a line {"time":...,"dropped":N} says so once there is room again. The same
 * goes for what a failing disk loses. The file is `audit`; past its size it becomes `audit.1`, and
 * the older one is gone.
 *
 * The writer gathers for AUDIT_FLUSH_MS; after AUDIT_IDLE_MS without a record it sleeps until there
 * is one, which it writes at once.
 */
#ifndef MSB_FS_AUDIT_SINK_H
#define MSB_FS_AUDIT_SINK_H

#include "base/err.h"
#include "fs/options.h"

#include <stddef.h>
#include <stdint.h>

#define AUDIT_MAX_BYTES	 (16u << 20) /* of one file; there are two */
#define AUDIT_RING_BYTES (2u << 20)  /* records that are not written yet */
#define AUDIT_WAKE_BYTES                                                                           \
	(128u << 10) /* of them, that wake the writer: they are still in a cache                   \
		      */
#define AUDIT_FLUSH_MS	50
#define AUDIT_IDLE_MS	2000
#define AUDIT_MAX_MOUNT 1024 /* bytes of a mount's name in a record; cut there */
#define AUDIT_FILE	"audit"

/* What happened. Texts are bytes, not terminated. */
struct audit_event {
	enum fsb_op op;
	int result; /* 0 or -errno */
	uint32_t pid, uid, gid;
	uint32_t flags, mode; /* as in struct fsb_call */
	uint64_t off, bytes;  /* bytes: of data that moved; where it failed, asked for */
	const char *mount;    /* its name, terminated */
	const char *path;     /* as fsb_names_path() gives it */
	const char *path2;    /* rename, link, copy_file_range: the other; symlink: the target;
				 xattr: its name */
	uint16_t path_bytes, path2_bytes;
};

struct audit_sink;

/**
 * audit_sink_new() - Start a writer
 * @dir_fd: directory of the files, taken over in any case
 * @max_bytes: of one file; 0: AUDIT_MAX_BYTES
 * A file that cannot be opened or written is tried again with every batch, and logged once.
 * Return: 0; -ENOMEM, -EAGAIN no thread.
 */
int audit_sink_new(int dir_fd, uint64_t max_bytes, struct audit_sink **ret, struct msb_err *e);

/* Writes what there is and frees. Nobody adds any more. Accepts NULL. */
struct audit_sink *audit_sink_free(struct audit_sink *s);

/* Never waits. Threads: any. */
void audit_sink_add(struct audit_sink *s, const struct audit_event *ev);

/* Records that were dropped, and are not told of in the file yet. */
uint64_t audit_sink_lost(const struct audit_sink *s);

/* ---- audit_format.c: pure, for tests */

/* Of one line: both paths and the mount with every byte escaped, and the rest. */
#define AUDIT_MAX_LINE (6 * (2 * 4096 + AUDIT_MAX_MOUNT) + 1024)

/* Writes the line of an event at a time of CLOCK_REALTIME, newline included; its bytes. @buf has
 * AUDIT_MAX_LINE. Paths are cut at 4096 bytes. A byte that is no UTF-8 is written \udcXX, with XX
 * its value: no text has that otherwise, so nothing is lost. */
size_t audit_format(char *buf, const struct audit_event *ev, int64_t sec, uint32_t nsec);
size_t audit_format_dropped(char *buf, uint64_t n, int64_t sec, uint32_t nsec);

#endif
