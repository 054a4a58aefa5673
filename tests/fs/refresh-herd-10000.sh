#!/bin/bash
# timeout: 150
# exclusive
# 10,000 readers wait for one refresh; afterwards the server is as small as before.
. "$(dirname "$0")/../lib/cases.sh"

PROCESSES=20
THREADS=500
READERS=$((PROCESSES * THREADS))
ROUNDS=3 # the first one warms up

need cc
cc -O1 -Wall -pthread -o "$T/herd" "$CASES/probe_herd.c" || bail "cc"

waiting() { [[ $(sed -n 's/^piauth_readers_waiting //p' "$MNT/.piauth/metrics") == "$1" ]]; }

# Anonymous memory of all processes of the server, KiB.
rss_anon() {
	local pid sum=0
	for pid in $(server_pids); do
		sum=$((sum + $(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status")))
	done
	echo "$sum"
}

start_fake
use_fake groq
conf deadline_s 100
# What a sanitizer keeps of freed memory is not the server's.
SERVER_ENV=(ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=0:thread_local_quarantine_size_kb=0:allocator_release_to_os_interval_ms=0)
start_piauth
for ((round = 1; round <= ROUNDS; round++)); do
	fake_do groq reset
	fake_login groq groq '{"expires_in": -1}'
	fake groq '{"mode": "hang"}'
	before=$(rss_anon)
	timeout 90 "$T/herd" "$PROCESSES" "$THREADS" "$MNT/groq/key" >"$T/herd.out" &
	herd=$!
	ok "round $round: all of them wait" wait_until 60 waiting "$READERS"
	during=$(rss_anon)
	is "round $round: one request" "$(fake_get groq requests)" 1
	released=$(now_ms)
	fake_do groq release
	wait "$herd"
	is "round $round: the readers end" "$?" 0
	{ read -r readers failed distinct errnum _ && read -r token; } <"$T/herd.out"
	is "round $round: readers, failed, errno" "${readers:-0} ${failed:-0} ${errnum:-0}" "$READERS 0 0"
	is "round $round: they all got the same" "${distinct:-0}" 1
	isnt "round $round: a new token" "${token:-$ACCESS}" "$ACCESS"
	is "round $round: still one request" "$(fake_get groq requests)" 1
	note "round $round: served within $(($(now_ms) - released)) ms of the answer;" \
		"RssAnon $before KiB before, $during during, $(rss_anon) after"
	cat "$MNT/groq/status" >/dev/null
	smaller() { (($(rss_anon) * 10 <= before * 11)); }
	[[ $round == 1 ]] || ok "round $round: memory is back within 10 %" wait_until 5 smaller
done
is "nobody waits any more" "$(waiting 0 && echo yes)" yes
