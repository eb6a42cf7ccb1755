#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what tools/packages lists for the groups named as arguments, and nothing that is there already.
# On Debian 12 QEMU and libvirt come from bookworm-backports; if apt does not know it yet, a source for it is
# added beside the existing one, from the same mirror, and shown. Later releases need nothing added.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'deps: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v apt-get >/dev/null || die "this is not Debian: install what tools/packages lists by other means, then run make all"
# shellcheck source=/dev/null
. /etc/os-release
root=
if [ "$(id -u)" != 0 ]; then
	root=sudo
fi

# libclang's sanitizer runtime is a versioned package that follows clang's own version.
real_name() {
	case $1 in
	libclang-rt-dev)
		v=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\).*/\1/p' | head -n 1)
		echo "libclang-rt-${v:-14}-dev" ;;
	*) echo "$1" ;;
	esac
}

# Prints what is missing, a package a line, with /bookworm-backports where it has to come from there.
missing() {
	sed 's/#.*//' tools/packages | while read -r name group extra; do
		[ -n "$name" ] || continue
		case " $wanted " in *" $group "*) ;; *) continue ;; esac
		pkg=$(real_name "$name")
		have=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$pkg" 2>/dev/null || true)
		min=${extra#bpo=}
		if [ "${have% *}" = installed ]; then
			[ -n "$min" ] || continue
			dpkg --compare-versions "${have#* }" ge "$min" && continue
		fi
		if [ -n "$min" ] && [ "${VERSION_CODENAME:-}" = bookworm ]; then
			pkg=$pkg/bookworm-backports
		fi
		echo "$pkg"
	done
}

# shellcheck disable=SC2016 # $(NAME) is the syntax of apt-get indextargets
know_backports() {
	apt-get indextargets --format '$(CODENAME)' 2>/dev/null | grep -qx bookworm-backports
}

# shellcheck disable=SC2016
add_backports() {
	uri=$(apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(COMPONENT) $(REPO_URI)' |
		sed -n 's/^Packages bookworm main //p' | head -n 1)
	[ -n "$uri" ] || die "apt knows no Debian 12 mirror; add bookworm-backports to its sources by hand"
	file=/etc/apt/sources.list.d/msb-backports.sources
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	say "adding $file: suite bookworm-backports of the mirror that apt uses already (QEMU 10, libvirt 11)"
	printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' "$uri" "$key" |
		$root tee "$file" >/dev/null
}

wanted="run"
for g in "$@"; do wanted="$wanted $g"; done
list=$(missing)
# The kernel comes from a backports package too, but is only downloaded: tools/kernel-debian.
needs_bpo=no
[ "${VERSION_CODENAME:-}" = bookworm ] && ! know_backports && needs_bpo=yes
if [ -z "$list" ] && [ $needs_bpo = no ]; then
	exit 0
fi
if [ -n "$root" ] && ! command -v sudo >/dev/null; then
	die "missing: $(echo "$list" | tr '\n' ' ')- run 'make deps' as root, or install sudo"
fi
if [ $needs_bpo = yes ]; then
	# A machine that has never updated its lists does not know its mirror's suites either.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(CREATED_BY)' | grep -q Packages || $root apt-get update -q >&2
	add_backports
fi
$root apt-get update -q >&2
list=$(missing)
[ -n "$list" ] || exit 0
say "installing: $(echo "$list" | tr '\n' ' ')"
# shellcheck disable=SC2086 # one word a package
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list >&2
