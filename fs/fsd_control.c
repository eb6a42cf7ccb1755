// SPDX-License-Identifier: Apache-2.0
// The control socket of msb-fsd: msbd comes, goes, and comes again.
#include "fs/fsd_server.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* The old msbd's connection may not be gone yet when the new one's comes. */
#define MAX_CONNECTIONS 4
#define RETRY_MS	100 /* after accept() failed */

/* One message of one connection. -errno: close it. */
static int serve(struct fsd *d, int sock)
{
	struct msb_msg *m = malloc(sizeof(*m));
	int r = m ? msb_msg_recv(sock, m) : -ENOMEM;

	if (r == 0) {
		fsd_handle(d, m);
		r = msb_msg_send(sock, m);
	}
	free(m);
	return r;
}

int fsd_control(struct fsd *d, int listen_fd)
{
	struct pollfd p[1 + MAX_CONNECTIONS] = {{listen_fd, POLLIN, 0}};
	nfds_t n = 1;

	while (!d->quit) {
		/* A full house lets newcomers wait. */
		p[0].fd = n < ARRAY_LEN(p) ? listen_fd : -1;
		if (poll(p, n, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		for (nfds_t i = n - 1; i > 0 && !d->quit; i--) {
			int r = p[i].revents ? serve(d, p[i].fd) : 0;

			if (r == 0)
				continue;
			if (r != -EPIPE)
				log_warn("control connection: %s", strerror(-r));
			close(p[i].fd);
			p[i] = p[--n];
		}
		if (p[0].revents) {
			int sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

			if (sock >= 0)
				p[n++] = (struct pollfd){sock, POLLIN, 0};
			else /* no descriptors left, say */
				(void)poll(NULL, 0, RETRY_MS);
		}
	}
	for (nfds_t i = 1; i < n; i++)
		close(p[i].fd);
	return 0;
}
