/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's state in a directory of its own, without a mount or a thread. */
#ifndef MSB_TESTS_CTL_FIXTURE_H
#define MSB_TESTS_CTL_FIXTURE_H

#include "base/io.h"
#include "base/log.h"
#include "ctl/image_names.h"
#include "ctl/logins.h"
#include "ctl/model.h"
#include "ctl/pulls.h"
#include "ctl/volumes.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/msbu.XXXXXX";
static struct msb_paths paths;

static int fixture_setup(void **state)
{
	(void)strcpy(dir, "/tmp/msbu.XXXXXX");
	assert_non_null(mkdtemp(dir));
	memset(&paths, 0, sizeof(paths));
	(void)snprintf(paths.state, sizeof(paths.state), "%s/s", dir);
	(void)snprintf(paths.run, sizeof(paths.run), "%s/r", dir);
	(void)snprintf(paths.mnt, sizeof(paths.mnt), "%s/m", dir);
	(void)snprintf(paths.bin, sizeof(paths.bin), "%s/none", dir);
	msb_log_init("test", NULL, open("/dev/null", O_WRONLY | O_CLOEXEC));
	return 0;
}

static int fixture_teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static struct ctl *open_ctl(void)
{
	struct msb_err e = {0};
	struct ctl *c = NULL;

	if (ctl_open(&paths, -1, &c, &e) < 0)
		fail_msg("%s", e.msg);
	return c;
}

/* What a process's end would do. */
static void forget(struct ctl *c)
{
	c->db = ctl_db_close(c->db);
	for (size_t i = 0; i < c->nsb; i++)
		ctl_sandbox_unref(c->sb[i]);
	for (size_t i = 0; i < c->nimg; i++)
		ctl_image_unref(c->img[i]);
	for (size_t i = 0; i < c->nvol; i++)
		ctl_volume_unref(c->vol[i]);
	for (size_t i = 0; i < c->ndirs; i++)
		free(c->dir[i].path);
	for (size_t i = 0; i < c->npulls; i++)
		ctl_pull_unref(c->pull[i]);
	for (size_t i = 0; i < c->nlogins; i++) {
		free(c->login[i].host);
		free(c->login[i].user);
	}
	free(c->login);
	free(c->registries);
	ctl_ring_done(&c->events);
	ctl_ring_done(&c->errors);
	close(c->store_fd);
	close(c->sandboxes_fd);
	close(c->volumes_fd);
	close(c->run_fd);
	close(c->stop_fd);
	free(c);
}

#endif
