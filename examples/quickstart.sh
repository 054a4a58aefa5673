#!/bin/bash
# From a fresh Debian to a token: installs what is missing, builds, mounts /run/piauth for you, shows it work.
#
#     sudo ./examples/quickstart.sh
#
# A second run is quick and changes nothing. Nothing is installed but packages: the program stays in
# build/, its store is /var/lib/piauth, its key and configuration /etc/piauth.
set -u -o pipefail

TOP=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd) || exit 1
PIAUTH=$TOP/build/fs/piauth
MOUNT=/run/piauth
PACKAGES=(meson ninja-build pkg-config gcc libc6-dev libfuse3-dev libcurl4-openssl-dev libcjson-dev
	libssl-dev python3 fuse3 ca-certificates)

say() { printf '%s\n' "$*"; }
stop() { printf 'quickstart: %s\n' "$*" >&2 && exit 1; }

((EUID == 0)) || stop "needs root, to install packages and to mount: sudo $0"
unset PIAUTH_MOUNT

# Whom the mount serves.
user=${SUDO_USER:-root}
id -u "$user" >/dev/null 2>&1 || user=root
as_user() { if [[ $user == root ]]; then "$@"; else runuser -u "$user" -- "$@"; fi; }

# ---- what has to be there ----------------------------------------------------------------------

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

missing=()
command -v dpkg-query >/dev/null || stop "is made for Debian. Install what these packages hold, then: meson setup build && ninja -C build. ${PACKAGES[*]}"
for package in "${PACKAGES[@]}"; do
	is_installed "$package" && continue
	[[ $package == libcurl4-openssl-dev ]] && is_installed libcurl4-gnutls-dev && continue
	missing+=("$package")
done
if ((${#missing[@]} > 0)); then
	say "installing: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq -o DPkg::Lock::Timeout=120 update &&
		apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${missing[@]}" >/dev/null ||
		stop "apt-get could not install: ${missing[*]}"
fi

[[ -c /dev/fuse ]] || modprobe fuse 2>/dev/null
[[ -c /dev/fuse ]] ||
	stop "there is no /dev/fuse and modprobe fuse did not help. In a container: start it with --device /dev/fuse --cap-add SYS_ADMIN"
{ : <>/dev/fuse; } 2>/dev/null ||
	stop "/dev/fuse cannot be opened. In a container: start it with --device /dev/fuse --cap-add SYS_ADMIN"

# ---- build --------------------------------------------------------------------------------------

# As whoever owns the tree, so that no file of root's is left in it.
owner=$(stat -c %u "$TOP/build" 2>/dev/null || stat -c %u "$TOP")
group=$(stat -c %g "$TOP/build" 2>/dev/null || stat -c %g "$TOP")
as_owner() {
	if ((owner == 0)); then "$@"; else
		setpriv --reuid "$owner" --regid "$group" --clear-groups env HOME="$TOP/build" "$@"
	fi
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
run() { # WHAT COMMAND...: silent unless it fails
	local what=$1
	shift
	"$@" >"$log" 2>&1 && return
	tail -n 40 "$log" >&2
	stop "$what failed"
}
cd "$TOP" || exit 1
if [[ ! -e build/build.ninja ]]; then
	say "configuring $TOP/build"
	run "meson setup" as_owner meson setup build --buildtype=release -Dtests=false
fi
[[ -e $PIAUTH ]] || say "building (about a minute)"
run "the build" as_owner ninja -C build
[[ -x $PIAUTH ]] || stop "the build made no $PIAUTH; take $TOP/build away and try again"

# ---- mount --------------------------------------------------------------------------------------

is_mounted() { [[ $(findmnt -n -o FSTYPE --mountpoint "$MOUNT" 2>/dev/null) == *fuse.piauth ]]; }
is_alive() { [[ -s $MOUNT/.piauth/version ]]; }

if is_mounted && is_alive; then
	say "$MOUNT is mounted already"
else
	if is_mounted; then
		say "$MOUNT is a mount whose server is gone; taking it away"
		"$PIAUTH" umount "$MOUNT" || umount -l "$MOUNT" || stop "cannot unmount $MOUNT"
	fi
	"$PIAUTH" mount "$MOUNT" || stop "piauth mount failed; piauth doctor may know why: $PIAUTH doctor"
	is_mounted && is_alive || stop "the mount is not there; see journalctl -t piauth"
fi

# ---- a key to look at -----------------------------------------------------------------------------

# The profiles that are listed hold something; the first one that holds a key will do.
first_with_key() {
	local directory
	for directory in "$MOUNT"/*/; do
		[[ ! -s ${directory}key ]] || { basename "$directory" && return; }
	done
}

profile=$(first_with_key)
if [[ -z $profile ]]; then
	profile=demo
	say "storing a demo key for a provider of your own, called demo"
	[[ -d $MOUNT/demo ]] || mkdir "$MOUNT/demo" || stop "mkdir $MOUNT/demo failed"
	echo "not-a-real-key-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')" >"$MOUNT/demo/api-key" ||
		stop "storing the demo key failed"
fi
[[ ! -s $MOUNT/demo/key ]] || profile=demo

say ""
if [[ $profile == demo ]]; then
	say "$user\$ cat $MOUNT/demo/key"
	as_user cat "$MOUNT/demo/key" || stop "$user cannot read it; whom does the mount serve? $PIAUTH doctor"
	say ""
else
	# A real one stays off the screen.
	say "$user\$ cat $MOUNT/$profile/key | wc -c"
	as_user cat "$MOUNT/$profile/key" | wc -c ||
		stop "$user cannot read it; whom does the mount serve? $PIAUTH doctor"
fi
[[ $user == root ]] && sudo= || sudo='sudo '
cat <<END

Next:
  echo YOUR-KEY > $MOUNT/groq/api-key     store a key ($PIAUTH providers lists the names)
  cat $MOUNT/groq/key                     use it
  rm $MOUNT/groq/key                      log out
  $PIAUTH status       what is stored

Stop it:
  ${sudo}$PIAUTH umount

The program is not installed: it is $PIAUTH. What is stored stays in /var/lib/piauth, its key in
/etc/piauth/store.key; removing both removes all of it.
END
