// SPDX-License-Identifier: Apache-2.0
// The rules wrapper: what a guest may see and do, by path.
#include "fs/backends/rules.h"
#include "fs/fuse_iov.h"
#include "fs/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/param.h>
#include <sys/stat.h>

struct rules {
	struct fsb_filter f; /* first */
	unsigned int n;
	struct {
		enum fsb_rule what;
		struct fsb_glob glob;
	} rule[];
};

static struct rules *of(struct fsb_filter *f)
{
	return (struct rules *)(void *)f;
}

/* A path that is not known, or too long to be, could be any. */
static enum fsb_rule judge(const struct rules *r, const char *path, size_t n)
{
	if (path[0] == '?')
		return FSB_DENY;
	for (unsigned int i = r->n; i--;)
		if (fsb_glob_match(&r->rule[i].glob, path, n))
			return r->rule[i].what;
	return FSB_ALLOW;
}

static enum fsb_rule judge_name(
	struct rules *r, uint64_t parent, const char *name, size_t name_bytes)
{
	char path[FSB_MAX_PATH];
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
	tag = fsb_names_tag(r->f.names, node);
	if (tag == FSB_NAMES_NO_TAG) {
		size_t n = fsb_names_path(r->f.names, node, NULL, 0, path);

		tag = (uint8_t)(FSB_NAMES_NO_TAG + 1 + judge(r, path, n));
		fsb_names_set_tag(r->f.names, node, tag);
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
	for (unsigned int i = 0; i < r->n; i++) {
		const struct fsb_glob *g = &r->rule[i].glob;
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

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	struct rules *r = of(f);

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
	enum fsb_rule rule = judge_node(r, node);

	if (rule == FSB_ALLOW)
		return next->ops->readv(next, node, fh, iov, iovcnt, off);
	return rule == FSB_DENY ? -EACCES : zeros(next, node, fh, iov, iovcnt, off);
}

static int64_t listxattr_op(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct rules *r = of(fsb_filter_of(b));
	struct fsb *next = r->f.next;
	enum fsb_rule rule = judge_node(r, node);

	return rule == FSB_ALLOW ? next->ops->listxattr(next, node, buf, cap) : unless(rule, 0);
}

/* All data, no holes. */
static int64_t lseek_op(struct fsb *b, uint64_t node, uint64_t fh, uint64_t off, uint32_t whence)
{
	struct rules *r = of(fsb_filter_of(b));
	struct fsb *next = r->f.next;
	enum fsb_rule rule = judge_node(r, node);
	int64_t size;

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
	free(f);
}

static const struct fsb_filter_ops ops = {.name = "rules",
	.summary = "allows, denies and redacts by path",
	.before = before,
	.shows = shows,
	.stop = stop};

int fsb_rules_new(const struct fsb_glob_rule *rule, unsigned int n, struct fsb *next,
	struct fsb **ret, struct msb_err *e)
{
	struct rules *r;
	int err = 0;

	if (n == 0) {
		*ret = next;
		return 0;
	}
	if (n > FSB_MAX_GLOBS)
		err = msb_err_set(e, E2BIG, "there are at most %d rules", FSB_MAX_GLOBS);
	r = err < 0 ? NULL : calloc(1, sizeof(*r) + n * sizeof(r->rule[0]));
	if (err == 0 && !r)
		err = msb_err_set(e, ENOMEM, "no memory for rules");
	for (; err == 0 && r->n < n; r->n++) {
		r->rule[r->n].what = rule[r->n].what;
		err = fsb_glob_compile(
			rule[r->n].glob, strlen(rule[r->n].glob), &r->rule[r->n].glob, e);
	}
	if (err == 0) {
		fsb_filter_init(&r->f, &ops, next, 0, 0);
		err = fsb_filter_names(&r->f);
		if (err < 0)
			(void)msb_err_set(e, ENOMEM, "no memory for rules");
	}
	if (err < 0) {
		free(r);
		next->ops->stop(next);
		return err;
	}
	if (r->f.own.readv)
		r->f.own.readv = readv_op;
	if (r->f.own.listxattr)
		r->f.own.listxattr = listxattr_op;
	if (r->f.own.lseek)
		r->f.own.lseek = lseek_op;
	*ret = &r->f.b;
	return 0;
}

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;

	return fsb_rules_new(o ? o->rule : NULL, o ? o->nrules : 0, next, ret, e);
}

const struct fsb_kind fsb_rules_kind = {.name = "rules",
	.summary = "allows, denies and redacts by path (options allow, deny, redact)",
	.wrap = wrap};
