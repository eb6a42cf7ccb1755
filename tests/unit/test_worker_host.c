// SPDX-License-Identifier: Apache-2.0
// vmm/worker_host: memory, programs and files that a start needs; whose pid a pid is.
#include "base/cleanup.h"
#include "base/io.h"
#include "vmm/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define MIB(n) (UINT64_C(n) << 20)

static char dir[] = "/tmp/msb-host-XXXXXX";

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static void put(const char *name, const char *text, mode_t mode)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, text, strlen(text), mode), 0);
}

static void memory(void **state)
{
	static const char info[] =
		"MemTotal:  9999999 kB\nMemFree: 1 kB\nMemAvailable:  1048576 kB\n";
	struct msb_err e = {0};

	assert_int_equal(host_memory_check(info, MIB(1024) - WORKER_MARGIN_BYTES, &e), 0);
	assert_int_equal(e.code, 0);
	assert_int_equal(host_memory_check(info, MIB(1024) - WORKER_MARGIN_BYTES + 1, &e), -ENOMEM);
	assert_int_equal(host_memory_check(info, MIB(2048), &e), -ENOMEM);
	assert_non_null(strstr(e.msg, "asks for 2048 MiB"));
	assert_non_null(strstr(e.msg, "has 1024 MiB available"));
	/* Not told: not refused. */
	assert_int_equal(host_memory_check("", MIB(2048), NULL), 0);
}

static void parts(void **state)
{
	const struct vmm_spec none = {0};
	struct host_parts p;
	struct msb_err e = {0};
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/qemu", dir);
	setenv("MSB_QEMU", path, 1);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "make deps"));
	put("qemu", "", 0755);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "make kernel-debian"));
	put("vmlinux", "", 0644);
	put("vmlinuz", "", 0644);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/told/initramfs"));
	put("initramfs", "", 0644);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), 0);
	assert_string_equal(p.qemu, path);
	/* An ELF kernel needs a loader that knows PVH. */
	assert_true(!p.loader == !!strstr(p.kernel, "/vmlinuz"));

	setenv("MSB_KERNEL", "mini", 1);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "make kernel"));
	put("vmlinux-mini", "", 0644);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), 0);
	setenv("MSB_KERNEL", path, 1);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), 0);
	assert_string_equal(p.kernel, path);
	assert_null(p.loader);
	setenv("MSB_KERNEL", "relative", 1);
	assert_int_equal(host_parts_find(dir, "/told", &none, &p, &e), -EINVAL);
	unsetenv("MSB_KERNEL");
	unsetenv("MSB_QEMU");
}

static void pid(void **state)
{
	char path[128], text[32];

	(void)snprintf(path, sizeof(path), "%s/pid", dir);
	assert_int_equal(host_pid_of(path, "abc"), -ESRCH);
	put("pid", "", 0644);
	assert_int_equal(host_pid_of(path, "abc"), -ESRCH);
	put("pid", "-1\n", 0644);
	assert_int_equal(host_pid_of(path, "abc"), -ESRCH);
	put("pid", "99999999999\n", 0644);
	assert_int_equal(host_pid_of(path, "abc"), -ESRCH);
	/* Alive; whose it is depends on the command line. */
	(void)snprintf(text, sizeof(text), "%d\n", (int)getpid());
	put("pid", text, 0644);
	assert_int_equal(host_pid_of(path, "guest=abc"), -ESRCH);
	assert_int_equal(host_pid_of(path, "test_worker_host"), getpid());
}

/* A child of ours, and its pid in the file. @name: of the program that it becomes; NULL: none. */
static pid_t child(const char *name)
{
	char text[32];
	pid_t p = fork();

	if (p == 0) {
		if (name)
			(void)execl("/bin/sleep", name, "600", NULL);
		(void)pause();
		_exit(1);
	}
	assert_true(p > 0);
	(void)snprintf(text, sizeof(text), "%d\n", (int)p);
	put("pid", text, 0644);
	return p;
}

static int end_of(pid_t p, int flags)
{
	int status = 0;

	return waitpid(p, &status, flags) == p && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void killing(void **state)
{
	char path[128], text[32];
	int status = -1;
	pid_t p;

	(void)snprintf(path, sizeof(path), "%s/pid", dir);
	p = child(NULL);
	host_kill(path, "guest=abc");
	assert_int_equal(end_of(p, WNOHANG), 0);
	assert_int_equal(host_pid_of(path, HOST_FORK_OF_US), p);
	host_kill(path, HOST_FORK_OF_US);
	assert_int_equal(end_of(p, 0), SIGKILL);
	host_kill(path, HOST_FORK_OF_US); /* there is none any more */

	p = child("guest=abc");
	while (host_pid_of(path, "guest=abc") != p) /* until it is that program */
		(void)poll(NULL, 0, 1);
	host_kill(path, HOST_FORK_OF_US);
	host_kill(path, "guest=abd");
	assert_int_equal(end_of(p, WNOHANG), 0);
	host_kill(path, "guest=abc");
	assert_int_equal(end_of(p, 0), SIGKILL);

	/* Neither we nor who started us. */
	(void)snprintf(text, sizeof(text), "%d\n", (int)getpid());
	put("pid", text, 0644);
	assert_int_equal(host_pid_of(path, HOST_FORK_OF_US), -ESRCH);
	p = fork();
	if (p == 0)
		_exit(host_pid_of(path, HOST_FORK_OF_US) == -ESRCH ? 0 : 1);
	assert_int_equal(waitpid(p, &status, 0), p);
	assert_int_equal(status, 0);
}

/* Whatever came between the looks, two measurements agree. */
static void tsc(void **state)
{
	uint32_t a = host_tsc_khz(), b = host_tsc_khz();

	assert_in_range(a, 100000, 10000000);
	assert_in_range(b, a - a / 200, a + a / 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory),
		cmocka_unit_test(parts),
		cmocka_unit_test(pid),
		cmocka_unit_test(killing),
		cmocka_unit_test(tsc),
	};

	unsetenv("MSB_QEMU");
	unsetenv("MSB_KERNEL");
	return cmocka_run_group_tests(tests, setup, teardown);
}
