// SPDX-License-Identifier: Apache-2.0
// Starting msb-dir and waiting for what it says: msbd's side.
#include "fs/image/dir.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int answer_of(const struct msb_msg *m, struct msb_err *e)
{
	uint64_t code;

	if (!strcmp(msb_msg_verb(m), "ok"))
		return 0;
	if (msb_msg_get_u64(m, "code", &code) < 0 || !code || code > 4095)
		code = EIO;
	return msb_err_set(e, (int)code, "%s", msb_msg_get(m, "msg") ?: "no reason given");
}

int img_dir_open(const char *bin_dir, const char *path, uid_t uid, gid_t gid, int index_fd,
	int files_fd, int log_fd, int *ret_dir, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	_cleanup_close_ int ours = -1, theirs = -1;
	char prog[4096], *argv[] = {"msb-dir", NULL};
	int sv[2], dir, r;
	pid_t pid;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (snprintf(prog, sizeof(prog), "%s/msb-dir", bin_dir) >= (int)sizeof(prog))
		return msb_err_set(e, ENAMETOOLONG, "the path of msb-dir is too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-dir: %m");
	ours = sv[0];
	theirs = sv[1];
	pid = msb_spawn(prog, argv, &theirs, 1, log_fd, NULL, e);
	if (pid < 0)
		return (int)pid;
	close(steal_fd(&theirs));
	msb_msg_init(m, "dir");
	msb_msg_set(m, "path", "%s", path);
	msb_msg_set(m, "uid", "%u", uid);
	msb_msg_set(m, "gid", "%u", gid);
	msb_msg_set(m, "max_inodes", "%llu", (unsigned long long)IMG_MAX_INODES);
	if (index_fd >= 0) {
		msb_msg_add_fd(m, index_fd);
		msb_msg_add_fd(m, files_fd);
	}
	r = msb_msg_send(ours, m);
	if (r == 0)
		r = msb_msg_recv(ours, m);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return msb_err_set(e, EIO, "msb-dir ended without a word; its log says more");
	dir = -1;
	r = answer_of(m, e);
	if (r == 0)
		dir = msb_msg_take_fd(m, 0);
	msb_msg_close_fds(m);
	if (r == 0 && dir < 0)
		return msb_err_set(e, EIO, "msb-dir gave no directory");
	if (r == 0)
		*ret_dir = dir;
	return r;
}
