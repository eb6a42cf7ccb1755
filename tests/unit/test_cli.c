// SPDX-License-Identifier: Apache-2.0
// The msb command: its table, options, what it makes of streams, names and sizes.
#include "base/cleanup.h"
#include "base/str.h"
#include "tools/msb/cli.h"
#include "tools/msb/files.h"
#include "tools/msb/progress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const struct cli_option options[] = {
	{'q', "quiet", NULL, "q"},
	{'v', "verbose", NULL, "v"},
	{'o', "output", "FILE", "o"},
	{'L', "long", "TEXT", "no short form"},
	{0},
};
static const struct cli_command command = {
	"cmd", "alias", "[OPTION]... A [B]", "Does", 1, 2, options, NULL};

/* Sentences go to stderr: not into the test's output. */
static int parse(char **argv, struct cli_args *a)
{
	int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC), err = dup(2), out = dup(1), n = 0, r;

	while (argv[n])
		n++;
	(void)fflush(stdout);
	assert_true(dup2(null_fd, 2) == 2 && dup2(null_fd, 1) == 1);
	r = cli_parse(&command, n, argv, a);
	(void)fflush(stdout);
	assert_true(dup2(err, 2) == 2 && dup2(out, 1) == 1);
	close(err);
	close(out);
	close(null_fd);
	return r;
}

static void parsing(void **state)
{
	static const struct {
		const char *argv[8];
		int ret;
		const char *q, *o, *l, *first, *second;
	} rows[] = {
		{{"cmd", "a"}, 0, NULL, NULL, NULL, "a", NULL},
		{{"cmd", "a", "-q", "b"}, 0, "", NULL, NULL, "a", "b"},
		{{"cmd", "-qv", "a"}, 0, "", NULL, NULL, "a", NULL},
		{{"cmd", "-qo", "f", "a"}, 0, "", "f", NULL, "a", NULL},
		{{"cmd", "-of", "a"}, 0, NULL, "f", NULL, "a", NULL},
		{{"cmd", "--output=", "a"}, 0, NULL, "", NULL, "a", NULL},
		{{"cmd", "--output", "-q", "a"}, 0, NULL, "-q", NULL, "a", NULL},
		{{"cmd", "--long=x=y", "a"}, 0, NULL, NULL, "x=y", "a", NULL},
		{{"cmd", "--", "-q", "--x"}, 0, NULL, NULL, NULL, "-q", "--x"},
		{{"cmd", "-"}, 0, NULL, NULL, NULL, "-", NULL},
		{{"cmd", "a", "-o", "1", "-o", "2"}, 0, NULL, "2", NULL, "a", NULL},
		{{"cmd", "--help"}, 1, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "-h"}, 1, NULL, NULL, NULL, NULL, NULL},
		{{"cmd"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "b", "c"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "-x"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "-L"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "-o"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "--quiet=1"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "--quie"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
		{{"cmd", "a", "--long"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cli_args a;
		char *argv[9];

		memcpy(argv, rows[i].argv, sizeof(rows[i].argv));
		argv[8] = NULL;
		assert_int_equal(parse(argv, &a), rows[i].ret);
		if (rows[i].ret)
			continue;
#define SAME(x, y) assert_true((x) && (y) ? !strcmp(x, y) : (x) == (y))
		SAME(cli_get(&a, 'q'), rows[i].q);
		SAME(cli_get(&a, 'o'), rows[i].o);
		SAME(cli_get(&a, 'L'), rows[i].l);
		SAME(a.word[0], rows[i].first);
		if (a.n > 1)
			SAME(a.word[1], rows[i].second);
		assert_null(a.word[a.n]);
	}
}

/* Every command has what --help and parsing need, and no two have one name. */
static void table(void **state)
{
	const struct cli_command *const groups[] = {cli_image_commands, NULL};

	for (const struct cli_command *c = cli_image_commands; c->name; c++) {
		bool seen[128] = {false};

		assert_ptr_equal(cli_find(groups, c->name), c);
		if (c->alias)
			assert_ptr_equal(cli_find(groups, c->alias), c);
		assert_true(c->usage && *c->summary && c->run && c->min <= c->max);
		assert_true(strlen(c->summary) + 13 <= 80);
		for (const struct cli_option *o = c->options; o && o->name; o++) {
			assert_false(seen[(unsigned char)o->key]);
			seen[(unsigned char)o->key] = true;
			assert_true(o->key != 'h' && strcmp(o->name, "help") != 0);
			assert_true(strlen(o->help) + 27 <= 80);
		}
	}
	assert_null(cli_find(groups, ""));
}

static void stream(void **state)
{
	static const struct {
		const char *line;
		int ret;
	} rows[] = {
		{"{\"seq\":1,\"verb\":\"pull\"}", -1},
		{"{\"stage\":\"layers\",\"done_bytes\":0,\"total_bytes\":0}", 0},
		{"{\"stage\":\"layers\",\"done_bytes\":1,\"total_bytes\":9}", -1},
		{"{\"layer\":2,\"layers\":2,\"digest\":\"sha256:0123456789abcdef\",\"state\":\"wait\"}",
			2},
		{"{\"layer\":2,\"state\":\"download\",\"done_bytes\":5,\"total_bytes\":10}", 2},
		{"{\"layer\":2,\"state\":\"download\",\"done_bytes\":-7,\"total_bytes\":10}", -1},
		{"{\"layer\":0,\"state\":\"done\"}", -1},
		{"{\"layer\":128,\"state\":\"done\"}", -1},
		{"{\"layer\":\"2\",\"state\":\"done\"}", -1},
		{"{\"dropped\":12}", -1},
		{"{\"layer\":1,\"state\":\"a state with a long name\"}", 1},
		{"no json", -1},
		{"", -1},
		{"[1]", -1},
		{"{\"end\":\"ok\",\"digest\":\"sha256:ff\"}", -1},
	};
	struct progress *p = calloc(1, sizeof(*p));

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(progress_line(p, rows[i].line), rows[i].ret);
	assert_int_equal(p->layers, 2);
	assert_string_equal(p->layer[2].digest, "0123456789ab");
	assert_string_equal(p->layer[2].state, "download");
	assert_int_equal(p->layer[2].done, 0);
	assert_string_equal(p->digest, "sha256:ff");
	free(p);
}

static void bars(void **state)
{
	struct progress_layer l = {"0123456789ab", "download", 5, 10};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	progress_bar(&l, 75, false, &s);
	assert_string_equal(s.buf, "0123456789ab: Downloading    [==========>         ] 5B/10B");
	msb_str_done(&s);
	l.done = 11; /* more than there is */
	progress_bar(&l, 20, false, &s);
	assert_string_equal(s.buf, "0123456789ab: Downloading    [==========] 11B/10B");
	msb_str_done(&s);
	progress_bar(&l, 80, true, &s);
	assert_non_null(strstr(s.buf, "\033[0m"));
	msb_str_done(&s);
	(void)snprintf(l.state, sizeof(l.state), "exists");
	progress_bar(&l, 80, false, &s);
	assert_string_equal(s.buf, "0123456789ab: Already exists ");
}

static void names_of_files(void **state)
{
	static const struct {
		const char *path, *name;
	} rows[] = {
		{"/a/b/python-3.12.tar.gz", "python-3.12"},
		{"/a/b/busybox/", "busybox"},
		{"/x.tar", "x"},
		{"/X.TAR", "x.tar"}, /* the ends are as tools write them */
		{"/a.oci.tar.zst", "a"},
		{"/proc/1/fd/3", "3"},
		{"/a/_", NULL},
		{"/a/b c.tar", NULL},
		{"/", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		int r = files_name_of(rows[i].path, &s, NULL);

		assert_int_equal(r, rows[i].name ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(s.buf, rows[i].name);
	}
}

static void for_people(void **state)
{
	char buf[32];

	assert_string_equal(cli_bytes(0, buf), "0B");
	assert_string_equal(cli_bytes(999, buf), "999B");
	assert_string_equal(cli_bytes(1000, buf), "1.0kB");
	assert_string_equal(cli_bytes(123456, buf), "123kB");
	assert_string_equal(cli_bytes(298000000, buf), "298MB");
	assert_string_equal(cli_bytes(999600000, buf), "1.0GB");
	assert_string_equal(cli_bytes(UINT64_MAX, buf), "18.4EB");
	assert_string_equal(cli_ago(-5, buf), "just now");
	assert_string_equal(cli_ago(1, buf), "1 second ago");
	assert_string_equal(cli_ago(90, buf), "1 minute ago");
	assert_string_equal(cli_ago(7200, buf), "2 hours ago");
	assert_string_equal(cli_ago(8 * 86400, buf), "8 days ago");
	assert_string_equal(cli_ago(800LL * 86400, buf), "2 years ago");
}

static void quoting(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	mnt_quote(&s, "/a b\\c\n#d");
	assert_string_equal(s.buf, "/a\\040b\\134c\\012#d");
	msb_str_done(&s);
	mnt_quote(&s, "#x");
	assert_string_equal(s.buf, "\\043x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parsing),
		cmocka_unit_test(table),
		cmocka_unit_test(stream),
		cmocka_unit_test(bars),
		cmocka_unit_test(names_of_files),
		cmocka_unit_test(for_people),
		cmocka_unit_test(quoting),
	};

	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
