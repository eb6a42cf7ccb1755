# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034 # its variables are for who sources it
# Registries for tests, on loopback where nothing else is said, sourced by bash. Each takes a free port and ends with registry_stop.
#
#	registry_fake DIR [OPTION...]     fake_registry.py (its options are there); what is pushed is kept in DIR
#	registry_docker DIR [OPTION...]   Debian's docker-registry, its data in DIR; restarted there it has them again
#	    --user NAME:SECRET            HTTP Basic (htpasswd)       --tls   with DIR/server.pem, made by registry_ca
#	    --delete                      manifests and blobs may be deleted
#	    --host ADDRESS
#	registry_ca DIR [NAMES]           DIR/ca.pem, and DIR/server.{pem,key} of localhost and 127.0.0.1 signed by it,
#	                                  or of NAMES (a subjectAltName of openssl's)
#	registry_stop PID                 and waits
# The first two set REGISTRY_PORT and REGISTRY_PID, and answer once it listens. Its log is DIR/log.
#	registry_fault PORT JSON          a rule for registry_fake
#	registry_log PORT                 the requests that it has seen, JSON Lines

REGISTRY_TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

registry_ca() {
	local d=$1
	mkdir -p "$d"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj "/CN=msb test CA" \
		-keyout "$d/ca.key" -out "$d/ca.pem" 2>/dev/null || return
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=localhost" \
		-keyout "$d/server.key" -out "$d/server.csr" 2>/dev/null || return
	openssl x509 -req -in "$d/server.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 3 \
		-extfile <(echo "subjectAltName=${2:-DNS:localhost,IP:127.0.0.1}") -out "$d/server.pem" 2>/dev/null
}

# registry_wait PID COMMAND...: until COMMAND succeeds; fails where PID ends before
registry_wait() {
	local pid=$1
	shift
	until "$@"; do
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.05
	done
}

registry_fake() {
	local d=$1
	shift
	mkdir -p "$d"
	rm -f "$d/port"
	# No descriptor of the caller's: bats waits for whoever has its own.
	python3 "$REGISTRY_TOOLS/fake_registry.py" --dir "$d" --port-file "$d/port" "$@" \
		>"$d/log" 2>&1 </dev/null 3>&- 4>&- &
	REGISTRY_PID=$!
	registry_wait "$REGISTRY_PID" test -s "$d/port" || { cat "$d/log" >&2; return 1; }
	REGISTRY_PORT=$(cat "$d/port")
}

registry_docker() {
	local d=$1 user='' tls='' delete=false host=127.0.0.1
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--user) user=$2; shift ;;
		--tls) tls=1 ;;
		--delete) delete=true ;;
		--host) host=$2; shift ;;
		*) echo "registry_docker: $1?" >&2; return 2 ;;
		esac
		shift
	done
	mkdir -p "$d/data"
	{
		printf 'version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: %s}}\n' "$d" $delete
		printf 'http:\n  addr: %s:0\n' "$host"
		[ -z "$tls" ] || printf '  tls: {certificate: %s/server.pem, key: %s/server.key}\n' "$d" "$d"
		if [ -n "$user" ]; then
			printf '%s:%s\n' "${user%%:*}" \
				"$(SECRET=${user#*:} perl -e 'print crypt($ENV{SECRET}, q($2y$04$abcdefghijklmnopqrstuu))')" >"$d/htpasswd"
			printf 'auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n' "$d"
		fi
	} >"$d/config.yml"
	OTEL_TRACES_EXPORTER=none docker-registry serve "$d/config.yml" >"$d/log" 2>&1 </dev/null 3>&- 4>&- &
	REGISTRY_PID=$!
	registry_wait "$REGISTRY_PID" grep -qs 'listening on' "$d/log" || { cat "$d/log" >&2; return 1; }
	REGISTRY_PORT=$(sed -n 's/.*listening on .*:\([0-9][0-9]*\).*/\1/p' "$d/log" | head -n 1)
}

registry_stop() {
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null || true
}

registry_fault() {
	python3 -c 'import sys, urllib.request as u; u.urlopen(f"http://127.0.0.1:{sys.argv[1]}/_ctl/fault", sys.argv[2].encode())' "$@"
}

registry_log() {
	python3 -c 'import sys, urllib.request as u; print(u.urlopen(f"http://127.0.0.1:{sys.argv[1]}/_ctl/log").read().decode(), end="")' "$@"
}
