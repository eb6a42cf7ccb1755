// SPDX-License-Identifier: Apache-2.0
// The memory backend's rename. It holds the tree alone: entries need no lock, attributes do.
#include "fs/backends/memory/mem.h"

#include <linux/fs.h>
#include <sys/stat.h>

struct move {
	struct mem_inode *from, *to; /* directories */
	struct mem_dent *d, *over;   /* what moves; what stands there, or NULL */
	const char *name, *newname;
	uint32_t flags;
};

/* Whether @what, a directory, would come to lie in itself. */
static int check_loop(const struct mem_inode *what, const struct mem_inode *to)
{
	unsigned int depth = 0;

	if (!S_ISDIR(what->type))
		return 0;
	for (const struct mem_inode *d = to; d; d = d->dir.parent) {
		if (d == what)
			return -EINVAL;
		if (d->dir.parent == d)
			return 0; /* the root */
		if (++depth > MEM_MAX_DEPTH)
			return -ELOOP;
	}
	return 0;
}

static int check_over(const struct move *v)
{
	const struct mem_inode *i = v->d->inode, *over = v->over->inode;

	if (v->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (v->flags & RENAME_EXCHANGE)
		return check_loop(over, v->from);
	if (S_ISDIR(i->type) != S_ISDIR(over->type))
		return S_ISDIR(i->type) ? -ENOTDIR : -EISDIR;
	return S_ISDIR(over->type) && over->dir.dents ? -ENOTEMPTY : 0;
}

static int find(struct mem *m, uint64_t parent, uint64_t newparent, struct move *v)
{
	int r = mem_check_name(v->name);

	if (r == 0)
		r = mem_check_name(v->newname);
	if (r == 0)
		r = mem_get_dir(m, parent, &v->from);
	if (r == 0)
		r = mem_get_dir(m, newparent, &v->to);
	if (r)
		return r;
	v->d = mem_dent_find(m, v->from, v->name, strlen(v->name));
	v->over = mem_dent_find(m, v->to, v->newname, strlen(v->newname));
	if (!v->d || v->to->nlink == 0 || (!v->over && v->flags & RENAME_EXCHANGE))
		return -ENOENT;
	return check_loop(v->d->inode, v->to);
}

/* The device that an overlay file system of the guest leaves where a name was. */
static int make_whiteout(
	struct mem *m, const struct fsb_req *req, struct mem_inode *dir, struct mem_inode **ret)
{
	struct mem_inode *i;
	int r = mem_inode_new(m, 0, S_IFCHR, &i);

	if (r < 0)
		return r;
	i->uid = req->uid;
	{
		MEM_SHARED(&dir->lock);
		i->gid = dir->mode & S_ISGID ? dir->gid : req->gid;
	}
	i->nlink = 1;
	i->atime = i->mtime = i->ctime = i->btime = mem_now();
	mem_named(i);
	*ret = i;
	return 0;
}

static void touch(struct mem_inode *i, bool named, struct mem_time now)
{
	MEM_EXCLUSIVE(&i->lock);
	i->ctime = now;
	if (!named) {
		i->nlink = S_ISDIR(i->type) ? 0 : i->nlink - 1;
		if (S_ISDIR(i->type))
			i->dir.parent = NULL;
	}
}

static int is_dir(const struct mem_inode *i)
{
	return i && S_ISDIR(i->type);
}

/* Nothing can fail any more, but the first step. @ret_gone: lost its last name. */
static int move(
	struct mem *m, const struct move *v, struct mem_inode *stays, struct mem_inode **ret_gone)
{
	struct mem_inode *i = v->d->inode, *over = v->over ? v->over->inode : NULL;
	bool swap = v->flags & RENAME_EXCHANGE;
	struct mem_time now = mem_now();
	int left, came;

	if (v->over) {
		v->over->inode = i; /* the name stays where it is in a listing */
	} else {
		int r = mem_dir_add(m, v->to, v->newname, strlen(v->newname), 0, i);

		if (r < 0)
			return r;
	}
	if (swap)
		v->d->inode = over;
	else if (stays)
		v->d->inode = stays;
	else
		mem_dir_remove(m, v->from, v->d);
	if (is_dir(i))
		i->dir.parent = v->to;
	if (swap && is_dir(over))
		over->dir.parent = v->from;
	touch(i, true, now);
	if (over)
		touch(over, swap, now);
	came = is_dir(i) - is_dir(over);
	left = -is_dir(i) + (swap ? is_dir(over) : 0);
	mem_touch_dir(v->to, came + (v->from == v->to ? left : 0), now);
	if (v->from != v->to)
		mem_touch_dir(v->from, left, now);
	if (over && over->nlink == 0)
		*ret_gone = over;
	return 0;
}

int mem_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct move v = {.name = name, .newname = newname, .flags = flags};
	struct mem_inode *gone = NULL, *stays = NULL;
	struct mem *m = mem_of(b);
	int r;

	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
		(flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE))
		return -EINVAL;
	{
		MEM_EXCLUSIVE(&m->tree);
		r = find(m, parent, newparent, &v);
		if (r)
			return r;
		if (v.over && v.over->inode == v.d->inode && !(flags & RENAME_NOREPLACE))
			return 0; /* two names of one file: POSIX asks for nothing to happen */
		r = v.over ? check_over(&v) : 0;
		if (r == 0 && flags & RENAME_WHITEOUT)
			r = make_whiteout(m, req, v.from, &stays);
		if (r == 0)
			r = move(m, &v, stays, &gone);
		if (r < 0 && stays)
			gone = stays;
	}
	if (gone)
		mem_nameless(m, gone);
	return r;
}
