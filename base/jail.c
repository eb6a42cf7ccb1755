// SPDX-License-Identifier: Apache-2.0
// Narrowing a process to what its role needs.
#include "base/jail.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int put(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : msb_write_full(fd, text, strlen(text));
}

/* An ordinary user owns namespaces only inside a user namespace: map itself to itself. */
static int enter_userns(void)
{
	unsigned int uid = getuid(), gid = getgid();
	char map[64];
	int r;

	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	r = put("/proc/self/setgroups", "deny");
	if (r < 0)
		return r;
	(void)snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	r = put("/proc/self/uid_map", map);
	if (r < 0)
		return r;
	(void)snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return put("/proc/self/gid_map", map);
}

static int empty_root(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (mount("msb", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "size=4k,nr_inodes=2") < 0)
		return -errno;
	if (chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	/* The old root lies under the new one: "." is it now. */
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return mount(NULL, "/", NULL,
		       MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		       NULL) < 0
		       ? -errno
		       : 0;
}

/* While uid 0 may: afterwards nobody can. */
static void drop_bounding(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++)
		if (!(keep >> cap & 1))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0,
				0); /* fails where not held: nothing to drop */
}

static int drop_caps(uint64_t keep, uint64_t idle)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {0};

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		d[i].permitted &= (uint32_t)(keep >> (32 * i));
		d[i].effective = d[i].permitted & ~(uint32_t)(idle >> (32 * i));
		d[i].inheritable = 0;
	}
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

/* linux/landlock.h of the oldest kernel headers we build with stops at version 2. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define LANDLOCK_MIN 2 /* version 1 forbids every rename between directories */
#define FS_READ	     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_ALL                                                                                     \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_READ |                    \
		LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                   \
		LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |                       \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                       \
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                     \
		LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER |                           \
		LANDLOCK_ACCESS_FS_TRUNCATE)

static int only_beneath(const struct msb_jail_dir *dirs, size_t n)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = FS_ALL};
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	_cleanup_close_ int fd = -1;

	if (version < LANDLOCK_MIN)
		return -EOPNOTSUPP;
	if (version < 3)
		attr.handled_access_fs &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (fd < 0)
		return -errno;
	for (size_t k = 0; k < n; k++) {
		const struct landlock_path_beneath_attr rule = {
			.allowed_access = dirs[k].write ? attr.handled_access_fs : FS_READ,
			.parent_fd = dirs[k].fd,
		};

		if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
			return -errno;
	}
	return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}

/* System calls that libseccomp may be too old to know by name; their numbers are every machine's.
 */
static const struct {
	const char *name;
	int nr;
} newer[] = {{"getxattrat", 464}};

static int number_of(const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	for (size_t i = 0; nr == __NR_SCMP_ERROR && i < ARRAY_LEN(newer); i++)
		if (!strcmp(newer[i].name, name))
			nr = newer[i].nr;
	return nr;
}

static int filter(const char *const *syscalls, bool refuse, struct msb_err *e)
{
	scmp_filter_ctx ctx = seccomp_init(refuse ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS);
	int r = ctx ? 0 : -ENOMEM;

	if (r == 0) /* a tree, not a list: the hot calls cost a few comparisons */
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (; r == 0 && *syscalls; syscalls++) {
		int nr = number_of(*syscalls);

		if (nr == __NR_SCMP_ERROR)
			continue; /* newer than this libseccomp knows: the kernel's caller falls
				     back */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
	}
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r < 0 ? msb_err_set(e, -r, "seccomp: %s", strerror(-r)) : 0;
}

int msb_jail_enter(const struct msb_jail *j, struct msb_err *e)
{
	unsigned int ns = (j->flags & MSB_JAIL_NET ? CLONE_NEWNET : 0) |
			  (j->flags & MSB_JAIL_IPC ? CLONE_NEWIPC | CLONE_NEWUTS : 0);
	static const struct msb_user nobody = {.uid = MSB_USER_NOBODY, .gid = MSB_USER_NOBODY};
	const struct msb_user *user = j->flags & MSB_JAIL_NOBODY ? &nobody : j->user;
	const struct rlimit no_core = {0, 0};
	int r = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
		return msb_err_set(e, errno, "cannot give up privileges: %m");
	if (geteuid() != 0 && (j->flags & (MSB_JAIL_NET | MSB_JAIL_ROOT | MSB_JAIL_IPC)))
		r = enter_userns();
	if (r == 0 && ns && unshare((int)ns) < 0)
		r = -errno;
	if (r == 0 && (j->flags & MSB_JAIL_ROOT))
		r = empty_root();
	if (r < 0)
		log_warn("namespaces are not permitted here (%s); continuing without them",
			strerror(-r));
	drop_bounding(j->keep_caps);
	if (user && (r = msb_user_become(user)) < 0)
		return msb_err_set(e, -r, "cannot leave uid 0: %s", strerror(-r));
	r = j->ndirs ? only_beneath(j->dirs, j->ndirs) : 0;
	if (r < 0)
		log_warn(
			"Landlock is not to be had here (%s); continuing without it", strerror(-r));
	r = drop_caps(j->keep_caps, j->idle_caps);
	if (r < 0)
		return msb_err_set(e, -r, "cannot drop capabilities: %s", strerror(-r));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return msb_err_set(e, errno, "cannot become undumpable: %m");
	return j->syscalls ? filter(j->syscalls, j->refuse, e) : 0;
}
