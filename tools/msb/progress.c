// SPDX-License-Identifier: Apache-2.0
// How far a verb of images/ctl is.
#include "tools/msb/progress.h"
#include "base/cleanup.h"
#include "tools/msb/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- lines of the stream */

static unsigned long long number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (unsigned long long)n : 0;
}

static const char *text(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key)) ?: "";
}

/* Copies @from where it differs. */
static bool differs(char *to, size_t size, const char *from)
{
	if (!strncmp(to, from, size - 1))
		return false;
	(void)snprintf(to, size, "%s", from);
	return true;
}

static int layer_line(struct progress *p, const json_t *o)
{
	unsigned long long i = number(o, "layer");
	const char *digest = text(o, "digest");
	struct progress_layer *l;

	if (i < 1 || i > PROGRESS_MAX_LAYERS)
		return -1;
	l = &p->layer[i];
	if (p->layers < i)
		p->layers = (unsigned int)i;
	if (!strncmp(digest, "sha256:", 7))
		(void)snprintf(l->digest, sizeof(l->digest), "%s", digest + 7);
	l->done = number(o, "done_bytes");
	l->total = number(o, "total_bytes");
	return differs(l->state, sizeof(l->state), text(o, "state")) ? (int)i : -1;
}

int progress_line(struct progress *p, const char *line)
{
	json_t *o = json_loads(line, 0, NULL);
	int r = -1;

	if (json_object_get(o, "layer"))
		r = layer_line(p, o);
	else if (json_object_get(o, "stage"))
		r = differs(p->stage, sizeof(p->stage), text(o, "stage")) ? 0 : -1;
	else if (json_object_get(o, "end"))
		(void)snprintf(p->digest, sizeof(p->digest), "%s", text(o, "digest"));
	json_decref(o);
	return r;
}

/* ---- which stream it is */

static bool is_it(const json_t *o, const struct mnt_verb *v, const char *verb, const char *ref)
{
	if (strcmp(text(o, "verb"), verb) != 0)
		return false;
	return number(o, "pid") == (unsigned long long)v->tid ||
	       (ref && !strcmp(verb, "pull") && !strcmp(text(o, "ref"), ref) &&
		       number(o, "uid") == getuid());
}

/* The descriptor of stream @name where it is @v's and has not ended; else -1. */
static int try_stream(const struct mnt *m, const char *name, const struct mnt_verb *v,
	const char *verb, const char *ref)
{
	_cleanup_close_ int fd = -1;
	char path[64], buf[65536];
	bool mine;
	ssize_t n;
	json_t *o;

	(void)snprintf(path, sizeof(path), "images/pulls/%.32s", name);
	fd = openat(m->fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		return -1;
	buf[n] = '\0';
	o = json_loads(buf, JSON_DISABLE_EOF_CHECK, NULL);
	mine = is_it(o, v, verb, ref) &&
	       (number(o, "pid") == (unsigned long long)v->tid || !strstr(buf, "{\"end\":"));
	json_decref(o);
	return mine ? steal_fd(&fd) : -1;
}

static int find_stream(
	const struct mnt *m, const struct mnt_verb *v, const char *verb, const char *ref)
{
	int fd = openat(m->fd, "images/pulls", O_RDONLY | O_DIRECTORY | O_CLOEXEC), found = -1;
	_cleanup_closedir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	while (d && found < 0 && (de = readdir(d)))
		if (de->d_name[0] != '.')
			found = try_stream(m, de->d_name, v, verb, ref);
	return found;
}

/* ---- showing */

struct screen {
	bool on, terminal, colour;
	unsigned int drawn; /* lines that the cursor is below */
};

static unsigned int columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

static unsigned int rows(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 2 ? w.ws_row : 24;
}

static const char *words_for(const char *state)
{
	static const struct {
		const char *state, *words;
	} table[] = {
		{"wait", "Waiting"},
		{"download", "Downloading"},
		{"unpack", "Unpacking"},
		{"done", "Complete"},
		{"exists", "Already exists"},
		{"upload", "Pushing"},
		{"pack", "Compressing"},
		/* of the whole */
		{"manifest", "Reading the manifest"},
		{"index", "Merging the layers"},
		{"verify", "Verifying"},
		{"export", "Writing the archive"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(table[i].state, state))
			return table[i].words;
	return state;
}

void progress_bar(
	const struct progress_layer *l, unsigned int width, bool colour, struct msb_str *s)
{
	bool moving = l->total && strcmp(l->state, "done") != 0 && strcmp(l->state, "exists") != 0;
	unsigned int room = width > 65 ? width - 55 : 10, full;
	char done[16], total[16];

	room = room > 50 ? 50 : room;
	msb_str_addf(s, "%s%-12s%s: %-15s", colour ? "\033[1m" : "", l->digest,
		colour ? "\033[0m" : "", words_for(l->state));
	if (!moving)
		return;
	full = (unsigned int)((double)(l->done < l->total ? l->done : l->total) / (double)l->total *
			      room);
	msb_str_addf(s, "%s[", colour ? "\033[36m" : "");
	for (unsigned int i = 0; i < room; i++)
		msb_str_adds(s, i < full ? "=" : i == full ? ">" : " ");
	msb_str_addf(s, "]%s %s/%s", colour ? "\033[0m" : "", cli_bytes(l->done, done),
		cli_bytes(l->total, total));
}

/* All layers anew, over what was drawn. Where there are too many, those that are at work. */
static void draw(struct screen *sc, const struct progress *p)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	unsigned int width = columns(), max = rows() - 2, shown = 0, finished = 0;

	if (sc->drawn)
		msb_str_addf(&s, "\033[%uA", sc->drawn);
	for (unsigned int i = 1; i <= p->layers; i++)
		finished +=
			!strcmp(p->layer[i].state, "done") || !strcmp(p->layer[i].state, "exists");
	for (unsigned int i = 1; i <= p->layers && shown < max; i++) {
		const struct progress_layer *l = &p->layer[i];

		if (p->layers > max && (!strcmp(l->state, "done") || !strcmp(l->state, "exists")))
			continue;
		progress_bar(l, width, sc->colour, &s);
		msb_str_adds(&s, "\033[K\n");
		shown++;
	}
	for (; shown < sc->drawn && shown < max; shown++)
		msb_str_adds(&s, "\033[K\n");
	if (p->layers > max) {
		msb_str_addf(&s, "%u of %u layers\033[K\n", finished, p->layers);
		shown++;
	}
	sc->drawn = shown;
	if (!s.oom && s.len)
		(void)!write(STDERR_FILENO, s.buf, s.len); /* nobody looks any more */
}

static void say_change(const struct progress *p, int i)
{
	if (i > 0 && i <= PROGRESS_MAX_LAYERS)
		(void)fprintf(stderr, "%s: %s\n", p->layer[i].digest, words_for(p->layer[i].state));
	else if (strcmp(p->stage, "layers") != 0)
		(void)fprintf(stderr, "%s\n", words_for(p->stage));
}

/* Takes what the stream has; false: it has ended. */
static bool take(int fd, uint64_t *off, struct msb_str *rest, struct progress *p, struct screen *sc)
{
	char buf[16384], *line, *nl;
	ssize_t n = pread(fd, buf, sizeof(buf), (off_t)*off);
	bool any = false;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	*off += (uint64_t)n;
	msb_str_add(rest, buf, (size_t)n);
	for (line = rest->buf; line && (nl = strchr(line, '\n')); line = nl + 1) {
		int i;

		*nl = '\0';
		i = progress_line(p, line);
		any = true;
		if (i >= 0 && sc->on && !sc->terminal)
			say_change(p, i);
	}
	if (line) {
		rest->len -= (size_t)(line - rest->buf);
		memmove(rest->buf, line, rest->len + 1);
	}
	if (any && sc->on && sc->terminal)
		draw(sc, p);
	return true;
}

static int interrupts(sigset_t *old)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, old); /* valid arguments */
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Waits for the verb's end, showing its stream meanwhile. */
static void watch(const struct mnt *m, struct mnt_verb *v, const char *verb, const char *ref,
	struct progress *p, struct screen *sc, int sig_fd)
{
	_cleanup_str_ struct msb_str rest = MSB_STR_INIT;
	_cleanup_close_ int stream = -1;
	bool ended = false, told = false;
	uint64_t off = 0;

	for (;;) {
		struct pollfd pf[3] = {{.fd = v->done_fd, .events = POLLIN},
			{.fd = told ? -1 : sig_fd, .events = POLLIN},
			{.fd = ended ? -1 : stream, .events = POLLIN}};
		bool look = (stream < 0 && !ended) || told;

		/* The stream comes to be after the write has begun: looked for until it is there.
		 */
		if (poll(pf, 3, look ? 30 : -1) < 0 && errno != EINTR)
			return;
		if (stream < 0)
			stream = find_stream(m, v, verb, ref);
		while (stream >= 0 && !ended) {
			uint64_t before = off;

			ended = !take(stream, &off, &rest, p, sc);
			if (off == before)
				break;
		}
		if (pf[0].revents)
			return;
		/* Again until it has ended: a signal before the write began was nothing to it. */
		told |= pf[1].revents != 0;
		if (told)
			mnt_verb_interrupt(v);
	}
}

int progress_do(const struct mnt *m, const char *verb, const char *ref, const char *line,
	bool quiet, struct progress *ret, struct msb_err *e)
{
	struct screen sc = {.on = !quiet, .terminal = isatty(STDERR_FILENO)};
	struct signalfd_siginfo taken;
	struct mnt_verb v;
	sigset_t old;
	int sig_fd, r;

	sc.colour = cli_colours(STDERR_FILENO);
	*ret = (struct progress){0};
	if (mnt_dry())
		return mnt_do(m, "images/ctl", line, e);
	sig_fd = interrupts(&old);
	r = mnt_verb_begin(m, "images/ctl", line, &v, e);
	if (r == 0) {
		watch(m, &v, verb, ref, ret, &sc, sig_fd);
		r = mnt_verb_end(&v, e);
	}
	/* What was an answer to this does not end what comes after it. */
	while (sig_fd >= 0 && read(sig_fd, &taken, sizeof(taken)) > 0)
		;
	if (sig_fd >= 0)
		close(sig_fd);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* valid arguments */
	return r;
}
