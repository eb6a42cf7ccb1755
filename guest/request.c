// SPDX-License-Identifier: Apache-2.0
// Taking BOOT and EXEC apart.
#include "guest/request.h"
#include "guest/wire.h"
#include "base/cleanup.h"
#include "base/rlimits.h"
#include "base/str.h"

#include <string.h>
#include <sys/mount.h>

struct entry {
	const char *key, *value;
	size_t key_len;
};

static bool is(const struct entry *n, const char *name)
{
	return wire_kv_is(n->key, n->key_len, name);
}

static int bad(const struct entry *n, struct msb_err *e)
{
	return msb_err_set(e, EINVAL, "%.*s=%.100s: not valid", (int)n->key_len, n->key, n->value);
}

static int number(const struct entry *n, uint64_t max, uint64_t *ret, struct msb_err *e)
{
	return msb_parse_u64(n->value, 0, max, ret) < 0 ? bad(n, e) : 0;
}

static bool env_ok(const char *v)
{
	return *v != '=' && strchr(v, '=') != NULL;
}

/* Counts the entries called @name and checks that the payload is well formed. */
static int count(const uint8_t *p, size_t n, const char *name, size_t *ret, struct msb_err *e)
{
	struct entry en;
	size_t pos = 0;
	int r;

	*ret = 0;
	while ((r = wire_kv_next(p, n, &pos, &en.key, &en.key_len, &en.value)) > 0)
		*ret += is(&en, name);
	return r < 0 ? msb_err_set(e, EINVAL, "a malformed request") : 0;
}

static int take(const uint8_t *p, size_t n, uint8_t **raw, struct msb_err *e)
{
	*raw = malloc(n + 1);
	if (!*raw)
		return msb_err_set(e, ENOMEM, "the guest is out of memory");
	memcpy(*raw, p, n);
	return 0;
}

/* NAME:SOFT:HARD, each a number or `unlimited`. */
static int rlimit_value(struct ga_exec *x, const struct entry *n, struct msb_err *e)
{
	const char *soft = strchr(n->value, ':'), *hard = soft ? strchr(soft + 1, ':') : NULL;
	struct ga_rlimit *l = &x->rlimits[x->nrlimits];
	char first[24];

	if (!hard || x->nrlimits == GA_MAX_RLIMITS || (size_t)(hard - soft) > sizeof(first))
		return bad(n, e);
	memcpy(first, soft + 1, (size_t)(hard - soft - 1));
	first[hard - soft - 1] = '\0';
	l->resource = msb_rlimit_find(n->value, (size_t)(soft - n->value));
	if (l->resource < 0 || msb_rlimit_number(first, &l->soft) < 0 ||
		msb_rlimit_number(hard + 1, &l->hard) < 0 || l->soft > l->hard)
		return bad(n, e);
	x->nrlimits++;
	return 0;
}

static int exec_entry(struct ga_exec *x, const struct entry *n, size_t *argc, struct msb_err *e)
{
	uint64_t v = 0;
	int r = 0;

	if (is(n, "arg")) {
		x->argv[(*argc)++] = n->value;
	} else if (is(n, "env")) {
		if (!env_ok(n->value))
			return bad(n, e);
		x->env[x->nenv++] = n->value;
	} else if (is(n, "user")) {
		x->user = n->value;
	} else if (is(n, "cwd")) {
		x->cwd = n->value;
	} else if (is(n, "tty")) {
		r = number(n, 1, &v, e);
		x->tty = v;
	} else if (is(n, "stdin")) {
		r = number(n, 1, &v, e);
		x->want_stdin = v;
	} else if (is(n, "rows")) {
		r = number(n, UINT16_MAX, &v, e);
		x->rows = (uint16_t)v;
	} else if (is(n, "cols")) {
		r = number(n, UINT16_MAX, &v, e);
		x->cols = (uint16_t)v;
	} else if (is(n, "window")) {
		r = number(n, WIRE_OUT_WINDOW, &v, e);
		x->window = (uint32_t)v;
	} else if (is(n, "rlimit")) {
		r = rlimit_value(x, n, e);
	} else {
		return bad(n, e);
	}
	return r;
}

int ga_exec_parse(const uint8_t *p, size_t n, struct ga_exec *x, struct msb_err *e)
{
	size_t args = 0, envs = 0, argc = 0, pos = 0;
	struct entry en;
	int r;

	*x = (struct ga_exec){.window = WIRE_MIN_WINDOW};
	r = take(p, n, &x->raw, e);
	if (r == 0)
		r = count(x->raw, n, "arg", &args, e);
	if (r == 0)
		r = count(x->raw, n, "env", &envs, e);
	if (r < 0)
		return r;
	x->argv = calloc(args + 1, sizeof(*x->argv));
	x->env = calloc(envs + 1, sizeof(*x->env));
	if (!x->argv || !x->env)
		return msb_err_set(e, ENOMEM, "the guest is out of memory");
	while (wire_kv_next(x->raw, n, &pos, &en.key, &en.key_len, &en.value) > 0) {
		r = exec_entry(x, &en, &argc, e);
		if (r < 0)
			return r;
	}
	if (argc == 0 || !x->argv[0][0])
		return msb_err_set(e, EINVAL, "no program was named");
	if (x->window < WIRE_MIN_WINDOW)
		return msb_err_set(e, EINVAL, "window is less than a frame");
	return 0;
}

void ga_exec_done(struct ga_exec *x)
{
	free(x->raw);
	free(x->argv);
	free(x->env);
	*x = (struct ga_exec){0};
}

static bool path_ok(const char *p)
{
	if (*p != '/')
		return false;
	if (!p[1])
		return true;
	while (*p) {
		size_t n = strcspn(++p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

/* What tmpfs(5) itself takes. */
static int mount_data(struct ga_mount *m, const char *o)
{
	static const char *const known[] = {"size=", "nr_inodes=", "mode=", "uid=", "gid="};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t k = strlen(known[i]), n = strlen(m->data);

		if (strncmp(o, known[i], k) != 0)
			continue;
		if (!o[k] || o[k + strspn(o + k, "0123456789")] ||
			n + strlen(o) + 2 > sizeof(m->data))
			return -EINVAL;
		(void)snprintf(m->data + n, sizeof(m->data) - n, "%s%s", n ? "," : "", o);
		return 0;
	}
	return -EINVAL;
}

static int mount_option(struct ga_mount *m, const char *o)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} known[] = {{"ro", MS_RDONLY}, {"rw", 0}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV},
		{"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(o, known[i].name)) {
			m->flags |= known[i].flag;
			return 0;
		}
	if (!strncmp(o, "type=", 5) && o[5]) {
		m->type = o + 5;
		m->share = !strcmp(m->type, "share");
		m->disk = !strcmp(m->type, "disk");
		m->volume = !strcmp(m->type, "volume");
		return 0;
	}
	return *o ? mount_data(m, o) : 0;
}

static bool share_name_ok(const char *p)
{
	size_t n = strlen(p);

	return n > 0 && n <= GA_MAX_SHARE_NAME &&
	       strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789") == n;
}

/* @value lies in the request's own copy and is cut up in place. */
static int mount_value(struct ga_mount *m, char *value, struct msb_err *e)
{
	char *path = strchr(value, '\t'), *opts = path ? strchr(path + 1, '\t') : NULL, *next;

	if (!opts)
		return msb_err_set(e, EINVAL, "mount %.100s: not SOURCE, PATH and OPTIONS", value);
	*path++ = '\0';
	*opts++ = '\0';
	*m = (struct ga_mount){.source = value, .path = path, .type = "virtiofs"};
	if (!*value || !path_ok(path))
		return msb_err_set(
			e, EINVAL, "mount %.100s: '%.100s' is no absolute path", value, path);
	for (; opts; opts = next) {
		next = strchr(opts, ',');
		if (next)
			*next++ = '\0';
		if (mount_option(m, opts) < 0)
			return msb_err_set(
				e, EINVAL, "mount %.100s: unknown option '%.100s'", path, opts);
	}
	if (!strcmp(m->type, "tmpfs") ? !path[1] : *m->data)
		return msb_err_set(e, EINVAL, "mount %.100s: no tmpfs can be there", path);
	if (m->disk && (!share_name_ok(value) || path[1]))
		return msb_err_set(e, EINVAL, "mount %.100s: no disk can be there", path);
	if ((m->share || m->volume) && (!share_name_ok(value) || !path[1]))
		return msb_err_set(e, EINVAL, "mount %.100s: no share can be there", path);
	return 0;
}

static int mount_entry(struct ga_boot *b, char *value, struct msb_err *e)
{
	int r;

	if (b->nmounts == GA_MAX_MOUNTS)
		return msb_err_set(e, E2BIG, "more than %d mounts", GA_MAX_MOUNTS);
	r = mount_value(&b->mounts[b->nmounts], value, e);
	if (r < 0)
		return r;
	if (!strcmp(b->mounts[b->nmounts].path, "/") != (b->nmounts == 0))
		return msb_err_set(
			e, EINVAL, "mount %.100s: the root comes first, and once", value);
	b->nmounts++;
	return 0;
}

static int boot_entry(struct ga_boot *b, const struct entry *n, struct msb_err *e)
{
	if (is(n, "hostname")) {
		if (strlen(n->value) > GA_MAX_HOSTNAME)
			return bad(n, e);
		b->hostname = n->value;
	} else if (is(n, "user")) {
		b->user = n->value;
	} else if (is(n, "workdir")) {
		if (*n->value && *n->value != '/')
			return bad(n, e);
		b->workdir = *n->value ? n->value : "/";
	} else if (is(n, "init")) {
		if (*n->value && (!path_ok(n->value) || !n->value[1]))
			return bad(n, e);
		b->init = n->value;
	} else if (is(n, "clock_usec")) {
		return number(n, INT64_MAX, &b->clock_usec, e);
	} else if (is(n, "env")) {
		if (!env_ok(n->value))
			return bad(n, e);
		b->env[b->nenv++] = n->value;
	} else if (is(n, "mount")) {
		return mount_entry(b, (char *)(uintptr_t)n->value, e);
	} else {
		return bad(n, e);
	}
	return 0;
}

int ga_boot_parse(const uint8_t *p, size_t n, struct ga_boot *b, struct msb_err *e)
{
	struct entry en;
	size_t envs = 0, pos = 0;
	int r;

	*b = (struct ga_boot){.hostname = "", .user = "", .workdir = "/", .init = ""};
	r = take(p, n, &b->raw, e);
	if (r == 0)
		r = count(b->raw, n, "env", &envs, e);
	if (r < 0)
		return r;
	b->env = calloc(envs + 1, sizeof(*b->env));
	if (!b->env)
		return msb_err_set(e, ENOMEM, "the guest is out of memory");
	while (wire_kv_next(b->raw, n, &pos, &en.key, &en.key_len, &en.value) > 0) {
		r = boot_entry(b, &en, e);
		if (r < 0)
			return r;
	}
	return b->nmounts ? 0 : msb_err_set(e, EINVAL, "no root to mount");
}

int ga_mount_parse(
	const uint8_t *p, size_t n, struct ga_mount *ret, uint8_t **raw, struct msb_err *e)
{
	struct entry en;
	size_t pos = 0;
	int r = take(p, n, raw, e), k;

	*ret = (struct ga_mount){0};
	while (r == 0 && (k = wire_kv_next(*raw, n, &pos, &en.key, &en.key_len, &en.value)) != 0) {
		if (k < 0)
			return msb_err_set(e, EINVAL, "a malformed request");
		if (!is(&en, "mount") || ret->path)
			return bad(&en, e);
		r = mount_value(ret, (char *)(uintptr_t)en.value, e);
	}
	return r == 0 && !ret->share ? msb_err_set(e, EINVAL, "no share to mount") : r;
}

int ga_umount_parse(const uint8_t *p, size_t n, struct ga_umount *u, struct msb_err *e)
{
	struct entry en;
	size_t pos = 0;
	uint64_t v = 0;
	int r, k;

	*u = (struct ga_umount){0};
	r = take(p, n, &u->raw, e);
	while (r == 0 &&
		(k = wire_kv_next(u->raw, n, &pos, &en.key, &en.key_len, &en.value)) != 0) {
		if (k < 0)
			return msb_err_set(e, EINVAL, "a malformed request");
		if (is(&en, "name") && share_name_ok(en.value))
			u->name = en.value;
		else if (is(&en, "path") && path_ok(en.value) && en.value[1])
			u->path = en.value;
		else if (is(&en, "lazy"))
			r = number(&en, 1, &v, e);
		else
			return bad(&en, e);
		u->lazy = v;
	}
	return r == 0 && (!u->name || !u->path) ? msb_err_set(e, EINVAL, "no share to unmount") : r;
}

void ga_boot_done(struct ga_boot *b)
{
	free(b->raw);
	free(b->env);
	*b = (struct ga_boot){0};
}

const char *ga_env_get(const char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}
