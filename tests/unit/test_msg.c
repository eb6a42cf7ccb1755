// SPDX-License-Identifier: Apache-2.0
// base/msg: what is sent arrives, what is malformed is refused, descriptors are owned by one side.
#include "base/cleanup.h"
#include "base/msg.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct msb_msg m, r; /* 64 KiB each: not for the stack of a test under ASan */

static void pair(int sv[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
}

static void round_trip(void **state)
{
	const char *a;
	int sv[2], fd, got;
	uint64_t n;

	pair(sv);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	msb_msg_init(&m, "exec");
	msb_msg_set(&m, "arg", "sh");
	msb_msg_set(&m, "arg", "-c");
	msb_msg_set(&m, "arg", "%s", "");
	msb_msg_set(&m, "n", "%d", 42);
	msb_msg_payload(&m, "\0bytes", 6);
	msb_msg_add_fd(&m, fd);
	assert_int_equal(msb_msg_send(sv[0], &m), 0);
	assert_int_equal(msb_msg_recv(sv[1], &r), 0);
	assert_string_equal(msb_msg_verb(&r), "exec");
	a = msb_msg_get(&r, "arg");
	assert_string_equal(a, "sh");
	a = msb_msg_next(&r, "arg", a);
	assert_string_equal(a, "-c");
	a = msb_msg_next(&r, "arg", a);
	assert_string_equal(a, "");
	assert_null(msb_msg_next(&r, "arg", a));
	assert_null(msb_msg_get(&r, "ar"));
	assert_int_equal(msb_msg_get_u64(&r, "n", &n), 0);
	assert_int_equal(n, 42);
	assert_int_equal(msb_msg_get_u64(&r, "arg", &n), -EINVAL);
	assert_int_equal(msb_msg_get_u64(&r, "none", &n), -ENOENT);
	assert_int_equal(r.payload_bytes, 6);
	assert_memory_equal(msb_msg_payload_ptr(&r), "\0bytes", 6);
	assert_int_equal(r.nfds, 1);
	got = msb_msg_take_fd(&r, 0);
	assert_true(got >= 0 && got != fd);
	assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(msb_msg_take_fd(&r, 0), -1);
	assert_int_equal(msb_msg_take_fd(&r, 1), -1);
	msb_msg_close_fds(&r);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC); /* taken: still the caller's */
	close(got);
	close(fd);
	close(sv[0]);
	assert_int_equal(msb_msg_recv(sv[1], &r), -EPIPE);
	close(sv[1]);
}

static void last_words(void **state)
{
	int sv[2];

	/* What a peer said before it closed arrives, also where it left something unread. */
	for (int unread = 0; unread < 2; unread++) {
		pair(sv);
		if (unread) {
			msb_msg_init(&m, "in");
			assert_int_equal(msb_msg_send(sv[1], &m), 0);
		}
		msb_msg_init(&m, "out");
		assert_int_equal(msb_msg_send(sv[0], &m), 0);
		msb_msg_init(&m, "exit");
		assert_int_equal(msb_msg_send(sv[0], &m), 0);
		close(sv[0]);
		assert_int_equal(msb_msg_recv(sv[1], &r), 0);
		assert_string_equal(msb_msg_verb(&r), "out");
		assert_int_equal(msb_msg_recv(sv[1], &r), 0);
		assert_string_equal(msb_msg_verb(&r), "exit");
		assert_int_equal(msb_msg_recv(sv[1], &r), -EPIPE);
		close(sv[1]);
	}
}

static void too_big(void **state)
{
	static char big[MSB_MSG_MAX];
	int sv[2];

	pair(sv);
	msb_msg_init(&m, "x");
	msb_msg_payload(&m, big, MSB_MSG_MAX - 8 - 2);
	assert_int_equal(msb_msg_send(sv[0], &m), 0);
	assert_int_equal(msb_msg_recv(sv[1], &r), 0);
	assert_int_equal(r.payload_bytes, MSB_MSG_MAX - 8 - 2);
	msb_msg_init(&m, "x");
	msb_msg_payload(&m, big, MSB_MSG_MAX - 8 - 1);
	assert_int_equal(msb_msg_send(sv[0], &m), -E2BIG);
	msb_msg_init(&m, "x");
	for (int i = 0; i <= MSB_MSG_FDS; i++)
		msb_msg_add_fd(&m, 0);
	assert_int_equal(msb_msg_send(sv[0], &m), -E2BIG);
	close(sv[0]);
	close(sv[1]);
}

static void malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		int ret;
	} rows[] = {
		{"\3\0\0\0\1\0\0\0ab\0p", 12, 0}, {"", 0, -EBADMSG}, {"\3\0\0\0", 4, -EBADMSG},
		{"\0\0\0\0\0\0\0\0", 8, -EBADMSG},	 /* no verb */
		{"\3\0\0\0\0\0\0\0abc", 11, -EBADMSG},	 /* no NUL at the end */
		{"\4\0\0\0\0\0\0\0ab\0", 11, -EBADMSG},	 /* head longer than what came */
		{"\3\0\0\0\2\0\0\0ab\0p", 12, -EBADMSG}, /* payload longer */
		{"\3\0\0\0\0\0\0\0ab\0p", 12, -EBADMSG}, /* bytes left over */
		{"\3\0\0\0\xff\xff\xff\xff"
		 "ab\0p",
			12, -EBADMSG}, /* sum wraps */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memcpy(r.data, rows[i].bytes, rows[i].n);
		assert_int_equal(msb_msg_decode(&r, rows[i].n), rows[i].ret);
	}
}

static void answers(void **state)
{
	struct msb_err e = {0}, why = {0};
	int sv[2], before, after;

	pair(sv);
	msb_err_set(&why, ENOSPC, "no space on %s", "/x");
	assert_int_equal(msb_msg_reply_err(sv[1], &why), 0);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1000, &e), -ENOSPC);
	assert_string_equal(e.msg, "no space on /x");
	assert_int_equal(msb_msg_reply_ok(sv[1]), 0);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1000, &e), 0);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1, &e), -ETIMEDOUT);
	/* A peer that was taken over cannot make a failed call succeed or return a nonsense errno.
	 */
	msb_msg_init(&m, "error");
	msb_msg_set(&m, "code", "0");
	assert_int_equal(msb_msg_send(sv[1], &m), 0);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1000, &e), -EIO);
	msb_msg_init(&m, "error");
	msb_msg_set(&m, "code", "600"); /* what fuse_reply_err() cannot say */
	msb_msg_set(&m, "msg", "%s", "h\xc3\xa9 \033[2J\n");
	assert_int_equal(msb_msg_error(&m, &e), -EIO);
	assert_string_equal(e.msg, "h\xc3\xa9 \\x1b[2J\\x0a");
	msb_msg_init(&m, "error");
	msb_msg_set(&m, "code", "%d", ENOENT);
	msb_msg_set(&m, "msg", "%1000s", "");
	assert_int_equal(msb_msg_error(&m, &e), -ENOENT);
	assert_int_equal(strlen(e.msg), MSB_ERR_MAX - 1);
	msb_msg_init(&m, "error");
	assert_int_equal(msb_msg_error(&m, &e), -EIO);
	assert_string_equal(e.msg, "no reason given");
	/* Nor fill the caller's table of descriptors. */
	before = dup(0);
	close(before);
	msb_msg_init(&m, "ok");
	for (int i = 0; i < MSB_MSG_FDS; i++)
		msb_msg_add_fd(&m, 0);
	assert_int_equal(msb_msg_send(sv[1], &m), 0);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1000, &e), 0);
	after = dup(0);
	assert_int_equal(before, after);
	close(after);
	close(sv[1]);
	msb_msg_init(&m, "go");
	assert_int_equal(msb_msg_call(sv[0], &m, 1000, &e), -EPIPE);
	close(sv[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(last_words),
		cmocka_unit_test(too_big),
		cmocka_unit_test(malformed),
		cmocka_unit_test(answers),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
