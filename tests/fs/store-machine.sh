#!/bin/bash
# timeout: 60
# user-mounts
# A copy of a store on another machine serves what is valid and refreshes nothing, until it is adopted.
. "$(dirname "$0")/../lib/cases.sh"

need python3
[[ -f /etc/machine-id ]] || skip "no /etc/machine-id"
start_fake
for account in groq xai mistral; do use_fake "$account"; done
start_piauth
fake groq '{"expires_in": 7200}'
fake_login groq
valid=$ACCESS
fake_login xai xai '{"expires_in": -1}'
key=$(secret key)
ok "a key" put "$MNT/anthropic/api-key" "$key"
stop_piauth

# The copy, on another machine: this test has a mount namespace of its own.
main_store=$STORE
main_key=$KEYFILE
main_config=$CONFIG
instance copy
cp -a "$main_store" "$STORE"
cp -a "$main_key" "$KEYFILE"
cp -a "$main_config" "$CONFIG"
other_machine=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
echo "$other_machine" >"$T/machine-id"
chmod 0444 "$T/machine-id"
mount --bind "$T/machine-id" /etc/machine-id || bail "cannot bind another machine-id"
requests() { echo "$(fake_get groq requests) $(fake_get xai requests)"; }

start_piauth
is "a valid token is served" "$(cat "$MNT/groq/key")" "$valid"
is "a key too" "$(cat "$MNT/anthropic/key")" "$key"
fails_with "Key has expired" cat "$MNT/xai/key"
is "status says why" "$(profile_status xai last_error/diagnostic_code)" store.other_machine
like "and what to do" "$(profile_status xai last_error/diagnostic_remediation)" 'piauth store adopt'
fails_with "Key has expired" put "$MNT/groq/refresh" "$valid"
is "the valid token is served on" "$(cat "$MNT/groq/key")" "$valid"
is "the provider was not asked" "$(requests)" "0 0"
fails_with "held by pid" "$PIAUTH" store adopt --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG"
stop_piauth

# Adopted: this machine refreshes it now.
store() { "$PIAUTH" store "$@" --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG"; }
is "store check shows whose they are" "$(store check --json | python3 -c 'import json, sys
rows = {row["profile"]: row["machine"] for row in json.load(sys.stdin)}
print(*[f"{name}={rows[name]}" for name in sorted(rows)])')" "anthropic=none groq=other xai=other"
is "adopt one" "$(store adopt xai 2>/dev/null)" xai
start_piauth
isnt "it is refreshed" "$(cat "$MNT/xai/key")" ""
is "once" "$(requests)" "0 1"
fails_with "Key has expired" put "$MNT/groq/refresh" "$valid"
is "the other one is not" "$(requests)" "0 1"
stop_piauth
is "adopt the rest" "$(store adopt 2>/dev/null)" groq
is "nothing is left to adopt" "$(store adopt 2>/dev/null)" ""
start_piauth
ok "now it can be refreshed" put "$MNT/groq/refresh" "$valid"
isnt "and is" "$(cat "$MNT/groq/key")" "$valid"
is "by one request" "$(requests)" "1 1"

# A new login belongs to the machine it was made on.
fake_login mistral mistral '{"expires_in": -1}'
isnt "a login that was made here" "$(cat "$MNT/mistral/key")" ""
stop_piauth

# Back on the first machine with the adopted store: it is foreign there.
umount /etc/machine-id
start_piauth
fails_with "Key has expired" put "$MNT/groq/refresh" "$(cat "$MNT/groq/generation")"
is "no request" "$(requests)" "1 1"
