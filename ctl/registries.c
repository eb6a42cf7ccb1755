// SPDX-License-Identifier: Apache-2.0
// images/registries: HOST OPTIONS, a line each.
#include "base/cleanup.h"
#include "ctl/image_names.h"
#include "ctl/line.h"
#include "ctl/logins.h"

#include <string.h>

struct options {
	const char *mirrors[CTL_MAX_MIRRORS];
	size_t nmirrors;
	const char *ca;
	bool plain_http, insecure;
};

static bool is_url(const char *p)
{
	size_t n = !strncmp(p, "http://", 7) ? 7 : !strncmp(p, "https://", 8) ? 8 : 0;
	char name[IMG_REF_MAX_NAME + 1];

	if (!n)
		return false;
	/* A host, or a host and a path; no user, no query. */
	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + n, "/"), p + n);
	return !strpbrk(p + n, "@?# ") && ctl_registry_host(name, name, NULL) == 0;
}

/* Takes a comma list apart, in place. */
static int options_parse(char *p, struct options *ret, struct msb_err *e)
{
	char *save = NULL;

	*ret = (struct options){0};
	for (char *o = strtok_r(p, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		if (!strncmp(o, "mirror=", 7)) {
			if (!is_url(o + 7))
				return msb_err_set(e, EINVAL,
					"`%s`: a mirror is http:// or https://, a host and perhaps a path",
					o);
			if (ret->nmirrors == CTL_MAX_MIRRORS)
				return msb_err_set(e, EDQUOT, "a registry has at most %d mirrors",
					CTL_MAX_MIRRORS);
			ret->mirrors[ret->nmirrors++] = o + 7;
		} else if (!strncmp(o, "ca=", 3)) {
			if (o[3] != '/')
				return msb_err_set(e, EINVAL, "`%s`: not an absolute path", o);
			ret->ca = o + 3;
		} else if (!strcmp(o, "plain_http")) {
			ret->plain_http = true;
		} else if (!strcmp(o, "insecure")) {
			ret->insecure = true;
		} else {
			return msb_err_set(e, EINVAL,
				"`%s` is not an option of a registry: mirror=URL, ca=PATH, plain_http, "
				"insecure",
				o);
		}
	}
	return 0;
}

static void print(const char *host, const struct options *o, struct msb_str *table)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (size_t i = 0; i < o->nmirrors; i++)
		msb_str_addf(&s, "%smirror=%s", s.len ? "," : "", o->mirrors[i]);
	if (o->ca)
		msb_str_addf(&s, "%sca=%s", s.len ? "," : "", o->ca);
	if (o->plain_http)
		msb_str_addf(&s, "%splain_http", s.len ? "," : "");
	if (o->insecure)
		msb_str_addf(&s, "%sinsecure", s.len ? "," : "");
	msb_str_addf(table, "%s ", host);
	ctl_word_quote(table, s.buf ?: "");
	msb_str_adds(table, "\n");
	table->oom |= s.oom;
}

/* The line of @host, its words in @w. */
static bool find(const char *text, size_t n, const char *host, struct ctl_words *w)
{
	size_t pos = 0, len;
	const char *line;

	while (ctl_line_next(text, n, &pos, &line, &len) == 1)
		if (ctl_words_split(line, len, w, NULL) == 0 && w->n == 2 && !strcmp(w->w[0], host))
			return true;
	return false;
}

static int one_line(const char *line, size_t len, struct msb_str *table, struct msb_err *e)
{
	_cleanup_free_ struct ctl_words *w = malloc(2 * sizeof(*w));
	char host[IMG_REF_MAX_NAME + 1];
	struct options o = {0};
	int r = w ? ctl_words_split(line, len, w, e) : msb_err_set(e, ENOMEM, "no memory");

	if (r < 0 || w->n == 0)
		return r;
	if (w->n != 2)
		return msb_err_set(e, EINVAL,
			"a registry is `HOST OPTIONS`, options with commas between them; \\040 "
			"stands for a space");
	r = ctl_registry_host(w->w[0], host, e);
	if (r == 0)
		r = options_parse((char *)w->w[1], &o, e); /* in w's own bytes */
	if (r < 0)
		return r;
	if (!o.nmirrors && !o.ca && !o.plain_http && !o.insecure)
		return msb_err_set(e, EINVAL, "the line of %s says nothing of it", host);
	if (find(table->buf ?: "", table->len, host, &w[1]))
		return msb_err_set(e, EEXIST, "there is a line of %s already", host);
	print(host, &o, table);
	return table->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int ctl_registries_parse(const char *p, size_t n, struct msb_str *table, struct msb_err *e)
{
	size_t pos = 0, len, lines = 0;
	const char *line;
	int r;

	for (const char *at = table->buf ?: ""; (at = strchr(at, '\n')); at++)
		lines++;
	while ((r = ctl_line_next(p, n, &pos, &line, &len)) == 1) {
		size_t before = table->len;

		r = one_line(line, len, table, e);
		if (r < 0)
			return r;
		lines += table->len > before;
		if (lines > CTL_MAX_REGISTRIES)
			return msb_err_set(e, EDQUOT, "there are at most %d lines of registries",
				CTL_MAX_REGISTRIES);
		if (table->len > CTL_MAX_REG_BYTES)
			return msb_err_set(e, E2BIG,
				"the lines of registries have at most %d bytes", CTL_MAX_REG_BYTES);
	}
	return r < 0 ? ctl_line_error(r, e) : 0;
}

int ctl_registries_set(struct ctl *c, const char *p, size_t n, bool replace, struct msb_err *e)
{
	_cleanup_str_ struct msb_str table = MSB_STR_INIT;
	char *copy;
	int r;

	LOCK_SCOPE(&c->lock);
	if (!replace)
		msb_str_adds(&table, c->registries ?: "");
	r = ctl_registries_parse(p, n, &table, e);
	if (r < 0)
		return r;
	copy = table.oom ? NULL : strdup(table.buf ?: "");
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	r = ctl_db_fact_set(c->db, CTL_REGISTRIES_KEY, copy, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	free(c->registries);
	c->registries = copy;
	return 0;
}

void ctl_registries_find(const char *text, const char *host, struct ctl_registry *ret)
{
	struct options o;

	if (!find(text, strlen(text), host, &ret->words) ||
		options_parse((char *)ret->words.w[1], &o, NULL) < 0)
		return;
	for (size_t i = 0; i < o.nmirrors; i++)
		ret->mirrors[i] = o.mirrors[i];
	ret->mirrors[o.nmirrors] = NULL;
	ret->reg.mirrors = o.nmirrors ? ret->mirrors : NULL;
	ret->reg.ca = o.ca;
	ret->reg.plain_http = o.plain_http;
	ret->reg.insecure = o.insecure;
}
