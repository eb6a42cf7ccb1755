// SPDX-License-Identifier: Apache-2.0
// passwd(5) and group(5), parsed without the libc's readers: those follow nsswitch and trust lines.
#include "guest/users.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct field {
	const char *p;
	size_t n;
};

/* Splits the line at *@pos into exactly @want fields; false where it is not such a line. */
static bool next_line(const char *text, size_t bytes, size_t *pos, struct field *line)
{
	const char *start = text + *pos, *end;

	if (*pos >= bytes)
		return false;
	end = memchr(start, '\n', bytes - *pos);
	line->p = start;
	line->n = end ? (size_t)(end - start) : bytes - *pos;
	*pos += line->n + 1;
	return true;
}

static bool split(struct field line, struct field *out, size_t want)
{
	size_t n = 0;

	if (memchr(line.p, '\0', line.n))
		return false;
	for (;;) {
		const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;

		if (n == want)
			return false;
		out[n++] = (struct field){line.p, colon ? (size_t)(colon - line.p) : line.n};
		if (!colon)
			return n == want;
		line.n -= (size_t)(colon - line.p) + 1;
		line.p = colon + 1;
	}
}

static bool number(struct field f, uint32_t *ret)
{
	char text[12];
	uint64_t v;

	if (f.n == 0 || f.n >= sizeof(text))
		return false;
	memcpy(text, f.p, f.n);
	text[f.n] = '\0';
	/* (uid_t)-1 means "leave unchanged" to setresuid(2). */
	if (msb_parse_u64(text, 0, UINT32_MAX - 1, &v) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool is(struct field f, struct field name)
{
	return f.n == name.n && memcmp(f.p, name.p, f.n) == 0;
}

static void copy(char *out, size_t cap, struct field f)
{
	size_t n = f.n < cap ? f.n : 0; /* a cut path would be another path */

	memcpy(out, f.p, n);
	out[n] = '\0';
}

static bool find_user(
	const char *text, size_t bytes, struct field name, const uint32_t *uid, struct ga_user *u)
{
	struct field line, f[7];
	uint32_t id, gid;

	for (size_t pos = 0; next_line(text, bytes, &pos, &line);) {
		if (!split(line, f, 7) || f[0].n == 0 || !number(f[2], &id) || !number(f[3], &gid))
			continue;
		if (uid ? id != *uid : !is(f[0], name))
			continue;
		u->uid = id;
		u->gid = gid;
		copy(u->name, sizeof(u->name), f[0]);
		copy(u->home, sizeof(u->home), f[5]);
		if (u->home[0] != '/')
			memcpy(u->home, "/", 2);
		return true;
	}
	return false;
}

static bool lists(struct field members, struct field name)
{
	while (members.n) {
		const char *comma = memchr(members.p, ',', members.n);
		struct field one = {members.p, comma ? (size_t)(comma - members.p) : members.n};

		if (is(one, name))
			return true;
		if (!comma)
			return false;
		members.n -= one.n + 1;
		members.p = comma + 1;
	}
	return false;
}

static void add_group(struct ga_user *u, uint32_t gid)
{
	for (size_t i = 0; i < u->ngroups; i++)
		if (u->groups[i] == gid)
			return;
	if (u->ngroups < GA_MAX_GROUPS)
		u->groups[u->ngroups++] = gid;
}

/* Either finds the group @name, or collects the groups that list @u. */
static bool scan_groups(
	const char *text, size_t bytes, const struct field *name, struct ga_user *u, uint32_t *ret)
{
	struct field line, f[4], me = {u->name, strlen(u->name)};
	uint32_t gid;

	for (size_t pos = 0; next_line(text, bytes, &pos, &line);) {
		if (!split(line, f, 4) || f[0].n == 0 || !number(f[2], &gid))
			continue;
		if (name && is(f[0], *name)) {
			*ret = gid;
			return true;
		}
		if (!name && me.n && lists(f[3], me))
			add_group(u, gid);
	}
	return false;
}

static int find_group(struct field name, const char *group, size_t group_bytes, struct ga_user *u,
	uint32_t *ret, struct msb_err *e)
{
	if (name.n == 0)
		return msb_err_set(e, EINVAL, "a group of the user has no name");
	if (number(name, ret) || scan_groups(group, group_bytes, &name, u, ret))
		return 0;
	return msb_err_set(
		e, ENOENT, "group '%.*s' is not in /etc/group of the sandbox", (int)name.n, name.p);
}

int ga_user_resolve(const char *spec, const char *passwd, size_t passwd_bytes, const char *group,
	size_t group_bytes, struct ga_user *ret, struct msb_err *e)
{
	const char *colon = strchr(spec, ':');
	struct field who = {spec, colon ? (size_t)(colon - spec) : strlen(spec)};
	const char *more = colon ? strchr(colon + 1, ':') : NULL;
	struct field grp = {colon ? colon + 1 : NULL, /* NULL: not given */
		more	? (size_t)(more - colon - 1)
		: colon ? strlen(colon + 1)
			: 0};
	uint32_t id = 0;
	int r;

	*ret = (struct ga_user){.home = "/"};
	if (colon && (who.n == 0 || grp.n == 0))
		return msb_err_set(e, EINVAL,
			"user '%s' is not USER[:GROUP[:GROUP,...]], by name or number", spec);
	if (who.n == 0 || number(who, &id)) {
		if (!find_user(passwd, passwd_bytes, who, &id, ret))
			ret->uid = id;
	} else if (!find_user(passwd, passwd_bytes, who, NULL, ret)) {
		return msb_err_set(e, ENOENT, "user '%.*s' is not in /etc/passwd of the sandbox",
			(int)who.n, who.p);
	}
	if (!grp.p) {
		add_group(ret, ret->gid);
		(void)scan_groups(group, group_bytes, NULL, ret, NULL); /* collects */
		return 0;
	}
	r = find_group(grp, group, group_bytes, ret, &id, e);
	if (r < 0)
		return r;
	ret->gid = id;
	add_group(ret, id);
	while (r == 0 && more) {
		grp.p = more + 1;
		grp.n = strcspn(grp.p, ",");
		more = grp.p[grp.n] ? grp.p + grp.n : NULL;
		r = find_group(grp, group, group_bytes, ret, &id, e);
		if (r == 0)
			add_group(ret, id);
	}
	return r;
}

static int slurp(int root_fd, const char *path, struct msb_str *s, struct msb_err *e)
{
	/* Not blocking: the sandbox may have put a fifo there. */
	_cleanup_close_ int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char buf[4096];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : msb_err_set(e, errno, "cannot read /%s: %m", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return msb_err_set(e, EINVAL, "/%s of the sandbox is not a regular file", path);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (s->len + (size_t)n > GA_MAX_USER_FILE)
			return msb_err_set(e, EFBIG, "/%s of the sandbox is too big", path);
		msb_str_add(s, buf, (size_t)n);
	}
	if (n < 0)
		return msb_err_set(e, errno, "cannot read /%s: %m", path);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory to read /%s", path) : 0;
}

int ga_user_load(int root_fd, const char *spec, struct ga_user *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str passwd = MSB_STR_INIT, group = MSB_STR_INIT;
	int r = slurp(root_fd, "etc/passwd", &passwd, e);

	if (r == 0)
		r = slurp(root_fd, "etc/group", &group, e);
	return r < 0 ? r
		     : ga_user_resolve(spec, passwd.buf, passwd.len, group.buf, group.len, ret, e);
}
