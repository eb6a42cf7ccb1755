// SPDX-License-Identifier: Apache-2.0
// The overlay's rename, which moves directories of the image as it moves its own.
#include "fs/backends/overlay/ovl.h"

#include <linux/fs.h>
#include <sys/stat.h>

struct move {
	struct ovl_inode *from, *to; /* directories */
	struct ovl_inode *i, *over;  /* what moves; what stood there, or NULL */
	const char *name, *newname;
	uint32_t flags;
};

/* Whether @dir is @top or lies below it. */
static int below(const struct ovl *o, uint64_t dir, uint64_t top)
{
	for (unsigned int depth = 0; dir != top; depth++) {
		if (dir == OVL_ROOT || dir == 0)
			return 0;
		if (depth == OVL_MAX_DEPTH)
			return -ELOOP;
		dir = ovl_parent(o, dir);
	}
	return 1;
}

static int check_loop(const struct ovl *o, const struct ovl_inode *what, const struct ovl_inode *to)
{
	int r = S_ISDIR(what->a.mode) ? below(o, to->ino, what->ino) : 0;

	return r > 0 ? -EINVAL : r;
}

static int find(struct ovl *o, uint64_t parent, uint64_t newparent, struct move *m)
{
	int r = ovl_dir_find(o, parent, m->name, &m->from, &m->i);

	if (r < 0)
		return r;
	r = ovl_dir_find(o, newparent, m->newname, &m->to, &m->over);
	if (r == -ENOENT) {
		m->over = NULL;
		if (m->to->a.nlink == 0 || m->flags & RENAME_EXCHANGE)
			return -ENOENT;
		r = 0;
	}
	return r < 0 ? r : check_loop(o, m->i, m->to);
}

static int check_over(struct ovl *o, const struct move *m)
{
	if (m->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (m->flags & RENAME_EXCHANGE)
		return check_loop(o, m->over, m->from);
	if (S_ISDIR(m->i->a.mode) != S_ISDIR(m->over->a.mode))
		return S_ISDIR(m->i->a.mode) ? -ENOTDIR : -EISDIR;
	if (m->over->ino == OVL_ROOT)
		return -EBUSY;
	return S_ISDIR(m->over->a.mode) ? ovl_dir_empty(o, m->over) : 0;
}

/* The device that an overlay file system of the guest leaves where a name was: RENAME_WHITEOUT. */
static uint64_t put_whiteout(struct ovl *o, struct ovl_txn *t, const struct fsb_req *req,
	const struct ovl_inode *dir, struct ovl_time now)
{
	const struct ovl_attr a = {.mode = S_IFCHR,
		.uid = req->uid,
		.gid = dir->a.mode & S_ISGID ? dir->a.gid : req->gid,
		.nlink = 1,
		.atime = now,
		.mtime = now,
		.ctime = now};

	ovl_txn_inode(t, o->next_ino, 0, 0, &a);
	return o->next_ino;
}

static int commit_move(struct ovl *o, const struct fsb_req *req, const struct move *m)
{
	bool swap = m->flags & RENAME_EXCHANGE, same = m->from == m->to;
	int left = S_ISDIR(m->i->a.mode), came = left;
	struct ovl_time now = ovl_now();
	uint64_t stays = m->over && swap ? m->over->ino : 0; /* under the old name */
	OVL_TXN(t);

	if (m->over && S_ISDIR(m->over->a.mode)) {
		came--;
		left -= swap;
	}
	if (m->flags & RENAME_WHITEOUT)
		stays = put_whiteout(o, &t, req, m->from, now);
	/* Both are named in the log before a name is given to them. */
	ovl_txn_file(&t, m->i, m->i->a.nlink, now);
	if (m->over && swap)
		ovl_txn_file(&t, m->over, m->over->a.nlink, now);
	else if (m->over)
		ovl_txn_drop_link(&t, m->over, now);
	ovl_txn_dent(&t, m->to->ino, m->newname, strlen(m->newname), m->i->ino, 0);
	ovl_txn_dent(&t, m->from->ino, m->name, strlen(m->name), stays, 0);
	ovl_txn_touch(
		&t, m->to->ino, m->to->a.nlink + (uint32_t)(came - (same ? left : 0)), now, true);
	if (!same)
		ovl_txn_touch(&t, m->from->ino, m->from->a.nlink - (uint32_t)left, now, true);
	return ovl_commit(o, &t, m->over && !stays);
}

int ovl_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct move m = {.name = name, .newname = newname, .flags = flags};
	struct ovl *o = ovl_of(b);
	uint64_t gone = 0;
	int r;

	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
		(flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE))
		return -EINVAL;
	{
		OVL_WRITE(o);
		r = find(o, parent, newparent, &m);
		if (r < 0)
			return r;
		if (m.i == m.over && !(flags & RENAME_NOREPLACE))
			return 0; /* two names of one file: POSIX asks for nothing to happen */
		r = m.over ? check_over(o, &m) : 0;
		if (r < 0)
			return r;
		if (flags & RENAME_WHITEOUT && o->nodes >= o->max_nodes)
			return -ENOSPC;
		r = commit_move(o, req, &m);
		if (r < 0)
			return r;
		gone = m.over ? m.over->ino : 0;
	}
	if (gone)
		ovl_forget(b, gone, 0);
	return 0;
}
