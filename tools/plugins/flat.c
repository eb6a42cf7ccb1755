// SPDX-License-Identifier: Apache-2.0
/*
 * A plugin in C: one directory of files in memory, with data by shared memory (protocol=fuse).
 *
 *	cc -O2 -o flat flat.c -lpthread		msb_plugin.h is installed with msb
 *	/home/me/flat /scratch plugin
 *
 * What it does not know is ENOSYS, which is what it would be to the kernel.
 */
#include "msb_plugin.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define FILES	   256
#define FILE_BYTES (16u << 20)
#define FIRST_ID   2
#define SHM_SLOTS  8

struct file {
	char name[256]; /* "": free, or unlinked and still in use */
	uint32_t mode, uid, gid;
	uint64_t lookups; /* 0: free */
	uint64_t size, cap;
	uint8_t *data;
	struct timespec mtime;
};

static struct file files[FILES];
static struct msb_plugin plugin;

static struct file *by_id(uint64_t id)
{
	return id >= FIRST_ID && id < FIRST_ID + FILES && files[id - FIRST_ID].mode
		       ? &files[id - FIRST_ID]
		       : NULL;
}

static struct file *by_name(const char *name)
{
	for (int i = 0; i < FILES; i++)
		if (files[i].mode && !strcmp(files[i].name, name))
			return &files[i];
	return NULL;
}

static void attr(const struct file *f, struct fuse_attr *a)
{
	memset(a, 0, sizeof(*a));
	a->ino = f ? FIRST_ID + (uint64_t)(f - files) : FUSE_ROOT_ID;
	a->mode = f ? f->mode : S_IFDIR | 01777;
	a->nlink = f ? f->name[0] != '\0' : 2;
	a->blksize = 4096;
	if (f) {
		a->uid = f->uid;
		a->gid = f->gid;
		a->size = f->size;
		a->blocks = (f->cap + 511) / 512;
		a->mtime = a->ctime = a->atime = (uint64_t)f->mtime.tv_sec;
		a->mtimensec = a->ctimensec = a->atimensec = (uint32_t)f->mtime.tv_nsec;
	}
}

static void entry(struct file *f, struct fuse_entry_out *e)
{
	memset(e, 0, sizeof(*e));
	e->nodeid = FIRST_ID + (uint64_t)(f - files);
	e->entry_valid = e->attr_valid = 1;
	attr(f, &e->attr);
	f->lookups++;
}

static void touch(struct file *f)
{
	(void)clock_gettime(CLOCK_REALTIME, &f->mtime);
}

/* 0 or -errno; what is added reads as zeros. */
static int resize(struct file *f, uint64_t size)
{
	if (size > FILE_BYTES)
		return -EFBIG;
	if (size > f->cap) {
		uint64_t cap = size < 2 * f->cap ? 2 * f->cap : size;
		uint8_t *p = realloc(f->data, cap);

		if (!p)
			return -ENOSPC;
		f->data = p;
		f->cap = cap;
	}
	if (size > f->size)
		memset(f->data + f->size, 0, size - f->size);
	f->size = size;
	return 0;
}

static void drop(struct file *f)
{
	if (f->lookups || f->name[0])
		return;
	free(f->data);
	memset(f, 0, sizeof(*f));
}

static struct file *make(const char *name, uint32_t mode, const struct fuse_in_header *h)
{
	for (int i = 0; i < FILES; i++)
		if (!files[i].mode) {
			struct file *f = &files[i];

			(void)snprintf(f->name, sizeof(f->name), "%s", name);
			f->mode = S_IFREG | (mode & 07777);
			f->uid = h->uid;
			f->gid = h->gid;
			touch(f);
			return f;
		}
	return NULL;
}

static void error(const struct fuse_in_header *h, int e)
{
	(void)msb_plugin_reply(&plugin, h->unique, e, NULL, 0);
}

static void done(const struct fuse_in_header *h, const void *p, size_t n)
{
	(void)msb_plugin_reply(&plugin, h->unique, 0, p, n);
}

static void do_init(const struct fuse_in_header *h, const struct fuse_init_in *in)
{
	struct fuse_init_out o;

	memset(&o, 0, sizeof(o));
	o.major = FUSE_KERNEL_VERSION;
	o.minor = FUSE_KERNEL_MINOR_VERSION;
	o.flags = in->flags & (FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_MAX_PAGES);
	o.max_write = MSB_PLUGIN_SLOT_BYTES;
	o.max_pages = MSB_PLUGIN_SLOT_BYTES / 4096;
	done(h, &o, sizeof(o));
	(void)msb_plugin_share(&plugin, SHM_SLOTS); /* without it, data is in the stream */
}

static void do_create(const struct fuse_in_header *h, const struct fuse_create_in *in)
{
	const char *name = (const char *)(in + 1);
	struct file *f = by_name(name);
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} out;

	if (f && in->flags & O_EXCL) {
		error(h, -EEXIST);
		return;
	}
	if (!f)
		f = make(name, in->mode, h);
	else if (in->flags & O_TRUNC)
		(void)resize(f, 0);
	if (!f) {
		error(h, -ENOSPC);
		return;
	}
	memset(&out, 0, sizeof(out));
	entry(f, &out.e);
	done(h, &out, sizeof(out));
}

static void do_setattr(
	const struct fuse_in_header *h, const struct fuse_setattr_in *in, struct file *f)
{
	struct fuse_attr_out o;
	int r = f && in->valid & FATTR_SIZE ? resize(f, in->size) : 0;

	if (r < 0 || !f) {
		error(h, f ? r : -EPERM);
		return;
	}
	if (in->valid & FATTR_MODE)
		f->mode = S_IFREG | (in->mode & 07777);
	if (in->valid & FATTR_UID)
		f->uid = in->uid;
	if (in->valid & FATTR_GID)
		f->gid = in->gid;
	touch(f);
	if (in->valid & FATTR_MTIME && !(in->valid & FATTR_MTIME_NOW)) {
		f->mtime.tv_sec = (time_t)in->mtime;
		f->mtime.tv_nsec = in->mtimensec;
	}
	memset(&o, 0, sizeof(o));
	attr(f, &o.attr);
	done(h, &o, sizeof(o));
}

static void do_write(const struct fuse_in_header *h, const struct fuse_write_in *in, struct file *f)
{
	struct fuse_write_out o = {.size = in->size};

	if (in->offset > FILE_BYTES || in->offset + in->size > FILE_BYTES) {
		error(h, -EFBIG);
		return;
	}
	if (in->offset + in->size > f->size && resize(f, in->offset + in->size) < 0) {
		error(h, -ENOSPC);
		return;
	}
	memcpy(f->data + in->offset, msb_plugin_write_data(&plugin, in), in->size);
	touch(f);
	done(h, &o, sizeof(o));
}

static void do_read(
	const struct fuse_in_header *h, const struct fuse_read_in *in, const struct file *f)
{
	uint64_t left = in->offset < f->size ? f->size - in->offset : 0;

	(void)msb_plugin_reply_read(&plugin, h->unique, in, left ? f->data + in->offset : NULL,
		left < in->size ? left : in->size);
}

static void do_readdir(const struct fuse_in_header *h, const struct fuse_read_in *in)
{
	uint8_t list[4096];
	size_t n = 0;

	for (uint64_t i = in->offset; i < FILES + 2; i++) {
		const char *name = i == 0 ? "." : i == 1 ? ".." : files[i - 2].name;
		struct fuse_dirent d = {.ino = i < 2 ? FUSE_ROOT_ID : FIRST_ID + i - 2,
			.off = i + 1,
			.namelen = (uint32_t)strlen(name),
			.type = i < 2 ? 4 : 8};
		size_t bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);

		if (!name[0])
			continue;
		if (n + bytes > sizeof(list) || n + bytes > in->size)
			break;
		memset(list + n, 0, bytes);
		memcpy(list + n, &d, FUSE_NAME_OFFSET);
		memcpy(list + n + FUSE_NAME_OFFSET, name, d.namelen);
		n += bytes;
	}
	done(h, list, n);
}

static void do_rename(const struct fuse_in_header *h, const char *from, const char *to)
{
	struct file *f = by_name(from), *over = by_name(to);

	if (!f) {
		error(h, -ENOENT);
		return;
	}
	if (over && over != f) {
		over->name[0] = '\0';
		drop(over);
	}
	(void)snprintf(f->name, sizeof(f->name), "%s", to);
	error(h, 0);
}

static void serve(const struct fuse_in_header *h, const void *arg)
{
	struct file *f = by_id(h->nodeid), *found;
	struct fuse_open_out opened = {0};
	struct fuse_entry_out e;
	struct fuse_attr_out a;

	switch (h->opcode) {
	case FUSE_INIT: do_init(h, arg); break;
	case FUSE_LOOKUP:
		found = by_name(arg);
		if (found) {
			entry(found, &e);
			done(h, &e, sizeof(e));
		} else {
			error(h, -ENOENT);
		}
		break;
	case FUSE_FORGET: /* has no answer */
		if (f) {
			f->lookups -= ((const struct fuse_forget_in *)arg)->nlookup;
			drop(f);
		}
		break;
	case FUSE_GETATTR:
		memset(&a, 0, sizeof(a));
		attr(f, &a.attr);
		done(h, &a, sizeof(a));
		break;
	case FUSE_SETATTR: do_setattr(h, arg, f); break;
	case FUSE_CREATE: do_create(h, arg); break;
	case FUSE_OPEN:
		if (f && ((const struct fuse_open_in *)arg)->flags & O_TRUNC)
			(void)resize(f, 0);
		done(h, &opened, sizeof(opened));
		break;
	case FUSE_OPENDIR: done(h, &opened, sizeof(opened)); break;
	case FUSE_READDIR: do_readdir(h, arg); break;
	case FUSE_UNLINK:
		found = by_name(arg);
		if (found) {
			found->name[0] = '\0';
			drop(found);
		}
		error(h, found ? 0 : -ENOENT);
		break;
	case FUSE_RENAME:
		arg = (const struct fuse_rename_in *)arg + 1;
		do_rename(h, arg, (const char *)arg + strlen(arg) + 1);
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNC: error(h, 0); break;
	case FUSE_READ:
	case FUSE_WRITE:
		if (!f)
			error(h, -ESTALE);
		else if (h->opcode == FUSE_READ)
			do_read(h, arg, f);
		else
			do_write(h, arg, f);
		break;
	default: error(h, -ENOSYS);
	}
}

int main(void)
{
	static _Alignas(8) uint8_t request[MSB_PLUGIN_MAX_REQUEST];
	ssize_t n;

	msb_plugin_init(&plugin);
	while ((n = msb_plugin_receive(&plugin, request, sizeof(request))) > 0)
		serve((const void *)request, request + sizeof(struct fuse_in_header));
	if (n < 0)
		perror("flat");
	return n < 0;
}
