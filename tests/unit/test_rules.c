// SPDX-License-Identifier: Apache-2.0
// The rules wrapper over a real directory, asked as a kernel asks: what is denied, what is
// redacted, and that no rename, link or second name leads around a rule.
#include "tests/unit/stack_fixture.h"
#include "fs/backends/rules.h"
#include "fs/names.h"

#include <dirent.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/xattr.h>

static void put(const char *name, const char *text)
{
	assert_int_equal(msb_write_file_atomic(host, name, text, strlen(text), 0644), 0);
}

static int setup(void **state)
{
	(void)setup_dir();
	assert_int_equal(mkdirat(host, "a", 0755), 0);
	assert_int_equal(mkdirat(host, "b", 0755), 0);
	put("a/secret", "the secret");
	put("a/open", "open");
	put("x.key", "private key");
	put("plain", "plain");
	assert_int_equal(symlinkat("target", host, "l.key"), 0);
	return 0;
}

static void mount(const char *options)
{
	const struct fsb_start none = FSB_START_NONE;

	mount_as("passthrough", options, &none);
}

static uint64_t node(uint64_t dir, const char *name)
{
	uint64_t n = req_lookup(&q, dir, name);

	assert_int_not_equal(n, 0);
	return n;
}

static uint64_t opened(uint64_t n, uint32_t flags)
{
	int r = req_open(&q, FUSE_OPEN, n, flags);

	if (r == -ENOSYS) /* without state */
		return 0;
	assert_int_equal(r, 0);
	return REQ_REPLY(&q, struct fuse_open_out)->fh;
}

static int mknode(uint64_t dir, const char *name)
{
	const struct fuse_mknod_in in = {.mode = S_IFREG | 0644};

	req_start(&q, FUSE_MKNOD, dir);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	return req_run(&q);
}

static int link_to(uint64_t n, uint64_t dir, const char *name)
{
	const struct fuse_link_in in = {n};

	req_start(&q, FUSE_LINK, dir);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	return req_run(&q);
}

static int symlink_at(uint64_t dir, const char *name)
{
	req_start(&q, FUSE_SYMLINK, dir);
	req_str(&q, name);
	req_str(&q, "x");
	return req_run(&q);
}

static int chmod_of(uint64_t n)
{
	const struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0600};

	return req_setattr(&q, n, &in);
}

/* Whether a listing has @name. */
static bool lists(uint64_t dir, const char *name, uint32_t opcode)
{
	uint64_t fh = 0;
	bool found = false;
	int r = req_open(&q, FUSE_OPENDIR, dir, O_RDONLY | O_DIRECTORY);

	if (r == 0)
		fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(req_read(&q, opcode, dir, fh, 0, 4096), 0);
	for (size_t at = 0; at < q.out_bytes;) {
		size_t head = opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;
		const struct fuse_dirent *d = (const void *)(q.out + 16 + at + head);

		if (d->namelen == strlen(name) && !memcmp(d->name, name, d->namelen))
			found = true;
		at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d->namelen);
	}
	return found;
}

static void denied(void **state)
{
	uint64_t a, plain;

	mount("deny=/a/secret,deny=*.no");
	a = node(1, "a");
	assert_int_equal(req_name(&q, FUSE_LOOKUP, a, "secret"), -EACCES);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "absent.no"), -EACCES);
	assert_true(lists(a, "open", FUSE_READDIR));
	assert_true(lists(a, ".", FUSE_READDIR));
	assert_false(lists(a, "secret", FUSE_READDIR));
	assert_false(lists(a, "secret", FUSE_READDIRPLUS));
	assert_int_equal(req_create(&q, a, "secret", O_RDWR, 0644), -EACCES);
	assert_int_equal(req_create(&q, 1, "x.no", O_RDWR, 0644), -EACCES);
	assert_int_equal(mknode(1, "x.no"), -EACCES);
	assert_int_equal(req_mkdir(&q, 1, "x.no", 0755), -EACCES);
	assert_int_equal(symlink_at(1, "x.no"), -EACCES);
	assert_int_equal(req_name(&q, FUSE_UNLINK, a, "secret"), -EACCES);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "x.no"), -EACCES);
	assert_int_equal(req_rename(&q, a, "secret", 1, "mine", 0), -EACCES);
	assert_int_equal(req_rename(&q, 1, "plain", a, "secret", 0), -EACCES);
	assert_int_equal(req_rename(&q, 1, "plain", a, "secret", RENAME_EXCHANGE), -EACCES);
	plain = node(1, "plain");
	assert_int_equal(link_to(plain, 1, "x.no"), -EACCES);
	/* All else is as ever. */
	assert_int_equal(req_rename(&q, 1, "plain", a, "moved", 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, a, "open"), 0);
	unmount();
	assert_int_equal(faccessat(host, "a/secret", F_OK, 0), 0);
	assert_int_equal(faccessat(host, "a/moved", F_OK, 0), 0);
}

static void redacted(void **state)
{
	static const char zeros[11];
	struct fuse_lseek_in data = {.offset = 3, .whence = SEEK_DATA},
			     hole = {.offset = 3, .whence = SEEK_HOLE};
	const struct fuse_getxattr_in any = {.size = 100};
	uint64_t k, l, fh;

	_cleanup_close_ int key = openat(host, "x.key", O_RDONLY | O_CLOEXEC);

	(void)fsetxattr(key, "user.x", "v", 1, 0);
	mount("redact=*.key");
	k = node(1, "x.key");
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 11);
	assert_true(lists(1, "x.key", FUSE_READDIRPLUS));
	fh = opened(k, O_RDONLY);
	data.fh = hole.fh = fh;
	memset(q.out, 'x', 64);
	assert_int_equal(req_read(&q, FUSE_READ, k, fh, 0, 100), 0);
	assert_int_equal(q.out_bytes, 11);
	assert_memory_equal(q.out + 16, zeros, 11);
	assert_int_equal(req_read(&q, FUSE_READ, k, fh, 8, 2), 0);
	assert_int_equal(q.out_bytes, 2);
	assert_int_equal(req_read(&q, FUSE_READ, k, fh, 11, 100), 0);
	assert_int_equal(q.out_bytes, 0);
	assert_int_equal(req_write(&q, k, fh, 0, "x", 1, 0), -EACCES);
	req_start(&q, FUSE_LSEEK, k);
	req_add(&q, &data, sizeof(data));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_lseek_out)->offset, 3);
	req_start(&q, FUSE_LSEEK, k);
	req_add(&q, &hole, sizeof(hole));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_lseek_out)->offset, 11);
	assert_int_equal(chmod_of(k), -EACCES);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "x.key"), -EACCES);
	assert_int_equal(link_to(k, 1, "x"), -EACCES);
	assert_int_equal(req_rename(&q, 1, "x.key", 1, "x", 0), -EACCES);
	assert_int_equal(req_rename(&q, 1, "plain", 1, "x.key", 0), -EACCES);
	assert_int_equal(req_create(&q, 1, "y.key", O_RDWR, 0644), -EACCES);
	req_start(&q, FUSE_GETXATTR, k);
	req_add(&q, &any, sizeof(any));
	req_str(&q, "user.x");
	assert_int_equal(req_run(&q), -ENODATA);
	req_start(&q, FUSE_LISTXATTR, k);
	req_add(&q, &any, sizeof(any));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, 0);
	l = node(1, "l.key");
	req_start(&q, FUSE_READLINK, l);
	assert_int_equal(req_run(&q), -EACCES);
	if (!(fs.b->ops->caps & FSB_CAP_NO_OPEN))
		assert_int_equal(req_open(&q, FUSE_OPEN, k, O_RDWR), -EACCES);
	unmount();
}

/* copy_file_range of a redacted file goes the long way, by reads. */
static void copies(void **state)
{
	struct fuse_copy_file_range_in in = {.len = 100};
	uint64_t k, p;

	mount("redact=*.key,deny=/a/secret");
	k = node(1, "x.key");
	in.fh_in = opened(k, O_RDONLY);
	p = node(1, "plain");
	in.fh_out = opened(p, O_RDWR);
	in.nodeid_out = p;
	req_start(&q, FUSE_COPY_FILE_RANGE, k);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), -EOPNOTSUPP);
	in.fh_in = opened(p, O_RDWR);
	in.fh_out = opened(k, O_RDONLY);
	in.nodeid_out = k;
	req_start(&q, FUSE_COPY_FILE_RANGE, p);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), -EACCES);
	unmount();
}

/* No directory above a rule is moved away, nor one put where a rule reaches. */
static void renames_above(void **state)
{
	uint64_t a, b;

	mount("deny=/a/secret,deny=/b/*/secret,redact=*.key");
	a = node(1, "a");
	b = node(1, "b");
	assert_int_equal(req_rename(&q, 1, "a", 1, "c", 0), -EXDEV);
	assert_int_equal(req_rename(&q, 1, "a", b, "c", 0), -EXDEV);
	assert_int_equal(req_rename(&q, 1, "b", 1, "c", 0), -EXDEV);
	assert_int_equal(req_mkdir(&q, 1, "m", 0755), 0);
	assert_int_equal(req_rename(&q, 1, "m", b, "m", 0), -EXDEV);
	assert_int_equal(req_rename(&q, 1, "m", 1, "a", RENAME_EXCHANGE), -EXDEV);
	assert_int_equal(req_rename(&q, 1, "plain", 1, "a", RENAME_EXCHANGE), -EXDEV);
	/* Where answers stay the same, so does all else. */
	assert_int_equal(req_rename(&q, 1, "m", a, "m", 0), 0);
	assert_int_equal(req_rename(&q, 1, "plain", b, "plain", 0), 0);
	assert_int_equal(req_mkdir(&q, b, "x", 0755), 0);
	assert_int_equal(req_rename(&q, b, "x", b, "y", 0), 0);
	unmount();
}

/* What is below a renamed directory follows it. */
static void follows(void **state)
{
	uint64_t d, f;

	mount("deny=/p/no,redact=/p/*/r");
	assert_int_equal(req_mkdir(&q, 1, "p", 0755), 0);
	assert_int_equal(req_mkdir(&q, 1, "q", 0755), 0);
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_mkdir(&q, d, "r", 0755), 0);
	f = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_rename(&q, 1, "q", 1, "s", 0), 0);
	assert_int_equal(req_create(&q, f, "x", O_RDWR, 0644), 0);
	assert_int_equal(req_rename(&q, 1, "s", node(1, "p"), "s", 0), -EXDEV);
	unmount();
}

static void last_decides(void **state)
{
	uint64_t a;

	mount("deny=**,allow=/a,deny=/a/secret");
	a = node(1, "a");
	assert_int_not_equal(req_lookup(&q, a, "open"), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, a, "secret"), -EACCES);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "plain"), -EACCES);
	assert_true(lists(1, "a", FUSE_READDIR));
	assert_false(lists(1, "plain", FUSE_READDIR));
	unmount();
}

/* A file has the rights of the name that it was looked up by last. */
static void hard_links(void **state)
{
	uint64_t n, fh;

	assert_int_equal(linkat(host, "x.key", host, "pub", 0), 0);
	mount("redact=*.key");
	n = node(1, "pub");
	fh = opened(n, O_RDONLY);
	assert_int_equal(req_read(&q, FUSE_READ, n, fh, 0, 100), 0);
	assert_memory_equal(q.out + 16, "private key", 11);
	assert_int_equal(node(1, "x.key"), n);
	assert_int_equal(req_read(&q, FUSE_READ, n, fh, 0, 100), 0);
	assert_int_equal(q.out[16], 0);
	unmount();
}

static void temporary(void **state)
{
	const struct fuse_create_in in = {.flags = O_RDWR | O_TMPFILE, .mode = 0600};
	uint64_t n, fh;
	int r;

	mount("deny=/a/secret,redact=*.key");
	req_start(&q, FUSE_TMPFILE, 1);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "");
	r = req_run(&q);
	if (r != -EOPNOTSUPP) { /* by what /dev/shm is on */
		assert_int_equal(r, 0);
		n = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
		fh = req_created_fh(&q);
		assert_int_equal(req_write(&q, n, fh, 0, "x", 1, 0), 0);
		assert_int_equal(link_to(n, 1, "y.key"), -EACCES);
	}
	unmount();
}

/* A path that is too long to be known is denied: it could be any. */
static void too_deep(void **state)
{
	char name[201];
	uint64_t dir = 1;

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	mount("deny=/nothing");
	for (int i = 0; i < 20; i++) {
		assert_int_equal(req_mkdir(&q, dir, name, 0755), 0);
		dir = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	}
	assert_int_equal(req_mkdir(&q, dir, name, 0755), -EACCES);
	assert_int_equal(req_mkdir(&q, dir, "short", 0755), 0);
	unmount();
}

static void by_itself(void **state)
{
	struct fsb_glob_rule rules[FSB_MAX_GLOBS + 1] = {{FSB_DENY, "/a"}, {FSB_DENY, "["}};
	struct fsb_passthrough_opts p = {
		.root_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	struct msb_err e = {0};
	struct fsb *b, *r;

	assert_int_equal(fsb_passthrough_start(&p, &b, &e), 0);
	assert_int_equal(fsb_rules_new(rules, 0, b, &r, &e), 0);
	assert_ptr_equal(b, r);
	assert_int_equal(fsb_rules_new(rules, 2, b, &r, &e), -EINVAL);
	p.root_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsb_passthrough_start(&p, &b, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		(void)snprintf(rules[i].glob, sizeof(rules[i].glob), "/a");
	assert_int_equal(fsb_rules_new(rules, FSB_MAX_GLOBS + 1, b, &r, &e), -E2BIG);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(denied), T(redacted), T(copies), T(renames_above),
		T(follows), T(last_decides), T(hard_links), T(temporary), T(too_deep),
		T(by_itself)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
