// SPDX-License-Identifier: Apache-2.0
// Layer records: reading one, and making its tar again.
#include "fs/image/record.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>

#define OUT_BYTES  (128u << 10)
#define READ_BYTES (256u << 10)

struct img_record {
	const uint8_t *base, *body;
	const struct img_span *spans;
	struct img_record_head head;
	uint64_t n;
	bool mapped;
};

static int damaged(struct msb_err *e, const char *why)
{
	return msb_err_set(e, EBADMSG, "damaged layer record: %s", why);
}

int img_record_from_bytes(const void *p, size_t n, struct img_record **ret, struct msb_err *e)
{
	_cleanup_free_ struct img_record *rec = calloc(1, sizeof(*rec));
	struct img_record_head *h;
	uint64_t off, left;

	if (!rec)
		return msb_err_set(e, ENOMEM, "out of memory");
	h = &rec->head;
	if (n < sizeof(*h))
		return damaged(e, "too short");
	memcpy(h, p, sizeof(*h));
	if (memcmp(h->magic, "MSBLAYER", sizeof(h->magic)) != 0)
		return damaged(e, "not one");
	if (!h->version || h->version > IMG_RECORD_VERSION)
		return msb_err_set(
			e, EBADMSG, "a layer record of another version (%u)", h->version);
	if (h->head_sum != XXH3_64bits(h, offsetof(struct img_record_head, head_sum)))
		return damaged(e, "wrong checksum of its head");
	left = n - sizeof(*h);
	if (h->body_bytes > left || h->nspans > IMG_MAX_RECORD_SPANS)
		return damaged(e, "sizes that do not fit");
	off = sizeof(*h) + h->body_bytes;
	off += -off % 16;
	if (off > n || n - off != h->nspans * sizeof(*rec->spans))
		return damaged(e, "it is cut short");
	rec->base = p;
	rec->n = n;
	rec->body = rec->base + sizeof(*h);
	rec->spans = (const struct img_span *)(rec->base + off);
	if (XXH3_64bits(rec->body, h->body_bytes) != h->body_sum)
		return damaged(e, "wrong checksum of its body");
	if (XXH3_64bits(rec->spans, n - off) != h->spans_sum)
		return damaged(e, "wrong checksum of its spans");
	left = h->tar_bytes;
	if (h->raw_bytes > left)
		return damaged(e, "sizes that do not add up");
	left -= h->raw_bytes;
	for (uint64_t k = 0; k < h->nspans; k++) {
		uint64_t len = rec->spans[k].len;

		/* Of parts the replay knows how long they are together. */
		if (!len || (h->version == 1 && len > left))
			return damaged(e, "sizes that do not add up");
		left -= h->version == 1 ? len : 0;
	}
	if (h->version == 1 && left)
		return damaged(e, "sizes that do not add up");
	*ret = steal_ptr(rec);
	return 0;
}

int img_record_open(int fd, struct img_record **ret, struct msb_err *e)
{
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "cannot read a layer record: %m");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct img_record_head))
		return damaged(e, "too short");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return msb_err_set(e, errno, "cannot map a layer record: %m");
	r = img_record_from_bytes(p, (size_t)st.st_size, ret, e);
	if (r < 0)
		munmap(p, (size_t)st.st_size);
	else
		(*ret)->mapped = true;
	return r;
}

struct img_record *img_record_close(struct img_record *rec)
{
	if (rec && rec->mapped)
		munmap((void *)rec->base, rec->n);
	free(rec);
	return NULL;
}

uint64_t img_record_tar_bytes(const struct img_record *rec)
{
	return rec->head.tar_bytes;
}

const struct img_span *img_record_spans(const struct img_record *rec, size_t *ret_n)
{
	*ret_n = (size_t)rec->head.nspans;
	return rec->spans;
}

/* ---- the body's operations */

enum { MARK, COUNT, GAP, LENGTH }; /* what a number is */

struct replay {
	const struct img_record *rec;
	const struct img_record_ops *ops;
	void *arg;
	uint64_t number; /* being read */
	unsigned int shift, what;
	uint64_t left;	    /* of a run of raw bytes */
	uint64_t raw, data; /* bytes that came */
	uint64_t span;
	struct img_tar_part *parts; /* of that span: nparts of count */
	size_t nparts, cap;
	uint64_t count, end; /* end: where the last one ends */
};

static int give(struct replay *x, const struct img_tar_part *parts, size_t n, struct msb_err *e)
{
	uint64_t left = x->rec->head.tar_bytes - x->rec->head.raw_bytes - x->data;

	for (size_t k = 0; k < n; k++) {
		if (parts[k].len > left)
			return damaged(e, "more bytes than it says");
		left -= parts[k].len;
		x->data += parts[k].len;
	}
	x->what = MARK;
	return x->ops->data(x->arg, &x->rec->spans[x->span++], parts, n, e);
}

static int mark(struct replay *x, uint64_t v, struct msb_err *e)
{
	bool span = v == 1 || (v == 3 && x->rec->head.version > 1);

	if (span && x->span == x->rec->head.nspans)
		return damaged(e, "more files than spans");
	if (v == 1) {
		const struct img_tar_part all = {0, x->rec->spans[x->span].len};

		return give(x, &all, 1, e);
	}
	if (span) {
		x->what = COUNT;
		return 0;
	}
	if (!v || v & 1)
		return damaged(e, "an unknown operation");
	x->left = v >> 1;
	if (x->left > x->rec->head.raw_bytes - x->raw)
		return damaged(e, "more bytes than it says");
	return 0;
}

static int count(struct replay *x, uint64_t v, struct msb_err *e)
{
	x->count = v;
	x->nparts = 0;
	x->end = 0;
	x->what = GAP;
	if (v > IMG_TAR_MAX_PARTS)
		return damaged(e, "a file in too many parts");
	if (v > x->cap) {
		struct img_tar_part *p = reallocarray(x->parts, v, sizeof(*p));

		if (!p)
			return msb_err_set(e, ENOMEM, "out of memory");
		x->parts = p;
		x->cap = v;
	}
	return v ? 0 : give(x, NULL, 0, e);
}

static int part(struct replay *x, uint64_t v, struct msb_err *e)
{
	struct img_tar_part *p = &x->parts[x->nparts];

	if (v > x->rec->spans[x->span].len - x->end || (x->what == LENGTH && !v))
		return damaged(e, "a part that is not in its file");
	x->end += v;
	if (x->what == GAP) {
		p->off = x->end;
		x->what = LENGTH;
		return 0;
	}
	p->len = v;
	x->what = GAP;
	return ++x->nparts == x->count ? give(x, x->parts, x->nparts, e) : 0;
}

static int operation(struct replay *x, struct msb_err *e)
{
	uint64_t v = x->number;

	x->number = 0;
	x->shift = 0;
	switch (x->what) {
	case MARK: return mark(x, v, e);
	case COUNT: return count(x, v, e);
	default: return part(x, v, e);
	}
}

static int take(struct replay *x, const uint8_t *p, size_t n, struct msb_err *e)
{
	int r = 0;

	while (r == 0 && n) {
		if (x->left) {
			size_t k = n < x->left ? n : (size_t)x->left;

			r = x->ops->raw(x->arg, p, k, e);
			x->left -= k;
			x->raw += k;
			p += k;
			n -= k;
			continue;
		}
		if (x->shift > 56)
			return damaged(e, "a number that is too long");
		x->number |= (uint64_t)(*p & 0x7f) << x->shift;
		x->shift += 7;
		n--;
		if (!(*p++ & 0x80))
			r = operation(x, e);
	}
	return r;
}

int img_record_replay(const struct img_record *rec, const struct img_record_ops *ops, void *arg,
	struct msb_err *e)
{
	struct replay x = {.rec = rec, .ops = ops, .arg = arg};
	ZSTD_inBuffer in = {rec->body, (size_t)rec->head.body_bytes, 0};
	_cleanup_free_ uint8_t *buf = malloc(OUT_BYTES);
	ZSTD_DCtx *zstd = ZSTD_createDCtx();
	size_t left = 1;
	int r = buf && zstd ? 0 : msb_err_set(e, ENOMEM, "out of memory");

	if (zstd)
		(void)ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, IMG_RECORD_WINDOW_LOG);
	while (r == 0 && left) {
		ZSTD_outBuffer out = {buf, OUT_BYTES, 0};

		left = ZSTD_decompressStream(zstd, &out, &in);
		if (ZSTD_isError(left))
			r = damaged(e, ZSTD_getErrorName(left));
		else if (left && !out.pos && in.pos == in.size)
			r = damaged(e, "its body ends too early");
		else
			r = take(&x, buf, out.pos, e);
	}
	ZSTD_freeDCtx(zstd);
	free(x.parts);
	if (r == 0 && (in.pos != in.size || x.left || x.shift || x.what != MARK ||
			      x.raw != rec->head.raw_bytes || x.span != rec->head.nspans ||
			      x.raw + x.data != rec->head.tar_bytes))
		r = damaged(e, "its body is not what it says");
	return r;
}

/* ---- the tar again */

struct tar {
	int packs_fd, fd; /* fd: of pack id, or -1 */
	uint32_t id;
	char *buf;
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e);
	void *arg;
};

static int tar_raw(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct tar *t = arg;

	return t->fn(t->arg, p, n, e);
}

static int tar_part(struct tar *t, uint64_t at, uint64_t len, struct msb_err *e)
{
	int r = 0;

	for (uint64_t off = 0; r == 0 && off < len;) {
		size_t want = len - off < READ_BYTES ? (size_t)(len - off) : READ_BYTES;
		int64_t n = msb_pread_full(t->fd, t->buf, want, at + off);

		if (n < 0)
			return msb_err_set(e, (int)-n, "pack %08x: %s", t->id, strerror((int)-n));
		if ((size_t)n < want)
			return msb_err_set(e, EBADMSG, "pack %08x is too short", t->id);
		r = t->fn(t->arg, t->buf, want, e);
		off += want;
	}
	return r;
}

static int tar_data(void *arg, const struct img_span *s, const struct img_tar_part *parts,
	size_t nparts, struct msb_err *e)
{
	struct tar *t = arg;
	char name[16];
	int r = 0;

	(void)snprintf(name, sizeof(name), "%08x", s->pack);
	if (t->fd < 0 || t->id != s->pack) {
		if (t->fd >= 0)
			close(t->fd);
		t->fd = openat(t->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		t->id = s->pack;
	}
	if (t->fd < 0)
		return msb_err_set(e, errno == ENOENT ? EBADMSG : errno, "pack %s: %m", name);
	for (size_t k = 0; r == 0 && k < nparts; k++)
		r = tar_part(t, (uint64_t)s->blk * IMG_PACK_ALIGN + parts[k].off, parts[k].len, e);
	return r;
}

int img_record_tar(const struct img_record *rec, int packs_fd,
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e), void *arg,
	struct msb_err *e)
{
	static const struct img_record_ops ops = {tar_raw, tar_data};
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	struct tar t = {.packs_fd = packs_fd, .fd = -1, .buf = buf, .fn = fn, .arg = arg};
	int r;

	if (!buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = img_record_replay(rec, &ops, &t, e);
	if (t.fd >= 0)
		close(t.fd);
	return r;
}
