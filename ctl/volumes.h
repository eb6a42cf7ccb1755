/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: directories that outlive sandboxes and that several may have mounted at once.
 *
 *	state/volumes/ID/disk	of kind disk: ext4, raw, which one machine writes and any
 *				number read
 *	state/volumes/ID/data	what is in it. ID itself is its owner's, and lets those pass
 *				who may use the volume: what is below has the owners and
 *				modes of guests
 *	state/volumes/ID.usage	a struct fsd_usage, which every server of it maps
 *
 * A volume is a fact of the state file, `volume/NAME`. It is written after its directory is made,
 * and deleted before that is removed; what is no volume's is removed when msbd starts.
 */
#ifndef MSB_CTL_VOLUMES_H
#define MSB_CTL_VOLUMES_H

#include "ctl/model.h"

struct ctl_share_fds;

#define CTL_VOLUME_KEY	    "volume/"  /* of the state file's facts */
#define CTL_VOLUME_NEW_DISK "disk.new" /* in its directory, until it is whole */
#define CTL_VOLUME_SOURCE   "volume:"  /* before its name, as the source of a mount */

/* Where a source says `volume:NAME`, the name; NULL. */
const char *ctl_volume_source(const char *source);

/* ctl.lock held; what is returned is borrowed. */
struct ctl_volume *ctl_volume_find(struct ctl *c, const char *name);
struct ctl_volume *ctl_volume_by_serial(struct ctl *c, uint32_t serial);
struct ctl_volume *ctl_volume_ref(struct ctl_volume *v);
void ctl_volume_unref(struct ctl_volume *v); /* takes the lock itself; NULL is fine */

/**
 * ctl_volume_create() - mkdir volumes/NAME
 * Errors: -EINVAL not a name; -EEXIST; -EDQUOT CTL_MAX_VOLUMES; -ENOSPC.
 * ctl_volume_remove() - rmdir volumes/NAME, with all that is in it; waits
 * Errors: -EBUSY it is in the mounts of a sandbox, which the sentence names.
 */
int ctl_volume_create(struct ctl *c, const char *name, uid_t uid, gid_t gid, struct msb_err *e);
int ctl_volume_remove(struct ctl_volume *v, struct msb_err *e);
/* With the files that were its owner's on the host; waits. That they are being given is in the
 * state file until it is done, and a new msbd goes on with it: ctl_volume_own_recover(), on a
 * thread. */
int ctl_volume_own(struct ctl_volume *v, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e);
void ctl_volume_own_recover(struct ctl_volume *v);
/* Within it: lets its owner pass to its files on the host, once they are given, and nobody else. */
int ctl_volume_gate(const struct ctl_volume *v);

/**
 * ctl_volume_set_kind() - `kind`, from one line: `disk` makes a file system of quota_bytes; waits
 * Errors: -EINVAL neither `dir` nor `disk`, no quota_bytes; -ERANGE that; -EBUSY it is not empty,
 * is in the mounts of a sandbox, or is a disk; -ENOENT no mke2fs; -EIO it failed; -ENOSPC.
 */
int ctl_volume_set_kind(struct ctl_volume *v, const char *line, size_t n, struct msb_err *e);

/* `quota_bytes`, from one line; empty: none. Holds at once. -EINVAL, -ERANGE. */
int ctl_volume_set_quota(struct ctl_volume *v, const char *line, size_t n, struct msb_err *e);

/* Its files' directory, opened, or its disk; -errno. */
int ctl_volume_files(const struct ctl_volume *v);
int ctl_volume_disk(const struct ctl_volume *v, bool readonly);
int ctl_volume_disk_of(const struct ctl_volume *v, uid_t owner, bool readonly);
/* Where they are. */
void ctl_volume_path(const struct ctl_volume *v, char ret[MSB_PATH_MAX + 64]);
/* The names of the sandboxes that have it in their mounts, with @between them; lock held. */
void ctl_volume_users(const struct ctl_volume *v, const char *between, struct msb_str *s);

/**
 * ctl_volume_check() - Whether @sb may mount volume @name; ctl.lock held
 * Its owner may, and the instance's; others by the volume's mode. @disk: the kind it must be of
 * Errors: -ENOENT; -EACCES; -EINVAL the kind.
 *
 * ctl_volume_open() - The same, and in @ret its files with whose they are, and its count; or its
 * disk. Takes ctl.lock.
 *
 * ctl_volume_claim() - Whether no machine has the disk in a way that @sb's cannot join
 * Takes ctl.lock. -EBUSY: another writes it, or has it while @sb's is to write.
 */
int ctl_volume_check(
	struct ctl_sandbox *sb, const char *name, bool disk, bool readonly, struct msb_err *e);
int ctl_volume_open(struct ctl_sandbox *sb, const char *name, bool disk, bool readonly,
	struct ctl_share_fds *ret, struct msb_err *e);
int ctl_volume_claim(struct ctl_sandbox *sb, const char *name, bool readonly, struct msb_err *e);

/* Within it: writes it down; ctl.lock held. */
int ctl_volume_save(const struct ctl_volume *v, struct msb_err *e);

/* From the state file; -errno. */
int ctl_volume_load(struct ctl *c, const char *name, const char *value);
void ctl_volumes_recover(struct ctl *c); /* removes what is no volume's */

#endif
