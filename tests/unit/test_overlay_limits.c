// SPDX-License-Identifier: Apache-2.0
// The overlay backend: its limits, and the log that it keeps within them.
#include "tests/unit/overlay_fixture.h"

static void target_limit(void **state)
{
	char target[OVL_TARGET_MAX + 2], buf[OVL_TARGET_MAX + 2];
	struct fsb_entry e;
	struct fx fx;

	memset(target, 't', sizeof(target));
	target[OVL_TARGET_MAX + 1] = '\0';
	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "l", S_IFLNK, target), -ENAMETOOLONG);
	target[OVL_TARGET_MAX] = '\0';
	assert_int_equal(fx_mk(fx.b, "l", S_IFLNK, target), 0);
	fx_restart(&fx);
	assert_int_equal(fx_walk(fx.b, "l", &e), 0);
	assert_int_equal(fx.b->ops->readlink(fx.b, e.node, buf, sizeof(buf)), OVL_TARGET_MAX);
	assert_memory_equal(buf, target, OVL_TARGET_MAX);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void depth_limit(void **state)
{
	struct fsb_entry top, e;
	struct fx fx;
	int r = 0, n;

	fx_init(&fx, false);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &fx_req, FSB_ROOT, "top", 0700, &top), 0);
	assert_int_equal(fx_mk(fx.b, "other", S_IFDIR | 0700, NULL), 0);
	e = top;
	for (n = 0; n < OVL_MAX_DEPTH && r == 0; n++)
		r = fx.b->ops->mkdir(fx.b, &fx_req, e.node, "d", 0700, &e);
	assert_int_equal(r, 0);
	r = fx.b->ops->rename(fx.b, &fx_req, FSB_ROOT, "other", e.node, "o", 0);
	assert_int_equal(r, -ELOOP);
	assert_int_equal(fx_rename(fx.b, "other", "top/o", 0), 0);
	fx_done(&fx);
}

static void node_limit(void **state)
{
	struct fsb_entry e, n;
	struct fx fx;

	fx_init(&fx, true);
	ovl_of(fx.b)->max_nodes = 3;
	assert_int_equal(fx_mk(fx.b, "1", S_IFREG, NULL), 0);
	assert_int_equal(fx_walk(fx.b, "a", &e), 0);
	assert_int_equal(fx.b->ops->lookup(fx.b, &fx_req, e.node, "big", &n), -ENFILE);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG, NULL), -ENOSPC);
	assert_int_equal(fx_rm(fx.b, "1", false), 0);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG, NULL), 0);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void log_limit(void **state)
{
	char name[16];
	struct fx fx;
	int r = 0, n;

	fx_init(&fx, false);
	ovl_of(fx.b)->log.limit = 64 << 10;
	for (n = 0; r == 0; n++) {
		assert_in_range(n, 0, 1000);
		(void)snprintf(name, sizeof(name), "%d", n);
		r = fx_mk(fx.b, name, S_IFREG, NULL);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(fx_rm(fx.b, "0", false), 0); /* what frees is let through */
	fx_restart(&fx);
	assert_int_equal(fx_absent(fx.b, "0"), -ENOENT);
	assert_int_equal(fx_absent(fx.b, "1"), 0);
	fx_done(&fx);
}

static void compaction(void **state)
{
	struct ovl *o;
	struct fx fx;

	fx_init(&fx, true);
	o = ovl_of(fx.b);
	o->log.compact_at = 64 << 10;
	assert_int_equal(fx_write(fx.b, "c", "own", 3, 0, 0), 3);
	assert_int_equal(fx_mk(fx.b, "sym", S_IFLNK, "tgt"), 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG, NULL), 0);
		assert_int_equal(fx_rename(fx.b, "n", "f/m", 0), 0);
	}
	assert_int_equal(fx_rm(fx.b, "f/m", false), 0);
	assert_true(o->log.compact_at > 64 << 10); /* it has been rewritten */
	fx_restart(&fx);
	fx_check_text(fx.b, "d", "ownll contents\n");
	assert_int_equal(fx_attr(fx.b, "sym").size, 3);
	assert_int_equal(fx_absent(fx.b, "f/m"), -ENOENT);
	assert_int_equal(fx_absent(fx.b, "n"), -ENOENT);
	assert_true(ovl_of(fx.b)->next_ino >= OVL_OWN_BASE + 1000); /* no number twice */
	fx_done(&fx);
}

/* What is gone does not count: a log with little alive in it never meets its limit. */
static void churn_meets_no_limit(void **state)
{
	struct fx fx;

	fx_init(&fx, false);
	ovl_of(fx.b)->log.limit = 128 << 10;
	ovl_of(fx.b)->log.compact_at = 100 << 10;
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG, NULL), 0);
		assert_int_equal(fx_rm(fx.b, "n", false), 0);
	}
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_limit),
		cmocka_unit_test(depth_limit),
		cmocka_unit_test(node_limit),
		cmocka_unit_test(log_limit),
		cmocka_unit_test(compaction),
		cmocka_unit_test(churn_meets_no_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
