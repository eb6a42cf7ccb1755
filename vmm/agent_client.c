// SPDX-License-Identifier: Apache-2.0
// The client side of msb-agentd.
#include "vmm/agent.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"
#include "base/str.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CALL_MS	      5000  /* for what the daemon answers by itself */
#define GUEST_CALL_MS 15000 /* for what it asks the guest: longer than its own limit */

pid_t agent_spawn(const char *bin_dir, const char *sandbox, const struct msb_user *user,
	const char *control_path, int dir_fd, int log_fd, int *ret_pidfd, struct msb_err *e)
{
	_cleanup_close_ int listen_fd = msb_unix_listen(control_path, SOCK_SEQPACKET, 0600, e);
	char path[4096], who[MSB_USER_TEXT];
	char *argv[] = {path, (char *)(uintptr_t)sandbox, user ? who : NULL, NULL};
	int fds[2] = {listen_fd, dir_fd};

	if (listen_fd < 0)
		return listen_fd;
	if (user)
		msb_user_print(user, who);
	if (snprintf(path, sizeof(path), "%s/msb-agentd", bin_dir) >= (int)sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "%s is too long a path", bin_dir);
	return msb_spawn_alone(path, argv, fds, 2, log_fd, ret_pidfd, e);
}

static int connect_to(const char *control_path, struct msb_err *e)
{
	int fd = msb_unix_connect(control_path, SOCK_SEQPACKET);

	return fd < 0 ? msb_err_set(e, -fd, "the sandbox's agent is not running: %s", strerror(-fd))
		      : fd;
}

static int call_once(const char *control_path, struct msb_msg *m, int timeout_ms, struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, e);

	return fd < 0 ? fd : msb_msg_call(fd, m, timeout_ms, e);
}

int agent_attach(const char *control_path, int agent_fd, int console_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "attach");
	msb_msg_add_fd(&m, agent_fd);
	if (console_fd >= 0)
		msb_msg_add_fd(&m, console_fd);
	return call_once(control_path, &m, CALL_MS, e);
}

static uint64_t clock_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void add_all(struct msb_msg *m, const char *key, const char *const *v)
{
	for (; v && *v; v++)
		msb_msg_set(m, key, "%s", *v);
}

static void add_mount(struct msb_msg *m, const struct agent_mount *x)
{
	msb_msg_set(m, "mount", "%s\t%s\ttype=%s,%s", x->name, x->path,
		x->tmpfs  ? "tmpfs"
		: x->disk ? "volume"
			  : "share",
		x->tmpfs      ? x->tmpfs
		: x->readonly ? "ro"
			      : "rw");
}

/* An answer to what was sent on @fd, or -EINTR once @cancel_fd is readable. */
static int wait_or_cancel(
	int fd, int cancel_fd, int timeout_ms, const char *what, struct msb_err *e)
{
	uint64_t end = msb_now_ms() + (uint64_t)timeout_ms;

	for (;;) {
		struct pollfd pf[2] = {
			{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
		uint64_t now = msb_now_ms();
		int r = poll(pf, 2, now >= end ? 0 : (int)(end - now));

		if (r < 0 && errno != EINTR)
			return msb_err_set(e, errno, "poll: %m");
		if (r > 0 && pf[0].revents)
			return 0;
		if (r > 0)
			return msb_err_set(e, EINTR, "interrupted");
		if (r == 0 && now >= end)
			return msb_err_set(
				e, ETIMEDOUT, "the guest did not %s in %d ms", what, timeout_ms);
	}
}

int agent_boot(const char *control_path, const struct agent_boot *b, struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, e);
	struct msb_msg m;
	int r;

	if (fd < 0)
		return fd;
	msb_msg_init(&m, "boot");
	msb_msg_set(&m, "timeout_ms", "%d", b->timeout_ms);
	msb_msg_set(&m, "hostname", "%s", b->hostname ?: "");
	msb_msg_set(&m, "user", "%s", b->user ?: "");
	msb_msg_set(&m, "workdir", "%s", b->workdir ?: "");
	msb_msg_set(&m, "init", "%s", b->init ?: "");
	msb_msg_set(&m, "mount", "%s\t/\t%s%s", b->disk ?: "root", b->disk ? "type=disk," : "",
		b->readonly ? "ro" : "rw");
	for (size_t i = 0; i < b->nmounts; i++)
		add_mount(&m, &b->mounts[i]);
	add_all(&m, "env", b->env);
	r = msb_msg_send(fd, &m);
	if (r < 0)
		return msb_err_set(e, -r, "%s",
			r == -E2BIG ? "the sandbox's environment, mounts and tmpfs are too long"
				    : strerror(-r));
	/* The daemon's own limit, which says more, comes first. */
	r = wait_or_cancel(fd, b->cancel_fd, b->timeout_ms + 1000, "become ready", e);
	return r < 0 ? r : msb_msg_answer(fd, &m, e);
}

static int exec_message(const struct agent_exec *x, struct msb_msg *m, struct msb_err *e)
{
	msb_msg_init(m, "exec");
	if (x->user)
		msb_msg_set(m, "user", "%s", x->user);
	if (x->cwd)
		msb_msg_set(m, "cwd", "%s", x->cwd);
	msb_msg_set(m, "tty", "%d", x->tty);
	msb_msg_set(m, "stdin", "%d", x->want_stdin);
	msb_msg_set(m, "log", "%d", x->log);
	msb_msg_set(m, "rows", "%u", x->rows);
	msb_msg_set(m, "cols", "%u", x->cols);
	if (x->job)
		msb_msg_set(m, "job", "%u", x->job);
	if (x->note)
		msb_msg_set(m, "hold", "%u", x->hold);
	if (x->timeout_ms)
		msb_msg_set(m, "timeout_ms", "%llu", (unsigned long long)x->timeout_ms);
	if (x->note)
		msb_msg_set(m, "note", "%s", x->note);
	if (x->mark)
		msb_msg_set(m, "mark", "%s", x->mark);
	add_all(m, "rlimit", x->rlimits);
	add_all(m, "arg", x->argv);
	add_all(m, "env", x->env);
	return m->oversize ? msb_err_set(e, E2BIG, "the command and its environment are too long")
			   : 0;
}

int agent_exec(const char *control_path, const struct agent_exec *x, struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, e);
	struct msb_msg m;
	int r;

	if (fd < 0)
		return fd;
	r = exec_message(x, &m, e);
	if (r == 0)
		r = msb_msg_call(fd, &m, CALL_MS, e);
	return r < 0 ? r : steal_fd(&fd);
}

int agent_held(const char *control_path, uint32_t *numbers, size_t max, struct msb_err *e)
{
	struct msb_msg m;
	size_t n = 0;
	int r;

	msb_msg_init(&m, "jobs");
	r = call_once(control_path, &m, CALL_MS, e);
	if (r < 0)
		return r;
	for (const char *v = NULL; (v = msb_msg_next(&m, "job", v)) && n < max;) {
		uint64_t number;

		if (msb_parse_u64(v, 1, UINT32_MAX, &number) < 0)
			return msb_err_set(e, EBADMSG, "the sandbox's agent lists no jobs");
		numbers[n++] = (uint32_t)number;
	}
	return (int)n;
}

int agent_adopt(const char *control_path, uint32_t job, struct msb_msg *state, struct msb_msg *exec,
	struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, e);
	int r;

	if (fd < 0)
		return fd;
	msb_msg_init(state, "adopt");
	msb_msg_set(state, "job", "%u", job);
	r = msb_msg_call(fd, state, CALL_MS, e);
	if (r < 0)
		return r;
	r = msb_wait_fd(fd, POLLIN, CALL_MS);
	if (r == 0)
		r = msb_msg_recv(fd, exec);
	if (r < 0)
		return msb_err_set(e, -r, "the sandbox's agent: %s", strerror(-r));
	msb_msg_close_fds(exec);
	return steal_fd(&fd);
}

static int call_guest(const char *control_path, struct msb_msg *m, int cancel_fd, struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, NULL);
	int r = fd < 0 ? -EPIPE : msb_msg_send(fd, m);

	if (r == 0) {
		r = wait_or_cancel(fd, cancel_fd, GUEST_CALL_MS, "answer", e);
		if (r < 0)
			return r;
		r = msb_msg_answer(fd, m, e);
	}
	return r == -EPIPE ? msb_err_set(e, ENOTCONN, "the sandbox's agent is not running") : r;
}

int agent_mount(
	const char *control_path, const struct agent_mount *x, int cancel_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "mount");
	add_mount(&m, x);
	return call_guest(control_path, &m, cancel_fd, e);
}

int agent_umount(const char *control_path, const struct agent_mount *x, bool lazy, int cancel_fd,
	struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "umount");
	msb_msg_set(&m, "name", "%s", x->name);
	msb_msg_set(&m, "path", "%s", x->path);
	msb_msg_set(&m, "lazy", "%d", lazy);
	return call_guest(control_path, &m, cancel_fd, e);
}

int agent_shutdown(
	const char *control_path, int term_ms, int wait_ms, int cancel_fd, struct msb_err *e)
{
	_cleanup_close_ int fd = connect_to(control_path, e);
	struct msb_msg m;
	int r;

	if (fd < 0)
		return fd;
	msb_msg_init(&m, "shutdown");
	msb_msg_set(&m, "timeout_ms", "%d", term_ms);
	r = msb_msg_send(fd, &m);
	if (r < 0)
		return msb_err_set(e, -r, "the sandbox's agent: %s", strerror(-r));
	r = wait_or_cancel(fd, cancel_fd, wait_ms, "end", e);
	return r < 0 ? r : msb_msg_answer(fd, &m, e);
}

/* Says one thing and does not wait for what comes of it. */
static int ask_message(const char *control_path, const struct msb_msg *m, struct msb_err *e)
{
	_cleanup_close_ int fd = msb_unix_connect(control_path, SOCK_SEQPACKET | SOCK_NONBLOCK);
	int r;

	if (fd < 0)
		return msb_err_set(e, -fd, "the sandbox's agent is not running: %s", strerror(-fd));
	r = msb_msg_send(fd, m);
	return r < 0 ? msb_err_set(e, -r, "the sandbox's agent: %s", strerror(-r)) : steal_fd(&fd);
}

static int ask(const char *control_path, const char *verb, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, verb);
	return ask_message(control_path, &m, e);
}

int agent_forget(const char *control_path, uint32_t job, struct msb_err *e)
{
	struct msb_msg m;
	int fd;

	msb_msg_init(&m, "forget");
	msb_msg_set(&m, "job", "%u", job);
	fd = ask_message(control_path, &m, e);
	if (fd < 0)
		return fd;
	close(fd); /* what was sent is read all the same */
	return 0;
}

int agent_exec_ask(const char *control_path, const struct agent_exec *x, struct msb_err *e)
{
	struct msb_msg m;
	int r = exec_message(x, &m, e);

	return r < 0 ? r : ask_message(control_path, &m, e);
}

int agent_stats_ask(const char *control_path, struct msb_err *e)
{
	return ask(control_path, "stats", e);
}

int agent_stats_answer(int fd, struct wire_stats *ret, struct msb_err *e)
{
	struct msb_msg m;
	int r = msb_msg_answer(fd, &m, e);

	if (r < 0)
		return r;
	*ret = (struct wire_stats){0};
	for (int i = 0; i < WIRE_NSTATS; i++)
		if (msb_msg_get_u64(&m, wire_stat_name((enum wire_stat)i), &ret->v[i]) == 0)
			ret->have |= 1u << i;
	return 0;
}

int agent_watch(const char *control_path, struct msb_err *e)
{
	return ask(control_path, "watch", e);
}

int agent_set_clock(const char *control_path, int cancel_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "clock");
	msb_msg_set(&m, "clock_usec", "%llu", (unsigned long long)clock_usec());
	return call_guest(control_path, &m, cancel_fd, e);
}

int agent_drop_caches(const char *control_path, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "drop_caches");
	return call_once(control_path, &m, GUEST_CALL_MS, e);
}

int agent_cpus(const char *control_path, uint32_t n, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "cpus");
	msb_msg_set(&m, "n", "%u", n);
	return call_once(control_path, &m, GUEST_CALL_MS, e);
}
