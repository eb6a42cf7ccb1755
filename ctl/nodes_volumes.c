// SPDX-License-Identifier: Apache-2.0
// Files of a volume.
#include "base/cleanup.h"
#include "ctl/nodes.h"
#include "ctl/volumes.h"
#include "fs/du.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

int ctl_read_volume_kind(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_adds(s, at->vol->disk ? "disk\n" : "dir\n");
	return 0;
}

int ctl_write_volume_kind(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	return l->n == 0 && l->more ? 0 : ctl_volume_set_kind(at->vol, l->p, l->n, e);
}

int ctl_read_volume_quota(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	if (at->vol->quota_bytes)
		msb_str_addf(s, "%" PRIu64, at->vol->quota_bytes);
	msb_str_adds(s, "\n");
	return 0;
}

int ctl_write_volume_quota(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	if (l->n == 0 && l->more)
		return 0; /* the newline of a value that came in pieces */
	return ctl_volume_set_quota(at->vol, l->p, l->n, e);
}

int ctl_read_volume_used(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	static const atomic_bool never = false;
	const atomic_bool *stop = at->cancel ? &at->cancel->set : &never;
	_cleanup_close_ int fd =
		at->vol->disk ? ctl_volume_disk(at->vol, true) : ctl_volume_files(at->vol);
	uint64_t bytes;
	struct stat st;
	bool partial;

	if (fd < 0)
		return msb_err_set(
			e, -fd, "the files of volume %s: %s", at->vol->name, strerror(-fd));
	bytes = at->vol->disk && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512
						     : fs_du(fd, stop, &partial);
	if (*stop)
		return msb_err_set(e, EINTR, "interrupted");
	msb_str_addf(s, "%" PRIu64 "\n", bytes);
	return 0;
}

int ctl_read_volume_users(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_volume_users(at->vol, "\n", s);
	if (s->len)
		msb_str_adds(s, "\n");
	return 0;
}
