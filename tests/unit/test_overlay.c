// SPDX-License-Identifier: Apache-2.0
// The overlay backend: each op and its rules, over an image and over nothing.
#include "tests/unit/overlay_fixture.h"

#include <sys/sysmacros.h>

static struct fuse_attr attr_at(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	fx_forget(b, e.node);
	return e.attr;
}

static int absent(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r == 0)
		fx_forget(b, e.node);
	return r;
}

static void check_text(struct fsb *b, const char *path, const char *want)
{
	char buf[256] = {0};
	int64_t n = fx_read(b, path, buf, sizeof(buf), 0);

	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, (size_t)n);
}

/* ---- an image below */

static void lower_is_served(void **state)
{
	struct fuse_attr a;
	struct fsb_entry e;
	char buf[FX_BIG] = {0};
	struct fx fx;

	fx_init(&fx, true);
	a = attr_at(fx.b, "");
	assert_int_equal(a.mode, S_IFDIR | 0755);
	assert_int_equal(a.ino, 1);
	assert_int_equal(a.nlink, 5);
	a = attr_at(fx.b, "c");
	assert_int_equal(a.nlink, 2);
	assert_int_equal(a.ino, attr_at(fx.b, "d").ino);
	assert_int_equal(a.mtime, FX_MTIME);
	check_text(fx.b, "c", FX_SMALL);
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
	check_text(fx.b, "c", FX_SMALL);
	assert_int_equal(fx.b->ops->statfs(fx.b, FSB_ROOT, &st), 0);
	assert_true(st.f_files > 100);
	fx_stop(&fx);
	fx.lower = false;
	assert_int_equal(fx_start(&fx, NULL, NULL), 0);
	assert_int_equal(attr_at(fx.b, "").mode, S_IFDIR | 0755);
	assert_int_equal(absent(fx.b, "c"), -ENOENT);
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
	ino = attr_at(fx.b, "a/big").ino;
	assert_int_equal(fx_write(fx.b, "a/big", "XYZ", 3, 10, 0), 3);
	for (int pass = 0; pass < 2; pass++) {
		a = attr_at(fx.b, "a/big");
		assert_int_equal(a.ino, ino);
		assert_int_equal(a.size, FX_BIG);
		assert_true(a.mtime > FX_MTIME);
		assert_int_equal(fx_read(fx.b, "a/big", buf, sizeof(buf), 0), FX_BIG);
		for (size_t i = 0; i < FX_BIG; i++)
			assert_int_equal(buf[i], i >= 10 && i < 13 ? "XYZ"[i - 10] : fx_byte(i));
		fx_restart(&fx);
	}
	assert_int_equal(fx_setattr(fx.b, "c", &cut), 0);
	check_text(fx.b, "c", "small");
	check_text(fx.b, "d", "small"); /* the same file */
	assert_int_equal(fx_write(fx.b, "d", "er", 2, 5, 0), 2);
	check_text(fx.b, "c", "smaller");
	fx_restart(&fx);
	check_text(fx.b, "c", "smaller");
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
		ovl_find(ovl_of(fx.b), attr_at(fx.b, "large").ino)->flags & OVL_OWN_DATA, 0);
	fx_restart(&fx);
	assert_int_equal(attr_at(fx.b, "large").mode, S_IFREG | 0400);
	assert_int_equal(attr_at(fx.b, "large").nlink, 2);
	assert_int_equal(attr_at(fx.b, "f/large").uid, 7);
	assert_int_equal(attr_at(fx.b, "f/large").size, FX_BIG);
	assert_int_equal(absent(fx.b, "a/big"), -ENOENT);
	fx_done(&fx);
}

static void lower_directories_move(void **state)
{
	struct fx fx;
	uint64_t ino;

	fx_init(&fx, true);
	ino = attr_at(fx.b, "a/b").ino;
	assert_int_equal(fx_rename(fx.b, "a", "f", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fx_rename(fx.b, "a", "f", 0), 0);
	assert_int_equal(attr_at(fx.b, "f/b").ino, ino);
	assert_int_equal(attr_at(fx.b, "").nlink, 4);
	check_text(fx.b, "f/b/f", "in b\n");
	assert_int_equal(fx_rename(fx.b, "f", "f/b/c/x", 0), -EINVAL);
	assert_int_equal(fx_rename(fx.b, "many", "f", 0), -ENOTEMPTY);
	assert_int_equal(fx_rm(fx.b, "f/b", true), -ENOTEMPTY);
	fx_restart(&fx);
	check_text(fx.b, "f/b/f", "in b\n");
	assert_int_equal(absent(fx.b, "a"), -ENOENT);
	assert_int_equal(fx_mk(fx.b, "a", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(
		absent(fx.b, "a/b"), -ENOENT); /* a new directory shows nothing of the old */
	assert_int_equal(fx_rename(fx.b, "f", "a", RENAME_EXCHANGE), 0);
	check_text(fx.b, "a/b/f", "in b\n");
	assert_int_equal(fx_rename(fx.b, "a/b", "a", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(fx_rename(fx.b, "a/b/f", "moved", RENAME_WHITEOUT), 0);
	assert_int_equal(attr_at(fx.b, "a/b/f").mode, S_IFCHR);
	check_text(fx.b, "moved", "in b\n");
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
		assert_int_equal(attr_at(fx.b, "").nlink, 3);
		assert_int_equal(attr_at(fx.b, "d").nlink, 3);
		assert_int_equal(attr_at(fx.b, "d/l").size, 8);
		assert_int_equal(attr_at(fx.b, "d/c").rdev, makedev(1, 3));
		assert_int_equal(attr_at(fx.b, "d/e").mode, S_IFDIR | 01777);
		assert_int_equal(attr_at(fx.b, "d/s").mode, S_IFSOCK | 0700);
		fx_restart(&fx);
	}
	fx_done(&fx);
}

static void inheritance(void **state)
{
	const struct fsb_setattr setgid = {
		.valid = FATTR_MODE | FATTR_GID, .mode = 02775, .gid = 50};
	const struct fsb_req req = {.uid = 7, .gid = 8, .umask = 027};
	struct fsb_entry e, d;
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &req, FSB_ROOT, "d", 0777, &d), 0);
	assert_int_equal(d.attr.mode, S_IFDIR | 0750);
	assert_int_equal(d.attr.uid, 7);
	assert_int_equal(d.attr.gid, 8);
	assert_int_equal(fx_setattr(fx.b, "d", &setgid), 0);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &req, d.node, "sub", 0777, &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 02750);
	assert_int_equal(e.attr.gid, 50);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx.b->ops->mknod(fx.b, &req, d.node, "f", 0666, 0, &e), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0640);
	assert_int_equal(e.attr.gid, 50);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx.b->ops->symlink(fx.b, &req, d.node, "l", "x", &e), 0);
	assert_int_equal(e.attr.mode, S_IFLNK | 0777);
	fx_forget(fx.b, e.node);
	fx_forget(fx.b, d.node);
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
	assert_int_equal(attr_at(fx.b, "t").nlink, 1);
	assert_int_equal(absent(fx.b, "f"), -ENOENT);
	fx_done(&fx);
}

static void xattrs(void **state)
{
	char big[OVL_MAX_XATTR_VALUE + 1] = {0}, buf[256], name[32], long_name[258];
	struct fsb_entry e;
	struct fx fx;
	int r = 0;

	fx_init(&fx, true);
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", NULL, 0), 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", buf, 1), -ERANGE);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.no", buf, 9), -ENODATA);
	assert_int_equal(fx.b->ops->listxattr(fx.b, e.node, NULL, 0), 18);
	assert_int_equal(fx.b->ops->listxattr(fx.b, e.node, buf, 17), -ERANGE);
	assert_int_equal(fx.b->ops->removexattr(fx.b, &fx_req, e.node, "user.one"), 0);
	assert_int_equal(fx.b->ops->removexattr(fx.b, &fx_req, e.node, "user.one"), -ENODATA);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "trusted.t", "tt", 2, XATTR_CREATE), 0);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "trusted.t", "tt", 2, XATTR_CREATE),
		-EEXIST);
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.z", "", 0, XATTR_REPLACE),
		-ENODATA);
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.z", "", 0, 0), 0);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.big", big, sizeof(big), 0),
		-E2BIG);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "other.x", "", 0, 0), -EOPNOTSUPP);
	memset(long_name, 'u', 257);
	long_name[257] = 0;
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, long_name, "", 0, 0), -ERANGE);
	fx_forget(fx.b, e.node);
	fx_restart(&fx);
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", buf, 9), 2);
	assert_memory_equal(buf, "22", 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.one", buf, 9), -ENODATA);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "trusted.t", buf, 9), 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.z", buf, 9), 0);
	check_text(fx.b, "a/x", "#!\n");
	for (int i = 0; r == 0; i++) {
		assert_in_range(i, 0, 5);
		(void)snprintf(name, sizeof(name), "user.%d", i);
		r = fx.b->ops->setxattr(fx.b, &fx_req, e.node, name, big, OVL_MAX_XATTR_VALUE, 0);
	}
	assert_int_equal(r, -ENOSPC);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void privileges(void **state)
{
	struct fsb_setattr suid = {.valid = FATTR_MODE, .mode = 06755},
			   chown = {.valid = FATTR_UID, .uid = 5, .kill_suidgid = true},
			   trunc = {.valid = FATTR_SIZE, .kill_suidgid = true};
	const struct fsb_req member = {.uid = 7}, other = {.uid = 7, .gid = 7};
	const uint32_t kill = FUSE_WRITE_KILL_SUIDGID;
	struct iovec iov = {(char[]){'x'}, 1};
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, 0), 1);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 06755);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, FUSE_WRITE_KILL_SUIDGID), 1);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 0755);
	suid.mode = 06745;
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_setattr(fx.b, "c", &chown), 0);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 02745); /* no group execution */
	assert_int_equal(fx_walk(fx.b, "c", &e), 0);
	assert_int_equal(fx.b->ops->writev(fx.b, &member, e.node, 0, &iov, 1, 0, kill), 1);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 02745);
	assert_int_equal(fx.b->ops->writev(fx.b, &other, e.node, 0, &iov, 1, 0, kill), 1);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 0745);
	fx_forget(fx.b, e.node);
	suid.mode = 06755;
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_setattr(fx.b, "c", &trunc), 0);
	assert_int_equal(attr_at(fx.b, "c").mode, S_IFREG | 0755);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
		assert_int_equal(fx.b->ops->setxattr(
					 fx.b, &fx_req, e.node, "security.capability", "cap", 3, 0),
			0);
		trunc.kill_suidgid = false;
		if (i == 0)
			assert_int_equal(fx_write(fx.b, "a/x", "x", 1, 0, 0), 1);
		else
			assert_int_equal(fx_setattr(fx.b, "a/x", i == 1 ? &chown : &trunc), 0);
		assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "security.capability", NULL, 0),
			-ENODATA);
		assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", NULL, 0), 2);
		fx_forget(fx.b, e.node);
	}
	fx_done(&fx);
}

static void links(void **state)
{
	struct fsb_entry e, l;
	char name[16];
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "f", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "d", S_IFDIR | 0700, NULL), 0);
	assert_int_equal(fx_link(fx.b, "d", "d2"), -EPERM);
	assert_int_equal(fx_link(fx.b, "f", "d"), -EEXIST);
	assert_int_equal(fx_link(fx.b, "no", "x"), -ENOENT);
	assert_int_equal(fx_walk(fx.b, "f", &e), 0);
	for (int i = 1; i < OVL_MAX_LINKS; i++) {
		(void)snprintf(name, sizeof(name), "l%d", i);
		assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, name, &l), 0);
		fx_forget(fx.b, l.node);
	}
	assert_int_equal(l.attr.nlink, OVL_MAX_LINKS);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, "more", &l), -EMLINK);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx_rename(fx.b, "l1", "l2", 0), 0); /* the same file: both stay */
	assert_int_equal(attr_at(fx.b, "l1").nlink, OVL_MAX_LINKS);
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
	assert_true(attr_at(fx.b, "n").blocks <= 16);
	assert_int_equal(
		fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0, FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
	assert_int_equal(attr_at(fx.b, "n").size, (1 << 20) + 3);
	assert_int_equal(fx.b->ops->fallocate(fx.b, &fx_req, e.node, 0, 0, 0, 2 << 20), 0);
	assert_int_equal(attr_at(fx.b, "n").size, 2 << 20);
	assert_int_equal(attr_at(fx.b, "n").blocks, (2 << 20) / 512);
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

static void fx_copy(const char *from, const char *to)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC),
			    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(in >= 0 && out >= 0);
	assert_true(copy_file_range(in, NULL, out, NULL, 1 << 30, 0) > 0);
}

/* Reads move the access time of what is above, and the next server knows it; an image's own files
 * keep theirs. */
static void accessed(void **state)
{
	static const char *const above[] = {"own", "dir", "link", "a/big"}, *const below[] = {
										    "c", "a", "e"};
	const struct fsb_setattr mode = {.valid = FATTR_MODE, .mode = 0700};
	struct fsb_overlay_opts ro = {
		.index_fd = -1, .packs_fd = -1, .dir_fd = -1, .files_fd = -1, .noatime = true};
	struct msb_err e = {0};
	struct fuse_attr a;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "own", S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_write(fx.b, "own", "x", 1, 0, 0), 1);
	assert_int_equal(fx_mk(fx.b, "dir", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "link", S_IFLNK, "target"), 0);
	assert_int_equal(
		fx_setattr(fx.b, "a/big", &mode), 0); /* the image's, with contents below still */
	for (size_t i = 0; i < ARRAY_LEN(above); i++) {
		assert_int_equal(fx_read_moves(fx.b, above[i]), 1);
		assert_int_equal(fx_read_moves(fx.b, above[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		assert_int_equal(fx_read_moves(fx.b, below[i]), 0);
	a = attr_at(fx.b, "own");
	fx_restart(&fx);
	assert_int_equal(attr_at(fx.b, "own").atime, a.atime);
	assert_int_equal(attr_at(fx.b, "own").atimensec, a.atimensec);
	for (size_t i = 0; i < ARRAY_LEN(above); i++)
		assert_int_equal(fx_read_moves(fx.b, above[i]), 0);
	assert_int_equal(fx_write(fx.b, "own", "y", 1, 0, 0), 1);
	fx.b->ops->stop(fx.b);
	ro.upper_fd = fx_open(fx.dir, "upper", O_RDONLY | O_DIRECTORY);
	ro.index_fd = fx_open(fx.dir, "index", O_RDONLY);
	ro.packs_fd = fx_open(fx.dir, "packs", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fsb_overlay_start(&ro, &fx.b, &e), 0);
	assert_int_equal(fx_read_moves(fx.b, "own"), 0);
	fx_done(&fx);
}

static void times(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_ATIME | FATTR_MTIME,
		.atime = 11,
		.atimensec = 1,
		.mtime = (uint64_t)-22,
		.mtimensec = 2};
	struct fuse_attr a;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, 0), 1);
	assert_int_equal(fx_setattr(fx.b, "c", &set), 0);
	for (int pass = 0; pass < 2; pass++) {
		a = attr_at(fx.b, "c");
		assert_int_equal(a.atime, 11);
		assert_int_equal(a.mtime, -22);
		assert_int_equal(a.mtimensec, 2);
		assert_true(a.ctime > FX_MTIME);
		fx_restart(&fx);
	}
	assert_int_equal(fx_rename(fx.b, "c", "z", 0), 0);
	assert_true(attr_at(fx.b, "").mtime > FX_MTIME);
	assert_int_equal(attr_at(fx.b, "z").mtime, -22);
	assert_int_equal(attr_at(fx.b, "a").mtime, FX_MTIME);
	fx_done(&fx);
}

/* A write, then a new name, then a crash: the log must not have the time before the write (found by
 * test_overlay_model 1795721748297). */
static void times_after_a_crash(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_MTIME, .mtime = 5};
	char log[128], kept[128];
	struct fx fx;

	for (int i = 0; i < 3; i++) {
		fx_init(&fx, true);
		(void)snprintf(log, sizeof(log), "%s/upper/log", fx.dir);
		(void)snprintf(kept, sizeof(kept), "%s/kept", fx.dir);
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_mk(fx.b, "over", S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_link(fx.b, "n", "n2"), 0);
		assert_int_equal(fx_setattr(fx.b, "n", &set), 0);
		usleep(OVL_TICK_NS / 1000 * 2); /* past the time in which a write logs itself */
		assert_int_equal(fx_write(fx.b, "n", "x", 1, 0, 0), 1);
		usleep(OVL_TICK_NS / 1000 * 2);
		if (i == 0)
			assert_int_equal(fx_rename(fx.b, "n", "over", 0), 0);
		else if (i == 1)
			assert_int_equal(fx_link(fx.b, "n", "n3"), 0);
		else
			assert_int_equal(fx_rm(fx.b, "n", false), 0);
		fx_copy(log, kept);
		fx_stop(&fx);
		fx_copy(kept, log);
		fx_start(&fx, "upper", NULL);
		assert_true(attr_at(fx.b, "n2").mtime > FX_MTIME);
		fx_done(&fx);
	}
}

/* When it was made, whatever has happened to it or to the log since; an image does not say. */
static void birth_times(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_MTIME, .mtime = 5};
	struct timespec born, now;
	struct fuse_attr a;
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	a = attr_at(fx.b, "n");
	assert_int_equal(fx_setattr(fx.b, "n", &set), 0);
	assert_int_equal(fx_rename(fx.b, "n", "m", 0), 0);
	for (int pass = 0; pass < 3; pass++) {
		assert_int_equal(fx_walk(fx.b, "m", &e), 0);
		assert_int_equal(fx.b->ops->btime(fx.b, e.node, &born), 0);
		assert_int_equal(born.tv_sec, a.ctime);
		assert_int_equal(born.tv_nsec, a.ctimensec);
		fx_forget(fx.b, e.node);
		if (pass == 1)
			assert_int_equal(ovl_log_compact(ovl_of(fx.b)), 0);
		fx_restart(&fx);
	}
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->btime(fx.b, e.node, &now), -EOPNOTSUPP);
	assert_int_equal(fx.b->ops->btime(fx.b, 12345, &now), -ESTALE);
	fx_done(&fx);
}

/* ---- listings */

struct list {
	struct fsb *b;
	int seen[400], n, room, plus;
	uint64_t off;
	char name[256];
};

static int take(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t off,
	const struct fsb_entry *e)
{
	struct list *l = arg;

	if (l->room-- == 0)
		return 1;
	l->off = off;
	l->n++;
	l->plus += e != NULL;
	if (name[0] != '.') {
		char digits[4] = {0};

		assert_int_equal(n, 3);
		memcpy(digits, name, n);
		l->seen[atoi(digits)]++;
	}
	if (e) {
		assert_int_equal(e->attr.ino, ino);
		assert_int_equal(e->attr.mode >> 12, type);
	}
	return 0;
}

/* Names 0..99 are the image's, 100.. new. Pages of 7 entries, changes between them. */
static void listing_under_change(void **state)
{
	struct list l = {0};
	struct fsb_entry d;
	char name[16];
	struct fx fx;
	int page = 0;

	fx_init(&fx, true);
	l.b = fx.b;
	for (int i = 100; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "many/%03d", i);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
	}
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	for (int before = -1; before != l.n; page++) {
		before = l.n;
		l.room = 7;
		assert_int_equal(
			fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false, take, &l), 0);
		/* Gone, come, replaced, each over old and new names; all of them but two stay. */
		(void)snprintf(name, sizeof(name), "many/%03d", 200 + page);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
		if (page == 3)
			assert_int_equal(fx_rm(fx.b, "many/005", false), 0);
		if (page == 4)
			assert_int_equal(fx_rm(fx.b, "many/190", false), 0);
		assert_int_equal(fx_rename(fx.b, name, "many/050", 0), 0);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_rename(fx.b, name, "many/150", 0), 0);
		assert_int_equal(fx_rename(fx.b, "many/060", "many/160", RENAME_EXCHANGE), 0);
	}
	for (int i = 0; i < 200; i++)
		assert_in_range(l.seen[i], i == 5 || i == 190 ? 0 : 1, 1);
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

/* Who gives each file another name, or another file its name, while listing comes to an end. */
static int take_name(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t off, const struct fsb_entry *e)
{
	struct list *l = arg;

	if (l->n || off <= l->off)
		return 1;
	(void)snprintf(l->name, sizeof(l->name), "%.*s", (int)n, name);
	l->off = off;
	l->n = 1;
	return 0;
}

static int take_any(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t off, const struct fsb_entry *e)
{
	struct list *l = arg;

	l->n++;
	return 1;
}

static void listing_ends(void **state)
{
	struct list l = {0};
	struct fsb_entry d;
	char name[16], path[300], to[300];
	int seen = 0;
	struct fx fx;

	fx_init(&fx, true);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "f/%d", i);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
	}
	assert_int_equal(fx_walk(fx.b, "f", &d), 0);
	for (int i = 0; i < 2; i++) { /* the second time after all numbers have been given out */
		l.off = 0;
		for (seen = 0; seen < 100; seen++) {
			l.n = 0;
			assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false,
						 take_name, &l),
				0);
			if (!l.n)
				break;
			(void)snprintf(path, sizeof(path), "f/%s", l.name);
			(void)snprintf(to, sizeof(to), "f/new-%s", l.name);
			if (l.name[0] == '.')
				continue;
			assert_int_equal(fx_rename(fx.b, path, to, 0), 0);
			if (seen % 2)
				assert_int_equal(fx_rename(fx.b, to, path, 0), 0);
		}
		assert_int_equal(seen, 22);
		/* Offsets that nobody gave out lead somewhere (xfstests generic/676). */
		for (uint64_t top = l.off, k = 0; k < 21; k++) {
			l.off = top / 23 * k + 12345;
			l.n = 0;
			assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false,
						 take_any, &l),
				0);
			assert_int_equal(l.n, 1);
		}
		ovl_find(ovl_of(fx.b), d.node)->dir->last_cookie = OVL_COOKIE_MAX;
		assert_int_equal(fx_mk(fx.b, "f/last", S_IFREG | 0600, NULL), 0);
		assert_int_equal(ovl_find(ovl_of(fx.b), d.node)->dir->last_cookie, 21);
		assert_int_equal(fx_rm(fx.b, "f/last", false), 0);
	}
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

static void listing_plus(void **state)
{
	struct list l = {.room = 1000};
	struct fsb_entry d;
	struct fx fx;

	fx_init(&fx, true);
	l.b = fx.b;
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	l.room = 50;
	assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, 0, true, take, &l), 0);
	assert_int_equal(l.plus, 48);
	assert_int_equal(ovl_of(fx.b)->nodes, 2 + 48); /* the one that had no room is gone again */
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

/* ---- limits */

static void target_limit(void **state)
{
	char target[OVL_TARGET_MAX + 2], buf[OVL_TARGET_MAX + 2];
	struct fsb_entry e;
	struct fx fx;

	memset(target, 't', sizeof(target));
	target[OVL_TARGET_MAX + 1] = '\0';
	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "l", S_IFLNK, target), -ENAMETOOLONG);
	target[OVL_TARGET_MAX] = '\0';
	assert_int_equal(fx_mk(fx.b, "l", S_IFLNK, target), 0);
	fx_restart(&fx);
	assert_int_equal(fx_walk(fx.b, "l", &e), 0);
	assert_int_equal(fx.b->ops->readlink(fx.b, e.node, buf, sizeof(buf)), OVL_TARGET_MAX);
	assert_memory_equal(buf, target, OVL_TARGET_MAX);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void depth_limit(void **state)
{
	struct fsb_entry top, e;
	struct fx fx;
	int r = 0, n;

	fx_init(&fx, false);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &fx_req, FSB_ROOT, "top", 0700, &top), 0);
	assert_int_equal(fx_mk(fx.b, "other", S_IFDIR | 0700, NULL), 0);
	e = top;
	for (n = 0; n < OVL_MAX_DEPTH && r == 0; n++)
		r = fx.b->ops->mkdir(fx.b, &fx_req, e.node, "d", 0700, &e);
	assert_int_equal(r, 0);
	r = fx.b->ops->rename(fx.b, &fx_req, FSB_ROOT, "other", e.node, "o", 0);
	assert_int_equal(r, -ELOOP);
	assert_int_equal(fx_rename(fx.b, "other", "top/o", 0), 0);
	fx_done(&fx);
}

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

static void node_limit(void **state)
{
	struct fsb_entry e, n;
	struct fx fx;

	fx_init(&fx, true);
	ovl_of(fx.b)->max_nodes = 3;
	assert_int_equal(fx_mk(fx.b, "1", S_IFREG, NULL), 0);
	assert_int_equal(fx_walk(fx.b, "a", &e), 0);
	assert_int_equal(fx.b->ops->lookup(fx.b, &fx_req, e.node, "big", &n), -ENFILE);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG, NULL), -ENOSPC);
	assert_int_equal(fx_rm(fx.b, "1", false), 0);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG, NULL), 0);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void log_limit(void **state)
{
	char name[16];
	struct fx fx;
	int r = 0, n;

	fx_init(&fx, false);
	ovl_of(fx.b)->log.limit = 64 << 10;
	for (n = 0; r == 0; n++) {
		assert_in_range(n, 0, 1000);
		(void)snprintf(name, sizeof(name), "%d", n);
		r = fx_mk(fx.b, name, S_IFREG, NULL);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(fx_rm(fx.b, "0", false), 0); /* what frees is let through */
	fx_restart(&fx);
	assert_int_equal(absent(fx.b, "0"), -ENOENT);
	assert_int_equal(absent(fx.b, "1"), 0);
	fx_done(&fx);
}

static void compaction(void **state)
{
	struct ovl *o;
	struct fx fx;

	fx_init(&fx, true);
	o = ovl_of(fx.b);
	o->log.compact_at = 64 << 10;
	assert_int_equal(fx_write(fx.b, "c", "own", 3, 0, 0), 3);
	assert_int_equal(fx_mk(fx.b, "sym", S_IFLNK, "tgt"), 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG, NULL), 0);
		assert_int_equal(fx_rename(fx.b, "n", "f/m", 0), 0);
	}
	assert_int_equal(fx_rm(fx.b, "f/m", false), 0);
	assert_true(o->log.compact_at > 64 << 10); /* it has been rewritten */
	fx_restart(&fx);
	check_text(fx.b, "d", "ownll contents\n");
	assert_int_equal(attr_at(fx.b, "sym").size, 3);
	assert_int_equal(absent(fx.b, "f/m"), -ENOENT);
	assert_int_equal(absent(fx.b, "n"), -ENOENT);
	assert_true(ovl_of(fx.b)->next_ino >= OVL_OWN_BASE + 1000); /* no number twice */
	fx_done(&fx);
}

/* What is gone does not count: a log with little alive in it never meets its limit. */
static void churn_meets_no_limit(void **state)
{
	struct fx fx;

	fx_init(&fx, false);
	ovl_of(fx.b)->log.limit = 128 << 10;
	ovl_of(fx.b)->log.compact_at = 100 << 10;
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG, NULL), 0);
		assert_int_equal(fx_rm(fx.b, "n", false), 0);
	}
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
		cmocka_unit_test(inheritance),
		cmocka_unit_test(open_unlinked),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(privileges),
		cmocka_unit_test(links),
		cmocka_unit_test(contents),
		cmocka_unit_test(times),
		cmocka_unit_test(accessed),
		cmocka_unit_test(times_after_a_crash),
		cmocka_unit_test(birth_times),
		cmocka_unit_test(listing_under_change),
		cmocka_unit_test(listing_ends),
		cmocka_unit_test(listing_plus),
		cmocka_unit_test(target_limit),
		cmocka_unit_test(depth_limit),
		cmocka_unit_test(file_handles),
		cmocka_unit_test(node_limit),
		cmocka_unit_test(log_limit),
		cmocka_unit_test(compaction),
		cmocka_unit_test(churn_meets_no_limit),
		cmocka_unit_test(locked_while_open),
		cmocka_unit_test(other_image),
		cmocka_unit_test(orphans_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
