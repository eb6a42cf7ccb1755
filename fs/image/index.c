// SPDX-License-Identifier: Apache-2.0
// Reading an image's tree from its EROFS metadata image, every offset checked where it is used.
#include "fs/image/index.h"
#include "fs/image/erofs.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct img_index {
	const uint8_t *base;
	uint64_t n, meta_off, xattr_off;
	uint64_t root, inodes;
	bool mapped;
	uint32_t ndev, dev_mask;
	struct {
		uint32_t pack_id, blocks;
	} dev[];
};

/* An inode with its parts located; offsets are into the image and lie within it. */
struct node {
	struct img_attr attr;
	unsigned int layout;
	uint32_t u;
	uint64_t xattr_off, xattr_n, body_off;
};

static const void *at(const struct img_index *ix, uint64_t off, uint64_t n)
{
	return off <= ix->n && n <= ix->n - off ? ix->base + off : NULL;
}

static uint32_t decode_dev(uint32_t d)
{
	return (uint32_t)makedev((d & 0xfff00) >> 8, (d & 0xff) | ((d >> 12) & 0xfff00));
}

static int node_get(const struct img_index *ix, uint64_t nid, struct node *v)
{
	const struct erofs_inode_extended *x;
	const struct erofs_inode_compact *c;
	unsigned int format, icount;
	uint64_t off, core;

	if (nid > ix->n / EROFS_SLOT)
		return -EBADMSG;
	off = ix->meta_off + nid * EROFS_SLOT;
	c = at(ix, off, sizeof(*c));
	if (!c)
		return -EBADMSG;
	format = le16toh(c->i_format);
	core = format & 1 ? sizeof(*x) : sizeof(*c);
	x = at(ix, off, core);
	if (!x || format > 0xf)
		return -EBADMSG;
	icount = le16toh(c->i_xattr_icount);
	*v = (struct node){.layout = format >> 1 & 7, .xattr_off = off + core};
	v->attr.ino = nid;
	v->attr.mode = le16toh(c->i_mode);
	if (format & 1) {
		v->attr.size = le64toh(x->i_size);
		v->attr.nlink = le32toh(x->i_nlink);
		v->attr.uid = le32toh(x->i_uid);
		v->attr.gid = le32toh(x->i_gid);
		v->attr.mtime_sec = (int64_t)le64toh(x->i_mtime);
		v->attr.mtime_nsec = le32toh(x->i_mtime_nsec);
		v->u = le32toh(x->i_u);
	} else {
		v->attr.size = le32toh(c->i_size);
		v->attr.nlink = le16toh(c->i_nlink);
		v->attr.uid = le16toh(c->i_uid);
		v->attr.gid = le16toh(c->i_gid);
		v->u = le32toh(c->i_u);
	}
	v->xattr_n = icount ? sizeof(struct erofs_xattr_ibody) + 4 * (icount - 1) : 0;
	v->body_off = v->xattr_off + v->xattr_n;
	if (!at(ix, v->xattr_off, v->xattr_n) || v->attr.size > INT64_MAX ||
		v->attr.mtime_nsec >= 1000000000)
		return -EBADMSG;
	if (S_ISCHR(v->attr.mode) || S_ISBLK(v->attr.mode))
		v->attr.rdev = decode_dev(v->u);
	if (!S_ISREG(v->attr.mode) && v->layout == EROFS_CHUNK_BASED)
		return -EBADMSG;
	return v->layout == EROFS_FLAT_PLAIN || v->layout == EROFS_FLAT_INLINE ||
			       v->layout == EROFS_CHUNK_BASED
		       ? 0
		       : -EBADMSG;
}

/* Block @blk of a flat inode's bytes: up to EROFS_BLK of them. */
static const uint8_t *flat_block(
	const struct img_index *ix, const struct node *v, uint64_t blk, size_t *ret_n)
{
	uint64_t last = (v->attr.size - 1) / EROFS_BLK; /* size is not 0 */
	size_t n = blk < last ? EROFS_BLK : (size_t)(v->attr.size - last * EROFS_BLK);

	if (blk > last)
		return NULL;
	*ret_n = n;
	if (v->layout == EROFS_FLAT_INLINE && blk == last)
		return v->body_off % EROFS_BLK + n <= EROFS_BLK ? at(ix, v->body_off, n) : NULL;
	if (blk > ix->n / EROFS_BLK)
		return NULL;
	return at(ix, (v->u + blk) * EROFS_BLK, n);
}

int img_index_from_bytes(const void *p, size_t n, struct img_index **ret, struct msb_err *e)
{
	const struct img_index whole = {.base = p, .n = n};
	const struct erofs_super *s = at(&whole, EROFS_SUPER_OFF, sizeof(*s));
	_cleanup_free_ struct img_index *ix = NULL;
	const struct erofs_device *slots;
	struct erofs_super copy;
	struct node root;
	uint32_t ndev, crc;

	if (!s || !at(&whole, 0, EROFS_BLK) || le32toh(s->magic) != EROFS_MAGIC)
		return msb_err_set(e, EBADMSG, "not a tree index");
	if (s->blkszbits != EROFS_BLKBITS || s->dirblkbits || s->sb_extslots ||
		(le32toh(s->feature_incompat) &
			~(EROFS_INCOMPAT_CHUNKED_FILE | EROFS_INCOMPAT_DEVICE_TABLE)))
		return msb_err_set(e, EBADMSG, "a tree index of another version");
	copy = *s;
	copy.checksum = 0;
	crc = erofs_crc32c(~0u, &copy, sizeof(copy));
	crc = erofs_crc32c(crc, s + 1, EROFS_BLK - EROFS_SUPER_OFF - sizeof(copy));
	if ((le32toh(s->feature_compat) & EROFS_COMPAT_SB_CHKSUM) && le32toh(s->checksum) != crc)
		return msb_err_set(e, EBADMSG, "damaged tree index: wrong checksum");
	ndev = le32toh(s->feature_incompat) & EROFS_INCOMPAT_DEVICE_TABLE
		       ? le16toh(s->extra_devices)
		       : 0;
	slots = at(&whole, (uint64_t)le16toh(s->devt_slotoff) * EROFS_DEVICE_SLOT,
		(uint64_t)ndev * sizeof(*slots));
	if (!slots)
		return msb_err_set(e, EBADMSG, "damaged tree index: no room for its packs");
	ix = calloc(1, sizeof(*ix) + ndev * sizeof(ix->dev[0]));
	if (!ix)
		return msb_err_set(e, ENOMEM, "out of memory");
	ix->base = p;
	ix->n = n;
	ix->meta_off = (uint64_t)le32toh(s->meta_blkaddr) * EROFS_BLK;
	ix->xattr_off = (uint64_t)le32toh(s->xattr_blkaddr) * EROFS_BLK;
	ix->root = le16toh(s->root_nid);
	ix->inodes = le64toh(s->inos);
	ix->ndev = ndev;
	for (ix->dev_mask = 1; ix->dev_mask <= ndev; ix->dev_mask = ix->dev_mask << 1 | 1)
		;
	for (uint32_t i = 0; i < ndev; i++) {
		char name[9] = {0};
		uint8_t id[4];

		memcpy(name, slots[i].tag, 8);
		if (strlen(name) != 8 || msb_unhex(name, id, 4) < 0)
			return msb_err_set(e, EBADMSG, "damaged tree index: bad pack name");
		ix->dev[i].pack_id = (uint32_t)id[0] << 24 | id[1] << 16 | id[2] << 8 | id[3];
		ix->dev[i].blocks = le32toh(slots[i].blocks);
		if (ix->dev[i].pack_id == IMG_HOLE)
			return msb_err_set(e, EBADMSG, "damaged tree index: bad pack name");
	}
	if (!ix->root || node_get(ix, ix->root, &root) < 0 || !S_ISDIR(root.attr.mode))
		return msb_err_set(e, EBADMSG, "damaged tree index: no root directory");
	*ret = steal_ptr(ix);
	return 0;
}

int img_index_open(int fd, struct img_index **ret, struct msb_err *e)
{
	struct img_index *ix = NULL;
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "cannot read the tree index: %m");
	if (st.st_size < (off_t)EROFS_BLK)
		return msb_err_set(e, EBADMSG, "not a tree index");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return msb_err_set(e, errno, "cannot map the tree index: %m");
	r = img_index_from_bytes(p, (size_t)st.st_size, &ix, e);
	if (!ix) {
		munmap(p, (size_t)st.st_size);
		return r;
	}
	ix->mapped = true;
	*ret = ix;
	return 0;
}

struct img_index *img_index_close(struct img_index *ix)
{
	if (ix && ix->mapped)
		munmap((void *)ix->base, ix->n);
	free(ix);
	return NULL;
}

uint64_t img_index_root(const struct img_index *ix)
{
	return ix->root;
}

uint64_t img_index_inodes(const struct img_index *ix)
{
	return ix->inodes;
}

int img_index_getattr(const struct img_index *ix, uint64_t nid, struct img_attr *ret)
{
	struct node v;
	int r = node_get(ix, nid, &v);

	if (r == 0)
		*ret = v.attr;
	return r;
}

/* ---- directories: blocks of dirents, then their names; sorted by name within and across blocks */

struct dirblock {
	const uint8_t *p;
	size_t n;
	unsigned int count;
};

static const struct erofs_dirent *dirent_at(const struct dirblock *b, unsigned int i)
{
	return (const struct erofs_dirent *)b->p + i;
}

static int dirblock_get(
	const struct img_index *ix, const struct node *dir, uint64_t blk, struct dirblock *b)
{
	unsigned int first;

	b->p = flat_block(ix, dir, blk, &b->n);
	if (!b->p || b->n < sizeof(struct erofs_dirent))
		return -EBADMSG;
	first = le16toh(dirent_at(b, 0)->nameoff);
	if (!first || first % sizeof(struct erofs_dirent) || first > b->n)
		return -EBADMSG;
	b->count = first / sizeof(struct erofs_dirent);
	return 0;
}

static int dirblock_name(const struct dirblock *b, unsigned int i, const char **ret, size_t *ret_n)
{
	size_t start = le16toh(dirent_at(b, i)->nameoff), end = b->n;

	if (i + 1 < b->count)
		end = le16toh(dirent_at(b, i + 1)->nameoff);
	if (start < b->count * sizeof(struct erofs_dirent) || start >= end || end > b->n)
		return -EBADMSG;
	*ret = (const char *)b->p + start;
	*ret_n = strnlen(*ret, end - start); /* the last name of a block may be padded */
	if (!*ret_n || *ret_n > EROFS_NAME_MAX || memchr(*ret, '/', *ret_n) ||
		(i + 1 < b->count && *ret_n != end - start))
		return -EBADMSG;
	return 0;
}

static int name_cmp(const char *a, size_t an, const char *b, size_t bn)
{
	int r = memcmp(a, b, an < bn ? an : bn);

	return r ? r : (an > bn) - (an < bn);
}

int img_index_lookup(
	const struct img_index *ix, uint64_t dir, const char *name, size_t n, uint64_t *ret_nid)
{
	uint64_t lo = 0, hi;
	struct dirblock b;
	struct node v;
	const char *s;
	size_t sn;
	int r = node_get(ix, dir, &v);

	if (r < 0)
		return r;
	if (!S_ISDIR(v.attr.mode))
		return -ENOTDIR;
	if (!n || n > EROFS_NAME_MAX || !v.attr.size)
		return -ENOENT;
	hi = (v.attr.size - 1) / EROFS_BLK;
	while (lo < hi) { /* the last block whose first name is not past @name */
		uint64_t mid = lo + (hi - lo + 1) / 2;

		if (dirblock_get(ix, &v, mid, &b) < 0 || dirblock_name(&b, 0, &s, &sn) < 0)
			return -EBADMSG;
		if (name_cmp(s, sn, name, n) <= 0)
			lo = mid;
		else
			hi = mid - 1;
	}
	if (dirblock_get(ix, &v, lo, &b) < 0)
		return -EBADMSG;
	for (unsigned int l = 0, h = b.count; l < h;) {
		unsigned int mid = l + (h - l) / 2;

		if (dirblock_name(&b, mid, &s, &sn) < 0)
			return -EBADMSG;
		r = name_cmp(name, n, s, sn);
		if (r == 0) {
			*ret_nid = le64toh(dirent_at(&b, mid)->nid);
			return 0;
		}
		if (r < 0)
			h = mid;
		else
			l = mid + 1;
	}
	return -ENOENT;
}

int img_index_readdir(const struct img_index *ix, uint64_t dir,
	int (*fn)(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type), void *arg)
{
	static const uint8_t types[] = {
		DT_UNKNOWN, DT_REG, DT_DIR, DT_CHR, DT_BLK, DT_FIFO, DT_SOCK, DT_LNK};
	struct dirblock b;
	struct node v;
	const char *s;
	size_t sn;
	int r = node_get(ix, dir, &v);

	if (r < 0)
		return r;
	if (!S_ISDIR(v.attr.mode))
		return -ENOTDIR;
	for (uint64_t blk = 0; blk * EROFS_BLK < v.attr.size; blk++) {
		if (dirblock_get(ix, &v, blk, &b) < 0)
			return -EBADMSG;
		for (unsigned int i = 0; i < b.count; i++) {
			const struct erofs_dirent *d = dirent_at(&b, i);

			if (dirblock_name(&b, i, &s, &sn) < 0)
				return -EBADMSG;
			if (s[0] == '.' && (sn == 1 || (sn == 2 && s[1] == '.')))
				continue;
			if (fn(arg, s, sn, le64toh(d->nid),
				    d->file_type < ARRAY_LEN(types) ? types[d->file_type]
								    : DT_UNKNOWN))
				return 0;
		}
	}
	return 0;
}

/* ---- contents */

int img_index_readlink(const struct img_index *ix, uint64_t nid, const char **ret, size_t *ret_n)
{
	struct node v;
	const uint8_t *p;
	size_t n;
	int r = node_get(ix, nid, &v);

	if (r < 0)
		return r;
	if (!S_ISLNK(v.attr.mode))
		return -EINVAL;
	if (!v.attr.size || v.attr.size >= EROFS_BLK)
		return -EBADMSG;
	p = flat_block(ix, &v, 0, &n);
	if (!p || memchr(p, 0, n))
		return -EBADMSG;
	*ret = (const char *)p;
	*ret_n = n;
	return 0;
}

int img_index_inline(const struct img_index *ix, uint64_t nid, const char **ret, size_t *ret_n)
{
	struct node v;
	const void *p;
	size_t n = 0;
	int r = node_get(ix, nid, &v);

	if (r < 0)
		return r;
	if (!S_ISREG(v.attr.mode))
		return -EINVAL;
	if (!v.attr.size) {
		p = "";
	} else if (v.layout == EROFS_CHUNK_BASED) {
		return -ENODATA;
	} else if (v.layout == EROFS_FLAT_PLAIN) {
		n = v.attr.size;
		p = at(ix, (uint64_t)v.u * EROFS_BLK, n);
	} else {
		p = v.attr.size < EROFS_BLK ? flat_block(ix, &v, 0, &n) : NULL;
	}
	if (!p)
		return -EBADMSG;
	*ret = p;
	*ret_n = n;
	return 0;
}

int img_index_extent(const struct img_index *ix, uint64_t nid, uint64_t off, struct img_extent *ret)
{
	const struct erofs_chunk_index *c;
	unsigned int bits, dev;
	uint64_t pos, in_chunk, len;
	struct node v;
	int r = node_get(ix, nid, &v);

	if (r < 0)
		return r;
	if (!S_ISREG(v.attr.mode))
		return -EINVAL;
	if (off >= v.attr.size) {
		*ret = (struct img_extent){.pack_id = IMG_HOLE};
		return 0;
	}
	if (v.layout != EROFS_CHUNK_BASED)
		return -EINVAL;
	if ((v.u & 0xffff & ~EROFS_CHUNK_BITS_MASK) != EROFS_CHUNK_INDEXES)
		return -EBADMSG;
	bits = EROFS_BLKBITS + (v.u & EROFS_CHUNK_BITS_MASK);
	if (off >> bits > ix->n / sizeof(*c))
		return -EBADMSG;
	pos = ((v.body_off + 7) & ~UINT64_C(7)) + (off >> bits) * sizeof(*c);
	c = at(ix, pos, sizeof(*c));
	if (!c)
		return -EBADMSG;
	in_chunk = off & ((UINT64_C(1) << bits) - 1);
	len = (UINT64_C(1) << bits) - in_chunk;
	if (len > v.attr.size - off)
		len = v.attr.size - off;
	if (le32toh(c->blkaddr) == EROFS_NULL_ADDR) {
		*ret = (struct img_extent){.pack_id = IMG_HOLE, .len = len};
		return 0;
	}
	dev = le16toh(c->device_id) & ix->dev_mask;
	if (!dev || dev > ix->ndev)
		return -EBADMSG;
	*ret = (struct img_extent){.pack_id = ix->dev[dev - 1].pack_id,
		.pack_off = (uint64_t)le32toh(c->blkaddr) * EROFS_BLK + in_chunk,
		.len = len};
	return ret->pack_off + len <= (uint64_t)ix->dev[dev - 1].blocks * EROFS_BLK ? 0 : -EBADMSG;
}

/* ---- extended attributes */

/* One entry of at most @n bytes. Returns the bytes it takes, or -EBADMSG. */
static int64_t xattr_entry(const uint8_t *p, uint64_t n,
	int (*fn)(void *arg, const char *name, size_t n, const void *value, size_t value_n),
	void *arg, bool *ret_stop)
{
	const struct erofs_xattr_entry *x = (const struct erofs_xattr_entry *)p;
	char name[64 + EROFS_NAME_MAX];
	const char *prefix;
	size_t prefix_n, value_n;

	if (n < sizeof(*x))
		return -EBADMSG;
	prefix = erofs_xattr_prefix(x->name_index);
	value_n = le16toh(x->value_size);
	if (!prefix || n - sizeof(*x) < x->name_len + value_n)
		return -EBADMSG;
	prefix_n = strlen(prefix);
	memcpy(name, prefix, prefix_n);
	memcpy(name + prefix_n, x + 1, x->name_len);
	if (prefix_n + x->name_len > EROFS_NAME_MAX || memchr(name, 0, prefix_n + x->name_len))
		return -EBADMSG;
	name[prefix_n + x->name_len] = 0;
	*ret_stop = fn(arg, name, prefix_n + x->name_len, p + sizeof(*x) + x->name_len, value_n);
	return (int64_t)((sizeof(*x) + x->name_len + value_n + 3) & ~(size_t)3);
}

int img_index_xattrs(const struct img_index *ix, uint64_t nid,
	int (*fn)(void *arg, const char *name, size_t n, const void *value, size_t value_n),
	void *arg)
{
	const struct erofs_xattr_ibody *h;
	uint64_t off, end;
	bool stop = false;
	struct node v;
	int64_t k;
	int r = node_get(ix, nid, &v);

	if (r < 0 || !v.xattr_n)
		return r;
	h = (const struct erofs_xattr_ibody *)(ix->base + v.xattr_off);
	off = v.xattr_off + sizeof(*h);
	end = v.xattr_off + v.xattr_n;
	if (h->shared_count > (end - off) / 4)
		return -EBADMSG;
	for (unsigned int i = 0; i < h->shared_count; i++, off += 4) {
		uint64_t shared;
		uint32_t id;

		memcpy(&id, ix->base + off, sizeof(id));
		shared = ix->xattr_off + UINT64_C(4) * le32toh(id);
		if (shared >= ix->n ||
			xattr_entry(ix->base + shared, ix->n - shared, fn, arg, &stop) < 0)
			return -EBADMSG;
		if (stop)
			return 0;
	}
	for (; off < end && !stop; off += (uint64_t)k) {
		k = xattr_entry(ix->base + off, end - off, fn, arg, &stop);
		if (k < 0)
			return -EBADMSG;
	}
	return 0;
}
