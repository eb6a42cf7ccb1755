// SPDX-License-Identifier: Apache-2.0
// Jobs that msb-agentd holds for the next client, and ends in their time.
#include "tests/unit/agentd_client.h"
#include "tests/unit/agentd_guest.h"

#include <fcntl.h>

static int hold_as(unsigned int how, const char *script, uint32_t job)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return start_job(&(struct agent_exec){.argv = argv,
		.hold = how,
		.want_stdin = true,
		.log = true,
		.job = job,
		.note = "a note"});
}

static int hold(const char *script, uint32_t job)
{
	return hold_as(1, script, job);
}

static struct msb_msg held_state, held_exec;

static int adopt(uint32_t job)
{
	struct msb_err e = {0};

	return agent_adopt(ctl, job, &held_state, &held_exec, &e);
}

static unsigned int held(void)
{
	static uint32_t numbers[2 * AGENT_MAX_HELD];
	struct msb_err e = {0};
	int n = agent_held(ctl, numbers, ARRAY_LEN(numbers), &e);

	assert_true(n >= 0);
	return (unsigned int)n;
}

static void held_jobs(void **state)
{
	int s = hold("echo one; read a; echo $a; read b; echo $b; exit 5", 77), other;
	struct result r = {0};

	until(s, "out", &r);
	assert_int_equal(held(), 1);
	/* Its client says something and dies at once. */
	say(s, "in", "two\n", 4);
	msb_msg_init(&m, "mark");
	msb_msg_set(&m, "v", "a mark");
	assert_int_equal(msb_msg_send(s, &m), 0);
	close(s);
	done(&r);
	r = (struct result){0};
	other = adopt(77);
	assert_true(other >= 0);
	assert_string_equal(msb_msg_get(&held_state, "mark"), "a mark");
	assert_string_equal(msb_msg_get(&held_state, "eof"), "0");
	assert_string_equal(msb_msg_get(&held_exec, "note"), "a note");
	assert_string_equal(msb_msg_get(&held_exec, "arg"), "sh");
	until(other, "live", &r); /* between what was and what is new */
	/* A client that is there loses it to the next. */
	s = adopt(77);
	assert_true(s >= 0);
	assert_int_equal(msb_wait_fd(other, POLLIN, WAIT_MS), 0);
	close(other);
	say(s, "in", "three\n", 6);
	done(&r);
	r = (struct result){0};
	until(s, "exit", &r);
	assert_int_equal(number("code"), 5);
	assert_string_equal(r.out.buf, "one\ntwo\nthree\n");
	/* Ended, and still there, whoever asks. */
	close(s);
	done(&r);
	r = (struct result){0};
	s = adopt(77);
	until(s, "exit", &r);
	assert_string_equal(r.out.buf, "one\ntwo\nthree\n");
	say(s, "forget", NULL, 0);
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(held(), 0);
	assert_int_equal(adopt(77), -ENOENT);
	close(s);
	done(&r);
	/* One that is forgotten while it runs is hung up. */
	s = hold("sleep 100", 78);
	until(s, "started", &r);
	say(s, "forget", NULL, 0);
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(held(), 0);
	close(s);
}

/* Who adopts a job finds its client with its last word unread: that nobody wants it any more. */
static void forgotten_unheard(void **state)
{
	static const char *const scripts[] = {"exit 3", "sleep 100"};

	for (uint32_t i = 0; i < ARRAY_LEN(scripts); i++) {
		int s = hold(scripts[i], 80 + i), other = msb_unix_connect(ctl, SOCK_SEQPACKET);
		struct result r = {0};
		struct msb_err e = {0};

		until(s, i ? "started" : "exit", &r);
		assert_true(other >= 0);
		msb_msg_init(&m, "jobs"); /* so that its connection is known */
		assert_int_equal(msb_msg_call(other, &m, WAIT_MS, &e), 0);
		/* Both in one round, the new one first. */
		assert_int_equal(kill(agentd, SIGSTOP), 0);
		msb_msg_init(&m, "adopt");
		msb_msg_set(&m, "job", "%u", 80 + i);
		assert_int_equal(msb_msg_send(other, &m), 0);
		say(s, "forget", NULL, 0);
		close(s);
		assert_int_equal(kill(agentd, SIGCONT), 0);
		assert_int_equal(msb_wait_fd(other, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_answer(other, &m, &e), -ENOENT);
		assert_int_equal(held(), 0);
		close(other);
		done(&r);
	}
}

/* Where its client will be back nothing falls out that it may not have read, and all else waits. */
static void held_output_waits(void **state)
{
	int s = hold_as(AGENT_HOLD_WAITS, "seq 400000; read a; echo $a; exit 3", 6);
	struct result r = {0};
	unsigned int at = 0;

	until(s, "out", &r);
	say(s, "in", "end\n", 4);
	close(s);
	usleep(300000); /* would it go on, it would print more than is kept */
	done(&r);
	r = (struct result){0};
	s = adopt(6);
	assert_true(s >= 0);
	assert_string_equal(msb_msg_get(&held_state, "out_gone"), "0");
	assert_string_equal(msb_msg_get(&held_state, "in"), "4");
	until(s, "exit", &r);
	assert_int_equal(number("code"), 3);
	for (char *p = r.out.buf, *end; at < 400000; p = end + 1)
		assert_int_equal(strtoul(p, &end, 10), ++at);
	assert_true(r.out.len > 4 && !memcmp(r.out.buf + r.out.len - 4, "end\n", 4));
	say(s, "forget", NULL, 0);
	close(s);
	done(&r);
}

/* Its own connection is full of input that it does not read. */
static void forgotten_beside(void **state)
{
	static const char zeroes[AGENT_CHUNK_BYTES];
	int s = hold_as(AGENT_HOLD_WAITS, "sleep 100", 7), sent = 0;
	struct result r = {0};
	struct msb_err e = {0};

	until(s, "started", &r);
	assert_int_equal(fcntl(s, F_SETFL, O_NONBLOCK), 0);
	for (int idle = 0; idle < 20; idle++) {
		msb_msg_init(&m, "in");
		msb_msg_payload(&m, zeroes, sizeof(zeroes));
		if (msb_msg_send(s, &m) == 0) {
			idle = 0;
			sent++;
		} else {
			usleep(10000);
		}
	}
	assert_true(sent > 1);
	assert_int_equal(agent_forget(ctl, 7, &e), 0);
	for (int i = 0; held() && i < WAIT_MS / 10; i++)
		usleep(10000);
	assert_int_equal(held(), 0);
	assert_int_equal(agent_forget(ctl, 7, &e), 0); /* nobody knows it */
	close(s);
	done(&r);
}

/* What falls out is counted, and what is kept is the end, whole. */
static void held_output(void **state)
{
	int s = hold("seq 200000", 5), ended = 0;
	struct result r = {0};
	uint64_t gone;

	close(s); /* nobody reads: it goes on all the same */
	for (int i = 0; i < WAIT_MS / 10; i++) {
		done(&r);
		r = (struct result){0};
		s = adopt(5);
		assert_true(s >= 0);
		gone = strtoull(msb_msg_get(&held_state, "out_gone"), NULL, 10);
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		do {
			assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
			assert_int_equal(msb_msg_recv(s, &m), 0);
			if (!strcmp(msb_msg_verb(&m), "out"))
				msb_str_add(&r.out, msb_msg_payload_ptr(&m), m.payload_bytes);
		} while (strcmp(msb_msg_verb(&m), "live") != 0 &&
			 strcmp(msb_msg_verb(&m), "exit") != 0);
		close(s);
		/* Who was there while it ended was given all that came meanwhile, too. */
		if (!strcmp(msb_msg_verb(&m), "exit") && ended++)
			break;
		usleep(10000);
	}
	assert_int_equal(number("code"), 0);
	assert_true(r.out.len >= 262144 && r.out.len <= AGENTD_HELD_BYTES);
	assert_int_equal(gone + r.out.len, 1288895);
	assert_memory_equal(r.out.buf + r.out.len - 14, "199999\n200000\n", 14);
	done(&r);
}

/* Of those that ended and that nobody has come for, the oldest go. */
static void held_are_limited(void **state)
{
	const char *const argv[] = {"x", NULL};
	const struct agent_exec x = {.argv = argv, .hold = true, .note = ""};
	struct msb_err e = {0};
	struct wire_frame f;
	int s;

	guest_attach();
	guest_hello();
	for (int i = 0; i < AGENT_MAX_HELD + 9; i++) {
		while ((s = agent_exec(ctl, &x, &e)) == -EBUSY)
			; /* until the daemon has read our HELLO */
		assert_true(s >= 0);
		assert_true(guest_next(&f));
		assert_int_equal(f.type, WIRE_EXEC);
		guest_frame(WIRE_EXIT, f.id, "\0\0\1", 3);
		guest_send();
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s, &m), 0);
		close(s);
	}
	assert_int_equal(held(), AGENT_MAX_HELD);
	assert_int_equal(adopt(1), -ENOENT);
	s = adopt(AGENT_MAX_HELD + 9);
	assert_true(s >= 0);
	close(s);
	close(gport);
}

static void time_limits(void **state)
{
	const char *const meek[] = {"sleep", "100", NULL};
	const char *const stubborn[] = {
		"sh", "-c", "trap : TERM; while :; do sleep 0.1; done", NULL};
	int s = start_job(&(struct agent_exec){.argv = meek, .timeout_ms = 200});
	struct result r = {0};

	until(s, "exit", &r);
	assert_int_equal(number("signal"), SIGTERM);
	assert_int_equal(number("timeout"), 1);
	close(s);
	s = start_job(&(struct agent_exec){
		.argv = stubborn, .timeout_ms = 3000, .hold = true, .note = "", .job = 9});
	close(s);
	s = adopt(9);
	until(s, "exit", &r);
	assert_int_equal(number("signal"), SIGKILL);
	assert_int_equal(number("timeout"), 1);
	close(s);
	done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_GUEST(held_jobs),
		WITH_GUEST(forgotten_unheard),
		WITH_GUEST(held_output),
		WITH_GUEST(held_output_waits),
		WITH_GUEST(forgotten_beside),
		ALONE(held_are_limited),
		WITH_GUEST(time_limits),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
