// SPDX-License-Identifier: Apache-2.0
// passthrough: the text of what a guest believes of a file.
#include "fs/backends/passthrough/meta.h"
#include "fs/fsb.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct {
	char letter;
	uint32_t type;
} types[] = {
	{'-', 0}, {'b', S_IFBLK}, {'c', S_IFCHR}, {'p', S_IFIFO}, {'s', S_IFSOCK}, {'l', S_IFLNK}};

#define TYPES (sizeof(types) / sizeof(types[0]))

/* As lsattr(1) shows them. */
static const struct {
	char letter;
	uint32_t flag;
} flags[] = {{'S', FSB_FL_SYNC}, {'D', FSB_FL_DIRSYNC}, {'i', FSB_FL_IMMUTABLE},
	{'a', FSB_FL_APPEND}, {'d', FSB_FL_NODUMP}, {'A', FSB_FL_NOATIME}};

#define FLAGS (sizeof(flags) / sizeof(flags[0]))

/* The letters up to @end: each once, in order, and one at least. */
static uint32_t flags_of(const char **at, const char *end)
{
	uint32_t ret = 0;

	for (size_t i = 0; i < FLAGS; i++) {
		if (*at < end && **at == flags[i].letter) {
			ret |= flags[i].flag;
			++*at;
		}
	}
	return ret;
}

/* One number up to @max, and the space or the end behind it. */
static bool number(const char **at, const char *end, unsigned int base, uint64_t max, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;

	if (p == end || (*p == '0' && p + 1 < end && p[1] != ' '))
		return false;
	for (; p < end && *p != ' '; p++) {
		unsigned int digit = (unsigned int)(unsigned char)*p - '0';

		if (digit >= base || v * base + digit > max)
			return false;
		v = v * base + digit;
	}
	if (p == *at)
		return false;
	*at = p < end ? p + 1 : p;
	*ret = v;
	return p + 1 != end; /* no space at the end */
}

int pt_meta_parse(const char *buf, size_t n, struct pt_meta *ret)
{
	const char *at = buf, *end = buf + n;
	uint64_t uid, gid, set, hide, major = 0, minor = 0;
	uint32_t kept = 0;
	size_t i = 0;

	*ret = (struct pt_meta){0};
	if (!number(&at, end, 10, UINT32_MAX - 1, &uid) ||
		!number(&at, end, 10, UINT32_MAX - 1, &gid) || !number(&at, end, 8, 07777, &set) ||
		!number(&at, end, 8, 0777, &hide) || at == end)
		return -EBADMSG;
	while (i < TYPES && types[i].letter != *at)
		i++;
	if (i == TYPES)
		return -EBADMSG;
	at++;
	if (types[i].type == S_IFBLK || types[i].type == S_IFCHR) {
		if (at == end || *at++ != ' ' || !number(&at, end, 10, 0xfff, &major) ||
			!number(&at, end, 10, 0xfffff, &minor))
			return -EBADMSG;
	} else if (!types[i].type && at != end) {
		if (*at++ != ' ')
			return -EBADMSG;
		kept = flags_of(&at, end);
		if (!kept)
			return -EBADMSG;
	}
	if (at != end)
		return -EBADMSG;
	*ret = (struct pt_meta){.there = true,
		.uid = (uint32_t)uid,
		.gid = (uint32_t)gid,
		.set = (uint16_t)set,
		.hide = (uint16_t)hide,
		.type = types[i].type,
		.rdev = (uint32_t)makedev((unsigned int)major, (unsigned int)minor),
		.flags = kept};
	return 0;
}

size_t pt_meta_print(const struct pt_meta *m, char buf[PT_MAX_META])
{
	size_t i = 0;
	int n;

	while (i + 1 < TYPES && types[i].type != m->type)
		i++;
	n = snprintf(buf, PT_MAX_META, "%u %u %o %o %c", m->uid, m->gid, m->set, m->hide,
		types[i].letter);
	if (m->type == S_IFBLK || m->type == S_IFCHR)
		n += snprintf(
			buf + n, PT_MAX_META - (size_t)n, " %u %u", major(m->rdev), minor(m->rdev));
	if (m->flags && !m->type) {
		buf[n++] = ' ';
		for (i = 0; i < FLAGS; i++)
			if (m->flags & flags[i].flag)
				buf[n++] = flags[i].letter;
	}
	return (size_t)n;
}
