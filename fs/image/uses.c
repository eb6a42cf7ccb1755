// SPDX-License-Identifier: Apache-2.0
// What images need of the store: layers, blobs, and the contents that these lie in.
#include "fs/image/uses.h"
#include "fs/image/image.h"
#include "fs/image/store_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <string.h>
#include <sys/stat.h>

#define MAX_LAYERS_FILE (IMG_MAX_LAYERS * 512u)

static int oom(struct msb_err *e)
{
	return msb_err_set(e, ENOMEM, "out of memory");
}

/* ---- the layers file */

/* "sha256:HEX" or, where @may_lack, "-". */
static bool take_digest(const char *text, bool may_lack, char out[65])
{
	*out = 0;
	if (may_lack && strcmp(text, "-") == 0)
		return true;
	if (strncmp(text, "sha256:", 7) != 0 || !store_digest_valid(text + 7))
		return false;
	memcpy(out, text + 7, 65);
	return true;
}

int img_layers_each(const struct img_store *s, const char *digest,
	int (*fn)(void *arg, const char *diff_id, const char *blob, uint64_t size,
		const char *media_type),
	void *arg, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	char path[80], *line, *next;
	int r;

	(void)snprintf(path, sizeof(path), "%s/layers", digest);
	r = msb_read_file(s->images_fd, path, MAX_LAYERS_FILE, &text);
	if (r < 0)
		return msb_err_set(e, -r, "image %.12s: layers: %s", digest, strerror(-r));
	for (line = text.buf; r == 0 && line && *line; line = next) {
		char *word[4] = {line}, diff[65], blob[65];
		size_t n = 1;
		uint64_t size;

		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		for (char *p = line; n < 4 && (p = strchr(p, ' ')); n++) {
			*p++ = 0;
			word[n] = p;
		}
		if (n < 4 || !take_digest(word[0], true, diff) ||
			!take_digest(word[1], false, blob) ||
			msb_parse_u64(word[2], 0, UINT64_MAX, &size) < 0)
			return msb_err_set(e, EBADMSG, "image %.12s: layers: damaged", digest);
		r = fn(arg, diff, blob, size, word[3]);
	}
	return r;
}

/* ---- names */

static int add_name(char (**v)[65], size_t *n, size_t *cap, const char *name)
{
	if (*n == *cap) {
		size_t more = *cap ? 2 * *cap : 64;
		char(*p)[65] = reallocarray(*v, more, sizeof(*p));

		if (!p)
			return -ENOMEM;
		*v = p;
		*cap = more;
	}
	memcpy((*v)[(*n)++], name, 65);
	return 0;
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

void img_uses_names_done(struct img_uses *u)
{
	if (u->nlayers)
		qsort(u->layers, u->nlayers, sizeof(*u->layers), name_cmp);
	if (u->nblobs)
		qsort(u->blobs, u->nblobs, sizeof(*u->blobs), name_cmp);
}

bool img_uses_has_layer(const struct img_uses *u, const char *diff_id)
{
	return u->nlayers && bsearch(diff_id, u->layers, u->nlayers, sizeof(*u->layers), name_cmp);
}

bool img_uses_has_blob(const struct img_uses *u, const char *digest)
{
	return u->nblobs && bsearch(digest, u->blobs, u->nblobs, sizeof(*u->blobs), name_cmp);
}

/* ---- contents */

static int add_span(struct img_uses *u, const struct img_span *s)
{
	if (u->nspans == u->spans_cap) {
		size_t cap = u->spans_cap ? 2 * u->spans_cap : 4096;
		struct img_span *p = reallocarray(u->spans, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		u->spans = p;
		u->spans_cap = cap;
	}
	u->spans[u->nspans++] = *s;
	return 0;
}

int img_uses_record(
	struct img_uses *u, const struct img_store *s, const char *diff_id, struct msb_err *e)
{
	const struct img_span *v;
	struct img_record *rec;
	size_t n;
	int r = img_store_layer(s, diff_id, &rec, e);

	if (r < 0)
		return r;
	v = img_record_spans(rec, &n);
	for (size_t k = 0; r == 0 && k < n; k++)
		r = add_span(u, &v[k]);
	img_record_close(rec);
	return r < 0 ? oom(e) : 0;
}

/* By pack and block, the longest first: one that begins where another does covers it. */
static int span_cmp(const void *a, const void *b)
{
	const struct img_span *x = a, *y = b;

	if (x->pack != y->pack)
		return (x->pack > y->pack) - (x->pack < y->pack);
	if (x->blk != y->blk)
		return (x->blk > y->blk) - (x->blk < y->blk);
	return (x->len < y->len) - (x->len > y->len);
}

void img_uses_spans_done(struct img_uses *u)
{
	size_t n = 0;

	if (u->nspans)
		qsort(u->spans, u->nspans, sizeof(*u->spans), span_cmp);
	for (size_t k = 0; k < u->nspans; k++)
		if (!n || u->spans[n - 1].pack != u->spans[k].pack ||
			u->spans[n - 1].blk != u->spans[k].blk)
			u->spans[n++] = u->spans[k];
	u->nspans = n;
}

static size_t first_of(const struct img_uses *u, uint64_t id)
{
	size_t lo = 0, hi = u->nspans;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (u->spans[mid].pack < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct img_span *img_uses_pack(const struct img_uses *u, uint32_t id, size_t *ret_n)
{
	size_t at = first_of(u, id);

	*ret_n = first_of(u, (uint64_t)id + 1) - at;
	return u->spans + at;
}

/* ---- images */

struct image {
	struct img_uses *u;
	const struct img_store *s;
	const struct img_index *ix;
	unsigned int depth;
	bool missing; /* a record */
	int error;
};

static int one_layer(
	void *arg, const char *diff_id, const char *blob, uint64_t size, const char *media_type)
{
	struct image *i = arg;
	struct img_record *rec;

	if (!*diff_id)
		return add_name(&i->u->blobs, &i->u->nblobs, &i->u->blobs_cap, blob);
	if (img_store_layer(i->s, diff_id, &rec, NULL) < 0)
		i->missing = true;
	else
		img_record_close(rec);
	return add_name(&i->u->layers, &i->u->nlayers, &i->u->layers_cap, diff_id);
}

static int visit(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct image *i = arg;
	struct img_extent x;
	uint64_t off = 0;

	if (type == DT_DIR) {
		if (++i->depth > IMG_MAX_DEPTH)
			i->error = -EBADMSG;
		else if (!i->error)
			i->error = img_index_readdir(i->ix, nid, visit, i);
		i->depth--;
	} else if (type == DT_REG) {
		const char *p;
		size_t pn;

		if (img_index_inline(i->ix, nid, &p, &pn) == 0)
			return 0;
		do {
			i->error = img_index_extent(i->ix, nid, off, &x);
			if (!i->error && x.len && x.pack_id != IMG_HOLE)
				i->error = add_span(
					i->u, &(struct img_span){x.len, x.pack_id,
						      (uint32_t)(x.pack_off / IMG_PACK_ALIGN)});
			off += x.len;
		} while (!i->error && x.len);
	}
	return i->error != 0;
}

static int from_index(struct image *i, const char *digest, struct msb_err *e)
{
	struct img_index *ix;
	int r = store_open_index(i->s->images_fd, digest, &ix, e);

	if (r < 0)
		return r;
	i->ix = ix;
	r = img_index_readdir(ix, img_index_root(ix), visit, i);
	r = r < 0 ? r : i->error;
	img_index_close(ix);
	return r < 0 ? msb_err_set(e, -r, "image %.12s: %s", digest, strerror(-r)) : 0;
}

int img_uses_image(
	struct img_uses *u, const struct img_store *s, const char *digest, struct msb_err *e)
{
	struct image i = {.u = u, .s = s};
	int r = img_layers_each(s, digest, one_layer, &i, e);

	if (r == -ENOMEM)
		return oom(e);
	return r < 0 || i.missing ? from_index(&i, digest, e) : 0;
}

void img_uses_done(struct img_uses *u)
{
	free(u->layers);
	free(u->blobs);
	free(u->spans);
	*u = (struct img_uses){0};
}
