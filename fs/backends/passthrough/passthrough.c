// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: a host directory as it is, shared with whoever else uses it on the host.
 *
 * Theory of operation. Every op gets a node, and a descriptor of it only where it needs one, and
 * works relative to a directory's with one name at a time, so nothing in the tree, links and ".."
 * included, leads out of it. What a share never makes on the host, whoever asks in the guest:
 * set-id files, devices, attributes that mean something to the host's kernel. The guest has them
 * all the same: they are kept in attributes of the host's files that nobody acts on (meta.h), which
 * the guest does not see.
 *
 * With map=root, an ordinary user's default, so are owners and whatever else takes a privilege, and
 * the tree looks like root's. Without it, root's default, owners and modes are the host's.
 *
 * Where what the guest may open is decided by the guest alone (map=root; a server run by root) no
 * OPEN is needed: a node keeps its descriptors from one request to the next.
 */
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "fs/options.h"
#include "fs/reopen.h"

#include <string.h>

/* The entry of a file just looked at. */
static int enter(struct pt *p, struct pt_ref *parent, const char *name, const struct pt_seen *seen,
	struct fsb_entry *ret)
{
	int r = pt_enter(&p->nodes, parent, name, seen, ret);

	if (r == 0)
		pt_attr(p, seen->sx, seen->meta, &ret->attr);
	return r;
}

static int look_up(struct pt *p, struct pt_ref *parent, const char *name, bool put_parent,
	struct fsb_entry *ret)
{
	struct pt_meta meta;
	struct statx sx;
	struct pt_seen seen = {.sx = &sx, .meta = &meta, .fd = -1, .put_parent = put_parent};
	int r = PT_IN_DIR(p, parent, pt_statx(&p->nodes, parent->fd, name, &sx));

	if (r < 0)
		return r;
	seen.meta_sure = pt_meta_at(p, parent->fd, name, &sx, &meta);
	return enter(p, parent, name, &seen, ret);
}

int pt_lookup_in(struct pt *p, struct pt_ref *parent, const char *name, struct fsb_entry *ret)
{
	return look_up(p, parent, name, false, ret);
}

int pt_entry_of(struct pt *p, struct pt_ref *parent, const char *name, int fd, enum pt_fd kind,
	const struct pt_meta *meta, struct fsb_entry *ret)
{
	struct statx sx;
	struct pt_seen seen = {
		.sx = &sx, .meta = meta, .fd = kind == PT_NODE ? -1 : fd, .kind = kind};
	int r = pt_statx(&p->nodes, fd, "", &sx);

	if (r < 0) {
		cleanup_close_(&seen.fd);
		return r;
	}
	seen.drop = sx.stx_mode & 0111; /* the host may run it */
	return enter(p, parent, name, &seen, ret);
}

static int pt_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir;
	int r;

	if (pt_is_dots(name))
		return pt_by_handle(p, parent, name[1] == '.', ret);
	r = pt_get(&p->nodes, parent, PT_PATH, &dir);
	if (r < 0)
		return r;
	r = look_up(p, &dir, name, true, ret);
	pt_put(&p->nodes, &dir);
	return r;
}

static void pt_forget_op(struct fsb *b, uint64_t node, uint64_t count)
{
	pt_forget(&pt_of(b)->nodes, node, count);
}

static int pt_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct pt *p = pt_of(b);
	const struct pt_handle *h = pt_handle_get(p, fh);
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_NODE, &f);

	if (r < 0)
		return r;
	if (h)
		f.fd = h->fd;
	r = pt_attr_of(p, &f, ret);
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_PATH, &f);

	if (r < 0)
		return r;
	r = fstatvfs(f.fd, ret) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct pt *p = pt_of(b);
	struct statx sx;
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, PT_NODE, &f);

	if (r < 0)
		return r;
	r = pt_look(&p->nodes, &f, &sx);
	if (r == 0 && !(sx.stx_mask & STATX_BTIME))
		r = -EOPNOTSUPP;
	if (r == 0)
		*ret = (struct timespec){sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec};
	pt_put(&p->nodes, &f);
	return r;
}

static void pt_stop(struct fsb *b)
{
	struct pt *p = pt_of(b);

	pt_handles_done(p);
	pt_nodes_done(&p->nodes);
	pthread_mutex_destroy(&p->search);
	for (int i = 0; i < PT_RECENT; i++)
		free(p->recent[i]);
	for (int i = 0; i < PT_CHANGE_LOCKS; i++)
		pthread_mutex_destroy(&p->change[i]);
	free(p);
}

static const struct fsb_ops passthrough_ops = {
	.name = "passthrough",
	.summary = "a host directory, shared with the host",
	.caps = FSB_CAP_WRITE | FSB_CAP_XATTR | FSB_CAP_PINS | FSB_CAP_EXPORT,
	.stop = pt_stop,
	.lookup = pt_lookup,
	.forget = pt_forget_op,
	.getattr = pt_getattr,
	.setattr = pt_setattr,
	.readlink = pt_readlink,
	.mknod = pt_mknod,
	.mkdir = pt_mkdir,
	.symlink = pt_symlink,
	.unlink = pt_unlink,
	.rmdir = pt_rmdir,
	.rename = pt_rename,
	.link = pt_link,
	.open = pt_open,
	.create = pt_create,
	.tmpfile = pt_tmpfile,
	.release = pt_release,
	.readv = pt_readv,
	.writev = pt_writev,
	.fsync = pt_fsync,
	.opendir = pt_opendir,
	.readdir = pt_readdir,
	.releasedir = pt_release,
	.statfs = pt_statfs,
	.setxattr = pt_setxattr,
	.getxattr = pt_getxattr,
	.listxattr = pt_listxattr,
	.removexattr = pt_removexattr,
	.fallocate = pt_fallocate,
	.lseek = pt_lseek,
	.copy_file_range = pt_copy_file_range,
	.syncfs = pt_syncfs,
	.btime = pt_btime,
	.save = pt_save,
	.load = pt_load,
	.reopen = pt_reopen,
	.getflags = pt_getflags,
	.setflags = pt_setflags,
};

int fsb_passthrough_start(const struct fsb_passthrough_opts *o, struct fsb **ret, struct msb_err *e)
{
	int root_fd = o->root_fd;
	struct pt *p = calloc(1, sizeof(*p));
	struct statx sx;
	int r;

	if (!p) {
		close(root_fd);
		return msb_err_set(e, ENOMEM, "no memory for a share");
	}
	p->own = passthrough_ops;
	p->b.ops = &p->own;
	p->readonly = o->readonly;
	p->euid = geteuid();
	p->egid = getegid();
	p->privileged = p->euid == 0;
	p->map = o->map == FSB_MAP_ROOT;
	p->stateless = p->map || p->privileged;
	if (p->stateless)
		p->own.caps |= FSB_CAP_NO_OPEN;
	p->max_search = PT_MAX_SEARCH;
	p->max_search_ms = PT_MAX_SEARCH_MS;
	p->max_search_bytes = PT_MAX_SEARCH_BYTES;
	pthread_mutex_init(&p->search, NULL);
	if (!p->map) { /* most files have nothing beside them that could say it */
		p->own.getflags = NULL;
		p->own.setflags = NULL;
	}
	pthread_mutex_init(&p->handles_lock, NULL);
	for (int i = 0; i < PT_CHANGE_LOCKS; i++)
		pthread_mutex_init(&p->change[i], NULL);
	r = pt_nodes_init(&p->nodes, root_fd, o->submounts);
	p->nodes.noatime = o->noatime || o->readonly;
	if (r == 0)
		r = fs_reopen_init();
	if (r == 0)
		r = pt_statx(&p->nodes, root_fd, "", &sx);
	if (r < 0) {
		pt_stop(&p->b);
		return msb_err_set(e, -r, "cannot share this directory: %s", strerror(-r));
	}
	p->root_uid = sx.stx_uid;
	p->root_gid = sx.stx_gid;
	*ret = &p->b;
	return 0;
}

/* Unless the user says otherwise: root's guests share files with root as they are; an ordinary
 * user's guest would see everything owned by a number that means nothing to it, and could not so
 * much as unpack an archive. */
static enum fsb_map map_of(const struct fsb_options *o)
{
	if (o->map_set)
		return o->map;
	return geteuid() == 0 ? FSB_MAP_NONE : FSB_MAP_ROOT;
}

static int kind_start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_passthrough_opts o = {.root_fd = s->dir_fd,
		.readonly = s->options->readonly,
		.map = map_of(s->options),
		.submounts = s->options->submounts,
		.noatime = s->options->atime == FSB_NOATIME};

	return fsb_passthrough_start(&o, ret, e);
}

const struct fsb_kind fsb_passthrough_kind = {
	.name = "passthrough",
	.summary = "a host directory, shared with the host",
	.start = kind_start,
};
