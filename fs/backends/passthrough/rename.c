// SPDX-License-Identifier: Apache-2.0
// passthrough: what moves and removes names.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdatomic.h>

#define TEMP_NAME                                                                                  \
	".msb-whiteout-" /* of a hole, then of a file, while one takes the other's place */

static int neg(int r)
{
	return r < 0 ? -errno : 0;
}

static int remove_name(struct pt *p, uint64_t parent, const char *name, int flags)
{
	struct pt_ref dir;
	int r = p->readonly ? -EROFS : pt_get(&p->nodes, parent, PT_PATH, &dir);

	if (r < 0)
		return r;
	pt_hold(&p->nodes, &dir, name);
	r = PT_IN_DIR(p, &dir, neg(unlinkat(dir.fd, name, flags)));
	if (r < 0)
		pt_moved(&p->nodes, &dir, name); /* it keeps its place */
	pt_put(&p->nodes, &dir);
	return r;
}

int pt_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(pt_of(b), parent, name, 0);
}

int pt_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(pt_of(b), parent, name, AT_REMOVEDIR);
}

static int move(struct pt *p, struct pt_ref *from, const char *name, struct pt_ref *to,
	const char *newname, uint32_t flags)
{
	int r = PT_IN_DIR(p, from, neg(renameat2(from->fd, name, to->fd, newname, flags)));

	return r == -EACCES && pt_claim(p, to) == 0
		       ? neg(renameat2(from->fd, name, to->fd, newname, flags))
		       : r;
}

/* With what overlayfs takes for a hole in the old place: a device to the guest, so it is made here.
 * It takes the place of the file, which has then a name of ours for a moment. */
static int move_from_whiteout(struct pt *p, const struct fsb_req *req, struct pt_ref *from,
	const char *name, struct pt_ref *to, const char *newname, uint32_t flags)
{
	struct pt_guest hole;
	static _Atomic uint64_t serial;
	char temp[64];
	struct pt_meta m;
	int fd, r = pt_new_guest(p, req, from, S_IFCHR, &hole, NULL);

	if (r < 0)
		return r;
	(void)snprintf(temp, sizeof(temp), TEMP_NAME "%llu",
		(unsigned long long)atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed));
	fd = pt_new_file(p, from, temp, 0, &hole, NULL, &m);
	if (fd < 0)
		return fd;
	close(fd);
	r = neg(renameat2(from->fd, temp, from->fd, name, RENAME_EXCHANGE));
	if (r == 0) {
		r = move(p, from, temp, to, newname, flags & ~(uint32_t)RENAME_WHITEOUT);
		if (r < 0)
			(void)renameat2(from->fd, temp, from->fd, name, RENAME_EXCHANGE);
	}
	if (r < 0)
		(void)unlinkat(from->fd, temp, 0);
	return r;
}

static int rename_in(struct pt *p, const struct fsb_req *req, struct pt_ref *from, const char *name,
	struct pt_ref *to, const char *newname, uint32_t flags)
{
	struct pt_node *n = pt_move_begin(&p->nodes, from, name), *other = NULL;
	int r;

	if (flags & RENAME_EXCHANGE)
		other = pt_move_begin(&p->nodes, to, newname);
	else if (!(flags & RENAME_NOREPLACE))
		pt_hold(&p->nodes, to, newname);
	/* Before: who reads the directory right after must look. */
	if (n && pt_is_special(p, n))
		pt_mark_special(p, to);
	if (other && pt_is_special(p, other))
		pt_mark_special(p, from);
	r = flags & RENAME_WHITEOUT ? move_from_whiteout(p, req, from, name, to, newname, flags)
				    : move(p, from, name, to, newname, flags);
	if (n)
		pt_move_end(&p->nodes, n, to, r == 0 ? newname : NULL);
	if (other)
		pt_move_end(&p->nodes, other, from, r == 0 ? name : NULL);
	if (r < 0 && !(flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)))
		pt_moved(&p->nodes, to, newname); /* what is there keeps its place */
	return r;
}

int pt_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct pt *p = pt_of(b);
	struct pt_ref from, to;
	int r;

	r = p->readonly ? -EROFS : pt_get(&p->nodes, parent, PT_PATH, &from);
	if (r < 0)
		return r;
	r = pt_get(&p->nodes, newparent, PT_PATH, &to);
	if (r == 0) {
		r = rename_in(p, req, &from, name, &to, newname, flags);
		pt_put(&p->nodes, &to);
	}
	pt_put(&p->nodes, &from);
	return r;
}
