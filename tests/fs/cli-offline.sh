#!/bin/bash
# timeout: 60
# The client commands without a mount work on the store itself.
. "$(dirname "$0")/../lib/cases.sh"

need python3
out=$T/out
err=$T/err
runs=0
# run STATUS COMMAND ARGUMENT...: with this test's store; output in $out and $err.
run() {
	local wanted=$1 got
	env -i PATH="$PATH" LANG=C.UTF-8 HOME="$SERVER_HOME" PIAUTH_MOUNT="$MNT" \
		"$PIAUTH" "$2" --store "$STORE" --key-file "$KEYFILE" --config "$CONFIG" "${@:3}" >"$out" 2>"$err"
	got=$?
	is "piauth ${*:2}: exit status" "$got" "$wanted"
	runs=$((runs + 1))
	cp "$err" "$TEXT/$runs.err"
	[[ $2 == get ]] || cp "$out" "$TEXT/$runs.out"
}
says() { like "it says: $1" "$(cat "$err")" "$1"; }
valid_json() { ok "it is JSON" python3 -m json.tool "$out" /dev/null; }

key=$(secret key)
start_fake
use_fake groq

# Without a store.
run 1 get groq
not_ok "reading makes no store" test -e "$STORE"
run 1 status
run 1 store check
says 'there is no store'
run 1 logout groq
not_ok "nothing was made" test -e "$STORE" -o -e "$KEYFILE"
run 0 providers --json
valid_json
run 0 providers
not_ok "providers needs no store" test -e "$STORE"

# set makes it.
run 0 set groq <<<"$key"
is "the key file is made" "$(stat -c %a "$KEYFILE")" 400
is "and the store" "$(stat -c %a "$STORE")" 700
run 0 get groq
is "get" "$(cat "$out")" "$key"
run 0 get GROQ
run 3 get xai
says 'No credential is stored'
run 1 get nosuchprovider
run 0 set xai@work <<<"$key"
run 0 get grok:work
is "an account" "$(cat "$out")" "$key"
run 1 set groq <<<$'a\nb'
run 1 set groq </dev/null
run 0 get groq
is "what was refused changed nothing" "$(cat "$out")" "$key"
run 0 status
is "status" "$(tail -n +2 "$out" | cut -d' ' -f1 | xargs)" "groq xai@work"
run 0 status --json groq
is "status of one" "$(json_get auth_state <"$out")" api_key
run 3 status mistral
run 0 store check
run 0 store check --json
valid_json

# What is stored without a mount is served by one.
start_piauth
is "the mount serves it" "$(cat "$MNT/groq/key") $(cat "$MNT/xai@work/key")" "$key $key"
run 1 get groq
says 'held by pid'
stop_piauth

# A login that has expired is refreshed here, too, once.
pair=$(http "$FAKE_URL/ctl/groq/new" -d '{"expires_in": -1}')
expired=$(json_get access_token <<<"$pair")
json_make type=oauth "access=$expired" "refresh=$(json_get refresh_token <<<"$pair")" \
	"expires:=$(($(now_ms) - 1000))" >"$T/entry"
run 0 set --oauth groq <"$T/entry"
rm "$T/entry"
run 0 get groq
token=$(cat "$out")
isnt "get refreshes" "$token" "$expired"
run 0 get groq
is "once" "$(cat "$out") $(fake_get groq requests)" "$token 1"
start_piauth
is "the mount has the rotated login" "$(cat "$MNT/groq/key") $(fake_get groq requests)" "$token 1"
stop_piauth
run 0 logout groq
run 3 get groq
run 0 logout groq

# A dead mount is told, not worked around.
start_piauth
kill_piauth keep
env -i PATH="$PATH" HOME="$SERVER_HOME" PIAUTH_MOUNT="$MNT" "$PIAUTH" get xai@work >"$out" 2>"$err"
is "get at a dead mount: exit status" $? 4
says 'is dead'
is "nothing was printed" "$(cat "$out")" ""
umount "$MNT"

# Another user has a store of his own, where the XDG directories say.
install -m 0755 "$PIAUTH" "$T/piauth"
install -d -o 65534 -g 65534 -m 0700 "$T/user"
user() {
	as 65534 env -i PATH="$PATH" LANG=C.UTF-8 HOME="$T/user" XDG_RUNTIME_DIR="$T/user" "${user_env[@]}" "$T/piauth" "$@"
}
user_env=()
cd "$T" || exit 1 # where that user may be
user status >"$out" 2>"$err"
is "without mount and store: exit status" $? 4
says 'nothing is mounted at .*/user/piauth'
ok "set" user set groq <<<"$key"
is "the store is in his home" "$(find user -name keyslots.json -o -name store.key | sort | xargs)" \
	"user/.config/piauth/store.key user/.local/share/piauth/keyslots.json"
is "get" "$(user get groq)" "$key"
user_env=(XDG_DATA_HOME="$T/user/data" XDG_CONFIG_HOME="$T/user/conf")
ok "set elsewhere" user set xai <<<"$key"
is "the variables count" "$(find user/data user/conf -name keyslots.json -o -name store.key | sort | xargs)" \
	"user/conf/piauth/store.key user/data/piauth/keyslots.json"
user get groq >"$out" 2>"$err"
is "two stores: exit status" $? 3
