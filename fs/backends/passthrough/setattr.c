// SPDX-License-Identifier: Apache-2.0
// passthrough: changing a file's attributes.
#include "fs/backends/passthrough/pt.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <sys/xattr.h>

#define SET_TIMES (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)
#define SET_OWNER (FATTR_UID | FATTR_GID)

/* With @r's lock for changes, as all that follows. */
static int set_size(struct pt *p, struct pt_ref *r, const struct pt_handle *h, uint64_t size)
{
	struct pt_ref f;
	int e;

	if (S_ISDIR(r->node->file.type))
		return -EISDIR;
	if (!S_ISREG(r->node->file.type))
		return -EINVAL;
	if (h && ftruncate(h->fd, (off_t)size) == 0)
		return 0;
	e = pt_open_held(p, r->node->id, PT_WRITE, &f); /* also where the handle is for reading */
	if (e < 0)
		return e;
	e = ftruncate(f.fd, (off_t)size) < 0 ? -errno : 0;
	pt_put(&p->nodes, &f);
	return e;
}

static int set_times(const struct pt_ref *f, const struct fsb_setattr *s)
{
	const struct timespec t[2] = {
		{(time_t)s->atime, s->valid & FATTR_ATIME_NOW ? UTIME_NOW
				   : s->valid & FATTR_ATIME   ? (long)s->atimensec
							      : UTIME_OMIT},
		{(time_t)s->mtime, s->valid & FATTR_MTIME_NOW ? UTIME_NOW
				   : s->valid & FATTR_MTIME   ? (long)s->mtimensec
							      : UTIME_OMIT}};

	return utimensat(f->fd, "", t, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* A file of the host that can carry no meta: its owner is the one that it has. */
static int keep_owner(struct pt *p, struct pt_ref *r, struct statx *sx, const struct pt_guest *want,
	struct pt_meta *m)
{
	struct pt_guest g;

	pt_guest(p, sx, m, &g);
	if (g.uid == want->uid && g.gid == want->gid)
		return pt_touch(r);
	if (!S_ISLNK(sx->stx_mode))
		return -EPERM;
	return pt_convert_link(p, r, sx, want, m);
}

/* What @s makes of @g, of a file of the host's mode @host: whose own set-id bits no guest keeps. */
static void apply(const struct pt *p, const struct fsb_req *req, const struct fsb_setattr *s,
	uint32_t host, struct pt_guest *g)
{
	bool kill = s->kill_suidgid || (s->valid & SET_OWNER) ||
		    ((s->valid & FATTR_SIZE) && pt_without_setid(host, true) != host);
	bool owner = s->valid & SET_OWNER;
	bool in_group = fsb_in_group(req, g->gid, owner ? 0 : g->mode) || (owner && req->uid == 0);

	if (p->map && (s->valid & FATTR_UID))
		g->uid = s->uid;
	if (p->map && (s->valid & FATTR_GID))
		g->gid = s->gid;
	if (!S_ISDIR(g->mode) && kill)
		g->mode = pt_without_setid(g->mode, in_group);
	if (s->valid & FATTR_MODE)
		g->mode = (g->mode & S_IFMT) | (s->mode & 07777);
}

/* In the user namespace of an ordinary user's jail other users do not exist: EINVAL, which to the
 * guest means what it means anywhere else. */
static int chown_host(const struct pt_ref *f, const struct fsb_setattr *s)
{
	if (fchownat(f->fd, "", s->valid & FATTR_UID ? s->uid : (uid_t)-1,
		    s->valid & FATTR_GID ? s->gid : (gid_t)-1, AT_EMPTY_PATH) == 0)
		return 0;
	return errno == EINVAL ? -EPERM : -errno;
}

static int set_guest_mode(struct pt *p, struct pt_ref *r, uint32_t mode)
{
	struct pt_guest g;
	struct pt_meta m;
	struct statx sx;
	int e = pt_look_guest(p, r, &sx, &m, &g);

	if (e < 0)
		return e;
	g.mode = mode;
	return pt_change(p, r, &sx, &m, &g);
}

/* Without map. The guest's set-id bits are another thing to the host than the owner: those that go
 * with it go first, so that whatever ends us between, nobody's are another's. */
static int set_host_owner(
	struct pt *p, const struct fsb_req *req, struct pt_ref *r, const struct fsb_setattr *s)
{
	struct pt_guest g, was;
	struct pt_meta m;
	struct statx sx;
	int e = pt_look_guest(p, r, &sx, &m, &g);

	if (e < 0)
		return e;
	if (!(m.set & (S_ISUID | S_ISGID)))
		return chown_host(r, s);
	was = g;
	apply(p, req, s, sx.stx_mode, &g);
	g.mode &= was.mode;
	if (g.mode != was.mode)
		e = pt_change(p, r, &sx, &m, &g);
	if (e == 0)
		e = chown_host(r, s);
	if (e < 0 && g.mode != was.mode)
		(void)set_guest_mode(p, r, was.mode);
	return e;
}

/* @r has a descriptor. */
static int set_guest(
	struct pt *p, const struct fsb_req *req, struct pt_ref *r, const struct fsb_setattr *s)
{
	struct pt_guest g, was;
	struct pt_meta m;
	struct statx sx;
	int e = 0;

	if (!p->map && (s->valid & SET_OWNER))
		e = set_host_owner(p, req, r, s);
	if (e == 0)
		e = pt_look_guest(p, r, &sx, &m, &g);
	if (e)
		return e;
	was = g;
	apply(p, req, s, sx.stx_mode, &g);
	if (p->map && (s->valid & SET_OWNER) && !S_ISREG(sx.stx_mode) && !S_ISDIR(sx.stx_mode))
		e = keep_owner(p, r, &sx, &g, &m);
	if (e < 0 || S_ISLNK(sx.stx_mode))
		return e == 0 && (s->valid & FATTR_MODE) ? -EOPNOTSUPP : e;
	/* Without map the owner is set already. */
	if (g.mode != was.mode || (s->valid & (p->map ? FATTR_MODE | SET_OWNER : FATTR_MODE)))
		e = pt_change(p, r, &sx, &m, &g);
	return e;
}

static int setattr_of(struct pt *p, const struct fsb_req *req, struct pt_ref *r,
	const struct pt_handle *h, const struct fsb_setattr *s)
{
	int e = 0;

	if (s->valid & FATTR_SIZE)
		e = set_size(p, r, h, s->size);
	if (e == 0 && ((s->valid & (SET_OWNER | FATTR_MODE)) || s->kill_suidgid ||
			      ((s->valid & FATTR_SIZE) && (r->kill & PT_KILL_HOST))))
		e = set_guest(p, req, r, s);
	if (e == 0 && (s->valid & SET_TIMES))
		e = set_times(r, s);
	if (e == 0 && !(s->valid & (SET_OWNER | SET_TIMES | FATTR_MODE | FATTR_SIZE)))
		e = pt_touch(r); /* chown() to nobody is a change too */
	return e;
}

/* Capabilities go with the contents or the owner that they were given for. */
static void drop_caps(struct pt *p, struct pt_ref *r)
{
	if (!S_ISREG(r->node->file.type) || !(r->kill & PT_KILL_CAPS) ||
		pt_need(&p->nodes, r, PT_READ) < 0)
		return;
	(void)fremovexattr(r->fd, PT_XATTR_GUEST "security.capability");
	LOCK_SCOPE(&p->nodes.lock);
	r->node->no_caps = true;
}

int pt_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *s, struct fuse_attr *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	int r;

	if (p->readonly)
		return -EROFS;
	r = pt_get(&p->nodes, node, PT_PATH, &f);
	if (r < 0)
		return r;
	{
		LOCK_SCOPE(pt_change_lock(p, f.node));
		if (s->valid & (SET_OWNER | FATTR_SIZE))
			drop_caps(p, &f);
		r = setattr_of(p, req, &f, pt_handle_get(p, fh), s);
	}
	if (r == 0)
		r = pt_attr_of(p, &f, ret);
	pt_put(&p->nodes, &f);
	return r;
}

/* As it was seen last: which a lookup and every look at its attributes is. */
int pt_getflags(struct fsb *b, uint64_t node, uint32_t *ret)
{
	struct pt *p = pt_of(b);
	struct pt_ref f;
	struct fuse_attr a;
	uint32_t type;
	bool seen;
	int r = pt_get(&p->nodes, node, PT_NODE, &f);

	if (r < 0)
		return r;
	{
		LOCK_SCOPE(&p->nodes.lock);
		seen = f.node->meta_ctime.tv_sec;
	}
	if (!seen)
		r = pt_attr_of(p, &f, &a);
	{
		LOCK_SCOPE(&p->nodes.lock);
		type = f.node->meta.type ?: f.node->file.type;
		*ret = f.node->meta.flags;
	}
	pt_put(&p->nodes, &f);
	return r < 0 ? r : S_ISREG(type) || S_ISDIR(type) ? 0 : -ENOTTY;
}

int pt_setflags(struct fsb *b, const struct fsb_req *req, uint64_t node, uint32_t flags)
{
	struct pt *p = pt_of(b);
	struct fuse_attr a;
	struct pt_guest g;
	struct pt_meta m;
	struct statx sx;
	struct pt_ref f;
	int r = p->readonly ? -EROFS : pt_get(&p->nodes, node, PT_PATH, &f);

	if (r < 0)
		return r;
	{
		LOCK_SCOPE(pt_change_lock(p, f.node));
		r = pt_look(&p->nodes, &f, &sx);
		if (r == 0) {
			pt_meta_of(p, &f, &sx, &m);
			pt_guest(p, &sx, &m, &g);
			g.flags = flags;
			r = S_ISREG(g.mode) || S_ISDIR(g.mode) ? pt_change(p, &f, &sx, &m, &g)
							       : -ENOTTY;
		}
	}
	if (r == 0)
		r = pt_attr_of(p, &f, &a); /* the node learns it */
	pt_put(&p->nodes, &f);
	return r;
}
