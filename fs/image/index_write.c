// SPDX-License-Identifier: Apache-2.0
/*
 * Writing a merged tree as an EROFS metadata image.
 *
 * Theory of operation: one pass places, one writes. The inodes of a directory lie side by side in
 * name order, directories breadth first, so that listing with attributes reads forward. An inode,
 * its attributes and its inline tail (last directory block, symlink target, small file) share one 4
 * KiB block. Where they do not fit, and for all but the last block of a directory, bytes go to
 * blocks after the metadata. Contents are never here: a file is one chunk, as large as it must be,
 * that points into a pack.
 */
#include "fs/image/index_write.h"
#include "fs/image/erofs.h"
#include "base/cleanup.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CORE sizeof(struct erofs_inode_extended)

struct writer {
	struct img_tree *tree;
	size_t npacks;
	const struct img_pack **by_id;
	FILE *out;
	uint64_t written;
	struct img_inode **order; /* by position */
	size_t norder;
	uint64_t meta_end;
	uint32_t data_start, data_blocks;
};

/* ---- directories */

struct name {
	const char *s;
	size_t n;
	const struct img_inode *inode;
};

static int name_cmp(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int r = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);

	return r ? r : (x->n > y->n) - (x->n < y->n);
}

/* "." and ".." included, sorted as the format wants them. */
static struct name *sorted_names(const struct img_inode *dir, size_t *ret_n)
{
	struct name *v = calloc(dir->nchildren + 2, sizeof(*v));
	size_t n = 0;

	if (!v)
		return NULL;
	v[n++] = (struct name){".", 1, dir};
	v[n++] = (struct name){"..", 2, dir->parent};
	for (const struct img_dent *d = dir->children; d; d = d->next)
		v[n++] = (struct name){d->name, d->name_n, d->inode};
	qsort(v, n, sizeof(*v), name_cmp);
	*ret_n = n;
	return v;
}

/* How many of @v's names go into one block, and the bytes they take. */
static size_t fill_block(const struct name *v, size_t n, size_t *ret_bytes)
{
	size_t used = 0, k = 0;

	while (k < n && used + sizeof(struct erofs_dirent) + v[k].n <= EROFS_BLK)
		used += sizeof(struct erofs_dirent) + v[k++].n;
	*ret_bytes = used;
	return k;
}

static uint64_t dir_bytes(const struct name *v, size_t n)
{
	uint64_t full = 0;
	size_t bytes = 0;

	for (size_t k = 0; k < n; full += EROFS_BLK)
		k += fill_block(v + k, n - k, &bytes);
	return full - EROFS_BLK + bytes;
}

static uint8_t file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return EROFS_FT_REG;
	case S_IFDIR: return EROFS_FT_DIR;
	case S_IFCHR: return EROFS_FT_CHR;
	case S_IFBLK: return EROFS_FT_BLK;
	case S_IFIFO: return EROFS_FT_FIFO;
	case S_IFSOCK: return EROFS_FT_SOCK;
	default: return EROFS_FT_LNK;
	}
}

/* All of a directory's bytes; every block but the last is EROFS_BLK long. */
static char *dir_build(const struct img_inode *dir)
{
	_cleanup_free_ struct name *v = NULL;
	size_t n, bytes;
	char *buf, *p;

	v = sorted_names(dir, &n);
	if (!v)
		return NULL;
	buf = calloc(1, dir->size);
	if (!buf)
		return NULL;
	p = buf;
	for (size_t k = 0, got; k < n; k += got, p += EROFS_BLK) {
		size_t off;

		got = fill_block(v + k, n - k, &bytes);
		off = got * sizeof(struct erofs_dirent);
		for (size_t i = 0; i < got; i++) {
			struct erofs_dirent d = {
				.nid = htole64(v[k + i].inode->pos / EROFS_SLOT),
				.nameoff = htole16((uint16_t)off),
				.file_type = file_type(v[k + i].inode->mode),
			};

			memcpy(p + i * sizeof(d), &d, sizeof(d));
			memcpy(p + off, v[k + i].s, v[k + i].n);
			off += v[k + i].n;
		}
	}
	return buf;
}

/* ---- placing */

static size_t xattr_bytes(const struct img_inode *i)
{
	size_t n = 0;

	for (const struct img_xattr *x = i->xattrs; x; x = x->next)
		n += (sizeof(struct erofs_xattr_entry) + x->name_n + x->value_n + 3) & ~(size_t)3;
	return n ? n + sizeof(struct erofs_xattr_ibody) : 0;
}

static bool has_bytes(const struct img_inode *i)
{
	return S_ISDIR(i->mode) || S_ISLNK(i->mode) || (S_ISREG(i->mode) && i->inlined);
}

static bool chunked(const struct img_inode *i)
{
	return S_ISREG(i->mode) && !i->inlined && i->size > 0;
}

static size_t tail_bytes(const struct img_inode *i)
{
	return i->size ? (i->size - 1) % EROFS_BLK + 1 : 0;
}

static bool tail_inline(const struct img_inode *i)
{
	return has_bytes(i) && i->size && CORE + xattr_bytes(i) + tail_bytes(i) <= EROFS_BLK;
}

static int place(struct writer *w, struct img_inode *i, struct msb_err *e)
{
	size_t head = CORE + xattr_bytes(i), body = head;
	uint64_t pos = (w->meta_end + EROFS_SLOT - 1) & ~(uint64_t)(EROFS_SLOT - 1);
	uint64_t blocks = 0;

	if (chunked(i))
		body = ((head + 7) & ~(size_t)7) + sizeof(struct erofs_chunk_index);
	if (has_bytes(i) && i->size)
		blocks = (i->size - 1) / EROFS_BLK + 1;
	if (tail_inline(i)) {
		body += tail_bytes(i);
		blocks--;
	}
	/* The core never crosses a block, nor does anything that fits into one. */
	if (pos % EROFS_BLK + (body <= EROFS_BLK ? body : CORE) > EROFS_BLK)
		pos = (pos + EROFS_BLK - 1) & ~(uint64_t)(EROFS_BLK - 1);
	i->pos = pos;
	i->blk = w->data_blocks; /* from data_start on, which is known later */
	i->mark = true;
	w->meta_end = pos + body;
	w->order[w->norder++] = i;
	if (blocks > UINT32_MAX - w->data_blocks || w->meta_end / EROFS_BLK > UINT32_MAX / 2)
		return msb_err_set(e, E2BIG, "the tree is too large for an index");
	w->data_blocks += (uint32_t)blocks;
	return 0;
}

/* Breadth first from the root: order[] is both the result and the queue. */
static int place_all(struct writer *w, struct msb_err *e)
{
	int r = 0;

	for (size_t head = 0; r == 0 && head < w->norder; head++) {
		_cleanup_free_ struct name *v = NULL;
		size_t n;

		if (!S_ISDIR(w->order[head]->mode))
			continue;
		v = sorted_names(w->order[head], &n);
		if (!v)
			return msb_err_set(e, ENOMEM, "out of memory");
		for (size_t k = 0; r == 0 && k < n; k++) {
			struct img_inode *i = (struct img_inode *)v[k].inode;

			if (i->mark)
				continue; /* ".", ".." and further hard links */
			if (S_ISDIR(i->mode)) {
				_cleanup_free_ struct name *sub = NULL;
				size_t nsub;

				sub = sorted_names(i, &nsub);
				if (!sub)
					return msb_err_set(e, ENOMEM, "out of memory");
				i->size = dir_bytes(sub, nsub);
			}
			r = place(w, i, e);
		}
	}
	return r;
}

/* ---- writing */

static void put(struct writer *w, const void *p, size_t n)
{
	(void)fwrite(p, 1, n, w->out); /* ferror() is asked once, at the end */
	w->written += n;
}

static void pad_to(struct writer *w, uint64_t pos)
{
	static const char zeros[EROFS_BLK];

	while (w->written < pos) {
		uint64_t n = pos - w->written;

		put(w, zeros, n < sizeof(zeros) ? n : sizeof(zeros));
	}
}

static int pack_cmp(const void *a, const void *b)
{
	const struct img_pack *x = *(const struct img_pack *const *)a;
	const struct img_pack *y = *(const struct img_pack *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

/* 1-based, in the order of ids; 0: no such pack, or past its end. */
static uint16_t device_of(const struct writer *w, const struct img_inode *i)
{
	const struct img_pack key = {.id = i->pack_id}, *kp = &key;
	const struct img_pack **p = bsearch(&kp, w->by_id, w->npacks, sizeof(*w->by_id), pack_cmp);

	if (!p || i->pack_off % EROFS_BLK ||
		i->pack_off + i->size > (uint64_t)(*p)->blocks * EROFS_BLK)
		return 0;
	return (uint16_t)(p - w->by_id + 1);
}

static int write_head(struct writer *w, const uint8_t uuid[16], struct msb_err *e)
{
	uint8_t block[EROFS_BLK] = {0};
	struct erofs_super *s = (struct erofs_super *)(block + EROFS_SUPER_OFF);
	size_t first = EROFS_SUPER_OFF + sizeof(*s), table = w->npacks * EROFS_DEVICE_SLOT;
	_cleanup_free_ struct erofs_device *dev = calloc(w->npacks + 1, sizeof(*dev));
	size_t here = table < EROFS_BLK - first ? table : EROFS_BLK - first;

	if (!dev)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < w->npacks; k++) {
		(void)snprintf((char *)dev[k].tag, sizeof(dev[k].tag), "%08x", w->by_id[k]->id);
		dev[k].blocks = htole32(w->by_id[k]->blocks);
	}
	s->magic = htole32(EROFS_MAGIC);
	s->feature_compat = htole32(EROFS_COMPAT_SB_CHKSUM | EROFS_COMPAT_MTIME);
	s->blkszbits = EROFS_BLKBITS;
	s->root_nid = htole16((uint16_t)(img_tree_root(w->tree)->pos / EROFS_SLOT));
	s->inos = htole64(w->norder);
	s->blocks = htole32(w->data_start + w->data_blocks);
	memcpy(s->uuid, uuid, sizeof(s->uuid));
	s->feature_incompat = htole32(EROFS_INCOMPAT_CHUNKED_FILE | EROFS_INCOMPAT_DEVICE_TABLE);
	s->extra_devices = htole16((uint16_t)w->npacks);
	s->devt_slotoff = htole16((uint16_t)(first / EROFS_DEVICE_SLOT));
	memcpy(block + first, dev, here);
	s->checksum = htole32(erofs_crc32c(~0u, s, EROFS_BLK - EROFS_SUPER_OFF));
	put(w, block, sizeof(block));
	/* The rest of the table; the root directory comes after it. */
	put(w, (const char *)dev + here, table - here);
	return 0;
}

static void write_xattrs(struct writer *w, const struct img_inode *i)
{
	const struct erofs_xattr_ibody h = {0};

	if (!i->xattrs)
		return;
	put(w, &h, sizeof(h));
	for (const struct img_xattr *x = i->xattrs; x; x = x->next) {
		const struct erofs_xattr_entry entry = {x->name_n, x->index, htole16(x->value_n)};

		put(w, &entry, sizeof(entry));
		put(w, x->bytes, (size_t)x->name_n + x->value_n);
		pad_to(w, (w->written + 3) & ~UINT64_C(3));
	}
}

static uint32_t encode_dev(uint64_t dev)
{
	return (minor(dev) & 0xff) | (major(dev) & 0xfff) << 8 | (minor(dev) & 0xfff00) << 12;
}

static uint32_t chunk_format(uint64_t size)
{
	unsigned int bits = 0;

	while (UINT64_C(1) << (EROFS_BLKBITS + bits) < size)
		bits++;
	return EROFS_CHUNK_INDEXES | bits;
}

static int write_inode(struct writer *w, const struct img_inode *i, uint32_t ino, struct msb_err *e)
{
	enum erofs_layout layout = chunked(i)	    ? EROFS_CHUNK_BASED
				   : tail_inline(i) ? EROFS_FLAT_INLINE
						    : EROFS_FLAT_PLAIN;
	size_t nx = xattr_bytes(i);
	struct erofs_inode_extended x = {
		.i_format = htole16((uint16_t)(1 | layout << 1)),
		.i_mode = htole16((uint16_t)i->mode),
		.i_size = htole64(i->size),
		.i_ino = htole32(ino),
		.i_uid = htole32(i->uid),
		.i_gid = htole32(i->gid),
		.i_mtime = htole64((uint64_t)i->mtime_sec),
		.i_mtime_nsec = htole32(i->mtime_nsec),
		.i_nlink = htole32(S_ISDIR(i->mode) ? i->nsubdirs + 2 : i->refs),
	};

	if (nx)
		x.i_xattr_icount =
			htole16((uint16_t)((nx - sizeof(struct erofs_xattr_ibody)) / 4 + 1));
	if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		x.i_u = htole32(encode_dev(i->rdev));
	else if (chunked(i))
		x.i_u = htole32(chunk_format(i->size));
	else if (has_bytes(i))
		x.i_u = htole32(w->data_start + i->blk);
	pad_to(w, i->pos);
	put(w, &x, sizeof(x));
	write_xattrs(w, i);
	if (chunked(i)) {
		const struct erofs_chunk_index c = {
			.device_id = htole16(device_of(w, i)),
			.blkaddr = htole32((uint32_t)(i->pack_off / EROFS_BLK)),
		};

		if (!c.device_id)
			return msb_err_set(e, EINVAL, "a file lies outside the packs of its image");
		pad_to(w, (w->written + 7) & ~UINT64_C(7));
		put(w, &c, sizeof(c));
	} else if (tail_inline(i)) {
		_cleanup_free_ char *built = S_ISDIR(i->mode) ? dir_build(i) : NULL;
		const char *bytes = S_ISDIR(i->mode) ? built : i->bytes;

		if (!bytes)
			return msb_err_set(e, ENOMEM, "out of memory");
		put(w, bytes + i->size - tail_bytes(i), tail_bytes(i));
	}
	return 0;
}

static int write_blocks(struct writer *w, const struct img_inode *i, struct msb_err *e)
{
	_cleanup_free_ char *built = NULL;
	const char *bytes;
	uint64_t n = i->size;

	if (!has_bytes(i) || !n)
		return 0;
	if (tail_inline(i))
		n -= tail_bytes(i);
	if (!n)
		return 0;
	if (S_ISDIR(i->mode))
		built = dir_build(i);
	bytes = S_ISDIR(i->mode) ? built : i->bytes;
	if (!bytes)
		return msb_err_set(e, ENOMEM, "out of memory");
	pad_to(w, (uint64_t)(w->data_start + i->blk) * EROFS_BLK);
	put(w, bytes, n);
	return 0;
}

int img_index_write(struct img_tree *t, const struct img_pack *packs, size_t npacks,
	const uint8_t uuid[16], FILE *out, struct msb_err *e)
{
	_cleanup_free_ const struct img_pack **by_id = calloc(npacks + 1, sizeof(*by_id));
	_cleanup_free_ struct img_inode **order =
		calloc(img_tree_inodes(t) + 1, sizeof(struct img_inode *));
	struct writer w = {.tree = t, .npacks = npacks, .by_id = by_id, .out = out, .order = order};
	struct img_inode *root = img_tree_root(t);
	_cleanup_free_ struct name *v = NULL;
	size_t n;
	int r;

	if (npacks > IMG_MAX_PACKS)
		return msb_err_set(
			e, E2BIG, "an image cannot lie in more than %d packs", IMG_MAX_PACKS);
	v = sorted_names(root, &n);
	if (!by_id || !order || !v)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < npacks; k++)
		by_id[k] = &packs[k];
	qsort(by_id, npacks, sizeof(*by_id), pack_cmp);
	root->size = dir_bytes(v, n);
	w.meta_end = EROFS_SUPER_OFF + sizeof(struct erofs_super) + npacks * EROFS_DEVICE_SLOT;
	if (w.meta_end < EROFS_BLK)
		w.meta_end = EROFS_BLK;
	r = place(&w, root, e);
	if (r == 0)
		r = place_all(&w, e);
	w.data_start = (uint32_t)((w.meta_end + EROFS_BLK - 1) / EROFS_BLK);
	if (r == 0)
		r = write_head(&w, uuid, e);
	for (size_t k = 0; r == 0 && k < w.norder; k++)
		r = write_inode(&w, order[k], (uint32_t)k + 1, e);
	for (size_t k = 0; r == 0 && k < w.norder; k++)
		r = write_blocks(&w, order[k], e);
	for (size_t k = 0; k < w.norder; k++)
		order[k]->mark = false;
	if (r < 0)
		return r;
	pad_to(&w, (uint64_t)(w.data_start + w.data_blocks) * EROFS_BLK);
	if (fflush(out) != 0 || ferror(out))
		return msb_err_set(e, errno ? errno : EIO, "cannot write the tree index: %m");
	return 0;
}
