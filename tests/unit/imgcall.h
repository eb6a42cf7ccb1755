/* SPDX-License-Identifier: Apache-2.0 */
/* What a test's calls of the image store's client have in common. */
#ifndef MSB_TESTS_IMGCALL_H
#define MSB_TESTS_IMGCALL_H

#include "fs/image/image.h"
#include "base/cleanup.h"

#include <fcntl.h>

#define CALL(bin, store, cancel)                                                                   \
	(&(const struct img_call){                                                                 \
		.bin_dir = (bin), .store_fd = (store), .log_fd = -1, .cancel_fd = (cancel)})

static inline int import_path(
	const struct img_call *c, const char *path, struct img_imported *ret, struct msb_err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? msb_err_set(e, errno, "cannot open %s: %m", path)
		      : img_import(c, fd, path, ret, e);
}

#endif
