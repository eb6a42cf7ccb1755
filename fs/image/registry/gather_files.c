// SPDX-License-Identifier: Apache-2.0
// Which files have a user's credentials and a host's certificates.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/ref.h"
#include "fs/image/registry/setup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PATH 4096

static void note(reg_give *give, void *arg, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void note(reg_give *give, void *arg, const char *fmt, ...)
{
	char text[MAX_PATH + 256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	give(arg, REG_ITEM_NOTE, 0, 0, text, strlen(text));
}

/* A regular file, whole. A FIFO or device is -EINVAL, and does not block. */
static int slurp(const char *path, size_t max, struct msb_str *s)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	for (;;) {
		char buf[16384];
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return s->oom ? -ENOMEM : 0;
		if (s->len + (size_t)n > max)
			return -EFBIG;
		msb_str_add(s, buf, (size_t)n);
		explicit_bzero(buf, sizeof(buf));
	}
}

/* ---- credentials */

static void give_cred(reg_give *give, void *arg, size_t site, const struct reg_cred *c)
{
	give(arg, REG_ITEM_USER, site, 0, c->user, strlen(c->user));
	give(arg, REG_ITEM_SECRET, site, (int)c->kind, c->secret, strlen(c->secret));
}

/* For a helper that another user's request starts: nothing of our own environment. */
static int environment(const struct reg_config *c, char *env[8], char (*text)[MAX_PATH])
{
	const char *const known[][2] = {
		{"HOME", c->home},
		{"XDG_RUNTIME_DIR", c->xdg_runtime_dir},
		{"DOCKER_CONFIG", c->docker_config},
		{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"LANG", "C.UTF-8"},
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!known[i][1])
			continue;
		if (snprintf(text[n], MAX_PATH, "%s=%s", known[i][0], known[i][1]) >= MAX_PATH)
			return -ENAMETOOLONG;
		env[n] = text[n];
		n++;
	}
	env[n] = NULL;
	return 0;
}

static int from_helper(const struct reg_config *c, const char *name, const char *host,
	struct reg_cred *ret, reg_give *give, void *arg)
{
	static char text[8][MAX_PATH]; /* one thread, one call at a time */
	char *env[8];
	bool same = getuid() == c->uid && c->uid == c->started_as;
	int r = same ? 0 : environment(c, env, text);

	if (r == 0)
		r = reg_helper_run(
			name, img_ref_auth_key(host), same ? NULL : env, c->helper_ms, ret);
	if (r < 0)
		note(give, arg, "docker-credential-%s %s", name,
			r == -ENOENT	  ? "is not installed"
			: r == -ETIMEDOUT ? "did not answer in time"
			: r == -EIO	  ? "failed"
					  : "gave no credentials that can be used");
	return r;
}

/* 1: found and given. */
static int from_file(
	const struct reg_config *c, size_t site, const char *path, reg_give *give, void *arg)
{
	const char *host = c->site[site].host;
	struct msb_str s = MSB_STR_INIT;
	struct reg_authfile got = {0};
	struct reg_cred helped = {0};
	struct msb_err e = {0};
	char repo[512];
	int r = slurp(path, REG_MAX_CONFIG_BYTES, &s);

	(void)snprintf(repo, sizeof(repo), "%s%s", c->site[site].prefix, c->repo);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		note(give, arg, "%s: %s", path, strerror(-r));
	if (r == 0) {
		r = reg_authfile_parse(
			s.buf ? s.buf : "", s.len, host, img_ref_auth_key(host), repo, &got, &e);
		if (r < 0)
			note(give, arg, "%s: %s", path, e.msg);
	}
	if (r == 0 && *got.helper && from_helper(c, got.helper, host, &helped, give, arg) == 1) {
		reg_cred_done(&got.cred);
		got.cred = helped;
	}
	if (r == 0 && got.cred.kind != REG_CRED_NONE) {
		give_cred(give, arg, site, &got.cred);
		r = 1;
	}
	reg_cred_done(&got.cred);
	if (s.buf)
		explicit_bzero(s.buf, s.len);
	msb_str_done(&s);
	return r;
}

void reg_gather_creds(const struct reg_config *c, reg_give *give, void *arg)
{
	char path[4][MAX_PATH] = {"", "", "", ""};

	if (c->auth_file)
		(void)snprintf(path[0], MAX_PATH, "%s", c->auth_file);
	if (c->docker_config)
		(void)snprintf(path[1], MAX_PATH, "%s/config.json", c->docker_config);
	else if (c->home)
		(void)snprintf(path[1], MAX_PATH, "%s/.docker/config.json", c->home);
	if (c->xdg_runtime_dir)
		(void)snprintf(path[2], MAX_PATH, "%s/containers/auth.json", c->xdg_runtime_dir);
	if (c->home)
		(void)snprintf(path[3], MAX_PATH, "%s/.config/containers/auth.json", c->home);
	for (size_t site = 0; site < c->nsites; site++) {
		if (c->site[site].cred.kind != REG_CRED_NONE)
			continue; /* the login that msb was given */
		for (size_t i = 0; i < ARRAY_LEN(path); i++)
			if (*path[i] && from_file(c, site, path[i], give, arg) == 1)
				break;
	}
}

/* ---- certificates */

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a > b && !strcmp(s + a - b, end);
}

static void give_file(const char *path, enum reg_item item, size_t site, reg_give *give, void *arg)
{
	struct msb_str s = MSB_STR_INIT;
	int r = slurp(path, REG_MAX_CA_BYTES / 4, &s);

	msb_str_adds(&s, "\n");
	if (r < 0 || s.oom)
		note(give, arg, "%s: %s", path, strerror(r < 0 ? -r : ENOMEM));
	else
		give(arg, item, site, 0, s.buf, s.len);
	if (s.buf)
		explicit_bzero(s.buf, s.len);
	msb_str_done(&s);
}

/* certs.d/HOST as docker and containers have it: *.crt are CAs, X.cert with X.key is ours. */
static void from_certs_d(const char *dir, size_t site, reg_give *give, void *arg)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	const struct dirent *de;
	char path[MAX_PATH], key[MAX_PATH];
	bool have = false;

	while (d && (de = readdir(d))) {
		if (snprintf(path, sizeof(path), "%s/%s", dir, de->d_name) >= (int)sizeof(path))
			continue;
		if (ends_with(de->d_name, ".crt")) {
			give_file(path, REG_ITEM_CA, site, give, arg);
		} else if (ends_with(de->d_name, ".cert") && !have) {
			(void)snprintf(key, sizeof(key), "%.*s.key", (int)strlen(path) - 5, path);
			if (access(key, R_OK) < 0) {
				note(give, arg, "%s: %m", key);
				continue;
			}
			give_file(path, REG_ITEM_CERT, site, give, arg);
			give_file(key, REG_ITEM_KEY, site, give, arg);
			have = true;
		}
	}
}

void reg_gather_certs(const struct reg_config *c, reg_give *give, void *arg)
{
	struct msb_str s = MSB_STR_INIT;
	char dir[MAX_PATH], text[MAX_PATH + 128];
	int r;

	if (c->ca_path) {
		r = slurp(c->ca_path, REG_MAX_CA_BYTES / 2, &s);
		if (r < 0 || s.oom) {
			(void)snprintf(text, sizeof(text), "ca=%s: %s", c->ca_path,
				strerror(r < 0 ? -r : ENOMEM));
			give(arg, REG_ITEM_ERROR, 0, r < 0 ? -r : ENOMEM, text, strlen(text));
		} else {
			msb_str_adds(&s, "\n");
			give(arg, REG_ITEM_CA, 0, 0, s.buf, s.len);
		}
		msb_str_done(&s);
	}
	for (size_t site = 0; site < c->nsites; site++) {
		const char *host = c->site[site].host;
		const struct {
			const char *above, *below;
		} places[] = {
			{"", "/etc/docker/certs.d"},
			{"", "/etc/containers/certs.d"},
			{c->home, "/.config/containers/certs.d"},
			{c->home, "/.docker/certs.d"},
		};

		for (size_t i = 0; i < ARRAY_LEN(places); i++)
			if (places[i].above &&
				snprintf(dir, sizeof(dir), "%s%s/%s", places[i].above,
					places[i].below, host) < (int)sizeof(dir))
				from_certs_d(dir, site, give, arg);
	}
}
