#!/bin/bash
# The long forms of the rotation tests: rotations in a row (at least 1,000), 200 kills of the server in the
# middle of one, and five minutes of eight pi processes that share the login. Takes minutes to an hour; every
# line it prints is of these tests.
#
#     sudo tests/soak/rotations.sh [TEST...]        default: refresh-chain refresh-kill read-kinds pi-shared
#
# The build is that of tests/run, or PIAUTH=FILE. Exit status 1 when one failed.
set -u -o pipefail
FS=$(cd "$(dirname "$0")/../fs" && pwd) || exit 1
((EUID == 0)) || { echo "rotations.sh: must run as root (it mounts): sudo $0" >&2 && exit 1; }

tests=("$@")
((${#tests[@]} > 0)) || tests=(refresh-chain refresh-kill read-kinds pi-shared)
failed=0
for name in "${tests[@]}"; do
	[[ -x $FS/$name.sh ]] || { echo "rotations.sh: there is no $FS/$name.sh" >&2 && exit 2; }
	begun=$SECONDS
	PIAUTH_TEST_SOAK=1 "$FS/$name.sh"
	status=$?
	((status == 0)) && verdict=passed || verdict="FAILED, exit status $status"
	echo "== $name: $verdict, $((SECONDS - begun)) s"
	((status == 0)) || failed=1
done
exit "$failed"
