// SPDX-License-Identifier: Apache-2.0
// Running a credential helper, a program of the user's.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/registry/setup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

static int start(
	const char *path, char *const argv[], char *const env[], int in, int out, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int r;

	sigemptyset(&none);
	sigemptyset(&dfl);
	sigaddset(&dfl, SIGPIPE);
	if (posix_spawn_file_actions_init(&files) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&files);
		return -ENOMEM;
	}
	/* A group of its own, so that what it starts ends with it. */
	(void)posix_spawnattr_setflags(
		&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawnattr_setsigdefault(&attr, &dfl);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	r = posix_spawn_file_actions_adddup2(&files, in, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&files, out, 1);
	if (r == 0) /* it may print what nobody should read */
		r = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawnp(ret, path, &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -r;
}

/* Everything up to its end. */
static int read_all(int fd, struct msb_str *s, uint64_t until)
{
	char buf[4096];
	ssize_t n;
	int r = 0;

	while (r == 0) {
		uint64_t now = msb_now_ms();

		r = now >= until ? -ETIMEDOUT : msb_wait_fd(fd, POLLIN, (int)(until - now));
		if (r < 0)
			break;
		n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			break;
		if (s->len + (size_t)n > REG_MAX_HELPER_BYTES)
			r = -E2BIG;
		else
			msb_str_add(s, buf, (size_t)n);
	}
	explicit_bzero(buf, sizeof(buf));
	return r < 0 ? r : s->oom ? -ENOMEM : 0;
}

int reg_helper_run(const char *name, const char *server, char *const env[], unsigned int timeout_ms,
	struct reg_cred *ret)
{
	_cleanup_close_ int in_rd = -1, in_wr = -1, out_rd = -1, out_wr = -1;
	char program[128], *argv[] = {program, "get", NULL};
	struct msb_str out = MSB_STR_INIT;
	int p[2], status = 0, r;
	pid_t pid = -1;

	(void)snprintf(program, sizeof(program), "docker-credential-%s", name);
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	in_rd = p[0];
	in_wr = p[1];
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	out_rd = p[0];
	out_wr = p[1];
	r = start(program, argv, env ? env : environ, in_rd, out_wr, &pid);
	if (r < 0)
		return r == -EACCES ? -ENOENT : r;
	close(steal_fd(&in_rd));
	close(steal_fd(&out_wr));
	/* Shorter than a pipe is deep. It may have ended already: SIGPIPE is ignored. */
	(void)msb_write_full(in_wr, server, strlen(server));
	(void)msb_write_full(in_wr, "\n", 1);
	close(steal_fd(&in_wr));
	r = read_all(out_rd, &out, msb_now_ms() + timeout_ms);
	if (r < 0)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && status != 0)
		r = out.buf && strstr(out.buf, "credentials not found") ? 0 : -EIO;
	else if (r == 0)
		r = reg_helper_parse(out.buf ? out.buf : "", out.len, ret) ?: 1;
	if (out.buf)
		explicit_bzero(out.buf, out.len);
	msb_str_done(&out);
	return r;
}
