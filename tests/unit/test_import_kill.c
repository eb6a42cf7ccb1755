// SPDX-License-Identifier: Apache-2.0
// msb-image, killed at any moment, out of space, or asked for twice at once: an image is whole or
// absent.
#include "fs/image/image.h"
#include "fs/image/index.h"
#include "fs/image/sha.h"
#include "tests/unit/beside.h"
#include "tests/unit/imgcall.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <cmocka.h>

#define FILES  1500
#define ROUNDS 25

static uint64_t pack_kib; /* what the contents take */
static char dir[] = "/tmp/test_kill.XXXXXX", bin_dir[4096], source[64];

static size_t file_bytes(int k)
{
	return k % 3 == 0 ? 100 : 3000 + (size_t)k * 7;
}

static void fill(char *p, int k)
{
	unsigned int x = (unsigned int)k * 2654435761u + 1;

	for (size_t j = 0; j < file_bytes(k); j++) {
		x = x * 1103515245 + 12345;
		p[j] = (char)(x >> 16);
	}
}

/* An archive as docker save makes it, of one layer. */
static int setup(void **state)
{
	static const char list[] = "[{\"Config\":\"c.json\",\"Layers\":[\"layer.tar\"]}]";
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT, all = MSB_STR_INIT, c = MSB_STR_INIT;
	unsigned char raw[32];
	char hex[65], buf[20000], name[32];

	if (bin_beside("msb-image", bin_dir, sizeof(bin_dir)) < 0 || !mkdtemp(dir))
		return -1;
	for (int k = 0; k < FILES; k++) {
		(void)snprintf(name, sizeof(name), "d%d/f%d", k % 50, k);
		fill(buf, k);
		tar_file(&tar, name, buf, file_bytes(k));
	}
	tar_end(&tar);
	(void)EVP_Digest(tar.buf, tar.len, raw, NULL, EVP_sha256(), NULL);
	msb_hex(raw, 32, hex);
	msb_str_addf(&c,
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}",
		hex);
	tar_file(&all, "c.json", c.buf, c.len);
	tar_file(&all, "manifest.json", list, strlen(list));
	tar_file(&all, "layer.tar", tar.buf, tar.len);
	tar_end(&all);
	(void)snprintf(source, sizeof(source), "%s/image.tar", dir);
	return msb_write_file_atomic(AT_FDCWD, source, all.buf, all.len, 0600);
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static int new_store(const char *name)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Every file of the image, and every byte. */
static void verify(int store, const char *digest)
{
	_cleanup_close_ int packs = openat(store, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[128], want[20000], got[20000], name[32];
	struct msb_err e = {0};
	struct img_index *ix;
	int fd;

	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	fd = openat(store, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_index_open(fd, &ix, &e), 0);
	close(fd);
	assert_int_equal(img_index_inodes(ix), 1 + 50 + FILES);
	for (int k = 0; k < FILES; k++) {
		size_t n = (size_t)snprintf(name, sizeof(name), "d%d", k % 50), len;
		const char *p;
		uint64_t nid;

		assert_int_equal(img_index_lookup(ix, img_index_root(ix), name, n, &nid), 0);
		n = (size_t)snprintf(name, sizeof(name), "f%d", k);
		assert_int_equal(img_index_lookup(ix, nid, name, n, &nid), 0);
		fill(want, k);
		if (img_index_inline(ix, nid, &p, &len) == 0) {
			assert_int_equal(len, file_bytes(k));
			assert_memory_equal(p, want, len);
		} else {
			struct img_extent x;
			_cleanup_close_ int pack = -1;

			assert_int_equal(img_index_extent(ix, nid, 0, &x), 0);
			assert_int_equal(x.len, file_bytes(k));
			(void)snprintf(name, sizeof(name), "%08x", x.pack_id);
			pack = openat(packs, name, O_RDONLY | O_CLOEXEC);
			assert_int_equal(msb_pread_full(pack, got, x.len, x.pack_off), x.len);
			assert_memory_equal(got, want, x.len);
		}
	}
	img_index_close(ix);
}

static size_t entries(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return d ? n - 2 : 0;
}

static int import_after(int store, long us, struct img_imported *got, struct msb_err *e)
{
	struct itimerspec when = {.it_value = {us / 1000000, us % 1000000 * 1000}};
	_cleanup_close_ int t = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	assert_int_equal(timerfd_settime(t, 0, &when, NULL), 0);
	return import_path(CALL(bin_dir, store, t), source, got, e);
}

static void killed(void **state)
{
	struct img_imported got;
	struct msb_err e = {0};
	int store, dead = 0, r;
	uint64_t t, whole;
	struct stat st;

	store = new_store("whole");
	t = msb_now_ms();
	assert_int_equal(import_path(CALL(bin_dir, store, -1), source, &got, &e), 0);
	whole = msb_now_ms() - t + 1;
	verify(store, got.digest);
	assert_int_equal(fstatat(store, "packs/00000001", &st, 0), 0);
	pack_kib = (uint64_t)st.st_size / 1024;
	close(store);
	store = new_store("killed");
	for (long k = 0; k < ROUNDS; k++) { /* from the first moment to past the end */
		struct img_imported late = {0};
		size_t images;

		e = (struct msb_err){0};
		r = import_after(store, (long)whole * 1200 * k / ROUNDS + 1, &late, &e);
		images = entries(store, "images");
		if (r == 0) {
			verify(store, late.digest);
			assert_int_equal(
				img_gc(CALL(bin_dir, store, -1), (const char *[]){NULL}, false, &e),
				0);
		} else {
			assert_int_equal(r, -EINTR);
			dead++;
			if (images) /* killed after the rename, before the answer */
				verify(store, got.digest);
		}
	}
	assert_true(dead > 0);
	assert_int_equal(import_path(CALL(bin_dir, store, -1), source, &got, &e), 0);
	verify(store, got.digest);
	assert_int_equal(entries(store, "images"), 1);
	assert_int_equal(entries(store, "packs"), 2); /* a pack and its list: all else is gone */
	assert_int_equal(entries(store, "tmp"), 0);
	close(store);
}

static int put(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : msb_write_full(fd, text, strlen(text));
}

/* An ordinary user mounts only in a user namespace, as root of it. */
static int own_user_namespace(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	char uids[32], gids[32];

	if (uid == 0)
		return 0;
	(void)snprintf(uids, sizeof(uids), "0 %u 1", uid);
	(void)snprintf(gids, sizeof(gids), "0 %u 1", gid);
	if (unshare(CLONE_NEWUSER) < 0 || put("/proc/self/setgroups", "deny") < 0 ||
		put("/proc/self/uid_map", uids) < 0)
		return -1;
	return put("/proc/self/gid_map", gids);
}

/* In a child with a small file system of its own, which goes with it. */
static void fill_up(uint64_t kib)
{
	char path[64], options[64];
	struct img_imported got;
	struct msb_err e = {0};
	int store, r;

	(void)snprintf(path, sizeof(path), "%s/small", dir);
	(void)snprintf(options, sizeof(options), "size=%lluk,mode=0700", (unsigned long long)kib);
	if (own_user_namespace() < 0 || unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("t", path, "tmpfs", 0, options) < 0)
		_exit(77);
	store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = import_path(CALL(bin_dir, store, -1), source, &got, &e);
	if (r == 0)
		_exit(10);
	if (r != -ENOSPC || !strstr(e.msg, "No space"))
		_exit(11);
	if (entries(store, "images") || entries(store, "packs") || entries(store, "tmp"))
		_exit(12);
	_exit(0);
}

static void no_space(void **state)
{
	/* Out of space in the contents, their last flush, their list, the index; and not at all. */
	const struct {
		uint64_t kib;
		int exit;
	} rows[] = {{512, 0}, {pack_kib / 2, 0}, {pack_kib - 4, 0}, {pack_kib + 8, 0},
		{pack_kib + 100, 0}, {pack_kib + 4096, 10}};
	char path[64];
	int status;

	(void)snprintf(path, sizeof(path), "%s/small", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			fill_up(rows[k].kib);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* nothing may be mounted here */
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), rows[k].exit);
	}
}

static void *importer(void *arg)
{
	struct img_imported got;
	struct msb_err e = {0};

	return (void *)(intptr_t)import_path(CALL(bin_dir, *(int *)arg, -1), source, &got, &e);
}

static void both_at_once(void **state)
{
	int store = new_store("both");
	pthread_t t[2];
	void *r;

	for (int k = 0; k < 2; k++)
		assert_int_equal(pthread_create(&t[k], NULL, importer, &store), 0);
	for (int k = 0; k < 2; k++) {
		assert_int_equal(pthread_join(t[k], &r), 0);
		assert_int_equal((intptr_t)r, 0);
	}
	assert_int_equal(entries(store, "images"), 1);
	assert_int_equal(entries(store, "packs"), 2);
	close(store);
}

static void gc(void **state)
{
	static char text[IMG_MAX_KEEP + 1][65];
	const char *keep[IMG_MAX_KEEP + 2] = {NULL};
	int store = new_store("gc");
	struct img_imported got;
	struct msb_err e = {0};

	assert_int_equal(import_path(CALL(bin_dir, store, -1), source, &got, &e), 0);
	for (int k = 0; k <= IMG_MAX_KEEP; k++) {
		(void)snprintf(text[k], sizeof(text[k]), "%064x", k);
		keep[k] = text[k];
	}
	assert_int_equal(img_gc(CALL(bin_dir, store, -1), keep, false, &e), -E2BIG);
	keep[IMG_MAX_KEEP] = NULL;
	keep[IMG_MAX_KEEP - 1] = got.digest;
	assert_int_equal(img_gc(CALL(bin_dir, store, -1), keep, false, &e), 0);
	verify(store, got.digest);
	assert_int_equal(
		img_gc(CALL(bin_dir, store, -1), (const char *[]){"mistyped", NULL}, false, &e),
		-EINVAL);
	verify(store, got.digest);
	assert_int_equal(img_gc(CALL(bin_dir, store, -1), (const char *[]){NULL}, false, &e), 0);
	assert_int_equal(entries(store, "images"), 0);
	assert_int_equal(entries(store, "packs"), 0);
	close(store);
}

static void sentences(void **state)
{
	_cleanup_close_ int store = new_store("errors");
	struct img_imported got;
	struct msb_err e = {0};

	assert_int_equal(import_path(CALL(bin_dir, store, -1), "/no/such", &got, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/no/such"));
	assert_int_equal(import_path(CALL(bin_dir, store, -1), "/dev/null", &got, &e), -EBADMSG);
	assert_int_equal(import_path(CALL("/no/bin", store, -1), source, &got, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/no/bin/msb-image"));
	assert_int_equal(import_path(CALL(bin_dir, store, -1), dir, &got, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "neither index.json"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed),
		cmocka_unit_test(no_space),
		cmocka_unit_test(both_at_once),
		cmocka_unit_test(gc),
		cmocka_unit_test(sentences),
	};

	return cmocka_run_group_tests_name("import_kill", tests, setup, teardown);
}
