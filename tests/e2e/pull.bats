# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # helper.bash sets them
# Pulls from a registry that misbehaves, and with any process killed at any moment: each time the store checks
# clean, and the next try succeeds. MSB_KILLS=N: so many points instead of a few.

load helper
source "$BATS_TEST_DIRNAME/../registry/registry.bash"

setup_file() {
	msb_setup
	regs=$(mktemp -d /tmp/msbr.XXXXXX) # not below $dir: what serves it outlives msbd
	export regs
	local k
	umoci init --layout "$regs/x"
	umoci new --image "$regs/x:1"
	for k in 1 2 3; do
		mkdir -p "$regs/tree/$k"
		head -c 1500000 /dev/urandom >"$regs/tree/$k/random"
		seq $((k * 30000)) >"$regs/tree/$k/text"
		umoci insert --rootless --image "$regs/x:1" "$regs/tree/$k" "/$k" >/dev/null
	done
	umoci config --image "$regs/x:1" --os linux --architecture amd64
	things "$regs/things"
	registry_docker "$regs/docker" 2>/dev/null
	export docker_pid=$REGISTRY_PID docker=localhost:$REGISTRY_PORT
	registry_fake "$regs/fake" --serve "team/x=$regs/x" --serve "team/things=$regs/things"
	export fake_pid=$REGISTRY_PID port=$REGISTRY_PORT f=localhost:$REGISTRY_PORT
	"$bin/msbd"
}

teardown_file() {
	registry_stop "$docker_pid"
	registry_stop "$fake_pid"
	msb_teardown
	rm -rf "$regs"
}

setup() {
	ctl=$m/images/ctl
	store=$dir/s/store
	curl -sf -X POST "http://$f/_ctl/reset" >/dev/null
}

# An OCI layout of an artifact, and of a mixtape in two formats.
things() {
	python3 - "$1" <<-'PY'
		import hashlib, json, os, sys
		out = sys.argv[1]
		os.makedirs(out + "/blobs/sha256")
		def blob(data, media_type):
		    if isinstance(data, dict):
		        data = json.dumps(data).encode()
		    h = hashlib.sha256(data).hexdigest()
		    with open(f"{out}/blobs/sha256/{h}", "wb") as f:
		        f.write(data)
		    return {"mediaType": media_type, "digest": "sha256:" + h, "size": len(data)}
		def manifest(config, layers, **more):
		    return blob({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		                 "config": config, "layers": layers, **more}, "application/vnd.oci.image.manifest.v1+json")
		empty = blob(b"{}", "application/vnd.oci.empty.v1+json")
		thing = manifest(empty, [blob(os.urandom(3000000), "application/vnd.example.data"), empty, blob(b"", "text/plain")],
		                 artifactType="application/vnd.example+type")
		tape = "application/vnd.papercompute.stereos."
		common = [blob(b"kernel" * 99999, tape + "kernel.v1"), blob(b"initrd", tape + "initrd.v1"),
		          blob(b"console=hvc0", tape + "cmdline.v1"), blob(b"[mixtape]", tape + "mixtape-manifest.v1+toml")]
		formats = [manifest(empty, [blob(f.encode() * 1000, f"{tape}disk.v1+{f}+zstd")] + common) for f in ("qcow2", "raw")]
		for m in formats:
		    m["platform"] = {"os": "linux", "architecture": "amd64"}
		index = blob({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": formats},
		             "application/vnd.oci.image.index.v1+json")
		named = [dict(d, annotations={"org.opencontainers.image.ref.name": n}) for d, n in ((thing, "thing"), (index, "tape"))]
		for name, doc in (("index.json", {"schemaVersion": 2, "manifests": named}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
		    with open(f"{out}/{name}", "w") as f:
		        json.dump(doc, f)
	PY
}

names() {
	find "$store/$1" -mindepth 1 | wc -l
}

# Nothing is left in the store.
empty() {
	local d
	[ ! -e "$m/images/$f/team/x:1" ] || echo "rm $f/team/x:1" >"$ctl"
	echo prune >"$ctl"
	for d in images layers packs blobs tmp; do
		[ "$(names $d)" = 0 ] || { find "$store/$d"; return 1; }
	done
}

# The image is there, whole, and what it was.
whole() {
	local k
	echo "verify $f/team/x:1" >"$ctl"
	for k in 1 2 3; do
		diff -r "$regs/tree/$k" "$m/images/$f/team/x:1/rootfs/$k"
	done
	[ "$(names blobs)" = 0 ]
	[ "$(names layers)" = 3 ]
}

# faulty WANT JSON...: a pull with those faults succeeds (ok), fails (bad) or does either (any); the next one succeeds
faulty() {
	local want=$1 got=ok j
	shift
	empty
	for j; do
		registry_fault "$port" "$j"
	done
	echo "pull $f/team/x:1" >"$ctl" 2>/dev/null || got=bad
	[ "$want" = any ] || [ "$want" = "$got" ] || { echo "$*: $got: $(cat "$m/error")"; return 1; }
	[ $got = ok ] || [ ! -e "$m/images/$f/team/x:1" ]
	echo verify >"$ctl"
	curl -sf -X POST "http://$f/_ctl/reset" >/dev/null
	echo "pull $f/team/x:1" >"$ctl"
	whole
}

@test "a registry that breaks off, and is asked again" {
	faulty ok '{"do":"reset","path":".*/blobs/.*","after":400000,"times":3}'
	faulty ok '{"do":"close","path":".*/blobs/.*","after":100000,"times":2}'
	faulty ok '{"do":"status","code":503,"headers":{"Retry-After":"0"},"times":4}'
	faulty ok '{"do":"status","code":429,"headers":{"Retry-After":"0"},"path":".*/manifests/.*","times":1}'
	faulty ok '{"do":"redirect","to":"{path}","path":".*/blobs/.*","times":3}'
	faulty ok '{"do":"norange","times":-1}'
	faulty ok '{"do":"nodigest","times":-1}'
}

@test "a registry that lies" {
	faulty bad '{"do":"corrupt","path":".*/blobs/.*","at":5000,"times":-1}'
	faulty bad '{"do":"corrupt","path":".*/manifests/.*","at":50,"times":-1}'
	faulty any '{"do":"length","path":".*/blobs/.*","delta":10,"times":-1}'
	faulty any '{"do":"length","path":".*/blobs/.*","delta":-10,"times":-1}'
	faulty any '{"do":"longer","path":".*/blobs/.*","n":100,"times":-1}'
	faulty any '{"do":"badrange","path":".*/blobs/.*","value":"bytes 7-9/10","times":-1}'
	faulty any '{"do":"nolength","times":-1}'
	faulty bad '{"do":"loop","path":".*/blobs/.*","times":-1}'
	faulty bad '{"do":"status","code":200,"body":"<html>","path":".*/manifests/.*","times":-1}'
}

@test "an interrupted pull goes on where it was" {
	empty
	registry_fault "$port" '{"do":"slow","path":".*/blobs/.*","rate":400000,"times":-1}'
	env --default-signal=INT bash -c "echo 'pull $f/team/x:1' > $ctl" &
	pid=$!
	until_is 20 yes eval "[ -n \"\$(find $store/blobs -name '*.part' -size +0)\" ] && echo yes"
	kill -INT $pid
	wait $pid || true
	until_is 10 0 bash -c "pgrep -P $(msbd_pid) msb-image | wc -l"
	[ "$(names images)" = 0 ]
	[ "$(find "$store/blobs" -name '*.part' | wc -l)" -gt 0 ]
	curl -sf -X POST "http://$f/_ctl/reset" >/dev/null
	echo "pull $f/team/x:1" >"$ctl"
	registry_log "$port" | grep -q '"range": *"bytes=[1-9]'
	whole
}

# killed ROUND VICTIM LINE: LINE runs while VICTIM is killed at some moment
killed() {
	local pid victim=$2 job
	(echo "$3" >"$ctl") 2>/dev/null &
	job=$!
	read -rt "0.$(printf %03d $((RANDOM % 500)))" <> <(:) || true
	pid=$(msbd_pid)
	[ "$victim" = msbd ] || pid=$(pgrep -P "$pid" -x "$victim" || true)
	# shellcheck disable=SC2086 # one or several
	[ -z "$pid" ] || kill -9 $pid 2>/dev/null || true
	wait "$job" || true
	if [ "$victim" = msbd ]; then
		"$bin/msbd"
		# Its helpers end by themselves.
		until_is 20 "" ours "^msb-image (pull|push|gc)"
	fi
	echo verify >"$ctl" || { cat "$m/error"; return 1; }
}

@test "kill -9 of each process while it pulls, collects and pushes" {
	local k rounds=${MSB_KILLS:-12} victims=(msb-image msb-registry msbd)
	for ((k = 0; k < rounds; k++)); do
		((k % 3)) || empty
		killed "$k" "${victims[k / 2 % 3]}" "pull $f/team/x:1"
	done
	empty
	echo "pull $f/team/x:1" >"$ctl"
	whole
	for ((k = 0; k < rounds / 2; k++)); do
		killed "$k" "${victims[k % 3]}" "push $f/team/x:1 $docker/killed/x:$((k / 3))"
	done
	whole
	echo "push $f/team/x:1 $docker/killed/x:last" >"$ctl"
	echo "pull $docker/killed/x:last" >"$ctl"
	diff -r "$regs/tree/2" "$m/images/$docker/killed/x:last/rootfs/2"
	echo "rm $docker/killed/x:last" >"$ctl"
	for ((k = 0; k < rounds / 2; k++)); do
		killed "$k" "$( ((k % 2)) && echo msbd || echo msb-image)" "rm $f/team/x:1"
		killed "$k" msb-image prune
		echo "pull $f/team/x:1" >"$ctl"
		whole
	done
	empty
}

@test "an artifact: byte for byte, from one registry into another" {
	echo "pull $f/team/things:thing" >"$ctl"
	python3 - "$m/images/$f/team/things:thing/manifest.json" <<-'PY' >"$regs/digests"
		import json, sys
		for l in json.load(open(sys.argv[1]))["layers"]:
		    print(l["digest"][7:])
	PY
	while read -r h; do
		cmp "$store/blobs/$h" "$regs/things/blobs/sha256/$h"
	done <"$regs/digests"
	echo "push $f/team/things:thing $docker/copied/thing:1" >"$ctl"
	skopeo inspect --raw --tls-verify=false "docker://$docker/copied/thing:1" >"$regs/raw"
	cmp "$regs/raw" "$m/images/$f/team/things:thing/manifest.json"
	echo "export $regs/thing.tar $f/team/things:thing" >"$ctl"
	echo "import $regs/thing.tar thing" >"$ctl"
	[ "$(cat "$m/images/localhost/thing:latest/digest")" = "$(cat "$m/images/$f/team/things:thing/digest")" ]
}

@test "a mixtape: the raw disk of two formats, and which blob is what" {
	local hex want
	echo "pull $f/team/things:tape" >"$ctl"
	grep -q disk.v1+raw "$m/images/$f/team/things:tape/manifest.json"
	hex=$(cat "$m/images/$f/team/things:tape/digest")
	meta=$store/images/${hex#sha256:}/meta
	grep -qx 'kind mixtape' "$meta"
	grep -qx 'mixtape.disk_format raw' "$meta"
	grep -qx 'mixtape.disk_compression zstd' "$meta"
	for want in kernel:kernel initrd:initrd cmdline:console disk:rawraw; do
		hex=$(sed -n "s/^mixtape.${want%:*} //p" "$meta")
		[[ $(head -c 20 "$store/blobs/$hex") == ${want#*:}* ]]
	done
	echo "verify $f/team/things:tape" >"$ctl"
}
