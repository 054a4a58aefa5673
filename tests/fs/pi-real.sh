#!/bin/bash
# timeout: 150
# The real pi, 1.5.2 and 0.73.1, beside a server that has imported its auth.json: reads, refreshes, waits for
# the lock, and does without its file in the end.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

HOLD_MS=4000

bearer() { new_pi auth print-bearer-token --provider "$1" --min-expiry "${2:-1m}" 2>&1; }
known() { [[ $(http "$FAKE_URL/ctl/$1/token?access=$2" | json_get known) == true ]]; } # ACCOUNT TOKEN

rotate() { # PROFILE
	put "$MNT/$1/refresh" "$(<"$MNT/$1/generation")"
	TOKEN=$(timeout 20 cat "$MNT/$1/key") || failed "rotate $1"
	ok "$1: the new pair is in the file" wait_until 10 in_file "$1" "$TOKEN"
	wait_until 10 is_unlocked
}

pi_install
start_fake
use_fake anthropic
use_fake openai-codex
pi_home "$T/home"
LEGACY_HOME=$PI_HOME

pi_pair anthropic
anthropic=$(pi_login)
anthropic_token=$ACCESS
pi_pair openai-codex '{"jwt": {"https://api.openai.com/auth": {"chatgpt_account_id": "account-1"}}}'
codex=$(pi_login accountId=account-1)
codex_token=$ACCESS
groq=$(secret groq)
pi_file "$(json_make "anthropic:=$anthropic" "openai-codex:=$codex" \
	"groq:={\"type\": \"api_key\", \"key\": \"$groq\"}")"
is "pi 1.5.2 reads its file before" "$(bearer anthropic)" "$anthropic_token"
is "pi 0.73.1 too" "$(old_pi anthropic 2>&1)" "$anthropic_token"
before=$(<"$AUTH")

# ---- imported ----

start_piauth
is "imported" "$(decision anthropic) $(decision openai-codex) $(decision groq)" "imported imported imported"
is "the file is as it was" "$(<"$AUTH")" "$before"
for provider in anthropic openai-codex; do
	token=$(json_get "$provider/access" <<<"$before")
	is "piauth serves $provider" "$(cat "$MNT/$provider/key")" "$token"
	is "pi 1.5.2 reads $provider" "$(bearer "$provider")" "$token"
	is "pi 0.73.1 reads $provider" "$(old_pi "$provider" 2>&1)" "$token"
done
is "keys: piauth" "$(cat "$MNT/groq/key")" "$groq"
is "keys: pi 1.5.2" "$(new_pi auth print-api-key --provider groq 2>&1)" "$groq"
is "keys: pi 0.73.1" "$(old_pi groq 2>&1)" "$groq"
is "pi auth check" "$(new_pi auth check --provider anthropic --json --no-refresh | json_get status)" ready

# ---- piauth rotates ----

for provider in anthropic openai-codex; do
	rotate "$provider"
	is "rotated: pi 1.5.2 reads $provider" "$(bearer "$provider")" "$TOKEN"
	is "rotated: pi 0.73.1 reads $provider" "$(old_pi "$provider" 2>&1)" "$TOKEN"
done
is "codex keeps its account" "$(pi_has openai-codex/accountId)" account-1
is "pi has refreshed nothing" "$(fake_get anthropic ok) $(fake_get openai-codex ok)" "1 1"
is "pi auth check" "$(new_pi auth check --provider anthropic --json --no-refresh | json_get status)" ready

# ---- pi rotates ----

# pi_rotates NAME COMMAND...: a pi that finds its token too old refreshes it, and piauth has that within a second.
pi_rotates() {
	local name=$1 generation token requests
	shift
	generation=$(<"$MNT/anthropic/generation")
	requests=$(fake_get anthropic ok)
	token=$("$@" 2>&1)
	is "$name refreshes" "$(fake_get anthropic ok)" $((requests + 1))
	ok "$name: a token of the provider" known anthropic "$token"
	is "$name: it stands in the file" "$(pi_has anthropic/access)" "$token"
	ok "$name: noticed within 1 s" wait_until 1 generation_above anthropic "$generation"
	fake anthropic '{"mode": "hang"}'
	is "$name: piauth serves pi's token" "$(timeout 20 cat "$MNT/anthropic/key")" "$token"
	fake_wait anthropic hanging=1 10 || failed "$name: no refresh was started"
	fake anthropic '{"mode": "ok"}'
	fake_do anthropic release
	TOKEN=$(timeout 20 cat "$MNT/anthropic/key")
	isnt "$name: then rotates" "$TOKEN" "$token"
	ok "$name: into the file" wait_until 10 in_file anthropic "$TOKEN"
	wait_until 10 is_unlocked
	is "$name: pi reads that" "$("$@" 2>&1)" "$TOKEN"
}

PI_ENDPOINT=$FAKE_URL/a/anthropic/token
# 1.5.2 refreshes what has not the life that it is asked for; the answer then has it, so it does so once.
fake anthropic '{"expires_in": 1500}'
rotate anthropic
fake anthropic '{"expires_in": 7200}'
pi_rotates "pi 1.5.2" bearer anthropic 40m
# 0.73.1 refreshes what has expired. piauth itself never leaves such a token in the file.
stop_piauth
pi_set anthropic/expires "$(($(now_ms) - 1000))"
start_piauth
pi_rotates "pi 0.73.1" old_pi anthropic
is "no refresh token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"

# ---- pi waits while piauth refreshes ----

# The file has what is too old for pi, and a refresh of piauth is under way; its provider answers at pi_goes_on.
piauth_refreshes() {
	fake anthropic '{"mode": "hang"}'
	put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
	timeout 60 cat "$MNT/anthropic/key" >"$T/reader" &
	reader=$!
	fake_wait anthropic hanging=1 20 || failed "no refresh"
	ok "piauth holds the lock" is_locked
	begun=$(now_ms)
}

# waits NAME PID: it does not end before piauth has its answer.
waits() {
	not_ok "$1: it waits" ends_within "$2" $((HOLD_MS / 1000))
	is "$1: one request" "$(fake_get anthropic hanging)" 1
	fake anthropic '{"mode": "ok"}'
	fake_do anthropic release
	wait "$reader"
	is "$1: the reader" "$?" 0
	wait "$2"
	is "$1: then it succeeds" "$? $(<"$T/pi.err")" "0 "
	note "$1: held for $HOLD_MS ms, answered after $(($(now_ms) - begun)) ms"
	ok "$1: the lock is given back" wait_until 10 is_unlocked
}

grows_old() { pi_set anthropic/expires "$(($(now_ms) - 1000))"; }

grows_old
piauth_refreshes
bearer anthropic >"$T/pi" 2>"$T/pi.err" &
waits "pi 1.5.2" "$!"
is "pi 1.5.2: it has the token that piauth got" "$(<"$T/pi")" "$(cat "$MNT/anthropic/key")"

grows_old
mkfifo "$T/line"
old_pi anthropic running <"$T/line" >"$T/pi" 2>"$T/pi.err" &
pi=$!
exec {line}>"$T/line"
wait_until 20 grep -q started "$T/pi" || failed "pi 0.73.1 does not start"
piauth_refreshes
echo go >&"$line"
exec {line}>&-
waits "pi 0.73.1" "$pi"
is "pi 0.73.1: it has the token that piauth got" "$(tail -n 1 "$T/pi")" "$(cat "$MNT/anthropic/key")"
is "no refresh token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"

# ---- without its file ----

ok "take-over" put "$MNT/.piauth/migrate" "take-over anthropic groq"
is "its entries are taken" "$(decision anthropic) $(decision groq)" "taken taken"
is "the links say so" "$(link_of anthropic state)" taken
not_ok "no secret of anthropic in the file" pi_has anthropic/refresh
not_ok "nor a key" pi_has groq/key
is "the others are in the file" "$(pi_has openai-codex/type)" oauth
is "piauth serves them" "$(cat "$MNT/groq/key")" "$groq"
like "pi has no login" "$(bearer anthropic)" "not configured"
put "$PI_HOME/.pi/agent/models.json" "$(json_make "providers:={
	\"anthropic\": {\"apiKey\": \"!cat $MNT/anthropic/key\"},
	\"groq\": {\"apiKey\": \"!cat $MNT/groq/key\"}}")"
is "models.json: pi 1.5.2 reads the token" "$(new_pi auth print-api-key --provider anthropic 2>&1)" \
	"$(cat "$MNT/anthropic/key")"
put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
is "models.json: and the next one" "$(new_pi auth print-api-key --provider anthropic 2>&1)" \
	"$(cat "$MNT/anthropic/key")"
is "models.json: and keys" "$(new_pi auth print-api-key --provider groq 2>&1)" "$groq"
not_ok "nothing was put back into the file" pi_has anthropic/refresh

ok "give-back" put "$MNT/.piauth/migrate" "give-back anthropic groq"
is "its entries are given back" "$(decision anthropic) $(decision groq)" "given_back given_back"
is "pi reads its file again" "$(bearer anthropic)" "$(cat "$MNT/anthropic/key")"
is "keys too" "$(new_pi auth print-api-key --provider groq 2>&1)" "$groq"
is "linked again" "$(link_of anthropic state)" on
rotate anthropic
is "rotated: pi 1.5.2 reads it" "$(bearer anthropic)" "$TOKEN"
is "rotated: pi 0.73.1 reads it" "$(old_pi anthropic 2>&1)" "$TOKEN"
is "no refresh token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"
