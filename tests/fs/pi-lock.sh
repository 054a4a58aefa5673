#!/bin/bash
# timeout: 150
# The lock of auth.json. While pi holds it nobody waits who need not, and nothing is refreshed; whoever
# dies while holding it stops the other only until the lock is old; what can never be a lock stops nobody.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

READS=500

logins=0

# new_login EXPIRES_IN: anthropic's entry in the file is a new login, which is imported at the next start. Its
# account is a new one too: a request that hangs for ever belongs to an older one.
new_login() {
	account=anthropic-$((++logins))
	use_fake anthropic "$account"
	PI_ENDPOINT=$FAKE_URL/a/$account/token
	pi_pair "$account"
	EXPIRES=$(($(now_ms) + $1 * 1000))
	pi_set anthropic "$(pi_login)"
}

# fresh_server EXPIRES_IN: a server that has just imported such a login.
fresh_server() {
	[[ -z ${PID_OF[main]:-} ]] || stop_piauth
	rm -rf "$STORE"
	new_login "$1"
	start_piauth
	is "imported" "$(decision anthropic)" imported
}

latency() { # WHAT FILE...
	python3 -S -E "$CASES/probe_latency.py" "$READS" "${@:2}" >"$T/$1" || failed "$1: a reader failed"
	note "$1: $(<"$T/$1") us (median, p99, max of open+read+close)"
}

# The reader runs on its own; its answer is in $T/answer, and $answered_ms says how long it took.
reads() {
	begun=$(now_ms)
	timeout 60 cat "$MNT/anthropic/key" >"$T/answer" 2>"$T/answer.err" &
	reader=$!
}
answers() {
	wait "$reader"
	answered=$?
	answered_ms=$(($(now_ms) - begun))
}

# What the provider answers pi, with the refresh token of the file.
pi_refreshes() {
	http "$PI_ENDPOINT" --data-urlencode grant_type=refresh_token \
		--data-urlencode "refresh_token=$(pi_has anthropic/refresh)" || bail "pi cannot refresh"
}
pi_has_another() { ! pi_is anthropic/access "$1"; }

real_pi_reads() { # WHAT TOKEN
	is "$1: pi 1.5.2" "$(new_pi auth print-bearer-token --provider anthropic --min-expiry 1m 2>&1)" "$2"
	is "$1: pi 0.73.1" "$(old_pi anthropic 2>&1)" "$2"
}

pi_install
start_fake
use_fake groq
pi_home "$T/home"
LEGACY_HOME=$PI_HOME
pi_file "$(json_make 'mistral:={"type": "api_key", "key": "fake-1"}')"

# ---- pi holds it ----

pi_pair groq
pi_set groq "$(pi_login)"
fresh_server 3600
latency before "$MNT/anthropic/key" "$MNT/groq/key" "$MNT/mistral/key"
pi_takes_lock
latency locked "$MNT/anthropic/key" "$MNT/groq/key" "$MNT/mistral/key"
pi_gives_lock
is "pi was not disturbed" "$lock_answer" released
read -r before _ <"$T/before"
read -r median _ longest <"$T/locked"
at_most "readers of valid tokens do not wait (median, us)" "$median" $((before + 50000))
at_most "none of them (max, us)" "$longest" 1000000
is "nothing was asked for" "$(fake_get "$account" requests)" 0

# A pair that pi wrote is valid but counts as due, as one inside the margin does.
fresh_server 3600
pi_takes_lock
generation=$(<"$MNT/anthropic/generation")
take_pair "$(pi_refreshes)"
pi_set anthropic "$(pi_login)"
ok "what pi writes is noticed" wait_until 2 generation_above anthropic "$generation"
reads
answers
is "inside the margin: the token that there is" "$answered $(<"$T/answer")" "0 $ACCESS"
at_most "after the time that such a reader waits (ms)" "$answered_ms" 3700
ok "it has waited ($answered_ms ms)" test "$answered_ms" -ge 2000
is "nothing was asked for" "$(fake_get "$account" requests)" 1
pi_gives_lock
is "pi was not disturbed" "$lock_answer" released
ok "then it is refreshed" fake_wait "$account" requests=2 10
ok "and written" wait_until 10 pi_has_another "$ACCESS"

fresh_server -1
before=$(<"$AUTH")
pi_takes_lock
reads
latency others "$MNT/groq/key" "$MNT/mistral/key"
read -r _ _ longest <"$T/others"
at_most "readers of other providers do not wait (max, us)" "$longest" 1000000
ok "an expired token: the reader waits" kill -0 "$reader"
is "nothing was asked for" "$(fake_get "$account" requests)" 0
is "nothing was written" "$(<"$AUTH")" "$before"
pi_gives_lock
answers
is "pi was not disturbed" "$lock_answer" released
is "then it gets a new one" "$answered $(fake_get "$account" requests)" "0 1"
ok "which stands in the file" wait_until 10 pi_is anthropic/access "$(<"$T/answer")"
ok "the lock is given back" wait_until 10 is_unlocked

# What pi wrote while it held the lock counts: nothing is refreshed twice.
fresh_server -1
pi_takes_lock
reads
latency meanwhile "$MNT/mistral/key"
take_pair "$(pi_refreshes)"
pi_set anthropic "$(pi_login)"
pi_gives_lock
answers
is "pi refreshed while it held the lock: the reader gets a token" "$answered" 0
ok "that the provider made" test "$(http "$FAKE_URL/ctl/$account/token?access=$(<"$T/answer")" | json_get known)" = true
is "no refresh token was used twice" "$(fake_get "$account" reuse) $(fake_get "$account" refused)" "0 0"

# pi dies with it.
fresh_server -1
pi_takes_lock
pi_dies
ok "killed pi leaves its lock" is_locked
reads
latency dead "$MNT/mistral/key"
ok "a fresh lock is respected" kill -0 "$reader"
is "nothing was asked for" "$(fake_get "$account" requests)" 0
lock_ages
answers
is "an old one is not" "$answered $(fake_get "$account" requests)" "0 1"
ok "the file is written" wait_until 10 pi_is anthropic/access "$(<"$T/answer")"
ok "and the lock gone" wait_until 10 is_unlocked

# ---- piauth dies with it ----

hangs() { # a refresh that the provider does not answer
	fresh_server -1
	before=$(<"$AUTH")
	fake "$account" '{"mode": "hang"}'
	reads
	fake_wait "$account" hanging=1 30 || failed "no refresh"
	ok "the lock is held during the refresh" is_locked
}

is_whole() { is "$1: the file is as it was" "$(<"$AUTH")" "$before"; }

hangs
{ kill_piauth; } 2>/dev/null
answers
ok "all processes killed: the lock stays" is_locked
is_whole "all processes killed"
fake "$account" '{"mode": "ok"}'
lock_ages
token=$(new_pi auth print-bearer-token --provider anthropic --min-expiry 1m 2>&1)
is "pi refreshes by itself" "$(pi_has anthropic/access)" "$token"
ok "and leaves no lock" is_unlocked
real_pi_reads "it goes on" "$token"
is "no refresh token was used twice" "$(fake_get "$account" reuse)" 0
start_piauth
expected=$(timeout 30 cat "$MNT/anthropic/key")
ok "piauth goes on too, with pi's login" test "$expected" = "$token" -o "$(pi_has anthropic/access)" = "$expected"
is "no refresh token was used twice" "$(fake_get "$account" reuse) $(profile_status anthropic state)" "0 valid"

hangs
{ kill -KILL "${PID_OF[main]}"; } 2>/dev/null
ok "the server killed: its helper gives the lock back" wait_until 10 is_unlocked
{ kill_piauth; } 2>/dev/null
answers
is_whole "the server killed"
fake "$account" '{"mode": "ok"}'
token=$(new_pi auth print-bearer-token --provider anthropic --min-expiry 1m 2>&1)
is "pi goes on at once" "$(pi_has anthropic/access)" "$token"
start_piauth

hangs
mapfile -t helpers < <(pgrep -f legacy-helper -P "$(worker_pid)")
ok "the helper is a process" test "${#helpers[@]}" -ge 1
kill -KILL "${helpers[@]}" 2>/dev/null
fake "$account" '{"mode": "ok"}'
fake_do "$account" release
answers
is "the helper killed: the reader gets a token" "$answered" 0
ok "the lock stays" is_locked
ok "the file is whole" json_get anthropic/type <"$AUTH"
lock_ages
put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
reads
answers
is "the next refresh" "$answered" 0
ok "stands in the file" wait_until 10 pi_is anthropic/access "$(<"$T/answer")"
ok "and the lock is gone" wait_until 10 is_unlocked
is "no refresh token was used twice" "$(fake_get "$account" reuse)" 0

# ---- what cannot be a lock ----

blocked() { # WHAT
	local request said
	request=$(fake_get "$account" requests)
	put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
	reads
	answers
	isnt "$1: the reader gets an answer" "$answered" 124
	is "$1: which is a token" "$answered" 0
	is "$1: a new one" "$(fake_get "$account" requests)" $((request + 1))
	said=$(link_of anthropic note)
	ok "$1: it is reported or written all the same" \
		test -n "$said" -o "$(pi_has anthropic/access)" = "$(<"$T/answer")"
	note "$1: status says: $said"
	ok "$1: it is not removed" is_locked
}

: >"$AUTH.lock"
lock_ages
blocked "a file"
ok "a file: it is one still" test -f "$AUTH.lock"
rm "$AUTH.lock"

mkdir -p "$AUTH.lock/content"
lock_ages
blocked "a directory that is not empty"
ok "a directory that is not empty: it is so still" test -d "$AUTH.lock/content"
rm -r "$AUTH.lock"

ln -s /nonexistent/somewhere "$AUTH.lock"
blocked "a symbolic link"
rm "$AUTH.lock" 2>/dev/null

put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
reads
answers
ok "free again: the file is written" wait_until 10 pi_is anthropic/access "$(<"$T/answer")"
ok "and there is no note" wait_until 5 link_is anthropic note ""
is "no refresh token was used twice" "$(fake_get "$account" reuse)" 0
is "nothing is left beside the file" "$(beside)" "auth.json models-store.json"
