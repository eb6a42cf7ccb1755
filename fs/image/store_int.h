/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share: store.c (opening, images), pack.c (contents), commit.c
 * (layers), gc.c. */
#ifndef MSB_FS_IMAGE_STORE_INT_H
#define MSB_FS_IMAGE_STORE_INT_H

#include "fs/image/index.h"
#include "fs/image/store.h"

#include <pthread.h>
#include <xxhash.h>

#define STORE_TMP      "tmp"   /* a directory for each who adds; gone with it */
#define STORE_DISKS    "disks" /* made from blobs: HEX.KIND */
#define PACK_NAME_MAX  24      /* "XXXXXXXX.objects" */
#define PACK_FD_CACHE  32
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

struct img_store {
	int fd, lock_fd, publish_fd, packs_fd, images_fd, layers_fd, blobs_fd, tmp_fd;
	char tmp[32]; /* tmp_fd is STORE_TMP/tmp */

	pthread_mutex_t publish; /* flock() of publish_fd does not tell our threads apart */
	pthread_mutex_t lock;	 /* of all below; held for moments */
	uint32_t *packs;	 /* whose lists are in the table; sorted */
	size_t npacks;
	uint32_t next_id;
	struct object *table; /* open addressing, len 0: free. What is published. */
	size_t ntable, nobjects;
	uint64_t names; /* for tmp */
	struct added {
		int dirfd; /* layers_fd, blobs_fd */
		char name[65];
	} * added; /* through this */
	size_t nadded;
};

struct img_writer {
	struct img_store *st;
	uint32_t *packs; /* ids, rising */
	size_t npacks;
	bool taken; /* by commit.c: packs and objects are the store's now */

	int out_fd;	  /* the last of packs, which is being written; -1: none is */
	uint64_t flushed; /* bytes in the file */
	size_t nbuf;	  /* bytes after them, in buf */
	uint8_t *buf;
	uint64_t start; /* of the file being stored */
	XXH3_state_t *hash;

	struct object *objects; /* what lies in packs, in order */
	size_t nobjects, cap;
	uint32_t *table; /* open addressing over objects: number + 1, 0: free */
	size_t ntable;

	struct {
		uint32_t id;
		int fd; /* -1: free */
	} cache[PACK_FD_CACHE];
};

/* ---- pack.c */
void store_pack_name(char out[PACK_NAME_MAX], uint32_t id, const char *suffix);
/* Whether @o is the bytes at @off of the pack @id, which lies in the store. */
bool store_same_bytes(struct img_writer *w, const struct object *o, uint32_t id, uint64_t off);
int store_writer_flush(struct img_writer *w, struct msb_err *e);       /* nothing more comes */
int store_open_pack(const struct img_store *, uint32_t id, int flags); /* -errno */
void store_punch(int fd, uint64_t from, uint64_t to);

/* ---- objects.c: what is published */
int store_load_lists(struct img_store *, struct msb_err *e); /* of packs not known yet */
/* A published object with the bytes that @o has in the writer's packs. */
bool store_find_object(struct img_writer *w, const struct object *o, uint64_t off, uint32_t id,
	struct object *ret);
int store_add_objects(struct img_store *, uint32_t id, const struct object *, size_t n);
bool store_pack_id(const char *name, uint32_t *ret, bool *ret_list); /* of a file in packs/ */

/* ---- store.c */
void store_note_added(struct img_store *, int dirfd, const char *name);
int store_publish_lock(struct img_store *, struct msb_err *e);
void store_publish_unlock(struct img_store *);
/* Maps the index of image @digest; @e names the image. */
int store_open_index(int images_fd, const char *digest, struct img_index **ret, struct msb_err *e);
bool store_digest_valid(const char *name); /* an image's directory, a layer's record, a blob */
/* Calls @fn for each name; it returns nonzero to stop, which is returned. */
int store_each_name(int dirfd, int (*fn)(void *arg, const char *name, struct msb_err *e), void *arg,
	struct msb_err *e);
int store_open_dirs(struct img_store *, int fd, struct msb_err *e); /* all but tmp */
struct img_store *store_alloc(void);
int store_open_tmp(struct img_store *, int *ret, struct msb_err *e); /* all of tmp */
int store_lock(int fd, int how);				     /* flock(): 0 or -errno */
/* The index of image @digest, whose tree @t is. */
int store_index_bytes(const struct img_store *, const char *digest, struct img_tree *t, FILE *out,
	struct msb_err *e);

/* ---- gc.c */
/* What killed ones left goes, and with @forget what was added through it and no image names. The
 * caller has the store alone. */
int store_sweep(struct img_store *, bool forget, struct msb_err *e);

#endif
