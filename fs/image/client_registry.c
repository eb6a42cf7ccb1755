// SPDX-License-Identifier: Apache-2.0
// Pull and push: msb-image with the store, msb-registry with the network, and a socket between.
#include "fs/image/client_int.h"
#include "fs/image/registry/registry.h"
#include "base/cleanup.h"

#include <signal.h>

/* Runs @m's verb with a registry at hand; "ok" replaces @m. */
static int run(const struct img_call *c, bool push, const struct img_ref *ref,
	const struct img_registry *g, struct msb_msg *m, struct msb_err *e)
{
	const struct reg_setup setup = {
		.host = ref->host,
		.repo = ref->repo,
		.push = push,
		.uid = g->uid,
		.gid = g->gid,
		.home = g->home,
		.docker_config = g->docker_config,
		.registry_auth_file = g->registry_auth_file,
		.xdg_runtime_dir = g->xdg_runtime_dir,
		.user = g->user,
		.secret = g->secret,
		.plain_http = g->plain_http,
		.insecure = g->insecure,
		.ca = g->ca,
		.mirrors = g->mirrors,
	};
	_cleanup_close_ int sock = -1;
	pid_t pid = reg_spawn(c->bin_dir, &setup, c->log_fd, &sock, NULL, e);
	int r;

	if (pid < 0)
		return (int)pid;
	r = client_run(c, push ? "push" : "pull", sock, NULL, NULL, m, e);
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
	struct img_imported *ret, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	msb_msg_init(m, "pull");
	set_ref(m, ref);
	client_set_limits(c, m);
	r = run(c, false, ref, g, m, e);
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
	if (from)
		msb_msg_set(m, "from", "%s", from);
	r = run(c, true, to, g, m, e);
	if (r == 0)
		r = client_take_digest(m, ret_digest, e);
	return r < 0 ? wrap(e, "push", to) : 0;
}
