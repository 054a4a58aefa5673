#!/bin/bash
# timeout: 120
# The network between here and the provider: nothing there, nobody answers, nobody to be trusted.
. "$(dirname "$0")/../lib/cases.sh"

told() { # WHAT SENTENCE CODE
	fails_with "$2" cat "$MNT/groq/key"
	cat "$MNT/groq/status" >"$TEXT/status.$RANDOM"
	is "$1: code" "$(profile_status groq last_error/diagnostic_code)" "$3"
	like "$1: summary" "$(profile_status groq last_error/summary)" '^[A-Z].*\.$'
	like "$1: remedy" "$(profile_status groq last_error/diagnostic_remediation)" '^[A-Z].*\.$'
	is "$1: state" "$(profile_status groq state)" retrying
	is "$1: the login is kept" "$(profile_status groq has_oauth)" true
}

works() { cat "$MNT/groq/key" >"$T/token" 2>/dev/null; }

recovers() { # WHAT
	ok "$1: it works when the network does" wait_until 20 works
	isnt "$1: with a new token" "$(<"$T/token")" "$ACCESS"
	is "$1: state" "$(profile_status groq state)" valid
	is "$1: no error is left" "$(profile_status groq last_error)" null
}

# serve URL [NAME=VALUE...]: groq's token endpoint is URL; the login has expired.
serve() {
	[[ -z ${PID_OF[main]:-} ]] || stop_piauth
	conf_oauth groq "$1" "${@:2}"
	start_piauth
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
}

start_fake
port=${FAKE_URL##*:}

# ---- nobody there ----

# Bound and not listening: the port refuses, and nobody else gets it meanwhile.
python3 -S -E -c 'import signal, socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
signal.pause()' >"$T/closed" &
holder=$!
wait_until 10 test -s "$T/closed" || bail "no port"
serve "http://127.0.0.1:$(<"$T/closed")/token"
told "a closed port" "No route to host" net.unreachable
# A token that still lives is served all the same.
fake_login groq groq '{"expires_in": 300}' "refreshed:=$(($(now_ms) - 3600000))"
is "a closed port: a token inside its margin is served" "$(cat "$MNT/groq/key")" "$ACCESS"
is "a closed port: the code" "$(profile_status groq last_error/diagnostic_code)" net.unreachable
kill "$holder" && { wait "$holder"; } 2>/dev/null

serve https://nobody.invalid/token
told "a name that does not exist" "No route to host" net.unreachable

# ---- somebody who does not speak HTTP, or says nothing ----

for mode in hang drop cut lose; do
	conf exchange_deadline_s 1
	serve "$FAKE_URL/a/groq/token"
	fake groq "{\"mode\": \"$mode\", \"grace\": true}"
	case $mode in
	hang) told "silence" "Connection timed out" net.timeout ;;
	drop | lose) told "closed without an answer ($mode)" "No route to host" net.unreachable ;;
	cut) told "closed in the middle of the answer" "Bad message" net.bad_answer ;;
	esac
	fake groq '{"mode": "ok"}'
	fake_do groq release
	recovers "$mode"
done

# ---- TLS ----

serve "https://127.0.0.1:$port/token"
told "no TLS at all" "Protocol error" net.tls
stop_piauth
stop_fake

start_fake_tls
serve "$FAKE_URL/a/groq/token"
told "a certificate that nobody signed" "Protocol error" net.tls
is "a certificate that nobody signed: nothing was sent" "$(fake_get groq requests)" 0
stop_piauth
SERVER_ENV=(SSL_CERT_FILE="${TLS[cert]}")
serve "https://localhost:${FAKE_URL##*:}/a/groq/token"
told "a certificate for somebody else" "Protocol error" net.tls
is "a certificate for somebody else: nothing was sent" "$(fake_get groq requests)" 0
serve "$FAKE_URL/a/groq/token"
isnt "a certificate that is trusted" "$(cat "$MNT/groq/key")" "$ACCESS"
is "a certificate that is trusted: one request" "$(fake_get groq requests)" 1
