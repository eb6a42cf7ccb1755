/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of resource limits: a sandbox's, and a job's that go before. Pure functions over texts. */
#ifndef MSB_CTL_RLIMITS_H
#define MSB_CTL_RLIMITS_H

#include "base/err.h"
#include "base/str.h"
#include "ctl/limits.h"

/**
 * ctl_rlimits_check() - Check lines of `NAME SOFT[:HARD]`, and append them as they are kept
 * Blank lines and those of # are passed over. Errors: -EINVAL, -E2BIG, each with a sentence.
 */
int ctl_rlimits_check(const char *text, struct msb_str *ret, struct msb_err *e);

struct ctl_rlimits {
	char *v[CTL_MAX_RLIMITS + 1]; /* NAME:SOFT:HARD, NULL at the end */
};
/* One of each kind out of two tables that were checked: @own goes before @all, and a later line
 * before an earlier. -ENOMEM; give @ret to ctl_rlimits_done() in any case. */
int ctl_rlimits_list(const char *all, const char *own, struct ctl_rlimits *ret);
void ctl_rlimits_done(struct ctl_rlimits *l);

#endif
