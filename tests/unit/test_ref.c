// SPDX-License-Identifier: Apache-2.0
// References: what is one, what it means, and the sentence for what is none.
#include "base/cleanup.h"
#include "fs/image/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void canonical(void **state)
{
	static const struct {
		const char *text, *want;
		bool bare;
	} rows[] = {
		{"python", "docker.io/library/python:latest", true},
		{"python:3.12", "docker.io/library/python:3.12", true},
		{"docker.io/python", "docker.io/library/python:latest", false},
		{"index.docker.io/python", "docker.io/library/python:latest", false},
		{"some/one", "docker.io/some/one:latest", true},
		{"docker.io/library/python:3.12", "docker.io/library/python:3.12", false},
		{"localhost/x", "localhost/x:latest", false},
		{"localhost:5000/x", "localhost:5000/x:latest", false},
		{"localhost:5000/x:5000", "localhost:5000/x:5000", false},
		{"127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t", false},
		{"[::1]:5000/a", "[::1]:5000/a:latest", false},
		{"[::1]/a", "[::1]/a:latest", false},
		{"Reg.Example/a__b/c-d--e.f_g:V1.0-x_y", "reg.example/a__b/c-d--e.f_g:V1.0-x_y",
			false},
		{"x@sha256:" HEX, "docker.io/library/x@sha256:" HEX, true},
		{"x:tag@sha256:" HEX, "docker.io/library/x@sha256:" HEX, true},
		{"r.lan/x:_t", "r.lan/x:_t", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT, again = MSB_STR_INIT;
		struct msb_err e = {0};
		struct img_ref r;

		assert_int_equal(img_ref_parse(rows[i].text, IMG_REF_DEFAULT_HOST, &r, &e), 0);
		img_ref_print(&r, &s);
		assert_string_equal(s.buf, rows[i].want);
		assert_int_equal(r.bare, rows[i].bare);
		assert_int_equal(img_ref_parse(s.buf, IMG_REF_DEFAULT_HOST, &r, &e), 0);
		img_ref_print(&r, &again);
		assert_string_equal(again.buf, rows[i].want);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "it is empty"},
		{"Python", "no upper-case"},
		{"HOST/x", "no upper-case"},
		{"a//b", "made of a-z"},
		{"/a", "made of a-z"},
		{"a/", "made of a-z"},
		{"../a", "no host"},
		{"r.lan/../a", "made of a-z"},
		{"a/./b", "made of a-z"},
		{"a_", "made of a-z"},
		{"a___b", "made of a-z"},
		{"a..b", "made of a-z"},
		{"a b", "made of a-z"},
		{"a\nb", "made of a-z"},
		{"a:", "a tag is"},
		{"a:.x", "a tag is"},
		{"a:-x", "a tag is"},
		{"a:x y", "a tag is"},
		{"a@sha256:12", "64 hex"},
		{"a@sha512:" HEX HEX, "64 hex"},
		{"a@sha256:" HEX "0", "64 hex"},
		{"a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
			"64 hex"},
		{"-h.lan/a", "no host"},
		{"h..lan/a", "no host"},
		{"h.lan:/a", "no host"},
		{"h.lan:0/a", "no host"},
		{"h.lan:65536/a", "no host"},
		{"h.lan:5000:1/a", "no host"},
		{"[::1/a", "no host"},
		{"user@h.lan/a", "64 hex"},
		{"http://h.lan/a", "no host"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct img_ref r;

		assert_int_equal(
			img_ref_parse(rows[i].text, IMG_REF_DEFAULT_HOST, &r, &e), -EINVAL);
		if (!strstr(e.msg, rows[i].why))
			fail_msg("`%s`: %s", rows[i].text, e.msg);
	}
}

/* One byte more than each limit is refused, the limit itself is not. */
static void limits(void **state)
{
	char text[1024], tag[IMG_REF_MAX_TAG + 2];
	struct msb_err e = {0};
	struct img_ref r;

	memset(text, 'a', sizeof(text));
	memcpy(text, "r.lan/", 6);
	text[IMG_REF_MAX_NAME] = 0;
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), 0);
	assert_int_equal(strlen(r.host) + 1 + strlen(r.repo), IMG_REF_MAX_NAME);
	text[IMG_REF_MAX_NAME] = 'a';
	text[IMG_REF_MAX_NAME + 1] = 0;
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "255 bytes"));
	memset(text + IMG_REF_MAX_NAME, 'a', 600);
	text[900] = 0;
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "too long"));
	/* a host alone is as long */
	memset(text, 'h', sizeof(text));
	memcpy(text + IMG_REF_MAX_NAME + 1, "./a", 4);
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "255 bytes"));
	memset(tag, 't', sizeof(tag));
	tag[IMG_REF_MAX_TAG] = 0;
	(void)snprintf(text, sizeof(text), "x:%s", tag);
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), 0);
	assert_string_equal(r.tag, tag);
	(void)snprintf(text, sizeof(text), "x:%st", tag);
	assert_int_equal(img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, &e), -EINVAL);
}

static void local_and_endpoints(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	struct img_ref r;
	char buf[72];

	assert_int_equal(img_ref_parse("mine", IMG_REF_LOCAL_HOST, &r, &e), 0);
	img_ref_print(&r, &s);
	assert_string_equal(s.buf, "localhost/mine:latest");
	assert_string_equal(img_ref_version(&r, buf), "latest");
	assert_string_equal(img_ref_endpoint("r.lan:5000"), "r.lan:5000");
	assert_string_not_equal(img_ref_endpoint(IMG_REF_DEFAULT_HOST), IMG_REF_DEFAULT_HOST);
	assert_string_equal(img_ref_auth_key("r.lan"), "r.lan");
	assert_int_equal(img_ref_parse("x@sha256:" HEX, IMG_REF_LOCAL_HOST, &r, &e), 0);
	assert_string_equal(img_ref_version(&r, buf), "sha256:" HEX);
	assert_string_equal(r.tag, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical),
		cmocka_unit_test(refused),
		cmocka_unit_test(limits),
		cmocka_unit_test(local_and_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
