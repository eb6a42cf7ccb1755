# SPDX-License-Identifier: Apache-2.0
# msb cp, logs, volume: files both ways with a guest that means harm, what was printed, volumes.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	msb_dev
	mkdir "$dir/t"
}

teardown_file() {
	msb_teardown
}

setup() {
	msb=$bin/msb
	mkdir -p "$dir/t"
	cd "$dir/t" || return
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || tail -n 5 "$m/dev/console" "$m/log"
	cd / && rm -rf "$dir/t"
}

tree() { # a tree of all kinds in $1
	mkdir -p "$1/d/e"
	echo text >"$1/file"
	printf '#!/bin/sh\necho ran\n' >"$1/d/run"
	chmod 0751 "$1/d/run"
	chmod 2750 "$1/d/e"
	ln -s ../file "$1/d/link"
	ln -s /nowhere "$1/dangling"
	mkfifo "$1/d/pipe"
	truncate -s 3M "$1/d/e/holes"
	printf end >>"$1/d/e/holes"
	: >"$1/ü name with spaces
and a line"
	touch -d '2001-02-03T04:05:06.789 UTC' "$1/file" "$1/d/run" "$1/d/e"
}

# what a tree is, but for its directory's own time
listing() { (cd "$1" && find . -mindepth 1 -printf '%p %y %m %s %l\n' | sort && find . -type f -printf '%p %T@\n' | sort && find . -type f -exec sha256sum {} + | sort); }

@test "there and back: contents, modes, times, links, holes; running and stopped" {
	tree a
	"$msb" cp a dev:/copy
	[ "$(guest dev 'cat /copy/file; /copy/d/run; readlink /copy/d/link; stat -c %a /copy/d/run')" = $'text\nran\n../file\n751' ]
	"$msb" cp dev:/copy b
	diff <(listing a | sed 's/ 2750 / 750 /') <(listing b)
	[ "$(stat -c %b b/d/e/holes)" -lt 64 ]
	"$msb" cp -a dev:/copy c
	diff <(listing a) <(listing c)
	# into a directory that is there, by its own name; its contents with /.
	mkdir into
	"$msb" cp dev:/copy/d into
	[ -x into/d/run ]
	"$msb" cp dev:/copy/d/. into
	[ -x into/run ]
	"$msb" cp dev:/copy/file into/
	[ "$(cat into/file)" = text ]
	"$msb" cp a/file dev:/copy/d/new-name
	[ "$(guest dev 'cat /copy/d/new-name')" = text ]
	run -125 "$msb" cp a/file dev:/no/such/place
	[[ $output == *'No such file'* ]]
	run -125 "$msb" cp a/file dev:/copy/file/
	run -125 "$msb" cp dev:/none here
	run -125 "$msb" cp nobody:/x here
	[[ $output == *'no sandbox nobody'* ]]
	run -125 "$msb" cp a b
	[[ $output == *'neither'* ]]
	# over what is there: a file is replaced, a link to one followed, a device written
	echo old >over
	ln -s over via
	"$msb" cp dev:/copy/file via
	[ "$(cat over)" = text ]
	[ -L via ]
	"$msb" cp dev:/copy/file /dev/null
	[ -c /dev/null ]
	# one that does not run
	sandbox still
	"$msb" cp a still:/in
	"$msb" cp still:/in out
	diff <(listing a | sed 's/ 2750 / 750 /') <(listing out)
	"$msb" cp still:/in dev:/from-still
	[ "$(guest dev 'cat /from-still/file')" = text ]
	"$msb" cp still:/ whole
	[ -L whole/bin/sh ] || [ -e whole/bin/sh ]
	rmdir "$m/still"
}

@test "archives, from stdin and to stdout" {
	tree a
	rm a/d/pipe
	mkdir -p "a/$(printf 'long%.0s' $(seq 40))/$(printf 'name%.0s' $(seq 40))"
	tar c a | "$msb" cp - dev:/
	"$msb" cp dev:/a - >out.tar
	mkdir x
	tar x -C x -f out.tar
	diff <(listing a | sed 's/\.[0-9]*$//') <(listing x/a | sed 's/\.[0-9]*$//')
	tar c -C a . | (cd x && mkdir y && "$msb" cp - dev:/a/d)
	[ "$(guest dev 'cat /a/d/file')" = text ]
	"$msb" cp dev:/a/. - | tar t | grep -qx file
	run -125 bash -c "head -c 5000 /dev/urandom | '$msb' cp - dev:/"
	run -125 bash -c "tar c a | head -c 3000 | '$msb' cp - dev:/"
	run -125 bash -c "tar c a | '$msb' cp - dev:/none"
	# the root's own entry after something that is left out
	python3 - >odd.tar <<-'PY'
	import sys, tarfile
	t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
	for name, kind in ("gadget", tarfile.CHRTYPE), ("./", tarfile.DIRTYPE):
	    i = tarfile.TarInfo(name)
	    i.type = kind
	    t.addfile(i)
	t.close()
	PY
	run -125 "$msb" cp - dev:/ <odd.tar
	[[ $output == *'left out /gadget: it is a device' ]]
	[ "$(guest dev '[ ! -e /gadget ] && echo none')" = none ]
	run -125 bash -c "tar c -P --transform 's,^,../,' a/file | '$msb' cp - dev:/a"
	[[ $output == *'goes up'* ]]
	# a way that is a link in the sandbox is followed inside of it
	guest dev 'rm -rf /a; mkdir /real; ln -s /real /a'
	tar c a/file | "$msb" cp - dev:/
	[ "$(guest dev 'cat /real/file')" = text ]
	# hard links
	ln a/file a/second
	tar c a | "$msb" cp - dev:/real
	[ "$(guest dev 'stat -c %h /real/a/second')" = 2 ]
}

@test "links of the guest lead nowhere on the host" {
	echo secret >"$dir/secret"
	mkdir "$dir/hostdir"
	guest dev "mkdir -p /evil $dir; ln -s $dir/secret /evil/abs; ln -s ../../../../../../../../../$dir/secret /evil/up; ln -s $dir/hostdir /evil/dir; ln -s /proc/self/root/$dir/secret /evil/magic; ln -s abs /evil/chain; mkfifo /evil/pipe; mknod /evil/null c 1 3; ln -s /dev/null /evil/dev"
	for l in abs up magic chain; do
		# a link is copied as one, and where it is to be followed it stays inside
		"$msb" cp dev:/evil/$l got
		[ -L got ]
		rm got
		run -125 "$msb" cp -L dev:/evil/$l got
		[ ! -e got ]
	done
	run -125 "$msb" cp dev:/evil/dir/x got
	# writing: through a link to a file, through one to a directory
	echo mine >mine
	run "$msb" cp mine dev:/evil/abs
	[ "$(cat "$dir/secret")" = secret ]
	run "$msb" cp mine dev:/evil/dir/planted
	[ ! -e "$dir/hostdir/planted" ]
	run "$msb" cp mine dev:/evil/up
	[ "$(cat "$dir/secret")" = secret ]
	tar c mine | (run "$msb" cp - dev:/evil/dir)
	[ ! -e "$dir/hostdir/mine" ]
	# the whole of it: links as links, what is no file left out and said
	run -125 --separate-stderr "$msb" cp dev:/evil all
	[[ $stderr == *'left out'*'null'*'device'* ]]
	[ -L all/magic ]
	[ -p all/pipe ]
	# a host's directory that holds a link is not gone through either
	mkdir host
	ln -s "$dir/hostdir" host/evil
	guest dev 'mkdir -p /evil2/evil; echo x >/evil2/evil/planted'
	run -125 "$msb" cp dev:/evil2/. host
	[ ! -e "$dir/hostdir/planted" ]
	run -0 timeout 120 "$msb" cp -L dev:/evil/pipe got
	[ -p got ] # nobody waits for who writes it
	[ ! -s "$dir/hostdir" ] || [ -z "$(ls "$dir/hostdir")" ]
}

@test "names that move while they are read: never out of the root" {
	echo secret >"$dir/secret"
	chmod 0600 "$dir/secret"
	guest dev "mkdir -p /race/d; echo inside >/race/d/secret" >/dev/null
	exec 7<>"$m/dev/exec"
	echo "cd /race; ln -s $dir l; while :; do mv d e; mv l d; mv d l; mv e d; done 2>/dev/null" >&7
	for i in $(seq 60); do
		"$msb" cp dev:/race/d/secret got 2>/dev/null || true
		! grep -q '^secret' got 2>/dev/null || { echo "the ${i}th read the host's"; false; }
		rm -rf got
		"$msb" cp dev:/race tree 2>/dev/null || true
		! grep -rqs '^secret' tree || { echo "the ${i}th tree has the host's"; false; }
		rm -rf tree
	done
	exec 7>&-
}

@test "what the guest has mounted is not its root: said" {
	mkdir share
	echo on-host >share/f
	echo "$PWD/share /mnt/share passthrough" >"$m/dev/mounts"
	run -125 "$msb" cp dev:/mnt/share/f got
	[[ $output == *'mounted at /mnt/share'*"$PWD/share"* ]]
	run -125 "$msb" cp share/f dev:/mnt/share/g
	[ ! -e share/g ]
	run -125 --separate-stderr "$msb" cp dev:/mnt got
	[[ $stderr == *'left out /mnt/share'* ]]
	run -125 "$msb" cp dev:/proc/version got
	[[ $output == *'mounted at /proc'* ]]
	guest dev 'ln -s /mnt/share/f /tmp-link'
	run -125 "$msb" cp share/f dev:/run/x
	echo >"$m/dev/mounts"
}

@test "limits of a tree: directories in each other" {
	p=/deep
	guest dev 'd=/deep; mkdir $d; cd $d; i=0; while [ $i -lt 258 ]; do mkdir x && cd x || exit 1; i=$((i+1)); done'
	run -125 "$msb" cp dev:$p got
	[[ $output == *'more than 256 directories'* ]]
	run -125 bash -c "'$msb' cp dev:$p - | cat >/dev/null; exit \${PIPESTATUS[0]}"
	[[ $output == *'more than 256 directories'* ]]
}

@test "logs: all, the last, of a job, since, with times; bytes as they were" {
	sandbox talk
	run -0 "$msb" logs talk
	[ "$output" = '' ]
	echo start >"$m/talk/ctl"
	# between the two outputs of one job no order is kept; two jobs come one after the other
	"$msb" exec talk sh -c 'echo one; echo two >&2' >/dev/null 2>&1
	"$msb" exec talk sh -c 'printf "three\nfo"; printf "ur\n"' >/dev/null
	job=$("$msb" exec -d talk sh -c 'printf "a\377\000b\n"')
	until_is 10 no eval "[ -e $m/talk/jobs/${job#*/} ] && echo yes || echo no"
	"$msb" logs talk >out 2>err
	[ "$(od -An -tx1 out)" = "$(printf 'one\nthree\nfour\na\377\000b\n' | od -An -tx1)" ]
	[ "$(cat err)" = two ]
	[ "$("$msb" logs --tail 2 talk 2>&1 | head -n 1)" = four ]
	[ "$("$msb" logs --tail 0 talk)" = '' ]
	[ "$("$msb" logs --job "${job#*/}" talk | od -An -tx1)" = "$(printf 'a\377\000b\n' | od -An -tx1)" ]
	[ "$("$msb" logs -t talk 2>/dev/null | grep -Ec '^20[0-9-]*T[0-9:.]*Z (one|three|four|a)')" = 4 ]
	[ "$("$msb" logs --since 2100-01-01 talk)" = '' ]
	[ "$("$msb" logs --since 10m talk 2>/dev/null | head -n 1)" = one ]
	run -125 "$msb" logs --since never talk
	run -125 "$msb" logs --tail x talk
	run -125 "$msb" logs nobody
	# it follows until the machine ends
	"$msb" logs -f --tail 1 talk >out 2>&1 &
	pid=$!
	"$msb" exec talk echo later >/dev/null
	until_is 10 later tail -n 1 out
	echo kill >"$m/talk/ctl"
	wait $pid
	rmdir "$m/talk"
}

# seen_by FILES WORD: how many have begun to follow, as they have seen such a line; after one more
seen_by() {
	"$msb" exec dev echo "$2 more" >/dev/null
	# shellcheck disable=SC2086 # a pattern
	grep -l "$2 " $1 | wc -l
}

@test "a hundred logs are followed at once" {
	for i in $(seq 100); do
		"$msb" logs -f --tail 0 dev >"log.$i" 2>&1 &
	done
	for i in $(seq 20); do "$msb" exec dev echo "line $i" >/dev/null; done
	until_is 30 100 seen_by 'log.*' line
	"$msb" exec dev echo last-of-all >/dev/null
	for i in $(seq 100); do
		until_is 30 last-of-all tail -n 1 "log.$i"
	done
	# and by tail, which looks once a second
	for i in $(seq 100); do
		tail -n 0 -f "$m/dev/log" >"tail.$i" &
		tails+=($!)
	done
	until_is 30 100 seen_by 'tail.*' here
	"$msb" exec dev echo tailed >/dev/null
	for i in $(seq 100); do until_is 30 1 grep -c tailed "tail.$i"; done
	kill "${tails[@]}" $(jobs -p) 2>/dev/null || true
	wait || true
}

@test "volumes are listed, made, shown and removed" {
	[ "$("$msb" volume ls -q)" = '' ]
	[ "$("$msb" volume create -s 1G data)" = data ]
	[ "$(cat "$m/volumes/data/quota_bytes")" = 1073741824 ]
	[ "$("$msb" volume ls -q)" = data ]
	[[ $("$msb" volume ls) == *VOLUME*data*dir*1.1GB* ]]
	[ "$("$msb" volume inspect data | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["name"], v["quota_bytes"], v["used_by"])')" = "data 1073741824 []" ]
	"$msb" volume ls --format json | python3 -c 'import json, sys; json.load(sys.stdin)'
	run -125 "$msb" volume create -s lots more
	[ ! -e "$m/volumes/more" ]
	run -125 "$msb" volume create -s 1m --kind disk more # too small for one
	[ ! -e "$m/volumes/more" ]
	run -125 "$msb" volume create 'No Name'
	run -125 "$msb" volume inspect none
	run -125 "$msb" volume
	[[ $output == 'msb volume: one of ls|create|rm|inspect is missing'* ]]
	run -125 "$msb" volume frobnicate
	echo "volume:data /data passthrough" >"$m/dev/mounts"
	run -125 "$msb" load -i /no/such/file x # the last error of the instance is about that
	run -125 "$msb" volume rm none
	[ "$output" = 'msb: there is no volume none; `msb volume ls` lists them' ]
	run -125 "$msb" volume rm data
	[[ $output == *dev* ]]
	echo >"$m/dev/mounts"
	[ "$("$msb" volume rm data)" = data ]
	[ ! -e "$m/volumes/data" ]
}

@test "install makes a command, and uninstall removes that alone" {
	mkdir bin
	run -0 --separate-stderr "$msb" install --dir bin --name bbx -m 128M bb
	[ "$output" = bin/bbx ]
	[[ $stderr == *'not in PATH'* ]]
	grep -q 'made by `msb install`' bin/bbx
	[ "$(bin/bbx echo in there)" = 'in there' ]
	[ "$(cat "$m/bbx/state")" = running ]
	bin/bbx sh -c 'echo kept >/kept'
	[ "$(echo 'cat /kept' | bin/bbx)" = kept ]
	run -3 bin/bbx sh -c 'exit 3'
	"$msb" install --dir bin --name bbx -m 128M bb # again: it is its own
	run -0 "$msb" install --tmp --dir bin --name once -m 128M bb
	[ "$(bin/once sh -c 'cat /kept 2>/dev/null; echo "$1"' - fresh)" = fresh ]
	[ "$(find "$m" -maxdepth 1 -type d -newer bin/once -name '*once*' | wc -l)" = 0 ]
	echo '#!/bin/sh' >bin/mine
	run -125 "$msb" install --dir bin --name mine bb
	[[ $output == *'did not make it'* ]]
	ln -s mine bin/linked
	run -125 "$msb" install --dir bin --name linked bb
	run -125 "$msb" uninstall --dir bin mine
	[ -e bin/mine ]
	run -125 "$msb" uninstall --dir bin none
	run -125 "$msb" install --dir bin --name ../x bb
	"$msb" uninstall --dir bin bbx once
	[ ! -e bin/bbx ]
	[ "$(cat "$m/bbx/state")" = running ]
	echo kill >"$m/bbx/ctl"
	rmdir "$m/bbx"
}
