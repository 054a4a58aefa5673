#!/bin/bash
# timeout: 110
# What write(2) has acknowledged is there after a crash, even if the file was never closed; a write that was not
# acknowledged leaves the old key or the new one.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need python3
start_piauth
file=$MNT/groq/api-key
crash() { # the server dies, the writer goes, and the next server starts
	kill_piauth
	probe_stop
	start_piauth
}

probe_start
key=$(secret first)
is "open and write, without a close" "$(fd write-open w "$file") $(fd write w "$key")" "ok ok"
not_ok "it is not served yet" test -s "$MNT/groq/key"
crash
is "after the crash the acknowledged value is there" "$(cat "$MNT/groq/key")" "$key"
ok "it is listed" test -e "$file"

probe_start
old=$key
key=$(secret second)
is "replace it, byte groups" \
	"$(fd write-open w "$file") $(fd write w "${key:0:9}") $(fd write w "${key:9}\n")" "ok ok ok"
is "the old one is served" "$(cat "$MNT/groq/key")" "$old"
crash
is "after the crash: the new one, all of it" "$(cat "$MNT/groq/key")" "$key"

probe_start
is "a value that is refused in the end" \
	"$(fd write-open w "$file") $(fd write w 'one line\n') $(fd write w 'and another')" "ok ok EINVAL"
crash
is "after the crash: as before" "$(cat "$MNT/groq/key")" "$key"

probe_start
is "an open without a write" "$(fd write-open w "$file")" ok
crash
is "after the crash: as before" "$(cat "$MNT/groq/key")" "$key"

probe_start
token=$(secret token)
entry=$(json_make type=oauth "access=$token" "refresh=$(secret refresh)" "expires:=$(($(now_ms) + 7200000))")
is "half of a login" "$(fd write-open w "$MNT/groq/oauth") $(fd write w "${entry:0:20}")" "ok ok"
crash
is "after the crash: as before" "$(cat "$MNT/groq/key")" "$key"
probe_start
is "a whole login, without a close" "$(fd write-open w "$MNT/groq/oauth") $(fd write w "$entry")" "ok ok"
crash
is "after the crash: the login" "$(cat "$MNT/groq/key")" "$token"
ok "the key is still beside it" test -e "$file"

ok "log out" rm "$MNT/groq/key"
kill_piauth
start_piauth
fails_with "Required key not available" cat "$MNT/groq/key"

# A kill at any moment: what the shell was told holds.
ok "store" put "$file" "$key"
lost=0 torn=0 told=0
for i in {1..12}; do
	old=$key
	new=$(secret "$i")
	mapfile -t victims < <(server_pids)
	(
		put "$file" "$new" 2>/dev/null
		echo $? >"$T/result"
	) &
	writer=$!
	sleep "0.00$((RANDOM % 5))"
	kill -KILL "${victims[@]}"
	kill_piauth keep
	wait "$writer"
	umount "$MNT" || umount -l "$MNT"
	start_piauth
	key=$(cat "$MNT/groq/key")
	[[ $key == "$old" || $key == "$new" ]] || torn=$((torn + 1))
	if [[ $(cat "$T/result") == 0 ]]; then
		told=$((told + 1))
		[[ $key == "$new" ]] || lost=$((lost + 1))
	fi
done
note "$told of 12 writes were acknowledged"
is "never anything but the old or the new key" "$torn" 0
is "an acknowledged key is never lost" "$lost" 0
is "no temporary file is left" "$(find "$STORE" -name '*tmp*' -o -name '*.new')" ""
is "one record" "$(find "$STORE/records" -type f | wc -l)" 1
