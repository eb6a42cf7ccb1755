// SPDX-License-Identifier: Apache-2.0
// All values and variables of a sandbox at once.
#include "ctl/conf_int.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/policy.h"
#include "ctl/yaml.h"

#include <string.h>

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
		ctl_conf_take(sb, (enum ctl_conf_id)i, steal_ptr(x->value[i]));
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
	r = r < 0 ? msb_err_set(e, ENOMEM, "no memory") : conf_keep(sb, x.rows, x.n, e);
	if (r == 0) {
		take_over(sb, &x);
		ctl_policy_run(sb->c);
	}
	replacement_done(&x, nkeys);
	return r;
}
