# shellcheck shell=bash disable=SC2034
# pi and its auth.json, which a server shares a login with. Sourced after cases.sh.
#
#     pi_home DIR          a home directory of pi; its file is then $AUTH. The server's: LEGACY_HOME=DIR
#     pi_file JSON         makes $AUTH, formatted as pi formats it
#     pi_pair ACCOUNT [BEHAVIOUR]  a new login of the fake provider: sets ACCESS, REFRESH and EXPIRES
#     pi_oidc [SECONDS]    a new login of oidc-provider; sets GRANT too
#     pi_login [MEMBER...] the entry that pi keeps for ACCESS, REFRESH and EXPIRES
#     pi_has PATH          what $AUTH has there;  pi_set PATH JSON   changes it, in place, as an editor does
#     use_real_pi          before: pi_install. new_pi is pi 1.5.2, old_pi PROVIDER what 0.73.1 sends;
#                          PI_ENDPOINT is where they refresh, every other address is out of reach
#     pi_takes_lock        stock proper-lockfile holds the lock with pi's options, until
#     pi_gives_lock        (the answer is in $lock_answer) or pi_dies (kill -9)
#     link_of PROFILE FIELD [N]   of the N-th link (0) in status;  report PATH   of .piauth/migrate
#     decision NAME [FIELD]       what the report says about an entry

PI_MODULES=
PI_ENDPOINT=
PI_HOME=
AUTH=

pi_install() {
	need node npm
	PI_MODULES=$("$CASES/pi-install") || bail "cannot install pi"
}

pi_home() {
	PI_HOME=$1
	AUTH=$1/.pi/agent/auth.json
	mkdir -p "$1"
	(umask 077 && mkdir -p "$1/.pi/agent")
}

pi_file() {
	(umask 077 && python3 -S -E -c 'import json, sys
sys.stdout.write(json.dumps(json.loads(sys.argv[1]), indent=2))' "$1" >"$AUTH") || bail "pi_file"
}

pi_pair() {
	local pair
	pair=$(http "$FAKE_URL/ctl/$1/new" -d "${2:-}") || bail "pi_pair $*"
	take_pair "$pair"
}

pi_oidc() {
	local pair
	pair=$(oidc_ctl "new?ttl=${1:-0}") || bail "pi_oidc $*"
	GRANT=$(json_get grant <<<"$pair")
	take_pair "$pair"
}

take_pair() {
	ACCESS=$(json_get access_token <<<"$1")
	REFRESH=$(json_get refresh_token <<<"$1")
	EXPIRES=$(($(now_ms) + $(json_get expires_in <<<"$1") * 1000))
}

pi_login() { json_make type=oauth "refresh=$REFRESH" "access=$ACCESS" "expires:=$EXPIRES" "$@"; }

pi_has() { json_get "$1" <"$AUTH" 2>/dev/null; }
pi_is() { [[ $(pi_has "$1") == "$2" ]]; }
pi_set() { python3 -S -E "$CASES/jsonpath.py" set "$AUTH" "$1" "$2" || bail "pi_set $1"; }
pi_forget() { # NAME: the entry is taken out
	python3 -S -E -c 'import json, sys
whole = json.load(open(sys.argv[1]))
del whole[sys.argv[2]]
open(sys.argv[1], "w").write(json.dumps(whole, indent=2))' "$AUTH" "$1" || bail "pi_forget $1"
}

# ---- the real ones -----------------------------------------------------------------------------------

pi_run() { # NODE SCRIPT ARG...
	env -i PATH="$PATH" HOME="$PI_HOME" PI_TEST_TOKEN_ENDPOINT="$PI_ENDPOINT" PI_OFFLINE=1 \
		"$PI_MODULES/$1" --import "$TOP/tests/pi/endpoint.mjs" "${@:2}"
}

new_pi() { pi_run node "$PI_MODULES/pi-new/dist/bundle/cli.js" "$@"; }
old_pi() { pi_run node-old "$TOP/tests/pi/old-pi.mjs" "$PI_MODULES" "$AUTH" "$@"; }

# ---- their lock --------------------------------------------------------------------------------------

pi_takes_lock() { # [FILE]
	coproc PI_LOCK { exec "$PI_MODULES/node-old" "$TOP/tests/pi/hold.mjs" "$PI_MODULES" "${1:-$AUTH}"; }
	pi_lock_pid=$PI_LOCK_PID
	exec {pi_lock_in}>&"${PI_LOCK[1]}"- {pi_lock_out}<&"${PI_LOCK[0]}"-
	IFS= read -r -t 40 lock_answer <&"$pi_lock_out" && [[ $lock_answer == held ]] || bail "hold.mjs: no lock"
}

pi_gives_lock() {
	exec {pi_lock_in}>&-
	IFS= read -r -t 40 lock_answer <&"$pi_lock_out"
	wait "$pi_lock_pid"
}

pi_dies() {
	{ kill -KILL "$pi_lock_pid" && wait "$pi_lock_pid"; } 2>/dev/null
	exec {pi_lock_in}>&- {pi_lock_out}<&-
}

is_locked() { [[ -e ${1:-$AUTH}.lock || -L ${1:-$AUTH}.lock ]]; }
is_unlocked() { ! is_locked "$@"; }

# A dead holder's lock grows old: mtime goes back instead of the test waiting.
lock_ages() { touch -d "@$(($(date +%s) - ${1:-60}))" "$AUTH.lock"; } # [SECONDS]

# ---- what the server says about it ---------------------------------------------------------------------

link_of() { profile_status "$1" "links/${3:-0}/$2" 2>/dev/null; }
link_is() { [[ $(link_of "$1" "$2") == "$3" ]]; }    # PROFILE FIELD TEXT
link_like() { [[ $(link_of "$1" "$2") =~ $3 ]]; }    # PROFILE FIELD REGEX
report() { json_get "$1" <"$MNT/.piauth/migrate"; }
decision() { # NAME [FIELD]
	python3 -S -E -c 'import json, sys
for entry in json.load(sys.stdin)["entries"]:
    if entry["name"] == sys.argv[1]:
        print(entry.get(sys.argv[2], ""))' "$1" "${2:-decision}" <"$MNT/.piauth/migrate"
}
file_state() { # PATH [FIELD]
	python3 -S -E -c 'import json, sys
for file in json.load(sys.stdin)["files"]:
    if file["path"] == sys.argv[1]:
        print(file.get(sys.argv[2], ""))' "$1" "${2:-state}" <"$MNT/.piauth/migrate"
}

# ---- a login that two share ----------------------------------------------------------------------------

generation_above() { (($(<"$MNT/$1/generation") > $2)); } # PROFILE GENERATION

# in_file PROFILE TOKEN: the file has this pair's access token, and the server serves it.
in_file() { pi_is "$1/access" "$2"; }

# What is in the directory beside the file: nothing of ours stays there.
beside() { (cd "$(dirname "$AUTH")" && find . -mindepth 1 -printf '%P\n' | sort | xargs); }
