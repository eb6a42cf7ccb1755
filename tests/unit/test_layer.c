// SPDX-License-Identifier: Apache-2.0
// fs/image/layer: layers merge as the OCI specification has it, and never name anything outside the
// image.
#include "fs/image/image.h"
#include "fs/image/layer.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

/* A layer is written as "KIND NAME [TARGET or CONTENTS]" joined by '|'. */
static void tar_of(const char *text, struct msb_str *s)
{
	char line[1024], name[512], arg[512];

	while (*text) {
		size_t n = strcspn(text, "|");

		memcpy(line, text, n);
		line[n] = 0;
		name[0] = arg[0] = 0;
		assert_true(sscanf(line + 1, " %511s %511s", name, arg) >= 1);
		switch (line[0]) {
		case 'd': tar_header(s, name, '5', NULL, 0755, 0); break;
		case 'D': tar_header(s, name, '5', NULL, 0700, 0); break; /* another mode */
		case 'f': tar_file(s, name, arg, strlen(arg)); break;
		case 'l': tar_header(s, name, '2', arg, 0777, 0); break;
		case 'h': tar_header(s, name, '1', arg, 0644, 0); break;
		case 'c': tar_header(s, name, '3', NULL, 0666, 0); break;
		default: fail();
		}
		text += n + (text[n] == '|');
	}
	tar_end(s);
}

static int apply(struct img_tree *t, uint32_t number, const struct msb_str *s, struct msb_err *e)
{
	struct img_layer l = {.tree = t, .number = number};
	struct img_tar *tar;
	int r;

	assert_int_equal(img_tar_new(&img_layer_ops, &l, &tar), 0);
	r = img_tar_feed(tar, s->buf, s->len, e);
	if (r == 0)
		r = img_tar_finish(tar, e);
	img_tar_free(tar);
	return r;
}

static int cmp(const void *a, const void *b)
{
	const struct img_dent *x = *(struct img_dent *const *)a, *y = *(struct img_dent *const *)b;

	return strcmp(x->name, y->name);
}

static void list(const struct img_inode *d, const char *at, struct msb_str *out)
{
	struct img_dent **v = calloc(d->nchildren + 1, sizeof(*v));
	uint32_t n = 0, subdirs = 0;

	assert_non_null(v);
	for (struct img_dent *c = d->children; c; c = c->next)
		v[n++] = c;
	assert_int_equal(n, d->nchildren);
	qsort(v, n, sizeof(struct img_dent *), cmp);
	for (uint32_t k = 0; k < n; k++) {
		const struct img_inode *i = v[k]->inode;
		char path[4096];

		(void)snprintf(path, sizeof(path), "%s%s", at, v[k]->name);
		if (S_ISDIR(i->mode)) {
			subdirs++;
			msb_str_addf(out, "%s%s/%s", out->len ? " " : "", path,
				(i->mode & 07777) == 0755 ? "" : "!");
			(void)strncat(path, "/", sizeof(path) - strlen(path) - 1);
			list(i, path, out);
			continue;
		}
		msb_str_addf(out, "%s%s%s%s", out->len ? " " : "", path,
			S_ISLNK(i->mode)   ? "->"
			: S_ISCHR(i->mode) ? "(c)"
			: i->size	   ? "="
					   : "",
			S_ISLNK(i->mode) || i->inlined ? i->bytes : "");
		if (i->refs > 1)
			msb_str_addf(out, "#%u", i->refs);
	}
	assert_int_equal(subdirs, d->nsubdirs);
	free(v);
}

static void merging(void **state)
{
	static const struct {
		const char *layers[4];
		int want;
		const char *tree;
	} rows[] = {
		/* plain */
		{{"d etc/|f etc/passwd x|l sh busybox|c null"}, 0,
			"etc/ etc/passwd=x null(c) sh->busybox"},
		{{"f ./a 1|f /b 2|f //c 3|f ./././d 4"}, 0, "a=1 b=2 c=3 d=4"},
		{{"f a/b/c x"}, 0, "a/ a/b/ a/b/c=x"}, /* missing directories are made */
		{{"d ./|d /|d ."}, 0, ""},
		{{"f a 1", "f a 2"}, 0, "a=2"},
		{{"f a 1|f a 2"}, 0, "a=2"}, /* the last of a name counts */
		{{"d a|f a/x 1", "D a"}, 0, "a/! a/x=1"},
		{{"d a|f a/x 1", "f a 2"}, 0, "a=2"},
		{{"f a 1", "d a|f a/x 2"}, 0, "a/ a/x=2"},
		{{"l a b|d b", "d a|f a/x 1"}, 0, "a/ a/x=1 b/"}, /* a directory replaces a link */

		/* hard links */
		{{"f a 1|h b a|h c /a"}, 0, "a=1#3 b=1#3 c=1#3"},
		{{"f a 1", "h b a", "f a 2"}, 0, "a=2 b=1"},
		{{"f a 1|h b a", "f .wh.a"}, 0, "b=1"},
		{{"l a x|h b a"}, 0, "a->x#2 b->x#2"},
		{{"d d|f d/f 1|h d d/f"}, 0, "d=1"}, /* the target is in what is replaced */
		{{"d r|f r/f 1|l s r|h b s/f"}, 0, "b=1#2 r/ r/f=1#2 s->r"},
		{{"h b a"}, -EBADMSG, NULL},
		{{"f a 1|h a a"}, -EBADMSG, NULL},
		{{"d a|h b a"}, -EBADMSG, NULL},
		{{"f a 1|h b ../a"}, -EBADMSG, NULL},
		{{"f a 1|h b ../../../../etc/passwd"}, -EBADMSG, NULL},
		{{"f a 1|h b /etc/passwd"}, -EBADMSG, NULL},
		{{"f a 1|h b /"}, -EBADMSG, NULL},
		{{"l s /|f a 1|h b s/etc/passwd"}, -EBADMSG, NULL},

		/* whiteouts */
		{{"f a 1|f b 2", "f .wh.a"}, 0, "b=2"},
		{{"d d|f d/x 1|f d/y 2", "f d/.wh.x"}, 0, "d/ d/y=2"},
		{{"d d|d d/e|f d/e/x 1", "f .wh.d"}, 0, ""},
		{{"f a 1", "f .wh.nothing|f no/.wh.where"}, 0, "a=1"},
		{{"f a 1", "f .wh.a|f a 2"}, 0, "a=2"},
		{{"f a 1", "f a 2|f .wh.a"}, 0, "a=2"}, /* the same layer's stay, in any order */
		{{"d d|f d/x 1|f d/y 2", "f d/y 3|f d/.wh..wh..opq"}, 0, "d/ d/y=3"},
		{{"d d|f d/x 1|f d/y 2", "f d/.wh..wh..opq|f d/y 3"}, 0, "d/ d/y=3"},
		{{"d d|d d/e|f d/e/x 1|f d/e/y 2", "f d/e/z 3|f .wh.d"}, 0, "d/ d/e/ d/e/z=3"},
		{{"d d|f d/x 1", "d d|f .wh.d"}, 0, "d/"},
		{{"f d/x 1", "f d/.wh.x", "f d/x 3"}, 0, "d/ d/x=3"},
		{{"f a 1", "f .wh..wh.plnk|f .wh..wh.aufs"}, 0, "a=1"},
		{{"f a 1", "f .wh."}, -EBADMSG, NULL},
		{{"f a 1", "f .wh..."}, -EBADMSG, NULL},
		{{"d d", "f d/.wh.."}, -EBADMSG, NULL},
		{{"f a 1", "f ../.wh.a"}, -EBADMSG, NULL},
		{{"l s /|f a 1", "f s/.wh.a"}, 0, "s->/"}, /* through a link, inside */

		/* symlinked parents stay inside */
		{{"d usr|d usr/bin|l bin usr/bin", "f bin/x 1"}, 0,
			"bin->usr/bin usr/ usr/bin/ usr/bin/x=1"},
		{{"l bin /usr/bin|f bin/x 1"}, 0, "bin->/usr/bin usr/ usr/bin/ usr/bin/x=1"},
		{{"l up ../../..|f up/x 1"}, 0, "up->../../.. x=1"},
		{{"d d|l d/up ../../..|f d/up/x 1"}, 0, "d/ d/up->../../.. x=1"},
		{{"l host /etc|f host/passwd 1"}, 0, "etc/ etc/passwd=1 host->/etc"},
		{{"l a b|l b a|f a/x 1"}, -EBADMSG, NULL}, /* a loop */
		{{"f a 1|f a/x 2"}, -EBADMSG, NULL},
		{{"l s s2|l s2 d|d d|f s/x 1"}, 0, "d/ d/x=1 s->s2 s2->d"},
		{{"l s d|d d", "f s 1"}, 0, "d/ s=1"}, /* the last name itself is not followed */

		/* names that would leave */
		{{"f ../x 1"}, -EBADMSG, NULL},
		{{"f a/../x 1"}, -EBADMSG, NULL},
		{{"f a/.. 1"}, -EBADMSG, NULL},
		{{"d .."}, -EBADMSG, NULL},
		{{"f /../../x 1"}, -EBADMSG, NULL},
		{{"f ./"}, -EBADMSG, NULL}, /* the root is a directory */
		{{"f .. x"}, -EBADMSG, NULL},
		{{"f ...  x"}, 0, "...=x"},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct msb_str out = MSB_STR_INIT;
		struct msb_err e = {0};
		struct img_tree *t;
		int r = 0;

		assert_int_equal(img_tree_new(1000, &t), 0);
		for (uint32_t l = 0; r == 0 && l < 4 && rows[k].layers[l]; l++) {
			struct msb_str s = MSB_STR_INIT;

			tar_of(rows[k].layers[l], &s);
			r = apply(t, l + 1, &s, &e);
			msb_str_done(&s);
		}
		if (r != rows[k].want)
			fail_msg("row %zu (%s): %d %s", k, rows[k].layers[0], r, e.msg);
		assert_int_equal(e.code, -r);
		list(img_tree_root(t), "", &out);
		if (rows[k].tree)
			assert_string_equal(out.buf ? out.buf : "", rows[k].tree);
		msb_str_done(&out);
		img_tree_free(t);
	}
}

static void attributes(void **state)
{
	static const char *const records[] = {"uid=5", "SCHILY.xattr.user.a=1",
		"SCHILY.xattr.security.capability=cap", "SCHILY.xattr.unknown.ns=x",
		"SCHILY.xattr.system.posix_acl_access=acl"};
	size_t lens[ARRAY_LEN(records)], n = 0;
	struct msb_str s = MSB_STR_INIT;
	const struct img_inode *i;
	struct msb_err e = {0};
	struct img_tree *t;

	for (size_t k = 0; k < ARRAY_LEN(records); k++)
		lens[k] = strlen(records[k]);
	assert_int_equal(img_tree_new(1000, &t), 0);
	tar_pax_n(&s, 'x', records, lens, ARRAY_LEN(records));
	tar_header(&s, "d", '5', NULL, 07755, 0);
	assert_int_equal(apply(t, 1, &s, &e), 0);
	i = img_tree_find(t, img_tree_root(t), "d", 1)->inode;
	assert_int_equal(i->mode, S_IFDIR | 07755);
	assert_int_equal(i->uid, 5);
	assert_int_equal(i->mtime_sec, 1000);
	for (const struct img_xattr *x = i->xattrs; x; x = x->next)
		n++;
	assert_int_equal(n, 3); /* that of no known kind is left out */
	s.len = 0;
	tar_header(&s, "d", '5', NULL, 0700, 0);
	assert_int_equal(apply(t, 2, &s, &e), 0);
	assert_int_equal(i->mode, S_IFDIR | 0700);
	assert_int_equal(i->uid, 0);
	assert_null(i->xattrs); /* a layer's entry says all of it */
	msb_str_done(&s);
	img_tree_free(t);
}

/* Room for @max inodes, the root included. */
static int apply_new(const struct msb_str *s, uint64_t max)
{
	struct msb_err e = {0};
	struct img_tree *t;
	int r;

	assert_int_equal(img_tree_new(max, &t), 0);
	r = apply(t, 1, s, &e);
	img_tree_free(t);
	return r;
}

static void limits(void **state)
{
	struct msb_str s = MSB_STR_INIT, path = MSB_STR_INIT;
	static char big[70000];
	const char *rec = big;
	size_t n;

	tar_of("f a|f b|d c", &s);
	assert_int_equal(apply_new(&s, 4), 0);
	assert_int_equal(apply_new(&s, 3), -E2BIG);
	msb_str_done(&s);

	tar_of("f a|h b a|h c a|h d a|h e a", &s); /* names count as well as inodes */
	assert_int_equal(apply_new(&s, 5), 0);
	assert_int_equal(apply_new(&s, 4), -E2BIG);
	msb_str_done(&s);

	for (int over = 0; over < 2; over++) { /* depth */
		msb_str_adds(&path, "path=");
		for (int k = 0; k < IMG_MAX_DEPTH + over; k++)
			msb_str_adds(&path, "d/");
		tar_pax(&s, path.buf);
		tar_header(&s, "d", '5', NULL, 0755, 0);
		assert_int_equal(apply_new(&s, 10000), over ? -E2BIG : 0);
		path.len = s.len = 0;
	}
	for (int over = 0; over < 2; over++) { /* one name */
		memset(big, 'n', sizeof(big));
		memcpy(big, "path=", 5);
		big[5 + IMG_MAX_NAME + over] = 0;
		tar_pax(&s, big);
		tar_file(&s, "f", "", 0);
		assert_int_equal(apply_new(&s, 10000), over ? -E2BIG : 0);
		s.len = 0;
	}
	for (int over = 0; over < 2; over++) { /* extended attributes */
		memset(big, 'v', sizeof(big));
		memcpy(big, "SCHILY.xattr.user.a=", 20);
		n = 20 + (over ? 65536 : 60000);
		tar_pax_n(&s, 'x', &rec, &n, 1);
		tar_file(&s, "f", "", 0);
		assert_int_equal(apply_new(&s, 10000), over ? -E2BIG : 0);
		s.len = 0;
	}
	msb_str_done(&s);
	msb_str_done(&path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging),
		cmocka_unit_test(attributes),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests_name("layer", tests, NULL, NULL);
}
