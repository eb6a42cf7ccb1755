// SPDX-License-Identifier: Apache-2.0
// Sending: is it there, can it be had from another repository, and if not, all of it.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/registry/request.h"

#include <string.h>
#include <sys/stat.h>

/* A question of @r's, with what all have in common. @url is taken over. */
static int ask(struct reg_request *r, const char *method, char *url, const struct reg_http_ops *ops,
	uint64_t due_ms)
{
	struct reg_http *h = url ? reg_http_new(r->serve->net, reg_request_site(r), method) : NULL;

	if (!h) {
		free(url);
		return -ENOMEM;
	}
	h->ops = ops;
	h->owner = r;
	h->what = r->what;
	h->scopes = r->scopes;
	h->url = url;
	h->due_ms = due_ms;
	r->h = h;
	return 0;
}

static void go(struct reg_request *r)
{
	reg_http_start(r->h);
}

static int no_memory(struct msb_err *e)
{
	return msb_err_set(e, ENOMEM, "out of memory");
}

/* ---- exists */

static int exists_ask(struct reg_request *r);

static void exists_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;
	bool there = err == 0;
	char size[24];

	r->h = NULL;
	/* It led to a place that serves this one address to GET alone. */
	if (err < 0 && h->redirects && (h->status == 403 || h->status == 405)) {
		there = true;
		err = 0;
		h->bytes = REG_UNKNOWN;
	}
	if (err == -ENOENT && r->site + 1 >= r->serve->cfg->nsites)
		err = 0;
	if (err < 0) {
		reg_request_failed(r, err, e);
		return;
	}
	(void)snprintf(size, sizeof(size), "%llu",
		there && h->bytes != REG_UNKNOWN ? (unsigned long long)h->bytes : 0ULL);
	reg_request_ok(r, (const char *const[][2]){{"exists", there ? "1" : "0"}, {"size", size},
				  {"media_type", there ? h->media_type : ""},
				  {"digest", there ? h->digest : ""}, {NULL, NULL}});
}

static const struct reg_http_ops exists_http = {.done = exists_done};

static int exists_ask(struct reg_request *r)
{
	int err;

	(void)snprintf(r->scopes, sizeof(r->scopes), "repository:%s%s:%s",
		reg_request_site(r)->prefix, r->serve->cfg->repo,
		r->serve->cfg->push ? "pull,push" : "pull");
	err = ask(r, "HEAD", reg_request_url(r, r->manifest ? "manifests" : "blobs", r->name),
		&exists_http, 0);
	if (err < 0)
		return err;
	r->h->accept = r->manifest ? reg_manifest_types : NULL;
	go(r);
	return 0;
}

static int exists_start(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	return exists_ask(r) < 0 ? no_memory(e) : 0;
}

const struct reg_request_ops reg_exists_ops = {
	.verb = "exists",
	.start = exists_start,
	.elsewhere = exists_ask,
};

/* ---- mount */

static void mount_answer(struct reg_request *r, bool mounted)
{
	reg_request_ok(r, (const char *const[][2]){{"mounted", mounted ? "1" : "0"}, {NULL, NULL}});
}

/* The registry has begun an upload instead: it need not wait for what does not come. Whether it
 * lets go of it does not matter to us. */
static void unwanted_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;

	r->h = NULL;
	mount_answer(r, false);
}

static const struct reg_http_ops unwanted_http = {.done = unwanted_done};

static char *follow(const struct reg_http *h)
{
	char *url = malloc(REG_MAX_URL_BYTES);
	struct reg_url to;

	/* What is sent there is as worthy of TLS as the question was. */
	if (url &&
		(!*h->location || reg_url_follow(h->final_url, h->location, url) < 0 ||
			reg_url_split(url, &to) < 0 ||
			(h->at.tls && !to.tls &&
				!((const struct reg_request *)h->owner)->serve->cfg->plain_http))) {
		free(url);
		return NULL;
	}
	return url;
}

static void mount_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;
	long status = h->status;
	char *url;

	r->h = NULL;
	/* No such blob there, or not for us: it is sent then. */
	if (err == -ENOENT || err == -EACCES || (err < 0 && status / 100 == 4)) {
		mount_answer(r, false);
		return;
	}
	if (err < 0) {
		reg_request_error(r, err, e);
		return;
	}
	url = status == 202 ? follow(h) : NULL;
	if (!url || ask(r, "DELETE", url, &unwanted_http, 0) < 0) {
		mount_answer(r, status == 201);
		return;
	}
	r->h->once = true;
	go(r);
}

static const struct reg_http_ops mount_http = {.done = mount_done};

static int mount_start(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	const char *from = msb_msg_get(m, "from");
	char rest[REG_MAX_NAME_BYTES + REG_MAX_REPO_BYTES + 32];

	if (!from)
		return msb_err_set(e, EINVAL, "mount needs a repository to mount from");
	(void)snprintf(rest, sizeof(rest), "uploads/?mount=%s&from=%s", r->name, from);
	if (ask(r, "POST", reg_request_url(r, "blobs", rest), &mount_http, 0) < 0)
		return no_memory(e);
	go(r);
	return 0;
}

const struct reg_request_ops reg_mount_ops = {.verb = "mount", .start = mount_start};

/* ---- put_blob: POST for a place, then PUT all of it, or PATCH pieces and PUT nothing */

static int begin_upload(struct reg_request *r, uint64_t due_ms);
static const struct reg_http_ops place_http, piece_http, last_http;

static int send_body(struct reg_request *r, const char *method, char *url, uint64_t n,
	const struct reg_http_ops *ops)
{
	int err = ask(r, method, url, ops, 0);

	if (err < 0)
		return err;
	r->h->content_type = "application/octet-stream";
	r->h->body_fd = r->fd;
	r->h->body_first = r->sent;
	r->h->body_bytes = n;
	r->h->once = true; /* the place that it goes to may be lost with it */
	r->h->next = true;
	go(r);
	return 0;
}

/* With the digest, which ends it. */
static int send_last(struct reg_request *r, uint64_t n)
{
	char *url;

	if (asprintf(&url, "%s%cdigest=%s", r->location, strchr(r->location, '?') ? '&' : '?',
		    r->name) < 0)
		return -ENOMEM;
	return send_body(r, "PUT", url, n, &last_http);
}

static int send_next(struct reg_request *r)
{
	uint64_t left = r->size - r->sent;
	int err;

	if (!r->pieces || !left)
		return send_last(r, left);
	if (left > r->piece_bytes)
		left = r->piece_bytes;
	err = send_body(r, "PATCH", strdup(r->location), left, &piece_http);
	if (err == 0)
		r->h->body_range = true;
	return err;
}

static void put_failed(
	struct reg_request *r, const struct reg_http *h, int err, const struct msb_err *e)
{
	uint64_t wait = (uint64_t)r->serve->cfg->retry_ms << r->tries;
	bool passing = err == -EIO || err == -ETIMEDOUT || err == -EAGAIN || err == -ENOENT ||
		       h->status == 416;

	r->h = NULL;
	if (!r->pieces && (h->status == 413 || h->status == 405)) {
		r->pieces = true; /* not all of it at once */
		wait = 0;
	} else if (h->stop < 0 || !passing || r->tries++ == REG_MAX_RETRIES) {
		reg_request_error(r, err, e);
		return;
	}
	if (h->retry_after_sec <= REG_MAX_RETRY_AFTER_SEC && h->retry_after_sec * 1000 > wait)
		wait = h->retry_after_sec * 1000;
	err = begin_upload(r, msb_now_ms() + wait);
	if (err < 0)
		reg_request_error(r, err, NULL);
}

static void put_ready(struct reg_request *r, uint64_t n)
{
	if (n > r->ready) { /* after a new beginning the first bytes go unmentioned */
		r->ready = n;
		reg_request_progress(r);
	}
}

static void last_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;

	if (err < 0) {
		put_failed(r, h, err, e);
		return;
	}
	r->h = NULL;
	put_ready(r, r->size);
	reg_request_ok(r, (const char *const[][2]){{"digest", r->name}, {NULL, NULL}});
}

/* There is a place for more, at the address that the answer names. */
static void more(struct reg_http *h, struct reg_request *r)
{
	struct msb_err e = {0};
	int err;

	free(r->location);
	r->location = follow(h);
	if (!r->location) {
		(void)msb_err_set(&e, EBADMSG,
			"%s: %s: it names no place for an upload, or one without TLS",
			h->site->host, h->what);
		reg_request_error(r, -EBADMSG, &e);
		return;
	}
	err = send_next(r);
	if (err < 0)
		reg_request_error(r, err, NULL);
}

static void piece_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;

	if (err < 0) {
		put_failed(r, h, err, e);
		return;
	}
	r->h = NULL;
	r->sent += h->body_bytes;
	put_ready(r, r->sent);
	if (!*h->location) /* the old one is good for the next */
		(void)snprintf(h->location, sizeof(h->location), "%s", r->location);
	more(h, r);
}

static void place_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;

	r->h = NULL;
	if (err < 0) {
		reg_request_error(r, err, e);
		return;
	}
	if (h->status == 201) { /* it has it already */
		put_ready(r, r->size);
		reg_request_ok(r, (const char *const[][2]){{"digest", r->name}, {NULL, NULL}});
		return;
	}
	if (h->chunk_min != REG_UNKNOWN) {
		r->pieces = true;
		if (h->chunk_min > r->piece_bytes)
			r->piece_bytes = h->chunk_min;
	}
	more(h, r);
}

static const struct reg_http_ops place_http = {.done = place_done};
static const struct reg_http_ops piece_http = {.done = piece_done};
static const struct reg_http_ops last_http = {.done = last_done};

static int begin_upload(struct reg_request *r, uint64_t due_ms)
{
	int err;

	r->sent = 0;
	err = ask(r, "POST", reg_request_url(r, "blobs", "uploads/"), &place_http, due_ms);
	if (err == 0)
		go(r);
	return err;
}

static int put_blob_start(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	struct stat st;

	if (msb_msg_get_u64(m, "size", &r->size) < 0 || r->size > INT64_MAX)
		return msb_err_set(e, EINVAL, "the %s needs its size", r->what);
	if (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < r->size)
		return msb_err_set(
			e, EINVAL, "what is given for the %s is no file, or shorter", r->what);
	r->piece_bytes = REG_PATCH_BYTES;
	return begin_upload(r, 0) < 0 ? no_memory(e) : 0;
}

static void put_turn(struct reg_request *r)
{
	if (r->h && r->h->body_fd >= 0)
		put_ready(r, r->sent + r->h->body_sent);
}

const struct reg_request_ops reg_put_blob_ops = {
	.verb = "put_blob",
	.needs_fd = true,
	.start = put_blob_start,
	.turn = put_turn,
};

/* ---- put_manifest */

static void manifest_done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;

	r->h = NULL;
	if (err < 0) {
		reg_request_error(r, err, e);
		return;
	}
	reg_request_ok(r, (const char *const[][2]){{"digest", h->digest}, {NULL, NULL}});
}

static const struct reg_http_ops manifest_http = {.done = manifest_done};

static int put_manifest_start(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	const char *type = msb_msg_get(m, "media_type");
	struct stat st;

	if (!type || !*type || strlen(type) >= sizeof(r->media_type))
		return msb_err_set(e, EINVAL, "a manifest needs its media type");
	for (const char *p = type; *p; p++)
		if (*p <= ' ' || *p > '~')
			return msb_err_set(e, EINVAL, "the media type is none");
	if (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return msb_err_set(e, EINVAL, "the manifest has to be a file");
	if ((uint64_t)st.st_size > REG_MAX_MANIFEST_BYTES)
		return msb_err_set(
			e, E2BIG, "a manifest has at most %u bytes", REG_MAX_MANIFEST_BYTES);
	(void)snprintf(r->media_type, sizeof(r->media_type), "%s", type);
	if (ask(r, "PUT", reg_request_url(r, "manifests", r->name), &manifest_http, 0) < 0)
		return no_memory(e);
	r->h->content_type = r->media_type;
	r->h->body_fd = r->fd;
	r->h->body_bytes = (uint64_t)st.st_size;
	go(r);
	return 0;
}

const struct reg_request_ops reg_put_manifest_ops = {
	.verb = "put_manifest",
	.needs_fd = true,
	.start = put_manifest_start,
};
