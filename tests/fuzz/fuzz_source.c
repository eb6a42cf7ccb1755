// SPDX-License-Identifier: Apache-2.0
// Archives to import: any bytes as the file; its members are found, its documents planned.
#include "fs/image/plan.h"
#include "tests/fuzz/tarsum.h"
#include "base/io.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct img_source *src;
	struct img_plan plan;
	struct msb_err e = {0};
	uint8_t *copy = malloc(size + 1);

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || !copy)
		abort();
	memcpy(copy, data, size);
	fix_sums(copy, size);
	if (ftruncate(fd, 0) < 0 || msb_pwrite_full(fd, copy, size, 0) < 0)
		abort();
	free(copy);
	if (img_source_open(fd, &src, &e) < 0)
		return 0;
	if (img_plan_make(src, &plan, &e) == 0) {
		/* What docker save made has no manifest before its layers are unpacked. */
		if ((*plan.digest && strlen(plan.digest) != 64) ||
			!plan.nlayers != !plan.layers[0].path)
			abort();
		for (size_t k = 0; k < plan.nlayers; k++) {
			struct img_member m;

			if (img_source_member(src, plan.layers[k].path, &m, &e) == 0 &&
				(m.off > size || m.size > size - m.off))
				abort();
		}
		img_plan_done(&plan);
	} else if (!e.code) {
		abort();
	}
	img_source_close(src);
	return 0;
}
