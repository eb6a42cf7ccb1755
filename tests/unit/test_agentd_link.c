// SPDX-License-Identifier: Apache-2.0
// A guest that does not read, as one that is paused or boots: clients are answered all the same,
// nobody spins, and what was for it gets there once it reads.
#include "tests/unit/agentd_client.h"
#include "tests/unit/agentd_guest.h"

#define JOBS 24 /* of LONG bytes each: more than the link and msb-agentd's send buffer hold */
#define LONG 60000

static char argument[LONG];

static void job_number(char text[16], unsigned int i)
{
	(void)snprintf(text, 16, "JOB=%u", i);
}

/* Answered, though its EXEC may not have been sent. */
static int long_job(unsigned int i, bool hold)
{
	const char *const argv[] = {"x", argument, NULL};
	char number[16];
	const char *const env[] = {number, NULL};
	struct msb_err e = {0};
	int s = -1;

	job_number(number, i);
	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		s = agent_exec(ctl,
			&(struct agent_exec){.argv = argv,
				.env = env,
				.want_stdin = true,
				.job = i,
				.hold = hold,
				.note = hold ? "" : NULL},
			&e);
		if (s != -EBUSY) /* until the daemon has read our HELLO */
			break;
	}
	if (s < 0)
		fail_msg("job %u: %s", i, e.msg);
	return s;
}

static unsigned int status_jobs(void)
{
	int s = msb_unix_connect(ctl, SOCK_SEQPACKET);
	struct msb_err e = {0};

	assert_true(s >= 0);
	msb_msg_init(&m, "status");
	assert_int_equal(msb_msg_call(s, &m, WAIT_MS, &e), 0);
	close(s);
	return (unsigned int)number("jobs");
}

static char process_state(pid_t pid)
{
	char path[64], text[512] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strrchr(text, ')')[2];
}

/* One that spins never does. */
static void expect_sleep(void)
{
	for (int i = 0, asleep = 0; asleep < 10; i++) {
		assert_true(i < WAIT_MS / 10);
		asleep = process_state(agentd) == 'S' ? asleep + 1 : 0;
		usleep(10000);
	}
}

static void tell(int s, const char *verb, const char *key, int v)
{
	msb_msg_init(&m, verb);
	msb_msg_set(&m, key, "%d", v);
	assert_int_equal(msb_msg_send(s, &m), 0);
}

/* Which of the jobs a frame's EXEC is for. */
static unsigned int exec_number(const struct wire_frame *f)
{
	char text[16];

	for (unsigned int i = 1; i <= JOBS; i++) {
		job_number(text, i);
		for (size_t at = 0; at + 4 < f->len;
			at += strlen((const char *)f->payload + at) + 1)
			if (!strcmp((const char *)f->payload + at + strlen("env="), text))
				return i;
	}
	fail_msg("an EXEC of no job");
	return 0;
}

static void end_job(uint32_t id, char code)
{
	const char how[3] = {0, 0, code};

	guest_frame(WIRE_EXIT, id, how, sizeof(how));
	guest_send();
}

static void paused(void **state)
{
	enum { HELD = JOBS, GONE = JOBS - 1, SIGNALLED = JOBS - 2, FORGOTTEN = JOBS - 3, DEAF = 2 };
	struct msb_err e = {0};
	uint32_t id[JOBS + 1] = {0}, numbers[4];
	int s[JOBS + 1];
	static const enum wire_type then[] = {WIRE_SIGNAL, WIRE_SIGNAL, WIRE_IN, WIRE_IN_EOF};
	unsigned int left = JOBS - 3; /* that end, and whose clients are there */
	size_t at = 0;
	struct wire_frame f;
	struct result r;

	memset(argument, 'x', sizeof(argument) - 1);
	guest_attach();
	guest_hello();
	for (unsigned int i = 1; i <= JOBS; i++)
		s[i] = long_job(i, i == HELD || i == FORGOTTEN);
	assert_int_equal(status_jobs(), JOBS);
	assert_int_equal(agent_held(ctl, numbers, ARRAY_LEN(numbers), &e), 2);
	/* Clients that go, with and without a word. */
	close(s[GONE]);
	close(s[HELD]);
	close(s[FORGOTTEN]);
	assert_int_equal(agent_forget(ctl, FORGOTTEN, &e), 0);
	for (int i = 0; status_jobs() != JOBS - 2 && i < WAIT_MS / 10; i++)
		usleep(10000);
	assert_int_equal(status_jobs(), JOBS - 2); /* the guest will never hear of them */
	assert_int_equal(agent_held(ctl, numbers, ARRAY_LEN(numbers), &e), 1);
	/* Clients that speak: to a job that was sent, and to one that was not. */
	say(s[DEAF], "in", "input", 5);
	tell(s[SIGNALLED], "signal", "n", SIGUSR1);
	tell(s[SIGNALLED], "signal", "n", 64);
	say(s[SIGNALLED], "in", "more", 4);
	say(s[SIGNALLED], "eof", NULL, 0);
	expect_sleep();

	while (left || !id[HELD]) {
		assert_true(guest_next(&f));
		if (f.type == WIRE_EXEC) {
			unsigned int i = exec_number(&f);

			assert_int_equal(id[i], 0);
			assert_true(i != GONE && i != FORGOTTEN);
			id[i] = f.id;
			if (i == DEAF || i == SIGNALLED || i == HELD)
				continue;
			end_job(f.id, 5);
			left--;
		} else if (f.id == id[DEAF]) {
			assert_int_equal(f.type, WIRE_IN);
			assert_int_equal(f.len, 5);
			end_job(f.id, 6);
			left--;
		} else { /* after its EXEC, in its order */
			assert_int_equal(f.id, id[SIGNALLED]);
			assert_true(at < ARRAY_LEN(then));
			assert_int_equal(f.type, then[at]);
			if (f.type == WIRE_SIGNAL)
				assert_int_equal(wire_get32(f.payload), at ? 64 : SIGUSR1);
			if (++at == ARRAY_LEN(then)) {
				end_job(f.id, 7);
				left--;
			}
		}
	}
	for (unsigned int i = 1; i < FORGOTTEN; i++) {
		r = finish(s[i]);
		assert_int_equal(r.code, i == DEAF ? 6 : 5);
		done(&r);
	}
	r = finish(s[SIGNALLED]);
	assert_int_equal(r.code, 7);
	done(&r);
	assert_int_equal(status_jobs(), 1); /* the one that is held */
	close(gport);
}

/* The time that it is booted with is not that at which it was asked to. */
static void boot_clock(void **state)
{
	int s = msb_unix_connect(ctl, SOCK_SEQPACKET);
	const char *key, *value;
	size_t pos = 0, len;
	uint64_t from, clock = 0;
	struct timespec t;
	struct wire_frame f;

	guest_attach();
	msb_msg_init(&m, "boot");
	msb_msg_set(&m, "hostname", "host");
	assert_true(s >= 0);
	assert_int_equal(msb_msg_send(s, &m), 0);
	assert_int_equal(status_jobs(), 0); /* so that it was heard */
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &t), 0);
	from = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	guest_hello();
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_BOOT);
	while (wire_kv_next(f.payload, f.len, &pos, &key, &len, &value) > 0)
		if (wire_kv_is(key, len, "clock_usec"))
			clock = strtoull(value, NULL, 10);
	assert_true(clock >= from);
	close(s);
	close(gport);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(paused),
		ALONE(boot_clock),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
