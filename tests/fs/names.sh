#!/bin/bash
# timeout: 60
# Names: aliases and letter case, several accounts, providers of one's own, what is listed, what cannot be made.
. "$(dirname "$0")/../lib/cases.sh"

list() { (cd "$MNT" && echo *); }
inode() { stat -c %i "$MNT/$1"; }

start_piauth
is "a fresh mount lists no provider" "$(ls -A "$MNT")" $'.piauth\nstatus'
is "but knows them" "$(stat -c %F "$MNT/groq" "$MNT/anthropic/key")" $'directory\nregular empty file'
fails_with "No such file" stat "$MNT/nosuchprovider"
fails_with "No such file" stat "$MNT/nosuchprovider@work"

# aliases, letter case
first=$(secret first)
second=$(secret second)
ok "store" put "$MNT/xai/api-key" "$first"
for name in grok x-ai XAI Xai Grok GROK X-AI; do
	is "$name is a link" "$(readlink "$MNT/$name")" xai
	is "cat $name/key" "$(cat "$MNT/$name/key")" "$first"
done
ok "store through an alias" put "$MNT/Grok/api-key" "$second"
is "it is the same key" "$(cat "$MNT/xai/key")" "$second"
is "only the provider is listed" "$(list)" "status xai"
is "and has what is in it" "$(xargs < <(ls "$MNT/xai"))" \
	"account api-key base-url env expires generation header key mode oauth refresh status"

# several accounts
ok "store for an account" put "$MNT/anthropic@work/api-key" "$first"
ok "and another, through a link" put "$MNT/Anthropic:Work/api-key" "$second"
is "anthropic:work" "$(cat "$MNT/anthropic:work/key")" "$first"
is "ANTHROPIC@work" "$(cat "$MNT/ANTHROPIC@work/key")" "$first"
is "the account's letter case counts" "$(cat "$MNT/anthropic@Work/key")" "$second"
is "where the links lead" "$(cd "$MNT" && readlink anthropic:work anthropic:Work Anthropic@work)" \
	$'anthropic@work\nanthropic@Work\nanthropic@work'
fails_with "Required key not available" cat "$MNT/anthropic/key"
is "accounts are listed" "$(list)" "anthropic@Work anthropic@work status xai"
ok "log one out" rm "$MNT/anthropic@Work/key"
is "the other one stays" "$(cat "$MNT/anthropic@work/key")" "$first"
is "an alias and an account" "$(readlink "$MNT/grok:a@b")" "xai@a@b"
is "the account default is the provider" "$(readlink "$MNT/xai@default")" xai
not_ok "an account's name begins with a letter or digit" test -e "$MNT/xai@-a"
not_ok "and is not empty" test -e "$MNT/xai@"

before=$(inode anthropic@work)
ok "remove an account, with what is in it" rm -rf "$MNT/anthropic@work"
not_ok "it is not listed" grep -qw anthropic@work <<<"$(list)"
ok "make it again" put "$MNT/anthropic@work/api-key" "$first"
isnt "it has another inode number now" "$(inode anthropic@work)" "$before"

# providers of one's own
ok "mkdir" mkdir "$MNT/my.llm-1"
fails_with "Required key not available" cat "$MNT/my.llm-1/key"
ok "store there" put "$MNT/my.llm-1/api-key" "$first"
is "read there" "$(cat "$MNT/my.llm-1/key")" "$first"
is "it is listed" "$(list)" "anthropic@Work anthropic@work my.llm-1 status xai"
is "any letter case leads to it" "$(readlink "$MNT/My.LLM-1")" my.llm-1
ok "it can have accounts" put "$MNT/my.llm-1@two/api-key" "$second"
is "which are read" "$(cat "$MNT/my.llm-1@two/key")" "$second"
fails_with "Directory not empty" rmdir "$MNT/my.llm-1"
ok "forget the key" rm "$MNT/my.llm-1/api-key"
before=$(inode my.llm-1)
ok "rmdir" rmdir "$MNT/my.llm-1"
fails_with "No such file" stat "$MNT/my.llm-1"
ok "mkdir again" mkdir "$MNT/my.llm-1"
isnt "it has another inode number now" "$(inode my.llm-1)" "$before"

restart_piauth
is "all of it survives a restart" "$(list)" \
	"anthropic@Work anthropic@work my.llm-1 my.llm-1@two status xai"
ok "rm -rf removes what was made" rm -rf "$MNT/my.llm-1" "$MNT/my.llm-1@two"
is "really" "$(list)" "anthropic@Work anthropic@work status xai"

# known providers stay
fails_with "Device or resource busy" rmdir "$MNT/groq"
fails_with "Device or resource busy" rmdir "$MNT/xai"
fails_with "Device or resource busy" rm -rf "$MNT/xai"
fails_with "Required key not available" cat "$MNT/xai/key"
is "rm -rf logged out and left the files" "$(xargs < <(ls "$MNT/xai"))" \
	"account base-url env expires generation header key mode oauth refresh status"

# what cannot be made
for name in groq GROQ grok status; do fails_with "File exists" mkdir "$MNT/$name"; done
for name in models agents views .hidden; do fails_with "Operation not permitted" mkdir "$MNT/$name"; done
long=$(printf '%065d' 0)
for name in -a _a 'a b' a/ä a@ a@@b 'a*b' "$long"; do
	[[ $name != */* ]] || name=${name#*/}
	fails_with "Operation not permitted" mkdir "$MNT/$name"
done
ok "64 characters are a name" mkdir "$MNT/${long:1}"
ok "rmdir it" rmdir "$MNT/${long:1}"
ok "store" put "$MNT/groq/api-key" "$first"
fails_with "Operation not permitted" touch "$MNT/newfile"
fails_with "Operation not permitted" touch "$MNT/groq/newfile"
fails_with "Operation not permitted" mkdir "$MNT/groq/sub"
fails_with "Operation not permitted" touch "$MNT/.piauth/newfile"
fails_with "Operation not permitted" ln -s groq "$MNT/link"
fails_with "Operation not permitted" ln "$MNT/groq/key" "$MNT/groq/link"
fails_with "Operation not permitted" mv "$MNT/groq/key" "$MNT/groq/other"
fails_with "Operation not permitted" mv "$MNT/groq/key" "$MNT/xai/api-key"
fails_with "Operation not permitted" mv "$MNT/groq" "$MNT/other"
fails_with "Operation not permitted" mkfifo "$MNT/groq/fifo"
fails_with "Operation not permitted" mknod "$MNT/null" c 1 3
fails_with "Operation not permitted" rm -f "$MNT/status"
fails_with "Operation not permitted" rm -f "$MNT/.piauth/version"
fails_with "Operation not permitted" rm -rf "$MNT/.piauth"
is "the key is where it was" "$(cat "$MNT/groq/key")" "$first"

# what changes nothing
ok "chmod" chmod 0777 "$MNT/groq/key" "$MNT/groq"
ok "chown" chown 1:1 "$MNT/groq/key"
ok "touch" touch -d 2001-01-01 "$MNT/groq/key"
ok "truncate" truncate -s 0 "$MNT/groq/api-key"
is "modes and owner are as before" "$(stat -c '%a %u:%g' "$MNT/groq/key" "$MNT/groq")" $'400 0:0\n700 0:0'
is "the key too" "$(cat "$MNT/groq/key")" "$first"
