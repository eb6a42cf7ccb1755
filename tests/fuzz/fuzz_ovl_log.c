// SPDX-License-Identifier: Apache-2.0
// The overlay's log: any bytes are replayed, then what they made is walked and worked on.
// First byte: 1 an image lies below, 2 checks and frame numbers are left as they are, 4 the bytes
// are a node and its device state instead.
#include "fs/backends/overlay/ovl.h"
#include "fs/backends/overlay/record.h"
#include "fs/image/index_write.h"

#include <endian.h>
#include <sys/stat.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct fsb_req req;

static struct img_inode *add(
	struct img_tree *t, struct img_inode *dir, const char *name, uint32_t mode)
{
	struct img_inode *i;

	if (img_tree_new_inode(t, mode, &i) < 0 ||
		img_tree_add(t, dir, name, strlen(name), i, 1, NULL) < 0)
		abort();
	return i;
}

/* Made once: a/{b,f} d l -> f */
static struct img_index *image(void)
{
	struct img_inode *a, *i;
	struct img_index *ix;
	struct img_tree *t;
	char *buf;
	size_t n;
	FILE *f = open_memstream(&buf, &n);

	if (!f || img_tree_new(100, &t) < 0)
		abort();
	img_tree_root(t)->mode = S_IFDIR | 0755;
	a = add(t, img_tree_root(t), "a", S_IFDIR | 0755);
	add(t, a, "b", S_IFDIR | 0755);
	i = add(t, a, "f", S_IFREG | 0644);
	if (img_inode_set_xattr(i, "user.x", 6, "1", 1) < 0)
		abort();
	add(t, img_tree_root(t), "d", S_IFDIR | 0755);
	i = add(t, img_tree_root(t), "l", S_IFLNK | 0777);
	i->bytes = strdup("f");
	i->size = 1;
	if (img_index_write(t, NULL, 0, (const uint8_t *)"fuzz-overlay-log", f, NULL) < 0)
		abort();
	fclose(f);
	img_tree_free(t);
	if (img_index_from_bytes(buf, n, &ix, NULL) < 0)
		abort();
	return ix;
}

/* Makes every check right, so that what is in the frames is what is tried. */
static void seal(uint8_t *p, size_t n)
{
	uint8_t head[OVL_LOG_HEAD] = OVL_LOG_MAGIC;
	uint32_t version = htole32(OVL_LOG_VERSION), seq = 0;
	uint64_t sum;

	memcpy(head + 8, &version, sizeof(version));
	sum = htole64(XXH3_64bits(head, 24));
	memcpy(head + 24, &sum, sizeof(sum));
	memcpy(p, head, n < sizeof(head) ? n : sizeof(head));
	for (size_t at = OVL_LOG_HEAD; at + OVL_FRAME_HEAD <= n; seq++) {
		uint32_t bytes, seq_le = htole32(seq);

		memcpy(&bytes, p + at, sizeof(bytes));
		bytes = le32toh(bytes);
		if (bytes > n - at - OVL_FRAME_HEAD)
			return;
		memcpy(p + at + 4, &seq_le, sizeof(seq_le));
		sum = htole64(
			XXH3_64bits_withSeed(p + at + OVL_FRAME_HEAD, bytes, seq + UINT64_C(1)));
		memcpy(p + at + 8, &sum, sizeof(sum));
		at += OVL_FRAME_HEAD + bytes;
	}
}

struct walk {
	struct fsb *b;
	uint64_t dir;
	int depth, *budget;
};

static int visit(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t off,
	const struct fsb_entry *plus)
{
	struct walk *w = arg;

	if (n == 0 || n > OVL_NAME_MAX || off == 0)
		abort();
	return --*w->budget <= 0;
}

/* Each entry is looked up outside of the listing, which holds the lock. */
static void walk(struct fsb *b, uint64_t node, int depth, int *budget);

static void each(struct fsb *b, uint64_t node, const char *name, int depth, int *budget)
{
	char buf[OVL_TARGET_MAX + 1];
	struct fsb_entry e;
	struct iovec iov = {buf, sizeof(buf)};

	if (b->ops->lookup(b, &req, node, name, &e) < 0)
		return;
	(void)b->ops->readlink(b, e.node, buf, sizeof(buf));
	(void)b->ops->listxattr(b, e.node, buf, sizeof(buf));
	(void)b->ops->getxattr(b, e.node, "user.x", buf, sizeof(buf));
	(void)b->ops->readv(b, e.node, 0, &iov, 1, 0);
	/* There is no file to log to: these are checked, then refused. */
	(void)ovl_unlink(b, &req, node, name);
	(void)ovl_rmdir(b, &req, node, name);
	(void)ovl_rename(b, &req, node, name, e.node, "x", 0);
	(void)ovl_rename(b, &req, node, name, FSB_ROOT, "a", 2);
	if (S_ISDIR(e.attr.mode) && depth < 4)
		walk(b, e.node, depth + 1, budget);
	b->ops->forget(b, e.node, 1);
}

static void walk(struct fsb *b, uint64_t node, int depth, int *budget)
{
	static const char *const names[] = {"a", "b", "d", "f", "l", "n", "x"};
	struct walk w = {b, node, depth, budget};

	(void)b->ops->readdir(b, &req, node, 0, 0, false, visit, &w);
	(void)b->ops->readdir(b, &req, node, 0, 5, false, visit, &w);
	for (size_t i = 0; i < ARRAY_LEN(names) && *budget > 0; i++)
		each(b, node, names[i], depth, budget);
}

/* What a load took must be there, be saved again, and go with its last reference. */
static void state(struct ovl *o, const uint8_t *p, size_t n)
{
	uint8_t again[FSB_MAX_STATE];
	uint64_t node, nodes = o->nodes;
	struct fuse_attr a;

	if (n < sizeof(node))
		return;
	memcpy(&node, p, sizeof(node));
	node = le64toh(node);
	o->next_ino = OVL_OWN_BASE + 1000;
	if (ovl_load(&o->fsb, node, 1, p + sizeof(node), n - sizeof(node)) < 0) {
		if (o->nodes != nodes || o->next_ino != OVL_OWN_BASE + 1000)
			abort();
		return;
	}
	if (ovl_getattr(&o->fsb, node, 0, &a) < 0 || a.ino != node)
		abort();
	if (ovl_save(&o->fsb, node, again, sizeof(again)) == -ESTALE)
		abort();
	ovl_forget(&o->fsb, node, 1);
	if (o->nodes != nodes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct img_index *ix;
	uint64_t end = 0;
	int budget = 2000;
	struct ovl *o;
	uint8_t *copy;

	if (size < 1)
		return 0;
	ix = ix ? ix : image();
	o = ovl_alloc();
	copy = malloc(size);
	if (!o || !copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (!(data[0] & 2))
		seal(copy, size - 1);
	if (data[0] & 1) {
		struct ovl_inode *root;

		o->lower = ix;
		o->lower_root = img_index_root(ix);
		if (ovl_from_lower(o, OVL_ROOT, &root) < 0)
			abort();
	}
	if (data[0] & 4) {
		state(o, data + 1, size - 1);
	} else if (ovl_log_replay(o, copy, size - 1, &end) == 0) {
		if (end > size - 1)
			abort();
		walk(&o->fsb, FSB_ROOT, 0, &budget);
	}
	o->lower = NULL; /* serves the next input too */
	o->fsb.ops->stop(&o->fsb);
	free(copy);
	return 0;
}
