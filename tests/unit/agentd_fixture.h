/* SPDX-License-Identifier: Apache-2.0 */
/* msb-agentd and the guest's engine, joined as QEMU joins them. The engine runs as an ordinary
 * process: its jobs are processes of this host. */
#ifndef MSB_TESTS_AGENTD_FIXTURE_H
#define MSB_TESTS_AGENTD_FIXTURE_H

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/msg.h"
#include "guest/ga.h"
#include "vmm/agent.h"
#include "vmm/agentd.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define WAIT_MS 60000 /* for anything that must happen: a machine of two cores may be busy */

static char dir[64], ctl[96], port[96];
static int dir_fd, silent;
static pid_t agentd, relay, engine;

static inline int fake_mount(const struct ga_boot *b, struct msb_err *e)
{
	if (!strcmp(b->hostname, "broken"))
		return msb_err_set(e, ENODEV, "mount /: no such thing");
	if (!strcmp(b->hostname, "slow"))
		sleep(1);
	return 0;
}

static inline int fake_enter(const struct ga_boot *b, struct msb_err *e)
{
	return 0;
}

static inline int no_cgroups(void)
{
	return -ENOSYS;
}

static inline void kill_nobody(int sig)
{
}

static inline void nothing(void)
{
}

static inline int drop_nothing(struct msb_err *e)
{
	return 0;
}

static inline int refuse_clock(uint64_t usec)
{
	return usec == 1 ? -EPERM : 0;
}

static inline int fake_share(const struct ga_mount *x, struct msb_err *e)
{
	if (strcmp(x->source, "good") != 0 || !(x->flags & MS_RDONLY))
		return msb_err_set(e, ENOENT, "mount %s: no share %s", x->path, x->source);
	return 0;
}

static inline int fake_unshare(const struct ga_umount *u, struct msb_err *e)
{
	if (!strcmp(u->name, "slow"))
		sleep(30);
	return u->lazy ? 0 : msb_err_set(e, EBUSY, "%s: in use", u->path);
}

static inline int fake_cpus(uint32_t n, struct msb_err *e)
{
	return n <= 2 ? 0 : msb_err_set(e, ERANGE, "the guest has 2 CPUs, not %u", n);
}

/* Its end is the agent's: as in a guest, where it is the machine's. */
static inline void with_its_init(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static const struct ga_ops ops = {fake_mount, fake_enter, no_cgroups, kill_nobody, nothing, nothing,
	drop_nothing, refuse_clock, fake_share, fake_unshare, fake_cpus, with_its_init};

static inline pid_t spawn(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(silent, 2);
	}
	return pid;
}

/* The program itself, with its jail, where it was built beside this one; its loop otherwise. */
static inline void start_agentd(void)
{
	char bin[512] = "", *slash;
	struct msb_err e = {0};
	int fd;

	assert_true(readlink("/proc/self/exe", bin, sizeof(bin) - 32) > 0);
	for (int i = 0; i < 2 && (slash = strrchr(bin, '/')); i++)
		*slash = '\0';
	memcpy(bin + strlen(bin), "/bin/msb-agentd", sizeof("/bin/msb-agentd"));
	if (access(bin, X_OK) == 0) {
		*strrchr(bin, '/') = '\0';
		agentd = agent_spawn(bin, "test", NULL, ctl, dir_fd, silent, NULL, &e);
		assert_true(agentd > 0);
		return;
	}
	fd = msb_unix_listen(ctl, SOCK_SEQPACKET, 0600, &e);
	assert_true(fd >= 0);
	agentd = spawn();
	if (agentd == 0) {
		msb_log_init("test", NULL, silent);
		_exit(agentd_run(fd, dir_fd, &e) < 0);
	}
	close(fd);
}

/* As QEMU's port: bytes pass while somebody is connected, and are dropped otherwise. */
static inline void relay_main(int listen_fd, int guest)
{
	static char buf[2][65536];

	for (;;) {
		struct pollfd idle[2] = {
			{.fd = listen_fd, .events = POLLIN}, {.fd = guest, .events = POLLIN}};
		size_t off[2] = {0}, len[2] = {0};
		int host = -1;

		while (host < 0) {
			(void)poll(idle, 2, -1);
			if (idle[1].revents && read(guest, buf[0], sizeof(buf[0])) <= 0)
				_exit(0);
			if (idle[0].revents)
				host = accept(listen_fd, NULL, NULL);
		}
		for (bool up = true; up;) {
			int fd[2] = {guest, host}; /* direction i: from fd[i] to fd[!i] */
			struct pollfd p[2] = {{.fd = guest}, {.fd = host}};

			for (int i = 0; i < 2; i++) {
				p[i].events |= len[i] == 0 ? POLLIN : 0;
				p[!i].events |= len[i] ? POLLOUT : 0;
			}
			(void)poll(p, 2, -1);
			for (int i = 0; i < 2; i++) {
				ssize_t n;

				if (len[i] == 0 && p[i].revents & (POLLIN | POLLHUP)) {
					n = recv(fd[i], buf[i], sizeof(buf[i]), MSG_DONTWAIT);
					if (n == 0 || (n < 0 && errno != EAGAIN))
						up = false;
					off[i] = 0;
					len[i] = n > 0 ? (size_t)n : 0;
				} else if (len[i] && p[!i].revents & (POLLOUT | POLLHUP)) {
					n = send(fd[!i], buf[i] + off[i], len[i],
						MSG_DONTWAIT | MSG_NOSIGNAL);
					if (n < 0 && errno != EAGAIN)
						up = false;
					off[i] += n > 0 ? (size_t)n : 0;
					len[i] -= n > 0 ? (size_t)n : 0;
				}
			}
		}
		close(host);
	}
}

static inline void start_guest(void)
{
	struct msb_err e = {0};
	int sv[2], fd = msb_unix_listen(port, SOCK_STREAM, 0600, &e);

	assert_true(fd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	engine = spawn();
	if (engine == 0) {
		close(sv[0]);
		close(fd);
		_exit(ga_run(sv[1], &ops, &e) < 0);
	}
	close(sv[1]);
	relay = spawn();
	if (relay == 0)
		relay_main(fd, sv[0]);
	close(sv[0]);
	close(fd);
}

static inline void stop(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

static inline void attach(void)
{
	struct msb_err e = {0};
	int fd = msb_unix_connect(port, SOCK_STREAM), con = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int sv[2];

	assert_true(fd >= 0 && con >= 0);
	close(con);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(agent_attach(ctl, fd, sv[0], &e), 0);
	assert_int_equal(msb_write_full(sv[1], "console says\n", 13), 0);
	close(fd);
	close(sv[0]);
	close(sv[1]);
}

static inline int boot_as(const char *hostname, int timeout_ms, struct msb_err *e)
{
	static const char *const env[] = {"SANDBOX=yes", "OVER=sandbox", NULL};
	const struct agent_boot b = {.hostname = hostname,
		.user = "",
		.workdir = "/",
		.env = env,
		.timeout_ms = timeout_ms,
		.cancel_fd = -1};

	return agent_boot(ctl, &b, e);
}

static inline int setup(void **state)
{
	static int n;

	silent = open(
		getenv("TEST_LOG") ?: "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	(void)snprintf(dir, sizeof(dir), "/tmp/agentd-%d-%d", (int)getpid(), n++);
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(ctl, sizeof(ctl), "%s/ctl", dir);
	(void)snprintf(port, sizeof(port), "%s/port", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_agentd();
	return 0;
}

static inline int setup_booted(void **state)
{
	struct msb_err e = {0};

	setup(state);
	start_guest();
	attach();
	assert_int_equal(boot_as("host", WAIT_MS, &e), 0);
	return 0;
}

static inline int setup_attached(void **state)
{
	setup(state);
	start_guest();
	attach();
	return 0;
}

static inline int teardown(void **state)
{
	stop(&agentd);
	stop(&engine);
	stop(&relay);
	close(dir_fd);
	close(silent);
	return msb_rm_rf(AT_FDCWD, dir);
}

#define WITH_GUEST(t)	 cmocka_unit_test_setup_teardown(t, setup_booted, teardown)
#define WITH_ITS_INIT(t) cmocka_unit_test_setup_teardown(t, setup_attached, teardown)
#define ALONE(t)	 cmocka_unit_test_setup_teardown(t, setup, teardown)

/* Tests run with room for AGENT_MAX_JOBS clients at once. */
static inline void prepare(void)
{
	struct rlimit nofile;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &nofile), 0);
	nofile.rlim_cur = nofile.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &nofile), 0);
	signal(SIGPIPE, SIG_IGN);
}

#endif
