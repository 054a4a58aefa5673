#!/bin/bash
# timeout: 90
# No space for the store: the command that writes fails, the old key is served, and later all goes on.
. "$(dirname "$0")/../lib/cases.sh"

need mount
mkdir -m 0700 "$STORE"
mount -t tmpfs -o size=512k,mode=0700 tmpfs "$STORE" || bail "cannot mount a tmpfs"
file=$MNT/groq/api-key

fill() {
	dd if=/dev/zero of="$STORE/filler" bs=4096 status=none 2>/dev/null
	[[ $(df --output=avail "$STORE" | tail -n 1) -eq 0 ]] || bail "the store's disk is not full"
}
with_echo() { echo "$value" >"$file"; }
with_tee() { tee "$file" <<<"$value" >/dev/null; }
with_cp() { printf '%s\n' "$value" >"$T/source" && cp "$T/source" "$file"; }
with_dd() { dd bs=1 of="$file" status=none <<<"$value"; }

start_piauth
old=$(secret old)
ok "store a key" put "$file" "$old"
ok "store another" put "$MNT/mistral/api-key" "$old"
generation=$(cat "$MNT/groq/generation")
fill
value=$(secret new)
for how in with_echo with_tee with_cp with_dd; do
	fails_with "No space left on device" "$how"
	is "$how: the old key is served" "$(cat "$MNT/groq/key")" "$old"
done
is "the generation did not change" "$(cat "$MNT/groq/generation")" "$generation"
is "status tells the code" "$(profile_status groq last_error/diagnostic_code)" store.full
file=$MNT/xai/api-key
fails_with "No space left on device" with_echo
not_ok "nothing is stored where nothing was" test -s "$MNT/xai/key"
fails_with "No space left on device" put_oauth xai "$(secret a)" "$(secret r)" $(($(now_ms) + 3600000))
not_ok "no login either" test -s "$MNT/xai/key"
fails_with "No space left on device" mkdir "$MNT/new-one"
not_ok "no provider is made" test -d "$MNT/new-one"
fails_with "No space left on device" put "$MNT/groq/mode" env
is "mode is as it was" "$(cat "$MNT/groq/mode")" auto
file=$MNT/groq/api-key

# Logging out needs no space, and holds.
ok "log out" rm "$MNT/mistral/key"
fails_with "Required key not available" cat "$MNT/mistral/key"

kill_piauth
start_piauth
is "after a crash on the full disk: the old key" "$(cat "$MNT/groq/key")" "$old"
not_ok "after a crash on the full disk: nothing else" test -s "$MNT/xai/key"
fails_with "Required key not available" cat "$MNT/mistral/key"
fill
fails_with "No space left on device" with_echo

rm "$STORE/filler"
ok "with space, the key can be stored" with_echo
is "and is served" "$(cat "$MNT/groq/key")" "$value"
is "status has no error any more" "$(profile_status groq last_error)" null
restart_piauth
is "after a restart too" "$(cat "$MNT/groq/key")" "$value"
is "no temporary file is left" "$(find "$STORE" -name '*tmp*' -o -name '*.new')" ""
is "one record, not more" "$(find "$STORE/records" -type f | wc -l)" 1
stop_piauth
allow_log 'No space left on device|no space left'
cp -r "$STORE" "$TEXT/store" # it is searched for secrets, too
umount "$STORE"
