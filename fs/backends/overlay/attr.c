// SPDX-License-Identifier: Apache-2.0
// The overlay's attribute ops: getattr, setattr, readlink, statfs, and the loss of privileges.
#include "fs/backends/overlay/ovl.h"

#include <sys/stat.h>

static const char cap_name[] = "security.capability";

int ovl_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	int r;

	OVL_READ(o);
	r = ovl_get(o, node, &i);
	if (r == 0)
		ovl_fill_attr(o, i, ret);
	return r;
}

int64_t ovl_usage(struct fsb *b, uint64_t node)
{
	struct ovl *o = ovl_of(b);
	struct fuse_attr a = {0};
	struct ovl_inode *i;
	int r;

	OVL_READ(o);
	r = ovl_get(o, node, &i);
	if (r < 0)
		return r;
	if (S_ISREG(i->a.mode) && (i->flags & OVL_OWN_DATA)) /* all else is in the log */
		ovl_fill_attr(o, i, &a);
	return (int64_t)a.blocks * 512;
}

/* setgid without group execution once meant mandatory locking: members of the group may keep it. */
static uint32_t without_suidgid(const struct ovl_attr *a, const struct fsb_req *req, bool owner)
{
	bool member = req->uid == 0 || fsb_in_group(req, a->gid, owner ? 0 : a->mode);
	uint32_t mode = a->mode & ~(uint32_t)S_ISUID;

	return mode & S_IXGRP || !member ? mode & ~(uint32_t)S_ISGID : mode;
}

/* Adds to @t: @a as @i's attributes, file capabilities gone where @uncap. */
static void put_attr(
	struct ovl *o, struct ovl_txn *t, struct ovl_inode *i, const struct ovl_attr *a, bool uncap)
{
	uncap = uncap && i->flags & OVL_HAS_CAP;
	ovl_txn_inode(t, i->ino, i->lower, i->flags | (uncap ? OVL_OWN_XATTRS : 0), a);
	if (uncap)
		ovl_txn_own_xattrs(o, t, i, cap_name);
}

int ovl_kill_privs(struct ovl *o, struct ovl_inode *i, const struct fsb_req *suidgid)
{
	OVL_TXN(t);
	struct ovl_attr a;
	{
		OVL_READ(o);
		OVL_ATTR(o, i);
		if (!(i->flags & OVL_HAS_CAP) &&
			(!suidgid || without_suidgid(&i->a, suidgid, false) == i->a.mode))
			return 0;
	}
	OVL_WRITE(o);
	a = i->a;
	a.ctime = ovl_now();
	if (suidgid)
		a.mode = without_suidgid(&a, suidgid, false);
	put_attr(o, &t, i, &a, true);
	return ovl_commit(o, &t, false);
}

/* Cuts or grows the contents; the log hears of it from the caller. @i is pinned. */
static int resize(struct ovl *o, struct ovl_inode *i, uint64_t size)
{
	struct ovl_fd *f;
	int r = ovl_copy_up(o, i, size);

	if (r < 0)
		return r;
	r = ovl_fd_get(o, i, size > 0, &f);
	if (r < 0)
		return r == -ENOENT && size == 0 ? 0 : r; /* no file is an empty one */
	{
		OVL_READ(o);
		OVL_ATTR(o, i);

		if (ftruncate(f->fd, (off_t)size) < 0) {
			r = -errno;
		} else {
			if (i->flags & OVL_STALE_SIZE)
				ovl_data_refresh(o, i); /* for its times */
			atomic_fetch_add(&i->truncs, 1);
			i->a.size = size;
			i->flags |= OVL_STALE_BLOCKS;
		}
	}
	ovl_fd_put(o, f);
	return r;
}

static struct ovl_time time_of(uint64_t sec, uint32_t nsec, bool now)
{
	return now ? ovl_now() : (struct ovl_time){(int64_t)sec, nsec % 1000000000u};
}

/* The image does not say when a file of its was born. */
int ovl_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	int r;

	OVL_READ(o);
	r = ovl_get(o, node, &i);
	if (r < 0)
		return r;
	*ret = (struct timespec){i->btime.sec, i->btime.nsec};
	return i->lower ? -EOPNOTSUPP : 0;
}

static void change(struct ovl_attr *a, const struct fsb_req *req, const struct fsb_setattr *s)
{
	if (s->valid & FATTR_MODE)
		a->mode = (a->mode & S_IFMT) | (s->mode & 07777);
	if (s->valid & FATTR_UID)
		a->uid = s->uid;
	if (s->valid & FATTR_GID)
		a->gid = s->gid;
	if (s->kill_suidgid && !S_ISDIR(a->mode))
		a->mode = without_suidgid(a, req, s->valid & (FATTR_UID | FATTR_GID));
	a->ctime = time_of(s->ctime, s->ctimensec, !(s->valid & FATTR_CTIME));
	if (s->valid & FATTR_SIZE)
		a->mtime = a->ctime;
	if (s->valid & FATTR_ATIME)
		a->atime = time_of(s->atime, s->atimensec, s->valid & FATTR_ATIME_NOW);
	if (s->valid & FATTR_MTIME)
		a->mtime = time_of(s->mtime, s->mtimensec, s->valid & FATTR_MTIME_NOW);
}

static int set_pinned(struct ovl *o, const struct fsb_req *req, struct ovl_inode *i,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	bool uncap = s->valid & (FATTR_UID | FATTR_GID | FATTR_SIZE) || s->kill_suidgid;
	struct ovl_attr a;
	int r = 0;

	if (s->valid & FATTR_SIZE)
		r = resize(o, i, s->size);
	if (r < 0)
		return r;
	OVL_WRITE(o);
	OVL_TXN(t);

	if (i->flags & OVL_STALE_SIZE)
		ovl_data_refresh(
			o, i); /* else what is logged now would hide the file's own mtime */
	a = i->a;
	change(&a, req, s);
	put_attr(o, &t, i, &a, uncap);
	r = ovl_commit(o, &t, s->valid & FATTR_SIZE);
	if (r == 0)
		ovl_fill_attr(o, i, ret);
	return r;
}

int ovl_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	int r;
	{
		OVL_READ(o);
		r = ovl_get(o, node, &i);
		if (r < 0)
			return r;
		if (s->valid & FATTR_SIZE && !S_ISREG(i->a.mode))
			return S_ISDIR(i->a.mode) ? -EISDIR : -EINVAL;
		if (s->valid & FATTR_SIZE && s->size > INT64_MAX)
			return -EFBIG;
		ovl_pin(i);
	}
	r = set_pinned(o, req, i, s, ret);
	ovl_unpin(o, i);
	return r;
}

static int get_flagged(struct ovl *o, uint64_t node, struct ovl_inode **ret)
{
	int r = ovl_get(o, node, ret);

	if (r == 0 && !S_ISREG((*ret)->a.mode) && !S_ISDIR((*ret)->a.mode))
		r = -ENOTTY;
	return r;
}

int ovl_getflags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	int r;

	OVL_READ(o);
	r = get_flagged(o, node, &i);
	if (r == 0)
		*ret = i->flags >> OVL_FL_SHIFT & FSB_FL_ALL;
	return r;
}

int ovl_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct ovl_attr a;
	OVL_TXN(t);
	int r;

	OVL_WRITE(o);
	r = get_flagged(o, node, &i);
	if (r < 0)
		return r;
	if (i->flags & OVL_STALE_SIZE)
		ovl_data_refresh(o, i);
	a = i->a;
	a.ctime = ovl_now();
	ovl_txn_inode(&t, i->ino, i->lower, (i->flags & ~OVL_FL_MASK) | flags << OVL_FL_SHIFT, &a);
	return ovl_commit(o, &t, false);
}

int ovl_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	const char *p;
	size_t n;
	int r;

	OVL_READ(o);
	r = ovl_get(o, node, &i);
	if (r < 0)
		return r;
	if (!S_ISLNK(i->a.mode) || (!i->lower && !i->target))
		return -EINVAL;
	if (i->lower) {
		r = img_index_readlink(o->lower, i->lower, &p, &n);
		if (r < 0)
			return r;
	} else {
		p = i->target;
		n = strlen(p);
	}
	n = n < cap ? n : cap;
	memcpy(buf, p, n);
	ovl_accessed(o, i);
	return (int)n;
}

int ovl_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct ovl *o = ovl_of(b);

	if (o->upper_fd < 0) {
		*ret = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096};
		ret->f_files = o->lower ? img_index_inodes(o->lower) : 1;
		ret->f_namemax = OVL_NAME_MAX;
		return 0;
	}
	if (fstatvfs(o->upper_fd, ret) < 0)
		return -errno;
	ret->f_namemax = OVL_NAME_MAX;
	ret->f_files = o->max_nodes;
	OVL_READ(o);
	ret->f_ffree = o->nodes < o->max_nodes ? o->max_nodes - o->nodes : 0;
	ret->f_favail = ret->f_ffree;
	return 0;
}
