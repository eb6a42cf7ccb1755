// SPDX-License-Identifier: Apache-2.0
// ctl/conf_check, conf_table, rlimits: what is taken, what is kept of it, and where it ends.
#include "base/cleanup.h"
#include "ctl/conf_int.h"
#include "ctl/rlimits.h"
#include "ctl/tmpfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

struct row {
	const char *in, *out; /* out NULL: refused */
	int code;
};

static void check(conf_check_fn *fn, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};
		int r = fn(NULL, rows[i].in, &s, &e);

		if (r != -rows[i].code || e.code != rows[i].code)
			fail_msg("%s: %d, %s", rows[i].in, r, e.msg);
		if (rows[i].out)
			assert_string_equal(s.buf ?: "", rows[i].out);
	}
}

static void labels(void **state)
{
	static const struct row rows[] = {
		{"", "", 0},
		{"\n\n", "", 0},
		{"a=1", "a=1\n", 0},
		{"a=1\nb=\nc.d/e=x y=z\n", "a=1\nb=\nc.d/e=x y=z\n", 0},
		{"a=1\nb=2\na=3", "b=2\na=3\n", 0}, /* the last one counts */
		{"ab=1\na=2", "ab=1\na=2\n", 0},
		{"=x", NULL, EINVAL},
		{"nothing", NULL, EINVAL},
		{"a b=x", NULL, EINVAL},
		{"a=\xff", NULL, EINVAL},
	};
	_cleanup_str_ struct msb_str many = MSB_STR_INIT, s = MSB_STR_INIT;
	char key[CTL_MAX_LABEL_KEY + 4];

	check(conf_check_labels, rows, ARRAY_LEN(rows));
	memset(key, 'k', sizeof(key));
	memcpy(key + CTL_MAX_LABEL_KEY, "=v", 3);
	assert_int_equal(conf_check_labels(NULL, key, &s, NULL), 0);
	memcpy(key + CTL_MAX_LABEL_KEY, "k=v", 4);
	assert_int_equal(conf_check_labels(NULL, key, &s, NULL), -E2BIG);
	for (int i = 0; i < CTL_MAX_LABELS; i++)
		msb_str_addf(&many, "k%d=v\n", i);
	assert_int_equal(conf_check_labels(NULL, many.buf, &s, NULL), 0);
	msb_str_adds(&many, "k0=w\n"); /* in place of another */
	assert_int_equal(conf_check_labels(NULL, many.buf, &s, NULL), 0);
	msb_str_adds(&many, "one=more\n");
	assert_int_equal(conf_check_labels(NULL, many.buf, &s, NULL), -EDQUOT);
}

static void programs(void **state)
{
	static const struct row rows[] = {
		{"", "", 0},
		{"[]", "[]", 0},
		{" [ \"a b\", \"\\u0001\" ] ", "[\"a b\",\"\\u0001\"]", 0},
		{"sh", NULL, EINVAL},
		{"{}", NULL, EINVAL},
		{"[1]", NULL, EINVAL},
		{"[\"a\"", NULL, EINVAL},
		{"[\"a\\u0000\"]", NULL, EINVAL},
	};
	static const struct row most[] = {
		{"", "", 0}, {"064", "64", 0}, {"0", NULL, ERANGE}, {"65", NULL, ERANGE}};
	static const struct row inits[] = {{"msb", "msb", 0}, {"cmd", "cmd", 0}, {"", NULL, EINVAL},
		{"/sbin/init", "/sbin/init", 0}, {"systemd", NULL, EINVAL}, {"/", NULL, EINVAL},
		{"/sbin/../init", NULL, EINVAL}};

	check(conf_check_entrypoint, rows, ARRAY_LEN(rows));
	check(conf_check_cmd, rows, ARRAY_LEN(rows));
	check(conf_check_max_cpus, most, ARRAY_LEN(most));
	check(conf_check_init, inits, ARRAY_LEN(inits));
}

static void health(void **state)
{
	static const struct row checks[] = {
		{"", "", 0},
		{" [\"CMD\", \"a b\", \"\"] ", "[\"CMD\",\"a b\",\"\"]", 0},
		{"[\"CMD-SHELL\",\"exit 1\"]", "[\"CMD-SHELL\",\"exit 1\"]", 0},
		{"[\"NONE\"]", "[\"NONE\"]", 0},
		{"[]", NULL, EINVAL},
		{"[\"CMD\"]", NULL, EINVAL},
		{"[\"CMD-SHELL\",\"a\",\"b\"]", NULL, EINVAL},
		{"[\"true\"]", NULL, EINVAL},
		{"true", NULL, EINVAL},
	};
	static const struct row seconds[] = {{"", "", 0}, {"030", "30", 0}, {"86400", "86400", 0},
		{"0", NULL, ERANGE}, {"86401", NULL, ERANGE}, {"30s", NULL, EINVAL}};
	static const struct row starts[] = {
		{"", "", 0}, {"0", "0", 0}, {"86400", "86400", 0}, {"86401", NULL, ERANGE}};
	static const struct row retries[] = {{"", "", 0}, {"1", "1", 0}, {"1000", "1000", 0},
		{"0", NULL, ERANGE}, {"1001", NULL, ERANGE}, {"-1", NULL, EINVAL}};
	static const struct row flags[] = {
		{"0", "0", 0}, {"1", "1", 0}, {"", NULL, EINVAL}, {"true", NULL, EINVAL}};

	check(conf_check_healthcheck, checks, ARRAY_LEN(checks));
	check(conf_check_health_interval, seconds, ARRAY_LEN(seconds));
	check(conf_check_health_timeout, seconds, ARRAY_LEN(seconds));
	check(conf_check_health_start, starts, ARRAY_LEN(starts));
	check(conf_check_health_start_interval, seconds, ARRAY_LEN(seconds));
	check(conf_check_health_retries, retries, ARRAY_LEN(retries));
	check(conf_check_auto_remove, flags, ARRAY_LEN(flags));
}

static void rlimits(void **state)
{
	static const struct row rows[] = {
		{"", "", 0},
		{"nofile 5\n# x\n\ncore 0:unlimited", "nofile 5:5\ncore 0:unlimited\n", 0},
		{"nofile 2:1", NULL, EINVAL},
		{"files 1", NULL, EINVAL},
		{"nofile", NULL, EINVAL},
		{"nofile 1 2", NULL, EINVAL},
	};
	static const struct {
		const char *all, *own, *want[4];
	} lists[] = {
		{"", "", {NULL}},
		{"core 0:0\n", "", {"core:0:0", NULL}},
		{"core 0:0\nnofile 5:5\n", "nofile 6:7\n", {"core:0:0", "nofile:6:7", NULL}},
		{"core 0:0\ncore 1:1\n", "", {"core:1:1", NULL}},
		{"", "nofile 1:1\nnofile 2:2\n", {"nofile:2:2", NULL}},
	};
	_cleanup_str_ struct msb_str many = MSB_STR_INIT, s = MSB_STR_INIT;

	check(conf_check_rlimits, rows, ARRAY_LEN(rows));
	for (int i = 0; i <= CTL_MAX_RLIMITS; i++)
		msb_str_adds(&many, "core 1\n");
	assert_int_equal(ctl_rlimits_check(many.buf, &s, NULL), -E2BIG);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		_cleanup_(ctl_rlimits_done) struct ctl_rlimits l;
		size_t k = 0;

		assert_int_equal(ctl_rlimits_list(lists[i].all, lists[i].own, &l), 0);
		for (; lists[i].want[k]; k++)
			assert_string_equal(l.v[k], lists[i].want[k]);
		assert_null(l.v[k]);
	}
}

static void tmpfs(void **state)
{
	static const struct row rows[] = {
		{"", "", 0},
		{"/t", "/t rw\n", 0},
		{"# x\n\n/t defaults\n/a\\040b ro", "/t rw\n/a\\040b ro\n", 0},
		{"/t noexec,size=64M,mode=755,nodev,uid=1,gid=2,nosuid,nr_inodes=10,noatime,rw",
			"/t rw,size=67108864,nr_inodes=10,mode=0755,uid=1,gid=2,nosuid,nodev,noexec,noatime\n",
			0},
		{"/t size=4096,mode=7777,uid=4294967294",
			"/t rw,size=4096,mode=7777,uid=4294967294\n", 0},
		{"t", NULL, EINVAL},
		{"/", NULL, EINVAL},
		{"/t/../x", NULL, EINVAL},
		{"/t rw rw", NULL, EINVAL},
		{"/t ro,rw", NULL, EINVAL},
		{"/t rw,", NULL, EINVAL},
		{"/t size", NULL, EINVAL},
		{"/t size=10%", NULL, EINVAL},
		{"/t size=0", NULL, ERANGE},
		{"/t size=1025G", NULL, ERANGE},
		{"/t size=1M,size=1M", NULL, EINVAL},
		{"/t mode=8", NULL, EINVAL},
		{"/t mode=10000", NULL, ERANGE},
		{"/t uid=4294967295", NULL, ERANGE},
		{"/t uid=root", NULL, EINVAL},
		{"/t noexec=1", NULL, EINVAL},
		{"/t huge=always", NULL, EINVAL},
		{"/t\n/t ro", NULL, EEXIST},
	};
	_cleanup_str_ struct msb_str many = MSB_STR_INIT, s = MSB_STR_INIT;
	struct msb_err e = {0};

	check(conf_check_tmpfs, rows, ARRAY_LEN(rows));
	assert_int_equal(ctl_tmpfs_check("/a\n\n/b what", &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "line 3: /b: there is no option `what`"));
	msb_str_done(&s);
	for (int i = 0; i < CTL_MAX_TMPFS; i++)
		msb_str_addf(&many, "/t%d\n", i);
	assert_int_equal(ctl_tmpfs_check(many.buf, &s, NULL), 0);
	msb_str_adds(&many, "/more\n");
	msb_str_done(&s);
	assert_int_equal(ctl_tmpfs_check(many.buf, &s, NULL), -EDQUOT);
	assert_true(ctl_tmpfs_has("/a rw\n/b\\040c ro\n", "/b c"));
	assert_false(ctl_tmpfs_has("/a rw\n", "/a/b"));
	assert_int_equal(ctl_tmpfs_clash("/a rw\n", "none /b memory rw\n", NULL), 0);
	assert_int_equal(ctl_tmpfs_clash("/a rw\n/b rw\n", "none /b memory rw\n", NULL), -EEXIST);
}

/* Parents before children, in both tables together. */
static void tmpfs_places(void **state)
{
	static const struct {
		const char *tmpfs, *mounts[4], *want[8];
	} rows[] = {
		{"", {"/a", "/b", NULL}, {"/a", "/b", NULL}},
		{"/t rw\n", {NULL}, {"/t", NULL}},
		{"/a/b/c rw\n/a/b rw\n/a rw\n", {NULL}, {"/a", "/a/b", "/a/b/c", NULL}},
		{"/a/b rw\n", {"/a", "/a/b/c", NULL}, {"/a", "/a/b", "/a/b/c", NULL}},
		{"/a rw\n", {"/a/b", "/c", NULL}, {"/a", "/a/b", "/c", NULL}},
		{"/ab rw\n/c/d rw\n", {"/a", "/c", NULL}, {"/ab", "/a", "/c", "/c/d", NULL}},
		{"/x/y/z rw\n", {"/x/y", "/x", NULL}, {"/x/y", "/x", "/x/y/z", NULL}},
	};
	struct ctl_tmpfs *t = calloc(CTL_MAX_TMPFS, sizeof(*t));

	assert_non_null(t);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct agent_mount m[4 + CTL_MAX_TMPFS];
		size_t n = 0, k = 0;

		for (; rows[i].mounts[n]; n++)
			m[n] = (struct agent_mount){.path = rows[i].mounts[n]};
		n = ctl_tmpfs_place(rows[i].tmpfs, t, m, n);
		for (; rows[i].want[k]; k++)
			assert_string_equal(m[k].path, rows[i].want[k]);
		assert_int_equal(n, k);
	}
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels),
		cmocka_unit_test(programs),
		cmocka_unit_test(health),
		cmocka_unit_test(rlimits),
		cmocka_unit_test(tmpfs),
		cmocka_unit_test(tmpfs_places),
	};

	return cmocka_run_group_tests_name("ctl_conf", tests, NULL, NULL);
}
