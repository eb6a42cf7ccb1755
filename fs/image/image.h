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
 * msb-image import: fd 3 store directory, fd 4 the source (a directory or a file), fd 5 a
 * SEQPACKET socket. It reads one "import" message {max_bytes=N max_inodes=N}, and answers
 *   "progress" {stage= done_bytes= total_bytes=}, zero or more, then
 *   "ok" {digest=HEX64 size_bytes=N} or "error" {code= msg=}
 * It leaves nothing behind when it fails; after it was killed the next one removes what it left.
 * msb-image gc: fd 3 store directory, fd 5 the socket; "gc" with the digests to keep as its
 * payload, 32 raw bytes each -> "ok" or "error".
 * Neither ever runs beside another: both hold store/lock, the second waits.
 */
#ifndef MSB_FS_IMAGE_IMAGE_H
#define MSB_FS_IMAGE_IMAGE_H

#include "base/err.h"

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

/**
 * img_import() - Client side: import @source into the store through a throw-away msb-image
 * @bin_dir: where msb-image is; @store_fd: the store directory; @source: path, opened as the caller
 * @cancel_fd: polled; readable means stop (the import is killed, -EINTR). -1: none
 * Errors: -ENOENT no such source; -EBADMSG not an image, or damaged; -EOPNOTSUPP for another
 * machine, or of a kind that is not supported; -ENOTUNIQ more than one image to choose from;
 * -ENOSPC; -E2BIG a limit; -EINTR cancelled. @e says which layer. Threads: any; blocks.
 */
int img_import(const char *bin_dir, int store_fd, const char *source, int log_fd, int cancel_fd,
	struct img_imported *ret, struct msb_err *e);

/* Removes every image whose digest is not in @keep (NULL at the end) and what no image needs then.
 */
int img_gc(
	const char *bin_dir, int store_fd, const char *const *keep, int log_fd, struct msb_err *e);

#endif
