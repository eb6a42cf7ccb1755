// SPDX-License-Identifier: Apache-2.0
// The FUSE server: names, attributes, links.
#include "fs/fuse_priv.h"
#include "fs/fuse_iov.h"

#include <errno.h>
#include <string.h>
#include <linux/fs.h>

#define NSEC_MAX 999999999u
/* What says of SETATTR that something is to be set. */
#define FATTR_SET                                                                                  \
	(uint32_t)(FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME |   \
		   FATTR_ATIME_NOW | FATTR_MTIME_NOW | FATTR_CTIME)

void fuse_entry_out(
	struct fsd_session *s, uint64_t parent, const struct fsb_entry *e, struct fuse_entry_out *o)
{
	/* What a directory says of its names goes for the negative ones too. */
	const struct fsb_cache *c = fuse_cache_of(s, e->node ?: parent);

	*o = (struct fuse_entry_out){
		.nodeid = e->node, .generation = e->generation, .attr = e->attr};
	fuse_valid(e->node ? c->entry_ms : c->negative_ms, &o->entry_valid, &o->entry_valid_nsec);
	fuse_attr_valid(c, &e->attr, &o->attr_valid, &o->attr_valid_nsec);
}

/* Owns the entry's reference from here on, whatever happens. */
int64_t fsd_reply_entry(struct fuse_call *c, const struct fsb_entry *e)
{
	struct fuse_entry_out o;
	int r = fuse_own_node(c->s, e->node);
	int64_t n;

	if (r < 0)
		return r;
	fuse_entry_out(c->s, c->h.nodeid, e, &o);
	n = fuse_reply(c, &o, sizeof(o));
	if (n < 0)
		fuse_forget(c->s, e->node, 1);
	return n;
}

static int64_t reply_attr(struct fuse_call *c, const struct fuse_attr *a)
{
	struct fuse_attr_out o = {.attr = *a};

	fuse_attr_valid(fuse_cache_of(c->s, c->h.nodeid), a, &o.attr_valid, &o.attr_valid_nsec);
	return fuse_reply(c, &o, sizeof(o));
}

int64_t fuse_do_lookup(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	bool by_handle = fuse_is_dots(name) && c->ops->caps & FSB_CAP_EXPORT;
	struct fsb_entry e = {0};
	int r = by_handle ? 0 : fuse_check_name(name);

	if (r == 0)
		r = CALL(c, lookup, &c->req, c->h.nodeid, name, &e);
	if (r == -ENOENT && !by_handle)
		e.node = 0;
	else if (r < 0)
		return r;
	if (e.node)
		return fsd_reply_entry(c, &e);
	if (!fuse_cache_of(c->s, c->h.nodeid)->negative_ms)
		return -ENOENT;
	{
		struct fuse_entry_out o;

		fuse_entry_out(c->s, c->h.nodeid, &e, &o);
		return fuse_reply(c, &o, sizeof(o));
	}
}

int64_t fuse_do_forget(struct fuse_call *c)
{
	fuse_forget(c->s, c->h.nodeid, ARGS(c, struct fuse_forget_in)->nlookup);
	return 0;
}

int64_t fuse_do_batch_forget(struct fuse_call *c)
{
	uint32_t count = ARGS(c, struct fuse_batch_forget_in)->count;
	size_t at = sizeof(struct fuse_in_header) + sizeof(struct fuse_batch_forget_in);
	struct fuse_forget_one one;

	/* The list ends where the message does, whatever the count says. */
	for (uint32_t i = 0; i < count; i++, at += sizeof(one)) {
		if (iov_read(c->in, c->n_in, at, &one, sizeof(one)) < sizeof(one))
			break;
		fuse_forget(c->s, one.nodeid, one.nlookup);
	}
	return 0;
}

int64_t fuse_do_getattr(struct fuse_call *c)
{
	const struct fuse_getattr_in *in = ARGS(c, struct fuse_getattr_in);
	uint64_t fh = in->getattr_flags & FUSE_GETATTR_FH ? in->fh : 0;
	struct fuse_attr a;
	int r;

	/* A handle only says which file, and the node says that too. */
	if (fh && fuse_pin_handle(c->s, false, c->h.nodeid, fh) < 0)
		fh = 0;
	r = CALL(c, getattr, c->h.nodeid, fh, &a);
	fuse_unpin_handle(c->s, false, fh);
	return r < 0 ? r : reply_attr(c, &a);
}

int64_t fuse_do_setattr(struct fuse_call *c)
{
	const struct fuse_setattr_in *in = ARGS(c, struct fuse_setattr_in);
	uint64_t fh = in->valid & FATTR_FH ? in->fh : 0;
	struct fsb_setattr set = {.valid = in->valid & FATTR_SET,
		.mode = in->mode,
		.uid = in->uid,
		.gid = in->gid,
		.size = in->size,
		.atime = in->atime,
		.mtime = in->mtime,
		.ctime = in->ctime,
		.atimensec = in->atimensec,
		.mtimensec = in->mtimensec,
		.ctimensec = in->ctimensec,
		.kill_suidgid = in->valid & FATTR_KILL_SUIDGID};
	struct fuse_attr a;
	int r;

	if (!c->ops->setattr)
		return -EROFS;
	if (in->atimensec > NSEC_MAX || in->mtimensec > NSEC_MAX || in->ctimensec > NSEC_MAX ||
		((in->valid & FATTR_SIZE) && in->size > INT64_MAX) ||
		((in->valid & FATTR_UID) && in->uid == FSB_UNKNOWN_ID) ||
		((in->valid & FATTR_GID) && in->gid == FSB_UNKNOWN_ID))
		return -EINVAL;
	if (fh && fuse_pin_handle(c->s, false, c->h.nodeid, fh) < 0)
		fh = 0;
	/* Nothing is to be set: what a kernel that leaves set-id bits to the server makes of taking
	 * them (Linux 6.12, fuse_setattr()), before FALLOCATE and by chown(2) to nobody. */
	if (!set.valid && !set.kill_suidgid && fuse_is_nobody(c))
		r = fuse_kill_suidgid(c);
	else
		r = 0;
	if (r == 0)
		r = CALL(c, setattr, &c->req, c->h.nodeid, fh, &set, &a);
	fuse_unpin_handle(c->s, false, fh);
	if (in->valid & FATTR_SIZE)
		fuse_contents_changed(c, c->h.nodeid);
	return r < 0 ? r : reply_attr(c, &a);
}

int64_t fuse_do_readlink(struct fuse_call *c)
{
	int r;

	if (!c->ops->readlink)
		return -EINVAL;
	r = CALL(c, readlink, c->h.nodeid, (char *)c->w->reply, FUSE_MAX_TARGET);
	return r < 0 ? r : fuse_reply(c, c->w->reply, (size_t)r);
}

int64_t fuse_do_symlink(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0), *target = fuse_arg_string(c, 0, 1);
	struct fsb_entry e = {0};
	int r = fuse_check_name(name);

	if (!c->ops->symlink)
		return -EROFS;
	if (r == 0 && *target == '\0')
		r = -ENOENT;
	if (r == 0 && strlen(target) > FUSE_MAX_TARGET)
		r = -ENAMETOOLONG;
	if (r == 0)
		r = CALL(c, symlink, &c->req, c->h.nodeid, name, target, &e);
	return r < 0 ? r : fsd_reply_entry(c, &e);
}

int64_t fuse_do_mknod(struct fuse_call *c)
{
	const struct fuse_mknod_in *in = ARGS(c, struct fuse_mknod_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	struct fsb_entry e = {0};
	int r = fuse_check_name(name);

	if (!c->ops->mknod)
		return -EROFS;
	c->req.umask = in->umask;
	if (r == 0)
		r = CALL(c, mknod, &c->req, c->h.nodeid, name, in->mode, in->rdev, &e);
	return r < 0 ? r : fsd_reply_entry(c, &e);
}

int64_t fuse_do_mkdir(struct fuse_call *c)
{
	const struct fuse_mkdir_in *in = ARGS(c, struct fuse_mkdir_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	struct fsb_entry e = {0};
	int r = fuse_check_name(name);

	if (!c->ops->mkdir)
		return -EROFS;
	c->req.umask = in->umask;
	if (r == 0)
		r = CALL(c, mkdir, &c->req, c->h.nodeid, name, in->mode, &e);
	return r < 0 ? r : fsd_reply_entry(c, &e);
}

int64_t fuse_do_unlink(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	int r = fuse_check_name(name);

	if (!c->ops->unlink)
		return -EROFS;
	return r < 0 ? r : CALL(c, unlink, &c->req, c->h.nodeid, name);
}

int64_t fuse_do_rmdir(struct fuse_call *c)
{
	const char *name = fuse_arg_string(c, 0, 0);
	int r = fuse_check_name(name);

	if (!c->ops->rmdir)
		return -EROFS;
	return r < 0 ? r : CALL(c, rmdir, &c->req, c->h.nodeid, name);
}

static int64_t rename_to(struct fuse_call *c, size_t fixed, uint64_t newdir, uint32_t flags)
{
	const char *from = fuse_arg_string(c, fixed, 0), *to = fuse_arg_string(c, fixed, 1);
	int r = fuse_check_name(from);

	if (!c->ops->rename)
		return -EROFS;
	if (r == 0)
		r = fuse_check_name(to);
	if (r == 0 &&
		((flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
			(flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE)))
		r = -EINVAL;
	if (r == 0 && flags & RENAME_WHITEOUT && fuse_is_nobody(c))
		r = -EOVERFLOW;
	if (r == 0)
		r = fuse_hold(c, newdir);
	if (r < 0)
		return r;
	r = CALL(c, rename, &c->req, c->h.nodeid, from, newdir, to, flags);
	fuse_let_go(c, newdir);
	return r;
}

int64_t fuse_do_rename(struct fuse_call *c)
{
	const struct fuse_rename_in *in = ARGS(c, struct fuse_rename_in);

	return rename_to(c, sizeof(*in), in->newdir, 0);
}

int64_t fuse_do_rename2(struct fuse_call *c)
{
	const struct fuse_rename2_in *in = ARGS(c, struct fuse_rename2_in);

	return rename_to(c, sizeof(*in), in->newdir, in->flags);
}

int64_t fuse_do_link(struct fuse_call *c)
{
	const struct fuse_link_in *in = ARGS(c, struct fuse_link_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	struct fsb_entry e = {0};
	int r = fuse_check_name(name);

	if (!c->ops->link)
		return -EROFS;
	if (r == 0)
		r = fuse_hold(c, in->oldnodeid);
	if (r < 0)
		return r;
	r = CALL(c, link, &c->req, in->oldnodeid, c->h.nodeid, name, &e);
	fuse_let_go(c, in->oldnodeid);
	return r < 0 ? r : fsd_reply_entry(c, &e);
}

int64_t fuse_do_statfs(struct fuse_call *c)
{
	struct fuse_statfs_out o = {0};
	struct statvfs v;
	int r;

	if (!c->ops->statfs)
		return -ENOSYS;
	r = CALL(c, statfs, c->h.nodeid, &v);
	if (r < 0)
		return r;
	o.st = (struct fuse_kstatfs){.blocks = v.f_blocks,
		.bfree = v.f_bfree,
		.bavail = v.f_bavail,
		.files = v.f_files,
		.ffree = v.f_ffree,
		.bsize = (uint32_t)v.f_bsize,
		.frsize = (uint32_t)v.f_frsize,
		.namelen = (uint32_t)v.f_namemax};
	return fuse_reply(c, &o, sizeof(o));
}

int64_t fuse_do_syncfs(struct fuse_call *c)
{
	return c->ops->syncfs ? CALL(c, syncfs, c->h.nodeid) : -ENOSYS;
}
