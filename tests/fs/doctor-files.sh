#!/bin/bash
# timeout: 240
# piauth doctor and the files of other tools: every finding is provoked, and what it advises makes it go away.
. "$(dirname "$0")/../lib/cases.sh"
. "$(dirname "$0")/../lib/pi.sh"

need python3 unshare
out=$T/doctor.json
home=$T/people
runs=0
pi_home "$home"

doctor() { # [NAME=VALUE...]: the findings of a run; its exit status
	env -i PATH="$PATH" LANG=C.UTF-8 HOME="$home" PIAUTH_MOUNT="$MNT" "$@" "$PIAUTH" doctor --json >"$out" 2>"$T/err"
	local status=$?
	runs=$((runs + 1))
	cat "$out" "$T/err" >"$TEXT/$runs.doctor"
	return "$status"
}
# CHECK REGEX: the line of the last run that matches, as LEVEL TAB FINDING TAB REMEDY
line_of() {
	python3 -S -E -c 'import json, re, sys
for line in json.load(open(sys.argv[1])):
    if line["check"] == sys.argv[2] and re.search(sys.argv[3], line["finding"]):
        print(line["level"], line["finding"], line["remedy"], sep="\t")
        break' "$out" "$1" "$2"
}
# LEVEL CHECK REGEX: it was found, with a remedy, which is then in $remedy
finds() {
	local line
	line=$(line_of "$2" "$3")
	remedy=${line##*$'\t'}
	is "$2: $3" "${line%%$'\t'*}" "$1"
	[[ $1 == ok ]] || isnt "and it says what to do" "$remedy" ""
}
gone() { # CHECK REGEX
	doctor
	like "gone: $2" "$(line_of "$1" "$2")" "^(ok.*)?$"
}
follow() { # the remedy is a command, behind a comma or a colon perhaps
	local command=$remedy
	command=${command##*, then }
	command=${command##*: }
	ok "$command" bash -c "$command"
}
all_ok() { # CHECK...
	local check
	doctor
	for check in "$@"; do
		is "nothing is wrong: $check" "$(python3 -S -E -c 'import json, sys
print(*{line["level"] for line in json.load(open(sys.argv[1])) if line["check"] == sys.argv[2]})' "$out" "$check")" ok
	done
}

# ---- nothing ------------------------------------------------------------------------------------------

all_ok files locks families

# ---- one file ------------------------------------------------------------------------------------------

key=$(secret key)
pi_file "$(json_make "groq:=$(json_make type=api_key key="$key")")"
all_ok files locks families
finds ok files "auth.json \(pi\): 1 credentials$"

chmod 0644 "$AUTH"
not_ok "a finding is told by the exit status" doctor
finds problem files "auth.json.*others may read or write it \(mode 0644\)"
follow
gone files "others may read"
is "the mode" "$(stat -c %a "$AUTH")" 600

chown 12345 "$AUTH"
doctor
finds problem files "auth.json.*it belongs to uid 12345"
follow
gone files "belongs to"

cp -a "$AUTH" "$T/auth.json.good"
: >"$AUTH"
doctor
finds problem files "auth.json is empty"
cp -a "$T/auth.json.good" "$AUTH"
gone files "is empty"

head -c 40 "$T/auth.json.good" >"$AUTH"
doctor
finds problem files "auth.json is corrupt at byte [0-9]+: "
ok "it is moved away" mv "$AUTH" "$AUTH.corrupt"
gone files "corrupt"
printf '[1, 2]' >"$AUTH"
doctor
finds problem files "auth.json is not what pi writes"
ok "it is moved away" mv "$AUTH" "$AUTH.corrupt"
gone files "is not what"
rm "$AUTH.corrupt"

mkfifo "$AUTH"
doctor
finds problem files "auth.json cannot be read: not a regular file"
follow
gone files "cannot be read"
rm "$AUTH.away"
mkdir "$AUTH"
doctor
finds problem files "auth.json cannot be read: a directory"
follow
gone files "cannot be read"
rmdir "$AUTH.away"
cp -a "$T/auth.json.good" "$AUTH"

# ---- locks ----------------------------------------------------------------------------------------------

mkdir "$AUTH.lock"
all_ok locks # somebody is at work
touch -d '1 hour ago' "$AUTH.lock"
doctor
finds problem locks "auth.json.lock was left behind 3[56][0-9][0-9] s ago"
follow
gone locks "left behind"
: >"$AUTH.lock"
doctor
finds problem locks "auth.json.lock is a file"
follow
gone locks "is a file"
mkdir "$AUTH.lock"
: >"$AUTH.lock/pid"
doctor
finds problem locks "auth.json.lock is not empty"
follow
gone locks "not empty"
claude=$home/.claude
mkdir -m 0700 "$claude"
mkdir "$claude/.storage-write.lock"
touch -d '1 hour ago' "$claude/.storage-write.lock"
doctor
finds problem locks "$claude/.storage-write.lock was left behind"
follow
all_ok locks

# ---- variables --------------------------------------------------------------------------------------------

doctor PI_CODING_AGENT_DIR="$T/nosuchdir"
finds problem home "PI_CODING_AGENT_DIR names $T/nosuchdir"
gone home "PI_CODING_AGENT_DIR"
doctor PI_CODING_AGENT_DIR="relative/dir"
finds problem home "PI_CODING_AGENT_DIR is relative"
gone home "PI_CODING_AGENT_DIR"
doctor PI_CODING_AGENT_DIR="~/.pi/agent"
is "a directory that is there" "$(line_of home PI_CODING_AGENT_DIR)" ""

token=$(secret gh)
mkdir -p "$home/.config/gh"
install -m 0600 /dev/stdin "$home/.config/gh/hosts.yml" <<YML
github.com:
    user: alice
    oauth_token: $token
    git_protocol: https
YML
doctor GH_TOKEN="$token"
finds problem environment "GH_TOKEN is set: .* instead of what is in $home/.config/gh/hosts.yml"
not_ok "its value is not shown" grep -qF "$token" "$out"
gone environment GH_TOKEN
rm -r "$home/.config"

# ---- another home ------------------------------------------------------------------------------------------

alice=5001
cp /etc/passwd "$T/passwd"
echo "alice:x:$alice:$alice::$T/alice:/bin/sh" >>"$T/passwd"
install -d -m 0700 -o $alice -g $alice "$T/alice" "$T/alice/elsewhere" "$T/alice/.pi" "$T/alice/.pi/agent"
install -m 0600 -o $alice -g $alice "$T/auth.json.good" "$T/alice/.pi/agent/auth.json"
# COMMAND... with this user database, and where a user may come to the program
with_users() { unshare --mount --propagation private bash -c 'mount --bind "$1" /etc/passwd && exec "${@:2}"' - "$T/passwd" "$@"; }
install -m 0755 "$PIAUTH" "$T/piauth"
as_alice() { # HOME [COMMAND...]
	with_users setpriv --reuid $alice --regid $alice --clear-groups env -i PATH="$PATH" LANG=C.UTF-8 HOME="$1" \
		PIAUTH_MOUNT="$MNT" "$T/piauth" doctor --json >"$out" 2>"$T/err"
}
as_alice "$T/alice/elsewhere"
finds note home "HOME is $T/alice/elsewhere; your files of other tools are elsewhere \(1\): $T/alice/.pi/agent/auth.json"
as_alice "$T/alice"
finds ok home "$T/alice is where"
finds ok files "$T/alice/.pi/agent/auth.json \(pi\): 1 credentials"
chmod 0000 "$T/alice/.pi/agent/auth.json"
as_alice "$T/alice"
finds problem files "$T/alice/.pi/agent/auth.json cannot be read: Permission denied"
ok "it is made readable" chmod u+r "$T/alice/.pi/agent/auth.json"
as_alice "$T/alice"
is "gone" "$(line_of files 'cannot be read')" ""
rm "$T/alice/.pi/agent/auth.json"
as_alice "$T/alice/elsewhere"
finds note home "HOME is $T/alice/elsewhere; the user database says $T/alice"

# Root looks for whom it would serve: the user who runs sudo, with that user's rights.
install -m 0600 "$T/auth.json.good" "$T/roots.json"
ln -s "$T/roots.json" "$T/alice/.pi/agent/auth.json"
sudo_doctor() {
	with_users env -i PATH="$PATH" LANG=C.UTF-8 HOME=/root SUDO_UID=$alice PIAUTH_MOUNT="$MNT" "$PIAUTH" doctor --json >"$out" 2>"$T/err"
}
sudo_doctor
finds problem files "$T/alice/.pi/agent/auth.json cannot be read: Permission denied"
rm "$T/alice/.pi/agent/auth.json"
sudo_doctor
finds ok files "no other tool keeps a login under $T/alice"

# ---- a file that does not answer ------------------------------------------------------------------------------

instance hung
conf watchdog_s 60
start_piauth
mv "$AUTH" "$T/auth.json.aside"
ln -s "$MNT/groq/key" "$AUTH"
hung=$MNT
pid=$(worker_pid)
instance main
doctor
finds note files "auth.json: it lies on a mount of piauth"
ln -sfn "$hung/xai/key" "$AUTH" # which the kernel has not looked up yet
kill -STOP "$pid"
start=$(now_ms)
doctor
kill -CONT "$pid"
at_most "what hangs is waited for this long (ms)" $(($(now_ms) - start)) 20000
finds problem files "$AUTH does not answer"
finds ok locks "none was left behind"
rm "$AUTH"
mv "$T/auth.json.aside" "$AUTH"
gone files "does not answer"
instance hung
stop_piauth
instance main

# ---- logins ---------------------------------------------------------------------------------------------------

start_fake
use_fake anthropic
pi_pair anthropic
pi_file "$(json_make "anthropic:=$(pi_login)" "groq:=$(json_make type=api_key key="$key")")"
install -d -m 0700 "$home/.aihub"
install -m 0600 "$AUTH" "$home/.aihub/auth.json"
doctor
finds problem families "$AUTH and $home/.aihub/auth.json hold the same login \(anthropic\)"
like "the import is the remedy" "$remedy" "^piauth migrate"
is "once" "$(grep -c 'hold the same login' "$out")" 1
factory=$home/.pi/factory
install -d -m 0700 "$factory"
install -m 0600 /dev/stdin "$factory/auth.json" <<<"$(json_make "openai-codex:=$(json_make type=oauth refresh="$(secret rt)" \
	access="$(secret at)" expires:=$(($(now_ms) + 3600000)))")"
LEGACY_HOME=$home
start_piauth
wait_until 20 test -s "$MNT/anthropic/key"
is "both are linked" "$(link_of anthropic state 0) $(link_of anthropic state 1)" "on on"
gone families "hold the same login"
finds ok families "no login has two owners"
finds note files "$AUTH .*2 of them in piauth and, in plain text, here"
finds note families "$factory/auth.json is not kept in step: its login \(openai-codex\) ends when piauth refreshes openai-codex"
follow
gone families "not kept in step"

# Somebody cuts a linked file short; then it is whole again.
linked_note() { [[ $(link_of anthropic note 0)$(link_of anthropic note 1) == *corrupt* ]]; }
no_note() { [[ -z $(link_of anthropic note 0)$(link_of anthropic note 1) ]]; }
cp -a "$AUTH" "$T/whole.json"
head -c 20 "$T/whole.json" >"$AUTH"
ok "that it is cut is noticed" wait_until 20 linked_note
doctor
finds problem links "anthropic and .*auth.json: .*corrupt"
cat "$T/whole.json" >"$AUTH"
ok "that it is whole is noticed" wait_until 20 no_note
gone links "corrupt"

ok "take-over" pia migrate --take-over
gone files "in plain text"

doctor ANTHROPIC_API_KEY="$(secret variable)"
finds problem environment "ANTHROPIC_API_KEY is set: .*anthropic"
gone environment "ANTHROPIC_API_KEY"

# A login that pi does not find any more: it made an auth.json before it moved it.
install -m 0600 /dev/stdin "${AUTH%/*}/oauth.json" <<<"$(json_make "xai:=$(json_make type=oauth refresh="$(secret rt)" access="$(secret at)" expires:=1)")"
doctor
finds problem files "oauth.json .*pi does not read it any more"
follow
gone files "does not read it any more"

stop_piauth
