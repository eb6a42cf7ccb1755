// SPDX-License-Identifier: Apache-2.0
// How much memory a machine has, changed while it runs.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "vmm/worker_libvirt.h"

#include <fcntl.h>

int machines_set_memory(struct machines *m, const char *id, uint64_t bytes, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = machine_find(m, id, e);
	virDomainInfo info;
	int r = 0;

	if (!d)
		return -ENOENT;
	if (virDomainGetInfo(d, &info) == 0 && bytes > (uint64_t)info.memory << 10)
		r = machine_memory_check(bytes - ((uint64_t)info.memory << 10), e);
	if (r < 0)
		return r;
	return virDomainSetMemoryFlags(d, bytes >> 10, VIR_DOMAIN_AFFECT_LIVE) < 0
		       ? lv_err(e, "the machine's memory")
		       : 0;
}

int machines_memory(struct machines *m, const char *id, uint64_t *ret, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = machine_find(m, id, e);
	virDomainMemoryStatStruct s[VIR_DOMAIN_MEMORY_STAT_NR];
	virDomainInfo info;
	int n;

	if (!d)
		return -ENOENT;
	n = virDomainMemoryStats(d, s, VIR_DOMAIN_MEMORY_STAT_NR, 0);
	for (int i = 0; i < n; i++)
		if (s[i].tag == VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON) {
			*ret = (uint64_t)s[i].val << 10;
			return 0;
		}
	if (n < 0 || virDomainGetInfo(d, &info) < 0)
		return lv_err(e, "the machine does not say how much memory it has");
	*ret = (uint64_t)info.memory << 10; /* it has no balloon */
	return 0;
}
