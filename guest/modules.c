// SPDX-License-Identifier: Apache-2.0
// Kernel modules out of the initramfs.
#include "guest/init_root.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#define COMPRESSED_FILE 4 /* of finit_module(2) */

static void load(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *dot = strrchr(path, '.');
	int flags = dot && strcmp(dot, ".ko") != 0 ? COMPRESSED_FILE : 0;

	/* ENOSYS: a kernel that has everything built in, with the initramfs of one that has not. */
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST &&
			      errno != ENOSYS))
		dprintf(2, "msb init: %s: %s\n", path, strerror(errno));
}

static int is_module(const struct dirent *de)
{
	return de->d_name[0] != '.';
}

void ga_modules_load(const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, is_module, alphasort);

	for (int i = 0; i < n; i++) {
		char path[300];

		(void)snprintf(path, sizeof(path), "%.40s/%s", dir, names[i]->d_name); /* fits */
		load(path);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}
