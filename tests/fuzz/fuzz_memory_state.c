// SPDX-License-Identifier: Apache-2.0
// A saved memory file system: any bytes are loaded; what they made is walked, worked on and saved,
// and must come back from that. First byte: 1 the rest is frames as they are, else their contents.
#include "fs/backends/memory/mem.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct fsb_req req;

struct walk {
	struct fsb *b;
	uint64_t node[64];
	char name[64][MEM_NAME_MAX + 1];
	unsigned int n;
};

static int visit(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t off,
	const struct fsb_entry *plus)
{
	struct walk *w = arg;

	if (n == 0 || n > MEM_NAME_MAX || off == 0)
		abort();
	if (!plus)
		return 0;
	if (w->n == ARRAY_LEN(w->node))
		return 1;
	memcpy(w->name[w->n], name, n);
	w->name[w->n][n] = '\0';
	w->node[w->n++] = plus->node;
	return 0;
}

static void each(struct fsb *b, uint64_t dir, uint64_t node, const char *name)
{
	static char buf[20000];
	const struct fsb_setattr cut = {.valid = FATTR_SIZE, .size = 10};
	struct iovec iov = {buf, sizeof(buf)};
	struct fuse_attr a;
	struct fsb_entry e;

	if (b->ops->getattr(b, node, 0, &a) < 0)
		abort();
	(void)b->ops->readlink(b, node, buf, sizeof(buf));
	(void)b->ops->listxattr(b, node, buf, sizeof(buf));
	(void)b->ops->getxattr(b, node, "user.x", buf, sizeof(buf));
	(void)b->ops->lseek(b, node, 0, 0, SEEK_DATA);
	(void)b->ops->readv(b, node, 0, &iov, 1, 0);
	(void)b->ops->writev(b, &req, node, 0, &iov, 1, a.size / 2, 0);
	(void)b->ops->setattr(b, &req, node, 0, &cut, &a);
	(void)b->ops->link(b, &req, node, FSB_ROOT, "fuzz", &e);
	(void)b->ops->rename(b, &req, dir, name, FSB_ROOT, "moved", 0);
	(void)b->ops->unlink(b, &req, dir, name);
	(void)b->ops->rmdir(b, &req, dir, name);
}

static void work(struct fsb *b)
{
	static struct walk w;
	unsigned int first = 0;

	w = (struct walk){.b = b};
	(void)b->ops->readdir(b, &req, FSB_ROOT, 0, 0, true, visit, &w);
	for (unsigned int i = 0; i < w.n; i++)
		(void)b->ops->readdir(b, &req, w.node[i], 0, 0, true, visit, &w);
	for (first = 0; first < w.n; first++)
		each(b, FSB_ROOT, w.node[first], w.name[first]);
	for (unsigned int i = 0; i < w.n; i++)
		b->ops->forget(b, w.node[i], 1);
}

static struct mem *start(void)
{
	struct mem *m;

	if (mem_new(4 * MEM_MIN_BYTES, &m, NULL) < 0)
		abort();
	return m;
}

static int load_frames(struct mem *m, const uint8_t *p, size_t n)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC), r;

	if (fd < 0 || write(fd, p, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	r = m->fsb.ops->load_all(&m->fsb, fd);
	close(fd);
	return r;
}

static void again(struct mem *m)
{
	int fd = memfd_create("again", MFD_CLOEXEC);
	struct mem *n = start();

	if (m->fsb.ops->save_all(&m->fsb, fd) < 0 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	if (n->fsb.ops->load_all(&n->fsb, fd) < 0 ||
		atomic_load(&n->nodes) != atomic_load(&m->nodes))
		abort();
	close(fd);
	n->fsb.ops->stop(&n->fsb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem *m;
	uint8_t *copy;
	int r;

	if (size < 1)
		return 0;
	m = start();
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	r = data[0] == 1 ? load_frames(m, copy, size - 1) : mem_load_bytes(m, copy, size - 1);
	if (r == 0) {
		again(m);
		work(&m->fsb);
		again(m);
	} else if (atomic_load(&m->nodes) != 1) {
		abort();
	}
	m->fsb.ops->stop(&m->fsb);
	free(copy);
	return 0;
}
