/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin in a thread: a small file system that speaks FUSE, and can be told to misbehave. */
#ifndef MSB_TESTS_PLUGIN_FAKE_H
#define MSB_TESTS_PLUGIN_FAKE_H

#include "fs/backends/plugin/plugin.h"
#include "tools/plugins/msb_plugin.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/param.h>
#include <sys/stat.h>

#define FAKE_FILES 16
#define FAKE_BYTES (2u << 20)

struct fake_file {
	char name[64]; /* "": free */
	uint32_t mode;
	uint64_t parent, size, refs;
	uint8_t *data;
};

struct fake {
	struct msb_plugin p;
	pthread_t thread;
	/* Sees each request first; true: it has answered, or does not want to. */
	bool (*first)(struct fake *, const struct fuse_in_header *, const void *arg);
	uint64_t no;		/* bits by opcode: answered ENOSYS */
	uint32_t init_flags;	/* agreed to */
	uint32_t max_write;	/* 0: FUSE's usual */
	unsigned int shm_slots; /* shared memory is offered */
	_Atomic uint32_t asked[64], by_shm;
	_Atomic int64_t forgotten;
	uint64_t id_base; /* node id of file[0] */
	uint64_t last_fh;
	struct fake_file file[FAKE_FILES];
};

static inline int fake_add(struct fake *f, uint64_t parent, const char *name, uint32_t mode)
{
	for (int i = 0; i < FAKE_FILES; i++)
		if (!f->file[i].name[0]) {
			struct fake_file *n = &f->file[i];

			(void)snprintf(n->name, sizeof(n->name), "%s", name);
			n->mode = mode;
			n->parent = parent;
			n->size = 0;
			n->data = S_ISREG(mode) ? calloc(1, FAKE_BYTES) : NULL;
			return i;
		}
	return -1;
}

static inline struct fake_file *fake_of(struct fake *f, uint64_t id)
{
	return id >= f->id_base && id < f->id_base + FAKE_FILES && f->file[id - f->id_base].name[0]
		       ? &f->file[id - f->id_base]
		       : NULL;
}

static inline struct fake_file *fake_find(struct fake *f, uint64_t parent, const char *name)
{
	for (int i = 0; i < FAKE_FILES; i++)
		if (f->file[i].name[0] && f->file[i].parent == parent &&
			!strcmp(f->file[i].name, name))
			return &f->file[i];
	return NULL;
}

static inline uint64_t fake_id(struct fake *f, const struct fake_file *n)
{
	return n ? f->id_base + (uint64_t)(n - f->file) : 1;
}

static inline void fake_attr(struct fake *f, const struct fake_file *n, struct fuse_attr *a)
{
	*a = (struct fuse_attr){.ino = fake_id(f, n),
		.mode = n ? n->mode : S_IFDIR | 0755,
		.nlink = 1,
		.size = n ? n->size : 0,
		.blksize = 4096};
}

static inline int fake_entry(struct fake *f, uint64_t unique, struct fake_file *n)
{
	struct fuse_entry_out e = {.nodeid = fake_id(f, n), .generation = 7, .entry_valid = 1};

	n->refs++;
	fake_attr(f, n, &e.attr);
	return msb_plugin_reply(&f->p, unique, 0, &e, sizeof(e));
}

static inline size_t fake_list(struct fake *f, uint64_t dir, uint64_t off, bool plus, uint8_t *buf)
{
	size_t n = 0, head = plus ? sizeof(struct fuse_entry_out) : 0;

	for (uint64_t i = off; i < FAKE_FILES + 2; i++) {
		struct fake_file *x = i < 2 ? NULL : &f->file[i - 2];
		const char *name = i == 0 ? "." : i == 1 ? ".." : x->name;
		struct fuse_dirent d = {.ino = i + 1,
			.off = i + 1,
			.namelen = (uint32_t)strlen(name),
			.type = !x || S_ISDIR(x->mode) ? 4 : 8};

		if (!name[0] || (x && x->parent != dir))
			continue;
		memset(buf + n, 0, head + sizeof(d) + 256);
		if (plus && x) {
			struct fuse_entry_out e = {.nodeid = fake_id(f, x), .generation = 7};

			x->refs++;
			fake_attr(f, x, &e.attr);
			memcpy(buf + n, &e, sizeof(e));
		}
		memcpy(buf + n + head, &d, FUSE_NAME_OFFSET);
		memcpy(buf + n + head + FUSE_NAME_OFFSET, name, d.namelen);
		n += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen);
	}
	return n;
}

static inline void fake_serve(struct fake *f, const struct fuse_in_header *h)
{
	static _Thread_local uint8_t list[16384];
	const void *arg = h + 1;
	struct fake_file *n = fake_of(f, h->nodeid);
	int error = 0;

	if (f->no >> h->opcode & 1) {
		(void)msb_plugin_reply(&f->p, h->unique, -ENOSYS, NULL, 0);
		return;
	}
	switch (h->opcode) {
	case FUSE_INIT: {
		const struct fuse_init_in *in = arg;
		struct fuse_init_out o = {.major = 7,
			.minor = 38,
			.flags = in->flags & f->init_flags,
			.max_write = f->max_write ?: 1u << 20,
			.max_pages = 256};

		(void)msb_plugin_reply(&f->p, h->unique, 0, &o, sizeof(o));
		if (f->shm_slots)
			(void)msb_plugin_share(&f->p, f->shm_slots);
		return;
	}
	case FUSE_LOOKUP:
		n = fake_find(f, h->nodeid, arg);
		if (n) {
			(void)fake_entry(f, h->unique, n);
			return;
		}
		error = -ENOENT;
		break;
	case FUSE_FORGET:
		f->forgotten += (int64_t)((const struct fuse_forget_in *)arg)->nlookup;
		return;
	case FUSE_GETATTR:
	case FUSE_SETATTR: {
		const struct fuse_setattr_in *in = arg;
		struct fuse_attr_out o = {.attr_valid = 1};

		if (h->opcode == FUSE_SETATTR && n && in->valid & FATTR_SIZE)
			n->size = in->size;
		if (h->opcode == FUSE_SETATTR && n && in->valid & FATTR_MODE)
			n->mode = (n->mode & S_IFMT) | (in->mode & 07777);
		fake_attr(f, n, &o.attr);
		(void)msb_plugin_reply(&f->p, h->unique, 0, &o, sizeof(o));
		return;
	}
	case FUSE_MKDIR:
	case FUSE_MKNOD: {
		const struct fuse_mknod_in *in = arg;
		const char *name = h->opcode == FUSE_MKNOD
					   ? (const char *)(in + 1)
					   : (const char *)arg + sizeof(struct fuse_mkdir_in);

		if (fake_find(f, h->nodeid, name)) {
			error = -EEXIST;
			break;
		}
		n = &f->file[fake_add(f, h->nodeid, name,
			h->opcode == FUSE_MKNOD ? in->mode : S_IFDIR | in->mode)];
		(void)fake_entry(f, h->unique, n);
		return;
	}
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		struct fuse_open_out o = {.fh = ++f->last_fh};

		(void)msb_plugin_reply(&f->p, h->unique, 0, &o, sizeof(o));
		return;
	}
	case FUSE_READ: {
		const struct fuse_read_in *in = arg;
		uint64_t left = n && in->offset < n->size ? n->size - in->offset : 0;

		f->by_shm += (in->read_flags & MSB_PLUGIN_DATA_SHM) != 0;
		(void)msb_plugin_reply_read(&f->p, h->unique, in,
			n ? n->data + (left ? in->offset : 0) : NULL, MIN(left, in->size));
		return;
	}
	case FUSE_WRITE: {
		const struct fuse_write_in *in = arg;
		struct fuse_write_out o = {.size = in->size};

		f->by_shm += (in->write_flags & MSB_PLUGIN_DATA_SHM) != 0;
		memcpy(n->data + in->offset, msb_plugin_write_data(&f->p, in), in->size);
		n->size = MAX(n->size, in->offset + in->size);
		(void)msb_plugin_reply(&f->p, h->unique, 0, &o, sizeof(o));
		return;
	}
	case FUSE_READDIR:
	case FUSE_READDIRPLUS: {
		const struct fuse_read_in *in = arg;

		(void)msb_plugin_reply(&f->p, h->unique, 0, list,
			fake_list(f, h->nodeid, in->offset, h->opcode == FUSE_READDIRPLUS, list));
		return;
	}
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		n = fake_find(f, h->nodeid, arg);
		if (n) {
			free(n->data);
			n->data = NULL;
			n->name[0] = '\0';
		}
		error = n ? 0 : -ENOENT;
		break;
	case FUSE_RENAME: {
		const struct fuse_rename_in *in = arg;
		const char *from = (const char *)(in + 1), *to = from + strlen(from) + 1;

		n = fake_find(f, h->nodeid, from);
		if (n) {
			n->parent = in->newdir;
			(void)snprintf(n->name, sizeof(n->name), "%s", to);
		}
		error = n ? 0 : -ENOENT;
		break;
	}
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR: break;
	default: error = -ENOSYS;
	}
	(void)msb_plugin_reply(&f->p, h->unique, error, NULL, 0);
}

static inline void *fake_main(void *arg)
{
	struct fake *f = arg;
	uint8_t *buf = malloc(MSB_PLUGIN_MAX_REQUEST);
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)buf;

	while (msb_plugin_receive(&f->p, buf, MSB_PLUGIN_MAX_REQUEST) > 0) {
		f->asked[h->opcode & 63]++;
		if (!f->first || !f->first(f, h, h + 1))
			fake_serve(f, h);
	}
	free(buf);
	return NULL;
}

/* Starts it; returns the end for the file server. */
static inline int fake_start(struct fake *f)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	(void)pthread_mutex_init(&f->p.lock, NULL);
	f->p.fd = pair[1];
	f->p.shm = NULL;
	if (!f->id_base)
		f->id_base = UINT64_C(0xfedcba9800000100); /* ids are 64 bits of the plugin's */
	if (pthread_create(&f->thread, NULL, fake_main, f) != 0)
		abort();
	return pair[0];
}

/* As a process that is killed. */
static inline void fake_kill(struct fake *f)
{
	(void)shutdown(f->p.fd, SHUT_RDWR);
	(void)pthread_join(f->thread, NULL);
	close(f->p.fd);
	f->p.fd = -1;
	if (f->p.shm)
		(void)munmap(f->p.shm, f->p.shm_bytes);
	f->p.shm = NULL;
}

static inline void fake_done(struct fake *f)
{
	if (f->p.fd >= 0)
		fake_kill(f);
	for (int i = 0; i < FAKE_FILES; i++)
		free(f->file[i].data);
	memset(f->file, 0, sizeof(f->file));
}

#endif
