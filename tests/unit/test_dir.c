// SPDX-License-Identifier: Apache-2.0
// A directory of the host as a tree: walked, listed, served below an overlay, changed underneath.
#include "fs/image/dir.h"
#include "fs/image/files.h"
#include "fs/image/image.h"
#include "fs/image/index.h"
#include "fs/image/open.h"
#include "fs/reopen.h"
#include "tests/unit/beside.h"
#include "tests/unit/overlay_fixture.h"

#include <utime.h>
#include <xxhash.h>

#define BIG 300000

struct dx {
	struct fx fx;
	char src[80];
	int dir;
};

static void put(const char *dir, const char *name, const void *p, size_t n)
{
	int fd = fx_open(dir, name, O_WRONLY | O_CREAT | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(msb_write_full(fd, p, n), 0);
	close(fd);
}

static void make(struct dx *d)
{
	char path[160], to[160];
	static char big[BIG];

	for (size_t k = 0; k < sizeof(big); k++)
		big[k] = fx_byte(k);
	(void)snprintf(path, sizeof(path), "%s/etc", d->src);
	assert_int_equal(mkdir(path, 0750), 0);
	(void)snprintf(path, sizeof(path), "%s/etc/deep", d->src);
	assert_int_equal(mkdir(path, 01777), 0);
	assert_int_equal(chmod(path, 01777), 0);
	put(d->src, "etc/hello", "hello\n", 6);
	put(d->src, "etc/none", "", 0);
	put(d->src, "big", big, sizeof(big));
	(void)snprintf(path, sizeof(path), "%s/big", d->src);
	assert_int_equal(chmod(path, 04755), 0);
	(void)setxattr(path, "user.one", "1", 1, 0);
	(void)setxattr(path, "user.msb.meta", "x", 1, 0);
	(void)snprintf(to, sizeof(to), "%s/etc/deep/again", d->src);
	assert_int_equal(link(path, to), 0);
	(void)snprintf(path, sizeof(path), "%s/link", d->src);
	assert_int_equal(symlink("../../etc/passwd", path), 0);
	(void)snprintf(path, sizeof(path), "%s/pipe", d->src);
	assert_int_equal(mkfifo(path, 0600), 0);
}

static int walk(struct dx *d, uint64_t max, struct msb_err *e)
{
	const struct img_dir_opts o = {
		.root_uid = geteuid(), .root_gid = getegid(), .max_inodes = max};
	char path[128];
	uint64_t n = 0;
	FILE *index, *files;
	int r;

	(void)snprintf(path, sizeof(path), "%s/index", d->fx.dir);
	index = fopen(path, "we");
	(void)snprintf(path, sizeof(path), "%s/files", d->fx.dir);
	files = fopen(path, "we");
	assert_true(index && files);
	r = img_dir_walk(d->dir, &o, index, files, &n, e);
	fclose(index);
	fclose(files);
	return r;
}

static void serve(struct dx *d)
{
	const struct fsb_overlay_opts o = {.index_fd = fx_open(d->fx.dir, "index", O_RDONLY),
		.files_fd = fx_open(d->fx.dir, "files", O_RDONLY),
		.packs_fd = -1,
		.dir_fd = fcntl(d->dir, F_DUPFD_CLOEXEC, 0),
		.upper_fd = fx_open(d->fx.dir, "upper", O_RDONLY | O_DIRECTORY)};
	struct msb_err e = {0};

	if (fsb_overlay_start(&o, &d->fx.b, &e) < 0)
		fail_msg("%s", e.msg);
}

static int setup(void **state)
{
	struct dx *d = calloc(1, sizeof(*d));
	char path[128];

	assert_non_null(d);
	assert_int_equal(fs_reopen_init(), 0);
	fx_tmp(d->fx.dir);
	(void)snprintf(path, sizeof(path), "%s/upper", d->fx.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(d->src, sizeof(d->src), "%s/src", d->fx.dir);
	assert_int_equal(mkdir(d->src, 0755), 0);
	d->dir = open(d->src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(d->dir >= 0);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dx *d = *state;

	assert_int_equal(chdir("/"), 0);
	close(d->dir);
	fx_done(&d->fx);
	free(d);
	return 0;
}

static void up(struct dx *d)
{
	struct msb_err e = {0};

	make(d);
	if (walk(d, 1000, &e) < 0)
		fail_msg("%s", e.msg);
	serve(d);
}

static void test_tree(void **state)
{
	struct dx *d = *state;
	struct fsb_entry a, b;
	char buf[64];
	int64_t n;

	up(d);
	assert_int_equal(fx_walk(d->fx.b, "etc/deep", &a), 0);
	assert_int_equal(a.attr.mode, S_IFDIR | 01777);
	assert_int_equal(a.attr.uid, 0); /* the walker's own files are root's */
	fx_forget(d->fx.b, a.node);
	assert_int_equal(fx_walk(d->fx.b, "big", &a), 0);
	assert_int_equal(fx_walk(d->fx.b, "etc/deep/again", &b), 0);
	assert_int_equal(a.node, b.node);
	assert_int_equal(a.attr.nlink, 2);
	assert_int_equal(a.attr.size, BIG);
	assert_int_equal(a.attr.mode, S_IFREG | 04755);
	n = d->fx.b->ops->getxattr(d->fx.b, a.node, "user.one", buf, sizeof(buf));
	if (n != -ENODATA) { /* a host's file system without attributes of users */
		assert_int_equal(n, 1);
		assert_int_equal(buf[0], '1');
	}
	/* What our shares keep beside a file is not the file's. */
	assert_int_equal(d->fx.b->ops->getxattr(d->fx.b, a.node, "user.msb.meta", buf, sizeof(buf)),
		-ENODATA);
	fx_forget(d->fx.b, a.node);
	fx_forget(d->fx.b, b.node);
	assert_int_equal(fx_walk(d->fx.b, "link", &a), 0);
	n = d->fx.b->ops->readlink(d->fx.b, a.node, buf, sizeof(buf));
	assert_int_equal(n, 16);
	assert_memory_equal(buf, "../../etc/passwd", 16);
	fx_forget(d->fx.b, a.node);
	assert_int_equal(fx_walk(d->fx.b, "pipe", &a), 0);
	assert_int_equal(a.attr.mode & S_IFMT, S_IFIFO);
	fx_forget(d->fx.b, a.node);
	assert_int_equal(fx_walk(d->fx.b, "etc/none", &a), 0);
	assert_int_equal(a.attr.size, 0);
	fx_forget(d->fx.b, a.node);
}

static void test_contents(void **state)
{
	struct dx *d = *state;
	static char buf[BIG];

	up(d);
	assert_int_equal(fx_read(d->fx.b, "etc/hello", buf, sizeof(buf), 0), 6);
	assert_memory_equal(buf, "hello\n", 6);
	assert_int_equal(fx_read(d->fx.b, "big", buf, sizeof(buf), 100001), BIG - 100001);
	for (size_t k = 0; k < BIG - 100001; k++)
		if (buf[k] != fx_byte(k + 100001))
			fail_msg("byte %zu", k);
	assert_int_equal(fx_read(d->fx.b, "etc/none", buf, sizeof(buf), 0), 0);
}

/* A change goes to the sandbox's own copy, under every name, and never to the directory. */
static void test_copy_up(void **state)
{
	struct dx *d = *state;
	char buf[8], path[128];
	struct stat st;
	int fd;

	up(d);
	assert_int_equal(fx_write(d->fx.b, "big", "XY", 2, 5, 0), 2);
	assert_int_equal(fx_read(d->fx.b, "etc/deep/again", buf, 8, 3), 8);
	assert_memory_equal(buf + 2, "XY", 2);
	assert_int_equal(buf[1], fx_byte(4));
	assert_int_equal(fx_rm(d->fx.b, "etc/hello", false), 0);
	assert_int_equal(fx_rename(d->fx.b, "etc", "usr", 0), 0);
	fx_stop(&d->fx);
	serve(d);
	assert_int_equal(fx_read(d->fx.b, "usr/deep/again", buf, 8, 3), 8);
	assert_memory_equal(buf + 2, "XY", 2);
	assert_int_equal(fx_read(d->fx.b, "usr/hello", buf, 8, 0), -ENOENT);
	(void)snprintf(path, sizeof(path), "%s/etc/hello", d->src);
	assert_int_equal(stat(path, &st), 0);
	fd = fx_open(d->src, "big", O_RDONLY);
	assert_int_equal(pread(fd, buf, 2, 5), 2);
	close(fd);
	assert_int_equal(buf[0], fx_byte(5));
}

/* Writes @name so that its time differs for certain. */
static void change(struct dx *d, const char *name)
{
	const struct timespec later[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	int fd = fx_open(d->src, name, O_WRONLY);

	assert_int_equal(pwrite(fd, "J", 1, 0), 1);
	assert_int_equal(futimens(fd, later), 0);
	close(fd);
}

static void test_changed_underneath(void **state)
{
	struct dx *d = *state;
	char path[160], to[160], buf[8];

	up(d);
	/* In place, while it is open. */
	assert_int_equal(fx_read(d->fx.b, "etc/hello", buf, 8, 0), 6);
	change(d, "etc/hello");
	assert_int_equal(fx_read(d->fx.b, "etc/hello", buf, 8, 0), -ESTALE);
	assert_int_equal(fx_write(d->fx.b, "etc/hello", "x", 1, 0, 0), -ESTALE);
	/* It can be replaced, and is the sandbox's own then. */
	assert_int_equal(fx_rm(d->fx.b, "etc/hello", false), 0);
	assert_int_equal(fx_mk(d->fx.b, "etc/hello", S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_write(d->fx.b, "etc/hello", "mine", 4, 0, 0), 4);
	assert_int_equal(fx_read(d->fx.b, "etc/hello", buf, 8, 0), 4);
	/* Another file of its name, of the same size and time. */
	(void)snprintf(path, sizeof(path), "%s/big", d->src);
	(void)snprintf(to, sizeof(to), "%s/old", d->src);
	assert_int_equal(rename(path, to), 0);
	assert_int_equal(fx_read(d->fx.b, "big", buf, 8, 0), -ESTALE);
	/* A link that leads to it, and a pipe, which would block whoever opens it. */
	assert_int_equal(symlink("old", path), 0);
	assert_int_equal(fx_read(d->fx.b, "big", buf, 8, 0), -ESTALE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(fx_read(d->fx.b, "big", buf, 8, 0), -ESTALE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(to, path), 0);
	assert_int_equal(fx_read(d->fx.b, "big", buf, 8, 0), 8);
	/* A directory on the way that leads elsewhere. */
	(void)snprintf(path, sizeof(path), "%s/etc", d->src);
	(void)snprintf(to, sizeof(to), "%s/usr", d->src);
	put(d->src, "etc/later", "not walked", 10);
	assert_int_equal(rename(path, to), 0);
	assert_int_equal(symlink(d->src, path), 0);
	assert_int_equal(fx_read(d->fx.b, "etc/later", buf, 8, 0), -ENOENT);
}

/* Names and attributes are those of the walk. */
static void test_tree_is_kept(void **state)
{
	struct dx *d = *state;
	struct fsb_entry a;
	char path[160];

	up(d);
	put(d->src, "new", "new", 3);
	assert_int_equal(fx_walk(d->fx.b, "new", &a), -ENOENT);
	(void)snprintf(path, sizeof(path), "%s/etc/none", d->src);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fx_walk(d->fx.b, "etc/none", &a), 0);
	fx_forget(d->fx.b, a.node);
}

static void test_denied(void **state)
{
	struct dx *d = *state;
	char path[160], buf[8];
	int fd;
	struct {
		struct img_files_head h;
		struct img_file f;
	} list;

	if (geteuid() != 0) {
		make(d);
		(void)snprintf(path, sizeof(path), "%s/etc/hello", d->src);
		assert_int_equal(chmod(path, 0), 0);
		(void)snprintf(path, sizeof(path), "%s/etc/deep", d->src);
		assert_int_equal(chmod(path, 0), 0);
		assert_int_equal(walk(d, 1000, NULL), 0);
		assert_int_equal(chmod(path, 0700), 0);
		serve(d);
		assert_int_equal(fx_read(d->fx.b, "etc/deep/again", buf, 8, 0), -ENOENT);
	} else { /* whom nothing is denied: said by hand */
		put(d->src, "etc", "hello\n", 6);
		assert_int_equal(walk(d, 1000, NULL), 0);
		fd = fx_open(d->fx.dir, "files", O_RDWR);
		assert_int_equal(pread(fd, &list, sizeof(list), 0), sizeof(list));
		list.f.flags = IMG_FILE_DENIED;
		list.h.sum = XXH3_64bits_withSeed(&list.f, sizeof(list.f), 1);
		assert_int_equal(pwrite(fd, &list, sizeof(list), 0), sizeof(list));
		/* The sum covers the path too. */
		char tail[4];
		XXH3_state_t *x = XXH3_createState();

		assert_int_equal(pread(fd, tail, 4, sizeof(list)), 4);
		XXH3_64bits_reset_withSeed(x, 1);
		XXH3_64bits_update(x, &list.f, sizeof(list.f));
		XXH3_64bits_update(x, tail, 4);
		list.h.sum = XXH3_64bits_digest(x);
		XXH3_freeState(x);
		assert_int_equal(pwrite(fd, &list, sizeof(list), 0), sizeof(list));
		close(fd);
		serve(d);
		assert_int_equal(fx_read(d->fx.b, "etc", buf, 8, 0), -EACCES);
		return;
	}
	assert_int_equal(fx_read(d->fx.b, "etc/hello", buf, 8, 0), -EACCES);
}

/* A path that leads through /proc/self means nothing of msbd's to somebody else. */
static void test_open_as(void **state)
{
	struct dx *d = *state;
	struct img_open o = {.log_fd = -1, .uid = 54321, .gid = 54321};
	struct stat st, root;
	char bin[4096];
	int fd = -1;

	if (geteuid() != 0 || bin_beside("msb-open", bin, sizeof(bin)) < 0)
		skip();
	o.bin_dir = bin;
	assert_int_equal(fchmod(d->dir, 0755), 0);
	assert_int_equal(chdir(d->src), 0);
	assert_int_equal(img_open_dir(&o, "/proc/self/cwd", -1, -1, &fd, NULL), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(stat("/", &root), 0);
	assert_true(st.st_dev == root.st_dev && st.st_ino == root.st_ino);
	close(fd);
}

static void test_limits(void **state)
{
	struct dx *d = *state;
	struct msb_err e = {0};
	int at = dup(d->dir);

	make(d);
	assert_int_equal(walk(d, 4, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "more files"));
	for (int k = 0; k <= IMG_MAX_DEPTH; k++) {
		int next;

		assert_int_equal(mkdirat(at, "d", 0700), 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	e = (struct msb_err){0};
	assert_int_equal(walk(d, 10000, &e), -ELOOP);
	assert_non_null(strstr(e.msg, "too deep"));
}

static void test_long_path(void **state)
{
	struct dx *d = *state;
	struct msb_err e = {0};
	int at = dup(d->dir), fd;
	char name[251];

	memset(name, 'n', 250);
	name[250] = '\0';
	for (int k = 0; k < 17; k++) {
		int next;

		assert_int_equal(mkdirat(at, name, 0700), 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	fd = openat(at, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(msb_write_full(fd, "x", 1), 0);
	close(fd);
	close(at);
	assert_int_equal(walk(d, 1000, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "4095"));
}

/* ---- the list's own reader */

struct list {
	struct img_files_head h;
	struct img_file f[2];
	char paths[8];
};

static void fresh(struct list *l)
{
	*l = (struct list){.h = {.magic = IMG_FILES_MAGIC, .count = 2, .path_bytes = 8},
		.f = {{.path_n = 1, .path_off = 0}, {.path_n = 3, .path_off = 2}},
		.paths = "a\0b/c\0z"};
}

static int get(struct list *l, size_t n, uint64_t k)
{
	struct img_files *f;
	const struct img_file *file;
	const char *path;
	int r;

	if (n > sizeof(l->h))
		l->h.sum = XXH3_64bits_withSeed(&l->f, n - sizeof(l->h), l->h.count);
	r = img_files_from_bytes(l, n, &f, NULL);
	if (r < 0)
		return r;
	r = img_files_get(f, k, &file, &path);
	if (r == 0)
		assert_int_equal(strlen(path), file->path_n);
	img_files_close(f);
	return r;
}

static void test_list(void **state)
{
	struct img_files *f;
	struct list l;

	fresh(&l);
	assert_int_equal(get(&l, sizeof(l), 0), 0);
	assert_int_equal(get(&l, sizeof(l), 1), 0);
	assert_int_equal(get(&l, sizeof(l), 2), -EBADMSG);
	assert_int_equal(get(&l, sizeof(l) - 1, 0), -EBADMSG);
	assert_int_equal(get(&l, sizeof(l.h) - 1, 0), -EBADMSG);
	assert_int_equal(get(&l, 0, 0), -EBADMSG);
	l.paths[0] = 'A'; /* without its sum */
	l.h.sum = 1;
	assert_int_equal(img_files_from_bytes(&l, sizeof(l), &f, NULL), -EBADMSG);
	struct {
		const char *what;
		uint64_t count, path_bytes;
		struct img_file f;
		char first;
	} const bad[] = {
		{"a count past the end", 3, 8, {.path_n = 1}, 'a'},
		{"a count that overflows", UINT64_MAX / sizeof(l.f[0]) + 2, 8, {.path_n = 1}, 'a'},
		{"paths past the end", 2, 9, {.path_n = 1}, 'a'},
		{"no path", 2, 8, {.path_n = 0}, 'a'},
		{"a path that is not ended", 2, 8, {.path_n = 2, .path_off = 2}, 'a'},
		{"a NUL in it", 2, 8, {.path_n = 5, .path_off = 0}, 'a'},
		{"one that ends at the end", 2, 8, {.path_n = 2, .path_off = 6}, 'a'},
		{"one that begins there", 2, 8, {.path_n = 1, .path_off = 8}, 'a'},
		{"an offset that overflows", 2, 8, {.path_n = 2, .path_off = UINT64_MAX}, 'a'},
		{"an absolute one", 2, 8, {.path_n = 1, .path_off = 0}, '/'},
		{"one too long", 2, 8, {.path_n = 4096, .path_off = 0}, 'a'},
	};

	for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
		fresh(&l);
		l.h.count = bad[k].count;
		l.h.path_bytes = bad[k].path_bytes;
		l.f[0] = bad[k].f;
		l.paths[0] = bad[k].first;
		if (get(&l, sizeof(l), 0) != -EBADMSG)
			fail_msg("%s", bad[k].what);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_underneath, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tree_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_denied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_as, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
