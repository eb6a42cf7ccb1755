// SPDX-License-Identifier: Apache-2.0
// fs/options, fs/glob: what a user may write for a mount, what is said of the rest, what reads
// back.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fsb.h"
#include "fs/options_priv.h"

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct fsb_options o, again;

static int parse(const char *backend, const char *text, struct msb_err *e)
{
	return fsb_options_parse(backend, text, strlen(text), &o, e);
}

/* What is taken, and what it is printed as. */
static void prints(void **state)
{
	static const struct {
		const char *backend, *text, *printed;
	} rows[] = {
		{"passthrough", "", "rw"},
		{"passthrough", "defaults", "rw"},
		{"passthrough", "defaults,ro", "ro"},
		{"image", "", "ro"},
		{"image", "ro,audit", "ro,audit"},
		{"memory", "size=256M,quota=10G", "rw,quota_bytes=10G,size_bytes=256M"},
		{"memory", "size_bytes=5000", "rw,size_bytes=5000"},
		{"memory", "size_bytes=1T", "rw,size_bytes=1T"},
		{"memory", "size_bytes=4096T", "rw,size_bytes=4096T"},
		{"passthrough", "map=root,nosubmounts", "rw,map=root,nosubmounts"},
		{"passthrough", "submounts,map=none", "rw,map=none"},
		{"passthrough", "noatime", "rw,noatime"},
		{"overlay", "noatime,ro", "ro,noatime"},
		{"memory", "strictatime", "rw,strictatime"},
		{"memory", "acl", "rw,acl"},
		{"plugin", "noacl", "rw"},
		{"memory", "relatime,size=1M", "rw,size_bytes=1M"},
		{"overlay", "audit=changes", "rw,audit"},
		{"overlay", "noaudit", "rw"},
		{"overlay", "audit_ops=read+open,audit=all", "rw,audit=all,audit_ops=open+read"},
		{"overlay", "audit,audit_ops=unlink", "rw,audit,audit_ops=unlink"},
		{"overlay", "audit=all,audit_ops=all", "rw,audit=all,audit_ops=all"},
		{"overlay", "audit=opens,audit_path=/etc,audit_path=*.key",
			"rw,audit=opens,audit_path=/etc,audit_path=*.key"},
		{"plugin", "deny=/a,redact=b,allow=/a/b,deny=**",
			"rw,deny=/a,redact=b,allow=/a/b,deny=**"},
		{"plugin", "deny=a\\,b", "rw,deny=a\\,b"},
		{"plugin", "protocol=json,timeout=250ms", "rw,protocol=json,timeout=250ms"},
		{"plugin", "protocol=fuse,timeout=5s", "rw"},
		{"plugin", "timeout=600s", "rw,timeout=600s"},
		{"plugin", "over=/a\\,b\\\\c", "rw,over=/a\\,b\\\\c"},
		{"memory", "error=read:EIO:0.01", "rw,error=read:EIO:0.01"},
		{"memory", "error=read+write:ENOSPC:1", "rw,error=read+write:ENOSPC"},
		{"memory", "error=all:EAGAIN:0.000001", "rw,error=all:EAGAIN:0.000001"},
		{"memory", "delay=lookup:20ms,delay=all:1us:0.50",
			"rw,delay=lookup:20ms,delay=all:1us:0.5"},
		{"memory", "delay=fsync:60s", "rw,delay=fsync:60s"},
		{"memory", "delay=fsync:1500ms", "rw,delay=fsync:1500ms"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};
		int r = parse(rows[i].backend, rows[i].text, &e);

		assert_string_equal(e.msg, "");
		assert_int_equal(r, 0);
		fsb_options_print(&s, &o);
		assert_string_equal(s.buf, rows[i].printed);
		again = o;
		assert_int_equal(parse(rows[i].backend, s.buf, NULL), 0);
		assert_memory_equal(&again, &o, sizeof(o));
	}
}

/* What is refused, and a piece of the sentence. */
static void refuses(void **state)
{
	static const struct {
		const char *backend, *text;
		int ret;
		const char *sentence;
	} rows[] = {
		{"ext4", "", -EOPNOTSUPP, "there is no backend `ext4`"},
		{"passthrough", "qouta=1G", -EINVAL,
			"`qouta` is not known; did you mean `quota`? there are ro"},
		{"passthrough", "audt", -EINVAL, "did you mean `audit`?"},
		{"passthrough", "zzzzzzzz", -EINVAL, "`zzzzzzzz` is not known; there are ro, rw"},
		{"passthrough", "protocl=json", -EINVAL, "`protocl` is not known; there are"},
		{"passthrough", "RO", -EINVAL, "not known"},
		{"passthrough", "size=1M", -EINVAL, "passthrough takes no mount option `size`"},
		{"image", "rw", -EINVAL, "image takes no mount option `rw`"},
		{"image", "quota=1G", -EINVAL, "image takes no"},
		{"passthrough", ",ro", -EINVAL, "a comma too many"},
		{"passthrough", "ro,,audit", -EINVAL, "a comma too many"},
		{"passthrough", "ro,", -EINVAL, "end in a comma"},
		{"passthrough", "ro,rw", -EINVAL, "`rw` says again"},
		{"passthrough", "quota=1G,quota_bytes=1G", -EINVAL, "`quota_bytes` says again"},
		{"passthrough", "audit,noaudit", -EINVAL, "`noaudit` says again"},
		{"memory", "acl,noacl", -EINVAL, "`noacl` says again"},
		{"passthrough", "ro=1", -EINVAL, "`ro` takes no value"},
		{"passthrough", "quota", -EINVAL, "`quota` wants a value"},
		{"passthrough", "quota=", -EINVAL, "`quota` wants a value"},
		{"passthrough", "audit=", -EINVAL, "`audit` wants a value"},
		{"passthrough", "quota=1", -ERANGE, "`quota`: `1` is not between 4K and 1048576T"},
		{"passthrough", "quota=1048577T", -ERANGE, "not between"},
		{"passthrough", "quota=ten", -EINVAL, "`ten` is no size"},
		{"passthrough", "map=user", -EINVAL, "`user` is none of none, root"},
		{"passthrough", "audit=some", -EINVAL, "`some` is none of changes, opens, all"},
		{"passthrough", "audit_ops=write", -EINVAL, "say nothing without audit"},
		{"passthrough", "noaudit,audit_path=a", -EINVAL, "say nothing without audit"},
		{"passthrough", "audit,audit_ops=read", -EINVAL, "only audit=all sees"},
		{"passthrough", "audit,audit_ops=open", -EINVAL, "only audit=opens sees"},
		{"passthrough", "audit,audit_ops=write+write", -EINVAL, "there twice"},
		{"passthrough", "audit,audit_ops=all+write", -EINVAL, "there twice"},
		{"passthrough", "audit,audit_ops=wriet", -EINVAL,
			"`wriet` is no operation; there are all lookup"},
		{"passthrough", "audit,audit_ops=write+", -EINVAL, "`` is no operation"},
		{"passthrough", "deny=/a/", -EINVAL, "ends in /"},
		{"passthrough", "deny=a**", -EINVAL, "whole components"},
		{"passthrough", "deny=[a", -EINVAL, "[ without its ]"},
		{"passthrough", "deny=a\\", -EINVAL, "ends in a backslash"},
		{"plugin", "over=relative", -EINVAL, "not an absolute path"},
		{"plugin", "over=/x\\", -EINVAL, "backslash"},
		{"plugin", "timeout=1500us", -EINVAL, "whole number of milliseconds"},
		{"plugin", "timeout=601s", -ERANGE, "not between 1 us and 600 s"},
		{"plugin", "timeout=5", -EINVAL, "`5` is no time"},
		{"plugin", "protocol=xml", -EINVAL, "none of fuse, json"},
		{"memory", "error=read", -EINVAL, "is not OP:ERRNO"},
		{"memory", "error=read:EFOO", -EINVAL, "`EFOO` is no error"},
		{"memory", "error=read:5", -EINVAL, "`5` is no error"},
		{"memory", "error=read:EIO:0", -ERANGE, "not above 0"},
		{"memory", "error=read:EIO:1.1", -ERANGE, "up to 1"},
		{"memory", "error=read:EIO:2", -EINVAL, "no probability"},
		{"memory", "error=read:EIO:.5", -EINVAL, "no probability"},
		{"memory", "error=read:EIO:0.", -EINVAL, "1 to 6 digits"},
		{"memory", "error=read:EIO:0.0000001", -EINVAL, "1 to 6 digits"},
		{"memory", "error=read:EIO:0.5:1", -EINVAL, "1 to 6 digits"},
		{"memory", "delay=read", -EINVAL, "is not OP:TIME"},
		{"memory", "delay=read:0ms", -ERANGE, "not between"},
		{"memory", "delay=read:61s", -ERANGE, "not between"},
		{"memory", "delay=read:99999999999999999999us", -ERANGE, "not between"},
		{"memory", "delay=read:20 ms", -EINVAL, "no time"},
		{"memory", "deny=a\tb", -EINVAL, "control byte (0x09)"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		int r = parse(rows[i].backend, rows[i].text, &e);

		if (r != rows[i].ret || !strstr(e.msg, rows[i].sentence))
			fail_msg("%s: %d %s", rows[i].text, r, e.msg);
		assert_true(strlen(e.msg) < MSB_ERR_MAX - 1); /* nothing is cut */
	}
	assert_int_equal(fsb_options_parse("memory", "ro\0x", 4, &o, NULL), -EINVAL);
}

/* @n times @one, joined by commas, is taken; once more is not. */
static void limit(const char *one, unsigned int n, const char *sentence)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};

	msb_str_adds(&s, "audit");
	for (unsigned int i = 0; i < n; i++)
		msb_str_addf(&s, ",%s", one);
	assert_int_equal(parse("memory", s.buf, NULL), 0);
	msb_str_addf(&s, ",%s", one);
	assert_int_equal(parse("memory", s.buf, &e), -E2BIG);
	assert_non_null(strstr(e.msg, sentence));
}

static void limits(void **state)
{
	static char text[FSB_MAX_OPTIONS + 2];

	limit("deny=x", FSB_MAX_GLOBS, "at most 32 patterns");
	limit("audit_path=x", FSB_MAX_GLOBS, "at most 32 patterns");
	limit("audit_path=x,deny=x", FSB_MAX_GLOBS / 2, "at most 32 patterns");
	limit("error=read:EIO", FSB_MAX_FAULTS, "at most 16");
	limit("delay=read:1s", FSB_MAX_FAULTS, "at most 16");

	memset(text, 'x', sizeof(text));
	memcpy(text, "deny=", 5);
	text[5 + FSB_MAX_GLOB_BYTES] = '\0';
	assert_int_equal(parse("memory", text, NULL), 0);
	text[5 + FSB_MAX_GLOB_BYTES] = 'x';
	text[6 + FSB_MAX_GLOB_BYTES] = '\0';
	assert_int_equal(parse("memory", text, NULL), -E2BIG);

	memset(text, 'x', sizeof(text));
	memcpy(text, "over=/", 6);
	text[5 + FSB_MAX_OVER] = '\0';
	assert_int_equal(parse("plugin", text, NULL), 0);
	text[5 + FSB_MAX_OVER] = 'x';
	text[6 + FSB_MAX_OVER] = '\0';
	assert_int_equal(parse("plugin", text, NULL), -E2BIG);

	text[6 + FSB_MAX_OVER] = 'x';
	assert_int_equal(fsb_options_parse("plugin", text, FSB_MAX_OPTIONS + 1, &o, NULL), -E2BIG);
}

/* A backend that can be had has its options. */
static void every_backend(void **state)
{
	for (const struct fsb_kind *const *k = fsb_kinds; *k; k++)
		if ((*k)->start)
			assert_int_equal(parse((*k)->name, "audit,ro", NULL), 0);
}

/* Every key is in a man page of a backend or wrapper, as an option. */
static void documented(void **state)
{
	_cleanup_str_ struct msb_str all = MSB_STR_INIT;
	glob_t pages;
	char word[32];

	assert_int_equal(glob("fs/backends/*.5.scd", 0, NULL, &pages), 0);
	for (size_t i = 0; i < pages.gl_pathc; i++)
		assert_int_equal(msb_read_file(AT_FDCWD, pages.gl_pathv[i], 1 << 20, &all), 0);
	globfree(&pages);
	assert_non_null(all.buf);
	for (const struct opt_key *k = opt_keys; k->name; k++) {
		(void)snprintf(
			word, sizeof(word), "*%s%s", k->name, k->value == OPT_VALUE ? "=" : "*");
		/* One whose page is not written is not out. */
		if (k->backends == OPT_PLUGIN && !strstr(all.buf, "msb-fs-plugin(5)\n\n# NAME"))
			continue;
		if (!strstr(all.buf, word))
			fail_msg("%s is in no man page", word);
	}
}

static void op_names(void **state)
{
	assert_string_equal(fsb_op_name(FSB_LOOKUP), "lookup");
	assert_string_equal(fsb_op_name(FSB_COPY_FILE_RANGE), "copy_file_range");
	for (unsigned int i = 0; i < FSB_OPS; i++)
		assert_non_null(fsb_op_name((enum fsb_op)i));
	assert_int_equal(fsb_audit_ops(FSB_AUDIT_NONE), 0);
	assert_true(fsb_audit_ops(FSB_AUDIT_OPENS) & FSB_OP_BIT(FSB_OPENDIR));
	assert_false(fsb_audit_ops(FSB_AUDIT_OPENS) & FSB_OP_BIT(FSB_READ));
	assert_true(fsb_audit_ops(FSB_AUDIT_ALL) & FSB_OP_BIT(FSB_SYNCFS));
}

static void globs(void **state)
{
	static const struct {
		const char *glob, *path;
		bool match;
	} rows[] = {
		{"/a", "/a", true},
		{"/a", "/b", false},
		{"/a", "/ab", false},
		{"/ab", "/a", false},
		{"/a", "/a/b/c", true}, /* all below */
		{"/a", "/x/a", false},
		{"a", "/a", true},
		{"a", "/x/a", true},
		{"a", "/x/ba", false},
		{"a/b", "/x/a/b/c", true},
		{"a/b", "/xa/b", false},
		{"*", "/x", true},
		{"*", "/", false}, /* the root is nobody's */
		{"**", "/", false},
		{"**", "/x/y", true},
		{"/*", "/x/y", true},
		{"/*/y", "/x/y", true},
		{"/*/y", "/x/z/y", false},
		{"/**/y", "/y", true},
		{"/**/y", "/x/z/y", true},
		{"/**/y", "/x/zy", false},
		{"/a/**", "/a", false},
		{"/a/**", "/a/b", true},
		{"/a/**/b", "/a/b", true},
		{"/a/**/b", "/a/x/y/b/z", true},
		{"/a/**/b", "/ab", false},
		{"/a/**/b", "/a/bb", false},
		{"**/a/**/b/**", "/x/a/y/b/z", true},
		{"**/a/**/b/**", "/x/a/y/b", false},
		{"*.key", "/d/x.key", true},
		{"*.key", "/d/.key", true},
		{"*.key", "/d/x.key.pub", false},
		{"*.key", "/x.keys/x.key", true},
		{"/a*b*c", "/axbbxc", true},
		{"/a*b*c", "/a/b/c", false},
		{"/?", "/a", true},
		{"/?", "/ab", false},
		{"/a?b", "/a/b", false},
		{"/[abc]", "/b", true},
		{"/[abc]", "/d", false},
		{"/[a-c]x", "/bx", true},
		{"/[!a-c]", "/d", true},
		{"/[!a-c]", "/b", false},
		{"/a[!x]b", "/a/b", false},
		{"/[]]", "/]", true},
		{"/[]-]", "/-", true},
		{"/[!]]", "/]", false},
		{"/[a-]", "/-", true},
		{"/\\*", "/*", true},
		{"/\\*", "/x", false},
		{"/a\\,b", "/a,b", true},
		{"/\xff", "/\xff", true},
		{"/[\x80-\xff]", "/\xc3", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fsb_glob g;

		assert_int_equal(fsb_glob_compile(rows[i].glob, strlen(rows[i].glob), &g, NULL), 0);
		if (fsb_glob_match(&g, rows[i].path, strlen(rows[i].path)) != rows[i].match)
			fail_msg("%s on %s", rows[i].glob, rows[i].path);
	}
}

/* Where two paths have come to the same, what is below has the same answers; and the other way
 * round where they have not. */
static void glob_states(void **state)
{
	static const struct {
		const char *glob, *a, *b;
		bool same;
	} rows[] = {
		{"*.key", "/a/", "/b/c/", true},
		{"a/secret", "/a/", "/b/", false},
		{"/home/*/x", "/home/u/", "/home/v/", true},
		{"/home/*/x", "/home/u/", "/root/", false},
		{"/a", "/a/", "/a/b/", true},
		{"/a/x", "/b/", "/c/", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fsb_glob g;
		struct fsb_glob_state a, b;

		assert_int_equal(fsb_glob_compile(rows[i].glob, strlen(rows[i].glob), &g, NULL), 0);
		fsb_glob_start(&g, &a);
		fsb_glob_step(&g, &a, rows[i].a, strlen(rows[i].a));
		fsb_glob_start(&g, &b);
		fsb_glob_step(&g, &b, rows[i].b, strlen(rows[i].b));
		assert_int_equal(fsb_glob_same(&a, &b), rows[i].same);
	}
}

/* What makes matchers that try again for ages: done in the time of one pass. */
static void glob_no_blowup(void **state)
{
	static char path[1 << 16];
	char glob[FSB_MAX_GLOB_BYTES + 1] = "";
	struct fsb_glob g;

	for (int i = 0; i < 60; i++)
		strcat(glob, "a*");
	strcat(glob, "b");
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	assert_int_equal(fsb_glob_compile(glob, strlen(glob), &g, NULL), 0);
	assert_false(fsb_glob_match(&g, path, sizeof(path)));
	glob[0] = '\0';
	for (int i = 0; i < 50; i++)
		strcat(glob, "**/a/");
	strcat(glob, "b");
	for (size_t i = 0; i < sizeof(path); i += 2)
		path[i] = '/';
	assert_int_equal(fsb_glob_compile(glob, strlen(glob), &g, NULL), 0);
	assert_false(fsb_glob_match(&g, path, sizeof(path)));
	memset(glob, '?', FSB_MAX_GLOB_BYTES);
	assert_int_equal(fsb_glob_compile(glob, FSB_MAX_GLOB_BYTES, &g, NULL), 0);
	assert_false(fsb_glob_match(&g, path, FSB_MAX_GLOB_BYTES + 1));
	memset(path + 1, 'x', FSB_MAX_GLOB_BYTES);
	assert_true(fsb_glob_match(&g, path, FSB_MAX_GLOB_BYTES + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints),
		cmocka_unit_test(refuses),
		cmocka_unit_test(limits),
		cmocka_unit_test(every_backend),
		cmocka_unit_test(documented),
		cmocka_unit_test(op_names),
		cmocka_unit_test(globs),
		cmocka_unit_test(glob_states),
		cmocka_unit_test(glob_no_blowup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
