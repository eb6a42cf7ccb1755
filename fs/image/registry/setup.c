// SPDX-License-Identifier: Apache-2.0
// The "setup" message.
#include "fs/image/registry/setup.h"
#include "base/cleanup.h"
#include "fs/image/ref.h"
#include "fs/image/registry/url.h"

#include <string.h>

static int copy(const struct msb_msg *m, const char *key, char **ret)
{
	const char *v = msb_msg_get(m, key);

	*ret = v && *v ? strdup(v) : NULL;
	return v && *v && !*ret ? -ENOMEM : 0;
}

static bool flag(const struct msb_msg *m, const char *key)
{
	const char *v = msb_msg_get(m, key);

	return v && !strcmp(v, "1");
}

static unsigned int number(const struct msb_msg *m, const char *key, unsigned int otherwise)
{
	uint64_t v;

	return msb_msg_get_u64(m, key, &v) == 0 && v && v <= 86400000 ? (unsigned int)v : otherwise;
}

/* URL as a mirror has it: scheme://host[:port][/prefix]. */
static int add_mirror(struct reg_config *c, const char *url, struct msb_err *e)
{
	struct reg_site *s = &c->site[c->nsites];
	const char *path, *start = strstr(url, "://");
	struct reg_url u;
	size_t n;

	if (c->nsites == REG_MAX_MIRRORS)
		return msb_err_set(e, E2BIG, "more than %d mirrors", REG_MAX_MIRRORS);
	if (reg_url_split(url, &u) < 0 || strpbrk(url, "?#"))
		return msb_err_set(e, EINVAL,
			"a mirror is written https://HOST[:PORT][/PATH], without a user; this one "
			"is not");
	c->nsites++;
	s->mirror = true;
	path = strchrnul(start + 3, '/');
	s->base = strndup(url, (size_t)(path - url));
	s->host = strndup(start + 3, (size_t)(path - start - 3));
	path += strspn(path, "/");
	n = strlen(path);
	while (n && path[n - 1] == '/')
		n--;
	if (asprintf(&s->prefix, "%.*s%s", (int)n, path, n ? "/" : "") < 0)
		s->prefix = NULL;
	return s->base && s->host && s->prefix ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

static int add_host(struct reg_config *c, const char *host, struct msb_err *e)
{
	struct reg_site *s = &c->site[c->nsites++];
	const char *endpoint = img_ref_endpoint(host);
	struct reg_url u;
	char probe[300];

	(void)snprintf(probe, sizeof(probe), "http://%s/", endpoint);
	if (reg_url_split(probe, &u) < 0)
		return msb_err_set(e, EINVAL, "`%s` is not a registry", host);
	/* A registry on this machine is asked without TLS, unless somebody gave it a certificate;
	 * which one it is shows only when it answers: http.c. */
	if (asprintf(&s->base, "%s://%s", c->plain_http ? "http" : "https", endpoint) < 0)
		s->base = NULL;
	s->prefix = strdup("");
	s->host = strdup(host);
	return s->base && s->prefix && s->host ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

int reg_config_read(struct msb_msg *m, struct reg_config *c, struct msb_err *e)
{
	const char *host = msb_msg_get(m, "host"), *verb = msb_msg_get(m, "verb"), *user, *url;
	uint64_t uid, gid;
	char *payload;
	int r;

	if (strcmp(msb_msg_verb(m), "setup") != 0 || !host || !msb_msg_get(m, "repo") || !verb ||
		msb_msg_get_u64(m, "uid", &uid) < 0 || msb_msg_get_u64(m, "gid", &gid) < 0 ||
		uid > UINT32_MAX - 1 || gid > UINT32_MAX - 1)
		return msb_err_set(e, EINVAL, "msb-registry was not told what to do");
	c->uid = (uid_t)uid;
	c->gid = (gid_t)gid;
	c->started_as = geteuid();
	c->push = !strcmp(verb, "push");
	c->plain_http = flag(m, "plain_http");
	c->insecure = flag(m, "insecure");
	c->retry_ms = number(m, "retry_ms", REG_RETRY_MS);
	c->stall_ms = number(m, "stall_ms", REG_STALL_MS);
	c->helper_ms = number(m, "helper_ms", REG_HELPER_MS);
	if (copy(m, "repo", &c->repo) < 0 || copy(m, "home", &c->home) < 0 ||
		copy(m, "docker_config", &c->docker_config) < 0 ||
		copy(m, "registry_auth_file", &c->auth_file) < 0 ||
		copy(m, "xdg_runtime_dir", &c->xdg_runtime_dir) < 0 ||
		copy(m, "ca", &c->ca_path) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (url = msb_msg_get(m, "mirror"); url && !c->push;
		url = msb_msg_next(m, "mirror", url)) {
		r = add_mirror(c, url, e);
		if (r < 0)
			return r;
	}
	r = add_host(c, host, e);
	if (r < 0)
		return r;
	user = msb_msg_get(m, "user");
	if (user && *user) {
		r = reg_cred_set(&c->site[c->nsites - 1].cred, REG_CRED_PASSWORD, user,
			msb_msg_payload_ptr(m), m->payload_bytes);
		payload = m->data + m->head_bytes;
		explicit_bzero(payload, m->payload_bytes);
		if (r < 0)
			return msb_err_set(e, -r,
				"the login for %s has a name or secret that is too long, or of more "
				"than one line",
				host);
	}
	return 0;
}

void reg_config_done(struct reg_config *c)
{
	for (size_t i = 0; i < c->nsites; i++) {
		struct reg_site *s = &c->site[i];

		free(s->base);
		free(s->prefix);
		free(s->host);
		reg_cred_done(&s->cred);
		msb_str_done(&s->cert);
		if (s->key.buf)
			explicit_bzero(s->key.buf, s->key.len);
		msb_str_done(&s->key);
	}
	free(c->repo);
	free(c->home);
	free(c->docker_config);
	free(c->auth_file);
	free(c->xdg_runtime_dir);
	free(c->ca_path);
	msb_str_done(&c->ca);
	memset(c, 0, sizeof(*c));
}
