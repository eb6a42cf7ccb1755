// SPDX-License-Identifier: Apache-2.0
// A lower file's contents: reading them, and making them the overlay's own before a change.
#include "fs/backends/overlay/ovl.h"

#include "base/io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define COPY_BYTES (256u << 10)

/* Copies @n bytes (NULL: zeros) to where @off bytes into the vector lie. */
static void scatter(const struct iovec *iov, int iovcnt, uint64_t off, const char *p, size_t n)
{
	for (int v = 0; v < iovcnt && n; v++) {
		size_t part;

		if (off >= iov[v].iov_len) {
			off -= iov[v].iov_len;
			continue;
		}
		part = iov[v].iov_len - (size_t)off < n ? iov[v].iov_len - (size_t)off : n;
		if (p)
			memcpy((char *)iov[v].iov_base + off, p, part);
		else
			memset((char *)iov[v].iov_base + off, 0, part);
		p = p ? p + part : NULL;
		n -= part;
		off = 0;
	}
}

/* Reads @n bytes of a pack to where @at bytes into the vector lie. */
static int read_pack(struct ovl *o, const struct img_extent *x, const struct iovec *iov, int iovcnt,
	uint64_t at, uint64_t n)
{
	uint64_t off = x->pack_off;
	struct ovl_fd *f;
	int r = ovl_pack_get(o, x->pack_id, &f), changed;

	if (r < 0)
		return r;
	for (int v = 0; v < iovcnt && n && r == 0; v++) {
		size_t part;
		int64_t got;

		if (at >= iov[v].iov_len) {
			at -= iov[v].iov_len;
			continue;
		}
		part = iov[v].iov_len - (size_t)at < n ? iov[v].iov_len - (size_t)at : (size_t)n;
		got = msb_pread_full(f->fd, (char *)iov[v].iov_base + at, part, off);
		/* A pack that ends early is a damaged store, not the end of this file. */
		r = got < 0 ? (int)got : (size_t)got < part ? -EIO : 0;
		off += part;
		n -= part;
		at = 0;
	}
	changed = ovl_lower_check(o, x->pack_id, f->fd); /* says more than that it ends early */
	ovl_fd_put(o, f);
	return changed < 0 ? changed : r;
}

int64_t ovl_lower_readv(
	struct ovl *o, struct ovl_inode *i, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t want = 0, done = 0;
	struct img_attr a;
	const char *p;
	size_t p_n;
	int r = img_index_getattr(o->lower, i->lower, &a);

	for (int v = 0; v < iovcnt; v++)
		want += iov[v].iov_len;
	if (r < 0 || off >= a.size)
		return r;
	want = a.size - off < want ? a.size - off : want;
	r = img_index_inline(o->lower, i->lower, &p, &p_n);
	if (r == 0) {
		if (p_n < a.size)
			return -EBADMSG;
		scatter(iov, iovcnt, 0, p + off, (size_t)want);
		return (int64_t)want;
	}
	for (r = r == -ENODATA ? 0 : r; done < want && r == 0;) {
		struct img_extent x;
		uint64_t n;

		r = ovl_lower_extent(o, i->lower, off + done, &x);
		if (r == 0 && x.len == 0)
			r = -EBADMSG;
		if (r < 0)
			break;
		n = x.len < want - done ? x.len : want - done;
		if (x.pack_id == IMG_HOLE)
			scatter(iov, iovcnt, done, NULL, (size_t)n);
		else
			r = read_pack(o, &x, iov, iovcnt, done, n);
		done += n;
	}
	return r < 0 ? r : (int64_t)done;
}

int64_t ovl_lower_seek(struct ovl *o, struct ovl_inode *i, uint64_t off, uint32_t whence)
{
	struct img_attr a;
	const char *p;
	size_t p_n;
	int r = img_index_getattr(o->lower, i->lower, &a);

	if (r < 0)
		return r;
	if (off >= a.size)
		return -ENXIO;
	if (img_index_inline(o->lower, i->lower, &p, &p_n) == 0)
		return whence == SEEK_DATA ? (int64_t)off : (int64_t)a.size;
	while (off < a.size) {
		struct img_extent x;

		r = img_index_extent(o->lower, i->lower, off, &x);
		if (r < 0 || x.len == 0)
			return r < 0 ? r : -EBADMSG;
		if ((x.pack_id == IMG_HOLE) == (whence == SEEK_HOLE))
			return (int64_t)off;
		off += x.len;
	}
	return whence == SEEK_HOLE ? (int64_t)a.size : -ENXIO;
}

/* From a pack to a file by the kernel, where it can. -EXDEV: it cannot. */
static int copy_in_kernel(
	struct ovl *o, const struct img_extent *x, uint64_t len, int fd, uint64_t to)
{
	loff_t from = (loff_t)x->pack_off, at = (loff_t)to;
	struct ovl_fd *f;
	int r = ovl_pack_get(o, x->pack_id, &f);

	if (r < 0)
		return r;
	while (len && r == 0) {
		ssize_t n = copy_file_range(f->fd, &from, fd, &at, (size_t)len, 0);

		if (n < 0 && errno != EINTR)
			r = errno == ENOSPC || errno == EDQUOT || errno == EIO ? -errno : -EXDEV;
		else if (n == 0)
			r = -EXDEV; /* a pseudo copy: let read say what is wrong */
		else if (n > 0)
			len -= (uint64_t)n;
	}
	if (r == 0)
		r = ovl_lower_check(o, x->pack_id, f->fd);
	ovl_fd_put(o, f);
	return r;
}

int ovl_lower_copy(struct ovl *o, struct ovl_inode *i, uint64_t off, uint64_t len, int fd,
	uint64_t to, bool sparse)
{
	_cleanup_free_ char *buf = NULL;
	const char *p;
	size_t p_n;
	bool in_index = img_index_inline(o->lower, i->lower, &p, &p_n) == 0;

	while (len) {
		uint64_t n = len < COPY_BYTES ? len : COPY_BYTES;
		struct iovec iov;
		int64_t got;
		int r;

		if (!in_index) {
			struct img_extent x;
			uint64_t run;

			r = ovl_lower_extent(o, i->lower, off, &x);
			if (r < 0 || x.len == 0)
				return r < 0 ? r : -EBADMSG;
			run = x.len < len ? x.len : len;
			if (x.pack_id == IMG_HOLE)
				r = sparse ? 0 : -EXDEV;
			else
				r = copy_in_kernel(o, &x, run, fd, to);
			if (r < 0 && r != -EXDEV)
				return r;
			if (r == 0) {
				off += run;
				to += run;
				len -= run;
				continue;
			}
			n = n < run ? n : run;
		}
		if (!buf)
			buf = malloc(COPY_BYTES);
		if (!buf)
			return -ENOMEM;
		iov = (struct iovec){buf, (size_t)n};
		got = ovl_lower_readv(o, i, &iov, 1, off);
		if (got <= 0)
			return got < 0 ? (int)got : -EBADMSG;
		r = msb_pwrite_full(fd, buf, (size_t)got, to);
		if (r < 0)
			return r;
		off += (uint64_t)got;
		to += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}

/* Makes the data file hold the first @n bytes, on the disk: before the log says so. */
static int fill(struct ovl *o, struct ovl_inode *i, uint64_t n, struct ovl_time mtime)
{
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime.sec, .tv_nsec = mtime.nsec}};
	struct ovl_fd *f;
	int r = ovl_fd_get(o, i, true, &f);

	if (r < 0)
		return r;
	/* Cut first: an attempt that failed may have left something. */
	if (ftruncate(f->fd, 0) < 0 || ftruncate(f->fd, (off_t)n) < 0)
		r = -errno;
	if (r == 0)
		r = ovl_lower_copy(o, i, 0, n, f->fd, 0, true);
	if (r == 0 && (futimens(f->fd, times) < 0 || fdatasync(f->fd) < 0))
		r = -errno;
	ovl_fd_put(o, f);
	return r;
}

int ovl_copy_up(struct ovl *o, struct ovl_inode *i, uint64_t upto)
{
	LOCK_SCOPE(&o->copy_lock[i->ino % OVL_STRIPES]);
	struct ovl_attr a;
	int r = 0;
	{
		OVL_READ(o);
		if (i->flags & OVL_OWN_DATA)
			return 0;
		a = i->a;
	}
	a.size = upto < a.size ? upto : a.size;
	if (a.size || i->flags & OVL_FILE)
		r = fill(o, i, a.size, a.mtime);
	if (r < 0)
		return r; /* what is there the next attempt cuts, and a load removes */
	{
		OVL_WRITE(o);
		OVL_TXN(t);

		/* Only the contents are of that moment: the rest may have changed since. */
		uint64_t size = a.size;

		a = i->a;
		a.size = size;
		ovl_txn_inode(&t, i->ino, i->lower, i->flags | OVL_OWN_DATA, &a);
		r = ovl_commit(o, &t, false);
		if (r == 0)
			i->flags |= OVL_STALE_BLOCKS;
	}
	return r;
}
