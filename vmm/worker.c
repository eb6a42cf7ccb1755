// SPDX-License-Identifier: Apache-2.0
// The requests of msb-vmm.
/*
 * Theory of operation
 *
 * One thread reads the socket, checks each request and queues it; up to WORKER_THREADS others carry
 * them out and answer as they finish. A start takes as long as a QEMU's start; what stops machines
 * must not wait behind starts, so that at most WORKER_MAX_STARTS threads start something. libvirt's
 * event thread reports ends. The process has no state of its own: libvirt keeps the machines in
 * files, so it may end at any instruction, and does so when the socket closes.
 *
 * Requests: start {id cpus memory_bytes max_cpus max_memory_bytes agent console cmdline
 * fs=TAG\tSOCKET... disk=FORMAT, with its overlay and its base as descriptors, kernel initrd
 * own_cmdline}, resume {id}, suspend {id}, destroy {id}, button {id}, pid {id}, memory {id
 * memory_bytes}, has {id}, list {}; each with seq, answered "ok" {seq ...} or "error" {seq code
 * msg}. Unasked: "ready" {accel} or "failed" {code msg} first, then "event" {id how detail}.
 */
#include "vmm/worker.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/msg.h"
#include "vmm/kvm_probe.h"

#include <string.h>

struct request {
	struct request *next;
	uint64_t seq;
	const struct verb *verb;
	struct vmm_spec spec; /* of a start; of the others only the id */
};

struct worker {
	int sock;
	struct machines *machines;
	pthread_mutex_t send_lock; /* one message at a time on sock */
	pthread_mutex_t lock;	   /* all below */
	pthread_cond_t work;
	struct request *first, **last;
	unsigned int queued, idle, threads, starts;
};

static void send_msg(struct worker *w, const struct msb_msg *m)
{
	LOCK_SCOPE(&w->send_lock);
	int r = msb_msg_send(w->sock, m);

	if (r < 0 && r != -EPIPE) /* at -EPIPE the reader is about to end the process */
		log_err("answer lost: %s", strerror(-r));
}

static void reply_err(struct worker *w, uint64_t seq, const struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "error");
	msb_msg_set(&m, "seq", "%llu", (unsigned long long)seq);
	msb_msg_set(&m, "code", "%d", e->code ? e->code : EIO);
	msb_msg_set(&m, "msg", "%s", e->code ? e->msg : strerror(EIO));
	send_msg(w, &m);
}

static void on_ended(void *arg, const char *id, enum vmm_end how, const char *detail)
{
	struct msb_msg m;

	msb_msg_init(&m, "event");
	msb_msg_set(&m, "id", "%s", id);
	msb_msg_set(&m, "how", "%d", (int)how);
	msb_msg_set(&m, "detail", "%s", detail);
	send_msg(arg, &m);
}

/* ---- verbs: carry out @r; what is to be returned goes into @m, an "ok" with its seq set */

static int do_start(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_start(w->machines, &r->spec, e);
}

static int do_resume(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_resume(w->machines, r->spec.id, e);
}

static int do_suspend(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_suspend(w->machines, r->spec.id, e);
}

static int do_destroy(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_destroy(w->machines, r->spec.id, e);
}

static int do_button(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_button(w->machines, r->spec.id, e);
}

static int do_pid(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	pid_t pid = 0;
	int rc = machines_pid(w->machines, r->spec.id, &pid, e);

	msb_msg_set(m, "pid", "%d", (int)pid);
	return rc;
}

static int do_memory(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	return machines_set_memory(w->machines, r->spec.id, r->spec.memory_bytes, e);
}

static int do_has(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	uint64_t bytes = 0;
	int rc = machines_memory(w->machines, r->spec.id, &bytes, e);

	msb_msg_set(m, "memory_bytes", "%llu", (unsigned long long)bytes);
	return rc;
}

static int do_list(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e)
{
	char(*ids)[33] = calloc(WORKER_MAX_MACHINES, sizeof(*ids));
	int n = ids ? machines_list(w->machines, ids, e) : msb_err_set(e, ENOMEM, "out of memory");

	if (n > 0)
		msb_msg_payload(m, ids, (size_t)n * sizeof(*ids));
	free(ids);
	return n < 0 ? n : 0;
}

static const struct verb {
	const char *name;
	int (*fn)(struct worker *w, struct request *r, struct msb_msg *m, struct msb_err *e);
} verbs[] = {
	{"start", do_start},
	{"resume", do_resume},
	{"suspend", do_suspend},
	{"destroy", do_destroy},
	{"button", do_button},
	{"pid", do_pid},
	{"memory", do_memory},
	{"has", do_has},
	{"list", do_list},
};
_Static_assert(WORKER_MAX_MACHINES * 33 + 256 < MSB_MSG_MAX, "a list fits into one message");

static bool is_start(const struct request *r)
{
	return r->verb->fn == do_start;
}

static void carry_out(struct worker *w, struct request *r)
{
	struct msb_err e = {0};
	struct msb_msg m;
	int rc;

	msb_msg_init(&m, "ok");
	msb_msg_set(&m, "seq", "%llu", (unsigned long long)r->seq);
	rc = r->verb->fn(w, r, &m, &e);
	if (rc < 0 && !e.code)
		msb_err_set(&e, -rc, "%s", strerror(-rc));
	if (rc < 0)
		reply_err(w, r->seq, &e);
	else
		send_msg(w, &m);
	if (rc == -ETIMEDOUT && r->verb->fn == do_destroy) {
		log_err("libvirt does not let go of machine %s; the next worker puts that in order",
			r->spec.id);
		_exit(1);
	}
}

/* The first request that may run now, taken off the queue. Under w->lock. */
static struct request *next_request(struct worker *w)
{
	for (struct request **p = &w->first; *p; p = &(*p)->next) {
		struct request *r = *p;

		if (is_start(r) && w->starts == WORKER_MAX_STARTS)
			continue;
		*p = r->next;
		if (w->last == &r->next)
			w->last = p;
		w->queued--;
		return r;
	}
	return NULL;
}

static struct request *request_free(struct request *r)
{
	if (r && r->spec.disk.overlay_fd >= 0)
		close(r->spec.disk.overlay_fd);
	if (r && r->spec.disk.base_fd >= 0)
		close(r->spec.disk.base_fd);
	for (unsigned int i = 0; r && i < r->spec.nvolumes; i++)
		if (r->spec.volume[i].fd >= 0)
			close(r->spec.volume[i].fd);
	free(r);
	return NULL;
}

static void *pool_thread(void *arg)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct request *r = next_request(w);
		bool start;

		if (!r) {
			w->idle++;
			pthread_cond_wait(&w->work, &w->lock);
			w->idle--;
			continue;
		}
		start = is_start(r);
		w->starts += start;
		pthread_mutex_unlock(&w->lock);
		carry_out(w, r);
		(void)request_free(r);
		pthread_mutex_lock(&w->lock);
		w->starts -= start;
		if (start && w->queued)
			pthread_cond_signal(&w->work); /* a start that had to wait may go now */
	}
	return NULL;
}

static int enqueue(struct worker *w, struct request *r, struct msb_err *e)
{
	LOCK_SCOPE(&w->lock);
	pthread_t t;

	if (w->queued == WORKER_MAX_QUEUED)
		return msb_err_set(e, EAGAIN, "more than %d machine requests wait; try again",
			WORKER_MAX_QUEUED);
	if (w->idle <= w->queued && w->threads < WORKER_THREADS) {
		int rc = pthread_create(&t, NULL, pool_thread, w);

		if (rc && !w->threads)
			return msb_err_set(e, rc, "cannot start a thread: %s", strerror(rc));
		if (!rc) {
			(void)pthread_detach(t); /* it ends with the process */
			w->threads++;
		}
	}
	*w->last = r;
	w->last = &r->next;
	w->queued++;
	pthread_cond_signal(&w->work);
	return 0;
}

static int copy(char *out, size_t size, const char *text, size_t n)
{
	if (n >= size)
		return -E2BIG;
	memcpy(out, text, n);
	out[n] = '\0';
	return 0;
}

static int copy_key(const struct msb_msg *m, const char *key, char *out, size_t size)
{
	const char *v = msb_msg_get(m, key);

	return v ? copy(out, size, v, strlen(v)) : -ENOENT;
}

/* Of a start, and of what changes one of them. */
static int decode_size(const struct msb_msg *m, struct vmm_spec *s, bool all)
{
	uint64_t cpus = 0, max_cpus = 0;
	int r = msb_msg_get_u64(m, "cpus", &cpus);
	int memory = msb_msg_get_u64(m, "memory_bytes", &s->memory_bytes);

	if (all && (r < 0 || memory < 0 || msb_msg_get_u64(m, "max_cpus", &max_cpus) < 0 ||
			   msb_msg_get_u64(m, "max_memory_bytes", &s->max_memory_bytes) < 0))
		return -EINVAL;
	s->cpus = cpus > UINT32_MAX ? UINT32_MAX : (uint32_t)cpus;
	s->max_cpus = max_cpus > UINT32_MAX ? UINT32_MAX : (uint32_t)max_cpus;
	return 0;
}

/* What a start needs beside the id and its size. Bounds are vmm_spec_check()'s. */
static int decode_spec(const struct msb_msg *m, struct vmm_spec *s)
{
	int r;

	r = copy_key(m, "agent", s->agent_socket, sizeof(s->agent_socket));
	if (r == 0)
		r = copy_key(m, "console", s->console_socket, sizeof(s->console_socket));
	if (r == 0)
		r = copy_key(m, "cmdline", s->cmdline_extra, sizeof(s->cmdline_extra));
	for (const char *v = msb_msg_next(m, "fs", NULL); r == 0 && v;
		v = msb_msg_next(m, "fs", v)) {
		const char *tab = strchr(v, '\t');
		struct vmm_fs *fs = &s->fs[s->nfs];

		if (!tab || s->nfs == VMM_MAX_FS)
			return -EINVAL;
		s->nfs++;
		r = copy(fs->tag, sizeof(fs->tag), v, (size_t)(tab - v));
		if (r == 0)
			r = copy(fs->socket, sizeof(fs->socket), tab + 1, strlen(tab + 1));
	}
	return r;
}

/* A disk's descriptors are the request's from here on. */
static int decode_disk(struct msb_msg *m, struct vmm_spec *s)
{
	int r = 0;

	if (msb_msg_get(m, "disk")) {
		r = copy_key(m, "disk", s->disk.base_format, sizeof(s->disk.base_format));
		s->disk.overlay_fd = msb_msg_take_fd(m, 0);
		s->disk.base_fd = msb_msg_take_fd(m, 1);
		if (s->disk.overlay_fd < 0 || s->disk.base_fd < 0)
			return -EINVAL;
	}
	for (const char *p = NULL; r == 0 && (p = msb_msg_next(m, "volume", p));) {
		struct vmm_volume *v = &s->volume[s->nvolumes];

		if (s->nvolumes == VMM_MAX_VOLUMES || strlen(p) != 19 || p[16] != '\t')
			return -EINVAL;
		r = copy(v->serial, sizeof(v->serial), p, 16);
		v->readonly = !strcmp(p + 17, "ro");
		v->fd = msb_msg_take_fd(m, (s->disk.base_format[0] ? 2 : 0) + s->nvolumes);
		s->nvolumes++;
		if (v->fd < 0)
			return -EINVAL;
	}
	if (r == 0 && msb_msg_get(m, "kernel")) {
		r = copy_key(m, "kernel", s->own.kernel, sizeof(s->own.kernel));
		if (r == 0)
			r = copy_key(m, "initrd", s->own.initrd, sizeof(s->own.initrd));
		if (r == 0)
			r = copy_key(m, "own_cmdline", s->own.cmdline, sizeof(s->own.cmdline));
	}
	return r;
}

static struct request *decode(struct msb_msg *m, uint64_t seq, struct msb_err *e)
{
	struct request *r = calloc(1, sizeof(*r));
	int rc = 0;

	if (!r) {
		msb_err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	r->seq = seq;
	r->spec.disk.overlay_fd = r->spec.disk.base_fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(verbs) && !r->verb; i++)
		if (!strcmp(verbs[i].name, msb_msg_verb(m)))
			r->verb = &verbs[i];
	if (r->verb && r->verb->fn != do_list)
		rc = copy_key(m, "id", r->spec.id, sizeof(r->spec.id));
	if (rc == 0 && r->verb)
		rc = decode_size(m, &r->spec, is_start(r));
	if (rc == 0 && r->verb && is_start(r))
		rc = decode_spec(m, &r->spec);
	if (rc == 0 && r->verb && is_start(r))
		rc = decode_disk(m, &r->spec);
	if (!r->verb || rc < 0) {
		msb_err_set(e, EINVAL, "msb-vmm was sent a bad request");
		return request_free(r);
	}
	return r;
}

_Noreturn static void serve(struct worker *w)
{
	struct msb_msg *m = calloc(1, sizeof(*m)); /* 64 KiB, for as long as the process lives */

	while (m) {
		int rc = msb_msg_recv(w->sock, m);
		struct msb_err e = {0};
		struct request *r;
		uint64_t seq = 0;

		if (rc == -EPIPE)
			_exit(0); /* msbd is gone; the machines are not */
		if (rc < 0) {
			log_err("request not readable: %s", strerror(-rc));
			_exit(1);
		}
		if (msb_msg_get_u64(m, "seq", &seq) < 0) {
			msb_msg_close_fds(m);
			continue; /* nothing could be answered */
		}
		r = decode(m, seq, &e);
		msb_msg_close_fds(m); /* those that no request wants */
		if (r && enqueue(w, r, &e) < 0)
			r = request_free(r);
		if (!r)
			reply_err(w, seq, &e);
	}
	_exit(1);
}

_Noreturn void worker_run(int sock, const char *run, const char *share)
{
	static struct worker w = {.send_lock = PTHREAD_MUTEX_INITIALIZER,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.work = PTHREAD_COND_INITIALIZER}; /* static: threads use it until _exit() */
	const char *accel = vmm_accel_choose(run);
	struct msb_err e = {0};
	struct msb_msg m;

	w.sock = sock;
	w.last = &w.first;
	/* Held over the opening, so that "ready" goes before the first event. */
	pthread_mutex_lock(&w.send_lock);
	if (machines_open(run, share, accel, on_ended, &w, &w.machines, &e) < 0) {
		msb_msg_init(&m, "failed");
		msb_msg_set(&m, "code", "%d", e.code);
		msb_msg_set(&m, "msg", "%s", e.msg);
		(void)msb_msg_send(sock, &m); /* the exit says it too */
		_exit(1);
	}
	msb_msg_init(&m, "ready");
	msb_msg_set(&m, "accel", "%s", accel);
	(void)msb_msg_send(sock, &m); /* -EPIPE is seen by serve() */
	pthread_mutex_unlock(&w.send_lock);
	serve(&w);
}
