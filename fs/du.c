// SPDX-License-Identifier: Apache-2.0
// What the files below a directory take on disk, as du(1) counts it.
#include "fs/du.h"
#include "fs/node_map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct linked {
	dev_t dev;
	ino_t ino; /* 0: free */
};

struct walk {
	const _Atomic bool *stop;
	uint64_t bytes;
	bool partial;
	struct linked *seen;
	size_t slots, used;
};

/* Whether a file with several names was counted under another. Past the limit: no. */
static bool seen(struct walk *w, const struct stat *st)
{
	struct linked *s;
	size_t i;

	if (w->used + 1 > w->slots / 4 * 3) {
		struct walk n = {.slots = w->slots ? w->slots * 2 : 1024};

		if (n.slots > FS_DU_MAX_LINKED)
			return false;
		n.seen = calloc(n.slots, sizeof(*n.seen));
		if (!n.seen)
			return false;
		for (i = 0; i < w->slots; i++) {
			size_t to = (size_t)fsb_node_mix(w->seen[i].ino) & (n.slots - 1);

			while (w->seen[i].ino && n.seen[to].ino)
				to = (to + 1) & (n.slots - 1);
			if (w->seen[i].ino)
				n.seen[to] = w->seen[i];
		}
		free(w->seen);
		w->seen = n.seen;
		w->slots = n.slots;
	}
	i = (size_t)fsb_node_mix(st->st_ino) & (w->slots - 1);
	for (s = &w->seen[i]; s->ino; s = &w->seen[i = (i + 1) & (w->slots - 1)])
		if (s->ino == st->st_ino && s->dev == st->st_dev)
			return true;
	*s = (struct linked){st->st_dev, st->st_ino};
	w->used++;
	return false;
}

static void add(struct walk *w, const struct stat *st)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2 || !seen(w, st))
		w->bytes += (uint64_t)st->st_blocks * 512;
}

static DIR *open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

uint64_t fs_du(int dir_fd, const _Atomic bool *stop, bool *ret_partial)
{
	struct walk w = {.stop = stop};
	DIR *level[FS_DU_MAX_DEPTH];
	unsigned int depth = 0;
	struct stat st;

	if (fstatat(dir_fd, "", &st, AT_EMPTY_PATH) == 0)
		add(&w, &st);
	level[0] = open_dir(dir_fd, ".");
	if (level[0])
		depth = 1;
	else
		w.partial = true;
	while (depth) {
		const struct dirent *d = readdir(level[depth - 1]);

		if (!d || atomic_load(stop)) {
			w.partial = w.partial || d;
			closedir(level[--depth]);
			continue;
		}
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (fstatat(dirfd(level[depth - 1]), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			w.partial = w.partial || errno != ENOENT;
			continue;
		}
		add(&w, &st);
		if (!S_ISDIR(st.st_mode))
			continue;
		level[depth] = depth + 1 < FS_DU_MAX_DEPTH
				       ? open_dir(dirfd(level[depth - 1]), d->d_name)
				       : NULL;
		if (level[depth])
			depth++;
		else
			w.partial = w.partial || errno != ENOENT;
	}
	free(w.seen);
	*ret_partial = w.partial;
	return w.bytes;
}
