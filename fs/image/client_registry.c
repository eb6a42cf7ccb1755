// SPDX-License-Identifier: Apache-2.0
// Pull and push: msb-image with the store, msb-registry with the network, and a socket between.
#include "fs/image/client_int.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

static void set_text(struct msb_msg *m, const char *key, const char *value)
{
	if (value)
		msb_msg_set(m, key, "%s", value);
}

static void setup_msg(struct msb_msg *m, const char *verb, const struct img_ref *ref,
	const struct img_registry *g)
{
	char key[32];

	msb_msg_init(m, "setup");
	msb_msg_set(m, "verb", "%s", verb);
	msb_msg_set(m, "host", "%s", ref->host);
	msb_msg_set(m, "repo", "%s", ref->repo);
	msb_msg_set(m, "uid", "%u", g->uid);
	msb_msg_set(m, "gid", "%u", g->gid);
	msb_msg_set(m, "plain_http", "%d", g->plain_http);
	msb_msg_set(m, "insecure", "%d", g->insecure);
	set_text(m, "home", g->home);
	set_text(m, "docker_config", g->docker_config);
	set_text(m, "registry_auth_file", g->registry_auth_file);
	set_text(m, "xdg_runtime_dir", g->xdg_runtime_dir);
	set_text(m, "user", g->user);
	set_text(m, "ca", g->ca);
	for (int k = 0; g->mirrors && g->mirrors[k]; k++) {
		(void)snprintf(key, sizeof(key), "mirror.%d", k);
		set_text(m, key, g->mirrors[k]);
	}
	if (g->secret)
		msb_msg_payload(m, g->secret, strlen(g->secret));
}

/* Runs @m's verb with a registry at hand; "ok" replaces @m. */
static int run(const struct img_call *c, const char *verb, const struct img_ref *ref,
	const struct img_registry *g, struct msb_msg *m, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *setup = malloc(sizeof(*setup));
	_cleanup_close_ int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int image = -1, registry = -1, sock = -1;
	pid_t pid;
	int sv[2], r;

	if (!setup)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (null_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start msb-registry: %m");
	image = sv[0];
	registry = sv[1];
	pid = client_start(c, "msb-registry", verb, null_fd, registry, &sock, e);
	if (pid < 0)
		return (int)pid;
	close(steal_fd(&registry)); /* else msb-image would not see it end */
	setup_msg(setup, verb, ref, g);
	r = msb_msg_send(sock, setup);
	explicit_bzero(setup, sizeof(*setup));
	if (r < 0)
		(void)msb_err_set(e, -r, "cannot ask msb-registry: %s", strerror(-r));
	else
		r = client_run(c, verb, image, NULL, NULL, m, e);
	(void)kill(pid, SIGKILL); /* nobody asks it any more */
	(void)client_reap(pid);
	return r;
}

static int wrap(struct msb_err *e, const char *verb, const struct img_ref *ref)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	img_ref_print(ref, &s);
	return msb_err_wrap(e, "%s %s", verb, s.buf ?: "");
}

static void set_ref(struct msb_msg *m, const struct img_ref *ref)
{
	char buf[72];

	msb_msg_set(m, "repo", "%s", ref->repo);
	msb_msg_set(m, "name", "%s", img_ref_version(ref, buf));
}

int img_pull(const struct img_call *c, const struct img_ref *ref, const struct img_registry *g,
	unsigned int flags, struct img_imported *ret, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "pull");
	set_ref(m, ref);
	msb_msg_set(m, "repair", "%d", (flags & IMG_REPAIR) != 0);
	client_set_limits(m);
	r = run(c, "pull", ref, g, m, e);
	if (r == 0)
		r = client_take_image(m, ret, e);
	return r < 0 ? wrap(e, "pull", ref) : 0;
}

int img_push(const struct img_call *c, const char *digest, const struct img_ref *to,
	const char *from, const struct img_registry *g, char ret_digest[65], struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (*to->digest)
		return msb_err_set(e, EINVAL,
			"push needs a tag: what digest the registry will have follows from the image");
	msb_msg_init(m, "push");
	msb_msg_set(m, "digest", "%s", digest);
	set_ref(m, to);
	set_text(m, "from", from);
	r = run(c, "push", to, g, m, e);
	if (r == 0)
		r = client_take_digest(m, ret_digest, e);
	return r < 0 ? wrap(e, "push", to) : 0;
}
