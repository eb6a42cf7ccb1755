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
#include "fs/glob.h"
#include "fs/options.h"

struct fsb_rule_set {
	unsigned int n;
	struct {
		enum fsb_rule what;
		struct fsb_glob glob;
	} rule[FSB_MAX_GLOBS];
};

/* One more, at the end. -EINVAL, -E2BIG the pattern, or too many. */
int fsb_rule_add(
	struct fsb_rule_set *s, enum fsb_rule what, const char *glob, size_t n, struct msb_err *e);

/**
 * fsb_rules_said() - Lay rules over a backend that says which, and may say others later
 * @wait: 0 once they are set, -errno: the answer to what was to be judged by them
 * @next: taken over in any case
 * Return: 0; -ENOMEM.
 */
int fsb_rules_said(
	struct fsb *next, int (*wait)(struct fsb *next), struct fsb **ret, struct msb_err *e);
/* What @rules, of fsb_rules_said(), are from now on. Threads: any. */
void fsb_rules_set(struct fsb *rules, const struct fsb_rule_set *set);

/**
 * fsb_rules_new() - Lay rules over a backend
 * @rule, @n: at most FSB_MAX_GLOBS; copied. None: @ret is @next
 * @next: taken over in any case
 * Return: 0; -EINVAL, -E2BIG a pattern; -ENOMEM.
 */
int fsb_rules_new(const struct fsb_glob_rule *rule, unsigned int n, struct fsb *next,
	struct fsb **ret, struct msb_err *e);

#endif
