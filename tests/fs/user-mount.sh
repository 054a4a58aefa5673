#!/bin/bash
# timeout: 60
# user-mounts
# A mount that a user makes through fusermount3: no root, served to that user alone.
. "$(dirname "$0")/../lib/cases.sh"

need fusermount3 python3
grep -qsE '^[[:space:]]*user_allow_other' /etc/fuse.conf && skip "user_allow_other is set here"
# Where a user may write.
install -d -o 65534 -g 65534 -m 0700 "$T/run" "$T/user"
store_key() { at_server bash -c 'echo "$2" >"$1"' - "$1" "$2"; } # FILE VALUE
key=$(secret key)
into() { "${@:2}" >"$1" 2>&1; } # FILE COMMAND...

SERVER_USER=65534
start_piauth
allow_log 'memory cannot be locked'
is "it belongs to the user" "$(findmnt -no OPTIONS --mountpoint "$MNT" | grep -o 'user_id=[0-9]*,group_id=[0-9]*')" \
	"user_id=65534,group_id=65534"
is "the log says for whom" "$(grep -c 'serves nobody (uid 65534' "$LOG")" 1
ok "store" store_key "$MNT/groq/api-key" "$key"
is "read" "$(at_server cat "$MNT/groq/key")" "$key"
is "list" "$(at_server ls "$MNT" | xargs)" "groq status"
is "modes" "$(at_server stat -c '%a %u:%g' "$MNT" "$MNT/groq/key" | xargs)" "500 65534:65534 400 65534:65534"
ok "a provider" at_server mkdir "$MNT/mine"
ok "without it again" at_server rmdir "$MNT/mine"
# The kernel lets nobody else in, root included.
fails_with "Permission denied" cat "$MNT/groq/key"
fails_with "Permission denied" as 65533 cat "$MNT/groq/key"
fails_with "Permission denied" as 65534:65533 cat "$MNT/groq/key"
is "the store is the user's" "$(stat -c '%a %u' "$STORE" "$KEYFILE" | xargs)" "700 65534 400 65534"
in_container() { at_server unshare --user --map-root-user "$@"; }
is "a container of the user reads" "$(in_container cat "$MNT/groq/key" 2>&1)" "$key"
fails_with "Permission denied" in_container rm -f "$MNT/groq/key"
restart_piauth
is "after a restart" "$(at_server cat "$MNT/groq/key")" "$key"
ok "log out" at_server rm "$MNT/groq/key"
fails_with "Required key not available" at_server cat "$MNT/groq/key"
kill_piauth keep
start_piauth 2>/dev/null # chown cannot look at the dead mount
ok "a dead mount is replaced" at_server test -d "$MNT/groq"
stop_piauth TERM
mount_fails "only root mounts for another user" --owner root

# user_allow_other: root and the group as for a mount of root's.
echo user_allow_other >"$T/fuse.conf"
if [[ -e /etc/fuse.conf ]] && mount --bind "$T/fuse.conf" /etc/fuse.conf; then
	start_piauth --group 44444
	ok "store" store_key "$MNT/groq/api-key" "$key"
	is "root reads" "$(cat "$MNT/groq/key")" "$key"
	is "the group reads" "$(as 65533:65533:44444 cat "$MNT/groq/key")" "$key"
	fails_with "Permission denied" as 65533:65533:44444 rm -f "$MNT/groq/key"
	fails_with "Permission denied" as 65533 cat "$MNT/groq/key"
	ok "the user logs out" at_server rm "$MNT/groq/key"
	stop_piauth
	umount /etc/fuse.conf
else
	note "no /etc/fuse.conf here"
fi

# Without any option: everything where the XDG directories say, in the background.
user() { as 65534 env -i PATH="$PATH" LANG=C.UTF-8 HOME="$T/user" XDG_RUNTIME_DIR="$T/run" "$@"; }
cd "$T" || exit 1 # a directory where that user may be
at=$T/run/piauth
ok "piauth mount" into "$TEXT/mount" user "$T/piauth" mount --no-migrate
like "says for whom" "$(cat "$TEXT/mount")" "run/piauth serves nobody"
MNT_OF[background]=$at # so that the end of the test finds it if something breaks off
ok "it is mounted" is_mounted "$at"
ok "store" user bash -c 'echo "$2" >"$1"' - "$at/groq/api-key" "$key"
is "read" "$(user cat "$at/groq/key")" "$key"
is "the client finds it" "$(user "$T/piauth" get groq)" "$key"
ok "the client stores" user "$T/piauth" set xai <<<"$key"
is "stored" "$(user cat "$at/xai/key")" "$key"
ok "the client logs out" user "$T/piauth" logout xai
not_ok "logged out" user test -s "$at/xai/key"
is "store, key and mount are where they belong" \
	"$(cd "$T/user" && find . -name keyslots.json -o -name store.key | sort | xargs)" \
	"./.config/piauth/store.key ./.local/share/piauth/keyslots.json"
ok "a second mount is refused" test "$(user "$T/piauth" mount 2>&1 | grep -c 'mount of piauth already')" = 1
ok "doctor finds no fault" into "$TEXT/doctor" user "$T/piauth" doctor
pid=$(cat "$T/user/.local/share/piauth/lock")
ok "piauth umount" user "$T/piauth" umount
not_ok "it is not mounted any more" is_mounted "$at"
ok "the server has ended" ends_within "$pid" 0
is "the client then reads the store" "$(user "$T/piauth" get groq)" "$key"
user "$T/piauth" umount 2>"$T/err"
is "umount again: exit status" $? 4
unset "MNT_OF[background]"
