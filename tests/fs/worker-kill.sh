#!/bin/bash
# timeout: 150
# exclusive
# kill -9 of the worker at random moments, while others read, write, make and remove, list, and hold files open: none
# of them notices anything but the time it takes. What was acknowledged is there, before and after.
. "$(dirname "$0")/../lib/cases.sh"

KILLS=60
QUIET_MS=3000
SEED=20250214
LIMIT=120
((${PIAUTH_TEST_SOAK:-0} == 0)) || KILLS=1000 QUIET_MS=20000 LIMIT=2500

need cc
cc -O1 -Wall -o "$T/probe_kill" "$CASES"/probe_kill*.c || bail "cc"

start_fake
use_fake groq
# Whoever asks again, because an answer was lost, gets that answer. (Providers that do not: refresh-kill.sh.)
fake groq '{"expires_in": 2, "grace": true, "token_len": [80, 160]}'
start_piauth
fake_login groq groq
put "$MNT/deepseek/api-key" "$(secret fixed)" || bail "cannot store a key"
touch "$T/fixed" "$T/token"
mount --bind "$MNT/deepseek/key" "$T/fixed" || bail "mount --bind"
mount --bind "$MNT/groq/key" "$T/token" || bail "mount --bind"
# A successor has the store's lock from the holder, not by itself: compared is what comes after the first one.
kill_worker
is "a successor serves" "$(workers)" 2

holder=${PID_OF[main]}
holder_fds() { find "/proc/$holder/fd" -type l -printf '%f %l\n' | sed 's/socket:.*/socket/' | sort -n; }
holder_rss() { sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$holder/status"; }
result() { json_get "$1" <"$T/result"; }
times() { # WHAT PHASE
	note "$1: $(result "$2/reads") reads, p50 $(result "$2/p50") us, p99.9 $(result "$2/p999") us," \
		"max $(result "$2/max") us"
}
fd_mark
holder_fds >"$T/holder.before"
rss=$(holder_rss)

note "$KILLS kills, seed $SEED"
timeout -k 10 "$LIMIT" "$T/probe_kill" "$holder" "$(kill -l KILL)" "$KILLS" "$QUIET_MS" "$SEED" "$(secret value)" \
	"8*read=$MNT/groq/key,$MNT/deepseek/key" "write=$MNT/mistral" "write=$MNT/xai" \
	"read=$MNT/mistral/key,$MNT/xai/key" "read=$T/fixed,$T/token" "keep=$MNT/deepseek/key" "keep=$MNT/groq/key" \
	"keep=$MNT/mistral/key" "change=$MNT" "walk=$MNT" >"$T/result" 2>"$T/complaints"
is "it came to its end" "$?" 0
sed "s|$T/||g; s/^/#   /" "$T/complaints"

times "without kills" quiet
times "with kills" killing
note "after a kill the first answer came within $(result recovered/p50) us (median), $(result recovered/max) us (max);" \
	"$(result early) kills hit a worker that had only just begun"
for role in read keep write change walk; do
	n=$(result "done/$role")
	isnt "$role: done ($n)" "$n" 0
done
is "kills" "$(result kills)" "$KILLS"
is "no operation failed" "$(result failed)" 0
is "none was a mixture of two values" "$(result torn)" 0
is "nothing that was acknowledged was lost" "$(result lost)" 0
is "nobody hangs" "$(result stuck)" 0
is "no worker died by itself" "$(result died)" 0
# Each of them needs a kill of its own between a request and its answer.
at_most "reads that failed because an answer had died with the worker" "$(result excepted)" $((KILLS / 10))
note "pieces of a value that was gone (ESTALE): $(result stale)"

# ---- what is left of it ----

is "workers so far" "$(workers)" $((KILLS + 2))
is "the same holder" "$(sed -n 's/^piauth_server_info{pid="\([0-9]*\)".*/\1/p' "$MNT/.piauth/metrics")" "$holder"
mapfile -t pids < <(server_pids)
is "the server is two processes" "${#pids[@]}" 2
is "none of which is dead" "$(cat "${pids[@]/%//stat}" 2>/dev/null | grep -c ') Z ')" 0
holder_fds >"$T/holder.after"
is "the holder has the same descriptors" "$(diff "$T/holder.before" "$T/holder.after")" ""
# The bookkeeping of a sanitizer is not the holder's.
grep -qa __asan_init "$PIAUTH" && growth=8192 || growth=16
at_most "the holder has grown by (KiB)" $(($(holder_rss) - rss)) "$growth"
note "the holder has $(holder_rss) KiB of its own"
is "the log tells of every death" "$(worker_deaths)" $((KILLS + 1))
ok "the file that was mounted is still one" is_mounted "$T/fixed"
is "and the value of it is as it was" "$(cat "$T/fixed")" "$(cat "$MNT/deepseek/key")"

# Which requests sent a refresh token that had been sent before, and why that was right.
http "$FAKE_URL/ctl/groq" | python3 -c '
import json, sys
seen, again = {}, 0
for entry in json.load(sys.stdin)["log"]:
    token = entry["body"].get("refresh_token")
    seen[token] = seen.get(token, 0) + 1
    again += seen[token] > 1
print(len(seen), again, max(seen.values(), default=0))' >"$T/spent"
read -r spent again most <"$T/spent"
note "$spent refresh tokens were sent, $again of them again, the same one at most $most times"
ok "tokens were refreshed meanwhile" test "$spent" -gt 2
at_most "a token is sent again only for an answer that was lost" "$again" $((KILLS / 2))
is "the provider takes the token" \
	"$(http "$FAKE_URL/ctl/groq/token?access=$(cat "$MNT/groq/key")" | json_get known)" true

written() { # WHEN
	local i profile
	for i in 0 1; do
		profile=$(result "written/$i/profile")
		is "$1: $(basename "$profile") has what was written last" "$(cat "$profile/key")" "$(result "written/$i/value")"
	done
}
written "afterwards"
umount "$T/fixed" "$T/token"
kill_piauth
start_piauth
written "after the end of the server"
rm "$T/result" "$T/complaints"
