// SPDX-License-Identifier: Apache-2.0
// The overlay backend: contents and names, over an image and over nothing; file handles; opening.
#include "tests/unit/overlay_fixture.h"

#include <sys/sysmacros.h>

/* ---- an image below */

static void lower_is_served(void **state)
{
	struct fuse_attr a;
	struct fsb_entry e;
	char buf[FX_BIG] = {0};
	struct fx fx;

	fx_init(&fx, true);
	a = fx_attr(fx.b, "");
	assert_int_equal(a.mode, S_IFDIR | 0755);
	assert_int_equal(a.ino, 1);
	assert_int_equal(a.nlink, 5);
	a = fx_attr(fx.b, "c");
	assert_int_equal(a.nlink, 2);
	assert_int_equal(a.ino, fx_attr(fx.b, "d").ino);
	assert_int_equal(a.mtime, FX_MTIME);
	fx_check_text(fx.b, "c", FX_SMALL);
	assert_int_equal(fx_read(fx.b, "a/big", buf, sizeof(buf), 0), FX_BIG);
	for (size_t i = 0; i < FX_BIG; i++)
		assert_int_equal(buf[i], fx_byte(i));
	assert_int_equal(fx_read(fx.b, "a/big", buf, 100, FX_BIG - 10), 10);
	assert_int_equal(buf[9], fx_byte(FX_BIG - 1));
	assert_int_equal(fx_read(fx.b, "a/big", buf, 100, FX_BIG), 0);
	assert_int_equal(fx_walk(fx.b, "e", &e), 0);
	assert_int_equal(fx.b->ops->readlink(fx.b, e.node, buf, sizeof(buf)), strlen(FX_TARGET));
	assert_int_equal(fx.b->ops->readlink(fx.b, e.node, buf, 3), 3);
	fx_forget(fx.b, e.node);
	assert_int_equal(ovl_of(fx.b)->nodes, 1); /* all forgotten, nothing changed */
	fx_done(&fx);
}

static void read_only_without_upper(void **state)
{
	struct statvfs st;
	struct fx fx;

	fx_init(&fx, true);
	fx_stop(&fx);
	assert_int_equal(fx_start(&fx, NULL, NULL), 0);
	assert_null(fx.b->ops->create);
	assert_int_equal(fx.b->ops->caps & FSB_CAP_WRITE, 0);
	fx_check_text(fx.b, "c", FX_SMALL);
	assert_int_equal(fx.b->ops->statfs(fx.b, FSB_ROOT, &st), 0);
	assert_true(st.f_files > 100);
	fx_stop(&fx);
	fx.lower = false;
	assert_int_equal(fx_start(&fx, NULL, NULL), 0);
	assert_int_equal(fx_attr(fx.b, "").mode, S_IFDIR | 0755);
	assert_int_equal(fx_absent(fx.b, "c"), -ENOENT);
	fx_done(&fx);
}

static void copy_up(void **state)
{
	const struct fsb_setattr cut = {.valid = FATTR_SIZE, .size = 5};
	char buf[FX_BIG + 10] = {0};
	struct fuse_attr a;
	struct fx fx;
	uint64_t ino;

	fx_init(&fx, true);
	ino = fx_attr(fx.b, "a/big").ino;
	assert_int_equal(fx_write(fx.b, "a/big", "XYZ", 3, 10, 0), 3);
	for (int pass = 0; pass < 2; pass++) {
		a = fx_attr(fx.b, "a/big");
		assert_int_equal(a.ino, ino);
		assert_int_equal(a.size, FX_BIG);
		assert_true(a.mtime > FX_MTIME);
		assert_int_equal(fx_read(fx.b, "a/big", buf, sizeof(buf), 0), FX_BIG);
		for (size_t i = 0; i < FX_BIG; i++)
			assert_int_equal(buf[i], i >= 10 && i < 13 ? "XYZ"[i - 10] : fx_byte(i));
		fx_restart(&fx);
	}
	assert_int_equal(fx_setattr(fx.b, "c", &cut), 0);
	fx_check_text(fx.b, "c", "small");
	fx_check_text(fx.b, "d", "small"); /* the same file */
	assert_int_equal(fx_write(fx.b, "d", "er", 2, 5, 0), 2);
	fx_check_text(fx.b, "c", "smaller");
	fx_restart(&fx);
	fx_check_text(fx.b, "c", "smaller");
	fx_done(&fx);
}

static void metadata_copies_no_data(void **state)
{
	const struct fsb_setattr mode = {.valid = FATTR_MODE | FATTR_UID, .mode = 0400, .uid = 7};
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_setattr(fx.b, "a/big", &mode), 0);
	assert_int_equal(fx_rename(fx.b, "a/big", "f/large", 0), 0);
	assert_int_equal(fx_link(fx.b, "f/large", "large"), 0);
	assert_int_equal(
		ovl_find(ovl_of(fx.b), fx_attr(fx.b, "large").ino)->flags & OVL_OWN_DATA, 0);
	fx_restart(&fx);
	assert_int_equal(fx_attr(fx.b, "large").mode, S_IFREG | 0400);
	assert_int_equal(fx_attr(fx.b, "large").nlink, 2);
	assert_int_equal(fx_attr(fx.b, "f/large").uid, 7);
	assert_int_equal(fx_attr(fx.b, "f/large").size, FX_BIG);
	assert_int_equal(fx_absent(fx.b, "a/big"), -ENOENT);
	fx_done(&fx);
}

static void lower_directories_move(void **state)
{
	struct fx fx;
	uint64_t ino;

	fx_init(&fx, true);
	ino = fx_attr(fx.b, "a/b").ino;
	assert_int_equal(fx_rename(fx.b, "a", "f", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fx_rename(fx.b, "a", "f", 0), 0);
	assert_int_equal(fx_attr(fx.b, "f/b").ino, ino);
	assert_int_equal(fx_attr(fx.b, "").nlink, 4);
	fx_check_text(fx.b, "f/b/f", "in b\n");
	assert_int_equal(fx_rename(fx.b, "f", "f/b/c/x", 0), -EINVAL);
	assert_int_equal(fx_rename(fx.b, "many", "f", 0), -ENOTEMPTY);
	assert_int_equal(fx_rm(fx.b, "f/b", true), -ENOTEMPTY);
	fx_restart(&fx);
	fx_check_text(fx.b, "f/b/f", "in b\n");
	assert_int_equal(fx_absent(fx.b, "a"), -ENOENT);
	assert_int_equal(fx_mk(fx.b, "a", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(
		fx_absent(fx.b, "a/b"), -ENOENT); /* a new directory shows nothing of the old */
	assert_int_equal(fx_rename(fx.b, "f", "a", RENAME_EXCHANGE), 0);
	fx_check_text(fx.b, "a/b/f", "in b\n");
	assert_int_equal(fx_rename(fx.b, "a/b", "a", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(fx_rename(fx.b, "a/b/f", "moved", RENAME_WHITEOUT), 0);
	assert_int_equal(fx_attr(fx.b, "a/b/f").mode, S_IFCHR);
	fx_check_text(fx.b, "moved", "in b\n");
	assert_int_equal(fx_rename(fx.b, "a", "f", RENAME_EXCHANGE | RENAME_WHITEOUT), -EINVAL);
	fx_done(&fx);
}

/* ---- rules that need no image */

struct mk_case {
	const char *path;
	uint32_t mode;
	int want;
};

static void making(void **state)
{
	char n255[256], n256[257];
	const struct mk_case cases[] = {
		{"f", S_IFREG | 0640, 0},
		{"f", S_IFREG | 0640, -EEXIST},
		{"f/x", S_IFREG | 0640, -ENOTDIR},
		{"d", S_IFDIR | 0750, 0},
		{"d", S_IFDIR | 0750, -EEXIST},
		{"d/e", S_IFDIR | 01777, 0},
		{"no/e", S_IFDIR | 0777, -ENOENT},
		{"d/l", S_IFLNK | 0777, 0},
		{"d/c", S_IFCHR | 0666, 0},
		{"d/b", S_IFBLK | 0660, 0},
		{"d/p", S_IFIFO | 0600, 0},
		{"d/s", S_IFSOCK | 0700, 0},
		{".", S_IFREG, -EINVAL},
		{"d/..", S_IFDIR, -EINVAL},
		{"", S_IFREG, -EINVAL},
		{n255, S_IFREG | 0600, 0},
		{n256, S_IFREG | 0600, -ENAMETOOLONG},
	};
	struct fx fx;

	memset(n255, 'n', 255);
	n255[255] = 0;
	memset(n256, 'n', 256);
	n256[256] = 0;
	fx_init(&fx, false);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = fx_mk(fx.b, cases[i].path, cases[i].mode, "to/where");

		if (r != cases[i].want)
			fail_msg("%s: %d, not %d", cases[i].path, r, cases[i].want);
	}
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(fx_attr(fx.b, "").nlink, 3);
		assert_int_equal(fx_attr(fx.b, "d").nlink, 3);
		assert_int_equal(fx_attr(fx.b, "d/l").size, 8);
		assert_int_equal(fx_attr(fx.b, "d/c").rdev, makedev(1, 3));
		assert_int_equal(fx_attr(fx.b, "d/e").mode, S_IFDIR | 01777);
		assert_int_equal(fx_attr(fx.b, "d/s").mode, S_IFSOCK | 0700);
		fx_restart(&fx);
	}
	fx_done(&fx);
}

static void open_unlinked(void **state)
{
	struct iovec iov = {"data", 4};
	struct fsb_entry e, again;
	struct fuse_attr a;
	char buf[8];
	struct fx fx;
	uint64_t fh;

	fx_init(&fx, true);
	assert_int_equal(fx.b->ops->create(fx.b, &fx_req, FSB_ROOT, "n", 0600, 0, &e, &fh), 0);
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	assert_int_equal(fx.b->ops->writev(fx.b, &fx_req, e.node, 0, &iov, 1, 0, 0), 4);
	iov.iov_base = buf;
	assert_int_equal(fx.b->ops->readv(fx.b, e.node, 0, &iov, 1, 0), 4);
	assert_memory_equal(buf, "data", 4);
	assert_int_equal(fx.b->ops->getattr(fx.b, e.node, 0, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, "m", &again), -ENOENT);
	fx.b->ops->forget(fx.b, e.node, 1);
	assert_int_equal(fx.b->ops->getattr(fx.b, e.node, 0, &a), -ESTALE);
	assert_int_equal(ovl_data_unlink(ovl_of(fx.b), e.node), -ENOENT);

	/* Over-forgetting takes no more than there is. */
	assert_int_equal(fx_walk(fx.b, "c", &e), 0);
	fx.b->ops->forget(fx.b, e.node, UINT64_MAX);
	assert_int_equal(fx.b->ops->getattr(fx.b, e.node, 0, &a), -ESTALE);

	/* A removed directory takes nothing in. */
	assert_int_equal(fx_walk(fx.b, "f", &e), 0);
	assert_int_equal(fx_rm(fx.b, "f", true), 0);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &fx_req, e.node, "x", 0700, &again), -ENOENT);
	fx_forget(fx.b, e.node);

	assert_int_equal(fx.b->ops->tmpfile(fx.b, &fx_req, FSB_ROOT, 0600, 0, &e, &fh), 0);
	assert_int_equal(e.attr.nlink, 0);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, "t", &again), 0);
	assert_int_equal(again.attr.nlink, 1);
	fx.b->ops->forget(fx.b, e.node, 2);
	assert_int_equal(fx.b->ops->tmpfile(fx.b, &fx_req, FSB_ROOT, 0600, O_EXCL, &e, &fh), 0);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, "u", &again), -ENOENT);
	fx_restart(&fx);
	assert_int_equal(fx_attr(fx.b, "t").nlink, 1);
	assert_int_equal(fx_absent(fx.b, "f"), -ENOENT);
	fx_done(&fx);
}

static void contents(void **state)
{
	struct fsb_entry e, f;
	struct statvfs st;
	char buf[64] = {0};
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_read(fx.b, "n", buf, 10, 0), 0);
	assert_int_equal(fx_read(fx.b, "f", buf, 10, 0), -EISDIR);
	assert_int_equal(fx_write(fx.b, "f", buf, 1, 0, 0), -EISDIR);
	assert_int_equal(fx_write(fx.b, "n", buf, 1, UINT64_MAX, 0), -EFBIG);
	assert_int_equal(fx_walk(fx.b, "n", &e), 0);
	assert_int_equal(fx.b->ops->lseek(fx.b, e.node, 0, 0, SEEK_DATA), -ENXIO);
	assert_int_equal(fx_write(fx.b, "n", "end", 3, 1 << 20, 0), 3);
	assert_int_equal(fx.b->ops->lseek(fx.b, e.node, 0, 0, SEEK_DATA), 1 << 20);
	assert_int_equal(fx.b->ops->lseek(fx.b, e.node, 0, 0, SEEK_HOLE), 0);
	assert_int_equal(fx.b->ops->lseek(fx.b, e.node, 0, 0, SEEK_SET), -EINVAL);
	assert_true(fx_attr(fx.b, "n").blocks <= 16);
	assert_int_equal(
		fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0, FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
	assert_int_equal(fx_attr(fx.b, "n").size, (1 << 20) + 3);
	assert_int_equal(fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0, 0, 0, 2 << 20), 0);
	assert_int_equal(fx_attr(fx.b, "n").size, 2 << 20);
	assert_int_equal(fx_attr(fx.b, "n").blocks, (2 << 20) / 512);
	assert_int_equal(fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0,
				 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096),
		0);
	assert_int_equal(fx_read(fx.b, "n", buf, 3, 1 << 20), 3);
	assert_memory_equal(buf, "\0\0\0", 3);
	assert_int_equal(
		fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0, FALLOC_FL_COLLAPSE_RANGE, 0, 4096),
		-EOPNOTSUPP);
	assert_int_equal(fx_walk(fx.b, "a/big", &f), 0);
	assert_int_equal(fx.b->ops->lseek(fx.b, f.node, 0, 5, SEEK_DATA), 5);
	assert_int_equal(fx.b->ops->lseek(fx.b, f.node, 0, 5, SEEK_HOLE), FX_BIG);
	assert_int_equal(fx.b->ops->lseek(fx.b, f.node, 0, FX_BIG, SEEK_DATA), -ENXIO);
	assert_int_equal(fx.b->ops->copy_file_range(
				 fx.b, &fx_req, f.node, 0, FX_BIG - 20, e.node, 0, 100, 1000),
		20);
	assert_int_equal(
		fx.b->ops->copy_file_range(fx.b, &fx_req, e.node, 0, 100, e.node, 0, 200, 20), 20);
	assert_int_equal(fx_read(fx.b, "n", buf, 20, 200), 20);
	for (int i = 0; i < 20; i++)
		assert_int_equal(buf[i], fx_byte((uint64_t)(FX_BIG - 20 + i)));
	assert_int_equal(fx.b->ops->fsync(fx.b, e.node, 0, false), 0);
	assert_int_equal(fx.b->ops->fsync(fx.b, FSB_ROOT, 0, false), 0);
	assert_int_equal(fx.b->ops->syncfs(fx.b, FSB_ROOT), 0);
	assert_int_equal(fx.b->ops->statfs(fx.b, FSB_ROOT, &st), 0);
	assert_int_equal(st.f_namemax, 255);
	fx_forget(fx.b, e.node);
	fx_forget(fx.b, f.node);
	fx_done(&fx);
}

/* ---- file handles */

static int by_handle(struct fx *fx, uint64_t node, const char *name, struct fsb_entry *ret)
{
	int r = fx->b->ops->lookup(fx->b, &fx_req, node, name, ret);

	if (r == 0)
		fx_forget(fx->b, ret->node);
	return r;
}

/* Nodes by number alone: also those that nobody has looked up since the start. */
static void file_handles(void **state)
{
	uint64_t c, moved, in_moved, own, fake;
	char longest[OVL_NAME_MAX + 2];
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_walk(fx.b, "c", &e), 0);
	c = e.node;
	assert_int_equal(fx_walk(fx.b, "a/b", &e), 0);
	moved = e.node;
	assert_int_equal(fx_walk(fx.b, "a/b/f", &e), 0);
	in_moved = e.node;
	assert_int_equal(fx_mk(fx.b, "own", S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_walk(fx.b, "own", &e), 0);
	own = e.node;
	assert_int_equal(fx_rename(fx.b, "a/b", "many/b", 0), 0);
	fx_restart(&fx);
	assert_null(ovl_find(ovl_of(fx.b), in_moved));
	assert_int_equal(by_handle(&fx, in_moved, ".", &e), 0);
	assert_int_equal(e.node, in_moved);
	assert_int_equal(e.attr.size, 5);
	assert_int_equal(by_handle(&fx, own, ".", &e), 0);
	assert_int_equal(by_handle(&fx, moved, "..", &e), 0);
	assert_int_equal(by_handle(&fx, e.node, "..", &e), 0);
	assert_int_equal(e.node, FSB_ROOT);
	assert_int_equal(by_handle(&fx, FSB_ROOT, "..", &e), 0);
	assert_int_equal(by_handle(&fx, own, "..", &e), -ESTALE);

	/* What is gone stays gone, though the image still has it; a hard link keeps it. */
	assert_int_equal(fx_rm(fx.b, "many/b/f", false), 0);
	assert_int_equal(fx_rm(fx.b, "own", false), 0);
	assert_int_equal(fx_rm(fx.b, "c", false), 0);
	for (int k = 0; k < 2; k++) {
		assert_int_equal(by_handle(&fx, in_moved, ".", &e), -ESTALE);
		assert_int_equal(by_handle(&fx, own, ".", &e), -ESTALE);
		assert_int_equal(by_handle(&fx, c, ".", &e), 0);
		fx_restart(&fx);
	}
	/* No number but an inode's: elsewhere the index holds what a file's author wrote. */
	fake = 0;
	for (uint64_t n = 1; n < 2000; n++)
		fake += by_handle(&fx, n, ".", &e) == 0;
	assert_int_equal(fake, 111); /* all but a/b/f */
	assert_int_equal(by_handle(&fx, OVL_OWN_BASE + 999, ".", &e), -ESTALE);
	assert_int_equal(by_handle(&fx, 0, ".", &e), -ESTALE);
	memset(longest, '.', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(by_handle(&fx, FSB_ROOT, longest, &e), -ENAMETOOLONG);
	assert_int_equal(by_handle(&fx, FSB_ROOT, "./c", &e), -EINVAL);
	assert_int_equal(by_handle(&fx, FSB_ROOT, "...", &e), -ENOENT);
	assert_int_equal(by_handle(&fx, UINT64_MAX, "..", &e), -ESTALE);
	fx_done(&fx);
}

/* ---- opening */

static void locked_while_open(void **state)
{
	struct msb_err e = {0};
	struct fx fx, two;

	fx_init(&fx, false);
	two = fx;
	assert_int_equal(fx_start(&two, "upper", &e), -EBUSY);
	assert_non_null(strstr(e.msg, "another file server"));
	fx_restart(&fx);
	fx_done(&fx);
}

static void other_image(void **state)
{
	struct msb_err e = {0};
	struct fx fx;

	fx_init(&fx, true);
	fx_stop(&fx);
	fx.lower = false;
	assert_int_equal(fx_start(&fx, "upper", &e), -ESTALE);
	assert_non_null(strstr(e.msg, "another image"));
	fx_done(&fx);
}

static void orphans_go(void **state)
{
	char path[128], other[128];
	struct fsb_entry e;
	struct fx fx;
	uint64_t fh;

	fx_init(&fx, false);
	assert_int_equal(fx.b->ops->create(fx.b, &fx_req, FSB_ROOT, "n", 0600, 0, &e, &fh), 0);
	assert_int_equal(fx_write(fx.b, "n", "x", 1, 0, 0), 1);
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	(void)snprintf(path, sizeof(path), "%s/upper/data/00/40000000", fx.dir);
	(void)snprintf(other, sizeof(other), "%s/upper/data/00/junk", fx.dir);
	assert_int_equal(access(path, F_OK), 0);
	close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	fx_restart(&fx); /* ended with the file open */
	assert_int_not_equal(access(other, F_OK), 0);
	assert_int_equal(access(path, F_OK), 0); /* a device state might ask for it */
	assert_int_equal(fx_mk(fx.b, "m", S_IFREG | 0600, NULL), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lower_is_served),
		cmocka_unit_test(read_only_without_upper),
		cmocka_unit_test(copy_up),
		cmocka_unit_test(metadata_copies_no_data),
		cmocka_unit_test(lower_directories_move),
		cmocka_unit_test(making),
		cmocka_unit_test(open_unlinked),
		cmocka_unit_test(contents),
		cmocka_unit_test(file_handles),
		cmocka_unit_test(locked_while_open),
		cmocka_unit_test(other_image),
		cmocka_unit_test(orphans_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
