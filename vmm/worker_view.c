// SPDX-License-Identifier: Apache-2.0
// As root: a mount namespace in which QEMUs without any privilege reach what they need, by short
// paths.
/*
 * Each machine's QEMU runs under a uid of its own that owns nothing else on the host. It must still
 * reach libvirt's directory, its file servers' sockets and the kernel, wherever those lie: below a
 * home directory of mode 0700, or a run directory that nobody else may enter. So the worker, and
 * the QEMUs after it, see them bound below VIEW, and nothing has to be opened to other users.
 */
#include "vmm/worker.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define VIEW	     "/mnt" /* covered in our own namespace only */
#define VIEW_KERNEL  VIEW "/kernel"
#define MAX_DETACHED 1024
/* Above what systemd and the distributions assign (systemd.io/UIDS-GIDS). */
#define UID_BASE 0x70000000u
#define UID_MASK 0x0fffffffu

static int bind_dir(int dir, const char *to, unsigned long flags)
{
	char from[32];

	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", dir);
	if (mkdir(to, 0755) < 0 || mount(from, to, NULL, MS_BIND, NULL) < 0)
		return -errno;
	return mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | flags, NULL) < 0
		       ? -errno
		       : 0;
}

static int open_dir(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A directory of ours below the run directory; others may pass through, were they to get there. */
static int own_dir(const char *run, const char *name)
{
	char path[MSB_PATH_MAX + 16];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", run, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = msb_mkdir_p(path, 0711);
	if (r == 0 && chmod(path, 0711) < 0)
		r = -errno;
	return r < 0 ? r : open_dir(path);
}

/*
 * Lets go of user-space file systems, ours above all: a QEMU that outlives msbd would keep a mount
 * that its owner has unmounted. Where the root directory itself is one, that one stays.
 */
static void detach_fuse(void)
{
	struct mntent *me;
	FILE *f;
	char *list[MAX_DETACHED];
	int n = 0;

	f = setmntent("/proc/self/mounts", "re");
	if (!f)
		return;
	while (n < MAX_DETACHED && (me = getmntent(f)))
		if (!strncmp(me->mnt_type, "fuse", 4) && strcmp(me->mnt_type, "fusectl") != 0 &&
			strcmp(me->mnt_dir, "/") != 0) {
			list[n] = strdup(me->mnt_dir);
			n += list[n] != NULL;
		}
	endmntent(f);
	while (n > 0) {
		(void)umount2(list[--n], MNT_DETACH); /* best effort: a mount more in the view */
		free(list[n]);
	}
}

/* In the view everybody may use KVM: there are only QEMUs in it, and their uids are in no group. */
static int own_kvm(void)
{
	struct stat st;

	if (stat("/dev/kvm", &st) < 0 || mknod(VIEW "/kvm", S_IFCHR | 0600, st.st_rdev) < 0 ||
		chmod(VIEW "/kvm", 0666) < 0 ||
		mount(VIEW "/kvm", "/dev/kvm", NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, "/dev/kvm", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC, NULL) <
			0)
		return -errno;
	return 0;
}

/* $MSB_KERNEL may name a file where no other uid gets to. */
static int bind_kernel(int file)
{
	_cleanup_close_ int fd = open(VIEW_KERNEL, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char from[32];

	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", file);
	return fd < 0 || mount(from, VIEW_KERNEL, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int enter(const char *run, const char *share, bool kvm)
{
	_cleanup_close_ int lib = -1, sb = -1, shr = -1, own = -1;
	const char *kernel = getenv("MSB_KERNEL");
	int r = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	/* Opened here: neither before, because directories of another namespace cannot be bound,
	 * nor later, because VIEW may cover them. */
	lib = own_dir(run, "libvirt");
	sb = own_dir(run, "sb");
	shr = open_dir(share);
	if (kernel && kernel[0] == '/')
		own = open(kernel, O_PATH | O_CLOEXEC); /* without it a start says why */
	if (lib < 0 || sb < 0 || shr < 0)
		return lib < 0 ? lib : sb < 0 ? sb : shr;
	if (mount("msb", VIEW, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "mode=755,size=64k,nr_inodes=16") < 0)
		return -errno;
	/* In a user namespace the uids may not exist. */
	if (chown(VIEW, UID_BASE | UID_MASK, UID_BASE | UID_MASK) < 0 || chown(VIEW, 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = bind_dir(lib, VIEW "/libvirt", 0);
	if (r == 0)
		r = bind_dir(sb, VIEW "/sb", MS_NOEXEC);
	if (r == 0)
		r = bind_dir(shr, VIEW "/share", MS_NOEXEC | MS_RDONLY);
	if (r == 0 && own >= 0)
		r = bind_kernel(own);
	if (r == 0 && kvm)
		r = own_kvm();
	if (r == 0 && mount(NULL, VIEW, NULL,
			      MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			      NULL) < 0)
		r = -errno;
	detach_fuse();
	if (r < 0) /* back to the paths outside, some of which VIEW may cover */
		(void)umount2(VIEW, MNT_DETACH);
	return r;
}

void view_open(struct view *v, const char *run, const char *share, bool kvm)
{
	int r;

	*v = (struct view){0};
	(void)snprintf(v->sb, sizeof(v->sb), "%s/sb/", run);
	(void)snprintf(v->libvirt, sizeof(v->libvirt), "%s/libvirt", run);
	(void)snprintf(v->share, sizeof(v->share), "%s", share);
	(void)snprintf(v->share_told, sizeof(v->share_told), "%s", share);
	if (geteuid() != 0)
		return;
	r = enter(run, share, kvm);
	if (r < 0) {
		log_warn("no mount namespace for the machines (%s): QEMU runs as root",
			strerror(-r));
		return;
	}
	v->entered = true;
	if (access(VIEW_KERNEL, F_OK) == 0 && setenv("MSB_KERNEL", VIEW_KERNEL, 1) < 0)
		log_warn("out of memory: MSB_KERNEL may not be readable to QEMU, ignoring");
	(void)snprintf(v->libvirt, sizeof(v->libvirt), VIEW "/libvirt");
	(void)snprintf(v->share, sizeof(v->share), VIEW "/share");
}

/* Where the machine's processes see the socket @path. */
static void rebase(const struct view *v, char *path, size_t size)
{
	char out[sizeof(VIEW "/sb/") + 108];
	size_t n = strlen(v->sb);

	if (strncmp(path, v->sb, n) != 0)
		return;
	(void)snprintf(out, sizeof(out), VIEW "/sb/%s", path + n);
	if (strlen(out) < size)
		memcpy(path, out, strlen(out) + 1);
}

/* The directory of @path stays its owner's; the machine may pass through it. */
static int let_pass(const char *path)
{
	char dir[108];
	struct stat st;

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (stat(dir, &st) < 0)
		return -errno;
	return st.st_mode & 1 || chmod(dir, (st.st_mode & 07777) | 1) == 0 ? 0 : -errno;
}

static int give(const char *socket, uint32_t uid, uint32_t gid)
{
	struct stat st;

	if (lstat(socket, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (lchown(socket, uid, gid) < 0 || chmod(socket, 0600) < 0)
		return -errno;
	return let_pass(socket);
}

/* A copy that lies in the machine's own directory, for this start alone. */
static int give_file(const char *path, uint32_t uid, uint32_t gid)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return -EINVAL;
	return lchown(path, uid, gid) < 0 ? -errno : let_pass(path);
}

int view_admit(const struct view *v, struct vmm_spec *s, struct vmm_host *h, struct msb_err *e)
{
	if (!v->entered)
		return 0;
	h->set_uid = true;
	h->uid = h->gid = UID_BASE | ((uint32_t)strtoul(s->id + 24, NULL, 16) & UID_MASK);
	rebase(v, s->agent_socket, sizeof(s->agent_socket));
	rebase(v, s->console_socket, sizeof(s->console_socket));
	for (size_t i = 0; i < 2; i++) {
		char *path = i ? s->own.initrd : s->own.kernel;
		int r;

		if (!path[0])
			continue;
		rebase(v, path, sizeof(s->own.kernel));
		r = give_file(path, h->uid, h->gid);
		if (r < 0)
			return msb_err_set(
				e, -r, "the machine's kernel %s: %s", path, strerror(-r));
	}
	for (unsigned int i = 0; i < s->nfs; i++) {
		int r;

		rebase(v, s->fs[i].socket, sizeof(s->fs[i].socket));
		r = give(s->fs[i].socket, h->uid, h->gid);
		if (r < 0)
			return msb_err_set(e, -r, "the file server's socket %s: %s",
				s->fs[i].socket, strerror(-r));
	}
	return 0;
}
