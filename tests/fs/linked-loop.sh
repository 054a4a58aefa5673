#!/bin/bash
# timeout: 150
# Files of other tools that lead into the mount itself, and a mount that lies where the files should: the
# server must not wait for itself. It starts, says so, and serves.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

START_MS=20000

# starts WHAT: with the home as it is now and an empty store; must be ready in time.
starts() {
	local begun
	rm -rf "$STORE"
	begun=$(now_ms)
	start_piauth
	at_most "$1: ready after (ms)" $(($(now_ms) - begun)) "$START_MS"
}

serves() { # WHAT
	local begun
	begun=$(now_ms)
	is "$1: serves" "$(timeout 10 cat "$MNT/codex-test/key")" "$key"
	at_most "$1: at once (ms)" $(($(now_ms) - begun)) 1000
	timeout 10 ls "$MNT" >"$T/listing" || failed "$1: does not list"
	timeout 10 cat "$MNT/.piauth/migrate" >"$T/report" || failed "$1: the report cannot be read"
	ok "$1: looks again" timeout 60 bash -c 'echo now >"$1"' - "$MNT/.piauth/migrate"
}

key=$(secret elsewhere)
start_fake
use_fake anthropic

# ---- a file is a link into the mount ----

start_piauth # the first one to be stopped
for target in anthropic/key anthropic/status .piauth/migrate .piauth/events status anthropic/login; do
	stop_piauth
	rm -rf "${T:?}/home"
	pi_home "$T/home"
	LEGACY_HOME=$PI_HOME
	ln -s "$MNT/$target" "$AUTH"
	put "$PI_HOME/.pi/agent/settings.json" "{\"apiKeys\": {\"codex-test\": \"$key\"}}"
	starts "a link to $target"
	state=$(file_state "$AUTH")
	like "a link to $target: not read" "$state" '^(unreadable|absent)$'
	note "$target: $state, $(file_state "$AUTH" reason)"
	serves "a link to $target"
	is "a link to $target: it is there" "$(readlink "$AUTH")" "$MNT/$target"
	not_ok "a link to $target: no lock is made beside it" test -e "$AUTH.lock"
done
like "it is named in the report" "$(file_state "$AUTH" reason)" '.'

# It becomes one while it is linked.
stop_piauth
rm "$AUTH"
pi_pair anthropic
pi_file "$(json_make "anthropic:=$(pi_login)")"
starts "a file"
is "a file: imported" "$(decision anthropic)" imported
rm "$AUTH"
ln -s "$MNT/anthropic/key" "$AUTH"
ok "it becomes a link into the mount: reported" wait_until 10 link_like anthropic note '.'
note "it says: $(link_of anthropic note)"
put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
begun=$(now_ms)
token=$(timeout 60 cat "$MNT/anthropic/key")
isnt "the login is refreshed" "$token" "$ACCESS"
at_most "without waiting for itself (ms)" $(($(now_ms) - begun)) 15000
serves "a file that became a link"
ok "the login is not gone" test -s "$MNT/anthropic/key"
is "no token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"

# ---- the mount lies in the home ----

# mount_at DIR: where the next server is mounted.
mount_at() {
	MNT=$1
	MNT_OF[main]=$1
	mkdir -p "$1"
}

for place in piauth .pi/piauth .pi/agent/auth .config .claude .pi/agent/auth.json.lock .pi/agent; do
	stop_piauth
	rm -rf "${T:?}/home"
	pi_home "$T/home"
	LEGACY_HOME=$PI_HOME
	mkdir -p "$PI_HOME/.taskfactory/agent"
	put "$PI_HOME/.taskfactory/agent/auth.json" "{\"codex-test\": {\"type\": \"api_key\", \"key\": \"$key\"}}"
	pi_pair anthropic
	[[ $place == .pi/agent ]] || pi_file "$(json_make "anthropic:=$(pi_login)")"
	mount_at "$PI_HOME/$place"
	starts "mounted at ~/$place"
	serves "mounted at ~/$place"
	if [[ $place == .pi/agent ]]; then
		fails_with "Required key not available" timeout 10 cat "$MNT/anthropic/key"
	else
		is "mounted at ~/$place: the login" "$(timeout 10 cat "$MNT/anthropic/key")" "$ACCESS"
		put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
		token=$(timeout 60 cat "$MNT/anthropic/key")
		# A mount at the place of the lock looks like a held one; the token that there is lives.
		[[ $place == *.lock ]] || isnt "mounted at ~/$place: a refresh" "$token" "$ACCESS"
		ok "mounted at ~/$place: a token" test -n "$token"
	fi
done
stop_piauth

# The tool's own variable names a directory of the mount.
mount_at "$T/mnt"
SERVER_ENV=("PI_CODING_AGENT_DIR=$MNT/anthropic")
starts "PI_CODING_AGENT_DIR in the mount"
serves "PI_CODING_AGENT_DIR in the mount"
stop_piauth
SERVER_ENV=("CLAUDE_CONFIG_DIR=$MNT" "CODEX_HOME=$MNT/.piauth")
starts "CLAUDE_CONFIG_DIR and CODEX_HOME in the mount"
serves "CLAUDE_CONFIG_DIR and CODEX_HOME in the mount"
