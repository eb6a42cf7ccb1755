# SPDX-License-Identifier: Apache-2.0
# Health checks: a guest that is well, is not, hangs, stands still, and whose msbd is killed.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_dev
	echo 1 >"$m/dev/healthcheck_interval_sec"
}

teardown_file() {
	msb_teardown
}

setup() {
	cd "$m/dev"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 20 "$m/dev/health_output" "$m/dev/events" "$m/log"
}

msb() {
	"$bin/msb" "$@"
}

# check LINE: what is run from now on
check() {
	jq -nc --arg l "$1" '["CMD-SHELL", $l]' >healthcheck
}

# last KEY: of the last check that has ended
last() { tail -n 1 health_output | jq -r ".$1"; }

checks() { cat metrics/health_checks; }

# more: one more check has ended
more() {
	local n
	n=$(checks)
	until_is 20 yes eval "[ \$(checks) -gt $n ] && echo yes"
}

# sleepers: processes of a check that hangs
sleepers() {
	guest dev 'for p in /proc/[0-9]*; do tr "\0" " " <$p/cmdline; echo; done 2>/dev/null | grep -c "^sleep 1234"' || true
}

@test "values: what they take, and what they say of the rest" {
	[ "$(cat health)" = none ]
	[ -z "$(cat healthcheck healthcheck_retries healthcheck_timeout_sec healthcheck_start_period_sec | tr -d '\n')" ]
	fails 'Invalid argument' 'healthcheck is ["CMD"' error 'echo true >healthcheck'
	fails 'Invalid argument' 'first word is CMD' error "echo '[\"true\"]' >healthcheck"
	fails 'range' 'healthcheck_interval_sec is a number from 1 to 86400' error 'echo 0 >healthcheck_interval_sec'
	fails 'range' 'healthcheck_retries is a number from 1 to 1000' error 'echo 1001 >healthcheck_retries'
	[ "$(cat health)" = none ]
}

@test "a check on a running machine: as its user, none of its jobs, not in its log" {
	before=$(cat jobs/clone)
	size=$(stat -c %s log)
	echo nobody >user
	echo 1000 >healthcheck_retries # it may fail for a while
	check 'id -un; test -e /tmp/well'
	[ "$(cat health)" = starting ]
	until_is 20 1 last exit_code
	[ "$(last output)" = nobody ]
	[[ $(msb ps --format '{{.Status}}') == "Up "*" (health: starting)" ]]
	echo >user
	echo 'touch /tmp/well' >exec
	[ "$(msb wait --healthy dev)" = healthy ]
	[ "$(status_of dev health)" = healthy ]
	[[ $(msb ps --filter name=dev --format '{{.Status}} {{.Health}}') == "Up "*" (healthy) healthy" ]]
	msb inspect dev | jq -e '.[0] | .healthcheck[0] == "CMD-SHELL" and .health == "healthy" and .health_output[-1].exit_code == 0'
	grep -q '"event":"health","old":"starting","new":"healthy"' events
	# The one command above had a number, and wrote nothing.
	[ "$(ls jobs)" = clone ]
	[ "$(cat jobs/clone)" = $((before + 2)) ]
	[ "$(stat -c %s log)" = "$size" ]
	[ "$(cat metrics/jobs_running)" = 0 ]
	grep -q "^msb_sandbox_health{sandbox=\"dev\",health=\"healthy\"} 1" "$m/metrics"
	echo >healthcheck_retries
}

@test "retries: so many failures in a row; who polls is woken; wait --healthy says it" {
	echo 2 >healthcheck_retries
	python3 - "$dir/polls" <<-'END' &
		import select, sys
		f = open("health")
		p = select.poll()
		p.register(f, select.POLLPRI)
		assert f.read() == "healthy\n"
		open(sys.argv[1], "w").close()
		assert p.poll(100000)
		f.seek(0)
		assert f.read() == "unhealthy\n"
	END
	poller=$!
	until_is 10 yes eval "[ -e $dir/polls ] && echo yes"
	echo 'rm /tmp/well' >exec
	until_is 20 unhealthy cat health
	wait $poller
	[ "$(status_of dev health_failing)" -ge 2 ]
	run msb wait --healthy dev
	[ "$status" = 125 ]
	[[ $output == *"dev is unhealthy"* ]]
	[ "$(msb ps -q --filter health=unhealthy)" = dev ]
	echo 'touch /tmp/well' >exec
	until_is 20 healthy cat health
	echo >healthcheck_retries
}

@test "a check that takes too long is killed with all it has started, and they do not pile up" {
	echo 3 >healthcheck_timeout_sec # in which a slow guest prints
	check 'trap "" TERM HUP; echo hangs; sleep 1234 & sleep 1234; echo never'
	until_is 20 timeout last reason
	[ "$(last exit_code)" = 124 ]
	[ "$(last output)" = hangs ]
	[[ $(last error) == "it ran longer than 3 s" ]]
	until_is 30 unhealthy cat health
	until_is 20 yes eval '[ "$(sleepers)" -le 2 ] && echo yes'
	check true # the one under way is let go, with what it has started
	until_is 20 0 sleepers
	until_is 20 healthy cat health
	echo >healthcheck_timeout_sec
}

@test "pause: none begins, and the one under way says nothing" {
	check 'touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done'
	until_is 20 yes guest dev '[ -e /tmp/begun ] && echo yes'
	echo pause >ctl
	n=$(checks)
	sleep 2
	[ "$(cat health)" = starting ]
	[ "$(checks)" = "$n" ]
	echo resume >ctl
	echo 'touch /tmp/go' >exec
	until_is 30 healthy cat health
	[ "$(cat metrics/health_failures)" -ge 1 ] # of the tests before; none came of this
	[ "$(last exit_code)" = 0 ]
}

@test "msbd killed: what was known stays known, and the checks go on" {
	check 'test -e /tmp/well'
	until_is 20 healthy cat health
	echo 3600 >healthcheck_interval_sec # for a look before the next one
	cd /
	msbd_killed
	cd "$m/dev"
	[ "$(cat health)" = healthy ]
	[ "$(checks)" = 0 ]
	echo 1 >healthcheck_interval_sec
	more
	[ "$(cat health)" = healthy ]
	echo 'rm /tmp/well' >exec
	until_is 20 unhealthy cat health
	cd /
	msbd_killed
	cd "$m/dev"
	[ "$(cat health)" = unhealthy ]
	more
	[ "$(cat health)" = unhealthy ]
	echo 'touch /tmp/well' >exec
	until_is 20 healthy cat health
}

@test "idle_timeout_sec: checks are nobody's activity; without a machine there is no health" {
	check true
	until_is 20 healthy cat health
	echo 2 >idle_timeout_sec
	until_is 30 stopped cat state
	[ "$(cat health)" = none ]
	[ "$(last exit_code)" = 0 ]
	echo 0 >idle_timeout_sec
	run msb wait --healthy dev
	[[ $output == *"dev is stopped"* ]]
	tail -n 3 events | grep -q '"event":"health","old":"healthy","new":"none"'
}

@test "an image's check, its numbers, and a start period; a new msbd knows it; options of msb create" {
	"$BATS_TEST_DIRNAME/mkconfig.py" "$repo/build/images/busybox" "$dir/layout" '{"Healthcheck": {
		"Test": ["CMD", "cat", "/tmp/well"], "Interval": 3600000000000, "Retries": 1, "StartPeriod": 3600000000000, "StartInterval": 1000000000}}'
	echo "import $dir/layout checked" >"$m/images/ctl"
	[ "$(msb create --name own -m 128m --health-cmd 'exit 0' --health-interval 2s --health-timeout 1m \
		--health-retries 4 --health-start-period 0 --health-start-interval 3s checked)" = own ]
	[ "$(cat "$m"/own/{healthcheck,healthcheck_{interval,timeout,start_period,start_interval}_sec,healthcheck_retries} | tr '\n' ' ')" = \
		'["CMD-SHELL","exit 0"] 2 60 0 3 4 ' ]
	run msb create --no-healthcheck --health-retries 3 checked
	[ "$status" = 125 ]
	[[ $output == *"--no-healthcheck is without a check"* ]]
	msb rm own
	[ "$(msb create --name img -m 128m --no-healthcheck --idle checked)" = img ]
	cd "$m/img"
	[ "$(cat healthcheck)" = '["NONE"]' ]
	echo start >ctl
	[ "$(cat health)" = none ]
	run msb wait --healthy img
	[[ $output == *"img has no health check"* ]]
	echo >healthcheck
	until_is 20 1 last exit_code
	[[ $(last output) == *"/tmp/well"* ]]
	more
	[ "$(cat health)" = starting ] # its period is an hour
	[ "$(status_of img health_failing)" = 0 ]
	msbd_killed
	cd "$m/img"
	more
	[ "$(cat health)" = starting ]
	echo 'touch /tmp/well' >exec
	until_is 20 healthy cat health
	echo kill >ctl
	cd /
	msb rm img
}
