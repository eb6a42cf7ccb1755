// SPDX-License-Identifier: Apache-2.0
// Commands in a sandbox.
#include "tools/msb/job.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/cli.h"
#include "tools/msb/job_held.h"
#include "tools/msb/shell.h"
#include "tools/msb/stream.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXIT_LOST   255
#define EXIT_SIGNAL 128

static int put(struct held *h, const char *file, const void *p, size_t n, struct msb_err *e)
{
	_cleanup_close_ int fd = openat(h->dir, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 || write(fd, p, n) < 0 ? held_why(h, errno, e) : 0;
}

static int set(struct held *h, const char *file, const char *value, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	if (!value)
		return 0;
	msb_str_addf(&s, "%s\n", value);
	return s.oom ? msb_err_set(e, ENOMEM, "no memory") : put(h, file, s.buf, s.len, e);
}

static int make(struct held *h, struct msb_err *e)
{
	int r = held_open_jobs(h, e);
	char text[16] = "";
	ssize_t n;

	if (r < 0)
		return r;
	h->clone = openat(h->jobs, "clone", O_RDWR | O_CLOEXEC);
	if (h->clone < 0)
		return held_why(h, errno, e);
	n = read(h->clone, text, sizeof(text) - 1);
	if (n <= 0 || sscanf(text, "%u", &h->number) != 1)
		return msb_err_set(e, EIO, "%s/jobs/clone does not say its number", h->name);
	return held_open_dir(h, e);
}

/* ---- what it is made of */

static int set_env(struct held *h, const char *pair, struct msb_err *e)
{
	size_t n = strcspn(pair, "=");
	char file[NAME_MAX + 8];
	char name[NAME_MAX];

	if (n == 0 || n >= sizeof(name) || memchr(pair, '/', n))
		return msb_err_set(e, EINVAL, "`%.64s` is no variable: KEY=VALUE, or KEY", pair);
	(void)snprintf(name, sizeof(name), "%.*s", (int)n, pair);
	(void)snprintf(file, sizeof(file), "env/%s", name);
	/* A KEY that is not set here is not set there, as docker has it. */
	return set(h, file, pair[n] ? pair + n + 1 : getenv(name), e);
}

static int set_up(
	struct held *h, const struct cli_job *job, const struct stream *s, struct msb_err *e)
{
	_cleanup_str_ struct msb_str argv = MSB_STR_INIT;
	const char *term = s->tty ? getenv("TERM") : NULL;
	char size[32] = "0";
	int r;

	for (char *const *a = job->argv; a && *a; a++)
		msb_str_add(&argv, *a, strlen(*a) + 1);
	if (argv.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (s->tty)
		(void)snprintf(size, sizeof(size), "%u %u", s->rows, s->cols);
	r = argv.len ? put(h, "argv", argv.buf, argv.len, e) : 0;
	if (r == 0 && job->entrypoint)
		r = set(h, "entrypoint", "1", e);
	if (r == 0)
		r = set(h, "cwd", job->cwd, e);
	if (r == 0)
		r = set(h, "user", job->user, e);
	if (r == 0)
		r = set(h, "timeout_sec", job->timeout_sec, e);
	if (r == 0 && s->tty)
		r = set(h, "tty", size, e);
	if (r == 0 && term && *term)
		r = set_env(h, "TERM", e);
	for (const char *const *v = job->env; r == 0 && v && *v; v++)
		r = set_env(h, *v, e);
	return r;
}

/* Its verbs, to its start. What dies with us takes it along; what is left to itself has input only
 * if it was asked for. */
static void verbs(const struct cli_job *job, bool input, char ret[96])
{
	(void)snprintf(ret, 96, "%s%s%sstart\n", job->keep ? "keep\n" : "",
		!job->detach ? "at-close hangup\n"
		: input	     ? "at-close nothing\n"
			     : "",
		input ? "" : "close-stdin\n");
}

/* All @lines, in one write; what one of them met is the answer of a second. */
static int tell(int fd, const char *lines)
{
	size_t n = strlen(lines), done = 0;

	while (done < n) {
		ssize_t k = write(fd, lines + done, n - done);

		if (k < 0)
			return -errno;
		done += (size_t)k;
	}
	return 0;
}

/* Return: 0; -errno, and the exit status that it means. */
static int start(struct held *h, const char *lines, int *ret_status, struct msb_err *e)
{
	_cleanup_close_ int fd = openat(h->dir, "ctl", O_RDWR | O_CLOEXEC);
	char buf[MSB_ERR_MAX + 256] = "", *p;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	*ret_status = CLI_FAILED;
	if (fd < 0)
		return held_why(h, errno, e);
	r = tell(fd, lines);
	if (r == 0)
		return 0;
	(void)msb_err_set(e, -r, "%s", strerror(-r));
	p = read(fd, buf, sizeof(buf) - 1) > 0 ? strstr(buf, "error ") : NULL;
	p = p ? strchr(p + strlen("error "), ' ') : NULL; /* after its number */
	if (p) {
		p[strcspn(p, "\n")] = '\0';
		(void)msb_err_set(e, -r, "%s", p + 1);
	}
	if (msb_read_file(h->dir, "exit_code", 64, &s) == 0 && s.len > 1) {
		msb_str_add(&s, "", 1);
		*ret_status = atoi(s.buf);
	}
	return r;
}

/* ---- the end */

/* How it ended, and what there is to say of it. */
static int status_of(struct held *h, struct msb_err *e)
{
	_cleanup_str_ struct msb_str error = MSB_STR_INIT;
	char text[4096] = "\n", reason[32], code[16];
	/* A snapshot of now, whenever it was opened, and all of it. */
	ssize_t n = pread(h->status, text + 1, sizeof(text) - 2, 0);

	if (n < 0)
		return msb_err_set(e, errno, "the end of the job is not known: %m");
	held_value(text, "reason", reason, sizeof(reason));
	held_value(text, "exit_code", code, sizeof(code));
	if (!*code)
		return msb_err_set(e, EIO, "job %u has no exit code", h->number);
	if (strcmp(reason, "lost") != 0 && strcmp(reason, "oom") != 0 &&
		strcmp(reason, "timeout") != 0)
		return atoi(code);
	if (msb_read_file(h->dir, "error", MSB_ERR_MAX, &error) == 0 && error.len)
		(void)fprintf(stderr, "msb: %s: %.*s", h->name, (int)error.len, error.buf);
	return atoi(code);
}

/* What became of the streams, as an exit status. */
static int follow(struct held *h, struct stream *s, struct cli_job_end *ret, struct msb_err *e)
{
	char line[64];
	int r;

	/* While the guest works anyway. */
	r = held_follow(h, s, e);
	r = r ?: stream_run(s, e);
	switch (r) {
	case STREAM_ENDED:
		r = status_of(h, e);
		if (mnt_gone(-r) && mnt_wait_again(h->m, e) == 0 && s->again(s, h, e) == 0)
			r = status_of(h, e);
		return r;
	case STREAM_SIGNAL: return EXIT_SIGNAL + s->signal;
	case STREAM_CLOSED: return EXIT_SIGNAL + SIGPIPE;
	case STREAM_DETACHED:
		ret->detached = true;
		r = stream_tell(s, "at-close nothing\n");
		if (r < 0)
			return msb_err_set(
				e, -r, "job %u cannot be let go of: %s", h->number, strerror(-r));
		(void)snprintf(line, sizeof(line), "%s/%u", h->name, h->number);
		(void)fprintf(
			stderr, "\nmsb: %s runs on; `msb attach %s` returns to it\n", line, line);
		return 0;
	default:
		/* ENODEV: the sandbox was removed. */
		if (e->code == ENODEV)
			return (void)fprintf(stderr, "msb: %s is gone\n", h->name), EXIT_LOST;
		if (e->code == ESRCH)
			return (void)cli_fail(e), EXIT_LOST;
		if (e->code == ENOTCONN && h->joined)
			return msb_err_set(e, ENOTCONN,
				"msbd ended, and no other has come in %d s; the command may run on: "
				"try `msb attach %s/%u` once msbd runs again",
				MNT_AGAIN_MS / 1000, h->name, h->number);
		if (e->code == ENOTCONN)
			return msb_err_set(e, ENOTCONN,
				"msbd ended, and no other has come in %d s; the command is hung up "
				"once msbd runs again",
				MNT_AGAIN_MS / 1000);
		return r;
	}
}

/* Pipes and files are meant for who is started with them; a terminal has to be asked for. */
static bool stdin_given(void)
{
	struct stat st;

	return fstat(STDIN_FILENO, &st) == 0 &&
	       (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode));
}

bool cli_job_no_terminal(const struct cli_command *c, const struct cli_job *job)
{
	if (!job->tty || !job->input || job->detach || mnt_dry() || isatty(STDIN_FILENO))
		return false;
	(void)cli_fail_usage(
		c, "the input is not a terminal, which -it wants; -i alone takes a pipe or a file");
	return true;
}

/* The same as lines for sh. */
static void show(const struct held *h, const struct cli_job *job, bool input,
	const struct stream *s, const char *lines)
{
	_cleanup_str_ struct msb_str x = MSB_STR_INIT, dir = MSB_STR_INIT, argv = MSB_STR_INIT;
	const struct {
		const char *file, *value;
	} set[] = {{"cwd", job->cwd}, {"user", job->user}, {"timeout_sec", job->timeout_sec},
		{"entrypoint", job->entrypoint ? "1" : NULL}};

	mnt_word(h->m, h->name, &dir);
	mnt_say("exec 7<>%s/jobs/clone; read -r n <&7; j=%s/jobs/$n", dir.buf ?: "", dir.buf ?: "");
	for (char *const *a = job->argv; a && *a; a++) {
		msb_str_adds(&argv, " ");
		shell_word(&argv, *a);
	}
	if (argv.len)
		mnt_say("printf '%%s\\0'%s >$j/argv", argv.buf);
	for (size_t i = 0; i < ARRAY_LEN(set); i++)
		if (set[i].value) {
			x.len = 0;
			shell_word(&x, set[i].value);
			mnt_say("echo %s >$j/%s", x.buf ?: "", set[i].file);
		}
	if (s->tty)
		mnt_say("echo %u %u >$j/tty", s->rows, s->cols);
	for (const char *const *v = job->env; v && *v; v++) {
		size_t n = strcspn(*v, "=");
		char name[NAME_MAX];

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, *v);
		x.len = 0;
		shell_word(&x, (*v)[n] ? *v + n + 1 : getenv(name) ?: "");
		mnt_say("echo %s >$j/env/%s", x.buf ?: "", name);
	}
	x.len = 0;
	for (const char *p = lines; *p; p += strcspn(p, "\n") + 1)
		msb_str_addf(&x, "%secho %.*s", x.len ? "; " : "", (int)strcspn(p, "\n"), p);
	if (job->detach) {
		mnt_say("{ %s; } >$j/ctl; exec 7>&-", x.buf ?: "");
		return;
	}
	mnt_say("exec 6<&0 8<$j/stdout 9<$j/stderr; { %s; } >$j/ctl", x.buf ?: "");
	/* dd, since busybox's cat has the kernel splice to a pipe, which finds nothing here. */
	mnt_say("c='dd bs=65536 status=none'");
	mnt_say("%s$c <&9 >&2 & $c <&8; e=$(cat $j/wait); exec 7>&- 8<&- 9<&-; (exit $e)",
		input ? "$c <&6 >$j/stdin & " : "");
}

static int run(
	struct held *h, const struct cli_job *job, struct cli_job_end *ret, struct msb_err *e)
{
	bool input = job->input || (!job->detach && stdin_given());
	struct stream s = {.tty = job->tty, .in = -1};
	int r = term_keys_parse(job->detach_keys ?: TERM_KEYS_DEFAULT, &s.keys, e), status;
	char lines[96];

	term_size(&s.rows, &s.cols);
	if (r < 0)
		return r;
	verbs(job, input, lines);
	show(h, job, input, &s, lines);
	if (mnt_dry())
		return 0;
	r = make(h, e);
	if (r == 0)
		r = set_up(h, job, &s, e);
	if (r == 0 && !job->detach)
		r = held_open_streams(h, input, job->tty, e);
	if (r < 0)
		return r;
	r = start(h, lines, &status, e);
	if (r < 0) {
		(void)cli_fail(e);
		return status;
	}
	ret->number = h->number;
	ret->detached = job->detach;
	if (job->detach)
		return 0;
	return follow(h, &s, ret, e);
}

int cli_job_run(struct mnt *m, const struct cli_job *job, struct cli_job_end *ret)
{
	_cleanup_(held_done) struct held h = HELD_INIT(m, job->name);
	struct cli_job_end end = {0};
	struct msb_err e = {0};
	int r = run(&h, job, &end, &e);

	if (ret)
		*ret = end;
	return r < 0 ? cli_fail(&e) : r;
}

/* ---- joining one that runs */

static bool is_running(const struct mnt *m, const char *name, const char *number)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/jobs/%s/state", name, number);
	return mnt_peek(m, path, &s) == 0 && s.len && strcmp(s.buf, "running") == 0;
}

/* The one that runs, of which there is to be one. */
static int find(struct held *h, struct msb_err *e)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT, found = MSB_STR_INIT;
	char dir[80];
	size_t n = 0;
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/jobs", h->name);
	r = mnt_list(h->m, dir, DT_DIR, &list, e);
	if (r < 0)
		return r;
	for (size_t at = 0; at < list.len; at += strlen(list.buf + at) + 1)
		if (is_running(h->m, h->name, list.buf + at)) {
			h->number = (unsigned int)atoi(list.buf + at);
			msb_str_addf(&found, " %s/%u", h->name, h->number);
			n++;
		}
	if (n == 1)
		return 0;
	return n ? msb_err_set(e, ENOTUNIQ, "several jobs run in %s; say which:%.400s", h->name,
			   found.buf ?: "")
		 : msb_err_set(e, ENOENT, "no job runs in %s", h->name);
}

static int attach(
	struct held *h, const char *which, const char *keys, bool no_input, struct msb_err *e)
{
	_cleanup_str_ struct msb_str tty = MSB_STR_INIT;
	struct stream s = {0};
	struct cli_job_end end;
	uint64_t number;
	int r = term_keys_parse(keys ?: TERM_KEYS_DEFAULT, &s.keys, e);

	h->joined = true;
	if (r == 0)
		r = held_open_jobs(h, e);
	if (r == 0 && !which)
		r = find(h, e);
	else if (r == 0 && msb_parse_u64(which, 1, UINT32_MAX, &number) < 0)
		r = msb_err_set(e, EINVAL, "`%s` is not a job's number", which);
	else if (r == 0)
		h->number = (unsigned int)number;
	if (r == 0)
		r = held_open_dir(h, e);
	if (r < 0)
		return r;
	r = msb_read_file(h->dir, "tty", 64, &tty);
	if (r < 0)
		return held_why(h, -r, e);
	s.tty = tty.len && sscanf(tty.buf, "%u %u", &s.rows, &s.cols) == 2;
	r = held_open_streams(h, !no_input, s.tty, e);
	if (r < 0)
		return r;
	return follow(h, &s, &end, e);
}

int cli_job_attach(struct mnt *m, const char *which, const char *detach_keys, bool no_input)
{
	_cleanup_free_ char *name = strdup(which);
	char *slash = name ? strchr(name, '/') : NULL;
	struct held h = HELD_INIT(m, name);
	struct msb_err e = {0};
	int r;

	if (slash)
		*slash++ = '\0';
	r = name ? attach(&h, slash, detach_keys, no_input, &e)
		 : msb_err_set(&e, ENOMEM, "no memory");
	held_done(&h);
	return r < 0 ? cli_fail(&e) : r;
}
