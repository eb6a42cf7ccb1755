// SPDX-License-Identifier: Apache-2.0
// Names of images.
#include "ctl/image_names.h"
#include "base/cleanup.h"
#include "ctl/files.h"
#include "ctl/mounts.h"
#include "ctl/report.h"

#include <string.h>

#define LIBRARY IMG_REF_DEFAULT_HOST "/library/"
#define LOCAL	IMG_REF_LOCAL_HOST "/"
#define LATEST	":latest"

/* ---- the table */

/* Where @name is or would go. */
static size_t slot(const struct ctl *c, const char *name)
{
	size_t lo = 0, hi = c->nimg;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(c->img[mid]->name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct ctl_image *ctl_image_find(struct ctl *c, const char *name)
{
	size_t i = slot(c, name);

	return i < c->nimg && !strcmp(c->img[i]->name, name) ? c->img[i] : NULL;
}

struct ctl_image *ctl_image_by_serial(struct ctl *c, uint32_t serial)
{
	for (size_t i = 0; i < c->nimg; i++)
		if (c->img[i]->serial == serial)
			return c->img[i];
	return NULL;
}

struct ctl_image *ctl_image_ref(struct ctl_image *img)
{
	img->refs++;
	return img;
}

static void image_free(struct ctl_image *img)
{
	ctl_files_done(&img->files);
	free(img);
}

void ctl_image_unref(struct ctl_image *img)
{
	bool last;

	if (!img)
		return;
	pthread_mutex_lock(&img->c->lock);
	last = --img->refs == 0;
	pthread_mutex_unlock(&img->c->lock);
	if (last)
		image_free(img);
}

/* ---- directories */

static size_t dir_slot(const struct ctl *c, const char *path)
{
	size_t lo = 0, hi = c->ndirs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(c->dir[mid].path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct ctl_image_dir *ctl_image_dir_find(struct ctl *c, const char *path)
{
	size_t i = dir_slot(c, path);

	return i < c->ndirs && !strcmp(c->dir[i].path, path) ? &c->dir[i] : NULL;
}

struct ctl_image_dir *ctl_image_dir_by_serial(struct ctl *c, uint32_t serial)
{
	for (size_t i = 0; i < c->ndirs; i++)
		if (c->dir[i].serial == serial)
			return &c->dir[i];
	return NULL;
}

/* Whether an image is below. */
static bool dir_needed(const struct ctl *c, const char *path)
{
	char first[IMG_REF_MAX + 2];
	size_t i;

	(void)snprintf(first, sizeof(first), "%s/", path);
	i = slot(c, first);
	return i < c->nimg && !strncmp(c->img[i]->name, first, strlen(first));
}

/* Removes those of @name's directories that are above no image. */
static void dirs_leave(struct ctl *c, const char *name)
{
	char path[IMG_REF_MAX + 1];
	char *end;

	(void)snprintf(path, sizeof(path), "%s", name);
	while ((end = strrchr(path, '/'))) {
		struct ctl_image_dir *d;

		*end = '\0';
		d = ctl_image_dir_find(c, path);
		if (!d || dir_needed(c, path))
			continue;
		free(d->path);
		memmove(d, d + 1, (size_t)(&c->dir[--c->ndirs] - d) * sizeof(*d));
	}
}

/* Makes those of @name's directories that are not there. */
static int dirs_enter(struct ctl *c, const char *name, struct msb_err *e)
{
	for (const char *end = strchr(name, '/'); end; end = strchr(end + 1, '/')) {
		char *path = strndup(name, (size_t)(end - name));
		size_t i;

		if (!path)
			return msb_err_set(e, ENOMEM, "no memory");
		i = dir_slot(c, path);
		if (i < c->ndirs && !strcmp(c->dir[i].path, path)) {
			free(path);
			continue;
		}
		if (c->ndirs == CTL_MAX_IMAGE_DIRS) {
			free(path);
			return msb_err_set(e, EDQUOT,
				"the names of images make %d directories, the most there can be",
				CTL_MAX_IMAGE_DIRS);
		}
		memmove(&c->dir[i + 1], &c->dir[i], (c->ndirs++ - i) * sizeof(c->dir[0]));
		c->dir[i] = (struct ctl_image_dir){++c->next_serial, path};
	}
	return 0;
}

/* ---- short names */

/* What a user may write instead, where nothing else is meant by it; "" where there is none that is
 * one name in `images/`. */
static void shorten(const char *name, char ret[IMG_REF_MAX + 1])
{
	const char *rest = "";
	size_t n;

	if (!strncmp(name, LIBRARY, strlen(LIBRARY)))
		rest = name + strlen(LIBRARY);
	else if (!strncmp(name, LOCAL, strlen(LOCAL)))
		rest = name + strlen(LOCAL);
	n = strchr(rest, '/') ? 0 : strlen(rest);
	if (n > strlen(LATEST) && !strcmp(rest + n - strlen(LATEST), LATEST))
		n -= strlen(LATEST);
	(void)snprintf(ret, IMG_REF_MAX + 1, "%.*s", (int)n, rest);
}

/* Gives short names to those that have one for themselves. @text: the one that may have changed. */
static void share_short(struct ctl *c, const char *text)
{
	char other[IMG_REF_MAX + 1];
	struct ctl_image *one = NULL;
	unsigned int n = 0;

	for (size_t i = 0; *text && i < c->nimg; i++) {
		shorten(c->img[i]->name, other);
		if (strcmp(other, text) != 0)
			continue;
		c->img[i]->shorter[0] = '\0';
		one = c->img[i];
		n++;
	}
	/* A host may be called as an image is. */
	if (n == 1 && !ctl_image_dir_find(c, text))
		(void)snprintf(one->shorter, sizeof(one->shorter), "%s", text);
}

static void short_names(struct ctl *c, const char *name)
{
	char text[IMG_REF_MAX + 1];

	shorten(name, text);
	share_short(c, text);
	/* Its host came, or went. */
	(void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(name, "/"), name);
	share_short(c, text);
}

/* ---- what a text means */

static int find_ref(struct ctl *c, const struct img_ref *ref, struct ctl_image **ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	size_t n;

	img_ref_print(ref, &s);
	if (s.oom)
		return -ENOMEM;
	*ret = ctl_image_find(c, s.buf);
	/* A digest says it all: under whichever tag the image came. */
	n = (size_t)(strchr(s.buf, '@') ? strchr(s.buf, '@') - s.buf : 0);
	for (size_t i = 0; n && !*ret && i < c->nimg; i++)
		if (!strncmp(c->img[i]->name, s.buf, n) && c->img[i]->name[n] == ':' &&
			!strcmp(c->img[i]->digest, ref->digest))
			*ret = c->img[i];
	return *ret ? 0 : -ENOENT;
}

int ctl_image_resolve(struct ctl *c, const char *text, struct img_ref *ref, struct ctl_image **ret,
	struct msb_err *e)
{
	struct ctl_image *remote = NULL, *local = NULL;
	struct img_ref r;
	int k = img_ref_parse(text, IMG_REF_DEFAULT_HOST, &r, e);

	if (k < 0)
		return k;
	if (ref)
		*ref = r;
	k = find_ref(c, &r, &remote);
	if (k != -ENOMEM && r.bare && img_ref_parse(text, IMG_REF_LOCAL_HOST, &r, NULL) == 0)
		k = find_ref(c, &r, &local);
	if (k == -ENOMEM)
		return msb_err_set(e, ENOMEM, "no memory");
	if (remote && local)
		return msb_err_set(e, ENOTUNIQ, "`%s` may be %s or %s; write which", text,
			remote->name, local->name);
	if (!remote && !local)
		return msb_err_set(e, ENOENT,
			"there is no image `%s`; see `ls images`, or `pull %s` in images/ctl", text,
			text);
	*ret = remote ?: local;
	return 0;
}

int ctl_image_local_name(const char *text, char ret[IMG_REF_MAX + 1], struct msb_err *e)
{
	struct msb_str s = {.buf = ret, .cap = IMG_REF_MAX + 1, .fixed = true};
	struct img_ref r;
	int k = img_ref_parse(text, IMG_REF_LOCAL_HOST, &r, e);

	if (k < 0)
		return k;
	if (*r.digest)
		return msb_err_set(
			e, EINVAL, "`%s` has a digest, which is not given but found", text);
	img_ref_print(&r, &s);
	return 0;
}

/* ---- changes */

static struct ctl_image *image_new(struct ctl *c, const char *id, const char *name,
	const char *digest, uint64_t size_bytes, uint64_t created_usec)
{
	struct ctl_image *img = calloc(1, sizeof(*img));

	if (!img)
		return NULL;
	img->c = c;
	img->refs = 1;
	img->size_bytes = size_bytes;
	img->created_usec = created_usec;
	ctl_files_init(&img->files, c);
	(void)snprintf(img->id, sizeof(img->id), "%s", id);
	(void)snprintf(img->name, sizeof(img->name), "%s", name);
	(void)snprintf(img->digest, sizeof(img->digest), "%s", digest);
	return img;
}

static void image_insert(struct ctl *c, struct ctl_image *img)
{
	size_t i = slot(c, img->name);

	img->serial = ++c->next_serial;
	memmove(&c->img[i + 1], &c->img[i], (c->nimg++ - i) * sizeof(c->img[0]));
	c->img[i] = img;
	short_names(c, img->name);
}

int ctl_image_load(void *ctl, const char *id, const char *name, const char *digest,
	uint64_t size_bytes, uint64_t created_usec)
{
	struct ctl *c = ctl;
	struct ctl_image *img;
	int r;

	if (c->nimg == CTL_MAX_IMAGES)
		return -EDQUOT;
	if (strlen(name) > IMG_REF_MAX)
		return -EBADMSG;
	r = dirs_enter(c, name, NULL);
	if (r < 0)
		return r;
	img = image_new(c, id, name, digest, size_bytes, created_usec);
	if (!img)
		return -ENOMEM;
	image_insert(c, img);
	return 0;
}

int ctl_image_set(struct ctl *c, const char *name, const char *digest, uint64_t size_bytes,
	struct ctl_image **ret_old, struct msb_err *e)
{
	struct ctl_image *old = ctl_image_find(c, name), *img;
	uint64_t now = ctl_now_usec();
	char id[33];
	int r = ctl_new_id(id, e);

	if (r < 0)
		return r;
	if (ret_old)
		*ret_old = NULL;
	if (old && !strcmp(old->digest, digest))
		return 0;
	if (old && !ret_old)
		return msb_err_set(e, EEXIST, "there is an image `%s` already", name);
	if (!old && c->nimg == CTL_MAX_IMAGES)
		return msb_err_set(
			e, EDQUOT, "there are %d images, the most there can be", CTL_MAX_IMAGES);
	img = image_new(c, id, name, digest, size_bytes, now);
	if (!img)
		return msb_err_set(e, ENOMEM, "no memory");
	r = dirs_enter(c, name, e);
	if (r == 0)
		r = ctl_db_image_set(c->db, id, name, digest, size_bytes, now, e);
	if (r < 0) {
		dirs_leave(c, name);
		image_free(img);
		return r;
	}
	if (old) {
		/* Whoever stands in its directory stays there. */
		img->serial = old->serial;
		memcpy(img->shorter, old->shorter, sizeof(img->shorter));
		c->img[slot(c, name)] = img;
		old->gone = true;
		*ret_old = old;
	} else {
		image_insert(c, img);
	}
	ctl_event(c, NULL, "image", ",\"image\":\"%s\",\"digest\":\"sha256:%s\"", name, digest);
	return 0;
}

int ctl_image_drop(struct ctl_image *img, struct msb_err *e)
{
	struct ctl *c = img->c;
	int r = ctl_db_image_del(c->db, img->name, e);
	size_t i;

	if (r < 0)
		return r;
	i = slot(c, img->name);
	memmove(&c->img[i], &c->img[i + 1], (--c->nimg - i) * sizeof(c->img[0]));
	dirs_leave(c, img->name);
	short_names(c, img->name);
	img->gone = true;
	ctl_event(c, NULL, "image-removed", ",\"image\":\"%s\"", img->name);
	return 0;
}

/* ---- who uses it */

/* Whether both end in the same part of a repository: whether it is worth while to look closer. */
static bool may_mean(const struct ctl_image *img, const char *text)
{
	const char *last = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
	const char *own = strrchr(img->name, '/') + 1; /* every name has a host */
	size_t n = strcspn(last, ":@");

	return !strncmp(own, last, n) && (own[n] == ':' || own[n] == '@');
}

static bool means(struct ctl_image *img, const char *text)
{
	struct ctl_image *one = NULL;

	return text && may_mean(img, text) &&
	       ctl_image_resolve(img->c, text, NULL, &one, NULL) == 0 && one == img;
}

bool ctl_image_used(struct ctl_image *img, const struct ctl_sandbox *sb)
{
	const char *tables[] = {sb->conf[CONF_MOUNTS] ?: "", sb->other_mounts ?: ""};
	char source[CTL_MAX_LINE + 1];
	size_t pos;

	if (means(img, sb->conf[CONF_IMAGE]))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		pos = 0;
		while (ctl_table_next_image(tables[i], &pos, source))
			if (means(img, source))
				return true;
	}
	/* A name by itself: another one of the same image may be taken away. */
	return false;
}

/* ---- pins */

const struct ctl_pin *ctl_pin_find(const struct ctl_sandbox *sb, const char *ref)
{
	for (size_t i = 0; i < sb->npins; i++)
		if (!strcmp(sb->pin[i].ref, ref))
			return &sb->pin[i];
	return NULL;
}

static int pin_add(struct ctl_sandbox *sb, const char *ref, const char *digest, bool kept)
{
	struct ctl_pin *p = realloc(sb->pin, (sb->npins + 1) * sizeof(*p));
	char *copy = strdup(ref);

	if (p)
		sb->pin = p;
	if (!p || !copy) {
		free(copy);
		return -ENOMEM;
	}
	p = &sb->pin[sb->npins++];
	*p = (struct ctl_pin){.ref = copy, .kept = kept};
	(void)snprintf(p->digest, sizeof(p->digest), "%s", digest);
	return 0;
}

int ctl_pin_load(struct ctl_sandbox *sb, const char *ref, const char *value)
{
	char digest[65];
	uint8_t raw[32];

	(void)snprintf(digest, sizeof(digest), "%s", value);
	if (msb_unhex(digest, raw, sizeof(raw)) < 0)
		return -EBADMSG;
	return pin_add(sb, ref, digest, value[64] == ' ');
}

/* The fact of a pin; NULL takes it away. */
static int pin_fact(struct ctl_sandbox *sb, const char *ref, const char *value, struct msb_err *e)
{
	char key[sizeof(CTL_PIN_KEY) + IMG_REF_MAX];

	(void)snprintf(key, sizeof(key), CTL_PIN_KEY "%s", ref);
	return ctl_db_value_set(sb->c->db, sb->id, key, value, e);
}

int ctl_pin_set(
	struct ctl_sandbox *sb, const char *ref, const char *digest, bool kept, struct msb_err *e)
{
	struct ctl_pin *p = (struct ctl_pin *)ctl_pin_find(sb, ref);
	char value[80];
	int r;

	if (!p && sb->npins == CTL_MAX_PINS)
		return msb_err_set(e, EDQUOT,
			"the sandbox keeps to %d images, the most there can be", CTL_MAX_PINS);
	if (p && p->kept == kept && !strcmp(p->digest, digest))
		return 0;
	(void)snprintf(value, sizeof(value), "%s%s", digest, kept ? " kept" : "");
	r = pin_fact(sb, ref, value, e);
	if (r < 0)
		return r;
	if (!p)
		return pin_add(sb, ref, digest, kept) < 0 ? msb_err_set(e, ENOMEM, "no memory") : 0;
	(void)snprintf(p->digest, sizeof(p->digest), "%s", digest);
	p->kept = kept;
	return 0;
}

void ctl_pin_drop(struct ctl_sandbox *sb, const char *ref)
{
	struct ctl_pin *p = (struct ctl_pin *)ctl_pin_find(sb, ref);

	if (!p || pin_fact(sb, ref, NULL, NULL) < 0)
		return; /* kept too long, at worst */
	free(p->ref);
	*p = sb->pin[--sb->npins];
}
