// SPDX-License-Identifier: Apache-2.0
// A job that we hold, also from one msbd to the next.
#include "tools/msb/job_held.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void close_all(struct held *h)
{
	int *const fds[] = {&h->status, &h->in, &h->out, &h->err, &h->dir, &h->clone, &h->jobs};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			close(steal_fd(fds[i]));
}

void held_done(struct held *h)
{
	close_all(h);
}

int held_why(const struct held *h, int code, struct msb_err *e)
{
	char file[80];

	(void)snprintf(file, sizeof(file), "%s/jobs", h->name);
	return mnt_why(h->m, file, code, e);
}

/* Each name of a path is a request: those that are used again are walked once. */
int held_open_jobs(struct held *h, struct msb_err *e)
{
	char path[80];

	if (!msb_name_valid(h->name))
		return msb_err_set(e, EINVAL, "`%s` is not a sandbox's name", h->name);
	(void)snprintf(path, sizeof(path), "%s/jobs", h->name);
	h->jobs = openat(h->m->fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (h->jobs < 0 && errno == ENOENT)
		return msb_err_set(e, ENOENT, "there is no sandbox %s", h->name);
	return h->jobs < 0 ? held_why(h, errno, e) : 0;
}

int held_open_dir(struct held *h, struct msb_err *e)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", h->number);
	h->dir = openat(h->jobs, number, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return h->dir < 0 ? msb_err_set(e, errno, "%s has no job %u: %m", h->name, h->number) : 0;
}

int held_open_streams(struct held *h, bool input, bool tty, struct msb_err *e)
{
	const int flags = O_NONBLOCK | O_CLOEXEC;

	h->out = openat(h->dir, "stdout", O_RDONLY | flags);
	if (!tty) /* else all of it is stdout */
		h->err = openat(h->dir, "stderr", O_RDONLY | flags);
	if (input)
		h->in = openat(h->dir, "stdin", O_WRONLY | flags);
	return h->out < 0 || (!tty && h->err < 0) || (input && h->in < 0) ? held_why(h, errno, e)
									  : 0;
}

/* ---- its status */

void held_value(const char *text, const char *key, char *ret, size_t max)
{
	char line[64];
	const char *p;

	*ret = '\0';
	(void)snprintf(line, sizeof(line), "\n%s ", key);
	p = strstr(text, line);
	if (p)
		(void)snprintf(
			ret, max, "%.*s", (int)strcspn(p + strlen(line), "\n"), p + strlen(line));
}

static uint64_t number_of(const char *text, const char *key)
{
	char value[24];

	held_value(text, key, value, sizeof(value));
	return strtoull(value, NULL, 10);
}

/* How many bytes of its streams are over, and of its input taken: where both readers are open and
 * have read nothing, that is where they are. */
static int places(struct held *h, uint64_t gone[2], uint64_t *in, struct msb_err *e)
{
	char text[4096] = "\n", created[sizeof(h->created)];
	ssize_t n = pread(h->status, text + 1, sizeof(text) - 2, 0);

	if (n < 0)
		return held_why(h, errno, e);
	held_value(text, "created_usec", created, sizeof(created));
	if (*h->created && strcmp(created, h->created) != 0)
		return msb_err_set(e, ENODEV, "job %u is another one now", h->number);
	memcpy(h->created, created, sizeof(created));
	gone[0] = number_of(text, "stdout_gone_bytes");
	gone[1] = number_of(text, "stderr_gone_bytes");
	*in = number_of(text, "stdin_bytes");
	return 0;
}

/* Nothing was read yet, nor given. */
static void from_here(struct stream *s, const uint64_t gone[2], uint64_t in)
{
	memcpy(s->got, gone, sizeof(s->got));
	s->given = in;
}

/* ---- another msbd */

static void follow_fds(const struct held *h, struct stream *s)
{
	s->dir = h->dir;
	s->in = h->in;
	s->out = h->out;
	s->err = h->err;
}

/* All that was open, in the tree that is there now. */
static int open_again(struct held *h, const struct held *old, struct stream *s, struct msb_err *e)
{
	_cleanup_close_ int both = -1;
	int r = held_open_jobs(h, e);

	if (r == 0)
		r = held_open_dir(h, e);
	if (r < 0)
		return r;
	/* With a reader of both nothing falls out between the other two. */
	both = openat(h->dir, "output", O_RDONLY | O_CLOEXEC);
	r = both < 0 ? held_why(h, errno, e) : held_open_streams(h, old->in >= 0, s->tty, e);
	if (r < 0)
		return r;
	h->status = openat(h->dir, "status", O_RDONLY | O_CLOEXEC);
	return h->status < 0 ? held_why(h, errno, e) : 0;
}

/* Where we were in a stream, of which @gone bytes are over. */
static uint64_t skip_of(const struct held *h, const char *what, uint64_t *got, uint64_t gone)
{
	if (*got >= gone)
		return *got - gone;
	(void)fprintf(stderr,
		"msb: %s/%u: %llu bytes of its %s are gone; `msb logs` may have them\n", h->name,
		h->number, (unsigned long long)(gone - *got), what);
	*got = gone;
	return 0;
}

/* Return: 0; -EAGAIN there is no msbd yet; others: it cannot be gone on with. */
static int again(struct stream *s, void *arg, struct msb_err *e)
{
	struct held *h = arg, next = HELD_INIT(h->m, h->name);
	uint64_t gone[2] = {0}, in = 0;
	int r;

	if (mnt_again(h->m, e) < 0)
		return -EAGAIN;
	next.number = h->number;
	next.joined = h->joined;
	memcpy(next.created, h->created, sizeof(next.created));
	r = open_again(&next, h, s, e);
	r = r ?: places(&next, gone, &in, e);
	if (r < 0) {
		bool lost = r == -ENOENT || r == -ENODEV;

		held_done(&next);
		if (mnt_gone(-r))
			return -EAGAIN; /* that one has ended, too */
		return lost ? msb_err_set(e, ESRCH,
				      "msbd was started anew, and %s/%u is no more: it has ended, "
				      "or its machine has",
				      h->name, h->number)
			    : r;
	}
	if (h->joined && !*h->created)
		from_here(s, gone, in); /* that msbd ended before it said so much */
	close_all(h);
	*h = next;
	follow_fds(h, s);
	s->skip[0] = skip_of(h, "output", &s->got[0], gone[0]);
	s->skip[1] = skip_of(h, "stderr", &s->got[1], gone[1]);
	s->in_taken = in > s->given ? in - s->given : 0;
	return 0;
}

int held_follow(struct held *h, struct stream *s, struct msb_err *e)
{
	uint64_t gone[2] = {0}, in = 0;
	int r;

	h->status = openat(h->dir, "status", O_RDONLY | O_CLOEXEC);
	r = h->status < 0 ? held_why(h, errno, e) : places(h, gone, &in, e);
	/* Where msbd has ended just now its streams say so too: then we wait for the next. */
	if (r < 0 && !mnt_gone(-r))
		return r;
	if (r == 0 && h->joined) /* else we have had it since its beginning */
		from_here(s, gone, in);
	follow_fds(h, s);
	s->again = again;
	s->again_arg = h;
	return 0;
}
