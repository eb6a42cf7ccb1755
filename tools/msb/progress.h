/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verb of images/ctl that takes long, and how far it is: a bar a layer on a terminal, a line a
 * change of state elsewhere. What there is to say comes from images/pulls/N.
 */
#ifndef MSB_TOOLS_PROGRESS_H
#define MSB_TOOLS_PROGRESS_H

#include "tools/msb/mnt.h"

#define PROGRESS_MAX_LAYERS 127

struct progress_layer {
	char digest[13]; /* its first digits */
	char state[12];
	unsigned long long done, total;
};

struct progress {
	char stage[16];
	unsigned int layers;				      /* the highest number that was said */
	struct progress_layer layer[PROGRESS_MAX_LAYERS + 1]; /* from 1 on */
	char digest[72];				      /* of the image, at the end */
};

/* Takes a line of the stream in. Return: whether a state changed, and of which layer (0: the
 * stage); -1: nothing that shows. A pure function. */
int progress_line(struct progress *p, const char *line);

/* A bar of @width columns, with the numbers beside it, into @buf. A pure function. */
void progress_bar(
	const struct progress_layer *l, unsigned int width, bool colour, struct msb_str *s);

/**
 * progress_do() - Write @line to images/ctl, show how it goes, and wait for its end
 * @verb, @ref: which stream it is, also where another's pull is joined; @ref may be NULL
 * @quiet: show nothing
 * ^C ends it: -EINTR.
 */
int progress_do(const struct mnt *m, const char *verb, const char *ref, const char *line,
	bool quiet, struct progress *ret, struct msb_err *e);

#endif
