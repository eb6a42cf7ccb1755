// SPDX-License-Identifier: Apache-2.0
// A plugin that speaks lines of JSON: whatever it says.
#include "tests/fuzz/plugin_feed.h"
#include "fs/backends/plugin/json_wire.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line of the input, without its end. */
static size_t next_line(struct feed *f, const uint8_t **ret)
{
	const uint8_t *end = memchr(f->p, '\n', f->n);
	size_t n = feed_take(f, end ? (size_t)(end - f->p) : f->n, ret);

	(void)feed_byte(f);
	return n;
}

/* The input's first line is said first; each of the others answers a question, and has its number
 * put in, behind the bracket that it begins with. */
static void *plugin_main(void *arg)
{
	struct feed *f = arg;
	char line[65536];
	const uint8_t *p;
	size_t at = 0, n = next_line(f, &p);

	feed_send(f, p, n);
	feed_send(f, "\n", 1);
	while (f->n) {
		ssize_t k = recv(f->fd, line + at, sizeof(line) - 1 - at, 0);
		char *end, *from = line;

		if (k <= 0)
			break;
		at += (size_t)k;
		line[at] = '\0';
		while (f->n && (end = strchr(from, '\n'))) {
			unsigned long long id;
			char text[40];

			if (sscanf(from, "{\"id\":%llu,", &id) == 1) {
				n = next_line(f, &p);
				if (n && *p == '{') {
					feed_send(f, text,
						(size_t)snprintf(text, sizeof(text),
							"{\"id\":%llu%s", id, n > 2 ? "," : ""));
					p++;
					n--;
				}
				feed_send(f, p, n);
				feed_send(f, "\n", 1);
			}
			from = end + 1;
		}
		at -= (size_t)(from - line);
		memmove(line, from, at);
		if (at == sizeof(line) - 1) /* a line of ours that is longer */
			at = 0;
	}
	close(f->fd);
	return NULL;
}

/* The readers by themselves, with no thread between them and the input. */
static void readers(const uint8_t *data, size_t size)
{
	static struct pj_says says;
	static uint8_t buf[4096];
	json_t *o = pj_decode((const char *)data, size);
	struct fuse_attr a = {0};
	enum pj_verdict verdict;
	uint32_t type;
	int error;

	if (pj_base64((const char *)data, size, buf, sizeof(buf)) > (int64_t)sizeof(buf))
		abort();
	if (!o)
		return;
	if (pj_says_read(o, &says) == 0)
		(void)pj_says_path(&says, "/a/b.key");
	if (pj_verdict_read(o, &verdict, &error) == 0 && verdict == PJ_ERROR && error >= 0)
		abort();
	if (pj_attr_read(o, &a) == 0 && (a.size > INT64_MAX || !(a.mode & S_IFMT)))
		abort();
	(void)pj_data_read(o, buf, sizeof(buf));
	(void)pj_entry_read(o, &type);
	json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fsb_options options = {.plugin_timeout_ms = 20, .plugin_json = true};

	readers(data, size);
	feed_run(&options, plugin_main, data, size);
	return 0;
}
