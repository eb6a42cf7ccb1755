#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every static check, each named; exits 1 when one of them has something to say.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
step() {
	local name=$1
	shift
	echo "lint: $name"
	"$@" || { echo "lint: $name FAILED"; bad=1; }
}
mapfile -t c < <(git ls-files '*.c')
mapfile -t sh < <(git ls-files 'tools/*' 'tests/*' '.ci/*' | xargs grep -lE '^#!/bin/(ba)?sh')
flags=(-std=gnu17 -D_GNU_SOURCE -DFUSE_USE_VERSION=314 '-DMSB_VERSION="x"' -I.)
# shellcheck disable=SC2207 # words are what pkg-config gives
flags+=($(pkg-config --cflags fuse3 libvirt sqlite3 libxxhash libcrypto libzstd libisal jansson libseccomp))

step layers tools/lint/layers.sh
step format make -s format-check
step shellcheck shellcheck "${sh[@]}"
# One suppression a line, each with its reason: tools/lint/cppcheck.suppressions
step cppcheck cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --suppressions-list=tools/lint/cppcheck.suppressions \
	--enable=warning,performance,portability -D_GNU_SOURCE -I. -j "$(nproc)" "${c[@]}"
tidy() { # checks and their reasons: .clang-tidy
	printf '%s\0' "${c[@]}" | xargs -0 -P "$(nproc)" -n 4 sh -c 'f=$1; shift; clang-tidy --quiet "$@" -- $f 2>/dev/null' sh "${flags[*]}"
}
step clang-tidy tidy
exit $bad
