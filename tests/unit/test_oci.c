// SPDX-License-Identifier: Apache-2.0
// fs/image/oci: the JSON documents of images, good and hostile.
#include "fs/image/oci.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define M  "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
#define C  "\"mediaType\":\"application/vnd.oci.image.config.v1+json\","

static char *repeat(const char *head, const char *body, size_t n, const char *tail)
{
	struct msb_str s = MSB_STR_INIT;

	msb_str_adds(&s, head);
	for (size_t k = 0; k < n; k++) {
		msb_str_adds(&s, k ? "," : "");
		msb_str_adds(&s, body);
	}
	msb_str_adds(&s, tail);
	return s.buf;
}

static void indexes(void **state)
{
	static const struct {
		const char *text;
		int want;
		size_t n;
	} rows[] = {
		{"{\"manifests\":[]}", 0, 0},
		{"{\"manifests\":[{" M "\"digest\":\"" D1 "\",\"size\":5}]}", 0, 1},
		{"{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":5}]}", 0, 1},
		{"", -EBADMSG, 0},
		{"{", -EBADMSG, 0},
		{"[]", -EBADMSG, 0},
		{"{}", -EBADMSG, 0},
		{"{\"manifests\":{}}", -EBADMSG, 0},
		{"{\"manifests\":[1]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"size\":5}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"" D1 "\"}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":-5}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":1.5}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":1e99}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"" D1 "0\",\"size\":5}]}", -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"sha256:../../../etc/passwd\",\"size\":5}]}",
			-EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"sha512:11\",\"size\":5}]}", -EOPNOTSUPP, 0},
		{"{\"manifests\":[{\"digest\":7,\"size\":5}]}", -EBADMSG, 0},
		{"{\"manifests\":[],\"manifests\":[]}", -EBADMSG, 0}, /* says two things */
		{"{\"manifests\":[]} x", -EBADMSG, 0},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct img_index_doc d;
		struct msb_err e = {0};

		assert_int_equal(
			img_parse_index(rows[k].text, strlen(rows[k].text), &d, &e), rows[k].want);
		assert_int_equal(d.n, rows[k].n);
		assert_int_equal(e.code, -rows[k].want);
		img_index_doc_done(&d);
	}
}

static void platforms(void **state)
{
	static const char text[] =
		"{\"manifests\":[{" M "\"digest\":\"" D1
		"\",\"size\":5,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"},"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\\u001bb\"}},"
		"{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"" D2
		"\",\"size\":6},{\"mediaType\":\"text/plain\",\"digest\":\"" D2 "\",\"size\":6}]}";
	struct img_index_doc d;
	struct msb_err e = {0};

	assert_int_equal(img_parse_index(text, strlen(text), &d, &e), 0);
	assert_string_equal(d.v[0].platform, "linux/arm64");
	assert_string_equal(d.v[0].digest, strchr(D1, ':') + 1);
	assert_string_equal(d.v[0].name, "a\\x1bb");
	assert_int_equal(d.v[0].kind, IMG_DESC_MANIFEST);
	assert_int_equal(d.v[1].kind, IMG_DESC_INDEX);
	assert_false(d.v[1].has_platform);
	assert_int_equal(d.v[2].kind, IMG_DESC_OTHER);
	img_index_doc_done(&d);
}

#define TAR	      "application/vnd.oci.image.layer.v1.tar"
#define DOCKER	      "application/vnd.docker."
#define TAPE	      "application/vnd.papercompute.stereos."
#define DESC(type, d) "{\"mediaType\":\"" type "\",\"digest\":\"" d "\",\"size\":2}"
#define MANIFEST(config, layers)                                                                   \
	"{\"schemaVersion\":2,\"config\":" config ",\"layers\":[" layers "]}"
#define CONF DESC("application/vnd.oci.image.config.v1+json", D1)

static void manifests(void **state)
{
	static const struct {
		const char *text;
		int want;
		size_t n;
		enum img_kind kind;
	} rows[] = {
		{"{\"schemaVersion\":2,\"config\":{" C "\"digest\":\"" D1
		 "\",\"size\":1},\"layers\":[{\"digest\":\"" D2 "\",\"size\":2}]}",
			0, 1, IMG_KIND_IMAGE},
		{"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1
		 "\",\"size\":1},\"layers\":[]}",
			0, 0, IMG_KIND_IMAGE},
		{"{\"schemaVersion\":1,\"config\":{\"digest\":\"" D1
		 "\",\"size\":1},\"layers\":[]}",
			-EBADMSG, 0, 0},
		{"{\"schemaVersion\":2,\"layers\":[]}", -EBADMSG, 0, 0},
		{"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1 "\",\"size\":1}}", -EBADMSG, 0,
			0},
		{"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1
		 "\",\"size\":1},\"layers\":[{\"digest\":\"x\",\"size\":2}]}",
			-EBADMSG, 0, 0},
		{MANIFEST(CONF, DESC(TAR "+gzip", D2) "," DESC(TAR "+zstd", D2) "," DESC(TAR, D1)),
			0, 3, IMG_KIND_IMAGE},
		{MANIFEST(DESC(DOCKER "container.image.v1+json", D1),
			 DESC(DOCKER "image.rootfs.diff.tar.gzip", D2)),
			0, 1, IMG_KIND_IMAGE},
		{MANIFEST(DESC("application/vnd.cncf.helm.config.v1+json", D1),
			 DESC("application/vnd.cncf.helm.chart.content.v1.tar+gzip", D2)),
			0, 1, IMG_KIND_ARTIFACT},
		{MANIFEST(DESC("application/vnd.oci.empty.v1+json", D1), DESC(TAR, D2)), 0, 1,
			IMG_KIND_ARTIFACT},
		{MANIFEST(CONF, DESC(TAR, D2) "," DESC("text/plain", D2)), 0, 2, IMG_KIND_ARTIFACT},
		{MANIFEST(CONF,
			 DESC("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", D2)),
			-EOPNOTSUPP, 0, 0},
		{MANIFEST(CONF, DESC(DOCKER "image.rootfs.foreign.diff.tar.gzip", D2)), -EOPNOTSUPP,
			0, 0},
		{MANIFEST(CONF, DESC(TAR "+gzip+encrypted", D2)), -EOPNOTSUPP, 0, 0},
		{MANIFEST(CONF, DESC(TAPE "disk.v1+raw+zstd", D2) "," DESC(TAPE "kernel.v1", D1)),
			0, 2, IMG_KIND_MIXTAPE},
		{MANIFEST(CONF, DESC(TAPE "disk.v1+raw+zstd", D2)), 0, 1, IMG_KIND_ARTIFACT},
		{MANIFEST(CONF, DESC(TAPE "disk.v1+raw", D2) "," DESC(
					TAPE "kernel.v1", D1) "," DESC(TAPE "kernel.v1", D2)),
			0, 3, IMG_KIND_ARTIFACT},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct img_manifest m;
		struct msb_err e = {0};

		assert_int_equal(img_parse_manifest(rows[k].text, strlen(rows[k].text), &m, &e),
			rows[k].want);
		assert_int_equal(m.nlayers, rows[k].n);
		assert_int_equal(m.kind, rows[k].kind);
		img_manifest_done(&m);
	}
}

static void mixtape(void **state)
{
	static const char text[] = MANIFEST(
		CONF, DESC(TAPE "disk.v1+qcow2+zstd", D1) "," DESC(TAPE "kernel.v1", D2) "," DESC(
			      TAPE "initrd.v1", D1) "," DESC(TAPE "cmdline.v1",
			      D2) "," DESC(TAPE "mixtape-manifest.v1+toml", D1));
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	struct img_manifest m;
	struct msb_err e = {0};

	assert_int_equal(img_parse_manifest(text, strlen(text), &m, &e), 0);
	assert_string_equal(img_kind_name(m.kind), "mixtape");
	img_mixtape_meta(&m, &meta);
	assert_string_equal(meta.buf,
		"mixtape.disk 1111111111111111111111111111111111111111111111111111111111111111\n"
		"mixtape.disk_format qcow2\nmixtape.disk_compression zstd\n"
		"mixtape.kernel 2222222222222222222222222222222222222222222222222222222222222222\n"
		"mixtape.initrd 1111111111111111111111111111111111111111111111111111111111111111\n"
		"mixtape.cmdline "
		"2222222222222222222222222222222222222222222222222222222222222222\n");
	img_manifest_done(&m);
}

static void documents(void **state)
{
	static const struct {
		const char *text, *type;
		int want;
		enum img_desc_kind kind;
	} rows[] = {
		{"{\"manifests\":[]}", "", 0, IMG_DESC_INDEX},
		{"{\"manifests\":[]}", IMG_TYPE_MANIFEST, 0, IMG_DESC_INDEX},
		{"{\"config\":{},\"layers\":[]}", IMG_TYPE_MANIFEST, 0, IMG_DESC_MANIFEST},
		{"{\"config\":{},\"layers\":[],\"mediaType\":\"" IMG_TYPE_MANIFEST "\"}",
			"text/html", 0, IMG_DESC_MANIFEST},
		{"{\"manifests\":[],\"layers\":[]}", IMG_TYPE_INDEX, -EBADMSG, 0},
		{"{\"manifests\":[],\"mediaType\":\"" IMG_TYPE_MANIFEST "\"}", "", -EBADMSG, 0},
		{"{\"layers\":[],\"mediaType\":\"" IMG_TYPE_INDEX "\"}", "", -EBADMSG, 0},
		{"{\"layers\":[],\"mediaType\":\"application/vnd.oci.artifact.manifest.v1+json\"}",
			"", -EBADMSG, 0},
		{"{\"schemaVersion\":1,\"fsLayers\":[]}", "", -EOPNOTSUPP, 0},
		{"{\"fsLayers\":[]}", DOCKER "distribution.manifest.v1+prettyjws", -EOPNOTSUPP, 0},
		{"{}", "", -EBADMSG, 0},
		{"<html>", "text/html", -EBADMSG, 0},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		enum img_desc_kind kind = 0;
		struct msb_err e = {0};

		assert_int_equal(img_parse_document(rows[k].text, strlen(rows[k].text),
					 rows[k].type, &kind, &e),
			rows[k].want);
		assert_int_equal(kind, rows[k].kind);
		assert_int_equal(e.code, -rows[k].want);
	}
}

/* Documents with every property that the OCI image-spec 1.1 gives them. */
#define NOTES "\"annotations\":{\"com.example.key1\":\"value1\",\"com.example.key2\":\"\"}"
#define SUBJECT                                                                                    \
	"\"subject\":{\"mediaType\":\"" IMG_TYPE_MANIFEST "\",\"size\":7682,\"digest\":\"" D2 "\"}"
#define EMPTY                                                                                      \
	"{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"size\":2,\"data\":\"e30=\","       \
	"\"digest\":"                                                                              \
	"\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}"
#define LAYER(type, size, more)                                                                    \
	"{\"mediaType\":\"" type "\",\"size\":" size ",\"digest\":\"" D1 "\"" more "}"

static void spec_manifests(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		enum img_kind kind;
	} rows[] = {
		/* manifest.md, "Example Image Manifest" */
		{"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST
		 "\",\"config\":{\"mediaType\":\"" IMG_TYPE_CONFIG "\",\"digest\":\"" D1
		 "\",\"size\":7023},\"layers\":[" LAYER(TAR "+gzip", "32654", "") "," LAYER(
			 TAR "+gzip", "16724", "") "," LAYER(TAR "+gzip", "73109",
			 "") "]," SUBJECT "," NOTES "}",
			3, IMG_KIND_IMAGE},
		/* "Guidelines for Artifact Usage": a type and no content; content, no config; both
		 */
		{"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST
		 "\",\"artifactType\":\"application/vnd.example+type\",\"config\":" EMPTY
		 ",\"layers\":[" EMPTY "]," NOTES "}",
			1, IMG_KIND_ARTIFACT},
		{"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST
		 "\",\"artifactType\":\"application/vnd.example+type\",\"config\":" EMPTY
		 ",\"layers\":[" LAYER(
			 "application/vnd.example+type", "1234", ",\"urls\":[\"u\"]") "]}",
			1, IMG_KIND_ARTIFACT},
		{"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST
		 "\",\"artifactType\":\"application/vnd.example+type\",\"config\":" LAYER(
			 "application/vnd.example.config.v1+json", "123",
			 "") ",\"layers\":[" LAYER("application/vnd.example.data.v1.tar+gzip",
			 "1234",
			 ",\"annotations\":{\"org.opencontainers.image.title\":\"t\"}") "]}",
			1, IMG_KIND_ARTIFACT},
		/* Docker's schema 2, "Example Image Manifest" */
		{"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_DOCKER
		 "\",\"config\":" LAYER(DOCKER "container.image.v1+json", "7023",
			 "") ",\"layers\":[" LAYER(DOCKER "image.rootfs.diff.tar.gzip", "32654",
			 "") "]}",
			1, IMG_KIND_IMAGE},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		enum img_desc_kind is;
		struct img_manifest m;
		struct msb_err e = {0};

		assert_int_equal(
			img_parse_document(rows[k].text, strlen(rows[k].text), "", &is, &e), 0);
		assert_int_equal(is, IMG_DESC_MANIFEST);
		assert_int_equal(img_parse_manifest(rows[k].text, strlen(rows[k].text), &m, &e), 0);
		assert_int_equal(m.nlayers, rows[k].n);
		assert_int_equal(m.kind, rows[k].kind);
		img_manifest_done(&m);
	}
}

static void spec_indexes(void **state)
{
	/* image-index.md and image-layout.md: their examples' entries in one. */
	static const char text[] =
		"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_INDEX
		"\",\"artifactType\":\"application/vnd.example\",\"manifests\":["
		"{\"mediaType\":\"" IMG_TYPE_MANIFEST "\",\"size\":7143,\"digest\":\"" D1
		"\",\"platform\":{\"architecture\":\"ppc64le\",\"os\":\"linux\"}},"
		"{\"mediaType\":\"" IMG_TYPE_MANIFEST "\",\"size\":7682,\"digest\":\"" D2
		"\",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\",\"os.version\":\"1\","
		"\"os.features\":[\"f\"],\"variant\":\"v2\"}," NOTES "},"
		"{\"mediaType\":\"" IMG_TYPE_INDEX "\",\"size\":7143,\"digest\":\"" D1
		"\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"stable-release\"}},"
		"{\"mediaType\":\"application/xml\",\"size\":7143,\"digest\":\"" D2
		"\",\"annotations\":{\"org.freedesktop.specifications.metainfo.version\":\"1.0\"}}"
		"]," SUBJECT "," NOTES "}";
	static const enum img_desc_kind kinds[] = {
		IMG_DESC_MANIFEST, IMG_DESC_MANIFEST, IMG_DESC_INDEX, IMG_DESC_OTHER};
	struct img_index_doc d;
	struct msb_err e = {0};

	assert_int_equal(img_parse_index(text, strlen(text), &d, &e), 0);
	assert_int_equal(d.n, 4);
	for (size_t k = 0; k < 4; k++)
		assert_int_equal(d.v[k].kind, kinds[k]);
	assert_string_equal(d.v[1].platform, "linux/amd64");
	assert_string_equal(d.v[1].variant, "v2");
	assert_string_equal(d.v[2].name, "stable-release");
	img_index_doc_done(&d);
}

static void spec_config(void **state)
{
	/* config.md, "Example" */
	static const char text[] =
		"{\"created\":\"2015-10-31T22:22:56.015925234Z\",\"author\":\"A <a@example.com>\","
		"\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"User\":\"alice\","
		"\"ExposedPorts\":{\"8080/tcp\":{}},\"Env\":[\"PATH=/usr/bin:/bin\",\"FOO=a=b\"],"
		"\"Entrypoint\":[\"/bin/my-app-binary\"],\"Cmd\":[\"--foreground\",\"--config\","
		"\"/etc/my-app.d/default.cfg\"],\"Volumes\":{\"/var/log/my-app-logs\":{}},"
		"\"WorkingDir\":\"/home/alice\",\"Labels\":{\"com.example.a\":\"b\"},"
		"\"StopSignal\":\"SIGTERM\"},\"rootfs\":{\"diff_ids\":[\"" D1 "\",\"" D2
		"\"],\"type\":\"layers\"},\"history\":[{\"created\":\"2015-10-31T22:22:54Z\","
		"\"created_by\":\"/bin/sh -c #(nop) ADD file\"},{\"created_by\":\"x\","
		"\"empty_layer\":true}]}";
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	struct img_config c;
	struct msb_err e = {0};

	assert_int_equal(img_parse_config(text, strlen(text), &c, &meta, &e), 0);
	assert_int_equal(c.n, 2);
	assert_string_equal(c.platform, "linux/amd64");
	assert_string_equal(meta.buf,
		"created \"2015-10-31T22:22:56.015925234Z\"\n"
		"entrypoint.0 \"/bin/my-app-binary\"\ncmd.0 \"--foreground\"\ncmd.1 \"--config\"\n"
		"cmd.2 \"/etc/my-app.d/default.cfg\"\nenv.0 \"PATH=/usr/bin:/bin\"\n"
		"env.1 \"FOO=a=b\"\nuser \"alice\"\nworkdir \"/home/alice\"\n");
	img_config_done(&c);
}

static void configs(void **state)
{
	static const struct {
		const char *text;
		int want;
		const char *meta;
	} rows[] = {
		{"{\"rootfs\":{\"diff_ids\":[]}}", 0, ""},
		{"{\"rootfs\":{\"diff_ids\":[\"" D1 "\"]},\"config\":null}", 0, ""},
		{"{\"created\":\"2026-01-02T03:04:05.678Z\",\"rootfs\":{\"diff_ids\":[]}}", 0,
			"created \"2026-01-02T03:04:05.678Z\"\n"},
		{"{\"created\":\"x\\ny\",\"rootfs\":{\"diff_ids\":[]}}", 0, ""},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Entrypoint\":[\"/bin/sh\",\"-c\"],"
		 "\"Cmd\":null,\"Env\":[\"A=\\\"q\\\" \\\\ \\n\\u0001\",\"B=\\u00e9\"],"
		 "\"User\":\"1:2\",\"WorkingDir\":\"/w\",\"Labels\":{\"a\":\"b\"}}}",
			0,
			"entrypoint.0 \"/bin/sh\"\nentrypoint.1 \"-c\"\n"
			"env.0 \"A=\\\"q\\\" \\\\ \\n\\u0001\"\nenv.1 \"B=\xc3\xa9\"\n"
			"user \"1:2\"\nworkdir \"/w\"\n"},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"User\":\"\",\"WorkingDir\":\"\"}}", 0,
			""},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"],"
		 "\"Interval\":1500000000,\"Timeout\":0,\"StartPeriod\":1,\"StartInterval\":2000000001,\"Retries\":2}}}",
			0,
			"healthcheck.0 \"CMD\"\nhealthcheck.1 \"x\"\n"
			"healthcheck_interval_sec 2\nhealthcheck_start_period_sec 1\n"
			"healthcheck_start_interval_sec 3\n"
			"healthcheck_retries 2\n"},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Healthcheck\":{\"Interval\":\"1\"}}}",
			-EBADMSG, NULL},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Healthcheck\":{\"Retries\":-1}}}",
			-EBADMSG, NULL},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Cmd\":\"sh\"}}", -EBADMSG, NULL},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Cmd\":[1]}}", -EBADMSG, NULL},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"User\":0}}", -EBADMSG, NULL},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Env\":[\"A=\\u0000\"]}}", -EBADMSG,
			NULL},
		{"{\"rootfs\":{\"diff_ids\":[1]}}", -EBADMSG, NULL},
		{"{\"rootfs\":{}}", -EBADMSG, NULL},
		{"{}", -EBADMSG, NULL},
		{"\"\\ud800\"", -EBADMSG, NULL},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
		struct img_config c;
		struct msb_err e = {0};

		assert_int_equal(
			img_parse_config(rows[k].text, strlen(rows[k].text), &c, &meta, &e),
			rows[k].want);
		if (rows[k].meta)
			assert_string_equal(meta.buf ? meta.buf : "", rows[k].meta);
		img_config_done(&c);
	}
}

static void docker(void **state)
{
	static const struct {
		const char *text;
		int want;
		size_t n;
		const char *choices;
	} rows[] = {
		{"[{\"Config\":\"c.json\",\"Layers\":[\"a/layer.tar\",\"b/layer.tar\"]}]", 0, 2,
			NULL},
		{"[{\"Config\":\"c.json\",\"Layers\":null}]", 0, 0, NULL},
		{"[]", 0, 0, ""},
		{"[{\"RepoTags\":[\"a:1\"]},{\"RepoTags\":null}]", 0, 0, "a:1, (untagged)"},
		{"{}", -EBADMSG, 0, NULL},
		{"[{\"Layers\":[]}]", -EBADMSG, 0, NULL},
		{"[{\"Config\":\"c\",\"Layers\":[1]}]", -EBADMSG, 0, NULL},
		{"[{\"Config\":\"c\",\"Layers\":\"x\"}]", -EBADMSG, 0, NULL},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct img_docker d;
		struct msb_err e = {0};

		assert_int_equal(
			img_parse_docker(rows[k].text, strlen(rows[k].text), &d, &e), rows[k].want);
		assert_int_equal(d.n, rows[k].n);
		if (rows[k].choices)
			assert_string_equal(d.choices, rows[k].choices);
		img_docker_done(&d);
	}
}

static void limits(void **state)
{
	static const struct {
		const char *head, *body, *tail;
		size_t max;
		int kind; /* 0 index, 1 manifest, 2 config */
	} rows[] = {
		{"{\"manifests\":[", "{\"digest\":\"" D1 "\",\"size\":5}", "]}", IMG_MAX_MANIFESTS,
			0},
		{"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1 "\",\"size\":1},\"layers\":[",
			"{\"digest\":\"" D1 "\",\"size\":5}", "]}", IMG_MAX_LAYERS, 1},
		{"{\"rootfs\":{\"diff_ids\":[", "\"" D1 "\"", "]}}", IMG_MAX_LAYERS, 2},
		{"{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Env\":[", "\"A=1\"", "]}}",
			IMG_MAX_META_ELEMENTS, 2},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		for (size_t over = 0; over < 2; over++) {
			_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
			_cleanup_free_ char *p = repeat(
				rows[k].head, rows[k].body, rows[k].max + over, rows[k].tail);
			struct img_index_doc index;
			struct img_manifest m;
			struct img_config c;
			struct msb_err e = {0};
			int r;

			if (rows[k].kind == 0) {
				r = img_parse_index(p, strlen(p), &index, &e);
				img_index_doc_done(&index);
			} else if (rows[k].kind == 1) {
				r = img_parse_manifest(p, strlen(p), &m, &e);
				img_manifest_done(&m);
			} else {
				r = img_parse_config(p, strlen(p), &c, &meta, &e);
				img_config_done(&c);
			}
			assert_int_equal(r, over ? -E2BIG : 0);
		}
}

static void depth_and_size(void **state)
{
	char text[2 * IMG_MAX_JSON_DEPTH + 64];
	struct img_index_doc d;

	for (int over = 0; over < 2; over++) {
		int n = IMG_MAX_JSON_DEPTH - 1 + over, at;

		at = snprintf(text, sizeof(text), "{\"manifests\":[],\"x]\\\"]\":");
		memset(text + at, '[', (size_t)n);
		memset(text + at + n, ']', (size_t)n);
		(void)snprintf(text + at + 2 * n, 4, "}");
		assert_int_equal(img_parse_index(text, strlen(text), &d, NULL), over ? -E2BIG : 0);
		img_index_doc_done(&d);
	}
	_cleanup_free_ char *big = malloc(IMG_MAX_JSON_BYTES + 1);
	memset(big, ' ', IMG_MAX_JSON_BYTES + 1);
	memcpy(big, "{\"manifests\":[]}", 16);
	assert_int_equal(img_parse_index(big, IMG_MAX_JSON_BYTES, &d, NULL), 0);
	img_index_doc_done(&d);
	assert_int_equal(img_parse_index(big, IMG_MAX_JSON_BYTES + 1, &d, NULL), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indexes),
		cmocka_unit_test(platforms),
		cmocka_unit_test(manifests),
		cmocka_unit_test(mixtape),
		cmocka_unit_test(documents),
		cmocka_unit_test(spec_manifests),
		cmocka_unit_test(spec_indexes),
		cmocka_unit_test(spec_config),
		cmocka_unit_test(configs),
		cmocka_unit_test(docker),
		cmocka_unit_test(limits),
		cmocka_unit_test(depth_and_size),
	};

	return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
