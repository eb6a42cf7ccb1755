// SPDX-License-Identifier: Apache-2.0
// vmm/domain_xml: what is in a machine's description, and that no text gets out of its place.
#include "base/cleanup.h"
#include "vmm/domain_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct vmm_spec plain = {.id = "0123456789abcdef0123456789abcdef",
	.cpus = 2,
	.memory_bytes = UINT64_C(128) << 20,
	.agent_socket = "/run/a",
	.console_socket = "/run/c"};
static const struct vmm_host host = {
	.qemu = "/usr/bin/qemu", .loader = "/qboot", .kernel = "/vmlinux", .initrd = "/initramfs"};

static char *make(const struct vmm_spec *s, const struct vmm_host *h)
{
	struct msb_str out = MSB_STR_INIT;

	assert_int_equal(vmm_domain_xml(s, h, &out, NULL), 0);
	return out.buf;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

/* Every element is closed, in order, and holds no byte that XML forbids. */
static void assert_well_formed(const char *xml)
{
	char stack[32][32];
	int depth = 0;

	for (const char *p = xml; *p; p++) {
		assert_true((unsigned char)*p >= 0x20 || (*p == '\n' && !p[1]));
		if (*p == '&')
			assert_true(!strncmp(p, "&amp;", 5) || !strncmp(p, "&lt;", 4) ||
				    !strncmp(p, "&gt;", 4) || !strncmp(p, "&quot;", 6) ||
				    !strncmp(p, "&apos;", 6));
		if (*p == '<' && p[1] == '/') {
			assert_true(depth > 0);
			depth--;
			assert_int_equal(strncmp(p + 2, stack[depth], strlen(stack[depth])), 0);
		} else if (*p == '<') {
			const char *end = strchr(p, '>');

			assert_non_null(end);
			assert_int_equal(count(p, "\"") - count(end, "\""), 0);
			if (end[-1] == '/')
				continue;
			assert_true(depth < 32);
			(void)snprintf(
				stack[depth++], 32, "%.*s", (int)strcspn(p + 1, " >"), p + 1);
		}
	}
	assert_int_equal(depth, 0);
}

static void structure(void **state)
{
	static const char *const has[] = {
		"<domain type='qemu' ",
		"<name>0123456789abcdef0123456789abcdef</name>",
		"<uuid>01234567-89ab-cdef-0123-456789abcdef</uuid>",
		"<memory unit='b'>134217728</memory>",
		"<source type='memfd'/><access mode='shared'/>",
		"<vcpu>2</vcpu>",
		"<loader readonly='yes' type='rom'>/qboot</loader>",
		"<kernel>/vmlinux</kernel><initrd>/initramfs</initrd><cmdline>console=ttyS0 ",
		" panic=-1 ",
		"<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>",
		"<emulator>/usr/bin/qemu</emulator>",
		"<controller type='usb' model='none'/>",
		"<source mode='bind' path='/run/a'/><target type='virtio' name='msb.agent'/>",
		"<source mode='bind' path='/run/c'/><target type='isa-serial' port='0'/>",
		"<panic model='pvpanic'>",
		"<memballoon model='none'/>",
	};
	_cleanup_free_ char *xml = make(&plain, &host);

	assert_well_formed(xml);
	for (size_t i = 0; i < ARRAY_LEN(has); i++)
		if (count(xml, has[i]) != 1)
			fail_msg("not once: %s in %s", has[i], xml);
	assert_int_equal(count(xml, "<filesystem"), 0);
	assert_int_equal(count(xml, "<interface"), 0);
	assert_int_equal(count(xml, "<graphics"), 0);
	assert_int_equal(count(xml, "<seclabel"), 0);
}

static void room(void **state)
{
	struct vmm_spec s = plain;
	_cleanup_free_ char *xml = NULL;

	s.max_cpus = s.cpus;
	s.max_memory_bytes = s.memory_bytes - 1;
	assert_false(vmm_has_balloon(&s));
	xml = make(&s, &host);
	assert_non_null(strstr(xml, "<memballoon model='none'/>"));
	assert_null(strstr(xml, "maxcpus"));
	free(steal_ptr(xml));
	s.max_cpus = 7;
	s.max_memory_bytes = 4 * s.memory_bytes;
	assert_true(vmm_has_balloon(&s));
	xml = make(&s, &host);
	assert_well_formed(xml);
	assert_non_null(strstr(xml, "<vcpu>7</vcpu>"));
	assert_non_null(strstr(xml, " maxcpus=2"));
	assert_non_null(strstr(xml,
		"<memory unit='b'>536870912</memory><currentMemory unit='b'>134217728</currentMemory>"));
	assert_non_null(
		strstr(xml, "<memballoon model='virtio-non-transitional' autodeflate='off'>"));
	s.max_cpus = VMM_MAX_CPUS + 1;
	assert_int_equal(vmm_spec_check(&s, NULL), -ERANGE);
	s.max_cpus = 1;
	s.max_memory_bytes = VMM_MAX_MEMORY_BYTES + 1;
	assert_int_equal(vmm_spec_check(&s, NULL), -ERANGE);
}

static void by_host(void **state)
{
	struct vmm_host kvm = host, timed = host;
	_cleanup_free_ char *tcg = make(&plain, &host), *with = NULL, *amd = NULL, *rate = NULL;

	kvm.kvm = true;
	kvm.tsc_khz = timed.tsc_khz = 2100123;
	kvm.loader = NULL;
	kvm.set_uid = true;
	kvm.uid = 1879048193;
	kvm.gid = 105;
	with = make(&plain, &kvm);
	assert_well_formed(with);
	assert_non_null(strstr(with, "<domain type='kvm' "));
	assert_non_null(strstr(with, "<cpu mode='host-passthrough'"));
	/* What hardware does well and TCG a byte at a time. */
	assert_non_null(strstr(tcg, "<feature policy='disable' name='erms'/>"));
	assert_non_null(strstr(tcg, "<feature policy='disable' name='fsrm'/>"));
	assert_null(strstr(with, "erms"));
	assert_non_null(strstr(with, "<label>+1879048193:+105</label>"));
	assert_null(strstr(with, "<loader"));
	assert_null(strstr(with, "arch-capabilities"));
	kvm.amd = true;
	amd = make(&plain, &kvm);
	assert_well_formed(amd);
	assert_non_null(strstr(amd, "<feature policy='disable' name='arch-capabilities'/></cpu>"));
	/* Mitigations are for hardware: there they stay on. */
	assert_null(strstr(with, "mitigations=off"));
	assert_non_null(strstr(tcg, "mitigations=off"));
	rate = make(&plain, &timed);
	assert_non_null(strstr(rate, " tsc_early_khz=2100123"));
	/* A rate that is not known is the guest's to find; hardware knows its own. */
	assert_null(strstr(tcg, "tsc_early_khz"));
	assert_null(strstr(with, "tsc_early_khz"));
}

static void file_systems(void **state)
{
	struct vmm_spec s = plain;
	_cleanup_free_ char *xml = NULL;

	s.nfs = VMM_MAX_FS;
	for (unsigned int i = 0; i < s.nfs; i++) {
		(void)snprintf(s.fs[i].tag, sizeof(s.fs[i].tag), "tag%u", i);
		(void)snprintf(s.fs[i].socket, sizeof(s.fs[i].socket), "/run/fs%u", i);
	}
	xml = make(&s, &host);
	assert_well_formed(xml);
	assert_int_equal(count(xml, "<driver type='virtiofs' queue='1024'/>"), VMM_MAX_FS);
	assert_non_null(strstr(xml, "<source socket='/run/fs31'/><target dir='tag31'/>"));
	/* Each at an address of its own. */
	for (unsigned int i = 0; i < s.nfs; i++) {
		char address[64];

		(void)snprintf(
			address, sizeof(address), "slot='%u' function='%u'", 4 + i / 8, i % 8);
		assert_int_equal(count(xml, address), 1);
	}
	assert_int_equal(count(xml, "multifunction='on'"), VMM_MAX_FS / 8);
}

static void queues_follow_cpus(void **state)
{
	static const struct {
		unsigned int cpus, fs;
		const char *value;
	} row[] = {{1, 2, NULL}, {4, 0, NULL}, {2, 2, "value='2'"}, {8, 1, "value='8'"},
		{9, 1, "value='8'"}};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct vmm_spec s = plain;
		_cleanup_free_ char *xml = NULL;

		s.cpus = row[i].cpus;
		s.nfs = row[i].fs;
		for (unsigned int k = 0; k < s.nfs; k++) {
			(void)snprintf(s.fs[k].tag, sizeof(s.fs[k].tag), "t%u", k);
			(void)snprintf(s.fs[k].socket, sizeof(s.fs[k].socket), "/s%u", k);
		}
		xml = make(&s, &host);
		assert_well_formed(xml);
		if (!row[i].value) {
			assert_null(strstr(xml, "qemu:override"));
			continue;
		}
		assert_int_equal(count(xml, "name='num-request-queues' type='unsigned'"), s.nfs);
		assert_int_equal(count(xml, row[i].value), s.nfs);
		assert_int_equal(count(xml, "<alias name='ua-fs0'/>"), 1);
		assert_int_equal(count(xml, "<qemu:device alias='ua-fs0'>"), 1);
	}
}

static void escapes(void **state)
{
	struct vmm_spec s = plain;
	_cleanup_free_ char *xml = NULL;

	s.nfs = 1;
	(void)snprintf(s.fs[0].tag, sizeof(s.fs[0].tag), "'/><evil a=\"&'");
	(void)snprintf(s.fs[0].socket, sizeof(s.fs[0].socket), "/a'/>b");
	(void)snprintf(s.agent_socket, sizeof(s.agent_socket), "/]]>&amp;'");
	(void)snprintf(s.console_socket, sizeof(s.console_socket), "/\xc3\xa9<!--");
	(void)snprintf(s.cmdline_extra, sizeof(s.cmdline_extra), "x=</cmdline></os>");
	xml = make(&s, &host);
	assert_well_formed(xml);
	assert_null(strstr(xml, "<evil"));
	assert_int_equal(count(xml, "</os>"), 1);
	assert_non_null(strstr(xml, "dir='&apos;/&gt;&lt;evil a=&quot;&amp;&apos;'"));
	assert_non_null(strstr(xml, "path='/]]&gt;&amp;amp;&apos;'"));
	assert_non_null(strstr(xml, " x=&lt;/cmdline&gt;"));
}

/* Both files as descriptors, each with its format, and the end of the chain: QEMU guesses nothing.
 */
static void a_disk(void **state)
{
	struct vmm_spec s = plain;

	strcpy(s.disk.base_format, "raw");
	_cleanup_free_ char *xml = make(&s, &host);
	assert_well_formed(xml);
	assert_int_equal(count(xml, "<disk "), 1);
	assert_non_null(strstr(xml, "type='qcow2' cache='writeback'"));
	assert_non_null(
		strstr(xml, "fdgroup='overlay'/><backingStore type='file'><format type='raw'/>"
			    "<source file='/msb/base' fdgroup='base'/><backingStore/>"));
	assert_non_null(strstr(xml, "<kernel>/vmlinux</kernel>"));
	strcpy(s.disk.base_format, "vmdk");
	assert_int_equal(vmm_spec_check(&s, NULL), -EINVAL);
}

static void volumes(void **state)
{
	struct vmm_spec s = plain;
	_cleanup_free_ char *xml = NULL;
	struct msb_err e = {0};

	s.nvolumes = VMM_MAX_VOLUMES;
	for (unsigned int i = 0; i < s.nvolumes; i++) {
		(void)snprintf(s.volume[i].serial, sizeof(s.volume[i].serial), "%016x", i);
		s.volume[i].readonly = i == 3;
	}
	xml = make(&s, &host);
	assert_well_formed(xml);
	assert_int_equal(count(xml, "<disk "), VMM_MAX_VOLUMES);
	assert_int_equal(count(xml, "type='raw'"), VMM_MAX_VOLUMES);
	assert_int_equal(count(xml, "<readonly/>"), 1);
	assert_non_null(strstr(xml, "fdgroup='volume-0000000000000003'"));
	assert_non_null(strstr(xml, "<serial>0000000000000007</serial>"));
	s.nvolumes++;
	assert_int_equal(vmm_spec_check(&s, &e), -ERANGE);
	s.nvolumes = 1;
	s.volume[0].serial[3] = '\'';
	assert_int_equal(vmm_spec_check(&s, &e), -EINVAL);
}

static void a_kernel_of_its_own(void **state)
{
	struct vmm_host h = host;
	struct vmm_spec s = plain;

	strcpy(s.own.kernel, "/run/sb/kernel");
	strcpy(s.own.initrd, "/run/sb/initrd");
	strcpy(s.own.cmdline, "console=ttyS0 a=<b>&c");
	h.kernel = s.own.kernel;
	h.initrd = s.own.initrd;
	h.loader = NULL;
	_cleanup_free_ char *xml = make(&s, &h);
	assert_well_formed(xml);
	/* Nothing of ours in it. */
	assert_non_null(strstr(xml, "<cmdline>console=ttyS0 a=&lt;b&gt;&amp;c</cmdline>"));
	s.own.cmdline[0] = '\n';
	assert_int_equal(vmm_spec_check(&s, NULL), -EINVAL);
	memset(s.own.cmdline, 'x', sizeof(s.own.cmdline));
	assert_int_equal(vmm_spec_check(&s, NULL), -EINVAL);
	s.own.cmdline[VMM_MAX_CMDLINE] = '\0';
	assert_int_equal(vmm_spec_check(&s, NULL), 0);
	s.own.initrd[0] = 'r';
	assert_int_equal(vmm_spec_check(&s, NULL), -EINVAL);
}

static void refuse(struct vmm_spec s, int code)
{
	struct msb_err e = {0};
	struct msb_str out = MSB_STR_INIT;

	assert_int_equal(vmm_domain_xml(&s, &host, &out, &e), -code);
	assert_int_equal(e.code, code);
	assert_true(e.msg[0]);
	assert_null(out.buf);
}

#define WITH(field, ...)                                                                           \
	({                                                                                         \
		struct vmm_spec s_ = plain;                                                        \
		s_.nfs = 1;                                                                        \
		s_.fs[0] = (struct vmm_fs){.tag = "t", .socket = "/s"};                            \
		s_.field = __VA_ARGS__;                                                            \
		s_;                                                                                \
	})
#define WITH_TEXT(field, text)                                                                     \
	({                                                                                         \
		struct vmm_spec t_ = WITH(cpus, 1);                                                \
		(void)memset(t_.field, 0, sizeof(t_.field));                                       \
		memcpy(t_.field, text, sizeof(text) - 1);                                          \
		t_;                                                                                \
	})

static void bounds(void **state)
{
	struct vmm_spec s = WITH(cpus, 1);

	free(make(&s, &host)); /* the model of those below is good */
	refuse(WITH(cpus, 0), ERANGE);
	refuse(WITH(cpus, VMM_MAX_CPUS + 1), ERANGE);
	refuse(WITH(memory_bytes, VMM_MIN_MEMORY_BYTES - 1), ERANGE);
	refuse(WITH(memory_bytes, VMM_MAX_MEMORY_BYTES + 1), ERANGE);
	refuse(WITH(nfs, VMM_MAX_FS + 1), ERANGE);
	refuse(WITH_TEXT(id, ""), EINVAL);
	refuse(WITH_TEXT(id, "0123456789abcdef0123456789abcde"), EINVAL);
	refuse(WITH_TEXT(id, "0123456789abcdef0123456789abcde/"), EINVAL);
	refuse(WITH_TEXT(id, "0123456789ABCDEF0123456789abcdef"), EINVAL);
	refuse(WITH_TEXT(id, "00000000000000000000000000000000"), EINVAL);
	refuse(WITH_TEXT(agent_socket, "relative"), EINVAL);
	refuse(WITH_TEXT(agent_socket, ""), EINVAL);
	refuse(WITH_TEXT(console_socket, "/a\nb"), EINVAL);
	refuse(WITH_TEXT(console_socket, "/\xff"), EINVAL);
	refuse(WITH_TEXT(fs[0].tag, ""), EINVAL);
	refuse(WITH_TEXT(fs[0].tag, "a\x1b"), EINVAL);
	refuse(WITH_TEXT(fs[0].tag, "0123456789012345678901234567890123456"), EINVAL); /* no NUL */
	refuse(WITH_TEXT(fs[0].socket, "s"), EINVAL);
	refuse(WITH_TEXT(cmdline_extra, "a\x01"), EINVAL);
	s.nfs = 2;
	s.fs[1] = s.fs[0];
	refuse(s, EINVAL); /* the same tag twice */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk),
		cmocka_unit_test(volumes),
		cmocka_unit_test(a_kernel_of_its_own),
		cmocka_unit_test(structure),
		cmocka_unit_test(room),
		cmocka_unit_test(by_host),
		cmocka_unit_test(file_systems),
		cmocka_unit_test(queues_follow_cpus),
		cmocka_unit_test(escapes),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
