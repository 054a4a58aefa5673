#!/bin/bash
# timeout: 60
# A key comes, is read, and goes; the files and their numbers stay.
. "$(dirname "$0")/../lib/cases.sh"

PARTS=(. key oauth header env status refresh mode account base-url expires generation)

inodes() {
	local part
	for part in "${PARTS[@]}"; do stat -c '%n %i' "$MNT/$1/$part"; done
	stat -c '%n %i' "$MNT" "$MNT/status" "$MNT/.piauth" "$MNT/.piauth/"{version,events,metrics,providers.json,audit}
}

absent() { # WHEN
	fails_with "Required key not available" cat "$MNT/groq/key"
	fails_with "Required key not available" cat "$MNT/groq/header"
	fails_with "Required key not available" cat "$MNT/groq/env"
	not_ok "$1: test -s" test -s "$MNT/groq/key"
	is "$1: st_size" "$(stat -c %s "$MNT/groq/key" "$MNT/groq/header" "$MNT/groq/env")" $'0\n0\n0'
	not_ok "$1: no api-key" test -e "$MNT/groq/api-key"
	is "$1: not listed" "$(ls "$MNT")" status
	is "$1: inodes" "$(inodes groq)" "$numbers"
}

present() { # WHEN KEY
	is "$1: cat prints the key and no newline" "$(cat "$MNT/groq/key" && echo .)" "$2."
	ok "$1: test -s" test -s "$MNT/groq/key"
	is "$1: st_size" "$(stat -c %s "$MNT/groq/key")" "${#2}"
	ok "$1: api-key is there" test -e "$MNT/groq/api-key"
	fails_with "Permission denied" cat "$MNT/groq/api-key"
	is "$1: listed" "$(xargs < <(ls "$MNT"))" "groq status"
	is "$1: inodes" "$(inodes groq)" "$numbers"
}

start_piauth
numbers=$(inodes groq)
is "every file has a number of its own" "$(cut -d' ' -f2 <<<"$numbers" | sort | uniq -d)" ""
absent "at first"
key=$(secret one)
ok "log in" put "$MNT/groq/api-key" "$key"
present "stored" "$key"
restart_piauth
present "after a restart" "$key"

ok "log out" rm "$MNT/groq/key"
absent "logged out"
ok "log out again" rm "$MNT/groq/key"
restart_piauth
absent "logged out, after a restart"

key=$(secret two)
ok "log in again" put "$MNT/groq/api-key" "$key"
present "stored again" "$key"
fails_with "Device or resource busy" rm -rf "$MNT/groq"
absent "after rm -rf"
ok "log in a third time" put "$MNT/groq/api-key" "$key"
present "stored after rm -rf" "$key"
kill_piauth
start_piauth
present "after SIGKILL" "$key"
fails_with "Required key not available" cat "$MNT/xai/key"

# Both kinds side by side: `rm api-key` forgets the key only, `rm key` both.
token=$(secret token)
ok "store a login beside the key" put_oauth groq "$token" "$(secret refresh)" $(($(now_ms) + 7200000))
is "what was stored last is served" "$(cat "$MNT/groq/key")" "$token"
ok "forget the key" rm "$MNT/groq/api-key"
not_ok "api-key is gone" test -e "$MNT/groq/api-key"
fails_with "No such file" rm "$MNT/groq/api-key"
is "the login is left" "$(cat "$MNT/groq/key")" "$token"
ok "store the key again" put "$MNT/groq/api-key" "$key"
ok "log out" rm "$MNT/groq/key"
absent "logged out of both"
restart_piauth
absent "logged out of both, after a restart"
