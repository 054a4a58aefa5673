#!/bin/bash
# timeout: 90
# While a refresh is under way something newer comes: a logout, a login, a key, another mode, the end of the
# server. Who waits gets what is true then, and the late answer changes nothing.
. "$(dirname "$0")/../lib/cases.sh"

READERS=5

need cc
cc -O1 -Wall -pthread -o "$T/herd" "$CASES/probe_herd.c" || bail "cc"

waiting() { [[ $(sed -n 's/^piauth_readers_waiting //p' "$MNT/.piauth/metrics") == "$1" ]]; }

# An expired login, READERS that wait for its refresh, a provider that has not answered yet.
begin() {
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	old=$ACCESS
	fake groq '{"mode": "hang"}'
	timeout 60 "$T/herd" "$READERS" 1 "$MNT/groq/key" >"$T/herd.out" &
	herd=$!
	ok "$1: readers wait" wait_until 20 waiting "$READERS"
}

# The readers end, although the provider still says nothing: $failed of them, with $errnum or $got.
readers_end() {
	wait "$herd" || failed "$1: the readers end"
	{ read -r _ failed distinct errnum ms && read -r got; } <"$T/herd.out"
	is "$1: the provider has not answered yet" "$(fake_get groq hanging)" 1
}

late_answer() {
	fake groq '{"mode": "ok"}'
	fake_do groq release
	fake_wait groq ok=1 || failed "$1: the answer leaves"
}

start_fake
use_fake groq
start_piauth

begin logout
ok "logout: while they wait" rm "$MNT/groq/key"
readers_end logout
is "logout: they fail at once, with ENOKEY" "$failed $errnum" "$READERS 126"
late_answer logout
fails_with "Required key not available" cat "$MNT/groq/key"
restart_piauth
fails_with "Required key not available" cat "$MNT/groq/key"
is "logout: one request" "$(fake_get groq requests)" 1

begin login
fake_login groq groq
new=$ACCESS
readers_end login
is "login: they get the new one's token" "$failed $distinct $got" "0 1 $new"
late_answer login
is "login: it stays" "$(cat "$MNT/groq/key")" "$new"
restart_piauth
is "login: also on disk" "$(cat "$MNT/groq/key")" "$new"
is "login: one request" "$(fake_get groq requests)" 1
put "$MNT/groq/refresh" "$new"
isnt "login: and can be refreshed" "$(cat "$MNT/groq/key")" "$new"
is "login: with its own token" "$(fake_get groq reuse)" 0

begin key
key=$(secret key)
put "$MNT/groq/api-key" "$key"
readers_end key
is "key: they get it" "$failed $distinct $got" "0 1 $key"
late_answer key
is "key: it stays" "$(cat "$MNT/groq/key")" "$key"
put "$MNT/groq/mode" oauth
token=$(cat "$MNT/groq/key")
isnt "key: the login beside it is as fresh as it gets" "$token" "$old"
is "key: from the one answer" "$(fake_get groq requests) $(fake_get groq reuse)" "1 0"
put "$MNT/groq/mode" auto
rm "$MNT/groq/api-key"

put "$MNT/groq/api-key" "$key"
begin mode
put "$MNT/groq/mode" api_key
readers_end mode
is "mode: they get the key" "$failed $distinct $got" "0 1 $key"
late_answer mode
is "mode: it stays" "$(cat "$MNT/groq/key")" "$key"
put "$MNT/groq/mode" oauth
isnt "mode: the late answer is the login's" "$(cat "$MNT/groq/key")" "$old"
is "mode: one request" "$(fake_get groq requests)" 1
rm "$MNT/groq/key"
put "$MNT/groq/mode" auto

# ---- the end of the server: nobody is left waiting, and it does not wait for the provider for ever ----

for how in umount TERM; do
	begin "$how"
	begun=$(now_ms)
	if [[ $how == umount ]]; then
		fails_with busy umount "$MNT"
		umount -l "$MNT"
		kill -TERM "${PID_OF[main]}"
		ok "lazy umount and SIGTERM: it ends" reap "${PID_OF[main]}" 30
		is "lazy umount and SIGTERM: exit status" "${reaped:-none}" 0
		unset "PID_OF[main]"
	else
		stop_piauth TERM
	fi
	at_most "$how: within (ms)" $(($(now_ms) - begun)) 15000
	wait "$herd" || failed "$how: the readers end"
	read -r _ failed _ errnum _ <"$T/herd.out"
	is "$how: the readers fail" "$failed" "$READERS"
	note "$how: with errno $errnum"
	fake groq '{"mode": "ok", "grace": true}'
	fake_do groq release
	start_piauth
	isnt "$how: afterwards the login works" "$(timeout 30 cat "$MNT/groq/key")" "$old"
done
