// SPDX-License-Identifier: Apache-2.0
// The list of a directory's files: any bytes with a right checksum, then every file of it.
#include "fs/image/files.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *p = malloc(size + 1); /* a copy of its own, so that one byte too far is seen */
	struct img_files_head h = {0};
	const struct img_file *f;
	struct img_files *l;
	const char *path;

	if (!p)
		return 0;
	memcpy(p, data, size);
	if (size >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		h.sum = XXH3_64bits_withSeed(p + sizeof(h), size - sizeof(h), h.count);
		memcpy(p, &h, sizeof(h));
	}
	if (img_files_from_bytes(p, size, &l, NULL) == 0) {
		for (uint64_t k = 0; k < h.count + 1; k++)
			if (img_files_get(l, k, &f, &path) == 0 &&
				(strlen(path) != f->path_n || *path == '/'))
				abort();
		img_files_close(l);
	}
	free(p);
	return 0;
}
