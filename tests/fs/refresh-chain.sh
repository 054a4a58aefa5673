#!/bin/bash
# timeout: 150
# 1,000 rotations one after the other, against a real server that rotates and notices reuse.
. "$(dirname "$0")/../lib/cases.sh"

ROTATIONS=1000

rotate() { timeout $(($1 / 8 + 20)) "$CASES/probe_rotate.py" "$MNT/groq" "$1" >"$T/rotated"; }

((${PIAUTH_TEST_SOAK:-0} == 0)) || ROTATIONS=20000
start_oidc 2
use_oidc groq
start_piauth
oidc_login groq 2
first=$ACCESS
ok "$ROTATIONS rotations" rotate "$ROTATIONS"
read -r count ms <"$T/rotated"
is "all of them were made" "${count:-none}" "$ROTATIONS"
note "$count rotations in $ms ms, $((ms * 1000 / ROTATIONS)) us each"
# The first read may have refreshed the token ahead of time.
at_most "no request more than needed" "$(oidc_count "$GRANT")" $((ROTATIONS + 2))
is "none was refused" "$(oidc_count "$GRANT" refused)" 0
is "the login lives" "$(oidc_count "$GRANT" revoked)" false
token=$(cat "$MNT/groq/key")
isnt "the token is not the first one" "$token" "$first"
ok "the server takes it" oidc_takes "$token"

generation=$(<"$MNT/groq/generation")
restart_piauth
at_most "the generation is where it was" "$generation" "$(<"$MNT/groq/generation")"
ok "it goes on after a restart" rotate 3
is "none was refused" "$(oidc_count "$GRANT" refused)" 0
is "the login lives" "$(oidc_count "$GRANT" revoked)" false
