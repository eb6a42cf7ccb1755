// SPDX-License-Identifier: Apache-2.0
// Relative paths of a writer: this process, in directories of its own.
#include "base/cleanup.h"
#include "ctl/whose_dir.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct ctl c;
static char dir[64];

static int setup(void **state)
{
	char path[96];

	strcpy(dir, "/tmp/whose.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/a", dir);
	(void)snprintf(c.paths.mnt, sizeof(c.paths.mnt), "%s/mnt", dir);
	return mkdir(path, 0700) < 0 || mkdir(c.paths.mnt, 0700) < 0 ? -1 : chdir(path);
}

static int teardown(void **state)
{
	char path[96];

	(void)!chdir("/");
	(void)snprintf(path, sizeof(path), "%s/a", dir);
	(void)rmdir(path);
	(void)rmdir(c.paths.mnt);
	return rmdir(dir);
}

/* @want: @ stands for the test's directory. */
static void means(const char *text, const char *want)
{
	const struct ctl_req q = {.c = &c, .pid = getpid()};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	char full[PATH_MAX];

	(void)snprintf(full, sizeof(full), "%s%s", *want == '@' ? dir : "", want + (*want == '@'));
	if (ctl_absolute(&q, text, &s, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	assert_string_equal(s.buf, full);
}

static void taken(void **state)
{
	means("/x", "/x");
	means("/", "/");
	means(".", "@/a");
	means("./", "@/a");
	means("./x", "@/a/x");
	means("././/x/", "@/a/x/");
	means("./x/../y", "@/a/x/../y"); /* x may be a link: the kernel's to say */
	means("..", "@");
	means("../b", "@/b");
	means("../../..", "/");
	means("../../../../../../x", "/x");
	means("../../../../../..", "/");
	means("./.x", "@/a/.x");
	means("./...", "@/a/...");
}

static int refused(pid_t pid, const char *text)
{
	const struct ctl_req q = {.c = &c, .pid = pid};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	int r = ctl_absolute(&q, text, &s, &e);

	assert_true(r < 0 && *e.msg);
	return r;
}

static void not_taken(void **state)
{
	char deep[PATH_MAX + 8] = "./";

	assert_int_equal(refused(getpid(), ""), -EINVAL);
	assert_int_equal(refused(getpid(), "x"), -EINVAL);
	assert_int_equal(refused(getpid(), ".x"), -EINVAL);
	assert_int_equal(refused(getpid(), ".../x"), -EINVAL);
	assert_int_equal(refused(0, "./x"), -EINVAL);
	assert_int_equal(refused(INT32_MAX, "./x"), -EINVAL);
	memset(deep + 2, 'x', PATH_MAX - 4);
	assert_int_equal(refused(getpid(), deep), -ENAMETOOLONG);
	assert_int_equal(chdir(c.paths.mnt), 0);
	assert_int_equal(refused(getpid(), "./x"), -EINVAL);
	assert_int_equal(rmdir(c.paths.mnt), 0);
	assert_int_equal(refused(getpid(), "./x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(taken, setup, teardown),
		cmocka_unit_test_setup_teardown(not_taken, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
