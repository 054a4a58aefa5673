#!/bin/bash
# timeout: 120
# Import from other tools' files: what is decided, shown and remembered; take-over and give-back.
. "$(dirname "$0")/../lib/cases.sh"

need python3
home=$T/legacy
report() { cat "$MNT/.piauth/migrate"; }
decision() { # TOOL NAME: of the last report
	report | python3 -c '
import json, sys
for e in json.load(sys.stdin)["entries"]:
    if (e["tool"], e["name"]) == (sys.argv[1], sys.argv[2]):
        print(e.get("profile", "-"), e["decision"], e.get("reason", ""), sep="|")' "$@"
}
records() { (cd "$STORE/records" && sha256sum -- *); }
files() { (cd "$home" && find . -type f -exec sha256sum {} + | sort); }
run() { # WANTED ARGUMENTS...: the client, its exit code, both outputs in $out
	local wanted=$1 rc
	shift
	"$PIAUTH" "$@" >"$out" 2>&1 </dev/null
	rc=$?
	cat "$out" >>"$TEXT/client"
	is "piauth $*" "$rc" "$wanted"
}
out=$T/out
export PIAUTH_MOUNT=$MNT

mkdir -p "$home/.pi/agent" "$home/.claude" "$home/.codex" "$SERVER_HOME"
later=$(($(now_ms) + 7200000))
pi_access=$(secret pi-access) pi_refresh=$(secret pi-refresh)
cc_access=$(secret cc-access) cc_refresh=$(secret cc-refresh)
groq=$(secret groq) own=$(secret own) kimi=$(secret kimi)
umask 077
cat >"$home/.pi/agent/auth.json" <<JSON
{
  "anthropic": {
    "type": "oauth",
    "access": "$pi_access",
    "refresh": "$pi_refresh",
    "expires": $later
  },
  "groq": {
    "type": "api_key",
    "key": "$groq"
  },
  "kimi-coding": {
    "type": "api_key",
    "key": "$kimi"
  },
  "My-Own": {
    "type": "api_key",
    "key": "$own",
    "env": {
      "REGION": "here"
    }
  },
  "status": {
    "type": "api_key",
    "key": "$own"
  },
  "no good": {
    "type": "api_key",
    "key": "$own"
  },
  "xai": {
    "type": "api_key",
    "key": "!pass show xai"
  },
  "mistral": {
    "type": "api_key",
    "key": "\$MISTRAL_KEY"
  }
}
JSON
printf '{"claudeAiOauth":{"accessToken":"%s","refreshToken":"%s","expiresAt":%s,"scopes":["user:inference"]}}' \
	"$cc_access" "$cc_refresh" "$later" >"$home/.claude/.credentials.json"
printf '{"OPENAI_API_KEY":"%s"}' "$own" >"$home/.codex/auth.json"
umask 022
before=$(files)

note "nobody has decided"
start_piauth --legacy-home "$home"
is "state" "$(report | json_get state)" pending
is "mode" "$(stat -c %a "$MNT/.piauth/migrate")" 600
is "nothing is imported with --no-migrate" "$(ls "$MNT")" status

note "a dry run"
run 0 migrate --dry-run
ok "says so" grep -q 'nothing has changed' "$out"
is "the report shows it" "$(report | json_get dry_run)" true
is "and what would be" "$(decision pi anthropic)" 'anthropic|imported|'
is "for two families at one provider" "$(decision claude-code claudeAiOauth)" 'anthropic@claude-code|imported|'
is "nothing is there" "$(ls "$MNT")" status
is "no record was written" "$(ls "$STORE/records")" ""
is "no file was changed" "$(files)" "$before"

note "refused commands"
for bad in '' never 'now then' 'from relative' 'from' 'dry-run skip' 'skip it'; do
	fails_with "Invalid argument" put "$MNT/.piauth/migrate" "$bad"
done
fails_with "No such file" put "$MNT/.piauth/migrate" "take-over nosuchprovider"
is "nothing was done" "$(ls "$MNT")" status

note "the import"
ok "echo now" put "$MNT/.piauth/migrate" now
is "state" "$(report | json_get state)" migrated
is "pi's login" "$(decision pi anthropic)" 'anthropic|imported|'
is "Claude Code's own" "$(decision claude-code claudeAiOauth)" 'anthropic@claude-code|imported|'
is "pi's other id" "$(decision pi kimi-coding)" 'kimi-for-coding|imported|'
is "a custom provider" "$(decision pi My-Own)" 'my-own|imported|'
like "a name of the mount" "$(decision pi status)" '^-\|refused\|.*mount'
like "a name that is none" "$(decision pi 'no good')" '^-\|refused\|.*name'
is "a command" "$(decision pi xai)" 'xai|refused|a command, not a key: never executed'
like "a variable" "$(decision pi mistral)" '^mistral\|refused\|.*variable'
is "it serves pi's token" "$(cat "$MNT/anthropic/key")" "$pi_access"
is "and Claude Code's" "$(cat "$MNT/anthropic@claude-code/key")" "$cc_access"
is "and keys" "$(cat "$MNT/groq/key" "$MNT/kimi-for-coding/key" "$MNT/my-own/key")" "$groq$kimi$own"
is "an absent file" "$(report | python3 -c 'import json, sys
print({f["state"] for f in json.load(sys.stdin)["files"] if f["tool"] == "gh"})')" "{'absent'}"
is "one event for each profile" "$(grep -c '"event":"imported"' "$MNT/.piauth/events")" 6
is "no file was changed" "$(files)" "$before"

note "twice changes nothing"
same=$(records | sort | sed '/^$/d' | wc -l)
profiles() { for p in anthropic anthropic@claude-code groq kimi-for-coding my-own openai; do cat "$MNT/$p/generation"; done; }
generations=$(profiles)
ok "again" put "$MNT/.piauth/migrate" now
is "pi's login" "$(decision pi anthropic)" 'anthropic|already_there|'
is "Claude Code's" "$(decision claude-code claudeAiOauth)" 'anthropic@claude-code|already_there|'
is "a key" "$(decision pi groq)" 'groq|already_there|'
is "no profile has changed" "$(profiles)" "$generations"
is "as many records" "$(records | wc -l)" "$same"
is "no file was changed" "$(files)" "$before"

note "the command"
run 0 migrate
ok "a table of files" grep -qE '^claude-code +/.*credentials.json +found$' "$out"
ok "and of entries" grep -qE '^pi +groq +groq +api_key +already there' "$out"
run 0 migrate --json
is "JSON" "$(json_get command <"$out")" now
run 0 migrate --from "$home/.codex/auth.json"
is "one file" "$(report | python3 -c 'import json, sys
print([f["tool"] for f in json.load(sys.stdin)["files"]])')" "['codex']"
for wrong in "groq" "--take-over --give-back" "--backup" "--take-over --dry-run" "--give-back --from /"; do
	read -ra words <<<"$wrong"
	run 2 migrate "${words[@]}"
done
run 1 migrate --take-over nosuchprovider

note "what the store holds wins"
newer=$(secret newer)
ok "a key by hand" put "$MNT/groq/api-key" "$newer"
ok "now" put "$MNT/.piauth/migrate" now
is "is not replaced" "$(decision pi groq)|$(cat "$MNT/groq/key")" "groq|newer_here|another key is stored here|$newer"
ok "log out" rm "$MNT/kimi-for-coding/key"
ok "now" put "$MNT/.piauth/migrate" now
is "a logout is remembered" "$(decision pi kimi-coding)" 'kimi-for-coding|already_there|logged out here'
fails_with "Required key not available" cat "$MNT/kimi-for-coding/key"

note "after a restart"
last=$(report)
restart_piauth --legacy-home "$home"
is "the report is remembered" "$(report)" "$last"
is "and so are the logins" "$(cat "$MNT/anthropic@claude-code/key")" "$cc_access"

note "take-over"
run 0 migrate --take-over --backup anthropic
is "taken" "$(decision pi anthropic) $(decision claude-code claudeAiOauth)" \
	'anthropic|taken| anthropic@claude-code|taken|'
ok "how to point pi there" grep -qF "!cat $MNT/anthropic/key" "$out"
not_ok "pi's file holds no login of it" grep -qF "$pi_refresh" "$home/.pi/agent/auth.json"
is "the rest is left" "$(json_get groq/key <"$home/.pi/agent/auth.json")" "$groq"
is "Claude Code's holds none" "$(grep -cF "$cc_refresh" "$home/.claude/.credentials.json")" 0
is "a backup, ours alone" "$(stat -c %a "$home/.pi/agent/auth.json.piauth-backup")" 600
is "it is no logout" "$(cat "$MNT/anthropic/key")" "$pi_access"
is "no lock is left" "$(find "$home" -name '*.lock')" ""
run 0 migrate --take-over anthropic
ok "once" grep -q 'no login is linked' "$out"

note "give-back"
ok "give-back" put "$MNT/.piauth/migrate" "give-back anthropic"
is "pi's" "$(decision pi anthropic)" 'anthropic|given_back|'
is "it is there again" "$(json_get anthropic/refresh <"$home/.pi/agent/auth.json")" "$pi_refresh"
is "without what is ours alone" "$(json_get anthropic <"$home/.pi/agent/auth.json" | grep -c refreshed)" 0
ok "now" put "$MNT/.piauth/migrate" now
is "and linked" "$(profile_status anthropic links/0/state)" on

note "a writer that goes"
mkdir "$home/.pi/agent/auth.json.lock"
touch -d '+20 seconds' "$home/.pi/agent/auth.json.lock" # its holder is alive
python3 - "$MNT/.piauth/migrate" take-over <<'PY' &
import os, sys
os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())
PY
writer=$!
is_running() { [[ $(report | json_get state) == running ]]; }
ok "it waits for the tool" wait_until 20 is_running
is "valid tokens are served meanwhile" "$(timeout 5 cat "$MNT/anthropic/key")" "$pi_access"
kill -KILL "$writer"
is_gone() { [[ ! -e /proc/$writer || $(sed -n "s/^State:\t\(.\).*/\1/p" "/proc/$writer/status") == Z ]]; }
ok "SIGKILL ends the writer" wait_until 5 is_gone
{ wait "$writer"; } 2>/dev/null
is "the command goes on" "$(report | json_get state)" running
fails_with "Device or resource busy" put "$MNT/.piauth/migrate" now
rmdir "$home/.pi/agent/auth.json.lock"
is_done() { [[ $(report | json_get state) == migrated ]]; }
ok "to its end" wait_until 20 is_done
is "taken" "$(decision pi anthropic)" 'anthropic|taken|'
ok "give-back" put "$MNT/.piauth/migrate" give-back

note "skip"
stop_piauth
rm -r "$STORE"
start_piauth --legacy-home "$home"
ok "echo skip" put "$MNT/.piauth/migrate" skip
is "state" "$(report | json_get state)" skipped
stop_piauth
LEGACY_HOME=$home
start_piauth
is "is remembered" "$(report | json_get state)" skipped
is "nothing was imported" "$(ls "$MNT")" status
ok "it can be done all the same" put "$MNT/.piauth/migrate" now
is "everything is there" "$(cat "$MNT/anthropic/key")" "$pi_access"
stop_piauth

note "the first start imports"
rm -r "$STORE"
start_piauth
is "everything is there when it is ready" "$(cat "$MNT/anthropic/key")" "$pi_access"
is "state" "$(report | json_get state)" migrated
stop_piauth
rm -r "$STORE"
LEGACY_HOME=$T/empty
mkdir "$LEGACY_HOME"
start_piauth
is "nothing found anywhere" "$(report | json_get state)" not_needed
restart_piauth
is "is remembered too" "$(report | json_get state)" not_needed
stop_piauth

note "without a mount"
rm -r "$STORE"
export HOME=$home
export PIAUTH_MOUNT=$T/nothing
offline=(--store "$STORE" --key-file "$KEYFILE" --config "$CONFIG")
run 0 migrate --dry-run "${offline[@]}"
ok "it shows what would be" grep -qE '^pi +anthropic +anthropic +oauth +imported' "$out"
not_ok "and makes no store" test -e "$STORE"
run 0 migrate "${offline[@]}"
ok "it imports" grep -qE '^pi +anthropic +anthropic +oauth +imported' "$out"
is "into the store" "$("$PIAUTH" get anthropic "${offline[@]}")" "$pi_access"
