#!/bin/bash
# timeout: 120
# 200 readers of an expired token, against a real server that rotates and notices reuse: one request.
. "$(dirname "$0")/../lib/cases.sh"

READERS=200
ROUNDS=4

need cc
cc -O1 -Wall -pthread -o "$T/herd" "$CASES/probe_herd.c" || bail "cc"

# What a reader leaves behind is refreshed once more ahead of time; then the login is idle and expires.
expired() { (($(now_ms) > $(<"$MNT/groq/expires"))); }

herd() { timeout 60 "$T/herd" "$READERS" 1 "$MNT/groq/key" >"$T/herd.out"; }

start_oidc 2
use_oidc groq
start_piauth
oidc_login groq 2
old=$ACCESS
# shellcheck disable=SC2154 # GRANT, ACCESS, REFRESH: oidc_login
for ((round = 1; round <= ROUNDS; round++)); do
	ok "round $round: the token expires" wait_until 10 expired
	before=$(oidc_count "$GRANT")
	ok "round $round: the readers end" herd
	{ read -r readers failed distinct errnum ms && read -r token; } <"$T/herd.out"
	is "round $round: readers, failed, errno" "$readers $failed $errnum" "$READERS 0 0"
	is "round $round: they all got the same" "$distinct" 1
	isnt "round $round: a new token" "$token" "$old"
	ok "round $round: which the server takes" oidc_takes "$token"
	is "round $round: one request" $(($(oidc_count "$GRANT") - before)) 1
	note "round $round: $readers readers in $ms ms"
	old=$token
done
is "no request was refused" "$(oidc_count "$GRANT" refused)" 0
is "the login lives" "$(oidc_count "$GRANT" revoked)" false
is "state" "$(profile_status groq state)" valid
