// SPDX-License-Identifier: Apache-2.0
// What is in the store, in numbers.
#include "fs/image/stat.h"
#include "fs/image/store_int.h"
#include "fs/image/uses.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

struct counts {
	const struct img_store *s;
	struct img_uses images; /* what they name */
	uint64_t n_images, n_layers, n_objects, logical, stored, index, record, blob, pending;
};

static uint64_t bytes_of(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0
								  : (uint64_t)st.st_blocks * 512;
}

static int one_image(void *arg, const char *name, struct msb_err *e)
{
	struct counts *c = arg;
	char path[80];
	uint64_t size;
	int r;

	if (!store_digest_valid(name))
		return 0;
	c->n_images++;
	if (img_store_size(c->s, name, &size, NULL) == 0)
		c->logical += size;
	(void)snprintf(path, sizeof(path), "%s/index", name);
	c->index += bytes_of(c->s->images_fd, path);
	r = img_uses_image(&c->images, c->s, name, e);
	return r == -ENOMEM ? r : 0; /* a damaged one: verify tells */
}

static int one_layer(void *arg, const char *name, struct msb_err *e)
{
	struct counts *c = arg;
	int r = 0;

	if (!store_digest_valid(name))
		return 0;
	c->n_layers++;
	c->record += bytes_of(c->s->layers_fd, name);
	if (img_uses_has_layer(&c->images, name))
		r = img_uses_record(&c->images, c->s, name, e);
	else
		c->pending += bytes_of(c->s->layers_fd, name);
	return r == -ENOMEM ? r : 0;
}

static int one_blob(void *arg, const char *name, struct msb_err *e)
{
	struct counts *c = arg;
	uint64_t n = bytes_of(c->s->blobs_fd, name);

	if (store_digest_valid(name) && img_uses_has_blob(&c->images, name))
		c->blob += n;
	else
		c->pending += n;
	return 0;
}

/* What of a pack no image needs waits for gc: its blocks, less those of the files in use. */
static int one_pack(void *arg, const char *name, struct msb_err *e)
{
	struct counts *c = arg;
	uint64_t n, used = 0;
	const struct img_span *v;
	size_t spans;
	struct stat st;
	uint32_t id;
	bool list;

	if (!store_pack_id(name, &id, &list))
		return 0;
	if (list) {
		if (fstatat(c->s->packs_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			c->n_objects += (uint64_t)st.st_size / sizeof(struct object);
		return 0;
	}
	n = bytes_of(c->s->packs_fd, name);
	c->stored += n;
	v = img_uses_pack(&c->images, id, &spans);
	for (size_t k = 0; k < spans; k++)
		used += (v[k].len + IMG_PACK_ALIGN - 1) / IMG_PACK_ALIGN * IMG_PACK_ALIGN;
	if (n > used)
		c->pending += n - used;
	return 0;
}

int img_store_stat(const struct img_store *s, struct msb_str *text, struct msb_err *e)
{
	struct counts c = {.s = s};
	int r = store_each_name(s->images_fd, one_image, &c, e);

	if (r == 0) {
		img_uses_names_done(&c.images);
		r = store_each_name(s->layers_fd, one_layer, &c, e);
	}
	if (r == 0)
		r = store_each_name(s->blobs_fd, one_blob, &c, e);
	if (r == 0) {
		img_uses_spans_done(&c.images);
		r = store_each_name(s->packs_fd, one_pack, &c, e);
	}
	img_uses_done(&c.images);
	if (r < 0)
		return r;
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{"images", c.n_images},
		{"layers", c.n_layers},
		{"objects", c.n_objects},
		{"logical_bytes", c.logical},
		{"stored_bytes", c.stored + c.blob},
		{"saved_bytes", c.logical > c.stored + c.blob ? c.logical - c.stored - c.blob : 0},
		{"index_bytes", c.index},
		{"record_bytes", c.record},
		{"blob_bytes", c.blob},
		{"pending_bytes", c.pending},
	};
	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		msb_str_addf(text, "%s %" PRIu64 "\n", rows[k].key, rows[k].value);
	return text->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}
