// SPDX-License-Identifier: Apache-2.0
// fs/image: what the index writer writes the reader, fsck.erofs and the kernel's format agree on.
#include "fs/image/erofs.h"
#include "fs/image/index.h"
#include "fs/image/index_write.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

static const uint8_t uuid[16] = "index-test-uuid";
static const struct img_pack packs[] = {{0x2a, 1000}, {1, 1u << 21}};

static struct img_inode *add(
	struct img_tree *t, struct img_inode *dir, const char *name, uint32_t mode)
{
	struct img_inode *i;

	assert_int_equal(img_tree_new_inode(t, mode, &i), 0);
	i->uid = 70000;
	i->gid = 8;
	i->mtime_sec = 1700000000;
	i->mtime_nsec = 123456789;
	assert_int_equal(img_tree_add(t, dir, name, strlen(name), i, 1, NULL), 0);
	return i;
}

static void set_bytes(struct img_inode *i, size_t n)
{
	i->bytes = malloc(n + 1);
	assert_non_null(i->bytes);
	for (size_t k = 0; k < n; k++)
		i->bytes[k] = (char)('a' + k % 26);
	i->bytes[n] = 0;
	i->size = n;
	i->inlined = S_ISREG(i->mode);
}

static void index_of(struct img_tree *t, char **ret, size_t *ret_n)
{
	struct msb_err e = {0};
	FILE *f = open_memstream(ret, ret_n);

	assert_non_null(f);
	assert_int_equal(img_index_write(t, packs, ARRAY_LEN(packs), uuid, f, &e), 0);
	fclose(f);
	assert_int_equal(*ret_n % EROFS_BLK, 0);
}

#define BIG_DIR 5000

static struct img_tree *sample(void)
{
	struct img_inode *root, *d, *i;
	struct img_tree *t;
	char name[300];

	assert_int_equal(img_tree_new(1000000, &t), 0);
	root = img_tree_root(t);
	d = add(t, root, "etc", S_IFDIR | 0755);
	i = add(t, d, "passwd", S_IFREG | 0644);
	set_bytes(i, 700);
	assert_int_equal(img_tree_add(t, root, "hard", 4, i, 1, NULL), 0);
	add(t, d, "empty", S_IFREG | 0600);
	i = add(t, d, "one-page", S_IFREG | 0644);
	i->pack_id = 0x2a;
	i->pack_off = 7 * 4096;
	i->size = 4096;
	i = add(t, d, "huge", S_IFREG | 04755);
	i->pack_id = 1;
	i->pack_off = 4096;
	i->size = (UINT64_C(1) << 32) + 5;
	set_bytes(add(t, root, "link", S_IFLNK | 0777), 12);
	set_bytes(add(t, root, "long-link", S_IFLNK | 0777), IMG_MAX_SYMLINK);
	add(t, root, "null", S_IFCHR | 0666)->rdev = (uint32_t)makedev(1, 3);
	add(t, root, "disk", S_IFBLK | 0660)->rdev = (uint32_t)makedev(259, 300);
	add(t, root, "fifo", S_IFIFO | 0600);
	add(t, root, "sock", S_IFSOCK | 0600);
	i = add(t, root, "caps", S_IFREG | 0755);
	set_bytes(i, 100);
	assert_int_equal(img_inode_set_xattr(i, "security.capability", 19, "\1\0\0\2abc", 7), 0);
	assert_int_equal(img_inode_set_xattr(i, "user.empty", 10, "", 0), 0);
	assert_int_equal(img_inode_set_xattr(i, "system.posix_acl_access", 23, "acl", 3), 0);
	assert_int_equal(img_inode_set_xattr(i, "user.empty", 10, "now not", 7), 0);
	i = add(t, root, "much-xattr", S_IFREG | 0755);
	set_bytes(i, 1000);
	memset(name, 'v', sizeof(name));
	for (int k = 0; k < 60; k++) {
		char key[32];
		int n = snprintf(key, sizeof(key), "user.key%02d", k);

		assert_int_equal(img_inode_set_xattr(i, key, (size_t)n, name, sizeof(name)), 0);
	}
	d = add(t, root, "big", S_IFDIR | 01777);
	for (int k = 0; k < BIG_DIR; k++) {
		(void)snprintf(name, sizeof(name), "%d-%.*s", k * 7919 % BIG_DIR, k % 240,
			"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
			"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
			"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
			"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
		add(t, d, name, S_IFREG | 0644)->uid = (uint32_t)k;
	}
	memset(name, 'x', 255);
	name[255] = 0;
	add(t, root, name, S_IFDIR | 0700);
	add(t, root, "\xff\xfe", S_IFDIR | 0700);
	return t;
}

static uint64_t walk(const struct img_index *ix, const char *path)
{
	uint64_t nid = img_index_root(ix);

	while (*path) {
		size_t n = strcspn(path, "/");

		assert_int_equal(img_index_lookup(ix, nid, path, n, &nid), 0);
		path += n + (path[n] == '/');
	}
	return nid;
}

static int count_xattr(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	if (strcmp(name, "security.capability") == 0)
		assert_int_equal(value_n, 7);
	else if (strcmp(name, "user.empty") == 0)
		assert_memory_equal(value, "now not", 7);
	else if (strcmp(name, "system.posix_acl_access") == 0)
		assert_memory_equal(value, "acl", 3);
	else if (strncmp(name, "user.key", 8) == 0)
		assert_int_equal(value_n, 300);
	else
		fail_msg("unexpected %s", name);
	assert_int_equal(strlen(name), n);
	++*(int *)arg;
	return 0;
}

struct seen {
	const struct img_index *ix;
	uint64_t dir;
	int n;
	char last[256];
};

static int each(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct seen *s = arg;
	char z[256] = {0};
	struct img_attr a;
	uint64_t found;

	memcpy(z, name, n);
	assert_true(strcmp(s->last, z) < 0);
	memcpy(s->last, z, sizeof(z));
	assert_int_equal(img_index_lookup(s->ix, s->dir, name, n, &found), 0);
	assert_int_equal(found, nid);
	assert_int_equal(img_index_getattr(s->ix, nid, &a), 0);
	assert_int_equal(a.mode >> 12, type);
	s->n++;
	return 0;
}

static void round_trip(void **state)
{
	struct img_tree *t = sample();
	struct img_index *ix;
	struct msb_err e = {0};
	struct img_extent x;
	struct img_attr a;
	const char *p;
	char *buf;
	size_t n, pn;
	uint64_t nid;
	int k = 0;

	index_of(t, &buf, &n);
	assert_int_equal(img_index_from_bytes(buf, n, &ix, &e), 0);
	assert_int_equal(img_index_inodes(ix), img_tree_inodes(t));
	assert_int_equal(img_index_getattr(ix, img_index_root(ix), &a), 0);
	assert_int_equal(a.nlink, 2 + 4);

	nid = walk(ix, "etc/passwd");
	assert_int_equal(nid, walk(ix, "hard"));
	assert_int_equal(img_index_getattr(ix, nid, &a), 0);
	assert_int_equal(a.ino, nid);
	assert_int_equal(a.mode, S_IFREG | 0644);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(a.uid, 70000);
	assert_int_equal(a.gid, 8);
	assert_int_equal(a.size, 700);
	assert_int_equal(a.mtime_sec, 1700000000);
	assert_int_equal(a.mtime_nsec, 123456789);
	assert_int_equal(img_index_inline(ix, nid, &p, &pn), 0);
	assert_int_equal(pn, 700);
	assert_memory_equal(p, "abcdefghij", 10);
	assert_int_equal(img_index_extent(ix, nid, 0, &x), -EINVAL);
	assert_int_equal(img_index_extent(ix, nid, 700, &x), 0);
	assert_int_equal(x.len, 0);

	assert_int_equal(img_index_inline(ix, walk(ix, "etc/empty"), &p, &pn), 0);
	assert_int_equal(pn, 0);
	nid = walk(ix, "etc/one-page");
	assert_int_equal(img_index_inline(ix, nid, &p, &pn), -ENODATA);
	assert_int_equal(img_index_extent(ix, nid, 100, &x), 0);
	assert_int_equal(x.pack_id, 0x2a);
	assert_int_equal(x.pack_off, 7 * 4096 + 100);
	assert_int_equal(x.len, 3996);
	nid = walk(ix, "etc/huge");
	assert_int_equal(img_index_extent(ix, nid, UINT64_C(1) << 32, &x), 0);
	assert_int_equal(x.pack_id, 1);
	assert_int_equal(x.pack_off, (UINT64_C(1) << 32) + 4096);
	assert_int_equal(x.len, 5);
	assert_int_equal(img_index_extent(ix, nid, 0, &x), 0);
	assert_int_equal(x.len, (UINT64_C(1) << 32) + 5);

	assert_int_equal(img_index_readlink(ix, walk(ix, "link"), &p, &pn), 0);
	assert_int_equal(pn, 12);
	assert_memory_equal(p, "abcdefghijkl", 12);
	assert_int_equal(img_index_readlink(ix, walk(ix, "long-link"), &p, &pn), 0);
	assert_int_equal(pn, IMG_MAX_SYMLINK);
	assert_int_equal(img_index_readlink(ix, nid, &p, &pn), -EINVAL);
	assert_int_equal(img_index_getattr(ix, walk(ix, "null"), &a), 0);
	assert_int_equal(a.rdev, makedev(1, 3));
	assert_int_equal(img_index_getattr(ix, walk(ix, "disk"), &a), 0);
	assert_int_equal(a.rdev, makedev(259, 300));

	assert_int_equal(img_index_xattrs(ix, walk(ix, "caps"), count_xattr, &k), 0);
	assert_int_equal(k, 3);
	k = 0;
	nid = walk(ix, "much-xattr");
	assert_int_equal(img_index_xattrs(ix, nid, count_xattr, &k), 0);
	assert_int_equal(k, 60);
	assert_int_equal(img_index_inline(ix, nid, &p, &pn), 0);
	assert_int_equal(pn, 1000);
	assert_memory_equal(p, "abcdefghij", 10);

	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "absent", 6, &nid), -ENOENT);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "et", 2, &nid), -ENOENT);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "etcx", 4, &nid), -ENOENT);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "", 0, &nid), -ENOENT);
	assert_int_equal(img_index_lookup(ix, walk(ix, "link"), "x", 1, &nid), -ENOTDIR);
	{
		struct seen s = {.ix = ix, .dir = walk(ix, "big")};

		assert_int_equal(img_index_readdir(ix, s.dir, each, &s), 0);
		assert_int_equal(s.n, BIG_DIR);
		s = (struct seen){.ix = ix, .dir = img_index_root(ix)};
		assert_int_equal(img_index_readdir(ix, s.dir, each, &s), 0);
		assert_int_equal(s.n, 13);
	}
	ix = img_index_close(ix);
	free(buf);
	img_tree_free(t);
}

static void deterministic(void **state)
{
	struct img_tree *t = sample(), *u = sample();
	char *a, *b;
	size_t an, bn;

	index_of(t, &a, &an);
	index_of(u, &b, &bn);
	assert_int_equal(an, bn);
	assert_memory_equal(a, b, an);
	free(b);
	index_of(t, &b, &bn); /* and a tree can be written twice */
	assert_int_equal(an, bn);
	assert_memory_equal(a, b, an);
	free(a);
	free(b);
	img_tree_free(t);
	img_tree_free(u);
}

static void outside_packs(void **state)
{
	static const struct {
		uint32_t id;
		uint64_t off, size;
	} rows[] = {{7, 0, 5000}, {0x2a, 999 * 4096, 4097}, {0x2a, 100, 2000}};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct msb_err e = {0};
		struct img_inode *i;
		struct img_tree *t;
		FILE *f = fopen("/dev/null", "we");

		assert_int_equal(img_tree_new(10, &t), 0);
		i = add(t, img_tree_root(t), "f", S_IFREG | 0644);
		i->pack_id = rows[k].id;
		i->pack_off = rows[k].off;
		i->size = rows[k].size;
		assert_int_equal(img_index_write(t, packs, 2, uuid, f, &e), -EINVAL);
		assert_int_equal(img_index_write(t, packs, IMG_MAX_PACKS + 1, uuid, f, &e), -E2BIG);
		fclose(f);
		img_tree_free(t);
	}
}

static void no_space(void **state)
{
	struct img_tree *t = sample();
	struct msb_err e = {0};
	FILE *f = fopen("/dev/full", "we");

	if (!f)
		skip();
	assert_int_equal(img_index_write(t, packs, 2, uuid, f, &e), -ENOSPC);
	fclose(f);
	img_tree_free(t);
}

/* Every byte of a small index flipped, and every length: never a crash (ASan), never an endless
 * loop. */
static int take_none(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	return 0;
}

static int visit(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	const struct img_index *ix = arg;
	struct img_extent x;
	struct img_attr a;
	const char *p;
	size_t pn;

	(void)img_index_getattr(ix, nid, &a);
	(void)img_index_extent(ix, nid, 5000, &x);
	(void)img_index_readlink(ix, nid, &p, &pn);
	(void)img_index_inline(ix, nid, &p, &pn);
	(void)img_index_readdir(ix, nid, take_none, NULL);
	return 0;
}

static void damaged(void **state)
{
	struct img_index *ix;
	struct img_inode *d;
	struct img_tree *t;
	char *buf, *copy;
	size_t n;

	assert_int_equal(img_tree_new(100, &t), 0);
	d = add(t, img_tree_root(t), "d", S_IFDIR | 0755);
	set_bytes(add(t, d, "f", S_IFREG | 0644), 20);
	set_bytes(add(t, d, "l", S_IFLNK | 0777), 20);
	d = add(t, d, "big", S_IFREG | 0644);
	d->pack_id = 1;
	d->size = 9999;
	assert_int_equal(img_inode_set_xattr(d, "user.a", 6, "b", 1), 0);
	index_of(t, &buf, &n);
	copy = malloc(n);
	assert_non_null(copy);
	for (size_t k = EROFS_SUPER_OFF; k < n; k++)
		for (int v = 0; v < 3; v++) {
			memcpy(copy, buf, n);
			copy[k] = (char)(v == 0 ? 0xff : v == 1 ? ~copy[k] : copy[k] + 1);
			if (img_index_from_bytes(copy, n, &ix, NULL) < 0)
				continue;
			(void)img_index_readdir(ix, img_index_root(ix), visit, ix);
			img_index_close(ix);
		}
	for (size_t k = 0; k < n; k += 7) {
		char *cut = malloc(k + 1);

		memcpy(cut, buf, k);
		if (img_index_from_bytes(cut, k, &ix, NULL) == 0) {
			(void)img_index_readdir(ix, img_index_root(ix), visit, ix);
			img_index_close(ix);
		}
		free(cut);
	}
	free(copy);
	free(buf);
	img_tree_free(t);
}

static void fsck(void **state)
{
	char path[] = "/tmp/test_index.XXXXXX", cmd[256];
	struct img_tree *t = sample();
	struct msb_err e = {0};
	int fd, rc;
	FILE *f;

	if (system("command -v fsck.erofs >/dev/null") != 0)
		skip();
	fd = mkstemp(path);
	assert_true(fd >= 0);
	f = fdopen(fd, "we");
	assert_int_equal(img_index_write(t, packs, 2, uuid, f, &e), 0);
	fclose(f);
	(void)snprintf(cmd, sizeof(cmd),
		"fsck.erofs --device=/dev/null --device=/dev/null %s >/dev/null", path);
	rc = system(cmd);
	unlink(path);
	assert_int_equal(rc, 0);
	img_tree_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(deterministic),
		cmocka_unit_test(outside_packs),
		cmocka_unit_test(no_space),
		cmocka_unit_test(damaged),
		cmocka_unit_test(fsck),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
