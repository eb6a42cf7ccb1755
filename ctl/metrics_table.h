/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of figures: what each file of NAME/metrics is in OpenMetrics. */
#ifndef MSB_CTL_METRICS_TABLE_H
#define MSB_CTL_METRICS_TABLE_H

#include "ctl/metrics.h"

enum ctl_metric_unit { UNIT_NONE, UNIT_BYTES, UNIT_USEC, UNIT_SEC };

struct ctl_metric_row {
	enum ctl_metric_source source;
	bool machine;		   /* there is none without a machine */
	bool counter;		   /* else it goes up and down */
	enum ctl_metric_unit unit; /* of the file; seconds and bytes are exposed */
	const char *family;	   /* rows of one family are neighbours; NULL: not exposed */
	const char *label;	   /* that tells them apart, or NULL */
	const char *help;	   /* of the family, in its first row */
};

extern const struct ctl_metric_row ctl_metric_rows[METRIC_COUNT];

#endif
