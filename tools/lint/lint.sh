#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every static check, each named; exits 1 when one of them has something to say.
#	tools/lint/lint.sh [PATH...]	no argument: all that git tracks. clang-tidy takes 3 s of a CPU a file.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
step() {
	local name=$1
	shift
	echo "lint: $name"
	"$@" || { echo "lint: $name FAILED"; bad=1; }
}
mapfile -t c < <(git ls-files -- "$@" | grep '\.c$')
mapfile -t sh < <(git ls-files -- "$@" | xargs awk 'FNR == 1 && /^#!\/bin\/(ba)?sh/ {print FILENAME}')
flags=(-std=gnu17 -D_GNU_SOURCE -DFUSE_USE_VERSION=314 '-DMSB_VERSION="x"' -I.)
# shellcheck disable=SC2207 # words are what pkg-config gives
flags+=($(pkg-config --cflags fuse3 libvirt sqlite3 libxxhash libcrypto libzstd libisal jansson libseccomp))

step layers tools/lint/layers.sh
step format make -s format-check
[ ${#sh[@]} = 0 ] || step shellcheck shellcheck -x "${sh[@]}"
# One suppression a line, each with its reason: tools/lint/cppcheck.suppressions
[ ${#c[@]} = 0 ] || step cppcheck cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --suppressions-list=tools/lint/cppcheck.suppressions \
	--enable=warning,performance,portability -D_GNU_SOURCE -I. -j "$(nproc)" "${c[@]}"
# One file a process: clang-tidy 14 sees uninitialised va_lists in the second file it is given.
# shellcheck disable=SC2317 # step calls it
tidy() {
	printf '%s\n' "${c[@]}" | xargs -P "$(nproc)" -I{} clang-tidy --quiet {} -- -include tools/lint/analyzer.h "${flags[@]}" 2>/dev/null
}
step clang-tidy tidy
exit $bad
