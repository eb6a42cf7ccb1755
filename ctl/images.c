// SPDX-License-Identifier: Apache-2.0
// Verbs of images/ctl.
#include "ctl/images.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/logins.h"
#include "ctl/open_as.h"
#include "ctl/pulls.h"

#include <string.h>

static int cancel_fd(const struct ctl_req *q)
{
	return q->cancel ? q->cancel->fd : -1;
}

/* Ends what served an image that has lost its name, and lets go of it. Lock held by nobody. */
static void let_go(struct ctl_image *img)
{
	struct ctl_files_of of;

	if (!img)
		return;
	ctl_files_of_image(img, &of);
	ctl_files_end(&of);
	ctl_image_unref(img);
}

/* The image that @ref means, as it is now. Takes the lock. */
static int look_up(const struct ctl_req *q, const char *ref, char ret_name[IMG_REF_MAX + 1],
	char ret_digest[65], uint64_t *ret_bytes, struct msb_err *e)
{
	struct ctl_image *img;
	int r;

	LOCK_SCOPE(&q->c->lock);
	r = ctl_image_resolve(q->c, ref, NULL, &img, e);
	if (r < 0)
		return r;
	memcpy(ret_name, img->name, sizeof(img->name));
	memcpy(ret_digest, img->digest, sizeof(img->digest));
	if (ret_bytes)
		*ret_bytes = img->size_bytes;
	return 0;
}

/* ---- what has a stream */

static int begin(const struct ctl_req *q, const char *verb, const char *ref, struct ctl_pull **ret,
	struct msb_err *e)
{
	LOCK_SCOPE(&q->c->lock);
	return ctl_pull_new(q, verb, ref, ret, e);
}

static void end(struct ctl_pull *p, int r, const char *digest, const struct msb_err *e)
{
	LOCK_SCOPE(&p->c->lock);
	ctl_pull_end(p, r, digest, e);
}

static int taken(struct ctl *c, const char *name, struct msb_err *e)
{
	return ctl_image_find(c, name) ? msb_err_set(e, EEXIST,
						 "there is an image `%s` already; `rm %s` "
						 "first, or choose another name",
						 name, name)
				       : 0;
}

int ctl_image_import(const struct ctl_req *q, const char *path, const char *text, struct msb_err *e)
{
	char name[IMG_REF_MAX + 1];
	struct img_imported got = {0};
	struct ctl *c = q->c;
	_cleanup_close_ int fd = -1;
	struct ctl_pull *p;
	struct img_call call;
	int r = ctl_image_local_name(text, name, e);

	if (r < 0)
		return r;
	fd = ctl_open_source(q, path, e);
	if (fd < 0)
		return fd;
	{
		LOCK_SCOPE(&c->lock);
		r = taken(c, name, e);
		if (r == 0)
			r = ctl_pull_new(q, "import", name, &p, e);
	}
	if (r < 0)
		return r;
	call = ctl_store_call(c, p, cancel_fd(q));

	r = img_import(&call, fd, path, &got, e);
	if (r == 0) {
		LOCK_SCOPE(&c->lock);
		r = taken(c, name, e); /* meanwhile */
		if (r == 0)
			r = ctl_image_set(c, name, got.digest, got.size_bytes, NULL, e);
	}
	if (r == 0)
		r = ctl_sync(c, e);
	end(p, r, got.digest, e);
	return r;
}

int ctl_image_pull(const struct ctl_req *q, const char *text, struct msb_err *e)
{
	struct img_ref ref;
	int r = img_ref_parse(text, IMG_REF_DEFAULT_HOST, &ref, e);

	return r < 0 ? r : ctl_pull_image(q, &ref, -1, NULL, e);
}

/* Another repository of that registry that has the image's layers; "" where none is known. */
static void mount_from(
	struct ctl *c, const char *digest, const struct img_ref *to, char ret[IMG_REF_MAX_NAME + 1])
{
	struct img_ref ref;

	ret[0] = '\0';
	LOCK_SCOPE(&c->lock);
	for (size_t i = 0; i < c->nimg && !*ret; i++)
		if (!strcmp(c->img[i]->digest, digest) &&
			img_ref_parse(c->img[i]->name, IMG_REF_DEFAULT_HOST, &ref, NULL) == 0 &&
			!strcmp(ref.host, to->host) && strcmp(ref.repo, to->repo) != 0)
			memcpy(ret, ref.repo, sizeof(ref.repo));
}

static int push(const struct ctl_req *q, const char *digest, const struct img_ref *to,
	struct ctl_pull *p, char ret_digest[65], struct msb_err *e)
{
	struct img_call call = ctl_store_call(q->c, p, cancel_fd(q));
	struct ctl_registry *reg = calloc(1, sizeof(*reg));
	char from[IMG_REF_MAX_NAME + 1];
	int r = reg ? ctl_registry_of(q, to->host, reg, e) : msb_err_set(e, ENOMEM, "no memory");

	mount_from(q->c, digest, to, from);
	if (r == 0)
		r = img_push(&call, digest, to, *from ? from : NULL, &reg->reg, ret_digest, e);
	ctl_registry_wipe(reg);
	free(reg);
	return r;
}

int ctl_image_push(const struct ctl_req *q, const char *text, const char *as, struct msb_err *e)
{
	char name[IMG_REF_MAX + 1], digest[65], there[65] = "";
	_cleanup_str_ struct msb_str to_text = MSB_STR_INIT;
	struct ctl_pull *p;
	struct img_ref to;
	int r = look_up(q, text, name, digest, NULL, e);

	if (r == 0)
		r = img_ref_parse(as ?: name, IMG_REF_DEFAULT_HOST, &to, e);
	if (r < 0)
		return r;
	if (!strcmp(to.host, IMG_REF_LOCAL_HOST))
		return msb_err_set(e, EINVAL,
			"%s is called by no registry's name; `push %s HOST/REPO:TAG` says where to",
			name, text);
	if (*to.digest)
		return msb_err_set(e, EINVAL,
			"what is pushed has a tag, and %s has a digest; `push %s HOST/REPO:TAG` says it",
			as ?: name, text);
	img_ref_print(&to, &to_text);
	r = to_text.oom ? msb_err_set(e, ENOMEM, "no memory")
			: begin(q, "push", to_text.buf, &p, e);
	if (r < 0)
		return r;
	r = push(q, digest, &to, p, there, e);
	end(p, r, there, e);
	return r;
}

int ctl_image_export(const struct ctl_req *q, const char *path, const char *text, struct msb_err *e)
{
	char name[IMG_REF_MAX + 1], digest[65];
	struct ctl_target t;
	struct img_call call;
	struct ctl_pull *p;
	int r = look_up(q, text, name, digest, NULL, e);

	if (r == 0)
		r = ctl_target_open(q, path, &t, e);
	if (r < 0)
		return r;
	r = begin(q, "export", name, &p, e);
	if (r == 0) {
		call = ctl_store_call(q->c, p, cancel_fd(q));
		r = img_export(&call, digest, name, t.fd, e);
		if (r == 0)
			r = ctl_target_done(q, &t, e);
		end(p, r, digest, e);
	}
	ctl_target_close(&t);
	return r;
}

int ctl_image_verify(const struct ctl_req *q, const char *text, struct msb_err *e)
{
	char name[IMG_REF_MAX + 1] = "", digest[65] = "";
	struct ctl *c = q->c;
	struct img_call call;
	struct ctl_pull *p;
	int r = text ? look_up(q, text, name, digest, NULL, e) : 0;

	if (r == 0)
		r = begin(q, "verify", name, &p, e);
	if (r < 0)
		return r;
	call = ctl_store_call(c, p, cancel_fd(q));
	r = img_verify(&call, text ? digest : NULL, ctl_pull_damaged, p, e);
	end(p, r, text ? digest : NULL, e);
	return r;
}

/* ---- names */

/* -EBUSY where a sandbox uses the name; lock held. */
static int unused(struct ctl_image *img, struct msb_err *e)
{
	struct ctl *c = img->c;

	for (size_t i = 0; i < c->nsb; i++)
		if (ctl_image_used(img, c->sb[i]))
			return msb_err_set(e, EBUSY, "sandbox %s uses image `%s`", c->sb[i]->name,
				*img->shorter ? img->shorter : img->name);
	return 0;
}

int ctl_image_tag(const struct ctl_req *q, const char *text, const char *new, struct msb_err *e)
{
	char name[IMG_REF_MAX + 1], to[IMG_REF_MAX + 1], digest[65];
	struct ctl_image *old = NULL, *img;
	struct ctl *c = q->c;
	uint64_t bytes;
	int r = ctl_image_local_name(new, to, e);

	if (r < 0)
		return r;
	r = look_up(q, text, name, digest, &bytes, e);
	if (r < 0)
		return r;
	{
		LOCK_SCOPE(&c->lock);
		img = ctl_image_find(c, name);
		/* Between the two looks it may have gone, and its contents with it. */
		r = img && !strcmp(img->digest, digest)
			    ? ctl_image_set(c, to, digest, bytes, &old, e)
			    : msb_err_set(e, ENOENT, "image `%s` was removed", name);
	}
	let_go(old);
	return r < 0 ? r : ctl_sync(c, e);
}

int ctl_image_remove(const struct ctl_req *q, const char *text, struct msb_err *e)
{
	struct ctl_image *img = NULL;
	struct ctl *c = q->c;
	int r;

	{
		LOCK_SCOPE(&c->lock);
		r = ctl_image_resolve(c, text, NULL, &img, e);
		if (r == 0)
			r = unused(img, e);
		if (r == 0)
			r = ctl_image_drop(img, e);
	}
	if (r < 0)
		return r;
	let_go(img);
	r = ctl_sync(c, e);
	return r < 0 ? r : ctl_gc(q, false, e);
}

int ctl_image_prune(const struct ctl_req *q, struct msb_err *e)
{
	struct ctl *c = q->c;
	int r = 0;

	for (size_t i = 0; r == 0;) {
		struct ctl_image *img = NULL;

		{
			LOCK_SCOPE(&c->lock);
			while (i < c->nimg && unused(c->img[i], NULL) < 0)
				i++;
			if (i >= c->nimg)
				break;
			img = c->img[i];
			r = ctl_image_drop(img, e);
		}
		if (r == 0)
			let_go(img);
	}
	if (r == 0)
		r = ctl_sync(c, e);
	return r < 0 ? r : ctl_gc(q, true, e);
}

/* ---- files of the store */

int ctl_image_file(
	struct ctl *c, const char *digest, const char *file, struct msb_str *s, struct msb_err *e)
{
	char path[128];
	int r;

	(void)snprintf(path, sizeof(path), "images/%s/%s", digest, file);
	r = msb_read_file(c->store_fd, path, CTL_MAX_CONFIG_BYTES, s);
	return r < 0 ? msb_err_set(e, -r, "cannot read %s of the store: %s", path, strerror(-r))
		     : 0;
}

int ctl_image_meta(struct ctl *c, const char *digest, struct ctl_meta *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r = ctl_image_file(c, digest, "meta", &s, e);

	return r < 0 ? r : ctl_meta_parse(s.buf ?: "", s.len, ret, e);
}
