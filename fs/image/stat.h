/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the store, in numbers. */
#ifndef MSB_FS_IMAGE_STAT_H
#define MSB_FS_IMAGE_STAT_H

#include "fs/image/store.h"
#include "base/str.h"

/**
 * img_store_stat() - Append KEY SPACE NUMBER lines
 *   images layers objects   how many; objects: different contents of files
 *   logical_bytes           of all images' files, each image for itself
 *   stored_bytes            what these take on disk, blobs too
 *   saved_bytes             the difference, where it is one
 *   index_bytes record_bytes blob_bytes
 *   pending_bytes           of what no image has (yet); prune gives it back
 */
int img_store_stat(const struct img_store *, struct msb_str *text, struct msb_err *e);

#endif
