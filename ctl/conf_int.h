/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of values share: the table of them, how each is checked, how they are kept. */
#ifndef MSB_CTL_CONF_INT_H
#define MSB_CTL_CONF_INT_H

#include "base/str.h"
#include "ctl/conf.h"

/* Turns what was written into what is kept: one line, or all lines of a table. ctl.lock held. */
typedef int conf_check_fn(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e);

struct conf {
	const char *key, *def;
	bool live; /* may be set while a machine runs: the next command sees it */
	conf_check_fn *check;
	enum ctl_conf_form form;
};
extern const struct conf confs[CONF_COUNT];

/* Keeps @v (@n rows, with room for two more), as the next generation; ctl.lock held. */
int conf_keep(struct ctl_sandbox *sb, struct ctl_db_value *v, size_t n, struct msb_err *e);

/* conf_check.c */
conf_check_fn conf_check_image;
conf_check_fn conf_check_pull;
conf_check_fn conf_check_cpus;
conf_check_fn conf_check_memory;
conf_check_fn conf_check_hostname;
conf_check_fn conf_check_user;
conf_check_fn conf_check_workdir;
conf_check_fn conf_check_root_options;
conf_check_fn conf_check_disk;
conf_check_fn conf_check_restart;
conf_check_fn conf_check_duration;
conf_check_fn conf_check_idle;
conf_check_fn conf_check_stop;
conf_check_fn conf_check_entrypoint;
conf_check_fn conf_check_cmd;
conf_check_fn conf_check_init;
conf_check_fn conf_check_max_cpus;
conf_check_fn conf_check_max_memory;
conf_check_fn conf_check_auto_remove;
conf_check_fn conf_check_healthcheck;
conf_check_fn conf_check_health_interval;
conf_check_fn conf_check_health_timeout;
conf_check_fn conf_check_health_retries;
conf_check_fn conf_check_health_start;
conf_check_fn conf_check_health_start_interval;

/* conf_table.c */
conf_check_fn conf_check_labels;
conf_check_fn conf_check_rlimits;
conf_check_fn conf_check_tmpfs;

#endif
