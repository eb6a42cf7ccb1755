// SPDX-License-Identifier: Apache-2.0
// Records of layers into one tree, and the image that it is.
#include "fs/image/build.h"
#include "fs/image/disk.h"
#include "fs/image/layer.h"
#include "base/cleanup.h"

#include <string.h>
#include <sys/stat.h>

struct apply {
	struct img_layer layer;
	struct img_tar *tar;
};

static int raw(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct apply *a = arg;

	return img_tar_feed(a->tar, p, n, e);
}

static int data(void *arg, const struct img_span *s, const struct img_tar_part *parts,
	size_t nparts, struct msb_err *e)
{
	struct apply *a = arg;
	uint64_t n = 0;

	for (size_t k = 0; k < nparts; k++)
		n += parts[k].len;
	/* So long that it is a file that is left out, not padding; and all of it. */
	if (s->len <= IMG_INLINE_MAX || img_tar_skippable(a->tar) != n)
		return msb_err_set(e, EBADMSG, "damaged layer record: contents without a file");
	a->layer.at = *s;
	return img_tar_skip(a->tar, n, e);
}

int img_layer_apply(
	struct img_tree *t, uint32_t number, const struct img_record *rec, struct msb_err *e)
{
	static const struct img_record_ops ops = {raw, data};
	struct apply a = {.layer = {.tree = t, .number = number}};
	int r;

	if (img_tar_new(&img_layer_ops, &a.layer, &a.tar) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = img_record_replay(rec, &ops, &a, e);
	if (r == 0)
		r = img_tar_finish(a.tar, e);
	img_tar_free(a.tar);
	return r;
}

int img_merge(const struct img_store *st, const struct img_plan *plan, uint64_t max_inodes,
	struct img_tree **ret, struct msb_err *e)
{
	struct img_tree *t;
	int r = 0;

	if (img_tree_new(max_inodes, &t) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; r == 0 && k < plan->nlayers; k++) {
		struct img_record *rec;

		r = img_store_layer(st, plan->layers[k].diff_id, &rec, e);
		if (r == 0) {
			r = img_layer_apply(t, (uint32_t)k + 1, rec, e);
			img_record_close(rec);
		}
		if (r < 0)
			r = msb_err_wrap(e, "layer %zu of %zu", k + 1, plan->nlayers);
	}
	if (r < 0)
		img_tree_free(t);
	else
		*ret = t;
	return r;
}

/* ---- publishing */

struct totals {
	uint64_t bytes, inodes;
};

/* Each inode once: what is counted is marked, and a second walk takes the marks away again. */
static void count(struct img_inode *dir, bool mark, struct totals *t)
{
	for (struct img_dent *d = dir->children; d; d = d->next) {
		struct img_inode *i = d->inode;

		if (i->mark == mark)
			continue;
		i->mark = mark;
		t->inodes++;
		if (S_ISREG(i->mode))
			t->bytes += i->size;
		if (S_ISDIR(i->mode))
			count(i, mark, t); /* as deep as IMG_MAX_DEPTH */
	}
}

static void layer_lines(const struct img_plan *plan, struct msb_str *s)
{
	for (size_t k = 0; k < plan->nlayers; k++) {
		const struct img_plan_layer *l = &plan->layers[k];

		msb_str_addf(s, *l->diff_id ? "sha256:%s" : "-", l->diff_id);
		msb_str_addf(s, " sha256:%s %llu %s\n", *l->digest ? l->digest : l->diff_id,
			(unsigned long long)l->size, l->media_type);
	}
}

int img_image_texts(const struct img_plan *plan, struct img_tree *tree, struct msb_str *meta,
	struct msb_str *layers, uint64_t *ret_bytes, struct msb_err *e)
{
	struct totals t = {0}, again = {0};

	if (tree) {
		t.inodes = 1;
		count(img_tree_root(tree), true, &t);
		count(img_tree_root(tree), false, &again);
	} else {
		t.bytes = plan->config.len;
		for (size_t k = 0; k < plan->nlayers; k++)
			t.bytes += plan->layers[k].size;
	}
	msb_str_addf(meta, "kind %s\nsize_bytes %llu\ninodes %llu\n", img_kind_name(plan->kind),
		(unsigned long long)t.bytes, (unsigned long long)t.inodes);
	msb_str_add(meta, plan->meta.buf, plan->meta.len);
	layer_lines(plan, layers);
	*ret_bytes = t.bytes;
	return meta->oom || layers->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}

/* What was unpacked from a blob that is whole again is made again where it is not that. */
static void mend_disks(const struct img_store *st, const struct img_plan *plan)
{
	for (size_t k = 0; k < plan->nlayers; k++) {
		const struct img_plan_layer *l = &plan->layers[k];
		const struct img_mixtape_part *part = img_media_mixtape(l->media_type);

		if (part && part->format &&
			img_disk_verify(st, l->digest, part->format, NULL) == -EBADMSG)
			img_disk_forget(st, l->digest, part->format);
	}
}

int img_image_publish(struct img_store *st, const struct img_plan *plan,
	const struct img_budget *budget, struct img_imported *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT, layers = MSB_STR_INIT;
	struct img_tree *tree = NULL;
	uint64_t bytes = 0;
	int r = plan->kind == IMG_KIND_IMAGE ? img_merge(st, plan, budget->max_inodes, &tree, e)
					     : 0;

	if (r == 0 && budget->replace)
		mend_disks(st, plan);
	if (r == 0)
		r = img_image_texts(plan, tree, &meta, &layers, &bytes, e);
	const struct img_store_file files[] = {
		{"manifest.json", plan->manifest.buf, plan->manifest.len},
		{"config.json", plan->config.buf, plan->config.len},
		{"layers", layers.buf, layers.len},
		{"meta", meta.buf, meta.len},
	};
	if (r == 0)
		r = img_store_publish(
			st, plan->digest, tree, files, ARRAY_LEN(files), budget->replace, e);
	img_tree_free(tree);
	if (r < 0)
		return r;
	*ret = (struct img_imported){.size_bytes = bytes};
	memcpy(ret->digest, plan->digest, sizeof(ret->digest));
	(void)snprintf(ret->kind, sizeof(ret->kind), "%s", img_kind_name(plan->kind));
	return 0;
}
