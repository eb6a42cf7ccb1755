/* SPDX-License-Identifier: Apache-2.0 */
/* What a test's calls of the image store's client have in common. */
#ifndef MSB_TESTS_IMGCALL_H
#define MSB_TESTS_IMGCALL_H

#include "fs/image/image.h"

#define CALL(bin, store, cancel)                                                                   \
	(&(const struct img_call){                                                                 \
		.bin_dir = (bin), .store_fd = (store), .log_fd = -1, .cancel_fd = (cancel)})

#endif
