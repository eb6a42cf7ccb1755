// SPDX-License-Identifier: Apache-2.0
// The overlay's ops on contents. Data moves without the tree lock, by a descriptor that is held.
#include "fs/backends/overlay/ovl.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* Pins a regular file. @ret_own: whether its contents are in data/. */
static int pin_locked(struct ovl *o, uint64_t node, struct ovl_inode **ret, bool *ret_own)
{
	int r = ovl_get(o, node, ret);

	if (r)
		return r;
	if (!S_ISREG((*ret)->a.mode))
		return S_ISDIR((*ret)->a.mode) ? -EISDIR : -EINVAL;
	*ret_own = (*ret)->flags & OVL_OWN_DATA;
	ovl_pin(*ret);
	return 0;
}

static int pin_file(struct ovl *o, uint64_t node, struct ovl_inode **ret, bool *ret_own)
{
	OVL_READ(o);
	return pin_locked(o, node, ret, ret_own);
}

/* The same for a change: the contents are ours afterwards. @suidgid as of ovl_kill_privs(). */
static int pin_to_write(struct ovl *o, uint64_t node, const struct fsb_req *suidgid,
	struct ovl_inode **ret, struct ovl_fd **ret_fd)
{
	bool own;
	int r = pin_file(o, node, ret, &own);

	if (r)
		return r;
	r = ovl_kill_privs(o, *ret, suidgid);
	if (r == 0 && !own)
		r = ovl_copy_up(o, *ret, UINT64_MAX);
	if (r == 0)
		r = ovl_fd_get(o, *ret, true, ret_fd);
	if (r)
		ovl_unpin(o, *ret);
	return r;
}

static void let_go(struct ovl *o, struct ovl_inode *i, struct ovl_fd *f)
{
	ovl_fd_put(o, f);
	ovl_unpin(o, i);
}

/* Whether the file's own mtime, of a clock that ticks slowly, may not show that it was written
 * after its times were set. */
static bool ambiguous(const struct ovl_attr *a, struct ovl_time now)
{
	if (a->mtime.sec == a->ctime.sec && a->mtime.nsec == a->ctime.nsec)
		return false;
	if (a->ctime.sec < now.sec - 1 || a->ctime.sec > now.sec)
		return false;
	return (now.sec - a->ctime.sec) * 1000000000 + now.nsec - a->ctime.nsec < OVL_TICK_NS;
}

/* After a change of contents that may have made the file @end bytes long. @truncs as before it. */
static void written(struct ovl *o, struct ovl_inode *i, uint64_t end, uint32_t truncs)
{
	struct ovl_time now = ovl_now();
	bool log_it;
	OVL_TXN(t);
	{
		OVL_READ(o);
		OVL_ATTR(o, i);

		/* A cut in between: only the file knows which of the two came last. */
		if (i->flags & OVL_STALE_SIZE || atomic_load(&i->truncs) != truncs) {
			i->flags |= OVL_STALE_SIZE;
			ovl_data_refresh(o, i);
		} else if (end > i->a.size) {
			i->a.size = end;
		}
		log_it = ambiguous(&i->a, now);
		i->a.mtime = i->a.ctime = now;
		i->flags |= OVL_DIRTY | OVL_STALE_BLOCKS;
	}
	if (!log_it)
		return;
	OVL_WRITE(o);
	ovl_txn_touch(&t, i->ino, i->a.nlink, now, true);
	(void)ovl_commit(o, &t, true); /* the bytes are written: only a crash could show the loss */
}

int64_t ovl_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int iovcnt,
	uint64_t off)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct ovl_fd *f;
	int64_t n;
	bool own;
	int r;

	if (off > INT64_MAX || iovcnt < 0 || iovcnt > IOV_MAX)
		return -EINVAL;
	{
		OVL_READ(o);
		r = pin_locked(o, node, &i, &own);
		if (r)
			return r;
		ovl_accessed(o, i);
	}
	if (!own) {
		n = ovl_lower_readv(o, i, iov, iovcnt, off);
		ovl_unpin(o, i);
		return n;
	}
	r = ovl_fd_get(o, i, false, &f);
	if (r) {
		ovl_unpin(o, i);
		return r == -ENOENT ? 0 : r;
	}
	do
		n = preadv(f->fd, iov, iovcnt, (off_t)off);
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : n;
	let_go(o, i, f);
	return n;
}

int64_t ovl_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int iovcnt, uint64_t off, uint32_t write_flags)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct ovl_fd *f;
	uint32_t truncs;
	bool append;
	int64_t n;
	int r;

	if (iovcnt < 0 || iovcnt > IOV_MAX)
		return -EINVAL;
	if (off > INT64_MAX)
		return -EFBIG;
	r = pin_to_write(o, node, write_flags & FUSE_WRITE_KILL_SUIDGID ? req : NULL, &i, &f);
	if (r)
		return r;
	/* What the guest's kernel takes for an append need not be one (RWF_NOAPPEND): the file's
	 * end is the host's to find then, and to say afterwards. */
	append = write_flags & FSB_WRITE_APPEND && i->flags & (uint32_t)FSB_FL_APPEND
								      << OVL_FL_SHIFT;
	truncs = atomic_load(&i->truncs) + append;
	do
		n = pwritev2(f->fd, iov, iovcnt, (off_t)off, append ? RWF_APPEND : 0);
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : n;
	if (n > 0)
		written(o, i, off + (uint64_t)n, truncs);
	let_go(o, i, f);
	return n;
}

/* Has the log say what it does not know of @i yet, and the disk hold its contents. */
static int sync_file(struct ovl *o, struct ovl_inode *i)
{
	struct ovl_fd *f;
	bool made;
	int r = 0;
	{
		OVL_WRITE(o);
		OVL_TXN(t);

		made = i->flags & OVL_NEW_DATA;
		if (i->flags & OVL_DIRTY) {
			ovl_txn_inode(&t, i->ino, i->lower, i->flags, &i->a);
			r = ovl_commit(o, &t, true);
		}
	}
	if (r)
		return r;
	r = ovl_fd_get(o, i, false, &f);
	if (r)
		return r == -ENOENT ? 0 : r;
	/* fsync where the file is new: its name in the directory must last too. */
	if ((made ? fsync(f->fd) : fdatasync(f->fd)) < 0)
		r = -errno;
	ovl_fd_put(o, f);
	if (r == 0 && made) {
		r = ovl_data_sync_dir(o, i->ino);
		OVL_WRITE(o);
		i->flags &= ~(uint32_t)(r == 0 ? OVL_NEW_DATA : 0);
	}
	return r;
}

int ovl_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	bool own;
	int r = pin_file(o, node, &i, &own);

	if (r == 0) {
		r = own ? sync_file(o, i) : 0;
		ovl_unpin(o, i);
	} else if (r == -EISDIR || r == -EINVAL) {
		r = 0;
	}
	return r < 0 ? r : ovl_log_sync(o);
}

int ovl_syncfs(struct fsb *b, uint64_t node)
{
	struct ovl *o = ovl_of(b);
	int r;
	{
		OVL_WRITE(o);
		r = ovl_log_flush(o);
	}
	return r < 0 ? r : syncfs(o->upper_fd) < 0 ? -errno : 0;
}

int ovl_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct ovl_fd *f;
	uint32_t truncs;
	int r;

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: break;
	default: return -EOPNOTSUPP;
	}
	if (len == 0 || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (off + len > INT64_MAX)
		return -EFBIG;
	r = pin_to_write(o, node, NULL, &i, &f);
	if (r)
		return r == -EISDIR ? -ENODEV : r;
	truncs = atomic_load(&i->truncs);
	if (fallocate(f->fd, (int)mode, (off_t)off, (off_t)len) < 0)
		r = -errno;
	else
		written(o, i, mode & FALLOC_FL_KEEP_SIZE ? 0 : off + len, truncs);
	let_go(o, i, f);
	return r;
}

int64_t ovl_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct ovl_fd *f;
	int64_t n;
	bool own;
	int r;

	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || off > INT64_MAX)
		return -EINVAL;
	r = pin_file(o, node, &i, &own);
	if (r)
		return r;
	if (own) {
		n = ovl_fd_get(o, i, false, &f);
		if (n == 0) {
			n = lseek(f->fd, (off_t)off, (int)whence);
			n = n < 0 ? -errno : n;
			ovl_fd_put(o, f);
		} else if (n == -ENOENT) {
			n = -ENXIO;
		}
	} else {
		n = ovl_lower_seek(o, i, off, whence);
	}
	ovl_unpin(o, i);
	return n;
}

/* Copies from @in to @f. Short only at the end of @in or where some was copied before a failure. */
static int64_t copy_range(struct ovl *o, struct ovl_inode *in, bool own, uint64_t off_in,
	struct ovl_fd *f, uint64_t off_out, uint64_t len)
{
	loff_t from = (loff_t)off_in, to = (loff_t)off_out;
	struct ovl_fd *g;
	uint64_t size;
	int64_t n;
	int r;

	if (own) {
		r = ovl_fd_get(o, in, false, &g);
		if (r)
			return r == -ENOENT ? 0 : r;
		n = copy_file_range(g->fd, &from, f->fd, &to, (size_t)len, 0);
		n = n < 0 ? -errno : n;
		ovl_fd_put(o, g);
		return n;
	}
	size = in->a.size; /* a lower file's, which nothing changes */
	if (off_in >= size)
		return 0;
	len = size - off_in < len ? size - off_in : len;
	r = ovl_lower_copy(o, in, off_in, len, f->fd, off_out, false);
	return r < 0 ? r : (int64_t)len;
}

int64_t ovl_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *in, *out;
	struct ovl_fd *f;
	uint32_t truncs;
	int64_t n;
	bool own;
	int r;

	if (off_in > INT64_MAX || off_out > INT64_MAX)
		return -EINVAL;
	len = len < (1u << 30) ? len : 1u << 30;
	if (off_out + len > INT64_MAX)
		return -EFBIG;
	r = pin_to_write(o, node_out, req->uid ? req : NULL, &out, &f);
	if (r)
		return r;
	r = pin_file(o, node_in, &in, &own);
	if (r) {
		let_go(o, out, f);
		return r;
	}
	truncs = atomic_load(&out->truncs);
	n = copy_range(o, in, own, off_in, f, off_out, len);
	if (n < 0) /* some of it may be there: the file knows */
		written(o, out, 0, truncs + 1);
	else if (n > 0)
		written(o, out, off_out + (uint64_t)n, truncs);
	ovl_unpin(o, in);
	let_go(o, out, f);
	return n;
}
