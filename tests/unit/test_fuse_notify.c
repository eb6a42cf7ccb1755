// SPDX-License-Identifier: Apache-2.0
// What a view's kernel is told unasked: in order, replies behind it, and all at once past the
// limit.
#include "tests/unit/fusereq.h"
#include "fs/filter.h"
#include "fs/fuse_notify.h"
#include "fs/options.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct fsd_fs fs;
static struct fusereq q;
static struct fuse_notify *notify;
static int device[2]; /* the server's end, the kernel's */

static int setup(void **state)
{
	struct fsb_start from = FSB_START_NONE;
	struct fsb *b;
	int small = 1;

	from.options = calloc(1, sizeof(struct fsb_options));
	assert_non_null(from.options);
	assert_int_equal(fsb_stack_start("memory", &from, &b, NULL), 0);
	free((void *)(uintptr_t)from.options);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	q.w = calloc(1, sizeof(*q.w));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, device), 0);
	/* It is soon full, and who says something then waits, as for a page. */
	assert_int_equal(setsockopt(device[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(fuse_notify_new(device[0], q.s, &notify), 0);
	fuse_view_watch(q.s, fuse_notify_changed, notify);
	assert_int_equal(req_init(&q), 0);
	return 0;
}

static int teardown(void **state)
{
	close(device[1]);
	fuse_notify_stop(notify);
	(void)fsd_session_free(q.s);
	notify = fuse_notify_free(notify);
	fsd_fs_done(&fs);
	free(q.w);
	close(device[0]);
	return 0;
}

/* What the kernel is told next: the node, and @ret_bytes of it; or 0 and a reply's first byte. */
static uint64_t told(uint64_t *ret_bytes)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_inode_out o;
	} m = {0};
	ssize_t n = read(device[1], &m, sizeof(m));

	assert_true(n > 0);
	if (n == 1) {
		*ret_bytes = *(const uint8_t *)&m;
		return 0;
	}
	assert_int_equal(n, sizeof(m));
	assert_int_equal(m.h.len, sizeof(m));
	assert_int_equal(m.h.unique, 0);
	assert_int_equal(m.h.error, FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(m.o.off, 0);
	*ret_bytes = (uint64_t)m.o.len;
	return m.o.ino;
}

/* As much to say as the device takes, and then some. */
static void block(void)
{
	for (unsigned int i = 0; i < FUSE_NOTIFY_MAX / 4; i++) {
		fuse_notify_changed(notify, 7, 0);
		fuse_notify_changed(notify, 8, 0);
	}
}

/* Whether a reply to such a request goes behind. */
static bool asked_by(uint32_t opcode, uint32_t valid, const char *reply)
{
	const struct {
		struct fuse_in_header h;
		struct fuse_setattr_in in;
	} m = {.h = {.len = sizeof(m), .opcode = opcode}, .in = {.valid = valid}};

	return fuse_notify_reply(notify, &m.h, reply, 1);
}

static bool reply_to(uint32_t opcode, const char *reply)
{
	return asked_by(opcode, FATTR_SIZE, reply);
}

static void replies_go_behind(void **state)
{
	/* What a page that is to be dropped may wait for. */
	static const uint32_t held[] = {
		FUSE_READ, FUSE_WRITE, FUSE_SETATTR, FUSE_RELEASE, FUSE_RELEASEDIR};
	uint64_t bytes, node;

	assert_false(reply_to(FUSE_GETATTR, "a")); /* nothing is to be said */
	block();
	assert_true(reply_to(FUSE_GETATTR, "b"));
	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++)
		assert_false(reply_to(held[i], "c"));
	fuse_notify_changed(notify, 9, 1);
	fuse_notify_changed(notify, 9, 0);
	assert_true(asked_by(FUSE_SETATTR, FATTR_MODE, "d"));
	do {
		node = told(&bytes);
		assert_true(node == 7 || node == 8 || (node == 0 && bytes == 'b'));
	} while (node);
	assert_int_equal(told(&bytes), 9);
	assert_int_equal(bytes, 1);
	assert_int_equal(told(&bytes), 9);
	assert_int_equal(bytes, 0);
	assert_int_equal(told(&bytes), 0);
	assert_int_equal(bytes, 'd');
}

static void past_the_limit_all_that_is_open(void **state)
{
	uint64_t open[3], bytes, node;
	unsigned int seen[3] = {0};
	char name[] = "a";

	for (int i = 0; i < 3; i++, name[0]++) {
		assert_int_equal(req_create(&q, 1, name, O_RDWR, 0644), 0);
		open[i] = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	}
	assert_int_equal(req_release(&q, FUSE_RELEASE, open[1], 0), 0);
	for (uint64_t i = 0; i < 4 * FUSE_NOTIFY_MAX; i++)
		fuse_notify_changed(notify, 1000 + i, 0);
	assert_true(reply_to(FUSE_GETATTR, "e"));
	for (unsigned int n = 0; (node = told(&bytes)); n++) {
		assert_true(n < 2 * FUSE_NOTIFY_MAX);
		for (int i = 0; i < 3; i++)
			seen[i] += node == open[i];
	}
	assert_int_equal(bytes, 'e');
	assert_true(seen[0] >=
		    1); /* twice where the thread had its first turn past the limit already */
	assert_int_equal(seen[1], 0); /* closed: the next open drops it */
	assert_int_equal(seen[2], seen[0]);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- sizes and contents */

static sem_t written, may_end;
static _Atomic bool ends;
static uint64_t grows; /* the file */

/* A backend that has written, and takes its time to say so. */
static void lingers(struct fsb_filter *f, const struct fsb_call *c, int64_t result,
	const struct fsb_entry *made)
{
	if (c->op != FSB_WRITE)
		return;
	sem_post(&written);
	sem_wait(&may_end);
}

static void stop_nothing(struct fsb_filter *f)
{
}

static void *writes(void *arg)
{
	static const char data[200] = "x";
	struct fusereq *guest = arg;

	assert_int_equal(req_write(guest, grows, 0, 0, data, sizeof(data), 0), 0);
	return NULL;
}

static void *asks(void *arg)
{
	assert_int_equal(req_getattr(&q, grows), 0);
	/* That it has grown is heard only behind that it has changed. */
	if (!atomic_load(&ends))
		assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 0);
	return NULL;
}

static void a_size_is_not_told_before_the_contents(void **state)
{
	static const struct fsb_filter_ops ops = {
		.name = "lingers", .after = lingers, .stop = stop_nothing};
	static struct fusereq guest;
	struct fsb_filter f;
	pthread_t writer, asker;
	uint64_t bytes;

	sem_init(&written, 0, 0);
	sem_init(&may_end, 0, 0);
	fsb_filter_init(&f, &ops, fs.b, 0, 0);
	fs.b = &f.b;
	assert_int_equal(req_create(&q, 1, "f", O_RDWR, 0644), 0);
	grows = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	guest.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	guest.w = calloc(1, sizeof(*guest.w));
	assert_int_equal(req_init(&guest), 0);
	assert_int_equal(req_lookup(&guest, 1, "f"), grows);
	assert_int_equal(pthread_create(&writer, NULL, writes, &guest), 0);
	sem_wait(&written);
	assert_int_equal(pthread_create(&asker, NULL, asks, NULL), 0);
	(void)usleep(100000); /* it asks now, as a rule */
	atomic_store(&ends, true);
	sem_post(&may_end);
	pthread_join(writer, NULL);
	pthread_join(asker, NULL);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 200);
	assert_int_equal(told(&bytes), grows);
	(void)fsd_session_free(guest.s);
	free(guest.w);
	fs.b = f.next;
}

int main(void)
{
	const struct CMUnitTest tests[] = {T(replies_go_behind), T(past_the_limit_all_that_is_open),
		T(a_size_is_not_told_before_the_contents)};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
