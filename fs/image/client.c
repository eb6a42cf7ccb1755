// SPDX-License-Identifier: Apache-2.0
// Starting msb-image and waiting for what it says: msbd's side.
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int error_of(const struct msb_msg *m, struct msb_err *e)
{
	const char *why = msb_msg_get(m, "msg");
	uint64_t code;

	if (strcmp(msb_msg_verb(m), "error") != 0 || msb_msg_get_u64(m, "code", &code) < 0 ||
		!code || code > 4095)
		code = EIO;
	return msb_err_set(e, (int)code, "%s", why ? why : "msb-image gave no reason");
}

/* Sends @m to a new msb-image and waits for "ok", which replaces it. */
static int run(const char *bin_dir, const char *verb, int store_fd, int source_fd, int log_fd,
	int cancel_fd, struct msb_msg *m, struct msb_err *e)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	char path[4096], *argv[] = {"msb-image", (char *)verb, NULL};
	int sv[2], fds[3], status = 0, r;
	pid_t pid;

	if (snprintf(path, sizeof(path), "%s/msb-image", bin_dir) >= (int)sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "the path of msb-image is too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-image: %m");
	ours = sv[0];
	theirs = sv[1];
	fds[0] = store_fd;
	fds[1] = source_fd;
	fds[2] = theirs;
	pid = msb_spawn_alone(path, argv, fds, 3, log_fd, NULL, e);
	if (pid < 0)
		return (int)pid;
	close(steal_fd(&theirs));
	r = msb_msg_send(ours, m);
	if (r < 0)
		(void)msb_err_set(e, -r, "cannot ask msb-image: %s", strerror(-r));
	while (r == 0) {
		struct pollfd p[2] = {
			{.fd = ours, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR) {
			r = -errno;
		} else if (p[1].revents) {
			r = msb_err_set(e, EINTR, "given up");
		} else if (p[0].revents) {
			r = msb_msg_recv(ours, m);
			if (r == 0)
				msb_msg_close_fds(m); /* it has none to give */
			if (r == 0 && strcmp(msb_msg_verb(m), "progress") != 0)
				break;
		}
	}
	if (r < 0) /* given up, or it says nothing more */
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == -EINTR || r == -E2BIG)
		return r;
	if (r < 0)
		return msb_err_set(e, EIO, "msb-image died (%s %d); its log says more",
			WIFSIGNALED(status) ? "signal" : "exit status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (strcmp(msb_msg_verb(m), "ok") == 0)
		return 0;
	return error_of(m, e);
}

int img_import(const char *bin_dir, int store_fd, const char *source, int log_fd, int cancel_fd,
	struct img_imported *ret, struct msb_err *e)
{
	/* Not blocked by a FIFO; msb-image refuses it. */
	_cleanup_close_ int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	const char *digest;
	uint8_t raw[32];
	uint64_t size;
	int r;

	if (fd < 0)
		return msb_err_set(e, errno, "cannot open %s: %m", source);
	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "import");
	msb_msg_set(m, "max_bytes", "%llu", (unsigned long long)IMG_MAX_BYTES);
	msb_msg_set(m, "max_inodes", "%llu", (unsigned long long)IMG_MAX_INODES);
	r = run(bin_dir, "import", store_fd, fd, log_fd, cancel_fd, m, e);
	if (r < 0)
		return msb_err_wrap(e, "import %s", source);
	digest = msb_msg_get(m, "digest");
	if (!digest || strlen(digest) != 64 || msb_unhex(digest, raw, sizeof(raw)) < 0 ||
		msb_msg_get_u64(m, "size_bytes", &size) < 0)
		return msb_err_set(e, EIO, "import %s: msb-image gave no digest", source);
	memcpy(ret->digest, digest, sizeof(ret->digest));
	ret->size_bytes = size;
	return 0;
}

int img_gc(
	const char *bin_dir, int store_fd, const char *const *keep, int log_fd, struct msb_err *e)
{
	_cleanup_free_ uint8_t(*raw)[32] = calloc(IMG_MAX_KEEP, sizeof(*raw));
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	size_t n = 0;

	if (!m || !raw)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (; *keep; keep++, n++) {
		if (n == IMG_MAX_KEEP)
			return msb_err_set(e, E2BIG, "more than %d images to keep", IMG_MAX_KEEP);
		/* One that names no image would be taken for "remove it". */
		if (strlen(*keep) != 64 || msb_unhex(*keep, raw[n], sizeof(raw[n])) < 0)
			return msb_err_set(e, EINVAL, "`%s` is not a digest", *keep);
	}
	msb_msg_init(m, "gc");
	msb_msg_payload(m, raw, n * sizeof(raw[0]));
	/* It has no source; the descriptor's place is taken by the store's. */
	return run(bin_dir, "gc", store_fd, store_fd, log_fd, -1, m, e) < 0
		       ? msb_err_wrap(e, "clean the image store")
		       : 0;
}
