/* SPDX-License-Identifier: Apache-2.0 */
/* The values of a sandbox: one table of what can be set, its bounds, and when. */
#ifndef MSB_CTL_CONF_H
#define MSB_CTL_CONF_H

#include "ctl/model.h"

/**
 * ctl_conf_set() - Set a value from one line
 * Errors: -EINVAL syntax; -ERANGE; -E2BIG; -ENOENT an image that is not there; -EBUSY not while a
 * machine runs, or the image of a sandbox that was used. Takes ctl.lock.
 */
int ctl_conf_set(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n, struct msb_err *e);
/* Whether that would change it: 1 or 0; errors as above. Takes ctl.lock. */
int ctl_conf_differs(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n, struct msb_err *e);
/* Checks a value, whether or not it may be set now, and appends what is kept; ctl.lock held. */
int ctl_conf_check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *text, size_t n,
	struct msb_str *ret, struct msb_err *e);
const char *ctl_conf_default(enum ctl_conf_id id);

/* What a value is made of: one line; lines; lines of KEY=VALUE. */
enum ctl_conf_form { CONF_FORM_ONE, CONF_FORM_LINES, CONF_FORM_PAIRS };
enum ctl_conf_form ctl_conf_form(enum ctl_conf_id id);
/* Sets a table, or adds lines to it; as ctl_conf_set(). */
int ctl_conf_edit(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *lines, size_t n,
	bool replace, struct msb_err *e);

struct ctl_conf_change {
	enum ctl_conf_id id;
	const char *value; /* checked */
};
struct ctl_yaml_item;
/* Changes @n values and makes the variables these, all or nothing, as one new generation; ctl.lock
 * held. Under a machine a value that is not live is noted as pending. */
int ctl_conf_replace(struct ctl_sandbox *sb, const struct ctl_conf_change *v, size_t n,
	const struct ctl_yaml_item *env, size_t nenv, struct msb_err *e);
/* What a reader sees, newline included; ctl.lock held. */
void ctl_conf_get(const struct ctl_sandbox *sb, enum ctl_conf_id id, struct msb_str *s);
const char *ctl_conf_key(enum ctl_conf_id id);
int ctl_conf_find(const char *key); /* id, or -ENOENT */

/* What a sandbox has from now on; takes @value over. An empty one, where that is the default, is
 * none (NULL). Lock held. */
void ctl_conf_take(struct ctl_sandbox *sb, enum ctl_conf_id id, char *value);
const char *ctl_conf_value(const struct ctl_sandbox *sb, enum ctl_conf_id id); /* lock held */
bool ctl_conf_root_readonly(const struct ctl_sandbox *sb);		       /* lock held */
/* Keeps a checked value; ctl.lock held. Neither memory nor the state file changes where the other
 * cannot. */
int ctl_conf_store(
	struct ctl_sandbox *sb, enum ctl_conf_id id, const struct msb_str *s, struct msb_err *e);

/**
 * ctl_env_set() - Set a variable; NULL unsets it
 * Names are [A-Za-z_][A-Za-z0-9_]*. Takes ctl.lock.
 * Errors: -EINVAL; -E2BIG the name, or CTL_MAX_ENV_BYTES; -EDQUOT CTL_MAX_ENV; -ENOENT unset of
 * none.
 */
int ctl_env_set(
	struct ctl_sandbox *sb, const char *name, const char *value, size_t n, struct msb_err *e);
bool ctl_env_name_valid(const char *name);
struct ctl_env *ctl_env_find(const struct ctl_sandbox *sb, const char *name); /* lock held */
struct ctl_env *ctl_env_by_serial(const struct ctl_sandbox *sb, uint32_t serial);

#endif
