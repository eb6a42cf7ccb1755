/* SPDX-License-Identifier: Apache-2.0 */
/* What the files below a directory take on disk. */
#ifndef MSB_FS_DU_H
#define MSB_FS_DU_H

#include <stdbool.h>
#include <stdint.h>

#define FS_DU_MAX_DEPTH	 128 /* directories that are open at once; deeper ones are not counted */
#define FS_DU_MAX_LINKED (1u << 20) /* files with several names that are told apart */

/**
 * fs_du() - Count the blocks of a directory and all below it, in bytes
 * @dir_fd: O_RDONLY
 * @stop: where it becomes true the count ends
 * @ret_partial: something could not be looked at: there may be more
 * Files with several names count once. Symbolic links are not followed. Threads: any; blocks.
 */
uint64_t fs_du(int dir_fd, const _Atomic bool *stop, bool *ret_partial);

#endif
