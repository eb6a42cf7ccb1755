// SPDX-License-Identifier: Apache-2.0
// Logs on disk that are rotated, read as one file.
#include "ctl/logfile.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define MAX_FILES (CTL_LOG_MAX_OLD + 2) /* one may be gone already, and still be read */
#define MAX_PATH  80
#define FLOOD	  4 /* times what a file may have: of one that has more its end is kept */

static const char dropped[] = "{\"dropped\":true}\n";

struct part {
	int fd;
	dev_t dev;
	ino_t ino;
	uint64_t start, bytes; /* bytes: when it was looked at last */
};

struct ctl_logfile {
	struct ctl_logfile *next;
	unsigned int refs; /* the list's lock, as next */
	int dirfd;
	unsigned int old;
	char name[MAX_PATH - 8];

	pthread_mutex_t lock; /* what follows; not held while contents are read */
	unsigned int n;
	struct part part[MAX_FILES];
};

static struct {
	pthread_mutex_t lock; /* taken before a log's own */
	struct ctl_logfile *first;
} logs = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void path_of(const char *name, unsigned int k, char ret[MAX_PATH])
{
	if (k)
		(void)snprintf(ret, MAX_PATH, "%s.%u", name, k);
	else
		(void)snprintf(ret, MAX_PATH, "%s", name);
}

static bool open_part(const struct ctl_logfile *l, unsigned int k, struct part *ret)
{
	char path[MAX_PATH];
	struct stat st;

	path_of(l->name, k, path);
	ret->fd = openat(l->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (ret->fd < 0)
		return false;
	if (fstat(ret->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(ret->fd);
		return false;
	}
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->bytes = (uint64_t)st.st_size;
	return true;
}

static bool same(const struct part *a, const struct part *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

static struct part *newest(struct ctl_logfile *l)
{
	return l->n ? &l->part[l->n - 1] : NULL;
}

/* How long the newest file is now. One that has become shorter was emptied after it was copied: the
 * copy takes its place, and it is a new one. */
static void look_at_newest(struct ctl_logfile *l)
{
	struct part *p = newest(l), copy;
	struct stat st;

	if (!p || fstat(p->fd, &st) < 0)
		return;
	if ((uint64_t)st.st_size >= p->bytes) {
		p->bytes = (uint64_t)st.st_size;
		return;
	}
	if (open_part(l, 1, &copy)) { /* its end, where it had grown without measure */
		copy.start = p->start + (p->bytes > copy.bytes ? p->bytes - copy.bytes : 0);
		close(p->fd);
		*p = copy;
	}
}

static void append(struct ctl_logfile *l, struct part *p, bool gap)
{
	const struct part *last = newest(l);

	/* How much is missing nobody knows: a byte is enough for a reader to notice. */
	p->start = last ? last->start + last->bytes + gap : 0;
	if (l->n == MAX_FILES) {
		close(l->part[0].fd);
		memmove(l->part, l->part + 1, --l->n * sizeof(l->part[0]));
	}
	l->part[l->n++] = *p;
}

/* Takes up what came since the last look. Lock held. */
static void look(struct ctl_logfile *l)
{
	struct part found[CTL_LOG_MAX_OLD + 1];
	unsigned int n = 0, k = 0;
	char path[MAX_PATH];
	bool known = l->n == 0;
	struct stat st;

	look_at_newest(l);
	path_of(l->name, 0, path);
	if (l->n && fstatat(l->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		st.st_ino == newest(l)->ino && st.st_dev == newest(l)->dev)
		return;
	/* From the newest on: a rotation meanwhile lets one be met twice, and none be missed. */
	for (; k <= l->old; k++) {
		if (!open_part(l, k, &found[n]))
			continue;
		if (l->n && same(&found[n], newest(l))) {
			close(found[n].fd);
			known = true;
			break;
		}
		if (n && same(&found[n], &found[n - 1]))
			close(found[n].fd);
		else
			n++;
	}
	if (n && l->n)
		look_at_newest(l); /* it is not written any more: that is its end */
	while (n--) {
		append(l, &found[n], !known);
		known = true;
	}
}

static struct ctl_logfile *find(int dirfd, const char *name)
{
	struct ctl_logfile *l = logs.first;

	while (l && (l->dirfd != dirfd || strcmp(l->name, name) != 0))
		l = l->next;
	return l;
}

struct ctl_logfile *ctl_logfile_open(int dirfd, const char *name, unsigned int old)
{
	struct ctl_logfile *l;

	LOCK_SCOPE(&logs.lock);
	l = find(dirfd, name);
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return NULL;
		l->dirfd = dirfd;
		l->old = old < CTL_LOG_MAX_OLD ? old : CTL_LOG_MAX_OLD;
		(void)snprintf(l->name, sizeof(l->name), "%s", name);
		pthread_mutex_init(&l->lock, NULL);
		l->next = logs.first;
		logs.first = l;
	}
	l->refs++;
	return l;
}

struct ctl_logfile *ctl_logfile_close(struct ctl_logfile *l)
{
	struct ctl_logfile **at = &logs.first;

	if (!l)
		return NULL;
	pthread_mutex_lock(&logs.lock);
	if (--l->refs) {
		pthread_mutex_unlock(&logs.lock);
		return NULL;
	}
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	pthread_mutex_unlock(&logs.lock);
	for (unsigned int i = 0; i < l->n; i++)
		close(l->part[i].fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return NULL;
}

static uint64_t end(struct ctl_logfile *l)
{
	const struct part *p;

	LOCK_SCOPE(&l->lock);
	look(l);
	p = newest(l);
	return p ? p->start + p->bytes : 0;
}

uint64_t ctl_logfile_size(int dirfd, const char *name, unsigned int old)
{
	struct ctl_logfile *l;
	uint64_t bytes = 0;
	char path[MAX_PATH];
	struct stat st;

	{
		LOCK_SCOPE(&logs.lock);
		l = find(dirfd, name);
		if (l)
			return end(l);
	}
	for (unsigned int k = 0; k <= old; k++) {
		path_of(name, k, path);
		if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_size;
	}
	return bytes;
}

/* The file that has place @at, or that comes next; a descriptor of its own, or -1: the end. */
static int part_at(struct ctl_logfile *l, uint64_t at, uint64_t *ret_start, uint64_t *ret_left)
{
	LOCK_SCOPE(&l->lock);
	look(l);
	for (unsigned int i = 0; i < l->n; i++) {
		const struct part *p = &l->part[i];
		uint64_t from = at > p->start ? at : p->start;

		if (from >= p->start + p->bytes)
			continue;
		*ret_start = p->start;
		*ret_left = p->start + p->bytes - from;
		return fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	}
	return -1;
}

static uint64_t oldest(struct ctl_logfile *l)
{
	LOCK_SCOPE(&l->lock);
	look(l);
	return l->n ? l->part[0].start : 0;
}

bool ctl_logfile_more(struct ctl_logfile *l, const struct ctl_log_reader *rd, uint64_t off)
{
	return off + rd->shift < end(l);
}

int ctl_logfile_read(struct ctl_logfile *l, struct ctl_log_reader *rd, uint64_t off, size_t max,
	bool note, struct msb_str *s)
{
	_cleanup_free_ char *buf = NULL;
	_cleanup_close_ int fd = -1;
	const size_t note_bytes = sizeof(dropped) - 1;
	uint64_t start = 0, left = 0;
	int64_t n;

	if (off == 0)
		*rd = (struct ctl_log_reader){.shift = oldest(l)};
	if (rd->noted && off >= rd->note_off && off < rd->note_off + note_bytes) {
		n = (int64_t)(note_bytes - (size_t)(off - rd->note_off));
		msb_str_add(s, dropped + (off - rd->note_off), (size_t)n < max ? (size_t)n : max);
		return 0;
	}
	fd = part_at(l, off + rd->shift, &start, &left);
	if (fd < 0)
		return 0;
	if (off + rd->shift < start) { /* what was there is gone */
		rd->noted = note;
		rd->note_off = off;
		rd->shift = start - off - (note ? note_bytes : 0);
		if (note) {
			msb_str_add(s, dropped, note_bytes < max ? note_bytes : max);
			return 0;
		}
	}
	if (left < max)
		max = (size_t)left;
	buf = malloc(max);
	if (!buf)
		return -ENOMEM;
	n = msb_pread_full(fd, buf, max, off + rd->shift - start);
	if (n < 0)
		return (int)n;
	msb_str_add(s, buf, (size_t)n);
	return s->oom ? -ENOMEM : 0;
}

static void copy_and_empty(int dirfd, const char *name, uint64_t max)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int to = -1;
	char old[MAX_PATH], fresh[MAX_PATH + 4];
	struct stat st;
	off_t off = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size <= max)
		return;
	/* Under a name of its own first: readers may have the old one open. */
	path_of(name, 1, old);
	(void)snprintf(fresh, sizeof(fresh), "%s.new", name);
	to = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return log_warn("cannot rotate %s: %m, ignoring", name);
	/* Each of our processes has it open. One that was taken over may write without end, or make
	 * it of any length with one call: not all of that is made anew. */
	if ((uint64_t)st.st_size > FLOOD * max)
		off = st.st_size - (off_t)max;
	while (off < st.st_size)
		if (sendfile(to, fd, &off, (size_t)(st.st_size - off)) <= 0)
			break;
	/* A line written between the copy and here is lost; other processes hold the file open for
	 * appending, so it cannot be renamed. */
	if (renameat(dirfd, fresh, dirfd, old) < 0 || ftruncate(fd, 0) < 0)
		log_warn("cannot rotate %s: %m, ignoring", name);
}

void ctl_logfile_rotate(int dirfd, const char *name, uint64_t max)
{
	struct ctl_logfile *l = NULL;

	{
		LOCK_SCOPE(&logs.lock);
		l = find(dirfd, name);
		if (l)
			l->refs++;
	}
	if (!l) {
		copy_and_empty(dirfd, name, max);
		return;
	}
	pthread_mutex_lock(&l->lock);
	look(l);
	copy_and_empty(dirfd, name, max);
	look(l); /* before it grows past what it was: then nobody could tell */
	pthread_mutex_unlock(&l->lock);
	(void)ctl_logfile_close(l);
}
