/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the image store that people watch: pull, push, import, export, verify.
 *
 * Each has a number and a stream, images/pulls/N, that says how far it is and how it ended. Any
 * number run at once. While one runs nothing is collected: what it has added is not known to the
 * state file yet.
 */
#ifndef MSB_CTL_PULLS_H
#define MSB_CTL_PULLS_H

#include "ctl/model.h"
#include "fs/image/image.h"

struct ctl_pull {
	struct ctl *c;
	unsigned int refs; /* ctl.lock, as all that follows */
	uint32_t n;	   /* its name; from 1 on, while msbd runs */
	const char *verb;
	char *ref;
	uid_t uid;
	pid_t pid;
	struct ctl_ring ring;
	bool ended;

	/* Of a pull, which several may wait for. */
	unsigned int waiting;
	bool given_up; /* by all of them */
	int cancel_fd; /* eventfd, -1: another's */
	int result;    /* once it has ended */
	struct msb_err err;

	/* When the last line of a layer was written, and what it said; 0: of all layers. */
	uint64_t line_ms[IMG_MAX_LAYERS + 1];
	char line_state[IMG_MAX_LAYERS + 1][12];
	char stage[16];
};

/* ctl.lock held; borrowed. */
struct ctl_pull *ctl_pull_find(struct ctl *c, uint32_t n);

/**
 * ctl_pull_new() - Begin a stream; ctl.lock held. It is an event
 * Waits while the store is being collected, without the lock.
 * Return: 0, and a reference that ctl_pull_end() takes; -EINTR; -EBUSY msbd ends; -ENOMEM.
 */
int ctl_pull_new(const struct ctl_req *q, const char *verb, const char *ref, struct ctl_pull **ret,
	struct msb_err *e);
/* Says how it ended and gives the reference back. @digest: of the image; NULL: none. ctl.lock held.
 * Where something was to be collected meanwhile, and this is the last call, it is now. */
void ctl_pull_end(struct ctl_pull *p, int r, const char *digest, const struct msb_err *e);
/* Ends every pull, as its last caller would: msbd is about to end. ctl.lock held. */
void ctl_pulls_stop(struct ctl *c);
void ctl_pull_unref(struct ctl_pull *p); /* ctl.lock held */
/* For struct img_call; @pull is the struct. Takes ctl.lock. */
void ctl_pull_progress(void *pull, const struct img_progress *g);
/* A line of a verification; @pull is the struct. Takes ctl.lock. */
void ctl_pull_damaged(void *pull, const char *line);

/* What every call of the store needs; @p may be NULL. */
struct img_call ctl_store_call(struct ctl *c, struct ctl_pull *p, int cancel_fd);

/**
 * ctl_gc() - Collect what nothing refers to, or have it done by the last call that is under way
 * @prune: layers of interrupted pulls too
 * Errors: -EINTR while it waited for another one; img_gc()'s.
 */
int ctl_gc(const struct ctl_req *q, bool prune, struct msb_err *e);

/**
 * ctl_pull_image() - Fetch an image and name it; joins one of the same user that is under way
 * @op_fd: readable means that the caller no longer waits; -1: only @q says so
 * @ret_digest: may be NULL
 * Errors: -EINTR; img_pull()'s.
 */
int ctl_pull_image(const struct ctl_req *q, const struct img_ref *ref, int op_fd,
	char ret_digest[65], struct msb_err *e);

#endif
