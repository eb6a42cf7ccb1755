/* SPDX-License-Identifier: Apache-2.0 */
/* The libvirt description of one machine. Pure: no file, no libvirt. */
#ifndef MSB_VMM_DOMAIN_XML_H
#define MSB_VMM_DOMAIN_XML_H

#include "base/err.h"
#include "base/str.h"
#include "vmm/vmm.h"

#include <stdbool.h>

/* Ring size of a virtiofs queue: 1 MiB requests fit; QEMU's default of 128 stops at 496 KiB. */
#define VMM_FS_QUEUE_SIZE 1024
/* Request queues of a virtiofs device: one a CPU, as many as the file server has threads for. */
#define VMM_MAX_FS_QUEUES 8
/* Translated code that an emulated machine keeps; QEMU's own limit is 1 GiB for each. */
#define VMM_TCG_CACHE_MIB 128
#define VMM_AGENT_CHANNEL "msb.agent"
/* Names of a disk's descriptors, as libvirt is told them. */
#define VMM_DISK_OVERLAY "overlay"
#define VMM_DISK_BASE	 "base"
#define VMM_VOLUME	 "volume-" /* and its serial */

/* What the machines of one host have in common. Paths are absolute and borrowed. */
struct vmm_host {
	bool kvm;
	bool amd;	  /* the host's CPUs are AMD's; used where @kvm */
	uint32_t tsc_khz; /* of the host's counter, 0: unknown; used where not @kvm */
	const char *qemu;
	const char *loader; /* firmware that boots an ELF kernel by PVH; NULL: QEMU's default */
	const char *kernel, *initrd;
	uint32_t uid, gid; /* QEMU's own identity; used where @set_uid */
	bool set_uid;
};

/**
 * vmm_spec_check() - Is @spec within its bounds and free of bytes that no XML can carry?
 * Return: 0; -EINVAL or -ERANGE, with @e.
 */
int vmm_spec_check(const struct vmm_spec *spec, struct msb_err *e);

/* Whether its memory can change: then it has a balloon. */
bool vmm_has_balloon(const struct vmm_spec *spec);

/**
 * vmm_domain_xml() - Append the <domain> of a machine
 * @spec: checked here
 * @out:  appended to; unchanged on failure other than -ENOMEM
 * The machine has what it needs and nothing else: no USB, no graphics, no PS/2, no NIC, no balloon
 * without need, and every virtio device sits on the root bus, because each PCIe port costs boot
 * time. Return: 0; -EINVAL, -ERANGE, -ENOMEM, with @e.
 */
int vmm_domain_xml(const struct vmm_spec *spec, const struct vmm_host *host, struct msb_str *out,
	struct msb_err *e);

#endif
