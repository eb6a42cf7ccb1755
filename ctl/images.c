// SPDX-License-Identifier: Apache-2.0
// The image store, as its users see it.
#include "ctl/images.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/files.h"
#include "ctl/mounts.h"
#include "fs/image/image.h"

#include <fcntl.h>
#include <string.h>

/* One change of the store at a time: between an import's end and its row in the state file nothing
 * refers to the image, and a collection would take it. @what: shown to those who wait. */
static int store_begin(const struct ctl_req *q, const char *what, struct msb_err *e)
{
	struct ctl *c = q->c;

	while (c->importing[0]) {
		if (q->cancel && q->cancel->set)
			return msb_err_set(
				e, EINTR, "interrupted while another import was under way");
		pthread_cond_wait(&c->changed, &c->lock);
	}
	(void)snprintf(c->importing, sizeof(c->importing), "%s", what);
	return 0;
}

static void store_end(struct ctl *c)
{
	c->importing[0] = '\0';
	pthread_cond_broadcast(&c->changed);
}

static int taken(struct ctl *c, const char *name, struct msb_err *e)
{
	return ctl_image_find(c, name)
		       ? msb_err_set(e, EEXIST,
				 "there is an image `%s` already; `rm %s` first, or choose "
				 "another name",
				 name, name)
		       : 0;
}

int ctl_image_import(const struct ctl_req *q, const char *path, const char *name, struct msb_err *e)
{
	struct ctl *c = q->c;
	const struct img_call call = {.bin_dir = c->paths.bin,
		.store_fd = c->store_fd,
		.log_fd = c->log_fd,
		.cancel_fd = q->cancel ? q->cancel->fd : -1};
	_cleanup_close_ int fd = -1;
	struct img_imported got = {0};
	int r;

	if (!msb_name_valid(name))
		return msb_err_set(e, EINVAL,
			"`%s` is not an image name: up to 63 of a-z 0-9 and -, no - first", name);
	if (*path != '/')
		return msb_err_set(e, EINVAL,
			"`%s` is not an absolute path, and msbd does not know your directory",
			path);
	pthread_mutex_lock(&c->lock);
	r = taken(c, name, e);
	if (r == 0)
		r = store_begin(q, name, e);
	if (r < 0) {
		pthread_mutex_unlock(&c->lock);
		return r;
	}
	r = taken(c, name, e);
	pthread_mutex_unlock(&c->lock);
	if (r == 0) {
		/* Not blocked by a FIFO; msb-image refuses it. */
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		r = fd < 0 ? msb_err_set(e, errno, "cannot open %s: %m", path)
			   : img_import(&call, fd, path, &got, e);
	}
	pthread_mutex_lock(&c->lock);
	if (r == 0)
		r = ctl_image_add(c, name, got.digest, got.size_bytes, e);
	store_end(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Lock held by nobody; the store is ours. */
static int collect(struct ctl *c, struct msb_err *e)
{
	const struct img_call call = {.bin_dir = c->paths.bin,
		.store_fd = c->store_fd,
		.log_fd = c->log_fd,
		.cancel_fd = -1};
	char(*digests)[65] = calloc(CTL_MAX_IMAGES, sizeof(*digests));
	const char **keep = calloc(CTL_MAX_IMAGES + 1, sizeof(*keep));
	int r;

	if (!digests || !keep) {
		r = msb_err_set(e, ENOMEM, "no memory");
	} else {
		pthread_mutex_lock(&c->lock);
		for (size_t i = 0; i < c->nimg; i++) {
			memcpy(digests[i], c->img[i]->digest, sizeof(digests[i]));
			keep[i] = digests[i];
		}
		pthread_mutex_unlock(&c->lock);
		r = img_gc(&call, keep, false, e);
		r = r < 0 ? r : 0; /* what is deferred the next one takes */
	}
	free(digests);
	free(keep);
	return r;
}

int ctl_image_gc(const struct ctl_req *q, struct msb_err *e)
{
	struct ctl *c = q->c;
	int r;

	pthread_mutex_lock(&c->lock);
	r = store_begin(q, "gc", e);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	r = collect(c, e);
	pthread_mutex_lock(&c->lock);
	store_end(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Takes the image out of the tables; lock held. */
static int detach(struct ctl *c, const char *name, struct ctl_image **ret, struct msb_err *e)
{
	struct ctl_image *img = ctl_image_find(c, name);
	int r;

	if (!img)
		return msb_err_set(e, ENOENT, "there is no image `%s`; see `ls images`", name);
	for (size_t i = 0; i < c->nsb; i++)
		if (!strcmp(c->sb[i]->conf[CONF_IMAGE] ?: "", name) ||
			ctl_table_uses_image(c->sb[i]->conf[CONF_MOUNTS] ?: "", name) ||
			ctl_table_uses_image(c->sb[i]->other_mounts ?: "", name))
			return msb_err_set(
				e, EBUSY, "sandbox %s uses image `%s`", c->sb[i]->name, name);
	r = ctl_image_drop(img, e);
	if (r == 0)
		*ret = img;
	return r;
}

int ctl_image_remove(const struct ctl_req *q, const char *name, struct msb_err *e)
{
	struct ctl_image *img = NULL;
	struct ctl *c = q->c;
	struct ctl_files_of of;
	int r;

	pthread_mutex_lock(&c->lock);
	r = store_begin(q, "rm", e);
	if (r == 0) {
		r = detach(c, name, &img, e);
		if (r < 0)
			store_end(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	ctl_files_of_image(img, &of);
	ctl_files_end(&of);
	ctl_image_unref(img); /* the table's */
	r = collect(c, e);
	pthread_mutex_lock(&c->lock);
	store_end(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int store_file(struct ctl *c, const char *digest, const char *file, size_t max,
	struct msb_str *s, struct msb_err *e)
{
	char path[128];
	int r;

	(void)snprintf(path, sizeof(path), "images/%s/%s", digest, file);
	r = msb_read_file(c->store_fd, path, max, s);
	return r < 0 ? msb_err_set(e, -r, "cannot read %s of the store: %s", path, strerror(-r))
		     : 0;
}

int ctl_image_meta(struct ctl *c, const char *digest, struct ctl_meta *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r = store_file(c, digest, "meta", CTL_MAX_META_BYTES, &s, e);

	return r < 0 ? r : ctl_meta_parse(s.buf ?: "", s.len, ret, e);
}

int ctl_image_config(struct ctl *c, const char *digest, struct msb_str *s, struct msb_err *e)
{
	return store_file(c, digest, "config.json", CTL_MAX_CONFIG_BYTES, s, e);
}
