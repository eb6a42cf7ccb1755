// SPDX-License-Identifier: Apache-2.0
// Reading the list of a directory's regular files, every offset checked where it is used.
#include "fs/image/files.h"
#include "base/cleanup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

struct img_files {
	const struct img_files_head *head;
	const struct img_file *file;
	const char *paths;
	size_t n;
	bool mapped;
};

int img_files_from_bytes(const void *p, size_t n, struct img_files **ret, struct msb_err *e)
{
	const struct img_files_head *h = p;
	struct img_files *f;
	uint64_t room;

	if (n < sizeof(*h) || h->magic != IMG_FILES_MAGIC)
		return msb_err_set(e, EBADMSG, "not a list of files");
	room = n - sizeof(*h);
	if (h->count > room / sizeof(struct img_file) ||
		h->path_bytes != room - h->count * sizeof(struct img_file))
		return msb_err_set(e, EBADMSG, "damaged list of files: wrong size");
	if (XXH3_64bits_withSeed(h + 1, room, h->count) != h->sum)
		return msb_err_set(e, EBADMSG, "damaged list of files: wrong checksum");
	f = calloc(1, sizeof(*f));
	if (!f)
		return msb_err_set(e, ENOMEM, "out of memory");
	f->head = h;
	f->file = (const struct img_file *)(h + 1);
	f->paths = (const char *)(f->file + h->count);
	f->n = n;
	*ret = f;
	return 0;
}

int img_files_open(int fd, struct img_files **ret, struct msb_err *e)
{
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return msb_err_set(e, errno, "cannot read the list of files: %m");
	if (st.st_size < (off_t)sizeof(struct img_files_head))
		return msb_err_set(e, EBADMSG, "not a list of files");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return msb_err_set(e, errno, "cannot map the list of files: %m");
	r = img_files_from_bytes(p, (size_t)st.st_size, ret, e);
	if (r < 0)
		munmap(p, (size_t)st.st_size);
	else
		(*ret)->mapped = true;
	return r;
}

struct img_files *img_files_close(struct img_files *f)
{
	if (f && f->mapped)
		munmap((void *)f->head, f->n);
	free(f);
	return NULL;
}

int img_files_get(
	const struct img_files *f, uint64_t k, const struct img_file **ret, const char **ret_path)
{
	const struct img_file *file;
	const char *path;

	if (k >= f->head->count)
		return -EBADMSG;
	file = &f->file[k];
	if (!file->path_n || file->path_n > IMG_FILES_MAX_PATH ||
		file->path_off >= f->head->path_bytes ||
		file->path_n >= f->head->path_bytes - file->path_off)
		return -EBADMSG;
	path = f->paths + file->path_off;
	if (path[0] == '/' || path[file->path_n - 1] == '/' ||
		strnlen(path, (size_t)file->path_n + 1) != file->path_n)
		return -EBADMSG;
	*ret = file;
	*ret_path = path;
	return 0;
}
