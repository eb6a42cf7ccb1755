/* SPDX-License-Identifier: Apache-2.0 */
/* A client of msb-agentd: starts jobs, takes what they say, waits for events. */
#ifndef MSB_TESTS_AGENTD_CLIENT_H
#define MSB_TESTS_AGENTD_CLIENT_H

#include "tests/unit/agentd_fixture.h"

struct result {
	struct msb_str out, err;
	char last[16];	  /* verb of the last message */
	int code, signal; /* of exit; -1: not said */
	int error;
	char msg[MSB_ERR_MAX], fault[16];
	bool started;
};

static struct msb_msg m; /* not for the stack of a test under ASan */

static inline int start_job(const struct agent_exec *x)
{
	struct msb_err e = {0};
	int s = agent_exec(ctl, x, &e);

	if (s < 0)
		fprintf(stderr, "exec: %s\n", e.msg);
	assert_true(s >= 0);
	return s;
}

static inline int sh(const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return start_job(&(struct agent_exec){.argv = argv});
}

static inline void say(int s, const char *verb, const void *p, size_t n)
{
	msb_msg_init(&m, verb);
	msb_msg_payload(&m, p, n);
	assert_int_equal(msb_msg_send(s, &m), 0);
}

static inline uint64_t number(const char *key)
{
	uint64_t v = 0;

	return msb_msg_get_u64(&m, key, &v) < 0 ? (uint64_t)-1 : v;
}

/* Takes one message. Return: false after the last one. */
static inline bool step(int s, struct result *r)
{
	const char *v;

	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(msb_msg_recv(s, &m), 0);
	v = msb_msg_verb(&m);
	(void)snprintf(r->last, sizeof(r->last), "%s", v);
	if (!strcmp(v, "started")) {
		assert_false(r->started);
		assert_true(number("pid") > 1);
		assert_true(number("job") >= 1);
		r->started = true;
		return true;
	}
	if (!strcmp(v, "out") || !strcmp(v, "err")) {
		assert_true(r->started);
		assert_true(m.payload_bytes > 0 && m.payload_bytes <= AGENT_CHUNK_BYTES);
		msb_str_add(
			*v == 'o' ? &r->out : &r->err, msb_msg_payload_ptr(&m), m.payload_bytes);
		return true;
	}
	r->code = (int)number("code");
	r->signal = (int)number("signal");
	if (!strcmp(v, "error")) {
		r->error = r->code;
		(void)snprintf(r->msg, sizeof(r->msg), "%s", msb_msg_get(&m, "msg"));
		(void)snprintf(r->fault, sizeof(r->fault), "%s", msb_msg_get(&m, "fault") ?: "");
	} else {
		assert_string_equal(v, "exit");
	}
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(msb_msg_recv(s, &m), -EPIPE); /* and nothing after it */
	return false;
}

/* Takes messages up to one of @verb; output is added up. */
static inline void until(int s, const char *verb, struct result *r)
{
	do {
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s, &m), 0);
		if (!strcmp(msb_msg_verb(&m), "out"))
			msb_str_add(&r->out, msb_msg_payload_ptr(&m), m.payload_bytes);
	} while (strcmp(msb_msg_verb(&m), verb) != 0);
}

static inline struct result finish(int s)
{
	struct result r = {0};

	while (step(s, &r))
		;
	close(s);
	return r;
}

static inline void done(struct result *r)
{
	msb_str_done(&r->out);
	msb_str_done(&r->err);
}

static inline void expect(int s, const char *out, const char *err, int code)
{
	struct result r = finish(s);

	assert_string_equal(r.last, "exit");
	assert_string_equal(r.out.buf ?: "", out);
	assert_string_equal(r.err.buf ?: "", err);
	assert_int_equal(r.code, code);
	done(&r);
}

static inline int event(int w, char kind[32])
{
	do /* that we are heard comes first */
		if (msb_wait_fd(w, POLLIN, WAIT_MS) < 0 || msb_msg_recv(w, &m) < 0)
			return -1;
	while (!strcmp(msb_msg_verb(&m), "ok"));
	assert_string_equal(msb_msg_verb(&m), "event");
	(void)snprintf(kind, 32, "%s", msb_msg_get(&m, "kind"));
	return 0;
}

static inline void read_file(const char *name, struct msb_str *s)
{
	assert_int_equal(msb_read_file(dir_fd, name, 64u << 20, s), 0);
}

#endif
