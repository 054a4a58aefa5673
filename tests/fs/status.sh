#!/bin/bash
# timeout: 60
# status, expires and generation: what is known without the secret.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_piauth
later=$(($(now_ms) + 7200000))
utc() { date -u -d "@$(($1 / 1000))" +%Y-%m-%dT%H:%M:%SZ; }
MEMBERS="account auth_state changed expires expires_ms generation has_api_key has_oauth keyless"
MEMBERS+=" last_error links mode name profile provider refreshed source state supports_oauth type"
members() { python3 -c 'import json, sys; print(*sorted(json.load(sys.stdin)))'; }

# state PROFILE NAME=VALUE...: every member named has that value.
state() {
	local profile=$1 pair
	shift
	for pair; do is "$profile: ${pair%%=*}" "$(profile_status "$profile" "${pair%%=*}")" "${pair#*=}"; done
	is "$profile: st_size" "$(stat -c %s "$MNT/$profile/status")" "$(wc -c <"$MNT/$profile/status")"
	is "$profile: one line" "$(wc -l <"$MNT/$profile/status")" 1
}

is "the members" "$(members <"$MNT/groq/status")" "$MEMBERS"
state groq profile=groq provider=groq name=Groq type=none auth_state=none state=none mode=auto has_api_key=false \
	has_oauth=false expires=null expires_ms=0 refreshed=null changed=null generation=0 account=null source=null \
	last_error/diagnostic_code=auth.missing_api_key last_error/redaction_policy=redact-secrets \
	last_error/context/provider=groq
ok "the remedy says what to do" test -n "$(profile_status groq last_error/diagnostic_remediation)"
like "a hint says how" "$(profile_status groq last_error/hints)" 'groq/api-key.*GROQ_API_KEY'
is "generation" "$(cat "$MNT/groq/generation")" 0
is "expires" "$(cat "$MNT/groq/expires")" 0

begun=$(($(now_ms) / 1000 * 1000))
ok "a key" put "$MNT/groq/api-key" "$(secret key)"
state groq type=api_key auth_state=api_key state=valid has_api_key=true has_oauth=false expires=null expires_ms=0 \
	generation=1 source=store last_error=null
changed=$(date -d "$(profile_status groq changed)" +%s)
ok "changed is now" test "$changed" -ge $((begun / 1000)) -a "$changed" -le $(($(now_ms) / 1000))
ok "and is the file's time" test "$(stat -c %Y "$MNT/groq/key")" -eq "$changed"
is "the members are the same" "$(members <"$MNT/groq/status")" "$MEMBERS"
is "generation" "$(cat "$MNT/groq/generation")" 1

ok "a login" put_oauth groq "$(secret access)" "$(secret refresh)" "$later"
state groq type=oauth auth_state=oauth state=valid has_api_key=true has_oauth=true expires_ms="$later" \
	expires="$(utc "$later")" generation=2 source=store last_error=null
is "expires" "$(cat "$MNT/groq/expires")" "$later"
ok "log out" rm "$MNT/groq/key"
state groq type=none auth_state=none state=none has_api_key=false has_oauth=false expires=null source=null
generation=$(cat "$MNT/groq/generation")
ok "generation goes on counting" test "$generation" -gt 2
restart_piauth
is "over a restart too" "$(cat "$MNT/groq/generation")" "$generation"
ok "a key again" put "$MNT/groq/api-key" "$(secret key)"
is "it never returns to an old number" "$(cat "$MNT/groq/generation")" $((generation + 1))

# An alias and an account.
ok "a key for an account" put "$MNT/xai@work/api-key" "$(secret key)"
is "status of an account" "$(json_get profile <"$MNT/Grok:work/status") $(json_get provider <"$MNT/grok@work/status")" \
	"xai@work xai"
mkdir "$MNT/mine"
state mine profile=mine provider=mine name=mine state=none supports_oauth=false keyless=false

# The overview.
python3 - "$MNT" >"$T/overview" 2>&1 <<'PY'
import json
import os
import sys

mount = sys.argv[1]
with open(f"{mount}/status", encoding="utf-8") as stream:
    text = stream.read()
overview = json.loads(text)
with open(f"{mount}/.piauth/providers.json", encoding="utf-8") as stream:
    known = set(json.load(stream))
profiles = [row["profile"] for row in overview]
print("list", isinstance(overview, list))
print("once", len(profiles) == len(set(profiles)))
print("sorted", profiles == sorted(profiles))
print("known", known <= set(profiles))
print("others", sorted(set(profiles) - known))
print("holders", sorted(row["profile"] for row in overview if row["auth_state"] != "none"))
differs = 0
for row in overview:
    with open(f"{mount}/{row['profile']}/status", encoding="utf-8") as stream:
        own = json.load(stream)
    for value in (row, own):
        if value["last_error"]:
            value["last_error"]["at"] = None
    differs += row != own
print("as in the directories", differs == 0)
print("size", os.stat(f"{mount}/status").st_size == len(text.encode()))
PY
is "the overview" "$(cat "$T/overview")" "list True
once True
sorted True
known True
others ['mine', 'xai@work']
holders ['groq', 'xai@work']
as in the directories True
size True"
for node in status expires generation account; do
	fails_with "Permission denied" put "$MNT/groq/$node" x
done
fails_with "Permission denied" put "$MNT/status" x
