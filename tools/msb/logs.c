// SPDX-License-Identifier: Apache-2.0
// logs: what a sandbox's commands have printed, out of its log.
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/cli.h"
#include "tools/msb/logline.h"
#include "tools/msb/mnt.h"
#include "tools/msb/since.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define READ_BYTES 131072

struct logs {
	bool follow, times;
	uint32_t job; /* 0: all */
	long long since_usec;
	uint64_t skip;	/* lines that are not shown yet */
	uint64_t lines; /* seen, where they are only counted */
	bool counting;
	bool inside[2];	     /* of stdout, of stderr: in a line that has begun */
	struct msb_str rest; /* of the log: a line that has not come whole */
	struct msb_str last; /* the line before that */
	bool seeking;	     /* all up to that was shown, before msbd ended */
};

static int print(struct logs *l, const struct logline *x, struct msb_err *e)
{
	const char *p = x->data.buf;
	size_t n = x->data.len;
	int fd = x->is_err ? STDERR_FILENO : STDOUT_FILENO, r = 0;

	while (r == 0 && n) {
		const char *nl = memchr(p, '\n', n);
		size_t k = nl ? (size_t)(nl - p) + 1 : n;

		if (l->counting) {
			l->lines += nl != NULL;
		} else if (l->skip) {
			l->skip -= nl != NULL;
		} else if (l->times) {
			char head[64];
			int len = snprintf(head, sizeof(head), "%s ", x->time);

			if (!l->inside[x->is_err])
				r = msb_write_full(fd, head, (size_t)len);
			if (r == 0)
				r = msb_write_full(fd, p, k);
			l->inside[x->is_err] = !nl;
		} else {
			r = msb_write_full(fd, p, n);
			k = n;
		}
		p += k;
		n -= k;
	}
	return r < 0 ? msb_err_set(e, -r, "cannot write: %s", strerror(-r)) : 0;
}

static int line(struct logs *l, const char *p, size_t n, struct msb_err *e)
{
	_cleanup_(logline_done) struct logline x = {0};
	long long usec;

	/* No two are the same: each says when it came, to the microsecond. */
	if (l->seeking) {
		l->seeking = n != l->last.len || memcmp(p, l->last.buf, n) != 0;
		return 0;
	}
	if (l->follow) {
		l->last.len = 0;
		msb_str_add(&l->last, p, n);
	}
	if (logline_parse(p, n, &x) < 0)
		return 0; /* cut by a crash: what comes after it is whole */
	if (l->job && x.job != l->job)
		return 0;
	if (l->since_usec && since_parse(x.time, 0, &usec, NULL) == 0 && usec < l->since_usec)
		return 0;
	return print(l, &x, e);
}

/* What there is now. */
static int take(struct logs *l, int fd, struct msb_err *e)
{
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	ssize_t n = 0;
	int r = buf ? 0 : msb_err_set(e, ENOMEM, "no memory");

	while (r == 0 && (n = read(fd, buf, READ_BYTES)) > 0) {
		const char *p = buf, *nl;

		while (r == 0 && (nl = memchr(p, '\n', (size_t)(buf + n - p)))) {
			if (l->rest.len) {
				msb_str_add(&l->rest, p, (size_t)(nl - p));
				r = l->rest.oom ? msb_err_set(e, ENOMEM, "no memory")
						: line(l, l->rest.buf, l->rest.len, e);
				l->rest.len = 0;
			} else {
				r = line(l, p, (size_t)(nl - p), e);
			}
			p = nl + 1;
		}
		msb_str_add(&l->rest, p, (size_t)(buf + n - p));
		if (l->rest.len > LOGLINE_MAX)
			l->rest.len = 0; /* no line of ours */
	}
	return r == 0 && n < 0 ? msb_err_set(e, errno, "cannot read the log: %m") : r;
}

/* Goes on behind the last line that was shown. */
static int find_place(struct logs *l, int fd, struct msb_err *e)
{
	int r;

	l->rest.len = 0;
	l->seeking = l->last.len > 0;
	r = take(l, fd, e);
	if (r < 0 || !l->seeking)
		return r;
	l->seeking = false;
	l->rest.len = 0;
	(void)fprintf(stderr, "msb: some of the log is gone\n");
	return lseek(fd, 0, SEEK_SET) < 0 ? msb_err_set(e, errno, "cannot read the log: %m") : 0;
}

/* Until the machine has ended, and what it printed was read. */
static int follow(struct logs *l, int fd, int wait_fd, struct msb_err *e)
{
	bool ended = false;
	int r = take(l, fd, e);

	while (r == 0 && !ended) {
		struct pollfd pf[] = {
			{.fd = fd, .events = POLLIN}, {.fd = wait_fd, .events = POLLIN}};

		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			return msb_err_set(e, errno, "poll: %m");
		ended = pf[1].revents || (pf[0].revents & (POLLHUP | POLLERR | POLLNVAL));
		r = take(l, fd, e);
	}
	return r;
}

/* How many lines there are before the last @n. */
static int skip_of(const struct logs *l, const struct mnt *m, const char *path, uint64_t n,
	uint64_t *ret, struct msb_err *e)
{
	struct logs count = {.job = l->job, .since_usec = l->since_usec, .counting = true};
	_cleanup_close_ int fd = openat(m->fd, path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? mnt_why(m, path, errno, e) : take(&count, fd, e);

	msb_str_done(&count.rest);
	if (r == 0)
		*ret = count.lines > n ? count.lines - n : 0;
	return r;
}

static int open_wait(const struct mnt *m, const char *name, struct msb_err *e)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/wait", name);
	return mnt_open_file(m, path, O_RDONLY | O_NONBLOCK, e);
}

/* In the tree of the next msbd, where this one has ended. */
static int follow_again(struct logs *l, struct mnt *m, const char *name, struct msb_err *e)
{
	_cleanup_close_ int fd = -1, wait_fd = -1;
	char path[80];
	int r = mnt_wait_again(m, e);

	(void)snprintf(path, sizeof(path), "%s/log", name);
	if (r == 0)
		r = fd = mnt_open_file(m, path, O_RDONLY, e);
	if (r >= 0)
		r = wait_fd = open_wait(m, name, e);
	if (r >= 0)
		r = find_place(l, fd, e);
	return r < 0 ? r : follow(l, fd, wait_fd, e);
}

static int show(
	struct logs *l, struct mnt *m, const char *name, const char *tail, struct msb_err *e)
{
	_cleanup_close_ int fd = -1, wait_fd = -1;
	char path[80];
	uint64_t n = 0;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s/log", name);
	if (tail && strcmp(tail, "all") != 0) {
		if (msb_parse_u64(tail, 0, UINT32_MAX, &n) < 0)
			return msb_err_set(e, EINVAL, "`%.32s` is no number of lines", tail);
		r = mnt_dry() ? 0 : skip_of(l, m, path, n, &l->skip, e);
	}
	if (r == 0)
		r = fd = mnt_stream(m, path, 0, e);
	if (r >= 0 && l->follow && !mnt_dry())
		r = wait_fd = open_wait(m, name, e);
	if (r >= 0)
		r = l->follow && wait_fd >= 0 ? follow(l, fd, wait_fd, e) : take(l, fd, e);
	while (l->follow && mnt_gone(-r))
		r = follow_again(l, m, name, e);
	return r;
}

static int logs(const struct cli_args *a)
{
	const char *since = cli_get(a, "since"), *job = cli_get(a, "job");
	struct logs l = {.follow = cli_get(a, "follow"), .times = cli_get(a, "timestamps")};
	struct msb_err e = {0};
	struct timespec now;
	uint64_t number = 0;
	struct mnt m;
	int r = mnt_open(&m, &e);

	clock_gettime(CLOCK_REALTIME, &now);
	if (r == 0 && !msb_name_valid(a->word[0]))
		r = msb_err_set(&e, EINVAL, "`%.64s` is not a sandbox's name", a->word[0]);
	if (r == 0 && since)
		r = since_parse(since, now.tv_sec * 1000000LL, &l.since_usec, &e);
	if (r == 0 && job && msb_parse_u64(job, 1, UINT32_MAX, &number) < 0)
		r = msb_err_set(&e, EINVAL, "`%.32s` is not a job's number", job);
	l.job = (uint32_t)number;
	if (r == 0)
		r = show(&l, &m, a->word[0], cli_get(a, "tail"), &e);
	msb_str_done(&l.rest);
	msb_str_done(&l.last);
	return cli_status(r == -EPIPE ? 0 : r, &e); /* who reads it has enough */
}

static const struct cli_option logs_options[] = {
	CLI_OPTION('f', "follow", NULL, "go on until the sandbox has ended"),
	CLI_OPTION('n', "tail", "LINES", "only so many of the last"),
	CLI_OPTION(0, "since", "TIME", "no older ones: 10m, or 2026-01-31T12:00:00"),
	CLI_OPTION('t', "timestamps", NULL, "with the time at which each line began"),
	CLI_OPTION(0, "job", "JOB", "only of the job with this number"),
	{0},
};

const struct cli_command cli_logs_commands[] = {
	CLI_COMMAND("logs", NULL, "[OPTION]... NAME", "Show what a sandbox's commands have printed",
		1, 1, logs_options, logs, .complete = CLI_SANDBOXES,
		.about =
			"What commands have printed on stdout comes out on stdout, stderr's on stderr. Some "
			"30 MiB are kept, also when the sandbox has ended.\n"
			"A TIME is 90s, 10m, 2h or 1d ago, or a date and time in UTC: 2026-01-31, "
			"2026-01-31T12:00:00.",
		.examples = "msb logs web\n"
			    "# the last 20 lines, and what comes\n"
			    "msb logs -f --tail 20 web\n"
			    "msb logs -t --since 10m web",
		.see = "exec events"),
	{0},
};
