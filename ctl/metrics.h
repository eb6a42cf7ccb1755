/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of sandboxes: as files of NAME/metrics, and of all of them as OpenMetrics.
 *
 * Theory of operation. Nothing is counted or kept for who may read one day: a read asks. What msbd
 * knows itself comes from the model, times and sizes of processes from the kernel; the guest's own
 * figures from msb-agentd, and those of the guest's file requests from msb-fsd, which are asked all
 * at once and given CTL_SAMPLE_MS together. What has not answered by then is missing, and it is
 * said which that is. Who reads `metrics` while a sampling is under way shares that one.
 */
#ifndef MSB_CTL_METRICS_H
#define MSB_CTL_METRICS_H

#include "ctl/tree.h"
#include "fs/fsd.h"
#include "vmm/agent.h"

/* Files of NAME/metrics; rows of the table in metrics.c. */
enum ctl_metric {
	METRIC_CPU_USEC,
	METRIC_FSD_CPU_USEC,
	METRIC_GUEST_CPU_USER,
	METRIC_GUEST_CPU_SYSTEM,
	METRIC_GUEST_CPU_IDLE,
	METRIC_GUEST_CPU_IOWAIT,
	METRIC_GUEST_CPU_STEAL,
	METRIC_MEMORY_BYTES,
	METRIC_FSD_MEMORY_BYTES,
	METRIC_MEMORY_LIMIT_BYTES,
	METRIC_BALLOON_BYTES,
	METRIC_GUEST_MEMORY_TOTAL,
	METRIC_GUEST_MEMORY_AVAILABLE,
	METRIC_GUEST_OOM_KILLS,
	METRIC_FS_OPS,
	METRIC_FS_ERRORS,
	METRIC_FS_READ_BYTES,
	METRIC_FS_WRITTEN_BYTES,
	METRIC_FS_LATENCY, /* a table */
	METRIC_DISK_USED_BYTES,
	METRIC_JOBS_RUNNING,
	METRIC_JOBS_TOTAL,
	METRIC_HEALTH_CHECKS,
	METRIC_HEALTH_FAILURES,
	METRIC_UPTIME_SEC,
	METRIC_RESTARTS,
	METRIC_COUNT
};

/* Who says a figure. */
enum ctl_metric_source {
	FROM_CTL,
	FROM_MACHINE,
	FROM_FSD_PROCESS,
	FROM_GUEST,
	FROM_FSD,
	FROM_DISK,
	FROM_BALLOON,
	FROM_COUNT
};

/* The figures of one sandbox at one time. */
struct ctl_sample {
	char name[64], id[33];
	uid_t uid;
	enum ctl_state state;
	enum ctl_health_status health;
	bool foreign;
	pid_t qemu, fsd;
	uint64_t room_bytes; /* of memory that the machine was made with; 0: it has no balloon */
	uint64_t v[METRIC_COUNT]; /* where missing[] of their source is 0 */
	struct fsd_stats fs;
	int missing[FROM_COUNT]; /* errno of why it is not there; 0: it is */
};

/**
 * ctl_sample_take() - Ask for figures of @n sandboxes
 * @s: name to fsd, and the figures FROM_CTL, as ctl_sample_of() has set them
 * @sources: 1 << enum ctl_metric_source of what is wanted
 * Waits, CTL_SAMPLE_MS at most, without ctl.lock. Return: 0 or -ENOMEM.
 */
int ctl_sample_take(struct ctl *c, struct ctl_sample *s, size_t n, unsigned int sources);
void ctl_sample_of(const struct ctl_sandbox *sb, struct ctl_sample *ret); /* ctl.lock held */

/* The text of all of them in OpenMetrics 1.0, those alone that @uid may see. */
void ctl_metrics_print(
	const struct ctl *c, const struct ctl_sample *s, size_t n, uid_t uid, struct msb_str *out);

#endif
