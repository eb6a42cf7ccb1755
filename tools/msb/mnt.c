// SPDX-License-Identifier: Apache-2.0
// The control tree, as a program uses it.
#include "tools/msb/mnt.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_TEXT (4u << 20)

int mnt_open(struct mnt *ret, struct msb_err *e)
{
	struct msb_paths p;
	int r = msb_paths_init(&p, e);

	if (r < 0)
		return r;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", p.mnt);
	ret->fd = open(ret->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->fd >= 0 && faccessat(ret->fd, "version", R_OK, 0) == 0)
		return 0;
	return msb_err_set(e, ENOENT, "no msbd serves %s; `msbd` starts one", ret->path);
}

int mnt_read(const struct mnt *m, const char *file, struct msb_str *s, struct msb_err *e)
{
	int r = msb_read_file(m->fd, file, MAX_TEXT, s);

	if (r < 0)
		return msb_err_set(e, -r, "cannot read %s/%s: %s", m->path, file, strerror(-r));
	msb_str_add(s, "", 0);
	if (s->len && s->buf[s->len - 1] == '\n')
		s->buf[--s->len] = '\0';
	return 0;
}

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
static void take_answer(struct mnt_verb *v)
{
	char buf[MSB_ERR_MAX + 64], *p;
	ssize_t n = read(v->fd, buf, sizeof(buf) - 1);

	if (n <= 0)
		return;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	p = strncmp(buf, "error ", 6) != 0 ? NULL : strchr(buf + 6, ' ');
	if (p)
		(void)msb_err_set(&v->err, v->err.code, "%s", p + 1);
}

static void *verb_thread(void *arg)
{
	struct mnt_verb *v = arg;
	ssize_t n;

	v->tid = gettid();
	n = write(v->fd, v->line.buf, v->line.len);
	v->result = 0;
	if (n < 0) {
		v->result = msb_err_set(&v->err, errno, "%m");
		if (v->result != -EINTR)
			take_answer(v);
	}
	(void)eventfd_write(v->done_fd, 1); /* cannot fail: it was 0 */
	return NULL;
}

int mnt_verb_begin(const struct mnt *m, const char *ctl, const char *line, struct mnt_verb *v,
	struct msb_err *e)
{
	const struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART */
	int r;

	*v = (struct mnt_verb){.fd = openat(m->fd, ctl, O_RDWR | O_CLOEXEC), .done_fd = -1};
	if (v->fd < 0)
		return msb_err_set(e, errno, "cannot open %s/%s: %m", m->path, ctl);
	msb_str_addf(&v->line, "%s\n", line);
	v->done_fd = eventfd(0, EFD_CLOEXEC);
	(void)sigaction(SIGUSR1, &sa, NULL); /* a valid signal */
	r = v->line.oom || v->done_fd < 0 ? ENOMEM
					  : pthread_create(&v->thread, NULL, verb_thread, v);
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
	struct mnt_verb v;
	int r = mnt_verb_begin(m, ctl, line, &v, e);

	return r < 0 ? r : mnt_verb_end(&v, e);
}

int mnt_absolute(const char *path, struct msb_str *s, struct msb_err *e)
{
	char cwd[4096];

	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return msb_err_set(e, errno, "cannot tell where %s is: %m", path);
	if (*path != '/')
		msb_str_addf(s, "%s/", cwd);
	msb_str_adds(s, path);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}
