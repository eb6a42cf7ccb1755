// SPDX-License-Identifier: Apache-2.0
// fs/image/limits: each bound of an image has a name, and one that is set lower is kept to.
#include "fs/image/limits.h"
#include "fs/image/import.h"
#include "fs/image/media.h"
#include "fs/image/sha.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

static int store_fd;

static int setup(void **state)
{
	if (!mkdtemp(fix_dir))
		return -1;
	store_fd = fix_store("s");
	return store_fd < 0;
}

static int teardown(void **state)
{
	close(store_fd);
	return msb_rm_rf(AT_FDCWD, fix_dir);
}

/* A layer with a little of everything: two directories deep, two attributes of 100 bytes, a file of
 * two parts. */
static void layer(struct msb_str *s)
{
	const char *records[] = {"SCHILY.xattr.user.a=1",
		"SCHILY.xattr.user.b=12345678901234567890"
		"1234567890123456789012345678901234567890"
		"1234567890123456789012345678901234567890"};
	size_t lens[2] = {strlen(records[0]), strlen(records[1])};
	static char block[512];

	tar_header(s, "a/b", '5', NULL, 0755, 0);
	tar_pax_n(s, 'x', records, lens, 2);
	tar_file(s, "a/f", "x", 1);
	const char *map[] = {"GNU.sparse.size=9000", "GNU.sparse.map=0,512,4096,512"};
	size_t map_lens[2] = {strlen(map[0]), strlen(map[1])};

	tar_pax_n(s, 'x', map, map_lens, 2);
	tar_header(s, "a/s", '0', NULL, 0644, 1024);
	tar_bytes(s, block, 512);
	tar_bytes(s, block, 512);
	tar_end(s);
}

static void member(struct msb_str *all, const char *digest, const struct msb_str *body)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "blobs/sha256/%s", digest);
	tar_file(all, path, body->buf, body->len);
}

/* An OCI layout in an archive: an index of two, its image of two layers, one in zstd. */
static int archive(void)
{
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT, z = MSB_STR_INIT, config = MSB_STR_INIT,
				     m = MSB_STR_INIT, index = MSB_STR_INIT, all = MSB_STR_INIT,
				     low = MSB_STR_INIT;
	char diff[2][65], blob[2][65], hex[65];
	int fd = memfd_create("image", MFD_CLOEXEC);

	tar_file(&low, "low", "x", 1);
	tar_end(&low);
	layer(&tar);
	img_sha_of(low.buf, low.len, diff[0]);
	img_sha_of(tar.buf, tar.len, diff[1]);
	fix_zip(IMG_ZSTD, tar.buf, tar.len, &z);
	memcpy(blob[0], diff[0], sizeof(blob[0]));
	img_sha_of(z.buf, z.len, blob[1]);
	msb_str_addf(&config,
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":"
		"[\"sha256:%s\",\"sha256:%s\"]}}",
		diff[0], diff[1]);
	img_sha_of(config.buf, config.len, hex);
	msb_str_addf(&m,
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" IMG_TYPE_CONFIG
		"\",\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":["
		"{\"mediaType\":\"" IMG_TYPE_TAR "\",\"digest\":\"sha256:%s\",\"size\":%zu},"
		"{\"mediaType\":\"" IMG_TYPE_TAR "+zstd\",\"digest\":\"sha256:%s\",\"size\":%zu}]}",
		hex, config.len, blob[0], low.len, blob[1], z.len);
	member(&all, hex, &config);
	img_sha_of(m.buf, m.len, hex);
	member(&all, hex, &m);
	member(&all, blob[0], &low);
	member(&all, blob[1], &z);
	msb_str_addf(&index,
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" IMG_TYPE_MANIFEST
		"\",\"digest\":\"sha256:%s\",\"size\":%zu},{\"mediaType\":\"application/x\","
		"\"digest\":\"sha256:%s\",\"size\":1}]}",
		hex, m.len, hex);
	tar_file(&all, "index.json", index.buf, index.len);
	tar_file(&all, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
	tar_end(&all);
	assert_int_equal(msb_write_full(fd, all.buf, all.len), 0);
	return fd;
}

static int import(struct msb_err *e)
{
	const struct img_import_opts opts = {
		.max_bytes = img_limit(IMG_LIMIT_BYTES), .max_inodes = img_limit(IMG_LIMIT_INODES)};
	_cleanup_close_ int fd = archive();
	struct img_imported got;
	struct img_source *src;
	struct img_store *st;
	int r = img_source_open(fd, &src, e);

	if (r < 0)
		return r;
	assert_int_equal(img_store_open(store_fd, &st, e), 0);
	r = img_import_run(src, st, &opts, &got, e);
	img_store_close(st);
	img_source_close(src);
	return r;
}

static void lower(void **state)
{
	/* What the image above needs, and what is said of less. */
	static const struct {
		enum img_limit limit;
		uint64_t needs;
		int want;
		const char *says;
	} rows[] = {
		{IMG_LIMIT_BYTES, 0, -E2BIG, "unpacks to more than"},
		{IMG_LIMIT_INODES, 6, -E2BIG, "too many files"},
		{IMG_LIMIT_LAYERS, 2, -E2BIG, "more than 1 layers"},
		{IMG_LIMIT_DEPTH, 2, -E2BIG, "too deep"},
		{IMG_LIMIT_XATTR_BYTES, 0, -E2BIG, "attributes are too large"},
		{IMG_LIMIT_JSON_BYTES, 0, -EFBIG, "larger than"},
		{IMG_LIMIT_MANIFESTS, 2, -E2BIG, "more than 1 manifests"},
		{IMG_LIMIT_MEMBERS, 6, -E2BIG, "more than 5 members"},
		{IMG_LIMIT_PAX_BYTES, 0, -E2BIG, "too long"},
		{IMG_LIMIT_XATTRS, 2, -E2BIG, "too long"},
		{IMG_LIMIT_PARTS, 2, -E2BIG, "after 'a/f': a sparse file of more than 1 parts"},
		{IMG_LIMIT_WINDOW_BYTES, 0, -E2BIG, "more than 1024 bytes of memory"},
	};
	struct msb_err e = {0};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		uint64_t least = img_limit_rows[rows[k].limit].least;
		int r;

		img_limit_set(rows[k].limit, rows[k].needs ? rows[k].needs - 1 : least);
		e = (struct msb_err){0};
		r = import(&e);
		if (r != rows[k].want || !strstr(e.msg, rows[k].says))
			fail_msg("%s: %d %s", img_limit_rows[rows[k].limit].name, r, e.msg);
		for (const char **p = (const char *[]){"images", "layers", "packs", "tmp", NULL};
			*p; p++)
			assert_int_equal(fix_count(store_fd, *p, NULL), 0);
		/* No less than it needs is enough. */
		img_limit_set(rows[k].limit, rows[k].needs);
		if (import(&e) < 0)
			fail_msg("%s: %s", img_limit_rows[rows[k].limit].name, e.msg);
		img_limit_set(rows[k].limit, 0);
		assert_int_equal(img_store_gc(store_fd, NULL, 0, 0, &e), 0);
	}
}

static void names(void **state)
{
	for (size_t k = 0; k < IMG_NLIMITS; k++) {
		const struct img_limit_row *row = &img_limit_rows[k];

		assert_true(row->least > 0 && row->least < row->most);
		assert_true(strspn(row->name, "abcdefghijklmnopqrstuvwxyz_") == strlen(row->name));
		assert_int_equal(img_limit((enum img_limit)k), row->most);
		img_limit_set((enum img_limit)k, row->least);
		assert_int_equal(img_limit((enum img_limit)k), row->least);
		img_limit_set((enum img_limit)k, row->most + 1); /* never more than that */
		assert_int_equal(img_limit((enum img_limit)k), row->most);
		for (size_t j = 0; j < k; j++)
			assert_string_not_equal(row->name, img_limit_rows[j].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(lower),
	};

	return cmocka_run_group_tests_name("limits", tests, setup, teardown);
}
