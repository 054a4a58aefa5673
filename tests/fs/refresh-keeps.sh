#!/bin/bash
# timeout: 60
# What else is in a login survives its rotations: fields that a provider needs, and those nobody knows.
. "$(dirname "$0")/../lib/cases.sh"

PROFILE=openai-codex@work

need cc
cc -O1 -Wall -o "$T/open" "$CASES/probe_export.c" -lcrypto || bail "cc"

# field PATH: of the login as an export has it.
field() { json_get "$1" <"$T/entry"; }

start_fake
use_fake openai-codex
start_piauth
fake openai-codex "$(json_make mode=ok 'extra:={"id_token": "of-the-answer", "scope": "of the answer"}')"
put "$MNT/$PROFILE/oauth" "$(http "$FAKE_URL/ctl/openai-codex/new" -d '{"expires_in": -1}' |
	python3 -S -E -c 'import json, sys
pair = json.load(sys.stdin)
print(json.dumps({
    "type": "oauth", "access": pair["access_token"], "refresh": pair["refresh_token"], "expires": 1600000000000,
    "accountId": "acct-KEPT", "projectId": "p-1", "scopes": ["a", "b", {"c": None}], "enterpriseUrl": None,
    "nested": {"deep": {"list": [1, 2.5, True], "text": "Größe \u2192 \"x\""}}, "big": 9007199254740991,
    "empty": "", "id_token": "of-the-login"}))')"
token=$(cat "$MNT/$PROFILE/key")
for _ in 1 2; do
	put "$MNT/$PROFILE/refresh" "$token" || failed "the token is reported"
	token=$(cat "$MNT/$PROFILE/key")
done
is "three rotations" "$(fake_get openai-codex ok)" 3
is "the account stays" "$(cat "$MNT/$PROFILE/account")" acct-KEPT
restart_piauth
is "also after a restart" "$(cat "$MNT/$PROFILE/account")" acct-KEPT
stop_piauth

secret passphrase >"$T/passphrase"
ok "export" pia store export --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG" --move \
	--passphrase-file "$T/passphrase" "$T/export"
no_canary store "$T/export"
"$T/open" "$T/export" <"$T/passphrase" >"$T/opened" || bail "probe_export"
python3 -S -E -c 'import json, sys
def entries(value):
    if isinstance(value, dict):
        if value.get("type") == "oauth":
            yield value
        value = list(value.values())
    for member in value if isinstance(value, list) else []:
        yield from entries(member)
found = list(entries(json.load(sys.stdin)))
print(json.dumps(found[0]) if len(found) == 1 else f"{len(found)} logins")' <"$T/opened" >"$T/entry"
is "the newest token is in it" "$(field access)" "$token"
is "a text" "$(field projectId)" p-1
is "a list" "$(field scopes)" '["a", "b", {"c": null}]'
is "null" "$(field enterpriseUrl)" null
is "objects in objects" "$(field nested/deep/list)" '[1, 2.5, true]'
is "text with quotes and letters" "$(field nested/deep/text)" 'Größe → "x"'
is "the largest whole number" "$(field big)" 9007199254740991
is "an empty text" "$(field empty)" ""
is "what the answer brings and the provider's row keeps" "$(field id_token)" of-the-answer
is "what the answer brings beyond that is not taken" "$(field scope 2>/dev/null)" ""
isnt "the refresh token is a new one" "$(field refresh)" ""
