// SPDX-License-Identifier: Apache-2.0
// Jobs: making them, what is set before they start, and when they go.
#include "ctl/job_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "ctl/argv.h"
#include "ctl/conf.h"
#include "ctl/handle.h"
#include "ctl/line.h"
#include "ctl/report.h"
#include "ctl/rlimits.h"
#include "ctl/run_main.h"

#include <inttypes.h>
#include <string.h>

#define NUMBER_STRIDE 64 /* numbers that are written down at once */
#define NUMBER_MAX    0xffffff

const char *ctl_job_state_name(enum ctl_job_state s)
{
	static const char *const names[] = {"created", "starting", "running", "ended"};

	return names[s];
}

const char *ctl_job_close_name(enum ctl_job_close k)
{
	static const char *const names[] = {"eof", "hangup", "nothing"};

	return names[k];
}

int ctl_job_at_close(struct ctl_job *j, const char *name, struct msb_err *e)
{
	for (int k = 0; k < JOB_CLOSE_KINDS; k++)
		if (!strcmp(name, ctl_job_close_name((enum ctl_job_close)k))) {
			j->at_close = (enum ctl_job_close)k;
			job_marked(j);
			return 0;
		}
	return msb_err_set(
		e, EINVAL, "at-close is `eof`, `hangup` or `nothing`, not `%.32s`", name);
}

/* ---- their lives */

uint32_t ctl_job_number(struct ctl_sandbox *sb)
{
	char text[16];

	if (++sb->next_job > NUMBER_MAX)
		sb->next_job = sb->job_bound = 1;
	while (ctl_job_find(sb, sb->next_job))
		sb->next_job++;
	if (sb->next_job > sb->job_bound) {
		sb->job_bound = sb->next_job + NUMBER_STRIDE;
		(void)snprintf(text, sizeof(text), "%u", sb->job_bound);
		ctl_sandbox_fact(sb, ".jobs", text); /* a new msbd goes on from there */
	}
	return sb->next_job;
}

struct ctl_job *job_alloc(struct ctl_sandbox *sb, uint32_t number)
{
	struct ctl_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->sb = sb;
	j->refs = 1;
	j->number = number;
	j->serial = ++sb->c->next_serial;
	j->sock = -1;
	j->exit_code = -1;
	j->created_usec = ctl_now_usec();
	pthread_cond_init(&j->changed, NULL);
	return j;
}

/* Every request for a file of a job names the job by that. */
static struct ctl_job **chain(struct ctl *c, uint32_t serial)
{
	return &c->job[serial % CTL_JOB_CHAINS];
}

void job_insert(struct ctl_job *j)
{
	struct ctl_job **at = &j->sb->jobs, **all = chain(j->sb->c, j->serial);

	while (*at && (*at)->number < j->number)
		at = &(*at)->next;
	j->next = *at;
	*at = j;
	j->chained = *all;
	*all = j;
	j->sb->njobs++;
}

static void take_out(struct ctl_job *j)
{
	struct ctl_job **at = &j->sb->jobs, **all = chain(j->sb->c, j->serial);

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	while (*all != j)
		all = &(*all)->chained;
	*all = j->chained;
	j->sb->njobs--;
}

int ctl_job_new(struct ctl_sandbox *sb, struct ctl_job **ret, struct msb_err *e)
{
	struct ctl_job *j;

	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (sb->njobs == CTL_MAX_JOBS)
		return msb_err_set(e, EDQUOT,
			"%s has %d jobs, the most there can be; close those that have ended",
			sb->name, CTL_MAX_JOBS);
	j = job_alloc(sb, ctl_job_number(sb));
	if (!j)
		return msb_err_set(e, ENOMEM, "no memory");
	job_insert(j);
	*ret = j;
	return 0;
}

struct ctl_job *ctl_job_find(const struct ctl_sandbox *sb, uint32_t number)
{
	for (struct ctl_job *j = sb->jobs; j; j = j->next)
		if (j->number == number)
			return j;
	return NULL;
}

struct ctl_job *ctl_job_by_serial(struct ctl *c, uint32_t serial)
{
	struct ctl_job *j = *chain(c, serial);

	while (j && j->serial != serial)
		j = j->chained;
	return j;
}

struct ctl_job *ctl_job_ref(struct ctl_job *j)
{
	j->refs++;
	return j;
}

static void env_done(struct ctl_env *v)
{
	free(v->name);
	free(v->value);
}

static void job_free(struct ctl_job *j)
{
	if (j->sock >= 0)
		close(j->sock);
	for (int i = 0; i < JOB_VALUES; i++)
		free(j->values[i]);
	for (size_t i = 0; i < j->nenv; i++)
		env_done(&j->env[i]);
	free(j->env);
	free(j->argv);
	free(j->argv_raw);
	free(j->buf);
	pthread_cond_destroy(&j->changed);
	free(j);
}

void ctl_job_unref(struct ctl_job *j)
{
	if (--j->refs == 0)
		job_free(j);
}

static void drop(struct ctl_job *j)
{
	take_out(j);
	j->gone = true;
	job_forget(j);
	pthread_cond_broadcast(&j->changed);
	ctl_job_unref(j);
}

/* What nobody holds any more, and nobody asked to keep. */
static void drop_unwanted(struct ctl_job *j)
{
	if (!j->gone && !j->handles && !j->keep && !j->rejoin &&
		(j->state == JOB_CREATED || j->state == JOB_ENDED))
		drop(j);
}

void ctl_jobs_drop(struct ctl_sandbox *sb)
{
	while (sb->jobs)
		drop(sb->jobs);
}

void ctl_job_opened(struct ctl_job *j, bool writes)
{
	j->handles++;
	j->writers += writes;
}

void ctl_job_closed(struct ctl_job *j, bool writes)
{
	struct msb_err e;

	j->handles--;
	j->writers -= writes;
	if (!j->handles && j->rejoin)
		return; /* who only looked at it, perhaps: see ctl_jobs_rejoin_over() */
	if (!j->handles && j->at_close == JOB_CLOSE_HANGUP)
		job_hang_up(j);
	/* Its input ends with the last one who writes it, or with the last one who could. */
	else if (j->at_close != JOB_CLOSE_NOTHING &&
		 ((writes && !j->writers) || (!j->handles && !j->keep)))
		(void)ctl_job_close_stdin(j, &e); /* it may not run */
	drop_unwanted(j);
}

void ctl_job_keep(struct ctl_job *j, bool on)
{
	j->keep = on;
	job_marked(j);
	drop_unwanted(j);
}

void ctl_job_end(struct ctl_job *j, const char *reason, int exit_code, int signal)
{
	struct ctl *c = j->sb->c;

	if (j->state == JOB_ENDED)
		return;
	j->state = JOB_ENDED;
	j->changes++;
	j->reason = reason;
	j->exit_code = exit_code;
	j->signal = signal;
	j->ended_usec = ctl_now_usec();
	j->sb->active_ms = msb_now_ms();
	ctl_event(c, j->sb, "job_ended", ",\"job\":%u,\"reason\":\"%s\",\"exit_code\":%d",
		j->number, reason, exit_code);
	pthread_cond_broadcast(&j->changed);
	ctl_poll_wake_job(j);
	ctl_main_ended(j);
	drop_unwanted(j);
}

/* ---- what is set before it starts */

static int settable(const struct ctl_job *j, struct msb_err *e)
{
	if (j->gone)
		return msb_err_set(e, ENODEV, "the job is gone");
	return j->state == JOB_CREATED
		       ? 0
		       : msb_err_set(e, EBUSY, "job %u is %s: set it up before it is started",
				 j->number, ctl_job_state_name(j->state));
}

static int argv_parse(const char *p, size_t n, struct msb_str *ret, struct msb_err *e)
{
	bool nul = n && memchr(p, '\0', n);
	int r = 0;

	if (n && p[0] == '[') {
		r = ctl_argv_from_json("argv", p, n, ret, e);
	} else {
		/* Of one word the newline is the writer's habit; between NULs it is a byte. */
		if (!nul && n && p[n - 1] == '\n')
			n--;
		msb_str_add(ret, p, n);
		if (n && p[n - 1] != '\0')
			msb_str_add(ret, "", 1);
	}
	if (r == 0 && ret->oom)
		r = msb_err_set(e, ENOMEM, "no memory");
	if (r == 0 && ret->len > CTL_MAX_ARGV_BYTES)
		r = msb_err_set(e, E2BIG, "the arguments of a job have at most %d bytes",
			CTL_MAX_ARGV_BYTES);
	if (r == 0 && (ret->len == 0 || !ret->buf[0]))
		r = msb_err_set(e, EINVAL,
			"argv names no program: write words with a NUL after each, or a JSON array");
	return r;
}

int ctl_job_set_argv(struct ctl_job *j, const char *p, size_t n, bool more, struct msb_err *e)
{
	_cleanup_str_ struct msb_str raw = MSB_STR_INIT, s = MSB_STR_INIT;
	int r = settable(j, e);

	if (r < 0)
		return r;
	if (more)
		msb_str_add(&raw, j->argv_raw, j->argv_raw_bytes);
	msb_str_add(&raw, p, n);
	/* What is kept to be gone on with may hold more than the arguments: escapes and white
	 * space. */
	if (raw.len > CTL_MAX_ARGV_TEXT)
		return msb_err_set(e, E2BIG, "argv, as it is written, has at most %d bytes",
			CTL_MAX_ARGV_TEXT);
	r = raw.oom ? msb_err_set(e, ENOMEM, "no memory") : argv_parse(raw.buf, raw.len, &s, e);
	if (r < 0)
		return r;
	free(j->argv);
	free(j->argv_raw);
	j->argv_bytes = s.len;
	j->argv = steal_ptr(s.buf);
	j->argv_raw_bytes = raw.len;
	j->argv_raw = steal_ptr(raw.buf);
	s = raw = (struct msb_str)MSB_STR_INIT;
	return 0;
}

void ctl_job_get_argv(const struct ctl_job *j, struct msb_str *s)
{
	if (!j->argv_bytes) {
		msb_str_adds(s, "\n");
		return;
	}
	for (size_t at = 0; at < j->argv_bytes; at += strlen(j->argv + at) + 1)
		if (!msb_utf8_valid(j->argv + at, strlen(j->argv + at))) {
			msb_str_add(s, j->argv, j->argv_bytes);
			return;
		}
	ctl_argv_to_json(j->argv, j->argv_bytes, s);
	msb_str_adds(s, "\n");
}

static int check_cwd(const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (*text && *text != '/')
		return msb_err_set(e, EINVAL, "cwd `%s` is not an absolute path", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_user(const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strlen(text) > CTL_MAX_USER || strpbrk(text, " \t/"))
		return msb_err_set(e, EINVAL,
			"`%s` is not a user: USER[:GROUP[:GROUP,...]], by name or number", text);
	msb_str_adds(ret, text);
	return 0;
}

static int check_size(const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct ctl_words w;
	uint64_t rows, cols;

	if (!*text || strcmp(text, "0") == 0) {
		msb_str_adds(ret, "0");
		return 0;
	}
	if (ctl_words_split(text, strlen(text), &w, NULL) < 0 || w.n != 2 ||
		msb_parse_u64(w.w[0], 1, UINT16_MAX, &rows) < 0 ||
		msb_parse_u64(w.w[1], 1, UINT16_MAX, &cols) < 0)
		return msb_err_set(e, EINVAL, "tty is 0, or `ROWS COLS`, not `%s`", text);
	msb_str_addf(ret, "%" PRIu64 " %" PRIu64, rows, cols);
	return 0;
}

static int check_timeout(const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_u64(text, 0, CTL_MAX_JOB_TIMEOUT_SEC, &v);

	if (r < 0)
		return msb_err_set(e, -r, "timeout_sec is 0 (none) to %d, not `%s`",
			CTL_MAX_JOB_TIMEOUT_SEC, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int check_flag(const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
		return msb_err_set(e, EINVAL, "entrypoint is 0 or 1, not `%s`", text);
	msb_str_adds(ret, text);
	return 0;
}

static const struct {
	const char *def;
	int (*check)(const char *text, struct msb_str *ret, struct msb_err *e);
	bool table; /* lines of its own */
} values[JOB_VALUES] = {
	[JOB_CWD] = {"", check_cwd, false},
	[JOB_USER] = {"", check_user, false},
	[JOB_TTY] = {"0", check_size, false},
	[JOB_TIMEOUT] = {"0", check_timeout, false},
	[JOB_RLIMITS] = {"", ctl_rlimits_check, true},
	[JOB_ENTRYPOINT] = {"0", check_flag, false},
};

int ctl_job_set(struct ctl_job *j, enum ctl_job_value v, const char *p, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_free_ char *text = strndup(p, n);
	int r = settable(j, e);

	if (r == 0 && !text)
		r = msb_err_set(e, ENOMEM, "no memory");
	if (r == 0)
		r = values[v].check(text, &s, e);
	msb_str_add(&s, "", 0);
	if (r == 0 && s.oom)
		r = msb_err_set(e, ENOMEM, "no memory");
	if (r < 0)
		return r;
	free(j->values[v]);
	j->values[v] = steal_ptr(s.buf);
	s = (struct msb_str)MSB_STR_INIT;
	return 0;
}

void ctl_job_get(const struct ctl_job *j, enum ctl_job_value v, struct msb_str *s)
{
	msb_str_adds(s, j->values[v] ?: values[v].def);
	if (!values[v].table)
		msb_str_adds(s, "\n");
}

/* ---- variables */

struct ctl_env *ctl_job_env_find(const struct ctl_job *j, const char *name)
{
	for (size_t i = 0; i < j->nenv; i++)
		if (!strcmp(j->env[i].name, name))
			return &j->env[i];
	return NULL;
}

struct ctl_env *ctl_job_env_by_serial(const struct ctl_job *j, uint32_t serial)
{
	for (size_t i = 0; i < j->nenv; i++)
		if (j->env[i].serial == serial)
			return &j->env[i];
	return NULL;
}

static int env_add(struct ctl_job *j, const char *name, struct msb_err *e)
{
	struct ctl_env *p = realloc(j->env, (j->nenv + 1) * sizeof(*p));
	struct ctl_env v = {++j->next_env, strdup(name), strdup("")};

	if (p)
		j->env = p;
	if (!p || !v.name || !v.value) {
		env_done(&v);
		return msb_err_set(e, ENOMEM, "no memory");
	}
	p[j->nenv++] = v;
	j->env_bytes += strlen(name) + 2;
	return 0;
}

int ctl_job_set_env(struct ctl_job *j, const char *name, const char *value, size_t n,
	struct ctl_env **ret, struct msb_err *e)
{
	struct ctl_env *v = ctl_job_env_find(j, name);
	char *copy;
	int r = settable(j, e);

	if (r < 0)
		return r;
	if (strlen(name) > CTL_MAX_ENV_NAME || !ctl_env_name_valid(name))
		return msb_err_set(e, EINVAL,
			"`%.32s` is not a variable's name: up to %d letters, digits and _, no digit first",
			name, CTL_MAX_ENV_NAME);
	if (!v && j->nenv == CTL_MAX_ENV)
		return msb_err_set(e, EDQUOT, "a job has at most %d variables", CTL_MAX_ENV);
	if (j->env_bytes + (v ? 0 : strlen(name) + 2) + n - (v ? strlen(v->value) : 0) >
		CTL_MAX_JOB_ENV_BYTES)
		return msb_err_set(e, E2BIG, "the variables of a job have at most %d bytes",
			CTL_MAX_JOB_ENV_BYTES);
	r = v ? 0 : env_add(j, name, e);
	if (r < 0)
		return r;
	v = ctl_job_env_find(j, name);
	*ret = v;
	if (!value)
		return 0;
	copy = strndup(value, n);
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	j->env_bytes += n - strlen(v->value);
	free(v->value);
	v->value = copy;
	return 0;
}
