#!/bin/sh
# Calls a service with the credential of a profile, in the header that this provider wants:
#
#     curl.sh PROFILE URL [CURL-OPTION...]
#     curl.sh openai https://api.openai.com/v1/models
#
# curl -H @FILE goes on without the header, and without a word, when it cannot read FILE. So the header is read
# first, and what cannot be read ends here. It is handed over on standard input: arguments show in ps.
set -u
mount=${PIAUTH_MOUNT:-/run/piauth}
profile=${1:?usage: curl.sh PROFILE URL [CURL-OPTION...]}
url=${2:?usage: curl.sh PROFILE URL [CURL-OPTION...]}
shift 2

header=$(cat "$mount/$profile/header") || exit 1
printf '%s\n' "$header" | curl --fail-with-body --silent --show-error -H @- "$@" "$url"
