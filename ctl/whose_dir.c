// SPDX-License-Identifier: Apache-2.0
// Relative paths that are written to the control tree.
#include "ctl/whose_dir.h"
#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Steps over `.` or `..` and the slashes after it. 0: neither; else how many dots. */
static size_t dots(const char **p)
{
	size_t n = strspn(*p, ".");

	if (n < 1 || n > 2 || ((*p)[n] && (*p)[n] != '/'))
		return 0;
	*p += n;
	*p += strspn(*p, "/");
	return n;
}

bool ctl_is_relative(const char *path)
{
	return dots(&path) > 0;
}

/* Whether what is called @link of the writer is what is called so of msbd. */
static bool same_link(pid_t pid, const char *link)
{
	char theirs[64], ours[64], a[64], b[64];
	ssize_t n, m;

	(void)snprintf(theirs, sizeof(theirs), "/proc/%d/%s", (int)pid, link);
	(void)snprintf(ours, sizeof(ours), "/proc/self/%s", link);
	n = readlink(theirs, a, sizeof(a));
	m = readlink(ours, b, sizeof(b));
	return n > 0 && n == m && memcmp(a, b, (size_t)n) == 0;
}

/* The writer's working directory, by name alone: to look at it would be to ask its file system,
 * which may be slow, a guest's, or msbd's own. */
static int directory_of(const struct ctl_req *q, char ret[PATH_MAX])
{
	static const char gone[] = " (deleted)";
	size_t mnt = strlen(q->c->paths.mnt);
	char link[32];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/cwd", (int)q->pid);
	if (q->pid <= 0 || !same_link(q->pid, "ns/mnt") || !same_link(q->pid, "root"))
		return -EINVAL;
	n = readlink(link, ret, PATH_MAX - 1);
	if (n <= 0 || ret[0] != '/')
		return -EINVAL;
	ret[n] = '\0';
	if ((size_t)n >= strlen(gone) && !strcmp(ret + n - strlen(gone), gone))
		return -EINVAL;
	return strncmp(ret, q->c->paths.mnt, mnt) == 0 && (!ret[mnt] || ret[mnt] == '/') ? -EINVAL
											 : 0;
}

int ctl_absolute(const struct ctl_req *q, const char *path, struct msb_str *ret, struct msb_err *e)
{
	char dir[PATH_MAX];
	const char *rest = path;
	size_t n;

	if (*path == '/') {
		msb_str_adds(ret, path);
		return ret->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
	}
	if (!ctl_is_relative(path))
		return msb_err_set(e, EINVAL,
			"`%s` is not an absolute path, nor does it begin with ./ or ../", path);
	if (directory_of(q, dir) < 0)
		return msb_err_set(e, EINVAL,
			"`%s` is not an absolute path, and your directory cannot be told from here, or is "
			"in the control tree",
			path);
	/* The kernel's name of a directory has no links in it: what leads up is cut off its end. */
	while ((n = dots(&rest)) > 0)
		if (n == 2 && *dir) /* the root is its own parent */
			*strrchr(dir, '/') = '\0';
	msb_str_adds(ret, dir);
	if (*rest)
		msb_str_addf(ret, "/%s", rest);
	if (!ret->len)
		msb_str_adds(ret, "/");
	if (ret->oom)
		return msb_err_set(e, ENOMEM, "no memory");
	return ret->len < PATH_MAX ? 0
				   : msb_err_set(e, ENAMETOOLONG, "`%s` is too long a path", path);
}
