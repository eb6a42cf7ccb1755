// SPDX-License-Identifier: Apache-2.0
// The msb command: its table, options, what it makes of streams, names and sizes.
#include "base/cleanup.h"
#include "base/str.h"
#include "tools/msb/cli.h"
#include "tools/msb/files.h"
#include "tools/msb/progress.h"
#include "tools/msb/remote.h"
#include "tools/msb/shell.h"
#include "tools/msb/since.h"
#include "tools/msb/spec.h"
#include "tools/msb/template.h"
#include "tools/msb/view.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static const struct cli_option options[] = {
	CLI_OPTION('q', "quiet", NULL, "q"),
	CLI_OPTION('v', "verbose", NULL, "v"),
	CLI_OPTION('o', "output", "FILE", "o"),
	CLI_OPTION('e', "env", "K=V", "many", .many = true),
	CLI_OPTION(0, "long", "TEXT", "no short form"),
	{0},
};
static const struct cli_command command = CLI_COMMAND("cmd", "alias", "[OPTION]... A [B]", "Does",
	1, 2, options, NULL, .about = "It does.", .examples = "msb cmd a");
static const struct cli_command runs = CLI_COMMAND("cmd", NULL, "[OPTION]... A [WORD]...", "Does",
	1, SIZE_MAX, options, NULL, .word_ends = true);

/* Sentences go to stderr: not into the test's output. */
static int parse_as(
	const struct cli_command *c, const struct cli_args *global, char **argv, struct cli_args *a)
{
	int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC), err = dup(2), out = dup(1), n = 0, r;

	while (argv[n])
		n++;
	(void)fflush(stdout);
	assert_true(dup2(null_fd, 2) == 2 && dup2(null_fd, 1) == 1);
	r = c ? cli_parse(c, global, n, argv, a) : cli_parse_global(n, argv, a);
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
		{{"cmd", "a", "-z"}, -EINVAL, NULL, NULL, NULL, NULL, NULL},
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
		assert_int_equal(parse_as(&command, NULL, argv, &a), rows[i].ret);
		if (rows[i].ret)
			continue;
#define SAME(x, y) assert_true((x) && (y) ? !strcmp(x, y) : (x) == (y))
		SAME(cli_get(&a, "quiet"), rows[i].q);
		SAME(cli_get(&a, "output"), rows[i].o);
		SAME(cli_get(&a, "long"), rows[i].l);
		SAME(a.word[0], rows[i].first);
		if (a.n > 1)
			SAME(a.word[1], rows[i].second);
		assert_null(a.word[a.n]);
	}
}

static void options_that_come_again(void **state)
{
	char *argv[] = {"cmd", "-e", "A=1", "--env=B=2", "a", "-eC", NULL};
	static struct cli_args a;
	size_t at = 0;

	assert_int_equal(parse_as(&command, NULL, argv, &a), 0);
	assert_string_equal(cli_next(&a, "env", &at), "A=1");
	assert_string_equal(cli_next(&a, "env", &at), "B=2");
	assert_string_equal(cli_next(&a, "env", &at), "C");
	assert_null(cli_next(&a, "env", &at));
	at = 0;
	assert_null(cli_next(&a, "output", &at));
}

/* What is another program's is left to it. */
static void first_word_ends(void **state)
{
	char *argv[] = {"cmd", "-q", "image", "-v", "--", "--output=x", NULL};
	char *again[] = {"cmd", "-q", "--", "-image", "-v", NULL};
	static struct cli_args a;

	assert_int_equal(parse_as(&runs, NULL, argv, &a), 0);
	assert_non_null(cli_get(&a, "quiet"));
	assert_null(cli_get(&a, "verbose"));
	assert_int_equal(a.n, 4);
	assert_string_equal(a.word[1], "-v");
	assert_string_equal(a.word[2], "--");
	assert_string_equal(a.word[3], "--output=x");
	assert_int_equal(parse_as(&runs, NULL, again, &a), 0);
	assert_int_equal(a.n, 2);
	assert_string_equal(a.word[0], "-image");
}

static void options_of_msb(void **state)
{
	char *argv[] = {"msb", "-q", "--dry-run", "-H", "ssh://x", "cmd", "-x", NULL};
	char *own[] = {"cmd", "a", "--format", "json", "-x", NULL};
	char *late[] = {"cmd", "a", "-H", "ssh://x", NULL}, *bad[] = {"msb", "-v", "cmd", NULL};
	static struct cli_args global, a;

	assert_int_equal(parse_as(NULL, NULL, argv, &global), 0);
	assert_int_equal(global.n, 2);
	assert_string_equal(global.word[0], "cmd");
	assert_string_equal(cli_get(&global, "host"), "ssh://x");
	assert_null(cli_get(&global, "trace"));
	assert_int_equal(parse_as(&command, &global, own, &a), 0);
	/* its own option may have been given before it, and those of msb after it */
	assert_non_null(cli_get(&a, "quiet"));
	assert_non_null(cli_get(&a, "dry-run"));
	assert_non_null(cli_get(&a, "trace"));
	assert_string_equal(cli_get(&a, "format"), "json");
	assert_null(cli_get(&a, "verbose"));
	assert_int_equal(parse_as(&command, &global, late, &a), -EINVAL);
	assert_int_equal(parse_as(NULL, NULL, bad, &global), -EINVAL);
}

static void too_many_options(void **state)
{
	static char *argv[CLI_MAX_GIVEN + 4];
	static struct cli_args a;

	argv[0] = "cmd";
	argv[1] = "a";
	for (int i = 0; i < CLI_MAX_GIVEN; i++)
		argv[i + 2] = "-eX";
	assert_int_equal(parse_as(&command, NULL, argv, &a), 0);
	for (int i = 0; i <= CLI_MAX_GIVEN; i++)
		argv[i + 2] = "-eX";
	argv[1] = "a";
	assert_int_equal(parse_as(&command, NULL, argv, &a), -EINVAL);
}

/* What is wrong with the words of a command line is said by the usage's names for them. */
static void words_that_are_wrong(void **state)
{
	static const struct {
		const char *usage;
		size_t min, max;
		const char *argv[4], *says;
	} rows[] = {
		{"[OPTION]... IMAGE [COMMAND [ARGUMENT]...]", 1, SIZE_MAX, {"c"},
			"IMAGE is missing"},
		{"[OPTION]... NAME COMMAND [ARGUMENT]...", 2, SIZE_MAX, {"c", "x"},
			"COMMAND is missing"},
		{"NAME...", 1, SIZE_MAX, {"c"}, "NAME is missing"},
		{"[OPTION]... ls|rm [NAME]...", 1, SIZE_MAX, {"c"}, "one of ls|rm is missing"},
		{"REF [AS]", 1, 2, {"c", "x", "y", "z"}, "`z` is one word too many"},
		{"[OPTION]...", 0, 0, {"c", "x"}, "`x` is one word too many"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct cli_command c = {.name = "c",
			.usage = rows[i].usage,
			.min = rows[i].min,
			.max = rows[i].max};
		char *argv[5] = {NULL}, said[256] = "", want[256];
		int err = dup(2), fd = memfd_create("said", MFD_CLOEXEC), n = 0;
		static struct cli_args a;

		for (; n < 4 && rows[i].argv[n]; n++)
			argv[n] = (char *)(uintptr_t)rows[i].argv[n];
		assert_true(dup2(fd, 2) == 2);
		assert_int_equal(cli_parse(&c, NULL, n, argv, &a), -EINVAL);
		assert_true(dup2(err, 2) == 2 && pread(fd, said, sizeof(said) - 1, 0) > 0);
		(void)snprintf(want, sizeof(want), "msb c: %s\nusage: msb c %s\n", rows[i].says,
			rows[i].usage);
		assert_string_equal(said, want);
		close(err);
		close(fd);
	}
}

/* The words of a command in a line of sh, up to where it ends; $(..) is a word. */
static int words_of(char *line, char **words, int max)
{
	int n = 0;

	for (char *p = line, *to; n < max && (p += strspn(p, " ")) && *p && !strchr("|;<>&", *p);) {
		char quote = 0;

		for (words[n++] = to = p; *p && (quote || !strchr(" |;<>&", *p)); p++) {
			if (quote ? *p == quote : strchr("'\"", *p) != NULL)
				quote = quote ? 0 : *p;
			else if (!quote && !strncmp(p, "$(", 2))
				while (*p != ')')
					*to++ = *p++;
			else
				*to++ = *p;
		}
		assert_false(quote);
		if (*p == ' ')
			p++;
		else if (*p)
			*p = '\0';
		*to = '\0';
	}
	words[n] = NULL;
	return n;
}

/* What the manual shows is what parsing takes; one of its lines at least is of the command. */
static void examples(void **state)
{
	static struct cli_args global, a;
	char *words[64];

	for (const struct cli_group *g = cli_groups; g->commands; g++)
		for (const struct cli_command *c = g->commands; c->name; c++) {
			_cleanup_free_ char *text = strdup(c->examples);
			bool of_it = false;
			char *save = NULL;

			for (char *line = strtok_r(text, "\n", &save); line;
				line = strtok_r(NULL, "\n", &save)) {
				char *msb = *line == '#' ? NULL : strstr(line, "msb ");
				const struct cli_command *used;

				assert_true(*line != '#' || line[1] == ' ');
				if (!msb)
					continue;
				assert_true(words_of(msb, words, 63) > 1);
				assert_int_equal(parse_as(NULL, NULL, words, &global), 0);
				used = cli_find(cli_groups, global.word[0]);
				if (!used || parse_as(used, &global, global.word, &a) != 0)
					fail_msg("an example of %s is none: %s", c->name, line);
				of_it |= used == c;
			}
			if (!of_it)
				fail_msg("no example of %s shows it", c->name);
			for (const char *p = c->see ?: ""; *p; p += strspn(p, " ")) {
				size_t n = strcspn(p, " ");
				_cleanup_free_ char *name = strndup(p, n);

				if (!strchr(name, '('))
					assert_non_null(cli_find(cli_groups, name));
				p += n;
			}
		}
}

/* Every command has what --help and parsing need, and no two have one name. */
static void table(void **state)
{
	for (const struct cli_group *g = cli_groups; g->commands; g++)
		for (const struct cli_command *c = g->commands; c->name; c++) {
			bool seen[128] = {false};

			assert_ptr_equal(cli_find(cli_groups, c->name), c);
			if (c->alias)
				assert_ptr_equal(cli_find(cli_groups, c->alias), c);
			assert_true(c->usage && *c->summary && c->run && c->min <= c->max);
			assert_true(strlen(c->summary) + 13 <= 80);
			assert_true(c->about && *c->about);
			assert_true(c->about[strlen(c->about) - 1] == '.');
			for (const struct cli_option *o = c->options; o && o->name; o++) {
				assert_false(o->key && seen[(unsigned char)o->key]);
				seen[(unsigned char)o->key] = true;
				assert_true(o->key != 'h' && strcmp(o->name, "help") != 0);
				assert_true(strlen(o->help) + 29 <= 80);
				assert_ptr_equal(cli_option(c, o->name, strlen(o->name)), o);
				assert_true(o->arg || (!o->many && !o->complete));
			}
		}
	assert_null(cli_find(cli_groups, ""));
}

static void misspelt(void **state)
{
	assert_string_equal(cli_nearest(NULL, "inspetc"), "inspect");
	assert_string_equal(cli_nearest(NULL, "stats"), "stats");
	assert_string_equal(cli_nearest(NULL, "strat"), "start");
	assert_string_equal(cli_nearest(NULL, "rn"), "run");
	assert_null(cli_nearest(NULL, "frobnicate"));
	assert_null(cli_nearest(NULL, "xyz"));
	assert_null(cli_nearest(NULL, ""));
	assert_null(cli_nearest(NULL, "a-word-that-is-longer-than-any-of-them"));
	assert_string_equal(cli_nearest(&command, "output"), "output");
	assert_string_equal(cli_nearest(&command, "oputput"), "output");
	assert_string_equal(cli_nearest(&command, "dry-rum"), "dry-run");
	assert_null(cli_nearest(&command, "inspect"));
}

static void lines_of_sh(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		bool append;
		const char *line;
	} rows[] = {
		{"start\n", 6, false, "echo 'start' > /m/f"},
		{"", 0, false, "printf '' > /m/f"},
		{"\n", 1, false, "echo '' > /m/f"},
		{"a", 1, true, "printf 'a' >> /m/f"},
		{"it's\n", 5, false, "echo 'it'\\''s' > /m/f"},
		{"-n\n", 3, false, "printf '%s\\n' '-n' > /m/f"},
		{"a\\n\n", 4, true, "printf '%s\\n' 'a\\n' >> /m/f"},
		{"a\0b\0", 4, false, "printf 'a\\000b\\000' > /m/f"},
		{"-%\1", 3, false, "printf -- '-%%\\001' > /m/f"},
		{"\xff\n", 2, false, "printf '\\377\\n' > /m/f"},
		{"\xc3\xa9\n", 3, false, "echo '\xc3\xa9' > /m/f"},
		{"a\nb\n", 4, false,
			"printf 'a\\nb\\n' | dd bs=1M iflag=fullblock status=none "
			"conv=notrunc of=/m/f"},
		{"a\nb", 3, true,
			"printf 'a\\nb' | dd bs=1M iflag=fullblock status=none "
			"conv=notrunc oflag=append of=/m/f"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		shell_write(&s, "/m/f", rows[i].append, rows[i].text, rows[i].n);
		assert_string_equal(s.buf, rows[i].line);
	}
}

static void other_hosts(void **state)
{
	static const struct {
		const char *url, *host, *port;
	} rows[] = {
		{"ssh://box", "box", ""},
		{"ssh://me@box:2222", "me@box", "2222"},
		{"ssh://box/", "box", ""},
		{"ssh://me@[::1]:22", "me@::1", "22"},
		{"ssh://[fe80::1]", "fe80::1", ""},
		{"box", NULL, NULL},
		{"http://box", NULL, NULL},
		{"ssh://", NULL, NULL},
		{"ssh://@box", NULL, NULL},
		{"ssh://me@", NULL, NULL},
		{"ssh://-oProxyCommand=x", NULL, NULL},
		{"ssh://me@-x", NULL, NULL},
		{"ssh://box/path", NULL, NULL},
		{"ssh://box:", NULL, NULL},
		{"ssh://box:0", NULL, NULL},
		{"ssh://box:65536", NULL, NULL},
		{"ssh://box:2x", NULL, NULL},
		{"ssh://box:000000022", NULL, NULL},
		{"ssh://a b", NULL, NULL},
		{"ssh://[::1", NULL, NULL},
		{"ssh://[::1]x", NULL, NULL},
	};
	char *words[] = {"run", "-e", "A=it's $HOME", "bb", "sh", "-c", "", "a;b", NULL};
	struct remote r;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int got = remote_parse(rows[i].url, &r, NULL);

		assert_int_equal(got, rows[i].host ? 0 : -EINVAL);
		if (got)
			continue;
		assert_string_equal(r.host, rows[i].host);
		assert_string_equal(r.port, rows[i].port);
	}
	assert_int_equal(remote_parse("ssh://x", &r, NULL), 0);
	remote_command(&r, words);
	assert_string_equal(r.command.buf, "msb run -e 'A=it'\\''s $HOME' bb sh -c '' 'a;b'");
	msb_str_done(&r.command);
}

/* What docker's options become; NULL: refused. */
static void specs(void **state)
{
	static const struct {
		char kind; /* b(ytes), s(econds), u(limit), t(mpfs), v(olume), m(ount), M: of tmpfs
			    */
		const char *text, *out;
	} rows[] = {
		{'b', "512m", "512M"},
		{'b', "2G", "2G"},
		{'b', "1gb", "1G"},
		{'b', "1KiB", "1K"},
		{'b', "100b", "100"},
		{'b', "100", "100"},
		{'b', "12x", "12x"},
		{'b', "m", "m"},
		{'b', "1.5g", "1.5g"},
		{'b', "1bb", "1bb"},
		{'s', "90", "90"},
		{'s', "1m30s", "90"},
		{'s', "2h", "7200"},
		{'s', "500ms", "500ms"},
		{'s', "-1", "-1"},
		{'s', "x", "x"},
		{'s', "", ""},
		{'u', "nofile=1024:2048", "nofile 1024:2048"},
		{'u', "nofile=1024", "nofile 1024:1024"},
		{'u', "core=-1", "core unlimited:unlimited"},
		{'u', "core=0:-1", "core 0:unlimited"},
		{'u', "core", NULL},
		{'u', "=1", NULL},
		{'u', "core=", NULL},
		{'t', "/run", "/run"},
		{'t', "/run:rw,size=64m,noatime", "/run size=64M,noatime"},
		{'t', "/a b", "/a\\040b"},
		{'t', "/run:exec,mode=755", "/run mode=755"},
		{'M', "type=tmpfs", NULL},
		{'v', "/src:/app", "/src /app passthrough"},
		{'v', "/src:/app:ro,audit", "/src /app passthrough ro,audit"},
		{'v', "/src:/app:rw,z", "/src /app passthrough"},
		{'v', "/a b:/c d:ro", "/a\\040b /c\\040d passthrough ro"},
		{'v', "~/x:/app", "/home/me/x /app passthrough"},
		{'v', "data:/data", "volume:data /data passthrough"},
		{'v', "./src:/app", "/tmp/src /app passthrough"},
		{'v', ".:/app", "/tmp /app passthrough"},
		{'v', "././/a:/app", "/tmp/a /app passthrough"},
		{'v', "../src:/app", "/tmp/../src /app passthrough"},
		{'v', "/src", NULL},
		{'v', "/src:app", NULL},
		{'v', ":/app", NULL},
		{'m', "type=bind,src=/a,dst=/b,ro", "/a /b passthrough ro"},
		{'m', "type=bind,source=/a,target=/b,readonly=true,audit",
			"/a /b passthrough ro,audit"},
		{'m', "src=v,dst=/b", "volume:v /b passthrough"},
		{'m', "type=image,src=debian,dst=/b", "debian /b image"},
		{'m', "type=memory,dst=/b,size_bytes=1M", "none /b memory size_bytes=1M"},
		{'m', "type=plugin,src=/bin/x,destination=/b,over=/y", "/bin/x /b plugin over=/y"},
		{'M', "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1770", "/b size=1M,mode=1770"},
		{'m', "type=disk,src=v,dst=/b", "volume:v /b disk"},
		{'d', "v:/b:ro", "volume:v /b disk ro"},
		{'m', "type=bind,src=/a", NULL},
		{'m', "type=bind,dst=/a", NULL},
		{'m', "", NULL},
	};

	assert_int_equal(chdir("/tmp"), 0);
	assert_int_equal(setenv("HOME", "/home/me", 1), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		bool tmpfs = false;
		int r = 0;

		switch (rows[i].kind) {
		case 'b': spec_bytes(rows[i].text, &s); break;
		case 's': spec_seconds(rows[i].text, &s); break;
		case 'u': r = spec_ulimit(rows[i].text, &s, NULL); break;
		case 't': spec_tmpfs(rows[i].text, &s); break;
		case 'v':
		case 'd': r = spec_volume(rows[i].text, rows[i].kind == 'd', &s, NULL); break;
		default:
			r = spec_mount(rows[i].text, &tmpfs, &s, NULL);
			assert_int_equal(tmpfs, rows[i].kind == 'M');
		}
		assert_int_equal(r, rows[i].out ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(s.buf ?: "", rows[i].out);
	}
}

static void commands_as_json(void **state)
{
	char *words[] = {"sh", "-c", "echo \"a\\n\"\n", "", "\xc3\xa9", NULL}, *none[] = {NULL};
	char *bad[] = {"a", "\xff", NULL};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, empty = MSB_STR_INIT, t = MSB_STR_INIT;

	assert_int_equal(spec_argv(words, &s, NULL), 0);
	assert_string_equal(
		s.buf, "[\"sh\", \"-c\", \"echo \\\"a\\\\n\\\"\\n\", \"\", \"\xc3\xa9\"]");
	assert_int_equal(spec_argv(none, &empty, NULL), 0);
	assert_string_equal(empty.buf, "[]");
	assert_int_equal(spec_argv(bad, &t, NULL), -EILSEQ);
}

static void made_up_names(void **state)
{
	for (uint64_t n = 0; n <= UINT32_MAX; n += UINT32_MAX / 5000) {
		char name[64];

		spec_name((uint32_t)n, name);
		assert_true(msb_name_valid(name));
	}
}

static int letter(const void *arg, const char *field, struct msb_str *s)
{
	if (strlen(field) != 1)
		return -ENOENT;
	msb_str_addf(s, "%s%c", (const char *)arg, *field);
	return 0;
}

static void templates(void **state)
{
	static const struct {
		const char *text, *out; /* NULL: refused */
	} rows[] = {
		{"", ""},
		{"a{{.b}}c", "a=bc"},
		{"{{ .x }}\\t{{.y}}\\n", "=x\t=y\n"},
		{"{.x} }} \\x", "{.x} }} \\x"},
		{"{{.long}}", NULL},
		{"{{x}}", NULL},
		{"{{.}}", NULL},
		{"{{.x", NULL},
		{"{{.x y}}", NULL},
		{"{{", NULL},
		{"{{.0123456789012345678901234567890123456789012345678901234567890123456789}}",
			NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		int r = template_expand(rows[i].text, letter, "=", &s, NULL);

		assert_int_equal(r, rows[i].out ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(s.buf ?: "", rows[i].out);
	}
}

static void times(void **state)
{
	static const struct {
		const char *text;
		long long usec; /* -1: refused; now is 1,000,000 s */
	} rows[] = {
		{"10s", 999990000000},
		{"10m", 999400000000},
		{"1d", 913600000000},
		{"86400", 86400000000},
		{"1970-01-02", 86400000000},
		{"1970-01-01T00:01:00", 60000000},
		{"1970-01-01T00:01:00.5Z", 60000000},
		{"1970-01-01 00:01:00", 60000000},
		{"1970-01-01T00:01", 60000000},
		{"", -1},
		{"10x", -1},
		{"yesterday", -1},
		{"1970-13-01", -1},
		{"1970-01-01T00:01:00+01:00", -1},
		{"99999999999999999999d", -1},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		long long usec = -1;

		assert_int_equal(since_parse(rows[i].text, 1000000000000, &usec, NULL),
			rows[i].usec < 0 ? -EINVAL : 0);
		assert_true(usec == rows[i].usec);
	}
}

static void views(void **state)
{
	static const char text[] = "id 12\nstate running\nreason \ndigest\nreason2 x y";
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	json_t *o = json_pack("{s:s, s:{s:i, s:s}, s:[]}", "state", "up", "status", "qemu_pid", 7,
		"k", "v", "config.pending");

	assert_int_equal(view_line(text, "state", &s), 0);
	assert_string_equal(s.buf, "running");
	msb_str_done(&s);
	assert_int_equal(view_line(text, "reason", &s), 0);
	assert_int_equal(view_line(text, "digest", &s), 0);
	assert_int_equal(s.len, 0);
	assert_int_equal(view_line(text, "reason2", &s), 0);
	assert_string_equal(s.buf, "x y");
	assert_int_equal(view_line(text, "rea", &s), -ENOENT);
	assert_true(view_number(text, "id") == 12 && view_number(text, "state") == 0);
	assert_string_equal(json_string_value(view_find(o, ".State")), "up");
	assert_int_equal(json_integer_value(view_find(o, "Status.QemuPid")), 7);
	assert_int_equal(json_integer_value(view_find(o, "status.qemu_pid")), 7);
	assert_non_null(view_find(o, "config.pending"));
	assert_null(view_find(o, "status.qemu"));
	assert_null(view_find(o, "state.x"));
	json_decref(o);
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
		cmocka_unit_test(options_that_come_again),
		cmocka_unit_test(first_word_ends),
		cmocka_unit_test(options_of_msb),
		cmocka_unit_test(too_many_options),
		cmocka_unit_test(table),
		cmocka_unit_test(examples),
		cmocka_unit_test(words_that_are_wrong),
		cmocka_unit_test(misspelt),
		cmocka_unit_test(lines_of_sh),
		cmocka_unit_test(other_hosts),
		cmocka_unit_test(specs),
		cmocka_unit_test(commands_as_json),
		cmocka_unit_test(made_up_names),
		cmocka_unit_test(templates),
		cmocka_unit_test(times),
		cmocka_unit_test(views),
		cmocka_unit_test(stream),
		cmocka_unit_test(bars),
		cmocka_unit_test(names_of_files),
		cmocka_unit_test(for_people),
		cmocka_unit_test(quoting),
	};

	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
