// SPDX-License-Identifier: Apache-2.0
// passthrough: file handles: an id and a generation mean the same file in every server, or none.
#include "tests/unit/passthrough_fixture.h"

#include "fs/fuse_state.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define ENTRY (REQ_REPLY(&q, struct fuse_entry_out))

struct handle {
	uint64_t node, generation;
};

static struct pt_nodes *table(void)
{
	return &pt_of(fs.b)->nodes;
}

static struct handle told(void)
{
	return (struct handle){ENTRY->nodeid, ENTRY->generation};
}

static struct handle handle_of(uint64_t dir, const char *name)
{
	assert_true(req_lookup(&q, dir, name) > 0);
	return told();
}

static void write_host(const char *path, const char *text)
{
	assert_int_equal(msb_write_file_atomic(host, path, text, strlen(text), 0644), 0);
}

/* As a kernel opens it: by the id, and then it compares. */
static int by_handle(struct handle h)
{
	int r = req_name(&q, FUSE_LOOKUP, h.node, ".");

	if (r == 0 && (ENTRY->nodeid != h.node || ENTRY->generation != h.generation)) {
		assert_int_equal(ENTRY->nodeid, h.node);
		req_forget(&q, ENTRY->nodeid, 1);
		return -ESTALE;
	}
	return r;
}

static void assert_text(struct handle h, const char *text)
{
	assert_int_equal(by_handle(h), 0);
	assert_int_equal(ENTRY->attr.size, strlen(text));
	if (!pt_of(fs.b)->stateless)
		return;
	assert_int_equal(req_read(&q, FUSE_READ, h.node, 0, 0, 100), 0);
	assert_int_equal(q.out_bytes, strlen(text));
	assert_memory_equal(q.out + 16, text, strlen(text));
}

static void restart(void)
{
	stop();
	start(false);
	pt_of(fs.b)->max_search_ms = 3600 * 1000; /* however busy the machine is */
	assert_int_equal(table()->live, 1);
}

static void tree(void)
{
	assert_int_equal(mkdirat(host, "a", 0755), 0);
	assert_int_equal(mkdirat(host, "a/b", 0755), 0);
	write_host("a/b/f", "deep");
	write_host("top", "top");
	assert_int_equal(symlinkat("..", host, "a/out"), 0);
	assert_int_equal(mkfifoat(host, "a/p", 0644), 0);
	assert_int_equal(linkat(host, "top", host, "a/b/link", 0), 0);
}

static void they_outlive_the_server(void **state)
{
	struct handle a, b, f, t, l, p;

	tree();
	a = handle_of(1, "a");
	b = handle_of(a.node, "b");
	f = handle_of(b.node, "f");
	t = handle_of(1, "top");
	l = handle_of(a.node, "out");
	p = handle_of(a.node, "p");
	assert_true(f.node < PT_OWN_IDS);
	restart();
	assert_text(f, "deep");
	assert_text(t, "top");
	assert_int_equal(handle_of(1, "top").node, t.node);
	assert_int_equal(by_handle(l), 0);
	assert_true(S_ISLNK(ENTRY->attr.mode));
	assert_int_equal(by_handle(p), 0);
	assert_true(S_ISFIFO(ENTRY->attr.mode));
	assert_int_equal(by_handle(b), 0);
	assert_true(S_ISDIR(ENTRY->attr.mode));
	/* As the kernel goes up from a directory, to where it knows one. */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, b.node, ".."), 0);
	assert_int_equal(ENTRY->nodeid, a.node);
	assert_int_equal(ENTRY->generation, a.generation);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, a.node, ".."), 0);
	assert_int_equal(ENTRY->nodeid, 1);
	assert_int_equal(ENTRY->generation, 0); /* as the kernel has it from the beginning */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, f.node, ".."), -ESTALE);
	assert_int_equal(table()->live, 7); /* and nobody holds it */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "."), 0);
	assert_int_equal(ENTRY->nodeid, 1);
	/* Whatever moved meanwhile; the first asks for what nobody knows the way to. */
	assert_int_equal(renameat(host, "a", host, "moved"), 0);
	assert_int_equal(mkdirat(host, "new", 0755), 0);
	assert_int_equal(renameat(host, "moved/b/f", host, "new/f"), 0);
	restart();
	assert_int_equal(req_name(&q, FUSE_LOOKUP, b.node, ".."), 0);
	assert_int_equal(ENTRY->nodeid, a.node);
	assert_text(f, "deep");
	assert_int_equal(by_handle(b), 0);
	/* And while the server knows the old place, or has it open. */
	assert_int_equal(renameat(host, "new/f", host, "g"), 0);
	assert_text(f, "deep");
	assert_int_equal(by_handle(b), 0);
	assert_int_equal(pt_of(fs.b)->stateless ? req_read(&q, FUSE_READDIR, b.node, 0, 0, 4096)
						: req_open(&q, FUSE_OPENDIR, b.node, 0),
		0);
	assert_int_equal(renameat(host, "moved/b", host, "new/c"), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, b.node, ".."), 0);
	assert_int_equal(ENTRY->nodeid, handle_of(1, "new").node);
}

static void each_is_forgotten_as_often_as_told(void **state)
{
	struct handle f, b;

	tree();
	assert_int_equal(by_handle((struct handle){1, 0}), 0);
	f = handle_of(handle_of(handle_of(1, "a").node, "b").node, "f");
	b = handle_of(handle_of(1, "a").node, "b");
	restart();
	assert_int_equal(by_handle(f), 0);
	assert_int_equal(by_handle(f), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, b.node, ".."), 0);
	req_forget(&q, ENTRY->nodeid, 1);
	assert_int_equal(table()->live, 4); /* what is above is there for its sake */
	req_forget(&q, f.node, 1);
	assert_int_equal(table()->live, 4);
	req_forget(&q, f.node, 1);
	assert_int_equal(table()->live, 1);
}

static void what_is_not_in_the_share_is_stale(void **state)
{
	struct handle f, top_f;
	struct stat st;
	int up;

	tree();
	f = handle_of(1, "top");
	top_f = handle_of(handle_of(1, "a").node, "p");
	up = openat(host, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstatat(up, "secret", &st, 0), 0);
	restart();
	/* The file beside the share, which a link in it leads to. */
	assert_int_equal(symlinkat("../secret", host, "secret"), 0);
	assert_int_equal(by_handle((struct handle){st.st_ino, 0}), -ESTALE);
	assert_int_equal(fstat(up, &st), 0);
	assert_int_equal(by_handle((struct handle){st.st_ino, 0}), -ESTALE);
	close(up);
	/* The root has its own. */
	assert_int_equal(fstat(host, &st), 0);
	assert_int_equal(by_handle((struct handle){st.st_ino, 0}), -ESTALE);
	/* Numbers that nobody gave. */
	assert_int_equal(by_handle((struct handle){FSB_MAX_ID - 1, 0}), -ESTALE);
	assert_int_equal(by_handle((struct handle){PT_OWN_IDS, 0}), -ESTALE);
	assert_int_equal(by_handle((struct handle){UINT64_C(7) << PT_INO_BITS | 2, 0}), -ESTALE);
	assert_int_equal(by_handle((struct handle){f.node | 1 << 20, 0}), -ESTALE);
	/* Files that are gone. */
	assert_int_equal(unlinkat(host, "a/p", 0), 0);
	assert_int_equal(by_handle(top_f), -ESTALE);
	assert_int_equal(unlinkat(host, "top", 0), 0);
	assert_text(f, "top"); /* its other name */
	assert_int_equal(unlinkat(host, "a/b/link", 0), 0);
	pt_evict(table(), 100);
	assert_int_equal(by_handle(f), -ESTALE);
	req_forget(&q, f.node, 1);
	assert_int_equal(table()->live, 1);
}

/* The file of @h was another one, of the same number, until now. */
static void was_another(struct handle h)
{
	struct pt_identity f;
	struct pt_node *n;

	LOCK_SCOPE(&table()->lock);
	n = pt_find_id(table(), h.node);
	f = n->file;
	f.birth_nsec ^= 1;
	pt_refile(table(), n, &f);
}

static void a_number_used_again_is_another_file(void **state)
{
	struct handle old, new, again;

	write_host("f", "text");
	old = handle_of(1, "f");
	was_another(old);
	/* The guest still knows the old one: it has the id, and the new one must not. */
	new = handle_of(1, "f");
	assert_true(new.node >= PT_OWN_IDS);
	assert_int_equal(req_read(&q, FUSE_READ, old.node, 0, 0, 100), -ESTALE);
	/* The first of its names says that it is another's: the rest is not looked at. */
	assert_int_equal(linkat(host, "f", host, "g", 0), 0);
	assert_int_equal(by_handle(old), -ESTALE);
	pt_of(fs.b)->max_search_bytes = 0;
	assert_int_equal(by_handle(old), -ESTALE);
	pt_of(fs.b)->max_search_bytes = PT_MAX_SEARCH_BYTES;
	assert_text(new, "text");
	/* Its handle ends with it, and is nobody else's. */
	req_forget(&q, new.node, 2);
	assert_int_equal(by_handle(new), -ESTALE);
	again = handle_of(1, "f");
	assert_true(again.node >= PT_OWN_IDS && again.node != new.node);
	restart();
	new = handle_of(1, "f");
	assert_int_equal(new.node, old.node);
	was_another(new);
	new = handle_of(1, "f");
	assert_true(new.node >= PT_OWN_IDS);
	/* The same number in another server is of another generation. */
	assert_int_not_equal(new.generation, again.generation);
	/* Once all of it is forgotten, the file has the id. */
	req_forget(&q, old.node, 1);
	req_forget(&q, new.node, 1);
	assert_int_equal(table()->live, 1);
	again = handle_of(1, "f");
	assert_int_equal(again.node, old.node);
	assert_int_equal(again.generation, old.generation);
	/* A file of the same number that came later is of another. */
	was_another(again);
	{
		struct pt_node n = {.file = pt_find_id(table(), again.node)->file};

		req_forget(&q, again.node, 1);
		pt_give_id(table(), &n);
		assert_int_equal(n.id, again.node);
		assert_int_not_equal(n.generation, again.generation);
	}
}

static void without_a_birth_time_they_end_with_the_node(void **state)
{
	struct fsb_entry e = {0};
	struct pt_ref root;
	struct statx sx;

	write_host("f", "text");
	assert_int_equal(pt_get(table(), 1, PT_PATH, &root), 0);
	assert_int_equal(pt_statx(table(), root.fd, "f", &sx), 0);
	sx.stx_mask &= ~(uint32_t)STATX_BTIME;
	assert_int_equal(
		pt_enter(table(), &root, "f", &(struct pt_seen){.sx = &sx, .fd = -1}, &e), 0);
	pt_put(table(), &root);
	assert_true(e.node >= PT_OWN_IDS && e.node < FSB_MAX_ID);
	pt_forget(table(), e.node, 1);
	assert_int_equal(by_handle((struct handle){e.node, e.generation}), -ESTALE);
}

static void the_search_has_a_limit(void **state)
{
	struct pt *p;
	struct handle f, d;
	char name[16];

	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "d%02d", i);
		assert_int_equal(mkdirat(host, name, 0755), 0);
	}
	write_host("f", "text");
	f = handle_of(1, "f");
	d = handle_of(1, "d10");
	stop();
	start(false);
	p = pt_of(fs.b);
	p->max_search = 20; /* of 21: which one is not looked at is the listing's to say */
	assert_int_equal(by_handle((struct handle){f.node | 1 << 20, 0}), -ESTALE);
	p->max_search = 0;
	assert_int_equal(by_handle(f), -ESTALE);
	p->max_search = 21;
	assert_text(f, "text");
	assert_int_equal(by_handle(d), 0);
	req_forget(&q, f.node, 1);
	req_forget(&q, d.node, 1);
	p->max_search_ms = 0;
	assert_int_equal(by_handle(d), -ESTALE);
	p->max_search_ms = PT_MAX_SEARCH_MS;
	p->max_search_bytes = 20 * 7; /* a name of three, and two lengths */
	assert_text(f, "text");
	req_forget(&q, f.node, 1);
	p->max_search_bytes = 6;
	assert_int_equal(by_handle((struct handle){f.node | 1 << 20, 0}), -ESTALE);
}

/* Who asks for all files of a directory searches for the first. */
static void neighbours_are_found_without_a_search(void **state)
{
	struct handle dir[2 * PT_RECENT], f[2 * PT_RECENT][2];
	char name[16];

	for (int i = 0; i < 2 * PT_RECENT; i++) {
		(void)snprintf(name, sizeof(name), "d%02d", i);
		assert_int_equal(mkdirat(host, name, 0755), 0);
		dir[i] = handle_of(1, name);
		for (int k = 0; k < 2; k++) {
			(void)snprintf(name, sizeof(name), "d%02d/%d", i, k);
			write_host(name, "text");
			f[i][k] = handle_of(dir[i].node, name + 4);
		}
	}
	restart();
	for (int i = 0; i < 2 * PT_RECENT; i++) {
		assert_text(f[i][0], "text");
		req_forget(&q, f[i][0].node, 1);
	}
	assert_int_equal(table()->live, 1);
	pt_of(fs.b)->max_search_bytes = 0;	 /* below the root nothing is searched */
	pt_of(fs.b)->max_search = 4 * PT_RECENT; /* four of those, two a directory */
	for (int i = 2 * PT_RECENT - 1; i >= 0; i--)
		assert_int_equal(by_handle(f[i][1]), i < 2 * PT_RECENT - 2 ? -ESTALE : 0);
	pt_of(fs.b)->max_search = PT_MAX_SEARCH;
	for (int i = 2 * PT_RECENT - 1; i >= 0; i--)
		assert_int_equal(by_handle(f[i][1]), i < PT_RECENT ? -ESTALE : 0);
	pt_of(fs.b)->max_search_bytes = PT_MAX_SEARCH_BYTES;
	for (int i = 2 * PT_RECENT - 1; i >= 0; i--)
		assert_text(f[i][1], "text");
	/* What moved is found where it is now. */
	assert_int_equal(renameat(host, "d00/0", host, "moved"), 0);
	assert_text(f[0][0], "text");
}

/* Deeper than a path is long: left out, and all else found. */
static void what_no_path_leads_to_is_left_out(void **state)
{
	char name[201];
	int at = dup(host), next;
	struct handle f;

	memset(name, 'n', 200);
	name[200] = '\0';
	for (int i = 0; i < 25; i++) {
		assert_int_equal(mkdirat(at, name, 0755), 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	close(at);
	write_host("f", "text");
	f = handle_of(1, "f");
	restart();
	assert_int_equal(by_handle((struct handle){f.node | 1 << 20, 0}), -ESTALE);
	assert_text(f, "text");
}

static void what_could_not_be_saved_keeps_its_id(void **state)
{
	struct handle f;

	write_host("f", "text");
	f = handle_of(1, "f");
	stop();
	start(false);
	assert_int_equal(fs.b->ops->load(fs.b, f.node, 3, NULL, 0), -ESTALE);
	assert_true(handle_of(1, "f").node >= PT_OWN_IDS);
	assert_int_equal(req_getattr(&q, f.node), -ESTALE);
	assert_int_equal(by_handle(f), -ESTALE);
	fs.b->ops->forget(fs.b, f.node, 3);
	req_forget(&q, handle_of(1, "f").node, 2);
	assert_int_equal(table()->live, 1);
	assert_int_equal(handle_of(1, "f").node, f.node);
}

/* A file that goes on without us: it was deleted and is open in the guest, and has another name. */
static void a_session_tells_what_it_could_not_save(void **state)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	uint64_t fh;
	struct handle f;

	make("f", &fh);
	f = handle_of(1, "f");
	assert_int_equal(linkat(host, "f", host, "g", 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), 0);
	assert_int_equal(fsd_session_save(q.s, fd), 0);
	stop();
	start(false);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	close(fd);
	assert_int_equal(req_getattr(&q, f.node), -ESTALE);
	/* The kernel would take it for the one that it has. */
	assert_true(handle_of(1, "g").node >= PT_OWN_IDS);
	assert_int_equal(req_getattr(&q, ENTRY->nodeid), 0);
	req_forget(&q, f.node, 2);
	req_forget(&q, handle_of(1, "g").node, 2);
	assert_int_equal(table()->live, 1);
	assert_int_equal(handle_of(1, "g").node, f.node);
}

/* The kernel was told a generation: whatever happens to the file, it is that for this node. */
static void a_node_keeps_what_it_is_called(void **state)
{
	uint8_t buf[FSB_MAX_STATE];
	struct handle l, other;
	int64_t n;

	assert_int_equal(symlinkat("target", host, "l"), 0);
	l = handle_of(1, "l");
	assert_int_equal(req_setattr(&q, l.node,
				 &(struct fuse_setattr_in){
					 .valid = FATTR_UID | FATTR_GID, .uid = 5, .gid = 5}),
		0);
	assert_int_equal(by_handle(l), 0); /* a file of the host now */
	other = handle_of(1, "l");
	assert_int_equal(other.node, l.node);
	assert_int_equal(other.generation, l.generation);
	n = fs.b->ops->save(fs.b, l.node, buf, sizeof(buf));
	assert_true(n > 0);
	restart();
	assert_int_equal(fs.b->ops->load(fs.b, l.node, 1, buf, (size_t)n), 0);
	/* Where file systems below are copies of the share's own, they are not taken for it. */
	assert_int_equal(pt_find_id(table(), l.node)->file.dev, 0);
	assert_int_equal(by_handle(l), 0);
	other = handle_of(1, "l");
	assert_int_equal(other.node, l.node);
	assert_int_equal(other.generation, l.generation);
	req_forget(&q, l.node, 2);
	fs.b->ops->forget(fs.b, l.node, 1);
	assert_int_equal(table()->live, 1);
}

/* Hooks that go by names are not got round by a number. */
static void wrappers_that_go_by_names_have_none(void **state)
{
	static const struct {
		const char *options;
		bool have;
	} row[] = {{"rw", true}, {"ro", true}, {"quota_bytes=1M", true},
		{"ro,quota_bytes=1M", true}, {"deny=/x", false}, {"delay=lookup:1us", false},
		{"error=read:EIO:0.1", false}};
	struct handle d, f;

	tree();
	d = handle_of(handle_of(1, "a").node, "b");
	f = handle_of(d.node, "f");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct fsb_start from = FSB_START_NONE;
		struct fsb_options o = {0};
		struct msb_err e = {0};
		struct fsb *b;

		stop();
		assert_int_equal(fsb_options_parse("passthrough", row[i].options,
					 strlen(row[i].options), &o, &e),
			0);
		from.options = &o;
		from.dir_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fsb_stack_start("passthrough", &from, &b, &e) < 0)
			fail_msg("%s: %s", row[i].options, e.msg);
		fsd_fs_init(&fs, b);
		q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
		assert_int_equal(req_init(&q), 0);
		assert_int_equal(
			!!(REQ_REPLY(&q, struct fuse_init_out)->flags & FUSE_EXPORT_SUPPORT),
			row[i].have);
		assert_int_equal(by_handle(f), row[i].have ? 0 : -EINVAL);
		assert_int_equal(
			req_name(&q, FUSE_LOOKUP, d.node, ".."), row[i].have ? 0 : -EINVAL);
		if (row[i].have) {
			req_forget(&q, ENTRY->nodeid, 1);
			req_forget(&q, f.node, 1);
			assert_int_equal(by_handle(f), 0);
		}
	}
	stop();
	start(false);
}

/* ---- file systems below */

static int mount_at(const char *name, const char *source, const char *type, unsigned long flags)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	(void)mkdir(path, 0755);
	return mount(source, path, type, flags, NULL);
}

static void unmount(const char *name)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	(void)umount2(path, MNT_DETACH);
}

static int teardown_mounts(void **state)
{
	unmount("one");
	unmount("two");
	submounts = false;
	return teardown(state);
}

static int setup_mounts(void **state)
{
	submounts = true;
	return setup(state);
}

static void file_systems_below_have_them_too(void **state)
{
	struct handle one, two, in_one, in_two;

	if (mount_at("one", "t", "tmpfs", 0) < 0 || mount_at("two", "t", "tmpfs", 0) < 0)
		skip();
	write_host("one/f", "1");
	write_host("two/f", "2");
	write_host("f", "0");
	one = handle_of(1, "one");
	in_one = handle_of(one.node, "f");
	two = handle_of(1, "two");
	in_two = handle_of(two.node, "f");
	restart(); /* and the other way round */
	assert_text(in_two, "2");
	assert_text(in_one, "1");
	assert_int_equal(by_handle(two), 0); /* has not the number that its name has */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, two.node, ".."), 0);
	assert_int_equal(ENTRY->nodeid, 1);
	assert_int_equal(handle_of(1, "two").node, two.node);
	/* A file system that is not there any more, and one in its place. */
	stop();
	unmount("two");
	assert_int_equal(mount_at("two", "t", "tmpfs", 0), 0);
	write_host("two/f", "3");
	start(false);
	assert_int_equal(by_handle(in_two), -ESTALE);
	assert_text(in_one, "1");
	/* None is entered. */
	submounts = false;
	restart();
	assert_int_equal(by_handle(in_one), -ESTALE);
	assert_text(handle_of(1, "f"), "0");
}

/* ---- many at once */

static void *asker(void *arg)
{
	struct fusereq *r = arg;
	const struct handle *h = r->arg;

	for (int i = 0; i < 50; i++) {
		assert_int_equal(req_name(r, FUSE_LOOKUP, h[i % 2].node, "."), 0);
		assert_int_equal(
			REQ_REPLY(r, struct fuse_entry_out)->generation, h[i % 2].generation);
		req_forget(r, h[i % 2].node, 1);
	}
	return NULL;
}

static void many_ask_at_once(void **state)
{
	struct handle h[4][2];
	struct fusereq *r[4];
	pthread_t t[4];

	tree();
	for (int i = 0; i < 4; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "a/b/f%d", i);
		write_host(name, "text");
		h[i][0] = handle_of(
			handle_of(handle_of(1, "a").node, "b").node, strrchr(name, '/') + 1);
		h[i][1] = handle_of(1, "top");
	}
	restart();
	for (int i = 0; i < 4; i++) {
		r[i] = calloc(1, sizeof(*r[i]));
		r[i]->s = q.s;
		r[i]->w = calloc(1, sizeof(*r[i]->w));
		r[i]->arg = h[i];
		assert_int_equal(pthread_create(&t[i], NULL, asker, r[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		free(r[i]->w);
		free(r[i]);
	}
	assert_int_equal(table()->live, 1);
}

static int setup_map(void **state)
{
	map = FSB_MAP_ROOT;
	return setup(state);
}

static int setup_none(void **state)
{
	map = geteuid() == 0 ? FSB_MAP_NONE : FSB_MAP_ROOT;
	return setup(state);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_none, teardown)
#define R(fn) cmocka_unit_test_setup_teardown(fn, setup_map, teardown)
#define M(fn) cmocka_unit_test_setup_teardown(fn, setup_mounts, teardown_mounts)

int main(void)
{
	const struct CMUnitTest tests[] = {T(they_outlive_the_server), R(they_outlive_the_server),
		T(each_is_forgotten_as_often_as_told), T(what_is_not_in_the_share_is_stale),
		T(a_number_used_again_is_another_file),
		T(without_a_birth_time_they_end_with_the_node), T(the_search_has_a_limit),
		T(neighbours_are_found_without_a_search), T(what_no_path_leads_to_is_left_out),
		T(what_could_not_be_saved_keeps_its_id), T(a_session_tells_what_it_could_not_save),
		R(a_node_keeps_what_it_is_called), T(wrappers_that_go_by_names_have_none),
		M(file_systems_below_have_them_too), T(many_ask_at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
