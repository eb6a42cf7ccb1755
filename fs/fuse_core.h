/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE server: one request in, one reply out, whoever carries them.
 *
 * A session is one kernel that has the file system mounted. It knows every node and handle that was
 * handed to that kernel, so a request can name no other, cannot forget what it does not hold, and
 * all of it is given back when the session ends. While a request runs, its nodes and handles are
 * pinned: a backend never sees forget or release of something in use by the same session.
 *
 * Requests are hostile. Header, arguments and names are copied once to private memory and checked
 * there; only file data stays where it is and moves by iovec between host file and requester.
 * Source: linux/fuse.h (protocol 7.38), Documentation/filesystems/fuse.rst.
 */
#ifndef MSB_FS_FUSE_CORE_H
#define MSB_FS_FUSE_CORE_H

#include "fs/fsb.h"
#include "fs/fsd.h"
#include "fs/virtq.h"

#include <pthread.h>

#define FUSE_MAX_IO	 (1u << 20)  /* bytes of one READ or WRITE */
#define FUSE_MAX_COPY	 (16u << 20) /* bytes of one COPY_FILE_RANGE */
#define FUSE_MAX_ARGS	 (80u << 10) /* bytes of all arguments but a WRITE's data */
#define FUSE_MAX_XATTR	 (64u << 10) /* bytes of one attribute value, of one list */
#define FUSE_MAX_DIR	 (64u << 10) /* bytes of one READDIR reply */
#define FUSE_MAX_NAME	 255
#define FUSE_MAX_TARGET	 4095  /* bytes of a symlink target */
#define FUSE_MAX_HANDLES 65536 /* open files and directories of one session */

/* How a kind of mount is served. */
struct fuse_profile {
	struct fsb_cache cache; /* how long the kernel may believe a reply */
	bool guest; /* a guest's: else a view of the host, for which nothing is older than a call,
		       but while there is no guest */
	uint64_t init_flags; /* FUSE_* init flags wanted; what the kernel offers of them is taken */
	bool as_root;	     /* whoever asks is the guest's root: makes files for 0:0 */
	bool skip_open; /* answer ENOSYS to OPEN and OPENDIR where the backend has NO_OPEN and no
			   SEE_OPENS */
};

extern const struct fuse_profile fuse_profile_guest; /* host edits are seen within 1 s */
extern const struct fuse_profile fuse_profile_view;  /* nothing is cached past a call */
/* The same where only the server's own, ordinary user can look: the sandbox is theirs. */
extern const struct fuse_profile fuse_profile_view_owner;

/* A backend. Shared by its sessions. */
struct fsd_fs {
	struct fsb *b;
};
void fsd_fs_init(struct fsd_fs *fs, struct fsb *b);
void fsd_fs_done(struct fsd_fs *fs); /* stops the backend */

/* Private memory for one request at a time: one for each thread that calls fuse_handle(). Zeroed at
 * first. */
struct fuse_worker {
	uint64_t requests;	  /* since fuse_worker_count() */
	struct fuse_stats *stats; /* of its queue; NULL: nothing is counted */
	struct fuse_in_header h;
	_Alignas(8) uint8_t args[FUSE_MAX_ARGS + 1]; /* room for a NUL */
	_Alignas(8) uint8_t reply[FUSE_MAX_DIR];
	struct iovec iov[VQ_MAX_SEGS];
};

struct fsd_session;

/**
 * fsd_session_new() - A kernel is about to mount
 * @fs, @profile: outlive the session
 * @readonly: every writing request is EROFS, whatever the backend can do
 * Return: NULL without memory.
 */
struct fsd_session *fsd_session_new(
	struct fsd_fs *fs, const struct fuse_profile *profile, bool readonly);

/* Gives back every node and handle and frees. No request may be running. Accepts NULL. */
struct fsd_session *fsd_session_free(struct fsd_session *s);

/* Gives back every node and handle; those in use follow when their requests end. */
void fsd_session_reset(struct fsd_session *s);

/* Whether the kernel was told that OPEN need not be sent, which it does not forget before INIT. */
bool fsd_session_opens_off(const struct fsd_session *s);
/* Whether INIT was answered without ACLs, which the kernel believes until the next one. */
bool fsd_session_acls_off(const struct fsd_session *s);

/**
 * fsd_session_keep() - Keep what the kernel holds in memory that outlives this server
 * @fd: a memfd, borrowed: empty, or what the keep of a server was that is gone, whose session this
 * one becomes; hostile
 * Before the first request. A node or handle that is not found again is stale by itself.
 * Return: 0; -EINVAL not a memfd; -ENOMEM. Source: fs/fuse_keep.h.
 */
int fsd_session_keep(struct fsd_session *s, int fd);
/* The requests served so far on this thread have been given back to the kernel. */
void fsd_session_commit(struct fsd_session *s);

/* The host has, or no longer has, a view of that session. */
void fuse_view_came(const struct fsd_session *s);
void fuse_view_went(const struct fsd_session *s);

/**
 * fuse_view_watch() - Be told of contents that others change
 * @changed: the first @bytes (0: all) of a node that the view has open are to be dropped from its
 * kernel's cache; node 0: all of every node. Called by any session's threads: must neither wait nor
 * call back
 * Before the first request, or not at all: then the kernel keeps nothing past a call.
 */
void fuse_view_watch(
	struct fsd_session *s, void (*changed)(void *, uint64_t node, uint64_t bytes), void *arg);
/* The next node that the view has open, from *@at, which begins at 0; 0: none. */
uint64_t fuse_view_next_open(struct fsd_session *s, size_t *at);
/* Contents were changed by no session. */
void fuse_views_forget(void);

struct fuse_counts {
	uint64_t nodes, handles, requests;
};
void fsd_session_counts(struct fsd_session *s, struct fuse_counts *add_to);

/* Adds what @w has served since the last time to the session's count. Now and then: the count is
 * shared by all threads, and that is what costs. */
void fuse_worker_count(struct fsd_session *s, struct fuse_worker *w);

/* Whether serving this request may take long: a guess, for who holds back other replies. @in as for
 * fuse_handle(), @bytes of request and reply. */
bool fuse_may_wait(const struct fsd_session *s, const struct iovec *in, size_t bytes);

/**
 * fuse_handle() - Serve one request
 * @in:	 the request, in @n_in pieces; shared memory that may change meanwhile
 * @out: room for the reply, in @n_out pieces, at most VQ_MAX_SEGS
 * Threads: any number at once on one session, each with its own @w.
 * Return: bytes of the reply, header included; 0: this request has none; -EPROTO: too short to be
 * a request, or no room for a reply header.
 */
int64_t fuse_handle(struct fsd_session *s, struct fuse_worker *w, const struct iovec *in,
	unsigned int n_in, const struct iovec *out, unsigned int n_out);

#endif
