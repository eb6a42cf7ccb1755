// SPDX-License-Identifier: Apache-2.0
// A file server is killed under a running guest whose front end connects again: the next one, with
// the same keep and the same record of chains in flight, completes each request once, and the guest
// goes on with the nodes that it knows.
#include "tests/unit/beside.h"
#include "tests/unit/front.h"
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define AT_ONCE 12
#define ROUNDS	12
#define PIECE	16384u /* bytes of guest memory a request, its reply in the second half */

static char top[PATH_MAX], bin_dir[PATH_MAX];
static int control, keep, inflight_fd = -1;
static struct {
	uint64_t bytes, offset;
	uint16_t queues, queue_size;
} inflight = {.queues = 2, .queue_size = FRONT_NUM};
static pid_t pid;
static struct front f;
static struct fusereq q, other;

static const char *in_top(const char *name)
{
	static char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

/* A server of the overlay in top/upper, on top/root, and the front end's connection to it. */
static void start_server(void)
{
	_cleanup_close_ int upper = open(in_top("upper"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int l = -1;
	struct msb_err e = {0};

	pid = fsd_spawn(bin_dir, "test", NULL, in_top("control"), -1, NULL, &e);
	if (pid < 0)
		fail_msg("%s", e.msg);
	control = msb_unix_connect(in_top("control"), SOCK_SEQPACKET);
	assert_true(control >= 0);
	l = msb_unix_listen(in_top("root"), SOCK_STREAM, 0600, &e);
	if (fsd_tree(control, -1, -1, upper, "delay=statfs:3ms", &e) < 0 ||
		fsd_export_kept(control, "root", "tree", l, keep, &e) < 0)
		fail_msg("%s", e.msg);
	if (f.sock >= 0)
		close(f.sock);
	f.sock = msb_unix_connect(in_top("root"), SOCK_STREAM);
	assert_true(f.sock >= 0);
}

static void kill_server(void)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	close(control);
	pid = 0;
}

static void reconnect(void)
{
	assert_int_equal(front_send(&f, 32, 0, &inflight, sizeof(inflight), inflight_fd), 0);
	assert_int_equal(front_reconnect(&f, 2), 0);
}

static uint8_t *piece(unsigned int i)
{
	return front_in(&f, 1) + (size_t)i * PIECE;
}

/* Makes @r available as the @i-th of those at once: descriptors 2i and 2i + 1. */
static void offer(unsigned int i, struct fusereq *r)
{
	struct vring_desc *d = front_desc(&f, 1);
	uint64_t at = FRONT_GPA + (uint64_t)(piece(i) - f.mem);

	assert_true(r->n <= PIECE / 2);
	req_head(r)->len = (uint32_t)r->n;
	memcpy(piece(i), r->in, r->n);
	memset(piece(i) + PIECE / 2, 0xee, sizeof(struct fuse_out_header));
	d[2 * i] =
		(struct vring_desc){at, (uint32_t)r->n, VRING_DESC_F_NEXT, (uint16_t)(2 * i + 1)};
	d[2 * i + 1] = (struct vring_desc){at + PIECE / 2, PIECE / 2, VRING_DESC_F_WRITE, 0};
	front_offer(&f, 1, (uint16_t)(2 * i));
}

/* Waits until @n are done; how often each was, in @times. */
static void collect(unsigned int n, unsigned int times[AT_ONCE])
{
	struct vring_used *u = front_used(&f, 1);

	memset(times, 0, AT_ONCE * sizeof(*times));
	for (unsigned int ms = 0; n; ms++) {
		while (__atomic_load_n(&u->idx, __ATOMIC_SEQ_CST) != f.seen[1]) {
			uint32_t id = u->ring[f.seen[1]++ % FRONT_NUM].id;

			assert_true(id % 2 == 0 && id / 2 < AT_ONCE && n > 0);
			times[id / 2]++;
			n--;
		}
		if (ms > WAIT_MS)
			fail_msg("%u requests are never completed", n);
		usleep(1000);
	}
}

/* One request at a time. */
static int64_t alone(struct fusereq *r)
{
	const struct fuse_out_header *o = (const void *)(piece(0) + PIECE / 2);
	unsigned int times[AT_ONCE];

	offer(0, r);
	(void)eventfd_write(f.kick[1], 1);
	collect(1, times);
	memcpy(r->out, o, o->len);
	return o->len;
}

static void forget(uint64_t node, uint64_t n)
{
	const struct fuse_forget_in in = {n};

	req_start(&other, FUSE_FORGET, node);
	req_add(&other, &in, sizeof(in));
	memcpy(front_in(&f, 0), other.in, other.n);
	((struct fuse_in_header *)(void *)front_in(&f, 0))->len = (uint32_t)other.n;
	front_request(&f, 0, (uint32_t)other.n, 0);
	assert_int_equal(front_wait(&f, 0, WAIT_MS), 0);
}

static void killed_at_work(void **state)
{
	uint64_t file, node[AT_ONCE], kept;
	unsigned int looked_up = 0, done_before = 0;

	if (!plain_fsd_dir(bin_dir, sizeof(bin_dir))) /* a build with sanitizers alone */
		skip();
	start_server();
	assert_int_equal(front_connect(&f, 2), 0);
	assert_int_equal(front_send(&f, 31, 0, &inflight, sizeof(inflight), -1), 0);
	assert_int_equal(front_recv_fd(&f, &inflight, sizeof(inflight), &inflight_fd), 0);
	assert_true(inflight_fd >= 0);
	assert_int_equal(front_do(&f, 32, &inflight, sizeof(inflight), inflight_fd), 0);
	q.carry = alone;
	assert_int_equal(req_init(&q), 0);
	assert_int_equal(req_create(&q, 1, "file", O_RDWR, 0644), 0);
	file = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_mkdir(&q, 1, "kept", 0755), 0);
	kept = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_lookup(&q, 1, "kept"), kept);

	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int times[AT_ONCE];

		for (unsigned int i = 0; i < AT_ONCE; i++) {
			uint32_t stamp = round * AT_ONCE + i;
			const struct fuse_write_in w = {.offset = i * 4, .size = 4};

			switch (i % 3) {
			case 0: req_start(&q, FUSE_STATFS, 1); break;
			case 1:
				req_start(&q, FUSE_WRITE, file);
				req_add(&q, &w, sizeof(w));
				req_add(&q, &stamp, 4);
				break;
			default:
				req_start(&q, FUSE_LOOKUP, 1);
				req_str(&q, "file");
				looked_up++;
			}
			offer(i, &q);
		}
		(void)eventfd_write(f.kick[1], 1);
		usleep(round * 1500); /* from "none is begun" to "all are done" */
		kill_server();
		done_before += (uint16_t)(front_used(&f, 1)->idx - f.seen[1]);
		start_server();
		reconnect();
		collect(AT_ONCE, times);
		for (unsigned int i = 0; i < AT_ONCE; i++) {
			const struct fuse_out_header *o = (const void *)(piece(i) + PIECE / 2);

			assert_int_equal(times[i], 1);
			assert_int_equal(o->error, 0);
			assert_int_equal(o->unique, q.unique - AT_ONCE + 1 + i);
		}
		/* It knows what its predecessors handed out, and goes on. */
		assert_int_equal(req_getattr(&q, kept), 0);
		assert_int_equal(req_read(&q, FUSE_READ, file, 0, 0, AT_ONCE * 4), 0);
		for (unsigned int i = 1; i < AT_ONCE; i += 3)
			assert_int_equal(((const uint32_t *)(const void *)(q.out + 16))[i],
				round * AT_ONCE + i);
		(void)snprintf((char *)node, sizeof(node), "d%u", round);
		assert_int_equal(req_mkdir(&q, 1, (char *)node, 0700), 0);
	}
	/* The kills came at different points, or this has shown little. */
	assert_in_range(done_before, 1, ROUNDS * AT_ONCE - 1);

	/* Counts: exact where no request ran twice, never too small, and too large by no more. */
	forget(kept, 1);
	assert_int_equal(req_getattr(&q, kept), 0);
	forget(kept, 1);
	assert_int_equal(req_getattr(&q, kept), -ESTALE);
	forget(file, looked_up);
	assert_int_equal(req_getattr(&q, file), 0);
	forget(file, 1 + ROUNDS);
	assert_int_equal(req_getattr(&q, file), -ESTALE);
	kill_server();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_work)};
	int r;

	(void)snprintf(top, sizeof(top), "/tmp/msb-fsd-XXXXXX");
	if (!mkdtemp(top) || mkdir(in_top("upper"), 0755) < 0 || front_init(&f) < 0)
		return 1;
	keep = memfd_create("keep", MFD_CLOEXEC);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	if (pid > 0)
		kill(pid, SIGKILL);
	front_done(&f);
	(void)msb_rm_rf(AT_FDCWD, top);
	return r;
}
