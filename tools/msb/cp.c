// SPDX-License-Identifier: Apache-2.0
// cp: between the host and a sandbox's root.
#include "tools/msb/cp.h"
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/shell.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

int cp_parse(const char *word, struct cp_word *ret, struct msb_err *e)
{
	const char *colon = strchr(word, ':'), *slash = strchr(word, '/');
	size_t n = colon ? (size_t)(colon - word) : 0;

	*ret = (struct cp_word){.kind = CP_HOST, .path = word};
	if (!*word)
		return msb_err_set(e, EINVAL, "an empty word is no path");
	if (!strcmp(word, "-")) {
		ret->kind = CP_STREAM;
		return 0;
	}
	if (!colon || (slash && slash < colon))
		return 0;
	if (n < sizeof(ret->name)) {
		memcpy(ret->name, word, n);
		ret->name[n] = '\0';
	}
	if (!msb_name_valid(ret->name))
		return msb_err_set(e, EINVAL,
			"`%.*s` is not a sandbox's name; a file that is called so is ./%s", (int)n,
			word, word);
	if (!colon[1])
		return msb_err_set(e, EINVAL, "%s names no path in %s", word, ret->name);
	ret->kind = CP_GUEST;
	ret->path = colon + 1;
	return 0;
}

void cp_base(const char *path, char ret[NAME_MAX + 1])
{
	size_t n = strlen(path), from;

	*ret = '\0';
	if (n >= 2 && !strcmp(path + n - 2, "/."))
		return;
	while (n > 0 && path[n - 1] == '/')
		n--;
	for (from = n; from > 0 && path[from - 1] != '/';)
		from--;
	if (n - from > NAME_MAX || (n - from == 1 && path[from] == '.') ||
		(n - from == 2 && !strncmp(path + from, "..", 2)))
		return;
	memcpy(ret, path + from, n - from);
	ret[n - from] = '\0';
}

/* ---- places */

struct place {
	const struct cp_word *w;
	int root; /* of the sandbox, or AT_FDCWD */
	char root_path[PATH_MAX];
	struct msb_str mounts; /* of the sandbox: its table */
};

static int resolve(const struct place *p, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC,
		.resolve = p->w->kind == CP_GUEST ? RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS : 0};
	long fd;

	do
		fd = syscall(SYS_openat2, p->root, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN); /* names moved meanwhile */
	return fd < 0 ? -errno : (int)fd;
}

static int open_place(
	const struct mnt *m, const struct cp_word *w, struct place *p, struct msb_err *e)
{
	char link[CP_NAME_MAX + 16];
	ssize_t n;

	p->w = w;
	p->root = AT_FDCWD;
	if (w->kind != CP_GUEST)
		return 0;
	(void)snprintf(link, sizeof(link), "%s/root", w->name);
	n = readlinkat(m->fd, link, p->root_path, sizeof(p->root_path) - 1);
	if (n < 0)
		return errno == ENOENT ? msb_err_set(e, ENOENT, "there is no sandbox %s", w->name)
				       : mnt_why(m, link, errno, e);
	p->root_path[n] = '\0';
	p->root = openat(m->fd, link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->root < 0)
		return mnt_why(m, link, errno, e);
	(void)snprintf(link, sizeof(link), "%s/mounts", w->name);
	return mnt_peek(m, link, &p->mounts);
}

/* Names of fstab: \040 and the like. */
static void unquote(char *s)
{
	char *to = s;

	for (; *s; s++)
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + s[3] - '0');
			s += 3;
		} else {
			*to++ = *s;
		}
	*to = '\0';
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static const char *const own_mounts[] = {"/proc", "/sys", "/dev", "/run"}; /* of every guest */

static int is_mounted(
	const struct place *p, const char *source, const char *where, struct msb_err *e)
{
	return msb_err_set(e, EXDEV,
		"%s:%s is in what the guest has mounted at %s (%s), not in its root: use that, or "
		"`msb exec %s tar`",
		p->w->name, p->w->path, where, source, p->w->name);
}

/*
 * Mounts of the guest are not part of its root: what is copied there would be hidden by them, or be
 * what they hide. @path: from the root. -EXDEV it is below one; what is mounted below it is said,
 * and counted as left out, where @c is not NULL.
 */
static int look_at(struct cp *c, const struct place *p, const char *path, struct msb_err *e)
{
	_cleanup_free_ char *table = strdup(p->mounts.len ? p->mounts.buf : "");
	char source[PATH_MAX], where[PATH_MAX], *next;

	if (!table)
		return msb_err_set(e, ENOMEM, "no memory");
	for (size_t i = 0; i < ARRAY_LEN(own_mounts); i++)
		if (is_below(path, own_mounts[i]))
			return is_mounted(p, "the machine's own", own_mounts[i], e);
	for (char *line = table; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		if (*line == '#' || sscanf(line, "%4095s %4095s", source, where) != 2)
			continue;
		unquote(where);
		unquote(source);
		if (is_below(path, where))
			return is_mounted(p, source, where, e);
		if (c && is_below(where, path))
			cp_left_out(c, where, "it is a mount (%s), not part of the root", source);
	}
	return 0;
}

/* As it is written, before it is resolved: it may be in the mount alone. */
static int look_at_name(const struct place *p, struct msb_err *e)
{
	char path[PATH_MAX] = "";
	struct msb_str s = MSB_STR_FIXED(path);

	for (const char *w = p->w->path; *w;) {
		size_t n = strcspn(w, "/");
		char *up;

		if (n == 2 && w[0] == '.' && w[1] == '.') {
			up = strrchr(path, '/');
			s.len = up ? (size_t)(up - path) : 0;
			path[s.len] = '\0';
		} else if (n && !(n == 1 && *w == '.')) {
			msb_str_addf(&s, "/%.*s", (int)n, w);
		}
		w += n + (w[n] == '/');
	}
	return p->w->kind == CP_GUEST ? look_at(NULL, p, path, e) : 0;
}

/* As it was resolved: what @fd is. */
static int look_at_fd(struct cp *c, const struct place *p, int fd, struct msb_err *e)
{
	size_t root = strlen(p->root_path);
	char proc[32], path[PATH_MAX];
	ssize_t n;

	if (p->w->kind != CP_GUEST)
		return 0;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, path, sizeof(path) - 1);
	if (n < 0 || (size_t)n < root || strncmp(path, p->root_path, root) != 0)
		return 0; /* it moved meanwhile: nothing can be said of it */
	path[n] = '\0';
	return look_at(c, p, path + root, e);
}

/* ---- what goes where */

/* Into the file, pipe or device that is there, which stays what it is. */
static int over(struct cp *c, const struct place *to, int from, const struct stat *st,
	const char *said, struct msb_err *e)
{
	_cleanup_close_ int in = -1, out = -1;
	struct stat there;
	int r;

	out = resolve(
		to, to->w->path, O_WRONLY | O_NOCTTY | (to->w->kind == CP_GUEST ? O_NONBLOCK : 0));
	if (out < 0)
		return msb_err_set(e, -out, "cannot write %s: %s", to->w->path, strerror(-out));
	if (fstat(out, &there) < 0 || (to->w->kind == CP_GUEST && !S_ISREG(there.st_mode)))
		return msb_err_set(e, EEXIST, "%s is there, and no file", to->w->path);
	in = cp_reopen(from);
	if (in < 0)
		return msb_err_set(e, -in, "cannot open %s: %s", said, strerror(-in));
	if (S_ISREG(there.st_mode) && ftruncate(out, 0) < 0)
		return msb_err_set(e, errno, "cannot write %s: %m", to->w->path);
	r = cp_bytes(c, in, out, (uint64_t)st->st_size, said, e);
	return r < 0 || !S_ISREG(there.st_mode) ? r : cp_attributes(c, out, st, said, e);
}

/* Under its own name in the directory @to, or as it, where that is no directory. */
static int to_place(struct cp *c, const struct place *to, int from, const char *base,
	const char *said, struct msb_err *e)
{
	_cleanup_close_ int there = resolve(to, to->w->path, O_PATH), dir = -1;
	_cleanup_free_ char *up = strdup(to->w->path);
	char name[NAME_MAX + 1];
	struct stat st, st_to;
	size_t n;
	int r;

	if (!up || fstat(from, &st) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	if (there >= 0 && fstat(there, &st_to) < 0)
		return msb_err_set(e, errno, "cannot look at %s: %m", to->w->path);
	if (there >= 0) {
		r = look_at_fd(NULL, to, there, e);
		if (r < 0)
			return r;
	}
	if (there >= 0 && S_ISDIR(st_to.st_mode))
		return *base ? cp_tree(c, from, there, base, said, e)
			     : cp_contents(c, from, there, said, e);
	if (there >= 0 && S_ISREG(st.st_mode))
		return over(c, to, from, &st, said, e);
	cp_base(to->w->path, name);
	n = strlen(up);
	if (!*name || (up[n - 1] == '/' && !S_ISDIR(st.st_mode)))
		return msb_err_set(e, ENOTDIR, "%s is no directory", to->w->path);
	while (n && up[n - 1] == '/')
		up[--n] = '\0';
	up[n - strlen(name)] = '\0';
	dir = resolve(to, *up ? up : ".", O_PATH | O_DIRECTORY);
	if (dir < 0)
		return msb_err_set(e, -dir, "the directory of %s: %s", to->w->path, strerror(-dir));
	r = look_at_fd(NULL, to, dir, e);
	return r < 0 ? r : cp_tree(c, from, dir, name, said, e);
}

static int from_stream(struct cp *c, const struct place *to, struct msb_err *e)
{
	_cleanup_close_ int dir = resolve(to, to->w->path, O_PATH | O_DIRECTORY);
	int r;

	if (to->w->kind != CP_GUEST)
		return msb_err_set(
			e, EINVAL, "an archive goes to NAME:DIR; here `tar` unpacks one");
	if (dir < 0)
		return msb_err_set(e, -dir, "%s: %s", to->w->path, strerror(-dir));
	r = look_at_fd(NULL, to, dir, e);
	return r < 0 ? r : cp_from_tar(c, STDIN_FILENO, to->root, to->w->path, e);
}

static int copy(struct cp *c, const struct place *from, const struct place *to, bool follow,
	struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	char base[NAME_MAX + 1];
	int r;

	r = look_at_name(from, e);
	if (r == 0)
		r = look_at_name(to, e);
	if (r < 0)
		return r;
	if (from->w->kind == CP_STREAM)
		return from_stream(c, to, e);
	fd = resolve(from, from->w->path, O_PATH | (follow ? 0 : O_NOFOLLOW));
	if (fd < 0)
		return msb_err_set(e, -fd, "%s%s%s: %s", from->w->name, *from->w->name ? ":" : "",
			from->w->path, strerror(-fd));
	r = look_at_fd(c, from, fd, e);
	cp_base(from->w->path, base);
	if (r == 0)
		r = to->w->kind == CP_STREAM ? cp_to_tar(c, fd, base, STDOUT_FILENO, e)
					     : to_place(c, to, fd, base, from->w->path, e);
	return r;
}

/* The same by cp(1), which trusts the links of the guest. */
static void show(const struct mnt *m, const struct cp_word *w, struct msb_str *s)
{
	char root[CP_NAME_MAX + 16];

	msb_str_adds(s, " ");
	(void)snprintf(root, sizeof(root), "%s/root", w->name);
	if (w->kind == CP_GUEST) {
		mnt_word(m, root, s);
		msb_str_adds(s, *w->path == '/' ? "" : "/");
	}
	shell_word(s, w->path);
}

static int cp(const struct cli_args *a)
{
	_cleanup_free_ char *buf = malloc(CP_BUF_BYTES);
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;
	struct place from = {.root = -1}, to = {.root = -1};
	struct cp_word w[2];
	struct cp c = {.archive = cli_get(a, "archive"), .buf = buf};
	struct msb_err e = {0};
	struct mnt m;
	int r = buf ? mnt_open(&m, &e) : msb_err_set(&e, ENOMEM, "no memory");

	for (int i = 0; r == 0 && i < 2; i++)
		r = cp_parse(a->word[i], &w[i], &e);
	if (r == 0 && w[0].kind != CP_GUEST && w[1].kind != CP_GUEST)
		r = msb_err_set(&e, EINVAL, "neither is in a sandbox: NAME:PATH");
	if (r < 0)
		return cli_fail(&e);
	show(&m, &w[0], &line);
	show(&m, &w[1], &line);
	if (w[0].kind == CP_STREAM)
		mnt_say("tar x -C%s", line.buf ? line.buf + 2 : "");
	else if (w[1].kind == CP_STREAM)
		mnt_say("tar c%.*s", (int)line.len - 2, line.buf ?: "");
	else
		mnt_say("cp -R %s%s", c.archive ? "-p" : "--preserve=mode,timestamps",
			line.buf ?: "");
	if (mnt_dry())
		return 0;
	c.to_guest = w[1].kind == CP_GUEST;
	r = open_place(&m, &w[0], &from, &e);
	if (r == 0)
		r = open_place(&m, &w[1], &to, &e);
	if (r == 0)
		r = copy(&c, &from, &to, cli_get(a, "follow-link"), &e);
	if (from.root >= 0)
		close(from.root);
	if (to.root >= 0)
		close(to.root);
	msb_str_done(&from.mounts);
	msb_str_done(&to.mounts);
	return r < 0 ? cli_fail(&e) : c.out ? CLI_FAILED : 0;
}

static const struct cli_option cp_options[] = {
	CLI_OPTION('a', "archive", NULL, "keep owners and set-id bits"),
	CLI_OPTION('L', "follow-link", NULL, "where SRC is a link, copy what it leads to"),
	{0},
};

const struct cli_command cli_cp_commands[] = {
	CLI_COMMAND("cp", NULL, "[OPTION]... SRC DST",
		"Copy files; NAME:PATH is in a sandbox, - is a tar archive", 2, 2, cp_options, cp,
		.complete = CLI_FILES,
		.about =
			"NAME:PATH is in the root of a sandbox, which may run or not. As with cp(1), what is "
			"copied into a directory that is there keeps its name, and SRC that ends in `/.` is "
			"what is in it. `-` as DST writes a tar archive to stdout, as SRC unpacks one from "
			"stdin. A file whose name has a colon is written with ./ in front.\n"
			"Paths in a sandbox stay in it, whatever links the guest has made. Modes and times "
			"are kept, owners and set-id bits only with `-a`. Devices and sockets are left out, "
			"as is what the guest has mounted: each is said, and the exit status is 125 then.",
		.examples = "msb cp ./app web:/srv\n"
			    "msb cp web:/var/log/dpkg.log .\n"
			    "# as an archive\n"
			    "msb cp web:/etc - | tar t\n"
			    "tar c src | msb cp - web:/srv",
		.see = "exec volume"),
	{0},
};
