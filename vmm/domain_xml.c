// SPDX-License-Identifier: Apache-2.0
// The libvirt description of one machine.
#include "vmm/domain_xml.h"

#include <errno.h>
#include <string.h>

/* Slots of the PCI root bus. The file systems take eight to a slot. */
enum {
	SLOT_SERIAL = 1,
	SLOT_RNG,
	SLOT_PANIC,
	SLOT_FS,
	SLOT_DISK = SLOT_FS + (VMM_MAX_FS + 7) / 8,
	SLOT_VOLUME,
	SLOT_BALLOON
};
_Static_assert(SLOT_BALLOON < 0x1f && VMM_MAX_VOLUMES <= 8, "slot 0x1f is the chipset's own");

/*
 * panic=-1	   a panic resets at once, and a reset ends the machine
 * i8042.*	   (absent) the controller is off in the machine, so nothing probes it
 * tsc=reliable	   skip 100 ms of calibrating against a timer that the host emulates too
 * tsc_early_khz	   (TCG) the counter is the host's; on a busy host the guest would take it
 *		   for many times slower, and all its time would run so much too fast
 * no_timer_check	   on a busy host the test fails by being late, and the kernel panics
 * cryptomgr.*	   self-tests of the kernel's ciphers: Debian ran them
 * lsm=		   no AppArmor, IMA, EVM: nobody loads a policy in the guest
 */
#define CMDLINE                                                                                    \
	"console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable no_timer_check "            \
	"cryptomgr.notests lsm=capability,landlock,yama"
/* TCG does not speculate: the guest has nothing to mitigate there, and each barrier costs. */
#define CMDLINE_TCG " mitigations=off no5lvl"

static void add_escaped(struct msb_str *s, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': msb_str_adds(s, "&amp;"); break;
		case '<': msb_str_adds(s, "&lt;"); break;
		case '>': msb_str_adds(s, "&gt;"); break;
		case '"': msb_str_adds(s, "&quot;"); break;
		case '\'': msb_str_adds(s, "&apos;"); break;
		default: msb_str_add(s, text, 1);
		}
	}
}

/* <before>TEXT<after>, TEXT escaped. */
static void add(struct msb_str *s, const char *before, const char *text, const char *after)
{
	msb_str_adds(s, before);
	add_escaped(s, text);
	msb_str_adds(s, after);
}

/* XML 1.0 has no control characters, escaped or not, and libvirt wants UTF-8. */
static bool text_ok(const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	if (n == size || !msb_utf8_valid(text, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return true;
}

static int check_path(const char *path, size_t size, const char *what, struct msb_err *e)
{
	if (path[0] != '/' || !text_ok(path, size))
		return msb_err_set(e, EINVAL,
			"the %s socket must be an absolute path of printable UTF-8", what);
	return 0;
}

static int check_disk(const struct vmm_spec *s, struct msb_err *e)
{
	const char *format = s->disk.base_format;
	int r = 0;

	if (format[0] && strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return msb_err_set(e, EINVAL, "a disk's format is raw or qcow2");
	if (s->nvolumes > VMM_MAX_VOLUMES)
		return msb_err_set(
			e, ERANGE, "a machine has at most %d disks of volumes", VMM_MAX_VOLUMES);
	for (unsigned int i = 0; i < s->nvolumes; i++)
		if (strnlen(s->volume[i].serial, sizeof(s->volume[i].serial)) != 16 ||
			strspn(s->volume[i].serial, "0123456789abcdef") != 16)
			return msb_err_set(e, EINVAL, "a volume's serial must be 16 hex digits");
	if (!s->own.kernel[0])
		return 0;
	r = check_path(s->own.kernel, sizeof(s->own.kernel), "kernel", e);
	if (r == 0 && s->own.initrd[0])
		r = check_path(s->own.initrd, sizeof(s->own.initrd), "initrd", e);
	if (r == 0 && !text_ok(s->own.cmdline, sizeof(s->own.cmdline)))
		r = msb_err_set(e, EINVAL,
			"the kernel command line must be printable UTF-8 of at most %d bytes",
			VMM_MAX_CMDLINE);
	return r;
}

int vmm_spec_check(const struct vmm_spec *spec, struct msb_err *e)
{
	int r;

	if (strnlen(spec->id, sizeof(spec->id)) != 32 ||
		strspn(spec->id, "0123456789abcdef") != 32 || strspn(spec->id, "0") == 32)
		return msb_err_set(e, EINVAL, "a machine's id must be 32 hex digits");
	if (spec->cpus < 1 || spec->cpus > VMM_MAX_CPUS)
		return msb_err_set(e, ERANGE, "cpus must be between 1 and %d", VMM_MAX_CPUS);
	if (spec->memory_bytes < VMM_MIN_MEMORY_BYTES || spec->memory_bytes > VMM_MAX_MEMORY_BYTES)
		return msb_err_set(e, ERANGE, "memory_bytes must be between %llu and %llu",
			(unsigned long long)VMM_MIN_MEMORY_BYTES,
			(unsigned long long)VMM_MAX_MEMORY_BYTES);
	if (spec->max_cpus > VMM_MAX_CPUS || spec->max_memory_bytes > VMM_MAX_MEMORY_BYTES)
		return msb_err_set(e, ERANGE, "max_cpus or max_memory_bytes is too large");
	if (spec->nfs > VMM_MAX_FS)
		return msb_err_set(
			e, ERANGE, "a machine has at most %d shared file systems", VMM_MAX_FS);
	r = check_path(spec->agent_socket, sizeof(spec->agent_socket), "agent", e);
	if (r == 0)
		r = check_path(spec->console_socket, sizeof(spec->console_socket), "console", e);
	for (unsigned int i = 0; r == 0 && i < spec->nfs; i++) {
		const struct vmm_fs *fs = &spec->fs[i];

		if (!fs->tag[0] || !text_ok(fs->tag, sizeof(fs->tag)))
			return msb_err_set(e, EINVAL,
				"a file system's tag must be 1 to 36 bytes of printable UTF-8");
		for (unsigned int j = 0; j < i; j++)
			if (!strcmp(fs->tag, spec->fs[j].tag))
				return msb_err_set(
					e, EINVAL, "two file systems have the tag %s", fs->tag);
		r = check_path(fs->socket, sizeof(fs->socket), "file system", e);
	}
	if (r == 0 && !text_ok(spec->cmdline_extra, sizeof(spec->cmdline_extra)))
		r = msb_err_set(e, EINVAL, "the kernel command line must be printable UTF-8");
	return r < 0 ? r : check_disk(spec, e);
}

static void add_address(struct msb_str *s, unsigned int slot, unsigned int function, bool multi)
{
	msb_str_addf(s, "<address type='pci' bus='0' slot='%u' function='%u'%s/>", slot, function,
		multi && function == 0 ? " multifunction='on'" : "");
}

static bool more_cpus(const struct vmm_spec *spec)
{
	return spec->max_cpus > spec->cpus;
}

bool vmm_has_balloon(const struct vmm_spec *spec)
{
	return spec->max_memory_bytes > spec->memory_bytes;
}

static void add_platform(struct msb_str *s, const struct vmm_spec *spec, const struct vmm_host *h)
{
	add(s, "<domain type='", h->kvm ? "kvm" : "qemu",
		"' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>");
	add(s, "<name>", spec->id, "</name>");
	msb_str_addf(s, "<uuid>%.8s-%.4s-%.4s-%.4s-%s</uuid>", spec->id, spec->id + 8,
		spec->id + 12, spec->id + 16, spec->id + 20);
	/* What it may have at most; the rest is kept from it by a balloon. */
	if (vmm_has_balloon(spec))
		msb_str_addf(s,
			"<memory unit='b'>%llu</memory><currentMemory unit='b'>%llu</currentMemory>",
			(unsigned long long)spec->max_memory_bytes,
			(unsigned long long)spec->memory_bytes);
	else
		msb_str_addf(s, "<memory unit='b'>%llu</memory>",
			(unsigned long long)spec->memory_bytes);
	/* Shared, so that the file servers reach the guest's memory. */
	msb_str_adds(
		s, "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>");
	msb_str_addf(s, "<vcpu>%u</vcpu>", more_cpus(spec) ? spec->max_cpus : spec->cpus);
	msb_str_adds(s, "<os><type arch='x86_64' machine='q35'>hvm</type>");
	if (h->loader)
		add(s, "<loader readonly='yes' type='rom'>", h->loader, "</loader>");
	add(s, "<kernel>", h->kernel, "</kernel>");
	if (h->initrd[0])
		add(s, "<initrd>", h->initrd, "</initrd>");
	if (spec->own.kernel[0]) {
		add(s, "<cmdline>", spec->own.cmdline, "</cmdline></os>");
	} else {
		msb_str_adds(s, "<cmdline>" CMDLINE);
		if (!h->kvm)
			msb_str_adds(s, CMDLINE_TCG);
		if (!h->kvm && h->tsc_khz)
			msb_str_addf(s, " tsc_early_khz=%u", h->tsc_khz);
		/* The others are there and off. Not plugged: Linux takes CPUs that come later for
		 * what no machine has unless it knows its hypervisor, and it does not know TCG. */
		if (more_cpus(spec))
			msb_str_addf(s, " maxcpus=%u", spec->cpus);
		add(s, spec->cmdline_extra[0] ? " " : "", spec->cmdline_extra, "</cmdline></os>");
	}
	msb_str_adds(
		s, "<features><acpi/><vmport state='off'/><ps2 state='off'/><smm state='off'/>");
	if (!h->kvm)
		msb_str_addf(s, "<tcg><tb-cache unit='MiB'>%d</tb-cache></tcg>", VMM_TCG_CACHE_MIB);
	msb_str_adds(s, "</features>");
	/* AMD's have no IA32_ARCH_CAPABILITIES; QEMU before 10.1 takes it from KVM, and where KVM
	 * then refuses the value, no machine starts. */
	if (!h->kvm)
		/* TCG makes of `rep movsb` a loop of a byte a turn: without these, Linux and C
		 * libraries copy by words. */
		msb_str_adds(s, "<cpu mode='maximum'><feature policy='disable' name='erms'/>"
				"<feature policy='disable' name='fsrm'/></cpu>");
	else if (h->amd)
		msb_str_adds(s, "<cpu mode='host-passthrough' migratable='off'>"
				"<feature policy='disable' name='arch-capabilities'/></cpu>");
	else
		msb_str_adds(s, "<cpu mode='host-passthrough' migratable='off'/>");
	msb_str_adds(s, "<clock offset='utc'><timer name='hpet' present='no'/></clock>"
			"<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot>"
			"<on_crash>destroy</on_crash>");
	if (h->set_uid)
		msb_str_addf(s,
			"<seclabel type='static' model='dac' relabel='no'><label>+%u:+%u</label></seclabel>",
			h->uid, h->gid);
}

/* The paths are names for people: what is opened are the descriptors of the groups. The whole chain
 * is said, with its formats, so that nothing looks into the files for more of it. */
static void add_disk(struct msb_str *s, const struct vmm_spec *spec)
{
	msb_str_addf(s,
		"<disk type='file' device='disk' model='virtio-non-transitional'>"
		"<driver name='qemu' type='qcow2' cache='writeback' io='threads' discard='unmap'/>"
		"<source file='/msb/" VMM_DISK_OVERLAY "' fdgroup='" VMM_DISK_OVERLAY "'/>"
		"<backingStore type='file'><format type='%s'/>"
		"<source file='/msb/" VMM_DISK_BASE "' fdgroup='" VMM_DISK_BASE "'/>"
		"<backingStore/></backingStore><target dev='vda' bus='virtio'/>",
		spec->disk.base_format);
	add_address(s, SLOT_DISK, 0, false);
	msb_str_adds(s, "</disk>");
}

/* Nothing of it is read to find out what it is. */
static void add_volume(struct msb_str *s, const struct vmm_spec *spec, unsigned int i)
{
	const struct vmm_volume *v = &spec->volume[i];

	msb_str_addf(s,
		"<disk type='file' device='disk' model='virtio-non-transitional'>"
		"<driver name='qemu' type='raw' cache='writeback' io='threads' discard='unmap'/>"
		"<source file='/msb/" VMM_VOLUME "%s' fdgroup='" VMM_VOLUME "%s'/>"
		"<backingStore/><target dev='vd%c' bus='virtio'/>%s<serial>%s</serial>",
		v->serial, v->serial, 'b' + (char)i, v->readonly ? "<readonly/>" : "", v->serial);
	add_address(s, SLOT_VOLUME, i, spec->nvolumes > 1);
	msb_str_adds(s, "</disk>");
}

static void add_devices(struct msb_str *s, const struct vmm_spec *spec, const struct vmm_host *h)
{
	add(s, "<devices><emulator>", h->qemu, "</emulator>");
	msb_str_adds(s, "<controller type='usb' model='none'/>"
			"<controller type='virtio-serial' index='0' ports='2' vectors='2' "
			"model='virtio-non-transitional'>");
	add_address(s, SLOT_SERIAL, 0, false);
	add(s, "</controller><channel type='unix'><source mode='bind' path='", spec->agent_socket,
		"'/><target type='virtio' name='" VMM_AGENT_CHANNEL "'/></channel>");
	add(s, "<serial type='unix'><source mode='bind' path='", spec->console_socket,
		"'/><target type='isa-serial' port='0'/></serial>");
	for (unsigned int i = 0; i < spec->nfs; i++) {
		msb_str_addf(s,
			"<filesystem type='mount'><driver type='virtiofs' queue='%d'/><source socket='",
			VMM_FS_QUEUE_SIZE);
		add_escaped(s, spec->fs[i].socket);
		add(s, "'/><target dir='", spec->fs[i].tag, "'/>");
		msb_str_addf(s, "<alias name='ua-fs%u'/>", i);
		add_address(s, SLOT_FS + i / 8, i % 8, spec->nfs > 1);
		msb_str_adds(s, "</filesystem>");
	}
	if (spec->disk.base_format[0])
		add_disk(s, spec);
	for (unsigned int i = 0; i < spec->nvolumes; i++)
		add_volume(s, spec, i);
	msb_str_adds(s, "<rng model='virtio-non-transitional'>"
			"<backend model='random'>/dev/urandom</backend>");
	add_address(s, SLOT_RNG, 0, false);
	msb_str_adds(s, "</rng><panic model='pvpanic'>");
	add_address(s, SLOT_PANIC, 0, false);
	/* Said, because libvirt adds them where nothing is said. */
	msb_str_adds(s, "</panic><watchdog model='itco' action='none'/>");
	if (vmm_has_balloon(spec)) {
		msb_str_adds(s, "<memballoon model='virtio-non-transitional' autodeflate='off'>");
		add_address(s, SLOT_BALLOON, 0, false);
		msb_str_adds(s, "</memballoon>");
	} else {
		msb_str_adds(s, "<memballoon model='none'/>");
	}
	msb_str_adds(s, "<audio id='1' type='none'/></devices>");
}

/* libvirt has no word for it: a queue of requests for each CPU, so that none waits for another's.
 */
static void add_queues(struct msb_str *s, const struct vmm_spec *spec)
{
	unsigned int n = spec->cpus < VMM_MAX_FS_QUEUES ? spec->cpus : VMM_MAX_FS_QUEUES;

	if (spec->nfs == 0 || n == 1)
		return;
	msb_str_adds(s, "<qemu:override>");
	for (unsigned int i = 0; i < spec->nfs; i++)
		msb_str_addf(s,
			"<qemu:device alias='ua-fs%u'><qemu:frontend><qemu:property "
			"name='num-request-queues' type='unsigned' value='%u'/>"
			"</qemu:frontend></qemu:device>",
			i, n);
	msb_str_adds(s, "</qemu:override>");
}

int vmm_domain_xml(const struct vmm_spec *spec, const struct vmm_host *host, struct msb_str *out,
	struct msb_err *e)
{
	int r = vmm_spec_check(spec, e);

	if (r < 0)
		return r;
	add_platform(out, spec, host);
	add_devices(out, spec, host);
	add_queues(out, spec);
	msb_str_adds(out, "</domain>\n");
	return out->oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}
