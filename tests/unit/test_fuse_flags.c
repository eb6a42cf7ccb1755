// SPDX-License-Identifier: Apache-2.0
// chattr's flags: the request's bytes, what each backend keeps, and what is refused for them.
#include "tests/unit/stack_fixture.h"

#include "fs/fuse_ioctl.h"
#include "fs/fuse_state.h"
#include "fs/mux.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>

#define I FSB_FL_IMMUTABLE
#define A FSB_FL_APPEND

/* ---- bytes */

struct ask {
	struct fuse_ioctl_in in;
	uint8_t data[32];
};

static void parse_table(void **state)
{
	const struct fsxattr good = {.fsx_xflags = FS_XFLAG_IMMUTABLE | FS_XFLAG_NOATIME,
				     .fsx_nextents = 7},
			     extsize = {.fsx_extsize = 4096}, cow = {.fsx_cowextsize = 1},
			     project = {.fsx_projid = 1},
			     realtime = {.fsx_xflags = FS_XFLAG_REALTIME};
	const uint32_t ia = I | A, all = FSB_FL_ALL, extents = FS_EXTENT_FL, none = 0;
	const struct {
		unsigned long cmd;
		uint64_t arg;
		uint32_t in_size, out_size, flags;
		const void *data;
		int extra, result; /* extra: bytes more than in_size says */
		struct fuse_flags_ask ask;
	} row[] = {
		{FS_IOC_GETFLAGS, 0, 0, 4, 0, NULL, 0, 0, {0}},
		{FS_IOC_GETFLAGS, 0, 0, 4, FUSE_IOCTL_DIR, NULL, 0, 0, {0}},
		{FS_IOC_FSGETXATTR, 0, 0, 28, 0, NULL, 0, 0, {.xflags = true}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &ia, 0, 0, {true, false, I | A, FSB_FL_ALL}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &all, 0, 0, {true, false, FSB_FL_ALL, FSB_FL_ALL}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &none, 0, 0, {true, false, 0, FSB_FL_ALL}},
		{FS_IOC_FSSETXATTR, 0, 28, 0, 0, &good, 0, 0,
			{true, true, I | FSB_FL_NOATIME, FSB_FL_ALL & ~FSB_FL_DIRSYNC}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &extents, 0, -EOPNOTSUPP, {0}},
		{FS_IOC_FSSETXATTR, 0, 28, 0, 0, &extsize, 0, -EOPNOTSUPP, {0}},
		{FS_IOC_FSSETXATTR, 0, 28, 0, 0, &cow, 0, -EOPNOTSUPP, {0}},
		{FS_IOC_FSSETXATTR, 0, 28, 0, 0, &project, 0, -EOPNOTSUPP, {0}},
		{FS_IOC_FSSETXATTR, 0, 28, 0, 0, &realtime, 0, -EOPNOTSUPP, {0}},
		/* a program's own command: nobody has checked who it is */
		{FS_IOC_SETFLAGS, 0x7ffd1000, 4, 0, 0, &ia, 0, -ENOTTY, {0}},
		{FS_IOC32_SETFLAGS, 0, 4, 0, 0, &ia, 0, -ENOTTY, {0}},
		{FS_IOC_SETFLAGS, 0, 4, 0, FUSE_IOCTL_COMPAT, &ia, 0, -ENOTTY, {0}},
		{FS_IOC_SETFLAGS, 0, 4, 0, FUSE_IOCTL_UNRESTRICTED, &ia, 0, -ENOTTY, {0}},
		{FICLONE, 0, 4, 0, 0, &ia, 0, -ENOTTY, {0}},
		{0, 0, 0, 0, 0, NULL, 0, -ENOTTY, {0}},
		/* sizes */
		{FS_IOC_SETFLAGS, 0, 8, 0, 0, &good, 0, -EINVAL, {0}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &ia, 1, -EINVAL, {0}},
		{FS_IOC_SETFLAGS, 0, 4, 0, 0, &ia, -1, -EINVAL, {0}},
		{FS_IOC_SETFLAGS, 0, 4, 4, 0, &ia, 0, -EINVAL, {0}},
		{FS_IOC_GETFLAGS, 0, 4, 4, 0, &ia, 0, -EINVAL, {0}},
		{FS_IOC_GETFLAGS, 0, 0, 8, 0, NULL, 0, -EINVAL, {0}},
		{FS_IOC_FSGETXATTR, 0, 0, 4, 0, NULL, 0, -EINVAL, {0}},
		{FS_IOC_FSSETXATTR, 0, 4, 0, 0, &ia, 0, -EINVAL, {0}},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct fuse_flags_ask got;
		struct ask a = {.in = {.cmd = (uint32_t)row[i].cmd,
					.arg = row[i].arg,
					.in_size = row[i].in_size,
					.out_size = row[i].out_size,
					.flags = row[i].flags}};
		size_t n = sizeof(a.in) + row[i].in_size + (size_t)row[i].extra;

		if (row[i].data)
			memcpy(a.data, row[i].data, row[i].in_size);
		if (fuse_ioctl_parse((const uint8_t *)&a, n, &got) != row[i].result)
			fail_msg("row %zu", i);
		if (row[i].result)
			continue;
		assert_int_equal(got.set, row[i].ask.set);
		assert_int_equal(got.xflags, row[i].ask.xflags);
		assert_int_equal(got.flags, row[i].ask.flags);
		assert_int_equal(got.said, row[i].ask.said);
	}
	for (size_t n = 0; n < sizeof(struct fuse_ioctl_in); n++)
		assert_int_equal(
			fuse_ioctl_parse((const uint8_t *)&row, n, &(struct fuse_flags_ask){0}),
			-EINVAL);
}

/* ---- requests */

static int run_ioctl(
	uint64_t node, unsigned long cmd, const void *in, uint32_t in_size, uint32_t out_size)
{
	const struct fuse_ioctl_in i = {
		.cmd = (uint32_t)cmd, .in_size = in_size, .out_size = out_size};

	req_start(&q, FUSE_IOCTL, node);
	req_add(&q, &i, sizeof(i));
	req_add(&q, in, in_size);
	return req_run(&q);
}

static int set(uint64_t node, uint32_t flags)
{
	int r = run_ioctl(node, FS_IOC_SETFLAGS, &flags, sizeof(flags), 0);

	if (r == 0) {
		assert_int_equal(q.out_bytes, sizeof(struct fuse_ioctl_out));
		assert_int_equal(REQ_REPLY(&q, struct fuse_ioctl_out)->result, 0);
	}
	return r;
}

static uint32_t get(uint64_t node)
{
	uint32_t flags;

	assert_int_equal(run_ioctl(node, FS_IOC_GETFLAGS, NULL, 0, sizeof(flags)), 0);
	assert_int_equal(q.out_bytes, sizeof(struct fuse_ioctl_out) + sizeof(flags));
	memcpy(&flags, q.out + 16 + sizeof(struct fuse_ioctl_out), sizeof(flags));
	return flags;
}

static uint32_t get_xflags(uint64_t node)
{
	struct fsxattr x;

	assert_int_equal(run_ioctl(node, FS_IOC_FSGETXATTR, NULL, 0, sizeof(x)), 0);
	assert_int_equal(q.out_bytes, sizeof(struct fuse_ioctl_out) + sizeof(x));
	memcpy(&x, q.out + 16 + sizeof(struct fuse_ioctl_out), sizeof(x));
	return x.fsx_xflags;
}

static int set_xflags(uint64_t node, uint32_t xflags)
{
	const struct fsxattr x = {.fsx_xflags = xflags};

	return run_ioctl(node, FS_IOC_FSSETXATTR, &x, sizeof(x), 0);
}

static uint64_t statx_attributes(uint64_t node)
{
	const uint32_t in[6] = {0};
	uint64_t a, mask;

	req_start(&q, 52, node); /* FUSE_STATX */
	req_add(&q, in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	memcpy(&a, q.out + 16 + 32 + 8, sizeof(a));
	memcpy(&mask, q.out + 16 + 32 + 56, sizeof(mask));
	assert_int_equal(mask, I | A | FSB_FL_NODUMP);
	return a;
}

static const struct {
	const char *name, *options;
} backends[] = {{"memory", "size=4M"}, {"overlay", ""}, {"passthrough", "map=root"}};

static void each(void (*fn)(void))
{
	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		fsb_guards = false;
		setup_dir();
		mount_as(backends[i].name, backends[i].options, &(struct fsb_start)FSB_START_NONE);
		fn();
		unmount();
		teardown(NULL);
	}
}

static uint64_t make(uint64_t dir, const char *name)
{
	assert_int_equal(req_create(&q, dir, name, O_RDWR, 0644), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t make_dir(uint64_t dir, const char *name)
{
	assert_int_equal(req_mkdir(&q, dir, name, 0755), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t ctime_of(uint64_t node)
{
	assert_int_equal(req_getattr(&q, node), 0);
	return REQ_REPLY(&q, struct fuse_attr_out)->attr.ctime * 1000000000 +
	       REQ_REPLY(&q, struct fuse_attr_out)->attr.ctimensec;
}

static void kept(void)
{
	uint64_t f = make(1, "f"), d = make_dir(1, "d"), was = ctime_of(f);

	assert_int_equal(get(f), 0);
	usleep(20000); /* longer than a tick of the host's file clock */
	assert_int_equal(set(f, FSB_FL_ALL), 0);
	assert_true(ctime_of(f) > was);
	assert_int_equal(get(f), FSB_FL_ALL);
	assert_int_equal(get_xflags(f), FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND | FS_XFLAG_SYNC |
						FS_XFLAG_NODUMP | FS_XFLAG_NOATIME);
	assert_int_equal(statx_attributes(f), I | A | FSB_FL_NODUMP);
	/* What stays immutable stays so altogether. */
	assert_int_equal(set(f, FSB_FL_ALL & ~A), -EPERM);
	assert_int_equal(set(f, FSB_FL_ALL), 0);
	assert_int_equal(set_xflags(f, FS_XFLAG_NODUMP), 0);
	assert_int_equal(get(f), FSB_FL_NODUMP | FSB_FL_DIRSYNC); /* xflags do not speak of it */
	assert_int_equal(set(f, 0), 0);
	assert_int_equal(get_xflags(f), 0);
	assert_int_equal(statx_attributes(f), 0);
	/* From a directory; not to what is no file of its own. */
	assert_int_equal(set(d, FSB_FL_ALL & ~I), 0);
	assert_int_equal(get(make(d, "in")), FSB_FL_INHERIT & ~FSB_FL_DIRSYNC);
	assert_int_equal(get(make_dir(d, "dir")), FSB_FL_INHERIT);
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "l");
	req_str(&q, "f");
	assert_int_equal(req_run(&q), 0);
	f = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(run_ioctl(f, FS_IOC_GETFLAGS, NULL, 0, 4), -ENOTTY);
	assert_int_equal(set(f, A), -ENOTTY);
	assert_int_equal(set(12345, A), -ESTALE);
}

static int write_as(uint64_t node, uint32_t open_flags, uint32_t write_flags)
{
	const struct fuse_write_in in = {
		.size = 1, .write_flags = write_flags, .flags = open_flags};

	req_start(&q, FUSE_WRITE, node);
	req_add(&q, &in, sizeof(in));
	req_add(&q, "x", 1);
	return req_run(&q);
}

static int fallocate_as(uint64_t node, uint32_t mode)
{
	const struct fuse_fallocate_in in = {.length = 10, .mode = mode};

	req_start(&q, FUSE_FALLOCATE, node);
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

static int set_attr(uint64_t node, uint32_t valid)
{
	const struct fuse_setattr_in in = {.valid = valid, .mode = 0600};

	return req_setattr(&q, node, &in);
}

static int set_xattr(uint64_t node, uint32_t opcode)
{
	const uint32_t in[2] = {1, 0}; /* size, flags */

	req_start(&q, opcode, node);
	if (opcode == FUSE_SETXATTR)
		req_add(&q, in, sizeof(in));
	req_str(&q, "user.k");
	req_add(&q, "v", opcode == FUSE_SETXATTR);
	return req_run(&q);
}

static int link_to(uint64_t node, uint64_t dir, const char *name)
{
	const struct fuse_link_in in = {node};
	int r;

	req_start(&q, FUSE_LINK, dir);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	r = req_run(&q);
	return r;
}

static int copy_to(uint64_t from, uint64_t node)
{
	const struct fuse_copy_file_range_in in = {.nodeid_out = node, .len = 1};

	req_start(&q, FUSE_COPY_FILE_RANGE, from);
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

#define NOW	  (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)
#define KEEP_SIZE 1u

/* Each row is done to a file with nothing, with `a` and with `i`. */
static void of_a_file(void)
{
	uint64_t from = make(1, "from");

	assert_int_equal(req_write(&q, from, 0, 0, "text", 4, 0), 0);
	for (int k = 0; k < 3; k++) {
		const int a = k == 0 ? 0 : -EPERM, i = k == 2 ? -EPERM : 0;
		uint64_t f = make(1, "f");

		make_dir(1, "other");
		assert_int_equal(set(f, k == 2 ? I : k ? A : 0), 0);
		assert_int_equal(write_as(f, O_WRONLY, 0), a);
		assert_int_equal(write_as(f, O_WRONLY | O_APPEND, 0), i);
		assert_int_equal(write_as(f, O_WRONLY | O_APPEND, FUSE_WRITE_CACHE), a);
		assert_int_equal(fallocate_as(f, 0), i);
		assert_int_equal(fallocate_as(f, KEEP_SIZE), i);
		assert_int_equal(fallocate_as(f, FALLOC_FL_PUNCH_HOLE | KEEP_SIZE), a);
		assert_int_equal(copy_to(from, f), a);
		assert_int_equal(copy_to(f, from), 0);
		assert_int_equal(set_attr(f, FATTR_SIZE), a);
		assert_int_equal(set_attr(f, FATTR_MODE), a);
		assert_int_equal(set_attr(f, FATTR_UID), a);
		assert_int_equal(set_attr(f, FATTR_GID), a);
		assert_int_equal(set_attr(f, FATTR_MTIME), a);
		assert_int_equal(set_attr(f, NOW), i);
		assert_int_equal(set_xattr(f, FUSE_SETXATTR), a);
		assert_int_equal(set_xattr(f, FUSE_REMOVEXATTR), a);
		assert_int_equal(link_to(f, 1, "hard"), a);
		assert_int_equal(req_rename(&q, 1, "f", 1, "g", 0), a);
		assert_int_equal(req_rename(&q, 1, k ? "f" : "g", 1, "f", 0), a);
		assert_int_equal(req_rename(&q, 1, "other", 1, "f", RENAME_EXCHANGE), a);
		assert_int_equal(req_rename(&q, 1, "f", 1, "other", RENAME_EXCHANGE), a);
		(void)make(1, "over");
		assert_int_equal(req_rename(&q, 1, "over", 1, "f", 0), a);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), a);
		/* Reading is nobody's business. */
		assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "from"), 0);
		assert_int_equal(set(f, 0), 0);
		(void)req_name(&q, FUSE_UNLINK, 1, "f");
		(void)req_name(&q, FUSE_UNLINK, 1, "over");
		(void)req_name(&q, FUSE_UNLINK, 1, "hard");
		assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "other"), 0);
		assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "g"), 0);
		assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->nodeid, 0);
	}
}

/* A program of the guest can have its kernel send what looks like an append: pwritev2(2) with
 * RWF_NOAPPEND. */
static void appends_append(void)
{
	uint64_t f = make(1, "log");

	assert_int_equal(req_write(&q, f, 0, 0, "text", 4, 0), 0);
	assert_int_equal(set(f, A), 0);
	assert_int_equal(write_as(f, O_WRONLY | O_APPEND, 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, f, 0, 0, 100), 0);
	assert_int_equal(q.out_bytes, 5);
	assert_memory_equal(q.out + 16, "textx", 5);
	assert_int_equal(req_getattr(&q, f), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 5);
	assert_int_equal(set(f, 0), 0);
	assert_int_equal(write_as(f, O_WRONLY, 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, f, 0, 0, 100), 0);
	assert_memory_equal(q.out + 16, "xextx", 5);
}

/* CREATE of a name that another client has made meanwhile opens nothing, so cuts nothing off. */
static void creates_open(void)
{
	uint64_t f = make(1, "f");

	assert_int_equal(req_write(&q, f, 0, 0, "text", 4, 0), 0);
	assert_int_equal(req_create(&q, 1, "f", O_WRONLY | O_TRUNC, 0644), -ESTALE);
	assert_int_equal(req_create(&q, 1, "f", O_RDWR, 0644), -ESTALE);
	assert_int_equal(req_create(&q, 1, "f", O_RDWR | O_EXCL, 0644), -EEXIST);
	assert_int_equal(req_getattr(&q, f), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 4);
}

static void of_a_directory(void)
{
	uint64_t out = make(1, "out");

	for (int k = 0; k < 3; k++) {
		const int a = k == 0 ? 0 : -EPERM, i = k == 2 ? -EPERM : 0;
		uint64_t d = make_dir(1, "d"), other = make_dir(1, "other");

		(void)make(d, "f");
		(void)make_dir(d, "empty");
		(void)make(other, "f");
		assert_int_equal(set(d, k == 2 ? I : k ? A : 0), 0);
		for (size_t r = 0; r < ARRAY_LEN(req_makers); r++) {
			const uint32_t opcode = req_makers[r].opcode;

			assert_int_equal(req_make(&q, &req_makers[r], d, 0, 0), i);
			if (opcode == FUSE_TMPFILE || i)
				continue;
			assert_int_equal(set(d, 0), 0);
			assert_int_equal(
				req_name(&q, opcode == FUSE_MKDIR ? FUSE_RMDIR : FUSE_UNLINK, d,
					"made"),
				0);
			assert_int_equal(set(d, k ? A : 0), 0);
		}
		assert_int_equal(link_to(out, d, "hard"), i);
		assert_int_equal(req_rename(&q, d, "f", 1, "moved", 0), a);
		assert_int_equal(req_rename(&q, 1, k ? "out" : "moved", d, "came", 0), i);
		if (k == 1) { /* that cannot be undone there */
			assert_int_equal(req_rename(&q, d, "came", 1, "out", 0), -EPERM);
			assert_int_equal(set(d, 0), 0);
			assert_int_equal(req_rename(&q, d, "came", 1, "out", 0), 0);
			assert_int_equal(set(d, A), 0);
		}
		if (k)
			assert_int_equal(req_rename(&q, other, "f", d, "f", 0), -EPERM);
		assert_int_equal(req_name(&q, FUSE_RMDIR, d, "empty"), a);
		assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "d"), k ? -EPERM : -ENOTEMPTY);
		/* What is in it is another file. */
		if (k)
			assert_int_equal(req_name(&q, FUSE_LOOKUP, d, "f"), 0);
		assert_int_equal(set(d, 0), 0);
		for (size_t n = 0; n < 4; n++)
			(void)req_name(&q, FUSE_UNLINK, d,
				(const char *[]){"f", "came", "hard", "made"}[n]);
		(void)req_name(&q, FUSE_RMDIR, d, "empty");
		assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "d"), 0);
		assert_int_equal(req_name(&q, FUSE_UNLINK, other, "f"), 0);
		assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "other"), 0);
	}
}

static void on_every_backend(void **state)
{
	each(kept);
	each(of_a_file);
	each(of_a_directory);
	each(appends_append);
	each(creates_open);
}

/* Where OPEN is sent, as by a view of the host, it is the one that is refused. */
static void opens(void **state)
{
	static const struct {
		uint32_t flags;
		int a, i;
	} row[] = {{O_RDONLY, 0, 0}, {O_WRONLY, -EPERM, -EPERM}, {O_RDWR, -EPERM, -EPERM},
		{O_WRONLY | O_APPEND, 0, -EPERM}, {O_RDWR | O_APPEND, 0, -EPERM},
		{O_WRONLY | O_APPEND | O_TRUNC, -EPERM, -EPERM},
		{O_RDONLY | O_TRUNC, -EPERM, -EPERM}};
	uint64_t f;

	setup_dir();
	mount_as("memory", "size=1M", &(struct fsb_start)FSB_START_NONE);
	q.s = fsd_session_free(q.s);
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	assert_int_equal(req_init(&q), 0);
	f = make(1, "f");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(set(f, A), 0);
		assert_int_equal(req_open(&q, FUSE_OPEN, f, row[i].flags), row[i].a);
		assert_int_equal(set(f, I), 0);
		assert_int_equal(req_open(&q, FUSE_OPEN, f, row[i].flags), row[i].i);
		assert_int_equal(set(f, 0), 0);
	}
	/* A session that may not write sets nothing. */
	q.s = fsd_session_free(q.s);
	q.s = fsd_session_new(&fs, &fuse_profile_view, true);
	assert_int_equal(req_init(&q), 0);
	f = req_lookup(&q, 1, "f");
	assert_int_equal(get(f), 0);
	assert_int_equal(set(f, FSB_FL_NODUMP), -EROFS);
	unmount();
	teardown(NULL);
}

static void mount_again(size_t i)
{
	mount_as(backends[i].name, backends[i].options, &(struct fsb_start)FSB_START_NONE);
}

/* They are there again, and are minded, with a server that has not seen the file yet. */
static void over_a_restart(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);
		uint64_t f;

		setup_dir();
		mount_again(i);
		f = make(1, "f");
		assert_int_equal(set(f, A | FSB_FL_NODUMP), 0);
		if (fs.b->ops->save_all)
			assert_int_equal(fs.b->ops->save_all(fs.b, fd), 0);
		unmount();
		fsb_guards = false;
		mount_again(i);
		(void)lseek(fd, 0, SEEK_SET);
		if (fs.b->ops->load_all)
			assert_int_equal(fs.b->ops->load_all(fs.b, fd), 0);
		f = req_lookup(&q, 1, "f");
		assert_int_not_equal(f, 0);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), -EPERM);
		assert_int_equal(write_as(f, O_WRONLY, 0), -EPERM);
		assert_int_equal(get(f), A | FSB_FL_NODUMP);
		unmount();
		teardown(NULL);
	}
}

/* The same where the kernel goes on with what it knew: no lookup comes first. */
static void over_a_takeover(void **state)
{
	for (size_t i = 1; i < ARRAY_LEN(backends); i++) {
		_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);
		uint64_t f;

		setup_dir();
		mount_again(i);
		f = make(1, "f");
		(void)make(1, "plain");
		assert_int_equal(set(f, A), 0);
		assert_int_equal(set(1, A), 0);
		assert_int_equal(fsd_session_save(q.s, fd), 0);
		unmount();
		fsb_guards = false;
		mount_again(i);
		(void)lseek(fd, 0, SEEK_SET);
		assert_int_equal(fsd_session_load(q.s, fd), 0);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "plain"), -EPERM);
		assert_int_equal(write_as(f, O_WRONLY, 0), -EPERM);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), -EPERM);
		assert_int_equal(write_as(f, O_WRONLY | O_APPEND, 0), 0);
		unmount();
		teardown(NULL);
	}
}

/* Wrappers and the mux hand them on; nothing is kept of the host's files as they are. */
static void through_others(void **state)
{
	struct fsb *memory, *mux;
	uint64_t f;

	setup_dir();
	mount_as("memory", "size=1M,quota_bytes=512K,deny=/x", &(struct fsb_start)FSB_START_NONE);
	f = make(1, "f");
	assert_int_equal(set(f, A), 0);
	assert_int_equal(get(f), A);
	assert_int_equal(write_as(f, O_WRONLY, 0), -EPERM);
	unmount();
	mount_as("memory", "size=1M,error=setattr:EIO", &(struct fsb_start)FSB_START_NONE);
	assert_int_equal(set(1, A), -EIO); /* to wrappers it is a setattr */
	unmount();
	mount_as("passthrough", "map=none", &(struct fsb_start)FSB_START_NONE);
	assert_int_equal(run_ioctl(1, FS_IOC_GETFLAGS, NULL, 0, 4), -ENOTTY);
	assert_int_equal(set(1, A), -ENOTTY);
	unmount();
	{
		struct fsb_start from = FSB_START_NONE;

		from.options = &o;
		assert_int_equal(fsb_stack_start("memory", &from, &memory, NULL), 0);
	}
	assert_int_equal(mux_new(&mux), 0);
	assert_int_equal(mux_add(mux, "m", memory), 0);
	fsd_fs_init(&fs, mux);
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_init(&q), 0);
	f = req_lookup(&q, 1, "m");
	assert_int_equal(set(1, A), -ENOTTY);
	assert_int_equal(set(f, I), 0);
	assert_int_equal(get(f), I);
	assert_int_equal(req_mkdir(&q, f, "d", 0755), -EPERM);
	unmount();
	teardown(NULL);
}

static int no_flags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	return -EIO;
}

/* What cannot be looked at is not touched. */
static void unknown_flags(void **state)
{
	const struct fsb_ops *was;
	struct fsb_ops failing;
	uint64_t f;

	setup_dir();
	mount_again(0);
	f = make(1, "f");
	was = fs.b->ops;
	failing = *was;
	failing.getflags = no_flags;
	fs.b->ops = &failing;
	for (int guards = 0; guards < 2; guards++) {
		const int r = guards ? -EIO : 0;

		fsb_guards = guards;
		assert_int_equal(write_as(f, O_WRONLY, 0), r);
		assert_int_equal(set_attr(f, FATTR_MODE), r);
		assert_int_equal(req_mkdir(&q, 1, "d", 0755), r);
		assert_int_equal(link_to(f, 1, "hard"), r);
		assert_int_equal(req_rename(&q, 1, "f", 1, "g", 0), r);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "g"), r);
	}
	fs.b->ops = was;
	unmount();
	teardown(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_table),
		cmocka_unit_test(on_every_backend),
		cmocka_unit_test(opens),
		cmocka_unit_test(over_a_restart),
		cmocka_unit_test(over_a_takeover),
		cmocka_unit_test(through_others),
		cmocka_unit_test(unknown_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
