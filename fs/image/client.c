// SPDX-License-Identifier: Apache-2.0
// Starting msb-image and waiting for what it says: msbd's side.
#include "fs/image/client_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void tell(const struct img_call *c, const struct msb_msg *m)
{
	struct img_progress p = {
		.stage = msb_msg_get(m, "stage") ?: "",
		.digest = msb_msg_get(m, "digest") ?: "",
		.state = msb_msg_get(m, "state") ?: "",
	};
	uint64_t v;

	if (!c->progress)
		return;
	/* What it leaves out is 0. */
	if (msb_msg_get_u64(m, "layer", &v) == 0 && v <= IMG_MAX_LAYERS)
		p.layer = (unsigned int)v;
	if (msb_msg_get_u64(m, "layers", &v) == 0 && v <= IMG_MAX_LAYERS)
		p.layers = (unsigned int)v;
	(void)msb_msg_get_u64(m, "done_bytes", &p.done_bytes);
	(void)msb_msg_get_u64(m, "total_bytes", &p.total_bytes);
	c->progress(c->arg, &p);
}

/* Until "ok" or "error" is in @m: 0; -EINTR given up; -errno where it says nothing more. */
static int listen_to(const struct img_call *c, int sock, client_line_fn line, void *arg,
	struct msb_msg *m, struct msb_err *e)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = sock, .events = POLLIN}, {.fd = c->cancel_fd, .events = POLLIN}};
		int r;

		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (p[1].revents)
			return msb_err_set(e, EINTR, "given up");
		r = msb_msg_recv(sock, m);
		if (r < 0)
			return r;
		msb_msg_close_fds(m); /* it has none to give */
		if (strcmp(msb_msg_verb(m), "progress") == 0)
			tell(c, m);
		else if (line && strcmp(msb_msg_verb(m), "damaged") == 0)
			line(arg, msb_msg_get(m, "line") ?: "");
		else
			return 0;
	}
}

pid_t client_start(const struct img_call *c, const char *program, const char *verb, int fd3,
	int fd4, int *ret_sock, struct msb_err *e)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	char path[4096], *argv[] = {(char *)program, (char *)verb, NULL};
	int sv[2], fds[3];
	pid_t pid;

	if (snprintf(path, sizeof(path), "%s/%s", c->bin_dir, program) >= (int)sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "the path of %s is too long", program);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", program);
	ours = sv[0];
	theirs = sv[1];
	fds[0] = fd3;
	fds[1] = fd4;
	fds[2] = theirs;
	pid = msb_spawn_alone(path, argv, fds, 3, c->log_fd, NULL, e);
	if (pid > 0)
		*ret_sock = steal_fd(&ours);
	return pid;
}

int client_reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

int client_run(const struct img_call *c, const char *verb, int fd4, client_line_fn line, void *arg,
	struct msb_msg *m, struct msb_err *e)
{
	_cleanup_close_ int sock = -1;
	pid_t pid = client_start(c, "msb-image", verb, c->store_fd, fd4, &sock, e);
	int status, r;

	if (pid < 0)
		return (int)pid;
	r = msb_msg_send(sock, m);
	if (r < 0)
		(void)msb_err_set(e, -r, "cannot ask msb-image: %s", strerror(-r));
	else
		r = listen_to(c, sock, line, arg, m, e);
	if (r < 0) /* given up, or it says nothing more */
		(void)kill(pid, SIGKILL);
	status = client_reap(pid);
	if (r == -EINTR || r == -E2BIG)
		return r;
	if (r < 0)
		return msb_err_set(e, EIO, "msb-image died (%s %d); its log says more",
			WIFSIGNALED(status) ? "signal" : "exit status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return strcmp(msb_msg_verb(m), "ok") == 0 ? 0 : msb_msg_error(m, e);
}

static bool digest_valid(const char *digest)
{
	uint8_t raw[32];

	return strlen(digest) == 64 && msb_unhex(digest, raw, sizeof(raw)) == 0;
}

int client_take_digest(const struct msb_msg *m, char ret[65], struct msb_err *e)
{
	const char *digest = msb_msg_get(m, "digest");

	if (!digest || !digest_valid(digest))
		return msb_err_set(e, EIO, "msb-image gave no digest");
	memcpy(ret, digest, 65);
	return 0;
}

int client_take_image(const struct msb_msg *m, struct img_imported *ret, struct msb_err *e)
{
	const char *kind = msb_msg_get(m, "kind");
	struct img_imported got = {0};

	if (msb_msg_get_u64(m, "size_bytes", &got.size_bytes) < 0 || !kind ||
		strlen(kind) >= sizeof(got.kind))
		return msb_err_set(e, EIO, "msb-image gave no size or kind");
	if (client_take_digest(m, got.digest, e) < 0)
		return -EIO;
	memcpy(got.kind, kind, strlen(kind));
	*ret = got;
	return 0;
}

void client_set_limits(const struct img_call *call, struct msb_msg *m)
{
	char key[32];

	for (size_t k = 0; k < IMG_NLIMITS; k++) {
		(void)snprintf(key, sizeof(key), "max_%s", img_limit_rows[k].name);
		if (call->limits[k])
			msb_msg_set(m, key, "%llu", (unsigned long long)call->limits[k]);
	}
}

int img_import(const struct img_call *c, int source_fd, const char *name, struct img_imported *ret,
	struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "import");
	client_set_limits(c, m);
	r = client_run(c, "import", source_fd, NULL, NULL, m, e);
	if (r == 0)
		r = client_take_image(m, ret, e);
	return r < 0 ? msb_err_wrap(e, "import %s", name) : 0;
}

int img_gc(const struct img_call *c, const char *const *keep, bool prune, struct msb_err *e)
{
	_cleanup_free_ uint8_t(*raw)[32] = calloc(IMG_MAX_KEEP, sizeof(*raw));
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	uint64_t deferred;
	size_t n = 0;

	if (!m || !raw)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (; *keep; keep++, n++) {
		if (n == IMG_MAX_KEEP)
			return msb_err_set(e, E2BIG, "more than %d images to keep", IMG_MAX_KEEP);
		/* One that names no image would be taken for "remove it". */
		if (!digest_valid(*keep))
			return msb_err_set(e, EINVAL, "`%s` is not a digest", *keep);
		(void)msb_unhex(*keep, raw[n], sizeof(raw[n])); /* just checked */
	}
	msb_msg_init(m, "gc");
	msb_msg_set(m, "prune", "%d", prune);
	msb_msg_payload(m, raw, n * sizeof(raw[0]));
	/* It has no source; the descriptor's place is taken by the store's. */
	if (client_run(c, "gc", c->store_fd, NULL, NULL, m, e) < 0)
		return msb_err_wrap(e, "clean the image store");
	return msb_msg_get_u64(m, "deferred", &deferred) == 0 && deferred;
}

int img_export(const struct img_call *c, const char *digest, const char *ref_name, int out_fd,
	struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "export");
	msb_msg_set(m, "digest", "%s", digest);
	msb_msg_set(m, "name", "%s", ref_name);
	return client_run(c, "export", out_fd, NULL, NULL, m, e) < 0
		       ? msb_err_wrap(e, "export %s", ref_name)
		       : 0;
}

int img_verify(const struct img_call *c, const char *digest,
	void (*damaged)(void *arg, const char *line), void *arg, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	uint64_t n;
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "verify");
	if (digest)
		msb_msg_set(m, "digest", "%s", digest);
	r = client_run(c, "verify", c->store_fd, damaged, arg, m, e);
	if (r < 0)
		return msb_err_wrap(e, "verify");
	if (msb_msg_get_u64(m, "damaged", &n) < 0)
		return msb_err_set(e, EIO, "verify: msb-image gave no result");
	return n ? msb_err_set(e, EBADMSG, "%llu damaged; `pull` the image again to repair it",
			   (unsigned long long)n)
		 : 0;
}

int img_stat(const struct img_call *c, struct msb_str *text, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "stat");
	if (client_run(c, "stat", c->store_fd, NULL, NULL, m, e) < 0)
		return msb_err_wrap(e, "count the image store");
	if (!msb_utf8_valid(msb_msg_payload_ptr(m), m->payload_bytes))
		return msb_err_set(e, EIO, "count the image store: msb-image gave no text");
	msb_str_add(text, msb_msg_payload_ptr(m), m->payload_bytes);
	return text->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}

int img_disk(const struct img_call *c, const char *digest, const char *format, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "disk");
	msb_msg_set(m, "digest", "%s", digest);
	msb_msg_set(m, "format", "%s", format);
	client_set_limits(c, m);
	/* It has no source; the descriptor's place is taken by the store's. */
	return client_run(c, "disk", c->store_fd, NULL, NULL, m, e);
}
