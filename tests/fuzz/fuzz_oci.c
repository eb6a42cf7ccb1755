// SPDX-License-Identifier: Apache-2.0
// The JSON documents of images: any bytes to each parser; meta lines stay one record a line.
#include "fs/image/oci.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	const char *p = (const char *)data;
	struct img_index_doc index;
	struct img_manifest m;
	struct img_config c;
	struct img_docker d;
	struct msb_err e = {0};

	if (img_parse_index(p, size, &index, &e) == 0)
		for (size_t k = 0; k < index.n; k++)
			if (strlen(index.v[k].digest) != 64)
				abort();
	img_index_doc_done(&index);
	if (img_parse_manifest(p, size, &m, &e) == 0 && strlen(m.config.digest) != 64)
		abort();
	img_manifest_done(&m);
	if (img_parse_docker(p, size, &d, &e) == 0 && !d.config && !d.choices)
		abort();
	img_docker_done(&d);
	if (img_parse_config(p, size, &c, &meta, &e) == 0 && meta.len) {
		if (!msb_utf8_valid(meta.buf, meta.len) || meta.buf[meta.len - 1] != '\n')
			abort();
		for (const char *l = meta.buf; *l; l = strchr(l, '\n') + 1) {
			const char *q = strchr(l, ' ');

			if (!q || q[1] != '"' || strchr(l, '\n')[-1] != '"')
				abort();
		}
	}
	img_config_done(&c);
	return 0;
}
