#!/bin/bash
# timeout: 120
# A refresh whose answer never comes: the provider may have taken the token. No repeat while the old access
# token lives, then one; only its answer decides.
. "$(dirname "$0")/../lib/cases.sh"

# A login whose access token lives for so many seconds from now.
login() { # PROFILE ACCOUNT SECONDS
	fake_login "$1" "$2" "{\"expires_in\": $3}"
}

expired() { (($(now_ms) > $(<"$MNT/$1/expires"))); }

start_fake
use_fake groq
use_fake mistral mistral rotates:=false
start_piauth

# ---- lost, and the repeat is refused ----

for how in lose cut; do
	fake_do groq reset
	login groq groq 3600
	fake groq "{\"mode\": \"$how\", \"times\": 1}"
	ok "$how: the token is reported" put "$MNT/groq/refresh" "$ACCESS"
	is "$how: the old token is served" "$(cat "$MNT/groq/key")" "$ACCESS"
	is "$how: one request" "$(fake_get groq requests)" 1
	is "$how: state" "$(profile_status groq state)" retrying
	for _ in 1 2 3; do cat "$MNT/groq/key" >/dev/null; done
	put "$MNT/groq/refresh" "$ACCESS" 2>/dev/null
	is "$how: not repeated while the old token lives" "$(fake_get groq requests)" 1
	restart_piauth
	is "$how: nor after a restart" "$(cat "$MNT/groq/key") $(fake_get groq requests)" "$ACCESS 1"
	is "$how: which still knows" "$(profile_status groq state)" retrying
done

fake_do groq reset
login groq groq 2
fake groq '{"mode": "lose", "times": 1}'
ok "the token is reported" put "$MNT/groq/refresh" "$ACCESS"
is "the old token is served" "$(cat "$MNT/groq/key")" "$ACCESS"
ok "it expires" wait_until 10 expired groq
fails_with "Key has been revoked" cat "$MNT/groq/key"
is "one repeat" "$(fake_get groq requests)" 2
is "which was the reuse" "$(fake_get groq reuse)" 1
is "state" "$(profile_status groq state)" dead
is "code" "$(profile_status groq last_error/diagnostic_code)" auth.oauth.token_refresh_failed
like "status tells of the lost answer" "$(profile_status groq last_error/context/details)" 'earlier refresh was lost'
is "remedy" "$(profile_status groq last_error/diagnostic_remediation)" "Log in again."
fails_with "Key has been revoked" cat "$MNT/groq/key"
restart_piauth
fails_with "Key has been revoked" cat "$MNT/groq/key"
is "no more requests" "$(fake_get groq requests)" 2
like "the story survives a restart" "$(profile_status groq last_error/context/details)" 'earlier refresh was lost'

# ---- lost, and the provider forgives the repeat ----

fake_do groq reset
login groq groq 2
fake groq '{"mode": "lose", "times": 1, "grace": true}'
ok "the token is reported" put "$MNT/groq/refresh" "$ACCESS"
is "the old token is served" "$(cat "$MNT/groq/key")" "$ACCESS"
# The end of the process does not make the repeat a first request.
kill_piauth 2>/dev/null
start_piauth
ok "it expires" wait_until 10 expired groq
token=$(cat "$MNT/groq/key")
isnt "a new token" "$token" "$ACCESS"
is "after one repeat" "$(fake_get groq requests)" 2
is "state" "$(profile_status groq state)" valid
is "no error is left" "$(profile_status groq last_error)" null
ok "it can be refreshed again" put "$MNT/groq/refresh" "$token"
isnt "which brings another" "$(cat "$MNT/groq/key")" "$token"
is "with the third request" "$(fake_get groq requests)" 3

# ---- the request never got there ----

fake_do groq reset
login groq groq 2
fake groq '{"mode": "drop", "times": 1}'
ok "the token is reported" put "$MNT/groq/refresh" "$ACCESS"
is "the old token is served" "$(cat "$MNT/groq/key")" "$ACCESS"
ok "it expires" wait_until 10 expired groq
token=$(cat "$MNT/groq/key")
isnt "the repeat brings a new token" "$token" "$ACCESS"
is "after two requests" "$(fake_get groq requests)" 2
is "no reuse" "$(fake_get groq reuse)" 0

# ---- a provider that does not rotate is asked again freely ----

fake mistral '{"rotate": false}'
login mistral mistral 3600
fake mistral '{"mode": "lose", "times": 2}'
ok "the token is reported" put "$MNT/mistral/refresh" "$ACCESS"
is "the old token is served" "$(cat "$MNT/mistral/key")" "$ACCESS"
changed() { [[ $(cat "$MNT/mistral/key") != "$ACCESS" ]]; }
ok "readers make it try again" wait_until 20 changed
is "with the third request" "$(fake_get mistral requests)" 3
is "state" "$(profile_status mistral state)" valid
