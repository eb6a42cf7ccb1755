// SPDX-License-Identifier: Apache-2.0
// The control tree, as a program uses it.
#include "tools/msb/mnt.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/shell.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TEXT    (4u << 20)
#define MNT_LOOK_MS 100 /* between two looks for another msbd */

/* Its descriptor, or -errno. */
static int open_root(const char *path, struct msb_err *e)
{
	/* O_PATH: opened for reading, msbd would make a listing of it. */
	_cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && faccessat(fd, "version", R_OK, 0) == 0)
		return steal_fd(&fd);
	if (errno == ENOTCONN)
		return msb_err_set(e, ENOENT,
			"the msbd that served %s has ended; `msbd` starts another, which finds "
			"what runs",
			path);
	if (errno == EACCES)
		return msb_err_set(
			e, EACCES, "%s is another user's; MSB_MNT says which to use", path);
	return msb_err_set(e, ENOENT,
		"no msbd serves %s; `systemctl %sstart msbd` starts one, or `msbd` by hand", path,
		geteuid() == 0 ? "" : "--user ");
}

int mnt_open(struct mnt *ret, struct msb_err *e)
{
	int r = msb_paths_mnt(ret->path, e);

	if (r < 0)
		return r;
	ret->fd = open_root(ret->path, e);
	return ret->fd < 0 ? ret->fd : 0;
}

bool mnt_gone(int code)
{
	return code == ENOTCONN || code == ECONNABORTED;
}

int mnt_again(struct mnt *m, struct msb_err *e)
{
	int fd = open_root(m->path, e);

	if (fd < 0)
		return fd;
	close(m->fd);
	m->fd = fd;
	return 0;
}

int mnt_wait_again(struct mnt *m, struct msb_err *e)
{
	uint64_t end = msb_now_ms() + MNT_AGAIN_MS;
	int r;

	while ((r = mnt_again(m, e)) < 0 && msb_now_ms() < end)
		(void)poll(NULL, 0, MNT_LOOK_MS);
	return r < 0 ? msb_err_set(e, -r, "msbd ended, and no other has come in %d s",
			       MNT_AGAIN_MS / 1000)
		     : 0;
}

/* ---- showing */

static struct {
	FILE *out;
	bool dry;
} show;

void mnt_show(FILE *out, bool dry)
{
	show.out = out;
	show.dry = dry;
}

bool mnt_dry(void)
{
	return show.dry;
}

void mnt_say(const char *fmt, ...)
{
	va_list ap;

	if (!show.out)
		return;
	va_start(ap, fmt);
	(void)vfprintf(show.out, fmt, ap);
	va_end(ap);
	(void)fputc('\n', show.out);
	(void)fflush(show.out); /* before what it says is done */
}

void mnt_word(const struct mnt *m, const char *file, struct msb_str *s)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;

	msb_str_addf(&path, "%s%s%s", m->path, *file ? "/" : "", file);
	shell_word(s, path.buf ?: "");
}

void mnt_say_write(const struct mnt *m, const char *file, bool append, const char *p, size_t n)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT, line = MSB_STR_INIT;

	if (!show.out)
		return;
	msb_str_addf(&path, "%s/%s", m->path, file);
	shell_write(&line, path.buf ?: "", append, p, n);
	mnt_say("%s", line.buf ?: "");
}

static void say(const struct mnt *m, const char *program, const char *file)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;

	if (!show.out)
		return;
	mnt_word(m, file, &path);
	mnt_say("%s %s", program, path.buf ?: "");
}

/* ---- what failed */

/* Whether it is a volume or a sandbox that is not there, or below one; said. */
static bool missing(const struct mnt *m, const char *file, struct msb_err *e)
{
	static const char volumes[] = "volumes/";
	bool volume = !strncmp(file, volumes, strlen(volumes));
	size_t from = volume ? strlen(volumes) : 0, n = strcspn(file + from, "/");
	char name[256];

	(void)snprintf(name, sizeof(name), "%.*s", (int)(from + n < 255 ? from + n : 255), file);
	if (!n || faccessat(m->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return false;
	(void)msb_err_set(e, ENOENT, "there is no %s %s; `msb %s` lists them",
		volume ? "volume" : "sandbox", name + from, volume ? "volume ls" : "ps -a");
	return true;
}

/* Whether a line of `errors` is about @file, and of that kind. */
static bool is_about(const json_t *line, const char *file, int code)
{
	const char *path = json_string_value(json_object_get(line, "path")),
		   *kind = json_string_value(json_object_get(line, "errno"));

	return path && kind && *path == '/' && !strcmp(path + 1, file) &&
	       !strcmp(kind, strerrorname_np(code) ?: "");
}

/* What the instance says last of @file. Its `error` may be about anything, and anybody's: what the
 * kernel refuses by itself msbd has said nothing of. */
static bool told(const struct mnt *m, const char *file, int code, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	bool found = false;

	if (mnt_peek(m, "errors", &s) < 0)
		return false;
	while (!found && s.len) {
		size_t end = s.len;
		json_t *line;

		while (s.len && s.buf[s.len - 1] != '\n')
			s.len--;
		line = json_loadb(s.buf + s.len, end - s.len, 0, NULL);
		found = is_about(line, file, code);
		if (found)
			(void)msb_err_set(e, code, "%s",
				json_string_value(json_object_get(line, "message")) ?: "");
		json_decref(line);
		s.len -= s.len > 0; /* the newline before it */
	}
	return found;
}

int mnt_why(const struct mnt *m, const char *file, int code, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[300];
	size_t n = strcspn(file, "/");
	/* A directory that could not be made, or the instance's own. */
	bool instance = !file[n] || !strncmp(file, "images/", 7) || !strncmp(file, "volumes/", 8) ||
			n > 255;

	(void)snprintf(path, sizeof(path), "%.*s/error", (int)(n < 255 ? n : 255), file);
	if (code == ENOENT && strncmp(file, "images/", 7) != 0 && missing(m, file, e))
		return -ENOENT;
	if (code != EINTR && instance && told(m, file, code, e))
		return -code;
	if (code == EINTR || instance || mnt_peek(m, path, &s) < 0 || !s.len)
		return msb_err_set(e, code, "%s/%s: %s", m->path, file, strerror(code));
	return msb_err_set(e, code, "%s", s.buf);
}

/* ---- operations */

int mnt_mkdir(const struct mnt *m, const char *dir, struct msb_err *e)
{
	say(m, "mkdir", dir);
	if (show.dry || mkdirat(m->fd, dir, 0700) == 0)
		return 0;
	/* The kernel knows what is there already, and whose the tree is: msbd is not asked. */
	if (errno == EEXIST)
		return msb_err_set(e, EEXIST, "there is a `%s` already", dir);
	return errno == EACCES
		       ? msb_err_set(e, EACCES, "%s is not yours to make things in", m->path)
		       : mnt_why(m, dir, errno, e);
}

int mnt_rmdir(const struct mnt *m, const char *dir, struct msb_err *e)
{
	say(m, "rmdir", dir);
	return show.dry || unlinkat(m->fd, dir, AT_REMOVEDIR) == 0 ? 0 : mnt_why(m, dir, errno, e);
}

static int put(const struct mnt *m, const char *file, int flags, const void *p, size_t n,
	struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	ssize_t done;

	mnt_say_write(m, file, flags & O_APPEND, p, n);
	if (show.dry)
		return 0;
	fd = openat(m->fd, file, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	if (fd < 0 && errno == ENOENT && missing(m, file, e))
		return -ENOENT;
	if (fd < 0)
		return msb_err_set(e, errno, "cannot write %s/%s: %m", m->path, file);
	done = write(fd, p, n);
	/* The lines before a bad one count as written; what is left says what is wrong with it. */
	if (done >= 0 && (size_t)done < n)
		done = write(fd, (const char *)p + done, n - (size_t)done);
	return done < 0 ? mnt_why(m, file, errno, e) : 0;
}

int mnt_append(const struct mnt *m, const char *file, const void *p, size_t n, struct msb_err *e)
{
	return put(m, file, O_APPEND, p, n, e);
}

int mnt_set(const struct mnt *m, const char *file, const char *value, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	msb_str_addf(&s, "%s\n", value);
	return s.oom ? msb_err_set(e, ENOMEM, "no memory") : put(m, file, 0, s.buf, s.len, e);
}

int mnt_peek(const struct mnt *m, const char *file, struct msb_str *s)
{
	int r = msb_read_file(m->fd, file, MAX_TEXT, s);

	if (r < 0)
		return r;
	msb_str_add(s, "", 0);
	if (s->len && s->buf[s->len - 1] == '\n')
		s->buf[--s->len] = '\0';
	return s->oom ? -ENOMEM : 0;
}

int mnt_read(const struct mnt *m, const char *file, struct msb_str *s, struct msb_err *e)
{
	int r;

	say(m, "cat", file);
	r = mnt_peek(m, file, s);
	if (r == -ENOENT && show.dry) {
		msb_str_add(s, "", 0);
		return 0;
	}
	if (r == -ENOENT && missing(m, file, e))
		return r;
	return r < 0 ? msb_err_set(e, -r, "cannot read %s/%s: %s", m->path, file, strerror(-r)) : 0;
}

int mnt_open_file(const struct mnt *m, const char *file, int flags, struct msb_err *e)
{
	int fd = openat(m->fd, file, flags | O_CLOEXEC);

	return fd < 0 ? mnt_why(m, file, errno, e) : fd;
}

int mnt_stream(const struct mnt *m, const char *file, int flags, struct msb_err *e)
{
	int fd;

	say(m, "cat", file);
	fd = show.dry ? open("/dev/null", O_RDONLY | O_CLOEXEC)
		      : openat(m->fd, file, O_RDONLY | O_CLOEXEC | flags);
	if (fd < 0 && errno == ENOENT && missing(m, file, e))
		return -ENOENT;
	return fd < 0 ? msb_err_set(e, errno, "cannot read %s/%s: %m", m->path, file) : fd;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int mnt_list(const struct mnt *m, const char *dir, int type, struct msb_str *s, struct msb_err *e)
{
	_cleanup_free_ char **names = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;
	size_t n = 0, size = 0;
	int fd, r = 0;

	say(m, "ls", dir);
	fd = openat(m->fd, *dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d && errno == ENOENT && missing(m, dir, e))
		return -ENOENT;
	if (!d)
		return msb_err_set(e, errno, "cannot list %s/%s: %m", m->path, dir);
	while (r == 0 && (de = readdir(d))) {
		if (de->d_name[0] == '.' || (type != DT_UNKNOWN && de->d_type != type))
			continue;
		if (n == size) {
			char **more =
				realloc(names, (size = size ? 2 * size : 64) * sizeof(*names));

			if (more)
				names = more;
			r = more ? 0 : -ENOMEM;
		}
		if (r == 0 && !(names[n++] = strdup(de->d_name)))
			r = -ENOMEM;
	}
	if (r == 0 && n)
		qsort(names, n, sizeof(*names), by_text);
	for (size_t i = 0; i < n; i++) {
		if (names[i])
			msb_str_add(s, names[i], strlen(names[i]) + 1);
		free(names[i]);
	}
	return r < 0 || s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int mnt_absolute(const char *path, struct msb_str *s, struct msb_err *e)
{
	char cwd[4096];

	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return msb_err_set(e, errno, "cannot tell where %s is: %m", path);
	if (*path != '/') {
		while (path[0] == '.' && path[1] == '/')
			path += 2 + strspn(path + 2, "/");
		msb_str_addf(s, "%s%s", cwd, *path && strcmp(path, ".") != 0 ? "/" : "");
	}
	if (strcmp(path, ".") != 0)
		msb_str_adds(s, path);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}
