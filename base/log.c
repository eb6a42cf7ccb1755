// SPDX-License-Identifier: Apache-2.0
// The structured log. One write(2) a line, so lines of several processes on one O_APPEND file never
// mix.
#include "base/log.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *proc;
	char sandbox[64];
	int fd;
	int level;
	int tty;
	int journal;
	int self;     /* who we are to ourselves ... */
	char pid[16]; /* ... and to others, in whose PID namespace we may not be */
} lg = {.proc = "msb", .fd = 2, .level = MSB_INFO};

static const char *const names[] = {"err", "warn", "info", "debug"};
static const int sd_prio[] = {3, 4, 6, 7};

bool msb_log_is_journal(int fd)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void msb_log_init(const char *proc, const char *sandbox, int fd)
{
	const char *env = getenv("MSB_LOG");

	ssize_t n = readlink("/proc/self", lg.pid, sizeof(lg.pid) - 1);

	if (n <= 0)
		n = snprintf(lg.pid, sizeof(lg.pid), "%d", (int)getpid());
	lg.pid[n] = '\0';
	lg.self = (int)getpid();
	lg.proc = proc;
	(void)snprintf(lg.sandbox, sizeof(lg.sandbox), "%s", sandbox ? sandbox : "");
	lg.fd = fd < 0 ? 2 : fd;
	lg.tty = isatty(lg.fd);
	lg.journal = msb_log_is_journal(lg.fd);
	for (int i = 0; env && i < (int)(sizeof(names) / sizeof(names[0])); i++)
		if (!strcmp(env, names[i]))
			lg.level = i;
}

void msb_log(enum msb_log_level level, const char *fmt, ...)
{
	char text[1024];
	char line[4096], pid[16];
	struct msb_str s = MSB_STR_FIXED(line);
	struct timespec now;
	struct tm tm;
	va_list ap;

	if ((int)level > lg.level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut on purpose */
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	if (lg.journal)
		msb_str_addf(&s, "<%d>", sd_prio[level]);
	if (lg.tty) {
		msb_str_addf(&s, "%s %s%s%s: ", names[level], lg.proc, lg.sandbox[0] ? " " : "",
			lg.sandbox);
		msb_str_add_printable(&s, text, strlen(text));
	} else {
		/* A child that was forked since has no namespace of its own. */
		(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
		msb_str_addf(&s,
			"{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ\",\"level\":\"%s\",\"proc\":\"%s\",\"pid\":%s,",
			tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			tm.tm_sec, now.tv_nsec / 1000, names[level], lg.proc,
			(int)getpid() == lg.self ? lg.pid : pid);
		if (lg.sandbox[0]) {
			msb_str_adds(&s, "\"sandbox\":");
			msb_str_add_json(&s, lg.sandbox, strlen(lg.sandbox));
			msb_str_adds(&s, ",");
		}
		msb_str_adds(&s, "\"msg\":");
		msb_str_add_json(&s, text, strlen(text));
		msb_str_adds(&s, "}");
	}
	msb_str_adds(&s, "\n");
	(void)!write(lg.fd, s.buf, s.len); /* a log that cannot be written has nowhere to say so */
}
