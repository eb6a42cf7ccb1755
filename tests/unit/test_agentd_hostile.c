// SPDX-License-Identifier: Apache-2.0
// msb-agentd against guests that break the protocol.
#include "tests/unit/agentd_client.h"
#include "tests/unit/agentd_guest.h"

/* A command that begins and ends: the session is well. */
static void guest_runs_one(void)
{
	struct result r;
	int s;
	uint32_t id = guest_exec(&s);

	guest_frame(WIRE_EXIT, id, "\0\0\5", 3);
	guest_send();
	r = finish(s);
	assert_int_equal(r.code, 5);
	done(&r);
}

static void violations(void **state)
{
	static const uint8_t zeros[WIRE_MAX_PAYLOAD];
	static const struct {
		enum wire_type type;
		int id; /* 0: the job's, else an offset to it */
		const char *p;
		size_t n;
		unsigned int times;
	} t[] = {
		{WIRE_OUT, 0, "x", 1, 1},
		{WIRE_OUT, 1, "x", 1, 1},    /* a job that does not exist */
		{WIRE_OUT, 1024, "x", 1, 1}, /* and one of the same slot */
		{WIRE_OUT, 0, NULL, WIRE_STREAM_MAX + 1, 1},
		{WIRE_OUT, 0, NULL, WIRE_STREAM_MAX, 60}, /* past the credit: nobody reads */
		{WIRE_STARTED, 0, "\1\0\0\0", 4, 1},
		{WIRE_STARTED, 0, "\1", 1, 1},
		{WIRE_EXIT, 0, "\0\0", 2, 1},
		{WIRE_EXIT, 0, "\2\0\0", 3, 1},
		{WIRE_EXIT, 0, "\0\0\0", 3, 2},	      /* twice */
		{WIRE_CREDIT, 0, "\3\1\0\0\0", 5, 1}, /* more than was ever used */
		{WIRE_CREDIT, 0, "\43\0\0\0\0", 5, 1},
		{WIRE_CREDIT, 0, "\3", 1, 1},
		{WIRE_OK, 0, NULL, 0, 1},
		{WIRE_OK, (int)AGENTD_FIRST_REQUEST, NULL, 0, 1},
		{WIRE_EXEC, 0, NULL, 0, 1}, /* what only the host says */
		{WIRE_BOOT, 0, NULL, 0, 1},
	};
	struct msb_err e = {0};
	int w = agent_watch(ctl, &e);
	char kind[32];

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct result r;
		uint32_t id;
		int s;

		guest_attach();
		guest_hello();
		id = guest_exec(&s);
		if (i) /* the first one is output before that */
			guest_frame(WIRE_STARTED, id, "\1\1\0\0", 4);
		for (unsigned int k = 0; k < t[i].times; k++) {
			while (wire_tx_frame(&gtx, t[i].type, id + (uint32_t)t[i].id,
				       t[i].p ? (const void *)t[i].p : zeros, t[i].n) < 0)
				guest_send();
		}
		guest_send();
		do
			assert_int_equal(event(w, kind), 0);
		while (strcmp(kind, "lost") != 0);
		assert_true(strlen(msb_msg_get(&m, "reason")) > 10);
		r = finish(s);
		done(&r);
		guest_hello(); /* it starts a session anew */
		guest_runs_one();
		close(gport);
	}
	close(w);
}

/* A guest that lies about its figures, and one that does not say them. */
static void figures_of_a_hostile_guest(void **state)
{
	static const char lies[] = "cpu_user_usec=-1\0cpu_idle_usec=9223372036854775808\0"
				   "memory_total_bytes=7\0memory_total_bytes=8\0secret=1\0"
				   "oom_kills=3 \0cpu_steal_usec=5\0cpu_iowait_usec";
	struct msb_err e = {0};
	struct wire_stats w;
	struct wire_frame f;
	int s[AGENTD_MAX_REQUESTS + 8], one;

	guest_attach();
	guest_hello();
	one = -1;
	for (uint64_t end = msb_now_ms() + WAIT_MS; one < 0 && msb_now_ms() < end;) {
		struct pollfd p[2] = {{-1, POLLIN, 0}, {gport, POLLIN, 0}};

		p[0].fd = one = agent_stats_ask(ctl, &e);
		assert_true(one >= 0);
		assert_true(poll(p, 2, WAIT_MS) > 0);
		if (p[0].revents) { /* EBUSY: it has not read our HELLO */
			close(one);
			one = -1;
		}
	}
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_STATUS);
	/* However many ask meanwhile: no request is left for who has to be heard. */
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		s[i] = agent_stats_ask(ctl, &e);
		assert_true(s[i] >= 0);
	}
	close(s[0]);
	guest_frame(WIRE_OK, f.id, lies, sizeof(lies));
	guest_send();
	for (size_t i = 1; i < ARRAY_LEN(s); i++) {
		struct pollfd p[2] = {{s[i], POLLIN, 0}, {gport, POLLIN, 0}};

		/* Those that came after the answer have the guest asked once more. */
		while (poll(p, 2, WAIT_MS) > 0 && !p[0].revents) {
			assert_true(guest_next(&f));
			guest_frame(WIRE_OK, f.id, lies, sizeof(lies));
			guest_send();
		}
		assert_true(p[0].revents);
		assert_int_equal(agent_stats_answer(s[i], &w, &e), 0);
		assert_int_equal(w.have, 1u << WIRE_MEMORY_TOTAL_BYTES | 1u << WIRE_CPU_STEAL_USEC);
		assert_int_equal(w.v[WIRE_MEMORY_TOTAL_BYTES], 7);
		close(s[i]);
	}
	close(one);
	/* Asked again; it breaks the protocol instead. */
	one = agent_stats_ask(ctl, &e);
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_STATUS);
	guest_frame(WIRE_OK, f.id + 1, NULL, 0);
	guest_send();
	assert_int_equal(msb_wait_fd(one, POLLIN, WAIT_MS), 0);
	assert_int_equal(agent_stats_answer(one, &w, &e), -EIO);
	close(one);
	close(gport);
}

static void flood_of_hellos(void **state)
{
	static const struct wire_preamble hello = {.version = WIRE_VERSION, .kind = WIRE_HELLO};
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e), s;
	uint32_t id;

	guest_attach();
	guest_hello();
	for (uint64_t end = msb_now_ms() + WAIT_MS;;) {
		ssize_t n;

		wire_tx_start(&gtx, &hello, true);
		n = send(gport, gtx.buf, gtx.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			break; /* it has had enough */
		assert_true(msb_now_ms() < end);
	}
	do
		assert_int_equal(event(w, kind), 0);
	while (strcmp(kind, "lost") != 0);
	close(gport);
	guest_attach(); /* a new machine is welcome */
	guest_hello();
	id = guest_exec(&s);
	guest_frame(WIRE_ERROR, id, "\2\0\0\0bad \33[31m\377 bytes", 4 + 16);
	guest_send();
	{
		struct result r = finish(s);

		assert_int_equal(r.error, 2);
		assert_string_equal(r.msg, "bad \\x1b[31m\\xff bytes");
		done(&r);
	}
	close(gport);
	close(w);
}

/* The nonce of a session that it broke opens it no other: each would be told of, and logged, again.
 */
static void an_old_hello(void **state)
{
	static const char *const want[] = {"ready", "lost", "ready"};
	struct wire_preamble old;
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e);

	guest_attach();
	guest_hello();
	old = gsync;
	for (int i = 0; i < 100; i++) {
		guest_frame(WIRE_BOOT, 0, NULL, 0);
		guest_send();
		wire_tx_start(&gtx, &old, false);
		guest_send();
	}
	guest_frame(WIRE_BOOT, 0, NULL, 0);
	guest_send();
	guest_hello();
	guest_runs_one();
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(event(w, kind), 0);
		assert_string_equal(kind, want[i]);
	}
	assert_int_equal(poll(&(struct pollfd){.fd = w, .events = POLLIN}, 1, 0), 0);
	close(w);
	close(gport);
}

static void another_version(void **state)
{
	const char *const argv[] = {"x", NULL};
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e), r = 0;
	struct wire_frame f;

	guest_attach();
	assert_true(guest_next(&f));
	gsync.kind = WIRE_HELLO;
	gsync.version = WIRE_VERSION + 1;
	for (int i = 0; i < 100; i++) {
		wire_tx_start(&gtx, &gsync, false);
		guest_send();
	}
	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		r = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
		if (r != -EBUSY)
			break;
	}
	assert_int_equal(r, -EPROTO);
	assert_int_equal(boot_as("h", WAIT_MS, &e), -EPROTO);
	/* It is told, and logged, once. */
	assert_int_equal(event(w, kind), 0);
	assert_string_equal(kind, "lost");
	assert_int_equal(poll(&(struct pollfd){.fd = w, .events = POLLIN}, 1, 200), 0);
	close(w);
	close(gport);
}

static void a_guest_that_is_silent(void **state)
{
	uint64_t before = msb_now_ms();
	struct msb_err e = {0};

	guest_attach();
	assert_int_equal(boot_as("h", 300, &e), -ETIMEDOUT);
	assert_true(msb_now_ms() - before >= 300);
	close(gport);
}

static void jobs_are_limited(void **state)
{
	const char *const argv[] = {"x", NULL};
	static int s[AGENT_MAX_JOBS];
	static uint32_t id[AGENT_MAX_JOBS];
	struct msb_err e = {0};
	struct result r;
	int one;

	guest_attach();
	guest_hello();
	for (int i = 0; i < AGENT_MAX_JOBS; i++)
		id[i] = guest_exec(&s[i]);
	assert_int_equal(agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e), -EAGAIN);
	guest_frame(WIRE_EXIT, id[77], "\0\0\1", 3);
	guest_send();
	r = finish(s[77]);
	assert_int_equal(r.code, 1);
	done(&r);
	id[77] = guest_exec(&s[77]);
	assert_int_equal(agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e), -EAGAIN);
	close(gport);
	for (int i = 0; i < AGENT_MAX_JOBS; i++) {
		r = finish(s[i]);
		assert_int_equal(r.error, EIO);
		done(&r);
	}
	one = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
	assert_int_equal(one, -EBUSY);
}

static void slow_clients_are_bounded(void **state)
{
	static const uint8_t data[WIRE_STREAM_MAX];
	uint32_t id, granted = WIRE_OUT_WINDOW, sent = 0;
	struct wire_frame f;
	struct result r;
	int s;

	guest_attach();
	guest_hello();
	id = guest_exec(&s);
	guest_frame(WIRE_STARTED, id, "\1\2\0\0", 4);
	guest_send();
	/* As much as credit allows; the client reads nothing. */
	for (;;) {
		while (granted >= WIRE_COST(sizeof(data))) {
			guest_frame(WIRE_OUT, id, data, sizeof(data));
			guest_send();
			granted -= WIRE_COST(sizeof(data));
			sent += sizeof(data);
			assert_true(sent < 2u << 20);
		}
		if (msb_wait_fd(gport, POLLIN, 300) < 0)
			break;
		assert_true(guest_next(&f));
		assert_int_equal(f.type, WIRE_CREDIT);
		granted += wire_get32(f.payload + 1);
	}
	guest_frame(WIRE_EXIT, id, "\0\0\0", 3);
	guest_send();
	r = finish(s);
	assert_int_equal(r.out.len, sent); /* and yet gets all of it, then the end */
	assert_int_equal(r.code, 0);
	done(&r);
	close(gport);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(violations),
		ALONE(figures_of_a_hostile_guest),
		ALONE(flood_of_hellos),
		ALONE(an_old_hello),
		ALONE(another_version),
		ALONE(a_guest_that_is_silent),
		ALONE(jobs_are_limited),
		ALONE(slow_clients_are_bounded),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
