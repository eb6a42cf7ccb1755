// SPDX-License-Identifier: Apache-2.0
// The model test's operations on names and attributes.
#include "tests/e2e/fs_model/model.h"

#include <stdio.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static void do_mkdir(struct model *m)
{
	mode_t mode = 0700 | model_rnd(m, 0100) | (model_rnd(m, 8) ? 0 : S_ISGID);
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "mkdir %s %o", p, mode);
	BOTH(r, mkdirat(m->dir[s], p, mode));
	model_agree(m, r);
}

static void do_mknod(struct model *m)
{
	static const mode_t type[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	mode_t mode = type[model_rnd(m, m->devices ? 5 : 3)] | 0600 | model_rnd(m, 0200);
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "mknod %s %o", p, mode);
	BOTH(r, mknodat(m->dir[s], p, mode, makedev(1, 3)));
	model_agree(m, r);
}

static void do_symlink(struct model *m)
{
	char p[MODEL_PATH], to[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_path(m, to);
	model_note(m, "symlink %s -> %s", p, to);
	BOTH(r, symlinkat(to, m->dir[s], p));
	model_agree(m, r);
}

static void do_link(struct model *m)
{
	char p[MODEL_PATH], to[MODEL_PATH];
	int64_t r[SIDES];
	int flags = model_rnd(m, 4) ? 0 : AT_SYMLINK_FOLLOW;

	model_path(m, p);
	model_path(m, to);
	model_note(m, "link %s %s%s", p, to, flags ? " follow" : "");
	BOTH(r, linkat(m->dir[s], p, m->dir[s], to, flags));
	model_agree(m, r);
}

/* The first name of a file that has none, or one more of one that has some. */
static void do_link_open(struct model *m)
{
	struct model_file *f = &m->file[model_rnd(m, MODEL_OPEN)];
	char to[MODEL_PATH], from[40];
	int64_t r[SIDES];

	model_path(m, to);
	if (f->fd[0] < 0)
		return;
	model_note(m, "link #%d %s", (int)(f - m->file), to);
	for (int s = 0; s < SIDES; s++) {
		(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", f->fd[s]);
		r[s] = model_result(linkat(AT_FDCWD, from, m->dir[s], to, AT_SYMLINK_FOLLOW));
	}
	model_agree(m, r);
}

static void do_unlink(struct model *m)
{
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "unlink %s", p);
	BOTH(r, unlinkat(m->dir[s], p, 0));
	model_agree(m, r);
}

static void do_rmdir(struct model *m)
{
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "rmdir %s", p);
	BOTH(r, unlinkat(m->dir[s], p, AT_REMOVEDIR));
	model_agree(m, r);
}

static void do_rename(struct model *m)
{
	static const unsigned int flag[] = {
		0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
	unsigned int flags = flag[model_rnd(m, m->whiteout ? 7 : 6)];
	char p[MODEL_PATH], to[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_path(m, to);
	model_note(m, "rename %s %s flags %u", p, to, flags);
	BOTH(r, renameat2(m->dir[s], p, m->dir[s], to, flags));
	model_agree(m, r);
}

static void do_chmod(struct model *m)
{
	mode_t mode = 0700 | model_rnd(m, m->no_setid ? 02000 : 010000);
	char p[MODEL_PATH];
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "chmod %s %o", p, mode);
	BOTH(r, fchmodat(m->dir[s], p, mode, 0));
	model_agree(m, r);
}

static void do_chown(struct model *m)
{
	uid_t uid = model_rnd(m, 4) ? model_rnd(m, 5) : (uid_t)-1;
	gid_t gid = model_rnd(m, 4) ? model_rnd(m, 5) : (gid_t)-1;
	char p[MODEL_PATH];
	struct stat st;
	int64_t r[SIDES];

	model_path(m, p);
	/* Linux's FUSE does not tell the server of a chown that changes neither. */
	if (!m->root || (uid == (uid_t)-1 && gid == (gid_t)-1))
		return;
	if (m->plain_links && fstatat(m->dir[ORACLE], p, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISLNK(st.st_mode))
		return;
	model_note(m, "lchown %s %d %d", p, (int)uid, (int)gid);
	BOTH(r, fchownat(m->dir[s], p, uid, gid, AT_SYMLINK_NOFOLLOW));
	model_agree(m, r);
}

static void do_utimens(struct model *m)
{
	struct timespec ts[2];
	char p[MODEL_PATH];
	int64_t r[SIDES];

	for (int i = 0; i < 2; i++) {
		ts[i].tv_sec = model_rnd(m, MODEL_OLD);
		ts[i].tv_nsec = model_rnd(m, 1000000000);
		if (model_rnd(m, 6) == 0)
			ts[i].tv_nsec = model_rnd(m, 2) ? UTIME_NOW : UTIME_OMIT;
	}
	model_path(m, p);
	model_note(m, "utimens %s mtime %lld.%ld", p, (long long)ts[1].tv_sec, ts[1].tv_nsec);
	BOTH(r, utimensat(m->dir[s], p, ts, AT_SYMLINK_NOFOLLOW));
	model_agree(m, r);
}

/* The file that a path means, and links themselves. */
static bool xattr_file(struct model *m, const char *p, char at[SIDES][40], int fd[SIDES])
{
	int64_t r[SIDES], opened[SIDES];
	struct stat st;
	bool both;

	BOTH(r, fd[s] = openat(m->dir[s], p, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	for (int s = 0; s < SIDES; s++) {
		opened[s] = r[s] < 0 ? r[s] : 0;
		(void)snprintf(at[s], 40, "/proc/self/fd/%d", fd[s]);
	}
	both = r[0] >= 0 && r[1] >= 0 && fstat(fd[ORACLE], &st) == 0 &&
	       (m->special || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
	for (int s = 0; s < SIDES && !both; s++)
		if (fd[s] >= 0)
			close(fd[s]);
	model_agree(m, opened);
	return both;
}

static void xattr_name(struct model *m, char name[32])
{
	bool trusted = m->xattr[1] && (!m->xattr[0] || model_rnd(m, 2));

	(void)snprintf(
		name, 32, "%s.%c", trusted ? "trusted" : "user", 'p' + (char)model_rnd(m, 3));
}

static void do_setxattr(struct model *m)
{
	char p[MODEL_PATH], name[32], at[SIDES][40], value[300];
	size_t n = model_rnd(m, sizeof(value));
	int flags = model_rnd(m, 2) ? 0 : model_rnd(m, 2) ? XATTR_CREATE : XATTR_REPLACE;
	int64_t r[SIDES];
	int fd[SIDES];

	memset(value, (int)model_rnd(m, 256), sizeof(value));
	model_path(m, p);
	xattr_name(m, name);
	if (!(m->xattr[0] || m->xattr[1]) || !xattr_file(m, p, at, fd))
		return;
	model_note(m, "setxattr %s %s %zu bytes flags %d", p, name, n, flags);
	BOTH(r, setxattr(at[s], name, value, n, flags));
	for (int s = 0; s < SIDES; s++)
		close(fd[s]);
	model_agree(m, r);
}

static void do_removexattr(struct model *m)
{
	char p[MODEL_PATH], name[32], at[SIDES][40];
	int64_t r[SIDES];
	int fd[SIDES];

	model_path(m, p);
	xattr_name(m, name);
	if (!(m->xattr[0] || m->xattr[1]) || !xattr_file(m, p, at, fd))
		return;
	model_note(m, "removexattr %s %s", p, name);
	BOTH(r, removexattr(at[s], name));
	for (int s = 0; s < SIDES; s++)
		close(fd[s]);
	model_agree(m, r);
}

static void do_stat(struct model *m)
{
	struct stat st[SIDES];
	char p[MODEL_PATH];
	int64_t r[SIDES];
	int flags = model_rnd(m, 2) ? AT_SYMLINK_NOFOLLOW : 0;

	model_path(m, p);
	model_note(m, "%sstat %s", flags ? "l" : "", p);
	BOTH(r, fstatat(m->dir[s], p, &st[s], flags));
	model_agree(m, r);
	if (r[0] == 0)
		model_check_stat(m, p, &st[0], &st[1]);
}

static void do_readdir(struct model *m)
{
	struct stat st;
	char p[MODEL_PATH];

	model_path(m, p);
	model_note(m, "readdir %s", p);
	if (fstatat(m->dir[ORACLE], p, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		model_check_dir(m, p);
}

static void do_readlink(struct model *m)
{
	char p[MODEL_PATH], to[SIDES][MODEL_PATH] = {{0}};
	int64_t r[SIDES];

	model_path(m, p);
	model_note(m, "readlink %s", p);
	BOTH(r, readlinkat(m->dir[s], p, to[s], sizeof(to[s])));
	model_agree(m, r);
	if (memcmp(to[0], to[1], sizeof(to[0])) != 0)
		model_differs(m, "link to %s, not %s", to[0], to[1]);
}

const struct model_op model_name_ops[] = {
	{"mkdir", do_mkdir, 14, 2},
	{"mknod", do_mknod, 10, 2},
	{"symlink", do_symlink, 5, 0},
	{"link", do_link, 8, 1},
	{"link open", do_link_open, 3, 1},
	{"unlink", do_unlink, 8, 1},
	{"rmdir", do_rmdir, 5, 0},
	{"rename", do_rename, 16, 1},
	{"chmod", do_chmod, 5, 0},
	{"chown", do_chown, 4, 0},
	{"utimens", do_utimens, 6, 1},
	{"setxattr", do_setxattr, 5, 0},
	{"removexattr", do_removexattr, 3, 0},
	{"stat", do_stat, 10, 2},
	{"readdir", do_readdir, 5, 0},
	{"readlink", do_readlink, 3, 0},
	{NULL, NULL, 0, 0},
};
