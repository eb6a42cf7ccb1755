// SPDX-License-Identifier: Apache-2.0
// fs/image/pull: images of every kind from a registry in memory, resumed, repaired, and lied to.
#include "fs/image/pull.h"
#include "tests/unit/image_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define FILES 40
#define BYTES 9000

static struct fake fake;

/* What was told, by layer: its last state. */
static struct {
	char state[FIX_MAX_LAYERS + 1][16];
	unsigned int layers;
	bool wrong;
} told;

static void on_progress(void *arg, const struct img_progress *p)
{
	told.layers = p->layers;
	if (p->layer > FIX_MAX_LAYERS || p->layer > p->layers || p->done_bytes > p->total_bytes)
		told.wrong = true;
	else if (p->layer)
		(void)snprintf(told.state[p->layer], sizeof(told.state[0]), "%s", p->state);
}

static int pull_as(
	int store, const char *name, bool repair, struct img_imported *got, struct msb_err *e)
{
	const struct img_pull_opts opts = {
		.name = name, .max_bytes = 64u << 20, .max_inodes = 1000, .progress = on_progress};
	struct img_remote *remote;
	struct img_store *st;
	int sock = fake_start(&fake), r;

	memset(&told, 0, sizeof(told));
	*e = (struct msb_err){0};
	assert_int_equal(img_remote_open(sock, &remote, e), 0);
	assert_int_equal(img_store_open(store, &st, e), 0);
	if (repair) /* what it was the last time */
		img_store_mark(st, got->digest, true);
	r = img_pull_run(remote, st, &opts, got, e);
	if (repair)
		assert_false(img_store_damaged(st, got->digest));
	img_remote_close(remote);
	img_store_close(st);
	close(sock);
	fake_join(&fake);
	assert_false(told.wrong);
	assert_int_equal(e->code, -r);
	return r;
}

static int pull(int store, const char *name, struct img_imported *got)
{
	struct msb_err e;
	int r = pull_as(store, name, false, got, &e);

	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static size_t size_of(const char *digest)
{
	char name[80];

	(void)snprintf(name, sizeof(name), "sha256:%s", digest);
	return fake_find(&fake, name)->bytes.len;
}

static void add_layer(struct fix_image *i, const char *where, unsigned int seed, int how)
{
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT;

	fix_tar(&tar, where, FILES, BYTES, seed);
	fix_layer(&fake, i, &tar, how);
}

static void same_file(int store, const char *digest, const char *path, unsigned int seed)
{
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT, got = MSB_STR_INIT;

	fix_tar(&tar, "x", 1, BYTES, seed);
	assert_int_equal(fix_read(store, digest, path, &got), 0);
	assert_int_equal(got.len, BYTES);
	assert_memory_equal(got.buf, tar.buf + 512, BYTES);
}

/* Nothing but what is complete: no image, no download, nothing half made. */
static void clean(int store, size_t layers)
{
	assert_int_equal(fix_count(store, "images", NULL), 0);
	assert_int_equal(fix_count(store, "layers", NULL), layers);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
	assert_int_equal(fix_count(store, "tmp", NULL), 0);
}

static int setup(void **state)
{
	memcpy(fix_dir, "/tmp/test_image.XXXXXX", sizeof(fix_dir));
	return mkdtemp(fix_dir) ? 0 : -1;
}

static int teardown(void **state)
{
	fake.lie = FAKE_HONEST;
	fake.die_after = 0;
	fake_done(&fake);
	return msb_rm_rf(AT_FDCWD, fix_dir);
}

/* Every compression and both families of types, an index, a layer that is there twice. */
static void kinds(void **state)
{
	static const int how[] = {IMG_GZIP, IMG_ZSTD, IMG_PLAIN, FIX_CHUNKED, IMG_GZIP};
	static const char *const where[] = {"a", "b", "c", "d", "a"};

	for (int docker = 0; docker < 2; docker++) {
		_cleanup_str_ struct msb_str index = MSB_STR_INIT, doc = MSB_STR_INIT;
		_cleanup_(fix_image_done) struct fix_image i = {.docker = docker};
		_cleanup_close_ int store = fix_store(docker ? "docker" : "oci");
		struct img_imported got;
		char digest[65], name[80];

		for (int k = 0; k < 5; k++)
			add_layer(&i, where[k], (unsigned int)where[k][0], how[k]);
		fix_image(&fake, &i, NULL);
		msb_str_addf(&index,
			"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":"
			"\"sha256:%s\",\"size\":%zu,\"platform\":{\"os\":\"linux\","
			"\"architecture\":\"amd64\"}}]}",
			docker ? IMG_TYPE_DOCKER : IMG_TYPE_MANIFEST, i.manifest,
			size_of(i.manifest));
		fake_add(&fake, "v1", IMG_TYPE_INDEX, index.buf, index.len, digest);
		assert_int_equal(pull(store, "v1", &got), 0);
		assert_string_equal(got.digest, i.manifest);
		assert_string_equal(got.kind, "image");
		assert_int_equal(got.size_bytes, 4 * FILES * BYTES);
		assert_int_equal(fake.gets, 4 + 1); /* and the config */
		assert_int_equal(fake.manifests, 2);
		assert_int_equal(told.layers, 5);
		for (int k = 1; k <= 5; k++)
			assert_string_equal(told.state[k], k < 5 ? "done" : "exists");
		for (int k = 0; k < 4; k++) {
			char path[8];

			(void)snprintf(path, sizeof(path), "%s/f0", where[k]);
			same_file(store, got.digest, path, (unsigned int)where[k][0]);
		}
		assert_int_equal(fix_count(store, "layers", NULL), 4);
		assert_int_equal(fix_count(store, "blobs", NULL), 0);
		assert_int_equal(fix_file(store, got.digest, "meta", &doc), 0);
		assert_non_null(strstr(doc.buf, "kind image\n"));
		assert_non_null(
			strstr(doc.buf, "created \"2026-01-02T03:04:05Z\"\ncmd.0 \"sh\"\n"));
		/* Again, and by digest: it is there. */
		(void)snprintf(name, sizeof(name), "sha256:%s", i.manifest);
		assert_int_equal(pull(store, name, &got), 0);
		assert_int_equal(fake.gets, 1);
		assert_string_equal(told.state[1], "exists");
		assert_int_equal(got.size_bytes, 4 * FILES * BYTES);
	}
}

/* What another image brought is not fetched. */
static void shared(void **state)
{
	_cleanup_(fix_image_done) struct fix_image a = {0}, b = {0};
	_cleanup_close_ int store = fix_store("store");
	struct img_imported got;

	add_layer(&a, "base", 1, IMG_GZIP);
	fix_image(&fake, &a, "a");
	add_layer(&b, "base", 1, IMG_ZSTD); /* the same tar */
	add_layer(&b, "own", 2, IMG_ZSTD);
	fix_image(&fake, &b, "b");
	assert_int_equal(pull(store, "a", &got), 0);
	assert_int_equal(pull(store, "b", &got), 0);
	assert_int_equal(fake.gets, 1 + 1);
	assert_string_equal(told.state[1], "exists");
	assert_string_equal(told.state[2], "done");
	same_file(store, got.digest, "base/f0", 1);
	same_file(store, got.digest, "own/f0", 2);
}

/* msb-registry dies: complete layers stay, the rest goes on where it was. */
static void resumed(void **state)
{
	_cleanup_(fix_image_done) struct fix_image i = {0};
	_cleanup_close_ int store = fix_store("store"), part = -1;
	char path[96];
	struct img_imported got;
	struct msb_err e;

	add_layer(&i, "a", 1, IMG_PLAIN);
	add_layer(&i, "b", 2, IMG_PLAIN);
	fix_image(&fake, &i, "v1");
	fake.die_after = 2 * FILES * BYTES - 100000;
	assert_int_equal(pull_as(store, "v1", false, &got, &e), -EIO);
	assert_int_equal(fix_count(store, "images", NULL), 0);
	assert_int_equal(fix_count(store, "blobs", ".part") + fix_count(store, "layers", NULL), 2);
	assert_true(fix_count(store, "blobs", ".part") > 0);
	fake.die_after = 0;
	assert_int_equal(pull(store, "v1", &got), 0);
	assert_true(fake.resumed > 0);
	assert_true(fake.sent < 2 * FILES * BYTES);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
	same_file(store, got.digest, "b/f0", 2);

	/* What was left is not what it was: from the beginning, then. */
	(void)close(steal_fd(&store));
	store = fix_store("other");
	fake.die_after = 2 * FILES * BYTES - 100000;
	assert_int_equal(pull_as(store, "v1", false, &got, &e), -EIO);
	(void)snprintf(path, sizeof(path), "blobs/%s.part", i.v[1].digest);
	part = openat(store, path, O_WRONLY | O_CLOEXEC);
	assert_true(part >= 0);
	assert_int_equal(msb_pwrite_full(part, "damage", 6, 5000), 0);
	fake.die_after = 0;
	assert_int_equal(pull(store, "v1", &got), 0);
	assert_true(fake.resumed > 0);
	same_file(store, got.digest, "b/f0", 2);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

static void lies(void **state)
{
	_cleanup_(fix_image_done) struct fix_image i = {0};

	add_layer(&i, "a", 1, IMG_GZIP);
	add_layer(&i, "b", 2, IMG_ZSTD);
	fix_image(&fake, &i, "v1");
	for (enum fake_lie lie = FAKE_BEYOND_FILE; lie < FAKE_LIES; lie++) {
		_cleanup_close_ int store = -1;
		struct img_imported got;
		struct msb_err e;
		char name[16];
		int r;

		(void)snprintf(name, sizeof(name), "store%d", lie);
		store = fix_store(name);
		fake.lie = lie;
		r = pull_as(store, "v1", false, &got, &e);
		if (lie == FAKE_TWICE && r == 0) /* heard too late to matter */
			continue;
		assert_int_equal(r, lie == FAKE_REFUSES ? -EACCES : -EBADMSG);
		if (lie == FAKE_REFUSES)
			continue;
		clean(store, 0);
		/* And then it is honest. */
		fake.lie = FAKE_HONEST;
		assert_int_equal(pull(store, "v1", &got), 0);
		same_file(store, got.digest, "b/f0", 2);
	}
}

static void wrong(void **state)
{
	_cleanup_(fix_image_done) struct fix_image i = {0};
	_cleanup_str_ struct msb_str bad = MSB_STR_INIT, huge = MSB_STR_INIT;
	_cleanup_close_ int store = fix_store("store");
	struct img_imported got;
	struct msb_err e;
	char name[80];

	add_layer(&i, "a", 1, IMG_GZIP);
	fix_image(&fake, &i, "v1");
	assert_int_equal(pull_as(store, "v2", false, &got, &e), -ENOENT);
	/* Another document under this digest. */
	(void)snprintf(name, sizeof(name), "sha256:%s", i.config);
	fake_add(&fake, name, "", fake_find(&fake, "v1")->bytes.buf,
		fake_find(&fake, "v1")->bytes.len, NULL);
	assert_int_equal(pull_as(store, name, false, &got, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "has the digest"));
	clean(store, 0);
	/* The config is what it is asked for, and is not: the same as before, from inside. */
	assert_int_equal(pull_as(store, "v1", false, &got, &e), -EBADMSG);
	clean(store, 0);
	/* What unpacks to something else than the config says. */
	msb_str_addf(&bad, "\"sha256:%s\"", i.manifest);
	msb_str_done(&i.diff_ids);
	i.diff_ids = bad;
	bad = (struct msb_str)MSB_STR_INIT;
	fix_image(&fake, &i, "v3");
	assert_int_equal(pull_as(store, "v3", false, &got, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "layer 1 of 1: damaged: it unpacks to"));
	clean(store, 0);
	/* A size past every limit is refused before anything is fetched. */
	msb_str_addf(&huge,
		"{\"mediaType\":\"" IMG_TYPE_TAR "\",\"digest\":\"sha256:%s\",\"size\":%llu}",
		i.manifest, (unsigned long long)INT64_MAX);
	msb_str_done(&i.layers);
	i.layers = huge;
	huge = (struct msb_str)MSB_STR_INIT;
	fix_image(&fake, &i, "v4");
	assert_int_equal(pull_as(store, "v4", false, &got, &e), -E2BIG);
	assert_int_equal(fake.gets, 1);
	clean(store, 0);
}

static void artifacts(void **state)
{
	static const char *const types[] = {"application/vnd.papercompute.stereos.kernel.v1",
		"application/vnd.papercompute.stereos.disk.v1+raw+zstd", "text/plain"};
	_cleanup_close_ int store = fix_store("store");

	for (int tape = 0; tape < 2; tape++) {
		_cleanup_(fix_image_done) struct fix_image i = {0};
		_cleanup_str_ struct msb_str meta = MSB_STR_INIT, config = MSB_STR_INIT;
		char blobs[3][65], path[80], bytes[3000];
		struct img_imported got;

		for (int k = 0; k < 3; k++) {
			memset(bytes, 'a' + k, sizeof(bytes));
			fake_add(
				&fake, NULL, "", bytes, 1000 * (size_t)k, blobs[k]); /* one empty */
			msb_str_addf(&i.layers,
				"%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%d}",
				k ? "," : "", types[tape ? k : 2], blobs[k], 1000 * k);
		}
		msb_str_adds(&config, "{\"mine\":true}");
		fix_manifest(
			&fake, &i, tape ? "tape" : "things", "application/vnd.x.config", &config);
		assert_int_equal(pull(store, tape ? "tape" : "things", &got), 0);
		assert_string_equal(got.kind, tape ? "mixtape" : "artifact");
		assert_int_equal(got.size_bytes, 3000 + config.len);
		assert_int_equal(fix_count(store, "blobs", NULL), 3);
		for (int k = 0; k < 3; k++) {
			_cleanup_str_ struct msb_str got_bytes = MSB_STR_INIT;

			(void)snprintf(path, sizeof(path), "blobs/%s", blobs[k]);
			assert_int_equal(msb_read_file(store, path, 1u << 20, &got_bytes), 0);
			assert_int_equal(got_bytes.len, 1000 * k);
			assert_true(!k || got_bytes.buf[0] == 'a' + k);
		}
		assert_int_equal(fix_file(store, got.digest, "meta", &meta), 0);
		assert_int_equal(strstr(meta.buf, "mixtape.kernel ") != NULL, tape);
		meta.len = 0;
		assert_int_equal(fix_file(store, got.digest, "config.json", &meta), 0);
		assert_string_equal(meta.buf, config.buf);
		assert_string_equal(told.state[2], tape ? "exists" : "done");
	}
}

/* A pack's bytes are gone bad: a repair brings them back, where they were. */
static void repaired(void **state)
{
	_cleanup_(fix_image_done) struct fix_image i = {0};
	_cleanup_close_ int store = fix_store("store"), pack = -1;
	_cleanup_str_ struct msb_str got_bytes = MSB_STR_INIT;
	struct img_imported got;
	struct msb_err e;
	char was[4096];

	add_layer(&i, "a", 1, IMG_GZIP);
	fix_image(&fake, &i, "v1");
	assert_int_equal(pull(store, "v1", &got), 0);
	pack = openat(store, "packs/00000001", O_RDWR | O_CLOEXEC);
	assert_int_equal(msb_pread_full(pack, was, 4096, 0), 4096);
	assert_int_equal(msb_pwrite_full(pack, "damage", 6, 100), 0);
	assert_int_equal(pull_as(store, "v1", true, &got, &e), 0);
	assert_int_equal(fix_read(store, got.digest, "a/f0", &got_bytes), 0);
	same_file(store, got.digest, "a/f0", 1);
	close(steal_fd(&pack));
	pack = openat(store, "packs/00000001", O_RDWR | O_CLOEXEC);
	assert_int_equal(msb_pread_full(pack, got_bytes.buf, 4096, 0), 4096);
	assert_memory_equal(got_bytes.buf, was, 4096);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(kinds),
		T(shared),
		T(resumed),
		T(lies),
		T(wrong),
		T(artifacts),
		T(repaired),
	};

	return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
