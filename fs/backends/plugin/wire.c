// SPDX-License-Identifier: Apache-2.0
// plugin: FUSE replies, checked.
#include "fs/backends/plugin/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#define NSEC_MAX 999999999u
#define PAGE	 4096u
#define MIN_MINOR                                                                                  \
	12	    /* of 7.x: max_write is in the reply, and structures have their size of today */
#define INIT_MIN 24 /* bytes up to max_write */

_Static_assert(sizeof(struct plugin_shm) == 16, "wire format");
_Static_assert(sizeof(struct plugin_slot) == 16, "wire format");
_Static_assert(offsetof(struct fuse_init_out, max_write) + 4 == INIT_MIN, "FUSE 7.38");

int pw_head(const struct fuse_out_header *h)
{
	if (h->len < sizeof(*h) || h->len > PLUGIN_MAX_REPLY)
		return -EBADMSG;
	if (h->unique == 0) /* a notification: error is its code */
		return h->error > 0 ? 0 : -EBADMSG;
	if (h->error > 0 || h->error < -PLUGIN_PASS || (h->error && h->len != sizeof(*h)))
		return -EBADMSG;
	return 0;
}

int pw_init(const void *p, size_t n, uint32_t offered, struct pw_init *ret)
{
	struct fuse_init_out o = {0};
	uint32_t pages = 32; /* where the plugin does not say */

	if (n < INIT_MIN)
		return -EPROTO;
	memcpy(&o, p, MIN(n, sizeof(o)));
	if (o.major != FUSE_KERNEL_VERSION || o.minor < MIN_MINOR)
		return -EPROTO;
	ret->flags = o.flags & offered;
	if (ret->flags & FUSE_MAX_PAGES)
		pages = MAX(o.max_pages, 1);
	ret->max_io = MIN(MIN(o.max_write, pages * PAGE), FUSE_MAX_IO);
	ret->max_io = MAX(ret->max_io, PAGE); /* as the kernel does */
	return 0;
}

int pw_attr(const struct fuse_attr *a)
{
	switch (a->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: break;
	default: return -EIO;
	}
	if (a->mode > (S_IFMT | 07777) || a->size > INT64_MAX || a->blocks > INT64_MAX)
		return -EIO;
	return a->atimensec > NSEC_MAX || a->mtimensec > NSEC_MAX || a->ctimensec > NSEC_MAX ? -EIO
											     : 0;
}

int pw_entry(const struct fuse_entry_out *e, bool negative)
{
	if (e->nodeid == 0)
		return negative ? 0 : -EIO;
	if (e->nodeid == FUSE_ROOT_ID) /* a directory in itself */
		return -EIO;
	return pw_attr(&e->attr);
}

int pw_dirent(const uint8_t *p, size_t n, bool plus, size_t *at, struct pw_dirent *ret)
{
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;
	struct fuse_dirent d;

	ret->entry.nodeid = 0;
	if (n - *at < head + FUSE_NAME_OFFSET)
		return 0;
	if (plus) {
		memcpy(&ret->entry, p + *at, head);
		if (ret->entry.nodeid == FUSE_ROOT_ID)
			ret->entry.nodeid = 0; /* ".." of a careless plugin */
	}
	memcpy(&d, p + *at + head, FUSE_NAME_OFFSET);
	if (d.namelen == 0 || d.namelen > FUSE_MAX_NAME || d.off == 0)
		return -EIO;
	if (FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen) > n - *at)
		return 0; /* cut off: it comes again */
	ret->name = (const char *)p + *at + head + FUSE_NAME_OFFSET;
	ret->name_bytes = d.namelen;
	ret->ino = d.ino;
	ret->off = d.off;
	ret->type = d.type & 15;
	if (memchr(ret->name, '/', d.namelen) || memchr(ret->name, 0, d.namelen))
		return -EIO;
	if (d.namelen <= 2 && !memcmp(ret->name, "..", d.namelen))
		ret->entry.nodeid = 0; /* no kernel gives such a reference back */
	if (ret->entry.nodeid && pw_attr(&ret->entry.attr) < 0)
		return -EIO;
	*at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen);
	return 1;
}

int pw_shm(const void *p, size_t n, struct plugin_shm *ret)
{
	if (n != sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, p, n);
	if (ret->version != PLUGIN_SHM_VERSION || ret->slot_bytes < PAGE ||
		ret->slot_bytes > FUSE_MAX_IO || ret->slot_bytes % PAGE ||
		ret->bytes < ret->slot_bytes || ret->bytes > PLUGIN_MAX_SHM)
		return -EBADMSG;
	return 0;
}
