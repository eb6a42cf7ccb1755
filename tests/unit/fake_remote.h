/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that answers as msb-registry does, from memory; and lies where it is told to. */
#ifndef MSB_TESTS_FAKE_REMOTE_H
#define MSB_TESTS_FAKE_REMOTE_H

#include "fs/image/sha.h"
#include "base/io.h"
#include "base/msg.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum fake_lie {
	FAKE_HONEST,
	FAKE_BEYOND_FILE, /* says that bytes are there which are not */
	FAKE_TOO_MANY,	  /* more bytes than there are to be */
	FAKE_BACKWARDS,
	FAKE_OTHER_ID,
	FAKE_TWICE,
	FAKE_NO_ID,
	FAKE_OTHER_VERB,
	FAKE_WRONG_SIZE, /* in its answer */
	FAKE_WRONG_BYTES,
	FAKE_GARBAGE, /* not even a message */
	FAKE_REFUSES,
	FAKE_LIES, /* how many there are */
};

struct fake_doc {
	char name[140]; /* TAG or sha256:HEX */
	char type[128];
	struct msb_str bytes;
};

struct fake {
	struct fake_doc docs[96]; /* manifests and blobs alike */
	size_t n;
	enum fake_lie lie;
	uint64_t die_after; /* bytes of blobs; 0: never */
	bool mounts;	    /* other repositories have all */
	/* What was asked. */
	size_t gets, manifests, exists, mounted, puts, resumed;
	uint64_t sent;
	int sock;
	pthread_t thread;
	struct msb_msg in, out;
};

static inline struct fake_doc *fake_find(struct fake *f, const char *name)
{
	for (size_t k = f->n; k--;)
		if (strcmp(f->docs[k].name, name) == 0)
			return &f->docs[k];
	return NULL;
}

/* Under @name, or its digest where that is NULL; @ret may be NULL. */
static inline void fake_add(
	struct fake *f, const char *name, const char *type, const void *p, size_t n, char ret[65])
{
	char hex[65], own[80];
	struct fake_doc *d;

	img_sha_of(p, n, hex);
	(void)snprintf(own, sizeof(own), "sha256:%s", hex);
	d = fake_find(f, name ? name : own);
	if (!d)
		d = &f->docs[f->n++];
	(void)snprintf(d->name, sizeof(d->name), "%s", name ? name : own);
	(void)snprintf(d->type, sizeof(d->type), "%s", type);
	d->bytes.len = 0;
	msb_str_add(&d->bytes, p, n);
	if (ret)
		memcpy(ret, hex, sizeof(hex));
}

static inline void fake_reply(struct fake *f, const char *verb, uint64_t id)
{
	msb_msg_init(&f->out, verb);
	if (f->lie != FAKE_NO_ID)
		msb_msg_set(&f->out, "id", "%llu",
			(unsigned long long)(f->lie == FAKE_OTHER_ID ? id + 77 : id));
}

static inline void fake_error(struct fake *f, uint64_t id, int code, const char *why)
{
	fake_reply(f, "error", id);
	msb_msg_set(&f->out, "code", "%d", code);
	msb_msg_set(&f->out, "msg", "%s", why);
	(void)msb_msg_send(f->sock, &f->out);
}

static inline void fake_progress(struct fake *f, uint64_t id, uint64_t ready)
{
	fake_reply(f, f->lie == FAKE_OTHER_VERB ? "surprise" : "progress", id);
	msb_msg_set(&f->out, "ready_bytes", "%llu", (unsigned long long)ready);
	(void)msb_msg_send(f->sock, &f->out);
}

/* 1 once it has answered with an error. */
static inline int fake_send_bytes(
	struct fake *f, uint64_t id, struct fake_doc *d, uint64_t off, int fd)
{
	size_t n = d->bytes.len;

	while (off < n) {
		size_t k = n - off < 65536 ? n - off : 65536;
		int r = 0;

		if (f->die_after && f->sent + k > f->die_after)
			return -EPIPE;
		if (f->lie != FAKE_BEYOND_FILE)
			r = msb_pwrite_full(fd, d->bytes.buf + off, k, off);
		if (r < 0) {
			fake_error(f, id, -r, "cannot write: No space left on device");
			return 1;
		}
		if (f->lie == FAKE_WRONG_BYTES)
			(void)msb_pwrite_full(fd, "?", 1, off + k / 2);
		off += k;
		f->sent += k;
		fake_progress(f, id, f->lie == FAKE_TOO_MANY ? n + 1 : off);
		if (f->lie == FAKE_BACKWARDS)
			fake_progress(f, id, off - 1);
	}
	return 0;
}

static inline int fake_get(struct fake *f, uint64_t id, int fd)
{
	bool blob = strcmp(msb_msg_get(&f->in, "what"), "blob") == 0;
	struct fake_doc *d = fake_find(f, msb_msg_get(&f->in, "name"));
	uint64_t off = 0, size = 0;

	(void)msb_msg_get_u64(&f->in, "offset", &off);
	(void)msb_msg_get_u64(&f->in, "size", &size);
	f->gets += blob;
	f->manifests += !blob;
	f->resumed += off > 0;
	if (!d || fd < 0) {
		fake_error(f, id, ENOENT, "there is no such thing");
		return 0;
	}
	if (f->lie == FAKE_GARBAGE && blob)
		return send(f->sock, "garbage", 7, MSG_NOSIGNAL) < 0 ? -errno : 0;
	if (f->lie == FAKE_REFUSES && blob) {
		fake_error(f, id, EACCES, "the registry wants a login");
		return 0;
	}
	if (!blob) {
		(void)msb_pwrite_full(fd, d->bytes.buf, d->bytes.len, 0);
	} else {
		int r = fake_send_bytes(f, id, d, off, fd);

		if (r)
			return r < 0 ? r : 0;
	}
	fake_reply(f, "ok", id);
	msb_msg_set(&f->out, "bytes", "%zu",
		d->bytes.len + (f->lie == FAKE_WRONG_SIZE && blob ? 1 : 0));
	msb_msg_set(&f->out, "media_type", "%s", d->type);
	(void)msb_msg_send(f->sock, &f->out);
	if (f->lie == FAKE_TWICE && blob)
		(void)msb_msg_send(f->sock, &f->out);
	return 0;
}

static inline void fake_put(struct fake *f, uint64_t id, int fd)
{
	const char *name = msb_msg_get(&f->in, "name") ?: msb_msg_get(&f->in, "digest");
	const char *type = msb_msg_get(&f->in, "media_type") ?: "";
	static char buf[8u << 20];
	char hex[65];
	int64_t n = msb_pread_full(fd, buf, sizeof(buf), 0);
	uint64_t size = 0;

	f->puts++;
	img_sha_of(buf, n > 0 ? (size_t)n : 0, hex);
	if (*type) { /* a manifest: by its tag and its digest */
		fake_add(f, NULL, type, buf, (size_t)n, NULL);
	} else if (strcmp(name + 7, hex) != 0 || msb_msg_get_u64(&f->in, "size", &size) < 0 ||
		   size != (uint64_t)n) {
		fake_error(f, id, EBADMSG, "that is not what its digest says");
		return;
	}
	fake_add(f, name, type, buf, (size_t)n, NULL);
	fake_progress(f, id, (uint64_t)n);
	fake_reply(f, "ok", id);
	(void)msb_msg_send(f->sock, &f->out);
}

static inline void fake_exists(struct fake *f, uint64_t id, bool mount)
{
	const char *name = msb_msg_get(&f->in, mount ? "digest" : "name");
	struct fake_doc *d = fake_find(f, name);

	f->exists += !mount;
	f->mounted += mount;
	fake_reply(f, "ok", id);
	msb_msg_set(&f->out, mount ? "mounted" : "exists", "%d", mount ? f->mounts : d != NULL);
	msb_msg_set(&f->out, "size", "%zu", d ? d->bytes.len : 0);
	(void)msb_msg_send(f->sock, &f->out);
}

static inline void *fake_main(void *arg)
{
	struct fake *f = arg;

	while (msb_msg_recv(f->sock, &f->in) == 0) {
		const char *verb = msb_msg_verb(&f->in);
		int fd = msb_msg_take_fd(&f->in, 0), r = 0;
		uint64_t id = 0;

		(void)msb_msg_get_u64(&f->in, "id", &id);
		if (strcmp(verb, "get") == 0)
			r = fake_get(f, id, fd);
		else if (strncmp(verb, "put_", 4) == 0)
			fake_put(f, id, fd);
		else if (strcmp(verb, "cancel") != 0)
			fake_exists(f, id, strcmp(verb, "mount") == 0);
		if (fd >= 0)
			close(fd);
		if (r < 0)
			break;
	}
	close(f->sock);
	return NULL;
}

/* The socket to give to img_remote_open(). */
static inline int fake_start(struct fake *f)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	f->sock = sv[0];
	f->gets = f->manifests = f->exists = f->mounted = f->puts = f->resumed = 0;
	f->sent = 0;
	if (pthread_create(&f->thread, NULL, fake_main, f))
		return -EAGAIN;
	return sv[1];
}

/* After the other end is closed. */
static inline void fake_join(struct fake *f)
{
	(void)pthread_join(f->thread, NULL);
}

static inline void fake_done(struct fake *f)
{
	for (size_t k = 0; k < f->n; k++)
		msb_str_done(&f->docs[k].bytes);
	f->n = 0;
}

#endif
