// SPDX-License-Identifier: Apache-2.0
// One line of `mounts`.
#include "ctl/fstab.h"

#include <errno.h>
#include <string.h>

static bool printable(const char *p)
{
	for (; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

/* Every component is a name: the guest's PID 1 never has to resolve dots, nor guess at slashes. */
static bool plain_path(const char *p)
{
	if (*p != '/' || !p[1])
		return false;
	while (*p) {
		const char *end = strchrnul(++p, '/');
		size_t n = (size_t)(end - p);

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && !strncmp(p, "..", 2)))
			return false;
		p = end;
	}
	return true;
}

static int options(const char *list, bool *readonly, struct msb_err *e)
{
	for (const char *p = list; *p;) {
		size_t n = strcspn(p, ",");

		if (n == 2 && !strncmp(p, "ro", n))
			*readonly = true;
		else if (n == 2 && !strncmp(p, "rw", n))
			*readonly = false;
		else if (!(n == 8 && !strncmp(p, "defaults", n)))
			return msb_err_set(e, EINVAL,
				"mount option `%.*s` is not known; there are ro, rw, defaults",
				(int)n, p);
		p += n;
		if (*p == ',' && !*++p)
			return msb_err_set(e, EINVAL, "the mount options end in a comma");
	}
	return 0;
}

int ctl_mount_parse(const char *line, size_t len, struct ctl_mount *ret, struct msb_err *e)
{
	int r = ctl_words_split(line, len, &ret->words, e);

	if (r < 0)
		return r;
	if (ret->words.n == 0)
		return 0;
	if (ret->words.n < 3 || ret->words.n > 4)
		return msb_err_set(e, EINVAL,
			"a mount is `SOURCE GUEST-PATH BACKEND OPTIONS`; \\040 stands for a space");
	ret->source = ret->words.w[0];
	ret->path = ret->words.w[1];
	ret->backend = ret->words.w[2];
	ret->readonly = false;
	if (*ret->source != '/' || !printable(ret->source))
		return msb_err_set(
			e, EINVAL, "mount source `%s` is not an absolute path", ret->source);
	if (strlen(ret->path) > CTL_MAX_GUEST_PATH)
		return msb_err_set(
			e, E2BIG, "the guest path is longer than %d bytes", CTL_MAX_GUEST_PATH);
	if (!plain_path(ret->path) || !printable(ret->path))
		return msb_err_set(e, EINVAL,
			"guest path `%s` is not absolute, is /, or has empty, . or .. components",
			ret->path);
	if (strcmp(ret->backend, "passthrough") != 0)
		return msb_err_set(e, EOPNOTSUPP,
			"mount backend `%s` is not known; there is passthrough", ret->backend);
	r = ret->words.n == 4 ? options(ret->words.w[3], &ret->readonly, e) : 0;
	return r < 0 ? r : 1;
}

void ctl_mount_print(struct msb_str *s, const struct ctl_mount *m)
{
	ctl_word_quote(s, m->source);
	msb_str_adds(s, " ");
	ctl_word_quote(s, m->path);
	msb_str_addf(s, " %s %s\n", m->backend, m->readonly ? "ro" : "rw");
}
