// SPDX-License-Identifier: Apache-2.0
// Patches: what is to be done to a root, and doing it once.
#include "fs/patch.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "fs/filter.h"
#include "fs/fuse_core.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum what { REMOVE, MAKE_DIR, PUT_FILE, PUT_LINK, APPEND };

struct item {
	enum what what;
	char *path;    /* in the root */
	char *from;    /* below the directory of patches; NULL: of REMOVE */
	uint32_t mode; /* permissions */
	char id[33];   /* of all of it: kind, mode, contents */
	bool done;     /* the record says so */
	uint64_t at;   /* APPEND: where it begins; UINT64_MAX: not begun */
};

struct patch {
	struct patch_tree t;
	int dir;
	struct item item[FS_PATCH_MAX];
	size_t n;
	uint64_t bytes;
	struct msb_str record; /* as it is on the disk */
	struct msb_err *e;
};

static void patch_free(struct patch **p)
{
	if (*p)
		msb_str_done(&(*p)->record);
	for (size_t i = 0; *p && i < (*p)->n; i++) {
		free((*p)->item[i].path);
		free((*p)->item[i].from);
	}
	free(*p);
}

/* ---- what is there */

static int add(struct patch *p, enum what what, const char *path, const char *from, uint32_t mode,
	const void *data, size_t n)
{
	struct item *i = &p->item[p->n];
	XXH3_state_t *h = XXH3_createState();
	XXH128_canonical_t id;

	if (!h)
		return msb_err_set(p->e, ENOMEM, "no memory");
	if (p->n == FS_PATCH_MAX) {
		XXH3_freeState(h);
		return msb_err_set(p->e, E2BIG, "there are more than %d patches", FS_PATCH_MAX);
	}
	(void)XXH3_128bits_reset(h);
	(void)XXH3_128bits_update(h, &what, sizeof(what));
	(void)XXH3_128bits_update(h, &mode, sizeof(mode));
	(void)XXH3_128bits_update(h, data, n);
	XXH128_canonicalFromHash(&id, XXH3_128bits_digest(h));
	XXH3_freeState(h);
	*i = (struct item){.what = what,
		.path = strdup(path),
		.from = from ? strdup(from) : NULL,
		.mode = mode,
		.at = UINT64_MAX};
	msb_hex(id.digest, sizeof(id.digest), i->id);
	p->n++;
	return i->path && (i->from || !from) ? 0 : msb_err_set(p->e, ENOMEM, "no memory");
}

/* A file of patches; only msbd writes there. */
static int read_from(struct patch *p, const char *from, struct msb_str *ret)
{
	_cleanup_close_ int fd = openat(p->dir, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;
	char buf[65536];

	while (r == 0) {
		int64_t n = msb_pread_full(fd, buf, sizeof(buf), ret->len);

		if (n <= 0) {
			r = (int)n;
			break;
		}
		msb_str_add(ret, buf, (size_t)n);
		if (ret->len > FS_PATCH_MAX_BYTES)
			r = -E2BIG;
		if (ret->oom)
			r = -ENOMEM;
	}
	return r < 0 ? msb_err_set(p->e, -r, "patches/%.300s: %s", from, strerror(-r)) : 0;
}

static int add_removals(struct patch *p, const char *from)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	int r = read_from(p, from, &text);

	for (char *line = text.buf; r == 0 && line && *line;) {
		size_t n = strcspn(line, "\n");
		bool more = line[n] == '\n';

		line[n] = '\0';
		if (strspn(line, "/") < n)
			r = add(p, REMOVE, line, NULL, 0, line, n);
		line += n + more;
	}
	return r;
}

static int add_one(struct patch *p, const char *from, const struct stat *st, bool append)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	const char *path = append ? from + strlen("append/") : from;
	uint32_t mode = st->st_mode & 07777;
	int r;

	if (S_ISREG(st->st_mode)) {
		r = read_from(p, from, &text);
		p->bytes += text.len;
		if (r == 0 && p->bytes > FS_PATCH_MAX_BYTES)
			r = msb_err_set(
				p->e, E2BIG, "patches have more than %u bytes", FS_PATCH_MAX_BYTES);
		return r < 0 ? r
			     : add(p, append ? APPEND : PUT_FILE, path, from, append ? 0 : mode,
				       text.buf, text.len);
	}
	if (append)
		return msb_err_set(p->e, EINVAL, "patches/%.300s: append/ holds files alone", from);
	if (S_ISDIR(st->st_mode))
		return add(p, MAKE_DIR, path, from, mode, NULL, 0);
	if (S_ISLNK(st->st_mode)) {
		char target[PATH_MAX];
		ssize_t n = readlinkat(p->dir, from, target, sizeof(target));

		return n < 0 ? msb_err_set(p->e, errno, "patches/%.300s: %m", from)
			     : add(p, PUT_LINK, path, from, 0, target, (size_t)n);
	}
	return msb_err_set(p->e, EINVAL, "patches/%.300s: no file, directory or link", from);
}

static int scan(struct patch *p, const char *dir, bool append, unsigned int depth)
{
	int fd = openat(p->dir, *dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	int r = 0;

	if (!d || depth == FS_PATCH_MAX_DEPTH)
		return msb_err_set(p->e, d ? ELOOP : errno, "patches/%.300s cannot be read", dir);
	while (r == 0 && (de = readdir(d))) {
		_cleanup_free_ char *from = NULL;
		struct stat st;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (asprintf(&from, "%s%s%s", dir, *dir ? "/" : "", de->d_name) < 0) {
			from = NULL;
			return msb_err_set(p->e, ENOMEM, "no memory");
		}
		if (fstatat(p->dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return msb_err_set(p->e, errno, "patches/%.300s: %m", from);
		if (!*dir && S_ISDIR(st.st_mode) && !strcmp(from, "append")) {
			r = scan(p, from, true, depth + 1);
			continue;
		}
		if (!*dir && S_ISREG(st.st_mode) && !strcmp(from, "remove")) {
			r = add_removals(p, from);
			continue;
		}
		if (!append || !S_ISDIR(st.st_mode))
			r = add_one(p, from, &st, append);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = scan(p, from, append, depth + 1);
	}
	return r;
}

/* ---- the record: `ID AT PATH` a line; AT is - for what is done */

static void recall_line(struct patch *p, const char *id, const char *at, const char *path)
{
	for (size_t i = 0; i < p->n; i++) {
		struct item *x = &p->item[i];

		if (strcmp(x->id, id) != 0 || strcmp(x->path, path) != 0)
			continue;
		if (!strcmp(at, "-"))
			x->done = true;
		else if (x->what == APPEND && msb_parse_u64(at, 0, INT64_MAX, &x->at) < 0)
			x->at = UINT64_MAX;
	}
}

static int recall(struct patch *p, int changes_fd)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	int r = msb_read_file(changes_fd, FSD_PATCH_RECORD, FS_PATCH_MAX_BYTES, &p->record);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		msb_str_add(&text, p->record.buf ?: "", p->record.len);
	if (r == 0 && text.oom)
		r = -ENOMEM;
	for (char *line = text.buf; r == 0 && line && *line;) {
		char *next = line + strcspn(line, "\n"), *at, *path;

		if (*next)
			*next++ = '\0';
		at = strchr(line, ' ');
		path = at ? strchr(at + 1, ' ') : NULL;
		if (path) {
			*at++ = *path++ = '\0';
			recall_line(p, line, at, path);
		}
		line = next;
	}
	return r < 0 ? msb_err_set(p->e, -r, "cannot read what was patched: %s", strerror(-r)) : 0;
}

/* @all: all of it is done; else what was, and where appends begin. */
static int note(struct patch *p, int changes_fd, bool all)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	int r;

	for (size_t i = 0; i < p->n; i++) {
		const struct item *x = &p->item[i];

		if (all || x->done)
			msb_str_addf(&text, "%s - %s\n", x->id, x->path);
		else if (x->at != UINT64_MAX)
			msb_str_addf(&text, "%s %" PRIu64 " %s\n", x->id, x->at, x->path);
	}
	if (!text.oom && text.len == p->record.len &&
		!memcmp(text.buf ?: "", p->record.buf ?: "", text.len))
		return 0;
	r = text.oom ? -ENOMEM
		     : msb_write_file_atomic(
			       changes_fd, FSD_PATCH_RECORD, text.buf ?: "", text.len, 0600);
	return r < 0 ? msb_err_set(p->e, -r, "cannot note down what is patched: %s", strerror(-r))
		     : 0;
}

/* ---- doing it */

static int write_all(struct patch *p, uint64_t node, uint64_t off, const struct msb_str *text)
{
	struct fsb *b = p->t.b;

	for (size_t done = 0; done < text->len;) {
		size_t n = text->len - done < FUSE_MAX_IO ? text->len - done : FUSE_MAX_IO;
		const struct iovec iov = {text->buf + done, n};
		int64_t k = b->ops->writev(b, &p->t.req, node, 0, &iov, 1, off + done, 0);

		if (k <= 0)
			return k < 0 ? (int)k : -EIO;
		done += (size_t)k;
	}
	return 0;
}

static int put_dir(struct patch *p, const struct item *x)
{
	struct fsb *b = p->t.b;
	struct patch_place at;
	struct fsb_entry made = {0};
	int r = patch_find(&p->t, x->path, true, true, &at);

	if (r < 0)
		return r == -EISDIR ? 0 : r; /* there, by another way */
	r = patch_look(&p->t, &at, &made);
	if (r == 0) /* what is there stays as it is */
		r = S_ISDIR(made.attr.mode) ? 0 : -ENOTDIR;
	else if (r == -ENOENT)
		r = b->ops->mkdir(b, &p->t.req, at.parent, at.name, x->mode, &made);
	if (made.node)
		b->ops->forget(b, made.node, 1);
	patch_place_done(&p->t, &at);
	return r;
}

/* Makes room for a file or link, in whose place a directory is not removed. */
static int make_room(struct patch *p, const struct patch_place *at)
{
	struct fsb *b = p->t.b;
	struct fsb_entry there = {0};
	int r = patch_look(&p->t, at, &there);

	if (r != 0)
		return r == -ENOENT ? 0 : r;
	r = S_ISDIR(there.attr.mode) ? -EISDIR : b->ops->unlink(b, &p->t.req, at->parent, at->name);
	b->ops->forget(b, there.node, 1);
	return r;
}

/* What was appended to a file went with it. */
static void append_again(struct patch *p, const struct item *put)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->item[i].what == APPEND && !strcmp(p->item[i].path, put->path)) {
			p->item[i].done = false;
			p->item[i].at = UINT64_MAX;
		}
}

static int put_file(struct patch *p, const struct item *x)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct fsb *b = p->t.b;
	struct patch_place at;
	struct fsb_entry made = {0};
	int r = read_from(p, x->from, &text);

	if (r == 0)
		r = patch_find(&p->t, x->path, true, false, &at);
	if (r != 0)
		return r;
	r = make_room(p, &at);
	if (r == 0)
		r = b->ops->mknod(b, &p->t.req, at.parent, at.name, S_IFREG | x->mode, 0, &made);
	if (r == 0) {
		r = write_all(p, made.node, 0, &text);
		b->ops->forget(b, made.node, 1);
	}
	patch_place_done(&p->t, &at);
	append_again(p, x);
	return r;
}

static int put_link(struct patch *p, const struct item *x)
{
	struct fsb *b = p->t.b;
	struct patch_place at;
	struct fsb_entry made = {0};
	char target[PATH_MAX];
	ssize_t n = readlinkat(p->dir, x->from, target, sizeof(target) - 1);
	int r;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	r = patch_find(&p->t, x->path, true, false, &at);
	if (r != 0)
		return r;
	r = make_room(p, &at);
	if (r == 0)
		r = b->ops->symlink(b, &p->t.req, at.parent, at.name, target, &made);
	if (r == 0)
		b->ops->forget(b, made.node, 1);
	patch_place_done(&p->t, &at);
	return r;
}

/* The file that is appended to, made where it is not there: held. */
static int find_file(struct patch *p, const struct item *x, struct fsb_entry *ret)
{
	struct fsb *b = p->t.b;
	struct patch_place at;
	int r = patch_find(&p->t, x->path, true, true, &at);

	if (r < 0)
		return r;
	*ret = (struct fsb_entry){0};
	r = patch_look(&p->t, &at, ret);
	if (r == -ENOENT)
		r = b->ops->mknod(b, &p->t.req, at.parent, at.name, S_IFREG | 0644, 0, ret);
	patch_place_done(&p->t, &at);
	if (r == 0 && !S_ISREG(ret->attr.mode)) {
		b->ops->forget(b, ret->node, 1);
		r = S_ISDIR(ret->attr.mode) ? -EISDIR : -EINVAL;
	}
	return r;
}

static int begin_append(struct patch *p, struct item *x)
{
	struct fsb_entry f;
	int r = x->at == UINT64_MAX ? find_file(p, x, &f) : 0;

	if (r < 0 || x->at != UINT64_MAX)
		return r;
	x->at = f.attr.size;
	p->t.b->ops->forget(p->t.b, f.node, 1);
	return 0;
}

/* Writes where it begins, so that the second time is the first. What others have written behind
 * that since, which is not a part of it, is left alone. */
static int append(struct patch *p, const struct item *x)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	_cleanup_free_ char *there = NULL;
	struct fsb *b = p->t.b;
	struct fsb_entry f;
	struct iovec iov;
	int64_t n = 0;
	int r = read_from(p, x->from, &text);
	uint64_t at = x->at;

	if (r == 0)
		r = find_file(p, x, &f);
	if (r != 0)
		return r;
	if (f.attr.size < at || f.attr.size - at > text.len)
		at = f.attr.size;
	there = malloc(text.len + 1);
	iov = (struct iovec){there, f.attr.size - at};
	if (!there)
		r = -ENOMEM;
	else if (iov.iov_len)
		n = b->ops->readv(b, f.node, 0, &iov, 1, at);
	if (n < 0)
		r = (int)n;
	else if (r == 0 && n && memcmp(there, text.buf, (size_t)n) != 0)
		at = f.attr.size;
	if (r == 0)
		r = write_all(p, f.node, at, &text);
	b->ops->forget(b, f.node, 1);
	return r;
}

static int removal(struct patch *p, const struct item *x)
{
	struct patch_place at;
	int r = patch_find(&p->t, x->path, false, false, &at);

	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	r = patch_remove(&p->t, &at);
	patch_place_done(&p->t, &at);
	return r;
}

static int carry_out(struct patch *p, enum what from, enum what to)
{
	for (size_t i = 0; i < p->n; i++) {
		struct item *x = &p->item[i];
		int r = 0;

		if (x->done || x->what < from || x->what > to)
			continue;
		switch (x->what) {
		case REMOVE: r = removal(p, x); break;
		case MAKE_DIR: r = put_dir(p, x); break;
		case PUT_FILE: r = put_file(p, x); break;
		case PUT_LINK: r = put_link(p, x); break;
		case APPEND: r = append(p, x); break;
		}
		if (r < 0)
			return msb_err_set(p->e, -r, "%s /%.300s: %s",
				x->what == REMOVE   ? "to remove"
				: x->what == APPEND ? "to append to"
						    : "to put in",
				x->path + strspn(x->path, "/"),
				r == -EISDIR
					? "there is a directory; name it in patches/remove first"
					: strerror(-r));
	}
	return 0;
}

static int begin_appends(struct patch *p, bool *ret_any)
{
	for (size_t i = 0; i < p->n; i++) {
		struct item *x = &p->item[i];
		int r;

		if (x->done || x->what != APPEND)
			continue;
		*ret_any = true;
		r = begin_append(p, x);
		if (r < 0)
			return msb_err_set(
				p->e, -r, "to append to /%.300s: %s", x->path, strerror(-r));
	}
	return 0;
}

static bool all_done(const struct patch *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->item[i].done)
			return false;
	return true;
}

/* Below what keeps a guest from the root, or says what it did: all but a quota. */
static struct fsb *owners(struct fsb *b)
{
	for (struct fsb *below;
		strcmp(b->ops->name, "quota") != 0 && (below = fsb_filter_below(b));)
		b = below;
	return b;
}

static int apply(struct patch *p, int changes_fd)
{
	const struct fsb_ops *ops = p->t.b->ops;
	bool appends = false;
	int r = carry_out(p, REMOVE, REMOVE);

	if (r == 0)
		r = carry_out(p, MAKE_DIR, PUT_LINK);
	if (r == 0)
		r = begin_appends(p, &appends);
	if (r == 0 && appends)
		r = note(p, changes_fd, false);
	if (r == 0)
		r = carry_out(p, APPEND, APPEND);
	if (r == 0 && ops->syncfs) {
		r = ops->syncfs(p->t.b, FSB_ROOT);
		if (r < 0)
			msb_err_set(
				p->e, -r, "cannot write the patches to the disk: %s", strerror(-r));
	}
	return r < 0 ? r : note(p, changes_fd, true);
}

int fs_patch(struct fsb *b, int dir_fd, int changes_fd, struct msb_err *e)
{
	_cleanup_(patch_free) struct patch *p = calloc(1, sizeof(*p));
	struct msb_err mine = {0};
	int r;

	if (!p)
		return msb_err_set(e, ENOMEM, "no memory for patches");
	p->dir = dir_fd;
	p->t.b = owners(b);
	p->e = &mine;
	fsb_asking = &p->t.req;
	r = dir_fd < 0 ? 0 : scan(p, "", false, 0);
	if (r == 0)
		r = recall(p, changes_fd);
	if (r == 0)
		r = all_done(p) ? note(p, changes_fd, true) : apply(p, changes_fd);
	fsb_asking = NULL;
	return r < 0 ? msb_err_set(e, mine.code ?: -r, "patches: %s",
			       mine.code ? mine.msg : strerror(-r))
		     : 0;
}
