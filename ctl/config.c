// SPDX-License-Identifier: Apache-2.0
// The whole configuration of a sandbox as one YAML document.
#include "ctl/config.h"
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/db.h"
#include "ctl/files.h"
#include "ctl/mounts.h"
#include "ctl/policy.h"
#include "ctl/resize.h"
#include "ctl/tmpfs.h"
#include "ctl/yaml.h"

#include <inttypes.h>
#include <string.h>

#define KEY_GENERATION "generation"
#define KEY_ENV	       "env"

/* ---- printing */

static void print_lines(const char *key, const char *table, struct msb_str *s)
{
	msb_str_addf(s, *table ? "%s:\n" : "%s: []\n", key);
	while (*table) {
		size_t n = strcspn(table, "\n");

		msb_str_adds(s, "- ");
		msb_str_add_json(s, table, n);
		msb_str_adds(s, "\n");
		table += n + (table[n] == '\n');
	}
}

static void print_pair(struct msb_str *s, const char *key, const char *value)
{
	msb_str_adds(s, "  ");
	ctl_yaml_print(s, key);
	msb_str_adds(s, ": ");
	ctl_yaml_print(s, value);
	msb_str_adds(s, "\n");
}

static void print_pairs(const char *key, const char *table, struct msb_str *s)
{
	_cleanup_free_ char *copy = strdup(table);
	char *save = NULL;

	msb_str_addf(s, *table ? "%s:\n" : "%s: {}\n", key);
	for (char *p = copy ? strtok_r(copy, "\n", &save) : NULL; p;
		p = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(p, '=');

		if (eq)
			*eq++ = '\0';
		print_pair(s, p, eq ?: "");
	}
	s->oom |= !copy;
}

static void print_env(const struct ctl_sandbox *sb, struct msb_str *s)
{
	msb_str_adds(s, sb->nenv ? "env:\n" : "env: {}\n");
	for (size_t i = 0; i < sb->nenv; i++)
		print_pair(s, sb->env[i].name, sb->env[i].value);
}

void ctl_config_print(const struct ctl_sandbox *sb, struct msb_str *s)
{
	msb_str_addf(s, KEY_GENERATION ": %" PRIu64 "\n", sb->generation);
	for (int i = 0; i < CONF_COUNT; i++) {
		enum ctl_conf_id id = (enum ctl_conf_id)i;
		const char *v = ctl_conf_value(sb, id), *key = ctl_conf_key(id);

		switch (ctl_conf_form(id)) {
		case CONF_FORM_LINES: print_lines(key, v, s); break;
		case CONF_FORM_PAIRS: print_pairs(key, v, s); break;
		case CONF_FORM_ONE:
			msb_str_addf(s, "%s: ", key);
			ctl_yaml_print(s, v);
			msb_str_adds(s, "\n");
			break;
		}
	}
	print_env(sb, s);
}

void ctl_config_pending(const struct ctl_sandbox *sb, struct msb_str *s)
{
	for (int i = 0; i < CONF_COUNT; i++)
		if (sb->was[i])
			msb_str_addf(s, "%s\n", ctl_conf_key((enum ctl_conf_id)i));
}

void ctl_config_settled(struct ctl_sandbox *sb)
{
	char key[64];

	for (int i = 0; i < CONF_COUNT; i++) {
		if (!sb->was[i])
			continue;
		free(sb->was[i]);
		sb->was[i] = NULL;
		(void)snprintf(key, sizeof(key), ".was/%s", ctl_conf_key((enum ctl_conf_id)i));
		ctl_sandbox_fact(sb, key, NULL);
	}
}

/* ---- what a document says */

struct config {
	struct msb_str value[CONF_COUNT]; /* as they are kept */
	bool differs[CONF_COUNT];
	const struct ctl_yaml_entry *env; /* NULL: none */
	bool has_generation;
	uint64_t generation;
};

static void config_done(struct config *cf)
{
	for (int i = 0; i < CONF_COUNT; i++)
		msb_str_done(&cf->value[i]);
}

static int at(const struct ctl_yaml_entry *en, struct msb_err *e)
{
	return msb_err_wrap(e, "line %u, column %u", en->line, en->column);
}

static int unknown(const struct ctl_yaml_entry *en, struct msb_err *e)
{
	const char *words[CONF_COUNT + 3] = {KEY_GENERATION, KEY_ENV}, *near;

	for (int i = 0; i < CONF_COUNT; i++)
		words[i + 2] = ctl_conf_key((enum ctl_conf_id)i);
	near = ctl_nearest(en->key, words);
	return msb_err_set(e, EINVAL, "line %u, column %u: there is no key `%.64s`%s%s%s", en->line,
		en->column, en->key, near ? "; is it `" : "", near ?: "", near ? "`?" : "");
}

static int wants(const struct ctl_yaml_entry *en, enum ctl_yaml_type type, struct msb_err *e)
{
	static const char *const names[] = {"one value", "a list", "a mapping"};

	return en->type == type ? 0
				: msb_err_set(e, EINVAL, "line %u, column %u: %s is %s", en->line,
					  en->column, en->key, names[type]);
}

/* A table's lines out of a list, or a mapping. */
static int take_lines(const struct ctl_yaml_entry *en, struct msb_str *ret, struct msb_err *e)
{
	for (size_t i = 0; i < en->n; i++) {
		const struct ctl_yaml_item *v = &en->v[i];

		if (strchr(v->value, '\n') || (v->key && strpbrk(v->key, "=\n")))
			return msb_err_set(e, EINVAL, "line %u, column %u: %s", v->line, v->column,
				v->key ? "no `=` is in a key, and a value is one line"
				       : "it is one line");
		msb_str_addf(ret, "%s%s%s\n", v->key ?: "", v->key ? "=" : "", v->value);
	}
	return ret->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

/* Lock held. */
static int take_value(struct ctl_sandbox *sb, struct config *cf, const struct ctl_yaml_entry *en,
	enum ctl_conf_id id, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	size_t used;
	int r = 0;

	if (ctl_conf_form(id) == CONF_FORM_ONE)
		msb_str_adds(&text, en->v[0].value);
	else
		r = take_lines(en, &text, e);
	if (r < 0)
		return r;
	return id == CONF_MOUNTS
		       ? ctl_mounts_edit(
				 sb, text.buf ?: "", text.len, true, NULL, &cf->value[id], &used, e)
		       : ctl_conf_check(sb, id, text.buf ?: "", text.len, &cf->value[id], e);
}

static int check_env(const struct ctl_yaml_entry *en, struct msb_err *e)
{
	size_t bytes = 0;

	if (en->n > CTL_MAX_ENV)
		return msb_err_set(e, EDQUOT, "a sandbox has at most %d variables", CTL_MAX_ENV);
	for (size_t i = 0; i < en->n; i++) {
		const struct ctl_yaml_item *v = &en->v[i];

		if (strlen(v->key) > CTL_MAX_ENV_NAME || !ctl_env_name_valid(v->key))
			return msb_err_set(e, EINVAL,
				"line %u: `%.64s` is not a variable's name: letters, digits and _, no "
				"digit first",
				v->line, v->key);
		if (strchr(v->value, '\n') || strlen(v->value) > CTL_MAX_LINE)
			return msb_err_set(e, EINVAL,
				"line %u, column %u: the value of a variable is one line of at most %d bytes",
				v->line, v->column, CTL_MAX_LINE);
		bytes += strlen(v->key) + strlen(v->value) + 2;
	}
	return bytes <= CTL_MAX_ENV_BYTES
		       ? 0
		       : msb_err_set(e, E2BIG, "the variables of a sandbox have at most %d bytes",
				 CTL_MAX_ENV_BYTES);
}

static int take_entry(struct ctl_sandbox *sb, struct config *cf, const struct ctl_yaml_entry *en,
	struct msb_err *e)
{
	static const enum ctl_yaml_type types[] = {[CONF_FORM_ONE] = YAML_SCALAR,
		[CONF_FORM_LINES] = YAML_LIST,
		[CONF_FORM_PAIRS] = YAML_MAP};
	int id = ctl_conf_find(en->key), r;

	if (strcmp(en->key, KEY_GENERATION) == 0) {
		r = wants(en, YAML_SCALAR, e);
		if (r == 0 && msb_parse_u64(en->v[0].value, 0, UINT64_MAX, &cf->generation) < 0)
			r = msb_err_set(e, EINVAL, "line %u: generation is a number", en->line);
		cf->has_generation = true;
		return r;
	}
	if (strcmp(en->key, KEY_ENV) == 0) {
		r = wants(en, YAML_MAP, e);
		cf->env = en;
		return r < 0 ? r : check_env(en, e);
	}
	if (id < 0)
		return unknown(en, e);
	r = wants(en, types[ctl_conf_form((enum ctl_conf_id)id)], e);
	if (r < 0)
		return r;
	r = take_value(sb, cf, en, (enum ctl_conf_id)id, e);
	return r < 0 ? at(en, e) : 0;
}

/* Under a machine some are carried out, some wait for the next one, and two can do neither. */
static int may_change(const struct ctl_sandbox *sb, int id, struct msb_err *e)
{
	if (ctl_state_ended(sb->state) || (id != CONF_ROOT_OPTIONS && id != CONF_IMAGE))
		return 0;
	return msb_err_set(e, EBUSY, "%s can only be changed while no machine runs; %s is %s",
		ctl_conf_key((enum ctl_conf_id)id), sb->name, ctl_state_name(sb->state));
}

static int compare(struct ctl_sandbox *sb, struct config *cf, struct msb_err *e)
{
	for (int i = 0; i < CONF_COUNT; i++) {
		const char *now = ctl_conf_value(sb, (enum ctl_conf_id)i);

		if (cf->value[i].oom)
			return msb_err_set(e, ENOMEM, "no memory");
		cf->differs[i] = strcmp(now, cf->value[i].buf ?: "") != 0;
		if (cf->differs[i] && may_change(sb, i, e) < 0)
			return -EBUSY;
		if (i == CONF_IMAGE && cf->differs[i] && sb->used && !cf->value[i].len)
			return msb_err_set(
				e, EBUSY, "it has no image, and the root was made from `%s`", now);
	}
	return ctl_tmpfs_clash(
		cf->value[CONF_TMPFS].buf ?: "", cf->value[CONF_MOUNTS].buf ?: "", e);
}

/* Lock held. */
static int take(
	struct ctl_sandbox *sb, struct config *cf, const struct ctl_yaml *y, struct msb_err *e)
{
	bool there[CONF_COUNT] = {false};
	int r = 0;

	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (!y->n)
		return msb_err_set(
			e, EINVAL, "it has no keys; `cat config` shows what belongs there");
	if (sb->op)
		return msb_err_set(e, EBUSY, "a verb of %s is under way; write it again", sb->name);
	for (size_t i = 0; r == 0 && i < y->n; i++) {
		int id = ctl_conf_find(y->v[i].key);

		if (id >= 0)
			there[id] = true;
		r = take_entry(sb, cf, &y->v[i], e);
	}
	if (r < 0)
		return r;
	if (cf->has_generation && cf->generation != sb->generation)
		return msb_err_set(e, ESTALE,
			"it was made from generation %" PRIu64 ", and this is %" PRIu64
			": somebody changed it; read it again",
			cf->generation, sb->generation);
	for (int i = 0; i < CONF_COUNT; i++)
		if (!there[i])
			msb_str_adds(&cf->value[i], ctl_conf_default((enum ctl_conf_id)i));
	return compare(sb, cf, e);
}

/* ---- making it so */

static int store(struct ctl_sandbox *sb, struct config *cf, struct msb_err *e)
{
	struct ctl_conf_change v[CONF_COUNT];
	size_t n = 0;

	for (int i = 0; i < CONF_COUNT; i++)
		if (cf->differs[i])
			v[n++] = (struct ctl_conf_change){
				(enum ctl_conf_id)i, cf->value[i].buf ?: ""};
	return ctl_conf_replace(sb, v, n, cf->env ? cf->env->v : NULL, cf->env ? cf->env->n : 0, e);
}

static uint64_t differing(struct config *cf, enum ctl_conf_id id)
{
	return cf->differs[id] ? strtoull(cf->value[id].buf, NULL, 10) : 0;
}

/* What the machine has room for it gets now; the rest waits for the next start. */
static int resize(
	const struct ctl_req *q, struct ctl_sandbox *sb, struct config *cf, struct msb_err *e)
{
	uint64_t cpus = differing(cf, CONF_CPUS), bytes = differing(cf, CONF_MEMORY);
	int r;

	{
		LOCK_SCOPE(&sb->c->lock);
		if (ctl_resize_check(sb, (uint32_t)cpus, 0, NULL) < 0)
			cpus = 0;
		if (ctl_resize_check(sb, 0, bytes, NULL) < 0)
			bytes = 0;
	}
	if (!cpus && !bytes)
		return 0;
	r = ctl_op_resize(q, sb, (uint32_t)cpus, bytes, e);
	if (r == 0 && cpus)
		cf->differs[CONF_CPUS] = false;
	if (r == 0 && bytes)
		cf->differs[CONF_MEMORY] = false;
	return r;
}

/* @ret: what they were, where they are others now. */
static int exchange(const struct ctl_req *q, struct ctl_sandbox *sb, struct config *cf, char **ret,
	struct msb_err *e)
{
	const struct msb_str *t = &cf->value[CONF_MOUNTS];
	_cleanup_free_ char *old = NULL;
	size_t used;
	int r;

	pthread_mutex_lock(&sb->c->lock);
	old = strdup(ctl_conf_value(sb, CONF_MOUNTS));
	pthread_mutex_unlock(&sb->c->lock);
	if (!old)
		return msb_err_set(e, ENOMEM, "no memory");
	r = ctl_mounts_write(q, sb, t->buf ?: "", t->len, true, &used, e);
	if (r == 0)
		cf->differs[CONF_MOUNTS] = false;
	if (r == 0 || used) /* of a source that went just now the lines before it are made */
		*ret = steal_ptr(old);
	return r;
}

static int keep(struct ctl_sandbox *sb, struct config *cf, bool running, struct msb_err *e)
{
	int r;

	LOCK_SCOPE(&sb->c->lock);
	if (sb->gone || sb->op || running == ctl_state_ended(sb->state))
		return msb_err_set(
			e, EBUSY, "%s was started or stopped meanwhile; write it again", sb->name);
	r = compare(sb, cf, e);
	return r < 0 ? r : store(sb, cf, e);
}

/* Of a document that is refused after all. */
static int put_back(const struct ctl_req *q, struct ctl_sandbox *sb, const char *mounts, int code,
	struct msb_err *e)
{
	struct msb_err why = {0};
	size_t used;

	/* Who was interrupted does not wait: what was begun goes on. */
	if (code != -EINTR &&
		ctl_mounts_write(q, sb, mounts, strlen(mounts), true, &used, &why) < 0)
		(void)msb_err_wrap(e, "the mounts stay exchanged (%s), for all else", why.msg);
	return code;
}

int ctl_config_write(
	const struct ctl_req *q, struct ctl_sandbox *sb, const char *p, size_t n, struct msb_err *e)
{
	_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0};
	_cleanup_(config_done) struct config cf = {.env = NULL};
	_cleanup_free_ char *mounts = NULL; /* as they were, once they are exchanged */
	int r = ctl_yaml_parse(p, n, &y, e);
	bool running, root;

	if (r < 0)
		return r;
	pthread_mutex_lock(&sb->c->lock);
	r = take(sb, &cf, &y, e);
	running = !ctl_state_ended(sb->state);
	root = cf.differs[CONF_IMAGE] || cf.differs[CONF_ROOT_OPTIONS];
	if (r == 0 && !running && !root)
		r = store(sb, &cf, e);
	pthread_mutex_unlock(&sb->c->lock);
	if (r < 0 || (!running && !root))
		return r;
	/* What may fail in the guest goes first: nothing is kept where it does. */
	if (running && cf.differs[CONF_MOUNTS])
		r = exchange(q, sb, &cf, &mounts, e);
	if (running && r == 0)
		r = resize(q, sb, &cf, e);
	if (r == 0 && root)
		ctl_files_reset(sb); /* its server has the old ones */
	if (r == 0)
		r = keep(sb, &cf, running, e);
	return r < 0 && mounts ? put_back(q, sb, mounts, r, e) : r;
}
