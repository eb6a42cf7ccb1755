// SPDX-License-Identifier: Apache-2.0
// Volumes.
#include "ctl/volumes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/mounts.h"
#include "ctl/report.h"
#include "fs/options.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define USAGE ".usage"
#define MODE  0700

const char *ctl_volume_source(const char *source)
{
	size_t n = strlen(CTL_VOLUME_SOURCE);

	return strncmp(source, CTL_VOLUME_SOURCE, n) ? NULL : source + n;
}

/* ---- the table, by name */

static size_t slot_of(const struct ctl *c, const char *name)
{
	size_t i = 0;

	while (i < c->nvol && strcmp(c->vol[i]->name, name) < 0)
		i++;
	return i;
}

static struct ctl_volume *volume_new(struct ctl *c, const char *id, const char *name)
{
	struct ctl_volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->c = c;
	v->refs = 1;
	v->serial = ++c->next_serial;
	v->mode = MODE;
	pthread_mutex_init(&v->give_lock, NULL);
	(void)snprintf(v->id, sizeof(v->id), "%s", id);
	(void)snprintf(v->name, sizeof(v->name), "%s", name);
	return v;
}

static void volume_free(struct ctl_volume *v)
{
	pthread_mutex_destroy(&v->give_lock);
	free(v);
}

static void insert(struct ctl *c, struct ctl_volume *v)
{
	size_t i = slot_of(c, v->name);

	memmove(&c->vol[i + 1], &c->vol[i], (c->nvol - i) * sizeof(c->vol[0]));
	c->vol[i] = v;
	c->nvol++;
}

struct ctl_volume *ctl_volume_find(struct ctl *c, const char *name)
{
	size_t i = slot_of(c, name);

	return i < c->nvol && !strcmp(c->vol[i]->name, name) ? c->vol[i] : NULL;
}

struct ctl_volume *ctl_volume_by_serial(struct ctl *c, uint32_t serial)
{
	for (size_t i = 0; i < c->nvol; i++)
		if (c->vol[i]->serial == serial)
			return c->vol[i];
	return NULL;
}

struct ctl_volume *ctl_volume_ref(struct ctl_volume *v)
{
	v->refs++;
	return v;
}

void ctl_volume_unref(struct ctl_volume *v)
{
	bool last;

	if (!v)
		return;
	pthread_mutex_lock(&v->c->lock);
	last = --v->refs == 0;
	pthread_mutex_unlock(&v->c->lock);
	if (last)
		volume_free(v);
}

/* ---- the state file */

int ctl_volume_save(const struct ctl_volume *v, struct msb_err *e)
{
	char key[80], value[160], giver[16] = "";

	(void)snprintf(key, sizeof(key), CTL_VOLUME_KEY "%s", v->name);
	if (v->giving)
		(void)snprintf(giver, sizeof(giver), " %u", v->giver);
	(void)snprintf(value, sizeof(value), "%s %s %u %u %o %" PRIu64 " %" PRIu64 "%s", v->id,
		v->disk ? "disk" : "dir", v->uid, v->gid, v->mode, v->created_usec, v->quota_bytes,
		giver);
	return ctl_db_fact_set(v->c->db, key, value, e);
}

int ctl_volume_load(struct ctl *c, const char *name, const char *value)
{
	struct ctl_volume t = {0}, *v;
	char kind[8];
	int n = sscanf(value, "%32s %7s %u %u %o %" SCNu64 " %" SCNu64 " %u", t.id, kind, &t.uid,
		&t.gid, &t.mode, &t.created_usec, &t.quota_bytes, &t.giver);

	if (!msb_name_valid(name) || n < 7)
		return -EBADMSG;
	if (c->nvol == CTL_MAX_VOLUMES)
		return -EDQUOT;
	v = volume_new(c, t.id, name);
	if (!v)
		return -ENOMEM;
	v->uid = t.uid;
	v->gid = t.gid;
	v->mode = t.mode & 0777;
	v->created_usec = t.created_usec;
	v->quota_bytes = t.quota_bytes;
	v->disk = !strcmp(kind, "disk");
	v->giving = n == 8;
	v->giver = t.giver;
	insert(c, v);
	return 0;
}

/* ---- making */

/* Whoever owns a volume may have moved its directory away, put a link there, or mounted a file
 * system of his own on it, which need not answer: that would hold up everybody. */
int ctl_volume_files(const struct ctl_volume *v)
{
	_cleanup_close_ int dir =
		openat(v->c->volumes_fd, v->id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV};
	int fd;

	if (dir < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, dir, "data", &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/* All of its bytes are there, so that who maps it never meets a full disk. */
static int open_usage(const struct ctl_volume *v)
{
	struct fsd_usage u = {.limit_bytes = v->quota_bytes};
	_cleanup_close_ int fd = -1;
	struct stat st;
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "%s" USAGE, v->id);
	fd = openat(v->c->volumes_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	r = st.st_size < (off_t)sizeof(u)
		    ? msb_pwrite_full(fd, &u, sizeof(u), 0)
		    : msb_pwrite_full(fd, &u.limit_bytes, sizeof(u.limit_bytes),
			      offsetof(struct fsd_usage, limit_bytes));
	return r < 0 ? r : steal_fd(&fd);
}

static int lay_out(const struct ctl_volume *v)
{
	_cleanup_close_ int dir = -1;
	int at = v->c->volumes_fd;
	char data[64];

	(void)snprintf(data, sizeof(data), "%s/data", v->id);
	if (mkdirat(at, v->id, 0700) < 0 || mkdirat(at, data, 0755) < 0)
		return -errno;
	dir = ctl_volume_files(v);
	if (dir < 0)
		return dir;
	if (fchown(dir, v->uid, v->gid) < 0 || fchmod(dir, 0755) < 0)
		return -errno;
	return ctl_volume_gate(v);
}

static int delete_files(struct ctl *c, const char *id)
{
	char usage[64];

	(void)snprintf(usage, sizeof(usage), "%s" USAGE, id);
	if (unlinkat(c->volumes_fd, usage, 0) < 0 && errno != ENOENT)
		return -errno;
	return msb_rm_rf(c->volumes_fd, id);
}

static int create(struct ctl *c, const char *name, uid_t uid, gid_t gid, struct msb_err *e)
{
	struct ctl_volume *v;
	char id[33];
	int r;

	if (!msb_name_valid(name))
		return msb_err_set(e, EINVAL,
			"`%s` is not a volume's name: up to 63 of a-z 0-9 and -, no - first", name);
	r = ctl_new_id(id, e);
	if (r < 0)
		return r;
	LOCK_SCOPE(&c->lock);
	if (ctl_volume_find(c, name))
		return msb_err_set(e, EEXIST, "there is a volume `%s` already", name);
	if (c->nvol == CTL_MAX_VOLUMES)
		return msb_err_set(
			e, EDQUOT, "there are %d volumes, the most there can be", CTL_MAX_VOLUMES);
	v = volume_new(c, id, name);
	if (!v)
		return msb_err_set(e, ENOMEM, "no memory");
	v->uid = uid;
	v->gid = gid;
	v->created_usec = ctl_now_usec();
	r = lay_out(v);
	if (r < 0)
		msb_err_set(
			e, -r, "cannot make %s/volumes/%s: %s", c->paths.state, id, strerror(-r));
	else
		r = ctl_volume_save(v, e);
	if (r < 0) {
		(void)delete_files(c, id); /* the next start would too */
		volume_free(v);
		return r;
	}
	insert(c, v);
	ctl_event(c, NULL, "volume", ",\"volume\":\"%s\"", name);
	return 0;
}

int ctl_volume_create(struct ctl *c, const char *name, uid_t uid, gid_t gid, struct msb_err *e)
{
	int r = create(c, name, uid, gid, e);

	/* Files that no volume has are deleted: what is put into it now outlives a power cut. */
	return r < 0 ? r : ctl_sync(c, e);
}

/* ---- who uses it */

static bool names(const char *table, const char *name)
{
	char source[CTL_MAX_LINE + 1];
	size_t pos = 0;

	while (ctl_table_next_source(table, &pos, source)) {
		const char *v = ctl_volume_source(source);

		if (v && !strcmp(v, name))
			return true;
	}
	return false;
}

void ctl_volume_users(const struct ctl_volume *v, const char *between, struct msb_str *s)
{
	const struct ctl *c = v->c;

	for (size_t i = 0; i < c->nsb; i++)
		if (names(ctl_conf_value(c->sb[i], CONF_MOUNTS), v->name) ||
			names(c->sb[i]->other_mounts ?: "", v->name))
			msb_str_addf(s, "%s%s", s->len ? between : "", c->sb[i]->name);
}

int ctl_volume_remove(struct ctl_volume *v, struct msb_err *e)
{
	_cleanup_str_ struct msb_str users = MSB_STR_INIT;
	struct ctl *c = v->c;
	char key[80];
	int r = 0;

	(void)snprintf(key, sizeof(key), CTL_VOLUME_KEY "%s", v->name);
	pthread_mutex_lock(&c->lock);
	ctl_volume_users(v, ", ", &users);
	if (v->gone)
		r = msb_err_set(e, ENOENT, "the volume was removed");
	else if (users.len)
		r = msb_err_set(e, EBUSY,
			"volume %s is in the mounts of: %.300s; take it out of those first",
			v->name, users.buf);
	else
		r = ctl_db_fact_set(c->db, key, NULL, e);
	if (r == 0) {
		size_t i = slot_of(c, v->name);

		memmove(&c->vol[i], &c->vol[i + 1], (--c->nvol - i) * sizeof(c->vol[0]));
		v->gone = true;
		ctl_event(c, NULL, "volume-removed", ",\"volume\":\"%s\"", v->name);
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	r = ctl_sync(c, NULL); /* else a power cut may bring it back, without its files */
	if (r == 0)
		r = delete_files(c, v->id);
	if (r < 0)
		log_warn("volume %s: cannot delete its files %s: %s, ignoring", v->name, v->id,
			strerror(-r)); /* they go when msbd starts next */
	ctl_volume_unref(v);	       /* the table's */
	return 0;
}

/* ---- values */

int ctl_volume_set_quota(struct ctl_volume *v, const char *line, size_t n, struct msb_err *e)
{
	_cleanup_free_ char *text = strndup(line, n);
	uint64_t bytes = 0, was;
	int r = 0, fd;

	if (!text)
		return msb_err_set(e, ENOMEM, "no memory");
	if (*text)
		r = msb_parse_bytes(text, FSB_MIN_BYTES, FSB_MAX_BYTES, &bytes);
	if (r < 0)
		return msb_err_set(e, -r,
			"quota_bytes is a number from %uK to %lluT (bytes, or with K, M, G, T), or empty "
			"for none, not `%s`",
			FSB_MIN_BYTES >> 10, (unsigned long long)(FSB_MAX_BYTES >> 40), text);
	LOCK_SCOPE(&v->c->lock);
	if (v->gone)
		return msb_err_set(e, ENODEV, "the volume was removed");
	if (v->disk)
		return msb_err_set(e, EBUSY, "volume %s is a disk, which keeps its size", v->name);
	was = v->quota_bytes;
	v->quota_bytes = bytes;
	r = ctl_volume_save(v, e);
	if (r < 0) {
		v->quota_bytes = was;
		return r;
	}
	fd = open_usage(v); /* which tells those that serve it */
	if (fd < 0)
		return msb_err_set(e, -fd, "cannot write down the quota: %s", strerror(-fd));
	close(fd);
	return 0;
}

void ctl_volume_path(const struct ctl_volume *v, char ret[MSB_PATH_MAX + 64])
{
	(void)snprintf(ret, MSB_PATH_MAX + 64, "%s/volumes/%s/%s", v->c->paths.state, v->id,
		v->disk ? "disk" : "data");
}

/* ---- mounting */

static bool may_use(const struct ctl_sandbox *sb, const struct ctl_volume *v, bool readonly)
{
	mode_t need = readonly ? 4 : 6;

	return sb->uid == sb->c->uid || sb->uid == v->uid ||
	       (sb->gid == v->gid && (v->mode >> 3 & need) == need) || (v->mode & need) == need;
}

static int find(struct ctl_sandbox *sb, const char *name, bool disk, bool readonly,
	struct ctl_volume **ret, struct msb_err *e)
{
	*ret = ctl_volume_find(sb->c, name);
	if (!*ret)
		return msb_err_set(e, ENOENT,
			"there is no volume `%.80s`; `mkdir volumes/NAME` makes one", name);
	if (!may_use(sb, *ret, readonly))
		return msb_err_set(e, EACCES,
			"volume %s is of uid %u, and not for uid %u to %s; chown or chmod volumes/%s",
			name, (*ret)->uid, sb->uid, readonly ? "read" : "write", name);
	if ((*ret)->disk != disk)
		return msb_err_set(e, EINVAL, "volume %s is of kind %s: its backend is %s", name,
			disk ? "dir" : "disk", disk ? "passthrough" : "disk");
	return 0;
}

int ctl_volume_check(
	struct ctl_sandbox *sb, const char *name, bool disk, bool readonly, struct msb_err *e)
{
	struct ctl_volume *v;

	return find(sb, name, disk, readonly, &v, e);
}

int ctl_volume_open(struct ctl_sandbox *sb, const char *name, bool disk, bool readonly,
	struct ctl_share_fds *ret, struct msb_err *e)
{
	_cleanup_close_ int dir = -1, usage = -1;
	struct ctl_volume *v;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	r = find(sb, name, disk, readonly, &v, e);
	if (r < 0)
		return r;
	dir = disk ? ctl_volume_disk(v, readonly) : ctl_volume_files(v);
	if (dir < 0)
		return msb_err_set(e, -dir, "the files of volume %s: %s", name, strerror(-dir));
	if (disk) {
		ret->dir = steal_fd(&dir);
		return 0;
	}
	usage = open_usage(v);
	if (usage < 0)
		return msb_err_set(e, -usage, "the count of volume %s: %s", name, strerror(-usage));
	ret->ids = (struct msb_ids){v->uid, v->gid};
	ret->dir = steal_fd(&dir);
	ret->usage = steal_fd(&usage);
	return 0;
}

/* ---- after a crash */

static bool known(struct ctl *c, const char *id)
{
	for (size_t i = 0; i < c->nvol; i++)
		if (!strcmp(c->vol[i]->id, id))
			return true;
	return false;
}

void ctl_volumes_recover(struct ctl *c)
{
	char fresh[64];
	int fd = openat(c->volumes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	for (size_t i = 0; i < c->nvol; i++) { /* a disk that was being made */
		(void)snprintf(fresh, sizeof(fresh), "%s/" CTL_VOLUME_NEW_DISK, c->vol[i]->id);
		(void)unlinkat(c->volumes_fd, fresh, 0);
		ctl_volume_own_recover(c->vol[i]);
	}
	while (d && (de = readdir(d))) {
		char id[33] = "";
		uint8_t raw[16];

		memcpy(id, de->d_name, strnlen(de->d_name, 32));
		if (msb_unhex(id, raw, sizeof(raw)) < 0 || known(c, id))
			continue;
		log_info("removing what is left of volume %s", id);
		(void)delete_files(c, id); /* what stays is tried again next time */
	}
}
