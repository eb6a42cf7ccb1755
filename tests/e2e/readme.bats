# SPDX-License-Identifier: Apache-2.0
# The README's examples, as they stand there: each line is run. What needs a network, a person or a build is left out, and
# a busybox is what it calls debian.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	export PATH=$bin:$PATH
	"$bin/msbd"
	mkdir "$dir/tree" "$dir/src" "$dir/out" "$dir/work"
	[ -f "$repo/build/images/busybox/index.json" ] || "$repo/tools/mkimage" busybox "$repo/build/images/busybox"
	ln -s "$repo/tools" "$repo/build" "$dir/tree/"
}

teardown_file() {
	msb_teardown
}

# example TEXT: the lines of the README's example that begins after the line with TEXT
example() {
	awk -v text="$1" '!on && index($0, text) {on = 1; next}
		on && /^    / {seen = 1; print substr($0, 5); next}
		on && seen {exit}' "$repo/README.md" >"$dir/lines"
	[ -s "$dir/lines" ] || { echo "the README has no example after: $1"; return 1; }
}

# lines: runs them in a shell that ends at the first that fails, and says which
lines() {
	(cd "$1" && HOME=$dir bash -euo pipefail -c "trap 'echo \"failed: \$BASH_COMMAND\"' ERR; $(cat "$dir/lines")" \
		</dev/null 3>&- 2>&1)
}

@test "README: first steps, with docker's words" {
	example "the same for root and for an ordinary user"
	sed -i -e '/^make /d;/^export PATH=/d;/^msbd /d;s|^tools/mkimage debian .*|:|' \
		-e 's|^msb load -i build/images/debian|msb load -q -i build/images/busybox|' "$dir/lines"
	grep -q '^msb doctor' "$dir/lines"
	grep -q '^msb load' "$dir/lines"
	run lines "$dir/tree"
	echo "$output"
	[ "$status" = 0 ]
	example "With docker's words"
	sed -i -e '/^msb -H /d;s/^msb logs -f/msb logs/;s|^msb install|& --dir .|;s| -it | -i |' "$dir/lines"
	run lines "$dir/tree"
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *"hello from "* ]]
	[[ $output == *$'\nsrv/'*hello* ]]
	[ -x "$dir/tree/debian" ]
	[ "$(msb ps -aq)" = "" ]
}

@test "README: first steps, with files" {
	example "With files:"
	sed -i -e "s|^m=/run/msb .*|m=$m|;s/tail -f/tail/;/^msbd --stop/d" "$dir/lines"
	grep -q 'start > $m/dev/ctl' "$dir/lines"
	run lines "$dir/tree"
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *Linux* ]]
	[ ! -e "$m/dev" ]
}

@test "README: mounts, volumes, plugins, and what an error says" {
	mkdir "$m/dev"
	echo debian >"$m/dev/image"
	example "there when the write returns."
	sed -i 's/tail -f/tail/' "$dir/lines"
	cp "$dir/lines" "$dir/all"
	example "several may have it mounted at once:"
	cat "$dir/lines" >>"$dir/all"
	example "once no other mount is there"
	sed "s|\$OLDPWD|$repo|" "$dir/lines" >>"$dir/all"
	mv "$dir/all" "$dir/lines"
	[ "$(wc -l <"$dir/lines")" = 10 ]
	run lines "$m"
	echo "$output"
	[ "$status" = 0 ]
	[ "$(wc -l <"$m/dev/mounts")" = 6 ]
	example "its errno is the kind of failure"
	run bash -c 'echo many >"$1/dev/cpus"' - "$m"
	[ "$status" = 1 ]
	[[ $output == *"$(sed -n 's/^bash: echo: //p' "$dir/lines")" ]]
	[ "$(cat "$m/dev/error")" = "$(tail -n 1 "$dir/lines")" ]
	rmdir "$m/dev" "$m/volumes/work"
}
