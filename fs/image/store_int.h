/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share: pack.c (contents), store.c (images), gc.c. */
#ifndef MSB_FS_IMAGE_STORE_INT_H
#define MSB_FS_IMAGE_STORE_INT_H

#include "fs/image/index.h"
#include "fs/image/store.h"

#include <xxhash.h>

#define STORE_TMP      "tmp" /* what is being made or removed; nothing in it outlives the lock */
#define PACK_ALIGN     4096u
#define PACK_NAME_MAX  24 /* "XXXXXXXX.objects" */
#define PACK_FD_CACHE  64
#define PACK_ID_FIRST  1
#define OBJECT_MAX_BLK (UINT32_MAX - 1)

/* A file's contents. On disk (packs/XXXXXXXX.objects is an array of these) pack is 0: the name
 * tells. */
struct object {
	XXH128_hash_t hash;
	uint64_t len; /* > 0 */
	uint32_t pack, blk;
};
_Static_assert(sizeof(struct object) == 32, "packs/XXXXXXXX.objects");

struct pack {
	uint32_t id, blocks;
	bool ours; /* written by this import, not named by any image yet */
};

struct img_store {
	int fd, lock_fd, packs_fd, images_fd;
	struct pack *packs; /* those that images name, and ours; by id */
	size_t npacks;
	bool unsure; /* an image could not be read: no pack is garbage then */

	struct object *table; /* open addressing, len 0: free */
	size_t ntable, nobjects;

	/* The pack being written. */
	int out_fd; /* -1: none */
	uint32_t out_id;
	uint64_t flushed; /* bytes in the file */
	size_t nbuf;	  /* bytes after them, in buf */
	uint8_t *buf;
	uint64_t start; /* of the file being stored */
	XXH3_state_t *hash;
	struct object *new; /* of the pack being written, for its list */
	size_t nnew, new_cap;

	struct {
		uint32_t id;
		int fd; /* -1: free */
	} cache[PACK_FD_CACHE];
};

int store_add_pack(struct img_store *, uint32_t id, uint32_t blocks, bool ours);
struct pack *store_find_pack(const struct img_store *, uint32_t id);
int store_add_object(struct img_store *, const struct object *);	 /* -ENOMEM */
int store_load_pack(struct img_store *, uint32_t id, struct msb_err *e); /* its size and its list */
int store_close_pack(struct img_store *, struct msb_err *e); /* written, listed and on disk */
void store_drop_fds(struct img_store *);
void store_forget(
	struct img_store *); /* every known pack and object; store_collect() finds them again */
/* Maps the index of image @digest; @e names the image. */
int store_open_index(
	struct img_store *s, const char *digest, struct img_index **ret, struct msb_err *e);
bool store_digest_valid(const char *name); /* an image's directory */

/* Every pack that an image's index names is loaded; every other file of packs/ is removed. */
int store_collect(struct img_store *, struct msb_err *e);

#endif
