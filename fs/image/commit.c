// SPDX-License-Identifier: Apache-2.0
// How a layer appears: its contents on disk, what others published meanwhile used, then renames.
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* ---- records */

int img_store_record_new(
	struct img_store *s, const char *diff_id, struct img_store_record *ret, struct msb_err *e)
{
	struct img_store_record rec = {.fd = -1};
	int r;

	if (!store_digest_valid(diff_id))
		return msb_err_set(e, EINVAL, "not a digest");
	pthread_mutex_lock(&s->lock);
	(void)snprintf(
		rec.name, sizeof(rec.name), "%.12s.%llu", diff_id, (unsigned long long)s->names++);
	pthread_mutex_unlock(&s->lock);
	rec.fd = openat(s->tmp_fd, rec.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (rec.fd < 0)
		return msb_err_set(e, errno, "cannot store the layer's record: %m");
	r = img_record_begin(rec.fd, &rec.w);
	if (r < 0) {
		img_store_record_done(s, &rec);
		return msb_err_set(e, ENOMEM, "out of memory");
	}
	*ret = rec;
	return 0;
}

void img_store_record_done(struct img_store *s, struct img_store_record *rec)
{
	rec->w = img_record_writer_free(rec->w);
	if (rec->fd >= 0)
		close(rec->fd);
	rec->fd = -1;
	if (*rec->name)
		(void)unlinkat(s->tmp_fd, rec->name, 0); /* gone with the directory else */
	*rec->name = 0;
}

int img_store_layer(
	const struct img_store *s, const char *diff_id, struct img_record **ret, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;

	if (!store_digest_valid(diff_id))
		return msb_err_set(e, EINVAL, "not a digest");
	fd = openat(s->layers_fd, diff_id, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return msb_err_set(e, errno, "layer sha256:%.12s: %m", diff_id);
	return img_record_open(fd, ret, e) < 0 ? msb_err_wrap(e, "layer sha256:%.12s", diff_id) : 0;
}

/* ---- using what others published meanwhile */

struct commit {
	struct img_store *s;
	struct img_writer *w;
	struct img_store_record *rec;
	struct object *to; /* of each object of the writer: where its bytes are; pack 0: its own */
	size_t nmoved;
};

/* Whether any object was found elsewhere. */
static bool share(struct commit *c)
{
	size_t before = c->nmoved;

	for (size_t k = 0; k < c->w->nobjects; k++) {
		const struct object *o = &c->w->objects[k];

		if (c->to[k].pack || !store_find_object(c->w, o, (uint64_t)o->blk * IMG_PACK_ALIGN,
					     o->pack, &c->to[k]))
			continue;
		c->nmoved++;
	}
	return c->nmoved > before;
}

static int object_cmp(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->pack != y->pack ? (x->pack > y->pack) - (x->pack < y->pack)
				  : (x->blk > y->blk) - (x->blk < y->blk);
}

/* The space of own copies in pack @id. */
static void give_back(const struct commit *c, uint32_t id)
{
	_cleanup_close_ int fd = store_open_pack(c->s, id, O_WRONLY);
	const struct object *to = c->to;

	for (size_t k = 0; fd >= 0 && to && k < c->w->nobjects; k++) {
		const struct object *o = &c->w->objects[k];
		uint64_t at = (uint64_t)o->blk * IMG_PACK_ALIGN;

		if (o->pack == id && to[k].pack)
			store_punch(fd, at, at + o->len + -o->len % IMG_PACK_ALIGN);
	}
}

/* The spans point where the bytes are, and the own copies give their space back. */
static void repoint(struct commit *c)
{
	size_t n;
	struct img_span *v = img_record_writer_spans(c->rec->w, &n);

	for (size_t k = 0; k < n; k++) {
		const struct object key = {.pack = v[k].pack, .blk = v[k].blk};
		/* By pack and block: packs are made with rising numbers. */
		const struct object *o = c->w->nobjects
						 ? bsearch(&key, c->w->objects, c->w->nobjects,
							   sizeof(key), object_cmp)
						 : NULL;
		const struct object *to = o ? &c->to[o - c->w->objects] : NULL;

		if (to && to->pack) {
			v[k].pack = to->pack;
			v[k].blk = to->blk;
		}
	}
	for (size_t p = 0; p < c->w->npacks; p++)
		give_back(c, c->w->packs[p]);
}

static void list_name(char out[32], uint32_t id)
{
	(void)snprintf(out, 32, "objects.%08x", id);
}

/* The objects of pack @p that are its own. @ret: on the heap, may be of none. */
static int list_of(const struct commit *c, uint32_t id, struct object **ret, size_t *ret_n)
{
	struct object *v = calloc(c->w->nobjects + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	for (size_t k = 0; k < c->w->nobjects; k++)
		if (c->w->objects[k].pack == id && !c->to[k].pack) {
			v[n] = c->w->objects[k];
			v[n++].pack = 0;
		}
	*ret = v;
	*ret_n = n;
	return 0;
}

static int write_list(struct commit *c, uint32_t id, struct msb_err *e)
{
	_cleanup_free_ struct object *v = NULL;
	_cleanup_close_ int fd = -1;
	char name[32];
	size_t n;
	int r = list_of(c, id, &v, &n);

	if (r < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	list_name(name, id);
	fd = openat(c->s->tmp_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : msb_write_full(fd, v, n * sizeof(*v));
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r < 0 ? msb_err_set(e, -r, "cannot store contents: %s", strerror(-r)) : 0;
}

/* Everything but the names, on disk. */
static int write_all(struct commit *c, struct msb_err *e)
{
	int r = 0;

	if (c->nmoved)
		repoint(c);
	for (size_t k = 0; r == 0 && k < c->w->npacks; k++)
		r = write_list(c, c->w->packs[k], e);
	if (r == 0)
		r = img_record_finish(c->rec->w, e);
	if (r == 0 && fdatasync(c->rec->fd) < 0)
		r = msb_err_set(e, errno, "cannot store the layer's record: %m");
	return r;
}

/* The publish lock is held. */
static int rename_all(struct commit *c, const char *diff_id, struct msb_err *e)
{
	for (size_t k = 0; k < c->w->npacks; k++) {
		char from[32], to[PACK_NAME_MAX];

		list_name(from, c->w->packs[k]);
		store_pack_name(to, c->w->packs[k], ".objects");
		if (renameat(c->s->tmp_fd, from, c->s->packs_fd, to) < 0)
			return msb_err_set(e, errno, "cannot store contents: %m");
		c->w->taken = true; /* from here on others may use what is in it */
	}
	if (renameat(c->s->tmp_fd, c->rec->name, c->s->layers_fd, diff_id) < 0)
		return msb_err_set(e, errno, "cannot store the layer's record: %m");
	*c->rec->name = 0;
	c->w->taken = true;
	store_note_added(c->s, c->s->layers_fd, diff_id);
	for (size_t k = 0; k < c->w->npacks; k++) {
		_cleanup_free_ struct object *v = NULL;
		size_t n;

		/* Where there is no memory for them they are not used again, that is all. */
		if (list_of(c, c->w->packs[k], &v, &n) == 0)
			(void)store_add_objects(c->s, c->w->packs[k], v, n);
	}
	return 0;
}

static bool readable(const struct img_store *s, const char *diff_id)
{
	struct img_record *rec;

	if (img_store_layer(s, diff_id, &rec, NULL) < 0)
		return false;
	img_record_close(rec);
	return true;
}

/* A pack whose bytes were all found elsewhere is not needed at all. */
static void drop_empty(struct commit *c)
{
	struct img_writer *w = c->w;
	size_t kept = 0;

	for (size_t p = 0; p < w->npacks; p++) {
		char name[PACK_NAME_MAX];
		bool used = false;

		for (size_t k = 0; !used && k < w->nobjects; k++)
			used = w->objects[k].pack == w->packs[p] && !c->to[k].pack;
		if (used) {
			w->packs[kept++] = w->packs[p];
			continue;
		}
		store_pack_name(name, w->packs[p], "");
		(void)unlinkat(c->s->packs_fd, name, 0); /* a sweep would */
	}
	w->npacks = kept;
}

int img_store_add_layer(struct img_store *s, const char *diff_id, struct img_writer *w,
	struct img_store_record *rec, bool replace, struct msb_err *e)
{
	_cleanup_free_ struct object *to = calloc(w->nobjects + 1, sizeof(*to));
	struct commit c = {.s = s, .w = w, .rec = rec, .to = to};
	int r;

	if (!to)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = store_writer_flush(w, e);
	if (r == 0)
		r = img_record_end_body(rec->w, e);
	for (size_t k = 0; r == 0 && k < w->npacks; k++) {
		_cleanup_close_ int fd = store_open_pack(s, w->packs[k], O_WRONLY);

		if (fd < 0 || fdatasync(fd) < 0)
			r = msb_err_set(e, fd < 0 ? -fd : errno, "cannot store contents: %m");
	}
	if (r == 0)
		r = store_load_lists(s, e);
	if (r < 0)
		return r;
	(void)share(&c);
	drop_empty(&c);
	r = write_all(&c, e);
	/* The packs' names are on disk before that of the record that needs them. */
	if (r == 0 && fsync(s->packs_fd) < 0)
		r = msb_err_set(e, errno, "cannot store contents: %m");
	if (r == 0)
		r = store_publish_lock(s, e);
	if (r < 0)
		return r;
	if (!replace && readable(s, diff_id)) {
		store_publish_unlock(s);
		return 0;
	}
	r = store_load_lists(s, e);
	if (r == 0 && share(&c)) {
		drop_empty(&c);
		r = write_all(&c, e);
	}
	if (r == 0)
		r = rename_all(&c, diff_id, e);
	store_publish_unlock(s);
	return r;
}
