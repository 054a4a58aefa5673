#!/bin/bash
# timeout: 120
# The whole worker under valgrind: no invalid access, nothing uninitialised, nothing left at the end.
# Sanitizers and valgrind exclude each other, so this takes the plain build.
. "$(dirname "$0")/../lib/cases.sh"

PIAUTH=${PIAUTH_PLAIN:-$PIAUTH}
need valgrind cc
! grep -qa __asan_init "$PIAUTH" || skip "$PIAUTH has sanitizers; set PIAUTH_PLAIN"
cc -O1 -Wall -shared -fPIC -o "$T/wrap_worker.so" "$CASES/wrap_worker.c" || bail "cc"
# The holder runs by itself: valgrind 3.19 does not know what it waits with.
# It says what it has to say on stderr: a log file of its own would be one of the worker's descriptors.
SERVER_ENV=("PROBE_WRAP=valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
	"PROBE_PROGRAM=$PIAUTH")
SERVER_WRAP=(env "LD_PRELOAD=$T/wrap_worker.so")

start_fake
allow_log '^--[0-9]+-- ' # system calls that it does not know, such as mlock2
use_fake groq
start_piauth
worker() { xargs <"/proc/${PID_OF[main]}/task/${PID_OF[main]}/children"; } # its command line is valgrind's
ok "it watches" grep -q valgrind "/proc/$(worker)/maps"
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

# Its successor, which takes over what is open.
workers_may_die
exec {kept}<"$MNT/xai/key" {entry}>"$MNT/mistral/api-key"
killed=$(worker)
kill -KILL "$killed"
is "a successor serves what is open" "$(cat <&"$kept")" "$key"
printf '%s' "$key" >&"$entry" || failed "and takes what is written to it"
exec {kept}<&- {entry}>&-
is "which is there" "$(cat "$MNT/mistral/key")" "$key"
isnt "it is another worker" "$(worker)" "$killed"

ok "a provider of one's own" mkdir "$MNT/own"
ok "with a key" put "$MNT/own/api-key" "$key"
ok "gone again" rm -rf "$MNT/own"
ok "a walk" eval 'find "$MNT" -ls >/dev/null'
ok "log out" rm "$MNT/xai/key" "$MNT/groq/key" "$MNT/mistral/key"
fails_with "Required key not available" cat "$MNT/groq/key"
stop_piauth
is "valgrind has nothing to say" "$(grep '^==' "$LOG")" ""
