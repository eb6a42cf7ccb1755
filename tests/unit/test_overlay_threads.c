// SPDX-License-Identifier: Apache-2.0
// The overlay under threads: nothing is torn, counted twice or freed early (run it as
// VARIANT=tsan).
#include "tests/unit/overlay_fixture.h"

#define THREADS 4
#define ROUNDS	400

struct worker {
	struct fx *fx;
	int id;
	pthread_t thread;
};

static void start(struct fx *fx, struct worker *w, void *(*fn)(void *))
{
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.fx = fx, .id = i};
		assert_int_equal(pthread_create(&w[i].thread, NULL, fn, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		assert_int_equal(pthread_join(w[i].thread, &failed), 0);
		if (failed)
			fail_msg("thread %d: %s", i, (const char *)failed);
	}
}

/* All write their own stripe of one file of the image: it is copied up once, nothing is lost. */
static void *stripes(void *arg)
{
	struct worker *w = arg;
	char buf[100];

	memset(buf, 'A' + w->id, sizeof(buf));
	for (int i = 0; i < 100; i++) {
		uint64_t off = (uint64_t)(i * THREADS + w->id) * sizeof(buf);

		if (fx_write(w->fx->b, "a/big", buf, sizeof(buf), off, 0) != sizeof(buf))
			return (void *)"write";
	}
	return NULL;
}

static void one_copy_up(void **state)
{
	struct worker w[THREADS];
	char buf[FX_BIG] = {0};
	struct fx fx;

	fx_init(&fx, true);
	start(&fx, w, stripes);
	assert_int_equal(fx_read(fx.b, "a/big", buf, sizeof(buf), 0), FX_BIG);
	for (size_t i = 0; i < FX_BIG; i++)
		assert_int_equal(
			buf[i], i < THREADS * 10000 ? 'A' + (char)(i / 100 % THREADS) : fx_byte(i));
	fx_done(&fx);
}

/* Everybody does everything in one directory; what is allowed to fail may. */
static void *churn(void *arg)
{
	struct worker *w = arg;
	struct fsb *b = w->fx->b;
	unsigned int seed = (unsigned int)w->id;
	char name[32], to[32], buf[5000] = {0};
	struct fsb_setattr cut = {.valid = FATTR_SIZE};

	for (int i = 0; i < ROUNDS; i++) {
		(void)snprintf(name, sizeof(name), "many/%03d", rand_r(&seed) % 8);
		(void)snprintf(to, sizeof(to), "many/%03d", rand_r(&seed) % 8);
		cut.size = (uint64_t)(rand_r(&seed) % 5000);
		switch (rand_r(&seed) % 9) {
		case 0: fx_mk(b, name, S_IFREG | 0600, NULL); break;
		case 1: fx_rm(b, name, false); break;
		case 2: fx_rename(b, name, to, rand_r(&seed) % 2 ? RENAME_EXCHANGE : 0); break;
		case 3: fx_link(b, name, to); break;
		case 4: fx_write(b, name, buf, cut.size + 1, 0, 0); break;
		case 5: fx_read(b, name, buf, sizeof(buf), 0); break;
		case 6: fx_setattr(b, name, &cut); break;
		case 7: b->ops->syncfs(b, FSB_ROOT); break;
		default: {
			struct fsb_entry e;

			if (fx_walk(b, name, &e) == 0) {
				b->ops->setxattr(b, &fx_req, e.node, "user.t", buf, 10, 0);
				b->ops->fsync(b, e.node, 0, false);
				fx_forget(b, e.node);
			}
		}
		}
	}
	return NULL;
}

static int count(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t off,
	const struct fsb_entry *e)
{
	++*(int *)arg;
	return 0;
}

static void churning(void **state)
{
	struct worker w[THREADS];
	struct fsb_entry d;
	int before = 0, after = 0;
	struct fx fx;

	fx_init(&fx, true);
	ovl_of(fx.b)->max_fds = 3; /* so that descriptors come and go too */
	start(&fx, w, churn);
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, 0, false, count, &before), 0);
	assert_true(ovl_of(fx.b)->fds <= 3);
	fx_forget(fx.b, d.node);
	fx_restart(&fx);
	assert_int_equal(fx_walk(fx.b, "many", &d), 0);
	assert_int_equal(fx.b->ops->readdir(fx.b, &fx_req, d.node, 0, 0, false, count, &after), 0);
	assert_int_equal(after, before);
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

/* Lookups and forgets of the image's inodes race; in the end none is left. */
static void *look(void *arg)
{
	struct worker *w = arg;
	char name[32];
	struct fsb_entry e;

	for (int i = 0; i < ROUNDS * 5; i++) {
		(void)snprintf(name, sizeof(name), "many/%03d", i % 10);
		if (fx_walk(w->fx->b, name, &e) < 0)
			return (void *)"lookup";
		fx_forget(w->fx->b, e.node);
	}
	return NULL;
}

static void references(void **state)
{
	struct worker w[THREADS];
	struct fx fx;

	fx_init(&fx, true);
	/* The directories stay: a kernel holds those above what it holds. */
	for (int i = 0; i < 2; i++) {
		struct fsb_entry e;

		assert_int_equal(fx_walk(fx.b, "many", &e), 0);
	}
	start(&fx, w, look);
	assert_int_equal(ovl_of(fx.b)->nodes, 2);
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_copy_up),
		cmocka_unit_test(churning),
		cmocka_unit_test(references),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
