/* SPDX-License-Identifier: Apache-2.0 */
/* The control tree: a table of nodes, one row a file, and what the rows mean. */
#ifndef MSB_CTL_TREE_H
#define MSB_CTL_TREE_H

#include "base/str.h"
#include "ctl/model.h"

#include <stdint.h>
#include <sys/stat.h>

enum ctl_kind {
	K_DIR,
	K_LINK,	 /* its target is found by readlink, on a thread of its own */
	K_TEXT,	 /* a snapshot, taken at open and again at offset 0 */
	K_LINES, /* a value or table: text to read, lines to write */
	K_RING,	 /* JSON Lines that only grow */
	K_PULL,	 /* the same of a call that ends: reading waits for more until it has */
	K_LOG,	 /* a log on disk; arg: rotated files beside it */
	K_WAIT,	 /* a text that is there once the machine, or the job, has ended */
	K_CTL,	 /* verbs; a read-write descriptor reads what became of them */
	K_CLONE, /* every open makes a job; reads give its number */
	K_IN,	 /* bytes for a job */
	K_OUT,	 /* bytes from it; arg: which streams */
	K_FILE,	 /* bytes, that stay where they are written */
	K_EXEC,	 /* command lines; a read-write descriptor reads what they print */
};

enum ctl_node_flags {
	NF_FRESH =
		1,   /* a node id of its own for every lookup: writers do not wait for each other */
	NF_SLOW = 2, /* its text may wait for the disk: read on a thread, without ctl.lock */
	NF_STATE = 4,	/* poll says POLLPRI once the state changed after the last read */
	NF_WHOLE = 8,	/* the lines of one write are written together */
	NF_FEW = 16,	/* its text may be long: CTL_MAX_SCRAPES are open at once */
	NF_HEALTH = 64, /* as NF_STATE, of its health */
	NF_QUICK = 128, /* its write waits for nothing but ctl.lock: it needs no thread */
	NF_LAST = 32, /* who has it open reads on where the sandbox was removed after its machine */
};

/* Directories; the other rows follow them. The root's row is its node id, 1. */
enum ctl_dir {
	D_NONE,
	D_ROOT,
	D_IMAGES,
	D_IMAGE_DIR, /* HOST, HOST/REPO and so on */
	D_IMAGE,
	D_PULLS,
	D_LOGINS,
	D_VOLUMES,
	D_VOLUME,
	D_SANDBOX,
	D_ENV,
	D_METRICS,
	D_SCRIPTS,
	D_PATCHES,
	D_PATCH, /* a directory below */
	D_JOBS,
	D_JOB,
	D_JOB_ENV,
	D_COUNT
};

struct ctl_node;

/* One file: a row, and whose. */
struct ctl_at {
	struct ctl *c;
	const struct ctl_node *node;
	struct ctl_sandbox *sb; /* of D_SANDBOX and below; borrowed */
	struct ctl_image *img;	/* of D_IMAGE and below, and of a short name; borrowed */
	struct ctl_volume *vol; /* of D_VOLUME and below; borrowed */
	struct ctl_job *job;	/* of D_JOB and below, and of an open jobs/clone; borrowed */
	uint32_t aux;	 /* of env/X, and of what is below scripts/ and patches/: its serial */
	uint32_t serial; /* of D_IMAGE_DIR, a login, a pull (its number) */
	uid_t uid;	 /* who looks: each sees their own logins */
	const struct ctl_cancel *cancel; /* of the read of a slow file; NULL: nobody to cancel */
};

/* A line that is written. */
struct ctl_line {
	const struct ctl_req *q;
	const char *p;
	size_t n;
	bool replace; /* it begins the file anew: offset 0 of a descriptor without O_APPEND */
	bool more;    /* it is not at the beginning: an empty one is no value */
	size_t *used; /* NF_WHOLE: @p is all lines of the write; set to how much of it was done */
};

struct ctl_node {
	const char *name; /* "*": any, found by its directory */
	enum ctl_dir dir; /* where it is; D_NONE: the root */
	enum ctl_kind kind;
	mode_t mode; /* permissions of the owner in a directory of 0700 */
	int (*read)(const struct ctl_at *, struct msb_str *,
		struct msb_err *); /* ctl.lock held, but NF_SLOW */
	int (*write)(const struct ctl_at *, const struct ctl_line *, struct msb_err *);
	int arg; /* of read and write */
	unsigned int flags;
};

extern const struct ctl_node ctl_nodes[];
extern const size_t ctl_nnodes;

/*
 * Node ids say all there is to know, so nothing has to be remembered for the kernel, and nothing
 * forgotten: the row, the serial of the sandbox or image, and a third number: env/X's serial, or a
 * counter for files that get an id for every lookup. Serials are not used twice.
 */
#define CTL_ID(row, serial, aux)                                                                   \
	((uint64_t)(serial) << 32 | (uint64_t)((aux)&0xffffff) << 8 | (uint64_t)(row))

/* All of these with ctl.lock held. What @ret borrows is valid while it is. */
int ctl_at_id(struct ctl *c, uint64_t id, struct ctl_at *ret); /* -ENOENT what it names is gone */
int ctl_at_child(const struct ctl_at *dir, const char *name, struct ctl_at *ret);
uint64_t ctl_at_make_id(const struct ctl_at *at); /* fresh where the row asks for it */
void ctl_at_stat(const struct ctl_at *at, struct stat *ret);
/* All of it but the size, which may have to be made. */
void ctl_at_stat_sizeless(const struct ctl_at *at, struct stat *ret);
/* Whose it is: its sandbox's, or volume's, owner, who logged in, or the instance's user. */
uid_t ctl_at_owner(const struct ctl_at *at);
gid_t ctl_at_group(const struct ctl_at *at);
/* Its permissions, as ctl_at_stat() has them. */
mode_t ctl_at_mode(const struct ctl_at *at);
/* Calls @fn for each entry but . and ..; it returns nonzero to stop. */
void ctl_at_list(const struct ctl_at *dir,
	int (*fn)(void *arg, const char *name, const struct ctl_at *child), void *arg);
#define CTL_LOG_PATH 64
/* Where the log of a sandbox's K_LOG is, below the directory of sandboxes. */
void ctl_log_path(const struct ctl_at *at, char ret[CTL_LOG_PATH]);
/* "/NAME/file", for errors. */
void ctl_at_path(const struct ctl_at *at, const char *child, struct msb_str *s);

#endif
