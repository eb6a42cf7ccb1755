/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of the host as a read-only tree: walked once into an index as of an image
 * (fs/image/index.h), whose regular files are the directory's own, by a list (fs/image/files.h).
 *
 * msb-dir does it, with the rights of the user who asks and no others: fd 3 is a SEQPACKET socket,
 * on which it reads one message
 *	"dir" {path= uid= gid= max_inodes=} fds index and files, or none: then it is only opened
 * and answers "ok" {inodes=} with the directory, or "error" {code= msg=}. Started by root it is
 * @uid and @gid, without other groups, before it looks at the path.
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

/**
 * img_dir_open() - Client side: have msb-dir open @path as @uid, and walk it where @index_fd >= 0
 * @index_fd, @files_fd: empty, to be written; both or none. They are synced when this returns 0.
 * @ret_dir: the directory, O_RDONLY; the caller's
 * Errors: -ENOENT, -EACCES, -ENOTDIR with the path; img_dir_walk()'s. Threads: any; blocks.
 */
int img_dir_open(const char *bin_dir, const char *path, uid_t uid, gid_t gid, int index_fd,
	int files_fd, int log_fd, int *ret_dir, struct msb_err *e);

#endif
