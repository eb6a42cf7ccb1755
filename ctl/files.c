// SPDX-License-Identifier: Apache-2.0
// File servers: starting, viewing, finding again, ending.
#include "ctl/files.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/owner.h"
#include "ctl/plugin.h"
#include "ctl/supervise.h"
#include "ctl/tree.h"
#include "fs/fsd.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

int ctl_files_of_sandbox(struct ctl_sandbox *sb, struct ctl_files_of *ret, struct msb_err *e)
{
	const struct ctl_pin *p;
	struct ctl_image *img;
	int r;

	*ret = (struct ctl_files_of){
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	LOCK_SCOPE(&sb->c->lock);
	if (!sb->conf[CONF_IMAGE])
		return msb_err_set(e, ENOENT,
			"%s has no image yet: `echo IMAGE > image`, and see `ls images`", sb->name);
	ret->root = ctl_root_kind(sb->conf[CONF_IMAGE]);
	if (ret->root != CTL_ROOT_IMAGE) {
		(void)snprintf(ret->source, sizeof(ret->source), "%s", sb->conf[CONF_IMAGE]);
		return 0;
	}
	p = ctl_pin_find(sb, "");
	if (p) {
		memcpy(ret->digest, p->digest, sizeof(ret->digest));
		return 0;
	}
	r = ctl_image_resolve(sb->c, sb->conf[CONF_IMAGE], NULL, &img, e);
	if (r == 0)
		memcpy(ret->digest, img->digest, sizeof(ret->digest));
	return r;
}

void ctl_files_of_image(struct ctl_image *img, struct ctl_files_of *ret)
{
	*ret = (struct ctl_files_of){
		.c = img->c, .f = &img->files, .id = img->id, .name = img->name};
	ret->root = CTL_ROOT_IMAGE;
	memcpy(ret->digest, img->digest, sizeof(ret->digest));
}

static void view_path(const struct ctl_files_of *of, char ret[MSB_PATH_MAX])
{
	if (snprintf(ret, MSB_PATH_MAX, "%s/views/%s/root", of->c->paths.run, of->id) >=
		MSB_PATH_MAX)
		ret[0] = '\0'; /* cannot be: paths.h bounds run */
}

/* Where the view is mounted, behind a directory that only those may pass who may use the sandbox:
 * a guest's files carry the guest's own owners and modes, which say nothing to users of the host,
 * and the path is in everybody's mount table. */
static int make_mountpoint(const struct ctl_files_of *of, const char *path, struct msb_err *e)
{
	char dir[80];
	int r = 0;

	(void)snprintf(dir, sizeof(dir), "views/%s", of->id);
	if (mkdirat(of->c->run_fd, dir, of->sb ? 0700 : 0711) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s: %m", path);
	if (of->sb) {
		LOCK_SCOPE(&of->c->lock);
		r = ctl_files_gate(of->sb);
	}
	if (r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		r = -errno;
	return r < 0 ? msb_err_set(e, -r, "cannot make %s: %s", path, strerror(-r)) : 0;
}

void ctl_files_unview(const struct ctl *c, const char *id)
{
	char path[MSB_PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/views/%s/root", c->paths.run, id);
	(void)fsd_fuse_unmount(path); /* lazy: it cannot fail for being in use */
	(void)rmdir(path);	      /* absent where there never was a view */
	(void)snprintf(path, sizeof(path), "views/%s", id);
	(void)unlinkat(c->run_fd, path, AT_REMOVEDIR);
}

void ctl_files_hide(struct ctl_sandbox *sb)
{
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	struct msb_err e = {0};
	char dir[80];
	int r;

	(void)snprintf(dir, sizeof(dir), "views/%s", sb->id);
	if (faccessat(sb->c->run_fd, dir, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return; /* and who comes now passes the new owner's gate */
	LOCK_SCOPE(&sb->files.lock);
	if (!sb->files.viewed)
		return;
	ctl_files_unview(sb->c, sb->id);
	sb->files.viewed = false;
	r = sb->files.sock < 0 ? 0 : ctl_files_answer(&of, fsd_unview(sb->files.sock, &e));
	if (r < 0)
		log_warn("%s: the view of its root does not end: %s", sb->name, e.msg);
}

int ctl_files_answer(struct ctl_files_of *of, int r)
{
	if (r != -ETIMEDOUT && r != -EBADMSG)
		return r;
	LOCK_SCOPE(&of->c->lock);
	if (of->f->fsd.pidfd >= 0 && pidfd_send_signal(of->f->fsd.pidfd, SIGKILL, NULL, 0) == 0)
		log_err("%s: the file server does not answer; killing it", of->name ?: of->id);
	return r;
}

/* Also what others can write below, whose links lead nowhere. */
static int open_below(int dirfd, const char *path, int flags, const char *whose, struct msb_err *e)
{
	int fd = openat(dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? msb_err_set(e, errno, "cannot open %s of the %s: %m", path, whose) : fd;
}

/* Bytes of the files directly in the upper directory: whatever msb-fsd writes there first, it grows
 * with the first change. */
static uint64_t upper_bytes(int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	_cleanup_closedir_ DIR *d = own >= 0 ? fdopendir(own) : NULL;
	struct dirent *de;
	uint64_t bytes = 0;
	struct stat st;

	if (d)
		rewinddir(d);
	while (d && (de = readdir(d)))
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	return bytes;
}

int ctl_files_open_image(
	struct ctl *c, const char *digest, int *ret_index, int *ret_packs, struct msb_err *e)
{
	_cleanup_close_ int index = -1;
	char path[128];
	int packs;

	(void)snprintf(path, sizeof(path), "images/%s/index", digest);
	index = open_below(c->store_fd, path, O_RDONLY, "store", e);
	(void)snprintf(path, sizeof(path), "images/%s/meta", digest);
	if (index == -ENOENT && faccessat(c->store_fd, path, F_OK, 0) == 0)
		return msb_err_set(e, EOPNOTSUPP,
			"the image has no tree of files: it is an artifact or a mixtape");
	if (index < 0)
		return index;
	packs = open_below(c->store_fd, "packs", O_RDONLY | O_DIRECTORY, "store", e);
	if (packs < 0)
		return packs;
	*ret_index = steal_fd(&index);
	*ret_packs = packs;
	return 0;
}

int ctl_files_give(const struct ctl_files_of *of, int *fd, bool readonly, struct msb_err *e)
{
	const struct msb_ids ours = {of->c->uid, of->c->gid};

	return ctl_owner_give(of->c, fd, ours, of->f->as, readonly, e);
}

/* The directory that audit lines of all of a sandbox's mounts go to. */
static int give_audit(struct ctl_files_of *of, struct msb_err *e)
{
	_cleanup_close_ int dir = -1;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "%s/" CTL_AUDIT_DIR, of->id);
	if (mkdirat(of->c->sandboxes_fd, path, 0700) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make the directory for audit lines: %m");
	dir = open_below(of->c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY, "sandboxes", e);
	r = dir < 0 ? dir : ctl_files_give(of, &dir, false, e);
	return r < 0 ? r : fsd_audit(of->f->sock, dir, e);
}

static char *root_options(const struct ctl_files_of *of)
{
	if (!of->sb)
		return strdup("");
	LOCK_SCOPE(&of->c->lock);
	return strdup(ctl_conf_value(of->sb, CONF_ROOT_OPTIONS));
}

/* The directory of changes; @ret_fresh: it was made now. */
static int open_upper(struct ctl_files_of *of, bool *ret_fresh, struct msb_err *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/upper", of->id);
	*ret_fresh = mkdirat(of->c->sandboxes_fd, path, 0700) == 0;
	if (!*ret_fresh && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make the directory for changes: %m");
	return open_below(of->c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY, "sandboxes", e);
}

static int give_image(struct ctl_files_of *of, const char *options, int upper, struct msb_err *e)
{
	_cleanup_close_ int index = -1, packs = -1;
	int r = ctl_files_open_image(of->c, of->digest, &index, &packs, e);

	if (r == 0)
		r = ctl_files_give(of, &packs, true, e);
	return r < 0 ? r : fsd_tree(of->f->sock, index, packs, upper, options, e);
}

static int give_dir(
	struct ctl_files_of *of, const char *options, int upper, bool fresh, struct msb_err *e)
{
	_cleanup_(ctl_root_close) struct ctl_root_fds fds = CTL_ROOT_NO_FDS;
	int r = ctl_root_dir_open(of->sb, of->source, fresh, &fds, e);

	return r < 0 ? r
		     : fsd_tree_dir(of->f->sock, fds.dir, fds.index, fds.files, upper, options, e);
}

static bool unchanged(struct ctl_sandbox *sb, int upper)
{
	LOCK_SCOPE(&sb->c->lock);
	return sb->used && sb->fresh_bytes && upper_bytes(upper) == sb->fresh_bytes;
}

/* A sandbox that is not in the database is cleared away with its root: what is put into that from
 * here on outlives a power cut. */
static int sync_unused(const struct ctl_files_of *of, struct msb_err *e)
{
	{
		LOCK_SCOPE(&of->c->lock);
		if (!of->sb || of->sb->used)
			return 0;
	}
	return ctl_sync(of->c, e);
}

/* Gives a server its tree; @ret_bytes: of an upper directory that was made now, else 0. */
static int give_tree(struct ctl_files_of *of, uint64_t *ret_bytes, struct msb_err *e)
{
	_cleanup_free_ char *options = root_options(of);
	_cleanup_close_ int upper = -1, given = -1;
	bool fresh = false;
	char path[64];
	int r = options ? 0 : msb_err_set(e, ENOMEM, "no memory");

	*ret_bytes = 0;
	if (r == 0 && of->sb)
		r = give_audit(of, e);
	if (r == 0)
		r = sync_unused(of, e);
	if (r == 0 && of->root == CTL_ROOT_DISK)
		return fsd_tree(of->f->sock, -1, -1, -1, "", e); /* it serves mounts alone */
	if (r == 0 && of->sb)
		r = upper = open_upper(of, &fresh, e);
	/* What the host has changed in a directory is taken up while nothing lies on it. */
	if (r >= 0 && of->root == CTL_ROOT_DIR && !fresh && of->sb && unchanged(of->sb, upper)) {
		(void)snprintf(path, sizeof(path), "%s/upper", of->id);
		r = msb_rm_rf(of->c->sandboxes_fd, path);
		if (r < 0)
			return msb_err_set(
				e, -r, "cannot begin its changes anew: %s", strerror(-r));
		close(steal_fd(&upper));
		r = upper = open_upper(of, &fresh, e);
	}
	if (r < 0)
		return r;
	given = of->sb ? fcntl(upper, F_DUPFD_CLOEXEC, 0) : -1;
	r = of->sb && given < 0 ? msb_err_set(e, errno, "the directory for changes: %m")
				: ctl_files_give(of, &given, false, e);
	if (r == 0)
		r = of->root == CTL_ROOT_DIR ? give_dir(of, options, given, fresh, e)
					     : give_image(of, options, given, e);
	if (r == 0 && fresh)
		*ret_bytes = upper_bytes(upper);
	/* One that no server has had says nothing of what it was made for. */
	if (r < 0 && fresh && of->sb) {
		(void)snprintf(path, sizeof(path), "%s/upper", of->id);
		(void)msb_rm_rf(of->c->sandboxes_fd, path); /* it is empty */
	}
	return r;
}

/* Ends the process and forgets it; files.lock held. */
static struct ctl_exit drop(struct ctl_files_of *of, int grace_ms)
{
	struct ctl_helper h;
	struct ctl_exit x;

	pthread_mutex_lock(&of->c->lock);
	h = of->f->fsd;
	of->f->fsd = (struct ctl_helper){.pidfd = -1};
	ctl_supervise_drop(of->c, h.pidfd);
	pthread_mutex_unlock(&of->c->lock);
	x = ctl_helper_end(&h, grace_ms);
	if (of->f->sock >= 0)
		close(of->f->sock);
	of->f->sock = -1;
	ctl_files_unview(of->c, of->id);
	of->f->viewed = false;
	of->f->nmounts = 0;
	if (of->sb)
		ctl_plugins_stop(of->sb);
	return x;
}

/* Ends a server that another one is to follow. That it ends is no surprise to who looks after it.
 */
static void retire(struct ctl_files_of *of)
{
	pthread_mutex_lock(&of->c->lock);
	ctl_supervise_drop(of->c, of->f->fsd.pidfd);
	pthread_mutex_unlock(&of->c->lock);
	if (of->f->sock >= 0)
		(void)fsd_quit(of->f->sock, NULL); /* flushes; where it fails drop() ends it */
	(void)drop(of, CTL_END_TIMEOUT_MS);
}

/* Whether it has the rights of somebody whose the sandbox was before. */
static bool is_anothers(const struct ctl_files_of *of)
{
	LOCK_SCOPE(&of->c->lock);
	return of->sb && !of->sb->machine &&
	       of->f->as.uid != (ctl_is_other(of->c, of->sb->uid) ? of->sb->uid : of->c->uid);
}

/* Who it is to be, written down before it is there: what it may do is never believed to be less. */
static int take_user(struct ctl_files_of *of, struct msb_user *ret, struct msb_err *e)
{
	int other = of->sb ? ctl_owner(of->sb, ret, e) : 0, r = 0;
	struct msb_ids as = {of->c->uid, of->c->gid};
	char text[32];

	if (other < 0)
		return other;
	if (other)
		as = (struct msb_ids){ret->uid, ret->gid};
	(void)snprintf(text, sizeof(text), "%u %u", as.uid, as.gid);
	pthread_mutex_lock(&of->c->lock);
	if (of->sb && (as.uid != of->f->as.uid || as.gid != of->f->as.gid))
		r = ctl_db_value_set(of->c->db, of->sb->id, ".served", other ? text : NULL, e);
	pthread_mutex_unlock(&of->c->lock);
	if (r < 0)
		return r;
	of->f->as = as;
	return other;
}

int ctl_files_start(struct ctl_files_of *of, struct msb_err *e)
{
	struct ctl *c = of->c;
	struct ctl_helper_note note = {c, of->id, "fsd"};
	char sock[108], dir[80];
	struct ctl_helper h;
	struct msb_user user;
	uint64_t bytes = 0;
	int r, other, pidfd = -1;
	pid_t pid;

	if (of->f->closed)
		return msb_err_set(e, ENODEV, "%s was removed", of->name);
	if (of->f->sock >= 0 && is_anothers(of))
		retire(of);
	if (of->f->sock >= 0)
		return 0;
	other = take_user(of, &user, e);
	if (other < 0)
		return other;
	if (of->sb && of->root == CTL_ROOT_IMAGE) {
		/* From here on its changes lie on top of this image. */
		LOCK_SCOPE(&c->lock);
		r = ctl_pin_set(of->sb, "", of->digest, true, e);
		if (r < 0)
			return r;
	}
	(void)snprintf(dir, sizeof(dir), "sb/%s", of->id);
	if (mkdirat(c->run_fd, dir, 0700) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s/%s: %m", c->paths.run, dir);
	ctl_sock_path(c, of->id, "fsd", sock);
	ctl_helper_noted(&note);
	pid = fsd_spawn(c->paths.bin, of->name, other ? &user : NULL, sock, c->log_fd, &pidfd, e);
	if (pid < 0)
		return pid;
	h = ctl_helper_new(pid, pidfd);
	pthread_mutex_lock(&c->lock);
	of->f->fsd = h;
	pthread_mutex_unlock(&c->lock);
	of->f->sock = msb_unix_connect(sock, SOCK_SEQPACKET);
	r = of->f->sock < 0
		    ? msb_err_set(e, -of->f->sock, "the file server: %s", strerror(-of->f->sock))
		    : give_tree(of, &bytes, e);
	/* Its root was opened with the rights of who had it then. */
	if (r == 0 && is_anothers(of))
		r = msb_err_set(e, EBUSY, "%s was given away meanwhile; try again", of->name);
	if (r < 0) {
		drop(of, 0);
		if (of->sb) {
			LOCK_SCOPE(&c->lock);
			if (!of->sb->used)
				ctl_pin_drop(of->sb, "");
		}
		return r;
	}
	pthread_mutex_lock(&c->lock);
	ctl_supervise_fsd(of);
	if (of->sb && of->root != CTL_ROOT_DISK && (!of->sb->used || bytes)) {
		char text[24];

		of->sb->used = true;
		of->sb->fresh_bytes = bytes;
		(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
		ctl_sandbox_fact(of->sb, ".used", text);
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

void ctl_files_refresh(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};
	char sock[108];
	bool viewed;

	{
		LOCK_SCOPE(&sb->files.lock);
		viewed = sb->files.viewed;
	}
	if (!viewed)
		return;
	ctl_sock_path(sb->c, sb->id, "agent", sock);
	if (agent_drop_caches(sock, &e) < 0 && e.code != EBUSY)
		log_warn("%s: the guest may see changes by the host late: %s", sb->name, e.msg);
}

/* Whether there is a guest to ask; one that is starting or paused is asked when that has ended. */
static bool has_guest(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return sb->machine && (sb->state == ST_RUNNING || sb->state == ST_STARTING);
}

/* 1: it was made now. */
static int view(struct ctl_files_of *of, char ret_path[MSB_PATH_MAX], struct msb_err *e)
{
	_cleanup_close_ int fuse = -1;
	int r;

	LOCK_SCOPE(&of->f->lock);
	view_path(of, ret_path);
	if (of->root == CTL_ROOT_DISK)
		return msb_err_set(e, EOPNOTSUPP,
			"the root is a disk, which the machine's kernel alone reads: there is no view "
			"of it; use exec, or a mount");
	r = ctl_files_start(of, e);
	if (r < 0 || of->f->viewed)
		return r;
	r = make_mountpoint(of, ret_path, e);
	if (r < 0)
		return r;
	fuse = fsd_fuse_mount(ret_path, of->sb == NULL, e);
	if (fuse < 0)
		return fuse;
	of->f->viewed = true;
	r = ctl_files_answer(of, fsd_view(of->f->sock, NULL, fuse, e));
	if (r < 0) {
		(void)fsd_fuse_unmount(ret_path); /* lazy */
		of->f->viewed = false;
	}
	return r < 0 ? r : 1;
}

int ctl_files_view(struct ctl_files_of *of, char ret_path[MSB_PATH_MAX], struct msb_err *e)
{
	int r = view(of, ret_path, e);

	/* Nobody has been told of the view yet: what is changed by it comes after this. */
	if (r > 0 && of->sb && has_guest(of->sb))
		ctl_files_refresh(of->sb);
	return r < 0 ? r : 0;
}

void ctl_files_reset(struct ctl_sandbox *sb)
{
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	_cleanup_close_ int upper = -1;
	char path[64];

	LOCK_SCOPE(&sb->files.lock);
	pthread_mutex_lock(&sb->c->lock);
	if (!sb->used || !sb->fresh_bytes || sb->op || !ctl_state_ended(sb->state)) {
		pthread_mutex_unlock(&sb->c->lock);
		return;
	}
	pthread_mutex_unlock(&sb->c->lock);
	retire(&of);
	(void)snprintf(path, sizeof(path), "%s/upper", sb->id);
	upper = open_below(sb->c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY, "sandboxes", NULL);
	if (upper < 0 || upper_bytes(upper) != sb->fresh_bytes)
		return;
	if (msb_rm_rf(sb->c->sandboxes_fd, path) < 0)
		return; /* then the image stays as it is */
	pthread_mutex_lock(&sb->c->lock);
	sb->used = false;
	ctl_sandbox_fact(sb, ".used", NULL);
	ctl_pin_drop(sb, "");
	pthread_mutex_unlock(&sb->c->lock);
}

int ctl_files_set_options(struct ctl_sandbox *sb, const char *line, size_t n, struct msb_err *e)
{
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	int r;

	/* While this is held no start gets at the server. */
	LOCK_SCOPE(&sb->files.lock);
	r = ctl_conf_differs(sb, CONF_ROOT_OPTIONS, line, n, e);
	if (r < 0)
		return r;
	/* Before they are kept: at no time may a server have others than are read here. */
	if (r && sb->files.sock >= 0)
		retire(&of);
	return ctl_conf_set(sb, CONF_ROOT_OPTIONS, line, n, e);
}

struct ctl_exit ctl_files_lost(struct ctl_files_of *of)
{
	LOCK_SCOPE(&of->f->lock);
	return drop(of, 0);
}

/* files.lock held. */
static int ask(struct ctl_files_of *of, struct msb_err *e)
{
	of->f->closed = true;
	if (of->f->asked_ms || of->f->sock < 0)
		return 0;
	of->f->asked_ms = msb_now_ms();
	return fsd_quit_ask(of->f->sock, e);
}

void ctl_files_end_ask(struct ctl_files_of *of)
{
	LOCK_SCOPE(&of->f->lock);
	(void)ask(of, NULL); /* what comes of it is looked at by ctl_files_end() */
}

void ctl_files_end(struct ctl_files_of *of)
{
	struct msb_err e = {0};
	uint64_t ago;
	int r;

	LOCK_SCOPE(&of->f->lock);
	r = ask(of, &e);
	ago = msb_now_ms() - of->f->asked_ms;
	if (r == 0 && of->f->sock >= 0)
		r = fsd_quit_answer(
			of->f->sock, ago < FSD_QUIT_MS ? (int)(FSD_QUIT_MS - ago) : 0, &e);
	if (r < 0)
		log_warn("%s: the file server did not end well: %s", of->name ?: of->id, e.msg);
	drop(of, r < 0 ? 0 : CTL_END_TIMEOUT_MS);
}

int ctl_files_recover(struct ctl_files_of *of)
{
	char sock[108], path[MSB_PATH_MAX];
	struct ctl_helper h;

	LOCK_SCOPE(&of->f->lock);
	view_path(of, path);
	if (ctl_helper_load(of->c, of->id, "fsd", &h) == 0) {
		pthread_mutex_lock(&of->c->lock);
		of->f->fsd = h;
		pthread_mutex_unlock(&of->c->lock);
		ctl_sock_path(of->c, of->id, "fsd", sock);
		of->f->sock = msb_unix_connect(sock, SOCK_SEQPACKET);
		of->f->viewed = fsd_fuse_mounted(path);
		if (of->f->sock >= 0) {
			pthread_mutex_lock(&of->c->lock);
			ctl_supervise_fsd(of);
			pthread_mutex_unlock(&of->c->lock);
			return 0;
		}
		log_warn("%s: the file server lives but does not answer; ending it", of->name);
		drop(of, 0);
		return -ESRCH;
	}
	/* A dead server's view answers nothing but ENOTCONN. */
	ctl_files_unview(of->c, of->id);
	return -ESRCH;
}
