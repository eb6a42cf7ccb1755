// SPDX-License-Identifier: Apache-2.0
// msb: the control tree for those who type docker's commands.
#include "tools/msb/cli.h"
#include "base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct cli_command *const groups[] = {cli_image_commands, NULL};

int main(int argc, char **argv)
{
	const struct cli_command *c;
	struct cli_args args;
	int r;

	(void)signal(SIGPIPE, SIG_IGN); /* a valid signal */
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
		(!strcmp(argv[1], "help") && argc == 2)) {
		cli_help(groups);
		return argc < 2 ? CLI_FAILED : 0;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("msb " MSB_VERSION "\n");
		return 0;
	}
	if (!strcmp(argv[1], "help")) {
		c = cli_find(groups, argv[2]);
		if (c) {
			cli_help_of(c);
			return 0;
		}
		argv++;
	}
	c = cli_find(groups, argv[1]);
	if (!c) {
		(void)fprintf(
			stderr, "msb: `%s` is not a command; `msb --help` lists them\n", argv[1]);
		return CLI_FAILED;
	}
	r = cli_parse(c, argc - 1, argv + 1, &args);
	if (r < 0)
		return CLI_FAILED;
	r = r > 0 ? 0 : c->run(&args);
	/* What was said may not have arrived: a full disk, a closed pipe. */
	return fflush(stdout) == 0 && !ferror(stdout) ? r : r ?: CLI_FAILED;
}
