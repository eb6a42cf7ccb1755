// SPDX-License-Identifier: Apache-2.0
// A volume that is given away: its files' owners on the host.
#include "ctl/volumes.h"
#include "base/cleanup.h"
#include "fs/du.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* By descriptors that say what they are: whoever gives it away, or a guest, may put other files
 * there meanwhile. */
static int give_one(int dir, const char *name, uid_t from, uid_t to, gid_t gid, mode_t *ret_type)
{
	_cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	*ret_type = 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	*ret_type = st.st_mode & S_IFMT;
	if (st.st_uid != from)
		return 0;
	return fchownat(fd, "", to, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int ctl_volume_give(int fd, uid_t from, uid_t to, gid_t gid, unsigned int depth)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *de;
	int r = d ? 0 : -errno;

	while (d && (de = readdir(d))) {
		_cleanup_close_ int sub = -1;
		mode_t type = 0;
		int one = 0;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		one = give_one(dirfd(d), de->d_name, from, to, gid, &type);
		if (one == 0 && type == S_IFDIR && depth == FS_DU_MAX_DEPTH)
			one = -ELOOP;
		if (one == 0 && type == S_IFDIR) {
			sub = openat(dirfd(d), de->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			one = sub >= 0		? ctl_volume_give(sub, from, to, gid, depth + 1)
			      : errno == ENOENT ? 0
						: -errno;
		}
		r = r < 0 ? r : one;
	}
	return r;
}
