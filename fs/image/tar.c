// SPDX-License-Identifier: Apache-2.0
// Reading tar: ustar, pax and GNU headers, pushed in pieces of any size.
#include "fs/image/tar.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <stdbool.h>
#include <string.h>

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8], prefix[155],
		pad[12];
};
_Static_assert(sizeof(struct header) == IMG_TAR_BLOCK, "a tar header is one block");

enum state {
	HEADER,
	META, /* the body of a GNU long name or an extended header */
	SKIP_META,
	DATA,
	PAD,
	END
};

struct img_tar {
	const struct img_tar_ops *ops;
	void *arg;
	enum state state;
	union {
		struct header h;
		char raw[IMG_TAR_BLOCK];
	};
	size_t have;	  /* bytes of the header */
	bool zero;	  /* the last block was all zeros */
	bool sparse;	  /* what failed is a sparse file */
	uint64_t left;	  /* of the body */
	unsigned int pad; /* after it */
	char meta;	  /* type of the META body */
	struct msb_str pax, longname, longlink, path;
	char link[sizeof(((struct header *)0)->link) + 1];
	struct img_tar_xattr xattrs[IMG_TAR_MAX_XATTRS];
};

int img_tar_new(const struct img_tar_ops *ops, void *arg, struct img_tar **ret)
{
	struct img_tar *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->ops = ops;
	t->arg = arg;
	*ret = t;
	return 0;
}

struct img_tar *img_tar_free(struct img_tar *t)
{
	if (t) {
		msb_str_done(&t->pax);
		msb_str_done(&t->longname);
		msb_str_done(&t->longlink);
		msb_str_done(&t->path);
		free(t);
	}
	return NULL;
}

/* ---- numbers */

/* Octal, padded with spaces and NULs; or base-256, two's complement, where the high bit is set. */
static int number(const char *p, size_t n, int64_t *ret)
{
	const unsigned char *b = (const unsigned char *)p;
	uint64_t v = 0;
	size_t i = 0;

	if (b[0] & 0x80) {
		bool negative = b[0] & 0x40;

		v = negative ? UINT64_MAX << 6 | (b[0] & 0x3f) : b[0] & 0x3f;
		for (i = 1; i < n; i++) {
			if (v >> 55 != (negative ? 0x1ff : 0))
				return -EBADMSG;
			v = v << 8 | b[i];
		}
		*ret = (int64_t)v;
		return 0;
	}
	while (i < n && (b[i] == ' ' || b[i] == 0))
		i++;
	for (; i < n && b[i] >= '0' && b[i] <= '7'; i++)
		v = v << 3 | (b[i] - (unsigned char)'0'); /* 12 digits are 36 bits */
	for (; i < n; i++)
		if (b[i] != ' ' && b[i] != 0)
			return -EBADMSG;
	*ret = (int64_t)v;
	return 0;
}

static int number_u32(const char *p, size_t n, uint32_t *ret)
{
	int64_t v;

	if (number(p, n, &v) < 0 || v < 0 || v > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

static bool checksum_ok(const struct img_tar *t)
{
	int64_t want, u = 0, s = 0; /* old tars summed signed bytes */

	if (number(t->h.chksum, sizeof(t->h.chksum), &want) < 0)
		return false;
	for (size_t i = 0; i < IMG_TAR_BLOCK; i++) {
		bool in_sum =
			i < offsetof(struct header, chksum) || i >= offsetof(struct header, type);

		u += in_sum ? (unsigned char)t->raw[i] : ' ';
		s += in_sum ? (signed char)t->raw[i] : ' ';
	}
	return want == u || want == s;
}

/* ---- pax records */

/* Takes the "LENGTH KEY=VALUE\n" at @p. */
static int record(const char *p, size_t n, size_t *ret_len, const char **ret_key, size_t *ret_key_n,
	const char **ret_val, size_t *ret_val_n)
{
	size_t len = 0, i = 0;
	const char *eq;

	for (; i < n && p[i] >= '0' && p[i] <= '9' && len <= IMG_TAR_MAX_PAX; i++)
		len = len * 10 + (size_t)(p[i] - '0');
	if (!i || i >= n || p[i] != ' ' || len > n || len < i + 4 || p[len - 1] != '\n')
		return -EBADMSG;
	i++;
	eq = memchr(p + i, '=', len - i);
	if (!eq || eq == p + i)
		return -EBADMSG;
	*ret_len = len;
	*ret_key = p + i;
	*ret_key_n = (size_t)(eq - (p + i));
	*ret_val = eq + 1;
	*ret_val_n = (size_t)(p + len - 1 - (eq + 1));
	return 0;
}

static int decimal(const char *p, size_t n, uint64_t max, uint64_t *ret)
{
	char text[24];

	if (n >= sizeof(text))
		return -EBADMSG;
	memcpy(text, p, n);
	text[n] = 0;
	return msb_parse_u64(text, 0, max, ret) < 0 ? -EBADMSG : 0;
}

/* [-]SECONDS[.FRACTION]; digits past the ninth are cut. */
static int pax_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec)
{
	bool negative = n && p[0] == '-';
	const char *dot;
	uint64_t whole;
	uint32_t frac = 0, unit = 100000000;
	size_t int_n;

	p += negative;
	n -= negative;
	dot = memchr(p, '.', n);
	int_n = dot ? (size_t)(dot - p) : n;
	if (decimal(p, int_n, INT64_MAX / 2, &whole) < 0)
		return -EBADMSG;
	for (size_t i = int_n + 1; i < n; i++, unit /= 10) {
		if (p[i] < '0' || p[i] > '9')
			return -EBADMSG;
		frac += (uint32_t)(p[i] - '0') * unit;
	}
	*sec = negative ? -(int64_t)whole : (int64_t)whole;
	if (negative && frac) {
		*sec -= 1;
		frac = 1000000000 - frac;
	}
	*nsec = frac;
	return 0;
}

static bool is(const char *key, size_t n, const char *want)
{
	return strlen(want) == n && memcmp(key, want, n) == 0;
}

static int set_text(struct msb_str *s, const char *p, size_t n)
{
	if (memchr(p, 0, n))
		return -EBADMSG;
	if (n >= IMG_TAR_MAX_PATH)
		return -E2BIG;
	s->len = 0;
	msb_str_add(s, p, n);
	return s->oom ? -ENOMEM : 0;
}

struct pax {
	bool has_size;
	uint64_t size;
	const char *path, *link;
	size_t path_n, link_n;
};

static int pax_apply(struct img_tar *t, struct img_tar_entry *x, struct pax *px)
{
	static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";
	const char *key, *val;
	size_t len, kn, vn;
	uint64_t v;
	int r = 0;

	for (size_t off = 0; r == 0 && off < t->pax.len; off += len) {
		r = record(t->pax.buf + off, t->pax.len - off, &len, &key, &kn, &val, &vn);
		if (r < 0)
			return r;
		if (kn > sizeof(xattr) - 1 && memcmp(key, xattr, sizeof(xattr) - 1) == 0) {
			if (x->nxattrs == IMG_TAR_MAX_XATTRS)
				return -E2BIG;
			t->xattrs[x->nxattrs++] = (struct img_tar_xattr){
				.name = key + sizeof(xattr) - 1,
				.name_n = kn - (sizeof(xattr) - 1),
				.value = val,
				.value_n = vn,
			};
			continue;
		}
		if (kn >= sizeof(sparse) - 1 && memcmp(key, sparse, sizeof(sparse) - 1) == 0) {
			t->sparse = true;
			return -EOPNOTSUPP;
		}
		if (!vn)
			continue; /* an empty value takes a record back: the header's counts */
		if (is(key, kn, "path")) {
			px->path = val;
			px->path_n = vn;
		} else if (is(key, kn, "linkpath")) {
			px->link = val;
			px->link_n = vn;
		} else if (is(key, kn, "size")) {
			r = decimal(val, vn, INT64_MAX - IMG_TAR_BLOCK, &px->size);
			px->has_size = true;
		} else if (is(key, kn, "uid")) {
			r = decimal(val, vn, UINT32_MAX, &v);
			x->uid = r == 0 ? (uint32_t)v : 0;
		} else if (is(key, kn, "gid")) {
			r = decimal(val, vn, UINT32_MAX, &v);
			x->gid = r == 0 ? (uint32_t)v : 0;
		} else if (is(key, kn, "mtime")) {
			r = pax_time(val, vn, &x->mtime_sec, &x->mtime_nsec);
		}
	}
	return r;
}

/* ---- headers */

static int make_names(struct img_tar *t, struct img_tar_entry *x, const struct pax *px)
{
	bool ustar = memcmp(t->h.magic, "ustar\0", 6) == 0;
	size_t prefix_n = ustar ? strnlen(t->h.prefix, sizeof(t->h.prefix)) : 0;
	int r = 0;

	t->path.len = 0;
	if (t->longname.len) {
		r = set_text(&t->path, t->longname.buf, t->longname.len);
	} else if (px->path) {
		r = set_text(&t->path, px->path, px->path_n);
	} else {
		msb_str_add(&t->path, t->h.prefix, prefix_n);
		if (prefix_n)
			msb_str_adds(&t->path, "/");
		msb_str_add(&t->path, t->h.name, strnlen(t->h.name, sizeof(t->h.name)));
	}
	if (r == 0 && t->longlink.len) {
		x->link = t->longlink.buf;
	} else if (r == 0 && px->link) {
		r = set_text(&t->longlink, px->link, px->link_n);
		x->link = t->longlink.buf;
	} else {
		memcpy(t->link, t->h.link, sizeof(t->h.link));
		x->link = t->link;
	}
	x->path = t->path.buf;
	return r < 0 ? r : t->path.oom ? -ENOMEM : 0;
}

static int entry_type(const struct img_tar *t, enum img_tar_type *ret)
{
	switch (t->h.type) {
	case '\0': /* before POSIX a directory was a name that ends in a slash */
		*ret = t->path.len && t->path.buf[t->path.len - 1] == '/' ? IMG_TAR_DIR
									  : IMG_TAR_FILE;
		return 0;
	case '0':
	case '7': *ret = IMG_TAR_FILE; return 0;
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6': *ret = (enum img_tar_type)t->h.type; return 0;
	default: return -EOPNOTSUPP;
	}
}

static int fail(struct img_tar *t, int r, struct msb_err *e)
{
	char shown[128] = "";
	struct msb_str s = MSB_STR_FIXED(shown);

	if (t->path.buf)
		msb_str_add_printable(&s, t->path.buf, t->path.len);
	switch (r) {
	case -EOPNOTSUPP:
		if (t->sparse) /* its name is not known yet */
			return msb_err_set(e, EOPNOTSUPP,
				"after '%s': a sparse file, in the manner of GNU tar; layers hold "
				"none: pack it without --sparse",
				shown);
		return msb_err_set(e, EOPNOTSUPP,
			"%s: an entry of a type that images do not hold ('%c')", shown,
			t->h.type > ' ' && t->h.type < 127 ? t->h.type : '?');
	case -E2BIG: return msb_err_set(e, E2BIG, "a name or an extended header is too long");
	case -ENOMEM: return msb_err_set(e, ENOMEM, "out of memory");
	default: return msb_err_set(e, EBADMSG, "damaged tar header after '%s'", shown);
	}
}

static void forget_names(struct img_tar *t)
{
	t->pax.len = t->longname.len = t->longlink.len = 0;
}

static int done(struct img_tar *t, struct msb_err *e)
{
	t->state = t->pad ? PAD : HEADER;
	return t->ops->done(t->arg, e);
}

static int take_entry(struct img_tar *t, int64_t size, struct msb_err *e)
{
	struct img_tar_entry x = {.xattrs = t->xattrs};
	struct pax px = {0};
	int r = 0;

	if (number_u32(t->h.mode, sizeof(t->h.mode), &x.mode) < 0 ||
		number_u32(t->h.uid, sizeof(t->h.uid), &x.uid) < 0 ||
		number_u32(t->h.gid, sizeof(t->h.gid), &x.gid) < 0 ||
		number(t->h.mtime, sizeof(t->h.mtime), &x.mtime_sec) < 0)
		r = -EBADMSG;
	if (r == 0)
		r = pax_apply(t, &x, &px);
	if (r == 0)
		r = make_names(t, &x, &px);
	if (r == 0)
		r = entry_type(t, &x.type);
	if (r == 0 && (x.type == IMG_TAR_CHR || x.type == IMG_TAR_BLK) &&
		(number_u32(t->h.devmajor, sizeof(t->h.devmajor), &x.dev_major) < 0 ||
			number_u32(t->h.devminor, sizeof(t->h.devminor), &x.dev_minor) < 0))
		r = -EBADMSG;
	if (r < 0)
		return fail(t, r, e);
	x.mode &= 07777;
	if (x.type == IMG_TAR_FILE)
		x.size = px.has_size ? px.size : (uint64_t)size;
	r = t->ops->entry(t->arg, &x, e);
	forget_names(t);
	if (r < 0 || x.type != IMG_TAR_FILE)
		return r;
	t->left = x.size;
	t->pad = (unsigned int)(-x.size % IMG_TAR_BLOCK);
	t->state = DATA;
	return t->left ? 0 : done(t, e);
}

static int take_header(struct img_tar *t, struct msb_err *e)
{
	static const char zeros[IMG_TAR_BLOCK];
	int64_t size;

	t->have = 0;
	if (memcmp(t->raw, zeros, sizeof(zeros)) == 0) {
		if (t->zero)
			t->state = END;
		t->zero = true;
		return 0;
	}
	if (t->zero || !checksum_ok(t))
		return fail(t, -EBADMSG, e);
	if (number(t->h.size, sizeof(t->h.size), &size) < 0 || size < 0 ||
		size > INT64_MAX - IMG_TAR_BLOCK)
		return fail(t, -EBADMSG, e);
	if (!strchr("gxLK", t->h.type) || !t->h.type)
		return take_entry(t, size, e);
	if ((uint64_t)size > IMG_TAR_MAX_PAX)
		return fail(t, -E2BIG, e);
	t->meta = t->h.type;
	t->left = (uint64_t)size;
	t->pad = (unsigned int)(-(uint64_t)size % IMG_TAR_BLOCK);
	/* Global headers hold comments; nothing of an image's tree hangs on them. */
	t->state = t->meta == 'g' ? SKIP_META : META;
	if (t->meta == 'x')
		t->pax.len = 0;
	else if (t->meta == 'L')
		t->longname.len = 0;
	else if (t->meta == 'K')
		t->longlink.len = 0;
	if (!t->left)
		t->state = HEADER;
	return 0;
}

static int end_meta(struct img_tar *t, struct msb_err *e)
{
	struct msb_str *s = t->meta == 'L' ? &t->longname : &t->longlink;

	t->state = t->pad ? PAD : HEADER;
	if (t->meta == 'x')
		return t->pax.oom ? fail(t, -ENOMEM, e) : 0;
	if (s->oom)
		return fail(t, -ENOMEM, e);
	s->len = strnlen(s->buf, s->len); /* they carry their NUL */
	return s->len >= IMG_TAR_MAX_PATH ? fail(t, -E2BIG, e) : 0;
}

int img_tar_feed(struct img_tar *t, const void *p, size_t n, struct msb_err *e)
{
	const char *b = p;
	int r = 0;

	while (r == 0 && n && t->state != END) {
		size_t k = n;

		switch (t->state) {
		case HEADER:
			if (k > IMG_TAR_BLOCK - t->have)
				k = IMG_TAR_BLOCK - t->have;
			memcpy(t->raw + t->have, b, k);
			t->have += k;
			if (t->have == IMG_TAR_BLOCK)
				r = take_header(t, e);
			break;
		case PAD:
			if (k > t->pad)
				k = t->pad;
			t->pad -= (unsigned int)k;
			if (!t->pad)
				t->state = HEADER;
			break;
		case META:
		case SKIP_META:
		case DATA:
			if (k > t->left)
				k = (size_t)t->left;
			t->left -= k;
			if (t->state == DATA)
				r = t->ops->data(t->arg, b, k, e);
			else if (t->state == META)
				msb_str_add(t->meta == 'x'   ? &t->pax
					    : t->meta == 'L' ? &t->longname
							     : &t->longlink,
					b, k);
			if (r < 0 || t->left)
				break;
			if (t->state == DATA)
				r = done(t, e);
			else if (t->state == META)
				r = end_meta(t, e);
			else
				t->state = t->pad ? PAD : HEADER;
			break;
		case END: break;
		}
		b += k;
		n -= k;
	}
	return r;
}

int img_tar_finish(struct img_tar *t, struct msb_err *e)
{
	/* Go's writer leaves out the last padding and the end marks where it is not closed. */
	bool whole =
		t->state == END || ((t->state == HEADER || t->state == PAD) && !t->have &&
					   !t->pax.len && !t->longname.len && !t->longlink.len);

	return whole ? 0 : msb_err_set(e, EBADMSG, "the tar ends in the middle of an entry");
}

uint64_t img_tar_skippable(const struct img_tar *t)
{
	return t->state == DATA ? t->left : t->state == PAD ? t->pad : 0;
}

int img_tar_skip(struct img_tar *t, uint64_t n, struct msb_err *e)
{
	if (n > img_tar_skippable(t))
		return msb_err_set(e, EINVAL, "cannot leave out more than a file");
	if (t->state == PAD) {
		t->pad -= (unsigned int)n;
		if (!t->pad)
			t->state = HEADER;
		return 0;
	}
	t->left -= n;
	return t->state == DATA && !t->left ? done(t, e) : 0;
}
