// SPDX-License-Identifier: Apache-2.0
// The variables of a sandbox.
#include "ctl/conf_int.h"
#include "base/cleanup.h"

#include <string.h>

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
	int r = conf_keep(sb, row, 1, e);

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
	r = conf_keep(sb, row, 1, e);
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
