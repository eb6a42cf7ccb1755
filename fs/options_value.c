// SPDX-License-Identifier: Apache-2.0
// The values of mount options: operations, errors, times, probabilities, patterns.
#include "fs/options_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define MAX_ERRNO	256 /* names of errors are looked for below */
#define CERTAIN		1000000u
#define PROBABLE_DIGITS 6

static const char *const op_names[FSB_OPS] = {
	[FSB_LOOKUP] = "lookup",
	[FSB_GETATTR] = "getattr",
	[FSB_SETATTR] = "setattr",
	[FSB_READLINK] = "readlink",
	[FSB_MKNOD] = "mknod",
	[FSB_MKDIR] = "mkdir",
	[FSB_SYMLINK] = "symlink",
	[FSB_UNLINK] = "unlink",
	[FSB_RMDIR] = "rmdir",
	[FSB_RENAME] = "rename",
	[FSB_LINK] = "link",
	[FSB_OPEN] = "open",
	[FSB_CREATE] = "create",
	[FSB_TMPFILE] = "tmpfile",
	[FSB_RELEASE] = "release",
	[FSB_READ] = "read",
	[FSB_WRITE] = "write",
	[FSB_FSYNC] = "fsync",
	[FSB_OPENDIR] = "opendir",
	[FSB_READDIR] = "readdir",
	[FSB_STATFS] = "statfs",
	[FSB_SETXATTR] = "setxattr",
	[FSB_GETXATTR] = "getxattr",
	[FSB_LISTXATTR] = "listxattr",
	[FSB_REMOVEXATTR] = "removexattr",
	[FSB_FALLOCATE] = "fallocate",
	[FSB_LSEEK] = "lseek",
	[FSB_COPY_FILE_RANGE] = "copy_file_range",
	[FSB_SYNCFS] = "syncfs",
};
_Static_assert(FSB_OPS < 32, "a mask of operations has 32 bits");

const char *fsb_op_name(enum fsb_op op)
{
	return op_names[op];
}

uint32_t fsb_audit_ops(enum fsb_audit level)
{
	const uint32_t opens = FSB_OPS_WRITING | FSB_OP_BIT(FSB_OPEN) | FSB_OP_BIT(FSB_OPENDIR);

	return level == FSB_AUDIT_ALL	    ? FSB_OPS_ALL
	       : level == FSB_AUDIT_OPENS   ? opens
	       : level == FSB_AUDIT_CHANGES ? FSB_OPS_WRITING
					    : 0;
}

static bool is(const char *p, size_t n, const char *word)
{
	return strlen(word) == n && !memcmp(p, word, n);
}

int opt_read_ops(const char *p, uint32_t *ret, struct msb_err *e)
{
	uint32_t ops = 0;

	for (;; p++) {
		size_t n = strcspn(p, "+"), i = 0;
		uint32_t bit = 0;

		if (is(p, n, "all"))
			bit = FSB_OPS_ALL;
		for (; !bit && i < FSB_OPS; i++)
			if (is(p, n, op_names[i]))
				bit = FSB_OP_BIT(i);
		if (!bit) {
			char list[320];
			struct msb_str s = MSB_STR_FIXED(list);

			for (i = 0; i < FSB_OPS; i++)
				msb_str_addf(&s, " %s", op_names[i]);
			return msb_err_set(e, EINVAL,
				"`%.*s` is no operation; there are all%s, joined by +", (int)n, p,
				list);
		}
		if (ops & bit)
			return msb_err_set(e, EINVAL, "operation `%.*s` is there twice", (int)n, p);
		ops |= bit;
		p += n;
		if (!*p)
			break;
	}
	*ret = ops;
	return 0;
}

void opt_print_ops(struct msb_str *s, uint32_t ops)
{
	const char *join = "";

	if (ops == FSB_OPS_ALL)
		return msb_str_adds(s, "all");
	for (unsigned int i = 0; i < FSB_OPS; i++)
		if (ops & FSB_OP_BIT(i)) {
			msb_str_addf(s, "%s%s", join, op_names[i]);
			join = "+";
		}
}

static const struct {
	const char *name;
	uint32_t usec;
} units[] = {{"s", 1000000}, {"ms", 1000}, {"us", 1}};

int opt_read_time(const char *p, uint32_t max_usec, uint32_t *ret_usec, struct msb_err *e)
{
	size_t digits = strspn(p, "0123456789");
	char number[16];
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(p + digits, units[i].name) != 0 || !digits)
			continue;
		(void)snprintf(number, sizeof(number), "%.*s", (int)digits, p);
		if (digits >= sizeof(number) ||
			msb_parse_u64(number, 1, max_usec / units[i].usec, &v) < 0)
			return msb_err_set(e, ERANGE, "`%s` is not between 1 us and %u s", p,
				max_usec / 1000000);
		*ret_usec = (uint32_t)v * units[i].usec;
		return 0;
	}
	return msb_err_set(e, EINVAL, "`%s` is no time; write 100us, 20ms or 5s", p);
}

void opt_print_time(struct msb_str *s, uint32_t usec)
{
	size_t i = 0;

	while (usec % units[i].usec)
		i++;
	msb_str_addf(s, "%u%s", usec / units[i].usec, units[i].name);
}

/* A decimal fraction: 1, 0.5, 0.000001. */
static int read_probability(const char *p, uint32_t *ret, struct msb_err *e)
{
	size_t n = strspn(p, "0123456789");
	uint32_t v = 0, scale = CERTAIN;

	if (n != 1 || (p[0] != '0' && p[0] != '1'))
		return msb_err_set(e, EINVAL, "`%s` is no probability; write 1, 0.5 or 0.01", p);
	v = (uint32_t)(p[0] - '0') * CERTAIN;
	if (p[1] == '.') {
		n = strspn(p + 2, "0123456789");
		if (n == 0 || n > PROBABLE_DIGITS || p[2 + n])
			return msb_err_set(e, EINVAL,
				"`%s` is no probability: 1 to %d digits stand behind the point", p,
				PROBABLE_DIGITS);
		for (size_t i = 0; i < n; i++)
			v += (uint32_t)(p[2 + i] - '0') * (scale /= 10);
	} else if (p[1]) {
		return msb_err_set(e, EINVAL, "`%s` is no probability; write 1, 0.5 or 0.01", p);
	}
	if (v == 0 || v > CERTAIN)
		return msb_err_set(e, ERANGE, "probability `%s` is not above 0 and up to 1", p);
	*ret = v;
	return 0;
}

static void print_probability(struct msb_str *s, uint32_t v)
{
	char digits[8];
	size_t n = PROBABLE_DIGITS;

	if (v == CERTAIN)
		return;
	(void)snprintf(digits, sizeof(digits), "%06u", v);
	while (n > 1 && digits[n - 1] == '0')
		n--;
	msb_str_addf(s, ":0.%.*s", (int)n, digits);
}

static int read_errno(const char *name, int *ret, struct msb_err *e)
{
	for (int i = 1; i < MAX_ERRNO; i++) {
		const char *known = strerrorname_np(i);

		if (known && !strcmp(known, name)) {
			*ret = i;
			return 0;
		}
	}
	return msb_err_set(e, EINVAL, "`%s` is no error; write EIO, ENOSPC, EACCES ...", name);
}

int opt_read_fault(char *text, bool delay, struct fsb_fault *ret, struct msb_err *e)
{
	char *what = strchr(text, ':'), *chance;
	int r;

	if (!what)
		return msb_err_set(e, EINVAL, "`%s` is not %s", text,
			delay ? "OP:TIME or OP:TIME:PROBABILITY, as in lookup:20ms:0.5"
			      : "OP:ERRNO or OP:ERRNO:PROBABILITY, as in read:EIO:0.01");
	*what++ = '\0';
	chance = strchr(what, ':');
	if (chance)
		*chance++ = '\0';
	*ret = (struct fsb_fault){.per_million = CERTAIN};
	r = opt_read_ops(text, &ret->ops, e);
	if (r == 0)
		r = delay ? opt_read_time(what, FSB_MAX_DELAY_USEC, &ret->usec, e)
			  : read_errno(what, &ret->error, e);
	if (r == 0 && chance)
		r = read_probability(chance, &ret->per_million, e);
	return r;
}

void opt_print_fault(struct msb_str *s, const struct fsb_fault *f)
{
	opt_print_ops(s, f->ops);
	msb_str_adds(s, ":");
	if (f->error)
		msb_str_adds(s, strerrorname_np(f->error));
	else
		opt_print_time(s, f->usec);
	print_probability(s, f->per_million);
}
