// SPDX-License-Identifier: Apache-2.0
// fs/image/build: layers from streams that grow, stall and stop, by several threads; blobs.
#include "fs/image/build.h"
#include "fs/image/sha.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/tmpdir.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static struct img_store *st;

static int setup(void **state)
{
	struct msb_err e = {0};

	return tmpdir_setup(state) < 0 ? -1 : img_store_open(dir_fd, &st, &e);
}

static int teardown(void **state)
{
	img_store_close(st);
	return tmpdir_teardown(state);
}

static size_t entries(const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return d ? n - 2 : 0;
}

static void hex_of(const void *p, size_t n, char out[65])
{
	unsigned char raw[32];

	assert_int_equal(EVP_Digest(p, n, raw, NULL, EVP_sha256(), NULL), 1);
	msb_hex(raw, 32, out);
}

/* ---- a stream that has what it is given, and waits for more */

struct stream {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct msb_str bytes; /* all of it */
	size_t ready, at;     /* of them: what has come, what was read */
	size_t step;	      /* at most so many at a time */
	bool stopped, waiting;
	int fails; /* with this errno once all that is ready was read */
};

static int64_t stream_read(void *arg, void *p, size_t n, struct msb_err *e)
{
	struct stream *s = arg;
	size_t k;

	LOCK_SCOPE(&s->lock);
	while (s->at == s->ready && s->ready < s->bytes.len && !s->stopped && !s->fails) {
		s->waiting = true;
		pthread_cond_broadcast(&s->changed);
		pthread_cond_wait(&s->changed, &s->lock);
	}
	if (s->stopped)
		return msb_err_set(e, ECANCELED, "stopped");
	if (s->at == s->ready && s->fails)
		return msb_err_set(e, s->fails, "the line broke");
	k = s->ready - s->at < n ? s->ready - s->at : n;
	if (s->step && k > s->step)
		k = s->step;
	memcpy(p, s->bytes.buf + s->at, k);
	s->at += k;
	return (int64_t)k;
}

static void stream_stop(void *arg)
{
	struct stream *s = arg;

	LOCK_SCOPE(&s->lock);
	s->stopped = true;
	pthread_cond_broadcast(&s->changed);
}

/* A layer of one file of @n bytes. */
static struct img_layer_job job_of(struct stream *s, const char *name, char fill, size_t n)
{
	struct img_layer_job job = {.from = {.arg = s, .read = stream_read, .stop = stream_stop}};
	_cleanup_free_ char *p = malloc(n);

	assert_non_null(p);
	memset(p, fill, n);
	*s = (struct stream){
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	tar_file(&s->bytes, name, p, n);
	tar_end(&s->bytes);
	s->ready = s->bytes.len;
	job.size = s->bytes.len;
	hex_of(s->bytes.buf, s->bytes.len, job.diff_id);
	memcpy(job.digest, job.diff_id, sizeof(job.digest));
	return job;
}

static struct img_budget budget(void)
{
	return (struct img_budget){.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES};
}

static void *feeder(void *arg)
{
	struct stream *s = arg;

	for (;;) { /* a byte more whenever it waits */
		LOCK_SCOPE(&s->lock);
		while (!s->waiting && s->ready < s->bytes.len)
			pthread_cond_wait(&s->changed, &s->lock);
		if (s->ready == s->bytes.len)
			return NULL;
		s->waiting = false;
		s->ready += s->bytes.len - s->ready < 997 ? s->bytes.len - s->ready : 997;
		pthread_cond_broadcast(&s->changed);
	}
}

static void growing(void **state)
{
	struct stream s;
	struct img_layer_job job = job_of(&s, "f", 'x', 100000);
	struct img_budget b = budget();
	struct msb_err e = {0};
	pthread_t t;

	s.ready = 0;
	assert_int_equal(pthread_create(&t, NULL, feeder, &s), 0);
	assert_int_equal(img_layer_take(st, &job, &b, &e), 0);
	(void)pthread_join(t, NULL);
	assert_true(img_store_has_layer(st, job.diff_id));
	assert_int_equal(b.bytes, s.bytes.len);
	assert_int_equal(entries("layers"), 1);
	msb_str_done(&s.bytes);
}

/* What is not what it should be leaves nothing. */
static void wrong(void **state)
{
	static const struct {
		int what; /* see below */
		int want;
		const char *says;
	} rows[] = {
		{1, -EBADMSG, "bytes, not"},
		{2, -EBADMSG, "more than"},
		{3, -EBADMSG, "its digest is"},
		{4, -EBADMSG, "it unpacks to"},
		{5, -EIO, "the line broke"},
		{6, -ECANCELED, "stopped"},
		{7, -E2BIG, "unpacks to more than"},
		{8, -E2BIG, "too many files"},
		{9, -EINVAL, "not a digest"},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct stream s;
		struct img_layer_job job = job_of(&s, "f", 'x', 3000000);
		struct img_budget b = budget();
		struct msb_err e = {0};
		int r;

		switch (rows[k].what) {
		case 1: job.size++; break;
		case 2: job.size--; break;
		case 3: job.digest[0] = job.digest[0] == '0' ? '1' : '0'; break;
		case 4: job.diff_id[0] = job.diff_id[0] == '0' ? '1' : '0'; break;
		case 5:
			s.ready = 2000000;
			s.fails = EIO;
			break;
		case 6: b.stop = true; break;
		case 7: b.max_bytes = 1000000; break;
		case 8: b.max_inodes = 0; break;
		case 9: job.diff_id[3] = '/'; break;
		}
		r = img_layer_take(st, &job, &b, &e);
		if (r != rows[k].want || !strstr(e.msg, rows[k].says))
			fail_msg("row %zu: %d %s", k, r, e.msg);
		assert_int_equal(entries("layers") + entries("packs"), 0);
		msb_str_done(&s.bytes);
	}
}

/* The first that fails ends those that wait, and is the one that is told of. */
static void one_fails(void **state)
{
	struct stream s[4];
	struct img_layer_job jobs[4];
	struct img_budget b = budget();
	struct msb_err e = {0};

	for (int k = 0; k < 4; k++) {
		jobs[k] = job_of(&s[k], "f", (char)('a' + k), 50000);
		s[k].ready = k == 1 ? s[k].bytes.len : 600; /* the others stall */
	}
	jobs[0].diff_id[0] = 0; /* left out: it is there already */
	jobs[1].digest[0] ^= 1;
	assert_int_equal(img_layers_take(st, jobs, 4, &b, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "layer 2 of 4"));
	assert_false(s[0].stopped);
	assert_true(s[2].stopped && s[3].stopped);
	assert_int_equal(entries("layers") + entries("packs"), 0);
	for (int k = 0; k < 4; k++)
		msb_str_done(&s[k].bytes);
}

struct seen {
	pthread_mutex_t lock;
	uint64_t done;
	unsigned int ends;
};

static void on_progress(void *arg, uint64_t done, const char *state)
{
	struct seen *x = arg;

	LOCK_SCOPE(&x->lock);
	assert_true(done >= x->done);
	x->done = done;
	x->ends += strcmp(state, "done") == 0;
}

/* Many at once; the same contents in all of them is kept once. */
static void many(void **state)
{
	enum { N = 24 };
	static struct stream s[N];
	struct img_layer_job jobs[N];
	struct seen seen[N] = {0};
	struct img_budget b = budget();
	struct msb_err e = {0};
	uint64_t bytes = 0;
	size_t n, spans = 0;

	for (int k = 0; k < N; k++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "f%d", k);
		jobs[k] = job_of(&s[k], name, 'q', 1500000); /* one content, N names */
		jobs[k].progress = on_progress;
		pthread_mutex_init(&seen[k].lock, NULL);
		jobs[k].arg = &seen[k];
		s[k].step = 7777;
	}
	assert_int_equal(img_layers_take(st, jobs, N, &b, &e), 0);
	assert_int_equal(entries("layers"), N);
	for (int k = 0; k < N; k++) {
		struct img_record *rec;

		assert_int_equal(seen[k].done, jobs[k].size);
		assert_int_equal(seen[k].ends, 1);
		bytes += s[k].bytes.len;
		assert_int_equal(img_store_layer(st, jobs[k].diff_id, &rec, &e), 0);
		assert_int_equal(img_record_spans(rec, &n)->len, 1500000);
		spans += n;
		img_record_close(rec);
		msb_str_done(&s[k].bytes);
	}
	assert_int_equal(spans, N);
	assert_int_equal(b.bytes, bytes);
	assert_int_equal(entries("packs"), 2); /* one pack and its list */
}

/* ---- blobs */

struct download {
	int fd;
	uint64_t at;
};

static int64_t download_read(void *arg, void *p, size_t n, struct msb_err *e)
{
	struct download *d = arg;
	ssize_t k = pread(d->fd, p, n, (off_t)d->at);

	assert_true(k >= 0);
	d->at += (uint64_t)k;
	return k;
}

static int take(const char *hex, uint64_t size, const struct img_blob *from, struct msb_err *e)
{
	struct download d = {.fd = from->fd};
	struct img_layer_job job = {.size = size, .from = {.arg = &d, .read = download_read}};
	struct img_budget b = budget();

	(void)snprintf(job.digest, sizeof(job.digest), "%s", hex);
	return img_blob_take(st, &job, &b, e);
}

static void blobs(void **state)
{
	static char text[50000];
	struct img_blob a, other;
	struct msb_err e = {0};
	uint64_t size;
	char hex[65], got[50000];
	int fd;

	for (size_t k = 0; k < sizeof(text); k++)
		text[k] = (char)(k * 7 + k / 256);
	hex_of(text, sizeof(text), hex);
	assert_int_equal(img_blob_open(st, hex, &size), -ENOENT);
	assert_int_equal(img_blob_begin(st, hex, &a, &e), 0);
	assert_int_equal(a.have, 0);
	assert_int_equal(img_blob_begin(st, hex, &other, &e), 0); /* beside it: a file of its own */
	assert_int_equal(msb_pwrite_full(a.fd, text, 20000, 0), 0);
	assert_int_equal(msb_pwrite_full(a.fd, text + 45056, 100, 45056), 0); /* another range */
	assert_int_equal(msb_pwrite_full(other.fd, text, 100, 0), 0);
	img_blob_done(st, &other, false);
	img_blob_done(st, &a, false); /* interrupted */
	img_blob_done(st, &a, false); /* once is enough */
	assert_int_equal(entries("blobs"), 1);
	assert_int_equal(img_blob_begin(st, hex, &a, &e), 0);
	assert_true(a.shared);
	assert_int_equal(a.have, 16384); /* to the hole, less a block that may not be whole */
	assert_int_equal(take(hex, sizeof(text), &a, &e), -EBADMSG);
	assert_int_equal(msb_pwrite_full(a.fd, text, sizeof(text), 0), 0);
	e = (struct msb_err){0};
	assert_int_equal(take(hex, sizeof(text) - 1, &a, &e), -EBADMSG);
	e = (struct msb_err){0};
	assert_int_equal(take(hex, sizeof(text), &a, &e), 0);
	/* Who still has it open for writing changes nothing of what is kept. */
	assert_int_equal(msb_pwrite_full(a.fd, "changed", 7, 0), 0);
	img_blob_done(st, &a, true);
	assert_int_equal(entries("blobs"), 1);
	fd = img_blob_open(st, hex, &size);
	assert_true(fd >= 0);
	assert_int_equal(size, sizeof(text));
	assert_int_equal(msb_pread_full(fd, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, text, sizeof(text));
	close(fd);
	assert_int_equal(img_blob_begin(st, "../../etc/passwd", &a, &e), -EINVAL);
	assert_int_equal(img_blob_open(st, "../../etc/passwd", &size), -ENOENT);
}

static void blob_stream(void **state)
{
	for (int bad = 0; bad < 5; bad++) {
		struct stream s;
		struct img_layer_job job = job_of(&s, "f", 'b', 700000);
		struct img_budget b = budget();
		struct msb_err e = {0};
		static const int want[] = {0, -EBADMSG, -EBADMSG, -EIO, -E2BIG};

		job.diff_id[0] = 0;
		if (bad == 1)
			job.digest[0] = job.digest[0] == '0' ? '1' : '0';
		if (bad == 2)
			job.size--;
		if (bad == 3) {
			s.ready = 1000;
			s.fails = EIO;
		}
		if (bad == 4)
			b.max_bytes = 1000;
		assert_int_equal(img_blob_take(st, &job, &b, &e), want[bad]);
		assert_int_equal(entries("blobs"), 1);
		msb_str_done(&s.bytes);
	}
	assert_int_equal(entries("tmp"), 1);
	img_store_close(st); /* nothing of those that failed is left in its directory */
	assert_int_equal(img_store_open(dir_fd, &st, NULL), 0);
	assert_int_equal(entries("tmp"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(growing, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(one_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(many, setup, teardown),
		cmocka_unit_test_setup_teardown(blobs, setup, teardown),
		cmocka_unit_test_setup_teardown(blob_stream, setup, teardown),
	};

	return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
