// SPDX-License-Identifier: Apache-2.0
// msbd: serves the control tree and looks after the machines.
#include "base/cleanup.h"
#include "base/err.h"
#include "base/paths.h"
#include "ctl/daemon.h"

#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { OPT_FOREGROUND = 'f', OPT_HELP = 'h', OPT_VERSION = 'V', OPT_STOP = 256, OPT_ALL };

/* The one table: parsing and --help come from it. */
static const struct opt {
	int code;
	const char *name, *help;
} options[] = {
	{OPT_FOREGROUND, "foreground",
		"stay in the foreground, log to stderr too (service managers)"},
	{OPT_STOP, "stop", "end the running msbd and unmount; machines go on"},
	{OPT_ALL, "all", "with --stop: stop every machine first"},
	{OPT_HELP, "help", "print this"},
	{OPT_VERSION, "version", "print the version"},
};

static void help(void)
{
	printf("usage: msbd [OPTION]...\n"
	       "Mounts the control tree of msb and looks after its machines. Returns once the\n"
	       "mount answers.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].code < 256)
			printf("  -%c, --%-11s %s\n", options[i].code, options[i].name,
				options[i].help);
		else
			printf("      --%-11s %s\n", options[i].name, options[i].help);
	printf("\nThe tree is at /run/msb, or $XDG_RUNTIME_DIR/msb for an ordinary user; MSB_MNT\n"
	       "says otherwise. State is in /var/lib/msb or $XDG_DATA_HOME/msb; MSB_STATE says\n"
	       "otherwise. MSB_LOG is err, warn, info or debug.\n");
}

static int complain(const struct msb_err *e)
{
	(void)fprintf(stderr, "msbd: %s\n", e->msg[0] ? e->msg : strerror(e->code ? e->code : EIO));
	return 1;
}

/* The daemon itself: its sentence, where it fails, goes through the pipe to who waits. */
static _Noreturn void be_daemon(const struct msb_paths *p, int ready_fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct msb_err e = {0};

	setsid();
	if (chdir("/") < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 ||
		dup2(null_fd, 2) < 0)
		msb_err_set(&e, errno, "cannot let go of the terminal: %m");
	else
		(void)ctl_daemon_run(p, false, ready_fd, &e); /* returns only where it fails */
	(void)!write(ready_fd, e.msg, strlen(e.msg));
	_exit(1);
}

/* Starts the daemon and waits until its mount answers. */
static int start(const struct msb_paths *p, struct msb_err *e)
{
	char answer[MSB_ERR_MAX] = "", path[MSB_PATH_MAX + 16];
	int pipefd[2];
	size_t n = 0;
	struct stat st;
	pid_t pid;
	ssize_t k;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "pipe: %m");
	pid = fork();
	if (pid < 0)
		return msb_err_set(e, errno, "fork: %m");
	if (pid == 0) {
		close(pipefd[0]);
		be_daemon(p, pipefd[1]);
	}
	close(pipefd[1]);
	while (n < sizeof(answer) - 1 &&
		(k = read(pipefd[0], answer + n, sizeof(answer) - 1 - n)) > 0)
		n += (size_t)k;
	close(pipefd[0]);
	if (strcmp(answer, "ok") != 0) {
		(void)waitpid(pid, NULL, 0); /* its sentence says more than its status */
		return msb_err_set(e, EIO, "%s", n ? answer : "it died; see the log");
	}
	(void)snprintf(path, sizeof(path), "%s/version", p->mnt);
	return stat(path, &st) < 0 ? msb_err_set(e, errno, "%s does not answer: %m", p->mnt) : 0;
}

static int stop(const struct msb_paths *p, bool all, struct msb_err *e)
{
	if (!ctl_daemon_holder(p)) {
		if (!all) {
			(void)fprintf(stderr, "msbd: not running\n");
			return 0;
		}
		/* Machines may run on without it: one that finds them can stop them. */
		if (start(p, e) < 0)
			return -e->code;
	}
	return ctl_daemon_stop(p, all, e);
}

static int parse(int argc, char **argv, bool *on)
{
	struct option longs[ARRAY_LEN(options) + 1] = {0};
	char shorts[ARRAY_LEN(options) + 1] = "";
	int c;

	for (size_t i = 0, k = 0; i < ARRAY_LEN(options); i++) {
		longs[i] = (struct option){options[i].name, no_argument, NULL, options[i].code};
		if (options[i].code < 256)
			shorts[k++] = (char)options[i].code;
	}
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		size_t i = 0;

		while (i < ARRAY_LEN(options) && options[i].code != c)
			i++;
		if (i == ARRAY_LEN(options))
			return -EINVAL;
		on[i] = true;
	}
	if (optind < argc) {
		(void)fprintf(
			stderr, "msbd: it takes no argument, but `%s` was given\n", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool on[ARRAY_LEN(options)] = {0};
	struct msb_paths paths;
	struct msb_err e = {0};

	if (parse(argc, argv, on) < 0)
		return 2;
	if (on[3]) {
		help();
		return 0;
	}
	if (on[4]) {
		printf("msb %s\n", MSB_VERSION);
		return 0;
	}
	if (on[2] && !on[1]) {
		(void)fprintf(stderr, "msbd: --all goes with --stop\n");
		return 2;
	}
	if (msb_paths_init(&paths, &e) < 0)
		return complain(&e);
	if (on[1])
		return stop(&paths, on[2], &e) < 0 ? complain(&e) : 0;
	if (on[0]) {
		(void)ctl_daemon_run(&paths, true, -1, &e); /* returns only where it fails */
		return complain(&e);
	}
	return start(&paths, &e) < 0 ? complain(&e) : 0;
}
