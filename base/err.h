/* SPDX-License-Identifier: Apache-2.0 */
/* An error that a user will read: an errno and one sentence, set where the cause is known. */
#ifndef MSB_BASE_ERR_H
#define MSB_BASE_ERR_H

#define MSB_ERR_MAX 512 /* bytes of a sentence, NUL included; longer ones are cut */

struct msb_err {
	int code; /* positive errno; 0: untouched */
	char msg[MSB_ERR_MAX];
};

/**
 * msb_err_set() - State what went wrong
 * @e:    caller's error, may be NULL
 * @code: positive errno
 * Return: -@code, so that callers write `return msb_err_set(e, EINVAL, ...)`. %m is errno as it was
 * on entry.
 */
int msb_err_set(struct msb_err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * msb_err_wrap() - Put the context of a caller before the sentence: "context: sentence"
 * Return: -e->code, or -EIO where @e was never set. @e may be NULL (then -EIO).
 */
int msb_err_wrap(struct msb_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* It does not see into another file: both return a negative number. */
#define msb_err_negative_(call)                                                                    \
	({                                                                                         \
		int neg_ = (call);                                                                 \
		if (neg_ >= 0)                                                                     \
			__builtin_unreachable();                                                   \
		neg_;                                                                              \
	})
#define msb_err_set(...)  msb_err_negative_((msb_err_set)(__VA_ARGS__))
#define msb_err_wrap(...) msb_err_negative_((msb_err_wrap)(__VA_ARGS__))
#endif

#endif
