/* SPDX-License-Identifier: Apache-2.0 */
/* Disks out of blobs: what a mixtape has compressed, as a file that a machine can read. */
#ifndef MSB_FS_IMAGE_DISK_H
#define MSB_FS_IMAGE_DISK_H

#include "fs/image/store.h"

/**
 * img_disk_unpack() - Have store/disks/DIGEST.FORMAT, unpacked from store/blobs/DIGEST
 * Zeros become holes; the blob's digest is checked as it is read. The file is there whole, or not.
 * @format: raw or qcow2; only a name here
 * Errors: -ENOENT no such blob; -EBADMSG damaged; -E2BIG more than @max_bytes; -ENOSPC.
 */
int img_disk_unpack(struct img_store *, const char *digest, const char *format, uint64_t max_bytes,
	struct msb_err *e);

/* Looks whether the disk is what the blob unpacks to. Return: 0, also where none is unpacked;
 * -EBADMSG; -errno with @e. */
int img_disk_verify(
	const struct img_store *, const char *digest, const char *format, struct msb_err *e);

/* Removes it: who needs it unpacks it again. Who has it open keeps what it has. */
void img_disk_forget(const struct img_store *, const char *digest, const char *format);

#endif
