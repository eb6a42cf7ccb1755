/* SPDX-License-Identifier: Apache-2.0 */
/* What a sandbox's files say of it, for those who look. */
#ifndef MSB_TOOLS_VIEW_H
#define MSB_TOOLS_VIEW_H

#include "tools/msb/mnt.h"

#include <jansson.h>

/* `key value` lines, as of `status`. Appends the value; -ENOENT there is no such key. */
int view_line(const char *text, const char *key, struct msb_str *s);
/* The same as a number; 0 where it is none. */
unsigned long long view_number(const char *text, const char *key);

/* A sandbox whole: name, every value file as itself (a number where the file is one; a table as an
 * array of lines, `labels` and `env` as mappings), `status` and `metrics` by their keys. NULL:
 * -ENOENT, or no memory; said in @e. */
json_t *view_sandbox(const struct mnt *m, const char *name, struct msb_err *e);
/* `metrics/` alone: every file, also of directories in it. */
json_t *view_metrics(const struct mnt *m, const char *name);

/* A value by a path of keys, `status.state` or `.State`: without regard to case and to `_`. NULL:
 * none. */
const json_t *view_find(const json_t *o, const char *path);
/* As a line: a text as it is, anything else as JSON. */
void view_print(const json_t *v, struct msb_str *s);

#endif
