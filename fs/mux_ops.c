// SPDX-License-Identifier: Apache-2.0
// Several backends as one: each operation finds its child, and hands it its own ids.
#include "fs/acl.h"
#include "fs/mux_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHILD(id) ((id)&MUX_MASK)

/* The frame of an operation on @node: its child @s is entered, and left with what @call gives.
 * @missing: the child has no such operation. The mux's own root has none of these: @at_root. */
#define ON_CHILD(node, at_root, op, missing, call)                                                 \
	struct mux_seat *s;                                                                        \
	int64_t r_ = (node) == FSB_ROOT ? (at_root) : mux_enter(b, node, &s);                      \
                                                                                                   \
	if ((node) == FSB_ROOT || r_ < 0)                                                          \
		return (ret_t)r_;                                                                  \
	r_ = s->b->ops->op ? (int64_t)(call) : (missing);                                          \
	return (ret_t)mux_leave(s, r_)

/* The same for what changes the tree. */
#define WRITES(node, op, call)                                                                     \
	ON_CHILD(node, -EROFS, op, -EROFS,                                                         \
		s->b->ops->caps &FSB_CAP_WRITE ? (int64_t)(call) : (int64_t)-EROFS)

/* And where an entry comes back in @ret. */
#define MAKES(node, op, ...)                                                                       \
	WRITES(node, op, entry_result(s, s->b->ops->op(s->b, __VA_ARGS__), ret))

/* A call that takes a handle of the child's, which is 0 for children that need none. The core has
 * checked handles, but for 0, which a guest may send for any node. */
#define WITH(fh, open, call)                                                                       \
	(CHILD(fh) || (s->b->ops->caps & FSB_CAP_NO_OPEN) || !s->b->ops->open ? (int64_t)(call)    \
									      : (int64_t)-EBADF)

#define ret_t int

static int entry_result(const struct mux_seat *s, int r, struct fsb_entry *e)
{
	if (r >= 0)
		mux_entry_out(s, e);
	return r;
}

static int attr_result(const struct mux_seat *s, int r, struct fuse_attr *a)
{
	if (r >= 0)
		mux_attr_out(s, a);
	return r;
}

static int fh_result(const struct mux_seat *s, int r, uint64_t *fh)
{
	if (r >= 0 && *fh)
		*fh |= (uint64_t)s->id << MUX_SHIFT;
	return r;
}

/* A child that lacks open(): its handles carry no state. */
static int no_handle(uint64_t *fh)
{
	*fh = 0;
	return 0;
}

static int lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return mux_by_handle(b, req, parent, name[1] == '.', ret);
	ON_CHILD(parent, mux_root_lookup(mux_of(b), name, ret), lookup, -ENOENT,
		entry_result(s, s->b->ops->lookup(s->b, req, CHILD(parent), name, ret), ret));
}

static void forget(struct fsb *b, uint64_t node, uint64_t count)
{
	struct mux_seat *s;

	/* Roots are not counted; those of a child that has left are gone with it. */
	if (node == FSB_ROOT || CHILD(node) == FSB_ROOT || mux_enter(b, node, &s) < 0)
		return;
	s->b->ops->forget(s->b, CHILD(node), count);
	(void)mux_leave(s, 0);
}

static int getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	if (node == FSB_ROOT)
		mux_root_attr(ret);
	ON_CHILD(node, 0, getattr, -EOPNOTSUPP,
		attr_result(s, s->b->ops->getattr(s->b, CHILD(node), CHILD(fh), ret), ret));
}

static int setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *set, struct fuse_attr *ret)
{
	WRITES(node, setattr,
		attr_result(
			s, s->b->ops->setattr(s->b, req, CHILD(node), CHILD(fh), set, ret), ret));
}

static int readlink_op(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	ON_CHILD(
		node, -EINVAL, readlink, -EINVAL, s->b->ops->readlink(s->b, CHILD(node), buf, cap));
}

static int mknod_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	MAKES(parent, mknod, req, CHILD(parent), name, mode, rdev, ret);
}

static int mkdir_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	MAKES(parent, mkdir, req, CHILD(parent), name, mode, ret);
}

static int symlink_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	MAKES(parent, symlink, req, CHILD(parent), name, target, ret);
}

static int unlink_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	WRITES(parent, unlink, s->b->ops->unlink(s->b, req, CHILD(parent), name));
}

static int rmdir_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	WRITES(parent, rmdir, s->b->ops->rmdir(s->b, req, CHILD(parent), name));
}

static bool together(uint64_t a, uint64_t b)
{
	return a >> MUX_SHIFT == b >> MUX_SHIFT;
}

static int rename_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	if (!together(parent, newparent))
		return -EXDEV;
	WRITES(parent, rename,
		s->b->ops->rename(
			s->b, req, CHILD(parent), name, CHILD(newparent), newname, flags));
}

static int link_op(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	if (!together(node, newparent))
		return -EXDEV;
	MAKES(newparent, link, req, CHILD(node), CHILD(newparent), newname, ret);
}

static int open_op(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	ON_CHILD(node, -EISDIR, open, no_handle(ret_fh),
		fh_result(s, s->b->ops->open(s->b, req, CHILD(node), flags, ret_fh), ret_fh));
}

static int create_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	WRITES(parent, create,
		entry_result(s,
			fh_result(s,
				s->b->ops->create(
					s->b, req, CHILD(parent), name, mode, flags, ret, ret_fh),
				ret_fh),
			ret));
}

static int tmpfile_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	/* ENOSYS, by which open(2) says that there is no O_TMPFILE, would be remembered. */
	ON_CHILD(parent, -EROFS, tmpfile, -EOPNOTSUPP,
		s->b->ops->caps & FSB_CAP_WRITE
			? entry_result(s,
				  fh_result(s,
					  s->b->ops->tmpfile(s->b, req, CHILD(parent), mode, flags,
						  ret, ret_fh),
					  ret_fh),
				  ret)
			: -EROFS);
}

static void release(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct mux_seat *s;

	if (mux_enter(b, node, &s) < 0)
		return;
	if (s->b->ops->release)
		s->b->ops->release(s->b, CHILD(node), CHILD(fh));
	(void)mux_leave(s, 0);
}

static int fsync_op(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	ON_CHILD(node, 0, fsync, 0,
		WITH(fh, open, s->b->ops->fsync(s->b, CHILD(node), CHILD(fh), datasync)));
}

static int opendir_op(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	ON_CHILD(node, 0, opendir, no_handle(ret_fh),
		fh_result(s, s->b->ops->opendir(s->b, CHILD(node), ret_fh), ret_fh));
}

/* A child's entries on their way out. */
struct passing {
	const struct mux_seat *s;
	fsb_dirent_fn fn;
	void *arg;
};

static int pass_entry(void *arg, const char *name, size_t name_bytes, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	const struct passing *p = arg;
	struct fsb_entry e;

	if (entry) {
		e = *entry;
		mux_entry_out(p->s, &e);
	}
	return p->fn(p->arg, name, name_bytes, ino ^ (uint64_t)p->s->id << MUX_SHIFT, type,
		next_off, entry ? &e : NULL);
}

static int readdir_op(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	ON_CHILD(node, mux_root_readdir(mux_of(b), off, plus, fn, arg), readdir, -ENOTDIR,
		WITH(fh, opendir,
			s->b->ops->readdir(s->b, req, CHILD(node), CHILD(fh), off, plus, pass_entry,
				&(struct passing){s, fn, arg})));
}

static void releasedir(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct mux_seat *s;

	if (mux_enter(b, node, &s) < 0)
		return;
	if (s->b->ops->releasedir)
		s->b->ops->releasedir(s->b, CHILD(node), CHILD(fh));
	(void)mux_leave(s, 0);
}

static int no_space(struct statvfs *v)
{
	*v = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};
	return 0;
}

static int statfs_op(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	ON_CHILD(node, no_space(ret), statfs, no_space(ret),
		s->b->ops->statfs(s->b, CHILD(node), ret));
}

/* A child that has none of them, in a session that has. */
static bool is_hidden(const struct mux_seat *s, const char *name)
{
	return !s->b->acls && acl_is_name(name);
}

static int setxattr_op(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	ON_CHILD(node, -EROFS, setxattr, -EOPNOTSUPP,
		is_hidden(s, name) ? -EOPNOTSUPP
		: s->b->ops->caps & FSB_CAP_WRITE
			? s->b->ops->setxattr(s->b, req, CHILD(node), name, value, n, flags)
			: -EROFS);
}

static int removexattr_op(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	ON_CHILD(node, -EROFS, removexattr, -EOPNOTSUPP,
		is_hidden(s, name) ? -EOPNOTSUPP
		: s->b->ops->caps & FSB_CAP_WRITE
			? s->b->ops->removexattr(s->b, req, CHILD(node), name)
			: -EROFS);
}

static int fallocate_op(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	ON_CHILD(node, -EISDIR, fallocate, -EOPNOTSUPP,
		s->b->ops->caps & FSB_CAP_WRITE
			? WITH(fh, open,
				  s->b->ops->fallocate(
					  s->b, req, CHILD(node), CHILD(fh), mode, off, len))
			: -EROFS);
}

static int syncfs_op(struct fsb *b, uint64_t node)
{
	struct mux *m = mux_of(b);
	int first = 0;

	/* The kernel names the root and means all of it. */
	for (unsigned int i = 0; i < FSD_MAX_MOUNTS; i++) {
		struct mux_seat *s;
		int r;

		if (mux_enter(b, (uint64_t)m->seat[i].id << MUX_SHIFT, &s) < 0)
			continue;
		r = s->b->ops->syncfs ? s->b->ops->syncfs(s->b, FSB_ROOT) : 0;
		r = (int)mux_leave(s, r);
		first = first < 0 ? first : r;
	}
	return first;
}

static int btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	ON_CHILD(node, -EOPNOTSUPP, btime, -EOPNOTSUPP, s->b->ops->btime(s->b, CHILD(node), ret));
}

static int getflags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	ON_CHILD(node, -ENOTTY, getflags, -ENOTTY, s->b->ops->getflags(s->b, CHILD(node), ret));
}

static int setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags)
{
	ON_CHILD(node, -ENOTTY, setflags, -ENOTTY,
		s->b->ops->caps & FSB_CAP_WRITE ? s->b->ops->setflags(s->b, req, CHILD(node), flags)
						: -EROFS);
}

static const struct fsb_cache *cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache nothing; /* mounts come and go */
	static const struct fsb_cache profile = {.entry_ms = FSB_AS_PROFILE,
		.attr_ms = FSB_AS_PROFILE,
		.negative_ms = FSB_AS_PROFILE};
	static _Thread_local struct fsb_cache copy; /* the child may be gone when it is read */
	const struct fsb_cache *c;
	struct mux_seat *s;

	if (node == FSB_ROOT)
		return &nothing;
	if (mux_enter(b, node, &s) < 0)
		return NULL;
	c = s->b->ops->cache ? s->b->ops->cache(s->b, CHILD(node)) : NULL;
	if (CHILD(node) == FSB_ROOT) { /* its name is the mux's own, which another may have next */
		copy = c ? *c : profile;
		copy.entry_ms = 0;
		c = &copy;
	} else if (c) {
		copy = *c;
	}
	(void)mux_leave(s, 0);
	return c ? &copy : NULL;
}

static int reopen(struct fsb *b, uint64_t node, uint64_t fh, bool dir, uint32_t flags)
{
	if (!together(node, fh))
		return -EBADMSG;
	ON_CHILD(node, 0, reopen, -EOPNOTSUPP,
		s->b->ops->reopen(s->b, CHILD(node), CHILD(fh), dir, flags));
}

#undef ret_t
#define ret_t int64_t

static int64_t readv_op(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	ON_CHILD(node, -EISDIR, readv, -EOPNOTSUPP,
		WITH(fh, open, s->b->ops->readv(s->b, CHILD(node), CHILD(fh), iov, n, off)));
}

static int64_t writev_op(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags)
{
	WRITES(node, writev,
		WITH(fh, open,
			s->b->ops->writev(
				s->b, req, CHILD(node), CHILD(fh), iov, n, off, write_flags)));
}

static int64_t getxattr_op(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	ON_CHILD(node, -ENODATA, getxattr, -EOPNOTSUPP,
		is_hidden(s, name) ? -EOPNOTSUPP
				   : s->b->ops->getxattr(s->b, CHILD(node), name, buf, cap));
}

static int64_t list_of(const struct mux_seat *s, uint64_t node, char *buf, size_t cap)
{
	int64_t n = s->b->ops->listxattr(s->b, node, buf, cap);

	return n > 0 && cap && !s->b->acls ? (int64_t)acl_names_out(buf, (size_t)n) : n;
}

static int64_t listxattr_op(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	ON_CHILD(node, 0, listxattr, 0, list_of(s, CHILD(node), buf, cap));
}

static int64_t size_of(const struct mux_seat *s, uint64_t node)
{
	struct fuse_attr a;
	int r = s->b->ops->getattr(s->b, CHILD(node), 0, &a);

	return r < 0 ? r : (int64_t)a.size;
}

/* A child that knows of no holes: all of the file is data. */
static int64_t plain_seek(const struct mux_seat *s, uint64_t node, uint64_t off, uint32_t whence)
{
	int64_t size = size_of(s, node);

	if (size < 0)
		return size;
	return off >= (uint64_t)size ? -ENXIO : whence == SEEK_DATA ? (int64_t)off : size;
}

static int64_t lseek_op(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	ON_CHILD(node, -EISDIR, getattr, -EOPNOTSUPP,
		!s->b->ops->lseek
			? plain_seek(s, node, off, whence)
			: WITH(fh, open,
				  s->b->ops->lseek(s->b, CHILD(node), CHILD(fh), off, whence)));
}

static int64_t copy_file_range_op(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	if (!together(node_in, node_out))
		return -EXDEV; /* the kernel copies then */
	ON_CHILD(node_in, -EISDIR, copy_file_range, -EOPNOTSUPP,
		s->b->ops->caps & FSB_CAP_WRITE
			? WITH(fh_in, open,
				  WITH(fh_out, open,
					  s->b->ops->copy_file_range(s->b, req, CHILD(node_in),
						  CHILD(fh_in), off_in, CHILD(node_out),
						  CHILD(fh_out), off_out, len)))
			: -EROFS);
}

const struct fsb_ops mux_ops = {
	.name = "shares",
	.summary = "every mount but the root, a directory each",
	.lookup = lookup,
	.forget = forget,
	.getattr = getattr,
	.setattr = setattr,
	.readlink = readlink_op,
	.mknod = mknod_op,
	.mkdir = mkdir_op,
	.symlink = symlink_op,
	.unlink = unlink_op,
	.rmdir = rmdir_op,
	.rename = rename_op,
	.link = link_op,
	.open = open_op,
	.create = create_op,
	.tmpfile = tmpfile_op,
	.release = release,
	.readv = readv_op,
	.writev = writev_op,
	.fsync = fsync_op,
	.opendir = opendir_op,
	.readdir = readdir_op,
	.releasedir = releasedir,
	.statfs = statfs_op,
	.setxattr = setxattr_op,
	.getxattr = getxattr_op,
	.listxattr = listxattr_op,
	.removexattr = removexattr_op,
	.fallocate = fallocate_op,
	.lseek = lseek_op,
	.copy_file_range = copy_file_range_op,
	.syncfs = syncfs_op,
	.btime = btime,
	.cache = cache,
	.reopen = reopen,
	.save = mux_save,
	.load = mux_load,
	.save_all = mux_save_all,
	.load_all = mux_load_all,
	.getflags = getflags,
	.setflags = setflags,
};
