// SPDX-License-Identifier: Apache-2.0
// The options of a mount: reading and printing by the table of keys.
#include "fs/options_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/param.h>

static const struct {
	const char *name;
	unsigned int bit;
} backends[] = {
	{"passthrough", OPT_PASSTHROUGH},
	{"overlay", OPT_OVERLAY},
	{"image", OPT_IMAGE},
	{"memory", OPT_MEMORY},
	{"plugin", OPT_PLUGIN},
};

const char *fsb_backend_name(size_t i)
{
	return i < ARRAY_LEN(backends) ? backends[i].name : NULL;
}

/* Insertions, deletions and changes that turn one word into the other. */
static size_t distance(const char *a, size_t n, const char *b)
{
	size_t m = strlen(b), row[32];

	if (n >= ARRAY_LEN(row) || m >= ARRAY_LEN(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[m];
}

static int unknown(const char *name, size_t n, unsigned int backend, struct msb_err *e)
{
	size_t best = (n + 1) / 3 + 1; /* further away it is another word */
	const char *near = NULL;
	char list[256];
	struct msb_str s = MSB_STR_FIXED(list);

	for (const struct opt_key *k = opt_keys; k->name; k++) {
		size_t d;

		if (!(k->backends & backend))
			continue;
		d = distance(name, n, k->name);
		if (d < best) {
			best = d;
			near = k->name;
		}
		msb_str_addf(&s, "%s%s", s.len ? ", " : "", k->name);
	}
	return msb_err_set(e, EINVAL, "mount option `%.*s` is not known%s%s%s there are %s",
		(int)MIN(n, 64), name, near ? "; did you mean `" : ";", near ?: "",
		near ? "`?" : "", list);
}

static const struct opt_key *find(const char *name, size_t n)
{
	for (const struct opt_key *k = opt_keys; k->name; k++)
		if (strlen(k->name) == n && !memcmp(k->name, name, n))
			return k;
	return NULL;
}

/* Bytes up to the comma that ends an option, or to the end. */
static size_t option_bytes(const char *p, size_t n)
{
	size_t i = 0;

	for (; i < n && p[i] != ','; i++)
		if (p[i] == '\\' && i + 1 < n)
			i++;
	return i;
}

/* One option. @seen: bit n: enum opt_once n was said. */
static int one(const char *p, size_t n, unsigned int backend, const char *backend_name,
	uint32_t *seen, struct fsb_options *o, struct msb_err *e)
{
	const char *eq = memchr(p, '=', n);
	size_t name_bytes = eq ? (size_t)(eq - p) : n;
	char value[FSB_MAX_OPTIONS + 1] = "";
	const struct opt_key *k;
	int r;

	if (n == 0)
		return msb_err_set(e, EINVAL, "a mount option is empty: a comma too many");
	k = find(p, name_bytes);
	if (!k)
		return unknown(p, name_bytes, backend, e);
	if (!(k->backends & backend))
		return msb_err_set(
			e, EINVAL, "%s takes no mount option `%s`", backend_name, k->name);
	if (eq)
		memcpy(value, eq + 1, n - name_bytes - 1);
	if ((eq && k->value == OPT_PLAIN) || (!eq && k->value == OPT_VALUE) || (eq && !*value))
		return msb_err_set(e, EINVAL, "mount option `%s` %s", k->name,
			k->value == OPT_PLAIN ? "takes no value" : "wants a value: KEY=VALUE");
	if (k->once != REPEATS && (*seen & 1u << k->once))
		return msb_err_set(e, EINVAL,
			"mount option `%s` says again what one before it has said", k->name);
	*seen |= k->once == REPEATS ? 0 : 1u << k->once;
	r = k->read(o, value, e);
	if (r < 0)
		(void)msb_err_wrap(e, "mount option `%s`", k->name); /* @e may be NULL */
	return r;
}

/* What only shows once all was read. */
static int consistent(const struct fsb_options *o, struct msb_err *e)
{
	static const char *const needs[] = {[FSB_AUDIT_OPENS] = "opens", [FSB_AUDIT_ALL] = "all"};
	enum fsb_audit level = o->audit;

	if (!level)
		return o->audit_ops || o->naudit_globs
			       ? msb_err_set(e, EINVAL,
					 "audit_ops and audit_path say nothing without audit")
			       : 0;
	/* A level turns off the caching that would hide what it sees: below it an operation would
	 * be recorded now and then. */
	while (o->audit_ops & ~fsb_audit_ops(level))
		level++;
	return level == o->audit ? 0
				 : msb_err_set(e, EINVAL,
					   "audit_ops names an operation that only audit=%s sees",
					   needs[level]);
}

static int no_backend(const char *name, struct msb_err *e)
{
	char list[128];
	struct msb_str s = MSB_STR_FIXED(list);

	for (size_t i = 0; i < ARRAY_LEN(backends); i++)
		msb_str_addf(&s, "%s%s", i ? ", " : "", backends[i].name);
	return msb_err_set(e, EOPNOTSUPP, "there is no backend `%.64s`; there are %s", name, list);
}

int fsb_options_parse(
	const char *backend, const char *text, size_t n, struct fsb_options *ret, struct msb_err *e)
{
	unsigned int bit = 0;
	uint32_t seen = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(backends) && !bit; i++)
		if (!strcmp(backend, backends[i].name))
			bit = backends[i].bit;
	if (!bit)
		return no_backend(backend, e);
	if (n > FSB_MAX_OPTIONS)
		return msb_err_set(
			e, E2BIG, "the mount options have more than %d bytes", FSB_MAX_OPTIONS);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return msb_err_set(e, EINVAL,
				"a control byte (0x%02x) in the mount options",
				(unsigned char)text[i]);
	memset(ret, 0, sizeof(*ret));
	ret->readonly = bit == OPT_IMAGE;
	ret->submounts = true;
	ret->plugin_timeout_ms = FSB_PLUGIN_TIMEOUT_MS;
	for (size_t at = 0; r == 0 && at < n;) {
		size_t len = option_bytes(text + at, n - at);

		r = one(text + at, len, bit, backend, &seen, ret, e);
		at += len + 1;
		if (r == 0 && at == n)
			r = msb_err_set(e, EINVAL, "the mount options end in a comma");
	}
	return r < 0 ? r : consistent(ret, e);
}

void fsb_options_print(struct msb_str *s, const struct fsb_options *o)
{
	for (const struct opt_key *k = opt_keys; k->name; k++)
		if (k->print)
			k->print(s, o, k->name);
}
