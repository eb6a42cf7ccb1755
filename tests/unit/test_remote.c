// SPDX-License-Identifier: Apache-2.0
// fs/image/remote: asking msb-registry, and one that has been taken over.
#include "fs/image/remote.h"
#include "tests/unit/fake_remote.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <cmocka.h>

#define BYTES 300000

static struct fake fake;
static char bytes[BYTES], hex[65], name[80];

static int setup(void **state)
{
	for (size_t k = 0; k < BYTES; k++)
		bytes[k] = (char)(k * 7 + (k >> 8));
	fake_add(&fake, NULL, "", bytes, BYTES, hex);
	fake_add(&fake, "tag", "application/json", "{}", 2, NULL);
	(void)snprintf(name, sizeof(name), "sha256:%s", hex);
	return 0;
}

static int teardown(void **state)
{
	fake_done(&fake);
	return 0;
}

static void ready(void *arg, uint64_t n)
{
	*(uint64_t *)arg = n;
}

static void asked(void **state)
{
	_cleanup_str_ struct msb_str doc = MSB_STR_INIT;
	struct img_remote *r;
	struct img_request *q;
	struct img_answer a;
	struct msb_err e = {0};
	uint64_t told = 0;
	char got[4];
	bool mounted;
	int fd, sock = fake_start(&fake);

	assert_int_equal(img_remote_open(sock, &r, &e), 0);
	assert_int_equal(img_remote_read(r, "manifest", "tag", 0, 100, &doc, &a, &e), 0);
	assert_int_equal(doc.len, 2);
	assert_string_equal(a.media_type, "application/json");
	assert_int_equal(img_remote_read(r, "manifest", "tag", 0, 1, &doc, &a, &e), -E2BIG);
	assert_int_equal(img_remote_read(r, "manifest", "other", 0, 9, &doc, &a, &e), -ENOENT);
	assert_string_equal(e.msg, "there is no such thing");
	assert_int_equal(img_remote_exists(r, "blob", name, &a, &e), 0);
	assert_true(a.yes);
	assert_int_equal(a.bytes, BYTES);
	assert_int_equal(img_remote_mount(r, hex, "other/repo", &mounted, &e), 0);
	assert_false(mounted);

	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(img_remote_get(r, "blob", name, 7, BYTES, fd, ready, &told, &q, &e), 0);
	for (int64_t n = 7, m; (m = img_request_ready(q, (uint64_t)n, &e)) != n; n = m)
		assert_true(m > n);
	assert_int_equal(img_request_wait(q, &a, &e), 0);
	assert_int_equal(a.bytes, BYTES);
	img_request_close(q);
	assert_int_equal(told, BYTES);
	assert_int_equal(msb_pread_full(fd, got, 4, BYTES - 4), 4);
	assert_memory_equal(got, bytes + BYTES - 4, 4);

	assert_int_equal(img_remote_put_blob(r, hex, BYTES - 1, fd, NULL, NULL, &e), -EBADMSG);
	assert_int_equal(img_remote_put_manifest(r, "new", "a/b", "{ }", 3, &e), 0);
	assert_string_equal(fake_find(&fake, "new")->type, "a/b");
	close(fd);
	img_remote_close(r);
	close(sock);
	fake_join(&fake);
}

/* Each ends in an error, none in a wait; after most the connection is over. */
static void lies(void **state)
{
	for (enum fake_lie lie = FAKE_TOO_MANY; lie < FAKE_LIES; lie++) {
		struct img_remote *r;
		struct img_request *q;
		struct msb_err e = {0};
		int fd = memfd_create("test", MFD_CLOEXEC), sock, want = -EBADMSG;

		if (lie == FAKE_WRONG_BYTES || lie == FAKE_TWICE)
			continue; /* not for this one to see */
		if (lie == FAKE_REFUSES)
			want = -EACCES;
		fake.lie = lie;
		sock = fake_start(&fake);
		assert_int_equal(img_remote_open(sock, &r, &e), 0);
		assert_int_equal(
			img_remote_get(r, "blob", name, 0, BYTES, fd, NULL, NULL, &q, &e), 0);
		assert_int_equal(img_request_wait(q, NULL, &e), want);
		assert_int_equal(e.code, -want);
		img_request_close(q);
		img_remote_close(r);
		close(sock);
		close(fd);
		fake_join(&fake);
	}
	fake.lie = FAKE_HONEST;
}

/* One answer too many is no answer to whoever asks next. */
static void twice(void **state)
{
	_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
	struct img_remote *r;
	struct img_request *q;
	struct msb_err e = {0};
	int sock, got;

	fake.lie = FAKE_TWICE;
	sock = fake_start(&fake);
	assert_int_equal(img_remote_open(sock, &r, &e), 0);
	assert_int_equal(img_remote_get(r, "blob", name, 0, BYTES, fd, NULL, NULL, &q, &e), 0);
	got = img_request_wait(q, NULL, &e);
	assert_true(got == 0 || got == -EBADMSG);
	do
		got = img_remote_exists(r, "blob", name, NULL, &e);
	while (got == 0); /* until the second was heard */
	assert_int_equal(got, -EBADMSG);
	img_request_close(q);
	img_remote_close(r);
	close(sock);
	fake_join(&fake);
	fake.lie = FAKE_HONEST;
}

static void *stopper(void *arg)
{
	img_request_stop(arg);
	return NULL;
}

/* Nobody answers: who waits is stopped, what is closed is cancelled, and there is room for so many.
 */
static void silence(void **state)
{
	static struct img_request *q[IMG_MAX_REQUESTS];
	static struct msb_msg m;
	struct img_request *more;
	struct img_remote *r;
	struct msb_err e = {0};
	pthread_t t;
	int sv[2], fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(img_remote_open(sv[0], &r, &e), 0);
	for (size_t k = 0; k < IMG_MAX_REQUESTS; k++) {
		assert_int_equal(
			img_remote_get(r, "blob", name, 0, 9, fd, NULL, NULL, &q[k], &e), 0);
		assert_int_equal(msb_msg_recv(sv[1], &m), 0);
		msb_msg_close_fds(&m);
	}
	assert_int_equal(img_remote_get(r, "blob", name, 0, 9, fd, NULL, NULL, &more, &e), -E2BIG);
	assert_int_equal(pthread_create(&t, NULL, stopper, q[0]), 0);
	assert_int_equal(img_request_ready(q[0], 0, &e), -ECANCELED);
	pthread_join(t, NULL);
	img_request_close(q[0]);
	assert_int_equal(msb_msg_recv(sv[1], &m), 0);
	assert_string_equal(msb_msg_verb(&m), "cancel");
	close(sv[1]);
	assert_int_equal(img_request_wait(q[1], NULL, &e), -EIO);
	for (size_t k = 1; k < IMG_MAX_REQUESTS; k++)
		img_request_close(q[k]);
	img_remote_close(r);
	close(sv[0]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asked),
		cmocka_unit_test(lies),
		cmocka_unit_test(twice),
		cmocka_unit_test(silence),
	};

	return cmocka_run_group_tests_name("remote", tests, setup, teardown);
}
