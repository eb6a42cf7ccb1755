// SPDX-License-Identifier: Apache-2.0
// The FUSE core's own rules for single ops: handles, read-only sessions, set-id bits, directories.
#include "tests/unit/fuse_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(handles_of_files),
		T(fallocate_takes_set_id_bits),
		T(handles_are_the_sessions),
		T(readonly_holds),
		T(stateless_open),
		T(truncating_open_takes_setid_bits),
		T(directories),
		T(statx_has_a_birth_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
