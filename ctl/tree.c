// SPDX-License-Identifier: Apache-2.0
// The control tree: the table, and walking it.
#include "ctl/tree.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/job.h"
#include "ctl/logfile.h"
#include "ctl/logins.h"
#include "ctl/metrics.h"
#include "ctl/nodes.h"
#include "ctl/pulls.h"
#include "ctl/kept.h"
#include "ctl/volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* clang-format off */
const struct ctl_node ctl_nodes[] = {
	/* name               directory  kind     mode  read, write, argument, flags */
	[D_NONE]    = {"",       D_NONE,    K_DIR,   0,    NULL, NULL, 0, 0},
	[D_ROOT]    = {"",       D_NONE,    K_DIR,   0755, NULL, NULL, 0, 0},
	[D_IMAGES]  = {"images", D_ROOT,    K_DIR,   0755, NULL, NULL, 0, 0},
	[D_IMAGE_DIR] = {"*",    D_IMAGES,  K_DIR,   0755, NULL, NULL, 0, 0},
	[D_IMAGE]   = {"*",      D_IMAGE_DIR, K_DIR, 0755, NULL, NULL, 0, 0},
	[D_PULLS]   = {"pulls",  D_IMAGES,  K_DIR,   0755, NULL, NULL, 0, 0},
	[D_LOGINS]  = {"logins", D_IMAGES,  K_DIR,   0700, NULL, NULL, 0, 0},
	[D_VOLUMES] = {"volumes", D_ROOT,   K_DIR,   0755, NULL, NULL, 0, 0},
	[D_VOLUME]  = {"*",      D_VOLUMES, K_DIR,   0700, NULL, NULL, 0, 0},
	[D_SANDBOX] = {"*",      D_ROOT,    K_DIR,   0700, NULL, NULL, 0, 0},
	[D_ENV]     = {"env",    D_SANDBOX, K_DIR,   0700, NULL, NULL, 0, 0},
	[D_METRICS] = {"metrics", D_SANDBOX, K_DIR,  0500, NULL, NULL, 0, 0},
	[D_SCRIPTS] = {"scripts", D_SANDBOX, K_DIR,  0700, NULL, NULL, 0, 0},
	[D_PATCHES] = {"patches", D_SANDBOX, K_DIR,  0700, NULL, NULL, 0, 0},
	[D_PATCH]   = {"*",      D_PATCHES, K_DIR,   0700, NULL, NULL, 0, 0},
	[D_JOBS]    = {"jobs",   D_SANDBOX, K_DIR,   0700, NULL, NULL, 0, 0},
	[D_JOB]     = {"*",      D_JOBS,    K_DIR,   0700, NULL, NULL, 0, 0},
	[D_JOB_ENV] = {"env",    D_JOB,     K_DIR,   0700, NULL, NULL, 0, 0},
	[D_COUNT]   = {"*",      D_IMAGES,  K_LINK,  0777, NULL, NULL, 0, 0}, /* a short name */

	{"version",      D_ROOT,    K_TEXT,  0444, ctl_read_version, NULL, 0, 0},
	{"features",     D_ROOT,    K_TEXT,  0444, ctl_read_features, NULL, 0, NF_SLOW},
	{"ctl",          D_ROOT,    K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_GLOBAL, NF_FRESH},
	{"error",        D_ROOT,    K_TEXT,  0400, ctl_read_global_error, NULL, 0, 0},
	{"errors",       D_ROOT,    K_RING,  0400, NULL, NULL, 0, 0},
	{"events",       D_ROOT,    K_RING,  0400, NULL, NULL, 1, 0},
	{"log",          D_ROOT,    K_LOG,   0400, NULL, NULL, 1, 0},
	{"metrics",      D_ROOT,    K_TEXT,  0444, ctl_read_metrics, NULL, 0, NF_SLOW | NF_FEW},

	{"ctl",          D_IMAGES,  K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_IMAGES, NF_FRESH},
	{"stat",         D_IMAGES,  K_TEXT,  0444, ctl_read_store_stat, NULL, 0, NF_SLOW},
	{"registries",   D_IMAGES,  K_LINES, 0600, ctl_read_registries, ctl_write_registries, 0, NF_FRESH | NF_WHOLE},
	{"*",            D_PULLS,   K_PULL,  0444, NULL, NULL, 0, 0},
	{"*",            D_LOGINS,  K_LINES, 0600, ctl_read_login, ctl_write_login, 0, 0},
	{"digest",       D_IMAGE,   K_TEXT,  0444, ctl_read_digest, NULL, 0, 0},
	{"size_bytes",   D_IMAGE,   K_TEXT,  0444, ctl_read_size, NULL, 0, 0},
	{"created",      D_IMAGE,   K_TEXT,  0444, ctl_read_created, NULL, 0, NF_SLOW},
	{"config.json",  D_IMAGE,   K_TEXT,  0444, ctl_read_stored, NULL, STORED_CONFIG, NF_SLOW},
	{"manifest.json", D_IMAGE,  K_TEXT,  0444, ctl_read_stored, NULL, STORED_MANIFEST, NF_SLOW},
	{"layers",       D_IMAGE,   K_TEXT,  0444, ctl_read_stored, NULL, STORED_LAYERS, NF_SLOW},
	{"used_by",      D_IMAGE,   K_TEXT,  0444, ctl_read_used_by, NULL, 0, 0},
	{"rootfs",       D_IMAGE,   K_LINK,  0777, NULL, NULL, 0, 0},

	{"kind",         D_VOLUME,  K_LINES, 0600, ctl_read_volume_kind, ctl_write_volume_kind, 0, 0},
	{"quota_bytes",  D_VOLUME,  K_LINES, 0600, ctl_read_volume_quota, ctl_write_volume_quota, 0, 0},
	{"used_bytes",   D_VOLUME,  K_TEXT,  0400, ctl_read_volume_used, NULL, 0, NF_SLOW},
	{"used_by",      D_VOLUME,  K_TEXT,  0400, ctl_read_volume_users, NULL, 0, 0},
	{"data",         D_VOLUME,  K_LINK,  0777, NULL, NULL, 0, 0},

	{"ctl",          D_SANDBOX, K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_SANDBOX, NF_FRESH},
	{"state",        D_SANDBOX, K_TEXT,  0400, ctl_read_state, NULL, 0, NF_STATE},
	{"status",       D_SANDBOX, K_TEXT,  0400, ctl_read_status, NULL, 0, NF_STATE | NF_HEALTH | NF_LAST},
	{"health",       D_SANDBOX, K_TEXT,  0400, ctl_read_health, NULL, 0, NF_HEALTH},
	{"health_output", D_SANDBOX, K_TEXT, 0400, ctl_read_health_output, NULL, 0, 0},
	{"error",        D_SANDBOX, K_TEXT,  0400, ctl_read_error, NULL, 0, 0},
	{"events",       D_SANDBOX, K_RING,  0400, NULL, NULL, 0, 0},
	{"id",           D_SANDBOX, K_TEXT,  0400, ctl_read_id, NULL, 0, 0},
	{"wait",         D_SANDBOX, K_WAIT,  0400, ctl_read_end, NULL, 0, NF_FRESH | NF_LAST},
	{"exec",         D_SANDBOX, K_EXEC,  0600, NULL, NULL, 0, NF_FRESH},
	{"console",      D_SANDBOX, K_LOG,   0400, NULL, NULL, 1, 0},
	{"log",          D_SANDBOX, K_LOG,   0400, NULL, NULL, AGENT_LOG_OLD, 0},
	{"audit",        D_SANDBOX, K_LOG,   0400, NULL, NULL, 1, 0},
	{"config",       D_SANDBOX, K_LINES, 0600, ctl_read_whole_config, ctl_write_whole_config, 0, NF_FRESH | NF_WHOLE},
	{"config.pending", D_SANDBOX, K_TEXT, 0400, ctl_read_pending, NULL, 0, 0},
	{"image",        D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_IMAGE, 0},
	{"pull",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_PULL, 0},
	{"cpus",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_CPUS, 0},
	{"memory_bytes", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_MEMORY, 0},
	{"max_cpus",     D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_MAX_CPUS, 0},
	{"max_memory_bytes", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_MAX_MEMORY, 0},
	{"disk_bytes",   D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_DISK_BYTES, 0},
	{"restart",      D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_RESTART, 0},
	{"max_duration_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_MAX_DURATION, 0},
	{"idle_timeout_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_IDLE_TIMEOUT, 0},
	{"stop_timeout_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_STOP_TIMEOUT, 0},
	{"auto_remove",  D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_AUTO_REMOVE, 0},
	{"healthcheck",  D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HEALTHCHECK, 0},
	{"healthcheck_interval_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HEALTH_INTERVAL, 0},
	{"healthcheck_timeout_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HEALTH_TIMEOUT, 0},
	{"healthcheck_retries", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HEALTH_RETRIES, 0},
	{"healthcheck_start_period_sec", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HEALTH_START, 0},
	{"hostname",     D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HOSTNAME, 0},
	{"user",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_USER, 0},
	{"workdir",      D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_WORKDIR, 0},
	{"entrypoint",   D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_ENTRYPOINT, 0},
	{"cmd",          D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_CMD, 0},
	{"init",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_INIT, 0},
	{"labels",       D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_table, CONF_LABELS, NF_WHOLE},
	{"rlimits",      D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_table, CONF_RLIMITS, NF_WHOLE},
	{"mounts",       D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_mounts, CONF_MOUNTS, NF_FRESH | NF_WHOLE},
	{"tmpfs",        D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_table, CONF_TMPFS, NF_WHOLE},
	{"root_options", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_root_options, CONF_ROOT_OPTIONS, 0},
	{"root",         D_SANDBOX, K_LINK,  0777, NULL, NULL, 0, 0},
	{"*",            D_ENV,     K_LINES, 0600, ctl_read_env, ctl_write_env, 0, 0},
	{"*",            D_SCRIPTS, K_FILE,  0600, NULL, NULL, 0, 0},
	{"*",            D_PATCHES, K_FILE,  0600, NULL, NULL, 0, 0},
	{"*",            D_PATCHES, K_LINK,  0777, NULL, NULL, 0, 0},
	{"cpu_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_CPU_USEC, NF_SLOW},
	{"fsd_cpu_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FSD_CPU_USEC, NF_SLOW},
	{"guest_cpu_user_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_CPU_USER, NF_SLOW},
	{"guest_cpu_system_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_CPU_SYSTEM, NF_SLOW},
	{"guest_cpu_idle_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_CPU_IDLE, NF_SLOW},
	{"guest_cpu_iowait_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_CPU_IOWAIT, NF_SLOW},
	{"guest_cpu_steal_usec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_CPU_STEAL, NF_SLOW},
	{"memory_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_MEMORY_BYTES, NF_SLOW},
	{"fsd_memory_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FSD_MEMORY_BYTES, NF_SLOW},
	{"memory_limit_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_MEMORY_LIMIT_BYTES, NF_SLOW},
	{"balloon_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_BALLOON_BYTES, NF_SLOW},
	{"guest_memory_total_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_MEMORY_TOTAL, NF_SLOW},
	{"guest_memory_available_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_MEMORY_AVAILABLE, NF_SLOW},
	{"guest_oom_kills", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_GUEST_OOM_KILLS, NF_SLOW},
	{"fs_ops", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FS_OPS, NF_SLOW},
	{"fs_errors", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FS_ERRORS, NF_SLOW},
	{"fs_read_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FS_READ_BYTES, NF_SLOW},
	{"fs_written_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FS_WRITTEN_BYTES, NF_SLOW},
	{"fs_latency", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FS_LATENCY, NF_SLOW},
	{"disk_used_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_DISK_USED_BYTES, NF_SLOW},
	{"jobs_running", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_JOBS_RUNNING, NF_SLOW},
	{"jobs_total", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_JOBS_TOTAL, NF_SLOW},
	{"health_checks", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_HEALTH_CHECKS, NF_SLOW},
	{"health_failures", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_HEALTH_FAILURES, NF_SLOW},
	{"uptime_sec", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_UPTIME_SEC, NF_SLOW},
	{"restarts", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_RESTARTS, NF_SLOW},
	{"clone",        D_JOBS,    K_CLONE, 0600, ctl_read_job_number, NULL, 0, 0},
	{"ctl",          D_JOB,     K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_JOB, NF_FRESH},
	{"argv",         D_JOB,     K_LINES, 0600, ctl_read_job, ctl_write_job_argv, JOB_FILE_ARGV, NF_WHOLE | NF_QUICK},
	{"cwd",          D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_value, JOB_CWD, NF_QUICK},
	{"user",         D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_value, JOB_USER, NF_QUICK},
	{"tty",          D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_value, JOB_TTY, NF_QUICK},
	{"timeout_sec",  D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_value, JOB_TIMEOUT, NF_QUICK},
	{"entrypoint",   D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_value, JOB_ENTRYPOINT, NF_QUICK},
	{"rlimits",      D_JOB,     K_LINES, 0600, ctl_read_job_value, ctl_write_job_rlimits, JOB_RLIMITS, NF_WHOLE | NF_QUICK},
	{"stdin",        D_JOB,     K_IN,    0200, NULL, NULL, 0, NF_FRESH},
	{"stdout",       D_JOB,     K_OUT,   0400, NULL, NULL, JOB_OUT, NF_FRESH},
	{"stderr",       D_JOB,     K_OUT,   0400, NULL, NULL, JOB_ERR, NF_FRESH},
	{"output",       D_JOB,     K_OUT,   0400, NULL, NULL, JOB_OUT | JOB_ERR, NF_FRESH},
	{"state",        D_JOB,     K_TEXT,  0400, ctl_read_job, NULL, JOB_FILE_STATE, NF_STATE},
	{"status",       D_JOB,     K_TEXT,  0400, ctl_read_job_status, NULL, 0, NF_STATE},
	{"error",        D_JOB,     K_TEXT,  0400, ctl_read_job, NULL, JOB_FILE_ERROR, 0},
	{"exit_code",    D_JOB,     K_TEXT,  0400, ctl_read_job, NULL, JOB_FILE_EXIT_CODE, NF_STATE},
	{"signal",       D_JOB,     K_TEXT,  0400, ctl_read_job, NULL, JOB_FILE_SIGNAL, NF_STATE},
	{"wait",         D_JOB,     K_WAIT,  0400, ctl_read_job, NULL, JOB_FILE_EXIT_CODE, NF_FRESH},
	{"*",            D_JOB_ENV, K_LINES, 0600, ctl_read_job_env, ctl_write_job_env, 0, NF_QUICK},
};
/* clang-format on */
const size_t ctl_nnodes = ARRAY_LEN(ctl_nodes);
_Static_assert(ARRAY_LEN(ctl_nodes) < 256, "a row fits into a node id");

static unsigned int row_of(const struct ctl_at *at)
{
	return (unsigned int)(at->node - ctl_nodes);
}

#define N_SHORT (&ctl_nodes[D_COUNT])

static bool of_image(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_IMAGE] || n->dir == D_IMAGE || n == N_SHORT;
}

static bool of_volume(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_VOLUME] || n->dir == D_VOLUME;
}

static bool of_sandbox(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_SANDBOX] || n->dir == D_SANDBOX || n->dir == D_ENV ||
	       n->dir == D_METRICS || n->dir == D_JOBS || n->dir == D_SCRIPTS ||
	       n->dir == D_PATCHES;
}

/* Below scripts/ or patches/. */
static bool of_kept(const struct ctl_node *n)
{
	return n->dir == D_SCRIPTS || n->dir == D_PATCHES;
}

static const struct ctl_kept *kept(const struct ctl_at *at)
{
	return ctl_kept_by_serial(at->sb, at->aux);
}

static bool of_job(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_JOB] || n->dir == D_JOB || n->dir == D_JOB_ENV;
}

/* The row of what is in @dir by any name. */
static const struct ctl_node *any_in(enum ctl_dir dir)
{
	for (size_t i = D_COUNT + 1; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == dir && ctl_nodes[i].name[0] == '*')
			return &ctl_nodes[i];
	return NULL;
}

/* Whether what @at's serial says is there still. */
static bool there(const struct ctl_at *at)
{
	if (at->node == &ctl_nodes[D_IMAGE_DIR])
		return ctl_image_dir_by_serial(at->c, at->serial);
	if (at->node->dir == D_PULLS)
		return ctl_pull_find(at->c, at->serial);
	if (at->node->dir == D_LOGINS)
		return ctl_login_by_serial(at->c, at->serial);
	if (at->node->dir == D_JOB_ENV)
		return ctl_job_env_by_serial(at->job, at->aux);
	if (of_kept(at->node))
		return kept(at);
	return at->node->dir != D_ENV || ctl_env_by_serial(at->sb, at->aux);
}

int ctl_at_id(struct ctl *c, uint64_t id, struct ctl_at *ret)
{
	unsigned int row = id & 0xff;
	struct ctl_at at = {.c = c, .aux = id >> 8 & 0xffffff, .serial = (uint32_t)(id >> 32)};

	if (row == 0 || row >= ctl_nnodes)
		return -ENOENT;
	at.node = &ctl_nodes[row];
	if (of_job(at.node)) {
		at.job = ctl_job_by_serial(c, at.serial);
		if (!at.job)
			return -ENOENT;
		at.sb = at.job->sb;
	} else if (of_sandbox(at.node)) {
		at.sb = ctl_sandbox_by_serial(c, at.serial);
		if (!at.sb)
			return -ENOENT;
	}
	if (of_image(at.node)) {
		at.img = ctl_image_by_serial(c, at.serial);
		if (!at.img)
			return -ENOENT;
	}
	if (of_volume(at.node)) {
		at.vol = ctl_volume_by_serial(c, at.serial);
		if (!at.vol)
			return -ENOENT;
	}
	if (!there(&at))
		return -ENOENT;
	*ret = at;
	return 0;
}

uint64_t ctl_at_make_id(const struct ctl_at *at)
{
	static uint32_t counter; /* ctl.lock */
	uint32_t serial = of_job(at->node) ? at->job->serial
			  : at->sb	   ? at->sb->serial
			  : at->img	   ? at->img->serial
			  : at->vol	   ? at->vol->serial
					   : at->serial;

	return CTL_ID(row_of(at), serial, at->node->flags & NF_FRESH ? ++counter : at->aux);
}

/* The path below `images/` of a name in @dir; false: none can be that long. */
static bool image_path(const struct ctl_at *dir, const char *name, char ret[IMG_REF_MAX + 1])
{
	struct ctl_image_dir *d = dir->node == &ctl_nodes[D_IMAGES]
					  ? NULL
					  : ctl_image_dir_by_serial(dir->c, dir->serial);

	return snprintf(ret, IMG_REF_MAX + 1, "%s%s%s", d ? d->path : "", d ? "/" : "", name) <=
	       IMG_REF_MAX;
}

static int image_child(const struct ctl_at *dir, const char *name, struct ctl_at *at)
{
	char path[IMG_REF_MAX + 1];
	struct ctl_image_dir *d;

	if (!image_path(dir, name, path))
		return -ENOENT;
	d = ctl_image_dir_find(dir->c, path);
	if (d) {
		at->node = &ctl_nodes[D_IMAGE_DIR];
		at->serial = d->serial;
		return 0;
	}
	if (dir->node != &ctl_nodes[D_IMAGES]) {
		at->node = &ctl_nodes[D_IMAGE];
		at->img = ctl_image_find(dir->c, path);
		return at->img ? 0 : -ENOENT;
	}
	at->node = N_SHORT;
	for (size_t i = 0; i < dir->c->nimg; i++)
		if (*name && !strcmp(dir->c->img[i]->shorter, name)) {
			at->img = dir->c->img[i];
			return 0;
		}
	return -ENOENT;
}

static enum ctl_area area_of(const struct ctl_at *dir)
{
	return dir->node == &ctl_nodes[D_SCRIPTS] ? AREA_SCRIPTS : AREA_PATCHES;
}

static int kept_child(const struct ctl_at *dir, const char *name, struct ctl_at *at)
{
	const struct ctl_kept *f = ctl_kept_find(dir->sb, area_of(dir), dir->aux, name);
	enum ctl_dir top = dir->node == &ctl_nodes[D_SCRIPTS] ? D_SCRIPTS : D_PATCHES;

	if (!f)
		return -ENOENT;
	at->aux = f->serial;
	at->node = S_ISDIR(f->mode) ? &ctl_nodes[D_PATCH] : any_in(top);
	if (S_ISLNK(f->mode))
		at->node++; /* the row behind that of files */
	return 0;
}

static int any_child(const struct ctl_at *dir, const char *name, struct ctl_at *at)
{
	struct ctl *c = dir->c;
	struct ctl_login *l;
	struct ctl_env *v;
	uint64_t n;

	switch ((enum ctl_dir)row_of(dir)) {
	case D_ROOT:
		at->sb = ctl_sandbox_find(c, name);
		at->node = &ctl_nodes[D_SANDBOX];
		return at->sb ? 0 : -ENOENT;
	case D_IMAGES:
	case D_IMAGE_DIR: return image_child(dir, name, at);
	case D_VOLUMES:
		at->vol = ctl_volume_find(c, name);
		at->node = &ctl_nodes[D_VOLUME];
		return at->vol ? 0 : -ENOENT;
	case D_PULLS:
		if (*name == '0' || msb_parse_u64(name, 1, UINT32_MAX, &n) < 0 ||
			!ctl_pull_find(c, (uint32_t)n))
			return -ENOENT;
		at->serial = (uint32_t)n;
		break;
	case D_LOGINS:
		l = ctl_login_find(c, dir->uid, name);
		if (!l)
			return -ENOENT;
		at->serial = l->serial;
		break;
	case D_JOBS:
		if (*name != '0' && msb_parse_u64(name, 1, UINT32_MAX, &n) == 0)
			at->job = ctl_job_find(dir->sb, (uint32_t)n);
		at->node = &ctl_nodes[D_JOB];
		return at->job ? 0 : -ENOENT;
	case D_SCRIPTS:
	case D_PATCHES:
	case D_PATCH: return kept_child(dir, name, at);
	case D_ENV:
	case D_JOB_ENV:
		v = dir->job ? ctl_job_env_find(dir->job, name) : ctl_env_find(dir->sb, name);
		if (!v)
			return -ENOENT;
		at->aux = v->serial;
		break;
	default: return -ENOENT;
	}
	at->node = any_in((enum ctl_dir)row_of(dir));
	return 0;
}

int ctl_at_child(const struct ctl_at *dir, const char *name, struct ctl_at *ret)
{
	struct ctl_at at = {.c = dir->c,
		.sb = dir->sb,
		.img = dir->img,
		.vol = dir->vol,
		.job = dir->job,
		.uid = dir->uid};
	unsigned int d = row_of(dir);
	int r;

	for (size_t i = D_ROOT; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == d && !strcmp(ctl_nodes[i].name, name) && *name != '*') {
			at.node = &ctl_nodes[i];
			*ret = at;
			return 0;
		}
	r = any_child(dir, name, &at);
	if (r == 0)
		*ret = at;
	return r;
}

/* ---- listings */

struct list {
	const struct ctl_at *dir;
	int (*fn)(void *arg, const char *name, const struct ctl_at *child);
	void *arg;
};

/* Gives an entry that is looked up by its name. */
static bool give(const struct list *l, const char *name)
{
	struct ctl_at at;

	return ctl_at_child(l->dir, name, &at) == 0 && l->fn(l->arg, name, &at) != 0;
}

/* What of @path is one name below @prefix, or NULL. */
static const char *below(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(path, prefix, n) != 0 || (n && path[n] != '/'))
		return NULL;
	path += n ? n + 1 : 0;
	return strchr(path, '/') ? NULL : path;
}

static void list_images(const struct list *l)
{
	const struct ctl_image_dir *d = ctl_image_dir_by_serial(l->dir->c, l->dir->serial);
	bool top = l->dir->node == &ctl_nodes[D_IMAGES];
	const char *prefix = !top && d ? d->path : "", *name;
	struct ctl *c = l->dir->c;

	for (size_t i = 0; i < c->ndirs; i++) {
		name = below(c->dir[i].path, prefix);
		if (name && give(l, name))
			return;
	}
	for (size_t i = 0; i < c->nimg; i++) {
		name = top ? c->img[i]->shorter : below(c->img[i]->name, prefix);
		if (name && *name && give(l, name))
			return;
	}
}

static void list_any(const struct list *l)
{
	const struct ctl_at *dir = l->dir;
	struct ctl *c = dir->c;
	char number[16];

	switch ((enum ctl_dir)row_of(dir)) {
	case D_ROOT:
		for (size_t i = 0; i < c->nsb; i++)
			if (give(l, c->sb[i]->name))
				return;
		break;
	case D_IMAGES:
	case D_IMAGE_DIR: list_images(l); break;
	case D_VOLUMES:
		for (size_t i = 0; i < c->nvol; i++)
			if (give(l, c->vol[i]->name))
				return;
		break;
	case D_PULLS:
		for (size_t i = 0; i < c->npulls; i++) {
			(void)snprintf(number, sizeof(number), "%u", c->pull[i]->n);
			if (give(l, number))
				return;
		}
		break;
	case D_LOGINS:
		for (size_t i = 0; i < c->nlogins; i++)
			if (c->login[i].uid == dir->uid && give(l, c->login[i].host))
				return;
		break;
	case D_JOBS:
		for (const struct ctl_job *j = dir->sb->jobs; j; j = j->next) {
			(void)snprintf(number, sizeof(number), "%u", j->number);
			if (give(l, number))
				return;
		}
		break;
	case D_SCRIPTS:
	case D_PATCHES:
	case D_PATCH:
		for (size_t i = 0; i < dir->sb->nkept; i++) {
			const struct ctl_kept *f = &dir->sb->kept[i];

			if (f->area == area_of(dir) && f->parent == dir->aux && give(l, f->name))
				return;
		}
		break;
	case D_JOB_ENV:
		for (size_t i = 0; i < dir->job->nenv; i++)
			if (give(l, dir->job->env[i].name))
				return;
		break;
	case D_ENV:
		for (size_t i = 0; i < dir->sb->nenv; i++)
			if (give(l, dir->sb->env[i].name))
				return;
		break;
	default: break;
	}
}

void ctl_at_list(const struct ctl_at *dir,
	int (*fn)(void *arg, const char *name, const struct ctl_at *child), void *arg)
{
	const struct list l = {dir, fn, arg};
	unsigned int d = row_of(dir);

	for (size_t i = D_ROOT; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == d && ctl_nodes[i].name[0] != '*' &&
			give(&l, ctl_nodes[i].name))
			return;
	list_any(&l);
}

/* The owner's permissions, and as much of them for group and others as the directory of the
 * sandbox, or volume, grants: chmod 0750 lets the group read, 0770 lets it drive. */
static mode_t owned_mode(const struct ctl_at *at)
{
	mode_t own = at->node->mode >> 6 & 7, dir = at->sb ? at->sb->mode : at->vol->mode;

	if (at->node == &ctl_nodes[D_SANDBOX] || at->node == &ctl_nodes[D_VOLUME])
		return dir;
	if (at->node->kind == K_LINK)
		return 0777;
	if (at->node->dir == D_PATCHES) /* the guest's */
		return kept(at)->mode & 07777;
	if (at->node->kind == K_DIR)
		own |= 1;
	return own << 6 | (own & (dir >> 3 & 7)) << 3 | (own & (dir & 7));
}

void ctl_log_path(const struct ctl_at *at, char ret[CTL_LOG_PATH])
{
	/* What a file server writes is in a directory of its own, which is all it is given. */
	(void)snprintf(ret, CTL_LOG_PATH, "%s/%s%s", at->sb->id,
		strcmp(at->node->name, "audit") != 0 ? "" : CTL_AUDIT_DIR "/", at->node->name);
}

static uint64_t size_of(const struct ctl_at *at)
{
	struct ctl *c = at->c;
	char path[CTL_LOG_PATH];

	switch (at->node->kind) {
	case K_DIR:
	case K_IN:
	case K_OUT:
	case K_LINK: return 0;
	case K_FILE: return kept(at)->bytes;
	case K_PULL: return ctl_pull_find(c, at->serial)->ring.total;
	case K_RING:
		return at->sb	       ? at->sb->events.total
		       : at->node->arg ? c->events.total
				       : c->errors.total;
	case K_LOG:
		if (!at->sb)
			return ctl_logfile_size(c->run_fd, "msb.log", (unsigned)at->node->arg);
		ctl_log_path(at, path);
		return ctl_logfile_size(c->sandboxes_fd, path, (unsigned)at->node->arg);
	default: return 4096; /* as in sysfs: tools do not read a file of no size */
	}
}

void ctl_at_stat(const struct ctl_at *at, struct stat *ret)
{
	uint64_t usec = at->sb	  ? at->sb->created_usec
			: at->img ? at->img->created_usec
			: at->vol ? at->vol->created_usec
				  : at->c->started_usec;
	uint64_t id = ctl_at_make_id(at);
	static const mode_t type[] = {[K_DIR] = S_IFDIR, [K_LINK] = S_IFLNK};
	enum ctl_kind kind = at->node->kind;

	memset(ret, 0, sizeof(*ret));
	/* The same file whichever of its node ids is asked about. */
	ret->st_ino = at->node->flags & NF_FRESH ? id & ~UINT64_C(0xffffff00) : id;
	ret->st_mode = (kind <= K_LINK ? type[kind] : S_IFREG) |
		       (at->sb || at->vol ? owned_mode(at) : at->node->mode);
	/* An ordinary user's tree is that user's alone. */
	if (!at->sb && !at->vol && at->c->uid != 0 && kind != K_LINK)
		ret->st_mode &= ~(mode_t)077;
	ret->st_uid = at->sb			  ? at->sb->uid
		      : at->vol			  ? at->vol->uid
		      : at->node->dir == D_LOGINS ? ctl_login_by_serial(at->c, at->serial)->uid
						  : at->c->uid;
	ret->st_gid = at->sb ? at->sb->gid : at->vol ? at->vol->gid : at->c->gid;
	ret->st_nlink = kind == K_DIR ? 2 : 1;
	ret->st_size = (off_t)size_of(at);
	/* What stdio takes for its buffer: no line that may be written comes in two pieces. */
	ret->st_blksize = 65536;
	ret->st_atim.tv_sec = ret->st_mtim.tv_sec = ret->st_ctim.tv_sec = (time_t)(usec / 1000000);
}

static const char *any_name(const struct ctl_at *at, char buf[16])
{
	const struct ctl_login *l;
	const struct ctl_env *v;

	switch (at->node->dir) {
	case D_PULLS: (void)snprintf(buf, 16, "%u", at->serial); return buf;
	case D_LOGINS: l = ctl_login_by_serial(at->c, at->serial); return l ? l->host : "?";
	case D_ENV: v = ctl_env_by_serial(at->sb, at->aux); return v ? v->name : "?";
	case D_JOB_ENV: v = ctl_job_env_by_serial(at->job, at->aux); return v ? v->name : "?";
	default: return "";
	}
}

void ctl_at_path(const struct ctl_at *at, const char *child, struct msb_str *s)
{
	static const enum ctl_dir named[] = {D_IMAGES, D_PULLS, D_LOGINS, D_ENV, D_METRICS};
	const struct ctl_node *n = at->node;
	const struct ctl_image_dir *d;
	char buf[16], path[CTL_KEPT_PATH];

	if (at->sb)
		msb_str_addf(s, "/%s", at->sb->name);
	else if (at->vol)
		msb_str_addf(s, "/volumes/%s", at->vol->name);
	else if (at->img || n == &ctl_nodes[D_IMAGE_DIR] || n->dir == D_PULLS || n->dir == D_LOGINS)
		msb_str_adds(s, "/images");
	if (n == &ctl_nodes[D_IMAGE_DIR]) {
		d = ctl_image_dir_by_serial(at->c, at->serial);
		msb_str_addf(s, "/%s", d ? d->path : "?");
	} else if (at->img) {
		msb_str_addf(s, "/%s", n == N_SHORT ? at->img->shorter : at->img->name);
	}
	for (size_t i = 0; i < ARRAY_LEN(named); i++)
		if (n->dir == named[i] && n != &ctl_nodes[D_IMAGE_DIR] && n != N_SHORT)
			msb_str_addf(s, "/%s", ctl_nodes[named[i]].name);
	if (of_job(n))
		msb_str_addf(s, "/jobs/%u%s", at->job->number, n->dir == D_JOB_ENV ? "/env" : "");
	else if (n->dir == D_JOBS)
		msb_str_adds(s, "/jobs");
	if (of_kept(n) && kept(at)) {
		ctl_kept_path(at->sb, kept(at)->area, kept(at), path);
		msb_str_adds(s, strchr(path, '/'));
	} else if (*any_name(at, buf))
		msb_str_addf(s, "/%s", any_name(at, buf));
	else if (n->name[0] != '*' && n->name[0])
		msb_str_addf(s, "/%s", n->name);
	if (child)
		msb_str_addf(s, "/%s", child);
	if (s->len == 0)
		msb_str_adds(s, "/");
}
