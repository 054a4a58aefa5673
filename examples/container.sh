#!/bin/sh
# Runs a container that finds the credential of a profile in /auth:
#
#     container.sh PROFILE [OPTION...] IMAGE [COMMAND...]
#     container.sh openai docker.io/library/alpine cat /auth/key
#
# The directory is mounted once: login, rotation, logout and a new login all show in it, and the container
# needs no restart. Read-only is enough, and nothing in the container can log out or plant a key anyway.
# The engine is podman, or what CONTAINER_ENGINE says. As another user than root the mount needs
# user_allow_other in /etc/fuse.conf.
set -u
mount=${PIAUTH_MOUNT:-/run/piauth}
profile=${1:?usage: container.sh PROFILE [OPTION...] IMAGE [COMMAND...]}
shift

# It need not hold a key yet, but it has to be a directory of the mount.
[ -e "$mount/$profile/key" ] || { echo "container.sh: no $mount/$profile; is piauth mounted?" >&2 && exit 1; }
# More than one word: "podman --storage-driver=vfs".
# shellcheck disable=SC2086
exec ${CONTAINER_ENGINE:-podman} run --rm --volume "$(readlink -f "$mount/$profile"):/auth:ro" "$@"
