/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying between a sandbox's root and the host.
 *
 * Theory of operation. The guest shapes its tree, also while we read it. A path in it is resolved
 * by the kernel with the sandbox's root as the root (openat2, RESOLVE_IN_ROOT): whatever links
 * there are, it stays inside. Below that, trees are walked by descriptors of directories, one name
 * at a time, and a link is never followed. What is read is looked at first, by a descriptor that
 * opens nothing (O_PATH), and then that very file is opened: no pipe or device in place of a file.
 * One buffer is all the memory that contents take.
 */
#ifndef MSB_TOOLS_CP_H
#define MSB_TOOLS_CP_H

#include "tools/msb/mnt.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define CP_MAX_DEPTH 256 /* of directories in directories */
#define CP_BUF_BYTES 262144
#define CP_NAME_MAX  64

/* What a word says. */
struct cp_word {
	enum { CP_HOST, CP_GUEST, CP_STREAM } kind;
	char name[CP_NAME_MAX]; /* CP_GUEST: the sandbox */
	const char *path;	/* into the word; not empty */
};

/* `-`, NAME:PATH, or a path of the host: one with a `/` before its first colon, or none. A pure
 * function. -EINVAL no path after the colon. */
int cp_parse(const char *word, struct cp_word *ret, struct msb_err *e);

/* Its last name, as what is copied is called; "" for /, . and what ends in /. : what is in it. */
void cp_base(const char *path, char ret[NAME_MAX + 1]);

/* What goes for the whole of a copy. */
struct cp {
	bool archive; /* owners, set-id bits */
	bool to_guest;
	unsigned int out; /* of things that were left out, said */
	dev_t into_dev;	  /* the directory that is made: it is not copied into itself */
	ino_t into_ino;
	char *buf;
};

/* Says `msb: left out PATH: WHY`. */
void cp_left_out(struct cp *c, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A regular file's descriptor for reading, of one that is O_PATH. Or -errno. */
int cp_reopen(int path_fd);
/* Calls @one with @arg for each name in the directory @from (O_PATH), in no order: an O_PATH
 * descriptor of it, which is closed after, the name, and the path below @path, which may be "".
 * What is not 0 ends it. */
int cp_each(int from, const char *path,
	int (*one)(void *arg, int fd, const char *name, const char *path, struct msb_err *e),
	void *arg, struct msb_err *e);
/* Copies a file's bytes, at most @size; holes stay holes where both know of them. @name is for
 * sentences. */
int cp_bytes(struct cp *c, int from, int to, uint64_t size, const char *name, struct msb_err *e);
/* Makes @name in @dir, anew where a file or link is called so. */
int cp_create(int dir, const char *name, const char *path, struct msb_err *e);
/* Mode, owner and times of what was made; @fd is of it. */
int cp_attributes(struct cp *c, int fd, const struct stat *st, const char *name, struct msb_err *e);
int cp_symlink(struct cp *c, const char *target, int dir, const char *name, const struct stat *st,
	const char *path, struct msb_err *e);

/**
 * cp_tree() - Copy what @from (O_PATH) is to @name in @dir
 * A directory is joined with one that is there. What is neither file, directory, link nor pipe is
 * left out, said and counted.
 */
int cp_tree(struct cp *c, int from, int dir, const char *name, const char *path, struct msb_err *e);
/* Only what is in the directory @from. */
int cp_contents(struct cp *c, int from, int dir, const char *path, struct msb_err *e);

/* What @from is, as a tar archive on @out, by the name @name ("" its contents). */
int cp_to_tar(struct cp *c, int from, const char *name, int out, struct msb_err *e);
/* A tar archive from @in, into the directory @path below @root. */
int cp_from_tar(struct cp *c, int in, int root, const char *path, struct msb_err *e);

#endif
