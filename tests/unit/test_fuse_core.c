// SPDX-License-Identifier: Apache-2.0
// The FUSE core: what a session hands out is all that can be named, it all comes back, bad requests
// are refused before a backend sees them.
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "fs/fuse_priv.h"
#include "fs/fuse_stats.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

/* A backend that counts: every name is a file, its node the name's length + 100. "wait" holds its
 * caller until the gate opens. */
struct counting {
	struct fsb b; /* first */
	struct fsb_ops ops;
	_Atomic int64_t lookups, handles;
	_Atomic bool waiting, gate;
	_Atomic uint64_t forgotten_inside; /* forgets while a getattr was held */
	uint32_t written, last_mode;
	uint64_t atime; /* of every node; what was written was at 0 */
};

static struct counting back;
static struct fsd_fs fs;
static struct fusereq q;

static struct counting *of(struct fsb *b)
{
	return (struct counting *)(void *)b;
}

static void b_stop(struct fsb *b)
{
}

static int entry(struct fsb *b, uint64_t node, struct fsb_entry *ret)
{
	*ret = (struct fsb_entry){.node = node,
		.attr = {.ino = node, .mode = S_IFREG | (node == 101 ? 0755 : 06755)}};
	of(b)->lookups++;
	return 0;
}

static int b_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	return !strcmp(name, "none") ? -ENOENT : entry(b, strlen(name) + 100, ret);
}

static void b_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	of(b)->lookups -= (int64_t)count;
	if (of(b)->waiting)
		of(b)->forgotten_inside++;
}

static int b_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){.ino = node, .mode = S_IFREG | 06755, .atime = of(b)->atime};
	if (node == 100 + strlen("wait")) {
		of(b)->waiting = true;
		while (!of(b)->gate)
			usleep(100);
		of(b)->waiting = false;
	}
	return 0;
}

static int b_setattr(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	of(b)->last_mode = s->mode;
	return b_getattr(b, node, 0, ret);
}

static int b_open(
	struct fsb *b, const struct fsb_req *r, uint64_t node, uint32_t flags, uint64_t *fh)
{
	*fh = (uint64_t)++of(b)->handles + 1000;
	return 0;
}

static int b_create(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *fh)
{
	of(b)->last_mode = mode & ~r->umask;
	(void)entry(b, strlen(name) + 100, ret);
	return b_open(b, r, ret->node, flags, fh);
}

static void b_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	of(b)->handles--;
}

static int64_t b_readv(
	struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov, int n, uint64_t off)
{
	int64_t sum = 0;

	for (int i = 0; i < n; i++) {
		memset(iov[i].iov_base, 'r', iov[i].iov_len);
		sum += (int64_t)iov[i].iov_len;
	}
	return sum;
}

static int64_t b_writev(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct iovec *iov, int n, uint64_t off, uint32_t flags)
{
	of(b)->written = 0;
	for (int i = 0; i < n; i++)
		of(b)->written += (uint32_t)iov[i].iov_len;
	return of(b)->written;
}

static int b_unlink(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name)
{
	return 0;
}

static int b_opendir(struct fsb *b, uint64_t node, uint64_t *fh)
{
	return b_open(b, NULL, node, 0, fh);
}

/* Ten thousand entries, so that every buffer ends somewhere. */
static int b_readdir(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	for (uint64_t i = off; i < 10000; i++) {
		struct fsb_entry e = {.node = i + 10};

		of(b)->lookups += plus;
		if (fn(arg, "some-name", 9, i + 10, DT_REG, i + 1, plus ? &e : NULL)) {
			of(b)->lookups -= plus;
			break;
		}
	}
	return 0;
}

static int b_symlink(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	return entry(b, 7, ret);
}

static const struct fsb_ops counting_ops = {.name = "counting",
	.caps = FSB_CAP_WRITE,
	.stop = b_stop,
	.lookup = b_lookup,
	.forget = b_forget,
	.getattr = b_getattr,
	.setattr = b_setattr,
	.symlink = b_symlink,
	.unlink = b_unlink,
	.open = b_open,
	.create = b_create,
	.release = b_release,
	.readv = b_readv,
	.writev = b_writev,
	.opendir = b_opendir,
	.readdir = b_readdir,
	.releasedir = b_release};

static void start(const struct fuse_profile *profile, bool readonly)
{
	q.s = fsd_session_new(&fs, profile, readonly);
	assert_non_null(q.s);
	assert_int_equal(req_init(&q), 0);
}

static int setup(void **state)
{
	memset(&back, 0, sizeof(back));
	back.ops = counting_ops;
	back.b.ops = &back.ops;
	fsd_fs_init(&fs, &back.b);
	q.w = calloc(1, sizeof(*q.w));
	start(&fuse_profile_guest, false);
	return 0;
}

static int teardown(void **state)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
	free(q.w);
	/* The one invariant of all tests: nothing stays behind. */
	return back.lookups || back.handles ? -1 : 0;
}

static void init_negotiates(void **state)
{
	const struct fuse_init_out *o = REQ_REPLY(&q, struct fuse_init_out);
	struct fuse_init_in in = {.major = 7, .minor = 12};

	assert_int_equal(req_init(&q), 0);
	assert_int_equal(o->major, 7);
	assert_int_equal(o->minor, 38);
	assert_int_equal(o->max_write, FUSE_MAX_IO);
	assert_int_equal(o->max_pages, 256);
	assert_true(o->flags & FUSE_ATOMIC_O_TRUNC);
	assert_false(o->flags & FUSE_WRITEBACK_CACHE);
	assert_false(o->flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_EXPORT_SUPPORT));
	req_start(&q, FUSE_INIT, 0);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), -EPROTO);
	in.major = 8;
	req_start(&q, FUSE_INIT, 0);
	req_add(&q, &in, 16);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(o->major, 7);
	/* Without OPEN nothing else would truncate. */
	back.ops.caps |= FSB_CAP_NO_OPEN;
	assert_int_equal(req_init(&q), 0);
	assert_false(o->flags & FUSE_ATOMIC_O_TRUNC);
}

static void nothing_before_init(void **state)
{
	struct fsd_session *s = q.s;

	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), -EIO);
	q.s = fsd_session_free(q.s);
	q.s = s;
}

static void lookups_are_counted(void **state)
{
	uint64_t n = req_lookup(&q, 1, "abc");

	assert_int_equal(n, 103);
	assert_int_equal(req_lookup(&q, 1, "abc"), 103);
	assert_int_equal(back.lookups, 2);
	req_forget(&q, n, 1);
	assert_int_equal(req_getattr(&q, n), 0);
	req_forget(&q, n, 1000); /* more than it holds */
	assert_int_equal(back.lookups, 0);
	assert_int_equal(req_getattr(&q, n), -ESTALE);
	req_forget(&q, n, 1);
	req_forget(&q, 1, 1); /* the root */
	assert_int_equal(back.lookups, 0);
	assert_int_equal(req_getattr(&q, 1), 0);
	assert_int_equal(req_getattr(&q, 0), -ESTALE);
	assert_int_equal(req_getattr(&q, UINT64_MAX), -ESTALE);
	/* Absent names are entries that may be believed for a while. */
	assert_int_equal(req_lookup(&q, 1, "none"), 0);
	assert_int_equal(q.out_bytes, sizeof(struct fuse_entry_out));
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 1);
}

static void batch_forget(void **state)
{
	struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one one[3];
	} in = {{1000, 0}, {{101, 1}, {102, 5}, {999, 1}}};

	(void)req_lookup(&q, 1, "a");
	(void)req_lookup(&q, 1, "bb");
	assert_int_equal(back.lookups, 2);
	req_start(&q, FUSE_BATCH_FORGET, 0);
	req_add(&q, &in, sizeof(in)); /* fewer than it says */
	assert_int_equal(req_run(&q), 1);
	assert_int_equal(back.lookups, 0);
}

/* Descriptors of a ring may all mean the same memory: a list of any length costs a guest nothing.
 */
static void endless_forget_is_refused(void **state)
{
	const struct fuse_batch_forget_in head = {UINT32_MAX, 0};
	struct iovec in[40] = {{q.in, 0}}, out = {q.out, 0};
	const struct fuse_forget_one one = {101, 1};

	(void)req_lookup(&q, 1, "a");
	req_start(&q, FUSE_BATCH_FORGET, 0);
	req_add(&q, &head, sizeof(head));
	in[0].iov_len = q.n;
	for (size_t i = 0; i < 32768; i += sizeof(one))
		req_add(&q, &one, sizeof(one));
	for (size_t i = 1; i < ARRAY_LEN(in); i++)
		in[i] = (struct iovec){q.in + in[0].iov_len, 32768};
	req_head(&q)->len = (uint32_t)(in[0].iov_len + 39 * 32768);
	assert_int_equal(fuse_handle(q.s, q.w, in, 40, &out, 0), 0);
	assert_int_equal(back.lookups, 1);
	req_head(&q)->len = (uint32_t)(in[0].iov_len + 20 * 32768);
	assert_int_equal(fuse_handle(q.s, q.w, in, 21, &out, 0), 0);
	assert_int_equal(back.lookups, 0);
}

static void names_are_checked(void **state)
{
	static const struct {
		const char *name;
		int want;
	} row[] = {{"", -EINVAL}, {".", -EINVAL}, {"..", -EINVAL}, {"a/b", -EINVAL}, {"/", -EINVAL},
		{"...", 0}, {".a", 0}, {"\xff\n", 0}};
	static const uint32_t op[] = {FUSE_LOOKUP, FUSE_UNLINK};
	char longest[258];

	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		for (size_t k = 0; k < ARRAY_LEN(op); k++)
			assert_int_equal(req_name(&q, op[k], 1, row[i].name), row[i].want);
	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, longest), -ENAMETOOLONG);
	longest[255] = '\0';
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, longest), 0);
	/* A string without an end. */
	req_start(&q, FUSE_LOOKUP, 1);
	req_add(&q, "abc", 3);
	assert_int_equal(req_run(&q), -EINVAL);
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "name");
	assert_int_equal(req_run(&q), -EINVAL);
}

/* File handles: a kernel asks for what it has forgotten, where the backend's ids outlive that. */
static void handles_of_files(void **state)
{
	const struct fuse_init_out *o = REQ_REPLY(&q, struct fuse_init_out);

	assert_int_equal(req_name(&q, FUSE_LOOKUP, 777, "."), -ESTALE);
	back.ops.caps |= FSB_CAP_EXPORT;
	assert_int_equal(req_init(&q), 0);
	assert_true(o->flags & FUSE_EXPORT_SUPPORT);
	assert_int_equal(req_lookup(&q, 777, "."), 101);
	assert_int_equal(req_getattr(&q, 101), 0); /* held from then on */
	assert_int_equal(req_lookup(&q, 777, ".."), 102);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 777, "a"), -ESTALE);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 777, "."), -ESTALE);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, ".."), -EINVAL);
}

static int b_fallocate(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	return 0;
}

static int fallocate_as(uint64_t node, uint64_t fh, uint32_t uid)
{
	const struct fuse_fallocate_in in = {.fh = fh, .length = 1};

	back.last_mode = 0;
	req_start(&q, FUSE_FALLOCATE, node);
	req_head(&q)->uid = uid;
	req_head(&q)->gid = uid;
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

/* xfstests generic/683 and on: FALLOCATE has no flag that asks for it. */
static void fallocate_takes_set_id_bits(void **state)
{
	uint64_t node = req_lookup(&q, 1, "a"), fh;

	back.ops.fallocate = b_fallocate;
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDWR), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(fallocate_as(node, fh, 0), 0);
	assert_int_equal(back.last_mode, 0); /* left alone */
	assert_int_equal(fallocate_as(node, fh, 1000), 0);
	assert_int_equal(back.last_mode, 0755);
}

static void lengths_are_checked(void **state)
{
	struct iovec in = {q.in, 39}, out = {q.out, sizeof(q.out)};

	/* Every opcode with every length up to its arguments, and beyond the table. */
	for (uint32_t op = 0; op < 70; op++)
		for (size_t n = 0; n < 120; n += 4) {
			req_start(&q, op, 1);
			memset(q.in + q.n, 0, n);
			q.n += n;
			assert_true(req_run(&q) <= 1);
		}
	assert_int_equal(req_init(&q), 0);
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), -EPROTO);
	req_start(&q, FUSE_GETATTR, 1);
	q.n += 16;
	memset(q.in + 40, 0, 16);
	req_head(&q)->len = (uint32_t)q.n + 1;
	in.iov_len = q.n;
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), 16);
	assert_int_equal(((struct fuse_out_header *)(void *)q.out)->error, -EINVAL);
	/* No room for the reply, or for its header. */
	req_head(&q)->len = (uint32_t)q.n;
	out.iov_len = 16;
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), 16);
	assert_int_equal(((struct fuse_out_header *)(void *)q.out)->error, -EIO);
	out.iov_len = 15;
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), -EPROTO);
	/* More arguments than anything needs. */
	req_start(&q, FUSE_LOOKUP, 1);
	q.n += FUSE_MAX_ARGS + 1;
	assert_int_equal(req_run(&q), -E2BIG);
}

static void entry_without_room_is_given_back(void **state)
{
	struct iovec in = {q.in, 0}, out = {q.out, 20};

	req_start(&q, FUSE_LOOKUP, 1);
	req_str(&q, "abc");
	req_head(&q)->len = (uint32_t)q.n;
	in.iov_len = q.n;
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), 16);
	assert_int_equal(back.lookups, 0);
	req_start(&q, FUSE_CREATE, 1);
	req_add(&q, &(struct fuse_create_in){0}, sizeof(struct fuse_create_in));
	req_str(&q, "abc");
	req_head(&q)->len = (uint32_t)q.n;
	in.iov_len = q.n;
	assert_int_equal(fuse_handle(q.s, q.w, &in, 1, &out, 1), 16);
	assert_int_equal(back.lookups, 0);
	assert_int_equal(back.handles, 0);
}

static void scattered_pieces(void **state)
{
	struct iovec in[REQ_BYTES / 1024], out[64];
	const struct fuse_write_in wr = {.size = 3000};
	unsigned int n = 0;

	assert_int_equal(req_create(&q, 1, "f", O_RDWR, 0644), 0);
	req_start(&q, FUSE_WRITE, 101);
	req_add(&q, &wr, sizeof(wr));
	((struct fuse_write_in *)(void *)(q.in + 40))->fh = req_created_fh(&q);
	q.n += 3000;
	req_head(&q)->len = (uint32_t)q.n;
	for (size_t at = 0, step = 1; at < q.n; at += step, step = step * 2 + 1) {
		size_t left = q.n - at;

		in[n++] = (struct iovec){q.in + at, left < step ? left : step};
	}
	for (unsigned int i = 0; i < 64; i++)
		out[i] = (struct iovec){q.out + i, 1};
	assert_int_equal(fuse_handle(q.s, q.w, in, n, out, 64), 24);
	assert_int_equal(back.written, 3000);
	assert_int_equal(REQ_REPLY(&q, struct fuse_write_out)->size, 3000);
}

static void handles_are_the_sessions(void **state)
{
	uint64_t fh, node;

	assert_int_equal(req_create(&q, 1, "file", O_RDWR, 04777), 0);
	assert_int_equal(back.last_mode, 04755);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 0, 100), 0);
	assert_int_equal(q.out_bytes, 100);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 0, UINT32_MAX), 0);
	assert_int_equal(q.out_bytes, FUSE_MAX_IO);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, UINT64_MAX, 100), -EINVAL);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh + 1, 0, 100), -EBADF);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 100), -EBADF);
	assert_int_equal(req_read(&q, FUSE_READ, 1, fh, 0, 100), -EBADF); /* another's */
	assert_int_equal(req_read(&q, FUSE_READDIR, node, fh, 0, 100), -EBADF);
	assert_int_equal(req_write(&q, node, fh, 0, "abc", 3, 0), 0);
	/* The node is held by its open file. */
	req_forget(&q, node, 1);
	assert_int_equal(back.lookups, 1);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 1, fh), 0);
	assert_int_equal(back.handles, 0);
	assert_int_equal(back.lookups, 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 1, fh), 0);
	assert_int_equal(back.handles, 0);
}

static void write_sizes(void **state)
{
	struct fuse_write_in wr = {.size = 100};

	assert_int_equal(req_create(&q, 1, "f", O_RDWR, 0644), 0);
	wr.fh = req_created_fh(&q);
	req_start(&q, FUSE_WRITE, 101);
	req_add(&q, &wr, sizeof(wr));
	q.n += 99;
	assert_int_equal(req_run(&q), -EINVAL);
	q.n += 2;
	assert_int_equal(req_run(&q), -EINVAL);
	q.n -= 1;
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(back.written, 100);
	assert_int_equal(req_write(&q, 101, wr.fh, UINT64_MAX, "a", 1, 0), -EINVAL);
}

static void readonly_holds(void **state)
{
	static const uint32_t writers[] = {FUSE_SETATTR, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR,
		FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2, FUSE_LINK, FUSE_WRITE,
		FUSE_SETXATTR, FUSE_REMOVEXATTR, FUSE_CREATE, FUSE_TMPFILE, FUSE_FALLOCATE,
		FUSE_COPY_FILE_RANGE};
	static const uint32_t flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_ACCMODE};

	q.s = fsd_session_free(q.s);
	start(&fuse_profile_guest, true);
	for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
		req_start(&q, writers[i], 1);
		memset(q.in + q.n, 0, 200);
		q.n += writers[i] == FUSE_WRITE ? 40 : 200;
		assert_int_equal(req_run(&q), -EROFS);
	}
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		assert_int_equal(req_open(&q, FUSE_OPEN, 1, flags[i]), -EROFS);
	assert_int_equal(req_open(&q, FUSE_OPEN, 1, O_RDONLY), 0);
}

static void stateless_open(void **state)
{
	back.ops.caps |= FSB_CAP_NO_OPEN;
	assert_int_equal(req_open(&q, FUSE_OPEN, 1, 0), -ENOSYS);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), -ENOSYS);
	assert_int_equal(req_read(&q, FUSE_READ, 1, 0, 0, 10), 0);
	/* No RELEASE will come for what CREATE opened. */
	assert_int_equal(req_create(&q, 1, "f", O_RDWR, 0644), 0);
	assert_int_equal(req_created_fh(&q), 0);
	assert_int_equal(back.handles, 0);
	/* A view opens all the same: that drops what was cached. */
	q.s = fsd_session_free(q.s);
	start(&fuse_profile_view, false);
	assert_int_equal(req_open(&q, FUSE_OPEN, 1, O_RDWR), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_open_out)->fh, 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_open_out)->open_flags, 0);
	assert_int_equal(back.handles, 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "none"), -ENOENT);
}

static void truncating_open_takes_setid_bits(void **state)
{
	struct fuse_open_in in = {O_WRONLY | O_TRUNC, FUSE_OPEN_KILL_SUIDGID};

	(void)req_lookup(&q, 1, "f");
	back.last_mode = 1;
	req_start(&q, FUSE_OPEN, 101);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(back.last_mode, 0755);
}

static void directories(void **state)
{
	static const uint32_t op[] = {FUSE_READDIR, FUSE_READDIRPLUS};
	uint64_t fh;

	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	for (size_t k = 0; k < ARRAY_LEN(op); k++) {
		size_t head = op[k] == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;
		uint64_t off = 0, seen = 0;

		do {
			assert_int_equal(req_read(&q, op[k], 1, fh, off, 4096), 0);
			for (size_t at = 0; at < q.out_bytes;) {
				const struct fuse_dirent *d =
					(const void *)(q.out + 16 + at + head);

				assert_int_equal(d->off, ++seen);
				assert_int_equal(d->namelen, 9);
				assert_memory_equal(d->name, "some-name", 9);
				off = d->off;
				at += FUSE_REC_ALIGN(head + FUSE_NAME_OFFSET + 9);
			}
		} while (q.out_bytes);
		assert_int_equal(seen, 10000);
		assert_int_equal(back.lookups, k ? 10000 : 0);
	}
	/* Too small for one entry; larger than any. */
	assert_int_equal(req_read(&q, FUSE_READDIRPLUS, 1, fh, 0, 10), 0);
	assert_int_equal(q.out_bytes, 0);
	assert_int_equal(req_read(&q, FUSE_READDIR, 1, fh, 0, UINT32_MAX), 0);
	assert_true(q.out_bytes <= FUSE_MAX_DIR && q.out_bytes > FUSE_MAX_DIR - 64);
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, 1, fh), 0);
}

static void symlink_targets(void **state)
{
	static char target[FUSE_MAX_TARGET + 2];

	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "name");
	req_str(&q, "");
	assert_int_equal(req_run(&q), -ENOENT);
	memset(target, 'x', sizeof(target) - 1);
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "name");
	req_str(&q, target);
	assert_int_equal(req_run(&q), -ENAMETOOLONG);
	target[FUSE_MAX_TARGET] = '\0';
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "name");
	req_str(&q, target);
	assert_int_equal(req_run(&q), 0);
}

static void unknown_is_enosys(void **state)
{
	static const uint32_t op[] = {0, FUSE_FLUSH, FUSE_ACCESS, FUSE_GETLK, FUSE_SETLKW,
		FUSE_INTERRUPT, FUSE_BMAP, FUSE_IOCTL, FUSE_POLL, FUSE_SETUPMAPPING, 53, CUSE_INIT,
		UINT32_MAX};

	for (size_t i = 0; i < ARRAY_LEN(op); i++) {
		req_start(&q, op[i], 1);
		q.n += 64;
		assert_int_equal(req_run(&q), -ENOSYS);
	}
}

static int b_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	*ret = (struct timespec){1234, 5678};
	return 0;
}

/* The layout is the kernel's (protocol 7.39): the offsets are written out here. */
static void statx_has_a_birth_time(void **state)
{
	const struct {
		uint32_t getattr_flags, reserved;
		uint64_t fh;
		uint32_t flags, mask;
	} in = {.mask = 0xfff};
	uint32_t mask, mode;
	int64_t birth;

	for (int with = 0; with < 2; with++) {
		back.ops.btime = with ? b_btime : NULL;
		req_start(&q, FUSE_STATX_OP, 1);
		req_add(&q, &in, sizeof(in));
		assert_int_equal(req_run(&q), 0);
		assert_int_equal(q.out_bytes, 288);
		memcpy(&mask, q.out + 16 + 32, 4);
		memcpy(&mode, q.out + 16 + 32 + 28, 4);
		memcpy(&birth, q.out + 16 + 32 + 80, 8);
		assert_int_equal(mask, with ? 0xfff : 0x7ff);
		assert_int_equal(mode & 0xffff, S_IFREG | 06755);
		assert_int_equal(birth, with ? 1234 : 0);
	}
}

static const struct fsb_cache *b_cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache long_ones = {5000, 6000, 7500, FOPEN_DIRECT_IO, false};

	return node == 101 ? &long_ones : NULL;
}

/* What a backend says of a node goes before the profile, for a guest; a view believes nothing. */
static void cache_times_are_the_backends(void **state)
{
	const struct fuse_entry_out *o = REQ_REPLY(&q, struct fuse_entry_out);

	back.ops.cache = b_cache;
	assert_true(req_lookup(&q, 1, "a") == 101);
	assert_int_equal(o->entry_valid, 5);
	assert_int_equal(o->attr_valid, 6);
	assert_true(req_lookup(&q, 1, "bb") == 102);
	assert_int_equal(o->entry_valid, 1);
	assert_int_equal(
		o->attr_valid, 0); /* a write takes its set-id bits, and the kernel is not told */
	assert_int_equal(req_getattr(&q, 102), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr_valid, 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 101, "none"), 0);
	assert_int_equal(o->entry_valid, 7);
	assert_int_equal(o->entry_valid_nsec, 500000000);
	(void)fsd_session_free(q.s);
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	assert_int_equal(req_init(&q), 0);
	assert_true(req_lookup(&q, 1, "a") == 101);
	assert_int_equal(o->entry_valid, 0);
	assert_int_equal(o->attr_valid, 0);
}

static const struct fsb_cache *b_alone(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache alone = {5000, 5000, 5000, FOPEN_KEEP_CACHE, true};

	return &alone;
}

/* Of files that only sessions of this process change: who is not alone believes less. */
static void who_is_alone_believes_more(void **state)
{
	const struct fuse_entry_out *o = REQ_REPLY(&q, struct fuse_entry_out);
	struct fsd_session *guest = q.s, *view = fsd_session_new(&fs, &fuse_profile_view, false),
			   *other = fsd_session_new(&fs, &fuse_profile_view, false);
	struct timespec before, after;

	back.ops.cache = b_alone;
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 5);
	fuse_view_came(view);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1); /* as the guests' profile has it */
	q.s = view;
	assert_int_equal(req_init(&q), 0);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 0); /* there is a guest */
	fsd_session_reset(guest);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1);
	/* Another view comes once this one has forgotten; with two there is none alone. */
	clock_gettime(CLOCK_MONOTONIC, &before);
	fuse_view_came(other);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec > before.tv_sec || after.tv_nsec - before.tv_nsec > 900000000);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 0);
	fuse_view_went(other);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1);
	/* So does a guest. */
	clock_gettime(CLOCK_MONOTONIC, &before);
	q.s = guest;
	assert_int_equal(req_init(&q), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec > before.tv_sec || after.tv_nsec - before.tv_nsec > 900000000);
	q.s = view;
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 0);
	fuse_view_went(view);
	(void)fsd_session_free(view);
	(void)fsd_session_free(other);
	q.s = guest;
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 5);
}

static _Atomic uint64_t told, told_of, told_bytes; /* how often a view, and of what at last */

static void b_changed(void *arg, uint64_t node, uint64_t bytes)
{
	told++;
	told_of = node;
	told_bytes = bytes;
}

/* FOPEN_* of an open of @node. */
static uint32_t opened(struct fsd_session *s, uint64_t node)
{
	q.s = s;
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), 0);
	return REQ_REPLY(&q, struct fuse_open_out)->open_flags;
}

static void closed(struct fsd_session *s, uint64_t node)
{
	q.s = s;
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, 0), 0);
}

static void written(struct fsd_session *s, uint64_t node)
{
	q.s = s;
	assert_int_equal(req_write(&q, node, 0, 0, "x", 1, 0), 0);
}

/* A view keeps contents from one open to the next while nobody else could change them; where
 * somebody did while a file was open, its kernel is told. */
static void what_a_view_keeps_of_contents(void **state)
{
	struct fsd_session *guest = q.s, *view = fsd_session_new(&fs, &fuse_profile_view, false);
	size_t at = 0;

	back.ops.cache = b_alone;
	back.ops.caps |= FSB_CAP_NO_OPEN;
	back.atime = (uint64_t)time(NULL);
	fuse_view_watch(view, b_changed, NULL);
	fsd_session_reset(guest);
	fuse_view_came(view);
	q.s = view;
	assert_int_equal(req_init(&q), 0);
	assert_true(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_EXPLICIT_INVAL_DATA);
	assert_false(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_AUTO_INVAL_DATA);
	assert_true(req_lookup(&q, 1, "a") == 101);
	assert_int_equal(opened(view, 101), 0); /* what was there before is nothing */
	closed(view, 101);
	assert_int_equal(opened(view, 101), FOPEN_KEEP_CACHE);
	written(view, 101);
	assert_int_equal(told, 0); /* its own */
	assert_int_equal(req_create(&q, 1, "ccc", O_RDWR, 0644), 0);

	/* A read that moves the access time is to be seen. */
	back.atime = 0;
	assert_int_equal(req_open(&q, FUSE_OPEN, 101, O_WRONLY), 0);
	closed(view, 101);
	assert_int_equal(told, 0);
	assert_int_equal(opened(view, 101), FOPEN_KEEP_CACHE);
	closed(view, 101);
	assert_int_equal(told, 1);
	assert_int_equal(told_of, 101);
	assert_int_equal(told_bytes, 1);
	back.atime = (uint64_t)time(NULL);
	told = 0;

	/* A guest comes: the open file is told of, a new open goes by the server. */
	q.s = guest;
	assert_int_equal(req_init(&q), 0);
	assert_true(req_lookup(&q, 1, "a") == 101);
	assert_true(req_lookup(&q, 1, "bb") == 102);
	written(guest, 102);
	assert_int_equal(told, 0);
	written(guest, 101);
	assert_int_equal(told, 1);
	assert_int_equal(told_of, 101);
	assert_int_equal(told_bytes, 0);
	{
		const struct fuse_setattr_in cut = {.valid = FATTR_SIZE},
					     mode = {.valid = FATTR_MODE};

		assert_int_equal(req_setattr(&q, 101, &mode), 0);
		assert_int_equal(told, 1);
		assert_int_equal(req_setattr(&q, 101, &cut), 0);
		assert_int_equal(told, 2);
	}
	assert_int_equal(opened(view, 101), FOPEN_DIRECT_IO);
	assert_true(fuse_view_next_open(view, &at) != 0);
	closed(view, 101);
	written(guest, 101);
	assert_int_equal(told, 3); /* the first open is still there */
	closed(view, 101);
	written(guest, 101);
	assert_int_equal(told, 3);

	/* It has gone: what was cached before it came, or may have been while it was there, goes.
	 */
	fsd_session_reset(guest);
	assert_int_equal(opened(view, 101), 0);
	assert_int_equal(opened(view, 101), FOPEN_KEEP_CACHE);
	fuse_views_forget(); /* patches */
	assert_int_equal(told, 4);
	assert_int_equal(told_of, 0);
	assert_int_equal(opened(view, 101), 0);
	fuse_view_went(view);
	(void)fsd_session_free(view);
	assert_int_equal(fuse_view_opens, 0);

	/* A backend that others change too, or a kernel that could not map such a file. */
	view = fsd_session_new(&fs, &fuse_profile_view, false);
	fuse_view_watch(view, b_changed, NULL);
	back.ops.cache = NULL;
	q.s = view;
	assert_int_equal(req_init(&q), 0);
	assert_true(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_AUTO_INVAL_DATA);
	back.ops.cache = b_alone;
	req_start(&q, FUSE_INIT, 0);
	req_add(&q, &(struct fuse_init_in){.major = 7, .minor = 38, .flags = ~0u, .flags2 = 0}, 16);
	assert_int_equal(req_run(&q), 0);
	assert_true(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_AUTO_INVAL_DATA);
	assert_int_equal(opened(view, 1), FOPEN_KEEP_CACHE); /* it is alone */
	(void)fsd_session_free(view);
	q.s = guest;
}

static void end_gives_all_back(void **state)
{
	struct fuse_counts n = {0};

	for (int i = 1; i < 200; i++) {
		char name[256] = {0};

		memset(name, 'n', (size_t)i);
		assert_int_equal(req_create(&q, 1, name, O_RDWR, 0644), 0);
		assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
	}
	fsd_session_counts(q.s, &n);
	assert_int_equal(n.nodes, 199);
	assert_int_equal(n.handles, 398);
	req_start(&q, FUSE_DESTROY, 0);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(back.lookups, 0);
	assert_int_equal(back.handles, 0);
	assert_int_equal(req_getattr(&q, 1), -EIO);
	/* A guest that reboots does not say goodbye. */
	assert_int_equal(req_init(&q), 0);
	(void)req_lookup(&q, 1, "a");
	assert_int_equal(req_init(&q), 0);
	assert_int_equal(back.lookups, 0);
	(void)req_lookup(&q, 1, "a"); /* left for teardown */
}

static void *hold_getattr(void *arg)
{
	struct fusereq *r = arg;

	assert_int_equal(req_getattr(r, 104), 0);
	return NULL;
}

static void forget_waits_for_requests(void **state)
{
	struct fusereq *other = malloc(sizeof(*other));
	pthread_t t;

	*other = (struct fusereq){.s = q.s, .w = calloc(1, sizeof(*other->w))};
	(void)req_lookup(&q, 1, "wait");
	pthread_create(&t, NULL, hold_getattr, other);
	while (!back.waiting)
		usleep(100);
	req_forget(&q, 104, 1);
	assert_int_equal(back.lookups, 1);
	assert_int_equal(req_getattr(&q, 104), -ESTALE);
	(void)req_lookup(&q, 1, "wait"); /* known again, and forgotten again */
	req_forget(&q, 104, 1);
	assert_int_equal(back.forgotten_inside, 0);
	back.gate = true;
	pthread_join(t, NULL);
	assert_int_equal(back.lookups, 0);
	free(other->w);
	free(other);
}

/* A backend that holds on to what is in use is not to be held back, nor asked for what the session
 * knows. */
static void backend_that_pins(void **state)
{
	struct fusereq *other = malloc(sizeof(*other));
	pthread_t t;

	back.ops.caps |= FSB_CAP_PINS;
	*other = (struct fusereq){.s = q.s, .w = calloc(1, sizeof(*other->w))};
	assert_int_equal(req_getattr(&q, 777), 0);
	(void)req_lookup(&q, 1, "wait");
	pthread_create(&t, NULL, hold_getattr, other);
	while (!back.waiting)
		usleep(100);
	req_forget(&q, 104, 1);
	assert_int_equal(back.forgotten_inside, 1);
	assert_int_equal(back.lookups, 0);
	back.gate = true;
	pthread_join(t, NULL);
	assert_int_equal(req_open(&q, FUSE_OPEN, 777, 0), -ESTALE); /* a handle needs its node */
	free(other->w);
	free(other);
}

/* Of a request as the last req_run() sent it. */
static bool may_wait(size_t bytes)
{
	const struct iovec in = {q.in, q.n};

	return fuse_may_wait(q.s, &in, bytes);
}

static void what_may_wait(void **state)
{
	const struct iovec none = {q.in, 5};

	req_start(&q, FUSE_GETATTR, 1);
	assert_false(may_wait(4096));
	assert_true(may_wait(70000));
	req_start(&q, FUSE_FSYNC, 1);
	assert_true(may_wait(80));
	assert_false(fuse_may_wait(q.s, &none, 80)); /* no request at all */
	req_start(&q, UINT32_MAX, 1);
	assert_false(may_wait(80));
	back.ops.caps |= FSB_CAP_WAITS;
	assert_true(may_wait(80));
}

static void references_table(void **state)
{
	struct fuse_refs r;
	const struct fuse_ref more = {.key = 3, .count = 1},
			      again = {.key = 5 * 0x100000001ULL, .count = 1},
			      stale = {.key = 2 * 0x100000001ULL, .count = 1};
	struct fuse_ref was = {0};
	uint64_t left = 0;

	fuse_refs_init(&r, 1000);
	for (uint64_t k = 1; k <= 1000; k++)
		assert_int_equal(fuse_refs_add(&r, &(struct fuse_ref){.key = k * 0x100000001ULL,
							   .count = k,
							   .node = k + 5}),
			0);
	assert_int_equal(fuse_refs_add(&r, &more), -ENFILE);
	assert_int_equal(fuse_refs_add(&r, &again), 0); /* there already */
	for (uint64_t k = 1; k <= 1000; k += 2)
		assert_int_equal(
			fuse_refs_drop(&r, k * 0x100000001ULL, 2000, &was), k == 5 ? 6 : k);
	assert_int_equal(was.node, 999 + 5);
	for (uint64_t k = 1; k <= 1000; k++) {
		struct fuse_ref *s = fuse_refs_find(&r, k * 0x100000001ULL);

		assert_true(k % 2 ? !s : s->count == k);
		left += s != NULL;
	}
	assert_int_equal(left, r.used);
	fuse_refs_find(&r, 2 * 0x100000001ULL)->pins = 2;
	assert_int_equal(fuse_refs_drop(&r, 2 * 0x100000001ULL, 1, NULL), 1);
	assert_int_equal(fuse_refs_drop(&r, 2 * 0x100000001ULL, 1, NULL), 0);
	assert_null(fuse_refs_find(&r, 2 * 0x100000001ULL));
	assert_int_equal(fuse_refs_unpin(&r, 2 * 0x100000001ULL, &was), 0);
	assert_int_equal(fuse_refs_unpin(&r, 2 * 0x100000001ULL, &was), 1);
	assert_int_equal(was.node, 7);
	assert_int_equal(fuse_refs_add(&r, &stale), 0);
	fuse_refs_find(&r, stale.key)->flags = FUSE_REF_STALE;
	assert_int_equal(fuse_refs_add(&r, &stale), -ESTALE);
	assert_int_equal(fuse_refs_drop(&r, 0, 1, NULL), 0);
	fuse_refs_done(&r);
}

/* What took how long, in which class: each bucket holds what is at most its power of two. */
static void counting(void **state)
{
	static struct fuse_stats st;
	struct fsd_stats t = {0};
	uint64_t all = 0;

	fuse_stats_clock_begin();
	fuse_stats_clock();
	fuse_stats_count(&st, FUSE_READ, 512, 80, fuse_stats_now());
	fuse_stats_count(&st, FUSE_READ, -EIO, 80, fuse_stats_now());
	fuse_stats_count(&st, FUSE_WRITE, 8,
		sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) + 77,
		fuse_stats_now());
	fuse_stats_count(&st, 4000000000u, -ENOSYS, 40, fuse_stats_now());
	fuse_stats_count(&st, FUSE_FSYNC, 0, 80, 0); /* since the counter's beginning */
	fuse_stats_add(&st, &t);
	assert_int_equal(t.read_bytes, 512);
	assert_int_equal(t.written_bytes, 77);
	assert_int_equal(t.errors, 2);
	for (int i = 0; i < FSD_OPS; i++)
		for (int k = 0; k < FSD_BUCKETS; k++)
			all += t.hist[i][k];
	assert_int_equal(all, 5);
	assert_int_equal(t.hist[FSD_OP_SYNC][FSD_BUCKETS - 1], 1);
	assert_true(t.usec[FSD_OP_SYNC] > 1000000);
	fuse_stats_add(&st, &t);
	assert_int_equal(t.read_bytes, 1024);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(init_negotiates), T(nothing_before_init),
		T(lookups_are_counted), T(batch_forget), T(endless_forget_is_refused),
		T(names_are_checked), T(handles_of_files), T(fallocate_takes_set_id_bits),
		T(lengths_are_checked), T(entry_without_room_is_given_back), T(scattered_pieces),
		T(handles_are_the_sessions), T(write_sizes), T(readonly_holds), T(stateless_open),
		T(truncating_open_takes_setid_bits), T(directories), T(symlink_targets),
		T(unknown_is_enosys), T(statx_has_a_birth_time), T(cache_times_are_the_backends),
		T(who_is_alone_believes_more), T(what_a_view_keeps_of_contents),
		T(end_gives_all_back), T(forget_waits_for_requests), T(backend_that_pins),
		T(what_may_wait), cmocka_unit_test(references_table), cmocka_unit_test(counting)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
