// SPDX-License-Identifier: Apache-2.0
/*
 * Runs an unmodified libfuse file system as a plugin: preloaded, it takes the place of mounting.
 *
 * The session gets its requests from the plugin's socket by libfuse's own hook for that
 * (fuse_session_custom_io(), libfuse 3.14), whether the program uses the low-level or the
 * high-level API. Data of reads and writes travels in shared memory; libfuse sees it in the
 * message.
 */
#define FUSE_USE_VERSION 314
#include "tools/plugins/msb_plugin.h"

#include <fuse_lowlevel.h>
#include <stdio.h>

#define SLOTS	 16
#define WAITING	 64 /* as many requests as can be under way */
#define MIN_READ sizeof(struct fuse_read_in)

static struct msb_plugin plugin;
static pthread_mutex_t read_lock = PTHREAD_MUTEX_INITIALIZER;

/* READs whose data goes into shared memory. */
static struct {
	uint64_t unique; /* 0: free */
	struct msb_plugin_slot slot;
} waiting[WAITING];
static pthread_mutex_t waiting_lock = PTHREAD_MUTEX_INITIALIZER;

static int keep(uint64_t unique, const struct msb_plugin_slot *slot)
{
	int found = -1;

	(void)pthread_mutex_lock(&waiting_lock);
	for (int i = 0; i < WAITING && found < 0; i++)
		if (!waiting[i].unique)
			found = i;
	if (found >= 0) {
		waiting[found].unique = unique;
		waiting[found].slot = *slot;
	}
	(void)pthread_mutex_unlock(&waiting_lock);
	return found;
}

static int take(uint64_t unique, struct msb_plugin_slot *ret)
{
	int found = 0;

	(void)pthread_mutex_lock(&waiting_lock);
	for (int i = 0; i < WAITING && !found; i++)
		if (waiting[i].unique == unique) {
			*ret = waiting[i].slot;
			waiting[i].unique = 0;
			found = 1;
		}
	(void)pthread_mutex_unlock(&waiting_lock);
	return found;
}

/* A request as libfuse knows it: shared memory is put into it, or remembered for the reply. */
static ssize_t plain(uint8_t *buf, size_t n, size_t cap)
{
	struct fuse_in_header *h = (void *)buf;

	if (h->opcode == FUSE_WRITE) {
		struct fuse_write_in *in = (void *)(h + 1);
		const size_t head = sizeof(*h) + sizeof(*in);

		if (n < head + sizeof(struct msb_plugin_slot) ||
			!(in->write_flags & MSB_PLUGIN_DATA_SHM))
			return (ssize_t)n;
		if (head + in->size > cap) {
			errno = EPROTO;
			return -1;
		}
		memcpy(buf + head, msb_plugin_write_data(&plugin, in), in->size);
		in->write_flags &= ~MSB_PLUGIN_DATA_SHM;
		h->len = (uint32_t)(head + in->size);
	} else if (h->opcode == FUSE_READ) {
		struct fuse_read_in *in = (void *)(h + 1);

		if (n < sizeof(*h) + MIN_READ + sizeof(struct msb_plugin_slot) ||
			!(in->read_flags & MSB_PLUGIN_DATA_SHM))
			return (ssize_t)n;
		if (keep(h->unique, (const void *)(in + 1)) < 0) {
			errno = EPROTO;
			return -1;
		}
		in->read_flags &= ~MSB_PLUGIN_DATA_SHM;
		h->len = sizeof(*h) + sizeof(*in);
	}
	return h->len;
}

static ssize_t hook_read(int fd, void *buf, size_t cap, void *userdata)
{
	ssize_t n;

	(void)fd;
	(void)userdata;
	/* Threads of libfuse read at once; a message belongs to one of them. */
	(void)pthread_mutex_lock(&read_lock);
	n = msb_plugin_receive(&plugin, buf, cap);
	(void)pthread_mutex_unlock(&read_lock);
	if (n == 0) {
		errno = ENODEV; /* what libfuse takes for an unmount */
		return -1;
	}
	return n < 0 ? n : plain(buf, (size_t)n, cap);
}

static ssize_t hook_writev(int fd, struct iovec *iov, int n, void *userdata)
{
	const struct fuse_out_header *h = iov[0].iov_base;
	static int shared;
	struct msb_plugin_slot slot;
	ssize_t all = 0;
	int r;

	(void)fd;
	(void)userdata;
	for (int i = 0; i < n; i++)
		all += (ssize_t)iov[i].iov_len;
	if (h->unique && take(h->unique, &slot) && !h->error) {
		uint8_t *to = plugin.shm + slot.off;
		struct fuse_write_out o = {.size = (uint32_t)(all - (ssize_t)sizeof(*h))};

		if (o.size > slot.len) {
			errno = EINVAL;
			return -1;
		}
		for (int i = 1; i < n; i++) {
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
			to += iov[i].iov_len;
		}
		r = msb_plugin_reply(&plugin, h->unique, 0, &o, sizeof(o));
	} else {
		r = msb_plugin_send(&plugin, iov, n, -1);
	}
	/* The first reply is INIT's. A plugin without shared memory works, too. */
	if (r == 0 && !__atomic_exchange_n(&shared, 1, __ATOMIC_SEQ_CST))
		(void)msb_plugin_share(&plugin, SLOTS);
	return r < 0 ? -1 : all;
}

int fuse_session_mount(struct fuse_session *se, const char *mountpoint)
{
	static const struct fuse_custom_io io = {.read = hook_read, .writev = hook_writev};
	int r;

	(void)mountpoint;
	msb_plugin_init(&plugin);
	r = fuse_session_custom_io(se, &io, plugin.fd);
	if (r < 0)
		(void)fprintf(stderr, "msb: this libfuse cannot be a plugin: %s\n", strerror(-r));
	return r < 0 ? -1 : 0;
}

void fuse_session_unmount(struct fuse_session *se)
{
	(void)se;
}

/* It stays the process that msbd started and waits for. */
int fuse_daemonize(int foreground)
{
	(void)foreground;
	return 0;
}
