#!/bin/bash
# timeout: 90
# How a mount ends: asked to, while it is busy, while readers wait; and how a dead one is replaced.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_fake
use_fake xai
key=$(secret key)
into() { "${@:2}" >"$1" 2>&1; } # FILE COMMAND...

# Signals
for signal in TERM INT HUP; do
	start_piauth
	[[ -e $MNT/groq/api-key ]] || put "$MNT/groq/api-key" "$key"
	is "before $signal" "$(cat "$MNT/groq/key")" "$key"
	stop_piauth "$signal"
	not_ok "$signal: not mounted any more" is_mounted "$MNT"
done
is "the mount point is empty" "$(ls -A "$MNT")" ""

# piauth umount
umount_command() { "$PIAUTH" umount "$MNT"; }
start_piauth
pid=${PID_OF[main]}
ok "piauth umount" umount_command
not_ok "not mounted any more" is_mounted "$MNT"
reap "$pid" 20 || failed "the server goes on"
unset "PID_OF[main]"
is "exit status" "$reaped" 0
ok "the store is free" into "$TEXT/check" "$PIAUTH" store check --store "$STORE" --key-file "$KEYFILE"
umount_command >"$TEXT/umount" 2>&1
is "umount of nothing: exit status" $? 4
like "umount of nothing: message" "$(cat "$TEXT/umount")" "nothing is mounted at"
mkdir "$T/other"
mount -t tmpfs tmpfs "$T/other"
"$PIAUTH" umount "$T/other" 2>"$TEXT/other"
is "somebody else's mount is left alone" "$? $(findmnt -no FSTYPE --mountpoint "$T/other")" "4 tmpfs"
umount "$T/other"
"$PIAUTH" umount a b 2>/dev/null
is "two mount points: exit status" $? 2

# Busy
start_piauth
exec {held}<"$MNT/groq"
"$PIAUTH" umount "$MNT" >"$TEXT/busy" 2>&1
is "a busy mount: exit status" $? 1
like "a busy mount: message" "$(cat "$TEXT/busy")" "busy"
is "a busy mount serves on" "$(cat "$MNT/groq/key")" "$key"
stop_piauth TERM
not_ok "SIGTERM ends it all the same" is_mounted "$MNT"
exec {held}<&-

# A reader that waits gets an answer.
start_piauth
fake xai '{"mode": "hang"}'
fake_login xai xai '{"expires_in": -1}'
cat "$MNT/xai/key" >"$T/reader" 2>&1 &
reader=$!
fake_wait xai 'hanging=1'
pid=${PID_OF[main]}
begun=$(now_ms)
kill -TERM "$pid"
ok "a waiting reader ends" ends_within "$reader" 10
wait "$reader"
isnt "with an error" $? 0
like "that says something" "$(cat "$T/reader")" 'Interrupted system call|Connection|not connected'
reap "$pid" 20 || failed "the server goes on"
unset "PID_OF[main]"
is "exit status" "$reaped" 0
at_most "the end does not wait for the provider, ms" $(($(now_ms) - begun)) 15000
fake_do xai release
fake_do xai reset
not_ok "not mounted any more" is_mounted "$MNT"
rm "$T/reader"

# A write that was acknowledged before the end is there.
start_piauth
other=$(secret other)
ok "a write" put "$MNT/groq/api-key" "$other"
stop_piauth TERM
start_piauth
is "is there after SIGTERM" "$(cat "$MNT/groq/key")" "$other"

# A dead mount
kill_piauth keep
fails_with "Transport endpoint is not connected" cat "$MNT/groq/key"
start_piauth
is "a dead mount is replaced at the start" "$(cat "$MNT/groq/key")" "$other"
is "there is one mount" "$(findmnt -rno TARGET --mountpoint "$MNT" | wc -l)" 1
kill_piauth keep
ok "piauth umount takes a dead one away" umount_command
not_ok "not mounted any more" is_mounted "$MNT"

# The mount point
start_piauth
mount_fails "is a mount of piauth already"
is "the first one serves on" "$(cat "$MNT/groq/key")" "$other"
stop_piauth
touch "$MNT/file"
mount_fails "is not empty"
ok "the file is still there" rm "$MNT/file"
rmdir "$MNT"
touch "$MNT"
mount_fails "$MNT"
rm "$MNT"
start_piauth
is "a mount point that is missing is made" "$(cat "$MNT/groq/key")" "$other"
stop_piauth

# In the background: the command returns when the mount serves, and the server stays.
in_background() {
	env -i PATH="$PATH" HOME="$SERVER_HOME" "$PIAUTH" mount --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG" \
		--no-migrate "$@" "$MNT"
}
ok "mount in the background" into "$TEXT/background" in_background
like "says for whom" "$(cat "$TEXT/background")" "serves root"
is "it serves at once" "$(cat "$MNT/groq/key")" "$other"
pid=$(cat "$STORE/lock")
is "it has left the terminal and its directory" \
	"$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" "/proc/$pid/cwd" | xargs)" \
	"/dev/null /dev/null /dev/null /"
isnt "and the session" "$(ps -o sid= -p "$pid")" "$(ps -o sid= -p $$)"
in_background >"$TEXT/twice" 2>&1
is "a second one: exit status" $? 1
ok "umount" umount_command
ok "the server has ended" ends_within "$pid" 0
echo '{"unknown": 1}' >"$CONFIG"
in_background >"$TEXT/wrong" 2>&1
is "what is wrong is told before it goes away: exit status" $? 1
like "message" "$(cat "$TEXT/wrong")" 'unknown key'
not_ok "nothing is mounted" is_mounted "$MNT"
for arguments in "--nosuchoption" "--ready-fd 99" "--ready-fd x" "$MNT"; do
	# shellcheck disable=SC2086
	in_background $arguments >/dev/null 2>&1
	is "mount $arguments: exit status" $? 2
done
