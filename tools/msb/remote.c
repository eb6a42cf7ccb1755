// SPDX-License-Identifier: Apache-2.0
// The same command on another host, by ssh.
#include "tools/msb/remote.h"
#include "tools/msb/shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int bad(const char *url, const char *what, struct msb_err *e)
{
	return msb_err_set(e, EINVAL, "%s %s; it is written ssh://[USER@]HOST[:PORT]", url, what);
}

int remote_parse(const char *url, struct remote *ret, struct msb_err *e)
{
	const char *p = url, *host, *end, *at;
	uint64_t port;
	size_t n;

	*ret = (struct remote){0};
	if (strncmp(url, "ssh://", 6) != 0)
		return bad(url, "is no host", e);
	p += 6;
	n = strcspn(p, "/");
	if (p[n] && p[n + 1])
		return bad(url, "has a path", e);
	end = p + n;
	at = memrchr(p, '@', n);
	host = at ? at + 1 : p;
	/* What begins with a dash would be an option of ssh's. */
	if (n == 0 || *p == '-' || host == end || *host == '-' || at == p)
		return bad(url, "names no host", e);
	for (const char *c = p; c < end; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return bad(url, "has a space in it", e);
	if (*host == '[') {
		const char *close = memchr(host, ']', (size_t)(end - host));

		if (!close || (close + 1 < end && close[1] != ':'))
			return bad(url, "has no address in its brackets", e);
		(void)snprintf(ret->host, sizeof(ret->host), "%.*s%.*s", (int)(host - p), p,
			(int)(close - host - 1), host + 1);
		p = close + 1 < end ? close + 2 : NULL;
	} else {
		const char *colon = memchr(host, ':', (size_t)(end - host));

		n = (size_t)((colon ?: end) - p);
		(void)snprintf(ret->host, sizeof(ret->host), "%.*s", (int)n, p);
		if (n >= sizeof(ret->host))
			return bad(url, "is too long", e);
		p = colon ? colon + 1 : NULL;
	}
	if (!p)
		return 0;
	(void)snprintf(ret->port, sizeof(ret->port), "%.*s", (int)(end - p), p);
	return end - p > 5 || msb_parse_u64(ret->port, 1, 65535, &port) < 0
		       ? bad(url, "has a bad port", e)
		       : 0;
}

void remote_command(struct remote *r, char **words)
{
	msb_str_adds(&r->command, "msb");
	for (; *words; words++) {
		msb_str_adds(&r->command, " ");
		shell_word(&r->command, *words);
	}
}

int remote_run(struct remote *r, struct msb_err *e)
{
	/* With a terminal at both ends the other msb has one, too. */
	const bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	const char *argv[REMOTE_MAX_WORDS] = {"ssh", tty ? "-t" : "-T"};
	int n = 2;

	if (r->command.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (tty)
		argv[n++] = "-q"; /* `Connection closed` is not ours to say */
	if (*r->port) {
		argv[n++] = "-p";
		argv[n++] = r->port;
	}
	argv[n++] = "--";
	argv[n++] = r->host;
	argv[n] = r->command.buf;
	(void)fflush(stdout);
	(void)execvp("ssh", (char *const *)argv);
	return msb_err_set(e, errno, "cannot run ssh: %m (package openssh-client)");
}
