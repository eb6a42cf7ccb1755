// SPDX-License-Identifier: Apache-2.0
// Figures as OpenMetrics 1.0, and so that Prometheus' own text format is no other: no types but
// counter, gauge and histogram.
#include "ctl/metrics.h"
#include "ctl/metrics_table.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define P "msb_sandbox_"

const struct ctl_metric_row ctl_metric_rows[METRIC_COUNT] = {
	[METRIC_CPU_USEC] = {FROM_MACHINE, true, true, UNIT_USEC, P "cpu_seconds",
		"process=\"machine\"", "CPU time on the host of a sandbox's processes."},
	[METRIC_FSD_CPU_USEC] = {FROM_FSD_PROCESS, true, true, UNIT_USEC, P "cpu_seconds",
		"process=\"file_server\"", NULL},
	[METRIC_GUEST_CPU_USER] = {FROM_GUEST, true, true, UNIT_USEC, P "guest_cpu_seconds",
		"mode=\"user\"", "CPU time as the guest's kernel counts it, of all its CPUs."},
	[METRIC_GUEST_CPU_SYSTEM] = {FROM_GUEST, true, true, UNIT_USEC, P "guest_cpu_seconds",
		"mode=\"system\"", NULL},
	[METRIC_GUEST_CPU_IDLE] = {FROM_GUEST, true, true, UNIT_USEC, P "guest_cpu_seconds",
		"mode=\"idle\"", NULL},
	[METRIC_GUEST_CPU_IOWAIT] = {FROM_GUEST, true, true, UNIT_USEC, P "guest_cpu_seconds",
		"mode=\"iowait\"", NULL},
	[METRIC_GUEST_CPU_STEAL] = {FROM_GUEST, true, true, UNIT_USEC, P "guest_cpu_seconds",
		"mode=\"steal\"", NULL},
	[METRIC_MEMORY_BYTES] = {FROM_MACHINE, true, false, UNIT_BYTES, P "memory_resident_bytes",
		"process=\"machine\"", "Resident memory on the host of a sandbox's processes."},
	[METRIC_FSD_MEMORY_BYTES] = {FROM_FSD_PROCESS, true, false, UNIT_BYTES,
		P "memory_resident_bytes", "process=\"file_server\"", NULL},
	[METRIC_MEMORY_LIMIT_BYTES] = {FROM_CTL, true, false, UNIT_BYTES, P "memory_limit_bytes",
		NULL, "Memory that the machine was given."},
	[METRIC_BALLOON_BYTES] = {FROM_BALLOON, true, false, UNIT_BYTES, P "balloon_bytes", NULL,
		"Memory of the machine that the guest has given back, or was not given yet."},
	[METRIC_GUEST_MEMORY_TOTAL] = {FROM_GUEST, true, false, UNIT_BYTES,
		P "guest_memory_total_bytes", NULL, "Memory that the guest's kernel manages."},
	[METRIC_GUEST_MEMORY_AVAILABLE] = {FROM_GUEST, true, false, UNIT_BYTES,
		P "guest_memory_available_bytes", NULL,
		"Memory that the guest's kernel could give to programs."},
	[METRIC_GUEST_OOM_KILLS] = {FROM_GUEST, true, true, UNIT_NONE, P "guest_oom_kills", NULL,
		"Processes that the guest's kernel has killed for want of memory."},
	[METRIC_FS_OPS] = {FROM_FSD, true, true, UNIT_NONE, NULL, NULL,
		NULL}, /* of the histogram */
	[METRIC_FS_ERRORS] = {FROM_FSD, true, true, UNIT_NONE, P "fs_errors", NULL,
		"File requests of the guest that were answered with an error."},
	[METRIC_FS_READ_BYTES] = {FROM_FSD, true, true, UNIT_BYTES, P "fs_read_bytes", NULL,
		"Bytes that the guest has read from the file server."},
	[METRIC_FS_WRITTEN_BYTES] = {FROM_FSD, true, true, UNIT_BYTES, P "fs_written_bytes", NULL,
		"Bytes that the guest has written to the file server."},
	[METRIC_FS_LATENCY] = {FROM_FSD, true, false, UNIT_USEC, NULL, NULL, NULL}, /* below */
	[METRIC_DISK_USED_BYTES] = {FROM_DISK, false, false, UNIT_BYTES, P "disk_used_bytes", NULL,
		"What the sandbox takes of the host's disk: changes, its own disk, logs."},
	[METRIC_JOBS_RUNNING] = {FROM_CTL, false, false, UNIT_NONE, P "jobs_running", NULL,
		"Jobs and commands that run now."},
	[METRIC_JOBS_TOTAL] = {FROM_CTL, false, true, UNIT_NONE, P "jobs", NULL,
		"Jobs and commands that were started."},
	[METRIC_HEALTH_CHECKS] = {FROM_CTL, false, true, UNIT_NONE, P "health_checks", NULL,
		"Health checks that have ended, or whose time was over."},
	[METRIC_HEALTH_FAILURES] = {FROM_CTL, false, true, UNIT_NONE, P "health_failures", NULL,
		"Health checks that did not end well."},
	[METRIC_UPTIME_SEC] = {FROM_CTL, true, false, UNIT_SEC, P "uptime_seconds", NULL,
		"Time since the machine was started."},
	[METRIC_RESTARTS] = {FROM_CTL, false, true, UNIT_NONE, P "restarts", NULL,
		"Times that its restart policy has started it."},
};

struct page {
	const struct ctl_sample *s;
	size_t n;
	uid_t uid;
	bool all; /* of everybody */
	struct msb_str *out;
};

static bool shown(const struct page *p, const struct ctl_sample *s)
{
	return p->all || s->uid == p->uid;
}

static void head(const struct page *p, const char *family, const char *type, const char *unit,
	const char *help)
{
	msb_str_addf(p->out, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, type);
	if (unit)
		msb_str_addf(p->out, "# UNIT %s %s\n", family, unit);
}

static void value(const struct page *p, const struct ctl_metric_row *row, uint64_t v)
{
	if (row->unit == UNIT_USEC)
		msb_str_addf(p->out, "%" PRIu64 ".%06u\n", v / 1000000, (unsigned)(v % 1000000));
	else
		msb_str_addf(p->out, "%" PRIu64 "\n", v);
}

static void print_row(const struct page *p, enum ctl_metric m)
{
	const struct ctl_metric_row *row = &ctl_metric_rows[m];
	const char *unit = row->unit == UNIT_NONE    ? NULL
			   : row->unit == UNIT_BYTES ? "bytes"
						     : "seconds";

	if (row->help)
		head(p, row->family, row->counter ? "counter" : "gauge", unit, row->help);
	for (size_t i = 0; i < p->n; i++) {
		const struct ctl_sample *s = &p->s[i];

		if (!shown(p, s) || s->missing[row->source] ||
			(row->machine && ctl_state_ended(s->state)))
			continue;
		msb_str_addf(p->out, "%s%s{sandbox=\"%s\"%s%s} ", row->family,
			row->counter ? "_total" : "", s->name, row->label ? "," : "",
			row->label ?: "");
		value(p, row, s->v[m]);
	}
}

static void print_class(const struct page *p, const struct ctl_sample *s, enum fsd_op op)
{
	static const char family[] = P "fs_latency_seconds";
	const uint64_t *hist = s->fs.hist[op];
	char labels[128];
	uint64_t n = 0;

	(void)snprintf(
		labels, sizeof(labels), "sandbox=\"%s\",op=\"%s\"", s->name, fsd_op_name(op));
	for (int k = 0; k < FSD_BUCKETS - 1; k++) {
		n += hist[k];
		msb_str_addf(p->out, "%s_bucket{%s,le=\"%.9g\"} %" PRIu64 "\n", family, labels,
			(double)(1u << k) / 1e6, n);
	}
	n += hist[FSD_BUCKETS - 1];
	msb_str_addf(p->out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", family, labels, n);
	msb_str_addf(
		p->out, "%s_count{%s} %" PRIu64 "\n%s_sum{%s} ", family, labels, n, family, labels);
	value(p, &ctl_metric_rows[METRIC_FS_LATENCY], s->fs.usec[op]);
}

static void print_latency(const struct page *p)
{
	head(p, P "fs_latency_seconds", "histogram", "seconds",
		"Time that the file server took for requests of the guest.");
	for (size_t i = 0; i < p->n; i++) {
		const struct ctl_sample *s = &p->s[i];

		if (!shown(p, s) || s->missing[FROM_FSD] || ctl_state_ended(s->state))
			continue;
		for (int op = 0; op < FSD_OPS; op++)
			print_class(p, s, (enum fsd_op)op);
	}
}

static void print_states(const struct page *p)
{
	head(p, P "state", "gauge", NULL, "1 for the state that the sandbox is in.");
	for (size_t i = 0; i < p->n; i++)
		if (shown(p, &p->s[i]))
			msb_str_addf(p->out, P "state{sandbox=\"%s\",state=\"%s\"} 1\n",
				p->s[i].name, ctl_state_name(p->s[i].state));
}

static void print_health(const struct page *p)
{
	head(p, P "health", "gauge", NULL, "1 for what its health check has found.");
	for (size_t i = 0; i < p->n; i++)
		if (shown(p, &p->s[i]) && p->s[i].health != HEALTH_NONE)
			msb_str_addf(p->out, P "health{sandbox=\"%s\",health=\"%s\"} 1\n",
				p->s[i].name, ctl_health_name(p->s[i].health));
}

static void print_missing(const struct page *p)
{
	static const char *const names[FROM_COUNT] = {[FROM_GUEST] = "guest",
		[FROM_FSD] = "file_server",
		[FROM_DISK] = "disk",
		[FROM_BALLOON] = "machine"};

	head(p, P "figures_missing", "gauge", NULL,
		"1 where a source's figures are not here, and the errno of why.");
	for (size_t i = 0; i < p->n; i++)
		for (int k = 0; k < FROM_COUNT; k++)
			if (names[k] && shown(p, &p->s[i]) && p->s[i].missing[k])
				msb_str_addf(p->out,
					P
					"figures_missing{sandbox=\"%s\",source=\"%s\",errno=\"%s\"} 1\n",
					p->s[i].name, names[k],
					strerrorname_np(p->s[i].missing[k]) ?: "EIO");
}

void ctl_metrics_print(
	const struct ctl *c, const struct ctl_sample *s, size_t n, uid_t uid, struct msb_str *out)
{
	const struct page p = {s, n, uid, uid == c->uid || uid == 0, out};

	head(&p, "msb_build", "gauge", NULL, "1, and the version of msb.");
	msb_str_adds(out, "msb_build{version=\"" MSB_VERSION "\"} 1\n");
	print_states(&p);
	print_health(&p);
	for (int m = 0; m < METRIC_COUNT; m++)
		if (ctl_metric_rows[m].family)
			print_row(&p, (enum ctl_metric)m);
	print_latency(&p);
	print_missing(&p);
	msb_str_adds(out, "# EOF\n");
}
