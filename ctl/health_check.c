// SPDX-License-Identifier: Apache-2.0
// A health check under way: its connection to msb-agentd.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "ctl/conf.h"
#include "ctl/ended.h"
#include "ctl/exec.h"
#include "ctl/health.h"
#include "ctl/rlimits.h"
#include "ctl/supervise.h"
#include "vmm/agent.h"

#include <signal.h>
#include <string.h>

#define MESSAGES_AT_ONCE 16 /* then others have their turn: the descriptor stays readable */

/* Its arguments, pointing into the words; NULL at the end. */
static const char **argv_of(const struct ctl_health *h)
{
	static const char *const shell[] = {"/bin/sh", "-c"};
	size_t n = h->form == HEALTH_FORM_SHELL ? ARRAY_LEN(shell) : 0, at;
	const char **argv;

	for (at = 0; at < h->bytes; at += strlen(h->words + at) + 1)
		n++;
	argv = calloc(n + 1, sizeof(*argv));
	if (!argv)
		return NULL;
	n = 0;
	for (size_t i = 0; h->form == HEALTH_FORM_SHELL && i < ARRAY_LEN(shell); i++)
		argv[n++] = shell[i];
	for (at = strlen(h->words) + 1; at < h->bytes; at += strlen(h->words + at) + 1)
		argv[n++] = h->words + at;
	return argv;
}

static int ask(struct ctl_sandbox *sb, const char *const *argv, struct msb_err *e)
{
	_cleanup_(ctl_values_done) struct ctl_values v = {0};
	_cleanup_(ctl_rlimits_done) struct ctl_rlimits limits = {{NULL}};
	struct agent_exec x = {.argv = argv, .rlimits = (const char *const *)limits.v};
	char sock[108];
	int r = ctl_values_copy(sb, &v, e);

	if (r < 0)
		return r;
	if (ctl_rlimits_list(ctl_conf_value(sb, CONF_RLIMITS), "", &limits) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	x.env = (const char *const *)v.env;
	x.user = v.user;
	x.cwd = v.workdir;
	ctl_sock_path(sb->c, sb->id, "agent", sock);
	return agent_exec_ask(sock, &x, e);
}

int ctl_health_begin(struct ctl_sandbox *sb, struct msb_err *e)
{
	struct ctl_health_check *k = &sb->health.check;
	const char **argv = argv_of(&sb->health);
	int fd = argv ? ask(sb, argv, e) : msb_err_set(e, ENOMEM, "no memory");

	free(argv);
	if (fd < 0)
		return fd;
	if (ctl_supervise_check(sb, fd) < 0) {
		close(fd);
		return msb_err_set(e, EAGAIN, "it cannot be waited for: %m");
	}
	*k = (struct ctl_health_check){
		.sock = fd, .begun_ms = msb_now_ms(), .begun_usec = ctl_now_usec()};
	return 0;
}

void ctl_health_kill(struct ctl_sandbox *sb)
{
	struct msb_msg *m = malloc(sizeof(*m));

	/* Where that is not to be had it is hung up, which kills it a second later. */
	if (!m) {
		ctl_health_drop(sb);
		return;
	}
	msb_msg_init(m, "signal");
	msb_msg_set(m, "n", "%d", SIGKILL);
	if (msb_msg_send(sb->health.check.sock, m) < 0)
		ctl_health_drop(sb);
	free(m);
}

void ctl_health_drop(struct ctl_sandbox *sb)
{
	struct ctl_health_check *k = &sb->health.check;

	if (k->sock < 0)
		return;
	ctl_supervise_drop(sb->c, k->sock);
	close(k->sock);
	msb_str_done(&k->output);
	*k = (struct ctl_health_check){.sock = -1};
}

static void add_output(struct ctl_health_check *k, const char *p, size_t n)
{
	size_t room = CTL_HEALTH_OUTPUT_BYTES - k->output.len;

	k->cut |= n > room;
	msb_str_add(&k->output, p, n < room ? n : room); /* out of memory: it is missing */
}

/* The peer parses a guest's bytes: anything may stand in it. */
static void take(struct ctl_sandbox *sb, const struct msb_msg *m)
{
	struct ctl_health_check *k = &sb->health.check;
	const char *verb = msb_msg_verb(m);
	struct ctl_ended how;

	if (!strcmp(verb, "ok"))
		k->taken = true;
	if (!strcmp(verb, "out") || !strcmp(verb, "err"))
		add_output(k, msb_msg_payload_ptr(m), m->payload_bytes);
	if (!ctl_ended_take(m, &how))
		return;
	/* While its machine is being ended, or stands still, an end says nothing. */
	if (!k->late && sb->state == ST_RUNNING)
		ctl_health_result(sb, k->taken ? how.reason : "refused",
			k->taken ? how.exit_code : EXIT_SETUP,
			how.err.code && strcmp(how.reason, "exited") != 0 ? how.err.msg : "");
	ctl_health_drop(sb);
	sb->health.last_ms = msb_now_ms();
}

void ctl_health_event(struct ctl_sandbox *sb)
{
	static struct msb_msg m; /* too large for a small stack; one thread comes here */

	for (int i = 0; i < MESSAGES_AT_ONCE && sb->health.check.sock >= 0; i++) {
		int r = msb_msg_recv(sb->health.check.sock, &m);

		if (r == -EAGAIN)
			return;
		if (r < 0) { /* msb-agentd has ended, which says nothing of the guest */
			ctl_health_drop(sb);
			sb->health.last_ms = msb_now_ms();
			return;
		}
		msb_msg_close_fds(&m);
		take(sb, &m);
	}
}
