// SPDX-License-Identifier: Apache-2.0
// fs/image/rewrite: manifests of what is pushed and exported.
#include "fs/image/rewrite.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define A "1111111111111111111111111111111111111111111111111111111111111111"
#define B "2222222222222222222222222222222222222222222222222222222222222222"

static const char docker[] =
	"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_DOCKER "\",\"config\":{\"mediaType\":"
	"\"application/vnd.docker.container.image.v1+json\",\"size\":7,\"digest\":\"sha256:" A
	"\"},\"layers\":[{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\","
	"\"size\":5,\"digest\":\"sha256:" A "\",\"annotations\":{\"a\":\"b\"}},{\"size\":6,"
	"\"digest\":\"sha256:" A "\",\"annotations\":{\"c\":\"d\"}}],\"x\":[1]}";

static void manifest(void **state)
{
	struct img_new_layer v[2] = {{.changed = true, .digest = B, .size = 99}, {0}};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};

	assert_int_equal(img_manifest_rewrite(docker, strlen(docker), v, 2, false, &s, &e), 0);
	assert_string_equal(s.buf,
		"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_DOCKER
		"\",\"config\":{\"mediaType\":"
		"\"application/vnd.docker.container.image.v1+json\",\"size\":7,\"digest\":"
		"\"sha256:" A "\"},\"layers\":[{\"mediaType\":"
		"\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\"size\":99,"
		"\"digest\":\"sha256:" B "\"},{\"size\":6,\"digest\":\"sha256:" A
		"\",\"annotations\":{\"c\":\"d\"}}],\"x\":[1]}");
	v[0].media_type = v[1].media_type = IMG_TYPE_TAR;
	assert_int_equal(img_manifest_rewrite(docker, strlen(docker), v, 2, true, &s, &e), 0);
	assert_string_equal(s.buf,
		"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST
		"\",\"config\":{\"mediaType\":\"" IMG_TYPE_CONFIG
		"\",\"size\":7,\"digest\":\"sha256:" A "\"},\"layers\":[{\"mediaType\":"
		"\"" IMG_TYPE_TAR "\",\"size\":99,\"digest\":\"sha256:" B
		"\"},{\"size\":6,\"digest\":\"sha256:" A
		"\",\"annotations\":{\"c\":\"d\"},\"mediaType\":\"" IMG_TYPE_TAR "\"}],\"x\":[1]}");
	assert_int_equal(
		img_manifest_rewrite(docker, strlen(docker), v, 1, true, &s, &e), -EBADMSG);
	assert_int_equal(img_manifest_rewrite("[]", 2, v, 0, true, &s, &e), -EBADMSG);
}

static void index_of_one(void **state)
{
	_cleanup_(img_index_doc_done) struct img_index_doc doc = {0};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};

	assert_int_equal(img_layout_index(IMG_TYPE_MANIFEST, A, 7, "h/r:\"t", &s, &e), 0);
	assert_int_equal(img_parse_index(s.buf, s.len, &doc, &e), 0);
	assert_int_equal(doc.n, 1);
	assert_string_equal(doc.v[0].digest, A);
	assert_string_equal(doc.v[0].name, "h/r:\"t");
	assert_int_equal(doc.v[0].size, 7);
	assert_int_equal(doc.v[0].kind, IMG_DESC_MANIFEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(manifest),
		cmocka_unit_test(index_of_one),
	};

	return cmocka_run_group_tests_name("rewrite", tests, NULL, NULL);
}
