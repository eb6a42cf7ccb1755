// SPDX-License-Identifier: Apache-2.0
// Lines of `mounts` in the file server.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/fstab.h"
#include "ctl/image_names.h"
#include "ctl/kept.h"
#include "ctl/mounts.h"
#include "ctl/owner.h"
#include "ctl/plugin.h"
#include "ctl/scripts.h"
#include "ctl/volumes.h"
#include "fs/fsd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define OVERLAYS "overlays" /* in a sandbox's directory: changes of overlay mounts */

void ctl_share_close(struct ctl_share_fds *fds)
{
	int *const all[] = {&fds->dir, &fds->index, &fds->packs, &fds->upper, &fds->usage};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (*all[i] >= 0)
			close(*all[i]);
		*all[i] = -1;
	}
}

static int open_dir(
	struct ctl_sandbox *sb, const char *path, struct ctl_share_fds *ret, struct msb_err *e)
{
	struct msb_err why = {0};
	int r = ctl_owner_dir(sb, path, &ret->dir, &ret->ids.uid, &why);

	ret->host = true;
	return r < 0 ? msb_err_set(e, -r, "mount source %s", why.msg) : 0;
}

/* How many directories of changes there are; a bound on what may be left behind. */
static size_t count_entries(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;
	size_t n = 0;

	while (d && (de = readdir(d)))
		n += de->d_name[0] != '.';
	return n;
}

/* The directory of changes of guest path @path over that image: another image has another one, so
 * that changes are never laid over what they were not made of. */
static int open_upper(
	struct ctl_sandbox *sb, const char *path, const char *digest, int *ret, struct msb_err *e)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	char key[CTL_MAX_GUEST_PATH + 80], name[FSD_MAX_MOUNT_NAME + 1], dir[96];
	int n = snprintf(key, sizeof(key), "%s %s", digest, path);
	_cleanup_close_ int all = -1;

	(void)snprintf(dir, sizeof(dir), "%s/" OVERLAYS, sb->id);
	if (mkdirat(sb->c->sandboxes_fd, dir, 0700) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "mount %s: no directory for its changes: %m", path);
	all = openat(sb->c->sandboxes_fd, dir, flags);
	if (all < 0)
		return msb_err_set(e, errno, "mount %s: no directory for its changes: %m", path);
	ctl_mount_name(key, (size_t)n, name);
	*ret = openat(all, name, flags);
	if (*ret >= 0)
		return 0;
	if (count_entries(all) >= CTL_MAX_OVERLAYS)
		return msb_err_set(e, EDQUOT,
			"mount %s: the sandbox keeps the changes of %d overlay mounts, the most there "
			"can be",
			path, CTL_MAX_OVERLAYS);
	if (mkdirat(all, name, 0700) == 0)
		*ret = openat(all, name, flags);
	return *ret < 0 ? msb_err_set(e, errno, "mount %s: no directory for its changes: %m", path)
			: 0;
}

/* Which image a mount is made of. What lies on top of one stays with it; a machine that has mounts
 * keeps to what they are made of. ctl.lock held. */
static int pin(
	struct ctl_sandbox *sb, const struct ctl_share *s, char digest[65], struct msb_err *e)
{
	bool overlay = !strcmp(s->backend, "overlay");
	_cleanup_str_ struct msb_str ref = MSB_STR_INIT;
	struct ctl_image *img = NULL;
	const struct ctl_pin *p;
	struct msb_err why = {0};
	struct img_ref parsed;
	int r = ctl_image_resolve(sb->c, s->source, &parsed, &img, &why);

	img_ref_print(&parsed, &ref);
	p = r != -EINVAL && !ref.oom ? ctl_pin_find(sb, r == 0 ? img->name : ref.buf) : NULL;
	if (p && (p->kept || sb->machine || r < 0)) {
		memcpy(digest, p->digest, sizeof(p->digest));
		return ctl_pin_set(sb, p->ref, digest, p->kept || overlay, e);
	}
	if (r < 0)
		return msb_err_set(e, -r, "mount source: %s", why.msg);
	memcpy(digest, img->digest, sizeof(img->digest));
	return ctl_pin_set(sb, img->name, digest, overlay, e);
}

static int open_image(struct ctl_sandbox *sb, const struct ctl_share *s, struct ctl_share_fds *ret,
	char digest[65], struct msb_err *e)
{
	int r;

	{
		LOCK_SCOPE(&sb->c->lock);
		r = pin(sb, s, digest, e);
	}
	return r < 0 ? r : ctl_files_open_image(sb->c, digest, &ret->index, &ret->packs, e);
}

int ctl_share_open(struct ctl_sandbox *sb, const struct ctl_share *s, struct ctl_share_fds *ret,
	struct msb_err *e)
{
	char digest[65];
	int r = 0;

	*ret = (struct ctl_share_fds)CTL_SHARE_NO_FDS;
	ret->ids = (struct msb_ids){sb->c->uid, sb->c->gid};
	if (ctl_scripts_is(s))
		r = ctl_scripts_open(sb, &ret->dir, e);
	else if (*s->volume)
		r = ctl_volume_open(sb, s->volume, ctl_share_is_disk(s), s->readonly, ret, e);
	else if (!strcmp(s->backend, "passthrough"))
		r = open_dir(sb, s->source, ret, e);
	else if (s->over)
		r = open_dir(sb, s->over, ret, e);
	else if (!strcmp(s->backend, "image") || !strcmp(s->backend, "overlay"))
		r = open_image(sb, s, ret, digest, e);
	if (r == 0 && !strcmp(s->backend, "overlay"))
		r = open_upper(sb, s->path, digest, &ret->upper, e);
	if (r < 0)
		ctl_share_close(ret);
	return r;
}

bool ctl_share_collides(const struct ctl_share *a, const struct ctl_share *b)
{
	return !strcmp(a->backend, "overlay") && !strcmp(b->backend, "overlay") &&
	       !strcmp(a->path, b->path); /* two names may be one image */
}

static bool note(struct ctl_files *f, const char *name)
{
	for (unsigned int i = 0; i < f->nmounts; i++)
		if (!strcmp(f->mount[i], name))
			return false;
	if (f->nmounts == FSD_MAX_MOUNTS)
		return false;
	(void)snprintf(f->mount[f->nmounts++], sizeof(f->mount[0]), "%s", name);
	return true;
}

/* Makes them the server's to use. */
static int give(const struct ctl_files_of *of, const struct ctl_share *s, struct ctl_share_fds *fds,
	struct msb_err *e)
{
	int r;

	if (fds->host && fds->ids.uid != of->f->as.uid)
		return msb_err_set(e, EBUSY,
			"the sandbox was given away, and until it is stopped and started its files are "
			"served with the rights of uid %u, who had it when it was started",
			of->f->as.uid);
	r = ctl_files_give(of, &fds->packs, true, e);
	if (r == 0)
		r = ctl_files_give(of, &fds->upper, false, e);
	return r < 0 || fds->host
		       ? r
		       : ctl_owner_give(of->c, &fds->dir, fds->ids, of->f->as, s->readonly, e);
}

int ctl_share_up(struct ctl_files_of *of, const struct ctl_share *s, struct ctl_share_fds *fds,
	struct msb_err *e)
{
	bool plugin = !strcmp(s->backend, "plugin");
	_cleanup_close_ int sock = -1;
	struct fsd_mount m = FSD_MOUNT_NONE;
	int r = 0;

	if (ctl_share_is_disk(s))
		return 0;
	r = give(of, s, fds, e);
	if (r < 0)
		return msb_err_wrap(e, "mount %.200s", s->path);
	m.name = s->name;
	m.label = s->path;
	m.backend = s->backend;
	m.options = s->options;
	m.dir_fd = fds->dir;
	m.index_fd = fds->index;
	m.packs_fd = fds->packs;
	m.upper_fd = fds->upper;
	m.usage_fd = fds->usage;
	if (plugin)
		r = ctl_plugin_start(of->sb, s, &sock, e);
	m.sock_fd = sock;
	if (r == 0)
		r = ctl_files_answer(of, fsd_mount(of->f->sock, &m, e));
	if (r == -EEXIST) /* as before a restart of msbd, or a plugin's process too many */
		r = plugin ? ctl_files_answer(of, fsd_plugin(of->f->sock, s->name, sock, e)) : 0;
	if (r < 0 && plugin)
		ctl_plugin_stop(of->sb, s->name);
	if (r < 0)
		return msb_err_wrap(e, "mount %.200s", s->path);
	(void)note(of->f, s->name); /* noted already where it is up already */
	return 0;
}

void ctl_share_down(struct ctl_files_of *of, const char *name)
{
	struct ctl_files *f = of->f;

	/* First, so that the end of its socket is no surprise to who looks after it. */
	ctl_plugin_stop(of->sb, name);
	/* It fails where the server is gone, and then there is nothing to take back. */
	if (f->sock >= 0)
		(void)ctl_files_answer(of, fsd_unmount(f->sock, name, NULL));
	for (unsigned int i = 0; i < f->nmounts; i++)
		if (!strcmp(f->mount[i], name)) {
			memmove(f->mount[i], f->mount[f->nmounts - 1], sizeof(f->mount[0]));
			f->nmounts--;
			return;
		}
}

void ctl_shares_down(struct ctl_files_of *of)
{
	while (of->f->nmounts) {
		char name[FSD_MAX_MOUNT_NAME + 1];

		memcpy(name, of->f->mount[of->f->nmounts - 1], sizeof(name));
		ctl_share_down(of, name);
	}
}

static void note_table(struct ctl_sandbox *sb, const char *text)
{
	struct ctl_table t;

	if (ctl_table_parse(text, &t) < 0)
		log_err("%s: no memory to look at its mounts", sb->name);
	for (size_t i = 0; i < t.n; i++)
		(void)note(&sb->files, t.s[i].name); /* of both tables, most */
	ctl_table_done(&t);
}

void ctl_shares_recover(struct ctl_sandbox *sb)
{
	note_table(sb, sb->conf[CONF_MOUNTS] ?: "");
	note_table(sb, sb->other_mounts ?: "");
	if (ctl_kept_count(sb, AREA_SCRIPTS))
		(void)note(&sb->files, CTL_SCRIPTS_SHARE);
}
