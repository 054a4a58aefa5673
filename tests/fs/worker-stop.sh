#!/bin/bash
# timeout: 150
# A worker that hangs, aborts or dies in the middle of a refresh is replaced: readers wait a little longer, and no
# refresh token is spent twice but by the rule for lost answers.
. "$(dirname "$0")/../lib/cases.sh"

WATCHDOG=2
SEED=20250215

need cc
cc -O1 -Wall -o "$T/probe_kill" "$CASES"/probe_kill*.c || bail "cc"
cc -O1 -Wall -pthread -o "$T/herd" "$CASES/probe_herd.c" || bail "cc"

result() { json_get "$1" <"$T/result"; }

# under_load SIGNAL KILLS: as in worker-kill.sh, with fewer clients.
under_load() {
	timeout -k 10 100 "$T/probe_kill" "${PID_OF[main]}" "$(kill -l "$1")" "$2" 200 "$SEED" "$(secret value)" \
		"4*read=$MNT/deepseek/key" "keep=$MNT/deepseek/key" "write=$MNT/mistral" "change=$MNT" "walk=$MNT" \
		>"$T/result" 2>"$T/complaints"
	is "$1: it came to its end" "$?" 0
	sed "s|$T/||g; s/^/#   /" "$T/complaints"
	is "$1: kills" "$(result kills)" "$2"
	is "$1: failed, torn, lost, stuck, died by itself" \
		"$(result failed) $(result torn) $(result lost) $(result stuck) $(result died)" "0 0 0 0 0"
	note "$1: $(result done/read) reads, $(result done/write) of writers; the first answer after" \
		"$(result recovered/p50) us (median), $(result recovered/max) us (max)"
}

# unchanged WHAT COMMAND...: the worker stays the same meanwhile.
unchanged() {
	local what=$1 before
	before="$(worker_pid) $(workers)"
	shift
	"$@"
	is "$what: the same worker" "$(worker_pid) $(workers)" "$before"
}

# A reader in the background; its answer is in $T/answer.
reads() {
	begun=$(now_ms)
	timeout 60 cat "$1" >"$T/answer" 2>&1 &
	reader=$!
}
answers() { # WHAT VALUE MS
	wait "$reader"
	is "$1: the reader" "$?" 0
	at_most "$1: after (ms)" $(($(now_ms) - begun)) "$3"
	is "$1: its answer" "$(<"$T/answer")" "$2"
}

conf watchdog_s "$WATCHDOG"
start_fake
use_fake groq
start_piauth
key=$(secret fixed)
put "$MNT/deepseek/api-key" "$key" || bail "cannot store a key"
workers_may_die
is "one worker" "$(workers)" 1

# ---- not a hang ----

hang_long() { # a reader waits for its provider longer than the watchdog does for the worker
	fake_login groq groq '{"expires_in": -1}'
	fake groq '{"mode": "hang"}'
	reads "$MNT/groq/key"
	fake_wait groq hanging=1 || failed "no request"
	sleep $((WATCHDOG * 2))
	fake groq '{"mode": "ok"}'
	fake_do groq release
	wait "$reader"
	is "a reader that waits for its provider: gets a token" "$?" 0
	isnt "a reader that waits for its provider: which is new" "$(<"$T/answer")" "$ACCESS"
}
unchanged "a reader that waits for its provider" hang_long
unchanged "nothing to do" sleep $((WATCHDOG * 2))

short_stop() {
	local pid
	pid=$(worker_pid)
	kill -STOP "$pid"
	reads "$MNT/deepseek/key"
	sleep 0.5
	kill -CONT "$pid"
	answers "a short stop" "$key" $((WATCHDOG * 1000))
}
unchanged "a short stop" short_stop

# ---- a hang ----

pid=$(worker_pid)
exec {kept}<"$MNT/deepseek/key"
kill -STOP "$pid"
reads "$MNT/deepseek/key"
answers "stopped" "$key" $((WATCHDOG * 1000 * 2 + 3000))
ok "stopped: the old worker is gone" ends_within "$pid" 0
is "stopped: one more worker" "$(workers)" 2
is "stopped: an open file goes on" "$(cat <&"$kept")" "$key"
exec {kept}<&-
# A debugger may stop all of it.
mapfile -t pids < <(server_pids)
kill -STOP "${pids[@]}"
reads "$MNT/deepseek/key"
sleep $((WATCHDOG + 1))
kill -CONT "${pids[@]}"
answers "both stopped" "$key" $((WATCHDOG * 1000 * 4))
under_load STOP 3
at_most "STOP: served again within (ms)" $(($(result recovered/max) / 1000)) $((WATCHDOG * 1000 * 2 + 3000))

# ---- other ends ----

under_load ABRT 10
under_load QUIT 5
under_load TERM 0 # the load by itself does no harm

# ---- in the middle of a refresh ----

# The old token lives: nothing is sent again, and it is served.
for signal in ABRT KILL STOP; do
	fake_do groq reset
	fake_login groq groq
	fake groq '{"mode": "hang"}'
	ok "$signal, token lives: reported" put "$MNT/groq/refresh" "$ACCESS"
	reads "$MNT/groq/key"
	fake_wait groq hanging=1 || failed "$signal: no request"
	kill_worker "$signal"
	answers "$signal, token lives" "$ACCESS" 20000
	is "$signal, token lives: state" "$(profile_status groq state)" retrying
	put "$MNT/groq/refresh" "$ACCESS" 2>/dev/null
	is "$signal, token lives: served again" "$(cat "$MNT/groq/key")" "$ACCESS"
	is "$signal, token lives: requests" "$(fake_get groq requests)" 1
	fake groq '{"mode": "ok"}'
	fake_do groq release
	is "$signal, token lives: no reuse" "$(fake_get groq reuse)" 0
done

# It is dead: one repeat for each worker that died with a request under way, however many wait.
for deaths in 1 2 3; do
	what="token dead, $deaths deaths"
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	fake groq "{\"mode\": \"hang\", \"times\": $deaths, \"grace\": true}"
	timeout 90 "$T/herd" 4 10 "$MNT/groq/key" >"$T/herd.out" &
	herd=$!
	for ((n = 1; n <= deaths; n++)); do
		fake_wait groq "hanging=$n&requests=$n" || failed "$what: request $n does not come"
		is "$what: requests before kill $n" "$(fake_get groq requests)" "$n"
		kill_worker ABRT
	done
	wait "$herd"
	is "$what: the readers end" "$?" 0
	{ read -r readers failures distinct errnum _ && read -r token; } <"$T/herd.out"
	is "$what: readers, failed, errno" "${readers:-0} ${failures:-0} ${errnum:-0}" "40 0 0"
	is "$what: they all got the same" "${distinct:-0}" 1
	isnt "$what: a new token" "${token:-$ACCESS}" "$ACCESS"
	is "$what: one request for each worker" "$(fake_get groq requests)" $((deaths + 1))
	fake_do groq release
	fake_wait groq "ok=$((deaths + 1))" || note "$what: the lost requests were not granted"
	is "$what: no reuse, none refused" "$(fake_get groq reuse) $(fake_get groq refused)" "0 0"
	is "$what: state" "$(profile_status groq state)" valid
	ok "$what: the login goes on" put "$MNT/groq/refresh" "$token"
	isnt "$what: with another token" "$(cat "$MNT/groq/key")" "$token"
done

# The provider does not forgive: the one repeat decides, and that is what all are told.
fake_do groq reset
fake_login groq groq '{"expires_in": -1}'
fake groq '{"mode": "lose", "times": 1, "delay_ms": 300}'
timeout 60 cat "$MNT/groq/key" >"$T/answer" 2>&1 &
reader=$!
fake_wait groq requests=1 || failed "no request"
kill_worker ABRT
wait "$reader"
isnt "answer lost: the reader fails" "$?" 0
like "answer lost: it says so" "$(<"$T/answer")" 'Key has been revoked'
is "answer lost: one repeat" "$(fake_get groq requests) $(fake_get groq reuse)" "2 1"
fails_with "Key has been revoked" cat "$MNT/groq/key"
is "answer lost: no further request" "$(fake_get groq requests)" 2
is "the server is two processes" "$(server_pids | wc -l)" 2
