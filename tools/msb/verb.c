// SPDX-License-Identifier: Apache-2.0
// Lines that are written to a ctl, and what they are answered with.
#include "base/cleanup.h"
#include "tools/msb/mnt.h"
#include "tools/msb/shell.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void mnt_quote(struct msb_str *line, const char *word)
{
	for (const char *p = word; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == '\\' || *p == 0x7f ||
			(*p == '#' && p == word))
			msb_str_addf(line, "\\%03o", (unsigned char)*p);
		else
			msb_str_add(line, p, 1);
}

static void on_signal(int sig)
{
	(void)sig; /* it ends the write */
}

/* The answer of a transaction: `ok`, or `error ERRNO SENTENCE`. */
static void take_answer(int fd, struct msb_err *e)
{
	char buf[MSB_ERR_MAX + 64], *p;
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	if (n <= 0)
		return;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	p = strncmp(buf, "error ", 6) != 0 ? NULL : strchr(buf + 6, ' ');
	if (p)
		(void)msb_err_set(e, e->code, "%s", p + 1);
}

static int transact(int fd, const struct msb_str *line, struct msb_err *e)
{
	if (write(fd, line->buf, line->len) >= 0)
		return 0;
	(void)msb_err_set(e, errno, "%m");
	if (e->code != EINTR)
		take_answer(fd, e);
	return -e->code;
}

/* Its descriptor, or -errno; @line becomes what is written. */
static int begin(const struct mnt *m, const char *ctl, const char *text, struct msb_str *line,
	struct msb_err *e)
{
	int fd;

	msb_str_addf(line, "%s\n", text);
	if (line->oom)
		return msb_err_set(e, ENOMEM, "no memory");
	mnt_say_write(m, ctl, false, line->buf, line->len);
	fd = mnt_dry() ? open("/dev/null", O_RDWR | O_CLOEXEC)
		       : openat(m->fd, ctl, O_RDWR | O_CLOEXEC);
	return fd >= 0 ? fd : mnt_why(m, ctl, errno, e);
}

static void *verb_thread(void *arg)
{
	struct mnt_verb *v = arg;

	v->tid = gettid();
	v->result = transact(v->fd, &v->line, &v->err);
	(void)eventfd_write(v->done_fd, 1); /* cannot fail: it was 0 */
	return NULL;
}

int mnt_verb_begin(const struct mnt *m, const char *ctl, const char *line, struct mnt_verb *v,
	struct msb_err *e)
{
	const struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART */
	int r;

	*v = (struct mnt_verb){.done_fd = -1};
	v->fd = begin(m, ctl, line, &v->line, e);
	if (v->fd < 0) {
		msb_str_done(&v->line);
		return v->fd;
	}
	v->done_fd = eventfd(0, EFD_CLOEXEC);
	(void)sigaction(SIGUSR1, &sa, NULL); /* a valid signal */
	r = v->done_fd < 0 ? ENOMEM : pthread_create(&v->thread, NULL, verb_thread, v);
	if (r == 0)
		return 0;
	close(v->fd);
	if (v->done_fd >= 0)
		close(v->done_fd);
	msb_str_done(&v->line);
	return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
}

void mnt_verb_interrupt(struct mnt_verb *v)
{
	(void)pthread_kill(v->thread, SIGUSR1); /* it has not been joined */
}

int mnt_verb_end(struct mnt_verb *v, struct msb_err *e)
{
	(void)pthread_join(v->thread, NULL); /* nobody else does */
	close(v->fd);
	close(v->done_fd);
	msb_str_done(&v->line);
	if (v->result < 0 && e)
		*e = v->err;
	return v->result;
}

int mnt_do(const struct mnt *m, const char *ctl, const char *line, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_close_ int fd = begin(m, ctl, line, &s, e);
	struct msb_err mine = {0};
	int r;

	if (fd < 0)
		return fd;
	r = transact(fd, &s, &mine);
	return r < 0 ? msb_err_set(e, -r, "%s", mine.msg) : 0;
}
