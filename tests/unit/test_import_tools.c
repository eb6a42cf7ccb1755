// SPDX-License-Identifier: Apache-2.0
// msb-image against what umoci and skopeo make: every name, attribute, link, attribute and byte is
// the same.
#include "fs/image/image.h"
#include "fs/image/index.h"
#include "tests/unit/beside.h"
#include "tests/unit/imgcall.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cmocka.h>

static char dir[] = "/tmp/test_tools.XXXXXX";
static char bin_dir[4096], script[4200];
static bool made;

static int setup(void **state)
{
	char cmd[4500];

	if (bin_beside("msb-image", bin_dir, sizeof(bin_dir)) < 0)
		return -1;
	(void)snprintf(script, sizeof(script), "%s/../../tests/unit/image_samples.sh", bin_dir);
	if (!mkdtemp(dir))
		return -1;
	if (system("command -v umoci skopeo setfattr >/dev/null") != 0)
		return 0;
	(void)snprintf(cmd, sizeof(cmd), "%s %s >%s/log 2>&1 || { cat %s/log >&2; exit 1; }",
		script, dir, dir, dir);
	made = system(cmd) == 0;
	return made ? 0 : -1;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

/* ---- comparing an index with a directory */

#define MAX_LINKS 1000

struct compare {
	const struct img_index *ix;
	int packs_fd, dirfd;
	const char *path;
	size_t entries;
	struct {
		uint64_t ino, nid;
	} links[MAX_LINKS];
	size_t nlinks;
};

static void same_bytes(struct compare *c, uint64_t nid, const char *name, uint64_t size)
{
	_cleanup_close_ int fd = openat(c->dirfd, name, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *want = malloc(size + 1), *got = malloc(size + 1);
	const char *p;
	size_t n;
	int r = img_index_inline(c->ix, nid, &p, &n);

	assert_int_equal(msb_pread_full(fd, want, size, 0), size);
	if (r == 0) {
		assert_int_equal(n, size);
		assert_memory_equal(p, want, size);
		return;
	}
	assert_int_equal(r, -ENODATA);
	for (uint64_t off = 0; off < size;) {
		struct img_extent x;
		char pack[16];

		assert_int_equal(img_index_extent(c->ix, nid, off, &x), 0);
		assert_true(x.len > 0 && x.pack_id != IMG_HOLE);
		(void)snprintf(pack, sizeof(pack), "%08x", x.pack_id);
		_cleanup_close_ int pack_fd = openat(c->packs_fd, pack, O_RDONLY | O_CLOEXEC);
		assert_int_equal(msb_pread_full(pack_fd, got + off, x.len, x.pack_off), x.len);
		off += x.len;
	}
	assert_memory_equal(got, want, size);
}

struct xattr {
	const char *path;
	size_t n;
};

static int one_xattr(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	struct xattr *x = arg;
	char buf[65536];

	/* Another user's files cannot be given these; the image has them all the same. */
	if (geteuid() != 0 && strncmp(name, "user.", 5) != 0)
		return 0;
	assert_int_equal(lgetxattr(x->path, name, buf, sizeof(buf)), value_n);
	assert_memory_equal(buf, value, value_n);
	x->n++;
	return 0;
}

static void same_xattrs(struct compare *c, uint64_t nid, const char *path)
{
	struct xattr x = {.path = path};
	char names[65536];
	ssize_t n = llistxattr(path, names, sizeof(names));
	size_t want = 0;

	assert_true(n >= 0);
	for (const char *p = names; p < names + n; p += strlen(p) + 1)
		want += strcmp(p, "security.selinux") != 0 &&
			strcmp(p, "user.rootlesscontainers") != 0;
	assert_int_equal(img_index_xattrs(c->ix, nid, one_xattr, &x), 0);
	assert_int_equal(x.n, want);
}

static void same_links(struct compare *c, uint64_t ino, uint64_t nid)
{
	for (size_t k = 0; k < c->nlinks; k++)
		assert_int_equal(c->links[k].ino == ino, c->links[k].nid == nid);
	assert_true(c->nlinks < MAX_LINKS);
	c->links[c->nlinks].ino = ino;
	c->links[c->nlinks++].nid = nid;
}

static int same_entry(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct compare *c = arg, sub = *c;
	char z[256] = {0}, path[8192], target[4096];
	struct img_attr a;
	struct stat st;
	const char *p;
	size_t pn;

	memcpy(z, name, n);
	(void)snprintf(path, sizeof(path), "%s/%s", c->path, z);
	if (fstatat(c->dirfd, z, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: only in the index", path);
	assert_int_equal(img_index_getattr(c->ix, nid, &a), 0);
	if (geteuid() != 0 && !S_ISREG(a.mode) && !S_ISDIR(a.mode) && !S_ISLNK(a.mode))
		return 0; /* umoci cannot make these for an ordinary user */
	if (a.mode != st.st_mode || a.mtime_sec != st.st_mtim.tv_sec ||
		a.mtime_nsec != st.st_mtim.tv_nsec)
		fail_msg("%s: mode %o %o, mtime %ld.%09u %ld.%09ld", path, a.mode, st.st_mode,
			(long)a.mtime_sec, a.mtime_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	assert_int_equal(a.mode >> 12, type);
	if (geteuid() == 0) {
		assert_int_equal(a.uid, st.st_uid);
		assert_int_equal(a.gid, st.st_gid);
	}
	same_xattrs(c, nid, path);
	c->entries++;
	if (S_ISDIR(a.mode)) {
		size_t want = 0;
		int fd = openat(c->dirfd, z, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_closedir_ DIR *d = fdopendir(fd);

		assert_non_null(d);
		while (readdir(d))
			want++;
		sub.path = path;
		sub.dirfd = fd;
		sub.entries = 0;
		assert_int_equal(img_index_readdir(c->ix, nid, same_entry, &sub), 0);
		if (geteuid() == 0 && sub.entries + 2 != want)
			fail_msg("%s: %zu entries, not %zu", path, sub.entries, want - 2);
		memcpy(c->links, sub.links, sizeof(c->links));
		c->nlinks = sub.nlinks;
		return 0;
	}
	assert_int_equal(a.nlink, st.st_nlink);
	same_links(c, st.st_ino, nid);
	if (S_ISLNK(a.mode)) {
		ssize_t len = readlinkat(c->dirfd, z, target, sizeof(target));

		assert_int_equal(img_index_readlink(c->ix, nid, &p, &pn), 0);
		assert_int_equal(len, pn);
		assert_memory_equal(target, p, pn);
	} else if (S_ISREG(a.mode)) {
		assert_int_equal(a.size, st.st_size);
		same_bytes(c, nid, z, a.size);
	} else {
		assert_int_equal(a.rdev, st.st_rdev);
	}
	return 0;
}

static void compare(int store_fd, const char *digest)
{
	_cleanup_close_ int packs = openat(store_fd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct compare *c = calloc(1, sizeof(*c));
	struct msb_err e = {0};
	struct img_index *ix;
	char path[128], parent[64];

	assert_non_null(c);
	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	fd = openat(store_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	(void)snprintf(parent, sizeof(parent), "%s/bundle", dir);
	c->ix = ix;
	c->packs_fd = packs;
	c->path = parent;
	c->dirfd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* The root directory is compared like any entry: it is called rootfs there. */
	(void)same_entry(c, "rootfs", 6, img_index_root(ix), DT_DIR);
	assert_true(c->nlinks > 200);
	close(c->dirfd);
	img_index_close(ix);
}

static int import_into(const char *store, const char *source, struct img_imported *got)
{
	_cleanup_close_ int fd = -1;
	struct msb_err e = {0};
	char s[64], path[128];
	int r;

	(void)snprintf(s, sizeof(s), "%s/%s", dir, store);
	(void)mkdir(s, 0700);
	fd = open(s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, source);
	r = import_path(CALL(bin_dir, fd, -1), path, got, &e);
	if (r < 0)
		print_error("%s\n", e.msg);
	else
		compare(fd, got->digest);
	return r;
}

static void formats(void **state)
{
	static const char *const sources[] = {
		"oci", "oci-zstd", "oci.tar", "oci-zstd.tar", "docker.tar"};
	struct img_imported got[ARRAY_LEN(sources)];

	if (!made)
		skip();
	for (size_t k = 0; k < ARRAY_LEN(sources); k++) {
		char fresh[16];

		(void)snprintf(fresh, sizeof(fresh), "store%zu", k);
		assert_int_equal(import_into(fresh, sources[k], &got[k]), 0);
		/* Into one store too, where every content is there already. */
		assert_int_equal(import_into("shared", sources[k], &got[k]), 0);
		assert_int_equal(got[k].size_bytes, got[0].size_bytes);
	}
	assert_string_equal(got[0].digest, got[2].digest);
	assert_string_equal(got[1].digest, got[3].digest);
	assert_string_not_equal(got[0].digest, got[1].digest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
	};

	return cmocka_run_group_tests_name("import_tools", tests, setup, teardown);
}
