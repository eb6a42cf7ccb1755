// SPDX-License-Identifier: Apache-2.0
// Which policies are one, and when a sandbox starts again.
#include "base/cleanup.h"
#include "ctl/policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void parse(void **state)
{
	static const struct {
		const char *text;
		int r;
		enum ctl_restart_kind kind;
		unsigned int max;
	} t[] = {
		{"no", 0, RESTART_NO, 0},
		{"always", 0, RESTART_ALWAYS, 0},
		{"unless-stopped", 0, RESTART_UNLESS_STOPPED, 0},
		{"on-failure", 0, RESTART_ON_FAILURE, 0},
		{"on-failure:1", 0, RESTART_ON_FAILURE, 1},
		{"on-failure:1000000", 0, RESTART_ON_FAILURE, 1000000},
		{"on-failure:1000001", -EINVAL, 0, 0},
		{"on-failure:0", -EINVAL, 0, 0},
		{"on-failure:", -EINVAL, 0, 0},
		{"on-failure:-1", -EINVAL, 0, 0},
		{"on-failure:1 ", -EINVAL, 0, 0},
		{"always:3", -EINVAL, 0, 0},
		{"", -EINVAL, 0, 0},
		{"No", -EINVAL, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct ctl_restart_policy p;

		assert_int_equal(ctl_restart_parse(t[i].text, &p), t[i].r);
		if (t[i].r < 0)
			continue;
		assert_int_equal(p.kind, t[i].kind);
		assert_int_equal(p.max, t[i].max);
	}
}

static void delays(void **state)
{
	static const struct {
		const char *policy;
		bool failed;
		unsigned int tries;
		int ms;
	} t[] = {
		{"no", true, 0, -1},
		{"on-failure", false, 0, -1},
		{"on-failure", true, 0, 100},
		{"on-failure", true, 1, 200},
		{"on-failure:2", true, 1, 200},
		{"on-failure:2", true, 2, -1},
		{"always", false, 0, 100},
		{"always", true, 9, 51200},
		{"always", true, 10, 60000},
		{"always", true, 31, 60000},
		{"always", true, 4000000000u, 60000},
		{"unless-stopped", false, 3, 800},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct ctl_restart_policy p;

		assert_int_equal(ctl_restart_parse(t[i].policy, &p), 0);
		assert_int_equal(ctl_restart_delay_ms(&p, t[i].failed, t[i].tries), t[i].ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse),
		cmocka_unit_test(delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
