// SPDX-License-Identifier: Apache-2.0
// Patches of a root: what is put in, appended and removed; once, and whole whenever it is cut off.
#include "tests/unit/overlay_fixture.h"
#include "base/cleanup.h"
#include "fs/patch.h"

static struct fx fx;
static char patches[80];

static int setup(void **state)
{
	fx_init(&fx, true);
	(void)snprintf(patches, sizeof(patches), "%s/p", fx.dir);
	assert_int_equal(mkdir(patches, 0700), 0);
	return 0;
}

static int teardown(void **state)
{
	fx_done(&fx);
	return 0;
}

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s/%s", patches, path);
	for (char *p = full + strlen(patches) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
		*p = '/';
	}
	f = fopen(full, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	fclose(f);
}

static int apply(struct msb_err *e)
{
	_cleanup_close_ int dir = open(patches, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int changes = fx_open(fx.dir, "upper", O_RDONLY | O_DIRECTORY);

	assert_true(dir >= 0 && changes >= 0);
	return fs_patch(fx.b, dir, changes, e);
}

static void applied(void)
{
	struct msb_err e = {0};

	if (apply(&e) < 0)
		fail_msg("%s", e.msg);
}

static void refused(int code, const char *part)
{
	struct msb_err e = {0};

	assert_int_equal(apply(&e), -code);
	if (!strstr(e.msg, part))
		fail_msg("`%s` lacks `%s`", e.msg, part);
}

static void holds(const char *path, const char *text)
{
	char buf[4096] = "";
	int64_t n = fx_read(fx.b, path, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		fail_msg("%s: %s", path, strerror((int)-n));
	assert_string_equal(buf, text);
}

static uint32_t mode_of(const char *path)
{
	struct fsb_entry e;

	if (fx_walk(fx.b, path, &e) < 0)
		return 0;
	fx_forget(fx.b, e.node);
	return e.attr.mode;
}

static void files_directories_links(void **state)
{
	char path[128];

	put("new/deep/file", "new\n");
	put("a/b/f", "other\n"); /* in the place of the image's */
	put("c", "mine\n");	 /* one of two names: the other stays what it was */
	put("e", "no link\n");	 /* a link is replaced, not followed */
	(void)snprintf(path, sizeof(path), "%s/a/x", patches);
	assert_int_equal(symlink("../c", path), 0);
	(void)snprintf(path, sizeof(path), "%s/new/deep/file", patches);
	assert_int_equal(chmod(path, 04711), 0);
	(void)snprintf(path, sizeof(path), "%s/own", patches);
	assert_int_equal(mkdir(path, 0750), 0);
	(void)snprintf(path, sizeof(path), "%s/a/b/c", patches);
	assert_int_equal(mkdir(path, 0755), 0);
	applied();
	holds("new/deep/file", "new\n");
	assert_int_equal(mode_of("new/deep/file"), S_IFREG | 04711);
	holds("a/b/f", "other\n");
	holds("c", "mine\n");
	holds("d", FX_SMALL);
	holds("e", "no link\n");
	assert_int_equal(mode_of("a/x") & S_IFMT, S_IFLNK);
	assert_int_equal(mode_of("own"), S_IFDIR | 0750);
	assert_int_equal(mode_of("a/b/c"), S_IFDIR | 0700); /* it was there */
	/* Once: what a guest did since stays. */
	assert_int_equal(fx_rm(fx.b, "c", false), 0);
	assert_int_equal(fx_write(fx.b, "e", "NO", 2, 0, 0), 2);
	fx_restart(&fx);
	applied();
	assert_int_equal(mode_of("c"), 0);
	holds("e", "NO link\n");
	/* What is changed is done again, and nothing else. */
	put("e", "changed\n");
	applied();
	holds("e", "changed\n");
	assert_int_equal(mode_of("c"), 0);
}

static void appended_and_removed(void **state)
{
	put("append/c", "more\n");
	put("append/not/there", "first\n");
	put("remove", "/many\n\n/a/big\nnothing/here\ne\n/a/b/f");
	applied();
	holds("c", FX_SMALL "more\n");
	holds("d", FX_SMALL "more\n"); /* the same file */
	holds("not/there", "first\n");
	assert_int_equal(mode_of("many"), 0);
	assert_int_equal(mode_of("a/big"), 0);
	assert_int_equal(mode_of("e"), 0);
	assert_int_equal(mode_of("a/b/f"), 0);
	fx_restart(&fx);
	applied();
	holds("c", FX_SMALL "more\n");
	/* Another text comes behind it; one that is taken out and comes back is new. */
	put("append/c", "still more\n");
	applied();
	holds("c", FX_SMALL "more\nstill more\n");
	put("append/c", "more\n");
	applied();
	holds("c", FX_SMALL "more\nstill more\nmore\n");
	/* A file that is put in anew is appended to anew. */
	put("c", "base\n");
	applied();
	holds("c", "base\nmore\n");
}

/* `append` that is a file, and `remove` that is a directory, are as they are called. */
static void called_so(void **state)
{
	put("append", "text\n");
	put("remove/x", "x\n");
	applied();
	holds("append", "text\n");
	holds("remove/x", "x\n");
}

static void links_lead_nowhere_else(void **state)
{
	assert_int_equal(fx_mk(fx.b, "lib", S_IFLNK | 0777, "a/b"), 0);
	assert_int_equal(fx_mk(fx.b, "up", S_IFLNK | 0777, "../../../../a"), 0);
	assert_int_equal(fx_mk(fx.b, "abs", S_IFLNK | 0777, "/f"), 0);
	assert_int_equal(fx_mk(fx.b, "loop", S_IFLNK | 0777, "loop"), 0);
	assert_int_equal(fx_mk(fx.b, "log", S_IFLNK | 0777, "/a/b/f"), 0);
	put("lib/one", "1");
	put("up/two", "2");
	put("abs/three", "3");
	put("append/log", "line\n");
	applied();
	holds("a/b/one", "1");
	holds("a/two", "2");
	holds("f/three", "3");
	holds("a/b/f", "in b\nline\n");
	assert_int_equal(mode_of("lib") & S_IFMT, S_IFLNK);
	put("loop/x", "x");
	refused(ELOOP, "/loop");
}

static void refusals(void **state)
{
	char path[512];
	int n;

	put("a/b", "a file where a directory is");
	refused(EISDIR, "/a/b: there is a directory");
	put("remove", "a/b\n");
	applied();
	holds("a/b", "a file where a directory is");
	put("c/x", "below a file");
	refused(ENOTDIR, "/c");
	assert_int_equal(msb_rm_rf(AT_FDCWD, patches), 0);
	assert_int_equal(mkdir(patches, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/append", patches);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/append/l", patches);
	assert_int_equal(symlink("x", path), 0);
	refused(EINVAL, "append/ holds files alone");
	assert_int_equal(msb_rm_rf(AT_FDCWD, patches), 0);
	assert_int_equal(mkdir(patches, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/pipe", patches);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(EINVAL, "no file, directory or link");
	assert_int_equal(unlink(path), 0);
	n = snprintf(path, sizeof(path), "%s", patches);
	for (int i = 0; i <= FS_PATCH_MAX_DEPTH; i++) {
		n += snprintf(path + n, sizeof(path) - (size_t)n, "/d");
		assert_int_equal(mkdir(path, 0700), 0);
	}
	refused(ELOOP, "cannot be read");
}

static void bounds(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (int i = 0; i < FS_PATCH_MAX; i++)
		msb_str_addf(&s, "none/%d\n", i);
	put("remove", s.buf);
	applied();
	msb_str_adds(&s, "one more\n");
	put("remove", s.buf);
	refused(E2BIG, "more than");
}

/* ---- cut off: the n-th change fails, half done where it is a write; then the server comes again
 */

static const struct fsb_ops *real;
static int left;

static int64_t cut_writev(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t flags)
{
	struct iovec half = {iov->iov_base, iov->iov_len / 2};

	if (left-- > 0)
		return real->writev(b, req, node, fh, iov, n, off, flags);
	(void)real->writev(b, req, node, fh, &half, 1, off, flags);
	return -EIO;
}

static int cut_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	return left-- > 0 ? real->mknod(b, req, parent, name, mode, rdev, ret) : -EIO;
}

static int cut_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	return left-- > 0 ? real->mkdir(b, req, parent, name, mode, ret) : -EIO;
}

static int cut_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return left-- > 0 ? real->unlink(b, req, parent, name) : -EIO;
}

static int cut_syncfs(struct fsb *b, uint64_t node)
{
	return left-- > 0 ? real->syncfs(b, node) : -EIO;
}

static void cut_off(void **state)
{
	struct fsb_ops ops;
	struct msb_err e;
	int n, r = -1;

	for (n = 0; r < 0; n++) {
		if (n) {
			fx_done(&fx);
			(void)setup(NULL);
		}
		put("put/file", "contents\n");
		put("c", "base\n");
		put("append/c", "one\n");
		put("append/a/b/f", "two\n");
		put("append/new", "three\n");
		put("remove", "a/big\ne\n");
		real = fx.b->ops;
		ops = *real;
		ops.writev = cut_writev;
		ops.mknod = cut_mknod;
		ops.mkdir = cut_mkdir;
		ops.unlink = cut_unlink;
		ops.syncfs = cut_syncfs;
		fx.b->ops = &ops;
		left = n;
		e = (struct msb_err){0};
		r = apply(&e);
		fx.b->ops = real;
		if (r < 0)
			assert_int_equal(r, -EIO);
		fx_restart(&fx);
		applied();
		holds("put/file", "contents\n");
		holds("c", "base\none\n");
		holds("a/b/f", "in b\ntwo\n");
		holds("new", "three\n");
		assert_int_equal(mode_of("a/big"), 0);
		assert_int_equal(mode_of("e"), 0);
	}
	assert_true(n > 10);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(files_directories_links),
		T(appended_and_removed),
		T(called_so),
		T(links_lead_nowhere_else),
		T(refusals),
		T(bounds),
		T(cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
