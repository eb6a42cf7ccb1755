// SPDX-License-Identifier: Apache-2.0
// Health checks: docker's rules by tables, and a sandbox's checks against an agent that is played
// here.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "ctl/conf.h"
#include "ctl/health.h"
#include "ctl/meta.h"
#include "ctl/model.h"
#include "ctl/ring.h"
#include "tests/unit/ctl_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

/* ---- rules */

static void forms(void **state)
{
	static const struct {
		const char *words;
		size_t n;
		int form;
	} t[] = {
		{"NONE", 5, HEALTH_FORM_NONE}, {"CMD\0true", 9, HEALTH_FORM_CMD},
		{"CMD\0a\0\0b", 9, HEALTH_FORM_CMD}, {"CMD-SHELL\0exit 1", 17, HEALTH_FORM_SHELL},
		{"", 0, -EINVAL}, {"", 1, -EINVAL}, {"NONE\0x", 7, -EINVAL}, {"CMD", 4, -EINVAL},
		{"CMD\0\0a", 7, -EINVAL}, {"CMD-SHELL", 10, -EINVAL}, {"CMD-SHELL\0", 11, -EINVAL},
		{"CMD-SHELL\0a\0b", 14, -EINVAL}, {"cmd\0true", 9, -EINVAL}, {"true", 5, -EINVAL},
		{"CMD\0true", 8, -EINVAL}, /* cut */
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};

		assert_int_equal(ctl_health_form(t[i].words, t[i].n, &e), t[i].form);
		assert_int_equal(e.code, t[i].form < 0 ? EINVAL : 0);
	}
}

static void what_follows(void **state)
{
	static const struct ctl_health_rule three = {10, 1, 0, 3, 0}, slow = {10, 1, 60, 2, 0},
					    said = {10, 1, 60, 2, 1}, rare = {10, 1, 60, 2, 30};
	static const struct {
		const struct ctl_health_rule *r;
		enum ctl_health_status s;
		bool good;
		uint64_t since_ms;
		unsigned int failing, failing_then;
		enum ctl_health_status then;
	} t[] = {
		{&three, HEALTH_STARTING, true, 0, 0, 0, HEALTH_HEALTHY},
		{&three, HEALTH_STARTING, false, 0, 0, 1, HEALTH_STARTING},
		{&three, HEALTH_STARTING, false, 0, 2, 3, HEALTH_UNHEALTHY},
		{&three, HEALTH_HEALTHY, false, 0, 1, 2, HEALTH_HEALTHY},
		{&three, HEALTH_HEALTHY, false, 0, 2, 3, HEALTH_UNHEALTHY},
		{&three, HEALTH_UNHEALTHY, false, 0, 7, 8, HEALTH_UNHEALTHY},
		{&three, HEALTH_UNHEALTHY, true, 0, 7, 0, HEALTH_HEALTHY},
		/* While it starts a failure is none, but once it was well it is one. */
		{&slow, HEALTH_STARTING, false, 59999, 0, 0, HEALTH_STARTING},
		{&slow, HEALTH_STARTING, false, 60000, 0, 1, HEALTH_STARTING},
		{&slow, HEALTH_STARTING, true, 1, 0, 0, HEALTH_HEALTHY},
		{&slow, HEALTH_HEALTHY, false, 1, 1, 2, HEALTH_UNHEALTHY},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		unsigned int failing = t[i].failing;

		assert_int_equal(
			ctl_health_after(t[i].r, t[i].s, t[i].good, t[i].since_ms, &failing),
			t[i].then);
		assert_int_equal(failing, t[i].failing_then);
	}
	assert_int_equal(ctl_health_wait_ms(&three, HEALTH_STARTING, 0), 10000);
	assert_int_equal(ctl_health_wait_ms(&slow, HEALTH_STARTING, 0), 5000);
	assert_int_equal(ctl_health_wait_ms(&said, HEALTH_STARTING, 0), 1000);
	assert_int_equal(ctl_health_wait_ms(&said, HEALTH_STARTING, 60000), 10000);
	assert_int_equal(ctl_health_wait_ms(&said, HEALTH_HEALTHY, 0), 10000);
	assert_int_equal(ctl_health_wait_ms(&rare, HEALTH_STARTING, 0), 30000);
	assert_int_equal(ctl_health_wait_ms(&slow, HEALTH_HEALTHY, 0), 10000);
	assert_int_equal(ctl_health_wait_ms(&slow, HEALTH_STARTING, 60000), 10000);
	for (int i = HEALTH_STARTING; i <= HEALTH_UNHEALTHY; i++)
		assert_int_equal(ctl_health_named(ctl_health_name((enum ctl_health_status)i)), i);
	assert_int_equal(ctl_health_named("well"), HEALTH_NONE);
}

/* ---- a sandbox, and its agent */

static struct ctl *c;
static struct ctl_sandbox *sb;
static int agent = -1, conn = -1;
static struct msb_msg m;

static void open_it(void)
{
	c = open_ctl();
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sb = ctl_sandbox_find(c, "h");
}

static void close_it(void)
{
	close(c->epoll_fd);
	forget(c);
}

static int setup(void **state)
{
	char path[128];

	assert_int_equal(fixture_setup(state), 0);
	open_it();
	assert_int_equal(ctl_sandbox_create(c, "h", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "h");
	(void)snprintf(path, sizeof(path), "%s/sb/%s", paths.run, sb->id);
	assert_int_equal(mkdir(path, 0700), 0);
	ctl_sock_path(c, sb->id, "agent", path);
	agent = msb_unix_listen(path, SOCK_SEQPACKET, 0600, NULL);
	assert_true(agent >= 0);
	assert_int_equal(fcntl(agent, F_SETFL, O_NONBLOCK), 0);
	ctl_sandbox_state(sb, ST_RUNNING, NULL);
	return 0;
}

static int teardown(void **state)
{
	if (conn >= 0)
		close(conn);
	close(agent);
	conn = -1;
	close_it();
	return fixture_teardown(state);
}

static void set(enum ctl_conf_id id, const char *value)
{
	struct msb_err e = {0};

	if (ctl_conf_set(sb, id, value, strlen(value), &e) < 0)
		fail_msg("%s", e.msg);
}

/* Looks @ms after the last end. */
static void look(uint64_t ms)
{
	LOCK_SCOPE(&c->lock);
	ctl_health_look(sb, sb->health.last_ms + ms);
}

/* Whether a check has come; its request is in m. */
static bool came(void)
{
	int fd = accept4(agent, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return false;
	if (conn >= 0)
		close(conn);
	conn = fd;
	assert_int_equal(msb_msg_recv(conn, &m), 0);
	return true;
}

static void say(const char *verb, const char *key, const char *value, const char *payload)
{
	msb_msg_init(&m, verb);
	if (key)
		msb_msg_set(&m, key, "%s", value);
	if (payload)
		msb_msg_payload(&m, payload, strlen(payload));
	assert_int_equal(msb_msg_send(conn, &m), 0);
}

static void event(void)
{
	LOCK_SCOPE(&c->lock);
	ctl_health_event(sb);
}

/* One check from its beginning to its end. */
static void check(const char *code)
{
	look(1000);
	assert_true(came());
	say("ok", NULL, NULL, NULL);
	say("started", "pid", "7", NULL);
	say("exit", "code", code, NULL);
	event();
	assert_int_equal(sb->health.check.sock, -1);
}

static void output_is(const char *part)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	ctl_health_print(sb, &s);
	if (!s.buf || !strstr(s.buf, part))
		fail_msg("%s: there is no %s", s.buf ?: "", part);
}

static void events_have(const char *part)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_ring_reader r = {.seq = 1};

	ctl_ring_read(&sb->events, &r, 0, 1 << 20, &s);
	assert_non_null(strstr(s.buf ?: "", part));
}

static void from_starting_to_healthy(void **state)
{
	uint64_t changes = sb->health.changes;

	look(0);
	assert_int_equal(sb->health.status, HEALTH_NONE);
	assert_int_equal(ctl_health_due(sb), UINT64_MAX);
	set(CONF_HEALTH_INTERVAL, "1");
	set(CONF_USER, "12:34");
	set(CONF_HEALTHCHECK, "[\"CMD-SHELL\", \"test -e /x y\"]"); /* which looks at once */
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	assert_int_equal(sb->health.changes, changes + 1);
	look(999);
	assert_false(came());
	look(1000);
	assert_true(came());
	assert_string_equal(msb_msg_verb(&m), "exec");
	assert_string_equal(msb_msg_get(&m, "arg"), "/bin/sh");
	assert_string_equal(
		msb_msg_next(&m, "arg", msb_msg_next(&m, "arg", msb_msg_get(&m, "arg"))),
		"test -e /x y");
	assert_string_equal(msb_msg_get(&m, "user"), "12:34");
	assert_string_equal(msb_msg_get(&m, "log"), "0");
	assert_null(msb_msg_get(&m, "job"));
	assert_null(msb_msg_get(&m, "hold"));
	look(5000);
	assert_false(came()); /* one at a time */
	say("ok", NULL, NULL, NULL);
	say("started", "pid", "7", NULL);
	say("out", NULL, NULL, "wel\"l");
	say("err", NULL, NULL, "\xff");
	say("exit", "code", "0", NULL);
	event();
	assert_int_equal(sb->health.status, HEALTH_HEALTHY);
	output_is("\"exit_code\":0,\"reason\":\"exited\",\"output\":\"wel\\\"l\\ufffd\"}\n");
	events_have("\"event\":\"health\",\"old\":\"none\",\"new\":\"starting\"");
	events_have("\"event\":\"health\",\"old\":\"starting\",\"new\":\"healthy\"");
	assert_int_equal(sb->commands, 0);
	assert_int_equal(sb->njobs, 0);
	assert_int_equal(sb->jobs_total, 0);
}

static void failures_in_a_row(void **state)
{
	set(CONF_HEALTH_INTERVAL, "1");
	set(CONF_HEALTHCHECK, "[\"CMD\", \"true\"]");
	check("1");
	check("1");
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	check("1");
	assert_int_equal(sb->health.status, HEALTH_UNHEALTHY);
	check("0");
	assert_int_equal(sb->health.status, HEALTH_HEALTHY);
	set(CONF_HEALTH_RETRIES, "1"); /* holds for the next one */
	look(1000);
	assert_true(came());
	say("ok", NULL, NULL, NULL);
	say("error", "code", "2", NULL);
	event();
	assert_int_equal(sb->health.status, HEALTH_UNHEALTHY);
	output_is("\"exit_code\":127,\"reason\":\"not_found\",\"error\":");
	check("0");
	look(1000);
	assert_true(came());
	say("error", "code", "11", NULL); /* it was not taken */
	event();
	output_is("\"exit_code\":125,\"reason\":\"refused\",\"error\":");
	assert_int_equal(sb->health.checks, 7);
	assert_int_equal(sb->health.failures, 5);
	/* Another command begins anew. */
	set(CONF_HEALTHCHECK, "[\"CMD\", \"false\"]");
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	assert_int_equal(sb->health.failing, 0);
	assert_int_equal(sb->health.nlast, 0);
	set(CONF_HEALTHCHECK, "[\"NONE\"]");
	assert_int_equal(sb->health.status, HEALTH_NONE);
	look(10000);
	assert_false(came());
}

static void late(void **state)
{
	set(CONF_HEALTH_INTERVAL, "2");
	set(CONF_HEALTH_TIMEOUT, "3");
	set(CONF_HEALTHCHECK, "[\"CMD\", \"sleep\", \"99\"]");
	look(2000);
	assert_true(came());
	say("ok", NULL, NULL, NULL);
	event();
	{
		LOCK_SCOPE(&c->lock);
		ctl_health_look(sb, sb->health.check.begun_ms + 2999);
		assert_int_equal(sb->health.nlast, 0);
		ctl_health_look(sb, sb->health.check.begun_ms + 3000);
	}
	output_is("\"exit_code\":124,\"reason\":\"timeout\",\"error\":\"it ran longer than 3 s\"");
	assert_int_equal(msb_msg_recv(conn, &m), 0);
	assert_string_equal(msb_msg_verb(&m), "signal");
	assert_string_equal(msb_msg_get(&m, "n"), "9");
	/* It does not end: that is a failure each time, and no other one is begun. */
	look(1999);
	assert_int_equal(sb->health.failing, 1);
	look(2000);
	look(2000);
	assert_false(came());
	assert_int_equal(sb->health.failing, 3);
	assert_int_equal(sb->health.status, HEALTH_UNHEALTHY);
	output_is("has not ended yet");
	say("exit", "signal", "9", NULL);
	event();
	assert_int_equal(sb->health.checks, 3); /* its end was told */
	look(2000);
	assert_true(came());
}

static void what_says_nothing(void **state)
{
	set(CONF_HEALTH_INTERVAL, "1");
	set(CONF_HEALTHCHECK, "[\"CMD\", \"true\"]");
	look(1000);
	assert_true(came());
	close(conn); /* msb-agentd was killed */
	conn = -1;
	event();
	assert_int_equal(sb->health.check.sock, -1);
	look(1000);
	assert_true(came());
	sb->state = ST_PAUSED;
	look(0);
	assert_int_equal(sb->health.check.sock, -1);
	assert_int_equal(msb_msg_recv(conn, &m), -EPIPE); /* it is hung up */
	assert_int_equal(ctl_health_due(sb), UINT64_MAX);
	look(9000);
	assert_false(came());
	sb->state = ST_RUNNING;
	look(1000);
	assert_true(came());
	sb->state = ST_STOPPING;
	say("ok", NULL, NULL, NULL);
	say("exit", "signal", "15", NULL);
	event();
	assert_int_equal(sb->health.checks, 0);
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	sb->state = ST_STOPPED;
	look(0);
	assert_int_equal(sb->health.status, HEALTH_NONE);
}

static void bounds(void **state)
{
	char many[CTL_HEALTH_OUTPUT_BYTES];

	memset(many, 'x', sizeof(many));
	many[sizeof(many) - 1] = '\0';
	set(CONF_HEALTH_INTERVAL, "1");
	set(CONF_HEALTHCHECK, "[\"CMD\", \"yes\"]");
	look(1000);
	assert_true(came());
	say("ok", NULL, NULL, NULL);
	say("out", NULL, NULL, many);
	say("out", NULL, NULL, "yz");
	say("out", NULL, NULL, many);
	say("exit", "code", "0", NULL);
	event();
	assert_int_equal(sb->health.last[0].output.len, CTL_HEALTH_OUTPUT_BYTES);
	output_is("xy\",\"cut\":true}");
	for (int i = 0; i < 2 * CTL_HEALTH_RESULTS; i++)
		check(i % 2 ? "1" : "0");
	assert_int_equal(sb->health.nlast, CTL_HEALTH_RESULTS);
	assert_int_equal(sb->health.last[0].exit_code, 1);
}

static void the_images(void **state)
{
	char *words[] = {"CMD", "check", NULL}, *none[] = {"CHECK", "it", NULL},
	     *long_ones[] = {"CMD", NULL, NULL};
	struct ctl_meta meta = {
		.health = words, .nhealth = 2, .health_interval_sec = 2, .health_retries = 5000};
	char *big = malloc(CTL_MAX_ARGV_BYTES + 1);

	assert_non_null(big);
	memset(big, 'b', CTL_MAX_ARGV_BYTES);
	big[CTL_MAX_ARGV_BYTES] = '\0';
	long_ones[1] = big;
	ctl_health_image(sb, &meta);
	look(0);
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	assert_int_equal(sb->health.image.retries, CTL_MAX_HEALTH_RETRIES);
	look(1999);
	assert_false(came());
	look(2000);
	assert_true(came());
	assert_string_equal(msb_msg_get(&m, "arg"), "check");
	set(CONF_HEALTHCHECK, "[\"CMD\",\"own\"]");
	look(2000);
	assert_true(came());
	assert_string_equal(msb_msg_get(&m, "arg"), "own");
	set(CONF_HEALTHCHECK, "[\"NONE\"]");
	assert_int_equal(sb->health.status, HEALTH_NONE);
	set(CONF_HEALTHCHECK, "");
	assert_int_equal(sb->health.status, HEALTH_STARTING);
	for (int i = 0; i < 2; i++) { /* what is no check is none */
		meta.health = i ? long_ones : none;
		ctl_health_image(sb, &meta);
		assert_null(sb->health.image_words);
	}
	free(big);
}

static void by_the_next_msbd(void **state)
{
	set(CONF_HEALTH_INTERVAL, "1");
	set(CONF_HEALTH_START, "100");
	set(CONF_HEALTHCHECK, "[\"CMD\",\"true\"]");
	check("0");
	set(CONF_HEALTH_START, "");
	for (int i = 0; i < 3; i++)
		check("1");
	assert_int_equal(sb->health.status, HEALTH_UNHEALTHY);
	close_it();
	open_it();
	{
		LOCK_SCOPE(&c->lock);
		ctl_health_recovered(sb, msb_now_ms(), 60000);
	}
	assert_int_equal(sb->health.status, HEALTH_UNHEALTHY);
	assert_int_equal(sb->health.failing, 3);
	check("0");
	assert_int_equal(sb->health.status, HEALTH_HEALTHY);
	/* Its machine is found dead. */
	ctl_sandbox_state(sb, ST_FAILED, NULL);
	look(0);
	assert_int_equal(sb->health.status, HEALTH_NONE);
	close_it();
	open_it();
	assert_int_equal(sb->health.status, HEALTH_NONE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),
		cmocka_unit_test(what_follows),
		TEST(from_starting_to_healthy),
		TEST(failures_in_a_row),
		TEST(late),
		TEST(what_says_nothing),
		TEST(bounds),
		TEST(the_images),
		TEST(by_the_next_msbd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
