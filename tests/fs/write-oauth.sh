#!/bin/bash
# timeout: 60
# A login is one JSON entry written to `oauth`, by whatever program; what is none changes nothing.
. "$(dirname "$0")/../lib/cases.sh"

need python3
start_piauth
file=$MNT/anthropic/oauth
soon=$(($(now_ms) + 7200000))

new_entry() { # sets access and entry
	access=$(secret "access$CHECKS")
	entry=$(json_make type=oauth "access=$access" "refresh=$(secret refresh)" "expires:=$soon")
}
pretty() { python3 -m json.tool <<<"$entry"; }
stores() { # WHAT COMMAND...
	local what=$1
	shift
	new_entry
	if "$@"; then is "$what" "$(cat "$MNT/anthropic/key")" "$access"; else failed "$what: exit $?"; fi
}
with_echo() { echo "$entry" >"$file"; }
with_printf() { printf '%s' "$entry" >"$file"; }
with_cat() { cat <<<"$entry" >"$file"; }
with_pretty() { pretty >"$file"; }
with_pretty_crlf() { pretty | sed 's/$/\r/' >"$file"; }
with_tee() { tee "$file" <<<"$entry" >/dev/null; }
with_cp() { (umask 077 && echo "$entry" >"$T/entry") && cp "$T/entry" "$file"; }
with_dd() { dd "$@" of="$file" status=none <<<"$entry"; }
with_lines() { while read -r line; do echo "$line"; done < <(pretty) >"$file"; }
with_install() { echo "$entry" >"$T/entry" && install -m 0600 "$T/entry" "$file"; }

stores "echo" with_echo
stores "printf without a newline" with_printf
stores "cat" with_cat
stores "several lines" with_pretty
stores "several lines with CR LF" with_pretty_crlf
stores "tee" with_tee
stores "cp" with_cp
stores "dd" with_dd
stores "dd bs=1" with_dd bs=1
stores "dd bs=7" with_dd bs=7
stores "a write for every line" with_lines

is "it is a login" "$(profile_status anthropic auth_state)" oauth
is "expires" "$(cat "$MNT/anthropic/expires")" "$soon"
is "status has it" "$(profile_status anthropic expires_ms)" "$soon"
not_ok "it is no api-key" test -e "$MNT/anthropic/api-key"
fails_with "Permission denied" cat "$file"
is "oauth has no size" "$(stat -c %s "$file")" 0

# What is no login.
old=$access
long=$(head -c 25000 /dev/zero | tr '\0' x)
refuse() { # MESSAGE WHAT TEXT
	text=$3
	fails_with "$1" write_text
	is "after $2: the old login" "$(cat "$MNT/anthropic/key")" "$old"
	is "after $2: its expiry" "$(cat "$MNT/anthropic/expires")" "$soon"
}
write_text() { printf '%s' "$text" | cat >"$file"; }
refuse "Invalid argument" "no JSON" 'hello'
refuse "Invalid argument" "an empty line" $'\n'
refuse "Invalid argument" "a list" '[{"type":"oauth","access":"a"}]'
refuse "Invalid argument" "a text" '"oauth"'
refuse "Invalid argument" "an empty object" '{}'
refuse "Invalid argument" "a type alone" '{"type":"oauth"}'
refuse "Invalid argument" "an unknown type" '{"type":"mystery","access":"a","refresh":"r","expires":1}'
refuse "Invalid argument" "a number for a token" '{"type":"oauth","access":1,"refresh":"r","expires":1}'
refuse "Invalid argument" "an empty token" '{"type":"oauth","access":"","refresh":"","expires":1}'
refuse "Invalid argument" "a token with a newline" '{"type":"oauth","access":"a\nb","refresh":"r","expires":1}'
refuse "Invalid argument" "a text for expires" '{"type":"oauth","access":"a","refresh":"r","expires":"soon"}'
refuse "Invalid argument" "half of an entry" '{"type":"oauth","access":"a'
refuse "Invalid argument" "two entries" "$entry$entry"
refuse "Invalid argument" "something behind it" "$entry x"
refuse "Invalid argument" "a command instead of a key" '{"type":"api_key","key":"!pass show key"}'
refuse "Invalid argument" "a variable instead of a key" '{"type":"api_key","key":"$GROQ_API_KEY"}'
refuse "File too large" "25,000 bytes" "{\"type\":\"oauth\",\"access\":\"$long\",\"refresh\":\"r\",\"expires\":1}"
printf '{"type":"oauth","access":"a' >"$file"
is "half of an entry from the shell changes nothing" "$(cat "$MNT/anthropic/key")" "$old"
: >"$file"
is "no entry from the shell changes nothing" "$(cat "$MNT/anthropic/key")" "$old"
restart_piauth
is "after a restart: the old login" "$(cat "$MNT/anthropic/key")" "$old"

# The other entries of pi's auth.json.
key=$(secret key)
ok "an api_key entry" put "$file" "$(json_make type=api_key "key=$key")"
is "is a key" "$(cat "$MNT/anthropic/key") $(profile_status anthropic auth_state)" "$key api_key"
ok "the login is kept beside it" put "$MNT/anthropic/mode" oauth
is "and can be chosen" "$(cat "$MNT/anthropic/key")" "$old"
ok "auto again" put "$MNT/anthropic/mode" auto

stores "a login beside the key" with_echo
old=$(cat "$MNT/anthropic/key")
ok "rm oauth" rm "$file"
ok "the file is still there" test -e "$file"
is "and nothing was forgotten" "$(cat "$MNT/anthropic/key")" "$old"

# The file is always there, so what unlinks first and then insists on making a new one cannot store: nothing
# may be lost by trying.
fails_with "File exists" with_install
is "install has forgotten nothing" "$(cat "$MNT/anthropic/key")" "$old"

# A token that never expires, and one without expiry.
ok "expires 2^53-1" put "$file" "$(json_make type=oauth "access=$access" "refresh=r$CANARY" expires:=9007199254740991)"
is "is never" "$(cat "$MNT/anthropic/expires")" 0
is "and is served" "$(cat "$MNT/anthropic/key")" "$access"
