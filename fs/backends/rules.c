// SPDX-License-Identifier: Apache-2.0
// The rules wrapper: what a guest may see and do, by path.
#include "fs/backends/rules.h"
#include "fs/fuse_iov.h"
#include "fs/names.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/param.h>
#include <sys/stat.h>

struct rules {
	struct fsb_filter f; /* first */
	unsigned int user;   /* of the names */
	int (*wait)(struct fsb *next);
	pthread_rwlock_t lock; /* guards what follows, and that tags are of it; with @wait only */
	struct fsb_rule_set set;
};

static void unlock_(struct rules **r)
{
	if (*r)
		pthread_rwlock_unlock(&(*r)->lock);
}

/* The set stays as it is until the end of the block. */
#define SET_SCOPE(r)                                                                               \
	__attribute__((cleanup(unlock_), unused)) struct rules *set_ = (r)->wait ? (r) : NULL;     \
	if (set_)                                                                                  \
	pthread_rwlock_rdlock(&set_->lock)

static struct rules *of(struct fsb_filter *f)
{
	return (struct rules *)(void *)f;
}

/* A path that is not known, or too long to be, could be any. In a SET_SCOPE. */
static enum fsb_rule judge(const struct rules *r, const char *path, size_t n)
{
	if (path[0] == '?' && r->set.n)
		return FSB_DENY;
	for (unsigned int i = r->set.n; i--;)
		if (fsb_glob_match(&r->set.rule[i].glob, path, n))
			return r->set.rule[i].what;
	return FSB_ALLOW;
}

static enum fsb_rule judge_name(
	struct rules *r, uint64_t parent, const char *name, size_t name_bytes)
{
	char path[FSB_MAX_PATH];
	SET_SCOPE(r);
	size_t n = fsb_names_path(r->f.names, parent, name, name_bytes, path);

	return judge(r, path, n);
}

/* The same, for a node; kept as its tag. */
static enum fsb_rule judge_node(struct rules *r, uint64_t node)
{
	char path[FSB_MAX_PATH];
	uint8_t tag;

	if (node == FSB_ROOT)
		return FSB_ALLOW;
	SET_SCOPE(r);
	tag = fsb_names_tag(r->f.names, node, r->user);
	if (tag == FSB_NAMES_NO_TAG) {
		size_t n = fsb_names_path(r->f.names, node, NULL, 0, path);

		tag = (uint8_t)(FSB_NAMES_NO_TAG + 1 + judge(r, path, n));
		fsb_names_set_tag(r->f.names, node, r->user, tag);
	}
	return (enum fsb_rule)(tag - 1 - FSB_NAMES_NO_TAG);
}

/* Whether what is below a directory would have other answers at another path. */
static bool differs_below(struct rules *r, const struct fsb_call *c)
{
	char from[FSB_MAX_PATH + 1], to[FSB_MAX_PATH + 1];
	size_t m = fsb_names_path(r->f.names, c->node, c->name, strlen(c->name), from);
	size_t n = fsb_names_path(r->f.names, c->node2, c->name2, strlen(c->name2), to);

	from[m++] = to[n++] = '/';
	SET_SCOPE(r);
	for (unsigned int i = 0; i < r->set.n; i++) {
		const struct fsb_glob *g = &r->set.rule[i].glob;
		struct fsb_glob_state a, b;

		fsb_glob_start(g, &a);
		fsb_glob_step(g, &a, from, m);
		fsb_glob_start(g, &b);
		fsb_glob_step(g, &b, to, n);
		if (!fsb_glob_same(&a, &b))
			return true;
	}
	return false;
}

static bool is_dir(struct rules *r, const struct fsb_req *req, uint64_t parent, const char *name)
{
	struct fsb *next = r->f.next;
	struct fsb_entry e = {0};

	if (next->ops->lookup(next, req, parent, name, &e) < 0 || !e.node)
		return false;
	next->ops->forget(next, e.node, 1);
	return S_ISDIR(e.attr.mode);
}

static int may_rename(struct rules *r, const struct fsb_call *c)
{
	if (judge_name(r, c->node, c->name, strlen(c->name)) != FSB_ALLOW ||
		judge_name(r, c->node2, c->name2, strlen(c->name2)) != FSB_ALLOW)
		return -EACCES;
	if (!differs_below(r, c))
		return 0;
	return is_dir(r, c->req, c->node, c->name) || ((c->flags & RENAME_EXCHANGE) &&
							      is_dir(r, c->req, c->node2, c->name2))
		       ? -EXDEV
		       : 0;
}

static bool opens_to_write(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* @redacted: what it is where the rule is to redact. */
static int unless(enum fsb_rule rule, int redacted)
{
	return rule == FSB_ALLOW ? 0 : rule == FSB_DENY ? -EACCES : redacted;
}

static int settled(struct rules *r)
{
	return r->wait ? r->wait(r->f.next) : 0;
}

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	struct rules *r = of(f);
	int e = c->op == FSB_RELEASE ? 0 : settled(r);

	if (e < 0)
		return e;
	switch (c->op) {
	case FSB_LOOKUP: return unless(judge_name(r, c->node, c->name, strlen(c->name)), 0);
	case FSB_MKNOD:
	case FSB_MKDIR:
	case FSB_SYMLINK:
	case FSB_UNLINK:
	case FSB_RMDIR:
	case FSB_CREATE: return unless(judge_name(r, c->node, c->name, strlen(c->name)), -EACCES);
	case FSB_RENAME: return may_rename(r, c);
	case FSB_LINK:
		return judge_node(r, c->node) != FSB_ALLOW || judge_name(r, c->node2, c->name2,
								      strlen(c->name2)) != FSB_ALLOW
			       ? -EACCES
			       : 0;
	case FSB_OPEN:
		return unless(judge_node(r, c->node), opens_to_write(c->flags) ? -EACCES : 0);
	case FSB_SETATTR:
	case FSB_TMPFILE:
	case FSB_WRITE:
	case FSB_FALLOCATE:
	case FSB_SETXATTR:
	case FSB_REMOVEXATTR:
	case FSB_READLINK: return unless(judge_node(r, c->node), -EACCES);
	case FSB_GETXATTR: return unless(judge_node(r, c->node), -ENODATA);
	case FSB_OPENDIR:
	case FSB_READDIR: return unless(judge_node(r, c->node), 0);
	case FSB_COPY_FILE_RANGE:
		if (judge_node(r, c->node2) != FSB_ALLOW)
			return -EACCES;
		/* The kernel reads and writes instead. */
		return unless(judge_node(r, c->node), -EOPNOTSUPP);
	case FSB_GETATTR: /* what a name is was decided when it was looked up */
	case FSB_RELEASE:
	case FSB_FSYNC:
	case FSB_STATFS:
	case FSB_SYNCFS:
	default: /* read, listxattr, lseek: below */ return 0;
	}
}

static bool shows(struct fsb_filter *f, uint64_t parent, const char *name, size_t name_bytes)
{
	return judge_name(of(f), parent, name, name_bytes) != FSB_DENY;
}

/* ---- what a redacted file answers by itself */

static int64_t size_of(struct fsb *next, uint64_t node, uint64_t fh)
{
	struct fuse_attr a;
	int r = next->ops->getattr(next, node, fh, &a);

	return r < 0 ? r : S_ISREG(a.mode) ? (int64_t)MIN(a.size, (uint64_t)INT64_MAX) : 0;
}

/* Nothing of the file ever reaches the guest's memory, not even for a moment. */
static int64_t zeros(struct fsb *next, uint64_t node, uint64_t fh, const struct iovec *iov,
	int iovcnt, uint64_t off)
{
	int64_t size = size_of(next, node, fh), done = 0;

	if (size < 0 || off >= (uint64_t)size)
		return size < 0 ? size : 0;
	size -= (int64_t)off;
	for (int i = 0; i < iovcnt && done < size; i++) {
		size_t n = MIN(iov[i].iov_len, (size_t)(size - done));

		memset(iov[i].iov_base, 0, n);
		done += (int64_t)n;
	}
	return done;
}

static int64_t readv_op(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov,
	int iovcnt, uint64_t off)
{
	struct rules *r = of(fsb_filter_of(b));
	struct fsb *next = r->f.next;
	int e = settled(r);
	enum fsb_rule rule = e < 0 ? FSB_DENY : judge_node(r, node);

	if (e < 0)
		return e;
	if (rule == FSB_ALLOW)
		return next->ops->readv(next, node, fh, iov, iovcnt, off);
	return rule == FSB_DENY ? -EACCES : zeros(next, node, fh, iov, iovcnt, off);
}

static int64_t listxattr_op(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct rules *r = of(fsb_filter_of(b));
	struct fsb *next = r->f.next;
	int e = settled(r);
	enum fsb_rule rule = e < 0 ? FSB_DENY : judge_node(r, node);

	if (e < 0)
		return e;
	return rule == FSB_ALLOW ? next->ops->listxattr(next, node, buf, cap) : unless(rule, 0);
}

/* All data, no holes. */
static int64_t lseek_op(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct rules *r = of(fsb_filter_of(b));
	struct fsb *next = r->f.next;
	int e = settled(r);
	enum fsb_rule rule = e < 0 ? FSB_DENY : judge_node(r, node);
	int64_t size;

	if (e < 0)
		return e;
	if (rule == FSB_ALLOW)
		return next->ops->lseek(next, node, fh, off, whence);
	size = rule == FSB_DENY ? -EACCES : size_of(next, node, fh);
	if (size < 0)
		return size;
	if (off >= (uint64_t)size)
		return -ENXIO;
	return whence == SEEK_DATA ? (int64_t)off : size;
}

static void stop(struct fsb_filter *f)
{
	(void)pthread_rwlock_destroy(&of(f)->lock);
	free(f);
}

static const struct fsb_filter_ops ops = {.name = "rules",
	.summary = "allows, denies and redacts by path",
	.before = before,
	.shows = shows,
	.stop = stop};

int fsb_rule_add(
	struct fsb_rule_set *s, enum fsb_rule what, const char *glob, size_t n, struct msb_err *e)
{
	int r;

	if (s->n == FSB_MAX_GLOBS)
		return msb_err_set(e, E2BIG, "there are at most %d rules", FSB_MAX_GLOBS);
	r = fsb_glob_compile(glob, n, &s->rule[s->n].glob, e);
	if (r == 0)
		s->rule[s->n++].what = what;
	return r;
}

/* Takes over @r, which may be NULL, and @next. */
static int lay(struct rules *r, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	if (r)
		fsb_filter_init(&r->f, &ops, next, 0, 0);
	if (!r || fsb_filter_names(&r->f) < 0) {
		free(r);
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for rules");
	}
	(void)pthread_rwlock_init(&r->lock, NULL);
	r->user = fsb_names_user(r->f.names);
	if (r->f.own.readv)
		r->f.own.readv = readv_op;
	if (r->f.own.listxattr)
		r->f.own.listxattr = listxattr_op;
	if (r->f.own.lseek)
		r->f.own.lseek = lseek_op;
	*ret = &r->f.b;
	return 0;
}

int fsb_rules_said(
	struct fsb *next, int (*wait)(struct fsb *next), struct fsb **ret, struct msb_err *e)
{
	struct rules *r = calloc(1, sizeof(*r));

	if (r)
		r->wait = wait;
	return lay(r, next, ret, e);
}

void fsb_rules_set(struct fsb *rules, const struct fsb_rule_set *set)
{
	struct rules *r = of(fsb_filter_of(rules));

	pthread_rwlock_wrlock(&r->lock);
	r->set = *set;
	fsb_names_forget_tags(r->f.names);
	pthread_rwlock_unlock(&r->lock);
}

int fsb_rules_new(const struct fsb_glob_rule *rule, unsigned int n, struct fsb *next,
	struct fsb **ret, struct msb_err *e)
{
	struct rules *r;
	int err = 0;

	if (n == 0) {
		*ret = next;
		return 0;
	}
	r = calloc(1, sizeof(*r));
	for (unsigned int i = 0; r && err == 0 && i < n; i++)
		err = fsb_rule_add(&r->set, rule[i].what, rule[i].glob, strlen(rule[i].glob), e);
	if (err == 0)
		return lay(r, next, ret, e);
	free(r);
	next->ops->stop(next);
	return err;
}

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;

	return fsb_rules_new(o ? o->rule : NULL, o ? o->nrules : 0, next, ret, e);
}

const struct fsb_kind fsb_rules_kind = {.name = "rules",
	.summary = "allows, denies and redacts by path (options allow, deny, redact)",
	.wrap = wrap};
