/* SPDX-License-Identifier: Apache-2.0 */
/* The control tree, as a program uses it. */
#ifndef MSB_TOOLS_MNT_H
#define MSB_TOOLS_MNT_H

#include "base/err.h"
#include "base/paths.h"
#include "base/str.h"

#include <pthread.h>
#include <stdbool.h>

struct mnt {
	int fd; /* its root */
	char path[MSB_PATH_MAX];
};

/* -ENOENT no msbd has mounted it. */
int mnt_open(struct mnt *ret, struct msb_err *e);

/* A file's text, its last newline cut. */
int mnt_read(const struct mnt *m, const char *file, struct msb_str *s, struct msb_err *e);

/* Appends a word of a command line: \040 for a space. */
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
/* Starts it; @v stays until mnt_verb_end(). */
int mnt_verb_begin(const struct mnt *m, const char *ctl, const char *line, struct mnt_verb *v,
	struct msb_err *e);
/* Has the write return with EINTR. */
void mnt_verb_interrupt(struct mnt_verb *v);
/* Waits for it. Return: result. */
int mnt_verb_end(struct mnt_verb *v, struct msb_err *e);

/* Both, where nothing is to be shown meanwhile. */
int mnt_do(const struct mnt *m, const char *ctl, const char *line, struct msb_err *e);

/* An absolute path of what the caller calls @path. */
int mnt_absolute(const char *path, struct msb_str *s, struct msb_err *e);

#endif
