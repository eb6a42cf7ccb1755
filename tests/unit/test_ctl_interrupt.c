// SPDX-License-Identifier: Apache-2.0
// ctl/interrupt: what is pending decides, and a text that does not say so does not.
#include "ctl/interrupt.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <cmocka.h>

#define STATUS(pnd, shd, blk, ign)                                                                 \
	"Name:\tbash\nSigQ:\t0/1\nSigPnd:\t" pnd "\nShdPnd:\t" shd "\nSigBlk:\t" blk               \
	"\nSigIgn:\t" ign "\nSigCgt:\t0000000000010002\n"
#define NONE "0000000000000000"
#define CHLD "0000000000010000"
#define INT  "0000000000000002"
#define KILL "0000000000000100"
#define BOTH "0000000000010002"

static void masks(void **state)
{
	static const struct {
		const char *status;
		bool harmless;
	} rows[] = {
		{STATUS(NONE, NONE, NONE, NONE), true},
		{STATUS(NONE, CHLD, NONE, NONE), true},
		{STATUS(CHLD, NONE, NONE, NONE), true},
		{STATUS(NONE, INT, NONE, NONE), false},
		{STATUS(INT, NONE, NONE, NONE), false},
		{STATUS(NONE, BOTH, NONE, NONE), false},
		{STATUS(NONE, BOTH, INT, NONE), true},
		{STATUS(NONE, BOTH, NONE, INT), true},
		{STATUS(NONE, KILL, NONE, NONE), false},
		{"", false},
		{"Name:\tx\n", false},
		{"Name:\tx\nSigPnd:\t" NONE "\nShdPnd:\t" NONE "\nSigBlk:\t" NONE "\n", false},
		{STATUS("zz", NONE, NONE, NONE), false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(ctl_signals_harmless(rows[i].status), rows[i].harmless);
}

static void threads(void **state)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(ctl_caller_waits_on(pid));
	assert_true(ctl_caller_waits_on(getpid()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masks),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests_name("ctl_interrupt", tests, NULL, NULL);
}
