/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the mounts of one file server have refused, until somebody takes it to tell of it. A guest
 * can be refused something without end, so no more than DENIALS_MAX are kept in DENIALS_MS; the
 * others are counted, and the next that is kept says how many they were.
 */
#ifndef MSB_FS_DENIALS_H
#define MSB_FS_DENIALS_H

#include "fs/options.h"

#include <stdint.h>

#define DENIALS_MAX	  20
#define DENIALS_MS	  10000
#define DENIALS_MAX_PATH  1024 /* bytes; what is longer is cut */
#define DENIALS_MAX_MOUNT 1024

struct denial {
	enum fsb_op op;
	int error; /* EACCES or EPERM */
	uint32_t uid, pid;
	uint64_t more; /* that were not kept before this one */
	char mount[DENIALS_MAX_MOUNT + 1];
	char path[DENIALS_MAX_PATH + 1]; /* as fsb_names_path() gives it */
};

struct denials;

struct denials *denials_new(void); /* NULL without memory or descriptors */
struct denials *denials_free(struct denials *d);
/* Never waits for long. Threads: any. */
void denials_add(struct denials *d, const struct denial *x);
void denials_add_at(struct denials *d, const struct denial *x, uint64_t now_ms);
/* Readable while there is one. */
int denials_fd(const struct denials *d);
bool denials_take(struct denials *d, struct denial *ret); /* the oldest */

#endif
