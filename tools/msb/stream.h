/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams of a job that runs, joined to our own: standard input to it, its output to ours, our
 * signals and the size of our terminal to it.
 *
 * Theory of operation. One thread, one poll loop. The job's files are open without blocking, and so
 * are ours where they can be had so without changing them for others. A buffer each way is read
 * into when it is empty and written from until it is empty, so whoever is slow makes the other
 * wait. A file is polled only after it said EAGAIN: of the control tree that is a request each.
 *
 * Where msbd ends, the files are opened anew in the tree of the next one, and each stream goes on
 * at the byte where it was: what was read before is skipped, what of a write that was cut off had
 * been taken is not written again, signals that could not be told are told then.
 */
#ifndef MSB_TOOLS_STREAM_H
#define MSB_TOOLS_STREAM_H

#include "base/err.h"
#include "tools/msb/term.h"

#include <stdbool.h>
#include <stdint.h>

enum stream_end {
	STREAM_ENDED = 1, /* the job has */
	STREAM_DETACHED,  /* by its keys */
	STREAM_SIGNAL,	  /* the second of a kind, or our terminal has gone: who waits is to end */
	STREAM_CLOSED,	  /* nobody reads our stdout any more */
};

struct stream {
	int dir;	  /* the job's directory */
	int in, out, err; /* its files, open without blocking; -1: not of interest. The caller's */
	bool tty; /* it has a terminal, of the size rows cols: ours, where it is one, is raw */
	unsigned int rows, cols;
	struct term_keys keys;
	int signal; /* STREAM_SIGNAL: which */

	/* Has dir and the files opened anew, and sets skip and in_taken. 0; -EAGAIN there is no
	 * msbd yet; another -errno: it is over. NULL: msbd's end is ours. */
	int (*again)(struct stream *s, void *arg, struct msb_err *e);
	void *again_arg;
	uint64_t got[2];   /* bytes of the job's stdout and stderr up to where we are */
	uint64_t skip[2];  /* of them the files begin with so many */
	uint64_t given;	   /* bytes of its input up to what we have to write next */
	uint64_t in_taken; /* of what comes from there on it has had so many */
};

/* Writes `LINE` to the job's ctl; 0 or -errno. */
int stream_tell(const struct stream *s, const char *line);

/**
 * stream_run() - Until the job ends, or is let go of
 * Signals that are passed on are blocked meanwhile, and handled as before afterwards.
 * Return: enum stream_end; -errno: a stream failed; -ENODEV: it is gone; -ENOTCONN: its msbd ended,
 * and none came in MNT_AGAIN_MS.
 */
int stream_run(struct stream *s, struct msb_err *e);

#endif
