// SPDX-License-Identifier: Apache-2.0
// What mounts refuse: how much of it is kept, and what the wrapper says of an operation.
#include "tests/unit/stack_fixture.h"
#include "fs/denials.h"
#include "fs/filter.h"
#include "fs/names.h"

#include <poll.h>
#include <pthread.h>

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

static struct denials *told;

static int setup(void **state)
{
	(void)setup_dir();
	assert_int_equal(mkdirat(host, "a", 0755), 0);
	assert_int_equal(msb_write_file_atomic(host, "a/x.key", "k", 1, 0644), 0);
	told = denials_new();
	return 0;
}

static int done(void **state)
{
	told = denials_free(told);
	return teardown(state);
}

static void mount(const char *options)
{
	struct fsb_start from = FSB_START_NONE;

	from.mount = "/in/guest";
	from.denials = told;
	mount_as("passthrough", options, &from);
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

static unsigned int kept_tables(void)
{
	unsigned int n = 0;

	for (struct fsb *b = fs.b, *below; (below = fsb_filter_below(b)); b = below)
		n += fsb_filter_of(b)->keeps_names;
	return n;
}

/* Rules, and who tells of them, go by one table of names: it follows renames, is saved with a node,
 * and empties as nodes are forgotten. */
static void one_table_of_names(void **state)
{
	uint8_t buf[4096];
	int64_t n, again;
	struct fsb *b;
	uint64_t a;

	mount("deny=*.key,delay=write:1ms");
	b = fs.b;
	assert_int_equal(kept_tables(), 1);
	while (!fsb_filter_of(b)->keeps_names)
		b = fsb_filter_below(b);
	a = req_lookup(&q, 1, "a");
	assert_int_equal(fsb_names_count(fsb_filter_of(b)->names), 1);
	assert_int_equal(req_rename(&q, 1, "a", 1, "moved", 0), 0);
	assert_int_equal(req_mkdir(&q, a, "d.key", 0755), -EACCES);
	says(FSB_MKDIR, EACCES, "/moved/d.key");
	n = fs.b->ops->save(fs.b, a, buf, sizeof(buf));
	again = fsb_filter_below(b)->ops->save(fsb_filter_below(b), a, buf, sizeof(buf));
	assert_int_equal(n - again, 8 + 1 + strlen("moved"));
	req_forget(&q, a, 1);
	assert_int_equal(fsb_names_count(fsb_filter_of(b)->names), 0);
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
		cmocka_unit_test_setup_teardown(what_rules_refuse, setup, done),
		cmocka_unit_test_setup_teardown(one_table_of_names, setup, done),
		cmocka_unit_test_setup_teardown(without_rules_nothing_is_told, setup, done),
	};

	return cmocka_run_group_tests_name("denials", tests, NULL, NULL);
}
