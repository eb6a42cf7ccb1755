/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-image's side of the socket to msb-registry (its protocol: fs/image/registry/registry.h).
 *
 * What comes from there is as hostile as the network: who takes bytes hashes them, answers to what
 * was not asked and numbers that cannot be end the connection, and a file that msb-registry may
 * still write to is read once, with pread(), never mapped.
 *
 * Theory of operation: one thread hears all answers and puts them with the request that they are
 * for; whoever waits for one is woken. So any number of threads ask at once.
 */
#ifndef MSB_FS_IMAGE_REMOTE_H
#define MSB_FS_IMAGE_REMOTE_H

#include "fs/image/media.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define IMG_MAX_REQUESTS 200 /* that nobody has closed; below REG_MAX_REQUESTS */

struct img_remote;
struct img_request;

/* @sock: stays the caller's, and open until img_remote_close(). -ENOMEM, -EAGAIN with @e. */
int img_remote_open(int sock, struct img_remote **ret, struct msb_err *e);
struct img_remote *img_remote_close(struct img_remote *); /* every request is closed by now */

/* Ends the connection: whoever waits, now or later, is told. Any thread. */
void img_remote_stop(struct img_remote *);

struct img_answer {
	uint64_t bytes; /* of what was fetched, or of what exists */
	bool yes;	/* it exists, it was mounted */
	char media_type[IMG_MAX_MEDIA_TYPE], digest[65]; /* as the registry says; "" where not */
};

/**
 * img_remote_get() - Have a blob or manifest written to @fd
 * @what: "blob" or "manifest"; @name: TAG or sha256:HEX
 * @offset: bytes that are there; @size: that it must have; 0: unknown
 * @progress: may be NULL; told how many of the first bytes are there. From a thread of the
 * remote's, no lock held.
 * Threads: any. @ret: closed with img_request_close(), by one thread.
 */
int img_remote_get(struct img_remote *, const char *what, const char *name, uint64_t offset,
	uint64_t size, int fd, void (*progress)(void *arg, uint64_t ready), void *arg,
	struct img_request **ret, struct msb_err *e);

/* Waits until more than @past of the first bytes are there: how many, or @past where all are.
 * -ECANCELED after img_request_stop(). */
int64_t img_request_ready(struct img_request *, uint64_t past, struct msb_err *e);
/* Waits for the answer. @ret may be NULL. */
int img_request_wait(struct img_request *, struct img_answer *ret, struct msb_err *e);
void img_request_stop(struct img_request *);		     /* who waits stops; any thread */
struct img_request *img_request_close(struct img_request *); /* cancelled where it still runs */

/* ---- asked and waited for. Each: 0, or -errno with @e as the registry has it. */

/* A whole small document, appended. @max: -E2BIG past it. */
int img_remote_read(struct img_remote *, const char *what, const char *name, uint64_t size,
	size_t max, struct msb_str *doc, struct img_answer *ret, struct msb_err *e);
int img_remote_exists(struct img_remote *, const char *what, const char *name,
	struct img_answer *ret, struct msb_err *e);
/* @digest: 64 hex digits. *ret: whether @from had it and lets us. */
int img_remote_mount(
	struct img_remote *, const char *digest, const char *from, bool *ret, struct msb_err *e);
/* @size bytes at 0 of @fd. */
int img_remote_put_blob(struct img_remote *, const char *digest, uint64_t size, int fd,
	void (*progress)(void *arg, uint64_t done), void *arg, struct msb_err *e);
int img_remote_put_manifest(struct img_remote *, const char *name, const char *media_type,
	const void *p, size_t n, struct msb_err *e);

#endif
