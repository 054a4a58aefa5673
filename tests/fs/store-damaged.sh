#!/bin/bash
# timeout: 60
# One flipped bit in a record: that profile says so, nobody else notices, the file is kept, and a new login
# makes it good. A key that is not the store's is named.
. "$(dirname "$0")/../lib/cases.sh"

need python3
store() { "$PIAUTH" store "$@" --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG"; }
flip() { # FILE OFFSET
	python3 -S -E -c 'import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1]))' "$1" "$2"
}
last_error() { profile_status groq "last_error/$1"; }

key=$(secret key)
start_piauth
ok "a key" put "$MNT/groq/api-key" "$key"
stop_piauth # what was stored is published behind the close
record=$(find "$STORE/records" -type f)
start_piauth
ok "another one" put "$MNT/xai/api-key" "$key"
inode=$(stat -c %i "$MNT/groq/key")
stop_piauth
cp -a "$record" "$T/good"
size=$(stat -c %s "$record")

# In the header (its generation), in the ciphertext, in the tag.
for offset in 15 $((size / 2)) $((size - 1)); do
	cp -a "$T/good" "$record"
	flip "$record" "$offset"
	sum=$(sha256sum <"$record")
	start_piauth
	fails_with "Bad message" cat "$MNT/groq/key"
	is "offset $offset: state" "$(profile_status groq state)" locked
	is "offset $offset: code" "$(last_error diagnostic_code)" store.corrupt
	like "offset $offset: what to do" "$(last_error diagnostic_remediation)" 'piauth store check.*log in again'
	is "offset $offset: the other profile is served" "$(cat "$MNT/xai/key")" "$key"
	ok "offset $offset: and can be changed" put "$MNT/xai/api-key" "$key"
	stop_piauth
	store check >"$T/check" 2>"$T/check.err"
	is "offset $offset: store check fails" "$?" 1
	like "offset $offset: and names the file" "$(grep -F "$(basename "$record")" "$T/check")" damaged
	like "offset $offset: the other one is fine" "$(grep '^xai ' "$T/check")" ' ok$'
	is "offset $offset: nobody has touched the file" "$(sha256sum <"$record")" "$sum"
done
allow_log 'does not open'

# A new login takes its place.
start_piauth
new=$(secret new)
ok "a new key" put "$MNT/groq/api-key" "$new"
is "is served" "$(cat "$MNT/groq/key")" "$new"
is "no error is left" "$(profile_status groq last_error)" null
is "the inode is the same" "$(stat -c %i "$MNT/groq/key")" "$inode"
restart_piauth
is "it is there after a restart" "$(cat "$MNT/groq/key")" "$new"
stop_piauth
ok "store check is content" store check >"$T/check"
is "two records" "$(find "$STORE/records" -type f | wc -l)" 2

# The key of another store: refused by name, and nothing is changed.
cp -a "$KEYFILE" "$T/right.key"
head -c 32 /dev/urandom | base64 -w 0 | sed 's/^/piauth-store-key-1 /' | install -m 0400 /dev/stdin "$KEYFILE"
sums() { find "$STORE" -type f ! -name lock -exec sha256sum {} + | sort; }
before=$(sums)
mount_fails "The store cannot be unlocked"
mount_fails "no key at hand fits this store; the key file is "
mount_fails "--key-file"
mount_fails "(store.locked)"
not_ok "nothing is mounted" is_mounted "$MNT"
is "the store is as it was" "$(sums)" "$before"
install -m 0400 "$T/right.key" "$KEYFILE"
rm "$T/right.key"
start_piauth
is "with its own key it opens" "$(cat "$MNT/groq/key")" "$new"
