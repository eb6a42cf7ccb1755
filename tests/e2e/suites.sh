#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Long suites of others, and of ours, on each backend through /dev/fuse; guest_suites.sh has those in a guest, and
# xfstests.sh its own. By hand, as root, after `make check-build`:
#
#	suites.sh pjdfstest BACKEND TREE          # TREE: autoreconf -ifs && ./configure && make pjdfstest; needs prove
#	suites.sh unionmount TREE                 # --ov --samefs, on kernel overlayfs and on ours; nothing to build
#	suites.sh fsx BACKEND N TREE [SEED]       # N operations; TREE: xfstests, make && ls ltp/fsx
#	suites.sh model BACKEND SECONDS           # fs_model.bats, for that long; prints its seeds
#	suites.sh churn BACKEND N                 # N creates, opens and unlinks; RSS and descriptors of the server
#
# BACKEND is overlay, passthrough, maproot or memory; for pjdfstest and fsx also ext4, overlayfs and tmpfs, which tell
# what the kernel's own say. JOBS (1) of pjdfstest go on at a time; of fsx so many processes share the operations, each
# with a file and a seed of its own.
# What is below a backend is an ext4 of its own, in a file in TMPDIR (/var/tmp; fsx waits for a disk, and hardly in
# /dev/shm). Everything is done in mount and process namespaces of its own, and is gone at the end. Each verb ends with 0
# where all is well.
set -u

die() { echo "suites: $*" >&2; exit 1; }
self=$(realpath "$0")
repo=$(dirname "$(dirname "$(dirname "$self")")")

# fsmount BACKEND SOURCE MOUNTPOINT OPTIONS: prints the server's process. A server ends in its own time after an
# unmount, and a directory of changes has one at a time.
fsmount() {
	for _ in {1..100}; do
		"$repo/build/e2e/fsmount" -d -n msb "$@" 2>"$dir/why" && return
		grep -q "another file server" "$dir/why" || break
		sleep 0.1
	done
	cat "$dir/why" >&2
	return 1
}

# serve BACKEND: at $dir/at; its process in $dir/pid. Below it is an ext4 of its own.
serve() {
	mkdir "$dir/at" "$dir/ext4"
	truncate -s 4G "$dir/img"
	mkfs.ext4 -q "$dir/img"
	mount -o loop "$dir/img" "$dir/ext4" || die "no ext4 in $dir"
	mkdir "$dir/ext4/below" "$dir/ext4/work" "$dir/ext4/lower"
	case $1 in
	memory) fsmount memory none "$dir/at" size=2G ;;
	overlay) fsmount overlay "upper=$dir/ext4/below" "$dir/at" "" ;;
	passthrough) fsmount passthrough "$dir/ext4/below" "$dir/at" map=none ;;
	maproot) fsmount passthrough "$dir/ext4/below" "$dir/at" map=root ;;
	tmpfs) mount -t tmpfs tmpfs "$dir/at" ;;
	ext4) mount --bind "$dir/ext4/below" "$dir/at" ;;
	overlayfs)
		mount -t overlay -o "lowerdir=$dir/ext4/lower,upperdir=$dir/ext4/below,workdir=$dir/ext4/work" \
			overlayfs "$dir/at"
		;;
	*) die "no such backend: $1" ;;
	esac >"$dir/pid" || die "$1 cannot be mounted"
	chmod 0755 "$dir/at"
}

pjdfstest() { # BACKEND TREE
	[ -x "$2/pjdfstest" ] || die "$2/pjdfstest is not built"
	serve "$1"
	(cd "$dir/at" && exec prove -j "${JOBS:-1}" -r "$2/tests")
}

# The tests mount `fuse.msb` where they would mount overlayfs, by a mount helper: this script. The lower directory
# becomes an image.
helper() { # NAME DIRECTORY -o OPTIONS
	local at=$2 o lower="" upper="" m name digest
	local -a list
	shift 2
	while getopts o:t:n o; do
		[ "$o" = o ] || continue
		IFS=, read -ra list <<<"$OPTARG"
		for o in "${list[@]}"; do
			case $o in
			lowerdir=*) lower=${o#*=} ;;
			upperdir=*) upper=${o#*=} ;;
			esac
		done
	done
	[ -n "$lower" ] || die "mount: no lowerdir="
	dir=$MSB_SUITES m=$MSB_MNT
	rm -rf "$dir/save"
	mkdir "$dir/save"
	tar --format=posix --xattrs -C "$lower" --sort=name -cf "$dir/save/layer.tar" .
	digest=$(sha256sum <"$dir/save/layer.tar")
	printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"${digest%% *}" >"$dir/save/config.json"
	echo '[{"Config":"config.json","RepoTags":["low:1"],"Layers":["layer.tar"]}]' >"$dir/save/manifest.json"
	tar -C "$dir/save" -cf "$dir/save.tar" manifest.json config.json layer.tar
	name=low-${digest:0:20} # a remount finds it there
	[ -e "$m/images/$name" ] || echo "import $dir/save.tar $name" >"$m/images/ctl" || die "import: $(cat "$m/error")"
	digest=$(sed 's/^sha256://' "$m/images/$name/digest")
	fsmount overlay "index=$MSB_STATE/store/images/$digest/index,packs=$MSB_STATE/store/packs,upper=$upper" \
		"$at" "" >/dev/null
	# what the test has put into the upper directory past the mount
	[ -e "$at/f" ] || cp -a "$upper/f" "$at/f"
}

unionmount() { # TREE
	local how
	cd "$1" || exit 1
	[ -x ./run ] || die "$1/run is not there"
	touch "$dir/nothing"
	mount --bind "$dir/nothing" /proc/sys/vm/drop_caches # it is the whole machine's
	printf '#!/bin/bash\nexec %q helper "$@"\n' "$self" >"$dir/mount.fuse"
	chmod 0755 "$dir/mount.fuse"
	mount --bind "$dir/mount.fuse" "$(realpath "$(command -v mount.fuse)")" || die "there is no mount.fuse (fuse3)"
	export MSB_SUITES=$dir MSB_MNT=$dir/m MSB_STATE=$dir/s UNIONMOUNT_BASEDIR=$dir/base bad=0
	mkdir "$MSB_MNT" "$UNIONMOUNT_BASEDIR"
	"$repo/build/bin/msbd" || die "msbd does not start"
	for how in overlay fuse.msb; do
		local -a fuse=()
		[ "$how" = overlay ] || fuse=(--fuse=msb)
		./run --ov "${fuse[@]}" --samefs >"$dir/log.$how" 2>&1
		local rc=$?
		echo "$how: $(grep -c '^TEST ' "$dir/log.$how") tests, exit $rc"
		[ "$rc" = 0 ] || { tail -n 20 "$dir/log.$how"; bad=1; }
		umount "$UNIONMOUNT_BASEDIR/m"
	done
	"$repo/build/bin/msbd" --stop --all
	return "$bad"
}

fsx() { # BACKEND N TREE [SEED]
	local n=$2 fsx=$3/ltp/fsx seed=${4:-$((RANDOM * 32768 + RANDOM))} jobs=${JOBS:-1} i bad=0
	local -a pids=()
	[ -x "$fsx" ] || die "$fsx is not built"
	serve "$1"
	for ((i = 0; i < jobs; i++)); do
		mkdir "$dir/fsx.$i"
		"$fsx" -q -N $((n / jobs)) -S $((seed + i)) -P "$dir/fsx.$i" "$dir/at/file.$i" >"$dir/fsx.$i/out" 2>&1 &
		pids+=($!)
		echo "$1: fsx -N $((n / jobs)) -S $((seed + i))"
	done
	for ((i = 0; i < jobs; i++)); do
		wait "${pids[i]}" || bad=1
		tail -n "$((bad ? 200 : 1))" "$dir/fsx.$i/out"
	done
	return "$bad"
}

model() { # BACKEND SECONDS
	local test
	case $1 in
	overlay) test='^overlay' ;;
	passthrough | memory) test="^$1\$" ;;
	maproot) test="owners kept beside" ;;
	*) die "no such backend: $1" ;;
	esac
	MODEL_SECONDS=$2 bats --tap --show-output-of-passing-tests -f "$test" "$repo/tests/e2e/fs_model.bats"
}

churn() { # BACKEND N
	serve "$1"
	python3 - "$dir/at" "$(cat "$dir/pid")" "$2" <<-'PY'
		import os, sys
		at, pid, operations = sys.argv[1], sys.argv[2], int(sys.argv[3])
		DIRS, WINDOW, NAMES, SHOWN = 7, 500, 50021, 20
		GROWTH = 3 << 20   # as tests/unit/test_churn.c

		def count():
		    with open(f"/proc/{pid}/statm") as f:
		        rss = int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")
		    return rss, len(os.listdir(f"/proc/{pid}/fd"))

		def name(i):
		    return f"{at}/dir-{i % DIRS}/file-{i % NAMES}"

		def run(first, files):
		    for i in range(first, first + files):
		        if i >= first + WINDOW:
		            os.unlink(name(i - WINDOW))
		        fd = os.open(name(i), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
		        if i % 4 == 0:
		            os.write(fd, b"contents")
		        os.close(fd)
		        os.close(os.open(name(i), os.O_RDONLY))
		    for i in range(first + files - WINDOW, first + files):
		        os.unlink(name(i))
		    return first + files

		for d in range(DIRS):
		    os.mkdir(f"{at}/dir-{d}")
		at_file = run(0, 10000)
		before = count()
		print("operations rss_bytes fds", flush=True)
		print(0, *before, flush=True)
		for k in range(1, SHOWN + 1):
		    at_file = run(at_file, operations // 3 // SHOWN)
		    now = count()
		    print(operations // SHOWN * k, *now, flush=True)
		flat = now[1] == before[1] and now[0] < before[0] + GROWTH
		print("flat" if flat else "not flat")
		sys.exit(not flat)
	PY
}

verb=${1-}
case $verb:$# in
pjdfstest:3 | unionmount:2 | fsx:[45] | model:3 | churn:3) ;;
helper:*)
	dir=$MSB_SUITES
	helper "${@:2}"
	exit
	;;
*) die "pjdfstest BACKEND TREE, unionmount TREE, fsx BACKEND N TREE [SEED], model BACKEND SECONDS, or churn BACKEND N" ;;
esac
[ "$(id -u)" = 0 ] || die "needs root"
[ -x "$repo/build/e2e/fsmount" ] || die "make check-build first"
if [ -z "${MSB_SUITES-}" ]; then
	MSB_SUITES=$(mktemp -d "${TMPDIR:-/var/tmp}/msbs.XXXXXX") || exit 1
	chmod 0755 "$MSB_SUITES"
	export MSB_SUITES
	unshare -m -p --fork --kill-child --mount-proc "$self" "$@"
	rc=$?
	rm -rf "$MSB_SUITES"
	exit "$rc"
fi
dir=$MSB_SUITES
mount --make-rprivate /
shift
case $verb in
pjdfstest) pjdfstest "$@" ;;
unionmount) unionmount "$@" ;;
fsx) fsx "$@" ;;
model) model "$@" ;;
churn) churn "$@" ;;
esac
rc=$?
for at in "$dir/at" "$dir/ext4"; do
	while mountpoint -q "$at"; do umount -l "$at"; done
done
exit "$rc"
