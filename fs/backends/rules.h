/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules wrapper, for who lays it over a backend by itself: a plugin that declares rules.
 *
 * The last rule that matches a path decides; without one it is allowed. Denied: not listed, EACCES
 * whatever is done with the name. Redacted: there, with its size; contents read as zero bytes, it
 * has no attributes, its target cannot be read, and nothing may change it. What a rule matches is
 * the name that a file was last looked up by: one with several names has the rights of each.
 * A directory is not moved where an answer below it would change: EXDEV, so that mv(1) copies.
 */
#ifndef MSB_FS_BACKENDS_RULES_H
#define MSB_FS_BACKENDS_RULES_H

#include "fs/fsb.h"
#include "fs/options.h"

/**
 * fsb_rules_new() - Lay rules over a backend
 * @rule, @n: at most FSB_MAX_GLOBS; copied. None: @ret is @next
 * @next: taken over in any case
 * Return: 0; -EINVAL, -E2BIG a pattern; -ENOMEM.
 */
int fsb_rules_new(const struct fsb_glob_rule *rule, unsigned int n, struct fsb *next,
	struct fsb **ret, struct msb_err *e);

#endif
