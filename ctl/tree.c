// SPDX-License-Identifier: Apache-2.0
// Walking the control tree: by node id, by name, and in order.
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/job.h"
#include "ctl/logins.h"
#include "ctl/pulls.h"
#include "ctl/tree_int.h"
#include "ctl/volumes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	if (ctl_of_kept(at->node))
		return ctl_kept_of(at);
	return at->node->dir != D_ENV || ctl_env_by_serial(at->sb, at->aux);
}

int ctl_at_id(struct ctl *c, uint64_t id, struct ctl_at *ret)
{
	unsigned int row = id & 0xff;
	struct ctl_at at = {.c = c, .aux = id >> 8 & 0xffffff, .serial = (uint32_t)(id >> 32)};

	if (row == 0 || row >= ctl_nnodes)
		return -ENOENT;
	at.node = &ctl_nodes[row];
	if (ctl_of_job(at.node)) {
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
	uint32_t serial = ctl_of_job(at->node) ? at->job->serial
			  : at->sb	       ? at->sb->serial
			  : at->img	       ? at->img->serial
			  : at->vol	       ? at->vol->serial
					       : at->serial;

	return CTL_ID(ctl_row_of(at), serial, at->node->flags & NF_FRESH ? ++counter : at->aux);
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

	switch ((enum ctl_dir)ctl_row_of(dir)) {
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
	at->node = any_in((enum ctl_dir)ctl_row_of(dir));
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
	unsigned int d = ctl_row_of(dir);
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

	switch ((enum ctl_dir)ctl_row_of(dir)) {
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
	unsigned int d = ctl_row_of(dir);

	for (size_t i = D_ROOT; i < ctl_nnodes; i++)
		if (ctl_nodes[i].dir == d && ctl_nodes[i].name[0] != '*' &&
			give(&l, ctl_nodes[i].name))
			return;
	list_any(&l);
}
