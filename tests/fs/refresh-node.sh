#!/bin/bash
# timeout: 60
# Reporting a rejected token: 50 reports are one refresh, older ones none.
. "$(dirname "$0")/../lib/cases.sh"

REPORTS=50

requests() { fake_get groq requests; }

# report_all VALUE: REPORTS processes write it at once; all must succeed.
report_all() {
	local pids=() pid bad=0
	for ((i = 0; i < REPORTS; i++)); do
		put "$MNT/groq/refresh" "$1" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || bad=$((bad + 1)); done
	((bad == 0))
}

start_fake
use_fake groq
start_piauth
fails_with "Required key not available" put "$MNT/groq/refresh" "$(secret token)"
fake_login groq groq
fd_mark
is "a fresh token is served" "$(cat "$MNT/groq/key") $(requests)" "$ACCESS 0"

# ---- reports of the current token ----

old=$ACCESS
fake groq '{"mode": "hang"}'
ok "$REPORTS reports while the refresh is under way" report_all "$old"
ok "the request is there" fake_wait groq hanging=1
is "one request" "$(requests)" 1
cat "$MNT/groq/key" >"$T/read" &
reader=$!
fake groq '{"mode": "ok"}'
fake_do groq release
wait "$reader"
new=$(<"$T/read")
isnt "a reader that comes after a report gets the new token" "$new" "$old"
ok "$REPORTS reports after it" report_all "$old"
is "find the new token there" "$(cat "$MNT/groq/key") $(requests)" "$new 1"

ok "$REPORTS reports at once" report_all "$new"
isnt "are a refresh" "$(cat "$MNT/groq/key")" "$new"
is "and one only" "$(requests)" 2

# ---- by generation ----

generation=$(<"$MNT/groq/generation")
new=$(cat "$MNT/groq/key")
ok "an older generation: success" put "$MNT/groq/refresh" $((generation - 1))
ok "generation 0: success" put "$MNT/groq/refresh" 0
is "and nothing to do" "$(cat "$MNT/groq/key") $(requests)" "$new 2"
ok "$REPORTS reports of the current one" report_all "$generation"
isnt "are a refresh" "$(cat "$MNT/groq/key")" "$new"
is "and one only" "$(requests) $(<"$MNT/groq/generation")" "3 $((generation + 1))"
ok "the older one again: success" put "$MNT/groq/refresh" "$generation"
is "and nothing to do" "$(requests)" 3
fails_with "Invalid argument" put "$MNT/groq/refresh" $((generation + 100))

# ---- other text ----

new=$(cat "$MNT/groq/key")
ok "a text that nobody knows: success" put "$MNT/groq/refresh" "$(secret stranger)"
ok "the first token of all: success" put "$MNT/groq/refresh" "$ACCESS"
is "and nothing to do while the token is young" "$(cat "$MNT/groq/key") $(requests)" "$new 3"
fake_login groq groq '{"expires_in": 3600}' "refreshed:=$(($(now_ms) - 9000))"
ok "younger than 10 s" put "$MNT/groq/refresh" "$(secret stranger)"
is "nothing to do" "$(cat "$MNT/groq/key") $(requests)" "$ACCESS 3"
fake_login groq groq '{"expires_in": 3600}' "refreshed:=$(($(now_ms) - 11000))"
ok "older than 10 s" put "$MNT/groq/refresh" "$(secret stranger)"
isnt "a refresh" "$(cat "$MNT/groq/key")" "$ACCESS"
is "and one only" "$(requests)" 4
fails_with "Invalid argument" put "$MNT/groq/refresh" ""

# ---- when it fails: the reporters do not make it worse ----

current=$(cat "$MNT/groq/key")
fake groq '{"mode": "status", "status": 500}'
put "$MNT/groq/refresh" "$current" || failed "the report is taken"
is "the token still lives: it is served" "$(cat "$MNT/groq/key")" "$current"
report_all "$current" 2>/dev/null
is "no storm: requests" "$(requests)" 5
fake groq '{"mode": "ok"}'
changed() { [[ $(cat "$MNT/groq/key") != "$current" ]]; }
ok "after the back-off it is refreshed" wait_until 20 changed

# ---- keys ----

put "$MNT/xai/api-key" "$(secret xai)"
fails_with "Operation not supported" put "$MNT/xai/refresh" "$(secret token)"
is "who only reads it gets nothing" "$(cat "$MNT/groq/refresh" 2>/dev/null)" ""
