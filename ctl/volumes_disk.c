// SPDX-License-Identifier: Apache-2.0
// Volumes that are disks.
#include "ctl/volumes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MKE2FS "/sbin/mke2fs"

static int open_dir(const struct ctl_volume *v)
{
	int fd = openat(v->c->volumes_fd, v->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Whoever owns a volume can put something else there. */
int ctl_volume_disk(const struct ctl_volume *v, bool readonly)
{
	return ctl_volume_disk_of(v, v->uid, readonly);
}

int ctl_volume_disk_of(const struct ctl_volume *v, uid_t owner, bool readonly)
{
	_cleanup_close_ int dir = open_dir(v), fd = -1;
	struct stat st;

	if (dir < 0)
		return dir;
	fd = openat(
		dir, "disk", (readonly ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) && st.st_uid == owner && st.st_nlink == 1 ? steal_fd(&fd)
									     : -EPERM;
}

/* ---- making */

/* The file is nobody's while a program that is not ours writes it, which so has rights to nothing
 * else. */
static int make_file_system(struct ctl *c, int fd, struct msb_err *e)
{
	char *const argv[] = {(char *)"mke2fs", (char *)"-q", (char *)"-F", (char *)"-t",
		(char *)"ext4", (char *)"-m", (char *)"0", (char *)"-E",
		(char *)"root_owner=0:0,nodiscard", (char *)"/proc/self/fd/3", NULL};
	char *const envp[] = {(char *)"PATH=/sbin:/usr/sbin", NULL};
	const struct msb_user user = {
		.uid = c->uid ? c->uid : MSB_USER_NOBODY, .gid = c->uid ? c->gid : MSB_USER_NOBODY};
	const struct msb_spawn_as as = {.path = MKE2FS,
		.argv = argv,
		.envp = envp,
		.sock_fd = fd,
		.out_fd = c->log_fd,
		.user = &user,
		.max_files = 64,
		.max_data_bytes = UINT64_C(1) << 30};
	_cleanup_close_ int pidfd = -1;
	int status = 0, r;
	pid_t pid;

	if (access(MKE2FS, X_OK) < 0)
		return msb_err_set(e, ENOENT, MKE2FS " makes it: %m; install e2fsprogs");
	if (c->uid == 0 && fchown(fd, MSB_USER_NOBODY, MSB_USER_NOBODY) < 0)
		return msb_err_set(e, errno, "the volume's disk: %m");
	pid = msb_spawn_as(&as, &pidfd, e);
	if (pid < 0)
		return pid;
	r = msb_wait_fd(pidfd, POLLIN, CTL_MKFS_MS);
	if (r < 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* else it has ended */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0
		       ? 0
		       : msb_err_set(e, r < 0 ? -r : EIO,
				 "mke2fs did not make a file system; see the instance's log");
}

static int make(struct ctl *c, int dir, uint64_t bytes, uid_t uid, gid_t gid, struct msb_err *e)
{
	_cleanup_close_ int fd = openat(
		dir, CTL_VOLUME_NEW_DISK, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return errno == EEXIST ? msb_err_set(e, EBUSY, "the volume's disk is being made")
				       : msb_err_set(e, errno, "cannot make the volume's disk: %m");
	r = ftruncate(fd, (off_t)bytes) < 0
		    ? msb_err_set(e, errno, "cannot make a disk so large: %m")
		    : make_file_system(c, fd, e);
	if (r == 0 && (fchown(fd, uid, gid) < 0 || fsync(fd) < 0))
		r = msb_err_set(e, errno, "the volume's disk: %m");
	if (r < 0)
		(void)unlinkat(dir, CTL_VOLUME_NEW_DISK, 0); /* the next msbd does, too */
	return r;
}

static bool is_empty(const struct ctl_volume *v)
{
	int fd = ctl_volume_files(v);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	while (d && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			return false;
	return d;
}

/* Whether it can become a disk now; lock held. */
static int check(const struct ctl_volume *v, struct msb_err *e)
{
	_cleanup_str_ struct msb_str users = MSB_STR_INIT;

	ctl_volume_users(v, ", ", &users);
	if (v->gone)
		return msb_err_set(e, ENODEV, "the volume was removed");
	if (v->disk || users.len || !is_empty(v))
		return msb_err_set(e, EBUSY,
			"only a volume that is empty and in nobody's mounts becomes a disk");
	if (!v->quota_bytes)
		return msb_err_set(e, EINVAL, "first write the disk's size to quota_bytes");
	if (v->quota_bytes < CTL_MIN_VOLUME_DISK || v->quota_bytes > CTL_MAX_VOLUME_DISK ||
		v->quota_bytes % 4096)
		return msb_err_set(e, ERANGE,
			"a disk has from %lluM to %lluT, a multiple of 4K, and quota_bytes is %" PRIu64,
			(unsigned long long)(CTL_MIN_VOLUME_DISK >> 20),
			(unsigned long long)(CTL_MAX_VOLUME_DISK >> 40), v->quota_bytes);
	return 0;
}

static int commit(struct ctl_volume *v, int dir, struct msb_err *e)
{
	int r;

	LOCK_SCOPE(&v->c->lock);
	r = check(v, e); /* it may have been used meanwhile */
	if (r == 0 && renameat(dir, CTL_VOLUME_NEW_DISK, dir, "disk") < 0)
		r = msb_err_set(e, errno, "the volume's disk: %m");
	if (r == 0 && fsync(dir) < 0)
		r = msb_err_set(e, errno, "the volume's disk: %m");
	if (r < 0)
		return r;
	v->disk = true;
	r = ctl_volume_save(v, e);
	v->disk = r == 0;
	return r;
}

int ctl_volume_set_kind(struct ctl_volume *v, const char *line, size_t n, struct msb_err *e)
{
	bool disk = n == 4 && !memcmp(line, "disk", 4);
	_cleanup_close_ int dir = -1;
	uint64_t bytes;
	uid_t uid;
	gid_t gid;
	int r;

	if (!disk && !(n == 3 && !memcmp(line, "dir", 3)))
		return msb_err_set(e, EINVAL, "kind is `dir` or `disk`, not `%.*s`",
			n > 64 ? 64 : (int)n, line);
	{
		LOCK_SCOPE(&v->c->lock);
		if (v->disk == disk)
			return 0;
		if (v->disk)
			return msb_err_set(
				e, EBUSY, "volume %s is a disk; make another one", v->name);
		r = check(v, e);
		bytes = v->quota_bytes;
		uid = v->uid;
		gid = v->gid;
	}
	if (r < 0)
		return r;
	dir = open_dir(v);
	if (dir < 0)
		return msb_err_set(e, -dir, "the volume's directory: %s", strerror(-dir));
	r = make(v->c, dir, bytes, uid, gid, e);
	if (r < 0)
		return r;
	r = commit(v, dir, e);
	if (r < 0)
		(void)unlinkat(dir, CTL_VOLUME_NEW_DISK, 0); /* the next msbd does, too */
	return r;
}

/* ---- who has it */

/* Whether a table has the volume as a disk; in @ret_writes: to write. */
static bool has(const char *text, const char *name, bool *ret_writes)
{
	_cleanup_(ctl_table_done) struct ctl_table t = {0};
	bool any = false;

	if (ctl_table_parse(text, &t) < 0)
		return *ret_writes = true; /* no memory: rather none than two that write */
	for (size_t i = 0; i < t.n; i++)
		if (ctl_share_is_disk(&t.s[i]) && !strcmp(t.s[i].volume, name)) {
			any = true;
			*ret_writes |= !t.s[i].readonly;
		}
	return any;
}

int ctl_volume_claim(struct ctl_sandbox *sb, const char *name, bool readonly, struct msb_err *e)
{
	struct ctl *c = sb->c;

	LOCK_SCOPE(&c->lock);
	for (size_t i = 0; i < c->nsb; i++) {
		const struct ctl_sandbox *o = c->sb[i];
		const char *text = ctl_conf_value(o, CONF_MOUNTS);
		bool writes = false;

		/* A verb that is under way may be a start. */
		if (o == sb || (!o->machine && !o->op) || !strstr(text, name) ||
			!has(text, name, &writes) || (readonly && !writes))
			continue;
		return msb_err_set(e, EBUSY,
			"volume %s is a disk, and %s has it%s: one machine alone may write it, or any "
			"number read it",
			name, o->name, writes ? "" : " to read");
	}
	return 0;
}
