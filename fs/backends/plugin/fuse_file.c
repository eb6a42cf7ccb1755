// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: open files.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/fuse_iov.h"

#include <fcntl.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#define SHM_FROM   4096u /* bytes of data from which shared memory is cheaper than the stream */
#define MAKE_FLAGS (O_CREAT | O_EXCL | O_NOCTTY)

/* OPEN or OPENDIR by the plugin: fills @h. 0 also where it leaves that to what is below. */
static int open_plugin(const struct pf_node *n, const struct fsb_req *req, bool dir, uint32_t flags,
	struct plug_handle *h)
{
	struct fuse_open_in in = {.flags = flags & ~(uint32_t)MAKE_FLAGS};
	struct fuse_open_out out;
	int r = pf_simple(n->p, dir ? FUSE_OPENDIR : FUSE_OPEN, n, req, &in, sizeof(in), NULL, NULL,
		&out, sizeof(out));

	if (r < 0)
		return r == -PLUGIN_PASS ? 0 : r;
	h->plug = true;
	h->pfh = out.fh;
	h->epoch = n->epoch;
	if (!dir)
		atomic_store(&n->n->open_flags, out.open_flags);
	return 0;
}

static void release_plugin(struct plug *p, const struct plug_handle *h, uint64_t pid)
{
	const struct fuse_release_in in = {.fh = h->pfh, .flags = h->flags};

	if (h->plug && pid)
		pf_tell(p, h->dir ? FUSE_RELEASEDIR : FUSE_RELEASE, pid, h->epoch, &in, sizeof(in));
}

static void release_both(const struct pf_node *n, const struct plug_handle *h)
{
	release_plugin(n->p, h, n->pid);
	if (h->below)
		plug_below_release(n->p, h->dir, n->inner, h->ifh);
}

/* The handle of what is open now; on failure it is closed again. */
static int add_handle(const struct pf_node *n, const struct plug_handle *h, uint64_t *ret_fh)
{
	int r = plug_handle_add(n->p, h, ret_fh);

	if (r < 0)
		release_both(n, h);
	return r;
}

int pf_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {.node = node, .flags = flags & ~(uint32_t)(MAKE_FLAGS | O_TRUNC)};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	if (flags & O_TRUNC && n.pid && !(atomic_load(&p->flags) & FUSE_ATOMIC_O_TRUNC)) {
		const struct fsb_setattr set = {.valid = FATTR_SIZE};
		struct fuse_attr a;

		r = pf_setattr(b, req, node, 0, &set, &a);
		flags &= ~(uint32_t)O_TRUNC;
	}
	if (r == 0)
		r = open_plugin(&n, req, false, flags, &h);
	if (r < 0)
		return r;
	if (h.plug) /* it has truncated what there was to truncate */
		flags &= ~(uint32_t)O_TRUNC;
	if (n.inner) {
		r = p->inner->ops->open ? BELOW(p, open, req, n.inner, flags, &h.ifh) : 0;
		h.below = r == 0;
		if (r < 0 && !h.plug)
			return r;
	}
	return add_handle(&n, &h, ret_fh);
}

int pf_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {.node = node, .dir = true};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r == 0)
		r = open_plugin(&n, NULL, true, O_RDONLY | O_DIRECTORY, &h);
	if (r < 0)
		return r;
	if (n.inner) {
		r = p->inner->ops->opendir ? BELOW(p, opendir, n.inner, &h.ifh) : 0;
		h.below = r == 0;
		if (r < 0 && !h.plug)
			return r;
	}
	return add_handle(&n, &h, ret_fh);
}

/* A file system that has MKNOD and OPEN alone. */
static int make_and_open(struct fsb *b, const struct fsb_req *req, uint64_t parent,
	const char *name, uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	int r = b->ops->mknod(b, req, parent, name, S_IFREG | (mode & 07777), 0, ret);

	if (r < 0)
		return r;
	r = pf_open(b, req, ret->node, flags & ~(uint32_t)MAKE_FLAGS, ret_fh);
	if (r < 0)
		b->ops->forget(b, ret->node, 1);
	return r;
}

/* CREATE and TMPFILE: @name NULL. */
static int create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	struct plug *p = plug_of(b);
	struct fuse_create_in in = {
		.flags = flags, .mode = pf_masked(p, req, mode), .umask = req->umask};
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} out;
	struct plug_handle h = {.flags = flags & ~(uint32_t)(MAKE_FLAGS | O_TRUNC)};
	struct fsb_entry ie;
	_pf_node_ d, n = {0};
	int r = pf_get(p, parent, &d);

	if (r < 0)
		return r;
	r = pf_simple(p, name ? FUSE_CREATE : FUSE_TMPFILE, &d, req, &in, sizeof(in), name ?: "/",
		NULL, &out, sizeof(out));
	if (r == 0) {
		h.plug = true;
		h.pfh = out.o.fh;
		h.epoch = d.epoch;
		r = pf_enter(&d, name, &out.e, NULL, ret);
		if (r < 0)
			release_plugin(p, &h, out.e.nodeid);
	} else if (r == -PLUGIN_PASS && name && HAS_BELOW(p, d.inner, create)) {
		r = BELOW(p, create, req, d.inner, name, mode, flags, &ie, &h.ifh);
	} else if (r == -PLUGIN_PASS && !name && HAS_BELOW(p, d.inner, tmpfile)) {
		r = BELOW(p, tmpfile, req, d.inner, mode, flags, &ie, &h.ifh);
	} else if (r == -PLUGIN_PASS) {
		return name && !d.inner
			       ? make_and_open(b, req, parent, name, mode, flags, ret, ret_fh)
			       : -EOPNOTSUPP;
	}
	if (r == 0 && !h.plug) {
		h.below = true;
		r = pf_enter_below(&d, name, req, &ie, ret);
		if (r < 0)
			plug_below_release(p, false, ie.node, h.ifh);
	}
	if (r < 0)
		return r;
	h.node = ret->node;
	r = pf_get(p, ret->node, &n);
	if (r == 0)
		r = add_handle(&n, &h, ret_fh);
	else if (h.below) /* the plugin has ended: of its own there is nothing to close */
		plug_below_release(p, false, ie.node, h.ifh);
	if (r < 0)
		b->ops->forget(b, ret->node, 1);
	return r;
}

int pf_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	return create(b, req, parent, name, mode, flags, ret, ret_fh);
}

int pf_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	return create(b, req, parent, NULL, mode, flags, ret, ret_fh);
}

void pf_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	struct pn *n;
	uint64_t pid;

	if (plug_handle_take(p, fh, &h) < 0)
		return;
	n = pn_get(&p->nodes, node);
	if (!n)
		return;
	/* A plugin started anew has not opened it. */
	if (pn_pid(&p->nodes, n, h.epoch, &pid) == 0)
		release_plugin(p, &h, pid ?: node);
	if (h.below)
		plug_below_release(p, h.dir, n->inner, h.ifh);
	pn_put(&p->nodes, n);
}

int pf_handle(const struct pf_node *n, uint64_t fh, struct plug_handle *ret)
{
	uint32_t before;
	int r = plug_handle_get(n->p, fh, ret);

	if (r < 0 || !ret->plug || ret->epoch == n->epoch)
		return r;
	before = atomic_load(&n->n->open_flags);
	ret->plug = false;
	r = open_plugin(n, NULL, ret->dir, ret->flags, ret);
	if (r < 0)
		return r;
	ret->epoch = n->epoch;
	atomic_store(&n->n->open_flags, before); /* the kernel goes by what it was told */
	if (!plug_handle_reopened(n->p, fh, ret)) {
		release_plugin(n->p, ret, n->pid);
		r = plug_handle_get(n->p, fh, ret);
	}
	return r;
}

/* Out of shared memory, which the plugin may have cut short. */
static int64_t from_shm(int fd, const struct iovec *iov, int n, uint64_t off, uint32_t bytes)
{
	int64_t r = preadv(fd, iov, n, (off_t)off);

	return r < 0 ? -errno : r < (int64_t)bytes ? -EIO : (int64_t)bytes;
}

static int64_t read_piece(const struct pf_node *n, const struct plug_handle *h,
	const struct iovec *iov, unsigned int niov, uint64_t off, uint32_t bytes)
{
	struct fuse_read_in in = {.fh = h->pfh, .offset = off, .size = bytes, .flags = h->flags};
	struct fuse_write_out o;
	struct plugin_slot slot;
	struct iovec v[] = {{0}, {&in, sizeof(in)}, {&slot, sizeof(slot)}}, out = {&o, sizeof(o)};
	struct pf_shm *shm = bytes < SHM_FROM ? NULL : pf_slot_get(n->p, bytes, &slot);
	int64_t r;

	if (!shm)
		return pf_ask(n->p, FUSE_READ, n, NULL, v, 2, iov, niov, 0);
	in.read_flags = PLUGIN_DATA_SHM;
	r = pf_ask(n->p, FUSE_READ, n, NULL, v, 3, &out, 1, sizeof(o));
	if (r >= 0)
		r = o.size > bytes ? -EIO : (int64_t)o.size;
	if (r > 0) {
		struct iovec part[VQ_MAX_SEGS];

		r = from_shm(shm->fd, part, (int)iov_slice(part, iov, niov, 0, (size_t)r), slot.off,
			(uint32_t)r);
	}
	pf_slot_put(n->p, shm, &slot);
	return r;
}

static int64_t write_piece(const struct pf_node *n, const struct fsb_req *req,
	const struct plug_handle *h, struct iovec *v, unsigned int nv, uint64_t off, uint32_t bytes,
	uint32_t write_flags)
{
	struct fuse_write_in in = {.fh = h->pfh,
		.offset = off,
		.size = bytes,
		.write_flags = write_flags & ~FSB_WRITE_APPEND, /* in.flags says it */
		.flags = h->flags};
	struct fuse_write_out o;
	struct plugin_slot slot;
	struct iovec out = {&o, sizeof(o)};
	struct pf_shm *shm = bytes < SHM_FROM ? NULL : pf_slot_get(n->p, bytes, &slot);
	int64_t r;

	v[1] = (struct iovec){&in, sizeof(in)}; /* data follows */
	if (shm) {
		struct iovec vs[] = {{0}, {&in, sizeof(in)}, {&slot, sizeof(slot)}};

		in.write_flags |= PLUGIN_DATA_SHM;
		r = pwritev(shm->fd, v + 2, (int)nv - 2, (off_t)slot.off);
		r = r == bytes ? pf_ask(n->p, FUSE_WRITE, n, req, vs, 3, &out, 1, sizeof(o)) : -EIO;
		pf_slot_put(n->p, shm, &slot);
	} else {
		r = pf_ask(n->p, FUSE_WRITE, n, req, v, nv, &out, 1, sizeof(o));
	}
	v[1] = (struct iovec){0}; /* this function's own */
	return r < 0 ? r : o.size > bytes ? -EIO : (int64_t)o.size;
}

int64_t pf_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	struct plug *p = plug_of(b);
	size_t all = iov_bytes(iov, (unsigned int)n), done = 0;
	struct plug_handle h = {0};
	_pf_node_ f;
	int64_t r = pf_get(p, node, &f);

	if (r == 0)
		r = pf_handle(&f, fh, &h);
	while (r == 0 && done < all) {
		struct iovec part[VQ_MAX_SEGS];
		size_t k = MIN(all - done, atomic_load(&p->max_io));

		r = read_piece(&f, &h, part, iov_slice(part, iov, (unsigned int)n, done, k),
			off + done, (uint32_t)k);
		if (r == -PLUGIN_PASS) {
			k = all - done;
			r = !HAS_BELOW(p, f.inner, readv) ? -EIO
			    : !h.below
				    ? -EBADF
				    : BELOW(p, readv, f.inner, h.ifh, part,
					      (int)iov_slice(part, iov, (unsigned int)n, done, k),
					      off + done);
		}
		if (r <= 0)
			break;
		done += (size_t)r;
		r = r < (int64_t)k; /* the end of the file */
	}
	return r < 0 && !done ? r : (int64_t)done;
}

int64_t pf_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags)
{
	struct plug *p = plug_of(b);
	bool v2 = atomic_load(&p->flags) & FUSE_HANDLE_KILLPRIV_V2;
	size_t all = iov_bytes(iov, (unsigned int)n), done = 0;
	struct plug_handle h = {0};
	_pf_node_ f;
	int64_t r = pf_get(p, node, &f);

	if (r == 0)
		r = pf_handle(&f, fh, &h);
	while (r == 0 && done < all) {
		struct iovec v[VQ_MAX_SEGS + 2];
		size_t k = MIN(all - done, atomic_load(&p->max_io));

		r = write_piece(&f, req, &h, v, 2 + iov_slice(v + 2, iov, (unsigned int)n, done, k),
			off + done, (uint32_t)k, v2 ? write_flags : 0);
		if (r == -PLUGIN_PASS) {
			k = all - done;
			r = !HAS_BELOW(p, f.inner, writev) ? -EROFS
			    : !h.below			   ? -EBADF
				       : BELOW(p, writev, req, f.inner, h.ifh, v,
						 (int)iov_slice(v, iov, (unsigned int)n, done, k),
						 off + done, write_flags);
		} else if (r > 0 && !v2 && write_flags & FUSE_WRITE_KILL_SUIDGID) {
			int e = pf_kill_suidgid(&f, req);

			r = e < 0 ? e : r;
		}
		if (r <= 0)
			break;
		done += (size_t)r;
		r = r < (int64_t)k;
	}
	return r < 0 && !done ? r : (int64_t)done;
}

int pf_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	struct plug *p = plug_of(b);
	struct fuse_fsync_in in = {.fsync_flags = datasync ? FUSE_FSYNC_FDATASYNC : 0};
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r == 0 && fh)
		r = pf_handle(&n, fh, &h);
	if (r < 0)
		return r;
	in.fh = h.pfh;
	r = pf_simple(p, h.dir ? FUSE_FSYNCDIR : FUSE_FSYNC, &n, NULL, &in, sizeof(in), NULL, NULL,
		NULL, 0);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, fsync) && (!fh || h.below)
			    ? BELOW(p, fsync, n.inner, h.ifh, datasync)
			    : 0;
	return r;
}

int pf_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	struct plug *p = plug_of(b);
	struct fuse_fallocate_in in = {.offset = off, .length = len, .mode = mode};
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r == 0)
		r = pf_handle(&n, fh, &h);
	if (r < 0)
		return r;
	in.fh = h.pfh;
	r = pf_simple(p, FUSE_FALLOCATE, &n, req, &in, sizeof(in), NULL, NULL, NULL, 0);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, fallocate) && h.below
			    ? BELOW(p, fallocate, req, n.inner, h.ifh, mode, off, len)
			    : -EOPNOTSUPP;
	return r;
}

int64_t pf_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct plug *p = plug_of(b);
	struct fuse_lseek_in in = {.offset = off, .whence = whence};
	struct fuse_lseek_out out;
	struct fuse_attr a;
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r == 0)
		r = pf_handle(&n, fh, &h);
	if (r < 0)
		return r;
	in.fh = h.pfh;
	r = pf_simple(p, FUSE_LSEEK, &n, NULL, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	if (r == 0)
		return out.offset > INT64_MAX ? -EIO : (int64_t)out.offset;
	if (r != -PLUGIN_PASS)
		return r;
	if (HAS_BELOW(p, n.inner, lseek) && h.below)
		return BELOW(p, lseek, n.inner, h.ifh, off, whence);
	r = pf_getattr(b, node, fh, &a); /* all of it is data */
	return r < 0		     ? r
	       : off >= a.size	     ? -ENXIO
	       : whence == SEEK_HOLE ? (int64_t)a.size
				     : (int64_t)off;
}

int64_t pf_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct plug *p = plug_of(b);
	const uint64_t data = UINT64_C(1) << FUSE_READ | UINT64_C(1) << FUSE_WRITE;
	struct fuse_copy_file_range_in in = {.off_in = off_in, .off_out = off_out, .len = len};
	struct plug_handle hi = {0}, ho = {0};
	struct fuse_write_out out;
	_pf_node_ from, to = {0};
	int r = pf_get(p, node_in, &from);

	if (r == 0)
		r = pf_get(p, node_out, &to);
	if (r == 0)
		r = pf_handle(&from, fh_in, &hi);
	if (r == 0)
		r = pf_handle(&to, fh_out, &ho);
	if (r < 0)
		return r;
	in.fh_in = hi.pfh;
	in.nodeid_out = to.pid;
	in.fh_out = ho.pfh;
	r = to.pid ? pf_simple(p, FUSE_COPY_FILE_RANGE, &from, req, &in, sizeof(in), NULL, NULL,
			     &out, sizeof(out))
		   : -PLUGIN_PASS;
	if (r == 0)
		return out.size > len ? -EIO : (int64_t)out.size;
	if (r != -PLUGIN_PASS)
		return r;
	/* Whoever has to see what is read or written sees this too: as reads and writes. */
	if ((from.pid || to.pid) && (atomic_load(&p->absent) & data) != data)
		return -EOPNOTSUPP;
	if (!HAS_BELOW(p, from.inner, copy_file_range) || !to.inner || !hi.below || !ho.below)
		return -EOPNOTSUPP;
	return BELOW(p, copy_file_range, req, from.inner, hi.ifh, off_in, to.inner, ho.ifh, off_out,
		len);
}
