// SPDX-License-Identifier: Apache-2.0
// The control socket of msb-fsd: msbd comes, goes, and comes again.
#include "fs/fsd_server.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Of a msbd one for calls, one that watches, and some that ask for figures; the old msbd's may not
 * be gone yet when the new one's come. */
#define MAX_CONNECTIONS 8
#define RETRY_MS	100 /* after accept() failed */

enum { LISTEN, DENIALS, FIRST }; /* in the set that is waited for */

struct control {
	struct fsd *d;
	struct pollfd p[FIRST + MAX_CONNECTIONS];
	bool watches[FIRST + MAX_CONNECTIONS];
	nfds_t n;
};

static void drop(struct control *c, nfds_t i, int r)
{
	if (r != -EPIPE)
		log_warn("control connection: %s", strerror(-r));
	close(c->p[i].fd);
	c->p[i] = c->p[--c->n];
	c->watches[i] = c->watches[c->n];
}

static bool watched(const struct control *c)
{
	for (nfds_t i = FIRST; i < c->n; i++)
		if (c->watches[i])
			return true;
	return false;
}

/* One message of one connection. -errno: close it. */
static int serve(struct control *c, nfds_t i)
{
	struct msb_msg *m = malloc(sizeof(*m));
	int sock = c->p[i].fd, r = m ? msb_msg_recv(sock, m) : -ENOMEM;

	if (r == 0 && !strcmp(msb_msg_verb(m), "watch")) {
		msb_msg_close_fds(m);
		msb_msg_init(m, "ok");
		/* Who watches and does not read keeps nobody waiting. */
		r = fcntl(sock, F_SETFL, O_NONBLOCK) < 0 ? -errno : msb_msg_send(sock, m);
		c->watches[i] = r == 0;
	} else if (r == 0) {
		fsd_handle(c->d, m);
		r = msb_msg_send(sock, m);
	}
	free(m);
	return r;
}

static void tell(struct control *c, struct msb_msg *m, const struct denial *x)
{
	msb_msg_init(m, "denied");
	msb_msg_set(m, "mount", "%s", x->mount);
	msb_msg_set(m, "path", "%s", x->path);
	msb_msg_set(m, "op", "%s", fsb_op_name(x->op));
	msb_msg_set(m, "errno", "%d", x->error);
	msb_msg_set(m, "uid", "%u", x->uid);
	msb_msg_set(m, "pid", "%u", x->pid);
	msb_msg_set(m, "more", "%llu", (unsigned long long)x->more);
	for (nfds_t i = c->n - 1; i >= FIRST; i--) {
		int r = c->watches[i] ? msb_msg_send(c->p[i].fd, m) : 0;

		if (r < 0 && r != -EAGAIN)
			drop(c, i, r);
	}
}

static void tell_all(struct control *c)
{
	struct msb_msg *m = malloc(sizeof(*m));
	struct denial x;

	while (m && denials_take(c->d->denials, &x))
		tell(c, m, &x);
	free(m);
}

int fsd_control(struct fsd *d, int listen_fd)
{
	struct control c = {.d = d, .n = FIRST};

	d->denials = denials_new();
	if (!d->denials)
		return -ENOMEM;
	for (nfds_t i = 0; i < ARRAY_LEN(c.p); i++)
		c.p[i].events = POLLIN;
	while (!d->quit) {
		/* A full house lets newcomers wait; what nobody hears yet stays. */
		c.p[LISTEN].fd = c.n < ARRAY_LEN(c.p) ? listen_fd : -1;
		c.p[DENIALS].fd = watched(&c) ? denials_fd(d->denials) : -1;
		if (poll(c.p, c.n, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		for (nfds_t i = c.n - 1; i >= FIRST && !d->quit; i--) {
			int r = c.p[i].revents ? serve(&c, i) : 0;

			if (r < 0)
				drop(&c, i, r);
		}
		if (c.p[DENIALS].revents)
			tell_all(&c);
		if (c.p[LISTEN].revents) {
			int sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

			if (sock < 0) { /* no descriptors left, say */
				(void)poll(NULL, 0, RETRY_MS);
				continue;
			}
			c.watches[c.n] = false;
			c.p[c.n++] = (struct pollfd){sock, POLLIN, 0};
		}
	}
	for (nfds_t i = FIRST; i < c.n; i++)
		close(c.p[i].fd);
	return 0;
}
