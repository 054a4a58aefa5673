#!/bin/bash
# timeout: 90
# Proxies named in the server's environment are used, `no_proxy` is obeyed, and a proxy learns no token.
. "$(dirname "$0")/../lib/cases.sh"

start_proxy() { # NAME [STATUS]: sets $proxy (host:port) and $proxy_pid
	start_server "$1" python3 -E "$CASES/probe_proxy.py" "$T/$1.log" "${@:2}"
	# shellcheck disable=SC2154 # start_server sets both
	proxy=127.0.0.1:$server_port proxy_pid=$server_pid
	: >"$T/$1.log"
}

seen() { wc -l <"$T/$1.log"; }

# under NAME=VALUE...: a server with these in its environment, and a login that has expired.
under() {
	[[ -z ${PID_OF[main]:-} ]] || stop_piauth
	SERVER_ENV=("$@" ${TLS[cert]:+SSL_CERT_FILE="${TLS[cert]}"})
	start_piauth
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	: >"$T/proxy.log"
}

refreshed() { # WHAT
	isnt "$1: a new token" "$(cat "$MNT/groq/key")" "$ACCESS"
	is "$1: one request" "$(fake_get groq requests)" 1
}

# ---- http ----

start_fake
use_fake groq
start_proxy proxy
first_proxy=$proxy_pid
under http_proxy="http://$proxy"
refreshed http_proxy
is "http_proxy: it went there" "$(seen proxy)" 1
like "http_proxy: for this address" "$(json_get line <"$T/proxy.log")" "^POST $FAKE_URL/a/groq/token HTTP/1.1$"

under all_proxy="http://$proxy"
refreshed all_proxy
is "all_proxy: it went there" "$(seen proxy)" 1

for name in no_proxy NO_PROXY; do
	under http_proxy="http://$proxy" "$name=localhost,127.0.0.1"
	refreshed "$name"
	is "$name: it did not go there" "$(seen proxy)" 0
done

# In a CGI program HTTP_PROXY is what a request said in a header: curl takes the small letters only.
under HTTP_PROXY="http://$proxy"
refreshed HTTP_PROXY
is "HTTP_PROXY in capitals does not count for http" "$(seen proxy)" 0

under http_proxy="http://somebody:$(secret proxy)@$proxy"
allow_canary environ
refreshed "a proxy with a password"
like "a proxy with a password: it gets it" "$(json_get headers/proxy-authorization <"$T/proxy.log")" '^Basic '
no_canary log "$LOG"

# ---- a proxy that is not there, or refuses ----

stop_piauth
kill "$first_proxy" && wait "$first_proxy"
under http_proxy="http://$proxy"
fails_with "No route to host" cat "$MNT/groq/key"
is "no proxy there: code" "$(profile_status groq last_error/diagnostic_code)" net.unreachable
is "no proxy there: nothing went past it" "$(fake_get groq requests)" 0

# ---- https: a tunnel ----

stop_piauth
stop_fake
start_fake_tls
use_fake groq
start_proxy tunnel
for name in https_proxy HTTPS_PROXY ALL_PROXY; do
	under "$name=http://$proxy"
	: >"$T/tunnel.log"
	refreshed "$name"
	is "$name: through a tunnel" "$(json_get line <"$T/tunnel.log")" "CONNECT ${FAKE_URL#https://} HTTP/1.1"
	is "$name: the proxy learns the name of the client only" \
		"$(python3 -S -E -c 'import json, sys
print(*sorted(json.load(sys.stdin)["headers"]))' <"$T/tunnel.log")" "host proxy-connection user-agent"
	no_canary log "$T/tunnel.log"
done
under https_proxy="http://$proxy" no_proxy=127.0.0.1
: >"$T/tunnel.log"
refreshed "https and no_proxy"
is "https and no_proxy: it did not go there" "$(seen tunnel)" 0
kill "$proxy_pid" && wait "$proxy_pid"

start_proxy refusing 403
under https_proxy="http://$proxy"
fails_with "No route to host" cat "$MNT/groq/key"
is "a proxy that refuses: code" "$(profile_status groq last_error/diagnostic_code)" net.unreachable
like "a proxy that refuses: status says so" "$(profile_status groq last_error/context/details)" 'proxy'
is "a proxy that refuses: nothing went past it" "$(fake_get groq requests)" 0
kill "$proxy_pid" && wait "$proxy_pid"
