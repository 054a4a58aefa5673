#!/bin/bash
# timeout: 300
# exclusive
# user-mounts
# examples/quickstart.sh on a machine without a store: it builds, mounts and shows a key to the user who called
# sudo; the second run changes nothing. In a mount namespace of its own, so this machine keeps no trace.
. "$(dirname "$0")/../lib/cases.sh"

need python3 runuser setpriv findmnt
user=nobody
uid=$(id -u "$user") gid=$(id -g "$user")
for package in $(sed -n '/^PACKAGES=(/,/)$/p' "$TOP/examples/quickstart.sh" | tr -d '()' | sed 's/^PACKAGES=//'); do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=" $package"
done
[[ -z ${missing:-} ]] || skip "it would install$missing"

# Empty ones in the places of the system's.
places=(/run/piauth /var/lib/piauth /etc/piauth)
made=()
clean_up() {
	local status=$? place
	umount /run/piauth 2>/dev/null
	for place in /var/lib/piauth /etc/piauth; do umount "$place" 2>/dev/null; done
	for place in "${made[@]}"; do rmdir "$place"; done
	return "$status"
}
trap 'clean_up; finish' EXIT
for place in /var/lib/piauth /etc/piauth; do
	if [[ ! -e $place ]]; then
		mkdir -m 0700 "$place" && made+=("$place") || bail "mkdir $place"
	fi
	mount -t tmpfs -o mode=0700 tmpfs "$place" || bail "mount $place"
done
mount -t tmpfs -o mode=0755 tmpfs /run || bail "mount /run"

# The tree as somebody has unpacked it who is not root.
tree=$T/tree
mkdir "$tree"
(cd "$TOP" && tar -c --exclude='./build*' --exclude=./.git .) | tar -x -C "$tree" --no-same-owner
chown -R "$uid:$gid" "$tree"
quickstart=$tree/examples/quickstart.sh
run() { # as sudo starts it
	env -i PATH="$PATH" LANG=C.UTF-8 HOME=/root SUDO_USER="$user" SUDO_UID="$uid" SUDO_GID="$gid" "$quickstart" 2>&1
}
into() { "${@:2}" >"$1"; } # FILE COMMAND...
snapshot() { # what is there, of store, key and configuration, program
	find "${places[@]:1}" "$tree" -name 'audit.log*' -prune -o -printf '%p %i %T@ %s %m %U:%G\n' | sort
}

# What cannot work says why.
fails_with "needs root, to install packages and to mount: sudo" as "$uid" "$quickstart"
without_fuse() { unshare --mount --propagation private bash -c 'mount --bind "$1" /dev/fuse && exec "$2"' - "$1" "$quickstart"; }
: >"$T/no-device"
fails_with "there is no /dev/fuse" without_fuse "$T/no-device"
mknod -m 0666 "$T/dead-device" c 240 77
fails_with "/dev/fuse cannot be opened. In a container: start it with --device /dev/fuse" without_fuse "$T/dead-device"
not_ok "and nothing was built" test -e "$tree/build"

# From nothing to a token.
begun=$(now_ms)
ok "the first run" into "$TEXT/first" run
note "it took $((($(now_ms) - begun) / 1000)) s"
key=$(cat /run/piauth/demo/key)
like "it ends with the key, read by the user who called sudo" "$(cat "$TEXT/first")" \
	"$user\\$ cat /run/piauth/demo/key"$'\n'"$key"$'\n'
like "a key that is none" "$key" '^not-a-real-key-[0-9a-f]{8}$'
is "that user reads it" "$(as "$uid:$gid" cat /run/piauth/demo/key)" "$key"
fails_with "Permission denied" as 65533 cat /run/piauth/demo/key
like "it tells how to stop" "$(grep -A 1 '^Stop it:' "$TEXT/first" | tail -n 1)" "^  sudo $tree/build/fs/piauth umount$"
not_ok "it installed nothing" grep -q '^installing' "$TEXT/first"
is "no file of root is in the tree" "$(find "$tree" ! -user "$user")" ""
is "the store is private" "$(stat -c '%a %u' /var/lib/piauth /etc/piauth/store.key | xargs)" "700 0 400 0"
servers() { # the processes that run this program, without their workers
	local link words
	for link in /proc/[0-9]*/exe; do
		[[ $(readlink "$link") == "$tree/build/fs/piauth" ]] || continue
		mapfile -d '' -t words <"${link%exe}cmdline"
		[[ ${words[1]:-} == worker ]] || basename "${link%/exe}"
	done
}
server=$(servers)
like "one server" "$server" '^[0-9]+$'

# Once more: quick, and nothing changes.
snapshot >"$T/before"
begun=$(now_ms)
ok "the second run" into "$TEXT/second" run
took=$(($(now_ms) - begun))
at_most "is quick (ms)" "$took" 5000
note "the second run took $took ms"
snapshot >"$T/after"
is "store, configuration and build are untouched" "$(diff "$T/before" "$T/after")" ""
is "it looked at something" "$(grep -c ' ' "$T/before" | sed 's/^[0-9]\{3,\}$/much/')" much
is "the same server" "$(servers)" "$server"
like "and the same key" "$(cat "$TEXT/second")" "mounted already.*"$'\n'"$key"$'\n'

# A server that was killed is started again.
kill -KILL "$server"
wait_until 10 eval "[[ ! -e /proc/$server ]] || grep -q '^State:.Z' /proc/$server/status" || failed "it survives SIGKILL"
ok "a run after a crash" into "$TEXT/third" run
is "serves the same key" "$(as "$uid:$gid" cat /run/piauth/demo/key)" "$key"

# A key that is real stays off the screen.
real=$(secret real)
ok "a real key" put /run/piauth/groq/api-key "$real"
ok "without the demo" rm /run/piauth/demo/key
ok "and its provider" rmdir /run/piauth/demo
ok "one more run" into "$TEXT/fourth" run # is searched for the key at the end
like "counts it" "$(cat "$TEXT/fourth")" "cat /run/piauth/groq/key \\| wc -c"$'\n'"${#real}"$'\n'

# As it said.
server=$(servers)
read -r -a stop < <(sed -n '/^Stop it:/{n;p}' "$TEXT/fourth")
ok "stop" "${stop[@]:1}"
not_ok "the mount is gone" is_mounted /run/piauth
ok "and so is the server" ends_within "${server:-0}" 10
rm -rf --one-file-system "$tree/build" # has a file called coredata.dat
