// SPDX-License-Identifier: Apache-2.0
// msb-image, killed at any moment, out of space, or asked for twice at once: what is in the store
// is whole, and trying again succeeds. `test_import_kill KILLS FULLS` does it more often.
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
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <cmocka.h>

#define FILES  1500
#define LAYERS 3

static unsigned int kills = 30, fulls = 8;
static uint64_t whole_ms, whole_kib; /* what an import takes */
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

static void add_file(struct msb_str *tar, int k)
{
	char buf[20000], name[32];

	(void)snprintf(name, sizeof(name), "d%d/f%d", k % 50, k);
	fill(buf, k);
	tar_file(tar, name, buf, file_bytes(k));
}

/* An archive as docker save makes it. The same file is in two layers: they are unpacked at once. */
static int setup(void **state)
{
	static const char list[] = "[{\"Config\":\"c.json\",\"Layers\":[\"0\",\"1\",\"2\"]}]";
	_cleanup_str_ struct msb_str all = MSB_STR_INIT, c = MSB_STR_INIT;
	unsigned char raw[32];

	if (bin_beside("msb-image", bin_dir, sizeof(bin_dir)) < 0 || !mkdtemp(dir))
		return -1;
	msb_str_adds(&c, "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[");
	for (int l = 0; l < LAYERS; l++) {
		_cleanup_str_ struct msb_str tar = MSB_STR_INIT;
		char hex[65], name[2] = {(char)('0' + l)};

		for (int k = l; k < FILES; k += LAYERS)
			add_file(&tar, k);
		add_file(&tar, 1);
		tar_end(&tar);
		(void)EVP_Digest(tar.buf, tar.len, raw, NULL, EVP_sha256(), NULL);
		msb_hex(raw, 32, hex);
		msb_str_addf(&c, "%s\"sha256:%s\"", l ? "," : "", hex);
		tar_file(&all, name, tar.buf, tar.len);
	}
	msb_str_adds(&c, "]}}");
	tar_file(&all, "c.json", c.buf, c.len);
	tar_file(&all, "manifest.json", list, strlen(list));
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

static void print(void *arg, const char *line)
{
	print_error("%s\n", line);
}

/* All that is there is what it was: layers, trees and documents of every image. */
static void clean(int store)
{
	struct msb_err e = {0};

	if (img_verify(CALL(bin_dir, store, -1), NULL, print, NULL, &e) < 0)
		fail_msg("%s", e.msg);
}

static unsigned int random_below(unsigned int n)
{
	static uint64_t x = 88172645463325252; /* the same points each time */

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned int)(x % n);
}

/* At some moment before @max_us are over. */
static void some_time(int timer, uint64_t max_us)
{
	uint64_t us = 1 + random_below((unsigned int)max_us);
	struct itimerspec when = {
		.it_value = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000}};

	assert_int_equal(timerfd_settime(timer, 0, &when, NULL), 0);
}

/* From the first moment to past the end. */
static int killer(uint64_t ms)
{
	int t = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	assert_true(t >= 0);
	some_time(t, ms * 1200);
	return t;
}

static uint64_t kib_of(int store)
{
	uint64_t n = 0;

	for (const char **d = (const char *[]){"packs", "layers", NULL}; *d; d++) {
		int fd = openat(store, *d, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_closedir_ DIR *dp = fdopendir(fd);
		const struct dirent *de;
		struct stat st;

		assert_non_null(dp);
		while ((de = readdir(dp)))
			if (fstatat(fd, de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
				n += (uint64_t)st.st_blocks / 2;
	}
	return n;
}

static void whole(void **state)
{
	_cleanup_close_ int store = new_store("whole");
	struct img_imported got;
	struct msb_err e = {0};
	uint64_t t = msb_now_ms();

	assert_int_equal(import_path(CALL(bin_dir, store, -1), source, &got, &e), 0);
	whole_ms = msb_now_ms() - t + 1;
	whole_kib = kib_of(store);
	verify(store, got.digest);
	clean(store);
	assert_int_equal(entries(store, "layers"), LAYERS);
	/* Packs and their lists. The first layer has one file that is not small, which another has
	 * too: where that one is quicker the first needs no pack. */
	assert_in_range(entries(store, "packs"), 2 * (LAYERS - 1), 2 * LAYERS);
	assert_int_equal(entries(store, "tmp"), 0);
}

static int gc_all(int store, int cancel, bool prune)
{
	struct msb_err e = {0};

	return img_gc(CALL(bin_dir, store, cancel), (const char *[]){NULL}, prune, &e);
}

struct beside {
	int store, cancel, result;
	struct msb_err e;
};

static void *import_beside(void *arg)
{
	struct beside *b = arg;
	struct img_imported got;

	b->result = import_path(CALL(bin_dir, b->store, b->cancel), source, &got, &b->e);
	return NULL;
}

/* One or two imports and a gc, each killed at some point or not. */
static unsigned int one_round(int store, unsigned int k)
{
	_cleanup_close_ int t1 = killer(whole_ms), t2 = killer(whole_ms),
			    t3 = killer(whole_ms / 4 + 1);
	struct beside a = {.store = store, .cancel = t1}, b = {.store = store, .cancel = t2};
	pthread_t thread[2];
	int gc = 0;

	assert_int_equal(pthread_create(&thread[0], NULL, import_beside, &a), 0);
	if (k % 3 == 1)
		assert_int_equal(pthread_create(&thread[1], NULL, import_beside, &b), 0);
	if (k % 4 == 2)
		gc = gc_all(store, t3, false);
	(void)pthread_join(thread[0], NULL);
	if (k % 3 == 1)
		(void)pthread_join(thread[1], NULL);
	if (k % 4 == 0) {
		gc = gc_all(store, t3, k % 8);
	} else if (k % 4 == 3) {
		some_time(t3, whole_ms * 200);
		gc = gc_all(store, t3, true);
	}
	if ((a.result < 0 && a.result != -EINTR) || (b.result < 0 && b.result != -EINTR))
		fail_msg("round %u: %s %s", k, a.e.msg, b.e.msg);
	assert_true(gc >= 0 || gc == -EINTR);
	return (a.result < 0) + (b.result < 0) + (gc < 0);
}

static void killed(void **state)
{
	_cleanup_close_ int store = new_store("killed");
	struct img_imported got;
	struct msb_err e = {0};
	unsigned int dead = 0, alive = 0;

	for (unsigned int k = 0; dead < kills && k < 4 * kills; k++) {
		unsigned int n = one_round(store, k);

		dead += n;
		alive += !n;
		if (!n) /* the machine was busier when it was measured */
			whole_ms = whole_ms * 9 / 10 + 1;
		clean(store);
	}
	print_message("%u killed, %u rounds without\n", dead, alive);
	assert_true(dead >= kills / 2);
	assert_int_equal(import_path(CALL(bin_dir, store, -1), source, &got, &e), 0);
	verify(store, got.digest);
	clean(store);
	assert_int_equal(
		img_gc(CALL(bin_dir, store, -1), (const char *[]){got.digest, NULL}, true, &e), 0);
	verify(store, got.digest);
	assert_int_equal(entries(store, "images"), 1);
	assert_int_equal(entries(store, "layers"), LAYERS);
	assert_int_equal(entries(store, "tmp"), 0);
	assert_true(kib_of(store) <= whole_kib + 64); /* nothing twice, nothing lost */
	assert_int_equal(gc_all(store, -1, true), 0);
	for (const char **d = (const char *[]){"images", "layers", "packs", "blobs", "tmp", NULL};
		*d; d++)
		assert_int_equal(entries(store, *d), 0);
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
	if (entries(store, "images") || entries(store, "layers") || entries(store, "packs") ||
		entries(store, "tmp"))
		_exit(12);
	if (mount("t", path, "tmpfs", MS_REMOUNT, "size=100m") < 0)
		_exit(77);
	if (import_path(CALL(bin_dir, store, -1), source, &got, &e) < 0 ||
		img_verify(CALL(bin_dir, store, -1), NULL, print, NULL, &e) < 0)
		_exit(13);
	_exit(0);
}

/* In a child too: not one more file can be made. */
static void full_gc(void)
{
	char path[64], options[64];
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct img_imported got;
	struct msb_err e = {0};
	struct statvfs v;
	int store;

	(void)snprintf(path, sizeof(path), "%s/small", dir);
	if (own_user_namespace() < 0 || unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("t", path, "tmpfs", 0, "size=100m,nr_inodes=1000,mode=0700") < 0)
		_exit(77);
	store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (import_path(CALL(bin_dir, store, -1), source, &got, &e) < 0 || fstatvfs(store, &v) < 0)
		_exit(10);
	(void)snprintf(options, sizeof(options), "nr_inodes=%llu",
		(unsigned long long)(v.f_files - v.f_ffree));
	if (mount("t", path, "tmpfs", MS_REMOUNT, options) < 0)
		_exit(77);
	if (mkdirat(store, "more", 0700) == 0 || errno != ENOSPC)
		_exit(11);
	if (img_stat(CALL(bin_dir, store, -1), &text, &e) < 0 || !strstr(text.buf, "images 1\n") ||
		img_verify(CALL(bin_dir, store, -1), NULL, print, NULL, &e) < 0)
		_exit(12);
	if (gc_all(store, -1, false) != 0 || entries(store, "images") || entries(store, "packs"))
		_exit(13);
	_exit(0);
}

static void no_room_to_clean(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		full_gc();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip(); /* nothing may be mounted here */
	assert_int_equal(status, 0);
}

/* Out of space anywhere, from the first directory to the last document; then with room. */
static void no_space(void **state)
{
	char path[64];
	unsigned int full = 0;
	int status;

	(void)snprintf(path, sizeof(path), "%s/small", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (unsigned int k = 0; k <= fulls; k++) {
		/* Half of them in the last 256 KiB, where lists, records and the index are. */
		uint64_t kib =
			k % 2 ? whole_kib - 128 + 256 * k / fulls : 16 + whole_kib * k / fulls;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			fill_up(kib);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* nothing may be mounted here */
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 10)
			fail_msg("%llu KiB: %d", (unsigned long long)kib, WEXITSTATUS(status));
		full += WEXITSTATUS(status) == 0;
	}
	assert_true(full > fulls / 2);
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
	assert_int_equal(entries(store, "layers"), LAYERS);
	assert_int_equal(entries(store, "tmp"), 0);
	assert_true(kib_of(store) <= whole_kib + 64);
	clean(store);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole),
		cmocka_unit_test(killed),
		cmocka_unit_test(no_space),
		cmocka_unit_test(no_room_to_clean),
		cmocka_unit_test(both_at_once),
		cmocka_unit_test(gc),
		cmocka_unit_test(sentences),
	};

	if (argc == 3) {
		kills = (unsigned int)strtoul(argv[1], NULL, 10);
		fulls = (unsigned int)strtoul(argv[2], NULL, 10);
	}
	return cmocka_run_group_tests_name("import_kill", tests, setup, teardown);
}
