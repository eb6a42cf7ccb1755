#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# xfstests' generic/quick through /dev/fuse, and beside it what ext4 and kernel overlayfs say. By hand, as root:
#
#	xfstests.sh run BACKEND XFSTESTS WORK [TEST...]     # generic/001 ...; all of the group where none is named
#	xfstests.sh compare WORK                            # a table, and each test that differs
#
# BACKEND is overlay, passthrough, maproot, memory, ext4 or overlayfs. XFSTESTS is a built tree of it, WORK a
# directory with 15 GB free; neither may be below /tmp, which each run has for itself. Everything is done in
# mount and process namespaces of its own: the mount helper, the users fsgqa, fsgqa2 and 123456-fsgqa, loop mounts and
# what a killed test leaves are gone at the end. A run goes on where the last one stopped; a TEST that is named
# is run again. TIMEOUT (120) is a test's seconds, BELOW (ext4) the file system that a backend's files are on: what a
# share can hold is what that can.
set -u

die() { echo "xfstests: $*" >&2; exit 1; }
self=$(realpath "$0")
repo=$(dirname "$(dirname "$(dirname "$self")")")

# A server ends in its own time after an unmount, and a directory of changes has one at a time.
serve() {
	local why=/tmp/serve.$1
	for _ in {1..100}; do
		"$repo/build/e2e/fsmount" -d -n "$1" "$XFS_BACKEND" "${XFS_SOURCE//@/$1}" "$2" "$3" >/dev/null 2>"$why" && return
		grep -q "another file server" "$why" || break
		sleep 0.2
	done
	cat "$why" >&2
	return 1
}

# The mount helper: mount(8) calls it as `mount.fuse NAME DIR -o OPTIONS`. What is a flag of mount(2) is given to the
# kernel once it is mounted; a server keeps its own access times: noatime, strictatime and ro are its business
# too.
helper() {
	local name=$1 at=$2 flags="" own own_atime="" o remount="" there
	shift 2
	while getopts o:t:sfnvN: o; do
		[ "$o" = o ] || continue
		local -a list
		IFS=, read -ra list <<<"$OPTARG"
		for o in "${list[@]}"; do
			case $o in
			remount | bind) remount=1 flags+=,$o ;;
			ro) flags+=,ro own_atime=noatime ;;
			rw | sync | async | dirsync | nosuid | suid | nodev | dev | noexec | exec | mand | nomand | silent | \
				atime | diratime | nodiratime | relatime | norelatime | nostrictatime | lazytime | \
				nolazytime | iversion | nosymfollow | defaults) flags+=,$o ;;
			noatime) flags+=,noatime own_atime=noatime ;;
			strictatime) flags+=,strictatime own_atime=${own_atime:-strictatime} ;;
			*)
				echo "mount: $at: the option $o is unknown" >&2
				exit 32
				;;
			esac
		done
	done
	if [ -z "$remount" ]; then
		own=$XFS_OPTIONS${own_atime:+${XFS_OPTIONS:+,}$own_atime}
		# of a share it is the host that says it
		[ "$XFS_BACKEND" != passthrough ] || /bin/mount -i -o "remount,${own_atime:-relatime}" "$XFS_BASE"
		there=$(findmnt -rn -o TARGET -S "$name" | head -n 1)
		if [ -n "$there" ]; then # as a device that is mounted twice
			/bin/mount -i --bind "$there" "$at" || exit 32
		else
			serve "$name" "$at" "$own" || exit 32
		fi
		[ -n "$flags" ] || exit 0
		flags=remount$flags
	fi
	exec /bin/mount -i -o "${flags#,}" "$at"
}

# The tests of the group; those that want what FUSE has not come last, and say "not run".
absent='shutdown|_require_dm_|_require_(block|local)_device|mkfs_sized|mkfs_blocksized|reflink|dedupe|fiemap'
absent+='|collapse|insert|encrypt|verity|quota|log_writes|fail_make_request|scsi_debug|freeze|journaling|casefold'
absent+='|dev_pool|flakey|defrag|swapfile|scratch_size|delalloc|error_injection|exchange|atomic_write|_require_ext4'
list() {
	cd "$xfstests/tests" || exit 1
	grep -l '^_begin_fstest.*\<quick\>' generic/[0-9][0-9][0-9] | xargs grep -LE "$absent"
	grep -l '^_begin_fstest.*\<quick\>' generic/[0-9][0-9][0-9] | xargs grep -lE "$absent"
}

loop() { # loop NAME [FSTYPE]: WORK/BACKEND/NAME.img as an ext4, or that, there
	local img=$at/$1.img type=${2:-ext4}
	[ -e "$img" ] || { truncate -s 6G "$img" && "mkfs.$type" -q "$img"; } || die "$img"
	losetup -f --show "$img"
}

users() { # fsgqa and friends, for this mount namespace only
	local n=2000 u
	cp /etc/passwd /etc/group "$at"
	for u in fsgqa fsgqa2 123456-fsgqa; do
		echo "$u:*:$n:$n::$at/home:/bin/bash" >>"$at/passwd"
		echo "$u:x:$n:" >>"$at/group"
		n=$((n + 1))
	done
	mkdir -p "$at/home"
	chmod 0777 "$at/home"
	mount --bind "$at/passwd" /etc/passwd
	mount --bind "$at/group" /etc/group
}

config() {
	mkdir -p "$at/mnt/test" "$at/mnt/scratch" "$at/results"
	export XFS_BACKEND=$backend XFS_OPTIONS="" XFS_SOURCE FSTYP=fuse FUSE_SUBTYP=.msb
	export TEST_DEV=msb-test SCRATCH_DEV=msb-scratch TEST_DIR=$at/mnt/test SCRATCH_MNT=$at/mnt/scratch
	export RESULT_BASE=$at/results HOST_OPTIONS=$at/config REPORT_DIR=$at/results
	: >"$at/config"
	case $backend in
	ext4 | overlayfs)
		FSTYP=ext4 FUSE_SUBTYP=""
		TEST_DEV=$(loop test) SCRATCH_DEV=$(loop scratch)
		trap 'umount -l "$SCRATCH_MNT" "$TEST_DIR" 2>/dev/null; losetup -d "$TEST_DEV" "$SCRATCH_DEV"' EXIT
		[ "$backend" = ext4 ] || args+=(-overlay)
		return
		;;
	memory)
		XFS_OPTIONS=acl,size=2G XFS_SOURCE=none
		# As xfstests itself does for tmpfs: an unmount would end what is in memory.
		sed -e '/^_scratch_cycle_mount()/,/^}/s/^    tmpfs)$/    fuse)/' \
			-e '/^_test_cycle_mount()/,/^}/s/^    tmpfs)$/    fuse)/' "$xfstests/common/rc" >"$at/rc"
		mount --bind "$at/rc" "$xfstests/common/rc"
		;;
	maproot) XFS_BACKEND=passthrough XFS_OPTIONS=acl,map=root XFS_SOURCE=$at/base/@ ;;
	passthrough) XFS_OPTIONS=acl,map=none XFS_SOURCE=$at/base/@ ;;
	overlay) XFS_OPTIONS=acl XFS_SOURCE=upper=$at/base/@ ;;
	*) die "no such backend: $backend" ;;
	esac
	if [ "$backend" != memory ]; then
		mkdir -p "$at/base"
		base=$(loop base "${BELOW:-ext4}")
		trap 'losetup -d "$base"' EXIT
		mount "$base" "$at/base" || die "$base"
		export XFS_BASE=$at/base
		mkdir -p "$at/base/msb-test" "$at/base/msb-scratch"
	fi
	printf '#!/bin/bash\nexec %q helper "$@"\n' "$self" >"$at/mount.fuse"
	chmod 0755 "$at/mount.fuse"
	mount --bind "$at/mount.fuse" "$(realpath "$(command -v mount.fuse)")"
}

descendants() { # of a process, itself last
	local c
	for c in $(pgrep -P "$1"); do descendants "$c"; done
	echo "$1"
}

watchdog() { # ends a test that has had its time: it is then one that failed
	local pid t
	while sleep 5; do
		for pid in $(pgrep -f '^(/bin/)?bash .*tests/generic/[0-9]+$'); do
			t=$(ps -o etimes= -p "$pid") || continue
			[ "$t" -gt "${TIMEOUT:-120}" ] || continue
			ps -o args= -p "$pid" | grep -o 'generic/[0-9]*' >>"$at/timeouts"
			# shellcheck disable=SC2046
			kill -9 $(descendants "$pid") 2>/dev/null
		done
	done
}

# What check prints of each test, as `TEST passed|failed|notrun REASON`.
verdicts() {
	sed -nE -e 's/^(generic\/[0-9]+) .*\[not run\] *(.*)/\1 notrun \2/p' -e t \
		-e 's/^(generic\/[0-9]+) .*(\[failed|output mismatch|_check_).*/\1 failed/p' -e t \
		-e 's/^(generic\/[0-9]+) .* +[0-9]+s *$/\1 passed/p'
}

inside() { # in namespaces of its own
	mount --make-rprivate /
	mount -t tmpfs -o mode=1777 xfstests /tmp
	touch "$at/nothing"
	mount --bind "$at/nothing" /proc/sys/vm/drop_caches # it is the whole machine's
	export FSTESTS_ISOL=privatens			    # /proc is one of two, the host's lies below
	users
	config
	cd "$xfstests" || exit 1
	watchdog &
	touch "$at/verdicts"
	local -a todo=("$@")
	if [ $# = 0 ]; then
		mapfile -t todo < <(list | grep -vxFf <(cut -d' ' -f1 "$at/verdicts"))
	fi
	while [ ${#todo[@]} -gt 0 ]; do # a few at a time: what is done is then not done again
		echo "$backend: ${#todo[@]} to go" >&2
		./check "${args[@]}" "${todo[@]:0:20}" </dev/null >"$at/check.log" 2>&1
		cat "$at/check.log" >>"$at/log"
		verdicts <"$at/check.log" >>"$at/verdicts"
		todo=("${todo[@]:20}")
	done
	kill %1
}

# The last verdict of each test counts.
last() { awk '{ v[$1] = $2 } END { for (t in v) print t, v[t] }' "$1" | sort; }

compare() {
	local b ref t v r
	for b in "$work"/*/verdicts; do
		printf '%-12s %s\n' "$(basename "$(dirname "$b")")" "$(last "$b" | cut -d' ' -f2 | sort | uniq -c | tr -s ' \n' ' ')"
	done
	for b in overlay passthrough maproot memory; do
		[ -s "$work/$b/verdicts" ] || continue
		while read -r t v; do
			[ "$v" = failed ] || continue
			echo "$b $t failed$(for ref in ext4 overlayfs; do
				r=$(last "$work/$ref/verdicts" 2>/dev/null | sed -n "s|^$t ||p")
				echo -n " $ref:${r:-unknown}"
			done)"
		done < <(last "$work/$b/verdicts")
	done
}

case ${1-} in
helper) shift && helper "$@" ;;
compare)
	work=$(realpath "${2:?WORK}")
	compare
	;;
run | inside)
	[ $# -ge 4 ] || die "run BACKEND XFSTESTS WORK [TEST...]"
	verb=$1 backend=$2 xfstests=$(realpath "$3") work=$(realpath -m "$4") args=()
	at=$work/$backend
	[ "$(id -u)" = 0 ] || die "needs root"
	[ -x "$xfstests/ltp/fsstress" ] || die "$xfstests is not built"
	[ -x "$repo/build/e2e/fsmount" ] || die "make check-build first"
	case $xfstests/:$work/ in *:/tmp/* | /tmp/*) die "neither XFSTESTS nor WORK may be below /tmp" ;; esac
	mkdir -p "$at" || exit 1
	shift 4
	[ "$verb" = inside ] ||
		exec unshare -m -p --fork --kill-child --mount-proc "$self" inside "$backend" "$xfstests" "$work" "$@"
	inside "$@"
	;;
*) die "run BACKEND XFSTESTS WORK [TEST...], or compare WORK" ;;
esac
