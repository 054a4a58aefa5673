#!/bin/bash
# timeout: 60
# A server that nobody reads from does nothing: no request, no wake-up. A token is refreshed ahead of time
# only if it was read, and then once.
. "$(dirname "$0")/../lib/cases.sh"

SECONDS_IDLE=4

# Voluntary context switches of all threads of the server.
switches() {
	local pid
	for pid in $(server_pids); do cat "/proc/$pid/task/"*/status; done |
		awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }'
}

processor() { # clock ticks of all processes of the server
	local pid
	for pid in $(server_pids); do sed 's/.*) //' "/proc/$pid/stat"; done |
		awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

# settled: what was going on has ended. The server does nothing for half a second.
settled() {
	local before
	before=$(switches)
	sleep 0.5
	[[ $(switches) == "$before" ]]
}

idle() { # WHAT
	local before ticks woken
	wait_until 15 settled || failed "$1: settles"
	before=$(switches)
	ticks=$(processor)
	sleep "$SECONDS_IDLE"
	woken=$(($(switches) - before))
	ticks=$(($(processor) - ticks))
	is "$1: wake-ups in $SECONDS_IDLE s" "$woken" 0
	is "$1: clock ticks used" "$ticks" 0
}

start_fake
use_fake groq
use_fake mistral
use_fake xai
start_piauth
before=$(switches)
cat "$MNT/status" >/dev/null
ok "the counter counts" wait_until 5 test "$(switches)" -gt "$before"
idle "nothing stored"
for i in 1 2 3 4 5 6 7 8 9 10; do
	put "$MNT/groq@$i/api-key" "$(secret key)" || failed "a key is stored"
done
# Inside its margin, expired, and above the margin: nobody has read them.
fake_login groq groq '{"expires_in": 300}' "refreshed:=$(($(now_ms) - 3600000))"
fake_login mistral mistral '{"expires_in": -1}'
fake_login xai xai
cat "$MNT/groq@1/key" "$MNT/xai/key" >/dev/null
cat "$MNT"/*/{status,expires,generation,account} >/dev/null
idle "ten keys and three logins"
for account in groq mistral xai; do
	is "$account: no request" "$(fake_get "$account" requests)" 0
done

# A token that lives 3 s and was read is refreshed once, at about 2.1 s; the next one nobody has read.
fake groq '{"expires_in": 3}'
fake_login groq groq '{"expires_in": 3}'
ends=$(<"$MNT/groq/expires")
is "a token is read" "$(cat "$MNT/groq/key")" "$ACCESS"
ok "it is refreshed by itself" fake_wait groq requests=1 20
at=$(http "$FAKE_URL/ctl/groq" | json_get log/0/time)
ok "before it expires" test "$(printf '%.0f' "${at}e3")" -lt "$ends"
idle "after that"
is "once" "$(fake_get groq requests)" 1
note "the token that nobody has read is $((($(now_ms) - $(<"$MNT/groq/expires")) / 1000)) s over its time"
isnt "a reader gets a new one" "$(cat "$MNT/groq/key")" ""
is "with the second request" "$(fake_get groq requests)" 2
