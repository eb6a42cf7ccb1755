// SPDX-License-Identifier: Apache-2.0
// Disks out of a mixtape's blobs: whole with their holes, or not at all.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/disk.h"
#include "fs/image/image.h"
#include "fs/image/sha.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>
#include <cmocka.h>

#define DISK (8u << 20)

struct st {
	char dir[64];
	int fd;
	struct img_store *store;
	uint8_t *disk;
};

static int setup(void **state)
{
	struct st *s = calloc(1, sizeof(*s));
	struct msb_err e = {0};

	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/msb-disk-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (img_store_open(s->fd, &s->store, &e) < 0)
		fail_msg("%s", e.msg);
	s->disk = calloc(1, DISK);
	assert_non_null(s->disk);
	/* Something at both ends of a block, in the middle of nothing, and at the very end. */
	s->disk[0] = 1;
	memset(s->disk + (1u << 20) - 3, 7, 6);
	memset(s->disk + (3u << 20), 9, 100000);
	s->disk[DISK - 1] = 2;
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct st *s = *state;

	img_store_close(s->store);
	close(s->fd);
	assert_int_equal(msb_rm_rf(AT_FDCWD, s->dir), 0);
	free(s->disk);
	free(s);
	return 0;
}

/* A blob of @n bytes under its own digest, or under the one in @digest. */
static void put_blob(struct st *s, const void *p, size_t n, char digest[65], bool own)
{
	char path[128];
	int fd;

	if (own)
		img_sha_of(p, n, digest);
	(void)snprintf(path, sizeof(path), "%s/blobs/%s", s->dir, digest);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(msb_write_full(fd, p, n), 0);
	close(fd);
}

static void *packed(const struct st *s, size_t n, size_t *ret)
{
	size_t cap = ZSTD_compressBound(n);
	void *p = malloc(cap);

	*ret = ZSTD_compress(p, cap, s->disk, n, 3);
	assert_false(ZSTD_isError(*ret));
	return p;
}

static int open_disk(const struct st *s, const char *digest, struct stat *st)
{
	char path[160];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/disks/%s.raw", s->dir, digest);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		assert_int_equal(fstat(fd, st), 0);
	return fd;
}

static void assert_nothing_left(const struct st *s, const char *digest)
{
	struct stat st;
	char path[160];

	assert_int_equal(open_disk(s, digest, &st), -1);
	(void)snprintf(
		path, sizeof(path), "cd %s && ! ls tmp/*/disk.* 2>/dev/null | grep .", s->dir);
	assert_int_equal(system(path), 0);
}

static void whole(void **state)
{
	struct st *s = *state;
	_cleanup_free_ uint8_t *back = malloc(DISK);
	_cleanup_close_ int fd = -1;
	struct msb_err e = {0};
	char digest[65] = "";
	struct stat st;
	size_t n;
	_cleanup_free_ void *p = packed(s, DISK, &n);

	put_blob(s, p, n, digest, true);
	if (img_disk_unpack(s->store, digest, "raw", DISK, &e) < 0)
		fail_msg("%s", e.msg);
	fd = open_disk(s, digest, &st);
	assert_true(fd >= 0);
	assert_int_equal(st.st_size, DISK);
	assert_true(st.st_blocks * 512 < DISK / 4); /* its zeros take no room */
	assert_int_equal(msb_pread_full(fd, back, DISK, 0), DISK);
	assert_memory_equal(back, s->disk, DISK);
	/* There already: the blob is not even looked at. */
	put_blob(s, "x", 1, digest, false);
	assert_int_equal(img_disk_unpack(s->store, digest, "raw", DISK, NULL), 0);
	assert_int_equal(img_disk_unpack(s->store, digest, "qcow2", DISK, &e), -EBADMSG);
}

/* One that ends in zeros has its size all the same. */
static void zeros_at_the_end(void **state)
{
	struct st *s = *state;
	_cleanup_close_ int fd = -1;
	char digest[65] = "";
	struct stat st;
	size_t n;

	s->disk[DISK - 1] = 0;
	_cleanup_free_ void *p = packed(s, DISK, &n);

	put_blob(s, p, n, digest, true);
	assert_int_equal(img_disk_unpack(s->store, digest, "raw", DISK, NULL), 0);
	fd = open_disk(s, digest, &st);
	assert_true(fd >= 0);
	assert_int_equal(st.st_size, DISK);
}

static void refused(void **state)
{
	struct st *s = *state;
	struct msb_err e = {0};
	char digest[65] = "", other[65];
	size_t n;
	_cleanup_free_ uint8_t *p = packed(s, DISK, &n);

	put_blob(s, p, n, digest, true);
	assert_int_equal(img_disk_unpack(s->store, digest, "raw", DISK - 1, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "8388607 bytes"));
	assert_nothing_left(s, digest);
	memset(other, 'a', 64);
	other[64] = '\0';
	assert_int_equal(img_disk_unpack(s->store, other, "raw", DISK, &e), -ENOENT);
	assert_int_equal(img_disk_unpack(s->store, "../../etc", "raw", DISK, &e), -EINVAL);
	assert_int_equal(img_disk_unpack(s->store, digest, "../x", DISK, &e), -EINVAL);
	/* Another blob of that name, whole in itself; then one that is cut off, and one that is
	 * not. */
	put_blob(s, p, n, other, false);
	assert_int_equal(img_disk_unpack(s->store, other, "raw", DISK, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "pull the image again"));
	assert_nothing_left(s, other);
	put_blob(s, p, n - 10, digest, true);
	assert_int_equal(img_disk_unpack(s->store, digest, "raw", DISK, &e), -EBADMSG);
	assert_nothing_left(s, digest);
	p[n / 2] ^= 0x55;
	put_blob(s, p, n, digest, true);
	assert_true(img_disk_unpack(s->store, digest, "raw", DISK, &e) < 0);
	assert_nothing_left(s, digest);
}

/* It is what its blob unpacks to, to the last byte. */
static void verified(void **state)
{
	static const struct {
		off_t at, size;
		int want;
	} rows[] = {
		{-1, DISK, 0},
		{0, DISK, -EBADMSG},
		{DISK - 1, DISK, -EBADMSG},
		{2 << 20, DISK, -EBADMSG}, /* in a hole */
		{-1, DISK - 1, -EBADMSG},
		{-1, DISK + 1, -EBADMSG},
	};
	struct st *s = *state;
	struct msb_err e = {0};
	char digest[65] = "", path[160];
	struct stat st;
	size_t n;
	_cleanup_free_ void *p = packed(s, DISK, &n);

	put_blob(s, p, n, digest, true);
	(void)snprintf(path, sizeof(path), "%s/disks/%s.raw", s->dir, digest);
	assert_int_equal(img_disk_verify(s->store, digest, "raw", &e), 0); /* none is there */
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_close_ int fd = -1;

		assert_int_equal(img_disk_unpack(s->store, digest, "raw", DISK, &e), 0);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (rows[k].at >= 0)
			assert_int_equal(msb_pwrite_full(fd, "!", 1, (uint64_t)rows[k].at), 0);
		assert_int_equal(ftruncate(fd, rows[k].size), 0);
		assert_int_equal(img_disk_verify(s->store, digest, "raw", &e), rows[k].want);
		img_disk_forget(s->store, digest, "raw");
		assert_int_equal(open_disk(s, digest, &st), -1);
	}
	img_disk_forget(s->store, digest, "raw");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole, setup, teardown),
		cmocka_unit_test_setup_teardown(zeros_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(verified, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
