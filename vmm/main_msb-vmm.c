// SPDX-License-Identifier: Apache-2.0
// msb-vmm: the worker that holds libvirt. `msb-vmm RUN SHARE`, fd 3 = the socket to msbd.
/*
 * Two processes. The parent is a child subreaper: QEMUs, which libvirt makes orphans of, become its
 * children, and it reaps them at once. libvirt finds out that a QEMU is gone by polling for its
 * pid, and where PID 1 of the host is slow to reap that costs seconds. The child holds libvirt and
 * fd 3.
 */
#include "base/io.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/str.h"
#include "vmm/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCK_FD 3

/* libvirt asks each new QEMU what it can do, in a QEMU without machine; one that nobody reads the
 * answer of stays for ever. Machines, which do go on, have a name. */
static void kill_unnamed(pid_t pid)
{
	_cleanup_str_ struct msb_str cmdline = MSB_STR_INIT;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (msb_read_file(AT_FDCWD, path, 1 << 20, &cmdline) == 0 && cmdline.len &&
		!memmem(cmdline.buf, cmdline.len, "guest=", 6))
		(void)kill(pid, SIGKILL); /* our child, and not reaped: it is still this pid */
}

static void kill_probes(void)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT;
	char path[64], *save = NULL;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	if (msb_read_file(AT_FDCWD, path, 1 << 20, &list) < 0 || !list.buf)
		return;
	for (char *p = strtok_r(list.buf, " ", &save); p; p = strtok_r(NULL, " ", &save))
		kill_unnamed((pid_t)strtol(p, NULL, 10)); /* the kernel's own digits */
}

/* Reaps everything until @worker itself ends. */
static int reap(pid_t worker)
{
	static const struct msb_jail jail = {.keep_caps = 1u << CAP_KILL};
	struct msb_err e = {0};

	if (msb_jail_enter(&jail, &e) < 0)
		log_warn("%s, ignoring", e.msg); /* it serves nobody and reads nothing but /proc */
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno != EINTR)
			return 1;
		if (pid == worker) {
			kill_probes();
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		}
	}
}

int main(int argc, char **argv)
{
	pid_t parent = getpid(), pid;

	msb_log_init("msb-vmm", NULL, -1);
	if (argc != 3 || argv[1][0] != '/') {
		fprintf(stderr, "msb-vmm is started by msbd\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		log_warn("no child subreaper (%m); stopping machines may be slow");
	pid = fork();
	if (pid < 0) {
		log_err("fork: %m");
		return 1;
	}
	if (pid > 0) {
		(void)close(SOCK_FD); /* the worker's alone, so that its end is seen */
		return reap(pid);
	}
	/* One without the other is a worker that nobody notices: they live and die together. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		return 1;
	worker_run(SOCK_FD, argv[1], argv[2]);
}
