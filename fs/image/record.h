/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer records: what a layer's tar was, without the contents that lie in packs.
 *
 * A record is store/layers/DIFFID, DIFFID = sha256 hex of the tar. From it a tree is merged, the
 * very tar is made again, and it is known which contents are in use, with nothing but the store.
 *
 *   head    struct img_record_head
 *   body    body_bytes: one zstd frame of operations, each a LEB128 number N, then
 *             N even: N / 2 (not 0) bytes of the tar follow
 *             N = 1:  the next span's bytes are next in the tar
 *             N = 3:  of the next span only some are: a number, how many parts, then of each
 *                     part how far it begins after the end of the last, and its length (not 0)
 *   (0-15 zero bytes: the spans are aligned)
 *   spans   nspans * struct img_span, in the order of the tar
 *
 * Numbers are little-endian: a store belongs to one machine. The bytes are hostile by accident (a
 * disk, a power cut): all are checksummed, and still every number is checked where it is used.
 */
#ifndef MSB_FS_IMAGE_RECORD_H
#define MSB_FS_IMAGE_RECORD_H

#include "fs/image/image.h"
#include "fs/image/tar.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_RECORD_VERSION    2		     /* 1: without N = 3; what has none is written so */
#define IMG_RECORD_WINDOW_LOG 20	     /* of its zstd frame: 1 MiB of memory to read it */
#define IMG_MAX_RECORD_SPANS  IMG_MAX_INODES /* files of one layer that lie in packs */
#define IMG_PACK_ALIGN	      4096u	     /* contents begin at a multiple of it */

/* A file's contents in a pack. */
struct img_span {
	uint64_t len;  /* > 0 */
	uint32_t pack; /* file packs/<pack as %08x> */
	uint32_t blk;  /* its first IMG_PACK_ALIGN there */
};
_Static_assert(sizeof(struct img_span) == 16, "record.h: spans");

struct img_record_head {
	char magic[8]; /* "MSBLAYER" */
	uint32_t version, reserved;
	uint64_t tar_bytes;  /* of the whole tar */
	uint64_t raw_bytes;  /* of it, those that are in the body */
	uint64_t body_bytes; /* compressed */
	uint64_t nspans;
	uint64_t body_sum, spans_sum; /* XXH3-64 */
	uint64_t head_sum;	      /* XXH3-64 of all before */
};
_Static_assert(sizeof(struct img_record_head) == 72, "record.h: head");

/* ---- writing */

struct img_record_writer;

/**
 * img_record_begin() - Start a record
 * @fd: an empty file, open for writing; stays the caller's
 * Threads: one at a time on a writer. Return: 0; -ENOMEM.
 */
int img_record_begin(int fd, struct img_record_writer **ret);
struct img_record_writer *img_record_writer_free(struct img_record_writer *);

/* The next bytes of the tar, to be kept as they are. */
int img_record_raw(struct img_record_writer *, const void *p, size_t n, struct msb_err *e);
/**
 * img_record_data() - The next bytes of the tar lie in a pack
 * @parts: which of the span's bytes, rising; NULL: all
 * Return: 0; -E2BIG past IMG_MAX_RECORD_SPANS; -ENOMEM; -errno of the file.
 */
int img_record_data(struct img_record_writer *, const struct img_span *,
	const struct img_tar_part *parts, size_t nparts, struct msb_err *e);

/* The spans until now: their pack and blk may be changed until img_record_finish(). */
struct img_span *img_record_writer_spans(struct img_record_writer *, size_t *ret_n);

/* The body is complete: written, and may be synced. Then img_record_finish() writes the rest; the
 * caller syncs. */
int img_record_end_body(struct img_record_writer *, struct msb_err *e);
int img_record_finish(struct img_record_writer *, struct msb_err *e);

/* ---- reading */

struct img_record;

/**
 * img_record_open() - Map a record and check it
 * @fd: stays the caller's; the mapping outlives it
 * Threads: read-only; any, no lock. Errors: -EBADMSG not a record of this version, or damaged.
 */
int img_record_open(int fd, struct img_record **ret, struct msb_err *e);
int img_record_from_bytes(/* borrowed bytes, 8-byte aligned */
	const void *p, size_t n, struct img_record **ret, struct msb_err *e);
struct img_record *img_record_close(struct img_record *);

uint64_t img_record_tar_bytes(const struct img_record *);
const struct img_span *img_record_spans(const struct img_record *, size_t *ret_n);

/* Each returns 0, or -errno with @e set: the replay stops there and hands it on. */
struct img_record_ops {
	int (*raw)(void *arg, const void *p, size_t n, struct msb_err *e);
	/* @parts: which of the span's bytes, rising and inside of it; may be none. */
	int (*data)(void *arg, const struct img_span *, const struct img_tar_part *parts,
		size_t nparts, struct msb_err *e);
};

/**
 * img_record_replay() - The tar, in order: its own bytes, and where the others lie
 * Return: 0; -EBADMSG damaged: the parts are not tar_bytes; -ENOMEM; what an op returned.
 */
int img_record_replay(
	const struct img_record *, const struct img_record_ops *, void *arg, struct msb_err *e);

/**
 * img_record_tar() - The tar, byte for byte, handed to @fn in pieces
 * @packs_fd: the directory store/packs
 * What comes is what lies there: only its sha256 tells whether it is what it was.
 * Return: 0; -EBADMSG damaged, or a pack is missing or too short; what @fn returned.
 */
int img_record_tar(const struct img_record *, int packs_fd,
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e), void *arg,
	struct msb_err *e);

#endif
