#!/bin/bash
# timeout: 120
# The whole server under valgrind: no invalid access, nothing uninitialised, nothing left at the end.
# Sanitizers and valgrind exclude each other, so this takes the plain build.
. "$(dirname "$0")/../lib/cases.sh"

PIAUTH=${PIAUTH_PLAIN:-$PIAUTH}
need valgrind
! grep -qa __asan_init "$PIAUTH" || skip "$PIAUTH has sanitizers; set PIAUTH_PLAIN"
SERVER_WRAP=(valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
	"--log-file=$T/valgrind.log")

start_fake
use_fake groq
start_piauth
key=$(secret key)
ok "store a key" put "$MNT/xai/api-key" "$key"
is "read it" "$(cat "$MNT/xai/key")" "$key"
fails_with "Invalid argument" put "$MNT/xai/api-key" $'two\nlines'
ok "several readers" eval 'for i in 1 2 3 4 5 6 7 8; do cat "$MNT/xai/header" "$MNT/xai/env" "$MNT/xai/status"; done >/dev/null'

fake_login groq groq '{"expires_in": -1}'
token=$(cat "$MNT/groq/key")
isnt "refresh" "$token" "$ACCESS"
ok "report it" put "$MNT/groq/refresh" "$token"
isnt "refresh again" "$(cat "$MNT/groq/key")" "$token"
fake groq '{"mode": "status", "status": 500}'
ok "report that one" put "$MNT/groq/refresh" "$(cat "$MNT/groq/generation")"
ok "served while the provider fails" cat "$MNT/groq/key" >/dev/null
fake_do groq revoke

ok "a provider of one's own" mkdir "$MNT/own"
ok "with a key" put "$MNT/own/api-key" "$key"
ok "gone again" rm -rf "$MNT/own"
ok "a walk" eval 'find "$MNT" -ls >/dev/null'
ok "log out" rm "$MNT/xai/key" "$MNT/groq/key"
fails_with "Required key not available" cat "$MNT/groq/key"
stop_piauth
# Its warnings (--PID--) are about system calls that it does not know, such as mlock2.
is "valgrind has nothing to say" "$(grep -v '^--' "$T/valgrind.log")" ""
