// SPDX-License-Identifier: Apache-2.0
// fs/image/push and export: what the store gives away is what it got.
#include "fs/image/export.h"
#include "fs/image/import.h"
#include "fs/image/pull.h"
#include "fs/image/push.h"
#include "tests/unit/image_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

#define FILES 40
#define BYTES 9000

static struct fake from, to;
static struct fix_image image;
static int store;
static struct img_imported got;
static size_t states[5]; /* exists pack upload done, others */

static void on_progress(void *arg, const struct img_progress *p)
{
	static const char *const names[] = {"exists", "pack", "upload", "done"};
	size_t k = 0;

	while (k < ARRAY_LEN(names) && strcmp(names[k], p->state) != 0)
		k++;
	states[k]++;
}

static struct img_store *open_store(int fd)
{
	struct img_store *st;
	struct msb_err e = {0};

	assert_int_equal(img_store_open(fd, &st, &e), 0);
	return st;
}

static int pull_from(struct fake *f, int fd, const char *name, struct img_imported *ret)
{
	const struct img_pull_opts opts = {
		.name = name, .max_bytes = 64u << 20, .max_inodes = 1000};
	int sock = fake_start(f), r;
	struct img_remote *remote;
	struct img_store *st = open_store(fd);
	struct msb_err e = {0};

	assert_int_equal(img_remote_open(sock, &remote, &e), 0);
	r = img_pull_run(remote, st, &opts, ret, &e);
	img_remote_close(remote);
	img_store_close(st);
	close(sock);
	fake_join(f);
	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static int push_to(struct fake *f, const char *digest, const char *name, const char *mount,
	char ret[65], struct msb_err *e)
{
	const struct img_push_opts opts = {.store_fd = store,
		.digest = digest,
		.name = name,
		.from = mount,
		.progress = on_progress};
	int sock = fake_start(f), r;
	struct img_remote *remote;
	struct img_store *st = open_store(store);

	memset(states, 0, sizeof(states));
	*e = (struct msb_err){0};
	assert_int_equal(img_remote_open(sock, &remote, e), 0);
	r = img_push_run(remote, st, &opts, ret, e);
	img_remote_close(remote);
	img_store_close(st);
	close(sock);
	fake_join(f);
	return r;
}

static void add_layer(const char *where, unsigned int seed, int how)
{
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT;

	fix_tar(&tar, where, FILES, BYTES, seed);
	fix_layer(&from, &image, &tar, how);
}

/* An image of all compressions, one layer twice, pulled. */
static int setup(void **state)
{
	memcpy(fix_dir, "/tmp/test_image.XXXXXX", sizeof(fix_dir));
	if (!mkdtemp(fix_dir))
		return -1;
	store = fix_store("store");
	image = (struct fix_image){0};
	add_layer("a", 1, IMG_GZIP);
	add_layer("b", 2, FIX_CHUNKED);
	add_layer("c", 3, IMG_PLAIN);
	add_layer("a", 1, IMG_GZIP);
	fix_image(&from, &image, "v1");
	return pull_from(&from, store, "v1", &got);
}

static int teardown(void **state)
{
	fix_image_done(&image);
	fake_done(&from);
	fake_done(&to);
	to.mounts = false;
	close(store);
	return msb_rm_rf(AT_FDCWD, fix_dir);
}

static void same_files(int fd, const char *digest)
{
	for (unsigned int k = 0; k < 3; k++) {
		_cleanup_str_ struct msb_str tar = MSB_STR_INIT, bytes = MSB_STR_INIT;
		const char path[] = {(char)('a' + k), '/', 'f', '0', 0};

		fix_tar(&tar, "x", 1, BYTES, k + 1);
		assert_int_equal(fix_read(fd, digest, path, &bytes), 0);
		assert_int_equal(bytes.len, BYTES);
		assert_memory_equal(bytes.buf, tar.buf + 512, BYTES);
	}
}

/* Both have the same config and layers: the image ID is one. */
static void same_config(int a, const char *da, int b, const char *db)
{
	_cleanup_str_ struct msb_str x = MSB_STR_INIT, y = MSB_STR_INIT;

	assert_int_equal(fix_file(a, da, "config.json", &x), 0);
	assert_int_equal(fix_file(b, db, "config.json", &y), 0);
	assert_string_equal(x.buf, y.buf);
}

static void pushed_afresh(void **state)
{
	_cleanup_close_ int other = fix_store("other");
	struct img_imported back;
	struct msb_err e;
	char digest[65], again[65];
	size_t n;

	assert_int_equal(push_to(&to, got.digest, "mine", NULL, digest, &e), 0);
	assert_string_not_equal(digest, got.digest);
	assert_int_equal(to.mounted, 0);
	assert_int_equal(to.puts, 3 + 1 + 1); /* the layers, the config, the manifest */
	assert_int_equal(states[3], 3);
	assert_true(states[2] >= 3);
	assert_non_null(fake_find(&to, "mine"));
	assert_int_equal(pull_from(&to, other, "mine", &back), 0);
	assert_string_equal(back.digest, digest);
	same_files(other, digest);
	same_config(store, got.digest, other, digest);
	/* The same again: the same bytes, so there is nothing to put but the manifest. */
	n = to.n;
	assert_int_equal(push_to(&to, got.digest, "mine", NULL, again, &e), 0);
	assert_string_equal(again, digest);
	assert_int_equal(to.puts, 1);
	assert_int_equal(to.n, n);
	/* And from the other store, which has it as it is there, without compressing anything. */
	close(store);
	store = dup(other);
	assert_int_equal(push_to(&to, digest, "mine", NULL, again, &e), 0);
	assert_string_equal(again, digest);
	assert_int_equal(states[1] + states[2] + states[3], 0);
}

static void pushed_as_it_was(void **state)
{
	struct msb_err e;
	char digest[65];

	/* Where it came from, under another tag. */
	assert_int_equal(push_to(&from, got.digest, "v2", NULL, digest, &e), 0);
	assert_string_equal(digest, got.digest);
	assert_int_equal(from.puts, 1);
	assert_memory_equal(fake_find(&from, "v2")->bytes.buf, fake_find(&from, "v1")->bytes.buf,
		fake_find(&from, "v1")->bytes.len);
	assert_int_equal(states[0], 4);
	/* Elsewhere in the same registry: mounted. */
	to.mounts = true;
	assert_int_equal(push_to(&to, got.digest, "v1", "the/source", digest, &e), 0);
	assert_string_equal(digest, got.digest);
	assert_int_equal(to.mounted, 3 + 1);
	assert_int_equal(to.puts, 1);
}

static void refused(void **state)
{
	_cleanup_close_ int pack = openat(store, "packs/00000001", O_WRONLY | O_CLOEXEC);
	struct msb_err e;
	char digest[65];

	assert_int_equal(
		push_to(&to, "0000000000000000000000000000000000000000000000000000000000000000",
			"v1", NULL, digest, &e),
		-ENOENT);
	/* What is damaged is not given away. */
	assert_int_equal(msb_pwrite_full(pack, "damage", 6, 100), 0);
	assert_int_equal(push_to(&to, got.digest, "v1", NULL, digest, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "damaged"));
	assert_null(fake_find(&to, "v1"));
}

static void artifact(void **state)
{
	_cleanup_str_ struct msb_str config = MSB_STR_INIT;
	_cleanup_(fix_image_done) struct fix_image i = {0};
	char digest[65], blob[80], bytes[70000];
	struct img_imported have;
	struct msb_err e;

	memset(bytes, 'x', sizeof(bytes));
	fake_add(&from, NULL, "", bytes, sizeof(bytes), digest);
	(void)snprintf(blob, sizeof(blob), "sha256:%s", digest);
	msb_str_addf(&i.layers, "{\"mediaType\":\"text/plain\",\"digest\":\"%s\",\"size\":%zu}",
		blob, sizeof(bytes));
	msb_str_adds(&config, "{}");
	fix_manifest(&from, &i, "thing", "application/vnd.oci.empty.v1+json", &config);
	assert_int_equal(pull_from(&from, store, "thing", &have), 0);
	assert_int_equal(push_to(&to, have.digest, "copy", NULL, digest, &e), 0);
	assert_string_equal(digest, have.digest);
	assert_memory_equal(fake_find(&to, blob)->bytes.buf, bytes, sizeof(bytes));
}

/* ---- export */

static int export(int fd, const char *digest, const char *name, struct msb_err *e)
{
	const struct img_export_opts opts = {
		.store_fd = store, .digest = digest, .name = name, .progress = on_progress};
	struct img_store *st = open_store(store);
	int r;

	*e = (struct msb_err){0};
	r = img_export_run(st, &opts, fd, e);
	img_store_close(st);
	return r;
}

static int import(int archive, int fd, struct img_imported *ret)
{
	const struct img_import_opts opts = {.max_bytes = 64u << 20, .max_inodes = 1000};
	struct img_store *st = open_store(fd);
	struct img_source *src;
	struct msb_err e = {0};
	int r;

	assert_int_equal(img_source_open(archive, &src, &e), 0);
	r = img_import_run(src, st, &opts, ret, &e);
	img_source_close(src);
	img_store_close(st);
	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static void exported(void **state)
{
	_cleanup_close_ int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);
	_cleanup_close_ int other = fix_store("other"), third = fix_store("third");
	_cleanup_free_ char *x = NULL, *y = NULL;
	struct img_imported back, thence;
	struct msb_err e;
	off_t n;

	assert_int_equal(export(a, got.digest, "host/repo:v1", &e), 0);
	assert_int_equal(export(b, got.digest, "host/repo:v1", &e), 0);
	n = lseek(a, 0, SEEK_END);
	assert_int_equal(lseek(b, 0, SEEK_END), n);
	assert_int_equal(n % 512, 0);
	x = malloc((size_t)n);
	y = malloc((size_t)n);
	assert_int_equal(msb_pread_full(a, x, (size_t)n, 0), n);
	assert_int_equal(msb_pread_full(b, y, (size_t)n, 0), n);
	assert_memory_equal(x, y, n);

	assert_int_equal(import(a, other, &back), 0);
	same_files(other, back.digest);
	same_config(store, got.digest, other, back.digest);
	/* What is an archive of ours is one to the byte when it is exported again. */
	close(store);
	store = dup(other);
	assert_int_equal(ftruncate(b, 0), 0);
	assert_int_equal(lseek(b, 0, SEEK_SET), 0);
	assert_int_equal(export(b, back.digest, "host/repo:v1", &e), 0);
	assert_int_equal(msb_pread_full(b, y, (size_t)n, 0), n);
	assert_memory_equal(x, y, n);
	assert_int_equal(import(b, third, &thence), 0);
	assert_string_equal(thence.digest, back.digest);
}

/* Blobs that are no tars, one of them as large as its config is. */
static void exported_artifact(void **state)
{
	_cleanup_close_ int a = memfd_create("a", MFD_CLOEXEC), other = fix_store("other");
	_cleanup_str_ struct msb_str config = MSB_STR_INIT;
	_cleanup_(fix_image_done) struct fix_image i = {0};
	struct img_imported have, back;
	char digest[65];
	struct msb_err e;

	msb_str_adds(&config, "{}");
	fake_add(&from, NULL, "", "{}", 2, digest);
	msb_str_addf(&i.layers, "{\"mediaType\":\"text/json\",\"digest\":\"sha256:%s\",\"size\":2}",
		digest);
	fix_manifest(&from, &i, "thing", "application/vnd.oci.empty.v1+json", &config);
	assert_int_equal(pull_from(&from, store, "thing", &have), 0);
	assert_int_equal(export(a, have.digest, "host/thing:v1", &e), 0);
	assert_int_equal(import(a, other, &back), 0);
	assert_string_equal(back.digest, have.digest);
	assert_string_equal(back.kind, "artifact");
}

static void export_refused(void **state)
{
	_cleanup_close_ int pack = openat(store, "packs/00000001", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int a = memfd_create("a", MFD_CLOEXEC);
	struct msb_err e;

	assert_int_equal(export(full, got.digest, "host/repo:v1", &e), -ENOSPC);
	assert_int_equal(msb_pwrite_full(pack, "damage", 6, 100), 0);
	assert_int_equal(export(a, got.digest, "host/repo:v1", &e), -EBADMSG);
	assert_int_equal(
		export(a, "0000000000000000000000000000000000000000000000000000000000000000",
			"host/repo:v1", &e),
		-ENOENT);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pushed_afresh),
		T(pushed_as_it_was),
		T(refused),
		T(artifact),
		T(exported),
		T(exported_artifact),
		T(export_refused),
	};

	return cmocka_run_group_tests_name("push", tests, NULL, NULL);
}
