// SPDX-License-Identifier: Apache-2.0
// Processes of ours that outlive msbd.
#include "ctl/helper.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/str.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

/* Field 22 of /proc/PID/stat; 0 where there is no such process. The name in field 2 may hold spaces
 * and parentheses. */
static uint64_t start_ticks(pid_t pid)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[32], *p;
	uint64_t v = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (msb_read_file(AT_FDCWD, path, 4096, &s) < 0 || !(p = strrchr(s.buf, ')')))
		return 0;
	for (int i = 2; p && i < 22; i++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, " %" SCNu64, &v) == 1 ? v : 0;
}

struct ctl_helper ctl_helper_new(pid_t pid, int pidfd)
{
	return (struct ctl_helper){pid, pidfd, start_ticks(pid)};
}

static int save(void *arg, pid_t pid)
{
	const struct ctl_helper_note *h = arg;
	char path[80], text[64];
	int n = snprintf(text, sizeof(text), "%d %" PRIu64 "\n", (int)pid, start_ticks(pid));

	(void)snprintf(path, sizeof(path), "sb/%s/%s.pid", h->id, h->name);
	return msb_write_file_atomic(h->c->run_fd, path, text, (size_t)n, 0600);
}

void ctl_helper_noted(struct ctl_helper_note *note)
{
	msb_spawn_noted(save, note);
}

int ctl_helper_load(const struct ctl *c, const char *id, const char *name, struct ctl_helper *ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_close_ int fd = -1;
	char path[80];
	uint64_t ticks;
	int pid;

	(void)snprintf(path, sizeof(path), "sb/%s/%s.pid", id, name);
	if (msb_read_file(c->run_fd, path, 4096, &s) < 0 || !s.buf ||
		sscanf(s.buf, "%d %" SCNu64, &pid, &ticks) != 2 || pid <= 0 || ticks == 0)
		return -ESRCH;
	fd = pidfd_open(pid, 0);
	/* Looked at after the descriptor is there: it cannot be exchanged any more. */
	if (fd < 0 || start_ticks(pid) != ticks || msb_wait_fd(fd, POLLIN, 0) == 0)
		return -ESRCH;
	*ret = (struct ctl_helper){pid, steal_fd(&fd), ticks};
	return 0;
}

struct ctl_exit ctl_helper_end(struct ctl_helper *h, int grace_ms)
{
	struct ctl_exit x = {0};
	siginfo_t si = {0};

	if (h->pidfd < 0)
		return x;
	if (msb_wait_fd(h->pidfd, POLLIN, 0) < 0) {
		if (grace_ms)
			(void)pidfd_send_signal(h->pidfd, SIGTERM, NULL, 0); /* gone is fine */
		if (!grace_ms || msb_wait_fd(h->pidfd, POLLIN, grace_ms) < 0)
			(void)pidfd_send_signal(h->pidfd, SIGKILL, NULL, 0);
		/* SIGKILL cannot be refused, but it can come late: see msb_spawn_kill(). */
		if (msb_wait_fd(h->pidfd, POLLIN, MSB_KILL_MS) < 0)
			log_err("process %d was killed, and does not end: a file system that it "
				"uses does not answer",
				(int)h->pid);
	}
	/* Not our child where an earlier msbd started it: then init reaps it. */
	if (waitid(P_PIDFD, (id_t)h->pidfd, &si, WEXITED | WNOHANG) == 0 && si.si_pid)
		x = (struct ctl_exit){si.si_code, si.si_status};
	close(h->pidfd);
	*h = (struct ctl_helper){.pidfd = -1};
	return x;
}

void ctl_exit_text(struct ctl_exit x, char *buf, size_t cap)
{
	if (x.code == CLD_EXITED)
		(void)snprintf(buf, cap, "exit status %d", x.status);
	else if (x.code == CLD_KILLED || x.code == CLD_DUMPED)
		(void)snprintf(
			buf, cap, "signal %d (%s)", x.status, sigdescr_np(x.status) ?: "unknown");
	else
		(void)snprintf(buf, cap, "ended");
}
