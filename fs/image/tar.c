// SPDX-License-Identifier: Apache-2.0
// Reading tar: ustar, pax and GNU headers, pushed in pieces of any size.
#include "fs/image/tar_int.h"
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
	OLD_MAP,  /* a further block of an old header's map */
	TEXT_MAP, /* a map before the bytes */
	TEXT_PAD,
	DATA,
	PAD,
	END
};

/* Of an old GNU header, in place of ustar's prefix. */
struct old_sparse {
	char other[41], map[4 * TAR_OLD_ENTRY], extended, size[12], pad[17];
};
_Static_assert(offsetof(struct header, prefix) + sizeof(struct old_sparse) == IMG_TAR_BLOCK, "");

struct old_block {
	char map[21 * TAR_OLD_ENTRY], extended, pad[7];
};
_Static_assert(sizeof(struct old_block) == IMG_TAR_BLOCK, "");

struct img_tar {
	const struct img_tar_ops *ops;
	void *arg;
	enum state state;
	union {
		struct header h;
		struct old_block old;
		char raw[IMG_TAR_BLOCK];
	};
	size_t have;	  /* bytes of the header */
	bool zero;	  /* the last block was all zeros */
	uint64_t left;	  /* of the body */
	unsigned int pad; /* after it */
	char meta;	  /* type of the META body */
	struct msb_str pax, longname, longlink, path;
	char link[sizeof(((struct header *)0)->link) + 1];
	struct img_tar_xattr xattrs[IMG_TAR_MAX_XATTRS];
	struct img_tar_entry x; /* from its header to its entry() */
	/* of a file with holes */
	struct tar_map map;
	bool sparse;	   /* the entry is one */
	bool map_end;	   /* nothing more is in its old map */
	size_t part;	   /* whose bytes come */
	uint64_t at, size; /* of the file: how far it is, and its end */
	unsigned int skip; /* of a block, after the map */
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
		tar_map_done(&t->map);
		free(t);
	}
	return NULL;
}

static bool checksum_ok(const struct img_tar *t)
{
	int64_t want, u = 0, s = 0; /* old tars summed signed bytes */

	if (tar_number(t->h.chksum, sizeof(t->h.chksum), &want) < 0)
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
		r = tar_pax_record(t->pax.buf + off, t->pax.len - off, &len, &key, &kn, &val, &vn);
		if (r < 0)
			return r;
		if (kn > sizeof(xattr) - 1 && memcmp(key, xattr, sizeof(xattr) - 1) == 0) {
			if (x->nxattrs >= img_limit(IMG_LIMIT_XATTRS))
				return -E2BIG;
			t->xattrs[x->nxattrs++] = (struct img_tar_xattr){
				.name = key + sizeof(xattr) - 1,
				.name_n = kn - (sizeof(xattr) - 1),
				.value = val,
				.value_n = vn,
			};
			continue;
		}
		if (!vn)
			continue; /* an empty value takes a record back: the header's counts */
		if (kn >= sizeof(sparse) - 1 && memcmp(key, sparse, sizeof(sparse) - 1) == 0) {
			r = tar_map_pax(&t->map, key + sizeof(sparse) - 1,
				kn - (sizeof(sparse) - 1), val, vn);
			continue;
		}
		if (is(key, kn, "path")) {
			px->path = val;
			px->path_n = vn;
		} else if (is(key, kn, "linkpath")) {
			px->link = val;
			px->link_n = vn;
		} else if (is(key, kn, "size")) {
			r = tar_decimal(val, vn, INT64_MAX - IMG_TAR_BLOCK, &px->size);
			px->has_size = true;
		} else if (is(key, kn, "uid")) {
			r = tar_decimal(val, vn, UINT32_MAX, &v);
			x->uid = r == 0 ? (uint32_t)v : 0;
		} else if (is(key, kn, "gid")) {
			r = tar_decimal(val, vn, UINT32_MAX, &v);
			x->gid = r == 0 ? (uint32_t)v : 0;
		} else if (is(key, kn, "mtime")) {
			r = tar_pax_time(val, vn, &x->mtime_sec, &x->mtime_nsec);
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
	if (t->map.name) {
		r = set_text(&t->path, t->map.name, t->map.name_n);
	} else if (t->longname.len) {
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
	case 'S':
		*ret = IMG_TAR_FILE;
		return memcmp(t->h.magic, "ustar ", 6) == 0 && memcmp(t->h.version, " ", 2) == 0
			       ? 0
			       : -EOPNOTSUPP;
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
		if (t->map.is_told || t->h.type == 'S') /* its name may not be known yet */
			return msb_err_set(e, EOPNOTSUPP,
				"after '%s': a sparse file, in a manner that GNU tar does not have",
				shown);
		return msb_err_set(e, EOPNOTSUPP,
			"%s: an entry of a type that images do not hold ('%c')", shown,
			t->h.type > ' ' && t->h.type < 127 ? t->h.type : '?');
	case -E2BIG:
		if (t->map.is_told && t->map.n >= img_limit(IMG_LIMIT_PARTS))
			return msb_err_set(e, E2BIG,
				"after '%s': a sparse file of more than %llu parts", shown,
				(unsigned long long)img_limit(IMG_LIMIT_PARTS));
		return msb_err_set(e, E2BIG, "a name or an extended header is too long");
	case -ENOMEM: return msb_err_set(e, ENOMEM, "out of memory");
	default:
		return *shown ? msb_err_set(e, EBADMSG, "damaged tar header after '%s'", shown)
			      : msb_err_set(e, EBADMSG,
					"damaged tar header at its start, or no tar archive");
	}
}

static int map_fail(struct img_tar *t, int r, struct msb_err *e)
{
	char shown[128] = "";
	struct msb_str s = MSB_STR_FIXED(shown);

	msb_str_add_printable(&s, t->path.buf, t->path.len);
	switch (r) {
	case -E2BIG:
		return msb_err_set(e, E2BIG, "%s: a sparse file of more than %llu parts", shown,
			(unsigned long long)img_limit(IMG_LIMIT_PARTS));
	case -ENOMEM: return msb_err_set(e, ENOMEM, "out of memory");
	default:
		return msb_err_set(
			e, EBADMSG, "%s: a sparse file whose map says what cannot be", shown);
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

/* The header is whole, and the map where it has one. */
static int begin(struct img_tar *t, struct msb_err *e)
{
	struct img_tar_entry *x = &t->x;
	int r = t->sparse ? tar_map_end(&t->map, t->left) : 0;

	if (r < 0)
		return map_fail(t, r, e);
	if (t->sparse) {
		x->sparse = true;
		x->size = t->map.size;
		x->parts = t->map.v;
		x->nparts = t->map.n;
	}
	t->part = 0;
	t->at = 0;
	t->size = x->size;
	r = t->ops->entry(t->arg, x, e);
	forget_names(t);
	if (r < 0 || x->type != IMG_TAR_FILE) {
		t->state = HEADER;
		return r;
	}
	t->state = DATA;
	/* One that is but a hole waits for the next byte, or to be left out. */
	return t->size ? 0 : done(t, e);
}

static int old_map(struct img_tar *t, const char *p, size_t n, char extended, struct msb_err *e)
{
	int r = tar_map_old(&t->map, p, n, &t->map_end);

	if (r < 0)
		return map_fail(t, r, e);
	t->state = OLD_MAP;
	return extended ? 0 : begin(t, e);
}

static int take_old_map(struct img_tar *t, struct msb_err *e)
{
	const struct old_sparse *old = (const struct old_sparse *)t->h.prefix;
	int64_t size;

	if (t->map.is_told || tar_number(old->size, sizeof(old->size), &size) < 0 || size < 0)
		return map_fail(t, -EBADMSG, e);
	t->map.size = (uint64_t)size;
	t->map.has_size = true;
	t->map_end = false;
	return old_map(t, old->map, 4, old->extended, e);
}

static int take_entry(struct img_tar *t, int64_t size, struct msb_err *e)
{
	struct img_tar_entry *x = &t->x;
	struct pax px = {0};
	bool text = false;
	int r = 0;

	*x = (struct img_tar_entry){.xattrs = t->xattrs};
	t->sparse = false;
	t->skip = 0;
	tar_map_reset(&t->map);
	if (tar_number_u32(t->h.mode, sizeof(t->h.mode), &x->mode) < 0 ||
		tar_number_u32(t->h.uid, sizeof(t->h.uid), &x->uid) < 0 ||
		tar_number_u32(t->h.gid, sizeof(t->h.gid), &x->gid) < 0 ||
		tar_number(t->h.mtime, sizeof(t->h.mtime), &x->mtime_sec) < 0)
		r = -EBADMSG;
	if (r == 0)
		r = pax_apply(t, x, &px);
	if (r == 0)
		r = tar_map_pax_end(&t->map, &t->sparse, &text);
	if (r == 0)
		r = make_names(t, x, &px);
	if (r == 0)
		r = entry_type(t, &x->type);
	if (r == 0 && (x->type == IMG_TAR_CHR || x->type == IMG_TAR_BLK) &&
		(tar_number_u32(t->h.devmajor, sizeof(t->h.devmajor), &x->dev_major) < 0 ||
			tar_number_u32(t->h.devminor, sizeof(t->h.devminor), &x->dev_minor) < 0))
		r = -EBADMSG;
	if (r == 0 && t->sparse && x->type != IMG_TAR_FILE)
		r = -EBADMSG;
	if (r < 0)
		return fail(t, r, e);
	x->mode &= 07777;
	if (x->type == IMG_TAR_FILE)
		x->size = px.has_size ? px.size : (uint64_t)size;
	t->left = x->size;
	t->pad = (unsigned int)(-x->size % IMG_TAR_BLOCK);
	t->sparse |= t->h.type == 'S';
	if (t->h.type == 'S')
		return take_old_map(t, e);
	t->state = TEXT_MAP;
	return text ? 0 : begin(t, e);
}

/* ---- the bytes of files */

static int map_bytes(struct img_tar *t, const char *p, size_t n, size_t *ret_n, struct msb_err *e)
{
	int r;

	if (n > t->left)
		n = (size_t)t->left;
	r = tar_map_text(&t->map, p, n, ret_n);
	t->left -= *ret_n;
	t->skip = (t->skip + (unsigned int)(*ret_n % IMG_TAR_BLOCK)) % IMG_TAR_BLOCK;
	if (r == 0)
		return t->left ? 0 : map_fail(t, -EBADMSG, e);
	t->skip = (IMG_TAR_BLOCK - t->skip) % IMG_TAR_BLOCK;
	if (r < 0 || t->skip > t->left)
		return map_fail(t, r < 0 ? r : -EBADMSG, e);
	t->left -= t->skip;
	t->state = TEXT_PAD;
	return t->skip ? 0 : begin(t, e);
}

/* The file goes on at @off. */
static int hole_to(struct img_tar *t, uint64_t off, struct msb_err *e)
{
	uint64_t n = off - t->at;

	t->at = off;
	return n ? t->ops->hole(t->arg, n, e) : 0;
}

static int parts_bytes(struct img_tar *t, const char *p, size_t n, struct msb_err *e)
{
	int r = n ? 0 : t->ops->data(t->arg, p, 0, e);

	while (r == 0 && n) {
		const struct img_tar_part *part = &t->map.v[t->part];
		size_t k;

		r = hole_to(t, t->at < part->off ? part->off : t->at, e);
		k = n < part->off + part->len - t->at ? n : (size_t)(part->off + part->len - t->at);
		if (r == 0)
			r = t->ops->data(t->arg, p, k, e);
		t->at += k;
		t->part += t->at == part->off + part->len;
		p += k;
		n -= k;
	}
	return r == 0 && !t->left ? hole_to(t, t->size, e) : r;
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
	if (tar_number(t->h.size, sizeof(t->h.size), &size) < 0 || size < 0 ||
		size > INT64_MAX - IMG_TAR_BLOCK)
		return fail(t, -EBADMSG, e);
	if (!strchr("gxLK", t->h.type) || !t->h.type)
		return take_entry(t, size, e);
	if ((uint64_t)size > img_limit(IMG_LIMIT_PAX_BYTES))
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
		case OLD_MAP:
			if (k > IMG_TAR_BLOCK - t->have)
				k = IMG_TAR_BLOCK - t->have;
			memcpy(t->raw + t->have, b, k);
			t->have += k;
			if (t->have < IMG_TAR_BLOCK)
				break;
			t->have = 0;
			r = old_map(t, t->old.map, 21, t->old.extended, e);
			break;
		case TEXT_MAP: r = map_bytes(t, b, n, &k, e); break;
		case TEXT_PAD:
			if (k > t->skip)
				k = t->skip;
			t->skip -= (unsigned int)k;
			if (!t->skip)
				r = begin(t, e);
			break;
		case META:
		case SKIP_META:
		case DATA:
			if (k > t->left)
				k = (size_t)t->left;
			t->left -= k;
			if (t->state == DATA)
				r = t->sparse ? parts_bytes(t, b, k, e)
					      : t->ops->data(t->arg, b, k, e);
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
	if (t->state == DATA && t->sparse && n != t->left)
		return msb_err_set(e, EINVAL, "a file with holes is left out as a whole");
	t->left -= n;
	return t->state == DATA && !t->left ? done(t, e) : 0;
}
