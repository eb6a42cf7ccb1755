// SPDX-License-Identifier: Apache-2.0
// The overlay's data files that no inode of the log owns: a crash left them, half copied up or
// deleted while open. They are found when the log has been loaded and removed before the first
// change: until then a device state may bring their inodes back.
#include "fs/backends/overlay/ovl.h"

#include <fcntl.h>
#include <stdlib.h>

/* Whether a file of data/ is somebody's; that inode knows it then. */
static bool owned(const struct ovl *o, const char *name, uint64_t *ret_ino)
{
	char *end;
	uint64_t ino = strtoull(name, &end, 16);
	struct ovl_inode *i = *end ? NULL : ovl_find(o, ino);

	*ret_ino = *end || strcmp(ovl_data_name(ino).path + 3, name) != 0 ? 0 : ino;
	if (!i || !(i->flags & OVL_OWN_DATA) || !*ret_ino)
		return false;
	i->flags |= OVL_FILE;
	return true;
}

/* False: no memory. */
static bool note(struct ovl *o, uint64_t ino)
{
	uint64_t *p = o->unclaimed;

	if ((o->unclaimed_n & (o->unclaimed_n - 1)) == 0)
		p = reallocarray(p, o->unclaimed_n ? (size_t)o->unclaimed_n * 2 : 1, sizeof(*p));
	if (!p)
		return false;
	o->unclaimed = p;
	o->unclaimed[o->unclaimed_n++] = ino;
	return true;
}

static int scan_dir(struct ovl *o, const char *dir)
{
	int fd = openat(o->data_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t ino;

	if (!d) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return err == ENOENT ? 0 : -err;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || owned(o, e->d_name, &ino))
			continue;
		if (!(ino && note(o, ino)) && unlinkat(dirfd(d), e->d_name, 0) < 0)
			return -errno;
	}
	return 0;
}

int ovl_data_scan(struct ovl *o)
{
	int r = 0;

	for (unsigned int b = 0; b < 256 && r == 0; b++) {
		char dir[3];

		snprintf(dir, sizeof(dir), "%02x", b);
		r = scan_dir(o, dir);
	}
	atomic_store(&o->has_unclaimed, o->unclaimed_n > 0);
	return r;
}

bool ovl_data_claim(struct ovl *o, uint64_t ino)
{
	LOCK_SCOPE(&o->scan_lock);

	for (uint64_t k = 0; k < o->unclaimed_n; k++) {
		if (o->unclaimed[k] == ino) {
			o->unclaimed[k] = 0;
			return true;
		}
	}
	return false;
}

void ovl_data_purge(struct ovl *o)
{
	if (!atomic_load(&o->has_unclaimed))
		return;
	/* Whoever comes second waits: it may be about to make one of these files. */
	LOCK_SCOPE(&o->scan_lock);
	for (uint64_t k = 0; k < o->unclaimed_n; k++) {
		if (o->unclaimed[k])
			(void)ovl_data_unlink(o, o->unclaimed[k]); /* else the next load's */
	}
	free(o->unclaimed);
	o->unclaimed = NULL;
	o->unclaimed_n = 0;
	atomic_store(&o->has_unclaimed, false);
}
