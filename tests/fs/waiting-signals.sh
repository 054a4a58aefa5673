#!/bin/bash
# timeout: 120
# Signals to a reader that waits for a refresh: those that are to end it do so at once, all others leave it
# waiting, and it gets its token.
. "$(dirname "$0")/../lib/cases.sh"

LIMIT_MS=1000 # 100 ms is what a user is promised; the figures are printed
LOOK=0.25     # the server looks at an interrupted reader every 100 ms: time for two looks

need cc strace
cc -O1 -Wall -o "$T/reader" "$CASES/probe_wait.c" || bail "cc"
ulimit -c 0 # SIGQUIT

waiting() { [[ $(sed -n 's/^piauth_readers_waiting //p' "$MNT/.piauth/metrics") == "$1" ]]; }
state_is() { [[ $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status") == [$2] ]]; }

# start COMMAND...: in the background, with the signals as a terminal's child has them; sets $reader.
start() {
	env --default-signal "$@" >"$T/out" 2>"$T/err" &
	reader=$!
	wait_until 20 waiting 1 || failed "the reader waits: $*"
}

# interrupt SIGNAL...: sends them one by one; each has reached the server before the next one goes.
interrupt() {
	local signal
	for signal; do
		kill -s "$signal" "$reader"
		sleep "$LOOK"
	done
}

# ends SIGNAL: sets $status and $ms of its end.
ends() {
	local begun
	begun=$(now_ms)
	kill -s "$1" "$reader"
	wait "$reader"
	status=$?
	ms=$(($(now_ms) - begun))
} 2>/dev/null # the shell would report it

# release: the provider answers; sets $status.
release() {
	fake_do groq release
	wait "$reader"
	status=$?
}

login() {
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	fake groq '{"mode": "hang"}'
}

start_fake
use_fake groq
conf deadline_s 60
start_piauth
login
fd_mark

# ---- what ends a reader ----

declare -A NUMBER=([HUP]=1 [INT]=2 [QUIT]=3 [KILL]=9 [ALRM]=14 [TERM]=15)
for signal in INT TERM HUP QUIT ALRM KILL; do
	start cat "$MNT/groq/key"
	ends "$signal"
	is "SIG$signal ends a waiting cat" "$status" $((128 + NUMBER[$signal]))
	at_most "SIG$signal: after (ms)" "$ms" "$LIMIT_MS"
	ok "SIG$signal: nobody waits any more" wait_until 5 waiting 0
done

# The kernel sends no second interrupt: the server has to look by itself.
for first in WINCH CHLD USR1; do
	start "$T/reader" -h "$(kill -l "$first")" "$MNT/groq/key"
	interrupt "$first"
	ok "SIG$first leaves it waiting" waiting 1
	ends KILL
	is "SIGKILL after SIG$first ends it" "$status" 137
	at_most "SIGKILL after SIG$first: after (ms)" "$ms" "$LIMIT_MS"
	ok "nobody waits any more" wait_until 5 waiting 0
done
start "$T/reader" -h 28 "$MNT/groq/key"
interrupt WINCH
ends INT
is "SIGINT after SIGWINCH ends it" "$status" 130
at_most "SIGINT after SIGWINCH: after (ms)" "$ms" "$LIMIT_MS"

# A handler for SIGINT: open says EINTR, as it does for any slow file.
start "$T/reader" -h 2 "$MNT/groq/key"
ends INT
read -r errnum handled <"$T/out"
is "with a handler SIGINT is EINTR, handled once" "$errnum $handled" "4 1"
at_most "SIGINT with a handler: after (ms)" "$ms" "$LIMIT_MS"

begun=$(now_ms)
not_ok "timeout(1) ends a waiting cat" timeout 0.5 cat "$MNT/groq/key"
at_most "timeout(1): after (ms)" $(($(now_ms) - begun)) $((500 + LIMIT_MS))
is "all of them are one request, which goes on" "$(fake_get groq requests) $(fake_get groq hanging)" "1 1"
fake_do groq release
ok "its answer is stored" fake_wait groq ok=1
isnt "for the next reader" "$(cat "$MNT/groq/key")" "$ACCESS"
is "without another request" "$(fake_get groq requests)" 1

# ---- what does not ----

# gets_it WHAT: it gets the new token, without an error on the way.
gets_it() {
	local errnum handled token
	ok "$1: it still waits" waiting 1
	release
	{ read -r errnum handled && read -r token; } <"$T/out"
	is "$1: status, errno" "$status ${errnum:-none}" "0 0"
	isnt "$1: a new token" "${token:-$ACCESS}" "$ACCESS"
	is "$1: the current one" "${token:-none}" "$(cat "$MNT/groq/key")"
	is "$1: one request" "$(fake_get groq requests)" 1
	seen=${handled:-0}
}

for flags in "" -r; do
	for signal in WINCH CHLD USR1 CONT IO; do
		login
		# shellcheck disable=SC2086 # $flags is none or one
		start "$T/reader" $flags -h "$(kill -l "$signal")" "$MNT/groq/key"
		interrupt "$signal" "$signal"
		gets_it "SIG$signal with a handler${flags:+ and SA_RESTART}"
		ok "SIG$signal: the handler ran" test "$seen" -ge 1
	done
done

login
start "$T/reader" "$MNT/groq/key"
interrupt STOP CONT
gets_it "SIGSTOP, SIGCONT"

login
start "$T/reader" "$MNT/groq/key"
interrupt TSTP CONT TSTP CONT
gets_it "^Z, fg, twice"

# Stopped while the answer comes: it is there when the reader goes on.
login
start "$T/reader" "$MNT/groq/key"
interrupt STOP
ok "stopped: it still waits" waiting 1
fake_do groq release
ok "the provider has answered" fake_wait groq ok=1
ok "the reader is stopped" wait_until 10 state_is "$reader" T
kill -CONT "$reader"
wait "$reader"
is "when it goes on it has its token" "$? $(head -n 1 "$T/out")" "0 0 0"

for how in INT KILL; do
	login
	start "$T/reader" "$MNT/groq/key"
	env --default-signal strace -qq -e trace=none -p "$reader" -o "$T/strace.out" 2>/dev/null &
	tracer=$!
	ok "strace is attached" wait_until 10 grep -q '^TracerPid:.[1-9]' "/proc/$reader/status"
	sleep "$LOOK"
	kill -s "$how" "$tracer"
	[[ $how == INT ]] || { wait "$tracer"; } 2>/dev/null
	sleep "$LOOK"
	gets_it "strace attached and detached with SIG$how"
	{ wait "$tracer"; } 2>/dev/null
done

login
start strace -qq -o "$T/strace.out" "$T/reader" -h 28 "$MNT/groq/key"
is "under strace: one request" "$(fake_get groq requests)" 1
kill -WINCH "$(tr -d ' ' <"/proc/$reader/task/$reader/children")"
sleep "$LOOK"
gets_it "under strace, with SIGWINCH"

# ---- a read of a kept descriptor waits in the same way ----

# keep COMMAND...: like start, but the first read gets a token at once; the next one, from the start, waits.
keep() {
	fake_do groq reset
	fake_login groq groq
	mkfifo "$T/again"
	env --default-signal "$T/reader" -k "$@" "$MNT/groq/key" <"$T/again" >"$T/out" &
	reader=$!
	exec 8>"$T/again"
	rm "$T/again"
	wait_until 10 is_open || failed "the reader has it open"
	login
	printf x >&8
	wait_until 20 waiting 1 || failed "the kept descriptor waits"
	exec 8>&-
}
is_open() { find "/proc/$reader/fd" -lname "$MNT/groq/key" 2>/dev/null | grep -q .; }

keep -h 28
interrupt WINCH WINCH
gets_it "a kept descriptor, SIGWINCH"
for signal in INT KILL; do
	keep
	ends "$signal"
	is "SIG$signal ends a kept descriptor's read" "$status" $((128 + NUMBER[$signal]))
	at_most "SIG$signal: after (ms)" "$ms" "$LIMIT_MS"
	ok "SIG$signal: nobody waits any more" wait_until 5 waiting 0
done
