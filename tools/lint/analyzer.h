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

/* cmocka's assertions do not return where they fail. */
static inline void _assert_true(
	const unsigned long ok, const char *const what, const char *const file, const int line)
{
	if (!ok)
		__builtin_unreachable();
}

static inline void _assert_int_equal(
	const unsigned long a, const unsigned long b, const char *const file, const int line)
{
	if (a != b)
		__builtin_unreachable();
}
