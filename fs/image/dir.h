/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of the host as a read-only tree: walked once into an index as of an image
 * (fs/image/index.h), whose regular files are the directory's own, by a list (fs/image/files.h).
 *
 * msb-open (fs/image/open.h) does it, with the rights of the user who asks and no others.
 */
#ifndef MSB_FS_IMAGE_DIR_H
#define MSB_FS_IMAGE_DIR_H

#include "base/err.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Whose files are root's in the tree; -1: everybody's stay theirs. */
struct img_dir_opts {
	uid_t root_uid;
	gid_t root_gid;
	uint64_t max_inodes;
};

/**
 * img_dir_walk() - Write the index of @dir to @index, and the list of its files to @files
 * What is mounted below is left out, as is what goes while it is walked. Directories that may not
 * be read are empty. Sets the process's working directory. Threads: none beside it.
 * @ret_inodes: how many there are
 * Errors: -E2BIG a limit (IMG_MAX_INODES, IMG_MAX_DEPTH, IMG_FILES_MAX_PATH, a file's attributes);
 * -ENOMEM; what the disk says. @e names the path.
 */
int img_dir_walk(int dir, const struct img_dir_opts *opts, FILE *index, FILE *files,
	uint64_t *ret_inodes, struct msb_err *e);

#endif
