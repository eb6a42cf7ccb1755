// SPDX-License-Identifier: Apache-2.0
// What a user may write: lines, words, mount lines. What is printed has to read back the same.
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/fstab.h"
#include "ctl/line.h"
#include "ctl/tmpfs.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mount_line(const char *line, size_t len)
{
	_cleanup_str_ struct msb_str a = MSB_STR_INIT, b = MSB_STR_INIT;
	static struct ctl_mount m, again;

	if (ctl_mount_parse(line, len, &m, NULL) != 1)
		return;
	ctl_mount_print(&a, &m);
	/* Printing may lengthen a line past what a user may write, by its escapes. */
	if (a.len - 1 > CTL_MAX_LINE)
		return;
	if (ctl_mount_parse(a.buf, a.len - 1, &again, NULL) != 1)
		abort();
	ctl_mount_print(&b, &again);
	if (strcmp(a.buf, b.buf) != 0)
		abort();
}

static void tmpfs_line(const char *line, size_t len)
{
	_cleanup_str_ struct msb_str a = MSB_STR_INIT, b = MSB_STR_INIT;
	_cleanup_free_ char *text = strndup(line, len);

	if (!text || ctl_tmpfs_check(text, &a, NULL) < 0 || !a.len || a.len - 1 > CTL_MAX_LINE)
		return;
	if (ctl_tmpfs_check(a.buf, &b, NULL) < 0 || strcmp(a.buf, b.buf) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *line;
	size_t pos = 0, len, before = 0;
	static struct ctl_words w;

	while (ctl_line_next(p, size, &pos, &line, &len) == 1) {
		if (pos <= before || pos > size || line < p || line + len > p + size)
			abort();
		before = pos;
		if (ctl_words_split(line, len, &w, NULL) == 0)
			for (size_t i = 0; i < w.n; i++)
				if (w.w[i] < w.buf ||
					w.w[i] + strlen(w.w[i]) >= w.buf + sizeof(w.buf))
					abort();
		mount_line(line, len);
		tmpfs_line(line, len);
	}
	return 0;
}
