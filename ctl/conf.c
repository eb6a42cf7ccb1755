// SPDX-License-Identifier: Apache-2.0
// The values of a sandbox.
#include "ctl/conf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/image_names.h"
#include "ctl/policy.h"
#include "ctl/root.h"
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

int ctl_conf_store(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const struct msb_str *s, struct msb_err *e)
{
	char *copy;
	int r;

	copy = s->oom ? NULL : strdup(s->buf ?: "");
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	r = ctl_db_value_set(sb->c->db, sb->id, confs[id].key, copy, e);
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

/* Lock held. */
static int check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n,
	struct msb_str *ret, struct msb_err *e)
{
	char text[CTL_MAX_LINE + 1];
	int r;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			return msb_err_set(e, EINVAL, "%s: a control byte (0x%02x)", confs[id].key,
				(unsigned char)line[i]);
	memcpy(text, line, n);
	text[n] = '\0';
	r = may_set(sb, id, e);
	return r < 0 ? r : confs[id].check(sb, text, ret, e);
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
	int r = ctl_db_value_set(sb->c->db, sb->id, key, NULL, e);

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
	r = ctl_db_value_set(sb->c->db, sb->id, key, copy, e);
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
