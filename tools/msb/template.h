/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for people who say how: `{{.Name}}\t{{.State}}`, docker's --format without its programs. */
#ifndef MSB_TOOLS_TEMPLATE_H
#define MSB_TOOLS_TEMPLATE_H

#include "base/err.h"
#include "base/str.h"

/**
 * template_expand() - Append @text, each {{.FIELD}} replaced by what @get appends; \t and \n are
 * what they say
 * @get: -ENOENT where there is no such field, whose name comes as it was written
 * Return: 0; -EINVAL.
 */
int template_expand(const char *text,
	int (*get)(const void *arg, const char *field, struct msb_str *s), const void *arg,
	struct msb_str *s, struct msb_err *e);

#endif
