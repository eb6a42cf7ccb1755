// SPDX-License-Identifier: Apache-2.0
// `events`: what happened, and what happens.
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"
#include "tools/msb/sandbox.h"
#include "tools/msb/since.h"
#include "tools/msb/view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int since_parse(const char *text, long long now_usec, long long *ret, struct msb_err *e)
{
	static const char *const forms[] = {
		"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
	size_t n = strspn(text, "0123456789");
	uint64_t number;

	if (n && (!text[n] || (!text[n + 1] && strchr("smhd", text[n])))) {
		char digits[24];

		(void)snprintf(digits, sizeof(digits), "%.*s", (int)(n < 20 ? n : 20), text);
		if (msb_parse_u64(digits, 0, (uint64_t)INT64_MAX / 100000000000u, &number) == 0) {
			long long unit = text[n] == 'd'	  ? 86400
					 : text[n] == 'h' ? 3600
					 : text[n] == 'm' ? 60
							  : 1;

			*ret = text[n] ? now_usec - (long long)number * unit * 1000000
				       : (long long)number * 1000000;
			return 0;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);

		if (end && *end == '.')
			end += 1 + strspn(end + 1, "0123456789");
		if (end && (!*end || !strcmp(end, "Z"))) {
			*ret = (long long)timegm(&tm) * 1000000;
			return 0;
		}
	}
	return msb_err_set(e, EINVAL,
		"`%.60s` is no time: 10m, 2h, 2026-01-31T12:00:00 (UTC), or seconds since 1970",
		text);
}

struct want {
	const struct cli_args *a;
	long long since_usec;
	bool json;
};

static bool has(const json_t *o, const char *filter)
{
	size_t n = strcspn(filter, "=");
	char key[32];
	const json_t *v;

	(void)snprintf(key, sizeof(key), "%.*s", (int)n, filter);
	v = json_object_get(o, key);
	return filter[n] && json_is_string(v) && !strcmp(json_string_value(v), filter + n + 1);
}

static bool wanted(const struct want *w, const json_t *o)
{
	const char *at = json_string_value(json_object_get(o, "time")), *f;
	bool named = w->a->n == 0;
	long long usec;

	if (at && w->since_usec && since_parse(at, 0, &usec, NULL) == 0 &&
		usec < w->since_usec - w->since_usec % 1000000)
		return false;
	for (size_t i = 0; i < w->a->n; i++) {
		const char *name = json_string_value(json_object_get(o, "sandbox"));

		named |= name && !strcmp(name, w->a->word[i]);
	}
	for (size_t i = 0; named && (f = cli_next(w->a, "filter", &i));)
		if (!has(o, f))
			return false;
	return named;
}

/* `TIME SANDBOX EVENT KEY=VALUE...` */
static void words(json_t *o)
{
	static const char *const first[] = {"time", "sandbox", "event"};
	const char *key;
	json_t *v;

	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		printf("%s%s", i ? " " : "",
			json_string_value(json_object_get(o, first[i])) ?: "-");
	json_object_foreach(o, key, v)
	{
		_cleanup_str_ struct msb_str s = MSB_STR_INIT, shown = MSB_STR_INIT;
		bool skip = !strcmp(key, "seq") || !strcmp(key, "id");

		for (size_t i = 0; i < ARRAY_LEN(first); i++)
			skip |= !strcmp(key, first[i]);
		if (skip)
			continue;
		view_print(v, &s);
		msb_str_add_printable(&shown, s.buf ?: "", s.len);
		printf(strchr(shown.buf ?: "", ' ') ? " %s=\"%s\"" : " %s=%s", key,
			shown.buf ?: "");
	}
	printf("\n");
}

static void event(const struct want *w, const char *line)
{
	json_t *o = json_loads(line, 0, NULL);

	if (o && wanted(w, o)) {
		if (w->json)
			printf("%s\n", line);
		else
			words(o);
	}
	json_decref(o);
}

/* All that is there, and with @follow what comes, until nobody listens. */
static int lines(int fd, const struct want *w, bool follow, struct msb_err *e)
{
	_cleanup_str_ struct msb_str rest = MSB_STR_INIT;
	off_t off = 0;

	for (;;) {
		char buf[16384], *line, *nl;
		ssize_t n = pread(fd, buf, sizeof(buf), off);

		if (n < 0 && errno != EAGAIN)
			return msb_err_set(e, errno, "cannot read events: %m");
		if (n <= 0) {
			struct pollfd pf[2] = {{.fd = fd, .events = POLLIN},
				{.fd = STDOUT_FILENO}}; /* its reader's end */

			if (fflush(stdout) != 0 || !follow)
				return 0;
			if (poll(pf, 2, -1) < 0)
				return -errno;
			if (pf[1].revents & (POLLERR | POLLNVAL))
				return 0;
			continue;
		}
		off += n;
		msb_str_add(&rest, buf, (size_t)n);
		if (rest.oom)
			return msb_err_set(e, ENOMEM, "no memory");
		for (line = rest.buf; (nl = strchr(line, '\n')); line = nl + 1) {
			*nl = '\0';
			event(w, line);
		}
		rest.len -= (size_t)(line - rest.buf);
		memmove(rest.buf, line, rest.len + 1);
	}
}

static int events(const struct cli_args *a)
{
	const char *since = cli_get(a, "since");
	struct want w = {.a = a, .json = cli_json(a) > 0};
	_cleanup_close_ int fd = -1;
	struct msb_err e = {0};
	char path[80] = "events";
	struct timespec now;
	struct mnt m;
	int r = 0;

	if (cli_json(a) < 0)
		return CLI_FAILED;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* it is there */
	if (since)
		r = since_parse(since, now.tv_sec * 1000000LL, &w.since_usec, &e);
	for (size_t i = 0; r == 0 && i < a->n; i++)
		r = sandbox_name(a->word[i], &e);
	if (r == 0)
		r = mnt_open(&m, &e);
	/* One sandbox has its own, which its owner may read. */
	if (r == 0 && a->n == 1)
		(void)snprintf(path, sizeof(path), "%s/events", a->word[0]);
	if (r == 0)
		fd = r = mnt_stream(&m, path, O_NONBLOCK, &e);
	if (r >= 0)
		r = lines(fd, &w, cli_get(a, "follow"), &e);
	/* Those of the next msbd begin with it: all of them are new. */
	while (cli_get(a, "follow") && mnt_gone(-r)) {
		r = mnt_wait_again(&m, &e);
		if (r < 0)
			break;
		close(steal_fd(&fd));
		r = fd = mnt_open_file(&m, path, O_RDONLY | O_NONBLOCK, &e);
		if (r >= 0)
			r = lines(fd, &w, true, &e);
	}
	return cli_status(r, &e);
}

static const struct cli_option events_options[] = {
	CLI_OPTION('f', "follow", NULL, "go on with what comes"),
	CLI_OPTION(0, "since", "TIME", "no older ones: 10m, or 2026-01-31T12:00:00"),
	CLI_OPTION(0, "filter", "KEY=VALUE", "event=, state= or any other key", .many = true,
		.complete = "event= state= reason="),
	CLI_OPTION(0, "format", "FORMAT", "table, or json: as the files have them",
		.complete = "table json"),
	{0},
};

const struct cli_command cli_events_commands[] = {
	CLI_COMMAND("events", NULL, "[OPTION]... [NAME]...",
		"Print what happened, and what happens", 0, SIZE_MAX, events_options, events,
		.complete = CLI_SANDBOXES,
		.about =
			"Of the sandboxes that are named, or of everything: states and the reasons for them, "
			"commands that began and ended, mounts, images, volumes, limits that were met. The "
			"last 2048 are kept, 256 for one sandbox alone.\n"
			"A TIME is as `msb logs` has it. Filters must all be true.",
		.examples = "msb events --since 1h\n"
			    "# as it happens, until ^C\n"
			    "msb events -f --filter event=state\n"
			    "msb events --format json web",
		.see = "logs ps"),
	{0},
};
