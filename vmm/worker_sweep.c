// SPDX-License-Identifier: Apache-2.0
// What earlier workers left, put in order before libvirt looks at it.
/*
 * A worker may be killed at any instruction, and libvirt's files then say what is no longer so. Of
 * a machine whose start was cut off before its pid was written down libvirt would think for ever
 * that it is being started, and refuse whatever is asked of it; of one that has ended meanwhile it
 * would look for the monitor. So only machines that were started to the end and whose QEMU is there
 * are left for it to find. libvirt ends the half-started ones too, where it can reach their
 * monitor.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "vmm/worker_libvirt.h"

#include <fcntl.h>
#include <string.h>

#define STATUS_BYTES (1 << 20)
#define SHORT_ID     20 /* of an id, in the names of a machine's directories */

/* Whether libvirt had not come to the end of its start: it says so in the file's first element. */
static bool half_started(const struct machines *m, const char *id)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	static const char reason[] = "reason='starting up'";
	char path[MSB_PATH_MAX + 128];
	const char *p;

	(void)snprintf(path, sizeof(path), "%s/%s.xml", m->pids, id);
	if (msb_read_file(AT_FDCWD, path, STATUS_BYTES, &s) < 0 || !s.buf)
		return false;
	p = strstr(s.buf, "<domstatus ");
	return p && memmem(p, strcspn(p, ">"), reason, sizeof(reason) - 1);
}

/* Removes @parent's entries that are the machine's, whatever number libvirt has given it. */
static void remove_dirs(const struct machines *m, const char *parent, const char *id)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;

	msb_str_addf(&path, "%s/%s", m->view.libvirt, parent);
	d = path.oom ? NULL : opendir(path.buf);
	while (d && (de = readdir(d))) {
		const char *dash = strrchr(de->d_name, '-');

		if (dash && strlen(dash + 1) == SHORT_ID && !strncmp(dash + 1, id, SHORT_ID))
			(void)msb_rm_rf(dirfd(d), de->d_name); /* a directory too many at worst */
	}
}

static void put_in_order(const struct machines *m, const char *id)
{
	static const char *const dirs[] = {"lib/qemu", "lib/qemu/ram", "run/qemu/channel"};
	static const char *const files[] = {".xml.new", ".xml", ".pid"};
	char path[MSB_PATH_MAX + 128];
	pid_t pid;

	if (half_started(m, id)) {
		log_info("machine %s: its start was cut off; ending it", id);
		machine_kill(m, id);
	}
	if (machine_pid(m, id, &pid) == 0)
		return;
	/* What became no QEMU yet ends by itself, but where it had just been told to go on. */
	(void)snprintf(path, sizeof(path), "%s/%s.pid", m->pids, id);
	host_kill(path, HOST_FORK_OF_US);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		remove_dirs(m, dirs[i], id);
	(void)snprintf(path, sizeof(path), "%s/%s.log", m->logs, id);
	(void)unlink(path); /* absent, or a file too many */
	/* Last, so that a worker that is killed here leaves it to the next one. */
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s%s", m->pids, id, files[i]);
		if (unlink(path) < 0 && errno != ENOENT)
			log_warn("%s: %m", path);
	}
}

/* Those that @dir has a file of. */
static void look_at(const struct machines *m, const char *dir)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		char id[33] = "";

		if (strspn(de->d_name, "0123456789abcdef") != 32 || de->d_name[32] != '.')
			continue;
		memcpy(id, de->d_name, 32);
		put_in_order(m, id);
	}
}

/* A worker that was killed while libvirt asked a QEMU what it can do has left that QEMU. */
static void end_probes(const struct machines *m)
{
	_cleanup_str_ struct msb_str dir = MSB_STR_INIT;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;

	msb_str_addf(&dir, "%s/lib/qemu", m->view.libvirt);
	d = dir.oom ? NULL : opendir(dir.buf);
	while (d && (de = readdir(d))) {
		char path[3 * MSB_PATH_MAX];

		if (strncmp(de->d_name, "qmp-", 4) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s/qmp.pid", dir.buf, de->d_name);
		host_kill(path, path);
		(void)msb_rm_rf(dirfd(d), de->d_name); /* a directory too many at worst */
	}
}

void left_sweep(const struct machines *m)
{
	end_probes(m);
	look_at(m, m->pids);
	look_at(m, m->logs);
}
