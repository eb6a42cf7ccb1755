// SPDX-License-Identifier: Apache-2.0
// One line of the audit file.
#include "fs/audit_sink.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "fs/filter.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <sys/param.h>
#include <sys/xattr.h>

#define MAX_PATH       4096
#define MAX_KEPT_MOUNT 64 /* bytes of its name */

/* printf would take longer than all the rest. */
static char *put(char *p, const char *text)
{
	size_t n = strlen(text);

	memcpy(p, text, n);
	return p + n;
}

static char *put_u64(char *p, uint64_t v)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = digits[--n];
	return p;
}

static char *put_octal(char *p, uint32_t v)
{
	*p++ = '0';
	for (int shift = 9; shift >= 0; shift -= 3)
		if (v >> shift || shift == 0 || v >> (shift + 3))
			*p++ = (char)('0' + (v >> shift & 7));
	return p;
}

/* @n digits of @v, leading zeros too. */
static char *put_digits(char *p, unsigned int v, int n)
{
	for (int i = n - 1; i >= 0; i--, v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + n;
}

/* RFC 3339, UTC, up to the microseconds. The day and time of a second are kept for the next line of
 * the same one. */
static char *put_time(char *p, int64_t sec, uint32_t nsec)
{
	static _Thread_local int64_t kept_sec = -1;
	static _Thread_local char kept[29] = "{\"time\":\"";
	struct tm tm;
	time_t t = sec;

	if (sec != kept_sec && gmtime_r(&t, &tm)) {
		char *q = kept + 9;

		q = put_digits(q, (unsigned int)tm.tm_year + 1900, 4);
		*q++ = '-';
		q = put_digits(q, (unsigned int)tm.tm_mon + 1, 2);
		*q++ = '-';
		q = put_digits(q, (unsigned int)tm.tm_mday, 2);
		*q++ = 'T';
		q = put_digits(q, (unsigned int)tm.tm_hour, 2);
		*q++ = ':';
		q = put_digits(q, (unsigned int)tm.tm_min, 2);
		*q++ = ':';
		q = put_digits(q, (unsigned int)tm.tm_sec, 2);
		*q = '.';
		kept_sec = sec;
	}
	memcpy(p, kept, sizeof(kept));
	return put_digits(p + sizeof(kept), nsec / 1000, 6);
}

static char *put_key(char *p, const char *key)
{
	*p++ = ',';
	*p++ = '"';
	p = put(p, key);
	*p++ = '"';
	*p++ = ':';
	return p;
}

/* The guest's kernel need not say it. */
static char *put_id(char *p, const char *key, uint32_t id)
{
	p = put_key(p, key);
	return id == FSB_UNKNOWN_ID ? put(p, "null") : put_u64(p, id);
}

static char *put_number(char *p, const char *key, uint64_t v)
{
	return put_u64(put_key(p, key), v);
}

/* What stands for itself, as most bytes do. */
static bool plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Whether one of the eight bytes is not plain(). */
static bool any_special(uint64_t w)
{
	const uint64_t q = w ^ EACH('"'), b = w ^ EACH('\\'), d = w ^ EACH(0x7f);

	/* A borrow out of a special byte may make one above it look so too: it is one in any case.
	 */
	return (w | ((w - EACH(0x20)) & ~w) | ((q - EACH(1)) & ~q) | ((b - EACH(1)) & ~b) |
		       ((d - EACH(1)) & ~d)) &
	       EACH(0x80);
}

static size_t plain_words(const char *text, size_t n)
{
	size_t i = 0;
	uint64_t w;

	for (; i + sizeof(w) <= n; i += sizeof(w)) {
		memcpy(&w, text + i, sizeof(w));
		if (any_special(w))
			break;
	}
	return i;
}

static char *put_escaped(char *p, const char *text, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t i = plain_words(text, n);

	*p++ = '"';
	memcpy(p, text, i);
	p += i;
	while (i < n) {
		unsigned char c = (unsigned char)text[i];
		size_t len;

		if (plain(c)) {
			*p++ = (char)c;
			i++;
			continue;
		}
		len = msb_utf8_len(text + i, n - i);
		if (c == '"' || c == '\\') {
			*p++ = '\\';
			*p++ = (char)c;
			i++;
		} else if (c < 0x20 || c == 0x7f || !len) {
			p = put(p, len || c < 0x80 ? "\\u00" : "\\udc");
			*p++ = hex[c >> 4];
			*p++ = hex[c & 15];
			i++;
		} else {
			memcpy(p, text + i, len);
			p += len;
			i += len;
		}
	}
	*p++ = '"';
	return p;
}

static char *put_text(char *p, const char *key, const char *text, size_t n)
{
	return put_escaped(put_key(p, key), text, MIN(n, MAX_PATH));
}

struct bit {
	uint32_t bit;
	const char *name;
};

static const struct bit open_bits[] = {{O_CREAT, "O_CREAT"}, {O_EXCL, "O_EXCL"},
	{O_TRUNC, "O_TRUNC"}, {O_APPEND, "O_APPEND"}, {O_NONBLOCK, "O_NONBLOCK"},
	{O_SYNC & ~O_DSYNC, "O_SYNC"}, {O_DSYNC, "O_DSYNC"}, {O_DIRECT, "O_DIRECT"},
	{O_DIRECTORY, "O_DIRECTORY"}, {O_NOFOLLOW, "O_NOFOLLOW"}, {O_NOATIME, "O_NOATIME"}, {0}};
static const struct bit setattr_bits[] = {{FATTR_MODE, "mode"}, {FATTR_UID, "uid"},
	{FATTR_GID, "gid"}, {FATTR_SIZE, "size"}, {FATTR_ATIME, "atime"}, {FATTR_MTIME, "mtime"},
	{FATTR_CTIME, "ctime"}, {FSB_SETATTR_FLAGS, "flags"}, {0}};
static const struct bit rename_bits[] = {{RENAME_NOREPLACE, "RENAME_NOREPLACE"},
	{RENAME_EXCHANGE, "RENAME_EXCHANGE"}, {RENAME_WHITEOUT, "RENAME_WHITEOUT"}, {0}};
static const struct bit fallocate_bits[] = {{FALLOC_FL_KEEP_SIZE, "KEEP_SIZE"},
	{FALLOC_FL_PUNCH_HOLE, "PUNCH_HOLE"}, {FALLOC_FL_COLLAPSE_RANGE, "COLLAPSE_RANGE"},
	{FALLOC_FL_ZERO_RANGE, "ZERO_RANGE"}, {FALLOC_FL_INSERT_RANGE, "INSERT_RANGE"},
	{FALLOC_FL_UNSHARE_RANGE, "UNSHARE_RANGE"}, {0}};
static const struct bit xattr_bits[] = {
	{XATTR_CREATE, "XATTR_CREATE"}, {XATTR_REPLACE, "XATTR_REPLACE"}, {0}};

/* What an operation has beyond the common. */
enum { DATA = 1, SIZE = 2, MODE = 4, OPEN = 8 };
static const struct {
	unsigned int has;
	const struct bit *bits;
	const char *key2;
} shapes[FSB_OPS] = {
	[FSB_SETATTR] = {0, setattr_bits, NULL},
	[FSB_MKNOD] = {MODE, NULL, NULL},
	[FSB_MKDIR] = {MODE, NULL, NULL},
	[FSB_SYMLINK] = {0, NULL, "target"},
	[FSB_RENAME] = {0, rename_bits, "path2"},
	[FSB_LINK] = {0, NULL, "path2"},
	[FSB_OPEN] = {OPEN, open_bits, NULL},
	[FSB_CREATE] = {OPEN | MODE, open_bits, NULL},
	[FSB_TMPFILE] = {OPEN | MODE, open_bits, NULL},
	[FSB_READ] = {DATA, NULL, NULL},
	[FSB_WRITE] = {DATA, NULL, NULL},
	[FSB_SETXATTR] = {SIZE, xattr_bits, "xattr"},
	[FSB_GETXATTR] = {SIZE, NULL, "xattr"},
	[FSB_LISTXATTR] = {SIZE, NULL, NULL},
	[FSB_REMOVEXATTR] = {0, NULL, "xattr"},
	[FSB_FALLOCATE] = {DATA, fallocate_bits, NULL},
	[FSB_COPY_FILE_RANGE] = {DATA, NULL, "path2"},
};

static char *put_flags(char *p, const struct audit_event *ev)
{
	static const char *const access[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
	const char *join = "";

	if (!ev->flags && !(shapes[ev->op].has & OPEN))
		return p;
	p = put_key(p, "flags");
	*p++ = '"';
	if (shapes[ev->op].has & OPEN) {
		p = put(p, access[ev->flags & O_ACCMODE]);
		join = "|";
	}
	for (const struct bit *b = shapes[ev->op].bits; b->bit; b++)
		if (ev->flags & b->bit) {
			p = put(put(p, join), b->name);
			join = "|";
		}
	*p++ = '"';
	return p;
}

static char *put_result(char *p, int result)
{
	const char *name = result ? strerrorname_np(-result) : NULL;

	if (!result)
		return put(p, ",\"result\":0}\n");
	p = put_key(p, "result");
	if (!name)
		return put(put_u64(p, (uint64_t)(unsigned int)-result), "}\n");
	*p++ = '"';
	return put(put(p, name), "\"}\n");
}

/* From the time to the path: who did what, where. Kept for the next line, which mostly says the
 * same. */
static char *put_who(char *p, const struct audit_event *ev)
{
	static _Thread_local struct {
		uint32_t op, pid, uid, gid;
		size_t mount_bytes, bytes;
		char mount[MAX_KEPT_MOUNT];
		char text[6 * MAX_KEPT_MOUNT + 128];
	} kept;
	size_t n = strnlen(ev->mount, AUDIT_MAX_MOUNT);
	char *begin = p;

	if (kept.bytes && n == kept.mount_bytes && ev->pid == kept.pid && ev->op == kept.op &&
		ev->uid == kept.uid && ev->gid == kept.gid && !memcmp(ev->mount, kept.mount, n)) {
		memcpy(p, kept.text, kept.bytes);
		return p + kept.bytes;
	}
	p = put(p, "Z\"");
	p = put_text(p, "mount", ev->mount, n);
	p = put_number(p, "pid", ev->pid);
	p = put_id(p, "uid", ev->uid);
	p = put_id(p, "gid", ev->gid);
	p = put_key(p, "op");
	*p++ = '"';
	p = put(p, fsb_op_name(ev->op));
	*p++ = '"';
	if (n <= MAX_KEPT_MOUNT) {
		kept.op = ev->op;
		kept.pid = ev->pid;
		kept.uid = ev->uid;
		kept.gid = ev->gid;
		kept.mount_bytes = n;
		memcpy(kept.mount, ev->mount, n);
		kept.bytes = (size_t)(p - begin);
		memcpy(kept.text, begin, kept.bytes);
	}
	return p;
}

size_t audit_format(char *buf, const struct audit_event *ev, int64_t sec, uint32_t nsec)
{
	unsigned int has = shapes[ev->op].has;
	char *p = put_who(put_time(buf, sec, nsec), ev);

	p = put_text(p, "path", ev->path, ev->path_bytes);
	if (shapes[ev->op].key2)
		p = put_text(p, shapes[ev->op].key2, ev->path2, ev->path2_bytes);
	if (shapes[ev->op].bits)
		p = put_flags(p, ev);
	if (ev->op == FSB_SETATTR) {
		has |= ev->flags & FATTR_MODE ? MODE : 0;
		has |= ev->flags & FATTR_SIZE ? SIZE : 0;
	}
	if (has & MODE) {
		p = put_key(p, "mode");
		*p++ = '"';
		p = put_octal(p, ev->mode & 07777);
		*p++ = '"';
	}
	if (has & DATA)
		p = put_number(p, "offset", ev->off);
	if (has & (DATA | SIZE))
		p = put_number(p, "bytes", ev->bytes);
	return (size_t)(put_result(p, ev->result) - buf);
}

size_t audit_format_dropped(char *buf, uint64_t n, int64_t sec, uint32_t nsec)
{
	char *p = put(put_time(buf, sec, nsec), "Z\"");

	return (size_t)(put(put_number(p, "dropped", n), "}\n") - buf);
}
