// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: plugins that crash, hang and come again, and many requests at once.
#include "tests/unit/plugin_fixture.h"
#include "fs/fuse_state.h"

#include <semaphore.h>
#include <sys/mman.h>

static void crash_and_restart(void **state)
{
	uint64_t dir, a, gone, fh;
	int i, r;

	i = fake_add(&f, 1, "d", S_IFDIR | 0755);
	i = fake_add(&f, f.id_base + (uint64_t)i, "a", S_IFREG | 0644);
	f.id_base = 1000;
	f.file[i].parent = 1000;
	memcpy(f.file[i].data, "text", 4);
	f.file[i].size = 4;
	(void)fake_add(&f, 1, "gone", S_IFREG | 0644);
	start_over(NULL);
	dir = req_lookup(&q, 1, "d");
	a = req_lookup(&q, dir, "a");
	gone = req_lookup(&q, 1, "gone");
	fh = open_of(a, O_RDONLY);
	assert_int_equal(read_at(a, fh, 0, 100), 4);

	fake_kill(&f);
	assert_int_equal(read_at(a, fh, 0, 100), -EIO);
	assert_int_equal(req_getattr(&q, dir), -EIO);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "d"), -EIO);
	assert_true(status().broken);
	assert_string_equal(status().why, "it has ended");

	/* The new one has other ids, and one file less. */
	f.id_base = 5000;
	f.file[i].parent = 5000;
	fake_find(&f, 1, "gone")->name[0] = '\0';
	assert_int_equal(fsb_plugin_attach(fs.b, fake_start(&f)), 0);
	assert_int_equal(read_at(a, fh, 0, 100), 4);
	assert_memory_equal(back, "text", 4);
	assert_int_equal(req_getattr(&q, dir), 0);
	r = req_getattr(&q, gone);
	assert_int_equal(r, -ESTALE);
	assert_int_equal(req_lookup(&q, dir, "a"), a); /* still the same file to the kernel */
	assert_int_equal(req_release(&q, FUSE_RELEASE, a, fh), 0);
	assert_true(status().ready);
	assert_int_equal(status().starts, 2);
}

/* The server is another, and the kernel is the same one: which holds ids of the first. */
static void server_started_anew(void **state)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	uint64_t a, b, again;

	assert_true(fd >= 0);
	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	(void)fake_add(&f, 1, "b", S_IFREG | 0644);
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	b = req_lookup(&q, 1, "b");
	assert_int_equal(fsd_session_save(q.s, fd), 0);
	session_end();
	fake_kill(&f);

	start_over(NULL);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	again = req_lookup(&q, 1, "b");
	assert_true(again != a && again != b);
	assert_int_equal(req_getattr(&q, again), 0);
	assert_int_equal(req_getattr(&q, a), -ESTALE);
	assert_int_equal(req_getattr(&q, b), -ESTALE);
	req_forget(&q, b, 1);
	assert_int_equal(req_getattr(&q, again), 0);
	assert_int_equal(req_lookup(&q, 1, "b"), again);

	/* An id that no server has given anybody takes none from those to come. */
	assert_int_equal(fs.b->ops->load(fs.b, UINT64_MAX, 1, NULL, 0), -ESTALE);
	again = req_lookup(&q, 1, "a");
	assert_true(again > b && again < UINT64_MAX);
	close(fd);
}

static bool hang(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	return h->opcode == FUSE_GETATTR;
}

static void hang_ends_the_mount(void **state)
{
	uint64_t a;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = hang;
	options.plugin_timeout_ms = 2000;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	assert_int_equal(req_getattr(&q, a), -EIO);
	assert_true(status().broken);
	assert_string_equal(status().why, "no answer within 2000 ms");
	/* Nothing is asked any more, so nothing is waited for. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(req_getattr(&q, a), -EIO);
	assert_int_equal(f.asked[FUSE_GETATTR], 1);
	fake_kill(&f);
	f.first = NULL;
	assert_int_equal(fsb_plugin_attach(fs.b, fake_start(&f)), 0);
	assert_int_equal(req_getattr(&q, a), 0);
}

static bool mute(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	return true;
}

static void no_greeting(void **state)
{
	f.first = mute;
	options.plugin_timeout_ms = 200;
	start_over(NULL);
	assert_int_equal(req_getattr(&q, 1), -EIO);
	assert_false(status().ready || status().broken); /* it may still come */
	(void)pthread_mutex_lock(&plug_of(fs.b)->conn.lock);
	plug_of(fs.b)->conn.ready_by = 0; /* PLUGIN_START_MS later */
	(void)pthread_mutex_unlock(&plug_of(fs.b)->conn.lock);
	assert_int_equal(req_getattr(&q, 1), -EIO);
	assert_string_equal(status().why, "it did not answer the greeting in time");
}

/* A plugin that takes nothing any more while a large WRITE is under way. */
static sem_t go;

static bool stall_after_open(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode != FUSE_OPEN)
		return false;
	fake_serve(x, h);
	(void)sem_wait(&go);
	return true;
}

static void not_reading(void **state)
{
	uint64_t a, fh;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = stall_after_open;
	options.plugin_timeout_ms = 2000;
	(void)sem_init(&go, 0, 0);
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDWR);
	assert_int_equal(write_at(a, fh, 0, data, sizeof(data)), -EIO);
	assert_string_equal(status().why, "it does not take requests in time");
	(void)sem_post(&go);
}

/* ---- many at once */

#define MANY 8

static struct {
	uint64_t unique;
	struct fuse_read_in in;
	struct msb_plugin_slot slot; /* where there is one */
} held[MANY];
static int nheld;

/* Answers READs only once there are as many as there are readers, the last first. */
static bool backwards(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode != FUSE_READ)
		return false;
	held[nheld].unique = h->unique;
	memcpy(&held[nheld++].in, arg, h->len - sizeof(*h));
	if (nheld == MANY) {
		for (int i = MANY - 1; i >= 0; i--)
			(void)msb_plugin_reply_read(&x->p, held[i].unique, &held[i].in,
				data + held[i].in.offset, held[i].in.size);
		nheld = 0;
	}
	return true;
}

struct reader {
	uint64_t node, fh, off;
	pthread_t thread;
	bool right;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint8_t *buf = malloc(50000);
	const struct iovec v = {buf, 50000};

	r->right = true;
	for (int i = 0; i < 20 && r->right; i++)
		r->right = fs.b->ops->readv(fs.b, r->node, r->fh, &v, 1, r->off) == 50000 &&
			   !memcmp(buf, data + r->off, 50000);
	free(buf);
	return NULL;
}

static void many_at_once(bool shm)
{
	struct reader r[MANY];
	uint64_t a, fh;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = backwards;
	f.shm_slots = shm ? 3 : 0; /* fewer than readers */
	nheld = 0;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDONLY);
	for (uint64_t i = 0; i < MANY; i++) {
		r[i] = (struct reader){.node = a, .fh = fh, .off = i * 60001};
		assert_int_equal(pthread_create(&r[i].thread, NULL, reader_main, &r[i]), 0);
	}
	for (int i = 0; i < MANY; i++) {
		(void)pthread_join(r[i].thread, NULL);
		assert_true(r[i].right);
	}
}

static void answers_backwards(void **state)
{
	many_at_once(false);
}

static void answers_backwards_in_shm(void **state)
{
	many_at_once(true);
}

/* More than PLUGIN_MAX_INFLIGHT: the others wait their turn, then all are told at once. */
static _Atomic int waiting, failed;

static void *getattr_main(void *arg)
{
	struct fuse_attr a;

	waiting++;
	if (fs.b->ops->getattr(fs.b, *(uint64_t *)arg, 0, &a) == -EIO)
		failed++;
	return NULL;
}

static void more_than_fit(void **state)
{
	pthread_t t[PLUGIN_MAX_INFLIGHT + 8];
	uint64_t a;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = hang;
	waiting = failed = 0;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, getattr_main, &a), 0);
	while (f.asked[FUSE_GETATTR] < PLUGIN_MAX_INFLIGHT || waiting < (int)ARRAY_LEN(t))
		(void)usleep(1000);
	assert_int_equal(f.asked[FUSE_GETATTR], PLUGIN_MAX_INFLIGHT);
	(void)shutdown(f.p.fd, SHUT_RDWR);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(failed, ARRAY_LEN(t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(crash_and_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(server_started_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(hang_ends_the_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(no_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(not_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_backwards, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_backwards_in_shm, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_fit, setup, teardown),
	};

	return cmocka_run_group_tests_name("plugin_ends", tests, NULL, NULL);
}
