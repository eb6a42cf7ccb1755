// SPDX-License-Identifier: Apache-2.0
// Exchanging the mounts of a running sandbox: all of it, or none.
/*
 * Theory of operation. A line that is new is first served by the file server, then bound by the
 * guest; one that is gone is first let go by the guest, and no longer served once nothing can fail
 * any more. Every step that was done is written down here, and undone backwards when a later one
 * fails. For the case that msbd is killed between, the state file holds both tables all the while
 * (sb->other_mounts): the next msbd makes what is there the one that counts, which is `mounts`, and
 * that becomes the new one in the commit that follows the last step that can fail.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/conf.h"
#include "ctl/mounts.h"
#include "ctl/op.h"
#include "ctl/report.h"
#include "vmm/agent.h"

#include <string.h>

enum act { SERVE, DROP, BIND, UNBIND };

struct step {
	enum act act;
	const struct ctl_share *s;
};

struct change {
	struct ctl_op *op;
	struct ctl_sandbox *sb;
	struct ctl_files_of of;
	struct ctl_table from, to; /* to come from, to go to */
	struct step done[6 * CTL_MAX_MOUNTS];
	size_t ndone;
	bool mute; /* the guest does not answer: it is not asked again */
	bool lost; /* the agent's process is not there: another one may do what is left */
};

static void change_free(struct change **x)
{
	if (*x) {
		ctl_table_done(&(*x)->from);
		ctl_table_done(&(*x)->to);
	}
	free(*x);
}

static struct change *change_new(struct ctl_op *op, const char *from, const char *to)
{
	struct change *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->op = op;
	x->sb = op->sb;
	x->of = (struct ctl_files_of){.c = op->sb->c,
		.f = &op->sb->files,
		.id = op->sb->id,
		.name = op->sb->name,
		.sb = op->sb};
	if (ctl_table_parse(from, &x->from) < 0 || ctl_table_parse(to, &x->to) < 0)
		change_free(&x);
	return x;
}

static int serve(struct change *x, const struct ctl_share *s, struct msb_err *e)
{
	struct ctl_share_fds fds;
	int r = ctl_share_open(x->sb, s, &fds, e);

	if (r < 0)
		return r;
	LOCK_SCOPE(&x->sb->files.lock);
	r = x->of.f->sock < 0 ? msb_err_set(e, ENODEV, "the file server is gone")
			      : ctl_share_up(&x->of, s, &fds, e);
	ctl_share_close(&fds);
	return r;
}

static void drop(struct change *x, const struct ctl_share *s)
{
	LOCK_SCOPE(&x->sb->files.lock);
	ctl_share_down(&x->of, s->name);
}

/* @undo: what was never told of, so that nobody has a right to it. */
static int guest(
	struct change *x, enum act act, const struct ctl_share *s, bool undo, struct msb_err *e)
{
	const struct agent_mount m = {s->name, s->path, s->readonly, false, NULL};
	char sock[108];
	int r;

	if (x->mute)
		return msb_err_set(e, EIO, "the guest does not answer");
	ctl_sock_path(x->sb->c, x->sb->id, "agent", sock);
	r = act == BIND ? agent_mount(sock, &m, x->op->cancel_fd, e)
			: agent_umount(sock, &m, undo, x->op->cancel_fd, e);
	x->mute = r == -ETIMEDOUT || r == -EINTR;
	x->lost |= r == -ENOTCONN;
	return r;
}

static int act(
	struct change *x, enum act a, const struct ctl_share *s, bool undo, struct msb_err *e)
{
	switch (a) {
	case SERVE: return serve(x, s, e);
	case DROP: drop(x, s); return 0;
	default: return guest(x, a, s, undo, e);
	}
}

static int step(struct change *x, enum act a, const struct ctl_share *s, struct msb_err *e)
{
	int r = ctl_doomed(x->sb, e);

	if (r < 0)
		return r;
	r = act(x, a, s, false, e);
	/* What failed on the way to the guest may have been done. */
	if (r == 0 || a == BIND || a == UNBIND)
		x->done[x->ndone++] = (struct step){a, s};
	return r;
}

/* Backwards. What cannot be undone is logged. */
static void undo(struct change *x)
{
	static const enum act inverse[] = {
		[SERVE] = DROP, [DROP] = SERVE, [BIND] = UNBIND, [UNBIND] = BIND};

	for (; x->ndone > 0; x->ndone--) {
		const struct step *d = &x->done[x->ndone - 1];
		struct msb_err e = {0};

		if (act(x, inverse[d->act], d->s, true, &e) < 0)
			log_warn("%s: cannot put the mounts back: %s: %s", x->sb->name, d->s->path,
				e.msg);
	}
}

/* Lets go of the lines of the present table that keep their changes where @s is to: one directory
 * has one server at a time. */
static int make_room(struct change *x, const struct ctl_share *s, bool *any, struct msb_err *e)
{
	int r = 0;

	*any = false;
	for (size_t i = 0; r == 0 && i < x->from.n; i++) {
		const struct ctl_share *old = &x->from.s[i];

		if (ctl_table_find(&x->to, old->name) || !ctl_share_collides(old, s))
			continue;
		*any = true;
		if (e)
			r = step(x, DROP, old, e);
	}
	return r;
}

static bool any_goes(const struct change *x)
{
	for (size_t i = 0; i < x->from.n; i++)
		if (!ctl_table_find(&x->to, x->from.s[i].name))
			return true;
	return false;
}

/* A disk comes and goes with its machine. */
static int no_disks(const struct ctl_table *a, const struct ctl_table *b, struct msb_err *e)
{
	for (size_t i = 0; i < a->n; i++)
		if (ctl_share_is_disk(&a->s[i]) && !ctl_table_find(b, a->s[i].name))
			return msb_err_set(e, EBUSY,
				"%s: volume %s is a disk, which a machine has from its start to its end; "
				"stop it first",
				a->s[i].path, a->s[i].volume);
	return 0;
}

/* Every step that may fail. */
static int forward(struct change *x, struct msb_err *e)
{
	const struct ctl_table *from = &x->from, *to = &x->to;
	bool later[CTL_MAX_MOUNTS] = {false}, goes = any_goes(x);
	int r = 0;

	for (size_t i = 0; r == 0 && i < to->n; i++) {
		struct msb_err why = {0};

		if (ctl_table_find(from, to->s[i].name))
			continue;
		(void)make_room(x, &to->s[i], &later[i], NULL); /* only looks */
		if (!later[i])
			r = step(x, SERVE, &to->s[i], &why);
		/* The guest may have the others in a way that this one cannot join. */
		if (r == -EBUSY && goes) {
			later[i] = true;
			r = 0;
		}
		if (r < 0)
			*e = why;
	}
	for (size_t i = from->n; r == 0 && i > 0; i--) /* what lies on top first */
		if (!ctl_table_find(to, from->s[i - 1].name))
			r = step(x, UNBIND, &from->s[i - 1], e);
	for (size_t i = 0; r == 0 && i < to->n; i++) {
		bool any;

		if (!later[i])
			continue;
		r = make_room(x, &to->s[i], &any, e);
		if (r == 0)
			r = step(x, SERVE, &to->s[i], e);
	}
	for (size_t i = 0; r == 0 && i < to->n; i++)
		if (!ctl_table_find(from, to->s[i].name))
			r = step(x, BIND, &to->s[i], e);
	return r;
}

/* Lock held. NULL: none any more. */
static int keep_other(struct ctl_sandbox *sb, const char *other, struct msb_err *e)
{
	char *copy = other ? strdup(other) : NULL;
	int r;

	if (other && !copy)
		return msb_err_set(e, ENOMEM, "no memory");
	r = ctl_db_value_set(sb->c->db, sb->id, ".mounts", other, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	free(sb->other_mounts);
	sb->other_mounts = copy;
	return 0;
}

/* From here on the new table counts. */
static int commit(struct change *x, struct msb_err *e)
{
	struct ctl_sandbox *sb = x->sb;
	char *now = NULL, *was = NULL;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	now = strdup(x->op->table);
	was = strdup(ctl_conf_value(sb, CONF_MOUNTS));
	if (now && was) {
		const struct ctl_db_value v[] = {
			{ctl_conf_key(CONF_MOUNTS), now}, {".mounts", was}, {NULL, NULL}};

		r = ctl_db_values_set(sb->c->db, sb->id, v, e);
	} else {
		r = msb_err_set(e, ENOMEM, "no memory");
	}
	if (r == 0) {
		free(sb->conf[CONF_MOUNTS]);
		free(sb->other_mounts);
		sb->conf[CONF_MOUNTS] = steal_ptr(now);
		sb->other_mounts = steal_ptr(was);
	}
	free(now);
	free(was);
	return r;
}

/* Lock held. */
static void tell(struct change *x, const char *kind, const struct ctl_share *s)
{
	_cleanup_str_ struct msb_str more = MSB_STR_INIT;

	msb_str_adds(&more, ",\"path\":");
	msb_str_add_json(&more, s->path, strlen(s->path));
	msb_str_addf(&more, ",\"backend\":\"%s\"", s->backend);
	ctl_event(x->sb->c, x->sb, kind, "%s", more.buf ?: "");
}

static void finish(struct change *x)
{
	const struct ctl_table *from = &x->from, *to = &x->to;

	for (size_t i = 0; i < from->n; i++)
		if (!ctl_table_find(to, from->s[i].name))
			drop(x, &from->s[i]);
	LOCK_SCOPE(&x->sb->c->lock);
	for (size_t i = from->n; i > 0; i--)
		if (!ctl_table_find(to, from->s[i - 1].name))
			tell(x, "unmount", &from->s[i - 1]);
	for (size_t i = 0; i < to->n; i++)
		if (!ctl_table_find(from, to->s[i].name))
			tell(x, "mount", &to->s[i]);
	ctl_mounts_settled(x->sb);
}

void ctl_mounts_settled(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	if (sb->other_mounts && keep_other(sb, NULL, &e) < 0)
		log_err("%s: %s", sb->name, e.msg);
}

int ctl_op_mounts_run(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	_cleanup_(change_free) struct change *x = NULL;
	int r;

	{
		LOCK_SCOPE(&sb->c->lock);
		x = change_new(op, ctl_conf_value(sb, CONF_MOUNTS), op->table);
		r = x ? keep_other(sb, op->table, e) : msb_err_set(e, ENOMEM, "no memory");
	}
	if (r < 0)
		return r;
	r = no_disks(&x->from, &x->to, e);
	if (r == 0)
		r = no_disks(&x->to, &x->from, e);
	if (r == 0)
		r = forward(x, e);
	if (r == 0)
		r = commit(x, e);
	if (r == 0) {
		finish(x);
		return 0;
	}
	undo(x);
	if (r == -ENOTCONN) {
		e->code = EIO;
		r = -EIO;
	}
	LOCK_SCOPE(&sb->c->lock);
	if (!x->lost) /* else it is mended, with the agent's next process */
		ctl_mounts_settled(sb);
	return r;
}

int ctl_op_mend_run(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	_cleanup_(change_free) struct change *x = NULL;
	struct msb_err why = {0};

	{
		LOCK_SCOPE(&sb->c->lock);
		x = change_new(op, sb->other_mounts ?: "", ctl_conf_value(sb, CONF_MOUNTS));
	}
	if (!x)
		return msb_err_set(e, ENOMEM, "no memory");
	for (size_t i = x->from.n; i > 0; i--) {
		const struct ctl_share *s = &x->from.s[i - 1];

		if (ctl_table_find(&x->to, s->name))
			continue;
		if (guest(x, UNBIND, s, true, &why) < 0)
			log_warn("%s: %s: %s", sb->name, s->path, why.msg);
		drop(x, s);
	}
	for (size_t i = 0; i < x->to.n; i++) {
		const struct ctl_share *s = &x->to.s[i];

		if (ctl_table_find(&x->from, s->name))
			continue;
		if (serve(x, s, &why) < 0 || guest(x, BIND, s, false, &why) < 0)
			log_warn("%s: %s: %s", sb->name, s->path, why.msg);
	}
	LOCK_SCOPE(&sb->c->lock);
	if (x->lost)
		return 0; /* once more, with its next process */
	log_info("%s: its mounts are those of its table again", sb->name);
	ctl_mounts_settled(sb);
	return 0;
}
