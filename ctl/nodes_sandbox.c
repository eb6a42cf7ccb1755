// SPDX-License-Identifier: Apache-2.0
// Files of a sandbox.
#include "base/cleanup.h"
#include "base/io.h"
#include "ctl/conf.h"
#include "ctl/config.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/mounts.h"
#include "ctl/nodes.h"
#include "ctl/resize.h"
#include "ctl/whose_dir.h"
#include "ctl/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

int ctl_read_id(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%s\n", at->sb->id);
	return 0;
}

int ctl_read_state(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%s\n", ctl_state_name(at->sb->state));
	return 0;
}

int ctl_read_end(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_sandbox *sb = at->sb;

	/* It may have been started again since: then the end that was waited for counts. */
	msb_str_addf(
		s, "%s\n", ctl_state_name(ctl_state_ended(sb->state) ? sb->state : sb->end_state));
	return 0;
}

int ctl_read_status(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_sandbox *sb = at->sb;
	uint64_t now = msb_now_ms();
	const char *image = sb->conf[CONF_IMAGE];
	const struct ctl_pin *pin = ctl_pin_find(sb, "");
	struct ctl_image *img = NULL;
	const char *digest = "";

	if (pin)
		digest = pin->digest;
	else if (image && ctl_image_resolve(sb->c, image, NULL, &img, NULL) == 0)
		digest = img->digest;
	msb_str_addf(s, "id %s\nstate %s\nreason %s\nimage %s\ndigest %s%s\n", sb->id,
		ctl_state_name(sb->state), sb->reason, image ?: "", *digest ? "sha256:" : "",
		digest);
	msb_str_addf(s,
		"created_usec %" PRIu64 "\nstarted_usec %" PRIu64 "\nstart_ms %" PRIu64
		"\nrestarts %u\nrestart_in_ms %" PRIu64 "\n",
		sb->created_usec, sb->started_usec, sb->boot_ms, sb->restarts,
		sb->restart_at_ms > now ? sb->restart_at_ms - now : 0);
	msb_str_addf(s, "main_job %u\nexit_code ", sb->main_job);
	if (sb->main_exit >= 0)
		msb_str_addf(s, "%d", sb->main_exit);
	msb_str_addf(s, "\nqemu_pid %d\nagent_pid %d\nfsd_pid %d\n", (int)sb->qemu.pid,
		(int)sb->agent.pid, (int)sb->files.fsd.pid);
	msb_str_addf(s, "health %s\nhealth_failing %u\n", ctl_health_name(sb->health.status),
		sb->health.failing);
	return 0;
}

int ctl_read_health(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%s\n", ctl_health_name(at->sb->health.status));
	return 0;
}

int ctl_read_health_output(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_health_print(at->sb, s);
	return 0;
}

int ctl_read_error(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%s\n", at->sb->error);
	return 0;
}

int ctl_read_whole_config(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_config_print(at->sb, s);
	return 0;
}

int ctl_read_pending(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_config_pending(at->sb, s);
	return 0;
}

int ctl_write_whole_config(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	int r;

	if (!l->replace)
		return msb_err_set(e, EINVAL,
			"a configuration comes in one write of at most %d bytes, at the beginning",
			CTL_MAX_YAML_BYTES);
	r = ctl_config_write(l->q, at->sb, l->p, l->n, e);
	if (r == 0)
		*l->used = l->n;
	return r;
}

int ctl_read_conf(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_conf_get(at->sb, (enum ctl_conf_id)at->node->arg, s);
	return 0;
}

static bool image_changes(struct ctl_sandbox *sb, const struct ctl_line *l)
{
	const char *now;

	LOCK_SCOPE(&sb->c->lock);
	now = sb->conf[CONF_IMAGE] ?: "";
	return sb->used && (strlen(now) != l->n || memcmp(now, l->p, l->n) != 0);
}

/* A relative path is the writer's: what is kept is absolute. */
static int write_image(const struct ctl_at *at, const struct ctl_line *line, struct msb_err *e)
{
	_cleanup_free_ char *text = strndup(line->p, line->n);
	_cleanup_str_ struct msb_str full = MSB_STR_INIT;
	struct ctl_line l = *line;

	if (!text)
		return msb_err_set(e, ENOMEM, "no memory");
	if (ctl_is_relative(text)) {
		int r = ctl_absolute(l.q, text, &full, e);

		if (r < 0)
			return r;
		l.p = full.buf;
		l.n = full.len;
	}
	if (image_changes(at->sb, &l))
		ctl_files_reset(at->sb); /* a mere look at the root binds nobody */
	return ctl_conf_set(at->sb, CONF_IMAGE, l.p, l.n, e);
}

int ctl_write_conf(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	if (l->n == 0 && l->more)
		return 0; /* the newline of a value that came in pieces */
	if (at->node->arg == CONF_IMAGE)
		return write_image(at, l, e);
	if (at->node->arg == CONF_CPUS || at->node->arg == CONF_MEMORY)
		return ctl_resize_write(
			l->q, at->sb, (enum ctl_conf_id)at->node->arg, l->p, l->n, e);
	return ctl_conf_set(at->sb, (enum ctl_conf_id)at->node->arg, l->p, l->n, e);
}

int ctl_write_mounts(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	return ctl_mounts_write(l->q, at->sb, l->p, l->n, l->replace, l->used, e);
}

int ctl_write_table(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	int r = ctl_conf_edit(at->sb, (enum ctl_conf_id)at->node->arg, l->p, l->n, l->replace, e);

	if (r == 0)
		*l->used = l->n;
	return r;
}

int ctl_write_root_options(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	return l->n == 0 && l->more ? 0 : ctl_files_set_options(at->sb, l->p, l->n, e);
}

int ctl_read_env(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_env *v = ctl_env_by_serial(at->sb, at->aux);

	if (!v)
		return msb_err_set(e, ENODEV, "the variable was unset");
	msb_str_addf(s, "%s\n", v->value);
	return 0;
}

int ctl_write_env(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	char name[CTL_MAX_ENV_NAME + 1];
	const struct ctl_env *v;

	if (l->n == 0 && l->more)
		return 0;
	pthread_mutex_lock(&at->c->lock);
	v = ctl_env_by_serial(at->sb, at->aux);
	if (v)
		(void)snprintf(name, sizeof(name), "%s", v->name);
	pthread_mutex_unlock(&at->c->lock);
	if (!v)
		return msb_err_set(e, ENODEV, "the variable was unset");
	return ctl_env_set(at->sb, name, l->p, l->n, e);
}
