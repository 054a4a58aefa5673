# shellcheck shell=bash disable=SC2034
# The servers that tokens come from: tests/fake_provider.py, which misbehaves on command, and tests/oidc,
# which is real and strict. Sourced by cases.sh. Both live on loopback, and end with the test.

FAKE_URL=
FAKE_PID=
OIDC_URL=
OIDC_PID=
OIDC_CLIENT=piauth-test
declare -A TLS=()

http() { # PATH-OR-URL [CURL-OPTION...]: prints the answer; fails unless it is 2xx
	curl -sS --fail-with-body --noproxy '*' --max-time 90 ${TLS[cert]:+--cacert "${TLS[cert]}"} "$@"
}

# start_server NAME COMMAND...: waits for its line `ready PORT`; sets server_pid and server_port.
start_server() {
	local name=$1 pipe=$T/$1.ready line
	shift
	mkfifo "$pipe"
	"$@" </dev/null >"$pipe" 2>>"$T/$name.provider.log" &
	server_pid=$!
	line=$(timeout 60 head -n 1 "$pipe")
	rm "$pipe"
	server_port=${line#ready }
	[[ $server_port =~ ^[0-9]+$ ]] || {
		cat "$T/$name.provider.log"
		bail "$name did not get ready"
	}
}

stop_providers() {
	local pid
	for pid in $FAKE_PID $OIDC_PID; do
		kill "$pid" 2>/dev/null && wait "$pid"
	done
	FAKE_PID=
	OIDC_PID=
}

# ---- the fake provider -------------------------------------------------------------------------------

start_fake() { # [OPTION...]
	start_server fake python3 -E "$TOP/tests/fake_provider.py" --canary "$CANARY" "$@"
	FAKE_PID=$server_pid
	FAKE_URL=http${TLS[cert]:+s}://127.0.0.1:$server_port
}

# start_fake_tls: the same over https; ${TLS[cert]} is the certificate to trust.
start_fake_tls() {
	TLS=([cert]=$T/tls.crt [key]=$T/tls.key)
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
		-addext subjectAltName=IP:127.0.0.1 -out "${TLS[cert]}" -keyout "${TLS[key]}" 2>/dev/null ||
		bail "openssl req"
	start_fake --tls "${TLS[cert]}" "${TLS[key]}"
}

stop_fake() {
	kill "$FAKE_PID" && wait "$FAKE_PID"
	FAKE_PID=
}

# fake ACCOUNT JSON: how it behaves from now on (BEHAVIOUR in fake_provider.py).
fake() { http "$FAKE_URL/ctl/$1" -o /dev/null -d "$2" || bail "fake $*"; }

# fake_do ACCOUNT release|revoke|reset
fake_do() { http "$FAKE_URL/ctl/$1/$2" -o /dev/null -d '' || bail "fake_do $*"; }

# fake_get ACCOUNT PATH: a counter (requests ok refused reuse hanging generation ...), or log/0/body/...
fake_get() { http "$FAKE_URL/ctl/$1" | json_get "$2"; }

# fake_wait ACCOUNT 'requests=N&hanging=N' [SECONDS]: blocks until the counters are there.
fake_wait() { http "$FAKE_URL/ctl/$1/wait?$2&timeout=${3:-30}" -o /dev/null; }

# fake_stray: requests to paths that no test asked for, such as the target of a redirect.
fake_stray() { http "$FAKE_URL/ctl" | json_get stray; }

# use_fake PROVIDER [ACCOUNT] [NAME=TEXT | NAME:=JSON]...: the config names the account's token endpoint.
use_fake() {
	conf_oauth "$1" "$FAKE_URL/a/${2:-$1}/token" "${@:3}"
}

# fake_login PROFILE [ACCOUNT] [BEHAVIOUR] [NAME=TEXT]...: a new login of the account, stored in the mount.
# BEHAVIOUR is for this one pair: '{"expires_in": -1}' stores one that has expired. Sets ACCESS and REFRESH.
fake_login() {
	local pair
	pair=$(http "$FAKE_URL/ctl/${2:-$1}/new" -d "${3:-}") || bail "fake_login $*"
	store_login "$1" "$pair" "${@:4}"
}

# store_login PROFILE PAIR [NAME=TEXT]...
store_login() {
	local life
	ACCESS=$(json_get access_token <<<"$2")
	REFRESH=$(json_get refresh_token <<<"$2")
	life=$(json_get expires_in <<<"$2" 2>/dev/null) || life=3600
	put_oauth "$1" "$ACCESS" "$REFRESH" $(($(now_ms) + life * 1000)) "${@:3}" || bail "store $1"
}

# ---- oidc-provider --------------------------------------------------------------------------------

start_oidc() { # [SECONDS an access token lives, 2]
	local modules
	need node
	modules=$("$CASES/oidc-install") || bail "cannot install oidc-provider"
	start_server oidc "$modules/node" "$TOP/tests/oidc/server.mjs" "$modules" "$CANARY" "${1:-2}"
	OIDC_PID=$server_pid
	OIDC_URL=http://127.0.0.1:$server_port
}

use_oidc() { # PROVIDER [NAME=TEXT | NAME:=JSON]...
	conf_oauth "$1" "$OIDC_URL/token" "client_id=$OIDC_CLIENT" token_request=form rotates:=true "${@:2}"
}

# oidc_ctl 'new?ttl=S' | 'revoke?grant=G' | 'ttl?seconds=S' ...: prints the answer (server.mjs has the list).
oidc_ctl() { http "$OIDC_URL/ctl/$1"; }

# oidc_login PROFILE [SECONDS] [NAME=TEXT]...: sets ACCESS, REFRESH and GRANT.
oidc_login() {
	local pair
	pair=$(oidc_ctl "new?ttl=${2:-0}") || bail "oidc_login $*"
	GRANT=$(json_get grant <<<"$pair")
	store_login "$1" "$pair" "${@:3}"
}

# oidc_count GRANT [FIELD]: requests (or ok, refused, revoked) that reached the server for the login.
oidc_count() { oidc_ctl "count?grant=$1" | json_get "${2:-requests}"; }

# oidc_wait GRANT N [SECONDS]: blocks until N requests were answered.
oidc_wait() { oidc_ctl "wait?grant=$1&requests=$2&timeout=${3:-30}" >/dev/null; }

# oidc_takes ACCESS: does the server take this access token now?
oidc_takes() { [[ $(oidc_ctl "token?access=$1" | json_get active) == true ]]; }
