// SPDX-License-Identifier: Apache-2.0
// What outlives msbd, in SQLite.
#include "ctl/db.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define RESERVE_BYTES (256 << 10)

struct ctl_db {
	int fd; /* of the file; closed last: with any of ours, a process loses SQLite's locks */
	sqlite3 *sq;
	sqlite3 *folder; /* for ctl_db_checkpoint() alone */
	char *path;
	int copied; /* data_version of the folder's that PATH.backup is of; -1: none yet */
};

/* Each makes the file of one version into the next one's. */
static const char *const steps[CTL_DB_VERSION] = {
	"CREATE TABLE sandboxes (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, uid INTEGER NOT NULL,"
	" gid INTEGER NOT NULL, mode INTEGER NOT NULL, created_usec INTEGER NOT NULL) STRICT;"
	"CREATE TABLE vals (id TEXT NOT NULL REFERENCES sandboxes(id) ON DELETE CASCADE,"
	" key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (id, key)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE images (name TEXT PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
	" created_usec INTEGER NOT NULL) STRICT;",
	/* 2: an image's name is its canonical reference, and a root is pinned to its image. */
	"INSERT INTO vals SELECT v.id, '.pin/', i.digest || ' kept' FROM vals v"
	" JOIN images i ON i.name = v.value"
	" WHERE v.key = 'image' AND v.id IN (SELECT id FROM vals WHERE key = '.used');"
	"UPDATE images SET name = 'localhost/' || name || ':latest';"
	"CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
};

static int fail(sqlite3 *sq, const char *what, struct msb_err *e)
{
	int code;

	switch (sqlite3_errcode(sq) & 0xff) {
	case SQLITE_FULL: code = ENOSPC; break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: code = EBADMSG; break;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_READONLY: code = EACCES; break;
	case SQLITE_NOMEM: code = ENOMEM; break;
	case SQLITE_CONSTRAINT: code = EEXIST; break;
	default: code = EIO; break;
	}
	return msb_err_set(e, code, "the state file: %s: %s", what, sqlite3_errmsg(sq));
}

static void finalize(sqlite3_stmt **st)
{
	(void)sqlite3_finalize(*st); /* repeats the error of the step */
}
#define _cleanup_stmt_ _cleanup_(finalize)

static int prepare(struct ctl_db *db, const char *sql, sqlite3_stmt **st, struct msb_err *e)
{
	if (sqlite3_prepare_v2(db->sq, sql, -1, st, NULL) != SQLITE_OK)
		return fail(db->sq, "prepare", e);
	return 0;
}

static int run(struct ctl_db *db, sqlite3_stmt *st, struct msb_err *e)
{
	return sqlite3_step(st) == SQLITE_DONE ? 0 : fail(db->sq, "write", e);
}

/* A number that @sql says, or -1. */
static int ask(sqlite3 *sq, const char *sql)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	return sqlite3_prepare_v2(sq, sql, -1, &st, NULL) == SQLITE_OK &&
			       sqlite3_step(st) == SQLITE_ROW
		       ? sqlite3_column_int(st, 0)
		       : -1;
}

static int migrate(struct ctl_db *db, const char *path, bool may_make, struct msb_err *e)
{
	char sql[1536];
	int have = ask(db->sq, "PRAGMA user_version"), r = SQLITE_OK;

	if (have < 0)
		return fail(db->sq, "read", e);
	if (have == 0 && !may_make)
		return msb_err_set(e, EBADMSG, "it is empty, and there are sandboxes or images");
	if (have > CTL_DB_VERSION)
		return msb_err_set(e, EPROTO,
			"%s was written by a newer msb (schema %d, this one knows %d); use that one",
			path, have, CTL_DB_VERSION);
	for (; r == SQLITE_OK && have < CTL_DB_VERSION; have++) {
		(void)snprintf(sql, sizeof(sql), "BEGIN; %s PRAGMA user_version=%d; COMMIT",
			steps[have], have + 1);
		r = sqlite3_exec(db->sq, sql, NULL, NULL, NULL);
	}
	return r == SQLITE_OK ? 0 : fail(db->sq, "make the tables", e);
}

/* Before anything is written: what SQLite would find only once it comes to it. */
static int look_through(struct ctl_db *db, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;
	const char *said;

	if (prepare(db, "PRAGMA quick_check(1)", &st, e) < 0)
		return -e->code;
	if (sqlite3_step(st) != SQLITE_ROW)
		return fail(db->sq, "read", e);
	said = (const char *)sqlite3_column_text(st, 0) ?: "";
	return strcmp(said, "ok") == 0 ? 0 : msb_err_set(e, EBADMSG, "%.200s", said);
}

/* What to do about damage. */
static int damaged(const char *path, struct msb_err *e)
{
	struct msb_err why = *e;
	char copy[PATH_MAX], when[64] = "";
	struct stat st;
	struct tm tm;

	(void)snprintf(copy, sizeof(copy), "%s.backup", path);
	if (stat(copy, &st) < 0)
		return msb_err_set(e, EBADMSG,
			"%s is damaged, and was left as it is: %s; put a copy of yours in its place, or "
			"move the whole directory away to begin anew",
			path, why.msg);
	(void)strftime(when, sizeof(when), "%F %T UTC", gmtime_r(&st.st_mtime, &tm));
	return msb_err_set(e, EBADMSG,
		"%s is damaged, and was left as it is: %.200s; msbd's own copy of %s is %s: move %s "
		"and its -wal and -shm away, and copy it there",
		path, why.msg, when, copy, path);
}

/* It holds values that are nobody else's to read. SQLite gives its log the mode of the file. */
static int make_private(const char *path, struct msb_err *e)
{
	static const char *const suffix[] = {"", "-wal", "-shm"};
	char name[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
		_cleanup_close_ int fd = -1;

		(void)snprintf(name, sizeof(name), "%s%s", path, suffix[i]);
		fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (i ? 0 : O_CREAT), 0600);
		if (fd < 0 && i && errno == ENOENT)
			continue;
		if (fd < 0 || fchmod(fd, 0600) < 0)
			return msb_err_set(e, errno, "cannot open %s: %m", name);
	}
	return 0;
}

static int sync_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
}

/* SQLite writes the head of a new log, and what a checkpoint moves, to the disk by itself: what is
 * not there yet is in the log. */
int ctl_db_sync(const struct ctl_db *db, struct msb_err *e)
{
	char name[PATH_MAX];
	int r;

	(void)snprintf(name, sizeof(name), "%s-wal", db->path);
	r = sync_file(name);
	return r < 0 ? msb_err_set(e, -r, "cannot write %s to the disk: %s", name, strerror(-r))
		     : 0;
}

/* A name in the directory of @path. */
static int sync_dir(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd =
		copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Room on the disk past the ends of the file and its log, which fold() and what follows it need.
 * Where the file system cannot, a full disk keeps what is on it. */
static void reserve(const struct ctl_db *db)
{
	char name[PATH_MAX];
	_cleanup_close_ int log = -1;
	struct stat st;

	(void)snprintf(name, sizeof(name), "%s-wal", db->path);
	log = open(name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (log >= 0)
		(void)fallocate(log, FALLOC_FL_KEEP_SIZE, 0, RESERVE_BYTES);
	if (fstat(db->fd, &st) == 0)
		(void)fallocate(db->fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size + RESERVE_BYTES);
}

/* Moves the log into the file: the next commit begins it anew, in the room that it has. */
static int fold(const struct ctl_db *db, sqlite3 *sq)
{
	int r = sqlite3_wal_checkpoint_v2(sq, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	reserve(db); /* SQLite has cut off what was left of it */
	return r == SQLITE_OK ? 0 : -EIO;
}

int ctl_db_open(const char *path, bool may_make, struct ctl_db **ret, struct msb_err *e)
{
	struct ctl_db *db = calloc(1, sizeof(*db));
	struct msb_err mine = {0};
	int r;

	if (!db)
		return msb_err_set(e, ENOMEM, "no memory");
	db->copied = -1;
	db->fd = -1;
	db->path = strdup(path);
	r = db->path ? make_private(path, &mine) : msb_err_set(&mine, ENOMEM, "no memory");
	if (r == 0)
		db->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (r == 0 && db->fd < 0)
		r = msb_err_set(&mine, errno, "cannot open %s: %m", path);
	if (r == 0 && sqlite3_open_v2(path, &db->sq,
			      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			      NULL) != SQLITE_OK)
		r = fail(db->sq, "open", &mine);
	/* A checkpoint calls fsync: ctl_db_checkpoint() does it apart from everybody's lock. */
	if (r == 0 && sqlite3_exec(db->sq,
			      "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL;"
			      "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;"
			      "PRAGMA foreign_keys=ON",
			      NULL, NULL, NULL) != SQLITE_OK)
		r = fail(db->sq, "open", &mine);
	if (r == 0)
		r = look_through(db, &mine);
	if (r == 0)
		r = migrate(db, path, may_make, &mine);
	if (r == 0 && sqlite3_open_v2(path, &db->folder,
			      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		r = fail(db->folder, "open", &mine);
	/* SQLite opens the files at the first question: now, not once descriptors are scarce. */
	if (r == 0 && ask(db->folder, "PRAGMA schema_version") < 0)
		r = fail(db->folder, "read", &mine);
	/* A new file, before there is anything that it has to name: else an empty one is damage. */
	if (r == 0)
		r = ctl_db_sync(db, &mine);
	if (r == 0) {
		r = sync_dir(path);
		if (r < 0)
			msb_err_set(&mine, -r, "cannot write the directory of %s to the disk: %s",
				path, strerror(-r));
	}
	if (r < 0) {
		ctl_db_close(db);
		if (r == -EBADMSG)
			r = damaged(path, &mine);
		if (e)
			*e = mine;
		return r;
	}
	reserve(db);
	*ret = db;
	return 0;
}

struct ctl_db *ctl_db_close(struct ctl_db *db)
{
	if (db) { /* every statement is finalized: neither can be busy */
		(void)sqlite3_close(db->folder);
		(void)sqlite3_close(db->sq);
		if (db->fd >= 0)
			close(db->fd);
		free(db->path);
	}
	free(db);
	return NULL;
}

/* A whole one, under its name at once. */
static int copy(struct ctl_db *db)
{
	char part[PATH_MAX], whole[PATH_MAX], *sql;
	int fd, r;

	(void)snprintf(part, sizeof(part), "%s.backup.part", db->path);
	(void)snprintf(whole, sizeof(whole), "%s.backup", db->path);
	/* SQLite fills an empty file, with the mode that it has. */
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	sql = sqlite3_mprintf("VACUUM INTO %Q", part);
	r = sql && sqlite3_exec(db->folder, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
	sqlite3_free(sql);
	if (r == 0)
		r = sync_file(part);
	if (r == 0 && rename(part, whole) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(part);
	return r;
}

void ctl_db_checkpoint(struct ctl_db *db)
{
	int version = ask(db->folder, "PRAGMA data_version"); /* of changes by others than itself */

	/* Best effort, both: the log stays, the last copy stays, and it is tried again. */
	(void)fold(db, db->folder);
	if (version >= 0 && version != db->copied && copy(db) == 0)
		db->copied = version;
}

int ctl_db_sandbox_add(struct ctl_db *db, const char *id, const char *name, uid_t uid, gid_t gid,
	mode_t mode, uint64_t created_usec, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	if (prepare(db, "INSERT INTO sandboxes VALUES (?,?,?,?,?,?)", &st, e) < 0)
		return -EIO;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, uid);
	sqlite3_bind_int64(st, 4, gid);
	sqlite3_bind_int64(st, 5, mode);
	sqlite3_bind_int64(st, 6, (sqlite3_int64)created_usec);
	return run(db, st, e);
}

static int delete_once(struct ctl_db *db, const char *sql, const char *key, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	if (prepare(db, sql, &st, e) < 0)
		return -EIO;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	return run(db, st, e);
}

/* What is removed makes room: it does not fail for want of some. */
static int delete_row(struct ctl_db *db, const char *sql, const char *key, struct msb_err *e)
{
	struct msb_err why = {0};
	int r = delete_once(db, sql, key, &why);

	if (r == -ENOSPC && fold(db, db->sq) == 0)
		r = delete_once(db, sql, key, &why);
	if (r < 0 && e)
		*e = why;
	return r;
}

int ctl_db_sandbox_del(struct ctl_db *db, const char *id, struct msb_err *e)
{
	return delete_row(db, "DELETE FROM sandboxes WHERE id=?", id, e);
}

int ctl_db_sandbox_owner(
	struct ctl_db *db, const char *id, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	if (prepare(db, "UPDATE sandboxes SET uid=?, gid=?, mode=? WHERE id=?", &st, e) < 0)
		return -EIO;
	sqlite3_bind_int64(st, 1, uid);
	sqlite3_bind_int64(st, 2, gid);
	sqlite3_bind_int64(st, 3, mode);
	sqlite3_bind_text(st, 4, id, -1, SQLITE_STATIC);
	return run(db, st, e);
}

int ctl_db_value_set(
	struct ctl_db *db, const char *id, const char *key, const char *value, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;
	const char *sql =
		value ? "INSERT INTO vals VALUES (?,?,?) ON CONFLICT (id, key) DO UPDATE SET "
			"value=excluded.value"
		      : "DELETE FROM vals WHERE id=? AND key=?";

	if (prepare(db, sql, &st, e) < 0)
		return -EIO;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, key, -1, SQLITE_STATIC);
	if (value)
		sqlite3_bind_text(st, 3, value, -1, SQLITE_STATIC);
	return run(db, st, e);
}

int ctl_db_values_set(
	struct ctl_db *db, const char *id, const struct ctl_db_value *values, struct msb_err *e)
{
	int r = 0;

	if (sqlite3_exec(db->sq, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return fail(db->sq, "begin", e);
	for (; r == 0 && values->key; values++)
		r = ctl_db_value_set(db, id, values->key, values->value, e);
	if (r == 0 && sqlite3_exec(db->sq, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		r = fail(db->sq, "commit", e);
	if (r < 0) /* SQLite may have done so itself */
		(void)sqlite3_exec(db->sq, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int ctl_db_image_set(struct ctl_db *db, const char *id, const char *name, const char *digest,
	uint64_t size_bytes, uint64_t created_usec, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	if (prepare(db, "INSERT OR REPLACE INTO images VALUES (?,?,?,?,?)", &st, e) < 0)
		return -EIO;
	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 3, digest, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 4, (sqlite3_int64)size_bytes);
	sqlite3_bind_int64(st, 5, (sqlite3_int64)created_usec);
	return run(db, st, e);
}

int ctl_db_image_del(struct ctl_db *db, const char *name, struct msb_err *e)
{
	return delete_row(db, "DELETE FROM images WHERE name=?", name, e);
}

int ctl_db_fact_set(struct ctl_db *db, const char *key, const char *value, struct msb_err *e)
{
	_cleanup_stmt_ sqlite3_stmt *st = NULL;

	if (!value)
		return delete_row(db, "DELETE FROM facts WHERE key=?", key, e);
	if (prepare(db, "INSERT OR REPLACE INTO facts VALUES (?,?)", &st, e) < 0)
		return -EIO;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
	return run(db, st, e);
}

static const char *text(sqlite3_stmt *st, int col)
{
	return (const char *)sqlite3_column_text(st, col) ?: "";
}

static int row_image(const struct ctl_db_load *l, sqlite3_stmt *st)
{
	return l->image(l->arg, text(st, 0), text(st, 1), text(st, 2),
		(uint64_t)sqlite3_column_int64(st, 3), (uint64_t)sqlite3_column_int64(st, 4));
}

static int row_sandbox(const struct ctl_db_load *l, sqlite3_stmt *st)
{
	return l->sandbox(l->arg, text(st, 0), text(st, 1), (uid_t)sqlite3_column_int64(st, 2),
		(gid_t)sqlite3_column_int64(st, 3), (mode_t)sqlite3_column_int64(st, 4),
		(uint64_t)sqlite3_column_int64(st, 5));
}

static int row_value(const struct ctl_db_load *l, sqlite3_stmt *st)
{
	return l->value(l->arg, text(st, 0), text(st, 1), text(st, 2));
}

static int row_fact(const struct ctl_db_load *l, sqlite3_stmt *st)
{
	return l->fact(l->arg, text(st, 0), text(st, 1));
}

int ctl_db_load(struct ctl_db *db, const struct ctl_db_load *load, struct msb_err *e)
{
	static const struct {
		const char *sql;
		int (*row)(const struct ctl_db_load *, sqlite3_stmt *);
	} tables[] = {
		{"SELECT id, name, digest, size_bytes, created_usec FROM images ORDER BY name",
			row_image},
		{"SELECT id, name, uid, gid, mode, created_usec FROM sandboxes ORDER BY name",
			row_sandbox},
		{"SELECT id, key, value FROM vals ORDER BY id, key", row_value},
		{"SELECT key, value FROM facts ORDER BY key", row_fact},
	};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		_cleanup_stmt_ sqlite3_stmt *st = NULL;
		int r = prepare(db, tables[i].sql, &st, e);

		if (r < 0)
			return r;
		while ((r = sqlite3_step(st)) == SQLITE_ROW) {
			int k = tables[i].row(load, st);

			if (k < 0)
				return msb_err_set(e, -k, "the state file: %s", strerror(-k));
		}
		if (r != SQLITE_DONE)
			return fail(db->sq, "read", e);
	}
	return 0;
}
