// SPDX-License-Identifier: Apache-2.0
// A job's output: readers of any speed against a model, what falls out, and when its socket rests.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "ctl/job_int.h"
#include "ctl/supervise.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

static struct ctl c;
static struct ctl_sandbox sb;
static struct ctl_job *j;
static int peer; /* the agent's end */

static int setup(void **state)
{
	struct msb_err e = {0};
	int s[2];

	c = (struct ctl){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .inotify_fd = -1};
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.changed, NULL);
	assert_int_equal(ctl_ring_init(&c.events, 8), 0);
	sb = (struct ctl_sandbox){.c = &c, .refs = 1, .state = ST_RUNNING, .job_bound = 1000};
	assert_int_equal(ctl_ring_init(&sb.events, 8), 0);
	c.sb[0] = &sb;
	c.nsb = 1;
	assert_int_equal(ctl_job_new(&sb, &j, &e), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
	j->sock = s[0];
	j->state = JOB_RUNNING;
	j->keep = true;
	peer = s[1];
	return 0;
}

static int teardown(void **state)
{
	ctl_jobs_drop(&sb);
	close(peer);
	close(c.epoll_fd);
	ctl_ring_done(&c.events);
	ctl_ring_done(&sb.events);
	return 0;
}

static int send_out(const char *verb, const char *p, size_t n)
{
	static struct msb_msg m;

	msb_msg_init(&m, verb);
	msb_msg_payload(&m, p, n);
	return msb_msg_send(peer, &m);
}

static void send_verb(const char *verb, const char *key, const char *value)
{
	static struct msb_msg m;

	msb_msg_init(&m, verb);
	if (key)
		msb_msg_set(&m, key, "%s", value);
	assert_int_equal(msb_msg_send(peer, &m), 0);
}

static void event(void)
{
	LOCK_SCOPE(&c.lock);
	ctl_job_event(j);
}

static const struct ctl_req nobody = {.c = &c};

static ssize_t get(struct ctl_job_reader *r, size_t max, char *to)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int err = ctl_job_read(&nobody, j, r, max, true, &s);

	if (err < 0)
		return err;
	memcpy(to, s.buf ?: "", s.len);
	return (ssize_t)s.len;
}

/* Random pieces on both streams, and three readers of random haste: each gets exactly what came on
 * its streams, in order, and the buffer never grows past its bound. */
static void against_a_model(void **state)
{
	enum { READERS = 3, TOTAL = 6 << 20 };
	static char sent[READERS][TOTAL + AGENT_CHUNK_BYTES], got[READERS][sizeof(sent[0])];
	static const unsigned int mask[READERS] = {JOB_OUT, JOB_ERR, JOB_OUT | JOB_ERR};
	size_t nsent[READERS] = {0}, ngot[READERS] = {0}, total = 0, rested = 0;
	unsigned int seed = (unsigned int)time(NULL);
	struct ctl_job_reader r[READERS];
	static char piece[AGENT_CHUNK_BYTES];

	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < READERS; i++)
		ctl_job_reader_add(j, &r[i], mask[i]);
	while (total < TOTAL || ngot[2] < total || ngot[0] < nsent[0] || ngot[1] < nsent[1]) {
		size_t n = (size_t)random() % sizeof(piece) + 1;
		int stream = (int)(random() % 2), k = (int)(random() % READERS);
		ssize_t len;

		memset(piece, (int)random(), n);
		if (total < TOTAL && send_out(stream ? "err" : "out", piece, n) == 0) {
			memcpy(sent[stream] + nsent[stream], piece, n);
			memcpy(sent[2] + nsent[2], piece, n);
			nsent[stream] += n;
			nsent[2] += n;
			total += n;
		}
		event();
		rested += j->stalled;
		assert_true(j->len <= CTL_JOB_BUFFER);
		if (!rested) /* at first nobody reads, whatever the seed */
			continue;
		len = get(&r[k], (size_t)random() % 100000 + 1, got[k] + ngot[k]);
		assert_true(len > 0 || len == -EAGAIN);
		if (len > 0)
			ngot[k] += (size_t)len;
	}
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(ngot[i], nsent[i]);
		assert_memory_equal(got[i], sent[i], ngot[i]);
		ctl_job_reader_remove(j, &r[i]);
	}
	assert_true(rested > 0);
}

/* Fills it with @n pieces of a byte that says which. */
static void fill(const char *verb, int n)
{
	static char piece[AGENT_CHUNK_BYTES];

	for (int i = 0; i < n; i++) {
		memset(piece, 'a' + i, sizeof(piece));
		assert_int_equal(send_out(verb, piece, sizeof(piece)), 0);
		event();
	}
}

static void nobody_reads(void **state)
{
	struct ctl_job_reader r;
	static char buf[CTL_JOB_BUFFER];
	ssize_t n;

	fill("out", 20);
	assert_false(j->stalled);
	ctl_job_reader_add(j, &r, JOB_OUT);
	n = get(&r, sizeof(buf), buf);
	assert_int_equal(n + (ssize_t)j->dropped[0], 20 * AGENT_CHUNK_BYTES);
	assert_int_equal(buf[n - 1], 'a' + 19);
	assert_true(n >= 256 << 10);
	ctl_job_reader_remove(j, &r);
}

/* A reader of one stream is not held up, nor holds up, for the other. */
static void the_other_stream(void **state)
{
	struct ctl_job_reader r;
	char b[8];

	ctl_job_reader_add(j, &r, JOB_ERR);
	fill("out", 20);
	assert_false(j->stalled);
	assert_int_equal(get(&r, sizeof(b), b), -EAGAIN);
	assert_int_equal(send_out("err", "x", 1), 0);
	event();
	assert_int_equal(get(&r, sizeof(b), b), 1);
	fill("err", CTL_JOB_BUFFER / AGENT_CHUNK_BYTES - 1);
	assert_int_equal(send_out("err", "y", 1), 0);
	event();
	assert_true(j->stalled);
	ctl_job_reader_remove(j, &r); /* nobody waits for it any more */
	assert_false(j->stalled);
}

static void ends(void **state)
{
	static const struct {
		const char *verb, *keys[3][2], *reason;
		int code, sig;
	} t[] = {
		{"exit", {{"code", "0"}}, "exited", 0, 0},
		{"exit", {{"code", "259"}}, "exited", 3, 0},
		{"exit", {{"signal", "9"}}, "signal", 137, 9},
		{"exit", {{"signal", "9"}, {"oom", "1"}}, "oom", 137, 9},
		{"exit", {{"signal", "999"}}, "exited", 0, 0},
		{"error", {{"code", "2"}, {"fault", "program"}}, "not_found", 127, 0},
		{"error", {{"code", "13"}, {"fault", "program"}}, "not_executable", 126, 0},
		{"error", {{"code", "2"}, {"fault", "cwd"}}, "bad_cwd", 125, 0},
		{"error", {{"code", "2"}, {"fault", "user"}}, "bad_user", 125, 0},
		{"error", {{"code", "1"}, {"fault", "limits"}}, "bad_rlimits", 125, 0},
		{"error", {{"code", "5"}, {"fault", "lost"}}, "lost", 255, 0},
		{"error", {{"code", "99999"}}, "not_executable", 126, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		static struct msb_msg m;

		msb_msg_init(&m, t[i].verb);
		for (int k = 0; k < 3 && t[i].keys[k][0]; k++)
			msb_msg_set(&m, t[i].keys[k][0], "%s", t[i].keys[k][1]);
		assert_int_equal(msb_msg_send(peer, &m), 0);
		j->state = JOB_RUNNING;
		event();
		assert_int_equal(j->state, JOB_ENDED);
		assert_string_equal(j->reason, t[i].reason);
		assert_int_equal(j->exit_code, t[i].code);
		assert_int_equal(j->signal, t[i].sig);
	}
}

/* Messages of no meaning, and its connection's end. */
static void a_peer_gone_mad(void **state)
{
	struct ctl_job_reader r;
	char b[8];

	send_verb("started", "pid", "99999999999");
	send_verb("what", NULL, NULL);
	send_verb("error", NULL, NULL);
	event();
	assert_int_equal(j->state, JOB_ENDED);
	j->state = JOB_RUNNING;
	ctl_job_reader_add(j, &r, JOB_OUT);
	assert_int_equal(send_out("out", "last", 4), 0);
	shutdown(peer, SHUT_RDWR);
	event();
	assert_string_equal(j->reason, "lost");
	assert_int_equal(get(&r, sizeof(b), b), 4); /* what came before is not lost */
	assert_int_equal(get(&r, sizeof(b), b), 0);
	ctl_job_reader_remove(j, &r);
}

/* Input goes out in pieces, and waits for room. */
static void input(void **state)
{
	static char big[4 << 20];
	static struct msb_msg m;
	struct msb_err e = {0};
	size_t total = 0;
	int64_t n;

	assert_int_equal(ctl_job_write(&nobody, j, "abc", 3, true, &e), 3);
	assert_int_equal(msb_msg_recv(peer, &m), 0);
	assert_string_equal(msb_msg_verb(&m), "in");
	assert_int_equal(m.payload_bytes, 3);
	n = ctl_job_write(&nobody, j, big, sizeof(big), true, &e);
	assert_true(n > 0 && n < (int64_t)sizeof(big));
	assert_int_equal(ctl_job_write(&nobody, j, big, 1, true, &e), -EAGAIN);
	{
		LOCK_SCOPE(&c.lock);
		assert_false(ctl_job_writable(j));
		assert_int_equal(
			ctl_job_close_stdin(j, &e), 0); /* there is no room for that either */
		assert_true(j->eof_due);
	}
	while (msb_msg_recv(peer, &m) == 0)
		total += m.payload_bytes;
	assert_int_equal(total, n);
	event();
	assert_true(j->eof_sent);
	assert_int_equal(msb_msg_recv(peer, &m), 0);
	assert_string_equal(msb_msg_verb(&m), "eof");
	assert_int_equal(ctl_job_write(&nobody, j, "x", 1, true, &e), -EPIPE);
}

/* What is written to argv in pieces is bounded, also where the arguments stay few. */
static void argv_in_pieces(void **state)
{
	static char space[4096];
	struct msb_err e = {0};
	int r = 0;

	memset(space, ' ', sizeof(space));
	j->state = JOB_CREATED;
	assert_int_equal(ctl_job_set_argv(j, "[\"a\"]", 5, false, &e), 0);
	for (size_t n = 5; r == 0; n += sizeof(space)) {
		assert_true(n <= CTL_MAX_ARGV_TEXT);
		r = ctl_job_set_argv(j, space, sizeof(space), true, &e);
	}
	assert_int_equal(r, -E2BIG);
	assert_true(j->argv_raw_bytes > CTL_MAX_ARGV_TEXT - sizeof(space));
	assert_int_equal(j->argv_bytes, 2);
	assert_int_equal(ctl_job_set_argv(j, "b\0c", 3, false, &e), 0);
	assert_int_equal(ctl_job_set_argv(j, "d\0", 2, true, &e), 0);
	assert_int_equal(j->argv_bytes, 5);
	assert_memory_equal(j->argv, "b\0cd", 5);
}

/* Jobs of two sandboxes, several in one chain: each is found by its serial until it goes. */
static void by_serial(void **state)
{
	enum { N = 9 };
	struct ctl_sandbox other = {.c = &c, .refs = 1, .state = ST_RUNNING, .job_bound = 1000};
	uint32_t serial[N];
	struct ctl_job *made[N];
	struct msb_err e = {0};

	assert_int_equal(ctl_ring_init(&other.events, 8), 0);
	for (int i = 0; i < N; i++) {
		assert_int_equal(ctl_job_new(i % 2 ? &other : &sb, &made[i], &e), 0);
		serial[i] = made[i]->serial;
		c.next_serial += i % 3 ? CTL_JOB_CHAINS - 1 : 0;
	}
	assert_ptr_equal(ctl_job_by_serial(&c, j->serial), j);
	for (int gone = 0; gone < N; gone++) {
		int last = (gone + 4) % N; /* from the middle of the chains, then their ends */

		for (int i = 0; i < N; i++)
			assert_ptr_equal(ctl_job_by_serial(&c, serial[i]), made[i]);
		ctl_job_keep(made[last], false);
		made[last] = NULL;
	}
	for (int i = 0; i < N; i++)
		assert_null(ctl_job_by_serial(&c, serial[i]));
	assert_ptr_equal(ctl_job_by_serial(&c, j->serial), j);
	assert_null(ctl_job_by_serial(&c, j->serial + CTL_JOB_CHAINS));
	ctl_ring_done(&other.events);
}

/* An agent that holds one job, and never comes to the end of what that has printed. */
static void *endless_agent(void *arg)
{
	static struct msb_msg m;
	int listener = *(int *)arg;

	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd)) {
		if (msb_msg_recv(fd, &m) < 0)
			continue;
		if (!strcmp(msb_msg_verb(&m), "jobs")) {
			msb_msg_init(&m, "ok");
			msb_msg_set(&m, "job", "7");
			(void)msb_msg_send(fd, &m);
			continue;
		}
		msb_msg_init(&m, "ok");
		msb_msg_set(&m, "started_usec", "1");
		msb_msg_set(&m, "mark", "hangup");
		(void)msb_msg_send(fd, &m);
		msb_msg_init(&m, "exec");
		msb_msg_set(&m, "arg", "yes");
		(void)msb_msg_send(fd, &m);
		msb_msg_init(&m, "out"); /* not even output */
		while (msb_msg_send(fd, &m) == 0)
			;
	}
	return NULL;
}

/* A new msbd comes up all the same. */
static void adopts_from_a_peer_gone_mad(void **state)
{
	_cleanup_close_ int listener = -1;
	char dir[] = "/tmp/msb-job-XXXXXX", path[108];
	struct msb_err e = {0};
	pthread_t t;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(c.paths.run, sizeof(c.paths.run), "%s", dir);
	(void)snprintf(sb.id, sizeof(sb.id), "0123456789abcdef0123456789abcdef");
	ctl_sock_path(&c, sb.id, "agent", path);
	*strrchr(path, '/') = '\0';
	assert_int_equal(msb_mkdir_p(path, 0700), 0);
	ctl_sock_path(&c, sb.id, "agent", path);
	listener = msb_unix_listen(path, SOCK_SEQPACKET, 0600, &e);
	assert_true(listener >= 0);
	assert_int_equal(pthread_create(&t, NULL, endless_agent, &listener), 0);
	assert_int_equal(ctl_jobs_adopt(&sb), 0);
	assert_non_null(ctl_job_find(&sb, 7));
	assert_int_equal(ctl_job_find(&sb, 7)->state, JOB_RUNNING);
	/* It waits for who held it, from the time on that the tree is there; nobody comes. */
	assert_true(ctl_job_find(&sb, 7)->rejoin);
	assert_true(sb.rejoin_at_ms == UINT64_MAX);
	ctl_jobs_rejoin_over(&sb);
	assert_int_equal(sb.rejoin_at_ms, 0);
	assert_null(ctl_job_find(&sb, 7));
	ctl_jobs_drop(&sb);
	assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(msb_rm_rf(AT_FDCWD, dir), 0);
}

static void signals(void **state)
{
	assert_int_equal(ctl_signal_parse("TERM"), 15);
	assert_int_equal(ctl_signal_parse("SIGKILL"), 9);
	assert_int_equal(ctl_signal_parse("1"), 1);
	assert_int_equal(ctl_signal_parse("64"), 64);
	assert_int_equal(ctl_signal_parse("0"), -EINVAL);
	assert_int_equal(ctl_signal_parse("65"), -EINVAL);
	assert_int_equal(ctl_signal_parse("term"), -EINVAL);
	assert_int_equal(ctl_signal_parse(""), -EINVAL);
	assert_int_equal(ctl_signal_parse("SIG"), -EINVAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(against_a_model),
		TEST(nobody_reads),
		TEST(the_other_stream),
		TEST(ends),
		TEST(a_peer_gone_mad),
		TEST(input),
		TEST(argv_in_pieces),
		TEST(by_serial),
		TEST(adopts_from_a_peer_gone_mad),
		cmocka_unit_test(signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
