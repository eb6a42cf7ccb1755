// SPDX-License-Identifier: Apache-2.0
// The FUSE core takes apart what a kernel sends: bad requests are refused before a backend sees
// them.
#include "tests/unit/fuse_fixture.h"

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
		FUSE_INTERRUPT, FUSE_BMAP, FUSE_POLL, FUSE_SETUPMAPPING, 53, CUSE_INIT, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_LEN(op); i++) {
		req_start(&q, op[i], 1);
		q.n += 64;
		assert_int_equal(req_run(&q), -ENOSYS);
	}
	req_start(&q, FUSE_IOCTL, 1);
	q.n += 64;
	assert_int_equal(req_run(&q), -ENOTTY);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(endless_forget_is_refused),
		T(names_are_checked),
		T(lengths_are_checked),
		T(entry_without_room_is_given_back),
		T(scattered_pieces),
		T(write_sizes),
		T(symlink_targets),
		T(unknown_is_enosys),
		T(what_may_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
