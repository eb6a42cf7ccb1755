// SPDX-License-Identifier: Apache-2.0
// All commands of msb, in the order in which --help has them.
#include "tools/msb/cli.h"

const struct cli_command *const cli_groups[] = {
	cli_run_commands,
	cli_sandbox_commands,
	cli_exec_commands,
	cli_cp_commands,
	cli_logs_commands,
	cli_volume_commands,
	cli_install_commands,
	cli_ps_commands,
	cli_look_commands,
	cli_events_commands,
	cli_image_commands,
	cli_doctor_commands,
	cli_completion_commands,
	NULL,
};
