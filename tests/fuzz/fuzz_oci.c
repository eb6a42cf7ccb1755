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
	enum img_desc_kind kind;
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
	if (m.kind == IMG_KIND_MIXTAPE) {
		_cleanup_str_ struct msb_str lines = MSB_STR_INIT;

		img_mixtape_meta(&m, &lines);
		if (!lines.buf || !strstr(lines.buf, "mixtape.disk ") ||
			!strstr(lines.buf, "mixtape.kernel "))
			abort();
	}
	img_manifest_done(&m);
	(void)img_parse_document(p, size, "", &kind, &e); /* whatever it says, it returns */
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
