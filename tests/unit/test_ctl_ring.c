// SPDX-License-Identifier: Apache-2.0
// ctl/ring: lines as a file that only grows, and readers that fall behind.
#include "base/cleanup.h"
#include "ctl/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* One read at @off of at most @max bytes gives @want. */
static void reads(
	struct ctl_ring *r, struct ctl_ring_reader *rd, uint64_t off, size_t max, const char *want)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	ctl_ring_read(r, rd, off, max, &s);
	assert_string_equal(s.buf ?: "", want);
}

static void grows(void **state)
{
	struct ctl_ring_reader rd = {.seq = 1};
	struct ctl_ring r;

	assert_int_equal(ctl_ring_init(&r, 4), 0);
	reads(&r, &rd, 0, 100, "");
	assert_false(ctl_ring_more(&r, &rd, 0));
	ctl_ring_add(&r, "one\n");
	assert_true(ctl_ring_more(&r, &rd, 0));
	ctl_ring_add(&r, "two\n");
	reads(&r, &rd, 0, 100, "one\ntwo\n");
	reads(&r, &rd, 0, 6, "one\ntw");
	reads(&r, &rd, 6, 100, "o\n");
	reads(&r, &rd, 8, 100, "");
	assert_false(ctl_ring_more(&r, &rd, 8));
	ctl_ring_add(&r, "three\n");
	assert_true(ctl_ring_more(&r, &rd, 8));
	reads(&r, &rd, 8, 100, "three\n");
	assert_int_equal(r.total, 14);
	ctl_ring_done(&r);
}

static void begins_with_dropped(void **state)
{
	struct ctl_ring_reader rd = {.seq = 1};
	struct ctl_ring r;

	assert_int_equal(ctl_ring_init(&r, 2), 0);
	for (int i = 0; i < 5; i++)
		ctl_ring_add(&r, (const char *[]){"a\n", "b\n", "c\n", "d\n", "e\n"}[i]);
	reads(&r, &rd, 0, 100, "{\"dropped\":3}\n");
	reads(&r, &rd, 14, 100, "d\ne\n");
	reads(&r, &rd, 18, 100, "");
	/* In small pieces, and back into the note. */
	reads(&r, &rd, 0, 5, "{\"dro");
	reads(&r, &rd, 5, 100, "pped\":3}\n");
	reads(&r, &rd, 14, 1, "d");
	reads(&r, &rd, 15, 2, "\ne");
	ctl_ring_done(&r);
}

static void falls_behind(void **state)
{
	struct ctl_ring_reader rd = {.seq = 1};
	struct ctl_ring r;

	assert_int_equal(ctl_ring_init(&r, 2), 0);
	ctl_ring_add(&r, "a\n");
	reads(&r, &rd, 0, 100, "a\n");
	for (int i = 0; i < 4; i++)
		ctl_ring_add(&r, (const char *[]){"b\n", "c\n", "d\n", "e\n"}[i]);
	reads(&r, &rd, 2, 100, "{\"dropped\":2}\n"); /* b and c */
	reads(&r, &rd, 16, 100, "d\ne\n");
	reads(&r, &rd, 20, 100, "");
	ctl_ring_add(&r, "f\n");
	reads(&r, &rd, 20, 100, "f\n");
	ctl_ring_done(&r);
}

/* tail(1) on a long file begins near its end. */
static void seeks(void **state)
{
	struct ctl_ring_reader rd = {.seq = 1};
	struct ctl_ring r;

	assert_int_equal(ctl_ring_init(&r, 2), 0);
	for (int i = 0; i < 4; i++)
		ctl_ring_add(&r, (const char *[]){"a\n", "b\n", "c\n", "d\n"}[i]);
	assert_int_equal(r.total, 8);
	reads(&r, &rd, 6, 100, "d\n");
	reads(&r, &rd, 8, 100, "");
	ctl_ring_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows),
		cmocka_unit_test(begins_with_dropped),
		cmocka_unit_test(falls_behind),
		cmocka_unit_test(seeks),
	};

	return cmocka_run_group_tests_name("ctl_ring", tests, NULL, NULL);
}
