// SPDX-License-Identifier: Apache-2.0
// msb-dir: opens and walks a directory of the host for a sandbox's root, as the user who asks.
#include "fs/image/dir.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/msg.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { SOCK_FD = 3 };

static struct msb_msg msg;

/* Before the path is looked at. */
static int become(uint64_t uid, uint64_t gid, struct msb_err *e)
{
	if (geteuid() != 0 || uid == 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0 ||
		setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)
		return msb_err_set(e, errno, "cannot become user %u: %m", (unsigned int)uid);
	return 0;
}

/* No namespaces for an ordinary user: in one of users every other owner would look like nobody. */
static int narrow(int dir, struct msb_err *e)
{
	static const char *const syscalls[] = {"brk", "clock_gettime", "close", "exit",
		"exit_group", "faccessat", "faccessat2", "fchdir", "fcntl", "fdatasync", "fstat",
		"fsync", "futex", "getdents64", "getegid", "geteuid", "getpid", "getrandom",
		"gettid", "lgetxattr", "llistxattr", "lseek", "madvise", "mmap", "mprotect",
		"mremap", "munmap", "newfstatat", "openat", "prlimit64", "read", "readlinkat",
		"recvmsg", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
		"sendmsg", "statx", "sysinfo", "write", "writev", NULL};
	const struct rlimit memory = {IMG_MAX_MEMORY, IMG_MAX_MEMORY};
	const struct msb_jail_dir dirs[] = {{dir, false}};
	struct msb_jail jail = {
		.keep_caps = UINT64_C(1) << CAP_DAC_READ_SEARCH,
		.syscalls = syscalls,
		.dirs = dirs,
		.ndirs = 1,
	};
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* one a level */
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* then it ends at fewer levels */
	}
	if (geteuid() == 0)
		jail.flags = MSB_JAIL_NET | MSB_JAIL_IPC;
	if (setrlimit(RLIMIT_AS, &memory) < 0)
		return msb_err_set(e, errno, "cannot limit memory: %m");
	return msb_jail_enter(&jail, e);
}

static int walk(int dir, uint64_t max_inodes, uint64_t *ret, struct msb_err *e)
{
	/* An ordinary user's files are root's: without that no program of the tree would find its
	 * own as it expects them. */
	const struct img_dir_opts o = {.root_uid = geteuid() ? geteuid() : (uid_t)-1,
		.root_gid = geteuid() ? getegid() : (gid_t)-1,
		.max_inodes = max_inodes};
	int index_fd = msb_msg_take_fd(&msg, 0), files_fd = msb_msg_take_fd(&msg, 1);
	_cleanup_fclose_ FILE *index = fdopen(index_fd, "w"), *files = fdopen(files_fd, "w");
	int r;

	if (!index || !files)
		return msb_err_set(e, errno, "no file to write to: %m");
	r = img_dir_walk(dir, &o, index, files, ret, e);
	if (r == 0 && (fdatasync(index_fd) < 0 || fdatasync(files_fd) < 0))
		r = msb_err_set(e, errno, "cannot write the tree: %m");
	return r;
}

static int serve(struct msb_err *e)
{
	uint64_t uid, gid, max = IMG_MAX_INODES, inodes = 0;
	int dir, r = msb_msg_recv(SOCK_FD, &msg);
	const char *path;

	if (r < 0)
		return r;
	path = msb_msg_get(&msg, "path");
	if (strcmp(msb_msg_verb(&msg), "dir") != 0 || !path || *path != '/' ||
		msb_msg_get_u64(&msg, "uid", &uid) < 0 || msb_msg_get_u64(&msg, "gid", &gid) < 0)
		return msb_err_set(e, EINVAL, "not a request");
	(void)msb_msg_get_u64(&msg, "max_inodes", &max); /* stays */
	r = become(uid, gid, e);
	if (r < 0)
		return r;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return msb_err_set(e, errno, "%s: %m", path);
	if (msg.nfds == 2) {
		r = narrow(dir, e);
		if (r == 0)
			r = walk(dir, max < IMG_MAX_INODES ? max : IMG_MAX_INODES, &inodes, e);
	}
	if (r < 0)
		return r;
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "inodes", "%llu", (unsigned long long)inodes);
	msb_msg_add_fd(&msg, dir);
	return msb_msg_send(SOCK_FD, &msg);
}

int main(int argc, char **argv)
{
	struct msb_err e = {0};
	int r;

	if (argc != 1 || fcntl(SOCK_FD, F_GETFD) < 0) {
		(void)fprintf(stderr, "msb-dir is started by msbd\n");
		return 2;
	}
	msb_log_init("msb-dir", NULL, -1);
	(void)signal(SIGPIPE, SIG_IGN);
	r = serve(&e);
	if (r < 0) {
		if (!e.code)
			(void)msb_err_set(&e, -r, "msb-dir: %s", strerror(-r));
		(void)msb_msg_reply_err(SOCK_FD, &e); /* or nobody is there to hear it */
	}
	return r < 0 ? 1 : 0;
}
