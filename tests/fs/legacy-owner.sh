#!/bin/bash
# timeout: 170
# A server of root for another owner: the files of other tools are read and written with the owner's rights,
# by a process that has no others and no key, and what hangs there stops nobody.
. "$(dirname "$0")/../lib/cases.sh"
. "$CASES/pi.sh"

OWNER=65533
READS=500
START_MS=60000

need cc pkg-config
read -ra fuse3 < <(pkg-config --cflags --libs fuse3)
cc -O1 -Wall -o "$T/probe_hang" "$CASES/probe_hang.c" "${fuse3[@]}" || bail "cc"

# hangs_begin: $HUNG is a file system that does not answer; who asks it waits in the kernel until hangs_end.
hangs_begin() {
	mkfifo "$T/hang.ready"
	"$T/probe_hang" "$HUNG" >"$T/hang.ready" &
	hang_pid=$!
	[[ $(timeout 20 head -n 1 "$T/hang.ready") == ready ]] || bail "probe_hang"
	rm "$T/hang.ready"
}
hangs_end() {
	{ kill -KILL "$hang_pid" && wait "$hang_pid"; } 2>/dev/null
	umount -l "$HUNG" # who hung there may not be gone yet
}

is_decided() { [[ $(report state) == migrated ]]; }
owners() { chown -hR "$OWNER:$OWNER" "$PI_HOME"; }

latency() { # WHAT FILE...: what readers of valid tokens feel
	python3 -S -E "$CASES/probe_latency.py" "$READS" "${@:2}" >"$T/latency" || failed "$1: a reader failed"
	read -r _ _ longest <"$T/latency"
	at_most "$1: readers of valid tokens do not wait (max, us)" "$longest" 1000000
}

refreshes() { # WHAT: in time, whatever the file does
	local begun before
	begun=$(now_ms)
	before=$(fake_get anthropic ok)
	put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
	TOKEN=$(timeout 60 cat "$MNT/anthropic/key") || failed "$1: the reader fails"
	is "$1: refreshed" "$(fake_get anthropic ok)" $((before + 1))
	at_most "$1: a reader gets the token after (ms)" $(($(now_ms) - begun)) 20000
}

start_fake
use_fake anthropic
HUNG=$T/hung
mkdir "$HUNG"
pi_home "$T/home"
LEGACY_HOME=$PI_HOME
SERVER_ARGS=(--owner "$OWNER")
root_only=$(secret of-root)
mkdir -m 0755 "$T/roots"
install -m 0600 /dev/stdin "$T/roots/secret.json" <<<"$(json_make \
	"tokens:=$(json_make access_token="$root_only" refresh_token="$root_only" id_token=x)" \
	"openai:=$(json_make type=api_key "key=$root_only")" \
	"apiKeys:=$(json_make "openai=$root_only")")"
roots=$(stat -c '%a %u:%g %s %Y' "$T/roots/secret.json")

# ---- what the owner may not read, and what nobody can ----

mkdir -p "$PI_HOME"/{.codex,.gemini,.claude,.taskfactory/agent,.local/share/opencode,.config/github-copilot}
pi_pair anthropic
pi_file "$(json_make "anthropic:=$(pi_login)" 'mistral:={"type": "api_key", "key": "fake-1"}')"
ln -s "$T/roots/secret.json" "$PI_HOME/.codex/auth.json"
ln -s "$T/roots/secret.json" "$PI_HOME/.pi/agent/settings.json"
mkfifo "$PI_HOME/.gemini/oauth_creds.json"
ln -s "$PI_HOME/.gemini/oauth_creds.json" "$PI_HOME/.pi/agent/oauth.json"
ln -s "$HUNG/opens-never" "$PI_HOME/.claude/.credentials.json"
ln -s "$HUNG/reads-never" "$PI_HOME/.taskfactory/agent/auth.json"
ln -s "$HUNG/looks-never" "$PI_HOME/.local/share/opencode/auth.json"
mknod "$PI_HOME/.config/github-copilot/hosts.json" c 1 5 # /dev/zero
owners
hangs_begin
begun=$(now_ms)
start_piauth
note "ready after $(($(now_ms) - begun)) ms"
at_most "it starts all the same (ms)" $(($(now_ms) - begun)) "$START_MS"
ok "the import ends" wait_until 60 is_decided
note "decided after $(($(now_ms) - begun)) ms"
is "the good file is imported" "$(decision anthropic) $(decision mistral)" "imported imported"
is "its token is served" "$(cat "$MNT/anthropic/key")" "$ACCESS"
is "to its owner too" "$(as "$OWNER" cat "$MNT/anthropic/key")" "$ACCESS"
while read -r why file; do
	is "$why: $file" "$(file_state "$PI_HOME/$file")" unreadable
	like "$why: the reason" "$(file_state "$PI_HOME/$file" reason)" '.'
	note "$file: $(file_state "$PI_HOME/$file" reason)"
done <<-E
	root's .codex/auth.json
	root's .pi/agent/settings.json
	fifo .gemini/oauth_creds.json
	fifo .pi/agent/oauth.json
	device .config/github-copilot/hosts.json
	hangs .claude/.credentials.json
	hangs .taskfactory/agent/auth.json
	hangs .local/share/opencode/auth.json
E
not_ok "root's secret is nowhere" grep -rqF "$root_only" "$MNT/status" "$MNT/.piauth/migrate"
fails_with "Required key not available" cat "$MNT/openai/key"
fails_with "Required key not available" cat "$MNT/openai-codex/key"
latency "after that" "$MNT/anthropic/key" "$MNT/mistral/key"

put "$MNT/.piauth/migrate" now &
looks=$!
latency "while it looks again" "$MNT/anthropic/key" "$MNT/mistral/key"
ok "to look again ends" ends_within "$looks" 60
wait "$looks"
is "and succeeds" "$?" 0
hangs_end
for file in .codex .gemini .claude .taskfactory .local .config .pi/agent/settings.json .pi/agent/oauth.json; do
	rm -rf "${PI_HOME:?}/$file"
done

# ---- written with the owner's rights ----

refreshes "the owner's file"
ok "it is written" wait_until 10 in_file anthropic "$TOKEN"
is "and is the owner's" "$(stat -c '%a %u:%g' "$AUTH")" "600 $OWNER:$OWNER"
ok "the lock is given back" wait_until 10 is_unlocked
is "nothing is left beside it" "$(beside)" auth.json

# The process that does it.
fake anthropic '{"mode": "hang"}'
put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
timeout 60 cat "$MNT/anthropic/key" >"$T/answer" &
reader=$!
fake_wait anthropic hanging=1 20 || failed "no refresh"
is "the lock is the owner's" "$(stat -c '%F %u:%g' "$AUTH.lock")" "directory $OWNER:$OWNER"
mapfile -t helpers < <(pgrep -f legacy-helper -P "$(worker_pid)")
is "one process holds it" "${#helpers[@]}" 1
status=/proc/${helpers[0]}/status
is "it is the owner" "$(awk '/^(Uid|Gid):/ { print $2, $3, $4, $5 }' "$status" | xargs)" \
	"$OWNER $OWNER $OWNER $OWNER $OWNER $OWNER $OWNER $OWNER"
is "has no groups of root" "$(awk '/^Groups:/ { print $2 $3 }' "$status")" ""
is "no capabilities" "$(awk '/^Cap[^B]/ { print $2 }' "$status" | sort -u)" 0000000000000000
is "cannot gain any" "$(awk '/^NoNewPrivs:/ { print $2 }' "$status")" 1
find "/proc/${helpers[0]}/fd" -type l -printf '%f %l\n' >"$T/helper.fds"
not_ok "has nothing of the store or of FUSE open" grep -qE "$STORE|$KEYFILE|/dev/fuse" "$T/helper.fds"
note "its descriptors: $(xargs <"$T/helper.fds")"
not_ok "nor of the server in its environment" grep -qE 'KEY|TOKEN|PASS' "/proc/${helpers[0]}/environ"
fake anthropic '{"mode": "ok"}'
fake_do anthropic release
wait "$reader"
is "the reader" "$?" 0
ok "written" wait_until 10 in_file anthropic "$(<"$T/answer")"

# A directory that is not the owner's: no lock can be made there, and no file.
chown 0:0 "$PI_HOME/.pi/agent"
chmod 0755 "$PI_HOME/.pi/agent"
refreshes "a directory of root"
is "a directory of root: nothing is made in it" "$(beside)" auth.json
is "a directory of root: the file is the owner's" "$(stat -c %u "$AUTH")" "$OWNER"
written_or_noted() { in_file anthropic "$TOKEN" || link_like anthropic note .; }
ok "a directory of root: written in place, or reported" wait_until 10 written_or_noted
note "it says: $(link_of anthropic note)"
chown "$OWNER:$OWNER" "$PI_HOME/.pi/agent"
chmod 0700 "$PI_HOME/.pi/agent"
refreshes "the owner's directory again"
ok "the owner's directory again: written" wait_until 10 in_file anthropic "$TOKEN"

# A file that the owner may read and not write, and one that he may not read.
mv "$AUTH" "$T/roots/readable.json"
chown 0:0 "$T/roots/readable.json"
chmod 0644 "$T/roots/readable.json"
ln -s "$T/roots/readable.json" "$AUTH"
sum=$(cksum <"$T/roots/readable.json")
refreshes "a link to a file that he may not write"
ok "reported" wait_until 10 link_like anthropic note .
note "it says: $(link_of anthropic note)"
is "it is as it was" "$(cksum <"$T/roots/readable.json") $(stat -c '%a %u' "$T/roots/readable.json")" "$sum 644 0"
chmod 0600 "$T/roots/readable.json"
refreshes "a link to a file that he may not read"
ok "reported" wait_until 10 link_like anthropic note .
note "it says: $(link_of anthropic note)"
is "it is as it was" "$(cksum <"$T/roots/readable.json")" "$sum"
is "nothing was made in root's directory" "$(xargs < <(ls "$T/roots"))" "readable.json secret.json"
is "root's secret is as it was" "$(stat -c '%a %u:%g %s %Y' "$T/roots/secret.json")" "$roots"

cp -p "$AUTH" "$T/auth.json.aside"
rm "$AUTH"
mkfifo "$AUTH"
refreshes "a FIFO"
ok "a FIFO: reported" wait_until 10 link_like anthropic note .
rm "$AUTH"
mv "$T/auth.json.aside" "$AUTH"

# ---- what begins to hang ----

# While a token lives a refresh that cannot look into the file is put off; one that presses is not.
complains() { # PROFILE REGEX
	[[ "$(link_of "$1" note) $(profile_status "$1" last_error)" =~ $2 ]]
}
for file in opens-never reads-never looks-never; do
	hangs_begin
	ln -s "$HUNG/$file" "$T/link" # ln -f would look at what it leads to
	mv -T "$T/link" "$AUTH"
	latency "$file" "$MNT/mistral/key"
	put "$MNT/anthropic/refresh" "$(<"$MNT/anthropic/generation")"
	begun=$(now_ms)
	timeout 20 cat "$MNT/anthropic/key" >"$T/answer" || failed "$file: a reader gets no token"
	at_most "$file: after (ms)" $(($(now_ms) - begun)) 3700
	latency "$file, then" "$MNT/mistral/key"
	ok "$file: reported" wait_until 20 complains anthropic "$AUTH"
	note "it says: $(link_of anthropic note); $(profile_status anthropic last_error/context/details)"
	hangs_end
done
rm "$AUTH"
is "no refresh token was used twice" "$(fake_get anthropic reuse) $(fake_get anthropic refused)" "0 0"
mapfile -t pids < <(server_pids)
stop_piauth
for pid in "${pids[@]}"; do ok "no process is left" ends_within "$pid" 5; done
