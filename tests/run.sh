#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests named by group and prints one closing line: N passed, N failed[, N skipped].
#	tests/run.sh [unit] [asan] [tsan] [fuzz] [e2e]	no argument: all but tsan
# Every test speaks TAP; a program that ends badly without a "not ok" is one failure. With CI set, a skip in
# a group listed in tests/required is a failure too. FUZZ_SECONDS (5) is the time of each fuzz target.
set -u
cd "$(dirname "$0")/.." || exit 1

groups=${*:-unit asan fuzz e2e}
out=build/test-results
rm -rf "$out"
mkdir -p "$out"
jobs=$(nproc)

# run NAME SECONDS COMMAND...: the TAP of one program, and how it ended, into $out
run() {
	local name=$1 seconds=$2 start rc
	shift 2
	start=$(date +%s)
	timeout -k 10 "$seconds" "$@" >"$out/$name.tap" 2>"$out/$name.err" </dev/null
	rc=$?
	echo "$rc" >"$out/$name.rc"
	printf '%-40s %3ss %s\n' "$name" "$(($(date +%s) - start))" "$([ $rc = 0 ] && echo ok || echo "exit $rc")"
}
export -f run
export out

# fuzz NAME PROGRAM: the corpus, then new inputs for a while; a crash is left beside the log
fuzz() {
	local corpus=tests/fuzz/corpus/${1#fuzz_} work=$out/corpus-$1
	mkdir -p "$work" "$corpus"
	if "$2" -max_total_time="${FUZZ_SECONDS:-5}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$out/$1-" "$work" "$corpus" 2>&1; then
		echo "ok 1 - $1"
	else
		echo "not ok 1 - $1"
	fi
	rm -rf "$work"
}
export -f fuzz

programs() {
	find "$1" -maxdepth 1 -type f -perm -u+x -name "$2" | sort
}

# shellcheck disable=SC2016 # bash -c expands what xargs puts in
for g in $groups; do
	echo "== $g"
	case $g in
	unit) programs build/test 'test_*' |
		CMOCKA_MESSAGE_OUTPUT=TAP xargs -P "$jobs" -I{} bash -c 'run "unit-$(basename {})" 300 {}' ;;
	asan) programs build/asan/test 'test_*' |
		CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
			xargs -P "$jobs" -I{} bash -c 'run "asan-$(basename {})" 600 {}' ;;
	tsan) programs build/tsan/test 'test_*' |
		CMOCKA_MESSAGE_OUTPUT=TAP xargs -P "$jobs" -I{} bash -c 'run "tsan-$(basename {})" 600 {}' ;;
	fuzz) programs build/fuzz/fuzz 'fuzz_*' |
		xargs -P "$jobs" -I{} bash -c 'n=$(basename {}); run "fuzz-$n" $((${FUZZ_SECONDS:-5} + 300)) bash -c "fuzz $n {}"' ;;
	e2e) printf '%s\n' tests/e2e/*.bats |
		xargs -P "$jobs" -I{} bash -c 'run "e2e-$(basename {} .bats)" 1200 bats --tap {}' ;;
	*) echo "run.sh: no group '$g'" >&2; exit 2 ;;
	esac
done

passed=0 failed=0 skipped=0
for g in $groups; do
	compgen -G "$out/$g-*.tap" >/dev/null || { echo "group '$g' has no tests: was it built?"; failed=1; }
done
for tap in "$out"/*.tap; do
	name=$(basename "$tap" .tap)
	rc=$(cat "$out/$name.rc" 2>/dev/null || echo 1)
	s=$(grep -ciE '^ok [0-9]+.*# skip' "$tap")
	p=$(($(grep -cE '^ok [0-9]+' "$tap") - s))
	f=$(grep -cE '^not ok [0-9]+' "$tap")
	if [ "$rc" != 0 ] && [ "$f" = 0 ]; then
		f=1
	elif [ $((p + f + s)) = 0 ]; then
		f=1 # a program that says nothing has tested nothing
	fi
	if [ "$s" -gt 0 ] && [ -n "${CI:-}" ] && grep -qx "${name%%-*}" tests/required; then
		echo "required group '${name%%-*}' skipped:"; grep -iE '^ok [0-9]+.*# skip' "$tap"
		f=$((f + s))
		s=0
	fi
	if [ "$f" -gt 0 ]; then
		printf '\n--- %s (exit %s)\n' "$name" "$rc"
		grep -A30 -E '^not ok' "$tap" | head -n 120
		tail -n 40 "$out/$name.err"
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo
if [ $skipped -gt 0 ]; then
	grep -hiE '^ok [0-9]+.*# skip' "$out"/*.tap
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ $failed = 0 ] && [ $passed -gt 0 ]
