// SPDX-License-Identifier: Apache-2.0
// Files of a volume: what is read of a directory, and that nobody waits for it who no longer wants
// to.
#include "base/cleanup.h"
#include "base/io.h"
#include "ctl/nodes.h"
#include "ctl/volumes.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char top[] = "/tmp/msb-volumes-XXXXXX";
static struct ctl c;
static struct ctl_volume v = {.c = &c, .id = "0123", .name = "v"};

static int setup(void **state)
{
	assert_non_null(mkdtemp(top));
	c.volumes_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(c.volumes_fd, "0123", 0700), 0);
	assert_int_equal(mkdirat(c.volumes_fd, "0123/data", 0700), 0);
	return 0;
}

static int teardown(void **state)
{
	close(c.volumes_fd);
	return msb_rm_rf(AT_FDCWD, top);
}

static void used_bytes_is_given_up(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_cancel cancel = {.set = false, .fd = -1};
	struct ctl_at at = {.c = &c, .vol = &v, .cancel = &cancel};
	struct msb_err e = {0};

	assert_int_equal(ctl_read_volume_used(&at, &s, &e), 0);
	assert_true(s.len >= 2 && s.buf[s.len - 1] == '\n');
	msb_str_done(&s);
	cancel.set = true;
	assert_int_equal(ctl_read_volume_used(&at, &s, &e), -EINTR);
	assert_int_equal(s.len, 0);
	at.cancel = NULL; /* nobody to cancel it */
	assert_int_equal(ctl_read_volume_used(&at, &s, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(used_bytes_is_given_up)};

	return cmocka_run_group_tests_name("ctl_volumes", tests, setup, teardown);
}
