// SPDX-License-Identifier: Apache-2.0
// Whether a thread looks for the next request or sleeps: what it learns, not how long that takes.
#include "fs/spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static unsigned int calls;

static bool never(const void *arg)
{
	calls++;
	return false;
}

static bool at_once(const void *arg)
{
	return true;
}

static bool second_time(const void *arg)
{
	return ++calls % 2 == 0;
}

/* Requests until it rests that come as soon as it sleeps: who sends them waits for that. */
static unsigned int until_rest(struct spin *s)
{
	unsigned int n = 0;

	for (; !s->rest; n++) {
		assert_true(n < 1000);
		assert_false(spin_look(s, never, NULL, 1));
		if (!s->rest)
			spin_slept(s, spin_now_us());
	}
	return n;
}

/* All that it rests for; it does not look meanwhile. */
static unsigned int rested(struct spin *s)
{
	unsigned int n = 0;

	for (calls = 0; s->rest; n++) {
		assert_false(spin_look(s, never, NULL, 1));
		spin_slept(s, spin_now_us());
	}
	assert_int_equal(calls, 0);
	return n;
}

static void looks_in_vain(void **state)
{
	struct spin s = {.us = SPIN_FIRST_US};
	unsigned int n = SPIN_REST;

	for (int i = 0; i < 10; i++) {
		(void)until_rest(&s);
		assert_int_equal(rested(&s), n);
		n = n < SPIN_MAX_REST ? 2 * n : n;
	}
}

static void a_catch_counts(void **state)
{
	struct spin s = {.us = SPIN_FIRST_US};

	for (int i = 0; i < 3; i++) {
		(void)until_rest(&s);
		(void)rested(&s);
	}
	s.us = SPIN_MAX_US;
	assert_true(spin_look(&s, at_once, NULL, 1)); /* nothing was waited for */
	assert_int_equal(s.next_rest, 8 * SPIN_REST);
	calls = 0;
	assert_true(spin_look(&s, second_time, NULL, 2));
	(void)until_rest(&s);
	assert_int_equal(rested(&s), SPIN_REST);
}

/* An idle client costs nothing. */
static void idle(void **state)
{
	struct spin s = {.us = SPIN_MAX_US};

	for (int i = 0; s.us; i++) {
		assert_true(i < 100);
		spin_slept(&s, spin_now_us() - 1000000);
	}
	calls = 0;
	assert_false(spin_look(&s, never, NULL, 1));
	assert_int_equal(calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(looks_in_vain),
		cmocka_unit_test(a_catch_counts), cmocka_unit_test(idle)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
