// SPDX-License-Identifier: Apache-2.0
// The values of a sandbox.
#include "ctl/conf_int.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/policy.h"
#include "ctl/tmpfs.h"

#include <inttypes.h>
#include <string.h>

const struct conf confs[CONF_COUNT] = {
	[CONF_IMAGE] = {"image", "", false, conf_check_image, CONF_FORM_ONE},
	[CONF_CPUS] = {"cpus", CTL_DEFAULT_CPUS, false, conf_check_cpus, CONF_FORM_ONE},
	[CONF_MEMORY] = {"memory_bytes", CTL_DEFAULT_MEMORY_BYTES, false, conf_check_memory,
		CONF_FORM_ONE},
	[CONF_HOSTNAME] = {"hostname", "", false, conf_check_hostname, CONF_FORM_ONE},
	[CONF_USER] = {"user", "", true, conf_check_user, CONF_FORM_ONE},
	[CONF_WORKDIR] = {"workdir", "", true, conf_check_workdir, CONF_FORM_ONE},
	[CONF_MOUNTS] = {"mounts", "", false, NULL, CONF_FORM_LINES}, /* ctl_mounts_write() */
	[CONF_ROOT_OPTIONS] = {"root_options", "", false, conf_check_root_options, CONF_FORM_ONE},
	[CONF_PULL] = {"pull", "missing", true, conf_check_pull, CONF_FORM_ONE},
	[CONF_DISK_BYTES] = {"disk_bytes", "", false, conf_check_disk, CONF_FORM_ONE},
	[CONF_RESTART] = {"restart", "no", true, conf_check_restart, CONF_FORM_ONE},
	[CONF_MAX_DURATION] = {"max_duration_sec", "0", true, conf_check_duration, CONF_FORM_ONE},
	[CONF_IDLE_TIMEOUT] = {"idle_timeout_sec", "0", true, conf_check_idle, CONF_FORM_ONE},
	[CONF_STOP_TIMEOUT] = {"stop_timeout_sec", CTL_DEFAULT_STOP_SEC, true, conf_check_stop,
		CONF_FORM_ONE},
	[CONF_ENTRYPOINT] = {"entrypoint", "", true, conf_check_entrypoint, CONF_FORM_ONE},
	[CONF_CMD] = {"cmd", "", true, conf_check_cmd, CONF_FORM_ONE},
	[CONF_INIT] = {"init", "msb", false, conf_check_init, CONF_FORM_ONE},
	[CONF_MAX_CPUS] = {"max_cpus", "", false, conf_check_max_cpus, CONF_FORM_ONE},
	[CONF_MAX_MEMORY] = {"max_memory_bytes", "", false, conf_check_max_memory, CONF_FORM_ONE},
	[CONF_AUTO_REMOVE] = {"auto_remove", "0", true, conf_check_auto_remove, CONF_FORM_ONE},
	[CONF_HEALTHCHECK] = {"healthcheck", "", true, conf_check_healthcheck, CONF_FORM_ONE},
	[CONF_HEALTH_INTERVAL] = {"healthcheck_interval_sec", "", true, conf_check_health_interval,
		CONF_FORM_ONE},
	[CONF_HEALTH_TIMEOUT] = {"healthcheck_timeout_sec", "", true, conf_check_health_timeout,
		CONF_FORM_ONE},
	[CONF_HEALTH_RETRIES] = {"healthcheck_retries", "", true, conf_check_health_retries,
		CONF_FORM_ONE},
	[CONF_HEALTH_START] = {"healthcheck_start_period_sec", "", true, conf_check_health_start,
		CONF_FORM_ONE},
	[CONF_HEALTH_START_INTERVAL] = {"healthcheck_start_interval_sec", "", true,
		conf_check_health_start_interval, CONF_FORM_ONE},
	[CONF_LABELS] = {"labels", "", true, conf_check_labels, CONF_FORM_PAIRS},
	[CONF_RLIMITS] = {"rlimits", "", true, conf_check_rlimits, CONF_FORM_LINES},
	[CONF_TMPFS] = {"tmpfs", "", false, conf_check_tmpfs, CONF_FORM_LINES},
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

void ctl_conf_take(struct ctl_sandbox *sb, enum ctl_conf_id id, char *value)
{
	if (!*value && !*confs[id].def) {
		free(value);
		value = NULL;
	}
	free(sb->conf[id]);
	sb->conf[id] = value;
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
	if (confs[id].form == CONF_FORM_ONE)
		msb_str_adds(s, "\n");
}

int conf_keep(struct ctl_sandbox *sb, struct ctl_db_value *v, size_t n, struct msb_err *e)
{
	char text[24];
	int r;

	(void)snprintf(text, sizeof(text), "%" PRIu64, sb->generation + 1);
	v[n] = (struct ctl_db_value){".generation", text};
	v[n + 1] = (struct ctl_db_value){NULL, NULL};
	r = ctl_db_values_set(sb->c->db, sb->id, v, e);
	v[n] = (struct ctl_db_value){NULL, NULL}; /* its text ends here */
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
	r = conf_keep(sb, v, 1, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	ctl_conf_take(sb, id, copy);
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

enum ctl_conf_form ctl_conf_form(enum ctl_conf_id id)
{
	return confs[id].form;
}

const char *ctl_conf_default(enum ctl_conf_id id)
{
	return confs[id].def;
}

int ctl_conf_check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n,
	struct msb_str *ret, struct msb_err *e)
{
	bool table = confs[id].form != CONF_FORM_ONE;
	size_t most = table ? 2 * CTL_MAX_TABLE_BYTES : CTL_MAX_LINE;
	_cleanup_free_ char *text = NULL;
	int r;

	if (n > most)
		return msb_err_set(e, E2BIG, "%s has at most %zu bytes", confs[id].key,
			table ? (size_t)CTL_MAX_TABLE_BYTES : most);
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)line[i] < 0x20 && !(table && line[i] == '\n')) ||
			line[i] == 0x7f)
			return msb_err_set(e, EINVAL, "%s: a control byte (0x%02x)", confs[id].key,
				(unsigned char)line[i]);
	text = strndup(line, n);
	if (!text)
		return msb_err_set(e, ENOMEM, "no memory");
	r = confs[id].check(sb, text, ret, e);
	if (r == 0 && table && ret->len > CTL_MAX_TABLE_BYTES)
		r = msb_err_set(
			e, E2BIG, "%s has at most %d bytes", confs[id].key, CTL_MAX_TABLE_BYTES);
	return r;
}

/* Lock held. */
static int check(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *line, size_t n,
	struct msb_str *ret, struct msb_err *e)
{
	int r = may_set(sb, id, e);

	if (r == 0)
		r = ctl_conf_check(sb, id, line, n, ret, e);
	if (r == 0 && id == CONF_TMPFS)
		r = ctl_tmpfs_clash(ret->buf ?: "", ctl_conf_value(sb, CONF_MOUNTS), e);
	return r;
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

int ctl_conf_edit(struct ctl_sandbox *sb, enum ctl_conf_id id, const char *lines, size_t n,
	bool replace, struct msb_err *e)
{
	_cleanup_str_ struct msb_str all = MSB_STR_INIT, s = MSB_STR_INIT;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	if (!replace)
		msb_str_adds(&all, ctl_conf_value(sb, id));
	msb_str_add(&all, lines, n);
	if (all.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	r = check(sb, id, all.buf ?: "", all.len, &s, e);
	return r < 0 ? r : ctl_conf_store(sb, id, &s, e);
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
