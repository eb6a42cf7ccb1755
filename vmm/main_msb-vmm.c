// SPDX-License-Identifier: Apache-2.0
// msb-vmm: the worker that holds libvirt. `msb-vmm RUN SHARE`, fd 3 = the socket to msbd.
/*
 * Two processes. The parent is a child subreaper: QEMUs, which libvirt makes orphans of, become its
 * children, and it reaps them at once. libvirt finds out that a QEMU is gone by polling for its
 * pid, and where PID 1 of the host is slow to reap that costs seconds. The child holds libvirt and
 * fd 3.
 */
#include "base/log.h"
#include "vmm/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCK_FD 3

/* Reaps everything until @worker itself ends. */
static int reap(pid_t worker)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno != EINTR)
			return 1;
		if (pid == worker)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
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
