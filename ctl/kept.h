/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a sandbox keeps for its guest: `scripts/` and `patches/`. Files of bytes, unlike the
 * others of the tree: opening with O_TRUNC empties them, and what is written lies where it was
 * written. They are on the disk, in the sandbox's directory, as they are in the tree; names, kinds,
 * sizes and modes are in memory as well. Only msbd writes there.
 *
 * All of it with ctl.lock held, but for reading and writing an open file.
 */
#ifndef MSB_CTL_KEPT_H
#define MSB_CTL_KEPT_H

#include "base/str.h"
#include "ctl/model.h"

#include <sys/stat.h>

enum ctl_area { AREA_SCRIPTS, AREA_PATCHES, AREA_COUNT };

#define CTL_KEPT_PATH (64 + CTL_MAX_KEPT_PATH)

struct ctl_kept {
	uint32_t serial; /* in node ids; 0 is the area's own directory */
	uint32_t parent; /* its serial */
	enum ctl_area area;
	mode_t mode;	/* S_IFDIR, S_IFREG or S_IFLNK, and permissions */
	uint64_t bytes; /* of a file */
	char *name;
};

/* Takes up what an earlier msbd kept. -ENOMEM, -EIO and others. */
int ctl_kept_load(struct ctl_sandbox *sb);
void ctl_kept_free(struct ctl_sandbox *sb);

struct ctl_kept *ctl_kept_by_serial(const struct ctl_sandbox *sb, uint32_t serial);
struct ctl_kept *ctl_kept_find(
	const struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent, const char *name);
size_t ctl_kept_count(const struct ctl_sandbox *sb, enum ctl_area area);

/**
 * ctl_kept_make() - Make a file, directory or symbolic link
 * @mode: type and permissions; of scripts the latter are always 0755
 * @target: of a link
 * Errors: -EINVAL not a name; -EPERM a directory or link among scripts; -EDQUOT too many of them;
 * -ENAMETOOLONG, -ELOOP too deep; -EEXIST; -ENOSPC.
 */
int ctl_kept_make(struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent, const char *name,
	mode_t mode, const char *target, struct ctl_kept **ret, struct msb_err *e);
/* Removes what is at @path below the area, and all that is in it. -ENOENT. */
int ctl_kept_remove(
	struct ctl_sandbox *sb, enum ctl_area area, const char *path, struct msb_err *e);
int ctl_kept_chmod(struct ctl_sandbox *sb, struct ctl_kept *f, mode_t mode, struct msb_err *e);
int ctl_kept_truncate(
	struct ctl_sandbox *sb, struct ctl_kept *f, uint64_t bytes, struct msb_err *e);

/* Where it is, below the directory of sandboxes; NULL: the area's directory. */
void ctl_kept_path(const struct ctl_sandbox *sb, enum ctl_area area, const struct ctl_kept *f,
	char ret[CTL_KEPT_PATH]);
int ctl_kept_target(const struct ctl_sandbox *sb, const struct ctl_kept *f, char *buf, size_t n);

/* An open file. */
int ctl_kept_open(const struct ctl_sandbox *sb, const struct ctl_kept *f);
/**
 * ctl_kept_write() - Write to an open file; takes ctl.lock
 * @append: at its end, whatever @off is
 * Errors: -ENODEV it was removed; -EFBIG, -EDQUOT the limits; -ENOSPC.
 */
int64_t ctl_kept_write(struct ctl_sandbox *sb, uint32_t serial, int fd, uint64_t off, bool append,
	const char *p, size_t n, struct msb_err *e);

#endif
