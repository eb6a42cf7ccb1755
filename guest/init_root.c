// SPDX-License-Identifier: Apache-2.0
// Mounting a sandbox's root, entering it, and leaving it for good.
#include "guest/init_root.h"
#include "guest/refresh.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define MAX_UNMOUNTS 256 /* mount points that are taken down one by one at the end */

#define TMPFS_MAGIC_ 0x01021994
#define RAMFS_MAGIC_ 0x858458f6

static bool apart; /* another is PID 1 */

int ga_mount_kernel_fs(const char *type, const char *path, unsigned long flags, const char *data,
	struct msb_err *e)
{
	int r = msb_mkdir_p(path, 0755);

	/* A read-only root may lack the directory; mount(2) tells then. */
	if (r < 0 && r != -EROFS)
		return msb_err_set(e, -r, "cannot make %s: %s", path, strerror(-r));
	if (mount(type, path, type, flags, data) < 0 && errno != EBUSY)
		return msb_err_set(e, errno, "cannot mount %s on %s: %m", type, path);
	return 0;
}

static int mount_entry(const struct ga_mount *m, const char *target, struct msb_err *e)
{
	int r = msb_mkdir_p(target, 0755);

	if (r < 0 && r != -EROFS)
		return msb_err_set(
			e, -r, "mount %s: cannot make the directory: %s", m->path, strerror(-r));
	if (mount(m->source, target, m->type, m->flags, *m->data ? m->data : NULL) < 0)
		return msb_err_set(e, errno, "mount %s: %s '%s': %s", m->path, m->type, m->source,
			errno == EINVAL && !strcmp(m->type, "virtiofs")
				? "the machine has no file server with this tag"
			: errno == ENODEV ? "the guest's kernel does not know this file system"
					  : strerror(errno));
	return 0;
}

static int kernel_mounts(bool readonly, struct msb_err *e)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	int r = ga_mount_kernel_fs("proc", "/proc", safe, NULL, e);

	if (r == 0)
		r = ga_mount_kernel_fs("sysfs", "/sys", safe, NULL, e);
	if (r == 0)
		r = ga_mount_kernel_fs("devtmpfs", "/dev", MS_NOSUID, NULL, e);
	if (r == 0)
		r = ga_mount_kernel_fs("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
			"gid=5,mode=620,ptmxmode=666", e);
	if (r == 0)
		r = ga_mount_kernel_fs("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", e);
	if (r == 0)
		r = ga_mount_kernel_fs("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", e);
	/* Programs cannot do without a writable /tmp; where the root gives one, its files stay. */
	if (r == 0 && readonly)
		r = ga_mount_kernel_fs("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", e);
	if (r == 0 && mount("cgroup2", "/sys/fs/cgroup", "cgroup2", safe, NULL) < 0)
		(void)0; /* a kernel without them: jobs are killed by process group then */
	return r;
}

static void links(void)
{
	static const char *const l[][2] = {{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"}};

	for (size_t i = 0; i < ARRAY_LEN(l); i++)
		(void)!symlink(l[i][0], l[i][1]); /* there already, or not missed */
	(void)mkdir("/run/lock", 01777);
	(void)chmod("/run/lock", 01777);
}

/* Only where the image has no such file: what a user wrote is theirs. */
static void put_absent(const char *path, const char *text)
{
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd >= 0)
		(void)msb_write_full(fd, text, strlen(text)); /* a full disk shows elsewhere */
}

static void names(const struct ga_boot *b)
{
	char text[GA_MAX_HOSTNAME * 2 + 128];

	if (!b->hostname[0])
		return;
	(void)snprintf(text, sizeof(text), "%s\n", b->hostname);
	put_absent("/etc/hostname", text);
	(void)snprintf(text, sizeof(text),
		"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n",
		b->hostname);
	put_absent("/etc/hosts", text);
}

static void loopback_up(void)
{
	_cleanup_close_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	if (s >= 0)
		(void)ioctl(s, SIOCSIFFLAGS, &ifr); /* a kernel without a network */
}

/* A child of PID 1: the mounts are everybody's, its root directory is its own. So symbolic links
 * in the sandbox's root, followed while mount points are made, end within it. */
static int mount_root(const struct ga_boot *b, struct msb_err *e)
{
	bool readonly = b->mounts[0].flags & MS_RDONLY;
	int r;

	/* What an attempt that failed has left. */
	while (umount2(GA_NEWROOT, MNT_DETACH) == 0)
		;
	if (b->hostname[0] && sethostname(b->hostname, strlen(b->hostname)) < 0)
		return msb_err_set(e, errno, "cannot set the hostname to %s: %m", b->hostname);
	loopback_up();
	r = b->mounts[0].disk ? ga_disk_mount(&b->mounts[0], GA_NEWROOT, e)
			      : mount_entry(&b->mounts[0], GA_NEWROOT, e);
	if (r < 0)
		return r;
	for (size_t i = 1; i < b->nmounts; i++)
		if (b->mounts[i].volume) {
			ga_volumes_prepare();
			break;
		}
	if (chroot(GA_NEWROOT) < 0 || chdir("/") < 0)
		return msb_err_set(e, errno, "cannot enter the sandbox's root: %m");
	r = kernel_mounts(readonly, e);
	if (r == 0 && !b->mounts[0].disk)
		ga_read_ahead("/");
	for (size_t i = 1; r == 0 && i < b->nmounts; i++)
		r = b->mounts[i].share	  ? ga_share_mount(&b->mounts[i], e)
		    : b->mounts[i].volume ? ga_volume_mount(&b->mounts[i], e)
					  : mount_entry(&b->mounts[i], b->mounts[i].path, e);
	if (r < 0)
		return r;
	if (*b->init && ga_init_check(b->init, e) < 0)
		return -e->code;
	links();
	names(b);
	(void)msb_mkdir_p(b->workdir, 0755); /* a job that cannot enter it says so */
	return 0;
}

/* Frees the memory that the initramfs holds. Stays on its file system. */
static void empty_dir(int dir, dev_t dev)
{
	_cleanup_closedir_ DIR *d = fdopendir(dir);
	struct dirent *de;

	if (!d) {
		close(dir);
		return;
	}
	while ((de = readdir(d))) {
		struct stat st;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") ||
			fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(d), de->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				empty_dir(sub, dev);
		}
		/* What cannot be removed costs memory and no more. */
		(void)unlinkat(dirfd(d), de->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	}
}

static void free_initramfs(void)
{
	static const char *const mounted[] = {"/dev", "/proc", "/sys"};
	struct statfs fs;
	struct stat st;
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(mounted); i++)
		(void)umount2(mounted[i], MNT_DETACH); /* the new root has its own */
	fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Never delete in anything but a root that lives in memory. */
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0 ||
		((unsigned long)fs.f_type != TMPFS_MAGIC_ &&
			(unsigned long)fs.f_type != RAMFS_MAGIC_)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	empty_dir(fd, st.st_dev);
}

static int enter_root(const struct ga_boot *b, struct msb_err *e)
{
	(void)b;
	if (chdir(GA_NEWROOT) < 0)
		return msb_err_set(e, errno, "cannot enter the sandbox's root: %m");
	free_initramfs();
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return msb_err_set(e, errno, "cannot switch to the sandbox's root: %m");
	return 0;
}

static void enable_controllers(const char *path)
{
	static const char *const all[] = {"+memory", "+pids", "+cpu", "+io"};
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	for (size_t i = 0; fd >= 0 && i < ARRAY_LEN(all); i++)
		(void)!write(fd, all[i], strlen(all[i])); /* one by one: the kernel may lack some */
}

static int cgroups(void)
{
	int fd;

	enable_controllers("/sys/fs/cgroup/cgroup.subtree_control");
	if (mkdir("/sys/fs/cgroup/msb", 0755) < 0 && errno != EEXIST)
		return -errno;
	enable_controllers("/sys/fs/cgroup/msb/cgroup.subtree_control");
	fd = open("/sys/fs/cgroup/msb", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Beside the guest's own init. systemd kills everything at its end but what is root's and has a
 * name that begins with @ (systemd.io/ROOT_STORAGE_DAEMONS); the kernel takes what begins with it
 * last. */
static void go_apart(void)
{
	static const struct {
		const char *path, *text;
	} put[] = {{"/proc/self/oom_score_adj", "-1000"},
		{"/sys/fs/cgroup/msb/agent/cgroup.procs", "0"}};

	apart = true;
	ga_init_rename("@msb");
	(void)mkdir("/sys/fs/cgroup/msb/agent", 0755);
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		_cleanup_close_ int fd = open(put[i].path, O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			(void)!write(fd, put[i].text, strlen(put[i].text)); /* it goes without */
	}
}

/* Of a process that is not the guest's agent it would mean this whole machine. */
static bool in_guest(void)
{
	return apart || getpid() == 1;
}

static void kill_all(int sig)
{
	if (in_guest())
		(void)kill(-1, sig);
}

static void settle(void)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	char *points[MAX_UNMOUNTS];
	size_t n;

	sync();
	if (msb_read_file(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, &text) < 0 || !text.buf)
		return;
	for (n = ga_mount_points(text.buf, points, MAX_UNMOUNTS); n > 0; n--)
		if (strcmp(points[n - 1], "/") != 0 && strcmp(points[n - 1], "/proc") != 0)
			(void)umount2(points[n - 1], 0); /* what is busy was synced */
	/* A root on a disk is left clean. */
	(void)mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	sync();
}

static void power_off(void)
{
	if (!in_guest())
		return;
	(void)reboot(RB_POWER_OFF);
	for (;;) /* a machine that cannot power off: its host ends it */
		pause();
}

static int set_clock(uint64_t usec)
{
	struct timespec t = {(time_t)(usec / 1000000), (long)(usec % 1000000) * 1000};

	return clock_settime(CLOCK_REALTIME, &t) < 0 ? -errno : 0;
}

const struct ga_ops ga_init_ops = {
	.mount_root = mount_root,
	.enter_root = enter_root,
	.cgroups = cgroups,
	.kill_all = kill_all,
	.settle = settle,
	.power_off = power_off,
	.drop_caches = ga_refresh,
	.set_clock = set_clock,
	.mount = ga_share_mount,
	.umount = ga_share_umount,
	.cpus = ga_cpus_set,
	.apart = go_apart,
};
