// SPDX-License-Identifier: Apache-2.0
// ctl/logfile: NAME.1 and NAME as one file, and rotation under a writer.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/logfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static int make_dir(void **state)
{
	static char dir[] = "/tmp/msbu.XXXXXX";

	*state = mkdtemp(dir);
	return *state ? 0 : -1;
}

static int remove_dir(void **state)
{
	return msb_rm_rf(AT_FDCWD, *state);
}

static void reads(const struct ctl_logfile *l, uint64_t off, size_t max, const char *want)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	assert_int_equal(ctl_logfile_read(l, off, max, &s), 0);
	assert_string_equal(s.buf ?: "", want);
}

static void pair(void **state)
{
	_cleanup_close_ int dir = open(*state, O_RDONLY | O_DIRECTORY);
	struct ctl_logfile l;

	ctl_logfile_open(&l, dir, "log");
	reads(&l, 0, 10, "");
	ctl_logfile_close(&l);
	assert_int_equal(ctl_logfile_size(dir, "log"), 0);
	assert_int_equal(msb_write_file_atomic(dir, "log.1", "old\n", 4, 0600), 0);
	assert_int_equal(msb_write_file_atomic(dir, "log", "new\n", 4, 0600), 0);
	assert_int_equal(ctl_logfile_size(dir, "log"), 8);
	ctl_logfile_open(&l, dir, "log");
	reads(&l, 0, 100, "old\n");
	reads(&l, 4, 100, "new\n");
	reads(&l, 2, 100, "d\n");
	reads(&l, 8, 100, "");
	reads(&l, 1000, 100, "");
	assert_int_equal(ctl_logfile_end(&l), 8);
	ctl_logfile_close(&l);
}

static void rotation(void **state)
{
	_cleanup_close_ int dir = open(*state, O_RDONLY | O_DIRECTORY);
	_cleanup_close_ int fd = openat(dir, "r", O_WRONLY | O_CREAT | O_APPEND, 0600);
	struct ctl_logfile l;

	assert_int_equal(msb_write_full(fd, "0123456789", 10), 0);
	ctl_logfile_rotate(dir, "r", 10); /* not past it yet */
	assert_int_equal(faccessat(dir, "r.1", F_OK, 0), -1);
	assert_int_equal(msb_write_full(fd, "x", 1), 0);
	ctl_logfile_rotate(dir, "r", 10);
	assert_int_equal(msb_write_full(fd, "after", 5), 0);
	ctl_logfile_open(&l, dir, "r");
	reads(&l, 0, 100, "0123456789x");
	reads(&l, 11, 100, "after");
	ctl_logfile_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pair),
		cmocka_unit_test(rotation),
	};

	return cmocka_run_group_tests_name("ctl_logfile", tests, make_dir, remove_dir);
}
