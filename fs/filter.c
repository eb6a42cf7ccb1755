// SPDX-License-Identifier: Apache-2.0
// Wrappers: the operations that call hooks before and after another backend's.
#include "fs/filter.h"
#include "fs/fsd.h"
#include "fs/fuse_iov.h"
#include "fs/names.h"

#include <errno.h>
#include <string.h>

_Thread_local const struct fsb_req *fsb_asking;
_Atomic bool fsb_guards;
const char fsb_unnamed[] = "(unnamed)";

/* Runs @expr on the next backend, between the hooks. @call is a struct fsb_call. */
#define AROUND(b, call, made, expr)                                                                \
	({                                                                                         \
		struct fsb_filter *f = fsb_filter_of(b);                                           \
		struct fsb *next = f->next;                                                        \
		int64_t r_ = f->f->before ? f->f->before(f, &(call)) : 0;                          \
                                                                                                   \
		if (r_ == 0) {                                                                     \
			r_ = (expr);                                                               \
			done(f, &(call), r_, made);                                                \
		}                                                                                  \
		r_;                                                                                \
	})

static void done(
	struct fsb_filter *f, const struct fsb_call *c, int64_t r, const struct fsb_entry *made)
{
	/* A link's entry has the new name, in the new directory. */
	uint64_t parent = c->op == FSB_LINK ? c->node2 : c->node;
	const char *name = c->op == FSB_LINK	  ? c->name2
			   : c->op == FSB_TMPFILE ? fsb_unnamed
						  : c->name;

	if (f->f->after)
		f->f->after(f, c, r, made);
	if (f->f->entered && r == 0 && made && made->node)
		f->f->entered(f, parent, name, strlen(name), made);
	if (r < 0 || !f->keeps_names)
		return;
	if (c->op == FSB_RENAME)
		fsb_names_renamed(f->names, f->next, c);
	else if (made && made->node)
		fsb_names_enter(f->names, parent, name, strlen(name), made->node);
}

static int f_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	const struct fsb_call c = {.op = FSB_LOOKUP, .req = req, .node = parent, .name = name};

	return (int)AROUND(b, c, ret, next->ops->lookup(next, req, parent, name, ret));
}

static void f_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	struct fsb_filter *f = fsb_filter_of(b);

	if (f->f->forgot)
		f->f->forgot(f, node, count);
	if (f->keeps_names)
		fsb_names_forget(f->names, node, count);
	f->next->ops->forget(f->next, node, count);
}

static int f_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	const struct fsb_call c = {.op = FSB_GETATTR, .req = fsb_asking, .node = node, .fh = fh};

	return (int)AROUND(b, c, NULL, next->ops->getattr(next, node, fh, ret));
}

static int f_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	const struct fsb_call c = {.op = FSB_SETATTR,
		.req = req,
		.node = node,
		.fh = fh,
		.bytes = s->size,
		.flags = s->valid,
		.mode = s->mode};

	return (int)AROUND(b, c, NULL, next->ops->setattr(next, req, node, fh, s, ret));
}

static int f_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags)
{
	const struct fsb_call c = {
		.op = FSB_SETATTR, .req = req, .node = node, .flags = FSB_SETATTR_FLAGS};

	return (int)AROUND(b, c, NULL, next->ops->setflags(next, req, node, flags));
}

static int f_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	const struct fsb_call c = {.op = FSB_READLINK, .req = fsb_asking, .node = node};

	return (int)AROUND(b, c, NULL, next->ops->readlink(next, node, buf, cap));
}

static int f_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	const struct fsb_call c = {
		.op = FSB_MKNOD, .req = req, .node = parent, .name = name, .mode = mode};

	return (int)AROUND(b, c, ret, next->ops->mknod(next, req, parent, name, mode, rdev, ret));
}

static int f_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	const struct fsb_call c = {
		.op = FSB_MKDIR, .req = req, .node = parent, .name = name, .mode = mode};

	return (int)AROUND(b, c, ret, next->ops->mkdir(next, req, parent, name, mode, ret));
}

static int f_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	const struct fsb_call c = {
		.op = FSB_SYMLINK, .req = req, .node = parent, .name = name, .name2 = target};

	return (int)AROUND(b, c, ret, next->ops->symlink(next, req, parent, name, target, ret));
}

static int f_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	const struct fsb_call c = {.op = FSB_UNLINK, .req = req, .node = parent, .name = name};

	return (int)AROUND(b, c, NULL, next->ops->unlink(next, req, parent, name));
}

static int f_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	const struct fsb_call c = {.op = FSB_RMDIR, .req = req, .node = parent, .name = name};

	return (int)AROUND(b, c, NULL, next->ops->rmdir(next, req, parent, name));
}

static int f_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	const struct fsb_call c = {.op = FSB_RENAME,
		.req = req,
		.node = parent,
		.name = name,
		.node2 = newparent,
		.name2 = newname,
		.flags = flags};

	return (int)AROUND(
		b, c, NULL, next->ops->rename(next, req, parent, name, newparent, newname, flags));
}

static int f_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	const struct fsb_call c = {
		.op = FSB_LINK, .req = req, .node = node, .node2 = newparent, .name2 = newname};

	return (int)AROUND(b, c, ret, next->ops->link(next, req, node, newparent, newname, ret));
}

/* Where the next backend has none, there is only somebody who wants to see it. */
static int f_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	const struct fsb_call c = {.op = FSB_OPEN, .req = req, .node = node, .flags = flags};

	*ret_fh = 0;
	return (int)AROUND(
		b, c, NULL, next->ops->open ? next->ops->open(next, req, node, flags, ret_fh) : 0);
}

static int f_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	const struct fsb_call c = {.op = FSB_CREATE,
		.req = req,
		.node = parent,
		.name = name,
		.mode = mode,
		.flags = flags};

	return (int)AROUND(
		b, c, ret, next->ops->create(next, req, parent, name, mode, flags, ret, ret_fh));
}

static int f_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	const struct fsb_call c = {
		.op = FSB_TMPFILE, .req = req, .node = parent, .mode = mode, .flags = flags};

	return (int)AROUND(
		b, c, ret, next->ops->tmpfile(next, req, parent, mode, flags, ret, ret_fh));
}

/* Nothing can stop it: the handle is gone for the caller. */
static void release(struct fsb *b, uint64_t node, uint64_t fh, bool dir)
{
	const struct fsb_call c = {.op = FSB_RELEASE, .req = fsb_asking, .node = node, .fh = fh};
	struct fsb_filter *f = fsb_filter_of(b);
	const struct fsb_ops *ops = f->next->ops;

	if (f->f->before)
		(void)f->f->before(f, &c);
	(dir ? ops->releasedir : ops->release)(f->next, node, fh);
	done(f, &c, 0, NULL);
}

static void f_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	release(b, node, fh, false);
}

static void f_releasedir(struct fsb *b, uint64_t node, uint64_t fh)
{
	release(b, node, fh, true);
}

static int64_t f_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov,
	int iovcnt, uint64_t off)
{
	const struct fsb_call c = {.op = FSB_READ,
		.req = fsb_asking,
		.node = node,
		.fh = fh,
		.off = off,
		.bytes = iov_bytes(iov, (unsigned int)iovcnt),
		.iov = iov,
		.iovcnt = iovcnt};

	return AROUND(b, c, NULL, next->ops->readv(next, node, fh, iov, iovcnt, off));
}

static int64_t f_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int iovcnt, uint64_t off, uint32_t write_flags)
{
	const struct fsb_call c = {.op = FSB_WRITE,
		.req = req,
		.node = node,
		.fh = fh,
		.off = off,
		.bytes = iov_bytes(iov, (unsigned int)iovcnt),
		.flags = write_flags,
		.iov = iov,
		.iovcnt = iovcnt};

	return AROUND(
		b, c, NULL, next->ops->writev(next, req, node, fh, iov, iovcnt, off, write_flags));
}

static int f_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	const struct fsb_call c = {.op = FSB_FSYNC,
		.req = fsb_asking,
		.node = node,
		.fh = fh,
		.flags = datasync ? FUSE_FSYNC_FDATASYNC : 0};

	return (int)AROUND(b, c, NULL, next->ops->fsync(next, node, fh, datasync));
}

static int f_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	const struct fsb_call c = {.op = FSB_OPENDIR, .req = fsb_asking, .node = node};

	*ret_fh = 0;
	return (int)AROUND(
		b, c, NULL, next->ops->opendir ? next->ops->opendir(next, node, ret_fh) : 0);
}

/* ---- readdir: what is hidden, and who has references */

#define HIDDEN 64 /* references of hidden entries that wait for the next backend's locks to go */

struct fill {
	struct fsb_filter *f;
	uint64_t dir;
	fsb_dirent_fn fn;
	void *arg;
	uint64_t resume; /* behind the last entry that was taken or hidden */
	unsigned int nhidden;
	bool again; /* stopped only because @hidden was full */
	uint64_t hidden[HIDDEN];
};

static bool dots(const char *name, size_t n)
{
	return name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.'));
}

static int fill_one(void *arg, const char *name, size_t name_bytes, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	struct fill *l = arg;
	const struct fsb_filter_ops *ops = l->f->f;
	uint64_t node = entry ? entry->node : 0;
	int r;

	if (ops->shows && !dots(name, name_bytes) && !ops->shows(l->f, l->dir, name, name_bytes)) {
		if (node && l->nhidden == HIDDEN) {
			l->again = true;
			return 1;
		}
		if (node)
			l->hidden[l->nhidden++] = node;
		l->resume = next_off;
		return 0;
	}
	r = l->fn(l->arg, name, name_bytes, ino, type, next_off, entry);
	if (r == 0 && node && l->f->keeps_names)
		fsb_names_enter(l->f->names, l->dir, name, name_bytes, node);
	if (r == 0 && node && ops->entered)
		ops->entered(l->f, l->dir, name, name_bytes, entry);
	if (r == 0)
		l->resume = next_off;
	return r;
}

static int list(struct fsb_filter *f, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	struct fill l = {.f = f, .dir = node, .fn = fn, .arg = arg, .resume = off};
	int r;

	do {
		l.again = false;
		l.nhidden = 0;
		r = f->next->ops->readdir(f->next, req, node, fh, l.resume, plus, fill_one, &l);
		/* The backend may call us under its locks: only now can it be told. */
		while (l.nhidden)
			f->next->ops->forget(f->next, l.hidden[--l.nhidden], 1);
	} while (r == 0 && l.again);
	return r;
}

static int f_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	const struct fsb_call c = {
		.op = FSB_READDIR, .req = req, .node = node, .fh = fh, .off = off};

	return (int)AROUND(b, c, NULL,
		f->f->shows || (plus && (f->f->entered || f->keeps_names))
			? list(f, req, node, fh, off, plus, fn, arg)
			: next->ops->readdir(next, req, node, fh, off, plus, fn, arg));
}

static int f_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	const struct fsb_call c = {.op = FSB_STATFS, .req = fsb_asking, .node = node};
	struct fsb_filter *filter = fsb_filter_of(b);
	int r = (int)AROUND(b, c, NULL, next->ops->statfs(next, node, ret));

	if (r == 0 && filter->f->statfs)
		filter->f->statfs(filter, node, ret);
	return r;
}

static int f_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	const struct fsb_call c = {.op = FSB_SETXATTR,
		.req = req,
		.node = node,
		.name2 = name,
		.bytes = n,
		.flags = flags};

	return (int)AROUND(b, c, NULL, next->ops->setxattr(next, req, node, name, value, n, flags));
}

static int64_t f_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	const struct fsb_call c = {
		.op = FSB_GETXATTR, .req = fsb_asking, .node = node, .name2 = name, .bytes = cap};

	return AROUND(b, c, NULL, next->ops->getxattr(next, node, name, buf, cap));
}

static int64_t f_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	const struct fsb_call c = {
		.op = FSB_LISTXATTR, .req = fsb_asking, .node = node, .bytes = cap};

	return AROUND(b, c, NULL, next->ops->listxattr(next, node, buf, cap));
}

static int f_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	const struct fsb_call c = {.op = FSB_REMOVEXATTR, .req = req, .node = node, .name2 = name};

	return (int)AROUND(b, c, NULL, next->ops->removexattr(next, req, node, name));
}

static int f_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	const struct fsb_call c = {.op = FSB_FALLOCATE,
		.req = req,
		.node = node,
		.fh = fh,
		.flags = mode,
		.off = off,
		.bytes = len};

	return (int)AROUND(b, c, NULL, next->ops->fallocate(next, req, node, fh, mode, off, len));
}

static int64_t f_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	const struct fsb_call c = {.op = FSB_LSEEK,
		.req = fsb_asking,
		.node = node,
		.fh = fh,
		.off = off,
		.flags = whence};

	return AROUND(b, c, NULL, next->ops->lseek(next, node, fh, off, whence));
}

static int64_t f_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	const struct fsb_call c = {.op = FSB_COPY_FILE_RANGE,
		.req = req,
		.node = node_in,
		.fh = fh_in,
		.off = off_in,
		.node2 = node_out,
		.fh2 = fh_out,
		.off2 = off_out,
		.bytes = len};

	return AROUND(b, c, NULL,
		next->ops->copy_file_range(
			next, req, node_in, fh_in, off_in, node_out, fh_out, off_out, len));
}

static int f_syncfs(struct fsb *b, uint64_t node)
{
	const struct fsb_call c = {.op = FSB_SYNCFS, .req = fsb_asking, .node = node};

	return (int)AROUND(b, c, NULL, next->ops->syncfs(next, node));
}

/* ---- what is nobody's request */

static int f_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->btime(next, node, ret);
}

static int f_getflags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->getflags(next, node, ret);
}

static const struct fsb_cache *f_cache(struct fsb *b, uint64_t node)
{
	struct fsb_filter *f = fsb_filter_of(b);
	const struct fsb_cache *c = f->f->cache ? f->f->cache(f, node) : NULL;

	return !c && f->next->ops->cache ? f->next->ops->cache(f->next, node) : c;
}

static int64_t f_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	struct fsb_filter *f = fsb_filter_of(b);

	return f->keeps_names ? fsb_names_save_op(f->names, f->next, node, buf, cap)
			      : f->next->ops->save(f->next, node, buf, cap);
}

static int f_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct fsb_filter *f = fsb_filter_of(b);

	return f->keeps_names ? fsb_names_load_op(f->names, f->next, node, lookups, buf, n)
			      : f->next->ops->load(f->next, node, lookups, buf, n);
}

static int f_reopen(struct fsb *b, uint64_t node, uint64_t fh, bool dir, uint32_t flags)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->reopen(next, node, fh, dir, flags);
}

static int64_t f_usage(struct fsb *b, uint64_t node)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->usage(next, node);
}

static int f_save_all(struct fsb *b, int fd)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->save_all(next, fd);
}

static int f_load_all(struct fsb *b, int fd)
{
	struct fsb *next = fsb_filter_of(b)->next;

	return next->ops->load_all(next, fd);
}

static void f_stop(struct fsb *b)
{
	struct fsb_filter *f = fsb_filter_of(b);

	f->next->ops->stop(f->next);
	if (f->keeps_names)
		(void)fsb_names_free(f->names);
	f->f->stop(f);
}

void fsb_filter_init(struct fsb_filter *f, const struct fsb_filter_ops *ops, struct fsb *next,
	uint32_t add_caps, uint32_t drop_caps)
{
	const struct fsb_ops *n = next->ops;
	bool see = add_caps & FSB_CAP_SEE_OPENS;

	f->f = ops;
	f->next = next;
	f->names = NULL;
	f->keeps_names = false;
	f->b.ops = &f->own;
#define OP(op, there) .op = (there) ? f_##op : NULL
	f->own = (struct fsb_ops){.name = ops->name,
		.summary = ops->summary,
		/* Names are what hooks go by, as a rule: no way around them by number. */
		.caps = ((n->caps & ~(uint32_t)FSB_CAP_EXPORT) | add_caps) & ~drop_caps,
		.stop = f_stop,
		OP(lookup, n->lookup),
		OP(forget, n->forget),
		OP(getattr, n->getattr),
		OP(setattr, n->setattr),
		OP(readlink, n->readlink),
		OP(mknod, n->mknod),
		OP(mkdir, n->mkdir),
		OP(symlink, n->symlink),
		OP(unlink, n->unlink),
		OP(rmdir, n->rmdir),
		OP(rename, n->rename),
		OP(link, n->link),
		OP(open, n->open || see),
		OP(create, n->create),
		OP(tmpfile, n->tmpfile),
		OP(release, n->release),
		OP(readv, n->readv),
		OP(writev, n->writev),
		OP(fsync, n->fsync),
		OP(opendir, n->opendir || see),
		OP(readdir, n->readdir),
		OP(releasedir, n->releasedir),
		OP(statfs, n->statfs),
		OP(setxattr, n->setxattr),
		OP(getxattr, n->getxattr),
		OP(listxattr, n->listxattr),
		OP(removexattr, n->removexattr),
		OP(fallocate, n->fallocate),
		OP(lseek, n->lseek),
		OP(copy_file_range, n->copy_file_range),
		OP(syncfs, n->syncfs),
		OP(btime, n->btime),
		OP(cache, n->cache || ops->cache),
		OP(save, n->save),
		OP(load, n->load),
		OP(reopen, n->reopen),
		OP(save_all, n->save_all),
		OP(load_all, n->load_all),
		OP(usage, n->usage),
		OP(getflags, n->getflags),
		OP(setflags, n->setflags)};
#undef OP
}

struct fsb *fsb_filter_below(struct fsb *b)
{
	struct fsb_filter *f = fsb_filter_of(b);

	return b->ops == &f->own ? f->next : NULL;
}

int fsb_filter_names(struct fsb_filter *f)
{
	for (struct fsb *b = f->next, *below; (below = fsb_filter_below(b)); b = below) {
		struct fsb_filter *had = fsb_filter_of(b);

		if (had->keeps_names) {
			had->keeps_names = false;
			f->names = had->names;
			break;
		}
	}
	if (!f->names)
		f->names = fsb_names_new(FSD_MAX_NODES);
	f->keeps_names = f->names;
	return f->names ? 0 : -ENOMEM;
}
