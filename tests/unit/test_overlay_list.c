// SPDX-License-Identifier: Apache-2.0
// The overlay backend: listings while the directory changes.
#include "tests/unit/overlay_fixture.h"

struct list {
	struct fsb *b;
	int seen[400], n, room, plus;
	uint64_t off;
	char name[256];
};

static int take(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t off,
	const struct fsb_entry *e)
{
	struct list *l = arg;

	if (l->room-- == 0)
		return 1;
	l->off = off;
	l->n++;
	l->plus += e != NULL;
	if (name[0] != '.') {
		char digits[4] = {0};

		assert_int_equal(n, 3);
		memcpy(digits, name, n);
		l->seen[atoi(digits)]++;
	}
	if (e) {
		assert_int_equal(e->attr.ino, ino);
		assert_int_equal(e->attr.mode >> 12, type);
	}
	return 0;
}

/* Names 0..99 are the image's, 100.. new. Pages of 7 entries, changes between them. */
static void listing_under_change(void **state)
{
	struct list l = {0};
	struct fsb_entry d;
	char name[16];
	struct fx fx;
	int page = 0;

	fx_init(&fx, true);
	l.b = fx.b;
	for (int i = 100; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "many/%03d", i);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
	}
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	for (int before = -1; before != l.n; page++) {
		before = l.n;
		l.room = 7;
		assert_int_equal(
			fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false, take, &l), 0);
		/* Gone, come, replaced, each over old and new names; all of them but two stay. */
		(void)snprintf(name, sizeof(name), "many/%03d", 200 + page);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
		if (page == 3)
			assert_int_equal(fx_rm(fx.b, "many/005", false), 0);
		if (page == 4)
			assert_int_equal(fx_rm(fx.b, "many/190", false), 0);
		assert_int_equal(fx_rename(fx.b, name, "many/050", 0), 0);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_rename(fx.b, name, "many/150", 0), 0);
		assert_int_equal(fx_rename(fx.b, "many/060", "many/160", RENAME_EXCHANGE), 0);
	}
	for (int i = 0; i < 200; i++)
		assert_in_range(l.seen[i], i == 5 || i == 190 ? 0 : 1, 1);
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

/* Who gives each file another name, or another file its name, while listing comes to an end. */
static int take_name(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t off, const struct fsb_entry *e)
{
	struct list *l = arg;

	if (l->n || off <= l->off)
		return 1;
	(void)snprintf(l->name, sizeof(l->name), "%.*s", (int)n, name);
	l->off = off;
	l->n = 1;
	return 0;
}

static int take_any(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t off, const struct fsb_entry *e)
{
	struct list *l = arg;

	l->n++;
	return 1;
}

static void listing_ends(void **state)
{
	struct list l = {0};
	struct fsb_entry d;
	char name[16], path[300], to[300];
	int seen = 0;
	struct fx fx;

	fx_init(&fx, true);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "f/%d", i);
		assert_int_equal(fx_mk(fx.b, name, S_IFREG | 0600, NULL), 0);
	}
	assert_int_equal(fx_walk(fx.b, "f", &d), 0);
	for (int i = 0; i < 2; i++) { /* the second time after all numbers have been given out */
		l.off = 0;
		for (seen = 0; seen < 100; seen++) {
			l.n = 0;
			assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false,
						 take_name, &l),
				0);
			if (!l.n)
				break;
			(void)snprintf(path, sizeof(path), "f/%s", l.name);
			(void)snprintf(to, sizeof(to), "f/new-%s", l.name);
			if (l.name[0] == '.')
				continue;
			assert_int_equal(fx_rename(fx.b, path, to, 0), 0);
			if (seen % 2)
				assert_int_equal(fx_rename(fx.b, to, path, 0), 0);
		}
		assert_int_equal(seen, 22);
		/* Offsets that nobody gave out lead somewhere (xfstests generic/676). */
		for (uint64_t top = l.off, k = 0; k < 21; k++) {
			l.off = top / 23 * k + 12345;
			l.n = 0;
			assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, l.off, false,
						 take_any, &l),
				0);
			assert_int_equal(l.n, 1);
		}
		ovl_find(ovl_of(fx.b), d.node)->dir->last_cookie = OVL_COOKIE_MAX;
		assert_int_equal(fx_mk(fx.b, "f/last", S_IFREG | 0600, NULL), 0);
		assert_int_equal(ovl_find(ovl_of(fx.b), d.node)->dir->last_cookie, 21);
		assert_int_equal(fx_rm(fx.b, "f/last", false), 0);
	}
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

static void listing_plus(void **state)
{
	struct list l = {.room = 1000};
	struct fsb_entry d;
	struct fx fx;

	fx_init(&fx, true);
	l.b = fx.b;
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	l.room = 50;
	assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, 0, true, take, &l), 0);
	assert_int_equal(l.plus, 48);
	assert_int_equal(ovl_of(fx.b)->nodes, 2 + 48); /* the one that had no room is gone again */
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listing_under_change),
		cmocka_unit_test(listing_ends),
		cmocka_unit_test(listing_plus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
