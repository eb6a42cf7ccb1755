/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of a test's own. */
#ifndef MSB_TESTS_TMPDIR_H
#define MSB_TESTS_TMPDIR_H

#include "base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[32];
static int dir_fd;

static int tmpdir_setup(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/msb-test.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int tmpdir_teardown(void **state)
{
	close(dir_fd);
	return msb_rm_rf(AT_FDCWD, dir);
}

#endif
