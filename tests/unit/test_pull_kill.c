// SPDX-License-Identifier: Apache-2.0
// Pull and push, with msb-image or msb-registry killed at any moment, or no space left: the store
// is whole each time, and the next try succeeds.
#include "fs/image/client_int.h"
#include "tests/unit/beside.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/imgcall.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <cmocka.h>

#define LAYERS 3
#define FILES  120
#define BYTES  9000
#define ROUNDS 25

static char bin_dir[4096];
static struct fake fake, target;
static struct fix_image image;

static int setup(void **state)
{
	memcpy(fix_dir, "/tmp/test_image.XXXXXX", sizeof(fix_dir));
	if (!mkdtemp(fix_dir) || bin_beside("msb-image", bin_dir, sizeof(bin_dir)) < 0)
		return -1;
	image = (struct fix_image){0};
	for (unsigned int k = 0; k < LAYERS; k++) {
		_cleanup_str_ struct msb_str tar = MSB_STR_INIT;
		const char where[] = {(char)('a' + k), 0};

		fix_tar(&tar, where, FILES, BYTES, k + 1);
		fix_layer(&fake, &image, &tar, k == 1 ? IMG_ZSTD : IMG_GZIP);
	}
	fix_image(&fake, &image, "v1");
	return 0;
}

static int teardown(void **state)
{
	fake.die_after = 0;
	fake_done(&fake);
	fake_done(&target);
	fix_image_done(&image);
	return msb_rm_rf(AT_FDCWD, fix_dir);
}

/* msb-image itself; killed after @us where that is not 0. */
static int ask(struct fake *f, int store, long us, struct msb_msg *m, struct msb_err *e)
{
	struct itimerspec when = {.it_value = {us / 1000000, us % 1000000 * 1000}};
	_cleanup_close_ int t = us ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) : -1;
	char verb[16];
	int sock = fake_start(f), r;

	(void)snprintf(verb, sizeof(verb), "%s", msb_msg_verb(m));
	if (us)
		assert_int_equal(timerfd_settime(t, 0, &when, NULL), 0);
	*e = (struct msb_err){0};
	r = client_run(CALL(bin_dir, store, t), verb, sock, NULL, NULL, m, e);
	close(sock);
	fake_join(f);
	return r;
}

static int pull(int store, long us, struct msb_err *e)
{
	static struct msb_msg m;

	msb_msg_init(&m, "pull");
	msb_msg_set(&m, "name", "v1");
	return ask(&fake, store, us, &m, e);
}

static int push(int store, long us, struct msb_err *e)
{
	static struct msb_msg m;

	msb_msg_init(&m, "push");
	msb_msg_set(&m, "name", "there");
	msb_msg_set(&m, "digest", "%s", image.manifest);
	return ask(&target, store, us, &m, e);
}

/* Every layer's first and last file. */
static void whole(int store)
{
	for (unsigned int k = 0; k < LAYERS; k++) {
		_cleanup_str_ struct msb_str tar = MSB_STR_INIT;

		fix_tar(&tar, "x", FILES, BYTES, k + 1);
		for (int f = 0; f < FILES; f += FILES - 1) {
			_cleanup_str_ struct msb_str got = MSB_STR_INIT;
			size_t at = (size_t)f * (512 + (BYTES + 511) / 512 * 512) + 512;
			char path[16];

			(void)snprintf(path, sizeof(path), "%c/f%d", 'a' + (int)k, f);
			assert_int_equal(fix_read(store, image.manifest, path, &got), 0);
			assert_int_equal(got.len, BYTES);
			assert_memory_equal(got.buf, tar.buf + at, BYTES);
		}
	}
}

static void empty(int store)
{
	const char *const none[] = {NULL};
	struct msb_err e = {0};

	assert_int_equal(img_gc(CALL(bin_dir, store, -1), none, true, &e), 0);
	assert_int_equal(fix_count(store, "images", NULL), 0);
	assert_int_equal(fix_count(store, "layers", NULL), 0);
	assert_int_equal(fix_count(store, "packs", NULL), 0);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

static long time_of(int (*fn)(int, long, struct msb_err *), int store)
{
	uint64_t t = msb_now_ms();
	struct msb_err e;

	assert_int_equal(fn(store, 0, &e), 0);
	return (long)(msb_now_ms() - t + 1) * 1000;
}

static void pull_killed(void **state)
{
	_cleanup_close_ int store = fix_store("store");
	long us = time_of(pull, store);
	int dead = 0;

	empty(store);
	for (long k = 0; k < ROUNDS; k++) { /* from the first moment to past the end */
		struct msb_err e;
		int r = pull(store, us * 12 / 10 * k / ROUNDS + 1, &e);

		dead += r == -EINTR;
		assert_true(r == 0 || r == -EINTR);
		if (r == 0 || fix_count(store, "images", NULL))
			whole(store);
		if (k % 3 == 0) {
			empty(store);
		} else if (r == 0) { /* and on top of what the last one left */
			assert_int_equal(pull(store, 0, &e), 0);
			assert_int_equal(fake.gets, 1);
			empty(store);
		}
	}
	assert_true(dead > 0);
	assert_int_equal(time_of(pull, store) > 0, 1);
	whole(store);
	assert_int_equal(fix_count(store, "layers", NULL), LAYERS);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

static void registry_killed(void **state)
{
	_cleanup_close_ int store = fix_store("store");
	uint64_t all = 0;

	for (int k = 0; k < LAYERS; k++) {
		char name[80];

		(void)snprintf(name, sizeof(name), "sha256:%s", image.v[k].digest);
		all += fake_find(&fake, name)->bytes.len;
	}
	for (uint64_t k = 1; k <= ROUNDS; k++) {
		struct msb_err e;
		int r;

		fake.die_after = all * k / ROUNDS;
		r = pull(store, 0, &e);
		if (r == 0)
			whole(store);
		else
			assert_int_equal(r, -EIO);
		assert_int_equal(fix_count(store, "images", NULL), r == 0);
		if (k % 4 == 0 || r == 0)
			empty(store);
	}
	fake.die_after = 0;
	assert_true(time_of(pull, store) > 0);
	whole(store);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

static void push_killed(void **state)
{
	_cleanup_close_ int store = fix_store("store"), other = fix_store("other");
	static struct msb_msg m;
	struct msb_err e;
	int dead = 0;
	long us;

	assert_int_equal(pull(store, 0, &e), 0);
	us = time_of(push, store);
	fake_done(&target);
	for (long k = 0; k < ROUNDS; k++) {
		int r = push(store, us * 12 / 10 * k / ROUNDS + 1, &e);

		dead += r == -EINTR;
		assert_true(r == 0 || r == -EINTR);
		assert_true(r < 0 || fake_find(&target, "there"));
		if (k % 3 == 0)
			fake_done(&target);
	}
	assert_true(dead > 0);
	assert_int_equal(push(store, 0, &e), 0);
	whole(store);
	assert_int_equal(fix_count(store, "tmp", NULL), 0);
	/* What is there now is all of it. */
	msb_msg_init(&m, "pull");
	msb_msg_set(&m, "name", "there");
	assert_int_equal(ask(&target, other, 0, &m, &e), 0);
	assert_int_equal(fix_count(other, "layers", NULL), LAYERS);
}

static int put(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : msb_write_full(fd, text, strlen(text));
}

/* An ordinary user mounts only in a user namespace, as root of it. */
static int own_namespaces(void)
{
	unsigned int uid = geteuid();
	char map[32];

	if (uid) {
		(void)snprintf(map, sizeof(map), "0 %u 1", uid);
		if (unshare(CLONE_NEWUSER) < 0 || put("/proc/self/uid_map", map) < 0)
			return -1;
	}
	if (unshare(CLONE_NEWNS) < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* In a child, with a small file system of its own: exit status 0 refused, 10 it fitted, 77 no
 * mounts here. */
static void fill_up(uint64_t kib)
{
	char path[80], options[64];
	struct msb_err e;
	int store, r;

	(void)snprintf(path, sizeof(path), "%s/small", fix_dir);
	(void)snprintf(options, sizeof(options), "size=%lluk,mode=0700", (unsigned long long)kib);
	if (own_namespaces() < 0 || mount("t", path, "tmpfs", 0, options) < 0)
		_exit(77);
	store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = pull(store, 0, &e);
	if (r == 0)
		_exit(10);
	if (r != -ENOSPC || !strstr(e.msg, "No space"))
		_exit(11);
	if (fix_count(store, "images", NULL) || fix_count(store, "packs", NULL) ||
		fix_count(store, "layers", NULL) || fix_count(store, "blobs", NULL) ||
		fix_count(store, "tmp", NULL))
		_exit(12);
	/* With room, it succeeds. */
	if (mount(NULL, path, NULL, MS_REMOUNT, "size=64m") < 0)
		_exit(13);
	_exit(pull(store, 0, &e) == 0 ? 0 : 14);
}

static void no_space(void **state)
{
	const uint64_t all = LAYERS * FILES * BYTES / 1024;
	int fitted = 0, refused = 0, status;
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/small", fix_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (uint64_t k = 0; k < 50; k++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			fill_up(64 + all * 25 / 10 * k / 50);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip(); /* nothing may be mounted here */
		assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10);
		fitted += WEXITSTATUS(status) == 10;
		refused += WEXITSTATUS(status) == 0;
	}
	assert_true(fitted > 0 && refused > 0);
}

static void *puller(void *arg)
{
	static struct fake other;
	struct msb_msg *m = malloc(sizeof(*m));
	struct msb_err e;
	int r;

	/* Another registry with the same image. */
	for (size_t k = 0; k < fake.n; k++)
		fake_add(&other, fake.docs[k].name, fake.docs[k].type, fake.docs[k].bytes.buf,
			fake.docs[k].bytes.len, NULL);
	msb_msg_init(m, "pull");
	msb_msg_set(m, "name", "v1");
	r = ask(&other, *(int *)arg, 0, m, &e);
	free(m);
	fake_done(&other);
	return (void *)(intptr_t)r;
}

static void two_at_once(void **state)
{
	_cleanup_close_ int store = fix_store("store");
	struct msb_err e;
	pthread_t t;
	void *r;

	assert_int_equal(pthread_create(&t, NULL, puller, &store), 0);
	assert_int_equal(pull(store, 0, &e), 0);
	assert_int_equal(pthread_join(t, &r), 0);
	assert_int_equal((intptr_t)r, 0);
	whole(store);
	assert_int_equal(fix_count(store, "images", NULL), 1);
	assert_int_equal(fix_count(store, "layers", NULL), LAYERS);
	assert_int_equal(fix_count(store, "blobs", NULL), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pull_killed),
		T(registry_killed),
		T(push_killed),
		T(no_space),
		T(two_at_once),
	};

	return cmocka_run_group_tests_name("pull_kill", tests, NULL, NULL);
}
