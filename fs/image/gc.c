// SPDX-License-Identifier: Apache-2.0
/*
 * Removing images, and what no image needs then.
 *
 * Theory of operation: what is named goes before what it names, and its removal is on disk first: a
 * power cut leaves garbage, never a name without its contents. Images may go while others add.
 * Records, blobs and packs go only with the store alone, which is tried and never waited for.
 */
#include "fs/image/image.h"
#include "fs/image/store_int.h"
#include "fs/image/uses.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define GONE "gone." /* in tmp: images that are being removed */

struct gc {
	struct img_store *s;
	const char *const *keep; /* NULL: every image */
	size_t nkeep;
	uint64_t keep_sec; /* UINT64_MAX: for ever */
	int tmp_fd;	   /* what is removed waits there */
	struct img_uses uses;
	bool forget; /* what was added through s is as old as can be */
	bool unsure; /* something that is kept could not be read: no pack is garbage then */
};

static bool kept(const struct gc *g, const char *name)
{
	for (size_t k = 0; g->keep && k < g->nkeep; k++)
		if (strcmp(name, g->keep[k]) == 0)
			return true;
	return !g->keep;
}

static bool young(const struct gc *g, int dirfd, const char *name)
{
	struct stat st;

	for (size_t k = 0; g->forget && k < g->s->nadded; k++)
		if (g->s->added[k].dirfd == dirfd && strcmp(g->s->added[k].name, name) == 0)
			return false;
	if (g->keep_sec == UINT64_MAX || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return true;
	return g->keep_sec && time(NULL) - st.st_mtim.tv_sec < (time_t)g->keep_sec;
}

/* ---- images */

/* What an image leaves is not waited for, as that of a pull is which may go on. */
static int make_old(
	void *arg, const char *diff_id, const char *blob, uint64_t size, const char *media_type)
{
	static const struct timespec long_ago[2];
	struct gc *g = arg;

	/* Where that fails it waits for its day. */
	if (*diff_id)
		(void)utimensat(g->s->layers_fd, diff_id, long_ago, AT_SYMLINK_NOFOLLOW);
	else
		(void)utimensat(g->s->blobs_fd, blob, long_ago, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int one_image(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;
	char gone[80];

	if (!store_digest_valid(name) || kept(g, name))
		return 0;
	(void)img_layers_each(g->s, name, make_old, g, NULL); /* damaged: its layers wait */
	/* Out of sight in one step, then piece by piece; nothing is made: the disk may be full. */
	(void)snprintf(gone, sizeof(gone), GONE "%s", name);
	(void)msb_rm_rf(g->tmp_fd, gone); /* of one killed; else the next step says why not */
	return renameat(g->s->images_fd, name, g->tmp_fd, gone) < 0
		       ? msb_err_set(e, errno, "cannot remove image %.12s: %m", name)
		       : 0;
}

static int one_gone(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;

	if (strncmp(name, GONE, strlen(GONE)) == 0)
		(void)msb_rm_rf(g->tmp_fd, name); /* a sweep would */
	return 0;
}

static int remove_images(struct gc *g, struct msb_err *e)
{
	int r = store_publish_lock(g->s, e);

	if (r < 0)
		return r;
	r = store_each_name(g->s->images_fd, one_image, g, e);
	if (r == 0 && fsync(g->s->images_fd) < 0)
		r = msb_err_set(e, errno, "cannot remove images: %m");
	store_publish_unlock(g->s);
	return r < 0 ? r : store_each_name(g->tmp_fd, one_gone, g, e);
}

static int note_image(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;
	int r = store_digest_valid(name) ? img_uses_image(&g->uses, g->s, name, e) : 0;

	if (r == 0 || r == -ENOMEM)
		return r;
	log_warn("image %.12s: %s; what it may need is left as it is", name, strerror(-r));
	g->unsure = true;
	return 0;
}

/* ---- layers and blobs */

static int one_layer(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;
	bool needed = store_digest_valid(name) && img_uses_has_layer(&g->uses, name);
	int r;

	if (!needed && !(store_digest_valid(name) && young(g, g->s->layers_fd, name)))
		return unlinkat(g->s->layers_fd, name, 0) < 0 && errno != ENOENT
			       ? msb_err_set(e, errno, "cannot remove layer %.12s: %m", name)
			       : 0;
	r = img_uses_record(&g->uses, g->s, name, e);
	if (r == 0 || r == -ENOMEM)
		return r;
	if (needed) {
		log_warn("layer %.12s cannot be read; what it may need is left as it is", name);
		g->unsure = true;
		return 0;
	}
	(void)unlinkat(g->s->layers_fd, name, 0); /* of no use to anybody */
	return 0;
}

static int one_blob(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;

	if ((store_digest_valid(name) && img_uses_has_blob(&g->uses, name)) ||
		young(g, g->s->blobs_fd, name))
		return 0;
	return unlinkat(g->s->blobs_fd, name, 0) < 0 && errno != ENOENT
		       ? msb_err_set(e, errno, "cannot remove blob %.12s: %m", name)
		       : 0;
}

/* What was made from blobs (disks/HEX.KIND) is there as long as they are. */
static int one_disk(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;
	_cleanup_close_ int dir =
		openat(g->s->fd, STORE_DISKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	char blob[65] = "";

	memcpy(blob, name, strnlen(name, 64));
	if (dir < 0 || (store_digest_valid(blob) && faccessat(g->s->blobs_fd, blob, F_OK, 0) == 0))
		return 0;
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		       ? msb_err_set(e, errno, "cannot remove disk %.12s: %m", name)
		       : 0;
}

static int remove_disks(struct gc *g, struct msb_err *e)
{
	_cleanup_close_ int dir =
		openat(g->s->fd, STORE_DISKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return dir < 0 ? 0 : store_each_name(dir, one_disk, g, e);
}

/* ---- packs */

static bool in_use(const struct img_span *v, size_t n, const struct object *o)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].blk < o->blk)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && v[lo].blk == o->blk;
}

/* The list loses what is not in use. 1: it had such. */
static int shrink_list(
	struct gc *g, const char *name, const struct img_span *v, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT;
	size_t kept_n = 0, had;
	struct object *o;
	int r = msb_read_file(g->s->packs_fd, name, SIZE_MAX / 2, &list);

	if (r == -ENOENT)
		return 1; /* nothing tells what was in it: the gaps are looked at */
	if (r < 0)
		return msb_err_set(e, -r, "%s: %s", name, strerror(-r));
	o = (struct object *)list.buf;
	had = list.len / sizeof(*o);
	for (size_t k = 0; k < had; k++)
		if (in_use(v, n, &o[k]))
			o[kept_n++] = o[k];
	if (kept_n == had)
		return 0;
	r = msb_write_file_atomic(g->s->packs_fd, name, o, kept_n * sizeof(*o), 0644);
	return r < 0 ? msb_err_set(e, -r, "%s: %s", name, strerror(-r)) : 1;
}

/* The gaps first, then the list: killed between the two, what is still listed compares as
 * different from anything, and the next goes on. */
static int shrink_pack(
	struct gc *g, uint32_t id, const struct img_span *v, size_t n, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	char name[PACK_NAME_MAX];
	uint64_t end = 0;
	struct stat st;

	store_pack_name(name, id, "");
	fd = openat(g->s->packs_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "pack %s: %m", name);
	for (size_t k = 0; k < n; k++) {
		uint64_t at = (uint64_t)v[k].blk * IMG_PACK_ALIGN;

		store_punch(fd, end, at);
		if (end < at + v[k].len)
			end = (at + v[k].len + IMG_PACK_ALIGN - 1) / IMG_PACK_ALIGN *
			      IMG_PACK_ALIGN;
	}
	store_punch(fd, end, (uint64_t)st.st_size);
	store_pack_name(name, id, ".objects");
	return shrink_list(g, name, v, n, e) < 0 ? -e->code : 0;
}

static bool all_in_use(struct gc *g, uint32_t id, const struct img_span *v, size_t n)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT;
	const struct object *o;
	char name[PACK_NAME_MAX];

	store_pack_name(name, id, ".objects");
	if (msb_read_file(g->s->packs_fd, name, SIZE_MAX / 2, &list) < 0)
		return false;
	o = (const struct object *)list.buf;
	for (size_t k = 0; k < list.len / sizeof(*o); k++)
		if (!in_use(v, n, &o[k]))
			return false;
	return true;
}

static int one_pack(void *arg, const char *name, struct msb_err *e)
{
	struct gc *g = arg;
	const struct img_span *v = NULL;
	size_t n = 0;
	bool list;
	uint32_t id;

	if (store_pack_id(name, &id, &list))
		v = img_uses_pack(&g->uses, id, &n);
	if (!n)
		return unlinkat(g->s->packs_fd, name, 0) < 0 && errno != ENOENT
			       ? msb_err_set(e, errno, "cannot remove pack %s: %m", name)
			       : 0;
	if (list || !g->keep || all_in_use(g, id, v, n))
		return 0;
	return shrink_pack(g, id, v, n, e);
}

/* ---- all of it */

/* The store is ours alone. */
static int collect(struct gc *g, struct msb_err *e)
{
	int r = fsync(g->s->images_fd) < 0 /* who removed one may have been killed before that */
			? msb_err_set(e, errno, "cannot clean the store: %m")
			: store_each_name(g->s->images_fd, note_image, g, e);

	if (r == 0 && !g->unsure)
		img_uses_names_done(&g->uses);
	if (r < 0 || g->unsure)
		return r;
	r = store_each_name(g->s->layers_fd, one_layer, g, e);
	if (r == 0)
		r = store_each_name(g->s->blobs_fd, one_blob, g, e);
	if (r == 0)
		r = remove_disks(g, e);
	if (r == 0 && fsync(g->s->layers_fd) < 0)
		r = msb_err_set(e, errno, "cannot clean the store: %m");
	if (r < 0 || g->unsure)
		return r;
	img_uses_spans_done(&g->uses);
	return store_each_name(g->s->packs_fd, one_pack, g, e);
}

static int remove_left(void *arg, const char *name, struct msb_err *e)
{
	int r = msb_rm_rf(*(int *)arg, name);

	return r < 0 ? msb_err_set(
			       e, -r, "cannot empty the store's %s: %s", STORE_TMP, strerror(-r))
		     : 0;
}

/* The directory itself stays: others may have it open. */
static int empty_tmp(int fd, struct msb_err *e)
{
	return store_each_name(fd, remove_left, &fd, e);
}

int store_sweep(struct img_store *s, bool forget, struct msb_err *e)
{
	struct gc g = {.s = s, .keep_sec = UINT64_MAX, .tmp_fd = -1, .forget = forget};
	_cleanup_close_ int tmp = -1;
	int r = store_open_tmp(s, &tmp, e);

	if (r == 0)
		r = empty_tmp(tmp, e);
	if (r == 0)
		r = collect(&g, e);
	img_uses_done(&g.uses);
	return r;
}

int img_store_gc(
	int fd, const char *const *keep, size_t nkeep, uint64_t keep_sec, struct msb_err *e)
{
	static const char *const none[1];
	_cleanup_close_ int tmp = -1;
	struct img_store *s = store_alloc();
	struct gc g = {.s = s, .keep = keep ? keep : none, .nkeep = nkeep, .keep_sec = keep_sec};
	bool alone = false;
	int r;

	if (!s)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = store_open_dirs(s, fd, e);
	if (r == 0) {
		/* Else beside those who add: only another gc is waited for. */
		alone = store_lock(s->lock_fd, LOCK_EX | LOCK_NB) == 0;
		if (!alone && store_lock(s->lock_fd, LOCK_SH) < 0)
			r = msb_err_set(e, errno, "cannot lock the store: %m");
	}
	if (r == 0)
		r = store_open_tmp(s, &tmp, e);
	g.tmp_fd = tmp;
	if (r == 0 && alone)
		r = empty_tmp(tmp, e);
	if (r == 0)
		r = remove_images(&g, e);
	if (r == 0 && alone)
		r = collect(&g, e);
	img_uses_done(&g.uses);
	img_store_close(s);
	return r < 0 ? r : !alone;
}
