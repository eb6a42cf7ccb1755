/* SPDX-License-Identifier: Apache-2.0 */
/* A passthrough of a temporary directory, for tests: requests go in, and the host looks. */
#ifndef MSB_TESTS_PASSTHROUGH_FIXTURE_H
#define MSB_TESTS_PASSTHROUGH_FIXTURE_H

#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/backends/passthrough/pt.h"
#include "fs/options.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cmocka.h>

static char top[64];
static int host; /* the shared directory, as the host sees it */
static struct fsd_fs fs;
static struct fusereq q;

static enum fsb_map map; /* of the tests that follow */
static bool stateful;	 /* OPEN is sent, though the backend need not have it */

static bool submounts; /* are entered */
static bool noatime;
static uid_t as_uid; /* where root runs the tests: who serves, and owns the directory */

static void start(bool readonly)
{
	struct fsb_passthrough_opts o = {
		.root_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.readonly = readonly,
		.map = map,
		.submounts = submounts,
		.noatime = noatime};
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_passthrough_start(&o, &b, &e), 0);
	if (stateful) {
		pt_of(b)->stateless = false;
		pt_of(b)->own.caps &= ~(uint32_t)FSB_CAP_NO_OPEN;
	}
	fsd_fs_init(&fs, b);
	/* The session itself always permits writing: readonly is the backend's here. */
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_init(&q), 0);
}

static void stop(void)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
}

static int open_fds(void)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	return n;
}

static int fds_before;

static int setup(void **state)
{
	fds_before = open_fds();
	(void)umask(0);
	(void)snprintf(top, sizeof(top), "/tmp/msb-pt-XXXXXX");
	assert_non_null(mkdtemp(top));
	host = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(host, "share", 0755), 0);
	assert_int_equal(msb_write_file_atomic(host, "secret", "secret", 6, 0644), 0);
	close(host);
	(void)strncat(top, "/share", sizeof(top) - strlen(top) - 1);
	host = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	q.w = calloc(1, sizeof(*q.w));
	if (as_uid && geteuid() == 0) {
		assert_int_equal(fchown(host, as_uid, as_uid), 0);
		assert_int_equal(setegid(as_uid), 0);
		assert_int_equal(seteuid(as_uid), 0);
	}
	start(false);
	return 0;
}

static int teardown(void **state)
{
	stop();
	if (as_uid && getuid() == 0 && (seteuid(0) < 0 || setegid(0) < 0))
		return -1;
	free(q.w);
	close(host);
	*strrchr(top, '/') = '\0';
	(void)msb_rm_rf(AT_FDCWD, top);
	/* /proc/self/fd stays open for the process. */
	return open_fds() - fds_before > 1 ? -1 : 0;
}

static inline uint64_t make(const char *name, uint64_t *ret_fh)
{
	uint64_t node;

	assert_int_equal(req_create(&q, 1, name, O_RDWR, 0644), 0);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	*ret_fh = req_created_fh(&q);
	return node;
}

static inline bool on_host(const char *name)
{
	return faccessat(host, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline int set_xattr(uint64_t node, const char *name, const char *value)
{
	return req_setxattr(&q, node, name, value, strlen(value));
}

#endif
