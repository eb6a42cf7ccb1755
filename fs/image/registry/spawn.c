// SPDX-License-Identifier: Apache-2.0
// Starting msb-registry: msbd's side.
#include "fs/image/registry/registry.h"
#include "base/cleanup.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void set(struct msb_msg *m, const char *key, const char *value)
{
	if (value)
		msb_msg_set(m, key, "%s", value);
}

static void set_ms(struct msb_msg *m, const char *key, unsigned int ms)
{
	if (ms)
		msb_msg_set(m, key, "%u", ms);
}

static void setup_message(const struct reg_setup *s, struct msb_msg *m)
{
	msb_msg_init(m, "setup");
	msb_msg_set(m, "host", "%s", s->host);
	msb_msg_set(m, "repo", "%s", s->repo);
	msb_msg_set(m, "verb", "%s", s->push ? "push" : "pull");
	msb_msg_set(m, "uid", "%u", s->uid);
	msb_msg_set(m, "gid", "%u", s->gid);
	set(m, "home", s->home);
	set(m, "docker_config", s->docker_config);
	set(m, "registry_auth_file", s->registry_auth_file);
	set(m, "xdg_runtime_dir", s->xdg_runtime_dir);
	set(m, "user", s->user);
	msb_msg_set(m, "plain_http", "%d", s->plain_http);
	msb_msg_set(m, "insecure", "%d", s->insecure);
	set(m, "ca", s->ca);
	for (const char *const *url = s->mirrors; url && *url; url++)
		msb_msg_set(m, "mirror", "%s", *url);
	set_ms(m, "retry_ms", s->retry_ms);
	set_ms(m, "stall_ms", s->stall_ms);
	set_ms(m, "helper_ms", s->helper_ms);
	if (s->user && s->secret)
		msb_msg_payload(m, s->secret, strlen(s->secret));
}

pid_t reg_spawn(const char *bin_dir, const struct reg_setup *s, int log_fd, int *ret_client,
	int *ret_pidfd, struct msb_err *e)
{
	_cleanup_close_ int client = -1, client_far = -1, setup = -1, setup_far = -1, pidfd = -1;
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	char path[4096], *argv[] = {"msb-registry", NULL};
	int sv[2], r;
	pid_t pid;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (snprintf(path, sizeof(path), "%s/msb-registry", bin_dir) >= (int)sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "the path of msb-registry is too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-registry: %m");
	client = sv[0];
	client_far = sv[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-registry: %m");
	setup = sv[0];
	setup_far = sv[1];
	/* It waits in the socket: nothing blocks here, and nothing is left to do afterwards. */
	setup_message(s, m);
	r = msb_msg_send(setup, m);
	explicit_bzero(m, sizeof(*m));
	if (r < 0)
		return msb_err_set(e, -r, "cannot ask msb-registry: %s", strerror(-r));
	pid = msb_spawn(path, argv, (const int[]){client_far, setup_far}, 2, log_fd,
		ret_pidfd ? &pidfd : NULL, e);
	if (pid < 0)
		return pid;
	*ret_client = steal_fd(&client);
	if (ret_pidfd)
		*ret_pidfd = steal_fd(&pidfd);
	return pid;
}
