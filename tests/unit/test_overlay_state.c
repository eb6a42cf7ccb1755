// SPDX-License-Identifier: Apache-2.0
// The overlay's device state: nodes that a kernel holds go on after a new server has opened the
// same changes, also those that have no name any more.
#include "tests/unit/overlay_fixture.h"
#include "fs/backends/overlay/record.h"

#define INODE (OVL_RECORD_HEAD + OVL_R_INODE_BODY)
#define BTIME (OVL_RECORD_HEAD + OVL_R_BTIME_BODY)

struct saved {
	uint64_t node;
	int64_t n;
	uint8_t bytes[FSB_MAX_STATE];
};

static void save(struct fx *fx, struct saved *s, uint64_t node)
{
	s->node = node;
	s->n = fx->b->ops->save(fx->b, node, s->bytes, sizeof(s->bytes));
	assert_true(s->n > 0);
}

static int load(struct fx *fx, const struct saved *s, uint64_t lookups)
{
	return fx->b->ops->load(fx->b, s->node, lookups, s->bytes, (size_t)s->n);
}

static struct fuse_attr attr_of(struct fx *fx, uint64_t node)
{
	struct fuse_attr a;

	assert_int_equal(fx->b->ops->getattr(fx->b, node, 0, &a), 0);
	return a;
}

static void expect_text(struct fx *fx, uint64_t node, const char *text)
{
	char buf[64] = "";
	struct iovec iov = {buf, sizeof(buf)};

	assert_int_equal(fx->b->ops->readv(fx->b, node, 0, &iov, 1, 0), (int64_t)strlen(text));
	assert_string_equal(buf, text);
}

static uint64_t walk(struct fx *fx, const char *path)
{
	struct fsb_entry e;

	assert_int_equal(fx_walk(fx->b, path, &e), 0);
	return e.node;
}

static int file_there(struct fx *fx, uint64_t node)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/upper/data/%s", fx->dir, ovl_data_name(node).path);
	return access(path, F_OK) == 0;
}

/* Lower and own ones, changed or not, by their numbers; counted as often as they were looked up. */
static void named(void **state)
{
	struct saved s[3];
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "own", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_write(fx.b, "own", "mine", 4, 0, 0), 4);
	assert_int_equal(fx_rename(fx.b, "a/b", "f/moved", 0), 0);
	save(&fx, &s[0], walk(&fx, "own"));
	save(&fx, &s[1], walk(&fx, "f/moved"));
	save(&fx, &s[2], walk(&fx, "many/042"));
	assert_int_equal(s[0].n, 2);
	fx_restart(&fx);
	for (int k = 0; k < 3; k++)
		assert_int_equal(load(&fx, &s[k], 2), 0);
	expect_text(&fx, s[0].node, "mine");
	assert_true(S_ISDIR(attr_of(&fx, s[1].node).mode));
	assert_int_equal(attr_of(&fx, s[2].node).mtime, FX_MTIME);
	fx.b->ops->forget(fx.b, s[2].node, 1);
	assert_int_equal(attr_of(&fx, s[2].node).ino, s[2].node);
	fx.b->ops->forget(fx.b, s[2].node, 1); /* the last: an unchanged one leaves memory */
	assert_null(ovl_find(ovl_of(fx.b), s[2].node));
	fx_done(&fx);
}

static void nameless(void **state)
{
	const struct fsb_setattr mode = {.valid = FATTR_MODE, .mode = 04711};
	struct saved file, lower, dir, link, tmp;
	char target[64] = "";
	struct timespec born;
	struct fuse_attr a;
	struct fsb_entry e;
	uint64_t fh, nodes;
	struct fx fx;

	fx_init(&fx, true);
	nodes = ovl_of(fx.b)->nodes;
	assert_int_equal(fx_mk(fx.b, "file", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "dir", S_IFDIR | 0750, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "link", S_IFLNK | 0777, "to here"), 0);
	assert_int_equal(fx_write(fx.b, "file", "bytes", 5, 0, 0), 5);
	file.node = walk(&fx, "file");
	dir.node = walk(&fx, "dir");
	link.node = walk(&fx, "link");
	lower.node = walk(&fx, "a/x");
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, file.node, "user.k", "v", 1, 0), 0);
	assert_int_equal(fx.b->ops->setattr(fx.b, &fx_req, file.node, 0, &mode, &a), 0);
	assert_int_equal(fx.b->ops->tmpfile(fx.b, &fx_req, FSB_ROOT, 0600, O_RDWR, &e, &fh), 0);
	tmp.node = e.node;
	assert_int_equal(fx_rm(fx.b, "file", false), 0);
	assert_int_equal(fx_rm(fx.b, "dir", true), 0);
	assert_int_equal(fx_rm(fx.b, "link", false), 0);
	assert_int_equal(fx_rm(fx.b, "a/x", false), 0);
	save(&fx, &file, file.node);
	save(&fx, &dir, dir.node);
	save(&fx, &link, link.node);
	save(&fx, &lower, lower.node);
	save(&fx, &tmp, tmp.node);
	fx.b->ops->forget(fx.b, file.node, 1); /* its session ends before its server does */
	fx_restart(&fx);
	assert_true(file_there(&fx, file.node));

	assert_int_equal(load(&fx, &file, 1), 0);
	assert_int_equal(load(&fx, &dir, 1), 0);
	assert_int_equal(load(&fx, &link, 1), 0);
	assert_int_equal(load(&fx, &lower, 1), 0);
	assert_int_equal(load(&fx, &tmp, 1), 0);
	expect_text(&fx, file.node, "bytes");
	expect_text(&fx, lower.node, "#!\n");
	a = attr_of(&fx, file.node);
	assert_int_equal(a.mode, S_IFREG | 04711);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 5);
	assert_int_equal(fx.b->ops->btime(fx.b, file.node, &born), 0);
	assert_true(born.tv_sec < (int64_t)a.ctime ||
		    (born.tv_sec == (int64_t)a.ctime && born.tv_nsec < (int64_t)a.ctimensec));
	assert_int_equal(fx.b->ops->getxattr(fx.b, file.node, "user.k", target, 9), 1);
	assert_int_equal(fx.b->ops->getxattr(fx.b, lower.node, "user.two", target, 9), 2);
	assert_int_equal(fx.b->ops->readlink(fx.b, link.node, target, sizeof(target)), 7);
	assert_memory_equal(target, "to here", 7);
	assert_int_equal(fx.b->ops->lookup(fx.b, &fx_req, dir.node, "x", &e), -ENOENT);
	assert_int_equal(attr_of(&fx, dir.node).nlink, 0);
	/* As of the same file as before: it is written, and only an O_TMPFILE gets a name. */
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, file.node, FSB_ROOT, "again", &e), -ENOENT);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, tmp.node, FSB_ROOT, "named", &e), 0);
	assert_true(file_there(&fx, file.node));
	expect_text(&fx, file.node, "bytes");
	fx.b->ops->forget(fx.b, file.node, 1);
	assert_false(file_there(&fx, file.node));
	fx.b->ops->forget(fx.b, dir.node, 1);
	fx.b->ops->forget(fx.b, link.node, 1);
	fx.b->ops->forget(fx.b, lower.node, 1);
	fx.b->ops->forget(fx.b, tmp.node, 2);
	assert_int_equal(ovl_of(fx.b)->nodes, nodes + 2); /* "named", and a/ without its x */
	fx_done(&fx);
}

/* A removed directory of the image stays empty, though the image lists it in full. */
static int none(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t next,
	const struct fsb_entry *entry)
{
	assert_int_equal(name[0], '.');
	return 0;
}

static void nameless_lower_directory(void **state)
{
	struct saved s;
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	s.node = walk(&fx, "a/b");
	assert_int_equal(fx_rm(fx.b, "a/b/f", false), 0);
	assert_int_equal(fx_rm(fx.b, "a/b/c", true), 0);
	assert_int_equal(fx_rm(fx.b, "a/b", true), 0);
	save(&fx, &s, s.node);
	fx_restart(&fx);
	assert_int_equal(load(&fx, &s, 1), 0);
	assert_int_equal(fx.b->ops->lookup(fx.b, &fx_req, s.node, "f", &e), -ENOENT);
	assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, s.node, 0, 0, true, none, NULL), 0);
	fx_done(&fx);
}

/* The machine went on after its state was taken: nothing is kept for that state. */
static void went_on(void **state)
{
	struct saved s;
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_write(fx.b, "n", "x", 1, 0, 0), 1);
	s.node = walk(&fx, "n");
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	save(&fx, &s, s.node);
	assert_int_equal(fx.b->ops->syncfs(fx.b, FSB_ROOT), 0);
	assert_int_equal(fx_mk(fx.b, "other", S_IFREG | 0600, NULL), 0);
	fx.b->ops->forget(fx.b, s.node, 1);
	assert_false(file_there(&fx, s.node));
	fx_restart(&fx);
	/* The contents are gone; the inode is still what it was. */
	assert_int_equal(load(&fx, &s, 1), 0);
	assert_int_equal(attr_of(&fx, s.node).size, 0);
	fx_done(&fx);
}

/* What is not claimed by the first change goes then. */
static void unclaimed_goes(void **state)
{
	struct saved s;
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_write(fx.b, "n", "x", 1, 0, 0), 1);
	s.node = walk(&fx, "n");
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	save(&fx, &s, s.node);
	fx_restart(&fx);
	assert_true(file_there(&fx, s.node));
	assert_int_equal(fx_mk(fx.b, "other", S_IFDIR | 0700, NULL), 0);
	assert_false(file_there(&fx, s.node));
	fx_done(&fx);
}

/* Bytes that no save() wrote, or of another tree: refused, nothing changed. */
static void refused(void **state)
{
	struct saved s, bad;
	struct fsb_entry e;
	uint64_t next, nodes;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	s.node = walk(&fx, "n");
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, s.node, "user.k", "value", 5, 0), 0);
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	save(&fx, &s, s.node);
	fx_restart(&fx);
	next = ovl_of(fx.b)->next_ino;
	nodes = ovl_of(fx.b)->nodes;
	for (int64_t cut = 0; cut < s.n; cut++) {
		bad = s;
		bad.n = cut;
		if (cut == 2 + INODE || cut == 2 + INODE + BTIME)
			continue; /* the inode alone is one, too */
		assert_int_equal(load(&fx, &bad, 1), -EBADMSG);
	}
	for (int at = 0; at < 12; at++) { /* version, flags, kind, length, whose */
		bad = s;
		bad.bytes[at] ^= 0x10;
		assert_int_equal(load(&fx, &bad, 1), -EBADMSG);
	}
	bad = s;
	bad.bytes[2 + OVL_RECORD_HEAD + OVL_R_INODE_NLINK] = 1;
	assert_int_equal(load(&fx, &bad, 1), -EBADMSG);
	assert_int_equal(load(&fx, &s, UINT64_MAX), -EBADMSG);
	bad = s;
	bad.node = next + 5; /* of a later time than these changes */
	for (int k = 0; k < 8; k++) {
		static const int record[] = {2, 2 + INODE, 2 + INODE + BTIME};

		for (size_t n = 0; n < ARRAY_LEN(record); n++)
			bad.bytes[record[n] + OVL_RECORD_HEAD + k] = (uint8_t)(bad.node >> 8 * k);
	}
	assert_int_equal(load(&fx, &bad, 1), -ESTALE);
	bad = (struct saved){.node = next + 5, .n = 2, .bytes = {1, 0}};
	assert_int_equal(load(&fx, &bad, 1), -ESTALE);
	bad.node = 0;
	assert_int_equal(load(&fx, &bad, 1), -ESTALE);
	assert_int_equal(ovl_of(fx.b)->next_ino, next);
	assert_int_equal(ovl_of(fx.b)->nodes, nodes);
	/* One that has a name again is what the log says. */
	assert_int_equal(fx_walk(fx.b, "c", &e), 0);
	bad = s;
	bad.node = e.node;
	assert_int_equal(load(&fx, &bad, 1), 0);
	assert_int_equal(attr_of(&fx, e.node).nlink, 2);
	fx_done(&fx);
}

/* More attributes than a state has room for: this node is not saved, and is lost alone. */
static void too_long(void **state)
{
	uint8_t buf[FSB_MAX_STATE];
	static const char value[5000];
	uint64_t node;
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	node = walk(&fx, "n");
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, node, "user.k", value, sizeof(value), 0), 0);
	assert_int_equal(fx.b->ops->save(fx.b, node, buf, sizeof(buf)), 2);
	assert_int_equal(fx_rm(fx.b, "n", false), 0);
	assert_int_equal(fx.b->ops->save(fx.b, node, buf, sizeof(buf)), -E2BIG);
	assert_int_equal(fx.b->ops->save(fx.b, 12345, buf, sizeof(buf)), -ESTALE);
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(named),
		cmocka_unit_test(nameless),
		cmocka_unit_test(nameless_lower_directory),
		cmocka_unit_test(went_on),
		cmocka_unit_test(unclaimed_goes),
		cmocka_unit_test(refused),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
