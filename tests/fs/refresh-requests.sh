#!/bin/bash
# timeout: 120
# What is sent to each kind of token endpoint, and what becomes of the answer: RFC 6749 as a form and as
# JSON, accounts from the token, client credentials, and the ones where the refresh token is a bearer.
. "$(dirname "$0")/../lib/cases.sh"

# sent PATH: of the newest request of $account.
sent() { http "$FAKE_URL/ctl/$account" | json_get "log/-1/$1"; }

# The names of the parameters of the newest request, sorted.
parameters() {
	http "$FAKE_URL/ctl/$account" |
		python3 -S -E -c 'import json, sys; print(*sorted(json.load(sys.stdin)["log"][-1]["body"]))'
}

# renew PROFILE [NAME=TEXT...]: a login that has expired; a reader gets the new token.
renew() {
	account=$1
	fake_login "$1" "$1" '{"expires_in": -1}' "${@:2}"
	token=$(cat "$MNT/$1/key")
	isnt "$1: a new token" "$token" "$ACCESS"
	is "$1: of the provider" "$(http "$FAKE_URL/ctl/$1/token?access=$token" | json_get current)" true
}

# Anything but what is allowed here is said by name.
has_headers() { # WANTED...
	local names
	names=$(http "$FAKE_URL/ctl/$account" | python3 -S -E -c 'import json, sys
print(*sorted(name.lower() for name in json.load(sys.stdin)["log"][-1]["headers"]))')
	is "$account: headers" "$names" "$*"
}

start_fake
start_server endpoint python3 -E "$CASES/probe_endpoint.py" "$T/endpoint.log" "$T/answer"
# shellcheck disable=SC2154 # start_server sets both
endpoint=$server_pid url=http://127.0.0.1:$server_port
for provider in gitlab anthropic openai-codex openai xai; do use_fake "$provider"; done
use_fake google-gemini-cli google-gemini-cli "client_secret=$(secret google)"
use_fake sap-ai-core
use_fake mycloud mycloud client_id=my-client "client_secret=$(secret client)" \
	'grant_types:=["client_credentials"]' 'scope=one two' rotates:=false
use_fake plain plain token_request=form 'token_params:={"audience": "a b&c=d+e"}' 'headers:={"X-Extra": "yes"}'
conf_oauth github-copilot "$url/copilot_internal/v2/token"
conf_oauth meta "$url/muse-code/key"
start_piauth
fd_mark

# ---- RFC 6749, as a form ----

renew gitlab
is "gitlab: type" "$(sent headers/Content-Type)" application/x-www-form-urlencoded
is "gitlab: parameters" "$(parameters)" "client_id grant_type refresh_token"
is "gitlab: grant" "$(sent body/grant_type)" refresh_token
is "gitlab: refresh token" "$(sent body/refresh_token)" "$REFRESH"
is "gitlab: client" "$(sent body/client_id)" da4edff2e6ebd2bc3208611e2768bc1c1dd7be791dc5ff26ca34ca9ee44f7d4b
like "gitlab: we say who we are" "$(sent headers/User-Agent)" '^piauth/[0-9]'
has_headers accept content-length content-type host user-agent

renew plain
is "plain: a parameter of the table arrives as it is" "$(sent body/audience)" 'a b&c=d+e'
is "plain: a header, too" "$(sent headers/X-Extra)" yes
is "plain: no client where none is known" "$(parameters)" "audience grant_type refresh_token"

# Registered dynamically: the client id is the login's own, at every refresh.
renew openai clientId=issued-to-me
is "openai: client" "$(sent body/client_id)" issued-to-me
is "openai: its own parameter" "$(sent body/resource)" https://api.openai.com/v1
put "$MNT/openai/refresh" "$token"
isnt "openai: a second time" "$(cat "$MNT/openai/key")" "$token"
is "openai: the client survives the rotation" "$(sent body/client_id)" issued-to-me

# Where no new refresh token comes the old one stays.
fake google-gemini-cli '{"rotate": false, "omit_refresh": true}'
renew google-gemini-cli
put "$MNT/google-gemini-cli/refresh" "$token"
isnt "google-gemini-cli: a second time" "$(cat "$MNT/google-gemini-cli/key")" "$token"
is "google-gemini-cli: with the same refresh token" "$(sent body/refresh_token)" "$REFRESH"

# Where an answer has no expires_in the provider's usual life holds: 3600 s for this one.
fake xai '{"expires_in": null}'
renew xai
left=$(($(<"$MNT/xai/expires") - $(now_ms)))
ok "xai: expires in about an hour ($left ms)" test "$left" -gt 3500000 -a "$left" -le 3600000

# ---- as JSON ----

renew anthropic
is "anthropic: type" "$(sent headers/Content-Type)" application/json
is "anthropic: parameters" "$(parameters)" "client_id grant_type refresh_token"
is "anthropic: grant" "$(sent body/grant_type)" refresh_token
is "anthropic: refresh token" "$(sent body/refresh_token)" "$REFRESH"
is "anthropic: client" "$(sent body/client_id)" 9d1c250a-e61b-44d9-88ed-5944d1962f5e
has_headers accept content-length content-type host user-agent
is "anthropic: header" "$(cat "$MNT/anthropic/header")" "Authorization: Bearer $token
anthropic-beta: oauth-2025-04-20"
# Exact, and not earlier: the margin is ours to keep.
left=$(($(<"$MNT/anthropic/expires") - $(now_ms)))
ok "anthropic: expires when it does ($left ms)" test "$left" -gt 3590000 -a "$left" -le 3600000

# ---- the account is in the token ----

claims='{"https://api.openai.com/auth": {"chatgpt_account_id": "acct-ONE"}}'
fake openai-codex "{\"jwt\": $claims, \"extra\": {\"id_token\": \"$CANARY-id\"}}"
renew openai-codex
is "openai-codex: type" "$(sent headers/Content-Type)" application/x-www-form-urlencoded
is "openai-codex: parameters" "$(parameters)" "client_id grant_type refresh_token"
is "openai-codex: account" "$(cat "$MNT/openai-codex/account")" acct-ONE
is "openai-codex: account in status" "$(profile_status openai-codex account)" acct-ONE
is "openai-codex: header" "$(cat "$MNT/openai-codex/header")" "Authorization: Bearer $token
chatgpt-account-id: acct-ONE"
fake openai-codex '{"jwt": {"sub": "nothing about an account"}}'
put "$MNT/openai-codex/refresh" "$token"
isnt "openai-codex: a second time" "$(cat "$MNT/openai-codex/key")" "$token"
is "openai-codex: what is known of the account stays" "$(cat "$MNT/openai-codex/account")" acct-ONE

# ---- client credentials ----

account=mycloud
put "$MNT/mycloud/oauth" '{"type": "oauth", "access": "", "refresh": "", "client_secret": "unused"}' 2>/dev/null ||
	failed "mycloud: the login is stored"
token=$(cat "$MNT/mycloud/key")
is "mycloud: the token" "$(http "$FAKE_URL/ctl/mycloud/token?access=$token" | json_get current)" true
is "mycloud: grant" "$(sent body/grant_type)" client_credentials
is "mycloud: client" "$(sent body/client_id)" my-client
is "mycloud: scope" "$(sent body/scope)" "one two"
is "mycloud: parameters" "$(parameters)" "client_id client_secret grant_type scope"
put "$MNT/mycloud/refresh" "$token"
isnt "mycloud: a second time" "$(cat "$MNT/mycloud/key")" "$token"

# Id and secret of the login itself.
account=sap-ai-core
mine=$(secret mine)
put "$MNT/sap-ai-core/oauth" "$(json_make type=oauth client_id=from-a-key "client_secret=$mine")"
token=$(cat "$MNT/sap-ai-core/key")
is "sap-ai-core: the token" "$(http "$FAKE_URL/ctl/sap-ai-core/token?access=$token" | json_get current)" true
is "sap-ai-core: client" "$(sent body/client_id) $(sent body/client_secret)" "from-a-key $mine"
is "sap-ai-core: parameters" "$(parameters)" "client_id client_secret grant_type"

# ---- the refresh token is a bearer ----

request() { tail -n 1 "$T/endpoint.log" | json_get "$1"; }

soon=$(($(date +%s) + 1800))
printf '{"token": "%s-copilot-@N@", "expires_at": %d, "refresh_in": 1500, "endpoints": {"api": "https://x"}}' \
	"$CANARY" "$soon" >"$T/answer"
grant=$(secret ghu)
put_oauth github-copilot "$(secret old)" "$grant" 1600000000000
is "github-copilot: the token" "$(cat "$MNT/github-copilot/key")" "$CANARY-copilot-1"
is "github-copilot: request" "$(request method) $(request path)" "GET /copilot_internal/v2/token"
is "github-copilot: bearer" "$(request headers/authorization)" "Bearer $grant"
is "github-copilot: no body" "$(request body)" ""
is "github-copilot: expires" "$(cat "$MNT/github-copilot/expires")" "${soon}000"
put "$MNT/github-copilot/refresh" "$CANARY-copilot-1"
is "github-copilot: a second time" "$(cat "$MNT/github-copilot/key")" "$CANARY-copilot-2"
is "github-copilot: with the same bearer" "$(request headers/authorization)" "Bearer $grant"

printf '{"api_key": "%s-meta-@N@"}' "$CANARY" >"$T/answer"
grant=$(secret meta)
put_oauth meta "$(secret old)" "$grant" 1600000000000
is "meta: the token" "$(cat "$MNT/meta/key")" "$CANARY-meta-3"
is "meta: request" "$(request method) $(request path)" "POST /muse-code/key"
is "meta: bearer" "$(request headers/authorization)" "Bearer $grant"
is "meta: body" "$(request headers/content-type) $(request body)" "application/json {}"
is "meta: a header of its own" "$(request headers/x-api-version)" 1.0.0
left=$(($(<"$MNT/meta/expires") - $(now_ms)))
ok "meta: lives a day ($left ms)" test "$left" -gt 86000000 -a "$left" -le 86400000
kill "$endpoint" && wait "$endpoint"
