// SPDX-License-Identifier: Apache-2.0
// Commands that move a sandbox from one state to another.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"
#include "tools/msb/sandbox.h"
#include "tools/msb/view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int sandbox_name(const char *name, struct msb_err *e)
{
	if (msb_name_valid(name))
		return 0;
	return msb_err_set(e, EINVAL,
		"`%.80s` is no name of a sandbox: letters a-z, digits and -, at most 63", name);
}

int sandbox_verb(const struct mnt *m, const char *name, const char *verb, struct msb_err *e)
{
	char ctl[80];
	int r = sandbox_name(name, e);

	if (r < 0)
		return r;
	(void)snprintf(ctl, sizeof(ctl), "%s/ctl", name);
	return mnt_do(m, ctl, verb, e);
}

int sandbox_read(const struct mnt *m, const char *name, const char *file, struct msb_str *s,
	struct msb_err *e)
{
	char path[160];
	int r = sandbox_name(name, e);

	(void)snprintf(path, sizeof(path), "%s/%s", name, file);
	return r < 0 ? r : mnt_read(m, path, s, e);
}

int sandbox_set(const struct mnt *m, const char *name, const char *file, const char *value,
	struct msb_err *e)
{
	char path[400];
	int r = sandbox_name(name, e);

	(void)snprintf(path, sizeof(path), "%s/%.300s", name, file);
	return r < 0 ? r : mnt_set(m, path, value, e);
}

int sandbox_each(const struct cli_args *a,
	int (*fn)(const struct mnt *, const struct cli_args *, const char *, struct msb_err *))
{
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e), status = cli_status(r, &e);

	for (size_t i = 0; r >= 0 && i < a->n && status != CLI_INTERRUPTED; i++) {
		int one;

		e = (struct msb_err){0};
		one = cli_status(fn(&m, a, a->word[i], &e), &e);
		if (one)
			status = one;
		if (one == 0 && !cli_get(a, "quiet"))
			printf("%s\n", a->word[i]);
		(void)fflush(stdout); /* seen as it is done; main() looks whether it was */
	}
	return status;
}

static int start_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return sandbox_verb(m, name, "start", e);
}

/* `stop` and `restart`, with a time of their own where one is given. */
static int within(const struct mnt *m, const struct cli_args *a, const char *name, const char *verb,
	struct msb_err *e)
{
	const char *sec = cli_get(a, "time");
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;

	if (!sec)
		return sandbox_verb(m, name, verb, e);
	msb_str_addf(&line, "%s ", verb);
	mnt_quote(&line, sec);
	return line.oom ? msb_err_set(e, ENOMEM, "no memory") : sandbox_verb(m, name, line.buf, e);
}

static int stop_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return within(m, a, name, "stop", e);
}

static int restart_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return within(m, a, name, "restart", e);
}

static int kill_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return sandbox_verb(m, name, "kill", e);
}

static int pause_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return sandbox_verb(m, name, "pause", e);
}

static int resume_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	return sandbox_verb(m, name, "resume", e);
}

static int rm_one(
	const struct mnt *m, const struct cli_args *a, const char *name, struct msb_err *e)
{
	int r = sandbox_name(name, e);

	if (r == 0 && cli_get(a, "force"))
		r = sandbox_verb(m, name, "kill", e);
	if (r == 0)
		r = mnt_rmdir(m, name, e);
	return r == -ENOENT && cli_get(a, "force") ? 0 : r; /* it may have gone with its machine */
}

static int start(const struct cli_args *a)
{
	return sandbox_each(a, start_one);
}

static int stop(const struct cli_args *a)
{
	return sandbox_each(a, stop_one);
}

static int restart(const struct cli_args *a)
{
	return sandbox_each(a, restart_one);
}

static int kill_it(const struct cli_args *a)
{
	return sandbox_each(a, kill_one);
}

static int pause_it(const struct cli_args *a)
{
	return sandbox_each(a, pause_one);
}

static int resume(const struct cli_args *a)
{
	return sandbox_each(a, resume_one);
}

static int rm(const struct cli_args *a)
{
	return sandbox_each(a, rm_one);
}

/* What is done by wait_one() and wait_healthy(), for sh. */
static void say_wait(const struct mnt *m, const char *name)
{
	_cleanup_str_ struct msb_str dir = MSB_STR_INIT;

	mnt_word(m, name, &dir);
	mnt_say("exec 7<%s/status; cat %s/wait; dd bs=64k status=none <&7; exec 7<&-",
		dir.buf ?: "", dir.buf ?: "");
}

static void say_healthy(const struct mnt *m, const char *name)
{
	_cleanup_str_ struct msb_str dir = MSB_STR_INIT;

	mnt_word(m, name, &dir);
	mnt_say("until grep -qx healthy %s/health; do sleep 1; done", dir.buf ?: "");
}

static int open_of(const struct mnt *m, const char *name, const char *file, struct msb_err *e)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", name, file);
	return mnt_open_file(m, path, O_RDONLY, e);
}

/* The exit status of its command, where its machine was there for one; else the state it ended in.
 */
static int wait_one(const struct mnt *m, const char *name, struct msb_err *e)
{
	_cleanup_close_ int wait = -1, status = -1;
	_cleanup_str_ struct msb_str code = MSB_STR_INIT;
	char text[8192], state[64];
	ssize_t n;
	int r;

	if (mnt_dry())
		return 0;
	/* Before its end: it may be removed then, and both read on for who has them open. */
	status = open_of(m, name, "status", e);
	wait = status < 0 ? status : open_of(m, name, "wait", e);
	if (wait < 0)
		return wait;
	n = read(wait, state, sizeof(state));
	if (n < 0)
		return mnt_why(m, name, errno, e);
	r = (int)read(status, text, sizeof(text) - 1);
	if (r < 0)
		return mnt_why(m, name, errno, e);
	text[r] = '\0';
	(void)view_line(text, "exit_code", &code); /* there is none otherwise */
	if (code.len)
		printf("%s\n", code.buf);
	else
		printf("%.*s", (int)n, state);
	return 0;
}

/* What of a sandbox's health or state is said on a descriptor; @text: 64 bytes. */
static int said(const struct mnt *m, const char *name, int fd, char *text, struct msb_err *e)
{
	ssize_t n = pread(fd, text, 63, 0);

	if (n < 0 && errno == ENODEV)
		return msb_err_set(e, ENODEV, "%s was removed", name);
	if (n < 0)
		return mnt_why(m, name, errno, e);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* 1: it is healthy. 0: it may become so. */
static int look_for_health(
	const struct mnt *m, const char *name, const struct pollfd pf[2], struct msb_err *e)
{
	char health[64], state[64];
	int r = said(m, name, pf[0].fd, health, e);

	r = r ?: said(m, name, pf[1].fd, state, e);
	if (r < 0)
		return r;
	if (!strcmp(health, "healthy"))
		return 1;
	if (!strcmp(health, "unhealthy"))
		return msb_err_set(e, EREMOTEIO, "%s is unhealthy; %s/%s/health_output says why",
			name, m->path, name);
	if (!strcmp(health, "none") && strcmp(state, "starting") != 0)
		return msb_err_set(e, EINVAL,
			!strcmp(state, "running") || !strcmp(state, "paused")
				? "%s has no health check"
				: "%s is %s: it cannot become healthy",
			name, state);
	return 0;
}

static int wait_healthy(const struct mnt *m, const char *name, struct msb_err *e)
{
	_cleanup_close_ int health = -1, state = -1;
	int r;

	if (mnt_dry())
		return 0;
	health = open_of(m, name, "health", e);
	state = health < 0 ? health : open_of(m, name, "state", e);
	r = state < 0 ? state : 0;
	while (r == 0) {
		struct pollfd pf[2] = {
			{.fd = health, .events = POLLPRI}, {.fd = state, .events = POLLPRI}};

		r = look_for_health(m, name, pf, e);
		if (r == 0 && poll(pf, 2, -1) < 0)
			r = msb_err_set(e, errno, "poll: %m");
	}
	if (r > 0)
		printf("healthy\n");
	return r < 0 ? r : 0;
}

/* All are waited for, whichever ends first; a line for each, in their order. */
static int wait_for(const struct cli_args *a)
{
	const bool healthy = cli_get(a, "healthy");
	int (*const wait)(const struct mnt *, const char *, struct msb_err *) =
		healthy ? wait_healthy : wait_one;
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e), status = cli_status(r, &e);

	for (size_t i = 0; r == 0 && i < a->n; i++) {
		const char *name = a->word[i];
		int one;

		e = (struct msb_err){0};
		one = sandbox_name(name, &e);
		if (one == 0)
			(healthy ? say_healthy : say_wait)(&m, name);
		one = one ?: wait(&m, name, &e);
		while (mnt_gone(-one) && mnt_wait_again(&m, &e) == 0)
			one = wait(&m, name, &e);
		one = cli_status(one, &e);
		if (one)
			status = one;
		(void)fflush(stdout); /* seen as it comes; main() looks whether it was */
	}
	return status;
}

static const struct cli_option time_option[] = {
	CLI_OPTION('t', "time", "SECONDS", "how long it may take before it is killed"), {0}};
static const struct cli_option wait_options[] = {
	CLI_OPTION(0, "healthy", NULL, "until they are healthy; unhealthy ones are errors"), {0}};
static const struct cli_option rm_options[] = {
	CLI_OPTION('f', "force", NULL, "end its machine first; no such sandbox is well"), {0}};

const struct cli_command cli_sandbox_commands[] = {
	CLI_COMMAND("start", NULL, "NAME...", "Start sandboxes", 1, SIZE_MAX, NULL, start,
		.complete = CLI_SANDBOXES,
		.about = "Each returns when commands can run in it. One that runs already is well.",
		.examples = "msb start web db", .see = "stop restart run"),
	CLI_COMMAND("stop", NULL, "[OPTION]... NAME...", "Stop sandboxes in order", 1, SIZE_MAX,
		time_option, stop, .complete = CLI_SANDBOXES,
		.about =
			"Programs in the guest get SIGTERM, then SIGKILL; what they have written is on the "
			"disk when it returns. A machine that has not ended in the sandbox's "
			"`stop_timeout_sec` (10 seconds), or in the time that `-t` says for this once, is "
			"killed.",
		.examples = "msb stop web\n"
			    "# with a minute to end in\n"
			    "msb stop -t 60 db",
		.see = "kill start"),
	CLI_COMMAND("restart", NULL, "[OPTION]... NAME...", "Stop and start sandboxes", 1, SIZE_MAX,
		time_option, restart, .complete = CLI_SANDBOXES,
		.about = "As `msb stop` and then `msb start`. One that does not run is started.",
		.examples = "msb restart -t 30 web", .see = "stop start"),
	CLI_COMMAND("kill", NULL, "NAME...", "End sandboxes' machines at once", 1, SIZE_MAX, NULL,
		kill_it, .complete = CLI_SANDBOXES,
		.about =
			"As by pulling a machine's plug: what it has not written yet is lost. It always gets "
			"through, also to a sandbox that is being started or stopped.",
		.examples = "msb kill web", .see = "stop rm"),
	CLI_COMMAND("pause", NULL, "NAME...", "Let sandboxes stand still", 1, SIZE_MAX, NULL,
		pause_it, .complete = CLI_SANDBOXES,
		.about =
			"No processor of the machine goes on until `msb resume`; its memory stays as it is.",
		.examples = "msb pause web\n"
			    "msb resume web",
		.see = "resume"),
	CLI_COMMAND("resume", "unpause", "NAME...", "Let paused sandboxes go on", 1, SIZE_MAX, NULL,
		resume, .complete = CLI_SANDBOXES, .about = "Ends `msb pause`.",
		.examples = "msb resume web", .see = "pause"),
	CLI_COMMAND("rm", NULL, "[OPTION]... NAME...", "Remove sandboxes that do not run", 1,
		SIZE_MAX, rm_options, rm, .complete = CLI_SANDBOXES,
		.about =
			"Their files, logs and settings go; volumes and images stay. One that runs is "
			"refused, unless `-f` ends it.",
		.examples = "msb rm web\n"
			    "# all that have ended\n"
			    "msb rm $(msb ps -q -f state=stopped -f state=failed)\n"
			    "# whatever it does\n"
			    "msb rm -f web",
		.see = "stop volume"),
	CLI_COMMAND("wait", NULL, "[OPTION]... NAME...",
		"Wait until sandboxes end; print exit statuses, or states", 1, SIZE_MAX,
		wait_options, wait_for, .complete = CLI_SANDBOXES,
		.about =
			"For each there is a line: the exit status of its command where it was made with one "
			"(`msb run -d`, `msb create`), else the state in which it ended.\n"
			"With `--healthy` it is waited until each passes its health check; one that turns "
			"unhealthy, or ends, is an error.",
		.status = "0 where all could be waited for, however they ended.",
		.examples = "msb run -d --name job debian sh -c 'sleep 5; exit 3'\n"
			    "msb wait job\n"
			    "# for a service to answer\n"
			    "msb wait --healthy web",
		.see = "logs run"),
	{0},
};
