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
	if (h->version != IMG_RECORD_VERSION)
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
		if (!rec->spans[k].len || rec->spans[k].len > left)
			return damaged(e, "sizes that do not add up");
		left -= rec->spans[k].len;
	}
	if (left)
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

struct replay {
	const struct img_record *rec;
	const struct img_record_ops *ops;
	void *arg;
	uint64_t number; /* being read */
	unsigned int shift;
	uint64_t left; /* of a run of raw bytes */
	uint64_t raw;  /* bytes that came */
	uint64_t span;
};

static int operation(struct replay *x, struct msb_err *e)
{
	uint64_t v = x->number;

	x->number = 0;
	x->shift = 0;
	if (v == 1) {
		if (x->span == x->rec->head.nspans)
			return damaged(e, "more files than spans");
		return x->ops->data(x->arg, &x->rec->spans[x->span++], e);
	}
	if (!v || v & 1)
		return damaged(e, "an unknown operation");
	x->left = v >> 1;
	if (x->left > x->rec->head.raw_bytes - x->raw)
		return damaged(e, "more bytes than it says");
	return 0;
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
	if (r == 0 && (in.pos != in.size || x.left || x.shift || x.raw != rec->head.raw_bytes ||
			      x.span != rec->head.nspans))
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

static int tar_data(void *arg, const struct img_span *s, struct msb_err *e)
{
	struct tar *t = arg;
	uint64_t at = (uint64_t)s->blk * IMG_PACK_ALIGN;
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
	for (uint64_t off = 0; r == 0 && off < s->len;) {
		size_t want = s->len - off < READ_BYTES ? (size_t)(s->len - off) : READ_BYTES;
		int64_t n = msb_pread_full(t->fd, t->buf, want, at + off);

		if (n < 0)
			return msb_err_set(e, (int)-n, "pack %s: %s", name, strerror((int)-n));
		if ((size_t)n < want)
			return msb_err_set(e, EBADMSG, "pack %s is too short", name);
		r = t->fn(t->arg, t->buf, want, e);
		off += want;
	}
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
