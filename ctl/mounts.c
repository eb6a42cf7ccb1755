// SPDX-License-Identifier: Apache-2.0
// The table of mounts: its text.
#include "ctl/mounts.h"
#include "ctl/image_names.h"
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/fstab.h"
#include "ctl/op.h"
#include "ctl/tmpfs.h"
#include "ctl/volumes.h"

#include <string.h>

void ctl_table_done(struct ctl_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->s[i].source);
		free(t->s[i].path);
		free(t->s[i].backend);
		free(t->s[i].options);
		free(t->s[i].over);
	}
	t->n = 0;
}

/* A volume's files have the guest's owners, whoever runs msbd: several guests share them. */
static char *options_of(const struct ctl_mount *m)
{
	const char *text = m->words.n == 4 ? m->words.w[3] : "defaults";
	char *s;

	return asprintf(&s, "%s%s", text,
		       m->volume && !m->options.map_set && strcmp(m->backend, CTL_BACKEND_DISK) != 0
			       ? ",map=root"
			       : "") < 0
		       ? NULL
		       : s;
}

static int share_fill(struct ctl_share *s, const struct ctl_mount *m)
{
	*s = (struct ctl_share){.source = strdup(m->source),
		.path = strdup(m->path),
		.backend = strdup(m->backend),
		.options = options_of(m),
		.over = *m->options.over ? strdup(m->options.over) : NULL,
		.readonly = m->options.readonly};
	if (m->volume)
		(void)snprintf(s->volume, sizeof(s->volume), "%s", m->volume);
	return s->source && s->path && s->backend && s->options && (s->over || !*m->options.over)
		       ? 0
		       : -ENOMEM;
}

int ctl_table_parse(const char *text, struct ctl_table *ret)
{
	_cleanup_free_ struct ctl_mount *m = malloc(sizeof(*m));
	size_t n = strlen(text), pos = 0, len;
	const char *line;
	int r = m ? 0 : -ENOMEM;

	ret->n = 0;
	while (r == 0 && ctl_line_next(text, n, &pos, &line, &len) == 1 &&
		ret->n < CTL_MAX_MOUNTS) {
		if (ctl_mount_parse(line, len, m, NULL) != 1)
			continue;
		r = share_fill(&ret->s[ret->n], m);
		ctl_mount_name(line, len, ret->s[ret->n].name);
		ret->n++;
	}
	return r;
}

bool ctl_share_is_disk(const struct ctl_share *s)
{
	return !strcmp(s->backend, CTL_BACKEND_DISK);
}

const struct ctl_share *ctl_table_find(const struct ctl_table *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->s[i].name, name))
			return &t->s[i];
	return NULL;
}

static bool of_image(const char *backend)
{
	return !strcmp(backend, "image") || !strcmp(backend, "overlay");
}

static bool next_source(const char *text, size_t *pos, bool images, char ret[CTL_MAX_LINE + 1])
{
	struct ctl_words w;
	size_t n = strlen(text), len;
	const char *line;

	while (ctl_line_next(text, n, pos, &line, &len) == 1)
		if (ctl_words_split(line, len, &w, NULL) == 0 && w.n >= 3 &&
			(!images || of_image(w.w[2]))) {
			(void)snprintf(ret, CTL_MAX_LINE + 1, "%s", w.w[0]);
			return true;
		}
	return false;
}

bool ctl_table_next_source(const char *text, size_t *pos, char ret[CTL_MAX_LINE + 1])
{
	return next_source(text, pos, false, ret);
}

bool ctl_table_next_image(const char *text, size_t *pos, char ret[CTL_MAX_LINE + 1])
{
	return next_source(text, pos, true, ret);
}

/* Whether @m's path, or its name, is in a table already; and how many lines that has. */
static int check_taken(
	const struct msb_str *table, const struct ctl_mount *m, const char *name, struct msb_err *e)
{
	size_t pos = 0, len, count = 0;
	struct ctl_words w;
	const char *line;

	while (ctl_line_next(table->buf ?: "", table->len, &pos, &line, &len) == 1) {
		char other[FSD_MAX_MOUNT_NAME + 1];

		if (ctl_words_split(line, len, &w, NULL) < 0 || w.n < 3)
			continue;
		count++;
		ctl_mount_name(line, len, other);
		if (!strcmp(w.w[1], m->path) || !strcmp(other, name))
			return msb_err_set(
				e, EEXIST, "there is a mount at %.300s already", m->path);
	}
	return count < CTL_MAX_MOUNTS
		       ? 0
		       : msb_err_set(e, EDQUOT, "a sandbox has at most %d mounts", CTL_MAX_MOUNTS);
}

static int add_line(struct ctl_sandbox *sb, struct ctl_mount *m, const char *p, size_t n,
	const char *tmpfs, struct msb_str *table, struct msb_err *e)
{
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;
	char name[FSD_MAX_MOUNT_NAME + 1];
	struct ctl_image *img;
	int r = ctl_mount_parse(p, n, m, e);

	if (r <= 0)
		return r;
	if (of_image(m->backend))
		r = ctl_image_resolve(sb->c, m->source, NULL, &img, e);
	if (m->volume)
		r = ctl_volume_check(sb, m->volume, !strcmp(m->backend, CTL_BACKEND_DISK),
			m->options.readonly, e);
	if (r < 0) {
		(void)msb_err_wrap(e, "mount source"); /* @e may be NULL */
		return r;
	}
	ctl_mount_print(&line, m);
	if (line.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (line.len - 1 > CTL_MAX_LINE)
		return msb_err_set(e, E2BIG,
			"the line of %.300s, written out, is longer than %d bytes", m->path,
			CTL_MAX_LINE);
	ctl_mount_name(line.buf, line.len - 1, name);
	r = tmpfs && ctl_tmpfs_has(tmpfs, m->path)
		    ? msb_err_set(e, EEXIST, "there is a tmpfs at %.300s already", m->path)
		    : check_taken(table, m, name, e);
	if (r < 0)
		return r;
	if (table->len + line.len > CTL_MAX_MOUNTS_BYTES)
		return msb_err_set(e, E2BIG, "the mounts of a sandbox have at most %d bytes",
			CTL_MAX_MOUNTS_BYTES);
	msb_str_add(table, line.buf, line.len);
	return table->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int ctl_mounts_edit(struct ctl_sandbox *sb, const char *p, size_t n, bool replace,
	const char *tmpfs, struct msb_str *table, size_t *ret_used, struct msb_err *e)
{
	_cleanup_free_ struct ctl_mount *m = malloc(sizeof(*m));
	size_t pos = 0, len;
	const char *line;
	int r = m ? 1 : msb_err_set(e, ENOMEM, "no memory");

	*ret_used = 0;
	if (!replace)
		msb_str_adds(table, ctl_conf_value(sb, CONF_MOUNTS));
	while (r > 0) {
		r = ctl_line_next(p, n, &pos, &line, &len);
		if (r < 0)
			ctl_line_error(r, e);
		else if (r > 0)
			r = add_line(sb, m, line, len, tmpfs, table, e) ?: 1;
		if (r > 0)
			*ret_used = pos;
	}
	return r;
}

/* The lines of a write, and what became of them. */
struct edit {
	const char *p;
	size_t n, used;
	bool replace;
	int refused; /* the line after those that took effect */
	struct msb_err why;
};

/* Lock held. */
static int make(struct ctl_sandbox *sb, void *arg, struct msb_str *table, struct msb_err *e)
{
	struct edit *x = arg;

	x->why = (struct msb_err){0};
	x->refused = ctl_mounts_edit(sb, x->p, x->n, x->replace, ctl_conf_value(sb, CONF_TMPFS),
		table, &x->used, &x->why);
	if (x->refused < 0 && x->n > 1 && memchr(x->p, '\n', x->n - 1)) { /* one of several */
		unsigned int number = 1;

		for (size_t i = 0; i < x->used; i++)
			number += x->p[i] == '\n';
		(void)msb_err_wrap(&x->why, "line %u", number); /* its code is kept */
	}
	return x->refused < 0 && x->used == 0 ? msb_err_set(e, x->why.code, "%s", x->why.msg) : 0;
}

int ctl_mounts_write(const struct ctl_req *q, struct ctl_sandbox *sb, const char *p, size_t n,
	bool replace, size_t *ret_used, struct msb_err *e)
{
	struct edit x = {.p = p, .n = n, .replace = replace};
	int r = ctl_op_mounts(q, sb, make, &x, e);

	*ret_used = r < 0 ? 0 : x.used;
	if (r == 0 && x.refused < 0)
		r = msb_err_set(e, x.why.code, "%s", x.why.msg);
	return r;
}
