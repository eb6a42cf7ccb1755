// SPDX-License-Identifier: Apache-2.0
// Who a user is to a registry.
#include "ctl/logins.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOGINS "logins" /* in the state directory */

struct ctl_login *ctl_login_find(struct ctl *c, uid_t uid, const char *host)
{
	for (size_t i = 0; i < c->nlogins; i++)
		if (c->login[i].uid == uid && !strcmp(c->login[i].host, host))
			return &c->login[i];
	return NULL;
}

struct ctl_login *ctl_login_by_serial(struct ctl *c, uint32_t serial)
{
	for (size_t i = 0; i < c->nlogins; i++)
		if (c->login[i].serial == serial)
			return &c->login[i];
	return NULL;
}

int ctl_registry_host(const char *text, char ret[IMG_REF_MAX_NAME + 1], struct msb_err *e)
{
	char name[IMG_REF_MAX_NAME + 1];
	struct img_ref ref;

	if (strchr(text, '/') || snprintf(name, sizeof(name), "%s/x", text) >= (int)sizeof(name) ||
		img_ref_parse(name, IMG_REF_DEFAULT_HOST, &ref, NULL) < 0 || ref.bare ||
		!strcmp(ref.host, IMG_REF_LOCAL_HOST))
		return msb_err_set(e, EINVAL,
			"`%s` is not a registry: a host with a dot or a port, and nothing after it",
			text);
	(void)snprintf(ret, IMG_REF_MAX_NAME + 1, "%s", ref.host);
	return 0;
}

/* ---- in memory; lock held */

static struct ctl_login *add(struct ctl *c, uid_t uid, const char *host, const char *user)
{
	struct ctl_login *p = realloc(c->login, (c->nlogins + 1) * sizeof(*p));
	struct ctl_login l = {.uid = uid, .host = strdup(host), .user = strdup(user)};

	if (p)
		c->login = p;
	if (!p || !l.host || !l.user) {
		free(l.host);
		free(l.user);
		return NULL;
	}
	l.serial = ++c->next_serial;
	p[c->nlogins] = l;
	return &p[c->nlogins++];
}

static void take_out(struct ctl *c, struct ctl_login *l)
{
	free(l->host);
	free(l->user);
	*l = c->login[--c->nlogins];
}

/* ---- on disk */

static int open_dir(struct ctl *c)
{
	char path[MSB_PATH_MAX + 16];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/" LOGINS, c->paths.state);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static void file_name(uid_t uid, const char *host, char ret[IMG_REF_MAX_NAME + 16])
{
	(void)snprintf(ret, IMG_REF_MAX_NAME + 16, "%u@%s", (unsigned int)uid, host);
}

/* Keeps @user and @secret (NULL: none yet). Lock held: a small file, and seldom. */
static int save(struct ctl *c, uid_t uid, const char *host, const char *user, const char *secret,
	size_t n, struct msb_err *e)
{
	char name[IMG_REF_MAX_NAME + 16], text[CTL_MAX_LOGIN_USER + CTL_MAX_SECRET + 3];
	_cleanup_close_ int dir = open_dir(c);
	size_t len;
	int r = dir < 0 ? dir : 0;

	file_name(uid, host, name);
	len = (size_t)snprintf(text, sizeof(text), "%s\n", user);
	if (secret) {
		memcpy(text + len, secret, n);
		len += n;
		text[len++] = '\n';
	}
	if (r == 0)
		r = msb_write_file_atomic(dir, name, text, len, 0600);
	explicit_bzero(text, sizeof(text));
	return r < 0 ? msb_err_set(e, -r, "cannot keep the login at %s: %s", host, strerror(-r))
		     : 0;
}

/* What is kept of a login; its second line is the secret. */
static int load(struct ctl *c, const char *name, char *text, size_t size)
{
	_cleanup_close_ int dir = open_dir(c), fd = -1;
	struct stat st;
	int64_t n;

	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	n = msb_pread_full(fd, text, size - 1, 0);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	return strchr(text, '\n') ? 0 : -EBADMSG;
}

static int load_one(struct ctl *c, const char *name)
{
	char text[CTL_MAX_LOGIN_USER + CTL_MAX_SECRET + 3], host[IMG_REF_MAX_NAME + 1];
	char *at = NULL;
	unsigned long uid = strtoul(name, &at, 10);
	int r;

	if (at == name || *at != '@' || ctl_registry_host(at + 1, host, NULL) < 0 ||
		strcmp(host, at + 1) != 0 || c->nlogins == CTL_MAX_LOGINS)
		return -EBADMSG;
	r = load(c, name, text, sizeof(text));
	if (r == 0) {
		text[strcspn(text, "\n")] = '\0';
		r = add(c, (uid_t)uid, host, text) ? 0 : -ENOMEM;
	}
	explicit_bzero(text, sizeof(text));
	return r;
}

int ctl_logins_load(struct ctl *c, struct msb_err *e)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;
	int fd = open_dir(c);

	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d)
		return msb_err_set(e, fd < 0 ? -fd : errno, "cannot open %s/" LOGINS ": %s",
			c->paths.state, strerror(fd < 0 ? -fd : errno));
	while ((de = readdir(d)))
		if (de->d_name[0] != '.' && load_one(c, de->d_name) < 0)
			log_warn("%s/" LOGINS "/%s is not a login, ignoring", c->paths.state,
				de->d_name);
	return 0;
}

/* ---- verbs */

static bool plain(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
	return true;
}

int ctl_login_set(const struct ctl_req *q, const char *text, const char *user, struct msb_err *e)
{
	char host[IMG_REF_MAX_NAME + 1];
	struct ctl *c = q->c;
	struct ctl_login *l;
	char *copy;
	int r = ctl_registry_host(text, host, e);

	if (r < 0)
		return r;
	if (!*user || strlen(user) > CTL_MAX_LOGIN_USER || !plain(user, strlen(user)) ||
		strchr(user, ':'))
		return msb_err_set(e, EINVAL,
			"a user's name at a registry has up to %d bytes, no colon and no control "
			"bytes",
			CTL_MAX_LOGIN_USER);
	LOCK_SCOPE(&c->lock);
	l = ctl_login_find(c, q->uid, host);
	if (!l && c->nlogins == CTL_MAX_LOGINS)
		return msb_err_set(
			e, EDQUOT, "there are %d logins, the most there can be", CTL_MAX_LOGINS);
	r = save(c, q->uid, host, user, NULL, 0, e);
	if (r < 0)
		return r;
	copy = l ? strdup(user) : NULL;
	if (l ? !copy : !add(c, q->uid, host, user))
		return msb_err_set(e, ENOMEM, "no memory");
	if (l) {
		free(l->user);
		l->user = copy;
	}
	return 0;
}

int ctl_login_drop(const struct ctl_req *q, const char *text, struct msb_err *e)
{
	char host[IMG_REF_MAX_NAME + 1], name[IMG_REF_MAX_NAME + 16];
	_cleanup_close_ int dir = -1;
	struct ctl *c = q->c;
	struct ctl_login *l;
	int r = ctl_registry_host(text, host, e);

	if (r < 0)
		return r;
	LOCK_SCOPE(&c->lock);
	l = ctl_login_find(c, q->uid, host);
	if (!l)
		return msb_err_set(e, ENOENT, "you are not logged in at %s", host);
	dir = open_dir(c);
	file_name(q->uid, host, name);
	if (dir < 0 || (unlinkat(dir, name, 0) < 0 && errno != ENOENT))
		return msb_err_set(e, errno, "cannot forget the login at %s: %m", host);
	take_out(c, l);
	return 0;
}

int ctl_login_secret(
	struct ctl *c, uint32_t serial, const char *secret, size_t n, struct msb_err *e)
{
	struct ctl_login *l;

	if (!plain(secret, n))
		return msb_err_set(e, EINVAL, "a secret has no control bytes");
	LOCK_SCOPE(&c->lock);
	l = ctl_login_by_serial(c, serial);
	return l ? save(c, l->uid, l->host, l->user, secret, n, e)
		 : msb_err_set(e, ENODEV, "it was logged out");
}

/* ---- for a call */

static int take_login(struct ctl *c, const struct ctl_req *q, const char *host,
	struct ctl_registry *ret, struct msb_err *e)
{
	char text[CTL_MAX_LOGIN_USER + CTL_MAX_SECRET + 3], name[IMG_REF_MAX_NAME + 16];
	char *user = text, *secret, *end;
	int r;

	if (!ctl_login_find(c, q->uid, host))
		return 0;
	file_name(q->uid, host, name);
	r = load(c, name, text, sizeof(text));
	if (r == 0) {
		secret = strchr(user, '\n');
		*secret++ = '\0';
		end = strchr(secret, '\n');
		if (end)
			*end = '\0';
		(void)snprintf(ret->user, sizeof(ret->user), "%s", user);
		(void)snprintf(ret->secret, sizeof(ret->secret), "%s", secret);
		ret->reg.user = ret->user;
		ret->reg.secret = ret->secret;
		if (!end)
			r = msb_err_set(e, EACCES,
				"the login at %s has no secret yet: write it to images/logins/%s",
				host, host);
	} else {
		r = msb_err_set(e, -r, "cannot read the login at %s: %s", host, strerror(-r));
	}
	explicit_bzero(text, sizeof(text));
	return r;
}

/* Where the user's own files are. msbd's environment is its own user's. */
static void take_home(struct ctl *c, const struct ctl_req *q, struct ctl_registry *ret)
{
	bool own = q->uid == c->uid;
	char buf[4096];
	struct passwd pw, *one = NULL;

	if (own) {
		ret->reg.home = getenv("HOME");
		ret->reg.docker_config = getenv("DOCKER_CONFIG");
		ret->reg.registry_auth_file = getenv("REGISTRY_AUTH_FILE");
		ret->reg.xdg_runtime_dir = getenv("XDG_RUNTIME_DIR");
	}
	if (!ret->reg.home && getpwuid_r(q->uid, &pw, buf, sizeof(buf), &one) == 0 && one) {
		(void)snprintf(ret->home, sizeof(ret->home), "%s", one->pw_dir);
		ret->reg.home = ret->home;
	}
	if (!own) {
		(void)snprintf(ret->xdg, sizeof(ret->xdg), "/run/user/%u", (unsigned int)q->uid);
		ret->reg.xdg_runtime_dir = ret->xdg;
	}
}

int ctl_registry_of(
	const struct ctl_req *q, const char *host, struct ctl_registry *ret, struct msb_err *e)
{
	struct ctl *c = q->c;

	ret->reg = (struct img_registry){.uid = q->uid, .gid = q->gid};
	take_home(c, q, ret);
	LOCK_SCOPE(&c->lock);
	ctl_registries_find(c->registries ?: "", host, ret);
	return take_login(c, q, host, ret, e);
}

void ctl_registry_wipe(struct ctl_registry *r)
{
	if (r)
		explicit_bzero(r, sizeof(*r));
}
