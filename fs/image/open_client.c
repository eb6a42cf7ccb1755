// SPDX-License-Identifier: Apache-2.0
// Starting msb-open and waiting for what it says: msbd's side.
#include "fs/image/open.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static int answer_of(const struct msb_msg *m, struct msb_err *e)
{
	return !strcmp(msb_msg_verb(m), "ok") ? 0 : msb_msg_error(m, e);
}

/* Until there is an answer, or no more is to be waited for. */
static int await(int sock, int cancel_fd, int ms)
{
	struct pollfd pf[] = {{sock, POLLIN, 0}, {cancel_fd > 0 ? cancel_fd : -1, POLLIN, 0}};
	uint64_t until = msb_now_ms() + (uint64_t)ms;

	for (;;) {
		uint64_t now = msb_now_ms();
		int r = poll(pf, ARRAY_LEN(pf), now < until ? (int)(until - now) : 0);

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			return pf[0].revents ? 0 : -EINTR;
		if (r == 0 && msb_now_ms() >= until)
			return -ETIMEDOUT;
	}
}

static int lost(const struct img_open *o, int r, int ms, struct msb_err *e)
{
	if (r == -ETIMEDOUT)
		return msb_err_set(e, ETIMEDOUT,
			"msb-open, which runs as uid %u, did not answer in %d s; it is killed",
			o->uid, ms / 1000);
	if (r == -EINTR)
		return msb_err_set(e, EINTR, "msbd is ending");
	return msb_err_set(e, EIO, "msb-open ended without a word; its log says more");
}

/* Sends @m to a new msb-open; its answer, within @ms, replaces it, and brings the descriptor @ret,
 * unless that is NULL. */
static int run(const struct img_open *o, int ms, struct msb_msg *m, int *ret, struct msb_err *e)
{
	_cleanup_close_ int ours = -1, theirs = -1, pidfd = -1;
	char prog[4096], *argv[] = {"msb-open", NULL};
	int sv[2], fd = -1, r;
	pid_t pid;

	if (snprintf(prog, sizeof(prog), "%s/msb-open", o->bin_dir) >= (int)sizeof(prog))
		return msb_err_set(e, ENAMETOOLONG, "the path of msb-open is too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-open: %m");
	ours = sv[0];
	theirs = sv[1];
	pid = msb_spawn(prog, argv, &theirs, 1, o->log_fd, &pidfd, e);
	if (pid < 0)
		return (int)pid;
	close(steal_fd(&theirs));
	msb_msg_set(m, "uid", "%u", o->uid);
	msb_msg_set(m, "gid", "%u", o->gid);
	r = msb_msg_send(ours, m);
	if (r == 0)
		r = await(ours, o->cancel_fd, ms);
	if (r == 0)
		r = msb_msg_recv(ours, m);
	/* What it had to say it has said. */
	(void)msb_spawn_kill(pid, pidfd); /* one that stays is logged */
	if (r < 0)
		return lost(o, r, ms, e);
	r = answer_of(m, e);
	if (r == 0 && ret)
		fd = msb_msg_take_fd(m, 0);
	msb_msg_close_fds(m);
	if (r < 0 || !ret)
		return r;
	if (fd < 0)
		return msb_err_set(e, EIO, "msb-open gave no descriptor");
	*ret = fd;
	return 0;
}

int img_open_user(const struct img_open *o, struct msb_user *ret, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	const char *text;
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "user");
	r = run(o, IMG_OPEN_MS, m, NULL, e);
	if (r < 0)
		return r;
	text = msb_msg_get(m, "user");
	if (!text || msb_user_parse(text, ret) < 0 || ret->uid != o->uid)
		return msb_err_set(e, EIO, "msb-open does not say who uid %u is", o->uid);
	return 0;
}

int img_open_dir(const struct img_open *o, const char *path, int index_fd, int files_fd, int *ret,
	struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "dir");
	msb_msg_set(m, "path", "%s", path);
	msb_msg_set(m, "max_inodes", "%llu", (unsigned long long)IMG_MAX_INODES);
	if (index_fd >= 0) {
		msb_msg_add_fd(m, index_fd);
		msb_msg_add_fd(m, files_fd);
	}
	return run(o, index_fd < 0 ? IMG_OPEN_MS : IMG_WALK_MS, m, ret, e);
}

int img_open_disk(const struct img_open *o, const char *path, const char *format, int own_fd,
	struct img_disk *ret, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	struct img_disk d = {.fd = -1};
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "disk");
	msb_msg_set(m, "path", "%s", path);
	msb_msg_set(m, "format", "%s", format);
	if (own_fd >= 0)
		msb_msg_add_fd(m, own_fd);
	r = run(o, IMG_WALK_MS, m, &d.fd, e);
	if (r < 0)
		return r;
	if (msb_msg_get_u64(m, "bytes", &d.bytes) < 0 || msb_msg_get_u64(m, "ino", &d.ino) < 0 ||
		msb_msg_get_u64(m, "size", &d.size) < 0 ||
		msb_msg_get_u64(m, "mtime_sec", &d.mtime_sec) < 0 ||
		msb_msg_get_u64(m, "mtime_nsec", &d.mtime_nsec) < 0 ||
		msb_msg_get_u64(m, "own_bytes", &d.own_bytes) < 0) {
		close(d.fd);
		return msb_err_set(e, EIO, "msb-open gave no answer that makes sense");
	}
	*ret = d;
	return 0;
}
