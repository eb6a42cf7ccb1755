// SPDX-License-Identifier: Apache-2.0
// msb-agentd: out of descriptors, newcomers wait, and so does it.
#include "base/io.h"
#include "vmm/agentd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* In place of libc's: two have no descriptor left, the third ends the loop. */
static int attempts;
static bool waited; /* since the last one */

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	assert_int_equal(waited, attempts > 0);
	waited = false;
	errno = attempts++ < 2 ? EMFILE : EBADF;
	return -1;
}

int epoll_wait(int ep, struct epoll_event *ev, int max, int timeout)
{
	int n = epoll_pwait(ep, ev, max, timeout, NULL);

	waited |= n == 0;
	return n;
}

static void it_waits_for_descriptors(void **state)
{
	char dir[] = "/tmp/msb-full-XXXXXX", path[64];
	struct msb_err e = {0};
	int dir_fd, fd, client;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/ctl", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = msb_unix_listen(path, SOCK_SEQPACKET, 0600, &e);
	client = msb_unix_connect(path, SOCK_SEQPACKET);
	assert_true(dir_fd >= 0 && fd >= 0 && client >= 0);
	assert_int_equal(agentd_run(fd, dir_fd, &e), -EBADF);
	assert_int_equal(attempts, 3);
	close(client);
	close(fd);
	close(dir_fd);
	(void)msb_rm_rf(AT_FDCWD, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(it_waits_for_descriptors)};

	return cmocka_run_group_tests_name("agentd_full", tests, NULL, NULL);
}
