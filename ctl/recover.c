// SPDX-License-Identifier: Apache-2.0
// Taking up again what an earlier msbd left.
#include "ctl/recover.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/files.h"
#include "ctl/conf.h"
#include "ctl/job.h"
#include "ctl/mounts.h"
#include "ctl/op.h"
#include "ctl/plugin.h"
#include "ctl/run_main.h"
#include "ctl/supervise.h"
#include "ctl/thread.h"
#include "ctl/volumes.h"
#include "fs/fsd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOOKS	  3
#define TAKERS	  16   /* threads that ask agents, each for one sandbox at a time */
#define SERVED_MS 2000 /* a mount that does not answer in that time is somebody's all the same */

/* Whether somebody answers at @mnt. In a process of its own: one that hangs would hold us up. */
static bool served(const char *mnt)
{
	char path[MSB_PATH_MAX + 16];
	int status = 0;
	struct stat st;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/version", mnt);
	pid = fork();
	if (pid == 0)
		_exit(stat(path, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED));
	if (pid < 0)
		return true;
	for (int i = 0; i < SERVED_MS / 10; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return !WIFEXITED(status) || WEXITSTATUS(status) == 0;
		(void)poll(NULL, 0, 10);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0); /* it waits killably */
	return true;
}

int ctl_recover_mount(const struct ctl *c, struct msb_err *e)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	unsigned int stale = 0;

	/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS"; asking the mount
	 * itself might wait for ever. */
	while (f && getline(&line, &cap, f) > 0) {
		char where[MSB_PATH_MAX], *dash = strstr(line, " - ");

		if (sscanf(line, "%*s %*s %*s %*s %511s", where) == 1 && dash &&
			!strcmp(where, c->paths.mnt) && !strncmp(dash, " - fuse.msbctl ", 15))
			stale++;
	}
	for (; stale; stale--) {
		int r;

		if (served(c->paths.mnt))
			return msb_err_set(e, EBUSY,
				"another msbd, with another state directory, serves %s; end it, or set "
				"MSB_MNT",
				c->paths.mnt);
		r = fsd_fuse_unmount(c->paths.mnt);

		log_info("detached the dead mount at %s%s%s", c->paths.mnt, r < 0 ? ": " : "",
			r < 0 ? strerror(-r) : "");
	}
	return 0;
}

struct machines {
	char (*id)[33];
	size_t n;
};

static bool exists(const struct machines *m, const char *id)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strcmp(m->id[i], id))
			return true;
	return false;
}

static void end_agent(struct ctl_sandbox *sb)
{
	struct ctl_helper h;

	if (ctl_helper_load(sb->c, sb->id, "agent", &h) == 0)
		(void)ctl_helper_end(&h, CTL_END_TIMEOUT_MS); /* not our child: nothing to learn */
}

/* Plugins were ended: what they print went to an msbd that is gone. Their mounts wait for them. */
static void resume_plugins(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};
	struct ctl_table t;

	if (ctl_table_parse(ctl_conf_value(sb, CONF_MOUNTS), &t) < 0)
		log_err("%s: no memory to look at its mounts", sb->name);
	for (size_t i = 0; i < t.n; i++)
		if (!strcmp(t.s[i].backend, "plugin") && ctl_plugin_resume(sb, &t.s[i], &e) < 0)
			log_err("%s: %s: %s", sb->name, t.s[i].path, e.msg);
	ctl_table_done(&t);
}

static void settle(struct ctl_sandbox *sb, enum ctl_state s, const char *why)
{
	LOCK_SCOPE(&sb->c->lock);
	ctl_sandbox_state(sb, s, why);
	log_info("%s: %s%s%s", sb->name, ctl_state_name(s), why ? ": " : "", why ?: "");
}

/* ---- sandboxes whose machine is there and whose start had ended well */

struct found {
	struct ctl_sandbox *sb; /* a reference */
	bool files, agent;	/* that it has a server of them, and a process of its agent */
	uint64_t machines;	/* as sb->machines was */
};

/* Their agents are asked side by side: one that does not answer holds up no other. */
struct found_all {
	struct ctl *c;
	struct found *v;
	size_t n;
	size_t next;	      /* c->lock, as is what follows */
	unsigned int threads; /* that take from them */
};

/* Its machine may end meanwhile: who sees that clears it away, and may start another. Lock held. */
static bool is_there(const struct found *f)
{
	const struct ctl_sandbox *sb = f->sb;

	return sb->machines == f->machines && !sb->machine_ended && !sb->op &&
	       !ctl_state_ended(sb->state);
}

/* The agent's process, so that nobody else ends it. */
static struct ctl_helper steal_agent(const struct found *f)
{
	struct ctl_helper h = {.pidfd = -1};

	LOCK_SCOPE(&f->sb->c->lock);
	if (is_there(f)) {
		h = f->sb->agent;
		f->sb->agent = (struct ctl_helper){.pidfd = -1};
	}
	return h;
}

static void take_up(const struct found *f)
{
	struct ctl_sandbox *sb = f->sb;
	bool agent = f->agent;

	if (agent && ctl_jobs_adopt(sb) < 0) {
		struct ctl_helper h = steal_agent(f);

		log_err("%s: its agent's process does not answer; ending it", sb->name);
		(void)ctl_helper_end(&h, 0); /* not our child: nothing to learn */
		agent = false;
	}
	ctl_health_load(sb);
	LOCK_SCOPE(&sb->c->lock);
	if (!is_there(f))
		return;
	if (sb->state != ST_PAUSED)
		sb->state = ST_RUNNING;
	if (!f->files) {
		ctl_op_clean(sb, EIO, "the file server ended while msbd was not running");
	} else if (agent) {
		ctl_supervise_agent(sb);
		log_info("%s: found running", sb->name);
		ctl_main_recovered(sb);
		ctl_op_mend(sb);
	} else {
		log_info("%s: found running, its agent's process is started again", sb->name);
		ctl_op_reattach(sb);
		ctl_main_recovered(sb);
	}
}

static void *take_up_some(void *arg)
{
	struct found_all *all = arg;

	LOCK_SCOPE(&all->c->lock);
	while (all->next < all->n) {
		struct found *f = &all->v[all->next++];

		pthread_mutex_unlock(&all->c->lock);
		take_up(f);
		ctl_sandbox_unref(f->sb);
		pthread_mutex_lock(&all->c->lock);
	}
	all->threads--;
	pthread_cond_broadcast(&all->c->changed);
	return NULL;
}

static void take_up_all(struct found_all *all)
{
	struct ctl *c = all->c;

	pthread_mutex_lock(&c->lock);
	all->threads = 1;
	while (all->threads < TAKERS && all->threads < all->n && ctl_thread(take_up_some, all) == 0)
		all->threads++; /* it begins once the lock is let go of */
	pthread_mutex_unlock(&c->lock);
	(void)take_up_some(all);
	LOCK_SCOPE(&c->lock);
	while (all->threads)
		pthread_cond_wait(&c->changed, &c->lock);
}

static void recover_one(struct ctl_sandbox *sb, struct vmm *vmm, const struct machines *have,
	const struct msb_err *trouble, struct found_all *found)
{
	struct ctl_files_of of = {
		.c = sb->c, .f = &sb->files, .id = sb->id, .name = sb->name, .sb = sb};
	/* A mixtape's machine needs none. */
	bool files = ctl_files_recover(&of) == 0 || sb->foreign, machine = exists(have, sb->id);
	char why[MSB_ERR_MAX];

	if (sb->state == ST_FAILED)
		(void)snprintf(sb->error, sizeof(sb->error), "%s", sb->reason);
	ctl_plugins_end_stale(sb->c, sb->id);
	/* Without a machine it serves none. */
	if (files && (machine || !ctl_state_ended(sb->state)))
		ctl_shares_recover(sb);
	sb->machine = machine;
	/* Of root and shares: the server outlives a machine that ended while no msbd was there. */
	if (machine || !ctl_state_ended(sb->state))
		sb->nexports = 2;
	if (machine && (sb->state == ST_RUNNING || sb->state == ST_PAUSED)) {
		struct found *f = &found->v[found->n++];

		*f = (struct found){.sb = sb, .files = files, .machines = sb->machines};
		/* Before anybody sees its machine end, and ends that with it. */
		f->agent = files && ctl_helper_load(sb->c, sb->id, "agent", &sb->agent) == 0;
		pthread_mutex_lock(&sb->c->lock);
		ctl_sandbox_ref(sb);
		pthread_mutex_unlock(&sb->c->lock);
		ctl_machine_watch(sb, vmm);
		if (files)
			resume_plugins(sb);
		return;
	}
	if (ctl_state_ended(sb->state) && !machine)
		return;
	end_agent(sb);
	ctl_teardown(sb);
	switch (sb->state) {
	case ST_STARTING: settle(sb, ST_FAILED, "msbd ended while it was starting"); break;
	case ST_STOPPING:
		/* With a reason it was no user's `stop`. */
		(void)snprintf(why, sizeof(why), "%.400s", sb->reason);
		if (*why && ctl_main_is_over(sb) && sb->main_exit)
			settle(sb, ST_FAILED, why);
		else
			settle(sb, ST_STOPPED, NULL);
		break;
	case ST_RUNNING:
	case ST_PAUSED:
		(void)snprintf(why, sizeof(why), "%s%.400s",
			trouble->code ? "its machine cannot be looked for: "
				      : "its machine ended while msbd was not running",
			trouble->code ? trouble->msg : "");
		settle(sb, ST_FAILED, why);
		break;
	default: break; /* a machine that should not have been there */
	}
}

/* Is @id a sandbox's or an image's? */
static bool known(struct ctl *c, const char *id)
{
	if (ctl_sandbox_by_id(c, id))
		return true;
	for (size_t i = 0; i < c->nimg; i++)
		if (!strcmp(c->img[i]->id, id))
			return true;
	return false;
}

/* Ends what belongs to an id that the state file does not know, and removes its run directory. */
static void clear_run(struct ctl *c, const char *id)
{
	static const char *const helpers[] = {"agent", "fsd"};
	char path[MSB_PATH_MAX + 64];

	for (size_t i = 0; i < ARRAY_LEN(helpers); i++) {
		struct ctl_helper h;

		if (ctl_helper_load(c, id, helpers[i], &h) == 0)
			(void)ctl_helper_end(&h, CTL_END_TIMEOUT_MS);
	}
	ctl_plugins_end_stale(c, id);
	ctl_files_unview(c, id);
	(void)snprintf(path, sizeof(path), "sb/%s", id);
	(void)msb_rm_rf(c->run_fd, path);
}

/* Calls @fn for each id below @sub of @dirfd that is nobody's. */
static void each_stray(
	struct ctl *c, int dirfd, const char *sub, void (*fn)(struct ctl *, const char *id))
{
	int fd = openat(dirfd, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	while (d && (de = readdir(d))) {
		uint8_t raw[16];

		if (msb_unhex(de->d_name, raw, sizeof(raw)) == 0 && !known(c, de->d_name))
			fn(c, de->d_name);
	}
}

static void clear_state(struct ctl *c, const char *id)
{
	log_info("removing what is left of sandbox %s", id);
	(void)msb_rm_rf(c->sandboxes_fd, id); /* what stays is tried again next time */
}

/* Whether a machine of its may run, going by its agent's process. */
static bool may_run(const struct ctl_sandbox *sb)
{
	struct ctl_helper h;

	if (ctl_state_ended(sb->state) || ctl_helper_load(sb->c, sb->id, "agent", &h) < 0)
		return false;
	close(h.pidfd);
	return true;
}

/* The machines that there are. Again where the worker was killed meanwhile. */
static int look(struct ctl *c, struct vmm **ret, struct machines *have, struct msb_err *trouble)
{
	int r = 0;

	for (int i = 0; i < LOOKS; i++) {
		r = ctl_vmm(c, ret, trouble);
		if (r == 0)
			r = vmm_list(*ret, &have->id, &have->n, trouble);
		if (r == 0) {
			*trouble = (struct msb_err){0};
			break;
		}
	}
	return r;
}

int ctl_recover(struct ctl *c, struct msb_err *e)
{
	struct machines have = {0};
	struct msb_err trouble = {0};
	_cleanup_free_ struct found *v = calloc(c->nsb + 1, sizeof(*v));
	struct found_all found = {.c = c, .v = v};
	struct vmm *vmm = NULL;
	bool need = false;
	int r;

	if (!v)
		return msb_err_set(e, ENOMEM, "no memory");
	for (size_t i = 0; i < c->nsb; i++)
		need |= !ctl_state_ended(c->sb[i]->state);
	/* Looking costs a worker; where nothing ran there is nothing to look for. */
	r = need ? look(c, &vmm, &have, &trouble) : 0;
	/* A machine that is not found is given up: not where nobody could look. */
	for (size_t i = 0; r < 0 && i < c->nsb; i++)
		if (may_run(c->sb[i]))
			return msb_err_set(e, -r,
				"machines that may run cannot be looked for, and are left alone: %s",
				trouble.msg);
	for (size_t i = 0; i < c->nsb; i++)
		recover_one(c->sb[i], vmm, &have, &trouble, &found);
	for (size_t i = 0; i < have.n; i++)
		if (!ctl_sandbox_by_id(c, have.id[i]))
			(void)vmm_destroy(vmm, have.id[i], NULL); /* of a removed sandbox */
	for (size_t i = 0; i < c->nimg; i++) {
		struct ctl_files_of of;

		ctl_files_of_image(c->img[i], &of);
		(void)ctl_files_recover(&of); /* started again at the next look */
	}
	each_stray(c, c->run_fd, "sb", clear_run);
	each_stray(c, c->sandboxes_fd, ".", clear_state);
	ctl_volumes_recover(c);
	free(have.id);
	take_up_all(&found); /* from here on verbs may be under way */
	return 0;
}
