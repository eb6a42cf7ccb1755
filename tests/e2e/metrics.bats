# SPDX-License-Identifier: Apache-2.0
# Figures: of one sandbox a file each, of all in OpenMetrics, and what is said where one does not answer.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	sandbox a
	echo start >"$m/a/ctl"
	mkdir "$m/idle"
}

teardown_file() {
	msb_teardown
}

v() { cat "$m/a/metrics/$1"; }

# scrape: the text of all sandboxes, checked by the strict parser
scrape() {
	cat "$m/metrics" >"$dir/text"
	/usr/bin/python3 - "$dir/text" <<-'P'
		import sys
		from prometheus_client.openmetrics import parser
		families = list(parser.text_string_to_metric_families(open(sys.argv[1]).read()))
		assert len(families) > 15, families
		for f in families:
		    assert f.documentation, f
	P
}

# sample NAME: the value of one line of the text
sample() {
	grep -F "$1 " "$dir/text" | sed 's/.* //'
}

@test "without a machine everything is 0" {
	for f in "$m"/idle/metrics/*; do
		case $f in
		*/disk_used_bytes) [ "$(cat "$f")" -lt 100000 ] ;;
		*/fs_latency) awk '{ if ($2 != "count=0" || $3 != "sum_usec=0" || $NF != "le_inf=0") exit 1 } END { if (NR != 9) exit 1 }' "$f" ;;
		*) [ "$(cat "$f")" = 0 ] || { echo "$f: $(cat "$f")"; false; } ;;
		esac
	done
}

@test "a machine's figures go up with what is done" {
	used=$(v cpu_usec) user=$(v guest_cpu_user_usec) wrote=$(v fs_written_bytes) ops=$(v fs_ops) jobs=$(v jobs_total)
	[ "$used" -gt 0 ] && [ "$(v memory_bytes)" -gt 10000000 ] && [ "$(v fsd_memory_bytes)" -gt 1000000 ]
	[ "$(v memory_limit_bytes)" = 134217728 ]
	[ "$(v guest_memory_total_bytes)" -lt 134217728 ] && [ "$(v guest_memory_available_bytes)" -lt "$(v guest_memory_total_bytes)" ]
	guest a 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 300000 /dev/zero >/f; sync'
	[ "$(v cpu_usec)" -gt "$used" ]
	[ "$(v guest_cpu_user_usec)" -gt "$user" ]
	[ "$(v fs_written_bytes)" -ge $((wrote + 300000)) ]
	[ "$(v fs_ops)" -gt "$ops" ]
	[ "$(v jobs_total)" = $((jobs + 1)) ]
	read=$(v fs_read_bytes)
	guest a 'echo 3 >/proc/sys/vm/drop_caches; cat /f | wc -c'
	[ "$(v fs_read_bytes)" -ge $((read + 300000)) ]
	errors=$(v fs_errors)
	guest a 'cat /no-such-file 2>/dev/null; true'
	[ "$(v fs_errors)" -gt "$errors" ]
}

@test "what a sandbox takes of the disk" {
	before=$(v disk_used_bytes)
	guest a 'head -c 2000000 /dev/zero | tr "\000" x >/big; sync'
	[ "$(v disk_used_bytes)" -ge $((before + 2000000)) ]
	guest a 'rm /big; sync'
	[ "$(v disk_used_bytes)" -lt $((before + 2000000)) ]
}

@test "the latency table: cumulative, in powers of two, and as many as there were requests" {
	cat "$m/a/metrics/fs_latency" >"$dir/table"
	awk '{ last = 0
		for (i = 4; i <= NF; i++) { split($i, kv, "="); if (kv[2] < last) exit 1; last = kv[2] }
		split($2, n, "="); if (n[2] != last || NF != 25) exit 1; sum += last
		if ($1 == "write" && last == 0) exit 1 }
		END { print sum > "/dev/stderr"; if (NR != 9 || sum == 0) exit 1 }' "$dir/table"
	grep -q '^read .* le_1=.* le_2=.* le_1048576=.* le_inf=' "$dir/table"
}

@test "jobs that run are counted while they do" {
	[ "$(v jobs_running)" = 0 ]
	exec 8<>"$m/a/exec"
	echo 'read x' >&8
	[ "$(v jobs_running)" = 1 ]
	exec 8>&-
	until_is 20 0 v jobs_running
}

@test "OpenMetrics, as the strict parser and Prometheus itself read it" {
	scrape
	[ "$(tail -n 1 "$dir/text")" = '# EOF' ]
	[ "$(sample 'msb_sandbox_state{sandbox="a",state="running"}')" = 1 ]
	[ "$(sample 'msb_sandbox_state{sandbox="idle",state="created"}')" = 1 ]
	[ "$(sample 'msb_sandbox_memory_limit_bytes{sandbox="a"}')" = 134217728 ]
	grep -q '^msb_sandbox_cpu_seconds_total{sandbox="a",process="machine"} [0-9]*\.[0-9]\{6\}$' "$dir/text"
	run ! grep -q 'sandbox="idle".*process=' "$dir/text"
	# Prometheus' older text format names a counter's family by its samples: that is all promtool misses
	promtool check metrics <"$dir/text" >"$dir/lint" 2>&1 || [ $? = 3 ]
	run ! grep -v '_total no help text$' "$dir/lint"
	awk '/^# TYPE .* counter$/ { c[$3] = 1 } { t[NR] = $0 } END {
		for (i = 1; i <= NR; i++) { split(t[i], w, " "); if (w[1] == "#" && c[w[3]]) sub(w[3], w[3] "_total", t[i]); print t[i] } }' \
		"$dir/text" >"$dir/older"
	run -0 promtool check metrics <"$dir/older"
	[ -z "$output" ]
}

@test "a helper that hangs takes its own figures away, and nobody else's" {
	kill -STOP "$(status_of a agent_pid)"
	fails 'timed out' 'the guest did not answer in 1000 ms' "$m/a/error" "cat $m/a/metrics/guest_oom_kills"
	scrape
	kill -CONT "$(status_of a agent_pid)"
	[ "$(sample 'msb_sandbox_figures_missing{sandbox="a",source="guest",errno="ETIMEDOUT"}')" = 1 ]
	run ! grep -q 'guest_cpu_seconds_total{sandbox="a"' "$dir/text"
	grep -q 'fs_written_bytes_total{sandbox="a"}' "$dir/text"
	kill -STOP "$(status_of a fsd_pid)"
	fails 'timed out' 'its file server did not answer' "$m/a/error" "cat $m/a/metrics/fs_ops"
	for i in 1 2 3 4 5 6 7 8; do cat "$m/metrics" >"$dir/t$i" & done
	wait
	kill -CONT "$(status_of a fsd_pid)"
	for i in 1 2 3 4 5 6 7 8; do
		grep -q 'source="file_server",errno="ETIMEDOUT"' "$dir/t$i"
		[ "$(tail -n 1 "$dir/t$i")" = '# EOF' ]
	done
	until_is 10 none eval "scrape; grep -q '^msb_sandbox_figures_missing{' '$dir/text' || echo none"
	[ "$(guest a 'echo alive')" = alive ]
}

@test "a guest that stands still is not asked" {
	echo pause >"$m/a/ctl"
	fails 'busy' 'cannot be asked while a is paused' "$m/a/error" "cat $m/a/metrics/guest_oom_kills"
	[ "$(v fs_ops)" -gt 0 ]
	scrape
	[ "$(sample 'msb_sandbox_figures_missing{sandbox="a",source="guest",errno="EBUSY"}')" = 1 ]
	echo resume >"$m/a/ctl"
	[ "$(v guest_oom_kills)" = 0 ]
}

@test "each sees their own sandboxes, the one who runs msbd sees all" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir "$m/theirs"
	chown 1234:1234 "$m/theirs"
	setpriv --reuid 1234 --regid 1234 --clear-groups cat "$m/metrics" >"$dir/theirs"
	[ "$(grep -c '^msb_sandbox_state{' "$dir/theirs")" = 1 ]
	grep -q '^msb_sandbox_state{sandbox="theirs",state="created"} 1$' "$dir/theirs"
	[ "$(tail -n 1 "$dir/theirs")" = '# EOF' ]
	scrape
	[ "$(grep -c '^msb_sandbox_state{' "$dir/text")" = 3 ]
	rmdir "$m/theirs"
}

@test "a new msbd goes on with what the processes counted" {
	ops=$(v fs_ops)
	msbd_killed
	[ "$(v fs_ops)" -ge "$ops" ]
	[ "$(v guest_memory_total_bytes)" -gt 0 ]
	scrape
}
