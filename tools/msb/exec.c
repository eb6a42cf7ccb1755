// SPDX-License-Identifier: Apache-2.0
// Commands in a sandbox that runs: exec, shell, attach.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/job.h"

#include <string.h>
#include <unistd.h>

/* The values of --env, NULL at the end. */
static const char **env_of(const struct cli_args *a)
{
	const char **env = calloc(a->n_given + 1, sizeof(*env));
	size_t n = 0;

	for (size_t at = 0; env && (env[n] = cli_next(a, "env", &at));)
		n++;
	return env;
}

static int exec(const struct cli_args *a)
{
	_cleanup_free_ const char **env = env_of(a);
	struct cli_job job = {.name = a->word[0],
		.argv = a->word + 1,
		.env = env,
		.cwd = cli_get(a, "workdir"),
		.user = cli_get(a, "user"),
		.timeout_sec = cli_get(a, "timeout"),
		.detach_keys = cli_get(a, "detach-keys"),
		.input = cli_get(a, "interactive"),
		.tty = cli_get(a, "tty"),
		.detach = cli_get(a, "detach")};
	struct cli_job_end end = {0};
	struct msb_err e = {0};
	struct mnt m;
	int r;

	if (cli_job_no_terminal(a->command, &job))
		return CLI_FAILED;
	r = env ? mnt_open(&m, &e) : msb_err_set(&e, ENOMEM, "no memory");
	if (r < 0)
		return cli_fail(&e);
	r = cli_job_run(&m, &job, &end);
	if (job.detach && end.number)
		printf("%s/%u\n", job.name, end.number);
	return r;
}

/* The user's own shell as a login shell; where that is none for people, bash or sh. */
static char login_shell[] = "u=$(id -u)\n"
			    "while IFS=: read -r name pass uid gid gecos home s; do\n"
			    "	[ \"$uid\" != \"$u\" ] || break\n"
			    "	s=\n"
			    "done </etc/passwd\n"
			    "case $s in\n"
			    "*/nologin|*/false|*/sync|'') s=$(command -v bash || echo /bin/sh) ;;\n"
			    "esac\n"
			    "exec \"$s\" -l\n";

static int shell(const struct cli_args *a)
{
	char sh[] = "/bin/sh", c[] = "-c";
	char *argv[] = {sh, c, login_shell, NULL};
	_cleanup_free_ const char **env = env_of(a);
	struct cli_job job = {.name = a->word[0],
		.argv = argv,
		.env = env,
		.cwd = cli_get(a, "workdir"),
		.user = cli_get(a, "user"),
		.detach_keys = cli_get(a, "detach-keys"),
		.input = true,
		.tty = isatty(STDIN_FILENO)}; /* lines from a pipe are a script's */
	struct msb_err e = {0};
	struct mnt m;
	int r = env ? mnt_open(&m, &e) : msb_err_set(&e, ENOMEM, "no memory");

	return r < 0 ? cli_fail(&e) : cli_job_run(&m, &job, NULL);
}

static int attach(const struct cli_args *a)
{
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e);

	return r < 0 ? cli_fail(&e)
		     : cli_job_attach(
			       &m, a->word[0], cli_get(a, "detach-keys"), cli_get(a, "no-stdin"));
}

#define ENV                                                                                        \
	CLI_OPTION('e', "env", "KEY[=VALUE]", "set a variable; without a value, as it is here",    \
		.many = true)
#define WORKDIR CLI_OPTION('w', "workdir", "DIR", "where it runs")
#define USER	CLI_OPTION('u', "user", "USER[:GROUP]", "who it runs as, by name or number")
#define KEYS	CLI_OPTION(0, "detach-keys", "KEYS", "what lets go of it; else ctrl-p,ctrl-q")

static const struct cli_option exec_options[] = {
	CLI_OPTION('i', "interactive", NULL, "give it stdin, which a pipe or a file is without"),
	CLI_OPTION('t', "tty", NULL, "give it a terminal"),
	CLI_OPTION('d', "detach", NULL, "do not wait for it, and print its NAME/JOB"),
	ENV,
	WORKDIR,
	USER,
	CLI_OPTION(0, "timeout", "SECONDS", "end it after that; exit status 124"),
	KEYS,
	{0},
};
static const struct cli_option shell_options[] = {ENV, WORKDIR, USER, KEYS, {0}};
static const struct cli_option attach_options[] = {
	CLI_OPTION(0, "no-stdin", NULL, "only look at it"), KEYS, {0}};

const struct cli_command cli_exec_commands[] = {
	CLI_COMMAND("exec", NULL, "[OPTION]... NAME COMMAND [ARGUMENT]...",
		"Run a command in a sandbox", 2, SIZE_MAX, exec_options, exec,
		.complete = CLI_SANDBOXES, .word_ends = true,
		.about =
			"The sandbox has to run. The command gets exactly the words that are given, without "
			"a shell; `sh -c` makes one.\n"
			"stdin is only given to it with `-i`, or where it is a pipe or a file. ^C and other "
			"signals go to the command, as does the size of a terminal (`-t`). ctrl-p ctrl-q "
			"lets go of it, and `msb attach` comes back.\n"
			"Where msbd ends meanwhile, msb waits half a minute for another one, and goes on with "
			"the command where it was. So do `msb run`, `attach`, `wait`, `logs -f` and `events -f`.",
		.status =
			"As the command ended: 124 a timeout, 126 it cannot be run, 127 it is not there, 128 "
			"and a signal's number where that ended it; 255 the machine ended before it did. 125 "
			"where it could not be begun.",
		.examples = "msb exec web ls -l /srv\n"
			    "# a shell there, with what it knows put in front\n"
			    "msb exec -it -e TERM web sh\n"
			    "# a stream through a guest\n"
			    "tar c . | msb exec -i web tar x -C /srv\n"
			    "# in the background\n"
			    "msb exec -d web sh -c 'sleep 60; touch /done'",
		.see = "shell attach logs run"),
	CLI_COMMAND("shell", NULL, "[OPTION]... NAME", "Open a login shell in a sandbox", 1, 1,
		shell_options, shell, .complete = CLI_SANDBOXES,
		.about =
			"It is the login shell of the user that it runs as, else `sh`. Lines from a pipe are "
			"run as a script.",
		.status = "As the shell ended, as `msb exec` says it.",
		.examples = "msb shell web\n"
			    "msb shell -u nobody -w /tmp web\n"
			    "echo 'uname -a; id' | msb shell web",
		.see = "exec"),
	CLI_COMMAND("attach", NULL, "[OPTION]... NAME[/JOB]", "Join a command that runs", 1, 1,
		attach_options, attach, .complete = CLI_SANDBOXES,
		.about =
			"What it has printed lately comes first. JOB is the number of one of the commands "
			"that run (`jobs` in the control tree, or what `msb exec -d` printed); without it "
			"there must be only one. Where it has a terminal ctrl-p ctrl-q lets go of it "
			"again; `msb logs -f` only looks.",
		.status = "As the command ended, as `msb exec` says it; 0 where it was let go of.",
		.examples = "msb attach web\n"
			    "# only look at one of several\n"
			    "msb attach --no-stdin web/3",
		.see = "exec run"),
	{0},
};
