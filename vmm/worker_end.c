// SPDX-License-Identifier: Apache-2.0
// How machines end, and why: libvirt says that, QEMU's own events and its log say why.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "vmm/worker_libvirt.h"

#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <string.h>

#define LOG_TAIL_BYTES 4096

void end_foretell(struct machines *m, const char *id, enum vmm_end how)
{
	LOCK_SCOPE(&m->lock);
	struct omen *o = m->omens;

	while (o && strcmp(o->id, id) != 0)
		o = o->next;
	if (o)
		return; /* the first cause is the cause */
	o = calloc(1, sizeof(*o));
	if (!o)
		return; /* the end will be told without its reason */
	(void)snprintf(o->id, sizeof(o->id), "%s", id);
	o->how = how;
	o->next = m->omens;
	m->omens = o;
}

/* Takes what was foretold for @id into @how. */
void end_fulfil(struct machines *m, const char *id, enum vmm_end *how)
{
	LOCK_SCOPE(&m->lock);

	for (struct omen **p = &m->omens; *p; p = &(*p)->next) {
		struct omen *o = *p;

		if (strcmp(o->id, id) != 0)
			continue;
		if (how)
			*how = o->how;
		*p = o->next;
		free(o);
		return;
	}
}

/* The last line that QEMU itself wrote into its log, and the log away: one for each start. */
void end_take_log(const struct machines *m, const char *id, char *line, size_t size)
{
	static const char mark[] = "qemu-system-x86_64: ";
	_cleanup_close_ int fd = -1;
	char path[MSB_PATH_MAX + 128], tail[LOG_TAIL_BYTES + 1];
	const char *last = NULL;
	int64_t n = 0, end;

	line[0] = '\0';
	if (!m->logs[0])
		return;
	(void)snprintf(path, sizeof(path), "%s/%s.log", m->logs, id);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	if (end > 0)
		n = msb_pread_full(fd, tail, LOG_TAIL_BYTES,
			end > LOG_TAIL_BYTES ? (uint64_t)(end - LOG_TAIL_BYTES) : 0);
	tail[n > 0 ? n : 0] = '\0';
	for (const char *p = strstr(tail, mark); p; p = strstr(p + 1, mark))
		last = p;
	if (last)
		(void)snprintf(line, size, "%.*s", (int)strcspn(last, "\n"), last);
	(void)unlink(path);
}

static int on_lifecycle(virConnectPtr c, virDomainPtr d, int event, int detail, void *arg)
{
	struct machines *m = arg;
	const char *id = virDomainGetName(d);
	enum vmm_end how = VMM_END_CRASHED;
	char line[256], text[320] = "";

	if (event != VIR_DOMAIN_EVENT_STOPPED)
		return 0;
	if (detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
		how = VMM_END_SHUTDOWN;
	else if (detail == VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
		how = VMM_END_DESTROYED;
	end_fulfil(m, id, &how);
	end_take_log(m, id, line, sizeof(line));
	if (how == VMM_END_CRASHED)
		(void)snprintf(text, sizeof(text), "QEMU ended unexpectedly%s%s",
			line[0] ? ": " : "; the kernel may have killed it for lack of memory",
			line);
	else if (how == VMM_END_PANIC)
		(void)snprintf(text, sizeof(text), "the guest's kernel panicked; see console");
	else if (how == VMM_END_RESET)
		(void)snprintf(text, sizeof(text),
			"the guest reset itself, by a reboot or a kernel panic; see console");
	log_debug("machine %s ended: how %d, libvirt's detail %d", id, (int)how, detail);
	m->ended(m->arg, id, how, text);
	return 0;
}

/* libvirt does not tell a reset that ends the machine from a power-off; QEMU does. */
static void on_qemu_event(virConnectPtr c, virDomainPtr d, const char *event, long long sec,
	unsigned int usec, const char *details, void *arg)
{
	const char *id = virDomainGetName(d);

	if (!strcmp(event, "GUEST_PANICKED"))
		end_foretell(arg, id, VMM_END_PANIC);
	else if (details && strstr(details, "\"guest-reset\""))
		end_foretell(arg, id, VMM_END_RESET);
	else if (details && strstr(details, "\"guest-shutdown\""))
		end_foretell(arg, id, VMM_END_SHUTDOWN);
}

int ends_watch(struct machines *m, struct msb_err *e)
{
	if (virConnectDomainEventRegisterAny(m->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
		    VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), m, NULL) < 0)
		return lv_err(e, "libvirt reports no events");
	if (virConnectDomainQemuMonitorEventRegister(m->conn, NULL, "SHUTDOWN|GUEST_PANICKED",
		    on_qemu_event, m, NULL,
		    VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX) < 0)
		return lv_err(e, "libvirt reports no events of QEMU");
	return 0;
}
