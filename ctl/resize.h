/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory of a machine that runs. It is made with room for `max_cpus` and
 * `max_memory_bytes`; within that room the guest's kernel switches CPUs on and off, and a balloon
 * in the guest holds the memory that it is not to have. Both are the guest's to do: its root can
 * take all of the room. Nothing of this is there where there is none.
 */
#ifndef MSB_CTL_RESIZE_H
#define MSB_CTL_RESIZE_H

#include "ctl/model.h"

/* The room of a machine that is about to be made, noted down; ctl.lock held. */
void ctl_resize_room(struct ctl_sandbox *sb, struct vmm_spec *spec);
/* Whether the present machine was made with room for memory; ctl.lock held. */
bool ctl_resize_has_balloon(const struct ctl_sandbox *sb);
/* Whether the machine has room for so much; 0 is as it is. ctl.lock held. -EBUSY with a sentence.
 */
int ctl_resize_check(
	const struct ctl_sandbox *sb, uint32_t cpus, uint64_t memory_bytes, struct msb_err *e);
/* Sets CONF_CPUS or CONF_MEMORY: at once where a machine runs. As ctl_conf_set(), and
 * ctl_op_resize()'s errors. */
int ctl_resize_write(const struct ctl_req *q, struct ctl_sandbox *sb, enum ctl_conf_id id,
	const char *line, size_t n, struct msb_err *e);

#endif
