// SPDX-License-Identifier: Apache-2.0
// CPUs and memory of a machine that runs.
#include "ctl/resize.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/op.h"
#include "vmm/agent.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

static void note(struct ctl_sandbox *sb, const char *key, uint64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, v);
	ctl_sandbox_fact(sb, key, text);
}

void ctl_resize_room(struct ctl_sandbox *sb, struct vmm_spec *spec)
{
	uint64_t cpus = strtoull(ctl_conf_value(sb, CONF_MAX_CPUS), NULL, 10),
		 bytes = strtoull(ctl_conf_value(sb, CONF_MAX_MEMORY), NULL, 10);

	spec->max_cpus = cpus > spec->cpus ? (uint32_t)cpus : spec->cpus;
	spec->max_memory_bytes = bytes > spec->memory_bytes ? bytes : spec->memory_bytes;
	sb->room_cpus = spec->max_cpus;
	sb->room_memory_bytes = spec->max_memory_bytes;
	note(sb, ".room_cpus", sb->room_cpus);
	note(sb, ".room_memory_bytes", sb->room_memory_bytes);
}

/* What the machine has now. */
static const char *present(const struct ctl_sandbox *sb, enum ctl_conf_id id)
{
	return sb->was[id] ?: ctl_conf_value(sb, id);
}

/* Whether the machine was made so that @key can change at all: it has been given room. */
static bool fixed(const struct ctl_sandbox *sb, enum ctl_conf_id id, uint64_t room)
{
	const char *max = present(sb, id == CONF_CPUS ? CONF_MAX_CPUS : CONF_MAX_MEMORY);

	return !*max || strtoull(max, NULL, 10) < room;
}

bool ctl_resize_has_balloon(const struct ctl_sandbox *sb)
{
	return sb->room_memory_bytes && !fixed(sb, CONF_MEMORY, sb->room_memory_bytes);
}

int ctl_resize_check(
	const struct ctl_sandbox *sb, uint32_t cpus, uint64_t memory_bytes, struct msb_err *e)
{
	const struct {
		enum ctl_conf_id id;
		const char *max;
		uint64_t want, room;
	} rows[] = {{CONF_CPUS, "max_cpus", cpus, sb->room_cpus},
		{CONF_MEMORY, "max_memory_bytes", memory_bytes, sb->room_memory_bytes}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *key = ctl_conf_key(rows[i].id);

		if (!rows[i].want)
			continue;
		if (fixed(sb, rows[i].id, rows[i].room))
			return msb_err_set(e, EBUSY,
				"%s can only be set while no machine runs, unless it was started with a %s; "
				"in config the change waits for the next start",
				key, rows[i].max);
		if (rows[i].want > rows[i].room)
			return msb_err_set(e, EBUSY,
				"the machine was made with a %s of %" PRIu64
				": it cannot have more; in config the change waits for the next start",
				rows[i].max, rows[i].room);
	}
	return 0;
}

/* ---- the verb */

static int set_cpus(struct ctl_sandbox *sb, uint32_t want, uint32_t had, struct msb_err *e)
{
	char sock[108];
	int r;

	ctl_sock_path(sb->c, sb->id, "agent", sock);
	r = agent_cpus(sock, want, e);
	if (r < 0)
		(void)agent_cpus(sock, had, NULL); /* as many as could be switched */
	return r;
}

/* A guest that is left with nothing panics, so it is asked first what it can spare. */
static int can_spare(struct ctl_sandbox *sb, uint64_t bytes, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	struct wire_stats st = {.have = 0};
	uint64_t spare;
	char sock[108];
	int r;

	ctl_sock_path(sb->c, sb->id, "agent", sock);
	fd = agent_stats_ask(sock, e);
	if (fd < 0)
		return fd;
	r = msb_wait_fd(fd, POLLIN, CTL_RESIZE_ASK_MS);
	r = r < 0 ? msb_err_set(e, -r, "the guest does not say how much memory it uses: %s",
			    strerror(-r))
		  : agent_stats_answer(fd, &st, e);
	if (r < 0)
		return r;
	spare = st.v[WIRE_MEMORY_AVAILABLE_BYTES];
	if (bytes + CTL_RESIZE_LEFT_BYTES <= spare)
		return 0;
	return msb_err_set(e, EBUSY,
		"the guest uses too much to give %" PRIu64 " bytes back: it can spare %" PRIu64
		", and keeps %" PRIu64 " of that",
		bytes, spare, (uint64_t)CTL_RESIZE_LEFT_BYTES);
}

/* Waits until the guest has as much as was wished. */
static int await_memory(
	struct ctl_op *op, struct vmm *vmm, uint64_t want, uint64_t *have, struct msb_err *e)
{
	uint64_t until = msb_now_ms() + CTL_RESIZE_MS;
	struct pollfd pf = {.fd = op->cancel_fd, .events = POLLIN};

	for (;;) {
		int r = vmm_memory(vmm, op->sb->id, 0, have, e);

		if (r < 0 || *have == want)
			return r;
		if (msb_now_ms() > until)
			return msb_err_set(e, ETIMEDOUT,
				"the guest needs what it has: it came to %" PRIu64
				" bytes in %d s, not %" PRIu64,
				*have, CTL_RESIZE_MS / 1000, want);
		if (poll(&pf, 1, CTL_RESIZE_LOOK_MS) > 0)
			return msb_err_set(e, ECANCELED, "killed");
	}
}

static int set_memory(
	struct ctl_op *op, struct vmm *vmm, uint64_t want, uint64_t had, struct msb_err *e)
{
	struct msb_err no = {0};
	uint64_t have = had;
	int r = want < had ? can_spare(op->sb, had - want, e) : 0;

	if (r < 0)
		return r;
	r = vmm_set_memory(vmm, op->sb->id, want, e);
	if (r == 0)
		r = await_memory(op, vmm, want, &have, e);
	if (r == 0 || have == had)
		return r;
	/* Until it has that again the guest is short of memory. */
	if (vmm_set_memory(vmm, op->sb->id, had, &no) < 0 ||
		await_memory(op, vmm, had, &have, &no) < 0)
		log_warn("%s: its memory: %s, ignoring", op->sb->name, no.msg);
	return r;
}

/* It is the value from now on, and no other waits for the next start. Lock held. */
static int keep(struct ctl_sandbox *sb, enum ctl_conf_id id, uint64_t v, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char key[64];
	int r;

	if (!v)
		return 0;
	msb_str_addf(&s, "%" PRIu64, v);
	r = ctl_conf_store(sb, id, &s, e);
	if (r < 0 || !sb->was[id])
		return r;
	free(sb->was[id]);
	sb->was[id] = NULL;
	(void)snprintf(key, sizeof(key), ".was/%s", ctl_conf_key(id));
	ctl_sandbox_fact(sb, key, NULL);
	return 0;
}

int ctl_op_resize_run(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	uint64_t cpus, bytes;
	struct vmm *vmm;
	int r = ctl_vmm(sb->c, &vmm, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&sb->c->lock); /* what is wanted is there once it is free */
	cpus = strtoull(present(sb, CONF_CPUS), NULL, 10);
	bytes = strtoull(present(sb, CONF_MEMORY), NULL, 10);
	pthread_mutex_unlock(&sb->c->lock);
	if (op->cpus)
		r = set_cpus(sb, op->cpus, (uint32_t)cpus, e);
	if (r == 0 && op->memory_bytes) {
		r = set_memory(op, vmm, op->memory_bytes, bytes, e);
		if (r < 0 && op->cpus) /* both, or neither */
			(void)set_cpus(sb, (uint32_t)cpus, op->cpus, NULL);
	}
	if (r < 0)
		return r;
	LOCK_SCOPE(&sb->c->lock);
	r = keep(sb, CONF_CPUS, op->cpus, e);
	return r < 0 ? r : keep(sb, CONF_MEMORY, op->memory_bytes, e);
}

int ctl_resize_write(const struct ctl_req *q, struct ctl_sandbox *sb, enum ctl_conf_id id,
	const char *line, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	bool running, same;
	uint64_t v;
	int r;

	{
		LOCK_SCOPE(&sb->c->lock);
		running = !sb->gone && (sb->op || !ctl_state_ended(sb->state)) && !sb->foreign;
		r = ctl_conf_check(sb, id, line, n, &s, e);
		same = r == 0 && !strcmp(s.buf, present(sb, id));
	}
	if (r < 0)
		return r;
	if (!running)
		return ctl_conf_set(sb, id, line, n, e);
	v = strtoull(s.buf, NULL, 10);
	if (same) { /* what waited for the next start does not any more */
		LOCK_SCOPE(&sb->c->lock);
		return keep(sb, id, v, e);
	}
	return ctl_op_resize(
		q, sb, id == CONF_CPUS ? (uint32_t)v : 0, id == CONF_MEMORY ? v : 0, e);
}
