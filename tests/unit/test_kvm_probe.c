// SPDX-License-Identifier: Apache-2.0
// vmm/kvm_probe: an answer in time whatever /dev/kvm is, kept for the boot, overridden at will.
#include "base/cleanup.h"
#include "base/io.h"
#include "vmm/kvm_probe.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

static char dir[] = "/tmp/msb-kvm-XXXXXX";

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static void put(const char *text)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/accel", dir);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static void get(struct msb_str *s)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/accel", dir);
	s->len = 0;
	assert_int_equal(msb_read_file(AT_FDCWD, path, 256, s), 0);
}

static void in_time(void **state)
{
	int r;

	(void)alarm(100); /* only ends what hangs */
	r = kvm_probe();
	(void)alarm(0);
	assert_true(r == 0 || r == -ENODEV || r == -EACCES || r == -EPERM || r == -ETIMEDOUT ||
		    r == -EIO);
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		assert_int_not_equal(r, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void override(void **state)
{
	setenv("MSB_ACCEL", "kvm", 1);
	assert_string_equal(vmm_accel_choose(dir), "kvm");
	setenv("MSB_ACCEL", "tcg", 1);
	assert_string_equal(vmm_accel_choose(dir), "tcg");
	unsetenv("MSB_ACCEL");
}

static void cached(void **state)
{
	_cleanup_str_ struct msb_str kept = MSB_STR_INIT, again = MSB_STR_INIT;
	const char *truth = vmm_accel_choose(dir), *other = !strcmp(truth, "kvm") ? "tcg" : "kvm";
	char forged[128];

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		skip(); /* nothing is kept then: asking costs nothing */
	get(&kept);
	assert_int_equal(kept.len, 36 + 1 + 3 + 1);
	assert_string_equal(vmm_accel_choose(dir), truth);
	/* What is kept is believed... */
	(void)snprintf(forged, sizeof(forged), "%.36s %s\n", kept.buf, other);
	put(forged);
	assert_string_equal(vmm_accel_choose(dir), other);
	/* ...unless it is of another boot, or not ours. */
	(void)snprintf(forged, sizeof(forged), "%036d %s\n", 0, other);
	put(forged);
	assert_string_equal(vmm_accel_choose(dir), truth);
	get(&again);
	assert_string_equal(again.buf, kept.buf);
	put("garbage");
	assert_string_equal(vmm_accel_choose(dir), truth);
	put("");
	assert_string_equal(vmm_accel_choose(dir), truth);
}

static void nowhere_to_keep(void **state)
{
	const char *accel = vmm_accel_choose("/nonexistent");

	assert_true(!strcmp(accel, "kvm") || !strcmp(accel, "tcg"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_time),
		cmocka_unit_test(override),
		cmocka_unit_test(cached),
		cmocka_unit_test(nowhere_to_keep),
	};

	unsetenv("MSB_ACCEL");
	return cmocka_run_group_tests(tests, setup, teardown);
}
