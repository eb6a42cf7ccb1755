# SPDX-License-Identifier: Apache-2.0
# audit: what a guest does to its root and its mounts, as lines that can be read, followed and filtered.

load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir "$dir/a" "$dir/b"
	echo A >"$dir/a/f"
	echo B >"$dir/b/f"
	sandbox box root_options=audit
	printf '%s\n' "$dir/a /a passthrough audit" "$dir/b /b passthrough audit=all" "none /m memory" \
		"$dir/b /only passthrough audit,audit_ops=unlink,audit_path=*.log" >"$dir/first"
	cat "$dir/first" >"$m/box/mounts"
	echo start >"$m/box/ctl"
}

teardown_file() {
	msb_teardown
}

setup() {
	cd "$m/box"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || { tail -n 20 "$m/box/audit"; cat "$m/box/error"; tail -n 5 "$m/log"; }
}

# has FILTER: some line of audit is like that
has() { jq -es "any(.[]; $1)" audit >/dev/null && echo yes; }
seen() { until_is 10 yes has "$1"; }

@test "changes, in the root and in a mount, with who, what and how it went" {
	echo 'echo x > /tmp/new && mv /tmp/new /tmp/newer && rm /tmp/newer' >exec
	seen '.mount == "root" and .op == "create" and .path == "/tmp/new" and .uid == 0 and .result == 0'
	seen '.mount == "root" and .op == "rename" and .path2 == "/tmp/newer"'
	seen '.mount == "root" and .op == "unlink" and .path == "/tmp/newer"'
	echo 'mkdir /a/d && chmod 700 /a/d && rmdir /a/d' >exec
	seen '.mount == "/a" and .op == "rmdir" and .path == "/d" and (.pid > 0) and (.time | endswith("Z"))'
	echo 'mkdir /a/d; ! rmdir /a && ! mkdir /a/d 2>/dev/null; rmdir /a/d' >exec
	echo nobody >user
	fails "Remote I/O" "" error "echo 'rm /b/f' > exec"
	echo root >user
	jq -e . audit >/dev/null # every line is an object
	[ "$(stat -c %a audit)" = 400 ]
}

@test "levels: reads show where all is asked for, and nowhere else" {
	echo 'cat /a/f /b/f; ls /a /b' >exec
	seen '.mount == "/b" and .op == "read" and .path == "/f" and .bytes == 2'
	seen '.mount == "/b" and .op == "open"'
	[ -z "$(has '.mount == "/a" and (.op == "read" or .op == "open" or .op == "lookup")' || true)" ]
	# a second look is seen too: nothing of it is answered from a cache of the guest
	before=$(jq -s 'map(select(.mount == "/b" and .op == "open" and .path == "/f")) | length' audit)
	echo 'cat /b/f' >exec
	seen "true" && until_is 10 $((before + 1)) jq -s 'map(select(.mount == "/b" and .op == "open" and .path == "/f")) | length' audit
}

@test "filters by operation and path; what is not asked for is not there" {
	echo 'echo > /only/x.log; echo > /only/x.txt; rm /only/x.log /only/x.txt; echo > /m/quiet' >exec
	seen '.mount == "/only" and .op == "unlink" and .path == "/x.log"'
	[ "$(jq -s 'map(select(.mount == "/only")) | length' audit)" = 1 ]
	[ -z "$(has '.mount == "/m"' || true)" ]
}

@test "tail -f follows it" {
	timeout 300 tail -n 0 -f audit >"$dir/followed" &
	pid=$!
	until_is 10 yes followed_by start
	kill $pid
	jq -e 'select(.path == "/followed-start")' "$dir/followed" >/dev/null
}
# another line until the follower has one
followed_by() {
	echo "mkdir -p /a/followed-$1; rmdir /a/followed-$1" >exec
	grep -q "followed-$1" "$dir/followed" && echo yes
}

@test "set and taken away while the machine runs" {
	echo 'echo > /m/before' >exec
	sed 's,^none.*,none /m memory audit,' "$dir/first" >"$dir/next"
	cat "$dir/next" >mounts
	echo 'echo > /m/after' >exec
	seen '.mount == "/m" and .op == "create" and .path == "/after"'
	[ -z "$(has '.path == "/before"' || true)" ]
	cat "$dir/first" >mounts
}

@test "kept after the end; another msbd and another machine add to it" {
	lines=$(wc -l <audit)
	echo stop >ctl
	[ "$(wc -l <audit)" -ge "$lines" ]
	"$bin/msbd" --stop
	"$bin/msbd"
	cd "$m/box"
	[ "$(wc -l <audit)" -ge "$lines" ]
	echo start >ctl
	echo 'mkdir /a/again; rmdir /a/again' >exec
	seen '.path == "/again"'
	jq -es 'any(.[]; .path == "/after")' audit
	# only the options decide: without them the root is not written about
	echo stop >ctl
	echo >root_options
	[ "$(cat root_options)" = "" ]
	echo start >ctl
	echo 'echo > /tmp/unseen; echo > /a/last' >exec
	seen '.path == "/last"'
	[ -z "$(has '.path == "/tmp/unseen"' || true)" ]
}
