// SPDX-License-Identifier: Apache-2.0
// Listing images: a walk over images/.
#include "tools/msb/list.h"
#include "base/cleanup.h"
#include "fs/image/ref.h"
#include "tools/msb/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LIBRARY IMG_REF_DEFAULT_HOST "/library/"

struct image {
	char *name; /* canonical */
	char digest[72], created[40];
	unsigned long long bytes;
	long long made; /* seconds since the epoch */
};

struct images {
	struct image *i;
	size_t n;
};

static void images_done(struct images *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->i[i].name);
	free(all->i);
}

static int value(const struct mnt *m, const char *name, const char *file, char *buf, size_t size)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[IMG_REF_MAX + 64];
	int r;

	(void)snprintf(path, sizeof(path), "images/%s/%s", name, file);
	r = mnt_read(m, path, &s, NULL);
	(void)snprintf(buf, size, "%s", r == 0 ? s.buf : "");
	return r;
}

static long long seconds_of(const char *text)
{
	struct tm tm = {0};

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (long long)timegm(&tm) : 0;
}

static int add(const struct mnt *m, const char *name, struct images *all)
{
	struct image *p = realloc(all->i, (all->n + 1) * sizeof(*p)), one = {0};
	char bytes[32];

	if (!p)
		return -ENOMEM;
	all->i = p;
	if (value(m, name, "digest", one.digest, sizeof(one.digest)) < 0)
		return 0;					  /* it went while we looked */
	(void)value(m, name, "size_bytes", bytes, sizeof(bytes)); /* so did it then */
	(void)value(m, name, "created", one.created, sizeof(one.created));
	one.bytes = strtoull(bytes, NULL, 10);
	one.made = seconds_of(one.created);
	one.name = strdup(name);
	if (!one.name)
		return -ENOMEM;
	p[all->n++] = one;
	return 0;
}

static int walk(const struct mnt *m, const char *below, struct images *all)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	char path[IMG_REF_MAX + 16];
	int r;

	(void)snprintf(path, sizeof(path), "images%s%s", *below ? "/" : "", below);
	r = mnt_list(m, path, DT_DIR, &names, NULL);
	if (r < 0)
		return *below ? 0 : r; /* it went while we looked */
	for (const char *p = names.buf; r == 0 && p && *p; p += strlen(p) + 1) {
		char name[IMG_REF_MAX + 1];

		if (!*below && (!strcmp(p, "pulls") || !strcmp(p, "logins")))
			continue;
		(void)snprintf(name, sizeof(name), "%s%s%s", below, *below ? "/" : "", p);
		/* A host may have a colon, what is below it is an image then. */
		r = *below && strpbrk(p, ":@") ? add(m, name, all) : walk(m, name, all);
	}
	return r;
}

static int newer(const void *a, const void *b)
{
	const struct image *x = a, *y = b;

	return x->made != y->made ? (x->made < y->made ? 1 : -1) : strcmp(x->name, y->name);
}

/* Whether @only is its name, or its repository's. */
static bool wanted(const struct image *i, const char *only)
{
	static const char *const hosts[] = {IMG_REF_DEFAULT_HOST, IMG_REF_LOCAL_HOST};
	bool tagged = only && strpbrk(strrchr(only, '/') ?: only, ":@");

	if (!only)
		return true;
	for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct img_ref ref;
		size_t n;

		if (img_ref_parse(only, hosts[h], &ref, NULL) < 0)
			return false;
		img_ref_print(&ref, &s);
		n = tagged ? s.len : s.len - strlen(":latest");
		if (!s.oom && !strncmp(i->name, s.buf, n) &&
			(i->name[n] == '\0' || (!tagged && strchr(":@", i->name[n]))))
			return true;
	}
	return false;
}

static void print_json(const struct image *i)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	msb_str_adds(&s, "{\"name\":");
	msb_str_add_json(&s, i->name, strlen(i->name));
	msb_str_addf(&s, ",\"digest\":\"%s\",\"created\":", i->digest);
	msb_str_add_json(&s, i->created, strlen(i->created));
	msb_str_addf(&s, ",\"size_bytes\":%llu}", i->bytes);
	printf("%s\n", s.buf ?: "");
}

static void print_row(const struct image *i, bool whole, int width)
{
	const char *name = strncmp(i->name, LIBRARY, strlen(LIBRARY)) != 0
				   ? i->name
				   : i->name + strlen(LIBRARY);
	const char *at = strpbrk(strrchr(name, '/') ?: name, ":@");
	char size[16], ago[32];

	printf("%-*.*s  %-16s  %-*s  %-14s  %s\n", width, at ? (int)(at - name) : width, name,
		!at	     ? ""
		: *at == '@' ? "<none>"
			     : at + 1,
		whole ? 71 : 12, whole ? i->digest : i->digest + 7,
		cli_ago((long long)time(NULL) - i->made, ago), cli_bytes(i->bytes, size));
}

int list_images(const struct mnt *m, const struct list_how *how, struct msb_err *e)
{
	_cleanup_(images_done) struct images all = {0};
	int r = walk(m, "", &all), width = (int)strlen("REPOSITORY");

	if (r < 0)
		return msb_err_set(e, -r, "cannot list %s/images: %s", m->path, strerror(-r));
	if (all.n)
		qsort(all.i, all.n, sizeof(all.i[0]), newer);
	for (size_t i = 0; i < all.n; i++) {
		int n = (int)strcspn(strrchr(all.i[i].name, '/') ?: all.i[i].name, ":@") +
			(int)((strrchr(all.i[i].name, '/') ?: all.i[i].name) - all.i[i].name);

		if (!how->whole && !how->json)
			all.i[i].digest[strnlen(all.i[i].digest, 7 + 12)] = '\0';
		width = n > width ? n : width;
	}
	if (!how->json && !how->quiet)
		printf("%-*s  %-16s  %-*s  %-14s  %s\n", width, "REPOSITORY", "TAG",
			how->whole ? 71 : 12, "DIGEST", "CREATED", "SIZE");
	for (size_t i = 0; i < all.n; i++) {
		if (!wanted(&all.i[i], how->only))
			continue;
		if (how->json)
			print_json(&all.i[i]);
		else if (how->quiet)
			printf("%s\n", all.i[i].digest + (how->whole ? 0 : 7));
		else
			print_row(&all.i[i], how->whole, width);
	}
	return 0;
}
