// SPDX-License-Identifier: Apache-2.0
// The options of a mount: the table of keys, and reading and printing each.
#include "fs/options_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static int read_ro(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->readonly = true;
	return 0;
}

static int read_rw(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->readonly = false;
	return 0;
}

static int read_defaults(struct fsb_options *o, char *v, struct msb_err *e)
{
	return 0;
}

static void print_ro(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	msb_str_adds(s, o->readonly ? "ro" : "rw");
}

static int read_bytes(const char *v, uint64_t *ret, struct msb_err *e)
{
	int r = msb_parse_bytes(v, FSB_MIN_BYTES, FSB_MAX_BYTES, ret);

	if (r == -ERANGE)
		return msb_err_set(e, ERANGE, "`%s` is not between %uK and %lluT", v,
			FSB_MIN_BYTES >> 10, (unsigned long long)(FSB_MAX_BYTES >> 40));
	return r < 0 ? msb_err_set(e, EINVAL, "`%s` is no size; write 4096, 256M or 10G", v) : 0;
}

static int read_quota(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_bytes(v, &o->quota_bytes, e);
}

static int read_size(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_bytes(v, &o->size_bytes, e);
}

static void print_bytes(struct msb_str *s, const char *name, uint64_t n)
{
	static const char suffix[] = "\0KMGT";
	unsigned int i = 0;

	if (!n)
		return;
	for (; n % 1024 == 0 && i < 4; i++)
		n /= 1024;
	msb_str_addf(s, ",%s=%llu%.1s", name, (unsigned long long)n, &suffix[i]);
}

static void print_quota(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	print_bytes(s, name, o->quota_bytes);
}

static void print_size(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	print_bytes(s, name, o->size_bytes);
}

/* One of a list of words, by its place. */
static int read_word(const char *v, const char *const *words, size_t n, struct msb_err *e)
{
	char list[64];
	struct msb_str s = MSB_STR_FIXED(list);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(v, words[i]))
			return (int)i;
		msb_str_addf(&s, "%s%s", i ? ", " : "", words[i]);
	}
	return msb_err_set(e, EINVAL, "`%s` is none of %s", v, list);
}

static const char *const map_words[] = {[FSB_MAP_NONE] = "none", [FSB_MAP_ROOT] = "root"};

static int read_map(struct fsb_options *o, char *v, struct msb_err *e)
{
	int r = read_word(v, map_words, ARRAY_LEN(map_words), e);

	if (r < 0)
		return r;
	o->map = (enum fsb_map)r;
	o->map_set = true;
	return 0;
}

static void print_map(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->map_set)
		msb_str_addf(s, ",%s=%s", name, map_words[o->map]);
}

static int read_noatime(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->atime = FSB_NOATIME;
	return 0;
}

static int read_relatime(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->atime = FSB_RELATIME;
	return 0;
}

static int read_strictatime(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->atime = FSB_STRICTATIME;
	return 0;
}

static void print_noatime(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->atime == FSB_NOATIME)
		msb_str_addf(s, ",%s", name);
}

static void print_strictatime(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->atime == FSB_STRICTATIME)
		msb_str_addf(s, ",%s", name);
}

static int read_acl(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->acl = true;
	return 0;
}

static int read_noacl(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->acl = false;
	return 0;
}

static void print_acl(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->acl)
		msb_str_addf(s, ",%s", name);
}

static int read_submounts(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->submounts = true;
	return 0;
}

static int read_nosubmounts(struct fsb_options *o, char *v, struct msb_err *e)
{
	o->submounts = false;
	return 0;
}

static void print_nosubmounts(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (!o->submounts)
		msb_str_addf(s, ",%s", name);
}

static const char *const audit_words[] = {"changes", "opens", "all"};

static int read_audit(struct fsb_options *o, char *v, struct msb_err *e)
{
	int r = *v ? read_word(v, audit_words, ARRAY_LEN(audit_words), e) : 0;

	if (r < 0)
		return r;
	o->audit = FSB_AUDIT_CHANGES + (enum fsb_audit)r;
	return 0;
}

static int read_noaudit(struct fsb_options *o, char *v, struct msb_err *e)
{
	return 0;
}

static void print_audit(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->audit == FSB_AUDIT_CHANGES)
		msb_str_addf(s, ",%s", name);
	else if (o->audit)
		msb_str_addf(s, ",%s=%s", name, audit_words[o->audit - FSB_AUDIT_CHANGES]);
}

static int read_audit_ops(struct fsb_options *o, char *v, struct msb_err *e)
{
	return opt_read_ops(v, &o->audit_ops, e);
}

static void print_audit_ops(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (!o->audit_ops)
		return;
	msb_str_addf(s, ",%s=", name);
	opt_print_ops(s, o->audit_ops);
}

/* A checked pattern into @to; @o's patterns are counted by the caller. */
static int read_glob(const struct fsb_options *o, const char *v, char *to, struct msb_err *e)
{
	struct fsb_glob g;
	int r = fsb_glob_compile(v, strlen(v), &g, e);

	if (r < 0)
		return r;
	if (o->naudit_globs + o->nrules == FSB_MAX_GLOBS)
		return msb_err_set(
			e, E2BIG, "a mount has at most %d patterns in all", FSB_MAX_GLOBS);
	memcpy(to, v, strlen(v) + 1);
	return 0;
}

static int read_audit_path(struct fsb_options *o, char *v, struct msb_err *e)
{
	char glob[FSB_MAX_GLOB_BYTES + 1] = "";
	int r = read_glob(o, v, glob, e);

	if (r == 0)
		memcpy(o->audit_glob[o->naudit_globs++], glob, sizeof(glob));
	return r;
}

static void print_audit_path(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	for (unsigned int i = 0; i < o->naudit_globs; i++)
		msb_str_addf(s, ",%s=%s", name, o->audit_glob[i]);
}

static int read_rule(struct fsb_options *o, enum fsb_rule what, const char *v, struct msb_err *e)
{
	struct fsb_glob_rule rule = {.what = what};
	int r = read_glob(o, v, rule.glob, e);

	if (r == 0)
		o->rule[o->nrules++] = rule;
	return r;
}

static int read_allow(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_rule(o, FSB_ALLOW, v, e);
}

static int read_deny(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_rule(o, FSB_DENY, v, e);
}

static int read_redact(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_rule(o, FSB_REDACT, v, e);
}

/* All three keys in one: their order among each other counts. */
static void print_rules(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	static const char *const words[] = {"allow", "deny", "redact"};

	for (unsigned int i = 0; i < o->nrules; i++)
		msb_str_addf(s, ",%s=%s", words[o->rule[i].what], o->rule[i].glob);
}

static int read_fault(
	struct fsb_fault *list, unsigned int *n, bool delay, char *v, struct msb_err *e)
{
	if (*n == FSB_MAX_FAULTS)
		return msb_err_set(e, E2BIG, "a mount has at most %d of it", FSB_MAX_FAULTS);
	int r = opt_read_fault(v, delay, &list[*n], e);

	*n += r == 0;
	return r;
}

static int read_error(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_fault(o->error, &o->nerrors, false, v, e);
}

static int read_delay(struct fsb_options *o, char *v, struct msb_err *e)
{
	return read_fault(o->delay, &o->ndelays, true, v, e);
}

static void print_faults(
	struct msb_str *s, const struct fsb_fault *list, unsigned int n, const char *name)
{
	for (unsigned int i = 0; i < n; i++) {
		msb_str_addf(s, ",%s=", name);
		opt_print_fault(s, &list[i]);
	}
}

static void print_error(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	print_faults(s, o->error, o->nerrors, name);
}

static void print_delay(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	print_faults(s, o->delay, o->ndelays, name);
}

static const char *const protocol_words[] = {"fuse", "json"};

static int read_protocol(struct fsb_options *o, char *v, struct msb_err *e)
{
	int r = read_word(v, protocol_words, ARRAY_LEN(protocol_words), e);

	if (r < 0)
		return r;
	o->plugin_json = r;
	return 0;
}

static void print_protocol(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->plugin_json)
		msb_str_addf(s, ",%s=json", name);
}

static int read_timeout(struct fsb_options *o, char *v, struct msb_err *e)
{
	uint32_t usec;
	int r = opt_read_time(v, FSB_MAX_PLUGIN_TIMEOUT_MS * 1000u, &usec, e);

	if (r == 0 && usec % 1000)
		r = msb_err_set(e, EINVAL, "`%s` is no whole number of milliseconds", v);
	if (r == 0)
		o->plugin_timeout_ms = usec / 1000;
	return r;
}

static void print_timeout(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (o->plugin_timeout_ms == FSB_PLUGIN_TIMEOUT_MS)
		return;
	msb_str_addf(s, ",%s=", name);
	opt_print_time(s, o->plugin_timeout_ms * 1000u);
}

static int read_over(struct fsb_options *o, char *v, struct msb_err *e)
{
	size_t n = 0;

	for (const char *p = v; *p && n <= FSB_MAX_OVER; p++) {
		if (*p == '\\' && !*++p)
			return msb_err_set(e, EINVAL, "`%s` ends in a backslash", v);
		o->over[n++] = *p;
		if (n > FSB_MAX_OVER)
			return msb_err_set(
				e, E2BIG, "a path here has at most %d bytes", FSB_MAX_OVER);
	}
	o->over[n] = '\0';
	return *v == '/' ? 0 : msb_err_set(e, EINVAL, "`%s` is not an absolute path", v);
}

static void print_over(struct msb_str *s, const struct fsb_options *o, const char *name)
{
	if (!o->over[0])
		return;
	msb_str_addf(s, ",%s=", name);
	for (const char *p = o->over; *p; p++)
		msb_str_addf(s, "%s%c", *p == ',' || *p == '\\' ? "\\" : "", *p);
}

/* The short forms of sizes are what mount(8) knows; what is printed is the long one. */
const struct opt_key opt_keys[] = {
	{"ro", OPT_ANY, OPT_PLAIN, ONCE_RO, read_ro, print_ro},
	{"rw", OPT_ANY & ~OPT_IMAGE, OPT_PLAIN, ONCE_RO, read_rw, NULL},
	{"defaults", OPT_ANY, OPT_PLAIN, REPEATS, read_defaults, NULL},
	{"quota_bytes", OPT_ANY & ~OPT_IMAGE, OPT_VALUE, ONCE_QUOTA, read_quota, print_quota},
	{"quota", OPT_ANY & ~OPT_IMAGE, OPT_VALUE, ONCE_QUOTA, read_quota, NULL},
	{"size_bytes", OPT_MEMORY, OPT_VALUE, ONCE_SIZE, read_size, print_size},
	{"size", OPT_MEMORY, OPT_VALUE, ONCE_SIZE, read_size, NULL},
	{"noatime", OPT_KEEPS_TIMES, OPT_PLAIN, ONCE_ATIME, read_noatime, print_noatime},
	{"relatime", OPT_KEEPS_TIMES, OPT_PLAIN, ONCE_ATIME, read_relatime, NULL},
	{"strictatime", OPT_KEEPS_TIMES, OPT_PLAIN, ONCE_ATIME, read_strictatime,
		print_strictatime},
	{"acl", OPT_ANY, OPT_PLAIN, ONCE_ACL, read_acl, print_acl},
	{"noacl", OPT_ANY, OPT_PLAIN, ONCE_ACL, read_noacl, NULL},
	{"map", OPT_PASSTHROUGH, OPT_VALUE, ONCE_MAP, read_map, print_map},
	{"submounts", OPT_PASSTHROUGH, OPT_PLAIN, ONCE_SUBMOUNTS, read_submounts, NULL},
	{"nosubmounts", OPT_PASSTHROUGH, OPT_PLAIN, ONCE_SUBMOUNTS, read_nosubmounts,
		print_nosubmounts},
	{"audit", OPT_ANY, OPT_MAY_VALUE, ONCE_AUDIT, read_audit, print_audit},
	{"noaudit", OPT_ANY, OPT_PLAIN, ONCE_AUDIT, read_noaudit, NULL},
	{"audit_ops", OPT_ANY, OPT_VALUE, ONCE_AUDIT_OPS, read_audit_ops, print_audit_ops},
	{"audit_path", OPT_ANY, OPT_VALUE, REPEATS, read_audit_path, print_audit_path},
	{"allow", OPT_ANY, OPT_VALUE, REPEATS, read_allow, print_rules},
	{"deny", OPT_ANY, OPT_VALUE, REPEATS, read_deny, NULL},
	{"redact", OPT_ANY, OPT_VALUE, REPEATS, read_redact, NULL},
	{"error", OPT_ANY, OPT_VALUE, REPEATS, read_error, print_error},
	{"delay", OPT_ANY, OPT_VALUE, REPEATS, read_delay, print_delay},
	{"protocol", OPT_PLUGIN, OPT_VALUE, ONCE_PROTOCOL, read_protocol, print_protocol},
	{"timeout", OPT_PLUGIN, OPT_VALUE, ONCE_TIMEOUT, read_timeout, print_timeout},
	{"over", OPT_PLUGIN, OPT_VALUE, ONCE_OVER, read_over, print_over},
	{NULL, 0, OPT_PLAIN, REPEATS, NULL, NULL},
};
