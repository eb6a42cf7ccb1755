// SPDX-License-Identifier: Apache-2.0
// The control tree: the table, and walking it.
#include "ctl/tree.h"
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/logfile.h"
#include "ctl/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* clang-format off */
const struct ctl_node ctl_nodes[] = {
	/* name               directory  kind     mode  read, write, argument, flags */
	[D_NONE]    = {"",       D_NONE,    K_DIR,   0,    NULL, NULL, 0, 0},
	[D_ROOT]    = {"",       D_NONE,    K_DIR,   0755, NULL, NULL, 0, 0},
	[D_IMAGES]  = {"images", D_ROOT,    K_DIR,   0755, NULL, NULL, 0, 0},
	[D_IMAGE]   = {"*",      D_IMAGES,  K_DIR,   0755, NULL, NULL, 0, 0},
	[D_SANDBOX] = {"*",      D_ROOT,    K_DIR,   0700, NULL, NULL, 0, 0},
	[D_ENV]     = {"env",    D_SANDBOX, K_DIR,   0700, NULL, NULL, 0, 0},
	[D_METRICS] = {"metrics", D_SANDBOX, K_DIR,  0500, NULL, NULL, 0, 0},

	{"version",      D_ROOT,    K_TEXT,  0444, ctl_read_version, NULL, 0, 0},
	{"features",     D_ROOT,    K_TEXT,  0444, ctl_read_features, NULL, 0, NF_SLOW},
	{"ctl",          D_ROOT,    K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_GLOBAL, NF_FRESH},
	{"error",        D_ROOT,    K_TEXT,  0400, ctl_read_global_error, NULL, 0, 0},
	{"errors",       D_ROOT,    K_RING,  0400, NULL, NULL, 0, 0},
	{"events",       D_ROOT,    K_RING,  0400, NULL, NULL, 1, 0},
	{"log",          D_ROOT,    K_LOG,   0400, NULL, NULL, 0, 0},

	{"ctl",          D_IMAGES,  K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_IMAGES, NF_FRESH},
	{"digest",       D_IMAGE,   K_TEXT,  0444, ctl_read_digest, NULL, 0, 0},
	{"size_bytes",   D_IMAGE,   K_TEXT,  0444, ctl_read_size, NULL, 0, 0},
	{"config.json",  D_IMAGE,   K_TEXT,  0444, ctl_read_config, NULL, 0, NF_SLOW},
	{"rootfs",       D_IMAGE,   K_LINK,  0777, NULL, NULL, 0, 0},

	{"ctl",          D_SANDBOX, K_CTL,   0600, ctl_read_verbs, ctl_write_verb, VERBS_SANDBOX, NF_FRESH},
	{"state",        D_SANDBOX, K_TEXT,  0400, ctl_read_state, NULL, 0, NF_STATE},
	{"status",       D_SANDBOX, K_TEXT,  0400, ctl_read_status, NULL, 0, NF_STATE},
	{"error",        D_SANDBOX, K_TEXT,  0400, ctl_read_error, NULL, 0, 0},
	{"events",       D_SANDBOX, K_RING,  0400, NULL, NULL, 0, 0},
	{"id",           D_SANDBOX, K_TEXT,  0400, ctl_read_id, NULL, 0, 0},
	{"wait",         D_SANDBOX, K_WAIT,  0400, ctl_read_end, NULL, 0, NF_FRESH},
	{"exec",         D_SANDBOX, K_EXEC,  0600, NULL, NULL, 0, NF_FRESH},
	{"console",      D_SANDBOX, K_LOG,   0400, NULL, NULL, 0, 0},
	{"log",          D_SANDBOX, K_LOG,   0400, NULL, NULL, 0, 0},
	{"audit",        D_SANDBOX, K_LOG,   0400, NULL, NULL, 0, 0},
	{"image",        D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_IMAGE, 0},
	{"cpus",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_CPUS, 0},
	{"memory_bytes", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_MEMORY, 0},
	{"hostname",     D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_HOSTNAME, 0},
	{"user",         D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_USER, 0},
	{"workdir",      D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_conf, CONF_WORKDIR, 0},
	{"mounts",       D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_mounts, CONF_MOUNTS, NF_FRESH | NF_WHOLE},
	{"root_options", D_SANDBOX, K_LINES, 0600, ctl_read_conf, ctl_write_root_options, CONF_ROOT_OPTIONS, 0},
	{"root",         D_SANDBOX, K_LINK,  0777, NULL, NULL, 0, 0},
	{"*",            D_ENV,     K_LINES, 0600, ctl_read_env, ctl_write_env, 0, 0},
	{"cpu_usec",     D_METRICS, K_TEXT,  0400, ctl_read_metric, NULL, METRIC_CPU_USEC, NF_SLOW},
	{"memory_bytes", D_METRICS, K_TEXT,  0400, ctl_read_metric, NULL, METRIC_MEMORY_BYTES, NF_SLOW},
	{"fsd_memory_bytes", D_METRICS, K_TEXT, 0400, ctl_read_metric, NULL, METRIC_FSD_MEMORY_BYTES, NF_SLOW},
};
/* clang-format on */
const size_t ctl_nnodes = ARRAY_LEN(ctl_nodes);
_Static_assert(ARRAY_LEN(ctl_nodes) < 256, "a row fits into a node id");

static unsigned int row_of(const struct ctl_at *at)
{
	return (unsigned int)(at->node - ctl_nodes);
}

static bool of_image(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_IMAGE] || n->dir == D_IMAGE;
}

static bool of_sandbox(const struct ctl_node *n)
{
	return n == &ctl_nodes[D_SANDBOX] || n->dir == D_SANDBOX || n->dir == D_ENV ||
	       n->dir == D_METRICS;
}

int ctl_at_id(struct ctl *c, uint64_t id, struct ctl_at *ret)
{
	unsigned int row = id & 0xff;
	struct ctl_at at = {.c = c, .aux = id >> 8 & 0xffffff};

	if (row == 0 || row >= ctl_nnodes)
		return -ENOENT;
	at.node = &ctl_nodes[row];
	if (of_sandbox(at.node)) {
		at.sb = ctl_sandbox_by_serial(c, (uint32_t)(id >> 32));
		if (!at.sb)
			return -ENOENT;
	}
	if (of_image(at.node)) {
		at.img = ctl_image_by_serial(c, (uint32_t)(id >> 32));
		if (!at.img)
			return -ENOENT;
	}
	if (at.node->dir == D_ENV && !ctl_env_by_serial(at.sb, at.aux))
		return -ENOENT;
	*ret = at;
	return 0;
}

uint64_t ctl_at_make_id(const struct ctl_at *at)
{
	static uint32_t counter; /* ctl.lock */
	uint32_t serial = at->sb ? at->sb->serial : at->img ? at->img->serial : 0;

	return CTL_ID(row_of(at), serial, at->node->flags & NF_FRESH ? ++counter : at->aux);
}

int ctl_at_child(const struct ctl_at *dir, const char *name, struct ctl_at *ret)
{
	struct ctl_at at = {.c = dir->c, .sb = dir->sb, .img = dir->img};
	unsigned int d = row_of(dir);
	struct ctl_env *v;

	for (size_t i = D_ROOT; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == d && !strcmp(ctl_nodes[i].name, name) && *name != '*') {
			at.node = &ctl_nodes[i];
			*ret = at;
			return 0;
		}
	switch (d) {
	case D_ROOT:
		at.sb = ctl_sandbox_find(dir->c, name);
		at.node = &ctl_nodes[D_SANDBOX];
		if (!at.sb)
			return -ENOENT;
		break;
	case D_IMAGES:
		at.img = ctl_image_find(dir->c, name);
		at.node = &ctl_nodes[D_IMAGE];
		if (!at.img)
			return -ENOENT;
		break;
	case D_ENV:
		v = ctl_env_find(dir->sb, name);
		if (!v)
			return -ENOENT;
		at.aux = v->serial;
		for (size_t i = D_COUNT; i < ctl_nnodes; i++)
			if (ctl_nodes[i].dir == D_ENV)
				at.node = &ctl_nodes[i];
		break;
	default: return -ENOENT;
	}
	*ret = at;
	return 0;
}

void ctl_at_list(const struct ctl_at *dir,
	int (*fn)(void *arg, const char *name, const struct ctl_at *child), void *arg)
{
	unsigned int d = row_of(dir);
	struct ctl *c = dir->c;
	struct ctl_at at;

	for (size_t i = D_ROOT; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == d && ctl_nodes[i].name[0] != '*') {
			at = (struct ctl_at){
				.c = c, .sb = dir->sb, .img = dir->img, .node = &ctl_nodes[i]};
			if (fn(arg, ctl_nodes[i].name, &at))
				return;
		}
	for (size_t i = 0; d == D_ROOT && i < c->nsb; i++) {
		at = (struct ctl_at){.c = c, .sb = c->sb[i], .node = &ctl_nodes[D_SANDBOX]};
		if (fn(arg, c->sb[i]->name, &at))
			return;
	}
	for (size_t i = 0; d == D_IMAGES && i < c->nimg; i++) {
		at = (struct ctl_at){.c = c, .img = c->img[i], .node = &ctl_nodes[D_IMAGE]};
		if (fn(arg, c->img[i]->name, &at))
			return;
	}
	for (size_t i = 0; d == D_ENV && i < dir->sb->nenv; i++)
		if (ctl_at_child(dir, dir->sb->env[i].name, &at) == 0 &&
			fn(arg, dir->sb->env[i].name, &at))
			return;
}

/* The owner's permissions, and as much of them for group and others as the sandbox's directory
 * grants: chmod 0750 lets the group read, 0770 lets it drive. */
static mode_t sandbox_mode(const struct ctl_at *at)
{
	mode_t own = at->node->mode >> 6 & 7, dir = at->sb->mode;

	if (at->node == &ctl_nodes[D_SANDBOX])
		return dir;
	if (at->node->kind == K_LINK)
		return 0777;
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
	case K_LINK: return 0;
	case K_RING:
		return at->sb	       ? at->sb->events.total
		       : at->node->arg ? c->events.total
				       : c->errors.total;
	case K_LOG:
		if (!at->sb)
			return ctl_logfile_size(c->run_fd, "msb.log");
		ctl_log_path(at, path);
		return ctl_logfile_size(c->sandboxes_fd, path);
	default: return 4096; /* as in sysfs: tools do not read a file of no size */
	}
}

void ctl_at_stat(const struct ctl_at *at, struct stat *ret)
{
	uint64_t usec = at->sb	  ? at->sb->created_usec
			: at->img ? at->img->created_usec
				  : at->c->started_usec;
	uint64_t id = ctl_at_make_id(at);
	static const mode_t type[] = {[K_DIR] = S_IFDIR, [K_LINK] = S_IFLNK};
	enum ctl_kind kind = at->node->kind;

	memset(ret, 0, sizeof(*ret));
	/* The same file whichever of its node ids is asked about. */
	ret->st_ino = at->node->flags & NF_FRESH ? id & ~UINT64_C(0xffffff00) : id;
	ret->st_mode = (kind <= K_LINK ? type[kind] : S_IFREG) |
		       (at->sb ? sandbox_mode(at) : at->node->mode);
	/* An ordinary user's tree is that user's alone. */
	if (!at->sb && at->c->uid != 0 && kind != K_LINK)
		ret->st_mode &= ~(mode_t)077;
	ret->st_uid = at->sb ? at->sb->uid : at->c->uid;
	ret->st_gid = at->sb ? at->sb->gid : at->c->gid;
	ret->st_nlink = kind == K_DIR ? 2 : 1;
	ret->st_size = (off_t)size_of(at);
	/* What stdio takes for its buffer: no line that may be written comes in two pieces. */
	ret->st_blksize = 65536;
	ret->st_atim.tv_sec = ret->st_mtim.tv_sec = ret->st_ctim.tv_sec = (time_t)(usec / 1000000);
}

void ctl_at_path(const struct ctl_at *at, const char *child, struct msb_str *s)
{
	const struct ctl_node *n = at->node;
	struct ctl_env *v = at->sb && n->dir == D_ENV ? ctl_env_by_serial(at->sb, at->aux) : NULL;

	if (at->sb)
		msb_str_addf(s, "/%s", at->sb->name);
	else if (n == &ctl_nodes[D_IMAGES] || n->dir == D_IMAGES || at->img)
		msb_str_addf(s, "/images%s%s", at->img ? "/" : "", at->img ? at->img->name : "");
	if (n->dir == D_ENV)
		msb_str_addf(s, "/env/%s", v ? v->name : "?");
	else if (n->dir == D_METRICS)
		msb_str_addf(s, "/metrics/%s", n->name);
	else if (n->name[0] != '*' && n->name[0] && n != &ctl_nodes[D_IMAGES])
		msb_str_addf(s, "/%s", n->name);
	if (child)
		msb_str_addf(s, "/%s", child);
	if (s->len == 0)
		msb_str_adds(s, "/");
}
