// SPDX-License-Identifier: Apache-2.0
// Removing a tree, whoever made it.
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A guest nests directories as deep as it likes; stack and descriptors end. What lies deeper than
 * this is moved up into the directory that is being removed, which meets it again there. */
#define MAX_DEPTH 32

struct rm {
	int top; /* the directory that is to go */
	unsigned int moved;
};

static int move_up(struct rm *rm, int at, const char *name)
{
	char to[24];

	do {
		if (rm->moved == UINT_MAX)
			return -ELOOP;
		(void)snprintf(to, sizeof(to), ".msb-rm-%u", rm->moved++);
		if (renameat2(at, name, rm->top, to, RENAME_NOREPLACE) == 0)
			return 0;
	} while (errno == EEXIST);
	return -errno;
}

/* Its owner may have taken the right to look into it from himself. */
static DIR *open_dir(int at, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(at, name, flags);
	DIR *d;

	if (fd < 0 && errno == EACCES && fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = openat(at, name, flags);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	return d;
}

/* 0; 1 @name is a directory that has to be emptied; -errno. */
static int unlink_one(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : 1;
}

static int rm_below(struct rm *rm, DIR *d, unsigned int depth)
{
	struct dirent *de;

	while ((de = readdir(d))) {
		_cleanup_closedir_ DIR *sub = NULL;
		int r;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		r = unlink_one(dirfd(d), de->d_name);
		if (r > 0 && depth == MAX_DEPTH) {
			r = move_up(rm, dirfd(d), de->d_name);
		} else if (r > 0) {
			sub = open_dir(dirfd(d), de->d_name);
			r = sub ? rm_below(rm, sub, depth + 1) : -errno;
			if (r == 0 && unlinkat(dirfd(d), de->d_name, AT_REMOVEDIR) < 0)
				r = -errno;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int msb_rm_rf(int dirfd_, const char *name)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct rm rm = {0};
	int r = unlink_one(dirfd_, name);

	if (r <= 0)
		return r;
	d = open_dir(dirfd_, name);
	if (!d)
		return -errno;
	rm.top = dirfd(d);
	for (;;) {
		unsigned int moved = rm.moved;

		r = rm_below(&rm, d, 1);
		if (r < 0)
			return r;
		if (unlinkat(dirfd_, name, AT_REMOVEDIR) == 0)
			return 0;
		if (errno != ENOTEMPTY || rm.moved == moved)
			return -errno;
		rewinddir(d);
	}
}
