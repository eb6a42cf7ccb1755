// SPDX-License-Identifier: Apache-2.0
// Mixtapes of masterblaster as sandboxes.
#include "ctl/mixtape.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/disk.h"
#include "ctl/image_names.h"
#include "ctl/op.h"
#include "ctl/pulls.h"
#include "fs/image/image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define LOOK_MS 20 /* between looks at the console's size */
/* Where the mixtape says none. */
#define CMDLINE "console=ttyS0"

static const char *const parts[] = {"kernel", "initrd"};

/* What takes an agent, or a file server, cannot be had. */
static int check(struct ctl_sandbox *sb, struct msb_err *e)
{
	LOCK_SCOPE(&sb->c->lock);
	if (strspn(ctl_conf_value(sb, CONF_MOUNTS), " \t\n") !=
		strlen(ctl_conf_value(sb, CONF_MOUNTS)))
		return msb_err_set(e, EOPNOTSUPP,
			"a mixtape's guest has no agent of msb's that could make mounts; empty `mounts`");
	if (*ctl_conf_value(sb, CONF_ROOT_OPTIONS))
		return msb_err_set(e, EOPNOTSUPP,
			"a mixtape mounts its root itself: it has no options; empty `root_options`");
	return 0;
}

static int take_cmdline(
	struct ctl *c, const char *hex, char ret[VMM_MAX_CMDLINE + 1], struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[80];
	int r;

	if (!*hex) {
		(void)snprintf(ret, VMM_MAX_CMDLINE + 1, "%s", CMDLINE);
		return 0;
	}
	(void)snprintf(path, sizeof(path), "blobs/%s", hex);
	r = msb_read_file(c->store_fd, path, VMM_MAX_CMDLINE + 1, &s);
	while (r == 0 && s.len && strchr(" \t\r\n", s.buf[s.len - 1]))
		s.buf[--s.len] = '\0';
	if (r == -EFBIG || r == -E2BIG || (r == 0 && s.len > VMM_MAX_CMDLINE))
		return msb_err_set(e, E2BIG,
			"the mixtape's kernel arguments have more than %d bytes", VMM_MAX_CMDLINE);
	if (r == 0 && s.buf && memchr(s.buf, '\0', s.len))
		r = -EBADMSG;
	if (r < 0)
		return msb_err_set(e, -r, "the mixtape's kernel arguments: %s", strerror(-r));
	(void)snprintf(ret, VMM_MAX_CMDLINE + 1, "%s", s.buf ?: "");
	return 0;
}

static int take_disk(
	struct ctl_op *op, const struct ctl_meta *meta, struct vmm_disk *ret, struct msb_err *e)
{
	struct ctl *c = op->sb->c;
	const struct img_call call = ctl_store_call(c, NULL, op->cancel_fd);
	char path[MSB_PATH_MAX + 96];
	const struct ctl_disk_base base = {.path = path,
		.format = meta->disk_format,
		.told = "the mixtape's disk",
		.digest = meta->disk};
	int r = 0;

	if (!*meta->disk ||
		(strcmp(meta->disk_format, "raw") != 0 && strcmp(meta->disk_format, "qcow2") != 0))
		return msb_err_set(e, EBADMSG, "the mixtape has no disk, raw or qcow2");
	if (meta->disk_packed) {
		r = img_disk(&call, meta->disk, meta->disk_format, e);
		(void)snprintf(path, sizeof(path), "%s/store/disks/%s.%s", c->paths.state,
			meta->disk, meta->disk_format);
	} else {
		(void)snprintf(path, sizeof(path), "%s/store/blobs/%s", c->paths.state, meta->disk);
	}
	return r < 0 ? r : ctl_disk_open(op->sb, &base, ret, e);
}

static int run_dir(struct ctl_sandbox *sb, struct msb_err *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "sb/%s", sb->id);
	return mkdirat(sb->c->run_fd, path, 0700) < 0 && errno != EEXIST
		       ? msb_err_set(e, errno, "cannot make %s/%s: %m", sb->c->paths.run, path)
		       : 0;
}

int ctl_mixtape_plan(struct ctl_op *op, const char *digest, const struct ctl_meta *meta,
	struct vmm_spec *ret, struct msb_err *e)
{
	struct ctl_sandbox *sb = op->sb;
	int r = check(sb, e);

	if (r == 0 && !*meta->kernel)
		r = msb_err_set(e, EBADMSG, "the mixtape has no kernel");
	if (r == 0)
		r = take_cmdline(sb->c, meta->cmdline, ret->own.cmdline, e);
	if (r == 0) {
		/* From here on its disk lies on top of this image. */
		LOCK_SCOPE(&sb->c->lock);
		r = ctl_pin_set(sb, "", digest, true, e);
	}
	if (r == 0)
		r = take_disk(op, meta, &ret->disk, e);
	if (r == 0) /* its sockets', which otherwise its file server would have made */
		r = run_dir(sb, e);
	if (r < 0) {
		LOCK_SCOPE(&sb->c->lock);
		if (!sb->used)
			ctl_pin_drop(sb, "");
	}
	ctl_sock_path(sb->c, sb->id, parts[0], ret->own.kernel);
	if (*meta->initrd)
		ctl_sock_path(sb->c, sb->id, parts[1], ret->own.initrd);
	return r;
}

static int copy(struct ctl *c, const char *hex, const char *to)
{
	_cleanup_close_ int in = -1, out = -1;
	struct stat st;
	char from[80];

	(void)snprintf(from, sizeof(from), "blobs/%s", hex);
	in = openat(c->store_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0 || fstat(in, &st) < 0)
		return -errno;
	(void)unlinkat(c->run_fd, to, 0); /* of a start that was cut off */
	out = openat(c->run_fd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (out < 0)
		return -errno;
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(out, in, NULL, (size_t)left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		left -= n;
	}
	return 0;
}

static void part_path(const struct ctl_sandbox *sb, const char *part, char ret[80])
{
	(void)snprintf(ret, 80, "sb/%s/%s", sb->id, part);
}

int ctl_mixtape_lay_out(struct ctl_sandbox *sb, const struct ctl_meta *meta, struct msb_err *e)
{
	const char *const hex[] = {meta->kernel, meta->initrd};
	char path[80];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(parts); i++) {
		part_path(sb, parts[i], path);
		r = *hex[i] ? copy(sb->c, hex[i], path) : 0;
		if (r < 0)
			(void)msb_err_set(e, -r, "the mixtape's %s: %s", parts[i], strerror(-r));
	}
	return r;
}

void ctl_mixtape_swept(struct ctl_sandbox *sb)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char path[80];

		part_path(sb, parts[i], path);
		(void)unlinkat(sb->c->run_fd, path, 0); /* it may have had none */
	}
}

uint64_t ctl_mixtape_console(const struct ctl_sandbox *sb)
{
	struct stat st;
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/" CTL_AGENT_DIR "/console", sb->id);
	return fstatat(sb->c->sandboxes_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0
		       ? (uint64_t)st.st_size
		       : 0;
}

static bool ended(struct ctl_sandbox *sb)
{
	LOCK_SCOPE(&sb->c->lock);
	return sb->machine_ended || sb->doom;
}

void ctl_mixtape_await(struct ctl_op *op, uint64_t old_bytes)
{
	uint64_t until = msb_now_ms() + CTL_SPEAK_TIMEOUT_MS;
	struct pollfd pf = {.fd = op->cancel_fd, .events = POLLIN};

	while (msb_now_ms() < until && ctl_mixtape_console(op->sb) == old_bytes && !ended(op->sb) &&
		poll(&pf, 1, LOOK_MS) <= 0)
		;
}

int ctl_mixtape_stop(struct ctl_sandbox *sb, struct msb_err *e)
{
	struct vmm *vmm;
	int r = ctl_vmm(sb->c, &vmm, e);

	return r < 0 ? r : vmm_power_button(vmm, sb->id, e);
}
