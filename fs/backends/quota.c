// SPDX-License-Identifier: Apache-2.0
// The quota wrapper: ENOSPC before a mount's files take more than they may.
#include "fs/backends/quota_priv.h"
#include "base/cleanup.h"
#include "fs/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>

static struct quota *of(struct fsb_filter *f)
{
	return (struct quota *)(void *)f;
}

int64_t quota_usage(struct quota *q, uint64_t node)
{
	struct fsb *next = q->f.next;
	struct fuse_attr a;
	int r;

	if (next->ops->usage)
		return next->ops->usage(next, node);
	r = next->ops->getattr(next, node, 0, &a);
	return r < 0 ? r : (int64_t)a.blocks * 512;
}

static uint64_t up(uint64_t n)
{
	return roundup(n, (uint64_t)QUOTA_BLOCK);
}

/* The most that writing to a range can add: all its blocks. */
static uint64_t range(uint64_t off, uint64_t bytes)
{
	return bytes ? up(off + bytes) - off / QUOTA_BLOCK * QUOTA_BLOCK : 0;
}

/* The same, knowing the file: what is within a file without holes is there already. */
static int64_t range_of_file(struct quota *q, uint64_t node, uint64_t off, uint64_t bytes)
{
	struct fsb *next = q->f.next;
	int64_t there = quota_usage(q, node);
	struct fuse_attr a;
	int r = next->ops->getattr(next, node, 0, &a);
	uint64_t end = up(off + bytes);

	if (there < 0 || r < 0)
		return there < 0 ? there : r;
	if (up((uint64_t)there) < up(a.size))
		return (int64_t)range(off, bytes);
	return (int64_t)MIN(end > up(a.size) ? end - up(a.size) : 0, range(off, bytes));
}

/* The first change of a lower file's contents copies them up, or as much as is kept of them. */
static int64_t copied_up(struct quota *q, uint64_t node, uint64_t kept)
{
	struct fsb *next = q->f.next;
	struct fuse_attr a;
	int64_t there;
	int r;

	if (!next->ops->usage)
		return 0;
	there = next->ops->usage(next, node);
	if (there)
		return MIN(there, 0);
	r = next->ops->getattr(next, node, 0, &a);
	return r < 0 ? r : S_ISREG(a.mode) ? (int64_t)up(MIN(a.size, kept)) : 0;
}

static int before_data(struct quota *q, uint64_t node, uint64_t off, uint64_t bytes, uint64_t kept)
{
	int64_t more = copied_up(q, node, kept), least;
	int r;

	if (more < 0)
		return (int)more;
	r = quota_begin(q, node, range(off, bytes) + (uint64_t)more);
	if (r != -ENOSPC)
		return r;
	least = range_of_file(q, node, off, bytes);
	if (least < 0)
		return (int)least;
	return (uint64_t)least < range(off, bytes) ? quota_begin(q, node, (uint64_t)(least + more))
						   : -ENOSPC;
}

/* In this order: a walk that begins meanwhile sees one of the two. */
static void begin_move(struct quota *q)
{
	atomic_fetch_add(&q->moving, 1);
	atomic_fetch_add(&q->u->moved, 1);
}

static void end_move(struct quota *q)
{
	atomic_fetch_add(&q->u->moved, 1);
	atomic_fetch_sub(&q->moving, 1);
}

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	struct quota *q = of(f);

	switch (c->op) {
	case FSB_WRITE: return before_data(q, c->node, c->off, c->bytes, UINT64_MAX);
	case FSB_FALLOCATE:
		return before_data(q, c->node, c->off,
			c->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
					   FALLOC_FL_INSERT_RANGE)
				? 0
				: c->bytes,
			UINT64_MAX);
	case FSB_COPY_FILE_RANGE: return before_data(q, c->node2, c->off2, c->bytes, UINT64_MAX);
	case FSB_SETATTR:
		return c->flags & FATTR_SIZE ? before_data(q, c->node, 0, 0, c->bytes) : 0;
	case FSB_OPEN: return c->flags & O_TRUNC ? before_data(q, c->node, 0, 0, 0) : 0;
	case FSB_SETXATTR: return quota_begin(q, c->node, up(c->bytes));
	case FSB_MKDIR:
	case FSB_SYMLINK: return quota_begin(q, FSB_ROOT, QUOTA_BLOCK); /* counted once made */
	case FSB_LINK: begin_move(q); return 0;
	default: return 0;
	}
}

static void after(struct fsb_filter *f, const struct fsb_call *c, int64_t result,
	const struct fsb_entry *made)
{
	struct quota *q = of(f);
	int64_t n;

	switch (c->op) {
	case FSB_WRITE:
	case FSB_SETXATTR: quota_end(q, c->node); break;
	case FSB_COPY_FILE_RANGE: quota_end(q, c->node2); break;
	case FSB_OPEN:
		if (!(c->flags & O_TRUNC))
			break;
		quota_end(q, c->node);
		quota_settle(q, c->node);
		break;
	case FSB_SETATTR:
		if (!(c->flags & FATTR_SIZE))
			break;
		quota_end(q, c->node);
		quota_settle(q, c->node);
		break;
	case FSB_FALLOCATE:
		quota_end(q, c->node);
		quota_settle(q, c->node);
		break;
	case FSB_MKDIR:
	case FSB_SYMLINK:
		n = result == 0 ? quota_usage(q, made->node) : 0;
		if (n > 0)
			quota_add(q, n);
		break;
	case FSB_LINK:
		if (result == 0)
			quota_linked(q, c->node);
		end_move(q);
		break;
	default: break;
	}
}

static void entered(struct fsb_filter *f, uint64_t parent, const char *name, size_t name_bytes,
	const struct fsb_entry *made)
{
	quota_entered(of(f), made->node, 1, name == fsb_unnamed);
}

/* ---- what takes names away */

/* The file of a name, held, where the name is its last; 0 else. */
static uint64_t last_of(
	struct fsb *next, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct fsb_entry e = {0};

	if (next->ops->lookup(next, req, parent, name, &e) < 0 || !e.node)
		return 0;
	if (S_ISDIR(e.attr.mode) || e.attr.nlink < 2)
		return e.node;
	next->ops->forget(next, e.node, 1);
	return 0;
}

static int gone(struct quota *q, uint64_t node, int r)
{
	struct fsb *next = q->f.next;

	if (node && r == 0)
		quota_removed(q, node);
	if (node)
		next->ops->forget(next, node, 1);
	return r;
}

static int unlink_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct quota *q = of(fsb_filter_of(b));
	struct fsb *next = q->f.next;
	uint64_t node = last_of(next, req, parent, name);

	return gone(q, node, next->ops->unlink(next, req, parent, name));
}

static int rmdir_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct quota *q = of(fsb_filter_of(b));
	struct fsb *next = q->f.next;
	uint64_t node = last_of(next, req, parent, name);

	return gone(q, node, next->ops->rmdir(next, req, parent, name));
}

static int rename_op(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct quota *q = of(fsb_filter_of(b));
	struct fsb *next = q->f.next;
	bool replaces = !(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)) &&
			(parent != newparent || strcmp(name, newname) != 0);
	uint64_t node = replaces ? last_of(next, req, newparent, newname) : 0;
	int r;

	begin_move(q);
	r = next->ops->rename(next, req, parent, name, newparent, newname, flags);
	end_move(q);
	return gone(q, node, r);
}

static void forget_op(struct fsb *b, uint64_t node, uint64_t count)
{
	quota_forget(of(fsb_filter_of(b)), node, count);
}

static int load_op(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct quota *q = of(fsb_filter_of(b));
	struct fsb *next = q->f.next;
	int r = next->ops->load(next, node, lookups, buf, n);

	if (r == 0 || r == -ESTALE) /* else nobody will forget it */
		quota_loaded(q, node, lookups);
	return r;
}

/* Files that are in no directory of the host: what the backend says that they take. */
void quota_recount(struct quota *q)
{
	struct fsb *next = q->f.next;
	struct statvfs v;

	if (!atomic_load(&q->recount) || !atomic_exchange(&q->recount, false))
		return;
	if (next->ops->statfs && next->ops->statfs(next, FSB_ROOT, &v) == 0)
		atomic_store(&q->u->used, (int64_t)((v.f_blocks - v.f_bfree) * v.f_frsize));
}

static int load_all_op(struct fsb *b, int fd)
{
	struct quota *q = of(fsb_filter_of(b));
	struct fsb *next = q->f.next;

	/* Asked later: no other operation runs before every node is loaded. */
	atomic_store(&q->recount, true);
	return next->ops->load_all(next, fd);
}

/* The smaller of what is left here and what is left on the disk. */
static void statfs_hook(struct fsb_filter *f, uint64_t node, struct statvfs *v)
{
	struct quota *q = of(f);
	uint64_t unit = v->f_frsize ?: v->f_bsize ?: QUOTA_BLOCK, left, used;
	int64_t now;

	quota_settle_all(q);
	quota_walk_ask(q, q->shared ? QUOTA_WALK_MS : QUOTA_STALE_MS);
	now = atomic_load(&q->u->used);
	used = now > 0 ? (uint64_t)now : 0;
	left = used < quota_limit(q) ? quota_limit(q) - used : 0;
	left = MIN(left / unit, (uint64_t)v->f_bavail);
	v->f_blocks = howmany(used, unit) + left;
	v->f_bfree = v->f_bavail = left;
}

static void stop(struct fsb_filter *f)
{
	struct quota *q = of(f);

	fsb_node_map_done(&q->nodes, NULL);
	pthread_mutex_destroy(&q->dirty_lock);
	if (q->shared) {
		guard_del(q->u);
		(void)munmap(q->u, sizeof(*q->u));
	}
	free(q);
}

/* The walker asks the next backend: it ends first. */
static void stop_op(struct fsb *b)
{
	struct quota *q = of(fsb_filter_of(b));

	quota_walk_stop(q);
	q->stop_next(b);
}

static const struct fsb_filter_ops ops = {.name = "quota",
	.summary = "limits what files take",
	.before = before,
	.after = after,
	.entered = entered,
	.statfs = statfs_hook,
	.stop = stop};

/* Another server of the directory may have been taken over: it can write what it likes there, and
 * cut it short, which guard.c takes. */
static int share(struct quota *q, int fd, struct msb_err *e)
{
	struct stat st;
	void *p = MAP_FAILED;

	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= sizeof(*q->u))
		p = mmap(NULL, sizeof(*q->u), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	else
		errno = EBADMSG;
	if (p == MAP_FAILED)
		return msb_err_set(e, errno, "quota: cannot share the count: %m");
	q->u = p;
	q->shared = true;
	guard_add(p, sizeof(*q->u));
	return 0;
}

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;
	_cleanup_close_ int fd = -1;
	struct quota *q;
	int r = 0;

	if (!o || (!o->quota_bytes && from->usage_fd < 0) || !(next->ops->caps & FSB_CAP_WRITE)) {
		*ret = next;
		return 0;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for a quota");
	}
	if (from->count_fd >= 0) {
		fd = openat(from->count_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			r = msb_err_set(e, errno, "quota: cannot count what is there: %m");
	}
	q->u = &q->own;
	q->own.limit_bytes = o->quota_bytes;
	fsb_node_map_init(&q->nodes, FSD_MAX_NODES, sizeof(struct qnode));
	pthread_mutex_init(&q->dirty_lock, NULL);
	fsb_filter_init(&q->f, &ops, next, next->ops->caps & FSB_CAP_EXPORT, 0);
	q->stop_next = q->f.own.stop;
	q->f.own.stop = stop_op;
	q->f.own.forget = forget_op;
	if (q->f.own.unlink)
		q->f.own.unlink = unlink_op;
	if (q->f.own.rmdir)
		q->f.own.rmdir = rmdir_op;
	if (q->f.own.rename)
		q->f.own.rename = rename_op;
	if (q->f.own.load)
		q->f.own.load = load_op;
	if (q->f.own.load_all) {
		q->f.own.load_all = load_all_op;
		q->recount = true;
	}
	if (r == 0 && from->usage_fd >= 0)
		r = share(q, from->usage_fd, e);
	if (r == 0)
		r = quota_walk_start(q, steal_fd(&fd), e);
	if (r < 0) {
		q->stop_next(&q->f.b);
		return r;
	}
	*ret = &q->f.b;
	return 0;
}

const struct fsb_kind fsb_quota_kind = {
	.name = "quota", .summary = "limits what files take (option quota_bytes)", .wrap = wrap};
