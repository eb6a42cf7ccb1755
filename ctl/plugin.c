// SPDX-License-Identifier: Apache-2.0
// The programs of plugin mounts, a thread each.
#include "ctl/plugin.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/spawn.h"
#include "ctl/owner.h"
#include "ctl/plugin_log.h"
#include "ctl/report.h"
#include "ctl/thread.h"
#include "fs/fsd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

struct ctl_plugin {
	struct ctl_plugin *next; /* of sb->plugins; ctl.lock */
	struct ctl_sandbox *sb;	 /* a reference */
	struct ctl_share share;	 /* name, source and path alone */
	int stop_fd;		 /* eventfd: readable once it is to end */
	/* The thread's own from here. */
	struct ctl_helper h;
	struct ctl_plugin_log log;
	int sock; /* as the file server has it: hangs up when either end lets go */
	uint64_t started_ms;
	unsigned int ends; /* in a row */
};

static struct ctl_plugin *plugin_free(struct ctl_plugin *p)
{
	if (!p)
		return NULL;
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	ctl_plugin_log_close(&p->log);
	if (p->sock >= 0)
		close(p->sock);
	free(p->share.source);
	free(p->share.path);
	ctl_sandbox_unref(p->sb);
	free(p);
	return NULL;
}

static struct ctl_plugin *plugin_new(struct ctl_sandbox *sb, const struct ctl_share *s)
{
	struct ctl_plugin *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->h.pidfd = p->sock = -1;
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->log = (struct ctl_plugin_log)CTL_PLUGIN_LOG_INIT;
	memcpy(p->share.name, s->name, sizeof(p->share.name));
	p->share.source = strdup(s->source);
	p->share.path = strdup(s->path);
	pthread_mutex_lock(&sb->c->lock);
	p->sb = ctl_sandbox_ref(sb);
	pthread_mutex_unlock(&sb->c->lock);
	return p->stop_fd >= 0 && p->share.source && p->share.path ? p : plugin_free(p);
}

static void note_name(const struct ctl_plugin *p, char ret[32])
{
	(void)snprintf(ret, 32, "plugin-%s", p->share.name);
}

/* Starts the process; its socket is @ret_sock, the caller's. */
static int run(struct ctl_plugin *p, int *ret_sock, struct msb_err *e)
{
	struct ctl_sandbox *sb = p->sb;
	_cleanup_free_ char *mount = NULL, *name = NULL;
	char *argv[] = {p->share.source, NULL}, *envp[8] = {NULL};
	struct msb_user user;
	struct msb_spawn_as s = {.path = p->share.source,
		.argv = argv,
		.envp = envp,
		.user = &user,
		.max_files = CTL_MAX_PLUGIN_FILES,
		.max_data_bytes = CTL_MAX_PLUGIN_BYTES};
	int sv[2], pidfd = -1, out = -1, r;
	char file[32];
	struct ctl_helper_note note = {sb->c, sb->id, file};
	pid_t pid;

	if (asprintf(&mount, "MSB_MOUNT=%s", p->share.path) < 0 ||
		asprintf(&name, "MSB_SANDBOX=%s", sb->name) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	envp[0] = "PATH=/usr/local/bin:/usr/bin:/bin";
	envp[1] = "LANG=C.UTF-8";
	envp[2] = mount;
	envp[3] = name;
	r = ctl_owner(sb, &user, e);
	if (r < 0)
		return r;
	if (ctl_plugin_log_open(&p->log, &out) < 0)
		return msb_err_set(e, errno, "pipe: %m");
	s.out_fd = out;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
		close(out);
		return msb_err_set(e, errno, "socketpair: %m");
	}
	s.sock_fd = sv[1];
	note_name(p, file);
	ctl_helper_noted(&note);
	pid = msb_spawn_as(&s, &pidfd, e);
	close(sv[1]);
	close(out);
	p->sock = pid < 0 ? -1 : fcntl(sv[0], F_DUPFD_CLOEXEC, 0);
	if (pid < 0) {
		close(sv[0]);
		return pid;
	}
	p->h = ctl_helper_new(pid, pidfd);
	p->started_ms = msb_now_ms();
	*ret_sock = sv[0];
	return 0;
}

/* Ends the process and all that it started, and says how it had ended. */
static void end(struct ctl_plugin *p, int grace_ms, char how[64])
{
	pid_t group = p->h.pid;
	char path[80], note[32];

	if (p->sock >= 0)
		close(p->sock);
	p->sock = -1;
	if (p->h.pidfd < 0)
		return;
	if (grace_ms)
		(void)msb_wait_fd(
			p->h.pidfd, POLLIN, grace_ms); /* it has seen the end of its socket */
	(void)kill(-group, SIGKILL);		       /* not reaped: the number is its own still */
	ctl_exit_text(ctl_helper_end(&p->h, 0), how, 64);
	ctl_plugin_log_drain(&p->log, p->sb->name, p->share.path);
	note_name(p, note);
	(void)snprintf(path, sizeof(path), "sb/%s/%s.pid", p->sb->id, note);
	(void)unlinkat(p->sb->c->run_fd, path, 0); /* a stale one means nothing */
}

enum why { STOPPED, ENDED, SILENT };

/* Waits until there is something to be done, and logs meanwhile. */
static enum why watch(struct ctl_plugin *p, int timeout_ms)
{
	uint64_t until = msb_now_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);

	for (;;) {
		struct pollfd pf[] = {{p->stop_fd, POLLIN, 0}, {p->h.pidfd, POLLIN, 0},
			{p->sock, 0, 0}, {ctl_plugin_log_fd(&p->log), POLLIN, 0}};
		uint64_t now = msb_now_ms();

		if (poll(pf, ARRAY_LEN(pf),
			    timeout_ms < 0 ? -1
			    : now >= until ? 0
					   : (int)(until - now)) < 0 &&
			errno != EINTR)
			return STOPPED; /* out of memory: there is no way to go on */
		if (pf[0].revents)
			return STOPPED;
		if (pf[3].revents)
			(void)ctl_plugin_log_read(&p->log, p->sb->name, p->share.path);
		if (pf[1].revents)
			return ENDED;
		if (pf[2].revents) /* its own end shows there first: give it a moment to be one */
			return msb_wait_fd(p->h.pidfd, POLLIN, CTL_END_TIMEOUT_MS) == 0 ? ENDED
											: SILENT;
		if (timeout_ms >= 0 && msb_now_ms() >= until)
			return ENDED;
	}
}

__attribute__((format(printf, 3, 4))) static void tell(
	struct ctl_plugin *p, const char *kind, const char *fmt, ...)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char why[MSB_ERR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap); /* cut on purpose */
	va_end(ap);
	msb_str_adds(&s, ",\"path\":");
	msb_str_add_json(&s, p->share.path, strlen(p->share.path));
	if (*why) {
		msb_str_adds(&s, ",\"reason\":");
		msb_str_add_json(&s, why, strlen(why));
	}
	log_info("%s: %s: %s %s", p->sb->name, p->share.path, kind, why);
	LOCK_SCOPE(&p->sb->c->lock);
	if (!p->sb->gone)
		ctl_event(p->sb->c, p->sb, kind, "%s", s.buf ?: "");
}

/* Starts it again and gives the file server the new socket. */
static int again(struct ctl_plugin *p, struct msb_err *e)
{
	struct ctl_files_of of = {.c = p->sb->c,
		.f = &p->sb->files,
		.id = p->sb->id,
		.name = p->sb->name,
		.sb = p->sb};
	_cleanup_close_ int sock = -1;
	int r = run(p, &sock, e);

	if (r < 0)
		return r;
	LOCK_SCOPE(&of.f->lock);
	if (msb_wait_fd(p->stop_fd, POLLIN, 0) == 0)
		return 0; /* its mount went meanwhile */
	return of.f->sock < 0
		       ? msb_err_set(e, ENOTCONN, "the file server is gone")
		       : ctl_files_answer(&of, fsd_plugin(of.f->sock, p->share.name, sock, e));
}

/* Brings a process that has ended, or is to, back. False: the mount is to go. */
static bool revive(struct ctl_plugin *p, const char *why)
{
	struct msb_err e = {0};
	char how[64];

	msb_err_set(&e, EIO, "%s", why);
	for (;;) {
		if (p->started_ms && msb_now_ms() - p->started_ms >= CTL_PLUGIN_GOOD_MS)
			p->ends = 0;
		p->started_ms = 0;
		if (++p->ends > CTL_MAX_PLUGIN_ENDS) {
			tell(p, "plugin_failed", "%s; it is not started any more: mount it anew",
				e.msg);
			return false;
		}
		tell(p, "plugin_failed", "%s", e.msg);
		/* Nothing runs: only being stopped ends this before its time. */
		if (watch(p, CTL_PLUGIN_WAIT_MS << (p->ends - 1)) == STOPPED)
			return false;
		e = (struct msb_err){0};
		if (again(p, &e) == 0) {
			tell(p, "plugin_restarted", "%s", "");
			return true;
		}
		end(p, 0, how);
	}
}

static void *plugin_thread(void *arg)
{
	struct ctl_plugin *p = arg;
	enum why why = ENDED;
	char how[64] = "";

	/* Without a process: a new msbd, which starts those that it finds in a table. */
	if (p->h.pidfd < 0 && !revive(p, "msbd was started anew"))
		why = STOPPED;
	while (why != STOPPED) {
		why = watch(p, -1);
		if (why == STOPPED)
			break;
		end(p, 0, how);
		if (!revive(p, why == ENDED ? how
					    : "it did not answer in time, or broke the protocol"))
			break;
	}
	/* Given up, it waits for its mount to go. */
	(void)msb_wait_fd(p->stop_fd, POLLIN, -1);
	end(p, CTL_END_TIMEOUT_MS, how);
	plugin_free(p);
	return NULL;
}

/* Takes @p over. */
static int look_after(struct ctl_plugin *p, struct msb_err *e)
{
	struct ctl_sandbox *sb = p->sb;
	int r;
	char how[64];

	pthread_mutex_lock(&sb->c->lock);
	p->next = sb->plugins;
	sb->plugins = p;
	r = ctl_thread(plugin_thread, p);
	if (r < 0)
		sb->plugins = p->next;
	pthread_mutex_unlock(&sb->c->lock);
	if (r == 0)
		return 0;
	end(p, 0, how);
	plugin_free(p);
	return msb_err_set(e, EAGAIN, "too many threads; try again");
}

int ctl_plugin_start(
	struct ctl_sandbox *sb, const struct ctl_share *s, int *ret_sock, struct msb_err *e)
{
	struct ctl_plugin *p;
	int r, sock = -1;

	ctl_plugin_stop(sb, s->name);
	p = plugin_new(sb, s);
	if (!p)
		return msb_err_set(e, ENOMEM, "no memory");
	r = run(p, &sock, e);
	if (r < 0) {
		plugin_free(p);
		return r;
	}
	r = look_after(p, e);
	if (r < 0)
		close(sock);
	else
		*ret_sock = sock;
	return r;
}

int ctl_plugin_resume(struct ctl_sandbox *sb, const struct ctl_share *s, struct msb_err *e)
{
	struct ctl_plugin *p = plugin_new(sb, s);

	return p ? look_after(p, e) : msb_err_set(e, ENOMEM, "no memory");
}

static void stop(struct ctl_sandbox *sb, const char *name)
{
	LOCK_SCOPE(&sb->c->lock);
	for (struct ctl_plugin **at = &sb->plugins; *at;) {
		struct ctl_plugin *p = *at;

		if (name && strcmp(p->share.name, name) != 0) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		(void)eventfd_write(p->stop_fd, 1); /* the thread's from here: it may be freed */
	}
}

void ctl_plugin_stop(struct ctl_sandbox *sb, const char *name)
{
	stop(sb, name);
}

void ctl_plugins_stop(struct ctl_sandbox *sb)
{
	stop(sb, NULL);
}

void ctl_plugins_end_stale(struct ctl *c, const char *id)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;
	char path[48];
	int fd;

	(void)snprintf(path, sizeof(path), "sb/%s", id);
	fd = openat(c->run_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	while (d && (de = readdir(d))) {
		char name[64], *dot;
		struct ctl_helper h;

		(void)snprintf(name, sizeof(name), "%.63s", de->d_name);
		dot = strrchr(name, '.');
		if (strncmp(name, "plugin-", 7) != 0 || !dot || strcmp(dot, ".pid") != 0)
			continue;
		*dot = '\0';
		if (ctl_helper_load(c, id, name, &h) == 0) {
			(void)kill(-h.pid, SIGKILL); /* its session; it is looked at just now */
			(void)ctl_helper_end(&h, 0); /* not our child: nothing to learn */
		}
		(void)unlinkat(dirfd(d), de->d_name, 0); /* a stale one means nothing */
	}
}
