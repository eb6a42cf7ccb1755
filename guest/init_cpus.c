// SPDX-License-Identifier: Apache-2.0
// How many of its CPUs a guest uses.
#include "guest/init_root.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>

#define CPUS "/sys/devices/system/cpu"

/* Return: whether CPU @i is there; -errno. */
static int set_online(int dir, unsigned int i, bool online)
{
	_cleanup_close_ int fd = -1;
	char path[32], is = '1';

	(void)snprintf(path, sizeof(path), "cpu%u/online", i);
	fd = openat(dir, path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (pread(fd, &is, 1, 0) != 1)
		return -errno;
	if ((is == '1') != online && pwrite(fd, online ? "1" : "0", 1, 0) != 1)
		return -errno;
	return 1;
}

int ga_cpus_set(uint32_t n, struct msb_err *e)
{
	_cleanup_close_ int dir = open(CPUS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned int i = 1;
	int r;

	if (dir < 0)
		return msb_err_set(e, errno, "the guest's " CPUS ": %m");
	for (; (r = set_online(dir, i, i < n)) > 0; i++)
		;
	if (r < 0)
		return msb_err_set(e, -r, "the guest's kernel does not switch CPU %u %s: %s", i,
			i < n ? "on" : "off", strerror(-r));
	return i >= n ? 0 : msb_err_set(e, ERANGE, "the guest has %u CPUs, not %u", i, n);
}
