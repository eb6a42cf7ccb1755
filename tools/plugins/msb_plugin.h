/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For plugins in C that speak FUSE's messages themselves (protocol=fuse); msb-fs-plugin(5)
 * explains. Needs nothing but this file, linux/fuse.h and a C library. One reader, any number of
 * repliers.
 */
#ifndef MSB_PLUGIN_H
#define MSB_PLUGIN_H

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MSB_PLUGIN_FD	3   /* the socket, unless MSB_PLUGIN_FD says another */
#define MSB_PLUGIN_PASS 999 /* errno: this request is for what the plugin is laid over */

/* Bytes of the longest request: a WRITE of 1 MiB in the stream. */
#define MSB_PLUGIN_MAX_REQUEST ((1u << 20) + 4096u)

/* The data path by shared memory. */
#define MSB_PLUGIN_NOTIFY_SHM  0x534d		   /* fuse_out_header.error of the offer */
#define MSB_PLUGIN_DATA_SHM    (UINT32_C(1) << 31) /* in read_flags, write_flags */
#define MSB_PLUGIN_SHM_VERSION 1
#define MSB_PLUGIN_SLOT_BYTES  (1u << 20)

struct msb_plugin_shm { /* payload of the offer; the memfd comes along */
	uint32_t version, slot_bytes;
	uint64_t bytes;
};
struct msb_plugin_slot { /* behind fuse_read_in, and instead of a WRITE's data */
	uint64_t off;
	uint32_t len, padding;
};

struct msb_plugin {
	int fd;
	uint8_t *shm; /* NULL: data is in the stream */
	size_t shm_bytes;
	pthread_mutex_t lock; /* one reply at a time goes out */
};

static inline void msb_plugin_init(struct msb_plugin *p)
{
	const char *fd = getenv("MSB_PLUGIN_FD");

	memset(p, 0, sizeof(*p));
	p->fd = fd ? atoi(fd) : MSB_PLUGIN_FD;
	(void)pthread_mutex_init(&p->lock, NULL);
}

/* All of a message, with @fd along where it is not -1. 0, or -1 and errno. */
static inline int msb_plugin_send(struct msb_plugin *p, const struct iovec *v, int n, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	size_t off = 0;
	int i = 0, r = 0;

	(void)pthread_mutex_lock(&p->lock);
	while (i < n) {
		struct iovec part = {(uint8_t *)v[i].iov_base + off, v[i].iov_len - off};
		struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
		ssize_t k;

		if (fd >= 0) {
			struct cmsghdr *c = (struct cmsghdr *)(void *)control;

			m.msg_control = control;
			m.msg_controllen = sizeof(control);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		} else if (off == 0) { /* in one call, as a rule */
			m.msg_iov = (struct iovec *)(uintptr_t)(v + i);
			m.msg_iovlen = (size_t)(n - i);
		}
		k = sendmsg(p->fd, &m, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			r = -1;
			break;
		}
		fd = -1;
		off += (size_t)k;
		while (i < n && off >= v[i].iov_len)
			off -= v[i++].iov_len;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return r;
}

/**
 * msb_plugin_share() - Offer shared memory for data, once INIT has been answered
 * @slots: of MSB_PLUGIN_SLOT_BYTES each: so many requests at once can use it, at most 64
 * Return: 0, or -1 and errno.
 */
static inline int msb_plugin_share(struct msb_plugin *p, unsigned int slots)
{
	struct msb_plugin_shm s = {.version = MSB_PLUGIN_SHM_VERSION,
		.slot_bytes = MSB_PLUGIN_SLOT_BYTES,
		.bytes = (uint64_t)slots * MSB_PLUGIN_SLOT_BYTES};
	struct fuse_out_header h = {.len = sizeof(h) + sizeof(s), .error = MSB_PLUGIN_NOTIFY_SHM};
	struct {
		struct fuse_out_header h;
		struct msb_plugin_shm s;
	} m = {h, s};
	struct iovec v = {&m, sizeof(m)};
	int fd = memfd_create("msb-plugin", MFD_CLOEXEC), r = -1;

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)s.bytes) == 0) {
		p->shm = (uint8_t *)mmap(NULL, s.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p->shm == MAP_FAILED) {
			p->shm = NULL;
		} else {
			p->shm_bytes = s.bytes;
			r = msb_plugin_send(p, &v, 1, fd);
		}
	}
	close(fd);
	return r;
}

static inline int msb_plugin_get(struct msb_plugin *p, uint8_t *buf, size_t n)
{
	while (n) {
		ssize_t k = read(p->fd, buf, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -1 : 0;
		buf += k;
		n -= (size_t)k;
	}
	return 1;
}

/* One request, whole: its bytes; 0 at the end; -1 and errno. */
static inline ssize_t msb_plugin_receive(struct msb_plugin *p, void *buf, size_t cap)
{
	struct fuse_in_header *h = (struct fuse_in_header *)buf;
	int r = msb_plugin_get(p, (uint8_t *)buf, sizeof(*h));

	if (r <= 0)
		return r;
	if (h->len < sizeof(*h) || h->len > cap) {
		errno = EPROTO;
		return -1;
	}
	if (h->len > sizeof(*h))
		r = msb_plugin_get(p, (uint8_t *)buf + sizeof(*h), h->len - sizeof(*h));
	return r <= 0 ? r : (ssize_t)h->len;
}

/* @error: 0, or a negative errno with nothing behind it. */
static inline int msb_plugin_reply(
	struct msb_plugin *p, uint64_t unique, int error, const void *payload, size_t n)
{
	struct fuse_out_header h = {.error = error, .unique = unique};
	struct iovec v[] = {{&h, sizeof(h)}, {(void *)(uintptr_t)payload, n}};

	h.len = (uint32_t)(sizeof(h) + n);
	return msb_plugin_send(p, v, n ? 2 : 1, -1);
}

/* The data of a WRITE, in->size bytes of it. */
static inline const void *msb_plugin_write_data(
	const struct msb_plugin *p, const struct fuse_write_in *in)
{
	const struct msb_plugin_slot *s = (const struct msb_plugin_slot *)(const void *)(in + 1);

	return in->write_flags & MSB_PLUGIN_DATA_SHM ? (const void *)(p->shm + s->off)
						     : (const void *)(in + 1);
}

/* Where the data of a READ is to be put; NULL: it goes by msb_plugin_reply(). */
static inline void *msb_plugin_read_data(const struct msb_plugin *p, const struct fuse_read_in *in)
{
	const struct msb_plugin_slot *s = (const struct msb_plugin_slot *)(const void *)(in + 1);

	return in->read_flags & MSB_PLUGIN_DATA_SHM ? p->shm + s->off : NULL;
}

/* Answers a READ, with @data where it is not in its place yet. */
static inline int msb_plugin_reply_read(struct msb_plugin *p, uint64_t unique,
	const struct fuse_read_in *in, const void *data, size_t n)
{
	struct fuse_write_out o = {.size = (uint32_t)n};
	void *to = msb_plugin_read_data(p, in);

	if (!to)
		return msb_plugin_reply(p, unique, 0, data, n);
	if (to != data && n)
		memcpy(to, data, n);
	return msb_plugin_reply(p, unique, 0, &o, sizeof(o));
}

#endif
