#!/bin/bash
# timeout: 60
# The client commands through a mount: what they print, and their exit status.
. "$(dirname "$0")/../lib/cases.sh"

need python3
out=$T/out
err=$T/err
# run STATUS ARGUMENT...: runs piauth; its output is in $out and $err then.
run() {
	local wanted=$1 got
	shift
	pia "$@" >"$out" 2>"$err"
	got=$?
	is "piauth $*: exit status" "$got" "$wanted"
	runs=$((runs + 1))
	cp "$err" "$TEXT/$runs.err"
	[[ ${1:-} == get ]] || cp "$out" "$TEXT/$runs.out"
}
runs=0
says() { like "it says: $1" "$(cat "$err")" "$1"; }
valid_json() { ok "it is JSON" python3 -m json.tool "$out" /dev/null; }

start_fake
use_fake groq
start_piauth
key=$(secret key)
login=$(json_make type=oauth "access=$(secret access)" "refresh=$(secret refresh)" "expires:=$(($(now_ms) + 7200000))")

run 0 version
like "version" "$(cat "$out")" '^piauth [0-9]+\.[0-9]+\.[0-9]+$'
run 0 --version
run 0 help
ok "help names the commands" grep -qw providers "$out"
run 0 help set
ok "help of one" grep -q -- --oauth "$out"
run 0 status --help
run 2
run 2 nosuchcommand
says 'no command nosuchcommand'
for command in login exec env reload; do
	run 2 "$command"
	says 'later version'
done
run 2 help nosuchcommand

# status
run 0 status
says 'no credential is stored'
is "nothing on standard output" "$(cat "$out")" ""
run 3 status groq
run 3 status --json groq
valid_json
is "state" "$(json_get state <"$out")" none
run 1 status nosuchprovider
says 'no such provider'
run 1 status antropic
says 'did you mean anthropic\?'
run 2 status groq xai
run 2 status --nosuchoption

# set
run 0 set groq <<<"$key"
is "nothing is printed" "$(cat "$out" "$err")" ""
is "it is stored" "$(cat "$MNT/groq/key")" "$key"
run 0 set grok < <(printf '%s' "$key")
is "through an alias, without a newline" "$(cat "$MNT/xai/key")" "$key"
run 0 set openai@work < <(printf '%s\r\n' "$key")
is "an account, CR LF" "$(cat "$MNT/openai@work/key")" "$key"
run 0 set --oauth anthropic <<<"$login"
is "a login" "$(cat "$MNT/anthropic/key")" "$(json_get access <<<"$login")"
run 0 set anthropic@two --oauth < <(python3 -m json.tool <<<"$login")
is "a login of several lines" "$(cat "$MNT/anthropic@two/key")" "$(json_get access <<<"$login")"
allow_canary cmdline # of the client, for a moment
run 2 set groq "$key"
says 'not taken from the command line'
not_ok "and is not repeated" grep -q "$CANARY" "$err" "$out"
run 2 set "--key=$key" groq
not_ok "nor as an option" grep -q "$CANARY" "$err" "$out"
run 2 set
run 1 set groq </dev/null
says 'empty'
run 1 set groq <<<''
run 1 set groq <<<$'a\nb'
run 1 set groq < <(printf 'a\0b')
run 1 set groq < <(head -c 20000 /dev/zero | tr '\0' x)
says 'too long'
run 1 set --oauth groq <<<"$key"
not_ok "what was refused is not repeated" grep -q "$CANARY" "$err"
is "the stored key is as it was" "$(cat "$MNT/groq/key")" "$key"
run 1 set nosuchprovider <<<"$key"
says 'no such provider'
run 1 set ../etc <<<"$key"
run 1 set .piauth <<<"$key"
run 1 set '' <<<"$key"

# get
run 0 get groq
is "the key, without a newline" "$(cat "$out" && echo .)" "$key."
run 0 get XAI
run 0 get openai:work
run 3 get mistral
says 'No credential is stored'
says 'echo KEY'
is "nothing on standard output" "$(cat "$out")" ""
run 1 get nosuchprovider
run 2 get
run 2 get groq xai
run 1 get groq/../groq
if [[ -e /dev/full ]]; then
	pia get groq >/dev/full 2>"$err"
	is "a full disk is a failure" $? 1
fi

# status, when something is there
run 0 status
like "a table" "$(head -n 1 "$out")" '^PROFILE +AUTH +STATE +EXPIRES +LAST ERROR'
is "a row for each" "$(tail -n +2 "$out" | cut -d' ' -f1 | xargs)" "anthropic anthropic@two groq openai@work xai"
not_ok "no colour where no terminal is" grep -q $'\033' "$out"
like "when it expires" "$(grep '^anthropic ' "$out")" 'oauth +valid +in 1[12][0-9] min'
run 0 status groq
run 0 status --json
valid_json
is "as in the mount" "$(python3 -c 'import json, sys
print(*[row["profile"] for row in json.load(sys.stdin) if row["auth_state"] != "none"])' <"$out")" \
	"anthropic anthropic@two groq openai@work xai"
run 0 status --json xai
is "one" "$(json_get auth_state <"$out")" api_key

# What the provider said reaches the user.
fake_login groq groq '{"expires_in": -1}'
fake_do groq revoke
run 1 get groq
says 'refresh token is no longer accepted'
says 'Log in again'
run 0 status
like "status shows it" "$(grep '^groq ' "$out")" 'dead .*auth.oauth.token_refresh_failed'
run 0 status groq
like "with a sentence" "$(cat "$out")" 'no longer accepted.*HTTP 400'

# providers
run 0 providers
is "one line for each" "$(tail -n +2 "$out" | wc -l)" "$(python3 -c 'import json, sys
print(len(json.load(sys.stdin)))' <"$MNT/.piauth/providers.json")"
like "with its variable" "$(grep '^groq ' "$out")" 'GROQ_API_KEY'
run 0 providers --json
valid_json
run 2 providers groq

# logout
run 0 logout groq
not_ok "logged out" test -s "$MNT/groq/key"
run 0 logout groq
run 0 logout GROK
not_ok "through an alias" test -s "$MNT/xai/key"
run 1 logout nosuchprovider
run 2 logout
run 0 logout openai@work
run 2 logout openai xai

# doctor
run 0 doctor --json || cat "$out"
valid_json
is "levels" "$(python3 -c 'import json, sys
print(*sorted({row["level"] for row in json.load(sys.stdin)} - {"note"}))' <"$out")" ok
run 0 doctor
like "the mount is found" "$(cat "$out")" "ok +mount +$MNT is served"
run 2 doctor groq

# on a terminal
cat >"$T/terminal.py" <<'PY'
"""terminal.py TYPED COMMAND...: runs COMMAND on a terminal, types TYPED when it asks; prints what the screen shows."""
import os
import pty
import select
import sys

typed, command = sys.argv[1].encode().decode("unicode_escape").encode(), sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
screen = b""
while True:
    if not select.select([master], [], [], 30)[0]:
        sys.exit("no end within 30 s")
    try:
        part = os.read(master, 4096)
    except OSError:
        part = b""
    if not part:
        break
    screen += part
    if typed and b": " in screen:
        os.write(master, typed)
        typed = b""
_, status = os.waitpid(pid, 0)
print(screen.decode(), end="")
sys.exit(os.waitstatus_to_exitcode(status) % 256)
PY
terminal() { # TYPED ARGUMENT...
	env -i PATH="$PATH" LANG=C.UTF-8 TERM=xterm HOME="$SERVER_HOME" PIAUTH_MOUNT="$MNT" ${plain:+NO_COLOR=1} \
		python3 -S -E "$T/terminal.py" "$1" "$PIAUTH" "${@:2}"
}
said=$(terminal "$key\\r" set groq)
is "set asks on a terminal" $? 0
like "with a question" "$said" 'Key for groq'
not_ok "the key is not shown" grep -q "$CANARY" <<<"$said"
is "and is stored" "$(cat "$MNT/groq/key")" "$key"
said=$(terminal '\x03' set groq)
isnt "Ctrl-C ends it" $? 0
is "and nothing was stored" "$(cat "$MNT/groq/key")" "$key"
terminal '\r' set groq >"$out"
is "nothing entered is a failure" $? 1
is "get ends the line on a terminal" "$(terminal '' get groq)" "$key"$'\r'
ok "colours on a terminal" grep -q $'\033\[' <<<"$(terminal '' status)"
plain=1
not_ok "but not with NO_COLOR" grep -q $'\033\[' <<<"$(terminal '' status)"
