// SPDX-License-Identifier: Apache-2.0
// The man pages of backends and wrappers say what the tables say: every kind has a page, every
// option is on the page of each backend that alone takes it, and no page lists an option that there
// is not.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fsb.h"
#include "fs/options_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static char dir[PATH_MAX + 32];

static int setup(void **state)
{
	char exe[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *p = n > 0 ? strstr(exe, "/build/") : NULL;

	if (!p)
		return -1;
	for (char *next; (next = strstr(p + 1, "/build/"));)
		p = next;
	*p = '\0';
	(void)snprintf(dir, sizeof(dir), "%s/fs/backends", exe);
	return 0;
}

/* The page of @name; fails where there is none. */
static void page(const char *name, struct msb_str *s)
{
	char path[PATH_MAX + 96];

	(void)snprintf(path, sizeof(path), "%s/msb-fs-%s.5.scd", dir, name);
	if (msb_read_file(AT_FDCWD, path, 1u << 20, s) < 0)
		fail_msg("%s has no man page: %s", name, path);
}

/* Whether @text has the option: *key*, *key=* or *key=value*. */
static bool has(const char *text, const char *key)
{
	char want[80];
	int n = snprintf(want, sizeof(want), "*%s", key);

	for (const char *p = text; (p = strstr(p, want)); p++)
		if (p[n] == '*' || p[n] == '=')
			return true;
	return false;
}

static void every_kind_has_a_page(void **state)
{
	for (const struct fsb_kind *const *k = fsb_kinds; *k; k++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		char head[80];

		page((*k)->name, &s);
		(void)snprintf(head, sizeof(head), "msb-fs-%s(5)\n\n# NAME\n\nmsb-fs-%s - ",
			(*k)->name, (*k)->name);
		if (strncmp(s.buf, head, strlen(head)) != 0)
			fail_msg("the page of %s does not begin with its name", (*k)->name);
		assert_non_null(strstr(s.buf, "\n# DESCRIPTION\n"));
		assert_non_null(strstr(s.buf, "\n# OPTIONS\n"));
		assert_true((*k)->summary && *(*k)->summary);
	}
}

static void every_option_is_on_a_page(void **state)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} backends[] = {{OPT_PASSTHROUGH, "passthrough"}, {OPT_OVERLAY, "overlay"},
		{OPT_IMAGE, "image"}, {OPT_MEMORY, "memory"}, {OPT_PLUGIN, "plugin"}};

	for (const struct opt_key *k = opt_keys; k->name; k++) {
		bool found = !strcmp(k->name, "defaults") || !strcmp(k->name, "rw");

		for (const struct fsb_kind *const *kind = fsb_kinds; *kind && !found; kind++) {
			_cleanup_str_ struct msb_str s = MSB_STR_INIT;

			page((*kind)->name, &s);
			found = has(s.buf, k->name);
		}
		if (!found)
			fail_msg("no page tells of the option %s", k->name);
		/* What nearly every backend takes is the wrappers' to tell of. */
		if (__builtin_popcount(k->backends) > 2)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
			_cleanup_str_ struct msb_str s = MSB_STR_INIT;

			if (!(k->backends & backends[i].bit))
				continue;
			page(backends[i].name, &s);
			if (!has(s.buf, k->name))
				fail_msg("the page of %s lacks its option %s", backends[i].name,
					k->name);
		}
	}
}

static bool known(const char *p, size_t n)
{
	for (const struct opt_key *k = opt_keys; k->name; k++)
		if (strlen(k->name) == n && !strncmp(k->name, p, n))
			return true;
	return false;
}

/* In the section of options a line that begins with a bold word begins an option. */
static void no_page_invents_options(void **state)
{
	unsigned int lines = 0;

	for (const struct fsb_kind *const *k = fsb_kinds; *k; k++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		const char *p, *end;

		page((*k)->name, &s);
		p = strstr(s.buf, "\n# OPTIONS\n") + 1;
		end = strstr(p + 1, "\n# ") ?: p + strlen(p);
		for (p = strchr(p, '\n') + 1; p < end; p = strchr(p, '\n') + 1) {
			size_t n = p[0] == '*' ? strcspn(p + 1, "*=") : 0;

			if (n && !known(p + 1, n))
				fail_msg("the page of %s has the option %.*s, which there is not",
					(*k)->name, (int)n, p + 1);
			lines += n > 0;
		}
	}
	assert_true(lines > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind_has_a_page),
		cmocka_unit_test(every_option_is_on_a_page),
		cmocka_unit_test(no_page_invents_options)};

	return cmocka_run_group_tests(tests, setup, NULL);
}
