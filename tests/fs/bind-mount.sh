#!/bin/bash
# timeout: 60
# A directory and a single file that were bind-mounted before the login serve the token of now, here and in
# another mount namespace, whatever happens to the login.
. "$(dirname "$0")/../lib/cases.sh"
# shellcheck source=SCRIPTDIR/../lib/probe.sh
. "$CASES/probe.sh"

need unshare nsenter
start_piauth

mkdir "$T/dir" "$T/other-dir"
touch "$T/file" "$T/other-file"
mount --bind "$MNT/groq" "$T/dir" || bail "mount --bind of the directory"
mount --bind "$MNT/groq/key" "$T/file" || bail "mount --bind of the file"

# Another namespace: it lives as long as the process that waits in it.
inside_start unshare --mount --propagation private
inside() { nsenter --target "$probe_pid" --mount "$@"; }
inside mount --bind "$MNT/groq" "$T/other-dir" || bail "mount --bind in the namespace"
inside mount --bind "$MNT/groq/key" "$T/other-file" || bail "mount --bind of the file in the namespace"
not_ok "the namespaces are two" is_mounted "$T/other-file"

all() { # WHEN VERB ARGUMENTS
	"$2" "$1: directory" cat "$T/dir/key" "${@:3}"
	"$2" "$1: file" cat "$T/file" "${@:3}"
	"$2" "$1: directory, elsewhere" inside cat "$T/other-dir/key" "${@:3}"
	"$2" "$1: file, elsewhere" inside cat "$T/other-file" "${@:3}"
}

serves() { # WHAT COMMAND... VALUE
	local what=$1 value=${!#}
	is "$what" "$("${@:2:$#-2}")" "$value"
}

refuses() { # WHAT COMMAND...
	local what=$1
	shift
	note "$what"
	fails_with "Required key not available" "$@"
}

all "before the login" refuses
not_ok "test -s" test -s "$T/file"

key=$(secret one)
ok "log in" put "$MNT/groq/api-key" "$key"
all "after the login" serves "$key"
ok "test -s" inside test -s "$T/other-file"
is "one inode number" "$(stat -c %i "$T/file" "$T/dir/key" "$MNT/groq/key" | uniq | wc -l)" 1
is "st_size" "$(stat -c %s "$T/file")" "${#key}"

key=$(secret another-longer-one)
ok "replace the key" put "$MNT/groq/api-key" "$key"
all "after the key was replaced" serves "$key"

key=$(secret three)
ok "write through the bind mount" put "$T/dir/api-key" "$key"
all "after a write through the bind mount" serves "$key"

ok "log out" rm "$MNT/groq/key"
all "after logout" refuses
key=$(secret four)
ok "log in again" put "$MNT/groq/api-key" "$key"
all "after a new login" serves "$key"

fails_with "Device or resource busy" rm -rf "$MNT/groq"
all "after rm -rf" refuses
key=$(secret five)
ok "log in after rm -rf" put "$MNT/groq/api-key" "$key"
all "after rm -rf and a new login" serves "$key"

fails_with "Device or resource busy" rmdir "$MNT/groq"
ok "forget the key alone" rm "$MNT/groq/api-key"
all "after rm api-key" refuses
key=$(secret six)
ok "log in once more" put "$MNT/groq/api-key" "$key"
echo 2 >/proc/sys/vm/drop_caches 2>/dev/null || note "cannot drop the kernel's caches here"
all "with dropped caches" serves "$key"
ok "log out through the bind mount" rm "$T/dir/key"
all "after logout through the bind mount" refuses

umount "$T/file" "$T/dir"
probe_stop
