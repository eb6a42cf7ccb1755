// SPDX-License-Identifier: Apache-2.0
// A user's name and secret.
#include "tools/msb/secret.h"
#include "base/cleanup.h"
#include "tools/msb/interrupt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* A line, byte for byte: stdio would keep what it read ahead. */
static int read_line(int fd, char *buf, size_t size, struct msb_err *e)
{
	size_t n = 0;
	ssize_t k;

	while ((k = read(fd, buf + n, 1)) == 1 && buf[n] != '\n')
		if (++n == size - 1)
			return msb_err_set(e, E2BIG, "a line has at most %zu bytes", size - 2);
	if (k < 0)
		return msb_err_set(e, errno, "cannot read: %m");
	buf[n] = '\0';
	if (n && buf[n - 1] == '\r')
		buf[--n] = '\0';
	return n ? 0 : msb_err_set(e, EINVAL, "there is none");
}

/* Asks at the terminal, whatever stdin is. */
static int ask(const char *what, bool echo, char *buf, size_t size, struct msb_err *e)
{
	_cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios old, silent;
	int r;

	if (tty < 0 || tcgetattr(tty, &old) < 0)
		return msb_err_set(e, ENOTTY,
			"there is no terminal to ask at: -u USER, and the secret with "
			"--password-stdin");
	(void)dprintf(tty, "%s: ", what);
	interrupt_catch(); /* the terminal is given back as it was */
	silent = old;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	if (!echo)
		(void)tcsetattr(tty, TCSAFLUSH, &silent); /* it would be seen, at worst */
	r = read_line(tty, buf, size, e);
	(void)tcsetattr(tty, TCSAFLUSH, &old);
	if (!echo)
		(void)dprintf(tty, "\n");
	return r;
}

int secret_user(const char *given, struct msb_str *s, struct msb_err *e)
{
	char buf[256];
	int r = given ? 0 : ask("Username", true, buf, sizeof(buf), e);

	if (r < 0)
		return r;
	msb_str_adds(s, given ?: buf);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int secret_read(const char *from_stdin, char ret[SECRET_MAX + 2], struct msb_err *e)
{
	int r = from_stdin ? read_line(STDIN_FILENO, ret, SECRET_MAX + 2, e)
			   : ask("Password", false, ret, SECRET_MAX + 2, e);

	return r < 0 && r != -ENOTTY ? (msb_err_wrap(e, "the secret"), r) : r;
}

int secret_write(const struct mnt *m, const char *file, const char *secret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	_cleanup_close_ int fd = -1;

	mnt_word(m, file, &path);
	mnt_say("cat > %s # the secret is its input", path.buf ?: "");
	if (mnt_dry())
		return 0;
	fd = openat(m->fd, file, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, secret, strlen(secret)) >= 0)
		return 0;
	return msb_err_set(e, errno, "cannot write the secret to %s/%s: %m", m->path, file);
}
