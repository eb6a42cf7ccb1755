// SPDX-License-Identifier: Apache-2.0
// What a kernel may believe, and for how long: a guest alone, views beside it, and who is told.
#include "tests/unit/fuse_fixture.h"

static const struct fsb_cache *b_cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache long_ones = {.entry_ms = 5000,
		.attr_ms = 6000,
		.negative_ms = 7500,
		.open_flags = FOPEN_DIRECT_IO};

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
	static const struct fsb_cache alone = {.entry_ms = 5000,
		.attr_ms = 5000,
		.negative_ms = 5000,
		.open_flags = FOPEN_KEEP_CACHE,
		.alone = true};

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
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1);
	/* Another view comes once this one has forgotten; with two there is none alone. */
	fuse_view_came(other);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec > before.tv_sec || after.tv_nsec - before.tv_nsec > 900000000);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 0);
	fuse_view_went(other);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1);
	/* So does a guest. */
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

static void *mounts_again(void *arg)
{
	struct fusereq *mine = calloc(1, sizeof(*mine));

	mine->s = arg;
	mine->w = calloc(1, sizeof(*mine->w));
	for (int i = 0; i < 20000; i++) {
		(void)req_init(mine);
		req_start(mine, FUSE_DESTROY, 0);
		(void)req_run(mine);
	}
	free(mine->w);
	free(mine);
	return NULL;
}

/* A guest that mounts and unmounts on all its queues at once is one guest, and then none. */
static void a_guest_counts_once(void **state)
{
	const struct fuse_entry_out *o = REQ_REPLY(&q, struct fuse_entry_out);
	struct fsd_session *guest = q.s, *view = fsd_session_new(&fs, &fuse_profile_view, false);
	pthread_t t[4];

	back.ops.cache = b_alone;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, mounts_again, guest), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	fsd_session_reset(guest);
	fuse_view_came(view);
	q.s = view;
	assert_int_equal(req_init(&q), 0);
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 1);
	q.s = guest;
	assert_int_equal(req_init(&q), 0);
	q.s = view;
	assert_true(req_lookup(&q, 1, "a") != 0);
	assert_int_equal(o->entry_valid, 0);
	fuse_view_went(view);
	(void)fsd_session_free(view);
	q.s = guest;
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

static bool getattr_may_wait(struct fsd_session *s)
{
	req_start(&q, FUSE_GETATTR, 101);
	return fuse_may_wait(s, &(struct iovec){q.in, q.n}, 0);
}

/* A view keeps contents from one open to the next while nobody else could change them; where
 * somebody did while a file was open, its kernel is told. */
static void what_a_view_keeps_of_contents(void **state)
{
	struct fsd_session *guest = q.s, *view = fsd_session_new(&fs, &fuse_profile_view, false);
	unsigned int begun;
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
	/* generic/451: what is read beside such a write would stay, as it was before */
	assert_false(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_ASYNC_DIO);
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
	/* Until it is told, a reply that says sizes may wait; a guest's does not, nor does a read.
	 */
	assert_true(fuse_view_change(guest, 101, &begun));
	assert_false(getattr_may_wait(guest));
	assert_true(getattr_may_wait(view));
	req_start(&q, FUSE_READ, 101);
	assert_false(fuse_may_wait(view, &(struct iovec){q.in, q.n}, 0));
	fuse_view_change_end(begun);
	assert_false(getattr_may_wait(view));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(cache_times_are_the_backends),
		T(who_is_alone_believes_more),
		T(a_guest_counts_once),
		T(what_a_view_keeps_of_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
