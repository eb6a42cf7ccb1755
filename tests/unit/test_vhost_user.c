// SPDX-License-Identifier: Apache-2.0
// fs/vhost_user: a front end gets its rings served, a bad one loses its connection, the next works.
#include "tests/unit/front.h"
#include "base/cleanup.h"
#include "fs/guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <signal.h>
#include <cmocka.h>

/* A device that gives every chain back at once, with as many bytes as it read. */
struct echo {
	struct vu_dev dev; /* first */
	pthread_t thread[FRONT_QUEUES];
	_Atomic bool stop[FRONT_QUEUES];
	_Atomic bool hold; /* takes chains, gives none back */
	_Atomic unsigned int starts, stops, resets;
	size_t state_bytes; /* to be saved; as loaded */
	int state_result;
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
			if (atomic_load(&a->e->hold))
				continue;
			vq_push(&q->vq, el, (uint32_t)el->out_bytes);
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

static int echo_save(struct vu_dev *d, int fd)
{
	struct echo *e = (struct echo *)(void *)d;
	char buf[4096];

	memset(buf, 's', sizeof(buf));
	for (size_t n = 0; n < e->state_bytes; n += sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			return -errno;
	return e->state_result;
}

static int echo_load(struct vu_dev *d, int fd)
{
	struct echo *e = (struct echo *)(void *)d;
	char buf[4096];
	ssize_t n;

	e->state_bytes = 0;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		e->state_bytes += (size_t)n;
	return n < 0 ? -errno : e->state_result;
}

static const struct vu_ops echo_ops = {.queues = 2,
	.queue_start = echo_start,
	.queue_stop = echo_stop,
	.reset = echo_reset,
	.get_config = echo_config,
	.save = echo_save,
	.load = echo_load};

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
			assert_int_equal(front_wait(&f, i % 2, WAIT_MS), 10 + i);
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
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 1);
	/* The same memory, mapped anew; a new interrupt; one more slot, and away. */
	assert_int_equal(front_do(&f, 5, &mem, sizeof(mem), f.memfd), 0);
	close(f.call[0]);
	f.call[0] = fresh;
	assert_int_equal(front_do(&f, 13, &index, 8, fresh), 0);
	assert_int_equal(front_do(&f, 37, &more, sizeof(more), f.memfd), 0);
	front_request(&f, 0, 2, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 2);
	assert_int_equal(front_do(&f, 38, &more, sizeof(more), -1), 0);
	/* Disabled, a ring waits. */
	assert_int_equal(front_do(&f, 18, off, 8, -1), 0);
	front_request(&f, 0, 3, 16);
	assert_int_equal(front_wait(&f, 0, 50), -ETIMEDOUT);
	assert_int_equal(front_do(&f, 18, on, 8, -1), 0);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 3);
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
		{"unknown ring flag", 9, 8, 40, 0, {0 | 2ULL << 32}},
		{"log without descriptor", 6, 0, 16, 0, {4096, 0}},
		{"log of no byte", 6, 0, 16, 1, {0, 0}},
		{"log larger than its file", 6, 0, 16, 1, {FRONT_BYTES + 1, 0}},
		{"log behind its file", 6, 0, 16, 1, {4096, FRONT_BYTES}},
		{"log offset wraps", 6, 0, 16, 1, {4096, UINT64_MAX - 4095}},
		{"log larger than any", 6, 0, 16, 1, {VU_MAX_LOG + 1, 0}},
		{"log not a file", 6, 0, 16, 2, {4096, 0}},
		{"inflight of no queue", 31, 0, 24, 0, {0, 0, 64ULL << 16}},
		{"inflight of more queues", 31, 0, 24, 0, {0, 0, 3 | 64ULL << 16}},
		{"inflight of no entry", 31, 0, 24, 0, {0, 0, 2}},
		{"inflight too long", 31, 0, 24, 0, {0, 0, 2 | 2048ULL << 16}},
		{"inflight without descriptor", 32, 8, 24, 0, {8192, 0, 2 | 64ULL << 16}},
		{"inflight too small", 32, 8, 24, 1, {2000, 0, 2 | 64ULL << 16}},
		{"inflight unaligned", 32, 8, 24, 1, {8192, 8, 2 | 64ULL << 16}},
		{"inflight behind its file", 32, 8, 24, 1, {8192, FRONT_BYTES, 2 | 64ULL << 16}},
		{"inflight not a file", 32, 8, 24, 2, {8192, 0, 2 | 64ULL << 16}},
		{"status of nine bits", 39, 8, 8, 0, {256}},
		{"state without a descriptor", 42, 0, 8, 0, {0}},
		{"state into memory", 42, 0, 8, 1, {0}},
		{"state in a third direction", 42, 0, 8, 2, {2}},
		{"state in another phase", 42, 0, 8, 2, {0 | 1ULL << 32}},
		{"state that was not moved", 43, 0, 0, 0, {0}},
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
	assert_int_equal(front_wait(&f, 1, WAIT_MS), 5);
	hang_up();
}

/* What QEMU does when a migration starts: log, features, addresses. */
static void log_while_running(void **state)
{
	int log_fd = memfd_create("log", MFD_CLOEXEC);
	const uint64_t log_bytes = (FRONT_GPA + FRONT_BYTES) / 4096 / 8;
	const uint64_t log[2] = {log_bytes, 4096};
	struct vq_layout l = front_layout(0);
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = {0, 1, l.desc_uaddr, l.used_uaddr, l.avail_uaddr, 4096 * 5};
	const uint64_t out_page = (FRONT_GPA + FRONT_DATA + (512u << 10)) / 4096;
	uint64_t features, answer = 1;
	uint8_t *bits;

	assert_int_equal(ftruncate(log_fd, (off_t)log_bytes + 4096), 0);
	bits = mmap(NULL, log_bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	assert_ptr_not_equal(bits, MAP_FAILED);
	assert_int_equal(front_connect(&f, 2), 0);
	assert_int_equal(front_ask(&f, 1, &features), 0);
	assert_true(features & 1u << 26);
	assert_int_equal(front_send(&f, 6, 0, log, sizeof(log), log_fd), 0);
	assert_int_equal(front_recv(&f, &answer, sizeof(answer)), 0);
	/* A log alone is not used. */
	features &= ~(1ULL << 26);
	assert_int_equal(front_do(&f, 2, &features, 8, -1), 0);
	front_request(&f, 0, 7, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 7);
	for (uint64_t i = 0; i < log_bytes; i++)
		assert_int_equal(bits[4096 + i], 0);
	features |= 1u << 26;
	assert_int_equal(front_do(&f, 2, &features, 8, -1), 0);
	assert_int_equal(front_do(&f, 9, &addr, sizeof(addr), -1), 0);
	front_request(&f, 0, 8, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 8);
	assert_int_equal(bits[4096 + out_page / 8], 1 << out_page % 8);
	assert_int_equal(bits[4096] & 1 << 5, 1 << 5);
	/* And off again, while it runs. */
	features &= ~(1ULL << 26);
	assert_int_equal(front_do(&f, 2, &features, 8, -1), 0);
	bits[4096 + out_page / 8] = 0;
	front_request(&f, 0, 9, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 9);
	assert_int_equal(bits[4096 + out_page / 8], 0);
	hang_up();
	assert_null(dev.dev.log.bits);
	munmap(bits, log_bytes + 4096);
	close(log_fd);
}

struct inflight_desc {
	uint64_t bytes, offset;
	uint16_t queues, queue_size;
};

/* The device takes requests and is gone; the next one finds them, whatever base it is told. */
static void inflight_survives(void **state)
{
	struct inflight_desc in = {.queues = 2, .queue_size = FRONT_NUM};
	_cleanup_close_ int fd = -1;

	assert_int_equal(front_connect(&f, 2), 0);
	assert_int_equal(front_send(&f, 31, 0, &in, sizeof(in), -1), 0);
	assert_int_equal(front_recv_fd(&f, &in, sizeof(in), &fd), 0);
	assert_true(fd >= 0);
	assert_int_equal(in.queues, 2);
	assert_true(in.bytes >= 2 * VQ_INFLIGHT_BYTES(FRONT_NUM));
	assert_int_equal(front_do(&f, 32, &in, sizeof(in), fd), 0);
	front_request(&f, 0, 3, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 3);
	atomic_store(&dev.hold, true);
	front_request(&f, 0, 4, 16);
	assert_int_equal(front_wait(&f, 0, 100), -ETIMEDOUT);
	hang_up();
	assert_null(dev.dev.inflight.at);

	atomic_store(&dev.hold, false);
	connect_front();
	assert_int_equal(front_send(&f, 32, 0, &in, sizeof(in), fd), 0);
	assert_int_equal(front_reconnect(&f, 2), 0);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 4);
	front_request(&f, 0, 5, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 5);
	front_request(&f, 1, 6, 16);
	assert_int_equal(front_wait(&f, 1, WAIT_MS), 6);
	assert_int_equal(front_used(&f, 0)->idx, 3);
	hang_up();
}

static void status_is_kept(void **state)
{
	const uint64_t some = 15, none = 0;
	uint64_t now = 1;

	assert_int_equal(front_connect(&f, 1), 0);
	assert_int_equal(front_ask(&f, 40, &now), 0);
	assert_int_equal(now, 0);
	assert_int_equal(front_do(&f, 39, &some, 8, -1), 0);
	assert_int_equal(front_ask(&f, 40, &now), 0);
	assert_int_equal(now, 15);
	assert_int_equal(dev.stops, 0);
	assert_int_equal(front_do(&f, 39, &none, 8, -1), 0);
	assert_int_equal(dev.stops, 1);
	assert_int_equal(dev.resets, 0);
	assert_int_equal(front_do(&f, 4, NULL, 0, -1), 0);
	assert_int_equal(dev.resets, 0);
	assert_int_equal(front_do(&f, 34, NULL, 0, -1), 0);
	assert_int_equal(dev.resets, 1);
	hang_up();
}

/* A front end that takes back its memory, log and record while the rings run: nobody else minds. */
static void memory_is_cut_short(void **state)
{
	struct inflight_desc in = {.queues = 2, .queue_size = FRONT_NUM};
	const uint64_t log[2] = {(FRONT_GPA + FRONT_BYTES) / 4096 / 8, 0};
	int log_fd = memfd_create("log", MFD_CLOEXEC), fd = -1;
	uint64_t features, answer;

	assert_int_equal(guard_init(), 0); /* cmocka has a handler of its own otherwise */
	assert_int_equal(ftruncate(log_fd, (off_t)log[0]), 0);
	assert_int_equal(front_connect(&f, 2), 0);
	assert_int_equal(front_ask(&f, 1, &features), 0);
	assert_int_equal(front_send(&f, 6, 0, log, sizeof(log), log_fd), 0);
	assert_int_equal(front_recv(&f, &answer, sizeof(answer)), 0);
	assert_int_equal(front_do(&f, 2, &features, 8, -1), 0);
	assert_int_equal(front_send(&f, 31, 0, &in, sizeof(in), -1), 0);
	assert_int_equal(front_recv_fd(&f, &in, sizeof(in), &fd), 0);
	assert_int_equal(front_do(&f, 32, &in, sizeof(in), fd), 0);
	front_request(&f, 0, 3, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 3);
	assert_int_equal(ftruncate(log_fd, 0), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	front_request(&f, 0, 4, 16);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 4);
	assert_int_equal(ftruncate(f.memfd, 0), 0);
	assert_int_equal(front_ask(&f, 1, &answer), 0); /* alive, with rings of zeros */
	assert_int_equal(answer, features);
	usleep(20000); /* the echo has looked at its rings */
	assert_int_equal(front_ask(&f, 40, &answer), 0);
	assert_int_equal(ftruncate(f.memfd, FRONT_BYTES), 0);
	hang_up();
	close(fd);
	close(log_fd);
	/* The next one is served as ever. */
	connect_front();
	assert_int_equal(front_connect(&f, 2), 0);
	front_request(&f, 1, 5, 16);
	assert_int_equal(front_wait(&f, 1, WAIT_MS), 5);
	hang_up();
}

/* ---- the device's state */

/* Asks for a transfer; our end of the pipe, or -1 where it is refused. */
static int transfer(uint32_t direction)
{
	const uint32_t p[2] = {direction, 0};
	uint64_t answer = 0;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	assert_int_equal(front_send(&f, 42, 0, p, sizeof(p), fd[direction == 0]), 0);
	assert_int_equal(front_recv(&f, &answer, sizeof(answer)), 0);
	close(fd[direction == 0]);
	assert_true(answer & 0x100);
	if (answer == 0x100)
		return fd[direction != 0];
	close(fd[direction != 0]);
	return -1;
}

static uint64_t check(void)
{
	uint64_t answer = 99;

	assert_int_equal(front_ask(&f, 43, &answer), 0);
	return answer;
}

#define STATE_BYTES (3u << 20) /* more than any pipe */

static void state_is_saved_and_loaded(void **state)
{
	static char buf[1 << 20];
	size_t got = 0;
	ssize_t n;
	int fd;

	dev.state_bytes = STATE_BYTES;
	fd = transfer(0);
	assert_true(fd >= 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		got += (size_t)n;
	close(fd);
	assert_int_equal(got, STATE_BYTES);
	assert_int_equal(check(), 0);

	fd = transfer(1);
	assert_true(fd >= 0);
	for (got = 0; got < STATE_BYTES; got += (size_t)n) {
		n = write(fd, buf, sizeof(buf));
		assert_true(n > 0);
	}
	close(fd);
	assert_int_equal(check(), 0);
	assert_int_equal(dev.state_bytes, STATE_BYTES);

	dev.state_result = -EBADMSG;
	fd = transfer(1);
	close(fd);
	assert_int_equal(check(), 1);
	assert_int_equal(check(), 1); /* and there is none */
	hang_up();
}

/* A front end that does not keep to its part: it gets an error, and nothing waits for it. */
static void state_of_a_bad_front_end(void **state)
{
	const uint32_t p[2] = {0, 0};
	int fd;

	dev.state_bytes = STATE_BYTES;
	fd = transfer(0); /* does not read to the end */
	assert_true(fd >= 0);
	assert_int_equal(check(), 1);
	close(fd);
	fd = transfer(0); /* closes at once */
	close(fd);
	assert_int_equal(check(), 1);
	fd = transfer(1); /* does not close */
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(check(), 1);
	close(fd);
	/* Two at once; rings that start meanwhile; a reset. */
	fd = transfer(1);
	assert_int_equal(transfer(1), -1);
	assert_int_equal(front_connect(&f, 1), -EBUSY);
	assert_int_equal(front_do(&f, 34, NULL, 0, -1), 0);
	assert_int_equal(check(), 1);
	close(fd);
	hang_up();
	/* While rings run. */
	connect_front();
	assert_int_equal(front_connect(&f, 1), 0);
	assert_int_equal(transfer(0), -1);
	hang_up();
	/* It hangs up in the middle, or we stop. */
	connect_front();
	fd = transfer(0);
	hang_up();
	close(fd);
	connect_front();
	fd = transfer(1);
	assert_int_equal(front_send(&f, 42, 0, p, 4, -1), 0); /* half a message */
	(void)eventfd_write(stop_fd, 1);
	pthread_join(server, NULL);
	close(fd);
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
		T(answers_nobody_reads), T(log_while_running), T(inflight_survives),
		T(status_is_kept), T(memory_is_cut_short), T(state_is_saved_and_loaded),
		T(state_of_a_bad_front_end), cmocka_unit_test(parser_takes_bytes)};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
