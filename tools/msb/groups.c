// SPDX-License-Identifier: Apache-2.0
// All commands of msb, in the order in which --help has them.
#include "tools/msb/cli.h"

const struct cli_group cli_groups[] = {
	{"Sandboxes", cli_run_commands},
	{NULL, cli_sandbox_commands},
	{"In a sandbox", cli_exec_commands},
	{NULL, cli_cp_commands},
	{NULL, cli_logs_commands},
	{"Looking", cli_ps_commands},
	{NULL, cli_look_commands},
	{NULL, cli_events_commands},
	{"Images and volumes", cli_image_commands},
	{NULL, cli_volume_commands},
	{"This host", cli_install_commands},
	{NULL, cli_doctor_commands},
	{NULL, cli_completion_commands},
	{0},
};
