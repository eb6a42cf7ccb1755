# SPDX-License-Identifier: Apache-2.0
# The msb command as it is typed: sandboxes from their making to their end, what is listed, what is shown by -x and
# --dry-run, and the same over ssh.
# shellcheck disable=SC2154,SC2016 # run sets output and status, helper.bash dir, bin, m and repo; guests expand $

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_setup
	export PATH=$bin:$PATH
	"$bin/msbd"
	msb_image
	sandbox dev
	echo start >"$m/dev/ctl"
}

teardown_file() {
	[ ! -f "$dir/sshd.pid" ] || kill "$(cat "$dir/sshd.pid")"
	msb_teardown
}

setup() {
	cd "$dir" || return 1
}

@test "names of states: each verb by its command, many at once, names on stdout, sentences on stderr" {
	sandbox one
	sandbox two
	run --separate-stderr msb start one nobody two
	[ "$status" = 125 ]
	[ "$output" = $'one\ntwo' ]
	[ "$stderr" = "msb: there is no sandbox nobody; \`msb ps -a\` lists them" ]
	[ "$(cat "$m/one/state" "$m/two/state")" = $'running\nrunning' ]
	[ "$(msb pause one)" = one ]
	[ "$(cat "$m/one/state")" = paused ]
	[ -z "$(msb -q unpause one)" ]
	[ "$(cat "$m/one/state")" = running ]
	run msb rm one
	[ "$status" = 125 ]
	[[ $output == "msb: "*running* ]]
	msb stop -t 3 one
	[ "$(cat "$m/one/state" "$m/one/stop_timeout_sec")" = $'stopped\n10' ]
	msb kill two
	[ "$(msb wait one two)" = $'stopped\nstopped' ]
	msb restart one
	[ "$(cat "$m/one/state")" = running ]
	run msb rm -f one two nobody
	[ "$status" = 0 ]
	[ ! -e "$m/one" ]
	[ ! -e "$m/two" ]
	run msb stop ../dev
	[ "$status" = 125 ]
	[[ $output == *"is no name of a sandbox"* ]]
}

@test "wait: yields the state that a machine ended in, and returns at once where there is none" {
	sandbox w
	[ "$(msb wait w)" = created ]
	msb start w
	msb wait w >out 7>&- &
	msb kill w
	wait $!
	[ "$(cat out)" = stopped ]
	msb rm w
}

@test "run: the command's output and exit status; --rm leaves nothing" {
	local before rc
	before=$(msb ps -aq)
	[ "$(msb run --rm -m 128m -e A='x  y' -w /tmp bb sh -c 'echo "$A"; pwd; id -un')" = $'x  y\n/tmp\nroot' ]
	for rc in 0 3 125; do
		run msb run --rm -m 128m bb sh -c "exit $rc"
		[ "$status" = "$rc" ]
	done
	run -127 msb run --rm -m 128m bb nothing-like-this
	run -126 msb run --rm -m 128m bb /etc/passwd
	run msb run --rm -m 128m bb sh -c 'kill -9 $$'
	[ "$status" = 137 ]
	[ "$(echo in | msb run --rm -i -m 128m bb cat)" = in ]
	[ "$(msb ps -aq)" = "$before" ]
}

@test "run: mounts, labels, limits, user, entrypoint; what was made stays without --rm" {
	mkdir -p src/sub
	echo host >src/f
	printf '# a comment\nB=from file\nHOME\n\n' >vars
	[ "$(msb volume create --kind disk --size 32m db)" = db ]
	[ "$(msb run --name web -m 128m -v ./src:/app:ro,audit -v db:/db --tmpfs /mem:size=8m --max-cpus 3 --max-memory 256m -l app=web --ulimit nofile=64:65 \
		--env-file vars --entrypoint sh bb -c 'cat /app/f; touch /app/g || echo ro; echo "$B $HOME"; ulimit -n; touch /mem/x
		grep -c "^/dev/.* /db ext4 rw" /proc/mounts' 2>err)" = \
		"host
ro
from file $HOME
64
1" ]
	grep -q 'Read-only' err
	[ "$(cat "$m/web/state")" = stopped ]
	[ "$(cat "$m/web/mounts")" = "$dir/src /app passthrough ro,audit
volume:db /db disk rw" ]
	[ "$(cat "$m/web/tmpfs")" = '/mem rw,size=8388608' ]
	[ "$(cat "$m/web/max_cpus" "$m/web/max_memory_bytes")" = $'3\n268435456' ]
	[ "$(msb ps -a --filter label=app=web -q)" = web ]
	[ "$(msb ps -a --filter label=app --format '{{.Labels}}')" = app=web ]
	run msb run --name web bb true
	[ "$status" = 125 ]
	[[ $output == 'msb: there is a `web` already' ]]
	msb rm web
}

@test "run --rm: what it has written to a volume is there for the next; -v makes a volume" {
	[ -e "$m/volumes/db" ] || msb volume create --kind disk --size 32m db
	msb run --rm -m 128m -v db:/db -v new:/new bb sh -c 'echo kept >/db/f; echo too >/new/f'
	[ "$(msb run --rm -m 128m -v db:/db:ro -v new:/new:ro bb cat /db/f /new/f)" = $'kept\ntoo' ]
	[ "$(cat "$m/volumes/new/kind")" = dir ]
	[ "$(msb ps -aq)" = dev ]
	msb volume rm db new
}

@test "run -d: the name on stdout, the command is the machine's; create, and its start" {
	local name pid
	name=$(msb run -d -m 128m bb sh -c 'echo up; sleep 2; exit 3')
	[[ $name =~ ^[a-z]+-[a-z]+-[0-9]+$ ]]
	[ "$(msb wait "$name")" = 3 ]
	[ "$(jq -r .data "$m/$name/log")" = $'up\n' ] || [ "$(jq -r .data "$m/$name/log")" = up ]
	[[ $(msb ps -a --filter "name=$name" --format '{{.State}} {{.Status}}') == "failed Exited (3)"* ]]
	[ "$(msb inspect -f status.exit_code "$name")" = 3 ]
	msb rm "$name"
	[ "$(msb create --name later -m 128m --cpus 2 --restart on-failure:3 --stop-timeout 7 --timeout 1h bb sh -c 'exit 0')" = later ]
	[ "$(cat "$m"/later/{state,cpus,restart,stop_timeout_sec,max_duration_sec,init} | tr '\n' ' ')" = \
		"created 2 on-failure:3 7 3600 cmd " ]
	msb start later
	[ "$(msb wait later)" = 0 ]
	msb rm later
	name=$(msb run -d --rm -m 128m bb sh -c 'until [ -e /go ]; do sleep 0.1; done; exit 5')
	[ "$(cat "$m/$name/auto_remove")" = 1 ]
	msb wait "$name" >out 7>&- &
	pid=$!
	until_is 10 yes eval "ls -l /proc/$pid/fd | grep -q '/$name/wait$' && echo yes"
	touch "$m/$name/root/go"
	wait $pid
	[ "$(cat out)" = 5 ]
	[ ! -e "$m/$name" ]
	msb run -d --idle --name still -m 128m bb
	[ "$(msb exec still echo here)" = here ]
	[ "$(cat "$m/still/init")" = msb ]
	msb rm -f still
	run msb run -d -m 128m --name wrong bb nothing-like-this
	[ "$status" = 125 ]
	[[ $output == *nothing-like-this* ]]
	msb rm -f wrong
}

@test "run: what is wrong is refused with a sentence, and leaves nothing" {
	local before
	before=$(msb ps -aq)
	refused() {
		run --separate-stderr msb run --name bad "${@:2}"
		[ "$status" = 125 ] || { echo "$output$stderr"; return 1; }
		[[ $stderr == *"$1"* ]] || { echo "'$stderr', not '$1'"; return 1; }
		[ ! -e "$m/bad" ]
	}
	refused "no network yet" -p 8080:80 bb
	refused "no network yet" --network host bb
	refused "not a terminal" -it bb </dev/null
	run msb exec -it nobody sh </dev/null
	[ "$status" = 125 ]
	[[ $output == *'not a terminal'* ]]
	refused "number from 1 to 64" --cpus 999 bb
	refused "GUEST-PATH" -v /x bb
	refused "NAME or NAME=VALUE" -e =x bb
	refused "cannot read" --env-file nothing bb
	refused "passthrough" --mount type=nothing,src=/a,dst=/b bb
	refused "does not --restart" --rm --restart always bb
	refused "--idle goes with" --idle bb
	refused "no name of a sandbox" --name Bad bb
	refused "IMAGE is missing"
	refused "no option --nothing" --nothing bb
	refused "the nearest is --volume" --volumes bb
	refused "no image nosuch" --pull never nosuch
	[ "$(msb ps -aq)" = "$before" ]
}

@test "run -it: a terminal of this size, signals and end" {
	python3 "$repo/tests/e2e/typed.py" '' '# ' 'stty size; echo "$TERM"\r' '33 99\s*dumb\s*/ # ' 'echo go; sleep 1000\r' '\ngo' \
		'\x03' '# ' 'exit 7\r' 'exit 7' '' 'ended=7' \
		-- sh -c 'stty rows 33 cols 99; msb run -it --rm --name tty -m 128m bb sh; echo ended=$?; sleep 60'
	until_is 20 yes eval "[ -e $m/tty ] || echo yes"
}

@test "run: ^C ends the command, and what was made" {
	python3 "$repo/tests/e2e/typed.py" '' 'up' '\x03' 'ended=130' \
		-- sh -c 'trap : INT; msb run --rm --name int -m 128m bb sh -c "echo up; exec sleep 1000"; echo ended=$?; sleep 60'
	until_is 20 yes eval "[ -e $m/int ] || echo yes"
}

@test "run: ^C while it starts ends it, and takes it away" {
	local pid
	MSB_TEST=1 bash -c 'trap - INT; exec msb run --name gone --rm -m 128m bb sleep 1000' 7>&- &
	pid=$!
	until_is 20 yes eval "[ -e $m/gone ] && echo yes"
	kill -TERM $pid
	wait $pid || [ $? = 130 ] || [ $? = 143 ]
	until_is 20 yes eval "[ -e $m/gone ] || echo yes"
}

@test "run --dry-run: pasted into sh it is the same sandbox" {
	mkdir -p src
	msb --dry-run run -d --name dry -m 128m -e "A=it's \\n" -v ./src:/app -l a=b bb sh -c 'echo "$A"; exec sleep 1000' >lines
	[ ! -e "$m/dry" ]
	bash lines
	[ "$(cat "$m/dry/state")" = running ]
	[ "$(cat "$m/dry/env/A")" = "it's \\n" ]
	until_is 10 "it's \\n" eval "jq -r .data $m/dry/log | head -n 1"
	[ "$(msb inspect -f mounts dry)" = "[\"$dir/src /app passthrough rw\"]" ]
	msb rm -f dry
}

@test "ps: what runs, all, filters, formats" {
	sandbox idle
	[ "$(msb ps -q)" = dev ]
	[ "$(msb ps -aq | sort)" = $'dev\nidle' ]
	[ "$(msb ps | head -n 1 | tr -s ' ')" = "NAME IMAGE STATUS CREATED" ]
	[[ $(msb ps | tail -n 1 | tr -s ' ') == "dev bb Up "* ]]
	[ "$(msb ls -a --format '{{.Name}}\t{{.State}} {{ .image }}' | sort)" = $'dev\trunning bb\nidle\tcreated bb' ]
	[ "$(msb ps -a --filter name=id --format '{{.Names}}')" = idle ]
	[ "$(msb ps --filter status=created --filter status=failed -q)" = idle ]
	[ -z "$(msb ps --filter status=created --filter name=dev -q)" ]
	[ "$(msb ps -a --filter ancestor=bb -q | wc -l)" = 2 ]
	[ "$(msb ps --format json | jq -r '.name + " " + .state + " " + .id')" = "dev running $(cat "$m/dev/id")" ]
	[ "$(msb --format json ps -a | jq -s length)" = 2 ]
	run msb ps --format yaml
	[ "$status" = 125 ]
	run msb ps --format '{{.Nothing}}'
	[ "$status" = 125 ]
	[[ $output == *"no field .Nothing"* ]]
	run msb ps --filter colour=red
	[ "$status" = 125 ]
	msb rm idle
}

@test "ps: no control character that somebody wrote reaches a terminal" {
	sandbox odd
	printf '/x\xc2\x9b31m\n' >"$m/odd/image"
	[[ $(msb ps -a) == *'odd '*' /x\xc2\x9b31m '* ]]
	[ "$(msb ps -a -f name=odd --format '{{.Image}}')" = $'/x\xc2\x9b31m' ]
	rmdir "$m/odd"
}

@test "inspect: all values as JSON, one by its name" {
	echo 'a "b" \ c' >"$m/dev/env/X"
	echo 'none /scratch memory size_bytes=1M' >"$m/dev/mounts"
	msb inspect dev >out
	jq -e '.[0] | .name == "dev" and .state == "running" and .cpus == 1 and .memory_bytes == 134217728
		and .env.X == "a \"b\" \\ c" and .status.restarts == 0 and (.metrics.memory_bytes > 0)
		and (.mounts | length == 1) and .image == "bb"' out
	[ "$(msb inspect -f state dev)" = running ]
	[ "$(msb inspect -f '{{.Status.QemuPid}} {{.Image}}' dev)" = "$(status_of dev qemu_pid) bb" ]
	[ "$(msb inspect -f env dev)" = "$(jq -c '.[0].env' out)" ]
	run --separate-stderr msb inspect dev nobody
	[ "$status" = 125 ]
	jq -e 'length == 1' <<<"$output"
	[[ $stderr == *"no sandbox nobody"* ]]
	run msb inspect -f nothing dev
	[ "$status" = 125 ]
	echo >"$m/dev/mounts"
	echo 'unset X' >"$m/dev/ctl"
}

@test "stats: what runs, and by name; JSON has every metric" {
	[[ $(msb stats --no-stream | tail -n 1) == "dev "* ]]
	msb stats --no-stream --format json dev | jq -e '.name == "dev" and .metrics.memory_bytes > 0 and .cpu_percent >= 0'
	: >out
	env --default-signal=INT "$bin/msb" stats --format json >out 7>&- &
	local pid=$!
	until_is 10 yes eval '[ "$(wc -l <out)" -ge 2 ] && echo yes' # and again, a second later
	kill -INT $pid
	wait $pid || [ $? = 130 ]
	run msb stats --no-stream nobody
	[ "$status" = 125 ]
}

@test "events: those that were, those that come, since when, and of what" {
	sandbox ev
	msb events -f --filter event=removed >out 7>&- &
	local pid=$!
	[ "$(msb events --format json ev | jq -r .event)" = created ]
	[[ $(msb events ev) == *" ev created state=created" ]]
	msb events --since 2020-01-01 ev | grep -q created
	[ -z "$(msb events --since 2100-01-01T00:00 ev)" ]
	[ -n "$(msb events --since 1h ev)" ]
	[ -z "$(msb events --filter event=state ev)" ]
	run msb events --since yesterday
	[ "$status" = 125 ]
	msb rm ev
	until_is 10 "ev removed" eval "sed -n 's/^[^ ]* //p' out | grep '^ev ' | cut -d' ' -f1,2"
	kill $pid
	wait $pid || [ $? = 143 ]
	# whoever listened has gone
	timeout 10 msb events -f | head -n 1
}

@test "-x: each operation as a line of sh on stderr, while it is done" {
	sandbox x
	run --separate-stderr msb -x start x
	[ "$output" = x ]
	[ "$stderr" = "echo 'start' > $m/x/ctl" ]
	run --separate-stderr msb stop -x -t 5 x
	[ "$stderr" = "echo 'stop 5' > $m/x/ctl" ]
	run --separate-stderr msb -xq rm x
	[ "$output$stderr" = "rmdir $m/x" ]
	run --separate-stderr msb -x tag bb other
	[ "$stderr" = "echo 'tag bb other' > $m/images/ctl" ]
	msb rmi other
}

@test "--dry-run: shows the same, and does nothing; pasted into sh it does it" {
	sandbox y
	msb --dry-run start y >lines 2>err
	[ ! -s err ]
	[ "$(cat lines)" = "echo 'start' > $m/y/ctl" ]
	[ "$(cat "$m/y/state")" = created ]
	sh lines
	[ "$(cat "$m/y/state")" = running ]
	msb rm -f y --dry-run | bash
	[ ! -e "$m/y" ]
	msb --dry-run tag bb 'local/z' | dash
	[ -d "$m/images/localhost/local/z:latest" ] || [ -d "$m/images/docker.io/local/z:latest" ]
	msb rmi local/z
	msb --dry-run save bb | bash >bb.tar
	msb --dry-run load again >lines
	bash lines <bb.tar
	[ "$(cut -d" " -f1 "$m/images/again/layers")" = "$(cut -d" " -f1 "$m/images/bb/layers")" ]
	msb rmi again
	[ "$(msb prune --dry-run </dev/null)" = "echo 'prune' > $m/images/ctl" ]
	[ "$(timeout 60 msb --dry-run wait dev)" = \
		"exec 7<$m/dev/status; cat $m/dev/wait; dd bs=64k status=none <&7; exec 7<&-" ]
	msb --dry-run ps | grep -q "^cat $m/dev/status"
}

@test "doctor: what is well, and what is not; version" {
	run msb doctor
	[ "$status" = 0 ]
	[[ $output == *"OK    msbd "*"it serves $m"* ]]
	[[ $output == *"OK    version "* ]]
	[[ $output == *" kvm "* && $output == *" qemu "* && $output == *" libvirt "* && $output == *" disk "* ]]
	[[ $output != *$'\033'* ]]
	msb doctor --format json | jq -e '.level and .check and .text' >out
	run env MSB_QEMU=/nonexistent MSB_SHARE="$dir" MSB_MNT="$dir/none" msb doctor
	[ "$status" = 1 ]
	[[ $output == *"FAIL  msbd "*"starts one"* ]]
	[[ $output == *"FAIL  qemu "*"install qemu-system-x86"* ]]
	[[ $output == *"FAIL  kernel "* ]]
	[ "$(msb version --format json | jq -r '.msb == .msbd')" = true ]
	[ "$(MSB_MNT=$dir/none msb version --format json | jq -r .msbd)" = null ]
}

@test "without msbd: a sentence that says how to start one" {
	local c
	for c in "ps" "start x" "inspect x" "events" "images" "stats" "wait x" "rm x"; do
		# shellcheck disable=SC2086 # words
		run env MSB_MNT="$dir/none" msb $c
		[ "$status" = 125 ]
		[[ $output == "msb: no msbd serves $dir/none; "*"msbd"* ]]
	done
}

@test "the table, --help, completion and the manual have the same commands and options" {
	local c o
	"$repo/tools/msb/msb.1.sh" msb >all
	for c in $(msb --help | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p'); do
		msb __complete "$c" | cut -f1 | grep -qx -- "$c"
		grep -q "^\*msb-$c\*(1)$" all
		msb __page "$c" >page
		[ "$(msb help "$c")" = "$(msb "$c" --help)" ]
		msb "$c" --help | sed -n 's/^  \(-[a-zA-Z],\|   \) \(--[a-z-]*\).*/\2/p' >options
		while read -r o; do
			msb __complete "$c" "$o" | cut -f1 | grep -qx -- "$o" || { echo "$c $o is not completed"; return 1; }
		done <options
		# its page has the same options, and no others
		sed -n '/^# OPTIONS/,/^# EXIT/s/^\(\*-[a-zA-Z]\*, \|\)\*\(--[a-z-]*\)\*.*/\2/p' page | diff options -
		msb "$c" --help | sed '1,/^Examples:/d;s/^ *//;s/^# //' >examples
		[ -s examples ]
		while read -r o; do
			grep -qF -- "${o%%[\`_*]*}" page || { echo "$c: an example is not in the manual: $o"; return 1; }
		done <examples
		# and none is completed that --help has not, but those of msb itself
		msb __complete "$c" -- | cut -f1 | sort >completed
		msb --help | sed -n 's/^  \(-[a-zA-Z],\|   \) \(--[a-z-]*\).*/\2/p' | sort - options | comm -13 - completed >extra
		[ ! -s extra ] || { cat extra; return 1; }
	done
}

@test "help of what is no command names the nearest" {
	run msb help inspetc
	[ "$status" = 125 ]
	[ "$output" = "msb: \`inspetc\` is not a command; the nearest is \`inspect\`, and \`msb --help\` lists them" ]
	[[ $(msb help ls) == "usage: msb ps "* ]]
}

@test "completion: commands, options, their values, sandboxes and images from the mount" {
	[ "$(msb __complete sto)" = $'stop\tStop sandboxes in order' ]
	[ "$(msb __complete stop d)" = $'dev\trunning' ]
	[ "$(msb __complete -q stop -t '')" = "" ]
	[ "$(msb __complete ps --format '')" = $'table\njson' ]
	[ "$(msb __complete ps --format=j)" = "--format=json" ]
	[ "$(msb __complete rmi b)" = bb ]
	[ "$(msb __complete rmi localhost/)" = localhost/bb:latest ]
	[ "$(msb __complete save -o '')" = :file ]
	[ -z "$(msb __complete nothing '')" ]
	[ -z "$(MSB_MNT=$dir/none msb __complete stop '')" ]
	run msb completion csh
	[ "$status" = 125 ]
}

@test "completion in bash, zsh and fish" {
	msb completion bash >comp.bash
	shellcheck -s bash comp.bash || [ $? = 127 ]
	python3 "$repo/tests/e2e/typed.py" '. ./comp.bash\r' '> $' 'msb insp\t-f stat' 'inspect' 'e d\t\r' 'running' \
		'msb ps --format=j\t\r' '"name":"dev"' 'msb images localhost/bb:l\t\r' 'images localhost/bb:latest ' \
		-- bash --norc -i
	if type -P zsh >/dev/null; then
		msb completion zsh >comp.zsh
		python3 "$repo/tests/e2e/typed.py" 'autoload -U compinit; compinit -u -D; . ./comp.zsh; PS1="> "\r' '> .{0,9}$' \
			'msb insp\t-f state d\t\r' 'running' 'msb ps --format=j\t\r' '"name":"dev"' \
			-- zsh -f -i
	fi
	if type -P fish >/dev/null; then
		msb completion fish >comp.fish
		[ "$(HOME=$dir fish -c '. ./comp.fish; complete -C "msb stop d"')" = $'dev\trunning' ]
		[ "$(HOME=$dir fish -c '. ./comp.fish; complete -C "msb ps --format=j"')" = "--format=json" ]
		[ "$(HOME=$dir fish -c '. ./comp.fish; complete -C "msb insp"' | cut -f1)" = inspect ]
	fi
}

@test "-H ssh://: the same msb there; words, standard input and exit status go through" {
	type -P sshd >/dev/null || skip "no sshd"
	ssh-keygen -q -t ed25519 -N '' -f "$dir/host"
	ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
	cp "$dir/key.pub" "$dir/authorized"
	local port sshd
	sshd=$(type -P sshd)
	cat >"$dir/sshd_config" <<-END
		ListenAddress 127.0.0.1
		HostKey $dir/host
		AuthorizedKeysFile $dir/authorized
		PidFile $dir/sshd.pid
		StrictModes no
		UsePAM no
		PermitRootLogin yes
		SetEnv MSB_MNT=$m MSB_STATE=$MSB_STATE PATH=$PATH
	END
	[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
	until # a port that nobody else has
		port=$((20000 + RANDOM % 10000))
		"$sshd" -f "$dir/sshd_config" -p $port -E "$dir/sshd.log" 7>&-
	do
		grep -q 'Address already in use' "$dir/sshd.log"
	done
	printf 'StrictHostKeyChecking accept-new\nUserKnownHostsFile %s/known\nIdentityFile %s/key\nIdentitiesOnly yes\n' \
		"$dir" "$dir" >"$dir/ssh_config"
	mkdir -p "$dir/wrap"
	printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$(type -P ssh)" "$dir/ssh_config" >"$dir/wrap/ssh"
	chmod 0755 "$dir/wrap/ssh"
	local PATH=$dir/wrap:$PATH url
	url=ssh://$(id -un)@127.0.0.1:$port
	until_is 10 yes eval "(: </dev/tcp/127.0.0.1/$port) 2>/dev/null && echo yes"
	[ "$(msb -H "$url" ps -q)" = dev ]
	[ "$(msb -H "$url" --format json ps | jq -r .name)" = dev ]
	[ "$(msb -H "$url" ps --format "it's {{.Name}}; \$HOME")" = "it's dev; \$HOME" ]
	run msb -H "$url" start nobody
	[ "$status" = 125 ]
	[[ $output == *"no sandbox nobody"* ]]
	[ "$(echo in | msb -H "$url" exec -i dev cat)" = in ]
	run msb -H "$url" exec dev sh -c 'echo "$1"; exit 9' - 'a  b'
	[ "$status" = 9 ]
	[ "$output" = 'a  b' ]
	python3 "$repo/tests/e2e/typed.py" '' '# ' 'tty; stty size\r' '33 99' 'exit 5\r' 'ended=5' 		-- sh -c "stty rows 33 cols 99; msb -H '$url' exec -it dev sh; echo ended=\$?; sleep 60"
	msb -H "$url" --dry-run stop dev | grep -q "echo 'stop' > $m/dev/ctl"
	[ "$(cat "$m/dev/state")" = running ]
	run msb ps -H "$url"
	[ "$status" = 125 ]
	[[ $output == *"comes before the command"* ]]
	run msb -H ssh://-oProxyCommand=x ps
	[ "$status" = 125 ]
}
