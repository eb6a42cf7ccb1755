// SPDX-License-Identifier: Apache-2.0
// The store's images: their documents, layers and blobs, and what was made of them.
#include "fs/image/build.h"
#include "fs/image/disk.h"
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "fs/image/verify.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES (256u << 10)
#define TEXT_MAX   (2 * IMG_MAX_JSON_BYTES)

/* A layer or blob that was looked at. */
struct seen {
	char name[66]; /* 'l' or 'b', and the digest */
	char *text;    /* what is damaged, a line each; NULL: nothing */
};

struct verify {
	const struct img_store *s;
	const struct img_verify *ops;
	struct seen *seen;
	size_t nseen;
	int lines;
};

static void tell(
	struct verify *v, const char *digest, const char *where, const char *what, size_t n)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	msb_str_addf(&s, "image sha256:%s %s: ", digest, where);
	msb_str_add(&s, what, n);
	v->lines++;
	if (!s.oom)
		v->ops->damaged(v->ops->arg, s.buf);
}

static void tell_line(struct verify *v, const char *digest, const char *where, const char *what)
{
	tell(v, digest, where, what, strlen(what));
}

/* ---- layers and blobs */

static int blob(const struct img_store *s, const char *digest, uint64_t size, struct msb_str *out,
	struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	uint64_t have, off = 0;
	_cleanup_close_ int fd = img_blob_open(s, digest, &have);
	char got[65];
	int64_t n = 0;

	if (!sha || !buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (fd < 0) {
		msb_str_addf(out, "it cannot be read: %s\n", strerror(-fd));
		return -EBADMSG;
	}
	while ((n = msb_pread_full(fd, buf, READ_BYTES, off)) > 0) {
		(void)EVP_DigestUpdate(sha, buf, (size_t)n);
		off += (uint64_t)n;
	}
	img_sha_hex(sha, got);
	if (n == 0 && off == size && strcmp(got, digest) == 0)
		return 0;
	msb_str_adds(out, "it is damaged\n");
	return -EBADMSG;
}

/* The blob, and the disk that was unpacked from it. */
static int blob_and_disk(const struct img_store *s, const struct img_plan_layer *l,
	struct msb_str *out, struct msb_err *e)
{
	const struct img_mixtape_part *part = img_media_mixtape(l->media_type);
	int r = blob(s, l->digest, l->size, out, e);

	if (r < 0 || !part || !part->format)
		return r;
	r = img_disk_verify(s, l->digest, part->format, e);
	if (r == -EBADMSG)
		msb_str_adds(out, "what was unpacked from it is damaged\n");
	return r == -ENOMEM || r == -EBADMSG ? r : 0;
}

static int look(struct verify *v, const struct img_plan_layer *l, const struct seen **ret,
	struct msb_err *e)
{
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;
	bool layer = *l->diff_id != 0;
	struct seen x = {0}, *p;
	int r;

	(void)snprintf(x.name, sizeof(x.name), "%c%.64s", layer ? 'l' : 'b',
		layer ? l->diff_id : l->digest);
	for (size_t k = 0; k < v->nseen; k++)
		if (strcmp(v->seen[k].name, x.name) == 0) {
			*ret = &v->seen[k];
			return 0;
		}
	r = layer ? img_layer_verify(v->s, l->diff_id, &out, NULL)
		  : blob_and_disk(v->s, l, &out, NULL);
	p = reallocarray(v->seen, v->nseen + 1, sizeof(*p));
	if (!p || out.oom || r == -ENOMEM)
		return msb_err_set(e, ENOMEM, "out of memory");
	v->seen = p;
	x.text = r < 0 ? steal_ptr(out.buf) : NULL;
	p[v->nseen] = x;
	*ret = &p[v->nseen++];
	return 0;
}

static int look_at_layers(struct verify *v, const char *digest, const struct img_plan *plan,
	bool *whole, struct msb_err *e)
{
	for (size_t k = 0; k < plan->nlayers; k++) {
		const struct img_plan_layer *l = &plan->layers[k];
		const struct seen *seen = NULL;
		char where[128];
		int r;

		if (v->ops->progress)
			v->ops->progress(v->ops->arg, &(struct img_progress){.stage = "verify",
							      .layer = (unsigned int)k + 1,
							      .layers = (unsigned int)plan->nlayers,
							      .digest = l->digest,
							      .state = "verify",
							      .total_bytes = l->size});
		r = look(v, l, &seen, e);
		if (r < 0)
			return r;
		if (!seen->text)
			continue;
		*whole = false;
		(void)snprintf(where, sizeof(where), "layer %zu of %zu sha256:%.64s", k + 1,
			plan->nlayers, l->digest);
		for (const char *t = seen->text, *end; *t; t = end + (*end == '\n')) {
			end = t + strcspn(t, "\n");
			tell(v, digest, where, t, (size_t)(end - t));
		}
	}
	return 0;
}

/* ---- what was made of them */

static bool same_text(
	struct verify *v, const char *digest, const char *name, const void *p, size_t n)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	char path[96];

	(void)snprintf(path, sizeof(path), "%.64s/%s", digest, name);
	return msb_read_file(v->s->images_fd, path, SIZE_MAX / 2, &text) == 0 && text.len == n &&
	       (!n || memcmp(text.buf, p, n) == 0);
}

/* The index is never held twice: what it should be is compared as it is made. */
struct compare {
	int fd;
	uint64_t at;
	bool same;
	char buf[64 << 10];
};

static ssize_t compare_some(void *cookie, const char *p, size_t n)
{
	struct compare *c = cookie;

	for (size_t done = 0; c->same && done < n;) {
		size_t k = n - done < sizeof(c->buf) ? n - done : sizeof(c->buf);

		c->same = msb_pread_full(c->fd, c->buf, k, c->at + done) == (int64_t)k &&
			  memcmp(c->buf, p + done, k) == 0;
		done += k;
	}
	c->at += n;
	return (ssize_t)n;
}

static int same_index(
	struct verify *v, const char *digest, struct img_tree *tree, bool *ret, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct compare *c = calloc(1, sizeof(*c));
	struct stat st;
	char path[80];
	FILE *f;
	int r;

	(void)snprintf(path, sizeof(path), "%.64s/index", digest);
	fd = openat(v->s->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	f = c ? fopencookie(c, "w", (cookie_io_functions_t){.write = compare_some}) : NULL;
	if (!f)
		return msb_err_set(e, ENOMEM, "out of memory");
	c->fd = fd;
	c->same = fd >= 0;
	r = store_index_bytes(v->s, digest, tree, f, e);
	(void)fclose(f); /* the last of it is compared; compare_some() never fails */
	*ret = c->same && fstat(fd, &st) == 0 && (uint64_t)st.st_size == c->at;
	return r;
}

static int look_at_tree(
	struct verify *v, const char *digest, const struct img_plan *plan, struct msb_err *e)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT, layers = MSB_STR_INIT;
	struct img_tree *tree = NULL;
	struct msb_err why = {0};
	bool same = true;
	uint64_t bytes;
	int r = 0;

	if (plan->kind == IMG_KIND_IMAGE)
		r = img_merge(v->s, plan, IMG_MAX_INODES, &tree, &why);
	if (r == 0 && tree)
		r = same_index(v, digest, tree, &same, &why);
	if (r == 0 && !same)
		tell_line(v, digest, "index", "the tree is not what its layers make");
	if (r == 0)
		r = img_image_texts(plan, tree, &meta, &layers, &bytes, &why);
	if (r == 0 && !same_text(v, digest, "meta", meta.buf, meta.len))
		tell_line(v, digest, "meta", "it is damaged");
	if (r == 0 && !same_text(v, digest, "layers", layers.buf, layers.len))
		tell_line(v, digest, "layers", "it is damaged");
	img_tree_free(tree);
	if (r == -ENOMEM)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (r < 0)
		tell_line(v, digest, "index", why.msg);
	return 0;
}

/* ---- images */

static int one_image(void *arg, const char *digest, struct msb_err *e)
{
	_cleanup_(img_plan_done) struct img_plan plan = {0};
	struct verify *v = arg;
	struct msb_err why = {0};
	bool whole = true;
	int before = v->lines, r;

	if (!store_digest_valid(digest))
		return 0;
	r = img_plan_stored(v->s->fd, digest, &plan, &why);
	if (r == -ENOMEM)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (r < 0) {
		tell_line(v, digest, "documents", why.msg);
		img_store_mark(v->s, digest, true);
		return 0;
	}
	r = look_at_layers(v, digest, &plan, &whole, e);
	if (r == 0 && whole)
		r = look_at_tree(v, digest, &plan, e);
	if (r == 0)
		img_store_mark(v->s, digest, v->lines > before);
	return r;
}

int img_store_verify(const struct img_store *s, const char *digest, const struct img_verify *ops,
	struct msb_err *e)
{
	struct verify v = {.s = s, .ops = ops};
	int r;

	if (!digest)
		r = store_each_name(s->images_fd, one_image, &v, e);
	else if (!store_digest_valid(digest) || faccessat(s->images_fd, digest, F_OK, 0) < 0)
		r = msb_err_set(e, ENOENT, "no image sha256:%.64s", digest);
	else
		r = one_image(&v, digest, e);
	for (size_t k = 0; k < v.nseen; k++)
		free(v.seen[k].text);
	free(v.seen);
	return r < 0 ? r : v.lines;
}
