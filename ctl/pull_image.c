// SPDX-License-Identifier: Apache-2.0
// Fetching an image: one call, and all who wait for it.
#include "base/cleanup.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/logins.h"
#include "ctl/pulls.h"
#include "ctl/thread.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

struct job {
	struct ctl_pull *p; /* a reference, given back by ctl_pull_end() */
	struct ctl_req q;   /* who began it; without its cancellation */
	struct img_ref ref;
};

static int fetch(struct job *j, struct img_imported *got, struct msb_err *e)
{
	struct img_call call = ctl_store_call(j->q.c, j->p, j->p->cancel_fd);
	struct ctl_registry *reg = calloc(1, sizeof(*reg));
	int r = reg ? ctl_registry_of(&j->q, j->ref.host, reg, e)
		    : msb_err_set(e, ENOMEM, "no memory");

	if (r == 0)
		r = img_pull(&call, &j->ref, &reg->reg, got, e);
	ctl_registry_wipe(reg);
	free(reg);
	return r;
}

static void *pull_thread(void *arg)
{
	_cleanup_free_ struct job *j = arg;
	struct ctl_image *old = NULL;
	struct img_imported got = {0};
	struct ctl *c = j->q.c;
	struct ctl_files_of of;
	struct msb_err e = {0};
	int r = fetch(j, &got, &e);

	pthread_mutex_lock(&c->lock);
	if (r == 0)
		r = ctl_image_set(c, j->p->ref, got.digest, got.size_bytes, &old, &e);
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		r = ctl_sync(c, &e);
	pthread_mutex_lock(&c->lock);
	ctl_pull_end(j->p, r, got.digest, &e);
	pthread_mutex_unlock(&c->lock);
	if (old) {
		ctl_files_of_image(old, &of);
		ctl_files_end(&of);
		ctl_image_unref(old);
	}
	return NULL;
}

/* Lock held. What the job has a reference to is the caller's too, with one more. */
static int begin(const struct ctl_req *q, const struct img_ref *ref, const char *name,
	struct ctl_pull **ret, struct msb_err *e)
{
	_cleanup_free_ struct job *j = calloc(1, sizeof(*j));
	int r = j ? ctl_pull_new(q, "pull", name, ret, e) : msb_err_set(e, ENOMEM, "no memory");

	if (r < 0)
		return r;
	j->p = *ret;
	j->q = *q;
	j->q.cancel = NULL;
	j->ref = *ref;
	j->p->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	(*ret)->refs++;
	if (j->p->cancel_fd < 0 || ctl_thread(pull_thread, j) < 0) {
		r = msb_err_set(e, EAGAIN, "too many threads or open files; try again");
		ctl_pull_end(j->p, r, NULL, e);
		ctl_pull_unref(*ret);
		return r;
	}
	(void)steal_ptr(j);
	return 0;
}

/* One that the same user began: another one's credentials are another's. Lock held. */
static struct ctl_pull *running(const struct ctl_req *q, const char *name)
{
	for (size_t i = 0; i < q->c->npulls; i++) {
		struct ctl_pull *p = q->c->pull[i];

		if (!p->ended && !p->given_up && p->uid == q->uid && !strcmp(p->verb, "pull") &&
			!strcmp(p->ref, name))
			return p;
	}
	return NULL;
}

static bool gave_up(const struct ctl_req *q, int op_fd)
{
	struct pollfd pf = {.fd = op_fd, .events = POLLIN};

	return (q->cancel && q->cancel->set) || poll(&pf, 1, 0) > 0;
}

int ctl_pull_image(const struct ctl_req *q, const struct img_ref *ref, int op_fd,
	char ret_digest[65], struct msb_err *e)
{
	_cleanup_str_ struct msb_str name = MSB_STR_INIT;
	struct ctl *c = q->c;
	struct ctl_pull *p;
	int r = 0;

	if (!strcmp(ref->host, IMG_REF_LOCAL_HOST))
		return msb_err_set(e, EINVAL,
			"%s/ is for what is imported; a registry there is written with its port",
			IMG_REF_LOCAL_HOST);
	img_ref_print(ref, &name);
	if (name.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	LOCK_SCOPE(&c->lock);
	p = running(q, name.buf);
	if (p)
		p->refs++;
	else
		r = begin(q, ref, name.buf, &p, e);
	if (r < 0)
		return r;
	p->waiting++;
	while (!p->ended && !gave_up(q, op_fd))
		pthread_cond_wait(&c->changed, &c->lock);
	p->waiting--;
	if (!p->ended) {
		r = msb_err_set(e, EINTR,
			"interrupted; what is complete stays, and the next pull goes on from there");
		if (!p->waiting) {
			p->given_up = true;
			(void)eventfd_write(p->cancel_fd, 1); /* a full counter is readable too */
		}
	} else if (p->result < 0) {
		r = msb_err_set(e, p->err.code, "%s", p->err.msg);
	} else if (ret_digest) {
		struct ctl_image *img = ctl_image_find(c, name.buf);

		(void)snprintf(ret_digest, 65, "%s", img ? img->digest : "");
	}
	ctl_pull_unref(p);
	return r;
}
