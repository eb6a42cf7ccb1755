# SPDX-License-Identifier: Apache-2.0
# The programs of plugin mounts: started as the sandbox's owner, looked after, ended with their mount.

load helper

setup_file() {
	msb_setup
	"$bin/msbd"
	msb_image
	mkdir "$dir/inner"
	echo I >"$dir/inner/f"
	# Lines of JSON: passes everything on to the directory below, but for a few names.
	cat >"$dir/plug" <<-'PY'
	#!/usr/bin/python3
	import json, os, socket, sys, time
	s = socket.socket(fileno=3)
	s.sendall(b'{"ops":["create","mkdir"]}\n')
	print("runs as", os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), os.environ["MSB_SANDBOX"],
	    os.environ["MSB_MOUNT"], sorted(os.listdir("/proc/self/fd"))[:5], flush=True)
	for line in s.makefile("r", encoding="utf-8"):
	    q = json.loads(line)
	    if "id" not in q:
	        continue
	    a = {"id": q["id"], "pass": True}
	    if "deny" in q["path"]:
	        a = {"id": q["id"], "error": "EACCES"}
	    if "die" in q["path"]:
	        sys.exit(3)
	    if "hang" in q["path"]:
	        time.sleep(1000)
	    if "talk" in q["path"]:
	        for i in range(1000): print("line", i)
	        sys.stdout.flush()
	    s.sendall(json.dumps(a).encode() + b"\n")
	PY
	chmod 0755 "$dir/plug"
	chmod 0777 "$dir/inner"
	sandbox box
	echo "$dir/plug /p plugin protocol=json,timeout=5s,over=$dir/inner" >"$m/box/mounts"
	echo start >"$m/box/ctl"
	cp "$m/box/mounts" "$dir/first"
}

teardown_file() {
	msb_teardown
}

setup() {
	cd "$m/box"
}

teardown() {
	cd /
	[ -n "$BATS_TEST_COMPLETED" ] || { cat "$m/box/error"; tail -n 5 "$m/box/events"; tail -n 15 "$m/log"; }
}

plugs() { pgrep -f "python3 $dir/plug" | wc -l; }
events() { jq -s "map(select(.event == \"$1\")) | length" events; }
mounted() { guest box 'mkdir /p/up && rmdir /p/up && echo yes'; }

@test "it answers, over what is below it" {
	[ "$(guest box 'cat /p/f')" = I ]
	echo 'echo x > /p/x' >exec
	[ "$(cat "$dir/inner/x")" = x ]
	[[ $(guest box 'echo x > /p/deny-it') == *"Permission denied"* ]]
	[ ! -e "$dir/inner/deny-it" ]
	[ "$(plugs)" = 1 ]
}

@test "it has what it needs, and what it prints is logged" {
	grep -q "box: plugin of /p: runs as 0 0 \[\] / box /p \['0', '1', '2', '3'" "$m/log"
	echo 'mkdir /p/talk' >exec
	until_is 10 yes talked
	[ "$(grep -c 'plugin of /p: line' "$m/log")" -le 100 ]
	[ "$(guest box 'ls -d /p/talk')" = /p/talk ]
}
talked() { grep -q "plugin of /p: line 9\"" "$m/log" && echo yes; }

@test "one that dies: EIO there, nothing elsewhere, and another comes" {
	failed=$(events plugin_failed)
	[[ $(guest box 'mkdir /p/die; echo on') =~ (I/O|Input/output)\ error.*on ]]
	until_is 20 yes mounted
	[ "$(events plugin_failed)" -gt "$failed" ]
	[ "$(events plugin_restarted)" -ge 1 ]
	jq -es 'any(.[]; .event == "plugin_failed" and .path == "/p" and (.reason | contains("exit status 3")))' events
	[ "$(plugs)" = 1 ]
}

@test "one that hangs: EIO in time, and another comes" {
	[[ $(guest box 'mkdir /p/hang; echo on') =~ (I/O|Input/output)\ error.*on ]]
	until_is 20 yes mounted
	jq -es 'any(.[]; .event == "plugin_failed" and (.reason | contains("did not answer")))' events
	[ "$(plugs)" = 1 ]
}

@test "live: another one, and its end with its line" {
	echo "$dir/plug /q plugin protocol=json,over=$dir/inner" >>mounts
	[ "$(plugs)" = 2 ]
	[ "$(guest box 'cat /q/f')" = I ]
	cat "$dir/first" >mounts
	until_is 5 1 plugs
	until_is 20 yes mounted
	[ "$(jq -s 'map(select(.path == "/q")) | map(.event) | join(" ")' events)" = '"mount unmount"' ]
}

@test "what cannot be started is refused, with the reason" {
	fails "No such file" "$dir/none" error "echo '$dir/none /x plugin' >> mounts"
	cp "$dir/plug" "$dir/not"
	chmod 0644 "$dir/not"
	fails "Permission denied" "$dir/not" error "echo '$dir/not /x plugin' >> mounts"
	fails "No such file" "$dir/nowhere" error "echo '$dir/plug /x plugin over=$dir/nowhere' >> mounts"
	diff mounts "$dir/first"
	[ "$(plugs)" = 1 ]
}

@test "one that keeps ending is left alone after a while; its mount can be made anew" {
	printf '#!/bin/sh\n[ ! -e %s ] && exec %s\nexit 1\n' "$dir/broken" "$dir/plug" >"$dir/bad"
	chmod 0755 "$dir/bad"
	{ cat "$dir/first"; echo "$dir/bad /bad plugin protocol=json,timeout=5s,over=$dir/inner"; } >"$dir/next"
	cat "$dir/next" >mounts
	[ "$(guest box 'cat /bad/f')" = I ]
	touch "$dir/broken"
	echo 'mkdir /bad/die || true' >exec
	until_is 60 1 gave_up
	[[ $(guest box 'ls /bad; echo on') =~ (I/O|Input/output)\ error.*on ]]
	[ "$(guest box 'cat /p/f')" = I ]
	# as it cannot answer, it cannot be mounted either
	cat "$dir/first" >mounts
	fails "put/output error" "/bad" error "cat $dir/next > mounts"
	diff mounts "$dir/first"
	rm "$dir/broken"
	cat "$dir/next" >mounts
	[ "$(guest box 'cat /bad/f')" = I ]
	cat "$dir/first" >mounts
}
gave_up() { jq -s 'map(select(.event == "plugin_failed" and .path == "/bad" and (.reason | contains("not started any more")))) | length' events; }

@test "kill -9 of msbd: plugins are started anew, one each" {
	cd "$dir"
	pid=$(msbd_pid)
	kill -9 "$pid"
	until_is 5 gone ended "$pid"
	"$bin/msbd"
	cd "$m/box"
	until_is 20 yes mounted
	until_is 5 1 plugs
	[ "$(cat state)" = running ]
}

ended() { kill -0 "$1" 2>/dev/null || echo gone; }

@test "they end with the machine, and with its file server" {
	echo stop >ctl
	until_is 5 0 plugs
	echo start >ctl
	until_is 20 yes mounted
	kill -9 "$(status_of box fsd_pid)"
	until_is 10 failed cat state
	until_is 5 0 plugs
	echo start >ctl
	until_is 20 yes mounted
	echo kill >ctl
	until_is 5 0 plugs
}

@test "as root: the program runs as the sandbox's owner, and with no more" {
	[ "$(id -u)" = 0 ] || skip "needs root, to give a sandbox away"
	chown 12345:12346 "$m/box"
	echo start >ctl
	until_is 20 yes mounted
	until_is 5 yes grep_owner
	[ "$(ps -o uid= -C plug)" != 0 ]
	chmod 0700 "$dir/plug" # root's, and nobody else's
	fails "Permission denied" "$dir/plug" error "echo restart > ctl"
	[ "$(cat state)" = stopped ]
	chmod 0755 "$dir/plug"
}
grep_owner() { grep -q "box: plugin of /p: runs as 12345 12346 \[\] /" "$m/log" && echo yes; }
