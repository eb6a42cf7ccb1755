# SPDX-License-Identifier: Apache-2.0
# mnt-layout.md against a live mount: every file has its row, every row its file, with mode and default.

load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir "$m/box" "$m/volumes/vol"
	echo value >"$m/box/env/VAR"
	echo x >"$m/box/scripts/script"
	mkdir "$m/box/patches/dir"
	echo x >"$m/box/patches/dir/file"
	ln -s file "$m/box/patches/dir/link"
	echo "import $repo/build/images/busybox localhost/dir/cc:1" >"$m/images/ctl"
	echo 'login r.lan me' >"$m/images/ctl"
	exec 7<>"$m/box/jobs/clone"
	echo value >"$m/box/jobs/1/env/VAR"
	echo keep >"$m/box/jobs/1/ctl"
	exec 7>&-
}

teardown_file() {
	msb_teardown
}

# PATH MODE DEFAULT of every row, placeholders filled in; DEFAULT is `-` where the row has none
rows() {
	awk -F'|' '/^\| `/ && $3 ~ /^ (0[0-7]+|link) $/ {
		name = $2; mode = $3; def = $5
		gsub(/[` ]/, "", name); gsub(/ /, "", mode); gsub(/^ +| +$/, "", def)
		sub(/^NAME/, "box", name); gsub(/HOST\/REPO\/IMAGE:TAG/, "localhost/bb:latest", name)
		sub(/HOST\/REPO/, "localhost/dir", name); sub(/HOST/, "localhost", name)
		sub(/VOLUME/, "vol", name); sub(/SHORT/, "bb", name); sub(/logins\/REGISTRY/, "logins/r.lan", name); sub(/pulls\/N/, "pulls/1", name)
		sub(/patches\/DIR/, "patches/dir", name); sub(/dir\/FILE/, "dir/file", name); sub(/dir\/LINK/, "dir/link", name)
		sub(/scripts\/X$/, "scripts/script", name); sub(/env\/X$/, "env/VAR", name); sub(/jobs\/N/, "jobs/1", name)
		if (def == "NAME") def = "`box`"
		print name, mode, (def ~ /^`.*`$/ ? substr(def, 2, length(def) - 2) "`" : "-")
	}' "$repo/mnt-layout.md"
}

@test "every row has its file, of that mode" {
	count=0
	while read -r path mode _; do
		count=$((count + 1))
		case $mode in
		link) [ -L "$m/$path" ] || { echo "$path is no link"; false; } ;;
		*)
			[ -e "$m/$path" ] || { echo "$path is not there"; false; }
			[ "$(stat -c %04a "$m/$path")" = "$mode" ] ||
				{ echo "$path: $(stat -c %04a "$m/$path"), not $mode"; false; }
			case $path in
			*/) [ -d "$m/$path" ] ;;
			*) [ -f "$m/$path" ] ;;
			esac || { echo "$path is of another kind"; false; } ;;
		esac
	done < <(rows)
	[ $count -gt 35 ]
}

@test "every file has its row" {
	rows | awk '{ sub(/\/$/, "", $1); print $1 }' | sort >"$dir/rows"
	find "$m" -mindepth 1 -printf '%P\n' | grep -v -e '^images/localhost/dir/.' -e '^images/pulls/2' | sort >"$dir/files"
	diff "$dir/rows" "$dir/files"
}

@test "every default is what a new sandbox says" {
	count=0
	while read -r path _ def; do
		[ "$def" != - ] || continue
		count=$((count + 1))
		[ "$(cat "$m/$path")" = "${def%\`}" ] || { echo "$path: '$(cat "$m/$path")', not '${def%\`}'"; false; }
	done < <(rows)
	[ $count -gt 12 ]
}

@test "every image is where its reference says, by whichever name" {
	[ "$(readlink "$m/images/bb")" = localhost/bb:latest ]
	[ "$(cat "$m/images/bb/digest")" = "$(cat "$m/images/localhost/dir/cc:1/digest")" ]
	[ "$(find "$m/images/localhost" -name digest | sort | sed "s|$m/||")" = "$(printf '%s\n' \
		images/localhost/bb:latest/digest images/localhost/dir/cc:1/digest)" ]
}

@test "every verb of images/ctl has its row, and no other" {
	awk -F'|' '/^## Images/ { on = 1 } /^## `NAME\/exec/ { on = 0 } on && /^\| `/ { gsub(/[`]/, "", $2); gsub(/^ +| +$/, "", $2); print $2 }' \
		"$repo/mnt-layout.md" | sort >"$dir/verbs"
	sort "$m/images/ctl" | diff "$dir/verbs" -
}

@test "every verb of the table is known, and no other" {
	awk -F'|' '/^## Verbs/ { on = 1 } /^## The instance/ { on = 0 } on && /^\| `/ { gsub(/[` ]/, "", $2); sub(/\[.*\]|X$/, "", $2); print $2 }' \
		"$repo/mnt-layout.md" | sort >"$dir/verbs"
	awk '{ print $1 }' "$m/box/ctl" | sort | diff "$dir/verbs" -
}

@test "every verb of the instance has its row, and no other" {
	awk -F'|' '/^## The instance.s/ { on = 1 } /^## Images/ { on = 0 } on && /^\| `/ { gsub(/[` ]/, "", $2); print $2 }' \
		"$repo/mnt-layout.md" | sort >"$dir/verbs"
	sort "$m/ctl" | diff "$dir/verbs" -
}
