// SPDX-License-Identifier: Apache-2.0
// The YAML that a configuration is written in.
#include "ctl/yaml.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static int at(struct msb_err *e, int code, yaml_mark_t m, const char *why)
{
	return msb_err_set(e, code, "line %zu, column %zu: %s", m.line + 1, m.column + 1, why);
}

/* What YAML 1.1 or 1.2 takes for something else than a text. */
static bool odd_word(const char *p)
{
	static const char *const words[] = {"", "~", "null", "y", "n", "yes", "no", "on", "off",
		"true", "false", ".nan", ".inf", "-.inf", "+.inf", "=", "<<"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(p, words[i]) == 0)
			return true;
	return false;
}

/* Digits that are no plain decimal number: 010 is eight to some, 1:30 ninety, 1_0 ten. */
static bool odd_number(const char *p)
{
	size_t n = strspn(p, "0123456789"), all = strspn(p, "0123456789_.:+-xXoObeEaAcCdDfF");

	return (n > 1 && p[0] == '0' && !p[n]) || (n > 0 && !p[all] && strpbrk(p, "_:")) ||
	       (n == 1 && p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b'));
}

static int scalar(const yaml_event_t *ev, char **ret, struct msb_err *e)
{
	const char *p = (const char *)ev->data.scalar.value;
	size_t n = ev->data.scalar.length;
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	if (ev->data.scalar.anchor)
		return at(e, EINVAL, ev->start_mark, "anchors are not taken: write it out");
	if (ev->data.scalar.tag)
		return at(e, EINVAL, ev->start_mark, "tags are not taken");
	if (memchr(p, '\0', n))
		return at(e, EINVAL, ev->start_mark, "a NUL is no part of a text");
	if (plain && (odd_word(p) || odd_number(p))) {
		char why[160];

		(void)snprintf(why, sizeof(why),
			"`%.40s` means different things to different readers of YAML: write \"%.40s\" for "
			"the text",
			p, p);
		return at(e, EINVAL, ev->start_mark, why);
	}
	*ret = strndup(p, n);
	return *ret ? 0 : msb_err_set(e, ENOMEM, "no memory");
}

struct reader {
	yaml_parser_t p;
	yaml_event_t ev;
	bool have; /* ev is to be deleted */
	size_t scalars;
};

/* The next event; of a broken document what libyaml says of it. */
static int next(struct reader *r, struct msb_err *e)
{
	if (r->have)
		yaml_event_delete(&r->ev);
	r->have = false;
	if (!yaml_parser_parse(&r->p, &r->ev))
		return r->p.error == YAML_MEMORY_ERROR ? msb_err_set(e, ENOMEM, "no memory")
						       : at(e, EINVAL, r->p.problem_mark,
								 r->p.problem ?: "this is no YAML");
	r->have = true;
	if (r->ev.type == YAML_SCALAR_EVENT && ++r->scalars > CTL_MAX_YAML_ENTRIES)
		return at(e, E2BIG, r->ev.start_mark, "there are too many values");
	if (r->ev.type == YAML_ALIAS_EVENT)
		return at(e, EINVAL, r->ev.start_mark, "aliases are not taken: write it out");
	return 0;
}

static int collection(const struct reader *r, struct msb_err *e)
{
	const yaml_event_t *ev = &r->ev;
	bool map = ev->type == YAML_MAPPING_START_EVENT;

	if (map ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor)
		return at(e, EINVAL, ev->start_mark, "anchors are not taken: write it out");
	if (map ? ev->data.mapping_start.tag : ev->data.sequence_start.tag)
		return at(e, EINVAL, ev->start_mark, "tags are not taken");
	return 0;
}

static int item(struct reader *r, struct ctl_yaml_entry *en, char *key, struct msb_err *e)
{
	struct ctl_yaml_item *v;

	if (r->ev.type != YAML_SCALAR_EVENT)
		return at(e, EINVAL, r->ev.start_mark, "this is nested too deeply");
	v = reallocarray(en->v, en->n + 1, sizeof(*v));
	if (!v)
		return msb_err_set(e, ENOMEM, "no memory");
	en->v = v;
	v = &v[en->n];
	*v = (struct ctl_yaml_item){.line = (unsigned int)r->ev.start_mark.line + 1,
		.column = (unsigned int)r->ev.start_mark.column + 1};
	if (scalar(&r->ev, &v->value, e) < 0)
		return -e->code;
	v->key = key;
	en->n++;
	return 0;
}

static int twice(const struct reader *r, const char *key, struct msb_err *e)
{
	char why[160];

	(void)snprintf(why, sizeof(why), "`%.100s` is there twice", key);
	return at(e, EINVAL, r->ev.start_mark, why);
}

static int list(struct reader *r, struct ctl_yaml_entry *en, struct msb_err *e)
{
	int err = next(r, e);

	while (err == 0 && r->ev.type != YAML_SEQUENCE_END_EVENT) {
		err = item(r, en, NULL, e);
		if (err == 0)
			err = next(r, e);
	}
	return err;
}

static int map(struct reader *r, struct ctl_yaml_entry *en, struct msb_err *e)
{
	int err = next(r, e);

	while (err == 0 && r->ev.type != YAML_MAPPING_END_EVENT) {
		_cleanup_free_ char *key = NULL;

		if (r->ev.type != YAML_SCALAR_EVENT)
			return at(e, EINVAL, r->ev.start_mark, "a name is a text");
		err = scalar(&r->ev, &key, e);
		for (size_t i = 0; err == 0 && key && i < en->n; i++)
			if (strcmp(en->v[i].key, key) == 0)
				err = twice(r, key, e);
		if (err == 0)
			err = next(r, e);
		if (err == 0)
			err = item(r, en, key, e);
		if (err < 0)
			return err;
		key = NULL; /* the item's */
		err = next(r, e);
	}
	return err;
}

static int entry(struct reader *r, struct ctl_yaml *y, struct msb_err *e)
{
	struct ctl_yaml_entry *en = reallocarray(y->v, y->n + 1, sizeof(*en));
	int err;

	if (!en)
		return msb_err_set(e, ENOMEM, "no memory");
	y->v = en;
	en = &en[y->n];
	*en = (struct ctl_yaml_entry){.line = (unsigned int)r->ev.start_mark.line + 1,
		.column = (unsigned int)r->ev.start_mark.column + 1};
	if (r->ev.type != YAML_SCALAR_EVENT)
		return at(e, EINVAL, r->ev.start_mark, "a name is a text");
	err = scalar(&r->ev, &en->key, e);
	if (err < 0)
		return err;
	y->n++;
	for (size_t i = 0; i + 1 < y->n; i++)
		if (strcmp(y->v[i].key, en->key) == 0)
			return twice(r, en->key, e);
	err = next(r, e);
	if (err == 0 &&
		(r->ev.type == YAML_MAPPING_START_EVENT || r->ev.type == YAML_SEQUENCE_START_EVENT))
		err = collection(r, e);
	if (err < 0)
		return err;
	if (r->ev.type == YAML_MAPPING_START_EVENT) {
		en->type = YAML_MAP;
		return map(r, en, e);
	}
	if (r->ev.type == YAML_SEQUENCE_START_EVENT) {
		en->type = YAML_LIST;
		return list(r, en, e);
	}
	return item(r, en, NULL, e);
}

static int document(struct reader *r, struct ctl_yaml *y, struct msb_err *e)
{
	int err = next(r, e); /* the stream's start */

	if (err == 0)
		err = next(r, e);
	if (err < 0 || r->ev.type == YAML_STREAM_END_EVENT)
		return err;
	if (r->ev.data.document_start.version_directive ||
		r->ev.data.document_start.tag_directives.start !=
			r->ev.data.document_start.tag_directives.end)
		return at(e, EINVAL, r->ev.start_mark, "directives are not taken");
	err = next(r, e);
	if (err < 0)
		return err;
	if (r->ev.type != YAML_MAPPING_START_EVENT)
		return at(e, EINVAL, r->ev.start_mark, "a configuration is `NAME: VALUE` lines");
	err = collection(r, e);
	if (err == 0)
		err = next(r, e);
	while (err == 0 && r->ev.type != YAML_MAPPING_END_EVENT) {
		err = entry(r, y, e);
		if (err == 0)
			err = next(r, e);
	}
	if (err == 0)
		err = next(r, e); /* the document's end */
	if (err == 0)
		err = next(r, e);
	return err == 0 && r->ev.type != YAML_STREAM_END_EVENT
		       ? at(e, EINVAL, r->ev.start_mark, "there is more than one document")
		       : err;
}

int ctl_yaml_parse(const char *p, size_t n, struct ctl_yaml *ret, struct msb_err *e)
{
	struct reader r = {.have = false};
	int err;

	*ret = (struct ctl_yaml){0};
	if (n > CTL_MAX_YAML_BYTES)
		return msb_err_set(
			e, E2BIG, "a configuration has at most %d bytes", CTL_MAX_YAML_BYTES);
	if (!yaml_parser_initialize(&r.p))
		return msb_err_set(e, ENOMEM, "no memory");
	yaml_parser_set_encoding(&r.p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.p, (const unsigned char *)p, n);
	err = document(&r, ret, e);
	if (r.have)
		yaml_event_delete(&r.ev);
	yaml_parser_delete(&r.p);
	return err;
}

void ctl_yaml_done(struct ctl_yaml *y)
{
	for (size_t i = 0; i < y->n; i++) {
		for (size_t k = 0; k < y->v[i].n; k++) {
			free(y->v[i].v[k].key);
			free(y->v[i].v[k].value);
		}
		free(y->v[i].v);
		free(y->v[i].key);
	}
	free(y->v);
	*y = (struct ctl_yaml){0};
}

void ctl_yaml_print(struct msb_str *s, const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./@+-";

	if (*text && strspn(text, plain) == strlen(text) && !odd_word(text) && !odd_number(text) &&
		!strchr("-.+@", *text))
		msb_str_adds(s, text);
	else
		msb_str_add_json(s, text, strlen(text)); /* YAML's double quotes take JSON's */
}

/* Levenshtein's distance, of short words. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= ARRAY_LEN(row) || strlen(a) >= ARRAY_LEN(row))
		return SIZE_MAX;
	for (size_t k = 0; k <= n; k++)
		row[k] = k;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= n; k++) {
			size_t up = row[k], best = diagonal + (a[i - 1] != b[k - 1]);

			if (up + 1 < best)
				best = up + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
			diagonal = up;
		}
	}
	return row[n];
}

const char *ctl_nearest(const char *text, const char *const *words)
{
	size_t best = strlen(text) / 3 + 2;
	const char *ret = NULL;

	for (; *words; words++) {
		size_t d = distance(text, *words);

		if (d < best) {
			best = d;
			ret = *words;
		}
	}
	return ret;
}
