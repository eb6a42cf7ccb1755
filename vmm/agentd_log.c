// SPDX-License-Identifier: Apache-2.0
// The files that msb-agentd keeps for a sandbox: console and log.
#include "vmm/agentd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static void file_open(struct ad_file *f)
{
	struct stat st;

	f->fd = openat(
		f->dir_fd, f->name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	f->size = f->fd >= 0 && fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	if (f->fd < 0)
		log_warn("cannot open %s of the sandbox: %m; what belongs there is lost", f->name);
}

void ad_file_init(struct ad_file *f, int dir_fd, const char *name, uint64_t max, unsigned int old)
{
	*f = (struct ad_file){.dir_fd = dir_fd, .name = name, .max = max, .old = old, .fd = -1};
	file_open(f);
}

void ad_file_mend(struct ad_file *f)
{
	_cleanup_close_ int fd = openat(f->dir_fd, f->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char last = '\n';

	if (fd < 0 || lseek(fd, -1, SEEK_END) < 0 || read(fd, &last, 1) != 1 || last == '\n')
		return;
	ad_file_add(f, "\n", 1);
}

void ad_file_done(struct ad_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static void name_of(const struct ad_file *f, unsigned int k, char ret[32])
{
	if (k)
		(void)snprintf(ret, 32, "%s.%u", f->name, k);
	else
		(void)snprintf(ret, 32, "%s", f->name);
}

/* From the oldest on, so that a kill between two steps loses no file but the one that has to go. */
static void rotate(struct ad_file *f)
{
	unsigned int k = 1;
	char from[32], to[32];
	struct stat st;

	/* A kill has left a name free: those above it stay. */
	for (; k < f->old; k++) {
		name_of(f, k, to);
		if (fstatat(f->dir_fd, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
			break;
	}
	for (; k; k--) {
		name_of(f, k - 1, from);
		name_of(f, k, to);
		if (renameat(f->dir_fd, from, f->dir_fd, to) < 0)
			log_warn("cannot rotate %s of the sandbox: %m", from);
	}
}

void ad_file_add(struct ad_file *f, const void *p, size_t n)
{
	int r;

	if (f->size && f->size + n > f->max) {
		ad_file_done(f);
		rotate(f);
		file_open(f);
	}
	if (f->fd < 0)
		return;
	r = msb_write_full(f->fd, p, n);
	/* Once: the guest says how much there is to write, and may have filled the disk. */
	if (r < 0 && !f->failing)
		log_warn("cannot write %s of the sandbox: %s; what it would hold is lost", f->name,
			strerror(-r));
	f->failing = r < 0;
	if (r < 0)
		(void)!ftruncate(f->fd, (off_t)f->size); /* else a piece of a line stays */
	else
		f->size += n;
}

static void record(struct ad_file *f, uint32_t job, const char *stream, const char *p, size_t n)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	msb_str_addf(&s,
		"{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ\",\"job\":%u,\"stream\":\"%s\",",
		tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		now.tv_nsec / 1000, job, stream);
	if (msb_utf8_valid(p, n)) {
		msb_str_adds(&s, "\"data\":");
		msb_str_add_json(&s, p, n);
	} else {
		msb_str_adds(&s, "\"data_base64\":\"");
		msb_str_add_base64(&s, p, n);
		msb_str_adds(&s, "\"");
	}
	msb_str_adds(&s, "}\n");
	if (!s.oom)
		ad_file_add(f, s.buf, s.len);
}

/* How many bytes at the end begin a character that they do not finish: 0-3. */
static size_t unfinished(const unsigned char *p, size_t n)
{
	for (size_t k = 1; k <= 3 && k <= n; k++) {
		unsigned char c = p[n - k];

		if ((c & 0xc0) == 0x80)
			continue;
		return (c >= 0xf0 && c <= 0xf4 && k < 4) || (c >= 0xe0 && c < 0xf0 && k < 3) ||
				       (c >= 0xc2 && c < 0xe0 && k < 2)
			       ? k
			       : 0;
	}
	return 0;
}

void ad_log_add(struct ad_file *f, uint32_t job, const char *stream, struct ad_tail *t,
	const void *p, size_t n)
{
	char buf[WIRE_MAX_PAYLOAD + sizeof(t->bytes)];
	size_t len = t->n, keep;

	memcpy(buf, t->bytes, t->n);
	memcpy(buf + len, p, n);
	len += n;
	keep = unfinished((unsigned char *)buf, len);
	/* Bytes that are no text anyway are written as they came. */
	if (keep && len > keep && !msb_utf8_valid(buf, len - keep))
		keep = 0;
	t->n = (unsigned char)keep;
	memcpy(t->bytes, buf + len - keep, keep);
	if (len > keep)
		record(f, job, stream, buf, len - keep);
}

void ad_log_flush(struct ad_file *f, uint32_t job, const char *stream, struct ad_tail *t)
{
	if (t->n)
		record(f, job, stream, (char *)t->bytes, t->n);
	t->n = 0;
}
