// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: extended attributes.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/acl.h"

#include <string.h>

static int ask_xattr(const struct pf_node *n, enum fsb_op op, const struct fsb_req *req,
	const char *name, const void *value, size_t bytes, json_t **ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	*ret = NULL;
	if (acl_is_name(name) || !pj_asks(n, op, NULL)) /* a script could not mind them */
		return -PLUGIN_PASS;
	r = pj_begin(&s, n, op, NULL, req);
	if (r == 0 && !msb_utf8_valid(name, strlen(name)))
		r = -EILSEQ;
	if (r < 0)
		return r;
	pj_add_string(&s, "name", name);
	if (value)
		pj_add_data(&s, value, bytes);
	return pj_ask(n->p, &s, ret);
}

int pj_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	_pf_node_ f;
	int r = pj_get(p, node, &f);

	if (r == 0)
		r = ask_xattr(&f, FSB_SETXATTR, req, name, value, n, &o);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, setxattr)
			    ? (int)pj_after(&f, FSB_SETXATTR, NULL,
				      BELOW(p, setxattr, req, f.inner, name, value, n, flags))
			    : -EOPNOTSUPP;
	return r;
}

int64_t pj_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	_cleanup_free_ uint8_t *value = NULL;
	_cleanup_json_ *o = NULL;
	_pf_node_ f;
	int64_t r = pj_get(p, node, &f);

	if (r == 0)
		r = ask_xattr(&f, FSB_GETXATTR, NULL, name, NULL, 0, &o);
	if (r == -PLUGIN_PASS)
		return HAS_BELOW(p, f.inner, getxattr) ? BELOW(p, getxattr, f.inner, name, buf, cap)
						       : -EOPNOTSUPP;
	if (r < 0)
		return r;
	value = malloc(FUSE_MAX_XATTR);
	if (!value)
		return -ENOMEM;
	r = pj_data_read(o, value, FUSE_MAX_XATTR);
	if (r > (int64_t)cap && cap)
		return -ERANGE;
	if (r > 0 && cap)
		memcpy(buf, value, (size_t)r);
	return r;
}

int64_t pj_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	json_t *names, *name;
	size_t i, at = 0;
	_pf_node_ f;
	int r = pj_get(p, node, &f);

	if (r == 0)
		r = pj_simple(&f, FSB_LISTXATTR, NULL, NULL, &o);
	if (r == -PLUGIN_PASS)
		return HAS_BELOW(p, f.inner, listxattr) ? BELOW(p, listxattr, f.inner, buf, cap)
							: 0;
	if (r < 0)
		return r;
	names = json_object_get(o, "names");
	json_array_foreach(names, i, name)
	{
		const char *s = json_string_value(name);
		size_t n = json_string_length(name) + 1;

		if (!s || strlen(s) + 1 != n || n > FUSE_MAX_NAME || at + n > FUSE_MAX_XATTR)
			return -EIO;
		if (acl_is_name(s))
			continue;
		if (cap && at + n > cap)
			return -ERANGE;
		if (cap)
			memcpy(buf + at, s, n);
		at += n;
	}
	return (int64_t)at;
}

int pj_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	_pf_node_ f;
	int r = pj_get(p, node, &f);

	if (r == 0)
		r = ask_xattr(&f, FSB_REMOVEXATTR, req, name, NULL, 0, &o);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, removexattr)
			    ? (int)pj_after(&f, FSB_REMOVEXATTR, NULL,
				      BELOW(p, removexattr, req, f.inner, name))
			    : -EOPNOTSUPP;
	return r;
}
