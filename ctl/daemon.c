// SPDX-License-Identifier: Apache-2.0
// msbd's life as a process.
#include "ctl/daemon.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/notify.h"
#include "ctl/model.h"
#include "ctl/policy.h"
#include "ctl/recover.h"
#include "ctl/serve.h"
#include "ctl/supervise.h"
#include "ctl/thread.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { LOCK_TRIES = 50, LOCK_WAIT_USEC = 20 * 1000 };

static int open_lock(const struct msb_paths *p, int flags)
{
	char path[MSB_PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s/lock", p->run);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

pid_t ctl_daemon_holder(const struct msb_paths *p)
{
	_cleanup_close_ int fd = open_lock(p, O_RDWR);
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fd >= 0 && fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK ? fl.l_pid : 0;
}

int ctl_daemon_lock(const struct msb_paths *p, struct msb_err *e)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd, r = msb_mkdir_p(p->run, 0711);

	if (r < 0)
		return msb_err_set(e, -r, "cannot make %s: %s", p->run, strerror(-r));
	fd = open_lock(p, O_RDWR | O_CREAT);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot open %s/lock: %m", p->run);
	/* one that was killed a moment ago holds its lock until the kernel has taken it down */
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (i > 0)
			(void)usleep(LOCK_WAIT_USEC);
		if (fcntl(fd, F_SETLK, &fl) == 0)
			return 0; /* fd stays open: the lock is the process's */
	}
	close(fd);
	return msb_err_set(e, EBUSY,
		"another msbd serves %s (pid %d); `msbd --stop` ends it, MSB_MNT and MSB_STATE make a "
		"second instance",
		p->mnt, (int)ctl_daemon_holder(p));
}

int ctl_daemon_stop(const struct msb_paths *p, bool all, struct msb_err *e)
{
	_cleanup_close_ int fd = open_lock(p, O_RDWR);
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	pid_t pid = ctl_daemon_holder(p);

	if (fd < 0 || !pid)
		return 0;
	if (kill(pid, all ? SIGUSR1 : SIGTERM) < 0 && errno != ESRCH)
		return msb_err_set(e, errno, "cannot end msbd (pid %d): %m", (int)pid);
	while (fcntl(fd, F_SETLKW, &fl) < 0)
		if (errno != EINTR)
			return msb_err_set(e, errno, "cannot wait for msbd (pid %d): %m", (int)pid);
	return 0;
}

/* ---- the log on stderr too */

struct mirror {
	int fd, inotify_fd;
};

/* The `<N>` of sd-daemon(3) for a line of ours. */
static const char *priority(const char *line)
{
	if (!msb_log_is_journal(STDERR_FILENO))
		return "";
	return strstr(line, "\"level\":\"err\"")    ? "<3>"
	       : strstr(line, "\"level\":\"warn\"") ? "<4>"
						    : "<6>";
}

static void *mirror(void *arg)
{
	struct mirror *m = arg;
	FILE *f = fdopen(m->fd, "r");
	char events[4096], line[4096]; /* a longer one comes in pieces */
	bool fresh = true;
	struct stat st;

	while (f) {
		while (fgets(line, sizeof(line), f)) {
			(void)!fprintf(stderr, "%s%s", fresh ? priority(line) : "", line);
			fresh = strchr(line, '\n');
		}
		clearerr(f);
		if (read(m->inotify_fd, events, sizeof(events)) < 0 && errno != EINTR)
			break;
		if (fstat(fileno(f), &st) == 0 && st.st_size < ftello(f)) {
			rewind(f); /* it was rotated */
			fresh = true;
		}
	}
	return NULL;
}

/* What every process of ours logs goes to the file; where somebody watches stderr, that follows it.
 */
static void mirror_start(const char *path)
{
	struct mirror *m = malloc(sizeof(*m)); /* lives as long as msbd */

	if (!m)
		return;
	m->fd = open(path, O_RDONLY | O_CLOEXEC);
	m->inotify_fd = inotify_init1(IN_CLOEXEC);
	if (m->fd < 0 || m->inotify_fd < 0 || lseek(m->fd, 0, SEEK_END) < 0 ||
		inotify_add_watch(m->inotify_fd, path, IN_MODIFY) < 0 || ctl_thread(mirror, m) < 0)
		log_warn("the log does not go to stderr: %m, ignoring");
}

static int open_log(const struct msb_paths *p, bool foreground, int *ret_fd, struct msb_err *e)
{
	char path[MSB_PATH_MAX + 16];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/msb.log", p->run);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot open %s: %m", path);
	msb_log_init("msbd", NULL, fd);
	if (foreground)
		mirror_start(path);
	*ret_fd = fd;
	return 0;
}

void ctl_daemon_status(struct ctl *c, bool ready)
{
	static unsigned int told; /* ctl.lock */
	static bool is_ready;	  /* ctl.lock */
	unsigned int n = 0;

	LOCK_SCOPE(&c->lock);
	for (size_t i = 0; i < c->nsb; i++)
		n += !ctl_state_ended(c->sb[i]->state);
	is_ready |= ready;
	if (is_ready && (ready || n != told))
		msb_notify(ready ? "READY=1" : NULL, "serves %s; %u machine%s", c->paths.mnt, n,
			n == 1 ? "" : "s");
	told = n;
}

static void block_signals(void)
{
	struct rlimit nofile;
	sigset_t set;

	/* The supervisor reads them from a descriptor; every thread inherits the mask. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	/* A waiting request, a helper, an open log: a descriptor each. */
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		nofile.rlim_cur = nofile.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &nofile); /* the old one does for small loads */
	}
	umask(022);
}

static int make_mountpoint(struct ctl *c, struct msb_err *e)
{
	int r = ctl_recover_mount(c, e);

	if (r < 0)
		return r;
	r = msb_mkdir_p(c->paths.mnt, 0755);
	return r < 0 ? msb_err_set(e, -r, "cannot make %s: %s", c->paths.mnt, strerror(-r)) : 0;
}

/* Everything up to the moment in which requests can be answered. */
static int prepare(const struct msb_paths *p, bool foreground, int *ret_exit_fd, struct ctl **ret,
	struct fuse_session **ret_se, struct msb_err *e)
{
	int r, log_fd = -1;
	struct ctl *c;

	r = ctl_daemon_lock(p, e);
	if (r == 0)
		r = open_log(p, foreground, &log_fd, e);
	if (r < 0)
		return r;
	r = ctl_open(p, log_fd, &c, e);
	if (r < 0)
		return r;
	*ret = c;
	*ret_exit_fd = eventfd(0, EFD_CLOEXEC);
	if (*ret_exit_fd < 0)
		return msb_err_set(e, errno, "eventfd: %m");
	r = ctl_supervise_start(c, *ret_exit_fd, e);
	if (r < 0)
		return r;
	msb_notify(NULL, "looks for the machines of an earlier msbd");
	r = ctl_recover(c, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	ctl_policy_recovered(c);
	pthread_mutex_unlock(&c->lock);
	r = make_mountpoint(c, e);
	return r == 0 ? ctl_serve_mount(c, ret_se, e) : r;
}

int ctl_daemon_run(const struct msb_paths *p, bool foreground, int ready_fd, struct msb_err *e)
{
	struct fuse_session *se = NULL;
	struct ctl *c = NULL;
	int r, exit_fd = -1;

	block_signals();
	(void)msb_notify_init(); /* without a manager nobody is told */
	r = prepare(p, foreground, &exit_fd, &c, &se, e);
	if (r < 0) {
		msb_notify(NULL, "%s", e->msg);
		return r;
	}
	log_info("msb " MSB_VERSION " serves %s; state in %s", p->mnt, p->state);
	if (ready_fd >= 0) {
		(void)!write(ready_fd, "ok", 2); /* whoever waited may be gone */
		close(ready_fd);
	}
	ctl_daemon_status(c, true);
	r = ctl_serve_loop(se, exit_fd);
	msb_notify("STOPPING=1", "ends; machines that run go on");
	fuse_session_unmount(se);
	if (c->vmm)
		vmm_close(c->vmm);
	pthread_mutex_lock(&c->fold_lock);
	pthread_mutex_lock(&c->lock);
	ctl_db_checkpoint(c->db);
	c->db = ctl_db_close(c->db);
	log_info("msbd ends");
	/* Threads of requests that nobody waits for any more stand at the lock, or wait: they end
	 * with the process, and nothing of theirs is freed under them. */
	_exit(r < 0 ? 1 : 0);
}
