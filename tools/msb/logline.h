/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a sandbox's log: a piece of what a job has printed. */
#ifndef MSB_TOOLS_LOGLINE_H
#define MSB_TOOLS_LOGLINE_H

#include "base/str.h"

#include <stdint.h>

#define LOGLINE_MAX (1u << 20) /* bytes; what msb writes is shorter */

struct logline {
	char time[40]; /* RFC 3339, UTC */
	uint32_t job;
	bool is_err;
	struct msb_str data; /* the bytes as they were printed */
};

/* A pure function. -EINVAL it is no such line; -ENOMEM. */
int logline_parse(const char *p, size_t n, struct logline *ret);
void logline_done(struct logline *x);

#endif
