#!/bin/bash
# timeout: 90
# piauth store: check, rekey, export and import.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_fake
for account in groq xai; do use_fake "$account"; done
out=$T/out
err=$T/err
runs=0
store() { "$PIAUTH" store "$@" --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG"; }
run() { # STATUS VERB ARGUMENT...
	local wanted=$1 got
	shift
	store "$@" >"$out" 2>"$err"
	got=$?
	is "store $*: exit status" "$got" "$wanted"
	runs=$((runs + 1))
	cat "$out" "$err" >"$TEXT/$runs.store"
}
says() { like "it says: $1" "$(cat "$err")" "$1"; }

start_piauth
key=$(secret key)
ok "a key" put "$MNT/anthropic/api-key" "$key"
fake groq '{"expires_in": 7200}'
fake xai '{"expires_in": 7200}'
fake_login groq
groq=$ACCESS
fake_login xai
xai=$ACCESS
ok "a key beside a login" put "$MNT/xai/api-key" "$key"
ok "the login first" put "$MNT/xai/mode" oauth
ok "a provider of one's own" mkdir "$MNT/mine"
ok "with an address" put "$MNT/mine/base-url" https://llm.example.org/v1
ok "and a key" put "$MNT/mine/api-key" "$key"
stop_piauth

# check
run 0 check
is "check" "$(tail -n +2 "$out" | awk '{ print $1, $3, $4, $5 }' | sort)" \
	"$(printf '%s\n' 'anthropic api_key none ok' 'groq oauth this ok' 'mine api_key none ok' 'xai api_key,oauth this ok')"
run 0 check --json
ok "check --json" python3 -m json.tool "$out" /dev/null
run 2 check groq
run 2 nosuchverb
run 2
run 2 export
run 2 rekey --json

# rekey
names=$(ls "$STORE/records")
sum=$(sha256sum <"$KEYFILE")
old=$T/old
mkdir "$old"
cp -a "$STORE" "$old/store"
cp -a "$KEYFILE" "$old/store.key"
run 0 rekey
isnt "the key file is another one" "$(sha256sum <"$KEYFILE")" "$sum"
is "as private as before" "$(stat -c '%a %u' "$KEYFILE")" "400 0"
isnt "and the records have other names" "$(ls "$STORE/records")" "$names"
is "as many" "$(ls "$STORE/records" | wc -l)" 4
is "nothing is left over" "$(find "$T" -maxdepth 2 -name '*.new' -o -name '.tmp-*')" ""
run 0 check
start_piauth
is "all of it is served" "$(cat "$MNT"/{anthropic,groq,xai,mine}/key)" "$key$groq$xai$key"
stop_piauth
cp -a "$KEYFILE" "$T/new.key"
install -m 0400 "$old/store.key" "$KEYFILE"
mount_fails "no key at hand fits this store"
install -m 0400 "$T/new.key" "$KEYFILE"
rm "$T/new.key"
run 0 rekey
run 0 check

# export
export=$T/export.piauth
passphrase=$(secret passphrase)
run 0 export "$export" --passphrase-stdin < <(printf '%s\n' "$passphrase")
says 'without OAuth logins'
is "the export is the owner's" "$(stat -c %a "$export")" 600
not_ok "and shows nothing" grep -qaE "$CANARY|groq|anthropic" "$export"
run 1 export "$export" --passphrase-stdin < <(printf '%s\n' "$passphrase")
says 'there already'
run 1 export "$T/other" --passphrase-stdin </dev/null
run 1 export "$T/other" </dev/null
says 'no terminal'
not_ok "nothing was made" test -e "$T/other"
printf '%s\n' "$passphrase" >"$T/passphrase"
run 0 export "$T/moved.piauth" --move --passphrase-file "$T/passphrase"
run 0 check
is "what was moved is marked" "$(grep -c ' moved' "$out")" 2
start_piauth
is "it is served while it is valid" "$(cat "$MNT/groq/key")" "$groq"
fails_with "Key has expired" put "$MNT/groq/refresh" "$groq"
is "and not refreshed" "$(fake_get groq requests)" 0
stop_piauth

# import, into a store that does not exist
instance other
run 1 import "$export" --passphrase-stdin <<<"wrong"
not_ok "a wrong passphrase makes no store" test -e "$STORE"
run 1 import "$T/nosuchfile" --passphrase-stdin <<<"wrong"
head -c 200 "$export" >"$T/cut"
run 1 import "$T/cut" --passphrase-file "$T/passphrase"
run 1 import "$CONFIG" --passphrase-file "$T/passphrase"
run 0 import "$export" --passphrase-file "$T/passphrase"
start_piauth
is "keys came, with mode and address" "$(cat "$MNT/anthropic/key") $(cat "$MNT/mine/key") $(cat "$MNT/mine/base-url")" \
	"$key $key https://llm.example.org/v1"
fails_with "Required key not available" cat "$MNT/groq/key"
ok "a key of its own" put "$MNT/anthropic/api-key" "$(secret own)"
own=$(cat "$MNT/anthropic/key")
stop_piauth
cp -a "$T/config.json" "$CONFIG"
run 0 import "$T/moved.piauth" --passphrase-file "$T/passphrase"
says '2 kept|3 kept'
start_piauth
is "what is there stays" "$(cat "$MNT/anthropic/key")" "$own"
is "the moved logins are here" "$(cat "$MNT/groq/key")" "$groq"
ok "and are refreshed from here" put "$MNT/groq/refresh" "$groq"
isnt "really" "$(cat "$MNT/groq/key")" "$groq"
is "once" "$(fake_get groq requests)" 1
stop_piauth
run 0 import "$export" --replace --passphrase-file "$T/passphrase"
start_piauth
is "--replace takes the export's" "$(cat "$MNT/anthropic/key")" "$key"
stop_piauth

# A damaged record: check names it, the others are fine.
instance main
damaged=$(find "$STORE/records" -type f | head -n 1)
printf 'x' | dd of="$damaged" bs=1 seek=300 conv=notrunc status=none
run 1 check
says 'damaged'
is "the file is named" "$(grep -c "$(basename "$damaged")" "$out")" 1
run 1 check --json
ok "also as JSON" python3 -m json.tool "$out" /dev/null
run 1 rekey
is "no rekey with a damaged record" "$(find "$STORE/records" -type f | wc -l)" 4
run 1 export "$T/damaged.piauth" --passphrase-stdin < <(printf '%s\n' "$passphrase")
rm "$T/passphrase" # it has the marker of the secrets
cp "$T"/*.piauth "$TEXT"
