#!/bin/bash
# timeout: 120
# A provider that takes the request and says nothing: who waits, for how long, and who does not.
. "$(dirname "$0")/../lib/cases.sh"

need cc
cc -O1 -Wall -pthread -o "$T/herd" "$CASES/probe_herd.c" || bail "cc"

waiting() { [[ $(sed -n 's/^piauth_readers_waiting //p' "$MNT/.piauth/metrics") == "$1" ]]; }

# elapsed COMMAND...: sets $ms and $said; the exit status is the command's.
elapsed() {
	local begun status
	begun=$(now_ms)
	said=$("$@" 2>&1)
	status=$?
	ms=$(($(now_ms) - begun))
	return "$status"
}

at_least() { # DESCRIPTION GOT LIMIT
	if (($2 >= $3)); then passed "$1 ($2 >= $3)"; else failed "$1: $2 is not >= $3"; fi
}

# ---- readers of others, while 50 wait ----

start_fake
use_fake groq
use_fake mistral
conf deadline_s 30
start_piauth
fake_login mistral mistral
fake_login groq groq '{"expires_in": -1}'
put "$MNT/xai/api-key" "$(secret key)"
fake groq '{"mode": "hang"}'
fd_mark
python3 -S -E "$CASES/probe_latency.py" 300 "$MNT/mistral/key" "$MNT/xai/key" >"$T/before"
"$T/herd" 50 1 "$MNT/groq/key" >"$T/herd.out" &
herd=$!
ok "50 readers wait" wait_until 20 waiting 50
python3 -S -E "$CASES/probe_latency.py" 300 "$MNT/mistral/key" "$MNT/xai/key" >"$T/during"
for who in before during; do note "$who: $(<"$T/$who") us (median, p99, max of open+read+close)"; done
read -r before _ <"$T/before"
read -r during p99 _ <"$T/during"
at_most "a reader of another provider waits no longer (median, us)" "$during" $((before + 5000))
at_most "nor does the slowest percent (us)" "$p99" 250000
is "the readers of that one still wait" "$(waiting 50 && echo yes)" yes
is "with one request" "$(fake_get groq requests)" 1
is "state" "$(profile_status groq state)" refreshing
fake_do groq release
wait "$herd"
read -r readers failed distinct _ <"$T/herd.out"
is "then all get the same token" "$readers $failed $distinct" "50 0 1"
is "from one request" "$(fake_get groq requests)" 1

# ---- inside the margin: 3 s at most ----

fake_do groq reset
fake_login groq groq '{"expires_in": 300}' "refreshed:=$(($(now_ms) - 3600000))"
fake groq '{"mode": "hang"}'
ok "a token inside its margin is served" elapsed cat "$MNT/groq/key"
is "the old one" "$said" "$ACCESS"
at_least "after a try to join the refresh (ms)" "$ms" 2500
at_most "of about 3 s (ms)" "$ms" 4500
is "one request" "$(fake_get groq requests)" 1
# A second reader joins the same refresh, and is released with it.
cat "$MNT/groq/key" >"$T/joined" &
joined=$!
ok "another one joins" wait_until 5 waiting 1
fake_do groq release
wait "$joined"
isnt "and gets the new token" "$(<"$T/joined")" "$ACCESS"
is "from the same request" "$(fake_get groq requests)" 1
is "env never waits" "$(elapsed cat "$MNT/groq/env" && ((ms < 1000)) && echo yes)" yes

# ---- a valid token above the margin does not notice ----

fake_do groq reset
fake_login groq groq '{"expires_in": 700}' "refreshed:=$(($(now_ms) - 3600000))"
fake groq '{"mode": "hang"}'
ok "above the margin a token is served" elapsed cat "$MNT/groq/key"
is "the old one" "$said" "$ACCESS"
at_most "at once (ms)" "$ms" 1000
ok "and refreshed in the background" fake_wait groq hanging=1
ok "meanwhile it is served" elapsed cat "$MNT/groq/key"
at_most "at once (ms)" "$ms" 1000
fake_do groq release
changed() { [[ $(cat "$MNT/groq/key") != "$ACCESS" ]]; }
ok "then the new one is there" wait_until 10 changed
is "from one request" "$(fake_get groq requests)" 1
stop_piauth

# ---- the wait ends at the deadline; the exchange does not ----

conf deadline_s 2
start_piauth
fake_do groq reset
fake_login groq groq '{"expires_in": -1}'
fake groq '{"mode": "hang"}'
not_ok "without a valid token the wait ends" elapsed cat "$MNT/groq/key"
like "with a sentence" "$said" 'Connection timed out$'
at_least "at the deadline (ms)" "$ms" 1900
at_most "of 2 s (ms)" "$ms" 4000
not_ok "env of an expired token" elapsed cat "$MNT/groq/env"
like "does not wait" "$said" 'Resource temporarily unavailable$'
at_most "at all (ms)" "$ms" 1000
is "one request, which goes on" "$(fake_get groq requests) $(fake_get groq hanging)" "1 1"
is "state" "$(profile_status groq state)" refreshing
fake_do groq release
ok "its answer is not lost" fake_wait groq ok=1
isnt "it is what the next reader gets" "$(cat "$MNT/groq/key")" "$ACCESS"
is "without another request" "$(fake_get groq requests)" 1
stop_piauth

# ---- the exchange has a deadline of its own ----

conf deadline_s 20
conf exchange_deadline_s 1
start_piauth
fake_do groq reset
fake_login groq groq '{"expires_in": -1}'
fake groq '{"mode": "hang"}'
fails_with "Connection timed out" cat "$MNT/groq/key"
is "code" "$(profile_status groq last_error/diagnostic_code)" net.timeout
is "state" "$(profile_status groq state)" retrying
fake groq '{"mode": "ok"}'
fake_do groq release
