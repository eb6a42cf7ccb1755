// SPDX-License-Identifier: Apache-2.0
// The strictatime wrapper: every open has the kernel read anew, and every read moves the access
// time.
#include "tests/unit/stack_fixture.h"

#include <time.h>

static const struct fsb_start none = FSB_START_NONE;

static int setup(void **state)
{
	return setup_dir();
}

/* The file `f` with contents, made and closed; its node. */
static uint64_t put(void)
{
	const struct fuse_entry_out *e;
	uint64_t node, fh;

	assert_int_equal(req_create(&q, FUSE_ROOT_ID, "f", O_RDWR, 0644), 0);
	e = REQ_REPLY(&q, struct fuse_entry_out);
	node = e->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(req_write(&q, node, fh, 0, "text", 4, 0), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
	return node;
}

static struct timespec atime(uint64_t node)
{
	const struct fuse_attr_out *a;

	assert_int_equal(req_getattr(&q, node), 0);
	a = REQ_REPLY(&q, struct fuse_attr_out);
	return (struct timespec){(time_t)a->attr.atime, a->attr.atimensec};
}

/* Opens and reads; whether the open had the kernel drop what it keeps, and the read moved the time.
 */
static void read_it(uint64_t node, bool *ret_fresh, bool *ret_moved)
{
	const struct timespec before = atime(node);
	const struct fuse_open_out *opened;
	struct timespec after;
	uint64_t fh;

	(void)nanosleep(
		&(struct timespec){.tv_nsec = 10000000}, NULL); /* a tick of the host's clock */
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), 0);
	opened = REQ_REPLY(&q, struct fuse_open_out);
	*ret_fresh = !(opened->open_flags & FOPEN_KEEP_CACHE);
	fh = opened->fh;
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 0, 4), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
	after = atime(node);
	*ret_moved = after.tv_sec != before.tv_sec || after.tv_nsec != before.tv_nsec;
}

static void every_read_moves(void **state)
{
	static const char *const backends[] = {"overlay", "memory"};
	bool fresh, moved;
	uint64_t node;

	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		mount_as(backends[i], "strictatime", &none);
		node = put();
		for (int k = 0; k < 3; k++) {
			read_it(node, &fresh, &moved);
			assert_true(fresh);
			assert_true(moved);
		}
		unmount();
	}
}

/* Of a share the host's own mount says what a read moves: only that it is seen is ours. */
static void share_is_read_anew(void **state)
{
	bool fresh, moved;
	uint64_t node;

	mount_as("passthrough", "strictatime", &none);
	node = put();
	for (int k = 0; k < 2; k++) {
		read_it(node, &fresh, &moved);
		assert_true(fresh);
	}
	unmount();
}

static void laid_over_those_alone_that_ask(void **state)
{
	static const struct {
		const char *options;
		bool there;
	} rows[] = {{"", false}, {"relatime", false}, {"noatime", false}, {"strictatime", true},
		{"ro,strictatime", false}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		mount_as("memory", rows[i].options, &none);
		assert_int_equal(!!(fs.b->ops->caps & FSB_CAP_SEE_OPENS), rows[i].there);
		/* it goes by no name, so file handles stay */
		assert_true(fs.b->ops->caps & FSB_CAP_EXPORT);
		unmount();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_read_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(share_is_read_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(laid_over_those_alone_that_ask, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
