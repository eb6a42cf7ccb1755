// SPDX-License-Identifier: Apache-2.0
// What mounts refuse: how much of it is kept, and what the wrapper says of an operation.
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/denials.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

static bool readable(const struct denials *d)
{
	return msb_wait_fd(denials_fd(d), POLLIN, 0) == 0;
}

static void a_flood_is_counted(void **state)
{
	struct denials *d = denials_new();
	struct denial x = {.error = EACCES}, got;

	assert_non_null(d);
	assert_false(readable(d));
	for (uint32_t i = 0; i < 10000; i++) {
		x.pid = i;
		denials_add_at(d, &x, 1000);
	}
	assert_true(readable(d));
	for (uint32_t i = 0; i < DENIALS_MAX; i++) {
		assert_true(denials_take(d, &got));
		assert_int_equal(got.pid, i);
		assert_int_equal(got.more, 0);
	}
	assert_false(denials_take(d, &got));
	assert_false(readable(d));
	denials_add_at(d, &x, 1000 + DENIALS_MS - 1);
	assert_false(denials_take(d, &got));
	denials_add_at(d, &x, 1000 + DENIALS_MS);
	assert_true(denials_take(d, &got));
	assert_int_equal(got.more, 10000 - DENIALS_MAX + 1);
	denials_add_at(d, &x, 1000 + DENIALS_MS);
	assert_true(denials_take(d, &got));
	assert_int_equal(got.more, 0);
	denials_free(d);
}

/* Where nobody takes any, the first ones stay. */
static void nobody_takes_them(void **state)
{
	struct denials *d = denials_new();
	struct denial x = {.error = EPERM}, got;
	unsigned int n = 0;

	for (uint32_t i = 0; i < 10 * DENIALS_MAX; i++) {
		x.pid = i;
		denials_add_at(d, &x, 1 + (uint64_t)i * DENIALS_MS);
	}
	while (denials_take(d, &got))
		assert_int_equal(got.pid, n++);
	assert_int_equal(n, DENIALS_MAX);
	denials_free(d);
	assert_null(denials_free(NULL));
}

static void *adds(void *arg)
{
	const struct denial x = {.error = EACCES};

	for (int i = 0; i < 2000; i++)
		denials_add_at(arg, &x, 5);
	return NULL;
}

static void many_threads(void **state)
{
	struct denials *d = denials_new();
	struct denial got;
	pthread_t t[4];
	unsigned int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, adds, d), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	while (denials_take(d, &got))
		n++;
	assert_int_equal(n, DENIALS_MAX);
	denials_free(d);
}

/* ---- the wrapper over a real directory */

static char top[64];
static int host;
static struct fsd_fs fs;
static struct fusereq q;
static struct fsb_options o;
static struct denials *told;

static int setup(void **state)
{
	(void)snprintf(top, sizeof(top), "/tmp/msb-denied-XXXXXX");
	assert_non_null(mkdtemp(top));
	host = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(host, "a", 0755), 0);
	assert_int_equal(msb_write_file_atomic(host, "a/x.key", "k", 1, 0644), 0);
	q.w = calloc(1, sizeof(*q.w));
	told = denials_new();
	return 0;
}

static int teardown(void **state)
{
	free(q.w);
	close(host);
	denials_free(told);
	return msb_rm_rf(AT_FDCWD, top);
}

static void mount(const char *options)
{
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse("passthrough", options, strlen(options), &o, &e), 0);
	from.options = &o;
	from.mount = "/in/guest";
	from.denials = told;
	from.dir_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_stack_start("passthrough", &from, &b, &e) < 0)
		fail_msg("%s", e.msg);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_init(&q), 0);
}

static void unmount(void)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
}

static void says(enum fsb_op op, int error, const char *path)
{
	struct denial x;

	assert_true(denials_take(told, &x));
	assert_int_equal(x.op, op);
	assert_int_equal(x.error, error);
	assert_string_equal(x.path, path);
	assert_string_equal(x.mount, "/in/guest");
	assert_false(denials_take(told, &x));
}

static void what_rules_refuse(void **state)
{
	struct denial x;
	uint64_t a;

	mount("deny=**/*.key,redact=b");
	a = req_lookup(&q, 1, "a");
	assert_true(a != 0);
	assert_int_equal(req_lookup(&q, a, "x.key"), 0);
	says(FSB_LOOKUP, EACCES, "/a/x.key");
	assert_int_equal(req_mkdir(&q, a, "d.key", 0755), -EACCES);
	says(FSB_MKDIR, EACCES, "/a/d.key");
	assert_int_equal(req_mkdir(&q, a, "d", 0755), 0);
	/* What fails otherwise is nobody's refusal. */
	assert_int_equal(req_mkdir(&q, a, "d", 0755), -EEXIST);
	assert_int_equal(req_lookup(&q, a, "nothing"), 0);
	assert_false(denials_take(told, &x));
	unmount();
}

static void without_rules_nothing_is_told(void **state)
{
	struct denial x;

	mount("error=lookup:EACCES:1");
	assert_int_equal(req_lookup(&q, 1, "a"), 0);
	assert_false(denials_take(told, &x));
	unmount();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_is_counted),
		cmocka_unit_test(nobody_takes_them),
		cmocka_unit_test(many_threads),
		cmocka_unit_test_setup_teardown(what_rules_refuse, setup, teardown),
		cmocka_unit_test_setup_teardown(without_rules_nothing_is_told, setup, teardown),
	};

	return cmocka_run_group_tests_name("denials", tests, NULL, NULL);
}
