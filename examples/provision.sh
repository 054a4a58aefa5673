#!/bin/sh
# Stores the credentials that a machine was given as files, for instance by its deployment in /run/secrets:
#
#     provision.sh DIRECTORY
#
# DIRECTORY/groq holds the key of groq, DIRECTORY/anthropic.json a login of anthropic (one entry in the format
# of pi's auth.json). What is stored already stays: a login that was refreshed since is newer than its file.
set -u
mount=${PIAUTH_MOUNT:-/run/piauth}
directory=${1:?usage: provision.sh DIRECTORY}
failed=0

for file in "$directory"/*; do
	[ -f "$file" ] || continue
	name=$(basename "$file")
	profile=${name%.json}
	if [ -s "$mount/$profile/key" ]; then
		echo "$profile: there already"
		continue
	fi
	node=api-key
	[ "$name" = "$profile" ] || node=oauth
	# The write is durable when cat ends, and its exit status says so.
	if cat "$file" >"$mount/$profile/$node"; then
		echo "$profile: stored"
	else
		failed=1
	fi
done
exit "$failed"
