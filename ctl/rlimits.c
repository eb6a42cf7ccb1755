// SPDX-License-Identifier: Apache-2.0
// Tables of resource limits.
#include "ctl/rlimits.h"
#include "base/rlimits.h"
#include "ctl/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `NAME SOFT[:HARD]` */
static int one_limit(const char *line, size_t n, struct msb_str *ret, struct msb_err *e)
{
	char soft[32];
	struct ctl_words w;
	const char *hard;
	uint64_t a, b;
	int r = ctl_words_split(line, n, &w, e);

	if (r < 0 || w.n == 0)
		return r;
	if (w.n == 2 && msb_rlimit_find(w.w[0], strlen(w.w[0])) >= 0) {
		hard = strchr(w.w[1], ':');
		(void)snprintf(soft, sizeof(soft), "%.*s",
			hard ? (int)(hard - w.w[1]) : (int)strlen(w.w[1]), w.w[1]);
		if (msb_rlimit_number(soft, &a) == 0 &&
			msb_rlimit_number(hard ? hard + 1 : soft, &b) == 0 && a <= b) {
			msb_str_addf(ret, "%s %s:%s\n", w.w[0], soft, hard ? hard + 1 : soft);
			return 0;
		}
	}
	return msb_err_set(e, EINVAL,
		"`%.*s` is no limit: NAME SOFT[:HARD], a name of getrlimit(2) such as nofile, "
		"numbers or `unlimited`, soft not above hard",
		(int)(n < 200 ? n : 200), line);
}

int ctl_rlimits_check(const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t lines = 0;
	int r = 0;

	for (const char *p = text; r == 0 && *p;) {
		size_t n = strcspn(p, "\n");

		if (++lines > CTL_MAX_RLIMITS)
			return msb_err_set(
				e, E2BIG, "there are at most %d limits", CTL_MAX_RLIMITS);
		r = one_limit(p, n, ret, e);
		p += n + (p[n] == '\n');
	}
	return r;
}

/* Whether a later line of @text than the one at @p is of the same name; or any line of @other. */
static bool overridden(const char *p, const char *other)
{
	size_t k = strcspn(p, " ") + 1;

	for (const char *q = p + strcspn(p, "\n") + 1; *q; q += strcspn(q, "\n") + 1)
		if (!strncmp(p, q, k))
			return true;
	for (const char *q = other; *q; q += strcspn(q, "\n") + 1)
		if (!strncmp(p, q, k))
			return true;
	return false;
}

static int add_lines(const char *text, const char *over, struct ctl_rlimits *ret, size_t *n)
{
	for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
		char *one;

		if (overridden(p, over))
			continue;
		one = strndup(p, strcspn(p, "\n"));
		if (!one)
			return -ENOMEM;
		one[strcspn(one, " ")] = ':';
		ret->v[(*n)++] = one; /* each is of another kind: they are no more than there are */
	}
	return 0;
}

int ctl_rlimits_list(const char *all, const char *own, struct ctl_rlimits *ret)
{
	size_t n = 0;
	int r;

	*ret = (struct ctl_rlimits){{NULL}};
	r = add_lines(all, own, ret, &n);
	return r < 0 ? r : add_lines(own, "", ret, &n);
}

void ctl_rlimits_done(struct ctl_rlimits *l)
{
	for (char **p = l->v; *p; p++)
		free(*p);
	*l = (struct ctl_rlimits){{NULL}};
}
