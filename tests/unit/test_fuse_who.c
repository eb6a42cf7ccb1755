// SPDX-License-Identifier: Apache-2.0
// Who asks: mounts that may be idmapped, where the kernel says it of what makes files alone.
#include "tests/unit/fuse_fixture.h"

#include "fs/fuse_state.h"
#include "fs/mux.h"
#include "fs/options.h"

#include <linux/fs.h>
#include <sys/mman.h>

#define ALLOW_IDMAP 0x100u /* in flags2 */

/* What the last INIT was answered. */
static bool allowed(void)
{
	uint32_t flags2;

	memcpy(&flags2, q.out + 16 + 32, sizeof(flags2));
	return flags2 & ALLOW_IDMAP;
}

static bool idmapped(const struct fuse_profile *profile)
{
	q.s = fsd_session_free(q.s);
	start(profile, false);
	return allowed();
}

/* Where the kernel checks no permissions, the flag would end the mount; where somebody is told who
 * asked, the kernel would not say it any more. */
static void where_it_is_allowed(void **state)
{
	assert_true(idmapped(&fuse_profile_guest));
	assert_true(idmapped(&fuse_profile_view));
	assert_false(idmapped(&fuse_profile_view_owner));
	back.ops.caps |= FSB_CAP_SEE_WHO;
	assert_false(idmapped(&fuse_profile_guest));
	assert_false(idmapped(&fuse_profile_view));
}

/* A kernel that does not know it is not told of it. */
static void an_older_kernel(void **state)
{
	const struct fuse_init_in in = {.major = 7, .minor = 39, .flags = ~0u, .flags2 = 0xff};

	req_start(&q, FUSE_INIT, 0);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	assert_false(allowed());
}

static uint32_t caps_of(const char *options)
{
	static struct fsb_options o;
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	uint32_t caps;
	struct fsb *b;

	assert_int_equal(fsb_options_parse("memory", options, strlen(options), &o, &e), 0);
	from.options = &o;
	from.denials = (struct denials *)&from; /* nothing is refused */
	from.sink = (struct audit_sink *)&from; /* nothing is done */
	assert_int_equal(fsb_stack_start("memory", &from, &b, &e), 0);
	caps = b->ops->caps;
	b->ops->stop(b);
	return caps;
}

static void who_wants_to_know(void **state)
{
	struct fsb *mux;

	assert_int_equal(caps_of("size=1M") & FSB_CAP_SEE_WHO, 0);
	assert_int_equal(caps_of("size=1M,quota_bytes=1M,ro") & FSB_CAP_SEE_WHO, 0);
	assert_int_equal(caps_of("size=1M,audit") & FSB_CAP_SEE_WHO, FSB_CAP_SEE_WHO);
	assert_int_equal(caps_of("size=1M,deny=/x") & FSB_CAP_SEE_WHO, FSB_CAP_SEE_WHO);
	/* Of shares, one that wants to may come later. */
	assert_int_equal(mux_new(&mux), 0);
	assert_int_equal(mux->ops->caps & FSB_CAP_SEE_WHO, FSB_CAP_SEE_WHO);
	mux->ops->stop(mux);
}

/* ---- requests of nobody known */

static unsigned int calls;

static int b_make(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	calls++;
	return entry(b, 7, ret);
}

static int b_mknod(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	return b_make(b, r, parent, name, mode, ret);
}

static int b_symlink_counted(struct fsb *b, const struct fsb_req *r, uint64_t parent,
	const char *name, const char *target, struct fsb_entry *ret)
{
	return b_make(b, r, parent, name, 0, ret);
}

static int b_tmpfile(struct fsb *b, const struct fsb_req *r, uint64_t parent, uint32_t mode,
	uint32_t flags, struct fsb_entry *ret, uint64_t *fh)
{
	(void)b_make(b, r, parent, "t", mode, ret);
	return b_open(b, r, ret->node, flags, fh);
}

static int b_rename(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	calls++;
	return 0;
}

static int b_create_counted(struct fsb *b, const struct fsb_req *r, uint64_t parent,
	const char *name, uint32_t mode, uint32_t flags, struct fsb_entry *ret, uint64_t *fh)
{
	calls++;
	return b_create(b, r, parent, name, mode, flags, ret, fh);
}

static int rename_as(uint32_t uid, uint32_t flags)
{
	const struct fuse_rename2_in in = {.newdir = 1, .flags = flags};

	req_start(&q, FUSE_RENAME2, 1);
	req_head(&q)->uid = req_head(&q)->gid = uid;
	req_add(&q, &in, sizeof(in));
	req_str(&q, "n");
	req_str(&q, "t");
	return req_run(&q);
}

/* No file is made for an owner that nobody knows, least of all for root. */
static void nothing_is_made_for_nobody(void **state)
{
	back.ops.mknod = b_mknod;
	back.ops.mkdir = b_make;
	back.ops.symlink = b_symlink_counted;
	back.ops.create = b_create_counted;
	back.ops.tmpfile = b_tmpfile;
	back.ops.rename = b_rename;
	calls = 0;
	for (size_t i = 0; i < ARRAY_LEN(req_makers); i++) {
		assert_int_equal(
			req_make(&q, &req_makers[i], 1, UINT32_MAX, UINT32_MAX), -EOVERFLOW);
		assert_int_equal(req_make(&q, &req_makers[i], 1, 0, UINT32_MAX), -EOVERFLOW);
		assert_int_equal(req_make(&q, &req_makers[i], 1, UINT32_MAX, 0), -EOVERFLOW);
	}
	assert_int_equal(rename_as(UINT32_MAX, RENAME_WHITEOUT), -EOVERFLOW);
	assert_int_equal(calls, 0);
	assert_int_equal(rename_as(UINT32_MAX, 0), 0);
	assert_int_equal(rename_as(1000, RENAME_WHITEOUT), 0);
	assert_int_equal(calls, 2);
	for (size_t i = 0; i < ARRAY_LEN(req_makers); i++)
		assert_int_equal(req_make(&q, &req_makers[i], 1, 1000, 1000), 0);
	assert_int_equal(calls, 2 + ARRAY_LEN(req_makers));
}

/* fchown(2) would take it for "as it is". */
static void nothing_is_given_to_nobody(void **state)
{
	const struct fuse_setattr_in uid = {.valid = FATTR_UID, .uid = UINT32_MAX},
				     gid = {.valid = FATTR_GID, .gid = UINT32_MAX},
				     neither = {
					     .valid = FATTR_MODE, .uid = UINT32_MAX, .mode = 0600};
	const struct fuse_setattr_in *in[] = {&uid, &gid, &neither};

	for (size_t i = 0; i < ARRAY_LEN(in); i++) {
		req_start(&q, FUSE_SETATTR, 1);
		req_add(&q, in[i], sizeof(*in[i]));
		assert_int_equal(req_run(&q), i < 2 ? -EINVAL : 0);
	}
}

static uint32_t asked_by;

static int b_getattr_asked(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	asked_by = fsb_asking->uid;
	return b_getattr(b, node, fh, ret);
}

/* What was agreed on stays in the next server, which wants to know who asks: it is not told. */
static void saved_before_somebody_wanted_to_know(void **state)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(idmapped(&fuse_profile_guest));
	assert_int_equal(fsd_session_save(q.s, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	q.s = fsd_session_free(q.s);
	back.ops.caps |= FSB_CAP_SEE_WHO;
	back.ops.getattr = b_getattr_asked;
	back.ops.mkdir = b_make;
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	req_start(&q, FUSE_GETATTR, 1);
	req_head(&q)->uid = req_head(&q)->gid = UINT32_MAX;
	req_add(&q, &(struct fuse_getattr_in){0}, sizeof(struct fuse_getattr_in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(asked_by, FSB_UNKNOWN_ID);
	assert_int_equal(req_make(&q, &req_makers[1], 1, UINT32_MAX, UINT32_MAX), -EOVERFLOW);
	assert_int_equal(req_make(&q, &req_makers[1], 1, 1000, 1000), 0);
	/* A mount anew is told. */
	assert_int_equal(req_init(&q), 0);
	assert_false(allowed());
	close(fd);
}

static uint32_t mode_of_target, type_of_target;

static int b_getattr_mode(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){.ino = node, .mode = type_of_target | mode_of_target};
	return 0;
}

static int64_t b_copy(struct fsb *b, const struct fsb_req *r, uint64_t node_in, uint64_t fh_in,
	uint64_t off_in, uint64_t node_out, uint64_t fh_out, uint64_t off_out, uint64_t len)
{
	calls++;
	return (int64_t)len;
}

static int copy_as(uint32_t uid, uint32_t mode)
{
	const struct fuse_copy_file_range_in in = {.nodeid_out = 1, .len = 10};

	mode_of_target = mode;
	req_start(&q, FUSE_COPY_FILE_RANGE, 1);
	req_head(&q)->uid = req_head(&q)->gid = uid;
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

/* Whether set-id bits go is the kernel's to say then, with the writes that it falls back to. */
static void copies_onto_set_id_files(void **state)
{
	back.ops.caps |= FSB_CAP_NO_OPEN;
	back.ops.copy_file_range = b_copy;
	back.ops.getattr = b_getattr_mode;
	type_of_target = S_IFREG;
	calls = 0;
	assert_int_equal(copy_as(UINT32_MAX, 04755), -EOPNOTSUPP);
	assert_int_equal(copy_as(UINT32_MAX, 02745), -EOPNOTSUPP);
	assert_int_equal(calls, 0);
	assert_int_equal(copy_as(UINT32_MAX, 0755), 0);
	assert_int_equal(copy_as(0, 04755), 0);
	assert_int_equal(copy_as(1000, 04755), 0); /* the backend takes them */
	assert_int_equal(calls, 3);
}

static uint32_t set_mode, set_valid;

static int b_setattr_mode(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	set_valid = s->valid;
	if (s->valid & FATTR_MODE)
		set_mode = mode_of_target = s->mode;
	return b_getattr_mode(b, node, fh, ret);
}

static int b_fallocate(struct fsb *b, const struct fsb_req *r, uint64_t node, uint64_t fh,
	uint32_t mode, uint64_t off, uint64_t len)
{
	return 0;
}

/* A SETATTR of nothing is what the kernel sends before the FALLOCATE of one who may not keep set-id
 * bits; a FALLOCATE alone is of one who may. */
static void nothing_to_set_takes_set_id_bits(void **state)
{
	static const struct {
		uint32_t uid, before, after;
	} row[] = {{UINT32_MAX, 06755, 0755}, {UINT32_MAX, 02745, 02745}, {UINT32_MAX, 02766, 0766},
		{UINT32_MAX, 06644, 02644}, {1000, 06755, 06755}};
	const struct fuse_setattr_in nothing = {0}, times = {.valid = FATTR_ATIME};
	const struct fuse_fallocate_in falloc = {.length = 1};

	back.ops.caps |= FSB_CAP_NO_OPEN;
	back.ops.getattr = b_getattr_mode;
	type_of_target = S_IFREG;
	back.ops.setattr = b_setattr_mode;
	back.ops.fallocate = b_fallocate;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		for (int empty = 0; empty < 2; empty++) {
			mode_of_target = set_mode = row[i].before;
			req_start(&q, FUSE_SETATTR, 1);
			req_head(&q)->uid = req_head(&q)->gid = row[i].uid;
			req_add(&q, empty ? &nothing : &times, sizeof(nothing));
			assert_int_equal(req_run(&q), 0);
			assert_int_equal(set_mode, empty ? row[i].after : row[i].before);
		}
	}
	/* A directory's says whose group its files are. */
	type_of_target = S_IFDIR;
	mode_of_target = set_mode = 02775;
	req_start(&q, FUSE_SETATTR, 1);
	req_head(&q)->uid = req_head(&q)->gid = UINT32_MAX;
	req_add(&q, &nothing, sizeof(nothing));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(set_mode, 02775);
	type_of_target = S_IFREG;
	/* Bits that mean nothing are nothing. */
	set_valid = 1;
	assert_int_equal(req_setattr(&q, 1, &(struct fuse_setattr_in){.valid = ~0x7ffu}), 0);
	assert_int_equal(set_valid, 0);
	mode_of_target = set_mode = 06755;
	req_start(&q, FUSE_FALLOCATE, 1);
	req_head(&q)->uid = req_head(&q)->gid = UINT32_MAX;
	req_add(&q, &falloc, sizeof(falloc));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(set_mode, 06755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(where_it_is_allowed),
		T(an_older_kernel),
		T(who_wants_to_know),
		T(nothing_is_made_for_nobody),
		T(nothing_is_given_to_nobody),
		T(saved_before_somebody_wanted_to_know),
		T(copies_onto_set_id_files),
		T(nothing_to_set_takes_set_id_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
