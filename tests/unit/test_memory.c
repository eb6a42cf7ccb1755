// SPDX-License-Identifier: Apache-2.0
// The memory backend: each op and its rules, and every limit.
#include "fs/backends/memory/mem.h"
#include "fs/options.h"
#include "tests/unit/bypath.h"

#include <dirent.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <cmocka.h>

static struct fsb *start(uint64_t size)
{
	static struct fsb_options o;
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	o.size_bytes = size;
	from.options = &o;
	if (fsb_memory_kind.start(&from, &b, &e) < 0)
		fail_msg("start: %s", e.msg);
	return b;
}

static void stop(struct fsb *b)
{
	b->ops->stop(b);
}

static void put(struct fsb *b, const char *path, const char *text)
{
	assert_int_equal(fx_mk(b, path, S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_write(b, path, text, strlen(text), 0, 0), strlen(text));
}

static uint64_t used(struct fsb *b)
{
	return atomic_load(&mem_of(b)->used);
}

/* ---- names */

static void makes_and_removes(void **state)
{
	struct fsb *b = start(0);
	struct fsb_entry e;
	uint64_t before;
	char buf[32];

	assert_int_equal(fx_walk(b, "x", &e), -ENOENT);
	before = used(b);
	put(b, "f", "hello");
	fx_check_text(b, "f", "hello");
	assert_int_equal(fx_mk(b, "f", S_IFREG | 0644, NULL), -EEXIST);
	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0700, NULL), 0);
	assert_int_equal(fx_mk(b, "d/l", S_IFLNK, "to"), 0);
	assert_int_equal(fx_mk(b, "d/c", S_IFCHR | 0620, NULL), 0);
	assert_int_equal(fx_mk(b, "d/p", S_IFIFO | 0640, NULL), 0);
	assert_int_equal(fx_mk(b, "d/s", S_IFSOCK | 0640, NULL), 0);
	assert_int_equal(fx_attr(b, "d").nlink, 2);
	assert_int_equal(fx_attr(b, "").nlink, 3);
	assert_int_equal(fx_attr(b, "d/c").rdev, makedev(1, 3));
	assert_int_equal(fx_attr(b, "d/l").size, 2);
	assert_int_equal(fx_walk(b, "d/l", &e), 0);
	assert_int_equal(b->ops->readlink(b, e.node, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "to", 2);
	assert_int_equal(b->ops->readlink(b, e.node, buf, 1), 1);
	fx_forget(b, e.node);
	assert_int_equal(fx_rm(b, "d", true), -ENOTEMPTY);
	assert_int_equal(fx_rm(b, "d", false), -EISDIR);
	assert_int_equal(fx_rm(b, "f", true), -ENOTDIR);
	assert_int_equal(fx_rm(b, "d/l", false), 0);
	assert_int_equal(fx_rm(b, "d/c", false), 0);
	assert_int_equal(fx_rm(b, "d/p", false), 0);
	assert_int_equal(fx_rm(b, "d/s", false), 0);
	assert_int_equal(fx_rm(b, "d", true), 0);
	assert_int_equal(fx_rm(b, "f", false), 0);
	assert_int_equal(fx_absent(b, "f"), -ENOENT);
	assert_int_equal(fx_attr(b, "").nlink, 2);
	/* Nothing stays but the root's tables, which are as small as they get. */
	assert_true(used(b) - before <= 512);
	assert_int_equal(atomic_load(&mem_of(b)->nodes), 1);
	stop(b);
}

static void names_are_checked(void **state)
{
	struct fsb *b = start(0);
	char name[300], target[5000];
	struct fsb_entry e;

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(b->ops->mkdir(b, &fx_req, FSB_ROOT, name, 0755, &e), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(b->ops->mkdir(b, &fx_req, FSB_ROOT, name, 0755, &e), 0);
	fx_forget(b, e.node);
	assert_int_equal(b->ops->mkdir(b, &fx_req, FSB_ROOT, "a/b", 0755, &e), -EINVAL);
	assert_int_equal(b->ops->mkdir(b, &fx_req, FSB_ROOT, "..", 0755, &e), -EINVAL);
	memset(target, 't', sizeof(target));
	target[4096] = '\0';
	assert_int_equal(b->ops->symlink(b, &fx_req, FSB_ROOT, "l", target, &e), -ENAMETOOLONG);
	target[4095] = '\0';
	assert_int_equal(b->ops->symlink(b, &fx_req, FSB_ROOT, "l", target, &e), 0);
	assert_int_equal(e.attr.size, 4095);
	fx_forget(b, e.node);
	assert_int_equal(b->ops->mknod(b, &fx_req, FSB_ROOT, "d", S_IFDIR, 0, &e), -EINVAL);
	stop(b);
}

static void renames(void **state)
{
	struct fsb *b = start(0);
	uint64_t ino;

	put(b, "a", "a");
	put(b, "b", "b");
	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(b, "d/e", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(b, "g", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_rename(b, "a", "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fx_rename(b, "a", "c", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fx_rename(b, "a", "b", RENAME_EXCHANGE), 0);
	fx_check_text(b, "a", "b");
	fx_check_text(b, "b", "a");
	assert_int_equal(fx_rename(b, "a", "b", 0), 0);
	fx_check_text(b, "b", "b");
	assert_int_equal(fx_absent(b, "a"), -ENOENT);
	assert_int_equal(fx_rename(b, "a", "b", 0), -ENOENT);

	/* directories: counts of links follow, none comes to lie in itself */
	assert_int_equal(fx_rename(b, "d", "d/e/x", 0), -EINVAL);
	assert_int_equal(fx_rename(b, "d/e", "d", 0), -ENOTEMPTY);
	assert_int_equal(fx_rename(b, "d/e", "d", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(fx_rename(b, "b", "g", 0), -EISDIR);
	assert_int_equal(fx_rename(b, "g", "b", 0), -ENOTDIR);
	ino = fx_attr(b, "d/e").ino;
	assert_int_equal(fx_rename(b, "d/e", "g", 0), 0);
	assert_int_equal(fx_attr(b, "g").ino, ino);
	assert_int_equal(fx_attr(b, "d").nlink, 2);
	assert_int_equal(fx_attr(b, "").nlink, 4);
	assert_int_equal(fx_rename(b, "g", "d/b", RENAME_NOREPLACE), 0);
	assert_int_equal(fx_attr(b, "d").nlink, 3);
	assert_int_equal(fx_attr(b, "").nlink, 3);
	assert_int_equal(fx_rename(b, "d/b", "b", RENAME_EXCHANGE), 0); /* a directory and a file */
	assert_int_equal(fx_attr(b, "d").nlink, 2);
	assert_int_equal(fx_attr(b, "").nlink, 4);
	fx_check_text(b, "d/b", "b");
	assert_int_equal(fx_mk(b, "b/new", S_IFDIR | 0755, NULL), 0);

	/* what an overlay of the guest leaves behind */
	assert_int_equal(fx_rename(b, "d/b", "b/b", RENAME_WHITEOUT), 0);
	assert_int_equal(fx_attr(b, "d/b").mode, S_IFCHR);
	assert_int_equal(fx_attr(b, "d/b").rdev, 0);
	assert_int_equal(fx_attr(b, "d/b").nlink, 1);
	assert_int_equal(fx_attr(b, "d/b").gid, 0);
	{
		const struct fsb_setattr s = {
			.valid = FATTR_MODE | FATTR_GID, .mode = 02755, .gid = 9};

		assert_int_equal(fx_setattr(b, "d", &s), 0);
	}
	put(b, "d/w", "");
	assert_int_equal(fx_rename(b, "d/w", "b/w", RENAME_WHITEOUT), 0);
	assert_int_equal(fx_attr(b, "d/w").gid, 9); /* as any new file there */
	assert_int_equal(fx_rename(b, "b", "c", RENAME_EXCHANGE | RENAME_WHITEOUT), -EINVAL);
	assert_int_equal(fx_rename(b, "b", "c", 8), -EINVAL);

	/* two names of one file */
	assert_int_equal(fx_link(b, "b/b", "h"), 0);
	assert_int_equal(fx_rename(b, "b/b", "h", 0), 0);
	assert_int_equal(fx_attr(b, "h").nlink, 2);
	assert_int_equal(fx_rename(b, "b/b", "h", RENAME_NOREPLACE), -EEXIST);
	stop(b);
}

static void removed_directories_take_nothing(void **state)
{
	struct fsb *b = start(0);
	struct fsb_entry d, e;
	uint64_t fh;

	assert_int_equal(fx_mk(b, "f", S_IFREG | 0644, NULL), 0);
	assert_int_equal(b->ops->mkdir(b, &fx_req, FSB_ROOT, "d", 0755, &d), 0);
	assert_int_equal(fx_rm(b, "d", true), 0);
	assert_int_equal(b->ops->getattr(b, d.node, 0, &d.attr), 0);
	assert_int_equal(d.attr.nlink, 0);
	assert_int_equal(b->ops->mkdir(b, &fx_req, d.node, "x", 0755, &e), -ENOENT);
	assert_int_equal(b->ops->tmpfile(b, &fx_req, d.node, 0600, 0, &e, &fh), -ENOENT);
	assert_int_equal(b->ops->rename(b, &fx_req, FSB_ROOT, "f", d.node, "f", 0), -ENOENT);
	assert_int_equal(fx_walk(b, "f", &e), 0);
	assert_int_equal(b->ops->link(b, &fx_req, e.node, d.node, "f", &e), -ENOENT);
	fx_forget(b, e.node);
	fx_forget(b, d.node);
	assert_int_equal(b->ops->getattr(b, d.node, 0, &d.attr), -ESTALE);
	stop(b);
}

static void links_and_unnamed_files(void **state)
{
	struct fsb *b = start(0);
	struct iovec iov = {(char[]){"data"}, 4};
	struct fsb_entry e, again;
	uint64_t fh = 7, before;

	put(b, "warm", ""); /* the root's tables */
	before = used(b);
	assert_int_equal(b->ops->tmpfile(b, &fx_req, FSB_ROOT, 0600, 0, &e, &fh), 0);
	assert_int_equal(fh, 0);
	assert_int_equal(e.attr.nlink, 0);
	assert_int_equal(b->ops->writev(b, &fx_req, e.node, 0, &iov, 1, 0, 0), 4);
	assert_int_equal(b->ops->link(b, &fx_req, e.node, FSB_ROOT, "t", &again), 0);
	assert_int_equal(again.node, e.node);
	fx_forget(b, again.node);
	assert_int_equal(fx_attr(b, "t").nlink, 1);
	assert_int_equal(fx_link(b, "t", "u"), 0);
	assert_int_equal(fx_link(b, "t", "u"), -EEXIST);
	assert_int_equal(fx_link(b, "", "v"), -EPERM);
	assert_int_equal(fx_rm(b, "t", false), 0);
	assert_int_equal(fx_rm(b, "u", false), 0);

	/* unlinked, still open: works, but can have no name again */
	assert_int_equal(b->ops->getattr(b, e.node, 0, &e.attr), 0);
	assert_int_equal(e.attr.nlink, 0);
	assert_int_equal(b->ops->readv(b, e.node, 0, &iov, 1, 0), 4);
	assert_int_equal(b->ops->writev(b, &fx_req, e.node, 0, &iov, 1, 5000, 0), 4);
	assert_int_equal(b->ops->link(b, &fx_req, e.node, FSB_ROOT, "t", &again), -ENOENT);
	fx_forget(b, e.node);
	assert_int_equal(used(b), before);
	assert_int_equal(b->ops->tmpfile(b, &fx_req, FSB_ROOT, 0600, O_EXCL, &e, &fh), 0);
	assert_int_equal(b->ops->link(b, &fx_req, e.node, FSB_ROOT, "t", &again), -ENOENT);
	/* forgetting more than there is is forgetting all */
	b->ops->forget(b, e.node, UINT64_MAX);
	assert_int_equal(used(b), before);
	stop(b);
}

static void create_makes_files_only(void **state)
{
	struct fsb *b = start(0);
	struct fsb_entry e;
	uint64_t fh;

	put(b, "f", "text");
	assert_int_equal(b->ops->create(b, &fx_req, FSB_ROOT, "f", 0600, O_EXCL, &e, &fh), -EEXIST);
	assert_int_equal(
		b->ops->create(b, &fx_req, FSB_ROOT, "f", 0600, O_TRUNC, &e, &fh), -EEXIST);
	assert_int_equal(b->ops->lookup(b, &fx_req, FSB_ROOT, "f", &e), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	assert_int_equal(e.attr.size, 4);
	fx_forget(b, e.node);
	stop(b);
}

/* Ids are file handles: they find what a kernel has forgotten. */
static void handles(void **state)
{
	struct fsb *b = start(0);
	struct fsb_entry d, f, e;

	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0755, NULL), 0);
	put(b, "d/f", "text");
	assert_int_equal(fx_walk(b, "d/f", &f), 0);
	assert_int_equal(fx_walk(b, "d", &d), 0);
	fx_forget(b, f.node);
	fx_forget(b, d.node);
	assert_int_equal(b->ops->lookup(b, &fx_req, f.node, ".", &e), 0);
	assert_int_equal(e.node, f.node);
	assert_int_equal(e.attr.size, 4);
	assert_int_equal(b->ops->lookup(b, &fx_req, f.node, "..", &e), -ESTALE); /* no directory */
	assert_int_equal(b->ops->lookup(b, &fx_req, d.node, "..", &e), 0);
	assert_int_equal(e.node, FSB_ROOT);
	assert_int_equal(b->ops->lookup(b, &fx_req, FSB_ROOT, "..", &e), 0);
	assert_int_equal(e.node, FSB_ROOT);
	assert_int_equal(fx_rm(b, "d/f", false), 0);
	assert_int_equal(b->ops->lookup(b, &fx_req, f.node, ".", &e), 0); /* it is open */
	fx_forget(b, f.node);
	fx_forget(b, f.node);
	assert_int_equal(b->ops->lookup(b, &fx_req, f.node, ".", &e), -ESTALE);
	assert_int_equal(b->ops->lookup(b, &fx_req, UINT64_MAX, ".", &e), -ESTALE);
	assert_int_equal(b->ops->lookup(b, &fx_req, d.node, ".", &e), 0);
	assert_int_equal(fx_rm(b, "d", true), 0);
	assert_int_equal(b->ops->lookup(b, &fx_req, d.node, "..", &e), -ESTALE);
	fx_forget(b, d.node);
	assert_int_equal(atomic_load(&mem_of(b)->nodes), 1);
	stop(b);
}

struct listing {
	unsigned int n;
	uint64_t next;
	char seen[1000]; /* of n0 to n999 */
};

static int list_one(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *e)
{
	struct listing *l = arg;

	if (l->n == 7)
		return 1;
	l->n++;
	l->next = next_off;
	if (*name == 'n')
		l->seen[strtoul(name + 1, NULL, 10)]++;
	if (e)
		assert_int_equal(e->attr.ino, ino);
	assert_int_equal(type, *name == '.' ? DT_DIR : DT_REG);
	return 0;
}

/* A scan in small pieces while names come and go: each that was there all the time is met once. */
static void scans_are_stable(void **state)
{
	struct fsb *b = start(0);
	struct listing l = {0};
	char name[16];
	int i;

	for (i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		put(b, name, "");
	}
	for (i = 0; i < 300; i++) {
		l.n = 0;
		assert_int_equal(
			b->ops->readdir(b, &fx_req, FSB_ROOT, 0, l.next, i & 1, list_one, &l), 0);
		if (l.n == 0)
			break;
		(void)snprintf(name, sizeof(name), "n%d", (i * 37 % 1000) | 1);
		(void)fx_rm(b, name, false);
		put(b, "other", "");
		(void)snprintf(name, sizeof(name), "n%d", i * 74 % 1000);
		assert_int_equal(fx_rename(b, "other", name, 0), 0);
		if (i < 100) {
			(void)snprintf(name, sizeof(name), "m%d", i);
			put(b, name, "");
		}
	}
	assert_true(i > 100 && i < 300);
	for (i = 0; i < 1000; i += 2)
		assert_int_equal(l.seen[i], 1);
	for (i = 1; i < 1000; i += 2)
		assert_true(l.seen[i] <= 1);
	/* Nothing that a scan handed out is still counted. */
	for (i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		(void)fx_rm(b, name, false);
	}
	stop(b);
}

/* Whoever renames or adds while listing comes to an end. */
static void a_scan_ends(void **state)
{
	struct fsb *b = start(0);
	struct listing l = {0};
	char name[2][16];
	unsigned int met = 0;

	for (int i = 0; i < 50; i++) {
		(void)snprintf(name[0], sizeof(name[0]), "n%d", i);
		put(b, name[0], "");
	}
	for (int i = 0; i < 100; i++) {
		l.n = 0;
		assert_int_equal(
			b->ops->readdir(b, &fx_req, FSB_ROOT, 0, l.next, false, list_one, &l), 0);
		met += l.n;
		if (l.n == 0)
			break;
		for (int k = 0; k < 50; k++) {
			(void)snprintf(name[i & 1], sizeof(name[0]), "n%d", k);
			(void)snprintf(name[!(i & 1)], sizeof(name[0]), "n%d", k + 100);
			assert_int_equal(fx_rename(b, name[0], name[1], 0), 0);
		}
	}
	assert_int_equal(l.n, 0);
	assert_true(met <= 52);
	/* Offsets that nobody gave out lead somewhere (xfstests generic/676). */
	for (uint64_t off = 1; off < UINT64_C(1) << 31; off = off * 3 + 1) {
		l = (struct listing){0};
		assert_int_equal(
			b->ops->readdir(b, &fx_req, FSB_ROOT, 0, off, false, list_one, &l), 0);
		assert_true(l.n > 0);
	}
	/* The numbers of names run out, and go on. */
	mem_of(b)->root->dir.last_cookie = MEM_MAX_COOKIE;
	put(b, "n500", "");
	l = (struct listing){0};
	for (met = 0; met < 53; met += l.n) {
		l.n = 0;
		assert_int_equal(
			b->ops->readdir(b, &fx_req, FSB_ROOT, 0, l.next, false, list_one, &l), 0);
		assert_true(l.n > 0);
	}
	assert_int_equal(l.seen[500], 1);
	stop(b);
}

/* ---- attributes */

static void owners_and_groups(void **state)
{
	const struct fsb_req some = {.uid = 7, .gid = 8, .umask = 022};
	struct fsb_setattr s = {.valid = FATTR_MODE | FATTR_GID, .mode = 02777, .gid = 5};
	struct fsb *b = start(0);
	struct fsb_entry e, d;

	assert_int_equal(b->ops->mkdir(b, &some, FSB_ROOT, "d", 0777, &d), 0);
	assert_int_equal(d.attr.mode, S_IFDIR | 0755);
	assert_int_equal(d.attr.uid, 7);
	assert_int_equal(d.attr.gid, 8);
	assert_int_equal(b->ops->setattr(b, &some, d.node, 0, &s, &d.attr), 0);
	assert_int_equal(d.attr.mode, S_IFDIR | 02777);
	assert_int_equal(b->ops->mkdir(b, &some, d.node, "e", 0777, &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 02755);
	assert_int_equal(e.attr.gid, 5);
	fx_forget(b, e.node);
	assert_int_equal(b->ops->mknod(b, &some, d.node, "f", S_IFREG | 0666, 0, &e), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	assert_int_equal(e.attr.gid, 5);
	fx_forget(b, e.node);
	fx_forget(b, d.node);
	stop(b);
}

static void set_mode(struct fsb *b, const char *path, uint32_t mode)
{
	const struct fsb_setattr s = {.valid = FATTR_MODE, .mode = mode};

	assert_int_equal(fx_setattr(b, path, &s), 0);
}

static int64_t cap_size(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int64_t n;

	assert_int_equal(fx_walk(b, path, &e), 0);
	n = b->ops->getxattr(b, e.node, "security.capability", NULL, 0);
	fx_forget(b, e.node);
	return n;
}

static void privileges_are_lost(void **state)
{
	const struct fsb_req unknown = {.uid = FSB_UNKNOWN_ID, .gid = FSB_UNKNOWN_ID};
	struct fsb_setattr s = {.valid = FATTR_UID, .uid = 3, .kill_suidgid = true};
	struct fsb *b = start(0);
	struct fuse_attr a;
	struct fsb_entry e;

	put(b, "f", "text");
	set_mode(b, "f", 06755);
	assert_int_equal(fx_write(b, "f", "x", 1, 0, 0), 1); /* by who may */
	assert_int_equal(fx_attr(b, "f").mode, S_IFREG | 06755);
	assert_int_equal(fx_write(b, "f", "x", 1, 0, FUSE_WRITE_KILL_SUIDGID), 1);
	assert_int_equal(fx_attr(b, "f").mode, S_IFREG | 0755);
	set_mode(b, "f", 06745); /* no group execution: no privilege */
	assert_int_equal(fx_setattr(b, "f", &s), 0);
	assert_int_equal(fx_attr(b, "f").mode, S_IFREG | 02745);
	assert_int_equal(fx_attr(b, "f").uid, 3);
	set_mode(b, "f", 06742); /* others may write, but who changes an owner is no other */
	assert_int_equal(fx_walk(b, "f", &e), 0);
	assert_int_equal(b->ops->setattr(b, &unknown, e.node, 0, &s, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 02742);
	fx_forget(b, e.node);
	set_mode(b, "f", 04755);
	s = (struct fsb_setattr){.valid = FATTR_SIZE, .size = 2, .kill_suidgid = true};
	assert_int_equal(fx_setattr(b, "f", &s), 0);
	assert_int_equal(fx_attr(b, "f").mode, S_IFREG | 0755);
	assert_int_equal(fx_walk(b, "f", &e), 0);
	assert_int_equal(
		b->ops->setxattr(b, &fx_req, e.node, "security.capability", "caps", 4, 0), 0);
	fx_forget(b, e.node);
	assert_int_equal(cap_size(b, "f"), 4);
	set_mode(b, "f", 0700);
	assert_int_equal(cap_size(b, "f"), 4);
	assert_int_equal(fx_write(b, "f", "x", 1, 0, 0), 1);
	assert_int_equal(cap_size(b, "f"), -ENODATA);
	stop(b);
}

static void accessed(void **state)
{
	static const char *const path[] = {"f", "d", "l"};
	struct fsb_setattr s = {.valid = FATTR_ATIME | FATTR_MTIME | FATTR_CTIME,
		.atime = 1000,
		.mtime = 999,
		.ctime = 999};
	struct fsb_options still[] = {{.readonly = true}, {.atime = FSB_NOATIME}};
	struct fsb_options strict = {.atime = FSB_STRICTATIME};
	struct fsb_start from = FSB_START_NONE;
	struct fsb *b = start(0);
	struct msb_err e = {0};

	put(b, "f", "text");
	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(b, "l", S_IFLNK, "target"), 0);
	for (size_t i = 0; i < ARRAY_LEN(path); i++) {
		assert_int_equal(fx_read_moves(b, path[i]), 1);
		assert_int_equal(fx_read_moves(b, path[i]), 0);
		/* A day ago, and after the last change all the same. */
		assert_int_equal(fx_setattr(b, path[i], &s), 0);
		assert_int_equal(fx_read_moves(b, path[i]), 1);
		assert_int_equal(fx_read_moves(b, path[i]), 0);
		set_mode(b, path[i], 0700);
		assert_int_equal(fx_read_moves(b, path[i]), 1);
	}
	stop(b);
	from.options = &strict;
	assert_int_equal(fsb_memory_kind.start(&from, &b, &e), 0);
	put(b, "f", "text");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fx_read_moves(b, "f"), 1);
		assert_int_equal(fx_read_moves(b, ""), 1);
	}
	stop(b);
	for (size_t i = 0; i < ARRAY_LEN(still); i++) {
		from.options = &still[i];
		assert_int_equal(fsb_memory_kind.start(&from, &b, &e), 0);
		put(b, "f", "text");
		assert_int_equal(fx_read_moves(b, "f"), 0);
		assert_int_equal(fx_read_moves(b, ""), 0);
		stop(b);
	}
}

static void times(void **state)
{
	struct fsb_setattr s = {.valid = FATTR_ATIME | FATTR_MTIME,
		.atime = 1,
		.atimensec = 2,
		.mtime = (uint64_t)-3,
		.mtimensec = 999999999};
	struct fsb *b = start(0);
	struct fuse_attr a, d;
	struct timespec birth;
	struct fsb_entry e;

	put(b, "f", "text");
	assert_int_equal(fx_setattr(b, "f", &s), 0);
	a = fx_attr(b, "f");
	assert_int_equal(a.atime, 1);
	assert_int_equal(a.atimensec, 2);
	assert_int_equal(a.mtime, -3);
	assert_int_equal(a.mtimensec, 999999999);
	assert_true(a.ctime > 1000000000);
	assert_int_equal(fx_walk(b, "f", &e), 0);
	assert_int_equal(b->ops->btime(b, e.node, &birth), 0);
	assert_true(birth.tv_sec > 1000000000 && birth.tv_sec <= (int64_t)a.ctime);
	fx_forget(b, e.node);
	assert_int_equal(b->ops->btime(b, e.node + 1, &birth), -ESTALE);
	d = fx_attr(b, "");
	assert_int_equal(fx_write(b, "f", "x", 1, 0, 0), 1);
	assert_true(fx_attr(b, "f").mtime >= a.ctime);
	assert_int_equal(fx_attr(b, "").mtimensec, d.mtimensec);
	put(b, "g", "");
	assert_int_equal(fx_attr(b, "").mtime, fx_attr(b, "").ctime);
	s = (struct fsb_setattr){.valid = FATTR_MTIME | FATTR_MTIME_NOW | FATTR_CTIME, .ctime = 77};
	assert_int_equal(fx_setattr(b, "f", &s), 0);
	assert_true(fx_attr(b, "f").mtime > 1000000000);
	assert_int_equal(fx_attr(b, "f").ctime, 77);
	stop(b);
}

static void attributes(void **state)
{
	struct fsb *b = start(0);
	char buf[64];
	struct fsb_entry e;

	assert_int_equal(fx_mk(b, "d", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_walk(b, "d", &e), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "user.a", "1", 1, 0), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "trusted.b", "", 0, 0), 0);
	assert_int_equal(
		b->ops->setxattr(b, &fx_req, e.node, "user.a", "22", 2, XATTR_CREATE), -EEXIST);
	assert_int_equal(
		b->ops->setxattr(b, &fx_req, e.node, "user.c", "3", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "user.a", "22", 2, XATTR_REPLACE), 0);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "other.a", "", 0, 0), -EOPNOTSUPP);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "", "", 0, 0), -ERANGE);
	assert_int_equal(b->ops->setxattr(b, &fx_req, e.node, "user.a", "", 0, 8), -EINVAL);
	assert_int_equal(b->ops->getxattr(b, e.node, "user.a", NULL, 0), 2);
	assert_int_equal(b->ops->getxattr(b, e.node, "user.a", buf, 1), -ERANGE);
	assert_int_equal(b->ops->getxattr(b, e.node, "user.a", buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "22", 2);
	assert_int_equal(b->ops->getxattr(b, e.node, "trusted.b", buf, sizeof(buf)), 0);
	assert_int_equal(b->ops->getxattr(b, e.node, "user.z", buf, sizeof(buf)), -ENODATA);
	assert_int_equal(b->ops->listxattr(b, e.node, NULL, 0), 17);
	assert_int_equal(b->ops->listxattr(b, e.node, buf, 16), -ERANGE);
	assert_int_equal(b->ops->listxattr(b, e.node, buf, sizeof(buf)), 17);
	assert_memory_equal(buf, "user.a\0trusted.b", 17);
	assert_int_equal(b->ops->removexattr(b, &fx_req, e.node, "user.a"), 0);
	assert_int_equal(b->ops->removexattr(b, &fx_req, e.node, "user.a"), -ENODATA);
	assert_int_equal(b->ops->listxattr(b, e.node, NULL, 0), 10);
	fx_forget(b, e.node);
	stop(b);
}

static void is_cached_for_a_day(void **state)
{
	struct fsb *b = start(0);
	const struct fsb_cache *c = b->ops->cache(b, FSB_ROOT);

	assert_non_null(c); /* the host has no view of it */
	assert_int_equal(c->entry_ms, FSB_ALONE_MS);
	assert_int_equal(c->attr_ms, FSB_ALONE_MS);
	assert_int_equal(c->negative_ms, FSB_ALONE_MS);
	stop(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_and_removes),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(renames),
		cmocka_unit_test(removed_directories_take_nothing),
		cmocka_unit_test(links_and_unnamed_files),
		cmocka_unit_test(create_makes_files_only),
		cmocka_unit_test(handles),
		cmocka_unit_test(scans_are_stable),
		cmocka_unit_test(a_scan_ends),
		cmocka_unit_test(owners_and_groups),
		cmocka_unit_test(privileges_are_lost),
		cmocka_unit_test(times),
		cmocka_unit_test(accessed),
		cmocka_unit_test(attributes),
		cmocka_unit_test(is_cached_for_a_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
