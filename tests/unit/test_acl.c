// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs: which bytes are one, and what an ACL and a mode make of each other.
#include "tests/unit/acl_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#define PLAIN "u::rw-,g::r--,o::---"
#define NAMED "u::rwx,u:1000:r-x,u:7:---,g::r-x,g:50:rw-,m::rwx,o::r--"

static struct acl_bytes in, out;
static char text[4096];

/* What setting one comes to; @kept NULL: the mode says it all. */
static void sets(void **state)
{
	static const struct {
		const char *acl;
		uint32_t mode;
		bool def;
		int r;
		uint32_t then;
		const char *kept;
	} rows[] = {
		{PLAIN, S_IFREG | 0777, false, 0, S_IFREG | 0640, NULL},
		{PLAIN, S_IFDIR | 07777, false, 0, S_IFDIR | 07640, NULL},
		{NAMED, S_IFREG | 0, false, 0, S_IFREG | 0774, NAMED},
		{"u::---,g::rwx,m::r--,o::---", S_IFREG | 0777, false, 0, S_IFREG | 0040,
			"u::---,g::rwx,m::r--,o::---"}, /* a mask alone is not what a mode says */
		{"u::rwx,u:3:r--,u:3:r--,u:1:rwx,g::---,m::---,o::---", S_IFIFO | 0, false, 0,
			S_IFIFO | 0700, "u::rwx,u:3:r--,u:3:r--,u:1:rwx,g::---,m::---,o::---"},
		{PLAIN, S_IFDIR | 0755, true, 0, S_IFDIR | 0755, PLAIN},
		{NAMED, S_IFDIR | 02755, true, 0, S_IFDIR | 02755, NAMED},
		{NAMED, S_IFREG | 0755, true, -EACCES, 0, NULL},
		{NAMED, S_IFLNK | 0777, true, -EOPNOTSUPP, 0, NULL},
		{PLAIN, S_IFLNK | 0777, false, -EOPNOTSUPP, 0, NULL},
		{"", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"g::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,u::rwx,g::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx,g::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx,o::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx,m::rwx,m::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"g::rwx,u::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx,o::rwx,m::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,g::rwx,u:1:rwx,m::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,u:1:rwx,g::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL}, /* no mask */
		{"u::rwx,g::rwx,g:1:rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
		{"u::rwx,u:4294967295:rwx,g::rwx,m::rwx,o::rwx", S_IFREG, false, -EINVAL, 0, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t mode = rows[i].mode;
		int r;

		acl_from_text(rows[i].acl, &in);
		r = acl_set(rows[i].def ? ACL_DEFAULT : ACL_ACCESS, in.p, in.n, &mode, &out);
		if (r != rows[i].r || mode != (r ? rows[i].mode : rows[i].then))
			fail_msg("row %zu: %d, mode %o", i, r, mode);
		if (r == 0)
			assert_string_equal(acl_to_text(out.p, out.n, text), rows[i].kept ?: "");
	}
}

/* Bytes that no text stands for. */
static void bytes_are_checked(void **state)
{
	uint32_t mode = S_IFREG;

	acl_from_text(NAMED, &in);
	for (size_t n = 0; n < in.n; n++)
		assert_int_equal(acl_set(ACL_ACCESS, in.p, n, &mode, &out), -EINVAL);
	for (size_t i = 0; i < 4; i++) { /* another version */
		in.p[i] ^= 1;
		assert_int_equal(acl_set(ACL_ACCESS, in.p, in.n, &mode, &out), -EINVAL);
		in.p[i] ^= 1;
	}
	for (unsigned int v = 0; v < 0x10000; v++) {
		uint16_t le = htole16((uint16_t)v);

		acl_from_text(PLAIN, &in);
		memcpy(in.p + 4, &le, 2); /* the first entry's tag */
		assert_int_equal(acl_set(ACL_ACCESS, in.p, in.n, &mode, &out),
			v == ACL_USER_OBJ ? 0 : -EINVAL);
		acl_from_text(PLAIN, &in);
		memcpy(in.p + 6, &le, 2); /* its permissions */
		assert_int_equal(
			acl_set(ACL_ACCESS, in.p, in.n, &mode, &out), v <= 7 ? 0 : -EINVAL);
	}
	/* An id where there is none to be is not handed on. */
	acl_from_text("u::rwx,g::r-x,m::rwx,o::r--", &in);
	memset(in.p + 8, 0x11, 4);
	assert_int_equal(acl_set(ACL_ACCESS, in.p, in.n, &mode, &out), 0);
	assert_string_equal(acl_to_text(out.p, out.n, text), "u::rwx,g::r-x,m::rwx,o::r--");
}

/* As many entries as there may be, and one more. */
static void entries_have_a_limit(void **state)
{
	static uint8_t more[ACL_MAX_BYTES + ACL_ENTRY_BYTES];
	uint32_t mode = S_IFREG;
	size_t named = ACL_MAX_ENTRIES - 4, tail = 3 * ACL_ENTRY_BYTES;

	acl_from_text("u::rwx,u:1000:r-x,g::r-x,m::rwx,o::r--", &in);
	memcpy(more, in.p, 12);
	for (size_t i = 0; i <= named; i++)
		memcpy(more + 12 + i * ACL_ENTRY_BYTES, in.p + 12, ACL_ENTRY_BYTES);
	memcpy(more + 12 + named * ACL_ENTRY_BYTES, in.p + 20, tail);
	assert_int_equal(acl_set(ACL_ACCESS, more, ACL_MAX_BYTES, &mode, &out), 0);
	assert_int_equal(out.n, ACL_MAX_BYTES);
	assert_memory_equal(out.p, more, ACL_MAX_BYTES);
	assert_int_equal(mode, S_IFREG | 0774);
	memcpy(more + 12 + named * ACL_ENTRY_BYTES, in.p + 12, ACL_ENTRY_BYTES);
	memcpy(more + 12 + (named + 1) * ACL_ENTRY_BYTES, in.p + 20, tail);
	assert_int_equal(acl_set(ACL_ACCESS, more, sizeof(more), &mode, &out), -E2BIG);
	assert_int_equal(acl_seen(ACL_ACCESS, more, sizeof(more), mode, &out), -ENODATA);
}

/* The mode has the last word on what it says itself. */
static void is_seen_through_the_mode(void **state)
{
	static const struct {
		const char *acl;
		uint32_t mode;
		const char *seen;
	} rows[] = {
		{NAMED, S_IFREG | 0774, NAMED},
		{NAMED, S_IFREG | 04000, "u::---,u:1000:r-x,u:7:---,g::r-x,g:50:rw-,m::---,o::---"},
		{NAMED, S_IFREG | 0521, "u::r-x,u:1000:r-x,u:7:---,g::r-x,g:50:rw-,m::-w-,o::--x"},
		{PLAIN, S_IFDIR | 0751, "u::rwx,g::r-x,o::--x"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		acl_from_text(rows[i].acl, &in);
		assert_int_equal(acl_seen(ACL_ACCESS, in.p, in.n, rows[i].mode, &out), 0);
		assert_string_equal(acl_to_text(out.p, out.n, text), rows[i].seen);
		assert_int_equal(acl_seen(ACL_DEFAULT, in.p, in.n, rows[i].mode, &out), 0);
		assert_string_equal(acl_to_text(out.p, out.n, text), rows[i].acl);
	}
	assert_int_equal(acl_seen(ACL_ACCESS, "acl", 3, 0777, &out), -ENODATA);
	assert_int_equal(acl_seen(ACL_DEFAULT, NULL, 0, 0777, &out), -ENODATA);
}

/* @def NULL: the directory has none. */
static void new_files_inherit(void **state)
{
	static const struct {
		const char *def;
		uint32_t asked, umask, then;
		const char *access;
		bool has;
	} rows[] = {
		{NULL, S_IFREG | 0666, 022, S_IFREG | 0644, "", false},
		{NULL, S_IFDIR | 01777, 0777, S_IFDIR | 01000, "", false},
		{NULL, S_IFLNK | 0777, 022, S_IFLNK | 0777, "", false},
		{NAMED, S_IFLNK | 0777, 022, S_IFLNK | 0777, "", false},
		/* The umask does not count. */
		{PLAIN, S_IFREG | 0666, 0777, S_IFREG | 0640, "", true},
		{PLAIN, S_IFDIR | 02777, 0777, S_IFDIR | 02640, "", true},
		{NAMED, S_IFREG | 0666, 077, S_IFREG | 0664,
			"u::rw-,u:1000:r-x,u:7:---,g::r-x,g:50:rw-,m::rw-,o::r--", true},
		{NAMED, S_IFREG | 0400, 0, S_IFREG | 0400,
			"u::r--,u:1000:r-x,u:7:---,g::r-x,g:50:rw-,m::---,o::---", true},
		{"u::rwx,g::rwx,m::r-x,o::---", S_IFDIR | 0777, 0, S_IFDIR | 0750,
			"u::rwx,g::rwx,m::r-x,o::---", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t mode = rows[i].asked;

		in.n = 0;
		if (rows[i].def)
			acl_from_text(rows[i].def, &in);
		assert_int_equal(acl_inherit(in.p, in.n, rows[i].umask, &mode, &out), rows[i].has);
		assert_int_equal(mode, rows[i].then);
		assert_string_equal(acl_to_text(out.p, out.n, text), rows[i].access);
	}
	/* What is no ACL counts as none. */
	for (size_t n = 1; n < 4; n++) {
		uint32_t mode = S_IFREG | 0666;

		assert_false(acl_inherit("acl", n, 022, &mode, &out));
		assert_int_equal(mode, S_IFREG | 0644);
		assert_int_equal(out.n, 0);
	}
}

static void names(void **state)
{
	static const char list[] = "user.a\0" ACL_ACCESS "\0" ACL_DEFAULT "\0system.b\0" ACL_ACCESS;
	char buf[sizeof(list)];

	assert_true(acl_is_name("system.posix_acl_access"));
	assert_true(acl_is_name("system.posix_acl_default"));
	assert_false(acl_is_name("system.posix_acl"));
	assert_false(acl_is_name(""));
	memcpy(buf, list, sizeof(list));
	assert_int_equal(acl_names_out(buf, sizeof(list)), sizeof("user.a\0system.b"));
	assert_memory_equal(buf, "user.a\0system.b", sizeof("user.a\0system.b"));
	memcpy(buf, "user.a", 6);
	assert_int_equal(acl_names_out(buf, 6), 0); /* a name without an end is none */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets),
		cmocka_unit_test(bytes_are_checked),
		cmocka_unit_test(entries_have_a_limit),
		cmocka_unit_test(is_seen_through_the_mode),
		cmocka_unit_test(new_files_inherit),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
