#!/bin/bash
# timeout: 120
# user-mounts
# The disk fills up, or breaks, while a refresh is under way: the rotated token is served, status says
# `unsaved`, nothing is rotated again, and it becomes durable as soon as the disk is back.
. "$(dirname "$0")/../lib/cases.sh"

# The store is a small disk of its own. Being in this test's mount namespace it goes with the test.
small_store() {
	mkdir -m 0700 "$STORE"
	mount -t tmpfs -o size=1m,mode=0700 tmpfs "$STORE" || bail "mount tmpfs"
}
fill() { dd if=/dev/zero of="$STORE/filler" bs=64K status=none 2>/dev/null; }
make_room() { rm "$STORE/filler"; }
state_is() { [[ $(profile_status "$1" state) == "$2" ]]; }

# A refresh that hangs at the provider while something happens to the disk.
begin() {
	fake_do groq reset
	fake_login groq groq
	fake groq '{"mode": "hang"}'
	put "$MNT/groq/refresh" "$ACCESS" || failed "the token is reported"
	cat "$MNT/groq/key" >"$T/read" &
	reader=$!
	fake_wait groq hanging=1 || failed "the request is at the provider"
}

# release: the answer comes; $token is what the reader got.
release() {
	fake groq '{"mode": "ok"}'
	fake_do groq release
	wait "$reader" || failed "the reader fails"
	token=$(<"$T/read")
}

# What holds while the disk is bad, whatever is wrong with it.
is_unsaved() { # WHAT CODE
	local again
	isnt "$1: the new token is served" "$token" "$ACCESS"
	is "$1: it is the provider's" "$(http "$FAKE_URL/ctl/groq/token?access=$token" | json_get current)" true
	is "$1: state" "$(profile_status groq state)" unsaved
	is "$1: code" "$(profile_status groq last_error/diagnostic_code)" "$2"
	isnt "$1: remedy" "$(profile_status groq last_error/diagnostic_remediation)" ""
	like "$1: an event tells of it" "$(<"$MNT/.piauth/events")" '"event":"unsaved","profile":"groq"'
	put "$MNT/groq/refresh" "$token" 2>/dev/null
	again=$(cat "$MNT/groq/key")
	is "$1: nothing is rotated again" "$again $(fake_get groq requests)" "$token 1"
	is "$1: the old one is still what the disk has" "$(generation_on_disk)" "$durable"
}

# The record's number on disk changes with every write: it is enough to tell whether there was one.
generation_on_disk() { cat "$STORE"/records/* | sha256sum; }

is_saved() { # WHAT
	ok "$1: it becomes durable by itself" wait_until 15 state_is groq valid
	isnt "$1: on disk, too" "$(generation_on_disk)" "$durable"
	is "$1: no error is left" "$(profile_status groq last_error)" null
	is "$1: the same token" "$(cat "$MNT/groq/key")" "$token"
	kill_piauth 2>/dev/null
	start_piauth
	is "$1: it is there after kill -9 and a start" "$(cat "$MNT/groq/key")" "$token"
	put "$MNT/groq/refresh" "$token" || failed "$1: the token is reported"
	isnt "$1: the login goes on" "$(cat "$MNT/groq/key")" "$token"
	is "$1: with the second request" "$(fake_get groq requests) $(fake_get groq reuse)" "2 0"
}

small_store
start_fake
use_fake groq
start_piauth

# ---- full ----

begin
durable=$(generation_on_disk)
fill
not_ok "the disk is full" dd if=/dev/zero of="$STORE/more" bs=64K count=1 status=none 2>/dev/null
rm -f "$STORE/more"
release
is_unsaved "full" store.full
fails_with "No space left on device" put "$MNT/xai/api-key" "$(secret xai)"
make_room
is_saved "full"
ok "what failed for want of room can be stored" put "$MNT/xai/api-key" "$(secret xai)"

# ---- full before: a refresh needs its intent on disk first, or the answer kept ----

fake_do groq reset
fake_login groq groq '{"expires_in": -1}'
fill
if said=$(cat "$MNT/groq/key" 2>&1); then
	is "full before: one request" "$(fake_get groq requests)" 1
	is "full before: state" "$(profile_status groq state)" unsaved
else
	like "full before: it says why" "$said" 'No space left on device$'
	is "full before: no request" "$(fake_get groq requests)" 0
	is "full before: code" "$(profile_status groq last_error/diagnostic_code)" store.full
fi
make_room
works() { cat "$MNT/groq/key" >"$T/read" 2>/dev/null; }
ok "full before: it works as soon as there is room" wait_until 20 works
is "full before: one request, no reuse" "$(fake_get groq requests) $(fake_get groq reuse)" "1 0"
ok "full before: it is durable" wait_until 15 state_is groq valid

# ---- nobody may write ----

stop_piauth
umount "$STORE" || bail "umount"
rm -rf "$STORE" "$KEYFILE"
start_piauth
begin
durable=$(generation_on_disk)
if chattr +i "$STORE/records" 2>/dev/null; then
	release
	is_unsaved "read-only" store.io
	chattr -i "$STORE/records"
	is_saved "read-only"
else
	note "this file system has no immutable directories: a read-only store is not tried"
	release
fi

# ---- the end of the server is a last chance ----

begin
chattr +i "$STORE/records" 2>/dev/null || { release && exit; }
release
ok "unsaved again" state_is groq unsaved
chattr -i "$STORE/records"
restart_piauth
is "what was not on disk at the end is there after the restart" "$(cat "$MNT/groq/key")" "$token"
