// SPDX-License-Identifier: Apache-2.0
// msb-fsd: the file server of one sandbox. Started by fsd_spawn(); see fs/fsd.h.
#include "base/jail.h"
#include "base/log.h"
#include "fs/fsd_server.h"
#include "fs/guard.h"
#include "fs/reopen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define CONTROL_FD 3
#define CAP(n)	   (1ULL << (n))

/* Files of every owner, given to any owner: what serving a tree as root takes. */
#define KEEP_CAPS                                                                                  \
	(CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) |     \
		CAP(CAP_FSETID))

/* Without this one in effect the kernel takes the host's set-id bits from what a guest writes. */
#define IDLE_CAPS CAP(CAP_FSETID)

static const char *const syscalls[] = {
	/* files by name, always below a directory in hand */
	"openat", "openat2", "statx", "newfstatat", "readlinkat", "linkat", "symlinkat", "unlinkat",
	"renameat", "renameat2", "mkdirat", "mknodat", "fchmodat", "fchmodat2", "fchownat",
	"utimensat",
	/* open files */
	"close", "fstat", "fstatfs", "lseek", "read", "readv", "pread64", "preadv", "preadv2",
	"write", "writev", "pwrite64", "pwritev", "pwritev2", "getdents64", "fsync", "fdatasync",
	"syncfs", "ftruncate", "fallocate", "fchmod", "fchown", "flock", "fcntl", "dup",
	"copy_file_range", "getxattrat", "fgetxattr", "fsetxattr", "flistxattr", "fremovexattr",
	"fadvise64",
	/* sockets and waiting */
	"accept", "accept4", "recvmsg", "sendmsg", "sendto", "shutdown", "poll", "ppoll",
	"eventfd2", "pipe2", "clock_gettime", "clock_nanosleep", "nanosleep", "restart_syscall",
	/* memory and threads */
	"mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "clone", "clone3", "futex",
	"set_robust_list", "rseq", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn",
	"sched_getaffinity", "sched_yield", "getrandom", "memfd_create", "prlimit64", "exit",
	"exit_group",
	/* who we are; abort() */
	"getpid", "gettid", "tgkill", "getuid", "geteuid", "getgid", "getegid", "capget", "capset",
	NULL};

int main(int argc, char **argv)
{
	static struct msb_user user;
	struct msb_jail jail = {.flags = MSB_JAIL_NET | MSB_JAIL_ROOT | MSB_JAIL_IPC,
		.keep_caps = KEEP_CAPS,
		.idle_caps = IDLE_CAPS,
		.syscalls = syscalls};
	struct rlimit files;
	struct msb_err e = {0};
	static struct fsd d;
	int r;

	if (argc < 2 || argc > 3 || (argc == 3 && msb_user_parse(argv[2], &user) < 0)) {
		(void)fprintf(stderr, "msb-fsd is started by msbd\n");
		return 2;
	}
	if (argc == 3) {
		jail.user = &user;
		jail.keep_caps = jail.idle_caps = 0; /* it serves what is its own */
	}
	msb_log_init("msb-fsd", argv[1], -1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)guard_init(); /* cannot fail for a signal that exists */
	umask(0);	    /* requests bring their own */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* fewer open files, then */
	}
	r = fs_reopen_init();
	if (r < 0)
		(void)msb_err_set(&e, -r, "/proc/self/fd: %s", strerror(-r));
	else
		r = msb_jail_enter(&jail, &e);
	if (r < 0) {
		log_err("%s", e.msg);
		return 1;
	}
	r = fsd_control(&d, CONTROL_FD);
	fsd_done(&d);
	if (r < 0)
		log_err("control socket: %s", strerror(-r));
	return r < 0;
}
