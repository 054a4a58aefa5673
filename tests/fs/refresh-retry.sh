#!/bin/bash
# timeout: 120
# When a provider fails: 50 readers that go on asking make no storm, the gaps grow, Retry-After is
# honoured, and readers of a token that still lives do not wait for a provider that is known to fail.
. "$(dirname "$0")/../lib/cases.sh"

READERS=50

# gaps: between the requests that reached the provider, ms.
gaps() {
	http "$FAKE_URL/ctl/groq" | python3 -S -E -c 'import json, sys
times = [entry["time"] for entry in json.load(sys.stdin)["log"]]
print(*(round((b - a) * 1000) for a, b in zip(times, times[1:])))'
}

# begin: READERS loop over groq/key until `end`, which sets $reads, $failed, $longest and $errnos.
begin() {
	mkfifo "$T/go"
	python3 -S -E "$CASES/probe_loop.py" "$READERS" "$MNT/groq/key" <"$T/go" >"$T/loop" &
	loop=$!
	exec 8>"$T/go"
	rm "$T/go"
}
end() {
	exec 8>&-
	wait "$loop" || failed "the readers end"
	read -r reads failed longest errnos <"$T/loop"
}

between() { # WHAT GOT LEAST MOST
	if (($2 >= $3 && $2 <= $4)); then passed "$1 ($3 <= $2 <= $4)"; else failed "$1: $2, not $3 to $4"; fi
}

# How late a timer may be on a busy machine.
LATE=1500

start_fake
use_fake groq
use_fake mistral
start_piauth

# ---- back-off ----

fake_login groq groq '{"expires_in": -1}'
fake groq '{"mode": "status", "status": 500}'
begin
ok "four requests come" fake_wait groq requests=4 40
end
read -r first second third _ <<<"$(gaps)"
note "$READERS readers asked $reads times, $failed in vain; gaps ${first} ${second} ${third} ms"
ok "the readers asked often" test "$reads" -gt $((READERS * 50))
is "all in vain" "$failed" "$reads"
is "with one error (EREMOTEIO)" "$errnos" 121
between "first gap (ms)" "$first" 990 $((1250 + LATE))
between "second gap (ms)" "$second" 1990 $((2500 + LATE))
between "third gap (ms)" "$third" 3990 $((5000 + LATE))
at_most "no reader waited for more than a request (ms)" "$longest" "$LATE"
is "state" "$(profile_status groq state)" retrying
fake groq '{"mode": "ok"}'

# ---- a login ends the back-off ----

fake_do groq reset
fake_login groq groq '{"expires_in": -1}'
isnt "a new login is refreshed at once" "$(cat "$MNT/groq/key")" "$ACCESS"
is "state" "$(profile_status groq state)" valid

# ---- Retry-After ----

for status in 429 503; do
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	fake groq "{\"mode\": \"status\", \"status\": $status, \"retry_after\": 3, \"times\": 1}"
	begin
	ok "$status: it is asked again" fake_wait groq ok=1 20
	end
	read -r first rest <<<"$(gaps)"
	between "$status: after Retry-After (ms)" "$first" 2990 $((3100 + LATE))
	is "$status: one request was enough" "$rest" ""
	isnt "$status: a new token" "$(cat "$MNT/groq/key")" "$ACCESS"
	is "$status: state" "$(profile_status groq state)" valid
done

# ---- a token inside its margin ----

fake_do groq reset
fake_login groq groq '{"expires_in": 300}' "refreshed:=$(($(now_ms) - 3600000))"
fake groq '{"mode": "status", "status": 500}'
is "inside the margin: the old token" "$(cat "$MNT/groq/key")" "$ACCESS"
begin
# Nobody needs to ask: what is in use is tried again by itself.
ok "inside the margin: it is tried again" fake_wait groq requests=3 20
end
is "inside the margin: nobody fails" "$failed" 0
at_most "inside the margin: nobody waits for a provider that fails (ms)" "$longest" "$LATE"
read -r first second _ <<<"$(gaps)"
between "inside the margin: first gap (ms)" "$first" 990 $((1250 + LATE))
between "inside the margin: second gap (ms)" "$second" 1990 $((2500 + LATE))
fake groq '{"mode": "ok"}'
changed() { [[ $(cat "$MNT/groq/key") != "$ACCESS" ]]; }
ok "inside the margin: it comes back" wait_until 20 changed

# ---- the back-off is one credential's ----

fake_do groq reset
fake groq '{"mode": "status", "status": 500}'
fake_login groq groq '{"expires_in": -1}'
fails_with "Remote I/O error" cat "$MNT/groq/key"
fake_login groq@other groq '{"expires_in": -1}'
fake_login mistral mistral '{"expires_in": -1}'
isnt "another provider is asked at once" "$(cat "$MNT/mistral/key")" "$ACCESS"
fails_with "Remote I/O error" cat "$MNT/groq@other/key"
is "so is another login of the same" "$(fake_get groq requests)" 2
