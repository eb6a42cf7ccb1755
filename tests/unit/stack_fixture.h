/* SPDX-License-Identifier: Apache-2.0 */
/* A backend with the wrappers that a mount's options lay over it, on a temporary directory, for
 * tests: requests go in, and the host looks. */
#ifndef MSB_TESTS_STACK_FIXTURE_H
#define MSB_TESTS_STACK_FIXTURE_H

#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/options.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

static char top[64];
static int host; /* the directory that is shared, or the overlay's upper */
static struct fsd_fs fs;
static struct fusereq q;
static struct fsb_options o;

static int setup_dir(void)
{
	(void)snprintf(top, sizeof(top), "%s/msb-stack-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(top));
	host = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	q.w = calloc(1, sizeof(*q.w));
	return 0;
}

static int teardown(void **state)
{
	free(q.w);
	close(host);
	return msb_rm_rf(AT_FDCWD, top);
}

/* @more: what else the start is given. */
static void mount_as(const char *backend, const char *options, const struct fsb_start *more)
{
	struct fsb_start from = *more;
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse(backend, options, strlen(options), &o, &e), 0);
	from.options = &o;
	if (!strcmp(backend, "passthrough"))
		from.dir_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!strcmp(backend, "overlay"))
		from.upper_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_stack_start(backend, &from, &b, &e) < 0)
		fail_msg("%s", e.msg);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_init(&q), 0);
}

static void unmount(void)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
}

#endif
