/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job of the tree that we hold by its open files, and that we find again where msbd ends and
 * another one comes.
 */
#ifndef MSB_TOOLS_JOB_HELD_H
#define MSB_TOOLS_JOB_HELD_H

#include "tools/msb/mnt.h"
#include "tools/msb/stream.h"

#include <stdbool.h>
#include <stddef.h>

struct held {
	struct mnt *m;
	const char *name; /* of its sandbox */
	unsigned int number;
	char created[24]; /* created_usec: no other job of that number has it */
	bool joined;	  /* it was there before, and others may have it too */
	int jobs, clone, dir, in, out, err, status; /* -1: not open */
};
#define HELD_INIT(mount, sandbox)                                                                  \
	{                                                                                          \
		.m = (mount), .name = (sandbox), .jobs = -1, .clone = -1, .dir = -1, .in = -1,     \
		.out = -1, .err = -1, .status = -1                                                 \
	}
void held_done(struct held *h);

/* An operation of the job's that failed with @code, in msbd's words. Return: -@code. */
int held_why(const struct held *h, int code, struct msb_err *e);
int held_open_jobs(struct held *h, struct msb_err *e);
int held_open_dir(struct held *h, struct msb_err *e); /* of its number */
int held_open_streams(struct held *h, bool input, bool tty, struct msb_err *e);
/* Opens its status, and has @s follow it, through restarts of msbd too. */
int held_follow(struct held *h, struct stream *s, struct msb_err *e);
/* The value of a key of its status, which begins with a newline here; empty: none. */
void held_value(const char *text, const char *key, char *ret, size_t max);

#endif
