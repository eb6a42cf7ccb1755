// SPDX-License-Identifier: Apache-2.0
// passthrough: files' data.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"
#include "fs/reopen.h"

#include <fcntl.h>

/* A file for an op on its data: by a handle, or where there are none by its node. */
static int begin(struct pt *p, uint64_t node, uint64_t fh, enum pt_fd need, struct pt_ref *ret)
{
	const struct pt_handle *h = pt_handle_get(p, fh);
	int r;

	if (h ? h->dir != NULL : fh || !p->stateless)
		return -EBADF;
	if (h) {
		r = pt_get(&p->nodes, node, PT_NODE, ret);
		if (r == 0)
			ret->fd = h->fd;
		return r;
	}
	r = pt_open_ref(p, node, need, ret);
	if (r == 0 && S_ISDIR(ret->node->file.type)) {
		pt_put(&p->nodes, ret);
		return -EISDIR;
	}
	return r;
}

/* The same to write: set-id bits and capabilities are gone then, the guest's set-id bits where
 * @writer has no right to keep them. */
static int begin_write(
	struct pt *p, uint64_t node, uint64_t fh, const struct fsb_req *writer, struct pt_ref *ret)
{
	uint8_t mask = PT_KILL_HOST | PT_KILL_CAPS | (writer ? PT_KILL_GUEST : 0);
	int r = p->readonly ? -EROFS : begin(p, node, fh, PT_WRITE, ret);

	if (r < 0 || !(ret->kill & mask))
		return r;
	{
		struct pt_ref copy = *ret; /* what changes attributes may need another descriptor */

		r = pt_kill(p, &copy, writer);
	}
	if (r < 0)
		pt_put(&p->nodes, ret);
	return r;
}

int64_t pt_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	ssize_t r = begin(p, node, fh, PT_READ, &f);

	if (r < 0)
		return r;
	r = preadv(f.fd, iov, n, (off_t)off);
	r = r < 0 ? -errno : r;
	pt_put(&p->nodes, &f);
	return r;
}

int64_t pt_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	ssize_t r =
		begin_write(p, node, fh, write_flags & FUSE_WRITE_KILL_SUIDGID ? req : NULL, &f);

	if (r < 0)
		return r;
	/* Another machine, or the host, may have written the file's end since this guest saw it. */
	r = write_flags & FSB_WRITE_APPEND ? pwritev2(f.fd, iov, n, (off_t)off, RWF_APPEND)
					   : pwritev(f.fd, iov, n, (off_t)off);
	r = r < 0 ? -errno : r;
	pt_put(&p->nodes, &f);
	return r;
}

int pt_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	struct pt *p = pt_of(b);
	const struct pt_handle *h = pt_handle_get(p, fh);
	struct pt_ref f;
	int r;

	if (h) {
		r = datasync ? fdatasync(h->fd) : fsync(h->fd);
		return r < 0 ? -errno : 0;
	}
	r = pt_open_ref(p, node, PT_READ, &f); /* a directory, or any where there are no handles */
	if (r < 0)
		return r;
	if (!p->stateless && !S_ISDIR(f.node->file.type))
		r = -EBADF;
	else if ((datasync ? fdatasync(f.fd) : fsync(f.fd)) < 0)
		r = -errno;
	pt_put(&p->nodes, &f);
	return r;
}

int pt_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r = begin_write(p, node, fh, NULL, &f);

	if (r < 0)
		return r;
	r = fallocate(f.fd, (int)mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}

int64_t pt_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	off_t r = begin(p, node, fh, PT_READ, &f);

	if (r < 0)
		return r;
	r = lseek(f.fd, (off_t)off, (int)whence);
	r = r < 0 ? -errno : r;
	pt_put(&p->nodes, &f);
	return r;
}

int64_t pt_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct pt *p = pt_of(b);
	off_t from = (off_t)off_in, to = (off_t)off_out;
	struct pt_ref in, out;
	ssize_t r = begin(p, node_in, fh_in, PT_READ, &in);

	if (r < 0)
		return r;
	/* There is no flag for set-id bits: root alone is taken to have the right to keep them. */
	r = begin_write(p, node_out, fh_out, req->uid ? req : NULL, &out);
	if (r == 0) {
		r = copy_file_range(in.fd, &from, out.fd, &to, len, 0);
		r = r < 0 ? -errno : r;
		pt_put(&p->nodes, &out);
	}
	pt_put(&p->nodes, &in);
	return r;
}

/* Some node of file system @dev; 0. */
static uint64_t node_on(struct pt *p, uint32_t dev)
{
	struct pt_nodes *t = &p->nodes;

	LOCK_SCOPE(&t->lock);
	if (!t->device[dev].nodes)
		return 0;
	for (size_t i = 0; i < t->buckets; i++)
		for (const struct pt_node *n = t->by_id[i]; n; n = n->next_by_id)
			if (n->file.dev == dev && !n->gone &&
				(S_ISDIR(n->file.type) || S_ISREG(n->file.type)))
				return n->id;
	return 0;
}

static int sync_one(struct pt *p, uint64_t node)
{
	struct pt_ref f;
	int r = pt_open_ref(p, node, PT_READ, &f);

	if (r < 0)
		return r == -ESTALE ? 0 : r;
	r = syncfs(f.fd) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return r;
}

int pt_syncfs(struct fsb *b, uint64_t node)
{
	struct pt *p = pt_of(b);
	int r = sync_one(p, FSB_ROOT);

	/* And those mounted below, as far as the guest knows anything of them. */
	for (uint32_t dev = 1; dev < PT_MAX_DEVICES; dev++) {
		uint64_t some = node_on(p, dev);
		int e = some ? sync_one(p, some) : 0;

		r = r < 0 ? r : e;
	}
	return r;
}
