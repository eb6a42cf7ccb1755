// SPDX-License-Identifier: Apache-2.0
// vhost-user, device side: the memory that a front end shares: the guest's, the dirty log, and the
// record of chains in flight.
#include "fs/vhost_user_priv.h"
#include "base/cleanup.h"
#include "fs/guard.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096u

/* Maps @bytes at @offset of a file. Host address of the first, or NULL with errno. */
static uint8_t *map(int fd, uint64_t offset, uint64_t bytes)
{
	uint64_t lead = offset % PAGE;
	struct stat st;
	uint8_t *p;

	errno = EINVAL;
	if (bytes == 0 || bytes > VU_MAX_MEM || offset > INT64_MAX - VU_MAX_MEM)
		return NULL;
	/* A mapping past the file's end would fault at a touch; one that is made smaller later is
	 * the guard's. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < offset + bytes)
		return NULL;
	p = mmap(NULL, bytes + lead, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)(offset - lead));
	if (p == MAP_FAILED)
		return NULL;
	guard_add(p, bytes + lead);
	return p + lead;
}

static void unmap(uint8_t *p, uint64_t bytes)
{
	size_t lead = (uintptr_t)p % PAGE;

	if (p) {
		guard_del(p - lead);
		munmap(p - lead, bytes + lead);
	}
}

static void unmap_regions(struct vu_dev *d)
{
	for (unsigned int i = 0; i < d->mem.n; i++)
		unmap(d->mem.r[i].host, d->mem.r[i].bytes);
	d->mem.n = 0;
}

static void unmap_log(struct vu_dev *d)
{
	unmap(d->log.bits, d->log.bytes);
	d->log = (struct gmem_log){0};
}

static void unmap_inflight(struct vu_dev *d)
{
	unmap(d->inflight.at, d->inflight.bytes);
	d->inflight.at = NULL;
}

void vu_unmap_all(struct vu_dev *d)
{
	unmap_regions(d);
	unmap_log(d);
	unmap_inflight(d);
}

static int map_region(struct vu_dev *d, const struct vu_mem_region *w, int fd)
{
	struct gmem_region r = {.gpa = w->gpa, .uaddr = w->uaddr, .bytes = w->bytes};
	int e;

	r.host = map(fd, w->mmap_offset, w->bytes);
	if (!r.host)
		return -errno;
	e = gmem_add(&d->mem, &r);
	if (e < 0)
		unmap(r.host, r.bytes);
	return e;
}

int vu_set_mem_table(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->mem.n == 0 || m->mem.n > VU_MAX_FDS || m->mem.n != nfds ||
		m->size < 8 + m->mem.n * sizeof(m->mem.r[0]))
		return -EINVAL;
	vu_stop_all(d);
	unmap_regions(d);
	for (unsigned int i = 0; i < m->mem.n; i++) {
		int r = map_region(d, &m->mem.r[i], fds[i]);

		if (r < 0)
			return r;
	}
	return vu_restart_all(d);
}

int vu_add_mem_reg(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	int r;

	if (nfds != 1)
		return -EINVAL;
	vu_stop_all(d);
	r = map_region(d, &m->mem_one.r, fds[0]);
	return r < 0 ? r : vu_restart_all(d);
}

int vu_rem_mem_reg(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	const struct vu_mem_region *w = &m->mem_one.r;
	struct gmem_region r;
	int e;

	vu_stop_all(d);
	e = gmem_del(&d->mem, w->gpa, w->uaddr, w->bytes, &r);
	if (e < 0)
		return e;
	unmap(r.host, r.bytes);
	return vu_restart_all(d);
}

int vu_set_log_base(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	uint8_t *p;

	if (nfds != 1 || m->log.bytes > VU_MAX_LOG)
		return -EINVAL;
	p = map(fds[0], m->log.offset, m->log.bytes);
	if (!p)
		return -errno;
	vu_stop_all(d);
	unmap_log(d);
	d->log = (struct gmem_log){p, m->log.bytes};
	m->u64 = 0;
	return vu_restart_all(d);
}

/* ---- chains in flight */

static int check_inflight(const struct vu_dev *d, const struct vu_msg *m)
{
	return m->inflight.queues == 0 || m->inflight.queues > d->ops->queues ||
			       m->inflight.queue_size == 0 || m->inflight.queue_size > VQ_MAX_SIZE
		       ? -EINVAL
		       : 0;
}

int vu_get_inflight_fd(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	_cleanup_close_ int fd = -1;
	int r = check_inflight(d, m);

	if (r < 0)
		return r;
	m->inflight.bytes = VQ_INFLIGHT_BYTES(m->inflight.queue_size) * m->inflight.queues;
	m->inflight.offset = 0;
	fd = memfd_create("msb-inflight", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)m->inflight.bytes) < 0)
		return -errno;
	m->fd = steal_fd(&fd);
	return 0;
}

int vu_set_inflight_fd(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	int r = check_inflight(d, m);
	uint8_t *p;

	if (r < 0)
		return r;
	if (nfds != 1 || m->inflight.offset % 64 ||
		m->inflight.bytes < VQ_INFLIGHT_BYTES(m->inflight.queue_size) * m->inflight.queues)
		return -EINVAL;
	p = map(fds[0], m->inflight.offset, m->inflight.bytes);
	if (!p)
		return -errno;
	vu_stop_all(d);
	unmap_inflight(d);
	d->inflight.at = p;
	d->inflight.bytes = m->inflight.bytes;
	d->inflight.queues = m->inflight.queues;
	d->inflight.queue_size = m->inflight.queue_size;
	return vu_restart_all(d);
}

struct vq_inflight *vu_inflight_of(const struct vu_dev *d, unsigned int i)
{
	return d->inflight.at && i < d->inflight.queues
		       ? (void *)(d->inflight.at + VQ_INFLIGHT_BYTES(d->inflight.queue_size) * i)
		       : NULL;
}
