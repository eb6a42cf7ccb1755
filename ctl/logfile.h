/* SPDX-License-Identifier: Apache-2.0 */
/* Logs on disk that are rotated by size: NAME.1, then NAME, read as one file. */
#ifndef MSB_CTL_LOGFILE_H
#define MSB_CTL_LOGFILE_H

#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

/* One open pair: what is written later to NAME is seen, a later rotation is not. */
struct ctl_logfile {
	int old_fd, fd; /* -1: not there */
	uint64_t old_bytes;
};

void ctl_logfile_open(
	struct ctl_logfile *l, int dirfd, const char *name); /* what is absent is empty */
void ctl_logfile_close(struct ctl_logfile *l);
uint64_t ctl_logfile_size(int dirfd, const char *name); /* of both */
uint64_t ctl_logfile_end(const struct ctl_logfile *l);	/* of what is open */

/* Appends up to @max bytes at @off to @s; none at the end. 0 or -errno. */
int ctl_logfile_read(const struct ctl_logfile *l, uint64_t off, size_t max, struct msb_str *s);

/* Past @max bytes: copies NAME to NAME.1 and empties it. Writers that append to it go on unawares.
 */
void ctl_logfile_rotate(int dirfd, const char *name, uint64_t max);

#endif
