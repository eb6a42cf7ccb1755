// SPDX-License-Identifier: Apache-2.0
/*
 * passthrough: a host directory as it is, shared with whoever else uses it on the host.
 *
 * Theory of operation. Every op gets an O_PATH descriptor of its node and works relative to that
 * with one name at a time, so nothing in the tree, links and ".." included, leads out of it.
 * Run by root, new files are given to the user who asked; run by an ordinary user all files are
 * that user's. Two things a share never makes on the host, whoever asks in the guest: set-id files
 * (chmod drops the bits of regular files, a write those that the host had set, and file
 * capabilities cannot be set) and device nodes. Other file systems mounted below the directory are
 * not entered: EXDEV.
 */
#include "fs/backends/passthrough_priv.h"
#include "fs/options.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define USER_XATTR "user."

void pt_attr(const struct statx *sx, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){.ino = sx->stx_ino,
		.size = sx->stx_size,
		.blocks = sx->stx_blocks,
		.atime = (uint64_t)sx->stx_atime.tv_sec,
		.mtime = (uint64_t)sx->stx_mtime.tv_sec,
		.ctime = (uint64_t)sx->stx_ctime.tv_sec,
		.atimensec = sx->stx_atime.tv_nsec,
		.mtimensec = sx->stx_mtime.tv_nsec,
		.ctimensec = sx->stx_ctime.tv_nsec,
		.mode = sx->stx_mode,
		.nlink = sx->stx_nlink,
		.uid = sx->stx_uid,
		.gid = sx->stx_gid,
		.rdev = (uint32_t)makedev(sx->stx_rdev_major, sx->stx_rdev_minor),
		.blksize = sx->stx_blksize};
}

int pt_lookup_in(struct pt *p, const struct pt_ref *parent, const char *name, struct fsb_entry *ret)
{
	struct statx sx;
	int r = pt_statx(&p->nodes, parent->fd, name, &sx);

	if (r < 0)
		return r;
	ret->generation = 0;
	pt_attr(&sx, &ret->attr);
	return pt_enter(&p->nodes, parent, name, &sx, -1, &ret->node);
}

static int pt_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref dir;
	int r = pt_get(&p->nodes, parent, &dir);

	if (r < 0)
		return r;
	r = pt_lookup_in(p, &dir, name, ret);
	pt_put(&p->nodes, &dir);
	return r;
}

static void pt_forget_op(struct fsb *b, uint64_t node, uint64_t count)
{
	pt_forget(&pt_of(b)->nodes, node, count);
}

static int attr_of(struct pt *p, int fd, struct fuse_attr *ret)
{
	struct statx sx;
	int r = pt_statx(&p->nodes, fd, "", &sx);

	if (r == 0)
		pt_attr(&sx, ret);
	return r;
}

static int pt_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct pt *p = pt_of(b);
	struct pt_handle *h = pt_handle_get(p, fh);
	struct pt_ref f;
	int r;

	if (h)
		return attr_of(p, h->fd, ret);
	r = pt_get(&p->nodes, node, &f);
	if (r < 0)
		return r;
	r = attr_of(p, f.fd, ret);
	pt_put(&p->nodes, &f);
	return r;
}

/* Mode bits by the node's own magic link: fchmodat() on an O_PATH descriptor is newer than some
 * kernels in use. @f is never a symlink: they have no mode. */
static int set_mode(const struct pt_ref *f, uint32_t mode)
{
	if (S_ISLNK(pt_type(f)))
		return -EOPNOTSUPP;
	if (S_ISREG(pt_type(f)))
		mode &= ~(uint32_t)(S_ISUID | S_ISGID);
	return fchmodat(fs_reopen_dir(), fs_fd_name(f->fd).s, mode & 07777, 0) < 0 ? -errno : 0;
}

static int set_size(const struct pt_ref *f, const struct pt_handle *h, uint64_t size)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (!S_ISREG(pt_type(f)))
		return S_ISDIR(pt_type(f)) ? -EISDIR : -EINVAL;
	if (h && ftruncate(h->fd, (off_t)size) == 0)
		return 0;
	fd = fs_reopen(f->fd, O_WRONLY); /* also where the handle is for reading */
	if (fd < 0)
		return fd;
	r = ftruncate(fd, (off_t)size);
	return r < 0 ? -errno : 0;
}

static int set_times(const struct pt_ref *f, const struct fsb_setattr *s)
{
	const struct timespec t[2] = {
		{(time_t)s->atime, s->valid & FATTR_ATIME_NOW ? UTIME_NOW
				   : s->valid & FATTR_ATIME   ? (long)s->atimensec
							      : UTIME_OMIT},
		{(time_t)s->mtime, s->valid & FATTR_MTIME_NOW ? UTIME_NOW
				   : s->valid & FATTR_MTIME   ? (long)s->mtimensec
							      : UTIME_OMIT}};

	return utimensat(f->fd, "", t, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int kill_suidgid(struct pt *p, const struct pt_ref *f)
{
	struct statx sx;
	uint32_t mode;
	int r = pt_statx(&p->nodes, f->fd, "", &sx);

	if (r < 0 || !S_ISREG(sx.stx_mode))
		return r;
	mode = sx.stx_mode & ~(uint32_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(uint32_t)S_ISGID;
	return mode == sx.stx_mode ? 0 : set_mode(f, mode);
}

/* In the user namespace of an ordinary user's jail other users do not exist: EINVAL, which to the
 * guest means what it means anywhere else. */
static int set_owner(const struct pt_ref *f, const struct fsb_setattr *s)
{
	if (fchownat(f->fd, "", s->valid & FATTR_UID ? s->uid : (uid_t)-1,
		    s->valid & FATTR_GID ? s->gid : (gid_t)-1, AT_EMPTY_PATH) == 0)
		return 0;
	return errno == EINVAL ? -EPERM : -errno;
}

static int setattr_of(struct pt *p, const struct pt_ref *f, const struct pt_handle *h,
	const struct fsb_setattr *s)
{
	int r = 0;

	if (s->valid & (FATTR_UID | FATTR_GID))
		r = set_owner(f, s);
	if (r == 0 && (s->valid & FATTR_SIZE))
		r = set_size(f, h, s->size);
	if (r == 0 && s->kill_suidgid)
		r = kill_suidgid(p, f);
	if (r == 0 && (s->valid & FATTR_MODE))
		r = set_mode(f, s->mode);
	if (r == 0 && (s->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
		r = set_times(f, s);
	return r;
}

static int pt_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r;

	if (p->readonly)
		return -EROFS;
	r = pt_get(&p->nodes, node, &f);
	if (r < 0)
		return r;
	r = setattr_of(p, &f, pt_handle_get(p, fh), s);
	if (r == 0)
		r = attr_of(p, f.fd, ret);
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, &f);

	if (r < 0)
		return r;
	r = (int)readlinkat(f.fd, "", buf, cap);
	if (r < 0)
		r = errno == ENOENT ? -EINVAL : -errno; /* ENOENT: not a link */
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r = pt_get(&p->nodes, node, &f);

	if (r < 0)
		return r;
	r = fstatvfs(f.fd, ret) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_syncfs(struct fsb *b, uint64_t node)
{
	struct pt *p = pt_of(b);
	_cleanup_close_ int fd = -1;
	struct pt_ref f;
	int r = pt_get(&p->nodes, FSB_ROOT, &f);

	if (r < 0)
		return r;
	fd = fs_reopen(f.fd, O_RDONLY);
	pt_put(&p->nodes, &f);
	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? -errno : 0;
}

/* ---- extended attributes: the user's own; those that mean something to the host stay there */

static int xattr_open(struct pt *p, uint64_t node, const char *name)
{
	struct pt_ref f;
	int r;

	if (name && strncmp(name, USER_XATTR, strlen(USER_XATTR)) != 0)
		return -EOPNOTSUPP;
	r = pt_get(&p->nodes, node, &f);
	if (r < 0)
		return r;
	/* Only these two types have any, and opening others does things. */
	r = S_ISREG(pt_type(&f)) || S_ISDIR(pt_type(&f)) ? fs_reopen(f.fd, O_RDONLY) : -EPERM;
	pt_put(&p->nodes, &f);
	return r;
}

static int pt_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct pt *p = pt_of(b);
	_cleanup_close_ int fd = p->readonly ? -EROFS : xattr_open(p, node, name);

	if (fd < 0)
		return fd;
	return fsetxattr(fd, name, value, n, (int)flags) < 0 ? -errno : 0;
}

static int64_t pt_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	_cleanup_close_ int fd = xattr_open(pt_of(b), node, name);
	ssize_t n;

	if (fd < 0)
		return fd == -EPERM ? -ENODATA : fd;
	n = fgetxattr(fd, name, buf, cap);
	return n < 0 ? -errno : n;
}

static int64_t pt_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	_cleanup_close_ int fd = xattr_open(pt_of(b), node, NULL);
	_cleanup_free_ char *all = malloc(XATTR_LIST_MAX);
	size_t out = 0;
	ssize_t n;

	if (fd < 0)
		return fd == -EPERM ? 0 : fd;
	if (!all)
		return -ENOMEM;
	n = flistxattr(fd, all, XATTR_LIST_MAX);
	if (n < 0)
		return -errno;
	for (char *s = all; s < all + n; s += strlen(s) + 1) {
		size_t k = strlen(s) + 1;

		if (strncmp(s, USER_XATTR, strlen(USER_XATTR)) != 0)
			continue;
		if (cap && k > cap - out)
			return -ERANGE;
		if (cap)
			memcpy(buf + out, s, k);
		out += k;
	}
	return (int64_t)out;
}

static int pt_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct pt *p = pt_of(b);
	_cleanup_close_ int fd = p->readonly ? -EROFS : xattr_open(p, node, name);

	if (fd < 0)
		return fd;
	return fremovexattr(fd, name) < 0 ? -errno : 0;
}

static void pt_stop(struct fsb *b)
{
	struct pt *p = pt_of(b);

	pt_handles_done(p);
	pt_nodes_done(&p->nodes);
	free(p);
}

static const struct fsb_ops passthrough_ops = {
	.name = "passthrough",
	.summary = "a host directory, shared with the host",
	.caps = FSB_CAP_WRITE | FSB_CAP_XATTR,
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
};

int fsb_passthrough_start(const struct fsb_passthrough_opts *o, struct fsb **ret, struct msb_err *e)
{
	int root_fd = o->root_fd;
	struct pt *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		close(root_fd);
		return msb_err_set(e, ENOMEM, "no memory for a share");
	}
	p->b.ops = &passthrough_ops;
	p->readonly = o->readonly;
	p->privileged = geteuid() == 0;
	pthread_mutex_init(&p->handles_lock, NULL);
	r = pt_nodes_init(&p->nodes, root_fd);
	if (r == 0)
		r = fs_reopen_init();
	if (r < 0) {
		pt_stop(&p->b);
		return msb_err_set(e, -r, "cannot share this directory: %s", strerror(-r));
	}
	*ret = &p->b;
	return 0;
}

static int kind_start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_passthrough_opts o = {
		.root_fd = s->dir_fd, .readonly = s->options->readonly};

	return fsb_passthrough_start(&o, ret, e);
}

const struct fsb_kind fsb_passthrough_kind = {
	.name = "passthrough",
	.summary = "a host directory, shared with the host",
	.start = kind_start,
};
