// SPDX-License-Identifier: Apache-2.0
// `create` and `run`.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/create.h"
#include "tools/msb/interrupt.h"
#include "tools/msb/job.h"
#include "tools/msb/sandbox.h"

#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int create(const struct cli_args *a)
{
	struct msb_err e = {0};
	char name[64] = "";
	struct mnt m;
	int r = mnt_open(&m, &e);

	interrupt_catch();
	if (r == 0)
		r = create_sandbox(&m, a, !cli_get(a, "idle"), name, &e);
	if (interrupt_hold() && r == 0) {
		(void)mnt_rmdir(&m, name, NULL); /* nobody knows of it yet */
		r = -EINTR;
	}
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
static void end(const struct mnt *m, const char *name, bool remove, bool ran)
{
	_cleanup_str_ struct msb_str mounts = MSB_STR_INIT;
	struct msb_err e = {0};
	bool in_order;
	int r;

	(void)sandbox_read(m, name, "mounts", &mounts, NULL); /* it may have gone */
	/* What a guest has written and not yet given away is lost with its plug: of a root that is
	 * removed nobody cares, of what is mounted in it somebody may. */
	in_order = ran && (!remove || mounts.len);
	/* Only what may take its time is left to itself by ^C. */
	if (in_order)
		interrupt_release();
	r = sandbox_verb(m, name, in_order ? "stop" : "kill", &e);
	if (r == -EINTR && remove) {
		(void)interrupt_hold(); /* that is what kill is for */
		r = sandbox_verb(m, name, "kill", &e);
	}
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
	char name[64] = "";
	const struct cli_job j = {.name = name,
		.argv = a->n > 1 ? a->word + 1 : NULL,
		.entrypoint = true,
		.detach_keys = cli_get(a, "detach-keys"),
		.input = cli_get(a, "interactive"),
		.tty = cli_get(a, "tty"),
		.detach = detach,
		.keep = detach};
	struct cli_job_end ended = {0};
	struct msb_err e = {0};
	struct mnt m;
	int r = refuse(a), status;

	if (r || cli_job_no_terminal(a->command, &j))
		return CLI_FAILED;
	interrupt_catch();
	r = mnt_open(&m, &e);
	if (r == 0)
		r = create_sandbox(&m, a, main, name, &e);
	if (r < 0)
		return cli_status(r, &e);
	r = sandbox_verb(&m, name, "start", &e);
	if (interrupt_hold() && r == 0)
		r = -EINTR;
	if (r < 0) {
		status = cli_status(r, &e);
		if (remove || r == -EINTR)
			end(&m, name, remove, false);
		return status;
	}
	status = 0;
	if (job)
		status = cli_job_run(&m, &j, &ended);
	if (detach && status == 0)
		printf("%s\n", name);
	else if (!ended.detached)
		end(&m, name, remove, true);
	return status;
}

static const struct cli_option create_options[] = {
	CREATE_OPTIONS,
	CLI_OPTION(0, "idle", NULL, "start no command: it waits for `msb exec`"),
	{0},
};

static const struct cli_option run_options[] = {
	CLI_OPTION('d', "detach", NULL, "do not wait for it; print the sandbox's name"),
	CLI_OPTION('i', "interactive", NULL, "give it stdin, which a pipe or a file is without"),
	CLI_OPTION('t', "tty", NULL, "the command has a terminal"),
	CLI_OPTION(0, "idle", NULL, "with -d: start no command; it waits for `msb exec`"),
	CLI_OPTION(0, "detach-keys", "KEYS", "what leaves the command running; else ctrl-p,ctrl-q"),
	CREATE_OPTIONS,
	{0},
};

const struct cli_command cli_run_commands[] = {
	CLI_COMMAND("run", NULL, "[OPTION]... IMAGE [COMMAND [ARGUMENT]...]",
		"Make a sandbox, start it and run a command in it", 1, SIZE_MAX, run_options, run,
		.complete = CLI_IMAGES, .word_ends = true,
		.about =
			"The image is fetched where it is not here yet. COMMAND takes the place of what the "
			"image runs, as its entrypoint's arguments where it has one.\n"
			"Without `-d` msb stays: what the command prints comes out here, ^C and other "
			"signals go to it, and the machine ends with it. What the command has changed in the "
			"sandbox's files is there until `msb rm`; `--rm` removes it at once. A pipe or a file as "
			"stdin is the command's input; with `-i` a terminal is, too. `-t` gives it a terminal of its own: `-it` makes a shell usable, and ctrl-p ctrl-q leaves it running (`msb attach` comes back).\n"
			"With `-d` the command is the sandbox's own program: its output is in `msb logs`, it "
			"is started again by `msb start` and by `--restart`, and its end is the machine's. "
			"`--idle` starts none, and the machine waits for `msb exec`.\n"
			"SOURCE of `-v` is a directory of this host where a slash or a dot is in front, else "
			"a volume of `msb volume`. Its OPTIONS have commas between: `ro`, `audit`, "
			"`quota_bytes=1G` and the others of msb-fs-passthrough(5); a volume that is a disk "
			"takes `ro` alone. A SIZE is in bytes, or 512k, 256m, 2g; a TIME in seconds, or 90s, "
			"1h30m. A line of an `--env-file` is as a value of `-e`; one that begins with # "
			"counts for nothing.",
		.status =
			"As the command ended: 124 a timeout, 126 it cannot be run, 127 it is not there, 128 "
			"and a signal's number where that ended it; 255 the machine ended before it did. 125 "
			"where the sandbox could not be made or started. With `-d` 0 once it runs.",
		.examples =
			"# a shell in a new sandbox, which is gone afterwards\n"
			"msb run -it --rm debian sh\n"
			"# a program, with this directory of the host to read, and a volume to keep what it "
			"makes\n"
			"msb run --rm -v ./src:/app:ro,audit -v results:/out debian sh /app/build.sh\n"
			"# a service that starts again when it fails\n"
			"msb run -d --name web -m 512m -e PORT=8080 --restart on-failure:5 debian sleep 1d\n"
			"# what a pipe brings\n"
			"seq 3 | msb run -i --rm debian wc -l",
		.see = "create exec logs rm volume msb-fs-passthrough(5)"),
	CLI_COMMAND("create", NULL, "[OPTION]... IMAGE [COMMAND [ARGUMENT]...]",
		"Make a sandbox, to be started later", 1, SIZE_MAX, create_options, create,
		.complete = CLI_IMAGES, .word_ends = true,
		.about =
			"All is as with `msb run -d`, but nothing is started: `msb start` does. Between the "
			"two its files can be changed, by `msb cp` or in the control tree.",
		.examples = "# made now, with a file put in, and started\n"
			    "msb create --name web debian sleep 1d\n"
			    "msb cp ./app.conf web:/etc/app.conf\n"
			    "msb start web\n"
			    "# what that is in the control tree, to be kept as a script\n"
			    "msb --dry-run create --name web --memory 512m debian sleep 1d",
		.see = "run start cp"),
	{0},
};
