// SPDX-License-Identifier: Apache-2.0
// A disk as a sandbox's root: its base, and the sandbox's own qcow2 over it.
#include "ctl/disk.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/owner.h"
#include "ctl/root.h"
#include "fs/image/open.h"
#include "fs/image/qcow2.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define OWN  "disk.qcow2"
#define BASE "disk.base"

const char *ctl_disk_format(const char *path)
{
	size_t n = strlen(path);

	return n > 6 && !strcmp(path + n - 6, ".qcow2") ? "qcow2" : "raw";
}

void ctl_disk_close(struct vmm_disk *d)
{
	if (!d->base_format[0])
		return;
	if (d->overlay_fd >= 0)
		close(d->overlay_fd);
	if (d->base_fd >= 0)
		close(d->base_fd);
	*d = (struct vmm_disk){0};
}

static void own_path(const struct ctl_sandbox *sb, const char *file, char ret[64])
{
	(void)snprintf(ret, 64, "%s/%s", sb->id, file);
}

static void identity(const struct ctl_disk_base *b, const struct img_disk *d, char ret[128])
{
	if (b->digest)
		(void)snprintf(ret, 128, "sha256:%.64s\n", b->digest);
	else
		(void)snprintf(ret, 128, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			d->ino, d->size, d->mtime_sec, d->mtime_nsec);
}

static int io_error(const char *what, int r, struct msb_err *e)
{
	return msb_err_set(e, -r, "cannot %s the sandbox's disk: %s", what, strerror(-r));
}

/* Whole and on the disk before it has its name, and what it is made for before that. */
static int make(struct ctl_sandbox *sb, const struct ctl_disk_base *b, const struct img_disk *base,
	uint64_t bytes, int *ret, struct msb_err *e)
{
	_cleanup_free_ uint8_t *empty = malloc(IMG_QCOW2_EMPTY_BYTES);
	int at = sb->c->sandboxes_fd, r = 0;
	char path[64], fresh[64], text[128];
	_cleanup_close_ int fd = -1, dir = -1;

	own_path(sb, OWN, path);
	own_path(sb, OWN ".new", fresh);
	if (!empty)
		return msb_err_set(e, ENOMEM, "no memory");
	img_qcow2_make(bytes, empty);
	(void)unlinkat(at, fresh, 0); /* of an attempt that was cut off */
	fd = openat(at, fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : msb_write_full(fd, empty, IMG_QCOW2_EMPTY_BYTES);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	identity(b, base, text);
	if (r == 0) {
		own_path(sb, BASE, path);
		r = msb_write_file_atomic(at, path, text, strlen(text), 0600);
	}
	own_path(sb, OWN, path);
	if (r == 0 && renameat(at, fresh, at, path) < 0)
		r = -errno;
	dir = openat(at, sb->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && (dir < 0 || fsync(dir) < 0))
		r = -errno;
	if (r < 0)
		return io_error("make", r, e);
	*ret = steal_fd(&fd);
	return 0;
}

/* Whether the base is what the sandbox's disk was made on. */
static int same_base(
	const struct ctl_sandbox *sb, const struct ctl_disk_base *b, const struct img_disk *base)
{
	_cleanup_str_ struct msb_str was = MSB_STR_INIT;
	char path[64], text[128];
	int r;

	own_path(sb, BASE, path);
	r = msb_read_file(sb->c->sandboxes_fd, path, sizeof(text), &was);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	identity(b, base, text);
	return !strcmp(was.buf ?: "", text);
}

static uint64_t asked_bytes(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return strtoull(
		ctl_conf_value(sb, CONF_DISK_BYTES), NULL, 10); /* checked when it was set */
}

static int grow(int own, uint64_t bytes, struct msb_err *e)
{
	uint8_t size[8];
	int r;

	img_qcow2_resize(bytes, size);
	r = msb_pwrite_full(own, size, sizeof(size), IMG_QCOW2_SIZE_OFF);
	if (r == 0 && fdatasync(own) < 0)
		r = -errno;
	return r < 0 ? io_error("grow", r, e) : 0;
}

/* The size that it is to have. */
static int size_of(const struct img_disk *d, const struct ctl_disk_base *b, uint64_t asked,
	uint64_t *ret, struct msb_err *e)
{
	uint64_t now = d->own_bytes > d->bytes ? d->own_bytes : d->bytes;

	if (asked && asked < now)
		return msb_err_set(e, ERANGE,
			"disk_bytes is %" PRIu64 ", and %s has %" PRIu64
			" already: a disk only grows",
			asked, b->told, now);
	*ret = asked ?: now;
	return 0;
}

static void mark_used(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	if (sb->used)
		return;
	sb->used = true;
	sb->fresh_bytes = 0;
	ctl_sandbox_fact(sb, ".used", "0");
}

static bool is_empty(int own)
{
	struct stat st;

	return fstat(own, &st) == 0 && st.st_size <= (off_t)IMG_QCOW2_EMPTY_BYTES;
}

int ctl_disk_open(struct ctl_sandbox *sb, const struct ctl_disk_base *b, struct vmm_disk *ret,
	struct msb_err *e)
{
	struct img_open o = ctl_owner_opener(sb);
	_cleanup_close_ int own = -1, base = -1;
	struct img_disk d = {.fd = -1};
	uint64_t bytes = 0;
	char path[64];
	int r, same;

	if (b->digest)
		o.uid = sb->c->uid;
	own_path(sb, OWN, path);
	own = openat(sb->c->sandboxes_fd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (own < 0 && errno != ENOENT)
		return io_error("open", -errno, e);
	r = img_open_disk(&o, b->path, b->format, own, &d, e);
	if (r < 0)
		return msb_err_wrap(e, "image");
	base = d.fd;
	same = own >= 0 ? same_base(sb, b, &d) : 0;
	if (same < 0)
		return io_error("look at the base of", same, e);
	if (own >= 0 && !same && !is_empty(own))
		return msb_err_set(e, ESTALE,
			"image: %s was changed since the sandbox wrote to its disk, which holds nothing "
			"but the difference; put the file back, or make another sandbox",
			b->told);
	if (own >= 0 && !same) {
		close(steal_fd(&own));
		d.own_bytes = 0;
	}
	r = size_of(&d, b, asked_bytes(sb), &bytes, e);
	if (r == 0 && own < 0)
		r = make(sb, b, &d, bytes, &own, e);
	else if (r == 0 && bytes > d.own_bytes)
		r = grow(own, bytes, e);
	if (r < 0)
		return r;
	mark_used(sb);
	*ret = (struct vmm_disk){.overlay_fd = steal_fd(&own), .base_fd = steal_fd(&base)};
	(void)snprintf(ret->base_format, sizeof(ret->base_format), "%s", b->format);
	return 0;
}
