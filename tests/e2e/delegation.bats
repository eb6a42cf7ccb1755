# SPDX-License-Identifier: Apache-2.0
# Root's instance for several users: chown gives a sandbox away, its mode lets a group in, nobody else gets anything.

bats_require_minimum_version 1.5.0
load users

team=12100

setup_file() {
	users_setup
	sandbox dev
	chown $ann:$team "$m/dev"
	as $ann "echo start >$m/dev/ctl"
}

# member UID LINE: the same in the team
member() { setpriv --reuid "$1" --regid "$1" --groups $team -- bash -c "cd $m; $2"; }

# no COMMAND...: it is refused, with EACCES or EPERM
no() {
	local out
	if out=$("$@" 2>&1); then
		echo "'$*' should be refused: $out"
		return 1
	fi
	[[ $out == *denied* || $out == *'not permitted'* ]] || { echo "'$*': $out"; return 1; }
}

@test "the one it was given to drives it: verbs, exec, jobs, values, config, mounts, its root" {
	[ "$(stat -c %u:%g:%a dev)" = $ann:$team:700 ]
	[ "$(as $ann 'cat dev/state')" = running ]
	as $ann 'echo pause >dev/ctl; echo resume >dev/ctl'
	[ "$(as $ann 'exec 3<>dev/exec; echo "echo hello" >&3; cat <&3')" = hello ]
	as $ann 'exec 7<>dev/jobs/clone; read -r n <&7; j=dev/jobs/$n; printf "cat\0" >$j/argv; echo start >$j/ctl
		echo text >$j/stdin; [ "$(cat $j/stdout)" = text ]; [ "$(cat $j/wait)" = 0 ]; echo x >$j/env/X || [ "$(cat $j/state)" = ended ]'
	as $ann 'echo v >dev/env/V; [ "$(cat dev/env/V)" = v ]; echo "unset V" >dev/ctl'
	as $ann 'f=$(mktemp); cat dev/config >$f; cat $f >dev/config; rm $f'
	as $ann 'echo "none /scratch memory" >dev/mounts; cat dev/mounts; echo >dev/mounts'
	as $ann 'for f in dev/log dev/events dev/console dev/status dev/error; do cat $f >/dev/null || exit 1; done'
	as $ann 'ls dev/root/etc/passwd >/dev/null; cat dev/root/etc/passwd >/dev/null'
	[ "$(as $ann 'cat dev/metrics/memory_bytes')" -gt 0 ]
}

@test "nobody else does: each file, each operation" {
	for who in "as $bob" "member $bob" "as 65534"; do
		no $who 'cat dev/state'
		no $who 'ls dev'
		no $who 'echo kill >dev/ctl'
		no $who 'echo true >dev/exec'
		no $who 'exec 7<>dev/jobs/clone'
		no $who 'cat dev/log'
		no $who 'echo x >dev/env/X'
		no $who 'cat dev/config'
		no $who 'ls dev/root/'
		no $who 'rmdir dev'
		no $who 'chmod 777 dev'
		no $who 'chown $UID dev'
		view=$(readlink dev/root)
		no $who "ls $view/"
		no $who "cat $view/etc/passwd"
	done
	# not even what somebody opens by a descriptor that is passed on is more than was opened
	[ "$(cat dev/state)" = running ]
	# each file by its own, whatever the directory's search right says
	while read -r f; do
		no as $bob "cat $f"
		no as $bob "echo x >$f"
	done < <(find dev -maxdepth 2 -type f)
	[ "$(cat dev/state)" = running ]
}

@test "modes: 0750 lets the group read, 0770 write, others nothing" {
	chmod 0750 dev
	[ "$(member $bob 'cat dev/state')" = running ]
	member $bob 'cat dev/log dev/config dev/status >/dev/null; ls dev/jobs >/dev/null'
	no member $bob 'echo pause >dev/ctl'
	no member $bob 'echo true >dev/exec'
	no member $bob 'echo x >dev/env/X'
	no member $bob 'exec 7<>dev/jobs/clone'
	no as $bob 'cat dev/state'
	chmod 0770 dev
	member $bob 'echo pause >dev/ctl; echo resume >dev/ctl'
	[ "$(member $bob 'exec 3<>dev/exec; echo "echo hello" >&3; cat <&3')" = hello ]
	member $bob 'exec 7<>dev/jobs/clone; read -r n <&7; printf "true\0" >dev/jobs/$n/argv; echo start >dev/jobs/$n/ctl; [ "$(cat dev/jobs/$n/wait)" = 0 ]'
	no member $bob 'chmod 0777 dev' # the owner's alone
	no member $bob 'chown 12002 dev'
	no as $bob 'echo pause >dev/ctl'
	as $ann 'chmod 0700 dev'
	no member $bob 'cat dev/state'
	no as $ann 'chown 12002 dev' # giving away is root's, as everywhere
}

@test "taking it back takes it from who had it" {
	exec 8<dev/state
	mkfifo -m 0666 "$dir/go"
	as $ann "set -e; exec 9<>dev/mounts 8<dev/config 7>dev/ctl 5<dev/root/etc; cat /proc/self/fd/5/passwd >/dev/null; read -r _ <$dir/go; no() { out=\$(\"\$@\" 2>&1) && exit 1; echo \"\$out\"; [[ \$out == *denied* ]]; }
		put() { echo \"\$2\" >&\$1; }; no put 9 '/ /host passthrough'; no cat <&9; no cat <&8; no put 7 kill
		out=\$(cat /proc/self/fd/5/group 2>&1) && exit 1; [[ \$out == *'not connected'* ]]" 3>&- &
	local former=$!
	exec 6>"$dir/go" # returns once she reads it, and has all open
	chown $bob:$bob dev
	echo >&6
	exec 6>&-
	wait $former # of no use to who has them
	[[ $(cat dev/error) == *"ctl is another user's since it was opened"* ]]
	as $bob 'cat dev/root/etc/group >/dev/null'
	no as $ann 'cat dev/state'
	no as $ann 'echo kill >dev/ctl'
	[ "$(as $bob 'cat dev/state')" = running ]
	[ "$(as $bob 'exec 3<>dev/exec; echo "echo mine" >&3; cat <&3')" = mine ]
	as $bob 'ls dev/root/etc >/dev/null'
	view=$(readlink dev/root)
	no as $ann "ls $view/"
	chown $ann:$team dev
	[ "$(cat <&8)" = running ] # who has it open has it open
	exec 8<&-
}

@test "where its root is viewed nobody but msbd makes, moves or lets in anything" {
	mkdir "$dir/victim" seen
	chown $ann:$team seen
	as $ann 'echo bb >seen/image; ls seen/root/etc >/dev/null'
	view=$(readlink seen/root)
	gate=${view%/*}
	no as $ann "touch $gate/more"
	no as $ann "chmod 0777 $gate"
	no as $ann "mv $gate ${gate}x"
	mountpoint -q "$view"
	# a link that is there nonetheless is not followed
	as $ann 'echo ro >seen/root_options' # ends the view, and makes away with where it was
	mkdir "$gate"
	ln -s "$dir/victim" "$view"
	run ! as $ann 'ls seen/root/etc'
	run ! mountpoint -q "$dir/victim"
	rm "$view"
	as $ann 'ls seen/root/etc >/dev/null'
	rmdir seen
	[ ! -e "$gate" ]
}

# given_away MODE: a sandbox of that mode is, within the team
given_away() {
	mkdir kept
	chown $ann:$team kept
	chmod "$1" kept
	as $ann 'echo was >kept/scripts/x; mkdir -m 0700 kept/patches/etc; echo was >kept/patches/etc/y'
	cat >"$dir/former.py" <<-'EOF'
		import os, select, sys, time
		def no(what, f):
		    try:
		        f()
		    except PermissionError:
		        return
		    except OSError as e:
		        sys.exit(f"{what}: {e}")
		    sys.exit(f"{what}: done")
		x = os.open("kept/scripts/x", os.O_RDWR)
		y = os.open("kept/patches/etc/y", os.O_RDWR)
		d = os.open("kept/patches/etc", os.O_RDONLY)
		env = os.open("kept/env", os.O_RDONLY)
		ctl = os.open("kept/ctl", os.O_PATH)
		again, told = [], os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
		print(file=open(sys.argv[1] + ".ready", "w"), flush=True) # opens once it is waited for
		# the kernel may go by what it knew of an open file for a moment: there is no such moment
		end, names = None, 0
		while end is None or time.monotonic() < end:
		    os.fstat(env), os.fstat(d)
		    if end:
		        names += 1
		        no("list", lambda: os.open(f"/proc/self/fd/{d}", os.O_RDONLY))
		        no("make", lambda: os.mkdir(f"new{names}", dir_fd=d))
		        no("set", lambda: os.open(f"V{names}", os.O_CREAT | os.O_WRONLY, dir_fd=env))
		        if sys.argv[2] == "0700": # else it may learn of names, as everybody who may enter
		            no("look for what is there", lambda: os.stat("y", dir_fd=d))
		            no("look for what is not", lambda: os.stat("nothing", dir_fd=env))
		    try:
		        again.append(os.open(f"/proc/self/fd/{ctl}", os.O_WRONLY))
		    except PermissionError:
		        pass
		    while len(again) > 30:
		        os.close(again.pop(0))
		    if end is None and select.select([told], [], [], 0)[0]:
		        end = time.monotonic() + 0.3
		for fd in again:
		    no("a verb", lambda: os.write(fd, b"there is no such verb\n"))
		for fd, mode in (x, 0o777), (y, 0o666):
		    no("write", lambda: os.write(fd, b"hers"))
		    no("truncate", lambda: os.ftruncate(fd, 0))
		    no("chmod", lambda: os.fchmod(fd, mode))
		    no("read", lambda: os.pread(fd, 1, 0))
		no("chmod of a directory", lambda: os.fchmod(d, 0o777))
	EOF
	mkfifo -m 0666 "$dir/told" "$dir/told.ready"
	exec 6<>"$dir/told"
	member $ann "umask 0; exec python3 $dir/former.py $dir/told $1" 3>&- 6>&- &
	local former=$!
	timeout 120 cat "$dir/told.ready"
	chown $bob:$team kept
	echo >&6
	exec 6>&-
	wait $former
	[ "$(as $bob 'cat kept/scripts/x kept/patches/etc/y')" = $'was\nwas' ]
	[ "$(stat -c %a kept/patches/etc/y)" = 644 ]
	as $bob 'chmod 0600 kept/patches/etc/y; truncate -s 1 kept/scripts/x; rm -f nothing' # what is his he may
	[ "$(stat -c %a:%s kept/patches/etc/y)" = 600:4 ]
	rmdir kept
	rm "$dir/told" "$dir/told.ready"
}

@test "what somebody has open of scripts, patches and ctl is of no use once it is given away" {
	given_away 0700
}

@test "nor is it where the mode lets everybody, or the team of both, enter" {
	given_away 0711
	given_away 0750
}

@test "it is the owner's rights that are used: roots, plugins, PATHs" {
	mkdir "$dir/secret" "$dir/anns"
	chmod 0700 "$dir/secret"
	echo secret >"$dir/secret/file"
	chown $ann:$ann "$dir/anns"
	echo hers >"$dir/anns/file"
	mkdir two
	chown $ann:$ann two
	as $ann 'echo bb >two/image; echo 128M >two/memory_bytes'
	printf '#!/bin/sh\necho ran as $(id -u) >"%s/ran"\nexec cat\n' "$dir/anns" >"$dir/anns/plugin"
	chmod 0755 "$dir/anns/plugin"
	as $ann "echo '$dir/anns/plugin /p plugin' >two/mounts"
	run ! as $ann 'timeout 300 bash -c "echo start >two/ctl"' # it speaks no protocol
	[ "$(cat "$dir/anns/ran")" = "ran as $ann" ]
	as $ann "echo >two/mounts"
	as $ann "echo '$dir/secret' >two/image"
	run ! as $ann 'echo start >two/ctl'
	[[ $(as $ann 'cat two/error') == *"$dir/secret"* ]]
	echo 'echo kill >two/ctl' | as $ann 'sh'
	no as $ann "echo 'import $dir/secret x' >images/ctl"
	rmdir two
}

@test "a set-user-ID program that writes into what she has opened lends her no rights" {
	mkdir two
	chown $ann:$ann two
	as $ann 'echo 127.0.0.1:1/none >two/image'
	cp /bin/cat "$dir/setuid"
	chmod 4755 "$dir/setuid"
	[ "$(as $ann "$dir/setuid /proc/self/status | awk '/^Uid/ { print \$5 }'")" = 0 ] || skip "$dir is nosuid"
	run ! as $ann "echo start | $dir/setuid >two/ctl"
	# whose pull it is decides whose logins are used
	[ "$(cat images/pulls/* | jq -r 'select(.ref == "127.0.0.1:1/none:latest") | .uid')" = $ann ]
	rmdir two
	rm "$dir/setuid"
}

@test "who is handed images/ctl opens no more by the processes of others than by himself" {
	local holder
	mkdir -m 0700 "$dir/closed"
	cp -r "$repo/build/images/busybox" "$dir/closed/image"
	chmod -R a+rX "$dir/closed/image"
	(cd "$dir/closed/image" && exec sleep 600) 3>&- &
	holder=$!
	exec 7>images/ctl
	run ! setpriv --reuid $bob --regid $bob --clear-groups -- sh -c "echo 'import $dir/closed/image x' >&7"
	run ! setpriv --reuid $bob --regid $bob --clear-groups -- sh -c "echo 'import /proc/$holder/cwd x' >&7"
	[ ! -e images/x ]
	chmod 0755 "$dir/closed"
	setpriv --reuid $bob --regid $bob --clear-groups -- sh -c "echo 'import $dir/closed/image x' >&7"
	exec 7>&-
	kill $holder
	echo 'rm x' >images/ctl
}

@test "who may make and remove, and what all may see" {
	no as $ann 'mkdir hers'
	no as $ann 'echo gc >ctl'
	no as $bob 'rmdir dev'
	for f in version features; do
		as $bob "cat $f >/dev/null"
	done
	as $bob 'ls >/dev/null; stat dev >/dev/null'
	# of others' errors and events nothing is shown
	as $ann 'echo many >dev/cpus' 2>/dev/null || true
	[ -z "$(as $bob 'cat errors' 2>/dev/null | grep -c many | grep -v 0)" ]
	[ -z "$(as $bob 'cat events' 2>/dev/null | grep '"sandbox":"dev"')" ]
	[ -z "$(as $bob 'cat log' 2>/dev/null | grep dev)" ]
}

@test "it stays given across a restart of msbd, jobs and all" {
	as $ann 'exec 7<>dev/jobs/clone; read -r n <&7; j=dev/jobs/$n; printf "sh\0-c\0read x; echo \$x\0" >$j/argv
		echo keep >$j/ctl; echo start >$j/ctl; echo $n' >"$dir/number"
	n=$(cat "$dir/number")
	chmod 0750 dev
	msbd_killed
	cd "$m"
	[ "$(stat -c %u:%g:%a dev)" = $ann:$team:750 ]
	[ "$(as $ann "cat dev/jobs/$n/state")" = running ]
	[ "$(member $bob "cat dev/jobs/$n/state")" = running ]
	no as $bob "cat dev/jobs/$n/state"
	no member $bob "echo x >dev/jobs/$n/stdin"
	as $ann "echo word >dev/jobs/$n/stdin"
	[ "$(as $ann "cat dev/jobs/$n/wait dev/jobs/$n/stdout")" = $'0\nword' ]
	as $ann "echo release >dev/jobs/$n/ctl"
	chmod 0700 dev
}

@test "users who wait in their sandboxes keep neither root nor each other out" {
	mkdir bobs
	chown $bob:$bob bobs
	as $bob 'echo bb >bobs/image; echo 128M >bobs/memory_bytes; echo start >bobs/ctl'
	# bob takes all that others together may: half of the commands that can wait
	setpriv --reuid $bob --regid $bob --clear-groups -- /usr/bin/python3 - "$m" "$dir/full" <<-'PY' &
	import errno, os, sys, threading, time
	m, ready = sys.argv[1:]
	full = threading.Event()
	def one():
	    try:
	        fd = os.open(m + "/bobs/exec", os.O_WRONLY)
	        os.write(fd, b"sleep 1000\n")
	    except OSError as e:
	        if e.errno == errno.EAGAIN:
	            full.set()
	n = 0
	while not full.is_set() and n < 400:
	    threading.Thread(target=one, daemon=True).start()
	    n += 1
	    if n > 250: time.sleep(0.02)
	full.wait(60)
	print(n, full.is_set(), flush=True)
	time.sleep(300)
	PY
	pid=$!
	until_is 120 EAGAIN eval "jq -r 'select(.path == \"/bobs/exec\") | .errno' errors | tail -n 1"
	# root gets through
	[ "$(timeout 60 cat version)" != "" ]
	echo 'echo root is here' >dev/exec
	echo pause >dev/ctl
	echo resume >dev/ctl
	timeout 120 bash -c 'echo kill >bobs/ctl'
	kill -9 $pid
	wait $pid || true
	# and so does ann, once bob's are gone
	until_is 30 hello as $ann 'exec 3<>dev/exec; echo "echo hello" >&3; cat <&3'
	rmdir bobs
}

@test "an owner who stops the processes that run as her holds up nobody else, and msbd ends" {
	local eve=$((12200 + BASHPID)) # nobody of any other suite: these may run at the same time
	mkdir one two "$dir/tree"
	chmod 0755 "$dir/tree"
	echo "$dir/tree" >two/image
	echo bb >one/image
	echo 128M >one/memory_bytes
	echo 1 >one/stop_timeout_sec
	chown $eve:$eve one two
	as $eve 'echo start >one/ctl; ls one/root/ >/dev/null'
	for key in fsd_pid agent_pid; do
		as $eve "kill -STOP $(status_of one $key)"
	done
	# what opens her root is stopped as soon as it is there
	setpriv --reuid $eve --regid $eve --clear-groups -- sh -c 'while :; do pkill -STOP -x -u '$eve' msb-open; sleep 0.01; done' 3>&- &
	local stopper=$!
	as $eve 'echo start >two/ctl' 2>/dev/null 3>&- &
	local starter=$!
	until_is 60 begun eval '[ "$(cat two/state)" = created ] || echo begun'
	mkdir mine
	echo bb >mine/image
	ls mine/root/ >/dev/null
	run ! as $eve 'echo true >one/exec'
	timeout 300 "$bin/msbd" --stop --all
	wait $starter || true # where nothing came in between, it was started, and is stopped now
	kill $stopper
	until_is 10 '' pgrep -u $eve -l 'msb-(fsd|agentd|open)' # one that stopped would stay
	"$bin/msbd"
	cd "$m"
	[ "$(cat two/state)" != starting ]
	as $eve 'echo start >one/ctl; echo true >one/exec'
}
