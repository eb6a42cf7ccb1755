// SPDX-License-Identifier: Apache-2.0
// Roots that are no image: what `image` may say of them, and a directory below an overlay.
#include "ctl/root.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/owner.h"
#include "fs/image/open.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define LOWER "lower" /* in a sandbox's directory: the tree of the directory below */

static const char *const disks[] = {".qcow2", ".raw", ".img"};

enum ctl_root_kind ctl_root_kind(const char *image)
{
	size_t n = image ? strlen(image) : 0;

	if (n == 0)
		return CTL_ROOT_NONE;
	if (image[0] != '/')
		return CTL_ROOT_IMAGE;
	for (size_t i = 0; i < ARRAY_LEN(disks); i++) {
		size_t k = strlen(disks[i]);

		/* Not one that is all of a name. */
		if (n > k + 1 && !strcmp(image + n - k, disks[i]) && image[n - k - 1] != '/')
			return CTL_ROOT_DISK;
	}
	return CTL_ROOT_DIR;
}

int ctl_root_options_check(enum ctl_root_kind kind, const char *options, struct msb_err *e)
{
	if (kind == CTL_ROOT_DISK && *options && strcmp(options, "ro") != 0 &&
		strcmp(options, "rw") != 0)
		return msb_err_set(e, EINVAL,
			"root_options `%s`: of a disk the root has no options but ro and rw, because "
			"the machine's own kernel serves its files",
			options);
	return 0;
}

int ctl_root_check(struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	int r;

	if (text[0] != '/')
		return msb_err_set(e, EINVAL, "`%s` is not an absolute path", text);
	if (sb->used && strcmp(text, sb->conf[CONF_IMAGE]) != 0)
		return msb_err_set(e, EBUSY,
			"the root was made from `%s` and may hold changes; make another sandbox",
			sb->conf[CONF_IMAGE]);
	r = ctl_root_options_check(ctl_root_kind(text), ctl_conf_value(sb, CONF_ROOT_OPTIONS), e);
	if (r == 0)
		msb_str_adds(ret, text);
	return r;
}

void ctl_root_close(struct ctl_root_fds *fds)
{
	int *const all[] = {&fds->dir, &fds->index, &fds->files};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (*all[i] >= 0)
			close(*all[i]);
		*all[i] = -1;
	}
}

static int open_at(int dirfd, const char *dir, const char *file, int flags)
{
	char path[96];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = openat(dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static int open_both(int dirfd, const char *dir, int flags, struct ctl_root_fds *ret)
{
	ret->index = open_at(dirfd, dir, "index", flags);
	if (ret->index < 0)
		return ret->index;
	ret->files = open_at(dirfd, dir, "files", flags);
	return ret->files < 0 ? ret->files : 0;
}

static int sync_dir(int dirfd, const char *path)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Walked into a directory that gets its name once it is whole and on the disk. */
static int walk(struct ctl_sandbox *sb, const char *path, const char *lower,
	struct ctl_root_fds *ret, struct msb_err *e)
{
	struct img_open o = ctl_owner_opener(sb);
	int at = sb->c->sandboxes_fd, r;
	char fresh[80];

	(void)snprintf(fresh, sizeof(fresh), "%s.new", lower);
	r = msb_rm_rf(at, fresh);
	if (r == 0 && mkdirat(at, fresh, 0700) < 0)
		r = -errno;
	if (r == 0)
		r = open_both(at, fresh, O_RDWR | O_CREAT | O_EXCL, ret);
	if (r < 0)
		return msb_err_set(e, -r, "cannot make a tree for %s: %s", path, strerror(-r));
	r = img_open_dir(&o, path, ret->index, ret->files, &ret->dir, e);
	if (r < 0) {
		(void)msb_rm_rf(at, fresh); /* the next attempt does, too */
		return r;
	}
	r = sync_dir(at, fresh);
	if (r == 0 && renameat(at, fresh, at, lower) < 0)
		r = -errno;
	if (r == 0)
		r = sync_dir(at, sb->id);
	return r < 0 ? msb_err_set(e, -r, "cannot keep the tree of %s: %s", path, strerror(-r)) : 0;
}

int ctl_root_dir_open(struct ctl_sandbox *sb, const char *path, bool fresh,
	struct ctl_root_fds *ret, struct msb_err *e)
{
	struct img_open o = ctl_owner_opener(sb);
	int at = sb->c->sandboxes_fd, r = 0;
	char lower[64];

	(void)snprintf(lower, sizeof(lower), "%s/" LOWER, sb->id);
	*ret = (struct ctl_root_fds)CTL_ROOT_NO_FDS;
	if (fresh)
		r = msb_rm_rf(at, lower);
	if (r < 0)
		return msb_err_set(e, -r, "cannot forget the tree of %s: %s", path, strerror(-r));
	r = open_both(at, lower, O_RDONLY, ret);
	if (r == 0) {
		r = img_open_dir(&o, path, -1, -1, &ret->dir, e);
	} else if (r == -ENOENT) {
		ctl_root_close(ret);
		r = walk(sb, path, lower, ret, e);
	} else {
		r = msb_err_set(e, -r, "cannot open the tree of %s: %s", path, strerror(-r));
	}
	if (r < 0)
		ctl_root_close(ret);
	return r < 0 ? msb_err_wrap(e, "image") : 0;
}
