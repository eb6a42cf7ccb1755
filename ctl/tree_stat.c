// SPDX-License-Identifier: Apache-2.0
// What is seen of a node from outside: whose it is, what it allows, how long it is, its path.
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/job.h"
#include "ctl/logfile.h"
#include "ctl/logins.h"
#include "ctl/nodes.h"
#include "ctl/pulls.h"
#include "ctl/tree_int.h"

#include <stdio.h>
#include <string.h>

uid_t ctl_at_owner(const struct ctl_at *at)
{
	const struct ctl_login *l;

	if (at->node->dir == D_LOGINS) {
		l = ctl_login_by_serial(at->c, at->serial);
		return l ? l->uid : at->uid; /* of an open file it may be gone */
	}
	return at->sb ? at->sb->uid : at->vol ? at->vol->uid : at->c->uid;
}

gid_t ctl_at_group(const struct ctl_at *at)
{
	return at->sb ? at->sb->gid : at->vol ? at->vol->gid : at->c->gid;
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
		return ctl_kept_of(at)->mode & 07777;
	if (at->node->kind == K_DIR)
		own |= 1;
	return own << 6 | (own & (dir >> 3 & 7)) << 3 | (own & (dir & 7));
}

mode_t ctl_at_mode(const struct ctl_at *at)
{
	if (at->sb || at->vol)
		return owned_mode(at);
	/* An ordinary user's tree is that user's alone. */
	return at->c->uid != 0 && at->node->kind != K_LINK ? at->node->mode & ~(mode_t)077
							   : at->node->mode;
}

void ctl_log_path(const struct ctl_at *at, char ret[CTL_LOG_PATH])
{
	(void)snprintf(ret, CTL_LOG_PATH, "%s/%s/%s", at->sb->id,
		strcmp(at->node->name, "audit") == 0 ? CTL_AUDIT_DIR : CTL_AGENT_DIR,
		at->node->name);
}

#define TEXT_BYTES 4096 /* as in sysfs: not all tools read a file of no size */

/* What cp(1), tail(1) and others go by: never less than what there is to read. What is too dear to
 * be made for a look, and may be longer, has no size, as in /proc. */
static uint64_t text_bytes(const struct ctl_at *at)
{
	const struct ctl_node *n = at->node;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	uint64_t bytes = 0;

	if (n->flags & NF_FEW)
		return 0;
	if (n->read == ctl_read_stored)
		bytes = ctl_stored_bytes(at);
	else if ((n->kind == K_TEXT || n->kind == K_LINES) && n->read && !(n->flags & NF_SLOW) &&
		 n->read(at, &s, NULL) == 0)
		bytes = s.len;
	return bytes > TEXT_BYTES ? bytes : TEXT_BYTES;
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
	case K_FILE: return ctl_kept_of(at)->bytes;
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
	default: return text_bytes(at);
	}
}

void ctl_at_stat_sizeless(const struct ctl_at *at, struct stat *ret)
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
	ret->st_mode = (kind <= K_LINK ? type[kind] : S_IFREG) | ctl_at_mode(at);
	ret->st_uid = ctl_at_owner(at);
	ret->st_gid = ctl_at_group(at);
	ret->st_nlink = kind == K_DIR ? 2 : 1;
	/* What stdio takes for its buffer: no line that may be written comes in two pieces. */
	ret->st_blksize = 65536;
	ret->st_atim.tv_sec = ret->st_mtim.tv_sec = ret->st_ctim.tv_sec = (time_t)(usec / 1000000);
}

void ctl_at_stat(const struct ctl_at *at, struct stat *ret)
{
	ctl_at_stat_sizeless(at, ret);
	ret->st_size = (off_t)size_of(at);
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
	if (ctl_of_job(n))
		msb_str_addf(s, "/jobs/%u%s", at->job->number, n->dir == D_JOB_ENV ? "/env" : "");
	else if (n->dir == D_JOBS)
		msb_str_adds(s, "/jobs");
	if (ctl_of_kept(n) && ctl_kept_of(at)) {
		ctl_kept_path(at->sb, ctl_kept_of(at)->area, ctl_kept_of(at), path);
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
