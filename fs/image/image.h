/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store, and msb-image, the short-lived process that fills it.
 *
 *	store/packs/XXXXXXXX	    contents, 4 KiB aligned, append-only
 *	store/objects.db	    content hash -> pack, offset, length (msb-image's own; SQLite)
 *	store/images/DIGEST/	    one image, DIGEST = sha256 hex of its manifest: appears whole,
 *by rename index		    the merged tree (fs/image/index.h) config.json	    the OCI
 *config, byte for byte manifest.json	    the OCI manifest, byte for byte (docker-save: the one
 *synthesised for it) meta		    flat-keyed: size_bytes N, inodes N, then
 *entrypoint/cmd/env/user/workdir as `key JSON` lines taken from the config, so that no other
 *process parses it
 *
 * msb-image import: fd 3 store directory, fd 4 the source (a directory or a file), fd 5 a SEQPACKET
 *socket. It reads one "import" message {max_bytes=N max_inodes=N}, and answers "progress" {stage=
 *done_bytes= total_bytes=}   zero or more "ok" {digest=HEX64 size_bytes=N} or "error" {code= msg=}
 * It leaves nothing behind when it fails or is killed: the next import removes what is
 *unreferenced. msb-image gc: fd 3 store directory, fd 5 the socket; "gc" {keep=DIGEST}... -> "ok".
 *Never runs beside import (both hold store/lock).
 */
#ifndef MSB_FS_IMAGE_IMAGE_H
#define MSB_FS_IMAGE_IMAGE_H

#include "base/err.h"

#include <stdint.h>

#define IMG_MAX_INODES	   UINT64_C(10000000)
#define IMG_MAX_BYTES	   (UINT64_C(1) << 40) /* unpacked */
#define IMG_MAX_LAYERS	   127
#define IMG_MAX_JSON_BYTES (4u << 20)
#define IMG_MAX_DEPTH	   512 /* directories */

struct img_imported {
	char digest[65];
	uint64_t size_bytes;
};

/**
 * img_import() - Client side: import @source into the store through a throw-away msb-image
 * @bin_dir: where msb-image is; @store_fd: the store directory; @source: path, opened as the caller
 * @cancel_fd: polled; readable means stop (the import is killed, -EINTR). -1: none
 * Errors: -ENOENT no such source; -EBADMSG not an image, or damaged; -ENOSPC; -E2BIG a limit. @e
 * says which layer. Threads: any; blocks.
 */
int img_import(const char *bin_dir, int store_fd, const char *source, int log_fd, int cancel_fd,
	struct img_imported *ret, struct msb_err *e);
int img_gc(
	const char *bin_dir, int store_fd, const char *const *keep, int log_fd, struct msb_err *e);

#endif
