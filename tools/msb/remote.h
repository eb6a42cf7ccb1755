/* SPDX-License-Identifier: Apache-2.0 */
/* The same command on another host, by ssh. */
#ifndef MSB_TOOLS_REMOTE_H
#define MSB_TOOLS_REMOTE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

#define REMOTE_MAX_WORDS 12

/* What ssh is called with. */
struct remote {
	char host[300], port[8]; /* USER@HOST; port may be empty */
	struct msb_str command;	 /* a line for the other host's shell */
};

/**
 * remote_parse() - ssh://[USER@]HOST[:PORT], and an IPv6 address in brackets
 * A pure function. Return: 0; -EINVAL, which nothing of ssh's own options can be made of.
 */
int remote_parse(const char *url, struct remote *ret, struct msb_err *e);
/* `msb WORD...` with every word in quotes that needs some. */
void remote_command(struct remote *r, char **words);

/* Becomes ssh, whose exit status is the other msb's, or 255 where it could not get there. Returns
 * only where there is no ssh: -errno. */
int remote_run(struct remote *r, struct msb_err *e);

#endif
