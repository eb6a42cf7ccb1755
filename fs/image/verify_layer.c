// SPDX-License-Identifier: Apache-2.0
// One layer: its tar made again and hashed, and each file's contents against the pack's list.
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "fs/image/tar.h"
#include "fs/image/verify.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>

#define READ_BYTES (256u << 10)

struct list {
	uint32_t id;
	struct msb_str text; /* struct object, by block */
};

struct check {
	const struct img_store *s;
	EVP_MD_CTX *sha;
	XXH3_state_t *hash;
	struct img_tar *tar; /* NULL: it is not followed any more */
	char *buf;
	int fd; /* of pack id; -1: none */
	uint32_t id;
	struct list *lists;
	size_t nlists;
	char path[256]; /* of the last entry */
	struct msb_str *out;
	size_t named;
};

static void say(struct check *c, const char *what)
{
	if (c->named++ < IMG_MAX_DAMAGED && c->out)
		msb_str_addf(c->out, "%s: %s\n", c->path, what);
}

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	struct check *c = arg;
	struct msb_str s = MSB_STR_FIXED(c->path);

	msb_str_add_printable(&s, x->path, strlen(x->path));
	return 0;
}

static int on_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	return 0;
}

static int on_hole(void *arg, uint64_t n, struct msb_err *e)
{
	return 0;
}

static int on_done(void *arg, struct msb_err *e)
{
	return 0;
}

static int raw(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct check *c = arg;

	(void)EVP_DigestUpdate(c->sha, p, n);
	if (c->tar && img_tar_feed(c->tar, p, n, NULL) < 0)
		c->tar = img_tar_free(c->tar); /* its digest will tell */
	return 0;
}

static const struct list *list_of(struct check *c, uint32_t id)
{
	char name[PACK_NAME_MAX];
	struct list *v;

	for (size_t k = 0; k < c->nlists; k++)
		if (c->lists[k].id == id)
			return &c->lists[k];
	v = reallocarray(c->lists, c->nlists + 1, sizeof(*v));
	if (!v)
		return NULL;
	c->lists = v;
	v = &v[c->nlists++];
	*v = (struct list){.id = id};
	store_pack_name(name, id, ".objects");
	(void)msb_read_file(c->s->packs_fd, name, SIZE_MAX / 2, &v->text); /* empty then */
	return v;
}

/* Whether the list has another hash for what lies there. One that has none says nothing. */
static bool differs(struct check *c, const struct img_span *s, XXH128_hash_t hash)
{
	const struct list *l = list_of(c, s->pack);
	const struct object *v = l ? (const struct object *)l->text.buf : NULL;
	size_t lo = 0, n = v ? l->text.len / sizeof(*v) : 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].blk < s->blk)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && v[lo].blk == s->blk && v[lo].len == s->len &&
	       !XXH128_isEqual(v[lo].hash, hash);
}

static void open_pack(struct check *c, uint32_t id)
{
	char name[PACK_NAME_MAX];

	if (c->fd >= 0 && c->id == id)
		return;
	if (c->fd >= 0)
		close(c->fd);
	store_pack_name(name, id, "");
	c->fd = openat(c->s->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	c->id = id;
}

/* Reads @n bytes of the pack, for the file's hash and where @tar the tar's. */
static int read_bytes(struct check *c, uint64_t at, uint64_t n, bool tar)
{
	for (uint64_t off = 0; off < n;) {
		size_t want = n - off < READ_BYTES ? (size_t)(n - off) : READ_BYTES;
		int64_t got = c->fd < 0 ? -EBADF : msb_pread_full(c->fd, c->buf, want, at + off);

		if (got != (int64_t)want)
			return -EIO;
		if (tar)
			(void)EVP_DigestUpdate(c->sha, c->buf, want);
		(void)XXH3_128bits_update(c->hash, c->buf, want);
		off += want;
	}
	return 0;
}

static int data(void *arg, const struct img_span *s, const struct img_tar_part *parts,
	size_t nparts, struct msb_err *e)
{
	struct check *c = arg;
	uint64_t at = (uint64_t)s->blk * IMG_PACK_ALIGN, off = 0, n = 0;
	int r = 0;

	open_pack(c, s->pack);
	(void)XXH3_128bits_reset(c->hash);
	for (size_t k = 0; r == 0 && k < nparts; k++) {
		r = read_bytes(c, at + off, parts[k].off - off, false);
		if (r == 0)
			r = read_bytes(c, at + parts[k].off, parts[k].len, true);
		off = parts[k].off + parts[k].len;
		n += parts[k].len;
	}
	if (r == 0)
		r = read_bytes(c, at + off, s->len - off, false);
	if (c->fd < 0)
		say(c, "the pack that its contents lie in is missing");
	else if (r < 0)
		say(c, "its contents cannot be read");
	else if (differs(c, s, XXH3_128bits_digest(c->hash)))
		say(c, "its contents are damaged");
	if (c->tar && (img_tar_skippable(c->tar) != n || img_tar_skip(c->tar, n, NULL) < 0))
		c->tar = img_tar_free(c->tar);
	return 0;
}

static int replay(
	struct check *c, const struct img_record *rec, const char *diff_id, struct msb_err *e)
{
	static const struct img_record_ops ops = {raw, data};
	char got[65];
	int r = img_record_replay(rec, &ops, c, e);

	if (r < 0)
		return r;
	if (c->named > IMG_MAX_DAMAGED && c->out)
		msb_str_addf(c->out, "and %zu more\n", c->named - IMG_MAX_DAMAGED);
	img_sha_hex(c->sha, got);
	if (strcmp(got, diff_id) == 0 && !c->named)
		return 0;
	if (!c->named && c->out)
		msb_str_adds(c->out, "its digest is another\n");
	return msb_err_set(e, EBADMSG, "damaged");
}

int img_layer_verify(
	const struct img_store *s, const char *diff_id, struct msb_str *out, struct msb_err *e)
{
	static const struct img_tar_ops ops = {on_entry, on_data, on_hole, on_done};
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	struct check c = {.s = s, .sha = sha, .buf = buf, .fd = -1, .out = out};
	struct img_record *rec;
	struct msb_err why = {0};
	int r = img_store_layer(s, diff_id, &rec, &why);

	if (r < 0 && r != -ENOMEM) {
		if (out)
			msb_str_addf(out, "%s\n", why.msg);
		return msb_err_set(e, EBADMSG, "%s", why.msg);
	}
	c.hash = XXH3_createState();
	if (r < 0 || !sha || !buf || !c.hash || img_tar_new(&ops, &c, &c.tar) < 0)
		r = msb_err_set(e, ENOMEM, "out of memory");
	else
		r = replay(&c, rec, diff_id, &why);
	if (r == -EBADMSG) {
		if (out && !c.named && strcmp(why.msg, "damaged") != 0)
			msb_str_addf(out, "%s\n", why.msg);
		r = msb_err_set(e, EBADMSG, "%s", why.msg);
	}
	img_record_close(rec);
	img_tar_free(c.tar);
	XXH3_freeState(c.hash);
	if (c.fd >= 0)
		close(c.fd);
	for (size_t k = 0; k < c.nlists; k++)
		msb_str_done(&c.lists[k].text);
	free(c.lists);
	return r;
}
