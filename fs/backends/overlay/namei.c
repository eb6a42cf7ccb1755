// SPDX-License-Identifier: Apache-2.0
// The overlay's ops on names: lookup, everything that makes one, unlink, rmdir, link.
#include "fs/acl.h"
#include "fs/backends/overlay/ovl.h"

#include <fcntl.h>
#include <sys/stat.h>

int ovl_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *dir, *i;
	uint64_t ino;
	int r = ovl_check_name(name);

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return ovl_by_handle(o, parent, name[1], ret);
	if (r)
		return r;
	{
		OVL_READ(o);
		r = ovl_get_dir(o, parent, &dir);
		if (r == 0)
			r = ovl_dir_lookup(o, dir, name, strlen(name), &ino);
		if (r)
			return r;
		i = ovl_find(o, ino);
		if (i) {
			ovl_fill_entry(o, i, ret);
			return 0;
		}
	}
	OVL_WRITE(o);
	r = ovl_dir_find(o, parent, name, &dir, &i);
	if (r == 0)
		ovl_fill_entry(o, i, ret);
	return r;
}

int ovl_dir_find(struct ovl *o, uint64_t parent, const char *name, struct ovl_inode **ret_dir,
	struct ovl_inode **ret)
{
	uint64_t ino;
	int r = ovl_check_name(name);

	if (r == 0)
		r = ovl_get_dir(o, parent, ret_dir);
	if (r == 0)
		r = ovl_dir_lookup(o, *ret_dir, name, strlen(name), &ino);
	if (r)
		return r;
	*ret = ovl_find(o, ino);
	if (!*ret)
		return ino < OVL_OWN_BASE ? ovl_from_lower(o, ino, ret) : -EIO;
	if ((*ret)->flags & OVL_STALE_SIZE)
		ovl_data_refresh(
			o, *ret); /* before the caller logs a ctime that hides the file's mtime */
	return 0;
}

int ovl_dir_absent(struct ovl *o, uint64_t parent, const char *name, struct ovl_inode **ret_dir)
{
	uint64_t ino;
	int r = ovl_check_name(name);

	if (r == 0)
		r = ovl_get_dir(o, parent, ret_dir);
	if (r)
		return r;
	r = ovl_dir_lookup(o, *ret_dir, name, strlen(name), &ino);
	if (r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	return (*ret_dir)->a.nlink == 0 ? -ENOENT : 0; /* it has been removed itself */
}

/* ---- making */

struct making {
	const struct fsb_req *req;
	const char *name; /* NULL: an inode without a name */
	uint32_t mode, rdev;
	const char *target;
};

/* The new inode's attributes: a directory's setgid bit hands on its group, to directories itself
 * too. */
static struct ovl_attr attr_of(const struct making *m, const struct ovl_inode *dir)
{
	struct ovl_attr a = {.mode = m->mode, .uid = m->req->uid, .gid = m->req->gid};

	if (dir->a.mode & S_ISGID) {
		a.gid = dir->a.gid;
		if (S_ISDIR(m->mode))
			a.mode |= S_ISGID;
	}
	if (S_ISCHR(m->mode) || S_ISBLK(m->mode))
		a.rdev = m->rdev;
	a.nlink = !m->name ? 0 : S_ISDIR(m->mode) ? 2 : 1;
	a.size = S_ISDIR(m->mode) ? 4096 : m->target ? strlen(m->target) : 0;
	a.atime = a.mtime = a.ctime = ovl_now();
	return a;
}

static uint32_t inherited(const struct ovl_inode *dir, uint32_t mode)
{
	return fsb_inherited(dir->flags >> OVL_FL_SHIFT, mode) << OVL_FL_SHIFT;
}

/* Exclusive tree lock held. */
static int make(struct ovl *o, uint64_t parent, const struct making *m, struct fsb_entry *ret)
{
	struct ovl_inode *dir, *i;
	uint64_t ino = o->next_ino;
	struct acl_bytes acl;
	struct iovec def;
	struct ovl_attr a;
	uint32_t flags;
	OVL_TXN(t);
	int r = m->name ? ovl_dir_absent(o, parent, m->name, &dir) : ovl_get_dir(o, parent, &dir);

	if (r)
		return r;
	if (o->nodes >= o->max_nodes)
		return -ENOSPC;
	a = attr_of(m, dir);
	r = ovl_inherit(o, dir, m->req->umask, &a.mode, &acl, &def);
	if (r < 0)
		return r;
	flags = (S_ISREG(a.mode) ? OVL_OWN_DATA : 0) | inherited(dir, a.mode) |
		(acl.n || def.iov_len ? OVL_OWN_XATTRS : 0);
	ovl_txn_inode(&t, ino, 0, flags, &a);
	if (acl.n)
		ovl_txn_xattr(&t, ino, ACL_ACCESS, strlen(ACL_ACCESS), acl.p, (uint32_t)acl.n);
	if (def.iov_len)
		ovl_txn_xattr(&t, ino, ACL_DEFAULT, strlen(ACL_DEFAULT), def.iov_base,
			(uint32_t)def.iov_len);
	if (m->target)
		ovl_txn_target(&t, ino, m->target, strlen(m->target));
	if (m->name) {
		ovl_txn_dent(&t, dir->ino, m->name, strlen(m->name), ino, 0);
		ovl_txn_touch(&t, dir->ino, dir->a.nlink + S_ISDIR(a.mode), a.ctime, true);
	}
	r = ovl_commit(o, &t, false);
	if (r)
		return r;
	i = ovl_find(o, ino);
	if (!m->name)
		i->flags |= OVL_LINKABLE;
	ovl_fill_entry(o, i, ret);
	return 0;
}

static int make_locked(
	struct fsb *b, uint64_t parent, const struct making *m, struct fsb_entry *ret)
{
	struct ovl *o = ovl_of(b);

	OVL_WRITE(o);
	return make(o, parent, m, ret);
}

int ovl_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct making m = {.req = req, .name = name, .mode = mode & (S_IFMT | 07777), .rdev = rdev};

	switch (mode & S_IFMT) {
	case 0: m.mode |= S_IFREG; break;
	case S_IFREG:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: break;
	default: return -EINVAL;
	}
	return make_locked(b, parent, &m, ret);
}

int ovl_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct making m = {.req = req, .name = name, .mode = S_IFDIR | (mode & 07777)};

	return make_locked(b, parent, &m, ret);
}

int ovl_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct making m = {.req = req, .name = name, .mode = S_IFLNK | 0777, .target = target};
	size_t n = strnlen(target, OVL_TARGET_MAX + 1);

	if (n == 0 || n > OVL_TARGET_MAX)
		return n ? -ENAMETOOLONG : -ENOENT;
	return make_locked(b, parent, &m, ret);
}

int ovl_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct making m = {.req = req, .name = name, .mode = S_IFREG | (mode & 07777)};

	*ret_fh = 0;
	return make_locked(b, parent, &m, ret);
}

int ovl_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct making m = {.req = req, .mode = S_IFREG | (mode & 07777)};
	struct ovl *o = ovl_of(b);
	int r = make_locked(b, parent, &m, ret);

	if (r == 0 && flags & O_EXCL) {
		OVL_WRITE(o);
		struct ovl_inode *i = ovl_find(o, ret->node);

		if (i)
			i->flags &= ~(uint32_t)OVL_LINKABLE;
	}
	*ret_fh = 0;
	return r;
}

int ovl_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct ovl *o = ovl_of(b);
	struct ovl_time now = ovl_now();
	struct ovl_inode *i, *dir;
	OVL_TXN(t);
	int r;

	OVL_WRITE(o);
	r = ovl_get(o, node, &i);
	if (r)
		return r;
	r = ovl_dir_absent(o, newparent, newname, &dir);
	if (r)
		return r;
	if (S_ISDIR(i->a.mode))
		return -EPERM;
	if (i->a.nlink == 0 && !(i->flags & OVL_LINKABLE))
		return -ENOENT;
	if (i->a.nlink >= OVL_MAX_LINKS)
		return -EMLINK;
	ovl_txn_file(&t, i, i->a.nlink + 1, now);
	ovl_txn_dent(&t, dir->ino, newname, strlen(newname), i->ino, 0);
	ovl_txn_touch(&t, dir->ino, dir->a.nlink, now, true);
	r = ovl_commit(o, &t, false);
	if (r == 0)
		ovl_fill_entry(o, i, ret);
	return r;
}

/* ---- removing */

static int remove_name(struct fsb *b, uint64_t parent, const char *name, bool want_dir)
{
	struct ovl *o = ovl_of(b);
	struct ovl_time now = ovl_now();
	struct ovl_inode *dir, *i;
	uint64_t ino;
	int r;
	{
		OVL_WRITE(o);
		OVL_TXN(t);

		r = ovl_dir_find(o, parent, name, &dir, &i);
		if (r)
			return r;
		if (S_ISDIR(i->a.mode) != want_dir)
			return want_dir ? -ENOTDIR : -EISDIR;
		if (i->ino == OVL_ROOT)
			return -EBUSY;
		r = want_dir ? ovl_dir_empty(o, i) : 0;
		if (r)
			return r;
		ovl_txn_dent(&t, dir->ino, name, strlen(name), 0, 0);
		ovl_txn_drop_link(&t, i, now);
		ovl_txn_touch(&t, dir->ino, dir->a.nlink - (want_dir && dir->a.nlink), now, true);
		r = ovl_commit(o, &t, true);
		if (r)
			return r;
		ino = i->ino;
	}
	ovl_forget(b, ino, 0); /* where nobody has it open it goes now */
	return 0;
}

void ovl_txn_drop_link(struct ovl_txn *t, const struct ovl_inode *i, struct ovl_time now)
{
	uint32_t left = S_ISDIR(i->a.mode) || i->a.nlink == 0 ? 0 : i->a.nlink - 1;

	ovl_txn_file(t, i, left, now);
}

int ovl_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(b, parent, name, false);
}

int ovl_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(b, parent, name, true);
}
