#!/bin/bash
# timeout: 90
# Many logins expire at the same time: each is refreshed by one request, and all at once.
. "$(dirname "$0")/../lib/cases.sh"

LOGINS=150

start_fake
use_fake groq
start_piauth
for ((i = 1; i <= LOGINS; i++)); do
	fake_login "groq@$i" groq '{"expires_in": -1}'
done
is "logins" "$(find "$MNT" -maxdepth 1 -name 'groq@*' | wc -l)" "$LOGINS"
fake groq '{"mode": "hang"}'
fd_mark
begun=$(now_ms)
for ((i = 1; i <= LOGINS; i++)); do
	timeout 60 cat "$MNT/groq@$i/key" >"$T/token.$i" &
	pids[i]=$!
done
ok "all of them are being refreshed" fake_wait groq "requests=$LOGINS&hanging=$LOGINS" 50
fake groq '{"mode": "ok"}'
fake_do groq release
bad=0
for pid in "${pids[@]}"; do wait "$pid" || bad=$((bad + 1)); done
is "readers that failed" "$bad" 0
note "$LOGINS logins refreshed in $(($(now_ms) - begun)) ms"
is "one request each" "$(fake_get groq requests) $(fake_get groq ok)" "$LOGINS $LOGINS"
is "each got its own" "$(for ((i = 1; i <= LOGINS; i++)); do cat "$T/token.$i" && echo; done | sort -u | wc -l)" "$LOGINS"
restart_piauth
same=0
for ((i = 1; i <= LOGINS; i++)); do
	[[ $(cat "$MNT/groq@$i/key") != "$(<"$T/token.$i")" ]] || same=$((same + 1))
done
is "all of them are on disk" "$same" "$LOGINS"
is "and nothing was asked again" "$(fake_get groq requests)" "$LOGINS"
