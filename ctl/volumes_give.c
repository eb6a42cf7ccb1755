// SPDX-License-Identifier: Apache-2.0
// A volume that is given away: who owns it, and its files on the host.
#include "ctl/volumes.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/thread.h"
#include "fs/du.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* By descriptors that say what they are: whoever gives it away, or a guest, may put other files
 * there meanwhile. */
static int give_one(int dir, const char *name, uid_t from, uid_t to, gid_t gid, mode_t *ret_type)
{
	_cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	*ret_type = 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	*ret_type = st.st_mode & S_IFMT;
	if (st.st_uid != from)
		return 0;
	return fchownat(fd, "", to, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* What is below @fd and @from's. Goes on where one fails, which is returned. */
static int give(int fd, uid_t from, uid_t to, gid_t gid, unsigned int depth)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *de;
	int r = d ? 0 : -errno;

	while (d && (de = readdir(d))) {
		_cleanup_close_ int sub = -1;
		mode_t type = 0;
		int one = 0;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		one = give_one(dirfd(d), de->d_name, from, to, gid, &type);
		if (one == 0 && type == S_IFDIR && depth == FS_DU_MAX_DEPTH)
			one = -ELOOP;
		if (one == 0 && type == S_IFDIR) {
			sub = openat(dirfd(d), de->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			one = sub >= 0		? give(sub, from, to, gid, depth + 1)
			      : errno == ENOENT ? 0
						: -errno;
		}
		r = r < 0 ? r : one;
	}
	return r;
}

/* Not who may mount it: what a file server that was taken over leaves there with set-id bits is its
 * owner's, and must be nobody else's to run. Nor who is just given it: more of the former owner's
 * files could be put there, to be given too. */
int ctl_volume_gate(const struct ctl_volume *v)
{
	uid_t uid = v->giving ? v->c->uid : v->uid;
	int at = v->c->volumes_fd;

	if (fchmodat(at, v->id, 0700, 0) < 0 ||
		fchownat(at, v->id, uid, v->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

/* Who owns it, and who may pass to its files; that they are to be given is written down with it. */
static int set_owner(struct ctl_volume *v, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e)
{
	bool moves = uid != v->uid || gid != v->gid;
	uid_t was_uid = v->uid;
	gid_t was_gid = v->gid;
	mode_t was_mode = v->mode;
	int r;

	LOCK_SCOPE(&v->c->lock);
	if (v->gone)
		return msb_err_set(e, ENOENT, "the volume was removed");
	v->uid = uid;
	v->gid = gid;
	v->mode = mode;
	v->giving = moves;
	v->giver = was_uid;
	r = ctl_volume_save(v, e);
	if (r < 0) {
		v->uid = was_uid;
		v->gid = was_gid;
		v->mode = was_mode;
		v->giving = false;
		return r;
	}
	r = ctl_volume_gate(v);
	return r < 0 ? msb_err_set(e, -r, "cannot give away volume %s: %s", v->name, strerror(-r))
		     : 0;
}

/* One that is its new owner's already is done. */
static int give_disk(const struct ctl_volume *v)
{
	_cleanup_close_ int fd = ctl_volume_disk_of(v, v->giver, false);

	if (fd == -EPERM && v->giver != v->uid) {
		fd = ctl_volume_disk(v, false);
		return fd < 0 ? fd : 0;
	}
	return fd < 0 ? fd : fchown(fd, v->uid, v->gid) < 0 ? -errno : 0;
}

/* Whoever owned the volume may have put a directory there that is not his to give. */
static int give_files(const struct ctl_volume *v)
{
	_cleanup_close_ int dir = ctl_volume_files(v);
	struct stat st;

	if (dir < 0 || fstat(dir, &st) < 0)
		return dir < 0 ? dir : -errno;
	if (v->giver != v->c->uid && st.st_uid != v->giver && st.st_uid != v->uid)
		return -EPERM;
	return fchown(dir, v->uid, v->gid) < 0 ? -errno : give(dir, v->giver, v->uid, v->gid, 0);
}

/* With give_lock held. What could not be given is not tried again: who asked is told. */
static int give_all(struct ctl_volume *v, struct msb_err *e)
{
	struct msb_err no = {0};
	int r = v->disk ? give_disk(v) : give_files(v), gate;

	LOCK_SCOPE(&v->c->lock);
	v->giving = false;
	if (!v->gone && ctl_volume_save(v, &no) < 0)
		log_warn("volume %s: %s; its files are given once more at the next start", v->name,
			no.msg);
	gate = v->gone ? 0 : ctl_volume_gate(v);
	r = r < 0 ? r : gate;
	return r < 0 ? msb_err_set(e, -r, "volume %s is given away, but not all of its files: %s",
			       v->name, strerror(-r))
		     : 0;
}

int ctl_volume_own(struct ctl_volume *v, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e)
{
	int r = 0;

	LOCK_SCOPE(&v->give_lock);
	if (v->giving) /* of an earlier msbd, and its turn did not come yet */
		r = give_all(v, e);
	if (r == 0)
		r = set_owner(v, uid, gid, mode, e);
	return r < 0 || !v->giving ? r : give_all(v, e);
}

/* ---- after a crash */

static void *go_on(void *arg)
{
	struct ctl_volume *v = arg;
	struct msb_err e = {0};

	pthread_mutex_lock(&v->give_lock);
	if (v->giving && give_all(v, &e) < 0)
		log_warn("%s", e.msg);
	pthread_mutex_unlock(&v->give_lock);
	ctl_volume_unref(v);
	return NULL;
}

void ctl_volume_own_recover(struct ctl_volume *v)
{
	int r = ctl_volume_gate(v);

	if (r < 0)
		log_warn("volume %s: who may pass to its files: %s", v->name, strerror(-r));
	if (!v->giving)
		return;
	log_info("volume %s: giving uid %u's files to uid %u goes on", v->name, v->giver, v->uid);
	if (ctl_thread(go_on, ctl_volume_ref(v)) < 0) {
		v->refs--;
		log_warn("volume %s: no thread to give its files; the next chown does", v->name);
	}
}
