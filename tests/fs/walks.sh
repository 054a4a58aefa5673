#!/bin/bash
# timeout: 90
# Whoever walks over the mount (grep -r, find, du, tar, cp -a, a backup, an indexer) does no harm: it changes
# nothing, sends nothing while all is valid, refreshes a credential at most once, and comes to an end.
. "$(dirname "$0")/../lib/cases.sh"

LOGINS=(groq mistral xai@work)

facts() { # what a walk must not change
	local profile file
	for profile in groq mistral xai@work deepseek mine; do
		for file in key mode account base-url generation; do
			printf '%s/%s: %s\n' "$profile" "$file" "$(cat "$MNT/$profile/$file" 2>&1)"
		done
	done
}

requests() {
	local account
	for account in groq mistral work; do fake_get "$account" requests; done | paste -sd ' '
}

# walk COMMAND...: ends; what it prints and whether it is content is its own affair.
walk() {
	timeout 60 "$@" >"$T/walk.out" 2>"$T/walk.err" </dev/null
	local status=$?
	((status < 124)) || failed "$*: exit status $status"
}

looks() { # they open nothing
	walk ls -lR "$MNT"
	walk find "$MNT" -ls
	walk du -a "$MNT"
	walk stat "$MNT"/*/*
}

reads() {
	walk grep -r nothing "$MNT"
	walk tar -cf "$T/walk.tar" -C "$MNT" .
	walk cp -a "$MNT" "$T/copy"
	rm -rf "$T/copy"
	walk find "$MNT" -type f -exec md5sum {} +
	walk cat "$MNT"/*/*
}

start_fake
use_fake groq
use_fake mistral
use_fake xai work
conf deadline_s 3
start_piauth
fake_login groq groq
fake_login mistral mistral
fake_login xai@work work
put "$MNT/deepseek/api-key" "$(secret deepseek)"
mkdir "$MNT/mine"
put "$MNT/mine/base-url" https://llm.example.org/v1
put "$MNT/mine/api-key" "$(secret mine)"

# ---- all is valid ----

before=$(facts)
looks
reads
is "valid: no request" "$(requests)" "0 0 0"
is "valid: nothing has changed" "$(facts)" "$before"
ok "the tar archive has the token" grep -q "$(cat "$MNT/groq/key")" "$T/walk.tar"

# ---- all has expired ----

for profile in "${LOGINS[@]}"; do
	fake_login "$profile" "${profile/xai@/}" '{"expires_in": -1}'
done
looks
is "expired: looking at files sends nothing" "$(requests)" "0 0 0"
reads
is "expired: reading them, one request each" "$(requests)" "1 1 1"
for profile in "${LOGINS[@]}"; do
	is "expired: $profile is fresh now" "$(profile_status "$profile" state)" valid
done

# ---- one provider hangs, one is gone ----

for profile in "${LOGINS[@]}"; do
	fake_login "$profile" "${profile/xai@/}" '{"expires_in": -1}'
done
fake groq '{"mode": "hang"}'
fake mistral '{"mode": "status", "status": 500}'
begun=$(now_ms)
looks
ms=$(($(now_ms) - begun))
at_most "hanging: looking at files waits for nobody (ms)" "$ms" 5000
walk grep -r nothing "$MNT"
walk tar -cf "$T/walk.tar" -C "$MNT" .
is "hanging: one request to the provider that hangs" "$(fake_get groq requests)" 2
is "hanging: one more to the one that works" "$(fake_get work requests)" 2
at_most "hanging: few to the one that fails" "$(fake_get mistral requests)" 5
fake_do groq release
isnt "hanging: afterwards the token is there" "$(cat "$MNT/groq/key")" "$ACCESS"

# ---- nobody may be asked to write by a walk ----

before=$(facts)
walk touch "$MNT"/*/*
walk chmod -R a+rwx "$MNT"
walk chown -R 1:1 "$MNT"
walk find "$MNT" -name key -newermt 1990-01-01
is "touch, chmod, chown: nothing has changed" "$(facts)" "$before"
is "modes are as before" "$(stat -c %a "$MNT/groq" "$MNT/groq/key" | paste -sd ' ')" "700 400"
