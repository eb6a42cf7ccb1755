// SPDX-License-Identifier: Apache-2.0
// The user's terminal.
#include "tools/msb/term.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WITH_CTRL "ctrl-"

int term_keys_parse(const char *text, struct term_keys *ret, struct msb_err *e)
{
	struct term_keys k = {0};

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, ",");
		bool ctrl =
			n == strlen(WITH_CTRL) + 1 && strncmp(p, WITH_CTRL, strlen(WITH_CTRL)) == 0;
		unsigned char c = (unsigned char)p[ctrl ? strlen(WITH_CTRL) : 0];

		if (c >= 'a' && c <= 'z' && ctrl)
			c = (unsigned char)(c - 'a' + 'A');
		if (k.n == TERM_KEYS_MAX || n == 0 || (!ctrl && n != 1) ||
			(ctrl && (c < '@' || c > '_')) || (p[n] == ',' && !p[n + 1]))
			return msb_err_set(e, EINVAL,
				"`%s` are no keys: up to %d of them with commas between, each a character or "
				"ctrl- and a letter or one of @[\\]^_",
				text, TERM_KEYS_MAX);
		k.key[k.n++] = ctrl ? c & 0x1f : c;
		p += n + (p[n] == ',');
	}
	*ret = k;
	return 0;
}

/* How many of the keys the end of what has come, and @c, are the beginning of. */
static size_t match(const struct term_keys *k, unsigned char c)
{
	unsigned char seen[TERM_KEYS_MAX + 1];
	size_t n = k->at + 1;

	memcpy(seen, k->key, k->at);
	seen[k->at] = c;
	for (size_t skip = 0; skip < n; skip++)
		if (memcmp(seen + skip, k->key, n - skip) == 0)
			return n - skip;
	return 0;
}

size_t term_keys_take(struct term_keys *k, const char *in, size_t n, char *out, bool *ret_found)
{
	size_t len = 0;

	*ret_found = false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)in[i];
		size_t at = k->n ? match(k, c) : 0, held = k->at;

		/* What is no longer a beginning goes on, in its order. */
		for (size_t j = 0; j < held + 1 - at; j++)
			out[len++] = (char)(j < held ? k->key[j] : c);
		k->at = at;
		if (k->n && at == k->n) {
			k->at = 0;
			*ret_found = true;
			break;
		}
	}
	return len;
}

int term_raw(struct term *t, int fd, struct msb_err *e)
{
	struct termios raw;

	if (tcgetattr(fd, &t->saved) < 0)
		return msb_err_set(e, errno, "the terminal does not say its mode: %m");
	raw = t->saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return msb_err_set(e, errno, "the terminal cannot be made raw: %m");
	t->fd = fd;
	return 0;
}

void term_restore(struct term *t)
{
	if (t->fd >= 0)
		(void)tcsetattr(
			t->fd, TCSADRAIN, &t->saved); /* a terminal that has gone needs none */
	t->fd = -1;
}

void term_size(unsigned int *rows, unsigned int *cols)
{
	static const int fds[] = {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO};
	struct winsize w;

	*rows = 24;
	*cols = 80;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (ioctl(fds[i], TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col) {
			*rows = w.ws_row;
			*cols = w.ws_col;
			return;
		}
}
