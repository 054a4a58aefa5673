#!/bin/bash
# timeout: 120
# A login that was imported from pi's auth.json stays one login with that file: what either side does to
# it reaches the other, and what is not a newer pair of the same login does not get in.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

NOTICED_S=1

# rotate PROFILE: a new pair from the provider; what the reader gets is in $TOKEN.
rotate() {
	put "$MNT/$1/refresh" "$(<"$MNT/$1/generation")"
	TOKEN=$(timeout 20 cat "$MNT/$1/key") || failed "rotate $1: no token"
}

# rotates_into_file PROFILE WHAT
rotates_into_file() {
	local before
	before=$(pi_has "$1/access")
	rotate "$1"
	isnt "$2: another token" "$TOKEN" "$before"
	ok "$2: it is written into the file" wait_until 10 in_file "$1" "$TOKEN"
	ok "$2: the lock is given back" wait_until 10 is_unlocked
}

# pi_rotates PROFILE: pi refreshes by itself and writes its file; $THEIRS is its access token.
pi_rotates() {
	local pair
	pair=$(http "$FAKE_URL/a/$1/token" --data-urlencode grant_type=refresh_token \
		--data-urlencode "refresh_token=$(pi_has "$1/refresh")") || bail "pi cannot refresh"
	take_pair "$pair"
	THEIRS=$ACCESS
	WRITTEN=$(now_ms)
	pi_set "$1" "$(pi_login)"
}

is_noticed() { # PROFILE GENERATION WHAT
	local ms
	ok "$3: noticed within $NOTICED_S s" wait_until "$NOTICED_S" generation_above "$1" "$2"
	ms=$(($(now_ms) - WRITTEN))
	note "$3: after $ms ms"
}

# A refresh can be put off while a token lives, such as when another program seems to be writing its file.
is_read_anew() { timeout 20 cat "$MNT/$1/key" >"$T/read" && generation_above "$1" "$2"; } # PROFILE GENERATION
is_valid() { [[ $(profile_status "$1" state) == valid ]]; }
is_alive() { # PROFILE WHAT
	local begun old
	begun=$(now_ms)
	old=$(<"$MNT/$1/generation")
	rotate "$1"
	ok "$2: rotated" wait_until 40 is_read_anew "$1" "$old"
	ok "$2: the login is alive" wait_until 5 is_valid "$1"
	note "$2: after $(($(now_ms) - begun)) ms"
	TOKEN=$(timeout 20 cat "$MNT/$1/key")
	is "$2: nothing was used twice" "$(fake_get "$1" reuse)" 0
}

looks() { if [[ -e $AUTH ]]; then cksum <"$AUTH"; else echo absent; fi; }
refused_more() { (($(fake_get "$1" refused) > $2)); } # PROFILE COUNT

start_fake
for provider in anthropic groq openai-codex; do use_fake "$provider"; done
pi_home "$T/home"
LEGACY_HOME=$PI_HOME

pi_pair anthropic
anthropic=$(pi_login email=somebody@example.org "remark:={\"a\": [1, 2]}")
pi_pair groq
groq=$(pi_login)
fake openai-codex '{"jwt": {"https://api.openai.com/auth": {"chatgpt_account_id": "account-1"}}}'
pi_pair openai-codex
codex=$(pi_login accountId=account-1)
other=$(secret mistral)
pi_file "$(json_make "anthropic:=$anthropic" "groq:=$groq" "openai-codex:=$codex" \
	"mistral:={\"type\": \"api_key\", \"key\": \"$other\"}" 'xyz:={"foo": 1}')"
chmod 0640 "$AUTH"
before=$(<"$AUTH")
start_piauth
is "it is imported" "$(decision anthropic) $(decision groq) $(decision openai-codex) $(decision mistral)" \
	"imported imported imported imported"
is "the file is as it was" "$(<"$AUTH")" "$before"
is "status names the file" "$(link_of anthropic tool) $(link_of anthropic name) $(link_of anthropic state)" \
	"pi anthropic on"
is "and its path" "$(link_of anthropic path)" "$AUTH"
is "a valid token is served as it is" "$(cat "$MNT/anthropic/key")" "$(json_get access <<<"$anthropic")"
is "without a request" "$(fake_get anthropic requests)" 0

# ---- our rotation reaches the file ----

rotates_into_file anthropic "plain file"
is "the rest of the entry is kept" "$(pi_has anthropic/email) $(pi_has anthropic/remark)" \
	'somebody@example.org {"a": [1, 2]}'
is "the rest of the file is kept" "$(pi_has xyz) $(pi_has mistral/key) $(pi_has groq)" \
	"{\"foo\": 1} $other $groq"
is "mode" "$(stat -c %a "$AUTH")" 640
is "formatted as pi formats it" "$(<"$AUTH")" "$(python3 -S -E -c 'import json, sys
print(json.dumps(json.load(sys.stdin), indent=2))' <"$AUTH")"
is "with no newline at its end" "$(tail -c 1 "$AUTH")" "}"
is "nothing is left beside it" "$(beside)" auth.json
ends=$(($(now_ms) + 3600000 - 300000)) # pi keeps 5 minutes less
like "expires is a whole number" "$(pi_has anthropic/expires)" '^[0-9]+$'
late=$((ends - $(pi_has anthropic/expires)))
ok "expires is as pi would write it ($late ms)" test "${late#-}" -le 10000

mkdir "$T/elsewhere"
mv "$AUTH" "$T/elsewhere/real.json"
ln -s ../../../elsewhere/real.json "$AUTH"
rotates_into_file anthropic "symbolic link"
is "it is a symbolic link still" "$(readlink "$AUTH")" ../../../elsewhere/real.json
is "no lock at its target" "$(ls "$T/elsewhere")" real.json

rm "$AUTH"
ln "$T/elsewhere/real.json" "$AUTH"
inode=$(stat -c %i "$AUTH")
rotates_into_file anthropic "hard link"
is "it is the same file still" "$(stat -c '%i %h' "$AUTH")" "$inode 2"
is "under both names" "$(json_get anthropic/access <"$T/elsewhere/real.json")" "$TOKEN"

cp "$AUTH" "$T/elsewhere/bound.json"
rm "$AUTH"
: >"$AUTH"
chmod 0600 "$AUTH"
if mount --bind "$T/elsewhere/bound.json" "$AUTH"; then
	rotates_into_file anthropic "bind-mounted file"
	is "what was mounted has it" "$(json_get anthropic/access <"$T/elsewhere/bound.json")" "$TOKEN"
	umount "$AUTH"
else
	failed "mount --bind of a file"
fi
install -m 0600 "$T/elsewhere/bound.json" "$AUTH"
rotates_into_file anthropic "plain file again"

# ---- their rotation reaches us ----

generation=$(<"$MNT/anthropic/generation")
pi_rotates anthropic
is_noticed anthropic "$generation" "pi has refreshed"
fake anthropic '{"mode": "hang"}'
begun=$(now_ms)
is "its token is served" "$(timeout 20 cat "$MNT/anthropic/key")" "$THEIRS"
at_most "no later than a reader inside the margin (ms)" $(($(now_ms) - begun)) 3700
ok "but it counts as due: the read has asked the provider" fake_wait anthropic hanging=1 10
fake anthropic '{"mode": "ok"}'
fake_do anthropic release
TOKEN=$(timeout 20 cat "$MNT/anthropic/key")
isnt "the next read has the provider's answer" "$TOKEN" "$THEIRS"
ok "which is written back" wait_until 10 in_file anthropic "$TOKEN"
is_alive anthropic "after that"

# Programs that replace the file instead of writing into it.
wait_until 10 in_file anthropic "$TOKEN"
cp "$AUTH" "$T/elsewhere/next.json"
generation=$(<"$MNT/anthropic/generation")
auth=$AUTH
AUTH=$T/elsewhere/next.json
pi_rotates anthropic
AUTH=$auth
WRITTEN=$(now_ms)
mv "$T/elsewhere/next.json" "$AUTH"
is_noticed anthropic "$generation" "a file put in its place"
is_alive anthropic "after that"

# ---- what is no newer pair of the same login ----

wait_until 10 in_file anthropic "$TOKEN"
expires=$(<"$MNT/anthropic/expires")
pi_set anthropic/expires 4102444800000
is_alive anthropic "expires 2100"
ok "expires is the provider's" test "$(<"$MNT/anthropic/expires")" -lt 4102444800000
note "expires $expires, then $(<"$MNT/anthropic/expires")"

wait_until 10 in_file anthropic "$TOKEN"
cp "$AUTH" "$T/elsewhere/backup.json"
rotate anthropic
ok "rotated once more" wait_until 10 in_file anthropic "$TOKEN"
generation=$(<"$MNT/anthropic/generation")
cat "$T/elsewhere/backup.json" >"$AUTH"
ok "an old backup: reported" wait_until 5 grep -q '"old_pair_in_file","profile":"anthropic"' "$MNT/.piauth/events"
is "an old backup: not adopted" "$(cat "$MNT/anthropic/key") $(<"$MNT/anthropic/generation")" "$TOKEN $generation"
is_alive anthropic "an old backup"
ok "an old backup: the tool does not get to spend it" wait_until 10 in_file anthropic "$TOKEN"
ok "an old backup: the report is gone" wait_until 5 link_is anthropic note ""

refused=$(fake_get anthropic refused)
generation=$(<"$MNT/anthropic/generation")
REFRESH=$(secret stranger-rt) ACCESS=$(secret stranger-at) EXPIRES=$(($(now_ms) + 3600000))
pi_set anthropic "$(pi_login)"
ok "a pair that nobody made: looked at" wait_until 5 generation_above anthropic "$generation"
token=$(timeout 20 cat "$MNT/anthropic/key")
ok "a pair that nobody made: the provider refuses it" wait_until 10 refused_more anthropic "$refused"
is_alive anthropic "a pair that nobody made"

codex_token=$(cat "$MNT/openai-codex/key")
fake openai-codex '{"jwt": {"https://api.openai.com/auth": {"chatgpt_account_id": "account-2"}}}'
pi_pair openai-codex
fake openai-codex '{"jwt": {"https://api.openai.com/auth": {"chatgpt_account_id": "account-1"}}}'
pi_set openai-codex "$(pi_login accountId=account-2)"
ok "another account's pair: reported" wait_until 5 link_like openai-codex note 'account'
is "another account's pair: unlinked" "$(link_of openai-codex state)" off
is "another account's pair: not adopted" "$(cat "$MNT/openai-codex/key")" "$codex_token"
theirs=$(pi_has openai-codex)
is_alive openai-codex "another account's pair"
is "another account's pair: stays in the file" "$(pi_has openai-codex)" "$theirs"

# ---- files that are no files for a while ----

wait_until 10 in_file groq "$(cat "$MNT/groq/key")"
cp "$AUTH" "$T/elsewhere/whole.json"
for what in empty cut garbage absent; do
	case $what in
	empty) : >"$AUTH" ;;
	cut) head -c 100 "$T/elsewhere/whole.json" >"$AUTH" ;;
	garbage) printf '\0\1\2not JSON' >"$AUTH" ;;
	absent) rm "$AUTH" ;;
	esac
	sum=$(looks)
	ok "$what: reported" wait_until 5 link_like groq note '.'
	note "it says: $(link_of groq note)"
	is_alive groq "$what"
	is "$what: the file is left alone" "$(looks)" "$sum"
	cat "$T/elsewhere/whole.json" >"$AUTH"
	is_alive groq "$what, and back"
	ok "$what, and back: linked again" wait_until 10 in_file groq "$TOKEN"
	cp "$AUTH" "$T/elsewhere/whole.json"
done
is "nothing is left beside it" "$(beside)" auth.json

# ---- logging out ----

pi_forget groq
ok "gone from the file: logged out here" wait_until 5 test ! -s "$MNT/groq/key"
fails_with "Required key not available" cat "$MNT/groq/key"
is "the others are there" "$(cat "$MNT/mistral/key")" "$other"

left=$(pi_has anthropic)
ok "rm key" rm "$MNT/anthropic/key"
is "the file keeps its entry" "$(pi_has anthropic)" "$left"
restart_piauth
fails_with "Required key not available" cat "$MNT/anthropic/key"
put "$MNT/.piauth/migrate" now
is "it is not imported again" "$(decision anthropic)" already_there
like "because" "$(decision anthropic reason)" 'logged out here'
fails_with "Required key not available" cat "$MNT/anthropic/key"
pi_pair anthropic
pi_set anthropic "$(pi_login)"
put "$MNT/.piauth/migrate" now
is "a new login of pi is" "$(decision anthropic)" imported
is "and served" "$(cat "$MNT/anthropic/key")" "$ACCESS"
