#!/bin/bash
# timeout: 120
# A disk on which fsync takes 2 s: writers wait for it, readers of valid tokens do not.
. "$(dirname "$0")/../lib/cases.sh"

DELAY_MS=2000
READS=500

need strace
start_fake
use_fake groq
start_piauth
fake_login groq groq
put "$MNT/xai/api-key" "$(secret xai)"
stop_piauth

# shellcheck disable=SC2054
SERVER_WRAP=(strace -f -qq --seccomp-bpf -o "$T/strace.out" -e trace=fsync,fdatasync,sync_file_range
	-e "inject=fsync,fdatasync,sync_file_range:delay_enter=${DELAY_MS}000")
start_piauth
python3 -S -E "$CASES/probe_latency.py" "$READS" "$MNT/groq/key" "$MNT/xai/key" >"$T/before" ||
	bail "readers before"

# ---- a key is being stored ----

begun=$(now_ms)
put "$MNT/mistral/api-key" "$(secret mistral)" &
writer=$!
python3 -S -E "$CASES/probe_latency.py" "$READS" "$MNT/groq/key" "$MNT/xai/key" >"$T/during" ||
	failed "readers while a key is being stored"
ok "the write is still under way" kill -0 "$writer"
wait "$writer"
is "the write succeeds" "$?" 0
ms=$(($(now_ms) - begun))
ok "only once it is durable ($ms ms)" test "$ms" -ge "$DELAY_MS"

# ---- a login is being refreshed ----

ok "the token is reported" put "$MNT/groq/refresh" "$ACCESS"
begun=$(now_ms)
cat "$MNT/groq/key" >"$T/new" &
reader=$!
python3 -S -E "$CASES/probe_latency.py" "$READS" "$MNT/xai/key" >"$T/refresh" ||
	failed "readers while a login is being refreshed"
ok "the refresh is still under way" kill -0 "$reader"
wait "$reader"
ms=$(($(now_ms) - begun))
note "the reader of the reported token got one after $ms ms"
at_most "which is no longer than a reader waits" "$ms" 4500

for who in before during refresh; do
	note "$who: $(<"$T/$who") us (median, p99, max of open+read+close)"
done
read -r before _ <"$T/before"
for who in during refresh; do
	read -r median p99 longest <"$T/$who"
	at_most "$who: readers of other files do not wait (median, us)" "$median" $((before + 50000))
	at_most "$who: none of them (max, us)" "$longest" $((DELAY_MS * 1000 / 2))
done
ok "the refreshed token becomes durable" wait_until 30 grep -q '"event":"refreshed"' "$MNT/.piauth/events"
isnt "a new token is served" "$(cat "$MNT/groq/key")" "$ACCESS"
is "from one request" "$(fake_get groq requests)" 1
