#!/bin/bash
# timeout: 60
# What another user can learn about the logins: nothing. Neither a name, nor a number, nor that something changed.
. "$(dirname "$0")/../lib/cases.sh"

STRANGER=65533:65533:100
look() { # all that can be asked about the mount point itself
	as "$STRANGER" stat -c '%i %h %s %b %a %u:%g %X %Y %Z' "$MNT"
	as "$STRANGER" stat -f -c '%b %f %a %c %d' "$MNT"
}
said() { as "$STRANGER" "$@" 2>&1; }
hidden() { # the same answer for what is stored, what is not, and what no one knows
	local node answer wanted="Permission denied"
	for node in groq xai nosuchprovider groq/key xai/key groq/api-key xai/api-key status .piauth .piauth/events; do
		answer=$(said stat -c %i "$MNT/$node")
		is "$1: $node" "${answer##*: }" "$wanted"
	done
	answer=$(said readlink -v "$MNT/grok")
	is "$1: an alias" "${answer##*: }" "$wanted"
}

start_piauth
before=$(look)
like "the mount point can be looked at" "$before" '^[0-9]+ '
hidden "nothing is stored"
second=$(date +%s)
ok "a key" put "$MNT/groq/api-key" "$(secret key)"
ok "a login" put_oauth anthropic "$(secret access)" "$(secret refresh)" $(($(now_ms) + 7200000))
ok "a provider" mkdir "$MNT/mine"
is "they are there" "$(ls "$MNT" | xargs)" "anthropic groq mine status"
wait_until 5 eval '(($(date +%s) > second))' # a time in seconds would show
hidden "something is stored"
is "the mount point looks as before" "$(look)" "$before"
ok "log out" rm "$MNT/groq/key"
is "and after a logout" "$(look)" "$before"
fails_with "Permission denied" as "$STRANGER" ls "$STORE"
fails_with "Permission denied" as "$STRANGER" cat "$KEYFILE"
