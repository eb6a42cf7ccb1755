// SPDX-License-Identifier: Apache-2.0
// start: from values to a machine whose PID 1 is ready to exec.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/disk.h"
#include "ctl/files.h"
#include "ctl/images.h"
#include "ctl/meta.h"
#include "ctl/mixtape.h"
#include "ctl/mounts.h"
#include "ctl/op.h"
#include "ctl/owner.h"
#include "ctl/patches.h"
#include "ctl/resize.h"
#include "ctl/run_main.h"
#include "ctl/scripts.h"
#include "ctl/supervise.h"
#include "ctl/tmpfs.h"
#include "ctl/volumes.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const char default_path[] =
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* What a start works from: copied from the sandbox at its beginning. */
struct plan {
	struct vmm_spec spec;
	char *hostname, *user, *workdir;
	char *init; /* a path in the guest; NULL: msb's own */
	char **env; /* NAME=VALUE, NULL at the end */
	size_t nenv;
	bool readonly; /* the root */
	bool mixtape;  /* its guest is not ours */
	struct ctl_meta meta;
	struct ctl_table mounts;
	char *tmpfs; /* the table */
	size_t nopen;
	struct ctl_share_fds fds[CTL_MAX_MOUNTS + 1]; /* the first nopen of them */
};

static void plan_done(struct plan *p)
{
	free(p->hostname);
	free(p->user);
	free(p->workdir);
	free(p->init);
	for (size_t i = 0; i < p->nenv; i++)
		free(p->env[i]);
	free(p->env);
	for (size_t i = 0; i < p->nopen; i++)
		ctl_share_close(&p->fds[i]);
	ctl_disk_close(&p->spec.disk);
	ctl_table_done(&p->mounts);
	free(p->tmpfs);
	ctl_meta_done(&p->meta);
}
#define _cleanup_plan_ _cleanup_(plan_done)

/* Sets NAME=VALUE, in place of an earlier one of that name. */
static int set_env(struct plan *p, const char *pair)
{
	size_t k = (size_t)(strchrnul(pair, '=') - pair) + 1;
	char *copy = strdup(pair), **grown;

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < p->nenv; i++)
		if (!strncmp(p->env[i], pair, k)) {
			free(p->env[i]);
			p->env[i] = copy;
			return 0;
		}
	grown = realloc(p->env, (p->nenv + 2) * sizeof(*grown));
	if (!grown) {
		free(copy);
		return -ENOMEM;
	}
	p->env = grown;
	p->env[p->nenv++] = copy;
	p->env[p->nenv] = NULL;
	return 0;
}

/* The image's defaults, then what the sandbox says. */
static int plan_values(struct ctl_sandbox *sb, struct plan *p)
{
	const char *hostname, *user, *workdir, *cpus, *memory;
	int r;

	LOCK_SCOPE(&sb->c->lock);
	hostname = sb->conf[CONF_HOSTNAME];
	user = sb->conf[CONF_USER];
	workdir = sb->conf[CONF_WORKDIR];
	cpus = sb->conf[CONF_CPUS] ?: CTL_DEFAULT_CPUS;
	memory = sb->conf[CONF_MEMORY] ?: CTL_DEFAULT_MEMORY_BYTES;
	p->spec.cpus = (uint32_t)strtoul(cpus, NULL, 10); /* checked when it was set */
	p->spec.memory_bytes = strtoull(memory, NULL, 10);
	if (!p->mixtape)
		ctl_resize_room(sb, &p->spec);
	p->hostname = strdup(hostname && *hostname ? hostname : sb->name);
	p->user = strdup(user && *user ? user : p->meta.user ?: "");
	p->workdir = strdup(workdir && *workdir ? workdir : p->meta.workdir ?: "");
	if (*ctl_conf_value(sb, CONF_INIT) == '/') {
		p->init = strdup(ctl_conf_value(sb, CONF_INIT));
		if (!p->init)
			return -ENOMEM;
	}
	p->tmpfs = strdup(ctl_conf_value(sb, CONF_TMPFS));
	r = p->hostname && p->user && p->workdir && p->tmpfs ? set_env(p, default_path) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < p->meta.nenv; i++)
		r = set_env(p, p->meta.env[i]);
	for (size_t i = 0; r == 0 && i < sb->nenv; i++) {
		_cleanup_free_ char *pair = NULL;

		r = asprintf(&pair, "%s=%s", sb->env[i].name, sb->env[i].value) < 0
			    ? -ENOMEM
			    : set_env(p, pair);
	}
	p->readonly = ctl_conf_root_readonly(sb);
	if (r == 0)
		r = ctl_table_parse(ctl_conf_value(sb, CONF_MOUNTS), &p->mounts);
	return r < 0 ? r : ctl_scripts_share(sb, &p->mounts);
}

static int plan_disk(
	struct ctl_sandbox *sb, const struct ctl_files_of *of, struct plan *p, struct msb_err *e)
{
	const struct ctl_disk_base base = {
		.path = of->source, .format = ctl_disk_format(of->source), .told = of->source};

	if (of->root == CTL_ROOT_DISK)
		return ctl_disk_open(sb, &base, &p->spec.disk, e);
	LOCK_SCOPE(&sb->c->lock);
	if (*ctl_conf_value(sb, CONF_DISK_BYTES))
		return msb_err_set(e, EINVAL,
			"disk_bytes is of a root on a disk; to limit this one write quota_bytes=SIZE into "
			"root_options");
	return 0;
}

/* Disks that are volumes; QEMU has them in place of the file server. */
static int plan_volumes(struct ctl_sandbox *sb, struct plan *p, struct msb_err *e)
{
	for (size_t i = 0; i < p->mounts.n; i++) {
		const struct ctl_share *s = &p->mounts.s[i];
		struct vmm_volume *v = &p->spec.volume[p->spec.nvolumes];
		int r;

		if (!ctl_share_is_disk(s))
			continue;
		if (p->spec.nvolumes == VMM_MAX_VOLUMES)
			return msb_err_set(e, EDQUOT, "a machine has at most %d disks of volumes",
				VMM_MAX_VOLUMES);
		r = ctl_volume_claim(sb, s->volume, s->readonly, e);
		if (r < 0)
			return r;
		(void)snprintf(v->serial, sizeof(v->serial), "%s", s->name);
		v->readonly = s->readonly;
		v->fd = p->fds[i].dir;
		p->spec.nvolumes++;
	}
	return 0;
}

/* Everything that can be refused before anything is begun. */
static int plan_make(struct ctl_op *op, struct ctl_files_of *of, struct plan *p, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	int r = ctl_files_of_sandbox(sb, of, e);

	if (r == 0 && of->root == CTL_ROOT_IMAGE)
		r = ctl_image_meta(sb->c, of->digest, &p->meta, e);
	if (r < 0)
		return r;
	p->mixtape = of->root == CTL_ROOT_IMAGE && !strcmp(p->meta.kind, "mixtape");
	if (*p->meta.kind && strcmp(p->meta.kind, "image") != 0 && !p->mixtape)
		return msb_err_set(e, EOPNOTSUPP,
			"image `%s` is of the kind `%s`, which no root is made of",
			sb->conf[CONF_IMAGE], p->meta.kind);
	r = ctl_patches_check(sb, of->root != CTL_ROOT_DISK && !p->mixtape, e);
	if (r < 0)
		return r;
	if (plan_values(sb, p) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	if (p->spec.max_memory_bytes / CTL_MAX_MEMORY_TIMES > p->spec.memory_bytes)
		return msb_err_set(e, ERANGE,
			"max_memory_bytes is more than %d times memory_bytes, which would be too little "
			"for the guest's kernel",
			CTL_MAX_MEMORY_TIMES);
	for (; p->nopen < p->mounts.n; p->nopen++) {
		r = ctl_share_open(sb, &p->mounts.s[p->nopen], &p->fds[p->nopen], e);
		if (r < 0)
			return r;
	}
	r = plan_volumes(sb, p, e);
	if (r < 0)
		return r;
	r = p->mixtape ? ctl_mixtape_plan(op, of->digest, &p->meta, &p->spec, e)
		       : plan_disk(sb, of, p, e);
	if (r < 0)
		return r;
	(void)snprintf(p->spec.id, sizeof(p->spec.id), "%s", sb->id);
	ctl_sock_path(sb->c, sb->id, "ch", p->spec.agent_socket);
	ctl_sock_path(sb->c, sb->id, "con", p->spec.console_socket);
	return 0;
}

/* Listens for one of the two file systems that a machine has: its root, where that is not on a
 * disk, and one that holds all mounts, there are some or none. */
static int export_one(struct ctl_sandbox *sb, struct ctl_files_of *of, struct plan *p,
	const char *tag, struct msb_err *e)
{
	bool root = !strcmp(tag, CTL_TAG_ROOT);
	unsigned int i = p->spec.nfs;
	struct vmm_fs *fs = &p->spec.fs[i];
	_cleanup_close_ int fd = -1;
	char file[16];
	int r;

	(void)snprintf(file, sizeof(file), "fs%u", i);
	ctl_sock_path(sb->c, sb->id, file, fs->socket);
	fd = msb_unix_listen(fs->socket, SOCK_STREAM, 0600, e);
	if (fd < 0)
		return fd;
	(void)snprintf(fs->tag, sizeof(fs->tag), "%s", tag);
	p->spec.nfs++;
	sb->nexports++; /* also where it fails: unexport accepts what is not there */
	r = root ? fsd_export_tree(sb->files.sock, tag, fd, p->readonly, e)
		 : fsd_export_shares(sb->files.sock, tag, fd, e);
	r = ctl_files_answer(of, r);
	return r < 0 ? msb_err_wrap(e, "the machine's %s", tag) : 0;
}

static int start_files(
	struct ctl_sandbox *sb, struct ctl_files_of *of, struct plan *p, struct msb_err *e)
{
	int r;

	LOCK_SCOPE(&sb->files.lock);
	r = ctl_files_start(of, e);
	if (r == 0 && of->root != CTL_ROOT_DISK)
		r = ctl_patches_apply(of, e);
	/* First, because what fails here fails before anything of a machine is begun. */
	for (size_t i = 0; r == 0 && i < p->mounts.n; i++)
		r = ctl_share_up(of, &p->mounts.s[i], &p->fds[i], e);
	if (r == 0 && of->root != CTL_ROOT_DISK)
		r = export_one(sb, of, p, CTL_TAG_ROOT, e);
	if (r == 0)
		r = export_one(sb, of, p, CTL_TAG_SHARES, e);
	return r;
}

static int connect_channel(
	struct ctl_sandbox *sb, const char *file, const char *what, struct msb_err *e)
{
	char path[108];
	int fd;

	ctl_sock_path(sb->c, sb->id, file, path);
	fd = msb_unix_connect(path, SOCK_STREAM);
	return fd < 0 ? msb_err_set(e, -fd, "the machine's %s channel: %s", what, strerror(-fd))
		      : fd;
}

static int agent_process(struct ctl_sandbox *sb, struct msb_err *e)
{
	struct ctl *c = sb->c;
	struct ctl_helper_note note = {c, sb->id, "agent"};
	_cleanup_close_ int dir = -1;
	int pidfd = -1, other, r;
	struct msb_user user;
	struct ctl_helper h;
	char sock[108], path[64];
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/" CTL_AGENT_DIR, sb->id);
	(void)mkdirat(c->sandboxes_fd, path, 0700); /* there, but after a power cut */
	dir = openat(c->sandboxes_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return msb_err_set(e, errno, "cannot open the agent's directory: %m");
	other = ctl_owner(sb, &user, e);
	if (other < 0)
		return other;
	r = ctl_owner_give(c, &dir, (struct msb_ids){c->uid, c->gid},
		(struct msb_ids){user.uid, user.gid}, false, e);
	if (r < 0)
		return r;
	ctl_sock_path(c, sb->id, "agent", sock);
	ctl_helper_noted(&note);
	pid = agent_spawn(
		c->paths.bin, sb->name, other ? &user : NULL, sock, dir, c->log_fd, &pidfd, e);
	if (pid < 0)
		return pid;
	h = ctl_helper_new(pid, pidfd);
	pthread_mutex_lock(&c->lock);
	sb->agent = h;
	ctl_supervise_agent(sb);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static int attach(struct ctl_sandbox *sb, struct msb_err *e)
{
	_cleanup_close_ int ch = connect_channel(sb, "ch", "agent", e), con = -1;
	char sock[108];

	if (ch < 0)
		return ch;
	con = connect_channel(sb, "con", "console", e);
	if (con < 0)
		return con;
	ctl_sock_path(sb->c, sb->id, "agent", sock);
	return agent_attach(sock, ch, con, e);
}

int ctl_agent_start(struct ctl_sandbox *sb, struct msb_err *e)
{
	int r = agent_process(sb, e);

	return r < 0 ? r : attach(sb, e);
}

static int boot(struct ctl_op *op, struct plan *p, struct msb_err *e)
{
	_cleanup_free_ struct ctl_tmpfs *tmpfs = calloc(CTL_MAX_TMPFS, sizeof(*tmpfs));
	struct agent_mount mounts[CTL_MAX_MOUNTS + 1 + CTL_MAX_TMPFS];
	struct agent_boot b = {.hostname = p->hostname,
		.user = p->user,
		.workdir = p->workdir,
		.init = p->init,
		.env = (const char *const *)p->env,
		.disk = p->spec.disk.base_format[0] ? "vda" : NULL,
		.readonly = p->readonly,
		.mounts = mounts,
		.timeout_ms = CTL_BOOT_TIMEOUT_MS,
		.cancel_fd = op->cancel_fd};
	char sock[108];

	if (!tmpfs)
		return msb_err_set(e, ENOMEM, "no memory");
	for (size_t i = 0; i < p->mounts.n; i++)
		mounts[i] = (struct agent_mount){.name = p->mounts.s[i].name,
			.path = p->mounts.s[i].path,
			.readonly = p->mounts.s[i].readonly,
			.disk = ctl_share_is_disk(&p->mounts.s[i])};
	b.nmounts = ctl_tmpfs_place(p->tmpfs, tmpfs, mounts, p->mounts.n);
	ctl_sock_path(op->sb->c, op->sb->id, "agent", sock);
	return agent_boot(sock, &b, e);
}

static int start_machine(struct ctl_op *op, struct plan *p, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	struct vmm *vmm;
	int r = ctl_vmm(sb->c, &vmm, e);

	if (r == 0)
		r = ctl_doomed(sb, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&sb->c->lock);
	sb->machine = true;
	sb->machines++;
	sb->machine_ended = sb->end_told = false;
	pthread_mutex_unlock(&sb->c->lock);
	if (p->mixtape)
		r = ctl_mixtape_lay_out(sb, &p->meta, e);
	if (r == 0)
		r = vmm_start_paused(vmm, &p->spec, e);
	if (p->mixtape)
		ctl_mixtape_swept(sb);
	if (r == 0)
		r = ctl_doomed(sb, e);
	if (r == 0)
		ctl_machine_watch(sb, vmm);
	if (r == 0)
		r = attach(sb, e);
	if (r == 0)
		r = vmm_resume(vmm, sb->id, e);
	return r;
}

/* What its image says beside what a start needs; also for the next msbd, which may find its
 * machine.
 */
static void note_image(struct ctl_sandbox *sb, const struct plan *p)
{
	LOCK_SCOPE(&sb->c->lock);
	ctl_health_image(sb, &p->meta);
	if (sb->foreign == p->mixtape)
		return;
	sb->foreign = p->mixtape;
	ctl_sandbox_fact(sb, ".foreign", p->mixtape ? "1" : NULL);
}

int ctl_op_start(struct ctl_op *op, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	_cleanup_plan_ struct plan p = {0};
	struct ctl_files_of of;
	uint64_t begun, spoken;
	int r;

	/* A teardown that could not be finished earlier. */
	if (sb->machine)
		ctl_teardown(sb);
	r = ctl_op_pull(op, e);
	begun = msb_now_ms();
	if (r == 0)
		r = plan_make(op, &of, &p, e);
	if (r == 0)
		note_image(sb, &p);
	if (r == 0 && !p.mixtape)
		r = start_files(sb, &of, &p, e);
	if (r == 0)
		r = ctl_doomed(sb, e);
	spoken = ctl_mixtape_console(sb);
	if (r == 0)
		r = agent_process(sb, e);
	if (r == 0)
		r = start_machine(op, &p, e);
	if (r == 0 && p.mixtape) {
		ctl_mixtape_await(op, spoken);
		r = ctl_doomed(sb, e);
	} else if (r == 0) {
		r = boot(op, &p, e);
		/* Where its machine has ended, how it did says more than that the agent is gone. */
		if (r < 0)
			ctl_machine_await_end(sb, CTL_END_TIMEOUT_MS);
	}
	if (r == 0 && !p.mixtape)
		r = ctl_main_start(sb, e);
	if (r < 0)
		return r;
	ctl_files_refresh(sb); /* it may have been looked at since the machine began */
	LOCK_SCOPE(&sb->c->lock);
	sb->started_usec = ctl_now_usec();
	sb->boot_ms = msb_now_ms() - begun;
	return 0;
}
