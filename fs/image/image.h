/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store, and msb-image, the short-lived process that fills it.
 *
 *   store/lock                    held by whoever changes the store
 *   store/packs/XXXXXXXX          contents, each file 4 KiB aligned; one import's, then fixed
 *   store/packs/XXXXXXXX.objects  what lies in it, to use the same bytes again (msb-image's own)
 *   store/tmp/                    what is being made or removed
 *   store/images/DIGEST/          an image, DIGEST = sha256 hex of its manifest; appears by rename
 *     index                       the merged tree (fs/image/index.h)
 *     config.json                 the OCI config, byte for byte
 *     manifest.json               the manifest, byte for byte (docker-save: one synthesised for it)
 *     meta                        what msbd needs to know, so that it parses no JSON document
 *
 * meta has one record a line, KEY SPACE VALUE, in this order; what the config lacks is left out:
 *   size_bytes N                  of all regular files, hard links once
 *   inodes N
 *   entrypoint.0 "..."            elements from 0 on, one a line, in order
 *   cmd.0 "..."
 *   env.0 "NAME=VALUE"
 *   user "..."                    USER, UID, USER:GROUP or UID:GID
 *   workdir "..."
 * A quoted value is one JSON string of valid UTF-8 with no NUL in it; its escapes are
 * \" \\ \n \t and \u00XX for other control characters, nothing else.
 *
 * msb-image VERB: fd 3 store directory, fd 4 what the verb reads or writes (below), fd 5 a
 * SEQPACKET socket to msbd. It reads one message named like the verb and answers
 *   "progress" {stage= layer= layers= digest= state= done_bytes= total_bytes=}, zero or more, then
 *   "ok" or "error" {code= msg=}
 *   import {max_bytes= max_inodes=}             fd 4: a directory or a file
 *                                               -> ok {digest=HEX64 size_bytes=N}
 *   gc {prune=0|1} payload: the digests to keep, 32 raw bytes each
 *                                               -> ok {deferred=0|1}
 * An import leaves nothing behind when it fails; after it was killed the next one removes what it
 * left.
 */
#ifndef MSB_FS_IMAGE_IMAGE_H
#define MSB_FS_IMAGE_IMAGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define IMG_MAX_INODES	   UINT64_C(10000000)
#define IMG_MAX_BYTES	   (UINT64_C(1) << 40) /* unpacked */
#define IMG_MAX_LAYERS	   127
#define IMG_MAX_JSON_BYTES (4u << 20)
#define IMG_MAX_DEPTH	   512		       /* directories */
#define IMG_MAX_MEMORY	   (UINT64_C(4) << 30) /* address space of msb-image: past it -ENOMEM */
#define IMG_MAX_KEEP	   2000		       /* digests that img_gc() takes: one message */

struct img_imported {
	char digest[65];
	uint64_t size_bytes;
};

/* How far a call has come, of all its layers or (layer > 0) of one. Valid during the callback. */
struct img_progress {
	const char *stage;   /* what is done now: "layers", "index", ... */
	const char *digest;  /* of the layer as the registry has it, 64 hex digits; "" of all */
	const char *state;   /* wait download unpack done exists upload; "" of all */
	unsigned int layer;  /* from 1 on */
	unsigned int layers; /* how many there are */
	uint64_t done_bytes, total_bytes;
};

/* What every call needs: each starts a throw-away msb-image, and waits for it. */
struct img_call {
	const char *bin_dir; /* where msb-image is */
	int store_fd;	     /* the store directory */
	int log_fd;	     /* what it logs; -1: the caller's stderr */
	int cancel_fd;	     /* readable means stop: it is killed, -EINTR. -1: none */
	void (*progress)(void *arg, const struct img_progress *); /* caller's thread; may be NULL */
	void *arg;
};

/**
 * img_import() - Import @source, a path that is opened as the caller
 * Errors: -ENOENT no such source; -EBADMSG not an image, or damaged; -EOPNOTSUPP for another
 * machine, or of a kind that is not supported; -ENOTUNIQ more than one image to choose from;
 * -ENOSPC; -E2BIG a limit; -EINTR cancelled. @e says which layer. Threads: any; blocks.
 */
int img_import(
	const struct img_call *, const char *source, struct img_imported *ret, struct msb_err *e);

/**
 * img_gc() - Remove every image whose digest is not in @keep (NULL at the end), and what no image
 * needs then
 * @prune: layers of interrupted pulls too, however young
 * Return: 0; 1 where somebody adds to the store, so that only the images went and the next call
 * takes the rest; -errno.
 */
int img_gc(const struct img_call *, const char *const *keep, bool prune, struct msb_err *e);

#endif
