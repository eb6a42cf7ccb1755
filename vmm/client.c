// SPDX-License-Identifier: Apache-2.0
// The client of msb-vmm: starts it, sends requests from any thread, hears of ends.
#include "vmm/vmm.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define READY_TIMEOUT_MS 30000 /* from the worker's start: libvirt's own waits, and a slow host */
#define EXIT_TIMEOUT_MS	 2000  /* for a worker whose socket is closed */
/* For an answer: the longest that a start takes, or libvirt's own waits, on a busy host. */
#define ANSWER_TIMEOUT_MS 120000
#define DESTROY_TRIES	  3 /* of workers, each of which may be killed, or find itself stuck */

/* One request that waits for its answer; lives on its caller's stack. */
struct call {
	struct call *next;
	uint64_t seq;
	struct msb_msg *msg; /* the answer goes here */
	int result;
	bool done;
};

struct vmm {
	struct msb_paths paths;
	int log_fd;
	vmm_ended_fn ended;
	vmm_lost_fn lost;
	void *arg;

	pthread_mutex_t spawn_lock; /* held while a worker is started or ended; taken before lock */
	pthread_mutex_t lock;	    /* all below */
	pthread_cond_t answered;
	struct call *calls;
	uint64_t seq;
	int sock; /* -1: no worker */
	bool closing;

	/* Of the current worker, or the last; under spawn_lock. */
	pthread_t reader;
	bool have_reader;
	pid_t pid;
	int pidfd;
	const char *accel;
};

/* The reader of which this thread is; a callback runs on it, and would wait for itself. */
static _Thread_local const struct vmm *reader_of;

/* ---- the reader: one thread for each worker, until its socket ends */

static void take_answer(struct vmm *v, const struct msb_msg *m)
{
	LOCK_SCOPE(&v->lock);
	uint64_t seq;

	if (msb_msg_get_u64(m, "seq", &seq) < 0)
		return;
	for (struct call *c = v->calls; c; c = c->next) {
		if (c->seq != seq || c->done)
			continue;
		c->msg->head_bytes = m->head_bytes;
		c->msg->payload_bytes = m->payload_bytes;
		c->msg->nfds = 0;
		memcpy(c->msg->data, m->data, m->head_bytes + m->payload_bytes);
		c->done = true;
		pthread_cond_broadcast(&v->answered);
	}
}

static void take_event(const struct vmm *v, const struct msb_msg *m)
{
	const char *id = msb_msg_get(m, "id"), *detail = msb_msg_get(m, "detail");
	uint64_t how;

	if (!id || strlen(id) != 32 || msb_msg_get_u64(m, "how", &how) < 0 || how > VMM_END_CRASHED)
		log_err("msb-vmm sent a bad event");
	else
		v->ended(v->arg, id, (enum vmm_end)how, detail ? detail : "");
}

static void *reader_thread(void *arg)
{
	struct vmm *v = arg;
	struct msb_msg *m = calloc(1, sizeof(*m)); /* too large for a stack of unknown size */
	bool closing;
	int sock;

	reader_of = v;
	pthread_mutex_lock(&v->lock);
	sock = v->sock;
	pthread_mutex_unlock(&v->lock);
	while (m && msb_msg_recv(sock, m) == 0) {
		msb_msg_close_fds(m); /* none is expected */
		if (!strcmp(msb_msg_verb(m), "event"))
			take_event(v, m);
		else
			take_answer(v, m);
	}
	free(m);
	pthread_mutex_lock(&v->lock);
	close(v->sock);
	v->sock = -1;
	for (struct call *c = v->calls; c; c = c->next) {
		if (!c->done)
			c->result = -EPIPE;
		c->done = true;
	}
	pthread_cond_broadcast(&v->answered);
	closing = v->closing;
	pthread_mutex_unlock(&v->lock);
	if (!closing) {
		log_warn(
			"the machine worker ended; machines go on, the next request starts it again");
		v->lost(v->arg);
	}
	return NULL;
}

/* ---- the worker */

/* Waits for the last worker and its reader to be gone. Under spawn_lock, with sock closed or shut
 * down. */
static void bury(struct vmm *v)
{
	if (v->have_reader)
		(void)pthread_join(v->reader, NULL);
	v->have_reader = false;
	if (v->pidfd < 0)
		return;
	if (msb_wait_fd(v->pidfd, POLLIN, EXIT_TIMEOUT_MS) < 0)
		(void)kill(v->pid, SIGKILL); /* not reaped yet, so still ours */
	while (waitpid(v->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(steal_fd(&v->pidfd));
}

/* The worker's first message, "ready" or "failed". */
static int await_ready(struct vmm *v, int sock, struct msb_msg *m, struct msb_err *e)
{
	const char *accel;
	int r = msb_wait_fd(sock, POLLIN, READY_TIMEOUT_MS);

	if (r == 0)
		r = msb_msg_recv(sock, m);
	if (r < 0)
		return msb_err_set(e, -r, "the machine worker does not start: %s",
			r == -EPIPE ? "it ended; see log" : strerror(-r));
	msb_msg_close_fds(m);
	accel = msb_msg_get(m, "accel");
	if (!strcmp(msb_msg_verb(m), "ready") && accel) {
		v->accel = !strcmp(accel, "kvm") ? "kvm" : "tcg";
		return 0;
	}
	return msb_msg_error(m, e);
}

/* Starts a worker where there is none. */
static int ensure_worker(struct vmm *v, struct msb_err *e)
{
	LOCK_SCOPE(&v->spawn_lock);
	_cleanup_close_ int ours = -1, theirs = -1;
	_cleanup_free_ struct msb_msg *m = NULL;
	char path[MSB_PATH_MAX + 16], name[] = "msb-vmm";
	char *argv[] = {name, v->paths.run, v->paths.share, NULL};
	int sp[2], r;
	pid_t pid;

	pthread_mutex_lock(&v->lock);
	r = v->closing ? -ECANCELED : v->sock;
	pthread_mutex_unlock(&v->lock);
	if (r == -ECANCELED)
		return msb_err_set(e, ECANCELED, "msbd ends");
	if (r >= 0)
		return 0;
	bury(v);
	m = calloc(1, sizeof(*m));
	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sp) < 0)
		return msb_err_set(e, errno, "cannot start the machine worker: %m");
	ours = sp[0];
	theirs = sp[1];
	(void)snprintf(path, sizeof(path), "%s/msb-vmm", v->paths.bin);
	pid = msb_spawn(path, argv, &theirs, 1, v->log_fd, &v->pidfd, e);
	if (pid < 0)
		return pid;
	v->pid = pid;
	close(steal_fd(&theirs));
	r = await_ready(v, ours, m, e);
	if (r < 0) {
		close(steal_fd(&ours));
		bury(v);
		return r;
	}
	pthread_mutex_lock(&v->lock);
	v->sock = steal_fd(&ours);
	pthread_mutex_unlock(&v->lock);
	r = pthread_create(&v->reader, NULL, reader_thread, v);
	if (r) {
		pthread_mutex_lock(&v->lock);
		close(steal_fd(&v->sock));
		pthread_mutex_unlock(&v->lock);
		bury(v);
		return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
	}
	v->have_reader = true;
	return 0;
}

/* ---- calls */

static void unlink_call(struct vmm *v, struct call *c)
{
	for (struct call **p = &v->calls; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			return;
		}
}

static int answer_of(const struct call *c, struct msb_err *e)
{
	if (c->result < 0)
		return msb_err_set(e, -c->result, "the machine worker ended; try again");
	if (!strcmp(msb_msg_verb(c->msg), "ok"))
		return 0;
	return msb_msg_error(c->msg, e);
}

/* Return: whether it was answered; else the answer is dropped when it comes. Lock held. */
static bool await_answer(struct vmm *v, const struct call *c, unsigned int within_ms)
{
	uint64_t until = msb_now_ms() + within_ms;
	const struct timespec t = {
		.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000};

	while (!c->done)
		if (pthread_cond_clockwait(&v->answered, &v->lock, CLOCK_MONOTONIC, &t) != 0)
			break;
	return c->done;
}

/* Sends @m, a request whose seq is not set yet, and waits for the answer, which replaces it. Where
 * it is to come @within_ms, no worker is started for it; 0: as long as any may take. */
static int call_within(struct vmm *v, struct msb_msg *m, unsigned int within_ms, struct msb_err *e)
{
	struct call c = {.msg = m}, **p;
	int r;

	if (reader_of == v)
		return msb_err_set(e, EDEADLK, "a vmm callback must not wait for the worker");
	r = within_ms ? 0 : ensure_worker(v, e);
	if (r < 0)
		return r;
	LOCK_SCOPE(&v->lock);
	c.seq = ++v->seq;
	msb_msg_set(m, "seq", "%" PRIu64, c.seq);
	if (m->oversize)
		return msb_err_set(e, E2BIG, "the machine's description is too long");
	for (p = &v->calls; *p; p = &(*p)->next)
		;
	*p = &c;
	/* Under the lock: a message at a time. The worker always reads, so this does not block
	 * long. */
	r = v->sock < 0 ? -EPIPE : msb_msg_send(v->sock, m);
	/* Of a worker that has ended the reader tells all who wait, once there can be another. */
	if (r < 0 && (v->sock < 0 || r != -EPIPE)) {
		c.result = r;
		c.done = true;
	}
	if (!await_answer(v, &c, within_ms ?: ANSWER_TIMEOUT_MS))
		r = msb_err_set(e, ETIMEDOUT, "the machine worker does not answer");
	unlink_call(v, &c);
	return c.done ? answer_of(&c, e) : r;
}

static int call(struct vmm *v, struct msb_msg *m, struct msb_err *e)
{
	return call_within(v, m, 0, e);
}

static int call_id(struct vmm *v, const char *verb, const char *id, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = calloc(1, sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, verb);
	msb_msg_set(m, "id", "%s", id);
	return call(v, m, e);
}

int vmm_start_paused(struct vmm *v, const struct vmm_spec *s, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = calloc(1, sizeof(*m));

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "start");
	msb_msg_set(m, "id", "%s", s->id);
	msb_msg_set(m, "cpus", "%" PRIu32, s->cpus);
	msb_msg_set(m, "memory_bytes", "%" PRIu64, s->memory_bytes);
	msb_msg_set(m, "max_cpus", "%" PRIu32, s->max_cpus);
	msb_msg_set(m, "max_memory_bytes", "%" PRIu64, s->max_memory_bytes);
	msb_msg_set(m, "agent", "%s", s->agent_socket);
	msb_msg_set(m, "console", "%s", s->console_socket);
	msb_msg_set(m, "cmdline", "%s", s->cmdline_extra);
	for (unsigned int i = 0; i < s->nfs && i < VMM_MAX_FS; i++)
		msb_msg_set(m, "fs", "%s\t%s", s->fs[i].tag, s->fs[i].socket);
	if (s->disk.base_format[0]) {
		msb_msg_set(m, "disk", "%s", s->disk.base_format);
		msb_msg_add_fd(m, s->disk.overlay_fd);
		msb_msg_add_fd(m, s->disk.base_fd);
	}
	for (unsigned int i = 0; i < s->nvolumes && i < VMM_MAX_VOLUMES; i++) {
		msb_msg_set(m, "volume", "%s\t%s", s->volume[i].serial,
			s->volume[i].readonly ? "ro" : "rw");
		msb_msg_add_fd(m, s->volume[i].fd);
	}
	if (s->own.kernel[0]) {
		msb_msg_set(m, "kernel", "%s", s->own.kernel);
		msb_msg_set(m, "initrd", "%s", s->own.initrd);
		msb_msg_set(m, "own_cmdline", "%s", s->own.cmdline);
	}
	return call(v, m, e);
}

int vmm_resume(struct vmm *v, const char *id, struct msb_err *e)
{
	return call_id(v, "resume", id, e);
}

int vmm_suspend(struct vmm *v, const char *id, struct msb_err *e)
{
	return call_id(v, "suspend", id, e);
}

/* Has the worker end: what it did not do the next one finds undone, and nothing in the way. */
static void dismiss(struct vmm *v)
{
	LOCK_SCOPE(&v->lock);

	if (v->sock >= 0)
		(void)shutdown(v->sock, SHUT_RDWR); /* the reader closes it */
}

int vmm_destroy(struct vmm *v, const char *id, struct msb_err *e)
{
	struct msb_err why = {0};
	int r = -EPIPE;

	for (int i = 0; i < DESTROY_TRIES && (r == -EPIPE || r == -ETIMEDOUT); i++) {
		r = call_id(v, "destroy", id, &why);
		if (r == -ETIMEDOUT)
			dismiss(v);
	}
	return r < 0 ? msb_err_set(e, why.code, "%s", why.msg) : 0;
}

int vmm_power_button(struct vmm *v, const char *id, struct msb_err *e)
{
	return call_id(v, "button", id, e);
}

/* @bytes: 0 is not said. */
static int call_memory(struct vmm *v, const char *verb, const char *id, uint64_t bytes,
	unsigned int within_ms, uint64_t *ret_bytes, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, verb);
	msb_msg_set(m, "id", "%s", id);
	if (bytes)
		msb_msg_set(m, "memory_bytes", "%" PRIu64, bytes);
	r = call_within(v, m, within_ms, e);
	if (r == 0 && ret_bytes && msb_msg_get_u64(m, "memory_bytes", ret_bytes) < 0)
		return msb_err_set(e, EBADMSG, "msb-vmm sent a bad answer");
	return r;
}

int vmm_set_memory(struct vmm *v, const char *id, uint64_t bytes, struct msb_err *e)
{
	return call_memory(v, "memory", id, bytes, 0, NULL, e);
}

int vmm_memory(struct vmm *v, const char *id, unsigned int within_ms, uint64_t *ret_bytes,
	struct msb_err *e)
{
	return call_memory(v, "has", id, 0, within_ms, ret_bytes, e);
}

int vmm_pid(struct vmm *v, const char *id, pid_t *ret, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = calloc(1, sizeof(*m));
	uint64_t pid;
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "pid");
	msb_msg_set(m, "id", "%s", id);
	r = call(v, m, e);
	if (r < 0)
		return r;
	if (msb_msg_get_u64(m, "pid", &pid) < 0 || pid < 1 || pid > INT32_MAX)
		return msb_err_set(e, EBADMSG, "msb-vmm sent a bad answer");
	*ret = (pid_t)pid;
	return 0;
}

int vmm_list(struct vmm *v, char (**ret)[33], size_t *ret_n, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = calloc(1, sizeof(*m));
	char(*ids)[33];
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "list");
	r = call(v, m, e);
	if (r < 0)
		return r;
	if (m->payload_bytes % sizeof(*ids))
		return msb_err_set(e, EBADMSG, "msb-vmm sent a bad answer");
	ids = malloc(m->payload_bytes + 1);
	if (!ids)
		return msb_err_set(e, ENOMEM, "out of memory");
	memcpy(ids, msb_msg_payload_ptr(m), m->payload_bytes);
	*ret_n = m->payload_bytes / sizeof(*ids);
	for (size_t i = 0; i < *ret_n; i++)
		ids[i][32] = '\0';
	*ret = ids;
	return 0;
}

const char *vmm_accel(struct vmm *v)
{
	LOCK_SCOPE(&v->spawn_lock);

	return v->accel;
}

int vmm_new(const struct msb_paths *paths, int log_fd, vmm_ended_fn ended, vmm_lost_fn lost,
	void *arg, struct vmm **ret, struct msb_err *e)
{
	struct vmm *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return msb_err_set(e, ENOMEM, "out of memory");
	v->paths = *paths;
	v->log_fd = log_fd;
	v->ended = ended;
	v->lost = lost;
	v->arg = arg;
	v->sock = v->pidfd = -1;
	v->accel = "tcg";
	pthread_mutex_init(&v->spawn_lock, NULL);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->answered, NULL);
	r = ensure_worker(v, e);
	if (r < 0) {
		(void)vmm_free(v);
		return r;
	}
	*ret = v;
	return 0;
}

void vmm_close(struct vmm *v)
{
	LOCK_SCOPE(&v->spawn_lock);

	pthread_mutex_lock(&v->lock);
	v->closing = true;
	if (v->sock >= 0)
		(void)shutdown(v->sock, SHUT_RDWR); /* the reader closes it, the worker ends */
	pthread_mutex_unlock(&v->lock);
	bury(v);
}

struct vmm *vmm_free(struct vmm *v)
{
	if (!v)
		return NULL;
	vmm_close(v);
	pthread_cond_destroy(&v->answered);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->spawn_lock);
	free(v);
	return NULL;
}
