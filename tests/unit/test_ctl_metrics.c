// SPDX-License-Identifier: Apache-2.0
// Figures: who is asked, who does not answer, who sees them, and what helpers may say.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/str.h"
#include "ctl/handle.h"
#include "ctl/metrics.h"
#include "ctl/metrics_table.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>

static char dir[] = "/tmp/msbu.XXXXXX";
static struct ctl c;
static struct ctl_sample s[3];

static int setup(void **state)
{
	char path[64];

	if (!strcmp(dir + strlen(dir) - 6, "XXXXXX"))
		assert_non_null(mkdtemp(dir));
	memset(&c, 0, sizeof(c));
	(void)snprintf(c.paths.run, sizeof(c.paths.run), "%s", dir);
	(void)snprintf(path, sizeof(path), "%s/sb", dir);
	assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
	memset(s, 0, sizeof(s));
	for (int i = 0; i < 3; i++) {
		(void)snprintf(s[i].name, sizeof(s[i].name), "box-%d", i);
		(void)snprintf(s[i].id, sizeof(s[i].id), "%032d", i);
		s[i].uid = 1000 + (uid_t)i;
		s[i].state = ST_RUNNING;
		(void)snprintf(path, sizeof(path), "%s/sb/%s", dir, s[i].id);
		assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
	}
	return 0;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

/* A helper: a listening socket, and the one answer it gives; NULL: none, ever. */
struct helper {
	int fd, unanswered;
	const char *verb;
	void (*fill)(struct msb_msg *m);
	pthread_t thread;
};

static void *helper_main(void *arg)
{
	struct helper *h = arg;
	int fd = accept(h->fd, NULL, NULL);
	struct msb_msg *m = malloc(sizeof(*m));

	assert_non_null(m);
	assert_int_equal(msb_msg_recv(fd, m), 0);
	msb_msg_init(m, "ok");
	if (strcmp(h->verb, "none") != 0) {
		h->fill(m);
		assert_int_equal(msb_msg_send(fd, m), 0);
		close(fd);
	} else {
		h->unanswered = fd;
	}
	free(m);
	return NULL;
}

static void helper(struct helper *h, int i, const char *file, void (*fill)(struct msb_msg *))
{
	struct msb_err e = {0};
	char path[108];

	(void)snprintf(path, sizeof(path), "%s/sb/%s/%s", dir, s[i].id, file);
	(void)unlink(path);
	h->fd = msb_unix_listen(path, SOCK_SEQPACKET, 0600, &e);
	assert_true(h->fd >= 0);
	h->verb = fill ? "ok" : "none";
	h->fill = fill;
	h->unanswered = -1;
	assert_int_equal(pthread_create(&h->thread, NULL, helper_main, h), 0);
}

static void helper_end(struct helper *h)
{
	pthread_join(h->thread, NULL);
	close(h->fd);
	if (h->unanswered >= 0)
		close(h->unanswered);
}

static void guest_says(struct msb_msg *m)
{
	for (int i = 0; i < WIRE_NSTATS; i++)
		msb_msg_set(m, wire_stat_name((enum wire_stat)i), "%d", 100 + i);
}

static void guest_knows_half(struct msb_msg *m)
{
	msb_msg_set(m, "cpu_user_usec", "1");
}

static const char *class_text = "40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4";

static void fsd_says(struct msb_msg *m)
{
	msb_msg_set(m, "errors", "1");
	msb_msg_set(m, "read_bytes", "2");
	msb_msg_set(m, "written_bytes", "3");
	for (int i = 0; i < FSD_OPS; i++)
		msb_msg_set(m, fsd_op_name((enum fsd_op)i), "%s", class_text);
}

#define GUEST (1u << FROM_GUEST)
#define FSD   (1u << FROM_FSD)

static void all_at_once(void **state)
{
	struct helper h[5];

	helper(&h[0], 0, "agent", guest_says);
	helper(&h[1], 0, "fsd", fsd_says);
	helper(&h[2], 1, "agent", NULL); /* hangs */
	helper(&h[3], 1, "fsd", fsd_says);
	helper(&h[4], 2, "agent", guest_knows_half); /* and no file server at all */
	assert_int_equal(ctl_sample_take(&c, s, 3, GUEST | FSD), 0);
	for (int i = 0; i < 5; i++)
		helper_end(&h[i]);
	assert_int_equal(s[0].missing[FROM_GUEST], 0);
	assert_int_equal(s[0].v[METRIC_GUEST_CPU_USER], 100);
	assert_int_equal(s[0].v[METRIC_GUEST_OOM_KILLS], 107);
	assert_int_equal(s[0].missing[FROM_FSD], 0);
	assert_int_equal(s[0].v[METRIC_FS_OPS], 10 * FSD_OPS);
	assert_int_equal(s[0].v[METRIC_FS_WRITTEN_BYTES], 3);
	assert_int_equal(s[1].missing[FROM_GUEST], ETIMEDOUT);
	assert_int_equal(s[1].missing[FROM_FSD], 0); /* one that hangs takes nothing of another */
	assert_int_equal(s[2].missing[FROM_GUEST], ENODATA);
	assert_int_equal(s[2].missing[FROM_FSD], ENOENT);
}

static void nobody_to_ask(void **state)
{
	s[0].state = ST_PAUSED;
	s[1].foreign = true;
	s[2].state = ST_STOPPED;
	assert_int_equal(ctl_sample_take(&c, s, 3, GUEST), 0);
	assert_int_equal(s[0].missing[FROM_GUEST], EBUSY);
	assert_int_equal(s[1].missing[FROM_GUEST], EOPNOTSUPP);
	assert_int_equal(s[2].missing[FROM_GUEST], 0); /* it is 0 without a machine */
	assert_int_equal(s[2].v[METRIC_GUEST_CPU_USER], 0);
}

static void what_is_on_disk(void **state)
{
	static char block[65536];
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/sb", dir);
	c.sandboxes_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(c.sandboxes_fd >= 0);
	memset(block, 'x', sizeof(block));
	(void)snprintf(path, sizeof(path), "%s/upper", s[0].id);
	assert_int_equal(mkdirat(c.sandboxes_fd, path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/upper/f", s[0].id);
	assert_int_equal(
		msb_write_file_atomic(c.sandboxes_fd, path, block, sizeof(block), 0600), 0);
	(void)snprintf(s[2].id, sizeof(s[2].id), "gone");
	s[0].state = ST_STOPPED; /* it takes as much without a machine */
	assert_int_equal(ctl_sample_take(&c, s, 3, 1u << FROM_DISK), 0);
	assert_int_equal(s[0].missing[FROM_DISK], 0);
	assert_int_equal(s[1].missing[FROM_DISK], 0);
	assert_true(s[0].v[METRIC_DISK_USED_BYTES] >= sizeof(block));
	assert_true(s[1].v[METRIC_DISK_USED_BYTES] < sizeof(block));
	assert_int_equal(s[2].missing[FROM_DISK], ENODEV);
	close(c.sandboxes_fd);
}

/* A file server that was taken over may say anything. */
static void figures_that_make_no_sense(void **state)
{
	static const char *const texts[] = {"", "1", "40,1,2",
		"40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4,5",
		"40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,-4",
		"40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,99999999999999999999",
		"40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,9223372036854775808",
		"40,,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4",
		"40,1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4\n"};
	const char *good = class_text;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct helper h;

		class_text = texts[i];
		helper(&h, 0, "fsd", fsd_says);
		assert_int_equal(ctl_sample_take(&c, s, 1, FSD), 0);
		helper_end(&h);
		if (s[0].missing[FROM_FSD] != EBADMSG)
			fail_msg("'%s': %d", texts[i], s[0].missing[FROM_FSD]);
		s[0].missing[FROM_FSD] = 0;
	}
	class_text = good;
}

static unsigned int count(const char *text, const char *what)
{
	unsigned int n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void print(uid_t uid, struct msb_str *out)
{
	c.uid = 5;
	ctl_metrics_print(&c, s, 3, uid, out);
	assert_false(out->oom);
	assert_true(out->len > 6);
	assert_string_equal(out->buf + out->len - 6, "# EOF\n");
}

static void who_sees_what(void **state)
{
	static const struct {
		uid_t uid;
		bool sees[3];
	} t[] = {{5, {1, 1, 1}}, {0, {1, 1, 1}}, {1001, {0, 1, 0}}, {7, {0, 0, 0}}};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		_cleanup_str_ struct msb_str out = MSB_STR_INIT;
		char label[32];

		print(t[i].uid, &out);
		for (int k = 0; k < 3; k++) {
			(void)snprintf(label, sizeof(label), "sandbox=\"box-%d\"", k);
			assert_int_equal(count(out.buf, label) > 0, t[i].sees[k]);
		}
	}
}

static void one_text(void **state)
{
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;

	s[0].v[METRIC_CPU_USEC] = 1234567;
	s[0].v[METRIC_RESTARTS] = 4;
	s[0].fs.hist[FSD_OP_READ][0] = 2;
	s[0].fs.hist[FSD_OP_READ][3] = 1;
	s[0].fs.hist[FSD_OP_READ][FSD_BUCKETS - 1] = 1;
	s[0].fs.usec[FSD_OP_READ] = 3000009;
	s[1].missing[FROM_GUEST] = ETIMEDOUT;
	s[2].state = ST_CREATED;
	print(5, &out);
#define HAS(line) assert_int_equal(count(out.buf, "\n" line "\n"), 1)
	HAS("msb_sandbox_cpu_seconds_total{sandbox=\"box-0\",process=\"machine\"} 1.234567");
	HAS("# TYPE msb_sandbox_cpu_seconds counter");
	HAS("# UNIT msb_sandbox_cpu_seconds seconds");
	HAS("msb_sandbox_restarts_total{sandbox=\"box-0\"} 4");
	HAS("msb_sandbox_state{sandbox=\"box-2\",state=\"created\"} 1");
	HAS("msb_sandbox_fs_latency_seconds_bucket{sandbox=\"box-0\",op=\"read\",le=\"1e-06\"} 2");
	HAS("msb_sandbox_fs_latency_seconds_bucket{sandbox=\"box-0\",op=\"read\",le=\"4e-06\"} 2");
	HAS("msb_sandbox_fs_latency_seconds_bucket{sandbox=\"box-0\",op=\"read\",le=\"8e-06\"} 3");
	HAS("msb_sandbox_fs_latency_seconds_bucket{sandbox=\"box-0\",op=\"read\",le=\"1.048576\"} 3");
	HAS("msb_sandbox_fs_latency_seconds_bucket{sandbox=\"box-0\",op=\"read\",le=\"+Inf\"} 4");
	HAS("msb_sandbox_fs_latency_seconds_count{sandbox=\"box-0\",op=\"read\"} 4");
	HAS("msb_sandbox_fs_latency_seconds_sum{sandbox=\"box-0\",op=\"read\"} 3.000009");
	/* What did not come is absent, and it is said why; without a machine there is nothing. */
	HAS("msb_sandbox_figures_missing{sandbox=\"box-1\",source=\"guest\",errno=\"ETIMEDOUT\"} 1");
	assert_int_equal(count(out.buf, "guest_oom_kills_total{sandbox=\"box-0\"}"), 1);
	assert_int_equal(count(out.buf, "guest_oom_kills_total{sandbox=\"box-1\"}"), 0);
	assert_int_equal(count(out.buf, "guest_oom_kills_total{sandbox=\"box-2\"}"), 0);
	assert_int_equal(count(out.buf, "restarts_total{sandbox=\"box-2\"}"), 1);
}

/* Each row has what its family needs: neighbours, one help text, the unit in its name. */
static void the_table(void **state)
{
	const char *last = "";

	for (int m = 0; m < METRIC_COUNT; m++) {
		const struct ctl_metric_row *row = &ctl_metric_rows[m];

		if (!row->family)
			continue;
		assert_int_equal(row->help != NULL, strcmp(row->family, last) != 0);
		assert_int_equal(row->unit == UNIT_BYTES, strstr(row->family, "_bytes") != NULL);
		assert_int_equal(row->unit == UNIT_USEC || row->unit == UNIT_SEC,
			strstr(row->family, "_seconds") != NULL);
		last = row->family;
	}
}

static void open_at_once(void **state)
{
	struct ctl_handle *h[CTL_MAX_SCRAPES] = {0};
	struct ctl_at at = {.c = &c};
	struct msb_err e = {0};
	size_t n = 0;

	pthread_mutex_init(&c.lock, NULL);
	c.uid = 5;
	for (size_t i = 0; i < ctl_nnodes; i++)
		if (ctl_nodes[i].flags & NF_FEW)
			at.node = &ctl_nodes[i];
	assert_non_null(at.node);
	assert_string_equal(at.node->name, "metrics");
	while (n < CTL_MAX_SCRAPES && ctl_handle_new(&at, 7, 7, O_RDONLY, &h[n], &e) == 0)
		n++;
	assert_int_equal(e.code, ENFILE);
	assert_int_equal(n, CTL_OTHERS_SHARE(CTL_MAX_SCRAPES));
	/* The one who runs msbd is let in all the same. */
	assert_int_equal(ctl_handle_new(&at, 5, 5, O_RDONLY, &h[n], &e), 0);
	for (size_t i = 0; i <= n; i++)
		ctl_handle_unref(h[i]);
	assert_int_equal(ctl_handle_new(&at, 7, 7, O_RDONLY, &h[0], &e), 0);
	ctl_handle_unref(h[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_at_once, setup),
		cmocka_unit_test_setup(nobody_to_ask, setup),
		cmocka_unit_test_setup(what_is_on_disk, setup),
		cmocka_unit_test_setup(figures_that_make_no_sense, setup),
		cmocka_unit_test_setup(who_sees_what, setup),
		cmocka_unit_test_setup(one_text, setup),
		cmocka_unit_test_setup(the_table, setup),
		cmocka_unit_test_setup(open_at_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
