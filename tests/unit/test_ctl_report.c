// SPDX-License-Identifier: Apache-2.0
// Events that somebody may cause without end: how many are told, and that none is lost silently.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/report.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct ctl c;
static struct ctl_sandbox sb;

static int setup(void **state)
{
	msb_log_init("test", NULL, open("/dev/null", O_WRONLY | O_CLOEXEC));
	c = (struct ctl){.inotify_fd = -1};
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.changed, NULL);
	sb = (struct ctl_sandbox){.c = &c, .refs = 1, .name = "box", .id = "1234"};
	assert_int_equal(ctl_ring_init(&c.events, CTL_MAX_GEVENTS), 0);
	assert_int_equal(ctl_ring_init(&c.errors, CTL_MAX_ERRORS), 0);
	return ctl_ring_init(&sb.events, CTL_MAX_EVENTS);
}

static int teardown(void **state)
{
	ctl_ring_done(&c.events);
	ctl_ring_done(&c.errors);
	ctl_ring_done(&sb.events);
	return 0;
}

static unsigned int count(const struct ctl_ring *r, const char *what, const char **ret_last)
{
	unsigned int n = 0;

	for (uint64_t s = ctl_ring_oldest(r); s < r->next; s++)
		if (strstr(r->line[s % r->cap], what)) {
			*ret_last = r->line[s % r->cap];
			n++;
		}
	return n;
}

static void without_end(void **state)
{
	struct ctl_notes notes = {0};
	const char *last = "";

	for (int i = 0; i < CTL_MAX_NOTICES + 30; i++)
		ctl_notice(&c, &sb, &notes, "oom", ",\"x\":1");
	assert_int_equal(count(&sb.events, "\"event\":\"oom\",\"x\":1}", &last), CTL_MAX_NOTICES);
	assert_int_equal(count(&c.events, "\"event\":\"oom\"", &last), CTL_MAX_NOTICES);
	notes.since_ms -= CTL_NOTICES_MS; /* as if so long had passed */
	ctl_notice(&c, &sb, &notes, "oom", "");
	assert_int_equal(count(&sb.events, "\"event\":\"oom\"", &last), CTL_MAX_NOTICES + 1);
	assert_non_null(strstr(last, "\"event\":\"oom\",\"more\":30}\n"));
	ctl_notice(&c, &sb, &notes, "oom", "");
	assert_int_equal(count(&sb.events, "\"more\"", &last), 1);
}

static void errors_that_are_events(void **state)
{
	static const struct {
		int code;
		const char *kind;
	} t[] = {{EPERM, "denied"}, {EACCES, "denied"}, {EDQUOT, "limit"}, {ENFILE, "limit"},
		{EAGAIN, "limit"}, {EINVAL, NULL}, {EBUSY, NULL}, {EREMOTEIO, NULL}};
	const struct ctl_req q = {.c = &c, .uid = 77, .pid = 5};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {t[i].code, "said \"so\""};
		uint64_t before = sb.events.next;
		const char *line;

		ctl_error(&q, &sb, "/box/x", &e);
		assert_int_equal(sb.events.next, before + (t[i].kind != NULL));
		if (!t[i].kind)
			continue;
		line = sb.events.line[before % sb.events.cap];
		assert_non_null(strstr(line, t[i].kind));
		assert_non_null(strstr(line, ",\"uid\":77,\"path\":\"/box/x\",\"errno\":\"E"));
		assert_non_null(strstr(line, "\"message\":\"said \\\"so\\\"\"}\n"));
	}
	assert_int_equal(c.errors.next, 1 + ARRAY_LEN(t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_end, setup, teardown),
		cmocka_unit_test_setup_teardown(errors_that_are_events, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
