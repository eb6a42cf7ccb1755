// SPDX-License-Identifier: Apache-2.0
// Where lower contents lie: in the packs of a store, or in the files of a directory of the host.
//
// A directory's files are found by name and must be what they were when the directory was walked,
// before a read and after it: what a guest reads is never of two versions. Its tree is the index's.
#include "fs/backends/overlay/ovl.h"
#include "fs/image/files.h"
#include "fs/reopen.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FILE_STEP 4096u /* what the index says of a directory's file K: K * FILE_STEP of pack 0 */

int ovl_lower_extent(struct ovl *o, uint64_t nid, uint64_t off, struct img_extent *ret)
{
	struct img_extent first;
	int r = img_index_extent(o->lower, nid, off, ret);

	if (r < 0 || !o->files || ret->len == 0 || ret->pack_id == IMG_HOLE)
		return r;
	r = img_index_extent(o->lower, nid, 0, &first);
	if (r < 0 || first.pack_id == IMG_HOLE || first.pack_off / FILE_STEP > UINT32_MAX - 1)
		return -EBADMSG;
	ret->pack_id = (uint32_t)(first.pack_off / FILE_STEP);
	ret->pack_off = off;
	return 0;
}

static bool same(const struct img_file *f, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_dev == f->dev && st->st_ino == f->ino &&
	       (uint64_t)st->st_size == f->size && st->st_mtim.tv_sec == f->mtime_sec &&
	       st->st_mtim.tv_nsec == f->mtime_nsec;
}

/* Not opened before it is known: to open a device or a pipe is to use it. */
static int open_file(struct ovl *o, uint32_t k)
{
	const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_XDEV};
	_cleanup_close_ int fd = -1;
	const struct img_file *f;
	const char *path;
	struct stat st;
	int r = img_files_get(o->files, k, &f, &path);

	if (r < 0 || f->flags & IMG_FILE_DENIED)
		return r < 0 ? r : -EACCES;
	fd = (int)syscall(SYS_openat2, o->dir_fd, path, &how, sizeof(how));
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV
			       ? -ESTALE
			       : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	return same(f, &st) ? fs_reopen(fd, O_RDONLY) : -ESTALE;
}

int ovl_lower_open(struct ovl *o, uint32_t pack)
{
	char name[9];
	int fd;

	if (o->files)
		return open_file(o, pack);
	snprintf(name, sizeof(name), "%08x", pack);
	fd = openat(o->packs_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int ovl_lower_check(struct ovl *o, uint32_t pack, int fd)
{
	const struct img_file *f;
	const char *path;
	struct stat st;
	int r;

	if (!o->files)
		return 0;
	r = img_files_get(o->files, pack, &f, &path);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	return same(f, &st) ? 0 : -ESTALE;
}
