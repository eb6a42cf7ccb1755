// SPDX-License-Identifier: Apache-2.0
// ctl/logfile: NAME.N .. NAME as one file that only grows, whatever happens to the names meanwhile.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/logfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char dir[] = "/tmp/msbu.XXXXXX";
static int at = -1;
static uint64_t off;
static struct ctl_log_reader place;

static int setup(void **state)
{
	if (at < 0 && !mkdtemp(dir))
		return -1;
	if (at >= 0)
		close(at);
	(void)msb_rm_rf(AT_FDCWD, dir);
	if (mkdir(dir, 0700) < 0)
		return -1;
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	off = 0;
	place = (struct ctl_log_reader){0};
	return at < 0;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static void put(const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(at, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(msb_write_full(fd, text, strlen(text)), 0);
}

/* As msb-agentd does, with two old files. */
static void rotate(void)
{
	(void)renameat(at, "log.1", at, "log.2");
	(void)renameat(at, "log", at, "log.1");
}

static void reads(
	struct ctl_logfile *l, struct ctl_log_reader *rd, uint64_t *o, size_t max, const char *want)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	assert_int_equal(ctl_logfile_more(l, rd, *o), *want != '\0');
	assert_int_equal(ctl_logfile_read(l, rd, *o, max, true, &s), 0);
	assert_string_equal(s.buf ?: "", want);
	*o += s.len;
}

#define NEXT(want) reads(l, &place, &off, 100, want)

static void one_after_another(void **state)
{
	struct ctl_logfile *l = ctl_logfile_open(at, "log", 2);

	NEXT("");
	assert_int_equal(ctl_logfile_size(at, "log", 2), 0);
	put("log.2", "oldest\n");
	put("log.1", "old\n");
	put("log", "new\n");
	put("log.3", "of nobody\n");
	assert_int_equal(ctl_logfile_size(at, "log", 2), 15);
	NEXT("oldest\n");
	NEXT("old\n");
	NEXT("new\n");
	NEXT("");
	off = 9; /* within one */
	NEXT("d\n");
	off = 1000;
	NEXT("");
	assert_null(ctl_logfile_close(l));
	assert_null(ctl_logfile_close(NULL));
}

/* What `tail -f` does: it reads on where it was, and asks for the size. */
static void followed_through_rotations(void **state)
{
	struct ctl_logfile *l = ctl_logfile_open(at, "log", 2);
	uint64_t size = 0;
	char text[32], want[32];

	for (int i = 0; i < 50; i++) {
		(void)snprintf(text, sizeof(text), "line %d\n", i);
		put("log", text);
		if (i % 3 == 1) {
			rotate();
			put("log", "more\n");
		}
		assert_true(ctl_logfile_size(at, "log", 2) > size);
		size = ctl_logfile_size(at, "log", 2);
		(void)snprintf(want, sizeof(want), "%s", text);
		NEXT(want);
		if (i % 3 == 1)
			NEXT("more\n");
		NEXT("");
		assert_int_equal(off, size);
	}
	/* Somebody who comes now reads from the oldest that is here. */
	{
		struct ctl_log_reader fresh = {0};
		struct ctl_logfile *again = ctl_logfile_open(at, "log", 2);
		uint64_t from = 0;

		assert_ptr_equal(again, l);
		reads(again, &fresh, &from, 6, "more\nl");
		assert_null(ctl_logfile_close(again));
	}
	assert_null(ctl_logfile_close(l));
	/* With nobody there, it is what is on disk. */
	assert_true(ctl_logfile_size(at, "log", 2) < size);
}

static void a_file_that_goes_while_it_is_read(void **state)
{
	struct ctl_logfile *l = ctl_logfile_open(at, "log", 2);

	put("log", "first\n");
	reads(l, &place, &off, 3, "fir");
	rotate();
	put("log", "second\n");
	assert_true(ctl_logfile_more(l, &place, off));
	rotate();
	put("log", "third\n");
	assert_true(ctl_logfile_more(l, &place, off));
	rotate(); /* the first has no name any more */
	put("log", "fourth\n");
	NEXT("st\n");
	NEXT("second\n");
	NEXT("third\n");
	NEXT("fourth\n");
	assert_null(ctl_logfile_close(l));
}

static void a_reader_that_is_too_late(void **state)
{
	struct ctl_logfile *l = ctl_logfile_open(at, "log", 2);
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	put("log", "first\n");
	NEXT("first\n");
	for (int i = 0; i < 9; i++) { /* and nobody looks */
		rotate();
		put("log", i < 8 ? "x\n" : "last\n");
	}
	NEXT("{\"dropped\":true}\n");
	NEXT("x\n");
	NEXT("x\n");
	NEXT("last\n");
	NEXT("");
	/* The note reads the same again, also in pieces. */
	off = 6 + 11;
	assert_int_equal(ctl_logfile_read(l, &place, off, 4, true, &s), 0);
	assert_string_equal(s.buf, "true");
	assert_null(ctl_logfile_close(l));
}

/* The console is bytes: nothing is put between them. */
static void without_a_note(void **state)
{
	struct ctl_logfile *l = ctl_logfile_open(at, "log", 2);
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	put("log", "first\n");
	NEXT("first\n");
	for (int i = 0; i < 9; i++) {
		rotate();
		put("log", "x\n");
	}
	assert_int_equal(ctl_logfile_read(l, &place, off, 100, false, &s), 0);
	assert_string_equal(s.buf, "x\n");
	assert_null(ctl_logfile_close(l));
}

static void copied_and_emptied(void **state)
{
	_cleanup_close_ int fd = openat(at, "r", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct ctl_logfile *l;

	assert_int_equal(msb_write_full(fd, "0123456789", 10), 0);
	ctl_logfile_rotate(at, "r", 10); /* not past it yet */
	assert_int_equal(faccessat(at, "r.1", F_OK, 0), -1);
	l = ctl_logfile_open(at, "r", 1);
	reads(l, &place, &off, 4, "0123");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(msb_write_full(fd, "x", 1), 0);
		ctl_logfile_rotate(at, "r", 10);
		assert_int_equal(msb_write_full(fd, "after-more-of-it", 16), 0);
		NEXT(i ? "x" : "456789x");
		NEXT("after-more-of-it");
		assert_int_equal(ctl_logfile_size(at, "r", 1), off);
	}
	assert_null(ctl_logfile_close(l));
	assert_int_equal(faccessat(at, "r.new", F_OK, 0), -1);
}

static void of_a_flood_the_end_is_kept(void **state)
{
	_cleanup_close_ int fd = openat(at, "r", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct ctl_logfile *l = ctl_logfile_open(at, "r", 1);
	struct stat st;

	assert_int_equal(msb_write_full(fd, "before\n", 7), 0);
	NEXT("before\n");
	assert_int_equal(ftruncate(fd, 1L << 40), 0); /* as whoever may write it can */
	assert_int_equal(msb_write_full(fd, "\nthe end\n", 9), 0);
	ctl_logfile_rotate(at, "r", 10);
	assert_int_equal(fstatat(at, "r.1", &st, 0), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(msb_write_full(fd, "after\n", 6), 0);
	NEXT("{\"dropped\":true}\n");
	{
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		assert_int_equal(ctl_logfile_read(l, &place, off, 100, true, &s), 0);
		assert_int_equal(s.len, 10);
		assert_memory_equal(s.buf, "\0\nthe end\n", 10);
		off += s.len;
	}
	NEXT("after\n");
	assert_null(ctl_logfile_close(l));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_after_another, setup),
		cmocka_unit_test_setup(followed_through_rotations, setup),
		cmocka_unit_test_setup(a_file_that_goes_while_it_is_read, setup),
		cmocka_unit_test_setup(a_reader_that_is_too_late, setup),
		cmocka_unit_test_setup(without_a_note, setup),
		cmocka_unit_test_setup(copied_and_emptied, setup),
		cmocka_unit_test_setup(of_a_flood_the_end_is_kept, setup),
	};

	return cmocka_run_group_tests_name("ctl_logfile", tests, NULL, teardown);
}
