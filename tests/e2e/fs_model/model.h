/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random-op model test: the same operations on a directory under test and on one of a file system
 * that is known to be right; results, contents and attributes must agree.
 */
#ifndef MSB_TESTS_FS_MODEL_H
#define MSB_TESTS_FS_MODEL_H

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define MODEL_PATH	 64	      /* bytes of a path */
#define MODEL_OPEN	 12	      /* files open at a time */
#define MODEL_FILE_BYTES (256u << 10) /* a file's end, at most */
#define MODEL_LOG	 60	      /* last operations that are shown */
#define MODEL_OLD	 1000000      /* times below it were set, others are the clock's */

enum { UNDER_TEST, ORACLE, SIDES };

struct model_file {
	int fd[SIDES]; /* -1: none */
	bool append, reads, writes, unnamed;
	char path[MODEL_PATH]; /* where it was opened */
};

struct model {
	int dir[SIDES];
	const char *name[SIDES];
	uint64_t seed, rnd, op;
	bool no_setid, plain_links;
	bool root;		 /* may chown and make devices */
	bool xattr[2], whiteout; /* user., trusted.; both sides have it */
	bool devices, special;	 /* special files have trusted. attributes */
	struct model_file file[MODEL_OPEN];
	char log[MODEL_LOG][160];
};

struct model_op {
	const char *name;
	void (*run)(struct model *);
	unsigned int names, data; /* weights in the two mixes */
};
extern const struct model_op model_name_ops[], model_data_ops[];

uint32_t model_rnd(struct model *m, uint32_t n); /* below n */
void model_path(struct model *m, char path[MODEL_PATH]);
/* Notes what is about to be done. */
void model_note(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Says what differs, the seed and the last operations; ends the program. */
void model_differs(struct model *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* Both sides' results, negative errnos included. */
void model_agree(struct model *m, const int64_t r[SIDES]);

static inline int64_t model_result(int64_t r)
{
	return r < 0 ? -errno : r;
}
/* @r[s] is what @expr gives on each side s. */
#define BOTH(r, expr)                                                                              \
	for (int s = 0; s < SIDES; s++)                                                            \
	(r)[s] = model_result((int64_t)(expr))

/* ---- check.c */
void model_check_stat(
	struct model *m, const char *path, const struct stat *a, const struct stat *b);
void model_check_file(struct model *m, const char *path, const int fd[SIDES]);
void model_check_dir(struct model *m, const char *path); /* this directory alone */
void model_check_tree(struct model *m);			 /* and files that are open */

void model_close(struct model_file *f);

#endif
