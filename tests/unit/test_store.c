// SPDX-License-Identifier: Apache-2.0
// fs/image/store: same bytes once, and only the same; images appear whole; what is left over goes.
#include "fs/image/index.h"
#include "fs/image/store.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char dir[32];
static int dir_fd;

static int setup(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test_store.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0;
}

static int teardown(void **state)
{
	close(dir_fd);
	return msb_rm_rf(AT_FDCWD, dir);
}

static struct img_store *open_store(void)
{
	struct msb_err e = {0};
	struct img_store *s;

	assert_int_equal(img_store_open(dir_fd, &s, &e), 0);
	return s;
}

struct where {
	uint32_t pack;
	uint64_t off;
};

static struct where keep(struct img_store *s, const void *p, size_t n, size_t step)
{
	struct msb_err e = {0};
	struct where w = {0};

	img_store_begin(s);
	for (size_t off = 0; off < n; off += step)
		assert_int_equal(img_store_data(s, (const char *)p + off,
					 n - off < step ? n - off : step, &e),
			0);
	assert_int_equal(img_store_end(s, &w.pack, &w.off, &e), 0);
	assert_int_equal(w.off % 4096, 0);
	return w;
}

static char *bytes(size_t n, unsigned int seed)
{
	char *p = malloc(n);

	assert_non_null(p);
	for (size_t k = 0; k < n; k++) {
		seed = seed * 1103515245 + 12345;
		p[k] = (char)(seed >> 16);
	}
	return p;
}

static struct img_tree *tree_of(const struct where *w, const size_t *sizes, size_t n)
{
	struct img_inode *i;
	struct img_tree *t;

	assert_int_equal(img_tree_new(100, &t), 0);
	for (size_t k = 0; k < n; k++) {
		char name = (char)('a' + k);

		assert_int_equal(img_tree_new_inode(t, S_IFREG | 0644, &i), 0);
		i->pack_id = w[k].pack;
		i->pack_off = w[k].off;
		i->size = sizes[k];
		assert_int_equal(img_tree_add(t, img_tree_root(t), &name, 1, i, 1, NULL), 0);
	}
	return t;
}

static void publish(struct img_store *s, const char *digest, const struct where *w,
	const size_t *sizes, size_t n)
{
	static const struct img_store_file meta = {"meta", "size_bytes 77\nx\n", 16};
	struct img_tree *t = tree_of(w, sizes, n);
	struct msb_err e = {0};

	assert_int_equal(img_store_publish(s, digest, t, &meta, 1, &e), 0);
	img_tree_free(t);
}

static bool there(const char *path)
{
	return faccessat(dir_fd, path, F_OK, 0) == 0;
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir_fd, path, &st, 0), 0);
	return (uint64_t)st.st_blocks;
}

/* The file @name of an image, read through its index, is @p. */
static void check_file(const char *digest, const char *name, const char *p, size_t n)
{
	_cleanup_free_ char *got = malloc(n);
	struct msb_err e = {0};
	struct img_index *ix;
	struct img_extent x;
	char path[128];
	uint64_t nid;
	int fd;

	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	close(fd);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), name, 1, &nid), 0);
	assert_int_equal(img_index_extent(ix, nid, 0, &x), 0);
	assert_int_equal(x.len, n);
	(void)snprintf(path, sizeof(path), "packs/%08x", x.pack_id);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(msb_pread_full(fd, got, n, x.pack_off), n);
	assert_memory_equal(got, p, n);
	close(fd);
	img_index_close(ix);
}

static void same_bytes_once(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 100000, IMG_STORE_BUFFER - 1,
		IMG_STORE_BUFFER, IMG_STORE_BUFFER + 1, 3 * IMG_STORE_BUFFER + 5000};
	struct img_store *s = open_store();
	struct where w[ARRAY_LEN(sizes)];
	uint64_t end = 0;

	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);

		w[k] = keep(s, p, sizes[k], 70000);
		assert_int_equal(w[k].off, end);
		end += (sizes[k] + 4095) / 4096 * 4096;
		for (size_t j = 0; j <= k; j++) { /* each again, cut otherwise */
			struct where again = keep(s, p, sizes[j], 4001);

			assert_int_equal(again.pack, w[j].pack);
			assert_int_equal(again.off, w[j].off);
		}
	}
	publish(s, DIGEST_A, w, sizes, ARRAY_LEN(sizes));
	img_store_close(s);
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);
		char name = (char)('a' + k);

		check_file(DIGEST_A, &name, p, sizes[k]);
	}
	/* And by another import; its own pack then holds nothing and goes. */
	s = open_store();
	assert_true(img_store_has(s, DIGEST_A));
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_free_ char *p = bytes(sizes[k], 1);
		struct where again = keep(s, p, sizes[k], 70000);

		assert_int_equal(again.pack, w[k].pack);
		assert_int_equal(again.off, w[k].off);
	}
	publish(s, DIGEST_B, w, sizes, 2);
	img_store_close(s);
	assert_true(there("packs/00000001"));
	assert_false(there("packs/00000002"));
	assert_false(there("packs/00000002.objects"));
}

/* A hash is a hint: what it leads to is compared, so that no image gets another one's bytes. */
static void hash_is_not_trusted(void **state)
{
	_cleanup_free_ char *p = bytes(10000, 7);
	struct img_store *s = open_store();
	struct where w = keep(s, p, 10000, 10000), again;
	size_t n = 10000;
	int fd;

	publish(s, DIGEST_A, &w, &n, 1);
	img_store_close(s);
	fd = openat(dir_fd, "packs/00000001", O_WRONLY | O_CLOEXEC);
	assert_int_equal(
		msb_pwrite_full(fd, "X", 1, 9999), 0); /* same hash in the list, other bytes */
	close(fd);
	s = open_store();
	again = keep(s, p, 10000, 10000);
	assert_int_equal(again.pack, 2);
	publish(s, DIGEST_B, &again, &n, 1);
	img_store_close(s);
	check_file(DIGEST_B, "a", p, n);
	fd = openat(dir_fd, "packs/00000001", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 100), 0); /* and one that is not even there */
	close(fd);
	s = open_store();
	again = keep(s, p, 10000, 10000);
	assert_int_equal(again.pack, 2);
	img_store_close(s);
}

static void leftovers(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store();
	struct where w = keep(s, p, 5000, 5000);
	size_t n = 5000;

	publish(s, DIGEST_A, &w, &n, 1);
	img_store_close(s);
	s = open_store();
	p[0]++;
	w = keep(s, p, 5000, 5000);
	assert_true(there("packs/00000002"));
	img_store_close(s); /* not published */
	assert_false(there("packs/00000002"));

	/* What a kill leaves: packs with and without a list, half an image. */
	for (const char **f = (const char *[]){"packs/00000007", "packs/00000008",
		     "packs/00000008.objects", "packs/junk", "packs/00000001.tmp", NULL};
		*f; f++)
		close(openat(dir_fd, *f, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(mkdirat(dir_fd, "tmp/" DIGEST_B, 0700), 0);
	close(openat(dir_fd, "tmp/" DIGEST_B "/index", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	s = open_store();
	assert_false(img_store_has(s, DIGEST_B));
	img_store_close(s);
	assert_true(there("packs/00000001"));
	assert_true(there("packs/00000001.objects"));
	assert_false(there("packs/00000007"));
	assert_false(there("packs/00000008.objects"));
	assert_false(there("packs/junk"));
	assert_false(there("packs/00000001.tmp"));
	assert_false(there("tmp/" DIGEST_B));
}

static void size_of_image(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store();
	struct where w = keep(s, p, 5000, 5000);
	struct msb_err e = {0};
	size_t n = 5000;
	uint64_t size;

	publish(s, DIGEST_A, &w, &n, 1);
	assert_int_equal(img_store_size(s, DIGEST_A, &size, &e), 0);
	assert_int_equal(size, 77);
	assert_int_equal(img_store_size(s, DIGEST_B, &size, &e), -ENOENT);
	img_store_close(s);
}

static void gc(void **state)
{
	static const char *const keep_b[] = {DIGEST_B};
	static const size_t sizes[] = {1000000, 2000000};
	_cleanup_free_ char *only_a = bytes(sizes[0], 1), *both = bytes(sizes[1], 2);
	struct img_store *s = open_store();
	struct msb_err e = {0};
	struct where w[2], again;
	uint64_t before;

	w[0] = keep(s, only_a, sizes[0], 65536);
	w[1] = keep(s, both, sizes[1], 65536);
	publish(s, DIGEST_A, w, sizes, 2);
	publish(s, DIGEST_B, w + 1, sizes + 1, 1);
	img_store_close(s);
	before = blocks_of("packs/00000001");
	s = open_store();
	assert_int_equal(img_store_gc(s, (const char *[]){DIGEST_A, DIGEST_B}, 2, &e), 0);
	assert_int_equal(blocks_of("packs/00000001"), before);
	assert_int_equal(img_store_gc(s, keep_b, 1, &e), 0);
	img_store_close(s);
	assert_false(there("images/" DIGEST_A));
	check_file(DIGEST_B, "a", both, sizes[1]);
	assert_true(blocks_of("packs/00000001") * 512 < sizes[1] + 100000); /* a hole now */
	/* What went is not used again; what stayed is. */
	s = open_store();
	again = keep(s, both, sizes[1], 65536);
	assert_int_equal(again.pack, 1);
	again = keep(s, only_a, sizes[0], 65536);
	assert_int_equal(again.pack, 2);
	assert_int_equal(img_store_gc(s, NULL, 0, &e), 0);
	img_store_close(s);
	assert_false(there("images/" DIGEST_B));
	assert_false(there("packs/00000001"));
	assert_false(there("packs/00000001.objects"));
}

/* A damaged image harms no other, and is never taken for garbage together with its packs. */
static void damaged_image(void **state)
{
	_cleanup_free_ char *p = bytes(5000, 3);
	struct img_store *s = open_store();
	struct where w = keep(s, p, 5000, 5000);
	struct msb_err e = {0};
	size_t n = 5000;
	int fd;

	publish(s, DIGEST_A, &w, &n, 1);
	img_store_close(s);
	fd = openat(dir_fd, "images/" DIGEST_A "/index", O_WRONLY | O_CLOEXEC);
	assert_int_equal(msb_pwrite_full(fd, "X", 1, 1024), 0);
	close(fd);
	s = open_store();
	assert_false(img_store_has(s, DIGEST_A));
	w = keep(s, p, 5000, 5000);
	assert_int_equal(w.pack, 2);
	publish(s, DIGEST_B, &w, &n, 1);
	assert_int_equal(img_store_gc(s, (const char *[]){DIGEST_A, DIGEST_B}, 2, &e), 0);
	assert_true(there("packs/00000001"));
	assert_true(there("images/" DIGEST_A));
	assert_int_equal(img_store_gc(s, (const char *[]){DIGEST_B}, 1, &e), 0);
	img_store_close(s);
	assert_false(there("packs/00000001"));
	check_file(DIGEST_B, "a", p, n);
	/* It can be imported again over what is left of it. */
	fd = openat(dir_fd, "images/" DIGEST_B "/index", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(msb_pwrite_full(fd, "X", 1, 1024), 0);
	close(fd);
	s = open_store();
	w = keep(s, p, 5000, 5000);
	publish(s, DIGEST_B, &w, &n, 1);
	img_store_close(s);
	check_file(DIGEST_B, "a", p, n);
	s = open_store();
	assert_true(img_store_has(s, DIGEST_B));
	img_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_bytes_once, setup, teardown),
		cmocka_unit_test_setup_teardown(hash_is_not_trusted, setup, teardown),
		cmocka_unit_test_setup_teardown(leftovers, setup, teardown),
		cmocka_unit_test_setup_teardown(size_of_image, setup, teardown),
		cmocka_unit_test_setup_teardown(gc, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_image, setup, teardown),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
