// SPDX-License-Identifier: Apache-2.0
// base/notify: what arrives at a service manager's socket.
#include "base/cleanup.h"
#include "base/notify.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* A manager's socket at @name (`@` in front: abstract). */
static int listen_at(const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	size_t n = strlen(name);

	memcpy(sa.sun_path, name, n);
	if (*name == '@')
		sa.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&sa,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
		0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void expect(int fd, const char *want)
{
	char got[2 * MSB_NOTIFY_MAX] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	assert_string_equal(got, want);
	assert_int_equal(recv(fd, got, sizeof(got), 0), -1); /* one message, no more */
}

static void nobody_listens(void **state)
{
	static const char *const no_address[] = {"", "/", "@", "relative", "vsock:2:1234"};
	char longest[200] = "/";

	unsetenv("NOTIFY_SOCKET");
	assert_false(msb_notify_init());
	msb_notify("READY=1", "nobody hears it");
	for (size_t i = 0; i < ARRAY_LEN(no_address); i++) {
		setenv("NOTIFY_SOCKET", no_address[i], 1);
		assert_false(msb_notify_init());
		assert_null(getenv("NOTIFY_SOCKET"));
	}
	/* one byte more than an address holds */
	memset(longest + 1, 'x', sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_false(msb_notify_init());
}

static void messages(void **state)
{
	char dir[] = "/tmp/test_notify.XXXXXX", path[64];
	int fd;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
	fd = listen_at(path);
	assert_true(msb_notify_init());
	assert_null(getenv("NOTIFY_SOCKET")); /* not for those that we start */
	msb_notify("READY=1", "serves %s", "/run/msb");
	expect(fd, "READY=1\nSTATUS=serves /run/msb");
	msb_notify(NULL, "%d machines", 3);
	expect(fd, "STATUS=3 machines");
	msb_notify("STOPPING=1", "ends");
	expect(fd, "STOPPING=1\nSTATUS=ends");
	close(fd);
	msb_notify("STOPPING=1", "the manager is gone");
	unlink(path);
	msb_notify("STOPPING=1", "its socket too");
	rmdir(dir);
}

static void abstract(void **state)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof(name), "@test_notify-%d", (int)getpid());
	fd = listen_at(name);
	assert_true(msb_notify_init());
	msb_notify("READY=1", "x");
	expect(fd, "READY=1\nSTATUS=x");
	close(fd);
}

/* What a path or a guest's sentence holds is no assignment, and no message is longer than it may
 * be. */
static void hostile_text(void **state)
{
	char name[64], big[MSB_NOTIFY_MAX * 2], want[MSB_NOTIFY_MAX] = "STATUS=";
	int fd;

	(void)snprintf(name, sizeof(name), "@test_notify-%d", (int)getpid());
	fd = listen_at(name);
	assert_true(msb_notify_init());
	msb_notify("READY=1", "%s", "a\nMAINPID=1\nb");
	expect(fd, "READY=1\nSTATUS=a MAINPID=1 b");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	memset(want + 7, 'y', sizeof(want) - 8);
	msb_notify(NULL, "%s", big);
	expect(fd, want);
	close(fd);
}

/* Reads until @want arrives, a moment from now: 0 where it did. */
static int late_reader(int fd, const char *want)
{
	char got[MSB_NOTIFY_MAX];
	ssize_t n;

	alarm(100);
	(void)usleep(100 * 1000); /* so that the sender finds the queue full */
	while ((n = recv(fd, got, sizeof(got) - 1, 0)) > 0) {
		got[n] = '\0';
		if (!strcmp(got, want))
			return 0;
	}
	return 1;
}

/* A manager whose queue is full costs statuses, not time; an event waits for it. */
static void full_queue(void **state)
{
	char name[64];
	int fd, status;
	pid_t pid;

	(void)snprintf(name, sizeof(name), "@test_notify-%d", (int)getpid());
	fd = listen_at(name);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0); /* the reader waits */
	assert_true(msb_notify_init());
	for (int i = 0; i < 10000; i++)
		msb_notify(NULL, "%d", i);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(late_reader(fd, "READY=1\nSTATUS=at last"));
	msb_notify("READY=1", "at last");
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(messages),
		cmocka_unit_test(abstract),
		cmocka_unit_test(hostile_text),
		cmocka_unit_test(full_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
