// SPDX-License-Identifier: Apache-2.0
// Credentials and certificates out of a user's files: in a child with that user's rights.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/user.h"
#include "fs/image/ref.h"
#include "fs/image/registry/setup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define GRACE_MS     10000 /* for reading files, beside what helpers may take */
#define MAX_GATHERED (REG_MAX_CA_BYTES + (4u << 20))

struct frame {
	uint32_t item, site, bytes;
	int32_t value;
};

/* ---- the child */

static void send_item(
	void *arg, enum reg_item item, size_t site, int value, const void *p, size_t n)
{
	const struct frame f = {(uint32_t)item, (uint32_t)site, (uint32_t)n, value};
	int fd = *(const int *)arg;

	if (msb_write_full(fd, &f, sizeof(f)) < 0 || msb_write_full(fd, p, n) < 0)
		_exit(1); /* nobody wants it any more */
}

static int take_on(uid_t uid, gid_t gid)
{
	struct msb_user user;

	if (geteuid() != 0 || uid == 0)
		return 0;
	msb_user_find(uid, gid, &user);
	return msb_user_become(&user);
}

static void child(const struct reg_config *c, int fd, pid_t parent)
{
	static const char sentence[] = "cannot act as the user that asks";

	if (take_on(c->uid, c->gid) < 0) {
		send_item(&fd, REG_ITEM_ERROR, 0, EPERM, sentence, sizeof(sentence) - 1);
		_exit(1);
	}
	/* Cleared by the change of user. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	reg_gather_certs(c, send_item, &fd);
	reg_gather_creds(c, send_item, &fd);
	send_item(&fd, REG_ITEM_END, 0, 0, "", 0);
	_exit(0);
}

/* ---- the parent */

static int take_item(struct reg_config *c, const struct frame *f, char *p, char *user, size_t cap,
	bool *end, struct msb_err *e)
{
	struct reg_site *s = &c->site[f->site];

	p[f->bytes] = '\0';
	switch ((enum reg_item)f->item) {
	case REG_ITEM_USER: (void)snprintf(user, cap, "%s", p); return 0;
	case REG_ITEM_SECRET:
		return reg_cred_set(&s->cred, (enum reg_cred_kind)f->value, user, p, f->bytes);
	case REG_ITEM_CA: msb_str_add(&c->ca, p, f->bytes); return c->ca.oom ? -ENOMEM : 0;
	case REG_ITEM_CERT: msb_str_add(&s->cert, p, f->bytes); return s->cert.oom ? -ENOMEM : 0;
	case REG_ITEM_KEY: msb_str_add(&s->key, p, f->bytes); return s->key.oom ? -ENOMEM : 0;
	case REG_ITEM_NOTE: log_warn("%s, ignoring", p); return 0;
	case REG_ITEM_ERROR: return msb_err_set(e, f->value > 0 ? f->value : EIO, "%s", p);
	case REG_ITEM_END: *end = true; return 0;
	}
	return -EBADMSG;
}

/* @n bytes before @until. -EPIPE at the end. */
static int read_until(int fd, void *p, size_t n, uint64_t until)
{
	while (n) {
		uint64_t now = msb_now_ms();
		int r = now >= until ? -ETIMEDOUT : msb_wait_fd(fd, POLLIN, (int)(until - now));
		ssize_t got = r < 0 ? -1 : read(fd, p, n);

		if (r < 0)
			return r;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0)
			return -EPIPE;
		if (got > 0) {
			p = (char *)p + got;
			n -= (size_t)got;
		}
	}
	return 0;
}

static int collect(struct reg_config *c, int fd, struct msb_err *e)
{
	uint64_t until = msb_now_ms() + GRACE_MS + c->helper_ms * c->nsites;
	char user[256] = "";
	size_t sum = 0;
	bool end = false;
	int r = 0;

	while (r == 0 && !end) {
		struct frame f;
		char *p;

		r = read_until(fd, &f, sizeof(f), until);
		sum += r == 0 ? f.bytes : 0;
		if (r == 0 && (f.site >= c->nsites || f.bytes > MAX_GATHERED || sum > MAX_GATHERED))
			r = -E2BIG;
		if (r < 0)
			break;
		p = malloc((size_t)f.bytes + 1);
		if (!p)
			return -ENOMEM;
		r = read_until(fd, p, f.bytes, until);
		if (r == 0)
			r = take_item(c, &f, p, user, sizeof(user), &end, e);
		explicit_bzero(p, f.bytes);
		free(p);
	}
	return r;
}

int reg_gather(struct reg_config *c, struct msb_err *e)
{
	_cleanup_close_ int rd = -1, wr = -1;
	pid_t self = getpid(), pid;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "cannot read credentials: %m");
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return msb_err_set(e, errno, "cannot read credentials: %m");
	if (pid == 0)
		child(c, wr, self);
	close(steal_fd(&wr));
	r = collect(c, rd, e);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0 && !(e && e->code))
		return msb_err_set(e, -r, "cannot read credentials: %s",
			r == -EPIPE ? "the process that reads them died" : strerror(-r));
	return r;
}
