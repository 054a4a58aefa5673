#!/bin/bash
# timeout: 120
# Files of other tools that cannot be used: the mount starts, each is named with the reason, nothing is written
# to it, and nothing else is lost.
. "$(dirname "$0")/../lib/cases.sh"

need python3 setpriv
umask 077
secret=$(secret key)
hide=$T/hidden # directories that only root may enter
mkdir "$hide"
report() { cat "$MNT/.piauth/migrate"; }
file_is() { # PATH-END: "state|reason|offset"
	report | python3 -c '
import json, sys
for f in json.load(sys.stdin)["files"]:
    if f["path"].endswith(sys.argv[1]):
        print(f["state"], f.get("reason", ""), f.get("offset", ""), sep="|")
        break' "$1"
}
# home NAME: a new home with a good file of codex beside what will be bad
new_home() {
	LEGACY_HOME=$T/$1
	auth=$LEGACY_HOME/.pi/agent/auth.json
	mkdir -p "$LEGACY_HOME/.pi/agent" "$LEGACY_HOME/.codex"
	printf '{"OPENAI_API_KEY":"%s"}' "$secret" >"$LEGACY_HOME/.codex/auth.json"
}
digest() { (cd "$LEGACY_HOME" && find . -type f -exec sha256sum {} + -o -printf '%p %y\n' | sort); }
# imported WHAT STATE-REGEX [SERVED]: starts, and the file stands so, and codex's key is there all the same
imported() {
	local before
	before=$(digest)
	rm -rf "$STORE"
	start_piauth
	like "$1" "$(file_is .pi/agent/auth.json)" "$2"
	is "$1: the other tool's key is there" "$(cat "$MNT/openai/key")" "$secret"
	is "$1: nothing is written" "$(digest)" "$before"
	if [[ -n ${3:-} ]]; then
		is "$1: it is served" "$(cat "$MNT/$3/key")" "$secret"
	else
		is "$1: nothing comes of it" "$(cd "$MNT" && echo *)" "openai status"
	fi
	local rc state
	PIAUTH_MOUNT=$MNT "$PIAUTH" migrate >"$T/out" 2>&1
	rc=$?
	state=$(file_is .pi/agent/auth.json)
	state=${state%%|*}
	ok "$1: the table says so" grep -qE "^pi +/.*/[.]pi/agent/auth[.]json +$state" "$T/out"
	case $state in
	corrupt | unreadable) is "$1: exit code" "$rc" 1 ;;
	*) is "$1: exit code" "$rc" 0 ;;
	esac
	stop_piauth
}

new_home missing
rm -r "$LEGACY_HOME/.pi"
imported "no directory" '^absent\|'

new_home empty
: >"$auth"
imported "0 bytes" '^corrupt\|.*empty'

new_home bom
printf '\xef\xbb\xbf{"groq":{"type":"api_key","key":"%s"}}' "$secret" >"$auth"
imported "a byte order mark" '^found\|' groq

new_home truncated
printf '{"groq":{"type":"api_key","key":"%s' "$secret" >"$auth"
imported "truncated" "^corrupt\|.*\|$(stat -c %s "$auth")$"

new_home big
{
	printf '{"groq":{"type":"api_key","key":"%s"},"pad":"' "$secret"
	head -c 10000000 /dev/zero | tr '\0' x
	printf '"}'
} >"$auth"
imported "10 MB" '^unreadable\|'

new_home deep
python3 -c 'print("{\"a\":" * 2000 + "1" + "}" * 2000)' >"$auth"
imported "2000 levels" '^corrupt\|'

new_home twice
printf '{"groq":{"type":"api_key","key":"%s"},"groq":{"type":"api_key","key":"%s"}}' "$secret" "$secret" >"$auth"
imported "a name twice" '^corrupt\|'

new_home array
printf '[1,2,3]' >"$auth"
imported "an array" '^corrupt\|'

new_home types
printf '{"groq":{"type":"api_key","key":7},"xai":[],"mistral":{"type":"oauth","access":1},"zai":{"type":7},"cerebras":"%s"}' \
	x >"$auth"
imported "wrong types" '^found\|'

new_home directory
mkdir "$auth"
imported "a directory" '^unreadable\|'

new_home fifo
mkfifo "$auth"
imported "a FIFO" '^unreadable\|'

new_home dangling
ln -s /nonexistent/auth.json "$auth"
imported "a link to nothing" '^(absent|unreadable)\|'

note "read-only directory"
new_home readonly
printf '{"groq":{"type":"api_key","key":"%s"}}' "$secret" >"$auth"
mkdir "$T/ro"
mount --bind "$LEGACY_HOME" "$T/ro" 2>/dev/null || skip_mount "no bind mounts here"
mount -o remount,bind,ro "$T/ro"
plain=$LEGACY_HOME
LEGACY_HOME=$T/ro
rm -rf "$STORE"
start_piauth
is "it is imported" "$(cat "$MNT/groq/key")" "$secret"
PIAUTH_MOUNT=$MNT "$PIAUTH" migrate --take-over groq >"$T/out" 2>&1
is "take-over fails" "$?" 1
like "and says why" "$(grep -E '^pi +groq' "$T/out")" 'failed.*[Rr]ead-only'
is "the file is whole" "$(json_get groq/key <"$plain/.pi/agent/auth.json")" "$secret"
is "the key is served" "$(cat "$MNT/groq/key")" "$secret"
stop_piauth
umount "$T/ro"

note "no home"
LEGACY_HOME=$T/nowhere
rm -rf "$STORE"
start_piauth
is "it starts" "$(report | json_get state)" not_needed
stop_piauth

note "a file that its owner cannot read"
new_home locked
printf '{"groq":{"type":"api_key","key":"%s"}}' "$secret" >"$hide/auth.json"
ln -s "$hide/auth.json" "$auth"
chown -R 1234:1234 "$LEGACY_HOME"
chmod 0711 "$T"
rm -rf "$STORE"
start_piauth --owner 1234
like "unreadable" "$(file_is .pi/agent/auth.json)" '^unreadable\|.*[Pp]ermission'
is "the other tool's key is there" "$(cat "$MNT/openai/key")" "$secret"
