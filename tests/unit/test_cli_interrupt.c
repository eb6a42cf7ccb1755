// SPDX-License-Identifier: Apache-2.0
// Signals while something is made: none is lost between two waits, none comes while they are held.
#include "tools/msb/interrupt.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

/* A wait that nothing else ends. */
static int wait_in_kernel(void)
{
	int fd[2], r;
	char c;

	assert_int_equal(pipe(fd), 0);
	r = read(fd[0], &c, 1) < 0 ? -errno : 0;
	close(fd[0]);
	close(fd[1]);
	return r;
}

static void before_the_wait(void **state)
{
	interrupt_catch();
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(wait_in_kernel(), -EINTR);
	assert_int_equal(wait_in_kernel(), -EINTR); /* and the next one */
	assert_true(interrupt_hold());
}

static void held(void **state)
{
	sigset_t pending;

	interrupt_catch();
	interrupt_release();
	assert_false(interrupt_hold());
	assert_int_equal(raise(SIGINT), 0);
	assert_int_equal(sigpending(&pending), 0);
	assert_true(sigismember(&pending, SIGINT));
	/* It comes when they are caught again, to what waits then. */
	interrupt_release();
	assert_int_equal(wait_in_kernel(), -EINTR);
	assert_true(interrupt_hold());
	interrupt_release();
	assert_false(interrupt_hold());
}

static void ignored_stays_ignored(void **state)
{
	assert_true(signal(SIGHUP, SIG_IGN) != SIG_ERR);
	interrupt_catch();
	interrupt_release();
	assert_int_equal(raise(SIGHUP), 0);
	assert_false(interrupt_hold());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_wait),
		cmocka_unit_test(held),
		cmocka_unit_test(ignored_stays_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
