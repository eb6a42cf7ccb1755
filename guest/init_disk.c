// SPDX-License-Identifier: Apache-2.0
// A root on a disk: its driver, its partition, its file system. The kernel reads them.
#include "guest/init_root.h"
#include "guest/parts.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

#define BLKSSZGET_ 0x1268  /* _IO(0x12, 104) of linux/fs.h, which the libc does not have */
#define LAZY	   "/lazy" /* of the initramfs: modules by what wants them */
#define WAIT_MS	   5000	   /* for a device that the driver has not made yet */

/* In the order in which they are tried. Every one but the first has modules of its own, which take
 * their time to load. */
static const char *const types[] = {"ext4", "xfs", "btrfs"};

static int wait_device(const char *path)
{
	const struct timespec t = {.tv_nsec = 10000000};

	for (int k = 0; k < WAIT_MS / 10; k++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0 || (errno != ENOENT && errno != ENXIO))
			return fd < 0 ? -errno : fd;
		nanosleep(&t, NULL);
	}
	return -ENOENT;
}

/* @ret: the device that the root is on: the disk, or one of its partitions. */
static int find_root(const char *disk, char ret[64], struct msb_err *e)
{
	_cleanup_free_ struct ga_part *part = calloc(GA_MAX_PARTS, sizeof(*part));
	_cleanup_free_ uint8_t *head = malloc(GA_PARTS_BYTES);
	_cleanup_close_ int fd = -1;
	int64_t got;
	int number, sector = 512;
	size_t n;

	(void)snprintf(ret, 64, "/dev/%.32s", disk);
	fd = wait_device(ret);
	if (fd < 0)
		return msb_err_set(e, -fd, "the machine's disk %s: %s", ret, strerror(-fd));
	if (!part || !head)
		return msb_err_set(e, ENOMEM, "the guest is out of memory");
	(void)ioctl(fd, BLKSSZGET_, &sector); /* stays */
	got = msb_pread_full(fd, head, GA_PARTS_BYTES, 0);
	if (got < 0)
		return msb_err_set(
			e, (int)-got, "cannot read the machine's disk: %s", strerror((int)-got));
	n = ga_parts_parse(head, (size_t)got, (unsigned int)sector, part, GA_MAX_PARTS);
	if (n == 0)
		return 0;
	number = ga_parts_root(part, n, e);
	if (number < 0)
		return number;
	(void)snprintf(ret, 64, "/dev/%.32s%d", disk, number);
	close(steal_fd(&fd));
	fd = wait_device(ret);
	return fd < 0 ? msb_err_set(e, -fd, "the kernel does not know partition %d of the disk: %s",
				number, strerror(-fd))
		      : 0;
}

int ga_disk_mount(const struct ga_mount *m, const char *target, struct msb_err *e)
{
	char device[64], dir[64];
	int r, why = EINVAL;

	ga_modules_load(LAZY "/virtio_blk");
	r = find_root(m->source, device, e);
	if (r == 0 && msb_mkdir_p(target, 0755) < 0)
		r = msb_err_set(e, EIO, "cannot make %s", target);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (i) {
			(void)snprintf(dir, sizeof(dir), LAZY "/%s", types[i]);
			ga_modules_load(dir);
		}
		if (mount(device, target, types[i], m->flags, NULL) == 0)
			return 0;
		/* One that is of this type, and damaged, says something else. */
		if (errno != EINVAL && errno != ENODEV)
			why = errno;
	}
	return why == EINVAL
		       ? msb_err_set(e, EINVAL,
				 "%s holds no file system that is known here: ext4, xfs, btrfs",
				 device)
		       : msb_err_set(
				 e, why, "cannot mount %s: %s; see console", device, strerror(why));
}

void ga_volumes_prepare(void)
{
	ga_modules_load(LAZY "/virtio_blk");
}

/* The name of the disk with that serial, below /dev. */
static bool find_serial(const char *serial, char ret[64])
{
	_cleanup_closedir_ DIR *d = opendir("/sys/block");
	struct dirent *de;

	while (d && (de = readdir(d))) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		char path[300];

		(void)snprintf(path, sizeof(path), "/sys/block/%s/serial", de->d_name);
		if (msb_read_file(AT_FDCWD, path, 64, &s) < 0 || !s.buf)
			continue;
		s.buf[strcspn(s.buf, "\n")] = '\0';
		if (!strcmp(s.buf, serial)) {
			(void)snprintf(ret, 64, "/dev/%.32s", de->d_name);
			return true;
		}
	}
	return false;
}

int ga_volume_mount(const struct ga_mount *m, struct msb_err *e)
{
	const struct timespec t = {.tv_nsec = 10000000};
	char device[64];
	int r, k = 0, fd;

	while (!find_serial(m->source, device)) {
		if (++k == WAIT_MS / 10)
			return msb_err_set(
				e, ENOENT, "mount %s: the machine has no such disk", m->path);
		nanosleep(&t, NULL);
	}
	fd = wait_device(device);
	if (fd < 0)
		return msb_err_set(e, -fd, "mount %s: %s: %s", m->path, device, strerror(-fd));
	close(fd);
	r = msb_mkdir_p(m->path, 0755);
	if (r < 0 && r != -EROFS)
		return msb_err_set(
			e, -r, "mount %s: cannot make the directory: %s", m->path, strerror(-r));
	if (mount(device, m->path, "ext4", m->flags, NULL) == 0)
		return 0;
	if (errno == EROFS)
		return msb_err_set(e, EROFS,
			"mount %s: the volume's disk was written by a machine that was killed: have it "
			"mounted once without ro",
			m->path);
	return msb_err_set(e, errno, "mount %s: the volume's disk: %m; see console", m->path);
}
