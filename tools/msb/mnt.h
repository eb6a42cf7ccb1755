/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control tree, as a program uses it. All that is done to it goes through here, so -x can show
 * each operation as a line for sh, and --dry-run can show it alone.
 */
#ifndef MSB_TOOLS_MNT_H
#define MSB_TOOLS_MNT_H

#include "base/err.h"
#include "base/paths.h"
#include "base/str.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

struct mnt {
	int fd; /* its root */
	char path[MSB_PATH_MAX];
};

#define MNT_AGAIN_MS 30000 /* that what can go on waits for another msbd */

/* -ENOENT no msbd has mounted it. */
int mnt_open(struct mnt *ret, struct msb_err *e);
/* Whether an operation that failed with @code has found its msbd ended. */
bool mnt_gone(int code);
/* The tree of the msbd that has come since: 0; -errno: there is none yet, and @m is as it was. */
int mnt_again(struct mnt *m, struct msb_err *e);
/* Waits for one, MNT_AGAIN_MS at most. */
int mnt_wait_again(struct mnt *m, struct msb_err *e);

/* From now on every operation is shown on @out; @dry: what changes anything, or waits, is not done,
 * and what is read may not be there. */
void mnt_show(FILE *out, bool dry);
bool mnt_dry(void);
/* Shows a line of the caller's own, for what the functions below do not say well; a newline is
 * added. */
void mnt_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Shows a write. */
void mnt_say_write(const struct mnt *m, const char *file, bool append, const char *p, size_t n);
/* The path of a file as a word of sh. */
void mnt_word(const struct mnt *m, const char *file, struct msb_str *s);

/*
 * Operations. @file is below the mount. Where one fails, the sentence is the one that msbd has for
 * it. Return: 0 or -errno.
 */
int mnt_mkdir(const struct mnt *m, const char *dir, struct msb_err *e);
int mnt_rmdir(const struct mnt *m, const char *dir, struct msb_err *e);
/* @n bytes in one write(2). */
int mnt_append(const struct mnt *m, const char *file, const void *p, size_t n, struct msb_err *e);
/* A value and its newline. */
int mnt_set(const struct mnt *m, const char *file, const char *value, struct msb_err *e);
/* Its text, the last newline cut; in a dry run empty, where it is not there. Not for what waits. */
int mnt_read(const struct mnt *m, const char *file, struct msb_str *s, struct msb_err *e);
/* The same, neither shown nor with a sentence: to look at what may not be there. */
int mnt_peek(const struct mnt *m, const char *file, struct msb_str *s);
/* A descriptor, shown as `cat FILE`, to be read while more comes; in a dry run one that is at its
 * end. Or -errno. */
int mnt_stream(const struct mnt *m, const char *file, int flags, struct msb_err *e);
/* A descriptor, not shown (mnt_say() does), or -errno. Not in a dry run. */
int mnt_open_file(const struct mnt *m, const char *file, int flags, struct msb_err *e);
/* Names of a directory, sorted, each with a NUL after it. @type: DT_DIR, or DT_UNKNOWN for all. */
int mnt_list(const struct mnt *m, const char *dir, int type, struct msb_str *s, struct msb_err *e);
/* The sentence of an operation that failed with @code: NAME/error's, or what the instance's
 * `errors` has of this file, or strerror's. Return: -@code. */
int mnt_why(const struct mnt *m, const char *file, int code, struct msb_err *e);

/* Appends a word of a command line of a ctl: \040 for a space. */
void mnt_quote(struct msb_str *line, const char *word);

/* A line that is written to a ctl, by a thread of its own: its end can be waited for with poll. */
struct mnt_verb {
	int fd, done_fd; /* done_fd: eventfd, readable once it has ended */
	pthread_t thread;
	pid_t tid; /* of the thread: what msbd knows it by */
	struct msb_str line;
	int result; /* once it has ended: 0 or -errno, with the sentence in err */
	struct msb_err err;
};
/* Starts it; @v stays until mnt_verb_end(). In a dry run it has ended at once. */
int mnt_verb_begin(const struct mnt *m, const char *ctl, const char *line, struct mnt_verb *v,
	struct msb_err *e);
/* Has the write return with EINTR. */
void mnt_verb_interrupt(struct mnt_verb *v);
/* Waits for it. Return: result. */
int mnt_verb_end(struct mnt_verb *v, struct msb_err *e);

/* Both, where nothing is to be shown meanwhile. ^C ends it, where interrupts are ignored or
 * handled. */
int mnt_do(const struct mnt *m, const char *ctl, const char *line, struct msb_err *e);

/* An absolute path of what the caller calls @path. */
int mnt_absolute(const char *path, struct msb_str *s, struct msb_err *e);

#endif
