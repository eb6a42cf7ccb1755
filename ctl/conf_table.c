// SPDX-License-Identifier: Apache-2.0
// Values that are tables: what their lines may be.
#include "ctl/conf_int.h"
#include "base/str.h"
#include "ctl/rlimits.h"
#include "ctl/tmpfs.h"

#include <errno.h>
#include <string.h>

/* Whether a line after the @n bytes at @p has the same key, which is @k bytes with its `=`. */
static bool comes_again(const char *p, size_t n, size_t k)
{
	for (const char *q = p + n; *q == '\n'; q += strcspn(q, "\n")) {
		q++;
		if (!strncmp(p, q, k))
			return true;
	}
	return false;
}

static int one_label(const char *p, size_t n, struct msb_err *e)
{
	const char *eq = memchr(p, '=', n);
	size_t k = eq ? (size_t)(eq - p) : 0;

	if (k == 0 || memchr(p, ' ', k))
		return msb_err_set(e, EINVAL,
			"`%.*s` is no label: it is KEY=VALUE, and no blank is in KEY",
			(int)(n < 200 ? n : 200), p);
	if (k > CTL_MAX_LABEL_KEY)
		return msb_err_set(
			e, E2BIG, "the key of a label has at most %d bytes", CTL_MAX_LABEL_KEY);
	if (n > CTL_MAX_LINE)
		return msb_err_set(e, E2BIG, "a label has at most %d bytes", CTL_MAX_LINE);
	return msb_utf8_valid(p, n) ? 0
				    : msb_err_set(e, EINVAL, "label %.*s is not UTF-8", (int)k, p);
}

/* Of lines with the same key the last one counts. */
int conf_check_labels(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t lines = 0, n;
	int r = 0;

	for (const char *p = text; r == 0 && *p; p += n + (p[n] == '\n')) {
		n = strcspn(p, "\n");
		if (n == 0)
			continue;
		r = one_label(p, n, e);
		if (r < 0 || comes_again(p, n, strcspn(p, "=") + 1))
			continue;
		if (++lines > CTL_MAX_LABELS)
			return msb_err_set(
				e, EDQUOT, "a sandbox has at most %d labels", CTL_MAX_LABELS);
		msb_str_add(ret, p, n);
		msb_str_adds(ret, "\n");
	}
	return r;
}

int conf_check_rlimits(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return ctl_rlimits_check(text, ret, e);
}

/* That mounts has none of its paths is seen to where both are known. */
int conf_check_tmpfs(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return ctl_tmpfs_check(text, ret, e);
}
