// SPDX-License-Identifier: Apache-2.0
// The values of a sandbox.
#include "ctl/conf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/image_names.h"
#include "ctl/policy.h"
#include "ctl/root.h"
#include "ctl/yaml.h"
#include "fs/image/qcow2.h"
#include "fs/options.h"

#include <inttypes.h>
#include <string.h>

/* Turns what was written into what is kept. */
typedef int (*check_fn)(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e);

/* Whether both texts mean one image. */
static bool same_image(struct ctl *c, const char *a, const char *b)
{
	struct ctl_image *one, *two;

	return !strcmp(a, b) ||
	       (ctl_image_resolve(c, a, NULL, &one, NULL) == 0 &&
		       ctl_image_resolve(c, b, NULL, &two, NULL) == 0 && one == two);
}

/* It need not be there yet: `start` pulls it. */
static int check_image(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct msb_err why = {0};
	struct ctl_image *img;
	int r;

	if (text[0] == '/' || text[0] == '.')
		return ctl_root_check(sb, text, ret, e);
	r = ctl_image_resolve(sb->c, text, NULL, &img, &why);
	if (r < 0 && r != -ENOENT)
		return msb_err_set(e, -r, "%s", why.msg);
	if (sb->used && !same_image(sb->c, text, sb->conf[CONF_IMAGE]))
		return msb_err_set(e, EBUSY,
			"the root was made from image `%s` and may hold changes; make another sandbox",
			sb->conf[CONF_IMAGE]);
	msb_str_adds(ret, text);
	return 0;
}

static int check_pull(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strcmp(text, "always") != 0 && strcmp(text, "missing") != 0 &&
		strcmp(text, "never") != 0)
		return msb_err_set(
			e, EINVAL, "pull is `always`, `missing` or `never`, not `%s`", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_cpus(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_u64(text, 1, VMM_MAX_CPUS, &v);

	if (r < 0)
		return msb_err_set(
			e, -r, "cpus is a number from 1 to %d, not `%s`", VMM_MAX_CPUS, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int check_memory(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_bytes(text, VMM_MIN_MEMORY_BYTES, CTL_MAX_MEMORY_BYTES, &v);

	if (r == 0 && v % (1u << 20))
		r = -EINVAL;
	if (r < 0)
		return msb_err_set(e, -r,
			"memory_bytes is a whole number of MiB from 64M to 1T (bytes, or with K, M, G, T), "
			"not `%s`",
			text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int check_hostname(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t n = strlen(text);

	if (n > 63 || text[0] == '-' || text[0] == '.' ||
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") !=
			n)
		return msb_err_set(e, EINVAL,
			"`%s` is not a host name: up to 63 letters, digits, - and .", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_user(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t n = strlen(text);

	if (n > 128 || strcspn(text, " \t/") != n)
		return msb_err_set(e, EINVAL, "`%s` is not a user: a name, UID, or UID:GID", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_workdir(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (*text && *text != '/')
		return msb_err_set(e, EINVAL, "workdir `%s` is not an absolute path", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_root_options(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct fsb_options *o = calloc(1, sizeof(*o));
	int r = o ? fsb_options_parse("overlay", text, strlen(text), o, e)
		  : msb_err_set(e, ENOMEM, "no memory");

	if (r == 0 && *text)
		fsb_options_print(ret, o);
	free(o);
	return r < 0 ? r
		     : ctl_root_options_check(
			       ctl_root_kind(sb->conf[CONF_IMAGE]), ret->buf ?: "", e);
}

static int check_disk(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r;

	if (!*text)
		return 0;
	r = msb_parse_bytes(text, IMG_DISK_MIN_BYTES, IMG_DISK_MAX_BYTES, &v);
	if (r == 0 && v % IMG_DISK_ALIGN)
		r = -EINVAL;
	if (r < 0)
		return msb_err_set(e, -r,
			"disk_bytes is a multiple of %d from 1M to 4T (bytes, or with K, M, G, T), or "
			"empty for the size of the file, not `%s`",
			IMG_DISK_ALIGN, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int check_restart(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct ctl_restart_policy p;

	if (ctl_restart_parse(text, &p) < 0)
		return msb_err_set(e, EINVAL,
			"restart is `no`, `on-failure`, `on-failure:N`, `always` or `unless-stopped`, "
			"not `%s`",
			text);
	msb_str_adds(ret, text);
	return 0;
}

static int seconds(const char *key, const char *text, uint64_t min, uint64_t max,
	struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_u64(text, min, max, &v);

	if (r < 0)
		return msb_err_set(e, -r,
			"%s is a number of seconds from %" PRIu64 " to %" PRIu64 "%s, not `%s`",
			key, min, max, min ? "" : " (0: none)", text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int check_duration(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("max_duration_sec", text, 0, CTL_MAX_POLICY_SEC, ret, e);
}

static int check_idle(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("idle_timeout_sec", text, 0, CTL_MAX_POLICY_SEC, ret, e);
}

static int check_stop(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("stop_timeout_sec", text, 1, CTL_MAX_STOP_SEC, ret, e);
}

static const struct conf {
	const char *key, *def;
	bool live; /* may be set while a machine runs: the next command sees it */
	check_fn check;
} confs[CONF_COUNT] = {
	[CONF_IMAGE] = {"image", "", false, check_image},
	[CONF_CPUS] = {"cpus", CTL_DEFAULT_CPUS, false, check_cpus},
	[CONF_MEMORY] = {"memory_bytes", CTL_DEFAULT_MEMORY_BYTES, false, check_memory},
	[CONF_HOSTNAME] = {"hostname", "", false, check_hostname},
	[CONF_USER] = {"user", "", true, check_user},
	[CONF_WORKDIR] = {"workdir", "", true, check_workdir},
	[CONF_MOUNTS] = {"mounts", "", false, NULL}, /* ctl_mounts_write() */
	[CONF_ROOT_OPTIONS] = {"root_options", "", false, check_root_options},
	[CONF_PULL] = {"pull", "missing", true, check_pull},
	[CONF_DISK_BYTES] = {"disk_bytes", "", false, check_disk},
	[CONF_RESTART] = {"restart", "no", true, check_restart},
	[CONF_MAX_DURATION] = {"max_duration_sec", "0", true, check_duration},
	[CONF_IDLE_TIMEOUT] = {"idle_timeout_sec", "0", true, check_idle},
	[CONF_STOP_TIMEOUT] = {"stop_timeout_sec", CTL_DEFAULT_STOP_SEC, true, check_stop},
};

const char *ctl_conf_key(enum ctl_conf_id id)
{
	return confs[id].key;
}

int ctl_conf_find(const char *key)
{
	for (int i = 0; i < CONF_COUNT; i++)
		if (!strcmp(confs[i].key, key))
			return i;
	return -ENOENT;
}

const char *ctl_conf_value(const struct ctl_sandbox *sb, enum ctl_conf_id id)
{
	return sb->conf[id] ?: confs[id].def;
}

bool ctl_conf_root_readonly(const struct ctl_sandbox *sb)
{
	return !strncmp(ctl_conf_value(sb, CONF_ROOT_OPTIONS), "ro", 2); /* printed first, or rw */
}

void ctl_conf_get(const struct ctl_sandbox *sb, enum ctl_conf_id id, struct msb_str *s)
{
	const char *v = ctl_conf_value(sb, id);

	if (id == CONF_HOSTNAME && !*v)
		v = sb->name;
	msb_str_adds(s, v);
	if (id != CONF_MOUNTS)
		msb_str_adds(s, "\n");
}

/* Keeps @v (ended by a key of NULL), as the next generation. */
static int keep(struct ctl_sandbox *sb, struct ctl_db_value *v, size_t n, struct msb_err *e)
{
	char text[24];
	int r;

	(void)snprintf(text, sizeof(text), "%" PRIu64, sb->generation + 1);
	v[n] = (struct ctl_db_value){".generation", text};
	v[n + 1] = (struct ctl_db_value){NULL, NULL};
	r = ctl_db_values_set(sb->c->db, sb->id, v, e);
	if (r == 0)
		sb->generation++;
	return r;
}

int ctl_conf_store(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const struct msb_str *s, struct msb_err *e)
{
	struct ctl_db_value v[3];
	char *copy;
	int r;

	copy = s->oom ? NULL : strdup(s->buf ?: "");
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	v[0] = (struct ctl_db_value){confs[id].key, copy};
	r = keep(sb, v, 1, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	free(sb->conf[id]);
	sb->conf[id] = copy;
	return 0;
}

static int may_set(const struct ctl_sandbox *sb, enum ctl_conf_id id, struct msb_err *e)
{
	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (!confs[id].live && (sb->op || !ctl_state_ended(sb->state)))
		return msb_err_set(e, EBUSY, "%s can only be set while no machine runs; it is %s",
			confs[id].key, ctl_state_name(sb->state));
	return 0;
}

const char *ctl_conf_default(enum ctl_conf_id id)
{
	return confs[id].def;
}

int ctl_conf_check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n,
	struct msb_str *ret, struct msb_err *e)
{
	char text[CTL_MAX_LINE + 1];

	if (n > CTL_MAX_LINE)
		return msb_err_set(
			e, E2BIG, "%s has at most %d bytes", confs[id].key, CTL_MAX_LINE);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			return msb_err_set(e, EINVAL, "%s: a control byte (0x%02x)", confs[id].key,
				(unsigned char)line[i]);
	memcpy(text, line, n);
	text[n] = '\0';
	return confs[id].check(sb, text, ret, e);
}

/* Lock held. */
static int check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n,
	struct msb_str *ret, struct msb_err *e)
{
	int r = may_set(sb, id, e);

	return r < 0 ? r : ctl_conf_check(sb, id, line, n, ret, e);
}

int ctl_conf_set(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	r = check(sb, id, line, n, &s, e);
	if (r == 0)
		r = ctl_conf_store(sb, id, &s, e);
	if (r == 0)
		ctl_policy_run(sb->c); /* a limit may be over by now */
	return r;
}

int ctl_conf_differs(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	r = check(sb, id, line, n, &s, e);
	return r < 0 ? r : strcmp(s.buf ?: "", ctl_conf_value(sb, id)) != 0;
}

bool ctl_env_name_valid(const char *name)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return *name && (*name < '0' || *name > '9') && strspn(name, ok) == strlen(name);
}

struct ctl_env *ctl_env_find(const struct ctl_sandbox *sb, const char *name)
{
	for (size_t i = 0; i < sb->nenv; i++)
		if (!strcmp(sb->env[i].name, name))
			return &sb->env[i];
	return NULL;
}

struct ctl_env *ctl_env_by_serial(const struct ctl_sandbox *sb, uint32_t serial)
{
	for (size_t i = 0; i < sb->nenv; i++)
		if (sb->env[i].serial == serial)
			return &sb->env[i];
	return NULL;
}

static int env_unset(struct ctl_sandbox *sb, struct ctl_env *v, const char *key, struct msb_err *e)
{
	struct ctl_db_value row[3] = {{key, NULL}};
	int r = keep(sb, row, 1, e);

	if (r < 0)
		return r;
	sb->env_bytes -= strlen(v->name) + strlen(v->value) + 2;
	free(v->name);
	free(v->value);
	*v = sb->env[--sb->nenv];
	return 0;
}

/* A slot for @name, not counted yet. */
static struct ctl_env *env_slot(struct ctl_sandbox *sb, const char *name)
{
	struct ctl_env *p = realloc(sb->env, (sb->nenv + 1) * sizeof(*p));

	if (!p)
		return NULL;
	sb->env = p;
	p[sb->nenv] = (struct ctl_env){.serial = ++sb->next_env, .name = strdup(name)};
	return p[sb->nenv].name ? &p[sb->nenv] : NULL;
}

int ctl_env_set(
	struct ctl_sandbox *sb, const char *name, const char *val, size_t n, struct msb_err *e)
{
	char key[CTL_MAX_ENV_NAME + 5];
	_cleanup_free_ char *copy = NULL;
	struct ctl_db_value row[3];
	struct ctl_env *v, *fresh;
	size_t old;
	int r;

	if (strlen(name) > CTL_MAX_ENV_NAME)
		return msb_err_set(
			e, E2BIG, "the name of a variable has at most %d bytes", CTL_MAX_ENV_NAME);
	if (!ctl_env_name_valid(name))
		return msb_err_set(e, EINVAL,
			"`%s` is not a variable's name: letters, digits and _, no digit first",
			name);
	(void)snprintf(key, sizeof(key), "env/%s", name);
	LOCK_SCOPE(&sb->c->lock);
	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	v = ctl_env_find(sb, name);
	if (!val)
		return v ? env_unset(sb, v, key, e)
			 : msb_err_set(e, ENOENT, "variable %s is not set", name);
	old = v ? strlen(v->name) + strlen(v->value) + 2 : 0;
	if (!v && sb->nenv == CTL_MAX_ENV)
		return msb_err_set(e, EDQUOT, "a sandbox has at most %d variables", CTL_MAX_ENV);
	if (sb->env_bytes - old + strlen(name) + n + 2 > CTL_MAX_ENV_BYTES)
		return msb_err_set(e, E2BIG, "the variables of a sandbox have at most %d bytes",
			CTL_MAX_ENV_BYTES);
	copy = strndup(val, n);
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	fresh = v ? NULL : env_slot(sb, name);
	if (!v && !fresh)
		return msb_err_set(e, ENOMEM, "no memory");
	row[0] = (struct ctl_db_value){key, copy};
	r = keep(sb, row, 1, e);
	if (r < 0) {
		if (fresh)
			free(fresh->name);
		return r;
	}
	if (fresh) {
		v = fresh;
		sb->nenv++;
	}
	sb->env_bytes += strlen(name) + n + 2 - old;
	free(v->value);
	v->value = steal_ptr(copy);
	return 0;
}

/* ---- all at once */

struct replacement {
	struct ctl_db_value *rows;
	size_t n;
	char *value[CONF_COUNT]; /* copies to be taken over */
	char *was[CONF_COUNT];	 /* what the machine has, where that is not noted yet */
	char *was_key[CONF_COUNT], **env_key;
	struct ctl_env *env;
	size_t nenv;
};

static void replacement_done(struct replacement *x, size_t nkeys)
{
	for (int i = 0; i < CONF_COUNT; i++) {
		free(x->value[i]);
		free(x->was[i]);
		free(x->was_key[i]);
	}
	for (size_t i = 0; x->env_key && i < nkeys; i++)
		free(x->env_key[i]);
	for (size_t i = 0; x->env && i < x->nenv; i++) {
		free(x->env[i].name);
		free(x->env[i].value);
	}
	free(x->env_key);
	free(x->env);
	free(x->rows);
}

static int add_value(struct ctl_sandbox *sb, struct replacement *x, const struct ctl_conf_change *v)
{
	enum ctl_conf_id id = v->id;

	x->value[id] = strdup(v->value);
	if (!x->value[id])
		return -ENOMEM;
	x->rows[x->n++] = (struct ctl_db_value){confs[id].key, x->value[id]};
	if (confs[id].live || ctl_state_ended(sb->state))
		return 0;
	if (asprintf(&x->was_key[id], ".was/%s", confs[id].key) < 0) {
		x->was_key[id] = NULL;
		return -ENOMEM;
	}
	if (!sb->was[id]) {
		x->was[id] = strdup(ctl_conf_value(sb, id));
		x->rows[x->n++] = (struct ctl_db_value){x->was_key[id], x->was[id]};
		return x->was[id] ? 0 : -ENOMEM;
	}
	if (!strcmp(sb->was[id], v->value)) /* back to what the machine has */
		x->rows[x->n++] = (struct ctl_db_value){x->was_key[id], NULL};
	return 0;
}

static int add_env(
	struct ctl_sandbox *sb, struct replacement *x, const struct ctl_yaml_item *env, size_t nenv)
{
	size_t k = 0;

	for (size_t i = 0; i < sb->nenv; i++) /* all go, then the new ones come */
		if (asprintf(&x->env_key[k], "env/%s", sb->env[i].name) < 0)
			return -ENOMEM;
		else
			x->rows[x->n++] = (struct ctl_db_value){x->env_key[k++], NULL};
	for (size_t i = 0; i < nenv; i++) {
		const struct ctl_env *old = ctl_env_find(sb, env[i].key);

		x->env[i] = (struct ctl_env){old ? old->serial : ++sb->next_env, strdup(env[i].key),
			strdup(env[i].value)};
		x->nenv++;
		if (!x->env[i].name || !x->env[i].value ||
			asprintf(&x->env_key[k], "env/%s", env[i].key) < 0)
			return -ENOMEM;
		x->rows[x->n++] = (struct ctl_db_value){x->env_key[k++], x->env[i].value};
	}
	return 0;
}

static void take_over(struct ctl_sandbox *sb, struct replacement *x)
{
	struct ctl_env *env = sb->env;
	size_t nenv = sb->nenv;

	for (int i = 0; i < CONF_COUNT; i++) {
		if (!x->value[i])
			continue;
		if (x->was[i]) {
			sb->was[i] = steal_ptr(x->was[i]);
		} else if (sb->was[i] && !strcmp(sb->was[i], x->value[i])) {
			free(sb->was[i]);
			sb->was[i] = NULL;
		}
		free(sb->conf[i]);
		sb->conf[i] = steal_ptr(x->value[i]);
	}
	sb->env = x->env;
	sb->nenv = x->nenv;
	x->env = env;
	x->nenv = nenv;
	sb->env_bytes = 0;
	for (size_t i = 0; i < sb->nenv; i++)
		sb->env_bytes += strlen(sb->env[i].name) + strlen(sb->env[i].value) + 2;
}

int ctl_conf_replace(struct ctl_sandbox *sb, const struct ctl_conf_change *v, size_t n,
	const struct ctl_yaml_item *env, size_t nenv, struct msb_err *e)
{
	size_t nkeys = sb->nenv + nenv;
	struct replacement x = {.rows = calloc(2 * n + nkeys + 2, sizeof(*x.rows)),
		.env_key = calloc(nkeys + 1, sizeof(*x.env_key)),
		.env = calloc(nenv + 1, sizeof(*x.env))};
	int r = x.rows && x.env_key && x.env ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_value(sb, &x, &v[i]);
	if (r == 0)
		r = add_env(sb, &x, env, nenv);
	r = r < 0 ? msb_err_set(e, ENOMEM, "no memory") : keep(sb, x.rows, x.n, e);
	if (r == 0) {
		take_over(sb, &x);
		ctl_policy_run(sb->c);
	}
	replacement_done(&x, nkeys);
	return r;
}
