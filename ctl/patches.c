// SPDX-License-Identifier: Apache-2.0
// Patches of a root.
#include "ctl/patches.h"
#include "base/cleanup.h"
#include "ctl/kept.h"
#include "fs/fsd.h"

#include <fcntl.h>

static bool any(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return ctl_kept_count(sb, AREA_PATCHES) > 0;
}

int ctl_patches_check(struct ctl_sandbox *sb, bool served, struct msb_err *e)
{
	if (served || !any(sb))
		return 0;
	return msb_err_set(e, EOPNOTSUPP,
		"patches are put into a root that msb's file server has, an image's or a directory's; "
		"this one is a disk, which the machine's kernel alone writes: `unpatch PATH` in ctl takes "
		"them away");
}

int ctl_patches_apply(struct ctl_files_of *of, struct msb_err *e)
{
	_cleanup_close_ int dir = -1, changes = -1;
	int at = of->c->sandboxes_fd;
	char path[CTL_KEPT_PATH];
	int r;

	(void)snprintf(path, sizeof(path), "%s/upper", of->id);
	changes = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (changes < 0)
		return msb_err_set(e, errno, "cannot open the directory of changes: %m");
	if (any(of->sb)) {
		ctl_kept_path(of->sb, AREA_PATCHES, NULL, path);
		dir = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir < 0)
			return msb_err_set(e, errno, "cannot open the patches: %m");
	} else if (faccessat(changes, FSD_PATCH_RECORD, F_OK, 0) < 0) {
		return 0; /* there never were any */
	}
	r = ctl_files_give(of, &changes, false, e);
	if (r == 0)
		r = ctl_files_give(of, &dir, true, e);
	return r < 0 ? r : ctl_files_answer(of, fsd_patch(of->f->sock, dir, changes, e));
}
