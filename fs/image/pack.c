// SPDX-License-Identifier: Apache-2.0
// Contents: packs, the list of what they hold, and using the same bytes once.
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static void pack_name(char out[PACK_NAME_MAX], uint32_t id, const char *suffix)
{
	(void)snprintf(out, PACK_NAME_MAX, "%08x%s", id, suffix);
}

/* ---- known packs */

struct pack *store_find_pack(const struct img_store *s, uint32_t id)
{
	size_t lo = 0, hi = s->npacks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->packs[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->npacks && s->packs[lo].id == id ? &s->packs[lo] : NULL;
}

int store_add_pack(struct img_store *s, uint32_t id, uint32_t blocks, bool ours)
{
	struct pack *p = reallocarray(s->packs, s->npacks + 1, sizeof(*p));
	size_t k = s->npacks;

	if (!p)
		return -ENOMEM;
	s->packs = p;
	for (; k && p[k - 1].id > id; k--)
		p[k] = p[k - 1];
	p[k] = (struct pack){id, blocks, ours};
	s->npacks++;
	return 0;
}

/* ---- known contents */

static void insert(struct object *table, size_t n, const struct object *o)
{
	size_t k = o->hash.low64 & (n - 1);

	while (table[k].len)
		k = (k + 1) & (n - 1);
	table[k] = *o;
}

int store_add_object(struct img_store *s, const struct object *o)
{
	if (2 * (s->nobjects + 1) > s->ntable) {
		size_t n = s->ntable ? 2 * s->ntable : 4096;
		struct object *t = calloc(n, sizeof(*t));

		if (!t)
			return -ENOMEM;
		for (size_t k = 0; k < s->ntable; k++)
			if (s->table[k].len)
				insert(t, n, &s->table[k]);
		free(s->table);
		s->table = t;
		s->ntable = n;
	}
	insert(s->table, s->ntable, o);
	s->nobjects++;
	return 0;
}

int store_load_pack(struct img_store *s, uint32_t id, struct msb_err *e)
{
	char name[PACK_NAME_MAX];
	_cleanup_close_ int fd = -1;
	struct object o[256];
	uint64_t off = 0;
	struct stat st;
	int64_t n;

	if (store_find_pack(s, id))
		return 0;
	pack_name(name, id, "");
	if (fstatat(s->packs_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return msb_err_set(e, errno, "pack %s of the store: %m", name);
	if (store_add_pack(s, id, (uint32_t)((uint64_t)st.st_size / PACK_ALIGN), false) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	pack_name(name, id, ".objects");
	fd = openat(s->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) /* its contents cannot be used again, that is all */
		return errno == ENOENT ? 0 : msb_err_set(e, errno, "%s: %m", name);
	while ((n = msb_pread_full(fd, o, sizeof(o), off)) > 0) {
		for (size_t k = 0; k < (size_t)n / sizeof(o[0]); k++) {
			o[k].pack = id;
			if (o[k].len && store_add_object(s, &o[k]) < 0)
				return msb_err_set(e, ENOMEM, "out of memory");
		}
		off += (uint64_t)n;
	}
	return n < 0 ? msb_err_set(e, (int)-n, "%s: %s", name, strerror((int)-n)) : 0;
}

/* ---- writing */

static int flush_buf(struct img_store *s, struct msb_err *e)
{
	int r;

	if (!s->nbuf)
		return 0;
	r = msb_pwrite_full(s->out_fd, s->buf, s->nbuf, s->flushed);
	if (r < 0)
		return msb_err_set(e, -r, "cannot store contents: %s", strerror(-r));
	/* Let the disk begin: the fsync at the end has less to wait for. */
	(void)sync_file_range(s->out_fd, (off_t)s->flushed, (off_t)s->nbuf, SYNC_FILE_RANGE_WRITE);
	s->flushed += s->nbuf;
	s->nbuf = 0;
	return 0;
}

int store_close_pack(struct img_store *s, struct msb_err *e)
{
	char name[PACK_NAME_MAX];
	_cleanup_close_ int fd = -1;
	int r;

	if (s->out_fd < 0)
		return 0;
	r = flush_buf(s, e);
	if (r < 0)
		return r;
	if (fdatasync(s->out_fd) < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	pack_name(name, s->out_id, ".objects");
	fd = openat(s->packs_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	r = msb_write_full(fd, s->new, s->nnew * sizeof(*s->new));
	if (r < 0 || fdatasync(fd) < 0)
		return msb_err_set(e, r < 0 ? -r : errno, "cannot store contents: %m");
	close(steal_fd(&s->out_fd));
	s->nnew = 0;
	return 0;
}

static int next_pack(struct img_store *s, struct msb_err *e)
{
	uint32_t id = s->npacks ? s->packs[s->npacks - 1].id + 1 : PACK_ID_FIRST;
	char name[PACK_NAME_MAX];
	int r = store_close_pack(s, e);

	if (r < 0)
		return r;
	if (!id || id == IMG_HOLE)
		return msb_err_set(e, E2BIG, "the store has used up its pack names");
	do { /* past what could not be told to be garbage */
		pack_name(name, id, "");
		s->out_fd = openat(s->packs_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	} while (s->out_fd < 0 && errno == EEXIST && ++id < IMG_HOLE);
	if (s->out_fd < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	if (store_add_pack(s, id, 0, true) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	s->out_id = id;
	s->flushed = 0;
	return 0;
}

void img_store_begin(struct img_store *s)
{
	s->start = s->flushed + s->nbuf;
	XXH3_128bits_reset(s->hash);
}

int img_store_data(struct img_store *s, const void *p, size_t n, struct msb_err *e)
{
	const uint8_t *b = p;
	int r = 0;

	if (s->out_fd < 0 || (s->flushed + s->nbuf == s->start && s->start >= IMG_PACK_BYTES)) {
		r = next_pack(s, e);
		s->start = 0;
	}
	XXH3_128bits_update(s->hash, p, n);
	while (r == 0 && n) {
		size_t k = IMG_STORE_BUFFER - s->nbuf;

		if (k > n)
			k = n;
		memcpy(s->buf + s->nbuf, b, k);
		s->nbuf += k;
		b += k;
		n -= k;
		if (s->nbuf == IMG_STORE_BUFFER)
			r = flush_buf(s, e);
	}
	return r;
}

/* ---- using the same bytes once */

static int pack_fd(struct img_store *s, uint32_t id)
{
	size_t k = id % PACK_FD_CACHE;
	char name[PACK_NAME_MAX];

	if (s->out_fd >= 0 && id == s->out_id)
		return s->out_fd;
	if (s->cache[k].fd >= 0 && s->cache[k].id == id)
		return s->cache[k].fd;
	if (s->cache[k].fd >= 0)
		close(s->cache[k].fd);
	pack_name(name, id, "");
	s->cache[k].id = id;
	s->cache[k].fd = openat(s->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return s->cache[k].fd;
}

void store_drop_fds(struct img_store *s)
{
	for (size_t k = 0; k < PACK_FD_CACHE; k++) {
		if (s->cache[k].fd >= 0)
			close(s->cache[k].fd);
		s->cache[k].fd = -1;
	}
}

/* @n bytes of a pack, from the file or from what is not in it yet. */
static bool read_pack(struct img_store *s, uint32_t id, uint64_t off, uint8_t *to, size_t n)
{
	bool current = s->out_fd >= 0 && id == s->out_id;
	size_t in_file = n, fd_n = n;
	int fd = pack_fd(s, id);

	if (current && off + n > s->flushed) {
		in_file = off < s->flushed ? (size_t)(s->flushed - off) : 0;
		fd_n = in_file;
		memcpy(to + in_file, s->buf + (off + in_file - s->flushed), n - in_file);
	}
	return !fd_n || (fd >= 0 && msb_pread_full(fd, to, fd_n, off) == (int64_t)fd_n);
}

static bool same_bytes(struct img_store *s, const struct object *o, uint64_t len)
{
	uint8_t a[16384], b[16384];

	for (uint64_t off = 0; off < len;) {
		size_t n = len - off < sizeof(a) ? (size_t)(len - off) : sizeof(a);

		if (!read_pack(s, o->pack, (uint64_t)o->blk * PACK_ALIGN + off, a, n) ||
			!read_pack(s, s->out_id, s->start + off, b, n) || memcmp(a, b, n) != 0)
			return false;
		off += n;
	}
	return true;
}

/* Takes the file being stored back. */
static int rewind_pack(struct img_store *s, struct msb_err *e)
{
	if (s->start >= s->flushed) {
		s->nbuf = (size_t)(s->start - s->flushed);
		return 0;
	}
	if (ftruncate(s->out_fd, (off_t)s->start) < 0)
		return msb_err_set(e, errno, "cannot store contents: %m");
	s->flushed = s->start;
	s->nbuf = 0;
	return 0;
}

static int pad(struct img_store *s, struct msb_err *e)
{
	static const uint8_t zeros[PACK_ALIGN];
	size_t n = (size_t)(-(s->flushed + s->nbuf) % PACK_ALIGN);
	int r = n > IMG_STORE_BUFFER - s->nbuf ? flush_buf(s, e) : 0;

	memcpy(s->buf + s->nbuf, zeros, n);
	s->nbuf += n;
	return r;
}

static int remember(struct img_store *s, const struct object *o)
{
	if (s->nnew == s->new_cap) {
		size_t cap = s->new_cap ? 2 * s->new_cap : 1024;
		struct object *p = reallocarray(s->new, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->new = p;
		s->new_cap = cap;
	}
	s->new[s->nnew] = *o;
	s->new[s->nnew++].pack = 0;
	return store_add_object(s, o);
}

int img_store_end(struct img_store *s, uint32_t *ret_pack, uint64_t *ret_off, struct msb_err *e)
{
	struct object o = {.hash = XXH3_128bits_digest(s->hash),
		.len = s->flushed + s->nbuf - s->start,
		.pack = s->out_id};
	struct pack *p;
	int r;

	if (!o.len)
		return msb_err_set(e, EINVAL, "an empty file has no contents to store");
	for (size_t k = o.hash.low64 & (s->ntable - 1); s->ntable && s->table[k].len;
		k = (k + 1) & (s->ntable - 1)) {
		const struct object *have = &s->table[k];

		if (have->len != o.len || !XXH128_isEqual(have->hash, o.hash) ||
			!same_bytes(s, have, o.len))
			continue;
		*ret_pack = have->pack;
		*ret_off = (uint64_t)have->blk * PACK_ALIGN;
		return rewind_pack(s, e);
	}
	r = pad(s, e);
	if (r < 0)
		return r;
	if ((s->flushed + s->nbuf) / PACK_ALIGN > OBJECT_MAX_BLK)
		return msb_err_set(e, E2BIG, "a file is too large for the store");
	o.blk = (uint32_t)(s->start / PACK_ALIGN);
	p = store_find_pack(s, s->out_id);
	p->blocks = (uint32_t)((s->flushed + s->nbuf) / PACK_ALIGN);
	if (remember(s, &o) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	*ret_pack = o.pack;
	*ret_off = s->start;
	return 0;
}
