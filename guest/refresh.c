// SPDX-License-Identifier: Apache-2.0
// Forgetting what was cached of the file systems of the host.
#include "guest/refresh.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#define DROP_ROUNDS 2 /* the first only takes the mark of recent use from some */
#define SLOTS	    (GA_MAX_REFRESH * 2)
#define NOREPLACE   1u	   /* RENAME_NOREPLACE */
#define FORCE_SYNC  0x2000 /* AT_STATX_FORCE_SYNC */
#define BASIC_STATS 0x7ff  /* STATX_BASIC_STATS */

/* Hashes of the paths that were asked for already; 0: free. */
struct seen {
	uint64_t *slot;
	size_t n;
};

static bool first_time(struct seen *s, const char *path, size_t n)
{
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a: a collision leaves one path out */
	size_t i;

	for (size_t k = 0; k < n; k++)
		h = (h ^ (uint8_t)path[k]) * 0x100000001b3ULL;
	h |= 1;
	for (i = (h >> 20) % SLOTS; s->slot[i]; i = (i + 1) % SLOTS)
		if (s->slot[i] == h)
			return false;
	if (s->n == GA_MAX_REFRESH)
		return false;
	s->slot[i] = h;
	s->n++;
	return true;
}

bool ga_refresh_wanted(const char *path, size_t n)
{
	static const char *const not_ours[] = {"/dev/", "/proc/", "/sys/"};
	static const char deleted[] = " (deleted)";
	const size_t k = sizeof(deleted) - 1;

	if (n < 2 || n >= PATH_MAX || path[0] != '/' ||
		(n > k && !memcmp(path + n - k, deleted, k)))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
		if (n > strlen(not_ours[i]) && !memcmp(path, not_ours[i], strlen(not_ours[i])))
			return false;
	return true;
}

/* A rename of a name onto itself changes nothing, and is refused since the target exists; but
 * before that the kernel asks the file server what the target is. */
static void ask_again(struct seen *s, const char *path, size_t n)
{
	char part[PATH_MAX];

	if (!ga_refresh_wanted(path, n))
		return;
	memcpy(part, path, n);
	part[n] = '\0';
	for (size_t i = 1; i <= n; i++) {
		if (i < n && path[i] != '/')
			continue;
		part[i] = '\0';
		if (first_time(s, part, i))
			(void)syscall(SYS_renameat2, AT_FDCWD, part, AT_FDCWD, part, NOREPLACE);
		part[i] = path[i];
	}
}

static void ask_for_link(struct seen *s, int dir, const char *name)
{
	char path[PATH_MAX];
	ssize_t n = readlinkat(dir, name, path, sizeof(path));

	if (n > 0)
		ask_again(s, path, (size_t)n);
}

static void ask_for_open(struct seen *s, int proc)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.')
			ask_for_link(s, dirfd(d), de->d_name);
}

/* Mapped files: what follows the last column's spaces, from its slash on. */
static void ask_for_mapped(struct seen *s, int proc)
{
	int fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[PATH_MAX + 128];

	while (f && fgets(line, sizeof(line), f)) {
		const char *p = strchr(line, '/');

		if (p)
			ask_again(s, p, strcspn(p, "\n"));
	}
}

static void ask_for_process(struct seen *s, int all, const char *pid)
{
	_cleanup_close_ int proc = openat(all, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static const char *const links[] = {"root", "cwd", "exe"};

	if (proc < 0)
		return; /* it has ended */
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		ask_for_link(s, proc, links[i]);
	ask_for_open(s, proc);
	ask_for_mapped(s, proc);
}

static int drop(struct msb_err *e)
{
	for (int i = 0; i < DROP_ROUNDS; i++) {
		_cleanup_close_ int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "3", 1) != 1)
			return msb_err_set(e, errno, "cannot drop the guest's caches: %m");
	}
	return 0;
}

int ga_refresh(struct msb_err *e)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	_cleanup_free_ uint64_t *slots = calloc(SLOTS, sizeof(*slots));
	struct seen s = {slots, 0};
	const struct dirent *de;
	uint8_t sx[256]; /* struct statx, which musl lacks */
	int r = drop(e);

	if (r < 0)
		return r;
	if (!d || !slots)
		return msb_err_set(e, d ? ENOMEM : errno, "cannot look for what is in use");
	/* The root itself is nobody's entry. */
	(void)syscall(SYS_statx, AT_FDCWD, "/", FORCE_SYNC, BASIC_STATS, sx);
	while ((de = readdir(d)))
		if (de->d_name[0] >= '1' && de->d_name[0] <= '9')
			ask_for_process(&s, dirfd(d), de->d_name);
	return 0;
}
