// SPDX-License-Identifier: Apache-2.0
// fs/image/import: the three formats, in a directory and in an archive, and what is wrong with
// them.
#include "fs/image/import.h"
#include "fs/image/media.h"
#include "fs/image/index.h"
#include "fs/image/sha.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/tmpdir.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>
#include <cmocka.h>

/* An archive being made: the members of a layout. */
struct made {
	struct msb_str tar;
};

static void hex_of(const void *p, size_t n, char out[65])
{
	unsigned char raw[32];

	assert_int_equal(EVP_Digest(p, n, raw, NULL, EVP_sha256(), NULL), 1);
	msb_hex(raw, 32, out);
}

static void blob(struct made *m, const struct msb_str *s, char out[65])
{
	char path[80];

	hex_of(s->buf, s->len, out);
	(void)snprintf(path, sizeof(path), "blobs/sha256/%s", out);
	tar_file(&m->tar, path, s->buf, s->len);
}

enum pack { PLAIN, GZIP, GZIP2, ZSTD };

static void squeeze(enum pack how, const struct msb_str *in, struct msb_str *out)
{
	size_t cap = in->len + 100000, half = in->len / 2;
	_cleanup_free_ char *buf = malloc(cap);
	struct isal_zstream z;

	assert_non_null(buf);
	if (how == PLAIN) {
		msb_str_add(out, in->buf, in->len);
		return;
	}
	if (how == ZSTD) {
		msb_str_add(out, buf, ZSTD_compress(buf, cap, in->buf, in->len, 3));
		return;
	}
	for (int part = 0; part < (how == GZIP2 ? 2 : 1); part++) { /* GZIP2: two members */
		isal_deflate_stateless_init(&z);
		z.gzip_flag = IGZIP_GZIP;
		z.end_of_stream = 1;
		z.next_in = (uint8_t *)in->buf + (part ? half : 0);
		z.avail_in = (uint32_t)(how == GZIP ? in->len : part ? in->len - half : half);
		z.next_out = (uint8_t *)buf;
		z.avail_out = (uint32_t)cap;
		assert_int_equal(isal_deflate_stateless(&z), COMP_OK);
		msb_str_add(out, buf, z.total_out);
	}
}

/* What to do wrong, one thing at a time. */
enum wrong {
	NOTHING,
	LAYER_BYTE,
	LAYER_SIZE,
	LAYER_MISSING,
	LAYER_CUT, /* and its digest is right */
	LAYER_NOT_TAR,
	LAYER_TRAILING,
	DIFF_ID,
	DIFF_COUNT,
	CONFIG_BYTE,
	CONFIG_MISSING,
	ARCH,
	MANIFEST_BYTE,
	MANIFEST_SIZE,
	NO_INDEX,
	TWO_IMAGES,
	OTHER_PLATFORM,
	NESTED,
	NESTED_DEEP,
	MULTI_PLATFORM,
	SAME_TWICE,
	NO_MANIFESTS,
};

static void layer_tar(struct msb_str *s, int number)
{
	char text[5000];

	memset(text, 'a' + number, sizeof(text));
	if (number == 0) {
		tar_header(s, "etc/", '5', NULL, 0755, 0);
		tar_file(s, "etc/gone", "x", 1);
		tar_file(s, "big", text, sizeof(text));
	} else {
		tar_file(s, "etc/.wh.gone", "", 0);
		tar_file(s, "etc/new", "new", 3);
		tar_header(s, "link", '1', "big", 0644, 0);
	}
	tar_end(s);
}

static void json(struct msb_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void json(struct msb_str *s, const char *fmt, ...)
{
	char buf[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	msb_str_adds(s, buf);
}

/* An OCI layout of two layers as a tar. */
static void make_oci(struct made *m, enum wrong w, enum pack how)
{
	_cleanup_str_ struct msb_str config = MSB_STR_INIT, manifest = MSB_STR_INIT,
				     index = MSB_STR_INIT;
	char diff[2][65], packed[2][65], chex[65], mhex[65];
	size_t sizes[2];
	const char *platform = "";

	*m = (struct made){0};
	for (int k = 0; k < 2; k++) {
		_cleanup_str_ struct msb_str tar = MSB_STR_INIT, z = MSB_STR_INIT;

		layer_tar(&tar, k);
		hex_of(tar.buf, tar.len, diff[k]);
		if (k == 1 && w == LAYER_TRAILING) {
			msb_str_adds(&tar, "garbage after the end of a tar is part of its digest");
			hex_of(tar.buf, tar.len, diff[k]);
		}
		if (k == 1 && w == LAYER_NOT_TAR) {
			tar.len = 0;
			msb_str_add(&tar, dir, 1);
			for (int j = 0; j < 600; j++)
				msb_str_adds(&tar, "z");
			hex_of(tar.buf, tar.len, diff[k]);
		}
		squeeze(how, &tar, &z);
		if (k == 1 && w == LAYER_CUT)
			z.len = how == PLAIN ? 700 : z.len - 9;
		if (k == 1 && w == LAYER_CUT && how == PLAIN)
			hex_of(z.buf, z.len, diff[k]);
		hex_of(z.buf, z.len, packed[k]);
		sizes[k] = z.len + (k == 1 && w == LAYER_SIZE);
		if (k == 1 && w == LAYER_MISSING)
			continue;
		if (k == 1 && w == LAYER_BYTE) {
			char path[80];

			z.buf[z.len / 2] ^= 1;
			(void)snprintf(path, sizeof(path), "blobs/sha256/%s", packed[k]);
			tar_file(&m->tar, path, z.buf, z.len);
		} else {
			blob(m, &z, packed[k]);
		}
	}
	if (w == DIFF_ID)
		diff[1][0] = diff[1][0] == '0' ? '1' : '0';
	json(&config, "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"]},",
		w == ARCH ? "s390x" : "amd64");
	if (w == DIFF_COUNT)
		json(&config, "\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}", diff[0]);
	else
		json(&config, "\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}", diff[0],
			diff[1]);
	hex_of(config.buf, config.len, chex);
	if (w == CONFIG_BYTE)
		config.buf[3] ^= 1;
	if (w != CONFIG_MISSING) {
		char path[80];

		(void)snprintf(path, sizeof(path), "blobs/sha256/%s", chex);
		tar_file(&m->tar, path, config.buf, config.len);
	}
	json(&manifest,
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":["
		"{\"digest\":\"sha256:%s\",\"size\":%zu},{\"digest\":\"sha256:%s\",\"size\":%zu}]}",
		chex, config.len, packed[0], sizes[0], packed[1], sizes[1]);
	hex_of(manifest.buf, manifest.len, mhex);
	if (w == MANIFEST_BYTE)
		manifest.buf[1] ^= 1;
	{
		char path[80];

		(void)snprintf(path, sizeof(path), "blobs/sha256/%s", mhex);
		tar_file(&m->tar, path, manifest.buf, manifest.len);
	}
	if (w == OTHER_PLATFORM)
		platform = ",\"platform\":{\"os\":\"linux\",\"architecture\":\"riscv64\"}";
	if (w == MULTI_PLATFORM)
		platform = ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}";
	json(&index,
		"{\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"digest\":\"sha256:%s\",\"size\":%zu%s}",
		mhex, manifest.len + (w == MANIFEST_SIZE), platform);
	if (w == TWO_IMAGES || w == MULTI_PLATFORM)
		json(&index,
			",{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
			"\"digest\":\"sha256:%s\",\"size\":5%s}",
			chex,
			w == MULTI_PLATFORM
				? ",\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"}"
				: ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"other\"}");
	if (w == SAME_TWICE)
		json(&index,
			",{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
			"\"digest\":\"sha256:%s\",\"size\":%zu}",
			mhex, manifest.len);
	msb_str_adds(&index, "]}");
	if (w == NO_MANIFESTS)
		index.len = (size_t)snprintf(index.buf, index.cap, "{\"manifests\":[]}");
	for (int k = 0; k < (w == NESTED ? 2 : w == NESTED_DEEP ? 6 : 0); k++) {
		char ihex[65];
		size_t n = index.len;

		blob(m, &index, ihex);
		index.len = 0;
		json(&index,
			"{\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
			"\"digest\":\"sha256:%s\",\"size\":%zu}]}",
			ihex, n);
	}
	if (w != NO_INDEX)
		tar_file(&m->tar, "./index.json", index.buf, index.len);
	tar_end(&m->tar);
}

/* The same as a directory on disk. */
static int extract(const struct msb_str *tar)
{
	_cleanup_fclose_ FILE *f = NULL;
	char cmd[128];

	(void)snprintf(
		cmd, sizeof(cmd), "rm -rf %s/src; mkdir %s/src && tar -x -C %s/src", dir, dir, dir);
	f = popen(cmd, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(tar->buf, 1, tar->len, f), tar->len);
	assert_int_equal(pclose(steal_ptr(f)), 0);
	(void)snprintf(cmd, sizeof(cmd), "%s/src", dir);
	return open(cmd, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int as_file(const struct msb_str *tar)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_int_equal(msb_write_full(fd, tar->buf, tar->len), 0);
	return fd;
}

static int import_fd(
	int fd, const struct img_import_opts *o, struct img_imported *got, struct msb_err *e)
{
	static const struct img_import_opts all = {
		.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES};
	struct img_source *src;
	struct img_store *st;
	int store_fd, r;

	(void)mkdirat(dir_fd, "store", 0700);
	store_fd = openat(dir_fd, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = img_source_open(fd, &src, e);
	if (r == 0) {
		assert_int_equal(img_store_open(store_fd, &st, e), 0);
		r = img_import_run(src, st, o ? o : &all, got, e);
		img_store_close(st);
		img_source_close(src);
	}
	close(store_fd);
	close(fd);
	return r;
}

static size_t entries(const char *path)
{
	char full[128];
	DIR *d;
	size_t n = 0;

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	d = opendir(full);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 2;
}

static void check_tree(const char *digest)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	struct msb_err e = {0};
	struct img_index *ix;
	struct img_attr a;
	uint64_t nid, etc, link;
	char path[128];
	const char *p;
	size_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "store/images/%s/index", digest);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	close(fd);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "etc", 3, &etc), 0);
	assert_int_equal(img_index_lookup(ix, etc, "gone", 4, &nid), -ENOENT);
	assert_int_equal(img_index_lookup(ix, etc, "new", 3, &nid), 0);
	assert_int_equal(img_index_inline(ix, nid, &p, &n), 0);
	assert_memory_equal(p, "new", 3);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "big", 3, &nid), 0);
	assert_int_equal(img_index_lookup(ix, img_index_root(ix), "link", 4, &link), 0);
	assert_int_equal(nid, link);
	assert_int_equal(img_index_getattr(ix, nid, &a), 0);
	assert_int_equal(a.size, 5000);
	assert_int_equal(a.nlink, 2);
	img_index_close(ix);
	(void)snprintf(path, sizeof(path), "store/images/%s/meta", digest);
	assert_int_equal(msb_read_file(dir_fd, path, 10000, &meta), 0);
	assert_string_equal(meta.buf, "kind image\nsize_bytes 5003\ninodes 4\ncmd.0 \"sh\"\n");
}

static void oci(void **state)
{
	static const struct {
		enum wrong w;
		enum pack how;
		int want;
		const char *says;
	} rows[] = {
		{NOTHING, PLAIN, 0, NULL},
		{NOTHING, GZIP, 0, NULL},
		{NOTHING, GZIP2, 0, NULL},
		{NOTHING, ZSTD, 0, NULL},
		{LAYER_TRAILING, GZIP, 0, NULL},
		{NESTED, GZIP, 0, NULL},
		{MULTI_PLATFORM, GZIP, 0, NULL},
		{SAME_TWICE, GZIP, 0, NULL},
		{LAYER_BYTE, PLAIN, -EBADMSG, "layer 2 of 2"},
		{LAYER_BYTE, GZIP, -EBADMSG, "layer 2 of 2"},
		{LAYER_BYTE, ZSTD, -EBADMSG, "layer 2 of 2"},
		{LAYER_SIZE, GZIP, -EBADMSG, "layer 2 of 2"},
		{LAYER_MISSING, GZIP, -EBADMSG, "missing"},
		{LAYER_CUT, PLAIN, -EBADMSG, "layer 2 of 2"},
		{LAYER_CUT, GZIP, -EBADMSG, "too early"},
		{LAYER_CUT, ZSTD, -EBADMSG, "too early"},
		{LAYER_NOT_TAR, GZIP, -EBADMSG, "layer 2 of 2"},
		{DIFF_ID, GZIP, -EBADMSG, "unpacks to"},
		{DIFF_COUNT, GZIP, -EBADMSG, "lists 1 layers"},
		{CONFIG_BYTE, GZIP, -EBADMSG, "damaged"},
		{CONFIG_MISSING, GZIP, -EBADMSG, "missing"},
		{ARCH, GZIP, -EOPNOTSUPP, "linux/s390x"},
		{MANIFEST_BYTE, GZIP, -EBADMSG, "damaged"},
		{MANIFEST_SIZE, GZIP, -EBADMSG, "damaged"},
		{NO_INDEX, GZIP, -EBADMSG, "neither index.json"},
		{TWO_IMAGES, GZIP, -ENOTUNIQ, "other"},
		{OTHER_PLATFORM, GZIP, -EOPNOTSUPP, "linux/riscv64"},
		{NESTED_DEEP, GZIP, -E2BIG, "nested"},
		{NO_MANIFESTS, GZIP, -EBADMSG, "no image"},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		for (int as_dir = 0; as_dir < 2; as_dir++) {
			struct img_imported got = {0}, again = {0};
			struct msb_err e = {0};
			struct made m;
			int r;

			make_oci(&m, rows[k].w, rows[k].how);
			r = import_fd(as_dir ? extract(&m.tar) : as_file(&m.tar), NULL, &got, &e);
			if (r != rows[k].want || (r && !strstr(e.msg, rows[k].says)))
				fail_msg("row %zu: %d %s", k, r, e.msg);
			assert_int_equal(e.code, -r);
			if (r == 0) {
				check_tree(got.digest);
				assert_int_equal(got.size_bytes, 5003);
				assert_int_equal(import_fd(as_file(&m.tar), NULL, &again, &e), 0);
				assert_string_equal(again.digest, got.digest);
				assert_int_equal(again.size_bytes, 5003);
			} else { /* nothing is left behind */
				assert_int_equal(entries("store/images"), 0);
				assert_int_equal(entries("store/packs"), 0);
				assert_int_equal(entries("store/layers"), 0);
				assert_int_equal(entries("store/tmp"), 0);
			}
			msb_str_done(&m.tar);
			assert_int_equal(msb_rm_rf(dir_fd, "store"), 0);
		}
}

static void docker(void **state)
{
	static const struct {
		enum pack how;
		bool links; /* old docker: a repeated layer is a link to the first */
		int want;
	} rows[] = {{PLAIN, false, 0}, {GZIP, false, 0}, {ZSTD, false, 0}, {PLAIN, true, 0}};
	char first[65] = "";

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str config = MSB_STR_INIT, s = MSB_STR_INIT;
		static const char list[] = "[{\"Config\":\"c.json\",\"RepoTags\":[\"x:1\"],"
					   "\"Layers\":[\"one/layer.tar\",\"two/layer.tar\"]}]";
		struct img_imported got = {0}, again = {0};
		struct msb_err e = {0};
		_cleanup_str_ struct msb_str manifest = MSB_STR_INIT, want = MSB_STR_INIT;
		char diff[2][65], path[128];

		for (int n = 0; n < 2; n++) {
			_cleanup_str_ struct msb_str tar = MSB_STR_INIT, z = MSB_STR_INIT;

			layer_tar(&tar, n);
			hex_of(tar.buf, tar.len, diff[n]);
			msb_str_addf(&want,
				"%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu}",
				n ? "," : "\"layers\":[", IMG_TYPE_TAR, diff[n], tar.len);
			squeeze(rows[k].how, &tar, &z);
			if (rows[k].links && n == 1) {
				tar_header(
					&s, "two/layer.tar", '2', "../deep/../real.tar", 0777, 0);
				tar_file(&s, "real.tar", z.buf, z.len);
			} else {
				tar_file(&s, n ? "two/layer.tar" : "one/layer.tar", z.buf, z.len);
			}
		}
		json(&config,
			"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"]},"
			"\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}",
			diff[0], diff[1]);
		tar_file(&s, "c.json", config.buf, config.len);
		tar_file(&s, "manifest.json", list, strlen(list));
		tar_end(&s);
		assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), 0);
		check_tree(got.digest);
		/* However its layers are packed it is one image: that of what they unpack to. */
		(void)snprintf(path, sizeof(path), "store/images/%s/manifest.json", got.digest);
		assert_int_equal(msb_read_file(dir_fd, path, 1 << 20, &manifest), 0);
		assert_non_null(strstr(manifest.buf, want.buf));
		if (!k)
			memcpy(first, got.digest, sizeof(first));
		assert_string_equal(got.digest, first);
		assert_int_equal(import_fd(as_file(&s), NULL, &again, &e), 0);
		assert_string_equal(again.digest, first);
		assert_int_equal(again.size_bytes, got.size_bytes);
		assert_int_equal(msb_rm_rf(dir_fd, "store"), 0);
	}
}

/* A directory is read through a descriptor and nothing beyond it. */
static void directory_escapes(void **state)
{
	static const char index[] =
		"{\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"digest\":\"sha256:"
		"1111111111111111111111111111111111111111111111111111111111111111\",\"size\":5}]}";
	struct img_imported got;
	struct msb_err e = {0};
	int fd;

	assert_int_equal(msb_write_file_atomic(dir_fd, "outside", index, strlen(index), 0600), 0);
	assert_int_equal(mkdirat(dir_fd, "src", 0700), 0);
	assert_int_equal(symlinkat("../outside", dir_fd, "src/index.json"), 0);
	fd = openat(dir_fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(import_fd(fd, NULL, &got, &e), -EXDEV);
	assert_int_equal(unlinkat(dir_fd, "src/index.json", 0), 0);
	assert_int_equal(mkfifoat(dir_fd, "src/index.json", 0600), 0);
	fd = openat(dir_fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(import_fd(fd, NULL, &got, &e), -EBADMSG); /* and never waits */
}

static void archives(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *says;
	} rows[] = {
		{"", 0, "neither"},
		{"\x1f\x8b\x08\0\0\0", 6, "compressed"},
		{"\x28\xb5\x2f\xfd\0\0", 6, "compressed"},
		{"hello", 5, "middle of an entry"},
	};
	static const char zeros[IMG_MAX_JSON_BYTES + 1];
	struct msb_str s = MSB_STR_INIT;
	struct img_imported got;
	struct msb_err e;

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		e = (struct msb_err){0};
		msb_str_add(&s, rows[k].bytes, rows[k].n);
		assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), -EBADMSG);
		assert_non_null(strstr(e.msg, rows[k].says));
		s.len = 0;
	}
	e = (struct msb_err){0};
	tar_header(&s, "index.json", '0', NULL, 0644, 100000);
	assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), -EBADMSG);
	s.len = 0;
	tar_header(&s, "index.json", '2', "index.json", 0644, 0); /* a link to itself */
	assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), -EBADMSG);
	s.len = 0;
	for (int k = 0; k <= IMG_MAX_MEMBERS; k++)
		tar_header(&s, "x", '0', NULL, 0644, 0);
	assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), -E2BIG);
	s.len = 0;
	tar_file(&s, "index.json", zeros, sizeof(zeros));
	assert_int_equal(import_fd(as_file(&s), NULL, &got, &e), -EFBIG);
	msb_str_done(&s);
}

/* A bomb meets the limit while it unpacks, not the disk. */
static void limits(void **state)
{
	struct img_import_opts o = {.max_bytes = 100 << 20, .max_inodes = 100};
	struct img_imported got;
	struct msb_err e = {0};
	struct made m;

	make_oci(&m, NOTHING, GZIP);
	o.max_bytes = 8192 + 2048;
	assert_int_equal(import_fd(as_file(&m.tar), &o, &got, &e), -E2BIG);
	assert_int_equal(entries("store/packs"), 0);
	o.max_bytes = 100 << 20;
	o.max_inodes = 3;
	e = (struct msb_err){0};
	assert_int_equal(import_fd(as_file(&m.tar), &o, &got, &e), -E2BIG);
	o.max_inodes = 4;
	e = (struct msb_err){0};
	assert_int_equal(import_fd(as_file(&m.tar), &o, &got, &e), 0);
	msb_str_done(&m.tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(oci, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(docker, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(directory_escapes, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(archives, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(limits, tmpdir_setup, tmpdir_teardown),
	};

	return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
