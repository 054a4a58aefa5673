#!/bin/bash
# timeout: 60
# Who may do what: the owner and root, members of the group, everybody else.
. "$(dirname "$0")/../lib/cases.sh"

need python3
GROUP=44444
NOBODY=65534
MEMBER=65534:65534:$GROUP # by a supplementary group
PRIMARY=65534:$GROUP      # by the primary one
STRANGER=65533:65533:100
key=$(secret key)

put_as() { as "$1" bash -c 'echo "$2" >"$1"' - "$2" "$3"; } # WHO FILE VALUE

may_nothing() { # WHO
	fails_with "Permission denied" as "$1" ls "$MNT"
	fails_with "Permission denied" as "$1" cat "$MNT/groq/key"
	fails_with "Permission denied" as "$1" cat "$MNT/groq/header"
	fails_with "Permission denied" put_as "$1" "$MNT/groq/refresh" 1
	fails_with "Permission denied" as "$1" cat "$MNT/.piauth/audit"
	may_change_nothing "$1"
}

may_change_nothing() { # WHO
	local node
	for node in groq/api-key groq/oauth groq/mode mistral/api-key azure-openai/base-url; do
		fails_with "Permission denied" put_as "$1" "$MNT/$node" https://llm.example.org
	done
	for node in groq/key groq/api-key groq/oauth; do
		fails_with "Permission denied" as "$1" rm -f "$MNT/$node"
	done
	fails_with "Permission denied" as "$1" mkdir "$MNT/planted"
	fails_with "Permission denied" as "$1" rmdir "$MNT/mine"
	fails_with "" as "$1" chmod 0777 "$MNT/groq/key"
	fails_with "" as "$1" touch "$MNT/groq/key"
	is "nothing was changed" "$(cat "$MNT/groq/key") $(cat "$MNT/groq/mode") $(xargs < <(ls "$MNT"))" \
		"$key auto groq mine status"
}

may_not_see() { # WHO NODE...
	local node
	for node in "${@:2}"; do fails_with "Permission denied" as "$1" cat "$MNT/$node"; done
}

start_piauth
ok "store a key" put "$MNT/groq/api-key" "$key"
ok "a provider" mkdir "$MNT/mine"
is "modes" "$(stat -c '%a %u:%g' "$MNT" "$MNT/groq" "$MNT/groq/key" "$MNT/groq/refresh" "$MNT/groq/status" | xargs)" \
	"500 0:0 700 0:0 400 0:0 200 0:0 444 0:0"
for who in "$NOBODY" "$MEMBER" "$STRANGER"; do may_nothing "$who"; done
may_not_see "$NOBODY" status groq/status .piauth/version
is "anybody may look at the mount point itself" "$(as "$NOBODY" stat -c %a "$MNT")" 500
is "the refused opens are in the audit trail" \
	"$(grep -c '"uid":65533,.*"result":"EACCES"' "$MNT/.piauth/audit" | sed 's/^[1-9].*/some/')" some

# Names that the kernel knows already are no way in.
cat "$MNT/groq/key" "$MNT/groq/status" >"$T/warm"
may_not_see "$NOBODY" groq/key groq/status
exec {held}<"$MNT/groq" # nor is a directory that somebody else has opened
not_ok "through an open directory" as "$NOBODY" ls "/proc/self/fd/$held/" 2>/dev/null
exec {held}<&-

# --group
restart_piauth --group "$GROUP"
is "modes for a group" \
	"$(cd "$MNT" && stat -c '%a %u:%g' . groq groq/key groq/refresh groq/api-key .piauth/audit | xargs)" \
	"550 0:$GROUP 750 0:$GROUP 440 0:$GROUP 220 0:$GROUP 200 0:$GROUP 400 0:$GROUP"
for who in "$MEMBER" "$PRIMARY"; do
	is "$who reads key" "$(as "$who" cat "$MNT/groq/key")" "$key"
	is "$who reads header" "$(as "$who" cat "$MNT/groq/header")" "Authorization: Bearer $key"
	is "$who reads env" "$(as "$who" cat "$MNT/groq/env")" "GROQ_API_KEY=$key"
	is "$who lists" "$(as "$who" ls "$MNT" | xargs)" "groq mine status"
	is "$who reads status" "$(as "$who" cat "$MNT/groq/status" | json_get state)" valid
	fails_with "Operation not supported" put_as "$who" "$MNT/groq/refresh" "$key"
	fails_with "Permission denied" as "$who" cat "$MNT/.piauth/audit"
	may_change_nothing "$who"
done
for who in "$STRANGER" "$NOBODY" 65533:65533:44443,44445; do may_nothing "$who"; done
# Many groups: the list in /proc is long, the one that counts stands at its end.
is "the last of many groups" "$(as "65534:65534:$(seq -s, 20000 20999),$GROUP" cat "$MNT/groq/key")" "$key"
restart_piauth --group daemon
is "a group by its name" "$(as 65534:65534:1 cat "$MNT/groq/key")" "$key"
may_not_see "$MEMBER" groq/key
stop_piauth
mount_fails "no group nosuchgroup" --group nosuchgroup

# --public-status
start_piauth --public-status
is "everybody sees the status" "$(as "$STRANGER" cat "$MNT/groq/status" | json_get state)" valid
is "the overview" "$(as "$STRANGER" cat "$MNT/status" | json_get 0/profile)" "$(json_get 0/profile <"$MNT/status")"
is "and who is logged in" "$(as "$STRANGER" ls "$MNT" | xargs)" "groq mine status"
for node in account base-url expires generation; do
	ok "$node" as "$STRANGER" test -r "$MNT/groq/$node"
done
may_not_see "$STRANGER" groq/key groq/header groq/env groq/mode .piauth/audit
fails_with "Permission denied" put_as "$STRANGER" "$MNT/groq/refresh" 1
may_change_nothing "$STRANGER"

# --owner
restart_piauth --owner 65533
is "the owner reads" "$(as "$STRANGER" cat "$MNT/groq/key")" "$key"
is "modes" "$(stat -c '%a %u:%g' "$MNT" "$MNT/groq/key" | xargs)" "500 65533:65533 400 65533:65533"
other=$(secret other)
ok "the owner stores" put_as "$STRANGER" "$MNT/xai/api-key" "$other"
is "root reads" "$(cat "$MNT/xai/key")" "$other"
ok "the owner logs out" as "$STRANGER" rm -f "$MNT/xai/key"
ok "the owner makes a provider" as "$STRANGER" mkdir "$MNT/theirs"
ok "and removes it" as "$STRANGER" rmdir "$MNT/theirs"
ok "the owner reads the audit trail" as "$STRANGER" grep -q groq/key "$MNT/.piauth/audit"
may_nothing "$NOBODY"
stop_piauth
mount_fails "no user nosuchuser" --owner nosuchuser
