// SPDX-License-Identifier: Apache-2.0
// msb-open: opens what a sandbox's root is made of, as the user who asks; see fs/image/open.h.
#include "fs/image/dir.h"
#include "fs/image/image.h"
#include "fs/image/qcow2.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/msg.h"
#include "base/user.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { SOCK_FD = 3 };

static struct msb_msg msg;

/* Before the path is looked at. */
static int become(uid_t uid, gid_t gid, struct msb_err *e)
{
	struct msb_user user;
	int r;

	if (geteuid() != 0 || uid == 0)
		return 0;
	if (chdir("/") < 0) /* the path may lead through /proc/self/cwd, which would be msbd's */
		return msb_err_set(e, errno, "cannot leave msbd's directory: %m");
	msb_user_find(uid, gid, &user);
	r = msb_user_become(&user);
	return r < 0 ? msb_err_set(e, -r, "cannot become user %u: %s", uid, strerror(-r)) : 0;
}

/* No namespaces for an ordinary user: in one of users every other owner would look like nobody.
 * @dir -1: nothing more is opened. */
static int narrow(int dir, struct msb_err *e)
{
	static const char *const syscalls[] = {"brk", "clock_gettime", "close", "exit",
		"exit_group", "faccessat", "faccessat2", "fchdir", "fcntl", "fdatasync", "fstat",
		"fsync", "futex", "getdents64", "getegid", "geteuid", "getpid", "getrandom",
		"gettid", "lgetxattr", "llistxattr", "lseek", "madvise", "mmap", "mprotect",
		"mremap", "munmap", "newfstatat", "openat", "pread64", "prlimit64", "read",
		"readlinkat", "recvmsg", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
		"sched_getaffinity", "sendmsg", "statx", "sysinfo", "write", "writev", NULL};
	const struct rlimit memory = {IMG_MAX_MEMORY, IMG_MAX_MEMORY};
	const struct msb_jail_dir dirs[] = {{dir, false}};
	struct msb_jail jail = {
		.keep_caps = dir < 0 ? 0 : UINT64_C(1) << CAP_DAC_READ_SEARCH,
		.syscalls = syscalls,
		.dirs = dirs,
		.ndirs = dir >= 0,
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

/* ---- a directory */

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

static int do_dir(const char *path, int *ret, struct msb_err *e)
{
	uint64_t max = IMG_MAX_INODES, inodes = 0;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (dir < 0)
		return msb_err_set(e, errno, "%s: %m", path);
	(void)msb_msg_get_u64(&msg, "max_inodes", &max); /* stays */
	if (msg.nfds == 2) {
		r = narrow(dir, e);
		if (r == 0)
			r = walk(dir, max < IMG_MAX_INODES ? max : IMG_MAX_INODES, &inodes, e);
	}
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "inodes", "%llu", (unsigned long long)inodes);
	*ret = dir;
	return r;
}

/* ---- a disk */

static int qcow2_bytes(int fd, uint64_t *ret, struct msb_err *e)
{
	_cleanup_free_ uint8_t *head = malloc(IMG_QCOW2_HEAD_BYTES);
	int64_t n = head ? msb_pread_full(fd, head, IMG_QCOW2_HEAD_BYTES, 0) : -ENOMEM;

	if (n < 0)
		return msb_err_set(e, (int)-n, "cannot read the disk: %s", strerror((int)-n));
	return img_qcow2_check(head, (size_t)n, ret, e);
}

static int raw_bytes(const struct stat *st, uint64_t *ret, struct msb_err *e)
{
	*ret = (uint64_t)st->st_size;
	if (*ret < IMG_DISK_MIN_BYTES || *ret > IMG_DISK_MAX_BYTES || *ret % IMG_DISK_ALIGN)
		return msb_err_set(e, ERANGE,
			"the disk has %llu bytes; a root has whole sectors of %d, from 1 MiB to 4 TiB",
			(unsigned long long)*ret, IMG_DISK_ALIGN);
	return 0;
}

static int do_disk(const char *path, int *ret, struct msb_err *e)
{
	const char *format = msb_msg_get(&msg, "format");
	bool qcow2 = format && !strcmp(format, "qcow2");
	int own = msg.nfds == 1 ? msb_msg_take_fd(&msg, 0) : -1;
	uint64_t bytes = 0, own_bytes = 0;
	struct stat st;
	int fd, r;

	/* Not blocked by a pipe; what is no file is refused. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "%s: %m", path);
	if (!S_ISREG(st.st_mode))
		return msb_err_set(e, EINVAL, "%s is no regular file", path);
	r = narrow(-1, e);
	if (r == 0)
		r = qcow2 ? qcow2_bytes(fd, &bytes, e) : raw_bytes(&st, &bytes, e);
	if (r < 0)
		return msb_err_wrap(e, "%.150s", path);
	if (own >= 0 && qcow2_bytes(own, &own_bytes, e) < 0)
		return msb_err_wrap(e, "the sandbox's own disk");
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "bytes", "%llu", (unsigned long long)bytes);
	msb_msg_set(&msg, "ino", "%llu", (unsigned long long)st.st_ino);
	msb_msg_set(&msg, "size", "%llu", (unsigned long long)st.st_size);
	msb_msg_set(&msg, "mtime_sec", "%llu", (unsigned long long)st.st_mtim.tv_sec);
	msb_msg_set(&msg, "mtime_nsec", "%llu", (unsigned long long)st.st_mtim.tv_nsec);
	msb_msg_set(&msg, "own_bytes", "%llu", (unsigned long long)own_bytes);
	*ret = fd;
	return 0;
}

static int tell_user(uid_t uid, gid_t gid)
{
	char text[MSB_USER_TEXT];
	struct msb_user user;

	msb_user_find(uid, gid, &user);
	msb_user_print(&user, text);
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "user", "%s", text);
	return msb_msg_send(SOCK_FD, &msg);
}

static int serve(struct msb_err *e)
{
	int fd = -1, r = msb_msg_recv(SOCK_FD, &msg);
	_cleanup_free_ char *path = NULL;
	uint64_t uid, gid;
	const char *asked;
	bool dir;

	if (r < 0)
		return r;
	if (msb_msg_get_u64(&msg, "uid", &uid) < 0 || msb_msg_get_u64(&msg, "gid", &gid) < 0)
		return msb_err_set(e, EINVAL, "not a request");
	if (!strcmp(msb_msg_verb(&msg), "user"))
		return tell_user((uid_t)uid, (gid_t)gid);
	asked = msb_msg_get(&msg, "path");
	dir = !strcmp(msb_msg_verb(&msg), "dir");
	if ((!dir && strcmp(msb_msg_verb(&msg), "disk") != 0) || !asked || *asked != '/')
		return msb_err_set(e, EINVAL, "not a request");
	path = strdup(asked);
	if (!path)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = become((uid_t)uid, (gid_t)gid, e);
	if (r == 0)
		r = dir ? do_dir(path, &fd, e) : do_disk(path, &fd, e);
	if (r < 0)
		return r;
	msb_msg_add_fd(&msg, fd);
	return msb_msg_send(SOCK_FD, &msg);
}

int main(int argc, char **argv)
{
	struct msb_err e = {0};
	int r;

	if (argc != 1 || fcntl(SOCK_FD, F_GETFD) < 0) {
		(void)fprintf(stderr, "msb-open is started by msbd\n");
		return 2;
	}
	msb_log_init("msb-open", NULL, -1);
	(void)signal(SIGPIPE, SIG_IGN);
	r = serve(&e);
	if (r < 0) {
		if (!e.code)
			(void)msb_err_set(&e, -r, "msb-open: %s", strerror(-r));
		(void)msb_msg_reply_err(SOCK_FD, &e); /* or nobody is there to hear it */
	}
	return r < 0 ? 1 : 0;
}
