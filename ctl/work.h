/* SPDX-License-Identifier: Apache-2.0 */
/* A request that may wait, and the thread that it has until it is answered. */
#ifndef MSB_CTL_WORK_H
#define MSB_CTL_WORK_H

#include "ctl/handle.h"

#include <fuse_lowlevel.h>

enum ctl_class { CLASS_READ, CLASS_EXEC, CLASS_COMMAND, CLASS_KILL, CLASS_COUNT };

struct ctl_work {
	fuse_req_t req;
	struct ctl_req q; /* q.cancel is &cancel */
	struct ctl_cancel cancel;
	struct ctl_work *next_doubt; /* work.c's own */
	bool doubted;
	enum ctl_class class;
	bool others; /* counts as another user's than the instance's */
	/* Answers the request by one of the functions below. */
	void (*fn)(struct ctl_work *);
	/* What the function needs; released with the work. */
	struct ctl_handle *h;	/* a reference */
	struct ctl_sandbox *sb; /* a reference */
	struct ctl_image *img;	/* a reference */
	struct ctl_volume *vol; /* a reference */
	uint64_t off;
	size_t size;
	char name[IMG_REF_MAX + 1];
	struct fuse_file_info fi;
	char *path; /* for errors: "/NAME/file" */
	char data[];
};

/* A work with room for @n bytes of data, or NULL. */
struct ctl_work *ctl_work_new(struct ctl *c, fuse_req_t req, size_t n);
/* Runs it on a thread; it is the thread's then. Where there are too many, answers EAGAIN itself. */
void ctl_work_run(struct ctl_work *w, enum ctl_class class, void (*fn)(struct ctl_work *));
/* To be called before the answer: no interrupt reaches the work any more. */
void ctl_work_answer(struct ctl_work *w);
/* Answers a request that was never run, and ends it. */
void ctl_work_refuse(struct ctl_work *w, const struct msb_err *e);
/* Ends a work that was answered without being run. */
void ctl_work_done(struct ctl_work *w);
/* Records @e and answers with it. */
void ctl_work_fail(struct ctl_work *w, const struct msb_err *e);

#endif
