// SPDX-License-Identifier: Apache-2.0
// The FUSE server: open files and their data.
#include "fs/fuse_priv.h"
#include "fs/fuse_iov.h"
#include "fs/backends/relatime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/param.h>
#include <sys/stat.h>

static bool writes(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* What changes contents takes set-id bits, as Linux does where who asks has no right to keep them.
 * Backends' open() and fallocate() need not know. */
int fuse_kill_suidgid(struct fuse_call *c)
{
	const struct fsb_req who = {.uid = c->h.uid, .gid = c->h.gid};
	struct fsb_setattr set = {.valid = FATTR_MODE};
	struct fuse_attr a;
	int r = CALL(c, getattr, c->h.nodeid, 0, &a);

	if (r < 0 || !c->ops->setattr || S_ISDIR(a.mode))
		return r;
	set.mode = a.mode & 07777 & ~(uint32_t)S_ISUID;
	if (a.mode & S_IXGRP || !fsb_in_group(&who, a.gid, a.mode))
		set.mode &= ~(uint32_t)S_ISGID;
	return set.mode == (a.mode & 07777) ? 0
					    : CALL(c, setattr, &c->req, c->h.nodeid, 0, &set, &a);
}

bool fuse_skips_open(struct fuse_call *c)
{
	_Atomic bool *off = &c->s->opens_off;

	if (!c->s->profile->skip_open ||
		(c->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_SEE_OPENS)) != FSB_CAP_NO_OPEN)
		return false;
	/* A mount that wants to see them may come meanwhile: who adds it changes the caps, then
	 * looks at the mark. */
	atomic_store(off, true);
	if (c->s->keep)
		fuse_keep_facts(c->s);
	if ((c->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_SEE_OPENS)) == FSB_CAP_NO_OPEN)
		return true;
	atomic_store(off, false);
	return false;
}

/* After the open: a backend may say something else of each. That data goes by the server each time
 * is about the file, not about caching: its size is not known beforehand, so views hear it too. */
static uint32_t open_flags(struct fuse_call *c, uint64_t node)
{
	uint32_t flags = fuse_cache_of(c->s, node)->open_flags;
	const struct fsb_cache *own = c->ops->cache ? c->ops->cache(c->b, node) : NULL;

	if (c->s->explicit_inval)
		flags = fuse_view_open(c->s, node);
	if (own && own->fresh)
		flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
	return flags | (own ? own->open_flags & FOPEN_DIRECT_IO : 0);
}

static void closed(struct fuse_call *c, uint64_t node, uint64_t fh)
{
	if (c->s->explicit_inval)
		fuse_view_close(c->s, node);
	fuse_release(c->s, false, fh);
}

/* Whether reading the node moves its access time. */
static bool moves_atime(struct fuse_call *c)
{
	struct fuse_attr a;

	return CALL(c, getattr, c->h.nodeid, 0, &a) == 0 &&
	       relatime_due((struct timespec){(time_t)a.atime, a.atimensec},
		       (struct timespec){(time_t)a.mtime, a.mtimensec},
		       (struct timespec){(time_t)a.ctime, a.ctimensec});
}

int64_t fuse_do_open(struct fuse_call *c)
{
	const struct fuse_open_in *in = ARGS(c, struct fuse_open_in);
	struct fuse_open_out o = {0};
	bool stateless = c->ops->caps & FSB_CAP_NO_OPEN;
	int64_t n;
	int r = 0;

	if (c->s->readonly && writes(in->flags))
		return -EROFS;
	if (fuse_skips_open(c))
		return -ENOSYS; /* once: the kernel remembers */
	/* Without state there is somebody who wants to see it. */
	if (!stateless || ((c->ops->caps & FSB_CAP_SEE_OPENS) && c->ops->open)) {
		if (!c->ops->open)
			return -ENOSYS;
		r = CALL(c, open, &c->req, c->h.nodeid, in->flags, &o.fh);
		if (r == 0 && (o.fh || !(c->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_MIXED_OPEN))))
			r = fuse_own_handle(c->s, false, c->h.nodeid, o.fh, in->flags);
		if (r == 0 && (in->flags & O_TRUNC) && (in->open_flags & FUSE_OPEN_KILL_SUIDGID)) {
			r = fuse_kill_suidgid(c);
			if (r < 0)
				fuse_release(c->s, false, o.fh);
		}
	}
	if (r < 0)
		return r;
	if (in->flags & O_TRUNC)
		fuse_contents_changed(c, c->h.nodeid);
	o.open_flags = open_flags(c, c->h.nodeid);
	if (c->s->explicit_inval && o.open_flags & FOPEN_KEEP_CACHE &&
		(in->flags & O_ACCMODE) != O_WRONLY && moves_atime(c))
		fuse_view_read_again(c->s, c->h.nodeid);
	n = fuse_reply(c, &o, sizeof(o));
	if (n < 0)
		closed(c, c->h.nodeid, o.fh);
	return n;
}

/* Replies to CREATE and TMPFILE; owns the entry's reference and the handle. */
static int64_t reply_created(
	struct fuse_call *c, const struct fsb_entry *e, uint64_t fh, uint32_t flags)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} o;
	int64_t n = fuse_own_node(c->s, e->node);

	/* Where OPEN carries no state the kernel does not send RELEASE either. */
	if (n < 0 || (c->ops->caps & FSB_CAP_NO_OPEN)) {
		if (fh && c->ops->release)
			c->ops->release(c->b, e->node, fh);
		fh = 0;
	}
	if (n < 0)
		return n;
	if (fh)
		n = fuse_own_handle(c->s, false, e->node, fh, flags);
	if (n == 0) {
		fuse_entry_out(c->s, c->h.nodeid, e, &o.entry);
		if (flags & O_TRUNC)
			fuse_contents_changed(c, e->node);
		o.open = (struct fuse_open_out){.fh = fh, .open_flags = open_flags(c, e->node)};
		n = fuse_reply(c, &o, sizeof(o));
		if (n < 0)
			closed(c, e->node, fh);
	}
	if (n < 0)
		fuse_forget(c->s, e->node, 1);
	return n;
}

int64_t fuse_do_create(struct fuse_call *c)
{
	const struct fuse_create_in *in = ARGS(c, struct fuse_create_in);
	const char *name = fuse_arg_string(c, sizeof(*in), 0);
	struct fsb_entry e = {0};
	uint64_t fh = 0;
	int r = fuse_check_name(name);

	if (!c->ops->create)
		return -ENOSYS; /* the kernel falls back to MKNOD and OPEN */
	c->req.umask = in->umask;
	if (r == 0)
		r = CALL(c, create, &c->req, c->h.nodeid, name, in->mode, in->flags, &e, &fh);
	/* Another client was first. Whether who asks may open what it made only the kernel knows:
	 * ESTALE has it look again. */
	if (r == -EEXIST && !(in->flags & O_EXCL))
		r = -ESTALE;
	return r < 0 ? r : reply_created(c, &e, fh, in->flags);
}

int64_t fuse_do_tmpfile(struct fuse_call *c)
{
	const struct fuse_create_in *in = ARGS(c, struct fuse_create_in);
	struct fsb_entry e = {0};
	uint64_t fh = 0;
	int r;

	if (!c->ops->tmpfile)
		return -ENOSYS;
	c->req.umask = in->umask;
	r = CALL(c, tmpfile, &c->req, c->h.nodeid, in->mode, in->flags, &e, &fh);
	return r < 0 ? r : reply_created(c, &e, fh, in->flags);
}

int64_t fuse_do_release(struct fuse_call *c)
{
	const struct fuse_release_in *in = ARGS(c, struct fuse_release_in);

	closed(c, c->h.nodeid, in->fh);
	return 0;
}

int64_t fuse_do_read(struct fuse_call *c)
{
	const struct fuse_read_in *in = ARGS(c, struct fuse_read_in);
	size_t size = MIN(MIN(in->size, FUSE_MAX_IO), c->out_bytes);
	unsigned int n =
		iov_slice(c->w->iov, c->out, c->n_out, sizeof(struct fuse_out_header), size);
	int64_t r;

	if (!c->ops->readv)
		return -ENOSYS;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, readv, c->h.nodeid, in->fh, c->w->iov, (int)n, in->offset);
	fuse_unpin_handle(c->s, false, in->fh);
	return r;
}

int64_t fuse_do_write(struct fuse_call *c)
{
	const struct fuse_write_in *in = ARGS(c, struct fuse_write_in);
	const size_t head = sizeof(struct fuse_in_header) + sizeof(*in);
	struct fuse_write_out o = {0};
	unsigned int n, flags;
	int64_t r;

	if (!c->ops->writev)
		return -EROFS;
	/* The header's length is the message's, so the data must be all of the rest. */
	if (in->size > FUSE_MAX_IO || c->h.len != head + in->size || in->offset > INT64_MAX)
		return -EINVAL;
	n = iov_slice(c->w->iov, c->in, c->n_in, head, in->size);
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	flags = in->write_flags & ~FSB_WRITE_APPEND;
	/* A page that is written back was appended when it came into being. */
	if ((in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE))
		flags |= FSB_WRITE_APPEND;
	r = CALL(c, writev, &c->req, c->h.nodeid, in->fh, c->w->iov, (int)n, in->offset, flags);
	fuse_unpin_handle(c->s, false, in->fh);
	if (r < 0)
		return r;
	fuse_contents_changed(c, c->h.nodeid);
	o.size = (uint32_t)r;
	return fuse_reply(c, &o, sizeof(o));
}

int64_t fuse_do_fsync(struct fuse_call *c)
{
	const struct fuse_fsync_in *in = ARGS(c, struct fuse_fsync_in);
	int64_t r;

	if (!c->ops->fsync)
		return -ENOSYS;
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, fsync, c->h.nodeid, in->fh, in->fsync_flags & FUSE_FSYNC_FDATASYNC);
	fuse_unpin_handle(c->s, false, in->fh);
	return r;
}

int64_t fuse_do_fallocate(struct fuse_call *c)
{
	const struct fuse_fallocate_in *in = ARGS(c, struct fuse_fallocate_in);
	int64_t r;

	if (!c->ops->fallocate)
		return -ENOSYS;
	if (in->offset > INT64_MAX || in->length == 0 || in->length > INT64_MAX - in->offset)
		return -EINVAL;
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, fallocate, &c->req, c->h.nodeid, in->fh, in->mode, in->offset, in->length);
	/* FALLOCATE has no flag for it: root alone is taken to have CAP_FSETID. Of somebody unknown
	 * a SETATTR came before, where it was called for. */
	if (r >= 0 && c->req.uid != 0 && !fuse_is_nobody(c))
		r = fuse_kill_suidgid(c);
	fuse_unpin_handle(c->s, false, in->fh);
	fuse_contents_changed(c, c->h.nodeid);
	return r;
}

int64_t fuse_do_lseek(struct fuse_call *c)
{
	const struct fuse_lseek_in *in = ARGS(c, struct fuse_lseek_in);
	struct fuse_lseek_out o;
	int64_t r;

	if (!c->ops->lseek)
		return -ENOSYS;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	if (in->offset > INT64_MAX) /* as past the end: what other file systems say */
		return -ENXIO;
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh);
	if (r < 0)
		return r;
	r = CALL(c, lseek, c->h.nodeid, in->fh, in->offset, in->whence);
	fuse_unpin_handle(c->s, false, in->fh);
	if (r < 0)
		return r;
	o.offset = (uint64_t)r;
	return fuse_reply(c, &o, sizeof(o));
}

/* Who may keep set-id bits no flag says, and where it is not even known who asks, the kernel is
 * left to copy it by itself: its writes say so. */
static int check_copy(struct fuse_call *c, uint64_t node, uint64_t fh)
{
	struct fuse_attr a;
	int r;

	if (!fuse_is_nobody(c))
		return 0;
	r = CALL(c, getattr, node, fh, &a);
	return r == 0 && a.mode & (S_ISUID | S_ISGID) ? -EOPNOTSUPP : r;
}

int64_t fuse_do_copy_file_range(struct fuse_call *c)
{
	const struct fuse_copy_file_range_in *in = ARGS(c, struct fuse_copy_file_range_in);
	struct fuse_write_out o = {0};
	int64_t r;

	if (!c->ops->copy_file_range)
		return -ENOSYS;
	/* Less than asked for is an answer; it keeps the queue from standing still. */
	const uint64_t len = MIN(in->len, FUSE_MAX_COPY);

	if (in->flags || in->off_in > INT64_MAX - len || in->off_out > INT64_MAX - len)
		return -EINVAL;
	r = fuse_hold(c, in->nodeid_out);
	if (r < 0)
		return r;
	r = fuse_pin_handle(c->s, false, c->h.nodeid, in->fh_in);
	if (r == 0) {
		r = fuse_pin_handle(c->s, false, in->nodeid_out, in->fh_out);
		if (r == 0) {
			r = check_copy(c, in->nodeid_out, in->fh_out);
			if (r == 0)
				r = CALL(c, copy_file_range, &c->req, c->h.nodeid, in->fh_in,
					in->off_in, in->nodeid_out, in->fh_out, in->off_out, len);
			fuse_unpin_handle(c->s, false, in->fh_out);
		}
		fuse_unpin_handle(c->s, false, in->fh_in);
	}
	fuse_let_go(c, in->nodeid_out);
	if (r < 0)
		return r;
	fuse_contents_changed(c, in->nodeid_out);
	o.size = (uint32_t)r;
	return fuse_reply(c, &o, sizeof(o));
}
