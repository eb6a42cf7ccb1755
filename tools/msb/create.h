/* SPDX-License-Identifier: Apache-2.0 */
/* A sandbox from a command line. */
#ifndef MSB_TOOLS_CREATE_H
#define MSB_TOOLS_CREATE_H

#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"

/* What `create` and `run` have in common. */
/* clang-format off */
#define CREATE_OPTIONS \
	CLI_OPTION(0, "name", "NAME", "what it is called; else a name is made up"), \
	CLI_OPTION(0, "cpus", "N", "how many processors it has; else 1"), \
	CLI_OPTION('m', "memory", "SIZE", "how much memory it has: 512m, 2g; else 256m"), \
	CLI_OPTION(0, "max-cpus", "N", "so many it may be given while it runs"), \
	CLI_OPTION(0, "max-memory", "SIZE", "so much it may be given while it runs"), \
	CLI_OPTION(0, "disk", "SIZE", "how large its root is, where that is a disk"), \
	CLI_OPTION('e', "env", "NAME[=VALUE]", "a variable; without a value, as it is here", .many = true), \
	CLI_OPTION(0, "env-file", "FILE", "variables, one a line", .many = true, .complete = CLI_FILES), \
	CLI_OPTION('v', "volume", "SOURCE:PATH[:OPTIONS]", "a directory (./x, /x) or a volume (x) at PATH", \
		.many = true, .complete = CLI_FILES), \
	CLI_OPTION(0, "mount", "type=TYPE,src=X,dst=PATH", "bind volume tmpfs memory image overlay disk plugin", \
		.many = true), \
	CLI_OPTION(0, "tmpfs", "PATH[:OPTIONS]", "memory of the guest at PATH: size=64m", .many = true), \
	CLI_OPTION(0, "read-only", NULL, "nothing can be changed in the root"), \
	CLI_OPTION(0, "root", "OPTIONS", "options of the root: audit, quota_bytes=1G", .many = true), \
	CLI_OPTION('w', "workdir", "PATH", "where commands run; else as the image says"), \
	CLI_OPTION('u', "user", "USER[:GROUP]", "who commands run as; else as the image says"), \
	CLI_OPTION(0, "hostname", "NAME", "else the sandbox's name"), \
	CLI_OPTION(0, "entrypoint", "PROGRAM", "in place of the image's; it takes the command"), \
	CLI_OPTION('l', "label", "KEY[=VALUE]", "what `msb ps --filter label=` finds", .many = true), \
	CLI_OPTION(0, "rm", NULL, "remove the sandbox when its machine has ended"), \
	CLI_OPTION(0, "restart", "POLICY", "no, on-failure[:N], always or unless-stopped", \
		.complete = "no on-failure always unless-stopped"), \
	CLI_OPTION(0, "health-cmd", "LINE", "what sh runs to see whether it is well"), \
	CLI_OPTION(0, "health-interval", "TIME", "between two of them: 30s"), \
	CLI_OPTION(0, "health-timeout", "TIME", "how long one may take: 30s"), \
	CLI_OPTION(0, "health-retries", "N", "failures in a row that make it unhealthy: 3"), \
	CLI_OPTION(0, "health-start-period", "TIME", "failures count after so long: 0s"), \
	CLI_OPTION(0, "health-start-interval", "TIME", "between two of them until then: 5s"), \
	CLI_OPTION(0, "no-healthcheck", NULL, "not the image's either"), \
	CLI_OPTION(0, "pull", "WHEN", "is the image fetched: missing, always or never", .complete = "missing always never"), \
	CLI_OPTION(0, "stop-timeout", "SECONDS", "how long `stop` waits before it kills"), \
	CLI_OPTION(0, "timeout", "TIME", "it is stopped so long after its start"), \
	CLI_OPTION(0, "idle-timeout", "TIME", "it is stopped when nothing ran for so long"), \
	CLI_OPTION(0, "ulimit", "NAME=SOFT[:HARD]", "a limit of every command: nofile=1024:2048", .many = true), \
	CLI_OPTION('p', "publish", "[ADDRESS:]PORT:PORT", "refused: sandboxes have no network yet", .many = true), \
	CLI_OPTION(0, "network", "NETWORK", "`none` is what there is; others are refused", .complete = "none"), \
	CLI_OPTION(0, "init", NULL, "changes nothing: PID 1 reaps in any case")
/* clang-format on */

/**
 * create_sandbox() - Fetch the image where that is wanted, make the sandbox and write its values
 * @a:    word[0] is the image, the words after it the command
 * @main: the command is its machine's: started with it, and ending it
 * @name: 64 bytes; it was there before where the command line says a name
 * On failure nothing is left of it. Return: 0 or -errno.
 */
int create_sandbox(
	const struct mnt *m, const struct cli_args *a, bool main, char *name, struct msb_err *e);

#endif
