// SPDX-License-Identifier: Apache-2.0
// The table `tmpfs`.
#include "ctl/tmpfs.h"
#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* In the order in which they are printed. */
static const struct option {
	const char *name;
	enum { OPT_FLAG, OPT_BYTES, OPT_COUNT, OPT_MODE } kind;
	uint64_t min, max;
	const char *what;
} known[] = {
	{"ro", OPT_FLAG, 0, 0, NULL},
	{"rw", OPT_FLAG, 0, 0, NULL},
	{"size", OPT_BYTES, 4096, CTL_MAX_MEMORY_BYTES, "bytes, or with K, M, G, T, from 4K to 1T"},
	{"nr_inodes", OPT_COUNT, 2, INT32_MAX, "a number from 2 to 2147483647"},
	{"mode", OPT_MODE, 0, 07777, "an octal number up to 7777"},
	{"uid", OPT_COUNT, 0, UINT32_MAX - 1, "a number up to 4294967294"},
	{"gid", OPT_COUNT, 0, UINT32_MAX - 1, "a number up to 4294967294"},
	{"nosuid", OPT_FLAG, 0, 0, NULL},
	{"nodev", OPT_FLAG, 0, 0, NULL},
	{"noexec", OPT_FLAG, 0, 0, NULL},
	{"noatime", OPT_FLAG, 0, 0, NULL},
};
enum { OPT_RO, OPT_RW };

struct options {
	bool has[ARRAY_LEN(known)];
	uint64_t v[ARRAY_LEN(known)];
};

static int octal(const char *text, uint64_t max, uint64_t *ret)
{
	size_t n = strlen(text);
	uint64_t v = 0;

	if (n == 0 || n > 5 || strspn(text, "01234567") != n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		v = v * 8 + (uint64_t)(text[i] - '0');
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

static int value_of(const struct option *o, const char *text, uint64_t *ret, struct msb_err *e)
{
	int r;

	switch (o->kind) {
	case OPT_FLAG:
		return text ? msb_err_set(e, EINVAL, "option `%s` has no value", o->name) : 0;
	case OPT_BYTES: r = msb_parse_bytes(text ?: "", o->min, o->max, ret); break;
	case OPT_MODE: r = octal(text ?: "", o->max, ret); break;
	default: r = msb_parse_u64(text ?: "", o->min, o->max, ret);
	}
	return r < 0 ? msb_err_set(e, -r, "%s is %s, not `%.100s`", o->name, o->what, text ?: "")
		     : 0;
}

static int take_option(struct options *x, const char *word, struct msb_err *e)
{
	const char *eq = strchr(word, '=');
	size_t n = eq ? (size_t)(eq - word) : strlen(word);

	if (!strcmp(word, "defaults"))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strlen(known[i].name) != n || strncmp(known[i].name, word, n) != 0)
			continue;
		if (x->has[i])
			return msb_err_set(e, EINVAL, "option `%s` comes twice", known[i].name);
		x->has[i] = true;
		return value_of(&known[i], eq ? eq + 1 : NULL, &x->v[i], e);
	}
	return msb_err_set(e, EINVAL,
		"there is no option `%.100s`: it is one of ro, rw, size=, nr_inodes=, mode=, uid=, gid=, "
		"nosuid, nodev, noexec, noatime",
		word);
}

static void print_options(const struct options *x, char ret[CTL_TMPFS_TEXT])
{
	struct msb_str s = {.buf = ret, .cap = CTL_TMPFS_TEXT, .fixed = true};

	msb_str_adds(&s, x->has[OPT_RO] ? "ro" : "rw");
	for (size_t i = OPT_RW + 1; i < ARRAY_LEN(known); i++) {
		if (!x->has[i])
			continue;
		msb_str_addf(&s, ",%s", known[i].name);
		if (known[i].kind == OPT_MODE)
			msb_str_addf(&s, "=%04" PRIo64, x->v[i]);
		else if (known[i].kind != OPT_FLAG)
			msb_str_addf(&s, "=%" PRIu64, x->v[i]);
	}
}

static int take_options(const char *text, char ret[CTL_TMPFS_TEXT], struct msb_err *e)
{
	_cleanup_free_ char *copy = strdup(text);
	struct options x = {0};
	char *next;
	int r = copy ? 0 : msb_err_set(e, ENOMEM, "no memory");

	for (char *word = copy; r == 0 && word; word = next) {
		next = strchr(word, ',');
		if (next)
			*next++ = '\0';
		r = take_option(&x, word, e);
	}
	if (r == 0 && x.has[OPT_RO] && x.has[OPT_RW])
		r = msb_err_set(e, EINVAL, "it is ro, or rw, and not both");
	if (r == 0)
		print_options(&x, ret);
	return r;
}

int ctl_tmpfs_parse(const char *line, size_t len, struct ctl_tmpfs *ret, struct msb_err *e)
{
	_cleanup_free_ struct ctl_words *w = malloc(sizeof(*w));
	int r = w ? ctl_words_split(line, len, w, e) : msb_err_set(e, ENOMEM, "no memory");

	if (r < 0 || w->n == 0)
		return r;
	if (w->n > 2)
		return msb_err_set(
			e, EINVAL, "a tmpfs is `GUEST-PATH OPTIONS`; \\040 stands for a space");
	r = ctl_guest_path_check(w->w[0], e);
	if (r < 0)
		return r;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", w->w[0]);
	r = take_options(w->n == 2 ? w->w[1] : "defaults", ret->options, e);
	if (r < 0) {
		(void)msb_err_wrap(e, "%.200s", ret->path); /* @e may be NULL */
		return r;
	}
	return 1;
}

static int add_line(
	const char *line, size_t len, size_t *count, struct msb_str *ret, struct msb_err *e)
{
	struct ctl_tmpfs t;
	int r = ctl_tmpfs_parse(line, len, &t, e);

	if (r <= 0)
		return r;
	if (ctl_tmpfs_has(ret->buf ?: "", t.path))
		return msb_err_set(e, EEXIST, "there is a tmpfs at %.300s already", t.path);
	if (++*count > CTL_MAX_TMPFS)
		return msb_err_set(e, EDQUOT, "a sandbox has at most %d tmpfs", CTL_MAX_TMPFS);
	ctl_word_quote(ret, t.path);
	msb_str_addf(ret, " %s\n", t.options);
	return 0;
}

int ctl_tmpfs_check(const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t n = strlen(text), pos = 0, len, count = 0;
	unsigned int number = 0;
	const char *line;
	int r;

	do {
		number++;
		r = ctl_line_next(text, n, &pos, &line, &len);
		if (r < 0)
			ctl_line_error(r, e);
		else if (r > 0)
			r = add_line(line, len, &count, ret, e) ?: 1;
	} while (r > 0);
	if (r < 0)
		(void)msb_err_wrap(e, "line %u", number); /* @e may be NULL */
	return r;
}

/* Lines of a checked table: nothing fails but an allocation, which ends it. */
static bool next(const char *text, size_t *pos, struct ctl_tmpfs *t)
{
	const char *line;
	size_t len;

	return ctl_line_next(text, strlen(text), pos, &line, &len) == 1 &&
	       ctl_tmpfs_parse(line, len, t, NULL) == 1;
}

bool ctl_tmpfs_has(const char *text, const char *path)
{
	struct ctl_tmpfs t;

	for (size_t pos = 0; next(text, &pos, &t);)
		if (!strcmp(t.path, path))
			return true;
	return false;
}

int ctl_tmpfs_clash(const char *text, const char *mounts, struct msb_err *e)
{
	_cleanup_free_ struct ctl_words *w = malloc(sizeof(*w));
	size_t n = strlen(mounts), pos = 0, len;
	const char *line;

	if (!w)
		return msb_err_set(e, ENOMEM, "no memory");
	while (ctl_line_next(mounts, n, &pos, &line, &len) == 1)
		if (ctl_words_split(line, len, w, NULL) == 0 && w->n >= 2 &&
			ctl_tmpfs_has(text, w->w[1]))
			return msb_err_set(
				e, EEXIST, "%.300s is in mounts, and cannot be in tmpfs", w->w[1]);
	return 0;
}

/* Whether @path is @dir, or below it. */
static bool within(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

size_t ctl_tmpfs_place(const char *text, struct ctl_tmpfs *t, struct agent_mount *m, size_t n)
{
	size_t k = 0;

	for (size_t pos = 0; k < CTL_MAX_TMPFS && next(text, &pos, &t[k]); k++) {
		size_t at = n;

		/* Behind the last that it lies in; what lies in it and is before that is covered
		 * by it, as the table of mounts has it. */
		while (at > 0 && !within(t[k].path, m[at - 1].path))
			at--;
		memmove(&m[at + 1], &m[at], (n - at) * sizeof(*m));
		m[at] = (struct agent_mount){
			.name = "tmpfs", .path = t[k].path, .tmpfs = t[k].options};
		n++;
	}
	return n;
}
