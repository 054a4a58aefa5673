#!/bin/bash
# timeout: 60
# One store has one server: whoever comes second is told who holds it.
. "$(dirname "$0")/../lib/cases.sh"

start_piauth
key=$(secret key)
ok "store a key" put "$MNT/groq/api-key" "$key"
mapfile -t pids < <(server_pids)
held="held by pid ($(IFS='|' && echo "${pids[*]}"))"
first_mount=$MNT
first_store=$STORE
first_key=$KEYFILE

instance second
STORE=$first_store
KEYFILE=$first_key
mount_fails "Another process serves this store"
like "a second mount says who has it" "$(cat "$TEXT/mount-fails")" "$held"
not_ok "and mounts nothing" is_mounted "$MNT"
instance main

store() { "$PIAUTH" store "$@" --store "$first_store" --key-file "$first_key"; }
for verb in check rekey adopt "export $T/export --passphrase-stdin"; do
	# shellcheck disable=SC2086
	said=$(store $verb 2>&1 <<<passphrase)
	is "store ${verb%% *}: exit status" $? 1
	like "store ${verb%% *}: says who" "$said" "$held"
done
not_ok "nothing was exported" test -e "$T/export"
fails_with "held by pid" "$PIAUTH" get --store "$first_store" --key-file "$first_key" groq ||
	note "a client that names a store does not go through the mount"
mount_fails "is a mount of piauth already"
is "the first one serves on" "$(cat "$first_mount/groq/key")" "$key"

# The lock is of the process: it is gone with it, however it ended.
kill_piauth
start_piauth
is "after SIGKILL the store is free" "$(cat "$MNT/groq/key")" "$key"
stop_piauth
is "after a stop the client commands have it" "$(store check --json | json_get 0/profile)" groq
instance second
cp -a "$first_store" "$STORE"
cp -a "$first_key" "$KEYFILE"
instance main
start_piauth
instance second
start_piauth
is "two stores have two servers" "$(cat "$MNT/groq/key")" "$key"
