/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk as a sandbox's root: a file of the host that is only read, and a qcow2 over it in the
 * sandbox's directory that takes what the guest writes.
 *
 *	disk.qcow2	made by the first start, for this base
 *	disk.base	what the base was then: `INO SIZE MTIME_SEC MTIME_NSEC`, or its digest
 */
#ifndef MSB_CTL_DISK_H
#define MSB_CTL_DISK_H

#include "ctl/model.h"

/* What a disk is made from. */
struct ctl_disk_base {
	const char *path;   /* absolute */
	const char *format; /* raw or qcow2, by its name */
	const char *told;   /* what users call it */
	const char *digest; /* of a base in the store, which msbd opens; NULL: one of the owner's */
};

const char *ctl_disk_format(const char *path); /* by the end of its name: raw or qcow2 */

/**
 * ctl_disk_open() - Both files of a disk, checked; the sandbox's own one is made where it is not
 * there Takes `disk_bytes` into account: it only grows.
 * @ret: descriptors are the caller's: ctl_disk_close()
 * Errors: -ENOENT, -EACCES with the path; -EBADMSG, -EOPNOTSUPP, -ERANGE what is in it; -ESTALE the
 * base is another one than the changes were made on; -ENOSPC. Blocks; takes ctl.lock.
 */
int ctl_disk_open(struct ctl_sandbox *sb, const struct ctl_disk_base *base, struct vmm_disk *ret,
	struct msb_err *e);
void ctl_disk_close(struct vmm_disk *disk);

#endif
