// SPDX-License-Identifier: Apache-2.0
// fs/image/plan: which of what a registry offers is taken, and what is refused.
#include "fs/image/plan.h"
#include "fs/image/sha.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CONFIG                                                                                     \
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","            \
	"\"diff_ids\":[]}}"
#define TAPE "application/vnd.papercompute.stereos."

/* Documents by their digests. */
static struct {
	struct msb_str text;
	char digest[65];
} docs[16];
static size_t ndocs, reads;

static const char *add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *add(const char *fmt, ...)
{
	struct msb_str *s = &docs[ndocs].text;
	char *p = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&p, fmt, ap) >= 0);
	va_end(ap);
	s->len = 0;
	msb_str_adds(s, p);
	free(p);
	img_sha_of(s->buf, s->len, docs[ndocs].digest);
	return docs[ndocs++].digest;
}

static size_t size_of(const char *digest)
{
	for (size_t k = 0; k < ndocs; k++)
		if (strcmp(docs[k].digest, digest) == 0)
			return docs[k].text.len;
	return 2;
}

static int read_doc(void *arg, const struct img_desc *d, struct msb_str *ret, struct msb_err *e)
{
	reads++;
	for (size_t k = 0; k < ndocs; k++)
		if (strcmp(docs[k].digest, d->digest) == 0) {
			msb_str_add(ret, docs[k].text.buf, docs[k].text.len);
			return 0;
		}
	return msb_err_set(e, ENOENT, "not there");
}

static const char *manifest(const char *config, const char *layers)
{
	return add("{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\","
		   "\"size\":%zu},\"layers\":[%s]}",
		IMG_TYPE_CONFIG, config, size_of(config), layers);
}

/* An index entry; platform: "" none. */
static void entry(struct msb_str *s, const char *digest, const char *platform, const char *variant)
{
	msb_str_addf(s, "%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu",
		s->len ? "," : "", IMG_TYPE_MANIFEST, digest, size_of(digest));
	if (*platform)
		msb_str_addf(s,
			",\"platform\":{\"os\":\"%.5s\",\"architecture\":\"%s\",\"variant\":\"%s\"}",
			platform, platform + 6, variant);
	msb_str_adds(s, "}");
}

static int resolve(const char *text, bool strict, struct img_plan *plan, struct msb_err *e)
{
	const struct img_documents d = {.read = read_doc, .strict = strict};

	*plan = (struct img_plan){0};
	*e = (struct msb_err){0};
	msb_str_adds(&plan->manifest, text);
	return img_plan_resolve(&d, "", plan, e);
}

static int reset(void **state)
{
	for (size_t k = 0; k < ARRAY_LEN(docs); k++)
		msb_str_done(&docs[k].text);
	ndocs = reads = 0;
	return 0;
}

static void platforms(void **state)
{
	static const struct {
		const char *platform[3], *variant[3];
		int want; /* which is taken, or -errno */
		int strict;
	} rows[] = {
		{{"linux/arm64", "linux/amd64"}, {"v8", ""}, 1, 1},
		{{"linux/amd64", "linux/amd64"}, {"", ""}, 0, -ENOTUNIQ},
		{{"linux/amd64", "linux/amd64"}, {"v3", ""}, 1, 1},
		{{"linux/amd64", "linux/amd64"}, {"v3", "v1"}, 1, 1},
		{{"linux/amd64"}, {"v9"}, -EOPNOTSUPP, -EOPNOTSUPP},
		{{"", "linux/amd64"}, {"", ""}, 1, 1},
		{{"", ""}, {"", ""}, 0, -ENOTUNIQ},
		{{"linux/arm64", "unkno/unknown"}, {"", ""}, -EOPNOTSUPP, -EOPNOTSUPP},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		for (int strict = 0; strict < 2; strict++) {
			int want = strict ? rows[k].strict : rows[k].want;
			_cleanup_str_ struct msb_str list = MSB_STR_INIT, text = MSB_STR_INIT;
			const char *config, *digests[3];
			struct img_plan plan;
			struct msb_err e;

			reset(NULL);
			config = add(CONFIG);
			for (int j = 0; j < 3 && rows[k].platform[j]; j++) {
				char space[8];

				(void)snprintf(space, sizeof(space), "%*s", j + 1, "");
				digests[j] = add("{\"schemaVersion\":2,%s\"config\":{\"digest\":"
						 "\"sha256:%s\",\"size\":%zu},\"layers\":[]}",
					space, config, size_of(config));
				entry(&list, digests[j], rows[k].platform[j], rows[k].variant[j]);
			}
			msb_str_addf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}", list.buf);
			assert_int_equal(resolve(text.buf, strict, &plan, &e), want < 0 ? want : 0);
			if (want >= 0) {
				assert_string_equal(plan.digest, digests[want]);
				assert_string_equal(plan.config_digest, config);
				assert_string_equal(plan.media_type, IMG_TYPE_MANIFEST);
				assert_int_equal(reads, 2);
			} else {
				assert_int_equal(e.code, -want);
			}
			img_plan_done(&plan);
		}
}

/* A document that is not what its descriptor says is never looked into. */
static void lies(void **state)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT, text = MSB_STR_INIT;
	const char *config = add(CONFIG), *m = manifest(config, "");
	struct img_plan plan;
	struct msb_err e;

	entry(&list, m, "linux/amd64", "");
	msb_str_addf(&text, "{\"manifests\":[%s]}", list.buf);
	assert_int_equal(resolve(text.buf, false, &plan, &e), 0);
	img_plan_done(&plan);
	docs[1].text.buf[docs[1].text.len - 1] = ' ';
	assert_int_equal(resolve(text.buf, false, &plan, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "is damaged"));
	img_plan_done(&plan);
	docs[1].text.len--;
	assert_int_equal(resolve(text.buf, false, &plan, &e), -EBADMSG);
	img_plan_done(&plan);
	ndocs = 1;
	assert_int_equal(resolve(text.buf, false, &plan, &e), -ENOENT);
	img_plan_done(&plan);
}

static void bounds(void **state)
{
	_cleanup_str_ struct msb_str list = MSB_STR_INIT, text = MSB_STR_INIT;
	const char *d = manifest(add(CONFIG), "");
	struct img_plan plan;
	struct msb_err e;

	/* As many indexes in each other as are followed, and one more. */
	for (int depth = 0; depth <= IMG_MAX_NESTED_INDEX; depth++) {
		text.len = list.len = 0;
		msb_str_addf(&list, "{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\",\"size\":%zu}",
			depth ? IMG_TYPE_INDEX : IMG_TYPE_MANIFEST, d, size_of(d));
		msb_str_addf(&text, "{\"manifests\":[%s]}", list.buf);
		assert_int_equal(resolve(text.buf, false, &plan, &e),
			depth < IMG_MAX_NESTED_INDEX ? 0 : -E2BIG);
		img_plan_done(&plan);
		d = add("%s", text.buf);
	}
	assert_int_equal(
		resolve("{\"config\":{\"digest\":\"sha256:"
			"1111111111111111111111111111111111111111111111111111111111111111\","
			"\"size\":4194305},\"layers\":[],\"schemaVersion\":2}",
			false, &plan, &e),
		-EFBIG);
	assert_int_equal(e.code, EFBIG);
	img_plan_done(&plan);
}

static void mixtapes(void **state)
{
	static const char *const formats[] = {"disk.v1+qcow2+zstd", "disk.v1+raw+zstd"};
	_cleanup_str_ struct msb_str list = MSB_STR_INIT, text = MSB_STR_INIT;
	const char *config = add("{}"), *digests[2];
	struct img_plan plan;
	struct msb_err e;

	for (int k = 0; k < 2; k++) {
		char layers[600];

		(void)snprintf(layers, sizeof(layers),
			"{\"mediaType\":\"" TAPE "%s\",\"digest\":\"sha256:%s\",\"size\":7},"
			"{\"mediaType\":\"" TAPE "kernel.v1\",\"digest\":\"sha256:%s\",\"size\":8}",
			formats[k], config, config);
		digests[k] = manifest(config, layers);
		entry(&list, digests[k], "linux/amd64", "");
	}
	msb_str_addf(&text, "{\"manifests\":[%s]}", list.buf);
	for (int strict = 0; strict < 2; strict++) { /* one image in two formats: no choice */
		assert_int_equal(resolve(text.buf, strict, &plan, &e), 0);
		assert_int_equal(plan.kind, IMG_KIND_MIXTAPE);
		assert_string_equal(plan.digest, digests[1]);
		assert_int_equal(plan.nlayers, 2);
		assert_string_equal(plan.layers[0].diff_id, "");
		assert_string_equal(plan.layers[0].media_type, TAPE "disk.v1+raw+zstd");
		assert_non_null(strstr(plan.meta.buf, "mixtape.disk_format raw\n"));
		img_plan_done(&plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(platforms, reset),
		cmocka_unit_test_teardown(lies, reset),
		cmocka_unit_test_teardown(bounds, reset),
		cmocka_unit_test_teardown(mixtapes, reset),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
