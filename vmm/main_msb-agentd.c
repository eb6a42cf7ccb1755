// SPDX-License-Identifier: Apache-2.0
// msb-agentd: speaks to one guest; keeps its console and log. fd 3: control socket, fd 4:
// directory.
#include "vmm/agentd.h"
#include "base/jail.h"
#include "base/log.h"

#include <stdio.h>
#include <sys/resource.h>

enum { LISTEN_FD = 3, DIR_FD = 4 };

/* No path, no network, no new process: sockets that it is handed, and files below fd 4. */
static const char *const allowed[] = {"accept4", "brk", "clock_gettime", "close", "epoll_create1",
	"epoll_ctl", "epoll_pwait", "epoll_wait", "exit", "exit_group", "fcntl", "fstat",
	"ftruncate", "futex", "getpid", "getrandom", "gettid", "lseek", "madvise", "mmap",
	"mprotect", "mremap", "munmap", "newfstatat", "openat", "read", "recvmsg", "renameat",
	"renameat2", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sendmsg",
	"tgkill", "write", NULL};

int main(int argc, char **argv)
{
	static struct msb_user user;
	const struct msb_jail_dir dir = {DIR_FD, true};
	struct msb_jail jail = {.flags = MSB_JAIL_NET | MSB_JAIL_ROOT | MSB_JAIL_IPC,
		.syscalls = allowed,
		.dirs = &dir,
		.ndirs = 1};
	struct rlimit nofile;
	struct msb_err e = {0};

	msb_log_init("msb-agentd", argc > 1 ? argv[1] : NULL, -1);
	if (argc < 2 || argc > 3 || (argc == 3 && msb_user_parse(argv[2], &user) < 0)) {
		fprintf(stderr,
			"usage: msb-agentd SANDBOX [USER] (started by msbd, with its sockets)\n");
		return 2;
	}
	if (argc == 3)
		jail.user = &user;
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		nofile.rlim_cur = nofile.rlim_max; /* a descriptor for each job's client */
		(void)setrlimit(RLIMIT_NOFILE, &nofile);
	}
	if (msb_jail_enter(&jail, &e) < 0 || agentd_run(LISTEN_FD, DIR_FD, &e) < 0)
		log_err("%s", e.msg);
	return 1;
}
