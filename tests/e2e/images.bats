# SPDX-License-Identifier: Apache-2.0
# Images by their names, the verbs of images/ctl, their streams, and `start` that fetches one.
# bats file_tags=kvm

load helper
bats_require_minimum_version 1.5.0
source "$BATS_TEST_DIRNAME/../registry/registry.bash"

setup_file() {
	msb_setup
	regs=$(mktemp -d /tmp/msbr.XXXXXX) # not below $dir: what serves it outlives msbd
	export regs
	registry_docker "$regs/docker" 2>/dev/null
	export docker_pid=$REGISTRY_PID r=localhost:$REGISTRY_PORT
	"$bin/msbd"
	msb_image
	# Another image, with one layer more.
	skopeo --insecure-policy copy -q "oci:$repo/build/images/busybox" "oci:$regs/two:two"
	echo more >"$regs/more"
	umoci insert --image "$regs/two:two" "$regs/more" /more >/dev/null
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$regs/two:two" "docker://$r/team/two:1"
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$repo/build/images/busybox" "docker://$r/team/bb:1"
}

teardown_file() {
	registry_stop "$docker_pid"
	msb_teardown
	rm -rf "$regs"
}

setup() {
	name=s$BATS_TEST_NUMBER
	ctl=$m/images/ctl
	msb=$bin/msb
}

teardown() {
	[ ! -d "$dir/m2" ] || MSB_MNT=$dir/m2 MSB_STATE=$dir/s2 "$bin/msbd" --stop --all
	[ -z "${fake_pid:-}" ] || registry_stop "$fake_pid"
	if [ -d "$m/$name" ]; then
		echo kill >"$m/$name/ctl"
		rmdir "$m/$name"
	fi
}

# fake [OPTION...]: a registry that misbehaves on request, at $f: team/bb:1 and team/bb:2, which are busybox
# and a layer that nothing else has
fake() {
	local tag
	for tag in 1 2; do
		skopeo --insecure-policy copy -q "oci:$repo/build/images/busybox" "oci:$regs/$name.layout:$tag"
		head -c 2000000 /dev/urandom >"$regs/random"
		umoci insert --image "$regs/$name.layout:$tag" "$regs/random" /random >/dev/null
	done
	registry_fake "$regs/$name.fake" --serve "team/bb=$regs/$name.layout" "$@"
	fake_pid=$REGISTRY_PID f=localhost:$REGISTRY_PORT fp=$REGISTRY_PORT
}

# the number of the last stream
last() {
	find "$m/images/pulls" -mindepth 1 -printf '%f\n' | sort -n | tail -n 1
}

registry_reset() {
	python3 -c 'import sys, urllib.request as u; u.urlopen(f"http://127.0.0.1:{sys.argv[1]}/_ctl/reset", b"")' "$fp"
}

# until the registry was asked for a blob
until_asked() {
	until_is 20 yes bash -c "source $BATS_TEST_DIRNAME/../registry/registry.bash; registry_log $fp | grep -q /blobs/ && echo yes"
}

@test "an imported name is a directory by its reference, and a link" {
	[ "$(readlink "$m/images/bb")" = localhost/bb:latest ]
	[[ $(cat "$m/images/bb/digest") == sha256:* ]]
	[[ $(cat "$m/images/localhost/bb:latest/created") == 20*T*Z ]]
	[ -f "$m/images/bb/rootfs/bin/busybox" ]
	sha256sum "$m/images/bb/manifest.json" | grep -q "^$(cut -d: -f2 "$m/images/bb/digest") "
	echo "import $repo/build/images/busybox Reg.Lan:5000/deep/er/x:y" >"$ctl"
	[ -d "$m/images/reg.lan:5000/deep/er/x:y" ]
	[ ! -e "$m/images/x:y" ]
	fails "File exists" "localhost/bb:latest" "$m/error" "echo 'import $repo/build/images/busybox bb' > $ctl"
	fails "Invalid argument" "not a reference" "$m/error" "echo 'import $repo/build/images/busybox B' > $ctl"
	fails "Invalid argument" "has a digest" "$m/error" \
		"echo 'import $repo/build/images/busybox x@$(cat "$m/images/bb/digest")' > $ctl"
	echo 'rm reg.lan:5000/deep/er/x:y' >"$ctl"
	[ ! -e "$m/images/reg.lan:5000" ]
}

@test "tags: one more name; a name that moves; one that may mean two" {
	echo "tag bb docker.io/bb" >"$ctl"
	[ "$(cat "$m/images/docker.io/library/bb:latest/digest")" = "$(cat "$m/images/localhost/bb:latest/digest")" ]
	[ ! -e "$m/images/bb" ]
	fails "not unique" "docker.io/library/bb:latest or localhost/bb:latest" "$m/error" "echo 'verify bb' > $ctl"
	fails "not unique" "write which" "$m/error" "echo 'rm bb' > $ctl"
	mkdir "$m/$name"
	fails "not unique" "write which" "$m/$name/error" "echo bb > $m/$name/image"
	echo 'rm docker.io/bb' >"$ctl"
	echo bb >"$m/$name/image"
	fails "No such file" "no image" "$m/error" "echo 'tag nosuch x' > $ctl"
	fails "busy" "sandbox $name uses image" "$m/error" "echo 'rm bb' > $ctl"
	[ "$(cat "$m/images/bb/used_by")" = "$name" ]
}

@test "the list of verbs, and what is missing in a line" {
	grep -qx 'push REF \[AS\]' "$ctl"
	fails "Invalid argument" "pull REF" "$m/error" "echo pull > $ctl"
	fails "Invalid argument" "verify [REF]" "$m/error" "echo 'verify a b' > $ctl"
	fails "Invalid argument" "is not a verb" "$m/error" "echo 'fetch x' > $ctl"
	fails "Invalid argument" "with its port" "$m/error" "echo 'pull localhost/x' > $ctl"
	exec {fd}<>"$ctl"
	echo prun >&"$fd" || true
	read -r answer <&"$fd"
	exec {fd}>&-
	[[ $answer == "error EINVAL "* ]]
}

@test "pull: from a registry, by tag and by digest; once more costs nothing" {
	echo "pull $r/team/two:1" >"$ctl"
	d=$m/images/$r/team/two:1
	[ "$(wc -l <"$d/layers")" = 2 ]
	[ "$(cat "$d/rootfs/more")" = more ]
	sha256sum "$d/manifest.json" | grep -q "^$(cut -d: -f2 "$d/digest") "
	tail -n 1 "$m/images/pulls/$(last)" | grep -q "{\"end\":\"ok\",\"digest\":\"$(cat "$d/digest")\"}"
	echo "pull $r/team/two@$(cat "$d/digest")" >"$ctl"
	[ -d "$m/images/$r/team/two@$(cat "$d/digest")" ]
	run ! grep -q '"state":"download"' "$m/images/pulls/$(last)"
	fails "No such file" "team/nosuch:1" "$m/error" "echo 'pull $r/team/nosuch:1' > $ctl"
	fails "refused" "localhost:1" "$m/error" "echo 'pull localhost:1/x' > $ctl"
	echo "rm $r/team/two@$(cat "$d/digest")" >"$ctl"
	echo "rm $r/team/two:1" >"$ctl"
	[ ! -e "$m/images/$r" ]
}

@test "push, and export: what others read" {
	echo "push bb $r/pushed/bb:2" >"$ctl"
	skopeo inspect --tls-verify=false "docker://$r/pushed/bb:2" >/dev/null
	fails "Invalid argument" "push bb HOST/REPO:TAG" "$m/error" "echo 'push bb' > $ctl"
	echo "tag bb $r/pushed/bb:3" >"$ctl"
	echo "push $r/pushed/bb:3" >"$ctl"
	skopeo inspect --tls-verify=false "docker://$r/pushed/bb:3" >/dev/null
	echo "rm $r/pushed/bb:3" >"$ctl"
	# PATH is all of the archive, or what it was.
	echo old >"$regs/a b.tar"
	fails "No such file" "no image" "$m/error" "echo 'export $regs/a\\040b.tar nosuch' > $ctl"
	[ "$(cat "$regs/a b.tar")" = old ]
	echo "export $regs/a\\040b.tar bb" >"$ctl"
	mv "$regs/a b.tar" "$regs/ab.tar"
	[ "$(skopeo inspect "oci-archive:$regs/ab.tar" --format '{{.Os}}')" = linux ]
	fails "Is a directory" "cannot write" "$m/error" "echo 'export $regs bb' > $ctl"
	fails "Invalid argument" "absolute" "$m/error" "echo 'export x.tar bb' > $ctl"
	[ "$(find "$regs" -maxdepth 1 -name '*.part')" = "" ]
	echo "import $regs/ab.tar $name" >"$ctl"
	[ "$(cat "$m/images/$name/rootfs/etc/passwd")" = "$(cat "$m/images/bb/rootfs/etc/passwd")" ]
	echo "rm $name" >"$ctl"
}

@test "a stream is read to its end, waits for more, and says when there is none" {
	fake
	registry_fault "$fp" '{"do":"stall","path":".*/blobs/.*","times":-1,"after":1000}'
	echo "pull $f/team/bb:1" >"$ctl" &
	writer=$!
	until_asked
	n=$(last)
	timeout 120 cat "$m/images/pulls/$n" >"$regs/stream" &
	reader=$!
	python3 - "$m/images/pulls/$n" <<-'PY'
	import os, select, signal, sys
	signal.alarm(60)
	fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
	p = select.poll(); p.register(fd, select.POLLIN)
	while True:
	    try:
	        if not os.read(fd, 65536): sys.exit("it has ended")
	    except BlockingIOError:
	        if not p.poll(0): break  # or a line has come meanwhile
	PY
	kill -INT $writer || true
	kill $writer || true # that may have been enough
	run wait $writer
	[ "$status" != 0 ]
	wait $reader
	head -n 1 "$regs/stream" | grep -q "{\"seq\":$n,\"time\":\"20.*Z\",\"verb\":\"pull\",\"ref\":\"$f/team/bb:1\",\"uid\":$(id -u),\"pid\":[0-9]*}"
	tail -n 1 "$regs/stream" | grep -q '{"end":"error","errno":"EINTR","msg":".*"}'
	[ ! -e "$m/images/$f" ]
	grep -q "\"event\":\"pull-end\",\"pull\":$n,\"verb\":\"pull\",\"errno\":\"EINTR\"" "$m/events"
}

@test "two that ask for the same wait for one; what was interrupted goes on" {
	fake
	registry_fault "$fp" '{"do":"slow","path":".*/blobs/.*","times":-1,"rate":300000}'
	echo "pull $f/team/bb:1" >"$ctl" &
	one=$!
	echo "pull $f/team/bb:1" >"$ctl" &
	two=$!
	wait $one
	wait $two
	[ "$(registry_log "$fp" | grep -c '"path": *"[^"]*/manifests/1"')" -le 2 ]
	[ -f "$m/images/$f/team/bb:1/rootfs/random" ]
	[ "$(grep -l "\"verb\":\"pull\",\"ref\":\"$f/team/bb:1\"" "$m"/images/pulls/* | wc -l)" = 1 ]
	echo "rm $f/team/bb:1" >"$ctl"
}

@test "start fetches what is absent, as pull says, and keeps to its digest" {
	mkdir "$m/$name"
	cd "$m/$name"
	echo 128M >memory_bytes
	echo "$r/team/two:1" >image
	[ "$(cat image pull)" = "$(printf '%s\nmissing' "$r/team/two:1")" ]
	[ "$(readlink root)" = "(no image yet)" ]
	ls -l . >/dev/null
	echo never >pull
	fails "No such file" "file pull says never" error "echo start > ctl"
	[ "$(cat state)" = created ]
	echo missing >pull
	echo start >ctl
	grep -q '"state":"starting","reason":"pulling ' events
	[ "$(guest "$name" 'cat /more')" = more ]
	digest=$(status_of "$name" digest)
	[ "$digest" = "$(cat "$m/images/$r/team/two:1/digest")" ]
	echo stop >ctl
	# The name moves; the sandbox does not.
	echo "tag bb $r/team/two:1" >"$ctl"
	[ "$(status_of "$name" digest)" = "$digest" ]
	[ "$(cat "$m/images/$r/team/two:1/digest")" != "$digest" ]
	echo gc >"$m/ctl"
	[ "$(cat root/more)" = more ]
	echo always >pull
	echo start >ctl
	[ "$(guest "$name" 'cat /more')" = more ]
	echo kill >ctl
	fails "busy" "$name uses image" "$m/error" "echo 'rm $r/team/two:1' > $ctl"
	cd /
	rmdir "$m/$name"
	echo "rm $r/team/two:1" >"$ctl"
}

@test "a start that fetches is ended by kill, and by its writer's end" {
	fake
	registry_fault "$fp" '{"do":"stall","path":".*/blobs/.*","times":-1}'
	mkdir "$m/$name"
	echo "$f/team/bb:1" >"$m/$name/image"
	echo start >"$m/$name/ctl" &
	writer=$!
	until_is 20 "reason pulling $f/team/bb:1" sed -n '/^reason p/p' "$m/$name/status"
	kill $writer
	run wait $writer
	until_is 20 created cat "$m/$name/state"
	bash -c "echo start > $m/$name/ctl" 2>"$regs/out" &
	writer=$!
	until_is 20 "reason pulling $f/team/bb:1" sed -n '/^reason p/p' "$m/$name/status"
	echo kill >"$m/$name/ctl"
	run ! wait $writer
	until_is 20 stopped cat "$m/$name/state"
	[ ! -e "$m/images/$f" ]
}

@test "an overlay mount keeps to the image that its changes lie on" {
	sandbox "$name"
	echo "tag bb movable" >"$ctl"
	echo "movable /data overlay" >"$m/$name/mounts"
	echo start >"$m/$name/ctl"
	echo 'echo mine >/data/mine' >"$m/$name/exec"
	echo stop >"$m/$name/ctl"
	echo "pull $r/team/two:1" >"$ctl"
	echo "tag $r/team/two:1 movable" >"$ctl"
	echo "rm $r/team/two:1" >"$ctl"
	echo start >"$m/$name/ctl"
	[ "$(guest "$name" 'cat /data/mine; ls /data/more 2>&1')" = "$(printf 'mine\nls: /data/more: No such file or directory')" ]
	# What has no changes on top is what the name means at each start.
	echo stop >"$m/$name/ctl"
	echo "movable /data image" >"$m/$name/mounts"
	grep -qx "$name" "$m/images/movable/used_by"
	echo kill >"$m/$name/ctl"
	rmdir "$m/$name"
	echo 'rm movable' >"$ctl"
}

@test "beside a pull names go and nothing is collected; msbd ends it with itself" {
	fake
	registry_fault "$fp" '{"do":"stall","path":".*/blobs/.*","times":-1}'
	echo "pull $r/team/two:1" >"$ctl"
	two=$(cut -d: -f2 "$m/images/$r/team/two:1/digest")
	bash -c "echo 'pull $f/team/bb:1' > $ctl" 2>"$regs/out" &
	writer=$!
	until_asked
	echo "rm $r/team/two:1" >"$ctl"
	echo gc >"$m/ctl"
	[ ! -e "$m/images/$r" ]
	[ -d "$MSB_STATE/store/images/$two" ]
	mkdir "$m/$name"
	echo "$f/team/bb:1" >"$m/$name/image"
	bash -c "echo start > $m/$name/ctl" 2>>"$regs/out" & # joins it
	starter=$!
	until_is 20 "reason pulling $f/team/bb:1" sed -n '/^reason p/p' "$m/$name/status"
	[ "$(registry_log "$fp" | grep -c /manifests/1)" = 1 ]
	kill $writer # the other waits for it still
	run ! wait $writer
	[ "$(tail -n 1 "$regs/out")" = "" ] || cat "$regs/out"
	[ "$(cat "$m/$name/state")" = starting ]
	"$bin/msbd" --stop
	run ! wait $starter
	"$bin/msbd"
	[[ $(cat "$m/$name/state") =~ ^(created|failed)$ ]]
	echo gc >"$m/ctl"
	[ ! -e "$MSB_STATE/store/images/$two" ]
}

@test "what is no image is pulled and kept, and no root is made of it" {
	python3 - "$regs/art" <<-'PY'
	import hashlib, json, os, sys
	d = sys.argv[1]; os.makedirs(d + "/blobs/sha256")
	def blob(b):
	    h = hashlib.sha256(b).hexdigest(); open(f"{d}/blobs/sha256/{h}", "wb").write(b)
	    return {"digest": "sha256:" + h, "size": len(b)}
	cfg = blob(b"{}") | {"mediaType": "application/vnd.oci.empty.v1+json"}
	layer = blob(b"any bytes at all") | {"mediaType": "application/vnd.example.thing"}
	man = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
	    "artifactType": "application/vnd.example", "config": cfg, "layers": [layer]}).encode()
	desc = blob(man) | {"mediaType": "application/vnd.oci.image.manifest.v1+json",
	    "annotations": {"org.opencontainers.image.ref.name": "1"}}
	json.dump({"schemaVersion": 2, "manifests": [desc]}, open(d + "/index.json", "w"))
	json.dump({"imageLayoutVersion": "1.0.0"}, open(d + "/oci-layout", "w"))
	PY
	registry_fake "$regs/$name.fake" --serve "thing=$regs/art"
	fake_pid=$REGISTRY_PID f=localhost:$REGISTRY_PORT
	echo "pull $f/thing:1" >"$ctl"
	grep -q '^- sha256:[0-9a-f]* 16 application/vnd.example.thing$' "$m/images/$f/thing:1/layers"
	mkdir "$m/$name"
	echo "$f/thing:1" >"$m/$name/image"
	fails "not supported" "of the kind \`artifact\`" "$m/$name/error" "echo start > $m/$name/ctl"
	[ "$(cat "$m/$name/state")" = created ]
	echo "push $f/thing:1 $r/thing:2" >"$ctl"
	skopeo inspect --raw --tls-verify=false "docker://$r/thing:2" | grep -q vnd.example.thing
	rmdir "$m/$name"
	echo "rm $f/thing:1" >"$ctl"
}

@test "msbd is killed while it pulls and imports: nothing half, and the next goes on" {
	fake
	registry_fault "$fp" '{"do":"stall","path":".*/blobs/.*","times":1,"after":300000}'
	before=$(find "$MSB_STATE/store/images" -mindepth 1 -maxdepth 1 | sort)
	(echo "pull $f/team/bb:1" >"$ctl") 2>/dev/null &
	writer=$!
	until_asked
	msbd_killed
	wait "$writer" || true
	until_is 20 "" ours "^$bin/msb-image"
	[ ! -e "$m/images/$f" ]
	[ "$(find "$MSB_STATE/store/images" -mindepth 1 -maxdepth 1 | sort)" = "$before" ]
	echo "pull $f/team/bb:1" >"$ctl"
	[ -f "$m/images/$f/team/bb:1/rootfs/bin/busybox" ]
	echo "rm $f/team/bb:1" >"$ctl"
	echo verify >"$ctl"
}

@test "logins: a secret is in one file of mode 0600, and nowhere else" {
	mkdir -p "$regs/auth"
	registry_docker "$regs/auth" --user ann:open-sesame
	fake_pid=$REGISTRY_PID a=localhost:$REGISTRY_PORT
	fails "Permission denied" "" "$m/error" "echo 'push bb $a/x:1' > $ctl"
	fails "Invalid argument" "not a registry" "$m/error" "echo 'login host ann' > $ctl"
	echo "login $a ann" >"$ctl"
	[ "$(cat "$m/images/logins/$a")" = ann ]
	[ "$(stat -c %a "$m/images/logins/$a")" = 600 ]
	fails "Permission denied" "no secret yet" "$m/error" "echo 'push bb $a/x:1' > $ctl"
	echo wrong-sesame >"$m/images/logins/$a"
	fails "Permission denied" "" "$m/error" "echo 'push bb $a/x:1' > $ctl"
	echo open-sesame >"$m/images/logins/$a"
	[ "$(cat "$m/images/logins/$a")" = ann ]
	echo "push bb $a/x:1" >"$ctl"
	"$bin/msbd" --stop
	"$bin/msbd"
	echo "pull $a/x:1" >"$ctl"
	[ "$(grep -rl sesame "$MSB_STATE" | sed 's|.*/||')" = "$(id -u)@$a" ]
	[ "$(stat -c %a "$MSB_STATE/logins" "$MSB_STATE/logins/$(id -u)@$a" | xargs)" = "700 600" ]
	run ! grep -q sesame "$m/log" "$m/errors" "$m/events" "$m/error" "$m"/images/pulls/*
	run ! grep -aq sesame "/proc/$(msbd_pid)/environ"
	fails "not permitted" "" "" "rm $m/images/logins/$a"
	echo "logout $a" >"$ctl"
	[ ! -e "$m/images/logins/$a" ]
	[ -z "$(ls -A "$MSB_STATE/logins")" ]
	fails "No such file" "not logged in" "$m/error" "echo 'logout $a' > $ctl"
	echo "rm $a/x:1" >"$ctl"
}

@test "registries: a table that stays, and is asked" {
	t=$m/images/registries
	fails "Invalid argument" "not an option" "$m/error" "echo 'r.lan what' > $t"
	fails "File exists" "a line of r.lan" "$m/error" "printf 'r.lan insecure\nr.lan plain_http\n' > $regs/t; cat $regs/t > $t"
	[ ! -s "$t" ] || [ "$(cat "$t")" = "" ]
	echo "r.lan mirror=http://$r" >"$t"
	echo "s.lan plain_http" >>"$t"
	"$bin/msbd" --stop
	"$bin/msbd"
	[ "$(cat "$t")" = "$(printf 'r.lan mirror=http://%s\ns.lan plain_http' "$r")" ]
	echo "pull r.lan/team/bb:1" >"$ctl"
	[ -d "$m/images/r.lan/team/bb:1" ]
	echo "rm r.lan/team/bb:1" >"$ctl"
	echo >"$t"
	[ -z "$(cat "$t")" ]
}

@test "paths are opened with the rights of who asks" {
	[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
	mkdir -m 0700 "$regs/private"
	cp -r "$repo/build/images/busybox" "$regs/private/oci"
	# A descriptor that root opened, and another user writes to: a set-user-ID program's way.
	cat >"$regs/as.py" <<-'PY'
	import os, sys
	fd = os.open(sys.argv[1], os.O_RDWR)
	uid = int(sys.argv[3]) if len(sys.argv) > 3 else 65534
	os.setgroups([]); os.setgid(uid); os.setuid(uid)
	try:
	    os.write(fd, sys.argv[2].encode())
	    print("ok")
	except OSError:
	    print(os.read(fd, 4096).decode(), end="")
	PY
	[[ $(python3 "$regs/as.py" "$ctl" "import $regs/private/oci $name") == "error EACCES "* ]]
	[[ $(python3 "$regs/as.py" "$ctl" "export $regs/private/x.tar bb") == "error EACCES "* ]]
	[[ $(python3 "$regs/as.py" "$ctl" "export /etc/passwd bb") == "error EACCES "* ]]
	[ ! -e "$m/images/$name" ]
	# A group that the user is in may read it, or write there: that counts, for this user alone.
	user=msb-grp-$$
	chmod 0755 "$regs"
	groupadd "$user-team"
	useradd --no-create-home --groups "$user-team" "$user"
	uid=$(id -u "$user")
	chgrp "$user-team" "$regs/private"
	chmod 0770 "$regs/private"
	run python3 "$regs/as.py" "$ctl" "import $regs/private/oci $name-team" "$uid"
	imported=$output
	run python3 "$regs/as.py" "$ctl" "export $regs/private/team.tar $name-team" "$uid"
	userdel "$user"
	groupdel "$user-team"
	[ "$imported $output" = "ok ok" ]
	[ "$(stat -c %u:%g "$regs/private/team.tar")" = "$uid:$uid" ]
	[[ $(python3 "$regs/as.py" "$ctl" "import $regs/private/oci $name") == "error EACCES "* ]]
	chmod 0700 "$regs/private"
	echo "rm $name-team" >"$ctl"
	chmod 0755 "$regs"
	mkdir -m 0777 "$regs/open"
	chmod 0777 "$regs/open"
	[ "$(python3 "$regs/as.py" "$ctl" "export $regs/open/x.tar bb")" = ok ]
	[ "$(stat -c %u "$regs/open/x.tar")" = 65534 ]
}

@test "an ordinary user: everything, with docker's credentials of its own" {
	[ "$(id -u)" = 0 ] || skip "needs root, to become somebody else"
	chmod 0755 "$regs"
	mkdir -p "$regs/auth2" "$regs/user/home/.docker" "$regs/user/run" "$regs/user/share"
	registry_docker "$regs/auth2" --user ann:open-sesame
	fake_pid=$REGISTRY_PID a=localhost:$REGISTRY_PORT
	cp -r "$repo/build/bin" "$repo/build/images/busybox" "$regs/user/"
	cp -rL "$repo/build/share/msb" "$regs/user/share/msb"
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$a" "$(printf ann:open-sesame | base64)" \
		>"$regs/user/home/.docker/config.json"
	cat >"$regs/user/do.sh" <<-'SH'
	set -euo pipefail
	cd "$HOME/.."
	PATH=$PWD/bin:$PATH m=$XDG_RUNTIME_DIR/msb
	msbd
	trap 'msbd --stop --all' EXIT
	msb load -q -i busybox bb
	msb pull -q "$1/team/two:1"
	msb push -q bb "$2/own/bb:1"
	msb pull -q "$2/own/bb:1"
	[ "$(cat "$m/images/$1/team/two:1/rootfs/more")" = more ]
	msb save -q -o out.tar bb
	[ "$(stat -c %u out.tar)" = "$(id -u)" ]
	msb load -q -i out.tar again
	echo s3cret | msb login --password-stdin -u me reg.lan
	[ "$(stat -c %a "$m/images/logins/reg.lan" "$HOME/.local/share/msb/logins/$(id -u)@reg.lan" | xargs)" = "600 600" ]
	msb verify -q
	[ "$(msb images -q | wc -l)" = 4 ]
	msb prune -f
	[ -z "$(msb images -q)" ]
	grep -qx 'stored_bytes 0' "$m/images/stat"
	SH
	user=msb-img-$$
	useradd --no-create-home --home-dir "$regs/user/home" --shell /bin/bash "$user"
	chown -R "$user" "$regs/user"
	chmod 0700 "$regs/user/run"
	[ -e "$regs/fuse" ] || mknod "$regs/fuse" c 10 229
	chmod 0666 "$regs/fuse"
	run unshare -m bash -c "mount --bind $regs/fuse /dev/fuse && exec runuser -u $user -- \
		env -i PATH=/usr/bin:/bin HOME=$regs/user/home XDG_RUNTIME_DIR=$regs/user/run \
		bash -x $regs/user/do.sh $r $a"
	echo "$output"
	until_is 5 '' pgrep -u "$user" -a
	userdel "$user"
	[ "$status" = 0 ]
}

@test "a sandbox that is another user's is started with that user's credentials" {
	[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
	chmod 0755 "$regs"
	mkdir -p "$regs/auth3" "$regs/home3/.docker"
	registry_docker "$regs/auth3" --user ann:open-sesame
	fake_pid=$REGISTRY_PID a=localhost:$REGISTRY_PORT
	skopeo --insecure-policy copy -q --dest-tls-verify=false --dest-creds ann:open-sesame \
		"oci:$regs/two:two" "docker://$a/private/two:1"
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$a" "$(printf ann:open-sesame | base64)" >"$regs/home3/.docker/config.json"
	user=msb-own-$$
	useradd --no-create-home --home-dir "$regs/home3" "$user"
	chown -R "$user" "$regs/home3"
	chmod -R go= "$regs/home3/.docker"
	mkdir "$m/$name"
	echo 128M >"$m/$name/memory_bytes"
	echo "$a/private/two:1" >"$m/$name/image"
	chown "$user:" "$m/$name"
	HOME=/nonexistent fails "denied" "" "$m/$name/error" "echo start > $m/$name/ctl"
	[ ! -e "$m/images/$a" ]
	run runuser -u "$user" -- sh -c "echo start > $m/$name/ctl && echo kill > $m/$name/ctl"
	userdel "$user"
	[ "$status" = 0 ] || { cat "$m/$name/error"; false; }
	[ -d "$m/images/$a/private/two:1" ]
	[[ $(grep -h "private/two" "$m"/images/pulls/* | tail -n 1) == *'"uid":'*[1-9]* ]]
	rmdir "$m/$name"
	echo "rm $a/private/two:1" >"$ctl"
}

@test "prune keeps what sandboxes use, and what their roots were made of" {
	sandbox "$name"
	ls "$m/$name/root/etc/passwd"
	echo "pull $r/team/two:1" >"$ctl"
	echo prune >"$ctl"
	[ ! -e "$m/images/$r" ]
	[ -d "$m/images/localhost/bb:latest" ]
	ls "$m/$name/root/etc/passwd"
	grep -qx "images 1" "$m/images/stat"
	rmdir "$m/$name"
}

@test "verify names what is damaged, and a pull mends it" {
	echo "pull $r/team/two:1" >"$ctl"
	echo "verify $r/team/two:1" >"$ctl"
	pack=$(find "$MSB_STATE/store/packs" -type f ! -name '*.*' -size +8k -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
	printf 'damage' | dd of="$pack" bs=1 seek=5000 conv=notrunc status=none
	fails "Bad message" "" "$m/error" "echo verify > $ctl"
	grep -q '{"damaged":"' "$m/images/pulls/$(last)"
	# It is known however long that is.
	msbd_killed
	echo "pull $r/team/two:1" >"$ctl"
	echo "verify $r/team/two:1" >"$ctl"
	# An import of the same image mends it, too.
	printf 'damage' | dd of="$pack" bs=1 seek=5000 conv=notrunc status=none
	fails "Bad message" "" "$m/error" "echo verify > $ctl"
	echo "import $regs/two two" >"$ctl"
	echo verify >"$ctl"
	echo "rm $r/team/two:1" >"$ctl"
	echo "rm two" >"$ctl"
}

@test "msb: docker's commands" {
	fake
	[ "$("$msb" pull "$f/team/bb:1" "$r/team/two:1" 2>"$regs/err")" = "$(printf '%s\n' "$f/team/bb:1" "$r/team/two:1")" ]
	grep -q ': Downloading$' "$regs/err"
	grep -q '^Digest: sha256:' "$regs/err"
	[ "$("$msb" pull -q "$r/team/two:1" 2>&1)" = "$r/team/two:1" ]
	"$msb" images | grep -q "^$r/team/two  *1  *[0-9a-f]\{12\}  "
	[ "$("$msb" images -q "$r/team/two")" = "$(cut -c 8-19 "$m/images/$r/team/two:1/digest")" ]
	"$msb" images --format json bb | python3 -c 'import json,sys; assert json.loads(sys.stdin.read())["name"] == "localhost/bb:latest"'
	"$msb" tag bb "$name"
	"$msb" rmi "$name"
	"$msb" push bb "$r/cli/bb:1" 2>/dev/null | grep -q '^sha256:'
	cd "$regs"
	"$msb" save -o rel.tar bb
	"$msb" save bb | cmp - rel.tar
	"$msb" load -i rel.tar "$name"
	"$msb" rmi "$name"
	"$msb" load "$name" <rel.tar
	"$msb" rmi "$name"
	"$msb" verify bb
	"$msb" rmi "$r/team/two:1" "$f/team/bb:1"
}

@test "msb: what fails says why, with 125" {
	run "$msb"
	[ "$status" = 125 ]
	for c in "nosuch" "pull" "pull -x a" "tag a" "images --format xml" "rmi nosuch" "pull localhost/x" "pull Upper" "load -i /nosuch" "logout"; do
		# shellcheck disable=SC2086 # words
		run "$msb" $c
		[ "$status" = 125 ] || { echo "$c: $status"; false; }
		[ -n "$output" ]
	done
	[[ $("$msb" pull localhost/x 2>&1) == "msb: localhost/ is for what is imported"* ]]
	[[ $(MSB_MNT=/nosuch "$msb" images 2>&1) == "msb: no msbd serves /nosuch"* ]]
	"$msb" --help | grep -q '^  pull '
	"$msb" pull --help | grep -q -- '--quiet'
	run ! bash -c "'$msb' save bb >/dev/full"
	run "$msb" prune </dev/null
	[ "$status" = 125 ]
	[[ $output == *'nobody said yes, and nothing was removed; `msb prune -f` does not ask' ]]
	run "$msb" prune <<<n
	[ "$status" = 125 ]
	[[ $output == *'nothing was removed' ]]
	[ -d "$m/images/localhost/bb:latest" ]
	echo s3cret | "$msb" login --password-stdin -u me reg.lan
	[ "$(cat "$m/images/logins/reg.lan")" = me ]
	"$msb" logout reg.lan
}

@test "msb: bars on a terminal, ^C ends the pull" {
	fake
	registry_fault "$fp" '{"do":"slow","path":".*/blobs/.*","times":-1,"rate":1000000}'
	python3 - "$msb" "$f/team/bb:1" <<-'PY' >"$regs/tty"
	import os, pty, sys
	def run(*argv): pty.spawn(argv)
	os.environ["TERM"] = "xterm"
	run(sys.argv[1], "pull", sys.argv[2])
	PY
	grep -q 'Downloading.*\[=*>  *\]' "$regs/tty"
	grep -q $'\033\[[0-9]*A' "$regs/tty"
	grep -q $'\033\[36m' "$regs/tty"
	"$msb" rmi "$f/team/bb:1"
	registry_reset
	registry_fault "$fp" '{"do":"stall","path":".*/blobs/.*","skip":1,"times":-1,"after":600000}'
	NO_COLOR=1 python3 - "$msb" "$f/team/bb:2" <<-'PY' >"$regs/tty"
	import os, pty, signal, sys
	signal.alarm(180)
	pid, fd = pty.fork()
	if pid == 0: os.execv(sys.argv[1], [sys.argv[1], "pull", sys.argv[2]])
	seen = b""
	try:
	    while b"Downloading" not in seen: seen += os.read(fd, 4096)
	    os.write(fd, b"\x03")
	    while True: seen += os.read(fd, 4096)
	except OSError: pass
	print(seen.decode())
	assert b"Downloading" in seen, seen
	assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
	PY
	run ! grep -q $'\033\[36m' "$regs/tty"
	[ ! -e "$m/images/$f" ]
}

@test "msb: ^C where a password is asked for leaves the terminal as it was" {
	python3 - "$msb" <<-'PY'
	import os, pty, signal, sys, termios
	signal.alarm(60)
	pid, fd = pty.fork()
	if pid == 0: os.execv(sys.argv[1], [sys.argv[1], "login", "-u", "me", "reg.lan"])
	seen = b""
	while b"Password: " not in seen: seen += os.read(fd, 4096)
	while termios.tcgetattr(fd)[3] & termios.ECHO: pass
	os.write(fd, b"\x03")
	assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
	assert termios.tcgetattr(fd)[3] & termios.ECHO
	PY
	[ ! -e "$m/images/logins/reg.lan" ]
}

@test "what an image may hold can be set lower, for the whole instance" {
	export MSB_MNT=$dir/m2 MSB_STATE=$dir/s2
	run ! env MSB_IMAGE_MAX_BYTES=2T "$bin/msbd"
	[[ $output == *"MSB_IMAGE_MAX_BYTES is a number from 1 to 1099511627776 (or with K, M, G, T), not"* ]]
	local n
	for n in INODES LAYERS DEPTH XATTR_BYTES JSON_BYTES MANIFESTS MEMBERS PAX_BYTES XATTRS PARTS WINDOW_BYTES DISK_BYTES MEMORY_BYTES; do
		run ! env "MSB_IMAGE_MAX_$n=many" "$bin/msbd"
		[[ $output == *"MSB_IMAGE_MAX_$n is a number from "*"many"* ]]
		grep -q "^| MSB_IMAGE_MAX_$n |" "$repo/README.md"
	done
	[ "$(grep -c '^| MSB_IMAGE_MAX_' "$repo/README.md")" = 14 ]
	# What msbd is told reaches who reads the image.
	for n in LAYERS=1 DEPTH=1 JSON_BYTES=10; do
		env "MSB_IMAGE_MAX_$n" "$bin/msbd"
		run ! bash -c "echo 'pull $r/team/two:1' >$dir/m2/images/ctl"
		case $n in
		LAYERS*) grep -q 'more than 1 layers' "$dir/m2/error" ;;
		DEPTH*) grep -q 'too deep' "$dir/m2/error" ;;
		*) grep -q '10 bytes' "$dir/m2/error" ;;
		esac
		"$bin/msbd" --stop
	done
	MSB_IMAGE_MAX_INODES=20 "$bin/msbd"
	fails "too long" "too many files" "$dir/m2/error" "echo 'import $repo/build/images/busybox bb' >$dir/m2/images/ctl"
	fails "too long" "too many files" "$dir/m2/error" "echo 'pull $r/team/bb:1' >$dir/m2/images/ctl"
	"$bin/msbd" --stop
	MSB_IMAGE_MAX_BYTES=100K "$bin/msbd"
	fails "too long" "more than 102400 bytes" "$dir/m2/error" "echo 'pull $r/team/bb:1' >$dir/m2/images/ctl"
	[ "$(sed -n 's/^stored_bytes //p' "$dir/m2/images/stat")" = 0 ]
	"$bin/msbd" --stop
	MSB_IMAGE_MAX_BYTES=100M "$bin/msbd"
	echo "pull $r/team/bb:1" >"$dir/m2/images/ctl"
	"$bin/msbd" --stop --all
}
