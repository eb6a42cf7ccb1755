// SPDX-License-Identifier: Apache-2.0
// exec: command lines in the guest.
#include "ctl/exec.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/job.h"
#include "ctl/op.h"
#include "ctl/rlimits.h"
#include "vmm/agent.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

void ctl_values_done(struct ctl_values *v)
{
	for (char **p = v->env; p && *p; p++)
		free(*p);
	free(v->env);
	free(v->user);
	free(v->workdir);
}

int ctl_values_get(struct ctl_sandbox *sb, struct ctl_values *v, struct msb_err *e)
{
	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (sb->state != ST_RUNNING)
		return msb_err_set(e, EBUSY, "%s is %s; %s", sb->name, ctl_state_name(sb->state),
			sb->state == ST_PAUSED	   ? "resume it first"
			: sb->state == ST_STARTING ? "wait for its start"
						   : "start it first");
	if (sb->foreign)
		return msb_err_set(e, EOPNOTSUPP,
			"%s is a mixtape: its guest has no agent of msb's that could run a command; see "
			"console",
			sb->name);
	return ctl_values_copy(sb, v, e);
}

int ctl_values_copy(const struct ctl_sandbox *sb, struct ctl_values *v, struct msb_err *e)
{
	v->env = calloc(sb->nenv + 1, sizeof(char *));
	if (!v->env)
		return msb_err_set(e, ENOMEM, "no memory");
	for (size_t i = 0; i < sb->nenv; i++)
		if (asprintf(&v->env[i], "%s=%s", sb->env[i].name, sb->env[i].value) < 0) {
			v->env[i] = NULL;
			return msb_err_set(e, ENOMEM, "no memory");
		}
	if (sb->conf[CONF_USER] && *sb->conf[CONF_USER])
		v->user = strdup(sb->conf[CONF_USER]);
	if (sb->conf[CONF_WORKDIR] && *sb->conf[CONF_WORKDIR])
		v->workdir = strdup(sb->conf[CONF_WORKDIR]);
	return 0;
}

/* Waits for a message of the job. -EINTR the caller is gone; -EAGAIN none, where @nonblock. */
static int next(const struct ctl_req *q, struct ctl_command *j, bool nonblock)
{
	struct pollfd pf[2] = {{.fd = j->sock, .events = POLLIN},
		{.fd = q->cancel ? q->cancel->fd : -1, .events = POLLIN}};

	while (poll(pf, 2, nonblock ? 0 : -1) < 0 && errno == EINTR)
		;
	/* First, because a command may print without end, and faster than it is read. */
	if (pf[1].revents)
		return -EINTR;
	return pf[0].revents ? msb_msg_recv(j->sock, &j->m) : -EAGAIN;
}

static void uncount(struct ctl_command *j)
{
	if (!j->counted)
		return;
	j->counted = false;
	j->sb->active_ms = msb_now_ms();
	j->sb->commands--;
}

static void end(struct ctl_command *j, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void end(struct ctl_command *j, int code, const char *fmt, ...)
{
	char msg[MSB_ERR_MAX];
	va_list ap;

	j->ended = true;
	uncount(j);
	if (!code)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap); /* cut on purpose */
	va_end(ap);
	j->result = msb_err_set(&j->err, code, "%s", msg);
}

/* What the message in j->m means. The peer parses a guest's bytes: anything may stand in it. */
static void take(struct ctl_command *j)
{
	const char *verb = msb_msg_verb(&j->m);
	uint64_t n = 0;

	msb_msg_close_fds(&j->m);
	if (!strcmp(verb, "out") || !strcmp(verb, "err")) {
		j->off = 0;
		j->bytes = j->m.payload_bytes;
	} else if (!strcmp(verb, "exit")) {
		if (msb_msg_get_u64(&j->m, "signal", &n) == 0 && n > 0 && n < 128)
			end(j, EREMOTEIO, "killed by signal %d (%s)", (int)n,
				sigdescr_np((int)n) ?: "unknown");
		else if (msb_msg_get_u64(&j->m, "code", &n) == 0 && n == 0)
			end(j, 0, "%s", "");
		else
			end(j, EREMOTEIO, "exit status %d", (int)(n & 0xff));
	} else if (!strcmp(verb, "error")) {
		struct msb_err e = {0};
		int code = -msb_msg_error(&j->m, &e);

		end(j, code, "%s", e.msg);
	}
}

static int step(const struct ctl_req *q, struct ctl_command *j, bool nonblock)
{
	int r = next(q, j, nonblock);

	if (r == -EINTR || r == -EAGAIN)
		return r;
	if (r < 0)
		end(j, ENODEV, "the machine, or its agent, ended before the command did");
	else
		take(j);
	return 0;
}

int ctl_command_start(const struct ctl_req *q, struct ctl_sandbox *sb, const char *line, size_t n,
	struct ctl_command **ret, struct msb_err *e)
{
	_cleanup_(ctl_values_done) struct ctl_values v = {0};
	_cleanup_free_ char *cmd = strndup(line, n);
	const char *const argv[] = {"/bin/sh", "-c", cmd, NULL};
	_cleanup_(ctl_rlimits_done) struct ctl_rlimits limits = {{NULL}};
	struct agent_exec x = {.argv = argv, .log = true, .rlimits = (const char *const *)limits.v};
	struct ctl_command *j;
	char sock[108];
	int r, fd;

	if (!cmd)
		return msb_err_set(e, ENOMEM, "no memory");
	pthread_mutex_lock(&sb->c->lock);
	r = ctl_values_get(sb, &v, e);
	if (r == 0 && ctl_rlimits_list(ctl_conf_value(sb, CONF_RLIMITS), "", &limits) < 0)
		r = msb_err_set(e, ENOMEM, "no memory");
	if (r == 0)
		x.job = ctl_job_number(sb);
	pthread_mutex_unlock(&sb->c->lock);
	if (r < 0)
		return r;
	x.env = (const char *const *)v.env;
	x.user = v.user;
	x.cwd = v.workdir;
	ctl_sock_path(sb->c, sb->id, "agent", sock);
	fd = agent_exec(sock, &x, e);
	if (fd < 0)
		return fd;
	j = calloc(1, sizeof(*j));
	if (!j) {
		close(fd);
		return msb_err_set(e, ENOMEM, "no memory");
	}
	j->sock = fd;
	j->sb = sb;
	j->counted = true;
	sb->commands++;
	sb->jobs_total++;
	/* The first message says whether it runs; what else may come first is output. */
	r = step(q, j, false);
	if (r == 0 && j->ended && j->result < 0 && j->err.code != EREMOTEIO)
		r = msb_err_set(e, j->err.code, "%s", j->err.msg);
	else if (r < 0)
		msb_err_set(e, EINTR, "interrupted");
	if (r < 0) {
		ctl_command_free(j);
		return r;
	}
	*ret = j;
	return 0;
}

struct ctl_command *ctl_command_free(struct ctl_command *j)
{
	if (j) {
		uncount(j);
		close(j->sock);
	}
	free(j);
	return NULL;
}

int ctl_command_read(const struct ctl_req *q, struct ctl_command *j, size_t max, bool nonblock,
	struct msb_str *s)
{
	while (!j->bytes && !j->ended) {
		int r = step(q, j, nonblock);

		if (r < 0)
			return r;
	}
	if (j->bytes) {
		size_t n = j->bytes < max ? j->bytes : max;

		msb_str_add(s, (const char *)msb_msg_payload_ptr(&j->m) + j->off, n);
		j->off += n;
		j->bytes -= n;
	}
	return s->oom ? -ENOMEM : 0;
}

bool ctl_command_ready(struct ctl_command *j)
{
	const struct ctl_req nobody = {0};

	/* One only, because a peer may send without end what is neither output nor the end. */
	if (!j->bytes && !j->ended)
		(void)step(&nobody, j, true); /* nothing yet is no failure */
	return j->bytes || j->ended;
}

int ctl_command_wait(const struct ctl_req *q, struct ctl_command *j, struct msb_err *e)
{
	while (!j->ended) {
		int r = step(q, j, false);

		j->bytes = 0;
		if (r < 0)
			return msb_err_set(e, EINTR, "interrupted; the command is hung up");
	}
	return j->result < 0 ? msb_err_set(e, j->err.code, "%s", j->err.msg) : 0;
}
