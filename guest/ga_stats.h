/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's kernel says of its CPUs and memory, taken out of the files of /proc. */
#ifndef MSB_GUEST_GA_STATS_H
#define MSB_GUEST_GA_STATS_H

#include "guest/wire.h"

/* The texts of /proc/stat, /proc/meminfo and /proc/vmstat; adds what it finds. @ticks: of a second.
 */
void ga_stats_cpu(const char *text, uint64_t ticks, struct wire_stats *ret);
void ga_stats_memory(const char *text, struct wire_stats *ret);
void ga_stats_vm(const char *text, struct wire_stats *ret);

#endif
