// SPDX-License-Identifier: Apache-2.0
// What is done to all sandboxes at once.
#include "ctl/instance.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/images.h"
#include "ctl/op.h"
#include "ctl/policy.h"
#include "ctl/pulls.h"
#include "ctl/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* No verb is under way and none may begin: the tables stand still, but for removals. */
static void each_server(struct ctl *c, void (*fn)(struct ctl_files_of *of))
{
	struct ctl_files_of of;

	for (size_t i = 0;; i++) {
		struct ctl_sandbox *sb;

		pthread_mutex_lock(&c->lock);
		sb = i < c->nsb ? ctl_sandbox_ref(c->sb[i]) : NULL;
		pthread_mutex_unlock(&c->lock);
		if (!sb)
			break;
		of = (struct ctl_files_of){
			.c = c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
		fn(&of);
		ctl_sandbox_unref(sb);
	}
	for (size_t i = 0;; i++) {
		struct ctl_image *img;

		pthread_mutex_lock(&c->lock);
		img = i < c->nimg ? ctl_image_ref(c->img[i]) : NULL;
		pthread_mutex_unlock(&c->lock);
		if (!img)
			break;
		ctl_files_of_image(img, &of);
		fn(&of);
		ctl_image_unref(img);
	}
}

struct stop_one {
	struct ctl_sandbox *sb;
	unsigned int *left; /* ctl.lock */
};

static void *stop_one(void *arg)
{
	struct stop_one *s = arg;
	struct ctl *c = s->sb->c;
	struct ctl_req q = {.c = c};
	struct msb_err e = {0};

	if (ctl_verb(&q, s->sb, VERB_STOP, &e) < 0 && ctl_verb(&q, s->sb, VERB_KILL, &e) < 0)
		log_err("%s: cannot stop it: %s", s->sb->name, e.msg);
	ctl_sandbox_unref(s->sb);
	pthread_mutex_lock(&c->lock);
	--*s->left;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	free(s);
	return NULL;
}

void ctl_stop_everything(struct ctl *c)
{
	unsigned int left = 0;

	pthread_mutex_lock(&c->lock);
	c->ending = c->stopping_all = true;
	(void)eventfd_write(c->stop_fd, 1);
	ctl_pulls_stop(c);
	for (size_t i = 0; i < c->nsb; i++) {
		struct stop_one *one;

		if (!c->sb[i]->op && ctl_state_ended(c->sb[i]->state))
			continue;
		one = malloc(sizeof(*one));
		if (!one)
			continue;
		*one = (struct stop_one){ctl_sandbox_ref(c->sb[i]), &left};
		left++;
		if (ctl_thread(stop_one, one) < 0) {
			one->sb->refs--;
			left--;
			free(one);
		}
	}
	while (left || c->nops)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	/* All at once: servers that a user has stopped take no longer than one of them does. */
	each_server(c, ctl_files_end_ask);
	each_server(c, ctl_files_end);
}

int ctl_shutdown(const struct ctl_req *q, struct msb_err *e)
{
	log_info("pid %d of user %u: shutdown", (int)q->pid, (unsigned int)q->uid);
	ctl_stop_everything(q->c);
	LOCK_SCOPE(&q->c->lock);
	q->c->stopped_all = true;
	return 0;
}

void ctl_answered(struct ctl *c)
{
	LOCK_SCOPE(&c->lock);
	if (c->stopped_all)
		(void)eventfd_write(c->exit_fd, 1);
}

static bool prunable(const struct ctl_sandbox *sb)
{
	return (sb->state == ST_STOPPED || sb->state == ST_FAILED) && !sb->op &&
	       !sb->restart_at_ms && !ctl_policy_wants(sb);
}

int ctl_prune(const struct ctl_req *q, struct msb_err *e)
{
	struct ctl *c = q->c;
	uint32_t after = 0; /* serial of the last that was looked at */

	for (;;) {
		struct ctl_sandbox *sb = NULL;
		struct msb_err why = {0};

		if (q->cancel && q->cancel->set)
			return msb_err_set(e, EINTR, "interrupted");
		pthread_mutex_lock(&c->lock);
		for (size_t i = 0; i < c->nsb; i++)
			if (c->sb[i]->serial > after && prunable(c->sb[i]) &&
				(!sb || c->sb[i]->serial < sb->serial))
				sb = c->sb[i];
		if (sb) {
			after = sb->serial;
			ctl_sandbox_ref(sb);
		}
		pthread_mutex_unlock(&c->lock);
		if (!sb)
			break;
		if (ctl_sandbox_remove(sb, &why) < 0)
			log_info("%s: not pruned: %s", sb->name, why.msg);
		ctl_sandbox_unref(sb);
	}
	return ctl_gc(q, false, e);
}
