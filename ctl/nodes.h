/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the control tree say and do: the functions that the rows of tree.c name. */
#ifndef MSB_CTL_NODES_H
#define MSB_CTL_NODES_H

#include "ctl/tree.h"

#define CTL_READ(name)	int name(const struct ctl_at *, struct msb_str *, struct msb_err *)
#define CTL_WRITE(name) int name(const struct ctl_at *, const struct ctl_line *, struct msb_err *)

/* nodes_global.c */
CTL_READ(ctl_read_version);
CTL_READ(ctl_read_features);
CTL_READ(ctl_read_verbs); /* arg: a verb table's number */
CTL_READ(ctl_read_global_error);
CTL_WRITE(ctl_write_verb);

/* nodes_images.c */
CTL_READ(ctl_read_store_stat);
CTL_READ(ctl_read_registries);
CTL_WRITE(ctl_write_registries);
CTL_READ(ctl_read_login);
CTL_WRITE(ctl_write_login);
CTL_READ(ctl_read_digest);
CTL_READ(ctl_read_size);
CTL_READ(ctl_read_created);
CTL_READ(ctl_read_stored);			    /* arg: enum ctl_stored */
uint64_t ctl_stored_bytes(const struct ctl_at *at); /* how much that reads; 0: it is not there */
CTL_READ(ctl_read_used_by);

/* nodes_volumes.c */
CTL_READ(ctl_read_volume_kind);
CTL_WRITE(ctl_write_volume_kind);
CTL_READ(ctl_read_volume_quota);
CTL_READ(ctl_read_volume_used);
CTL_READ(ctl_read_volume_users);
CTL_WRITE(ctl_write_volume_quota);

/* nodes_sandbox.c */
CTL_READ(ctl_read_id);
CTL_READ(ctl_read_state);
CTL_READ(ctl_read_status);
CTL_READ(ctl_read_health);
CTL_READ(ctl_read_health_output);
CTL_READ(ctl_read_error);
CTL_READ(ctl_read_end);
CTL_READ(ctl_read_whole_config);
CTL_READ(ctl_read_pending);
CTL_WRITE(ctl_write_whole_config);
CTL_READ(ctl_read_conf); /* arg: enum ctl_conf_id */
CTL_WRITE(ctl_write_conf);
CTL_WRITE(ctl_write_mounts);
CTL_WRITE(ctl_write_table); /* as ctl_read_conf */
CTL_WRITE(ctl_write_root_options);
CTL_READ(ctl_read_env);
CTL_WRITE(ctl_write_env);

/* metrics.c */
CTL_READ(ctl_read_metrics);
CTL_READ(ctl_read_metric); /* arg: enum ctl_metric */

/* nodes_job.c */
CTL_READ(ctl_read_job_number);
CTL_READ(ctl_read_job); /* arg: enum ctl_job_file */
CTL_READ(ctl_read_job_status);
CTL_READ(ctl_read_job_value); /* arg: enum ctl_job_value */
CTL_READ(ctl_read_job_env);
CTL_WRITE(ctl_write_job_argv);
CTL_WRITE(ctl_write_job_value);
CTL_WRITE(ctl_write_job_rlimits);
CTL_WRITE(ctl_write_job_env);

enum ctl_verbs { VERBS_GLOBAL, VERBS_IMAGES, VERBS_SANDBOX, VERBS_JOB };
enum ctl_job_file {
	JOB_FILE_ARGV,
	JOB_FILE_STATE,
	JOB_FILE_ERROR,
	JOB_FILE_SIGNAL,
	JOB_FILE_EXIT_CODE,
};
enum ctl_stored { STORED_CONFIG, STORED_MANIFEST, STORED_LAYERS };

#endif
