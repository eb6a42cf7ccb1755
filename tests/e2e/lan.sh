#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC1091 # helper.bash sets them
# Registries that are not on loopback: in a network namespace of their own, with names, an authority of one's own,
# a login; tokens and contents from other hosts; behind a proxy. Root; run by lan.bats.
set -eu
# Namespaces of its own, which end with it. What msbd sees of /etc/hosts is in them, too.
[ -n "${MSB_LAN_INSIDE:-}" ] || MSB_LAN_INSIDE=1 exec unshare -mn --propagation private "$0" "$@"

BATS_TEST_DIRNAME=$(cd "$(dirname "$0")" && pwd)
source "$BATS_TEST_DIRNAME/helper.bash"
source "$BATS_TEST_DIRNAME/../registry/registry.bash"

pids=()
finish() {
	local rc=$? pid
	trap - EXIT
	set +e
	[ $rc = 0 ] || cat "$m/error"
	"$bin/msbd" --stop --all
	for pid in "${pids[@]}"; do registry_stop "$pid"; done
	! pgrep -af "$regs/" || rc=1
	msb_teardown || rc=1
	rm -rf "$regs"
	exit $rc
}

# there COMMAND...: in the network of the registries
there() {
	nsenter -t "$far" -n "$@"
}

# of_far FUNCTION...: of registry.bash, there; its variables are this shell's
of_far() {
	eval "python3() { exec nsenter -t $far -n python3 \"\$@\"; }; docker-registry() { exec nsenter -t $far -n docker-registry \"\$@\"; }"
	"$@"
	unset -f python3 docker-registry
	pids+=("$REGISTRY_PID")
}

# log_of PORT JQ-FILTER: what that registry was asked
log_of() {
	there curl -skf "https://127.0.0.1:$1/_ctl/log" | jq -r "$2"
}

# refused TEXT REF: a pull of REF fails, and `error` has TEXT
refused() {
	if (echo "pull $2" >"$m/images/ctl") 2>/dev/null; then
		echo "$2 should be refused"
		return 1
	fi
	grep -qF "$1" "$m/error" || { echo "$2: not '$1' but: $(cat "$m/error")"; return 1; }
	[ ! -e "$m/images/$2" ]
}

# taken REF: pulled, and whole
taken() {
	echo "pull $1" >"$m/images/ctl"
	diff -r "$regs/tree" "$m/images/$1/rootfs/data"
	echo "verify $1" >"$m/images/ctl"
}

# forget: every image
forget() {
	echo prune >"$m/images/ctl"
}

msb_setup
regs=$(mktemp -d /tmp/msbr.XXXXXX)
trap finish EXIT
export HOME=$regs/home
mkdir -p "$HOME" "$regs/tree"
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY

# The two networks, and a name for each address there.
unshare -n sleep infinity 3>&- 4>&- &
far=$!
pids+=("$far")
until_is 10 yes eval "[ \"\$(readlink /proc/$far/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ] && echo yes"
ip link set lo up
there ip link set lo up
ip link add near type veth peer name far netns "$far"
ip addr add 192.0.2.1/24 dev near
ip link set near up
for k in 2 3 4 5; do there ip addr add "192.0.2.$k/24" dev far; done
there ip link set far up
printf '%s\n' "127.0.0.1 localhost" "192.0.2.2 registry.lan" "192.0.2.3 auth.lan" "192.0.2.4 cdn.lan" \
	"192.0.2.5 proxy.lan" >"$regs/hosts"
mount --bind "$regs/hosts" /etc/hosts

head -c 300000 /dev/urandom >"$regs/tree/random"
seq 20000 >"$regs/tree/text"
umoci init --layout "$regs/x"
umoci new --image "$regs/x:1"
umoci insert --rootless --image "$regs/x:1" "$regs/tree" /data >/dev/null
umoci config --image "$regs/x:1" --os linux --architecture amd64

registry_ca "$regs/tls" "DNS:registry.lan,DNS:auth.lan,DNS:cdn.lan,DNS:hidden.lan,IP:192.0.2.2,IP:127.0.0.1"
ca=$regs/tls/ca.pem
mkdir "$regs/docker"
cp "$regs"/tls/server.{pem,key} "$regs/docker"
of_far registry_docker "$regs/docker" --tls --user ann:s3cret-of-ann --host 0.0.0.0
docker=$REGISTRY_PORT
of_far registry_docker "$regs/plain" --host 0.0.0.0
plain=$REGISTRY_PORT
mkdir "$regs/certs"
cp "$ca" "$regs/certs/ca.crt"
skopeo copy -q --dest-cert-dir "$regs/certs" --dest-creds ann:s3cret-of-ann "oci:$regs/x:1" "docker://registry.lan:$docker/x:1"
skopeo copy -q --dest-tls-verify=false "oci:$regs/x:1" "docker://registry.lan:$plain/x:1"

"$bin/msbd"
ctl=$m/images/ctl r=registry.lan:$docker

echo "== an authority of one's own, and a login"
refused certificate "$r/x:1"
echo "$r ca=$ca" >>"$m/images/registries"
refused "login" "$r/x:1"
echo "login $r ann" >"$ctl"
echo "wrong-secret" >"$m/images/logins/$r"
refused "$r" "$r/x:1"
echo "s3cret-of-ann" >"$m/images/logins/$r"
taken "$r/x:1"
echo "push $r/x:1 $r/team/y:2" >"$ctl"
echo "tag $r/x:1 mine" >"$ctl"
echo "push mine $r/team/mine:1" >"$ctl"
forget
taken "$r/team/y:2"
skopeo inspect --cert-dir "$regs/certs" --creds ann:s3cret-of-ann "docker://$r/team/mine:1" >/dev/null
forget

echo "== by its address"
echo "192.0.2.2:$docker ca=$ca" >>"$m/images/registries"
echo "login 192.0.2.2:$docker ann" >"$ctl"
echo "s3cret-of-ann" >"$m/images/logins/192.0.2.2:$docker"
taken "192.0.2.2:$docker/x:1"
forget

echo "== plain HTTP"
asked=$(grep -c http.request.uri "$regs/plain/log")
refused plain_http "registry.lan:$plain/x:1"
[ "$asked" = "$(grep -c http.request.uri "$regs/plain/log")" ] # in the clear it was asked nothing
echo "registry.lan:$plain plain_http" >>"$m/images/registries"
taken "registry.lan:$plain/x:1"
echo "push registry.lan:$plain/x:1 registry.lan:$plain/x:2" >"$ctl"
forget

echo "== tokens from one host, contents from another"
of_far registry_fake "$regs/cdn" --host 0.0.0.0 --tls "$regs"/tls/server.{pem,key} --serve "x=$regs/x"
cdn=$REGISTRY_PORT
of_far registry_fake "$regs/auth" --host 0.0.0.0 --tls "$regs"/tls/server.{pem,key} --auth bearer --user bob:s3cret-of-bob \
	--serve "x=$regs/x" --realm "https://auth.lan:4443/token" --port 4443
f=registry.lan:4443
echo "$f ca=$ca" >>"$m/images/registries"
refused "login" "$f/x:1"
echo "login $f bob" >"$ctl"
echo "s3cret-of-bob" >"$m/images/logins/$f"
taken "$f/x:1"
[ "$(log_of 4443 'select(.path | startswith("/token")) | .host' | sort -u)" = auth.lan:4443 ]
[ "$(log_of 4443 'select(.auth == "Basic") | .host' | sort -u)" = auth.lan:4443 ]
forget
there curl -skf "https://127.0.0.1:4443/_ctl/fault" -d "{\"do\":\"redirect\",\"to\":\"https://cdn.lan:$cdn{path}\",\"path\":\".*/blobs/.*\",\"times\":-1}"
taken "$f/x:1"
[ "$(log_of "$cdn" 'select(.status < 300) | .host' | sort -u)" = "cdn.lan:$cdn" ]
[ "$(log_of "$cdn" .auth | sort -u)" = null ]
echo "push $f/x:1 $f/again:1" >"$ctl"
forget
there curl -skf -X POST "https://127.0.0.1:4443/_ctl/reset"
there curl -skf "https://127.0.0.1:4443/_ctl/fault" -d "{\"do\":\"redirect\",\"to\":\"http://cdn.lan:$cdn{path}\",\"path\":\".*/blobs/.*\",\"times\":-1}"
refused "cdn.lan without TLS" "$f/x:1"

echo "== a proxy, to a host whose name only it knows"
nsenter -t "$far" -n python3 "$REGISTRY_TOOLS/fake_proxy.py" "$regs/proxy.port" "$regs/proxy.log" carl:s3cret-of-carl 192.0.2.5 </dev/null 3>&- 4>&- &
pids+=($!)
until_is 10 yes eval "[ -s $regs/proxy.port ] && echo yes"
h=hidden.lan:$docker
printf '%s ca=%s\n' "$h" "$ca" >>"$m/images/registries"
echo "login $h ann" >"$ctl"
echo "s3cret-of-ann" >"$m/images/logins/$h"
refused hidden.lan "$h/x:1"
"$bin/msbd" --stop --all
proxy=proxy.lan:$(cat "$regs/proxy.port")
export https_proxy=http://$proxy
"$bin/msbd"
refused "the proxy to $h wants another login" "$h/x:1"
"$bin/msbd" --stop --all
export https_proxy=http://carl:s3cret-of-carl@$proxy no_proxy=registry.lan
: >"$regs/proxy.log"
"$bin/msbd"
taken "$h/x:1"
grep -q "^CONNECT hidden.lan:$docker " "$regs/proxy.log"
taken "$r/x:1"
(! grep -q registry.lan "$regs/proxy.log")

echo "== and no secret is anywhere to be read"
read_by_all=("$m/images/pulls" "$m/events" "$m/error" "$m/errors" "$m/log" "$MSB_STATE/run/msb.log" "$MSB_STATE"/msb.db{,-wal})
for k in "${read_by_all[@]}"; do [ -e "$k" ]; done
[ -s "$MSB_STATE/run/msb.log" ]
(! grep -rFl s3cret "${read_by_all[@]}")
