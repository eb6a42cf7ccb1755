// SPDX-License-Identifier: Apache-2.0
// The FUSE core: what a session hands out is all that can be named, and it all comes back.
#include "tests/unit/fuse_fixture.h"
#include "fs/fuse_stats.h"

#include <pthread.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(init_negotiates),
		T(nothing_before_init),
		T(lookups_are_counted),
		T(batch_forget),
		T(end_gives_all_back),
		T(forget_waits_for_requests),
		T(backend_that_pins),
		cmocka_unit_test(references_table),
		cmocka_unit_test(counting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
