// SPDX-License-Identifier: Apache-2.0
// `create` and `run`.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/create.h"
#include "tools/msb/job.h"
#include "tools/msb/sandbox.h"

#include <signal.h>
#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void on_signal(int sig)
{
	(void)sig; /* the write that waits returns: EINTR */
}

/* ^C ends what is under way, and then what was made goes. */
static void interruptible(void)
{
	const struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART */

	(void)sigaction(SIGINT, &sa, NULL); /* valid signals */
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGHUP, &sa, NULL);
}

static int create(const struct cli_args *a)
{
	struct msb_err e = {0};
	char name[64] = "";
	struct mnt m;
	int r = mnt_open(&m, &e);

	interruptible();
	if (r == 0)
		r = create_sandbox(&m, a, !cli_get(a, "idle"), name, &e);
	if (r == 0)
		printf("%s\n", name);
	return cli_status(r, &e);
}

static int refuse(const struct cli_args *a)
{
	if (cli_get(a, "rm") && cli_get(a, "restart"))
		return cli_fail_usage(a->command, "what is removed at its end does not --restart");
	if (cli_get(a, "idle") && (!cli_get(a, "detach") || a->n > 1))
		return cli_fail_usage(a->command, "--idle goes with -d, and without a COMMAND");
	return 0;
}

/* The machine is not needed any more, whether or not it could be ended. With @remove its end is the
 * sandbox's too, but where the machine never ran. */
static void end(const struct mnt *m, const char *name, bool remove)
{
	struct msb_err e = {0};
	int r = sandbox_verb(m, name, remove ? "kill" : "stop", &e);

	if (r == 0 && remove && faccessat(m->fd, name, F_OK, 0) == 0) {
		r = mnt_rmdir(m, name, &e);
		r = r == -ENOENT ? 0 : r; /* it went meanwhile */
	}
	if (r < 0)
		(void)cli_fail(&e);
}

static int run(const struct cli_args *a)
{
	const bool detach = cli_get(a, "detach"), remove = cli_get(a, "rm");
	/* The command is the machine's own where nobody reads what it prints. A terminal, or an
	 * input that stays open, is a job's: the machine runs on for it. */
	const bool main =
		detach && !cli_get(a, "idle") && !cli_get(a, "interactive") && !cli_get(a, "tty");
	const bool job = !main && !cli_get(a, "idle");
	struct cli_job_end ended = {0};
	struct msb_err e = {0};
	char name[64] = "";
	struct mnt m;
	int r = refuse(a), status;

	if (r)
		return r;
	interruptible();
	r = mnt_open(&m, &e);
	if (r == 0)
		r = create_sandbox(&m, a, main, name, &e);
	if (r < 0)
		return cli_status(r, &e);
	r = sandbox_verb(&m, name, "start", &e);
	if (r < 0) {
		status = cli_status(r, &e);
		if (remove || r == -EINTR)
			end(&m, name, remove);
		return status;
	}
	status = 0;
	if (job) {
		const struct cli_job j = {.name = name,
			.argv = a->n > 1 ? a->word + 1 : NULL,
			.entrypoint = true,
			.detach_keys = cli_get(a, "detach-keys"),
			.input = cli_get(a, "interactive"),
			.tty = cli_get(a, "tty"),
			.detach = detach,
			.keep = detach};

		status = cli_job_run(&m, &j, &ended);
	}
	if (detach && status == 0)
		printf("%s\n", name);
	else if (!ended.detached)
		end(&m, name, remove);
	return status;
}

static const struct cli_option create_options[] = {
	CREATE_OPTIONS,
	CLI_OPTION(0, "idle", NULL, "start no command: it waits for `msb exec`"),
	{0},
};

static const struct cli_option run_options[] = {
	CLI_OPTION('d', "detach", NULL, "let it run, and print its name"),
	CLI_OPTION('i', "interactive", NULL, "the command reads what msb reads"),
	CLI_OPTION('t', "tty", NULL, "the command has a terminal"),
	CLI_OPTION(0, "idle", NULL, "with -d: start no command; it waits for `msb exec`"),
	CLI_OPTION(0, "detach-keys", "KEYS", "what leaves the command running: ctrl-p,ctrl-q"),
	CREATE_OPTIONS,
	{0},
};

const struct cli_command cli_run_commands[] = {
	CLI_COMMAND("run", NULL, "[OPTION]... IMAGE [COMMAND [ARGUMENT]...]",
		"Make a sandbox, start it and run a command in it", 1, SIZE_MAX, run_options, run,
		.complete = CLI_IMAGES, .word_ends = true),
	CLI_COMMAND("create", NULL, "[OPTION]... IMAGE [COMMAND [ARGUMENT]...]",
		"Make a sandbox, to be started later", 1, SIZE_MAX, create_options, create,
		.complete = CLI_IMAGES, .word_ends = true),
	{0},
};
