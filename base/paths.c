// SPDX-License-Identifier: Apache-2.0
// Where an instance of msb keeps its things.
#include "base/paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Unix socket paths end at 107 bytes, and "/sb/ID/agent.sock" and libvirt's own names come after
 * the run directory. */
#define RUN_MAX 64

static int join(char *out, const char *a, const char *b, struct msb_err *e)
{
	if (snprintf(out, MSB_PATH_MAX, "%s%s", a, b) >= MSB_PATH_MAX)
		return msb_err_set(e, ENAMETOOLONG, "%s%s is too long a path", a, b);
	return 0;
}

static int from_env(char *out, const char *name, struct msb_err *e)
{
	const char *v = getenv(name);

	if (!v || !*v)
		return 0;
	if (*v != '/')
		return msb_err_set(e, EINVAL, "%s is %s, not an absolute path", name, v);
	return join(out, v, "", e) < 0 ? -ENAMETOOLONG : 1;
}

/* PREFIX/bin/msbd: what it starts is in PREFIX/libexec/msb, or beside it where it was not
 * installed. */
static int of_program(struct msb_paths *p, bool share, struct msb_err *e)
{
	char self[MSB_PATH_MAX], prefix[MSB_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return msb_err_set(e, EINVAL, "cannot read /proc/self/exe; is /proc mounted?");
	*slash = '\0';
	memcpy(prefix, self, sizeof(prefix));
	slash = strrchr(prefix, '/');
	if (slash)
		*slash = '\0';
	if (!share && join(p->share, prefix, "/share/msb", e) < 0)
		return -ENAMETOOLONG;
	if (join(p->bin, prefix, "/libexec/msb", e) < 0)
		return -ENAMETOOLONG;
	return access(p->bin, X_OK) == 0 ? 0 : join(p->bin, self, "", e);
}

int msb_paths_mnt(char ret[MSB_PATH_MAX], struct msb_err *e)
{
	const char *rt = getenv("XDG_RUNTIME_DIR");
	int r = from_env(ret, "MSB_MNT", e);

	if (r != 0)
		return r < 0 ? -EINVAL : 0;
	if (geteuid() == 0)
		return join(ret, "/run/msb", "", e);
	if (!rt || *rt != '/')
		return msb_err_set(e, EINVAL,
			"XDG_RUNTIME_DIR is not set; log in with a session, or set MSB_MNT");
	return join(ret, rt, "/msb", e);
}

int msb_paths_init(struct msb_paths *p, struct msb_err *e)
{
	const char *rt = getenv("XDG_RUNTIME_DIR"), *data = getenv("XDG_DATA_HOME"),
		   *home = getenv("HOME");
	int root = geteuid() == 0, mnt, state, share, r;

	memset(p, 0, sizeof(*p));
	mnt = from_env(p->mnt, "MSB_MNT", e);
	state = from_env(p->state, "MSB_STATE", e);
	share = from_env(p->share, "MSB_SHARE", e);
	if (mnt < 0 || state < 0 || share < 0)
		return -EINVAL;
	if (!root && (!mnt || !state) && (!rt || *rt != '/'))
		return msb_err_set(e, EINVAL,
			"XDG_RUNTIME_DIR is not set; log in with a session, or set MSB_MNT and MSB_STATE");
	r = msb_paths_mnt(p->mnt, e);
	if (r == 0)
		r = state  ? join(p->run, p->state, "/run", e)
		    : root ? join(p->run, "/run/msbd", "", e)
			   : join(p->run, rt, "/msbd", e);
	if (r == 0 && !state) {
		if (root)
			r = join(p->state, "/var/lib/msb", "", e);
		else if (data && *data == '/')
			r = join(p->state, data, "/msb", e);
		else if (home && *home == '/')
			r = join(p->state, home, "/.local/share/msb", e);
		else
			return msb_err_set(
				e, EINVAL, "neither HOME nor XDG_DATA_HOME is set; set MSB_STATE");
	}
	if (r < 0)
		return r;
	if (strlen(p->run) > RUN_MAX)
		return msb_err_set(e, ENAMETOOLONG,
			"%s is longer than %d bytes, too long for the sockets under it; use a shorter MSB_STATE",
			p->run, RUN_MAX);
	return of_program(p, share, e);
}
