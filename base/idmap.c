// SPDX-License-Identifier: Apache-2.0
// Mounts that show other owners than the disk has.
#include "base/idmap.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAP_TEXT 256
#define LAST	 4294967292u /* of the ids that are mapped one by one */
#define SPARE	 4294967293u /* an id that nobody has: see image_of() */

/* What @id on the disk is in the mount. The two change places, so that every id has one; but no uid
 * is root's there: to map that takes a capability (CAP_SETFCAP) that msbd has no other need of. */
static uint32_t image_of(uint32_t id, uint32_t from, uint32_t to, bool uids)
{
	uint32_t is = id == from ? to : id == to ? from : id;

	return uids && is == 0 ? SPARE : is;
}

/* "DISK MOUNT COUNT" a line, as user_namespaces(7) has it. */
static void print_map(uint32_t from, uint32_t to, bool uids, char ret[MAP_TEXT])
{
	const uint32_t odd[] = {0, from < to ? from : to, from < to ? to : from};
	struct msb_str s = {.buf = ret, .cap = MAP_TEXT, .fixed = true};
	uint32_t next = 0;

	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		if (odd[i] < next)
			continue; /* twice */
		if (odd[i] > next)
			msb_str_addf(&s, "%u %u %u\n", next, next, odd[i] - next);
		msb_str_addf(&s, "%u %u 1\n", odd[i], image_of(odd[i], from, to, uids));
		next = odd[i] + 1;
	}
	if (next <= LAST)
		msb_str_addf(&s, "%u %u %u\n", next, next, LAST - next + 1);
}

/* A process that is only there to own a user namespace: until it is told, or nobody is left to. */
static pid_t holder(int wait_fd, int tell_fd)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	char byte;

	if (pid != 0)
		return pid < 0 ? -errno : (pid_t)pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(tell_fd);
	_exit(read(wait_fd, &byte, 1) < 0);
}

static int put(pid_t pid, const char *file, const char *text)
{
	_cleanup_close_ int fd = -1;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A user namespace is how the kernel is told of a mapping; nobody runs in it. */
static int namespace_of(struct msb_ids from, struct msb_ids to)
{
	_cleanup_close_ int wait_fd = -1, tell_fd = -1;
	char uids[MAP_TEXT], gids[MAP_TEXT], path[48];
	int p[2], r, fd = -1;
	pid_t pid;

	print_map(from.uid, to.uid, true, uids);
	print_map(from.gid, to.gid, false, gids);
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	wait_fd = p[0];
	tell_fd = p[1];
	pid = holder(wait_fd, tell_fd);
	if (pid < 0)
		return pid;
	r = put(pid, "uid_map", uids);
	if (r == 0)
		r = put(pid, "gid_map", gids);
	if (r == 0) {
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? r : fd;
}

int msb_idmap_dir(
	int dir_fd, struct msb_ids from, struct msb_ids to, bool readonly, struct msb_err *e)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP | (readonly ? MOUNT_ATTR_RDONLY : 0)};
	_cleanup_close_ int ns = namespace_of(from, to), fd = -1;

	if (ns < 0)
		return msb_err_set(
			e, -ns, "no user namespace to map owners with: %s", strerror(-ns));
	fd = (int)syscall(
		SYS_open_tree, dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot make a mount to map owners in: %m");
	attr.userns_fd = (uint64_t)ns;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return steal_fd(&fd);
	if (errno == EINVAL)
		return msb_err_set(e, EOPNOTSUPP,
			"its file system cannot map owners; ext4, xfs, btrfs and tmpfs can");
	return msb_err_set(e, errno, "cannot map owners: %m");
}
