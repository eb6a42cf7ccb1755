// SPDX-License-Identifier: Apache-2.0
/*
 * For tests/e2e/idmap.bats, run in a guest.
 *
 *	idmap mount ID AS COUNT DIR AT	DIR at AT: who is ID of the file system is AS there
 *	idmap as ID COMMAND...		with that uid and gid, no other groups, no capabilities
 *	idmap ns ID COUNT COMMAND...	as root of a user namespace whose 0 is ID outside
 */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "idmap: %s: %m\n", what);
	exit(1);
}

static void write_map(
	pid_t pid, const char *name, const char *inside, const char *outside, const char *count)
{
	char path[64], map[64];
	int fd, n = snprintf(map, sizeof(map), "%s %s %s\n", inside, outside, count);

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, map, (size_t)n) != n)
		die(path);
	close(fd);
}

/* A process in a user namespace of its own, which goes on once @ret_go is closed. */
static pid_t begin_ns(const char *inside, const char *outside, const char *count, int *ret_go)
{
	int go[2], there[2];
	pid_t pid;
	char c;

	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(there, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(go[1]);
		if (unshare(CLONE_NEWUSER) < 0)
			die("unshare");
		close(there[0]);
		close(there[1]);
		(void)!read(go[0], &c, 1);
		return 0;
	}
	close(go[0]);
	close(there[1]);
	(void)!read(there[0], &c, 1);
	write_map(pid, "uid_map", inside, outside, count);
	write_map(pid, "gid_map", inside, outside, count);
	*ret_go = go[1];
	return pid;
}

static int do_mount(char **a)
{
	struct mount_attr m = {.attr_set = MOUNT_ATTR_IDMAP};
	char path[64];
	int go, fd, ns;
	pid_t pid = begin_ns(a[0], a[1], a[2], &go);

	if (pid == 0)
		_exit(0);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, a[3], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (ns < 0 || fd < 0)
		die(a[3]);
	m.userns_fd = (unsigned int)ns;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &m, sizeof(m)) < 0)
		die("mount_setattr");
	if (syscall(SYS_move_mount, fd, "", AT_FDCWD, a[4], MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die(a[4]);
	close(go);
	return waitpid(pid, NULL, 0) < 0;
}

static int do_as(char **a)
{
	unsigned int id = (unsigned int)strtoul(a[0], NULL, 10);

	if (setgroups(0, NULL) < 0 || setgid(id) < 0 || setuid(id) < 0)
		die(a[0]);
	execvp(a[1], a + 1);
	die(a[1]);
}

static int do_ns(char **a)
{
	int go, status;
	pid_t pid = begin_ns("0", a[0], a[1], &go);

	if (pid == 0) {
		if (setgid(0) < 0 || setuid(0) < 0)
			die("setuid");
		execvp(a[2], a + 2);
		die(a[2]);
	}
	close(go);
	if (waitpid(pid, &status, 0) < 0)
		die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "mount"))
		return do_mount(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "as"))
		return do_as(argv + 2);
	if (argc > 4 && !strcmp(argv[1], "ns"))
		return do_ns(argv + 2);
	fprintf(stderr, "usage: idmap mount ID AS COUNT DIR AT | as ID CMD | ns ID COUNT CMD\n");
	return 2;
}
