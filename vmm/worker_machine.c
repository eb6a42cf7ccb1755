// SPDX-License-Identifier: Apache-2.0
// The requests of vmm.h, carried out by libvirt.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "vmm/worker_libvirt.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <string.h>

#define MEMINFO_BYTES 16384
#define GONE_WAIT_MS  3000 /* libvirt's own pace: it looks every 200 ms */
#define GONE_POLL_MS  10

/* Where libvirt keeps its pid, and how libvirt calls it on its command line. */
static void known_by(
	const struct machines *m, const char *id, char path[MSB_PATH_MAX + 128], char name[64])
{
	(void)snprintf(path, MSB_PATH_MAX + 128, "%s/%s.pid", m->pids, id);
	(void)snprintf(name, 64, "guest=%s", id);
}

int machine_pid(const struct machines *m, const char *id, pid_t *ret)
{
	char path[MSB_PATH_MAX + 128], name[64];
	pid_t pid;

	known_by(m, id, path, name);
	pid = host_pid_of(path, name);
	if (pid > 0)
		*ret = pid;
	return pid < 0 ? (int)pid : 0;
}

void machine_kill(const struct machines *m, const char *id)
{
	char path[MSB_PATH_MAX + 128], name[64];

	known_by(m, id, path, name);
	host_kill(path, name);
}

int machine_memory_check(uint64_t bytes, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	return msb_read_file(AT_FDCWD, "/proc/meminfo", MEMINFO_BYTES, &s) < 0
		       ? 0
		       : host_memory_check(s.buf, bytes, e);
}

/* So that it is like every other machine, and ends like one. Nothing where it has none. */
static void forget_definition(struct machines *m, const char *id)
{
	_cleanup_domain_ virDomainPtr d = virDomainLookupByName(m->conn, id);

	if (d && virDomainIsPersistent(d) == 1 && virDomainUndefine(d) < 0)
		log_warn("%s: its definition stays: %s", id, virGetLastErrorMessage());
}

/* Waits until libvirt has put away what is left of an earlier machine @id. */
static int await_gone(struct machines *m, const char *id, struct msb_err *e)
{
	for (int i = 0; i < GONE_WAIT_MS / GONE_POLL_MS; i++) {
		_cleanup_domain_ virDomainPtr d = virDomainLookupByName(m->conn, id);
		pid_t pid;

		if (!d)
			return 0;
		if (machine_pid(m, id, &pid) == 0)
			return msb_err_set(e, EBUSY, "the machine runs already");
		if (virDomainIsActive(d) == 0) /* of a start during which a worker ended */
			forget_definition(m, id);
		(void)poll(NULL, 0, GONE_POLL_MS);
	}
	return msb_err_set(
		e, EBUSY, "what is left of the machine is still being removed; try again");
}

/* libvirt finds no machine of that name any more, and still refuses it for a moment. */
static bool still_removing(void)
{
	virErrorPtr v = virGetLastError();

	return v && v->code == VIR_ERR_OPERATION_FAILED && v->message &&
	       strstr(v->message, "being removed");
}

/* Descriptors can be given to a machine that has a definition alone, which is @ret also where the
 * start fails: libvirt forgets why with the next call. */
static bool start_defined(
	struct machines *m, const char *xml, const struct vmm_spec *s, virDomainPtr *ret)
{
	int overlay = s->disk.overlay_fd, base = s->disk.base_fd;
	bool ok;

	*ret = virDomainDefineXML(m->conn, xml);
	ok = *ret && (!s->disk.base_format[0] ||
			     (virDomainFDAssociate(*ret, VMM_DISK_OVERLAY, 1, &overlay, 0) == 0 &&
				     virDomainFDAssociate(*ret, VMM_DISK_BASE, 1, &base, 0) == 0));
	for (unsigned int i = 0; ok && i < s->nvolumes; i++) {
		char name[32];
		int fd = s->volume[i].fd;

		(void)snprintf(name, sizeof(name), VMM_VOLUME "%s", s->volume[i].serial);
		ok = virDomainFDAssociate(*ret, name, 1, &fd, 0) == 0;
	}
	return ok && virDomainCreateWithFlags(*ret, VIR_DOMAIN_START_PAUSED) == 0;
}

static bool create_once(struct machines *m, const char *xml, const struct vmm_spec *s,
	bool *ret_again, struct msb_err *e)
{
	bool disk = s->disk.base_format[0] || s->nvolumes, ok;
	_cleanup_domain_ virDomainPtr d = NULL;

	if (disk) {
		ok = start_defined(m, xml, s, &d);
	} else {
		d = virDomainCreateXML(m->conn, xml, VIR_DOMAIN_START_PAUSED);
		ok = d;
	}
	*ret_again = !ok && still_removing();
	if (!ok)
		(void)lv_err(e, "the machine does not start");
	if (disk)
		forget_definition(m, s->id);
	return ok;
}

static bool create(struct machines *m, const char *xml, const struct vmm_spec *s, struct msb_err *e)
{
	bool again = false, ok = create_once(m, xml, s, &again, e);

	for (int i = 0; again && i < GONE_WAIT_MS / GONE_POLL_MS; i++) {
		(void)poll(NULL, 0, GONE_POLL_MS);
		ok = create_once(m, xml, s, &again, e);
	}
	return ok;
}

int machines_start(struct machines *m, const struct vmm_spec *asked, struct msb_err *e)
{
	_cleanup_str_ struct msb_str xml = MSB_STR_INIT;
	struct vmm_host host = {
		.kvm = m->kvm, .amd = __builtin_cpu_is("amd"), .tsc_khz = m->tsc_khz};
	struct vmm_spec spec = *asked;
	struct host_parts parts = {0};
	char line[256];
	int r = vmm_spec_check(&spec, e);

	if (r == 0)
		r = await_gone(m, spec.id, e);
	if (r == 0)
		r = host_parts_find(m->view.share, m->view.share_told, &spec, &parts, e);
	if (r == 0)
		r = machine_memory_check(spec.memory_bytes, e);
	if (r == 0)
		r = view_admit(&m->view, &spec, &host, e);
	if (r < 0)
		return r;
	host.qemu = parts.qemu;
	host.loader = parts.loader;
	host.kernel = spec.own.kernel[0] ? spec.own.kernel : parts.kernel;
	host.initrd = spec.own.kernel[0] ? spec.own.initrd : parts.initrd;
	r = vmm_domain_xml(&spec, &host, &xml, e);
	if (r < 0)
		return r;
	end_fulfil(m, spec.id, NULL); /* of an earlier start */
	if (create(m, xml.buf, &spec, e))
		return 0;
	end_take_log(m, spec.id, line, sizeof(line));
	return e && e->code ? -e->code : -EIO;
}

virDomainPtr machine_find(struct machines *m, const char *id, struct msb_err *e)
{
	virDomainPtr d = virDomainLookupByName(m->conn, id);

	if (!d)
		msb_err_set(e, ENOENT, "the machine does not run");
	return d;
}

int machines_resume(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = machine_find(m, id, e);
	int state;

	if (!d)
		return -ENOENT;
	if (virDomainGetState(d, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING)
		return 0;
	return virDomainResume(d) < 0 ? lv_err(e, "the machine does not resume") : 0;
}

int machines_suspend(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = machine_find(m, id, e);

	if (!d)
		return -ENOENT;
	return virDomainSuspend(d) < 0 ? lv_err(e, "the machine does not pause") : 0;
}

int machines_button(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = machine_find(m, id, e);

	if (!d)
		return -ENOENT;
	return virDomainShutdownFlags(d, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) < 0
		       ? lv_err(e, "the machine's power button")
		       : 0;
}

int machines_destroy(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = virDomainLookupByName(m->conn, id);
	int code;

	if (!d)
		return 0;
	end_foretell(m, id, VMM_END_DESTROYED);
	machine_kill(m, id);
	if (virDomainDestroy(d) == 0)
		return 0;
	code = virGetLastErrorCode();
	if (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID)
		return 0; /* it ended on its own meanwhile */
	return lv_err(e, "the machine does not stop");
}

int machines_pid(struct machines *m, const char *id, pid_t *ret, struct msb_err *e)
{
	int r = machine_pid(m, id, ret);

	return r < 0 ? msb_err_set(e, r == -ESRCH ? ENOENT : -r, "the machine does not run") : 0;
}

int machines_list(struct machines *m, char (*ids)[33], struct msb_err *e)
{
	virDomainPtr *all = NULL;
	int n = virConnectListAllDomains(m->conn, &all, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	int kept = 0;

	if (n < 0)
		return lv_err(e, "libvirt lists no machines");
	for (int i = 0; i < n; i++) {
		const char *name = virDomainGetName(all[i]);
		pid_t pid;
		int state;

		/* Not those of others at a shared URI, nor one whose end libvirt has yet to see. */
		if (strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32 &&
			kept < WORKER_MAX_MACHINES && machine_pid(m, name, &pid) == 0)
			memcpy(ids[kept++], name, 33);
		/* It panicked while there was no worker, and has been stopped since. */
		if (virDomainGetState(all[i], &state, NULL, 0) == 0 &&
			state == VIR_DOMAIN_CRASHED) {
			end_foretell(m, name, VMM_END_PANIC);
			machine_kill(m, name);
		}
		virDomainFree(all[i]);
	}
	free(all);
	return kept;
}
