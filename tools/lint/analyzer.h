/* SPDX-License-Identifier: Apache-2.0 */
/* Put before every file that clang-tidy reads: what its analyzer cannot see, and would raise false
 * alarms over. */
#include <errno.h>

/* errno is positive after a call that failed, so that `return -errno` is a failure. */
#undef errno
#define errno                                                                                      \
	(*({                                                                                       \
		int *errno_ = __errno_location();                                                  \
		if (*errno_ <= 0)                                                                  \
			__builtin_unreachable();                                                   \
		errno_;                                                                            \
	}))
