// SPDX-License-Identifier: Apache-2.0
// Archives by way of stdin and stdout.
#include "tools/msb/files.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/ref.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int copy(int from, int to)
{
	char buf[65536];
	ssize_t n;
	int r = 0;

	while (r == 0 && ((n = read(from, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)))
		r = n > 0 ? msb_write_full(to, buf, (size_t)n) : 0;
	return r < 0 ? r : n < 0 ? -errno : 0;
}

static int path_of(int fd, struct msb_str *path, struct msb_err *e)
{
	msb_str_addf(path, "/proc/%d/fd/%d", (int)getpid(), fd);
	return path->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int files_from_stdin(struct msb_str *path, struct msb_err *e)
{
	const char *dir = getenv("TMPDIR") ?: "/tmp";
	_cleanup_close_ int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return msb_err_set(e, errno, "cannot make a file in %s: %m", dir);
	r = copy(STDIN_FILENO, fd);
	if (r < 0)
		return msb_err_set(e, -r, "cannot copy stdin to %s: %s", dir, strerror(-r));
	r = path_of(fd, path, e);
	return r < 0 ? r : steal_fd(&fd);
}

static void *pipe_thread(void *arg)
{
	struct files_pipe *p = arg;

	p->result = copy(p->out, STDOUT_FILENO);
	/* Whoever still writes to it is not to wait for ever. */
	close(steal_fd(&p->out));
	return NULL;
}

int files_to_stdout(struct files_pipe *p, struct msb_str *path, struct msb_err *e)
{
	int fd[2], r;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "no pipe: %m");
	p->out = fd[0];
	p->in = fd[1];
	r = pthread_create(&p->thread, NULL, pipe_thread, p);
	if (r) {
		close(steal_fd(&p->in));
		close(steal_fd(&p->out));
		return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
	}
	return path_of(p->in, path, e);
}

int files_pipe_end(struct files_pipe *p, struct msb_err *e)
{
	if (p->in < 0)
		return 0;
	close(steal_fd(&p->in));
	(void)pthread_join(p->thread, NULL); /* nobody else does */
	return p->result < 0 ? msb_err_set(e, -p->result, "cannot write to stdout: %s",
				       strerror(-p->result))
			     : 0;
}

int files_name_of(const char *path, struct msb_str *name, struct msb_err *e)
{
	static const char *const ends[] = {
		".gz", ".zst", ".xz", ".bz2", ".tar", ".tgz", ".oci", ".docker"};
	_cleanup_free_ char *copy_of = strdup(path);
	struct img_ref ref;
	char *base;
	size_t n;

	if (!copy_of)
		return msb_err_set(e, ENOMEM, "no memory");
	for (n = strlen(copy_of); n > 1 && copy_of[n - 1] == '/'; n--)
		copy_of[n - 1] = '\0';
	base = strrchr(copy_of, '/') ? strrchr(copy_of, '/') + 1 : copy_of;
	for (size_t i = 0; i < ARRAY_LEN(ends);) {
		size_t k = strlen(ends[i]);

		n = strlen(base);
		if (n > k && !strcmp(base + n - k, ends[i])) {
			base[n - k] = '\0';
			i = 0;
		} else {
			i++;
		}
	}
	for (char *p = base; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (img_ref_parse(base, IMG_REF_LOCAL_HOST, &ref, NULL) < 0 || *ref.digest)
		return msb_err_set(
			e, EINVAL, "what %s holds cannot be called after it; say a NAME", path);
	msb_str_adds(name, base);
	return name->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}
