// SPDX-License-Identifier: Apache-2.0
// What msb-agentd keeps in files: the log of jobs, the console, and how they rotate.
#include "tests/unit/agentd_client.h"

static void log_is_exact(void **state)
{
	const char *const argv[] = {"sh", "-c",
		"printf 'h\\303'; sleep 0.2; printf '\\244\\n\\n'; sleep 0.2; printf '\\377\\0x'; "
		"sleep 0.2; printf '\\342\\202' >&2",
		NULL};
	static const char *const records[] = {
		"\"stream\":\"stdout\",\"data\":\"h\"}\n",
		"\"stream\":\"stdout\",\"data\":\"\xc3\xa4\\n\\n\"}\n",
		"\"stream\":\"stdout\",\"data_base64\":\"/wB4\"}\n",
		"\"stream\":\"stderr\",\"data_base64\":\"4oI=\"}\n",
	};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct result r = finish(start_job(&(struct agent_exec){.argv = argv, .log = true}));
	const char *p;

	done(&r);
	expect(sh("echo not logged"), "not logged\n", "", 0);
	read_file("log", &s);
	p = s.buf;
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		assert_memory_equal(p, "{\"time\":\"2", 10);
		assert_non_null(strstr(p, "\"job\":1,"));
		p = strstr(p, "\"stream\"");
		assert_memory_equal(p, records[i], strlen(records[i]));
		p += strlen(records[i]);
	}
	assert_string_equal(p, "");
}

static void console_is_kept(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end && s.len < 13;) {
		msb_str_done(&s);
		read_file("console", &s);
	}
	assert_string_equal(s.buf, "console says\n");
}

static void files_rotate(void **state)
{
	_cleanup_str_ struct msb_str now = MSB_STR_INIT, old = MSB_STR_INIT;
	struct ad_file f;

	ad_file_init(&f, dir_fd, "small", 10, 1);
	ad_file_add(&f, "12345", 5);
	ad_file_add(&f, "67890", 5);
	ad_file_add(&f, "abc", 3);
	ad_file_done(&f);
	ad_file_init(&f, dir_fd, "small", 10, 1); /* and counts what is there already */
	ad_file_add(&f, "defg", 4);
	ad_file_add(&f, "hijk", 4);
	ad_file_add(&f, "longer than the limit", 21);
	ad_file_done(&f);
	read_file("small", &now);
	read_file("small.1", &old);
	assert_string_equal(now.buf, "longer than the limit");
	assert_string_equal(old.buf, "hijk");
}

static void a_line_that_was_cut(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ad_file f;

	ad_file_init(&f, dir_fd, "torn", 1000, 1);
	ad_file_mend(&f); /* of nothing */
	ad_file_add(&f, "whole\nha", 8);
	ad_file_mend(&f);
	ad_file_mend(&f);
	ad_file_done(&f);
	read_file("torn", &s);
	assert_string_equal(s.buf, "whole\nha\n");
}

/* A disk that is full takes a part of what is written: no half of a line stays. */
static void a_line_that_did_not_fit(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct rlimit before, small;
	struct ad_file f;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){10, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	ad_file_init(&f, dir_fd, "full", 1000, 1);
	ad_file_add(&f, "first\n", 6);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	ad_file_add(&f, "second\n", 7);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_true(f.failing);
	ad_file_add(&f, "third\n", 6);
	assert_false(f.failing);
	ad_file_done(&f);
	read_file("full", &s);
	assert_string_equal(s.buf, "first\nthird\n");
}

static void files_rotate_by_count(void **state)
{
	struct ad_file f;

	ad_file_init(&f, dir_fd, "few", 1, 3);
	for (const char *c = "abcdef"; *c; c++)
		ad_file_add(&f, c, 1);
	/* A rotation that was cut off: what is above stays where it is. */
	assert_int_equal(renameat(dir_fd, "few.1", dir_fd, "few.gone"), 0);
	ad_file_add(&f, "g", 1);
	ad_file_done(&f);
	for (int i = 0; i < 4; i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		static const char *const names[] = {"few", "few.1", "few.2", "few.3"},
					 *const want[] = {"g", "f", "d", "c"};

		read_file(names[i], &s);
		assert_string_equal(s.buf, want[i]);
	}
	assert_int_equal(faccessat(dir_fd, "few.4", F_OK, 0), -1);
}

static void text_cut_anywhere(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
	size_t n = sizeof(text) - 1;

	for (size_t cut = 0; cut <= n; cut++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct ad_tail t = {0};
		struct ad_file f;

		ad_file_init(&f, dir_fd, "cut", 1 << 20, 1);
		if (cut)
			ad_log_add(&f, 1, "stdout", &t, text, cut);
		if (cut < n)
			ad_log_add(&f, 1, "stdout", &t, text + cut, n - cut);
		ad_log_flush(&f, 1, "stdout", &t);
		ad_file_done(&f);
		read_file("cut", &s);
		assert_null(strstr(s.buf, "base64"));
		(void)unlinkat(dir_fd, "cut", 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_GUEST(log_is_exact),
		WITH_GUEST(console_is_kept),
		ALONE(files_rotate),
		ALONE(files_rotate_by_count),
		ALONE(a_line_that_was_cut),
		ALONE(a_line_that_did_not_fit),
		ALONE(text_cut_anywhere),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
