// SPDX-License-Identifier: Apache-2.0
// fs/vhost_user: a front end gets its rings served, a bad one loses its connection, the next works.
#include "tests/unit/front.h"
#include "base/cleanup.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <cmocka.h>

/* A device that gives every chain back at once, with as many bytes as it read. */
struct echo {
	struct vu_dev dev; /* first */
	pthread_t thread[FRONT_QUEUES];
	_Atomic bool stop[FRONT_QUEUES];
	unsigned int starts, stops, resets;
};

struct echo_arg {
	struct echo *e;
	unsigned int i;
};

static void *echo_main(void *arg)
{
	_cleanup_free_ struct echo_arg *a = arg;
	_cleanup_free_ struct vq_elem *el = malloc(sizeof(*el));
	struct vu_queue *q = &a->e->dev.q[a->i];

	while (el && !atomic_load(&a->e->stop[a->i]) && !q->vq.broken) {
		while (vq_pop(&q->vq, el) == 1) {
			vq_push(&q->vq, el->head, (uint32_t)el->out_bytes);
			vu_call(q);
		}
		usleep(200);
	}
	return NULL;
}

static int echo_start(struct vu_dev *d, unsigned int i)
{
	struct echo *e = (struct echo *)(void *)d;
	struct echo_arg *a = malloc(sizeof(*a));

	*a = (struct echo_arg){e, i};
	e->starts++;
	atomic_store(&e->stop[i], false);
	return -pthread_create(&e->thread[i], NULL, echo_main, a);
}

static void echo_stop(struct vu_dev *d, unsigned int i)
{
	struct echo *e = (struct echo *)(void *)d;

	e->stops++;
	atomic_store(&e->stop[i], true);
	pthread_join(e->thread[i], NULL);
}

static void echo_reset(struct vu_dev *d)
{
	((struct echo *)(void *)d)->resets++;
}

static int echo_config(struct vu_dev *d, uint32_t offset, void *buf, uint32_t bytes)
{
	memset(buf, 'c', bytes);
	return 0;
}

static const struct vu_ops echo_ops = {.queues = 2,
	.queue_start = echo_start,
	.queue_stop = echo_stop,
	.reset = echo_reset,
	.get_config = echo_config};

static struct echo dev;
static struct front f;
static pthread_t server;
static int server_sock, stop_fd, server_result;

static void *serve(void *arg)
{
	server_result = vu_serve(&dev.dev, server_sock, stop_fd, NULL);
	close(server_sock);
	return NULL;
}

static void connect_front(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	if (f.sock >= 0)
		close(f.sock);
	f.sock = sv[0];
	server_sock = sv[1];
	assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
}

static void hang_up(void)
{
	close(f.sock);
	f.sock = -1;
	pthread_join(server, NULL);
}

static int setup(void **state)
{
	dev = (struct echo){.starts = 0};
	vu_init(&dev.dev, &echo_ops);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(front_init(&f), 0);
	connect_front();
	return 0;
}

static int teardown(void **state)
{
	front_done(&f);
	close(stop_fd);
	return 0;
}

static void serves_and_reconnects(void **state)
{
	for (int round = 0; round < 3; round++) {
		if (round)
			connect_front();
		assert_int_equal(front_connect(&f, 2), 0);
		for (int i = 0; i < 200; i++) {
			front_request(&f, i % 2, 10 + (uint32_t)i, 16);
			assert_int_equal(front_wait(&f, i % 2, 5000), 10 + i);
		}
		hang_up();
		assert_int_equal(server_result, 0);
		assert_int_equal(dev.starts, dev.stops);
		assert_int_equal(dev.dev.mem.n, 0);
	}
	assert_int_equal(dev.resets, 3);
}

static void stop_descriptor_ends_it(void **state)
{
	assert_int_equal(front_connect(&f, 2), 0);
	(void)eventfd_write(stop_fd, 1);
	pthread_join(server, NULL);
	assert_int_equal(server_result, 0);
	assert_int_equal(dev.stops, 2);
}

static void changes_while_running(void **state)
{
	struct {
		uint32_t n, padding;
		struct vu_mem_region r;
	} mem = {1, 0, {FRONT_GPA, FRONT_BYTES, FRONT_UADDR, 0}};
	const struct {
		uint64_t padding;
		struct vu_mem_region r;
	} more = {0, {FRONT_GPA * 2, 4096, FRONT_UADDR * 2, 4096}};
	int fresh = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const uint64_t index = 0, none = 0x100;
	const uint32_t off[2] = {0, 0}, on[2] = {0, 1}, base[2] = {0, 0};
	uint32_t at[2] = {0, 0};

	assert_int_equal(front_connect(&f, 2), 0);
	front_request(&f, 0, 1, 16);
	assert_int_equal(front_wait(&f, 0, 5000), 1);
	/* The same memory, mapped anew; a new interrupt; one more slot, and away. */
	assert_int_equal(front_do(&f, 5, &mem, sizeof(mem), f.memfd), 0);
	close(f.call[0]);
	f.call[0] = fresh;
	assert_int_equal(front_do(&f, 13, &index, 8, fresh), 0);
	assert_int_equal(front_do(&f, 37, &more, sizeof(more), f.memfd), 0);
	front_request(&f, 0, 2, 16);
	assert_int_equal(front_wait(&f, 0, 5000), 2);
	assert_int_equal(front_do(&f, 38, &more, sizeof(more), -1), 0);
	/* Disabled, a ring waits. */
	assert_int_equal(front_do(&f, 18, off, 8, -1), 0);
	front_request(&f, 0, 3, 16);
	assert_int_equal(front_wait(&f, 0, 50), -ETIMEDOUT);
	assert_int_equal(front_do(&f, 18, on, 8, -1), 0);
	assert_int_equal(front_wait(&f, 0, 5000), 3);
	assert_int_equal(front_do(&f, 13, &none, 8, -1), 0);
	/* Stopped, it says where it stands. */
	assert_int_equal(front_send(&f, 11, 0, base, 8, -1), 0);
	assert_int_equal(front_recv(&f, at, sizeof(at)), 0);
	assert_int_equal(at[1], 3);
	assert_int_equal(front_do(&f, 34, NULL, 0, -1), 0);
	hang_up();
	assert_int_equal(dev.starts, dev.stops);
}

static void config_space(void **state)
{
	struct {
		uint32_t offset, size, flags;
		uint8_t region[256];
	} c = {8, 20, 0, {0}};
	uint64_t protocol;

	assert_int_equal(front_ask(&f, 15, &protocol), 0);
	assert_int_equal(front_send(&f, 16, 0, &protocol, 8, -1), 0);
	assert_int_equal(front_send(&f, 24, 0, &c, 32, -1), 0);
	assert_int_equal(front_recv(&f, &c, sizeof(c)), 0);
	assert_int_equal(c.region[0], 'c');
	assert_int_equal(c.region[19], 'c');
	hang_up();
}

/* Messages that a sane front end never sends. Each ends its connection or is refused in the answer;
 * a new connection works as ever. */
static void bad_messages(void **state)
{
	static const struct {
		const char *what;
		uint32_t request, flags, n;
		int fd; /* 1: memory, 2: a pipe instead */
		uint64_t p[6];
	} row[] = {
		{"unknown", 99, 0, 0, 0, {0}},
		{"reply flag", 1, 4, 0, 0, {0}},
		{"version 2", 1, 3, 0, 0, {0}},
		{"features never offered", 2, 8, 8, 0, {~0ULL}},
		{"protocol features never offered", 16, 8, 8, 0, {~0ULL}},
		{"short payload", 9, 0, 8, 0, {0}},
		{"ring of another device", 8, 8, 8, 0, {2 | 64ULL << 32}},
		{"ring of no entry", 8, 8, 8, 0, {0}},
		{"ring too long", 8, 8, 8, 0, {0 | 2048ULL << 32}},
		{"base too large", 10, 8, 8, 0, {0 | 65536ULL << 32}},
		{"kick without descriptor", 12, 8, 8, 0, {0}},
		{"kick by polling", 12, 8, 8, 0, {0x100}},
		{"call with index outside", 13, 8, 8, 1, {2}},
		{"enable with 2", 18, 8, 8, 0, {0 | 2ULL << 32}},
		{"no memory", 5, 8, 8, 0, {0}},
		{"memory without descriptor", 5, 8, 40, 0, {1, FRONT_GPA, 4096, FRONT_UADDR, 0}},
		{"memory larger than its file", 5, 8, 40, 1,
			{1, FRONT_GPA, FRONT_BYTES + 1, FRONT_UADDR, 0}},
		{"memory behind its file", 5, 8, 40, 1,
			{1, FRONT_GPA, 4096, FRONT_UADDR, FRONT_BYTES}},
		{"memory offset wraps", 5, 8, 40, 1,
			{1, FRONT_GPA, 4096, FRONT_UADDR, UINT64_MAX - 4095}},
		{"memory not a file", 5, 8, 40, 2, {1, FRONT_GPA, 4096, FRONT_UADDR, 0}},
		{"memory wraps", 37, 8, 40, 1, {0, UINT64_MAX, 4096, FRONT_UADDR, 0}},
		{"remove unknown memory", 38, 8, 40, 0, {0, FRONT_GPA, 1, 1, 0}},
		{"base of no ring", 11, 0, 8, 0, {7}},
		{"config too long", 24, 0, 12, 0, {0 | 256ULL << 32}},
	};
	const uint64_t ack = 1u << 3;

	hang_up();
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		int pipe_fd[2], r;
		uint64_t answer = 0;

		connect_front();
		assert_int_equal(pipe(pipe_fd), 0);
		assert_int_equal(front_send(&f, 16, 0, &ack, 8, -1), 0);
		assert_int_equal(front_send(&f, row[i].request, row[i].flags, row[i].p, row[i].n,
					 row[i].fd == 1	  ? f.memfd
					 : row[i].fd == 2 ? pipe_fd[0]
							  : -1),
			0);
		r = front_recv(&f, &answer, sizeof(answer));
		if (r == 0 && answer == 0)
			fail_msg("accepted: %s", row[i].what);
		hang_up();
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		assert_int_equal(dev.starts, 0);
	}
	connect_front();
	assert_int_equal(front_connect(&f, 2), 0);
	front_request(&f, 1, 5, 16);
	assert_int_equal(front_wait(&f, 1, 5000), 5);
	hang_up();
}

static void ring_outside_memory(void **state)
{
	const struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = {0, 0, 0x1000, 0x2000, 0x3000, 0};

	assert_int_equal(front_connect(&f, 1), 0);
	assert_int_equal(front_do(&f, 9, &addr, sizeof(addr), -1), -EFAULT);
	hang_up();
	assert_int_equal(dev.starts, dev.stops);
}

static void answers_nobody_reads(void **state)
{
	int r = 0;

	for (int i = 0; i < 100000 && r == 0; i++)
		r = front_send(&f, 1, 0, NULL, 0, -1);
	pthread_join(server, NULL); /* and not: blocked for ever */
	assert_true(server_result < 0);
}

static void parser_takes_bytes(void **state)
{
	uint8_t b[VU_HEADER_BYTES + 8] = {8, 0, 0, 0, 1, 0, 0, 0, 8};
	struct vu_msg m;

	for (size_t n = 0; n < sizeof(b); n++)
		assert_int_equal(vu_parse(b, n, &m), 0);
	assert_int_equal(vu_parse(b, sizeof(b), &m), (int)sizeof(b));
	assert_int_equal(m.request, 8);
	b[9] = 3; /* 776 bytes of payload */
	assert_int_equal(vu_parse(b, sizeof(b), &m), -EPROTO);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(serves_and_reconnects), T(stop_descriptor_ends_it),
		T(changes_while_running), T(config_space), T(bad_messages), T(ring_outside_memory),
		T(answers_nobody_reads), cmocka_unit_test(parser_takes_bytes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
