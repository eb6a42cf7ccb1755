// SPDX-License-Identifier: Apache-2.0
// Contents: the packs of one layer, and using the same bytes once.
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_TABLE 1024
#define LONG_HOLE   (32u << 10) /* is not written; others are cheaper written */

void store_pack_name(char out[PACK_NAME_MAX], uint32_t id, const char *suffix)
{
	(void)snprintf(out, PACK_NAME_MAX, "%08x%s", id, suffix);
}

int img_writer_new(struct img_store *s, struct img_writer **ret, struct msb_err *e)
{
	struct img_writer *w = calloc(1, sizeof(*w));
	int r = store_load_lists(s, e);

	if (!w || r < 0) {
		free(w);
		return r < 0 ? r : msb_err_set(e, ENOMEM, "out of memory");
	}
	w->st = s;
	w->out_fd = -1;
	for (size_t k = 0; k < PACK_FD_CACHE; k++)
		w->cache[k].fd = -1;
	w->buf = malloc(IMG_STORE_BUFFER + IMG_PACK_ALIGN);
	w->hash = XXH3_createState();
	if (!w->buf || !w->hash) {
		img_writer_free(w);
		return msb_err_set(e, ENOMEM, "out of memory");
	}
	*ret = w;
	return 0;
}

struct img_writer *img_writer_free(struct img_writer *w)
{
	if (!w)
		return NULL;
	if (w->out_fd >= 0)
		close(w->out_fd);
	for (size_t k = 0; k < w->npacks; k++) {
		char name[PACK_NAME_MAX];

		store_pack_name(name, w->packs[k], "");
		if (!w->taken)
			(void)unlinkat(w->st->packs_fd, name, 0); /* a sweep would */
	}
	for (size_t k = 0; k < PACK_FD_CACHE; k++)
		if (w->cache[k].fd >= 0)
			close(w->cache[k].fd);
	XXH3_freeState(w->hash);
	free(w->packs);
	free(w->objects);
	free(w->table);
	free(w->buf);
	free(w);
	return NULL;
}

/* ---- writing */

int store_open_pack(const struct img_store *s, uint32_t id, int flags)
{
	char name[PACK_NAME_MAX];
	int fd;

	store_pack_name(name, id, "");
	fd = openat(s->packs_fd, name, flags | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static uint32_t current(const struct img_writer *w)
{
	return w->packs[w->npacks - 1];
}

static bool zeros(const uint8_t *p, size_t n)
{
	return !p[0] && memcmp(p, p + 1, n - 1) == 0;
}

static int flush_buf(struct img_writer *w, struct msb_err *e)
{
	int fd = w->out_fd, r = 0;

	if (!w->nbuf)
		return 0;
	/* What is all zeros takes no space, however much of it there is. */
	if (zeros(w->buf, w->nbuf))
		r = ftruncate(fd, (off_t)(w->flushed + w->nbuf)) < 0 ? -errno : 0;
	else
		r = msb_pwrite_full(fd, w->buf, w->nbuf, w->flushed);
	if (r < 0)
		return msb_err_set(e, -r, "cannot store contents: %s", strerror(-r));
	/* Let the disk begin: the sync at the end has less to wait for. */
	(void)sync_file_range(fd, (off_t)w->flushed, (off_t)w->nbuf, SYNC_FILE_RANGE_WRITE);
	w->flushed += w->nbuf;
	w->nbuf = 0;
	return 0;
}

int store_writer_flush(struct img_writer *w, struct msb_err *e)
{
	int r = w->out_fd >= 0 ? flush_buf(w, e) : 0;

	if (r == 0 && w->out_fd >= 0)
		close(steal_fd(&w->out_fd));
	return r;
}

static int next_pack(struct img_writer *w, struct msb_err *e)
{
	uint32_t *p = reallocarray(w->packs, w->npacks + 1, sizeof(*p));
	char name[PACK_NAME_MAX];
	uint32_t id;
	int fd, r;

	if (!p)
		return msb_err_set(e, ENOMEM, "out of memory");
	w->packs = p;
	r = store_writer_flush(w, e);
	if (r < 0)
		return r;
	do { /* another process may have taken it */
		LOCK_SCOPE(&w->st->lock);
		id = w->st->next_id;
		if (!id || id == IMG_HOLE)
			return msb_err_set(e, E2BIG, "the store has used up its pack names");
		w->st->next_id++;
		store_pack_name(name, id, "");
		fd = openat(w->st->packs_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	w->packs[w->npacks++] = id;
	w->out_fd = fd;
	w->flushed = w->start = 0;
	return 0;
}

void img_writer_begin(struct img_writer *w)
{
	(void)XXH3_128bits_reset(w->hash);
	w->start = w->flushed + w->nbuf;
}

static int ready(struct img_writer *w, struct msb_err *e)
{
	bool full = w->flushed + w->nbuf == w->start && w->start >= IMG_PACK_BYTES;

	return w->out_fd < 0 || full ? next_pack(w, e) : 0;
}

int img_writer_data(struct img_writer *w, const void *p, size_t n, struct msb_err *e)
{
	const uint8_t *b = p;
	int r = ready(w, e);

	(void)XXH3_128bits_update(w->hash, p, n);
	while (r == 0 && n) {
		size_t k = IMG_STORE_BUFFER - w->nbuf;

		if (k > n)
			k = n;
		memcpy(w->buf + w->nbuf, b, k);
		w->nbuf += k;
		b += k;
		n -= k;
		if (w->nbuf == IMG_STORE_BUFFER)
			r = flush_buf(w, e);
	}
	return r;
}

int img_writer_hole(struct img_writer *w, uint64_t n, struct msb_err *e)
{
	static const uint8_t nothing[64 << 10];
	uint64_t long_n = n >= LONG_HOLE ? n : 0;
	int r = ready(w, e);

	if (r == 0 && long_n)
		r = flush_buf(w, e);
	if (r == 0 && long_n > INT64_MAX - w->flushed)
		return msb_err_set(e, E2BIG, "a file is too large for the store");
	if (r == 0 && long_n && ftruncate(w->out_fd, (off_t)(w->flushed + long_n)) < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	while (r == 0 && n) {
		size_t k = n < sizeof(nothing) ? (size_t)n : sizeof(nothing);

		if (long_n)
			(void)XXH3_128bits_update(w->hash, nothing, k);
		else
			r = img_writer_data(w, nothing, k, e);
		n -= k;
	}
	w->flushed += long_n;
	return r;
}

/* ---- using the same bytes once */

static int pack_fd(struct img_writer *w, uint32_t id)
{
	size_t k = id % PACK_FD_CACHE;

	if (w->out_fd >= 0 && id == current(w))
		return w->out_fd;
	if (w->cache[k].fd >= 0 && w->cache[k].id == id)
		return w->cache[k].fd;
	if (w->cache[k].fd >= 0)
		close(w->cache[k].fd);
	w->cache[k].id = id;
	w->cache[k].fd = store_open_pack(w->st, id, O_RDONLY);
	return w->cache[k].fd;
}

/* @n bytes of a pack, from the file or from what is not in it yet. */
static bool read_pack(struct img_writer *w, uint32_t id, uint64_t off, uint8_t *to, size_t n)
{
	bool own = w->out_fd >= 0 && id == current(w);
	size_t fd_n = n;
	int fd;

	if (own && off + n > w->flushed) {
		fd_n = off < w->flushed ? (size_t)(w->flushed - off) : 0;
		memcpy(to + fd_n, w->buf + (off + fd_n - w->flushed), n - fd_n);
	}
	if (!fd_n)
		return true;
	fd = pack_fd(w, id);
	return fd >= 0 && msb_pread_full(fd, to, fd_n, off) == (int64_t)fd_n;
}

bool store_same_bytes(struct img_writer *w, const struct object *o, uint32_t id, uint64_t start)
{
	uint8_t a[16384], b[16384];

	for (uint64_t off = 0; off < o->len;) {
		size_t n = o->len - off < sizeof(a) ? (size_t)(o->len - off) : sizeof(a);

		if (!read_pack(w, o->pack, (uint64_t)o->blk * IMG_PACK_ALIGN + off, a, n) ||
			!read_pack(w, id, start + off, b, n) || memcmp(a, b, n) != 0)
			return false;
		off += n;
	}
	return true;
}

static const struct object *find_own(struct img_writer *w, const struct object *o)
{
	size_t mask = w->ntable - 1;

	for (size_t k = o->hash.low64 & mask; w->ntable && w->table[k]; k = (k + 1) & mask) {
		const struct object *have = &w->objects[w->table[k] - 1];

		if (have->len == o->len && XXH128_isEqual(have->hash, o->hash) &&
			store_same_bytes(w, have, current(w), w->start))
			return have;
	}
	return NULL;
}

static void insert(uint32_t *table, size_t n, const struct object *v, size_t number)
{
	size_t k = v[number].hash.low64 & (n - 1);

	while (table[k])
		k = (k + 1) & (n - 1);
	table[k] = (uint32_t)number + 1;
}

static int remember(struct img_writer *w, const struct object *o)
{
	if (w->nobjects == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : FIRST_TABLE / 2;
		struct object *p = reallocarray(w->objects, cap, sizeof(*p));
		uint32_t *t;

		if (!p)
			return -ENOMEM;
		w->objects = p;
		t = calloc(2 * cap, sizeof(*t));
		if (!t)
			return -ENOMEM;
		w->cap = cap;
		for (size_t k = 0; k < w->nobjects; k++)
			insert(t, 2 * cap, p, k);
		free(w->table);
		w->table = t;
		w->ntable = 2 * cap;
	}
	w->objects[w->nobjects] = *o;
	insert(w->table, w->ntable, w->objects, w->nobjects++);
	return 0;
}

/* Takes the file being stored back. */
static int rewind_pack(struct img_writer *w, struct msb_err *e)
{
	if (w->start >= w->flushed) {
		w->nbuf = (size_t)(w->start - w->flushed);
		return 0;
	}
	if (ftruncate(w->out_fd, (off_t)w->start) < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	w->flushed = w->start;
	w->nbuf = 0;
	return 0;
}

static int pad(struct img_writer *w, struct msb_err *e)
{
	static const uint8_t nothing[IMG_PACK_ALIGN];
	size_t n = (size_t)(-(w->flushed + w->nbuf) % IMG_PACK_ALIGN);
	int r = n > IMG_STORE_BUFFER - w->nbuf ? flush_buf(w, e) : 0;

	memcpy(w->buf + w->nbuf, nothing, n);
	w->nbuf += n;
	return r;
}

int img_writer_end(struct img_writer *w, struct img_span *ret, struct msb_err *e)
{
	struct object o = {
		.hash = XXH3_128bits_digest(w->hash), .len = w->flushed + w->nbuf - w->start};
	struct object found;
	const struct object *have;
	int r;

	if (!o.len)
		return msb_err_set(e, EINVAL, "an empty file has no contents to store");
	have = find_own(w, &o);
	if (!have && store_find_object(w, &o, w->start, current(w), &found))
		have = &found;
	if (have) {
		*ret = (struct img_span){have->len, have->pack, have->blk};
		return rewind_pack(w, e);
	}
	r = pad(w, e);
	if (r < 0)
		return r;
	if ((w->flushed + w->nbuf) / IMG_PACK_ALIGN > OBJECT_MAX_BLK)
		return msb_err_set(e, E2BIG, "a file is too large for the store");
	o.pack = current(w);
	o.blk = (uint32_t)(w->start / IMG_PACK_ALIGN);
	if (remember(w, &o) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	*ret = (struct img_span){o.len, o.pack, o.blk};
	return 0;
}

void store_punch(int fd, uint64_t from, uint64_t to)
{
	/* Where the file system cannot, the space stays used: no harm. */
	if (to > from)
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
			(off_t)(to - from));
}
