// SPDX-License-Identifier: Apache-2.0
// One line of `mounts`.
#include "ctl/fstab.h"
#include "base/cleanup.h"
#include "ctl/volumes.h"
#include "fs/image/ref.h"

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

int ctl_guest_path_check(const char *path, struct msb_err *e)
{
	if (strlen(path) > CTL_MAX_GUEST_PATH)
		return msb_err_set(
			e, E2BIG, "the guest path is longer than %d bytes", CTL_MAX_GUEST_PATH);
	if (!plain_path(path) || !printable(path))
		return msb_err_set(e, EINVAL,
			"guest path `%.300s` is not absolute, is /, or has empty, . or .. components",
			path);
	return 0;
}

/* What each backend is made of. @what: for people. */
static const struct source {
	const char *backend, *what;
	enum { SRC_PATH, SRC_IMAGE, SRC_NONE } kind;
} sources[] = {
	{"passthrough", "an absolute path of a directory, or volume:NAME", SRC_PATH},
	{"plugin", "an absolute path of a program", SRC_PATH},
	{"image", "the name of an image", SRC_IMAGE},
	{"overlay", "the name of an image", SRC_IMAGE},
	{"memory", "`none`", SRC_NONE},
};

/* 1: it is one. */
static int check_volume(struct ctl_mount *m, struct msb_err *e)
{
	const char *name = ctl_volume_source(m->source);

	bool disk = !strcmp(m->backend, CTL_BACKEND_DISK);

	if (!name && disk)
		return msb_err_set(e, EINVAL,
			"mount source `%.300s` is not volume:NAME, which disk takes", m->source);
	if (!name || (strcmp(m->backend, "passthrough") != 0 && !disk))
		return 0;
	if (!msb_name_valid(name))
		return msb_err_set(e, EINVAL,
			"mount source `%.300s`: a volume's name has up to 63 of a-z 0-9 and -, no - first",
			m->source);
	if (m->options.quota_bytes)
		return msb_err_set(e, EINVAL,
			"quota_bytes of a volume is for all who mount it: write it to "
			"volumes/%s/quota_bytes",
			name);
	m->volume = name;
	return 1;
}

static int check_source(struct ctl_mount *m, struct msb_err *e)
{
	struct img_ref ref;
	int r = check_volume(m, e);

	if (r != 0)
		return r < 0 ? r : 0;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		const struct source *s = &sources[i];

		if (strcmp(m->backend, s->backend) != 0)
			continue;
		if (s->kind == SRC_PATH ? *m->source == '/' && printable(m->source)
			: s->kind == SRC_IMAGE
				? img_ref_parse(m->source, IMG_REF_DEFAULT_HOST, &ref, NULL) == 0
				: !strcmp(m->source, "none"))
			return 0;
		return msb_err_set(e, EINVAL, "mount source `%.300s` is not %s, which %s takes",
			m->source, s->what, s->backend);
	}
	return msb_err_set(e, EOPNOTSUPP, "backend `%s` cannot be mounted yet", m->backend);
}

static bool plain_options(const struct fsb_options *o)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	fsb_options_print(&s, o);
	return s.buf && (!strcmp(s.buf, "ro") || !strcmp(s.buf, "rw"));
}

int ctl_mount_parse(const char *line, size_t len, struct ctl_mount *ret, struct msb_err *e)
{
	const char *options;
	int r = ctl_words_split(line, len, &ret->words, e);

	if (r < 0)
		return r;
	if (ret->words.n == 0)
		return 0;
	if (ret->words.n < 3 || ret->words.n > 4)
		return msb_err_set(e, EINVAL,
			"a mount is `SOURCE GUEST-PATH BACKEND OPTIONS`; \\040 stands for a space");
	ret->source = ret->words.w[0];
	ret->volume = NULL;
	ret->path = ret->words.w[1];
	ret->backend = ret->words.w[2];
	options = ret->words.n == 4 ? ret->words.w[3] : "";
	r = ctl_guest_path_check(ret->path, e);
	if (r < 0)
		return r;
	/* Of a disk the machine's kernel serves the files: only what every backend has means
	 * something. */
	r = fsb_options_parse(strcmp(ret->backend, CTL_BACKEND_DISK) != 0 ? ret->backend : "memory",
		options, strlen(options), &ret->options, e);
	if (r == 0 && !strcmp(ret->backend, CTL_BACKEND_DISK) && !plain_options(&ret->options))
		r = msb_err_set(e, EINVAL, "a disk has no options but ro and rw");
	if (r < 0) {
		(void)msb_err_wrap(e, "%.200s", ret->path); /* @e may be NULL */
		return r;
	}
	r = check_source(ret, e);
	return r < 0 ? r : 1;
}

void ctl_mount_print(struct msb_str *s, const struct ctl_mount *m)
{
	_cleanup_str_ struct msb_str options = MSB_STR_INIT;

	fsb_options_print(&options, &m->options);
	ctl_word_quote(s, m->source);
	msb_str_adds(s, " ");
	ctl_word_quote(s, m->path);
	msb_str_addf(s, " %s ", m->backend);
	ctl_word_quote(s, options.buf ?: "defaults");
	msb_str_adds(s, "\n");
	s->oom |= options.oom;
}

/* FNV-1a: two lines of one table that share a name are refused where they are written. */
void ctl_mount_name(const char *line, size_t n, char ret[FSD_MAX_MOUNT_NAME + 1])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)line[i]) * UINT64_C(0x100000001b3);
	(void)snprintf(ret, FSD_MAX_MOUNT_NAME + 1, "%016llx", (unsigned long long)h);
}
