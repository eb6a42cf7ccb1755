/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives msbd: sandboxes, their values, images. SQLite in WAL mode with synchronous=NORMAL:
 * a commit is a write into the page cache, so nothing is lost when msbd is killed; a power cut may
 * take what was committed after the last ctl_db_sync() or checkpoint, never the consistency of the
 * file. Without fsync in a commit the calls below are short enough to be made under the daemon's
 * lock, which is what guards a struct db.
 */
#ifndef MSB_CTL_DB_H
#define MSB_CTL_DB_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CTL_DB_VERSION 2 /* of the schema, in user_version; a newer file is refused */

struct ctl_db;

/**
 * ctl_db_open() - Open or make the state file
 * @may_make: one that is not there, or empty, is made; else that is damage, too
 * Errors: -EPROTO made by a newer msb; -EBADMSG damaged, and left as it is; -ENOSPC; -EACCES. @e
 * names the file.
 */
int ctl_db_open(const char *path, bool may_make, struct ctl_db **ret, struct msb_err *e);
struct ctl_db *ctl_db_close(struct ctl_db *db);

/* What is committed is on the disk then. Waits for it; touches nothing that needs a lock, but
 * ctl_db_close() must not come meanwhile. -errno with @e. */
int ctl_db_sync(const struct ctl_db *db, struct msb_err *e);

/* Folds the write-ahead log in, and copies a file that has changed to PATH.backup; may fsync. On a
 * connection of its own: no lock needed, one caller at a time. */
void ctl_db_checkpoint(struct ctl_db *db);

int ctl_db_sandbox_add(struct ctl_db *db, const char *id, const char *name, uid_t uid, gid_t gid,
	mode_t mode, uint64_t created_usec, struct msb_err *e);
/* Removing goes on where the disk is full. */
int ctl_db_sandbox_del(struct ctl_db *db, const char *id, struct msb_err *e);
int ctl_db_sandbox_owner(
	struct ctl_db *db, const char *id, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e);

/* A value of a sandbox; NULL removes it. Keys that begin with a dot are msbd's own facts. */
int ctl_db_value_set(
	struct ctl_db *db, const char *id, const char *key, const char *value, struct msb_err *e);

/* Several at once: all or none. A @key NULL ends them. */
struct ctl_db_value {
	const char *key, *value;
};
int ctl_db_values_set(
	struct ctl_db *db, const char *id, const struct ctl_db_value *values, struct msb_err *e);

/* @name is taken from the image that had it. */
int ctl_db_image_set(struct ctl_db *db, const char *id, const char *name, const char *digest,
	uint64_t size_bytes, uint64_t created_usec, struct msb_err *e);
int ctl_db_image_del(struct ctl_db *db, const char *name, struct msb_err *e);

/* A value of the instance; NULL removes it. */
int ctl_db_fact_set(struct ctl_db *db, const char *key, const char *value, struct msb_err *e);

/* Called for every row, sandboxes before their values; nonzero ends the load with it. */
struct ctl_db_load {
	int (*image)(void *arg, const char *id, const char *name, const char *digest,
		uint64_t size_bytes, uint64_t created_usec);
	int (*sandbox)(void *arg, const char *id, const char *name, uid_t uid, gid_t gid,
		mode_t mode, uint64_t created_usec);
	int (*value)(void *arg, const char *id, const char *key, const char *value);
	int (*fact)(void *arg, const char *key, const char *value);
	void *arg;
};
int ctl_db_load(struct ctl_db *db, const struct ctl_db_load *load, struct msb_err *e);

#endif
