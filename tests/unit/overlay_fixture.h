/* SPDX-License-Identifier: Apache-2.0 */
/* What the overlay's tests share: an upper directory, an image to lie below, ops by path. */
#ifndef MSB_TESTS_OVERLAY_FIXTURE_H
#define MSB_TESTS_OVERLAY_FIXTURE_H

#include "base/io.h"
#include "fs/backends/overlay/ovl.h"
#include "fs/image/index_write.h"
#include "tests/unit/bypath.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <cmocka.h>

#define FX_MTIME 1700000000

struct fx {
	char dir[64]; /* upper, packs, index in it */
	struct fsb *b;
	bool lower;
};

/* Tests run where files are cheap; fsync is free there too. */
__attribute__((unused)) static void fx_tmp(char dir[64])
{
	(void)snprintf(
		dir, 64, "%s/msb-ovl-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(dir));
}

static inline int fx_open(const char *dir, const char *sub, int flags)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, sub);
	return open(path, flags | O_CLOEXEC, 0600);
}

static inline struct img_inode *fx_add(
	struct img_tree *t, struct img_inode *dir, const char *name, uint32_t mode)
{
	struct img_inode *i;

	assert_int_equal(img_tree_new_inode(t, mode, &i), 0);
	i->mtime_sec = FX_MTIME;
	assert_int_equal(img_tree_add(t, dir, name, strlen(name), i, 1, NULL), 0);
	return i;
}

static inline char fx_byte(uint64_t off)
{
	return (char)('a' + off * 7 / 5 % 26);
}

static inline void fx_text(struct img_inode *i, const char *text)
{
	i->bytes = strdup(text);
	assert_non_null(i->bytes);
	i->size = strlen(text);
	i->inlined = S_ISREG(i->mode);
}

#define FX_BIG	  70000 /* bytes of a/big, from the second page of pack 1 on */
#define FX_SMALL  "small contents\n"
#define FX_TARGET "nowhere"

/* What a test's image has besides; NULL: nothing. */
__attribute__((unused)) static void (*fx_more)(struct img_tree *t, struct img_inode *root);

/*
 * The image below: a/{b/{c/,f},big,d,x} c (small, hard link of d) e -> nowhere f/ many/000..099
 * a/x has attributes, a/d is empty.
 */
static inline void fx_image(struct fx *fx)
{
	static const struct img_pack packs[] = {{1, 100}};
	struct img_inode *root, *a, *b, *i;
	struct msb_err e = {0};
	struct img_tree *t;
	char name[16], path[128], page[4096];
	FILE *f;

	assert_int_equal(img_tree_new(10000, &t), 0);
	root = img_tree_root(t);
	root->mode = S_IFDIR | 0755;
	root->mtime_sec = FX_MTIME;
	a = fx_add(t, root, "a", S_IFDIR | 0755);
	b = fx_add(t, a, "b", S_IFDIR | 0755);
	fx_add(t, b, "c", S_IFDIR | 0700);
	fx_text(fx_add(t, b, "f", S_IFREG | 0644), "in b\n");
	i = fx_add(t, a, "big", S_IFREG | 0644);
	i->size = FX_BIG;
	i->pack_id = 1;
	i->pack_off = 4096;
	fx_add(t, a, "d", S_IFREG | 0600);
	i = fx_add(t, a, "x", S_IFREG | 0755);
	fx_text(i, "#!\n");
	assert_int_equal(img_inode_set_xattr(i, "user.one", 8, "1", 1), 0);
	assert_int_equal(img_inode_set_xattr(i, "user.two", 8, "22", 2), 0);
	i = fx_add(t, root, "c", S_IFREG | 0640);
	fx_text(i, FX_SMALL);
	assert_int_equal(img_tree_add(t, root, "d", 1, i, 1, NULL), 0);
	fx_text(fx_add(t, root, "e", S_IFLNK | 0777), FX_TARGET);
	fx_add(t, root, "f", S_IFDIR | 0755);
	i = fx_add(t, root, "many", S_IFDIR | 0755);
	for (int n = 0; n < 100; n++) {
		(void)snprintf(name, sizeof(name), "%03d", n);
		fx_add(t, i, name, S_IFREG | 0644);
	}
	if (fx_more)
		fx_more(t, root);
	(void)snprintf(path, sizeof(path), "%s/packs", fx->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/packs/00000001", fx->dir);
	f = fopen(path, "we");
	assert_non_null(f);
	for (int n = 0; n < 100; n++) {
		for (size_t k = 0; k < sizeof(page); k++)
			page[k] = fx_byte((uint64_t)n * 4096 + k - 4096);
		assert_int_equal(fwrite(page, sizeof(page), 1, f), 1);
	}
	fclose(f);
	(void)snprintf(path, sizeof(path), "%s/index", fx->dir);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(
		img_index_write(t, packs, 1, (const uint8_t *)"overlay-test-img", f, &e), 0);
	fclose(f);
	img_tree_free(t);
}

static inline int fx_start(struct fx *fx, const char *upper, struct msb_err *e)
{
	struct fsb_overlay_opts opts = {
		.index_fd = -1, .packs_fd = -1, .dir_fd = -1, .files_fd = -1, .upper_fd = -1};

	if (fx->lower) {
		opts.index_fd = fx_open(fx->dir, "index", O_RDONLY);
		opts.packs_fd = fx_open(fx->dir, "packs", O_RDONLY | O_DIRECTORY);
	}
	if (upper) {
		opts.upper_fd = fx_open(fx->dir, upper, O_RDONLY | O_DIRECTORY);
		assert_true(opts.upper_fd >= 0);
	}
	return fsb_overlay_start(&opts, &fx->b, e);
}

static inline void fx_init(struct fx *fx, bool lower)
{
	struct msb_err e = {0};
	char path[128];

	*fx = (struct fx){.lower = lower};
	fx_tmp(fx->dir);
	(void)snprintf(path, sizeof(path), "%s/upper", fx->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	if (lower)
		fx_image(fx);
	if (fx_start(fx, "upper", &e) < 0)
		fail_msg("start: %s", e.msg);
}

static inline void fx_stop(struct fx *fx)
{
	fx->b->ops->stop(fx->b);
	fx->b = NULL;
}

static inline void fx_restart(struct fx *fx)
{
	struct msb_err e = {0};

	fx_stop(fx);
	if (fx_start(fx, "upper", &e) < 0)
		fail_msg("restart: %s", e.msg);
}

static inline void fx_done(struct fx *fx)
{
	if (fx->b)
		fx_stop(fx);
	assert_int_equal(msb_rm_rf(AT_FDCWD, fx->dir), 0);
}

#endif
