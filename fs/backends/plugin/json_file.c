// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: open files.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/fuse_iov.h"

#include <fcntl.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

/* Flags of open in words: the numbers differ between machines. */
static void add_flags(struct msb_str *s, uint32_t flags)
{
	static const char *const access[] = {"r", "w", "rw", "rw"};

	msb_str_addf(s, ",\"access\":\"%s\"", access[flags & O_ACCMODE]);
	if (flags & O_APPEND)
		msb_str_adds(s, ",\"append\":true");
	if (flags & O_TRUNC)
		msb_str_adds(s, ",\"truncate\":true");
	if (flags & O_EXCL)
		msb_str_adds(s, ",\"exclusive\":true");
}

int pj_open(
	struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct plug *p = plug_of(b);
	struct plug_handle h = {.node = node};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0 && pj_asks(&n, FSB_OPEN, NULL)) {
		r = pj_begin(&s, &n, FSB_OPEN, NULL, req);
		add_flags(&s, flags);
		if (r == 0)
			r = pj_ask(p, &s, NULL);
	}
	if (r < 0 && r != -PLUGIN_PASS)
		return r;
	if (n.inner) {
		r = p->inner->ops->open ? BELOW(p, open, req, n.inner, flags, &h.ifh) : 0;
		(void)pj_after(&n, FSB_OPEN, NULL, r);
		if (r < 0)
			return r;
		h.below = true;
	} else if (flags & O_TRUNC) {
		const struct fsb_setattr set = {.valid = FATTR_SIZE};
		struct fuse_attr a;

		r = b->ops->setattr(b, req, node, 0, &set, &a);
		if (r < 0)
			return r;
	}
	r = plug_handle_add(p, &h, ret_fh);
	if (r < 0 && h.below)
		plug_below_release(p, false, n.inner, h.ifh);
	return r;
}

/* CREATE, and TMPFILE: @name NULL. */
static int create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_json_ *o = NULL;
	enum fsb_op op = name ? FSB_CREATE : FSB_TMPFILE;
	struct fuse_attr a = {.mode = S_IFREG | (mode & 07777 & ~req->umask),
		.nlink = 1,
		.uid = req->uid,
		.gid = req->gid};
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	struct fsb_entry ie;
	_pf_node_ d;
	int r = pj_get(p, parent, &d);

	if (r < 0)
		return r;
	r = -PLUGIN_PASS;
	if (pj_asks(&d, op, name)) {
		r = pj_begin(&s, &d, op, name, req);
		pj_add_number(&s, "mode", a.mode & 07777);
		add_flags(&s, flags);
		if (r == 0)
			r = pj_ask(p, &s, &o);
	}
	if (r == 0) {
		r = json_object_get(o, "attr") ? pj_attr_read(json_object_get(o, "attr"), &a) : 0;
		if (r == 0 && !S_ISREG(a.mode))
			r = -EIO;
		if (r == 0)
			r = pj_enter(&d, name, &a, NULL, ret);
	} else if (r == -PLUGIN_PASS && name && HAS_BELOW(p, d.inner, create)) {
		r = BELOW(p, create, req, d.inner, name, mode, flags, &ie, &h.ifh);
		h.below = r == 0;
	} else if (r == -PLUGIN_PASS && !name && HAS_BELOW(p, d.inner, tmpfile)) {
		r = BELOW(p, tmpfile, req, d.inner, mode, flags, &ie, &h.ifh);
		h.below = r == 0;
	} else if (r == -PLUGIN_PASS) {
		r = name ? -EROFS : -EOPNOTSUPP;
	}
	if (h.below) {
		(void)pj_after(&d, op, name, 0);
		r = pj_enter(&d, name, NULL, &ie, ret);
		if (r < 0)
			plug_below_release(p, false, ie.node, h.ifh);
	}
	if (r < 0)
		return r;
	h.node = ret->node;
	r = plug_handle_add(p, &h, ret_fh);
	if (r < 0 && h.below)
		plug_below_release(p, false, ie.node, h.ifh);
	if (r < 0)
		b->ops->forget(b, ret->node, 1);
	return r;
}

int pj_create(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	return create(b, req, parent, name, mode, flags, ret, ret_fh);
}

int pj_tmpfile(struct fsb *b, const struct fsb_req *req, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *ret_fh)
{
	return create(b, req, parent, NULL, mode, flags, ret, ret_fh);
}

void pj_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	struct pf_node f = {.p = p};

	if (plug_handle_take(p, fh, &h) < 0)
		return;
	pj_list_free(h.list);
	f.n = pn_get(&p->nodes, node);
	if (!f.n)
		return;
	/* Only ever told of: closing cannot fail. */
	(void)pj_after(&f, FSB_RELEASE, NULL, 0);
	if (h.below)
		plug_below_release(p, h.dir, f.n->inner, h.ifh);
	pn_put(&p->nodes, f.n);
}

/* At most PLUGIN_MAX_JSON_DATA bytes, by the plugin; @after: what there is of them from below. */
static int64_t read_piece(const struct pf_node *n, uint64_t off, size_t bytes, const uint8_t *after,
	int64_t have, uint8_t *buf)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_json_ *o = NULL;
	int r = pj_begin(&s, n, FSB_READ, NULL, NULL);

	pj_add_number(&s, "off", off);
	pj_add_number(&s, "size", bytes);
	if (after) {
		msb_str_adds(&s, ",\"after\":true");
		pj_add_data(&s, after, (size_t)have);
	}
	if (r == 0)
		r = pj_ask(n->p, &s, &o);
	return r < 0 ? r : pj_data_read(o, buf, bytes);
}

/* A piece from below, as the plugin wants it to look. */
static int64_t read_after(
	const struct pf_node *n, uint64_t fh, uint64_t off, size_t bytes, uint8_t *buf)
{
	struct iovec v = {buf, bytes};
	_cleanup_free_ uint8_t *changed = malloc(bytes);
	int64_t have, r;

	if (!changed)
		return -ENOMEM;
	have = BELOW(n->p, readv, n->inner, fh, &v, 1, off);
	if (have <= 0)
		return have;
	r = read_piece(n, off, bytes, buf, have, changed);
	if (r >= 0)
		memcpy(buf, changed, (size_t)r);
	return r == -PLUGIN_PASS ? have : r;
}

int64_t pj_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	struct plug *p = plug_of(b);
	size_t all = iov_bytes(iov, (unsigned int)n), done = 0;
	_cleanup_free_ uint8_t *buf = NULL;
	struct plug_handle h = {0};
	bool asks, after;
	_pf_node_ f;
	int64_t r = pj_get(p, node, &f);

	if (r == 0)
		r = plug_handle_get(p, fh, &h);
	if (r < 0)
		return r;
	asks = pj_asks(&f, FSB_READ, NULL);
	after = h.below && pj_asks_after(&f, FSB_READ, NULL);
	if (asks || after) {
		buf = malloc(PLUGIN_MAX_JSON_DATA);
		if (!buf)
			return -ENOMEM;
	}
	while (done < all) {
		struct iovec part[VQ_MAX_SEGS];
		size_t k = MIN(all - done, buf ? PLUGIN_MAX_JSON_DATA : all);

		r = asks ? read_piece(&f, off + done, k, NULL, 0, buf) : -PLUGIN_PASS;
		if (r == -PLUGIN_PASS && after)
			r = read_after(&f, h.ifh, off + done, k, buf);
		if (r == -PLUGIN_PASS) {
			r = !h.below ? -EIO
				     : BELOW(p, readv, f.inner, h.ifh, part,
					       (int)iov_slice(part, iov, (unsigned int)n, done, k),
					       off + done);
		} else if (r > 0) {
			(void)iov_write(iov, (unsigned int)n, done, buf, (size_t)r);
		}
		if (r <= 0)
			break;
		done += (size_t)r;
		if ((size_t)r < k) /* the end of the file */
			break;
	}
	return r < 0 && !done ? r : (int64_t)done;
}

static int64_t write_piece(const struct pf_node *n, const struct fsb_req *req, uint64_t off,
	const uint8_t *data, size_t bytes)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_json_ *o = NULL;
	const json_t *size;
	int r = pj_begin(&s, n, FSB_WRITE, NULL, req);

	pj_add_number(&s, "off", off);
	pj_add_number(&s, "size", bytes);
	pj_add_data(&s, data, bytes);
	if (r == 0)
		r = pj_ask(n->p, &s, &o);
	if (r < 0)
		return r;
	size = json_object_get(o, "size");
	if (!size)
		return (int64_t)bytes;
	return json_is_integer(size) && json_integer_value(size) >= 0 &&
			       json_integer_value(size) <= (json_int_t)bytes
		       ? json_integer_value(size)
		       : -EIO;
}

int64_t pj_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t write_flags)
{
	struct plug *p = plug_of(b);
	size_t all = iov_bytes(iov, (unsigned int)n), done = 0;
	_cleanup_free_ uint8_t *buf = NULL;
	struct plug_handle h = {0};
	bool asks;
	_pf_node_ f;
	int64_t r = pj_get(p, node, &f);

	if (r == 0)
		r = plug_handle_get(p, fh, &h);
	if (r < 0)
		return r;
	asks = pj_asks(&f, FSB_WRITE, NULL);
	if (!asks)
		return !h.below ? -EROFS
				: pj_after(&f, FSB_WRITE, NULL,
					  BELOW(p, writev, req, f.inner, h.ifh, iov, n, off,
						  write_flags));
	buf = malloc(PLUGIN_MAX_JSON_DATA);
	if (!buf)
		return -ENOMEM;
	while (done < all) {
		size_t k = MIN(all - done, PLUGIN_MAX_JSON_DATA);

		/* What the plugin has seen is what is written, whatever a guest does meanwhile. */
		(void)iov_read(iov, (unsigned int)n, done, buf, k);
		r = write_piece(&f, req, off + done, buf, k);
		if (r == -PLUGIN_PASS) {
			const struct iovec v = {buf, k};

			r = !h.below ? -EROFS
				     : pj_after(&f, FSB_WRITE, NULL,
					       BELOW(p, writev, req, f.inner, h.ifh, &v, 1,
						       off + done, write_flags));
		}
		if (r <= 0)
			break;
		done += (size_t)r;
		if ((size_t)r < k)
			break;
	}
	return r < 0 && !done ? r : (int64_t)done;
}

int pj_fsync(struct fsb *b, uint64_t node, uint64_t fh, bool datasync)
{
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r < 0)
		return r;
	if (fh && plug_handle_get(p, fh, &h) < 0)
		return -EBADF;
	r = pj_simple(&n, FSB_FSYNC, NULL, NULL, NULL);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, fsync) && (!fh || h.below)
			    ? BELOW(p, fsync, n.inner, h.ifh, datasync)
			    : 0;
	return r;
}

int pj_fallocate(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = plug_handle_get(p, fh, &h);
	if (r < 0)
		return r;
	r = -PLUGIN_PASS;
	if (pj_asks(&n, FSB_FALLOCATE, NULL)) {
		r = pj_begin(&s, &n, FSB_FALLOCATE, NULL, req);
		pj_add_number(&s, "mode", mode);
		pj_add_number(&s, "off", off);
		pj_add_number(&s, "size", len);
		if (r == 0)
			r = pj_ask(p, &s, NULL);
	}
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, fallocate) && h.below
			    ? (int)pj_after(&n, FSB_FALLOCATE, NULL,
				      BELOW(p, fallocate, req, n.inner, h.ifh, mode, off, len))
			    : -EOPNOTSUPP;
	return r;
}

/* Whether reading and writing it go by the plugin: then nothing may go around it. */
static bool sees_data(const struct pf_node *n)
{
	return pj_asks(n, FSB_READ, NULL) || pj_asks(n, FSB_WRITE, NULL) ||
	       pj_asks_after(n, FSB_READ, NULL);
}

int64_t pj_lseek(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct plug *p = plug_of(b);
	struct fuse_attr a;
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = plug_handle_get(p, fh, &h);
	if (r < 0)
		return r;
	if (HAS_BELOW(p, n.inner, lseek) && h.below && !sees_data(&n))
		return BELOW(p, lseek, n.inner, h.ifh, off, whence);
	r = pj_getattr(b, node, fh, &a); /* all of it is data */
	return r < 0		     ? r
	       : off >= a.size	     ? -ENXIO
	       : whence == SEEK_HOLE ? (int64_t)a.size
				     : (int64_t)off;
}

int64_t pj_copy_file_range(struct fsb *b, const struct fsb_req *req, uint64_t node_in,
	uint64_t fh_in, uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out,
	uint64_t len)
{
	struct plug *p = plug_of(b);
	struct plug_handle hi = {0}, ho = {0};
	_pf_node_ from, to = {0};
	int r = pj_get(p, node_in, &from);

	if (r == 0)
		r = pj_get(p, node_out, &to);
	if (r == 0)
		r = plug_handle_get(p, fh_in, &hi);
	if (r == 0)
		r = plug_handle_get(p, fh_out, &ho);
	if (r < 0)
		return r;
	/* Done by reads and writes, then. */
	if (!HAS_BELOW(p, from.inner, copy_file_range) || !to.inner || !hi.below || !ho.below ||
		sees_data(&from) || sees_data(&to))
		return -EOPNOTSUPP;
	return pj_after(&to, FSB_COPY_FILE_RANGE, NULL,
		BELOW(p, copy_file_range, req, from.inner, hi.ifh, off_in, to.inner, ho.ifh,
			off_out, len));
}
