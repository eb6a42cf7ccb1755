// SPDX-License-Identifier: Apache-2.0
// Files that a sandbox keeps for its guest.
#include "ctl/kept.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* What each area is, and how much of it there may be. */
static const struct area {
	const char *dir, *what;
	size_t max;
	unsigned int depth;
	uint64_t file_bytes, all_bytes;
} areas[AREA_COUNT] = {
	[AREA_SCRIPTS] = {"scripts", "scripts", CTL_MAX_SCRIPTS, 1, CTL_MAX_SCRIPT_BYTES,
		(uint64_t)CTL_MAX_SCRIPTS *CTL_MAX_SCRIPT_BYTES},
	[AREA_PATCHES] = {"patches", "files of patches", CTL_MAX_PATCHES, CTL_MAX_PATCH_DEPTH,
		CTL_MAX_PATCH_BYTES, CTL_MAX_PATCH_BYTES},
};

/* ---- the table */

void ctl_kept_free(struct ctl_sandbox *sb)
{
	for (size_t i = 0; i < sb->nkept; i++)
		free(sb->kept[i].name);
	free(sb->kept);
	sb->kept = NULL;
	sb->nkept = 0;
}

struct ctl_kept *ctl_kept_by_serial(const struct ctl_sandbox *sb, uint32_t serial)
{
	for (size_t i = 0; i < sb->nkept; i++)
		if (sb->kept[i].serial == serial)
			return &sb->kept[i];
	return NULL;
}

struct ctl_kept *ctl_kept_find(
	const struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent, const char *name)
{
	for (size_t i = 0; i < sb->nkept; i++)
		if (sb->kept[i].area == area && sb->kept[i].parent == parent &&
			!strcmp(sb->kept[i].name, name))
			return &sb->kept[i];
	return NULL;
}

size_t ctl_kept_count(const struct ctl_sandbox *sb, enum ctl_area area)
{
	size_t n = 0;

	for (size_t i = 0; i < sb->nkept; i++)
		n += sb->kept[i].area == area;
	return n;
}

static uint64_t all_bytes(const struct ctl_sandbox *sb, enum ctl_area area)
{
	uint64_t n = 0;

	for (size_t i = 0; i < sb->nkept; i++)
		n += sb->kept[i].area == area ? sb->kept[i].bytes : 0;
	return n;
}

static struct ctl_kept *add(struct ctl_sandbox *sb, const struct ctl_kept *f)
{
	struct ctl_kept *p = reallocarray(sb->kept, sb->nkept + 1, sizeof(*p));

	if (!p)
		return NULL;
	sb->kept = p;
	p[sb->nkept] = *f;
	p[sb->nkept].name = strdup(f->name);
	if (!p[sb->nkept].name)
		return NULL;
	/* 24 bits of a node id; the area's own directory has 0. */
	do
		sb->next_kept = (sb->next_kept + 1) & 0xffffff;
	while (!sb->next_kept || ctl_kept_by_serial(sb, sb->next_kept));
	p[sb->nkept].serial = sb->next_kept;
	return &p[sb->nkept++];
}

static void drop(struct ctl_sandbox *sb, struct ctl_kept *f)
{
	free(f->name);
	*f = sb->kept[--sb->nkept];
}

void ctl_kept_path(const struct ctl_sandbox *sb, enum ctl_area area, const struct ctl_kept *f,
	char ret[CTL_KEPT_PATH])
{
	char tail[CTL_KEPT_PATH] = "";
	size_t at = sizeof(tail) - 1;

	/* From its end; what is too long was never made. */
	for (; f; f = f->parent ? ctl_kept_by_serial(sb, f->parent) : NULL) {
		size_t n = strlen(f->name);

		if (at < n + 1)
			break;
		at -= n;
		memcpy(tail + at, f->name, n);
		tail[--at] = '/';
	}
	tail[sizeof(tail) - 1] = '\0';
	(void)snprintf(ret, CTL_KEPT_PATH, "%s/%s%s", sb->id, areas[area].dir,
		at < sizeof(tail) - 1 ? tail + at : "");
}

/* ---- what an earlier msbd kept */

static int load_dir(
	struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent, int fd, unsigned int depth)
{
	_cleanup_closedir_ DIR *d = fdopendir(fd);
	struct dirent *de;
	int r = 0;

	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0 && (de = readdir(d))) {
		struct ctl_kept f = {.parent = parent, .area = area, .name = de->d_name}, *made;
		struct stat st;
		int sub;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (sb->nkept >= CTL_MAX_SCRIPTS + CTL_MAX_PATCHES)
			return -EDQUOT;
		f.mode = st.st_mode & (S_IFMT | 07777);
		f.bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
		made = add(sb, &f);
		if (!made)
			return -ENOMEM;
		if (!S_ISDIR(st.st_mode) || depth == areas[area].depth)
			continue;
		sub = openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = sub < 0 ? -errno : load_dir(sb, area, made->serial, sub, depth + 1);
	}
	return r;
}

int ctl_kept_load(struct ctl_sandbox *sb)
{
	char path[CTL_KEPT_PATH];
	int r = 0;

	for (int i = 0; r == 0 && i < AREA_COUNT; i++) {
		int fd;

		ctl_kept_path(sb, (enum ctl_area)i, NULL, path);
		fd = openat(
			sb->c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		r = fd < 0 ? -errno : load_dir(sb, (enum ctl_area)i, 0, fd, 1);
	}
	return r;
}

/* ---- making */

static int check_name(enum ctl_area area, const char *name, struct msb_err *e)
{
	size_t n = strlen(name);

	if (area == AREA_SCRIPTS) {
		if (n > 64 || name[0] == '-' || name[0] == '.' ||
			strspn(name,
				"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") !=
				n)
			return msb_err_set(e, EINVAL,
				"`%.80s` is not a script's name: up to 64 letters, digits, . _ + and -, no . or - "
				"first",
				name);
		return 0;
	}
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return msb_err_set(
				e, EINVAL, "a name in patches/ has no control characters");
	return 0;
}

static int check_place(struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent,
	const char *name, struct msb_err *e)
{
	const struct area *a = &areas[area];
	const struct ctl_kept *dir = parent ? ctl_kept_by_serial(sb, parent) : NULL;
	size_t bytes = strlen(name);
	unsigned int depth = 1;

	if (parent && !dir)
		return msb_err_set(e, ENOENT, "the directory was removed");
	for (; dir; dir = dir->parent ? ctl_kept_by_serial(sb, dir->parent) : NULL) {
		bytes += strlen(dir->name) + 1;
		depth++;
	}
	if (depth > a->depth)
		return msb_err_set(
			e, ELOOP, "%s lie at most %u directories deep", a->what, a->depth);
	if (bytes > CTL_MAX_KEPT_PATH)
		return msb_err_set(
			e, ENAMETOOLONG, "a path here has at most %d bytes", CTL_MAX_KEPT_PATH);
	if (ctl_kept_count(sb, area) >= a->max)
		return msb_err_set(e, EDQUOT, "a sandbox has at most %zu %s", a->max, a->what);
	return 0;
}

static int make_at(int at, const char *path, mode_t mode, const char *target, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (S_ISDIR(mode)) {
		r = mkdirat(at, path, 0700);
	} else if (S_ISLNK(mode)) {
		r = symlinkat(target, at, path);
	} else {
		fd = openat(at, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		r = fd;
	}
	/* Whatever umask msbd has. */
	if (r >= 0 && !S_ISLNK(mode))
		r = fchmodat(at, path, mode & 07777, 0);
	return r < 0 ? msb_err_set(e, errno, "cannot make %s: %m", path) : 0;
}

int ctl_kept_make(struct ctl_sandbox *sb, enum ctl_area area, uint32_t parent, const char *name,
	mode_t mode, const char *target, struct ctl_kept **ret, struct msb_err *e)
{
	struct ctl_kept f = {.parent = parent, .area = area, .name = (char *)(uintptr_t)name},
			*made;
	char path[CTL_KEPT_PATH];
	int r = check_name(area, name, e);

	if (r == 0)
		r = check_place(sb, area, parent, name, e);
	if (r < 0)
		return r;
	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (area == AREA_SCRIPTS && !S_ISREG(mode))
		return msb_err_set(e, EPERM, "scripts are files, in no directories");
	if (ctl_kept_find(sb, area, parent, name))
		return msb_err_set(e, EEXIST, "there is a `%s` already", name);
	f.mode = area == AREA_SCRIPTS ? S_IFREG | 0755
		 : S_ISDIR(mode)      ? mode | 0700 /* msbd itself has to get in */
		 : S_ISLNK(mode)      ? S_IFLNK | 0777
				      : mode;
	ctl_kept_path(sb, area, NULL, path);
	if (mkdirat(sb->c->sandboxes_fd, path, 0700) < 0 && errno != EEXIST)
		return msb_err_set(e, errno, "cannot make %s: %m", path);
	/* Every user of the guest may run scripts; on the host it lies in the sandbox's own
	 * directory.
	 */
	if (area == AREA_SCRIPTS && fchmodat(sb->c->sandboxes_fd, path, 0755, 0) < 0)
		return msb_err_set(e, errno, "cannot open %s to the guest: %m", path);
	made = add(sb, &f);
	if (!made)
		return msb_err_set(e, ENOMEM, "no memory");
	ctl_kept_path(sb, area, made, path);
	r = make_at(sb->c->sandboxes_fd, path, made->mode, target, e);
	if (r < 0)
		drop(sb, made);
	else
		*ret = made;
	return r;
}

static void drop_below(struct ctl_sandbox *sb, uint32_t serial)
{
	for (size_t i = 0; i < sb->nkept;) {
		uint32_t child = sb->kept[i].serial;

		if (sb->kept[i].parent != serial) {
			i++;
			continue;
		}
		drop_below(sb, child); /* at most areas[].depth calls deep */
		drop(sb, ctl_kept_by_serial(sb, child));
		i = 0; /* others have moved */
	}
}

int ctl_kept_remove(struct ctl_sandbox *sb, enum ctl_area area, const char *path, struct msb_err *e)
{
	struct ctl_kept *f = NULL;
	char name[256], where[CTL_KEPT_PATH];
	const char *p = path;
	uint32_t serial;
	int r;

	while (*p == '/')
		p++;
	for (bool first = true; *p; first = false) {
		size_t n = strcspn(p, "/");

		if (!first && !S_ISDIR(f->mode))
			f = NULL;
		else if (n >= sizeof(name))
			f = NULL;
		else {
			(void)snprintf(name, sizeof(name), "%.*s", (int)n, p);
			f = ctl_kept_find(sb, area, first ? 0 : f->serial, name);
		}
		if (!f)
			break;
		p += n;
		p += strspn(p, "/");
	}
	if (!f)
		return msb_err_set(e, ENOENT, "there is no `%.200s` in %s/", path, areas[area].dir);
	ctl_kept_path(sb, area, f, where);
	r = msb_rm_rf(sb->c->sandboxes_fd, where);
	if (r < 0)
		return msb_err_set(e, -r, "cannot remove %.200s: %s", path, strerror(-r));
	serial = f->serial;
	drop_below(sb, serial);
	drop(sb, ctl_kept_by_serial(sb, serial));
	return 0;
}

int ctl_kept_chmod(struct ctl_sandbox *sb, struct ctl_kept *f, mode_t mode, struct msb_err *e)
{
	char path[CTL_KEPT_PATH];

	if (f->area == AREA_SCRIPTS || S_ISLNK(f->mode))
		return 0; /* everybody in the guest may run them, and nobody may write them */
	mode = (mode & 07777) | (S_ISDIR(f->mode) ? 0700 : 0);
	ctl_kept_path(sb, f->area, f, path);
	if (fchmodat(sb->c->sandboxes_fd, path, mode, 0) < 0)
		return msb_err_set(e, errno, "cannot change the mode of %s: %m", f->name);
	f->mode = (f->mode & S_IFMT) | mode;
	return 0;
}

/* ---- contents */

int ctl_kept_target(const struct ctl_sandbox *sb, const struct ctl_kept *f, char *buf, size_t n)
{
	char path[CTL_KEPT_PATH];
	ssize_t k;

	ctl_kept_path(sb, f->area, f, path);
	k = readlinkat(sb->c->sandboxes_fd, path, buf, n - 1);
	if (k < 0)
		return -errno;
	buf[k] = '\0';
	return 0;
}

int ctl_kept_open(const struct ctl_sandbox *sb, const struct ctl_kept *f)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
	int at = sb->c->sandboxes_fd, fd;
	char path[CTL_KEPT_PATH];

	ctl_kept_path(sb, f->area, f, path);
	fd = openat(at, path, flags);
	/* The mode is the guest's. Who may open it was looked at by the kernel. */
	if (fd < 0 && errno == EACCES && fchmodat(at, path, f->mode | 0600, 0) == 0) {
		fd = openat(at, path, flags);
		if (fchmodat(at, path, f->mode & 07777, 0) < 0 && fd >= 0)
			close(steal_fd(&fd));
	}
	return fd < 0 ? -errno : fd;
}

/* Whether it may become so large. */
static int check_bytes(
	const struct ctl_sandbox *sb, const struct ctl_kept *f, uint64_t bytes, struct msb_err *e)
{
	const struct area *a = &areas[f->area];

	if (bytes > a->file_bytes)
		return msb_err_set(
			e, EFBIG, "%s has at most %" PRIu64 " bytes", f->name, a->file_bytes);
	if (all_bytes(sb, f->area) - f->bytes + bytes > a->all_bytes)
		return msb_err_set(e, EDQUOT, "the %s of a sandbox have at most %" PRIu64 " bytes",
			a->what, a->all_bytes);
	return 0;
}

int ctl_kept_truncate(struct ctl_sandbox *sb, struct ctl_kept *f, uint64_t bytes, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	int r = check_bytes(sb, f, bytes, e);

	if (r < 0)
		return r;
	fd = ctl_kept_open(sb, f);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return msb_err_set(e, fd < 0 ? -fd : errno, "cannot cut %s: %s", f->name,
			strerror(fd < 0 ? -fd : errno));
	f->bytes = bytes;
	return 0;
}

int64_t ctl_kept_write(struct ctl_sandbox *sb, uint32_t serial, int fd, uint64_t off, bool append,
	const char *p, size_t n, struct msb_err *e)
{
	struct ctl_kept *f;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	f = sb->gone ? NULL : ctl_kept_by_serial(sb, serial);
	if (!f)
		return msb_err_set(e, ENODEV, "it was removed");
	if (append)
		off = f->bytes;
	r = off > INT64_MAX - n ? -EFBIG
				: check_bytes(sb, f, off + n > f->bytes ? off + n : f->bytes, e);
	if (r < 0)
		return r == -EFBIG && (!e || !e->code) ? msb_err_set(e, EFBIG, "it is too far out")
						       : r;
	r = msb_pwrite_full(fd, p, n, off);
	if (r < 0)
		return msb_err_set(e, -r, "cannot write %s: %s", f->name, strerror(-r));
	if (off + n > f->bytes)
		f->bytes = off + n;
	return (int64_t)n;
}
