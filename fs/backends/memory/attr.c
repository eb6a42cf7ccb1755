// SPDX-License-Identifier: Apache-2.0
// The memory backend's attribute ops: getattr, setattr, readlink, birth time.
#include "fs/backends/memory/mem.h"

#include <sys/stat.h>

int mem_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct mem_inode *i = mem_find(mem_of(b), node);

	if (!i)
		return -ESTALE;
	MEM_SHARED(&i->lock);
	mem_attr(i, ret);
	return 0;
}

static struct mem_time time_of(uint64_t sec, uint32_t nsec, bool now)
{
	return now ? mem_now() : (struct mem_time){(int64_t)sec, nsec % 1000000000u};
}

int mem_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i = mem_find(m, node);

	if (!i)
		return -ESTALE;
	if (s->valid & FATTR_SIZE && !S_ISREG(i->type))
		return S_ISDIR(i->type) ? -EISDIR : -EINVAL;
	if (s->valid & FATTR_SIZE && s->size > INT64_MAX)
		return -EFBIG;
	MEM_EXCLUSIVE(&i->lock);
	if (s->valid & FATTR_SIZE)
		mem_resize(m, i, s->size);
	if (s->valid & FATTR_MODE)
		i->mode = i->type | (s->mode & 07777);
	if (s->valid & FATTR_UID)
		i->uid = s->uid;
	if (s->valid & FATTR_GID)
		i->gid = s->gid;
	if (s->valid & (FATTR_UID | FATTR_GID | FATTR_SIZE) || s->kill_suidgid)
		mem_kill_privs(
			m, i, s->kill_suidgid ? req : NULL, s->valid & (FATTR_UID | FATTR_GID));
	i->ctime = time_of(s->ctime, s->ctimensec, !(s->valid & FATTR_CTIME));
	if (s->valid & FATTR_SIZE)
		i->mtime = i->ctime;
	if (s->valid & FATTR_ATIME)
		i->atime = time_of(s->atime, s->atimensec, s->valid & FATTR_ATIME_NOW);
	if (s->valid & FATTR_MTIME)
		i->mtime = time_of(s->mtime, s->mtimensec, s->valid & FATTR_MTIME_NOW);
	mem_attr(i, ret);
	return 0;
}

int mem_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct mem_inode *i = mem_find(mem_of(b), node);
	size_t n;

	if (!i)
		return -ESTALE;
	if (!S_ISLNK(i->type))
		return -EINVAL;
	n = i->size < cap ? i->size : cap; /* a link never changes */
	memcpy(buf, i->target, n);
	mem_accessed(mem_of(b), i);
	return (int)n;
}

static int get_flagged(struct fsb *b, uint64_t node, struct mem_inode **ret)
{
	struct mem_inode *i = mem_find(mem_of(b), node);

	*ret = i;
	return !i ? -ESTALE : S_ISREG(i->type) || S_ISDIR(i->type) ? 0 : -ENOTTY;
}

int mem_getflags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	struct mem_inode *i;
	int r = get_flagged(b, node, &i);

	if (r < 0)
		return r;
	MEM_SHARED(&i->lock);
	*ret = i->flags >> MEM_FL_SHIFT & FSB_FL_ALL;
	return 0;
}

int mem_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags)
{
	struct mem_inode *i;
	int r = get_flagged(b, node, &i);

	if (r < 0)
		return r;
	if (flags & FSB_FL_GUARDS)
		atomic_store(&fsb_guards, true);
	MEM_EXCLUSIVE(&i->lock);
	i->flags = (i->flags & ~MEM_FL_MASK) | flags << MEM_FL_SHIFT;
	i->ctime = mem_now();
	return 0;
}

int mem_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct mem_inode *i = mem_find(mem_of(b), node);

	if (!i)
		return -ESTALE;
	MEM_SHARED(&i->lock);
	*ret = (struct timespec){i->btime.sec, i->btime.nsec};
	return 0;
}
