# SPDX-License-Identifier: Apache-2.0
# The instance: its verbs, the names that are nobody's, what it says of itself.

bats_require_minimum_version 1.5.0
load helper

setup() {
	msb_setup
	"$bin/msbd"
}

teardown() {
	msb_teardown
}

state_of() { cat "$m/$1/state"; }

@test "reserved names: each file of the tree's top, and those to come, are nobody's" {
	# shellcheck disable=SC2012
	ls "$m" | sort >"$dir/there"
	for name in $(cat "$dir/there") snapshots plugins; do
		run -1 mkdir "$m/$name"
		case $name in
		snapshots | plugins) [[ $output == *'not permitted'* ]] && [[ $(cat "$m/error") == *"the name \`$name\` is reserved"* ]] ;;
		*) [[ $output == *'File exists'* ]] ;;
		esac
	done
	# and every one is of the list that msbd goes by, which mnt-layout.md has as rows
	for name in $(cat "$dir/there"); do
		grep -q "^| \`$name/\?\` |" "$repo/mnt-layout.md" || { echo "$name has no row"; false; }
		grep -q "\"$name\"" "$repo/ctl/model.c" || { echo "$name is not reserved"; false; }
	done
	# shellcheck disable=SC2012
	ls "$m" | sort | diff "$dir/there" -
}

@test "version, features, errors" {
	[ "$(cat "$m/version")" = "$("$bin/msbd" --version | sed 's/^msb //')" ]
	grep -qE '^accel (kvm|tcg)$' "$m/features"
	for key in image_sources mount_backends verbs; do grep -q "^$key " "$m/features"; done
	mkdir "$m/a"
	# what features says are verbs is what ctl has
	sed -n 's/^verbs //p' "$m/features" | tr ' ' '\n' | while read -r v; do
		grep -q "^$v\b" "$m/a/ctl" || { echo "$v is no verb"; exit 1; }
	done
	fails 'Invalid argument' 'is not a verb' "$m/a/error" "echo frobnicate >$m/a/ctl"
	fails 'range' 'cpus' "$m/a/error" "echo 10000 >$m/a/cpus"
	[ "$(tail -n 1 "$m/errors" | jq -r '.errno, .path, .uid' | tr '\n' ' ')" = 'ERANGE /a/cpus 0 ' ]
	jq -es '(map(.seq) | . == sort) and all(.time and .pid and .message)' "$m/errors"
	[ "$(tail -n 1 "$m/errors" | jq -r .message)" = "$(cat "$m/error")" ]
}

@test "prune: what has ended and is not wanted goes, all else stays" {
	msb_image
	mkdir "$m/volumes/v"
	for s in ended kept fresh; do sandbox $s; done
	echo always >"$m/kept/restart"
	echo start >"$m/ended/ctl"
	echo start >"$m/kept/ctl"
	guest ended 'echo x >/changed'
	echo prune >"$m/ctl"
	[ "$(state_of ended)" = running ] # nothing has ended
	echo stop >"$m/ended/ctl"
	echo stop >"$m/kept/ctl"
	exec 8<>"$m/ctl"
	echo prune >&8
	read -r answer <&8
	exec 8>&-
	[ "$answer" = ok ]
	[ ! -e "$m/ended" ] && [ "$(find "$MSB_STATE/sandboxes" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
	[ "$(state_of kept)" = stopped ] && [ "$(state_of fresh)" = created ]
	[ -e "$m/images/bb" ] && [ -d "$m/volumes/v" ]
	jq -es 'any(.event == "removed" and .sandbox == "ended")' "$m/events"
}

@test "shutdown: everything stops in order, msbd ends, the next one starts what its policy wants" {
	msb_image
	for s in a b; do
		sandbox $s
		echo start >"$m/$s/ctl"
		guest $s "echo $s >/kept" # written by the guest, not yet on any disk
	done
	echo unless-stopped >"$m/a/restart"
	pid=$(msbd_pid)
	echo shutdown >"$m/ctl"
	until_is 20 gone eval "[ -e /proc/$pid ] || echo gone"
	until_is 20 0 eval "grep -c ' $m ' /proc/self/mountinfo || true"
	until_is 5 '' pgrep -f "$dir/"
	"$bin/msbd"
	[ "$(state_of b)" = stopped ]
	until_is 120 running state_of a
	[ "$(guest a 'cat /kept')" = a ]
	[ "$(cat "$m/b/root/kept")" = b ]
}

@test "the instance's verbs are its own user's" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	for verb in gc prune shutdown; do
		run -1 setpriv --reuid 1234 --regid 1234 --clear-groups bash -c "echo $verb >$m/ctl"
		[[ $output == *'Permission denied'* ]]
	done
	[ -n "$(msbd_pid)" ]
	fails 'Invalid argument' 'there are: gc, prune, shutdown' "$m/error" "echo reboot >$m/ctl"
}
