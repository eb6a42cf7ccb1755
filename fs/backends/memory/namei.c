// SPDX-License-Identifier: Apache-2.0
// The memory backend's ops on names: lookup, everything that makes one, unlink, rmdir, link.
#include "fs/backends/memory/mem.h"

#include <fcntl.h>
#include <sys/stat.h>

/* "." of any id is what has that id; ".." of a directory is its parent. */
static int by_handle(struct mem *m, uint64_t id, bool up, struct fsb_entry *ret)
{
	struct mem_inode *i = mem_hold(m, id), *parent = NULL;

	if (!i)
		return -ESTALE;
	if (up) {
		if (S_ISDIR(i->type)) {
			MEM_SHARED(&m->tree);
			parent = i->dir.parent;
			if (parent)
				mem_ref(parent);
		}
		mem_forget(&m->fsb, id, 1);
		if (!parent)
			return -ESTALE;
		i = parent;
	}
	mem_entry(i, ret);
	return 0;
}

int mem_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct mem *m = mem_of(b);
	const struct mem_dent *d;
	struct mem_inode *dir;
	int r = mem_check_name(name);

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return by_handle(m, parent, name[1] == '.', ret);
	if (r == 0)
		r = mem_get_dir(m, parent, &dir);
	if (r)
		return r;
	MEM_SHARED(&m->tree);
	MEM_SHARED(&dir->dir.lock);
	d = mem_dent_find(m, dir, name, strlen(name));
	if (!d)
		return -ENOENT;
	mem_ref(d->inode);
	mem_entry(d->inode, ret);
	return 0;
}

/* ---- making */

struct making {
	const struct fsb_req *req;
	const char *name; /* NULL: an inode without a name */
	uint32_t mode, rdev;
	const char *target;
};

/* A directory's setgid bit hands on its group, to directories itself too. */
static int set_up(struct mem *m, struct mem_inode *i, const struct making *k, struct mem_inode *dir)
{
	i->uid = k->req->uid;
	i->gid = k->req->gid;
	if (S_ISCHR(k->mode) || S_ISBLK(k->mode))
		i->rdev = k->rdev;
	i->nlink = !k->name ? 0 : S_ISDIR(k->mode) ? 2 : 1;
	i->flags = k->name ? 0 : MEM_LINKABLE;
	i->atime = i->mtime = i->ctime = i->btime = mem_now();
	MEM_SHARED(&dir->lock);
	i->flags |= fsb_inherited(dir->flags >> MEM_FL_SHIFT, i->mode) << MEM_FL_SHIFT;
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		if (S_ISDIR(k->mode))
			i->mode |= S_ISGID;
	}
	return mem_inherit(m, i, dir, k->req->umask);
}

/* Gives @i, which nobody knows yet, its name. The tree is locked. */
static int put(struct mem *m, struct mem_inode *dir, const struct making *k, struct mem_inode *i)
{
	int r;

	MEM_EXCLUSIVE(&dir->dir.lock);
	if (dir->nlink == 0)
		return -ENOENT; /* it has been removed itself */
	if (k->name && mem_dent_find(m, dir, k->name, strlen(k->name)))
		return -EEXIST;
	r = set_up(m, i, k, dir);
	if (r == 0 && k->name)
		r = mem_dir_add(m, dir, k->name, strlen(k->name), 0, i);
	if (r < 0)
		return r;
	if (S_ISDIR(k->mode))
		i->dir.parent = dir;
	/* From here on others may find it, and remove it: one reference is the caller's. */
	atomic_store(&i->refs, (k->name ? MEM_NAMED : 0) | 1);
	if (!k->name)
		return 0;
	mem_touch_dir(dir, S_ISDIR(k->mode), i->ctime);
	return 0;
}

static bool exists(struct mem *m, struct mem_inode *dir, const char *name)
{
	MEM_SHARED(&dir->dir.lock);
	return mem_dent_find(m, dir, name, strlen(name)) != NULL;
}

static int make(struct fsb *b, uint64_t parent, const struct making *k, struct fsb_entry *ret)
{
	struct mem *m = mem_of(b);
	struct mem_inode *dir, *i;
	int r = k->name ? mem_check_name(k->name) : 0;

	if (r == 0)
		r = mem_get_dir(m, parent, &dir);
	if (r)
		return r;
	MEM_SHARED(&m->tree);
	/* When all is full, what exists is still what is said to exist. */
	if (k->name && exists(m, dir, k->name))
		return -EEXIST;
	r = mem_inode_new(m, 0, k->mode, &i);
	if (r < 0)
		return r;
	if (k->target) {
		i->target = mem_alloc(m, strlen(k->target) + 1);
		if (i->target) {
			i->size = strlen(k->target);
			memcpy(i->target, k->target, i->size);
		}
	}
	r = k->target && !i->target ? -ENOSPC : put(m, dir, k, i);
	if (r < 0) {
		mem_inode_free(m, i);
		return r;
	}
	mem_entry(i, ret);
	return 0;
}

int mem_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct making k = {.req = req, .name = name, .mode = mode & (S_IFMT | 07777), .rdev = rdev};

	switch (mode & S_IFMT) {
	case 0: k.mode |= S_IFREG; break;
	case S_IFREG:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: break;
	default: return -EINVAL;
	}
	return make(b, parent, &k, ret);
}

int mem_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct making k = {.req = req, .name = name, .mode = S_IFDIR | (mode & 07777)};

	return make(b, parent, &k, ret);
}

int mem_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct making k = {.req = req, .name = name, .mode = S_IFLNK | 0777, .target = target};
	size_t n = strnlen(target, MEM_TARGET_MAX + 1);

	if (n == 0 || n > MEM_TARGET_MAX)
		return n ? -ENAMETOOLONG : -ENOENT;
	return make(b, parent, &k, ret);
}

int mem_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct making k = {.req = req, .name = name, .mode = S_IFREG | (mode & 07777)};

	*ret_fh = 0;
	return make(b, parent, &k, ret);
}

int mem_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct making k = {.req = req, .mode = S_IFREG | (mode & 07777)};
	int r = make(b, parent, &k, ret);

	if (r == 0 && flags & O_EXCL) {
		struct mem_inode *i = mem_find(mem_of(b), ret->node);
		MEM_EXCLUSIVE(&i->lock);

		i->flags &= ~(uint32_t)MEM_LINKABLE;
	}
	*ret_fh = 0;
	return r;
}

/* All but the reply. The tree is locked. */
static int link_locked(struct mem *m, struct mem_inode *i, struct mem_inode *dir, const char *name)
{
	struct mem_time now = mem_now();
	int r;

	MEM_EXCLUSIVE(&dir->dir.lock);
	if (mem_dent_find(m, dir, name, strlen(name)))
		return -EEXIST;
	if (dir->nlink == 0)
		return -ENOENT;
	{
		MEM_EXCLUSIVE(&i->lock);
		if (i->nlink == 0 && !(i->flags & MEM_LINKABLE))
			return -ENOENT;
		if (i->nlink >= MEM_MAX_LINKS)
			return -EMLINK;
		r = mem_dir_add(m, dir, name, strlen(name), 0, i);
		if (r < 0)
			return r;
		i->nlink++;
		i->flags &= ~(uint32_t)MEM_LINKABLE;
		i->ctime = now;
	}
	mem_named(i);
	mem_touch_dir(dir, 0, now);
	return 0;
}

int mem_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i = mem_find(m, node), *dir;
	int r = mem_check_name(newname);

	if (r == 0)
		r = i ? mem_get_dir(m, newparent, &dir) : -ESTALE;
	if (r)
		return r;
	if (S_ISDIR(i->type))
		return -EPERM;
	MEM_SHARED(&m->tree);
	r = link_locked(m, i, dir, newname);
	if (r < 0)
		return r;
	mem_ref(i); /* the caller has one already, so it cannot go in between */
	mem_entry(i, ret);
	return 0;
}

/* ---- removing */

/* Entry @d of @dir goes: whether what it stands for has no name any more. */
static bool remove_entry(struct mem *m, struct mem_inode *dir, struct mem_dent *d)
{
	struct mem_time now = mem_now();
	struct mem_inode *i = d->inode;
	bool is_dir = S_ISDIR(i->type);

	mem_dir_remove(m, dir, d);
	mem_touch_dir(dir, -(int)is_dir, now);
	MEM_EXCLUSIVE(&i->lock);
	i->ctime = now;
	i->nlink = is_dir ? 0 : i->nlink - 1;
	return i->nlink == 0;
}

int mem_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct mem *m = mem_of(b);
	struct mem_inode *dir, *i;
	struct mem_dent *d;
	bool last;
	int r = mem_check_name(name);

	if (r == 0)
		r = mem_get_dir(m, parent, &dir);
	if (r)
		return r;
	{
		MEM_SHARED(&m->tree);
		MEM_EXCLUSIVE(&dir->dir.lock);
		d = mem_dent_find(m, dir, name, strlen(name));
		if (!d || S_ISDIR(d->inode->type))
			return d ? -EISDIR : -ENOENT;
		i = d->inode;
		last = remove_entry(m, dir, d);
	}
	if (last)
		mem_nameless(m, i); /* freeing a large file takes a while: no lock is held */
	return 0;
}

int mem_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct mem *m = mem_of(b);
	struct mem_inode *dir, *i;
	struct mem_dent *d;
	int r = mem_check_name(name);

	if (r == 0)
		r = mem_get_dir(m, parent, &dir);
	if (r)
		return r;
	{
		MEM_EXCLUSIVE(&m->tree);
		d = mem_dent_find(m, dir, name, strlen(name));
		if (!d || !S_ISDIR(d->inode->type))
			return d ? -ENOTDIR : -ENOENT;
		i = d->inode;
		if (i->dir.dents)
			return -ENOTEMPTY;
		i->dir.parent = NULL;
		(void)remove_entry(m, dir, d);
	}
	mem_nameless(m, i);
	return 0;
}
