// SPDX-License-Identifier: Apache-2.0
// msb-registry: the short-lived process that speaks to a registry; see registry.h.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/jail.h"
#include "base/log.h"
#include "fs/image/registry/request.h"
#include "fs/image/registry/resolve.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#define SETUP_MS 30000
#define TURN_MS	 60000
#define MEMORY	 (1ULL << 30)

/* What libcurl, OpenSSL and we need once everything is loaded: the network, descriptors that were
 * given, memory and time. No file is opened by name any more, and no thread or process started.
 * Which calls these libraries make is theirs to change: some that ours do not make and that reach
 * nothing further are here for later ones (epoll_pwait2, pselect6, sendmmsg, recvmmsg: waiting and
 * datagrams; pipe2, socketpair: libcurl's own wakeups; sched_getaffinity: glibc's arenas;
 * sched_yield: OpenSSL's locks), and what may not be done fails with ENOSYS: they cope, or say so
 * in a sentence, where the end of the process would say nothing. */
static int narrow(struct msb_err *e)
{
	static const char *const syscalls[] = {"accept4", "bind", "brk", "clock_gettime",
		"clock_nanosleep", "close", "connect", "epoll_create1", "epoll_ctl", "epoll_pwait",
		"epoll_pwait2", "epoll_wait", "eventfd2", "exit", "exit_group", "fcntl", "fstat",
		"futex", "getegid", "geteuid", "getgid", "getpeername", "getpid", "getppid",
		"getrandom", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid",
		"ioctl", "lseek", "madvise", "mmap", "mprotect", "mremap", "munmap", "newfstatat",
		"pipe2", "poll", "ppoll", "pread64", "pselect6", "pwrite64", "read", "readv",
		"recvfrom", "recvmmsg", "recvmsg", "restart_syscall", "rseq", "rt_sigaction",
		"rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "sendmmsg",
		"sendmsg", "sendto", "setsockopt", "shutdown", "socket", "socketpair", "sysinfo",
		"write", "writev", NULL};
	const struct msb_jail jail = {
		.flags = MSB_JAIL_ROOT | MSB_JAIL_IPC | MSB_JAIL_NOBODY,
		.syscalls = syscalls,
		.refuse = true,
	};

	return msb_jail_enter(&jail, e);
}

/* Whether a registry on this machine has TLS shows only when it is asked. No secret goes along. */
struct probe {
	bool done, plain;
};

static void probe_done(struct reg_http *h, int r, const struct msb_err *e)
{
	struct probe *p = h->owner;

	p->done = true;
	/* A server with TLS answers 400, or nothing that can be read. Nobody there: as it is. */
	p->plain = r == 0 || h->status == 401 || (h->status >= 200 && h->status != 400);
}

static int probe_site(struct reg_net *net, struct reg_config *c, struct msb_err *e)
{
	static const struct reg_http_ops ops = {.done = probe_done};
	struct reg_site *s = &c->site[c->nsites - 1];
	struct probe p = {0};
	struct reg_http *h;
	struct reg_url u;
	char *plain;
	int r = 0;

	if (c->plain_http || c->insecure || c->ca.len || reg_url_split(s->base, &u) < 0 ||
		!reg_host_is_loopback(u.host))
		return 0;
	h = reg_http_new(net, s, "GET");
	if (!h || asprintf(&plain, "http%s", s->base + strlen("https")) < 0 ||
		asprintf(&h->url, "%s/v2/", plain) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	h->ops = &ops;
	h->owner = &p;
	h->what = "registry";
	h->once = h->probe = true;
	reg_http_start(h);
	while (r == 0 && !p.done)
		r = reg_net_turn(net, NULL, TURN_MS);
	if (p.plain) {
		free(s->base);
		s->base = plain;
	} else {
		free(plain);
	}
	return r;
}

static int set_up(struct reg_config *c, struct reg_net **net, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	int resolver = -1, r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	/* Before there is a secret here that it could have. */
	r = reg_resolver_start(&resolver, e);
	if (r < 0)
		return r;
	r = msb_wait_fd(REG_SETUP_FD, POLLIN, SETUP_MS);
	if (r == 0)
		r = msb_msg_recv(REG_SETUP_FD, m);
	if (r < 0)
		r = msb_err_set(e, -r, "msb-registry was not told what to do: %s", strerror(-r));
	else
		msb_msg_close_fds(m);
	close(REG_SETUP_FD);
	if (r == 0)
		r = reg_config_read(m, c, e);
	if (r == 0)
		r = reg_gather(c, e);
	if (r < 0) {
		close(resolver);
		return r;
	}
	return reg_net_new(c, resolver, net, e);
}

static int serve(struct reg_serve *s)
{
	int r = 0;

	while (r == 0) {
		struct curl_waitfd client = {.fd = s->sock,
			.events =
				(short)(CURL_WAIT_POLLIN | (s->out_count ? CURL_WAIT_POLLOUT : 0))};

		if (s->net)
			r = reg_net_turn(s->net, &client, TURN_MS);
		else
			r = msb_wait_fd(s->sock, POLLIN, -1);
		if (r == 0 && (client.revents & CURL_WAIT_POLLOUT))
			r = reg_serve_flush(s);
		if (r == 0 && (client.revents || !s->net))
			r = reg_serve_take(s);
		if (r == 0)
			reg_serve_turn(s);
	}
	return r;
}

int main(int argc, char **argv)
{
	static struct reg_serve s;
	static struct reg_config c;
	const struct rlimit none = {0, 0}, memory = {MEMORY, MEMORY};
	struct msb_err e = {0};
	int r;

	if (argc != 1 || fcntl(REG_CLIENT_FD, F_SETFD, FD_CLOEXEC) < 0 ||
		fcntl(REG_SETUP_FD, F_SETFD, FD_CLOEXEC) < 0 ||
		fcntl(REG_CLIENT_FD, F_SETFL, O_NONBLOCK) < 0) {
		fprintf(stderr, "msb-registry is started by msbd\n");
		return 2;
	}
	msb_log_init("msb-registry", NULL, -1);
	signal(SIGPIPE, SIG_IGN);
	tzset(); /* the log's clock reads a file, once */
	(void)setrlimit(RLIMIT_CORE, &none);
	if (geteuid() ==
		0) /* an ordinary user's namespace cannot be made without: msb_jail_enter() */
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || reg_creds_init() < 0)
		return 1;
	s.sock = REG_CLIENT_FD;
	s.cfg = &c;
	TAILQ_INIT(&s.all);
	r = set_up(&c, &s.net, &e);
	if (setrlimit(RLIMIT_AS, &memory) < 0 || narrow(&s.failed) < 0) {
		log_err("%s", s.failed.msg);
		return 1;
	}
	if (r == 0)
		r = probe_site(s.net, &c, &e);
	if (r < 0) {
		s.failed = e;
		log_err("%s", e.msg);
	}
	r = serve(&s);
	reg_serve_done(&s);
	reg_net_free(s.net);
	reg_config_done(&c);
	return r == -EPIPE ? 0 : 1;
}
