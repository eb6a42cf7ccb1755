/* SPDX-License-Identifier: Apache-2.0 */
/* Images in a fake registry, stores in a directory of the test, and what a store then holds. */
#ifndef MSB_TESTS_IMAGE_FIXTURE_H
#define MSB_TESTS_IMAGE_FIXTURE_H

#include "fs/image/index.h"
#include "fs/image/media.h"
#include "fs/image/zip.h"
#include "tests/unit/fake_remote.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FIX_MAX_LAYERS 16
#define FIX_CHUNKED    99 /* a "compression": zstd in pieces with skippable frames between */

/* An image being put together. */
struct fix_image {
	struct msb_str layers, diff_ids; /* JSON, comma-separated */
	char config[65], manifest[65];
	bool docker; /* in Docker's media types */
	struct {
		char digest[65], diff_id[65];
	} v[FIX_MAX_LAYERS];
	size_t n;
};

static inline int fix_collect(void *arg, const void *p, size_t n, struct msb_err *e)
{
	msb_str_add(arg, p, n);
	return 0;
}

static inline void fix_zip(enum img_compression kind, const void *p, size_t n, struct msb_str *out)
{
	struct img_zip *z;

	if (img_zip_new(kind, fix_collect, out, &z) < 0)
		abort();
	(void)img_zip_feed(z, p, n, NULL);
	(void)img_zip_finish(z, NULL);
	img_zip_free(z);
}

static inline void fix_compress(int how, const struct msb_str *tar, struct msb_str *out)
{
	static const char skip[] = "\x50\x2a\x4d\x18\x05\0\0\0extra";

	if (how != FIX_CHUNKED) {
		fix_zip((enum img_compression)how, tar->buf, tar->len, out);
		return;
	}
	fix_zip(IMG_ZSTD, tar->buf, tar->len / 2, out);
	msb_str_add(out, skip, 13);
	fix_zip(IMG_ZSTD, tar->buf + tar->len / 2, tar->len - tar->len / 2, out);
	msb_str_add(out, skip, 13);
}

static inline void fix_layer(
	struct fake *f, struct fix_image *i, const struct msb_str *tar, int how)
{
	static const char *const oci[] = {"", "+gzip", "+zstd"};
	static const char *const docker[] = {"", ".gzip", ".zstd"};
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;
	int type = how == FIX_CHUNKED ? IMG_ZSTD : how;

	fix_compress(how, tar, &out);
	fake_add(f, NULL, "application/octet-stream", out.buf, out.len, i->v[i->n].digest);
	img_sha_of(tar->buf, tar->len, i->v[i->n].diff_id);
	msb_str_addf(&i->layers, "%s{\"mediaType\":\"%s%s\",\"digest\":\"sha256:%s\",\"size\":%zu}",
		i->n ? "," : "",
		i->docker ? "application/vnd.docker.image.rootfs.diff.tar" : IMG_TYPE_TAR,
		i->docker ? docker[type] : oci[type], i->v[i->n].digest, out.len);
	msb_str_addf(&i->diff_ids, "%s\"sha256:%s\"", i->n ? "," : "", i->v[i->n].diff_id);
	i->n++;
}

static inline void fix_manifest(struct fake *f, struct fix_image *i, const char *tag,
	const char *config_type, const struct msb_str *config)
{
	_cleanup_str_ struct msb_str m = MSB_STR_INIT;
	const char *type = i->docker ? IMG_TYPE_DOCKER : IMG_TYPE_MANIFEST;

	fake_add(f, NULL, config_type, config->buf, config->len, i->config);
	msb_str_addf(&m,
		"{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
		"\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[%s]}",
		type, config_type, i->config, config->len, i->layers.buf ?: "");
	fake_add(f, NULL, type, m.buf, m.len, i->manifest);
	if (tag)
		fake_add(f, tag, type, m.buf, m.len, NULL);
}

/* Its config and manifest; @tag may be NULL. */
static inline void fix_image(struct fake *f, struct fix_image *i, const char *tag)
{
	_cleanup_str_ struct msb_str config = MSB_STR_INIT;

	msb_str_addf(&config,
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2026-01-02T03:04:05Z\","
		"\"config\":{\"Cmd\":[\"sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
		i->diff_ids.buf ?: "");
	fix_manifest(f, i, tag,
		i->docker ? "application/vnd.docker.container.image.v1+json" : IMG_TYPE_CONFIG,
		&config);
}

static inline void fix_image_done(struct fix_image *i)
{
	msb_str_done(&i->layers);
	msb_str_done(&i->diff_ids);
}

/* A tar of @files files below @dir, of @bytes each, whose contents follow from @seed. */
static inline void fix_tar(
	struct msb_str *tar, const char *dir, int files, size_t bytes, unsigned int seed)
{
	_cleanup_free_ char *p = malloc(bytes + 1);
	char name[64];

	for (int k = 0; k < files; k++) {
		unsigned int x = seed * 7919u + (unsigned int)k;

		for (size_t j = 0; j < bytes; j++) {
			x = x * 1103515245 + 12345;
			p[j] = (char)(x >> 16);
		}
		(void)snprintf(name, sizeof(name), "%s/f%d", dir, k);
		tar_file(tar, name, p, bytes);
	}
	tar_end(tar);
}

/* ---- stores */

static char fix_dir[] = "/tmp/test_image.XXXXXX";

static inline int fix_store(const char *name)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/%s", fix_dir, name);
	(void)mkdir(path, 0700);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Names in a directory of the store, or those that end in @end. */
static inline size_t fix_count(int store, const char *name, const char *end)
{
	int fd = openat(store, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	size_t n = 0, k;

	while (d && (de = readdir(d))) {
		k = strlen(de->d_name);
		n += de->d_name[0] != '.' &&
		     (!end || (k >= strlen(end) && strcmp(de->d_name + k - strlen(end), end) == 0));
	}
	return n;
}

/* What the image has at @path ("d/f"), appended; -errno. */
static inline int fix_read(int store, const char *digest, const char *path, struct msb_str *ret)
{
	_cleanup_close_ int fd = -1, pack = -1;
	_cleanup_free_ char *buf = NULL;
	char name[128];
	struct img_index *ix = NULL;
	struct img_extent x;
	const char *p;
	uint64_t nid;
	size_t n;
	int r;

	(void)snprintf(name, sizeof(name), "images/%s/index", digest);
	fd = openat(store, name, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : img_index_open(fd, &ix, NULL);
	if (r < 0)
		return r;
	nid = img_index_root(ix);
	for (p = path; r == 0 && *p; p += n + (p[n] == '/')) {
		n = strcspn(p, "/");
		r = img_index_lookup(ix, nid, p, n, &nid);
	}
	if (r == 0 && img_index_inline(ix, nid, &p, &n) == 0) {
		msb_str_add(ret, p, n);
	} else if (r == 0) {
		r = img_index_extent(ix, nid, 0, &x);
		(void)snprintf(name, sizeof(name), "packs/%08x", x.pack_id);
		pack = r < 0 ? -1 : openat(store, name, O_RDONLY | O_CLOEXEC);
		buf = malloc(x.len + 1);
		if (r == 0 && msb_pread_full(pack, buf, x.len, x.pack_off) != (int64_t)x.len)
			r = -EIO;
		if (r == 0)
			msb_str_add(ret, buf, x.len);
	}
	img_index_close(ix);
	return r;
}

static inline int fix_file(int store, const char *digest, const char *file, struct msb_str *ret)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "images/%s/%s", digest, file);
	return msb_read_file(store, path, 8u << 20, ret);
}

#endif
