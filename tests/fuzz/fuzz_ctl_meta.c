// SPDX-License-Identifier: Apache-2.0
// An image's meta file: strings of its author.
#include "ctl/meta.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctl_meta m;

	if (ctl_meta_parse((const char *)data, size, &m, NULL) < 0)
		return 0;
	for (size_t i = 0; i < m.nenv; i++)
		if (!strchr(m.env[i], '='))
			abort();
	for (size_t i = 0; i < m.ncmd; i++)
		if (!m.cmd[i])
			abort();
	if (m.env[m.nenv] || (m.ncmd && m.cmd[m.ncmd]) || strchr(m.user, '\n') ||
		strchr(m.workdir, '\n'))
		abort();
	ctl_meta_done(&m);
	return 0;
}
