// SPDX-License-Identifier: Apache-2.0
// msb-image's side of the socket to msb-registry.
#include "fs/image/remote.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct img_request {
	struct img_remote *remote;
	struct img_request *next;
	uint64_t id, offset, size; /* size: 0 unknown */
	void (*progress)(void *arg, uint64_t ready);
	void *arg;
	/* The remote's lock guards what follows. */
	uint64_t ready;
	bool answered, stopped, closed, telling;
	struct img_answer answer;
	int error;
	struct msb_err err;
};

struct img_remote {
	int sock;
	pthread_t thread;
	pthread_mutex_t sending; /* taken before lock: sending may wait for who waits to be heard */
	struct msb_msg out;	 /* sending guards it, and last_id */
	uint64_t last_id;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct img_request *requests;
	unsigned int n;
	int error; /* it is broken */
	struct msb_err err;
	struct msb_msg in; /* the thread's alone */
};

static int bad(struct msb_err *e)
{
	return msb_err_set(e, EBADMSG, "msb-registry answered what was not asked");
}

/* ---- what comes */

static void copy_text(char *to, size_t cap, const char *text)
{
	struct msb_str s = {.buf = to, .cap = cap, .fixed = true};

	*to = 0;
	if (text)
		msb_str_add_printable(&s, text, strnlen(text, cap));
}

static void copy_digest(char to[65], const char *text)
{
	uint8_t raw[32];

	*to = 0;
	if (text && strncmp(text, "sha256:", 7) == 0 && strlen(text + 7) == 64 &&
		msb_unhex(text + 7, raw, sizeof(raw)) == 0)
		memcpy(to, text + 7, 65);
}

static int take_progress(struct img_request *q, const struct msb_msg *m)
{
	uint64_t ready;

	if (msb_msg_get_u64(m, "ready_bytes", &ready) < 0 || ready < q->ready ||
		(q->size && ready > q->size) || ready > INT64_MAX)
		return -EBADMSG;
	q->ready = ready;
	return 0;
}

static int take_ok(struct img_request *q, const struct msb_msg *m)
{
	struct img_answer *a = &q->answer;
	uint64_t v;

	if (msb_msg_get_u64(m, "bytes", &a->bytes) < 0)
		(void)msb_msg_get_u64(m, "size", &a->bytes); /* neither: 0 */
	if ((q->size && msb_msg_get(m, "bytes") && a->bytes != q->size) || a->bytes > INT64_MAX)
		return -EBADMSG;
	a->yes = (msb_msg_get_u64(m, "exists", &v) == 0 && v) ||
		 (msb_msg_get_u64(m, "mounted", &v) == 0 && v);
	copy_text(a->media_type, sizeof(a->media_type), msb_msg_get(m, "media_type"));
	copy_digest(a->digest, msb_msg_get(m, "digest"));
	q->ready = q->size ? q->size : a->bytes;
	q->answered = true;
	return 0;
}

static void take_error(struct img_request *q, const struct msb_msg *m)
{
	q->error = msb_msg_error(m, &q->err);
	q->answered = true;
}

static void unlink_request(struct img_remote *r, struct img_request *q)
{
	for (struct img_request **p = &r->requests; *p; p = &(*p)->next)
		if (*p == q) {
			*p = q->next;
			r->n--;
			free(q);
			return;
		}
}

/* The lock is held, but for the callback. */
static void tell(struct img_remote *r, struct img_request *q)
{
	uint64_t ready = q->ready;

	if (!q->progress || q->closed || q->stopped)
		return;
	q->telling = true;
	pthread_mutex_unlock(&r->lock);
	q->progress(q->arg, ready);
	pthread_mutex_lock(&r->lock);
	q->telling = false;
}

/* The lock is held, but for the callback. */
static int dispatch(struct img_remote *r, const struct msb_msg *m)
{
	const char *verb = msb_msg_verb(m);
	struct img_request *q = r->requests;
	uint64_t id;

	if (msb_msg_get_u64(m, "id", &id) < 0)
		return -EBADMSG;
	while (q && q->id != id)
		q = q->next;
	if (!q || q->answered)
		return -EBADMSG;
	if (strcmp(verb, "progress") == 0) {
		if (take_progress(q, m) < 0)
			return -EBADMSG;
		tell(r, q);
	} else if (strcmp(verb, "ok") == 0) {
		if (take_ok(q, m) < 0)
			return -EBADMSG;
		tell(r, q);
	} else if (strcmp(verb, "error") == 0) {
		take_error(q, m);
	} else {
		return -EBADMSG;
	}
	if (q->answered && q->closed)
		unlink_request(r, q);
	return 0;
}

static void *hear(void *arg)
{
	struct img_remote *r = arg;
	int got;

	do {
		got = msb_msg_recv(r->sock, &r->in);
		LOCK_SCOPE(&r->lock);
		if (got == 0) {
			msb_msg_close_fds(&r->in); /* no answer has any */
			got = dispatch(r, &r->in);
		}
		if (got == -EBADMSG)
			r->error = bad(&r->err);
		else if (got < 0)
			r->error =
				msb_err_set(&r->err, EIO, "msb-registry ended; its log says more");
		pthread_cond_broadcast(&r->changed);
	} while (got == 0);
	return NULL;
}

int img_remote_open(int sock, struct img_remote **ret, struct msb_err *e)
{
	struct img_remote *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return msb_err_set(e, ENOMEM, "out of memory");
	r->sock = sock;
	pthread_mutex_init(&r->sending, NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	err = pthread_create(&r->thread, NULL, hear, r);
	if (err) {
		free(r);
		return msb_err_set(e, err, "cannot start a thread: %s", strerror(err));
	}
	*ret = r;
	return 0;
}

void img_remote_stop(struct img_remote *r)
{
	(void)shutdown(r->sock, SHUT_RDWR); /* fails where the other end did it */
}

struct img_remote *img_remote_close(struct img_remote *r)
{
	if (!r)
		return NULL;
	img_remote_stop(r);
	(void)pthread_join(r->thread, NULL); /* of a thread that exists */
	while (r->requests)
		unlink_request(r, r->requests);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->sending);
	free(r);
	return NULL;
}

/* ---- what is asked */

/* Enters @q where there is room. */
static int enter(struct img_remote *r, struct img_request *q, struct msb_err *e)
{
	LOCK_SCOPE(&r->lock);
	if (r->error)
		return msb_err_set(e, r->err.code, "%s", r->err.msg);
	if (r->n == IMG_MAX_REQUESTS)
		return msb_err_set(e, E2BIG, "more than %d requests at once", IMG_MAX_REQUESTS);
	q->next = r->requests;
	r->requests = q;
	r->n++;
	return 0;
}

/* Starts a message for a new request: sending is locked until ask_end(). */
static int ask(struct img_remote *r, const char *verb, struct img_request **ret, struct msb_err *e)
{
	struct img_request *q = calloc(1, sizeof(*q));

	if (!q)
		return msb_err_set(e, ENOMEM, "out of memory");
	pthread_mutex_lock(&r->sending);
	q->remote = r;
	q->id = ++r->last_id;
	msb_msg_init(&r->out, verb);
	msb_msg_set(&r->out, "id", "%llu", (unsigned long long)q->id);
	*ret = q;
	return 0;
}

static int ask_end(struct img_request **q, int fd, struct msb_err *e)
{
	struct img_remote *r = (*q)->remote;
	int err = enter(r, *q, e);

	if (fd >= 0)
		msb_msg_add_fd(&r->out, fd);
	if (err < 0) {
		free(*q);
	} else if ((err = msb_msg_send(r->sock, &r->out)) < 0) {
		(void)msb_err_set(e, err == -EPIPE ? EIO : -err, "cannot ask msb-registry: %s",
			strerror(-err));
		LOCK_SCOPE(&r->lock);
		unlink_request(r, *q);
	}
	if (err < 0)
		*q = NULL;
	pthread_mutex_unlock(&r->sending);
	return err == -EPIPE ? -EIO : err;
}

int img_remote_get(struct img_remote *r, const char *what, const char *name, uint64_t offset,
	uint64_t size, int fd, void (*progress)(void *arg, uint64_t ready), void *arg,
	struct img_request **ret, struct msb_err *e)
{
	int err = ask(r, "get", ret, e);

	if (err < 0)
		return err;
	(*ret)->size = size;
	(*ret)->offset = (*ret)->ready = offset;
	(*ret)->progress = progress;
	(*ret)->arg = arg;
	msb_msg_set(&r->out, "what", "%s", what);
	msb_msg_set(&r->out, "name", "%s", name);
	msb_msg_set(&r->out, "offset", "%llu", (unsigned long long)offset);
	msb_msg_set(&r->out, "size", "%llu", (unsigned long long)size);
	return ask_end(ret, fd, e);
}

/* 0 once it is answered, or @past is passed; the lock is held. */
static int wait_for(struct img_request *q, uint64_t past, struct msb_err *e)
{
	struct img_remote *r = q->remote;

	while (!q->answered && !q->stopped && !r->error && q->ready <= past)
		pthread_cond_wait(&r->changed, &r->lock);
	if (q->stopped)
		return msb_err_set(e, ECANCELED, "given up");
	if (q->answered && q->error)
		return msb_err_set(e, q->err.code, "%s", q->err.msg);
	if (!q->answered && r->error)
		return msb_err_set(e, r->err.code, "%s", r->err.msg);
	return 0;
}

int64_t img_request_ready(struct img_request *q, uint64_t past, struct msb_err *e)
{
	LOCK_SCOPE(&q->remote->lock);
	int err = wait_for(q, past, e);

	return err < 0 ? err : (int64_t)(q->ready > past ? q->ready : past);
}

int img_request_wait(struct img_request *q, struct img_answer *ret, struct msb_err *e)
{
	LOCK_SCOPE(&q->remote->lock);
	int err = wait_for(q, UINT64_MAX, e);

	if (err == 0 && ret)
		*ret = q->answer;
	return err;
}

void img_request_stop(struct img_request *q)
{
	LOCK_SCOPE(&q->remote->lock);
	q->stopped = true;
	pthread_cond_broadcast(&q->remote->changed);
}

/* Whether its answer is still to come; else it is gone. */
static bool let_go(struct img_remote *r, struct img_request *q)
{
	LOCK_SCOPE(&r->lock);
	q->stopped = true;
	while (q->telling) /* its callback's argument is the caller's */
		pthread_cond_wait(&r->changed, &r->lock);
	q->closed = true;
	if (!q->answered && !r->error)
		return true;
	unlink_request(r, q);
	return false;
}

struct img_request *img_request_close(struct img_request *q)
{
	struct img_remote *r = q ? q->remote : NULL;
	uint64_t id = q ? q->id : 0;

	if (!q || !let_go(r, q))
		return NULL;
	LOCK_SCOPE(&r->sending);
	msb_msg_init(&r->out, "cancel");
	msb_msg_set(&r->out, "id", "%llu", (unsigned long long)id);
	(void)msb_msg_send(r->sock, &r->out); /* it has ended: nothing to cancel */
	return NULL;
}

/* ---- asked and waited for */

static int finish(struct img_request *q, struct img_answer *ret, struct msb_err *e)
{
	int r = img_request_wait(q, ret, e);

	img_request_close(q);
	return r;
}

static int memory_file(const void *p, size_t n, struct msb_err *e)
{
	int fd = memfd_create("msb-image", MFD_CLOEXEC), r;

	if (fd < 0)
		return msb_err_set(e, errno, "out of memory: %m");
	r = n ? msb_pwrite_full(fd, p, n, 0) : 0;
	if (r < 0) {
		close(fd);
		return msb_err_set(e, -r, "out of memory: %s", strerror(-r));
	}
	return fd;
}

int img_remote_read(struct img_remote *r, const char *what, const char *name, uint64_t size,
	size_t max, struct msb_str *doc, struct img_answer *ret, struct msb_err *e)
{
	_cleanup_close_ int fd = memory_file(NULL, 0, e);
	_cleanup_free_ char *buf = NULL;
	struct img_answer a = {0};
	struct img_request *q;
	int err = fd < 0 ? fd : 0;

	if (err == 0 && size > max)
		err = msb_err_set(e, E2BIG, "it has more than %zu bytes", max);
	if (err == 0)
		err = img_remote_get(r, what, name, 0, size, fd, NULL, NULL, &q, e);
	if (err == 0)
		err = finish(q, &a, e);
	if (err < 0)
		return err;
	if (a.bytes > max)
		return msb_err_set(e, E2BIG, "it has more than %zu bytes", max);
	buf = malloc(a.bytes + 1);
	if (!buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (msb_pread_full(fd, buf, a.bytes, 0) != (int64_t)a.bytes)
		return msb_err_set(e, EBADMSG, "msb-registry said that more bytes had come");
	msb_str_add(doc, buf, a.bytes);
	if (ret)
		*ret = a;
	return doc->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}

int img_remote_exists(struct img_remote *r, const char *what, const char *name,
	struct img_answer *ret, struct msb_err *e)
{
	struct img_request *q;
	int err = ask(r, "exists", &q, e);

	if (err < 0)
		return err;
	msb_msg_set(&r->out, "what", "%s", what);
	msb_msg_set(&r->out, "name", "%s", name);
	err = ask_end(&q, -1, e);
	return err < 0 ? err : finish(q, ret, e);
}

int img_remote_mount(
	struct img_remote *r, const char *digest, const char *from, bool *ret, struct msb_err *e)
{
	struct img_answer a = {0};
	struct img_request *q;
	int err = ask(r, "mount", &q, e);

	if (err < 0)
		return err;
	msb_msg_set(&r->out, "digest", "sha256:%s", digest);
	msb_msg_set(&r->out, "from", "%s", from);
	err = ask_end(&q, -1, e);
	if (err == 0)
		err = finish(q, &a, e);
	if (err == 0)
		*ret = a.yes;
	return err;
}

int img_remote_put_blob(struct img_remote *r, const char *digest, uint64_t size, int fd,
	void (*progress)(void *arg, uint64_t done), void *arg, struct msb_err *e)
{
	struct img_request *q;
	int err = ask(r, "put_blob", &q, e);

	if (err < 0)
		return err;
	q->size = size;
	q->progress = progress;
	q->arg = arg;
	msb_msg_set(&r->out, "digest", "sha256:%s", digest);
	msb_msg_set(&r->out, "size", "%llu", (unsigned long long)size);
	err = ask_end(&q, fd, e);
	return err < 0 ? err : finish(q, NULL, e);
}

int img_remote_put_manifest(struct img_remote *r, const char *name, const char *media_type,
	const void *p, size_t n, struct msb_err *e)
{
	_cleanup_close_ int fd = memory_file(p, n, e);
	struct img_request *q;
	int err = fd < 0 ? fd : ask(r, "put_manifest", &q, e);

	if (err < 0)
		return err;
	msb_msg_set(&r->out, "name", "%s", name);
	msb_msg_set(&r->out, "media_type", "%s", media_type);
	err = ask_end(&q, fd, e);
	return err < 0 ? err : finish(q, NULL, e);
}
