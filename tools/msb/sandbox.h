/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes by their names. */
#ifndef MSB_TOOLS_SANDBOX_H
#define MSB_TOOLS_SANDBOX_H

#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"

/* 0; -EINVAL it can be none. */
int sandbox_name(const char *name, struct msb_err *e);
/* Writes a line to its ctl; the sentence of a failure is that of this write. */
int sandbox_verb(const struct mnt *m, const char *name, const char *verb, struct msb_err *e);
int sandbox_read(const struct mnt *m, const char *name, const char *file, struct msb_str *s,
	struct msb_err *e);
int sandbox_set(const struct mnt *m, const char *name, const char *file, const char *value,
	struct msb_err *e);
/* Does @fn with each word of the command line, and prints the word where that was well, unless
 * --quiet. Return: the exit status. */
int sandbox_each(const struct cli_args *a,
	int (*fn)(const struct mnt *, const struct cli_args *, const char *, struct msb_err *));

#endif
