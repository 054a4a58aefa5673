#!/bin/bash
# timeout: 90
# A store that others could read or change, or that has lost its key, is refused with a message; nothing is made
# in its place.
. "$(dirname "$0")/../lib/cases.sh"

key=$(secret key)
start_piauth
ok "store a key" put "$MNT/groq/api-key" "$key"
ok "and another" put "$MNT/xai/api-key" "$key"
stop_piauth
cp -a "$STORE" "$T/good"
cp -a "$KEYFILE" "$T/good.key"
sums() {
	(cd "$T" && find store store.key -type f ! -name 'audit.log*' ! -name lock -exec sha256sum {} +) | sort
}
good=$(sums)

again() { # the good store and key
	rm -rf "$STORE" "$KEYFILE"
	cp -a "$T/good" "$STORE"
	cp -a "$T/good.key" "$KEYFILE"
}
refused() { # MESSAGE
	mount_fails "$1"
	not_ok "nothing is mounted" is_mounted "$MNT"
}
serves() {
	start_piauth
	is "then it serves" "$(cat "$MNT/groq/key")" "$key"
	stop_piauth
}

for mode in 0755 0750 0705 0701 0770; do
	chmod "$mode" "$STORE"
	refused "store has mode $mode"
done
chmod 0700 "$STORE"
chmod 0750 "$STORE/records"
refused "records has mode 0750"
chmod 0700 "$STORE/records"
for file in keyslots.json journal lock; do
	chmod 0640 "$STORE/$file"
	refused "$file"
	chmod 0600 "$STORE/$file"
done
chmod 0440 "$KEYFILE"
refused "store.key"
chmod 0400 "$KEYFILE"
serves

chown 65534 "$STORE"
refused "belongs to user 65534"
chown 0 "$STORE"
for file in records keyslots.json; do
	chown 65534 "$STORE/$file"
	refused "$file"
	chown 0 "$STORE/$file"
done
chown 65534 "$KEYFILE"
refused "store.key"
chown 0 "$KEYFILE"
serves

# Symbolic links, wherever they lead.
mv "$STORE" "$T/elsewhere"
ln -s elsewhere "$STORE"
refused "store is "
STORE+=/
refused "store is "
STORE=${STORE%/}
rm "$STORE"
mv "$T/elsewhere" "$STORE"
for file in records keyslots.json journal lock; do
	mv "$STORE/$file" "$T/elsewhere"
	ln -s "$T/elsewhere" "$STORE/$file"
	refused "$file"
	rm "$STORE/$file"
	mv "$T/elsewhere" "$STORE/$file"
done
mv "$KEYFILE" "$T/elsewhere"
ln -s elsewhere "$KEYFILE"
refused "store.key"
rm "$KEYFILE"
mv "$T/elsewhere" "$KEYFILE"
ln "$STORE/keyslots.json" "$T/second-name"
refused "keyslots.json has 2 names"
rm "$T/second-name"
rm "$KEYFILE"
mkdir "$KEYFILE"
refused "store.key"
rmdir "$KEYFILE"
again
is "nothing was changed by all of it" "$(sums)" "$good"
serves

# The key is lost: an error, never a new key.
rm "$KEYFILE"
refused "store.key"
not_ok "no key file was made" test -e "$KEYFILE"
is "the store is as it was" "$(sums 2>/dev/null | grep -v store.key)" "$(grep -v store.key <<<"$good")"
head -c 32 /dev/urandom | base64 -w 0 | sed 's/^/piauth-store-key-1 /' | install -m 0400 /dev/stdin "$KEYFILE"
refused "no key at hand fits this store"
echo "this is no key" | install -m 0400 /dev/stdin "$KEYFILE"
refused "is not a key file"
: | install -m 0400 /dev/stdin "$KEYFILE"
refused "is not a key file"
again
serves

# Parts of the store are lost.
rm "$STORE/keyslots.json"
refused "keyslots.json is missing"
not_ok "no key slots were made" test -e "$STORE/keyslots.json"
again
for text in '' '{}' 'no json' '{"format":99}'; do
	echo "$text" >"$STORE/keyslots.json"
	refused keyslots.json
done
again
rm -rf "$STORE/records"
refused "records is missing"
again
serves

# One damaged record is that profile's trouble only.
damaged=$(find "$STORE/records" -type f | sort | head -n 1)
is "two records" "$(find "$STORE/records" -type f | wc -l)" 2
one_is_locked() { # MESSAGE CODE
	local good_one bad_one status
	start_piauth
	for bad_one in groq xai; do
		cat "$MNT/$bad_one/key" >/dev/null 2>&1 || break
	done
	if [[ $bad_one == groq ]]; then good_one=xai; else good_one=groq; fi
	fails_with "$1" cat "$MNT/$bad_one/key"
	is "the other one is served" "$(cat "$MNT/$good_one/key")" "$key"
	status=$(python3 -c 'import json, sys
print(*sorted({row["last_error"]["diagnostic_code"] for row in json.load(sys.stdin)
    if row["last_error"] and row["last_error"]["diagnostic_code"].startswith("store.")}))' <"$MNT/status")
	is "the overview tells" "$status" "$2"
	stop_piauth
	allow_log 'does not open|record'
	cmp -s "$damaged" "$T/damaged" || failed "a damaged record is kept as it is"
	again
}
original=$T/good/records/$(basename "$damaged")
head -c 100 "$original" >"$damaged"
cp "$damaged" "$T/damaged"
one_is_locked "Bad message" store.corrupt
python3 -c 'import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[len(data) // 2] ^= 1
open(sys.argv[1], "wb").write(data)' "$damaged"
cp "$damaged" "$T/damaged"
one_is_locked "Bad message" store.corrupt
: >"$damaged"
cp "$damaged" "$T/damaged"
one_is_locked "Bad message" store.corrupt
chmod 0644 "$damaged"
cp "$damaged" "$T/damaged"
one_is_locked "Permission denied" store.unsafe
serves
