/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store, and msb-image, the short-lived process that fills it.
 *
 *   store/lock                    flock: shared by those who add or read, alone by who removes
 *   store/publish                 flock: held for the moment in which something appears
 *   store/packs/XXXXXXXX          contents, each file 4 KiB aligned; one layer's, then fixed
 *   store/packs/XXXXXXXX.objects  what lies in it, to use the same bytes again (msb-image's own)
 *   store/layers/DIFFID           the record of a layer (fs/image/record.h); appears by rename
 *   store/blobs/HEX               a blob kept byte for byte; HEX.part: on its way, or interrupted
 *   store/disks/HEX.FORMAT        a disk that was unpacked from blobs/HEX; goes with it
 *   store/tmp/                    what is being made or removed
 *   store/images/DIGEST/          an image, DIGEST = sha256 hex of its manifest; appears by rename
 *     index                       the merged tree (fs/image/index.h)
 *     config.json                 the OCI config, byte for byte
 *     manifest.json               the manifest, byte for byte (docker-save: one synthesised for it)
 *     damaged                     there where the last verification found it so; empty
 *     layers                      a line a layer, lowest first: sha256:DIFFID sha256:BLOB SIZE TYPE
 *                                 (BLOB: as it was packed; DIFFID of a blob: -)
 *     meta                        what msbd needs to know, so that it parses no JSON document
 *
 * meta has one record a line, KEY SPACE VALUE, in this order; what the config lacks is left out:
 *   kind image|artifact|mixtape
 *   size_bytes N                  of all regular files, hard links once; of all blobs
 *   inodes N
 *   created "..."                 RFC 3339, as the config has it
 *   entrypoint.0 "..."            elements from 0 on, one a line, in order
 *   cmd.0 "..."
 *   healthcheck.0 "..."           CMD, CMD-SHELL or NONE, and what belongs to it
 *   healthcheck_interval_sec N    rounded up; so timeout, start_period, start_interval
 *   healthcheck_retries N
 *   env.0 "NAME=VALUE"
 *   user "..."                    USER, UID, USER:GROUP or UID:GID
 *   workdir "..."
 *   mixtape.kernel HEX            of a mixtape: which of store/blobs is what
 *   mixtape.initrd HEX
 *   mixtape.cmdline HEX
 *   mixtape.init HEX
 *   mixtape.disk HEX
 *   mixtape.disk_format raw|qcow2
 *   mixtape.disk_compression none|zstd
 * A quoted value is one JSON string of valid UTF-8 with no NUL in it; its escapes are
 * \" \\ \n \t and \u00XX for other control characters, nothing else.
 *
 * msb-image VERB: fd 3 store directory, fd 4 what the verb reads or writes (below), fd 5 a
 * SEQPACKET socket to msbd. It reads one message named like the verb and answers
 *   "progress" {stage= layer= layers= digest= state= done_bytes= total_bytes=}, zero or more, then
 *   "ok" or "error" {code= msg=}
 *   import {LIMITS}                             fd 4: a directory or a file
 *                                               -> ok {digest=HEX64 kind= size_bytes=N}
 *   gc {prune=0|1} payload: the digests to keep, 32 raw bytes each
 *                                               -> ok {deferred=0|1}
 *   pull {repo= name=TAG|sha256:HEX LIMITS}   fd 4: to msb-registry
 *                                               -> ok {digest=HEX64 kind= size_bytes=N}
 *   push {digest=HEX64 repo= name=TAG from=REPO}                         fd 4: to msb-registry
 *                                               -> ok {digest=HEX64}
 *   export {digest=HEX64 name=}                 fd 4: a file or pipe that the archive goes to
 *                                               -> ok
 *   disk {digest=HEX64 format=raw|qcow2 LIMITS}        a mixtape's disk, unpacked into
 * disks/DIGEST.FORMAT
 *                                               -> ok
 *   verify {digest=HEX64}                       -> "damaged" {line=}, zero or more; ok {damaged=N}
 *   stat                                        -> ok, payload: key value lines
 * LIMITS: max_bytes= and so on, by the names of fs/image/limits.h; what is left out is msb's own.
 * An import leaves nothing behind when it fails; after it was killed the next one removes what it
 * left. A pull leaves the layers that are complete, and of others what has come.
 *
 * What passes between msb-image and msb-registry: fs/image/registry/registry.h.
 */
#ifndef MSB_FS_IMAGE_IMAGE_H
#define MSB_FS_IMAGE_IMAGE_H

#include "fs/image/limits.h"
#include "fs/image/ref.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IMG_MAX_KEEP 2000 /* digests that img_gc() takes: one message */

struct img_imported {
	char digest[65];
	char kind[16]; /* image, artifact, mixtape */
	uint64_t size_bytes;
};

/* How far a call has come, of all its layers or (layer > 0) of one. Valid during the callback. */
struct img_progress {
	const char *stage;   /* what is done now: "layers", "index", ... */
	const char *digest;  /* of the layer as the registry has it, 64 hex digits; "" of all */
	const char *state;   /* wait download unpack pack upload done exists; "" of all */
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
	uint64_t limits[IMG_NLIMITS]; /* of what is taken in; 0: msb's own (fs/image/limits.h) */
};

/**
 * img_import() - Import a directory or a file
 * @source_fd: open for reading, as who may read it; stays the caller's. @name: for sentences
 * Errors: -EBADMSG not an image, or damaged; -EOPNOTSUPP for another machine, or of a kind that is
 * not supported; -ENOTUNIQ more than one image to choose from; -ENOSPC; -E2BIG a limit; -EINTR
 * cancelled. @e says which layer. Threads: any; blocks.
 */
int img_import(const struct img_call *, int source_fd, const char *name, struct img_imported *ret,
	struct msb_err *e);

/**
 * img_gc() - Remove every image whose digest is not in @keep (NULL at the end), and what no image
 * needs then
 * @prune: layers of interrupted pulls too, however young
 * Return: 0; 1 where somebody adds to the store, so that only the images went and the next call
 * takes the rest; -errno.
 */
int img_gc(const struct img_call *, const char *const *keep, bool prune, struct msb_err *e);

/**
 * img_disk() - Unpack a mixtape's disk, the blob @digest, into store/disks/@digest.@format
 * Return: 0, also where it is there already; -ENOENT; -EBADMSG damaged; -E2BIG; -ENOSPC; -EINTR.
 */
int img_disk(const struct img_call *, const char *digest, const char *format, struct msb_err *e);

/* How a registry is reached, and as whom. Strings may be NULL. */
struct img_registry {
	const char *user, *secret; /* of a login; NULL: what that user's files say */
	const char *ca;		   /* PEM file of authorities to trust as well */
	const char *home, *docker_config, *registry_auth_file, *xdg_runtime_dir; /* that user's */
	const char *const *mirrors; /* URLs, asked first; NULL at the end */
	uid_t uid;		    /* whose credentials and helpers are used */
	gid_t gid;
	bool plain_http, insecure; /* no TLS; TLS that proves nothing */
};

/**
 * img_pull() - Fetch an image from its registry; what the store has already is not fetched
 * Of an image that img_verify() found damaged, what is so is fetched and put right.
 * Errors: as img_import(); -ENOENT no such image; -EACCES the registry wants other credentials;
 * -EBADMSG what came is not what its digest says; -EHOSTUNREACH and what the network has; -EINTR
 * cancelled: layers that are complete stay, and others go on where they stopped.
 */
int img_pull(const struct img_call *, const struct img_ref *, const struct img_registry *,
	struct img_imported *ret, struct msb_err *e);

/**
 * img_push() - Put an image into a registry
 * @digest: of the store; @to: with a tag; @from: a repository of the same registry that may have
 * the layers already, or NULL
 * @ret_digest: of the manifest there. It is @digest where the registry had every layer as it was
 * pulled; else the layers were compressed anew, and the config (the image's ID) is the same.
 */
int img_push(const struct img_call *, const char *digest, const struct img_ref *to,
	const char *from, const struct img_registry *, char ret_digest[65], struct msb_err *e);

/* Writes the image as an OCI archive, called @ref_name in its index, to @out_fd (a file or pipe).
 * The same image under the same name gives the same bytes. */
int img_export(const struct img_call *, const char *digest, const char *ref_name, int out_fd,
	struct msb_err *e);

/* Reads and hashes all that an image (NULL: the store) has. @damaged gets a line for each thing
 * that is not what it was. Return: 0; -EBADMSG where there is any. */
int img_verify(const struct img_call *, const char *digest,
	void (*damaged)(void *arg, const char *line), void *arg, struct msb_err *e);

/* Appends what is in the store: KEY SPACE NUMBER lines. */
int img_stat(const struct img_call *, struct msb_str *text, struct msb_err *e);

#endif
