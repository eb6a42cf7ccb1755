#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Long suites in a real guest, on its root (overlay) and on a shared directory (passthrough), which suites.sh runs
# through /dev/fuse. By hand, as root, after `make`:
#
#	guest_suites.sh pjdfstest TREE            # TREE: as suites.sh says, built on a host like the guest: Debian 12
#	guest_suites.sh stress SECONDS            # stress-ng --class filesystem, so long each; also on the guest's tmpfs
#	guest_suites.sh build REPOSITORY COMMAND  # git clone and COMMAND in the clone, also on the host; same sums of all files
#
# binderfs is left out: the guest's kernel has none.
# The guest's image is made of Debian packages by tools/mkimage. WHERE (/srv/root /share) are the places in the guest.
# MAP (none) is how the shared directory keeps owners. Each ends with 0 where all is well.
set -u

die() { echo "guest_suites: $*" >&2; exit 1; }
repo=$(realpath "$(dirname "$0")/../..")
bin=$repo/build/bin

usage="pjdfstest TREE, stress SECONDS, or build REPOSITORY COMMAND"
case ${1-}:$# in
pjdfstest:2) given=$(realpath "$2") ;;
build:3) given=$(realpath "$2") command=$3 ;;
stress:2) given="" seconds=$2 ;;
*) die "$usage" ;;
esac
verb=$1
[ "$(id -u)" = 0 ] || die "needs root"

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/msbg.XXXXXX") || exit 1
cd "$dir" || exit 1
chmod 0755 "$dir"
export MSB_MNT=$dir/m MSB_STATE=$dir/s
m=$MSB_MNT
# shellcheck disable=SC2317 # the trap calls it
finish() {
	cd /
	"$bin/msbd" --stop --all
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' TERM INT

start() {
	"$repo/tools/mkimage" suites "$repo/build/images/suites" zstd || exit 1
	mkdir -p "$m" "$dir/share"
	"$bin/msbd" || exit 1
	echo "import $repo/build/images/suites suites" >"$m/images/ctl" || die "$(cat "$m/error")"
	mkdir "$m/box"
	echo suites >"$m/box/image"
	echo 2G >"$m/box/memory_bytes"
	nproc >"$m/box/cpus"
	echo "/ram size=1G" >"$m/box/tmpfs"
	echo "$dir/share /share passthrough map=${MAP:-none}${given:+
$given /given passthrough ro}" >"$m/box/mounts" || die "$(cat "$m/box/error")"
	echo start >"$m/box/ctl" || die "$(cat "$m/box/error")"
	inside mkdir -p /srv/root
}

inside() { "$bin/msb" exec box "$@"; }

pjdfstest() { # DIRECTORY
	inside sh -c "mkdir -p $1/t && cd $1/t && prove -r /given/tests 2>&1"
}

stress() { # DIRECTORY
	inside sh -c "mkdir -p $1/t && cd $1/t && stress-ng --class filesystem --exclude binderfs --sequential 1 \
		--timeout $seconds --verify --temp-path . 2>&1"
}

# What it prints and what it makes, each file with mode, size and sum, but git's own notes of times and places.
sums="find . -path ./.git -prune -o -printf '%P %y %m %l\n' | sort;
	find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; git fsck --full; git status --short"

build_line() { # DIRECTORY REPOSITORY
	echo "set -e; umask 022; export LC_ALL=C TZ=UTC HOME=$1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory \
		GIT_CONFIG_VALUE_0='*'; cd $1; git clone -q --no-local $2 clone; cd clone; { $command; } >../built 2>&1 || \
		{ cat ../built; exit 1; }; $sums"
}

build() { # DIRECTORY
	[ -s "$dir/host.sums" ] || {
		mkdir "$dir/host"
		sh -c "$(build_line "$dir/host" "$given")" >"$dir/host.sums" 2>&1 || die "on the host: $(tail "$dir/host.sums")"
		tail -n 3 "$dir/host/built"
	}
	inside sh -c "$(build_line "$1" /given)" >"$dir/guest.sums" 2>&1 || { tail -n 30 "$dir/guest.sums"; return 1; }
	inside tail -n 3 "$1/built"
	echo "$(wc -l <"$dir/guest.sums") lines of names and sums"
	diff "$dir/host.sums" "$dir/guest.sums"
}

start
bad=0
places=${WHERE:-/srv/root /share}
[ "$verb" = stress ] && places=${WHERE:-/srv/root /share /ram}
for place in $places; do
	case $verb in
	pjdfstest) pjdfstest "$place" ;;
	stress) stress "$place" ;;
	build) build "$place" ;;
	esac
	rc=$?
	echo "$verb on $place: exit $rc"
	[ $rc = 0 ] || bad=1
done
exit $bad
