// SPDX-License-Identifier: Apache-2.0
// Which path a node was reached by: names that follow renames, limits, tags, saved state, threads.
#include "fs/names.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct fsb_names *t;
static char path[FSB_MAX_PATH];

static const char *path_of(uint64_t node, const char *name)
{
	(void)fsb_names_path(t, node, name, name ? strlen(name) : 0, path);
	return path;
}

static void enter(uint64_t parent, const char *name, uint64_t node)
{
	fsb_names_enter(t, parent, name, strlen(name), node);
}

static void names(void **state)
{
	const char *long_name = "a name of more bytes than an entry has room for";
	char want[100];

	t = fsb_names_new(10);
	assert_string_equal(path_of(1, NULL), "/");
	assert_string_equal(path_of(1, "x"), "/x");
	assert_string_equal(path_of(7, NULL), "?");
	assert_string_equal(path_of(7, "x"), "?/x");
	enter(1, "d", 2);
	enter(2, long_name, 3);
	enter(3, "f", 4);
	(void)snprintf(want, sizeof(want), "/d/%s/f", long_name);
	assert_string_equal(path_of(4, NULL), want);
	/* A directory's entry stays for what is below it, though nobody holds it. */
	fsb_names_forget(t, 2, 1);
	fsb_names_forget(t, 3, 1);
	assert_string_equal(path_of(4, NULL), want);
	assert_int_equal(fsb_names_count(t), 3);
	/* Of two names the last one counts. */
	enter(1, "hard", 4);
	assert_string_equal(path_of(4, NULL), "/hard");
	assert_int_equal(fsb_names_count(t), 1); /* nothing is below the directories any more */
	fsb_names_forget(t, 4, 1);
	assert_string_equal(path_of(4, NULL), "/hard");
	fsb_names_forget(t, 4, 5);
	assert_string_equal(path_of(4, NULL), "?");
	assert_int_equal(fsb_names_count(t), 0);
	fsb_names_forget(t, 99, 1);
	t = fsb_names_free(t);
}

static void names_limits(void **state)
{
	t = fsb_names_new(3);
	for (uint64_t i = 2; i < 10; i++)
		enter(1, "x", i);
	assert_int_equal(fsb_names_count(t), 3);
	assert_string_equal(path_of(4, NULL), "/x");
	assert_string_equal(path_of(5, NULL), "?");
	fsb_names_forget(t, 4, 1);
	enter(1, "x", 5);
	assert_string_equal(path_of(5, NULL), "/x");
	t = fsb_names_free(t);

	/* Paths longer than FSB_MAX_PATH, and loops, end. */
	t = fsb_names_new(5000);
	for (uint64_t i = 1; i < 3000; i++)
		enter(i, "x", i + 1);
	assert_int_equal(strlen(path_of(2001, NULL)), 4000);
	assert_int_equal(path[0], '/');
	assert_int_equal(path_of(2999, NULL)[0], '?');
	enter(2999, "loop", 2);
	assert_int_equal(path_of(50, NULL)[0], '?');
	t = fsb_names_free(t);
}

static unsigned int asked;

static int ask(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	asked++;
	return -ENOENT;
}

/* Names of which many others were entered since are known yet, nearly all. */
static void names_renamed(void **state)
{
	enum { N = 4096 };
	static const struct fsb_ops ops = {.lookup = ask};
	struct fsb next = {.ops = &ops};
	char name[16];

	t = fsb_names_new(2 * N);
	for (uint64_t i = 0; i < N; i++) {
		(void)snprintf(name, sizeof(name), "a%llu", (unsigned long long)i);
		enter(1, name, 2 + i);
	}
	asked = 0;
	for (uint64_t i = 0; i < N; i++) {
		const struct fsb_call c = {
			.op = FSB_RENAME, .node = 1, .name = name, .node2 = 1, .name2 = "b"};

		(void)snprintf(name, sizeof(name), "a%llu", (unsigned long long)i);
		fsb_names_renamed(t, &next, &c);
		if (asked == 0)
			assert_string_equal(path_of(2 + i, NULL), "/b");
	}
	assert_in_range(asked, 0, N / 20);
	t = fsb_names_free(t);
}

static void names_tags(void **state)
{
	t = fsb_names_new(10);
	enter(1, "d", 2);
	enter(2, "f", 3);
	assert_int_equal(fsb_names_tag(t, 3, 1), FSB_NAMES_NO_TAG);
	fsb_names_set_tag(t, 3, 1, 3);
	assert_int_equal(fsb_names_tag(t, 3, 1), 3);
	enter(2, "f", 3); /* the same name again */
	assert_int_equal(fsb_names_tag(t, 3, 1), 3);
	enter(1, "e", 2); /* what is above it has another */
	assert_int_equal(fsb_names_tag(t, 3, 1), FSB_NAMES_NO_TAG);
	fsb_names_set_tag(t, 3, 1, 3);
	enter(2, "g", 3);
	assert_int_equal(fsb_names_tag(t, 3, 1), FSB_NAMES_NO_TAG);
	assert_int_equal(fsb_names_tag(t, 99, 1), FSB_NAMES_NO_TAG);
	t = fsb_names_free(t);
}

static void names_state(void **state)
{
	uint8_t a[FSB_NAMES_MAX_STATE], b[FSB_NAMES_MAX_STATE], c[FSB_NAMES_MAX_STATE];
	struct fsb_names *was = t = fsb_names_new(10);
	int64_t na, nb, nc;

	enter(1, "d", 2);
	enter(2, "f", 3);
	na = fsb_names_save(t, 3, a, sizeof(a));
	nb = fsb_names_save(t, 2, b, sizeof(b));
	nc = fsb_names_save(t, 4, c, sizeof(c));
	assert_int_equal(fsb_names_save(t, 2, b, sizeof(b) - 1), -ENOSPC);
	t = fsb_names_new(10);
	/* The child first. */
	assert_int_equal(fsb_names_load(t, 3, 2, a, (size_t)na), na);
	assert_int_equal(fsb_names_load(t, 2, 1, b, (size_t)nb), nb);
	assert_int_equal(fsb_names_load(t, 4, 1, c, (size_t)nc), nc);
	assert_string_equal(path_of(3, NULL), "/d/f");
	assert_string_equal(path_of(4, NULL), "?");
	fsb_names_forget(t, 2, 1);
	fsb_names_forget(t, 3, 1);
	assert_string_equal(path_of(3, NULL), "/d/f");
	fsb_names_forget(t, 3, 1);
	fsb_names_forget(t, 4, 1);
	assert_int_equal(fsb_names_count(t), 0);
	/* hostile */
	for (int64_t n = 0; n < na; n++)
		assert_int_equal(fsb_names_load(t, 3, 1, a, (size_t)n), -EBADMSG);
	a[9] = '/';
	assert_int_equal(fsb_names_load(t, 3, 1, a, (size_t)na), -EBADMSG);
	a[9] = '\0';
	assert_int_equal(fsb_names_load(t, 3, 1, a, (size_t)na), -EBADMSG);
	a[9] = 'f';
	a[7] = 0xff;
	assert_int_equal(fsb_names_load(t, 3, 1, a, (size_t)na), -EBADMSG);
	a[7] = 0;
	a[0] = 3; /* its own parent */
	assert_int_equal(fsb_names_load(t, 3, 1, a, (size_t)na), na);
	assert_int_equal(path_of(3, NULL)[0], '?');
	t = fsb_names_free(t);
	(void)fsb_names_free(was);
}

static void *churn(void *arg)
{
	uint64_t base = (uint64_t)(uintptr_t)arg;
	char name[32], buf[FSB_MAX_PATH];

	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t d = 2 + i % 7, f = 100 + i % 50;

		(void)snprintf(name, sizeof(name), "%u", (unsigned int)(i * base % 13));
		enter(1, name, d);
		enter(d, name, f);
		(void)fsb_names_path(t, f, NULL, 0, buf);
		fsb_names_set_tag(t, f, 0, 1);
		(void)fsb_names_tag(t, f, 0);
		fsb_names_forget(t, d, 1);
		fsb_names_forget(t, f, 1);
	}
	return NULL;
}

static void names_threads(void **state)
{
	pthread_t thread[4];

	t = fsb_names_new(1000);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(fsb_names_count(t), 0);
	t = fsb_names_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(names_limits),
		cmocka_unit_test(names_renamed), cmocka_unit_test(names_tags),
		cmocka_unit_test(names_state), cmocka_unit_test(names_threads)};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
