#!/bin/bash
# timeout: 60
# A process in another user or pid namespace, a container, reads and reports, and changes nothing.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need unshare nsenter
unshare --user --map-root-user true 2>/dev/null || skip "no user namespaces here"
unshare --pid --fork true 2>/dev/null || skip "no pid namespaces here"
key=$(secret key)
other=$(secret other)
put_in() { "${@:3}" bash -c 'echo "$2" >"$1"' - "$1" "$2"; } # FILE VALUE COMMAND...

reads_only() { # COMMAND...: what runs a program in another namespace
	is "$*: key" "$("$@" cat "$MNT/groq/key")" "$key"
	is "$*: header" "$("$@" cat "$MNT/groq/header")" "Authorization: Bearer $key"
	is "$*: ls" "$("$@" ls "$MNT" | xargs)" "groq mine status"
	is "$*: status" "$("$@" cat "$MNT/groq/status" | json_get state)" valid
	fails_with "Operation not supported" put_in "$MNT/groq/refresh" "$key" "$@"
	fails_with "Permission denied" "$@" rm -f "$MNT/groq/key"
	fails_with "Permission denied" "$@" rm -f "$MNT/groq/api-key"
	fails_with "Permission denied" "$@" rm -rf "$MNT/groq"
	for node in groq/api-key groq/oauth groq/mode mistral/api-key azure-openai/base-url; do
		fails_with "Permission denied" put_in "$MNT/$node" "$other" "$@"
	done
	fails_with "Permission denied" "$@" mkdir "$MNT/planted"
	fails_with "Permission denied" "$@" rmdir "$MNT/mine"
	not_ok "$*: access(W_OK) says so" "$@" test -w "$MNT/groq/key"
	is "$*: nothing was changed" "$(cat "$MNT/groq/key") $(xargs <<<"$(ls "$MNT")") $(cat "$MNT/groq/mode")" \
		"$key groq mine status auto"
}

start_piauth
ok "store a key" put "$MNT/groq/api-key" "$key"
ok "a provider" mkdir "$MNT/mine"
reads_only unshare --user --map-root-user
reads_only unshare --user
reads_only unshare --pid --fork
reads_only unshare --pid --fork --mount-proc
reads_only unshare --user --map-root-user --pid --fork --mount-proc
mkdir "$T/inside"
bound() { unshare --user --map-root-user --mount sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - \
	"$MNT/groq" "$T/inside" "$@"; }
is "a writable bind mount in a container: read" "$(bound cat "$T/inside/key")" "$key"
fails_with "Permission denied" bound rm -f "$T/inside/key"
fails_with "Permission denied" put_in "$T/inside/api-key" "$other" bound

# Another mount, net, uts or ipc namespace is no container.
ok "other namespaces may store" put_in "$MNT/groq/api-key" "$other" unshare --mount --net --uts --ipc
is "stored" "$(cat "$MNT/groq/key")" "$other"
ok "access(W_OK) on key means: may log out" test -w "$MNT/groq/key"
ok "and log out" unshare --mount --net rm "$MNT/groq/key"
not_ok "logged out" test -s "$MNT/groq/key"
ok "store" put "$MNT/groq/api-key" "$key"

# Which program it is gives no rights.
ok "the server's own program in a container" test -x "$PIAUTH"
fails_with "" unshare --user --map-root-user env PIAUTH_MOUNT="$MNT" "$PIAUTH" logout groq
is "could not log out" "$(cat "$MNT/groq/key")" "$key"

# A user namespace that the configuration names may.
inside_start unshare --user --map-root-user
named=$(readlink "/proc/$probe_pid/ns/user")
stop_piauth
conf allow_mutations_from "[\"$named\"]"
start_piauth
in_named() { nsenter --target "$probe_pid" --user --preserve-credentials "$@"; }
is "it is another namespace" "$(in_named readlink /proc/self/ns/user)" "$named"
ok "a named user namespace may store" put_in "$MNT/groq/api-key" "$other" in_named
is "stored" "$(cat "$MNT/groq/key")" "$other"
ok "and log out" in_named rm -f "$MNT/groq/key"
not_ok "logged out" test -s "$MNT/groq/key"
ok "store" put "$MNT/groq/api-key" "$key"
reads_only unshare --user --map-root-user
probe_stop
