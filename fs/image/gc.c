// SPDX-License-Identifier: Apache-2.0
// Removing images, the packs that no image needs, and the unneeded parts of the others.
#include "fs/image/image.h"
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Where the contents lie that an image needs: pack << 32 | block. */
struct live {
	uint64_t *v;
	size_t n, cap;
	const struct img_index *ix;
	unsigned int depth;
	int error;
};

static int key_cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int add_live(struct live *l, uint64_t key)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 4096;
		uint64_t *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = key;
	return 0;
}

static int visit(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct live *l = arg;
	struct img_extent x;
	uint64_t off = 0;

	if (type == DT_DIR) {
		if (++l->depth > IMG_MAX_DEPTH)
			l->error = -EBADMSG;
		else if (!l->error)
			l->error = img_index_readdir(l->ix, nid, visit, l);
		l->depth--;
	} else if (type == DT_REG) {
		const char *p;
		size_t pn;

		if (img_index_inline(l->ix, nid, &p, &pn) == 0)
			return 0;
		do {
			l->error = img_index_extent(l->ix, nid, off, &x);
			if (!l->error && x.len && x.pack_id != IMG_HOLE)
				l->error = add_live(
					l, (uint64_t)x.pack_id << 32 | x.pack_off / PACK_ALIGN);
			off += x.len;
		} while (!l->error && x.len);
	}
	return l->error != 0;
}

static int live_of_image(struct img_store *s, const char *digest, struct live *l, struct msb_err *e)
{
	struct img_index *ix;
	int r = store_open_index(s, digest, &ix, e);

	if (r < 0)
		return r;
	l->ix = ix;
	r = img_index_readdir(ix, img_index_root(ix), visit, l);
	r = r < 0 ? r : l->error;
	img_index_close(ix);
	return r < 0 ? msb_err_set(e, -r, "image %.12s: %s", digest, strerror(-r)) : 0;
}

static int blk_cmp(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return (x->blk > y->blk) - (x->blk < y->blk);
}

static void punch(int fd, uint64_t from, uint64_t to)
{
	/* Where the file system cannot, the space stays used: no harm. */
	if (to > from)
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
			(off_t)(to - from));
}

/* The list first: what it no longer has is never used again, so it can go. */
static int shrink_pack(
	struct img_store *s, const struct pack *p, const struct live *l, struct msb_err *e)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT;
	_cleanup_close_ int fd = -1;
	char name[PACK_NAME_MAX];
	struct object *o;
	uint64_t end = 0;
	size_t n, kept = 0;
	int r;

	(void)snprintf(name, sizeof(name), "%08x.objects", p->id);
	r = msb_read_file(s->packs_fd, name, SIZE_MAX / 2, &list);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return msb_err_set(e, -r, "%s: %s", name, strerror(-r));
	o = (struct object *)list.buf;
	n = list.len / sizeof(*o);
	for (size_t k = 0; k < n; k++) {
		uint64_t key = (uint64_t)p->id << 32 | o[k].blk;

		if (l->n && bsearch(&key, l->v, l->n, sizeof(key), key_cmp))
			o[kept++] = o[k];
	}
	if (kept == n)
		return 0;
	qsort(o, kept, sizeof(*o), blk_cmp);
	r = msb_write_file_atomic(s->packs_fd, name, o, kept * sizeof(*o), 0644);
	if (r < 0)
		return msb_err_set(e, -r, "%s: %s", name, strerror(-r));
	(void)snprintf(name, sizeof(name), "%08x", p->id);
	fd = openat(s->packs_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return msb_err_set(e, errno, "pack %s: %m", name);
	for (size_t k = 0; k < kept; k++) {
		punch(fd, end, (uint64_t)o[k].blk * PACK_ALIGN);
		end = (uint64_t)o[k].blk * PACK_ALIGN +
		      (o[k].len + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
	}
	punch(fd, end, (uint64_t)p->blocks * PACK_ALIGN);
	return 0;
}

static bool kept(const char *name, const char *const *keep, size_t nkeep)
{
	for (size_t k = 0; k < nkeep; k++)
		if (strcmp(name, keep[k]) == 0)
			return true;
	return false;
}

static int remove_images(struct img_store *s, const char *const *keep, size_t nkeep, struct live *l,
	struct msb_err *e)
{
	_cleanup_close_ int tmp = openat(s->fd, STORE_TMP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(s->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	int r = 0;

	if (!d || tmp < 0) {
		r = msb_err_set(e, errno, "cannot read the store: %m");
		if (!d && fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (de = readdir(d))) {
		if (!store_digest_valid(de->d_name))
			continue;
		if (kept(de->d_name, keep, nkeep)) {
			/* One that cannot be read is told of when the store is read again. */
			r = live_of_image(s, de->d_name, l, e);
			r = r == -ENOMEM ? r : 0;
			continue;
		}
		/* Out of sight in one step, then piece by piece. */
		if (renameat(s->images_fd, de->d_name, tmp, de->d_name) < 0)
			return msb_err_set(e, errno, "cannot remove image %.12s: %m", de->d_name);
		r = msb_rm_rf(tmp, de->d_name);
		if (r < 0)
			return msb_err_set(
				e, -r, "cannot remove image %.12s: %s", de->d_name, strerror(-r));
	}
	return r;
}

int img_store_gc(struct img_store *s, const char *const *keep, size_t nkeep, struct msb_err *e)
{
	struct live l = {0};
	int r = remove_images(s, keep, nkeep, &l, e);

	if (r == 0) {
		if (l.n)
			qsort(l.v, l.n, sizeof(*l.v), key_cmp);
		store_forget(s);
		r = store_collect(s, e);
	}
	for (size_t k = 0; r == 0 && !s->unsure && k < s->npacks; k++)
		r = shrink_pack(s, &s->packs[k], &l, e);
	store_forget(s); /* the lists have changed under it */
	free(l.v);
	return r;
}
